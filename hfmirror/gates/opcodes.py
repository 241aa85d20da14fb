"""What would a pickle import when it is loaded? Found by following its opcodes, never by running it.

The stack is followed as Python's unpickler has it, but holds only strings; everything else is *data*, which no import can
be named by, or *made*: what a call may have returned. So bytes that are no pickle end after a few opcodes, as they would
for Python, and a name put together by other means than two strings shows: it is ``unknown``.

Big values are passed over, not read, and memory does not grow with the file.
"""

from __future__ import annotations

import pickletools
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import Enum
from io import BufferedReader
from struct import unpack
from typing import Any, NamedTuple

UNKNOWN = 'unknown'  # picklescan's own word for a name that it cannot tell; it calls that dangerous

_MOST_STEPS = 20_000_000  # opcodes; some fifteen seconds
_MOST_ON_STACK = 1_000_000
_MOST_STRINGS = 200_000  # in the memo
_LONGEST_NAME = 512  # bytes; a longer string is no name
_LARGEST = 1 << 48  # bytes; no file is larger
_PIECE = 1024 * 1024
_ESCAPE = re.compile(rb'\\(?:x([0-9a-fA-F]{2})|([0-7]{1,3}))')


class Import(NamedTuple):
    """One global that a pickle names."""

    module: str
    name: str


class TooLong(Exception):
    """The stream goes on, but is not followed further. Caught by ``pickles``."""


class _Broken(Exception):
    """The unpickler would stop here."""


class _Kind(Enum):
    """What the stack holds beside strings."""

    MARK = 0
    DATA = 1
    MADE = 2


_Value = str | _Kind


class _Op(NamedTuple):
    """``size`` is in bytes, or pickletools' negative word for how it is found; ``pops`` come after those to the mark."""

    name: str
    size: int
    to_mark: bool
    pops: int
    pushes: tuple[_Value, ...]
    is_plain: bool


_TEXTS = {
    op.name
    for op in pickletools.opcodes
    if set(op.stack_after) & {pickletools.pyunicode, pickletools.pybytes_or_str}
}
_ABOUT_NAMES = _TEXTS | {
    'GET',
    'BINGET',
    'LONG_BINGET',
    'PUT',
    'BINPUT',
    'LONG_BINPUT',
    'EXT1',
    'EXT2',
    'EXT4',
}


def _op(op: pickletools.OpcodeInfo) -> _Op:
    before = op.stack_before
    to_mark = pickletools.markobject in before
    pops = before.index(pickletools.markobject) if to_mark else len(before)
    pushes = tuple(_pushed(kind) for kind in op.stack_after)
    size = op.arg.n if op.arg else 0
    is_plain = size >= 0 and not before and op.name not in _ABOUT_NAMES
    return _Op(op.name, size, to_mark, pops, pushes, is_plain)


def _pushed(kind: pickletools.StackObject) -> _Kind:
    if kind is pickletools.markobject:
        return _Kind.MARK
    return _Kind.MADE if kind is pickletools.anyobject else _Kind.DATA


_OPS = {op.code.encode('latin-1'): _op(op) for op in pickletools.opcodes}
_COUNTS = {
    pickletools.TAKEN_FROM_ARGUMENT1: (1, '<B'),
    pickletools.TAKEN_FROM_ARGUMENT4: (4, '<i'),
    pickletools.TAKEN_FROM_ARGUMENT4U: (4, '<I'),
    pickletools.TAKEN_FROM_ARGUMENT8U: (8, '<Q'),
}


def follow(file: BufferedReader[Any], found: Callable[[Import], None]) -> None:
    """Follow the pickles that stand one after the other from where ``file`` is, and tell ``found`` of each import.

    The first byte that no pickle can have there ends it: the bytes are none, or broken, or another format has its own
    between the opcodes, as joblib does. What was found until then counts. Raises TooLong when there is more than can be
    followed.
    """
    steps = iter(range(_MOST_STEPS))
    with suppress(_Broken, ValueError):  # ValueError: a name that is no UTF-8, a number that is none
        while not _is_followed(_Machine(file, found), steps):
            pass
        raise TooLong


