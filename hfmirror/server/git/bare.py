"""What does a bare repository hold? Its refs, commits, trees and files, read for the Hub's answers.

Trees and what is known of blobs never change, so the last ones read are kept; refs are read anew each time. A name in
the cache says nothing about being there still: each request begins with a commit that is.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, TypeVar

from hfmirror import errors, lfs
from hfmirror.gitcmd import GitFailed
from hfmirror.server.answers import Problem, no_entry, no_revision
from hfmirror.server.git.catfile import CatFiles
from hfmirror.server.git.objects import COMMIT_MAX, TREE_MAX, Commit, Node, parse_commit, parse_tree
from hfmirror.server.git.served import git
from hfmirror.server.names import checked_revision, is_commit, served_path

_KEPT = 40_000_000  # bytes of memory for what is kept
_FACT = 600  # bytes that one small value takes with its key
_NAME = 320  # bytes that one entry of a tree takes
_SMALL = 64 * 1024  # bytes of a file whose content is kept
_MOST = 200_000  # entries of a listing; a few nested trees can claim billions
_LOG_MAX = 8 * 1024 * 1024  # bytes of the commits of one answer
_LOOSE = re.compile(rb'[0-9a-f]{40}\n?')

T = TypeVar('T')


class File(NamedTuple):
    """A file or folder at a path. ``size`` is that of the content, behind a pointer too; 0 for a folder."""

    path: str
    mode: str
    oid: str
    size: int = 0
    pointer: lfs.Pointer | None = None

    @property
    def is_folder(self) -> bool:
        return self.mode == '40000'

    @property
    def etag(self) -> str:
        """What changes with the content: the sha256 of an LFS object, else git's blob id."""
        return self.pointer.oid if self.pointer else self.oid


class Ref(NamedTuple):
    """A ref's full name and the commit it leads to, an annotated tag's own commit included."""

    name: str
    commit: str


class Cache:
    """What was read last, over all repositories; bounded by the memory it takes, in bytes."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept, self._size = kept, 0
        self._lock = Lock()
        self._values: OrderedDict[tuple[str, str], tuple[Any, int]] = OrderedDict()

    def get(self, key: tuple[str, str]) -> Any:
        """Return what is kept under the key, None when nothing is."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: tuple[str, str], value: Any, size: int = _FACT) -> None:
        """Keep a value that takes about ``size`` bytes; the ones used least recently go."""
        with self._lock:
            old = self._values.pop(key, None)
            self._values[key] = (value, size)
            self._size += size - (old[1] if old else 0)
            while self._size > self._kept:
                self._size -= self._values.popitem(last=False)[1][1]


