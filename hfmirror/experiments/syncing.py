"""How is a training run synced? The model as a release, then what it was made with beside it, each with a link to the other.

Run again after a kill, it goes on: a release that is there already is not made twice, nor is a commit that would change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import errors, output, place, publishing, versions
from hfmirror import folder as folders
from hfmirror.card.additions import Additions, Link
from hfmirror.config.config import Config
from hfmirror.experiments import metadata, storing
from hfmirror.experiments.document import Document
from hfmirror.experiments.metadata import Run
from hfmirror.experiments.project import Project, Terms
from hfmirror.experiments.storing import Kept
from hfmirror.facts import jsonfile
from hfmirror.facts.facts import read_facts
from hfmirror.naming import Choice
from hfmirror.origin import NO_ORIGIN, origin_of
from hfmirror.outcome import Release, Unreleased
from hfmirror.place import Place
from hfmirror.publishing import Publication
from hfmirror.target import Target

Outcome = Release | Unreleased

_ARGUMENTS = 'training_args.json'


class Training(NamedTuple):
    """What a training run has left: the folder of its model, its configuration, and {path: file} of its results.

    ``version`` is the model's tag, None for the one that the configuration makes. ``sections`` go into its card.
    """

    model: Path
    name: str
    version: str | None = None
    configuration: Document | None = None
    results: Mapping[str, Path] = {}
    message: str | None = None
    sections: Mapping[str, str] = {}


class Synced(NamedTuple):
    """What came of a sync on one target: the model's release and the experiment's, None for what was not asked for."""

    target: Target
    configs: Target
    kept: Kept
    model: Outcome | None
    experiment: Outcome | None

    @property
    def outcome(self) -> Outcome | None:
        """What the exit code depends on: of model and experiment what failed, else what waits, else what is done."""
        both = [one for one in (self.model, self.experiment) if one is not None]
        return max(both, key=_badness, default=None)

    @property
    def urls(self) -> dict[str, str | None]:
        """Where the model, the configuration and the results are seen; None for what was not uploaded."""
        named, is_stored = self.kept.configuration, isinstance(self.experiment, Release)
        config_url = storing.page(self.configs, f'{self.kept.folder}/{named.name}', 'blob') if named else None
        results_url = storing.page(self.configs, self.kept.folder) if self.kept.results else None
        return {
            'model_url': self.target.url if isinstance(self.model, Release) else None,
            'config_url': config_url if is_stored else None,
            'results_url': results_url if is_stored else None,
        }


def _badness(one: Outcome) -> int:
    return 2 if isinstance(one, Unreleased) else int(one.status == 'queued')


def sync(training: Training, project: Project, terms: Terms) -> list[Synced]:
    """Sync a training run with every target, in the order they were named; ``upload_items`` are what of it.

    Raises the error of the only target; of several, each has its own in the result. Before anything is sent raises GateError
    when the gates find something in configuration, results or metadata, UsageError when two of these have one name, and
    ConflictError when another experiment has the folder.
    """
    config, models = project.config, project.targets(training.model)
    kept, run = _asked_for(training, config), run_of(training, models[0], config)
    has_rest, links = _has_rest(kept, config), {}
    if has_rest:
        storing.require_storable(kept, metadata.describe(run, config), models, project, terms)
        links = _links(kept, models, project)
    releases: Sequence[Outcome | None] = [None] * len(models)
    if 'model' in config.upload_items:
        releases = release_model(training, models, project, terms, links=links)
    experiments: Sequence[Outcome | None] = [None] * len(models)
    if has_rest:
        experiments = keep(kept, run, models, releases, project, terms, replaces=True)
    return [
        Synced(target, project.configs(target), kept, *done)
        for target, *done in zip(models, releases, experiments, strict=True)
    ]


def _asked_for(training: Training, config: Config) -> Kept:
    """Return what of the run ``upload_items`` asks for."""
    items = config.upload_items
    if 'results' in items and not training.results:
        output.say(f'{training.model}: no results such as eval_results.json in it; none are uploaded')
    return Kept(
        training.name,
        training.configuration if 'config' in items else None,
        training.results if 'results' in items else {},
        training.model,
    )


def _has_rest(kept: Kept, config: Config) -> bool:
    """Tell whether there is anything but the model to upload."""
    is_asked = bool({'config', 'results'} & set(config.upload_items))
    return bool(kept.configuration or kept.results) or (is_asked and config.experiment_tracking.enabled)


def _links(kept: Kept, models: Sequence[Target], project: Project) -> dict[str, Link]:
    """Return the model's link to the experiment: to where it can be seen, on the first such target."""
    shown = [link for target in models if (link := storing.link_to(project.configs(target), kept)).url]
    return {'Experiment': shown[0] if shown else Link(kept.name, None)}


