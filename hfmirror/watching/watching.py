"""How does what a training writes become releases while it goes on? Looked at, taken when it is whole and quiet, released.

What is taken lies in the spool, so that neither the training nor a kill can take it away again; what was taken is remembered, so
that the next watch of the same folder goes on where this one ended.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import Empty
from typing import NamedTuple

from filelock import FileLock, Timeout

from hfmirror import errors, finished, output
from hfmirror.config.places import Home
from hfmirror.finished import Checkpoint, Look
from hfmirror.outcome import disk_failure
from hfmirror.sender import LOCK
from hfmirror.spool import BESIDE, Part, Result, Save, Spool
from hfmirror.watching.releasing import Releasing
from hfmirror.watching.seen import OWN, SHARE, Memory, Seen, Stamps, held_before, lock_path, stamps_of
from hfmirror.watching.ticks import Stop, ticks

_INTERVAL_S = 1.0
_NOT_THE_MODEL = ('checkpoint-*/', 'tmp-checkpoint-*/')


@dataclass(frozen=True)
class Wanted:
    """What is watched, and what becomes of it. ``save`` says where to; ``folder`` is absolute.

    ``tag`` names a checkpoint by its ``{step}``, ``final_tag`` the model at the end; None: as the configuration has it.
    """

    folder: Path
    save: Save
    tag: str = 'step-{step}'
    final_tag: str | None = None
    settle_s: float = 5.0
    until_idle_s: float | None = None
    poll: bool = False


class Candidate(NamedTuple):
    """A result there is in the folder, and what would become of it: ``state`` is new, taken or unfinished."""

    name: str
    tag: str | None
    state: str
    look: Look


class Watched(NamedTuple):
    """What came of it: one result for each save, in the order they were released; ``waiting``: saves that were not tried.

    ``refused``: what could not be taken, and why.
    """

    results: list[Result]
    waiting: list[Save]
    refused: list[tuple[Save, str]]


def watch(
    wanted: Wanted,
    home: Home,
    stop: Stop,
    *,
    resend: Callable[[], bool],
    tell: Callable[[Result], None],
) -> Watched:
    """Release what becomes finished in a folder, until it is idle or ``stop`` is set; returns what came of it.

    ``resend`` sends what waits in the outbox and returns whether all has gone; ``tell`` gets every result that is new.
    Raises ConflictError when the folder is watched already, NotFoundError when it has not appeared until it counts as idle.
    """
    with _alone(wanted.folder, home):
        watching = _Watching(wanted, home, Releasing(home, resend), tell)
        interval_s = min(_INTERVAL_S, max(wanted.settle_s / 2, 0.05))
        for _ in ticks(wanted.folder, stop, interval_s=interval_s, poll=wanted.poll):
            watching.step()
            if watching.is_idle:
                break
        watching.end(interval_s, at_once=stop.is_set(), hurried=stop.signal == signal.SIGINT)
        return Watched(list(watching.results.values()), watching.waiting(), watching.refused())


def candidates(wanted: Wanted, home: Home) -> list[Candidate]:
    """Return what there is in the folder now, in the order in which it would be released; nothing is changed."""
    memory = _memory(wanted, home)
    found = finished.checkpoints(wanted.folder)
    rows: list[tuple[str, str | None, Path]] = []
    rows += [(one.path.name, wanted.tag.replace('{step}', str(one.step)), one.path) for one in found]
    own = finished.look(wanted.folder)
    if own.kind is not None and (not found or _is_final(wanted.folder, found)):
        rows.append((OWN, wanted.final_tag, wanted.folder))
    made = []
    for name, tag, path in rows:
        look = finished.look(path)
        state = 'taken' if memory.knows(name, _stamps(name, path)) else 'new'
        made.append(Candidate(name, tag, state if look.is_finished else 'unfinished', look))
    return made


@contextmanager
def _alone(folder: Path, home: Home) -> Iterator[None]:
    path = lock_path(home, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise errors.ConflictError(
            f'{folder}: another hfmirror watches it already. Stop that one first, or name both remotes in one watch.'
        ) from None
    try:
        yield
    finally:
        lock.release()


def _memory(wanted: Wanted, home: Home) -> Memory:
    save = wanted.save
    where = [save.repo, save.repo_type, save.branch, sorted(save.remotes), save.path_in_repo, wanted.tag]
    return Memory(home, wanted.folder, where)


def _stamps(name: str, path: Path) -> dict[str, tuple[int, int, int]]:
    """Return the stamps that tell one state of a result from the next: of the folder itself only what makes it a result.

    A log that grows there is no new model.
    """
    if name != OWN:
        return stamps_of(path)
    found = stamps_of(path, skip=finished.is_checkpoint_name)
    return {name: stamp for name, stamp in found.items() if finished.is_part_of_result(name)}


def _is_final(folder: Path, checkpoints: list[Checkpoint]) -> bool:
    """Return whether the model in the folder itself was written after its checkpoints, and is not that of a training before."""
    own = [stamp[2] for stamp in _stamps(OWN, folder).values()]
    last = [stamp[2] for one in checkpoints[-1:] for stamp in stamps_of(one.path).values()]
    return max(own, default=0) >= max(last, default=0)


class _Watching:
    def __init__(
        self, wanted: Wanted, home: Home, releasing: Releasing, tell: Callable[[Result], None]
    ) -> None:
        self.wanted, self.results = wanted, dict[str, Result]()
        self._home, self._spool, self._releasing, self._tell = home, Spool(home), releasing, tell
        self._memory = _memory(wanted, home)
        self._seen: dict[str, Seen] = {}
        self._taken: dict[str, Stamps] = {}
        self._told: dict[str, str] = {}
        self._refused: dict[str, str] = {}
        self._changed = time.monotonic()
        self._everything: Stamps = {}
        self._next_note = 0.0
        self._appeared = wanted.folder.is_dir()
        if not self._appeared:
            output.say(f'{wanted.folder}: not there yet; waiting for it')
        self._stage = wanted.folder / BESIDE / 'watch'
        for seen in held_before(self._stage):
            if self._memory.has(seen.path.name):
                seen.let_go()
            else:
                self._seen[seen.path.name] = seen
        if self.waiting():
            releasing.wake()  # what a watch before this one has taken

    @property
    def is_idle(self) -> bool:
        """Whether nothing new has come for as long as was asked for, and nothing is on its way."""
        limit = self.wanted.until_idle_s
        if limit is None or time.monotonic() - self._changed < limit:
            return False
        if not self._appeared:
            raise errors.NotFoundError(
                f'{self.wanted.folder}: did not appear in {limit:g} s. Is it the output directory of the training?'
            )
        return not self._pending()

    def _pending(self) -> bool:
        return any(seen.is_pending and name not in self._refused for name, seen in self._seen.items())

    def refused(self) -> list[tuple[Save, str]]:
        """Return what was finished and could not be taken, and why."""
        left = [(name, seen) for name, seen in self._seen.items() if name in self._refused]
        return [(self._save(name, seen.path), self._refused[name]) for name, seen in left]

    def waiting(self) -> list[Save]:
        """Return what was taken of this folder and is not released."""
        return [save for save in self._spool.saves() if self._is_ours(save)]

    def _is_ours(self, save: Save) -> bool:
        folder = Path(save.folder)
        return self.wanted.folder in (folder, folder.parent)

    def step(self, *, final: bool = False) -> None:
        """Look once, take what is ready, and tell what was released meanwhile."""
        if self._releasing.failure is not None:
            raise self._releasing.failure
        self._collect()
        now = time.monotonic()
        found = finished.checkpoints(self.wanted.folder)
        self._appeared = self._appeared or self.wanted.folder.is_dir()
        for one in found:
            self._look(one.path.name, one.path, now)
        self._look_at_own(found, now, final=final)
        self._note_change(found, now)
        names = {one.path.name for one in found} | {OWN}
        for name in sorted(self._seen, key=lambda name: (name == OWN, finished.step_of(name) or 0, name)):
            self._settle(name, self._seen[name], now, is_gone=name not in names)

    def end(self, interval_s: float, *, at_once: bool, hurried: bool) -> None:
        """Take what is whole once it is quiet, the final model too, and have it released.

        ``at_once``: only the release that is under way is waited for; the others wait on the disk. ``hurried``: what is not
        quiet yet is left.
        """
        deadline = time.monotonic() + (0 if hurried else 2 * self.wanted.settle_s + 1)
        self.step(final=not hurried)
        while self._pending() and time.monotonic() < deadline:
            time.sleep(interval_s)
            self.step(final=True)
        for name, seen in self._seen.items():
            if name not in self._refused:
                quiet = f'{seen.path}: was not quiet for {self.wanted.settle_s:g} s.'
                why = quiet if seen.is_pending or seen.look is None else seen.look.reason
                self._say_once(name, f'{why} It was not released.')
            seen.let_go()
        self._releasing.end(at_once=at_once)
        if self._releasing.failure is not None:
            raise self._releasing.failure
        self._collect()

    def _look(self, name: str, path: Path, now_s: float) -> None:
        stamps = _stamps(name, path)
        if not stamps:
            return  # it is just being made, or removed
        if self._memory.knows(name, stamps):
            self._forget(name)
            return
        if stamps.items() < self._taken.get(name, {}).items():
            return  # it is being removed, and was taken
        if name not in self._seen:
            if self._memory.has(name) and not self._withdraw(path):
                return
            self._seen[name] = Seen(path, None if name == OWN else self._stage / name)
        if self._seen[name].see(stamps, now_s):
            self._changed = now_s

    def _look_at_own(self, found: list[Checkpoint], now_s: float, *, final: bool) -> None:
        """Look at the folder itself: at the end, or where there are no checkpoints at all; its newest state only."""
        has_checkpoints = bool(found) or any(name != OWN for name in self._seen)
        if has_checkpoints and not (final and _is_final(self.wanted.folder, found)):
            self._forget(OWN)
        elif final or not self._releasing.is_busy:
            self._look(OWN, self.wanted.folder, now_s)

    def _note_change(self, found: list[Checkpoint], now_s: float) -> None:
        """Note whether anything was written, so that the folder is not idle: a log that grows is a training that goes on."""
        if self.wanted.until_idle_s is None or now_s < self._next_note:
            return
        started = time.perf_counter()
        everything = stamps_of(self.wanted.folder, skip=finished.is_checkpoint_name)
        everything |= {one.path.name: (0, 0, 0) for one in found}
        if everything != self._everything:
            self._everything, self._changed = everything, now_s
        # A hundred thousand files in it must not cost the training much.
        self._next_note = now_s + SHARE * (time.perf_counter() - started)

    def _settle(self, name: str, seen: Seen, now_s: float, *, is_gone: bool) -> None:
        if is_gone:
            if seen.is_whole and seen.held is not None:
                self._take(name, seen)
                return
            if seen.is_whole:
                output.warn(
                    f'{seen.path}: was removed before it could be taken. A shorter --settle takes it earlier.'
                )
            self._forget(name)
        elif seen.is_settled(now_s, self.wanted.settle_s):
            if seen.is_whole:
                self._take(name, seen)
            elif name != OWN and seen.look is not None and not seen.is_told:
                seen.is_told = True
                self._say_once(name, f'{seen.look.reason} It is released when it is whole.')

    def _take(self, name: str, seen: Seen) -> None:
        """Put a result into the spool. When that cannot be, it is tried again at the next look."""
        save = self._save(name, seen.path)
        part = Part(seen.held or seen.path, exclude=_NOT_THE_MODEL if name == OWN else ())
        try:
            if not any((one.folder, one.tag) == (save.folder, save.tag) for one in self.waiting()):
                self._spool.put(save, [part], copies=name == OWN)
            self._memory.keep(name, stamps := _stamps(name, seen.path) or seen.stamps)
        except (errors.HfmirrorError, OSError) as e:
            self._refused[name] = why = str(disk_failure(e) if isinstance(e, OSError) else e)
            self._say_once(name, why, warn=True)
            return
        self._taken = {one: old for one, old in self._taken.items() if self._memory.has(one)} | {name: stamps}
        self._forget(name)
        self._changed = time.monotonic()
        output.detail(f'{seen.path}: taken as {save.name}')
        self._releasing.wake()

    def _save(self, name: str, path: Path) -> Save:
        folder = str(self.wanted.folder)
        if name == OWN:
            return replace(
                self.wanted.save, folder=folder, code=folder, tag=self.wanted.final_tag, series=None
            )
        tag = self.wanted.tag.replace('{step}', str(finished.step_of(name)))
        return replace(self.wanted.save, folder=str(path), code=folder, tag=tag, series=self.wanted.tag)

    def _withdraw(self, path: Path) -> bool:
        """Take back a save whose folder was written again before it was released; returns whether none is being sent."""
        waiting = [save for save in self.waiting() if save.folder == str(path)]
        if not waiting:
            return True
        lock = FileLock(self._spool.root / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return False
        try:
            for save in waiting:
                self._spool.drop(save.id)
        finally:
            lock.release()
        return True

    def _forget(self, name: str) -> None:
        self._refused.pop(name, None)
        seen = self._seen.pop(name, None)
        if seen is not None:
            seen.let_go()

    def _collect(self) -> None:
        while True:
            try:
                result = self._releasing.results.get_nowait()
            except Empty:
                return
            self._spool.result(result.save)  # read
            if not self._is_ours(result.save):
                output.detail(f'{result.save.folder}: {result.save.name}: {result.status}')
                continue
            before = self.results.get(result.save.id)
            self.results[result.save.id] = result
            if before is None or (before.status, before.error) != (result.status, result.error):
                self._tell(result)

    def _say_once(self, name: str, text: str, *, warn: bool = False) -> None:
        if text and self._told.get(name) != text:
            self._told[name] = text
            (output.warn if warn else output.say)(text)
