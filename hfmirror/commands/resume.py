"""``hfmirror resume``: what waits in the outbox is sent."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.clone import Clone
    from hfmirror.config.config import Config
    from hfmirror.config.places import Home
    from hfmirror.notices import Notice
    from hfmirror.outbox import Entry, Outbox
    from hfmirror.target import Target


def resume(
    config: Config, home: Home, find_token: Callable[[Path], Token | None] = lambda folder: None
) -> list[dict[str, Any]]:
    """Send everything that waits, oldest first of each target; returns one document for each release.

    A release that cannot be sent leaves those after it on the same target where they are. ``find_token`` gets the folder
    of a release that waits for a Hub.
    """
    from hfmirror import notify, outbox

    started = time.monotonic()
    rows = [
        row
        for target, entries in outbox.waiting(home.outbox)
        for row in _resume_target(target, entries, config, home, find_token)
    ]
    sent = [release for row in rows if (release := row.pop('release')) is not None]
    notify.tell(config, sent, seconds=time.monotonic() - started)
    return rows


def _resume_target(
    target: Target,
    entries: Sequence[Entry],
    config: Config,
    home: Home,
    find_token: Callable[[Path], Token | None],
) -> list[dict[str, Any]]:
    from hfmirror.clone import opened
    from hfmirror.outbox import Outbox
    from hfmirror.outcome import disk_failure

    box = Outbox(home.outbox, target)
    rows: list[dict[str, Any]] = []
    try:
        token = find_token(Path(entries[0].folder)) if target.remote == 'hub' else None
        with opened(target, home, token) as repository:
            entries = box.entries()  # another command may have sent some while we waited for the clone
            while len(rows) < len(entries):
                rows.append(_send(repository, box, entries[len(rows)], config))
    except (errors.HfmirrorError, OSError) as e:
        failure = disk_failure(e) if isinstance(e, OSError) else e
        if len(rows) < len(entries):
            rows.append(_row(target, entries[len(rows)], 'waiting', failure))
    return rows


def _send(repository: Clone, box: Outbox, entry: Entry, config: Config) -> dict[str, Any]:
    from hfmirror.delivery import deliver_queued
    from hfmirror.outcome import of_waiting
    from hfmirror.underway import retry_of

    target = repository.target
    if repository.hub is not None and repository.hub.token is None:
        raise repository.hub.no_token(str(target))
    sent = deliver_queued(repository, box, entry, retry_of(config))
    return {**_row(target, sent, 'pushed'), 'release': of_waiting(repository, sent)}


def _row(
    target: Target, entry: Entry, status: str, error: errors.HfmirrorError | None = None
) -> dict[str, Any]:
    return {
        'target': str(target),
        'version': entry.version,
        'commit': entry.commit,
        'status': status,
        'error': str(error) if error else None,
        'exit_code': error.exit_code if error else 0,
        'release': None,
    }


def drop(identifier: str, home: Home) -> str:
    """Forget one waiting release and its objects, or a save or notification; returns its name.

    Raises NotFoundError when none has that id.
    """
    from hfmirror import outbox
    from hfmirror.clone import opened
    from hfmirror.notices import Notices
    from hfmirror.spool import Spool

    for target, entries in outbox.waiting(home.outbox):
        for entry in entries:
            if entry.id == identifier:
                box = outbox.Outbox(home.outbox, target)
                with opened(target, home):
                    box.remove(entry)
                _warn_of_those_on_top(entry, [later for later in entries if later.id > entry.id])
                return f'{target}: {entry.name}'
    notice = next((one for one in Notices(home).waiting() if one.id == identifier), None)
    if notice is not None:
        Notices(home).remove(notice)
        return f'the notification of {notice.event.get("repo")}'
    if (save := Spool(home).drop(identifier)) is not None:
        return f'{save.folder}: {save.name}'
    raise errors.NotFoundError(f"{identifier}: no waiting release has this id. 'hfmirror status' shows them.")


def _warn_of_those_on_top(dropped: Entry, later: Sequence[Entry]) -> None:
    if later and dropped.objects:
        names = ', '.join(entry.name for entry in later)
        output.warn(
            f'{names}: made on top of {dropped.name}, and without a copy of what was to be sent with it '
            f'({output.count(len(dropped.objects), "object")}). What needs one of these will not be sent: drop it too, and push '
            'the folder again.'
        )


@click.command(short_help='Send the releases that wait.')
@click.option('--drop', 'dropped', metavar='ID', help='Forget this one instead; its files are gone with it.')
@click.option('--saves', 'only_saves', is_flag=True, help='Only what trainings have handed over.')
@click.option('--only', multiple=True, metavar='ID', help='Only these of what trainings have handed over.')
@options.token
@options.config
@options.as_json
@options.verbose
def command(
    dropped: str | None,
    only_saves: bool,
    only: tuple[str, ...],
    config_file: Path | None,
    as_json: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Send the releases that wait, oldest first, and tell what could not be told to the webhook.

    \b
    hfmirror resume
    """
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import home
    from hfmirror.notices import Notices

    output.configure(verbose=verbose)
    if dropped:
        output.say(f'{drop(dropped, home())} will not be sent')
        return
    waiting = len(_notices(home()))
    rows = _saves(home(), only)
    if not (only_saves or only):
        config = load_config(config_file)
        rows += resume(config, home(), lambda folder: options.token_of(given, folder=folder))
        _say_notices(waiting, config, home())
    if as_json:
        output.document([{key: row[key] for key in row if key != 'exit_code'} for row in rows])
    for row in rows:
        name = row['version'] or (row['commit'] or '')[:10]
        if row['status'] == 'pushed' and not as_json:
            output.data(f'{row["target"]}: {name} pushed and proven')
    if not (rows or waiting or Notices(home()).waiting()):
        output.say('nothing waits')
    _finish([row for row in rows if row['status'] != 'pushed'], len(rows))


