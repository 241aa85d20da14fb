"""How does a program of the person run, with its output passed on as it is, and how is it ended in time?

It runs in a process group of its own: what we are sent goes on to all of it, once. On a terminal that group is the one in front,
so that Ctrl-C and Ctrl-Z are its own; a stream that is a terminal stays one to it, so that it draws its progress bars.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from threading import Lock, Thread, Timer
from types import FrameType
from typing import Any, NamedTuple

from hfmirror import errors, output

_BLOCK = 64 * 1024
_LAST = 256 * 1024  # bytes of the output that are remembered
_TWICE_S = 1.0  # what comes sooner is the same request: to us and to our group
_LEFT_S = 2.0  # for what it leaves running, and for output that nobody writes any more
_ENDING = tuple(getattr(signal, name) for name in ('SIGTERM', 'SIGINT', 'SIGHUP') if hasattr(signal, name))
_PASSED_ON = tuple(
    getattr(signal, name) for name in ('SIGUSR1', 'SIGUSR2', 'SIGQUIT') if hasattr(signal, name)
)


class Ended(NamedTuple):
    """How a program ended. ``code`` is as a shell has it: 128 and the signal's number for one that a signal has ended.

    ``signal`` is that one's name, ``asked`` that of the first one that asked us to end. ``last`` is what it wrote last.
    """

    code: int
    signal: str | None
    asked: str | None
    started: datetime
    seconds: float
    last: bytes


class Tail:
    """The last bytes that a program wrote, to whichever stream. Safe to use from several threads."""

    def __init__(self) -> None:
        self._parts: deque[bytes] = deque()
        self._size = 0
        self._lock = Lock()

    def add(self, part: bytes) -> None:
        with self._lock:
            self._parts.append(part)
            self._size += len(part)
            while self._size - len(self._parts[0]) >= _LAST:
                self._size -= len(self._parts.popleft())

    def content(self) -> bytes:
        with self._lock:
            return b''.join(self._parts)[-_LAST:]


class Signals:
    """What this process is sent while somebody else's program, and then a release of ours, depends on it.

    The first signal that asks for the end goes to the program, which gets ``grace_s`` seconds; a second one ends it at once.
    While no program runs the first one is told and no more, the second one is a KeyboardInterrupt.
    """

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._group: int | None = None
        self._first: float | None = None  # when somebody asked for the end in this phase
        self._timer: Timer | None = None
        self._before: dict[int, Any] = {}
        self._pending: list[int] = []
        self._has_run = False
        self.asked: str | None = None

    def __enter__(self) -> Signals:
        for number in (*_ENDING, *_PASSED_ON):
            # nohup, and a shell that starts us in the background, have some of them ignored.
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *failure: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    @contextmanager
    def passed_on(self, group: int) -> Iterator[None]:
        """Pass on what comes to a process group, and what has come before it was there."""
        self._group = group
        try:
            for number in self._pending:
                self._first = None
                self._came(number, None)
            yield
        finally:
            self._group, self._first, self._has_run = None, None, True
            if self._timer is not None:
                self._timer.cancel()

    def _came(self, number: int, frame: FrameType | None) -> None:
        if number in _ENDING:
            self.asked = self.asked or signal.Signals(number).name
            self._end(number)
        elif self._group is not None:
            _kill(self._group, number)

    def _end(self, number: int) -> None:
        now, name = time.monotonic(), signal.Signals(number).name
        if self._first is not None and now - self._first < _TWICE_S:
            return
        is_first, self._first = self._first is None, self._first or now
        if self._group is not None:
            self._end_program(number, name, is_first=is_first)
        elif not self._has_run:
            self._pending.append(number)
        elif is_first:
            _say(f'{name}: finishing what is being released; a second one stops that')
        else:
            raise KeyboardInterrupt

    def _end_program(self, number: int, name: str, *, is_first: bool) -> None:
        assert self._group is not None
        if not is_first:
            _say(f'{name} again: the command is ended now')
            _kill(self._group, signal.SIGKILL)
            return
        _say(f'{name}: passed on to the command, which has {self._grace_s:g} s to end')
        _kill(self._group, number)
        self._timer = Timer(self._grace_s, _kill, (self._group, signal.SIGKILL))
        self._timer.daemon = True
        self._timer.start()


def _say(text: str) -> None:
    with suppress(RuntimeError):  # a signal came in the middle of another line
        output.say(text)


def run(command: Sequence[str], signals: Signals, *, streams: tuple[int, int] = (1, 2)) -> Ended:
    """Run a program to its end, its standard output and error passed on to the two ``streams``, its input ours.

    What it has left running in its group is ended too. Raises UsageError, with the exit code that a shell has for it, when it
    cannot be started.
    """
    tail, started, begun = Tail(), datetime.now(UTC), time.monotonic()
    pipes = [_Pipe(stream, tail) for stream in streams]
    process = _start(command, pipes)
    with _in_front(process.pid), signals.passed_on(process.pid):
        code = _wait(process)
    _end_group(process.pid)
    _drain(pipes)
    name = signal.Signals(-code).name if code < 0 else None
    seconds = time.monotonic() - begun
    return Ended(128 - code if code < 0 else code, name, signals.asked, started, seconds, tail.content())


def _start(command: Sequence[str], pipes: Sequence[_Pipe]) -> subprocess.Popen[bytes]:
    out, err = (pipe.theirs for pipe in pipes)
    try:
        process = subprocess.Popen(list(command), stdout=out, stderr=err, process_group=0)
    except (OSError, ValueError) as e:
        for pipe in pipes:
            os.close(pipe.ours)
        reason = e.strerror if isinstance(e, OSError) else str(e)
        failure = errors.UsageError(f'{command[0]}: cannot be started: {reason}. Nothing was run.')
        failure.exit_code = 127 if isinstance(e, FileNotFoundError) else 126
        raise failure from e
    finally:
        for pipe in pipes:
            os.close(pipe.theirs)
    for pipe in pipes:
        pipe.start()
    return process


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Return how a program ended, negative for a signal. While Ctrl-Z has stopped it so are we, as its job in the shell."""
    while True:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode
        if _has_terminal(process.pid):
            os.kill(os.getpid(), signal.SIGSTOP)
            _give_terminal(process.pid)
            _kill(process.pid, signal.SIGCONT)


