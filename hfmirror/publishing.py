"""How is a folder published? On each of its targets one release; backed up before, and told about afterwards.

The command ``push``, ``HuggingFaceManager``, hooks and scripts all come through here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import auth, backup, errors, gitcmd, hub, lately, notify, output, place, release
from hfmirror import folder as folders
from hfmirror.card.additions import NOTHING, Additions, configured
from hfmirror.compose import Request
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.gates.gate import Allowed
from hfmirror.naming import Choice, tag_prefix
from hfmirror.origin import Origin
from hfmirror.outcome import Release, Unreleased
from hfmirror.place import Place
from hfmirror.rules import clean_path_in_repo
from hfmirror.statcache import CommandCache

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.target import Target

_EVERYTHING = ('**',)

NO_TOKEN = 'WARNING: HF_TOKEN not found in environment variables.'  # the words of the guides


class Publication(NamedTuple):
    """What is to be published, where to, and how. What is None or empty is as the configuration has it.

    ``item`` and ``experiment`` are what ``commit_message_template`` calls item_type and experiment_name. ``source`` is the
    folder that a person knows it by, where ``folder`` was composed of it. ``code`` is in the repository whose commit is told
    as the one that made it, where the folder is not; ``origin`` is that commit itself, where it is known.
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
    source: Path | None = None
    code: Path | None = None
    origin: Origin | None = None


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
    targets = targets_of(publication, config, home, token=token)
    started, arrived = time.monotonic(), list[Release]()

    def tell(done: Sequence[Release | Unreleased]) -> None:
        if not dry_run:
            news = [*arrived, *(one for one in done if not _is_among(one, arrived))]
            notify.tell(config, news, seconds=time.monotonic() - started)

    try:
        _require_usable(targets, token)
        request = _request(publication, config)
        with _backed_up(request.folder, targets[0], config, dry_run=dry_run) as came:
            came += _release_all(
                request, targets, config, home, token=token, dry_run=dry_run, arrived=arrived
            )
    except errors.HfmirrorError as e:
        tell([Unreleased(target, e) for target in targets])
        raise
    if not dry_run:
        made = [one for one in came if isinstance(one, Release)]
        lately.note(publication.source or publication.folder, made, home, now_s=time.time())
    tell(came)
    return Published(request.folder, came)


def targets_of(
    publication: Publication, config: Config, home: Home, *, token: Token | None = None
) -> list[Target]:
    """Return where a publication goes. A single file is named without its ending. Raises UsageError for a name that cannot be."""
    source = publication.source or publication.folder
    named = source.with_name(source.stem) if source.is_file() else source
    return place.targets_of(publication.place, publication.remotes, config, home, folder=named, token=token)


def _require_usable(targets: Sequence[Target], token: Token | None) -> None:
    """Raise what keeps every target from getting a release, before the folder is read."""
    gitcmd.require_tools()
    if token is None and all(target.endpoint is not None for target in targets):
        raise errors.AuthError(f'--remote hub: {hub.NO_TOKEN}')


def _is_among(done: Release | Unreleased, arrived: Sequence[Release]) -> bool:
    """Return whether what was found to be there is what waited: it is told once, as what it was."""
    return isinstance(done, Release) and any(
        (one.target, one.commit) == (done.target, done.commit) for one in arrived
    )


@contextmanager
def _backed_up(
    folder: folders.Folder, target: Target, config: Config, *, dry_run: bool
) -> Iterator[list[Release | Unreleased]]:
    """Keep a backup of what is released meanwhile; the list that this yields gets what came of it."""
    came: list[Release | Unreleased] = []
    if dry_run or not config.backs_up:
        yield came
        return
    made = backup.back_up(folder, target, config)
    try:
        yield came
    except errors.HfmirrorError:
        backup.settle(made, folder, config, released=False)
        raise
    backup.settle(made, folder, config, released=any(isinstance(one, Release) for one in came))


def token_for(publication: Publication, config: Config, *, given: str | None = None) -> Token | None:
    """Return the token that a publication needs: ``given``, or the one that is found, where a Hub is among the remotes."""
    return auth.find_token(given, folder=publication.folder) if goes_to_hub(publication, config) else None


def goes_to_hub(publication: Publication, config: Config) -> bool:
    """Return whether a Hub is among the remotes, or may become the only one."""
    return 'hub' in (publication.remotes or config.remotes or ['hub'])


def without_token(remotes: Sequence[str]) -> list[str]:
    """Return where a release goes when there is no token for the Hub that is configured: the local Hub takes its place.

    Only for a release that follows a training, which must not be lost; who names the Hub by hand gets an AuthError.
    """
    return list(dict.fromkeys('local' if remote == 'hub' else remote for remote in remotes))


def _request(publication: Publication, config: Config) -> Request:
    layout, ours, folder = config.layout, configured(config), files_of(publication, config)
    given, keeps = publication.path_in_repo, layout.keep or folder.file is not None
    return Request(
        folder,
        publication.choice,
        clean_path_in_repo(layout.path_in_repo if given is None else given),
        publication.message,
        keeps if publication.keep is None else publication.keep,
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
        additions=publication.additions.over(ours),
        configured=ours.mark,
        tells_origin=config.sync.include_git_info,
        source=publication.source or folder.file,
        code=publication.code or (folder.file.parent if folder.file else None),
        origin=publication.origin,
    )


def files_of(publication: Publication, config: Config) -> folders.Folder:
    """Return the files to be released: those of the folder that are chosen, or the single file that was named.

    Raises as ``folder.walk`` and ``folder.alone`` do.
    """
    layout, named = config.layout, publication.folder
    if not named.is_file():
        return folders.walk(
            named,
            include=publication.include or layout.include,
            exclude=[*layout.exclude, *publication.exclude],
        )
    if publication.include or publication.exclude:
        raise errors.UsageError(
            f'{named}: a file; --include and --exclude choose among the files of a folder. Leave them out, or name the folder.'
        )
    return folders.alone(named)


def _release_all(
    request: Request,
    targets: Sequence[Target],
    config: Config,
    home: Home,
    *,
    token: Token | None,
    dry_run: bool,
    arrived: list[Release],
) -> list[Release | Unreleased]:
    done: dict[Target, Release | Unreleased] = {}
    with closing(CommandCache(home.cache / 'files.sqlite')) as cache:
        # Directories first: their objects are copied while they are hashed, and nothing is read for the others.
        for target in sorted(targets, key=lambda target: target.path is None):
            try:
                done[target] = release.push(
                    request,
                    target,
                    config,
                    home,
                    token=token,
                    dry_run=dry_run,
                    cache=cache,
                    arrived=arrived,
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
