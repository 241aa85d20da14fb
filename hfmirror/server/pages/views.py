"""Which page is behind which address? Lists of repositories, and card, files, versions and history of each."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files as resources
from typing import Any
from urllib.parse import quote, urlencode

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from hfmirror import errors
from hfmirror.output import human_size
from hfmirror.server.access import hub_of, identify, may_read, readable
from hfmirror.server.answers import Problem, no_entry, no_repository
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.names import KINDS, served_path
from hfmirror.server.pages import cards, shown
from hfmirror.server.pages.templates import HEADERS, page
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import number, origin
from hfmirror.server.rest import metadata

_ON_A_PAGE = 50
_TEXT_SHOWN = 512 * 1024  # bytes
_CHANGES_SHOWN = 500
_STATIC = {'hub.css': 'text/css', 'icon.svg': 'image/svg+xml'}
_WORDS = {'A': 'added', 'M': 'modified', 'D': 'deleted', 'R': 'renamed', 'T': 'type changed'}


def home(request: Request) -> Response:
    """The repositories of all types, the one changed last first; ``?q=`` searches their names."""
    return _list(request, list(KINDS), 'Repositories')


def kind_list(request: Request) -> Response:
    """The repositories of one type."""
    kind = request.path_params['kind']
    return _list(request, [kind], kind.capitalize())


def namespace_list(request: Request) -> Response:
    """The repositories of one user or organisation."""
    namespace = request.path_params['namespace']
    return _list(request, list(KINDS), namespace, namespace=namespace)


def _list(request: Request, kinds: list[str], heading: str, *, namespace: str | None = None) -> Response:
    hub, identity = hub_of(request), identify(request)
    query = request.query_params.get('q', '').strip()[:100]
    found = [
        repo
        for kind in kinds
        for repo in hub.repositories.all(KINDS[kind])
        if (namespace is None or repo.namespace.lower() == namespace.lower())
        and query.lower() in repo.repo_id.lower()
        and may_read(request, identity, repo)
    ]
    if (
        namespace is not None
        and not found
        and namespace not in hub.tokens.users() | set(hub.tokens.organisations())
    ):
        raise Problem(404, f'Nobody here is called {namespace}.')
    found.sort(key=_changed_at, reverse=True)
    start = number(request, 'p', 0, most=10_000) * _ON_A_PAGE
    rows = [row for repo in found[start : start + _ON_A_PAGE] if (row := _list_row(repo))]
    values = {'heading': heading, 'query': query, 'rows': rows, 'more': len(found) > _ON_A_PAGE}
    return page('list', values | _neighbours(request, start // _ON_A_PAGE, len(found) > start + _ON_A_PAGE))


def _changed_at(repo: Repo) -> datetime:
    try:
        return repo.changed_at
    except FileNotFoundError:
        return datetime.min.replace(tzinfo=UTC)


def _list_row(repo: Repo) -> dict[str, Any] | None:
    """Return what the list tells of a repository, None of one that was deleted just now or is damaged."""
    try:
        version = shown.newest(shown.versions_of(repo))
        date = repo.changed_at.isoformat()
    except (errors.HfmirrorError, FileNotFoundError):
        return None
    return {
        'repo': repo,
        'version': version.name if version else None,
        'metrics': shown.few_metrics(version) if version else [],
        'date': date,
    }


def _neighbours(request: Request, number: int, more: bool) -> dict[str, str | None]:
    """Return the addresses of the pages before and after page ``number``."""
    kept = [(key, value) for key, value in request.query_params.multi_items() if key != 'p']
    return {
        'previous': f'?{urlencode([*kept, ("p", number - 1)])}' if number else None,
        'following': f'?{urlencode([*kept, ("p", number + 1)])}' if more else None,
    }


def card(request: Request) -> Response:
    """What the repository is: its card, its latest version, and how to get it."""
    repo = readable(request)
    bare, version = hub_of(request).bare(repo), shown.newest(shown.versions_of(repo))
    commit = bare.find_commit('main')
    listing = [file for file in bare.listing(commit, recursive=True) if not file.is_folder] if commit else []
    text = _readme(bare, listing)
    front = metadata.read(bare, commit, repo.repo_type, repo.objects).card or {} if commit else {}
    values = {
        'card': _rendered(bare, repo, commit, text) if commit and text is not None else None,
        'tags': shown.tags(front),
        'version': version,
        'metrics': shown.metric_rows(version) if version else [],
        'files': f'{len(listing):,}',
        'size': human_size(sum(file.size for file in listing)),
        'commit': commit,
        'commands': shown.commands(repo, origin(request), version.name if version else 'main', front),
    }
    return _repository(repo, 'card', values)


def _rendered(bare: Bare, repo: Repo, commit: str, text: str) -> Markup:
    # Kept under the name too: links lead to addresses of that name.
    return bare.kept(
        f'{commit} card of {repo.web_path}',
        lambda: cards.render(text, web_path=repo.web_path, revision='main'),
        lambda html: 4 * len(html),
    )


def _readme(bare: Bare, listing: list[File]) -> str | None:
    readme = next((file for file in listing if file.path == 'README.md'), None)
    if readme is None or readme.pointer is not None or readme.size > _TEXT_SHOWN:
        return None
    return bare.content(readme).decode('utf-8', 'replace')


def versions(request: Request) -> Response:
    """The versions with their metrics, and a plot of each metric over them."""
    repo = readable(request)
    found = shown.versions_of(repo)
    columns = shown.table_columns(found)
    values = {'versions': shown.rows(found, columns), 'columns': columns, 'plots': shown.plots(found)}
    return _repository(repo, 'versions', values)


def chosen_tree(request: Request) -> Response:
    """Lead to the files of the revision chosen in the form."""
    repo, revision = readable(request), request.query_params.get('revision', 'main')
    return RedirectResponse(f'/{repo.web_path}/tree/{quote(revision, safe="")}', 303)


def tree(request: Request) -> Response:
    """The files of one folder at a revision, with their sizes."""
    repo, revision = readable(request), request.path_params['revision']
    bare, path = hub_of(request).bare(repo), _path(request)
    commit = bare.commit(revision)
    files = sorted(bare.listing(commit, path), key=lambda file: (not file.is_folder, file.path))
    names = [
        'main',
        *(ref.name.partition('/')[2].partition('/')[2] for ref in bare.refs() if _is_plain(ref.name)),
    ]
    plain = [file for file in files if not file.is_folder]
    values = {
        'files': [_file(file) for file in files],
        'revision': revision,
        'revisions': list(dict.fromkeys([revision, *names])),
        'crumbs': _crumbs(repo, revision, path),
        'summary': shown.summary(len(plain)),
        'total': human_size(sum(file.size for file in plain)),
    }
    return _repository(repo, 'tree', values)


def _is_plain(ref: str) -> bool:
    return ref.startswith(('refs/heads/', 'refs/tags/'))


def _file(file: File) -> dict[str, Any]:
    return {
        'path': file.path,
        'name': file.path.rpartition('/')[2],
        'is_folder': file.is_folder,
        'is_lfs': file.pointer is not None,
        'size': human_size(file.size),
    }


def _path(request: Request) -> str:
    given = request.path_params.get('path', '').strip('/')
    path = served_path(given) if given else ''
    if path is None:
        raise no_entry(given, '')
    return path


def _crumbs(repo: Repo, revision: str, path: str) -> list[tuple[str, str]]:
    """Return ``(folder or file, address)`` of each part of a path."""
    parts = path.split('/') if path else []
    base = f'/{repo.web_path}/tree/{quote(revision, safe="")}/'
    return [(part, base + quote('/'.join(parts[: i + 1]))) for i, part in enumerate(parts)]


def blob(request: Request) -> Response:
    """One file: its text when it has any, else its size and a way to download it."""
    repo, revision = readable(request), request.path_params['revision']
    bare, path = hub_of(request).bare(repo), _path(request)
    file = bare.file(bare.commit(revision), path)
    if file.is_folder:
        return RedirectResponse(f'/{repo.web_path}/tree/{quote(revision, safe="")}/{quote(path)}', 303)
    text, why_not = _text(bare, file)
    values = {
        'crumbs': _crumbs(repo, revision, path),
        'revision': revision,
        'path': path,
        'size': human_size(file.size),
        'oid': file.pointer.oid if file.pointer else None,
        'text': text,
        'why_not': why_not,
    }
    return _repository(repo, 'blob', values, here='tree')


def _text(bare: Bare, file: File) -> tuple[str | None, str]:
    if file.pointer is not None:
        return None, 'A large file: download it to see what it holds.'
    if file.size > _TEXT_SHOWN:
        return None, 'Too long to show here.'
    try:
        return bare.content(file).decode('utf-8'), ''
    except UnicodeDecodeError:
        return None, 'Not a text.'


def history(request: Request) -> Response:
    """The commits that lead to a revision, newest first."""
    repo, revision = readable(request), request.path_params.get('revision', 'main')
    bare, at = hub_of(request).bare(repo), number(request, 'p', 0, most=1_000_000)
    commits = bare.log(bare.commit(revision), skip=at * _ON_A_PAGE, limit=_ON_A_PAGE + 1)
    names: dict[str, list[str]] = {}
    for version in shown.versions_of(repo):
        names.setdefault(version.commit, []).append(version.name)
    rows = [
        {
            'oid': commit.oid,
            'title': commit.title,
            'author': commit.author,
            'date': commit.date.isoformat(),
            'names': names.get(commit.oid, []),
        }
        for commit in commits[:_ON_A_PAGE]
    ]
    return _repository(
        repo, 'history', {'commits': rows} | _neighbours(request, at, len(commits) > _ON_A_PAGE)
    )


def commit(request: Request) -> Response:
    """One commit: its message and the files it changed."""
    repo = readable(request)
    bare = hub_of(request).bare(repo)
    found = bare.log(bare.commit(request.path_params['revision']), limit=1)[0]
    changes = bare.changes(found)
    values = {
        'commit': found,
        'changes': [(_WORDS.get(kind, kind), path) for kind, path in changes[:_CHANGES_SHOWN]],
        'cut': max(0, len(changes) - _CHANGES_SHOWN),
    }
    return _repository(repo, 'commit', values, here='history')


def _repository(repo: Repo, name: str, values: dict[str, Any], *, here: str | None = None) -> Response:
    base = f'/{repo.web_path}'
    tabs = [
        ('card', 'Card', base),
        ('tree', 'Files', f'{base}/tree/main'),
        ('versions', 'Versions', f'{base}/versions'),
        ('history', 'History', f'{base}/commits/main'),
    ]
    return page(name, {'repo': repo, 'tags': [], 'tabs': tabs, 'here': here or name, **values})


def static(request: Request) -> Response:
    """The style sheet and the icon."""
    name = request.path_params['file']
    if name not in _STATIC:
        raise no_repository()
    content = (resources('hfmirror') / 'templates' / 'hub' / name).read_bytes()
    return Response(content, media_type=_STATIC[name], headers={**HEADERS, 'Cache-Control': 'max-age=3600'})


def _both(tail: str, view: Any) -> list[Route]:
    return [
        Route(f'/{{kind:kind}}/{{namespace:segment}}/{{name:segment}}{tail}', view),
        Route(f'/{{namespace:namespace}}/{{name:segment}}{tail}', view),
    ]


# Last in the table of routes: what is left is a page.
ROUTES = [
    Route('/', home),
    Route('/static/{file:segment}', static),
    Route('/{kind:kind}', kind_list),
    Route('/{namespace:namespace}', namespace_list),
    *_both('', card),
    *_both('/versions', versions),
    *_both('/tree', chosen_tree),
    *_both('/tree/{revision:segment}', tree),
    *_both('/tree/{revision:segment}/{path:tail}', tree),
    *_both('/blob/{revision:segment}/{path:tail}', blob),
    *_both('/commits', history),
    *_both('/commits/{revision:segment}', history),
    *_both('/commit/{revision:segment}', commit),
]
