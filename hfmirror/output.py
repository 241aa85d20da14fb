"""What does a person, or a program, get to see? Data goes to stdout, talk to stderr; nothing else writes there."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_PLAIN_EVERY_S = 30.0
_BAR_FROM = 32 * 1024 * 1024  # a smaller file is gone before its bar can be read

_verbose = False
_silent = False
_level = 'INFO'

LEVELS = ('DEBUG', 'INFO', 'WARNING', 'ERROR')


def configure(*, verbose: bool = False, silent: bool = False) -> None:
    """Set how much is said: ``verbose`` adds details, ``silent`` leaves only warnings and errors."""
    global _verbose, _silent
    _verbose, _silent = verbose, silent


def set_level(name: str) -> None:
    """Set how much is said by one of ``LEVELS``, as LOG_LEVEL does; any other name changes nothing.

    DEBUG shows each git command with its time, WARNING leaves only warnings and errors, ERROR only errors.
    """
    global _level
    if name.upper() in LEVELS:
        _level = name.upper()


def shows_debug() -> bool:
    """Tell whether ``debug`` writes anything: by LOG_LEVEL, or because a program that uses us logs at that level."""
    logging = sys.modules.get('logging')  # nobody who has not imported it has set its level
    return _level == 'DEBUG' or (logging is not None and logging.getLogger('hfmirror').isEnabledFor(10))


def debug(text: str) -> None:
    """Tell those who look for a fault."""
    if shows_debug():
        _talk(f'debug: {text}')


def data(text: str) -> None:
    """Write a result to stdout."""
    sys.stdout.write(_printable(text, sys.stdout.encoding) + '\n')
    sys.stdout.flush()


def document(value: Any) -> None:
    """Write one JSON document to stdout."""
    is_utf_8 = (sys.stdout.encoding or 'utf-8').lower().replace('-', '') == 'utf8'
    text = json.dumps(value, ensure_ascii=not is_utf_8, indent=2, allow_nan=False)
    # What does not print gets JSON's own escapes, before it gets those of a terminal, which are no JSON.
    data(''.join(c if c.isprintable() or c == '\n' else json.dumps(c)[1:-1] for c in text))


def say(text: str) -> None:
    """Tell a person on stderr what happens."""
    if not _silent and _level in ('DEBUG', 'INFO'):
        _talk(text)


def ask(question: str) -> None:
    """Put a question to a person who is waited for, however little is said otherwise."""
    _talk(question)


def detail(text: str) -> None:
    """Tell a person who asked for details."""
    if _verbose or shows_debug():
        _talk(text)


def warn(text: str, *, prefix: str = 'warning: ') -> None:
    """Tell a person what they should know before they go on. ``prefix`` is for a text that says itself that it warns."""
    if _level != 'ERROR':
        _talk(f'{prefix}{text}')


def error(text: str) -> None:
    """Tell a person what went wrong."""
    _talk(f'error: {text}')


def table(rows: Sequence[Mapping[str, str]], columns: Sequence[str]) -> None:
    """Write rows under a header to stdout, columns as wide as their longest cell; the last one is not padded."""
    widths = {name: max([len(name), *(len(row[name]) for row in rows)]) for name in columns}
    for row in [{name: name.upper() for name in columns}, *rows]:
        data('  '.join(row[name].ljust(widths[name]) for name in columns).rstrip())


def human_size(size: int) -> str:
    """Return bytes as people and the Hub write them: ``90.9 MB``, in powers of 1,000."""
    amount = float(size)
    for unit in ('B', 'kB', 'MB', 'GB', 'TB'):
        if amount < 999.95 or unit == 'TB':
            return f'{amount:.0f} {unit}' if unit == 'B' else f'{amount:.1f} {unit}'
        amount /= 1000
    raise AssertionError('unreachable')


def human_number(value: float, digits: int = 6) -> str:
    """Return ``value`` with so many digits, a whole number with all of them: ``0.0312``, ``22,713,216``."""
    if isinstance(value, bool):
        return str(value).lower()
    if value == int(value) and abs(value) < 2**53:
        return f'{int(value):,}'
    return f'{value:.{digits}g}'


def count(number: int, noun: str) -> str:
    """Return ``1 file``, ``2 files``, ``1,000 files``."""
    return f'{number:,} {noun}' if number == 1 else f'{number:,} {noun}s'


class Progress:
    """Bytes done of bytes to do. Safe to call from several threads."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self._lock = Lock()
        self._said = time.monotonic()
        self._bar = _bar(label, total, position=0)

    def advance(self, size: int) -> None:
        """Count ``size`` more bytes as done."""
        with self._lock:
            self.done += size
            if self._bar is not None:
                self._bar.update(size)
            elif time.monotonic() - self._said > _PLAIN_EVERY_S:
                self._said = time.monotonic()
                say(f'{self.label}: {human_size(self.done)} of {human_size(self.total)}')

    @contextmanager
    def file(self, name: str, size: int) -> Iterator[tqdm[Any] | None]:
        """Show a bar of its own for one large file."""
        bar = _bar(f'  {name}', size, position=None) if self._bar is not None and size >= _BAR_FROM else None
        try:
            yield bar
        finally:
            if bar is not None:
                bar.close()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """Show that work on ``total`` bytes goes on: a bar on a terminal, a line now and then elsewhere."""
    shown = Progress(label, total)
    try:
        yield shown
    finally:
        shown.close()


def _bar(label: str, total: int, *, position: int | None) -> tqdm[Any] | None:
    if _silent or not sys.stderr.isatty() or total == 0:
        return None
    from tqdm import tqdm

    return tqdm(
        desc=_printable(label, sys.stderr.encoding),
        total=total,
        unit='B',
        unit_scale=True,
        leave=False,
        position=position,
        file=sys.stderr,
    )


def _talk(text: str) -> None:
    try:
        sys.stderr.write(_printable(text, sys.stderr.encoding) + '\n')
        sys.stderr.flush()
    except OSError:
        # Whoever listened is gone, such as the tee of a job that is ended, or the disk of the log is full. What is under way is
        # not done for the listener; and what is left to be written must not fail once more when the process ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _printable(text: str, encoding: str | None) -> str:
    """Keep a hostile file name or message from steering the terminal, and an odd locale from raising."""
    clean = ''.join(
        c if c.isprintable() or c in '\n\t' else c.encode('unicode_escape', 'replace').decode() for c in text
    )
    encoding = encoding or 'utf-8'
    return clean.encode(encoding, 'backslashreplace').decode(encoding)
