"""Xorbs and shards made by hand, right or wrong, as the formats in hfmirror/server/xet say."""

from __future__ import annotations

import struct

import lz4.frame

MAGIC = b'HFRepoMetaData\0' + bytes.fromhex('5569 67456a7b8157 83a5bdd95ccdd14aa9')
STORED, LZ4, GROUPED = range(3)
CHECKS, METADATA = 1 << 31, 1 << 30
END = b'\xff' * 32 + bytes(16)


def header(packed, size, scheme=STORED, version=0):
    return bytes((version, *packed.to_bytes(3, 'little'), scheme, *size.to_bytes(3, 'little')))


def chunk(data, scheme=STORED):
    """Return one chunk of a xorb."""
    grouped = b''.join(data[place::4] for place in range(4)) if scheme == GROUPED else data
    packed = data if scheme == STORED else lz4.frame.compress(grouped)
    return header(len(packed), len(data), scheme) + packed


def raw_hash(text):
    """Return the 32 bytes of a hash that is written as ``text``."""
    return b''.join(bytes.fromhex(text[start : start + 16])[::-1] for start in range(0, 64, 16))


def segment(xorb, size, first=0, end=1):
    return struct.pack('<32sIIII', raw_hash(xorb), 0, size, first, end)


def file(*segments, oid=None, checks=False, flags=0, count=None):
    """Return the records of one file; ``flags`` are set besides those that the rest asks for."""
    flags |= (CHECKS if checks else 0) | (METADATA if oid else 0)
    records = [struct.pack('<32sIIQ', b'f' * 32, flags, len(segments) if count is None else count, 0)]
    records += segments
    records += [b'c' * 48] * (len(segments) if checks else 0)
    records += [raw_hash(oid) + bytes(16)] if oid else []
    return b''.join(records)


def shard(*files, version=2, end=END):
    return MAGIC + struct.pack('<QQ', version, 0) + b''.join(files) + end
