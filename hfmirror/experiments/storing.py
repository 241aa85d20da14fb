"""How do the configuration and the results of a run come into the repository for configurations? As one commit of a small folder.

The folder is composed below the cache directory and published like any other; what the repository has of other experiments stays.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, NamedTuple
from urllib.parse import quote

from hfmirror import errors, folder, outbox, outcome, publishing
from hfmirror.card.additions import Additions, Link
from hfmirror.config.config import Backup, Config, Layout, ModelCard
from hfmirror.config.places import Home
from hfmirror.experiments import experiment, metadata
from hfmirror.experiments.document import Document
from hfmirror.experiments.project import Project, Terms
from hfmirror.folder import SourceFile
from hfmirror.gates.findings import Finding
from hfmirror.gates.gate import Allowed, require_clean
from hfmirror.gates.scanning import scan_files, scan_texts
from hfmirror.naming import Choice
from hfmirror.outcome import Release
from hfmirror.place import Place
from hfmirror.publishing import Publication
from hfmirror.statcache import CommandCache
from hfmirror.store import reflink
from hfmirror.target import Target

_STALE_S = 24 * 3600
_RESULTS = ('eval_results.json', 'all_results.json', 'train_results.json', 'test_results.json')
_ABOUT = (
    'Each folder below `experiments/` is one training run: its configuration, its results, and in `{metadata_file}` what '
    'it was trained with, and which release of which model came of it.'
)


class Kept(NamedTuple):
    """What is to be kept of an experiment: its configuration, and {path in its folder: a file} of its results.

    ``source`` is the folder that it is of: of the model, or of the project.
    """

    name: str
    configuration: Document | None
    results: Mapping[str, Path]
    source: Path

    @property
    def folder(self) -> str:
        """The experiment's folder in the repository."""
        return experiment.folder_of(self.name)

    @property
    def items(self) -> str:
        """What it is called in a commit message."""
        named = {'config': self.configuration, 'results': self.results}
        return ' and '.join(item for item, there in named.items() if there) or 'metadata'


def link_to(configs: Target, kept: Kept) -> Link:
    """Return the link to an experiment for a card."""
    return Link(kept.name, page(configs, kept.folder) if metadata.address(configs) else None)


def page(configs: Target, path: str, kind: str = 'tree') -> str:
    """Return where a folder, or with ``blob`` a file, of a repository's branch is seen: its page on a Hub, else the repository."""
    if configs.endpoint is None:
        return configs.url
    return f'{configs.url}/{kind}/{quote(configs.branch, safe="")}/{quote(path)}'


def require_storable(
    kept: Kept, values: Mapping[str, Any], models: Sequence[Target], project: Project, terms: Terms
) -> None:
    """Raise what is known to stop ``store`` beside any of the models. Asked before these are sent, so that nothing is half done.

    What a repository refuses is not: it is told beside the model that is there.
    """
    _require_distinct(kept, project.config)
    _require_clean(kept, values, project, terms)
    for target in models:
        configs = project.configs(target)
        before: Mapping[str, Any] = {}
        with suppress(errors.HfmirrorError):
            before = _before(kept, configs, project)
        _require_same(kept, before, configs)


def _require_distinct(kept: Kept, config: Config) -> None:
    """Raise UsageError when a file of results has the name of the configuration or of the metadata."""
    tracking = config.experiment_tracking
    others = {tracking.metadata_file} if tracking.enabled else set()
    if kept.configuration is not None:
        others.add(kept.configuration.name)
    taken = {name.casefold() for name in others}  # on macOS and Windows these are one
    for name, path in kept.results.items():
        if name.partition('/')[0].casefold() in taken:
            raise errors.UsageError(
                f'{path}: {name} is the name of another file of the experiment. Rename it.'
            )


def _require_clean(kept: Kept, values: Mapping[str, Any], project: Project, terms: Terms) -> None:
    """Raise GateError when there is a secret or an unsafe pickle in what is to be kept."""
    gates, everything = project.config.gates, ('**',)
    allowed = Allowed(
        everything if terms.allow_secrets else tuple(gates.allow_secrets),
        everything if terms.allow_unsafe else tuple(gates.allow_unsafe),
    )
    texts = {f'{kept.folder}/{project.config.experiment_tracking.metadata_file}': metadata.as_text(values)}
    if kept.configuration is not None:
        document = kept.configuration
        texts[f'{kept.folder}/{document.name}'] = document.content.decode('utf-8', 'surrogateescape')
    require_clean(scan_texts(texts) + _scanned(kept, project.home), allowed)


def _scanned(kept: Kept, home: Home) -> list[Finding]:
    files = [
        SourceFile(f'{kept.folder}/{name}', path.resolve(), path.stat())
        for name, path in kept.results.items()
    ]
    if not files:
        return []
    root = Path(os.path.commonpath([file.source.parent for file in files]))
    with closing(CommandCache(home.cache / 'files.sqlite')) as cache:
        return scan_files(root, files, cache, stamps={})


def _before(kept: Kept, configs: Target, project: Project) -> Mapping[str, Any]:
    """Return the metadata that the repository has in the experiment's folder."""
    path = f'{kept.folder}/{project.config.experiment_tracking.metadata_file}'
    return experiment.read_metadata(configs, project.home, path, token=project.token)


