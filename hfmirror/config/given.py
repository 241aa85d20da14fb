"""What was given for each key, and where? The values of every source in one shape, so that a fault can name its line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from hfmirror import gitcmd

KeyPath = tuple[str | int, ...]  # the keys, and the numbers in lists, that lead to a value


class Origin(NamedTuple):
    """Where a value stands: a file, line and column of it, or a variable's name. ``section`` is above the keys there."""

    source: str
    line: int | None = None
    column: int | None = None
    section: str = ''

    def __str__(self) -> str:
        return self.source if self.line is None else f'{self.source}:{self.line}'


class Given(NamedTuple):
    """A value and where it stands. ``content`` is a scalar, a list of Given, or {key: Given}.

    ``is_text`` is true of one that came out of a variable: the type of the key says what it stands for.
    """

    content: Any
    origin: Origin
    is_text: bool = False


class Problem(NamedTuple):
    """One thing that is wrong with the configuration. ``key`` is empty for a whole file."""

    origin: Origin
    key: str
    message: str

    def __str__(self) -> str:
        # A variable's name says the key already.
        named = '' if self.origin.source.partition(' ')[0].isupper() else self.key
        return ': '.join(filter(None, [str(self.origin), named, self.message]))


def problem(origin: Origin, path: KeyPath, message: str) -> Problem:
    """Return the problem of the value at ``path``."""
    # A key may be a token that slipped to the left of a colon.
    key = gitcmd.redact(f'{origin.section}{dotted(path)}').removesuffix('.')
    return Problem(origin, key, message)


def dotted(path: KeyPath) -> str:
    """Return a path as people write it: ``model_card.authors[0].name``."""
    parts = [f'[{part}]' if isinstance(part, int) else f'.{part}' for part in path]
    return ''.join(parts).removeprefix('.')


def plain(given: Given) -> Any:
    """Return the values alone."""
    if isinstance(given.content, dict):
        return {key: plain(value) for key, value in given.content.items()}
    if isinstance(given.content, list):
        return [plain(value) for value in given.content]
    return given.content


def at(given: Given, path: KeyPath) -> Given:
    """Return what was given at ``path``, or the nearest thing above it that was."""
    for part in path:
        content = given.content
        is_there = part in content if isinstance(content, dict) else isinstance(content, list)
        if not is_there:
            break
        given = content[part]
    return given


def replaced(given: Given, path: KeyPath, value: Given) -> Given:
    """Return ``given`` with ``value`` at ``path``, where something was given."""
    if not path:
        return value
    content = given.content.copy()
    content[path[0]] = replaced(content[path[0]], path[1:], value)
    return given._replace(content=content)


def without(given: Given, path: KeyPath) -> Given:
    """Return ``given`` without what is at ``path``; of a list that has it, without all of the list."""
    first, rest = path[0], path[1:]
    if not isinstance(given.content, dict) or first not in given.content:
        return given
    content = given.content.copy()
    below = content[first]
    if rest and isinstance(rest[0], str) and isinstance(below.content, dict):
        content[first] = without(below, rest)
    else:
        del content[first]
    return given._replace(content=content)


def merged(over: Given, under: Given) -> Given:
    """Return two mappings in one, key by key; where both say something, ``over`` is right."""
    content = under.content.copy()
    for key, value in over.content.items():
        below = content.get(key)
        if below is not None and isinstance(below.content, dict) and isinstance(value.content, dict):
            content[key] = merged(value, below)
        else:
            content[key] = value
    return over._replace(content=content)


def leaves(given: Given, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Given]]:
    """Yield (path, value) of every scalar."""
    if isinstance(given.content, dict):
        for key, value in given.content.items():
            yield from leaves(value, (*path, key))
    elif isinstance(given.content, list):
        for number, value in enumerate(given.content):
            yield from leaves(value, (*path, number))
    else:
        yield path, given


def of_values(values: Any, origin: Origin) -> Given:
    """Return values that a program gives, all from one place."""
    if isinstance(values, Mapping):
        return Given({str(key): of_values(value, origin) for key, value in values.items()}, origin)
    if isinstance(values, list | tuple):
        return Given([of_values(value, origin) for value in values], origin)
    return Given(values, origin)
