"""What is a commit made of, as clients send it? A header and operations, one JSON object a line (NDJSON)::

    {"key": "header", "value": {"summary": "…", "description": "…", "parentCommit": "…"}}
    {"key": "file", "value": {"path": "a.txt", "content": "aGk=", "encoding": "base64"}}
    {"key": "lfsFile", "value": {"path": "b.bin", "algo": "sha256", "oid": "…", "size": 12}}
    {"key": "deletedFile", "value": {"path": "c.txt"}}

The body may be hundreds of megabytes, so it is read as it comes: what is kept of a file is the id of its blob.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hfmirror.server.answers import Problem, bad_request, too_large
from hfmirror.server.commits.draft import Kind
from hfmirror.server.names import checked_path
from hfmirror.server.requests import JSON_STRING, parse_object, text

TOTAL_MAX = 1024 * 1024 * 1024  # bytes of a body
LINES_MAX = 25_000
_MESSAGE_MAX = 100_000  # characters of summary and description
_SIZE_MAX = 10**15  # bytes of an LFS object; beyond any limit, and short enough to be written down

_BRIEF = 64 * 1024  # bytes; a shorter line is small in memory however it is made
_STRINGS_MAX = 100  # in a longer line
_COMMIT = re.compile(r'[0-9a-f]{40}')
_OID = re.compile(r'[0-9a-f]{64}')
_DELETIONS: dict[str, Kind] = {'deletedFile': 'file', 'deletedFolder': 'folder', 'deletedEntry': 'entry'}


class Header(NamedTuple):
    """What the commit says, and the head it was made for, None for any."""

    summary: str
    description: str = ''
    parent: str | None = None

    @property
    def message(self) -> str:
        return f'{self.summary}\n\n{self.description}'.strip()


class Put(NamedTuple):
    """A file with the content of ``blob``; what was at ``old_path`` goes."""

    path: str
    blob: str
    old_path: str | None = None


class PutLfs(NamedTuple):
    """A file whose content is an LFS object; ``size`` in bytes is None when the client does not know it."""

    path: str
    oid: str
    size: int | None
    old_path: str | None = None


class Delete(NamedTuple):
    """A file, a folder, or whichever it is, goes."""

    path: str
    kind: Kind


Operation = Put | PutLfs | Delete


class Commit(NamedTuple):
    """A whole commit as it was sent."""

    header: Header
    operations: list[Operation]


class Reader:
    """The lines of a body as they come. ``keep(path, content)`` stores a file's content and returns its blob's id."""

    def __init__(self, keep: Callable[[str, bytes], str], *, plain_max: int) -> None:
        self._keep = keep
        # Twice the largest file in base64: one a little too large is still named in the answer.
        self._line_max = 3 * plain_max + _BRIEF
        self._rest, self._seen = bytearray(), 0
        self._size = self._lines = 0
        self._header: Header | None = None
        self._operations: list[Operation] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises Problem for what is no commit, or too much."""
        self._size += len(data)
        if self._size > TOTAL_MAX:
            raise too_large('The commit', TOTAL_MAX)
        self._rest += data
        while (end := self._rest.find(b'\n', self._seen)) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            self._seen = 0
            self._line(line)
        self._seen = len(self._rest)
        if self._seen > self._line_max:
            raise too_large('A line of the commit', self._line_max)

    def finish(self) -> Commit:
        """Return the commit. Raises Problem 400 when it has no header."""
        self._line(bytes(self._rest))  # JavaScript clients do not end the last line
        self._rest.clear()
        if self._header is None:
            raise bad_request('The commit has no header.')
        return Commit(self._header, self._operations)

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        self._lines += 1
        if self._lines > LINES_MAX:
            raise Problem(413, f'A commit has at most {LINES_MAX} operations.')
        if len(line) > self._line_max:
            raise too_large('A line of the commit', self._line_max)
        key, value = _entry(line)
        if key == 'header':
            if self._header is not None:
                raise bad_request('The commit has two headers.')
            self._header = _header(value)
            return
        if self._header is None:
            raise bad_request('The first line of a commit is its header.')
        self._operations.append(_operation(key, value, self._keep))


