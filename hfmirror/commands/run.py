"""``hfmirror run``: a training is run, and what it leaves is released, whatever happens."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options, preflight, push

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.preflight.check import Check
    from hfmirror.running.running import Done, Wanted


@click.command(
    short_help='Run a training, and release what it leaves, whatever happens.',
    context_settings={'allow_interspersed_args': False},
)
@click.option(
    '--folder',
    'folders',
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    metavar='DIR',
    help='What is released, a folder or a file; can be given again.  [default: hooks.folder, else the newest result]',
)
@options.release
@click.option(
    '--grace',
    'grace_s',
    type=options.Duration(),
    metavar='DURATION',
    help="What is left after a scheduler's SIGTERM; the command gets half of it.  [default: as the scheduler has it, else 30s]",
)
@click.option(
    '--log-lines',
    type=click.IntRange(0, 1000),
    default=40,
    show_default=True,
    help='How many of the last lines of its output are in the metadata.',
)
@click.option('--no-preflight', is_flag=True, help='Run it whatever would stop the release.')
@options.terms
@options.token
@options.config
@options.as_json
@options.verbose
@click.argument('arguments', nargs=-1, required=True, metavar='-- COMMAND [ARGUMENTS]...')
def command(**given: Any) -> None:
    """Run COMMAND, a training, and release what it has finished, whatever happens: it succeeds, crashes, or is ended by its
    scheduler. Its output passes through as it is, and its exit code is kept.

    \b
    hfmirror run --folder out --repo me/my-model -- python train.py --epochs 3
    hfmirror run --experiment baseline --grace 2m -- torchrun train.py

    Before it begins the checks of 'hfmirror preflight' are made, and what would stop the release stops the run. How it ended,
    its last lines and what it ran on are in the metadata of the experiment, which the release has as
    experiment_metadata.json, or with --experiment the repository for configurations.
    """
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import home
    from hfmirror.running.running import Wanted, run

    output.configure(verbose=given['verbose'])
    if given['token'] == '-':
        raise errors.UsageError('--token -: standard input is for the command. Set HF_TOKEN.')
    config = load_config(given['config_file'])
    folders = given['folders'] or ([Path(config.hooks.folder)] if config.hooks.folder else [])
    publication = push.asked({**given, 'folder': folders[0] if folders else Path('model')})
    streams = (2, 2) if given['as_json'] else (1, 2)  # our document is alone on standard output
    wanted = Wanted(given['arguments'], publication, folders, given['grace_s'], given['log_lines'], streams)
    if not given['no_preflight']:
        check(wanted, given)
    if given['dry_run']:
        show_plan(wanted, as_json=given['as_json'])
        return
    done = run(wanted, config, home(), lambda: _token(wanted, given))
    if given['as_json']:
        output.document(as_document(done))
    sys.exit(done.exit_code)


def show_plan(wanted: Wanted, *, as_json: bool) -> None:
    """Show what would be run and released."""
    if as_json:
        output.document({'command': list(wanted.command), 'folders': list(map(str, wanted.folders))})
        return
    folders = ', '.join(map(str, wanted.folders)) or 'the newest result that it leaves'
    output.data(f'would run {shlex.join(wanted.command)}, and release {folders}')


def check(wanted: Wanted, given: dict[str, Any]) -> None:
    """Tell what could stop the release, and raise when it surely will. A network that is away may come back meanwhile."""
    from hfmirror.preflight.preflight import Question, require
    from hfmirror.preflight.preflight import preflight as look

    publication = wanted.publication
    tag = publication.choice.value if publication.choice.kind == 'tag' else None
    folder = wanted.folders[0] if wanted.folders else None
    question = Question(folder, publication.place, publication.remotes, given['config_file'], tag)
    checks = look(question, lambda: _token(wanted, given))
    if folder is None:
        checks = [
            one for one in checks if one.name != 'name' or one.state == 'fail'
        ]  # it will be that of what is found
    mendable = [one for one in checks if one.state == 'fail' and one.may_mend]
    if mendable:
        output.warn('the release will wait in the outbox unless the remote can be reached again by then')
    _tell(checks)
    require([one for one in checks if one not in mendable])


def _tell(checks: Sequence[Check]) -> None:
    for one in checks:
        shown = preflight.line(one)
        output.detail(shown) if one.state == 'ok' else output.say(shown)


def _token(wanted: Wanted, given: dict[str, Any]) -> Token | None:
    return options.token_of(given, folder=wanted.folders[0] if wanted.folders else None)


def as_document(done: Done) -> dict[str, Any]:
    """Return what ``--json`` prints of a run."""
    ended = done.ended
    return {
        'exit_code': ended.code,
        'signal': ended.signal,
        'asked_to_end': ended.asked,
        'duration_s': round(ended.seconds, 1),
        'job': done.job.told() if done.job else None,
        'folders': [
            {
                'folder': str(left.named),
                'released': str(left.path),
                'releases': [push.as_document(one) for one in releases],
            }
            for left, releases in done.releases
        ],
        'error': str(done.failure) if done.failure else None,
    }
