"""What has a command left that is finished, and where? In the folders that were named, else below the working directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple

from hfmirror import errors, finished, output
from hfmirror.facts import weights

_DEPTH = 4  # folders below the working directory
_MOST = 5_000  # folders that are looked into
_FILES_MAX = 50_000  # files whose times are looked at, of each
_JSON_MAX = 64 * 1024 * 1024  # bytes
_EARLIER_S = 2.0  # by which the clock of a file system may be behind
_MARKS = ('config.json', 'adapter_config.json', 'model_index.json', 'trainer_state.json')
_PASSED_OVER = {
    'node_modules',
    'site-packages',
    '__pycache__',
    'wandb',
    'mlruns',
    'lightning_logs',
    'runs',
    'logs',
}


class Left(NamedTuple):
    """What a command has left in ``named``, the folder that a person knows it by.

    ``path`` is what of it is released: the folder, a single file, or one checkpoint, at ``step``. ``exclude`` is what is not.
    """

    named: Path
    path: Path
    step: int | None = None
    exclude: tuple[str, ...] = ()


class Command(NamedTuple):
    """What is to be known of the command: when it began, by the clock of the files, and whether it has succeeded."""

    began: float
    succeeded: bool


def now_at(folder: Path) -> float:
    """Return what time it is by the clock that dates the files of a folder, as a time of the epoch."""
    try:
        with TemporaryFile(dir=folder) as file:
            return os.fstat(file.fileno()).st_ctime
    except OSError:
        return time.time() - _EARLIER_S


def left_in(folder: Path, command: Command) -> Left | None:
    """Return what is finished in a folder or file that was named; None for nothing, which is told.

    What has not changed since the command began is released only when that succeeded: then it may be meant.
    """
    if not os.path.lexists(folder):
        output.warn(f'{folder}: the command has left nothing there')
        return None
    # Here each file counts, however many there are: a crash must not lose the one that is new.
    newest = command.began if command.succeeded else newest_change(folder, enough=command.began, most=None)
    if newest < command.began:
        output.say(f'{folder}: as it was before the command began; not released')
        return None
    if not folder.is_file():
        return _finished(folder)
    if not command.succeeded and _is_cut(folder):
        output.warn(f'{folder}: half written. It is not released.')
        return None
    return Left(folder, folder)


def _is_cut(file: Path) -> bool:
    """Return whether a file ends before its own form says; of most forms nobody can tell."""
    try:
        if file.suffix == '.safetensors':
            return not weights.is_whole(file)
        if file.suffix != '.json' or file.stat().st_size > _JSON_MAX:
            return False
        text = file.read_bytes()
    except OSError:
        return False  # who releases it says what is wrong with it
    return not text.strip() or not (_is_json(text) or all(map(_is_json, text.splitlines())))


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _finished(folder: Path) -> Left | None:
    """Return the folder when it is whole, else its newest checkpoint that is. What is half written is named."""
    look, checkpoints = finished.look(folder), finished.checkpoints(folder)
    if look.is_finished or (look.kind is None and not checkpoints):
        return Left(folder, folder, exclude=_all_of(checkpoints))
    if look.unfinished:
        output.warn(f'{look.reason} It is not released.')
    for checkpoint in reversed(checkpoints):
        seen = finished.look(checkpoint.path)
        if seen.is_finished:
            output.say(
                f'{folder}: no final model; {checkpoint.path.name} is the newest checkpoint that is whole'
            )
            return Left(folder, checkpoint.path, checkpoint.step)
        output.warn(f'{seen.reason} It is not released.')
    return None


def _all_of(checkpoints: Sequence[finished.Checkpoint]) -> tuple[str, ...]:
    """Return what leaves the checkpoints out of a release of the final model that lies beside them."""
    return tuple(f'{checkpoint.path.name}/' for checkpoint in checkpoints)


def newest_below(root: Path, command: Command) -> Left | None:
    """Return the newest finished result of a training below ``root`` that has come since the command began; None for none.

    What else has changed is told, so that it can be named.
    """
    dated = [(newest_change(folder), folder) for folder in _candidates(root, command.began)]
    folders = [folder for _, folder in sorted(dated, reverse=True)]
    for place, folder in enumerate(folders):
        found = _finished(folder)
        if found is not None:
            output.say(f'{folder}: the newest result below {root}')
            others = [str(other) for other in folders[place + 1 :]]
            if others:
                output.say(
                    f'also changed: {", ".join(others[:5])}. Name what is to be released with --folder.'
                )
            return found
    return None


def _candidates(root: Path, began: float) -> Iterator[Path]:
    """Yield the folders below ``root``, not itself, in which a training has left something since ``began``."""
    ahead, seen = [(root, 0)], 0
    while ahead and seen < _MOST:
        folder, depth = ahead.pop()
        seen += 1
        if depth and has_changed(folder, began) and _is_result(folder):
            yield folder
            continue
        if depth < _DEPTH:
            ahead += [(path, depth + 1) for path in _below(folder)]


def _is_result(folder: Path) -> bool:
    """Return whether a folder is what a training leaves, and not one in which there are such folders."""
    if finished.checkpoints(folder) or any((folder / name).is_file() for name in _MARKS):
        return True
    below = any(finished.look(path).kind is not None for path in _below(folder))
    return not below and finished.look(folder).kind is not None


def _below(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    paths = [folder / name for name in sorted(names) if not name.startswith('.') and name not in _PASSED_OVER]
    return [path for path in paths if not (path / 'pyvenv.cfg').exists()]


def has_changed(path: Path, began: float) -> bool:
    """Return whether a file, or anything in a folder, was written or put there since ``began``."""
    return newest_change(path, enough=began) >= began


def newest_change(path: Path, *, enough: float = float('inf'), most: int | None = _FILES_MAX) -> float:
    """Return when something in a folder changed last, as a time of the epoch; not looked on when it is ``enough``, or after ``most`` files."""
    newest = _changed(path)
    for file in islice(_files(path), most):
        if newest >= enough:
            break
        newest = max(newest, _changed(file))
    return newest


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith('.')]
        yield from (Path(place, name) for name in [*folders, *files])


def _changed(path: Path) -> float:
    try:
        # Not the time of the content, which a copy may have from its original.
        return path.lstat().st_ctime
    except OSError:
        return 0.0


def require_distinct(folders: Sequence[Path], repo: str | None) -> None:
    """Raise UsageError when several folders would be released as one repository, each in place of the one before."""
    if len(folders) > 1 and repo is not None:
        raise errors.UsageError(
            f'{repo} is one repository, and {len(folders)} folders are named. Leave --repo out, so that each is released under '
            'its own name, or name one folder.'
        )
