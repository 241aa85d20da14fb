"""Which saves of a training wait to be released? Each with its own hold on the files, so that the training may go on.

On disk, beside the outbox, one directory a save; nothing in it can be rebuilt from elsewhere::

    saves/<id>/save.json    where it goes and what it is called
    saves/<id>/files/       its files: links to those of the training, or copies
    saves/<id>/result.json  what came of it, for who handed it over

Where the training writes to another disk, which no link reaches from here, the files are held in ``.hfmirror/<id>/`` beside
its folder, or in it. A save that is half handed over has no save.json. What is released, or waits in the outbox with its own
copy of the bytes, is gone from here.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import durable, errors, finished, outbox, output
from hfmirror import folder as folders
from hfmirror.config.places import PROJECT_FILE, Home
from hfmirror.copying import copy_hashed
from hfmirror.store import reflink

BESIDE = '.hfmirror'

_FORMAT = 1
_STALE_S = 24 * 3600  # a hand-over that is older was killed


@dataclass(frozen=True)
class Save:
    """One release that a training has asked for. What is None or empty is as the configuration has it.

    ``tag`` None: as ``bump``, or the configuration, says. ``series`` is the template of the tags that are pruned once more
    than ``keep_tags`` are there, such as ``step-{step}``; a tag of a series that stands for something else already gets a
    number: ``step-100.2``. ``config_file`` and ``folder`` are absolute; without a ``config_file`` it is the one of the working
    directory that the save was handed over in.
    """

    folder: str  # that a person knows it by
    repo: str | None = None
    repo_type: str = 'model'
    branch: str | None = None
    remotes: tuple[str, ...] = ()
    tag: str | None = None
    message: str | None = None
    experiment: str | None = None
    path_in_repo: str | None = None
    keep: bool | None = None
    private: bool | None = None
    sections: Mapping[str, str] | None = None  # of the card, {heading: Markdown}
    series: str | None = None
    keep_tags: int | None = None
    config_file: str | None = None
    code: str | None = None  # in the repository whose commit made it, where `folder` is not
    source_commit: str | None = None  # that commit: another may be checked out by then
    source_dirty: bool = False
    seal: str | None = None  # what tells its files, as they were handed over, from any others
    linked: tuple[tuple[str, str], ...] = ()  # (folder, where below `held` there are links to its files)
    id: str = ''
    held: str = ''  # the folder with its files
    created: str = ''  # ISO 8601, UTC
    attempts: int = 0
    error: str | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.tag or self.experiment or Path(self.folder).name


class Part(NamedTuple):
    """Files of a save: those of ``folder``, under ``into`` in the release ('' for its root)."""

    folder: Path
    into: str = ''
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


class Result(NamedTuple):
    """What came of a save: ``status`` of its release (pushed, up-to-date, queued), or failed, with the reason and its exit code."""

    save: Save
    status: str
    version: str | None = None
    url: str | None = None
    error: str | None = None
    exit_code: int = 0


class Spool:
    """The saves that wait, oldest first."""

    def __init__(self, home: Home) -> None:
        self.root = home.outbox / 'saves'

    def put(
        self,
        save: Save,
        parts: Iterable[Part],
        *,
        written: Mapping[str, bytes] | None = None,
        copies: bool = False,
        sealed: bool = False,
    ) -> Save:
        """Hold the files of a save. When this returns the training may remove them.

        They are linked where possible, which takes no time; with ``copies`` they are made to share blocks, or copied, since
        the training will write into the same files again. ``sealed``: nobody knows who writes there, and a link that shows
        what was written later is not to be released; see ``require_unchanged``. ``written`` are further files, {path: content}. Raises as
        ``folder.walk`` does, and HfmirrorError when the disk has no room for copies.
        """
        name = outbox.new_id()
        held = self.root / name / 'files'
        try:
            held = self._place(name, Path(save.folder)) / 'files'
            save = replace(
                save, id=name, created=outbox.now(), held=str(held), config_file=_project_file(save)
            )
            linked = [(_hold(part, held / part.into, copies=copies), part.into) for part in parts]
            for path, content in (written or {}).items():
                _hold_content(held / path, content)
            if not copies:
                save = replace(save, linked=tuple((str(root), into) for root, into in linked))
            if sealed or (save.series and not copies):
                save = replace(save, seal=_seal(held))
            # Now it counts: what was held before a kill is removed by `tidy`.
            _write(self.root / name / 'save.json', save)
        except BaseException as e:
            _let_go(held)
            if not isinstance(e, OSError):
                raise
            raise errors.HfmirrorError(
                f'{save.folder}: cannot be held for its release: {e.strerror or e}. '
                f'Free some space in {held.parent.parent}, or push the folder.'
            ) from e
        return save

    def _place(self, name: str, folder: Path) -> Path:
        """Return where to hold files of ``folder``: where links to them can be."""
        own = self.root / name
        own.mkdir(parents=True)
        near = folder if folder.exists() else folder.parent  # one that was removed, and is held already
        disk = near.stat().st_dev
        if own.stat().st_dev == disk:
            return own
        for place in (folder.parent, near):  # in the folder itself, where that is all that is mounted
            if place.stat().st_dev == disk and os.access(place, os.W_OK):
                (own / 'beside').write_text(str(place / BESIDE / name))  # for `tidy`, after a kill
                return place / BESIDE / name
        return own

    def saves(self) -> list[Save]:
        """Return what waits, oldest first; without those that are done and whose result nobody has read."""
        found = sorted(self.root.glob('[0-9]*/save.json'))
        return [save for path in found if (save := _load(path))]

    def fail(self, save: Save, why: str) -> Save:
        """Write down why a save could not be released; it goes on waiting."""
        failed = replace(save, attempts=save.attempts + 1, error=why)
        if (self.root / save.id / 'save.json').exists():  # else it was dropped meanwhile
            _write(self.root / save.id / 'save.json', failed)
        return failed

    def finish(self, save: Save, result: Result) -> None:
        """Let go of the files of a save, and leave what came of it for who asks."""
        path = self.root / save.id
        durable.write(path / 'result.json', json.dumps({**result._asdict(), 'save': asdict(save)}).encode())
        (path / 'save.json').unlink(missing_ok=True)
        _let_go(Path(save.held))

    def result(self, save: Save) -> Result | None:
        """Return what came of a save, once; None while it waits. One that has failed waits with its ``error``."""
        path = self.root / save.id / 'result.json'
        try:
            found = json.loads(path.read_text('utf-8'))
            found['save'] = _save_of(found['save'])
            result = Result(**found)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        shutil.rmtree(path.parent, ignore_errors=True)
        return result

    def drop(self, identifier: str) -> Save | None:
        """Forget a save and its files; returns it, None when there is none of that id."""
        dropped = next((save for save in self.saves() if save.id == identifier), None)
        if dropped is not None:
            (self.root / dropped.id / 'save.json').unlink(missing_ok=True)
            _let_go(Path(dropped.held))
            shutil.rmtree(self.root / dropped.id, ignore_errors=True)
        return dropped

    def own(self, folder: Path) -> None:
        """Turn links to files below ``folder`` into copies: a training is about to write there again."""
        for save in self.saves():
            if Path(save.folder).is_relative_to(folder):
                # One that is released meanwhile has no files any more, which this passes over.
                for place, _, names in os.walk(save.held):
                    for name in names:
                        _make_own(Path(place, name), Path(save.held).with_name('own.tmp'))

    def require_unchanged(self, save: Save) -> None:
        """Raise SourceChanged when something has written into files of a sealed save: a link shows that, too.

        Of a series it is one whose result is no longer whole: a callback may write the same step once more, whole.
        """
        if save.seal is None or save.seal == _seal(held := Path(save.held)):
            return
        if not save.series:
            raise errors.SourceChanged(
                f'{save.folder}: files in it have been written over since this was handed over to be released, so it was left '
                f"out. Hand over what is there now when it is finished; 'hfmirror resume --drop {save.id}' forgets this one."
            )
        if unfinished := finished.look(held).unfinished:
            raise errors.SourceChanged(
                f'{save.folder}: what was saved as {save.name} has been written over since, and is half written now: '
                f"{'; '.join(unfinished[:3])}. 'hfmirror resume --drop {save.id}' forgets it."
            )

    def tidy(self, now_s: float) -> None:
        """Remove what killed hand-overs left, and results that nobody has read for a day."""
        for path in self.root.glob('[0-9]*'):
            with suppress(OSError):
                if (path / 'save.json').exists() or path.stat().st_mtime > now_s - _STALE_S:
                    continue
                if (path / 'beside').exists():
                    _let_go(Path((path / 'beside').read_text()) / 'files')
                shutil.rmtree(path, ignore_errors=True)


def _hold(part: Part, into: Path, *, copies: bool) -> Path:
    """Hold the files of a part; returns the folder that they are in, links resolved."""
    found = folders.walk(part.folder, include=part.include, exclude=part.exclude)
    into.mkdir(parents=True, exist_ok=True)
    for file in found.files:
        path = into / file.path
        path.parent.mkdir(parents=True, exist_ok=True)
        _hold_file(file.source, path, copies=copies)
    # What brings back files that .gitignore names is in no release itself, and has to do it once more.
    for name in (out.path for out in found.left_out if out.path.rpartition('/')[2] == '.hfignore'):
        if (into / name).parent.is_dir():
            _hold_file(found.root / name, into / name, copies=copies)
    return found.root


def _seal(held: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(held.rglob('*')):
        found = path.lstat()
        if stat.S_ISREG(found.st_mode):
            row = (str(path.relative_to(held)), found.st_size, found.st_mtime_ns)
            digest.update(repr(row).encode('utf-8', 'surrogateescape'))
    return digest.hexdigest()


def _hold_content(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # a link to the training's own
    path.write_bytes(content)


def _let_go(held: Path) -> None:
    """Remove the files of a save, and the folder that was made for them beside those of the training."""
    if held.name != 'files':
        return
    shutil.rmtree(held, ignore_errors=True)
    with suppress(OSError):
        if held.parent.parent.name == BESIDE:
            held.parent.rmdir()
            held.parent.parent.rmdir()


def _hold_file(source: Path, path: Path, *, copies: bool) -> None:
    if not copies:
        with suppress(OSError):  # another file system, or a file that is not ours
            os.link(source, path)
            return
    if not reflink(source, path):
        with source.open('rb', buffering=0) as reading, path.open('wb', buffering=0) as writing:
            copy_hashed(reading, writing)


def _make_own(path: Path, beside: Path) -> None:
    """Put a copy in the place of a held file that is a link to the training's own; ``beside`` is where it is written."""
    with suppress(FileNotFoundError):  # released meanwhile
        found = path.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink == 1:
            return
        _hold_file(path, beside, copies=True)
        os.utime(beside, ns=(found.st_atime_ns, found.st_mtime_ns))  # as it was sealed
        os.replace(beside, path)


def _project_file(save: Save) -> str | None:
    """Return the configuration that a save is released by, wherever the process that does it is started."""
    here = Path(PROJECT_FILE).absolute()
    return save.config_file or (str(here) if os.path.lexists(here) else None)


def _write(path: Path, save: Save) -> None:
    durable.write(path, json.dumps({'format': _FORMAT, **asdict(save)}).encode())


def _load(path: Path) -> Save | None:
    try:
        found = json.loads(path.read_text('utf-8'))
        if found.pop('format') != _FORMAT:
            output.warn(f'{path}: written by another version of hfmirror; it is left alone')
            return None
        save = _save_of(found)
    except FileNotFoundError:
        return None  # released meanwhile
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as e:
        output.warn(f'{path}: this waiting save cannot be read ({e}); it is left alone')
        return None
    return save if save.id == path.parent.name else None


def _save_of(found: dict[str, Any]) -> Save:
    known = {field.name for field in fields(Save)}
    given: dict[str, Any] = {key: value for key, value in found.items() if key in known}
    given['remotes'] = tuple(given.get('remotes', ()))
    given['linked'] = tuple((str(folder), str(into)) for folder, into in given.get('linked', ()))
    return Save(**given)
