"""What is in the folder that is to be released, what is left out of it, and what keeps it from being released?"""

from __future__ import annotations

import errno
import os
import re
import stat
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror.errors import SourceChanged, SourceError, UsageError
from hfmirror.ignore import IGNORE_FILES, Globs, IgnoreRules, named_by, never_released, read_rules
from hfmirror.output import count, warn

_NAMES = 10
_LINKED_FOLDERS = 10_000  # links to folders of links multiply; no training folder comes near this

_VANISHED = 'vanished while the folder was read'
_UNREADABLE = 'cannot be read'
_OUTSIDE = 'a link that points outside the folder'
_CIRCLE = 'a link that leads in a circle'
_DANGLING = 'a link that points to nothing'
_SPECIAL = 'a pipe, socket or device'
_ENCODING = 'the name is not UTF-8'
_CHARACTERS = 'the name has a control character or a backslash'
_COLLISION = 'names that are the same on macOS or Windows'
_LEAVE_OUT = 'leave it out with --exclude'
_ADVICE = {
    _VANISHED: 'Wait until the training run is done, and push again.',
    _UNREADABLE: f'Give yourself the right to read it, or {_LEAVE_OUT}.',
    _OUTSIDE: f'Put a copy of what it points to in its place, or {_LEAVE_OUT}.',
    _CIRCLE: f'Remove the link, or {_LEAVE_OUT}.',
    _DANGLING: f'Remove or mend the link, or {_LEAVE_OUT}.',
    _SPECIAL: f'Only files can be released: {_LEAVE_OUT}.',
    _ENCODING: f'Rename it, or {_LEAVE_OUT}.',
    _CHARACTERS: f'Rename it, or {_LEAVE_OUT}.',
    _COLLISION: 'Rename all but one, or leave them out with --exclude.',
}


class SourceFile(NamedTuple):
    """A file to release as ``path``. ``source`` is absolute, links resolved; ``stat`` is what it was when found."""

    path: str
    source: Path
    stat: os.stat_result


class LeftOut(NamedTuple):
    """A file that is not released; a ``path`` that ends with a slash stands for all of that folder."""

    path: str
    reason: str


class Folder(NamedTuple):
    """What there is to release. ``root`` is absolute, links resolved; both lists are ordered by path.

    ``file`` is the file that a person named in place of a folder; ``root`` is then where that is.
    """

    root: Path
    files: list[SourceFile]
    left_out: list[LeftOut]
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    file: Path | None = None


