"""Which repositories are there, of all that the caller may see? Chosen, ordered, and a page at a time."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror import errors
from hfmirror.server.access import hub_of, identify, may_read
from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import is_true, next_page, number
from hfmirror.server.rest.info import Subject, expanded, shown
from hfmirror.server.rest.jsonable import Json
from hfmirror.server.rest.paging import cursor, read_cursor

_PAGE = 1000
_SORTS = ('lastModified', 'createdAt', 'downloads', 'likes', 'trendingScore')
_SPELLINGS = {
    'last_modified': 'lastModified',
    'created_at': 'createdAt',
    'trending_score': 'trendingScore',
    'modified': 'lastModified',
    'created': 'createdAt',
    'trending': 'trendingScore',
}
_SHORT = {
    'model': (
        'modelId',
        'likes',
        'private',
        'downloads',
        'tags',
        'pipeline_tag',
        'library_name',
        'createdAt',
    ),
    'dataset': (
        'author',
        'sha',
        'lastModified',
        'private',
        'gated',
        'disabled',
        'tags',
        'downloads',
        'likes',
        'createdAt',
    ),
    'space': ('author', 'likes', 'private', 'sdk', 'tags', 'createdAt'),
}
_FULL = ('author', 'sha', 'lastModified', 'gated', 'disabled', 'siblings')

# How it shows that a repository was deleted in this moment, or is damaged.
_GONE = (errors.GitError, FileNotFoundError, Problem)


class _Rank(NamedTuple):
    """Where a repository stands: ``weight`` is smaller for those that come first; those of one weight go by name."""

    weight: float
    repo_id: str


def listing(request: Request) -> Response:
    """Answer with the repositories of a kind."""
    repo_type = KINDS[request.path_params['kind']]
    fields = _fields(request, repo_type)
    limit = number(request, 'limit', _PAGE, most=_PAGE) or _PAGE
    ranked = dict(_ranked(request, repo_type))
    order = sorted(ranked)
    after = read_cursor(request, float, str)
    start = bisect_right(order, _Rank(*after)) if after else 0
    page = order[start : start + limit]
    more = next_page(request, cursor=cursor(*page[-1])) if start + limit < len(order) else {}
    rows = (_row(ranked[rank], fields) for rank in page)
    return Json([row for row in rows if row is not None], headers=more)


def _row(at: Subject, fields: Sequence[str]) -> dict[str, Any] | None:
    """Return what the list tells of a repository, None of one that was deleted in this moment or is damaged."""
    try:
        return shown(at, fields)
    except _GONE:
        return None


def _fields(request: Request, repo_type: str) -> list[str]:
    asked = expanded(request, repo_type)
    if asked:
        return asked
    full = _FULL if is_true(request, 'full') else ()
    more = [name for name in ('cardData', 'config') if is_true(request, name)]
    return list(dict.fromkeys([*_SHORT[repo_type], *full, *more]))


def _ranked(request: Request, repo_type: str) -> Iterator[tuple[_Rank, Subject]]:
    """Yield the repositories that are asked for and that the caller may see."""
    hub, identity, sort = hub_of(request), identify(request), _sort(request)
    sign = 1 if request.query_params.get('direction') == '1' else -1
    tags = {tag for given in request.query_params.getlist('filter') for tag in given.split(',') if tag}
    tags |= set(request.query_params.getlist('pipeline_tag'))
    for repo in hub.repositories.all(repo_type):
        if not _is_named(request, repo) or not may_read(request, identity, repo):
            continue
        try:
            at = Subject.at_main(hub, repo)
            if tags <= {*at.told.tags, at.told.pipeline_tag, at.told.library_name}:
                yield _Rank(sign * _moment(at, sort).timestamp(), repo.repo_id), at
        except _GONE:
            continue  # the others are there all the same


def _sort(request: Request) -> str:
    asked = request.query_params.get('sort', 'lastModified')
    sort = _SPELLINGS.get(asked, asked)
    if sort not in _SORTS:
        raise bad_request(f'Invalid value for "sort": {asked[:100]!r}. It is one of {", ".join(_SORTS)}.')
    return sort


def _moment(at: Subject, sort: str) -> datetime:
    """Return the date to sort by. Nothing is counted here, so what is sorted by a count goes by its last change."""
    if sort == 'createdAt' or at.commit is None:
        return at.repo.created_at
    return at.bare.date(at.commit)


def _is_named(request: Request, repo: Repo) -> bool:
    query = request.query_params
    if 'gated' in query and is_true(request, 'gated'):
        return False
    author = query.get('author')
    if author and author.lower() != repo.namespace.lower():
        return False
    return all(word.lower() in repo.repo_id.lower() for word in query.getlist('search'))


ROUTES = [Route('/api/{kind:kind}', listing)]
