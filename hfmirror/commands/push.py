"""``hfmirror push``: a folder becomes a release on every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.compose import Request
    from hfmirror.config import Config, Home
    from hfmirror.folder import Folder, LeftOut
    from hfmirror.gates.gate import Allowed
    from hfmirror.naming import Choice
    from hfmirror.release import Release
    from hfmirror.target import Target

_SHOWN = 20


class Unreleased(NamedTuple):
    """A target that could not take the release, and why."""

    target: Target
    error: errors.HfmirrorError


def push(
    request: Request,
    targets: Sequence[Target],
    config: Config,
    home: Home,
    *,
    token: Token | None = None,
    dry_run: bool = False,
) -> list[Release | Unreleased]:
    """Release one folder on every target; returns what came of each. Raises the error of the only one."""
    from hfmirror import place, release
    from hfmirror.hub import NO_TOKEN
    from hfmirror.statcache import CommandCache

    if token is None and all(target.endpoint is not None for target in targets):
        raise errors.AuthError(f'--remote hub: {NO_TOKEN}')
    done: dict[Target, Release | Unreleased] = {}
    with closing(CommandCache(home.cache / 'files.sqlite')) as cache:
        # Directories first: their objects are copied while they are hashed, and nothing is read for the others.
        for target in sorted(targets, key=lambda target: target.path is None):
            try:
                done[target] = release.push(
                    request, target, config, home, token=token, dry_run=dry_run, cache=cache
                )
            except errors.HfmirrorError as e:
                if len(targets) == 1:
                    raise
                output.error(str(e))
                done[target] = Unreleased(target, e)
    for target in targets:
        if not (dry_run or isinstance(done[target], Unreleased)):
            place.remember(target, home)
    return [done[target] for target in targets]


def choose(given: Mapping[str, Any]) -> Choice:
    """Return the version that the options ask for. Raises UsageError when they ask for two, or for a bad name."""
    from hfmirror import versions
    from hfmirror.naming import Choice

    names = {
        'tag': 'tag',
        'bump': 'bump',
        'timestamp': 'timestamp',
        'experiment': 'experiment',
        'no_tag': 'none',
    }
    chosen = [(option, given[option]) for option in names if given[option] not in (None, False)]
    if len(chosen) > 1:
        words = ' and '.join(f'--{option.replace("_", "-")}' for option, _ in chosen)
        raise errors.UsageError(f'{words}: a release has one name. Give one of them.')
    if not chosen:
        return Choice()
    option, value = chosen[0]
    if option == 'tag':
        versions.check_name(value)
    if option == 'experiment':
        versions.next_experiment([], value)  # says so when nothing of the name can be in a tag
    return Choice(names[option], value if isinstance(value, str) else '')  # type: ignore[arg-type]


@click.command(short_help='Make a release of a folder and prove that it arrived.')
@click.argument('folder', type=click.Path(path_type=Path, readable=False))
@options.repo
@options.repo_type
@click.option(
    '--path-in-repo', default='', metavar='PATH', help='A folder of the repository.  [default: its root]'
)
@options.branch
@click.option(
    '--remote', 'remotes', multiple=True, metavar='hub|local|URL', help='Where to; can be given again.'
)
@click.option('--tag', metavar='T', help='Name the release.')
@click.option(
    '--bump', type=click.Choice(['major', 'minor', 'patch']), help='Count the last semantic version up.'
)
@click.option('--timestamp', is_flag=True, help='Name the release by the time: v20240101-120000.')
@click.option('--experiment', metavar='NAME', help='Number the release in an experiment: exp-NAME-001.')
@click.option('--no-tag', is_flag=True, help='Commit without a version.')
@click.option('-m', '--message', help='Your words for the commit and the tag; the facts follow them.')
@click.option('--include', multiple=True, metavar='GLOB', help='Only these files; can be given again.')
@click.option('--exclude', multiple=True, metavar='GLOB', help='Not these files; can be given again.')
@click.option('--keep', is_flag=True, help='Leave files in the repository that the folder does not have.')
@click.option(
    '--private/--public',
    default=None,
    help='Of a repository that is created.  [default: as the account has it]',
)
@click.option('--allow-secrets', is_flag=True, help='Release what looks like a secret all the same.')
@click.option('--allow-unsafe', is_flag=True, help='Release pickles all the same that may run programs.')
@click.option('--dry-run', is_flag=True, help='Show what would be released; change nothing.')
@options.token
@options.config
@options.as_json
@options.verbose
def command(**given: Any) -> None:
    """Make a release of FOLDER: one commit and one tag, pushed together and proven to be whole.

    \b
    hfmirror push ./my_model --tag v1.0.0
    hfmirror push ./my_model --bump minor -m 'longer training' --remote local
    hfmirror push ./my_model --dry-run

    Without --tag, --bump, --timestamp, --experiment or --no-tag the configuration decides, else the next minor version.
    Files that the folder no longer has go from the repository too; nothing is made when nothing has changed.
    """
    from hfmirror import folder as folders
    from hfmirror import gitcmd, place
    from hfmirror.compose import Request
    from hfmirror.config import home, load_config
    from hfmirror.naming import tag_prefix
    from hfmirror.rules import clean_path_in_repo

    output.configure(verbose=given['verbose'])
    choice = choose(given)
    config, directories = load_config(given['config_file']), home()
    remotes = given['remotes'] or config.remotes or ['hub']
    token = options.token_of(given, folder=given['folder']) if 'hub' in remotes else None
    where = place.Place(given['repo'], given['repo_type'], given['branch'])
    path_in_repo = clean_path_in_repo(given['path_in_repo'])
    targets = place.targets_of(
        where, given['remotes'], config, directories, folder=given['folder'], token=token
    )
    gitcmd.require_tools()
    folder = folders.walk(given['folder'], include=given['include'], exclude=given['exclude'])
    request = Request(
        folder,
        choice,
        path_in_repo,
        given['message'],
        given['keep'],
        tag_prefix(config),
        private=config.repository.private if given['private'] is None else given['private'],
        create=config.repository.auto_create,
        allowed=_allowed(given, config),
    )
    done = push(request, targets, config, directories, token=token, dry_run=given['dry_run'])
    _tell(done, given, folder)
    _finish(done)


def _allowed(given: Mapping[str, Any], config: Config) -> Allowed:
    """Return what the options and the configuration let through the gates."""
    from hfmirror.gates.gate import Allowed

    everything = ('**',)
    return Allowed(
        everything if given['allow_secrets'] else tuple(config.gates.allow_secrets),
        everything if given['allow_unsafe'] else tuple(config.gates.allow_unsafe),
    )


def _tell(done: Sequence[Release | Unreleased], given: Mapping[str, Any], folder: Folder) -> None:
    if given['as_json']:
        output.document([as_document(one) for one in done])
    for one in done:
        if isinstance(one, Unreleased):
            continue  # told when it happened
        if not given['as_json']:
            show(one, folder.left_out if given['dry_run'] else ())
        if one.note:
            output.warn(one.note)


def as_document(release: Release | Unreleased) -> dict[str, Any]:
    """Return what ``--json`` prints of a release; added, modified and deleted count files."""
    if isinstance(release, Unreleased):
        target, error = str(release.target), str(release.error)
        return {'target': target, 'status': 'failed', 'url': release.target.url, 'error': error}
    return {
        'target': str(release.target),
        'version': release.version,
        'commit': release.commit,
        'status': release.status,
        'url': release.target.url,
        'added': len(release.changes.added),
        'modified': len(release.changes.modified),
        'deleted': len(release.changes.deleted),
        'bytes': release.size,
    }


def show(release: Release, left_out: Sequence[LeftOut] = ()) -> None:
    """Tell a person what came of a push."""
    name = release.version or (release.commit or '')[:10]
    size = f'{output.count(release.files, "file")}, {output.human_size(release.size)}'
    match release.status:
        case 'pushed':
            output.data(f'{release.target}: {name} pushed and proven ({size}; {_counts(release)})')
        case 'up-to-date':
            output.data(f'{release.target}: nothing to do, the folder is {name} ({size})')
        case 'queued':
            output.data(f'{release.target}: {name} is waiting to be sent ({size})')
        case _:
            _show_plan(release, left_out, size)


def _show_plan(release: Release, left_out: Sequence[LeftOut], size: str) -> None:
    output.data(
        f'{release.target}: would make {release.version or "a commit without a tag"} ({size}; {_counts(release)})'
    )
    changes = release.changes
    rows = [('+', entry) for entry in changes.added]
    rows += [('~', new) for _, new in changes.modified] + [('-', entry) for entry in changes.deleted]
    for sign, entry in rows[:_SHOWN]:
        output.data(
            f'  {sign} {entry.path}  {output.human_size(entry.size)}{"  (LFS)" if entry.is_lfs else ""}'
        )
    if len(rows) > _SHOWN:
        output.data(f'  … and {len(rows) - _SHOWN:,} more')
    for left in left_out:
        output.data(f'  left out: {left.path}  ({left.reason})')


def _counts(release: Release) -> str:
    changes = release.changes
    counts = {'added': len(changes.added), 'changed': len(changes.modified), 'removed': len(changes.deleted)}
    told = ', '.join(f'{number:,} {word}' for word, number in counts.items() if number)
    return told or 'only the card changed'


def _finish(done: Sequence[Release | Unreleased]) -> None:
    undone = [one for one in done if isinstance(one, Unreleased) or one.status == 'queued']
    if undone and len(done) > 1:
        failure = errors.PartialError(f'{len(undone)} of {len(done)} targets are not done; see above.')
        codes = [one.error.exit_code if isinstance(one, Unreleased) else 0 for one in done]
        if 0 not in codes and len(set(codes)) == 1:
            failure.exit_code = codes[0]  # what stopped one stopped all of them, as a gate does
        raise failure
    if undone:
        raise errors.NetworkError(f"{undone[0].target}: not sent yet. 'hfmirror status' shows what waits.")
