"""What does the example's configuration say? The sections ``data``, ``model`` and ``training`` of ``config.yaml``.

The section ``huggingface`` of the same file is hfmirror's own, and read by hfmirror.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from hfmirror import gitcmd
from hfmirror.errors import ConfigError

EXAMPLE = Path(__file__).with_name('training_config.yaml')

config_option = click.option(
    '-c',
    '--config',
    'config_file',
    type=click.Path(path_type=Path),
    help="The project file.  [default: ./config.yaml, else the example's]",
)


class Section(BaseModel):
    model_config = ConfigDict(extra='forbid', frozen=True)


class Data(Section):
    folder: Path = Path('mcp_dataset')  # paths are relative to the working directory, as on a command line
    examples_per_tool: int = Field(default=160, ge=20, le=1000)
    seed: int = Field(default=7, ge=0)


class Model(Section):
    vocabulary_size: int = Field(default=1500, ge=10, le=100_000)
    hidden_size: int = Field(default=48, ge=1, le=4096)


class Training(Section):
    output_dir: Path = Path('mcp_finetuned_model')
    experiment_name: str = 'baseline_experiment'
    epochs: int = Field(default=12, ge=1, le=10_000)
    batch_size: int = Field(default=32, ge=1, le=65_536)
    learning_rate: float = Field(default=0.001, gt=0, le=10)
    weight_decay: float = Field(default=0.0001, ge=0, lt=1)
    seed: int = Field(default=42, ge=0)
    sync_above_accuracy: float = Field(default=0.0, ge=0, le=1)  # a run that is not better is not published


class Settings(BaseModel):
    """The example's own sections; others in the file are left alone."""

    data: Data = Data()
    model: Model = Model()
    training: Training = Training()


def chosen_file(given: Path | None) -> Path:
    """Return the configuration to use: ``given``, else ``config.yaml`` of the working directory, else the example's."""
    if given is not None:
        return given
    own = Path('config.yaml')
    return own if own.is_file() else EXAMPLE


def read_settings(path: Path) -> Settings:
    """Return the settings of a configuration file. Raises ConfigError naming every wrong value at once."""
    document = _document(path)
    sections = {name: document[name] for name in Settings.model_fields if document.get(name) is not None}
    try:
        return Settings.model_validate(sections)
    except ValidationError as e:
        lines = [f'  {".".join(map(str, fault["loc"]))}: {fault["msg"]}' for fault in e.errors()]
        raise ConfigError('\n'.join([f'{path}: these values cannot be used:', *lines])) from e


def _document(path: Path) -> dict[str, Any]:
    try:
        document = YAML(typ='safe', pure=True).load(path.read_text('utf-8'))
    except FileNotFoundError as e:
        raise ConfigError(
            f'{path}: no such file. Give --config another one, or begin with a copy of {EXAMPLE}.'
        ) from e
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f'{path}: cannot be read: {e}') from e
    except MarkedYAMLError as e:
        raise ConfigError(f'{path}{_place(e)}: not valid YAML: {_one_line(e.problem or e.context)}.') from e
    except (YAMLError, ValueError, RecursionError) as e:
        raise ConfigError(f'{path}: not valid YAML: {_one_line(e)}.') from e
    if not isinstance(document, dict):
        raise ConfigError(f'{path}: it has no sections. Begin with a copy of {EXAMPLE}.')
    return document


def _place(error: MarkedYAMLError) -> str:
    """Return where a mistake is, to be put after the file's name: ``:3:14``."""
    mark = error.problem_mark or error.context_mark
    return f':{mark.line + 1}:{mark.column + 1}' if mark else ''


def _one_line(said: object) -> str:
    """Return the first line of what the parser says, in which a value of the file may be quoted."""
    return gitcmd.redact(str(said).partition('\n')[0])[:200]
