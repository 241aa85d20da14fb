"""What does an LFS server say of an object? The batch API, asked for downloads; of uploads, only what it has against them.

Source: https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from hfmirror import errors, gitcmd, statuses
from hfmirror.target import Target
from hfmirror.tree import Entry

_BATCH = 100  # objects a request, as git-lfs asks
_TIMEOUT_S = 60
_ANSWER_MAX = 16 * 1024 * 1024  # bytes of one batch answer
_SAID_MAX = 4096  # bytes of an error that are read
_TYPE = 'application/vnd.git-lfs+json'
# What asking raises: no answer, half of one, or one that is no JSON.
_FAULTS = (OSError, http.client.HTTPException, ValueError, RecursionError)


class Action(NamedTuple):
    """Where and with which headers an object can be fetched."""

    href: str
    header: Mapping[str, str]


class LfsServer:
    """The LFS API of one target. ``work`` and ``env`` are where git finds the configuration for it."""

    def __init__(self, target: Target, work: Path, env: Mapping[str, str] | None = None) -> None:
        self.target = target
        self._git = _Git(work, env)
        self._opener = _opener(self._git, target.git_url)
        self._endpoint: str | None = None
        self._headers: dict[str, str] = {}

    def downloads(self, entries: Iterable[Entry]) -> dict[str, Action]:
        """Return {oid: how to fetch it} for the objects that the server has with that size."""
        wanted = {entry.oid: entry.size for entry in entries if entry.size}
        found: dict[str, Action] = {}
        for batch in _batches(sorted(wanted)):
            objects = [{'oid': oid, 'size': wanted[oid]} for oid in batch]
            for answer in self._batch(objects):
                action = _download(answer)
                if action and wanted.get(answer['oid']) == answer.get('size'):
                    found[answer['oid']] = action
        return found

    @contextmanager
    def open(self, action: Action, *, offset: int = 0) -> Iterator[tuple[IO[bytes], int]]:
        """Open an object for reading; yields the stream and the byte it really begins at (0 where ranges are ignored)."""
        headers = dict(action.header)
        if offset:
            headers['Range'] = f'bytes={offset}-'
        try:
            answer = self._open(action.href, headers)
        except _FAULTS as e:
            raise self._failure(e, action.href) from e
        with answer:
            yield answer, offset if answer.status == 206 else 0

    def _open(self, url: str, headers: Mapping[str, str]) -> Any:
        try:
            return self._opener.open(Request(url, headers=dict(headers)), timeout=_TIMEOUT_S)
        except HTTPError as e:
            # A host that puts no header into its answers asks for the user there too; git knows by URL whom it knows.
            credential = self._git.credential(url) if e.code == 401 and 'Authorization' not in headers else {}
            if not credential:
                raise
        return self._opener.open(Request(url, headers={**headers, **credential}), timeout=_TIMEOUT_S)

    def uploads(self, entries: Sequence[Entry], transfers: Sequence[str]) -> list[dict[str, Any]]:
        """Return what the server answers to a batch of uploads by one of ``transfers``: actions, or what is wrong."""
        objects = [{'oid': entry.oid, 'size': entry.size} for entry in entries]
        return self._batch(objects, operation='upload', transfers=transfers)

    def _batch(
        self,
        objects: Sequence[Mapping[str, Any]],
        *,
        operation: str = 'download',
        transfers: Sequence[str] = ('basic',),
    ) -> list[dict[str, Any]]:
        body = {
            'operation': operation,
            'transfers': list(transfers),
            'objects': objects,
            'ref': {'name': f'refs/heads/{self.target.branch}'},
            'hash_algo': 'sha256',
        }
        try:
            answer = self._post(f'{self._find_endpoint()}/objects/batch', body)
        except errors.RemoteError as e:
            if operation == 'download' and _has_none(e.__cause__):
                return []
            raise
        listed = answer.get('objects') if isinstance(answer, dict) else None
        if not isinstance(listed, list):
            raise errors.RemoteError(f'{self.target}: the LFS server answered without a list of objects.')
        return [item for item in listed if isinstance(item, dict) and isinstance(item.get('oid'), str)]

    def _find_endpoint(self) -> str:
        if self._endpoint is None:
            self._endpoint, self._headers = _endpoint(self.target, self._git)
        return self._endpoint

    def _post(self, url: str, body: Mapping[str, Any]) -> Any:
        try:
            return self._post_once(url, body)
        except HTTPError as e:
            if e.code != 401 or 'Authorization' in self._headers:
                raise self._failure(e, url) from e
        except _FAULTS as e:
            raise self._failure(e, url) from e
        self._headers |= self._git.credential(self.target.git_url)
        try:
            return self._post_once(url, body)
        except _FAULTS as e:
            raise self._failure(e, url) from e

    def _post_once(self, url: str, body: Mapping[str, Any]) -> Any:
        headers = {'Accept': _TYPE, 'Content-Type': _TYPE, **self._headers}
        request = Request(url, data=json.dumps(body).encode(), headers=headers, method='POST')
        with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
            return json.loads(answer.read(_ANSWER_MAX))

    def _failure(self, error: Exception, url: str) -> errors.HfmirrorError:
        host = urlsplit(url).netloc.rpartition('@')[2]
        if isinstance(error, HTTPError):
            return _http_failure(error, self.target, host)
        if isinstance(error, (ValueError, RecursionError)):
            return errors.RemoteError(
                f'{self.target}: {host} did not answer as an LFS server does. Check that {self.target.url} is a git repository with '
                'LFS, and that no login page of a network is in between.'
            )
        reason = error.reason if isinstance(error, URLError) else error
        return statuses.not_reached(reason, f'{self.target}: {host}')


def _has_none(error: BaseException | None) -> bool:
    """Return whether an LFS server says that it has not one of the objects; giftless says it of the whole request."""
    return (
        isinstance(error, HTTPError)
        and error.code in (404, 422)
        and error.headers.get_content_type() == _TYPE
    )


def _http_failure(error: HTTPError, target: Target, host: str) -> errors.HfmirrorError:
    code, said = error.code, _said(error)
    if code in (401, 403) and target.endpoint is None and not statuses.is_gated(said):
        return errors.AuthError(
            f'{target}: {host} refused the LFS request (HTTP {code}). Check the user and token that git uses for it '
            "('git credential fill')."
        )
    if code in (404, 405, 410, 501) and target.endpoint is None:
        return errors.RemoteError(
            f'{target}: {host} has no git-lfs API (HTTP {code}), so large files cannot be kept there. '
            'Turn LFS on for the repository, or choose another --remote.'
        )
    wait = statuses.seconds(error.headers.get('Retry-After'))
    return statuses.failure(
        code,
        f'{target}: {host}',
        said=error.headers.get('X-Error-Message') or said,
        retry_after_s=wait,
        code=error.headers.get('X-Error-Code', ''),
    )


def _said(error: HTTPError) -> str:
    """Return what an LFS server says of its refusal (``message`` in its JSON), or all of it."""
    try:
        text = error.read(_SAID_MAX).decode('utf-8', 'replace')
    except (OSError, http.client.HTTPException):
        return ''
    try:
        return str(json.loads(text)['message'])
    except (ValueError, KeyError, TypeError):
        return text


def _download(answer: Mapping[str, Any]) -> Action | None:
    actions = answer.get('actions')
    action = actions.get('download') if isinstance(actions, dict) and 'error' not in answer else None
    href = action.get('href') if isinstance(action, dict) else None
    # Whatever the server says, we fetch over HTTP only: a file:// address would read this machine's files.
    if not isinstance(href, str) or urlsplit(href).scheme not in ('http', 'https'):
        return None
    header = action.get('header') if isinstance(action, dict) else None
    return Action(href, {str(k): str(v) for k, v in header.items()} if isinstance(header, dict) else {})


def _batches(oids: Sequence[str]) -> Iterator[Sequence[str]]:
    return (oids[i : i + _BATCH] for i in range(0, len(oids), _BATCH))


def _endpoint(target: Target, asked: _Git) -> tuple[str, dict[str, str]]:
    """Return the API's address and headers, found as git-lfs does: configured, by ssh, or from the git URL."""
    for key in ('remote.origin.lfsurl', 'lfs.url'):
        configured = asked.config(key)
        if configured:
            return configured.rstrip('/'), asked.header(configured)
    if urlsplit(target.git_url).scheme in ('http', 'https'):
        return target.lfs_url, asked.header(target.lfs_url)
    return _ssh_endpoint(target, asked.work)


