"""What does an archive say that it has? The newest state counts; a version's manifest is for people and other programs.

``states/00000002.json``, one line a ref, so that it can be read with grep too::

    {
     "format": 1, "number": 2, "id": "5f0c…", "repo_id": "me/bert", "repo_type": "model", "date": "2026-01-02T03:04:05Z",
     "refs": [
      "4b825d… refs/heads/main",
      "9c56cc… refs/tags/v1.0.0"
     ],
     "bundles": [
      "1024 history/9f86d0….bundle"
     ],
     "versions": {"v1.0.0": "versions/v1.0.0.json"}
    }
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from hfmirror import errors
from hfmirror.target import Target
from hfmirror.tree import Tree, total_size

FORMAT = 1
STATE_MAX = 64 * 1024 * 1024  # bytes; a hundred thousand tags are 10 MB
MANIFEST_MAX = 256 * 1024 * 1024
_STATE = re.compile(r'states/(\d{8,18})\.json')
_REF = re.compile(r'([0-9a-f]{40}|[0-9a-f]{64}) (refs/(?:heads|tags)/[^\s\x00-\x1f\x7f~^:?*\[\\]+)')
_BUNDLE = re.compile(r'(\d{1,18}) (history/([0-9a-f]{64})\.bundle)')
_VERSION = re.compile(r'versions/[^/\x00-\x1f\x7f\\]+\.json')
_NAME_MAX = 200  # bytes of a file's name that every file system takes


class Bundle(NamedTuple):
    """A git bundle of an archive: its bytes, and the sha256 that it is named after."""

    size: int
    sha256: str

    @property
    def name(self) -> str:
        return f'history/{self.sha256}.bundle'


class State(NamedTuple):
    """What a repository was after one push. ``refs`` are {full name: object}, ``versions`` {tag: its manifest's name}."""

    number: int
    id: str
    date: str  # ISO 8601, UTC
    refs: Mapping[str, str]
    bundles: tuple[Bundle, ...]
    versions: Mapping[str, str]

    @property
    def name(self) -> str:
        return name_of(self.number)


def name_of(number: int) -> str:
    return f'states/{number:08}.json'


def newest(names: Mapping[str, int]) -> int | None:
    """Return the number of the newest state among the files of an archive, None when there is none."""
    return max((int(found[1]) for name in names if (found := _STATE.fullmatch(name))), default=None)


def write_state(state: State, target: Target) -> bytes:
    """Return a state as it is written."""
    rows = {
        'format': FORMAT,
        'number': state.number,
        'id': state.id,
        'repo_id': target.repo_id,
        'repo_type': target.repo_type,
        'date': state.date,
        'refs': [f'{oid} {ref}' for ref, oid in sorted(state.refs.items())],
        'bundles': [f'{one.size} {one.name}' for one in state.bundles],
        'versions': dict(sorted(state.versions.items())),
    }
    return encoded(rows)


def encoded(rows: Mapping[str, Any]) -> bytes:
    """Return JSON with one value a line. Names that are no UTF-8 keep their bytes, as git has them."""
    return (json.dumps(rows, indent=1, ensure_ascii=False) + '\n').encode('utf-8', 'surrogateescape')


def read_state(content: bytes, number: int, what: str) -> State:
    """Return what a state says. Raises RemoteError for one that no hfmirror has written; ``what`` names it."""
    try:
        rows = json.loads(content.decode('utf-8', 'surrogateescape'))
        known = rows['format']
        if isinstance(known, int) and known > FORMAT:
            raise errors.RemoteError(f'{what}: written by a newer hfmirror. Update: pip install -U hf-mirror')
        if known != FORMAT or rows['number'] != number:
            raise ValueError(f'format {known!r}, number {rows["number"]!r}')
        return State(
            number,
            str(rows['id']),
            str(rows['date']),
            dict(_ref(line) for line in rows['refs']),
            tuple(_bundle(line) for line in rows['bundles']),
            {str(tag): _version(name) for tag, name in rows['versions'].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise errors.RemoteError(
            f'{what}: not a state of an archive ({e}). If a push was killed while it wrote that, on a file system without hard '
            'links, remove it; else restore it from a copy.'
        ) from e


def _ref(line: str) -> tuple[str, str]:
    found = _REF.fullmatch(line)
    if found is None:
        raise ValueError(f'{line[:80]!r} is no ref')
    return found[2], found[1]


def _bundle(line: str) -> Bundle:
    found = _BUNDLE.fullmatch(line)
    if found is None:
        raise ValueError(f'{line[:80]!r} is no bundle')
    return Bundle(int(found[1]), found[3])


def _version(name: str) -> str:
    if not _VERSION.fullmatch(name) or len(name) > 300:
        raise ValueError(f'{name[:80]!r} is no manifest')
    return name


def manifest_name(tag: str, mark: str = '') -> str:
    """Return the name of a version's manifest; ``mark`` tells it from another one of the same tag."""
    name = quote(tag, safe="!'()+,;=@ $&", errors='surrogateescape')
    if len(name) > _NAME_MAX:
        name = f'{name[:100]}-{hashlib.sha256(tag.encode("utf-8", "surrogateescape")).hexdigest()[:16]}'
    return f'versions/{name}{"-" if mark else ""}{mark}.json'


class Tag(NamedTuple):
    """A tag as git tells of it. ``date`` is ISO 8601."""

    name: str
    oid: str
    commit: str
    date: str
    message: str


def manifest(tag: Tag, tree: Tree, target: Target) -> bytes:
    """Return the manifest of a version: its files, each with what its content is found by.

    The same version always has the same one. ``oid`` is the sha256 of an LFS file, ``blob`` git's id of another one.
    """
    files = [
        {'path': path, 'size': entry.size, ('oid' if entry.is_lfs else 'blob'): entry.oid}
        for path, entry in sorted(tree.items())
    ]
    rows = {
        'format': FORMAT,
        'repo_id': target.repo_id,
        'repo_type': target.repo_type,
        'version': tag.name,
        'tag': tag.oid,
        'commit': tag.commit,
        'date': tag.date,
        'message': tag.message,
        'size': total_size(tree),
        'files': files,
    }
    return encoded(rows)
