"""The text of a card's regions, each from a template of the same name in ``templates/``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from hfmirror.card import markdown
from hfmirror.card.about import About
from hfmirror.card.usage import usage
from hfmirror.facts.facts import Facts
from hfmirror.facts.weights import Weights, main_weights
from hfmirror.output import count, human_number, human_size
from hfmirror.tree import Entry, total_size

if TYPE_CHECKING:
    from jinja2 import Environment

    from hfmirror.versions import VersionInfo

_FILES_SHOWN = 25
_METRICS_SHOWN = 40
_VERSIONS_SHOWN = 10
_COLUMNS_SHOWN = 50
_NAMES_SHOWN = 5


class _Files(NamedTuple):
    """The rows of the files table: (path, size, dtypes, parameters) and what they leave out."""

    rows: list[tuple[str, int, str, str]]
    more: int
    more_size: int


def sections(facts: Facts, about: About, *, title: bool, card_size: int) -> dict[str, str]:
    """Return {region: text} for every region; one that has nothing to say is empty.

    ``title`` asks for a heading of the first level. ``card_size`` is the size of README.md in bytes.
    """
    values: dict[str, Any] = {
        'facts': facts,
        'about': about,
        'title': about.repo_id.rpartition('/')[2] if title else None,
        'day': day(about.date),
        'files': len(about.tree) + 1,
        'count': count(len(about.tree) + 1, 'file'),
        'size': total_size(about.tree) + card_size,
    }
    return {
        'overview': _fill('overview', values | {'lines': _overview(facts)}),
        'usage': _fill('usage', values | {'usage': usage(facts, about)}),
        'metrics': _fill('metrics', values | _metrics(facts, about)) if facts.metrics else '',
        'training': _fill('training', values) if facts.training else '',
        'data': _fill('data', values | {'columns': _COLUMNS_SHOWN}) if _says_data(facts) else '',
        'sections': _sections(about),
        'links': _fill('links', values) if about.additions.links else '',
        'authors': _fill('authors', values) if _says_who(about) else '',
        'files': _fill('files', values | {'table': _files(facts, about)}) if about.tree else '',
        'versions': _fill('versions', values | _versions(facts, about)),
    }


def day(date: datetime) -> str:
    """Return the day of ``date`` in UTC, so that a card does not depend on where it is made."""
    return (date.astimezone(UTC) if date.tzinfo else date).strftime('%Y-%m-%d')


def _says_data(facts: Facts) -> bool:
    return facts.data is not None and bool(
        facts.data.splits or facts.data.features or facts.data.rows is not None
    )


def _says_who(about: About) -> bool:
    return bool(about.additions.authors or any(one.description for one in about.additions.datasets))


def _sections(about: About) -> str:
    """Return the sections that were asked for, each under its heading: ``training_data`` is *Training data*."""
    parts = []
    for name, text in about.additions.sections.items():
        heading = markdown.escape(name.replace('_', ' ').strip().capitalize() if name.islower() else name)
        parts.append(f'## {heading}\n\n{markdown.own_words(text)}')
    return '\n\n'.join(parts)


def _overview(facts: Facts) -> list[tuple[str, str]]:
    """Return (label, Markdown) for what is known of the release as a whole."""
    rows = facts.data.rows if facts.data else None
    lines = [
        ('Library', markdown.code(facts.library_name) if facts.library_name else ''),
        ('Task', markdown.code(facts.pipeline_tag) if facts.pipeline_tag else ''),
        ('Architecture', markdown.code(facts.architecture) if facts.architecture else ''),
        ('Adapter parameters' if facts.library_name == 'peft' else 'Parameters', _parameters(facts)),
        ('Context', f'{facts.context_length:,} tokens' if facts.context_length else ''),
        ('Base model', _listed(facts.base_model)),
        ('Datasets', _listed(facts.datasets)),
        ('Language', _listed(facts.language)),
        ('Rows', f'{rows:,}' if rows is not None else ''),
        ('License', markdown.code(facts.license) if facts.license else ''),
    ]
    return [(label, shown) for label, shown in lines if shown]


def _listed(names: Sequence[str]) -> str:
    shown = ', '.join(markdown.code(name) for name in names[:_NAMES_SHOWN])
    more = len(names) - _NAMES_SHOWN
    return f'{shown} and {more:,} more' if more > 0 else shown


def _parameters(facts: Facts) -> str:
    """Return ``22,713,728 (F32 22,713,216, I64 512)`` for the files that together are the model."""
    weights = main_weights(facts.weights)
    if not weights:
        return ''
    dtypes = _dtypes(weights)
    counts = ', '.join(f'{dtype} {number:,}' if len(dtypes) > 1 else dtype for dtype, number in dtypes)
    return f'{sum(one.parameters for one in weights):,} ({counts})' if counts else ''


def _dtypes(weights: Sequence[Weights]) -> list[tuple[str, int]]:
    """Return (dtype, parameters) over all ``weights``, most first."""
    counts: dict[str, int] = {}
    for one in weights:
        for dtype, parameters in one.dtypes.items():
            counts[dtype] = counts.get(dtype, 0) + parameters
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _files(facts: Facts, about: About) -> _Files:
    """Return all files in order of their paths; of many only the largest, with the rest as a number."""
    weights = {about.path(one.path): one for one in facts.weights}
    entries = sorted(about.tree.values(), key=lambda entry: (-entry.size, entry.path))
    shown = entries if len(entries) <= _FILES_SHOWN else entries[:_FILES_SHOWN]
    rows = [_row(entry, weights.get(entry.path)) for entry in sorted(shown, key=lambda entry: entry.path)]
    left = entries[len(shown) :]
    return _Files(rows, len(left), sum(entry.size for entry in left))


def _row(entry: Entry, weights: Weights | None) -> tuple[str, int, str, str]:
    # A file that changed since its header was read is not described by it.
    if weights is None or weights.size != entry.size:
        return entry.path, entry.size, '', ''
    return entry.path, entry.size, ', '.join(weights.dtypes), f'{weights.parameters:,}'


def _metrics(facts: Facts, about: About) -> dict[str, Any]:
    """Return rows of (name, value, change, version compared with), the main metric first, and the versions compared with."""
    names = sorted(facts.metrics, key=lambda name: name != facts.main_metric)[:_METRICS_SHOWN]
    rows = [(name, human_number(facts.metrics[name]), *_since(name, facts, about)) for name in names]
    return {'rows': rows, 'compared': list(dict.fromkeys(since for *_, since in rows if since))}


def _since(name: str, facts: Facts, about: About) -> tuple[str, str]:
    """Return (change, version) against the newest earlier version that has the metric, or two empty words."""
    for earlier in _earlier(about):
        value = earlier.metrics.get(name)
        if markdown.finite(value) and value is not None:
            return markdown.change(value, facts.metrics[name]), earlier.name
    return '', ''


def _earlier(about: About) -> list[VersionInfo]:
    return [version for version in about.history if version.name != about.version]


def _versions(facts: Facts, about: About) -> dict[str, Any]:
    earlier = _earlier(about)
    shown = earlier[: _VERSIONS_SHOWN - 1]
    metric = facts.main_metric or _shared_metric(shown)
    rows = [(version, day(version.date), _value(version.metrics, metric)) for version in shown]
    return {
        'rows': rows,
        'metric': metric,
        'value': _value(facts.metrics, metric),
        'more': len(earlier) - len(shown),
    }


def _shared_metric(versions: Sequence[VersionInfo]) -> str | None:
    return next((name for version in versions for name in version.metrics if not name.endswith('loss')), None)


def _value(metrics: Mapping[str, float], name: str | None) -> str:
    value = metrics.get(name) if name else None
    return human_number(value) if value is not None and markdown.finite(value) else ''


def _parameter(value: object) -> str:
    """Return the value of a training parameter, a number as its file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, int | float) else markdown.code(value)


def _fill(name: str, values: Mapping[str, Any]) -> str:
    return _environment().get_template(f'{name}.md.jinja').render(values).strip('\n')


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader('hfmirror'),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # Markdown is escaped by the filters below
    )
    environment.filters |= {
        'escape': markdown.escape,
        'code': markdown.code,
        'size': human_size,
        'number': human_number,
        'parameter': _parameter,
    }
    return environment
