"""What does a bare repository hold? Its refs, commits, trees and files, read for the Hub's answers.

Trees and what is known of blobs never change, so the last ones read are kept; refs are asked anew each time.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from hfmirror import lfs
from hfmirror.gitcmd import GitFailed, git
from hfmirror.server.answers import no_entry, no_revision
from hfmirror.server.catfile import CatFile, CatFiles
from hfmirror.server.names import checked_revision, is_commit, served_path

_KEPT = 500_000  # names of trees and facts of blobs, about 100 bytes each
_LOG_FIELDS = '%x00'.join(['%H', '%P', '%an', '%ae', '%ct', '%B']) + '%x00%x00'


class Node(NamedTuple):
    """One entry of a tree: ``mode`` as git has it, ``040000`` for a folder, ``120000`` for a symbolic link."""

    name: str
    mode: str
    oid: str

    @property
    def is_folder(self) -> bool:
        return self.mode == '40000'

    @property
    def is_submodule(self) -> bool:
        return self.mode == '160000'


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


class Commit(NamedTuple):
    """A commit; ``message`` is all of its text."""

    oid: str
    parents: tuple[str, ...]
    author: str
    email: str
    date: datetime
    message: str

    @property
    def title(self) -> str:
        return self.message.partition('\n')[0]

    @property
    def body(self) -> str:
        return self.message.partition('\n')[2].strip('\n')


class Ref(NamedTuple):
    """A ref's full name and the commit it leads to, an annotated tag's own commit included."""

    name: str
    commit: str


class Cache:
    """The last trees and blobs' facts read, over all repositories; bounded by their number of entries."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept, self._size = kept, 0
        self._lock = Lock()
        self._values: OrderedDict[tuple[Path, str], tuple[Any, int]] = OrderedDict()

    def get(self, key: tuple[Path, str]) -> Any:
        """Return what is kept under the key, None when nothing is."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            self._values.move_to_end(key)
            return found[0]

    def put(self, key: tuple[Path, str], value: Any, weight: int = 1) -> None:
        """Keep a value that counts as ``weight`` entries; the ones used least recently go."""
        with self._lock:
            old = self._values.pop(key, None)
            self._values[key] = (value, weight)
            self._size += weight - (old[1] if old else 0)
            while self._size > self._kept and len(self._values) > 1:
                self._size -= self._values.popitem(last=False)[1][1]


class Bare:
    """One repository, read for one request."""

    def __init__(self, git_dir: Path, processes: CatFiles, cache: Cache) -> None:
        self.git_dir = git_dir
        self._processes, self._cache = processes, cache

    def commit(self, revision: str) -> str:
        """Return the commit that a branch, tag, full ref or (short) commit id leads to. Raises Problem 404."""
        found = self.find_commit(checked_revision(revision))
        if found is None:
            raise no_revision(revision)
        return found

    def find_commit(self, revision: str) -> str | None:
        """Return the commit of a checked revision, None when there is none. A branch comes before a tag of its name."""
        names = [f'refs/heads/{revision}', f'refs/tags/{revision}']
        names += (
            [revision] if revision == 'HEAD' or revision.startswith('refs/') or is_commit(revision) else []
        )
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
        with self._processes.of(self.git_dir) as process:
            node = Node('', '40000', self._root(process, commit))
            for name in path.split('/') if path else ():
                if not node.is_folder:
                    return None
                below = self._tree(process, node.oid).get(name)
                if below is None or below.is_submodule:
                    return None
                node = below
            return self._files(process, [(path, node)])[0]

    def listing(self, commit: str, path: str = '', *, recursive: bool = False) -> list[File]:
        """Return what is in a folder, in git's order; with ``recursive`` all below it, each folder before its content.

        Raises Problem 404 when there is no such folder.
        """
        folder = self.find(commit, path)
        if folder is None or not folder.is_folder:
            raise no_entry(path, commit)
        with self._processes.of(self.git_dir) as process:
            prefix = f'{path}/' if path else ''
            nodes = list(self._walk(process, folder.oid, prefix, recursive=recursive))
            return self._files(process, nodes)

    def content(self, file: File) -> bytes:
        """Return the content of a blob: the pointer itself of an LFS file."""
        with self._processes.of(self.git_dir) as process:
            content = process.read([file.oid])[0]
        assert content is not None, f'{file.oid} was there before'
        return content

    def refs(self) -> list[Ref]:
        """Return every ref that leads to a commit, ordered by name."""
        answer = git(
            'for-each-ref',
            '--format=%(refname)%00%(objectname)%00%(*objectname)%00%(objecttype)%00%(*objecttype)',
            cwd=self.git_dir,
        )
        rows = (line.split('\0') for line in answer.splitlines())
        return [
            Ref(name, peeled or oid) for name, oid, peeled, kind, inner in rows if 'commit' in (kind, inner)
        ]

    def log(self, commit: str, *, skip: int = 0, limit: int = 50, path: str = '') -> list[Commit]:
        """Return commits, newest first; with ``path`` those that changed what is there."""
        where = ['--', f':(top,literal){path}'] if path else ['--']
        answer = git(
            'log',
            f'--format={_LOG_FIELDS}',
            f'--skip={skip}',
            f'--max-count={limit}',
            commit,
            *where,
            cwd=self.git_dir,
        )
        return [_commit(record) for record in f'{answer}\n'.split('\0\0\n') if record]

    def count(self, commit: str) -> int:
        """Return the number of commits that lead to this one, itself included."""
        return int(git('rev-list', '--count', commit, cwd=self.git_dir))

    def is_empty(self) -> bool:
        """Return whether there is no commit on any ref."""
        try:
            return not git('for-each-ref', '--count=1', '--format=1', cwd=self.git_dir)
        except GitFailed:
            return True

    def _root(self, process: CatFile, commit: str) -> str:
        known = self._cache.get((self.git_dir, commit))
        if known is None:
            tree = process.look_up([f'{commit}^{{tree}}'])[0]
            if tree is None:
                raise no_revision(commit)
            known = tree.oid
            self._cache.put((self.git_dir, commit), known)
        return str(known)

    def _tree(self, process: CatFile, oid: str) -> dict[str, Node]:
        known: dict[str, Node] | None = self._cache.get((self.git_dir, oid))
        if known is None:
            content = process.read([oid])[0]
            known = {node.name: node for node in _nodes(content or b'')}
            self._cache.put((self.git_dir, oid), known, len(known) + 1)
        return known

    def _walk(
        self, process: CatFile, oid: str, prefix: str, *, recursive: bool
    ) -> Iterator[tuple[str, Node]]:
        for node in self._tree(process, oid).values():
            if node.is_submodule:
                continue
            yield prefix + node.name, node
            if recursive and node.is_folder:
                yield from self._walk(process, node.oid, f'{prefix}{node.name}/', recursive=True)

    def _files(self, process: CatFile, nodes: Sequence[tuple[str, Node]]) -> list[File]:
        """Return the files of these nodes with their sizes; what is not known yet is asked in one go."""
        facts = self._facts(process, [node.oid for _, node in nodes if not node.is_folder])
        files = []
        for path, node in nodes:
            size, pointer = (0, None) if node.is_folder else facts[node.oid]
            files.append(File(path, node.mode, node.oid, size, pointer if node.mode != '120000' else None))
        return files

    def _facts(self, process: CatFile, oids: Sequence[str]) -> dict[str, tuple[int, lfs.Pointer | None]]:
        """Return {blob: (size of what it stands for, pointer)}."""
        known = {oid: self._cache.get((self.git_dir, f'{oid} blob')) for oid in set(oids)}
        new = [oid for oid, fact in known.items() if fact is None]
        sizes = {
            oid: found.size if found else 0 for oid, found in zip(new, process.look_up(new), strict=True)
        }
        small = [oid for oid, size in sizes.items() if size <= lfs.POINTER_MAX]
        pointers = {
            oid: lfs.parse_pointer(content or b'')
            for oid, content in zip(small, process.read(small), strict=True)
        }
        for oid in new:
            pointer = pointers.get(oid)
            known[oid] = (pointer.size if pointer else sizes[oid], pointer)
            self._cache.put((self.git_dir, f'{oid} blob'), known[oid])
        return {oid: fact for oid, fact in known.items() if fact is not None}


def _nodes(content: bytes) -> Iterator[Node]:
    """Yield the entries of a tree object: mode, space, name, NUL, 20 bytes of id."""
    for mode, name, oid in re.findall(rb'([0-7]+) ([^\0]+)\0(.{20})', content, re.DOTALL):
        yield Node(name.decode('utf-8', 'surrogateescape'), mode.decode(), oid.hex())


def _commit(record: str) -> Commit:
    oid, parents, author, email, seconds, message = record.split('\0', 5)
    date = datetime.fromtimestamp(int(seconds), UTC)
    return Commit(oid, tuple(parents.split()), author, email, date, message.strip('\n'))
