"""What does an editor need to know of the keys? A JSON schema, with the comments of the code as descriptions."""

from __future__ import annotations

import ast
import inspect
import tokenize
from collections.abc import Mapping
from functools import cache
from io import StringIO
from typing import Any

from hfmirror.config import config as config_module
from hfmirror.config.config import Config
from hfmirror.config.keys import Key, bare


def json_schema() -> dict[str, Any]:
    """Return the schema of a project file; the one of the file it names is ``#/$defs/Config`` of it."""
    own = Config.model_json_schema()
    definitions = {**own.pop('$defs'), 'Config': own}
    for name, section in definitions.items():
        for key, described in section['properties'].items():
            described['description'] = descriptions()[name, key]
    return {
        '$schema': 'https://json-schema.org/draft/2020-12/schema',
        'title': 'The section huggingface: of config.yaml',
        'type': 'object',
        'properties': {'huggingface': {'$ref': '#/$defs/Config'}},
        '$defs': definitions,
    }


def description(key: Key) -> str:
    """Return what a key does."""
    owner: Any = Config
    for part in key.path[:-1]:
        owner = bare(owner.model_fields[part].annotation)
    return descriptions()[owner.__name__, key.path[-1]]


@cache
def descriptions() -> Mapping[tuple[str, str], str]:
    """Return {(class, field): the comment beside or above it}, of a section without one a word that it is one."""
    source = inspect.getsource(config_module)
    comments = _comments(source)
    lines = source.splitlines()
    found = {}
    for section in ast.parse(source).body:
        if not isinstance(section, ast.ClassDef):
            continue
        for field in section.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                said = _said(field, comments, lines)
                found[section.name, field.target.id] = said or f'The keys of {field.target.id}.'
    return found


def _said(field: ast.AnnAssign, comments: Mapping[int, str], lines: list[str]) -> str:
    above: list[str] = []
    number = field.lineno - 1
    while lines[number - 1].lstrip().startswith('#'):
        above.insert(0, comments[number])
        number -= 1
    beside = [comments[line] for line in range(field.lineno, (field.end_lineno or 0) + 1) if line in comments]
    return ' '.join([*above, *beside])


def _comments(source: str) -> dict[int, str]:
    """Return {line: comment}."""
    tokens = tokenize.generate_tokens(StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip('# ').rstrip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }
