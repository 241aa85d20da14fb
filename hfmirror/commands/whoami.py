"""``hfmirror whoami``: who the token belongs to, where it came from, and what it may do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.hub import Hub

# What `roleInOrg` lets one write to: a contributor only to what is their own there.
_WRITING = ('admin', 'write', 'contributor')
_ROLES = {'fineGrained': 'fine-grained', 'god': 'admin'}


class Organisation(NamedTuple):
    """An organisation of the token's owner. ``asks`` is what it wants first: ``sso``, ``mfa``, …"""

    name: str
    role: str
    asks: tuple[str, ...] = ()


class Scope(NamedTuple):
    """What a fine-grained token may do with one user, organisation or repository."""

    type: str
    name: str
    permissions: tuple[str, ...]


class Person(NamedTuple):
    """Who a token belongs to, and what it may do. ``role`` is read, write, fine-grained, admin or unknown."""

    name: str
    fullname: str
    email: str
    type: str
    token_name: str
    role: str
    expires: str
    organisations: tuple[Organisation, ...] = ()
    scopes: tuple[Scope, ...] = ()
    everywhere: tuple[str, ...] = ()
    reads_gated: bool = False


def whoami(hub: Hub) -> Person:
    """Return who the Hub says we are. Raises AuthError when there is no token, or one that it does not take."""
    found = hub.whoami()
    auth = _mapping(found.get('auth'))
    token = _mapping(auth.get('accessToken'))
    fine = _mapping(token.get('fineGrained'))
    role = _text(token.get('role')) or 'unknown'
    return Person(
        name=_text(found.get('name')),
        fullname=_text(found.get('fullname')),
        email=_text(found.get('email')),
        type=_text(found.get('type')) or 'user',
        token_name=_text(token.get('displayName')),
        role=_ROLES.get(role, role),
        expires=_text(auth.get('expiresAt')),
        organisations=tuple(_organisation(org) for org in _mappings(found.get('orgs'))),
        scopes=tuple(_scope(scope) for scope in _mappings(fine.get('scoped'))),
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
    name = _text(entity.get('name')) or _text(entity.get('_id'))
    return Scope(_text(entity.get('type')), name, _texts(found.get('permissions')))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: object) -> str:
    return ' '.join(value.split()) if isinstance(value, str) else ''


def _texts(value: object) -> tuple[str, ...]:
    return tuple(_text(item) for item in value if isinstance(item, str)) if isinstance(value, list) else ()


def lines(person: Person, endpoint: str, source: str) -> Iterator[str]:
    """Yield what to tell of a person, a line each."""
    full = f' ({person.fullname})' if person.fullname not in ('', person.name) else ''
    yield f'{person.name}{full} at {endpoint}'
    about = [
        f'"{person.token_name}"' if person.token_name else '',
        person.role,
        f'until {person.expires}' if person.expires else '',
    ]
    yield f'token: {source} ({", ".join(part for part in about if part)})'
    yield from _fine_rights(person) if person.role == 'fine-grained' else _rights(person)


def _rights(person: Person) -> Iterator[str]:
    """Yield what a token may do that has all rights of its owner, or all rights to read."""
    open_to = [org for org in person.organisations if not org.asks]
    writable = [org for org in open_to if org.role in _WRITING and person.role in ('write', 'admin')]
    readable = [org.name for org in open_to if org not in writable]
    if person.role in ('write', 'admin'):
        yield f'may write to: {", ".join([person.name, *(f"{org.name} ({org.role})" for org in writable)])}'
    else:
        readable.insert(0, person.name)
    if readable:
        yield f'may read: {", ".join(readable)}'
    if person.role == 'read':
        yield 'may not write: a push to the Hub needs a token that writes'
    for org in person.organisations:
        if org.asks:
            yield f'shut out of {org.name}, which asks for {", ".join(org.asks)} first'


def _fine_rights(person: Person) -> Iterator[str]:
    for scope in person.scopes:
        yield f'{scope.type} {scope.name}: {", ".join(scope.permissions) or "nothing"}'
    if person.everywhere:
        yield f'everywhere: {", ".join(person.everywhere)}'
    if person.reads_gated:
        yield 'may read gated repositories that its owner has access to'
    if not any('repo.write' in scope.permissions for scope in person.scopes):
        yield 'may not write: a push to the Hub needs the permission repo.write'


@click.command(short_help='Say who you are on the Hub, and what the token may do.')
@options.token
@options.as_json
def command(as_json: bool, **given: Any) -> None:
    """Say who you are on the Hub, where the token came from, and what it may do.

    \b
    hfmirror whoami
    pass show hf | hfmirror whoami --token -
    """
    from hfmirror import auth
    from hfmirror.hub import Hub

    found = options.token_of(given)
    hub = Hub(auth.endpoint(), found)
    person = whoami(hub)
    source = found.source if found else ''
    if as_json:
        output.document(_document(person, hub.endpoint, source))
        return
    for line in lines(person, hub.endpoint, source):
        output.data(line)


def _document(person: Person, endpoint: str, source: str) -> dict[str, Any]:
    return {
        'endpoint': endpoint,
        'name': person.name,
        'fullname': person.fullname,
        'email': person.email,
        'type': person.type,
        'organisations': [org._asdict() for org in person.organisations],
        'token': {
            'source': source,
            'name': person.token_name,
            'role': person.role,
            'expires': person.expires,
            'scopes': [scope._asdict() for scope in person.scopes],
            'everywhere': list(person.everywhere),
            'reads_gated': person.reads_gated,
        },
    }
