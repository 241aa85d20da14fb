"""What does the Hub answer when something is wrong? A status, a code and a sentence, from which clients make exceptions.

The client looks at the header ``X-Error-Code`` first, so an answer to HEAD can say as much as one with a body.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

_LFS_TYPE = 'application/vnd.git-lfs+json'


class Problem(Exception):
    """A request that is answered with an error. ``code`` is one of those that the client knows, or None."""

    def __init__(
        self, status: int, message: str, code: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = dict(headers or {})


class Elsewhere(Exception):
    """The repository is under another name now: ``repo_id``."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(repo_id)
        self.repo_id = repo_id


def no_repository() -> Problem:
    """There is no such repository, or none that the caller may know of."""
    return Problem(404, 'Repository not found', 'RepoNotFound')


def no_user() -> Problem:
    """Nobody in particular asks for what is missing or private."""
    return Problem(401, 'Invalid username or password.', 'RepoNotFound')


def no_revision(revision: str) -> Problem:
    """There is no such branch, tag or commit."""
    return Problem(404, f'Invalid rev id: {revision[:200]}', 'RevisionNotFound')


def no_entry(path: str, commit: str) -> Problem:
    """There is no such file at ``commit``; the client remembers that of this commit."""
    return Problem(404, f'Entry not found: {path[:500]}', 'EntryNotFound', {'X-Repo-Commit': commit})


def forbidden(reason: str) -> Problem:
    """The caller is known, sees the repository, and may not do this."""
    return Problem(403, reason)


def bad_request(message: str) -> Problem:
    """The request cannot be understood or must not be done."""
    return Problem(400, message)


def too_large(what: str, limit: int) -> Problem:
    """More bytes, lines or names than the server takes."""
    return Problem(413, f'{what} is larger than {limit} bytes')


def answer(problem: Problem, path: str) -> Response:
    """Return the response for a problem of a request for ``path``: as git-lfs, git or everybody else wants to hear it."""
    headers = {'X-Error-Message': header_text(problem.message), **problem.headers}
    if problem.code is not None:
        headers['X-Error-Code'] = problem.code
    if problem.status == 401:
        headers['WWW-Authenticate'] = 'Basic realm="hfmirror"'
    if '/info/lfs' in path:
        return _json({'message': problem.message}, problem.status, headers, media_type=_LFS_TYPE)
    if path.endswith(('/info/refs', '/git-upload-pack', '/git-receive-pack')):
        # git shows a body of this type to its user, each line after `remote:`.
        text = f'{problem.message}\n'.encode('utf-8', 'replace')
        return Response(text, problem.status, headers, media_type='text/plain')
    return _json({'error': problem.message}, problem.status, headers)


def _json(
    content: Mapping[str, str],
    status: int,
    headers: Mapping[str, str],
    *,
    media_type: str = 'application/json',
) -> Response:
    # ASCII: a message can quote a name that is no text.
    return Response(json.dumps(content), status, headers, media_type=media_type)


def header_text(text: str) -> str:
    """Return ``text`` as one header value: one line, Latin-1, without what a terminal or a header would act on."""
    shown = ''.join(c if c.isprintable() else '?' for c in ' '.join(text.split())[:1000])
    return shown.encode('latin-1', 'replace').decode('latin-1')
