"""What does a YAML file say, and in which line? Nothing in it is built or run, so that it may come from anybody.

Sections that are not asked for are not looked into: they may use tags and types that only their own program knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from hfmirror import gitcmd
from hfmirror.config.given import Given, KeyPath, Origin, Problem, problem

Node = Any  # of ruamel.yaml, whose types do not tell scalars, lists and mappings apart

_LARGEST = 1024 * 1024  # bytes of a file; a configuration has some thousand
_MOST = 10_000  # values; aliases of aliases make millions of a few lines
_DEEPEST = 32

_NO_TEXT = 'a character that no text has. Remove it.'

_TAGS = {
    f'tag:yaml.org,2002:{name}' for name in ('null', 'bool', 'int', 'float', 'str', 'timestamp', 'seq', 'map')
}

# What the parser says, and what it means to a person.
_MEANINGS = (
    (r"character '\\t'", 'a tab. YAML is indented with blanks; put two of them in its place'),
    (
        r'mapping values are not allowed',
        "a ':' where no key can be. Put a text that holds ': ' into quotes, and check how far the line is indented",
    ),
    (r"could not find expected ':'", "a line without ':'. Write it as 'key: value'"),
    (
        r"expected ',' or '([\]}])'",
        r"a list or mapping in brackets is not closed, or a comma is missing. Put a ',' or '\1' here",
    ),
    (r'but found .?.?<stream end>', 'the file ends here, in the middle of a value. Close its brackets'),
    (
        r'expected <block end>|expected the node content',
        'this does not fit what is before it. Check how far it is indented, and that quotes are around the whole text',
    ),
    (
        r'unexpected end of stream|found unexpected document separator',
        'the quotes that are opened here are never closed',
    ),
    (
        r'undefined alias',
        "a '*name' without a '&name' before it. Put a text that begins with '*' into quotes",
    ),
    (r'unknown escape character', 'a backslash in double quotes. Use single quotes, or write \\\\'),
    (r'cannot start any token', 'a text cannot begin with this character. Put it into quotes'),
    (r'expected a single document', "a second document. '---' can stand only once, at the beginning"),
)


class Unreadable(Exception):
    """A text is no YAML that can be read. It is caught here and becomes a Problem."""

    def __init__(self, message: str, line: int | None = None, column: int | None = None) -> None:
        super().__init__(message)
        self.message, self.line, self.column = message, line, column


class Document:
    """A file and the keys of its top level. ``problems`` is what is wrong with it as a file."""

    def __init__(self, path: Path, shown: str, *, text: str | None = None) -> None:
        """Read ``path``, or take ``text`` for what is in it; ``shown`` is what it is called in problems."""
        self.shown = shown
        self.problems: list[Problem] = []
        self.root: Node | None = None
        try:
            self.root = _compose(_text(path) if text is None else text)
        except Unreadable as e:
            self.problems.append(Problem(Origin(shown, e.line, e.column), '', e.message))

    @property
    def lines(self) -> dict[str, int]:
        """{key of the top level: its line}."""
        return {key.value: key.start_mark.line + 1 for key, _ in _pairs(self.root) if _is_scalar(key)}

    def section(self, name: str) -> Given | None:
        """Return what is below the key ``name`` of the top level; None when there is none."""
        for key, value in _pairs(self.root):
            if _is_scalar(key) and key.value == name:
                return self._read(value, _origin(key, Origin(self.shown, section=f'{name}.')))
        return None

    def whole(self) -> Given | None:
        """Return all there is in the file; None when it is empty."""
        if self.root is None or (_is_scalar(self.root) and _scalar(self.root) is None):
            return None
        return self._read(self.root, _origin(self.root, Origin(self.shown)))

    def _read(self, node: Node, origin: Origin) -> Given:
        reader = _Reader()
        try:
            given = reader.read(node, origin)
        except Unreadable as e:
            self.problems.append(Problem(Origin(self.shown, e.line, e.column), '', e.message))
            return Given(None, origin)
        self.problems += reader.problems
        return given


def of_text(text: str, origin: Origin) -> Given | None:
    """Return what a variable's text says as YAML; None when it is none."""
    with suppress(Unreadable):
        node = _compose(text)
        if node is not None:
            reader = _Reader()
            found = reader.read(node, origin)
            return None if reader.problems else _all_from(found, origin)
    return None


def _all_from(given: Given, origin: Origin) -> Given:
    content = given.content
    if isinstance(content, dict):
        content = {key: _all_from(value, origin) for key, value in content.items()}
    elif isinstance(content, list):
        content = [_all_from(value, origin) for value in content]
    return Given(content, origin)


# -- from bytes to nodes


def _text(path: Path) -> str:
    try:
        if not path.is_file():
            raise Unreadable(_why_no_file(path))
        with path.open('rb') as file:
            content = file.read(_LARGEST + 1)
    except OSError as e:
        raise Unreadable(f'cannot be read: {e.strerror}. Mend that, or name another file.') from e
    if len(content) > _LARGEST:
        raise Unreadable(f'larger than {_LARGEST:,} bytes, so it is no configuration. Name another file.')
    try:
        return content.decode('utf-8-sig')
    except UnicodeDecodeError as e:
        line = content.count(b'\n', 0, e.start) + 1
        raise Unreadable('not UTF-8. Save the file with that encoding.', line) from e


