"""Where do LFS objects lie, and how do they get there without being doubled?

The layout is git-lfs's own: ``objects/aa/bb/<oid>`` under a directory that ``lfs.storage`` can name. A bare repository
reached by path has the same layout below ``<repository>/lfs``. A flat store, ``objects/<oid>``, is one that git-lfs
never reads: ten thousand small objects cost it ten thousand directories less.
"""

from __future__ import annotations

import ctypes
import errno
import io
import os
import secrets
import shutil
import stat
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from hfmirror import durable, errors
from hfmirror.copying import copy_hashed
from hfmirror.statcache import Stamp

_FICLONE = 0x40049409  # ioctl_ficlonerange(2)


class ObjectStore:
    """A directory of LFS objects, each under its oid."""

    def __init__(self, root: Path, *, flat: bool = False) -> None:
        self.root = root
        self._flat = flat
        self._has_temporary_folder = False
        self._pending: list[tuple[str, str]] = []
        self._kept: set[str] = set()

    def path(self, oid: str) -> Path:
        """Return where the object lies or would lie."""
        return Path(self._name(oid))

    def _name(self, oid: str) -> str:
        # Text, not a Path: this runs several times an object, and there may be ten thousand.
        return (
            f'{self.root}/objects/{oid}' if self._flat else f'{self.root}/objects/{oid[:2]}/{oid[2:4]}/{oid}'
        )

    def size(self, oid: str) -> int | None:
        """Return the object's size in bytes, None when it is not here."""
        try:
            return os.stat(self._name(oid)).st_size
        except OSError:
            return None

    def has(self, oid: str, size: int) -> bool:
        """Return whether the object is here with that size. An object without bytes is everywhere."""
        return size == 0 or self.size(oid) == size

    def owns(self, oid: str, size: int) -> bool:
        """Return whether the object is here with that size and shares its bytes with no other file."""
        try:
            found = os.lstat(self._name(oid))
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_nlink == 1 and found.st_size == size

    @contextmanager
    def temporary(self) -> Iterator[IO[bytes]]:
        """Open a new file to write an object into. ``add`` keeps it; without that it is removed at the end."""
        name = f'{self._temporary_folder()}/{secrets.token_hex(8)}'
        # 0o666 less the umask, as git-lfs makes its objects: others may have to read the repository.
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, 'O_BINARY', 0), 0o666)
        with _Temporary(handle, name) as file:
            try:
                yield file
            except OSError as e:
                if e.errno in durable.NO_ROOM and e.filename is None:  # a write does not know where it writes
                    e.filename = str(self.root)
                raise
            finally:
                if name not in self._kept:
                    with suppress(OSError):
                        os.unlink(name)

    def add(self, file: IO[bytes], oid: str) -> None:
        """Take a written temporary file as object ``oid``. It is there after the next ``settle``."""
        self._kept.add(file.name)
        self._pending.append((file.name, oid))

    def settle(self) -> None:
        """Flush what was added to disk, then give it its final name."""
        pending, self._pending = self._pending, []
        self._kept.clear()
        if not pending:
            return
        durable.flush([Path(name) for name, _ in pending])
        for temporary, oid in pending:
            self._rename(temporary, oid)
        self.flush_names(oid for _, oid in pending)

    def flush_names(self, oids: Iterable[str]) -> None:
        """Return when the names of these objects are on disk."""
        durable.flush(sorted({Path(self._name(oid)).parent for oid in oids}))

    def _rename(self, name: str, oid: str) -> None:
        final = self._name(oid)
        try:
            os.replace(name, final)
        except FileNotFoundError:
            _make_folder(os.path.dirname(final))
            os.replace(name, final)

    def _temporary_folder(self) -> str:
        if not self._has_temporary_folder:
            (self.root / 'tmp').mkdir(parents=True, exist_ok=True)
            self._has_temporary_folder = True
        return f'{self.root}/tmp'

    def link(self, source: Path, oid: str) -> Stamp | None:
        """Make ``source`` the object without copying it: a reflink, else a hard link, else a symbolic link.

        Returns the stamp that tells whether the bytes are still those of ``source`` when it was linked; None for a
        reflink, whose bytes are our own.
        """
        final = self.path(oid)
        final.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(f'{self._temporary_folder()}/{secrets.token_hex(8)}')
        owned = reflink(source, temporary)
        if not owned:
            _hard_or_symbolic_link(source, temporary)
        os.replace(temporary, final)
        # rename(2) leaves both names when they are links to one file, as after a run that was killed.
        temporary.unlink(missing_ok=True)
        return None if owned else Stamp.of(final.stat())

    def own(self, oid: str) -> None:
        """Turn a linked object into a copy of its own. Raises SourceChanged when its bytes are not ``oid`` any more."""
        with self.path(oid).open('rb', buffering=0) as source, self.temporary() as copy:
            if copy_hashed(source, copy) != oid:
                raise errors.SourceChanged(
                    f'object {oid[:12]}: the file it was linked from has been overwritten.'
                )
            self.add(copy, oid)
        self.settle()

    def take(self, other: ObjectStore, oid: str, size: int) -> None:
        """Move an object that ``other`` owns here; from another file system, or when ``other`` only links it, it is copied.

        Its name is on disk after ``flush_names``, a copy is here after ``settle``. Raises VerificationError when the bytes
        that were copied are not ``oid``.
        """
        if other.owns(oid, size):
            try:
                self._rename(other._name(oid), oid)
                return
            except OSError as e:
                if e.errno != errno.EXDEV:
                    raise
        self.copy_in(other.path(oid), oid, size)

    def copy_in(self, source: Path, oid: str, size: int) -> None:
        """Copy a file in as object ``oid``. Raises VerificationError when its bytes are not ``oid``."""
        with source.open('rb', buffering=0) as reading, self.temporary() as copy:
            found = copy_hashed(reading, copy)
            if found != oid:
                raise errors.VerificationError(
                    f'{source}: {size} bytes with sha256 {found[:12]}, expected {oid[:12]}.'
                )
            self.add(copy, oid)

    def oids(self) -> list[str]:
        """Return the oids of all objects here."""
        pattern = '*' if self._flat else '??/??/*'
        return [path.name for path in (self.root / 'objects').glob(pattern) if len(path.name) == 64]

    def drop(self, oids: Iterable[str]) -> None:
        """Remove objects; the directories they leave empty go too."""
        for oid in oids:
            path = self.path(oid)
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()
                path.parent.parent.rmdir()

    def keep_only(self, oids: Collection[str]) -> None:
        """Remove every object that is not in ``oids``, and what killed runs left half written."""
        self.drop([oid for oid in self.oids() if oid not in oids])
        shutil.rmtree(self.root / 'tmp', ignore_errors=True)
        self._has_temporary_folder = False


def _make_folder(name: str) -> None:
    # os.makedirs looks at each parent first; nearly always it is the last one alone that is missing.
    try:
        os.mkdir(name)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(name, exist_ok=True)


class _Temporary(io.FileIO):
    """A file opened by its handle that knows its name."""

    def __init__(self, handle: int, name: str) -> None:
        super().__init__(handle, 'w')
        self.name = name


def reflink(source: Path, target: Path) -> bool:
    """Make ``target`` share the blocks of ``source`` until either is written; False where the file system cannot."""
    if sys.platform == 'darwin':
        library: Any = ctypes.CDLL(None)
        return bool(library.clonefile(os.fsencode(source), os.fsencode(target), 0) == 0)
    if not sys.platform.startswith('linux'):
        return False
    import fcntl

    with source.open('rb') as reading, target.open('wb') as writing:
        try:
            fcntl.ioctl(writing.fileno(), _FICLONE, reading.fileno())
            return True
        except OSError:
            target.unlink()
            return False


def _hard_or_symbolic_link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except (
        OSError
    ):  # another file system, too many links, or a file that is not ours (fs.protected_hardlinks)
        target.symlink_to(source)
