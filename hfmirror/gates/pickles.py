"""Would loading this file run someone's code? Every pickle in it is followed, and picklescan judges what it imports.

picklescan's own reading of files is not used: it keeps every opcode and value of a pickle in memory, and raises for files
that are no pickles at all. What a name means, and the zip files that torch reads and Python does not, are its knowledge.

A file is what its first bytes say, whatever its name: a zip of pickles (torch, ``.npz``), ``.npy``, a compressed pickle
(joblib), or pickles one after the other. What is none of these (raw tensors, safetensors under another name) is passed in
a few bytes. A pickle that cannot be followed to its end counts as far as it was followed.
"""

from __future__ import annotations

import bz2
import gzip
import io
import logging
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, NamedTuple

from hfmirror.gates.findings import Finding
from hfmirror.gates.opcodes import Import, TooLong, follow

ENDINGS = ('.bin', '.pt', '.pth', '.pkl', '.pickle', '.dill', '.ckpt', '.joblib', '.npy', '.npz')
_PACKED = ('.gz', '.bz2', '.xz', '.lzma', '.z')  # joblib compresses by the ending

_BUFFER = 256 * 1024  # bytes
_MOST_INFLATED = 4 * 1024**3  # bytes read of one compressed stream; a bomb has more
_MOST_DIRECTORY = 64 * 1024 * 1024  # bytes of a zip's table of contents; a million files
_MOST_NAMES = 10_000
_SHOWN = 5
_LONGEST_SHOWN = 80
_DEEPEST = 4  # parts of the name of a module that is reached through another one

_ZIP = b'PK\x03\x04'
_NUMPY = b'\x93NUMPY'
_TAR = b'ustar'
_CLOSED = {
    b'7z\xbc\xaf\x27\x1c': '7z',
    b'\x04\x22\x4d\x18': 'lz4',
    b'\x28\xb5\x2f\xfd': 'zstd',
}
_PICKLED = ('.pkl', '.pickle', '.joblib', '.dat', '.data')
# What zipfile raises for places, sizes and methods that cannot be; OSError for a place before the file's beginning.
_BAD_ZIP = (
    zipfile.BadZipFile,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
    OSError,
    EOFError,
    zlib.error,
)
_DAMAGED = (OSError, EOFError, zlib.error, lzma.LZMAError)

_PLAIN = re.compile(r'[\w.<>+-]+', re.ASCII)  # a name that picklescan reads as it is written
_TEXT = rb'(?:\x8c[\s\S]|X[\s\S]{2}\0\0)([\w.]{1,255})(?:\x94|q[\s\S]|r[\s\S]{4})?'
_NAMED = re.compile(_TEXT + _TEXT + rb'\x93|c([\w.]{2,255})\n([\w.]{1,255})\n')


class Look(NamedTuple):
    """``found`` are the dangerous imports, ``others`` those that picklescan does not know; ``closed`` says why not all
    of the file could be looked at."""

    found: list[Finding]
    others: list[str]
    closed: str | None = None


def is_pickled(path: str) -> bool:
    """Return whether files of that name are loaded as pickles."""
    name = path.lower()
    packed = next((ending for ending in _PACKED if name.endswith(ending)), '')
    return name.removesuffix(packed).endswith(ENDINGS)


def scan(file: IO[bytes], path: str) -> Look:
    """Return what loading ``file`` would import. It stays open, and is nowhere in particular."""
    names: set[Import] = set()

    def found(name: Import) -> None:
        names.add(name)
        if len(names) > _MOST_NAMES:
            raise TooLong

    reader: io.BufferedReader[Any] = io.BufferedReader(file, _BUFFER)
    closed = None
    try:
        closed = _look(reader, found)
    except TooLong:
        closed = 'it is too long to be followed to its end'
    finally:
        reader.detach()
    dangerous, others = _judged(names)
    shown = ', '.join(dangerous[:_SHOWN]) + (', …' if len(dangerous) > _SHOWN else '')
    return Look([Finding(path, 0, 'unsafe-pickle', 'unsafe', shown)] if dangerous else [], others, closed)


