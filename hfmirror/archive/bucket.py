"""What have buckets of all clouds in common? Listing, reading by ranges, and files that are whole or not there."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from hfmirror import errors
from hfmirror.archive.faults import Absent, explained
from hfmirror.archive.storage import gone, too_large
from hfmirror.target import Target

BLOCK = 8 * 1024 * 1024  # bytes that are read at a time, and sent as one part
_LOGS = ('aiobotocore', 'botocore', 'fsspec', 'gcsfs', 'google.auth', 's3fs', 'urllib3')


class Bucket:
    """A repository's folder in a bucket that a file system of fsspec reads and writes."""

    def __init__(self, target: Target, files: Any) -> None:
        self.where = target.git_url
        self.root = target.git_url.partition('://')[2]
        self.files = files
        for name in _LOGS:  # else Python shows their warnings to a person who has asked for none
            logging.getLogger(name).addHandler(logging.NullHandler())

    def sizes(self, folder: str) -> dict[str, int]:
        try:
            with self.explained(folder):
                found = self.files.find(f'{self.root}/{folder}/', detail=True)
        except Absent:
            return {}
        return {
            name.removeprefix(f'{self.root}/'): int(info['size'])
            for name, info in found.items()
            if info['type'] == 'file'
        }

    def size(self, name: str) -> int | None:
        raise NotImplementedError

    def read(self, name: str, most: int) -> bytes | None:
        size = self.size(name)
        if not size:
            return None if size is None else b''
        if size > most:
            raise too_large(self.where, name, most)
        try:
            return self.part(name, 0, size)
        except errors.NotFoundError:
            return None

    def settle(self) -> None:
        """What a service has taken is there."""

    @contextmanager
    def open(self, name: str, *, size: int, offset: int = 0) -> Iterator[IO[bytes]]:
        with ThreadPoolExecutor(1) as beside:
            yield cast(IO[bytes], _Ranges(self, name, size, offset, beside))

    def part(self, name: str, start: int, end: int) -> bytes:
        """Return the bytes of a file from ``start`` to before ``end``. Raises NotFoundError when it is not there."""
        try:
            with self.explained(name):
                return bytes(self.files.cat_file(self.path(name), start=start, end=end))
        except Absent as e:
            raise gone(self.where, name) from e

    def remove(self, name: str) -> None:
        try:
            with self.explained(name):
                self.files.rm_file(self.path(name))
        except Absent:
            return

    def path(self, name: str) -> str:
        return f'{self.root}/{name}'

    def require_size(self, name: str, size: int) -> None:
        """Raise unless the service says that the file, which was just sent, is there with that size."""
        found = self.size(name)
        if found != size:
            raise errors.NetworkError(
                f'{self.where}/{name}: {size:,} bytes were sent, and the service has {found or 0:,}.'
            )

    @contextmanager
    def explained(self, name: str) -> Iterator[None]:
        with explained(f'{self.where}/{name}'):
            yield


class _Ranges(io.RawIOBase):
    """A file of a bucket that is read block by block; the next block is on its way while one is used."""

    def __init__(self, bucket: Bucket, name: str, size: int, offset: int, beside: ThreadPoolExecutor) -> None:
        self._bucket, self._name, self._size, self._beside = bucket, name, size, beside
        self._block, self._at = b'', offset
        self._next = self._ask()

    def _ask(self) -> Future[bytes] | None:
        start, end = self._at, min(self._at + BLOCK, self._size)
        self._at = end
        return self._beside.submit(self._bucket.part, self._name, start, end) if start < end else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._block and self._next is not None:
            self._block = self._next.result()
            self._next = self._ask() if self._block else None
        length = min(len(buffer), len(self._block))
        buffer[:length] = self._block[:length]
        self._block = self._block[length:]
        return length


def blocks_of(source: Path, size: int) -> Iterator[bytes]:
    """Yield the content of a file in blocks of ``size`` bytes, the last one shorter."""
    with source.open('rb', buffering=0) as file:
        while block := _full(file, size):
            yield block


def _full(file: IO[bytes], size: int) -> bytes:
    block = file.read(size)
    while len(block) < size and (more := file.read(size - len(block))):
        block += more
    return block
