"""The YAML block at the top of a README.md, read as the Hub reads it and changed one key at a time.

    ---
    license: mit
    tags: [a, b]  # a person's comment
    ---

A change replaces or adds the lines of one top-level key; every other byte stays as it was, with its line ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from hfmirror.errors import CardError

# The Hub's own expression (and huggingface_hub's): what does not match is no front matter to either.
_BLOCK = re.compile(r'^(\s*---(?:\r\n|\r|\n))([\S\s]*?)((?:\r\n|\r|\n)---[ \t]*(\r\n|\n|$))')
_EMPTY = re.compile(r'^(\s*---(?:\r\n|\r|\n))(---[ \t]*(?:\r\n|\n|$))')
_LIMIT = 2**20  # characters; the longest real ones, of datasets with hundreds of configs, have half of that
_DEEPEST = 1000


class Parts(NamedTuple):
    """A card cut in four; joined they are the card. Without front matter the first three are empty."""

    opening: str
    yaml: str
    closing: str
    body: str


class Place(NamedTuple):
    """Where a value is: its line in the YAML block, from 0, and whether it is a bare word that YAML 1.1 takes for a truth."""

    line: int
    bare: bool


class YamlProblem(Exception):
    """The YAML cannot be read. ``line`` and ``column`` count from 1, in the YAML block."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def split(text: str) -> Parts:
    """Return the parts of the card ``text``. A byte order mark stays in the opening or the body."""
    mark, rest = ('\ufeff', text[1:]) if text.startswith('\ufeff') else ('', text)
    if empty := _EMPTY.match(rest):
        return Parts(mark + empty[1], '', empty[2], rest[empty.end() :])
    match = _BLOCK.match(rest)
    if match is None:
        return Parts('', '', '', text)
    return Parts(mark + match[1], match[2], match[3], rest[match.end() :])


def first_line(parts: Parts) -> int:
    """Return the line of the card, counted from 1, in which its YAML begins."""
    return _lines(parts.opening) + 1


def line_of(text: str, position: int) -> int:
    """Return the line, counted from 1, of the character at ``position``."""
    return _lines(text[:position]) + 1


def parse(yaml: str) -> dict[str, Any]:
    """Return the values of the YAML block ``yaml`` as plain Python values; ``no`` stays the word it is.

    Raises: YamlProblem when it cannot be read, has a key twice or is not a mapping.
    """
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(yaml) > _LIMIT:
        raise YamlProblem(f'the block is longer than {_LIMIT:,} characters', 1, 1)
    if _brackets(yaml) > _DEEPEST:
        raise YamlProblem('the block is nested too deeply', 1, 1)
    try:
        _refuse_merged_lists(yaml)
        data = _reader('safe').load(yaml)
    except MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise YamlProblem(_sentence(e.problem or e.context), line, column) from e
    except YAMLError as e:
        raise YamlProblem(
            _sentence(getattr(e, 'reason', None)), *_position(yaml, getattr(e, 'position', 0))
        ) from e
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, OverflowError) as e:
        # ruamel.yaml lets these through for values like 2024-13-45, for deep nesting and for unhashable keys.
        raise YamlProblem(_sentence(str(e)), 1, 1) from e
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise YamlProblem('the block is not a list of "key: value" lines', 1, 1)
    return data


def _brackets(yaml: str) -> int:
    """Return how many brackets are open at most; the reader's time grows with the square of that."""
    deepest = depth = 0
    for bracket in re.findall(r'[\[\]{}]', yaml):
        depth += 1 if bracket in '[{' else -1
        deepest = max(deepest, depth)
    return deepest


def _refuse_merged_lists(yaml: str) -> None:
    """Raise YamlProblem for a merge key with a list: each level of ``<<: [*a, *a]`` doubles what is below it."""
    if '<<' not in yaml and '!' not in yaml:
        return
    seen: set[int] = set()
    nodes = [_reader('safe').compose(yaml)]
    while nodes:
        node = nodes.pop()
        if id(node) in seen or not isinstance(getattr(node, 'value', None), list):
            continue
        seen.add(id(node))
        for part in node.value:
            if isinstance(part, tuple) and _merges_list(*part):
                mark = part[0].start_mark
                raise YamlProblem('a list is merged; write its keys out', mark.line + 1, mark.column + 1)
            nodes += part if isinstance(part, tuple) else [part]


