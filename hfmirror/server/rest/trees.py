"""What is in the folders of a repository at one commit, and what is known of these paths? A page at a time, as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror.server.access import hub_of, readable
from hfmirror.server.answers import Problem, bad_request, no_entry
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.git.lastcommits import last_commits
from hfmirror.server.names import served_path
from hfmirror.server.requests import body, is_true, next_page, number, parse_object
from hfmirror.server.rest.jsonable import Json, date_text, dumped
from hfmirror.server.rest.paging import cursor, read_cursor

_PAGE = 1000  # entries of one answer, and paths of one question
_FURTHEST = 10**9


class _Page(NamedTuple):
    content: bytes
    goes_on: bool


def tree(request: Request) -> Response:
    """Answer with the entries of a folder, with ``recursive`` all below it."""
    bare = hub_of(request).bare(readable(request))
    # The pages that follow are of the same commit, wherever the branch is by then.
    commit, start = read_cursor(request, str, int) or (request.path_params['revision'], 0)
    commit = bare.commit(commit)
    given = request.path_params.get('path', '').strip('/')
    path = served_path(given) if given else ''
    if path is None or not 0 <= start <= _FURTHEST:
        raise no_entry(given, commit)
    limit = number(request, 'limit', _PAGE, most=_PAGE) or _PAGE
    recursive, expand = is_true(request, 'recursive'), is_true(request, 'expand')
    page = bare.kept(
        f'{commit} page {recursive} {expand} {start} {limit} {path}',
        lambda: _page(bare, commit, path, slice(start, start + limit), recursive=recursive, expand=expand),
        lambda page: len(page.content),
    )
    more = next_page(request, cursor=cursor(commit, start + limit)) if page.goes_on else {}
    return Response(page.content, headers=more, media_type='application/json')


def _page(bare: Bare, commit: str, path: str, which: slice, *, recursive: bool, expand: bool) -> _Page:
    nodes = list(islice(bare.walk(commit, path, recursive=recursive), which.start, which.stop + 1))
    shown = bare.files(nodes[: which.stop - which.start])
    return _Page(dumped(entries(bare, commit, shown, expand=expand)), len(nodes) > len(shown))


async def paths_info(request: Request) -> Response:
    """Answer with what is known of the paths asked for; those that are not there are left out."""
    bare, commit = await to_thread.run_sync(_where, request)
    paths, expand = _question(request, await body(request))
    return await to_thread.run_sync(_paths_info, bare, commit, paths, expand)


def _where(request: Request) -> tuple[Bare, str]:
    bare = hub_of(request).bare(readable(request))
    return bare, bare.commit(request.path_params['revision'])


def _question(request: Request, content: bytes) -> tuple[list[str], bool]:
    """Return the paths and whether they are to be expanded: a form from Python, JSON from JavaScript."""
    if request.headers.get('content-type', '').partition(';')[0].strip().lower() == 'application/json':
        values = parse_object(content)
        paths, expand = values.get('paths', []), values.get('expand') is True
    else:
        fields = _form(content)
        paths = [value for key, value in fields if key in ('paths', 'paths[]')]
        expand = any(key == 'expand' and value.lower() in ('1', 'true') for key, value in fields)
    paths = [paths] if isinstance(paths, str) else paths
    if not isinstance(paths, list) or not all(isinstance(path, str) for path in paths):
        raise bad_request('"paths" must be a list of strings.')
    if len(paths) > _PAGE:
        raise Problem(413, 'too many parameters')
    return paths, expand


def _form(content: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(content.decode(), keep_blank_values=True, errors='strict', max_num_fields=_PAGE + 2)
    except UnicodeDecodeError as e:
        raise bad_request('The form is not UTF-8.') from e
    except ValueError as e:
        raise Problem(413, 'too many parameters') from e


def _paths_info(bare: Bare, commit: str, paths: Sequence[str], expand: bool) -> Response:
    cleaned = dict.fromkeys(served_path(path) for path in paths)
    files = [found for path in cleaned if path and (found := bare.find(commit, path))]
    return Json(entries(bare, commit, files, expand=expand))


def entries(bare: Bare, commit: str, files: Sequence[File], *, expand: bool) -> list[dict[str, Any]]:
    """Return files and folders as the Hub tells of them, with ``expand`` the commit that changed each last."""
    shown = [_entry(file) for file in files]
    last = last_commits(bare, commit, [file.path for file in files]) if expand and files else {}
    for entry in shown:
        found = last.get(entry['path'])
        if found is not None:
            entry['lastCommit'] = {'id': found.oid, 'title': found.title, 'date': date_text(found.date)}
    return shown


def _entry(file: File) -> dict[str, Any]:
    entry: dict[str, Any] = {
        'type': 'directory' if file.is_folder else 'file',
        'oid': file.oid,
        'size': file.size,
        'path': file.path,
    }
    if file.pointer is not None:
        entry['lfs'] = {
            'oid': file.pointer.oid,
            'size': file.pointer.size,
            'pointerSize': len(file.pointer.text),
        }
    return entry


_REPOSITORY = '/api/{kind:kind}/{namespace:segment}/{name:segment}'
ROUTES = [
    Route(f'{_REPOSITORY}/tree/{{revision:segment}}', tree),
    Route(f'{_REPOSITORY}/tree/{{revision:segment}}/{{path:tail}}', tree),
    Route(f'{_REPOSITORY}/paths-info/{{revision:segment}}', paths_info, methods=['POST']),
]
