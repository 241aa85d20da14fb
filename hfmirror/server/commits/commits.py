"""How is a commit made of what a client sent? Contents first, then trees, the commit, and last the ref.

Until the ref moves nothing can be seen. It moves only from the commit that the new one was made on, so that a push at the
same time is never lost: the commit is made again on the new head, or refused when the client named the head it meant.
"""

from __future__ import annotations

import re
from contextlib import closing
from threading import Lock
from typing import NamedTuple

from hfmirror import lfs
from hfmirror.lfs import Pointer
from hfmirror.server.answers import Problem, bad_request, no_revision
from hfmirror.server.commits.draft import Draft
from hfmirror.server.commits.operations import Commit, Delete, Operation, PutLfs
from hfmirror.server.git import checks, refusals
from hfmirror.server.git.attributes import ATTRIBUTES, lfs_paths
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.git.packing import Pack
from hfmirror.server.git.writing import NOBODY, RefChanged, add_commit, move_ref
from hfmirror.server.hub import Hub
from hfmirror.server.names import checked_revision
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.talks import discussions
from hfmirror.store import ObjectStore

_CARD = 'README.md'
_TRIES = 10
_MAIN = 'refs/heads/main'
_WRITABLE = re.compile(r'refs/(?:heads/.+|pr/[1-9][0-9]{0,8})')
# Commits to one ref of one repository wait for each other instead of making each other's work void. Two repositories may
# share a lock: they wait a few milliseconds for nothing.
_TURNS = tuple(Lock() for _ in range(64))


class Proposal(NamedTuple):
    """A commit that was made in a new pull request."""

    number: int
    commit: str


class Incoming:
    """The contents of a commit that is being sent: stored as they come, and looked at."""

    def __init__(self, hub: Hub, repo: Repo) -> None:
        self._plain_max, self._repo_type = hub.plain_max, repo.repo_type
        self._objects = ObjectStore(repo.objects)
        self._pack = Pack(repo.path)
        self._faults: dict[str, list[str]] = {'large': [], 'binary': [], 'missing': []}
        self._card: list[str] = []

    def close(self) -> None:
        """Drop what was not installed."""
        self._pack.close()

    def keep(self, path: str, content: bytes) -> str:
        """Store the content of a plain file and return its blob's id. What is wrong with it is said by ``install``."""
        fault = checks.plain_fault(path, content, self._plain_max)
        pointer = lfs.parse_pointer(content)
        if pointer is not None and not self._objects.has(*pointer):
            fault = 'missing'
        if fault is not None:
            self._faults[fault].append(path)
            return NOBODY
        if path == _CARD:
            self._card = checks.card_report(content, self._repo_type).errors
        return self._pack.add('blob', content)

    def install(self, ref: str) -> None:
        """Put all contents into the repository. Raises Problem 400 when there is one that the Hub does not take."""
        offenders = {
            fault: [refusals.Offender(path, ref) for path in paths] for fault, paths in self._faults.items()
        }
        if offenders['large']:
            raise bad_request(refusals.large_text(offenders['large'], self._plain_max))
        if offenders['binary']:
            raise bad_request(refusals.binary_text(offenders['binary']))
        if offenders['missing']:
            raise bad_request(refusals.missing_text(self._faults['missing']))
        if self._card:
            raise bad_request(refusals.metadata_text(self._card))
        self._pack.install()


def ref_of(revision: str) -> str:
    """Return the full name of the ref that a commit to ``revision`` moves. Raises Problem 404 when it can be none."""
    checked_revision(revision)
    ref = revision if revision.startswith('refs/') else f'refs/heads/{revision}'
    if not _WRITABLE.fullmatch(ref):
        raise no_revision(revision)
    return ref


def head_of(bare: Bare, ref: str) -> str | None:
    """Return the commit that ``ref`` is at; None for main in a repository without commits. Raises Problem 404."""
    head = bare.head(ref)
    if head is None and not (ref == _MAIN and bare.is_empty()):
        raise no_revision(ref.removeprefix('refs/heads/'))
    return head


def make(hub: Hub, repo: Repo, ref: str, commit: Commit, *, user: str) -> str:
    """Make a commit on top of ``ref`` and return its id.

    Raises Problem 412 when the commit was made for another head, 404 and 400 when it cannot be made on this one.
    """
    bare = hub.bare(repo)
    with _turn(repo, ref):
        for _ in range(_TRIES):
            head = head_of(bare, ref)
            if commit.header.parent not in (None, head):
                break
            oid = _written(bare, repo, head, commit, user=user)
            try:
                move_ref(repo.path, ref, old=head, new=oid)
            except RefChanged:
                continue
            return oid
    raise Problem(412, 'The branch was updated since you opened this page. Please refresh and try again.')


