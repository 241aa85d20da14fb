"""What is a configuration that goes with an experiment? A file as it is, comments and all, or values written as YAML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence, Set
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import errors, gitcmd, output
from hfmirror.config import yamlfile
from hfmirror.config.given import Given

_SIZE_MAX = 4 * 1024 * 1024  # bytes
_TOLD = 3
_SUFFIXES = {'.yaml': '.yaml', '.yml': '.yaml', '.json': '.json', '.toml': '.toml'}


class Document(NamedTuple):
    """A configuration: the name it has in the experiment's folder, its bytes, and its values as far as they can be read.

    ``doubts`` say what of it cannot, a sentence each.
    """

    name: str
    content: bytes
    values: Mapping[str, Any]
    doubts: Sequence[str] = ()

    def told(self) -> Document:
        """Warn of what cannot be read, which is kept all the same, and return the document."""
        for doubt in self.doubts[:_TOLD]:
            output.warn(doubt)
        return self


def of_file(path: Path) -> Document:
    """Return a configuration file as it is. Raises UsageError when there is none, or one that is too large to be one."""
    try:
        if path.stat().st_size > _SIZE_MAX:
            raise errors.UsageError(f'{path}: more than 4 MiB, which is no configuration. Name another file.')
        content = path.read_bytes()
    except OSError as e:
        raise errors.UsageError(
            f'{path}: cannot be read: {e.strerror}. Name the configuration of the training run.'
        ) from e
    suffix = _SUFFIXES.get(path.suffix.lower())
    values, doubts = _values(path, content, suffix)
    return Document(f'config{suffix}' if suffix else path.name, content, values, doubts)


def of_values(values: Mapping[str, Any]) -> Document:
    """Return values as a YAML file. Raises UsageError for values within themselves."""
    from ruamel.yaml import YAML

    writer: Any = YAML(typ='safe', pure=True)
    writer.default_flow_style, writer.allow_unicode = False, True
    writer.sort_base_mapping_type_on_output = False
    text = StringIO()
    try:
        plain = _writable(values)
        writer.dump(plain, text)
    except RecursionError as e:
        raise errors.UsageError(
            'the configuration contains itself, or is nested too deeply to be written as YAML.'
        ) from e
    return Document('config.yaml', text.getvalue().encode('utf-8', 'replace'), plain)


def _values(path: Path, content: bytes, suffix: str | None) -> tuple[Mapping[str, Any], list[str]]:
    """Return the values in a file, and what could not be read of it: it is kept as it is all the same."""
    try:
        text = content.decode('utf-8-sig')
        match suffix:
            case '.yaml':
                return _yaml(path, text)
            case '.json':
                found = json.loads(text)
            case '.toml':
                found = tomllib.loads(text)
            case _:
                return {}, []
    except (ValueError, RecursionError) as e:
        why = 'it is nested too deeply' if isinstance(e, RecursionError) else str(e)
        return {}, [f'{path}: kept as it is, but its values cannot be read: {gitcmd.redact(why)[:200]}.']
    return found if isinstance(found, Mapping) else {}, []


def _yaml(path: Path, text: str) -> tuple[Mapping[str, Any], list[str]]:
    """Return the values of a YAML file: a tag that only its own program knows is left off, of a key given twice the first counts."""
    document = yamlfile.Document(path, str(path), text=text)
    if document.root is not None:
        _untag(document.root)
    found = _plain(document.whole())
    return found if isinstance(found, dict) else {}, [str(problem) for problem in document.problems]


def _untag(root: yamlfile.Node) -> None:
    """Give every value below ``root`` a tag of YAML's own, that of a text, a list or a mapping for an unknown one."""
    known = {id(root): root}
    left = [root]
    while left:
        node = left.pop()
        kind = {'scalar': 'str', 'sequence': 'seq', 'mapping': 'map'}[node.id]
        if not re.fullmatch(r'tag:yaml\.org,2002:(null|bool|int|float|str|timestamp|seq|map)', str(node.tag)):
            node.tag = f'tag:yaml.org,2002:{kind}'
        below = {
            'str': [],
            'seq': node.value,
            'map': [value for _, value in node.value] if kind == 'map' else [],
        }
        for one in below[kind]:
            if id(one) not in known:  # aliases may lead in a circle
                known[id(one)] = one
                left.append(one)


def _plain(given: Given | None) -> Any:
    content = given.content if given else None
    if isinstance(content, dict):
        return {key: _plain(one) for key, one in content.items()}
    if isinstance(content, list):
        return [_plain(one) for one in content]
    return content


def _writable(value: Any) -> Any:
    """Return ``value`` with what YAML has no form for, as numpy's numbers and paths, as number or text."""
    if value is None or type(value) in (bool, int, float, str, datetime, date):
        return value
    if isinstance(value, Mapping):
        return {str(key): _writable(one) for key, one in value.items()}
    if isinstance(value, list | tuple | Set):
        return [_writable(one) for one in value]
    if isinstance(value, bool | int | float | str):  # a subclass, as ruamel's own are
        return next(kind(value) for kind in (bool, int, float, str) if isinstance(value, kind))
    number = getattr(value, 'item', None)
    if callable(number) and getattr(value, 'size', None) == 1:
        return _writable(number())
    return str(value)
