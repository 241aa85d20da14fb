"""A command is run, and what it has finished is released, however it ended.

1. the command, with its streams as they are; a scheduler's signal goes on to it, and leaves the release its share of the time
2. what the training has handed over itself, if it waits
3. for each folder: what of it is finished, the metadata of the run, the release, unless the training has made one of the same
4. with an experiment's name, the metadata in the repository for configurations, as a sync keeps them

What is half-way when all of it is killed waits in the outbox, for ``hfmirror resume`` or the next push.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import errors, jobs, output, process, publishing, sender
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.experiments import metadata, storing, syncing
from hfmirror.experiments.metadata import Run
from hfmirror.experiments.project import Project, Terms
from hfmirror.jobs import Job
from hfmirror.naming import Choice
from hfmirror.outcome import Release, Unreleased, disk_failure, require_done
from hfmirror.process import Ended
from hfmirror.publishing import Publication
from hfmirror.running import already, found, told
from hfmirror.running.found import Left
from hfmirror.spool import Spool
from hfmirror.worktree import TagExists

GRACE_S = 30.0
LOG_LINES = 40
_ATTEMPTS = 1000  # of runs that get to the same step


class Wanted(NamedTuple):
    """What is to be run and how it is released. ``publication`` has the options; its folder counts only where none is named.

    ``grace_s`` None: as the scheduler has it. ``log_lines`` is how many of the last ones are in the metadata.
    """

    command: Sequence[str]
    publication: Publication
    folders: Sequence[Path] = ()
    grace_s: float | None = None
    log_lines: int = LOG_LINES
    streams: tuple[int, int] = (1, 2)


class Done(NamedTuple):
    """What came of a run: how the command ended, and for each folder its releases. ``failure`` is the first of ours."""

    ended: Ended
    job: Job | None
    releases: list[tuple[Left, list[Release | Unreleased]]]
    failure: errors.HfmirrorError | None

    @property
    def exit_code(self) -> int:
        """The command's own, unless it succeeded and the release did not."""
        return self.ended.code or (self.failure.exit_code if self.failure else 0)


class _Run(NamedTuple):
    wanted: Wanted
    command: found.Command
    ended: Ended
    job: Job | None
    config: Config
    home: Home
    token: Token | None


def run(wanted: Wanted, config: Config, home: Home, find_token: Callable[[], Token | None]) -> Done:
    """Run a command and release what it leaves. Raises UsageError when it cannot be started; all else is in the result."""
    folders = list(wanted.folders) or ([Path(config.hooks.folder)] if config.hooks.folder else [])
    found.require_distinct(folders, wanted.publication.place.repo or config.repository.model_name)
    job, began = jobs.current(), found.now_at(Path.cwd())
    grace_s = _grace(wanted, job)
    with process.Signals(grace_s / 2) as signals:
        ended = process.run(wanted.command, signals, streams=wanted.streams)
        output.say(_how_it_ended(wanted.command, ended))
        if ended.asked:
            config = _impatient(config)
        _send_saves(home, patient=not ended.asked)
        command = found.Command(began, ended.code == 0)
        current = _Run(wanted, command, ended, job, config, home, _found_by(find_token))
        return _release_all(current, folders)


def _send_saves(home: Home, *, patient: bool) -> None:
    """Release what the training has handed over itself and nobody has sent yet, before what it leaves in the end.

    What cannot be sent goes on waiting; it does not keep the rest.
    """
    try:
        if not Spool(home).saves():
            return
        for result in sender.drain(home, patient=patient):
            if result.error:
                output.warn(f'{result.save.name}: {result.error}')
    except (errors.HfmirrorError, OSError) as e:
        output.warn(str(disk_failure(e) if isinstance(e, OSError) else e))


def _found_by(find_token: Callable[[], Token | None]) -> Token | None:
    """Return the token; without one the release is kept here, whatever is wrong with it."""
    try:
        return find_token()
    except errors.HfmirrorError as e:
        output.error(str(e))
        return None


def _grace(wanted: Wanted, job: Job | None) -> float:
    if wanted.grace_s is not None:
        return wanted.grace_s
    return (job.grace_s if job else None) or GRACE_S


