"""How are large files copied? Each byte is read once, hashed on the way, and written past the page cache.

A cached copy of weights that nobody reads again would push the training run's own data out of memory, and filling the
cache costs up to three times as much as writing the disk (measured on a virtual machine; see docs/benchmarks.md).
"""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
import sys
from collections.abc import Callable
from typing import IO

BLOCK = 1024 * 1024  # bytes, a multiple of every disk's block
ALIGNED = 4096  # bytes; lengths and memory of a direct write are multiples of it (open(2), O_DIRECT)
LARGE = 8 * 1024 * 1024  # bytes; less is not worth it
_F_NOCACHE = 48  # fcntl(2) of macOS


def copy_hashed(
    source: IO[bytes],
    sink: IO[bytes] | None,
    advance: Callable[[int], None] | None = None,
    *,
    block_size: int = BLOCK,
) -> str:
    """Read the file ``source`` to its end once, write it to ``sink`` if given, and return the sha256.

    ``block_size`` bytes are read at a time, a multiple of a disk's block.
    """
    digest = hashlib.sha256()
    block = memoryview(mmap.mmap(-1, block_size))  # memory of its own pages, as a direct write needs it
    if sink is not None and os.fstat(source.fileno()).st_size >= LARGE:
        past_cache(sink, on=True)
    # `readinto` of an unbuffered file: no bytes object is made for each block.
    while length := source.readinto(block):  # type: ignore[attr-defined]
        digest.update(block[:length])
        if sink is not None:
            if length % ALIGNED:  # the end of the file
                past_cache(sink, on=False)
            write_all(sink, block[:length])
        if advance is not None:
            advance(length)
    return digest.hexdigest()


def write_all(sink: IO[bytes], block: memoryview) -> None:
    """Write all of ``block`` to an unbuffered file, which may take less than it is given, as when the disk fills up."""
    while block:
        try:
            written = sink.write(block)
        except OSError as e:
            # A file system that takes the flag and not the write, or the rest of a block that it took in part.
            if e.errno != errno.EINVAL or not past_cache(sink, on=False):
                raise
            continue
        block = block[written:]


def past_cache(file: IO[bytes], *, on: bool) -> bool:
    """Have what is written to ``file`` go past the page cache or through it; returns whether that changed anything.

    Not where the system or the file system has no such way. Blocks have to begin and end as ``BLOCK`` does.
    """
    if sys.platform == 'win32':
        return False
    import fcntl

    try:
        if sys.platform == 'darwin':
            fcntl.fcntl(file.fileno(), _F_NOCACHE, int(on))
            return False  # it asks for no alignment, so there is never a write to repeat
        flags = fcntl.fcntl(file.fileno(), fcntl.F_GETFL)
        wanted = flags | os.O_DIRECT if on else flags & ~os.O_DIRECT
        if wanted != flags:
            fcntl.fcntl(file.fileno(), fcntl.F_SETFL, wanted)
        return wanted != flags
    except OSError:
        return False  # a file system without it, such as tmpfs
