"""Large bodies over a real server: what comes in whole is kept, what does not leaves nothing; ranges go out as asked."""

import asyncio
import hashlib
import http.client
import os
import resource
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hfmirror.server import answers, bodies
from hfmirror.server.bodies import FileBody, receive, receive_object
from hfmirror.store import ObjectStore

MIB = 1 << 20
HEAD = {'X-Repo-Commit': 'c' * 40}


class Host:
    """A server with one address for each thing that bodies.py does; it keeps everything at ``place``."""

    def move(self, place):
        place.mkdir()
        self.place = place
        self.store = place / 'store'
        self.file = place / 'file'
        self.ended = threading.Event()  # a request to receive something is over, however it ended

    def app(self):
        async def receiving(request):
            try:
                return await self.receive(request)
            finally:
                self.ended.set()

        routes = [
            Route('/objects/{oid}/{size:int}', receiving, methods=['PUT']),
            Route('/file', receiving, methods=['PUT']),
            Route('/file', self.send_file, methods=['GET', 'HEAD']),
            Route('/bytes', self.send_bytes, methods=['GET', 'HEAD']),
        ]
        handlers = {answers.Problem: problem, ClientDisconnect: hung_up}
        return Starlette(routes=routes, exception_handlers=handlers)

    async def receive(self, request):
        if 'oid' not in request.path_params:
            return JSONResponse((await self.receive_file(request))._asdict())
        await receive_object(request, ObjectStore(self.store), **request.path_params)
        return Response()

    async def receive_file(self, request):
        """Receive into a file beside the one it replaces, as those do that check what came before they keep it."""
        with NamedTemporaryFile(dir=self.place, buffering=0) as file:
            received = await receive(request, file, limit=64 * MIB)
            os.link(file.name, f'{file.name}.kept')
        os.replace(f'{file.name}.kept', self.place / 'received')
        return received

    async def send_file(self, request):
        return FileBody(self.file, etag='f' * 64, headers=HEAD)

    async def send_bytes(self, request):
        return FileBody(b'0123456789', etag='b' * 40, headers=HEAD, media_type='text/plain')

    def left(self):
        """Return the names of all files, relative to the place."""
        return sorted(str(path.relative_to(self.place)) for path in self.place.rglob('*') if path.is_file())

    def put(self, path, content, **headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        connection.request('PUT', path, content, headers)
        return answered(connection)

    def put_object(self, content, *, oid=None, size=None, body=None):
        oid = hashlib.sha256(content).hexdigest() if oid is None else oid
        path = f'/objects/{oid}/{len(content) if size is None else size}'
        return self.put(path, content if body is None else body)

    def get(self, path, method='GET', **headers):
        connection = http.client.HTTPConnection('127.0.0.1', self.port, timeout=30)
        connection.request(method, path, headers={name.replace('_', '-'): v for name, v in headers.items()})
        return answered(connection)

    def connect(self):
        return socket.create_connection(('127.0.0.1', self.port), timeout=30)

    def part_of_a_put(self, announced, sent):
        """Send the beginning of an object and leave the connection open."""
        connection = self.connect()
        head = (
            f'PUT /objects/{"0" * 64}/{announced} HTTP/1.1\r\nHost: x\r\nContent-Length: {announced}\r\n\r\n'
        )
        connection.sendall(head.encode() + bytes(sent))
        return connection


class Answer:
    def __init__(self, response, content):
        self.status, self.headers, self.content = response.status, response.headers, content


def answered(connection):
    try:
        response = connection.getresponse()
        return Answer(response, response.read())
    finally:
        connection.close()


async def problem(request, error):
    return answers.answer(error, request.url.path)


async def hung_up(request, error):
    return Response(status_code=499)


@contextmanager
def serving(host, **config):
    listening = socket.create_server(('127.0.0.1', 0))
    host.port = listening.getsockname()[1]
    server = uvicorn.Server(
        uvicorn.Config(host.app(), log_level='critical', timeout_graceful_shutdown=0, **config)
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


@pytest.fixture(scope='module', params=['h11', 'httptools'])
def running(request):
    """One server for all tests: starting one takes longer than most of them."""
    made = Host()
    with serving(made, http=request.param):
        yield made


@pytest.fixture
def host(running, tmp_path):
    running.move(tmp_path / 'served')
    return running


def kept(host, content):
    return ObjectStore(host.store).path(hashlib.sha256(content).hexdigest()).read_bytes() == content


# -- in


@pytest.mark.parametrize(
    'size', [0, 1, 4096, 2 * MIB - 1, 2 * MIB, 2 * MIB + 1, 4 * MIB, 12 * MIB, 12 * MIB + 4097]
)
def test_an_object_of_any_size_is_kept(host, size):
    content = os.urandom(size)
    assert host.put_object(content).status == 200
    assert kept(host, content)


def test_an_object_sent_in_chunks_of_unknown_number_is_kept(host):
    content = os.urandom(9 * MIB + 5)
    pieces = (content[at : at + 300_001] for at in range(0, len(content), 300_001))
    assert host.put_object(content, body=pieces).status == 200
    assert kept(host, content)


def test_nothing_but_the_object_is_left(host):
    host.put_object(b'weights')
    assert len(host.left()) == 1


def test_an_object_may_be_sent_twice(host):
    assert [host.put_object(b'weights').status for _ in range(2)] == [200, 200]
    assert kept(host, b'weights')


def test_two_uploads_of_one_object_at_once_are_both_taken(host):
    content = os.urandom(20 * MIB)
    with ThreadPoolExecutor(4) as threads:
        done = list(threads.map(host.put_object, [content] * 4))
    assert [answer.status for answer in done] == [200] * 4
    assert kept(host, content)
    assert len(host.left()) == 1


def test_more_uploads_than_threads_are_all_taken(host):
    contents = [os.urandom(3 * MIB) for _ in range(20)]
    with ThreadPoolExecutor(20) as threads:
        done = list(threads.map(host.put_object, contents))
    assert {answer.status for answer in done} == {200}
    assert all(kept(host, content) for content in contents)


@pytest.mark.parametrize('size', [10, 12 * MIB])
def test_an_object_with_another_hash_is_refused_and_leaves_nothing(host, size):
    answer = host.put_object(bytes(size), oid='0' * 64)
    assert answer.status == 422
    assert b'received' in answer.content
    assert host.left() == []


def test_an_object_of_a_size_not_announced_is_refused_before_it_is_sent(host):
    with host.connect() as connection:
        head = f'PUT /objects/{"0" * 64}/10 HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n'
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b'HTTP/1.1 422 ')
    assert host.left() == []


def test_an_object_that_goes_on_beyond_its_size_is_refused_and_leaves_nothing(host):
    endless = (bytes(100_000) for _ in range(200))
    assert host.put_object(b'', oid='0' * 64, size=MIB, body=endless).status == 413
    assert host.left() == []


def test_an_object_that_is_too_short_is_refused_and_leaves_nothing(host):
    content = b'weights'
    assert host.put_object(content, size=8, body=iter([content])).status == 422
    assert host.left() == []


@pytest.mark.parametrize('sent', [0, 1000, 11 * MIB])
def test_a_client_that_hangs_up_leaves_nothing(host, sent):
    host.part_of_a_put(12 * MIB, sent).close()
    assert host.ended.wait(10)
    assert host.left() == []


def test_a_client_that_falls_silent_is_answered_and_leaves_nothing(host, monkeypatch):
    monkeypatch.setattr(bodies, 'PATIENCE_S', 0.2)
    with host.part_of_a_put(12 * MIB, 3 * MIB) as connection:
        assert connection.recv(100).startswith(b'HTTP/1.1 408 ')
    assert host.left() == []


def test_a_server_that_ends_leaves_nothing_of_an_upload(tmp_path):
    host = Host()
    host.move(tmp_path / 'served')
    with serving(host):
        connection = host.part_of_a_put(12 * MIB, 9 * MIB)
        while not host.left():
            time.sleep(0.01)
    connection.close()
    assert host.ended.is_set()
    assert host.left() == []


@pytest.fixture
def small_files():
    """No file of this process may be larger than 2 MiB; a write beyond that fails as it does on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * MIB, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('path', [f'/objects/{"0" * 64}/{12 * MIB}', '/file'])
def test_a_full_disk_is_507_and_leaves_nothing(host, small_files, path):
    answer = host.put(path, bytes(12 * MIB))
    assert answer.status == 507
    assert host.left() == []


def test_an_object_that_cannot_get_its_name_leaves_nothing(host):
    content = b'weights'
    (host.store / 'objects').mkdir(parents=True)
    (host.store / 'objects' / hashlib.sha256(content).hexdigest()[:2]).write_bytes(b'in the way')
    assert host.put_object(content).status == 500
    assert len(host.left()) == 1


@pytest.mark.parametrize('size', [0, 5, 12 * MIB + 5])
def test_a_file_is_kept_and_told_by_hash_and_size(host, size):
    content = os.urandom(size)
    answer = host.put('/file', content)
    assert answer.content == b'{"oid":"%s","size":%d}' % (hashlib.sha256(content).hexdigest().encode(), size)
    assert (host.place / 'received').read_bytes() == content
    assert host.left() == ['received']


def test_a_file_replaces_the_one_before(host):
    host.put('/file', b'before')
    host.put('/file', b'after')
    assert (host.place / 'received').read_bytes() == b'after'


def test_a_file_beyond_the_limit_is_refused_before_it_is_sent(host):
    with host.connect() as connection:
        head = (
            f'PUT /file HTTP/1.1\r\nHost: x\r\nContent-Length: {64 * MIB + 1}\r\nExpect: 100-continue\r\n\r\n'
        )
        connection.sendall(head.encode())
        assert connection.recv(100).startswith(b'HTTP/1.1 413 ')
    assert host.left() == []


def test_a_file_that_goes_on_beyond_the_limit_leaves_the_one_before(host):
    host.put('/file', b'before')
    assert host.put('/file', (bytes(MIB) for _ in range(65))).status == 413
    assert (host.place / 'received').read_bytes() == b'before'
    assert host.left() == ['received']


# -- out


@pytest.fixture
def content(host):
    """What the served file holds: some blocks and a bit."""
    content = os.urandom(3 * MIB + 17)
    host.file.write_bytes(content)
    return content


def test_a_file_is_sent_whole(host, content):
    answer = host.get('/file')
    assert (answer.status, answer.content) == (200, content)


def test_an_answer_tells_length_etag_and_ranges_beside_its_own_headers(host, content):
    headers = host.get('/file').headers
    assert headers['Content-Length'] == str(len(content))
    assert headers['ETag'] == f'"{"f" * 64}"'
    assert headers['Accept-Ranges'] == 'bytes'
    assert headers['X-Repo-Commit'] == 'c' * 40
    assert headers['Content-Type'] == 'application/octet-stream'


def test_head_is_answered_as_get_without_the_content(host, content):
    head, got = host.get('/file', 'HEAD'), host.get('/file')
    names = ('Content-Length', 'ETag', 'Accept-Ranges', 'X-Repo-Commit', 'Content-Type')
    assert [head.headers[name] for name in names] == [got.headers[name] for name in names]
    assert (head.status, head.content) == (200, b'')


def test_head_ignores_a_range(host, content):
    assert host.get('/file', 'HEAD', Range='bytes=0-9').headers['Content-Length'] == str(len(content))


def test_an_empty_file_is_sent(host):
    host.file.write_bytes(b'')
    answer = host.get('/file')
    assert (answer.status, answer.headers['Content-Length'], answer.content) == (200, '0', b'')


def test_bytes_are_sent_as_a_file_is(host):
    answer = host.get('/bytes')
    assert (answer.status, answer.content) == (200, b'0123456789')
    assert answer.headers['Content-Type'] == 'text/plain; charset=utf-8'


@pytest.mark.parametrize(
    ('asked', 'start', 'end'),
    [
        ('bytes=0-0', 0, 1),
        ('bytes=5-9', 5, 10),
        ('bytes=2000000-', 2_000_000, 3 * MIB + 17),
        ('bytes=-7', 3 * MIB + 10, 3 * MIB + 17),
        ('bytes=-99999999', 0, 3 * MIB + 17),
        ('bytes=10-99999999', 10, 3 * MIB + 17),
        ('Bytes=1048575-2097152', MIB - 1, 2 * MIB + 1),
    ],
)
def test_one_range_is_sent_alone(host, content, asked, start, end):
    answer = host.get('/file', Range=asked)
    assert answer.status == 206
    assert answer.headers['Content-Range'] == f'bytes {start}-{end - 1}/{len(content)}'
    assert answer.headers['Content-Length'] == str(end - start)
    assert answer.content == content[start:end]


@pytest.mark.parametrize('asked', ['bytes=10-', 'bytes=10-20', 'bytes=999999999999-', 'bytes=-0'])
def test_a_range_beyond_the_end_is_416_with_the_size(host, asked):
    answer = host.get('/bytes', Range=asked)
    assert (answer.status, answer.headers['Content-Range'], answer.content) == (416, 'bytes */10', b'')


def test_a_range_of_nothing_is_416(host):
    host.file.write_bytes(b'')
    assert host.get('/file', Range='bytes=0-').status == 416


@pytest.mark.parametrize(
    'asked',
    ['bytes=0-1,4-5', 'bytes=-', 'bytes=5-2', 'bytes=a-b', 'lines=1-2', 'bytes', 'bytes=1', f'bytes={"9" * 5000}-', 'bytes=١-٢'],
)  # fmt: skip
def test_a_range_that_is_none_is_ignored(host, asked):
    answer = host.get('/bytes', Range=asked.encode())
    assert (answer.status, answer.content) == (200, b'0123456789')


@pytest.mark.parametrize('asked', [f'"{"b" * 40}"', f'W/"{"b" * 40}"', f'"x", "{"b" * 40}"', '*'])
def test_who_has_it_is_told_so(host, asked):
    answer = host.get('/bytes', If_None_Match=asked)
    assert (answer.status, answer.content) == (304, b'')
    assert answer.headers['ETag'] == f'"{"b" * 40}"'


def test_who_has_another_is_sent_it(host):
    assert host.get('/bytes', If_None_Match='"other"').content == b'0123456789'


@pytest.mark.parametrize(
    ('asked', 'status'),
    [
        (f'"{"b" * 40}"', 206),
        ('"other"', 200),
        (f'W/"{"b" * 40}"', 200),
        ('Sat, 21 Nov 2026 08:00:00 GMT', 200),
    ],
)
def test_a_range_of_another_content_is_answered_with_the_whole(host, asked, status):
    assert host.get('/bytes', Range='bytes=2-3', If_Range=asked).status == status


def test_a_file_that_is_gone_is_404(host):
    assert host.get('/file').status == 404


def test_one_connection_takes_one_request_after_another(host, content):
    connection = http.client.HTTPConnection('127.0.0.1', host.port, timeout=30)
    for headers in ({}, {'Range': 'bytes=9999999-'}, {'If-None-Match': '*'}, {}):
        connection.request('GET', '/file', headers=headers)
        last = connection.getresponse().read()
    connection.close()
    assert last == content


def open_files(path):
    links = [Path(f'/proc/self/fd/{number}') for number in os.listdir('/proc/self/fd')]
    return [link for link in links if link.exists() and os.readlink(link) == str(path)]


@pytest.mark.skipif(not Path('/proc/self/fd').exists(), reason='needs /proc')
def test_the_file_is_closed_when_the_client_hangs_up(host):
    host.file.write_bytes(b'')
    os.truncate(host.file, 1 << 40)  # a hole: it would be sent for minutes
    with host.connect() as connection:
        connection.sendall(b'GET /file HTTP/1.1\r\nHost: x\r\n\r\n')
        connection.recv(100_000)
        assert open_files(host.file)
    deadline = time.monotonic() + 10
    while open_files(host.file):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_file_that_becomes_shorter_cuts_the_connection(host):
    host.file.write_bytes(bytes(64 * MIB))
    with host.connect() as connection:
        connection.sendall(b'GET /file HTTP/1.1\r\nHost: x\r\n\r\n')
        received = len(connection.recv(100_000))
        os.truncate(host.file, 10)
        while got := len(connection.recv(MIB)):
            received += got
    assert received < 64 * MIB


# -- what a Range header may be


@given(
    st.text('bytes=0123456789-, ', max_size=40) | st.from_regex(r'bytes=\d{0,20}-\d{0,20}', fullmatch=True),
    st.integers(0, 50),
)
def test_no_range_reaches_beyond_the_content(header, size):
    wanted = bodies._parse_range(header, size)
    assert wanted is None or (0 <= wanted.start <= size and 0 <= wanted.end <= size)


# -- blocks


@pytest.mark.heavy
@given(st.lists(st.integers(0, 5 * MIB), max_size=6))
def test_blocks_of_any_lengths_make_one_file(tmp_path_factory, lengths):
    path = tmp_path_factory.mktemp('blocks') / 'file'
    content = [bytes([number]) * length for number, length in enumerate(lengths)]

    async def take_all():
        with path.open('wb', buffering=0) as file:
            blocks = bodies._Blocks(file)
            for chunk in content:
                await blocks.take(chunk)
            return await blocks.finish()

    received = asyncio.run(take_all())
    whole = b''.join(content)
    assert received == (hashlib.sha256(whole).hexdigest(), len(whole))
    assert path.read_bytes() == whole
