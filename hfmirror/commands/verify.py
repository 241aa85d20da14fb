"""``hfmirror verify``: the proof of a push, made again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
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
    from hfmirror import folder as folders
    from hfmirror import gitcmd, place, verifying
    from hfmirror.config import home, load_config
    from hfmirror.fingerprint import Reader
    from hfmirror.naming import tag_prefix
    from hfmirror.repository import opened
    from hfmirror.rules import clean_path_in_repo
    from hfmirror.statcache import StatCache

    output.configure(verbose=given['verbose'])
    config, directories = load_config(given['config_file']), home()
    if folder is None and ('/' in version and Path(version).is_dir()):
        version, folder = 'latest', Path(version)
    where = place.Place(given['repo'], given['repo_type'], given['branch'])
    target = place.target_of(where, given['remote'], config, directories)
    gitcmd.require_tools()
    files = folders.walk(folder, include=given['include'], exclude=given['exclude']) if folder else None
    cache = StatCache(directories.cache / 'files.sqlite')
    try:
        with opened(target, directories.clones, directories.outbox / target.slug) as repository:
            found = verifying.verify(
                repository,
                version,
                folder=files,
                path_in_repo=clean_path_in_repo(given['path_in_repo']),
                reader=Reader(cache),
                content=content,
                prefix=tag_prefix(config),
            )
    finally:
        cache.close()
    if given['as_json']:
        output.document(as_document(found))
    else:
        for problem in found.problems[:_SHOWN]:
            output.data(f'{problem.what:9}  {problem.path}  ({problem.where})')
    if found.problems:
        raise errors.VerificationError(
            f'{target}: {found.version} is not as it was released: {output.count(len(found.problems), "file")} named '
            f'above, {found.checked:,} in the version. Push the folder again to send what the remote lacks, or pull '
            'the version again.'
        )
    if not given['as_json']:
        how = 'every object read again' if content else 'refs and every object confirmed'
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
