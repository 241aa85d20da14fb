"""How do feature sets get to a repository? All in one release, beside what is there already, and looked at afterwards."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypedDict, Unpack

from hfmirror import auth, errors, hub, output, place
from hfmirror.clone import opened
from hfmirror.config.loading import load_config
from hfmirror.config.places import Home, home
from hfmirror.features import console, featureset
from hfmirror.features.featureset import FeatureSet
from hfmirror.features.gathering import Gathered, gathered
from hfmirror.features.summary import Upload, Uploaded, Verification, not_uploaded
from hfmirror.gates import limits
from hfmirror.gates.gate import require_clean
from hfmirror.naming import Choice
from hfmirror.objects import objects_of
from hfmirror.outcome import Release, Unreleased
from hfmirror.place import Place
from hfmirror.publishing import NO_TOKEN, Publication, publish, without_token
from hfmirror.rules import in_repo

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.config.config import Config

_NAME = 'features'  # of a repository that nobody has named


class Options(TypedDict, total=False):
    """The options of ``upload_many``, for ``upload_features``, which has the same."""

    repo: str | None
    remote: str | None
    tag: str | None
    message: str | None
    private: bool | None
    token: str | None
    config_file: Path | None
    tell: console.Tell


class _Way(NamedTuple):
    """Where an upload goes. ``diverted``: to the local Hub, because there is no token for the one that was meant."""

    remotes: Sequence[str]
    token: Token | None
    diverted: bool


def upload_features(symbol: str, timeframe: str, folder: Path | str, **options: Unpack[Options]) -> Upload:
    """Upload the features of one symbol and timeframe; see ``upload_many``."""
    return upload_many([FeatureSet(symbol, timeframe, Path(folder))], **options)[0]


def upload_many(
    sets: Sequence[FeatureSet],
    *,
    repo: str | None = None,
    remote: str | None = None,
    tag: str | None = None,
    message: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    config_file: Path | None = None,
    tell: console.Tell = output.data,
) -> list[Upload]:
    """Upload feature sets as one release of a data set's repository, and return what came of each.

    ``remote`` is hub, local or a git URL, ``tag`` the version, ``config_file`` counts instead of ``config.yaml``, and
    ``tell`` gets the lines for a person. What is None is as the configuration has it. Other files of the repository stay.
    Without a token for the Hub that is configured the release is kept in the local Hub, and when the network fails it
    waits to be sent; neither is an error, and neither is a ``success``.
    Raises AuthError when ``remote`` is hub and there is no token, SourceError when a file of a set is missing, GateError
    before anything is sent, and as ``publish`` does.
    """
    featureset.check(sets)
    config, homes = load_config(config_file), home()
    way = _way(remote, config, token, sets[0].folder)
    with gathered(sets, homes, exclude=config.layout.exclude) as source:
        require_clean(limits.check(source.sizes()).findings)  # before the first byte is read
        publication = Publication(
            source.folder,
            Place(repo or _repo(way, config, homes), 'dataset'),
            way.remotes,
            Choice('tag', tag) if tag else Choice(),
            path_in_repo=source.path_in_repo,
            message=message,
            include=source.include,
            keep=True,
            private=private,
        )
        if way.diverted:
            tell(f'{NO_TOKEN}\n{console.SKIPPED}')
        else:
            console.begin(tell, sets[0])
        releases = _publish(publication, config, homes, token=way.token, tell=tell)
    if way.diverted:
        kept = _kept(tell, releases)
        return [not_uploaded(one, kept) for one in sets]
    return _told(tell, sets, source, releases, _present(source, releases, homes, way.token))


def _way(remote: str | None, config: Config, token: str | None, folder: Path) -> _Way:
    """Return where an upload goes. The release of somebody without a token is not lost: the local Hub gets it.

    Who asks for the Hub by name wants that one: raises AuthError without a token.
    """
    remotes = [remote] if remote else config.remotes or ['hub']
    if 'hub' not in remotes:
        return _Way(remotes, None, False)
    found = auth.find_token(token, folder=folder)
    if found is not None:
        return _Way(remotes, found, False)
    if remote:
        raise errors.AuthError(f'--remote hub: {hub.NO_TOKEN}')
    return _Way(without_token(remotes), None, True)


def _repo(way: _Way, config: Config, homes: Home) -> str | None:
    """Return the repository of an upload that names none; None where git URLs alone say which.

    What a push would call it is the name of the folder, which is that of a timeframe, or of links.
    """
    hubs = [remote for remote in way.remotes if remote in ('hub', 'local')]
    if not hubs:
        return None
    unnamed = Place(None, 'dataset')
    # One name for all of them: where the Hub is among them, one that it takes.
    (target,) = place.targets_of(
        unnamed, sorted(hubs)[:1], config, homes, folder=Path(_NAME), token=way.token
    )
    return target.repo_id


def _publish(
    publication: Publication, config: Config, homes: Home, *, token: Token | None, tell: console.Tell
) -> Sequence[Release]:
    """Release what was gathered; returns what came of it on each remote. Raises the error of the first that failed."""
    try:
        done = publish(publication, config, homes, token=token).releases
        for one in done:
            if isinstance(one, Unreleased):
                raise one.error
    except errors.AuthError:
        tell(console.NOT_LET_IN)
        raise
    except errors.NetworkError:
        tell(console.TIMEOUT)
        raise
    return [one for one in done if isinstance(one, Release)]


def _kept(tell: console.Tell, releases: Sequence[Release]) -> str:
    """Tell that a release is in the local Hub instead; returns the sentence about it."""
    kept = next(release for release in releases if release.target.remote == 'local')
    name = kept.version or str(kept.commit)[:10]
    message = (
        f'Not uploaded: no token. {kept.target.repo_id} {name} is kept in the local Hub: {kept.target.url}'
    )
    tell(f"{message}. To upload it, set HF_TOKEN or run 'hf auth login', and run this again.")
    return message


def _uploaded(one: FeatureSet, source: Gathered) -> list[Uploaded]:
    return [
        Uploaded(file.path.rpartition('/')[2], file.stat.st_size, in_repo(file.path, source.path_in_repo))
        for file in source.files[one]
    ]


def _told(
    tell: console.Tell,
    sets: Sequence[FeatureSet],
    source: Gathered,
    releases: Sequence[Release],
    present: Sequence[Mapping[str, int]] | None,
) -> list[Upload]:
    """Tell what became of each feature set; returns that. ``present`` is as of ``_present``."""
    uploads: list[Upload] = []
    for one in sets:
        if uploads:
            tell('')
            console.begin(tell, one)
        waiting = _waiting(releases)
        if waiting is not None:
            uploads.append(_waits(tell, one, _uploaded(one, source), waiting))
        else:
            uploads.append(_is_there(tell, one, _uploaded(one, source), present))
    return uploads


def _waiting(releases: Sequence[Release]) -> Release | None:
    return next((release for release in releases if release.status == 'queued'), None)


def _waits(tell: console.Tell, one: FeatureSet, files: Sequence[Uploaded], waiting: Release) -> Upload:
    console.files(tell, files, 'WAITING')
    tell(f'\n{console.TIMEOUT}\n{waiting.note}')
    return not_uploaded(one, f'{console.TIMEOUT} The release waits to be sent.', waits=True)


def _is_there(
    tell: console.Tell,
    one: FeatureSet,
    files: Sequence[Uploaded],
    present: Sequence[Mapping[str, int]] | None,
) -> Upload:
    status = {}
    if present is not None:
        status = {
            file.filename: all(there.get(file.remote_path) == file.size for there in present)
            for file in files
        }
    verification = Verification(bool(status) and all(status.values()), status)
    message = console.succeeded(files)
    console.files(tell, files, 'OK')
    console.end(tell, one, message, verification)
    success = verification.all_present or present is None  # the release was proven when it was sent
    return Upload(one.symbol, one.timeframe, success, message, files, one.remote_dir, verification)


def _present(
    source: Gathered, releases: Sequence[Release], homes: Home, token: Token | None
) -> list[Mapping[str, int]] | None:
    """Ask every remote anew for the files that it was sent; returns {path: bytes} of what each has.

    None when a release waits, or a remote cannot be asked any more.
    """
    if _waiting(releases):
        return None
    paths = source.sizes().keys()
    try:
        return [_there(release, paths, homes, token) for release in releases]
    except errors.HfmirrorError as e:  # whatever it is: the release was proven when it was sent
        output.warn(str(e))
        return None


def _there(release: Release, paths: Collection[str], homes: Home, token: Token | None) -> dict[str, int]:
    """Return what a remote has of ``paths``: large files whose object it confirms; on a Hub, all that it lists as well."""
    assert release.commit is not None
    with opened(release.target, homes, token) as repository:
        tree = repository.tree(release.commit)
        ours = {path: tree[path] for path in paths if path in tree}
        missing = {entry.path for entry in objects_of(repository).missing(ours.values())}
        listed = repository.listed(release.version or release.commit, release.commit)
    return {
        path: entry.size
        for path, entry in ours.items()
        if path not in missing and (listed is None or listed.get(path) == entry)
    }
