"""How are repositories made, removed, renamed, copied and set up over REST?"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hfmirror import errors
from hfmirror.lfs import default_attributes
from hfmirror.server.access import (
    hub_of,
    may_read,
    readable,
    refuse_writing,
    require_identity,
    writable,
)
from hfmirror.server.answers import Elsewhere, bad_request, forbidden, no_repository
from hfmirror.server.git import served
from hfmirror.server.git.writing import add_commit, add_tree, move_ref
from hfmirror.server.hub import Hub
from hfmirror.server.names import KINDS, checked_repo_id
from hfmirror.server.repos.repositories import Repo, Taken
from hfmirror.server.requests import origin, text, with_json
from hfmirror.server.rest.jsonable import date_text
from hfmirror.server.tokens import Identity

_SDKS = ('gradio', 'streamlit', 'docker', 'static')
_VISIBILITIES = {'public': False, 'private': True, 'protected': True}
_API = '/api/{kind:kind}/{namespace:segment}/{name:segment}'


def create(request: Request, values: dict[str, Any]) -> Response:
    """Make a repository with its first commit. Keys about hardware, money and the like are not looked at."""
    identity = require_identity(request)
    repo_type = _repo_type(values)
    sdk = text(values, 'sdk', '')
    if repo_type == 'space' and sdk not in _SDKS:
        raise bad_request(f'"sdk" of a space is one of {", ".join(_SDKS)}.')
    if values.get('files'):
        raise bad_request('"files" is not taken here: make the repository, then commit them.')
    repo_id = _new_repo_id(request, identity, text(values, 'organization', ''), text(values, 'name'))
    settings = {'private': _private(values) or False, **({'sdk': sdk} if repo_type == 'space' else {})}

    def fill(repo: Repo) -> None:
        commit = first_commit(repo, user=identity.user)
        move_ref(repo.path, 'refs/heads/main', old=None, new=commit)

    try:
        repo = hub_of(request).repositories.create(repo_type, repo_id, settings, fill=fill)
    except Taken as e:
        return _taken(request, e.repo)
    return JSONResponse({'url': _url(request, repo), 'name': repo.repo_id, 'id': repo.identifier})


def first_commit(repo: Repo, *, user: str) -> str:
    """Write the commit that a repository begins with, and return it; no ref leads to it yet."""
    files = {'.gitattributes': default_attributes(repo.repo_type).encode()}
    if repo.repo_type == 'space':
        files['README.md'] = _space_card(repo).encode()
    tree = add_tree(repo.path, files, user=user)
    return add_commit(repo.path, tree, parents=(), text='initial commit\n', user=user)


def delete(request: Request, values: dict[str, Any]) -> Response:
    """Remove a repository with all that it holds."""
    identity = require_identity(request)
    namespace = text(values, 'organization', '') or identity.user
    repo = _found(request, identity, _repo_type(values), f'{namespace}/{text(values, "name")}')
    refuse_writing(identity, repo.namespace)
    hub_of(request).forget(repo)
    hub_of(request).repositories.delete(repo)
    return JSONResponse({})


def move(request: Request, values: dict[str, Any]) -> Response:
    """Give a repository another name, or another owner. The old name goes on leading to it."""
    identity = require_identity(request)
    repo = _found(request, identity, _repo_type(values), text(values, 'fromRepo'))
    refuse_writing(identity, repo.namespace)
    namespace, _, name = text(values, 'toRepo').partition('/')
    new = _new_repo_id(request, identity, namespace, name)
    hub_of(request).forget(repo)
    moved = hub_of(request).repositories.move(repo, new)
    return JSONResponse({'url': _url(request, moved), 'name': moved.repo_id})


def settings(request: Request, values: dict[str, Any]) -> Response:
    """Change who sees a repository and whether it takes discussions. What this Hub has not is refused, not ignored."""
    repo = writable(request)
    if values.get('gated'):
        raise bad_request(
            '"gated" can only be false: this Hub asks nobody for access. Make it private instead.'
        )
    private, changes = _private(values), {}
    if private is not None:
        changes['private'] = private
    if 'discussionsDisabled' in values:
        changes['discussionsDisabled'] = _switch(values, 'discussionsDisabled')
    if changes:
        repo.change_settings(changes)
    known = ('visibility', 'private', 'gated', 'discussionsDisabled', 'xetEnabled')
    return JSONResponse({key: values[key] for key in known if key in values})


def duplicate(request: Request, values: dict[str, Any]) -> Response:
    """Copy a repository: branches, tags and LFS objects, which are linked where the disk can; no discussions."""
    identity, source = require_identity(request), readable(request)
    namespace, _, name = text(values, 'repository').partition('/')
    repo_id = _new_repo_id(request, identity, namespace, name)
    private = _private(values)
    kept = {key: value for key, value in source.settings().items() if key in ('private', 'sdk')}

    def fill(repo: Repo) -> None:
        refspecs = ('+refs/heads/*:refs/heads/*', '+refs/tags/*:refs/tags/*')
        quietly = ('-q', '--no-tags', '--no-auto-maintenance', '--no-write-fetch-head')
        # git keeps our settings from the process at the other end, which is to read what another user may own.
        trusted = f'-c safe.directory={shlex.quote(str(source.path))}'
        sender = f'--upload-pack=GIT_ALLOW_PROTOCOL=none git {trusted} upload-pack'
        by_path = {'GIT_ALLOW_PROTOCOL': 'file'}
        served.git('fetch', *quietly, sender, '--', source.path, *refspecs, cwd=repo.path, env=by_path)
        shutil.copyfile(source.path / 'HEAD', repo.path / 'HEAD')
        if (source.objects / 'objects').is_dir():
            shutil.copytree(source.objects / 'objects', repo.objects / 'objects', copy_function=_linked)

    chosen = {**kept, **({} if private is None else {'private': private})}
    try:
        repo = hub_of(request).repositories.create(source.repo_type, repo_id, chosen, fill=fill)
    except Taken as e:
        return _taken(request, e.repo)
    return JSONResponse({'url': _url(request, repo), 'filesCopyPending': False})


def own_repositories(request: Request) -> Response:
    """List the repositories of the caller, or of an organisation, with what they take on disk."""
    identity = require_identity(request)
    namespace = request.path_params.get('namespace', identity.user)
    if not identity.may_see(namespace):
        raise forbidden(f'{identity.user} is not in {namespace}')
    found = [
        (repo, _bytes_below(repo.path))
        for repo_type in KINDS.values()
        for repo in hub_of(request).repositories.all(repo_type)
        if repo.namespace.lower() == namespace.lower()
    ]
    total = sum(size for _, size in found) or 1
    rows = (_storage(hub_of(request), repo, size, 100 * size / total) for repo, size in found)
    return JSONResponse([row for row in rows if row is not None])


def _repo_type(values: Mapping[str, Any]) -> str:
    repo_type = text(values, 'type', 'model')
    if repo_type not in KINDS.values():
        raise bad_request(f'"type" is one of {", ".join(KINDS.values())}.')
    return repo_type


def _private(values: Mapping[str, Any]) -> bool | None:
    """Return whether the request wants privacy, None when it does not say."""
    visibility = values.get('visibility')
    if visibility is None:
        return None if values.get('private') is None else _switch(values, 'private')
    if not isinstance(visibility, str) or visibility not in _VISIBILITIES:
        raise bad_request('"visibility" is public or private.')
    return _VISIBILITIES[visibility]


def _switch(values: Mapping[str, Any], key: str) -> bool:
    value = values[key]
    if not isinstance(value, bool):
        raise bad_request(f'"{key}" is true or false.')
    return value


def _new_repo_id(request: Request, identity: Identity, namespace: str, name: str) -> str:
    """Return the id of a repository that the caller may make. Raises Problem 400 or 403, which says what to do."""
    known = [identity.user, *hub_of(request).tokens.organisations(), *hub_of(request).tokens.users()]
    wanted = namespace or identity.user
    spelled = next((one for one in known if one.lower() == wanted.lower()), wanted)
    repo_id = checked_repo_id(spelled, name)
    if identity.writes and not identity.may_write_to(spelled):
        raise forbidden(
            f'{identity.user} may not make repositories of {spelled}. Use the token of that user (hfmirror serve --token '
            f'{spelled}:write gives one out), or name the organisation and its members in tokens.json of the Hub: '
            f'"organisations": {{"{spelled}": {{"{identity.user}": "write"}}}}'
        )
    refuse_writing(identity, spelled)
    return repo_id


def _found(request: Request, identity: Identity, repo_type: str, repo_id: str) -> Repo:
    """Return the repository of that very name, no longer valid ones left out. Raises Problem 404."""
    namespace, _, name = repo_id.partition('/')
    try:
        repo = hub_of(request).repositories.find(repo_type, namespace, name)
    except Elsewhere as e:
        # What was called so before may not be what is meant.
        raise no_repository() from e
    if not may_read(request, identity, repo):
        raise no_repository()
    return repo


def _space_card(repo: Repo) -> str:
    title = repo.repo_id.partition('/')[2]
    sdk = repo.settings()['sdk']
    lines = [f'title: {json.dumps(title)}', 'emoji: 🚀', 'colorFrom: blue', 'colorTo: gray', f'sdk: {sdk}']
    return '\n'.join(['---', *lines, 'pinned: false', '---', ''])


def _taken(request: Request, repo: Repo) -> Response:
    # The client reads the address of what is there from this very body.
    message = f'You already created this {repo.repo_type} repo'
    return JSONResponse({'error': message, 'url': _url(request, repo)}, 409, {'X-Error-Message': message})


def _url(request: Request, repo: Repo) -> str:
    return f'{origin(request)}/{repo.web_path}'


def _linked(source: str, target: str) -> str:
    """Link a file, copy it where there are no links. What is content-addressed never changes."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target)
    return target


