"""What can go wrong between a client and a Hub? In a test, what the test says, at the requests it names.

    hub.fail('PUT', 503, times=2)
    hub.cut('GET /resolve/', after=1000)
    hub.when('POST /git-receive-pack', lambda: colleague.pushes({'a.txt': 'mine'}))
    assert len(hub.requests('PUT')) == 3

A request is named by its method and a part of its path and query as they were sent: ``PUT``, ``POST /info/lfs``, and
``* /api`` for any method. It gets the first fault of each kind that waits for it: first the delay, then the action, then
the failure or the cut.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, Literal, NamedTuple, cast

from anyio import to_thread
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hfmirror import gitcmd
from hfmirror.server.answers import Problem, answer
from hfmirror.server.connections import Connection

_SEEN_MAX = 10_000  # requests that are remembered
_SHOWN = 2000  # characters of a path or a header that are remembered
_SECRET = {b'authorization', b'proxy-authorization', b'cookie'}
_SIGNATURE = re.compile(r'(?<=[?&]signature=)[^&]*')  # whoever has it may upload
_DRAINED = 64 * 1024 * 1024  # bytes of a body that are read before a failure is answered
_TRANSPORT = 'hfmirror.transport'
_RESET = struct.pack('ii', 1, 0)  # SO_LINGER: what closes the socket sends RST

_Kind = Literal['delay', 'action', 'failure', 'cut']


class Seen(NamedTuple):
    """A request, and how it was answered: ``status`` None when it was not.

    ``received`` and ``sent`` are the bytes of the two bodies that went through. ``path`` has the query, and ``headers``
    (names in lower case) everything but what proves who asks.
    """

    method: str
    path: str
    status: int | None
    received: int
    sent: int
    headers: Mapping[str, str]


@dataclass
class _Fault:
    what: str
    kind: _Kind
    value: Any
    times: int
    skip: int = 0


class _Cut(NamedTuple):
    """Where a connection ends: after so many bytes of the request's body, or else of the answer's."""

    received: int | None
    sent: int


class Hooks:
    """What a test can ask of a Hub that runs, from any thread."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._faults: list[_Fault] = []
        self._seen: deque[_Exchange] = deque(maxlen=_SEEN_MAX)
        self._broken: list[BaseException] = []

    def fail(
        self,
        what: str,
        status: int,
        *,
        times: int = 1,
        after: int = 0,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = 'text/plain',
    ) -> None:
        """Answer requests with ``status`` once ``after`` others like them went through; nothing is carried out.

        Without ``body`` the answer is an error as this Hub gives it to git, git-lfs or its own clients.
        """
        if body is None:
            problem = Problem(status, f'A test wants the status {status} here', headers=headers)
            failure = partial(answer, problem)
        else:
            failure = partial(_foreign, body, status, headers, content_type)
        self._add(_Fault(what, 'failure', failure, times, after))

    def delay(self, what: str, seconds: float, *, times: int = 1) -> None:
        """Let requests wait before anything else happens to them."""
        self._add(_Fault(what, 'delay', seconds, times))

    def when(self, what: str, action: Callable[[], object], *, times: int = 1) -> None:
        """Call ``action`` in a thread before requests are carried out. What it raises, the end of ``running_hub`` raises."""
        self._add(_Fault(what, 'action', action, times))

    def cut(self, what: str, *, after: int = 0, received: int | None = None, times: int = 1) -> None:
        """End the connection of requests whose answer has more than ``after`` bytes, when these have been sent.

        0 is for any answer: the request is carried out, and nobody hears of it. With ``received`` it is reset when so many
        bytes of the request's body have come in, for requests that have more; 0 is for any request, which nobody sees then.
        """
        self._add(_Fault(what, 'cut', _Cut(received, after), times))

    def heal(self) -> None:
        """Drop the faults that are left."""
        with self._lock:
            self._faults.clear()

    def requests(self, what: str = '*') -> list[Seen]:
        """Return the requests that were answered or cut, in the order in which the answers began; the last 10,000."""
        with self._lock:
            seen = [exchange.seen() for exchange in self._seen]
        return [one for one in seen if _is_like(one.method, one.path, what)]

    def forget(self) -> None:
        """Forget the requests so far. Faults that are left stay."""
        with self._lock:
            self._seen.clear()

    def raise_what_broke(self) -> None:
        """Raise what an action raised, if one did; the request was carried out as if it had not."""
        if self._broken:
            raise self._broken[0]

    def _add(self, fault: _Fault) -> None:
        with self._lock:
            self._faults[:] = [*(old for old in self._faults if old.times > 0), fault]

    def _take(self, method: str, path: str) -> dict[_Kind, _Fault]:
        """Return the faults of a request. A cut counts only when it is claimed."""
        found: dict[_Kind, _Fault] = {}
        with self._lock:
            for fault in self._faults:
                if fault.kind in found or fault.times <= 0 or not _is_like(method, path, fault.what):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                found[fault.kind] = fault
                fault.times -= fault.kind != 'cut'
        return found

    def _claim(self, fault: _Fault) -> bool:
        with self._lock:
            fault.times -= 1
            return fault.times >= 0

    def _note(self, exchange: _Exchange) -> None:
        with self._lock:
            self._seen.append(exchange)

    def _act(self, action: Callable[[], object]) -> None:
        try:
            action()
        except BaseException as e:  # pytest's failures are no Exception
            self._broken.append(e)


