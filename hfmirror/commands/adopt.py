"""``hfmirror adopt``: a repository that a Trainer has pushed to gets versions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.adopting.adopting import Row


@click.command(short_help='Put a repository that a Trainer has pushed to under versions.')
@click.argument('repo', metavar='REPO')
@options.repo_type
@options.branch
@options.remote
@click.option('--tag', metavar='T', help='Name the version at the end.  [default: the next one]')
@click.option('--dry-run', is_flag=True, help='Show the tags; change nothing.')
@options.token
@options.config
@options.as_json
@options.verbose
def command(tag: str | None, dry_run: bool, as_json: bool, verbose: bool, **given: Any) -> None:
    """Put REPO, which a Trainer has pushed to, under versions: its commits get tags, its card the sections of hfmirror.

    \b
    hfmirror adopt me/my-model --dry-run
    hfmirror adopt me/my-model --tag v1.0.0

    "Training in progress, step 100" becomes step-100; what "End of training" has left becomes a version, with a commit on
    top of it that brings the card up to date around your words. Tags that are there stay where they are. Run again, it
    adds what is new.
    """
    from hfmirror import versions
    from hfmirror.adopting.adopting import adopt
    from hfmirror.adopting.commits import is_version
    from hfmirror.naming import tag_prefix

    output.configure(verbose=verbose)
    if tag is not None:
        versions.check_name(tag)
    target, config, home, token = options.locate(given)
    rows = adopt(target, config, home, token=token, final=tag, dry_run=dry_run)
    if as_json:
        output.document([_as_document(row) for row in rows])
        return
    new = [row for row in rows if row.status != 'up-to-date']
    show = [_shown(row) for row in rows]
    output.table(show, ('tag', 'commit', 'status', 'size', 'files', 'metrics', 'message'))
    output.say(f'{target}: {_summary(new, dry_run=dry_run)}')
    if not any(is_version(row.tag, tag_prefix(config)) for row in rows) and tag is None:
        output.say(
            'no training has ended there yet, so there is no version and the card stays as it is; --tag makes one'
        )


def _summary(new: Sequence[Row], *, dry_run: bool) -> str:
    if not new:
        return 'nothing to do, all tags are there'
    return f'{"would get " if dry_run else ""}{output.count(len(new), "new tag")}'


def _as_document(row: Row) -> dict[str, Any]:
    """Return what ``--json`` prints of a tag; ``bytes`` are those of all files of its commit."""
    return {
        'version': row.tag,
        'commit': row.commit,
        'status': row.status,
        'message': row.subject,
        'bytes': row.size,
        'files': row.files,
        'metrics': dict(row.metrics),
    }


def _shown(row: Row) -> dict[str, str]:
    metrics = ' '.join(
        f'{name}={output.human_number(value, 4)}' for name, value in list(row.metrics.items())[:3]
    )
    return {
        'tag': row.tag,
        'commit': row.commit[:7] if row.commit else 'new',
        'status': row.status,
        'size': output.human_size(row.size),
        'files': f'{row.files:,}',
        'metrics': metrics or '-',
        'message': row.subject if len(row.subject) <= 60 else row.subject[:59] + '…',
    }