def _storage(hub: Hub, repo: Repo, size: int, percent: float) -> Mapping[str, Any] | None:
    """Return what a repository takes, None of one that was deleted in this moment or is damaged."""
    try:
        head = hub.bare(repo).head('HEAD')
        changed = hub.bare(repo).date(head) if head else repo.created_at
    except (errors.GitError, FileNotFoundError):
        return None
    return {
        'id': repo.repo_id,
        'type': repo.repo_type,
        'updatedAt': date_text(changed),
        'visibility': 'private' if repo.private else 'public',
        'storage': size,
        'storagePercent': round(percent, 2),
    }


def _bytes_below(path: Path) -> int:
    size = 0
    for folder, _, names in os.walk(path):
        for name in names:
            try:
                size += os.lstat(f'{folder}/{name}').st_size
            except FileNotFoundError:
                continue  # a temporary file
    return size


ROUTES: list[Route] = [
    Route('/api/repos/create', with_json(create), methods=['POST']),
    Route('/api/repos/delete', with_json(delete), methods=['DELETE']),
    Route('/api/repos/move', with_json(move), methods=['POST']),
    Route('/api/settings/repositories', own_repositories),
    Route('/api/organizations/{namespace:segment}/settings/repositories', own_repositories),
    Route(f'{_API}/settings', with_json(settings), methods=['PUT']),
    Route(f'{_API}/duplicate', with_json(duplicate), methods=['POST']),
]
