"""What do the card and the configuration files of a repository tell at one commit? Tags, task, library, numbers.

All of it was written by anybody: what is broken, too long or too deep tells nothing, and is no error.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror.facts import architectures
from hfmirror.facts.weights import Weights, main_weights, read_weights
from hfmirror.readme import frontmatter
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.rest.autoclass import transformers_info
from hfmirror.server.rest.jsonable import TooMuch, plain
from hfmirror.store import ObjectStore

_CARD_MAX = 2 * 1024 * 1024  # bytes of a README.md that is read
_CONFIG_MAX = 1024 * 1024
_WEIGHT_FILES = 300  # whose headers are read
_TAGS = 500
_TAG_MAX = 200  # characters
_CONFIGS = (
    'config.json',
    'adapter_config.json',
    'modules.json',
    'config_sentence_transformers.json',
    'config_setfit.json',
    'model_index.json',
    'preprocessor_config.json',
    'tokenizer_config.json',
)
_FORMATS = {
    '.safetensors': 'safetensors',
    '.bin': 'pytorch',
    '.pt': 'pytorch',
    '.pth': 'pytorch',
    '.onnx': 'onnx',
    '.gguf': 'gguf',
    '.msgpack': 'jax',
    '.h5': 'tf',
}
# The keys of a dataset's card that become tags, `key:value`.
_DATASET_KEYS = (
    'task_categories',
    'task_ids',
    'annotations_creators',
    'language_creators',
    'multilinguality',
    'source_datasets',
    'language',
    'size_categories',
)
_ARXIV = re.compile(r'arxiv\.org/(?:abs|pdf)/(\d{4}\.\d{4,5})', re.I)


class Metadata(NamedTuple):
    """What is told. ``card`` is the front matter as JSON has it; ``safetensors`` is {dtype: number of parameters}."""

    card: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()
    pipeline_tag: str | None = None
    library_name: str | None = None
    config: Mapping[str, Any] | None = None
    transformers_info: Mapping[str, str] | None = None
    safetensors: Mapping[str, int] | None = None


def read(bare: Bare, commit: str, repo_type: str, objects: Path) -> Metadata:
    """Return what is told at a commit. ``objects`` is where the repository's LFS objects are."""
    return bare.kept(
        f'{commit} metadata',
        lambda: _read(bare, commit, repo_type, ObjectStore(objects)),
        lambda found: 4000 + 20 * len(str(found.card)),
    )


def _read(bare: Bare, commit: str, repo_type: str, store: ObjectStore) -> Metadata:
    text = _text(bare, commit)
    card = _card(text)
    if repo_type != 'model':
        tags = _dataset_tags(card) if repo_type == 'dataset' else _words(card.get('sdk'))
        return Metadata(card or None, _tagged([*tags, *_words(card.get('tags')), *_common_tags(card, text)]))
    files = bare.listing(commit)
    configs = {file.path: value for file in files if (value := _config(bare, file)) is not None}
    weights = _weights(files, store)
    library = _word(card.get('library_name')) or architectures.library(
        configs, {one.format for one in weights}
    )
    task = _word(card.get('pipeline_tag')) or architectures.pipeline_tag(configs, library)
    config = _shown(configs.get('config.json'))
    tags = [*_words([library, *_formats(files), config.get('model_type'), task]), *_model_tags(card)]
    return Metadata(
        card or None,
        _tagged([*tags, *_common_tags(card, text)]),
        task,
        library,
        config or None,
        transformers_info(configs, task) if library == 'transformers' else None,
        _parameters(weights),
    )


def _text(bare: Bare, commit: str) -> str:
    readme = bare.find(commit, 'README.md')
    if readme is None or readme.is_folder or readme.pointer or readme.size > _CARD_MAX:
        return ''
    return bare.content(readme).decode('utf-8', 'replace')


def _card(text: str) -> dict[str, Any]:
    try:
        value = plain(frontmatter.parse(frontmatter.split(text).yaml))
    except (frontmatter.YamlProblem, TooMuch):
        return {}
    return value if isinstance(value, dict) else {}


def _config(bare: Bare, file: File) -> Any:
    if file.path not in _CONFIGS or file.is_folder or file.pointer or file.size > _CONFIG_MAX:
        return None
    try:
        return json.loads(bare.content(file).decode('utf-8-sig'))
    except (ValueError, RecursionError):
        return None


def _shown(config: Any) -> dict[str, Any]:
    """Return the part of config.json that the Hub tells."""
    if not isinstance(config, dict):
        return {}
    names = config.get('architectures')
    shown = {
        'architectures': _words(names) if isinstance(names, list) else None,
        'model_type': _word(config.get('model_type')),
    }
    return {key: value for key, value in shown.items() if value}


def _weights(files: Iterable[File], store: ObjectStore) -> tuple[Weights, ...]:
    """Return what the headers of the safetensors files at the top tell, as far as they are LFS objects that are here."""
    named = [file for file in files if file.path.endswith('.safetensors') and file.pointer]
    if len(named) > _WEIGHT_FILES:
        return ()
    found = []
    for file in named:
        assert file.pointer is not None
        try:
            weights = read_weights(store.path(file.pointer.oid), file.path)
        except OSError:
            continue
        found += [weights] if weights else []
    return tuple(found)


def _parameters(weights: tuple[Weights, ...]) -> dict[str, int] | None:
    total: dict[str, int] = {}
    for one in main_weights(weights):
        for dtype, parameters in one.dtypes.items():
            total[dtype] = total.get(dtype, 0) + parameters
    return total or None


def _formats(files: Iterable[File]) -> list[str]:
    names = [file.path for file in files if not file.is_folder]
    found = [_FORMATS[ending] for name in names if (ending := f'.{name.rpartition(".")[2]}') in _FORMATS]
    return [*found, *(['tensorboard'] if any('tfevents' in name for name in names) else [])]


def _model_tags(card: Mapping[str, Any]) -> Iterator[str]:
    yield from _words(card.get('tags'))
    yield from _words(card.get('language'))
    yield from (f'dataset:{name}' for name in _words(card.get('datasets')))
    relation = _word(card.get('base_model_relation'))
    for name in _words(card.get('base_model')):
        yield f'base_model:{name}'
        if relation:
            yield f'base_model:{relation}:{name}'
    if card.get('model-index'):
        yield 'model-index'


def _dataset_tags(card: Mapping[str, Any]) -> list[str]:
    return [f'{key}:{word}' for key in _DATASET_KEYS for word in _words(card.get(key))]


def _common_tags(card: Mapping[str, Any], text: str) -> Iterator[str]:
    """Yield the tags that every kind of repository has."""
    yield from (f'arxiv:{paper}' for paper in [*_words(card.get('arxiv')), *_ARXIV.findall(text)])
    yield from (f'license:{word}' for word in _words(card.get('license')))


def _tagged(tags: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tags))[:_TAGS]


def _words(value: object) -> list[str]:
    """Return the words that a value is or lists."""
    items = value if isinstance(value, list) else [value]
    return [word for item in items[:_TAGS] if (word := _word(item))]


def _word(value: object) -> str | None:
    fits = isinstance(value, str) and 0 < len(value) <= _TAG_MAX and value.isprintable()
    return str(value) if fits else None
