"""``hfmirror status``: what waits in the outbox."""

from __future__ import annotations

from typing import Any

import click

from hfmirror import output
from hfmirror.commands import options


def status() -> list[dict[str, Any]]:
    """Return one document for each release that waits, oldest first of each target."""
    from hfmirror import outbox
    from hfmirror.config.places import home

    return [
        {
            'id': entry.id,
            'target': str(target),
            'version': entry.version,
            'commit': entry.commit,
            'created': entry.created,
            'folder': entry.folder,
            'objects': len(entry.objects),
            'bytes': entry.size,
            'owned': all(held.stamp is None for held in entry.objects),
            'attempts': entry.attempts,
            'error': entry.error,
        }
        for target, entries in outbox.waiting(home().outbox)
        for entry in entries
    ]


@click.command(short_help='Show the releases that wait to be sent.')
@options.as_json
def command(as_json: bool) -> None:
    """Show the releases that wait to be sent, and why.

    \b
    hfmirror status
    """
    found = status()
    if as_json:
        output.document(found)
        return
    if not found:
        output.say('nothing waits')
    for row in found:
        name = row['version'] or row['commit'][:10]
        output.data(
            f'{row["target"]}: {name}, {output.human_size(row["bytes"])}, since {row["created"]}  ({row["id"]})'
        )
        if row['error']:
            output.data(f'  {row["error"]}')
        if not row['owned']:
            output.data(f'  leave {row["folder"]} as it is: the release still shares its files')
    if found:
        output.say("send them with 'hfmirror resume'")
