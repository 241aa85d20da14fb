"""An archive that is a directory of this machine, or of another one that is mounted here.

Every file is written beside, flushed, and gets its name when it is whole. Links are never followed: whoever can write to a
shared directory must not have us read or write elsewhere.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from hfmirror import durable, errors, output
from hfmirror.archive.storage import gone, source_changed, too_large
from hfmirror.copying import LARGE, copy_hashed
from hfmirror.statuses import LASTING
from hfmirror.target import FOLDERS, Target

_TEMPORARY = 'tmp'
_STALE_S = 24 * 3600
_UNREACHABLE = {
    errno.EHOSTDOWN,
    errno.EHOSTUNREACH,
    errno.EIO,
    errno.ENETUNREACH,
    errno.ENODEV,
    errno.ENOTCONN,
    errno.ESTALE,
    errno.ETIMEDOUT,
}
_NO_LINKS = {errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.EMLINK, errno.EACCES}
_NOFOLLOW = getattr(os, 'O_NOFOLLOW', 0)
_NONBLOCK = getattr(os, 'O_NONBLOCK', 0)  # a pipe that somebody put there is not waited for
_BINARY = getattr(os, 'O_BINARY', 0)


class Directory:
    """The folder ``root`` of a repository below the directory ``top`` of an archive."""

    def __init__(self, target: Target) -> None:
        self.where = target.git_url
        self.top = _path(target.remote)
        self.root = _path(target.git_url)
        self._known: set[Path] = set()  # folders that are no links
        self._pending: list[tuple[Path, Path]] = []
        self._settling = threading.Lock()
        self._is_ready = False

    def sizes(self, folder: str) -> dict[str, int]:
        with self._told():
            start = self._inside(f'{folder}/x').parent
            return {
                f'{Path(at).relative_to(self.root).as_posix()}/{name}': found.st_size
                for at, _, names in os.walk(start, onerror=_raise_unless_absent)
                for name in names
                if (found := _facts(Path(at, name))) is not None
            }

    def size(self, name: str) -> int | None:
        with self._told():
            found = _facts(self._inside(name))
            return None if found is None else found.st_size

    def read(self, name: str, most: int) -> bytes | None:
        try:
            with self.open(name, size=0) as file:
                content = file.read(most + 1)
        except errors.NotFoundError:
            return None
        if len(content) > most:
            raise too_large(self.where, name, most)
        return content

    def create(self, name: str, content: bytes) -> bool:
        with self._told():
            final = self._made(name)
            temporary = self._temporary()
            try:
                _write(temporary, content)
                return _link(temporary, final, content)
            finally:
                temporary.unlink(missing_ok=True)

    def put(self, name: str, source: Path, *, sha256: str, size: int, advance: Callable[[int], None]) -> None:
        with self._told():
            final, temporary = self._made(name), self._temporary()
            handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666)
            try:
                with open(handle, 'wb', buffering=0) as sink, source.open('rb', buffering=0) as reading:
                    found = copy_hashed(reading, sink, advance)
                if found != sha256:
                    raise source_changed(source)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
            with self._settling:
                self._pending.append((temporary, final))
            if size >= LARGE:
                self.settle()

    def settle(self) -> None:
        with self._told():
            with self._settling:  # what another thread puts meanwhile is not lost
                pending, self._pending = self._pending, []
            durable.flush([temporary for temporary, _ in pending])
            for temporary, final in pending:
                os.replace(temporary, final)
            durable.flush(sorted({final.parent for _, final in pending}))

    @contextmanager
    def open(self, name: str, *, size: int, offset: int = 0) -> Iterator[IO[bytes]]:
        with self._told():
            path = self._inside(name)
            try:
                handle = os.open(path, os.O_RDONLY | _NOFOLLOW | _NONBLOCK | _BINARY)
            except (FileNotFoundError, NotADirectoryError) as e:
                raise gone(self.where, name) from e
            except OSError as e:
                raise _is_link(path) if e.errno == errno.ELOOP else e from None
            with open(handle, 'rb', buffering=0) as file:
                if not stat.S_ISREG(os.fstat(handle).st_mode):
                    raise gone(self.where, name)
                file.seek(offset)
                yield file

    def remove(self, name: str) -> None:
        with self._told():
            self._inside(name).unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is open."""

    def _inside(self, name: str) -> Path:
        """Return the path of a file. Raises RemoteError when a folder on the way is a link."""
        if '..' in name.split('/'):
            raise errors.RemoteError(f'{self.where}: {name!r} leads out of it.')
        path = self.root / name
        for folder in reversed(path.relative_to(self.top).parents):
            at = self.top / folder
            if at not in self._known and at != self.top:
                if at.is_symlink():
                    raise _is_link(at)
                if at.is_dir():
                    self._known.add(at)
        return path

    def _made(self, name: str) -> Path:
        """Return the path of a file whose folder is there."""
        self._prepare()
        path = self._inside(name)
        if path.parent not in self._known:
            _make_folders(path.parent)
        return path

    def _temporary(self) -> Path:
        return self.root / _TEMPORARY / secrets.token_hex(8)

    def _prepare(self) -> None:
        """Make the archive's directory where there is none; remove what killed runs left half written."""
        if self._is_ready:
            return
        if not any((self.top / folder).exists() for folder in FOLDERS.values()):
            _make_folders(self.top)
            output.say(
                f'{self.top}: an archive begins here, with large files, history and lists of versions; it is no git repository. '
                "For one of git's, give --remote a name that ends in .git, or 'git init --bare' there first."
            )
        self._inside(f'{_TEMPORARY}/x')
        _make_folders(self.root / _TEMPORARY)
        self._is_ready = True
        for path in (self.root / _TEMPORARY).iterdir():
            with suppress(OSError):
                if time.time() - path.lstat().st_mtime > _STALE_S:
                    path.unlink()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as e:
            failure = self._meaning(e)
            if failure is None:
                raise
            raise failure from e

    def _meaning(self, failure: OSError) -> errors.HfmirrorError | None:
        """Return our error for what the system refused; None for what is told elsewhere, such as a full disk."""
        said = f'{failure.filename or self.root}: {failure.strerror or failure}.'
        if failure.errno in _UNREACHABLE:
            return errors.NetworkError(f'{said} Is it mounted, and the machine that has it there?', LASTING)
        if failure.errno in (errno.EACCES, errno.EPERM):
            return errors.AuthError(f'{said} Ask for the right to it, or choose another --remote.')
        if failure.errno == errno.EROFS:
            return errors.RemoteError(f'{said} Mount it for writing, or choose another --remote.')
        if failure.errno in (errno.ENOTDIR, errno.EEXIST):
            return errors.NotFoundError(f'{said} {self.top} has to be a directory. Choose another --remote.')
        return None


