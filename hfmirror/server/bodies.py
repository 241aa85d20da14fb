"""How do large bodies come in and go out, fast and in constant memory?

In: each block is hashed and written by two threads while the next one arrives, then flushed and renamed; what is cut off
or wrong leaves nothing. Out: blocks are read by a thread, the whole file or the one range that was asked for.

Measured through uvicorn with 1 GiB on two cores: out, 1 MiB a block is as fast as nginx's sendfile, and 64 KiB takes four
times as long, as each block costs a turn through a thread. In, half the time goes into sha256, and h11 takes half as long
again as httptools. What was mapped into memory went out no faster and counts as memory of the process.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import os
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import IO, NamedTuple, TypeVar

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hfmirror import durable, errors
from hfmirror.copying import BLOCK, past_cache, write_all
from hfmirror.server.answers import Problem, too_large
from hfmirror.store import ObjectStore

PATIENCE_S = 120.0  # how long a sender may be silent
_HASHED = 2 * BLOCK  # bytes that are hashed and written at once; two such blocks are the memory of an upload
_CACHED = 8 * BLOCK  # bytes of a body that are written through the page cache; the rest goes past it
# Ours alone: the event loop's own few threads may all wait for git.
_THREADS = ThreadPoolExecutor(16, thread_name_prefix='bodies')
_T = TypeVar('_T')
# glibc asks the system anew for every 128 KiB and more, as the event loop takes each turn, until it has once given back
# something larger; the page faults were half of the server's time for an upload.
bytes(BLOCK + 4096)


class Received(NamedTuple):
    """What a body was: its sha256 and its size in bytes."""

    oid: str
    size: int


async def receive(request: Request, file: IO[bytes], *, limit: int) -> Received:
    """Write the body to an unbuffered file, which need not be on disk when this returns.

    Raises Problem: 413 before more than ``limit`` bytes are written, 408 when nothing comes for ``PATIENCE_S``, 507 when
    the disk is full; and ClientDisconnect.
    """
    if (_announced(request) or 0) > limit:
        raise too_large('The body', limit)
    stream = request.stream()
    blocks = _Blocks(file)
    try:
        with _room():
            while (chunk := await _next(stream)) is not None:
                if blocks.size + len(chunk) > limit:
                    raise too_large('The body', limit)
                await blocks.take(chunk)
            return await blocks.finish()
    finally:
        blocks.rest()


async def receive_object(request: Request, store: ObjectStore, *, oid: str, size: int) -> None:
    """Take the body as the object ``oid`` of ``store``, which is on disk when this returns.

    Raises Problem 422 when size or sha256 differ, and what ``receive`` raises; then the store is left as it was.
    """
    announced = _announced(request)
    if announced not in (None, size):
        raise Problem(422, f'{oid}: the body has {announced} bytes, expected {size}')
    with _room(), store.temporary() as file:
        received = await receive(request, file, limit=size)
        if received != (oid, size):
            raise Problem(
                422,
                f'{oid}: received {received.size} bytes with sha256 {received.oid}, expected {size} bytes',
            )
        store.add(file, oid)
        # Still inside: what cannot be flushed or renamed is removed too.
        await _in_thread(store.settle)


def _announced(request: Request) -> int | None:
    length = request.headers.get('content-length')
    return None if length is None else int(length)  # what is no number, the server has refused


async def _next(stream: AsyncGenerator[bytes, None]) -> bytes | None:
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await anext(stream, None)
    except TimeoutError as e:
        raise Problem(408, f'nothing came for {PATIENCE_S:.0f} s') from e


@contextmanager
def _room() -> Iterator[None]:
    try:
        yield
    except OSError as e:
        if e.errno in durable.NO_ROOM:
            raise Problem(507, f'The disk of the server: {e.strerror}') from e
        raise


class _Blocks:
    """Hashes and writes what it takes a block at a time: one is filled while the other is hashed and written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        # Memory of whole pages, as a direct write needs it; untouched pages cost nothing.
        self._filling, self._other = (memoryview(mmap.mmap(-1, _HASHED)) for _ in range(2))
        self._filled = 0
        self._passed_on = 0
        self._busy: list[Future[None]] = []

    @property
    def size(self) -> int:
        """How many bytes were taken."""
        return self._passed_on + self._filled

    async def take(self, chunk: bytes) -> None:
        rest = memoryview(chunk)
        while rest:
            length = min(len(rest), _HASHED - self._filled)
            self._filling[self._filled : self._filled + length] = rest[:length]
            self._filled += length
            rest = rest[length:]
            if self._filled == _HASHED:
                await self._pass_on()

    async def finish(self) -> Received:
        """Wait until all is written."""
        await self._pass_on()
        await self._done()
        return Received(self._digest.hexdigest(), self.size)

    def rest(self) -> None:
        """Return when no thread uses the file any more: once it is closed, its number may be another file's."""
        for future in self._busy:
            future.cancel()
        wait(self._busy)

    async def _pass_on(self) -> None:
        await self._done()
        block = self._filling[: self._filled]
        self._busy = [
            _THREADS.submit(self._digest.update, block),
            _THREADS.submit(self._write, block, self._passed_on),
        ]
        self._passed_on += self._filled
        self._filling, self._other, self._filled = self._other, self._filling, 0

    async def _done(self) -> None:
        await asyncio.gather(*map(asyncio.wrap_future, self._busy))

    def _write(self, block: memoryview, offset: int) -> None:
        # See hfmirror.copying; the last block need not have a length that a direct write takes.
        if offset >= _CACHED:
            past_cache(self._file, on=len(block) == _HASHED)
        write_all(self._file, block)


