"""What will the tree of a commit be? A tree of the repository with changes, of which only the touched folders are read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.git.bare import Bare
from hfmirror.server.git.objects import Node
from hfmirror.server.git.packing import Pack

Kind = Literal['file', 'folder', 'entry']

_FOLDERS_MAX = 100_000  # made by one commit; 25,000 lines of a thousand characters could ask for millions


class Missing(Problem):
    """There is nothing at the path that was to be deleted or moved."""

    def __init__(self, path: str, kind: Kind) -> None:
        thing = 'folder' if kind == 'folder' else 'file'
        super().__init__(404, f'A {thing} with the name "{path[:500]}" does not exist', 'EntryNotFound')


class _Folder:
    """A folder that was looked into. ``oid`` is its tree's, and empty once something in it changed."""

    __slots__ = ('entries', 'oid')
    mode, is_folder = '40000', True  # as a Node has them

    def __init__(self, oid: str, entries: dict[str, Node | _Folder]) -> None:
        self.oid, self.entries = oid, entries

    def content(self) -> bytes:
        """Return the tree object; the folders in it are written."""
        rows = []
        for name, entry in self.entries.items():
            raw = name.encode('utf-8', 'surrogateescape')
            order = raw + b'/' if entry.is_folder else raw  # as git has it
            rows.append((order, b'%s %s\0%s' % (entry.mode.encode(), raw, bytes.fromhex(entry.oid))))
        return b''.join(row for _, row in sorted(rows))


class Draft:
    """A tree that changes, as the commit ``parent`` has it, or empty."""

    def __init__(self, bare: Bare, parent: str | None) -> None:
        self._bare = bare
        self._made = 0
        root = bare.find(parent, '') if parent is not None else None
        self._root = self._read(root.oid) if root else _Folder('', {})

    def get(self, path: str) -> Node | None:
        """Return what is at ``path``, None when nothing or a folder is."""
        chain, name = self._chain(path)
        found = chain[-1].entries.get(name) if chain else None
        return found if isinstance(found, Node) and not found.is_folder else None

    def put(self, path: str, oid: str) -> None:
        """Put a blob at ``path``. What was executable stays so. Raises Problem 400 when a folder is there, or a file above it."""
        *folders, name = path.split('/')
        folder = self._root
        folder.oid = ''
        for depth, part in enumerate(folders, 1):
            inner = self._enter(folder, part)
            if inner is None:
                if part in folder.entries:
                    raise bad_request(f'"{"/".join(folders[:depth])}" is a file, so there can be no "{path}"')
                inner = folder.entries[part] = self._new()
            inner.oid = ''
            folder = inner
        old = folder.entries.get(name)
        if old is not None and old.is_folder:
            raise bad_request(f'"{path}" is a folder, so it cannot be a file')
        mode = '100755' if old is not None and old.mode == '100755' else '100644'
        folder.entries[name] = Node(name, mode, oid)

    def remove(self, path: str, kind: Kind) -> None:
        """Remove a file or a folder with all in it. Raises Missing when there is none of that kind."""
        chain, name = self._chain(path)
        found = chain[-1].entries.get(name) if chain else None
        if found is None or (kind != 'entry' and found.is_folder != (kind == 'folder')):
            raise Missing(path, kind)
        for folder in chain:
            folder.oid = ''
        del chain[-1].entries[name]
        names = path.split('/')
        for depth in range(len(chain) - 1, 0, -1):  # git has no empty folders
            if chain[depth].entries:
                return
            del chain[depth - 1].entries[names[depth - 1]]

    def above(self, paths: Iterable[str], name: str) -> dict[str, str]:
        """Return {path: blob} of the files called ``name`` in all folders above ``paths``; no links."""
        found: dict[str, str] = {}
        for path in paths:
            folder: _Folder | None = self._root
            prefix = ''
            for part in path.split('/'):
                if folder is None:
                    break
                node = folder.entries.get(name)
                if isinstance(node, Node) and node.mode in ('100644', '100755'):
                    found[prefix + name] = node.oid
                prefix, folder = f'{prefix}{part}/', self._enter(folder, part)
        return found

    def write(self, pack: Pack) -> str:
        """Add the trees that changed to ``pack`` and return the root's id."""
        folders = [self._root]
        for folder in folders:  # grows on the way; a path may be deeper than functions can call each other
            folders += [entry for entry in folder.entries.values() if isinstance(entry, _Folder)]
        for folder in reversed(folders):
            if not folder.oid:
                folder.oid = pack.add('tree', folder.content())
        return self._root.oid

    def _chain(self, path: str) -> tuple[list[_Folder], str]:
        """Return the folders that lead to ``path``, root first, and its name; no folders when one of them is not there."""
        *parts, name = path.split('/')
        chain = [self._root]
        for part in parts:
            inner = self._enter(chain[-1], part)
            if inner is None:
                return [], name
            chain.append(inner)
        return chain, name

    def _enter(self, folder: _Folder, name: str) -> _Folder | None:
        """Return the folder of that name, read when it was not yet; None when there is no such folder."""
        found = folder.entries.get(name)
        if isinstance(found, Node):
            if not found.is_folder:
                return None
            found = folder.entries[name] = self._read(found.oid)
        return found

    def _read(self, oid: str) -> _Folder:
        return _Folder(oid, dict(self._bare.tree(oid)))

    def _new(self) -> _Folder:
        self._made += 1
        if self._made > _FOLDERS_MAX:
            raise bad_request(f'A commit can make at most {_FOLDERS_MAX} folders.')
        return _Folder('', {})