def _how_it_ended(command: Sequence[str], ended: Ended) -> str:
    how = f'ended by {ended.signal}' if ended.signal else f'exit {ended.code}'
    return f'{Path(command[0]).name}: {how} after {ended.seconds:.1f} s'


def _impatient(config: Config) -> Config:
    """Return a configuration that tries the network once: what does not go at once waits in the outbox."""
    upload = config.settings.upload.model_copy(update={'max_retries': 0})
    return config.model_copy(update={'settings': config.settings.model_copy(update={'upload': upload})})


def _release_all(current: _Run, folders: Sequence[Path]) -> Done:
    releases: list[tuple[Left, list[Release | Unreleased]]] = []
    failure: errors.HfmirrorError | None = None
    for left in _left(current, folders):
        try:
            _release(left, current, releases)
        except (errors.HfmirrorError, OSError) as e:
            told_as = disk_failure(e) if isinstance(e, OSError) else e
            output.error(str(told_as))
            failure = failure or told_as
    if not releases and failure is None:
        failure = errors.NotFoundError(
            'the command has left nothing that could be released. Name the folder that it writes to with --folder.'
        )
        output.warn(str(failure))
    return Done(current.ended, current.job, releases, failure)


def _left(current: _Run, folders: Sequence[Path]) -> Iterator[Left]:
    if folders:
        left_there = (found.left_in(folder, current.command) for folder in folders)
        yield from (left for left in left_there if left is not None)
        return
    newest = found.newest_below(Path.cwd(), current.command)
    if newest is not None:
        yield newest


def _release(left: Left, current: _Run, releases: list[tuple[Left, list[Release | Unreleased]]]) -> None:
    """Release what a command has left in one folder, and add what came of it to ``releases``. Raises what went wrong."""
    publication = _publication(left, current)
    there, missing = _there_already(left, publication, current)
    experiment = publication.choice.value if publication.choice.kind == 'experiment' else None
    is_told = current.config.experiment_tracking.enabled and bool(missing or experiment is not None)
    run = _described(left, publication, current) if is_told else None
    done: list[Release | Unreleased] = [*there]
    if missing:
        if run is not None and experiment is None and left.path.is_dir():
            told.write(left.path, _values(run, current), current.config)
        done += _publish(publication._replace(remotes=missing), left, current)
    releases.append((left, done))
    for one in done:
        _say(one)
    if run is not None and experiment is not None:
        _keep(left, publication, run, done, current)
    require_done(done)
    _require_name(left, done, current)


def _there_already(
    left: Left, publication: Publication, current: _Run
) -> tuple[list[Release], Sequence[str]]:
    """Return the releases of the same that the training has made itself, and the remotes that do not have it.

    Where it has released it counts, unless another place is named for the run.
    """
    since = already.Since(
        current.ended.started.timestamp(), current.ended.code == 0, current.config, current.home
    )
    found = already.released(left, publication, since)
    given = current.wanted.publication
    missing: list[str] = [] if found else [*publication.remotes]
    if found and (given.place.repo or given.remotes):
        targets = publishing.targets_of(publication, current.config, current.home, token=current.token)
        found = [one for one in found if one.target in targets]
        there = {one.target for one in found}
        missing = [target.remote for target in targets if target not in there]
    if found:
        more = (
            ''
            if given.choice.kind == 'experiment'
            else '; --experiment NAME would keep how it ended beside it'
        )
        output.say(f'{left.named}: released by the training itself{more}')
    return found, missing


def _publication(left: Left, current: _Run) -> Publication:
    given = current.wanted.publication
    asked = given.remotes or current.config.remotes or ['hub']
    if current.token is None and publishing.goes_to_hub(given, current.config):
        output.warn(publishing.NO_TOKEN, prefix='')
        output.warn('the release is kept in the local Hub on this machine, which a job takes with it')
        asked = publishing.without_token(asked)
    return given._replace(
        folder=left.path,
        remotes=asked,
        choice=Choice('tag', f'step-{left.step}') if left.step is not None else given.choice,
        exclude=[*given.exclude, *(() if given.include else left.exclude)],
        source=left.named if left.named != left.path else None,
    )


