"""What are the bytes of each file? Each is read once, in parallel, and not at all when it is known and unchanged."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from hfmirror import errors, lfs, output
from hfmirror.copying import ALIGNED, BLOCK, copy_hashed, write_all
from hfmirror.folder import SourceFile
from hfmirror.statcache import Known, Stamp, StatCache
from hfmirror.store import ObjectStore
from hfmirror.tree import blob_id

Item = TypeVar('Item')
Result = TypeVar('Result')

_SMALL = 1024 * 1024  # bytes
_BATCH = 64  # small files handed to a thread at once


class Found(NamedTuple):
    """What a file's bytes are, and the stamp it had when they were read."""

    stamp: Stamp
    known: Known


class Job(NamedTuple):
    """One file to know. ``to_lfs``: its name alone sends it to LFS. ``copy``: whether its bytes go into the store on
    the way, asked only when it is read."""

    file: SourceFile
    to_lfs: bool
    copy: Callable[[], bool]


class Reader:
    """Reads files for their oids. With a ``store``, jobs that ask for it are copied into it while they are hashed."""

    def __init__(
        self, cache: StatCache, store: ObjectStore | None = None, *, jobs: int = 0, block_size: int = BLOCK
    ) -> None:
        self.cache, self.store = cache, store
        self._block_size = max(block_size - block_size % ALIGNED, ALIGNED)
        self._stop = threading.Event()
        self.jobs = jobs

    def read(self, root: Path, work: Sequence[Job]) -> dict[str, Found]:
        """Return {path in the folder: what its bytes are} for every job.

        A file whose stamp the cache knows is not read. Raises SourceChanged for a file that changes while it is read,
        twice; the first unreadable file raises SourceError.
        """
        cached = self.cache.known(root)
        known = {job.file.path: was for job in work if (was := _from_cache(job, cached))}
        unread = [job for job in work if job.file.path not in known]
        with output.progress('hashing', sum(job.file.stat.st_size for job in unread)) as shown:
            found = in_threads(
                lambda job: self._read_one(job, shown),
                unread,
                [job.file.stat.st_size for job in unread],
                jobs=self.jobs,
                stop=self._stop,
            )
            known |= {job.file.path: result for job, result in zip(unread, found, strict=True)}
        if self.store is not None:
            self.store.settle()
        self.cache.save()
        return known

    def _read_one(self, job: Job, shown: output.Progress) -> Found:
        started = time.time_ns()
        large = job.file.stat.st_size >= lfs.LFS_FROM
        with shown.file(job.file.path, job.file.stat.st_size) as bar:

            def advance(size: int) -> None:
                if self._stop.is_set():
                    raise InterruptedError
                shown.advance(size)
                if bar is not None:
                    bar.update(size)

            stamp, known = steadily(
                job.file, lambda file: self._large(file, job, advance) if large else self._small(file, job)
            )
        if not large:
            shown.advance(known.size)
        self.cache.remember(job.file.source, stamp, known, read_at_ns=started)
        return Found(stamp, known)

    def _large(self, file: IO[bytes], job: Job, advance: Callable[[int], None]) -> Known:
        if self.store is None or not job.copy():
            oid = copy_hashed(file, None, advance, block_size=self._block_size)
        else:
            with self.store.temporary() as copy:
                oid = copy_hashed(file, copy, advance, block_size=self._block_size)
                # Flushed here, in this thread, while the other one goes on reading.
                os.fsync(copy.fileno())
                self.store.add(copy, oid)
        return Known(file.tell(), oid, None, is_text=False)

    def _small(self, file: IO[bytes], job: Job) -> Known:
        # The size it has now, which may not be the one it was listed with.
        content = file.read(os.fstat(file.fileno()).st_size)
        if job.to_lfs and lfs.parse_pointer(content):
            raise errors.SourceError(
                f'{job.file.source}: a git-lfs pointer stands where the file should be. '
                f"Run 'git lfs pull' in the folder it came from, or leave it out with --exclude {job.file.path}."
            )
        is_text = lfs.is_text(content)
        if is_text and not job.to_lfs and len(content) < lfs.LFS_FROM:
            return Known(len(content), None, blob_id(content), is_text)
        oid = hashlib.sha256(content).hexdigest()
        if self.store is not None and content and job.copy():
            with self.store.temporary() as copy:
                write_all(copy, memoryview(content))
                self.store.add(copy, oid)
        return Known(len(content), oid, blob_id(content) if is_text else None, is_text)