def store(
    kept: Kept,
    values: Mapping[str, Any],
    configs: Target,
    project: Project,
    terms: Terms,
    *,
    replaces: bool = False,
) -> Release:
    """Release an experiment's folder; what the repository has besides stays. ``values`` are its metadata.

    With ``replaces`` they are all there is to say, else what is known already stays beside. Raises ConflictError when
    the folder is that of an experiment with another name.
    """
    config, home, tracking = project.config, project.home, project.config.experiment_tracking
    if not (tracking.enabled or kept.configuration or kept.results):
        raise errors.UsageError(
            f'{kept.name}: there is nothing to keep: no configuration, no results, and experiment_tracking.enabled is off.'
        )
    _require_distinct(kept, config)
    before = _before(kept, configs, project)
    _require_same(kept, before, configs)
    values = values if replaces else metadata.merged(before, values)
    text = metadata.as_text(metadata.kept_date(before, values)) if tracking.enabled else None
    with _composed(home) as root:
        _compose(root / kept.folder, kept, text, tracking.metadata_file)
        publication = _publication(root, kept, values, configs, config, terms)
        done = publishing.publish(
            publication, _plain(config), home, token=project.token, dry_run=terms.dry_run
        )
    stored = done.releases[0]
    assert isinstance(stored, Release)  # the error of the only target is raised
    return stored


def _require_same(kept: Kept, before: Mapping[str, Any], configs: Target) -> None:
    name = before.get('experiment_name')
    if isinstance(name, str) and name != kept.name:
        raise errors.ConflictError(
            f'{configs}: {kept.folder} is the experiment {name[:200]!r}, not {kept.name!r}. Choose another name.'
        )


def _publication(
    root: Path, kept: Kept, values: Mapping[str, Any], configs: Target, config: Config, terms: Terms
) -> Publication:
    model = values['model']
    version = f' of {model["version"]}' if 'version' in model else ''
    templated = config.settings.commit_message_template is not None
    about = _ABOUT.format(metadata_file=config.experiment_tracking.metadata_file)
    return Publication(
        root,
        Place(configs.repo_id, configs.repo_type, configs.branch),
        (configs.remote,),
        Choice('none'),
        message=None if templated else f'Experiment {kept.name}: {kept.items}{version}',
        keep=True,
        private=terms.private,
        allow_secrets=terms.allow_secrets,
        allow_unsafe=terms.allow_unsafe,
        item=kept.items,
        experiment=kept.name,
        additions=Additions(
            sections={'Experiments': about},
            links={'Model': Link(model['repo_id'], model.get('url'))},
        ),
        source=kept.source.resolve(),
    )


def _plain(config: Config) -> Config:
    """Return the configuration without what it says about the model's folder: which files, where, its card and its backup.

    The commit of the training code is in the metadata; around the composed folder there is none.
    """
    card = ModelCard(license=config.model_card.license, authors=config.model_card.authors)
    sync = config.sync.model_copy(update={'include_git_info': False, 'backup_before_upload': False})
    return config.model_copy(
        update={'layout': Layout(), 'model_card': card, 'sync': sync, 'backup': Backup()}
    )


@contextmanager
def _composed(home: Home) -> Iterator[Path]:
    above = home.cache / 'experiments'
    above.mkdir(parents=True, exist_ok=True)
    for left in above.iterdir():  # by runs that were killed, or that had no room for a copy of their files
        with suppress(OSError):  # gone meanwhile
            if time.time() - left.stat().st_mtime > _STALE_S:
                _remove(left, home)
    root = Path(mkdtemp(dir=above))
    try:
        yield root
    finally:
        _remove(root, home)


def _remove(root: Path, home: Home) -> None:
    """Remove a composed folder, unless a release that waits still shares its files."""
    above = root.resolve()
    shared = (
        held.source
        for _, entries in outbox.waiting(home.outbox)
        for entry in entries
        for held in entry.objects
        if held.stamp is not None
    )
    if not any(Path(source).is_relative_to(above) for source in shared):
        shutil.rmtree(root, ignore_errors=True)


def _compose(root: Path, kept: Kept, text: str | None, metadata_file: str) -> None:
    root.mkdir(parents=True)
    if text is not None:
        (root / metadata_file).write_text(text, 'utf-8')
    if kept.configuration is not None:
        (root / kept.configuration.name).write_bytes(kept.configuration.content)
    for name, source in kept.results.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if not reflink(source, path):
                shutil.copyfile(source, path)
        except OSError as e:
            raise outcome.disk_failure(e) from e


def results_in(path: Path) -> dict[str, Path]:
    """Return {path in the experiment's folder: file} of a file of results, or of a folder of them under its own name."""
    if path.is_dir():
        return {
            str(PurePosixPath(path.resolve().name, file.path)): file.source
            for file in folder.walk(path).files
        }
    if not path.is_file():
        raise errors.UsageError(f'{path}: no such file. Name the results that the training run has written.')
    return {path.name: path}


def standard_results(model: Path) -> dict[str, Path]:
    """Return the results that trainers leave in the model's folder."""
    return {name: model / name for name in _RESULTS if (model / name).is_file()}
