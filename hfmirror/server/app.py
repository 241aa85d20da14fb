"""The web application: which address is answered by which function, and how errors become answers."""

from __future__ import annotations

import errno
import os
import traceback
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from urllib.parse import unquote

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfmirror import durable, errors, gitcmd, output
from hfmirror.server import hosts, housekeeping
from hfmirror.server.answers import Elsewhere, Problem, answer, no_repository
from hfmirror.server.commits import commit_api
from hfmirror.server.git import githttp
from hfmirror.server.hub import Hub
from hfmirror.server.lfs import lfs_api
from hfmirror.server.names import KINDS, RESERVED
from hfmirror.server.pages import views
from hfmirror.server.pages.templates import page, wants_page
from hfmirror.server.rest import (
    accounts,
    branches,
    history,
    info,
    listing,
    nameless,
    repository_api,
    resolve,
    telemetry,
    trees,
)
from hfmirror.server.talks import discussion_api
from hfmirror.server.xet import api as xet_api

_POLICY = (
    (b'content-security-policy', b"default-src 'none'; frame-ancestors 'none'; sandbox"),
    (b'x-content-type-options', b'nosniff'),
)
_TRACE_MAX = 200  # characters of a request's id
_INTERNAL = 'Internal error: the log of the server says more'


def create_app(hub: Hub, names: Collection[str] | None = None) -> ASGIApp:
    """Return the application that serves ``hub``; with ``names`` only to who calls it by one of them, see hosts."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        app.state.git_turns = githttp.turns()
        async with housekeeping.running(hub):
            yield
        hub.close()

    app = Starlette(routes=_routes(), exception_handlers=_HANDLERS, lifespan=lifespan)
    app.router.redirect_slashes = False
    app.state.hub = hub
    return _Undecoded(app if names is None else hosts.Named(app, names))


def _routes() -> list[Route]:
    return [
        *accounts.ROUTES,
        *repository_api.ROUTES,
        *branches.ROUTES,
        *commit_api.ROUTES,
        *discussion_api.ROUTES,
        *info.ROUTES,
        *trees.ROUTES,
        *history.ROUTES,
        *listing.ROUTES,
        *telemetry.ROUTES,
        *xet_api.ROUTES,
        *lfs_api.ROUTES,
        *githttp.ROUTES,
        *resolve.ROUTES,
        *views.ROUTES,
        *nameless.ROUTES,
    ]


class _Undecoded:
    """Routes see the path as it was sent, so that an encoded slash stays inside its segment; every answer has an id, and
    none acts in a browser: those that are no pages say so here.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        scope['path'] = scope['raw_path'].decode('latin-1')
        request_id = _request_id(scope)

        async def send_with_id(message: Message) -> None:
            if message['type'] == 'http.response.start':
                output.detail(gitcmd.redact(f'{scope["method"]} {scope["path"]} {message["status"]}'))
                message['headers'] = _with_policy(message['headers'])
                if request_id:
                    message['headers'].append((b'x-request-id', request_id))
            await send(message)

        await self._app(scope, receive, send_with_id)


def _with_policy(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    kept = list(headers)
    names = {name for name, _ in kept}
    return kept + [header for header in _POLICY if header[0] not in names]


def _request_id(scope: Scope) -> bytes:
    sent: bytes = next((value for name, value in scope['headers'] if name == b'x-amzn-trace-id'), b'')
    return b'Root=1;' + sent if sent and len(sent) <= _TRACE_MAX and sent.isascii() else b''


def _answer(request: Request, problem: Problem) -> Response:
    plain = answer(problem, request.scope['path'])
    if not wants_page(request):
        return plain
    shown = page('problem', {'status': problem.status, 'message': problem.message}, status=problem.status)
    shown.headers.update(
        {name: plain.headers[name] for name in ('www-authenticate',) if name in plain.headers}
    )
    return shown


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _answer(request, error)


async def _elsewhere(request: Request, error: Exception) -> Response:
    assert isinstance(error, Elsewhere)
    names = {request.path_params['namespace'], request.path_params['name']}
    segments = request.scope['path'].split('/')
    start = next(
        i
        for i, segment in enumerate(segments)
        if segment and segment not in RESERVED and unquote(segment) in names
    )
    old_name = segments[start + 1]
    ending = '.git' if old_name.endswith('.git') else ''
    segments[start : start + 2] = (error.repo_id + ending).split('/')
    query = f'?{request.url.query}' if request.url.query else ''
    return RedirectResponse('/'.join(segments) + query, 307)


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(request, Problem(error.status_code, error.detail, headers=error.headers))


def _gone(request: Request) -> Problem | None:
    """Return the answer when the repository was deleted or moved while the request was under way, which is no error of ours."""
    named = request.path_params
    if not {'namespace', 'name'} <= named.keys():
        return None
    hub: Hub = request.app.state.hub
    try:
        hub.repositories.find(KINDS[named.get('kind', 'models')], named['namespace'], named['name'])
    except (Problem, Elsewhere):
        return no_repository()
    return None


async def _ours(request: Request, error: Exception) -> Response:
    if gone := await to_thread.run_sync(_gone, request):
        return _answer(request, gone)
    # What git says names directories of this machine, which are nobody else's business.
    output.error(gitcmd.redact(f'{request.method} {request.scope["path"]}: {error}'))
    return answer(Problem(500, _INTERNAL), request.scope['path'])


async def _system(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and error.errno not in durable.NO_ROOM:
        return await _unexpected(request, error)
    output.error(f'{request.method} {request.scope["path"]}: {error}')
    return answer(Problem(507, f'The disk of the server: {os.strerror(errno.ENOSPC)}'), request.scope['path'])


async def _unexpected(request: Request, error: Exception) -> Response:
    if isinstance(error, OSError) and (gone := await to_thread.run_sync(_gone, request)):
        return _answer(request, gone)
    trace = ''.join(traceback.format_exception(error))
    output.error(gitcmd.redact(f'{request.method} {request.scope["path"]}\n{trace}'))
    return answer(Problem(500, _INTERNAL), request.scope['path'])


async def _hung_up(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


_HANDLERS = {
    Problem: _problem,
    Elsewhere: _elsewhere,
    HTTPException: _http,
    errors.HfmirrorError: _ours,
    errors.DiskFull: _system,
    OSError: _system,
    ClientDisconnect: _hung_up,
    Exception: _unexpected,
}