def from_document(document: Mapping[str, Any], keep: Callable[[str, bytes], str]) -> Commit:
    """Return the commit of an older client, which sends it as one JSON document: header, files, lfsFiles, deletedEntries."""
    header = _header(document)
    operations = [
        _operation(key, value, keep)
        for name, key in (('deletedEntries', 'deletedEntry'), ('files', 'file'), ('lfsFiles', 'lfsFile'))
        for value in _objects(document, name)
    ]
    if len(operations) > LINES_MAX:
        raise Problem(413, f'A commit has at most {LINES_MAX} operations.')
    return Commit(header, operations)


def _objects(document: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    values = document.get(name)
    if values is None:
        return []
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise bad_request(f'"{name}" must be a list of objects.')
    return values


def _entry(line: bytes) -> tuple[str, dict[str, Any]]:
    if len(line) > _BRIEF:
        _refuse_many_parts(line)
    entry = parse_object(line)
    value = entry.get('value')
    if not isinstance(value, dict):
        raise bad_request('Each line of a commit is an object with "key" and "value".')
    return text(entry, 'key'), value


def _refuse_many_parts(line: bytes) -> None:
    """Raise Problem 400 unless strings are nearly all of the line: a megabyte of ``{},{},`` would be a hundred in memory."""
    other = len(line)
    for number, string in enumerate(JSON_STRING.finditer(line)):
        if number == _STRINGS_MAX:
            break
        other -= string.end() - string.start()
    if other > _BRIEF:
        raise bad_request('A line of the commit has too many parts.')


def _header(value: Mapping[str, Any]) -> Header:
    summary = text(value, 'summary').strip()
    header = Header(summary, text(value, 'description', ''), _parent(value.get('parentCommit')))
    if not summary:
        raise bad_request('"summary" is empty: a commit needs a message.')
    checked_message(header.message)
    return header


def checked_message(message: str) -> str:
    """Return the message for a commit. Raises Problem 400 for one that is too long, or that git cannot hold."""
    if len(message) > _MESSAGE_MAX or '\0' in message:
        raise bad_request(f'The message of a commit has at most {_MESSAGE_MAX} characters, and no NUL.')
    return message


def _parent(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        raise bad_request('"parentCommit" must be a whole commit id of 40 hex digits.')
    return value


def _operation(key: str, value: Mapping[str, Any], keep: Callable[[str, bytes], str]) -> Operation:
    if key in _DELETIONS:
        path = text(value, 'path')
        return Delete(checked_path(path.removesuffix('/') or path), _DELETIONS[key])
    path = checked_path(text(value, 'path'))
    old_path = checked_path(text(value, 'oldPath')) if value.get('oldPath') is not None else None
    if key == 'lfsFile':
        return PutLfs(path, *_object(value, path), old_path)
    if key == 'file':
        return Put(path, keep(path, _content(value, path)), old_path)
    raise bad_request(f'Unknown operation: {key[:100]!r}')


def _object(value: Mapping[str, Any], path: str) -> tuple[str, int | None]:
    """Return oid and size of an LFS object."""
    if text(value, 'algo', 'sha256') != 'sha256':
        raise bad_request(f'{path}: LFS objects are named by their sha256.')
    oid, size = text(value, 'oid'), value.get('size')
    if not _OID.fullmatch(oid):
        raise bad_request(f'{path}: the oid of an LFS object has 64 hex digits.')
    if size is not None and (
        not isinstance(size, int) or isinstance(size, bool) or not 0 <= size < _SIZE_MAX
    ):
        raise bad_request(f'{path}: the size of an LFS object is a natural number.')
    return oid, size


def _content(value: Mapping[str, Any], path: str) -> bytes:
    encoding, content = text(value, 'encoding', 'utf-8'), text(value, 'content')
    if encoding == 'utf-8':
        return content.encode()
    if encoding != 'base64':
        raise bad_request(f'{path}: unknown encoding {encoding[:50]!r}; expected base64 or utf-8.')
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as e:
        raise bad_request(f'{path}: the content is not base64.') from e
