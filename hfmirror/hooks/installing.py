"""Where do the hooks of a repository lie, and how does ours come and go without a loss for those of others?

A hook that was there becomes ``<name>.before-hfmirror`` beside ours, which runs it first; it is the same file, under another
name, until it gets its own back. pre-commit does the same with ours, which is called ``<name>.legacy`` then.
"""

from __future__ import annotations

import os
import shlex
import shutil
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hfmirror import durable, errors
from hfmirror.hooks import scripts, settings
from hfmirror.hooks.code import Code
from hfmirror.hooks.scripts import KEPT
from hfmirror.hooks.settings import HOOKS, Event, Settings

_LEGACY = '.legacy'


class Hook(NamedTuple):
    """A hook as it is in a repository. ``path`` is our script, ``before`` the hook that it goes with.

    ``problem`` is why it would not run, or not as it is meant to.
    """

    event: Event
    path: Path | None
    before: Path | None
    settings: Settings
    problem: str | None = None


def directory(code: Code) -> Path:
    """Return where git looks for hooks: ``core.hooksPath``, else the directory that all work trees share."""
    return code.root / code.git('rev-parse', '--git-path', 'hooks')


def shared_with_others(code: Code, folder: Path) -> bool:
    """Return whether a person's or machine's configuration sends every repository to this directory for its hooks."""
    if any(folder.is_relative_to(own) for own in (code.root, code.git_dir, code.shared)):
        return False
    scope = (code.asked('config', '--show-scope', '--get', 'core.hooksPath') or '').split('\t')[0]
    return scope in ('global', 'system')


def install(
    code: Code, event: Event, wanted: Settings, *, force: bool = False, dry_run: bool = False
) -> Hook:
    """Have git run ours at an event; a hook that is there stays, and is run by ours.

    Raises UsageError where it makes no sense, and without ``force`` where the directory is that of other repositories too.
    """
    if code.bare and event == 'commit':
        raise errors.UsageError(
            f'{code.root}: a bare repository, in which nobody commits. Install with --on tag, or where the code is worked on.'
        )
    place = directory(code)
    if switched_off := _switched_off(code, place):
        raise errors.UsageError(switched_off)
    if shared_with_others(code, place) and not force:
        raise errors.UsageError(_shared(code, place, event))
    path, before = _ours(place, event), place / f'{HOOKS[event]}{KEPT}'
    if path is None:
        path = place / HOOKS[event]
        _require_room(path, before)
    if not dry_run:
        _write(path, before, event)
        settings.write(code, event, wanted)
    kept = before if os.path.lexists(before) or (os.path.lexists(path) and dry_run) else None
    return Hook(event, path, kept, wanted, None if dry_run else _problem(code, place, path, event))


def uninstall(code: Code, event: Event, *, force: bool = False, dry_run: bool = False) -> Hook | None:
    """Take ours away and put back the hook that was there; None when there is nothing of ours.

    One in a directory of other repositories too stays without ``force``: it does nothing where no settings are.
    """
    place = directory(code)
    path, before = _ours(place, event), place / f'{HOOKS[event]}{KEPT}'
    had = settings.installed(code).get(event)
    stays = path is not None and shared_with_others(code, place) and not force
    if not dry_run:
        settings.remove(code, event)
        try:
            if not stays:
                _put_back(path or place / HOOKS[event], before)
            _leave(code.shared / 'hooks', event)  # where it lay before core.hooksPath was set
        except OSError as e:
            raise errors.HfmirrorError(
                f'{path or place}: the hook cannot be removed: {e.strerror or e}. It releases nothing any more; '
                'give yourself the right to write there, and uninstall again.'
            ) from e
    if path is None and had is None:
        return None
    problem = f'{path} stays: other repositories have it too. --force removes it.' if stays else None
    return Hook(event, path, before if os.path.lexists(before) else None, had or Settings(), problem)


def hooks(code: Code) -> list[Hook]:
    """Return the hooks that are installed in this repository, or that something has taken away since."""
    place, found = directory(code), list[Hook]()
    wanted = settings.installed(code)
    for event, name in HOOKS.items():
        path, before = _ours(place, event), place / f'{name}{KEPT}'
        if event in wanted:
            kept = before if os.path.lexists(before) else None
            problem = _problem(code, place, path, event)
            found.append(Hook(event, path, kept, wanted[event], problem))
    return found


def _ours(place: Path, event: Event) -> Path | None:
    paths = [place / HOOKS[event], place / f'{HOOKS[event]}{_LEGACY}']
    return next((path for path in paths if scripts.is_ours(path)), None)


