"""``hfmirror pull``: the files of a version, exactly, in a folder or where huggingface_hub finds them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.clone import Clone
    from hfmirror.commands.options import Located
    from hfmirror.config.places import Home
    from hfmirror.delivery import Retry
    from hfmirror.hubcache import HubCache
    from hfmirror.pulling import Found

_CHECKPOINT = 'latest-checkpoint'


class Pulled(NamedTuple):
    """What a pull did. ``size`` bytes came for ``fetched`` files; ``kept`` were on this machine already.

    ``cache`` is the version's folder in huggingface_hub's cache, and ``python`` the line that uses it.
    """

    to: str | None
    cache: str | None
    version: str
    commit: str
    fetched: int
    kept: int
    removed: int
    size: int
    python: str | None


def pull(
    repository: Clone,
    found: Found,
    home: Home,
    *,
    to: Path | None,
    cache: HubCache | None,
    force: bool,
    retry: Retry,
    cache_dir: str | None = None,
) -> Pulled:
    """Bring a version into a folder, a cache, or both; then each file is fetched once, and copied."""
    from hfmirror import hubcache, pulling

    fetched, removed, nearby = {}, 0, cache.files(found) if cache else {}
    if to is not None:
        done = pulling.pull(repository, found, to, home, force=force, nearby=nearby, retry=retry)
        fetched, removed = {entry.path: entry for entry in done.fetched}, done.removed
        nearby = {entry.oid: to / entry.path for entry in found.tree.values()}
    if cache is not None:
        new = hubcache.pull(repository, found, cache, nearby=nearby if to else {}, retry=retry)
        fetched |= {entry.path: entry for entry in new}
    snapshot = cache.snapshot(found.commit) if cache else None
    return Pulled(
        str(to) if to else None,
        str(snapshot) if snapshot else None,
        found.tag,
        found.commit,
        len(fetched),
        len(found.tree.keys() - fetched.keys()),
        removed,
        sum(entry.size for entry in fetched.values()),
        hubcache.python_line(repository.target, found, snapshot, cache_dir) if snapshot else None,
    )


@click.command(short_help='Fetch the files of a version.')
@click.argument('version', default='latest')
@click.option('--to', type=click.Path(path_type=Path), metavar='DIR', help='The folder to write.')
@click.option(
    '--to-cache', is_flag=True, help="Write huggingface_hub's cache, for from_pretrained without a network."
)
@click.option('--path', default='', help='Only this file or folder of the version.')
@click.option('--force', is_flag=True, help='Overwrite files that no pull wrote.')
@options.where
@options.as_json
@options.verbose
def command(
    version: str,
    to: Path | None,
    to_cache: bool,
    path: str,
    force: bool,
    as_json: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Bring the files of VERSION, or of the latest one, into a folder. Run it again to go on after an interruption.

    The version latest-checkpoint is the newest one that a training can go on from; it goes to ./checkpoint-STEP.

    \b
    hfmirror pull v1.0.0 --to ./model
    hfmirror pull latest --to ./model --path tokenizer.json
    hfmirror pull v1.0.0 --to-cache
    hfmirror pull latest-checkpoint
    """
    output.configure(verbose=verbose)
    if version == _CHECKPOINT and (to_cache or path):
        raise errors.UsageError(
            f'{_CHECKPOINT}: is brought into a folder, as a whole. Leave out --to-cache and --path.'
        )
    if to is None and not to_cache and version != _CHECKPOINT:
        raise errors.UsageError(
            "where to? Give --to DIR, or --to-cache for huggingface_hub's cache, or both."
        )
    located = options.locate(given)
    if version == _CHECKPOINT:
        done = _pulled_checkpoint(located, to, force=force)
    else:
        done = _pulled(located, version, path=path, to=to, to_cache=to_cache, force=force)
    target = located.target
    if as_json:
        output.document({'target': str(target), **done._asdict()})
        return
    output.data(f'{target}: {_said(done)}')


def _pulled(
    located: Located, version: str, *, path: str, to: Path | None, to_cache: bool, force: bool
) -> Pulled:
    """Find a version where the options say that it is, and pull it."""
    from hfmirror import gitcmd, hubcache, pulling
    from hfmirror.clone import opened
    from hfmirror.naming import tag_prefix
    from hfmirror.underway import retry_of

    target, config, home, token = located
    gitcmd.require_tools()
    cache_dir = config.settings.download.cache_dir
    cache = hubcache.cache_of(target, cache_dir) if to_cache else None
    with opened(target, home, token) as repository:
        found = pulling.find(repository, version, path=path, prefix=tag_prefix(config))
        return pull(
            repository,
            found,
            home,
            to=to,
            cache=cache,
            force=force,
            retry=retry_of(config),
            cache_dir=cache_dir,
        )


def _pulled_checkpoint(located: Located, to: Path | None, *, force: bool) -> Pulled:
    """Find the newest checkpoint that a training can go on from, and pull it as a Trainer wants it."""
    from hfmirror import gitcmd
    from hfmirror.clone import opened
    from hfmirror.integrations.latest import find_checkpoint
    from hfmirror.naming import tag_prefix
    from hfmirror.underway import retry_of

    target, config, home, token = located
    gitcmd.require_tools()
    with opened(target, home, token) as repository:
        newest = find_checkpoint(repository, prefix=tag_prefix(config))
        folder = to or Path('checkpoint' if newest.step is None else f'checkpoint-{newest.step}')
        done = pull(
            repository, newest.found, home, to=folder, cache=None, force=force, retry=retry_of(config)
        )
    use = f'trainer.train(resume_from_checkpoint={str(folder)!r})' if newest.of_trainer else None
    return done._replace(python=use)


def _said(done: Pulled) -> str:
    places = ' and '.join(place for place in (done.to, done.cache) if place)
    parts = [f'{output.count(done.fetched, "file")} fetched ({output.human_size(done.size)})']
    parts += [f'{done.kept:,} there already'] if done.kept else []
    parts += [f'{done.removed:,} removed'] if done.removed else []
    use = f'; use it with {done.python}' if done.python else ''
    return f'{done.version} is in {places}: {", ".join(parts)}{use}'
