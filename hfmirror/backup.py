"""What is kept on this machine of each release, and how does one come back?

Each repository has a directory below ``backup.local_backup_dir``. A backup is exactly the folder that was released; what is
known of its files lies beside it::

    me-tiny-model-0123456789ab/20260131-120000-123456/          the files, named by the time in UTC
    me-tiny-model-0123456789ab/20260131-120000-123456.json      where each came from, its size and sha256
    me-tiny-model-0123456789ab/20260131-120000-123456.partial/  one that is being made or removed

A folder without ``.partial`` at its end is whole. A file that has not changed since an earlier backup is that backup's file
under one more name.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from hfmirror import durable, errors, output
from hfmirror.clonedir import locked
from hfmirror.config.config import Config
from hfmirror.copying import copy_hashed
from hfmirror.fingerprint import steadily
from hfmirror.folder import Folder, SourceFile
from hfmirror.statcache import Stamp, time_step_ns
from hfmirror.store import reflink
from hfmirror.target import Target

_FORMAT = 1
_NAME = re.compile(r'\d{8}-\d{6}-\d{6}')
_PARTIAL = '.partial'
_NEVER_RELEASED = '.hfignore'
_TRY_ANOTHER = 'Nothing was restored. Try another backup.'


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
    """A backup that is whole, and what is known of its files."""

    path: Path
    files: tuple[Kept, ...]


_Known = Mapping[tuple[str, Stamp], tuple[Path, Kept]]  # what an earlier backup has of a file, and where


def back_up(folder: Folder, target: Target, config: Config) -> Path:
    """Keep a copy of a folder's files under ``backup.local_backup_dir`` and return it; the newest ``keep_backups`` stay.

    When nothing has changed since the newest backup that one is returned; so is a backup that is itself released.
    Raises ConfigError when the directory cannot be used, DiskFull when it has no room; nothing is left behind then.
    """
    base = _base(config)
    place = base / target.slug
    if place == folder.root or folder.root in place.parents:
        raise errors.ConfigError(
            f'backup.local_backup_dir: {base} is inside of {folder.root}, which is to be released: the backups would be '
            'released, too. Name a directory outside.'
        )
    released = _backup_around(folder.root, base)
    if released is not None:
        return released
    try:
        # The files may be for one person only, and stand in a folder that sees to that.
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place / '.lock', str(place)):
            return _back_up(folder, target, place, keep=config.backup.keep_backups)
    except OSError as e:
        raise _failure(e, base) from e


def _base(config: Config) -> Path:
    given = config.backup.local_backup_dir
    if not given.strip():
        raise errors.ConfigError('backup.local_backup_dir: the value is empty. Name a directory.')
    try:
        return Path(given).expanduser().resolve()
    except (OSError, RuntimeError, ValueError) as e:
        raise errors.ConfigError(f'backup.local_backup_dir: {given} cannot be found: {e}.') from e


def _backup_around(root: Path, base: Path) -> Path | None:
    """Return the backup that a folder is or is in, None when it is in none."""
    return next(
        (
            path
            for path in (root, *root.parents)
            if path.parent.parent == base and _NAME.fullmatch(path.name) and _manifest(path).is_file()
        ),
        None,
    )


def _failure(failure: OSError, base: Path) -> errors.HfmirrorError:
    if failure.errno in durable.NO_ROOM:
        return errors.DiskFull(
            f'{base}: {failure.strerror}. The backup could not be made, so nothing was sent. Free some space, keep fewer '
            '(backup.keep_backups), or name a directory on another disk (backup.local_backup_dir).'
        )
    return errors.ConfigError(
        f'{failure.filename or base}: {failure.strerror}. The backup could not be made, so nothing was sent. '
        'See to it, or name another directory in backup.local_backup_dir.'
    )


def _back_up(folder: Folder, target: Target, place: Path, *, keep: int) -> Path:
    _clear(place)
    paths = _whole(place)
    files = [*folder.files, *_ignore_files(folder)]
    earlier = [backup for path in paths if (backup := _read(path)) is not None]
    if earlier and earlier[0].path == paths[0] and _is_the_same(earlier[0], files):
        output.detail(f'nothing has changed since the backup {paths[0]}')
        made = paths[0]
    else:
        made = _make(place, files, earlier, {**_about(target), 'folder': str(folder.root)})
        output.detail(f'backed up to {made}')
        paths = [made, *paths]
    for path in paths[keep:]:
        _remove(path)
    return made


def _ignore_files(folder: Folder) -> list[SourceFile]:
    """Return the ignore files that are in no release: without what they bring back, a push of the backup would differ."""
    paths = [left.path for left in folder.left_out if left.path.rpartition('/')[2] == _NEVER_RELEASED]
    found = [(path, Path(folder.root, path)) for path in paths]
    return [SourceFile(path, real, real.stat()) for path, real in found if real.is_file()]


def _about(target: Target) -> dict[str, str]:
    return {
        'repo': target.repo_id,
        'repo_type': target.repo_type,
        'remote': target.remote,
        'branch': target.branch,
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
    }


def _is_the_same(backup: Backup, files: Sequence[SourceFile]) -> bool:
    was = {kept.path: (kept.source, kept.stamp) for kept in backup.files}
    now = {file.path: (str(file.source), Stamp.of(file.stat)) for file in files}
    return was == now and all(_is_intact(backup.path / kept.path, kept) for kept in backup.files)


def _is_intact(path: Path, kept: Kept) -> bool:
    """Return whether a file of a backup looks as it was left; somebody may have written to it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (kept.size, kept.mtime_ns)


