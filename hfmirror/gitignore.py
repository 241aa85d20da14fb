"""Git's ignore patterns as regular expressions: what does one line of a ``.gitignore`` match?

Git matches bytes, so a path is matched in the form ``as_bytes`` gives it, where each character stands for a byte.
Tested against git itself; the known libraries differ from it in character classes, ranges and negations of folders.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterator, Sequence
from itertools import count
from typing import NamedTuple

_STAR = '*'  # anything within one name
_DEEP = '**/'  # any number of folders, none too
_REST = '(?s:.*)'
_CLASSES = {
    'alnum': string.ascii_letters + string.digits,
    'alpha': string.ascii_letters,
    'blank': ' \t',
    'cntrl': ''.join(map(chr, (*range(32), 127))),
    'digit': string.digits,
    'graph': ''.join(map(chr, range(33, 127))),
    'lower': string.ascii_lowercase,
    'print': ''.join(map(chr, range(32, 127))),
    'punct': string.punctuation,
    'space': string.whitespace,
    'upper': string.ascii_uppercase,
    'xdigit': string.hexdigits,
}


class Pattern(NamedTuple):
    """One line. ``regex`` is for the whole path when ``anchored``, else for the name alone."""

    regex: str
    anchored: bool
    only_folders: bool
    brings_back: bool


def as_bytes(path: str) -> str:
    """Return ``path`` with one character for each of its bytes on disk."""
    return path if path.isascii() else os.fsencode(path).decode('latin-1')


def parse_line(line: str) -> Pattern | None:
    """Return the pattern in ``line`` (as ``as_bytes`` gives it), None when it can match nothing, as a comment."""
    line = _without_blanks(line.removesuffix('\r'))
    if line.startswith('#'):
        return None
    glob = line.removeprefix('!')
    only_folders = glob.endswith('/')
    glob = glob.removesuffix('/')
    anchored = '/' in glob
    glob = glob.removeprefix('/') if anchored else glob
    try:
        tokens = list(_tokens(glob, anchored=anchored))
    except ValueError:
        return None
    if not tokens:
        return None
    return Pattern(_regex(tokens), anchored, only_folders, brings_back=line.startswith('!'))


def _without_blanks(line: str) -> str:
    """Return ``line`` without the blanks at its end, except one behind a backslash."""
    bare = line.rstrip(' ')
    backslashes = len(bare) - len(bare.rstrip('\\'))
    return bare + ' ' if backslashes % 2 and bare != line else bare


def _tokens(glob: str, *, anchored: bool) -> Iterator[str]:
    """Yield _STAR, _DEEP, or the regular expression of one character or of the rest. Raises ValueError: never matches."""
    at = 0
    while at < len(glob):
        if glob[at] == '*':
            token, at = _stars(glob, at, anchored=anchored)
        elif glob[at] == '[':
            token, at = _bracket(glob, at + 1)
        elif glob[at] == '\\':
            token, at = re.escape(_character(glob, at + 1)), at + 2
        else:
            token, at = '[^/]' if glob[at] == '?' else re.escape(glob[at]), at + 1
        yield token


def _character(glob: str, at: int) -> str:
    if at >= len(glob):
        raise ValueError('the pattern ends too early')
    return glob[at]


def _stars(glob: str, start: int, *, anchored: bool) -> tuple[str, int]:
    end = next(at for at in count(start) if glob[at : at + 1] != '*')
    # Git takes plain characters off the front first: a**/b is ab, a/b and ac/d/b, but ?a**/b is like ?a*/b.
    alone = not set(glob[:start]) & set('?*[\\') or glob[start - 1] == '/'
    if end - start == 1 or not anchored or not alone:
        return _STAR, end
    if glob[end : end + 1] == '/':
        return _DEEP, end + 1
    return (_REST if glob[end : end + 2] in ('', '\\/') else _STAR), end


def _bracket(glob: str, at: int) -> tuple[str, int]:
    """Return the regular expression of the set that begins at ``at``, and where the pattern goes on."""
    negated = glob[at : at + 1] in ('!', '^')
    at += negated
    found: set[str] = set()
    previous, first = '', True
    while first or _character(glob, at) != ']':
        members, previous, at = _members(glob, at, previous)
        found |= members
        first = False
    escaped = ''.join(map(re.escape, sorted(found - {'/'})))
    if negated:
        return f'[^/{escaped}]', at + 1
    return f'[{escaped}]' if escaped else '(?!)', at + 1


def _members(glob: str, at: int, previous: str) -> tuple[set[str], str, int]:
    """Return the characters that one element of a set stands for, from which a range may start, and what follows."""
    character = _character(glob, at)
    if character == '\\':
        character = _character(glob, at + 1)
        return {character}, character, at + 2
    if character == '-' and previous and glob[at + 1 : at + 2] not in ('', ']'):
        end = at + 1 + (glob[at + 1] == '\\')
        return set(map(chr, range(ord(previous), ord(_character(glob, end)) + 1))), '', end + 1
    if character == '[' and glob[at + 1 : at + 2] == ':':
        close = glob.index(']', at + 2)
        if close > at + 2 and glob[close - 1] == ':':
            return set(_class(glob[at + 2 : close - 1])), '', close + 1
    return {character}, character, at + 1


def _class(name: str) -> str:
    if name not in _CLASSES:
        raise ValueError(f'no class of characters: {name}')
    return _CLASSES[name]


def _regex(tokens: Sequence[str]) -> str:
    """Return one regular expression that never tries a path in more ways than it has places.

    What follows a star is taken where it comes first, for good (an atomic group), when another star follows that can
    take up the difference. Without that, a pattern with a dozen stars in it takes hours for one long name.
    """
    first, *later = _split(tokens, _DEEP)
    parts = [_within_names(first)]
    parts += [f'(?>(?s:.*?/)??{_within_names(group)})' for group in later[:-1]]
    parts += [f'(?s:.*/)?{_within_names(group)}' for group in later[-1:]]
    return ''.join(parts)


def _within_names(tokens: Sequence[str]) -> str:
    first, *later = (''.join(chunk) for chunk in _split(tokens, _STAR))
    parts = [
        first,
        *(f'(?>[^/]*?{chunk})' for chunk in later[:-1]),
        *(f'[^/]*{chunk}' for chunk in later[-1:]),
    ]
    return ''.join(parts)


def _split(tokens: Sequence[str], mark: str) -> list[list[str]]:
    groups: list[list[str]] = [[]]
    for token in tokens:
        if token == mark:
            groups.append([])
        else:
            groups[-1].append(token)
    return groups
