"""The tool's own clone of one target: what a release is composed in, committed, tagged and pushed from.

On disk, under the cache directory, one directory a target::

    <slug>/hfmirror.json   the mark: this directory is ours
    <slug>/work/           the clone: depth 1, LFS files as pointer files, no hooks, no filters
    <slug>/attributes.git  an empty repository; git reads the work tree's .gitattributes through it
    <slug>/tags.git        tags and their commits without trees, of a remote behind a network
    <slug>/mirror.git      branches and tags of an archive as bare repository, which git asks instead of it
    <slug>.lock            held while a command uses the clone

Everything here can be rebuilt. What cannot, commits and objects on their way, is in the outbox.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from hfmirror import clonedir, durable, errors, lfs, output
from hfmirror.archive.archive import Archive
from hfmirror.auth import Token
from hfmirror.config.places import Home
from hfmirror.fastimport import Content, commit_stream
from hfmirror.gitcmd import GitFailed, git, git_bytes
from hfmirror.hub import Hub, NoSuchRepository, explaining, hub_of, require_online
from hfmirror.refs import Refs, fetched_tags, ls_remote, tags_in
from hfmirror.target import Target
from hfmirror.tree import Tree
from hfmirror.versions import VersionInfo
from hfmirror.worktree import WorkTree

_NEW = 'refs/hfmirror/new'
_MANY_POINTERS = 1000


class Clone(WorkTree):
    """An open clone. Make one with ``opened``, which holds its lock.

    ``hub`` is the REST API of a target on a Hub, ``archive`` that of one in an archive.
    """

    def __init__(self, target: Target, home: Path, storage: Path, hub: Hub | None = None) -> None:
        super().__init__(target, home / 'work', hub.git_environment() if hub else None)
        self.home = home
        self.hub = hub
        self.archive = Archive(target, home / clonedir.MIRROR) if target.archive else None
        self._storage = storage

    def remote_refs(self) -> Refs:
        """Ask the remote for its branch and tags. Remembered for when it cannot be reached.

        A repository of the local Hub or of an archive that does not exist yet has none. Raises NoSuchRepository when a Hub says for certain
        that there is none, NotFoundError, AuthError, NetworkError.
        """
        if self.target.remote == 'local' and self.target.path is not None and not self.target.path.exists():
            return Refs(None, {})
        try:
            refs = self._asked()
        except errors.NotFoundError as e:
            if isinstance(e, NoSuchRepository) or self.hub is None or not self.hub.exists(self.target):
                raise
            refs = self._asked()  # it was created between git's question and ours
        durable.write(self.home / 'refs.json', json.dumps(refs).encode())
        return refs

    def _asked(self) -> Refs:
        if self.archive is not None:
            self.archive.refresh()
            return ls_remote(self.target._replace(git_url=str(self.archive.mirror.path)), cwd=self.work)
        require_online(self.target)
        with self.explaining():
            refs = ls_remote(self.target, cwd=self.work, env=self.env)
        if self.hub is not None and refs.head is None and not refs.tags:
            # To git, the login page of a network is a repository without anything in it.
            self.hub.require(self.target)
        return refs

    @contextmanager
    def explaining(self, *, writing: bool = False) -> Iterator[None]:
        """Raise what is behind a refusal that git and git-lfs could only half tell."""
        with explaining(self.hub, self.target, writing=writing):
            yield

    def remembered_refs(self) -> Refs:
        """Return what the remote had when it was last asked."""
        try:
            head, tags = json.loads((self.home / 'refs.json').read_text())
            return Refs(head, {name: (found[0], found[1]) for name, found in tags.items()})
        except (OSError, ValueError):
            return Refs(None, {})

    def versions(self, refs: Refs, *, prefix: str = 'v') -> list[VersionInfo]:
        """Return the remote's tags that hfmirror can order, newest first, read without any file's content."""
        if self.archive is not None:
            return tags_in(self.archive.mirror.path, prefix=prefix)
        if self.target.path is not None:
            return tags_in(self.target.path, prefix=prefix) if self.target.path.exists() else []
        require_online(self.target)
        return fetched_tags(self.target, self.home / 'tags.git', refs, prefix=prefix, env=self.env)

    def listed(self, revision: str, commit: str) -> Tree | None:
        """Return the files of ``revision``, which is ``commit``, as a Hub's REST API lists them; None where there is none."""
        if self.hub is None:
            return None
        links = self.links(commit)
        found = self.hub.tree(self.target, revision)
        return {path: entry for path, entry in found.items() if path not in links}

    def push_refs(self, refspecs: Sequence[str]) -> None:
        """Push all refs or none, as ``WorkTree`` does; to an archive through its mirror."""
        if self.archive is not None:
            self.archive.rewind()
        super().push_refs(refspecs)
        if self.archive is not None:
            self.archive.publish()

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

    def tidy(self) -> None:
        """Let git put its objects together when there are many."""
        git('-c', 'gc.auto=2000', '-c', 'gc.autoDetach=false', 'gc', '--auto', '--quiet', cwd=self.work)

    def close(self) -> None:
        super().close()
        if self.archive is not None:
            self.archive.close()

    def rebuild(self) -> None:
        """Make the clone anew."""
        self.close()
        self._git = None
        shutil.rmtree(self.home)
        clonedir.create(self.home, self.target, self._storage)

    def ensure(self) -> None:
        """Create the clone where there is none; mend what a killed git left. Refuses a directory that is not ours."""
        if not self.home.exists():
            clonedir.create(self.home, self.target, self._storage)
            return
        if not (self.home / clonedir.MARK).is_file():
            raise errors.HfmirrorError(
                f'{self.home}: not made by hfmirror, so it is left alone. Move it away, or set HFMIRROR_HOME to another directory.'
            )
        if not clonedir.is_whole(self.home, self.target):
            self.rebuild()
        for lock in [*self.work.glob('.git/*.lock'), *self.work.glob('.git/refs/**/*.lock')]:
            lock.unlink(missing_ok=True)  # we hold the clone's lock, so whoever made it is dead


@contextmanager
def opened(target: Target, home: Home, token: Token | None = None) -> Iterator[Clone]:
    """Open the clone of ``target``, made if there is none; its LFS objects lie in the outbox. ``token`` is for a Hub.

    Waits for another process that uses it.
    """
    home.clones.mkdir(parents=True, exist_ok=True)
    hub = hub_of(target, token)
    if hub is not None:
        hub.load()
    with clonedir.locked(home.clones / f'{target.slug}.lock', str(target)):
        repository = Clone(target, home.clones / target.slug, home.outbox / target.slug, hub)
        repository.ensure()
        try:
            yield repository
        finally:
            repository.close()


def _write_text(path: Path, text: str) -> None:
    path.write_bytes(text.encode('utf-8', 'surrogateescape'))


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    path = Path(mkdtemp(dir=home, prefix='scratch-'))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
