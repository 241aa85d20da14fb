"""What does a client ask of the upload side of a content-addressed store, and what does it get?

    POST {cas}/v1/xorbs/default/{hash}     one xorb
    POST {cas}/v2/shards                   a shard; the answer is lines of JSON while the files are put together
    POST {cas}/v1/shards, {cas}/shards     the same for older clients; one answer at the end
    GET  {cas}/v1/chunks/default/{hash}    whether others have sent a chunk: 404, it is asked for nobody's data
    POST {cas}/v1/xorb-grants/…            leave to send a xorb elsewhere: 404, it comes here then
    POST {cas}/v1/telemetry                not kept

``{cas}`` is ``{origin}/xet/{models|datasets|spaces}/{namespace}/{name}/{generation}``. A client shows its user the status of an
error and not the text; in the lines of JSON it shows the text, so whatever can be wrong with a shard is said there.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from typing import Any
from urllib.parse import quote

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from hfmirror import durable
from hfmirror.server.access import hub_of, require_identity, writable
from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.bodies import receive
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import origin
from hfmirror.server.xet import grant, shard, storage, xorb
from hfmirror.server.xet.rebuild import Lost, Progress, rebuild
from hfmirror.store import ObjectStore

_BEAT_S = 5.0  # a client takes a connection that is silent for minutes for a dead one
_rebuilds: RunVar[CapacityLimiter] = RunVar('xet_rebuilds')


def write_token(request: Request) -> JSONResponse:
    """Say where the caller may upload to a repository, and with which token."""
    found = upload_headers(request, writable(request))
    said = {'casUrl': found['X-Xet-Cas-Url'], 'accessToken': found['X-Xet-Access-Token']}
    return JSONResponse({**said, 'exp': int(found['X-Xet-Token-Expiration'])}, headers=found)


def upload_headers(request: Request, repo: Repo) -> dict[str, str]:
    """Return where the caller, who may write to ``repo``, sends xorbs and shards, with which token, and until when."""
    given = grant.issue(hub_of(request).secret, _name(repo), user=require_identity(request).user)
    return {
        'X-Xet-Cas-Url': f'{origin(request)}/xet/{quote(_name(repo))}/{storage.current(repo.path)}',
        'X-Xet-Access-Token': given.token,
        'X-Xet-Token-Expiration': str(given.expires),
    }


def upload_action(request: Request, repo: Repo) -> dict[str, Any]:
    """Return the action ``upload`` of the batch API as ``git-xet`` takes it; it renews its token at ``href``."""
    return {
        'href': f'{origin(request)}/api/{quote(_name(repo))}/xet-write-token/main',
        'header': upload_headers(request, repo),
        'expires_in': grant.LIFETIME_S,
    }


async def post_xorb(request: Request) -> JSONResponse:
    """Keep one xorb. One that is here already is replaced: its chunks are the same, and perhaps it is damaged."""
    repo = await run_sync(_repository, request)
    name = request.path_params['hash']
    if not storage.is_hash(name):
        raise bad_request(f'{name[:100]!r} is not the hash of a xorb.')
    with ExitStack() as stack:
        folder = await run_sync(stack.enter_context, storage.using(repo.path, _generation(request)))
        file = await run_sync(stack.enter_context, storage.temporary(folder))
        await receive(request, file, limit=xorb.MAX_BYTES)
        await run_sync(storage.keep, file, name)
    return JSONResponse({'was_inserted': True})


async def post_shard(request: Request) -> JSONResponse:
    """Make the files of a shard. Nothing is sent before they are there."""
    repo = await run_sync(_repository, request)
    with _rebuilding(request, repo, await _received_shard(request, repo)) as job:
        while not await job.finished(1.0):
            if await request.is_disconnected():
                raise ClientDisconnect
    return JSONResponse({'result': 1})


async def post_shard_v2(request: Request) -> StreamingResponse:
    """Make the files of a shard, and tell meanwhile how far it is."""
    repo = await run_sync(_repository, request)
    body = await _received_shard(request, repo)
    return StreamingResponse(_told(request, repo, body), media_type='application/x-ndjson')


async def _told(request: Request, repo: Repo, body: shard.Body) -> AsyncIterator[bytes]:
    try:
        with _rebuilding(request, repo, body) as job:
            while not await job.finished(_BEAT_S):
                yield _line(type='validating', verified=job.progress.done, total=job.progress.total)
    except Exception as e:
        # The status is sent already, so this is the last place where the client can be told.
        reason = _reason(e)
        yield _line(
            type='error', message=reason or 'Internal error: the log of the server says more', retryable=False
        )
        if reason is None:
            raise
    else:
        yield _line(type='result', result=1)


def _reason(error: Exception) -> str | None:
    if isinstance(error, Problem):
        return error.message
    if isinstance(error, OSError) and error.errno in durable.NO_ROOM:
        return f'The disk of the server: {error.strerror}'
    return None


def _line(**values: object) -> bytes:
    return json.dumps(values).encode() + b'\n'


class _Job:
    """A rebuild in a thread, as the event loop sees it."""

    def __init__(self, work: asyncio.Task[None], progress: Progress) -> None:
        self._work, self.progress = work, progress

    async def finished(self, timeout_s: float) -> bool:
        """Wait for the end, at most so long, and return whether it is there. Raises what the rebuild raised."""
        await asyncio.wait((self._work,), timeout=timeout_s)
        if self._work.done():
            self._work.result()
        return self._work.done()


@contextmanager
def _rebuilding(request: Request, repo: Repo, body: shard.Body) -> Iterator[_Job]:
    """Rebuild in a thread. When the block ends sooner, as when the client hangs up, the thread ends at its next chunk."""
    generation, max_file_size = _generation(request), hub_of(request).max_file_size
    progress = Progress()

    def run() -> None:
        with storage.using(repo.path, generation) as folder:
            try:
                rebuild(
                    body, folder, ObjectStore(repo.objects), max_file_size=max_file_size, progress=progress
                )
            except Lost:
                # Else the client would go on to build upon what is lost.
                storage.retire(repo.path, generation)
                raise

    work = asyncio.create_task(run_sync(run, limiter=_limiter()))
    try:
        yield _Job(work, progress)
    finally:
        progress.stopped = True
        work.cancel()


def _limiter() -> CapacityLimiter:
    """Return what keeps rebuilds, which are work for a processor, from taking all threads. One for each event loop."""
    try:
        return _rebuilds.get()
    except LookupError:
        _rebuilds.set(CapacityLimiter(os.cpu_count() or 2))
        return _rebuilds.get()


def _repository(request: Request) -> Repo:
    """Return the repository of the address. Raises Problem 401 unless the token is one for it."""
    kind, namespace, name = (request.path_params[key] for key in ('kind', 'namespace', 'name'))
    scheme, _, token = request.headers.get('authorization', '').partition(' ')
    if scheme.lower() != 'bearer':
        raise Problem(401, 'An access token for the upload is needed.')
    grant.check(hub_of(request).secret, token.strip(), repo=f'{kind}/{namespace}/{name}')
    return hub_of(request).repositories.find(KINDS[kind], namespace, name)


def _name(repo: Repo) -> str:
    return f'{repo.kind}/{repo.repo_id}'


def _generation(request: Request) -> str:
    return str(request.path_params['generation'])


async def _received_shard(request: Request, repo: Repo) -> mmap.mmap:
    """Return the body, in a file without a name: the part that is not looked at is not in memory."""
    with ExitStack() as stack:
        folder = await run_sync(stack.enter_context, storage.using(repo.path, _generation(request)))
        file = stack.enter_context(TemporaryFile(dir=folder, buffering=0))
        if (await receive(request, file, limit=shard.MAX_BYTES)).size == 0:
            raise bad_request('The shard is empty.')
        return mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)


async def _unknown(request: Request) -> JSONResponse:
    raise Problem(404, 'Nothing is known of it here.')


async def _not_kept(request: Request) -> Response:
    return Response(status_code=204)


_CAS = '/xet/{kind:kind}/{namespace:segment}/{name:segment}/{generation}'
ROUTES = [
    Route(
        '/api/{kind:kind}/{namespace:segment}/{name:segment}/xet-write-token/{revision:segment}', write_token
    ),
    Route(f'{_CAS}/v1/xorbs/default/{{hash}}', post_xorb, methods=['POST']),
    Route(f'{_CAS}/v1/shards', post_shard, methods=['POST']),
    Route(f'{_CAS}/shards', post_shard, methods=['POST']),
    Route(f'{_CAS}/v2/shards', post_shard_v2, methods=['POST']),
    Route(f'{_CAS}/v1/chunks/default/{{hash}}', _unknown),
    Route(f'{_CAS}/v1/xorb-grants/default/{{hash}}', _unknown, methods=['POST']),
    Route(f'{_CAS}/v1/telemetry', _not_kept, methods=['POST']),
    Route('/v1/telemetry', _not_kept, methods=['POST']),
]
