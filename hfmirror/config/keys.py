"""Which keys are there, of which type is each, and which one was probably meant?"""

from __future__ import annotations

import types
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from hfmirror.config.config import Config


class Key(NamedTuple):
    """A key that holds a value: its path, the type without ``None``, and what pydantic knows of it."""

    path: tuple[str, ...]
    type: Any
    field: FieldInfo

    @property
    def dotted(self) -> str:
        return '.'.join(self.path)

    @property
    def default(self) -> Any:
        return self.field.get_default(call_default_factory=True)


@cache
def keys() -> dict[str, Key]:
    """Return {dotted name: key} of all keys that hold a value, in the order of the schema."""
    return {key.dotted: key for key in _keys(Config, ())}


def _keys(model: type[BaseModel], above: tuple[str, ...]) -> Iterable[Key]:
    for name, field in model.model_fields.items():
        kind = bare(field.annotation)
        if is_section(kind):
            yield from _keys(kind, (*above, name))
        else:
            yield Key((*above, name), kind, field)


def bare(annotation: Any) -> Any:
    """Return a type without its ``| None``."""
    if get_origin(annotation) in (Union, types.UnionType):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def is_section(kind: Any) -> bool:
    """Tell whether a type is a mapping of known keys."""
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def names_at(path: tuple[str | int, ...]) -> list[str]:
    """Return the known keys below a path, empty when anything may stand there."""
    model: Any = Config
    for part in path:
        if isinstance(part, int):
            model = get_args(model)[0]
        elif is_section(model) and part in model.model_fields:
            model = bare(model.model_fields[part].annotation)
        else:
            return []
    return list(model.model_fields) if is_section(model) else []


def meant(path: tuple[str | int, ...]) -> str | None:
    """Return the key that somebody meant who wrote an unknown one: from the same section, else from anywhere."""
    word = str(path[-1]).lower().replace('-', '_')
    here = names_at(path[:-1])
    near = get_close_matches(word, here, n=1, cutoff=0.6) or [
        name for name in here if word in name.split('_')
    ]
    if len(near) == 1:
        return near[0]
    by_name = {key.path[-1]: dotted for dotted, key in reversed(keys().items()) if len(key.path) > 1}
    by_name |= {section.rpartition('.')[2]: section for section in _sections()}
    found = get_close_matches(word, by_name, n=1, cutoff=0.8)
    return by_name[found[0]] if found else None


def _sections() -> set[str]:
    return {'.'.join(key.path[:end]) for key in keys().values() for end in range(1, len(key.path))}


def expected(kind: Any, field: FieldInfo | None = None) -> str:
    """Return in words what a key of this type takes."""
    if kind is bool:
        return 'true or false'
    if kind in (int, float):
        return _number('a whole number' if kind is int else 'a number', field)
    if get_origin(kind) is Literal:
        return either([str(word) for word in get_args(kind)])
    if get_origin(kind) is list:
        item = get_args(kind)[0]
        of = 'words' if item is str else expected(item)
        is_word_too = field is not None and any(isinstance(one, BeforeValidator) for one in field.metadata)
        return f'a word or a list of {of}' if is_word_too else f'a list of {of}'
    if get_origin(kind) is dict or is_section(kind):
        return 'keys and values'
    return 'text'


def _number(noun: str, field: FieldInfo | None) -> str:
    limits = {type(one).__name__: one for one in (field.metadata if field else [])}
    low, above, high = limits.get('Ge'), limits.get('Gt'), limits.get('Le')
    if low and high:
        return f'{noun} from {low.ge} to {high.le}'
    if above and high:
        return f'{noun} above {above.gt}, at most {high.le}'
    return noun


def either(words: list[str]) -> str:
    """Return ``a, b or c``."""
    return ' or '.join(filter(None, [', '.join(words[:-1]), words[-1]]))