class Range(NamedTuple):
    """The bytes from ``start`` up to, not including, ``end``."""

    start: int
    end: int


class _Content(NamedTuple):
    """Something open to be sent: its size in bytes, and how to read ``(length, offset)`` of it."""

    size: int
    read: Callable[[int, int], Awaitable[bytes]]


class FileBody(Response):
    """An answer with a file, or with bytes in memory, and the ETag ``"<etag>"``.

    The whole is sent, or the one range that was asked for (206; 416 when nothing of it is there), or 304 to those who
    have it. Several ranges at once are answered with the whole, as RFC 9110 allows. A file that was removed is 404; one
    that becomes shorter while it is sent cuts the connection.
    """

    def __init__(
        self,
        source: Path | bytes,
        *,
        etag: str,
        headers: Mapping[str, str] | None = None,
        media_type: str = 'application/octet-stream',
    ) -> None:
        self.source = source
        self.etag = f'"{etag}"'
        self.status_code = 200
        self.media_type = media_type
        self.background = None
        self.init_headers({**(headers or {}), 'ETag': self.etag, 'Accept-Ranges': 'bytes'})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope)
        if _names(asked.get('if-none-match', ''), self.etag):
            await self._send_head(send, 304, {})
            await send({'type': 'http.response.body'})
            return
        with ExitStack() as closing:
            content = _open(self.source, closing)
            wanted = self._range(asked, content.size) if scope['method'] == 'GET' else None
            await self._send_head(send, *_status(wanted, content.size))
            if scope['method'] == 'HEAD':
                wanted = Range(0, 0)
            await _send_range(content, wanted or Range(0, content.size), receive, send)

    def _range(self, asked: Headers, size: int) -> Range | None:
        if asked.get('if-range', self.etag) != self.etag:
            return None
        return _parse_range(asked.get('range', ''), size)

    async def _send_head(self, send: Send, status: int, headers: Mapping[str, str]) -> None:
        added = [(name.encode(), value.encode()) for name, value in headers.items()]
        await send({'type': 'http.response.start', 'status': status, 'headers': [*self.raw_headers, *added]})


def _open(source: Path | bytes, closing: ExitStack) -> _Content:
    if isinstance(source, bytes):
        return _Content(len(source), partial(_slice, source))
    try:
        file = closing.enter_context(source.open('rb', buffering=0))
    except FileNotFoundError as e:
        raise Problem(404, 'The file is not here any more', 'EntryNotFound') from e
    number = file.fileno()
    return _Content(
        os.fstat(number).st_size, lambda length, offset: _in_thread(os.pread, number, length, offset)
    )


async def _slice(content: bytes, length: int, offset: int) -> bytes:
    return content[offset : offset + length]


def _names(header: str, etag: str) -> bool:
    """Return whether an ``If-None-Match`` header names the ETag, or any."""
    return header.strip() == '*' or any(part.strip().removeprefix('W/') == etag for part in header.split(','))


def _parse_range(header: str, size: int) -> Range | None:
    """Return the range a header asks for, None for none or no single one; an empty one begins at or beyond the end."""
    match = re.fullmatch(r'bytes=(\d{0,18})-(\d{0,18})', header.replace(' ', ''), re.ASCII | re.IGNORECASE)
    if match is None or not any(match.groups()):
        return None
    if not match[1]:
        return Range(max(0, size - int(match[2])), size)
    start, last = int(match[1]), int(match[2] or size)
    if match[2] and last < start:
        return None
    return Range(min(start, size), min(last + 1, size))


def _status(wanted: Range | None, size: int) -> tuple[int, Mapping[str, str]]:
    if wanted is None:
        return 200, {'content-length': str(size)}
    if wanted.start >= wanted.end:
        return 416, {'content-length': '0', 'content-range': f'bytes */{size}'}
    length, last = wanted.end - wanted.start, wanted.end - 1
    return 206, {'content-length': str(length), 'content-range': f'bytes {wanted.start}-{last}/{size}'}


async def _send_range(content: _Content, wanted: Range, receive: Receive, send: Send) -> None:
    # uvicorn takes what is sent to a client that has gone and says nothing.
    gone = asyncio.ensure_future(_hung_up(receive))
    try:
        at = wanted.start
        while at < wanted.end and not gone.done():
            block = await content.read(min(BLOCK, wanted.end - at), at)
            if not block:
                raise errors.VerificationError(
                    f'a file that was being sent became shorter than {wanted.end} bytes.'
                )
            at += len(block)
            await send({'type': 'http.response.body', 'body': block, 'more_body': at < wanted.end})
        if wanted.start >= wanted.end:
            await send({'type': 'http.response.body'})
    finally:
        gone.cancel()


async def _hung_up(receive: Receive) -> None:
    while (await receive())['type'] != 'http.disconnect':
        pass


def _in_thread(function: Callable[..., _T], *args: object) -> Awaitable[_T]:
    return asyncio.wrap_future(_THREADS.submit(function, *args))
