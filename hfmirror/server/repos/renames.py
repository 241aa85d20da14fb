"""What was a repository called before? ``renamed.json``: ``{"models/ada/old": "ada/new"}``, old names in lower case.

A name leads to the next one, which may lead on: a kill in the middle of a move breaks no way that was there before.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from hfmirror import durable


class Renames:
    """The file of old names. Changed by one at a time: the caller holds the lock."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def followed(self, kind: str, repo_id: str) -> Iterator[str]:
        """Yield the names that a repository got after this one, in their order."""
        renames, name = self._read(), repo_id
        # Each step is taken once: moved there and back again is a circle.
        while (after := renames.pop(_key(kind, name), None)) is not None:
            yield after
            name = after

    def remember(self, kind: str, old: str, new: str) -> None:
        """Let ``old`` lead to ``new``."""
        self._write({**self._read(), _key(kind, old): new})

    def forget(self, kind: str, repo_id: str) -> None:
        """Let this name lead nowhere: it is a repository's own now."""
        renames = self._read()
        if renames.pop(_key(kind, repo_id), None) is not None:
            self._write(renames)

    def forget_target(self, kind: str, repo_id: str) -> None:
        """Let no name lead to this one: its repository is gone, and another one of that name would not be meant."""
        renames = self._read()
        kept = {
            old: new
            for old, new in renames.items()
            if new.lower() != repo_id.lower() or not old.startswith(f'{kind}/')
        }
        if kept != renames:
            self._write(kept)

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_bytes())
        except (OSError, ValueError, RecursionError):
            return {}
        return (
            {old: new for old, new in found.items() if isinstance(new, str)}
            if isinstance(found, dict)
            else {}
        )

    def _write(self, renames: dict[str, str]) -> None:
        durable.write(self._path, json.dumps(renames, indent=1).encode())


def _key(kind: str, repo_id: str) -> str:
    return f'{kind}/{repo_id}'.lower()
