"""Where does hfmirror keep what is its own, and where does a person keep the configuration?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

PROJECT_FILE = 'config.yaml'


class Home(NamedTuple):
    """Where hfmirror keeps what is its own."""

    clones: Path  # can be rebuilt
    cache: Path  # can be rebuilt
    outbox: Path  # releases on their way: the only copy there may be
    hub: Path  # the local Hub's repositories
    log: Path


def home() -> Home:
    """Return the directories: all under ``HFMIRROR_HOME`` when it is set, else the platform's cache and data ones."""
    own = os.environ.get('HFMIRROR_HOME')
    if own:
        root = Path(own).expanduser().absolute()
        return Home(root / 'clones', root / 'cache', root / 'outbox', root / 'hub', root / 'log')
    from platformdirs import user_cache_path, user_data_path

    cache, data = user_cache_path('hfmirror'), user_data_path('hfmirror')
    return Home(cache / 'clones', cache / 'cache', data / 'outbox', data / 'hub', cache / 'log')


def user_file() -> Path:
    """Return the person's own configuration, for all projects: ``config.yaml`` below ``HFMIRROR_HOME``, or the platform's."""
    own = os.environ.get('HFMIRROR_HOME')
    if own:
        return Path(own).expanduser().absolute() / PROJECT_FILE
    from platformdirs import user_config_path

    return user_config_path('hfmirror') / PROJECT_FILE
