"""``hfmirror status``: what waits: releases in the outbox, saves that trainings have handed over, and notifications."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.config.places import Home


def status() -> list[dict[str, Any]]:
    """Return one document for each that waits: saves, releases, notifications (``kind``), oldest first of each target."""
    from hfmirror.config.places import home

    return [*_saves(home()), *_releases(home()), *_notices(home())]


def _releases(to: Home) -> list[dict[str, Any]]:
    from hfmirror import outbox

    return [
        {
            'kind': 'release',
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
        for target, entries in outbox.waiting(to.outbox)
        for entry in entries
    ]


def _saves(to: Home) -> list[dict[str, Any]]:
    from hfmirror.spool import Spool

    return [
        {
            'kind': 'save',
            'id': save.id,
            'target': save.repo or save.folder,
            'version': save.tag,
            'commit': None,
            'created': save.created,
            'folder': save.folder,
            'attempts': save.attempts,
            'error': save.error,
        }
        for save in Spool(to).saves()
    ]


def _notices(to: Home) -> list[dict[str, Any]]:
    from hfmirror.notices import Notices

    return [
        {
            'kind': 'notification',
            'id': notice.id,
            'target': notice.event.get('repo'),
            'version': notice.event.get('version'),
            'commit': notice.event.get('commit'),
            'created': datetime.fromtimestamp(notice.since_s, UTC).isoformat(timespec='seconds'),
            'folder': notice.project,
            'attempts': notice.attempts,
            'error': notice.error,
        }
        for notice in Notices(to).waiting()
    ]


@click.command(short_help='Show the releases that wait to be sent.')
@options.as_json
def command(as_json: bool) -> None:
    """Show the releases that wait to be sent, and why; what trainings have handed over; and how many notifications wait.

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
        if row['kind'] != 'notification':
            _show(row)
    _show_notices([row for row in found if row['kind'] == 'notification'])
    if found:
        output.say("send them with 'hfmirror resume'")


def _show(row: dict[str, Any]) -> None:
    if row['kind'] == 'save':
        output.data(
            f'{row["target"]}: {row["version"] or "a save"}, handed over {row["created"]}  ({row["id"]})'
        )
    else:
        name, size = row['version'] or row['commit'][:10], output.human_size(row['bytes'])
        output.data(f'{row["target"]}: {name}, {size}, since {row["created"]}  ({row["id"]})')
    if row['error']:
        output.data(f'  {row["error"]}')
    if not row.get('owned', True):
        output.data(f'  leave {row["folder"]} as it is: the release still shares its files')


def _show_notices(rows: list[dict[str, Any]]) -> None:
    """Show how many notifications wait of each project, which are told from there alone."""
    for project in dict.fromkeys(row['folder'] for row in rows):
        own = [row for row in rows if row['folder'] == project]
        output.data(f'{output.count(len(own), "notification")} of {project}, since {own[0]["created"]}')
        if own[-1]['error']:
            output.data(f'  {own[-1]["error"]}')
