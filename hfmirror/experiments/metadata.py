"""What is written about an experiment? The configured fields, what it was trained on, and the model that came of it::

    {"experiment_name": "baseline",
     "model_name": "me/mcp-finetuned-model",
     "base_model": "google-bert/bert-base-uncased",
     "training_params": {"learning_rate": 2e-05, "num_train_epochs": 3},
     "eval_results": {"eval_accuracy": 0.91},
     "timestamp": "2026-05-04T12:00:00+00:00",
     "git_commit": "3f9c1d2…",
     "system": {"python": "3.12.3", "packages": {"torch": "2.13.0"}},
     "model": {"repo_id": "me/mcp-finetuned-model", "version": "v1.0.0", "commit": "8a7b…", "url": "https://huggingface.co/…"}}

A field that is none of hfmirror's own is taken from the training arguments or the configuration, where it may be a path:
``data.max_samples``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from hfmirror.config.config import Config
from hfmirror.experiments import system
from hfmirror.facts import jsonfile, training
from hfmirror.facts.facts import Facts
from hfmirror.origin import NO_ORIGIN, Origin
from hfmirror.outcome import Release
from hfmirror.target import Target

_TIMESTAMP = 'timestamp'
_BASE_MODEL = ('base_model', 'base_model_name_or_path', 'model_name_or_path')
_TRAINER = 'per_device_train_batch_size'  # in the arguments of every transformers.Trainer
_WORD = re.compile(r'[A-Za-z0-9][\w.+-]{0,59}')
_DEPTH = 6
_ITEMS = 500
_VALUES = 20_000  # of all; aliases of aliases make millions of a few lines
_LONGEST = 2000  # characters of a text


@dataclass(frozen=True)
class Run:
    """What is known of a training run. ``arguments`` is training_args.json, ``configuration`` the project's whole config.yaml.

    ``metrics`` are those of results that were given besides the model's folder. ``release`` is what the model became.
    """

    name: str
    model: Target
    release: Release | None = None
    facts: Facts = field(default_factory=Facts)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    configuration: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    origin: Origin = NO_ORIGIN


def describe(run: Run, config: Config, *, now: datetime | None = None) -> dict[str, Any]:
    """Return the metadata of a run as JSON values; what is not known, or not to be told, is not in them."""
    told: dict[str, Any] = {'experiment_name': run.name}
    for name in config.experiment_tracking.fields:
        value = plain(_value(name, run, config, now or datetime.now(UTC)))
        if value not in (None, '', {}, []):
            told[name] = value
    if 'git_commit' in told and run.origin.dirty:
        told['git_dirty'] = True
    if config.sync.include_system_info:
        told['system'] = system.describe(hostname=config.sync.include_hostname)
    told['model'] = _model(run)
    return told


def _value(name: str, run: Run, config: Config, now: datetime) -> Any:
    match name:
        case 'model_name':
            return run.model.repo_id
        case 'base_model':
            return _base_model(run)
        case 'training_params':
            return {**_section(run.configuration, 'training'), **_arguments(run)}
        case 'eval_results':
            return _metrics(run) if config.experiment_tracking.include_metrics else None
        case 'timestamp':
            return now.isoformat(timespec='seconds')
        case 'git_commit':
            return run.origin.commit if config.sync.include_git_info else None
    return next(
        (
            found
            for values in (run.arguments, run.configuration)
            if (found := lookup(values, name)) is not None
        ),
        None,
    )


def _base_model(run: Run) -> str | None:
    if run.facts.base_model:
        return run.facts.base_model[0]
    for name in _BASE_MODEL:
        found = lookup(run.configuration, name)
        if isinstance(found, str):
            return found
    return None


def _arguments(run: Run) -> dict[str, Any]:
    """Return the arguments of the training: of transformers' hundred and fifty those that a card shows, of others the plain ones.

    Words only: paths, and the runs that are called after a machine, stay here.
    """
    if _TRAINER in run.arguments:
        return dict(run.facts.training)
    plain_ones = {
        key: value
        for key, value in run.arguments.items()
        if isinstance(value, bool | int | float) or (isinstance(value, str) and _WORD.fullmatch(value))
    }
    return {**plain_ones, **run.facts.training}


def _metrics(run: Run) -> dict[str, float]:
    return {**run.facts.metrics, **run.metrics}


def _section(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = values.get(name)
    return found if isinstance(found, Mapping) else {}


def _model(run: Run) -> dict[str, str]:
    """Return the link to the model: its repository, and the release of it that this run made."""
    release = run.release
    known = {
        'repo_id': run.model.repo_id,
        'version': release.version if release else None,
        'commit': release.commit if release else None,
        'url': address(run.model),
    }
    return {key: value for key, value in known.items() if value}


def address(target: Target) -> str | None:
    """Return where others can see a repository, None for one on this machine or behind ssh."""
    return target.url if target.url.startswith(('http://', 'https://')) else None


def lookup(values: Mapping[str, Any], name: str) -> Any:
    """Return the value of ``name`` in a configuration: a path of keys with dots, a key, or a key of one of its sections."""
    found: Any = values
    for part in name.split('.'):
        found = found.get(part) if isinstance(found, Mapping) else None
    if found is not None:
        return found
    sections = [
        section for key, section in values.items() if isinstance(section, Mapping) and key != 'huggingface'
    ]
    return next((section[name] for section in sections if section.get(name) is not None), None)


def metrics_in(path: Path) -> dict[str, float]:
    """Return the metrics in a JSON file of results, none of any other file. NaN and Infinity are no metrics."""
    if path.suffix.lower() != '.json' or path.stat().st_size > jsonfile.LIMIT:
        return {}
    try:
        found = json.loads(path.read_bytes().decode('utf-8-sig'))
        numbers = dict(jsonfile.numbers(found if isinstance(found, dict) else {}))
    except (ValueError, RecursionError):
        return {}
    finite = {key: number for key, number in numbers.items() if abs(number) <= sys.float_info.max}
    return training.metrics({'eval_results.json': finite})


def merged(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata in which ``now`` has the last word, and what only ``before`` knows stays."""
    known = plain(before)
    model = known.get('model')
    if (
        not isinstance(model, dict)
        or 'commit' in now['model']
        or model.get('repo_id') != now['model']['repo_id']
    ):
        model = {}  # of another release
    return {**known, **now, 'model': {**model, **now['model']}}


