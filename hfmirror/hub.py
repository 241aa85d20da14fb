"""What can only the Hub's REST API do? Create a repository, say who we are, check a card, list what a revision holds.

Everything else goes by git. The session, the headers and the errors are huggingface_hub's; its ``HfApi`` is not used since it
waits without end for a server that has stopped to answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from hfmirror import auth, errors, statuses, transfers
from hfmirror.auth import Token
from hfmirror.gitcmd import GitFailed
from hfmirror.rights import may_not_write
from hfmirror.target import REPO_TYPES, Target
from hfmirror.tree import Entry, Tree

if TYPE_CHECKING:
    from httpx2 import Response

_TIMEOUT_S = 60  # between two bytes
_ANSWER_MAX = 64 * 1024 * 1024  # bytes; a thousand entries of a tree are one
_PAGES_MAX = 10_000  # of 1,000 entries each


class NoSuchRepository(errors.NotFoundError):
    """The Hub says that there is no repository of that name, of any type."""


class Hub:
    """The REST API at ``endpoint``, as the owner of ``token``, or as nobody.

    ``other`` is a token that was found and is for another Hub; of it only its place is told.
    """

    def __init__(self, endpoint: str, token: Token | None, *, other: Token | None = None) -> None:
        self.endpoint, self.token, self._other = endpoint, token, other
        self._me: dict[str, Any] | None = None
        self._loading: Thread | None = None

    def load(self) -> None:
        """Begin to import what requests need, beside git, which is asked first; it takes a tenth of a second."""
        from huggingface_hub import constants  # noqa: F401  which this thread needs at once, for require_online

        self._loading = Thread(target=_import_client, daemon=True)
        self._loading.start()

    def git_environment(self) -> dict[str, str]:
        """Return what git, git-lfs and the programs that it starts need in their environment to be let in."""
        access = auth.git_environment(self.token, self.endpoint, transfers.settings())
        return {**transfers.environment(self.token), **access}

    def whoami(self) -> dict[str, Any]:
        """Return the answer of whoami-v2: name, organisations, and what the token may do. Raises AuthError."""
        if self.token is None:
            raise self.no_token(self.endpoint)
        if self._me is None:
            found = self._json('GET', '/api/whoami-v2', what=self.endpoint)
            if not isinstance(found, dict) or not isinstance(found.get('name'), str):
                raise errors.RemoteError(f'{self.endpoint}: it does not say who the token belongs to.')
            self._me = found
        return self._me

    def no_token(self, what: str) -> errors.AuthError:
        """Return what to tell of ``what`` when there is no token for this Hub."""
        if self._other is None:
            return errors.AuthError(f'{what}: {NO_TOKEN}')
        return errors.AuthError(
            f'{what}: the token from {self._other.source} is for {self._other.endpoint}, and this is on {self.endpoint}. '
            f'Set HF_ENDPOINT to {self.endpoint} if the token is for that.'
        )

    def exists(self, target: Target) -> bool:
        """Return whether the repository is there and may be read."""
        try:
            self.require(target)
        except errors.NotFoundError:
            return False
        return True

    def require(self, target: Target) -> None:
        """Raise unless the repository is there and may be read."""
        self._json('GET', _api(target), what=str(target))

    def is_private(self, target: Target) -> bool:
        """Return whether the Hub says that the repository is private. Raises NotFoundError when it is not there."""
        found = self._json('GET', _api(target), what=str(target))
        return isinstance(found, dict) and found.get('private') is True

    def create(self, target: Target, *, private: bool | None = None, sdk: str | None = None) -> bool:
        """Create the repository; returns False for one that is there, which stays as it is.

        ``private`` None is the account's default. Raises RemoteError for one that was to be private and is not.
        """
        namespace, _, name = target.repo_id.partition('/')
        body: dict[str, Any] = {'name': name, 'organization': namespace, 'type': target.repo_type}
        if private is not None:
            body['visibility'] = 'private' if private else 'public'
        if target.repo_type == 'space':
            body['sdk'] = sdk or 'static'
        is_new = True
        try:
            self._json('POST', '/api/repos/create', what=str(target), body=body)
        except errors.ConflictError:
            if not self.exists(target):
                raise
            is_new = False
        except errors.NotFoundError as e:
            raise errors.RemoteError(
                f'{target}: {self.endpoint} creates no repositories. Is HF_ENDPOINT the address of a Hub?'
            ) from e
        if private and not self.is_private(target):
            raise errors.RemoteError(
                f'{target}: {"created" if is_new else "there already"}, and public, not private. Nothing was sent to it. '
                f'Make it private in its settings at {target.url}, then push again.'
            )
        return is_new

    def check_card(self, text: str, target: Target) -> list[str]:
        """Return what the Hub says is wrong with a card; nothing when it would take it."""
        body = {'repoType': target.repo_type, 'content': text}
        answer = self._send('POST', f'{self.endpoint}/api/validate-yaml', what=str(target), body=body)
        if answer.status_code not in (200, 400):
            raise self._failure(answer, str(target))
        found = _document(answer, str(target))
        listed = found.get('errors') if isinstance(found, dict) else None
        messages = [str(one.get('message')) for one in listed or () if isinstance(one, dict)]
        if answer.status_code == 400 and not messages:
            messages = [str(found.get('error') if isinstance(found, dict) else found)]
        return messages

    def tree(self, target: Target, revision: str) -> Tree:
        """Return the files of a revision as the Hub lists them. Raises NotFoundError when it knows no such revision."""
        url = f'{self.endpoint}{_api(target)}/tree/{quote(revision, safe="")}?recursive=true&limit=1000'
        found: Tree = {}
        for _ in range(_PAGES_MAX):
            answer = self._checked('GET', url, what=f'{target} {revision}')
            entries = _entries(_document(answer, str(target)), str(target))
            found.update({entry.path: entry for entry in entries})
            link = answer.links.get('next', {}).get('url', '')
            if not link:
                return found
            url = self._here(link)
        raise errors.RemoteError(f'{target}: the Hub lists the files of {revision} without an end.')

    def _here(self, link: str) -> str:
        """Return the address of a next page on this Hub: our token goes nowhere else, and a mirror may name whom it mirrors."""
        if link.startswith(f'{self.endpoint}/'):
            return link
        parts = urlsplit(link)
        return f'{self.endpoint}{parts.path.removeprefix(urlsplit(self.endpoint).path)}?{parts.query}'

    def explained(
        self, failure: errors.HfmirrorError, target: Target, *, writing: bool
    ) -> errors.HfmirrorError:
        """Return what is behind a refusal that git, git-lfs or the LFS API could only half tell: token, right, name or gate.

        Of a Hub that has no time now, how long it wants to be left alone, which git keeps to itself.
        """
        if not isinstance(failure.__cause__, (GitFailed, OSError)):
            return failure  # the REST API said it itself
        told = (
            statuses.answered(failure.__cause__.stderr) if isinstance(failure.__cause__, GitFailed) else None
        )
        if isinstance(failure, errors.NetworkError):
            is_busy = told is not None and failure.retry_after_s is None
            return self._busy(target) or failure if is_busy else failure
        if not isinstance(failure, (errors.AuthError, errors.NotFoundError)) and not told:
            return failure
        try:
            reason = self._reason(target, writing=writing)
        except errors.NetworkError as e:
            # What git was told may mean any of it, so this is not over.
            reason = e if told and told.status in (401, 403, 404) else None
        except errors.HfmirrorError as e:
            reason = e
        if reason is None and told and told.status in (401, 403, 404):
            return statuses.failure(told.status, str(target), said=told.said)
        return reason or failure

    def _busy(self, target: Target) -> errors.NetworkError | None:
        """Return what the Hub says about when to come back, when it says that."""
        try:
            self.require(target)
        except errors.NetworkError as e:
            return e if e.retry_after_s is not None else None
        except errors.HfmirrorError:
            return None
        return None

    def _reason(self, target: Target, *, writing: bool) -> errors.HfmirrorError | None:
        if self.token is None:
            if not writing and self.exists(target):
                return None
            return self.no_token(str(target))
        me = self.whoami()
        if not self.exists(target):
            return self._no_such(target)
        if writing:
            return may_not_write(me, target, self.token)
        return None

    def _no_such(self, target: Target) -> errors.HfmirrorError:
        other = self.other_type(target)
        if other:
            kind = '' if target.repo_type == 'model' else f' --type {target.repo_type}'
            return errors.NotFoundError(
                f'{target}: there is no such {target.repo_type}, but a {other} of that name. Did you mean --repo-type {other}? '
                f"If not, make the {target.repo_type} first: 'hf repos create {target.repo_id}{kind}'."
            )
        return NoSuchRepository(
            f'{target}: no such {target.repo_type}, or the token may not see it. Check the name, and the token with '
            "'hfmirror whoami'."
        )

    def other_type(self, target: Target) -> str | None:
        """Return the other type under which a repository of that name is there."""
        others = [target._replace(repo_type=kind) for kind in REPO_TYPES if kind != target.repo_type]
        return next((other.repo_type for other in others if self.exists(other)), None)

    def _json(self, method: str, path: str, *, what: str, body: Mapping[str, Any] | None = None) -> Any:
        return _document(self._checked(method, f'{self.endpoint}{path}', what=what, body=body), what)

    def _checked(
        self, method: str, url: str, *, what: str, body: Mapping[str, Any] | None = None
    ) -> Response:
        answer = self._send(method, url, what=what, body=body)
        if answer.status_code >= 400:
            raise self._failure(answer, what)
        return answer

    def _send(self, method: str, url: str, *, what: str, body: Mapping[str, Any] | None = None) -> Response:
        if self._loading is not None:
            self._loading.join()  # two threads must not import the same at once
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import get_session

        headers = build_hf_headers(token=self.token.value if self.token else False, library_name='hfmirror')
        with (
            _reached(what if what == self.endpoint else f'{what}: {urlsplit(self.endpoint).netloc}'),
            get_session().stream(method, url, headers=headers, json=body, timeout=_TIMEOUT_S) as answer,
        ):
            return _whole(answer, what)

    def _failure(self, answer: Response, what: str) -> errors.HfmirrorError:
        code, said = answer.headers.get('X-Error-Code', ''), _said(answer)
        if answer.status_code == 401 and code not in statuses.ABSENT and not statuses.is_page(said):
            if self._other is not None:
                return self.no_token(what)
            which = f'the token from {self.token.source}' if self.token else 'a request without a token'
            return errors.AuthError(
                f"{what}: {which} was not accepted (HTTP 401){statuses.quoted(said)}. Log in with 'hf auth login', or set "
                'HF_TOKEN.'
            )
        wait = statuses.seconds(answer.headers.get('Retry-After'))
        return statuses.failure(answer.status_code, what, said=said, retry_after_s=wait, code=code)


NO_TOKEN = (
    "no token found. Log in with 'hf auth login', or set HF_TOKEN in the environment or in .env; "
    'a token that may write is made under Settings, Access Tokens.'
)


def _import_client() -> None:
    with suppress(Exception):  # who needs it next gets to see what is wrong with it
        from huggingface_hub.utils import _headers, _http  # noqa: F401


@contextmanager
def _reached(what: str) -> Iterator[None]:
    """Turn what keeps a request from being answered into an error of ours."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as e:
        raise _offline(what) from e
    except httpx2.TimeoutException as e:
        raise errors.NetworkError(
            f'{what}: no answer within {_TIMEOUT_S} s. Try again when it can be reached.'
        ) from e
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
        raise statuses.not_reached(e, what) from e


