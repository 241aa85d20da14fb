"""What is known of unchanged files: believed only while path, inode, size and mtime are the same."""

from __future__ import annotations

import os
import resource
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from hfmirror.statcache import Known, Scanned, Stamp, StatCache, time_step_ns

KNOWN = Known(3, 'a' * 64, None, False)


@pytest.fixture
def cache(tmp_path):
    made = StatCache(tmp_path / 'cache' / 'files.sqlite')
    yield made
    made.close()


def remember(cache, path, *, age_ns=10_000_000_000, known=KNOWN):
    """Remember a file as one that was so old when it was read."""
    stamp = Stamp.of(os.stat(path))
    cache.remember(path, stamp, known, read_at_ns=stamp.mtime_ns + age_ns)
    return stamp


def touch(path, content=b'abc', mtime_ns=1_700_000_000_123_456_789):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return path


def test_what_was_read_is_known(cache, tmp_path):
    path = touch(tmp_path / 'x' / 'a')
    stamp = remember(cache, path)
    assert cache.known(tmp_path / 'x') == {str(path): (stamp, KNOWN)}


def test_it_is_known_to_the_next_run(tmp_path):
    path = touch(tmp_path / 'x' / 'a')
    for _ in range(2):
        cache = StatCache(tmp_path / 'files.sqlite')
        remember(cache, path)
        cache.close()
    cache = StatCache(tmp_path / 'files.sqlite')
    assert str(path) in cache.known(tmp_path / 'x')
    cache.close()


def test_only_files_below_the_folder_are_told(cache, tmp_path):
    inside = touch(tmp_path / 'x' / 'deep' / 'a')
    for other in ('xy/a', 'x-1/a', 'x%/a', 'a'):
        remember(cache, touch(tmp_path / other))
    remember(cache, inside)
    assert list(cache.known(tmp_path / 'x')) == [str(inside)]


def test_what_is_known_of_files_is_carried_to_links_of_them(cache, tmp_path):
    path = touch(tmp_path / 'x' / 'deep' / 'a')
    stamp = remember(cache, path)
    cache.remember_scan(path, stamp, Scanned('r', '[]'), read_at_ns=stamp.mtime_ns + 10_000_000_000)
    cache.carry(tmp_path / 'x', tmp_path / 'held')
    held = str(tmp_path / 'held' / 'deep' / 'a')
    assert cache.known(tmp_path / 'held') == {held: (stamp, KNOWN)}
    assert cache.scanned(tmp_path / 'held') == {held: (stamp, Scanned('r', '[]'))}
    assert list(cache.known(tmp_path / 'x')) == [str(path)]


def test_a_folder_that_has_gone_is_forgotten_alone(cache, tmp_path):
    for name in ('x/a', 'x/deep/b', 'xy/a'):
        remember(cache, touch(tmp_path / name))
    cache.forget(tmp_path / 'x')
    assert cache.known(tmp_path / 'x') == {}
    assert len(cache.known(tmp_path / 'xy')) == 1


@pytest.mark.parametrize('name', ["quo'te", 'per%cent', 'under_score', 'ünï', 'a b', 'new\nline', '"'])
def test_odd_names_are_kept(cache, tmp_path, name):
    path = touch(tmp_path / 'x' / name)
    remember(cache, path)
    assert str(path) in cache.known(tmp_path / 'x')


def test_a_name_that_is_not_utf_8_does_not_crash(cache, tmp_path):
    path = touch(tmp_path / 'x' / os.fsdecode(b'caf\xe9'))
    remember(cache, path)
    cache.known(tmp_path / 'x')


@pytest.mark.parametrize(
    ('mtime_ns', 'age_ns', 'trusted'),
    [
        (1_700_000_000_123_456_789, 0, False),
        (1_700_000_000_123_456_789, 19_999_999, False),
        (1_700_000_000_123_456_789, 20_000_000, True),
        (1_700_000_000_000_000_000, 20_000_000, False),
        (1_700_000_000_000_000_000, 2_000_000_000, True),
        (1_700_000_000_123_456_789, -5_000_000_000, False),
    ],
)
def test_a_file_younger_than_the_file_systems_time_step_is_not_trusted(
    cache, tmp_path, mtime_ns, age_ns, trusted
):
    path = touch(tmp_path / 'x' / 'a', mtime_ns=mtime_ns)
    remember(cache, path, age_ns=age_ns)
    assert (str(path) in cache.known(tmp_path / 'x')) == trusted


def test_a_file_dated_in_the_future_is_not_trusted(cache, tmp_path):
    path = touch(tmp_path / 'x' / 'a', mtime_ns=time.time_ns() + 10**15 + 1)
    cache.remember(path, Stamp.of(os.stat(path)), KNOWN, read_at_ns=time.time_ns())
    assert cache.known(tmp_path / 'x') == {}


