"""Where does each file of the folder go in the repository, and as what: LFS object or plain file?"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, lfs, output
from hfmirror.clone import Clone
from hfmirror.fingerprint import Found, Job, Reader
from hfmirror.folder import Folder, SourceFile
from hfmirror.rules import ATTRIBUTES, CARD, clash, in_repo, stale
from hfmirror.statcache import Known
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry, Tree

_SAMPLES = 16
_SAMPLE = 64 * 1024  # bytes


class Laid(NamedTuple):
    """A folder laid out in a repository. The card is not in it: it is made from what is.

    ``tree`` is the whole repository as it will be, without card and ``.gitattributes``; ``files`` is {path in the
    repository: the folder's file}; ``card_source`` is the folder's own README.md when it becomes the card.
    """

    tree: Tree
    files: Mapping[str, SourceFile]
    found: Mapping[str, Found]  # by path in the folder
    attributes: str
    removed: list[str]
    card_source: SourceFile | None


def lay_out(
    repository: Clone,
    folder: Folder,
    head: Tree,
    reader: Reader,
    *,
    path_in_repo: str = '',
    keep: bool = False,
    stored: ObjectStore | None = None,
) -> Laid:
    """Return the folder's layout on top of the tree ``head``, every file read that is not known.

    ``stored`` has the objects the remote has, when it is a directory: what is there already is not copied again.
    """
    files = {in_repo(file.path, path_in_repo): file for file in folder.files}
    clash(head, path_in_repo)
    attributes = repository.attributes(head)
    if attributes is None:
        attributes = lfs.default_attributes(repository.target.repo_type)
    by_name = repository.lfs_paths(list(files), attributes)
    jobs = [
        Job(file, path in by_name, copy=partial(_is_new, file, head.get(path), stored))
        for path, file in files.items()
    ]
    found = reader.read(folder.root, jobs)
    ours = {path: _entry(path, found[file.path].known, path in by_name) for path, file in files.items()}
    card_source = None if path_in_repo else files.pop(CARD, None)
    if card_source is not None and ours.pop(CARD).is_lfs:
        raise errors.CardError(
            f'{card_source.source}: not UTF-8 text, so it cannot become the card. Save it as UTF-8.'
        )
    removed = stale(head, ours, path_in_repo, keep=keep)
    others = {path: entry for path, entry in head.items() if path not in (CARD, ATTRIBUTES, *removed)}
    tree = {**others, **ours}
    attributes = _tracked(repository, attributes, tree, ours, by_name)
    return Laid(tree, files, found, attributes, removed, card_source)


def _tracked(repository: Clone, attributes: str, tree: Tree, ours: Tree, by_name: set[str]) -> str:
    """Return ``attributes`` with what our LFS files need added; git itself is asked whether it is enough."""
    unmatched = [path for path, entry in ours.items() if entry.is_lfs and path not in by_name]
    if not unmatched:
        return attributes
    plain = [path for path, entry in tree.items() if not entry.is_lfs and entry.size]
    changed = lfs.track(attributes, unmatched, plain)
    matched = repository.lfs_paths([*unmatched, *plain], changed)
    wrong = sorted((set(unmatched) - matched) | (matched & set(plain) & ours.keys()))
    if wrong:
        raise errors.SourceError(
            f'{wrong[0]}: the .gitattributes of {repository.target} cannot be made to fit it. Rename the file.'
        )
    return changed


def _entry(path: str, known: Known, by_name: bool) -> Entry:
    if known.size and (by_name or not known.is_text or known.size >= lfs.LFS_FROM):
        assert known.sha256 is not None
        return Entry(path, known.sha256, known.size, is_lfs=True)
    assert known.blob is not None
    return Entry(path, known.blob, known.size, is_lfs=False)


def _is_new(file: SourceFile, before: Entry | None, stored: ObjectStore | None) -> bool:
    """Guess whether the file's bytes are not on the remote yet. A wrong guess costs time and nothing else."""
    if before is None or not before.is_lfs or before.size != file.stat.st_size or stored is None:
        return True
    if before.size < lfs.LFS_FROM:
        return False
    return not _looks_same(file.source, stored.path(before.oid), before.size)


def _looks_same(one: Path, other: Path, size: int) -> bool:
    """Compare a few places spread over two files: retrained weights differ in every one of them."""
    try:
        with one.open('rb', buffering=0) as a, other.open('rb', buffering=0) as b:
            for place in range(_SAMPLES):
                offset = (size - _SAMPLE) * place // (_SAMPLES - 1)
                a.seek(offset)
                b.seek(offset)
                if a.read(_SAMPLE) != b.read(_SAMPLE):
                    return False
    except OSError:
        return False
    output.detail(f'{one.name}: looks as it was; it is hashed before anything is copied')
    return True


def outline(folder: Folder, path_in_repo: str = '') -> Tree:
    """Return the folder as a tree without reading it: paths and sizes are true, oids are not there."""
    sizes = {in_repo(file.path, path_in_repo): file.stat.st_size for file in folder.files}
    return {
        path: Entry(path, '', size, is_lfs=size >= lfs.LFS_FROM)
        for path, size in sizes.items()
        if path != CARD
    }
