"""Options that several commands share, and what they stand for."""

from __future__ import annotations

import getpass
import re
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

import click

from hfmirror.target import REPO_TYPES

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.config.config import Config
    from hfmirror.config.places import Home
    from hfmirror.target import Target

F = TypeVar('F', bound=Callable[..., Any])

_LINE_MAX = 64 * 1024  # bytes; a token is far shorter


def _together(*options: Callable[[F], F]) -> Callable[[F], F]:
    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


class Duration(click.ParamType[float]):
    """Seconds, as people write them: ``90``, ``90s``, ``30m``, ``1h30m``."""

    name = 'duration'
    _UNITS: ClassVar[dict[str, int]] = {'s': 1, 'm': 60, 'h': 3600, 'd': 24 * 3600}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, int | float):
            return float(value)
        parts = re.findall(r'(\d{1,9}(?:\.\d{1,3})?)([smhd]?)', value)
        if (
            not value
            or ''.join(map(''.join, parts)) != value
            or (len(parts) > 1 and not all(u for _, u in parts))
        ):
            self.fail(f'{value!r} is no duration. Write 90s, 30m or 1h30m.', param, ctx)
        return sum(float(number) * self._UNITS[unit or 's'] for number, unit in parts)


repo: Callable[[F], F] = click.option('--repo', metavar='NAMESPACE/NAME', help='The repository.')
repo_type: Callable[[F], F] = click.option(
    '--repo-type', type=click.Choice(REPO_TYPES), default='model', show_default=True, help='What it holds.'
)
branch: Callable[[F], F] = click.option(
    '--branch', help='The branch.  [default: settings.default_branch, else main]'
)
remote: Callable[[F], F] = click.option(
    '--remote',
    metavar='hub|local|URL',
    help='Where the repository is; s3://…, gs://… and file://… are archives.',
)
config: Callable[[F], F] = click.option(
    '-c',
    '--config',
    'config_file',
    type=click.Path(path_type=Path),
    help='The project file.  [default: ./config.yaml]',
)
as_json: Callable[[F], F] = click.option('--json', 'as_json', is_flag=True, help='Print one JSON document.')
token: Callable[[F], F] = click.option(
    '--token',
    metavar='TOKEN|-',
    help="The Hub's token; - reads it from stdin.  [default: HF_TOKEN, or what 'hf auth login' saved]",
)
verbose: Callable[[F], F] = click.option('-v', '--verbose', is_flag=True, help='Say more of what happens.')


remotes: Callable[[F], F] = click.option(
    '--remote',
    'remotes',
    multiple=True,
    metavar='hub|local|URL',
    help='Where to; can be given again. s3://…, gs://… and file://… are archives.',
)
_private: Callable[[F], F] = click.option(
    '--private/--public',
    default=None,
    help='Of a repository that is created.  [default: as configured, else as the account has it]',
)
_allow_secrets: Callable[[F], F] = click.option(
    '--allow-secrets', is_flag=True, help='Release what looks like a secret all the same.'
)
_allow_unsafe: Callable[[F], F] = click.option(
    '--allow-unsafe', is_flag=True, help='Release pickles all the same that may run programs.'
)
_dry_run: Callable[[F], F] = click.option(
    '--dry-run', is_flag=True, help='Show what would be released; change nothing.'
)


def release(function: F) -> F:
    """Add the options that say what of a folder is released, into which repository, and as which version."""
    return _together(
        repo,
        repo_type,
        click.option(
            '--path-in-repo', metavar='PATH', help='A folder of the repository.  [default: its root]'
        ),
        branch,
        remotes,
        click.option('--tag', metavar='T', help='Name the release.'),
        click.option(
            '--bump',
            type=click.Choice(['major', 'minor', 'patch']),
            help='Count the last semantic version up.',
        ),
        click.option('--timestamp', is_flag=True, help='Name the release by the time: v20240101-120000.'),
        click.option(
            '--experiment', metavar='NAME', help='Number the release in an experiment: exp-NAME-001.'
        ),
        click.option('--no-tag', is_flag=True, help='Commit without a version.'),
        click.option('-m', '--message', help='Your words for the commit and the tag; the facts follow them.'),
        click.option(
            '--include', multiple=True, metavar='GLOB', help='Only these files; can be given again.'
        ),
        click.option('--exclude', multiple=True, metavar='GLOB', help='Not these files; can be given again.'),
        click.option(
            '--keep/--no-keep',
            default=None,
            help='Leave files in the repository that the folder does not have.  [default: layout.keep, else no]',
        ),
    )(function)


def terms(function: F) -> F:
    """Add the options that say on which terms something is released."""
    return _together(_private, _allow_secrets, _allow_unsafe, _dry_run)(function)


def where(function: F) -> F:
    """Add the options that name one repository."""
    return _together(repo, repo_type, branch, remote, token, config)(function)


class Located(NamedTuple):
    """What the options that name one repository stand for."""

    target: Target
    config: Config
    home: Home
    token: Token | None


def locate(given: Mapping[str, Any], *, folder: Path | None = None) -> Located:
    """Return what the options of ``where`` stand for; ``folder`` is one that ``.env`` is looked for above.

    A token is looked for only when the repository may be on the Hub. Raises UsageError when they name no repository, or
    a bad one, and as ``token_of`` does.
    """
    from hfmirror import place
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import home

    config, directories = load_config(given['config_file']), home()
    named, remote = place.Place(given['repo'], given['repo_type'], given['branch']), given['remote']
    known = place.remembered(named, remote, config, directories)
    wanted = known.remote if known else remote or next(iter(config.remotes), None)
    token = token_of(given, folder=folder) if wanted in (None, 'hub') else None
    target = place.target_of(named, remote, config, directories, token=token)
    return Located(target, config, directories, token)


def token_of(given: Mapping[str, Any], *, folder: Path | None = None) -> Token | None:
    """Return the token that ``--token`` stands for, or the one that is found without it, None when there is none.

    Raises as ``auth.find_token`` does.
    """
    from hfmirror import auth, errors

    value = given.get('token')
    if value == '-':
        line = _line_of_stdin()
        if not line.strip():
            raise errors.UsageError('--token -: nothing came on standard input. Pipe the token in.')
        return auth.find_token(line, folder=folder)
    if value:
        _warn_of_value()
    return auth.find_token(value, folder=folder)


@cache
def _warn_of_value() -> None:
    from hfmirror import output

    output.warn(
        '--token: others on this machine can see the value in its list of processes, and the shell may keep it. '
        "Safer are --token - (from stdin), HF_TOKEN, or 'hf auth login'."
    )


@cache
def _line_of_stdin() -> str:
    """Return the first line, which can be read only once."""
    if sys.stdin is None:
        return ''
    if sys.stdin.isatty():
        return getpass.getpass('token: ')
    return sys.stdin.buffer.readline(_LINE_MAX).decode('utf-8', 'replace')