def _path(address: str) -> Path:
    return Path(unquote(urlsplit(address).path))


def _facts(path: Path) -> os.stat_result | None:
    """Return what is known of a file; None when there is none, or anything else."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def _raise_unless_absent(failure: OSError) -> None:
    if not isinstance(failure, FileNotFoundError):
        raise failure


def _make_folders(path: Path) -> None:
    """Make a folder and those above it; their names are on disk when this returns."""
    lacking = []
    while not path.is_dir():
        lacking.append(path)
        path = path.parent
    for folder in reversed(lacking):
        with suppress(FileExistsError):
            folder.mkdir()
    durable.flush(sorted({folder.parent for folder in lacking}))


def _write(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _BINARY, 0o666), 'wb') as file:
        try:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        except OSError:
            path.unlink(missing_ok=True)  # the disk is full: half a state would stop everybody
            raise


def _link(temporary: Path, final: Path, content: bytes) -> bool:
    """Give a file its name, unless somebody else has one of that name."""
    try:
        os.link(temporary, final)
    except FileExistsError:
        return False
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        # A file system without hard links; a kill in the next line leaves a file that is not whole.
        try:
            _write(final, content)
        except FileExistsError:
            return False
    durable.flush([final.parent])
    return True


def _is_link(path: Path) -> errors.RemoteError:
    return errors.RemoteError(
        f'{path}: a link, which an archive never has; it is not followed. See where it leads, and remove it.'
    )
