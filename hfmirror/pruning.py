"""Which tags of a series of releases are kept? The last ones; the commits of the others stay in the history."""

from __future__ import annotations

import re
from collections.abc import Iterable

from hfmirror import output
from hfmirror.auth import Token
from hfmirror.clone import opened
from hfmirror.config.places import Home
from hfmirror.target import Target

_FIELD = re.compile(r'\\\{(\w+)\\\}')


def prune(
    target: Target, series: str, home: Home, *, keep: int, token: Token | None = None, dry_run: bool = False
) -> list[str]:
    """Remove all but the last ``keep`` tags of a series from the remote; returns those that went, oldest first.

    ``series`` is the template that named them, such as ``step-{step}``. Raises NotFoundError, AuthError, NetworkError.
    """
    with opened(target, home, token) as repository:
        gone = of_series(repository.remote_refs().tags, series)[:-keep]
        if gone and not dry_run:
            with repository.explaining(writing=True):
                repository.push_refs([f':refs/tags/{tag}' for tag in gone])
            output.detail(f'{target}: removed the tags {", ".join(gone)}; their commits stay')
    return gone


def of_series(tags: Iterable[str], series: str) -> list[str]:
    """Return the tags that a template has named, by the numbers in them."""
    pattern = re.compile(_FIELD.sub(r'(\\d+(?:\\.\\d+)*)', re.escape(series)))
    found = [(match, tag) for tag in tags if (match := pattern.fullmatch(tag))]
    return [tag for _, tag in sorted(found, key=lambda one: _numbers(one[0]))]


def _numbers(match: re.Match[str]) -> list[tuple[int, ...]]:
    return [tuple(map(int, group.split('.'))) for group in match.groups()]
