"""The object store: nothing doubled, nothing under an oid that is not its bytes, nothing left behind."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from hfmirror.errors import SourceChanged, VerificationError
from hfmirror.statcache import Stamp
from hfmirror.store import ObjectStore

CONTENT = b'weights\0' * 1000
OID = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(params=[False, True], ids=['as git-lfs', 'flat'])
def store(tmp_path, request):
    return ObjectStore(tmp_path / 'store', flat=request.param)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / 'model.bin'
    path.write_bytes(CONTENT)
    return path


def add(store, content=CONTENT):
    oid = hashlib.sha256(content).hexdigest()
    with store.temporary() as copy:
        copy.write(content)
        store.add(copy, oid)
    return oid


def temporaries(store):
    return [path for path in store.root.rglob('*') if path.is_file() and len(path.name) != 64]


def test_git_lfs_finds_objects_where_it_looks(tmp_path):
    assert ObjectStore(tmp_path).path(OID) == tmp_path / 'objects' / OID[:2] / OID[2:4] / OID


def test_an_object_is_there_after_settle_and_not_before(store):
    add(store)
    assert not store.has(OID, len(CONTENT))
    store.settle()
    assert store.has(OID, len(CONTENT)) and store.owns(OID, len(CONTENT))
    assert store.path(OID).read_bytes() == CONTENT and store.oids() == [OID]


def test_others_may_read_an_object_as_the_umask_says(store):
    before = os.umask(0o022)
    try:
        add(store)
        store.settle()
    finally:
        os.umask(before)
    assert store.path(OID).stat().st_mode & 0o777 == 0o644


def test_what_is_not_added_is_removed(store):
    with store.temporary() as copy:
        copy.write(CONTENT)
    store.settle()
    assert temporaries(store) == [] and store.oids() == []


def test_an_error_while_writing_leaves_nothing(store):
    with pytest.raises(ValueError), store.temporary():
        raise ValueError('stop')
    assert temporaries(store) == []


def test_a_full_disk_is_told_with_its_place(store):
    with pytest.raises(OSError) as full, store.temporary():
        raise OSError(errno.ENOSPC, 'No space left on device')
    assert full.value.filename == str(store.root)
    assert temporaries(store) == []


def test_an_object_of_another_size_is_not_there(store):
    add(store)
    store.settle()
    assert not store.has(OID, len(CONTENT) - 1) and not store.owns(OID, len(CONTENT) + 1)


def test_an_object_without_bytes_is_everywhere(store):
    assert store.has(hashlib.sha256(b'').hexdigest(), 0)


# -- links


def test_a_link_takes_no_room_and_is_not_owned(store, file):
    stamp = store.link(file, OID)
    assert store.has(OID, len(CONTENT))
    if stamp is None:
        pytest.skip('this file system shares blocks, so the object is its own')
    assert os.path.samefile(store.path(OID), file) and not store.owns(OID, len(CONTENT))
    assert stamp == Stamp.of(os.stat(file)) and temporaries(store) == []


def test_a_link_can_be_made_again(store, file):
    for _ in range(3):
        store.link(file, OID)
    assert store.path(OID).read_bytes() == CONTENT and temporaries(store) == []


@pytest.mark.skipif(not os.access('/dev/shm', os.W_OK), reason='no second file system here')
def test_a_file_on_another_file_system_is_linked_by_its_name(store, file, tmp_path_factory):
    elsewhere = Path('/dev/shm') / f'hfmirror-test-{os.getpid()}-{tmp_path_factory.getbasetemp().name}'
    elsewhere.write_bytes(CONTENT)
    try:
        stamp = store.link(elsewhere, OID)
        assert store.path(OID).is_symlink() and stamp == Stamp.of(os.stat(elsewhere))
        assert not store.owns(OID, len(CONTENT))
        store.own(OID)
        elsewhere.write_bytes(b'overwritten')
        assert store.path(OID).read_bytes() == CONTENT and not store.path(OID).is_symlink()
    finally:
        elsewhere.unlink()


def test_an_owned_object_is_not_changed_with_the_file(store, file):
    store.link(file, OID)
    store.own(OID)
    assert store.owns(OID, len(CONTENT))
    with file.open('r+b') as opened:
        opened.write(b'overwritten in place')
    assert store.path(OID).read_bytes() == CONTENT


def test_an_object_whose_file_was_overwritten_cannot_be_owned(store, file):
    if store.link(file, OID) is None:
        pytest.skip('this file system shares blocks, so the object is its own')
    with file.open('r+b') as opened:
        opened.write(b'overwritten in place')
    with pytest.raises(SourceChanged, match=OID[:12]):
        store.own(OID)
    assert temporaries(store) == []


# -- from store to store


@pytest.mark.parametrize('flat', [False, True])
def test_an_owned_object_is_moved_not_copied(store, tmp_path, flat):
    other = ObjectStore(tmp_path / 'other', flat=flat)
    add(other)
    other.settle()
    inode = other.path(OID).stat().st_ino
    store.take(other, OID, len(CONTENT))
    store.flush_names([OID])
    assert store.path(OID).stat().st_ino == inode and other.oids() == []


def test_a_linked_object_is_copied_so_that_the_file_stays_the_persons_own(store, file, tmp_path):
    other = ObjectStore(tmp_path / 'other')
    other.link(file, OID)
    store.take(other, OID, len(CONTENT))
    store.settle()
    assert not os.path.samefile(store.path(OID), file) and store.owns(OID, len(CONTENT))


def test_a_copy_is_checked_on_the_way(store, file):
    with pytest.raises(VerificationError, match=r'model\.bin'):
        store.copy_in(file, 'b' * 64, len(CONTENT))
    store.settle()
    assert store.oids() == [] and temporaries(store) == []


def test_an_object_that_is_there_already_may_come_again(store, file):
    for _ in range(2):
        store.copy_in(file, OID, len(CONTENT))
        store.settle()
    assert store.oids() == [OID] and temporaries(store) == []


# -- tidying


def test_drop_leaves_no_empty_folders(store):
    add(store)
    store.settle()
    store.drop([OID, 'c' * 64])
    assert store.oids() == []
    assert list((store.root / 'objects').rglob('*')) == []


def test_keep_only_removes_the_rest_and_what_a_killed_run_left(store):
    kept, gone = add(store, b'kept'), add(store, b'gone')
    store.settle()
    (store.root / 'tmp').mkdir(exist_ok=True)
    (store.root / 'tmp' / 'half').write_bytes(b'half')
    store.keep_only([kept])
    assert store.oids() == [kept] and gone not in store.oids() and temporaries(store) == []
    add(store, b'more')
    store.settle()
    assert len(store.oids()) == 2


def test_ten_thousand_objects_that_are_not_there_are_asked_quickly(store):
    assert not any(store.has(f'{number:064x}', 1) for number in range(10_000))