def _look(file: io.BufferedReader[Any], found: Callable[[Import], None]) -> str | None:
    """Tell ``found`` of every import; return why the file cannot be looked into, None when it was."""
    file.seek(0)
    head = file.peek(512)[:512]
    for mark, name in _CLOSED.items():
        if head.startswith(mark):
            return f'{name} files cannot be looked into'
    if head[257:262] == _TAR:
        return 'tar files cannot be looked into'
    if head.startswith(_ZIP):
        return _in_zip(file, found)
    if head.startswith(_NUMPY):
        _in_numpy(file, found)
        return None
    if _inflated(file, head) is not None:
        _in_stream(lambda: _unpacked(file, head), found)
    _in_stream(lambda: _rewound(file), found)
    return None


def _unpacked(file: io.BufferedReader[Any], head: bytes) -> io.BufferedReader[Any]:
    inflated = _inflated(_rewound(file), head)
    assert inflated is not None
    return io.BufferedReader(inflated, _BUFFER)


def _rewound(file: io.BufferedReader[Any]) -> io.BufferedReader[Any]:
    file.seek(0)
    return file


def _in_stream(start: Callable[[], io.BufferedReader[Any]], found: Callable[[Import], None]) -> None:
    """Tell ``found`` of the imports of the pickles in a stream; ``start`` opens it at its beginning."""
    seen: set[str] = set()

    def also(name: Import) -> None:
        seen.add(name.module.partition('.')[0])
        found(name)

    follow(start(), also)
    if 'joblib' in seen:
        # Its arrays stand between the opcodes. What comes after the first one is looked for by its shape.
        for name in _named(start()):
            found(name)


def _named(file: io.BufferedReader[Any]) -> Iterator[Import]:
    kept = b''
    while block := file.read(_BUFFER):
        text = kept + block
        for match in _NAMED.finditer(text):
            module, name = match[1] or match[3], match[2] or match[4]
            yield Import(module.decode(), name.decode())
        kept = text[-1100:]


def _in_numpy(file: io.BufferedReader[Any], found: Callable[[Import], None]) -> None:
    """Follow the pickle behind the header of an array of objects; other arrays have none."""
    start = file.read(8)
    width = 2 if start[6:7] == b'\1' else 4
    header = file.read(min(int.from_bytes(file.read(width), 'little'), 1024 * 1024))
    if b'O' in header:
        follow(file, found)


def _in_zip(file: io.BufferedReader[Any], found: Callable[[Import], None]) -> str | None:
    from picklescan.relaxed_zipfile import RelaxedZipFile

    closed = None
    if _directory_size(file) > _MOST_DIRECTORY:
        return 'it is a zip of more files than can be looked at'
    try:
        with RelaxedZipFile(file) as archive:
            for info in archive.infolist():
                try:
                    _in_member(archive, info, found)
                except _BAD_ZIP:
                    closed = 'it has a file that is damaged or packed in an unknown way'
    except _BAD_ZIP:
        return 'it is a damaged zip file'
    return closed


def _in_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, found: Callable[[Import], None]) -> None:
    def start() -> io.BufferedReader[Any]:
        return io.BufferedReader(_Inflated(archive.open(info)), 16 * 1024)

    head = start().peek(8)[:8]
    if head.startswith(_NUMPY):
        _in_numpy(start(), found)
    elif info.filename.lower().endswith(_PICKLED) or (head[:1] == b'\x80' and head[1:2] <= b'\x05'):
        _in_stream(start, found)