def _described(left: Left, publication: Publication, current: _Run) -> Run:
    """Return what the files of a run tell of it. Raises as a release of them would."""
    target = publishing.targets_of(publication, current.config, current.home, token=current.token)[0]
    name = publication.choice.value if publication.choice.kind == 'experiment' else left.named.resolve().name
    if left.path.is_dir():
        return syncing.run_of(syncing.Training(left.path, name), target, current.config)
    return Run(name, target, metrics=metadata.metrics_in(left.path))


def _values(run: Run, current: _Run) -> dict[str, Any]:
    """Return the metadata of a run: what every sync tells, and how the command ended."""
    wanted, token = current.wanted, current.token
    secrets = [token.value] if token is not None else []
    about = told.told(wanted.command, current.ended, current.job, log_lines=wanted.log_lines, secrets=secrets)
    return {**metadata.describe(run, current.config), 'run': about}


def _publish(publication: Publication, left: Left, current: _Run) -> list[Release | Unreleased]:
    """Release a folder. Where its name is taken it gets a longer one, since it would be lost otherwise."""
    done = _attempt(publication, current)
    for name in _longer(publication.choice, left):
        taken = [one for one in done if isinstance(one, Unreleased) and isinstance(one.error, TagExists)]
        if not taken:
            break
        output.say(f'{taken[0].target}: {publication.choice.value} is taken; trying {name}')
        others = publication._replace(
            choice=Choice('tag', name), remotes=[one.target.remote for one in taken]
        )
        done = [*(one for one in done if one not in taken), *_attempt(others, current)]
    return done


def _longer(choice: Choice, left: Left) -> Iterator[str]:
    """Yield the names to try where a chosen one is taken: ``step-100.2`` of a checkpoint, else with the time behind it."""
    if choice.kind != 'tag':
        return
    if left.step is None:
        yield f'{choice.value}-{datetime.now(UTC):%Y%m%d-%H%M%S}'
        return
    yield from (f'{choice.value}.{number}' for number in range(2, _ATTEMPTS))


def _attempt(publication: Publication, current: _Run) -> list[Release | Unreleased]:
    config, home, token = current.config, current.home, current.token
    try:
        return publishing.publish(publication, config, home, token=token).releases
    except TagExists as e:
        targets = publishing.targets_of(publication, config, home, token=token)
        return [Unreleased(target, e) for target in targets]


def _require_name(left: Left, done: Sequence[Release | Unreleased], current: _Run) -> None:
    """Raise ConflictError when a release is there under another name than was asked for."""
    choice = current.wanted.publication.choice
    if left.step is not None or choice.kind != 'tag':
        return
    for one in done:
        if isinstance(one, Release) and one.status in ('pushed', 'queued') and one.version != choice.value:
            raise errors.ConflictError(
                f'{one.target}: {choice.value} was taken; it is released as {one.version}.'
            )


def _keep(
    left: Left,
    publication: Publication,
    run: Run,
    done: Sequence[Release | Unreleased],
    current: _Run,
) -> None:
    """Keep the metadata of the run, and its results, in the repository for configurations beside each release."""
    project = Project(current.config, current.home, publication.place, publication.remotes, current.token)
    terms = Terms(publication.private, publication.allow_secrets, publication.allow_unsafe)
    results = storing.standard_results(left.path) if left.path.is_dir() else {}
    kept = storing.Kept(run.name, None, results, left.named)
    stored: list[Release] = []
    for one in done:
        if isinstance(one, Release):
            values = _values(replace(run, model=one.target, release=one), current)
            stored.append(storing.store(kept, values, project.configs(one.target), project, terms))
            _say(stored[-1])
    require_done(stored)


def _say(one: Release | Unreleased) -> None:
    """Tell what came of a release. Standard output is the command's."""
    if isinstance(one, Unreleased):
        return  # told when it happened
    how = {'pushed': 'pushed and proven', 'up-to-date': 'there already', 'queued': 'waits to be sent'}
    size = f'{output.count(one.files, "file")}, {output.human_size(one.size)}'
    output.say(f'{one.target}: {one.version or (one.commit or "")[:10]} {how[one.status]} ({size})')
    if one.note:
        output.warn(one.note)
