"""A git repository with a work tree on this machine, and its remote: refs, trees, tags, and the push that is whole or nothing.

What a release is made in (``clone``) and what a person works in (``repository``) have this in common.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import errors, lfs, output
from hfmirror.gitcmd import GitFailed, git, git_bytes, meaning, succeeds
from hfmirror.target import Target
from hfmirror.tree import Entry, Tree, blob_id

if TYPE_CHECKING:
    from git import Repo

DAMAGE = re.compile(r'corrupt|unable to read|bad object|missing (?:blob|tree|commit)|inflate|file truncated')
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_FILES = ('100644', '100755')
_STALE_S = 10  # seconds


_NOBODY = {
    'GIT_AUTHOR_NAME': 'hfmirror',
    'GIT_AUTHOR_EMAIL': 'hfmirror@users.noreply.localhost',
    'GIT_COMMITTER_NAME': 'hfmirror',
    'GIT_COMMITTER_EMAIL': 'hfmirror@users.noreply.localhost',
}


class RemoteMoved(errors.ConflictError):
    """The remote's branch is not where we built on."""


class TagExists(errors.ConflictError):
    """The remote has a tag of that name elsewhere."""


class WorkTree:
    """A repository whose work tree is ``work`` and whose remote ``origin`` is ``target``.

    ``env`` is what git gets in addition whenever it talks to the remote: who we are, above all.
    """

    def __init__(self, target: Target, work: Path, env: Mapping[str, str] | None = None) -> None:
        self.target = target
        self.work = work
        self.env = dict(env or {})
        self.person: dict[str, str] = {}  # as whom git commits where it knows nobody
        self._git: Repo | None = None
        self._trees: dict[str, Tree] = {}  # by commit: they never change
        self._names: dict[str, str] | None = None

    def fetch(self, commit: str, ref: str) -> None:
        """Have ``commit`` here, the one that ``ref`` (``refs/heads/main``) names on the remote; its parents are not fetched."""
        if self.has(commit):
            return
        self._remote(
            'fetch',
            '-q',
            '--depth=1',
            '--no-tags',
            '--no-write-fetch-head',
            'origin',
            f'+{ref}:refs/hfmirror/fetched',
        )
        if not self.has(commit):
            raise RemoteMoved(f'{self.target}: {ref} has moved. Run the same command again.')

    def has(self, commit: str) -> bool:
        """Return whether a commit and its tree are here."""
        return succeeds('rev-parse', '-q', '--verify', f'{commit}^{{tree}}', cwd=self.work)

    def tree(self, commit: str | None) -> Tree:
        """Return the tree of a commit that is here; empty for None. Submodules and symbolic links are no entries."""
        if commit is None:
            return {}
        if commit not in self._trees:
            files = self._listed(commit)
            pointers = self._pointers([row.blob for row in files if row.size <= lfs.POINTER_MAX])
            self._trees[commit] = {row.path: _entry(row, pointers.get(row.blob)) for row in files}
        return self._trees[commit]

    def require_tree(self, commit: str, tree: Tree) -> None:
        """Raise GitError unless ``commit`` holds exactly ``tree``. Nothing wrong is ever pushed."""
        made = {row.path: row.blob for row in self._listed(commit)}
        meant = {path: _blob_of(entry) for path, entry in tree.items()}
        wrong = sorted(path for path in made.keys() | meant.keys() if made.get(path) != meant.get(path))
        if wrong:
            raise errors.GitError(
                f'{wrong[0]}: the commit does not hold it as it was laid out; nothing was sent.'
            )
        self._trees[commit] = tree

    def executables(self, commit: str) -> set[str]:
        """Return the paths of the executable files of a commit."""
        return {row.path for row in self._listed(commit) if row.mode == '100755'}

    def links(self, commit: str) -> set[str]:
        """Return the paths of the symbolic links and submodules of a commit."""
        return {row.path for row in self._rows(commit) if row.mode not in _FILES}

    def _listed(self, commit: str) -> list[_Listed]:
        return [row for row in self._rows(commit) if row.mode in _FILES]

    def _rows(self, commit: str) -> list[_Listed]:
        listing = git_bytes('ls-tree', '-r', '-z', '--long', '--full-tree', commit, cwd=self.work)
        return [_listed(row) for row in listing.split(b'\0') if row]

    def _pointers(self, blobs: Sequence[str]) -> dict[str, lfs.Pointer]:
        """Return {blob: pointer} for those blobs that are pointers."""
        contents = self.blobs(blobs)
        parsed = ((blob, lfs.parse_pointer(content)) for blob, content in contents.items())
        return {blob: pointer for blob, pointer in parsed if pointer}

    def blobs(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return {blob id: content}, all read by one git process."""
        if not ids:
            return {}
        answer = git_bytes('cat-file', '--batch', cwd=self.work, stdin='\n'.join(ids) + '\n')
        contents, at = {}, 0
        for blob in ids:
            end = answer.index(b'\n', at)
            size = int(answer[at:end].split()[2])
            contents[blob] = answer[end + 1 : end + 1 + size]
            at = end + 2 + size
        return contents

    def read(self, entry: Entry) -> bytes:
        """Return the content of a plain file of a tree."""
        return self.blobs([entry.oid])[entry.oid]

    def message(self, commit: str) -> str:
        """Return the message of a commit that is here."""
        return str(self.git.commit(commit).message)

    def tag(self, name: str, commit: str, text: str) -> str:
        """Return a new annotated tag object. No ref names it here: the remote's is the one that counts."""
        tagger = git('var', 'GIT_COMMITTER_IDENT', cwd=self.work, env=self._identity())
        head = f'object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n'
        return git('mktag', cwd=self.work, stdin=head + text)

    def tag_text(self, tag_object: str) -> str:
        """Return the message of an annotated tag that is here."""
        from git import TagObject

        return str(TagObject(self.git, bytes.fromhex(tag_object)).message)

    def pack(self, commits: Iterable[str]) -> bytes:
        """Return a pack with those commits or tags and all that their trees need, but not their history."""
        listed = git('rev-list', '--objects', '--no-walk=unsorted', *commits, cwd=self.work)
        ids = '\n'.join([line.partition(' ')[0] for line in listed.splitlines()] + list(commits))
        return git_bytes('pack-objects', '-q', '--stdout', cwd=self.work, stdin=ids + '\n')

    def unpack(self, pack: Path) -> None:
        """Have the objects of a pack here."""
        git('index-pack', '--stdin', cwd=self.work, stdin=pack.read_bytes())

    def push_refs(self, refspecs: Sequence[str]) -> None:
        """Push all refs or none.

        Raises RemoteMoved or TagExists when a ref cannot go forward, RemoteError when the remote's checks refuse it,
        GitFailed when the clone is damaged.
        """
        try:
            self._push(refspecs)
        except GitFailed as e:
            if not self._unlock(e.stderr):
                raise _push_failure(e, self.target) from e
            self.push_refs(refspecs)

    def _push(self, refspecs: Sequence[str]) -> None:
        # Without --porcelain, which would say on standard output why a ref was rejected.
        git(
            'push',
            '-q',
            '--atomic',
            '--no-verify',
            '--no-signed',
            'origin',
            *refspecs,
            cwd=self.work,
            env=self.env,
        )

    def _unlock(self, said: str) -> bool:
        """Remove the lock that a killed git left on a ref of the local Hub; returns whether there was one.

        Git holds such a lock for milliseconds. In any other repository it is not ours to judge.
        """
        found = _LOCKED.search(said)
        if self.target.remote != 'local' or self.target.path is None or found is None:
            return False
        lock = Path(os.path.normpath(found[1]))
        try:
            if not lock.is_relative_to(self.target.path) or time.time() - lock.stat().st_mtime < _STALE_S:
                return False
            lock.unlink()
        except OSError:
            return False
        output.say(f'{self.target}: removed {lock}, which a killed git had left')
        return True

    def is_ancestor(self, commit: str, of: str) -> bool:
        """Return whether the remote's ``of`` has ``commit`` in its recent history (50 commits)."""
        where = self.work
        if self.target.path is not None:
            where = self.target.path
        else:
            ref = f'+refs/heads/{self.target.branch}:refs/hfmirror/history'
            self._remote('fetch', '-q', '--depth=50', '--no-tags', 'origin', ref)
        return succeeds('merge-base', '--is-ancestor', commit, of, cwd=where)

    @property
    def git(self) -> Repo:
        """GitPython's view of the clone."""
        if self._git is None:
            from git import Repo

            self._git = Repo(self.work)
        return self._git

    def close(self) -> None:
        if self._git is not None:
            self._git.close()

    def _remote(self, *args: str) -> None:
        try:
            git(*args, cwd=self.work, env=self.env)
        except GitFailed as e:
            if DAMAGE.search(e.stderr):
                raise
            raise meaning(e, str(self.target)) from e

    def _identity(self) -> dict[str, str]:
        """Return the environment that names a committer where the person's git has no name for them."""
        if self._names is None:
            self._names = {} if self._is_named() else {**_NOBODY, **self.person}
        return self._names

    def _is_named(self) -> bool:
        return succeeds('var', 'GIT_COMMITTER_IDENT', cwd=self.work) and succeeds(
            'var', 'GIT_AUTHOR_IDENT', cwd=self.work
        )


class _Listed(NamedTuple):
    mode: str
    blob: str
    size: int
    path: str


def _listed(row: bytes) -> _Listed:
    facts, _, path = row.decode('utf-8', 'surrogateescape').partition('\t')
    mode, _, blob, size = facts.split()
    return _Listed(mode, blob, int(size) if size != '-' else 0, path)


def _entry(row: _Listed, pointer: lfs.Pointer | None) -> Entry:
    if pointer is None:
        return Entry(row.path, row.blob, row.size, is_lfs=False)
    return Entry(row.path, pointer.oid, pointer.size, is_lfs=True)


def _blob_of(entry: Entry) -> str:
    return blob_id(lfs.Pointer(entry.oid, entry.size).text) if entry.is_lfs else entry.oid


def _push_failure(failure: GitFailed, target: Target) -> errors.HfmirrorError:
    said = failure.stderr
    if DAMAGE.search(said):
        return failure
    locked = _LOCKED.search(said)
    if locked:
        return errors.NetworkError(
            f'{target}: {os.path.normpath(locked[1])} is held by another git, or was left by one that was killed.'
        )
    # Not a branch that somebody else made first, which git says in nearly the same words.
    taken = re.search(r"'refs/tags/([^']+)': reference already exists|-> (\S+) \(already exists\)", said)
    if taken:
        return TagExists(f'{target}: the tag {taken[1] or taken[2]} is already there. Use another --tag.')
    if any(
        word in said
        for word in (
            'non-fast-forward',
            'fetch first',
            'stale info',
            'cannot lock ref',
            'failed to update ref',
        )
    ):
        return RemoteMoved(f'{target}: the branch {target.branch} has moved. Push again to go on top of it.')
    if '[remote rejected]' in said or 'pre-receive hook declined' in said:
        return errors.RemoteError(f'{target}: the remote refused the push:\n{said}')
    return meaning(failure, str(target))
