"""What was released of a folder is remembered, as long as nobody depends on it."""

from __future__ import annotations

from pathlib import Path

from hfmirror import lately
from hfmirror.config.places import home
from hfmirror.outcome import Release
from hfmirror.target import Target
from hfmirror.tree import Changes

TARGET = Target('hub', 'https://example.org/me/x', 'me/x')


def release(version, commit='c' * 40):
    return Release(TARGET, version, commit, 'pushed', Changes([], [], []), 10, 2)


def versions(folder, since_s=0.0):
    return [row.version for row in lately.made(folder, home(), since_s=since_s)]


def lines():
    (path,) = (home().cache / 'lately').iterdir()
    return path


def test_what_was_released_since_a_time_is_told_oldest_first(tmp_path):
    for now_s, version in ((30.0, 'v3'), (10.0, 'v1'), (20.0, 'v2')):
        lately.note(tmp_path, [release(version)], home(), now_s=now_s)
    assert versions(tmp_path, 20.0) == ['v2', 'v3']
    assert lately.made(tmp_path, home(), since_s=30.0)[0] == (30.0, TARGET, 'v3', 'c' * 40, 10, 2)


def test_a_folder_is_the_same_by_each_way_to_it(tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'link').symlink_to('out')
    lately.note(Path('out'), [release('v1')], home(), now_s=1.0)
    assert versions(tmp_path / 'link') == versions(tmp_path / 'out') == ['v1']
    assert versions(tmp_path) == []


def test_a_line_that_a_kill_has_cut_is_passed_over(tmp_path):
    lately.note(tmp_path, [release('v1')], home(), now_s=1.0)
    whole = lines().read_bytes()
    lines().write_bytes(whole[:-20] + b'\n{}\n[1]\n"x"\n\xff\n' + whole)
    assert versions(tmp_path) == ['v1']


def test_the_lines_do_not_grow_without_bound(tmp_path):
    lately.note(tmp_path, [release('v1')], home(), now_s=1.0)
    lines().write_bytes(b'x' * 2_000_000)
    lately.note(tmp_path, [release('v2')], home(), now_s=2.0)
    assert versions(tmp_path) == ['v2']
    assert lines().stat().st_size < 1000


def test_a_cache_that_cannot_be_written_is_no_fault(tmp_path):
    home().cache.parent.mkdir(parents=True)
    home().cache.write_text('a file')
    lately.note(tmp_path, [release('v1')], home(), now_s=1.0)
    assert versions(tmp_path) == []
