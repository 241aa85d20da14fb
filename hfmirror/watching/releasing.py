"""Who releases what was taken, while the folder goes on being watched? A thread, one save after the other."""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from threading import Event, Thread

from hfmirror import errors, output, sender
from hfmirror.config.places import Home
from hfmirror.outcome import disk_failure
from hfmirror.spool import Result

_RETRY_S, _RETRY_MAX_S = 5.0, 300.0


class Releasing:
    """Releases what waits in the spool, whenever it is woken; what failed again, after longer and longer pauses.

    ``resend`` sends what waits in the outbox, and returns whether all of it has gone. ``results`` gets what came of each
    save, in the order in which they were released.
    """

    def __init__(self, home: Home, resend: Callable[[], bool]) -> None:
        self._home, self._resend = home, resend
        self.results: SimpleQueue[Result] = SimpleQueue()
        self.failure: BaseException | None = None
        self._work, self._ending, self._stopping = Event(), Event(), Event()
        self._busy = self._queued = False
        self._said = ''
        self._thread = Thread(target=self._run, name='releasing', daemon=True)
        self._thread.start()

    @property
    def is_busy(self) -> bool:
        return self._busy or self._work.is_set()

    def wake(self) -> None:
        """Say that there is something to release."""
        self._work.set()

    def end(self, *, at_once: bool) -> None:
        """Return when everything was released or has failed; ``at_once``: when the release that is under way has ended."""
        if at_once:
            self._stopping.set()
        self._ending.set()
        self._work.set()
        self._thread.join()

    def _run(self) -> None:
        pause: float | None = None
        try:
            while True:
                again = not self._work.wait(pause)
                last = self._ending.is_set()
                self._busy = True
                self._work.clear()
                if self._stopping.is_set():
                    return
                done = self._round(resend=again or last)
                self._busy = False
                if last:
                    return
                pause = None if done else min((pause or _RETRY_S / 2) * 2, _RETRY_MAX_S)
        except BaseException as e:  # told by whoever waits for this thread
            self.failure = e
        finally:
            self._busy = False

    def _round(self, *, resend: bool) -> bool:
        """Release what waits; returns whether nothing is left."""
        try:
            results = sender.drain(self._home, stop=self._stopping.is_set)
        except (errors.HfmirrorError, OSError) as e:  # a full disk, above all, which somebody may free
            self._say(disk_failure(e) if isinstance(e, OSError) else e)
            return False
        for result in results:
            self.results.put(result)
        statuses = {result.status for result in results}
        self._queued = self._queued or 'queued' in statuses
        if resend and self._queued:
            self._queued = not self._resend()
        return 'failed' not in statuses and not self._queued

    def _say(self, failure: Exception) -> None:
        if str(failure) != self._said:
            self._said = str(failure)
            output.warn(f'{failure} It is tried again.')