# -- making one


def _make(
    place: Path, files: Sequence[SourceFile], earlier: Sequence[Backup], about: Mapping[str, str]
) -> Path:
    path = _new_path(place)
    partial = _partial(path)
    known = {
        (kept.source, kept.stamp): (backup.path / kept.path, kept)
        for backup in reversed(earlier)
        for kept in backup.files
        if kept.stamp is not None
    }
    try:
        kept = _fill(partial, files, known)
        rows = [row._asdict() for row in kept]
        durable.write(
            _manifest(path), json.dumps({'format': _FORMAT, **about, 'files': rows}, indent=1).encode()
        )
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            _manifest(path).unlink(missing_ok=True)
        raise
    durable.flush([place])
    return path


def _new_path(place: Path) -> Path:
    moment = datetime.now(UTC)
    newest = max((path.name for path in _whole(place)), default='')
    # A clock that was put back must not make the new backup the oldest.
    while (name := f'{moment:%Y%m%d-%H%M%S-%f}') <= newest:
        moment = datetime.strptime(newest, '%Y%m%d-%H%M%S-%f').replace(tzinfo=UTC) + timedelta(microseconds=1)
    return place / name


def _fill(partial: Path, files: Sequence[SourceFile], known: _Known) -> list[Kept]:
    """Copy the files, or link what an earlier backup has; when this returns they are on disk."""
    kept: list[Kept] = []
    partial.mkdir()
    folders = {partial}
    with output.progress('backing up', sum(file.stat.st_size for file in files)) as shown:
        for file in files:
            to = partial / file.path
            if to.parent not in folders:
                to.parent.mkdir(parents=True, exist_ok=True)
                folders |= {to.parent, *to.parent.parents} - {*partial.parents}
            kept.append(_linked(file, to, known, shown.advance) or _copied(file, to, shown.advance))
    durable.flush([*(partial / one.path for one in kept), *folders])
    return kept


def _linked(file: SourceFile, to: Path, known: _Known, advance: Callable[[int], None]) -> Kept | None:
    """Give an earlier backup's file one more name. Never the trainer's own: it may be written again in its place."""
    there, kept = known.get((str(file.source), Stamp.of(file.stat)), (None, None))
    if there is None or kept is None or not _is_intact(there, kept):
        return None
    try:
        os.link(there, to, follow_symlinks=False)
    except OSError:  # a file system without links, or with too many of this file
        return None
    advance(kept.size)
    return kept._replace(path=file.path)


def _copied(file: SourceFile, to: Path, advance: Callable[[int], None]) -> Kept:
    started = time.time_ns()
    stamp, sha256 = steadily(file, lambda opened: _copy(opened, file.source, to, advance))
    is_old = started - stamp.mtime_ns >= time_step_ns(stamp.mtime_ns)
    _take_over(to, stamp.mtime_ns, file.stat.st_mode)
    found = to.stat()
    return Kept(
        file.path, found.st_size, sha256, found.st_mtime_ns, str(file.source), stamp if is_old else None
    )


def _copy(opened: IO[bytes], source: Path, to: Path, advance: Callable[[int], None]) -> str | None:
    """Copy a file and return its sha256; None when the two share their blocks and nothing was read."""
    to.unlink(missing_ok=True)
    if reflink(source, to):
        advance(to.stat().st_size)
        return None
    with to.open('wb', buffering=0) as copy:
        return copy_hashed(opened, copy, advance)


def _take_over(path: Path, mtime_ns: int, mode: int) -> None:
    os.utime(path, ns=(mtime_ns, mtime_ns))
    path.chmod(0o400 | stat.S_IMODE(mode) & 0o777)


# -- those that are there


def _whole(place: Path) -> list[Path]:
    """Return the backups of a repository, newest first."""
    found = [path for path in place.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=lambda path: path.name, reverse=True)