def _merges_list(key: Any, value: Any) -> bool:
    # A key merges by its tag: << has it, and so can any other be given it.
    return str(key.tag).endswith(':merge') and value.id == 'sequence'


def _reader(kind: str) -> Any:
    from ruamel.yaml import YAML

    reader = YAML(typ=kind, pure=True)
    reader.composer.warn_double_anchors = False  # it would print; YAML allows them
    return reader


def _sentence(problem: str | None) -> str:
    return ' '.join((problem or 'it cannot be read').split())[:200]


def _position(yaml: str, position: int) -> tuple[int, int]:
    before = yaml[: max(position, 0)]
    return _lines(before) + 1, len(before) - max(before.rfind('\n'), before.rfind('\r'))


def _lines(text: str) -> int:
    return len(re.findall(r'\r\n|\r|\n', text))


def read(text: str, name: str) -> dict[str, Any]:
    """Return the front matter of the card ``text``, {} when it has none.

    Raises: CardError with line and column of the file ``name`` when it is broken.
    """
    parts = split(text)
    try:
        return parse(parts.yaml)
    except YamlProblem as e:
        line = first_line(parts) + e.line - 1
        raise CardError(
            f'{name}, line {line}, column {e.column}: the YAML at the top is broken: {e}. '
            'Mend it; `hfmirror card FOLDER --check` shows whether it is right.'
        ) from e


def blocks(yaml: str) -> dict[str, tuple[int, int]]:
    """Return {top-level key: (first line, line after the last)}, lines of ``yaml`` counted from 0.

    Comments and blank lines between two keys belong to neither. {} for a flow mapping such as ``{license: mit}``,
    whose keys have no lines of their own. ``yaml`` is one that ``parse`` reads.
    """
    root = _root(yaml)
    if root is None or root.flow_style:
        return {}
    lines = _split_lines(yaml)
    starts = [key.start_mark.line for key, _ in root.value]
    return {
        str(key.value): (start, _last_line(lines, start, end, value.end_mark))
        for (key, value), start, end in zip(root.value, starts, [*starts[1:], len(lines)], strict=True)
    }


@lru_cache(maxsize=4)  # the same block is looked at from many sides while a card is made
def _root(yaml: str) -> Any:
    return _reader('rt').compose(yaml)


def _last_line(lines: list[str], start: int, end: int, mark: Any) -> int:
    """Return the line after the value: ``end`` without the comments and blank lines before it."""
    end = min(end, mark.line + (mark.column > 0)) if mark.line > start else start + 1
    while end > start + 1 and (not lines[end - 1].strip() or lines[end - 1].lstrip().startswith('#')):
        end -= 1
    return end


def _split_lines(text: str) -> list[str]:
    """Return the lines of ``text`` with their ends; only CR, LF and CRLF end a line."""
    return re.findall(r'[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+', text)


def texts(yaml: str) -> dict[str, str]:
    """Return {top-level key: its lines} with LF line ends and no end at the last."""
    lines = [line.rstrip('\r\n') for line in _split_lines(yaml)]
    return {key: '\n'.join(lines[slice(*place)]) for key, place in blocks(yaml).items()}


def change(text: str, values: Mapping[str, str | None]) -> str:
    """Return the card ``text`` with the lines of each key of ``values`` replaced; None takes the key out.

    The lines come from ``dump``. New keys go below the last one, in the order given. A card without front matter gets
    one; a card whose front matter is a flow mapping stays as it is. The front matter is one that ``read`` reads.
    """
    parts = split(text)
    newline = line_end(text)
    if not parts.opening:
        new = [lines for lines in values.values() if lines is not None]
        return _with_new_block(text, '\n'.join(new).replace('\n', newline), newline) if new else text
    if parts.yaml.strip() and not blocks(parts.yaml) and parse(parts.yaml):
        return text
    yaml = _changed(parts.yaml, values, newline)
    # '---' right below '---' has no line end of its own before it.
    closing = newline + parts.closing if yaml and parts.closing.startswith('---') else parts.closing
    if not yaml and parts.yaml:
        closing = parts.closing.lstrip('\r\n')
    return parts.opening + yaml + closing + parts.body


def _with_new_block(text: str, yaml: str, newline: str) -> str:
    mark, rest = ('\ufeff', text[1:]) if text.startswith('\ufeff') else ('', text)
    blank = newline if rest and not rest.startswith(('\n', '\r')) else ''
    return f'{mark}---{newline}{yaml}{newline}---{newline}{blank}{rest}'


