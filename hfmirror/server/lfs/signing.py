"""Who may send or fetch an object without a token? Whoever holds an address that the Hub signed, until it expires.

    …/info/lfs/objects/<oid>?size=12345&expires=1790000000&signature=<HMAC-SHA256, hex>

huggingface_hub sends no token along with the bytes of an object, and git-lfs none to an address that was given to it as
authenticated. So the address alone says what may be done: every word of its query is signed, together with the facts
that are not in the query.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from starlette.requests import Request

from hfmirror.server.access import hub_of
from hfmirror.server.answers import Elsewhere, Problem, forbidden
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo

LIFETIME_S = 24 * 3600  # a large object takes its time, and the next one waits for it
_PURPOSE = b'lfs\0'  # the key signs other things too


def signed_query(
    secret: bytes, repo: Repo, *facts: str, shown: Mapping[str, object], lifetime_s: int = LIFETIME_S
) -> str:
    """Return the query of an address in ``repo`` that expires: ``shown``, and why it and ``facts`` can be believed."""
    pairs = [(name, str(value)) for name, value in shown.items()]
    pairs.append(('expires', str(int(time.time()) + lifetime_s)))
    return urlencode([*pairs, ('signature', _signature(secret, _facts(repo, facts), pairs))])


def signed_repo(request: Request, *facts: str) -> Repo:
    """Return the repository of a signed address. Every value of its query is then one that ``signed_query`` was given.

    Raises Problem 403 unless the address was signed for just these facts and this repository, and has not expired.
    """
    names, hub = request.path_params, hub_of(request)
    try:
        repo = hub.repositories.find(KINDS[names.get('kind', 'models')], names['namespace'], names['name'])
    except (Problem, Elsewhere) as e:
        raise _refused() from e  # whether there is such a repository is not for a stranger to know
    check(hub.secret, repo, *facts, query=request.query_params.multi_items())
    return repo


def check(secret: bytes, repo: Repo, *facts: str, query: Sequence[tuple[str, str]]) -> None:
    """Raise Problem 403 unless the whole query was signed for just these facts and this repository, and has not expired."""
    pairs = [pair for pair in query if pair[0] != 'signature']
    signature = dict(query).get('signature', '')
    wanted = _signature(secret, _facts(repo, facts), pairs)
    # As bytes: compare_digest refuses text that is not ASCII.
    if not hmac.compare_digest(wanted.encode(), signature.encode('utf-8', 'replace')):
        raise _refused()
    if int(dict(pairs)['expires']) <= time.time():
        raise forbidden('This address has expired. Ask the LFS server for a new one.')


def _refused() -> Problem:
    return forbidden('This address was not made by this server for this object.')


def _facts(repo: Repo, facts: Sequence[str]) -> Sequence[str]:
    return (f'{repo.kind}/{repo.repo_id}', *facts)


def _signature(secret: bytes, facts: Sequence[str], pairs: Sequence[tuple[str, str]]) -> str:
    text = json.dumps([facts, sorted(pairs)])
    return hmac.new(secret, _PURPOSE + text.encode(), hashlib.sha256).hexdigest()
