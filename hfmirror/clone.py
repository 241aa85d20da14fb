"""The tool's own clone of one target: what a release is composed in, committed, tagged and pushed from.

On disk, under the cache directory, one directory a target::

    <slug>/hfmirror.json   the mark: this directory is ours
    <slug>/work/           the clone: depth 1, LFS files as pointer files, no hooks, no filters
    <slug>/attributes.git  an empty repository; git reads the work tree's .gitattributes through it
    <slug>/tags.git        tags and their commits without trees, of a remote behind a network
    <slug>.lock            held while a command uses the clone

Everything here can be rebuilt. What cannot, commits and objects on their way, is in the outbox.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import clone, durable, errors, lfs, output
from hfmirror.fastimport import Content, commit_stream
from hfmirror.gitcmd import GitFailed, git, git_bytes, meaning, succeeds
from hfmirror.refs import Refs, fetched_tags, ls_remote, tags_in
from hfmirror.target import Target
from hfmirror.tree import Entry, Tree, blob_id
from hfmirror.versions import VersionInfo

if TYPE_CHECKING:
    from git import Repo


_NEW = 'refs/hfmirror/new'
_MANY_POINTERS = 1000
_STALE_S = 10  # seconds
_LOCKED = re.compile(r"Unable to create '([^']+\.lock)': File exists")
_DAMAGE = re.compile(r'corrupt|unable to read|bad object|missing (?:blob|tree|commit)|inflate|file truncated')


class RemoteMoved(errors.ConflictError):
    """The remote's branch is not where we built on."""


class TagExists(errors.ConflictError):
    """The remote has a tag of that name elsewhere."""


