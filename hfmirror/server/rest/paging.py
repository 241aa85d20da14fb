"""Where does a long answer go on? A cursor, which only this module understands, says it to the next request."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from starlette.requests import Request

from hfmirror.server.answers import bad_request

_LONGEST = 2000


def cursor(*values: str | int | float) -> str:
    """Return the cursor that stands for ``values``."""
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip('=')


def read_cursor(request: Request, *types: type) -> tuple[Any, ...] | None:
    """Return the values of the query's cursor, None when it has none. Raises Problem 400 for one that is not ours."""
    given = request.query_params.get('cursor')
    if not given:
        return None
    try:
        if len(given) > _LONGEST:
            raise ValueError('too long')
        values = json.loads(base64.urlsafe_b64decode(given + '=' * (-len(given) % 4)))
    except (ValueError, binascii.Error, RecursionError) as e:
        raise bad_request('"cursor" is not one of ours.') from e
    if not isinstance(values, list) or [type(value) for value in values] != list(types):
        raise bad_request('"cursor" is not one of ours.')
    return tuple(values)
