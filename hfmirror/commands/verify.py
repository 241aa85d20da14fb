"""``hfmirror verify``: the proof of a push, made again."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.target import Target
    from hfmirror.verifying import Verified

_SHOWN = 50


@click.command(short_help='Prove that a version is whole on the remote, or in a folder.')
@click.argument('version', default='latest')
@click.argument('folder', required=False, type=click.Path(path_type=Path, readable=False))
@click.option('--content', is_flag=True, help='Read every object of the remote again, not only its size.')
@click.option(
    '--path-in-repo', default='', metavar='PATH', help='Where in the repository the folder was pushed to.'
)
@click.option('--include', multiple=True, metavar='GLOB', help='Of the folder only these files.')
@click.option('--exclude', multiple=True, metavar='GLOB', help='Of the folder not these files.')
@options.where
@options.as_json
@options.verbose
def command(version: str, folder: Path | None, content: bool, **given: Any) -> None:
    """Check that VERSION, or the latest one, is whole on its remote, and FOLDER against it. Exit code 3 when not.

    \b
    hfmirror verify
    hfmirror verify v1.0.0 ./my_model
    hfmirror verify v1.0.0 --content
    """
    from hfmirror import gitcmd

    output.configure(verbose=given['verbose'])
    if folder is None and ('/' in version and Path(version).is_dir()):
        version, folder = 'latest', Path(version)
    located = options.locate(given, folder=folder)
    gitcmd.require_tools()
    found = verify(located, version, folder, given, content=content)
    if given['as_json']:
        output.document(as_document(found))
    else:
        show(found, located.target, folder, content=content)
    if found.problems:
        raise errors.VerificationError(
            f'{located.target}: {found.version} is not as it was released: '
            f'{output.count(len(found.problems), "file")} named above, {found.checked:,} in the version. '
            'Push the folder again to send what the remote lacks, or pull the version again.'
        )


def verify(
    located: options.Located, version: str, folder: Path | None, given: Mapping[str, Any], *, content: bool
) -> Verified:
    """Return what is wrong with a version on its remote and in ``folder``; ``given`` has the options about the folder."""
    from hfmirror import folder as folders
    from hfmirror import verifying
    from hfmirror.clone import opened
    from hfmirror.fingerprint import Reader
    from hfmirror.naming import tag_prefix
    from hfmirror.rules import clean_path_in_repo
    from hfmirror.statcache import StatCache

    target, config, home, token = located
    path_in_repo = clean_path_in_repo(given['path_in_repo'])
    files = folders.walk(folder, include=given['include'], exclude=given['exclude']) if folder else None
    with (
        closing(StatCache(home.cache / 'files.sqlite')) as cache,
        opened(target, home, token) as repository,
    ):
        return verifying.verify(
            repository,
            version,
            folder=files,
            path_in_repo=path_in_repo,
            reader=Reader(cache),
            content=content,
            prefix=tag_prefix(config),
        )


def show(found: Verified, target: Target, folder: Path | None, *, content: bool) -> None:
    """Tell a person what is wrong, or what was checked."""
    for problem in found.problems[:_SHOWN]:
        output.data(f'{problem.what:9}  {problem.path}  ({problem.where})')
    if len(found.problems) > _SHOWN:
        output.data(f'… and {len(found.problems) - _SHOWN:,} more')
    if not found.problems:
        what = (
            'refs, every object and the list of files' if target.remote == 'hub' else 'refs and every object'
        )
        how = 'every object read again' if content else f'{what} confirmed'
        also = f', and {folder} is the same' if folder else ''
        output.data(
            f'{target}: {found.version} is whole: {output.count(found.checked, "file")} checked, {how}{also}'
        )


def as_document(found: Verified) -> dict[str, Any]:
    """Return what ``--json`` prints: {ok, version, checked, missing, extra, different, problems}."""
    by_kind = {
        what: [p.path for p in found.problems if p.what == what] for what in ('missing', 'extra', 'different')
    }
    return {
        'ok': not found.problems,
        'version': found.version,
        'commit': found.commit,
        'checked': found.checked,
        **by_kind,
        'problems': [problem._asdict() for problem in found.problems],
    }
