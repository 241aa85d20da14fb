"""Each file is read once, not at all when it is known, and never believed when it changes under the reader."""

from __future__ import annotations

import hashlib
import os
import time

import pytest

from hfmirror import fingerprint, lfs
from hfmirror.errors import SourceChanged, SourceError
from hfmirror.fingerprint import Job, Reader, steadily
from hfmirror.folder import SourceFile
from hfmirror.statcache import Stamp, StatCache
from hfmirror.store import ObjectStore
from tests.support.mirror import git

LARGE = lfs.LFS_FROM + 1


@pytest.fixture
def cache(tmp_path):
    made = StatCache(tmp_path / 'files.sqlite')
    yield made
    made.close()


def source(folder, name, content=b'x', **kwargs):
    path = folder.write(name, content, **kwargs)
    return SourceFile(name, path, os.stat(path))


def read(cache, folder, *files, to_lfs=False, store=None, jobs=0):
    work = [Job(file, to_lfs, copy=lambda: store is not None) for file in files]
    return Reader(cache, store, jobs=jobs).read(folder.path, work)


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize('size', [1, 1000, lfs.LFS_FROM - 1, lfs.LFS_FROM, LARGE])
@pytest.mark.parametrize('jobs', [1, 4])
def test_binary_files_get_the_sha256_of_their_bytes(cache, folder, size, jobs):
    content = bytes(range(256)) * (size // 256) + b'\0' * (size % 256)
    files = [source(folder, 'a.bin', content), source(folder, 'b.bin', content[::-1])]
    found = read(cache, folder, *files, jobs=jobs)
    assert found['a.bin'].known.sha256 == sha256(content) and found['a.bin'].known.size == size
    assert found['b.bin'].known.sha256 == sha256(content[::-1])


def test_text_gets_gits_own_blob_id(cache, folder):
    content = 'crlf\r\nünï'.encode()
    found = read(cache, folder, source(folder, 'a.txt', content))['a.txt'].known
    assert found.is_text and found.sha256 is None
    assert found.blob == git('hash-object', '--no-filters', folder.path / 'a.txt')


def test_text_that_goes_to_lfs_by_its_name_gets_both(cache, folder):
    known = read(cache, folder, source(folder, 'a.bin', b'text'), to_lfs=True)['a.bin'].known
    assert known.sha256 == sha256(b'text') and known.blob


def test_the_stamp_is_the_one_the_bytes_were_read_under(cache, folder):
    file = source(folder, 'a.bin', b'\0')
    assert read(cache, folder, file)['a.bin'].stamp == Stamp.of(file.stat)


def test_many_small_files_are_all_read(cache, folder):
    files = [source(folder, f'{number}.bin', b'\0%d' % number) for number in range(300)]
    found = read(cache, folder, *files)
    assert [found[file.path].known.sha256 for file in files] == [sha256(b'\0%d' % n) for n in range(300)]


# -- not read again


@pytest.fixture
def opened(monkeypatch):
    """Which files are opened from now on."""
    names = []
    real = os.open

    def recording(path, *args, **kwargs):
        names.append(os.path.basename(path))
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, 'open', recording)
    return names


def test_an_unchanged_file_is_not_opened_again(cache, folder, opened):
    file = source(folder, 'a.bin', b'\0')
    first = read(cache, folder, file)
    assert opened == ['a.bin']
    assert read(cache, folder, file) == first
    assert opened == ['a.bin']


@pytest.mark.parametrize('change', ['content', 'mtime', 'replaced'])
def test_a_changed_file_is_read_again(cache, folder, change):
    read(cache, folder, source(folder, 'a.bin', b'\0one'))
    if change == 'replaced':
        folder.write('b.bin', b'\0two')
        os.replace(folder.path / 'b.bin', folder.path / 'a.bin')
    file = source(folder, 'a.bin', b'\0two', age_s=10 if change == 'content' else 5)
    assert read(cache, folder, file)['a.bin'].known.sha256 == sha256(b'\0two')


def test_a_file_written_just_now_is_read_again_next_time(cache, folder, opened):
    file = source(folder, 'a.bin', b'\0', age_s=0)
    os.utime(file.source, ns=(time.time_ns() + 10**9, time.time_ns() + 10**9))
    file = file._replace(stat=os.stat(file.source))
    read(cache, folder, file)
    read(cache, folder, file)
    assert opened == ['a.bin', 'a.bin']


def test_text_that_turns_to_lfs_is_read_for_its_sha256(cache, folder):
    file = source(folder, 'a.txt', b'text')
    assert read(cache, folder, file)['a.txt'].known.sha256 is None
    assert read(cache, folder, file, to_lfs=True)['a.txt'].known.sha256 == sha256(b'text')


# -- changes under the reader


