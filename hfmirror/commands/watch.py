"""``hfmirror watch``: the checkpoints of a training become releases while it writes them."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.config.config import Config
    from hfmirror.spool import Result
    from hfmirror.watching.watching import Candidate, Wanted, Watched


def wanted_of(given: Mapping[str, Any], config: Config) -> Wanted:
    """Return what the options ask for. Raises UsageError for what cannot be meant."""
    from hfmirror import finished, versions
    from hfmirror.spool import Save
    from hfmirror.target import check_repo_id, slugify
    from hfmirror.watching.watching import Wanted

    folder, tag, final = given['output_dir'].absolute(), given['tag'], given['final_tag']
    if '{step}' not in tag or set(tag.replace('{step}', '')) & set('{}'):
        raise errors.UsageError(
            f'--tag {tag}: names every checkpoint, so it needs {{step}}, and knows nothing else: step-{{step}}.'
        )
    for name in (tag.replace('{step}', '1'), *([final] if final else [])):
        versions.check_name(name)
    if folder.exists() and not folder.is_dir():
        raise errors.UsageError(
            f'{folder}: not a folder. Name the one that the training writes its checkpoints into.'
        )
    if finished.is_checkpoint_name(folder.name):
        output.warn(
            f'{folder}: is a checkpoint itself; the folder that a training writes its checkpoints into is {folder.parent}'
        )
    if given['repo'] and '/' in given['repo']:
        check_repo_id(given['repo'])
    save = Save(
        str(folder),
        # A checkpoint's own name is none for a repository.
        repo=given['repo'] or config.repository.model_name or slugify(folder.name),
        repo_type=given['repo_type'],
        branch=given['branch'],
        remotes=given['remotes'],
        private=given['private'],
        message=given['message'],
        keep_tags=given['keep'],
        config_file=str(given['config_file'].absolute()) if given['config_file'] else None,
    )
    return Wanted(folder, save, tag, final, given['settle'], given['until_idle'], given['poll'])


@click.command(short_help='Release the checkpoints of a training while it writes them.')
@click.argument('output_dir', type=click.Path(path_type=Path, readable=False))
@options.repo
@options.repo_type
@options.branch
@options.remotes
@click.option(
    '--tag', metavar='T', default='step-{step}', show_default=True, help='Name checkpoints by their step.'
)
@click.option('--final-tag', metavar='T', help='Name the model at the end.  [default: the next version]')
@click.option('-m', '--message', help='Your words for the commits and tags; the facts follow them.')
@click.option(
    '--keep', type=click.IntRange(min=1), metavar='N', help='Keep the tags of the N newest checkpoints only.'
)
@click.option(
    '--settle',
    type=options.Duration(),
    default='5s',
    show_default=True,
    help='Release what was not written to for so long.',
)
@click.option(
    '--until-idle',
    type=options.Duration(),
    metavar='DURATION',
    help='End when nothing new has come for so long, such as 10m.  [default: end with Ctrl-C or SIGTERM]',
)
@click.option('--poll', is_flag=True, help='Look every two seconds, also where the system tells of changes.')
@click.option(
    '--private/--public',
    default=None,
    help='Of a repository that is created.  [default: as configured, else as the account has it]',
)
@click.option(
    '--dry-run', is_flag=True, help='Show what would be released now; change nothing, and do not wait.'
)
@options.config
@options.as_json
@options.verbose
def command(**given: Any) -> None:
    """Release the checkpoints in OUTPUT_DIR as soon as they are finished, oldest first, until the training is over.

    \b
    hfmirror watch ./outputs --repo me/my-model
    hfmirror watch ./outputs --repo me/my-model --keep 3 --until-idle 10m --final-tag v1.0.0

    A checkpoint is finished when nothing in it is half written and nothing has changed for --settle. The training may remove it
    then, or be killed: what was taken is released all the same, by this command or by 'hfmirror resume'. Started again, it goes on
    where it ended. A folder without checkpoints is released itself, as the next version, whenever its model has changed.
    """
    from hfmirror import gitcmd
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import home
    from hfmirror.watching.ticks import stopped_by_signals
    from hfmirror.watching.watching import candidates, watch

    output.configure(verbose=given['verbose'])
    gitcmd.require_tools()
    config = load_config(given['config_file'])
    wanted = wanted_of(given, config)
    if given['dry_run']:
        _show(candidates(wanted, home()), as_json=given['as_json'])
        return
    with stopped_by_signals() as stop:
        done = watch(
            wanted,
            home(),
            stop,
            resend=lambda: _resend(config),
            tell=lambda result: _tell(result, given['as_json']),
        )
        rows = _rows(done)
        if given['as_json']:
            output.document(rows)
        if stop.signal == signal.SIGINT:
            raise KeyboardInterrupt
    _require_done(rows)


def _resend(config: Config) -> bool:
    """Send what waits in the outbox; returns whether nothing waits any more."""
    from hfmirror import auth
    from hfmirror.commands.resume import resume
    from hfmirror.config.places import home

    return all(
        row['status'] == 'pushed'
        for row in resume(config, home(), lambda folder: auth.find_token(folder=folder))
    )


def _tell(result: Result, as_json: bool) -> None:
    name = result.version or result.save.name
    match result.status:
        case 'failed':
            output.error(f'{result.save.folder}: {name} is not released: {result.error}')
        case 'queued':
            output.warn(f'{name}: {result.error or "waits for the network"}')
        case status if not as_json:
            word = 'pushed and proven' if status == 'pushed' else 'is there already'
            output.data(f'{result.save.repo}: {name} {word}')


def _rows(done: Watched) -> list[dict[str, Any]]:
    """Return what ``--json`` prints: one document for each save."""
    from hfmirror import outbox
    from hfmirror.config.places import home

    left = {
        (_name(target.repo_id), entry.version)
        for target, entries in outbox.waiting(home().outbox)
        for entry in entries
    }
    rows = []
    for result in done.results:
        sent = result.status == 'queued' and (_name(result.save.repo or ''), result.version) not in left
        rows.append(
            {
                'folder': result.save.folder,
                'version': result.version or result.save.name,
                'status': 'pushed' if sent else result.status,
                'url': result.url,
                'error': None if sent else result.error,
            }
        )
    known = {result.save.id for result in done.results}
    for save in done.waiting:
        if save.id not in known:
            rows.append(
                {'folder': save.folder, 'version': save.name, 'status': 'waiting', 'url': None, 'error': None}
            )
    for save, why in done.refused:
        rows.append(
            {'folder': save.folder, 'version': save.name, 'status': 'failed', 'url': None, 'error': why}
        )
    return rows


def _name(repo_id: str) -> str:
    """Return what a repository is called in any namespace: that of a save may be the configuration's."""
    return repo_id.rpartition('/')[2]


