"""What is in a checkpoint? A ``.pth`` file with weights and all that is needed to use them, read without running any of it.

::

    torch.save({
        'model_state_dict': model.state_dict(),
        'config': {'vocab_size': 65, 'd_model': 64},  # the arguments that the model is made with
        'vocab': {'a': 0, 'b': 1},
        'idx_to_vocab': {0: 'a', 1: 'b'},             # may be left out
        'training_args': {'learning_rate': 0.002},    # may be left out
        'metrics': {'eval_loss': 1.2},                # may be left out
    }, 'transformer_model.pth')
"""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, NamedTuple

from hfmirror import errors

_NEEDED = ('model_state_dict', 'config', 'vocab')
_SHOWN = 10
_FORBIDDEN = re.compile(r'(?:GLOBAL|global|class) ([A-Za-z_][\w.]{0,200})')
# What torch raises for bytes that are no checkpoint, or half of one.
_BROKEN = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    UnpicklingError,
    ValueError,
    struct.error,
)
_SAVE_AGAIN = (
    "Save it again in the program that made it, as tensors and plain values: torch.save({'model_state_dict': "
    "model.state_dict(), 'config': {…}, 'vocab': {…}}, path). An argparse.Namespace becomes vars(args), a Path str(path), a number of NumPy float(x)."
)


class Checkpoint(NamedTuple):
    """What a checkpoint holds. ``state`` is {name: tensor}, ``vocab`` {token: index}, the rest are JSON values."""

    state: Mapping[str, Any]
    config: Mapping[str, Any]
    vocab: Mapping[str, int]
    training_args: Mapping[str, Any] = {}
    metrics: Mapping[str, float] = {}

    @property
    def idx_to_vocab(self) -> dict[int, str]:
        """The vocabulary the other way round, in the order of the indices."""
        return {index: token for token, index in sorted(self.vocab.items(), key=lambda item: item[1])}


def read(path: Path) -> Checkpoint:
    """Return what is in the checkpoint ``path``; nothing of it is run.

    Raises UsageError when there is no such file or no torch, GateError when loading it would run a program, SourceError
    when it is broken or lacks something.
    """
    torch = library('torch')
    if not path.is_file():
        raise errors.UsageError(
            f'{path}: no such file. Give --model_path the checkpoint that training has saved.'
        )
    try:
        contents = torch.load(path, map_location='cpu', weights_only=True)
    except OSError as e:
        raise errors.SourceError(f'{path}: cannot be read: {e.strerror or e}. Make it readable.') from e
    except _BROKEN as e:
        raise _refusal(path, e) from e
    return structured(contents, path, is_tensor=torch.is_tensor)


def library(name: str) -> Any:
    """Return a module that hfmirror does without but here. Raises UsageError with the way to install it."""
    # By name: nobody who checks or runs the rest has to have gigabytes of torch.
    try:
        return import_module(name)
    except ModuleNotFoundError as e:
        package = name.partition('.')[0]
        raise errors.UsageError(
            f"checkpoints need the package '{package}'. Install it: pip install torch safetensors"
        ) from e


def _refusal(path: Path, failure: Exception) -> errors.HfmirrorError:
    """Return our error; torch's own tells how to load such a file in spite of it."""
    named = _FORBIDDEN.search(str(failure)) if isinstance(failure, UnpicklingError) else None
    if named:
        return errors.GateError(
            f'{path}: loading it would run code: it holds a {named[1]}, and not only tensors and plain values. {_SAVE_AGAIN}'
        )
    return errors.SourceError(
        f'{path}: no checkpoint that torch can load ({type(failure).__name__}); it may be cut short, or another kind of '
        'file. Save it again, or copy it again.'
    )


def structured(contents: object, path: Path, *, is_tensor: Callable[[Any], bool]) -> Checkpoint:
    """Return the checkpoint that ``contents`` are. Raises SourceError naming what is missing, or wrong in kind."""
    if not isinstance(contents, Mapping):
        raise errors.SourceError(
            f'{path}: holds a {type(contents).__name__} where a dict with {_listed(_NEEDED)} is expected. {_SAVE_AGAIN}'
        )
    missing = [name for name in _NEEDED if name not in contents]
    if missing:
        found = f'It has {_listed(list(contents))}.' if contents else 'It is empty.'
        raise errors.SourceError(f'{path}: lacks {_listed(missing)}. {found} {_SAVE_AGAIN}')
    checkpoint = Checkpoint(
        contents['model_state_dict'],
        contents['config'],
        contents['vocab'],
        contents.get('training_args') or {},
        contents.get('metrics') or {},
    )
    problems = [
        *_problems(checkpoint, is_tensor),
        *_differences(contents.get('idx_to_vocab'), checkpoint.vocab),
    ]
    if problems:
        raise errors.SourceError('\n'.join([f'{path}: cannot be used:', *problems, _SAVE_AGAIN]))
    return checkpoint


def _problems(checkpoint: Checkpoint, is_tensor: Callable[[Any], bool]) -> list[str]:
    """Return a line for each part that is not what it has to be."""
    parts: list[tuple[str, bool, str]] = [
        ('model_state_dict', _is_state(checkpoint.state, is_tensor), '{name: tensor}, and not empty'),
        ('config', _is_json(checkpoint.config), "the model's arguments as plain values: {name: value}"),
        ('vocab', _is_vocab(checkpoint.vocab), '{token: index}, every index once'),
        ('training_args', _is_json(checkpoint.training_args), 'plain values: {name: value}'),
        ('metrics', _are_metrics(checkpoint.metrics), 'finite numbers: {name: number}'),
    ]
    return [f'  {name}: expected {expected}' for name, fits, expected in parts if not fits]


def _is_state(value: object, is_tensor: Callable[[Any], bool]) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(name, str) and is_tensor(tensor) for name, tensor in value.items())
    )


def _is_json(value: object) -> bool:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return False
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _is_vocab(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(
            isinstance(token, str) and type(index) is int and index >= 0 for token, index in value.items()
        )
        and len(set(value.values())) == len(value)
    )


def _are_metrics(value: object) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and type(number) in (int, float) and math.isfinite(number)
        for name, number in value.items()
    )


def _differences(given: object, vocab: Mapping[str, int]) -> list[str]:
    """Return a line when the checkpoint's own ``idx_to_vocab`` is not ``vocab`` the other way round."""
    if given is None or not _is_vocab(vocab):
        return []
    expected = {str(index): token for token, index in vocab.items()}
    if isinstance(given, list | tuple):
        given = dict(enumerate(given))
    if isinstance(given, Mapping) and {str(index): token for index, token in given.items()} == expected:
        return []
    return ['  idx_to_vocab: expected vocab the other way round, {index: token}; or leave it out']


def _listed(names: Sequence[object]) -> str:
    return ', '.join(str(name)[:60] for name in names[:_SHOWN]) + (', …' if len(names) > _SHOWN else '')
