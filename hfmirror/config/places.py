"""Where does hfmirror keep what is its own, and where does a person keep the configuration?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors

PROJECT_FILE = 'config.yaml'
UNKNOWN_HOME = 'a home that this machine does not know. Write the whole path.'


class Home(NamedTuple):
    """Where hfmirror keeps what is its own."""

    clones: Path  # can be rebuilt
    cache: Path  # can be rebuilt
    outbox: Path  # releases on their way: the only copy there may be
    hub: Path  # the local Hub's repositories
    log: Path


def home() -> Home:
    """Return the directories: all under ``HFMIRROR_HOME`` when it is set, else the platform's cache and data ones.

    Raises ConfigError when ``HFMIRROR_HOME`` begins with the home of nobody.
    """
    root = _root()
    if root is not None:
        return Home(root / 'clones', root / 'cache', root / 'outbox', root / 'hub', root / 'log')
    from platformdirs import user_cache_path, user_data_path

    cache, data = user_cache_path('hfmirror'), user_data_path('hfmirror')
    return Home(cache / 'clones', cache / 'cache', data / 'outbox', data / 'hub', cache / 'log')


def _root() -> Path | None:
    own = os.environ.get('HFMIRROR_HOME')
    if not own:
        return None
    if not has_known_home(own):
        raise errors.ConfigError(f'HFMIRROR_HOME: {own!r} begins with {UNKNOWN_HOME}')
    return Path(own).expanduser().absolute()


def has_known_home(path: str) -> bool:
    """Tell whether the ``~`` or ``~somebody`` that a path may begin with stands for a directory."""
    try:
        Path(path).expanduser()
    except RuntimeError:
        return False
    return True


def user_file() -> Path:
    """Return the person's own configuration, for all projects: ``config.yaml`` below ``HFMIRROR_HOME``, or the platform's."""
    root = _root()
    if root is not None:
        return root / PROJECT_FILE
    from platformdirs import user_config_path

    return user_config_path('hfmirror') / PROJECT_FILE
