"""A git host with LFS on 127.0.0.1: git's own http-backend, the LFS batch API, and faults when a test asks for them."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.support.mirror import bare, git

_BLOCK = 256 * 1024  # bytes
_LFS_TYPE = 'application/vnd.git-lfs+json'


class Seen(NamedTuple):
    """A request and how it was answered. ``received`` and ``length`` are the bytes of the two bodies."""

    method: str
    path: str
    received: int
    status: int
    length: int


@dataclass
class _Fault:
    what: str
    times: int
    status: int | None = None
    drop_after: int | None = None
    action: object = None


class GitHost:
    """A host for repositories under ``root``. ``user`` (``name:password``) is asked for when given; ``lfs`` may be off.

    ``headers_in_actions``: whether the LFS answers carry the Authorization header for the objects, as most hosts do.
    ``ranges``: whether a part of an object can be fetched.
    """

    def __init__(self, root, *, user=None, lfs=True, headers_in_actions=True, ranges=True):
        self.root, self.user, self.lfs = Path(root), user, lfs
        self.headers_in_actions, self.ranges = headers_in_actions, ranges
        self.root.mkdir(parents=True, exist_ok=True)
        self.seen = []
        self.port = 0
        self._faults = []
        self._lock = threading.Lock()
        self._server = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *failure):
        self.stop()

    def start(self):
        """Listen: on a free port the first time, on the same one ever after."""
        self._server = _Server(('127.0.0.1', self.port), _Handler)
        self._server.host = self
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={'poll_interval': 0.02})
        self._thread.start()

    def stop(self):
        """Refuse connections, and drop those that are open."""
        if self._server is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.drop_all()
        self._server.server_close()
        self._server = None

    def url(self, name):
        return f'http://127.0.0.1:{self.port}/{name}.git'

    def create(self, name):
        """Make an empty repository and return its directory."""
        path = bare(self.root / f'{name}.git')
        git('config', 'http.receivepack', 'true', cwd=path)
        git('config', 'uploadpack.allowFilter', 'true', cwd=path)
        return path

    def wipe(self):
        """Remove all repositories, what was seen and the faults that are left."""
        shutil.rmtree(self.root)
        self.root.mkdir()
        self.seen = []
        self.wipe_faults()

    def wipe_faults(self):
        self._faults = []

    def fail(self, what, status, *, times=1):
        """Answer the next requests like ``what`` (``PUT``, or ``POST /info/lfs``: method and part of the path) so."""
        self._faults.append(_Fault(what, times, status=status))

    def drop(self, what, *, after=0, times=1):
        """Close the connection of the next requests like ``what`` when so many bytes of the answer are sent."""
        self._faults.append(_Fault(what, times, drop_after=after))

    def when(self, what, action, *, times=1):
        """Call ``action`` when the next request like ``what`` has come in, before it is answered."""
        self._faults.append(_Fault(what, times, action=action))

    def requests(self, what):
        """Return the requests like ``what`` that were answered."""
        return [seen for seen in list(self.seen) if _is_like(seen.method, seen.path, what)]

    def fault_for(self, method, path):
        with self._lock:
            for fault in self._faults:
                if fault.times and _is_like(method, path, fault.what):
                    fault.times -= 1
                    return fault
        return None


def _is_like(method, path, what):
    wanted, _, part = what.partition(' ')
    return method == wanted and part in path


class _Server(ThreadingHTTPServer):
    daemon_threads = False  # joined at close, so that no thread outlives its test

    def __init__(self, *args):
        self._open = set()
        super().__init__(*args)

    def get_request(self):
        connection, address = super().get_request()
        self._open.add(connection)
        return connection, address

    def shutdown_request(self, request):
        self._open.discard(request)
        super().shutdown_request(request)

    def drop_all(self):
        for connection in list(self._open):
            _hang_up(connection)

    def handle_error(self, request, client_address):
        """A client that was killed is no fault of ours."""


def _hang_up(connection):
    with suppress(OSError):  # the client was first
        connection.shutdown(socket.SHUT_RDWR)


class _Body(NamedTuple):
    path: Path
    size: int
    oid: str


class _Handler(BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    disable_nagle_algorithm = True
    timeout = 30

    def log_message(self, *args):
        """The log is ``host.seen``."""

    def do_GET(self):
        self._handle()

    def do_POST(self):
        self._handle()

    def do_PUT(self):
        self._handle()

    def _handle(self):
        self._left = None
        body = self._receive()
        try:
            fault = self.server.host.fault_for(self.command, self.path)
            if fault and fault.action:
                fault.action()
            if fault and fault.drop_after is not None:
                self._left = fault.drop_after
            if fault and fault.status:
                self._answer(fault.status, b'{"message": "as the test wants it"}', body=body)
            elif not self._is_known():
                basic = {'WWW-Authenticate': 'Basic realm="host"', 'LFS-Authenticate': 'Basic realm="host"'}
                self._answer(401, b'{"message": "who are you?"}', basic, body=body)
            else:
                self._route(body)
        except _Dropped:
            self.close_connection = True
            _hang_up(self.connection)
        finally:
            body.path.unlink(missing_ok=True)

    def _is_known(self):
        user = self.server.host.user
        return user is None or self.headers.get('Authorization') == _basic(user)

    def _receive(self):
        """Read the request's body into a file beside the repositories."""
        digest, size = hashlib.sha256(), 0
        incoming = self.server.host.root / '.incoming'
        incoming.mkdir(exist_ok=True)
        with NamedTemporaryFile(dir=incoming, delete=False) as file:
            for block in self._blocks():
                digest.update(block)
                size += len(block)
                file.write(block)
        return _Body(Path(file.name), size, digest.hexdigest())

    def _blocks(self):
        if self.headers.get('Transfer-Encoding', '').lower() == 'chunked':
            while length := int(self.rfile.readline().partition(b';')[0], 16):
                yield self.rfile.read(length)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
            return
        left = int(self.headers.get('Content-Length') or 0)
        while left:
            block = self.rfile.read(min(left, _BLOCK))
            if not block:
                raise ConnectionError('the client has gone')
            left -= len(block)
            yield block

    def _route(self, body):
        name, mark, rest = urlsplit(self.path).path.partition('.git/')
        repository = self.server.host.root / f'{name.strip("/")}.git'
        if mark and rest.startswith(('info/lfs/', 'lfs/')):
            if self.server.host.lfs and repository.is_dir():
                self._lfs(repository, rest, body)
            else:
                self._answer(404, b'{"message": "Not Found"}', body=body)
        else:
            self._git(body)

    def _lfs(self, repository, rest, body):
        place, _, oid = rest.rpartition('/')
        if rest == 'info/lfs/objects/batch' and self.command == 'POST':
            self._batch(repository, body)
        elif place == 'lfs/objects' and self.command == 'PUT':
            self._put(repository, oid, body)
        elif place == 'lfs/objects' and self.command == 'GET':
            self._get(_object(repository, oid), body)
        else:
            self._answer(404, b'{}', body=body)

    def _batch(self, repository, body):
        content = body.path.read_bytes()
        asked = json.loads(
            gzip.decompress(content) if self.headers.get('Content-Encoding') == 'gzip' else content
        )
        objects = [self._object_answer(repository, asked['operation'], one) for one in asked['objects']]
        answer = {'transfer': 'basic', 'hash_algo': 'sha256', 'objects': objects}
        self._answer(200, json.dumps(answer).encode(), {'Content-Type': _LFS_TYPE}, body=body)

    def _object_answer(self, repository, operation, one):
        oid, size = one['oid'], one['size']
        path = _object(repository, oid)
        there = path.is_file() and path.stat().st_size == size
        named = {'oid': oid, 'size': size}
        if operation == 'upload' and there:
            return named
        if operation == 'download' and not there:
            return {**named, 'error': {'code': 404, 'message': 'Object does not exist'}}
        user = self.server.host.user if self.server.host.headers_in_actions else None
        header = {'Authorization': _basic(user)} if user else {}
        base = f'http://{self.headers["Host"]}/{repository.relative_to(self.server.host.root)}'
        return {**named, 'actions': {operation: {'href': f'{base}/lfs/objects/{oid}', 'header': header}}}

    def _put(self, repository, oid, body):
        if body.oid != oid:
            self._answer(422, b'{"message": "the bytes are not the oid"}', body=body)
            return
        final = _object(repository, oid)
        final.parent.mkdir(parents=True, exist_ok=True)
        os.replace(body.path, final)
        self._answer(200, b'', body=body)

    def _get(self, path, body):
        if not path.is_file():
            self._answer(404, b'{}', body=body)
            return
        size = path.stat().st_size
        asked = self.headers.get('Range', '').removeprefix('bytes=').partition('-')[0]
        asked = asked if self.server.host.ranges else ''
        start = int(asked or 0)
        headers = {'Content-Range': f'bytes {start}-{size - 1}/{size}'} if asked else {}
        self._begin(206 if asked else 200, size - start, headers, body)
        with path.open('rb') as file:
            file.seek(start)
            while block := file.read(_BLOCK):
                self._send(block)

    def _git(self, body):
        parts = urlsplit(self.path)
        environment = {
            **os.environ,
            'GIT_PROJECT_ROOT': str(self.server.host.root),
            'GIT_HTTP_EXPORT_ALL': '1',
            'PATH_INFO': parts.path,
            'QUERY_STRING': parts.query,
            'REQUEST_METHOD': self.command,
            'CONTENT_TYPE': self.headers.get('Content-Type', ''),
            'CONTENT_LENGTH': str(body.size),
            'HTTP_CONTENT_ENCODING': self.headers.get('Content-Encoding', ''),
            'GIT_PROTOCOL': self.headers.get('Git-Protocol', ''),
        }
        with body.path.open('rb') as stdin:
            done = subprocess.run(
                ['git', 'http-backend'], stdin=stdin, env=environment, capture_output=True, check=False
            )
        head, _, content = done.stdout.partition(b'\r\n\r\n')
        headers = dict(line.split(': ', 1) for line in head.decode().splitlines())
        status = int(headers.pop('Status', '200').split()[0])
        self._answer(status, content, headers, body=body)

    def _answer(self, status, content, headers=None, *, body):
        self._begin(status, len(content), headers or {}, body)
        self._send(content)

    def _begin(self, status, length, headers, body):
        self.server.host.seen.append(Seen(self.command, self.path, body.size, status, length))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header('Content-Length', str(length))
        self.end_headers()

    def _send(self, content):
        """Send a part of the answer, or as much of it as the test lets through."""
        if self._left is None:
            self.wfile.write(content)
            return
        self.wfile.write(content[: self._left])
        self._left -= len(content)
        if self._left <= 0:
            self.wfile.flush()
            raise _Dropped


class _Dropped(Exception):
    pass


def _object(repository, oid):
    return repository / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid


def _basic(user):
    return f'Basic {base64.b64encode(user.encode()).decode()}'
