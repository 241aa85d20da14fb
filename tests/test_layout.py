"""Where each file of the folder goes in the repository, and as what."""

from __future__ import annotations

import hashlib
import os

import pytest

from hfmirror import layout, lfs, target
from hfmirror.clone import opened
from hfmirror.config.places import home
from hfmirror.errors import CardError, ConflictError
from hfmirror.fingerprint import Reader
from hfmirror.folder import walk
from hfmirror.statcache import StatCache
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry, blob_id


@pytest.fixture
def lay_out(tmp_path, folder):
    """Lay the folder out on top of a tree; the repository is a clone that never asks its remote."""
    where = target.local(home().hub, 'me/x')
    cache = StatCache(tmp_path / 'files.sqlite')
    with opened(where, home()) as repository:

        def run(head=(), *, store=None, **kwargs):
            return layout.lay_out(
                repository,
                walk(folder.path),
                {entry.path: entry for entry in head},
                Reader(cache, store),
                **kwargs,
            )

        yield run
    cache.close()


def plain(path, content=b'old'):
    return Entry(path, blob_id(content), len(content), is_lfs=False)


def weights(path, content=b'\0old'):
    return Entry(path, hashlib.sha256(content).hexdigest(), len(content), is_lfs=True)


def added_lines(laid):
    default = lfs.default_attributes('model')
    assert laid.attributes.startswith(default)
    return laid.attributes.removeprefix(default).splitlines()


def test_a_file_goes_where_it_is_in_the_folder(lay_out, folder):
    laid = lay_out()
    assert (
        laid.tree.keys()
        == laid.files.keys()
        == {'config.json', 'eval_results.json', 'model.bin', 'notes/training.txt'}
    )


def test_a_path_in_the_repository_comes_in_front(lay_out):
    assert 'runs/a/notes/training.txt' in lay_out(path_in_repo='runs/a').tree


def test_binary_goes_to_lfs_whatever_its_size_and_text_does_not(lay_out, folder):
    folder.write('tiny.dat', b'\0')
    tree = lay_out().tree
    assert tree['tiny.dat'] == weights('tiny.dat', b'\0')
    assert tree['config.json'] == plain('config.json', (folder.path / 'config.json').read_bytes())


def test_text_of_ten_mebibytes_goes_to_lfs_and_one_byte_less_does_not(lay_out, folder):
    folder.write('large.txt', b'x' * lfs.LFS_FROM)
    folder.write('small.txt', b'x' * (lfs.LFS_FROM - 1))
    tree = lay_out().tree
    assert tree['large.txt'].is_lfs and not tree['small.txt'].is_lfs


def test_an_empty_file_is_never_an_lfs_object(lay_out, folder):
    folder.write('empty.bin', b'')
    assert lay_out().tree['empty.bin'] == plain('empty.bin', b'')


def test_a_pointer_text_under_a_plain_name_is_refused_or_kept_as_text(lay_out, folder):
    folder.write('pointer.txt', lfs.Pointer('a' * 64, 5).text)
    assert not lay_out().tree['pointer.txt'].is_lfs


def test_what_the_defaults_cover_needs_no_line(lay_out):
    assert added_lines(lay_out()) == []


def test_a_few_others_get_their_exact_names(lay_out, folder):
    folder.write('a b.dat', b'\0')
    folder.write('[x].dat', b'\0')
    lines = {line.split(' filter')[0] for line in added_lines(lay_out())}
    assert lines == {lfs.exact_pattern('a b.dat'), lfs.exact_pattern('[x].dat')}


def test_many_others_get_one_line(lay_out, folder):
    for number in range(20):
        folder.write(f'{number}.dat', b'\0')
    assert [line.split()[0] for line in added_lines(lay_out())] == ['*.dat']


