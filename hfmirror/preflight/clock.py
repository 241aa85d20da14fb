"""Is this machine's clock right? Tokens and the signed addresses of uploads end at a time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from urllib.error import HTTPError
from urllib.parse import urlsplit

from hfmirror.config import environment
from hfmirror.preflight.check import Check
from hfmirror.target import Target

_SKEW_S = 300  # from here on signatures are refused
_ASK_S = 10


def clock(target: Target) -> Iterator[Check]:
    """Compare our clock with that of the remote: that of a host in a network."""
    url = _web_address(target)
    if url is None:
        return
    theirs = _date_at(url)
    host = urlsplit(url).netloc
    if theirs is None:
        yield Check('clock', 'warn', f'{host} does not tell the time', "Compare it yourself: 'date -u'.")
        return
    behind = theirs - time.time()
    if abs(behind) <= _SKEW_S:
        yield Check('clock', 'ok', f'within {max(1, round(abs(behind)))} s of {host}')
        return
    where = 'behind' if behind > 0 else 'ahead of'
    advice = "Set it ('timedatectl set-ntp true', 'chronyc makestep'), or that of the machine that runs the container."
    yield Check(
        'clock',
        'fail',
        f'{abs(behind) / 60:.0f} min {where} {host}: uploads and tokens would be refused.',
        advice,
        1,
    )


def _web_address(target: Target) -> str | None:
    """Return an address whose server may tell the time, None for a target that has none."""
    values = environment.variables().values
    if target.git_url.startswith(('http://', 'https://')):
        return target.endpoint or target.git_url
    if target.git_url.startswith('s3://'):
        own = values.get('AWS_ENDPOINT_URL_S3') or values.get('AWS_ENDPOINT_URL')
        return own or 'https://s3.amazonaws.com'
    if target.git_url.startswith('gs://'):
        own = values.get('STORAGE_EMULATOR_HOST', '')
        return own if own.startswith('http') else 'https://storage.googleapis.com'
    return None


def _date_at(url: str) -> float | None:
    """Return the time that a server tells, as one of the epoch; None when it does not, or is not reached."""
    from urllib.request import Request, urlopen

    parts = urlsplit(url)
    try:
        with urlopen(Request(f'{parts.scheme}://{parts.netloc}/', method='HEAD'), timeout=_ASK_S) as answer:
            date = answer.headers.get('Date')
    except HTTPError as e:
        with e:
            date = e.headers.get('Date')
    except (OSError, ValueError):
        return None
    with suppress(TypeError, ValueError, OverflowError):
        return parsedate_to_datetime(date).timestamp()
    return None