@contextmanager
def _in_front(group: int) -> Iterator[None]:
    """Give the terminal, when we have it, to a process group, and take it back in the end."""
    # Whoever takes the terminal without being in front is stopped for it.
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    try:
        _give_terminal(group)
        yield
    finally:
        if _has_terminal(group):
            with suppress(OSError):
                os.tcsetpgrp(0, os.getpgrp())
        signal.signal(signal.SIGTTOU, before)


def _give_terminal(group: int) -> None:
    if _has_terminal(os.getpgrp()):
        with suppress(OSError):
            os.tcsetpgrp(0, group)
            _kill(group, signal.SIGCONT)  # it may have asked for it before it was its own


def _has_terminal(group: int) -> bool:
    try:
        return os.isatty(0) and os.tcgetpgrp(0) == group
    except OSError:
        return False


def _kill(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _end_group(group: int) -> None:
    """End what a program has left running: it would go on writing into what is released."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(group, number)
        except (ProcessLookupError, PermissionError):
            return
        deadline = time.monotonic() + _LEFT_S
        while time.monotonic() < deadline and _is_there(group):
            time.sleep(0.02)


def _is_there(group: int) -> bool:
    with suppress(ChildProcessError):  # orphans come to us where we are the first process of a container
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    try:
        os.killpg(group, 0)
    except (ProcessLookupError, PermissionError):
        return False
    return True


# -- the output


class _Pipe:
    """One stream of a program on its way to one of ours. It writes to ``theirs``; ``moved`` is when something last went through."""

    def __init__(self, to: int, tail: Tail) -> None:
        self._to, self._tail = to, tail
        self._is_terminal = os.isatty(to)
        self.ours, self.theirs = _terminal(to) if self._is_terminal else os.pipe()
        self.moved = time.monotonic()
        self.thread = Thread(target=self._pass_on, daemon=True, name='output of the command')

    def start(self) -> None:
        self.thread.start()

    def _pass_on(self) -> None:
        try:
            while part := self._read():
                self._tail.add(part)
                _write_all(self._to, part)
                self.moved = time.monotonic()
        except OSError:
            pass  # nobody reads our output any more: the program is told so by its own next write
        finally:
            os.close(self.ours)

    def _read(self) -> bytes:
        if self._is_terminal:
            _copy_size(self._to, self.ours)
        try:
            return os.read(self.ours, _BLOCK)
        except OSError as e:
            if e.errno == errno.EIO:
                return b''  # how a terminal says that nobody has it open any more
            raise


def _terminal(like: int) -> tuple[int, int]:
    """Return the two ends of a new terminal that passes on what is written to it as it is."""
    import termios

    ours, theirs = os.openpty()
    modes = termios.tcgetattr(theirs)
    modes[1] &= ~termios.OPOST  # the real one will do that
    termios.tcsetattr(theirs, termios.TCSANOW, modes)
    _copy_size(like, ours)
    return ours, theirs


def _copy_size(like: int, terminal: int) -> None:
    import fcntl
    import termios

    with suppress(OSError):
        size = fcntl.ioctl(like, termios.TIOCGWINSZ, b'\0' * 8)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)


def _write_all(to: int, content: bytes) -> None:
    left = memoryview(content)
    while left:
        try:
            left = left[os.write(to, left) :]
        except BlockingIOError:  # somebody has made it so
            select.select([], [to], [])


def _drain(pipes: Sequence[_Pipe]) -> None:
    """Return when all that was written is passed on; what a daemon holds open is not waited for."""
    begun = time.monotonic()
    for pipe in pipes:
        while pipe.thread.is_alive() and time.monotonic() - max(pipe.moved, begun) < _LEFT_S:
            pipe.thread.join(0.1)
