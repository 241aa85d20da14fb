"""How do git's clients clone, fetch and push? By smart HTTP: each request is one git process, its body that one's input.

    GET  /ada/bert.git/info/refs?service=git-upload-pack
    POST /ada/bert.git/git-upload-pack
    POST /ada/bert.git/git-receive-pack

``git upload-pack`` and ``git receive-pack`` are started as ``git http-backend`` would start them. Between is nothing that
would read the address once more, and that another process would have to be started for; how they ended is seen.
Bodies go through in blocks: a pack of any size needs no memory.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
import zlib
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Iterable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import anyio
from anyio import to_thread
from anyio.abc import ByteReceiveStream, Process
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hfmirror import gitcmd, output
from hfmirror.server.access import hub_of, readable, writable
from hfmirror.server.answers import Problem, answer, bad_request, too_large
from hfmirror.server.git.served import variables
from hfmirror.server.repos.repositories import Repo

_FETCH, _PUSH = 'upload-pack', 'receive-pack'
_BLOCK = 64 * 1024  # bytes
_REQUEST_MAX = 64 * 1024 * 1024  # bytes of what is asked of upload-pack: the names of a million objects
_PATIENCE_S = 0.4  # for a git that is to end: the server ends within a second
_KEPT = 2000  # bytes of git's complaints
_AT_ONCE = 32  # processes that send, and as many that receive; who comes later waits
_SILENCE_S = 600.0  # without a byte, after which a client keeps no process for itself
_HOOKS = Path(__file__).with_name('hooks')
_PROTOCOL = re.compile(r'[\w=:.-]{1,100}', re.ASCII)
_NOT_GITS = re.compile(r'protocol error|hung up|expected|bad line length|inflate|gzip')
# Whatever wrote the repository, and whatever its own configuration says.
_SETTINGS = {
    # A blob this large comes and goes without being held in memory, by pieces; plain files are smaller.
    'core.bigFileThreshold': '16m',
    # Loose objects too are on disk when the push is answered.
    'core.fsync': 'committed,loose-object',
    'core.fsyncMethod': 'batch',
    'gc.autoDetach': 'false',
    'pack.windowMemory': '100m',
    'receive.fsckObjects': 'true',
    'transfer.hideRefs': 'refs/hfmirror',
    'uploadpack.allowAnySHA1InWant': 'true',
    'uploadpack.allowFilter': 'true',
}
_LOCKED = ('HEAD', 'config', 'packed-refs', 'shallow')
_NO_CACHE = {'Cache-Control': 'no-cache, max-age=0, must-revalidate', 'Pragma': 'no-cache'}


def turns() -> dict[str, anyio.CapacityLimiter]:
    """Return what a server needs of us, {service: its limit}; inside its event loop."""
    return {service: anyio.CapacityLimiter(_AT_ONCE) for service in (_FETCH, _PUSH)}


async def advertise(request: Request) -> Response:
    """Tell which refs there are."""
    service = request.query_params.get('service', '').removeprefix('git-')
    if service not in (_FETCH, _PUSH):
        raise Problem(404, 'Only the smart protocol is spoken here. Use git 1.6.6 or newer.')
    repo = await _allowed(request, service)
    # In version 2 the answer begins with the version.
    told = service == _FETCH and 'version=2' in _protocol(request).split(':')
    head = b'' if told else _packet(f'# service=git-{service}\n') + b'0000'
    return _Talk(request, repo, [service, '--http-backend-info-refs'], head=head)


async def fetch(request: Request) -> Response:
    """Send the objects that are asked for."""
    repo = await _allowed(request, _FETCH)
    # Some of the answer may come before all is read, and a client that does not listen yet would be waited for.
    return _Talk(request, repo, [_FETCH, '--stateless-rpc'], body=_body(request, _FETCH), in_turn=True)


async def push(request: Request) -> Response:
    """Take in commits and move refs, if ``checks`` has nothing against it."""
    repo = await _allowed(request, _PUSH)
    return _Talk(request, repo, [_PUSH, '--stateless-rpc'], body=_body(request, _PUSH))


async def _allowed(request: Request, service: str) -> Repo:
    """Return the repository that the address names. Raises Problem when the caller may not do that with it."""
    if service == _FETCH:
        return await to_thread.run_sync(readable, request)
    repo = await to_thread.run_sync(writable, request)
    if not os.access(_HOOKS / 'pre-receive', os.X_OK):
        # git would go on without it.
        output.warn(f'{_HOOKS / "pre-receive"} cannot be run, so no push is taken. Make it executable.')
        raise Problem(500, 'This server cannot check what is pushed, and takes nothing.')
    return repo


def _protocol(request: Request) -> str:
    asked = request.headers.get('git-protocol', '')
    return asked if _PROTOCOL.fullmatch(asked) else ''


def _packet(text: str) -> bytes:
    return f'{len(text) + 4:04x}{text}'.encode()


def _body(request: Request, service: str) -> AsyncIterator[bytes]:
    """Return the blocks of the body, inflated. Raises Problem 415 when it is not one of git's, as a page's form would be."""
    if request.headers.get('content-type', '') != f'application/x-git-{service}-request':
        raise Problem(415, f'The body is not application/x-git-{service}-request.')
    encoding = request.headers.get('content-encoding', 'identity')
    if encoding in ('gzip', 'x-gzip'):
        return _inflated(_lively(request))
    if encoding != 'identity':
        raise Problem(415, 'The body is compressed in a way other than gzip.')
    return _lively(request)


async def _lively(request: Request) -> AsyncIterator[bytes]:
    """Yield the parts of the body as they come. Raises ClientDisconnect, too, when none comes for long."""
    parts = aiter(request.stream())
    while True:
        with anyio.move_on_after(_SILENCE_S) as waiting:
            part = await anext(parts, None)
        if waiting.cancelled_caught:
            raise ClientDisconnect
        if part is None:
            return
        yield part


async def _inflated(parts: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield blocks of at most 64 KiB, whatever they were compressed to. Raises zlib.error."""
    inflating = zlib.decompressobj(zlib.MAX_WBITS | 16)
    async for part in parts:
        block = inflating.decompress(part, _BLOCK)
        while block:
            yield block
            block = inflating.decompress(inflating.unconsumed_tail, _BLOCK)


