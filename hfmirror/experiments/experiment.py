"""Which experiments are there, and what was each? Read from the repository for configurations, in which each is a folder::

    experiments/baseline_experiment/experiment_metadata.json
    experiments/baseline_experiment/config.yaml
    experiments/baseline_experiment/eval_results.json

What the metadata say is written in ``metadata``. Others may have written these: nothing in them is believed to be small,
of the right type or fit for a terminal.
"""

from __future__ import annotations

import json
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from hfmirror import errors, output
from hfmirror.auth import Token
from hfmirror.clone import Clone, opened
from hfmirror.config.places import Home
from hfmirror.facts import jsonfile
from hfmirror.facts.training import metric_type
from hfmirror.outbox import Outbox
from hfmirror.target import Target
from hfmirror.tree import Entry

ROOT = 'experiments'

_SIZE_MAX = 1024 * 1024  # bytes of one experiment's metadata
_SIZES_MAX = 64 * 1024 * 1024  # and of all
_MOST = 10_000  # experiments
_LONGEST_NAME = 200
_LONGEST_FOLDER = 100
_METRICS_MAX = 200
_LONGEST_URL = 2000


class Experiment(NamedTuple):
    """What one training run was. ``metrics`` is {name: value}; ``commit`` that of the training code.

    ``version`` is the model's in the repository ``model``, which is shown at ``url``; ``path`` the experiment's folder.
    """

    name: str
    version: str | None
    metrics: dict[str, float]
    date: datetime | None
    commit: str | None
    model: str | None
    url: str | None
    path: str


def folder_of(name: str) -> str:
    """Return the folder of an experiment in the repository: ``experiments/`` and its name without what a path cannot have.

    Small letters, since two folders that differ in case only are one on macOS and Windows. Raises UsageError.
    """
    if not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise errors.UsageError(
            f'{name[:50]!r}: no name for an experiment. Use up to {_LONGEST_NAME} letters, digits, ., _ and -, '
            'such as baseline_experiment.'
        )
    plain = re.sub(r'[^\w.-]+', '-', unicodedata.normalize('NFKC', name).lower())
    folder = re.sub(r'\.{2,}', '.', re.sub(r'-{2,}', '-', plain))[:_LONGEST_FOLDER].strip('-._')
    if not folder:
        raise errors.UsageError(
            f'{name!r}: no name for an experiment: it has neither letters nor digits. Use one such as '
            'baseline_experiment.'
        )
    return f'{ROOT}/{folder}'


def list_experiments(
    target: Target, home: Home, *, token: Token | None = None, metadata_file: str
) -> list[Experiment]:
    """Return the experiments of a repository for configurations, newest first.

    Raises NotFoundError when there is no such repository.
    """
    if target.path is not None and not target.path.is_dir():
        raise errors.NotFoundError(
            f'{target}: no such repository, so no experiments yet. Make one with: hfmirror sync FOLDER --experiment NAME'
        )
    with opened(target, home, token) as repository:
        head = repository.remote_refs().head
        if head is None:
            return []
        repository.fetch(head, f'refs/heads/{target.branch}')
        found = [of_document(path, values) for path, values in _documents(repository, head, metadata_file)]
    return sorted(found, key=_newest, reverse=True)


def _newest(experiment: Experiment) -> tuple[float, str]:
    return experiment.date.timestamp() if experiment.date else 0.0, experiment.name


def by_metric(
    experiments: Sequence[Experiment], metric: str, *, lowest_first: bool = False
) -> list[Experiment]:
    """Return experiments by a metric, highest first, those without it last; ``accuracy`` is also ``eval_accuracy``.

    Raises UsageError when none has it.
    """
    values = [(value_of(one, metric), one) for one in experiments]
    known = [(value, one) for value, one in values if value is not None]
    if experiments and not known:
        names = sorted({metric_type(name) for one in experiments for name in one.metrics})
        raise errors.UsageError(
            f'--sort {metric}: no experiment has that metric.'
            + (f' There are: {", ".join(names[:20])}.' if names else ' None has any.')
        )
    ordered = sorted(known, key=lambda pair: pair[0], reverse=not lowest_first)
    return [one for _, one in ordered] + [one for value, one in values if value is None]


def value_of(experiment: Experiment, metric: str) -> float | None:
    """Return the value of a metric, by its own name or by that without ``eval_``."""
    if metric in experiment.metrics:
        return experiment.metrics[metric]
    return next(
        (value for name, value in experiment.metrics.items() if metric_type(name) == metric_type(metric)),
        None,
    )


