"""What can only the Hub's REST API do? Create a repository, say who we are, check a card, list what a revision holds.

Everything else goes by git. The session, the headers and the errors are huggingface_hub's; its ``HfApi`` is not used since it
waits without end for a server that has stopped to answer.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from hfmirror import auth, errors, statuses
from hfmirror.auth import Token
from hfmirror.target import REPO_TYPES, Target
from hfmirror.tree import Entry, Tree

if TYPE_CHECKING:
    from httpx2 import Response

_TIMEOUT_S = 60
_PAGES_MAX = 10_000  # of 1,000 entries each


class NoSuchRepository(errors.NotFoundError):
    """The Hub says that there is no repository of that name, of any type."""


class Hub:
    """The REST API at ``endpoint``, as the owner of ``token``, or as nobody."""

    def __init__(self, endpoint: str, token: Token | None) -> None:
        self.endpoint, self.token = endpoint, token

    def git_environment(self) -> dict[str, str]:
        """Return what git and git-lfs need in their environment to be let in."""
        return auth.git_environment(self.token, self.endpoint)

    def whoami(self) -> dict[str, Any]:
        """Return the answer of whoami-v2: name, organisations, and what the token may do. Raises AuthError."""
        if self.token is None:
            raise errors.AuthError(f'{self.endpoint}: {NO_TOKEN}')
        found = self._json('GET', '/api/whoami-v2', what=self.endpoint)
        if not isinstance(found, dict) or not isinstance(found.get('name'), str):
            raise errors.RemoteError(f'{self.endpoint}: it does not say who the token belongs to.')
        return found

    def exists(self, target: Target) -> bool:
        """Return whether the repository is there and may be read."""
        try:
            self._json('GET', _api(target), what=str(target))
        except errors.NotFoundError:
            return False
        return True

    def create(self, target: Target, *, private: bool | None = None, sdk: str | None = None) -> None:
        """Create the repository; one that is there stays as it is. ``private`` None is the account's default."""
        namespace, _, name = target.repo_id.partition('/')
        body: dict[str, Any] = {'name': name, 'organization': namespace, 'type': target.repo_type}
        if private is not None:
            body['private'] = private
        if target.repo_type == 'space':
            body['sdk'] = sdk or 'static'
        try:
            self._json('POST', '/api/repos/create', what=str(target), body=body)
        except errors.ConflictError:
            if not self.exists(target):
                raise

    def check_card(self, text: str, target: Target) -> list[str]:
        """Return what the Hub says is wrong with a card; nothing when it would take it."""
        body = {'repoType': target.repo_type, 'content': text}
        answer = self._send('POST', f'{self.endpoint}/api/validate-yaml', body=body)
        if answer.status_code not in (200, 400):
            raise _failure(answer, str(target))
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
            rows = _document(answer, str(target))
            entries = [_entry(row) for row in rows if row.get('type') == 'file']
            found.update({entry.path: entry for entry in entries})
            url = answer.links.get('next', {}).get('url', '')
            if not url:
                return found
            if not url.startswith(f'{self.endpoint}/'):
                break  # our token goes nowhere else
        raise errors.RemoteError(f'{target}: the Hub lists the files of {revision} without an end.')

    def explained(
        self, failure: errors.HfmirrorError, target: Target, *, writing: bool
    ) -> errors.HfmirrorError:
        """Return what is behind a refusal that git could only half tell: token, right, name or gate."""
        if not isinstance(failure, (errors.AuthError, errors.NotFoundError)):
            return failure
        try:
            return self._reason(target, writing=writing) or failure
        except errors.NetworkError:
            return failure
        except errors.HfmirrorError as e:
            return e

    def _reason(self, target: Target, *, writing: bool) -> errors.HfmirrorError | None:
        if self.token is None:
            if not writing and self.exists(target):
                return None
            return errors.AuthError(f'{target}: {NO_TOKEN}')
        me = self.whoami()
        if not self.exists(target):
            return self._no_such(target)
        if writing:
            return may_not_write(me, target, self.token)
        return None

    def _no_such(self, target: Target) -> errors.HfmirrorError:
        other = self.other_type(target)
        if other:
            return errors.NotFoundError(
                f'{target}: there is no such {target.repo_type}, but a {other} of that name. Did you mean --repo-type {other}?'
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
        answer = self._send(method, url, body=body)
        if answer.status_code >= 400:
            raise _failure(answer, what, endpoint=self.endpoint)
        return answer

    def _send(self, method: str, url: str, *, body: Mapping[str, Any] | None = None) -> Response:
        from huggingface_hub.utils._headers import build_hf_headers
        from huggingface_hub.utils._http import get_session

        headers = build_hf_headers(token=self.token.value if self.token else False, library_name='hfmirror')
        with _reached(self.endpoint):
            return get_session().request(method, url, headers=headers, json=body, timeout=_TIMEOUT_S)


NO_TOKEN = (
    "no token found. Log in with 'hf auth login', or set HF_TOKEN in the environment or in .env; "
    'a token that may write is made under Settings, Access Tokens.'
)


@contextmanager
def _reached(endpoint: str) -> Iterator[None]:
    """Turn what keeps a request from being answered into NetworkError."""
    import httpx2
    from huggingface_hub.errors import OfflineModeIsEnabled

    try:
        yield
    except OfflineModeIsEnabled as e:
        raise errors.NetworkError(f'{endpoint}: not asked, since HF_HUB_OFFLINE is set.') from e
    except httpx2.TimeoutException as e:
        raise errors.NetworkError(f'{endpoint}: no answer within {_TIMEOUT_S} s.') from e
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
        raise errors.NetworkError(f'{endpoint}: cannot be reached: {e}.') from e


def _failure(answer: Response, what: str, *, endpoint: str = '') -> errors.HfmirrorError:
    code, said = answer.headers.get('X-Error-Code', ''), _said(answer)
    if code == 'GatedRepo':
        return errors.AuthError(
            f'{what}: access to it has to be asked for{statuses.quoted(said)}. Open its page{f" at {endpoint}" if endpoint else ""} '
            'and accept the conditions, then run the same command again.'
        )
    if code in ('RepoNotFound', 'RevisionNotFound', 'EntryNotFound'):
        return errors.NotFoundError(f'{what}: not found{statuses.quoted(said)}.')
    wait = statuses.seconds(answer.headers.get('Retry-After'))
    return statuses.failure(answer.status_code, what, said=said, retry_after_s=wait)


def _said(answer: Response) -> str:
    header = answer.headers.get('X-Error-Message', '')
    try:
        found = answer.json()
    except (ValueError, UnicodeDecodeError):
        return header or answer.text[:2000]
    error = found.get('error') if isinstance(found, dict) else None
    return header or (error if isinstance(error, str) else json.dumps(error or ''))


def _document(answer: Response, what: str) -> Any:
    try:
        return answer.json()
    except (ValueError, UnicodeDecodeError) as e:
        raise errors.RemoteError(f'{what}: {statuses.not_the_api(answer.status_code)}') from e


def _api(target: Target) -> str:
    return f'/api/{target.repo_type}s/{target.repo_id}'


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
    return Hub(target.endpoint, token if token and token.endpoint == target.endpoint else None)


def role_of(me: Mapping[str, Any]) -> str | None:
    """Return the role of the token that whoami-v2 was asked with: read, write, fineGrained; None when it does not say."""
    about = me.get('auth')
    token = about.get('accessToken') if isinstance(about, dict) else None
    return token.get('role') if isinstance(token, dict) else None


def may_not_write(me: Mapping[str, Any], target: Target, token: Token) -> errors.AuthError | None:
    """Return why the owner of a token, as whoami-v2 tells of them, may not write to a repository; None when they may."""
    namespace = target.repo_id.partition('/')[0]
    if role_of(me) == 'read':
        return errors.AuthError(
            f'{target}: the token from {token.source} may only read. Make one that writes under Settings, Access Tokens, '
            "and log in with 'hf auth login'."
        )
    orgs = [org for org in me.get('orgs') or () if isinstance(org, dict)]
    writable = [str(me['name'])] + [
        str(org.get('name')) for org in orgs if org.get('roleInOrg') not in ('read', None)
    ]
    if namespace.lower() not in [name.lower() for name in writable]:
        return errors.AuthError(
            f'{target}: {me["name"]} may not write to the namespace {namespace}. '
            f'Use --repo with one of: {", ".join(writable)}.'
        )
    return None
