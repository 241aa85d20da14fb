"""Is there a secret in the configuration? It would be committed and published with it, so it is refused and never shown."""

from __future__ import annotations

import re
from io import BytesIO

from hfmirror.config.given import Given, KeyPath, Problem, leaves, problem, without
from hfmirror.gates import secrets

_NAMES = re.compile(
    r'(?i)(?:\A|.*[_-])(?:token|tokens|api_?key|access_?key|secret|password|passwd|pwd|credentials?)\Z'
)
_RIGHT_WAY = (
    "Remove it here, and log in with 'hf auth login' or put HF_TOKEN=… into .env, which stays on this machine. "
    'Revoke it when others have seen this file.'
)
# What the services behind these want is a secret itself.
_SECRET_VALUES = ('notifications.webhook_url', 'notifications.email_url')
# Wherever it stands in an address, and whichever variable it came from: the Hub's tokens are for nobody else.
_OF_THE_HUB = re.compile(r'(?:hf|api_org)_(?:[A-Za-z0-9]{30,}|(?:oauth|jwt)_[\w-]{15,})')
_HEADINGS = ('model_card', 'sections')  # what stands below is the person's own, such as 'Tokens'
# (user and password, host) of an address that can be taken apart in one way only
_ADDRESS = re.compile(r'([^/?#@]*@)?([^/?#@]+)(?:[/?#][^@]*)?')


def refused(given: Given) -> tuple[Given, list[Problem]]:
    """Return what was given without its secrets, and their problems. Asked before variables are filled in, and after."""
    problems = []
    for path, value in leaves(given):
        if (found := _problem(path, value)) is not None:
            problems.append(found)
            given = without(given, path)
    return given, problems


def _problem(path: KeyPath, value: Given) -> Problem | None:
    if _is_named_secret(path):
        return problem(value.origin, path, f'a secret does not belong here. {_RIGHT_WAY}')
    if not isinstance(value.content, str):
        return None
    is_address = '.'.join(map(str, path)) in _SECRET_VALUES
    if is_address and value.is_text and _OF_THE_HUB.search(value.content):
        message = 'holds a token of the Hub, which would be sent to somebody else. Remove it here.'
        return problem(value.origin, path, message)
    if (is_address and value.is_text) or not looks_secret(value.content):
        return None
    way = (
        'Put it into .env under a name such as NOTIFY_URL, and write ${NOTIFY_URL} here.'
        if is_address
        else _RIGHT_WAY
    )
    return problem(value.origin, path, f'holds a secret, which does not belong here. {way}')


def _is_named_secret(path: KeyPath) -> bool:
    """Tell whether a key says that its value is a secret, or is one itself that slipped to the left of a colon."""
    if path[:2] == _HEADINGS:
        return any(looks_secret(str(heading)) for heading in path[2:])
    return any(isinstance(part, str) and _NAMES.match(part) for part in path)


def looks_secret(text: str) -> bool:
    """Tell whether a rule of the gates finds a secret in a value."""
    quoted = f'value = "{text}"'
    return any(secrets.scan(BytesIO(quoted.encode('utf-8', 'replace')), 'config.yaml'))


def masked(key: str, value: object) -> object:
    """Return a value fit to be shown: of the addresses of notifications only the host, and not even that in doubt."""
    if key not in _SECRET_VALUES or not isinstance(value, str) or not value:
        return value
    scheme, _, rest = value.partition('://')
    parts = _ADDRESS.fullmatch(rest)
    # A password may hold any of the signs that part an address: what looks like its host can be the end of it.
    if parts is None or (key == 'notifications.email_url' and parts[1] is None):
        return f'{scheme}://***' if rest else '***'
    return f'{scheme}://{parts[2]}/***'
