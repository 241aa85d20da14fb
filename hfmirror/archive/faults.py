"""What does it mean for a push that a cloud's library raised this?

The libraries are told apart by the names of their errors, so that none of them is imported for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hfmirror import errors
from hfmirror.gitcmd import redact
from hfmirror.statuses import LASTING, LATER

_SHOWN = 300  # characters of what a service says
_NOBODY = {
    'CredentialRetrievalError',
    'DefaultCredentialsError',
    'NoCredentialsError',
    'PartialCredentialsError',
    'ProfileNotFound',
    'RefreshError',
    'SSOError',
    'TokenRetrievalError',
}
_DENIED = {
    'AccessDenied',
    'AllAccessDisabled',
    'ExpiredToken',
    'InvalidAccessKeyId',
    'InvalidToken',
    'SignatureDoesNotMatch',
    'TokenRefreshRequired',
    'UnauthorizedAccess',
}
_ELSEWHERE = {'PermanentRedirect', 'AuthorizationHeaderMalformed', 'IllegalLocationConstraintException'}
_PASSES = {
    'InternalError',
    'OperationAborted',
    'RequestTimeout',
    'ServiceUnavailable',
    'SlowDown',
    'Throttling',
}
_SPOILT = {'BadDigest', 'InvalidDigest', 'XAmzContentChecksumMismatch', 'XAmzContentSHA256Mismatch'}
_FULL = re.compile(r'quota|storage ?full|insufficient ?(?:storage|space)', re.I)
# botocore's and aiohttp's errors of connections, and google-auth's.
_UNREACHED = {
    'ClientConnectionError',
    'ClientError',  # aiohttp's; botocore's own one of that name has a response, and was looked at before
    'ClientPayloadError',
    'ConnectionError',
    'FSTimeoutError',
    'HTTPClientError',
    'IncompleteRead',
    'IncompleteReadError',
    'RequestException',
    'ResponseParserError',
    'TimeoutError',
    'TransportError',
}
_CLOCK = 'RequestTimeTooSkewed'


class Absent(errors.NotFoundError):
    """There is no such file in the bucket."""


class Taken(errors.ConflictError):
    """There is such a file already."""


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raise our error for a cloud's; ``where`` names the place. Raises Absent and Taken for a file."""
    try:
        yield
    except errors.HfmirrorError:
        raise
    except Exception as e:
        raise meaning(e, where) from e


def meaning(failure: BaseException, where: str) -> errors.HfmirrorError:
    """Return our error for what a cloud's library raised about ``where``."""
    chain = _chain(failure)
    for one in chain:
        found = _of_answer(one, where)
        if found is not None:
            return found
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    said = _said(failure)
    if names & _NOBODY:
        return errors.AuthError(
            f'{where}: no credentials for it, or they are not good any more{said}. {_how(where)}'
        )
    if 'SSLError' in names or 'ClientConnectorCertificateError' in names:
        return errors.NetworkError(f'{where}: its certificate is not trusted{said}.', LASTING)
    if isinstance(failure, FileExistsError):
        return Taken(f'{where}: is there already.')
    if isinstance(failure, FileNotFoundError):
        return Absent(f'{where}: not found{said}.')
    if isinstance(failure, PermissionError) or 'Forbidden' in said:
        return errors.AuthError(f'{where}: not allowed{said}. {_how(where)}')
    if names & _UNREACHED:
        return errors.NetworkError(f'{where}: cannot be reached{said}.')
    return errors.RemoteError(f'{where}: {said.removeprefix(": ") or type(failure).__name__}.')


def _chain(failure: BaseException) -> list[BaseException]:
    """Return an error and those that it was raised from, which know more."""
    chain: list[BaseException] = []
    at: BaseException | None = failure
    while at is not None and len(chain) < 8:
        chain.append(at)
        at = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
    return chain


def _of_answer(failure: BaseException, where: str) -> errors.HfmirrorError | None:
    """Return our error for an answer of the service, None when ``failure`` is none."""
    answer: Any = getattr(failure, 'response', None)
    if isinstance(answer, dict) and isinstance(answer.get('Error'), dict):
        code = str(answer['Error'].get('Code', ''))
        status = answer.get('ResponseMetadata', {}).get('HTTPStatusCode')
    elif type(failure).__name__ == 'HttpError':
        code, status = '', getattr(failure, 'code', None)
    else:
        return None
    try:
        number = int(status or code)
    except ValueError:
        number = 0
    return _refused(code, where, _said(failure)) or _by_status(number, where, _said(failure))


def _refused(code: str, where: str, said: str) -> errors.HfmirrorError | None:
    if code == 'NoSuchBucket':
        bucket = '/'.join(where.split('/')[:3])
        return errors.NotFoundError(f'{bucket}: no such bucket. Create it, or check --remote and the region.')
    if code == _CLOCK:
        return errors.AuthError(
            f"{where}: this machine's clock is wrong, so its signature was not believed{said}."
        )
    if code in _ELSEWHERE:
        return errors.RemoteError(
            f'{where}: the bucket is in another region. Set AWS_REGION to its own{said}.'
        )
    if code in _DENIED:
        return errors.AuthError(f'{where}: not allowed ({code}){said}. {_how(where)}')
    if code in _SPOILT:
        return errors.NetworkError(f'{where}: the bytes did not arrive as they were sent ({code}){said}.')
    if code in _PASSES:
        return errors.NetworkError(f'{where}: the service is busy ({code}){said}.')
    if _FULL.search(code) or _FULL.search(said):
        return errors.RemoteError(
            f'{where}: no room is left there{said}. Free some, or get more, and push again.'
        )
    return None


def _by_status(status: int, where: str, said: str) -> errors.HfmirrorError | None:
    if status in (401, 403):
        return errors.AuthError(f'{where}: not allowed (HTTP {status}){said}. {_how(where)}')
    if status == 404:
        return Absent(f'{where}: not found{said}.')
    if status in (409, 412):
        return Taken(f'{where}: is there already{said}.')
    if status >= 500 or status in LATER:
        return errors.NetworkError(f'{where}: the service could not answer (HTTP {status}){said}.')
    return errors.RemoteError(f'{where}: the service refused (HTTP {status}){said}.') if status else None


def _said(failure: BaseException) -> str:
    text = redact(' '.join(str(failure).split()))[:_SHOWN].rstrip('.')
    return f': {text}' if text else ''


def _how(where: str) -> str:
    if where.startswith('gs://'):
        return "Log in with 'gcloud auth application-default login', or set GOOGLE_APPLICATION_CREDENTIALS."
    return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE; 'aws sts get-caller-identity' shows who you are."
