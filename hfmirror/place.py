"""Which repository is meant? Options first, then the configuration, then what was pushed from this directory."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import auth, durable, errors, gitcmd, output
from hfmirror import target as targets
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.hub import NO_TOKEN, Hub
from hfmirror.target import Target

_NAME_LASTS_S = 24 * 3600


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
    name = targets.slugify(os.path.basename(os.path.abspath(folder)))
    made = [_target(place, remote, config, home, token=token, default_name=name) for remote in chosen]
    made = list(dict.fromkeys(made))  # one address may be written in several ways
    known = _known(home)
    for target in made:
        if target.remote == 'hub' and target not in known and target.repo_id != target.repo_id.lower():
            output.say(
                f'{target.repo_id}: upper case letters are part of the name on the Hub; most names there have none'
            )
    return made


def target_of(
    place: Place, remote: str | None, config: Config, home: Home, *, token: Token | None = None
) -> Target:
    """Return the repository that a command without a folder is about.

    1. ``--repo``, or the configuration's
    2. a git URL as ``--remote``; of an archive, which has many, only the place is named by that
    3. the last one that was pushed from this directory
    4. the only one that was ever pushed

    Raises UsageError when none of these says which.
    """
    _refuse_empty(place, [remote] if remote is not None else [])
    if _is_named(place, remote, config):
        chosen = remote or next(iter(config.remotes), None) or _default_remote(token)
        return _target(place, chosen, config, home, token=token)
    found = remembered(place, remote, config, home)
    if found is not None:
        return found
    names = ', '.join(
        sorted({target.repo_id for target in _known(home) if remote in (None, target.remote)})[:10]
    )
    raise errors.UsageError(
        'which repository? Nothing was pushed from this directory. Name one with --repo NAMESPACE/NAME'
        + (f': {names}.' if names else '.')
    )


def remembered(place: Place, remote: str | None, config: Config, home: Home) -> Target | None:
    """Return the repository that is meant because it was pushed before; None when it is named, or none is meant."""
    if _is_named(place, remote, config):
        return None
    remote = remote and (targets.archive_address(remote) or remote)
    known = {target for target in _known(home) if remote in (None, target.remote)}
    here = _recent(home).get(str(Path.cwd()))
    if here in known:
        return here
    return known.pop() if len(known) == 1 else None


def _is_named(place: Place, remote: str | None, config: Config) -> bool:
    return bool(
        place.repo or config.repository.model_name or (remote is not None and _is_one_repository(remote))
    )


def _is_one_repository(remote: str) -> bool:
    """Return whether a remote is the address of a repository, and not a place that has many of them."""
    return remote not in ('hub', 'local') and targets.archive_address(remote) is None


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
    recent = {**_recent(home), str(Path.cwd()): target}
    rows = {cwd: known._asdict() for cwd, known in recent.items()}
    durable.write(_memory(home), json.dumps(rows, indent=1).encode())


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
    repo_id = _repo_id(place, remote, config, home, token=token, default_name=default_name)
    if remote == 'hub':
        endpoint = token.endpoint if token else auth.endpoint()
        return targets.hub(endpoint, repo_id, repo_type=place.repo_type, branch=branch)
    if remote == 'local':
        return targets.local(home.hub, repo_id, repo_type=place.repo_type, branch=branch)
    root = targets.archive_address(remote)
    if root is not None:
        return targets.archived(root, repo_id, repo_type=place.repo_type, branch=branch)
    return targets.at_url(remote, repo_id, repo_type=place.repo_type, branch=branch)


def _repo_id(
    place: Place,
    remote: str,
    config: Config,
    home: Home,
    *,
    token: Token | None,
    default_name: str | None,
) -> str:
    """Return the name that was given, else the configured one, else that of the URL or of the folder."""
    name = place.repo or config.repository.model_name
    if name is None and _is_one_repository(remote):
        return targets.repo_id_of_url(remote)
    if name is None:
        return f'{namespace(remote, config, home, token=token)}/{default_name or "model"}'
    if place.repo is None and '/' not in name:
        mine = namespace(remote, config, home, token=token)
        name = _named(config.repository.model_repo_template, mine, name)
    targets.check_repo_id(name, owner=owner(config, token, home) if '/' not in name else None)
    return name


def config_repo(config: Config, model: Target) -> str:
    """Return the repository for configurations and results of the runs that made ``model``: a neighbour of it."""
    mine, _, name = model.repo_id.partition('/')
    return _named(config.repository.config_repo_template, mine, name)


def _named(template: str, username: str, model_name: str) -> str:
    return template.replace('{username}', username).replace('{model_name}', model_name)


def namespace(remote: str, config: Config, home: Home, *, token: Token | None) -> str:
    """Return the namespace of a name without one: that of the person, as far as ``remote`` knows persons.

    Only a Hub is asked, once a day, for the owner of a token whose name is not configured; what nobody knows is called
    ``local`` in the local Hub and in an archive, and is what the address has on a git host. Raises AuthError for a Hub without a token.
    """
    if remote == 'hub':
        return _on_hub(config, token, home)
    if remote == 'local' or not _is_one_repository(remote):
        return targets.slugify(config.user.username or 'local')
    return owner(config, token, home) or targets.repo_id_of_url(remote).partition('/')[0]


def needs_asking(place: Place, config: Config, home: Home, *, token: Token | None) -> bool:
    """Return whether a Hub has to be asked whose token it is, to know which repository on it is meant."""
    is_whole = bool(place.repo) or '/' in (config.repository.model_name or '')
    return not is_whole and owner(config, token, home) is None


def _on_hub(config: Config, token: Token | None, home: Home) -> str:
    known = owner(config, token, home)
    if known is not None and (token is None or config.user.username or _asked_lately(token, home)):
        return known
    if token is None:
        raise errors.AuthError(f'--remote hub: {NO_TOKEN}')
    try:
        name = targets.slugify(str(Hub(token.endpoint, token).whoami()['name']))
    except errors.NetworkError as e:
        if known is not None:
            return known
        raise errors.NetworkError(
            f'{e} It was asked whose token it is. Name the repository with --repo, or yourself with HF_USERNAME; '
            'then the release can wait until the Hub is there.',
            e.retry_after_s,
        ) from e
    names = {**_read(_names(home)), _mark(token): {'name': name, 'asked': int(time.time())}}
    durable.write(_names(home), json.dumps(names).encode())
    return name


def owner(config: Config, token: Token | None, home: Home) -> str | None:
    """Return the person's namespace without asking anyone: the configured user, or what the Hub once said of the token."""
    named = config.user.username
    if not named and token is not None:
        named = _told(token, home).get('name')
    return targets.slugify(named) if isinstance(named, str) and named else None


def _asked_lately(token: Token, home: Home) -> bool:
    """Return whether what the Hub said of the token still counts: who is renamed has the old name no more."""
    asked = _told(token, home).get('asked')
    return isinstance(asked, int) and 0 <= time.time() - asked < _NAME_LASTS_S


def _told(token: Token, home: Home) -> dict[str, Any]:
    found = _read(_names(home)).get(_mark(token))
    return found if isinstance(found, dict) else {}


def _names(home: Home) -> Path:
    return home.cache / 'names.json'


def _mark(token: Token) -> str:
    return hashlib.sha256(f'{token.endpoint}\0{token.value}'.encode()).hexdigest()[:24]


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


def _recent(home: Home) -> dict[str, Target]:
    """Return {working directory: what was last pushed from it}."""
    return {
        cwd: Target(**fields)
        for cwd, fields in _read(_memory(home)).items()
        if isinstance(fields, dict)
        and set(fields) == set(Target._fields)
        and all(isinstance(value, str) for value in fields.values())
    }


def _known(home: Home) -> set[Target]:
    return set(_recent(home).values())


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text('utf-8'))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
