"""What is a configuration that goes with an experiment? A file as it is, comments and all, or values written as YAML."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping, Set
from datetime import date, datetime
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import errors

_SIZE_MAX = 4 * 1024 * 1024  # bytes
_SUFFIXES = {'.yaml': '.yaml', '.yml': '.yaml', '.json': '.json', '.toml': '.toml'}


class Document(NamedTuple):
    """A configuration: the name it has in the experiment's folder, its bytes, and its values; none where it cannot be read."""

    name: str
    content: bytes
    values: Mapping[str, Any]


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
    return Document(f'config{suffix}' if suffix else path.name, content, _values(content, suffix))


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


def _values(content: bytes, suffix: str | None) -> Mapping[str, Any]:
    """Return the values in a file, none of one that cannot be read: it is kept as it is all the same."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = content.decode('utf-8-sig')
        match suffix:
            case '.yaml':
                found = YAML(typ='safe', pure=True).load(text)
            case '.json':
                found = json.loads(text)
            case '.toml':
                found = tomllib.loads(text)
            case _:
                return {}
    except (ValueError, YAMLError, RecursionError):
        return {}
    return found if isinstance(found, Mapping) else {}


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
