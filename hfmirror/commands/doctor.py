"""``hfmirror doctor``: what is wrong on this machine, and the command that mends it."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

PACKAGES = (
    'click',
    'GitPython',
    'huggingface_hub',
    'Jinja2',
    'filelock',
    'platformdirs',
    'pydantic',
    'python-dotenv',
    'ruamel.yaml',
    'semver',
    'tqdm',
)


class Check(NamedTuple):
    """One thing looked at. ``advice`` is the command that mends it when it is not ``ok``."""

    name: str
    ok: bool
    found: str
    advice: str = ''


def doctor(
    place_options: tuple[str | None, str, str | None],
    remote: str | None,
    config_file: Path | None,
    folder: Path | None,
) -> list[Check]:
    """Look at everything a push needs; nothing is changed."""
    checks = [_python(), _tool('git'), _tool('git-lfs'), *_packages(), _token()]
    checks += _settled('configuration', lambda: _configuration(config_file))
    checks += _settled('remote', lambda: _remote(place_options, remote, config_file))
    checks += _settled('disk', lambda: _disk(folder))
    return checks


def _settled(name: str, check: Callable[[], Check]) -> list[Check]:
    try:
        return [check()]
    except errors.HfmirrorError as e:
        text, _, advice = str(e).rpartition('. ')
        return [Check(name, False, text or advice, advice if text else '')]


def _python() -> Check:
    version = platform.python_version()
    ok = tuple(map(int, version.split('.')[:2])) >= (3, 11)
    return Check('python', ok, version, 'Install Python 3.11 or newer.')


def _tool(name: str) -> Check:
    from hfmirror import gitcmd

    ask, least = {
        'git': (gitcmd.git_version, gitcmd.GIT_MINIMUM),
        'git-lfs': (gitcmd.lfs_version, gitcmd.LFS_MINIMUM),
    }[name]
    try:
        version = ask()
    except errors.GitError as e:
        return Check(name, False, 'not found', str(e))
    advice = (
        f"{'.'.join(map(str, least))} or newer is needed: 'apt-get install {name}' or 'brew install {name}'"
    )
    return Check(name, version >= least, '.'.join(map(str, version)), advice)


def _packages() -> Iterator[Check]:
    for name in PACKAGES:
        try:
            yield Check(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, False, 'not installed', f"pip install '{name}'")


def _token() -> Check:
    from hfmirror import auth

    token = auth.find_token()
    # Without one everything but the Hub works, so it is no fault.
    return Check(
        'token',
        True,
        f'found in {token.source}' if token else "none (needed for the Hub only: 'hf auth login')",
    )


def _configuration(config_file: Path | None) -> Check:
    from hfmirror.config import PROJECT_FILE, home, load_config

    load_config(config_file)
    path = config_file or Path(PROJECT_FILE)
    return Check(
        'configuration',
        True,
        f'{path if path.is_file() else "defaults"}; own files in {home().outbox.parent}',
    )


def _remote(
    place_options: tuple[str | None, str, str | None], remote: str | None, config_file: Path | None
) -> Check:
    from hfmirror import place, refs
    from hfmirror.config import home, load_config

    try:
        target = place.target_of(place.Place(*place_options), remote, load_config(config_file), home())
    except errors.UsageError as e:
        return Check('remote', True, f'not checked: {e}')
    if target.remote == 'local' and target.path is not None and not target.path.exists():
        return Check('remote', True, f'{target}: will be created by the first push')
    found = refs.ls_remote(target)
    return Check('remote', True, f'{target}: reachable, {output.count(len(found.tags), "tag")}')


def _disk(folder: Path | None) -> Check:
    from hfmirror.config import home
    from hfmirror.folder import walk

    root = next(parent for parent in [home().outbox, *home().outbox.parents] if parent.exists())
    free = shutil.disk_usage(root).free
    needed = sum(file.stat.st_size for file in walk(folder).files) if folder else 0
    found = f'{output.human_size(free)} free at {root}'
    if folder:
        found += f', {output.human_size(needed)} in {folder}'
    return Check(
        'disk',
        free > needed,
        found,
        f'Free some space, or set HFMIRROR_HOME to a directory on a larger disk than {root}.',
    )


@click.command(short_help='Say what is wrong on this machine, and how to mend it.')
@click.argument('folder', required=False, type=click.Path(path_type=Path, readable=False))
@options.where
@options.as_json
def command(
    folder: Path | None,
    repo: str | None,
    repo_type: str,
    branch: str | None,
    remote: str | None,
    config_file: Path | None,
    as_json: bool,
) -> None:
    """Check what a push needs: programs, packages, token, remote, and disk for FOLDER. Exit code 1 when something is wrong.

    \b
    hfmirror doctor
    hfmirror doctor ./my_model --repo me/my-model
    """
    checks = doctor((repo, repo_type, branch), remote, config_file, folder)
    if as_json:
        output.document([check._asdict() for check in checks])
    else:
        for check in checks:
            output.data(f'{"ok " if check.ok else "BAD"}  {check.name:16} {check.found}')
            if not check.ok and check.advice:
                output.data(f'     {"":16} {check.advice}')
    wrong = [check.name for check in checks if not check.ok]
    if wrong:
        raise errors.HfmirrorError(f'{", ".join(wrong)}: see above for what mends it.')
