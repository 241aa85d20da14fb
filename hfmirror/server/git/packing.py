"""How do many new objects get into a repository at once? As a pack, which git checks and stores.

What is added waits in a file without a name, so that a kill leaves nothing; memory holds one object at a time. The format is
that of gitformat-pack(5), without deltas.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Literal

from hfmirror.gitcmd import GitFailed
from hfmirror.server.answers import bad_request
from hfmirror.server.git.objects import TREE_MAX
from hfmirror.server.git.served import git

_KINDS = {'commit': 1, 'tree': 2, 'blob': 3}
# Fewer objects are stored each for itself, as git does it after a push: a pack for each small commit would be many packs.
_LOOSE_BELOW = 25
# A rule of git-fsck(1): `error: object 4616a8…: hasDotgit: contains '.git'`.
_BROKEN_RULE = re.compile(r'^error: object [0-9a-f]+: (\w+: .+)', re.MULTILINE)
_CHUNK = 1024 * 1024  # bytes


class Pack:
    """New objects on their way into a repository. Not for two threads at once."""

    def __init__(self, git_dir: Path) -> None:
        self._git_dir = git_dir
        # Beside the repository's files: /tmp may be memory. It stays open until `close`.
        self._file = TemporaryFile(dir=git_dir)  # noqa: SIM115
        self._file.write(_header(0))
        self._oids: set[str] = set()

    def close(self) -> None:
        """Drop what was added and not installed."""
        self._file.close()

    def add(self, kind: Literal['tree', 'blob'], content: bytes) -> str:
        """Add an object and return its id. Raises Problem 400 for a tree that is too large."""
        oid = hashlib.sha1(b'%s %d\0' % (kind.encode(), len(content)), usedforsecurity=False)
        oid.update(content)
        if oid.hexdigest() not in self._oids:  # git refuses a pack that has an object twice
            if kind == 'tree' and len(content) > TREE_MAX:
                raise bad_request(f'A folder has at most {TREE_MAX} bytes of names.')
            self._oids.add(oid.hexdigest())
            self._file.write(_entry_header(_KINDS[kind], len(content)))
            self._file.write(zlib.compress(content, 1))
        return oid.hexdigest()

    def install(self) -> None:
        """Store all in the repository; nothing refers to it yet.

        Raises Problem 400 for what git takes from nobody, as a name that some file systems read as ``.git``.
        """
        if not self._oids:
            return
        self._complete()
        if len(self._oids) < _LOOSE_BELOW:
            command = ['unpack-objects', '-q', '--strict']
        else:
            command = ['index-pack', '--stdin', '--strict']
        objects = self._git_dir / 'objects'
        # Apart until all is found to be good: git stores objects before it has seen the last one, and leaves them there.
        # The name is one that git removes when it is old.
        with TemporaryDirectory(dir=objects, prefix='tmp_objdir-incoming-') as apart:
            places = {'GIT_OBJECT_DIRECTORY': apart, 'GIT_ALTERNATE_OBJECT_DIRECTORIES': str(objects)}
            try:
                git(*command, cwd=self._git_dir, stdin=self._file, env=places)
            except GitFailed as e:
                broken = _BROKEN_RULE.search(e.stderr)
                if broken is None:
                    raise
                raise bad_request(f'Git takes no such commit: {broken[1]}') from e
            _move_all(Path(apart), objects)

    def _complete(self) -> None:
        """Write the number of objects, and the checksum of all."""
        self._file.seek(0)
        self._file.write(_header(len(self._oids)))
        self._file.seek(0)
        checksum = hashlib.sha1(usedforsecurity=False)
        while chunk := self._file.read(_CHUNK):
            checksum.update(chunk)
        self._file.write(checksum.digest())
        self._file.flush()
        os.lseek(self._file.fileno(), 0, os.SEEK_SET)


def _move_all(source: Path, target: Path) -> None:
    """Move objects and packs; the index of a pack comes after the pack, because it makes git look for it."""
    files = [path for path in source.rglob('*') if path.is_file()]
    for path in sorted(files, key=lambda path: path.suffix == '.idx'):
        final = target / path.relative_to(source)
        final.parent.mkdir(exist_ok=True)
        path.replace(final)


def _header(objects: int) -> bytes:
    return b'PACK' + struct.pack('>II', 2, objects)


def _entry_header(kind: int, size: int) -> bytes:
    """Return kind and size as a pack has them: four bits of the size in the first byte, seven in each that follows."""
    byte, size = kind << 4 | size & 15, size >> 4
    header = bytearray()
    while size:
        header.append(byte | 128)
        byte, size = size & 127, size >> 7
    return bytes((*header, byte))
