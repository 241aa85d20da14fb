"""What becomes of a push that nobody waits for? A CommandInProgress, asked at any time; the end of the program waits for it."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Callable

from hfmirror.gitcmd import Started

_log = logging.getLogger('hfmirror')

RUNNING = -1  # the status while it runs
_SIGNALLED = 128  # and the signal's number: as a shell tells of a process that was killed
_unfinished: list[CommandInProgress] = []


class CommandInProgress:
    """A command that runs in a process of its own. ``post_method`` runs once, when it is found to have ended well."""

    def __init__(
        self,
        title: str,
        is_done_method: Callable[[], bool],
        status_method: Callable[[], int],
        process: Started,
        post_method: Callable[[], object] | None = None,
    ) -> None:
        self.title = title
        self._is_done, self._status = is_done_method, status_method
        self._process, self._post = process, post_method
        _unfinished.append(self)

    @classmethod
    def of(
        cls, title: str, process: Started, post_method: Callable[[], object] | None = None
    ) -> CommandInProgress:
        """Return the command that ``process`` carries out."""
        return cls(
            title, lambda: process.poll() is not None, lambda: status_of(process), process, post_method
        )

    @property
    def is_done(self) -> bool:
        """Whether the process has ended."""
        if not self._is_done():
            return False
        if self in _unfinished:
            _unfinished.remove(self)
            if self._post is not None and not self.failed:
                self._post()
        return True

    @property
    def status(self) -> int:
        """-1 while it runs, then its exit code: 0 when all went well, 128 and the signal's number when it was killed."""
        return self._status()

    @property
    def failed(self) -> bool:
        """Whether it has ended, and not well."""
        return self._is_done() and self.status != 0

    @property
    def stdout(self) -> str:
        """What it has written to its standard output so far. Never waits."""
        return self._process.stdout

    @property
    def stderr(self) -> str:
        """What it has written to its standard error so far: why it failed. Never waits."""
        return self._process.stderr

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is done, or for so many seconds; returns whether it is."""
        self._process.wait(timeout_s)
        return self.is_done

    def __repr__(self) -> str:
        if not self._is_done():
            return f'[{self.title} command, in progress. PID: {self._process.pid}]'
        return f'[{self.title} command, status code: {self.status}. PID: {self._process.pid}]'


def status_of(process: Started) -> int:
    """Return the status of a process; never negative once it has ended, so that no signal looks like one that runs."""
    code = process.poll()
    if code is None:
        return RUNNING
    return code if code >= 0 else _SIGNALLED - code


def wait_for(commands: list[CommandInProgress]) -> None:
    """Wait for commands, and say of each that failed why it did."""
    running = [command for command in commands if not command.is_done]
    if running:
        _log.warning('Waiting for %s to end; Ctrl-C stops waiting.', ', '.join(map(repr, running)))
    for command in running:
        command.wait()
    for command in commands:
        if command.failed:
            _log.error('%r: %s', command, command.stderr.strip())


@atexit.register
def _wait_for_all() -> None:
    wait_for(list(_unfinished))
