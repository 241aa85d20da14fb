"""What does it mean for a push that a server answered with a status, or did not answer, and what is to be done about it?

The words are the same whoever saw it first: git, git-lfs, the LFS API or the REST API.

What may pass by itself is a NetworkError; it is tried again, and then the release waits: 408, 425, 429, 5xx, no such host,
a connection that is refused or cut, no answer in time. What waits without another try is a NetworkError too, whose
``retry_after_s`` is ``LASTING``: a certificate that is not trusted, a proxy that is in the way, HF_HUB_OFFLINE. Everything
else needs a person, and is not queued.
"""

from __future__ import annotations

import math
import re
import time
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import urlsplit

from hfmirror import errors, gitcmd

LASTING = math.inf  # seconds to wait for what time alone does not mend

_SHOWN = 300  # characters of what a server says
_QUOTA = re.compile(r'quota|storage[\w ]{0,40}(?:limit|exceed|full)|limit[\w ]{0,40}storage', re.I)
_GATED = re.compile(
    r'\bgated\b|access to .{0,200} is restricted|in the authorized list|(?:ask|request) for access', re.I
)
_MARKUP = re.compile(r'<(?:!doctype|html|head|body)\b', re.I)
LATER = (408, 425, 429)  # statuses below 500 that another try may change
ABSENT = (
    'RepoNotFound',
    'RevisionNotFound',
    'EntryNotFound',
)  # what a Hub says with 401 too, to who may not know


def failure(
    status: int, what: str, *, said: str = '', retry_after_s: float | None = None, code: str = ''
) -> errors.HfmirrorError:
    """Return our error for a request about ``what`` that was answered with ``status``; ``said`` is the server's text.

    ``retry_after_s`` is its ``Retry-After`` (RFC 9110, 10.2.3), in seconds; ``code`` is a Hub's ``X-Error-Code``.
    """
    text = quoted(said)
    if status == 407:
        return errors.AuthError(f'{what}: {_PROXY_USER}')
    if code in ABSENT:
        return errors.NotFoundError(f'{what}: not found{text}.')
    if is_page(said) and status < 500 and status not in LATER:
        return errors.RemoteError(f'{what}: {not_the_api(status)}')
    if status == 507 or (status in (400, 402, 403, 413, 422) and _QUOTA.search(said)):
        return errors.RemoteError(
            f'{what}: the storage of the namespace is used up (HTTP {status}){text}. Free some there or get more of it, '
            'then push again.'
        )
    if code == 'GatedRepo' or (status in (401, 403) and is_gated(said)):
        return errors.AuthError(
            f"{what}: access to it has to be asked for (HTTP {status}){text}. Open the repository's page, accept the "
            'conditions there, then run the same command again.'
        )
    return _refusal(status, what, text) or _later(status, what, text, retry_after_s)


def _refusal(status: int, what: str, text: str) -> errors.HfmirrorError | None:
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
    return None


def _later(status: int, what: str, text: str, retry_after_s: float | None) -> errors.HfmirrorError:
    if status == 429:
        when = f' for {retry_after_s:.0f} s' if retry_after_s is not None else ''
        return errors.NetworkError(
            f'{what}: too many requests, the server asks to wait{when} (HTTP 429){text}.', retry_after_s
        )
    if status >= 500 or status in LATER:
        when = f', it asks to wait for {retry_after_s:.0f} s' if retry_after_s else ''
        status_shown = '5xx' if status == _ANY_5XX else str(status)
        return errors.NetworkError(
            f'{what}: not able to answer now{when} (HTTP {status_shown}){text}.', retry_after_s
        )
    return errors.RemoteError(
        f"{what}: refused (HTTP {status}){text}. 'hfmirror doctor' looks at what a push needs."
    )


_PROXY_USER = (
    'the proxy asks for a user and password (HTTP 407). Put them into HTTP_PROXY and HTTPS_PROXY '
    '(http://USER:PASSWORD@HOST:PORT), or name the server in NO_PROXY.'
)


def not_the_api(status: int) -> str:
    """Return what to tell of an answer that is a web page where none should be."""
    return (
        f'a web page answered (HTTP {status}) where the API should: a proxy or a login page is in between. '
        'Check HF_ENDPOINT, HTTPS_PROXY and NO_PROXY, or log in to the network.'
    )


def is_page(text: str) -> bool:
    """Return whether a text is a web page for people."""
    return bool(_MARKUP.search(text[:1000]))