class Cuttable(Connection):
    """A connection that the application can end."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[_TRANSPORT] = self.transport


class Watched:
    """The application ``app`` as ``hooks`` lets it through; its server speaks by ``Cuttable``."""

    def __init__(self, app: ASGIApp, hooks: Hooks) -> None:
        self._app, self._hooks = app, hooks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope['type'] != 'http':
            await self._app(scope, receive, send)
            return
        await _Exchange(self._hooks, scope, receive, send).run(self._app)


class _Exchange:
    """One request and its answer."""

    def __init__(self, hooks: Hooks, scope: Scope, receive: Receive, send: Send) -> None:
        self._hooks, self._scope = hooks, scope
        self._receive_next, self._send_on = receive, send
        query = scope['query_string']
        path = (scope['raw_path'] + (b'?' + query if query else b'')).decode('latin-1')
        self._method, self._path = scope['method'], _shown(path)
        self._headers = _recorded(scope['headers'])
        self._status: int | None = None
        self._received = self._sent = 0
        self._all_received = self._noted = self._ended = self._cut_due = False
        self._faults = hooks._take(self._method, path)
        cut = self._faults.get('cut')
        self._cut: _Cut | None = cut.value if cut else None

    def seen(self) -> Seen:
        return Seen(self._method, self._path, self._status, self._received, self._sent, self._headers)

    async def run(self, app: ASGIApp) -> None:
        try:
            if fault := self._faults.get('delay'):
                await asyncio.sleep(fault.value)
            if fault := self._faults.get('action'):
                await to_thread.run_sync(self._hooks._act, fault.value)
            if self._cut and self._cut.received == 0 and self._claimed():
                await self._end(reset=True)
            elif fault := self._faults.get('failure'):
                await self._fail(fault.value)
            else:
                await app(self._scope, self._receive, self._send)
        finally:
            self._note()

    async def _fail(self, failure: Callable[[str], Response]) -> None:
        # Clients that send a body and are not read take a reset for the answer. So it is read: at first, and of what is
        # longer the rest while the client has the answer already. Who asks before sending (curl) is told at once.
        asks = any(name == b'expect' for name, _ in self._scope['headers'])
        await self._drain(0 if asks else _DRAINED)
        response = failure(self._scope['raw_path'].decode('latin-1'))
        if not self._all_received:
            response.headers['Connection'] = 'close'
        await response(self._scope, self._receive, self._send_open)
        await self._drain(None)
        await self._send({'type': 'http.response.body'})

    async def _drain(self, limit: int | None) -> None:
        while not self._all_received and (limit is None or self._received < limit):
            await self._receive()

    async def _send_open(self, message: Message) -> None:
        more = {'more_body': True} if message['type'] == 'http.response.body' else {}
        await self._send({**message, **more})

    async def _receive(self) -> Message:
        if self._cut_due:
            await self._end(reset=True)
        message = await self._receive_next()
        if message['type'] == 'http.request':
            message = self._limited(message)
            self._received += len(message['body'])
        self._all_received |= not message.get('more_body', False)
        return message

    def _limited(self, message: Message) -> Message:
        limit = self._cut.received if self._cut else None
        if limit is None or self._received + len(message['body']) <= limit or not self._claimed():
            return message
        self._cut_due = True
        return {**message, 'body': message['body'][: limit - self._received], 'more_body': True}

    async def _send(self, message: Message) -> None:
        if self._cut_due:
            await self._end(reset=True)
        if self._ended:
            return  # as after any client that has gone
        if message['type'] == 'http.response.start':
            await self._begin(message)
            return
        body = b'' if self._method == 'HEAD' else message.get('body', b'')
        if self._is_cut_in(len(body)):
            assert self._cut
            body = body[: self._cut.sent - self._sent]
            message = {**message, 'body': body, 'more_body': True}
            self._ended = True
        self._sent += len(body)
        await self._send_on(message)
        if self._ended:
            await self._end()

    async def _begin(self, message: Message) -> None:
        if self._cut and self._cut.received is not None and self._has_body():
            await self._drain(None)  # the application may answer before it has read as much
        elif self._cut and self._cut.received is None and self._cut.sent == 0 and self._claimed():
            await self._end()
        if self._ended:
            return
        self._status = message['status']
        self._note()
        await self._send_on(message)

    def _has_body(self) -> bool:
        return any(name in (b'content-length', b'transfer-encoding') for name, _ in self._scope['headers'])

    def _is_cut_in(self, length: int) -> bool:
        """Return whether the connection is to end within so many more bytes of the answer."""
        cut = self._cut
        return bool(cut and cut.received is None and self._sent + length > cut.sent and self._claimed())

    def _claimed(self) -> bool:
        """Return whether the cut is still to be made; then it is this request's."""
        claimed = self._hooks._claim(self._faults['cut'])
        if not claimed:
            self._cut = None
        return claimed

    async def _end(self, *, reset: bool = False) -> None:
        self._cut_due, self._ended = False, True
        self._note()
        transport: asyncio.Transport = self._scope[_TRANSPORT]
        if reset:
            transport.get_extra_info('socket').setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            transport.abort()
        else:
            transport.close()  # what was sent so far still goes out
        # Until uvicorn knows, it would answer 500 in our stead.
        while (await self._receive_next())['type'] != 'http.disconnect':
            pass

    def _note(self) -> None:
        if not self._noted:
            self._noted = True
            self._hooks._note(self)


def _is_like(method: str, path: str, what: str) -> bool:
    wanted, _, part = what.partition(' ')
    return wanted.upper() in ('*', method) and part in path


def _shown(path: str) -> str:
    return gitcmd.redact(_SIGNATURE.sub('***', path))[:_SHOWN]


def _recorded(headers: list[tuple[bytes, bytes]]) -> Mapping[str, str]:
    kept = [(name, value) for name, value in headers[:100] if name not in _SECRET]
    return {
        name.decode('latin-1')[:_SHOWN]: gitcmd.redact(value.decode('latin-1'))[:_SHOWN]
        for name, value in kept
    }


def _foreign(
    body: bytes, status: int, headers: Mapping[str, str] | None, content_type: str, path: str
) -> Response:
    return Response(body, status, headers, media_type=content_type)