def _why_no_file(path: Path) -> str:
    if path.is_dir():
        return 'a folder; expected a YAML file.'
    if path.exists():
        return 'no regular file; expected a YAML file.'
    return "no such file. Name one that is there, or let 'hfmirror init' write it."


def _compose(text: str) -> Node | None:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.reader import ReaderError

    try:
        node: Node | None = YAML(typ='safe', pure=True).compose(text)
    except ReaderError as e:
        line = text.count('\n', 0, e.position) + 1
        raise Unreadable(_NO_TEXT, line) from e
    except MarkedYAMLError as e:
        raise _explained(e) from e
    except RecursionError as e:
        raise Unreadable('nested too deeply to be a configuration.') from e
    except (YAMLError, ValueError, AssertionError) as e:
        raise Unreadable(f'not valid YAML: {gitcmd.redact(str(e))[:200]}') from e
    return node


def _explained(error: Any) -> Unreadable:
    said = f'{error.problem or ""} {error.context or ""}'
    opens = 'unexpected end of stream' in said or 'document separator' in said
    mark = (error.context_mark if opens else None) or error.problem_mark or error.context_mark
    for pattern, meaning in _MEANINGS:
        if match := re.search(pattern, said):
            message = match.expand(meaning) if match.groups() else meaning
            break
    else:
        message = gitcmd.redact(error.problem or error.context or 'it cannot be parsed')[:200]
    line, column = (mark.line + 1, mark.column + 1) if mark else (None, None)
    place = f'column {column}: ' if column else ''
    return Unreadable(f'not valid YAML: {place}{message}.', line, column)


# -- from nodes to values


class _Reader:
    """Reads one section. What a person should mend is in ``problems``; Unreadable is raised for what nobody wrote by hand."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._count = 0

    def read(self, node: Node, origin: Origin, path: KeyPath = ()) -> Given:
        self._count += 1
        if len(path) > _DEEPEST or self._count > _MOST:
            raise Unreadable(
                'nested too deeply, or with too many values, to be a configuration. Write out what its aliases stand for.',
                origin.line,
                origin.column,
            )
        if (tag := str(node.tag)) not in _TAGS:
            name = tag.replace('tag:yaml.org,2002:', '!!')
            message = (
                f'the tag {name} means nothing here. Write the value itself, or ${{NAME}} for a variable.'
            )
            self.problems.append(problem(origin, path, message))
            return Given(None, origin)
        if _is_scalar(node):
            if not _is_text(node):
                self.problems.append(problem(origin, path, _NO_TEXT))
                node.value = '?'  # so that nobody calls it missing too
            return Given(_scalar(node), origin)
        if _is_mapping(node):
            return Given(self._mapping(node, origin, path), origin)
        items = [self.read(item, _origin(item, origin), (*path, n)) for n, item in enumerate(node.value)]
        return Given(items, origin)

    def _mapping(self, node: Node, origin: Origin, path: KeyPath) -> dict[str, Given]:
        content: dict[str, Given] = {}
        inherited: dict[str, Given] = {}
        for key, value in node.value:
            place = _origin(key, origin)
            if str(key.tag) == 'tag:yaml.org,2002:merge':
                for each in [value] if _is_mapping(value) else value.value:
                    below = self.read(each, place, (*path, '<<')).content
                    inherited = {**(below if isinstance(below, dict) else {}), **inherited}
            elif not _is_scalar(key):
                message = 'a list or mapping is the key here. Write the key as a word.'
                self.problems.append(problem(place, path, message))
            elif not _is_text(key):
                self.problems.append(problem(place, path, _NO_TEXT))
            elif key.value in content:
                first = content[key.value].origin.line
                message = f'given twice, first in line {first}. Keep one of them.'
                self.problems.append(problem(place, (*path, key.value), message))
            else:
                content[key.value] = self.read(value, place, (*path, key.value))
        return {**inherited, **content}


def _pairs(node: Node | None) -> Iterator[tuple[Any, Any]]:
    if node is not None and _is_mapping(node):
        yield from node.value


def _is_scalar(node: Node) -> bool:
    return bool(node.id == 'scalar')


def _is_text(node: Node) -> bool:
    """Tell whether a scalar can be written: by its escapes a YAML text may name half a character."""
    return not re.search('[\ud800-\udfff]', str(node.value))


def _is_mapping(node: Node) -> bool:
    return bool(node.id == 'mapping')


def _origin(node: Node, around: Origin) -> Origin:
    mark = node.start_mark
    return around._replace(line=mark.line + 1, column=mark.column + 1)


def _scalar(node: Node) -> Any:
    """Return what a scalar stands for by YAML 1.2: ``yes`` and ``2024-01-01`` are words."""
    text = str(node.value)
    match str(node.tag).rpartition(':')[2]:
        case 'null':
            return None
        case 'bool':
            # `%YAML 1.1` makes truth of more words than these two.
            return {'true': True, 'false': False}.get(text.lower(), text)
        case 'int':
            with suppress(ValueError):
                return int(text.replace('_', ''), 0) if not text.lstrip('+-').isdigit() else int(text)
        case 'float':
            with suppress(ValueError):
                return float(re.sub(r'(?i)^([+-]?)\.(inf|nan)$', r'\1\2', text.replace('_', '')))
    return text
