"""Is a version whole where it should be? Its refs and objects on the remote, and a folder's files against it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

from hfmirror import errors
from hfmirror.card import card
from hfmirror.clone import Clone
from hfmirror.copying import BLOCK
from hfmirror.fingerprint import Job, Reader
from hfmirror.folder import Folder
from hfmirror.gitcmd import GitFailed, git
from hfmirror.lfs import LFS_FROM
from hfmirror.objects import RemoteObjects, objects_of
from hfmirror.readme import ownership
from hfmirror.refs import find_version
from hfmirror.rules import ATTRIBUTES, CARD, in_repo, kept_by_hand
from hfmirror.tree import Entry, Tree, blob_id, not_as


class Problem(NamedTuple):
    """One file that is not as the version has it. ``where``: remote or folder; ``what``: missing, extra or different.

    Of an archive also a file that the version needs besides its own, ``history/….bundle``.
    """

    path: str
    where: str
    what: str


class Verified(NamedTuple):
    """What a verification found. ``checked`` counts the files of the version."""

    version: str
    commit: str
    checked: int
    problems: list[Problem]


def verify(
    repository: Clone,
    version: str,
    *,
    folder: Folder | None = None,
    path_in_repo: str = '',
    reader: Reader,
    content: bool = False,
    prefix: str = 'v',
) -> Verified:
    """Check a version on its remote, with ``content`` by reading every object again, and a folder against it.

    Raises NotFoundError when the remote has no such version.
    """
    tag, commit = find_version(repository.remote_refs(), version, str(repository.target), prefix=prefix)
    repository.fetch(commit, f'refs/tags/{tag}')
    tree = repository.tree(commit)
    objects = objects_of(repository)
    problems = [Problem(entry.path, 'remote', 'missing') for entry in objects.missing(tree.values())]
    problems += _not_listed(repository, tag, commit, {problem.path for problem in problems})
    if repository.archive is not None:
        found = repository.archive.wrong(tag, content=content)
        problems += [Problem(name, 'remote', what) for name, what in found]
    if content:
        lost = {problem.path for problem in problems}
        problems += _wrong_content(
            repository, objects, [entry for entry in tree.values() if entry.path not in lost]
        )
    if folder is not None:
        problems += _compare_folder(repository, tree, folder, path_in_repo, reader)
    return Verified(tag, commit, len(tree), problems)


def _not_listed(repository: Clone, tag: str, commit: str, known: set[str]) -> list[Problem]:
    """Return the files that a Hub's REST API does not list as the version has them."""
    listed = repository.listed(tag, commit)
    if listed is None:
        return []
    tree = repository.tree(commit)
    return [
        Problem(path, 'remote', _how(path, tree, listed))
        for path in not_as(tree, listed)
        if path not in known
    ]


def _how(path: str, tree: Tree, listed: Tree) -> str:
    if path not in tree:
        return 'extra'
    return 'different' if path in listed else 'missing'


def _wrong_content(repository: Clone, objects: RemoteObjects, entries: Iterable[Entry]) -> list[Problem]:
    problems = []
    path = repository.target.path
    if path is not None:
        try:
            git('fsck', '--full', '--no-dangling', '--no-progress', cwd=path)
        except GitFailed as e:
            raise errors.VerificationError(
                f'{repository.target}: git fsck finds damage in {path}:\n{e.stderr}'
            ) from e
    for entry in entries:
        if entry.is_lfs and _oid_of(objects, entry) != entry.oid:
            problems.append(Problem(entry.path, 'remote', 'different'))
        if not entry.is_lfs and blob_id(repository.read(entry)) != entry.oid:
            problems.append(Problem(entry.path, 'remote', 'different'))
    return problems


def _oid_of(objects: RemoteObjects, entry: Entry) -> str:
    digest = hashlib.sha256()
    with objects.open(entry) as (stream, _):
        while block := stream.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _compare_folder(
    repository: Clone, tree: Tree, folder: Folder, path_in_repo: str, reader: Reader
) -> list[Problem]:
    prefix = f'{path_in_repo}/' if path_in_repo else ''
    version = {path.removeprefix(prefix): entry for path, entry in tree.items() if path.startswith(prefix)}
    jobs = [
        Job(file, bool((entry := version.get(file.path)) and entry.is_lfs), copy=lambda: False)
        for file in folder.files
    ]
    found = reader.read(folder.root, jobs)
    problems = []
    for job in jobs:
        name, known = job.file.path, found[job.file.path].known
        entry = version.pop(name, None)
        if entry is None:
            problems.append(Problem(name, 'folder', 'extra'))
        elif in_repo(name, path_in_repo) == CARD and _made_from(repository, entry, known.blob):
            continue
        elif (known.sha256 if entry.is_lfs else known.blob or _large_blob(job)) != entry.oid:
            problems.append(Problem(name, 'folder', 'different'))
    left = [name for name in version if name != ATTRIBUTES and not kept_by_hand(name, path_in_repo)]
    return problems + [Problem(name, 'folder', 'missing') for name in left]


def _made_from(repository: Clone, entry: Entry, blob: str | None) -> bool:
    """Tell whether the version's card was made around the folder's README.md."""
    if blob == entry.oid:
        return True
    text = ownership.decode(repository.read(entry), CARD)
    return blob is not None and card.source(text) == blob[:16]


def _large_blob(job: Job) -> str | None:
    """Return the blob id of a file that was read as LFS would have it and that the version keeps plain."""
    return blob_id(job.file.source.read_bytes()) if job.file.stat.st_size < LFS_FROM else None
