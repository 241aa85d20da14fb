"""``hfmirror list-versions``: what there is on the remote, newest first, without fetching a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options
from hfmirror.versions import KINDS

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.config.places import Home
    from hfmirror.target import Target
    from hfmirror.versions import VersionInfo


def list_versions(
    target: Target, home: Home, *, token: Token | None = None, prefix: str = 'v'
) -> list[VersionInfo]:
    """Return the versions of a repository, newest first. Raises NotFoundError when there is no such repository."""
    from hfmirror import refs
    from hfmirror.clone import opened

    if target.path is not None:
        if not target.path.is_dir():
            raise errors.NotFoundError(
                f'{target}: no such repository ({target.path}). Push to it first, or name another with --repo.'
            )
        return refs.tags_in(target.path, prefix=prefix)
    with opened(target, home, token) as repository:
        found = repository.remote_refs()
        if repository.archive is not None and not (found.head or found.tags):
            raise errors.NotFoundError(
                f'{target}: no such repository ({target.url}). Push to it first, or name another with --repo.'
            )
        return repository.versions(found, prefix=prefix)


@click.command(short_help='List the versions of a repository, newest first.')
@options.where
@click.option('--kind', type=click.Choice(KINDS), help='Only these.')
@click.option('--limit', type=click.IntRange(min=1), help='At most so many.')
@options.as_json
@options.verbose
def command(kind: str | None, limit: int | None, as_json: bool, verbose: bool, **given: Any) -> None:
    """List the versions of a repository, newest first.

    \b
    hfmirror list-versions
    hfmirror list-versions --repo me/my-model --remote local --kind semantic --limit 5

    Without --repo it is the repository that was last pushed from this directory.
    """
    from hfmirror.naming import tag_prefix

    output.configure(verbose=verbose)
    target, config, home, token = options.locate(given)
    found = list_versions(target, home, token=token, prefix=tag_prefix(config))
    found = [info for info in found if kind is None or info.kind == kind][:limit]
    if as_json:
        output.document([as_document(info) for info in found])
        return
    output.say(f'{target}: {output.count(len(found), "version")}')
    if found:
        output.table(
            [_row(info) for info in found],
            ('name', 'kind', 'commit', 'date', 'size', 'files', 'metrics', 'message'),
        )


def as_document(info: VersionInfo) -> dict[str, Any]:
    """Return what ``--json`` prints of a version; ``date`` is ISO 8601."""
    return {**info._asdict(), 'date': info.date.isoformat()}


def _row(info: VersionInfo) -> dict[str, str]:
    metrics = ' '.join(
        f'{name}={output.human_number(value, 4)}' for name, value in list(info.metrics.items())[:3]
    )
    return {
        'name': info.name,
        'kind': info.kind,
        'commit': info.commit[:7],
        'date': f'{info.date.astimezone():%Y-%m-%d %H:%M}',
        'size': output.human_size(info.size) if info.size is not None else '-',
        'files': f'{info.files:,}' if info.files is not None else '-',
        'metrics': metrics or '-',
        'message': info.message if len(info.message) <= 60 else info.message[:59] + '…',
    }