def require_online(target: Target) -> None:
    """Raise NetworkError when ``HF_HUB_OFFLINE`` says that no Hub is to be asked, and ``target`` is on one."""
    if target.endpoint is not None:
        from huggingface_hub.constants import is_offline_mode

        if is_offline_mode():
            raise _offline(str(target))


def _offline(what: str) -> errors.NetworkError:
    return errors.NetworkError(
        f'{what}: not asked, since HF_HUB_OFFLINE is set. Unset it when there is a network again.',
        statuses.LASTING,
    )


def _whole(answer: Response, what: str) -> Response:
    """Return an answer with its body, read as far as is sensible: a server may send without an end."""
    import httpx2

    body = bytearray()
    for chunk in answer.iter_bytes():
        body += chunk
        if len(body) > _ANSWER_MAX:
            raise errors.RemoteError(f'{what}: the answer has no end. Is HF_ENDPOINT the address of a Hub?')
    headers = {name: value for name, value in answer.headers.items() if name != 'content-encoding'}
    return httpx2.Response(answer.status_code, headers=headers, content=bytes(body))


def _said(answer: Response) -> str:
    header = answer.headers.get('X-Error-Message', '')
    try:
        found = answer.json()
    except (ValueError, RecursionError):
        return header or answer.text[:2000]
    error = found.get('error') if isinstance(found, dict) else None
    return header or (error if isinstance(error, str) else json.dumps(error or ''))