def kept_date(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``now``, with the date of ``before`` when nothing else differs: a sync that is run again changes nothing."""
    if {**now, _TIMESTAMP: None} == {**before, _TIMESTAMP: None} and _TIMESTAMP in now:
        return {**now, _TIMESTAMP: before.get(_TIMESTAMP, now[_TIMESTAMP])}
    return dict(now)


def as_text(values: Mapping[str, Any]) -> str:
    """Return metadata as they are written."""
    return json.dumps(values, ensure_ascii=False, indent=2, allow_nan=False) + '\n'


def plain(value: Any) -> Any:
    """Return ``value`` as what JSON can tell, cut where it is deep, long or too much; None for what it cannot."""
    return _plain(value, _DEPTH, iter(range(_VALUES)))


def _plain(value: Any, depth: int, left: Iterator[int]) -> Any:
    if next(left, None) is None:
        return None
    match value:
        case None | bool():
            return value
        case str():
            return _cut(value)
        case int():
            return int(value) if abs(value) < 2**63 else None
        case float():
            return float(value) if abs(value) <= sys.float_info.max else None
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping() if depth:
            return {_cut(str(key)): one for key, one in _items(value, depth, left)}
        case list() | tuple() if depth:
            return [_plain(one, depth - 1, left) for one in value[:_ITEMS]]
    return _cut(str(value)) if isinstance(value, Path) else None


def _cut(text: str) -> str:
    return text[:_LONGEST].encode('utf-8', 'replace').decode()


def _items(values: Mapping[Any, Any], depth: int, left: Iterator[int]) -> Iterator[tuple[Any, Any]]:
    for key, value in list(values.items())[:_ITEMS]:
        one = _plain(value, depth - 1, left)
        if one is not None:
            yield key, one
