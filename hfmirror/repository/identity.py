"""Who works in a person's clone: with which token, and under which name do they commit?"""

from __future__ import annotations

import logging
from typing import Any

from hfmirror import auth, errors
from hfmirror.auth import Token
from hfmirror.hub import Hub
from hfmirror.repository.raising import raises

_log = logging.getLogger('hfmirror')


def token_of(given: bool | str | None, endpoint: str, client: Any = None) -> Token | None:
    """Return the token: ``given`` when it is one, none for False, else that of ``client`` or the one that is found.

    One that is given is for ``endpoint``; one that is found may be for another Hub. Raises AuthError for what is no token,
    ValueError for the key of an organisation.
    """
    if given is False:
        return None
    if not isinstance(given, str):
        given = getattr(client, 'token', None)
    if not isinstance(given, str):
        return auth.find_token()
    _refuse_organisation(given)
    found = auth.find_token(given)
    return Token(found.value, 'the argument token', endpoint) if found else None


@raises(ValueError)
def _refuse_organisation(token: str) -> None:
    if token.startswith('api_org'):
        raise errors.UsageError('token: a key of an organisation, which the Hub does not take any more.')


def signature(hub: Hub) -> tuple[str | None, str | None]:
    """Return the name and address of the owner of the token; None where the Hub cannot be reached, and git decides.

    A token may not tell the address, or not even the name; the Hub's own address for them stands in then.
    """
    try:
        me = hub.whoami()
    except errors.NetworkError as e:
        _log.warning('%s Commits are signed as git is configured.', e)
        return None, None
    name = str(me['name'])
    return str(me.get('fullname') or name), str(me.get('email') or f'{name}@users.noreply.huggingface.co')
