"""``hfmirror push``: a folder becomes a release on every target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.folder import LeftOut
    from hfmirror.naming import Choice
    from hfmirror.outcome import Release, Unreleased
    from hfmirror.publishing import Publication, Published

_SHOWN = 20


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
@options.release
@options.terms
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
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import home
    from hfmirror.outcome import require_done
    from hfmirror.publishing import goes_to_hub, publish
    from hfmirror.target import check_repo_id

    output.configure(verbose=given['verbose'])
    if given['repo'] and '/' in given['repo']:
        check_repo_id(given['repo'])  # before the token is looked for, which a CI job has to ask for
    publication, config = asked(given), load_config(given['config_file'])
    token = options.token_of(given, folder=publication.folder) if goes_to_hub(publication, config) else None
    done = publish(publication, config, home(), token=token, dry_run=given['dry_run'])
    tell(done, as_json=given['as_json'], dry_run=given['dry_run'])
    require_done(done.releases)


def asked(given: Mapping[str, Any]) -> Publication:
    """Return what the options ask for. Raises UsageError when they cannot be meant together."""
    from hfmirror.place import Place
    from hfmirror.publishing import Publication

    return Publication(
        given['folder'],
        Place(given['repo'], given['repo_type'], given['branch']),
        given['remotes'],
        choose(given),
        given['path_in_repo'],
        given['message'],
        given['include'],
        given['exclude'],
        given['keep'],
        given['private'],
        given['allow_secrets'],
        given['allow_unsafe'],
    )


def tell(done: Published, *, as_json: bool, dry_run: bool = False) -> None:
    """Show what came of a publication, to a person or to a program."""
    from hfmirror.outcome import Unreleased

    if as_json:
        output.document([as_document(one) for one in done.releases])
    for one in done.releases:
        if isinstance(one, Unreleased):
            continue  # told when it happened
        if not as_json:
            show(one, done.folder.left_out if dry_run else ())
        if one.note:
            output.warn(one.note)


def as_document(release: Release | Unreleased) -> dict[str, Any]:
    """Return what ``--json`` prints of a release; added, modified and deleted count files."""
    from hfmirror.outcome import Unreleased

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
