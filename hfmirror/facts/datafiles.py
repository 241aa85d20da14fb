"""What the files of a dataset tell cheaply: columns, rows and splits, from headers, footers and short files."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from hfmirror.facts import parquet, weights

# What `datasets` loads without being told how; other files of a dataset repository are only files.
LOADABLE = ('.parquet', '.jsonl', '.csv')
_KNOWN = (*LOADABLE, '.npy')
# Text files of together up to this size are read whole, so that their rows are counted exactly; else each one's beginning.
_COUNTED_SIZE = 8 * 2**20
_BEGINNING = 2**16
_FILES_READ = 2_000
_PATTERNS = 3
_COLUMNS = 20_000
_SPLIT_WORDS = {
    'train': 'train',
    'training': 'train',
    'validation': 'validation',
    'valid': 'validation',
    'val': 'validation',
    'dev': 'validation',
    'test': 'test',
    'testing': 'test',
    'eval': 'test',
    'evaluation': 'test',
}
_SIZES = (
    (10**3, 'n<1K'),
    (10**4, '1K<n<10K'),
    (10**5, '10K<n<100K'),
    (10**6, '100K<n<1M'),
    (10**7, '1M<n<10M'),
    (10**8, '10M<n<100M'),
    (10**9, '100M<n<1B'),
    (10**10, '1B<n<10B'),
    (10**11, '10B<n<100B'),
    (10**12, '100B<n<1T'),
)


class Table(NamedTuple):
    """One data file. ``rows`` is None when counting them would mean reading it; ``features`` are (name, type)."""

    path: str
    rows: int | None
    features: tuple[tuple[str, str], ...]


class Split(NamedTuple):
    """A part of a dataset: its files as patterns that match exactly them, and its rows if all are known."""

    name: str
    patterns: tuple[str, ...]
    files: int
    rows: int | None


class Data(NamedTuple):
    """A dataset. ``rows`` and ``size_category`` are None unless every data file told its rows.

    ``loadable`` tells whether ``datasets.load_dataset`` reads the files; ``features`` are the columns that all files
    share, of arrays (file, type); ``first`` is the path of one data file.
    """

    splits: tuple[Split, ...]
    rows: int | None
    features: tuple[tuple[str, str], ...]
    size_category: str | None
    loadable: bool
    first: str


def read_data(files: Mapping[str, Path]) -> Data | None:
    """Return what the data files among ``files`` tell, None when there are none of a known kind.

    Only the kind with the most files counts, so that a column list beside the data does not pass for data.
    Raises OSError when a file cannot be read.
    """
    suffix = _main_suffix(files)
    if suffix is None:
        return None
    paths = sorted(path for path in files if path.lower().endswith(suffix))
    limit = _COUNTED_SIZE if _size(files, paths) <= _COUNTED_SIZE else _BEGINNING
    tables = [read_table(files[path], path, limit=limit) for path in paths[:_FILES_READ]]
    alike = len({_shape(table) for table in tables}) == 1 and len(paths) == len(tables)
    rows = {table.path: table.rows for table in tables} if alike else {}
    total = _sum([rows.get(path) for path in paths])
    return Data(
        splits=_splits(paths, rows, all_paths=sorted(files)),
        rows=total,
        features=_features(tables, alike),
        size_category=size_category(total),
        loadable=suffix in LOADABLE,
        first=paths[0],
    )


def _size(files: Mapping[str, Path], paths: list[str]) -> int:
    return sum(files[path].stat().st_size for path in paths)


def _shape(table: Table) -> tuple[object, ...]:
    """Return what two files share when one goes on where the other ends, so that their rows may be added."""
    if not table.path.lower().endswith('.npy'):
        return table.features
    name = re.sub(
        r'[a-z]+',
        lambda word: '' if word[0] in _SPLIT_WORDS else word[0],
        PurePosixPath(table.path).name.lower(),
    )
    return re.sub(r'[^a-z]+', '', name), *(kind for _, kind in table.features)


def _features(tables: list[Table], alike: bool) -> tuple[tuple[str, str], ...]:
    """Return the columns that all files share; of arrays each with its name."""
    if tables[0].path.lower().endswith('.npy'):
        return tuple((table.path, kind) for table in tables[:_COLUMNS] for _, kind in table.features)
    return tables[0].features if alike else ()


def _main_suffix(files: Mapping[str, Path]) -> str | None:
    counts = {suffix: sum(path.lower().endswith(suffix) for path in files) for suffix in _KNOWN}
    best = max(_KNOWN, key=lambda suffix: counts[suffix])
    return best if counts[best] else None


def _sum(rows: list[int | None]) -> int | None:
    known = [count for count in rows if count is not None]
    return sum(known) if len(known) == len(rows) else None


def size_category(rows: int | None) -> str | None:
    """Return the Hub's word for that many rows, such as ``1K<n<10K``."""
    if rows is None:
        return None
    return next((word for limit, word in _SIZES if rows < limit), 'n>1T')