class Repository:
    """An open clone. Make one with ``opened``, which holds its lock."""

    def __init__(self, target: Target, home: Path, storage: Path) -> None:
        self.target = target
        self.home = home
        self.work = home / 'work'
        self._storage = storage
        self._git: Repo | None = None
        self._trees: dict[str, Tree] = {}  # by commit: they never change

    # -- what the remote has

    def remote_refs(self) -> Refs:
        """Ask the remote for its branch and tags. Remembered for when it cannot be reached.

        A repository of the local Hub that does not exist yet has none. Raises NotFoundError, AuthError, NetworkError.
        """
        if self.target.remote == 'local' and self.target.path is not None and not self.target.path.exists():
            return Refs(None, {})
        refs = ls_remote(self.target, cwd=self.work)
        durable.write(self.home / 'refs.json', json.dumps(refs).encode())
        return refs

    def remembered_refs(self) -> Refs:
        """Return what the remote had when it was last asked."""
        try:
            head, tags = json.loads((self.home / 'refs.json').read_text())
            return Refs(head, {name: (found[0], found[1]) for name, found in tags.items()})
        except (OSError, ValueError):
            return Refs(None, {})

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

    def versions(self, refs: Refs, *, prefix: str = 'v') -> list[VersionInfo]:
        """Return the remote's tags that hfmirror can order, newest first, read without any file's content."""
        if self.target.path is not None:
            return tags_in(self.target.path, prefix=prefix) if self.target.path.exists() else []
        return fetched_tags(self.target, self.home / 'tags.git', refs, prefix=prefix)

    # -- trees

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

    def _listed(self, commit: str) -> list[_Listed]:
        listing = git_bytes('ls-tree', '-r', '-z', '--long', '--full-tree', commit, cwd=self.work)
        rows = [_listed(row) for row in listing.split(b'\0') if row]
        return [row for row in rows if row.mode in ('100644', '100755')]

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

    # -- the work tree

    def prepare(self, head: str | None) -> Tree:
        """Make the work tree that of ``head``, fetched if need be, and return its tree.

        A clone that is damaged is built anew, once.
        """
        try:
            return self._prepare(head)
        except (GitFailed, ValueError, IndexError) as e:
            output.detail(f'{self.home}: damaged ({e}); building it anew')
            self.rebuild()
            return self._prepare(head)

    def _prepare(self, head: str | None) -> Tree:
        if head is None:
            git('symbolic-ref', 'HEAD', 'refs/heads/hfmirror', cwd=self.work)
            git('update-ref', '-d', 'refs/heads/hfmirror', cwd=self.work)
            git('read-tree', '--empty', cwd=self.work)
        else:
            self.fetch(head, f'refs/heads/{self.target.branch}')
            if self._head() != head:
                self._check_out(head)
        if git('status', '--porcelain', '-z', '--untracked-files=all', '--ignored', cwd=self.work):
            if head is not None:
                git('reset', '-q', '--hard', cwd=self.work)
            git('clean', '-ffdxq', cwd=self.work)
        return self.tree(head)

    def _check_out(self, commit: str) -> None:
        """Bring the work tree to ``commit``.

        A pointer is 130 bytes and takes a block of the disk. Where there are thousands of them, git leaves the paths that go
        to LFS out of the work tree (git-sparse-checkout(1)); its index has them, and ``git status`` is clean all the same.
        """
        tree = self.tree(commit)
        sparse = sum(entry.is_lfs for entry in tree.values()) > _MANY_POINTERS
        if sparse:
            patterns = ['/*', *(f'!{pattern}' for pattern in lfs.tracked(self.attributes(tree) or ''))]
            _write_text(self.work / '.git' / 'info' / 'sparse-checkout', '\n'.join([*patterns, '']))
        switch = f'core.sparseCheckout={str(sparse).lower()}'
        git('-c', switch, 'checkout', '-q', '-f', '--detach', commit, cwd=self.work)

    def attributes(self, tree: Tree) -> str | None:
        """Return the root's .gitattributes in a tree, None when it has none."""
        entry = tree.get('.gitattributes')
        return self.read(entry).decode('utf-8', 'surrogateescape') if entry and not entry.is_lfs else None

    def _head(self) -> str | None:
        try:
            return git('rev-parse', '-q', '--verify', 'HEAD^{commit}', cwd=self.work)
        except GitFailed:
            return None

    def lfs_paths(self, paths: Sequence[str], attributes: str) -> set[str]:
        """Return those of ``paths`` that ``attributes``, as the root's .gitattributes, sends to LFS. Git itself decides.

        It is asked through a repository of its own: the clone's says that nothing is filtered.
        """
        with _scratch(self.home) as scratch:
            _write_text(scratch / '.gitattributes', attributes)
            through = (f'--git-dir={self.home / "attributes.git"}', f'--work-tree={scratch}')
            asked = '\0'.join(paths)
            answer = git_bytes(*through, 'check-attr', '-z', '--stdin', 'filter', cwd=scratch, stdin=asked)
        fields = answer.decode('utf-8', 'surrogateescape').split('\0')
        return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == 'lfs'}

    # -- commits and tags

    def commit(self, text: str, files: Mapping[str, Content | None]) -> str:
        """Commit ``files`` ({path: content, or None to remove it}) on top of the work tree's commit; return the new one.

        The files go to git as one stream (git-fast-import(1)), and git writes them into the work tree: no filter, link or
        attribute of the repository has a say in it, and ten thousand pointers become one pack instead of as many files.
        """
        head = self._head()
        names = [
            git('var', f'GIT_{who}_IDENT', cwd=self.work, env=self._identity())
            for who in ('AUTHOR', 'COMMITTER')
        ]
        stream = commit_stream(_NEW, text, files, parent=head, names=names)
        git('fast-import', '--quiet', '--date-format=raw', '--done', cwd=self.work, stdin=stream)
        commit = git('rev-parse', '--verify', _NEW, cwd=self.work)
        git('update-ref', '-d', _NEW, cwd=self.work)
        self._check_out(commit)
        return commit

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

    def push(self, refspecs: Sequence[str]) -> None:
        """Push all refs or none.

        Raises RemoteMoved or TagExists when a ref cannot go forward, RemoteError when the remote's checks refuse it,
        GitFailed when the clone is damaged.
        """
        try:
            self._push(refspecs)
        except GitFailed as e:
            if not self._unlock(e.stderr):
                raise _push_failure(e, self.target) from e
            self.push(refspecs)

    def _push(self, refspecs: Sequence[str]) -> None:
        # Without --porcelain, which would say on standard output why a ref was rejected.
        git('push', '-q', '--atomic', '--no-verify', '--no-signed', 'origin', *refspecs, cwd=self.work)

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

    # -- inside

    @property
    def git(self) -> Repo:
        """GitPython's view of the clone."""
        if self._git is None:
            from git import Repo

            self._git = Repo(self.work)
        return self._git

    def tidy(self) -> None:
        """Let git put its objects together when there are many."""
        git('-c', 'gc.auto=2000', '-c', 'gc.autoDetach=false', 'gc', '--auto', '--quiet', cwd=self.work)

    def close(self) -> None:
        if self._git is not None:
            self._git.close()

    def _remote(self, *args: str) -> None:
        try:
            git(*args, cwd=self.work)
        except GitFailed as e:
            if _DAMAGE.search(e.stderr):
                raise
            raise meaning(e, str(self.target)) from e

    def _identity(self) -> dict[str, str]:
        """Return the environment that names a committer where the person's git has no name for them."""
        configured = succeeds('var', 'GIT_COMMITTER_IDENT', cwd=self.work) and succeeds(
            'var', 'GIT_AUTHOR_IDENT', cwd=self.work
        )
        if configured:
            return {}
        name, email = 'hfmirror', 'hfmirror@users.noreply.localhost'
        return {
            'GIT_AUTHOR_NAME': name,
            'GIT_AUTHOR_EMAIL': email,
            'GIT_COMMITTER_NAME': name,
            'GIT_COMMITTER_EMAIL': email,
        }

    def rebuild(self) -> None:
        """Make the clone anew."""
        self.close()
        self._git = None
        shutil.rmtree(self.home)
        clone.create(self.home, self.target, self._storage)

    def ensure(self) -> None:
        """Create the clone where there is none; mend what a killed git left. Refuses a directory that is not ours."""
        if not self.home.exists():
            clone.create(self.home, self.target, self._storage)
            return
        if not (self.home / clone.MARK).is_file():
            raise errors.HfmirrorError(
                f'{self.home}: not made by hfmirror, so it is left alone. Move it away, or set HFMIRROR_HOME to another directory.'
            )
        if not clone.is_whole(self.home, self.target):
            self.rebuild()
        for lock in [*self.work.glob('.git/*.lock'), *self.work.glob('.git/refs/**/*.lock')]:
            lock.unlink(missing_ok=True)  # we hold the clone's lock, so whoever made it is dead


@contextmanager
def opened(target: Target, clones: Path, storage: Path) -> Iterator[Repository]:
    """Open the clone of ``target`` under ``clones``, made if there is none; ``storage`` is where its LFS objects lie.

    Waits for another process that uses it.
    """
    clones.mkdir(parents=True, exist_ok=True)
    with clone.locked(clones / f'{target.slug}.lock', str(target)):
        repository = Repository(target, clones / target.slug, storage)
        repository.ensure()
        try:
            yield repository
        finally:
            repository.close()


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


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode('utf-8', 'surrogateescape'))


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    path = Path(mkdtemp(dir=home, prefix='scratch-'))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _push_failure(failure: GitFailed, target: Target) -> errors.HfmirrorError:
    said = failure.stderr
    if _DAMAGE.search(said):
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
