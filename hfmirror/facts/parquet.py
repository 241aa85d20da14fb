"""The columns and rows of a Parquet file, from the beginning of its footer.

The footer is a ``FileMetaData`` record in Thrift's compact protocol, followed by its length (4 bytes) and ``PAR1``.
Its first three fields are what is needed: version, the schema as a flattened tree, the number of rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

# Schema and row count stand before the row groups; 1 MiB holds some 20,000 columns.
_FOOTER_READ = 2**20
_TYPES = ('bool', 'int32', 'int64', 'int96', 'float', 'double', 'binary', 'fixed binary')
_CONVERTED = {
    0: 'string',
    1: 'map',
    3: 'list',
    4: 'string',
    5: 'decimal',
    6: 'date',
    9: 'timestamp',
    10: 'timestamp',
}
_CONVERTED |= {11: 'uint8', 12: 'uint16', 13: 'uint32', 14: 'uint64', 15: 'int8', 16: 'int16', 19: 'json'}


class Schema(NamedTuple):
    """Rows and the columns at the top, as (name, type)."""

    rows: int
    columns: tuple[tuple[str, str], ...]


class _Damaged(Exception):
    pass


def read_schema(path: Path) -> Schema | None:
    """Return rows and columns of the Parquet file at ``path``, None when its footer cannot be understood.

    Raises OSError when the file cannot be read.
    """
    size = path.stat().st_size
    if size < 12:
        return None
    with path.open('rb') as file:
        file.seek(size - 8)
        tail = file.read(8)
        length = int.from_bytes(tail[:4], 'little')
        if tail[4:] != b'PAR1' or length > size - 12:
            return None
        file.seek(size - 8 - length)
        footer = file.read(min(length, _FOOTER_READ))
    try:
        return _schema(_Compact(footer))
    except (_Damaged, RecursionError):
        return None


def _schema(data: _Compact) -> Schema:
    elements: list[dict[int, Any]] = []
    for field, value in data.fields(until=3):
        if field == 2 and isinstance(value, list):
            elements = [element for element in value if isinstance(element, dict)]
        if field == 3 and isinstance(value, int) and value >= 0 and elements:
            return Schema(value, tuple(_columns(elements)))
    raise _Damaged


def _columns(elements: list[dict[int, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the children of the root; ``elements`` is the tree, parents before children."""
    position = 1
    for _ in range(_children(elements[0])):
        if position >= len(elements):
            raise _Damaged
        element = elements[position]
        name = element.get(4)
        yield (name.decode('utf-8', 'replace') if isinstance(name, bytes) else ''), _type(element)
        position = _after(elements, position)


def _after(elements: list[dict[int, Any]], position: int) -> int:
    """Return the position behind the subtree at ``position``."""
    open_ = 1
    while open_ and position < len(elements):
        open_ += _children(elements[position]) - 1
        position += 1
    return position


def _children(element: dict[int, Any]) -> int:
    count = element.get(5, 0)
    return count if isinstance(count, int) and count > 0 else 0


def _type(element: dict[int, Any]) -> str:
    converted = _CONVERTED.get(element.get(6, -1))
    if converted:
        return converted
    if _children(element):
        return 'struct'
    kind = element.get(1)
    return _TYPES[kind] if isinstance(kind, int) and 0 <= kind < len(_TYPES) else ''


class _Compact:
    """A reader of Thrift's compact protocol that takes nothing on trust."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def fields(self, until: int = 2**15) -> Iterator[tuple[int, Any]]:
        """Yield (field id, value) of the record at hand, up to the field ``until``."""
        field = 0
        while header := self._byte():
            step, kind = header >> 4, header & 15
            field = field + step if step else self._zigzag()
            yield field, self._value(kind)
            if field >= until:
                return

    def _value(self, kind: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        readers: dict[int, Callable[[], Any]] = {
            3: self._byte,
            4: self._zigzag,
            5: self._zigzag,
            6: self._zigzag,
            7: lambda: self._take(8),
            8: lambda: self._take(self._varint()),
            9: self._list,
            10: self._list,
            12: lambda: dict(self.fields()),
        }
        if kind not in readers:
            raise _Damaged
        return readers[kind]()

    def _list(self) -> list[Any]:
        header = self._byte()
        count, kind = header >> 4, header & 15
        if count == 15:
            count = self._varint()
        if count > len(self._data):
            raise _Damaged
        if kind in (1, 2):  # in a list each truth has a byte of its own
            return [self._byte() == 1 for _ in range(count)]
        return [self._value(kind) for _ in range(count)]

    def _byte(self) -> int:
        return self._take(1)[0]

    def _take(self, count: int) -> bytes:
        end = self._position + count
        if end > len(self._data):
            raise _Damaged
        taken = self._data[self._position : end]
        self._position = end
        return taken

    def _varint(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
        raise _Damaged

    def _zigzag(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