class _Talk(Response):
    """One git process and its client. ``body`` is what the client says; ``in_turn``: all of it before git answers."""

    def __init__(
        self,
        request: Request,
        repo: Repo,
        command: list[str],
        *,
        head: bytes = b'',
        body: AsyncIterator[bytes] | None = None,
        in_turn: bool = False,
    ) -> None:
        kind = 'advertisement' if body is None else 'result'
        super().__init__(headers=_NO_CACHE, media_type=f'application/x-git-{command[0]}-{kind}')
        del self.headers['Content-Length']  # of the body that there is not yet
        self._what, self._head = f'git {command[0]} of {repo.repo_id}', head
        self._command = ['git', *command, str(repo.path)]
        self._environment = _environment(request, repo)
        self._body, self._in_turn = body, in_turn
        self._said, self._silent = b'', anyio.Event()
        self._turns: anyio.CapacityLimiter = request.app.state.git_turns[command[0]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._body is None or not self._in_turn:
            await self._talk(DEVNULL if self._body is None else PIPE, scope, receive, send)
            return
        with TemporaryFile() as spool:
            await _spool(self._body, spool)
            await self._talk(spool, scope, receive, send)

    async def _talk(self, stdin: IO[bytes] | int, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turns:
            process = await self._start(stdin)
            try:
                async with anyio.create_task_group() as group:
                    group.start_soon(self._hear, process)
                    if self._body is None or self._in_turn:
                        group.start_soon(_leave, receive, group.cancel_scope)
                    else:
                        group.start_soon(_feed, process, self._body)
                    await self._answer(process, scope, receive, send)
                    group.cancel_scope.cancel()
            finally:
                await _end(process)

    async def _start(self, stdin: IO[bytes] | int) -> Process:
        # A session of its own: it and its children are ended as one, and Ctrl-C in our terminal is for us.
        return await anyio.open_process(
            self._command, stdin=stdin, env=self._environment, start_new_session=True
        )

    async def _hear(self, process: Process) -> None:
        """Keep the end of what git complains about: all else goes to its client as part of the answer."""
        assert process.stderr is not None
        async for part in process.stderr:
            self._said = (self._said + part)[-_KEPT:]
        self._silent.set()

    async def _answer(self, process: Process, scope: Scope, receive: Receive, send: Send) -> None:
        assert process.stdout is not None
        first = await _block(process.stdout)
        if not first and await process.wait() != 0:
            await self._silent.wait()
            await answer(self._problem(), scope['path'])(scope, receive, send)
            return
        await send({'type': 'http.response.start', 'status': 200, 'headers': self.raw_headers})
        block = self._head + first
        while block:
            with anyio.move_on_after(_SILENCE_S) as waiting:
                await send({'type': 'http.response.body', 'body': block, 'more_body': True})
            if waiting.cancelled_caught:
                return  # an answer without an end is cut off
            block = await _block(process.stdout)
        await send({'type': 'http.response.body', 'body': b''})

    def _problem(self) -> Problem:
        said = gitcmd.redact(self._said.decode('utf-8', 'replace')).strip()
        if _NOT_GITS.search(said):
            return bad_request('git cannot read this request.')
        output.warn(f'{self._what}: {said or "no message"}')
        return Problem(500, f'{self._what} failed on the server.')


async def _spool(parts: AsyncIterator[bytes], spool: IO[bytes]) -> None:
    size = 0
    try:
        async for part in parts:
            size += len(part)
            if size > _REQUEST_MAX:
                raise too_large('The body', _REQUEST_MAX)
            await to_thread.run_sync(spool.write, part)
    except zlib.error as e:
        raise bad_request('The body is not gzip.') from e
    spool.seek(0)


async def _block(stdout: ByteReceiveStream) -> bytes:
    try:
        return await stdout.receive(_BLOCK)
    except anyio.EndOfStream:
        return b''


async def _feed(process: Process, parts: AsyncIterator[bytes]) -> None:
    """Give git the body. Where it ends too early git's input ends too, and git sees that a part is missing."""
    stdin = process.stdin
    assert stdin is not None
    with suppress(ClientDisconnect, zlib.error):
        async with stdin:
            with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
                async for part in parts:
                    await stdin.send(part)
        # git has ended before. Its client listens when it has said all.
        async for _ in parts:
            pass


async def _leave(receive: Receive, scope: anyio.CancelScope) -> None:
    """End the talk when the client hangs up."""
    while (await receive())['type'] != 'http.disconnect':
        pass
    scope.cancel()


async def _end(process: Process) -> None:
    """End git and its children, if they have not. A server that ends cancels all, more than once, and waits: so it is begun anew."""
    cancelled = None
    while True:
        try:
            with anyio.CancelScope(shield=True):
                await _ended(process)
            break
        except anyio.get_cancelled_exc_class() as e:
            cancelled = e
    if cancelled is not None:
        raise cancelled


async def _ended(process: Process) -> None:
    if process.returncode is None and process.stdin is not None:
        # At the end of its input receive-pack removes what it has received; when it is told to end it does not.
        await process.stdin.aclose()
        with anyio.move_on_after(_PATIENCE_S):
            await process.wait()
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is None:
            _signal(process, number)
            with anyio.move_on_after(_PATIENCE_S):
                await process.wait()
    await process.aclose()


def _signal(process: Process, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _environment(request: Request, repo: Repo) -> dict[str, str]:
    """Return git's environment. What it configures stands above what the repository's own configuration says."""
    return gitcmd.environment(
        {
            **variables(repo.path, {**_SETTINGS, 'core.hooksPath': str(_HOOKS)}),
            'GIT_PROTOCOL': _protocol(request),
            'HFMIRROR_PYTHON': sys.executable,
            'HFMIRROR_PLAIN_MAX': str(hub_of(request).plain_max),
            'HFMIRROR_REPO_TYPE': repo.repo_type,
        }
    )


def sweep(git_dir: Path, older_than_s: float) -> None:
    """Remove what git left in a repository when it was killed or the machine lost power, if nothing wrote it for so long.

    That is what was received and never taken in, files half written, and locks, which would stop every push for ever.
    """
    objects = git_dir / 'objects'
    received = [*objects.glob('tmp_objdir-*'), *objects.glob('incoming-*')]
    half = [
        path for pattern in ('pack/tmp_*', 'pack/.tmp-*', '??/tmp_obj_*') for path in objects.glob(pattern)
    ]
    locks = [*(git_dir / 'refs').rglob('*.lock'), *(git_dir / f'{name}.lock' for name in _LOCKED)]
    before = time.time() - older_than_s
    for path in [*received, *half, *locks]:
        if _written([path, *path.rglob('*')]) < before:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _written(paths: Iterable[Path]) -> float:
    """Return when the last of these paths was written to."""
    times = []
    for path in paths:
        with suppress(FileNotFoundError):
            times.append(path.lstat().st_mtime)
    return max(times, default=float('inf'))


ROUTES: list[Route] = [
    route
    for repository in ('/{kind:kind}/{namespace:segment}/{name:git}', '/{namespace:namespace}/{name:git}')
    for route in (
        Route(f'{repository}/info/refs', advertise, methods=['GET']),
        Route(f'{repository}/git-upload-pack', fetch, methods=['POST']),
        Route(f'{repository}/git-receive-pack', push, methods=['POST']),
    )
]
