"""When is a file safe? Written beside, flushed, renamed; the directory flushed after."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any

from hfmirror import errors

# What the system says of a disk, or somebody's share of it, that is full.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)

# Flushing each of many small files waits for the disk each time; one flush of the file system waits once.
_ONE_BY_ONE = 32


def write(path: Path, content: bytes, *, mode: int | None = None) -> None:
    """Write a file so that a kill or power cut leaves the old content or the new one, nothing between.

    Only its owner may read it, unless ``mode`` says otherwise.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(
        dir=path.parent, prefix=f'.{path.name}.', suffix='.tmp', delete=False
    ) as temporary:
        try:
            temporary.write(content)
            temporary.flush()
            if mode is not None:
                os.chmod(temporary.name, mode)
            os.fsync(temporary.fileno())
            os.replace(temporary.name, path)
        except BaseException:
            with suppress(OSError):
                os.unlink(temporary.name)
            raise
    flush([path.parent])


def rewrite(path: Path, content: bytes) -> None:
    """Write a file of a person as ``write`` does; who may read it stays as it was."""
    write(path, content, mode=stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644)


def require_writable(path: Path) -> None:
    """Make the folder of ``path``, and raise UsageError when no file can be written there: before hours of work, not after."""
    try:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        path.parent.mkdir(parents=True, exist_ok=True)
        TemporaryFile(dir=path.parent).close()
    except OSError as e:
        raise errors.UsageError(f'{path}: cannot be written: {e.strerror or e}. Name another place.') from e


def flush(paths: Sequence[Path]) -> None:
    """Return when the files and directories of ``paths``, all on one file system, are on disk."""
    if len(paths) > _ONE_BY_ONE and (sync := _file_system_sync()):
        sync(paths[0])
        return
    for path in paths:
        _flush_one(path)


def _flush_one(path: Path) -> None:
    # Windows cannot open a directory; it needs no flush there.
    if os.name == 'nt' and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@cache
def _file_system_sync() -> Callable[[Path], None] | None:
    """Return syncfs(2), which flushes one file system, where there is one."""
    if not sys.platform.startswith('linux'):
        return None
    library: Any = ctypes.CDLL(None, use_errno=True)

    def sync(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            if library.syncfs(handle) != 0:
                code = ctypes.get_errno()
                raise OSError(code, os.strerror(code), str(path))
        finally:
            os.close(handle)

    return sync if hasattr(library, 'syncfs') else None
