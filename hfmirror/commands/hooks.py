"""``hfmirror hooks``: a commit, a tag or a push of the training code releases what was trained."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.hooks.code import Code
    from hfmirror.hooks.events import Happening
    from hfmirror.hooks.installing import Hook
    from hfmirror.hooks.job import Done
    from hfmirror.hooks.settings import Event, Settings

_EVENTS = ('commit', 'tag', 'push')
_INPUT_MAX = 16 * 1024 * 1024  # bytes; git tells two hundred of a ref that is pushed

_on = click.option(
    '--on', 'events', multiple=True, type=click.Choice(_EVENTS), help='The event; can be given again.'
)
_folder = click.option(
    '--folder',
    type=click.Path(path_type=Path),
    help='What is released.  [default: hooks.folder, else ./outputs]',
)
_background = click.option(
    '--background/--no-background',
    default=None,
    help='Whether git goes on meanwhile; else it waits for at most a minute.  [default: hooks.background]',
)
_force = click.option(
    '--force', is_flag=True, help='Also in a directory of hooks that other repositories have too.'
)
_dry_run = click.option('--dry-run', is_flag=True, help='Show what would be done; change nothing.')


def install(events: Sequence[Event], given: Mapping[str, Any]) -> list[Hook]:
    """Install hooks in the repository around the working directory; returns them."""
    from hfmirror.config.loading import load_config
    from hfmirror.hooks import code as codes
    from hfmirror.hooks import installing
    from hfmirror.hooks import job as jobs

    code = codes.find()
    settings = _settings(given, code)
    config = load_config(jobs.config_file_of(code, settings))
    chosen: Sequence[Event] = events or config.hooks.on or ['commit']
    folder = jobs.folder_of(code, settings, config)
    if not folder.is_dir():
        output.warn(f'{folder}: not there yet; what a training writes there will be released')
    force, dry_run = given['force'], given['dry_run']
    for event in chosen:  # all or none
        installing.install(code, event, settings, force=force, dry_run=True)
    if dry_run:
        return [installing.install(code, event, settings, force=force, dry_run=True) for event in chosen]
    return [installing.install(code, event, settings, force=force) for event in chosen]


def _settings(given: Mapping[str, Any], code: Code) -> Settings:
    """Return what the options ask for; paths in the repository are those of each work tree."""
    from hfmirror.hooks.settings import Settings
    from hfmirror.target import check_repo_id, require_address

    if given['repo'] is not None:
        check_repo_id(given['repo'])
    for remote in given['remotes']:
        if remote not in ('hub', 'local'):
            require_address(remote)  # no password in it, which git's configuration would keep
    return Settings(
        _of_code(given['folder'], code),
        given['repo'],
        tuple(given['remotes']),
        given['background'],
        _of_code(given['config_file'], code),
    )


def _of_code(path: Path | None, code: Code) -> str | None:
    if path is None:
        return None
    absolute = Path(os.path.abspath(path))
    inside = not code.bare and absolute.is_relative_to(code.root)
    return str(absolute.relative_to(code.root) if inside else absolute)


def happenings(code: Code, event: str, args: Sequence[str], caller: int | None) -> list[Happening]:
    """Return what has happened, as git or who called us tells it."""
    from hfmirror.hooks import events

    told = _standard_input() if caller is not None and event != 'commit' else None
    if event == 'tag':
        names = events.tags_made(code, told, caller) if caller is not None and told is not None else args
        if not names and caller is None:
            raise errors.UsageError("which tag? Name it: 'hfmirror hooks run tag v1.0.0'.")
        return events.tagged(code, names)
    if event == 'push':
        return events.pushed(code, events.pushed_by_pre_commit(code) if told is None else told, caller)
    return events.committed(code)


def _standard_input() -> str:
    return sys.stdin.buffer.read(_INPUT_MAX).decode('utf-8', 'surrogateescape') if sys.stdin else ''


def event_of(name: str) -> Event:
    """Return the event that a word on the command line stands for."""
    from hfmirror.hooks import events

    match name:
        case 'commit' | 'tag' | 'push':
            return name
        case _:
            return 'push' if events.is_push_of_pre_commit() else 'commit'


def run(event: Event, args: Sequence[str], given: Mapping[str, Any]) -> list[Done]:
    """Do what a hook does. Raises HfmirrorError when a push has to stop."""
    from hfmirror.config.environment import variables
    from hfmirror.config.places import home
    from hfmirror.hooks import code as codes
    from hfmirror.hooks import running, settings

    if variables().values.get('HFMIRROR_SKIP', '') not in ('', '0'):
        return []
    code = codes.find()
    installed = settings.installed(code).get(event)
    if installed is None and given['installed']:
        return []
    wanted = _settings(given, code).over(installed or settings.Settings())
    happened = happenings(code, event, args, given['caller'])
    return running.run(code, event, happened, wanted, home(), dry_run=given['dry_run'])


@click.group(short_help='Release what was trained when you commit, tag or push its code.')
def command() -> None:
    """Release what was trained when you commit, tag or push its code.

    \b
    hfmirror hooks install --on commit --folder ./outputs
    hfmirror hooks list
    hfmirror hooks uninstall

    Run it in the repository of the training code. A hook that is there already is kept and run. HFMIRROR_SKIP=1 before git's
    command skips ours.
    """


@command.command('install', short_help='Have git call hfmirror.')
@_on
@_folder
@_background
@options.repo
@options.remotes
@_force
@_dry_run
@options.config
@options.as_json
def install_command(events: tuple[Event, ...], as_json: bool, **given: Any) -> None:
    """Have git call hfmirror when you commit, tag or push.

    \b
    hfmirror hooks install
    hfmirror hooks install --on commit --on tag --folder ./outputs --repo me/bert
    hfmirror hooks install --on push --no-background

    \b
    commit  a finished result that is not released yet becomes a release
    tag     git tag v1.2.0 releases the folder as v1.2.0, with the tag's message
    push    as commit, before code is pushed; the push stops when the release can be neither sent nor held

    Without --on it is for what hooks.on says, else for commits. A hook that is there already is kept, and run before ours.
    """
    done = install(events, given)
    verb = 'would be installed' if given['dry_run'] else 'installed'
    _tell(done, as_json=as_json, verb=verb)


@command.command('list', short_help='Show the hooks of this repository.')
@options.as_json
def list_command(as_json: bool) -> None:
    """Show the hooks of this repository, what they release, and what keeps them from it.

    \b
    hfmirror hooks list
    """
    from hfmirror.hooks import code, installing

    found = installing.hooks(code.find())
    if not found and not as_json:
        output.say("no hooks of hfmirror in this repository; 'hfmirror hooks install' installs one")
    _tell(found, as_json=as_json)


@command.command('uninstall', short_help='Take our hooks away, and put back those that were there.')
@_on
@_force
@_dry_run
@options.as_json
def uninstall_command(events: tuple[Event, ...], force: bool, dry_run: bool, as_json: bool) -> None:
    """Take our hooks away, all or those of --on, and put back those that were there, byte for byte.

    \b
    hfmirror hooks uninstall
    hfmirror hooks uninstall --on push
    """
    from hfmirror.hooks import code, installing, settings

    repository = code.find()
    gone = [
        installing.uninstall(repository, event, force=force, dry_run=dry_run)
        for event in events or settings.EVENTS
    ]
    done = [hook for hook in gone if hook]
    if not done and not as_json:
        output.say('nothing to remove: no hooks of hfmirror in this repository')
    _tell(done, as_json=as_json, verb='would be removed' if dry_run else 'removed')


@command.command('run', short_help='Do what a hook does; for hook managers, and by hand.')
@click.argument('event', type=click.Choice([*_EVENTS, 'pre-commit']))
@click.argument('args', nargs=-1)
@_folder
@_background
@options.repo
@options.remotes
@click.option('--installed', is_flag=True, help='Only where hooks install was run for this event.')
@click.option(
    '--caller', type=int, metavar='PID', help='The process of git, which tells the rest on standard input.'
)
@_dry_run
@options.config
@options.as_json
def run_command(event: str, args: tuple[str, ...], as_json: bool, **given: Any) -> None:
    """Do what the hook of EVENT (commit, tag or push) does; ARGS are the tags, of a tag.

    \b
    hfmirror hooks run commit
    hfmirror hooks run tag v1.2.0
    hfmirror hooks run push --folder ./outputs --no-background

    For hook managers, and by hand; pre-commit says itself which of its stages it is at. Ends with 77 when a push has to stop, else with 0 whatever became of the release.
    """
    done = run(event_of(event), args, given)
    if as_json:
        output.document([{**one._asdict(), 'folder': str(one.folder)} for one in done])


def _tell(hooks: Sequence[Hook], *, as_json: bool, verb: str = '') -> None:
    from hfmirror.hooks.settings import HOOKS

    if as_json:
        output.document([_as_document(hook) for hook in hooks])
        return
    for hook in hooks:
        where = hook.path or HOOKS[hook.event]
        before = f'; {hook.before} runs before it' if hook.before and verb != 'removed' else ''
        output.data(f'{hook.event}: {f"{verb}, " if verb else ""}{where}{_options(hook.settings)}{before}')
        if hook.problem:
            output.warn(f'{hook.event}: {hook.problem}')


def _options(settings: Settings) -> str:
    background = {None: '', True: ' --background', False: ' --no-background'}[settings.background]
    named = {'--folder': settings.folder, '--repo': settings.repo, '--config': settings.config_file}
    words = [f'{name} {value}' for name, value in named.items() if value]
    words += [f'--remote {remote}' for remote in settings.remotes]
    told = ' '.join(words) + background
    return f' ({told.strip()})' if told.strip() else ''


def _as_document(hook: Hook) -> dict[str, Any]:
    from hfmirror import gitcmd
    from hfmirror.hooks.settings import HOOKS

    return {
        'event': hook.event,
        'hook': HOOKS[hook.event],
        'path': str(hook.path) if hook.path else None,
        'before': str(hook.before) if hook.before else None,
        **hook.settings._asdict(),
        'remotes': [gitcmd.redact(remote) for remote in hook.settings.remotes],
        'problem': hook.problem,
    }
