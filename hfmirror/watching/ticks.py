"""When is it time to look at a folder again? When something in it has changed, as the system tells; else every now and then."""

from __future__ import annotations

import re
import signal
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from hfmirror import output
from hfmirror.spool import BESIDE

_GROUPED_MS, _QUIET_MS = 200, 50  # changes are told together, once none has come for so long
_POLL_S = 2.0
_ABSENT_S = 0.2  # its first checkpoint may be removed soon after it has appeared
# Of these the system tells only what this machine itself has written.
_NETWORK = re.compile(
    r'nfs\d?|cifs|smb\w*|9p|fuse(?:\..+)?|afs|beegfs|ceph|gfs2?|glusterfs|gpfs|lustre|ncpfs|ocfs2|virtiofs|vboxsf|drvfs|prl_fs'
)
_MOUNTS = Path('/proc/mounts')


class Stop:
    """Whether somebody wants an end. ``signal`` is what a person or the system has sent."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.signal: int | None = None

    def is_set(self) -> bool:
        return self._event.is_set()

    def set(self) -> None:
        self._event.set()

    def wait(self, seconds: float) -> None:
        """Return after that time, or when the end is wanted."""
        self._event.wait(seconds)


@contextmanager
def stopped_by_signals() -> Iterator[Stop]:
    """Yield what SIGTERM, SIGINT and a terminal that is closed stop in order; the second of them ends the process at once."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # which gets no signals
        return

    def ask(number: int, _: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.signal = number
        stop.set()

    numbers = [signal.SIGTERM, signal.SIGINT]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # nohup(1) has it ignored
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, ask) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def ticks(folder: Path, stop: Stop, *, interval_s: float, poll: bool = False) -> Iterator[None]:
    """Yield whenever there may be something new in ``folder``, at the latest after ``interval_s``, until it is stopped.

    Where the folder is on a network file system, does not exist yet, or the system has no more watches to give, only the time
    counts.
    """
    while not stop.is_set():
        if not poll and folder.is_dir():
            if is_on_network(folder):
                output.say(
                    f'{folder}: on a network file system, looked at every {max(interval_s, _POLL_S):g} s'
                )
                poll = True
            else:
                poll = not (yield from _events(folder, stop, interval_s))
                continue
        yield
        stop.wait(_pause_s(folder, interval_s, poll=poll))


def _pause_s(folder: Path, interval_s: float, *, poll: bool) -> float:
    if poll and interval_s >= 1:
        return max(interval_s, _POLL_S)
    return interval_s if folder.is_dir() else min(interval_s, _ABSENT_S)


def _events(folder: Path, stop: Stop, interval_s: float) -> Generator[None, None, bool]:
    """Yield at every change; returns False when the system does not tell of changes, True when the folder is another one now."""
    from watchfiles import watch

    yield  # what is there already
    identity = _identity(folder)
    try:
        for _ in watch(
            folder,
            watch_filter=lambda _, path: BESIDE not in Path(path).parts,
            debounce=_GROUPED_MS,
            step=_QUIET_MS,
            stop_event=stop,
            rust_timeout=max(int(interval_s * 1000), _QUIET_MS),
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
        ):
            yield
            if stop.is_set() or _identity(folder) != identity:
                return True
    except (OSError, RuntimeError) as e:  # no more watches, or the folder has gone
        if folder.is_dir():
            output.say(
                f'{folder}: the system does not tell of changes ({e}); looking at it every {_POLL_S:g} s'
            )
            return False
    return True


def _identity(folder: Path) -> tuple[int, int] | None:
    with suppress(OSError):
        found = folder.stat()
        return found.st_dev, found.st_ino
    return None


def is_on_network(folder: Path) -> bool:
    """Return whether other machines may write to a folder without that this one is told."""
    try:
        mounts = _MOUNTS.read_text('utf-8', 'surrogateescape').splitlines()
    except OSError:
        return False  # no Linux
    kinds = {}
    for line in mounts:
        fields = line.split(' ')
        if len(fields) > 2:
            kinds[re.sub(r'\\(\d{3})', lambda octal: chr(int(octal[1], 8)), fields[1])] = fields[2]
    path = folder.resolve()
    kind = next((kinds[str(one)] for one in [path, *path.parents] if str(one) in kinds), '')
    return _NETWORK.fullmatch(kind) is not None
