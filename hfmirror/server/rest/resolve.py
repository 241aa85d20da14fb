"""How does a file reach those who download it? At one commit: its bytes, or with HEAD what is known of it.

``resolve`` gives the content, ``raw`` for an LFS file its pointer. What a repository holds was written by anybody, and is
served from the same address as our own pages: a browser must never run it.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import quote

from anyio import CancelScope, to_thread
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from hfmirror import lfs
from hfmirror.server.access import hub_of, readable
from hfmirror.server.answers import Problem, no_entry
from hfmirror.server.bodies import FileBody
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import is_true
from hfmirror.store import ObjectStore

# Bytes of a plain file that are held in memory; only a push by path brings larger ones.
_HELD = 16 * 1024 * 1024
_LOOKED_INTO = 1024 * 1024  # bytes of a plain file that is read to see whether it is text
_PLAIN = 'text/plain; charset=utf-8'
_BINARY = 'application/octet-stream'
# What a browser shows and never runs. SVG, HTML, XML and PDF are not among them.
_INERT = {
    '.gif': 'image/gif',
    '.jpeg': 'image/jpeg',
    '.jpg': 'image/jpeg',
    '.png': 'image/png',
    '.webp': 'image/webp',
    '.flac': 'audio/flac',
    '.mp3': 'audio/mpeg',
    '.mp4': 'video/mp4',
    '.ogg': 'audio/ogg',
    '.wav': 'audio/wav',
    '.webm': 'video/webm',
}
_SAFETY = {
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'none'; style-src 'unsafe-inline'; sandbox",
}


def resolve(request: Request) -> Response:
    """Answer with the content of a file."""
    repo, bare, commit, file = _asked(request)
    headers = _headers(request, commit, file)
    if file.pointer is None:
        return _plain(request, bare, file, headers)
    headers |= {'X-Linked-Etag': f'"{file.etag}"', 'X-Linked-Size': str(file.size)}
    source = _object(repo, file)
    media_type = _INERT.get(_ending(file), _BINARY)
    if request.method == 'HEAD':
        return _head(file, headers, media_type)
    return FileBody(source, etag=file.etag, headers=headers, media_type=media_type)


def raw(request: Request) -> Response:
    """Answer with what git holds of a file: of an LFS file its pointer."""
    _, bare, commit, file = _asked(request)
    if file.pointer is not None:
        content = bare.content(file)
        file = file._replace(pointer=None, size=len(content))
    return _plain(request, bare, file, _headers(request, commit, file))


def _asked(request: Request) -> tuple[Repo, Bare, str, File]:
    repo = readable(request)
    bare = hub_of(request).bare(repo)
    commit = bare.commit(request.path_params['revision'])
    file = bare.file(commit, request.path_params['path'])
    if file.is_folder:
        raise no_entry(file.path, commit)
    return repo, bare, commit, file


def _headers(request: Request, commit: str, file: File) -> dict[str, str]:
    name = PurePosixPath(file.path).name
    fallback = ''.join(c if c.isascii() and c.isprintable() and c not in '"\\' else '_' for c in name)
    shown = 'attachment' if is_true(request, 'download') else 'inline'
    return {
        'X-Repo-Commit': commit,
        'Content-Disposition': f'{shown}; filename*=UTF-8\'\'{quote(name, safe="")}; filename="{fallback}";',
        **_SAFETY,
    }


def _plain(request: Request, bare: Bare, file: File, headers: dict[str, str]) -> Response:
    media_type = _media_type(bare, file)
    if request.method == 'HEAD':
        return _head(file, headers, media_type)
    if file.size <= _HELD:
        return FileBody(bare.content(file), etag=file.etag, headers=headers, media_type=media_type)
    whole = {**headers, 'ETag': f'"{file.etag}"', 'Content-Length': str(file.size)}
    return _Pieces(bare.pieces(file), headers=whole, media_type=media_type)


class _Pieces(StreamingResponse):
    """An answer from a process, which is let go when the answer ends, whoever hangs up."""

    def __init__(self, pieces: Generator[bytes], *, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__(pieces, headers=headers, media_type=media_type)
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            with CancelScope(shield=True):
                await to_thread.run_sync(self._pieces.close)


def _head(file: File, headers: dict[str, str], media_type: str) -> Response:
    known = {'ETag': f'"{file.etag}"', 'Content-Length': str(file.size), 'Accept-Ranges': 'bytes'}
    return Response(headers={**headers, **known}, media_type=media_type)


def _media_type(bare: Bare, file: File) -> str:
    inert = _INERT.get(_ending(file))
    if inert is not None:
        return inert
    if file.size > _LOOKED_INTO:
        return _BINARY
    is_text = bare.kept(f'{file.oid} is text', lambda: lfs.is_text(bare.content(file)))
    return _PLAIN if is_text else _BINARY


def _ending(file: File) -> str:
    return PurePosixPath(file.path).suffix.lower()


def _object(repo: Repo, file: File) -> Path | bytes:
    """Return where the content of an LFS file is. Raises Problem 404 when it never came."""
    assert file.pointer is not None
    store = ObjectStore(repo.objects)
    if file.size == 0:
        return b''
    if not store.has(file.pointer.oid, file.size):
        # Without X-Repo-Commit: the client would keep in mind that this commit has no such file.
        raise Problem(
            404,
            f'{file.path}: its LFS object {file.pointer.oid} was never sent to this Hub. '
            'Send it with: git lfs push --all',
            'EntryNotFound',
        )
    return store.path(file.pointer.oid)


ROUTES = [
    Route(f'/{repository}/{word}/{{revision:segment}}/{{path:tail}}', handler)
    for repository in (
        '{kind:kind}/{namespace:segment}/{name:segment}',
        '{namespace:namespace}/{name:segment}',
    )
    for word, handler in (('resolve', resolve), ('raw', raw))
]
