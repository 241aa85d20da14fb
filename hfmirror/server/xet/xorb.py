"""What is in a xorb? Chunks one after the other, each behind a header of eight bytes.

    version u8 = 0 | packed length u24 | scheme u8 | length u24 | data        numbers are little-endian

Schemes: 0 stored; 1 an LZ4 frame; 2 an LZ4 frame of the bytes grouped by their place in words of four, as suits float32.
What follows the last chunk, a footer that begins with ``XETBLOB``, is left unread: the chunks say the same.
"""

from __future__ import annotations

import os
from array import array
from typing import NamedTuple

from lz4.frame import LZ4FrameDecompressor

MAX_BYTES = 65 * 1024 * 1024  # clients pack 64 MiB; the rest is for headers and footer
MAX_CHUNKS = 8192
MAX_CHUNK = 128 * 1024  # bytes of a chunk, unpacked
_HEADER = 8
_FOOTER = b'XETBLOB'
_STORED, _LZ4, _GROUPED = range(3)


class Malformed(ValueError):
    """Bytes from a client that are not what the format says, in a sentence."""


class Chunk(NamedTuple):
    """The header of a chunk: ``packed`` bytes in the xorb become ``size`` bytes."""

    packed: int
    scheme: int
    size: int


class Xorb:
    """An open xorb. Reading it moves no position, so several threads may."""

    def __init__(self, handle: int) -> None:
        """Walk over the headers. The handle stays the caller's. Raises Malformed."""
        self._handle = handle
        self._offsets = _offsets(handle)

    def __len__(self) -> int:
        return len(self._offsets)

    def chunk(self, number: int) -> bytes:
        """Return the bytes of one chunk, at most MAX_CHUNK. Raises Malformed."""
        offset = self._offsets[number]
        header = parse_header(os.pread(self._handle, _HEADER, offset))
        return unpack(header, os.pread(self._handle, header.packed, offset + _HEADER))


def _offsets(handle: int) -> array[int]:
    offsets = array('I')
    end = os.fstat(handle).st_size
    at = 0
    while at < end:
        raw = os.pread(handle, _HEADER, at)
        if raw.startswith(_FOOTER):
            break
        if len(offsets) == MAX_CHUNKS:
            raise Malformed(f'more than {MAX_CHUNKS} chunks in a xorb')
        offsets.append(at)
        at += _HEADER + parse_header(raw).packed
        if at > end:
            raise Malformed(f'chunk {len(offsets) - 1} ends beyond the end of the xorb')
    if not offsets:
        raise Malformed('a xorb without chunks')
    return offsets


def parse_header(raw: bytes) -> Chunk:
    """Return what the eight bytes before a chunk say. Raises Malformed."""
    if len(raw) != _HEADER:
        raise Malformed('the header of a chunk is cut off')
    header = Chunk(int.from_bytes(raw[1:4], 'little'), raw[4], int.from_bytes(raw[5:8], 'little'))
    if raw[0] != 0:
        raise Malformed(f'a chunk of version {raw[0]}; version 0 is the only one known here')
    if header.scheme not in (_STORED, _LZ4, _GROUPED):
        raise Malformed(f'a chunk packed by scheme {header.scheme}, which is not known here')
    if not 0 < header.size <= MAX_CHUNK or not 0 < header.packed <= 2 * MAX_CHUNK:
        raise Malformed(f'a chunk of {header.packed} bytes that become {header.size}')
    return header


def unpack(header: Chunk, data: bytes) -> bytes:
    """Return the bytes of a chunk. Never makes more of them than its header says. Raises Malformed."""
    if len(data) != header.packed:
        raise Malformed('the data of a chunk is cut off')
    found = data if header.scheme == _STORED else _decompressed(data, header.size)
    if len(found) != header.size:
        raise Malformed(f'a chunk of {len(found)} bytes whose header says {header.size}')
    return _regrouped(found) if header.scheme == _GROUPED else found


def _decompressed(data: bytes, size: int) -> bytes:
    decompressor = LZ4FrameDecompressor()
    try:
        found: bytes = decompressor.decompress(data, max_length=size)
    except RuntimeError as e:  # what the library raises for any broken frame
        raise Malformed(f'a chunk that is no LZ4 frame ({e})') from e
    if not decompressor.eof or decompressor.unused_data:
        raise Malformed(f'an LZ4 frame that does not end after {size} bytes')
    return found


def _regrouped(grouped: bytes) -> bytes:
    """Put bytes back in order: first come all that are first of a word of four, then all second, …"""
    found = bytearray(len(grouped))
    start = 0
    for place in range(4):
        end = start + (len(grouped) + 3 - place) // 4
        found[place::4] = grouped[start:end]
        start = end
    return bytes(found)
