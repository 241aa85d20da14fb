"""What would a hook of this repository release now, and where to? Or what is there instead?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import finished, output
from hfmirror import folder as folders
from hfmirror.config.config import Config
from hfmirror.config.loading import load_config
from hfmirror.config.places import PROJECT_FILE, Home
from hfmirror.hooks import sealing
from hfmirror.hooks.code import Code
from hfmirror.hooks.events import Happening
from hfmirror.hooks.settings import Event, Settings

FOLDER = 'outputs'


class Done(NamedTuple):
    """What a hook did. ``status``: pushed, up-to-date, queued, background, dry-run, failed, or half-written, which is left out."""

    event: Event
    folder: Path
    status: str
    commit: str | None = None
    version: str | None = None
    url: str | None = None
    seconds: float = 0.0
    note: str | None = None


class Job(NamedTuple):
    """What hooks of one event release: the result in ``folder``, whose ``files`` are chosen as configured."""

    code: Code
    event: Event
    settings: Settings
    config: Config
    config_file: Path | None
    folder: Path
    files: folders.Folder
    home: Home

    @property
    def background(self) -> bool:
        given = self.settings.background
        return self.config.hooks.background if given is None else given

    @property
    def seal(self) -> str:
        return sealing.seal(
            self.files, self.settings.repo, self.settings.remotes, sealing.of_file(self.config_file)
        )

    @property
    def shown(self) -> str:
        return _shown(self.code, self.folder)


def find(
    code: Code, event: Event, settings: Settings, home: Home, happenings: Sequence[Happening]
) -> Job | Done | None:
    """Return what there is to release, or what was said instead; None when there is nothing to do."""
    config_file = config_file_of(code, settings)
    config = load_config(config_file)
    folder = folder_of(code, settings, config)
    if not config.enabled:
        return None
    look, below = finished.look(folder), finished.checkpoints(folder)
    if look.kind is None:
        _tell_of_nothing(_shown(code, folder), below, [one.tag for one in happenings if one.tag])
        return None
    if not look.is_finished:
        output.warn(f'hfmirror: {look.reason} Not released.')
        return Done(event, folder, 'half-written', note=look.reason)
    files = folders.walk(
        folder,
        include=config.layout.include,
        exclude=[*config.layout.exclude, *(f'/{one.path.name}/' for one in below)],
    )
    return Job(code, event, settings, config, config_file, folder, files, home)


def folder_of(code: Code, settings: Settings, config: Config) -> Path:
    """Return the folder that is released: that of the hook, ``hooks.folder`` of the configuration, or ``outputs``."""
    return code.root / (settings.folder or config.hooks.folder or FOLDER)


def config_file_of(code: Code, settings: Settings) -> Path | None:
    """Return the project file that hooks of a repository go by; None when there is none at the top of it."""
    if settings.config_file:
        return code.root / settings.config_file
    path = code.root / PROJECT_FILE
    return path if os.path.lexists(path) else None


def _tell_of_nothing(shown: str, below: Sequence[finished.Checkpoint], tags: Sequence[str]) -> None:
    if below:
        output.say(
            f'hfmirror: {shown}: {output.count(len(below), "checkpoint")} and no final result in it, so nothing is released. '
            f"'hfmirror push {shown}/{below[-1].path.name}' releases the last one."
        )
    elif tags:
        output.say(
            f'hfmirror: {shown}: no finished result in it, so nothing is released as {", ".join(tags)}.'
        )


def _shown(code: Code, folder: Path) -> str:
    return str(folder.relative_to(code.root)) if folder.is_relative_to(code.root) else str(folder)
