"""The shape of ``model-index``: metrics of a model as the Hub takes them.

    model-index:
    - name: my-model
      results:
      - task: {type: text-classification}
        dataset: {type: imdb, name: IMDb}
        metrics:
        - {type: accuracy, value: 0.91}

A result without task, dataset or metrics makes huggingface_hub refuse the whole card.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

Fault = tuple[str, str]


def faults(value: Any) -> Iterator[Fault]:
    """Yield (dotted path, what is wrong there) for the value of ``model-index``."""
    where = 'model-index'
    yield from _list(where, value)
    for index, model in enumerate(value if isinstance(value, list) else []):
        yield from _model(f'{where}[{index}]', model)


def _model(where: str, model: Any) -> Iterator[Fault]:
    if not isinstance(model, dict):
        yield where, f'is {kind(model)}; expected a mapping with name and results'
        return
    yield from _text(where, model, 'name')
    yield from _list(f'{where}.results', model.get('results'))
    results = model.get('results')
    for index, result in enumerate(results if isinstance(results, list) else []):
        yield from _result(f'{where}.results[{index}]', result)


def _result(where: str, result: Any) -> Iterator[Fault]:
    if not isinstance(result, dict):
        yield where, f'is {kind(result)}; expected a mapping with task, dataset and metrics'
        return
    yield from _mapping(where, result, 'task', ('type',))
    yield from _mapping(where, result, 'dataset', ('type', 'name'))
    yield from _list(f'{where}.metrics', result.get('metrics'))
    metrics = result.get('metrics')
    for index, metric in enumerate(metrics if isinstance(metrics, list) else []):
        yield from _metric(f'{where}.metrics[{index}]', metric)
    if 'source' in result:
        yield from _mapping(where, result, 'source', ('url',))


def _metric(where: str, metric: Any) -> Iterator[Fault]:
    if not isinstance(metric, dict):
        yield where, f'is {kind(metric)}; expected a mapping with type and value'
        return
    yield from _text(where, metric, 'type')
    if metric.get('value') is None:
        yield f'{where}.value', 'is missing. Add the measured value, or delete the metric.'


def _mapping(where: str, parent: dict[Any, Any], key: str, needed: tuple[str, ...]) -> Iterator[Fault]:
    value = parent.get(key)
    if not isinstance(value, dict):
        told = 'is missing' if value is None else f'is {kind(value)}'
        yield f'{where}.{key}', f'{told}; expected a mapping with {" and ".join(needed)}'
        return
    for name in needed:
        yield from _text(f'{where}.{key}', value, name)


def _text(where: str, parent: dict[Any, Any], key: str) -> Iterator[Fault]:
    value = parent.get(key)
    if not isinstance(value, str) or not value:
        told = 'is missing' if value in (None, '') else f'is {kind(value)}'
        yield f'{where}.{key}', f'{told}; expected text'


def _list(where: str, value: Any) -> Iterator[Fault]:
    if not isinstance(value, list):
        yield where, f'is {"missing" if value is None else kind(value)}; expected a list'


def not_finite(value: Any) -> Iterator[Fault]:
    """Yield (dotted path, what is wrong) for every NaN and Infinity in the front matter ``value``."""
    yield from _not_finite(value, '', set())


def _not_finite(value: Any, where: str, seen: set[int]) -> Iterator[Fault]:
    if isinstance(value, float) and not math.isfinite(value):
        yield (
            where,
            f'is {"NaN" if math.isnan(value) else "Infinity"}, which JSON and the Hub do not take. Delete it.',
        )
    if not isinstance(value, dict | list) or id(value) in seen:
        return  # YAML aliases can make much of little, or a circle
    seen.add(id(value))
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _not_finite(item, f'{where}.{key}' if where else str(key), seen)
    else:
        for index, item in enumerate(value):
            yield from _not_finite(item, f'{where}[{index}]', seen)


def kind(value: Any) -> str:
    """Return what ``value`` is, in words."""
    names = {
        bool: 'true or false',
        int: 'a number',
        float: 'a number',
        str: 'text',
        list: 'a list',
        dict: 'a mapping',
    }
    return names.get(type(value), 'empty' if value is None else f'a {type(value).__name__}')
