"""``hfmirror whoami``: who the token belongs to, where it came from, and what it may do."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.hub import Hub
    from hfmirror.rights import Person

_NOT_TOLD = 'the Hub does not tell whether it may write: a push finds out'


def whoami(hub: Hub) -> Person:
    """Return who the Hub says we are. Raises AuthError when there is no token, or one that it does not take."""
    from hfmirror.rights import person_of

    return person_of(hub.whoami())


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
    for org in person.organisations:
        if org.asks:
            yield f'shut out of {org.name}, which asks for {", ".join(org.asks)} first'


def _rights(person: Person) -> Iterator[str]:
    """Yield what a token may do that has all rights of its owner, or all rights to read."""
    writes = person.role in ('write', 'admin')
    writable = [org for org in person.organisations if writes and org.lets_write]
    readable = [org.name for org in person.organisations if not org.asks and org not in writable]
    if writes:
        shown = [f'{org.name} ({org.role or "role unknown"})' for org in writable]
        yield f'may write to: {", ".join([person.name, *shown])}'
    else:
        readable.insert(0, person.name)
    if readable:
        yield f'may read: {", ".join(readable)}'
    if person.role == 'read':
        yield 'may not write: a push to the Hub needs a token that writes'
    elif not writes:
        yield _NOT_TOLD


def _fine_rights(person: Person) -> Iterator[str]:
    from hfmirror.rights import WRITE

    for scope in person.scopes or ():
        yield f'{scope.type} {scope.name or scope.id}: {", ".join(scope.permissions) or "nothing"}'
    if person.everywhere:
        yield f'everywhere: {", ".join(person.everywhere)}'
    if person.reads_gated:
        yield 'may read gated repositories that its owner has access to'
    if person.scopes is None:
        yield _NOT_TOLD
    elif not any(WRITE in scope.permissions for scope in person.scopes):
        yield f'may not write: a push to the Hub needs the permission {WRITE}'


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
    hub = Hub(found.endpoint if found else auth.endpoint(), found)
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
            'scopes': [scope._asdict() for scope in person.scopes or ()],
            'everywhere': list(person.everywhere),
            'reads_gated': person.reads_gated,
        },
    }
