"""What of a repository is shown on its pages? Its versions with their metrics, and the commands to get it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hfmirror import refs
from hfmirror.output import count, human_number, human_size
from hfmirror.server.git.served import variables
from hfmirror.server.pages.plots import Plot, plot
from hfmirror.server.repos.repositories import Repo
from hfmirror.versions import VersionInfo

_COLUMNS = 8  # metrics in the table of versions
_PLOTS = 24
_POINTS = 200  # versions in one plot
_LARGEST = 1e300  # the difference of two values must be a number too; what is no number is not drawn
_FEW = 3  # metrics of one repository in a list
_TAGS = 14


class Row(NamedTuple):
    """A version as the table shows it."""

    name: str
    date: str
    metrics: list[str]
    files: str
    size: str
    message: str


def versions_of(repo: Repo) -> list[VersionInfo]:
    """Return the versions of a repository, newest first."""
    return refs.tags_in(repo.path, env=variables(repo.path))


def newest(versions: Sequence[VersionInfo]) -> VersionInfo | None:
    """Return the version made last."""
    return max(versions, key=lambda version: version.date, default=None)


def metric_rows(version: VersionInfo, most: int = _PLOTS) -> list[tuple[str, str]]:
    """Return ``(metric, value)`` as people read them."""
    return [(name, human_number(value)) for name, value in list(version.metrics.items())[:most]]


def few_metrics(version: VersionInfo) -> list[tuple[str, str]]:
    """Return the metrics that a list has room for."""
    return metric_rows(version, _FEW)


def columns(versions: Sequence[VersionInfo]) -> list[str]:
    """Return the metrics that the versions have, those of most versions first."""
    seen: dict[str, int] = {}
    for version in versions:
        for name in version.metrics:
            seen[name] = seen.get(name, 0) + 1
    return sorted(seen, key=lambda name: (-seen[name], name))


def rows(versions: Sequence[VersionInfo], shown: Sequence[str]) -> list[Row]:
    """Return the table of versions, newest first, with these metrics."""
    return [
        Row(
            version.name,
            version.date.isoformat(),
            [human_number(version.metrics[name]) if name in version.metrics else '' for name in shown],
            f'{version.files:,}' if version.files is not None else '',
            human_size(version.size) if version.size is not None else '',
            version.message,
        )
        for version in versions
    ]


def table_columns(versions: Sequence[VersionInfo]) -> list[str]:
    """Return the metrics that the table has room for."""
    return columns(versions)[:_COLUMNS]


def plots(versions: Sequence[VersionInfo]) -> list[Plot]:
    """Return a plot of each metric over the versions (given newest first), in the order in which they were made."""
    # Tags know whole seconds only; of one second's, the order of the versions decides.
    by_date = list(reversed(versions))
    by_date.sort(key=lambda version: version.date)
    found = []
    for name in columns(versions)[:_PLOTS]:
        points = [(version.name, version.metrics[name]) for version in by_date if name in version.metrics]
        drawn = [point for point in points if abs(point[1]) < _LARGEST][-_POINTS:]
        if drawn:
            found.append(plot(name, drawn))
    return found


def tags(front: Mapping[str, Any]) -> list[str]:
    """Return the words of a card's front matter that say what the repository is."""
    found = []
    for key in ('pipeline_tag', 'library_name', 'license', 'language', 'base_model', 'datasets', 'tags'):
        value = front.get(key)
        found += [str(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return list(dict.fromkeys(found))[:_TAGS]


def commands(repo: Repo, origin: str, revision: str, front: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return ``(what for, command)``: how to load, download and clone the repository."""
    # A person pastes this into a shell, and whoever may push chooses the name.
    name, origin = shlex.quote(revision), shlex.quote(origin)
    where = f'export HF_ENDPOINT={origin}\n'
    option = {'model': '', 'dataset': ' --repo-type dataset', 'space': ' --repo-type space'}[repo.repo_type]
    return [
        (*_loading(repo, revision, front),),
        ('hf', f'{where}hf download {repo.repo_id}{option} --revision {name}'),
        ('git', f'git clone {origin}/{repo.web_path}'),
        (
            'hfmirror',
            f'hfmirror pull {name} --repo {repo.repo_id}{option} --remote {origin}/{repo.web_path}',
        ),
    ]


def _loading(repo: Repo, revision: str, front: Mapping[str, Any]) -> tuple[str, str]:
    """Return the lines of Python that load it; HF_ENDPOINT says from where."""
    name, version = repr(repo.repo_id), repr(revision)
    if repo.repo_type == 'dataset':
        return (
            'datasets',
            f'from datasets import load_dataset\ndata = load_dataset({name}, revision={version})',
        )
    if front.get('library_name') == 'transformers':
        return (
            'transformers',
            f'from transformers import AutoModel\nmodel = AutoModel.from_pretrained({name}, revision={version})',
        )
    if front.get('library_name') == 'sentence-transformers':
        return (
            'sentence-transformers',
            f'from sentence_transformers import SentenceTransformer\nmodel = SentenceTransformer({name}, revision={version})',
        )
    kind = '' if repo.repo_type == 'model' else f', repo_type={repo.repo_type!r}'
    return (
        'huggingface_hub',
        f'from huggingface_hub import snapshot_download\npath = snapshot_download({name}, revision={version}{kind})',
    )


def summary(files: int) -> str:
    """Return how many files there are, in words."""
    return count(files, 'file')
