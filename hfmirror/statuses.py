"""What does an HTTP status of a Hub or git host mean for a push, and what is to be done about it?"""

from __future__ import annotations

import re

from hfmirror import errors, gitcmd

_SHOWN = 300  # characters of what a server says
_QUOTA = re.compile(r'quota|storage[\w ]{0,40}(?:limit|exceed|full)|limit[\w ]{0,40}storage', re.I)
_MARKUP = re.compile(r'<(?:!doctype|html|head|body)\b', re.I)
LATER = (408, 425, 429)  # statuses below 500 that another try may change


def failure(
    status: int, what: str, *, said: str = '', retry_after_s: float | None = None
) -> errors.HfmirrorError:
    """Return our error for a request about ``what`` that was answered with ``status``; ``said`` is the server's text.

    ``retry_after_s`` is its ``Retry-After`` (RFC 9110, 10.2.3), in seconds.
    """
    text = quoted(said)
    if is_page(said) and status < 500:
        return errors.RemoteError(f'{what}: {not_the_api(status)}')
    if status == 507 or (status in (400, 402, 403, 413, 422) and _QUOTA.search(said)):
        return errors.RemoteError(
            f'{what}: the storage of the namespace is used up (HTTP {status}){text}. Free some there or get more of it, '
            "then run 'hfmirror resume' or push again."
        )
    if status == 401:
        return errors.AuthError(
            f"{what}: the token was not accepted (HTTP 401){text}. Log in with 'hf auth login', or set HF_TOKEN."
        )
    if status == 403:
        return errors.AuthError(
            f"{what}: not allowed (HTTP 403){text}. 'hfmirror whoami' shows what the token may do."
        )
    if status in (404, 410):
        return errors.NotFoundError(f'{what}: not found (HTTP {status}){text}. Check the name and the token.')
    if status in (409, 412):
        return errors.ConflictError(
            f'{what}: clashes with what is there (HTTP {status}){text}. Push again to go on top of it.'
        )
    if status == 413:
        return errors.RemoteError(
            f'{what}: too large for the server (HTTP 413){text}. Split the file, or ask for a larger limit.'
        )
    return _later(status, what, text, retry_after_s)


def _later(status: int, what: str, text: str, retry_after_s: float | None) -> errors.HfmirrorError:
    if status == 429:
        when = f' for {retry_after_s:.0f} s' if retry_after_s is not None else ''
        return errors.NetworkError(
            f'{what}: too many requests, the server asks to wait{when} (HTTP 429){text}.', retry_after_s
        )
    if status >= 500 or status in LATER:
        return errors.NetworkError(f'{what}: not able to answer now (HTTP {status}){text}.', retry_after_s)
    return errors.RemoteError(f'{what}: refused (HTTP {status}){text}.')


def not_the_api(status: int) -> str:
    """Return what to tell of an answer that is a web page where none should be."""
    return (
        f'a web page answered (HTTP {status}) where the API should: a proxy or a login page is in between. '
        'Check HF_ENDPOINT, HTTPS_PROXY and NO_PROXY, or log in to the network.'
    )


def is_page(text: str) -> bool:
    """Return whether a text is a web page for people."""
    return bool(_MARKUP.search(text[:1000]))


def quoted(said: str) -> str:
    """Return what a server said as the end of a clause, ``: "…"``, without secrets; nothing for a page."""
    line = ' '.join(said.split())
    if not line or is_page(line):
        return ''
    return f': "{gitcmd.redact(line[:_SHOWN]).rstrip(".")}"'


def seconds(retry_after: str | None) -> float | None:
    """Return the value of a Retry-After header in seconds, None for one that is absent or a date."""
    try:
        value = float((retry_after or '').strip())
    except ValueError:
        return None
    return value if 0 <= value < 10**7 else None
