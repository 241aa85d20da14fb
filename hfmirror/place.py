"""Which repository is meant? Options first, then the configuration, then what was pushed from this directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import auth, durable, errors, gitcmd, output
from hfmirror import target as targets
from hfmirror.auth import Token
from hfmirror.config import Config, Home
from hfmirror.hub import NO_TOKEN, Hub
from hfmirror.target import Target


class Place(NamedTuple):
    """The options that name a repository, as they were given."""

    repo: str | None = None
    repo_type: str = 'model'
    branch: str | None = None


def targets_of(
    place: Place,
    remotes: Sequence[str],
    config: Config,
    home: Home,
    *,
    folder: Path,
    token: Token | None = None,
) -> list[Target]:
    """Return where a push of ``folder`` goes. Raises UsageError for a name that cannot be."""
    _refuse_empty(place, remotes)
    chosen = list(dict.fromkeys(remotes or config.remotes or [_default_remote(token)]))
    name = targets.slugify(folder.absolute().name)
    made = [_target(place, remote, config, home, token=token, default_name=name) for remote in chosen]
    if any(target.remote == 'hub' and target.repo_id != target.repo_id.lower() for target in made):
        output.detail('the name has upper case letters, which the Hub keeps; most names there are lower case')
    return made


def target_of(
    place: Place, remote: str | None, config: Config, home: Home, *, token: Token | None = None
) -> Target:
    """Return the repository that a command without a folder is about.

    1. ``--repo``, or the configuration's
    2. a git URL as ``--remote``
    3. the last one that was pushed from this directory
    4. the only one that was ever pushed

    Raises UsageError when none of these says which.
    """
    _refuse_empty(place, [remote] if remote is not None else [])
    if place.repo or config.repository.model_name or (remote and remote not in ('hub', 'local')):
        chosen = remote or next(iter(config.remotes), None) or _default_remote(token)
        return _target(place, chosen, config, home, token=token)
    recent = _recent(home)
    known = {Target(**fields) for fields in recent.values()}
    known = {target for target in known if remote is None or target.remote == remote}
    here = recent.get(str(Path.cwd()))
    if here and Target(**here) in known:
        return Target(**here)
    if len(known) == 1:
        return known.pop()
    names = ', '.join(sorted({target.repo_id for target in known})[:10])
    raise errors.UsageError(
        'which repository? Nothing was pushed from this directory. Name one with --repo NAMESPACE/NAME'
        + (f': {names}.' if names else '.')
    )


def _refuse_empty(place: Place, remotes: Sequence[str]) -> None:
    """An empty value is a variable that a script has not set, not a wish for the default."""
    given = [
        ('--repo', place.repo),
        ('--branch', place.branch),
        *(('--remote', remote) for remote in remotes),
    ]
    for option, value in given:
        if value == '':
            raise errors.UsageError(f'{option}: the value is empty. Give one, or leave the option out.')


def remember(target: Target, home: Home) -> None:
    """Keep in mind that ``target`` was pushed from the working directory."""
    recent = {**_recent(home), str(Path.cwd()): target._asdict()}
    durable.write(_memory(home), json.dumps(recent, indent=1).encode())


def _target(
    place: Place,
    remote: str,
    config: Config,
    home: Home,
    *,
    token: Token | None,
    default_name: str | None = None,
) -> Target:
    branch = place.branch or config.settings.default_branch
    if branch != 'main' and not gitcmd.succeeds('check-ref-format', f'refs/heads/{branch}'):
        raise errors.UsageError(
            f'--branch {branch}: git allows no such name. Use letters, digits, ., _, / and -.'
        )
    repo_id = place.repo or config.repository.model_name
    if repo_id is not None:
        targets.check_repo_id(repo_id)
    if remote == 'hub':
        repo_id = repo_id or f'{_namespace(token, home)}/{default_name or "model"}'
        endpoint = token.endpoint if token else auth.endpoint()
        return targets.hub(endpoint, repo_id, repo_type=place.repo_type, branch=branch)
    if remote == 'local':
        repo_id = repo_id or f'{targets.slugify(auth.username() or "local")}/{default_name or "model"}'
        targets.check_repo_id(repo_id)
        return targets.local(home.hub, repo_id, repo_type=place.repo_type, branch=branch)
    return targets.at_url(
        remote, repo_id or targets.repo_id_of_url(remote), repo_type=place.repo_type, branch=branch
    )


def _namespace(token: Token | None, home: Home) -> str:
    """Return the namespace of a person who names none: ``HF_USERNAME``, or the name that the Hub knows the token by."""
    named = auth.username()
    if named:
        return targets.slugify(named)
    if token is None:
        raise errors.AuthError(f'--remote hub: {NO_TOKEN}')
    hub = Hub(token.endpoint, token)
    known = home.cache / 'names.json'
    mark = hashlib.sha256(f'{hub.endpoint}\0{token.value}'.encode()).hexdigest()[:24]
    names = _read(known)
    if mark not in names:
        names = {**names, mark: str(hub.whoami()['name'])}
        durable.write(known, json.dumps(names).encode())
    return str(names[mark])


def _default_remote(token: Token | None) -> str:
    if token is not None:
        return 'hub'
    output.say(
        'no Hugging Face token found: using the local Hub on this machine (--remote local). '
        "To publish later, log in with 'hf auth login' and push the folder again."
    )
    return 'local'


def _memory(home: Home) -> Path:
    return home.outbox.parent / 'recent.json'


def _recent(home: Home) -> dict[str, dict[str, str]]:
    found = _read(_memory(home))
    return {
        cwd: fields
        for cwd, fields in found.items()
        if isinstance(fields, dict) and set(fields) == set(Target._fields)
    }


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
