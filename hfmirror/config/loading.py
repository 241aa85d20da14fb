"""What is configured here? The project file and the file it names become one Config."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hfmirror import errors
from hfmirror.config.config import Config
from hfmirror.config.places import PROJECT_FILE


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
