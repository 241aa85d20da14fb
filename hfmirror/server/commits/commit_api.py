"""How is a repository written over REST? preupload, commit, super-squash; and validate-yaml, which asks before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import closing
from typing import Any

from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from hfmirror.server.access import contributable, hub_of, refuse_writing, require_identity, writable
from hfmirror.server.answers import Problem, bad_request, too_large
from hfmirror.server.commits import commits, operations, preupload
from hfmirror.server.git import checks
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import is_true, json_object, origin, text, with_json
from hfmirror.server.talks import discussions

_API = '/api/{kind:kind}/{namespace:segment}/{name:segment}'
_CHUNK = 1024 * 1024  # bytes that go to the thread at once
_DECODED_AT_ONCE = 2  # each takes five times the memory of its file, for a tenth of a second


def preuploaded(request: Request, values: dict[str, Any]) -> Response:
    """Say of each file how it is to be sent."""
    repo, ref = _target(request)
    bare = hub_of(request).bare(repo)
    head = commits.head_of(bare, ref)
    found = preupload.answers(
        bare,
        head,
        preupload.offered(values),
        plain_max=hub_of(request).plain_max,
        attributes=_optional(values, 'gitAttributes'),
        ignored=_optional(values, 'gitIgnore'),
    )
    return JSONResponse({'files': found, **({'commitOid': head} if head is not None else {})})


async def commit(request: Request) -> Response:
    """Make a commit of the lines in the body."""
    repo, ref = await to_thread.run_sync(_target, request)
    with closing(commits.Incoming(hub_of(request), repo)) as incoming:
        wanted = await _received(request, incoming)
        return await to_thread.run_sync(_committed, request, repo, ref, incoming, wanted)


def squashed(request: Request, values: dict[str, Any]) -> Response:
    """Make one commit of a branch's whole history."""
    repo, user = writable(request), require_identity(request).user
    branch = request.path_params['revision']
    ref = commits.ref_of(branch)
    bare = hub_of(request).bare(repo)
    if bare.head(ref) is None and bare.head(f'refs/tags/{branch}') is not None:
        raise bad_request(f'{branch} is a tag: only the history of a branch can be squashed.')
    message = text(values, 'message', '').strip() or f'Super-squash branch {branch}'
    oid = commits.squash(hub_of(request), repo, ref, operations.checked_message(message), user=user)
    return JSONResponse({'commitId': oid})


def validated(request: Request, values: dict[str, Any]) -> Response:
    """Say what is wrong with a card, to a client that wants to know before it commits."""
    content, repo_type = text(values, 'content', '').encode(), text(values, 'repoType', 'model')
    if repo_type not in KINDS.values():
        raise bad_request('"repoType" is one of model, dataset and space.')
    report = checks.card_report(content, repo_type)
    status = 400 if report.errors else 200
    if 'text/plain' in request.headers.get('accept', ''):
        lines = [f'- Error: {fault}' for fault in report.errors]
        lines += [f'- Warning: {warning}' for warning in report.warnings]
        return PlainTextResponse('\n'.join(lines), status)
    found = {name: [{'message': line} for line in lines] for name, lines in report._asdict().items()}
    return JSONResponse(found, status)


def _target(request: Request) -> tuple[Repo, str]:
    """Return repository and ref that a commit is for, or whose head a pull request is. Raises Problem 401, 403 or 404."""
    repo = contributable(request)
    ref = commits.ref_of(request.path_params['revision'])
    if is_true(request, 'create_pr'):
        return repo, ref
    identity = require_identity(request)
    if not (ref.startswith('refs/pr/') and _is_author(repo, ref, identity.user)):
        refuse_writing(identity, repo.namespace)
    return repo, ref


def _is_author(repo: Repo, ref: str, user: str) -> bool:
    try:
        return discussions.find(repo, int(ref.rpartition('/')[2])).author == user
    except Problem:
        return False


async def _received(request: Request, incoming: commits.Incoming) -> operations.Commit:
    if request.headers.get('content-type', '').startswith('application/json'):
        document = await json_object(request)
        return await to_thread.run_sync(operations.from_document, document, incoming.keep)
    reader = operations.Reader(incoming.keep, plain_max=hub_of(request).plain_max)
    problem = None
    async for data in _chunks(request):
        # A client that is still sending would not hear an answer, so the rest is read, and dropped.
        if problem is None:
            try:
                await to_thread.run_sync(reader.feed, data, limiter=_decoding(request))
            except Problem as e:
                problem = e
    if problem is not None:
        raise problem
    return await to_thread.run_sync(reader.finish)


def _decoding(request: Request) -> CapacityLimiter:
    """Return what lets only so many threads take a file of some megabytes apart at a time."""
    state = request.app.state
    if not hasattr(state, 'decoding'):
        state.decoding = CapacityLimiter(_DECODED_AT_ONCE)
    limiter: CapacityLimiter = state.decoding
    return limiter


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """Yield the body in large parts. Raises Problem 413 for one that is longer than any commit."""
    waiting, size = bytearray(), 0
    async for part in request.stream():
        size += len(part)
        if size > operations.TOTAL_MAX:
            raise too_large('The commit', operations.TOTAL_MAX)
        waiting += part
        if len(waiting) >= _CHUNK:
            yield bytes(waiting)
            waiting.clear()
    yield bytes(waiting)


def _committed(
    request: Request, repo: Repo, ref: str, incoming: commits.Incoming, wanted: operations.Commit
) -> Response:
    hub, user = hub_of(request), require_identity(request).user
    home = f'{origin(request)}/{repo.web_path}'
    incoming.install(ref)
    done: dict[str, Any] = {'success': True, 'hookOutput': ''}
    if is_true(request, 'create_pr'):
        number, oid = commits.propose(hub, repo, ref, wanted, user=user)
        done['pullRequestUrl'] = f'{home}/discussions/{number}'
    else:
        oid = commits.make(hub, repo, ref, wanted, user=user)
    return JSONResponse({**done, 'commitOid': oid, 'commitUrl': f'{home}/commit/{oid}'})


def _optional(values: dict[str, Any], key: str) -> str | None:
    return text(values, key) if values.get(key) is not None else None


ROUTES = [
    Route(f'{_API}/preupload/{{revision:tail}}', with_json(preuploaded), methods=['POST']),
    Route(f'{_API}/commit/{{revision:tail}}', commit, methods=['POST']),
    Route(f'{_API}/super-squash/{{revision:tail}}', with_json(squashed), methods=['POST']),
    Route('/api/validate-yaml', with_json(validated), methods=['POST']),
]
