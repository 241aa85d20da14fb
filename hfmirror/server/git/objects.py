"""What do git's commits and trees hold, and how large may they be?

They are read whole, by git and by the Hub, so a push of one that is larger is refused, and of one that came by another way
no more is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

COMMIT_MAX = 1024 * 1024  # bytes of a commit or an annotated tag
TREE_MAX = 32 * 1024 * 1024  # bytes of a folder's names, of half a million files
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799  # of the years 1 and 9999
# One text for all entries of a mode.
_MODES = {mode.encode(): mode for mode in ('100644', '100755', '40000', '120000', '160000')}
_OID = re.compile(rb'[0-9a-f]{40}')
# Of the encodings that commits were written in; some others that Python knows take a time that grows with the square.
_ENCODINGS = re.compile(
    r'(?i)(?:iso-?8859-|latin-?|windows-|cp-?)\d+|koi8-[ru]|euc-(?:jp|kr)|gbk|gb18030|big5'
)


class Node(NamedTuple):
    """One entry of a tree: ``mode`` as git has it, ``40000`` for a folder, ``120000`` for a symbolic link."""

    name: str
    mode: str
    oid: str

    @property
    def is_folder(self) -> bool:
        return self.mode == '40000'

    @property
    def is_submodule(self) -> bool:
        return self.mode == '160000'


class Commit(NamedTuple):
    """A commit; ``date`` is the committer's, ``message`` all of its text."""

    oid: str
    parents: tuple[str, ...]
    author: str
    email: str
    date: datetime
    message: str

    @property
    def title(self) -> str:
        return self.message.partition('\n')[0]

    @property
    def body(self) -> str:
        return self.message.partition('\n')[2].strip('\n')


def parse_commit(oid: str, content: bytes) -> Commit:
    """Return the commit of a commit object, or of its beginning; what it does not say is empty."""
    head, _, text = content.partition(b'\n\n')
    lines = [line.partition(b' ')[::2] for line in head.split(b'\n')]
    values = dict(reversed(lines))  # the first of each name
    parents = [value.decode() for name, value in lines if name == b'parent' and _OID.fullmatch(value)]
    encoding = values.get(b'encoding', b'').decode('latin-1')
    name, email, _ = _person(values.get(b'author', b''))
    return Commit(
        oid,
        tuple(parents),
        _decoded(name, encoding),
        _decoded(email, encoding),
        moment(_person(values.get(b'committer', b''))[2]),
        _decoded(text, encoding).strip('\n'),
    )


def _person(line: bytes) -> tuple[bytes, bytes, str]:
    """Return name, email and seconds of ``Ada <ada@example.org> 1700000000 +0100``."""
    name, _, rest = line.partition(b'<')
    email, _, _ = rest.partition(b'>')
    words = rest.rpartition(b'>')[2].split(maxsplit=1)
    return name.strip(), email.strip(), words[0].decode('latin-1') if words and len(words[0]) <= 12 else ''


def _decoded(raw: bytes, encoding: str) -> str:
    try:
        return raw.decode(encoding if _ENCODINGS.fullmatch(encoding) else 'utf-8', 'surrogateescape')
    except LookupError:
        return raw.decode('utf-8', 'surrogateescape')


def parse_tree(content: bytes) -> Iterator[Node]:
    """Yield the entries of a tree object: mode, space, name, NUL, 20 bytes of id."""
    for mode, name, oid in re.findall(rb'([0-7]+) ([^\0]+)\0(.{20})', content, re.DOTALL):
        yield Node(name.decode('utf-8', 'surrogateescape'), _MODES.get(mode) or mode.decode(), oid.hex())


def moment(seconds: str) -> datetime:
    """Return the date of a commit; one beyond the years 1 to 9999 becomes the nearest there is."""
    number = int(seconds) if seconds.isascii() and seconds.lstrip('-').isdigit() else 0
    return datetime.fromtimestamp(max(_FIRST_SECOND, min(number, _LAST_SECOND)), UTC)