def steadily(file: SourceFile, read: Callable[[IO[bytes]], Result]) -> tuple[Stamp, Result]:
    """Return what ``read`` makes of the opened file, and the stamp the file had before and after.

    When the file changed meanwhile it is read once more. Raises SourceChanged when it changed again or is gone.
    """
    for _ in range(2):
        try:
            with _open_regular(file.source) as opened:
                before = Stamp.of(os.fstat(opened.fileno()))
                result = read(opened)
            if Stamp.of(os.stat(file.source)) == before:
                return before, result
        except FileNotFoundError as e:
            raise errors.SourceChanged(
                f'{file.source}: vanished while it was read. Push again when nothing writes to the folder any more.'
            ) from e
        except PermissionError as e:
            raise errors.SourceError(
                f'{file.source}: cannot be read: {e.strerror}. Make it readable, or leave it out with --exclude {file.path}.'
            ) from e
    raise errors.SourceChanged(
        f'{file.source}: changed while it was read, twice. Push again when nothing writes to the folder any more.'
    )


def _open_regular(path: Path) -> IO[bytes]:
    # A FIFO put in a file's place would block for ever; O_NONBLOCK opens it at once and the check turns it away.
    handle = os.open(path, os.O_RDONLY | getattr(os, 'O_NONBLOCK', 0) | getattr(os, 'O_BINARY', 0))
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise errors.SourceChanged(f'{path}: is no regular file any more.')
    return os.fdopen(handle, 'rb', buffering=0)


def _from_cache(job: Job, cached: Mapping[str, tuple[Stamp, Known]]) -> Found | None:
    stamp, known = cached.get(str(job.file.source), (None, None))
    if stamp is None or known is None or stamp != Stamp.of(job.file.stat):
        return None
    needed = known.sha256 if job.to_lfs or not known.is_text else known.blob
    return Found(stamp, known) if needed or known.size == 0 else None


def in_threads(
    work: Callable[[Item], Result],
    items: Sequence[Item],
    sizes: Sequence[int],
    *,
    jobs: int,
    stop: threading.Event,
) -> list[Result]:
    """Return ``work`` of each item, of so many bytes, in order. ``jobs`` 0 is a thread per CPU, 1 plain ``map``.

    The largest begin first. Small ones go to a thread by the dozen: handing each over costs more than reading it.
    When one fails ``stop`` is set, upon which ``work`` has to end soon.
    """
    threads = jobs or _cpus()
    if threads == 1 or len(items) < 2:
        return [work(item) for item in items]
    results: dict[int, Result] = {}
    with ThreadPoolExecutor(threads) as pool:
        futures = [
            pool.submit(lambda batch: [(i, work(items[i])) for i in batch], batch)
            for batch in _batches(sizes)
        ]
        try:
            for future in futures:
                results.update(future.result())
        except BaseException:
            stop.set()  # or a hundred gigabytes would be hashed to their end before Ctrl-C is heard
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [results[i] for i in range(len(items))]


def _cpus() -> int:
    """Return how many CPUs we may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def _batches(sizes: Sequence[int]) -> list[list[int]]:
    """Return the numbers of the items, the largest first, small ones in batches."""
    order = sorted(range(len(sizes)), key=lambda i: -sizes[i])
    large = [i for i in order if sizes[i] >= _SMALL]
    small = order[len(large) :]
    return [[i] for i in large] + [small[start : start + _BATCH] for start in range(0, len(small), _BATCH)]