def _clear(place: Path) -> None:
    """Remove what killed runs left half made or half removed."""
    for path in place.glob(f'*{_PARTIAL}'):
        if _NAME.fullmatch(path.name.removesuffix(_PARTIAL)):
            shutil.rmtree(path)
    for path in place.glob('*.json'):
        if _NAME.fullmatch(path.stem) and not path.with_suffix('').is_dir():
            path.unlink()
    for path in place.glob('.*.tmp'):
        path.unlink()


def _remove(path: Path) -> None:
    """Remove a backup. One that cannot be removed is no reason not to release."""
    try:
        partial = path.rename(_partial(path))
        shutil.rmtree(partial)
        _manifest(path).unlink(missing_ok=True)
    except OSError as e:
        output.warn(f'{path}: this old backup cannot be removed ({e.strerror}). Remove it by hand.')


def _manifest(path: Path) -> Path:
    return path.with_name(f'{path.name}.json')


def _partial(path: Path) -> Path:
    return path.with_name(f'{path.name}{_PARTIAL}')


def _read(path: Path) -> Backup | None:
    """Return what is known of a backup, None when its manifest is missing or broken."""
    try:
        fields = json.loads(_manifest(path).read_bytes())
        if fields['format'] != _FORMAT:
            return None
        return Backup(path, tuple(_kept(row) for row in fields['files']))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None


def _kept(row: Mapping[str, Any]) -> Kept:
    given = row['stamp']
    stamp = Stamp(*map(int, given)) if given is not None else None
    path, sha256 = PurePosixPath(row['path']), row['sha256']
    if path.is_absolute() or '..' in path.parts or not path.parts:
        raise ValueError('a path that leads out of the backup')
    if sha256 is not None and not re.fullmatch('[0-9a-f]{64}', sha256):
        raise ValueError('a sha256 that is none')
    return Kept(str(path), int(row['size']), sha256, int(row['mtime_ns']), str(row['source']), stamp)


# -- bringing one back


def restore(backup: Path, to: Path) -> Path:
    """Copy the files of a backup into the folder ``to``, which is new or empty, and return it.

    Every file is compared with what was backed up: its size, and its sha256 where that is known. Raises NotFoundError
    when there is no such backup, VerificationError when it is damaged; ``to`` is whole or as it was before.
    """
    backup, to = backup.absolute(), to.absolute()
    found = _read(backup)
    if found is None or not backup.is_dir():
        raise errors.NotFoundError(
            f'{backup}: no backup with its list of files ({_manifest(backup).name} beside it). Name a folder like '
            'backups/me-model-0123456789ab/20260131-120000-123456.'
        )
    if to.exists() and not (to.is_dir() and next(to.iterdir(), None) is None):
        raise errors.UsageError(f'{to}: is there already. Name a new folder; nothing is overwritten.')
    partial = to.with_name(f'.{to.name}.{secrets.token_hex(4)}{_PARTIAL}')
    try:
        partial.mkdir(parents=True)
        _bring_back(found, partial)
        partial.replace(to)
        durable.flush([to.parent])
    except OSError as e:
        kind = errors.DiskFull if e.errno in durable.NO_ROOM else errors.HfmirrorError
        raise kind(f'{e.filename or to}: {e.strerror}. Nothing was restored.') from e
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return to


def _bring_back(backup: Backup, partial: Path) -> None:
    folders = {partial}
    with output.progress('restoring', sum(kept.size for kept in backup.files)) as shown:
        for kept in backup.files:
            to = partial / kept.path
            to.parent.mkdir(parents=True, exist_ok=True)
            folders |= {to.parent}
            _bring_back_file(backup.path / kept.path, kept, to, shown.advance)
    durable.flush([*(partial / kept.path for kept in backup.files), *folders])


def _bring_back_file(source: Path, kept: Kept, to: Path, advance: Callable[[int], None]) -> None:
    try:
        found = source.lstat()
    except FileNotFoundError as e:
        raise errors.VerificationError(f'{source}: missing from the backup. {_TRY_ANOTHER}') from e
    is_same = stat.S_ISREG(found.st_mode) and found.st_size == kept.size
    # A copy that shares its blocks was never read, neither here nor when it was backed up.
    if is_same and not (kept.sha256 is None and reflink(source, to)):
        with source.open('rb', buffering=0) as opened, to.open('wb', buffering=0) as copy:
            is_same = copy_hashed(opened, copy, advance) == kept.sha256 or kept.sha256 is None
    if not is_same:
        raise errors.VerificationError(f'{source}: not as it was backed up. {_TRY_ANOTHER}')
    _take_over(to, found.st_mtime_ns, found.st_mode)
