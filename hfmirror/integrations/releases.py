"""What becomes of the saves of one training? Handed over in order, released by a process of its own, looked after until the end.

The training waits for none of them: what is handed over is linked, or copied when the same files are written again, and a
process that outlives the training releases it. Nothing that fails here is raised into a training, unless it wants that.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from hfmirror import errors, outbox, output, sender
from hfmirror.auth import Token
from hfmirror.config.places import home
from hfmirror.gitcmd import redact
from hfmirror.output import count
from hfmirror.spool import Part, Result, Save, Spool

if TYPE_CHECKING:
    import subprocess

_LOOK_EVERY_S = 2.0  # while the training goes on
_SHARE = 100  # a look at much that waits, on a slow disk, costs a hundredth of the time
_POLL_S = 0.2  # at its end
_SAY_EVERY_S = 30.0
_LEAVE_S = 5.0  # for a process that has done its work


class Releases:
    """The saves of one training, oldest first; ``results`` are those of which it is known what came of them.

    With ``strict`` the next call after a failure raises it. ``token`` is one that the other process would not find.
    """

    def __init__(self, *, strict: bool = False, token: Token | None = None) -> None:
        self.home = home()
        self._spool = Spool(self.home)
        self._strict, self._token = strict, token
        self._waiting: dict[str, Save] = {}
        self._done: dict[str, Result] = {}
        self._order: list[str] = []
        self._sender: subprocess.Popen[bytes] | None = None
        self._unseen = False  # whether something was handed over since the sender was started
        self._warned = False
        self._look_at = 0.0  # when to look again

    @property
    def results(self) -> list[Result]:
        """What came of the saves, in the order in which they were handed over; without those under way."""
        return [self._done[name] for name in self._order if name in self._done]

    def begin(self, folder: Path) -> None:
        """Make room for a training that is about to write below ``folder``, and send what waits from an earlier one."""
        with self.guarded():
            self._spool.own(folder.absolute())
            if self._spool.saves():
                self._unseen = True
                self._start()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keep what goes wrong inside from the training, unless that is strict; told it is."""
        try:
            yield
        except Exception as e:
            # Nothing that happens here may cost hours of training, not even an error of ours.
            if self._strict:
                raise
            self._failed(
                str(e) if isinstance(e, errors.HfmirrorError) else redact(f'{type(e).__name__}: {e}')
            )

    def put(
        self,
        save: Save,
        parts: Iterable[Part],
        *,
        written: Mapping[str, bytes] | None = None,
        copies: bool = False,
    ) -> None:
        """Hand over a save; when this returns its files may be removed, or with ``copies`` written again."""
        try:
            held = self._spool.put(save, parts, written=written, copies=copies)
        except (errors.HfmirrorError, OSError) as e:
            name = f'not held {len(self._order)}'
            self._order.append(name)
            self._done[name] = Result(save, 'failed', error=str(e))
            self._failed(f'{save.name}: {e}')
            return
        self._waiting[held.id] = held
        self._order.append(held.id)
        self._unseen = True
        self._start()

    def look(self) -> None:
        """Take note of what came of the saves so far. Cheap: called at each step of a training."""
        now = time.monotonic()
        if not self._waiting or now < self._look_at:
            return
        with self.guarded():
            self._collect()
            if self._waiting and self._unseen:
                self._start()
        after = time.monotonic()
        self._look_at = after + max(_LOOK_EVERY_S, _SHARE * (after - now))

    def finish(self) -> list[Result]:
        """Wait until everything is released, or waits for the network in the outbox; returns what came of each save.

        What has failed waits as well, until somebody mends the reason. Whoever interrupts this loses nothing.
        """
        with self.guarded():
            self._wait()
            self._arrived_later()
        self._tell()
        return self.results

    def _wait(self) -> None:
        shown = time.monotonic()
        if self._waiting:
            output.say(f'hfmirror: {count(len(self._waiting), "release")} under way')
        while self._waiting:
            self._start()
            ended = self._sender is None or self._sender.poll() is not None
            self._collect()
            if ended and not self._unseen:
                self._give_up()
                break
            if time.monotonic() - shown > _SAY_EVERY_S:
                shown = time.monotonic()
                output.say(f'hfmirror: {count(len(self._waiting), "release")} still under way')
            time.sleep(_POLL_S)
        until = time.monotonic() + _LEAVE_S  # it may have saves of other trainings to go on with
        while self._sender is not None and self._sender.poll() is None and time.monotonic() < until:
            time.sleep(_POLL_S / 10)

    def _start(self) -> None:
        """Have what waits released, by the process that is at it or by a new one."""
        if not self._unseen or (self._sender is not None and self._sender.poll() is None):
            return
        try:
            # The token is for what this training hands over; what waits from others finds its own.
            self._sender = sender.start(self._token if self._waiting else None, only=list(self._waiting))
            self._unseen = False
        except OSError as e:
            self._unseen = False
            self._failed(f'no process can be started to release what was saved: {e.strerror or e}')

    def _collect(self) -> None:
        for name in list(self._waiting):
            result = self._spool.result(self._waiting[name])
            if result is not None:
                del self._waiting[name]
                self._done[name] = result
                output.detail(f'hfmirror: {_said(result)}')
        self._notice_failures()

    def _notice_failures(self) -> None:
        if not self._waiting or (self._warned and not self._strict):
            return
        for save in self._spool.saves():
            if save.id in self._waiting and save.error:
                self._failed(f'{save.name}: {save.error}')

    def _give_up(self) -> None:
        """Take down what is left as failed: the sender has tried all of it, or has died."""
        errors_of = {save.id: save.error for save in self._spool.saves()}
        for name, save in self._waiting.items():
            why = (
                errors_of.get(name)
                or f'the process that releases it has ended; see {self.home.log / "saves.log"}'
            )
            self._done[name] = Result(save, 'failed', error=why)
        self._waiting.clear()

    def _arrived_later(self) -> None:
        """Correct what waited for the network and was sent with a later release."""
        queued = [name for name, result in self._done.items() if result.status == 'queued']
        if not queued:
            return
        waits = {
            (entry.folder, entry.version)
            for _, entries in outbox.waiting(self.home.outbox)
            for entry in entries
        }
        for name in queued:
            result = self._done[name]
            if (result.save.folder, result.version) not in waits:
                self._done[name] = result._replace(status='pushed', error=None)

    def _tell(self) -> None:
        """Say what came of each save, and raise what a strict training wants to hear."""
        for result in self.results:
            output.say(f'hfmirror: {_said(result)}')
        bad = [result for result in self.results if result.status in ('failed', 'queued')]
        if bad:
            output.say("hfmirror: nothing of it is lost; send it with 'hfmirror resume'")
        if bad and self._strict:
            kind = errors.NetworkError if all(one.status == 'queued' for one in bad) else errors.HfmirrorError
            raise kind('\n'.join(_said(result) for result in bad))

    def _failed(self, why: str) -> None:
        if self._strict:
            raise errors.HfmirrorError(why)
        if not self._warned:
            self._warned = True
            output.warn(f'hfmirror: {why} The training goes on; what was saved is kept and tried again.')


def _said(result: Result) -> str:
    name = result.version or result.save.name
    told = {'pushed': 'released', 'up-to-date': 'there already', 'queued': 'waits for the network'}
    end = f': {result.error}' if result.error and result.status in ('failed', 'queued') else ''
    where = f' at {result.url}' if result.url and result.status != 'failed' else ''
    return f'{name} {told.get(result.status, "not released")}{where}{end}'