def is_gated(said: str) -> bool:
    """Return whether a server's words say that access has to be asked for."""
    return bool(_GATED.search(said[: 10 * _SHOWN]))


def quoted(said: str) -> str:
    """Return what a server said as the end of a clause, ``: "…"``, without secrets; nothing for a page."""
    # Only so much is looked at: the text may be as long as a server likes.
    line = ' '.join(gitcmd.redact(said[: 10 * _SHOWN]).split())
    if not line or is_page(line) or line.startswith(('<?xml', '<Error')):
        return ''
    return f': "{line[:_SHOWN].rstrip(".")}"'


def seconds(retry_after: str | None) -> float | None:
    """Return the value of a Retry-After header in seconds from now, None for one that is absent or cannot be read."""
    text = (retry_after or '').strip()
    try:
        value = float(text) if text[:1].isdigit() else parsedate_to_datetime(text).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(value, 0.0) if value < 10**7 else None


_PROXY_407 = re.compile(r'tunnel (?:connection )?failed\b.{0,20}\b407|HTTP code 407 from proxy|^407\b', re.I)


class _Trouble(NamedTuple):
    """Why a server was not reached: how programs say it, and what it means."""

    said: re.Pattern[str]
    means: str
    lasts: bool = False


# As git (by curl with GnuTLS or OpenSSL), git-lfs (Go), urllib and httpx say it; the first that is found counts.
_TROUBLES = (
    _Trouble(
        re.compile(r'resolve proxy'),
        'the name of the proxy is not known. Check HTTP_PROXY, HTTPS_PROXY and NO_PROXY',
        lasts=True,
    ),
    _Trouble(
        re.compile(r'tunnel (?:failed|connection failed)|HTTP code \d+ from proxy|proxyconnect', re.I),
        'the proxy does not let us through. Check HTTPS_PROXY, or name the server in NO_PROXY',
        lasts=True,
    ),
    _Trouble(
        re.compile(
            r'Could not resolve host|Name or service not known|nodename nor servname|name resolution|no such host'
            r'|No address associated|server misbehaving|getaddrinfo failed',
            re.I,
        ),
        'no such host is known (DNS). Check the network and the address (HF_ENDPOINT)',
    ),
    _Trouble(
        re.compile(
            r'SSL_ERROR_SYSCALL|non-properly terminated|GnuTLS recv error|EOF occurred|SSL_read|TLS handshake timeout'
        ),
        'the connection was cut. Try again when it can be reached',
    ),
    _Trouble(
        re.compile(
            r'certificate|x509:|\[SSL|gnutls_handshake|SSL_connect|SSL routines|wrong version number|\btls: '
            r'|HTTP response to HTTPS client|unexpected TLS packet',
            re.I,
        ),
        'no trusted connection (TLS). Check the address and the clock; for an authority of your own set SSL_CERT_FILE '
        'and GIT_SSL_CAINFO to its certificates',
        lasts=True,
    ),
    _Trouble(
        re.compile(r'timed out|too slow|i/o timeout|timeout|deadline exceeded', re.I),
        'no answer in time. Try again when it can be reached',
    ),
    _Trouble(
        re.compile(r'Failed to connect|Couldn.t connect|Connection refused', re.I),
        'the connection was refused. Check that a server runs there and that no firewall is in between',
    ),
    _Trouble(
        re.compile(r'Network is unreachable|No route to host|dial tcp', re.I),
        'the network does not reach it. Try again when it does',
    ),
    _Trouble(
        re.compile(
            r'Connection reset|Recv failure|Send failure|Empty reply|closed connection|disconnected|broken pipe|early EOF'
            r'|unexpected EOF|hung up|RPC failed|IncompleteRead|transfer closed'
            # Whatever else befalls a request of git-lfs on its way.
            r'|\b(?:Put|Post|Get|Patch) "https?://[^"]*": ',
            re.I | re.M,
        ),
        'the connection was cut. Try again when it can be reached',
    ),
)


def unreachable(reason: object, what: str) -> errors.HfmirrorError | None:
    """Return our error for a server that was not reached, from the words of the program that tried; None for other words."""
    text = str(reason)
    if _PROXY_407.search(text):
        return failure(407, what)
    found = next((trouble for trouble in _TROUBLES if trouble.said.search(text)), None)
    return errors.NetworkError(f'{what}: {found.means}.', LASTING if found.lasts else None) if found else None


