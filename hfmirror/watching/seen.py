"""What was seen of a result while it was written: since when is it quiet, and what is held of it should it be removed?

A result is taken when it is whole and nothing of it has changed for a while. A training may remove it before that, to make
room for the next one; so links to its files are made as soon as it is whole, in ``.hfmirror/watch`` of the watched folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from hfmirror import durable, finished
from hfmirror.config.places import Home
from hfmirror.finished import Look
from hfmirror.spool import BESIDE

Stamps = Mapping[str, tuple[int, int, int]]  # by path: inode, size, mtime in ns

SHARE = 10  # of the time that a look takes is waited until the next one
_HALF = '.'  # before the name of what is only being linked

OWN = '.'  # what the watched folder itself holds, besides its checkpoints


def stamps_of(
    folder: Path, *, skip: Callable[[str], bool] = lambda name: False
) -> dict[str, tuple[int, int, int]]:
    """Return the stamps of all files below ``folder``, without what is called as ``skip`` says; what vanishes is left out."""
    found, open_ = dict[str, tuple[int, int, int]](), [('', str(folder))]
    while open_:
        inner, path = open_.pop()
        with suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                if entry.name == BESIDE or skip(entry.name):
                    continue
                with suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        open_.append((f'{inner}{entry.name}/', entry.path))
                        continue
                    stat = entry.stat()
                    found[inner + entry.name] = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
    return found


def digest(stamps: Stamps) -> str:
    return hashlib.sha256(json.dumps(sorted(stamps.items())).encode()).hexdigest()[:32]


class Seen:
    """One result that was not taken yet. ``since`` is when it last changed, on the clock that ``see`` is given."""

    def __init__(self, path: Path, stage: Path | None = None) -> None:
        self.path, self.stage = path, stage
        self.stamps: Stamps = {}
        self.since = 0.0
        self.look: Look | None = None  # None: not looked at since it changed
        self.is_told = False
        self._next = 0.0

    def see(self, stamps: Stamps, now_s: float) -> bool:
        """Look again; returns whether something has changed since the last time."""
        is_going = self.is_whole and stamps.items() < self.stamps.items()  # it stands for what it was
        has_changed = stamps != self.stamps and not is_going
        if has_changed:
            self.stamps, self.since, self.is_told, self.look = stamps, now_s, False, None
        if self.look is None and now_s >= self._next:
            started = time.perf_counter()
            self.look = finished.look(self.path)
            # Headers and indexes are read each time: a result that is written for minutes must not cost the training much.
            self._next = now_s + SHARE * (time.perf_counter() - started)
            if self.is_whole:
                self._hold()
        return has_changed

    @property
    def is_pending(self) -> bool:
        """Whether it will be taken as soon as it is quiet, or may be."""
        return self.look is None or self.is_whole

    @property
    def is_whole(self) -> bool:
        return self.look is not None and self.look.is_finished

    def is_settled(self, now_s: float, settle_s: float) -> bool:
        return now_s - self.since >= settle_s

    @property
    def held(self) -> Path | None:
        """The links to what it was when it was whole, None when there are none."""
        return self.stage if self.stage is not None and self.stage.is_dir() else None

    def let_go(self) -> None:
        if self.stage is None:
            return
        shutil.rmtree(self.stage, ignore_errors=True)
        for folder in (self.stage.parent, self.stage.parent.parent):
            with suppress(OSError):  # others are held in it, or there was none
                folder.rmdir()

    def _hold(self) -> None:
        """Link its files, so that they can be removed. Where that cannot be done, a result that goes too soon is lost, and told."""
        if self.stage is None:
            return
        shutil.rmtree(self.stage, ignore_errors=True)
        new = self.stage.with_name(f'{_HALF}{self.stage.name}')
        shutil.rmtree(new, ignore_errors=True)
        try:
            for name in self.stamps:
                link = new / name
                link.parent.mkdir(parents=True, exist_ok=True)
                os.link(self.path / name, link)
            new.rename(self.stage)
        except OSError:
            shutil.rmtree(new, ignore_errors=True)


def held_before(stage: Path) -> list[Seen]:
    """Return what a watch that was killed held in ``stage`` and had not taken, and whose folder has gone since then.

    What else it left there is removed.
    """
    found = []
    for path in sorted(stage.glob('*')):
        seen = Seen(stage.parent.parent / path.name, path)
        seen.stamps, seen.look = stamps_of(path), finished.look(path)
        is_gone = finished.is_checkpoint_name(path.name) and not seen.path.exists()
        if is_gone and seen.is_whole:
            found.append(seen)
        else:
            seen.let_go()
    return found


class Memory:
    """What was taken of a folder for the same place, {name: digest of its stamps}; it survives the process."""

    def __init__(self, home: Home, folder: Path, destination: Any) -> None:
        where = json.dumps([os.path.realpath(folder), destination], default=str)
        self._path = home.cache / 'watches' / f'{hashlib.sha256(where.encode()).hexdigest()[:24]}.json'
        try:
            found = json.loads(self._path.read_text('utf-8'))
            self._taken = {str(name): str(mark) for name, mark in found['taken'].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            self._taken = {}
        self._folder = folder

    def knows(self, name: str, stamps: Stamps) -> bool:
        return self._taken.get(name) == digest(stamps)

    def has(self, name: str) -> bool:
        return name in self._taken

    def keep(self, name: str, stamps: Stamps) -> None:
        """Remember that this was taken, and forget what is there no more."""
        self._taken = {
            one: mark for one, mark in self._taken.items() if one == OWN or (self._folder / one).is_dir()
        }
        self._taken[name] = digest(stamps)
        content = json.dumps({'folder': str(self._folder), 'taken': self._taken}, indent=1)
        durable.write(self._path, content.encode())


def lock_path(home: Home, folder: Path) -> Path:
    """Return the file that is locked while a folder is watched, by whatever name."""
    return (
        home.cache
        / 'watches'
        / f'{hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()[:24]}.lock'
    )
