"""How much, and how slowly, may a client speak before its request has begun? Then it is cut off.

What reads HTTP here has no limit of its own: a header that never ends would fill the memory, and connections that say
nothing would be kept for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_MAX = (
    256 * 1024
)  # bytes of a request's line and headers, and of what stands between the parts of its body
PATIENCE_S = 60.0  # from the first byte of a request, or the connection's start, to the end of its headers


class Connection(HttpToolsProtocol):
    """One connection."""

    _silent = 0  # bytes that have led to nothing yet
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._silent += len(data)
        super().data_received(data)
        if self._silent > HEAD_MAX:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._silent = 0
        self._rest()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._silent = 0
        super().on_body(body)

    def _expect_head(self) -> None:
        self._rest()
        self._timer = self.loop.call_later(PATIENCE_S, self.transport.abort)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
