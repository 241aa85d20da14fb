"""How does the Hub run? On a socket of its own, in this thread for the command, in another one for tests."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from hfmirror import errors
from hfmirror.server import faults, hosts, tokens
from hfmirror.server.app import create_app
from hfmirror.server.connections import Connection
from hfmirror.server.hub import Hub

_KEEP_ALIVE_S = 75  # longer than clients wait between two requests of one job


class RunningHub(faults.Hooks):
    """A Hub that answers, or fails as a test asks it to. ``token`` may write as the user ``local``."""

    def __init__(self, endpoint: str, token: str, root: Path, hub: Hub) -> None:
        super().__init__()
        self.endpoint, self.token, self.root, self.hub = endpoint, token, root, hub

    def __repr__(self) -> str:
        return f'RunningHub({self.endpoint!r})'


@contextmanager
def running_hub(
    root: Path,
    *,
    token: str = 'local:write',
    host: str = '127.0.0.1',
    port: int = 0,
    names: Collection[str] = (),
    **limits: Any,
) -> Iterator[RunningHub]:
    """Serve the repositories below ``root`` while the context is open, in a thread of this process.

    ``token`` is ``USER:ROLE[:TOKEN]``; ``names`` are those of ``serve``, ``limits`` those of Hub.
    """
    hub = Hub(root, **limits)
    new = tokens.parse(token)
    hub.tokens.add(new, automatic=True)
    with listen(host, port) as listening:
        running = RunningHub(address(listening), new.token, hub.root, hub)
        server = _server(faults.Watched(_app(hub, listening, names), running), faults.Cuttable)
        thread = Thread(target=server.run, args=([listening],), name='hub', daemon=True)
        thread.start()
        try:
            yield running
        finally:
            server.should_exit = True
            thread.join()
    running.raise_what_broke()


def serve(hub: Hub, listening: socket.socket, names: Collection[str] = ()) -> None:
    """Serve until interrupted or terminated. Transfers in flight are cut; nothing of them is kept.

    When only this machine reaches the socket, clients that call it by a name other than this machine's and ``names`` are
    turned away.
    Raises KeyboardInterrupt at the end when it was interrupted.
    """
    _server(_app(hub, listening, names), Connection).run([listening])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free one. Raises UsageError when the address cannot be had."""
    try:
        kind = socket.AF_INET6 if ':' in host else socket.AF_INET
        # The protocol is named, since asyncio sends small answers at once (TCP_NODELAY) on sockets that name it alone.
        listening = socket.socket(kind, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(1024)
    except (OSError, OverflowError) as e:
        raise errors.UsageError(
            f'{host}:{port}: cannot listen there ({getattr(e, "strerror", None) or e}). Give another --port, or 0 for any free one.'
        ) from e
    return listening


def address(listening: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listening.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'


def is_loopback(host: str) -> bool:
    """Return whether an address to listen on is reached from this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == 'localhost'


def _app(hub: Hub, listening: socket.socket, names: Collection[str]) -> ASGIApp:
    known = {*names, *hosts.own_names()} if is_loopback(listening.getsockname()[0]) else None
    return create_app(hub, known)


def _server(app: ASGIApp, http: type[Connection]) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=http,
        ws='none',
        log_level='critical',  # what goes wrong is said by the application, without secrets
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=0,
    )
    return uvicorn.Server(config)
