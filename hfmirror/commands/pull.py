"""``hfmirror pull``: the files of a version, exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hfmirror import output
from hfmirror.commands import options


@click.command(short_help='Fetch the files of a version.')
@click.argument('version', default='latest')
@click.option(
    '--to', type=click.Path(path_type=Path), required=True, metavar='DIR', help='The folder to write.'
)
@click.option('--path', default='', help='Only this file or folder of the version.')
@click.option('--force', is_flag=True, help='Overwrite files that no pull wrote.')
@options.where
@options.as_json
@options.verbose
def command(
    version: str, to: Path, path: str, force: bool, as_json: bool, verbose: bool, **given: Any
) -> None:
    """Bring the files of VERSION, or of the latest one, into a folder. Run it again to go on after an interruption.

    \b
    hfmirror pull v1.0.0 --to ./model
    hfmirror pull latest --to ./model --path tokenizer.json
    """
    from hfmirror import gitcmd, pulling
    from hfmirror.clone import opened
    from hfmirror.naming import tag_prefix
    from hfmirror.release import retry_of

    output.configure(verbose=verbose)
    target, config, home, token = options.locate(given)
    gitcmd.require_tools()
    with opened(target, home, token) as repository:
        retry, prefix = retry_of(config), tag_prefix(config)
        done = pulling.pull(repository, version, to, home, path=path, force=force, retry=retry, prefix=prefix)
    if as_json:
        output.document({'target': str(target), 'to': str(to), **done._asdict()})
        return
    parts = [f'{output.count(done.fetched, "file")} fetched ({output.human_size(done.size)})']
    parts += [f'{done.kept:,} there already'] if done.kept else []
    parts += [f'{done.removed:,} removed'] if done.removed else []
    output.data(f'{target}: {done.version} is in {to}: {", ".join(parts)}')