def _require_done(rows: list[dict[str, Any]]) -> None:
    """Raise what the exit code stands for unless everything that was taken is released."""
    failed = [row for row in rows if row['status'] == 'failed']
    waiting = [row for row in rows if row['status'] in ('queued', 'waiting')]
    if failed:
        names = ', '.join(row['version'] for row in failed[:5])
        raise errors.HfmirrorError(
            f'{output.count(len(failed), "release")} failed: {names}; see above. The files are kept: mend it, then send them with '
            "'hfmirror resume'."
        )
    if waiting:
        raise errors.NetworkError(
            f"{output.count(len(waiting), 'release')} not sent yet. Nothing is lost: send it with 'hfmirror resume', or watch again."
        )


def _show(found: list[Candidate], *, as_json: bool) -> None:
    if as_json:
        output.document(
            [
                {
                    'folder': str(one.look.folder),
                    'version': one.tag,
                    'status': {'new': 'dry-run'}.get(one.state, one.state),
                    'unfinished': list(one.look.unfinished),
                }
                for one in found
            ]
        )
        return
    for one in found:
        match one.state:
            case 'new':
                output.data(f'{one.look.folder}: would be released as {one.tag or "the next version"}')
            case 'taken':
                output.data(f'{one.look.folder}: is released already')
            case _:
                output.data(one.look.reason)
    if not found:
        output.say('nothing there to release yet')
