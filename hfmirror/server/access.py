"""Who asks, and what may they see and change? Each route asks here before it does anything.

What a stranger may not see does not exist: 401 to nobody in particular, 404 to somebody else. What one may see and not
change is 403, with the reason.
"""

from __future__ import annotations

import base64
import binascii

from starlette.requests import Request

from hfmirror.server.answers import Elsewhere, Problem, forbidden, no_repository, no_user
from hfmirror.server.hub import Hub
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.tokens import Identity


def hub_of(request: Request) -> Hub:
    """Return the Hub that answers the request."""
    hub: Hub = request.app.state.hub
    return hub


def identify(request: Request) -> Identity | None:
    """Return who asks, None for nobody in particular.

    Raises Problem 401 for a token that is nobody's, 403 for one that a page of another site had the browser send.
    """
    authorization = request.headers.get('authorization', '')
    token = _token(authorization)
    if token is None:
        return None
    if authorization.strip()[:5].lower() == 'basic' and _is_forged(request):
        raise forbidden('A browser sent this with a password it remembers, from a page of another site')
    identity = hub_of(request).tokens.identify(token)
    if identity is None:
        # This very text keeps the client from taking it for a repository that is not there.
        raise Problem(401, 'Invalid credentials in Authorization header')
    return identity


def require_identity(request: Request) -> Identity:
    """Return who asks. Raises Problem 401 for nobody."""
    identity = identify(request)
    if identity is None:
        raise Problem(401, 'Invalid username or password.')
    return identity


def readable(request: Request, *, kind: str | None = None, name: str | None = None) -> Repo:
    """Return the repository that the address names. Raises Problem 401 or 404 when the caller may not read it."""
    identity = identify(request)
    repo_type = KINDS[kind or request.path_params.get('kind', 'models')]
    namespace, own_name = request.path_params['namespace'], name or request.path_params['name']
    try:
        repo = hub_of(request).repositories.find(repo_type, namespace, own_name)
    except Problem as e:
        raise (no_user() if identity is None else e) from e
    except Elsewhere as moved:
        # Only to who may see it where it is now.
        there = hub_of(request).repositories.find(repo_type, *moved.repo_id.split('/', 1))
        _refuse_stranger(request, identity, there)
        raise
    _refuse_stranger(request, identity, repo)
    return repo


def may_read(request: Request, identity: Identity | None, repo: Repo) -> bool:
    """Return whether the caller may see the repository."""
    if identity is None:
        return hub_of(request).public_read and not repo.private
    return not repo.private or identity.may_see(repo.namespace)


def _refuse_stranger(request: Request, identity: Identity | None, repo: Repo) -> None:
    if not may_read(request, identity, repo):
        raise no_user() if identity is None else no_repository()


def writable(request: Request, *, kind: str | None = None, name: str | None = None) -> Repo:
    """Return the repository that the address names, which the caller may change. Raises Problem 401, 403 or 404."""
    repo = readable(request, kind=kind, name=name)
    refuse_writing(require_identity(request), repo.namespace)
    return repo


def contributable(request: Request) -> Repo:
    """Return the repository that the address names, which the caller sees and may comment and propose changes to.

    They need not be one of its writers. Raises Problem 401, 403 or 404.
    """
    repo = readable(request)
    identity = require_identity(request)
    if not identity.writes:
        raise forbidden(f'The token of {identity.user} is for reading only')
    return repo


def refuse_writing(identity: Identity, namespace: str) -> None:
    """Raise Problem 403, with the reason, when the caller may not write to ``namespace``."""
    if not identity.writes:
        raise forbidden(f'The token of {identity.user} is for reading only')
    if not identity.may_write_to(namespace):
        raise forbidden(
            f'{identity.user} may not write to {namespace}: it is neither their own namespace nor an organisation '
            'in which they have the role write'
        )


def _is_forged(request: Request) -> bool:
    """Return whether a page of another site asks for a change: what a browser remembers, any page can have it send."""
    if request.method in ('GET', 'HEAD'):
        return False
    host = request.headers.get('host', '')
    origin = request.headers.get('origin', f'//{host}').partition('//')[2]
    return origin != host or request.headers.get('sec-fetch-site') in ('cross-site', 'same-site')


def _token(authorization: str) -> str | None:
    """Return the token of ``Bearer TOKEN``, or of ``Basic`` as the password, or as the user without a password."""
    scheme, _, value = authorization.strip().partition(' ')
    if scheme.lower() == 'bearer':
        return value.strip()
    if scheme.lower() != 'basic':
        return None
    try:
        user, _, password = base64.b64decode(value.strip(), validate=True).decode().partition(':')
    except (binascii.Error, UnicodeDecodeError) as e:
        raise Problem(401, 'Invalid credentials in Authorization header') from e
    return password or user