def test_whole_seconds_mean_a_coarse_clock():
    assert time_step_ns(1_700_000_000_000_000_000) == 2_000_000_000
    assert time_step_ns(1_700_000_000_000_000_001) == 20_000_000


@pytest.mark.parametrize('change', ['content', 'mtime', 'replace', 'size'])
def test_every_change_shows_in_the_stamp(tmp_path, change):
    path = touch(tmp_path / 'a')
    before = Stamp.of(os.stat(path))
    if change == 'replace':
        os.replace(touch(tmp_path / 'b'), path)
    elif change == 'mtime':
        os.utime(path, ns=(1, 1))
    else:
        path.write_bytes(b'xyz' if change == 'content' else b'wxyz')
    assert Stamp.of(os.stat(path)) != before


@pytest.mark.parametrize('damage', [b'', b'not a database' * 1000, b'SQLite format 3\0' + b'\xff' * 5000])
def test_a_damaged_table_is_made_anew(tmp_path, damage):
    path = tmp_path / 'files.sqlite'
    path.write_bytes(damage)
    cache = StatCache(path)
    remember(cache, touch(tmp_path / 'x' / 'a'))
    assert len(cache.known(tmp_path / 'x')) == 1
    cache.close()


def test_a_table_of_another_shape_is_made_anew(tmp_path):
    with sqlite3.connect(tmp_path / 'files.sqlite') as table:
        table.execute('CREATE TABLE files (path TEXT, oid TEXT)')
    table.close()
    cache = StatCache(tmp_path / 'files.sqlite')
    assert cache.known(tmp_path) == {}
    cache.close()


def test_several_threads_and_processes_may_write(tmp_path):
    one, other = StatCache(tmp_path / 'files.sqlite'), StatCache(tmp_path / 'files.sqlite')
    paths = [touch(tmp_path / 'x' / str(number)) for number in range(50)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda path: remember(one, path), paths))
    one.save()
    remember(other, touch(tmp_path / 'x' / 'last'))
    other.save()
    assert len(one.known(tmp_path / 'x')) == 51
    one.close()
    other.close()


# -- scans


def remember_scan(cache, path, scanned, *, age_ns=10_000_000_000):
    stamp = Stamp.of(os.stat(path))
    cache.remember_scan(path, stamp, scanned, read_at_ns=stamp.mtime_ns + age_ns)
    return stamp


def test_what_was_found_is_known_to_the_next_run(tmp_path):
    path = touch(tmp_path / 'x' / 'a')
    cache = StatCache(tmp_path / 'files.sqlite')
    stamp = remember_scan(cache, path, Scanned('rules 1', '[]'))
    cache.close()
    cache = StatCache(tmp_path / 'files.sqlite')
    assert cache.scanned(tmp_path / 'x') == {str(path): (stamp, Scanned('rules 1', '[]'))}
    cache.close()


def test_a_scan_says_nothing_of_the_bytes(cache, tmp_path):
    remember_scan(cache, touch(tmp_path / 'x' / 'a'), Scanned('rules', '[]'))
    assert cache.known(tmp_path / 'x') == {}


def test_a_scan_of_a_young_file_is_not_kept(cache, tmp_path):
    remember_scan(cache, touch(tmp_path / 'x' / 'a'), Scanned('rules', '[]'), age_ns=0)
    assert cache.scanned(tmp_path / 'x') == {}


def test_the_last_scan_counts(cache, tmp_path):
    path = touch(tmp_path / 'x' / 'a')
    remember_scan(cache, path, Scanned('old', '[]'))
    stamp = remember_scan(cache, path, Scanned('new', '[1]'))
    assert cache.scanned(tmp_path / 'x') == {str(path): (stamp, Scanned('new', '[1]'))}


def test_a_file_without_the_table_of_scans_keeps_what_it_has(tmp_path):
    cache = StatCache(tmp_path / 'files.sqlite')
    remember(cache, touch(tmp_path / 'x' / 'a'))
    cache.close()
    with sqlite3.connect(tmp_path / 'files.sqlite') as table:
        table.execute('DROP TABLE scans')
    table.close()
    cache = StatCache(tmp_path / 'files.sqlite')
    assert (len(cache.known(tmp_path / 'x')), cache.scanned(tmp_path / 'x')) == (1, {})
    cache.close()


def test_a_table_of_scans_of_another_shape_is_made_anew(tmp_path):
    with sqlite3.connect(tmp_path / 'files.sqlite') as table:
        table.execute('CREATE TABLE scans (path TEXT)')
    table.close()
    cache = StatCache(tmp_path / 'files.sqlite')
    assert cache.scanned(tmp_path) == {}
    cache.close()


def test_a_disk_without_room_costs_what_would_be_remembered_and_nothing_else(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        cache = StatCache(tmp_path / 'cache' / 'files.sqlite')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    path = tmp_path / 'file'
    path.write_bytes(b'one')
    remember(cache, path)
    assert str(path) in cache.known(tmp_path)
    cache.close()
