"""How do saves become releases? One after the other, oldest first, by whoever gets there: a training, or a later command.

A training that goes on starts a process for it, so that neither its interpreter nor its end has anything to do with it.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from hfmirror import clonedir, errors, gitcmd, output, publishing
from hfmirror.auth import Token
from hfmirror.card.additions import Additions
from hfmirror.config.loading import load_config
from hfmirror.config.places import Home, home
from hfmirror.naming import Choice
from hfmirror.outcome import Unreleased
from hfmirror.place import Place
from hfmirror.publishing import Publication, Published
from hfmirror.spool import Result, Save, Spool

_LOG, _LOG_MAX = 'saves.log', 1024 * 1024


def publication_of(save: Save) -> Publication:
    """Return what is to be published of a save."""
    choice = Choice('tag', save.tag) if save.tag else Choice()
    if save.experiment and not save.tag:
        choice = Choice('experiment', save.experiment)
    return Publication(
        Path(save.held),
        Place(save.repo, save.repo_type, save.branch),
        save.remotes,
        choice,
        save.path_in_repo,
        save.message,
        keep=save.keep,
        private=save.private,
        item='model',
        experiment=save.experiment,
        additions=Additions(sections=save.sections or {}),
        source=Path(save.folder),
        code=Path(save.code) if save.code else None,
    )


def send(save: Save, spool: Spool, to: Home) -> Result:
    """Release one save. What cannot be released goes on waiting, with the reason in its ``error``; nothing is raised for it.

    A release that waits for the network is out of here: the outbox has it, with its own copy of the bytes.
    """
    try:
        done = _publish(save, to)
    except errors.HfmirrorError as e:
        return Result(spool.fail(save, str(e)), 'failed', error=str(e))
    failed = [one for one in done.releases if isinstance(one, Unreleased)]
    if failed:
        why = '\n'.join(str(one.error) for one in failed)
        return Result(spool.fail(save, why), 'failed', error=why)
    result = _result(save, done)
    spool.finish(save, result)
    return result


def _publish(save: Save, to: Home) -> Published:
    config = load_config(Path(save.config_file) if save.config_file else None)
    publication = publication_of(save)
    token = publishing.token_for(publication, config)
    if token is None and publishing.goes_to_hub(publication, config):
        output.warn(publishing.NO_TOKEN, prefix='')
        publication = publication._replace(
            remotes=publishing.without_token(publication.remotes or config.remotes or ['hub'])
        )
    done = publishing.publish(publication, config, to, token=token)
    if save.series and save.keep_tags:
        from hfmirror.pruning import prune

        for one in done.releases:
            if not isinstance(one, Unreleased) and one.status != 'queued':
                prune(one.target, save.series, to, keep=save.keep_tags, token=token)
    return done


def _result(save: Save, done: Published) -> Result:
    releases = [one for one in done.releases if not isinstance(one, Unreleased)]
    status = 'queued' if any(one.status == 'queued' for one in releases) else releases[0].status
    notes = '\n'.join(one.note for one in releases if one.note)
    return Result(save, status, releases[0].version, releases[0].target.url, notes or None)


def drain(to: Home) -> list[Result]:
    """Release every save that waits, those too that come meanwhile; returns what came of each.

    Waits for another process that does the same. A save that fails is tried once.
    """
    spool, results = Spool(to), dict[str, Result]()
    if not spool.root.is_dir():
        return []
    with clonedir.locked(spool.root / 'sender.lock', 'saves'):
        spool.tidy(time.time())
        while waiting := [save for save in spool.saves() if save.id not in results]:
            results[waiting[0].id] = send(waiting[0], spool, to)
    return list(results.values())


def start(token: Token | None = None) -> subprocess.Popen[bytes]:
    """Begin to release what waits, in a process that goes on when this one ends. What it says is in a log.

    ``token`` is one that this process was given and that the other would not find.
    """
    log = home().log / _LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_MAX:
        log.unlink()
    with log.open('ab') as written:
        return subprocess.Popen(
            [sys.executable, '-m', 'hfmirror', 'resume', '--saves'],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,  # Ctrl-C is for the training
            env=gitcmd.environment({'HF_TOKEN': token.value} if token else None),
        )
