"""Can ``notifications.email_url`` be a mail server, and does it say who gets the mail?

A password with a character that means something in an address would be read as a host, and be told as one in a warning.
So such an address is used by nobody, and checked here for all.
"""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, urlsplit

_SCHEMES = ('mailto', 'mailtos')
_EXAMPLE = "Use one such as 'mailtos://ada:${MAIL_PASSWORD}@smtp.example.org'."
_ENCODED = (
    'cannot be read. In the user and the password write / as %2F, ? as %3F, # as %23, @ as %40 and a space as %20; '
    'who else gets the mail stands behind ?to='
)


def fault_of(url: str) -> str | None:
    """Return what is wrong with an address, without showing any of it; None when it can be used."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return _ENCODED if url.lower().startswith('mailto') else f'is no address of a mail server. {_EXAMPLE}'
    if parts.scheme not in _SCHEMES or not host:
        return f'is no address of a mail server. {_EXAMPLE}'
    return _ENCODED if _is_torn(url, parts) else None


def _is_torn(url: str, parts: SplitResult) -> bool:
    """Return whether a part has what only a password that is not encoded would bring there."""
    fields = parts.query.split('&') if parts.query else []
    return (
        bool(re.search(r'[\s#]', url))
        or parts.path not in ('', '/')
        or parts.netloc.count('@') > 1
        or any('=' not in field for field in fields)
    )


def names_recipient(url: str | None) -> bool:
    """Return whether an address says itself who gets the mail, by ``?to=``."""
    try:
        return any(key == 'to' for key, _ in parse_qsl(urlsplit(url or '').query))
    except ValueError:
        return False
