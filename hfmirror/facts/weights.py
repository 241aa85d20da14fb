"""What the header of a tensor file tells: how many numbers of which type it holds.

A safetensors file begins with eight bytes, the length of a JSON object as a little-endian number, and that object::

    {"__metadata__": {"format": "pt"}, "weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}

Only headers are read, never tensors, and never a pickle. A header that contradicts its file tells nothing.
"""

from __future__ import annotations

import ast
import json
import math
import re
import struct
from collections.abc import Collection
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, TypeGuard

# Real headers are far smaller: 40,000 tensors in one file need about 5 MB.
_HEADER_LIMIT = 8 * 2**20
_HEADER_MAX = 100_000_000  # the format's own limit
_NPY_HEADER_LIMIT = 10_000  # numpy's own limit for headers it does not trust
_BITS = {
    **dict.fromkeys(('F4',), 4),
    **dict.fromkeys(('F6_E2M3', 'F6_E3M2'), 6),
    **dict.fromkeys(('BOOL', 'I8', 'U8', 'F8_E4M3', 'F8_E5M2', 'F8_E8M0', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'), 8),
    **dict.fromkeys(('I16', 'U16', 'F16', 'BF16'), 16),
    **dict.fromkeys(('I32', 'U32', 'F32'), 32),
    **dict.fromkeys(('I64', 'U64', 'F64', 'C64'), 64),
}


class Weights(NamedTuple):
    """One file of tensors. ``size`` is in bytes; ``dtypes`` is {dtype: number of parameters}, most first.

    ``format`` is what the file says of its framework: ``pt``, ``tf``, ``flax``, ``mlx`` or nothing.
    """

    path: str
    size: int
    dtypes: dict[str, int]
    parameters: int
    format: str | None = None


class Array(NamedTuple):
    """The header of a ``.npy`` file. ``dtype`` is numpy's short form without byte order (``f4``), ``None`` for records."""

    dtype: str | None
    shape: tuple[int, ...]


def read_weights(path: Path, name: str) -> Weights | None:
    """Return what the safetensors file at ``path`` holds, under ``name``; None when its header cannot be trusted.

    Raises OSError when the file cannot be read.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        header = _header(file, size)
    if header is None:
        return None
    metadata = header.pop('__metadata__', None)
    dtypes: dict[str, int] = {}
    for tensor in header.values():
        counted = _count(tensor, size)
        if counted is None:
            return None
        dtype, parameters = counted
        dtypes[dtype] = dtypes.get(dtype, 0) + parameters
    ordered = dict(sorted(dtypes.items(), key=lambda item: (-item[1], item[0])))
    return Weights(name, size, ordered, sum(ordered.values()), _format(metadata))


def is_whole(path: Path, *, tensors: Collection[str] = ()) -> bool:
    """Return whether a safetensors file ends where its header says, and has all of ``tensors``.

    Raises OSError when the file cannot be read.
    """
    size = path.stat().st_size
    with path.open('rb') as file:
        header = _header(file, size, limit=_HEADER_MAX)
        start = file.tell()
    if header is None:
        return False
    header.pop('__metadata__', None)
    # Types that are not known here are younger than this file, which is whole all the same.
    ends = [_end(tensor) for tensor in header.values()]
    return (
        None not in ends
        and start + max(filter(None, ends), default=0) == size
        and header.keys() >= set(tensors)
    )


def _end(tensor: object) -> int | None:
    """Return where a tensor says that it ends, None when it says nothing that can be."""
    offsets = tensor.get('data_offsets') if isinstance(tensor, dict) else None
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        return None
    return offsets[1]


def _header(file: BinaryIO, size: int, *, limit: int = _HEADER_LIMIT) -> dict[str, Any] | None:
    start = file.read(8)
    if len(start) < 8:
        return None
    (length,) = struct.unpack('<Q', start)
    if not 2 <= length <= min(limit, size - 8):
        return None
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        return None
    return header if isinstance(header, dict) else None


def _count(tensor: object, size: int) -> tuple[str, int] | None:
    """Return (dtype, parameters) of one tensor, None when it does not fill the bytes it claims."""
    if not isinstance(tensor, dict):
        return None
    dtype, shape, offsets = tensor.get('dtype'), tensor.get('shape'), tensor.get('data_offsets')
    if not isinstance(dtype, str) or not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2:
        return None
    if dtype not in _BITS or len(shape) > 64 or not offsets[0] <= offsets[1] <= size:
        return None
    parameters = math.prod(shape)
    return (dtype, parameters) if parameters * _BITS[dtype] == 8 * (offsets[1] - offsets[0]) else None


def _naturals(value: object) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(number) is int and 0 <= number < 2**63 for number in value)


def _format(metadata: object) -> str | None:
    value = metadata.get('format') if isinstance(metadata, dict) else None
    return value if isinstance(value, str) and re.fullmatch(r'[a-z0-9_.-]{1,20}', value) else None


def read_array(file: BinaryIO) -> Array | None:
    """Return what the ``.npy`` data at the start of ``file`` holds, None when that is not a header we can trust."""
    magic = file.read(8)
    if magic[:6] != b'\x93NUMPY' or len(magic) < 8 or magic[6] not in (1, 2, 3):
        return None
    width = 2 if magic[6] == 1 else 4
    length = int.from_bytes(file.read(width), 'little')
    if length > _NPY_HEADER_LIMIT:
        return None
    try:
        header = ast.literal_eval(file.read(length).decode('utf-8').strip())
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    return _array(header)


def _array(header: object) -> Array | None:
    shape = header.get('shape') if isinstance(header, dict) else None
    if not isinstance(header, dict) or not isinstance(shape, tuple) or not _naturals(list(shape)):
        return None
    descr = header.get('descr')
    match = re.fullmatch(r'[<>|=]?([a-zA-Z][0-9]{0,4})', descr) if isinstance(descr, str) else None
    return Array(match[1] if match else None, shape)


def shard_of(path: str) -> tuple[str, int, int] | None:
    """Return (name of the whole, number, count) for ``model-00001-of-00003.safetensors``, None for any other name."""
    match = re.fullmatch(r'(.+)-(\d{5,6})-of-(\d{5,6})(\.safetensors)', path)
    return (match[1] + match[4], int(match[2]), int(match[3])) if match else None


def main_weights(weights: tuple[Weights, ...]) -> tuple[Weights, ...]:
    """Return the files that together are the model once: one file or one complete set of shards.

    The modules that sentence-transformers keeps beside it, in folders such as ``2_Dense``, belong to it. Empty when a
    folder holds several sets (other precisions, components), so that nothing is counted twice.
    """
    modules = [one for one in weights if re.fullmatch(r'\d+_\w+/[^/]+', one.path)]
    top = [one for one in weights if '/' not in one.path]
    whole = _one_set(top or [one for one in weights if one not in modules])
    return (*whole, *modules) if whole else ()


def _one_set(weights: list[Weights]) -> tuple[Weights, ...]:
    """Return ``weights`` when they are one file or all shards of one, else ()."""
    shards = [shard for one in weights if (shard := shard_of(one.path))]
    if not shards:
        return tuple(weights) if len(weights) == 1 else ()
    name, _, count = shards[0]
    complete = sorted(shards) == [(name, number, count) for number in range(1, len(weights) + 1)]
    return tuple(weights) if complete and len(weights) == count else ()
