"""What are the branches and tags of a repository, which commits lead to them, and what lies between two of these?"""

from __future__ import annotations

import html
from collections.abc import Iterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from hfmirror.server.access import hub_of, readable
from hfmirror.server.git.bare import Bare, Ref
from hfmirror.server.git.objects import Commit, Node
from hfmirror.server.git.served import git, git_bytes
from hfmirror.server.requests import is_true, next_page, number
from hfmirror.server.rest.jsonable import Json, date_text

_PAGE, _PAGE_MAX = 50, 1000  # commits
_LAST_PAGE = 10**7
# A file above this is not compared, as if it were binary; so much is compared by one process.
_COMPARED_FILE, _COMPARED_AT_ONCE, _FILES_AT_ONCE = 1024 * 1024, 4 * 1024 * 1024, 200
_PREFIXES = {
    'refs/heads/': 'branches',
    'refs/convert/': 'converts',
    'refs/tags/': 'tags',
    'refs/pr/': 'pullRequests',
}


def refs(request: Request) -> Response:
    """Answer with the refs by their kind, each with the commit it leads to."""
    found: dict[str, list[dict[str, str]]] = {kind: [] for kind in _PREFIXES.values()}
    for ref in hub_of(request).bare(readable(request)).refs():
        prefix = next((prefix for prefix in _PREFIXES if ref.name.startswith(prefix)), None)
        if prefix is not None:
            found[_PREFIXES[prefix]].append(_ref(ref, prefix))
    if not is_true(request, 'include_prs'):
        del found['pullRequests']
    return Json(found)


def _ref(ref: Ref, prefix: str) -> dict[str, str]:
    return {'name': ref.name.removeprefix(prefix), 'ref': ref.name, 'targetCommit': ref.commit}


def commits(request: Request) -> Response:
    """Answer with the commits that lead to a revision, newest first."""
    bare = hub_of(request).bare(readable(request))
    commit = bare.commit(request.path_params['revision'])
    total = bare.kept(f'{commit} count', lambda: bare.count(commit))
    limit = number(request, 'limit', _PAGE, most=_PAGE_MAX) or _PAGE
    page = number(request, 'p', 0, most=_LAST_PAGE)
    formatted = 'formatted' in request.query_params.getlist('expand[]') + request.query_params.getlist(
        'expand'
    )
    found = bare.log(commit, skip=page * limit, limit=limit) if page * limit < total else []
    headers = {'X-Total-Count': str(total)}
    if (page + 1) * limit < total:
        headers |= next_page(request, p=page + 1)
    return Json([_commit(one, formatted=formatted) for one in found], headers=headers)


def _commit(commit: Commit, *, formatted: bool) -> dict[str, Any]:
    shown: dict[str, Any] = {
        'id': commit.oid,
        'title': commit.title,
        'message': commit.body,
        'authors': [{'user': commit.author, 'avatar': ''}],
        'date': date_text(commit.date),
    }
    if formatted:
        shown['formatted'] = {'title': html.escape(commit.title), 'message': html.escape(commit.body)}
    return shown


def compare(request: Request) -> Response:
    """Answer with the difference between two revisions, ``a..b``, as git writes it."""
    bare = hub_of(request).bare(readable(request))
    old, _, new = request.path_params['range'].partition('..')
    difference = _difference(bare, bare.commit(old), bare.commit(new))
    return StreamingResponse(difference, media_type='text/plain; charset=utf-8')


def _difference(bare: Bare, old: str, new: str) -> Iterator[bytes]:
    """Yield the difference of some files after the other: all of it at once could be more than the memory holds."""
    for paths in _portions(bare, old, new):
        yield git_bytes(
            '--literal-pathspecs',
            '-c',
            f'core.bigFileThreshold={_COMPARED_FILE}',
            'diff-tree',
            '-r',
            '-p',
            '--full-index',
            '--no-renames',
            '--no-ext-diff',
            '--no-textconv',
            old,
            new,
            '--',
            *paths,
            cwd=bare.git_dir,
        )


def _portions(bare: Bare, old: str, new: str) -> Iterator[list[str]]:
    answer = git('diff-tree', '-r', '-z', '--raw', '--no-abbrev', '--no-renames', old, new, cwd=bare.git_dir)
    words = answer.split('\0')
    paths: list[str] = []
    weight = 0
    for facts, path in zip(words[0:-1:2], words[1::2], strict=False):
        paths.append(path)
        weight += _weight(bare, facts)
        if weight >= _COMPARED_AT_ONCE or len(paths) == _FILES_AT_ONCE:
            yield paths
            paths, weight = [], 0
    if paths:
        yield paths


def _weight(bare: Bare, facts: str) -> int:
    """Return how many bytes of a changed file are compared. ``facts`` is ``:OLDMODE NEWMODE OLDID NEWID STATUS``."""
    old_mode, new_mode, old, new, _ = facts.lstrip(':').split()
    nodes = [('', Node('', mode, oid)) for mode, oid in ((old_mode, old), (new_mode, new)) if mode[0] == '1']
    files = bare.files([(path, node) for path, node in nodes if not node.is_submodule])
    return sum(min(file.size, _COMPARED_FILE) for file in files if file.pointer is None)


_REPOSITORY = '/api/{kind:kind}/{namespace:segment}/{name:segment}'
ROUTES = [
    Route(f'{_REPOSITORY}/refs', refs),
    Route(f'{_REPOSITORY}/commits/{{revision:segment}}', commits),
    Route(f'{_REPOSITORY}/compare/{{range:tail}}', compare),
]
