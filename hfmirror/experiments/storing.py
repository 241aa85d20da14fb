"""How do the configuration and the results of a run come into the repository for configurations? As one commit of a small folder.

The folder is composed below the cache directory and published like any other; what the repository has of other experiments stays.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Any, NamedTuple
from urllib.parse import quote

from hfmirror import errors, folder, outcome, publishing
from hfmirror.card.additions import Additions, Link
from hfmirror.config.config import Backup, Config, Layout, ModelCard
from hfmirror.config.places import Home
from hfmirror.experiments import experiment, metadata
from hfmirror.experiments.document import Document
from hfmirror.experiments.project import Project, Terms
from hfmirror.gates.gate import Allowed, require_clean
from hfmirror.gates.scanning import scan_texts
from hfmirror.naming import Choice
from hfmirror.outcome import Release
from hfmirror.place import Place
from hfmirror.publishing import Publication
from hfmirror.store import reflink
from hfmirror.target import Target

_SCANNED_MAX = 16 * 1024 * 1024  # bytes of a text that is searched before anything is sent
_STALE_S = 24 * 3600
_RESULTS = ('eval_results.json', 'all_results.json', 'train_results.json', 'test_results.json')
_ABOUT = (
    'Each folder below `experiments/` is one training run: its configuration, its results, and in `{metadata_file}` what '
    'it was trained with, and which release of which model came of it.'
)


class Kept(NamedTuple):
    """What is to be kept of an experiment: {path in its folder: a file}, the configuration, and the metadata if there are any."""

    name: str
    configuration: Document | None
    results: Mapping[str, Path]

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


def require_clean_texts(kept: Kept, values: Mapping[str, Any], config: Config, terms: Terms) -> None:
    """Raise GateError when there is a secret in what is to be kept. Asked before the model is sent, so that nothing is half done."""
    allowed = Allowed(('**',) if terms.allow_secrets else tuple(config.gates.allow_secrets))
    require_clean(scan_texts(dict(_texts(kept, values, config))), allowed)


def _texts(kept: Kept, values: Mapping[str, Any], config: Config) -> Iterator[tuple[str, str]]:
    yield f'{kept.folder}/{config.experiment_tracking.metadata_file}', metadata.as_text(values)
    if kept.configuration is not None:
        document = kept.configuration
        yield f'{kept.folder}/{document.name}', document.content.decode('utf-8', 'surrogateescape')
    for name, path in kept.results.items():
        if path.stat().st_size <= _SCANNED_MAX:
            yield f'{kept.folder}/{name}', path.read_bytes().decode('utf-8', 'surrogateescape')


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
    path = f'{kept.folder}/{tracking.metadata_file}'
    before = experiment.read_metadata(configs, home, path, token=project.token)
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
    for left in above.iterdir():  # by runs that were killed
        if time.time() - left.stat().st_mtime > _STALE_S:
            shutil.rmtree(left, ignore_errors=True)
    root = Path(mkdtemp(dir=above))
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _compose(root: Path, kept: Kept, text: str | None, metadata_file: str) -> None:
    root.mkdir(parents=True)
    if text is not None:
        (root / metadata_file).write_text(text, 'utf-8')
    if kept.configuration is not None:
        (root / kept.configuration.name).write_bytes(kept.configuration.content)
    for name, source in kept.results.items():
        path = root / name
        if path.exists():
            raise errors.UsageError(
                f'{source}: {name} is the name of another file of the experiment. Rename it.'
            )
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