def test_a_file_that_changes_once_is_read_once_more(folder):
    file, contents = source(folder, 'a.bin', b'one'), iter([b'two', None])

    def reading(opened):
        content = opened.read()
        if (new := next(contents)) is not None:
            folder.write('a.bin', new, age_s=5)
        return content

    stamp, content = steadily(file, reading)
    assert content == b'two' and stamp == Stamp.of(os.stat(file.source))


@pytest.mark.parametrize('how', ['in place', 'replaced', 'grown', 'touched'])
def test_a_file_that_changes_twice_is_source_changed_and_named(folder, how):
    file, turns = source(folder, 'a.bin', b'one'), iter([1, 2])

    def reading(opened):
        turn = next(turns)
        if how == 'replaced':
            folder.write('new', b'one')
            os.replace(folder.path / 'new', file.source)
        elif how == 'touched':
            os.utime(file.source, ns=(turn, turn))
        else:
            folder.write('a.bin', b'o%d' % turn + b'x' * (how == 'grown') * turn, age_s=turn)

    with pytest.raises(SourceChanged, match=r'a\.bin: changed while it was read, twice'):
        steadily(file, reading)
    assert next(turns, None) is None


def test_a_file_that_vanishes_while_it_is_read_is_source_changed(folder):
    file = source(folder, 'a.bin')
    with pytest.raises(SourceChanged, match=r'a\.bin: vanished'):
        steadily(file, lambda opened: os.unlink(file.source))


def test_a_file_that_is_gone_is_source_changed(cache, folder):
    file = source(folder, 'a.bin')
    folder.remove('a.bin')
    with pytest.raises(SourceChanged, match=r'a\.bin: vanished'):
        read(cache, folder, file)


@pytest.mark.timeout(10)
def test_a_pipe_put_in_a_files_place_does_not_block(cache, folder):
    file = source(folder, 'a.bin')
    folder.remove('a.bin')
    os.mkfifo(file.source)
    with pytest.raises(SourceChanged, match=r'a\.bin'):
        read(cache, folder, file)


def test_a_folder_put_in_a_files_place_is_an_error_of_ours(cache, folder):
    file = source(folder, 'a.bin')
    folder.remove('a.bin')
    file.source.mkdir()
    with pytest.raises(SourceError, match=r'a\.bin'):
        read(cache, folder, file)


def test_a_small_file_that_grows_past_the_limit_is_never_taken_for_its_beginning(cache, folder):
    file = source(folder, 'a.bin', b'\0small')
    folder.write('a.bin', b'\0' * LARGE, age_s=5)
    try:
        known = read(cache, folder, file)['a.bin'].known
    except SourceChanged:
        return
    assert (known.size, known.sha256) == (LARGE, sha256(b'\0' * LARGE))


def test_nothing_is_remembered_of_a_file_that_changed(cache, folder):
    file = source(folder, 'a.bin', b'\0')
    with pytest.raises(SourceChanged):
        steadily(file, lambda opened: os.unlink(file.source))
    assert cache.known(folder.path) == {}


def test_one_bad_file_among_many_is_the_error(cache, folder):
    files = [source(folder, f'{number}.bin', b'\0%d' % number) for number in range(200)]
    folder.remove('150.bin')
    with pytest.raises(SourceChanged, match=r'150\.bin'):
        read(cache, folder, *files)


def test_a_pointer_under_a_name_of_lfs_is_refused(cache, folder):
    file = source(folder, 'a.bin', lfs.Pointer('a' * 64, 5).text)
    with pytest.raises(SourceError, match='git lfs pull'):
        read(cache, folder, file, to_lfs=True)


# -- copied on the way


@pytest.mark.parametrize('size', [5, LARGE])
def test_a_copy_is_made_while_it_is_hashed(cache, folder, tmp_path, size):
    store, content = ObjectStore(tmp_path / 'store'), b'\0' * size
    read(cache, folder, source(folder, 'a.bin', content), store=store)
    path = store.path(sha256(content))
    assert path.read_bytes() == content
    assert path.stat().st_ino != os.stat(folder.path / 'a.bin').st_ino
    assert not list((tmp_path / 'store' / 'tmp').iterdir())


def test_a_copy_of_a_file_that_changed_is_thrown_away(cache, folder, tmp_path, monkeypatch):
    store, file = ObjectStore(tmp_path / 'store'), source(folder, 'a.bin', b'\0' * LARGE)
    real, turns = fingerprint.copy_hashed, iter([5, None])

    def changing(*args, **kwargs):
        oid = real(*args, **kwargs)
        if (age := next(turns)) is not None:
            folder.write('a.bin', b'\1' * LARGE, age_s=age)
        return oid

    monkeypatch.setattr(fingerprint, 'copy_hashed', changing)
    known = read(cache, folder, file, store=store)['a.bin'].known
    assert known.sha256 == sha256(b'\1' * LARGE)
    for oid in store.oids():
        assert sha256(store.path(oid).read_bytes()) == oid
