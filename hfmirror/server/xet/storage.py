"""Where do the xorbs of a repository lie, and when do they go away?

    <repository>.git/xet/current          the id of the generation that new uploads use
    <repository>.git/xet/<id>/<hash>      one xorb
    <repository>.git/xet/lock             held by requests together, by a collection alone

A client remembers which chunks an address has, for weeks, and sends them never again. The id is part of the address, so
what is remembered is true as long as the directory is there; taking the space back means another id. What a client
remembers of one repository is of no use in another: nobody learns what is in a private one.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from hfmirror import durable
from hfmirror.server.answers import Problem
from hfmirror.server.xet.xorb import Malformed, Xorb

_ID = re.compile(r'[0-9a-f]{16}')
_HASH = re.compile(r'[0-9a-f]{64}')
_DROPPED = 'dropped-'


def current(repo_path: Path) -> str:
    """Return the id of the generation that uploads use from now on, made when there is none. It counts as used now."""
    home = repo_path / 'xet'
    with suppress(FileExistsError):
        home.mkdir()  # not its parents: the repository may just have been deleted
    with _locked(home / 'lock', exclusive=False):
        generation = _current(home) or _begin(home)
        os.utime(home / generation)
    return generation


def retire(repo_path: Path, generation: str) -> None:
    """Have new uploads begin another generation. Those under way go on; the old one is collected when it is idle.

    For one of which something is lost: clients would go on to believe that it is there.
    """
    home = repo_path / 'xet'
    if _current(home) == generation:
        # Should another have taken its place just now, that one is retired, and its uploads go on as well.
        (home / 'current').unlink(missing_ok=True)


@contextmanager
def using(repo_path: Path, generation: str) -> Iterator[Path]:
    """Keep a generation from being collected, and give its directory. Raises Problem 410 when it is gone."""
    home = repo_path / 'xet'
    gone = Problem(
        410, 'This upload was idle for too long, and what it had sent was cleared away. Start it again.'
    )
    if not _ID.fullmatch(generation) or not (home / generation).is_dir():
        raise gone
    with _locked(home / 'lock', exclusive=False):
        try:
            os.utime(home / generation)
        except FileNotFoundError:
            raise gone from None
        yield home / generation


@contextmanager
def temporary(folder: Path) -> Iterator[BinaryIO]:
    """Open a new file to write a xorb into. ``keep`` keeps it; without that it is removed at the end."""
    path = folder / f'{secrets.token_hex(8)}.tmp'
    try:
        with path.open('xb+', buffering=0) as file:
            yield file
    finally:
        path.unlink(missing_ok=True)


def keep(file: BinaryIO, name: str) -> None:
    """Take a written temporary file as the xorb ``name``, on disk when this returns. Raises Problem 400 when it is none."""
    try:
        Xorb(file.fileno())
    except Malformed as e:
        raise Problem(400, f'The xorb cannot be taken: {e}.') from e
    os.fsync(file.fileno())
    path = Path(file.name)
    path.replace(path.with_name(name))
    durable.flush([path.parent])


def is_hash(name: str) -> bool:
    """Return whether ``name`` can be the hash of a xorb, and so the name of its file."""
    return _HASH.fullmatch(name) is not None


def collect(repo_path: Path, *, idle_s: float) -> int:
    """Remove the xorbs of a repository that no upload has used for ``idle_s`` seconds, and return the bytes freed.

    The files made from them stay, they are LFS objects. Does nothing while a request is under way, in any process.
    """
    home = repo_path / 'xet'
    if not home.is_dir():
        return 0
    try:
        with _locked(home / 'lock', exclusive=True, wait=False):
            _drop_idle(home, before=time.time() - idle_s)
    except BlockingIOError:
        return 0
    return sum(_remove(folder) for folder in home.glob(f'{_DROPPED}*'))


def _drop_idle(home: Path, *, before: float) -> None:
    idle = [
        folder for folder in _generations(home) if folder.stat().st_mtime <= before and _has_files(folder)
    ]
    in_use = _current(home)
    idle += [folder for folder in _generations(home) if folder.name != in_use and not _has_files(folder)]
    if any(folder.name == in_use for folder in idle):
        (home / 'current').unlink()
        durable.flush([home])  # after a power cut no client may be sent to a directory that is going away
    for folder in idle:
        folder.rename(home / f'{_DROPPED}{folder.name}')


def _generations(home: Path) -> list[Path]:
    return [folder for folder in home.iterdir() if _ID.fullmatch(folder.name)]


def _has_files(folder: Path) -> bool:
    with os.scandir(folder) as found:
        return any(True for _ in found)


def _remove(folder: Path) -> int:
    with os.scandir(folder) as found:
        size = sum(entry.stat().st_size for entry in found)
    shutil.rmtree(folder)
    return size


def _current(home: Path) -> str | None:
    try:
        generation = (home / 'current').read_text('ascii')
    except (FileNotFoundError, UnicodeDecodeError):
        return None
    return generation if _ID.fullmatch(generation) and (home / generation).is_dir() else None


def _begin(home: Path) -> str:
    # Not the other lock: whoever holds that one may be at work for minutes.
    with _locked(home / 'begin.lock', exclusive=True):
        generation = _current(home)
        if generation is None:
            generation = secrets.token_hex(8)
            (home / generation).mkdir()
            durable.write(home / 'current', generation.encode())
        return generation


@contextmanager
def _locked(path: Path, *, exclusive: bool, wait: bool = True) -> Iterator[None]:
    """Hold a lock file. Raises BlockingIOError when it is not free and ``wait`` is false."""
    import fcntl  # not on Windows, where nothing is served

    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(handle, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)
