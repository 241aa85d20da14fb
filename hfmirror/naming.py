"""What is the next release called? What the person asked for, else what the configuration says."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal, NamedTuple

from hfmirror import versions
from hfmirror.config import Config


class Choice(NamedTuple):
    """What the person asked for: a tag, a bump (``value``: the level), a timestamp, an experiment, no tag, or nothing."""

    kind: Literal['tag', 'bump', 'timestamp', 'experiment', 'none', 'configured'] = 'configured'
    value: str = ''


class Name(NamedTuple):
    """The name of a release. ``tag`` is None for one without; ``chosen`` when a person gave the whole name."""

    tag: str | None
    kind: str | None
    experiment: str | None = None
    chosen: bool = False


def name_release(choice: Choice, config: Config, tags: Collection[str], now: datetime) -> Name:
    """Return the name of the release that comes after ``tags``."""
    prefix = tag_prefix(config)
    if choice.kind == 'configured':
        choice = _configured(config)
    match choice.kind:
        case 'tag':
            version = versions.parse(choice.value, prefix=prefix)
            return Name(choice.value, version.kind if version else None, chosen=True)
        case 'bump':
            return Name(versions.next_semantic(tags, _level(choice.value), prefix=prefix), 'semantic')
        case 'timestamp':
            template = choice.value or f'{prefix}{{timestamp}}'
            return Name(versions.timestamp(now, tags, template=template), 'timestamp')
        case 'experiment':
            return Name(versions.next_experiment(tags, choice.value), 'experiment', experiment=choice.value)
        case _:
            return Name(None, None)


def tag_prefix(config: Config) -> str:
    """Return what stands before the numbers of a semantic version."""
    template = config.versioning.tag_format
    return (
        versions.semantic_prefix(template)
        if template and '{major}' in template
        else config.versioning.tag_prefix
    )


def _configured(config: Config) -> Choice:
    if not config.versioning.auto_tag:
        return Choice('none')
    template = config.versioning.tag_format
    if template and '{major}' not in template:
        return Choice('timestamp', template)
    return Choice('bump', config.versioning.auto_increment)


def _level(value: str) -> versions.Level:
    levels: dict[str, versions.Level] = {'major': 'major', 'minor': 'minor', 'patch': 'patch'}
    return levels[value]
