"""What does a request say? Its body within bounds, its origin, and where its pages go on."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlencode

from anyio import fail_after, to_thread
from starlette.requests import Request
from starlette.responses import Response

from hfmirror.server.access import identify
from hfmirror.server.answers import Problem, bad_request, too_large

_STRANGERS_MAX = 1024 * 1024  # bytes; a card or the names of ten thousand objects
_PATIENCE_S = 300.0  # for a body of a few megabytes
_PARTS_MAX = 400_000  # values of a JSON body; each takes a hundred bytes of memory
# The last quote is optional: without it a line of quotes alone would take a time that grows with its square.
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
JSON_MAX = 8 * 1024 * 1024  # bytes of a JSON body: 256 samples of 512 bytes and their names are 0.3 MB


def origin(request: Request) -> str:
    """Return scheme and host as the client called us: ``http://127.0.0.1:8008``."""
    return f'{request.url.scheme}://{request.headers.get("host", "127.0.0.1")}'


async def body(request: Request, limit: int = JSON_MAX) -> bytes:
    """Return the body. Raises Problem: 413 as soon as it is longer than ``limit`` bytes, 408 when it takes too long."""
    parts, size = [], 0
    try:
        with fail_after(_PATIENCE_S):
            async for part in request.stream():
                size += len(part)
                if size > limit:
                    raise too_large('The body', limit)
                parts.append(part)
    except TimeoutError as e:
        raise Problem(408, f'The body was not here after {_PATIENCE_S:.0f} s') from e
    return b''.join(parts)


async def json_object(request: Request, limit: int = JSON_MAX) -> dict[str, Any]:
    """Return the object that the JSON body is, ``{}`` for an empty body. Raises Problem 400 for anything else.

    Raises Problem 401, too, for a token that is nobody's; what nobody in particular sends is to be short.
    """
    content = await body(request, limit if identify(request) else min(limit, _STRANGERS_MAX))
    return parse_object(content) if content.strip() else {}


def parse_object(content: bytes | str) -> dict[str, Any]:
    """Return the object that a JSON text is. Raises Problem 400 for anything else, deeply nested JSON included."""
    raw = content.encode('utf-8', 'surrogatepass') if isinstance(content, str) else content
    # Most bodies need no second look: what is in a string counts here, and not there.
    if _parts(raw) > _PARTS_MAX and _parts(JSON_STRING.sub(b'', raw)) > _PARTS_MAX:
        raise bad_request(f'The body has more than {_PARTS_MAX} values.')
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as e:
        raise bad_request('The body is not JSON, or nested too deeply.') from e
    if not isinstance(value, dict):
        raise bad_request('The body is not a JSON object.')
    return value


def _parts(raw: bytes) -> int:
    return sum(raw.count(mark) for mark in (b',', b'[', b'{'))


def with_json(
    handler: Callable[[Request, dict[str, Any]], Response], limit: int = JSON_MAX
) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint that reads a JSON object and gives it to ``handler``, in a thread."""

    async def endpoint(request: Request) -> Response:
        values = await json_object(request, limit)
        return await to_thread.run_sync(handler, request, values)

    return endpoint


def text(values: Mapping[str, Any], key: str, default: str | None = None) -> str:
    """Return a string of a JSON object. Raises Problem 400 when it is missing (without a default) or no string."""
    value = values.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise bad_request(f'"{key}" must be a string.')
    try:
        value.encode()
    except UnicodeEncodeError as e:
        # JSON can spell halves of characters, which no file and no answer can hold.
        raise bad_request(f'"{key}" is not Unicode.') from e
    return value


def number(request: Request, key: str, default: int, *, most: int) -> int:
    """Return a natural number of the query, no larger than ``most``. Raises Problem 400 for anything else."""
    given = request.query_params.get(key)
    if given is None:
        return default
    if not (given.isascii() and given.isdigit() and len(given) < 12):
        raise bad_request(f'"{key}" must be a natural number.')
    return min(int(given), most)


def is_true(request: Request, key: str) -> bool:
    """Return whether a switch of the query is on."""
    return request.query_params.get(key, '').lower() in ('1', 'true')


def next_page(request: Request, **changes: str | int) -> Mapping[str, str]:
    """Return the header ``Link`` for the same request with other values in its query."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key not in changes]
    query = urlencode([*kept, *changes.items()])
    return {'Link': f'<{origin(request)}{request.scope["path"]}?{query}>; rel="next"'}
