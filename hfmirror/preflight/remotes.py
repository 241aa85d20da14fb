"""Can a repository take a release: is its remote there, are we let in, is the name ours, is there room?

A Hub is asked over REST, a git host by a push that changes nothing, an archive by what a push asks and, in a bucket, a small
object that is made and removed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from hfmirror import clone, errors, gitcmd, output, refs, rights, statuses
from hfmirror.archive.storage import storage_of
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.hub import Hub, hub_of
from hfmirror.lfsapi import LfsServer
from hfmirror.preflight.check import Check, failed, settled
from hfmirror.preflight.clock import clock
from hfmirror.target import Target
from hfmirror.tree import Entry

_BRANCH = 'refs/heads/hfmirror-preflight'  # which is nowhere
_NOT_THERE = re.compile(r'remote ref does not exist|\[deleted\]')


class Wanted(NamedTuple):
    """What will be released on a repository: so many bytes, as the version ``tag``. ``is_named``: whether it is known which."""

    size: int
    tag: str | None
    is_named: bool
    config: Config
    home: Home


def of_target(target: Target, wanted: Wanted, token: Token | None) -> Iterator[Check]:
    """Yield what is found of a repository: its name, its remote, our rights there, the repository itself, the clock."""
    if target.remote not in ('hub', 'local') and not target.archive:
        wanted = wanted._replace(is_named=True)  # by its address
    if wanted.is_named:
        yield _name(target)
    else:
        advice = 'Name the repository with --repo NAMESPACE/NAME, or the folder.'
        yield Check('name', 'warn', 'not known yet: the release will be called after its folder', advice)
    is_away = False
    for check in _remote(target, wanted, token):
        is_away = is_away or check.may_mend
        yield check
    if not is_away:
        yield from settled('clock', lambda: clock(target))


def _remote(target: Target, wanted: Wanted, token: Token | None) -> Iterator[Check]:
    hub = hub_of(target, token)
    if hub is None:
        yield from settled('remote', lambda: _elsewhere(target, wanted))
    elif hub.token is not None:
        yield from settled('remote', lambda: _on_hub(hub, target, wanted))


def _name(target: Target) -> Check:
    if target.repo_id != target.repo_id.lower():
        advice = 'Use small letters when the name is still to be chosen.'
        return Check(
            'name', 'warn', f'{target.repo_id}: valid, with upper case letters, which few have', advice
        )
    return Check('name', 'ok', f'{target.repo_id}, a {target.repo_type} on {target.remote}')


def owner(hub: Hub) -> Iterator[Check]:
    """Yield whether a Hub takes the token, and whose it is. Raises NetworkError when it cannot be asked."""
    assert hub.token is not None
    try:
        person = rights.person_of(hub.whoami())
    except errors.AuthError as e:
        yield failed('token', e)
        return
    except errors.NetworkError:
        yield Check('token', 'ok', f'found in {hub.token.source}')
        raise
    yield Check('token', 'ok', f'found in {hub.token.source}: {person.name}, role {person.role}')
    yield Check('remote', 'ok', f'{hub.endpoint} is reachable')


def _on_hub(hub: Hub, target: Target, wanted: Wanted) -> Iterator[Check]:
    for check in owner(hub):
        yield check
        if check.state == 'fail':
            return
    assert hub.token is not None
    me = hub.whoami()  # remembered
    person = rights.person_of(me)
    refused = rights.may_not_write(me, target, hub.token)
    if refused is not None:
        yield failed('rights', refused)
        return
    yield Check('rights', 'ok', f'{person.name} may write to {target.repo_id.partition("/")[0]}')
    if wanted.is_named:
        yield from settled('repository', lambda: _repository(hub, target, wanted))


def _repository(hub: Hub, target: Target, wanted: Wanted) -> Iterator[Check]:
    if not hub.exists(target):
        yield _absent(hub, target, wanted.config)
        return
    found = refs.ls_remote(target, env=hub.git_environment())
    yield _versions(target, found, wanted.tag)
    yield from settled('quota', lambda: _quota(hub, target, wanted.size))


def _absent(hub: Hub, target: Target, config: Config) -> Check:
    other = hub.other_type(target)
    if not config.creates:
        return failed(
            'repository',
            errors.NotFoundError(
                f'{target}: no such repository, and {config.creates_by} is off. Create it, or turn that on.'
            ),
        )
    if other:
        advice = f'If that is the one that is meant, give --repo-type {other}.'
        return Check(
            'repository',
            'warn',
            f'{target}: there is a {other} of that name, and no {target.repo_type}',
            advice,
        )
    return Check('repository', 'ok', f'{target}: the name is free; the first release creates it')


def _versions(target: Target, found: refs.Refs, tag: str | None) -> Check:
    if tag is not None and tag in found.tags:
        taken = errors.ConflictError(
            f'{target}: the version {tag} is there already. Give the release another name.'
        )
        return failed('repository', taken)
    if found.head is None and not found.tags:
        return Check('repository', 'ok', f'{target}: nothing is in it yet')
    return Check('repository', 'ok', f'{target}: there, with {output.count(len(found.tags), "tag")}')


def _quota(hub: Hub, target: Target, size: int) -> Iterator[Check]:
    """Ask whether so many bytes could be uploaded now; a Hub tells of its limits by refusing. Nothing is uploaded."""
    probe = Entry('preflight', os.urandom(32).hex(), max(size, 1), is_lfs=True)
    with TemporaryDirectory() as work:
        gitcmd.git('init', '-q', '--bare', '.', cwd=Path(work))
        server = LfsServer(target, Path(work), hub.git_environment())
        for answer in server.uploads([probe], ('basic', 'multipart')):
            refused: Any = answer.get('error')
            if isinstance(refused, dict):
                raise statuses.failure(_code(refused), str(target), said=str(refused.get('message', '')))
    yield Check('quota', 'ok', f'{target}: an upload of {output.human_size(size)} would be taken')


def _code(refused: dict[str, Any]) -> int:
    code = refused.get('code')
    return code if isinstance(code, int) and 400 <= code < 600 else 422


def _elsewhere(target: Target, wanted: Wanted) -> Iterator[Check]:
    """Yield what is found of a repository on a git host, in an archive or on this machine."""
    if target.archive:
        with clone.opened(target, wanted.home) as repository:
            found = repository.remote_refs()
        yield Check('remote', 'ok', f'{target.remote} is reachable')
        _require_writable_archive(target)
        yield Check('rights', 'ok', f'{target}: it can be written to')
        if wanted.is_named:
            yield _versions(target, found, wanted.tag)
        return
    if target.remote == 'local' and target.path is not None and not target.path.exists():
        yield Check('remote', 'ok', f'{wanted.home.hub} takes it')
        yield Check('repository', 'ok', f'{target}: the name is free; the first release creates it')
        return
    found = refs.ls_remote(target)
    yield Check('remote', 'ok', f'{target.url} is reachable')
    _require_writable(target)
    yield Check('rights', 'ok', f'{target}: a push is let in')
    if wanted.is_named:
        yield _versions(target, found, wanted.tag)


def _require_writable_archive(target: Target) -> None:
    """Raise unless an archive can be written to. Only a write tells of a bucket: a small object is made and removed."""
    if target.git_url.startswith('file://'):
        path = Path(unquote(urlsplit(target.git_url).path))
        there = next(parent for parent in (path, *path.parents) if parent.exists())
        if not os.access(there, os.W_OK):
            raise errors.AuthError(f'{target}: you may not write to {there}. Give yourself the right to.')
        return
    storage, name = storage_of(target), f'preflight-{os.urandom(8).hex()}'
    try:
        storage.create(name, b'hfmirror preflight\n')
        with suppress(errors.HfmirrorError):  # who may write need not be allowed to remove
            storage.remove(name)
    finally:
        storage.close()


def _require_writable(target: Target) -> None:
    """Raise unless the remote lets us push. It is asked to remove a branch that it does not have, as a dry run."""
    with TemporaryDirectory() as work:
        here = Path(work)
        gitcmd.git('init', '-q', '--bare', '.', cwd=here)
        try:
            gitcmd.git('push', '-q', '--dry-run', target.git_url, f':{_BRANCH}', cwd=here)
        except gitcmd.GitFailed as e:
            if not _NOT_THERE.search(e.stderr):
                raise gitcmd.meaning(e, str(target)) from e
    if target.path is not None and not os.access(target.path, os.W_OK):
        raise errors.AuthError(f'{target}: you may not write to {target.path}. Give yourself the right to.')