def run_of(training: Training, target: Target, config: Config) -> Run:
    """Return what the files of a training run tell of it. Raises as a release of the folder would."""
    layout = config.layout
    folder = folders.walk(training.model, include=layout.include, exclude=layout.exclude)
    files = {file.path: file.source for file in folder.files}
    arguments = jsonfile.read(files[_ARGUMENTS], _ARGUMENTS) if _ARGUMENTS in files else None
    return Run(
        training.name,
        target,
        facts=read_facts(files),
        arguments=arguments if isinstance(arguments, dict) else {},
        configuration=training.configuration.values if training.configuration else {},
        metrics=metrics_of(training.results),
        origin=origin_of(folder.root) if config.sync.include_git_info else NO_ORIGIN,
    )


def metrics_of(results: Mapping[str, Path]) -> dict[str, float]:
    """Return the metrics in files of results; one that is in two files as the first has it."""
    found: dict[str, float] = {}
    for path in results.values():
        found = {**metadata.metrics_in(path), **found}
    return found


def release_model(
    training: Training,
    models: Sequence[Target],
    project: Project,
    terms: Terms,
    *,
    links: Mapping[str, Link] | None = None,
) -> list[Outcome]:
    """Release the model on every target, in order. Raises the error of the only one."""
    if training.version is not None:
        versions.check_name(training.version)
    first = models[0]
    publication = Publication(
        training.model,
        Place(first.repo_id, first.repo_type, first.branch) if len(models) == 1 else project.place,
        [target.remote for target in models],
        Choice('tag', training.version) if training.version is not None else Choice(),
        message=training.message,
        private=terms.private,
        allow_secrets=terms.allow_secrets,
        allow_unsafe=terms.allow_unsafe,
        item='model',
        experiment=training.name,
        additions=Additions(sections=training.sections, links=links or {}),
    )
    done = publishing.publish(
        publication, project.config, project.home, token=project.token, dry_run=terms.dry_run
    )
    return done.releases


def keep(
    kept: Kept,
    run: Run,
    models: Sequence[Target],
    releases: Sequence[Outcome | None],
    project: Project,
    terms: Terms,
    *,
    replaces: bool = False,
) -> list[Outcome | None]:
    """Release an experiment's folder beside each model, None beside one that failed; see ``storing.store`` for ``replaces``.

    Raises what went wrong on the only target.
    """
    now = datetime.now(UTC)
    done: list[Outcome | None] = []
    for target, release in zip(models, releases, strict=True):
        if isinstance(release, Unreleased):
            done.append(None)
            continue
        own = replace(run, model=target, release=release)
        values = metadata.describe(own, project.config, now=now)
        try:
            done.append(_keep(kept, values, own, project, terms, replaces=replaces))
        except errors.HfmirrorError as e:
            if len(models) == 1:
                _say_what_is_done(release)
                raise
            output.error(str(e))
            done.append(Unreleased(project.configs(target), e))
    return done


def _say_what_is_done(release: Release | None) -> None:
    if release is not None and release.status in ('pushed', 'up-to-date'):
        output.say(
            f'{release.target}: {release.version or str(release.commit)[:10]} is there; its experiment is not yet'
        )


def _keep(
    kept: Kept, values: Mapping[str, Any], run: Run, project: Project, terms: Terms, *, replaces: bool
) -> Release:
    if run.release is not None and run.release.status == 'queued':
        project = project._replace(config=_impatient(project.config))
    release = storing.store(kept, values, project.configs(run.model), project, terms, replaces=replaces)
    if not terms.dry_run:
        place.remember(run.model, project.home)  # the model is what commands without --repo are about
    return release


def _impatient(config: Config) -> Config:
    """Return a configuration that tries the network once: it has just failed as often as was asked for."""
    upload = config.settings.upload.model_copy(update={'max_retries': 0})
    return config.model_copy(update={'settings': config.settings.model_copy(update={'upload': upload})})
