"""Options that several commands share, and what they stand for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from hfmirror.target import REPO_TYPES

if TYPE_CHECKING:
    from hfmirror.config import Config, Home
    from hfmirror.target import Target

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


class Located(NamedTuple):
    """What the options that name one repository stand for."""

    target: Target
    config: Config
    home: Home


def locate(given: Mapping[str, Any]) -> Located:
    """Return what the options of ``where`` stand for. Raises UsageError when they name no repository, or a bad one."""
    from hfmirror import place
    from hfmirror.config import home, load_config

    config, directories = load_config(given['config_file']), home()
    named = place.Place(given['repo'], given['repo_type'], given['branch'])
    return Located(place.target_of(named, given['remote'], config, directories), config, directories)