def not_reached(reason: object, what: str) -> errors.HfmirrorError:
    """Return our error for a server that was certainly not reached."""
    return unreachable(reason, what) or errors.NetworkError(
        f'{what}: cannot be reached: {gitcmd.redact(str(reason))[:_SHOWN]}. Try again when it can.'
    )


class Answered(NamedTuple):
    """What a server answered to git or git-lfs: its status, 0 when they keep it to themselves, and its own words."""

    status: int
    said: str


_STATUS = re.compile(r'(?:requested URL returned error:|RPC failed; HTTP|from HTTP) (\d{3})\b')
_ANY_5XX = 599  # git-lfs does not say which one
# What git-lfs makes of a status when the answer says nothing; else it shows only what the answer says.
_LFS_STATUS = {
    'Client error:': 400,
    'Authentication required:': 401,
    'Authorization error:': 403,
    'Repository or object not found:': 404,
    'Unprocessable entity:': 422,
    'Rate limit exceeded:': 429,
    'Not Implemented:': 501,
    'Insufficient server storage:': 507,
    'Bandwidth limit exceeded:': 509,
    'Fatal error:': _ANY_5XX,
}
# To git, a page is a repository of the old kind, files that are read and written one by one.
_NO_GIT = re.compile(r'^fatal: (?:.* not valid: is this a git repository|git-http-push failed)', re.M)
_LFS_SAID = re.compile(
    r'^(?:error: )?(?:(?:batch response|LFS|Authentication required|Fatal error|Client error|Authorization error): ?)+(.*)$',
    re.M,
)


def answered(stderr: str) -> Answered | None:
    """Return what the server answered, from what git or git-lfs printed; None when it was no answer that they failed on."""
    lines = stderr.splitlines()
    remote = ' '.join(line.removeprefix('remote:').strip() for line in lines if line.startswith('remote:'))
    own = '\n'.join(line for line in lines if not line.startswith('remote:'))
    found = _STATUS.search(own)
    if found:
        return Answered(int(found[1]), remote)
    if re.search(r'could not read (?:Username|Password)|Authentication failed for', own):
        return Answered(401, remote)
    if re.search(r"^fatal: repository '[^']*' not found", own, re.M):
        return Answered(404, remote)
    return _answered_lfs(own)


def _answered_lfs(own: str) -> Answered | None:
    # git-lfs 3.3 knows no better words for 429, and stumbles over one that does not say how long to wait.
    if re.search(r'^LFS: Error$|^panic: .*\n(?s:.)*basic_upload', own, re.M):
        return Answered(429, '')
    said = _LFS_SAID.search(own)
    if said is None:
        return None
    known = next((word for word in _LFS_STATUS if re.search(rf'(?:^|: ){word}', said[0])), None)
    words = '' if re.search(r'https?://|%!', said[1]) else said[1]
    return Answered(_LFS_STATUS[known] if known else 0, words)


def told_by_git(stderr: str, what: str) -> errors.HfmirrorError | None:
    """Return our error for what git or git-lfs printed when they failed on the way to a server; None for other failures."""
    found = answered(stderr)
    if _NO_GIT.search(stderr):
        return errors.RemoteError(f'{what}: {not_the_api(200)}')
    if found and found.status in (401, 403) and not is_gated(found.said):
        # By whom we came git alone knows: by its helpers, a key, or a token of ours.
        return errors.AuthError(
            f'{what}: not let in (HTTP {found.status}){quoted(found.said)}. Check the user and token or key that git uses for it.'
        )
    if found and found.status:
        return failure(found.status, what, said=found.said)
    own = '\n'.join(line for line in stderr.splitlines() if not line.startswith('remote:'))
    cut = unreachable(own, _at(own, what))
    if cut or found is None:
        return cut
    if _QUOTA.search(found.said):
        return failure(507, what, said=found.said)
    return errors.RemoteError(
        f'{what}: the server refused an object{quoted(found.said)}. Push again; when it still does, ask who runs it.'
    )


def _at(said: str, what: str) -> str:
    """Return ``what`` with the host in it that a program could not reach, where it tells which."""
    url = re.search(r'(?:unable to access|Put|Post|Get) [\'"](https?://[^\s\'"]+)', said)
    host = urlsplit(url[1]).netloc.rpartition('@')[2] if url else ''
    return f'{what}: {host}' if host else what