def read_table(path: Path, name: str, *, limit: int = _COUNTED_SIZE) -> Table:
    """Return what the data file at ``path`` tells, under ``name``; a broken one tells nothing.

    Of a text file no more than ``limit`` bytes are read; the rows of a longer one are not known.
    """
    suffix = PurePosixPath(name).suffix.lower()
    if suffix == '.npy':
        return _npy(path, name)
    if suffix == '.parquet':
        schema = parquet.read_schema(path)
        return Table(name, schema.rows, schema.columns[:_COLUMNS]) if schema else Table(name, None, ())
    text, whole = _beginning(path, limit)
    if text is None:
        return Table(name, None, ())
    return _jsonl(text, name, whole) if suffix == '.jsonl' else _csv(text, name, whole)


def _npy(path: Path, name: str) -> Table:
    with path.open('rb') as file:
        array = weights.read_array(file)
    if array is None:
        return Table(name, None, ())
    shape = ' × '.join(f'{length:,}' for length in array.shape[1:])
    kind = array.dtype or 'records'
    return Table(
        name, array.shape[0] if array.shape else 1, (('', f'{kind}, {shape} each' if shape else kind),)
    )


def _beginning(path: Path, limit: int) -> tuple[str | None, bool]:
    """Return (text, whether that is the whole file); None for what is not UTF-8."""
    with path.open('rb') as file:
        content = file.read(limit + 1)
    whole = len(content) <= limit
    if not whole:
        content = content[: content.rfind(b'\n') + 1]
    try:
        return content.decode('utf-8-sig'), whole
    except UnicodeDecodeError:
        return None, whole


def _jsonl(text: str, name: str, whole: bool) -> Table:
    lines = [line for line in text.split('\n') if line.strip()]
    types: dict[str, str] = {}
    for line in lines[:20]:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            return Table(name, None, ())
        if not isinstance(row, dict):
            return Table(name, None, ())
        for key, value in row.items():
            if value is not None or key not in types:
                types[key] = (
                    _json_type(value) if types.get(key, 'null') in ('null', _json_type(value)) else 'mixed'
                )
    return Table(name, len(lines) if whole else None, tuple(types.items())[:_COLUMNS])


def _json_type(value: object) -> str:
    names = {
        str: 'string',
        bool: 'bool',
        int: 'int',
        float: 'float',
        list: 'list',
        dict: 'struct',
        type(None): 'null',
    }
    return names[type(value)]


def _csv(text: str, name: str, whole: bool) -> Table:
    try:
        rows = csv.reader(io.StringIO(text), strict=True)
        header = next(rows, [])
        count = sum(1 for row in rows if row) if whole else None
    except csv.Error:
        return Table(name, None, ())
    return Table(name, count, tuple((column, '') for column in header[:_COLUMNS]))


def _splits(paths: list[str], rows: Mapping[str, int | None], *, all_paths: list[str]) -> tuple[Split, ...]:
    """Return the splits that the names tell, () when a file has no split in its name or patterns would catch others."""
    groups: dict[str, list[str]] = {}
    for path in paths:
        groups.setdefault(split_of(path) or '', []).append(path)
    if '' in groups:
        return ()
    order = sorted(groups, key=('train', 'validation', 'test').index)
    splits = []
    for name in order:
        patterns = _patterns(groups[name], all_paths)
        if not patterns:
            return ()
        splits.append(
            Split(name, patterns, len(groups[name]), _sum([rows.get(path) for path in groups[name]]))
        )
    return tuple(splits)


def split_of(path: str) -> str | None:
    """Return train, validation or test when exactly one of them is a word of the file's name, else of its folders."""
    for part in reversed(PurePosixPath(path).parts):
        words = {_SPLIT_WORDS[word] for word in re.split(r'[^a-z]+', part.lower()) if word in _SPLIT_WORDS}
        if words:
            return words.pop() if len(words) == 1 else None
    return None


def _patterns(paths: list[str], all_paths: list[str]) -> tuple[str, ...]:
    """Return few patterns that match each of ``paths`` once and nothing else of ``all_paths``, () when there are none."""
    if any(re.search(r'[*?\[\]{}!]', path) for path in paths):
        return ()
    if len(paths) <= _PATTERNS:
        return tuple(paths)
    wide = sorted({re.sub(r'\d+(?=[^/]*$)', '*', path).replace('*-of-*', '*') for path in paths})
    patterns = [one for one in wide if not any(_matches(one, other) for other in wide if other != one)]
    matched = sorted(path for path in all_paths for pattern in patterns if _matches(path, pattern))
    return tuple(patterns) if len(patterns) <= _PATTERNS and matched == sorted(paths) else ()


def _matches(path: str, pattern: str) -> bool:
    # A star of the Hub's patterns stays within one folder; fnmatch's does not.
    return path.count('/') == pattern.count('/') and fnmatchcase(path, pattern)
