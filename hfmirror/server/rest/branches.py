"""How are branches and tags made and removed over REST?"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hfmirror.gitcmd import GitFailed
from hfmirror.server.access import hub_of, require_identity, writable
from hfmirror.server.answers import Problem, bad_request, forbidden, no_revision
from hfmirror.server.git.served import git
from hfmirror.server.git.writing import RefChanged, add_tag, move_ref, ref_value
from hfmirror.server.names import checked_ref_name, is_ref_name
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import text, with_json
from hfmirror.server.rest.repository_api import first_commit

_BODY_MAX = 1_000_000  # bytes
_MESSAGE_MAX = 65_536  # characters
_API = '/api/{kind:kind}/{namespace:segment}/{name:segment}'


def create_branch(request: Request, values: dict[str, Any]) -> Response:
    """Make a branch at ``startingPoint``, by default main; ``emptyBranch`` begins a history of its own."""
    repo, user = writable(request), require_identity(request).user
    branch = checked_ref_name(request.path_params['branch'], 'branch')
    bare, ref = hub_of(request).bare(repo), f'refs/heads/{branch}'
    old = bare.head(ref)
    if old is not None and values.get('overwrite') is not True:
        raise _exists(ref)
    if values.get('emptyBranch') is True:
        new = first_commit(repo, user=user)
    else:
        new = bare.commit(text(values, 'startingPoint', 'main'))
    try:
        move_ref(repo.path, ref, old=old, new=new)
    except RefChanged as e:
        raise (_exists(ref) if old is None else e) from e
    return JSONResponse({})


def delete_branch(request: Request) -> Response:
    """Remove a branch; never the one that a clone begins with."""
    repo, branch = writable(request), request.path_params['branch']
    ref = f'refs/heads/{branch}'
    if ref in ('refs/heads/main', _default(repo)):
        raise forbidden(f'Cannot delete {ref} branch')
    old = hub_of(request).bare(repo).head(ref) if is_ref_name(branch) else None
    if old is None:
        raise no_revision(branch)
    move_ref(repo.path, ref, old=old, new=None)
    return JSONResponse({})


def create_tag(request: Request, values: dict[str, Any]) -> Response:
    """Tag a commit: annotated, in the name of the caller, when there is a message."""
    repo, user = writable(request), require_identity(request).user
    tag, message = checked_ref_name(text(values, 'tag'), 'tag'), text(values, 'message', '')
    if len(message) > _MESSAGE_MAX or '\0' in message:
        raise bad_request(f'A message has at most {_MESSAGE_MAX} characters, none of them NUL.')
    bare, ref = hub_of(request).bare(repo), f'refs/tags/{tag}'
    commit = bare.commit(request.path_params['revision'])
    if ref_value(repo.path, ref) is not None:
        raise _exists(ref)
    annotated = bool(message.strip())
    new = add_tag(repo.path, tag, commit=commit, text=message, user=user) if annotated else commit
    try:
        move_ref(repo.path, ref, old=None, new=new)
    except RefChanged as e:
        raise _exists(ref) from e
    return JSONResponse({})


def delete_tag(request: Request) -> Response:
    """Remove a tag."""
    repo, tag = writable(request), request.path_params['tag']
    ref = f'refs/tags/{tag}'
    old = ref_value(repo.path, ref) if is_ref_name(tag) else None
    if old is None:
        raise no_revision(tag)
    move_ref(repo.path, ref, old=old, new=None)
    return JSONResponse({})


def _exists(ref: str) -> Problem:
    return Problem(409, f'Reference {ref} already exists')


def _default(repo: Repo) -> str | None:
    """Return the branch that a clone checks out, None for a repository that names none."""
    try:
        return git('symbolic-ref', '-q', 'HEAD', cwd=repo.path)
    except GitFailed:
        return None


ROUTES: list[Route] = [
    Route(f'{_API}/branch/{{branch:tail}}', with_json(create_branch, _BODY_MAX), methods=['POST']),
    Route(f'{_API}/branch/{{branch:tail}}', delete_branch, methods=['DELETE']),
    Route(f'{_API}/tag/{{revision:tail}}', with_json(create_tag, _BODY_MAX), methods=['POST']),
    Route(f'{_API}/tag/{{tag:tail}}', delete_tag, methods=['DELETE']),
]
