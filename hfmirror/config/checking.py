"""Is every value one that its key takes? pydantic finds what is wrong, this says it so that a person can mend it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from hfmirror import gitcmd
from hfmirror.config import yamlfile
from hfmirror.config.config import Config
from hfmirror.config.given import Given, KeyPath, Problem, at, plain, problem, without
from hfmirror.config.keys import bare, expected, is_section, keys, meant, names_at

_TRUE = ('true', '1', 'yes', 'on')
_FALSE = ('false', '0', 'no', 'off')
_SHOWN = 40  # characters of a wrong value
_EXAMPLES = {
    'remotes': '[local, hub]',
    'model_card.authors': '[{name: Ada}]',
    'model_card.datasets': '[{name: me/d}]',
}


def checked(given: Given) -> tuple[Given, list[Problem]]:
    """Return the values that their keys take, and the problems of the others. A key without a value is left out."""
    given = _typed(given, Config)
    problems: list[Problem] = []
    while True:
        faults = _faults(given)
        if not faults:
            return given, problems
        problems += [_said(fault, given) for fault in faults]
        for fault in faults:
            given = without(given, _held_by(fault['loc'])) if fault['loc'] else given._replace(content={})


def _faults(given: Given) -> list[Any]:
    try:
        Config.model_validate(plain(given), strict=True)
    except ValidationError as e:
        return list(e.errors(include_url=False, include_context=False))
    return []


def _held_by(path: KeyPath) -> KeyPath:
    """Return the path of the key whose value has a fault somewhere inside."""
    return next((path[:end] for end in range(1, len(path)) if isinstance(path[end], int)), path)


# -- what a text stands for


def _typed(given: Given, kind: Any) -> Given:
    """Return ``given`` with the texts of variables as what their keys take, and without the keys that have no value."""
    if not is_section(kind) or not isinstance(given.content, dict):
        return _read(given, kind)
    content = {}
    for name, value in given.content.items():
        field = kind.model_fields.get(name)
        if field is None:
            content[name] = value
        elif value.content is not None:
            content[name] = _typed(value, bare(field.annotation))
    return given._replace(content=content)


def _read(given: Given, kind: Any) -> Given:
    if isinstance(given.content, list) and get_origin(kind) is list:
        item = get_args(kind)[0]
        return given._replace(content=[_typed(value, item) for value in given.content])
    if not given.is_text or kind is str or get_origin(kind) is Literal:
        return given
    text = str(given.content)
    if kind is bool:
        known = {**dict.fromkeys(_TRUE, True), **dict.fromkeys(_FALSE, False)}
        return given._replace(content=known.get(text.lower(), text), is_text=False)
    found = yamlfile.of_text(text, given.origin) or given
    if (
        get_origin(kind) is list
        and not isinstance(found.content, list | dict)
        and not text.startswith(('[', '{'))
    ):
        # One word is a list of it, and a word that looks like a number is still what was written.
        return given._replace(content=[given._replace(content=text)], is_text=False)
    return found


# -- what is wrong, in words


def _said(fault: Mapping[str, Any], given: Given) -> Problem:
    path: KeyPath = fault['loc']
    here = at(given, path)
    match fault['type']:
        case 'extra_forbidden':
            return problem(here.origin, path, _unknown(path))
        case 'missing':
            return problem(here.origin, path, 'missing; expected text.')
    return problem(here.origin, path, f'{found(here)}; {_expected(path, here)}')


def _unknown(path: KeyPath) -> str:
    near = meant(path)
    if near is not None:
        return f"unknown key. Did you mean '{near}'?"
    known = names_at(path[:-1])
    return f'unknown key. Known here: {", ".join(known)}.' if known else 'unknown key.'


def found(given: Given) -> str:
    """Return in words what stands there, cut when long and without secrets."""
    match given.content:
        case dict():
            return 'keys and values are here'
        case list():
            return 'a list is here'
        case bool():
            return f'{str(given.content).lower()} is here'
        case float() if not math.isfinite(given.content):
            return 'no finite number is here'
        case int() | float():
            return f'the number {given.content} is here'
        case str():
            return f'{shown(given.content)} is here'
    return 'nothing is here' if given.content is None else f'a {type(given.content).__name__} is here'


def shown(text: str) -> str:
    """Return a value for a message: in quotes, cut when long, without secrets."""
    clean = gitcmd.redact(text)
    return repr(clean if len(clean) <= _SHOWN else f'{clean[: _SHOWN - 1]}…')


def _expected(path: KeyPath, given: Given) -> str:
    kind, words = _kind(path)
    if (written := _without_quotes(kind, given)) is not None:
        return f'expected {words}, without quotes. Write {written}.'
    if kind is bool and isinstance(given.content, str):
        word = given.content.lower()
        meaning = 'true' if word in _TRUE else 'false' if word in _FALSE else None
        return f'expected {words}.' + (f' Write {meaning}.' if meaning else '')
    if get_origin(kind) is Literal:
        near = get_close_matches(str(given.content).lower(), get_args(kind), n=1)
        return f'expected {words}.' + (f" Did you mean '{near[0]}'?" if near else '')
    if kind is str and isinstance(given.content, int | float):
        return f"expected {words}. Put it into quotes: '{str(given.content).lower() if isinstance(given.content, bool) else given.content}'."
    example = _example(path, kind)
    return f'expected {words}{f", such as {example}" if example else ""}.'


def _kind(path: KeyPath) -> tuple[Any, str]:
    """Return the type at a path, and in words what it takes."""
    kind: Any = Config
    field = None
    for part in path:
        if isinstance(part, int):
            kind, field = get_args(kind)[0], None
        elif is_section(kind):
            field = kind.model_fields[part]
            kind = bare(field.annotation)
        else:
            kind, field = get_args(kind)[1], None  # of a dict
    return kind, expected(kind, field)


def _without_quotes(kind: Any, given: Given) -> str | None:
    """Return what a quoted number or truth should be written as; None when that is not what is wrong."""
    if kind not in (bool, int, float) or not isinstance(given.content, str):
        return None
    read = yamlfile.of_text(given.content, given.origin)
    if read is None or isinstance(read.content, bool) is not (kind is bool):
        return None
    return given.content if isinstance(read.content, bool | int | kind) else None


def _example(path: KeyPath, kind: Any) -> str | None:
    dotted = '.'.join(part for part in path if isinstance(part, str))
    if dotted in _EXAMPLES:
        return _EXAMPLES[dotted] if isinstance(path[-1], str) else None
    known = keys().get(dotted)
    if known is None or not known.default:
        return None
    if isinstance(known.default, list):
        return (
            f'[{", ".join(map(str, known.default[:2]))}]'
            if isinstance(path[-1], str)
            else str(known.default[0])
        )
    return str(known.default)


def config_of(given: Given) -> Config:
    """Return the configuration that checked values make."""
    return Config.model_validate(plain(given), strict=True)
