"""What is configured? Options, environment, ``.env``, the project file and defaults become one Config.

The project file is ``config.yaml`` in the working directory; hfmirror reads its ``huggingface:`` section::

    huggingface:
      repository:
        model_name: me/mcp-finetuned-model
      remotes: [local]
      versioning:
        auto_increment: minor     # major, minor or patch, when a push names no version
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from hfmirror import errors

PROJECT_FILE = 'config.yaml'


class Home(NamedTuple):
    """Where hfmirror keeps what is its own."""

    clones: Path  # can be rebuilt
    cache: Path  # can be rebuilt
    outbox: Path  # releases on their way: the only copy there may be
    hub: Path  # the local Hub's repositories
    log: Path


class RepositorySection(BaseModel):
    model_config = ConfigDict(extra='ignore')
    model_name: str | None = None  # namespace/name
    private: bool | None = None  # of a repository that a push creates; None: as the account has it
    auto_create: bool = True  # a push creates the repository where there is none


class VersioningSection(BaseModel):
    model_config = ConfigDict(extra='ignore')
    auto_tag: bool = True  # a push without a version option makes a version
    tag_format: str | None = None  # 'v{timestamp}' or a template of date fields; None: semantic
    auto_increment: Literal['major', 'minor', 'patch'] = 'minor'
    tag_prefix: str = 'v'


class UploadSection(BaseModel):
    model_config = ConfigDict(extra='ignore')
    max_retries: int = Field(default=3, ge=0, le=100)
    retry_delay: float = Field(
        default=2.0, ge=0, le=3600
    )  # seconds before the first retry, doubled for each next


class SettingsSection(BaseModel):
    model_config = ConfigDict(extra='ignore')
    default_branch: str = 'main'
    upload: UploadSection = UploadSection()


class GatesSection(BaseModel):
    model_config = ConfigDict(extra='ignore')
    allow_secrets: list[str] = []  # globs of files in which what looks like a secret is none
    allow_unsafe: list[str] = []  # globs of files whose pickles may do anything


class Config(BaseModel):
    """The ``huggingface:`` section, every value typed and defaulted. Keys of other tools are left alone."""

    model_config = ConfigDict(extra='ignore')
    repository: RepositorySection = RepositorySection()
    versioning: VersioningSection = VersioningSection()
    settings: SettingsSection = SettingsSection()
    gates: GatesSection = GatesSection()
    remotes: list[str] = []


def load_config(path: Path | None = None) -> Config:
    """Return the configuration of ``path``, or of ``config.yaml`` in the working directory, or the defaults.

    Raises ConfigError naming every wrong value at once.
    """
    if path is None:
        path = Path(PROJECT_FILE)
        if not path.is_file():
            return Config()
    section = _section(path)
    try:
        return Config.model_validate(section)
    except ValidationError as e:
        lines = [f'  huggingface.{".".join(map(str, fault["loc"]))}: {fault["msg"]}' for fault in e.errors()]
        raise errors.ConfigError('\n'.join([f'{path}: these values cannot be used:', *lines])) from e


def _section(path: Path) -> Mapping[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        document = YAML(typ='safe', pure=True).load(path.read_text('utf-8'))
    except FileNotFoundError as e:
        raise errors.ConfigError(f'{path}: no such file. Give --config the path of a config.yaml.') from e
    except (OSError, UnicodeDecodeError) as e:
        raise errors.ConfigError(f'{path}: cannot be read: {e}.') from e
    except (YAMLError, RecursionError) as e:
        raise errors.ConfigError(f'{path}: not valid YAML: {e}') from e
    section = document.get('huggingface') if isinstance(document, Mapping) else None
    if section is not None and not isinstance(section, Mapping):
        raise errors.ConfigError(
            f"{path}: huggingface: holds {type(section).__name__} where keys and values are expected, like 'remotes: [local]'."
        )
    return section or {}


def home() -> Home:
    """Return the directories: all under ``HFMIRROR_HOME`` when it is set, else the platform's cache and data ones."""
    own = os.environ.get('HFMIRROR_HOME')
    if own:
        root = Path(own).expanduser().absolute()
        return Home(root / 'clones', root / 'cache', root / 'outbox', root / 'hub', root / 'log')
    from platformdirs import user_cache_path, user_data_path

    cache, data = user_cache_path('hfmirror'), user_data_path('hfmirror')
    return Home(cache / 'clones', cache / 'cache', data / 'outbox', data / 'hub', cache / 'log')
