"""How does a release that waited go on top of what the remote has got meanwhile?

The folder's files are there as the release has them. Elsewhere by path, three ways: what the release changed against
the commit it was built on is done to the remote's newest tree.
The card and ``.gitattributes`` have the words of several people and are merged.
"""

from __future__ import annotations

from dataclasses import replace

from hfmirror import lfs, rules
from hfmirror.card import card
from hfmirror.clone import Clone
from hfmirror.fastimport import Content
from hfmirror.outbox import Entry, Outbox
from hfmirror.tree import Entry as File
from hfmirror.tree import Tree, compare


def onto(repository: Clone, outbox: Outbox, entry: Entry, head: str | None) -> Entry:
    """Make the release again on top of ``head`` and keep it in the outbox in place of the old one."""
    theirs = repository.prepare(head)
    ours = repository.tree(entry.commit)
    base = repository.tree(entry.base) if entry.base else {}
    files = _files(repository, entry, base=base, ours=ours, theirs=theirs)
    commit = repository.commit(repository.message(entry.commit), files)
    tag = None
    if entry.version is not None and entry.tag_object is not None:
        tag = repository.tag(entry.version, commit, repository.tag_text(entry.tag_object))
    made = replace(entry, commit=commit, tag_object=tag, base=head)
    outbox.add(made, repository.pack([tag or commit, commit, *([head] if head else [])]))
    return made


def _files(
    repository: Clone, entry: Entry, *, base: Tree, ours: Tree, theirs: Tree
) -> dict[str, Content | None]:
    changes = compare(base, ours)
    stale = rules.stale(theirs, ours, entry.path_in_repo, keep=entry.keep)
    files: dict[str, Content | None] = dict.fromkeys(
        [*stale, *(file.path for file in changes.deleted if file.path in theirs)]
    )
    changed = [*changes.added, *(new for _, new in changes.modified)]
    written = {file.path: file for file in [*changed, *_restored(entry, ours, theirs)]}.values()
    contents = repository.blobs([file.oid for file in written if not file.is_lfs])
    executables = repository.executables(entry.commit)
    for file in written:
        if file.is_lfs:
            files[file.path] = Content(lfs.Pointer(file.oid, file.size).text)
        else:
            merged = _merged(repository, file.path, contents[file.oid], theirs)
            files[file.path] = Content(merged, executable=file.path in executables)
    return files


def _restored(entry: Entry, ours: Tree, theirs: Tree) -> list[File]:
    """Return the folder's files that are not there as the release has them, whoever changed them: it is a mirror."""
    if entry.keep:
        return []
    prefix = f'{entry.path_in_repo}/' if entry.path_in_repo else ''
    return [
        file
        for path, file in ours.items()
        if path.startswith(prefix)
        and theirs.get(path) != file
        and not rules.kept_by_hand(path.removeprefix(prefix), entry.path_in_repo)
    ]


def _merged(repository: Clone, path: str, content: bytes, theirs: Tree) -> bytes:
    if path not in ('README.md', '.gitattributes') or path not in theirs or theirs[path].is_lfs:
        return content
    ours_text, their_text = (
        content.decode('utf-8', 'surrogateescape'),
        repository.read(theirs[path]).decode('utf-8', 'surrogateescape'),
    )
    if path == 'README.md':
        return card.transplant(ours_text, their_text).encode('utf-8', 'surrogateescape')
    have = set(their_text.splitlines())
    return lfs.joined(their_text, [line for line in ours_text.splitlines() if line not in have]).encode(
        'utf-8', 'surrogateescape'
    )
