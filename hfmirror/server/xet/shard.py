"""Which files does a shard describe, and of which chunks of which xorbs is each made?

Everything is a record of 48 bytes; numbers are little-endian, a hash is 32 bytes:

    shard header   magic 32 | version u64 = 2 | footer size u64
    file           hash 32 | flags u32 | number of entries u32 | unused u64
      entry        hash of a xorb 32 | flags u32 | bytes u32 | first chunk u32 | end chunk u32 (exclusive)
      check        one for each entry, when flags has bit 31; not used here
      metadata     one, when flags has bit 30: sha256 32 | unused 16
    end of files   0xFF × 32 | 0 × 16
    …              what the client packed into which xorb; not used here
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple, Protocol

from hfmirror.server.xet.xorb import MAX_CHUNK, MAX_CHUNKS, Malformed

MAX_BYTES = 66 * 1024 * 1024  # clients cut at 64 MiB, before the footer
_RECORD = 48
_MAGIC = b'HFRepoMetaData\0' + bytes(
    (85, 105, 103, 69, 106, 123, 129, 87, 131, 165, 189, 217, 92, 205, 209, 74, 169)
)
_VERSION = 2
_BOOKEND = b'\xff' * 32
_WITH_CHECKS = 1 << 31
_WITH_METADATA = 1 << 30
_SEGMENT = struct.Struct('<32sIIII')
_WORDS = struct.Struct('<4Q')


class Body(Protocol):
    """The bytes of a shard: ``bytes``, or a file that is mapped into memory."""

    def __len__(self) -> int: ...
    def __getitem__(self, where: slice, /) -> bytes: ...


class Segment(NamedTuple):
    """A run of chunks, ``first`` up to and without ``end``, ``size`` bytes together."""

    xorb: str
    size: int
    first: int
    end: int


class File(NamedTuple):
    """One file. ``oid`` is its sha256 if the client told it, ``size`` in bytes."""

    oid: str | None
    size: int
    body: Body
    start: int
    entries: int

    def segments(self) -> Iterator[Segment]:
        """Return the runs of chunks that make up the file, in order; read anew each time, as there may be a million."""
        return _segments(self.body, self.start, self.entries)


def files(body: Body) -> Iterator[File]:
    """Yield every file of a shard, each checked before it is given. Raises Malformed."""
    _check_header(body[:_RECORD])
    at = _RECORD
    while True:
        record = _record(body, at)
        if record.startswith(_BOOKEND):
            return
        flags, count = struct.unpack_from('<II', record, 32)
        if flags & ~(_WITH_CHECKS | _WITH_METADATA):
            raise Malformed(f'a file with flags {flags:#x}, which are not known here')
        start = at + _RECORD
        at = start + _RECORD * count * (2 if flags & _WITH_CHECKS else 1)
        if at > len(body):
            raise Malformed('a file whose entries end beyond the end of the shard')
        oid = None
        if flags & _WITH_METADATA:
            oid = hash_text(_record(body, at)[:32])
            at += _RECORD
        yield File(oid, sum(segment.size for segment in _segments(body, start, count)), body, start, count)


def _check_header(header: bytes) -> None:
    if len(header) != _RECORD or not header.startswith(_MAGIC):
        raise Malformed('not a shard: it begins with other bytes')
    (version,) = struct.unpack_from('<Q', header, 32)
    if version != _VERSION:
        raise Malformed(f'a shard of version {version}; version {_VERSION} is the only one known here')


def _record(body: Body, at: int) -> bytes:
    record = body[at : at + _RECORD]
    if len(record) != _RECORD:
        raise Malformed('the shard is cut off')
    return record


def _segments(body: Body, start: int, count: int) -> Iterator[Segment]:
    for at in range(start, start + count * _RECORD, _RECORD):
        xorb, _, size, first, end = _SEGMENT.unpack(body[at : at + _RECORD])
        if not first < end <= MAX_CHUNKS or not 0 < size <= (end - first) * MAX_CHUNK:
            raise Malformed(f'an entry of chunks {first} to {end} with {size} bytes')
        yield Segment(hash_text(xorb), size, first, end)


def hash_text(raw: bytes) -> str:
    """Return a hash as it is written in URLs and in text: four numbers of eight bytes, each in reversed byte order."""
    return '{:016x}{:016x}{:016x}{:016x}'.format(*_WORDS.unpack(raw))
