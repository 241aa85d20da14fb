"""Which tags of a series of releases are kept? The newest ones; the commits of the others stay in the history."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from hfmirror import errors, output
from hfmirror.auth import Token
from hfmirror.clone import Clone, opened
from hfmirror.config.places import Home
from hfmirror.gitcmd import git
from hfmirror.refs import Refs
from hfmirror.target import Target

_FIELD = re.compile(r'\\\{(\w+)\\\}')


def prune(
    target: Target, series: str, home: Home, *, keep: int, token: Token | None = None, dry_run: bool = False
) -> list[str]:
    """Remove all but the ``keep`` newest tags of a series from the remote; returns those that went, oldest first.

    ``series`` is the template that named them, such as ``step-{step}``. The newest are those that were made last: a training
    that begins again counts from one. Raises NotFoundError, AuthError, NetworkError.
    """
    with opened(target, home, token) as repository:
        refs = repository.remote_refs()
        tags = of_series(refs.tags, series)
        if keep < 1 or len(tags) <= keep:
            return []
        made = _made(repository, refs)
        gone = sorted(tags, key=lambda tag: made.get(tag, 0))[:-keep]
        if not dry_run:
            _remove(repository, gone)
    return gone


def _made(repository: Clone, refs: Refs) -> dict[str, int]:
    """Return {tag: when it was made, in seconds}."""
    where = repository.target.path if repository.archive is None else repository.archive.mirror.path
    if where is None:
        repository.versions(refs)  # fetches the tags
        where = repository.home / 'tags.git'
    listing = git('for-each-ref', '--format=%(creatordate:unix) %(refname:strip=2)', 'refs/tags', cwd=where)
    rows = (line.partition(' ') for line in listing.splitlines())
    return {tag: int(seconds or 0) for seconds, _, tag in rows}


def _remove(repository: Clone, tags: Sequence[str]) -> None:
    """Remove tags from the remote, those that another process removes meanwhile too."""
    try:
        _push_away(repository, tags)
    except errors.HfmirrorError:
        still = repository.remote_refs().tags
        left = [tag for tag in tags if tag in still]
        if len(left) == len(tags):
            raise
        if left:
            _push_away(repository, left)
    output.detail(f'{repository.target}: removed the tags {", ".join(tags)}; their commits stay')


def _push_away(repository: Clone, tags: Sequence[str]) -> None:
    with repository.explaining(writing=True):
        repository.push_refs([f':refs/tags/{tag}' for tag in tags])


def of_series(tags: Iterable[str], series: str) -> list[str]:
    """Return the tags that a template has named, by the numbers in them."""
    pattern = re.compile(_FIELD.sub(r'([0-9]{1,18}(?:\\.[0-9]{1,18})*)', re.escape(series)))
    found = [(match, tag) for tag in tags if (match := pattern.fullmatch(tag))]
    return [tag for _, tag in sorted(found, key=lambda one: _numbers(one[0]))]


def _numbers(match: re.Match[str]) -> list[tuple[int, ...]]:
    return [tuple(map(int, group.split('.'))) for group in match.groups()]