def walk(root: Path, *, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> Folder:
    """Return the files of ``root`` that are to be released, and what is left out. No file is read.

    Links within the folder are followed: what they point to is released under their name.
    Raises UsageError when there is no folder or nothing in it to release, SourceError with every file that
    cannot be released; what is left out does no harm.
    """
    walker = _Walk(_resolved(root), include, exclude)
    walker.run()
    for paths in _collisions(file.path for file in walker.files):
        walker.problems[_COLLISION].append(' and '.join(_shown(path) for path in paths))
    if walker.problems:
        raise SourceError(_explained(root, walker.problems))
    folder = Folder(
        Path(walker.root), sorted(walker.files), sorted(walker.left_out), tuple(include), tuple(exclude)
    )
    if not folder.files:
        raise UsageError(_nothing(root, folder.left_out))
    return folder


def alone(file: Path) -> Folder:
    """Return a single file as what there is to release, under its own name; of a link it is what that points to.

    Raises UsageError for one that is in no release, SourceError when it cannot be released.
    """
    source = Path(os.path.realpath(file))
    reason = never_released(file.name, is_dir=False) or never_released(source.name, is_dir=False)
    if reason:
        raise UsageError(f'{file}: in no release ({reason}). Name another file.')
    try:
        found = os.stat(source, follow_symlinks=False)
    except OSError as e:
        raise UsageError(f'{file}: cannot be read ({e.strerror}). Name a file that you may read.') from e
    problem = _problem(file.name, str(source), found.st_mode)
    if problem:
        raise SourceError(f'{file}: {problem}. {_ADVICE[problem].partition(", or ")[0].rstrip(".")}.')
    if found.st_size == 0:
        warn(f'{file}: the file is empty')
    given = Path(os.path.abspath(file))
    return Folder(source.parent, [SourceFile(file.name, source, found)], [], file=given)


def walk_again(folder: Folder) -> Folder:
    """Return what is in the folder now, chosen as it was. Raises SourceChanged when a file has vanished since."""
    if folder.file is not None:
        if not folder.file.is_file():
            raise SourceChanged(f'{folder.file}: vanished while it was read. Push again when it is there.')
        return alone(folder.file)
    found = walk(folder.root, include=folder.include, exclude=folder.exclude)
    gone = {file.path for file in folder.files} - {file.path for file in found.files}
    if gone:
        raise SourceChanged(
            f'{_some([_shown(str(folder.root / path)) for path in sorted(gone)])}: vanished while the folder was read. '
            'Push again when nothing writes to it any more.'
        )
    return found


def _resolved(root: Path) -> str:
    try:
        with os.scandir(root):
            return os.path.realpath(root)
    except FileNotFoundError as e:
        raise UsageError(f'{root}: no such folder. Name the folder that the training run has written.') from e
    except NotADirectoryError as e:
        raise UsageError(
            f'{root}: a file, not a folder. Name the folder it is in; --include picks files.'
        ) from e
    except (OSError, ValueError) as e:
        reason = getattr(e, 'strerror', None) or str(e)
        raise UsageError(f'{root}: cannot be read ({reason}). Name a folder that you may read.') from e


class _Place(NamedTuple):
    """A directory on the walk: its ``path`` in the release ('' or with a slash at its end) and on disk."""

    path: str
    real: str
    linked_from: tuple[str, ...]  # the real folders of the links that led here
    rules: tuple[IgnoreRules, ...]  # deepest first
    included: bool


class _Walk:
    """One walk over a folder: what it found so far, and what it still has to look at."""

    def __init__(self, root: str, include: Sequence[str], exclude: Sequence[str]) -> None:
        self.root = root
        self.files: list[SourceFile] = []
        self.left_out: list[LeftOut] = []
        self.problems: defaultdict[str, list[str]] = defaultdict(list)
        self._includes = Globs(include, option='--include')
        self._excludes = Globs(exclude, option='--exclude')
        self._linked = 0
        self._ahead = [_Place('', root, (), (), not self._includes)]

    def run(self) -> None:
        while self._ahead:
            self._enter(self._ahead.pop())

    def _enter(self, place: _Place) -> None:
        try:
            with os.scandir(place.real) as found:
                entries = list(found)
            present = [entry.name for entry in entries if entry.name in IGNORE_FILES and _is_plain(entry)]
            if present:
                rules = read_rules(place.path, place.real, present)
                place = place._replace(rules=(rules, *place.rules))
        except OSError as e:
            self._failed(place.path or place.real, e)
            return
        for entry in entries:
            self._visit(entry, place)

    def _visit(self, entry: os.DirEntry[str], place: _Place) -> None:
        path, real = place.path + entry.name, os.path.join(place.real, entry.name)
        is_dir = _is_dir(entry)
        included = place.included or self._includes.match(path, is_dir=is_dir)
        if reason := self._reason(path, place, is_dir=is_dir, included=included):
            self.left_out.append(LeftOut(path + '/' * is_dir, reason))
        elif entry.is_symlink():
            self._follow(place._replace(path=path, included=included), real, is_dir=is_dir)
        elif is_dir:
            self._ahead.append(place._replace(path=f'{path}/', real=real, included=included))
        else:
            self._add(path, real)

    def _reason(self, path: str, place: _Place, *, is_dir: bool, included: bool) -> str | None:
        if reason := never_released(path, is_dir=is_dir):
            return reason
        if place.rules and (name := named_by(place.rules, path, is_dir=is_dir)):
            return f'named in {name}'
        if self._excludes.match(path, is_dir=is_dir):
            return 'matches --exclude'
        return None if included or is_dir else 'matches no --include'

    def _follow(self, link: _Place, path_on_disk: str, *, is_dir: bool) -> None:
        """Release what a link points to under the link's path; ``link.real`` is the folder the link is in."""
        try:
            real = os.path.realpath(path_on_disk, strict=True)
        except OSError as e:
            self._failed(link.path, e, missing=_DANGLING)
            return
        inside = self.root.rstrip(os.sep) + os.sep
        if real != self.root and not real.startswith(inside):
            self.problems[_OUTSIDE].append(f'{_shown(link.path)} -> {_shown(real)}')
        elif reason := _never_along(real.removeprefix(inside).replace(os.sep, '/'), is_dir=is_dir):
            self.left_out.append(LeftOut(link.path + '/' * is_dir, f'points to what is left out: {reason}'))
        elif is_dir:
            self._enter_link(link, real)
        else:
            self._add(link.path, real)

    def _enter_link(self, link: _Place, real: str) -> None:
        linked_from = (*link.linked_from, link.real)
        self._linked += 1
        if self._linked > _LINKED_FOLDERS:
            raise SourceError(
                f'{self.root}: more than {_LINKED_FOLDERS:,} links to folders, the last at {_shown(link.path)}. '
                'Remove links to folders that have such links themselves.'
            )
        if any(_is_within(folder, real) for folder in linked_from):
            self.problems[_CIRCLE].append(_shown(link.path))
            return
        self._ahead.append(link._replace(path=f'{link.path}/', real=real, linked_from=linked_from))

    def _add(self, path: str, real: str) -> None:
        try:
            # Not entry.stat(), which knows neither device nor inode on Windows.
            found = os.stat(real, follow_symlinks=False)
        except OSError as e:
            self._failed(path, e)
            return
        problem = _problem(path, real, found.st_mode)
        if problem:
            self.problems[problem].append(_shown(path))
        else:
            self.files.append(SourceFile(path, Path(real), found))

    def _failed(self, path: str, error: OSError, *, missing: str = _VANISHED) -> None:
        if error.errno == errno.ELOOP:
            self.problems[_CIRCLE].append(_shown(path))
        elif isinstance(error, FileNotFoundError | NotADirectoryError):
            self.problems[missing].append(_shown(path))
        else:
            self.problems[_UNREADABLE].append(f'{_shown(path)} ({error.strerror})')


def _is_plain(entry: os.DirEntry[str]) -> bool:
    return entry.is_file(follow_symlinks=False)


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _never_along(path: str, *, is_dir: bool) -> str | None:
    """Return why ``path``, or a folder it is in, is in no release."""
    parts = path.split('/')
    for end in range(1, len(parts) + 1):
        if parts[end - 1] and (
            reason := never_released('/'.join(parts[:end]), is_dir=is_dir or end < len(parts))
        ):
            return reason
    return None


def _problem(path: str, real: str, mode: int) -> str | None:
    if not stat.S_ISREG(mode):
        return _SPECIAL
    if not path.isprintable() or '\\' in path:
        if re.search('[\ud800-\udfff]', path):
            return _ENCODING
        if re.search(r'[\x00-\x1f\x7f-\x9f\u2028\u2029\\]', path):
            return _CHARACTERS
    return None if os.access(real, os.R_OK) else _UNREADABLE


def _collisions(paths: Iterable[str]) -> list[list[str]]:
    """Return the groups of paths, folders too, that are one and the same where case or Unicode form do not count."""
    same: defaultdict[str, set[str]] = defaultdict(set)
    folders: set[str] = set()
    for path in paths:
        same[_canonical(path)].add(path)
        folder = path.rpartition('/')[0]
        while folder and folder not in folders:
            folders.add(folder)
            same[_canonical(folder)].add(folder)
            folder = folder.rpartition('/')[0]
    groups = {key: sorted(group) for key, group in same.items() if len(group) > 1}
    # What is in two folders that collide would only say the same again.
    return [groups[key] for key in sorted(groups) if key.rpartition('/')[0] not in groups]


def _canonical(path: str) -> str:
    if path.isascii():
        return path.lower()
    return unicodedata.normalize('NFD', unicodedata.normalize('NFD', path).casefold())


def _explained(root: Path, problems: dict[str, list[str]]) -> str:
    lines = [f'{root}: not everything in it can be released.']
    for problem, advice in _ADVICE.items():
        if problem in problems:
            lines.append(f'  {problem}: {_some(sorted(problems[problem]))}. {advice}')
    return '\n'.join(lines)


def _nothing(root: Path, left_out: list[LeftOut]) -> str:
    if not left_out:
        return (
            f'{root}: empty, there is nothing to release. Name the folder that the training run has written.'
        )
    names = _some([f'{_shown(path)} ({reason})' for path, reason in left_out])
    return f'{root}: nothing is left to release. Left out: {names}. Change --include, --exclude or the ignore files.'


def _some(names: Sequence[str]) -> str:
    more = f' and {count(len(names) - _NAMES, "other")}' if len(names) > _NAMES else ''
    return ', '.join(names[:_NAMES]) + more


def _shown(path: str) -> str:
    """Return ``path`` with escapes for what does not print; a byte that is no UTF-8 as ``\\xff``."""
    text = os.fsencode(path).decode('utf-8', 'backslashreplace')
    return ''.join(
        letter if letter.isprintable() else letter.encode('unicode_escape').decode() for letter in text
    )