class Bare:
    """One repository, read for one request."""

    def __init__(self, git_dir: Path, processes: CatFiles, cache: Cache) -> None:
        self.git_dir = git_dir
        self._processes, self._cache, self._name = processes, cache, str(git_dir)

    def kept(self, what: str, make: Callable[[], T], size: Callable[[T], int] = lambda _: _FACT) -> T:
        """Return what ``make`` makes, or made before. ``what`` names a fact of a commit, tree or blob, its id included."""
        found: T | None = self._cache.get((self._name, what))
        if found is None:
            found = make()
            self._cache.put((self._name, what), found, size(found))
        return found

    def commit(self, revision: str) -> str:
        """Return the commit that a branch, tag, full ref or (short) commit id leads to. Raises Problem 404."""
        found = self.find_commit(checked_revision(revision))
        if found is None:
            raise no_revision(revision)
        return found

    def find_commit(self, revision: str) -> str | None:
        """Return the commit of a checked revision, None when there is none. A branch comes before a tag of its name.

        A whole commit id is that commit, whatever a branch is called: clients pin what they have looked at.
        """
        pinned = len(revision) == 40 and is_commit(revision)
        if not pinned and (loose := self._loose_branch(revision)):
            return loose
        names = [f'refs/heads/{revision}', f'refs/tags/{revision}']
        if revision == 'HEAD' or revision.startswith('refs/') or is_commit(revision):
            names.insert(0 if pinned else len(names), revision)
        with self._processes.of(self.git_dir) as process:
            found = process.look_up([f'{name}^{{commit}}' for name in names])
        return next((one.oid for one in found if one is not None and one.kind == 'commit'), None)

    def head(self, ref: str) -> str | None:
        """Return the commit of a full ref name, None when there is no such ref."""
        with self._processes.of(self.git_dir) as process:
            found = process.look_up([f'{ref}^{{commit}}'])[0]
        return found.oid if found else None

    def file(self, commit: str, path: str) -> File:
        """Return the file or folder at ``path``. Raises Problem 404 when there is none."""
        clean = served_path(path)
        found = self.find(commit, clean) if clean is not None else None
        if found is None:
            raise no_entry(path, commit)
        return found

    def find(self, commit: str, path: str) -> File | None:
        """Return the file or folder at ``path``, None when there is none; ``''`` is the root."""
        node = Node('', '40000', self.root(commit))
        for name in path.split('/') if path else ():
            below = self.tree(node.oid).get(name) if node.is_folder else None
            if below is None or below.is_submodule:
                return None
            node = below
        return self.files([(path, node)])[0]

    def listing(self, commit: str, path: str = '', *, recursive: bool = False) -> list[File]:
        """Return what is in a folder, in git's order; with ``recursive`` all below it, each folder before its content.

        Raises Problem 404 when there is no such folder.
        """
        return self.files(list(self.walk(commit, path, recursive=recursive)))

    def walk(self, commit: str, path: str = '', *, recursive: bool = False) -> Iterator[tuple[str, Node]]:
        """Yield the path and node of what ``listing`` returns, without a look at any file."""
        folder = self.find(commit, path)
        if folder is None or not folder.is_folder:
            raise no_entry(path, commit)
        return self._walk(folder.oid, f'{path}/' if path else '', recursive=recursive)

    def content(self, file: File) -> bytes:
        """Return the content of a blob: the pointer itself of an LFS file."""
        if file.pointer is None and file.size <= _SMALL:
            return self.kept(
                f'{file.oid} content', lambda: self.read(file.oid), lambda found: _FACT + len(found)
            )
        return self.read(file.oid)

    def read(self, oid: str) -> bytes:
        """Return the content of any object, and keep it nowhere."""
        return self._read([oid])[0]

    def read_tree(self, oid: str) -> bytes:
        """Return the content of a tree, and keep it nowhere. Raises Problem 413 for one that no push could bring."""
        content = self._read([oid], most=TREE_MAX + 1)[0]
        if len(content) > TREE_MAX:
            raise Problem(413, 'A folder has too many files to be read')
        return content

    def _read(self, oids: Sequence[str], *, most: int | None = None) -> list[bytes]:
        with self._processes.of(self.git_dir) as process:
            contents = process.read(oids, most=most)
        found = [content for content in contents if content is not None]
        if len(found) < len(contents):
            raise errors.GitError(f'{self.git_dir}: the object {oids[contents.index(None)]} is missing.')
        return found

    def pieces(self, file: File) -> Generator[bytes]:
        """Yield the content of a blob, a part at a time, from a process that nobody else has meanwhile: to be closed."""
        with self._processes.of(self.git_dir) as process:
            yield from process.pieces(file.oid)

    def refs(self) -> list[Ref]:
        """Return every ref that leads to a commit, ordered by name."""
        answer = git(
            'for-each-ref',
            '--format=%(refname)%00%(objectname)%00%(*objectname)%00%(objecttype)%00%(*objecttype)',
            cwd=self.git_dir,
        )
        # Not splitlines: a name may have characters that are line ends to Python.
        rows = (line.split('\0') for line in answer.split('\n') if line)
        return [
            Ref(name, peeled or oid) for name, oid, peeled, kind, inner in rows if 'commit' in (kind, inner)
        ]

    def log(self, commit: str, *, skip: int = 0, limit: int = 50, path: str = '') -> list[Commit]:
        """Return commits, newest first; with ``path`` those that changed what is there."""
        where = ['--', f':(top,literal){path}'] if path else ['--']
        part = (f'--skip={skip}', f'--max-count={limit}')
        return self.commits(git('rev-list', *part, commit, *where, cwd=self.git_dir).split())

    def commits(self, oids: Sequence[str]) -> list[Commit]:
        """Return these commits. The messages of very long ones, and of very many long ones, are cut."""
        contents = self._read(oids, most=min(COMMIT_MAX, _LOG_MAX // max(1, len(oids))))
        return [parse_commit(oid, content) for oid, content in zip(oids, contents, strict=True)]

    def changes(self, commit: Commit) -> list[tuple[str, str]]:
        """Return ``(A, M, D or T, path)`` of what a commit changed against its first parent, ordered by path."""
        against = ('--root', '--diff-merges=first-parent')
        shape = ('-r', '-z', '--no-commit-id', '--name-status')
        answer = git('diff-tree', *shape, *against, commit.oid, cwd=self.git_dir)
        words = answer.split('\0')
        return list(zip(words[0:-1:2], words[1::2], strict=False))

    def count(self, commit: str) -> int:
        """Return the number of commits that lead to this one, itself included."""
        return int(git('rev-list', '--count', commit, cwd=self.git_dir))

    def is_empty(self) -> bool:
        """Return whether there is no commit on any ref."""
        try:
            return not git('for-each-ref', '--count=1', '--format=1', cwd=self.git_dir)
        except GitFailed:
            return True

    def date(self, commit: str) -> datetime:
        """Return when the commit was made."""
        return self.kept(f'{commit} date', lambda: self.commits([commit])[0].date)

    def root(self, commit: str) -> str:
        """Return the id of the commit's tree."""
        return self.kept(commit, lambda: self._root(commit))

    def tree(self, oid: str) -> Mapping[str, Node]:
        """Return the entries of a tree object by their names, in git's order."""
        return self.kept(
            oid,
            lambda: {node.name: node for node in parse_tree(self.read_tree(oid))},
            lambda nodes: _FACT + _NAME * len(nodes),
        )

    def files(self, nodes: Sequence[tuple[str, Node]]) -> list[File]:
        """Return the files of (path, node) pairs with their sizes; what is not known yet is asked in one go."""
        facts = self._facts([node.oid for _, node in nodes if not node.is_folder])
        files = []
        for path, node in nodes:
            size, pointer = (0, None) if node.is_folder else facts[node.oid]
            files.append(File(path, node.mode, node.oid, size, pointer if node.mode != '120000' else None))
        return files

    def _loose_branch(self, revision: str) -> str | None:
        """Return the commit of a branch that has a file of its own, as most have: ten times faster than to ask git."""
        try:
            with open(f'{self._name}/refs/heads/{revision}', 'rb') as file:
                content = file.read(64)
        except (OSError, ValueError):
            return None
        return content[:40].decode() if _LOOSE.fullmatch(content) else None

    def _root(self, commit: str) -> str:
        with self._processes.of(self.git_dir) as process:
            tree = process.look_up([f'{commit}^{{tree}}'])[0]
        if tree is None:
            raise no_revision(commit)
        return tree.oid

    def _walk(self, oid: str, prefix: str, *, recursive: bool) -> Iterator[tuple[str, Node]]:
        folders = [(prefix, iter(self.tree(oid).values()))]
        count = 0
        while folders:
            prefix, nodes = folders[-1]
            node = next(nodes, None)
            if node is None:
                folders.pop()
            elif not node.is_submodule:
                count += 1
                if count > _MOST:
                    raise Problem(413, f'This is more than {_MOST} files: list a folder alone')
                yield prefix + node.name, node
                if recursive and node.is_folder:
                    folders.append((f'{prefix}{node.name}/', iter(self.tree(node.oid).values())))

    def _facts(self, oids: Sequence[str]) -> dict[str, tuple[int, lfs.Pointer | None]]:
        """Return {blob: (size of what it stands for, pointer)}."""
        known = {oid: self._cache.get((self._name, f'{oid} blob')) for oid in oids}
        new = [oid for oid, fact in known.items() if fact is None]
        for oid, fact in self._new_facts(new) if new else ():
            known[oid] = fact
            self._cache.put((self._name, f'{oid} blob'), fact)
        return known

    def _new_facts(self, oids: Sequence[str]) -> Iterator[tuple[str, tuple[int, lfs.Pointer | None]]]:
        with self._processes.of(self.git_dir) as process:
            found = process.look_up(oids)
            if None in found:
                raise errors.GitError(f'{self.git_dir}: the file {oids[found.index(None)]} is missing.')
            sizes = {oid: one.size for oid, one in zip(oids, found, strict=True) if one}
            small = [oid for oid, size in sizes.items() if size <= lfs.POINTER_MAX]
            contents = dict(zip(small, process.read(small), strict=True))
        for oid, size in sizes.items():
            pointer = lfs.parse_pointer(contents.get(oid) or b'')
            yield oid, (pointer.size if pointer else size, pointer)
