"""What is kept on this machine of each release, and how does one come back?

Each repository has a directory below ``backup.local_backup_dir``. A backup is exactly the folder that was released; what is
known of its files lies beside it::

    me-tiny-model-0123456789ab/20260131-120000-123456/          the files, named by the time in UTC
    me-tiny-model-0123456789ab/20260131-120000-123456.json      where each came from, its size and sha256
    me-tiny-model-0123456789ab/20260131-120000-123456.partial/  one that is being made or removed

A folder without ``.partial`` at its end is whole. A file that has not changed since an earlier backup is that backup's file
under one more name. A backup is made before its release; ``settle`` says afterwards what came of that, and removes old ones:
those of releases are never removed for the sake of one that failed.
"""

from __future__ import annotations

import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO

from hfmirror import backupdir, durable, errors, output
from hfmirror.backupdir import NAME, PARTIAL, Backup, Kept, manifest, partial_of, read, whole
from hfmirror.clonedir import locked
from hfmirror.config.config import Config
from hfmirror.copying import copy_hashed
from hfmirror.fingerprint import steadily
from hfmirror.folder import Folder, SourceFile
from hfmirror.statcache import Stamp, time_step_ns
from hfmirror.store import reflink
from hfmirror.target import Target

_NEVER_RELEASED = '.hfignore'
_TRY_ANOTHER = 'Nothing was restored. Try another backup.'

_Known = Mapping[tuple[str, Stamp], tuple[Path, Kept]]  # what an earlier backup has of a file, and where


def back_up(folder: Folder, target: Target, config: Config) -> Path:
    """Keep a copy of a folder's files under ``backup.local_backup_dir`` and return it. No other one is removed; see ``settle``.

    When nothing has changed since the newest backup that one is returned; so is a backup that is itself released.
    Raises ConfigError when the directory cannot be used, DiskFull when it has no room; nothing is left behind then.
    """
    base = _base(config)
    place = base / target.slug
    if folder.file is None and (place == folder.root or folder.root in place.parents):
        raise errors.ConfigError(
            f'backup.local_backup_dir: {base} is inside of {folder.root}, which is to be released: the backups would be '
            'released, too. Name a directory outside.'
        )
    released = _backup_around(folder.root, base)
    if released is not None and folder.file is None:
        return released
    try:
        # The files may be for one person only, and stand in a folder that sees to that.
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(place / '.lock', str(place)):
            return _back_up(folder, target, place)
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
            if path.parent.parent == base and NAME.fullmatch(path.name) and manifest(path).is_file()
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


def _back_up(folder: Folder, target: Target, place: Path) -> Path:
    backupdir.clear(place)
    files = [*folder.files, *_ignore_files(folder)]
    earlier = [backup for path in whole(place) if (backup := read(path)) is not None]
    # A failed push may stand between the newest release and one that is the same again.
    for backup in [*earlier[:1], *[one for one in earlier if one.released][:1]]:
        if _is_the_same(backup, files):
            output.detail(f'nothing has changed since the backup {backup.path}')
            backupdir.settle(backup.path, released=None)
            return backup.path
    made = _make(place, files, earlier, {**_about(target), 'folder': str(folder.root)})
    output.detail(f'backed up to {made}')
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


def settle(made: Path, folder: Folder, config: Config, *, released: bool) -> None:
    """Write down what came of the push that ``made`` was made for, and remove those that are too old. Only warns.

    The newest ``keep_backups`` of releases stay, as many of pushes that are under way or were killed, and the newest of
    those that failed. When a backup itself was pushed none is removed.
    """
    try:
        with locked(made.parent / '.lock', str(made.parent)):
            backupdir.settle(made, released=released)
            if made not in (folder.root, *folder.root.parents):
                _remove_old(made.parent, config.backup.keep_backups)
    except OSError as e:
        output.warn(f'{e.filename or made}: {e.strerror}. Old backups were left; the next push sees to them.')


def _remove_old(place: Path, keep: int) -> None:
    fates: dict[bool | None, list[Path]] = {True: [], None: [], False: []}
    for path in whole(place):
        known = read(path)
        fates[known.released if known is not None else True].append(path)
    for path in [*fates[True][keep:], *fates[None][keep:], *fates[False][1:]]:
        _remove(path)


def _remove(path: Path) -> None:
    """Remove a backup. One that cannot be removed is no reason not to release."""
    try:
        partial = path.rename(partial_of(path))
        shutil.rmtree(partial)
        manifest(path).unlink(missing_ok=True)
    except OSError as e:
        output.warn(f'{path}: this old backup cannot be removed ({e.strerror}). Remove it by hand.')


# -- making one


def _make(
    place: Path, files: Sequence[SourceFile], earlier: Sequence[Backup], about: Mapping[str, str]
) -> Path:
    path = _new_path(place)
    partial = partial_of(path)
    known = {
        (kept.source, kept.stamp): (backup.path / kept.path, kept)
        for backup in reversed(earlier)
        for kept in backup.files
        if kept.stamp is not None
    }
    try:
        kept = _fill(partial, files, known)
        backupdir.write(path, {**about, 'released': None, 'files': [row._asdict() for row in kept]})
        partial.rename(path)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            manifest(path).unlink(missing_ok=True)
        raise
    durable.flush([place])
    return path


def _new_path(place: Path) -> Path:
    moment = datetime.now(UTC)
    newest = max((path.name for path in whole(place)), default='')
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


# -- bringing one back


def restore(backup: Path, to: Path) -> Path:
    """Copy the files of a backup into the folder ``to``, which is new or empty, and return it.

    Every file is compared with what was backed up: its size, and its sha256 where that is known. Raises NotFoundError
    when there is no such backup, VerificationError when it is damaged; ``to`` is whole or as it was before.
    """
    backup, to = backup.absolute(), to.absolute()
    found = read(backup)
    if found is None or not backup.is_dir():
        raise errors.NotFoundError(
            f'{backup}: no backup with its list of files ({manifest(backup).name} beside it). Name a folder like '
            'backups/me-model-0123456789ab/20260131-120000-123456.'
        )
    if to.exists() and not (to.is_dir() and next(to.iterdir(), None) is None):
        raise errors.UsageError(f'{to}: is there already. Name a new folder; nothing is overwritten.')
    partial = to.with_name(f'.{to.name}.{secrets.token_hex(4)}{PARTIAL}')
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
