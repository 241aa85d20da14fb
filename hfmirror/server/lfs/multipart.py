"""How does a large object come in parts? Several at once or one again, each to its own place in one file.

    <repository>/lfs/multipart/<oid>-<upload>/data     the object, as far as it is there
                                              00001    the ETag of part 1, once that is whole

The client asks the batch API, sends the parts, each to an address of its own, and then a list of them with the ETags that
it was given. Nothing is kept before the first part; what is not completed within a day is swept.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from anyio import to_thread
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror import durable
from hfmirror.copying import copy_hashed
from hfmirror.lfs import Pointer
from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.bodies import receive
from hfmirror.server.hub import Hub
from hfmirror.server.lfs.signing import LIFETIME_S, signed_query, signed_repo
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.requests import json_object
from hfmirror.store import ObjectStore

MOST_PARTS = 1000  # of one object; those of a larger one are larger
_LIST_MAX = 1024 * 1024  # bytes of the list of parts
_OPERATION = 'multipart'


class Upload(NamedTuple):
    """An object that comes in parts of ``part_size`` bytes, the last of what is left. ``path`` is its directory."""

    path: Path
    oid: str
    size: int
    part_size: int

    @property
    def parts(self) -> int:
        """How many parts it has; the first is 1."""
        return -(-self.size // self.part_size)

    def length(self, number: int) -> int:
        """Return the bytes of a part."""
        return min(self.part_size, self.size - (number - 1) * self.part_size)

    def open_part(self, number: int) -> io.FileIO:
        """Open the file at the place of a part, whose ETag is forgotten. Raises Problem 409 when the upload is over."""
        self.path.mkdir(parents=True, exist_ok=True)
        # 0o666 less the umask, as the store makes its objects.
        file = io.FileIO(os.open(self._data, os.O_WRONLY | os.O_CREAT, 0o666), 'w')
        try:
            self._share(file)
            self._etag(number).unlink(missing_ok=True)
            os.ftruncate(file.fileno(), self.size)  # the file has its size at once, and takes no room for it
            file.seek((number - 1) * self.part_size)
        except BaseException:
            file.close()
            raise
        return file

    def _share(self, file: io.FileIO) -> None:
        # Whoever writes a part holds the file until it is closed; and once it is an object, nobody may write to it.
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            still_here = os.path.samestat(os.fstat(file.fileno()), self._data.stat())
        except (BlockingIOError, FileNotFoundError):
            still_here = False
        if not still_here:
            raise Problem(409, f'The upload of {self.oid} is being completed')

    def keep(self, number: int, file: io.FileIO, etag: str) -> None:
        """Remember that a part is whole, and on disk."""
        os.fsync(file.fileno())
        durable.write(self._etag(number), etag.encode())

    def complete(self, store: ObjectStore, etags: Mapping[int, str]) -> None:
        """Make the parts the object, which is on disk when this returns; nothing else is left. Done twice, it is done.

        Raises Problem: 400 for a part that is missing or has another ETag, 422 when the whole is not the object, which
        has to be sent anew then; 503 while a part is still being written, or somebody else does the same.
        """
        with self._alone() as file:
            if not store.has(self.oid, self.size):
                self._check(etags)
                self._add(file, store)
            self.remove()

    def _check(self, etags: Mapping[int, str]) -> None:
        if etags.keys() != set(range(1, self.parts + 1)):
            raise bad_request(f'The list must have the parts 1 to {self.parts}, each once.')
        for number, etag in etags.items():
            try:
                known = self._etag(number).read_text()
            except FileNotFoundError:
                known = None
            if known != etag:
                raise bad_request(f'Part {number} was not received with that ETag.')

    def _add(self, file: io.FileIO | None, store: ObjectStore) -> None:
        found = copy_hashed(file, None) if file else 'nothing'
        if file is None or found != self.oid:
            self.remove()
            raise Problem(422, f'{self.oid}: the parts together have sha256 {found}')
        store.add(file, self.oid)
        store.settle()

    @contextmanager
    def _alone(self) -> Iterator[io.FileIO | None]:
        """Hold the file as the only one; None when there is none, or no more."""
        try:
            file = io.FileIO(str(self._data), 'r+')
        except FileNotFoundError:
            yield None
            return
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as e:
                busy = f'{self.oid} is still being received or completed'
                raise Problem(503, busy, headers={'Retry-After': '1'}) from e
            yield file

    def remove(self) -> None:
        """Remove what is left of it."""
        shutil.rmtree(self.path, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self.path / 'data'

    def _etag(self, number: int) -> Path:
        return self.path / f'{number:05}'


def part_size(hub: Hub, size: int) -> int:
    """Return the bytes of each part of an object."""
    return max(hub.part_size, -(-size // MOST_PARTS))


def action(hub: Hub, repo: Repo, pointer: Pointer, *, base: str) -> Mapping[str, Any]:
    """Return the action ``upload`` of the batch API for an object. ``base`` is the address of the repository's LFS API.

    ``chunk_size`` is text because git-lfs takes a header for text; the numbers have equal lengths because the agent
    ``hf lfs-multipart-upload`` takes the parts in the order in which git-lfs sorts them, as text.
    """
    name, bytes_a_part = secrets.token_hex(8), part_size(hub, pointer.size)
    shown = {'size': pointer.size, 'part': bytes_a_part}
    query = signed_query(hub.secret, repo, _OPERATION, pointer.oid, name, shown=shown)
    href = f'{base}/multipart/{pointer.oid}/{name}'
    count = Upload(Path(), pointer.oid, pointer.size, bytes_a_part).parts
    parts = {f'{number:05}': f'{href}/{number}?{query}' for number in range(1, count + 1)}
    return {
        'href': f'{href}?{query}',
        'header': {'chunk_size': str(bytes_a_part), **parts},
        'expires_in': LIFETIME_S,
    }


def sweep(repo_path: Path, older_than_s: float) -> None:
    """Remove what uploads that were cut off left in a repository, in parts or whole, when it is older than that."""
    oldest = time.time() - older_than_s
    for upload in (repo_path / 'lfs' / 'multipart').glob('*'):
        if max(_changed(upload), _changed(upload / 'data')) < oldest:
            shutil.rmtree(upload, ignore_errors=True)
    for temporary in (repo_path / 'lfs' / 'tmp').glob('*'):
        if _changed(temporary) < oldest:
            with suppress(OSError):
                temporary.unlink()


def _changed(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def _upload(request: Request) -> tuple[Repo, Upload]:
    oid, name = (request.path_params[key] for key in ('oid', 'upload'))
    repo = signed_repo(request, _OPERATION, oid, name)
    # Signed, so that these are names and numbers that `action` made.
    size, bytes_a_part = (int(request.query_params[key]) for key in ('size', 'part'))
    return repo, Upload(repo.objects / 'multipart' / f'{oid}-{name}', oid, size, bytes_a_part)


async def _put_part(request: Request) -> Response:
    _, upload = await to_thread.run_sync(_upload, request)
    number = _number(request.path_params['part'], upload.parts)
    length = upload.length(number)
    if int(request.headers.get('content-length', length)) != length:
        raise bad_request(f'Part {number} must have {length} bytes.')
    with await to_thread.run_sync(upload.open_part, number) as file:
        received = await receive(request, file, limit=length)
        if received.size != length:
            raise bad_request(f'Part {number} has {received.size} bytes, expected {length}.')
        await to_thread.run_sync(upload.keep, number, file, received.oid)
    return Response(headers={'ETag': f'"{received.oid}"'})


def _number(text: str, most: int) -> int:
    number = int(text) if re.fullmatch('[0-9]{1,9}', text) else 0
    if not 1 <= number <= most:
        raise Problem(404, f'The object has the parts 1 to {most}')
    return number


async def _complete(request: Request) -> Response:
    repo, upload = await to_thread.run_sync(_upload, request)
    listed = await json_object(request, _LIST_MAX)
    if listed.get('oid') != upload.oid:
        raise bad_request('"oid" is not the object of this address.')
    store, etags = ObjectStore(repo.objects), _etags(listed.get('parts'))
    # It takes as long as the object is large; a server that ends does not wait for it.
    await to_thread.run_sync(upload.complete, store, etags, abandon_on_cancel=True)
    return Response(status_code=200)


def _etags(parts: object) -> Mapping[int, str]:
    if not isinstance(parts, list) or not all(_is_part(part) for part in parts):
        raise bad_request('"parts" must be a list of objects with "partNumber" and "etag".')
    return {part['partNumber']: part['etag'].strip('"') for part in parts}


def _is_part(part: object) -> bool:
    return (
        isinstance(part, dict)
        and isinstance(part.get('partNumber'), int)
        and isinstance(part.get('etag'), str)
    )


def _routes(path: str) -> list[Route]:
    upload = path + '/info/lfs/multipart/{oid:segment}/{upload:segment}'
    return [
        Route(upload + '/{part:segment}', _put_part, methods=['PUT']),
        Route(upload, _complete, methods=['POST']),
    ]


ROUTES: list[Route] = [
    *_routes('/{kind:kind}/{namespace:segment}/{name:git}'),
    *_routes('/{namespace:namespace}/{name:git}'),
]
