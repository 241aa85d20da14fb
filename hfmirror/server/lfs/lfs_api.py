"""What does git-lfs hear? Where each object is to be sent to or fetched from, and the objects themselves.

The batch API (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md) answers with addresses that are signed. An
object is only given out by a repository that has it. Locks are not supported.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror.lfs import Pointer
from hfmirror.server.access import hub_of, readable, writable
from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.bodies import FileBody, receive_object
from hfmirror.server.lfs import multipart
from hfmirror.server.lfs.signing import LIFETIME_S, signed_query, signed_repo
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import json_object, origin
from hfmirror.server.xet import api as xet_api
from hfmirror.store import ObjectStore

TYPE = 'application/vnd.git-lfs+json'
_MOST_OBJECTS = 10_000  # of one batch; git-lfs asks for 100, huggingface_hub for 256
_MOST_PARTS = 20_000  # addresses of parts in one answer, 300 bytes each
_OID = re.compile('[0-9a-f]{64}')
_EMPTY = hashlib.sha256().hexdigest()
_ALGORITHMS = (None, 'sha256', 'sha_256')


class _Asked(NamedTuple):
    """A batch. ``transfers``: the ways of sending that the client knows besides ``basic``."""

    upload: bool
    transfers: Sequence[Any]
    objects: Sequence[Pointer]


async def _batch(request: Request) -> Response:
    await to_thread.run_sync(readable, request)  # what strangers send is not even read
    _refuse_other_types(request.headers.get('accept', TYPE))
    asked = _asked(await json_object(request))
    answer = await to_thread.run_sync(_answer, request, asked)
    # Not JSONResponse: what the client calls an oid may be no text that UTF-8 can have.
    return Response(json.dumps(answer), media_type=TYPE)


def _refuse_other_types(accept: str) -> None:
    ranges = {part.partition(';')[0].strip().lower() for part in accept.split(',')}
    if not ranges & {TYPE, 'application/json', 'application/*', '*/*'}:
        raise Problem(406, f'The answer is of the type {TYPE}')


def _asked(values: Mapping[str, Any]) -> _Asked:
    if values.get('operation') not in ('upload', 'download'):
        raise Problem(422, '"operation" must be "upload" or "download".')
    if values.get('hash_algo') not in _ALGORITHMS:
        raise Problem(409, 'Objects are named by their sha256 here.')
    objects = _list(values, 'objects')
    if len(objects) > _MOST_OBJECTS:
        raise Problem(413, f'Ask for {_MOST_OBJECTS} objects or fewer at once.')
    return _Asked(
        values['operation'] == 'upload',
        _list(values, 'transfers'),
        [_pointer(one) for one in objects],
    )


def _list(values: Mapping[str, Any], key: str) -> list[Any]:
    found = values.get(key) or []
    if not isinstance(found, list):
        raise Problem(422, f'"{key}" must be a list.')
    return found


def _pointer(one: object) -> Pointer:
    if isinstance(one, dict) and isinstance(one.get('oid'), str) and type(one.get('size')) is int:
        return Pointer(one['oid'], one['size'])
    raise Problem(
        422, 'An object must have an "oid", which is a string, and a "size", which is a whole number.'
    )


def _answer(request: Request, asked: _Asked) -> Mapping[str, Any]:
    repo = writable(request) if asked.upload else readable(request)
    batch = _Batch(request, repo)
    objects = batch.uploads(asked) if asked.upload else [batch.download(pointer) for pointer in asked.objects]
    return {'transfer': batch.transfer, 'objects': objects, 'hash_algo': 'sha256'}


class _Batch:
    """Answers for the objects of one batch, about one repository."""

    def __init__(self, request: Request, repo: Repo) -> None:
        self.transfer = 'basic'
        self._hub, self._repo, self._store = hub_of(request), repo, ObjectStore(repo.objects)
        self._request = request
        self._base = f'{origin(request)}/{repo.web_path}.git/info/lfs'

    def download(self, pointer: Pointer) -> Mapping[str, Any]:
        if not _has(self._store, pointer):
            return _with_error(pointer, 404, 'Object does not exist')
        return _with_action(pointer, 'download', self._basic(pointer, 'download'))

    def uploads(self, asked: _Asked) -> list[Mapping[str, Any]]:
        room = shutil.disk_usage(self._repo.path).free
        errors = [self._error(pointer, room) for pointer in asked.objects]
        missing = {
            pointer
            for pointer, error in zip(asked.objects, errors, strict=True)
            if error is None and not _has(self._store, pointer)
        }
        self._choose_transfer(asked, missing)
        answers = []
        for pointer, error in zip(asked.objects, errors, strict=True):
            if error is not None:
                answers.append(_with_error(pointer, *error))
            elif pointer in missing:
                answers.append(_with_action(pointer, 'upload', self._upload(pointer)))
            else:
                answers.append({'oid': pointer.oid, 'size': pointer.size})  # it is here already
        return answers

    def _choose_transfer(self, asked: _Asked, missing: set[Pointer]) -> None:
        # git-lfs hands all objects of one answer to one program, so that small ones go with the large ones.
        if missing and self._hub.wants_xet and 'xet' in asked.transfers:
            self.transfer = 'xet'
        elif 'multipart' in asked.transfers and any(
            pointer.size >= self._hub.multipart_from for pointer in missing
        ):
            self.transfer = 'multipart'
            sizes = [pointer.size for pointer in asked.objects if pointer in missing]
            if sum(-(-size // multipart.part_size(self._hub, size)) for size in sizes) > _MOST_PARTS:
                raise Problem(413, 'Ask for fewer large objects at once.')

    def _error(self, pointer: Pointer, room: int) -> tuple[int, str] | None:
        if not _OID.fullmatch(pointer.oid):
            return 422, 'An oid is the sha256 of the object: 64 digits and lower-case letters a to f'
        if pointer.size < 0 or (pointer.size == 0 and pointer.oid != _EMPTY):
            return 422, 'No such object has that size'
        if pointer.size > self._hub.max_file_size:
            return 413, f'Files of up to {self._hub.max_file_size} bytes are taken here'
        if pointer.size > room and not _has(self._store, pointer):
            return 507, 'The disk of the server has no room for it'
        return None

    def _upload(self, pointer: Pointer) -> Mapping[str, Any]:
        if self.transfer == 'xet':
            return xet_api.upload_action(self._request, self._repo)
        if self.transfer == 'multipart':
            return multipart.action(self._hub, self._repo, pointer, base=self._base)
        return self._basic(pointer, 'upload')

    def _basic(self, pointer: Pointer, operation: str) -> Mapping[str, Any]:
        shown = {'size': pointer.size}
        query = signed_query(self._hub.secret, self._repo, operation, pointer.oid, shown=shown)
        return {'href': f'{self._base}/objects/{pointer.oid}?{query}', 'expires_in': LIFETIME_S}


def _with_error(pointer: Pointer, code: int, message: str) -> Mapping[str, Any]:
    return {'oid': pointer.oid, 'size': pointer.size, 'error': {'code': code, 'message': message}}


def _with_action(pointer: Pointer, operation: str, action: Mapping[str, Any]) -> Mapping[str, Any]:
    # `authenticated`: git-lfs is not to look for a password for the address.
    return {'oid': pointer.oid, 'size': pointer.size, 'authenticated': True, 'actions': {operation: action}}


def _has(store: ObjectStore, pointer: Pointer) -> bool:
    if pointer.size == 0:
        return pointer.oid == _EMPTY
    return _OID.fullmatch(pointer.oid) is not None and store.has(pointer.oid, pointer.size)


def _get(request: Request) -> Response:
    oid = request.path_params['oid']
    repo = signed_repo(request, 'download', oid) if _is_signed(request) else readable(request)
    if oid == _EMPTY:
        return FileBody(b'', etag=oid)
    store = ObjectStore(repo.objects)
    if not _OID.fullmatch(oid) or store.size(oid) is None:
        raise Problem(404, 'Object does not exist')
    return FileBody(store.path(oid), etag=oid, headers={'X-Content-Type-Options': 'nosniff'})


async def _put(request: Request) -> Response:
    store, pointer = await to_thread.run_sync(_target, request)
    if not await to_thread.run_sync(_has, store, pointer):
        await receive_object(request, store, oid=pointer.oid, size=pointer.size)
    return Response(status_code=200)


def _target(request: Request) -> tuple[ObjectStore, Pointer]:
    """Return the store and the object that the caller may send to it: by the address, else by their token."""
    oid, hub = request.path_params['oid'], hub_of(request)
    repo = signed_repo(request, 'upload', oid) if _is_signed(request) else writable(request)
    size = request.query_params.get('size', '')
    if not _OID.fullmatch(oid) or not re.fullmatch('[0-9]{1,18}', size):
        raise bad_request('The address must name the sha256 of the object, and its size.')
    if int(size) > hub.max_file_size:
        raise Problem(413, f'Files of up to {hub.max_file_size} bytes are taken here')
    return ObjectStore(repo.objects), Pointer(oid, int(size))


def _is_signed(request: Request) -> bool:
    return 'signature' in request.query_params


async def _verify(request: Request) -> Response:
    repo = await to_thread.run_sync(readable, request)
    pointer = _pointer(await json_object(request))
    store = ObjectStore(repo.objects)
    if await to_thread.run_sync(_has, store, pointer):
        return Response('{}', media_type=TYPE)
    if not _OID.fullmatch(pointer.oid) or store.size(pointer.oid) is None:
        raise Problem(404, 'Object does not exist')
    raise Problem(422, 'The object has another size')


def _nothing(request: Request) -> Response:
    # For `locks/verify` too: by this answer git-lfs learns, without a word to its user, that there are no locks.
    raise Problem(404, 'Not found')


def _routes(path: str) -> list[Route]:
    lfs = path + '/info/lfs'
    return [
        Route(lfs + '/objects/batch', _batch, methods=['POST']),
        Route(lfs + '/objects/verify', _verify, methods=['POST']),
        Route(lfs + '/objects/{oid:segment}', _get, methods=['GET']),
        Route(lfs + '/objects/{oid:segment}', _put, methods=['PUT']),
    ]


_KINDS = '/{kind:kind}/{namespace:segment}/{name:git}'
_MODELS = '/{namespace:namespace}/{name:git}'
ROUTES: list[Route] = [
    *multipart.ROUTES,
    *_routes(_KINDS),
    *_routes(_MODELS),
    *(
        Route(path + '/info/lfs/{rest:tail}', _nothing, methods=['GET', 'POST', 'PUT', 'DELETE'])
        for path in (_KINDS, _MODELS)
    ),
]
