"""Which keys do variables set, and what stands for ``${NAME}`` in a value?

| variable                                  | key                           |
|-------------------------------------------|-------------------------------|
| ``HF_USERNAME``                           | ``user.username``             |
| ``HFMIRROR_AUTO_SYNC``                    | ``auto_sync``                 |
| ``HFMIRROR_VERSIONING__AUTO_INCREMENT``   | ``versioning.auto_increment`` |
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

from hfmirror.auth import VARIABLES as TOKENS
from hfmirror.config.environment import Variables
from hfmirror.config.given import Given, Origin, Problem, leaves, problem, replaced, without
from hfmirror.config.keys import keys

_BEGINNING = 'HFMIRROR_'
_NO_KEYS = {'HFMIRROR_HOME', 'HFMIRROR_HOOK', 'HFMIRROR_SKIP'}
# Where other programs find a token of the Hub; a configuration that came with a repository must not collect it.
_OTHER_TOKENS = (
    'HUGGINGFACEHUB_API_TOKEN',
    'HUGGING_FACE_TOKEN',
    'HUGGINGFACE_API_KEY',
    'HF_API_TOKEN',
)
_PART = re.compile(r'\$(\$?)\{([^{}]*)(\}?)')
_REFERENCE = re.compile(r'([A-Za-z_]\w*)(?::-(.*))?', re.ASCII | re.DOTALL)


def variable_of(key: str) -> str:
    """Return the variable that sets a key."""
    return _BEGINNING + key.replace('.', '__').upper()


def given_by(variables: Variables) -> tuple[Given, list[Problem]]:
    """Return what variables set, and the problems of those that were probably meant to. An empty one sets nothing."""
    root = Given({}, Origin('the environment'))
    problems = []
    by_variable = {variable_of(key): known.path for key, known in keys().items()}
    for name, value in _in_order(variables.values).items():
        origin = Origin(f'{name}{variables.shown}')
        path = ('user', 'username') if name == 'HF_USERNAME' else by_variable.get(name)
        if path is None:
            problems += _unknown(name, origin, list(by_variable))
        elif value.strip():
            _put(root, path, Given(value.strip(), origin, is_text=True))
    return root, problems


def _in_order(values: Mapping[str, str]) -> Mapping[str, str]:
    """Return variables with the one that other tools know in front, so that hfmirror's own for the same key counts."""
    return {**{name: values[name] for name in ('HF_USERNAME',) if name in values}, **values}


def _put(root: Given, path: tuple[str, ...], value: Given) -> None:
    content = root.content
    for part in path[:-1]:
        content = content.setdefault(part, Given({}, root.origin)).content
    content[path[-1]] = value


def _unknown(name: str, origin: Origin, known: Sequence[str]) -> list[Problem]:
    if not name.startswith(_BEGINNING) or name in _NO_KEYS:
        return []
    # One underscore for two is the likeliest slip; other names may be somebody's else: a Kubernetes service called
    # hfmirror has HFMIRROR_SERVICE_HOST.
    flat = {one.replace('__', '_'): one for one in known}
    near = get_close_matches(name.replace('__', '_'), flat, n=1, cutoff=0.85)
    if not near and '__' not in name:
        return []
    meant = f' Did you mean {flat[near[0]]}?' if near else " 'hfmirror config' lists the keys."
    return [Problem(origin, '', f'sets no key.{meant}')]


# -- ${NAME}


def expanded(given: Given, sources: Sequence[Variables]) -> tuple[Given, list[Problem]]:
    """Return ``given`` with its variables filled in, from the first of ``sources`` that has each; and what cannot be.

    What came out of a variable is left as it is.
    """
    problems = []
    for path, value in leaves(given):
        if isinstance(value.content, str) and '${' in value.content and not value.is_text:
            faults: list[str] = []
            text = _filled_in(value.content, sources, faults)
            problems += [problem(value.origin, path, fault) for fault in faults]
            filled = Given(text, value.origin, is_text=True)
            given = without(given, path) if faults else replaced(given, path, filled)
    return given, problems


def _filled_in(text: str, sources: Sequence[Variables], faults: list[str]) -> str:
    return _PART.sub(lambda part: _filled(part, sources, faults), text)


def _filled(part: re.Match[str], sources: Sequence[Variables], faults: list[str]) -> str:
    escaped, inside, closed = part.groups()
    if escaped:
        return f'${{{inside}{closed}'
    match = _REFERENCE.fullmatch(inside) if closed else None
    if match is None:
        faults.append(
            "'${' begins no name of a variable. Write ${NAME} or ${NAME:-default}, and $${ for '${' itself."
        )
        return ''
    name, default = match.groups()
    if name in TOKENS:
        faults.append(
            f'{name} is a token, which no setting needs: it is found in the environment and in .env by itself. '
            'Remove it here.'
        )
        return ''
    if name in _OTHER_TOKENS:
        faults.append(f'{name} is a token of the Hub, which no setting needs. Remove it here.')
        return ''
    value = next((one.values[name] for one in sources if one.values.get(name)), None)
    if value is None and default is None:
        if any(name in one.values for one in sources):
            return ''
        faults.append(
            f'the variable {name} is not set. Set it, put it into .env, or write ${{{name}:-default}}.'
        )
    return value or default or ''
