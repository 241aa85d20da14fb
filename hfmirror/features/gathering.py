"""Which one folder is published when several feature sets are to be one release?

1. That of the only set.
2. The folder above them, where they lie in it as ``SYMBOL/TIMEFRAME``, as the generator writes them.
3. A folder of links beside the first set, for as long as the upload takes.

The links are hard ones: nothing is copied, the files keep the inode by which the stat cache knows them, and the folder is
in the repository of the training code, whose commit the release tells. Only what lies on another file system is copied.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, pulling
from hfmirror import folder as folders
from hfmirror.clonedir import locked
from hfmirror.config.places import Home
from hfmirror.features.featureset import ROOT, FeatureSet
from hfmirror.folder import LeftOut, SourceFile
from hfmirror.rules import in_repo
from hfmirror.statcache import Stamp

_MARK = 'hfmirror.links'  # in a folder of links, which may be removed


class Gathered(NamedTuple):
    """A folder, where it goes, and which of its files are the feature sets: {set: files, in the order of its names}."""

    folder: Path
    path_in_repo: str
    files: Mapping[FeatureSet, Sequence[SourceFile]]

    @property
    def include(self) -> list[str]:
        """The patterns that name these files and no others."""
        return [f'/{file.path}' for files in self.files.values() for file in files]

    def sizes(self) -> dict[str, int]:
        """Return {path in the repository: bytes}."""
        return {
            in_repo(file.path, self.path_in_repo): file.stat.st_size
            for files in self.files.values()
            for file in files
        }


@contextmanager
def gathered(sets: Sequence[FeatureSet], home: Home, *, exclude: Sequence[str] = ()) -> Iterator[Gathered]:
    """Have the sets in one folder while the context is open. Nothing but names and sizes is read.

    Raises SourceError for a file that is missing or is to be left out, by ``exclude`` or the folder's ignore files.
    """
    root = sets[0].folder if len(sets) == 1 else _folder_above(sets)
    if root is not None:
        path = sets[0].remote_dir if len(sets) == 1 else ROOT
        below = f'{path}/' if len(sets) == 1 else f'{ROOT}/'
        yield Gathered(root, path, {one: _files(one, root, below, exclude) for one in sets})
        return
    sources = {one: _files(one, one.folder, f'{one.remote_dir}/', exclude) for one in sets}
    with _linked(sources, home) as links:
        yield Gathered(links, ROOT, {one: _files(one, links, f'{ROOT}/', exclude) for one in sets})


def _folder_above(sets: Sequence[FeatureSet]) -> Path | None:
    """Return the folder in which each set lies as the repository has it, None when there is none."""
    places = {one: one.folder.resolve() for one in sets}
    if any(place.parts[-2:] != (one.symbol, one.timeframe) for one, place in places.items()):
        return None
    above = {place.parents[1] for place in places.values()}
    return above.pop() if len(above) == 1 else None


def _files(one: FeatureSet, root: Path, below: str, exclude: Sequence[str]) -> list[SourceFile]:
    """Return the files of a set in ``root``, which becomes ``below`` of the repository."""
    _require_there(one)
    names = [f'{one.remote_dir}/{name}'.removeprefix(below) for name in one.names]
    found = folders.walk(root, include=[f'/{name}' for name in names], exclude=exclude)
    by_name = {file.path: file for file in found.files}
    for name in names:
        if name not in by_name:
            raise errors.SourceError(
                f'{root / name}: would be left out ({_reason(name, found.left_out)}), and a feature set is only whole with '
                'all its files. Change the ignore file or layout.exclude.'
            )
    return [by_name[name] for name in names]


def _require_there(one: FeatureSet) -> None:
    if not one.folder.is_dir():
        raise errors.UsageError(f'{one.folder}: no such folder. Name the one that has the features of {one}.')
    missing = [name for name in one.names if not os.path.lexists(one.folder / name)]
    if missing:
        raise errors.SourceError(
            f'{one.folder}: {", ".join(missing)}: not there. The features of {one} are these files: {", ".join(one.names)}. '
            'Make them again.'
        )


def _reason(name: str, left_out: Sequence[LeftOut]) -> str:
    return next(
        (left.reason for left in left_out if name == left.path or name.startswith(left.path)), 'not found'
    )


@contextmanager
def _linked(sources: Mapping[FeatureSet, Sequence[SourceFile]], home: Home) -> Iterator[Path]:
    """Have all files in a folder of links, laid out as below ``ROOT``; the same sets have the same folder each time."""
    listing = '\0'.join(sorted(str(file.source) for files in sources.values() for file in files))
    name = f'.hfmirror-features-{hashlib.sha256(os.fsencode(listing)).hexdigest()[:12]}'
    beside = next(iter(sources)).folder.resolve().parent
    home.cache.mkdir(parents=True, exist_ok=True)
    with locked(home.cache / f'{name}.lock', ', '.join(map(str, sources))):
        links = _made(name, [beside, home.cache])
        try:
            for one, files in sources.items():
                to = links / one.symbol / one.timeframe
                to.mkdir(parents=True)
                for file in files:
                    _link(file, to / file.path)
            yield links
        finally:
            shutil.rmtree(links, ignore_errors=True)


def _made(name: str, places: Sequence[Path]) -> Path:
    """Make an empty folder in the first place that can be written; what a killed run left of it goes before."""
    for place in places:
        folder = place / name
        try:
            _remove_leavings(folder)
            folder.mkdir()
            (folder / _MARK).touch()
            return folder
        except OSError as e:
            if e.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                continue
            raise errors.SourceError(
                f'{folder}: cannot be made ({e.strerror}). Mend that, and upload again.'
            ) from e
    raise errors.SourceError(
        f'{places[0]}: cannot be written, nor can {places[-1]}. Make room for links there.'
    )


def _remove_leavings(folder: Path) -> None:
    if (folder / _MARK).is_file() and not folder.is_symlink():
        shutil.rmtree(folder)
    with suppress(FileNotFoundError):
        folder.rmdir()  # a kill came before the mark; what has something in it is somebody else's, and stays


def _link(file: SourceFile, to: Path) -> None:
    try:
        os.link(file.source, to)
    except OSError:  # another file system, or one without hard links
        pulling.copy_of(file.source, to)
        shutil.copystat(file.source, to)
    if Stamp.of(file.source.stat()) != Stamp.of(file.stat):
        raise errors.SourceChanged(
            f'{file.source}: changed while it was read. Upload again when nothing writes to it any more.'
        )
