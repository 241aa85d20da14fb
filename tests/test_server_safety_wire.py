"""May anybody fill the server's memory, or keep it busy, by what they send? Raw bytes to a Hub in a process of its own."""

from __future__ import annotations

import gzip
import hashlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from hfmirror.server import connections, requests
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path
from tests.support.serving import TOKEN, serving

BLOCK = 64 * 1024
GROWTH_MAX = 64  # MiB of memory that an attack may take
HEADER_OF_BODY = b'POST /api/repos/create HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'


def connect(hub):
    parts = urlsplit(hub.endpoint)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def peak(hub):
    """Return the most memory that the server ever had, in MiB."""
    status = Path(f'/proc/{hub.process.pid}/status').read_text()
    return int(status.split('VmHWM:')[1].split()[0]) / 1024


@pytest.fixture(scope='module')
def served(tmp_path_factory):
    with serving(tmp_path_factory.mktemp('served') / 'hub') as running:
        call(running, 'POST', '/api/repos/create', {'name': 'x'})
        call(running, 'GET', '/local/x', headers={'Accept': 'text/html'})
        yield running


@pytest.mark.parametrize(
    ('start', 'more'),
    [
        (b'GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ', b'a'),
        (b'GET / HTTP/1.1\r\nHost: localhost\r\n', b'A: bcde\r\n'),
        (b'GET /', b'a'),
        (HEADER_OF_BODY + b'1;', b'a'),
        (HEADER_OF_BODY, b'0'),
        (HEADER_OF_BODY + b'0\r\nX-A: ', b'a'),
    ],
    ids=['header', 'headers', 'address', 'chunk', 'length', 'trailer'],
)
def test_a_head_that_never_ends_is_cut_off(served, start, more):
    before = peak(served)
    with connect(served) as sock, pytest.raises((ConnectionError, AssertionError)):
        sock.sendall(start)
        for _ in range(500):
            sock.sendall(more * (BLOCK // len(more)))
        assert sock.recv(1) != b''  # the end of the connection
    assert peak(served) - before < GROWTH_MAX


BOMB = gzip.compress(bytes(200_000_000))
LINES = [{'key': 'header', 'value': {'summary': 'x'}}]
LINES += [
    {
        'key': 'lfsFile',
        'value': {'path': f'{i}', 'oid': hashlib.sha256(b'%d' % i).hexdigest(), 'size': 10**14},
    }
    for i in range(10_000)
]


@pytest.mark.parametrize(
    ('address', 'body', 'headers'),
    [
        ('/api/repos/create', b'{"a": [' + b'{},' * 2_700_000 + b'1]}', {}),
        ('/api/repos/create', b'[' * 8_000_000, {}),
        ('/api/repos/create', b'"' + b'x' * 30_000_000, {}),
        ('/api/models/local/x/commit/main', b'{"key":"header","value":{"summary":"x"}}\n{"a":"' + b'x' * 40_000_000, {}),
        ('/api/models/local/x/commit/main', '\n'.join(map(json.dumps, LINES)), {}),
        ('/local/x.git/git-upload-pack', BOMB, {'Content-Encoding': 'gzip', 'Content-Type': 'application/x-git-upload-pack-request'}),
        ('/local/x.git/git-receive-pack', BOMB, {'Content-Encoding': 'gzip', 'Content-Type': 'application/x-git-receive-pack-request'}),
        ('/local/x.git/info/lfs/objects/batch', json.dumps({'operation': 'upload', 'transfers': ['multipart'], 'objects': [{'oid': f'{i:064x}', 'size': 10**300} for i in range(10_000)]}), {}),
    ],
    ids=['values', 'depth', 'length', 'line', 'sizes', 'fetch', 'push', 'objects'],
)  # fmt: skip
def test_no_body_takes_much_memory(served, address, body, headers):
    before = peak(served)
    try:
        status = call(served, 'POST', address, body=body, headers=headers).status
    except ConnectionError:
        status = 413  # it did not wait for all of it
    assert status in (200, 400, 413)
    assert peak(served) - before < GROWTH_MAX


ALIASES = 'a0: &a0 [x, x, x, x, x, x, x, x, x]\n' + ''.join(
    f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 10)
)
MERGES = 'a0: &a0 {x: 1, y: 2}\n' + ''.join(
    f'a{i}: &a{i}\n  <<: [{", ".join([f"*a{i - 1}"] * 9)}]\n  k{i}: 1\n' for i in range(1, 12)
)
DEEP = '[' * 500_000


@pytest.mark.parametrize(
    'files',
    [
        {'README.md': f'---\n{ALIASES}---\n'},
        {'README.md': f'---\n{MERGES}---\n'},
        {'README.md': f'---\na: {"9" * 200_000}\n---\n'},
        {'README.md': f'---\nmodel-index: {"[" * 900}{"]" * 900}\n---\n'},
        {'README.md': f'---\na: {DEEP}\n---\n'},
        {'README.md': 'x\n\n' + '<div>' * 90_000},
        {'README.md': '[a]: /' + 'x' * 90_000 + '\n\n' + '[a]' * 30_000},
        {'config.json': DEEP},
        {'config.json': '{"architectures": ' + DEEP, 'tokenizer_config.json': '{"a":' * 100_000},
        {'config.json': '9' * 500_000},
    ],
    ids=['aliases', 'merges', 'number', 'lists', 'depth', 'tags', 'link', 'config', 'configs', 'digits'],
)
def test_no_file_of_a_repository_takes_much_memory_or_time(served, files):
    path = served.root / 'models' / 'local' / 'x.git'
    commit_by_path(path, files, ref='refs/heads/evil', start='refs/heads/main')
    git('branch', '-f', 'main', 'evil', cwd=path)
    before, started = peak(served), time.monotonic()
    for address in ('/api/models/local/x', '/local/x', '/api/models?full=true', '/'):
        assert call(served, 'GET', address, headers={'Accept': 'text/html'}).status == 200
    assert time.monotonic() - started < 15
    assert peak(served) - before < 2 * GROWTH_MAX


@pytest.mark.parametrize(
    'header', [b'[' * 1_000_000, b'{"a":' * 200_000, b'{"a":' + b'9' * 100_000 + b'}', b'\xff' * 100]
)
def test_no_header_of_weights_brings_it_down(served, header):
    content = len(header).to_bytes(8, 'little') + header
    oid = hashlib.sha256(content).hexdigest()
    path = served.root / 'models' / 'local' / 'x.git'
    where = path / 'lfs' / 'objects' / oid[:2] / oid[2:4]
    where.mkdir(parents=True)
    (where / oid).write_bytes(content)
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n'
    commit_by_path(path, {'model.safetensors': pointer})
    got = call(served, 'GET', '/api/models/local/x')
    assert got.status == 200
    assert 'safetensors' not in got.json


def test_a_thousand_connections_that_say_nothing_stop_nobody(served):
    silent = [connect(served) for _ in range(400)]
    half = [connect(served) for _ in range(400)]
    for sock in half:
        sock.sendall(b'GET /api/models HTTP/1.1\r\nHo')
    bodies = [connect(served) for _ in range(200)]
    for sock in bodies:
        sock.sendall(b'POST /api/repos/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n{')
    started = time.monotonic()
    assert call(served, 'GET', '/api/models/local/x').status == 200
    assert time.monotonic() - started < 2
    for sock in (*silent, *half, *bodies):
        sock.close()


def test_who_says_nothing_is_cut_off_after_a_while(hub, monkeypatch):
    monkeypatch.setattr(connections, 'PATIENCE_S', 0.3)
    with connect(hub) as silent, connect(hub) as slow:
        slow.sendall(b'GET / HTTP/1.1\r\nX-')
        for sock in (silent, slow):
            with pytest.raises((ConnectionError, AssertionError)):
                assert sock.recv(1) != b''


def test_a_body_that_does_not_come_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(requests, '_PATIENCE_S', 0.3)
    with connect(hub) as sock:
        sock.sendall(b'POST /api/validate-yaml HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n{')
        assert sock.recv(100).startswith(b'HTTP/1.1 408')


@pytest.mark.parametrize(
    'head',
    [
        b'POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n',
        b'POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello',
        b'POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n',
        b'POST /api/repos/create HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n',
        b'POST /api/models HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello',
        b'GET / HTTP/1.1\r\nHost: localhost\r\nX-A: a\x00b\r\n\r\n',
        b'GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n',
        b'CONNECT evil.example:80 HTTP/1.1\r\nHost: localhost\r\n\r\n',
        b'\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03',
    ],
    ids=['negative', 'two-lengths', 'length-and-chunks', 'chunk', 'coding', 'nul', 'bytes', 'connect', 'tls'],
)  # fmt: skip
def test_a_request_that_can_be_read_in_two_ways_is_refused(served, head):
    with connect(served) as sock:
        sock.sendall(head)
        got = sock.recv(BLOCK)
        assert got.startswith((b'HTTP/1.1 400', b'HTTP/1.1 401', b'HTTP/1.1 405'))
        assert b'HTTP/1.1' not in got[8:]


@pytest.mark.parametrize('host', ['[', '[::1', 'a b', '"><script>', 'x@y', 'x:99999999', '', 'a/b', '\xff'])
@pytest.mark.parametrize(
    'path',
    [
        '/api/models?limit=1',
        '/local/x',
        '/local/x/tree?revision=main',
        '/api/models/local/x/xet-write-token/main',
    ],
)
def test_no_host_brings_it_down(served, host, path):
    with connect(served) as sock:
        lines = (
            f'GET {path} HTTP/1.1',
            f'Host: {host}',
            f'Authorization: Bearer {TOKEN}',
            'Connection: close',
            '',
            '',
        )
        sock.sendall('\r\n'.join(lines).encode('latin-1'))
        assert 200 <= int(sock.recv(BLOCK).split()[1]) < 500


@pytest.mark.heavy
@pytest.mark.parametrize(
    'what', ['/api/models/local/long/commits/main', '/local/long/commits/main', '/local/long']
)
def test_a_long_message_that_came_by_path_fills_no_memory(served, what):
    path = served.root / 'models' / 'local' / 'long.git'
    if not path.exists():
        call(served, 'POST', '/api/repos/create', {'name': 'long'})
        commit_by_path(path, {'a.txt': 'a'}, message='x' * 100_000_000)
        (path / 'message').write_text('x' * 100_000_000)
        git('tag', '-a', 'v1.0.0', '-F', 'message', 'main', cwd=path)
    before = peak(served)
    assert call(served, 'GET', what).status == 200
    assert peak(served) - before < GROWTH_MAX


def test_a_token_is_in_nothing_that_a_talkative_server_says_or_keeps(tmp_path):
    token = 'hf_' + 'secretsecretsecretsecretsecretsecr'
    command = [
        sys.executable,
        '-m',
        'hfmirror',
        'serve',
        '--port',
        '0',
        '--verbose',
        '--root',
        str(tmp_path / 'hub'),
    ]
    process = subprocess.Popen(
        [*command, '--token', f'ada:write:{token}'], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        endpoint = process.stdout.readline().partition('=')[2].strip()
        hub = type('Hub', (), {'endpoint': endpoint, 'token': token})
        assert call(hub, 'POST', '/api/repos/create', {'name': 'x'}).status == 200
        (tmp_path / 'hub' / 'models' / 'ada' / 'x.git' / 'objects').rename(tmp_path / 'away')
        answers = [
            call(hub, method, address, values)
            for method, address, values in (
                ('GET', '/api/models/ada/x', None),
                ('GET', f'/api/models/{token}', None),
                ('GET', f'/ada/x/info/refs?service=git-upload-pack&token={token}', None),
                ('POST', '/api/models/ada/x/commit/main', {'summary': token}),
                ('GET', '/api/whoami-v2', None),
            )
        ]
    finally:
        process.terminate()
        said = ''.join(process.communicate(timeout=20)).replace(f'export HF_TOKEN={token}', '')
    assert 'GET /api/models/ada/x' in said
    assert token not in said
    assert not any(token in str(one.headers) for one in answers)
    assert token.encode() not in answers[-1].body
    assert not any(
        token.encode() in path.read_bytes() for path in (tmp_path / 'hub').rglob('*') if path.is_file()
    )