def _changed(yaml: str, values: Mapping[str, str | None], newline: str) -> str:
    lines = [line.rstrip('\r\n') for line in _split_lines(yaml)]
    ends = [line[len(line.rstrip('\r\n')) :] for line in _split_lines(yaml)]
    places = blocks(yaml)
    found = {key: places[key] for key in values if key in places}
    for key, (start, end) in sorted(found.items(), key=lambda item: -item[1][0]):
        new = values[key]
        replacement = [] if new is None else new.split('\n')
        lines[start:end] = replacement
        ends[start:end] = [newline] * len(replacement)
    added = [
        line
        for key, new in values.items()
        if key not in found and new is not None
        for line in new.split('\n')
    ]
    lines += added
    ends += [newline] * len(added)
    if not lines:
        return ''
    # The line end before the closing '---' belongs to the closing, so the last line has none.
    last = newline if yaml.endswith(('\r', '\n')) else ''
    ends = [end or newline for end in ends[:-1]] + [last]
    return ''.join(line + end for line, end in zip(lines, ends, strict=True))


def line_end(text: str) -> str:
    """Return CRLF when the first line of ``text`` ends so, else LF. To the Hub a lone CR ends no front matter."""
    match = re.search(r'\r?\n', text)
    return match[0] if match else '\n'


def dump(key: str, value: Any) -> str:
    """Return the lines of ``key: value`` in block style with LF line ends, no end at the last.

    Words that YAML 1.1 takes for something else (``no``, ``on``, ``1e3``) are quoted, because the Hub and
    huggingface_hub read YAML 1.1.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.compat import StringIO

    yaml = YAML(typ='rt', pure=True)
    yaml.width = 2**16
    yaml.allow_unicode = True
    out = StringIO()
    yaml.dump({key: _quoted(value)}, out)
    return str(out.getvalue()).removesuffix('\n')


def _quoted(value: Any) -> Any:
    from ruamel.yaml.scalarstring import SingleQuotedScalarString

    if isinstance(value, dict):
        return {key: _quoted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_quoted(item) for item in value]
    if isinstance(value, str) and not _plain(value):
        return SingleQuotedScalarString(value)
    return _number(value)


_TRUTHS = {'y', 'n', 'yes', 'no', 'on', 'off'}
_SPECIAL_WORDS = {*_TRUTHS, 'true', 'false', 'null', '~', ''}


def _plain(value: str) -> bool:
    """Tell whether every YAML reader takes the bare ``value`` for the same text."""
    if value.lower() in _SPECIAL_WORDS or not re.fullmatch(
        r'[A-Za-z][A-Za-z0-9_./+-]*(?: [A-Za-z0-9_./+()-]+)*', value
    ):
        return bool(re.search(r'[^\x20-\x7e]', value)) and '\n' not in value
    return True


def _number(value: Any) -> Any:
    """Return whole floats that fit as they are; ``1e-07`` needs a dot for YAML 1.1 to be a number."""
    from ruamel.yaml.scalarfloat import ScalarFloat

    if (
        not isinstance(value, float)
        or not math.isfinite(value)
        or 'e' not in repr(value)
        or '.' in repr(value)
    ):
        return value
    mantissa, exponent = repr(value).split('e')
    return ScalarFloat(
        value,
        width=len(mantissa) + 2,
        prec=len(mantissa.lstrip('-')),
        m_sign=None,
        exp='e',
        e_width=len(exponent),
        e_sign=True,
    )


def places(yaml: str) -> dict[str, Place]:
    """Return {dotted path such as ``model-index[0].name``: its place}. ``yaml`` is one that ``parse`` reads."""
    root = _root(yaml)
    return dict(_walk(root, '', set())) if root is not None else {}


def _walk(node: Any, path: str, seen: set[int]) -> Iterator[tuple[str, Place]]:
    """Yield what is below ``node``. What aliases name again is passed over: they can make much of little, or a circle."""
    if isinstance(node.value, str) or id(node) in seen:
        return
    seen.add(id(node))
    for index, item in enumerate(node.value):
        key, value = item if isinstance(item, tuple) else (None, item)
        name = f'[{index}]' if key is None else f'.{key.value}' if path else str(key.value)
        yield path + name, Place((key or value).start_mark.line, _is_bare(value))
        yield from _walk(value, path + name, seen)


def _is_bare(node: Any) -> bool:
    return isinstance(node.value, str) and node.style is None and node.value.lower() in _TRUTHS