def _say_notices(waiting: int, config: Config, to: Home) -> None:
    """Say how many of the notifications that waited are told now, and why nobody has tried to tell others."""
    from hfmirror.notices import Notices

    left, everywhere = len(_notices(to)), len(Notices(to).waiting())
    if left < waiting:
        output.say(f'{output.count(waiting - left, "notification")} told')
    if left and not (config.notifications.enabled and config.notifications.webhook_url):
        output.say(
            f'{output.count(left, "notification")} not told: notifications are off here. Set notifications.enabled and '
            'notifications.webhook_url.'
        )
    if everywhere > left:
        others = output.count(everywhere - left, 'notification')
        output.say(f"{others} of other projects: run 'hfmirror resume' there; 'hfmirror status' shows where")


def _notices(to: Home) -> list[Notice]:
    """Return the notifications that are told from the working directory, and wait."""
    from hfmirror.notices import Notices

    return [notice for notice in Notices(to).waiting() if notice.project == str(Path.cwd())]


def _saves(to: Home, only: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Release what trainings have handed over; returns one document for each."""
    from hfmirror.sender import drain

    return [
        {
            'target': result.save.repo or result.save.folder,
            'version': result.version or result.save.name,
            'commit': None,
            'status': 'waiting' if result.status in ('failed', 'queued') else 'pushed',
            'error': result.error,
            'exit_code': result.exit_code,
        }
        for result in drain(to, only=only or None)
    ]


def _finish(waiting: list[dict[str, Any]], total: int) -> None:
    if not waiting:
        return
    if total > len(waiting):
        for row in waiting:
            output.error(row['error'])
        raise errors.PartialError(f'{len(waiting)} of {output.count(total, "release")} still wait.')
    failure = errors.HfmirrorError('\n'.join(row['error'] for row in waiting))
    failure.exit_code = waiting[0]['exit_code']
    raise failure
