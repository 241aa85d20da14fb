"""``hfmirror rebuild``: an archive becomes a git repository again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.commands.options import Located


class Rebuilt(NamedTuple):
    """What was rebuilt, or would be. ``size`` has the bytes of the LFS objects."""

    to: str
    branches: int
    tags: int
    objects: int
    size: int


def rebuild(located: Located, to: Path, *, dry_run: bool = False) -> Rebuilt:
    """Make the bare repository ``to`` of a repository in an archive."""
    from hfmirror import gitcmd, rebuilding
    from hfmirror.clone import opened
    from hfmirror.underway import retry_of

    gitcmd.require_tools()
    rebuilding.require_free(to)
    target, config, home, token = located
    with opened(target, home, token) as repository:
        retry = retry_of(config)
        planned = rebuilding.plan(repository, retry=retry)
        if not dry_run:
            rebuilding.rebuild(repository, planned, to, retry=retry)
    return Rebuilt(str(to), planned.branches, planned.tags, len(planned.objects), planned.size)


@click.command(short_help='Rebuild a git repository from an archive.')
@click.option(
    '--to',
    required=True,
    metavar='DIR|local',
    help='The bare repository to make; local is its place in the local Hub.',
)
@click.option('--dry-run', is_flag=True, help='Show what would be rebuilt; write nothing.')
@options.where
@options.as_json
@options.verbose
def command(to: str, dry_run: bool, as_json: bool, verbose: bool, **given: Any) -> None:
    """Make a bare git repository of an archive: every branch and tag, with all large files.

    \b
    hfmirror rebuild --remote s3://bucket/prefix --repo me/bert --to ./bert.git
    hfmirror rebuild --remote file:///nas/archive --repo me/bert --to local

    Run it again to go on after an interruption.
    """
    from hfmirror import target as targets

    output.configure(verbose=verbose)
    if not to.strip():
        raise errors.UsageError('--to: the value is empty. Name the repository to make.')
    located = options.locate(given)
    target = located.target
    place = Path(to).absolute()
    if to == 'local':
        here = targets.local(located.home.hub, target.repo_id, repo_type=target.repo_type).path
        assert here is not None
        place = here
    done = rebuild(located, place, dry_run=dry_run)
    if as_json:
        output.document({'target': str(target), 'dry_run': dry_run, **done._asdict()})
        return
    what = f'{output.count(done.branches, "branch").replace("branchs", "branches")}, {output.count(done.tags, "tag")}'
    large = f'{output.count(done.objects, "large file")} ({output.human_size(done.size)})'
    output.data(f'{target}: {"would be" if dry_run else "is"} in {done.to}: {what}, {large}')
