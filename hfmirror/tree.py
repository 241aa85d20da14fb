"""Tree: what a release contains, and what lies between two releases."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple


class Entry(NamedTuple):
    """One file of a tree. ``path`` is relative to the repository, with slashes; ``size`` is in bytes.

    ``oid`` is the sha256 of the content when ``is_lfs``, else git's blob id. Two entries hold the same content
    exactly when ``(oid, is_lfs)`` are equal.
    """

    path: str
    oid: str
    size: int
    is_lfs: bool

    def same_content(self, other: Entry) -> bool:
        return (self.oid, self.is_lfs) == (other.oid, other.is_lfs)


Tree = dict[str, Entry]


class Changes(NamedTuple):
    """What turns one tree into another, each list ordered by path. ``modified`` has (old, new) pairs."""

    added: list[Entry]
    modified: list[tuple[Entry, Entry]]
    deleted: list[Entry]

    def __bool__(self) -> bool:
        return bool(self.added or self.modified or self.deleted)


def compare(old: Mapping[str, Entry], new: Mapping[str, Entry]) -> Changes:
    """Return what turns ``old`` into ``new``."""
    common = sorted(old.keys() & new.keys())
    return Changes(
        added=[new[path] for path in sorted(new.keys() - old.keys())],
        modified=[(old[path], new[path]) for path in common if not old[path].same_content(new[path])],
        deleted=[old[path] for path in sorted(old.keys() - new.keys())],
    )


def not_as(ours: Mapping[str, Entry], theirs: Mapping[str, Entry]) -> list[str]:
    """Return the paths, in order, that only one of the two has, or that differ in content or size."""
    paths = sorted(ours.keys() | theirs.keys())
    return [path for path in paths if ours.get(path) != theirs.get(path)]


def total_size(tree: Mapping[str, Entry]) -> int:
    """Return the bytes of all files of ``tree``, each path counted."""
    return sum(entry.size for entry in tree.values())


def blob_id(content: bytes) -> str:
    """Return git's id of a blob with that content (sha1 over a header and the bytes)."""
    return hashlib.sha1(b'blob %d\0' % len(content) + content, usedforsecurity=False).hexdigest()
