"""What does a hook of this repository release, and where to? In the repository's own git configuration::

    [hfmirror "hook.commit"]
        folder = outputs
        remote = hub
        installed = true

So all work trees have the same, a hook in a directory that several repositories share does nothing in the others, and
`git config` can change it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from hfmirror.hooks.code import Code

Event = Literal['commit', 'tag', 'push']

EVENTS: tuple[Event, ...] = get_args(Event)
HOOKS: dict[Event, str] = {'commit': 'post-commit', 'tag': 'reference-transaction', 'push': 'pre-push'}

_SECTION = 'hfmirror.hook.'


class Settings(NamedTuple):
    """What is None or empty is as the configuration has it when the hook runs.

    ``folder`` and ``config_file`` are relative to the top of the work tree, or absolute.
    """

    folder: str | None = None
    repo: str | None = None
    remotes: tuple[str, ...] = ()
    background: bool | None = None
    config_file: str | None = None

    def over(self, other: Settings) -> Settings:
        """Return these settings, and those of ``other`` where they say nothing."""
        said = {name: value for name, value in self._asdict().items() if value not in (None, ())}
        return other._replace(**said)


def installed(code: Code) -> dict[Event, Settings]:
    """Return the settings of each event that hooks are installed for in this repository."""
    found: dict[str, dict[str, list[str]]] = {}
    listed = code.asked('config', '-z', '--get-regexp', r'^hfmirror\.hook\.') or ''
    for line in listed.split('\0'):
        key, _, value = line.partition('\n')
        event, _, name = key.removeprefix(_SECTION).rpartition('.')
        found.setdefault(event, {}).setdefault(name, []).append(value)
    return {event: _settings(found[event]) for event in EVENTS if _is_on(found.get(event, {}))}


def write(code: Code, event: Event, settings: Settings) -> None:
    """Write the settings of an event; the last line makes them count, so that a kill leaves nothing half."""
    if installed(code).get(event) == settings:
        return
    remove(code, event)
    for name, value in _lines(settings):
        code.git('config', '--local', '--add', f'{_SECTION}{event}.{name}', value)


def remove(code: Code, event: Event) -> bool:
    """Forget the settings of an event; returns whether there were some."""
    section = f'{_SECTION}{event}'
    if code.asked('config', '--local', '--get-regexp', f'^{re.escape(section)}\\.') is None:
        return False
    code.git('config', '--local', '--remove-section', section)
    return True


def _lines(settings: Settings) -> Sequence[tuple[str, str]]:
    background = None if settings.background is None else str(settings.background).lower()
    lines = [
        ('folder', settings.folder),
        ('repo', settings.repo),
        *(('remote', remote) for remote in settings.remotes),
        ('background', background),
        ('config', settings.config_file),
        ('installed', 'true'),
    ]
    return [(name, value) for name, value in lines if value is not None]


def _settings(values: dict[str, list[str]]) -> Settings:
    def last(name: str) -> str | None:
        return values.get(name, [None])[-1]

    background = last('background')
    return Settings(
        last('folder'),
        last('repo'),
        tuple(dict.fromkeys(values.get('remote', ()))),  # two that installed at once both wrote it
        None if background is None else _is_true(background),
        last('config'),
    )


def _is_on(values: dict[str, list[str]]) -> bool:
    return _is_true(values.get('installed', ['false'])[-1])


def _is_true(value: str) -> bool:
    return value.lower() in ('true', 'yes', 'on', '1', '')
