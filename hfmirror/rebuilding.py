"""How does an archive become a git repository again? With every branch, tag and LFS object, or not at all."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hfmirror import durable, errors, lfs, output
from hfmirror.archive.objects import object_name
from hfmirror.archive.state import State
from hfmirror.clone import Clone
from hfmirror.delivery import Retry, patiently
from hfmirror.gitcmd import GitFailed, git, succeeds
from hfmirror.pulling import Fetcher, Paths, batches, require_room
from hfmirror.refs import create_bare
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry
from hfmirror.worktree import WorkTree

_TOGETHER = 10_000  # objects of git that are looked at by one process
_BRANCHES, _TAGS = 'refs/heads/', 'refs/tags/'


class Plan(NamedTuple):
    """What a repository in an archive has: its newest state, and each LFS object that any commit of it names, once."""

    state: State
    objects: tuple[Entry, ...]

    @property
    def branches(self) -> int:
        return sum(ref.startswith(_BRANCHES) for ref in self.state.refs)

    @property
    def tags(self) -> int:
        return sum(ref.startswith(_TAGS) for ref in self.state.refs)

    @property
    def size(self) -> int:
        """The bytes of all LFS objects."""
        return sum(entry.size for entry in self.objects)


def plan(repository: Clone, *, retry: Retry) -> Plan:
    """Return what there is to rebuild. Raises UsageError for a remote that is no archive, NotFoundError for an empty one."""
    archive, target = repository.archive, repository.target
    if archive is None:
        raise errors.UsageError(
            f'{target}: no archive, but a git repository already. Clone it with: git clone --mirror {target.url}'
        )
    state = patiently(retry, lambda _: archive.refresh())
    if state is None:
        raise errors.NotFoundError(
            f'{target}: no such repository ({target.url}). Name another with --repo, or check --remote.'
        )
    return Plan(state, tuple(_objects(repository, archive.mirror.path)))


def _objects(repository: Clone, git_dir: Path) -> Iterator[Entry]:
    """Yield each LFS object that any commit names, once, with one of its paths."""
    listed = git('rev-list', '--objects', '--all', cwd=git_dir).split('\n')
    rows = iter([(oid, path) for oid, _, path in (line.partition(' ') for line in listed) if path])
    blobs, seen = WorkTree(repository.target, git_dir), set[str]()
    while some := dict(islice(rows, _TOGETHER)):
        for oid, content in blobs.blobs(_small(git_dir, list(some))).items():
            pointer = lfs.parse_pointer(content)
            if pointer is not None and pointer.size and pointer.oid not in seen:
                seen.add(pointer.oid)
                yield Entry(some[oid], pointer.oid, pointer.size, is_lfs=True)


def _small(git_dir: Path, oids: Sequence[str]) -> list[str]:
    """Return those of git's objects that may be pointers."""
    form = '--batch-check=%(objectname) %(objecttype) %(objectsize)'
    answer = git('cat-file', form, cwd=git_dir, stdin='\n'.join([*oids, '']))
    rows = (line.split() for line in answer.splitlines())
    return [oid for oid, kind, size in rows if kind == 'blob' and int(size) <= lfs.POINTER_MAX]


def rebuild(repository: Clone, planned: Plan, to: Path, *, retry: Retry) -> None:
    """Make the bare repository ``to``, as the local Hub lays one out.

    Run again after a kill, it goes on where it was. Raises ConflictError when something is there already.
    """
    require_free(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    new = _beside(repository, to)
    if not (new / 'HEAD').is_file():
        create_bare(new, repository.target.branch)
    _fetch_history(repository, planned, new)
    _fetch_objects(repository, planned.objects, new, retry)
    try:
        git('fsck', '--full', '--no-dangling', '--no-progress', cwd=new)
    except GitFailed as e:
        raise errors.VerificationError(
            f'{new}: git fsck finds damage in what was rebuilt:\n{e.stderr}'
        ) from e
    require_free(to)
    os.rename(new, to)
    durable.flush([to.parent])


def require_free(to: Path) -> None:
    """Raise ConflictError when something is where a repository is to be made."""
    if os.path.lexists(to):
        raise errors.ConflictError(f'{to}: is there already, so it is left alone. Choose another --to.')


def _beside(repository: Clone, to: Path) -> Path:
    """Return where the repository is made until it is whole; another for each one that it may be made from."""
    mark = hashlib.sha256(repository.target.git_url.encode()).hexdigest()[:12]
    return to.parent / f'.{to.name[:40]}-{mark}.part'


def _fetch_history(repository: Clone, planned: Plan, new: Path) -> None:
    assert repository.archive is not None
    refs = ('+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*')
    options = ('-q', '--prune', '--no-tags', '--no-write-fetch-head', '--update-head-ok')
    checked = ('-c', 'fetch.fsckObjects=true')
    git(*checked, 'fetch', *options, repository.archive.mirror.path, *refs, cwd=new)
    branches = sorted(ref for ref in planned.state.refs if ref.startswith(_BRANCHES))
    wanted = f'{_BRANCHES}{repository.target.branch}'
    if branches and not succeeds('rev-parse', '-q', '--verify', wanted, cwd=new):
        wanted = f'{_BRANCHES}main' if f'{_BRANCHES}main' in branches else branches[0]
    git('symbolic-ref', 'HEAD', wanted, cwd=new)


def _fetch_objects(repository: Clone, objects: Sequence[Entry], new: Path, retry: Retry) -> None:
    store = ObjectStore(new / 'lfs')
    wanted = [entry for entry in objects if not store.has(entry.oid, entry.size)]
    require_room(new, wanted, 'choose another --to')
    parts = new / 'lfs' / 'incomplete'  # where git-lfs has its own; whatever is left there is no object
    parts.mkdir(parents=True, exist_ok=True)

    def paths(entry: Entry) -> Paths:
        return Paths(parts / entry.oid, new / 'lfs' / object_name(entry.oid))

    with output.progress('rebuilding', sum(entry.size for entry in wanted)) as shown:
        fetcher = Fetcher(repository, wanted, paths, nearby={}, shown=shown, retry=retry)
        for together in batches(wanted):
            for entry in together:
                paths(entry).final.parent.mkdir(parents=True, exist_ok=True)
            fetcher.fetch(together)
    parts.rmdir()