def _directory_size(file: io.BufferedReader[Any]) -> int:
    """Return the size of a zip's table of contents in bytes as its end says, 0 when it says nothing."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 66_000))
    tail = file.read()
    file.seek(0)
    plain, large = tail.rfind(b'PK\x05\x06'), tail.rfind(b'PK\x06\x06')
    sizes = [0]
    if plain >= 0 and len(tail) >= plain + 16:
        sizes.append(struct.unpack_from('<L', tail, plain + 12)[0] % 0xFFFFFFFF)
    if large >= 0 and len(tail) >= large + 48:
        sizes.append(struct.unpack_from('<Q', tail, large + 40)[0])
    return max(sizes)


def _inflated(file: io.BufferedReader[Any], head: bytes) -> _Inflated | None:
    """Return the inside of a compressed file, None for any other."""
    if head.startswith(b'\x1f\x8b'):
        return _Inflated(gzip.GzipFile(fileobj=file))
    if head.startswith(b'BZh'):
        return _Inflated(bz2.BZ2File(file))
    if head.startswith((b'\xfd7zXZ\0', b'\x5d\0\0')):
        return _Inflated(lzma.LZMAFile(file))
    if head[:1] == b'\x78' and int.from_bytes(head[:2], 'big') % 31 == 0:
        return _Inflated(_Zlib(file))
    return None


class _Inflated(io.RawIOBase):
    """A stream that is unpacked while it is read: it ends where it is damaged, and TooLong ends a bomb."""

    def __init__(self, packed: IO[bytes] | io.BufferedIOBase | _Zlib) -> None:
        self._packed = packed
        self._done = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if self._done > _MOST_INFLATED:
            raise TooLong
        try:
            content = self._packed.read(len(buffer))
        except _DAMAGED:
            return 0
        buffer[: len(content)] = content
        self._done += len(content)
        return len(content)


class _Zlib:
    """Reads a zlib stream, the only one of joblib's that the standard library opens no file of."""

    def __init__(self, file: io.BufferedReader[Any]) -> None:
        self._file = file
        self._unpacker = zlib.decompressobj()
        self._packed = b''

    def read(self, size: int) -> bytes:
        while True:
            content = self._unpacker.decompress(self._packed, size)
            self._packed = self._unpacker.unconsumed_tail
            if content or self._unpacker.eof:
                return content
            self._packed = self._packed or self._file.read(_BUFFER)
            if not self._packed:
                return b''


def _judged(names: set[Import]) -> tuple[list[str], list[str]]:
    """Return the dangerous names and those that picklescan does not know, each sorted and fit for a terminal."""
    if not names:
        return [], []
    from picklescan.scanner import SafetyLevel, scan_pickle_bytes

    logging.getLogger('picklescan').addHandler(logging.NullHandler())  # or it writes to stderr
    meanings = {name: _meanings(name) for name in names}
    asked = {
        one
        for meant in meanings.values()
        for one in meant
        if _PLAIN.fullmatch(one.module) and _PLAIN.fullmatch(one.name)
    }
    # A pickle that does nothing but import them, so that picklescan is asked by its front door.
    pickle = b''.join(f'c{name.module}\n{name.name}\n'.encode() for name in asked) + b'.'
    judged = {
        (one.module, one.name): one.safety for one in scan_pickle_bytes(io.BytesIO(pickle), 'names').globals
    }
    dangerous = {
        name
        for name, meant in meanings.items()
        if any(judged.get(one) == SafetyLevel.Dangerous for one in meant)
    }
    others = {name for name in names - dangerous if judged.get(name) != SafetyLevel.Innocuous}
    return _shown(dangerous), _shown(others)


def _meanings(name: Import) -> set[Import]:
    """Return what else an import may reach: pickle walks the dots of a name, so ``logging`` ``os.system`` is ``os`` ``system``."""
    parts = name.name.split('.')
    reached = {name}
    for at in range(1, len(parts)):
        rest = '.'.join(parts[at:])
        inner = {'.'.join(parts[start:at]) for start in range(max(at - _DEEPEST, 0), at)}
        outer = '.'.join([name.module, *parts[:at]])
        reached |= {Import(module, rest) for module in {*inner, outer}}
    return reached


def _shown(names: set[Import]) -> list[str]:
    texts = sorted(f'{name.module}.{name.name}' for name in names)
    return [text if len(text) <= _LONGEST_SHOWN else f'{text[:_LONGEST_SHOWN]}…' for text in texts]