def _require_room(path: Path, before: Path) -> None:
    """Raise UsageError when two hooks of others are there, of which only one can be kept."""
    if not (os.path.lexists(path) and os.path.lexists(before)) or _same(path, before):
        return
    raise errors.UsageError(
        f'{path} and {before}: two hooks, and one can be kept. The first was put in the place of ours; '
        'make one of the two, and remove the other.'
    )


def _write(path: Path, before: Path, event: Event) -> None:
    """Put our script there; until the settings are written, too, all that it does is to run the one that was there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _keep(path, before)
        content = scripts.script(event, before)
        if not _is(path, content):
            durable.write(path, content, mode=0o755)
    except OSError as e:
        raise errors.HfmirrorError(
            f'{path}: the hook cannot be written: {e.strerror or e}. Give yourself the right to write there, or make room, '
            'and install again.'
        ) from e


def _keep(path: Path, before: Path) -> None:
    """Give the hook that is there its second name. At no moment is there none: ours takes the first one from it."""
    if scripts.is_ours(path) or not os.path.lexists(path):
        return
    with suppress(FileNotFoundError):
        before.unlink()  # the same file, or the same bytes: see _require_room
    try:
        os.link(path, before, follow_symlinks=False)
    except OSError:  # a file system without hard links
        shutil.copy2(path, before, follow_symlinks=False)


def _put_back(path: Path, before: Path) -> None:
    if scripts.is_ours(path):
        # pre-commit runs what is here, and not itself.
        if path.name.endswith(_LEGACY) and scripts.is_of_pre_commit(before):
            before.unlink()
        if os.path.lexists(before):
            os.replace(before, path)
        else:
            path.unlink()
    elif os.path.lexists(before) and (not os.path.lexists(path) or _same(path, before)):
        os.replace(before, path)
        before.unlink(missing_ok=True)  # two names of one file: then replacing does nothing


def _leave(place: Path, event: Event) -> None:
    path = _ours(place, event)
    if path is not None:
        _put_back(path, place / f'{HOOKS[event]}{KEPT}')


def _same(path: Path, before: Path) -> bool:
    try:
        return path.samefile(before) or path.read_bytes() == before.read_bytes()
    except OSError:
        return False


def _is(path: Path, content: bytes) -> bool:
    return path.is_file() and path.read_bytes() == content and os.access(path, os.X_OK)


def _switched_off(code: Code, place: Path) -> str | None:
    """Return why git runs no hooks at all, None where it does. People set ``core.hooksPath`` to nothing or /dev/null for that."""
    scope, _, given = (code.asked('config', '--show-scope', '--get', 'core.hooksPath') or '').partition('\t')
    if not (scope and not given) and (not os.path.lexists(place) or place.is_dir()):
        return None
    if not scope:
        return f'{place} is no directory, so git runs no hooks in this repository; make it one.'
    return (
        f'core.hooksPath, {given!r}, is no directory, so git runs no hooks in this repository; '
        f"'git config --{scope} --unset core.hooksPath' switches them on."
    )


def _problem(code: Code, place: Path, path: Path | None, event: Event) -> str | None:
    """Return why a hook that is installed would not run as it was meant to, and what mends that."""
    if switched_off := _switched_off(code, place):
        return switched_off
    name = HOOKS[event]
    if path is None:
        elsewhere = _ours(code.shared / 'hooks', event)
        if elsewhere is not None:
            return f'git looks in {place} (core.hooksPath), so that {elsewhere} is not run. Install it again.'
        return (
            f'{place / name} is not ours any more: something has put another in its place. Install it again.'
        )
    if not os.access(path, os.X_OK):
        return f'{path} may not be run, so git leaves it out. Install it again.'
    if path.name.endswith(_LEGACY) and not os.access(place / name, os.X_OK):
        return f'{path} was to be run by {place / name}, which is gone. Install it again.'
    python = scripts.python_of(path)
    if python is None or not os.access(python, os.X_OK):
        return f'{python or "its interpreter"} is gone; it runs hfmirror of PATH, if there is one. Install it again.'
    if place.parent.name == '.husky' and place.name == '_':
        return f"husky makes {place} anew now and then. Put 'hfmirror hooks run {event}' into {place.parent / name} to keep it."
    return None


def _shared(code: Code, place: Path, event: Event) -> str:
    own = shlex.join(['git', 'config', 'core.hooksPath', str(code.shared / 'hooks')])
    return (
        f'core.hooksPath sends every repository to {place} for its hooks, so nothing was written there. Give this one its own '
        f"({own}), which leaves those out; or put 'hfmirror hooks run {event}' into {place / HOOKS[event]}; "
        'or use --force: in repositories where it was not installed it does nothing.'
    )
