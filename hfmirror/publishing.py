"""How is a folder published? On each of its targets one release; backed up before, and told about afterwards.

The command ``push``, ``HuggingFaceManager``, hooks and scripts all come through here.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import auth, backup, errors, gitcmd, notify, output, place, release
from hfmirror import folder as folders
from hfmirror.card.additions import NOTHING, Additions, configured
from hfmirror.compose import Request
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.gates.gate import Allowed
from hfmirror.hub import NO_TOKEN
from hfmirror.naming import Choice, tag_prefix
from hfmirror.outcome import Release, Unreleased
from hfmirror.place import Place
from hfmirror.rules import clean_path_in_repo
from hfmirror.statcache import CommandCache

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.target import Target

_EVERYTHING = ('**',)


class Publication(NamedTuple):
    """What is to be published, where to, and how. What is None or empty is as the configuration has it.

    ``item`` and ``experiment`` are what ``commit_message_template`` calls item_type and experiment_name.
    """

    folder: Path
    place: Place = Place()
    remotes: Sequence[str] = ()
    choice: Choice = Choice()
    path_in_repo: str | None = None
    message: str | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    keep: bool | None = None
    private: bool | None = None
    allow_secrets: bool = False
    allow_unsafe: bool = False
    item: str | None = None
    experiment: str | None = None
    additions: Additions = NOTHING


class Published(NamedTuple):
    """What came of a publication on each target, in the order they were named."""

    folder: folders.Folder
    releases: list[Release | Unreleased]


def publish(
    publication: Publication,
    config: Config,
    home: Home,
    *,
    token: Token | None = None,
    dry_run: bool = False,
) -> Published:
    """Release a folder on every target. Raises the error of the only one; of several, each has its own in the result.

    A release that has to wait for the network is no error: its status is queued.
    """
    targets = _targets(publication, config, home, token)
    gitcmd.require_tools()
    request = _request(publication, config)
    started = time.monotonic()
    try:
        if config.backs_up and not dry_run:
            backup.back_up(request.folder, targets[0], config)
        done = _release_all(request, targets, config, home, token=token, dry_run=dry_run)
    except errors.HfmirrorError as e:
        if not dry_run:
            notify.tell(config, [Unreleased(targets[0], e)], seconds=time.monotonic() - started)
        raise
    if not dry_run:
        notify.tell(config, done, seconds=time.monotonic() - started)
    return Published(request.folder, done)


def token_for(publication: Publication, config: Config, *, given: str | None = None) -> Token | None:
    """Return the token that a publication needs: ``given``, or the one that is found, where a Hub is among the remotes."""
    remotes = publication.remotes or config.remotes or ['hub']
    return auth.find_token(given, folder=publication.folder) if 'hub' in remotes else None


def _targets(publication: Publication, config: Config, home: Home, token: Token | None) -> list[Target]:
    targets = place.targets_of(
        publication.place, publication.remotes, config, home, folder=publication.folder, token=token
    )
    if token is None and all(target.endpoint is not None for target in targets):
        raise errors.AuthError(f'--remote hub: {NO_TOKEN}')
    return targets


def _request(publication: Publication, config: Config) -> Request:
    layout = config.layout
    folder = folders.walk(
        publication.folder,
        include=publication.include or layout.include,
        exclude=[*layout.exclude, *publication.exclude],
    )
    given = publication.path_in_repo
    return Request(
        folder,
        publication.choice,
        clean_path_in_repo(layout.path_in_repo if given is None else given),
        publication.message,
        layout.keep if publication.keep is None else publication.keep,
        tag_prefix(config),
        private=config.private if publication.private is None else publication.private,
        create=config.creates,
        allowed=Allowed(
            _EVERYTHING if publication.allow_secrets else tuple(config.gates.allow_secrets),
            _EVERYTHING if publication.allow_unsafe else tuple(config.gates.allow_unsafe),
        ),
        template=config.settings.commit_message_template,
        item=publication.item,
        experiment=publication.experiment,
        additions=publication.additions.over(configured(config)),
        tells_origin=config.sync.include_git_info,
    )


def _release_all(
    request: Request,
    targets: Sequence[Target],
    config: Config,
    home: Home,
    *,
    token: Token | None,
    dry_run: bool,
) -> list[Release | Unreleased]:
    done: dict[Target, Release | Unreleased] = {}
    with closing(CommandCache(home.cache / 'files.sqlite')) as cache:
        # Directories first: their objects are copied while they are hashed, and nothing is read for the others.
        for target in sorted(targets, key=lambda target: target.path is None):
            try:
                done[target] = release.push(
                    request, target, config, home, token=token, dry_run=dry_run, cache=cache
                )
            except errors.HfmirrorError as e:
                if len(targets) == 1:
                    raise
                output.error(str(e))
                done[target] = Unreleased(target, e)
    for target in targets:
        if not (dry_run or isinstance(done[target], Unreleased)):
            place.remember(target, home)
    return [done[target] for target in targets]
