"""What is in the files of a feature set? Arrays, points and statistics, read so that no file can make Python run anything.

The scaler is a pickle, which is a program. It is loaded only when that is allowed, from the bytes that were scanned, and
may import nothing but what ``_IMPORTS`` names: what pickles of scalers and arrays are made of.
"""

from __future__ import annotations

import io
import json
import pickle
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from hfmirror import errors
from hfmirror.features import featureset
from hfmirror.gates import pickles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

_LARGEST_JSON = 256 * 1024 * 1024  # bytes
_LARGEST_SCALER = 64 * 1024 * 1024
_SHOWN = 80  # characters of a name that others have chosen

# What numpy lets through of a header that was made to hurt, of nothing but brackets for one.
_BAD_ARRAY = (
    ValueError,
    TypeError,
    OSError,
    EOFError,
    OverflowError,
    SyntaxError,
    RecursionError,
    MemoryError,
    tokenize.TokenError,
)

_SCALERS = {
    'MaxAbsScaler',
    'MinMaxScaler',
    'Normalizer',
    'PowerTransformer',
    'QuantileTransformer',
    'RobustScaler',
    'StandardScaler',
}
_IMPORTS = {
    'hfmirror.features.scaler': {'StandardScaler'},
    'sklearn.preprocessing._data': _SCALERS,
    'sklearn.preprocessing.data': _SCALERS,  # of scikit-learn before 0.24
    'numpy': {'dtype', 'ndarray'},
    'numpy.core.multiarray': {'_reconstruct', 'scalar'},
    'numpy._core.multiarray': {'_reconstruct', 'scalar'},
    'numpy.core.numeric': {'_frombuffer'},
    'numpy._core.numeric': {'_frombuffer'},
    'builtins': {'bytearray', 'complex', 'frozenset', 'object', 'set', 'slice'},
    '__builtin__': {'bytearray', 'complex', 'frozenset', 'object', 'set', 'slice'},
    'collections': {'OrderedDict'},
    'copy_reg': {'_reconstructor'},
    'copyreg': {'_reconstructor'},
    '_codecs': {'encode'},  # how protocol 2 writes bytes
}


class Features(TypedDict):
    """The features of one timeframe. ``scaler`` is None unless pickles are allowed."""

    X_sequences: Array
    y_class: Array
    y_reg: Array
    scaler: Any
    zigzag_points: Any
    statistics: Any


def require_numpy() -> None:
    """Raise UsageError where there is no numpy, which only features need."""
    try:
        import numpy  # noqa: F401
    except ImportError as e:
        raise errors.UsageError("features need numpy. Run: pip install 'hf-mirror[features]'") from e


def load(folder: Path, timeframe: str, *, mmap: bool = False, allow_pickle: bool = False) -> Features:
    """Return what is in the files of a timeframe; with ``mmap`` the arrays stay on disk and are read where they are used.

    Raises SourceError for a file that is not what its name says, GateError for a scaler that would run code.
    """

    def path(part: str) -> Path:
        return folder / f'{timeframe}_{part}'

    return {
        'X_sequences': _array(path(featureset.X_SEQUENCES), mmap=mmap),
        'y_class': _array(path(featureset.Y_CLASS), mmap=mmap),
        'y_reg': _array(path(featureset.Y_REG), mmap=mmap),
        'scaler': _scaler(path(featureset.SCALER)) if allow_pickle else None,
        'zigzag_points': _json(path(featureset.ZIGZAG_POINTS)),
        'statistics': _json(path(featureset.STATISTICS)),
    }


def _array(path: Path, *, mmap: bool) -> Array:
    import numpy as np

    # Mapped in any case: a header that tells of more than the file has is refused before memory is taken.
    try:
        mapped = np.lib.format.open_memmap(path, mode='r')
    except _BAD_ARRAY as e:
        raise _unreadable(path, 'no array of numbers', e) from e
    return mapped if mmap else np.array(mapped)


def _json(path: Path) -> Any:
    try:
        return json.loads(_bytes(path, _LARGEST_JSON))
    except (ValueError, RecursionError) as e:
        raise _unreadable(path, 'no JSON', e) from e


def _bytes(path: Path, largest: int) -> bytes:
    with path.open('rb') as file:
        content = file.read(largest + 1)
    if len(content) > largest:
        raise _unreadable(path, 'nothing that is loaded', f'larger than {largest:,} bytes')
    return content


def _unreadable(path: Path, what: str, why: object) -> errors.SourceError:
    return errors.SourceError(f'{path}: {what}: {why}. Make the features again, and upload them.')


def _scaler(path: Path) -> Any:
    content = _bytes(path, _LARGEST_SCALER)
    look = pickles.scan(io.BytesIO(content), path.name)
    if look.found or look.closed:
        why = look.closed or f'it would import {look.found[0].detail}'
        raise errors.GateError(f'{path}: not loaded: {why}. Do not load it; find out who has put it there.')
    try:
        return _Unpickler(io.BytesIO(content)).load()
    except errors.HfmirrorError as e:
        raise type(e)(f'{path}: {e}') from e
    except ImportError as e:
        raise errors.SourceError(
            f"{path}: needs a module that is not installed ({e}). Run 'pip install scikit-learn'."
        ) from e
    except Exception as e:  # what a broken pickle raises is anything
        raise _unreadable(path, 'no pickle of a scaler', f'{type(e).__name__}: {e}'[:200]) from e


class _Unpickler(pickle.Unpickler):
    """Imports what scalers are made of, and nothing else."""

    def find_class(self, module: str, name: str, /) -> Any:
        if name not in _IMPORTS.get(module, ()):
            shown = ascii(f'{module}.{name}')[:_SHOWN]
            raise errors.GateError(
                f'not loaded: it would import {shown}, which is no part of a scaler. '
                'Load it yourself when you know who made it.'
            )
        return super().find_class(module, name)
