"""Which repository is meant? Options first, then the configuration, then what was pushed from this directory."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import auth, durable, errors, gitcmd, output
from hfmirror import target as targets
from hfmirror.config import Config, Home, username
from hfmirror.target import Target

HUB_NOT_YET = (
    'hub: pushing to the Hugging Face Hub itself is not part of this version yet. Use --remote local for the local Hub '
    '(its repositories can be sent on later), or --remote with the URL of any git+LFS host.'
)


class Place(NamedTuple):
    """The options that name a repository, as they were given."""

    repo: str | None = None
    repo_type: str = 'model'
    branch: str | None = None


def targets_of(
    place: Place, remotes: Sequence[str], config: Config, home: Home, *, folder: Path
) -> list[Target]:
    """Return where a push of ``folder`` goes. Raises UsageError for a name that cannot be."""
    _refuse_empty(place, remotes)
    chosen = list(dict.fromkeys(remotes or config.remotes or [_default_remote()]))
    return [
        _target(place, remote, config, home, default_name=targets.slugify(folder.absolute().name))
        for remote in chosen
    ]


def target_of(place: Place, remote: str | None, config: Config, home: Home) -> Target:
    """Return the repository that a command without a folder is about.

    1. ``--repo``, or the configuration's
    2. a git URL as ``--remote``
    3. the last one that was pushed from this directory
    4. the only one that was ever pushed

    Raises UsageError when none of these says which.
    """
    _refuse_empty(place, [remote] if remote is not None else [])
    if place.repo or config.repository.model_name or (remote and remote not in ('hub', 'local')):
        return _target(place, remote or next(iter(config.remotes), None) or _default_remote(), config, home)
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
    place: Place, remote: str, config: Config, home: Home, *, default_name: str | None = None
) -> Target:
    branch = place.branch or config.settings.default_branch
    if branch != 'main' and not gitcmd.succeeds('check-ref-format', f'refs/heads/{branch}'):
        raise errors.UsageError(
            f'--branch {branch}: git allows no such name. Use letters, digits, ., _, / and -.'
        )
    if remote == 'hub':
        raise errors.UsageError(HUB_NOT_YET)
    repo_id = place.repo or config.repository.model_name
    if repo_id is not None:
        targets.check_repo_id(repo_id)
    if remote == 'local':
        repo_id = repo_id or f'{targets.slugify(username() or "local")}/{default_name or "model"}'
        targets.check_repo_id(repo_id)
        return targets.local(home.hub, repo_id, repo_type=place.repo_type, branch=branch)
    return targets.at_url(
        remote, repo_id or targets.repo_id_of_url(remote), repo_type=place.repo_type, branch=branch
    )


def _default_remote() -> str:
    if auth.find_token() is not None:
        return 'hub'
    output.say(
        'no Hugging Face token found: using the local Hub on this machine (--remote local). '
        "To publish later, log in with 'hf auth login' and push the folder again."
    )
    return 'local'


def _memory(home: Home) -> Path:
    return home.outbox.parent / 'recent.json'


def _recent(home: Home) -> dict[str, dict[str, str]]:
    try:
        found = json.loads(_memory(home).read_text('utf-8'))
        return {cwd: fields for cwd, fields in found.items() if set(fields) == set(Target._fields)}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
