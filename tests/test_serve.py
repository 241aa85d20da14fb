"""``hfmirror serve``: what it prints, whom it lets in, and how it ends."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest

from hfmirror.server import running_hub
from hfmirror.server.xet import storage


@contextmanager
def serving(*options, ends=signal.SIGINT):
    """Run ``hfmirror serve`` on a free port; yields (endpoint, the lines it printed, process)."""
    command = [sys.executable, '-m', 'hfmirror', 'serve', '--port', '0', *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        first = process.stdout.readline()
        yield first.partition('HF_ENDPOINT=')[2].strip(), first, process
    finally:
        process.send_signal(ends)
        process.wait(timeout=10)
        process.stdout.close()
        process.stderr.close()


def run(*options):
    return subprocess.run(
        [sys.executable, '-m', 'hfmirror', 'serve', *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def ask(url, token=None, method='GET'):
    request = urllib.request.Request(url, method=method)
    if token:
        request.add_header('Authorization', f'Bearer {token}')
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as e:
        return e.code


def test_it_prints_the_two_lines_to_paste_and_nothing_else_on_stdout():
    with serving() as (_, first, process):
        second = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
    assert re.fullmatch(r'export HF_ENDPOINT=http://127\.0\.0\.1:\d+\n', first)
    assert re.fullmatch(r'export HF_TOKEN=hf_[A-Za-z0-9]{34}\n', second)
    assert rest == ''


def test_the_token_that_it_prints_is_let_in_as_local():
    with serving() as (endpoint, _, process):
        token = process.stdout.readline().partition('HF_TOKEN=')[2].strip()
        request = urllib.request.Request(
            f'{endpoint}/api/whoami-v2', headers={'Authorization': f'Bearer {token}'}
        )
        with urllib.request.urlopen(request) as answer:
            assert json.load(answer)['name'] == 'local'


def test_each_start_without_a_token_replaces_the_one_before(tmp_path):
    tokens = []
    for _ in range(2):
        with serving() as (endpoint, _, process):
            tokens.append(process.stdout.readline().partition('HF_TOKEN=')[2].strip())
            answers = [ask(f'{endpoint}/api/whoami-v2', token) for token in tokens]
    assert answers == [401, 200]


def test_tokens_are_kept_hashed_in_a_file_for_its_owner_alone(tmp_path):
    with serving('--root', str(tmp_path / 'root'), '--token', 'ada:write:a-secret-of-hers'):
        path = tmp_path / 'root' / 'tokens.json'
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        text = path.read_text()
    assert 'a-secret-of-hers' not in text
    assert hashlib.sha256(b'a-secret-of-hers').hexdigest() in text


def test_a_given_token_is_kept_for_the_next_start(tmp_path):
    with serving('--root', str(tmp_path / 'root'), '--token', 'ada:read:a-secret-of-hers'):
        pass
    with serving('--root', str(tmp_path / 'root')) as (endpoint, _, _process):
        assert ask(f'{endpoint}/api/whoami-v2', 'a-secret-of-hers') == 200


def test_json_tells_endpoint_root_and_new_tokens(tmp_path):
    with serving('--json', '--root', str(tmp_path / 'root'), '--token', 'ada:write') as (_, first, process):
        text = first
        while not text.rstrip().endswith('\n}'):
            text += process.stdout.readline()
    found = json.loads(text)
    assert found['endpoint'].startswith('http://127.0.0.1:')
    assert found['root'] == str(tmp_path / 'root')
    assert [(token['user'], token['role']) for token in found['tokens']] == [('ada', 'write')]


@pytest.mark.heavy
def test_it_serves_the_directory_of_the_local_hub(mirror, folder):
    mirror.push(folder, '--repo', 'local/m', '--tag', 'v1.0.0')
    with (
        serving() as (endpoint, _, _process),
        urllib.request.urlopen(f'{endpoint}/api/models/local/m') as answer,
    ):
        assert json.load(answer)['id'] == 'local/m'


@pytest.mark.parametrize('ends', [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_a_second_of_the_signal(ends):
    with serving() as (_, _, process):
        process.stdout.readline()
        started = time.monotonic()
        process.send_signal(ends)
        process.wait(timeout=10)
        assert time.monotonic() - started < 1.0


def test_ctrl_c_is_no_error():
    with serving() as (_, _, process):
        process.stdout.readline()
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(timeout=10) == 0
    assert said.splitlines()[-1] == 'ended'
    assert 'Traceback' not in said


@pytest.mark.heavy
def test_it_ends_within_a_second_with_a_download_in_flight(tmp_path):
    root = tmp_path / 'root'
    repository = _with_large_object(root, 200_000_000)
    with serving('--root', str(root)) as (endpoint, _, process):
        host, _, port = endpoint.removeprefix('http://').partition(':')
        with socket.create_connection((host, int(port))) as reader:
            reader.sendall(f'GET /local/m/resolve/main/big.bin HTTP/1.1\r\nHost: {host}\r\n\r\n'.encode())
            assert reader.recv(100).startswith(b'HTTP/1.1 200')
            started = time.monotonic()
            process.send_signal(signal.SIGINT)
            process.wait(timeout=10)
            assert time.monotonic() - started < 1.0
    assert repository.is_dir()


def _with_large_object(root, size):
    """Make the repository local/m whose big.bin has ``size`` bytes."""
    from hfmirror import refs

    path = root / 'models' / 'local' / 'm.git'
    refs.create_bare(path, 'main')
    content = b'\0' * size
    oid = hashlib.sha256(content).hexdigest()
    final = path / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid
    final.parent.mkdir(parents=True)
    final.write_bytes(content)
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n'
    environment = {**os.environ, 'GIT_DIR': str(path)}
    blob = subprocess.run(
        ['git', 'hash-object', '-w', '--stdin'],
        input=pointer,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    tree = subprocess.run(
        ['git', 'mktree'],
        input=f'100644 blob {blob}\tbig.bin\n',
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    commit = subprocess.run(
        ['git', 'commit-tree', tree, '-m', 'one'], env=environment, capture_output=True, text=True, check=True
    ).stdout.strip()
    subprocess.run(['git', 'update-ref', 'refs/heads/main', commit], env=environment, check=True)
    return path


def test_other_machines_are_not_let_in_before_a_token_was_given_out(tmp_path):
    done = run('--root', str(tmp_path / 'root'), '--host', '0.0.0.0', '--port', '0')
    assert done.returncode == 2
    assert '--token ada:write' in done.stderr


def test_other_machines_are_let_in_with_a_token(tmp_path):
    with serving(
        '--root', str(tmp_path / 'root'), '--host', '0.0.0.0', '--token', 'ada:write:a-secret-of-hers'
    ) as (
        endpoint,
        _,
        _process,
    ):
        port = endpoint.rpartition(':')[2]
        assert ask(f'http://127.0.0.1:{port}/api/whoami-v2', 'a-secret-of-hers') == 200


def test_it_answers_to_a_name_that_it_was_given(tmp_path):
    with serving('--name', 'hub.example.org') as (endpoint, _, _process):
        codes = []
        for name in ('hub.example.org', 'evil.example'):
            request = urllib.request.Request(f'{endpoint}/api/models', headers={'Host': name})
            try:
                codes.append(urllib.request.urlopen(request).status)
            except urllib.error.HTTPError as e:
                codes.append(e.code)
    assert codes == [200, 421]


def test_a_name_that_is_an_address_is_refused():
    done = run('--name', 'https://hub.example.org')
    assert done.returncode == 2
    assert '--name hub.example.org' in done.stderr


def test_a_port_that_is_taken_is_said_to_be():
    with socket.socket() as taken:
        taken.bind(('127.0.0.1', 0))
        taken.listen()
        done = run('--port', str(taken.getsockname()[1]))
    assert done.returncode == 2
    assert 'cannot listen' in done.stderr
    assert '--port' in done.stderr


@pytest.mark.parametrize(
    'token', ['ada', 'ada:boss', ':write', 'ada:write:short', 'a/b:write', 'ada:write:two words']
)
def test_a_bad_token_option_is_explained_without_the_token(token):
    done = run('--token', token)
    assert done.returncode == 2
    assert 'ada:write' in done.stderr or 'role is one of' in done.stderr or 'a token has' in done.stderr
    assert token.partition(':')[2].partition(':')[2] not in done.stderr or token.count(':') < 2


@pytest.mark.parametrize('size', ['0', 'ten', '-1', '10 parsecs', ''])
def test_a_bad_size_is_refused(size):
    assert run('--max-file-size', size).returncode == 2


def test_private_hides_everything_from_strangers(tmp_path):
    with running_hub(tmp_path / 'root', public_read=False) as hub:
        hub.hub.repositories.create('model', 'local/m', {})
        assert ask(f'{hub.endpoint}/local/m') == 401
        assert ask(f'{hub.endpoint}/local/m', hub.token) == 200


def test_a_broken_file_of_tokens_is_named(tmp_path):
    root = tmp_path / 'root'
    root.mkdir()
    (root / 'tokens.json').write_text('{"tokens": [')
    done = run('--root', str(root))
    assert done.returncode == 2
    assert 'tokens.json' in done.stderr


def test_the_token_is_in_no_file_below_the_root(tmp_path):
    root = tmp_path / 'root'
    with running_hub(root) as hub:
        token = hub.token.encode()
        ask(f'{hub.endpoint}/api/whoami-v2', hub.token)
    assert [path for path in root.rglob('*') if path.is_file() and token in path.read_bytes()] == []


def test_gc_gives_back_the_space_of_finished_xet_uploads(tmp_path):
    root = tmp_path / 'root'
    with running_hub(root) as hub:
        path = hub.hub.repositories.create('model', 'local/m', {}).path
    generation = path / 'xet' / storage.current(path)
    (generation / ('0' * 64)).write_bytes(bytes(1000))
    os.utime(generation, (0, 0))
    done = run('--root', str(root), '--gc', '--json')
    assert json.loads(done.stdout) == {'freed': 1000}
    assert not generation.exists()


def test_gc_leaves_an_upload_under_way_alone(tmp_path):
    root = tmp_path / 'root'
    with running_hub(root) as hub:
        path = hub.hub.repositories.create('model', 'local/m', {}).path
    generation = path / 'xet' / storage.current(path)
    (generation / ('0' * 64)).write_bytes(bytes(1000))
    done = run('--root', str(root), '--gc')
    assert done.stderr == '0 B given back\n'
    assert generation.exists()
