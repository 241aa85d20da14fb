"""``hfmirror doctor``: what is wrong on this machine, and the command that mends it."""

from __future__ import annotations

import platform
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.auth import Token


class Check(NamedTuple):
    """One thing looked at. ``advice`` is the command that mends it when it is not ``ok``."""

    name: str
    ok: bool
    found: str
    advice: str = ''


def doctor(given: Mapping[str, Any], folder: Path | None) -> list[Check]:
    """Look at everything a push needs; nothing is changed. ``given`` has the options of ``options.where``."""
    checks = [_python(), _tool('git'), _tool('git-lfs'), *_packages()]
    checks += _settled('token', lambda: _token(given, folder))
    checks += _settled('configuration', lambda: _configuration(given['config_file']))
    checks += _settled('remote', lambda: _remote(given, folder))
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
    for requirement in metadata.requires('hf-mirror') or []:
        name, _, condition = requirement.partition(';')
        name = re.split(r'[^\w.-]', name)[0]
        if 'extra' in condition:
            continue
        try:
            yield Check(name, True, metadata.version(name))
        except metadata.PackageNotFoundError:
            yield Check(name, False, 'not installed', f"pip install '{name}'")


def _token(given: Mapping[str, Any], folder: Path | None) -> Check:
    token = options.token_of(given, folder=folder)
    # Without one everything but the Hub works, so it is no fault.
    return Check(
        'token',
        True,
        f'found in {token.source}' if token else "none (needed for the Hub only: 'hf auth login')",
    )


def _configuration(config_file: Path | None) -> Check:
    from hfmirror.config.loading import load_config
    from hfmirror.config.places import PROJECT_FILE, home

    load_config(config_file)
    path = config_file or Path(PROJECT_FILE)
    return Check(
        'configuration',
        True,
        f'{path if path.is_file() else "defaults"}; own files in {home().outbox.parent}',
    )


def _remote(given: Mapping[str, Any], folder: Path | None) -> Check:
    from hfmirror import refs

    try:
        located = options.locate(given, folder=folder)
    except errors.UsageError as e:
        token = options.token_of(given, folder=folder) if given['remote'] in (None, 'hub') else None
        about = f' {_told(_asked(token), token)}' if token else ''
        return Check('remote', True, f'not checked: {e}{about}')
    target = located.target
    if target.remote == 'hub':
        return _on_hub(located)
    if target.remote == 'local' and target.path is not None and not target.path.exists():
        return Check('remote', True, f'{target}: will be created by the first push')
    if target.archive:
        return _on_archive(located)
    found = refs.ls_remote(target)
    return Check('remote', True, f'{target}: reachable, {output.count(len(found.tags), "tag")}')


def _on_archive(located: options.Located) -> Check:
    from hfmirror.clone import opened

    target = located.target
    with opened(target, located.home) as repository:
        found = repository.remote_refs()
    state = (
        f'reachable, {output.count(len(found.tags), "tag")}'
        if found.head
        else 'will be made by the first push'
    )
    return Check('remote', True, f'{target}: {state}')


def _asked(token: Token) -> Mapping[str, Any]:
    """Return what the Hub says of the token's owner. Raises as ``Hub.whoami`` does, and AuthError when it only reads."""
    from hfmirror.hub import Hub
    from hfmirror.rights import person_of

    me = Hub(token.endpoint, token).whoami()
    if person_of(me).role == 'read':
        raise errors.AuthError(
            f'{token.endpoint}: reachable as {me["name"]}, whose token from {token.source} may only read. '
            "Make one that writes under Settings, Access Tokens, and log in with 'hf auth login'."
        )
    return me


def _told(me: Mapping[str, Any], token: Token) -> str:
    from hfmirror.rights import person_of

    return f'{token.endpoint} is reachable as {me["name"]}, role of the token: {person_of(me).role}'


def _on_hub(located: options.Located) -> Check:
    """Look at a repository on the Hub, and whether we may write to it."""
    from hfmirror import refs
    from hfmirror.hub import hub_of
    from hfmirror.rights import may_not_write

    target, config, _, token = located
    hub = hub_of(target, token)
    assert hub is not None
    if hub.token is None:
        raise hub.no_token(str(target))
    me = _asked(hub.token)
    refused = may_not_write(me, target, hub.token)
    if refused is not None:
        raise refused
    who = _told(me, hub.token)
    if hub.exists(target):
        found = refs.ls_remote(target, env=hub.git_environment())
        state = f'reachable, {output.count(len(found.tags), "tag")}'
    elif config.creates:
        state = 'will be created by the first push'
    else:
        return Check(
            'remote',
            False,
            f'{target}: no such repository, and {config.creates_by} is off. {who}',
            'Create it, or turn that on.',
        )
    return Check('remote', True, f'{target}: {state}. {who}')


def _disk(folder: Path | None) -> Check:
    from hfmirror.config.places import home
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
def command(folder: Path | None, as_json: bool, **given: Any) -> None:
    """Check what a push needs: programs, packages, token, remote, and disk for FOLDER. Exit code 1 when something is wrong.

    \b
    hfmirror doctor
    hfmirror doctor ./my_model --repo me/my-model
    """
    checks = doctor(given, folder)
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
