"""What is in the directory of a repository's backups, and what came of each?

A backup is a folder named by the time; what is known of its files lies beside it, as ``backup`` shows it::

    {"format": 1, "repo": "me/bert", "released": true, "files": [{"path": "model.bin", "size": 1000, …}], …}
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from hfmirror import durable
from hfmirror.statcache import Stamp

_FORMAT = 1
NAME = re.compile(r'\d{8}-\d{6}-\d{6}')
PARTIAL = '.partial'


class Kept(NamedTuple):
    """A file of a backup. ``mtime_ns`` is that of the copy.

    ``stamp`` is what ``source`` had when it was copied; None when the file was so young that a later change could hide.
    """

    path: str
    size: int
    sha256: str | None
    mtime_ns: int
    source: str
    stamp: Stamp | None


class Backup(NamedTuple):
    """A backup that is whole, and what is known of its files.

    ``released`` is whether its push succeeded; None while it lasts, and for ever when it was killed.
    """

    path: Path
    files: tuple[Kept, ...]
    released: bool | None


def whole(place: Path) -> list[Path]:
    """Return the backups of a repository, newest first."""
    found = [path for path in place.iterdir() if NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def clear(place: Path) -> None:
    """Remove what killed runs left half made or half removed."""
    for path in place.glob(f'*{PARTIAL}'):
        if NAME.fullmatch(path.name.removesuffix(PARTIAL)):
            shutil.rmtree(path)
    for path in place.glob('*.json'):
        if NAME.fullmatch(path.stem) and not path.with_suffix('').is_dir():
            path.unlink()
    for path in place.glob('.*.tmp'):
        path.unlink()


def manifest(path: Path) -> Path:
    """Return the file that tells of a backup."""
    return path.with_name(f'{path.name}.json')


def partial_of(path: Path) -> Path:
    """Return what a backup is called while it is made or removed."""
    return path.with_name(f'{path.name}{PARTIAL}')


def read(path: Path) -> Backup | None:
    """Return what is known of a backup, None when its manifest is missing or broken."""
    try:
        fields = json.loads(manifest(path).read_bytes())
        if fields['format'] != _FORMAT:
            return None
        released = fields['released']
        if released is not None and not isinstance(released, bool):
            return None
        return Backup(path, tuple(_kept(row) for row in fields['files']), released)
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def write(path: Path, fields: Mapping[str, Any]) -> None:
    """Write what is known of a backup."""
    durable.write(manifest(path), json.dumps({'format': _FORMAT, **fields}, indent=1).encode())


def settle(path: Path, *, released: bool | None) -> None:
    """Write down what came of the push of a backup. What is a release stays one, whatever becomes of another push."""
    known = read(path)
    if known is not None and known.released not in (True, released):
        write(path, {**json.loads(manifest(path).read_bytes()), 'released': released})


def _kept(row: Mapping[str, Any]) -> Kept:
    given = row['stamp']
    stamp = Stamp(*map(int, given)) if given is not None else None
    path, sha256 = PurePosixPath(row['path']), row['sha256']
    if path.is_absolute() or '..' in path.parts or not path.parts:
        raise ValueError('a path that leads out of the backup')
    if sha256 is not None and not re.fullmatch('[0-9a-f]{64}', sha256):
        raise ValueError('a sha256 that is none')
    return Kept(str(path), int(row['size']), sha256, int(row['mtime_ns']), str(row['source']), stamp)
