"""The model or dataset card: README.md, regenerated around what people wrote.

The front-matter keys and regions that hfmirror wrote are brought up to date; every other byte stays. See ``regions``
for the markers and ``ownership`` for what makes a key a person's.
"""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import islice
from typing import Any

from hfmirror.card.about import About
from hfmirror.card.sections import sections
from hfmirror.facts.facts import Facts, told
from hfmirror.facts.training import metric_type
from hfmirror.readme import frontmatter, ownership, regions
from hfmirror.readme.ownership import NAME, Generated, words

_RESULTS = 100  # metrics in the front matter, which the Hub reads whole

__all__ = ['About', 'configured', 'render', 'source', 'transplant', 'words']


def render(
    facts: Facts,
    about: About,
    *,
    base: str | None,
    source: str | None = None,
    configured: str | None = None,
) -> str:
    """Return the README.md of the release: ``base`` with hfmirror's keys and regions brought up to date.

    Without ``base`` the card begins from nothing. ``source`` and ``configured`` are remembered in the card, for the functions
    of these names.
    The same arguments give the same text.
    Raises: CardError when the front matter or the markers of ``base`` are broken.
    """
    base = base or ''
    facts = told(about.additions.added(facts), ownership.own_values(base, NAME))
    facts = replace(facts, base_model=tuple(name for name in facts.base_model if name != about.repo_id))
    keys = {
        key: frontmatter.dump(key, value) if value else None for key, value in _values(facts, about).items()
    }
    title = _wants_title(base)
    text, size = base, -1
    for _ in range(4):  # the card tells the size of the release, which contains the card
        if len(text.encode('utf-8', 'surrogatepass')) == size:
            break
        size = len(text.encode('utf-8', 'surrogatepass'))
        made = sections(facts, about, title=title, card_size=size)
        text = ownership.merge(base, Generated(keys, made, source, configured))
    return text


def transplant(ours: str, theirs: str) -> str:
    """Return the card ``theirs`` with the keys and regions that hfmirror made for ``ours``.

    Raises: CardError when the front matter or the markers of either are broken.
    """
    return ownership.merge(theirs, ownership.generated_in(ours))


def source(text: str) -> str | None:
    """Return the mark that ``render`` was given for this card, None when it has none."""
    return regions.state(text, NAME).source


def configured(text: str) -> str | None:
    """Return the mark of what was configured for this card, None when nothing was."""
    return regions.state(text, NAME).configured


def _wants_title(base: str) -> bool:
    """Tell whether the card ``base`` lacks a heading of the first level, and nobody's words come before our regions."""
    words = regions.without(base, NAME)
    starts = [place.start for name, place in regions.find(base, NAME).items() if name in regions.ORDER]
    before = base[: min(starts)] if starts else words
    return not frontmatter.split(before).body.strip('\ufeff\r\n\t ') and not _has_title(words)


def _has_title(text: str) -> bool:
    """Tell whether the body of ``text`` has a heading of the first level, outside of code."""
    body = re.sub(r'\r\n|\r', '\n', frontmatter.split(text).body)
    body = re.sub(r'^ {0,3}(```+|~~~+).*?(?:^ {0,3}\1[`~]*[ ]*$|\Z)', '', body, flags=re.M | re.S)
    return bool(re.search(r'^ {0,3}# |^ {0,3}\S.*\n {0,3}=+[ ]*$|<h1\b', body, flags=re.M | re.I))


def _values(facts: Facts, about: About) -> dict[str, Any]:
    """Return {key of the front matter: value} for all keys that hfmirror may write; empty for what is not known."""
    values: dict[str, Any] = dict.fromkeys(ownership.KEYS)
    if about.repo_type == 'space':
        return values
    values |= {'language': list(facts.language), 'license': facts.license, 'tags': list(facts.tags)}
    if about.repo_type == 'dataset':
        return values | _dataset_values(facts, about)
    return values | {
        'library_name': facts.library_name,
        'pipeline_tag': facts.pipeline_tag,
        'base_model': facts.base_model[0] if len(facts.base_model) == 1 else list(facts.base_model),
        'datasets': list(facts.datasets),
        'model-index': _model_index(facts, about),
    }


def _dataset_values(facts: Facts, about: About) -> dict[str, Any]:
    data = facts.data
    if data is None:
        return {}
    files = [{'split': split.name, 'path': _paths(split.patterns, about)} for split in data.splits]
    return {
        'size_categories': [data.size_category] if data.size_category else None,
        'configs': [{'config_name': 'default', 'data_files': files}] if files and data.loadable else None,
    }


def _paths(patterns: tuple[str, ...], about: About) -> str | list[str]:
    paths = [about.path(pattern) for pattern in patterns]
    return paths[0] if len(paths) == 1 else paths


def _model_index(facts: Facts, about: About) -> list[dict[str, Any]] | None:
    """Return the metrics as the Hub wants them, None unless task and dataset are known: it takes no result without."""
    from huggingface_hub import EvalResult, ModelCardData

    if not facts.pipeline_tag or len(facts.datasets) != 1:
        return None
    (dataset,) = facts.datasets
    results = [
        EvalResult(
            task_type=facts.pipeline_tag,
            dataset_type=dataset,
            dataset_name=dataset,
            metric_type=metric_type(name),
            metric_name=metric_type(name).replace('_', ' ').capitalize(),
            metric_value=int(value) if value.is_integer() and abs(value) < 2**53 else value,
        )
        for name, value in islice(facts.metrics.items(), _RESULTS)
    ]
    if not results:
        return None
    data = ModelCardData(model_name=about.repo_id.rpartition('/')[2], eval_results=results)
    index: list[dict[str, Any]] = data.to_dict()['model-index']  # type: ignore[no-untyped-call]
    return index
