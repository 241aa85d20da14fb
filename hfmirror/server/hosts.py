"""Who calls a Hub by its name? When only this machine reaches it, a browser may be led here by a name of somebody else.

A page of evil.example can have its own name lead to 127.0.0.1 (DNS rebinding), and its browser takes what we answer for an
answer of evil.example. By the header ``Host`` we see under which name we were called. An address is no name that somebody
else could have.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from starlette.types import ASGIApp, Receive, Scope, Send

from hfmirror import errors
from hfmirror.server.answers import Problem, answer

_HOST = re.compile(r'(?:\[(?P<v6>[^]]*)\]|(?P<name>[^:]*))(?::\d*)?')
_NAME = re.compile(r'[A-Za-z0-9_]([A-Za-z0-9._-]{0,252}[A-Za-z0-9])?')


class Named:
    """Answers 421 to requests for a host that is neither an address nor one of ``names``."""

    def __init__(self, app: ASGIApp, names: Collection[str]) -> None:
        self._app, self._names = app, frozenset(map(_plain, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        wrong = [host for host in _hosts(scope) if not self._is_ours(host)]
        if not wrong:
            await self._app(scope, receive, send)
            return
        text = (
            f'This Hub does not know the name {wrong[0][:100]!r}. Call it by its address or as localhost, '
            'or start it with the option --name and that name'
        )
        await answer(Problem(421, text), scope['path'])(scope, receive, send)

    def _is_ours(self, host: str) -> bool:
        match = _HOST.fullmatch(host.strip())
        name = (match['v6'] or match['name']) if match else ''
        return _plain(name) in self._names or _is_address(name)


def own_names() -> set[str]:
    """Return the names by which this machine calls itself."""
    return {'localhost', socket.gethostname()}


def checked_name(name: str) -> str:
    """Return the name of a host. Raises UsageError for anything else, as an address with a scheme or port."""
    if not _NAME.fullmatch(name):
        raise errors.UsageError(
            f'--name {name[:100]!r} is no name of a host. Give it without scheme and port: --name hub.example.org'
        )
    return name


def _hosts(scope: Scope) -> list[str]:
    headers = scope['headers'] if scope['type'] == 'http' else []
    return [value.decode('latin-1') for name, value in headers if name == b'host']


def _plain(name: str) -> str:
    return name.lower().removesuffix('.')


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