def _is_followed(machine: _Machine, steps: Iterator[int]) -> bool:
    """Follow one pickle; return whether the steps were used up before its end."""
    return all(not machine.step() for _ in steps)


class _Machine:
    """The unpickler's stack and memo, as far as names are concerned."""

    def __init__(self, file: BufferedReader[Any], found: Callable[[Import], None]) -> None:
        self._file, self._found = file, found
        self._stack: list[_Value] = []
        self._memo: dict[int, str] = {}
        self._memoized = 0  # by MEMOIZE, which counts; PUT says its number
        self._is_numbered = False
        self._highest = -1
        self._is_full = False
        self._special = {
            'GLOBAL': self._global,
            'INST': self._inst,
            'STACK_GLOBAL': self._stack_global,
            'MEMOIZE': self._memoize,
            'DUP': self._dup,
            'POP': self._pop_any,
            'STOP': self._change,
            **dict.fromkeys(('EXT1', 'EXT2', 'EXT4'), self._extension),
            **dict.fromkeys(('PUT', 'BINPUT', 'LONG_BINPUT'), self._put),
            **dict.fromkeys(('GET', 'BINGET', 'LONG_BINGET'), self._get),
            **dict.fromkeys(('REDUCE', 'NEWOBJ', 'NEWOBJ_EX'), self._call),
            **dict.fromkeys(('APPEND', 'APPENDS', 'SETITEM', 'SETITEMS', 'ADDITEMS'), self._fill),
            **dict.fromkeys(_TEXTS, self._text),
        }

    def step(self) -> bool:
        """Follow one opcode; return whether it was the last."""
        op = _OPS.get(self._file.read(1))
        if op is None:
            raise _Broken
        if op.is_plain:  # most of the opcodes of most pickles
            if op.size:
                self._exactly(op.size)
            self._stack += op.pushes
            if len(self._stack) > _MOST_ON_STACK:
                raise TooLong
            return False
        special = self._special.get(op.name)
        if special is not None:
            special(op)
        else:
            self._pass_over(op)
            self._change(op)
        return op.name == 'STOP'

    def _change(self, op: _Op) -> None:
        if op.to_mark:
            while self._stack_pop() is not _Kind.MARK:
                pass
        for _ in range(op.pops):
            self._pop()
        for value in op.pushes:
            self._push(value)

    def _push(self, value: _Value) -> None:
        if len(self._stack) >= _MOST_ON_STACK:
            raise TooLong
        self._stack.append(value)

    def _pop(self) -> _Value:
        value = self._stack_pop()
        if value is _Kind.MARK:
            raise _Broken
        return value

    def _stack_pop(self) -> _Value:
        if not self._stack:
            raise _Broken
        return self._stack.pop()

    # -- arguments

    def _pass_over(self, op: _Op) -> None:
        if op.size == pickletools.UP_TO_NEWLINE:
            self._line()
        elif op.size:
            self._skip(self._size(op))

    def _size(self, op: _Op) -> int:
        if op.size >= 0:
            return op.size
        width, form = _COUNTS[op.size]
        size = int(unpack(form, self._exactly(width))[0])
        if not 0 <= size < _LARGEST:
            raise _Broken
        return size

    def _skip(self, size: int) -> None:
        if size > _PIECE and self._file.seekable():
            self._file.seek(size, 1)
            return
        while size > 0:
            size -= len(self._exactly(min(size, _PIECE)))

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) < size:
            raise _Broken
        return content

    def _line(self) -> bytes:
        """Return the line up to its end, or the beginning of one that is too long for a name."""
        line = piece = self._file.readline(_PIECE)
        while piece and not piece.endswith(b'\n'):
            piece = self._file.readline(_PIECE)
        if not piece:
            raise _Broken
        return line[:-1] if piece is line else line[: _LONGEST_NAME + 1]

    # -- the opcodes that are about names

    def _text(self, op: _Op) -> None:
        if op.size == pickletools.UP_TO_NEWLINE:
            self._push(_as_name(_unescaped(op.name, self._line())))
            return
        size = self._size(op)
        if size > _LONGEST_NAME:
            self._skip(size)
            self._push(_Kind.MADE)
            return
        self._push(_as_name(self._exactly(size)))

    def _global(self, op: _Op) -> None:
        self._named(_as_name(self._line()), _as_name(self._line()))

    def _inst(self, op: _Op) -> None:
        module, name = _as_name(self._line()), _as_name(self._line())
        self._change(op._replace(pushes=()))
        self._named(module, name)

    def _stack_global(self, op: _Op) -> None:
        name, module = self._pop(), self._pop()
        self._named(module, name)

    def _named(self, module: _Value, name: _Value) -> None:
        if _Kind.DATA in (module, name):
            raise _Broken
        if self._is_full and _Kind.MADE in (module, name):
            raise TooLong
        texts = [UNKNOWN if isinstance(value, _Kind) else value for value in (module, name)]
        if not all(text.isprintable() and text and ' ' not in text for text in texts):
            raise _Broken  # there is nothing of that name to import
        self._found(Import(*texts))
        self._push(_Kind.MADE)

    def _call(self, op: _Op) -> None:
        for _ in range(op.pops - 1):
            self._pop()
        if self._pop() is not _Kind.MADE:
            raise _Broken  # what is to be called is no function
        self._push(_Kind.MADE)

    def _fill(self, op: _Op) -> None:
        """Take what goes into a container off the stack, and leave the container as it is."""
        self._change(op._replace(pops=op.pops - 1, pushes=()))
        self._push(self._pop())

    def _dup(self, op: _Op) -> None:
        self._push(self._stack[-1] if self._stack else self._pop())

    def _pop_any(self, op: _Op) -> None:
        self._stack_pop()

    def _memoize(self, op: _Op) -> None:
        self._keep(self._memoized)
        self._memoized += 1

    def _put(self, op: _Op) -> None:
        self._is_numbered = True
        self._keep(self._number(op))

    def _keep(self, number: int) -> None:
        if not self._stack:
            raise _Broken
        self._highest = max(self._highest, number)
        value = self._stack[-1]
        if isinstance(value, str):
            self._is_full = self._is_full or len(self._memo) >= _MOST_STRINGS
            if not self._is_full:
                self._memo[number] = value
        else:
            self._memo.pop(number, None)

    def _get(self, op: _Op) -> None:
        number = self._number(op)
        if self._is_numbered and self._memoized:
            self._push(_Kind.MADE)  # no pickler uses both, and their numbers run into each other
        elif 0 <= number <= self._highest:
            self._push(self._memo.get(number, _Kind.MADE))
        else:
            raise _Broken

    def _extension(self, op: _Op) -> None:
        raise _Broken  # a number that the loading program would have had to register

    def _number(self, op: _Op) -> int:
        if op.size == pickletools.UP_TO_NEWLINE:
            return int(self._line())
        return int.from_bytes(self._exactly(op.size), 'little')


def _as_name(content: bytes) -> _Value:
    text = content.decode('utf-8', 'surrogateescape')
    if len(content) <= _LONGEST_NAME:
        return text
    return _Kind.MADE if text.isprintable() else _Kind.DATA


def _unescaped(kind: str, line: bytes) -> bytes:
    """Return the text of a line as the two opcodes of the oldest protocol mean it; raises ValueError."""
    if kind == 'UNICODE':
        return line.decode('raw-unicode-escape').encode('utf-8', 'surrogatepass')
    return _ESCAPE.sub(_byte, line.strip(b'"\''))


def _byte(escape: re.Match[bytes]) -> bytes:
    return bytes([int(escape[1], 16) if escape[1] else int(escape[2], 8) & 255])