def test_the_attributes_of_the_repository_are_kept_and_added_to(lay_out, folder, monkeypatch):
    folder.write('x.dat', b'\0')
    theirs = b'# theirs\n*.json text\n'
    monkeypatch.setattr('hfmirror.clone.Clone.read', lambda self, entry: theirs)
    laid = lay_out([plain('.gitattributes', theirs)])
    assert laid.attributes.startswith('# theirs\n*.json text\n')
    assert [line.split()[0] for line in laid.attributes.splitlines()[2:]] == ['/model.bin', '/x.dat']


def test_the_folders_readme_becomes_the_card_and_is_in_no_tree(lay_out, folder):
    assert lay_out().card_source is None
    folder.write('README.md', '# Mine\n')
    laid = lay_out()
    assert laid.card_source.path == 'README.md' and 'README.md' not in laid.tree


def test_below_a_path_a_readme_is_a_file_like_any_other(lay_out, folder):
    folder.write('README.md', '# Mine\n')
    laid = lay_out(path_in_repo='runs/a')
    assert laid.card_source is None and 'runs/a/README.md' in laid.tree


def test_a_readme_that_is_not_text_cannot_be_the_card(lay_out, folder):
    folder.write('README.md', b'\xff\0')
    with pytest.raises(CardError, match=r'README\.md'):
        lay_out()


def test_what_the_folder_has_no_more_is_removed_unless_kept(lay_out):
    head = [plain('old.txt'), weights('old.bin'), plain('LICENSE'), plain('README.md')]
    laid = lay_out(head)
    assert sorted(laid.removed) == ['old.bin', 'old.txt']
    assert 'LICENSE' in laid.tree and 'old.txt' not in laid.tree
    kept = lay_out(head, keep=True)
    assert kept.removed == [] and {'old.txt', 'old.bin'} <= kept.tree.keys()


def test_what_is_outside_the_path_is_left_alone(lay_out):
    laid = lay_out([plain('other.txt'), plain('runs/a/old.txt')], path_in_repo='runs/a')
    assert laid.removed == ['runs/a/old.txt'] and 'other.txt' in laid.tree


def test_a_path_that_is_a_file_of_the_repository_is_a_conflict(lay_out):
    with pytest.raises(ConflictError, match='runs'):
        lay_out([plain('runs')], path_in_repo='runs/a')


def test_a_large_file_that_looks_as_it_was_is_not_copied_again(lay_out, folder, tmp_path):
    content = os.urandom(lfs.LFS_FROM + 5)
    folder.write('large.bin', content)
    theirs = ObjectStore(tmp_path / 'theirs')
    theirs.copy_in(folder.path / 'large.bin', hashlib.sha256(content).hexdigest(), len(content))
    theirs.settle()
    ours = ObjectStore(tmp_path / 'ours')
    laid = lay_out([weights('large.bin', content)], store=ours, stored=theirs)
    assert laid.tree['large.bin'] == weights('large.bin', content)
    assert hashlib.sha256(content).hexdigest() not in ours.oids()


def test_a_large_file_with_other_bytes_is_copied_while_it_is_hashed(lay_out, folder, tmp_path):
    old, new = os.urandom(lfs.LFS_FROM + 5), os.urandom(lfs.LFS_FROM + 5)
    theirs, ours = ObjectStore(tmp_path / 'theirs'), ObjectStore(tmp_path / 'ours')
    folder.write('large.bin', old)
    theirs.copy_in(folder.path / 'large.bin', hashlib.sha256(old).hexdigest(), len(old))
    theirs.settle()
    folder.write('large.bin', new, age_s=5)
    lay_out([weights('large.bin', old)], store=ours, stored=theirs)
    assert hashlib.sha256(new).hexdigest() in ours.oids()


def test_an_outline_knows_sizes_without_reading(folder):
    folder.write('README.md', 'x')
    large = folder.write('large.bin', b'')
    os.truncate(large, 10**12)  # sparse
    tree = layout.outline(walk(folder.path))
    assert tree['large.bin'].size == 10**12 and tree['large.bin'].is_lfs and 'README.md' not in tree
