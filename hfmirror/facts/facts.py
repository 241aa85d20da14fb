"""What the files of a folder tell about the release: the library, the task, where it comes from, how it was trained.

Only a few small JSON files, the licence, the front matter of README.md and the headers of weight files are read, and
of what they say only what is known to be fit for a card: no path, no name of a machine or person, no token.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hfmirror.errors import SourceError
from hfmirror.facts import architectures, datafiles, hubids, jsonfile, licences, training
from hfmirror.facts.datafiles import Data
from hfmirror.facts.weights import Weights, read_weights
from hfmirror.readme import ownership

_HEADERS_READ = 2_000
_LONGEST_WORD = 200
_LICENCE_FILE = re.compile(r'(?:licen[sc]e|copying)(?:\.(?:txt|md|rst))?', re.I)
_CONFIGS = (
    'config.json',
    'adapter_config.json',
    'tokenizer_config.json',
    'modules.json',
    'sentence_bert_config.json',
    'config_sentence_transformers.json',
    'config_setfit.json',
    'model_index.json',
    'training_args.json',
    'trainer_state.json',
)
_RESULTS = ('all_results.json', 'eval_results.json')


@dataclass(frozen=True)
class Facts:
    """What is known of a release. ``None`` and empty mean: not told.

    ``metrics`` is {name as in the file: value}, without the times and counts that a trainer adds; ``main_metric`` is the
    one of them to show first. ``training`` is {parameter as in the file: value}, in the order to show.
    ``custom_code`` tells that loading runs Python code of the repository.
    """

    repo_type: str = 'model'
    library_name: str | None = None
    pipeline_tag: str | None = None
    base_model: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    language: tuple[str, ...] = ()
    license: str | None = None
    tags: tuple[str, ...] = ()
    metrics: dict[str, float] = field(default_factory=dict)
    main_metric: str | None = None
    training: dict[str, str | int | float | bool] = field(default_factory=dict)
    weights: tuple[Weights, ...] = ()
    architecture: str | None = None
    context_length: int | None = None
    custom_code: bool = False
    data: Data | None = None


def read_facts(files: Mapping[str, Path], *, repo_type: str = 'model') -> Facts:
    """Return what ``files`` ({path in the folder, with slashes: where to read it}) tell.

    What a person wrote in the front matter of README.md counts more than what the other files say.
    Raises: CardError when one of the JSON files is not JSON, a metric is NaN or Infinity, or the front matter is broken;
    SourceError when a file cannot be read.
    """
    names = _RESULTS if repo_type == 'dataset' else (*_CONFIGS, *_RESULTS) if repo_type == 'model' else ()
    configs = {name: jsonfile.read(files[name], name) for name in names if name in files}
    try:
        facts = Facts(repo_type=repo_type, license=_licence(files))
        if repo_type == 'dataset':
            metrics = training.metrics(configs) or _own_results(files)
            facts = replace(facts, data=datafiles.read_data(files), metrics=metrics)
        elif repo_type == 'model':
            facts = _model(facts, configs, _weights(files))
        readme = (
            ownership.decode(files['README.md'].read_bytes(), 'README.md') if 'README.md' in files else ''
        )
    except OSError as e:
        raise SourceError(
            f'{e.filename}: cannot be read: {e.strerror or e}. Make it readable, or leave it out with --exclude.'
        ) from e
    return told(facts, ownership.own_values(readme, 'README.md'))


def _own_results(files: Mapping[str, Path]) -> dict[str, float]:
    """Return the numbers of ``results.json`` that stand at its top; none when a script has written anything else into it."""
    path = files.get('results.json')
    if path is None or path.stat().st_size > jsonfile.LIMIT:
        return {}
    try:
        found = json.loads(path.read_bytes().decode('utf-8-sig'))
    except (ValueError, RecursionError):
        return {}
    return training.top_metrics(_mapping(found))


def _licence(files: Mapping[str, Path]) -> str | None:
    """Return the licence of the files LICENSE, LICENCE, COPYING at the top, None unless they agree."""
    found = set()
    for name in sorted(files):
        if _LICENCE_FILE.fullmatch(name):
            with files[name].open('rb') as file:
                found.add(licences.recognise(file.read(2**16).decode('utf-8', 'replace')))
    return found.pop() if len(found) == 1 else None


def _weights(files: Mapping[str, Path]) -> tuple[Weights, ...]:
    names = sorted(name for name in files if name.endswith('.safetensors'))
    if len(names) > _HEADERS_READ:
        return ()
    return tuple(one for name in names if (one := read_weights(files[name], name)))


def _model(facts: Facts, configs: Mapping[str, Any], weights: tuple[Weights, ...]) -> Facts:
    config = _mapping(configs.get('config.json'))
    adapter = _mapping(configs.get('adapter_config.json'))
    arguments = _mapping(configs.get('training_args.json'))
    library = architectures.library(configs, {one.format for one in weights})
    return replace(
        facts,
        library_name=library,
        pipeline_tag=architectures.pipeline_tag(configs, library),
        base_model=hubids.base_model(adapter, config, arguments),
        datasets=hubids.datasets(arguments),
        language=hubids.languages(arguments.get('language')),
        tags=architectures.tags(configs, library),
        metrics=training.metrics(configs),
        main_metric=training.main_metric(configs),
        training=training.parameters(configs),
        weights=weights,
        architecture=architectures.name(config),
        context_length=architectures.context_length(configs),
        custom_code='auto_map' in config,
    )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def told(facts: Facts, values: Mapping[str, Any]) -> Facts:
    """Return ``facts`` with what a person wrote in the front matter ``values`` in place of what files tell."""
    new: dict[str, Any] = {
        key: values[key] for key in ('library_name', 'pipeline_tag', 'license') if _is_word(values.get(key))
    }
    for key in ('base_model', 'datasets', 'language', 'tags'):
        # A trainer that began from a folder writes its path as base model; what is no name on the Hub is not told on.
        fits = hubids.is_name if key in ('base_model', 'datasets') else _is_word
        if items := _items(values.get(key)):
            new[key] = tuple(item for item in items if fits(item))
    return replace(facts, **new)


def _is_word(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_WORD and value.isprintable()


def _items(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    return [value] if isinstance(value, str) else []
