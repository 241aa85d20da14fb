"""What do we know of a file that has not changed since we read it?

One SQLite file with two tables, one row a file in each: its path, and the inode, size and mtime under which it was read. A
row is believed only while all three are the same. ``files`` says what its bytes are, ``scans`` what the gates found in
them, and where, never what stands there. It holds no content, can be deleted at any time, and is rebuilt when damaged.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER,
    sha256 TEXT, blob TEXT, is_text INTEGER
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS scans (
    path TEXT PRIMARY KEY, device INTEGER, inode INTEGER, size INTEGER, mtime_ns INTEGER,
    rules TEXT, findings TEXT
) WITHOUT ROWID;
"""
_COLUMNS = {
    'files': 'device, inode, size, mtime_ns, sha256, blob, is_text',
    'scans': 'device, inode, size, mtime_ns, rules, findings',
}
_SAVE_EVERY_S = 2.0  # a kill loses at most the hashing of the last two seconds

_FINE_STEP_NS = 20_000_000  # kernels stamp files at their tick, 10 ms on the slowest
_COARSE_STEP_NS = 2_000_000_000  # FAT, and network file systems that keep whole seconds


class Stamp(NamedTuple):
    """What a change of a file cannot leave as it was: device, inode, size in bytes, mtime in ns."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


class Known(NamedTuple):
    """What a file's bytes are: the sha256 of an LFS object, git's blob id of a small file, or both."""

    size: int
    sha256: str | None
    blob: str | None
    is_text: bool


class Scanned(NamedTuple):
    """What the gates found in a file by ``rules``; both are theirs to read."""

    rules: str
    findings: str


class StatCache:
    """The tables. Safe to call from several threads and processes."""

    def __init__(self, path: Path) -> None:
        self._lock = Lock()
        self._saved = time.monotonic()
        self._path = path
        self._table = _open(path)

    def known(self, folder: Path) -> dict[str, tuple[Stamp, Known]]:
        """Return {absolute path: (stamp, what is known)} of all files below ``folder``."""
        rows = self._below('files', folder)
        return {row[0]: (Stamp(*row[1:5]), Known(row[3], row[5], row[6], bool(row[7]))) for row in rows}

    def scanned(self, folder: Path) -> dict[str, tuple[Stamp, Scanned]]:
        """Return {absolute path: (stamp, what was found)} of all files below ``folder`` that were scanned."""
        return {row[0]: (Stamp(*row[1:5]), Scanned(*row[5:])) for row in self._below('scans', folder)}

    def remember(self, path: Path, stamp: Stamp, known: Known, *, read_at_ns: int) -> None:
        """Keep what reading ``path`` gave, unless the file was so young at ``read_at_ns`` that a change could hide."""
        self._keep('files', path, stamp, (known.sha256, known.blob, int(known.is_text)), read_at_ns)

    def remember_scan(self, path: Path, stamp: Stamp, scanned: Scanned, *, read_at_ns: int) -> None:
        """Keep what was found in ``path``, by the same rule."""
        self._keep('scans', path, stamp, scanned, read_at_ns)

    def _below(self, table: str, folder: Path) -> list[tuple[Any, ...]]:
        try:
            return self._table.execute(
                f'SELECT * FROM {table} WHERE path >= ? AND path < ?', _range(folder)
            ).fetchall()
        except (
            UnicodeEncodeError
        ):  # a folder above has a name that is not UTF-8: nothing below it is ever kept
            return []

    def _keep(
        self, table: str, path: Path, stamp: Stamp, values: tuple[str | int | None, ...], read_at_ns: int
    ) -> None:
        if read_at_ns - stamp.mtime_ns < time_step_ns(stamp.mtime_ns):
            return
        row = (str(path), *stamp, *values)
        # A cache that cannot be written, or a name it cannot hold, costs time and nothing else.
        with self._lock, suppress(sqlite3.Error, UnicodeEncodeError):
            self._table.execute(f'REPLACE INTO {table} VALUES ({", ".join("?" * len(row))})', row)
            if time.monotonic() - self._saved > _SAVE_EVERY_S:
                self._save()

    def carry(self, folder: Path, to: Path) -> None:
        """Believe what is known of files below ``folder`` of those of the same names below ``to``, where they are links to them."""
        start, end = _range(folder)
        with self._lock, suppress(sqlite3.Error, UnicodeEncodeError):
            for table, columns in _COLUMNS.items():
                self._table.execute(
                    f'REPLACE INTO {table} SELECT ? || substr(path, ?), {columns} FROM {table} WHERE path >= ? AND path < ?',
                    (str(to), len(str(folder)) + 1, start, end),
                )

    def forget(self, folder: Path) -> None:
        """Forget the files below a folder that has gone."""
        with self._lock, suppress(sqlite3.Error, UnicodeEncodeError):
            for table in _COLUMNS:
                self._table.execute(f'DELETE FROM {table} WHERE path >= ? AND path < ?', _range(folder))

    def save(self) -> None:
        """Write what is remembered to disk."""
        with self._lock, suppress(sqlite3.Error):
            self._save()

    def close(self) -> None:
        self.save()
        self._table.close()

    def _save(self) -> None:
        self._table.commit()
        self._saved = time.monotonic()


class CommandCache(StatCache):
    """The tables, and in memory what is too young for them: all targets of one push get what was read for the first."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._young: dict[str, dict[str, tuple[Any, ...]]] = {'files': {}, 'scans': {}}

    def doubt(self) -> None:
        """Forget what is in memory only, as when a file has changed after all."""
        with self._lock:
            for rows in self._young.values():
                rows.clear()

    def _below(self, table: str, folder: Path) -> list[tuple[Any, ...]]:
        prefix = f'{folder}{os.sep}'
        young = [row for path, row in self._young[table].items() if path.startswith(prefix)]
        return super()._below(table, folder) + young

    def _keep(
        self, table: str, path: Path, stamp: Stamp, values: tuple[str | int | None, ...], read_at_ns: int
    ) -> None:
        with self._lock:
            self._young[table][str(path)] = (str(path), *stamp, *values)
        super()._keep(table, path, stamp, values, read_at_ns)


def _range(folder: Path) -> tuple[str, str]:
    """Return where the paths below ``folder`` begin and end in the order of the primary key.

    Not LIKE: names may hold % and _, and this uses the index.
    """
    return f'{folder}{os.sep}', f'{folder}{chr(ord(os.sep) + 1)}'


def time_step_ns(mtime_ns: int) -> int:
    """Return how far apart two changes must be to show in a file's mtime, judged by one mtime of that file system."""
    return _COARSE_STEP_NS if mtime_ns % 1_000_000_000 == 0 else _FINE_STEP_NS


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _connect(path)
    except sqlite3.DatabaseError:
        path.unlink(missing_ok=True)
    try:
        return _connect(path)
    except sqlite3.DatabaseError:  # a full disk: what is read is remembered for as long as the command runs
        return _connect(':memory:')


def _connect(path: Path | str) -> sqlite3.Connection:
    table = sqlite3.connect(path, check_same_thread=False, timeout=10)
    try:
        table.execute('PRAGMA journal_mode = WAL')
        table.execute('PRAGMA synchronous = NORMAL')
        table.executescript(_SCHEMA)
        for name, columns in _COLUMNS.items():
            table.execute(f'SELECT {columns} FROM {name} LIMIT 1')
    except sqlite3.DatabaseError:
        table.close()
        raise
    return table
