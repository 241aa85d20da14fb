"""Was a folder handed over already as it is? Then a hook has nothing to do, and takes no time.

What a folder is, is told by names, sizes and times; no file is read. Kept in the cache: without it the remote is asked.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from hfmirror import durable
from hfmirror.config.places import Home
from hfmirror.folder import Folder


def seal(folder: Folder, *where: object) -> str:
    """Return what tells the files of a folder, and where they go, from any others."""
    digest = hashlib.sha256(repr(where).encode('utf-8', 'surrogateescape'))
    for file in folder.files:
        stat = file.stat
        row = (file.path, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
        digest.update(repr(row).encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()


class Seals:
    """The seals under which a folder was handed over last, as it is (``''``) and by the name of a tag."""

    def __init__(self, home: Home, folder: Path, repository: Path) -> None:
        key = hashlib.sha256(f'{repository}\0{folder}'.encode('utf-8', 'surrogateescape')).hexdigest()
        self._path = home.cache / 'hooks' / f'{key[:24]}.json'

    def is_set(self, value: str, tag: str = '') -> bool:
        return self._read().get(tag) == value

    def set(self, value: str, tag: str = '') -> None:
        """Remember that this was handed over; of tags only the last one."""
        kept = {name: old for name, old in self._read().items() if name == ''}
        durable.write(self._path, json.dumps({**kept, tag: value}).encode())

    def _read(self) -> dict[str, str]:
        try:
            found = json.loads(self._path.read_text('utf-8'))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def of_file(path: Path | None) -> str:
    """Return what tells a small file from what it was before."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() if path and os.path.lexists(path) else ''
    except OSError:
        return ''
