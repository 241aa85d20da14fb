"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from hfmirror.target import REPO_TYPES

F = TypeVar('F', bound=Callable[..., Any])


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


repo: Callable[[F], F] = click.option('--repo', metavar='NAMESPACE/NAME', help='The repository.')
repo_type: Callable[[F], F] = click.option(
    '--repo-type', type=click.Choice(REPO_TYPES), default='model', show_default=True, help='What it holds.'
)
branch: Callable[[F], F] = click.option('--branch', help='The branch.  [default: main]')
remote: Callable[[F], F] = click.option('--remote', metavar='hub|local|URL', help='Where the repository is.')
config: Callable[[F], F] = click.option(
    '-c',
    '--config',
    'config_file',
    type=click.Path(path_type=Path),
    help='The project file.  [default: ./config.yaml]',
)
as_json: Callable[[F], F] = click.option('--json', 'as_json', is_flag=True, help='Print one JSON document.')
verbose: Callable[[F], F] = click.option('-v', '--verbose', is_flag=True, help='Say more of what happens.')


def where(function: F) -> F:
    """Add the options that name one repository."""
    return _together(repo, repo_type, branch, remote, config)(function)
