"""``hfmirror validate-config``: all that is wrong with the configuration, each with its line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.config.given import Problem
    from hfmirror.config.loading import Loaded


def validate_config(path: Path | None = None) -> Loaded:
    """Return the configuration with the files that were read and all that is wrong in them."""
    from hfmirror.config.loading import inspect

    return inspect(path)


def as_document(problem: Problem) -> dict[str, Any]:
    """Return what ``--json`` prints of a problem; ``file`` is a variable's name where one is wrong."""
    origin = problem.origin
    return {
        'file': origin.source,
        'line': origin.line,
        'column': origin.column,
        'key': problem.key,
        'message': problem.message,
    }


@click.command(short_help='Check the configuration, and say all that is wrong with it.')
@options.config
@click.option('--schema', is_flag=True, help='Print a JSON schema of the keys, for editors.')
@options.as_json
def command(config_file: Path | None, schema: bool, as_json: bool) -> None:
    """Check the configuration, and say all that is wrong with it, each with file and line.

    \b
    hfmirror validate-config
    hfmirror validate-config --config experiments/config.yaml
    hfmirror validate-config --schema > config.schema.json
    """
    if schema:
        from hfmirror.config.schema import json_schema

        output.document(json_schema())
        return
    loaded = validate_config(config_file)
    if as_json:
        output.document([as_document(problem) for problem in loaded.problems])
    else:
        for problem in loaded.problems:
            output.data(str(problem))
    if loaded.problems:
        raise errors.ConfigError(f'{output.count(len(loaded.problems), "problem")} in the configuration.')
    if not as_json:
        output.data(_verdict(loaded))


def _verdict(loaded: Loaded) -> str:
    if not loaded.files:
        return "no configuration file here: every key has its default. 'hfmirror init' writes one."
    return f'{", ".join(loaded.files)}: nothing is wrong.'
