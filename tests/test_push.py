"""A folder becomes a release on a local remote."""

from __future__ import annotations

import pytest

from tests.support.mirror import clone_with_lfs, git


def test_a_push_makes_one_commit_and_one_tag(mirror, folder):
    (done,) = mirror.push(folder, '--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    assert mirror.git('rev-list', '--count', 'main') == '1'
    assert mirror.tags() == ['v1.0.0']
    assert mirror.git('rev-parse', 'v1.0.0^{commit}') == mirror.git('rev-parse', 'main') == done['commit']


def test_the_pushed_repository_is_whole_for_git_and_git_lfs(mirror, folder, tmp_path):
    mirror.push(folder, '--tag', 'v1.0.0')
    mirror.assert_whole()
    clone = clone_with_lfs(mirror.remote, tmp_path / 'clone')
    assert (clone / 'model.bin').read_bytes() == (folder.path / 'model.bin').read_bytes()
    assert git('status', '--porcelain', cwd=clone) == ''


def test_binary_files_are_pointers_and_text_is_plain(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    files = mirror.files()
    assert files['model.bin'].startswith(b'version https://git-lfs.github.com/spec/v1\n')
    assert files['config.json'] == (folder.path / 'config.json').read_bytes()


@pytest.mark.heavy
def test_a_push_of_the_same_folder_makes_nothing(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    before = mirror.git('for-each-ref')
    for option in (['--tag', 'v1.0.0'], ['--bump', 'minor'], ['--no-tag'], []):
        (done,) = mirror.push(folder, *option)
        assert done['status'] == 'up-to-date'
    assert mirror.git('for-each-ref') == before


def test_a_tag_with_other_content_is_a_conflict(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    folder.write('config.json', '{"changed": true}')
    done = mirror.push(folder, '--tag', 'v1.0.0', code=6)
    assert 'v1.0.0 is already at' in done.err


def test_files_that_are_gone_from_the_folder_go_from_the_repository(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    folder.remove('notes/training.txt')
    mirror.push(folder, '--bump', 'minor')
    assert 'notes/training.txt' not in mirror.files()


def test_keep_leaves_them(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    folder.remove('notes/training.txt')
    folder.write('more.txt', 'x')
    mirror.push(folder, '--bump', 'minor', '--keep')
    assert {'notes/training.txt', 'more.txt'} <= mirror.files().keys()
