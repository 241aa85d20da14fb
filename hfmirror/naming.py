"""What is the next release called? What the person asked for, else what the configuration says."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Literal, NamedTuple

from hfmirror import versions
from hfmirror.config.config import Config


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
            template = choice.value or _timestamp_template(config)
            return Name(versions.timestamp(now, tags, template=template), 'timestamp')
        case 'experiment':
            return Name(versions.next_experiment(tags, choice.value), 'experiment', experiment=choice.value)
        case _:
            return Name(None, None)


def tag_prefix(config: Config) -> str:
    """Return what stands before the numbers of a semantic version."""
    template = _semantic_template(config)
    return versions.semantic_prefix(template) if template else config.versioning.tag_prefix


def _semantic_template(config: Config) -> str | None:
    """Return the format of semantic versions, None where only a prefix is configured."""
    given = (config.versioning.tag_format, config.versioning.formats.semantic)
    return next((template for template in given if template and '{major}' in template), None)


def _timestamp_template(config: Config) -> str:
    """Return the format of timestamps: a ``tag_format`` without numbers, else ``formats.timestamp``, else the prefix and the moment."""
    given = config.versioning.tag_format
    written = given if given and '{major}' not in given else None
    return written or config.versioning.formats.timestamp or f'{config.versioning.tag_prefix}{{timestamp}}'


def _configured(config: Config) -> Choice:
    if not config.names_releases:
        return Choice('none')
    given = config.versioning.tag_format
    if given is not None and '{major}' not in given:
        return Choice('timestamp')
    if given is None and not config.versioning.semantic_versioning:
        return Choice('timestamp')
    return Choice('bump', config.versioning.auto_increment)


def _level(value: str) -> versions.Level:
    levels: dict[str, versions.Level] = {'major': 'major', 'minor': 'minor', 'patch': 'patch'}
    return levels[value]
