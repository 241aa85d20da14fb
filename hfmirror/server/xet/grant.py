"""Who may send xorbs and shards to a repository? Whoever holds a token that the Hub signed for them an hour ago or less.

    <base64url of {"exp": 1790000000, "repo": "models/ada/bert", "user": "ada"}>.<HMAC-SHA256, hex>

The generation is not in it: a client that renews its token goes on with the address it began with.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import NamedTuple

from hfmirror.server.answers import Problem

LIFETIME_S = 3600
_LONGEST = 2048  # characters
_PURPOSE = b'xet\0'  # the key signs other things too


class Grant(NamedTuple):
    """An access token and the time, in seconds since 1970, when it ends."""

    token: str
    expires: int


def issue(secret: bytes, repo: str, *, user: str, now: float | None = None) -> Grant:
    """Return a token with which ``user`` may upload to ``repo`` (``models/ada/bert``)."""
    expires = int(time.time() if now is None else now) + LIFETIME_S
    text = json.dumps({'exp': expires, 'repo': repo, 'user': user}, separators=(',', ':'))
    payload = base64.urlsafe_b64encode(text.encode()).decode()
    return Grant(f'{payload}.{_signature(secret, payload)}', expires)


def check(secret: bytes, token: str, *, repo: str, now: float | None = None) -> str:
    """Return the user to whom a token was issued.

    Raises Problem 401 for one that this Hub did not sign, that is of another repository, or too old.
    """
    payload, _, signature = token.partition('.')
    # As bytes: compare_digest refuses text that is not ASCII.
    good = hmac.compare_digest(_signature(secret, payload).encode(), signature.encode('utf-8', 'replace'))
    if len(token) > _LONGEST or not good:
        raise Problem(401, 'The access token for the upload is not valid.')
    try:
        said = json.loads(base64.urlsafe_b64decode(payload))
    except ValueError as e:
        raise Problem(401, 'The access token for the upload is not valid.') from e
    if said['repo'] != repo:
        raise Problem(401, 'The access token for the upload is of another repository.')
    if said['exp'] <= (time.time() if now is None else now):
        raise Problem(401, 'The access token for the upload has expired.')
    return str(said['user'])


def _signature(secret: bytes, payload: str) -> str:
    return hmac.new(secret, _PURPOSE + payload.encode('utf-8', 'replace'), hashlib.sha256).hexdigest()
