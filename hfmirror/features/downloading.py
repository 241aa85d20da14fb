"""How do features come back from a repository? Into huggingface_hub's cache, and from there into memory.

In the cache they are where ``hf_hub_download`` of the same files looks for them, with or without a network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hfmirror import auth, errors, gitcmd, hubcache, output, place, pulling, underway
from hfmirror.clone import Clone, opened
from hfmirror.config.loading import load_config
from hfmirror.config.places import home
from hfmirror.features import featureset, loading
from hfmirror.features.loading import Features
from hfmirror.hubcache import HubCache
from hfmirror.naming import tag_prefix
from hfmirror.place import Place
from hfmirror.pulling import Found
from hfmirror.target import Target

_SHOWN = 20


class HFFeatureDownloader:
    """Downloads features from the repository of a data set: ``repo_id``, else the configured one, or the last one pushed here.

    ``remote`` is hub, local or a git URL. Without it and without a token it is the local Hub when that has the repository,
    as after an upload without a token, and else the Hub, where what is public needs none.
    ``cache_dir`` is the cache to use when it is not huggingface_hub's own; ``config_file`` counts instead of ``config.yaml``.
    """

    def __init__(
        self,
        repo_id: str | None = None,
        token: str | None = None,
        *,
        remote: str | None = None,
        cache_dir: str | None = None,
        config_file: Path | None = None,
    ) -> None:
        self._config, self._home = load_config(config_file), home()
        given = remote or next(iter(self._config.remotes), None)
        self._token = auth.find_token(token) if given in (None, 'hub') else None
        self.target = self._target(Place(repo_id, 'dataset'), given)
        self._cache_dir = cache_dir or self._config.settings.download.cache_dir

    def _target(self, named: Place, remote: str | None) -> Target:
        has_name = named.repo or self._config.repository.model_name
        if has_name and remote is None and self._token is None:
            here = place.target_of(named, 'local', self._config, self._home)
            remote = 'local' if here.path and here.path.exists() else 'hub'
        target = place.target_of(named, remote, self._config, self._home, token=self._token)
        if target.repo_type != 'dataset':
            raise errors.UsageError(
                f'{target}: a {target.repo_type}, and features are in a dataset. Name that with repo_id, or in config.yaml '
                'under huggingface: repository: model_name.'
            )
        return target

    def download_training_features(
        self,
        symbol: str,
        timeframes: Sequence[str],
        *,
        revision: str | None = None,
        mmap: bool = False,
        allow_pickle: bool = False,
    ) -> dict[str, Features]:
        """Return {timeframe: its features}; only files that are not in the cache yet are fetched.

        ``revision`` is a version or ``latest``; without it, what the branch has now. With ``mmap`` the arrays stay on disk.
        The scaler is a pickle, and None unless ``allow_pickle``; it may then import scalers and nothing else.
        Raises NotFoundError when the repository does not have them, and as ``loading.load`` does.
        """
        wanted = [timeframes] if isinstance(timeframes, str) else list(timeframes)
        featureset.check_name('symbol', symbol)
        for timeframe in wanted:
            featureset.check_name('timeframe', timeframe)
        gitcmd.require_tools()
        loading.require_numpy()
        cache = hubcache.cache_of(self.target, self._cache_dir)
        try:
            snapshot = self._fetch(cache, symbol, wanted, revision)
        except errors.NetworkError as e:
            snapshot = self._fetched_before(cache, symbol, wanted, revision, e)
        folder = snapshot / featureset.ROOT / symbol
        return {
            timeframe: loading.load(folder / timeframe, timeframe, mmap=mmap, allow_pickle=allow_pickle)
            for timeframe in wanted
        }

    def _fetch(self, cache: HubCache, symbol: str, timeframes: Sequence[str], revision: str | None) -> Path:
        """Have the files in the cache; returns the folder that is the version there."""
        with opened(self.target, self._home, self._token) as repository:
            found = self._found(repository, revision)
            paths = [
                path for timeframe in timeframes for path in _paths(found, symbol, timeframe, self.target)
            ]
            # One by one: beside them are models, which nobody has asked for.
            for path in paths:
                part = found._replace(path=path, tree={path: found.tree[path]})
                hubcache.pull(repository, part, cache, nearby={}, retry=underway.retry_of(self._config))
        return cache.snapshot(found.commit)

    def _found(self, repository: Clone, revision: str | None) -> Found:
        if revision is not None:
            return pulling.find(repository, revision, prefix=tag_prefix(self._config))
        branch = self.target.branch
        commit = repository.remote_refs().head
        if commit is None:
            raise errors.NotFoundError(f'{self.target}: nothing in it. Upload features first.')
        repository.fetch(commit, f'refs/heads/{branch}')
        return Found(branch, commit, '', repository.tree(commit), is_head=True)

    def _fetched_before(
        self,
        cache: HubCache,
        symbol: str,
        timeframes: Sequence[str],
        revision: str | None,
        failure: errors.NetworkError,
    ) -> Path:
        """Return the version in the cache when it has all that is asked for. Raises ``failure`` when it has not."""
        if revision == 'latest':
            raise failure  # nobody here knows which one that is
        try:
            commit = (cache.home / 'refs' / (revision or self.target.branch)).read_text('utf-8').strip()
        except (OSError, UnicodeDecodeError):
            raise failure from None
        if not re.fullmatch('[0-9a-f]{40,64}', commit):
            raise failure
        snapshot = cache.snapshot(commit)
        names = [
            f'{featureset.remote_dir(symbol, timeframe)}/{name}'
            for timeframe in timeframes
            for name in featureset.names_of(timeframe)
        ]
        if not all((snapshot / name).is_file() for name in names):
            raise failure
        output.say(f'{failure} Using what was downloaded before.')
        return snapshot


def download_training_features(
    symbol: str,
    timeframes: Sequence[str],
    *,
    repo_id: str | None = None,
    token: str | None = None,
    remote: str | None = None,
    revision: str | None = None,
    mmap: bool = False,
    allow_pickle: bool = False,
) -> dict[str, Features]:
    """Return {timeframe: its features}: what ``HFFeatureDownloader`` does, in one call."""
    downloader = HFFeatureDownloader(repo_id, token, remote=remote)
    return downloader.download_training_features(
        symbol, timeframes, revision=revision, mmap=mmap, allow_pickle=allow_pickle
    )


def _paths(found: Found, symbol: str, timeframe: str, target: Target) -> list[str]:
    """Return the paths of a timeframe's files. Raises NotFoundError for one that is not there."""
    folder = featureset.remote_dir(symbol, timeframe)
    paths = [f'{folder}/{name}' for name in featureset.names_of(timeframe)]
    missing = [path for path in paths if path not in found.tree]
    if not missing:
        return paths
    there = sorted({path.rpartition('/')[0] for path in found.tree if path.startswith(f'{featureset.ROOT}/')})
    has = f'It has {", ".join(there[:_SHOWN])}.' if there else 'It has no features at all.'
    raise errors.NotFoundError(f'{target} {found.tag}: no {missing[0]}. {has}')
