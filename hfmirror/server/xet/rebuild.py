"""How does a file come back from its chunks? One chunk at a time, hashed while it is written."""

from __future__ import annotations

import hashlib
import mmap
import os
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO

from hfmirror.copying import BLOCK, LARGE, past_cache, write_all
from hfmirror.server.answers import Problem
from hfmirror.server.xet import shard
from hfmirror.server.xet.xorb import Malformed, Xorb
from hfmirror.store import ObjectStore

_OPEN_XORBS = 64
_SETTLE_FILES = 256  # so many new objects are flushed to disk together
_SETTLE_BYTES = 1 << 30


class Stopped(Exception):
    """Nobody waits for the result any more."""


class Lost(Problem):
    """Chunks are not what the client believes. Perhaps it is wrong, perhaps a disk was, or an older copy was restored."""

    def __init__(self, reason: Malformed) -> None:
        super().__init__(
            400, f'The upload cannot be put together: {reason}. Start it again: all of it is sent then.'
        )


class Progress:
    """How far a rebuild is, in bytes. Set ``stopped`` from any thread, and it ends at the next chunk."""

    def __init__(self) -> None:
        self.done = self.total = 0
        self.stopped = False

    def advance(self, size: int) -> None:
        """Count bytes. Raises Stopped when the rebuild is to end."""
        if self.stopped:
            raise Stopped
        self.done += size


class Xorbs:
    """The xorbs of one generation, some of them open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: OrderedDict[str, tuple[int, Xorb]] = OrderedDict()

    def __enter__(self) -> Xorbs:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle, _ in self._open.values():
            os.close(handle)

    def chunks(self, segment: shard.Segment) -> Iterator[bytes]:
        """Yield the chunks of a run. Raises Malformed when there are not as many, or not as many bytes."""
        xorb = self._get(segment.xorb)
        if segment.end > len(xorb):
            raise Malformed(f'chunk {segment.end - 1} of a xorb that has {len(xorb)}')
        left = segment.size
        for number in range(segment.first, segment.end):
            chunk = xorb.chunk(number)
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left:
            raise Malformed(f'chunks {segment.first} to {segment.end} of a xorb are not {segment.size} bytes')

    def _get(self, name: str) -> Xorb:
        if name in self._open:
            self._open.move_to_end(name)
            return self._open[name][1]
        if len(self._open) == _OPEN_XORBS:
            _, (handle, _) = self._open.popitem(last=False)
            os.close(handle)
        try:
            handle = os.open(self._folder / name, os.O_RDONLY)
        except FileNotFoundError:
            raise Malformed(f'xorb {name[:12]} was never sent here') from None
        try:
            self._open[name] = handle, Xorb(handle)
        except BaseException:
            os.close(handle)
            raise
        return self._open[name][1]


def rebuild(
    body: shard.Body, folder: Path, store: ObjectStore, *, max_file_size: int | None, progress: Progress
) -> None:
    """Make every file of a shard an object of ``store``, on disk when this returns.

    Nothing is made of a shard that is malformed or has a file that is too large. When a file turns out wrong, those
    before it stay: each is whole and has the name that its bytes have.
    Raises Lost when a file cannot be put together, other Problem, and Stopped when ``progress`` says so.
    """
    try:
        progress.total = sum(_allowed(file, max_file_size).size for file in shard.files(body))
    except Malformed as e:
        raise Problem(400, f'The upload cannot be understood: {e}.') from e
    try:
        with Xorbs(folder) as xorbs:
            _rebuild_all(body, xorbs, store, progress)
    except Malformed as e:
        raise Lost(e) from e


def _allowed(file: shard.File, limit: int | None) -> shard.File:
    if limit is not None and file.size > limit:
        raise Problem(413, f'A file of {file.size} bytes; this server takes no file larger than {limit}.')
    return file


def _rebuild_all(body: shard.Body, xorbs: Xorbs, store: ObjectStore, progress: Progress) -> None:
    files = size = 0
    with ThreadPoolExecutor(1, 'xet-writer') as thread:
        try:
            for file in shard.files(body):
                if file.oid is not None and store.has(file.oid, file.size):
                    progress.advance(file.size)
                    continue
                _rebuild_one(file, xorbs, store, progress, thread)
                files, size = files + 1, size + file.size
                if files >= _SETTLE_FILES or size >= _SETTLE_BYTES:
                    store.settle()
                    files = size = 0
        finally:
            store.settle()


def _rebuild_one(
    file: shard.File, xorbs: Xorbs, store: ObjectStore, progress: Progress, thread: Executor
) -> None:
    with store.temporary() as temporary:
        with _Sink(temporary, file.size, thread) as sink:
            for segment in file.segments():
                for chunk in xorbs.chunks(segment):
                    progress.advance(len(chunk))
                    sink.write(chunk)
        oid = sink.digest.hexdigest()
        if file.oid not in (None, oid):
            raise Malformed(f'a file whose sha256 is {oid[:12]}, not {str(file.oid)[:12]} as it says')
        store.add(temporary, oid)


class _Sink:
    """Hashes and writes what it is given in another thread, while the next chunks are unpacked.

    Two blocks take turns: one is filled while the other is written. On leaving the context all of it is.
    """

    def __init__(self, file: IO[bytes], size: int, thread: Executor) -> None:
        self.digest = hashlib.sha256()
        self._file, self._thread = file, thread
        # Memory of its own pages, as a write past the page cache needs it.
        self._blocks = [memoryview(mmap.mmap(-1, BLOCK)) for _ in range(2)]
        self._filled = 0
        self._written: Future[None] | None = None
        if size >= LARGE:
            past_cache(file, on=True)

    def write(self, chunk: bytes) -> None:
        """Take a chunk. Raises OSError when one before it could not be written."""
        left = memoryview(chunk)
        while left:
            part = left[: BLOCK - self._filled]
            self._blocks[0][self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            left = left[len(part) :]
            if self._filled == BLOCK:
                self._turn()

    def __enter__(self) -> _Sink:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._turn()
        self._wait()

    def _turn(self) -> None:
        self._wait()
        self._written = self._thread.submit(self._take, self._blocks[0][: self._filled])
        self._blocks.reverse()
        self._filled = 0

    def _take(self, block: memoryview) -> None:
        self.digest.update(block)
        if len(block) != BLOCK:  # the end of the file
            past_cache(self._file, on=False)
        write_all(self._file, block)

    def _wait(self) -> None:
        waiting, self._written = self._written, None
        if waiting is not None:
            waiting.result()