def _document(answer: Response, what: str) -> Any:
    try:
        return answer.json()
    except (ValueError, RecursionError) as e:
        raise errors.RemoteError(f'{what}: {statuses.not_the_api(answer.status_code)}') from e


def _api(target: Target) -> str:
    return f'/api/{target.repo_type}s/{target.repo_id}'


def _entries(rows: object, what: str) -> list[Entry]:
    """Return the files of one page of a tree. Raises RemoteError for a document that is none."""
    try:
        if not isinstance(rows, list):
            raise TypeError('no list')
        return [_entry(row) for row in rows if row.get('type') == 'file']
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise errors.RemoteError(
            f'{what}: the Hub answered with something else than its files. Is HF_ENDPOINT the address of a Hub?'
        ) from e


def _entry(row: Mapping[str, Any]) -> Entry:
    large = row.get('lfs')
    if isinstance(large, dict):
        return Entry(str(row['path']), str(large.get('oid')), int(large.get('size', -1)), is_lfs=True)
    return Entry(str(row['path']), str(row.get('oid')), int(row.get('size', -1)), is_lfs=False)


def hub_of(target: Target, token: Token | None) -> Hub | None:
    """Return the REST API of a target, None for one that is on no Hub.

    A token is for one endpoint; a target on another one does not get it.
    """
    if target.endpoint is None:
        return None
    if token is None or token.endpoint == target.endpoint:
        return Hub(target.endpoint, token)
    return Hub(target.endpoint, None, other=token)


@contextmanager
def explaining(hub: Hub | None, target: Target, *, writing: bool = False) -> Iterator[None]:
    """Raise what is behind a refusal of ``target`` that git and git-lfs could only half tell."""
    try:
        yield
    except errors.HfmirrorError as e:
        told = hub.explained(e, target, writing=writing) if hub else e
        if told is e:
            raise
        raise told from e
