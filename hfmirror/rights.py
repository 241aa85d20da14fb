"""What may the owner of a token do, by what the Hub's whoami-v2 tells of them?

What it does not tell is not held against them; the Hub itself decides then.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from hfmirror import errors
from hfmirror.auth import Token
from hfmirror.target import Target

WRITE = 'repo.write'  # what a fine-grained token has to be allowed

_ROLES = {'fineGrained': 'fine-grained', 'god': 'admin'}


class Organisation(NamedTuple):
    """An organisation of the token's owner. ``asks`` is what it wants first: ``sso``, ``mfa``, …"""

    name: str
    role: str
    asks: tuple[str, ...] = ()

    @property
    def lets_write(self) -> bool:
        # A contributor may write to what is their own there.
        return self.role != 'read' and not self.asks


class Scope(NamedTuple):
    """What a fine-grained token may do with one user, organisation or repository."""

    type: str
    name: str
    permissions: tuple[str, ...]
    id: str = ''


class Person(NamedTuple):
    """Who a token belongs to, and what it may do. ``role`` is read, write, fine-grained, admin or unknown.

    ``scopes`` is None when there are none to tell of: of a token that is not fine-grained, or by a Hub that does not.
    """

    name: str
    fullname: str
    email: str
    type: str
    token_name: str
    role: str
    expires: str
    organisations: tuple[Organisation, ...] = ()
    scopes: tuple[Scope, ...] | None = None
    everywhere: tuple[str, ...] = ()
    reads_gated: bool = False


def person_of(me: Mapping[str, Any]) -> Person:
    """Return what an answer of whoami-v2 tells, whatever shape it has."""
    auth = _mapping(me.get('auth'))
    token = _mapping(auth.get('accessToken'))
    fine = _mapping(token.get('fineGrained'))
    role = _text(token.get('role')) or 'unknown'
    is_listed = role == 'fineGrained' and isinstance(fine.get('scoped'), list)
    return Person(
        name=_text(me.get('name')),
        fullname=_text(me.get('fullname')),
        email=_text(me.get('email')),
        type=_text(me.get('type')) or 'user',
        token_name=_text(token.get('displayName')),
        role=_ROLES.get(role, role),
        expires=_text(auth.get('expiresAt')),
        organisations=tuple(_organisation(org) for org in _mappings(me.get('orgs'))),
        scopes=tuple(_scope(scope) for scope in _mappings(fine['scoped'])) if is_listed else None,
        everywhere=_texts(fine.get('global')),
        reads_gated=fine.get('canReadGatedRepos') is True,
    )


def _organisation(found: Mapping[str, Any]) -> Organisation:
    asks = [
        *_texts(found.get('securityRestrictions')),
        *(['mfa'] if found.get('missingMFA') is True else []),
        *(['sso'] if found.get('pendingSSO') is True else []),
    ]
    return Organisation(_text(found.get('name')), _text(found.get('roleInOrg')), tuple(dict.fromkeys(asks)))


def _scope(found: Mapping[str, Any]) -> Scope:
    entity = _mapping(found.get('entity'))
    name, identifier = _text(entity.get('name')), _text(entity.get('_id'))
    return Scope(_text(entity.get('type')), name, _texts(found.get('permissions')), identifier)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return ' '.join(value.split()) if isinstance(value, str) else ''


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def may_not_write(me: Mapping[str, Any], target: Target, token: Token) -> errors.AuthError | None:
    """Return why the owner of a token, as whoami-v2 tells of them, may not write to a repository; None when they may."""
    person, namespace = person_of(me), target.repo_id.partition('/')[0]
    if person.role == 'read':
        return errors.AuthError(
            f'{target}: the token from {token.source} may only read. Make one that writes under Settings, Access Tokens, '
            "and log in with 'hf auth login'."
        )
    org = next((org for org in person.organisations if org.name.lower() == namespace.lower()), None)
    if org is not None and org.asks:
        return errors.AuthError(
            f'{target}: {org.name} asks for {", ".join(org.asks)} first. Open {token.endpoint}/{org.name} to do that, '
            'then run the same command again.'
        )
    if person.scopes is not None:
        is_granted = any(_covers(scope, target) for scope in person.scopes)
        return None if is_granted else _not_granted(target, token)
    if namespace.lower() == person.name.lower() or (org is not None and org.lets_write):
        return None
    writable = [person.name, *(org.name for org in person.organisations if org.lets_write)]
    return errors.AuthError(
        f'{target}: {person.name} may not write to the namespace {namespace}. '
        f'Use --repo with one of: {", ".join(writable)}.'
    )


def _covers(scope: Scope, target: Target) -> bool:
    """Return whether a scope lets write to a repository; one that does not name what it is for may."""
    if WRITE not in scope.permissions:
        return False
    name, whole = scope.name.lower(), target.repo_id.lower()
    if scope.type in ('user', 'org'):
        return name in ('', whole.partition('/')[0])
    return scope.type == target.repo_type and name in ('', whole)


def _not_granted(target: Target, token: Token) -> errors.AuthError:
    return errors.AuthError(
        f'{target}: the fine-grained token from {token.source} has not the permission {WRITE} for it. Give it that under '
        "Settings, Access Tokens; 'hfmirror whoami' shows what it has."
    )