def _documents(repository: Clone, commit: str, metadata_file: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return (folder, metadata) of every experiment in a commit that is here."""
    entries = [
        entry
        for path, entry in repository.tree(commit).items()
        if (parts := path.split('/'))[0] == ROOT and len(parts) == 3 and parts[2] == metadata_file
    ]
    readable = _bounded(entries, repository.target)
    contents = repository.blobs([entry.oid for entry in readable])
    documents = []
    for entry in readable:
        values = _parsed(contents[entry.oid])
        if values is None:
            output.warn(f'{repository.target}: {entry.path} is no JSON document of an experiment; left out')
            continue
        documents.append((str(PurePosixPath(entry.path).parent), values))
    return documents


def _bounded(entries: Sequence[Entry], target: Target) -> list[Entry]:
    """Return the files that are small enough to be read, and warn of the others."""
    readable: list[Entry] = []
    left = _SIZES_MAX
    for entry in entries:
        if not entry.is_lfs and entry.size <= min(left, _SIZE_MAX) and len(readable) < _MOST:
            readable.append(entry)
            left -= entry.size
    if len(readable) < len(entries):
        output.warn(
            f'{target}: the metadata of {output.count(len(entries) - len(readable), "experiment")} are in LFS, too large or '
            'too many to be read; left out'
        )
    return readable


def read_metadata(target: Target, home: Home, path: str, *, token: Token | None = None) -> Mapping[str, Any]:
    """Return the metadata at ``path`` of the repository's branch, of a release on its way if one waits; {} where there are none.

    Without a network it is what was last known of the repository.
    """
    with opened(target, home, token) as repository:
        head = _latest(repository, Outbox(home.outbox, target))
        entry = repository.tree(head).get(path)
        if entry is None or entry.is_lfs or entry.size > _SIZE_MAX:
            return {}
        return _parsed(repository.read(entry)) or {}


def _latest(repository: Clone, outbox: Outbox) -> str | None:
    waiting = outbox.entries()
    if waiting:
        repository.unpack(outbox.pack(waiting[-1]))
        return waiting[-1].commit
    try:
        head = repository.remote_refs().head
        if head is not None:
            repository.fetch(head, f'refs/heads/{repository.target.branch}')
    except errors.NotFoundError:
        return None
    except errors.NetworkError:
        head = repository.remembered_refs().head
        return head if head and repository.has(head) else None
    return head


def _parsed(content: bytes) -> Mapping[str, Any] | None:
    try:
        found = json.loads(content.decode('utf-8-sig'))
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def of_document(path: str, values: Mapping[str, Any]) -> Experiment:
    """Return what metadata in the folder ``path`` say; what is not as it should be counts as not said."""
    model = values.get('model')
    model = model if isinstance(model, dict) else {}
    return Experiment(
        name=_word(values.get('experiment_name')) or path.rpartition('/')[2],
        version=_word(model.get('version')),
        metrics=_metrics(values.get('eval_results')),
        date=_date(values.get('timestamp')),
        commit=_word(values.get('git_commit')),
        model=_word(model.get('repo_id')) or _word(values.get('model_name')),
        url=_url(model.get('url')),
        path=path,
    )


def _word(value: object) -> str | None:
    """Return a text as one line of a sensible length, None for anything else."""
    if not isinstance(value, str):
        return None
    line = ' '.join(value[: 2 * _LONGEST_NAME].split())
    return ''.join(c for c in line if c.isprintable())[:_LONGEST_NAME] or None


def _url(value: object) -> str | None:
    """Return an address that a person may open, None for anything else."""
    if not isinstance(value, str) or len(value) > _LONGEST_URL:
        return None
    return value if re.fullmatch(r'https?://[!-~]+', value) else None


def _metrics(value: object) -> dict[str, float]:
    """Return {name: value} of the finite numbers in ``value``."""
    found: dict[str, float] = {}
    with suppress(RecursionError):
        for name, number in islice(jsonfile.numbers(value), _METRICS_MAX):
            word = _word(name)
            if word is not None and abs(number) <= sys.float_info.max:  # neither NaN nor Infinity are
                found[word] = float(number)
    return found


def _date(value: object) -> datetime | None:
    if not isinstance(value, str) or len(value) > 50:
        return None
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    # Other years cannot be told in every time zone.
    return date if 1970 < date.year < 9999 else None