def propose(hub: Hub, repo: Repo, ref: str, commit: Commit, *, user: str) -> Proposal:
    """Make a commit in a new pull request into the branch ``ref``, on top of it or of the parent that the commit names."""
    bare = hub.bare(repo)
    head = bare.head(ref)
    if head is None:
        raise no_revision(ref)
    parent = bare.commit(commit.header.parent) if commit.header.parent else head
    # Before there is a pull request: one that cannot be filled is not opened.
    oid = _written(bare, repo, parent, commit, user=user)
    number = discussions.open_pull_request(
        hub, repo, author=user, title=commit.header.summary, description=commit.header.description, base=ref
    )
    proposed = f'refs/pr/{number}'
    move_ref(repo.path, proposed, old=bare.head(proposed), new=oid)
    return Proposal(number, oid)


def squash(hub: Hub, repo: Repo, ref: str, message: str, *, user: str) -> str:
    """Make one commit without a parent of all that ``ref`` holds, and return its id."""
    bare = hub.bare(repo)
    with _turn(repo, ref):
        for _ in range(_TRIES):
            head = bare.commit(ref)
            root = bare.find(head, '')
            assert root is not None, 'every commit has a tree'
            oid = add_commit(repo.path, root.oid, parents=[], text=message, user=user)
            try:
                move_ref(repo.path, ref, old=head, new=oid)
            except RefChanged:
                continue
            return oid
    raise RefChanged(ref)


def _turn(repo: Repo, ref: str) -> Lock:
    return _TURNS[hash((repo.path, ref)) % len(_TURNS)]


def _written(bare: Bare, repo: Repo, parent: str | None, commit: Commit, *, user: str) -> str:
    """Write trees and commit, and return the commit's id."""
    draft = Draft(bare, parent)
    with closing(Pack(repo.path)) as pack:
        pointers = _pointers(repo, commit.operations)
        for operation in commit.operations:
            _apply(draft, operation, pack, pointers)
        _track(bare, draft, pack, pointers)
        tree = draft.write(pack)
        pack.install()
    parents = [parent] if parent is not None else []
    return add_commit(repo.path, tree, parents=parents, text=commit.header.message, user=user)


def _pointers(repo: Repo, operations: list[Operation]) -> dict[str, Pointer]:
    """Return {path: pointer} of the LFS files. Raises Problem 400 when an object is not there, or of another size."""
    store = ObjectStore(repo.objects)
    pointers, missing = {}, []
    for operation in operations:
        if not isinstance(operation, PutLfs):
            continue
        if operation.path.rpartition('/')[2] == ATTRIBUTES:
            raise bad_request(f'{operation.path} cannot be in LFS: git reads it itself.')
        size = store.size(operation.oid) if operation.size is None else operation.size
        if size is None or not store.has(operation.oid, size):
            missing.append(operation.path)
        else:
            pointers[operation.path] = Pointer(operation.oid, size)
    if missing:
        raise bad_request(refusals.missing_text(missing))
    return pointers


def _apply(draft: Draft, operation: Operation, pack: Pack, pointers: dict[str, Pointer]) -> None:
    if isinstance(operation, Delete):
        draft.remove(operation.path, operation.kind)
        return
    if operation.old_path is not None and operation.old_path != operation.path:
        draft.remove(operation.old_path, 'file')
    if isinstance(operation, PutLfs):
        draft.put(operation.path, pack.add('blob', pointers[operation.path].text))
    else:
        draft.put(operation.path, operation.blob)


def _track(bare: Bare, draft: Draft, pack: Pack, pointers: dict[str, Pointer]) -> None:
    """Name in ``.gitattributes`` those of the LFS files that it does not send to LFS yet."""
    paths = [path for path, pointer in pointers.items() if pointer.size and draft.get(path) is not None]
    attributes = draft.above(paths, ATTRIBUTES)
    tracked = lfs_paths(bare.git_dir, paths, attributes)
    untracked = [path for path in paths if path not in tracked]
    if not untracked:
        return
    blob = attributes.get(ATTRIBUTES)
    old = bare.content(File(ATTRIBUTES, '100644', blob)) if blob is not None else b''
    text = lfs.track(old.decode('utf-8', 'surrogateescape'), untracked, untracked)
    draft.put(ATTRIBUTES, pack.add('blob', text.encode('utf-8', 'surrogateescape')))
