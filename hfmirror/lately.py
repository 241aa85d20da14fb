"""Which releases were made lately of which folder, from this machine? Without these lines one may be made once more.

In the cache, a file for each folder and a line for each release::

    lately/<digest of the folder's path>.jsonl    [1769860800.1, ["hub", …], "v0.1.0", "3f9c…", 90900000, 12]
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror.config.places import Home
from hfmirror.outcome import Release
from hfmirror.target import Target

_SIZE_MAX = 1024 * 1024  # bytes of one folder's lines; then they begin anew


class Made(NamedTuple):
    """One release of a folder. ``at`` is a time of the epoch, ``size`` in bytes."""

    at: float
    target: Target
    version: str | None
    commit: str
    size: int
    files: int


def note(folder: Path, releases: Iterable[Release], home: Home, *, now_s: float) -> None:
    """Take down what was released of a folder, or waits in the outbox. Raises nothing: it can be done without."""
    rows = [
        Made(now_s, one.target, one.version, one.commit, one.size, one.files)
        for one in releases
        if one.commit is not None
    ]
    path = _path(folder, home)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        is_long = path.exists() and path.stat().st_size > _SIZE_MAX
        # One write a call, so that the lines of two processes do not mix.
        with path.open('wb' if is_long else 'ab', buffering=0) as file:
            file.write(b''.join(json.dumps(row).encode() + b'\n' for row in rows))


def made(folder: Path, home: Home, *, since_s: float) -> list[Made]:
    """Return what was released of a folder since then, oldest first."""
    try:
        lines = _path(folder, home).read_bytes().splitlines()
    except OSError:
        return []
    found = [row for line in lines if (row := _row(line))]
    return sorted((row for row in found if row.at >= since_s), key=lambda row: row.at)


def _row(line: bytes) -> Made | None:
    """Return what a line says, None for one that a kill has cut."""
    try:
        at, target, *more = json.loads(line)
        fields: list[Any] = [float(at), Target(*target), *more]
        return Made(*fields)
    except (ValueError, TypeError, RecursionError):
        return None


def _path(folder: Path, home: Home) -> Path:
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return home.cache / 'lately' / f'{digest[:24]}.jsonl'
