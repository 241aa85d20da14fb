"""How do saves become releases? One after the other, oldest first, by whoever gets there: a training, or a later command.

A training that goes on starts a process for it, so that neither its interpreter nor its end has anything to do with it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

from hfmirror import clonedir, errors, gitcmd, output, publishing, versions
from hfmirror.auth import Token
from hfmirror.card.additions import Additions
from hfmirror.config.config import Config
from hfmirror.config.loading import config_from, load_config
from hfmirror.config.places import Home, home
from hfmirror.naming import Choice
from hfmirror.origin import Origin
from hfmirror.outcome import Release, Unreleased, disk_failure
from hfmirror.place import Place
from hfmirror.pruning import prune
from hfmirror.publishing import Publication, Published
from hfmirror.spool import Result, Save, Spool
from hfmirror.statcache import StatCache
from hfmirror.target import Target
from hfmirror.worktree import TagExists

LOCK, LOG, _LOG_MAX = 'sender.lock', 'saves.log', 1024 * 1024


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
        origin=Origin(save.source_commit, save.source_dirty) if save.source_commit else None,
    )


def send(save: Save, spool: Spool, to: Home, *, patient: bool = True) -> Result:
    """Release one save. What cannot be released goes on waiting, with the reason in its ``error``; nothing is raised for it.

    A release that waits for the network is out of here: the outbox has it, with its own copy of the bytes. One that is not
    ``patient`` does so at once: the network was just seen to be gone.
    """
    try:
        spool.require_unchanged(save)
        with _knowing(save, to):
            done = _publish(save, to, patient=patient)
    except (errors.HfmirrorError, OSError) as e:
        return _failed(save, [disk_failure(e) if isinstance(e, OSError) else e], spool)
    failed = [one.error for one in done.releases if isinstance(one, Unreleased)]
    if failed:
        return _failed(save, failed, spool)
    result = _result(save, done)
    spool.finish(save, result)
    _forget(save, to)
    return result


@contextmanager
def _knowing(save: Save, to: Home) -> Iterator[None]:
    """Have what is known of a training's files believed of the links to them meanwhile, and afterwards the other way round.

    So what is saved once more, or pushed from its folder, is not read again.
    """
    links = [(Path(folder), Path(os.path.realpath(save.held)) / into) for folder, into in save.linked]
    with closing(_cache(to)) as cache:
        for folder, link in links:
            cache.carry(folder, link)
    try:
        yield
    finally:
        with closing(_cache(to)) as cache:
            for folder, link in links:
                if folder.is_dir():
                    cache.carry(link, folder)


def _forget(save: Save, to: Home) -> None:
    """Forget what was held, and the checkpoints that the training has removed: the cache does not grow with each save."""
    with closing(_cache(to)) as cache:
        cache.forget(Path(os.path.realpath(save.held)))
        for place in {Path(name).parent for name in cache.known(Path(os.path.realpath(save.folder)))}:
            if not place.is_dir():
                cache.forget(place)


def _cache(to: Home) -> StatCache:
    return StatCache(to.cache / 'files.sqlite')


def _failed(save: Save, failures: Sequence[errors.HfmirrorError], spool: Spool) -> Result:
    why = '\n'.join(map(str, failures))
    return Result(spool.fail(save, why), 'failed', error=why, exit_code=failures[0].exit_code)


def _publish(save: Save, to: Home, *, patient: bool) -> Published:
    config = load_config(Path(save.config_file)) if save.config_file else config_from({})
    if not patient:
        config = _without_retries(config)
    if save.tag:
        versions.check_name(save.tag)
    publication = publication_of(save)
    if save.repo and '/' not in save.repo:  # in one's own namespace, as the configuration writes it
        named = config.repository.model_copy(update={'model_name': save.repo})
        config = config.model_copy(update={'repository': named})
        publication = publication._replace(place=publication.place._replace(repo=None))
    token = publishing.token_for(publication._replace(folder=Path(save.folder)), config)
    if token is None and publishing.goes_to_hub(publication, config):
        output.warn(publishing.NO_TOKEN, prefix='')
        publication = publication._replace(
            remotes=publishing.without_token(publication.remotes or config.remotes or ['hub'])
        )
    done = _under_a_free_name(publication, save, config, to, token)
    if save.series and save.keep_tags:
        for one in done.releases:
            if isinstance(one, Release) and one.status != 'queued':
                _prune(one.target, save.series, save.keep_tags, to, token)
    return done


def _prune(target: Target, series: str, keep: int, to: Home, token: Token | None) -> None:
    try:
        prune(target, series, to, keep=keep, token=token)
    except errors.HfmirrorError as e:
        output.warn(f'{e} The release is there; older tags of it go with the next one.')


def _without_retries(config: Config) -> Config:
    upload = config.settings.upload.model_copy(update={'max_retries': 0})
    return config.model_copy(update={'settings': config.settings.model_copy(update={'upload': upload})})


def _under_a_free_name(
    publication: Publication, save: Save, config: Config, to: Home, token: Token | None
) -> Published:
    """Publish a save; one of a series under the next free name where its own stands for something else.

    A training that begins again gets to the same steps with other weights, and both are kept.
    """
    for number in count(2):
        try:
            done = publishing.publish(publication, config, to, token=token)
        except TagExists:
            if not save.series:
                raise
        else:
            taken = [one for one in done.releases if isinstance(one, Unreleased)]
            if not (save.series and any(isinstance(one.error, TagExists) for one in taken)):
                return done
        # On the other targets too: one save has one name, and what is there under the first one stays.
        publication = publication._replace(choice=Choice('tag', f'{save.tag}.{number}'))
    raise AssertionError('unreachable')


def _result(save: Save, done: Published) -> Result:
    releases = [one for one in done.releases if not isinstance(one, Unreleased)]
    status = 'queued' if any(one.status == 'queued' for one in releases) else releases[0].status
    notes = '\n'.join(one.note for one in releases if one.note)
    code = errors.NetworkError.exit_code if status == 'queued' else 0
    return Result(save, status, releases[0].version, releases[0].target.url, notes or None, code)


def drain(
    to: Home,
    *,
    stop: Callable[[], bool] = lambda: False,
    patient: bool = True,
    only: Collection[str] | None = None,
) -> list[Result]:
    """Release every save that waits, those too that come meanwhile, or ``only`` those of these ids; returns what came of each.

    Waits for another process that does the same. A save that fails is tried once. No other one is begun once ``stop`` says so.
    Who is not ``patient`` does not try the network a second time.
    """
    spool, results = Spool(to), dict[str, Result]()
    is_there = patient
    if not spool.root.is_dir():
        return []
    with clonedir.locked(spool.root / LOCK, 'saves'):
        spool.tidy(time.time())
        while not stop() and (
            waiting := [
                save for save in spool.saves() if save.id not in results and (only is None or save.id in only)
            ]
        ):
            result = send(waiting[0], spool, to, patient=is_there)
            is_there = patient and result.status != 'queued'
            results[result.save.id] = result
    return list(results.values())


def is_at_work(to: Home) -> bool:
    """Return whether a process releases saves just now."""
    from filelock import FileLock, Timeout

    try:
        with FileLock(Spool(to).root / LOCK, timeout=0):
            return False
    except Timeout:
        return True


def start(
    token: Token | None = None, *, only: Collection[str] = (), env: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Begin to release what waits, in a process that goes on when this one ends. What it says is in a log.

    ``token`` is one that this process was given and that the other would not find: it is for ``only`` the saves of these ids,
    and not for those of other trainings. ``env`` are further variables for it.
    """
    chosen = [word for name in only for word in ('--only', name)] if token else []
    log = home().log / LOG
    log.parent.mkdir(parents=True, exist_ok=True)
    if log.exists() and log.stat().st_size > _LOG_MAX:
        log.unlink()
    with log.open('ab') as written:
        return subprocess.Popen(
            # -P: what lies in the working directory is a person's code, not ours.
            [sys.executable, '-P', '-m', 'hfmirror', 'resume', '--saves', *chosen],
            stdin=subprocess.DEVNULL,
            stdout=written,
            stderr=written,
            start_new_session=True,  # Ctrl-C is for the training
            env=gitcmd.environment({**(env or {}), **({'HF_TOKEN': token.value} if token else {})}),
        )
