"""Who is asking, who else is there, and what may one do? Users and organisations as the Hub's clients see them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hfmirror.server.access import hub_of, identify, may_read, readable, require_identity, writable
from hfmirror.server.answers import Problem
from hfmirror.server.names import KINDS
from hfmirror.server.tokens import Identity

_API = '/api/{kind:kind}/{namespace:segment}/{name:segment}'


def whoami(request: Request) -> Response:
    """Say whose token it is, what it may do, and in which organisations they are."""
    identity = require_identity(request)
    token = {'displayName': f'{identity.user}-{identity.role}', 'role': _hub_role(identity)}
    return JSONResponse(
        {
            **_user(identity.user),
            'id': _id('user', identity.user),
            'name': identity.user,
            'canPay': False,
            'orgs': [_membership(name, role) for name, role in sorted(identity.organisations.items())],
            'auth': {'type': 'access_token', 'accessToken': token},
        }
    )


def user_overview(request: Request) -> Response:
    """Describe a user: one who has a token or, after a push by path, only repositories."""
    user = _known(request, _users(request), 'user')
    orgs = [
        _organisation(name)
        for name, members in sorted(hub_of(request).tokens.organisations().items())
        if user in members
    ]
    return JSONResponse({**_user(user), **_numbers(request, user), 'orgs': orgs})


def organisation_overview(request: Request) -> Response:
    """Describe an organisation."""
    organisations = hub_of(request).tokens.organisations()
    name = _known(request, set(organisations), 'organization')
    numbers = {**_numbers(request, name), 'numUsers': len(organisations[name])}
    return JSONResponse({**_organisation(name), **numbers})


def members(request: Request) -> Response:
    """List the members of an organisation."""
    organisations = hub_of(request).tokens.organisations()
    name = _known(request, set(organisations), 'organization')
    return JSONResponse([_user(user) for user in sorted(organisations[name])])


def may_be_read(request: Request) -> Response:
    """Answer whether the caller may read a repository."""
    readable(request)
    return JSONResponse({})


def may_be_written(request: Request) -> Response:
    """Answer whether the caller may write to a repository."""
    writable(request)
    return JSONResponse({})


def _known(request: Request, names: set[str], what: str) -> str:
    """Return the name that the address has, in its own spelling. Raises Problem 401 or 404."""
    if identify(request) is None and not hub_of(request).public_read:
        raise Problem(401, 'Invalid username or password.')
    wanted = request.path_params['account']
    found = next((name for name in sorted(names) if name.lower() == wanted.lower()), None)
    if found is None:
        raise Problem(404, f'This {what} does not exist')
    return found


def _users(request: Request) -> set[str]:
    hub = hub_of(request)
    organisations = {name.lower() for name in hub.tokens.organisations()}
    owners = {
        repo.namespace
        for repo_type in KINDS.values()
        for repo in hub.repositories.all(repo_type)
        if repo.namespace.lower() not in organisations and may_read(request, identify(request), repo)
    }
    return hub.tokens.users() | owners


def _numbers(request: Request, namespace: str) -> Mapping[str, int]:
    """Return how many repositories of each type the caller sees there."""
    identity, hub = identify(request), hub_of(request)
    return {
        f'num{kind.capitalize()}': sum(
            repo.namespace.lower() == namespace.lower() and may_read(request, identity, repo)
            for repo in hub.repositories.all(repo_type)
        )
        for kind, repo_type in KINDS.items()
    }


def _hub_role(identity: Identity) -> str:
    # The Hub has no third role; what its clients ask is whether the token writes.
    return 'write' if identity.writes else 'read'


def _user(user: str) -> dict[str, Any]:
    return {'user': user, 'fullname': user, 'avatarUrl': '', 'isPro': False, 'type': 'user'}


def _organisation(name: str) -> dict[str, Any]:
    return {'name': name, 'fullname': name, 'avatarUrl': '', 'isEnterprise': False, 'type': 'org'}


def _membership(name: str, role: str) -> Mapping[str, Any]:
    return {**_organisation(name), 'id': _id('org', name), 'canPay': False, 'roleInOrg': role}


def _id(kind: str, name: str) -> str:
    return hashlib.sha256(f'{kind}/{name}'.encode()).hexdigest()[:24]


ROUTES: list[Route] = [
    Route('/api/whoami-v2', whoami),
    Route('/api/users/{account:segment}/overview', user_overview),
    Route('/api/organizations/{account:segment}/overview', organisation_overview),
    Route('/api/organizations/{account:segment}/members', members),
    Route(f'{_API}/auth-check', may_be_read),
    Route(f'{_API}/auth-check/write', may_be_written),
]
