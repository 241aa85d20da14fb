"""Which events could not be told to the webhook yet? Each waits on disk until somebody who may tell it comes by.

On disk, beside the outbox, one file an event, for its owner only::

    notices/<id>.json    {"format": 1, "project": "/home/me/project", "attempts": 1, "error": "…", "event": {…}}

The address is not in it, since it may hold a secret: who tells the event uses the one that is configured then, and tells only
what is of the same project, the working directory. What is older than two weeks, or more than a thousand, is dropped.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import durable, outbox
from hfmirror.config.places import Home

Event = dict[str, Any]

_FORMAT = 1
_MOST = 1000
_AGE_S = 14 * 24 * 3600
_SIZE_MAX = 64 * 1024  # bytes of one


class Notice(NamedTuple):
    """An event that waits. ``project`` is the working directory of the command that it is of."""

    path: Path
    project: str
    event: Event
    attempts: int = 0
    error: str | None = None

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def since_s(self) -> float:
        """When it happened, as a time of the epoch."""
        return int(self.id.partition('-')[0]) / 1e9


class Notices:
    """The events that wait, oldest first."""

    def __init__(self, home: Home) -> None:
        self.root = home.outbox / 'notices'

    def keep(self, event: Event) -> Notice:
        """Keep an event, which gets an ``id``. When this returns it survives a power cut. Raises OSError."""
        notice = self.unkept(event)
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._write(notice)
        return notice

    def unkept(self, event: Event) -> Notice:
        """Return an event as one that waits, without writing it."""
        name = outbox.new_id()
        return Notice(self.root / f'{name}.json', str(Path.cwd()), {'id': name, **event})

    def failed(self, notice: Notice, why: str) -> None:
        """Write down why an event could not be told; it goes on waiting."""
        with suppress(OSError):  # then it waits as it was, or was told meanwhile
            if notice.path.exists():
                self._write(notice._replace(attempts=notice.attempts + 1, error=why))

    def _write(self, notice: Notice) -> None:
        fields = {'format': _FORMAT, **notice._asdict()}
        del fields['path']
        durable.write(notice.path, json.dumps(fields, allow_nan=False).encode())

    def remove(self, notice: Notice) -> None:
        """Forget an event."""
        with suppress(OSError):
            notice.path.unlink(missing_ok=True)

    def waiting(self) -> list[Notice]:
        """Return what waits, oldest first."""
        found = [notice for path in sorted(self.root.glob('[0-9]*.json')) if (notice := _load(path))]
        return [notice for notice in found[-_MOST:] if notice.since_s > time.time() - _AGE_S]

    def tidy(self) -> int:
        """Remove what is too old, too much or broken, and what killed writers left; returns how many events are lost by that."""
        kept, lost = {notice.path for notice in self.waiting()}, 0
        for path in self.root.glob('[0-9]*.json'):
            if path not in kept:
                with suppress(OSError):
                    path.unlink()
                    lost += 1
        for path in self.root.glob('.*.tmp'):
            with suppress(OSError):
                if path.stat().st_mtime < time.time() - 3600:
                    path.unlink()
        return lost

    @contextmanager
    def claimed(self) -> Iterator[bool]:
        """Yield whether what waits is ours to tell: another command may be doing that."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.root / '.lock')
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire(timeout=0)
        except (Timeout, OSError):
            yield False
            return
        try:
            yield True
        finally:
            lock.release()


def _load(path: Path) -> Notice | None:
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, 'O_NOFOLLOW', 0))
        with open(handle, 'rb') as file:
            found = json.loads(file.read(_SIZE_MAX + 1))
        if found['format'] != _FORMAT or not isinstance(found['event'], dict):
            return None
        error = found['error'] if isinstance(found['error'], str) else None
        notice = Notice(path, str(found['project']), found['event'], int(found['attempts']), error)
        return notice if notice.since_s else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