def _ssh_endpoint(target: Target, work: Path) -> tuple[str, dict[str, str]]:
    # https://github.com/git-lfs/git-lfs/blob/main/docs/api/server-discovery.md#ssh
    host, path = gitcmd.ssh_address(target.git_url)
    try:
        answer = json.loads(gitcmd.ssh(host, f"git-lfs-authenticate '{path}' download", cwd=work))
        return str(answer['href']).rstrip('/'), {
            str(k): str(v) for k, v in (answer.get('header') or {}).items()
        }
    except gitcmd.GitFailed as e:
        raise errors.RemoteError(
            f'{target}: {host[-1]} does not know git-lfs-authenticate, so where its LFS objects are cannot be asked. '
            f"Name the LFS server with 'git config --global lfs.url URL'. It said: {e.stderr}"
        ) from e
    except (ValueError, KeyError, TypeError, AttributeError) as e:
        raise errors.RemoteError(f'{target}: git-lfs-authenticate did not answer with an address.') from e


class _Git(NamedTuple):
    """What git knows of a server: its configuration, and whom its credential helpers know there."""

    work: Path
    env: Mapping[str, str] | None

    def config(self, key: str, *, url: str | None = None) -> str:
        """Return a setting, the one for ``url`` when given; empty when there is none."""
        args = ('config', '--get-urlmatch', key, url) if url else ('config', '--get', key)
        try:
            return gitcmd.git(*args, cwd=self.work, env=self.env)
        except gitcmd.GitFailed:
            return ''

    def header(self, url: str) -> dict[str, str]:
        """Return the header that every request to ``url`` is to have."""
        name, colon, value = self.config('http.extraHeader', url=url).partition(':')
        return {name.strip(): value.strip()} if colon else {}

    def credential(self, url: str) -> dict[str, str]:
        """Return the Authorization header that git's credential helpers know for ``url``; nothing when they know none."""
        try:
            answer = gitcmd.git('credential', 'fill', cwd=self.work, stdin=f'url={url}\n\n', env=self.env)
        except gitcmd.GitFailed:
            return {}
        fields = dict(line.split('=', 1) for line in answer.splitlines() if '=' in line)
        pair = f'{fields.get("username", "")}:{fields.get("password", "")}'
        return {'Authorization': 'Basic ' + base64.b64encode(pair.encode()).decode()}


class _NoRedirect(HTTPRedirectHandler):
    # Following would send our Authorization header wherever the answer points.
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


@cache
def _context(ca_file: str) -> ssl.SSLContext:
    # Reading the machine's certificates takes longer than a request.
    return ssl.create_default_context(cafile=ca_file or None)


def _opener(asked: _Git, url: str) -> OpenerDirector:
    ca_file = asked.config('http.sslCAInfo', url=url) if url.startswith('https') else ''
    context = _context(ca_file)
    return build_opener(HTTPSHandler(context=context), _NoRedirect())
