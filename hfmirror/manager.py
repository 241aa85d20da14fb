"""``HuggingFaceManager``: the training workflow from Python, one object a project.

::

    manager = HuggingFaceManager('config.yaml')
    urls = manager.sync_training_workflow('./model', 'baseline', version_tag='v1.0.0')
    print(urls['model_url'])

Everything goes through the same push as the command line; its errors are those of ``hfmirror.errors``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hfmirror import errors, place, publishing
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.places import PROJECT_FILE, home
from hfmirror.place import Place
from hfmirror.publishing import Publication

if TYPE_CHECKING:
    from hfmirror.experiments.document import Document
    from hfmirror.experiments.experiment import Experiment
    from hfmirror.experiments.project import Project, Terms
    from hfmirror.experiments.storing import Kept
    from hfmirror.experiments.syncing import Outcome, Synced
    from hfmirror.target import Target
    from hfmirror.versions import VersionInfo

_PROJECT_FILE = Path(PROJECT_FILE)


class _Uploaded(NamedTuple):
    """The model that was uploaded last: whatever is kept next is of the run that made it."""

    folder: Path
    models: list[Target]
    releases: Sequence[Outcome | None]


class HuggingFaceManager:
    """A project's models, configurations and results on the Hub, or on the other ``remotes``.

    ``config`` is a project file, what would be in one as a dictionary, or a Config; None is ``config.yaml`` of the working
    directory, or the defaults where there is none. ``repo`` is the model's repository, ``remotes`` are hub, local or git URLs,
    ``token`` is the Hub's; each is as configured, or as found, when it is not given.

    Raises ConfigError naming every wrong value.
    """

    def __init__(
        self,
        config: str | Path | Mapping[str, Any] | Config | None = None,
        *,
        repo: str | None = None,
        remotes: Sequence[str] = (),
        token: str | Token | None = None,
    ) -> None:
        self._source = Path(config) if isinstance(config, str) else config
        self._read()
        self._place, self._remotes, self._given = Place(repo), tuple(remotes), token
        self._last: _Uploaded | None = None

    def __repr__(self) -> str:
        return f'HuggingFaceManager({self._source if isinstance(self._source, Path) else ""})'

    # -- uploading

    def sync_training_workflow(
        self,
        model_path: str | Path,
        experiment_name: str | None = None,
        version_tag: str | None = None,
        private: bool | None = None,
        *,
        results_path: str | Path | None = None,
        config_data: Mapping[str, Any] | str | Path | None = None,
        commit_message: str | None = None,
        custom_sections: Mapping[str, str] | None = None,
        remotes: Sequence[str] = (),
        allow_secrets: bool = False,
        allow_unsafe: bool = False,
        dry_run: bool = False,
    ) -> dict[str, str | None]:
        """Release the model, and beside it the configuration, results and metadata of the run; returns where they are seen.

        The keys are ``model_url``, ``config_url`` and ``results_url``; None stands for what was not uploaded. The experiment
        is called as the folder when it has no name; the configuration is the project's, the results are those in the folder.
        Raises NetworkError when something waits for the network, which is not lost; GateError before anything is sent.
        """
        from hfmirror.experiments.project import Terms
        from hfmirror.outcome import require_done

        done = self.sync(
            model_path,
            experiment_name,
            version_tag,
            Terms(private, allow_secrets, allow_unsafe, dry_run),
            results_path=results_path,
            config_data=config_data,
            commit_message=commit_message,
            custom_sections=custom_sections,
            remotes=remotes,
        )
        require_done([one.outcome for one in done if one.outcome])
        return done[0].urls

    def sync(
        self,
        model_path: str | Path,
        experiment_name: str | None,
        version_tag: str | None,
        terms: Terms,
        *,
        results_path: str | Path | None = None,
        config_data: Mapping[str, Any] | str | Path | None = None,
        commit_message: str | None = None,
        custom_sections: Mapping[str, str] | None = None,
        remotes: Sequence[str] = (),
    ) -> list[Synced]:
        """Do what ``sync_training_workflow`` does, and return what came of it on each target."""
        from hfmirror.experiments import storing, syncing

        folder = Path(model_path)
        given = storing.results_in(Path(results_path)) if results_path is not None else None
        training = syncing.Training(
            folder,
            experiment_name if experiment_name is not None else folder.resolve().name,
            version_tag,
            self._document(config_data),
            given if given is not None else storing.standard_results(folder),
            commit_message,
            custom_sections or {},
        )
        done = syncing.sync(training, self._project(folder, remotes), terms)
        self._last = _Uploaded(folder, [one.target for one in done], [one.model for one in done])
        return done

    def upload_model(
        self,
        model_path: str | Path,
        version_tag: str | None = None,
        commit_message: str | None = None,
        *,
        chunk_size: int | None = None,
        private: bool | None = None,
        custom_sections: Mapping[str, str] | None = None,
        remotes: Sequence[str] = (),
        allow_secrets: bool = False,
        allow_unsafe: bool = False,
        dry_run: bool = False,
    ) -> str:
        """Release the model's folder and return where it is seen. ``chunk_size`` is how many bytes are read at a time."""
        from hfmirror.experiments import syncing
        from hfmirror.experiments.project import Terms
        from hfmirror.outcome import require_done

        folder = Path(model_path)
        project = self._project(folder, remotes)
        if chunk_size is not None:
            project = project.reading(chunk_size)
        training = syncing.Training(
            folder, folder.resolve().name, version_tag, message=commit_message, sections=custom_sections or {}
        )
        models = project.targets(folder)
        terms = Terms(private, allow_secrets, allow_unsafe, dry_run)
        done = syncing.release_model(training, models, project, terms)
        self._last = _Uploaded(folder, models, done)
        require_done(done)
        return models[0].url

    def upload_training_config(
        self,
        config_data: Mapping[str, Any] | str | Path | None = None,
        experiment_name: str | None = None,
        *,
        private: bool | None = None,
        allow_secrets: bool = False,
        dry_run: bool = False,
    ) -> str:
        """Keep a configuration, the project's own by default, with an experiment and return where it is seen."""
        from hfmirror.experiments.project import Terms
        from hfmirror.experiments.storing import page

        document = self._document(config_data, required=True)
        assert document is not None
        kept = self._kept(experiment_name, document, {})
        target = self._keep(kept, Terms(private, allow_secrets, dry_run=dry_run))
        return page(target, f'{kept.folder}/{document.name}', 'blob')

    def upload_training_results(
        self,
        results_path: str | Path,
        experiment_name: str | None = None,
        *,
        private: bool | None = None,
        allow_secrets: bool = False,
        allow_unsafe: bool = False,
        dry_run: bool = False,
    ) -> str:
        """Keep a file of results, or a folder of them, with an experiment and return where they are seen."""
        from hfmirror.experiments import storing
        from hfmirror.experiments.project import Terms

        results = storing.results_in(Path(results_path))
        kept = self._kept(experiment_name, None, results)
        target = self._keep(kept, Terms(private, allow_secrets, allow_unsafe, dry_run))
        return storing.page(target, kept.folder)

    def create_repositories(self, private: bool | None = None) -> dict[str, str]:
        """Create the repositories for models and configurations where there are none; returns where they are seen.

        One that is there stays as it is. On another git host a person has to make them.
        """
        project = self._project(Path.cwd())
        private = project.config.private if private is None else private
        models = self._models(project)
        for model in models:
            for target in (model, project.configs(model)):
                project.create(target, private=private)
        return {'model_url': models[0].url, 'config_url': project.configs(models[0]).url}

    # -- looking, and getting back

    def download_model(
        self, version_tag: str = 'latest', local_dir: str | Path | None = None, *, force: bool = False
    ) -> str:
        """Bring a version into a folder and return its path; without ``local_dir`` into huggingface_hub's cache.

        Run again, it goes on where it was. Raises ConflictError when other files are in the way, unless ``force``.
        """
        from hfmirror import gitcmd, hubcache, pulling
        from hfmirror.clone import opened
        from hfmirror.naming import tag_prefix
        from hfmirror.underway import retry_of

        gitcmd.require_tools()
        project, target = self._located()
        config, retry = project.config, retry_of(project.config)
        with opened(target, project.home, project.token) as repository:
            found = pulling.find(repository, version_tag, prefix=tag_prefix(config))
            if local_dir is not None:
                to = Path(local_dir)
                pulling.pull(repository, found, to, project.home, force=force, nearby={}, retry=retry)
                return str(to)
            cache = hubcache.cache_of(target, config.settings.download.cache_dir)
            hubcache.pull(repository, found, cache, nearby={}, retry=retry)
            return str(cache.snapshot(found.commit))

    def list_versions(self) -> list[VersionInfo]:
        """Return the versions of the model, newest first."""
        project, target = self._located()
        return project.versions(target)

    def list_experiments(self) -> list[Experiment]:
        """Return the experiments, newest first."""
        from hfmirror.experiments import experiment

        project, target = self._located()
        return experiment.list_experiments(
            project.configs(target),
            project.home,
            token=project.token,
            metadata_file=project.config.experiment_tracking.metadata_file,
        )

    def generate_model_card(
        self,
        model_path: str | Path,
        version_tag: str | None = None,
        custom_sections: Mapping[str, str] | None = None,
    ) -> str:
        """Return the card that a first release of the folder would have, with further sections, {heading: Markdown}.

        Nothing is sent or asked. Raises CardError.
        """
        from hfmirror.preview import card_of

        folder = Path(model_path)
        project = self._project(folder)
        is_named = project.place.repo or project.config.repository.model_name
        if not is_named or place.needs_asking(
            project.place, project.config, project.home, token=project.token
        ):
            project = project._replace(remotes=('local',))  # to ask no Hub whose token it is
        elif not (project.remotes or project.config.remotes):
            project = project._replace(remotes=('hub',))
        target = project.targets(folder)[0]
        return card_of(folder, target, project.config, version=version_tag, sections=custom_sections or {})

    def model_path(self) -> Path:
        """Return the folder that the configuration says models are written to: ``hooks.folder``, or any ``output_dir``.

        Raises UsageError when it says nothing of it.
        """
        from hfmirror.experiments.metadata import lookup

        found = self.settings.hooks.folder or lookup(self.config, 'output_dir')
        if not isinstance(found, str):
            raise errors.UsageError('which model? Name the folder that the training run has written.')
        return Path(found)

    def validate_config(self) -> bool:
        """Read the configuration again. Raises ConfigError with everything that is wrong with it."""
        self._read()
        return True

    # -- what these have in common

    def _read(self) -> None:
        self.settings, self.config = _read(self._source)
        # Whoever changes ``config`` means what is in it then, not the file.
        self._as_read = {} if isinstance(self._source, Mapping | Config) else deepcopy(self.config)

    def _project(self, folder: Path, remotes: Sequence[str] = ()) -> Project:
        from hfmirror.experiments.project import Project

        token, remotes = self._given, tuple(remotes) or self._remotes
        if not isinstance(token, Token):
            publication = Publication(folder, self._place, remotes)
            token = publishing.token_for(publication, self.settings, given=token)
        return Project(self.settings, home(), self._place, remotes, token)

    def _located(self) -> tuple[Project, Target]:
        """Return the repository of the model that is meant where no folder is."""
        project = self._project(Path.cwd())
        remote = next(iter(self._remotes), None)
        target = place.target_of(self._place, remote, self.settings, project.home, token=project.token)
        return project, target

    def _document(
        self, config_data: Mapping[str, Any] | str | Path | None, *, required: bool = False
    ) -> Document | None:
        """Return the configuration to keep: a file as it is, comments and all, also when its values are what is given."""
        from hfmirror.experiments import document

        if isinstance(config_data, str | Path):
            return document.of_file(Path(config_data)).told()
        values = self.config if config_data is None else config_data
        path = _PROJECT_FILE if self._source is None else self._source
        if values == self._as_read and isinstance(path, Path) and path.is_file():
            return document.of_file(path)
        if values or required:
            return document.of_values(values)
        return None

    def _kept(self, name: str | None, configuration: Document | None, results: Mapping[str, Path]) -> Kept:
        """Return what is to be kept of the experiment, which is called as the model that was uploaded last by default."""
        from hfmirror.experiments.storing import Kept

        if name is None and self._last is None:
            raise errors.UsageError('which experiment? Give its experiment_name.')
        folder = self._last.folder if self._last else Path.cwd()
        return Kept(name if name is not None else folder.resolve().name, configuration, results, folder)

    def _models(self, project: Project) -> list[Target]:
        """Return the models' repositories: those of the model that was uploaded last, or of the configured name."""
        if self._last is not None:
            return self._last.models
        if self._place.repo or self.settings.repository.model_name:
            return project.targets(Path.cwd())
        return [self._located()[1]]

    def _keep(self, kept: Kept, terms: Terms) -> Target:
        """Release an experiment's folder beside the model that was uploaded last, and return where it is first."""
        from hfmirror.experiments.metadata import Run
        from hfmirror.experiments.syncing import Training, keep, metrics_of, run_of
        from hfmirror.outcome import require_done

        project = self._project(kept.source)
        models, metrics = self._models(project), metrics_of(kept.results)
        releases: Sequence[Outcome | None] = [None] * len(models)
        run = Run(kept.name, models[0], metrics=metrics)
        if self._last is not None:
            training = Training(self._last.folder, kept.name, results=kept.results)
            run, releases = run_of(training, models[0], self.settings), self._last.releases
        values = kept.configuration.values if kept.configuration else self.config
        done = keep(kept, replace(run, configuration=values), models, releases, project, terms)
        require_done([one for one in done if one])
        return project.configs(models[0])


def _read(source: Path | Mapping[str, Any] | Config | None) -> tuple[Config, dict[str, Any]]:
    """Return the settings, and all that is in the project file, also what is not hfmirror's."""
    from hfmirror.config.loading import config_from, load_config
    from hfmirror.experiments import document

    if isinstance(source, Config):
        return source, {'huggingface': source.model_dump(exclude_unset=True)}
    if isinstance(source, Mapping):
        values = dict(source)
        return config_from(values), values
    path, settings = source or _PROJECT_FILE, load_config(source)
    return settings, dict(document.of_file(path).told().values) if path.is_file() else {}
