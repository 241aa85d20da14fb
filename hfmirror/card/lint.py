"""What is wrong with a card, found without asking the Hub.

An error is what the Hub refuses or what makes a library fail that reads the card; a warning is worth a look.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple

from hfmirror.card import modelindex
from hfmirror.card.markdown import printable
from hfmirror.facts import hubids, vocabulary
from hfmirror.readme import frontmatter, regions

Severity = Literal['error', 'warning']

_TEXTS = (
    'license_name',
    'license_link',
    'pretty_name',
    'thumbnail',
    'new_version',
    'base_model_relation',
    'sdk',
    'title',
)
_LISTS = ('metrics', 'tags', 'size_categories', 'task_categories', 'task_ids', 'source_datasets', 'arxiv')
_WANTED = {'model': ('license', 'library_name', 'pipeline_tag'), 'dataset': ('license',), 'space': ('sdk',)}
# Keys that people and trainers write for others; the Hub reads none of them.
_STRAY = {
    'licence': 'license',
    'languages': 'language',
    'library': 'library_name',
    'pipeline': 'pipeline_tag',
    'dataset': 'datasets',
    'base_models': 'base_model',
    'tag': 'tags',
    'model_index': 'model-index',
    'model_name': 'model-index',
}
_RELATIONS = ('adapter', 'merge', 'quantized', 'finetune')
_LANGUAGES = ('code', 'multilingual')
_LEFT_OVER = re.compile(r'\[?\bmore information needed\b\]?', re.I)
_SHOWN = 60


class Problem(NamedTuple):
    """One thing wrong. ``line`` is that of the card, from 1; ``key`` is a dotted path such as ``model-index[0].name``."""

    path: str
    line: int
    key: str | None
    message: str
    severity: Severity


class Finding(NamedTuple):
    """A problem of the front matter before its line is known."""

    key: str
    message: str
    severity: Severity = 'error'


def lint(text: str, *, path: str = 'README.md', repo_type: str = 'model') -> list[Problem]:
    """Return all problems of the card ``text`` of a repository of ``repo_type``, in the order of their lines."""
    problems = [*_body_problems(text, path), *_front_problems(text, path, repo_type)]
    return sorted(problems, key=lambda problem: (problem.line, problem.key or '', problem.message))


def _body_problems(text: str, path: str) -> Iterator[Problem]:
    try:
        regions.pairs(text)
    except regions.MarkerProblem as e:
        yield Problem(path, e.line, None, str(e), 'error')
    parts = frontmatter.split(text)
    found = list(_LEFT_OVER.finditer(parts.body))
    if found:
        line = frontmatter.line_of(text, len(text) - len(parts.body) + found[0].start())
        times = f' ({len(found)} times, first here)' if len(found) > 1 else ''
        message = f'"More Information Needed" is left over{times}. Say what is known, or delete the section.'
        yield Problem(path, line, None, message, 'warning')


def _front_problems(text: str, path: str, repo_type: str) -> Iterator[Problem]:
    parts = frontmatter.split(text)
    start = frontmatter.first_line(parts)
    if text.startswith('\ufeff'):
        message = 'begins with a byte order mark, which hides the front matter from huggingface_hub. Save it without.'
        yield Problem(path, 1, None, message, 'warning')
    if not parts.opening:
        yield Problem(path, 1, None, _no_front_matter(text), 'warning')
        return
    try:
        values = frontmatter.parse(parts.yaml)
    except frontmatter.YamlProblem as e:
        message = f'the YAML is broken (column {e.column}): {e}'
        yield Problem(path, start + e.line - 1, None, message, 'error')
        return
    places = frontmatter.places(parts.yaml)
    for finding in _findings(values, repo_type):
        line = start + _place_of(finding.key, places)
        yield Problem(path, line, printable(finding.key), finding.message, finding.severity)
    yield from _bare_words(places, path, start)


def _no_front_matter(text: str) -> str:
    if re.match(r'\s*---\s*$', text.lstrip('\ufeff'), re.M):
        return 'the front matter has no end. Put a line "---" below it.'
    return 'has no front matter, so the Hub knows neither licence nor task. Begin it with a YAML block between two lines "---".'


def _place_of(key: str, places: Mapping[str, frontmatter.Place]) -> int:
    """Return the line of ``key``, or of the nearest thing around it."""
    while key and key not in places:
        key = key[: max(key.rfind('.'), key.rfind('['), 0)]
    return places[key].line if key else 0


def _bare_words(places: Mapping[str, frontmatter.Place], path: str, start: int) -> Iterator[Problem]:
    for key, place in places.items():
        if place.bare and key.partition('[')[0] in ('language', 'tags', 'license', 'datasets', 'metrics'):
            message = (
                "is a bare word that huggingface_hub reads as true or false. Put it in quotes, like 'no'."
            )
            yield Problem(path, start + place.line, printable(key), message, 'warning')


def _findings(values: dict[Any, Any], repo_type: str) -> Iterator[Finding]:
    for key in _WANTED.get(repo_type, ()):
        if values.get(key) in (None, ''):
            yield Finding(key, f'is missing. Add "{key}: …".', 'warning')
    for key, value in values.items():
        if not isinstance(key, str):
            yield Finding(str(key), 'is not a word. Put the key in quotes.')
        elif value is not None:
            yield from _check(key, value, values)
    yield from (Finding(key, message) for key, message in modelindex.not_finite(values))


def _check(key: str, value: Any, values: Mapping[Any, Any]) -> Iterator[Finding]:
    if key == 'license':
        yield from _license(value, values)
    elif key in ('pipeline_tag', 'library_name'):
        yield from _known(key, value, f'{key}s')
    elif key == 'language':
        yield from _languages(value)
    elif key in ('datasets', 'base_model'):
        yield from _ids(key, value)
    elif key == 'configs':
        yield from _configs(value)
    elif key == 'model-index':
        yield from (Finding(where, message) for where, message in modelindex.faults(value))
    elif key in _TEXTS:
        yield from _texts(key, value)
    elif key in _LISTS:
        yield from _lists(key, value)
    elif key in _STRAY:
        yield Finding(key, f'is no key that the Hub reads; did you mean {_STRAY[key]!r}?', 'warning')


def _known(key: str, value: Any, kind: str) -> Iterator[Finding]:
    """Yield what is wrong with one word that should be in the vocabulary ``kind``."""
    if not isinstance(value, str):
        yield Finding(key, f'is {modelindex.kind(value)}; expected one word')
    elif value not in vocabulary.words(kind):
        near = vocabulary.nearest(value, kind)
        meant = f'; did you mean {near!r}?' if near else ''
        yield Finding(key, f'{_short(value)} is not a value hfmirror knows{meant}', 'warning')


def _license(value: Any, values: Mapping[Any, Any]) -> Iterator[Finding]:
    for key, item in _each('license', value):
        yield from _known(key, item, 'licenses')
    if value == 'other':
        for key in ('license_name', 'license_link'):
            if not values.get(key):
                yield Finding('license', f'is other, so it needs {key}. Add "{key}: …".', 'warning')
    elif isinstance(value, str) and values.get('license_name'):
        yield Finding('license_name', 'is for "license: other" only', 'warning')


def _languages(value: Any) -> Iterator[Finding]:
    for key, item in _each('language', value):
        if not isinstance(item, str):
            yield Finding(
                key,
                f"is {modelindex.kind(item)}; expected a language code. Put the code in quotes, like 'no'.",
            )
        elif item not in _LANGUAGES and not re.fullmatch(r'[a-z]{2,3}', item):
            near = item.lower().replace('_', '-').partition('-')[0]
            meant = f'; did you mean {near!r}?' if re.fullmatch(r'[a-z]{2,3}', near) else ''
            yield Finding(key, f'{_short(item)} is not an ISO 639 code of two or three small letters{meant}')


def _ids(key: str, value: Any) -> Iterator[Finding]:
    for where, item in _each(key, value):
        if not isinstance(item, str):
            yield Finding(
                where, f'is {modelindex.kind(item)}; expected a name on the Hub such as namespace/name'
            )
        elif not hubids.is_name(item):
            yield Finding(
                where, f'{_short(item)} is not a name on the Hub. Write namespace/name, or delete it.'
            )


def _texts(key: str, value: Any) -> Iterator[Finding]:
    if not isinstance(value, str):
        yield Finding(key, f'is {modelindex.kind(value)}; expected text')
    elif key == 'base_model_relation' and value not in _RELATIONS:
        yield Finding(key, f'{_short(value)} is none of {", ".join(_RELATIONS)}')


def _lists(key: str, value: Any) -> Iterator[Finding]:
    if key == 'tags' and isinstance(value, str):
        yield Finding(key, 'is one word; expected a list. Write "- " before it, on a line of its own.')
        return
    kind = {'size_categories': 'size_categories', 'task_categories': 'pipeline_tags'}.get(key)
    for where, item in _each(key, value):
        if not isinstance(item, str):
            yield Finding(where, f'is {modelindex.kind(item)}; expected text. Put it in quotes.')
        elif kind:
            yield from _known(where, item, kind)


def _configs(value: Any) -> Iterator[Finding]:
    if not isinstance(value, list):
        yield Finding('configs', f'is {modelindex.kind(value)}; expected a list')
        return
    for index, config in enumerate(value):
        where = f'configs[{index}]'
        if not isinstance(config, dict):
            yield Finding(where, f'is {modelindex.kind(config)}; expected a mapping with config_name')
        elif not isinstance(config.get('config_name'), str):
            yield Finding(f'{where}.config_name', 'is missing or no text. Add "config_name: default".')
        else:
            yield from _data_files(f'{where}.data_files', config.get('data_files'))


def _data_files(where: str, value: Any) -> Iterator[Finding]:
    if value is None or isinstance(value, str):
        return
    if not isinstance(value, list):
        yield Finding(where, f'is {modelindex.kind(value)}; expected a list of split and path')
        return
    for index, item in enumerate(value):
        if isinstance(item, str):
            continue
        complete = (
            isinstance(item, dict) and isinstance(item.get('split'), str) and _is_path(item.get('path'))
        )
        if not complete:
            yield Finding(f'{where}[{index}]', 'needs both split and path')


def _is_path(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(item, str) for item in value)
    )


def _each(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield (path, value) for one value or for each of a list."""
    if isinstance(value, list):
        yield from ((f'{key}[{index}]', item) for index, item in enumerate(value))
    else:
        yield key, value


def _short(value: str) -> str:
    shown = value if len(value) <= _SHOWN else f'{value[: _SHOWN - 1]}…'
    return repr(shown)
