"""Uploads by Xet: stock clients that send large files, what the store they send to keeps, and when it lets go."""

import hashlib
import http.client
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

import numpy
import pytest

from hfmirror.server import running_hub
from hfmirror.server.answers import Problem
from hfmirror.server.repos.repositories import Repositories
from hfmirror.server.tokens import parse
from hfmirror.server.xet import api, grant, storage
from hfmirror.server.xet.xorb import MAX_CHUNK, Xorb
from hfmirror.store import ObjectStore
from tests.support import xetbytes
from tests.support.clients import Client
from tests.support.xetbytes import LZ4, chunk, segment

REPO = 'local/tiny'
NAME = 'a' * 64
MIB = 1 << 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def random(size, seed=1):
    return numpy.random.default_rng(seed).bytes(size)


class Store:
    """What lies in a repository of a Hub: LFS objects and xorbs."""

    def __init__(self, root, repo_id=REPO):
        self.path = root / 'models' / f'{repo_id}.git'
        self.objects = ObjectStore(self.path / 'lfs')

    def has(self, content):
        path = self.objects.path(sha256(content))
        return path.is_file() and path.read_bytes() == content

    def xorbs(self):
        return [path for path in self.path.glob('xet/*/*') if re.fullmatch('[0-9a-f]{64}', path.name)]

    def size(self):
        return sum(path.stat().st_size for path in self.xorbs())

    def halves(self):
        """Return what is being written, or was left by who did."""
        return [*self.path.glob('xet/*/*.tmp'), *self.path.glob('lfs/tmp/*')]


@pytest.fixture
def hub(tmp_path):
    with running_hub(tmp_path / 'root') as running:
        running.hub.repositories.create('model', REPO, {})
        yield running


@pytest.fixture
def store(hub):
    return Store(hub.root)


@pytest.fixture
def client(hub, tmp_path):
    with Client(hub, tmp_path / 'ada') as running:
        yield running


def upload(client, content, name='model.bin'):
    path = client.home / name
    path.write_bytes(content)
    client.api.upload_file(path_or_fileobj=str(path), path_in_repo=name, repo_id=REPO)


# Stock clients


@pytest.mark.heavy
def test_stock_client_uploads_a_file(client, store):
    content = random(3 * MIB)
    upload(client, content)
    assert store.has(content)
    assert store.xorbs()


@pytest.mark.heavy
def test_stock_client_uploads_a_folder_of_many_files(client, store):
    contents = [random(20_000 + number, seed=number) for number in range(300)]
    folder = client.home / 'folder'
    folder.mkdir()
    for number, content in enumerate(contents):
        (folder / f'{number}.bin').write_bytes(content)
    client.api.upload_folder(folder_path=str(folder), repo_id=REPO)
    assert all(store.has(content) for content in contents)


def test_weights_that_the_client_packs_by_groups_of_bytes_come_back(client, store):
    numbers = numpy.random.default_rng(1).standard_normal(MIB, dtype=numpy.float32) * 0.02
    upload(client, numbers.tobytes())
    assert store.has(numbers.tobytes())
    assert xetbytes.GROUPED in {path.read_bytes()[4] for path in store.xorbs()}


def test_text_that_the_client_packs_comes_back(client, store):
    content = b''.join(b'{"row": %d, "text": "the same words"}\n' % row for row in range(400_000))
    upload(client, content, 'train.bin')
    assert store.has(content)
    assert store.size() < len(content) / 2


@pytest.mark.heavy
def test_second_version_sends_only_what_is_new(client, store):
    first = random(20 * MIB)
    second = first[: 10 * MIB] + b'a few new words' + first[10 * MIB :]
    upload(client, first)
    before = store.size()
    upload(client, second)
    assert store.has(second)
    assert store.size() - before < MIB


@pytest.mark.heavy
def test_another_client_sends_all_of_it_again(client, hub, store, tmp_path):
    content = random(3 * MIB)
    upload(client, content)
    with Client(hub, tmp_path / 'bob') as other:
        upload(other, content + b'more')
    assert store.has(content + b'more')


@pytest.mark.heavy
def test_client_that_remembers_chunks_goes_on_after_they_were_collected(client, store):
    content = random(20 * MIB)
    upload(client, content)
    assert storage.collect(store.path, idle_s=0) > 20 * MIB
    assert store.xorbs() == []
    upload(client, content + b'more')
    assert store.has(content + b'more')


@pytest.mark.heavy
@pytest.mark.parametrize(
    'damage',
    [lambda path: path.unlink(), lambda path: path.write_bytes(chunk(b'other'))],
    ids=['removed', 'overwritten'],
)
def test_client_that_builds_upon_what_was_lost_fails_once_and_goes_on(client, store, damage):
    content = random(20 * MIB)
    upload(client, content)
    for path in store.xorbs():
        damage(path)
    with pytest.raises(Exception, match='Start it again: all of it is sent then'):
        upload(client, content + b'more')
    upload(client, content + b'more')
    assert store.has(content + b'more')


def test_client_that_remembers_chunks_goes_on_after_the_repository_was_made_anew(hub, client, store):
    content = random(3 * MIB)
    upload(client, content)
    hub.hub.repositories.delete(hub.hub.repositories.find('model', *REPO.split('/')))
    hub.hub.repositories.create('model', REPO, {})
    upload(client, content)
    assert store.has(content)


@pytest.mark.heavy
def test_two_clients_upload_the_same_file_at_once(hub, store, tmp_path):
    content = random(20 * MIB)
    with Client(hub, tmp_path / 'ada') as ada, Client(hub, tmp_path / 'bob') as bob:
        names = ('ada.bin', 'bob.bin')
        with ThreadPoolExecutor() as threads:
            list(threads.map(upload, (ada, bob), (content, content), names))
    assert store.has(content)
    assert store.halves() == []


def test_what_was_uploaded_stays_when_its_xorbs_are_collected(client, store):
    content = random(3 * MIB)
    upload(client, content)
    storage.collect(store.path, idle_s=0)
    assert store.has(content)


def test_client_hears_why_its_file_is_refused(tmp_path):
    with (
        running_hub(tmp_path / 'root', max_file_size=2 * MIB) as hub,
        Client(hub, tmp_path / 'ada') as client,
    ):
        hub.hub.repositories.create('model', REPO, {})
        with pytest.raises(Exception, match=r'no file larger than 2097152|larger than|too large'):
            upload(client, random(3 * MIB))
        assert Store(hub.root).halves() == []


def test_read_token_gets_no_leave_to_upload(hub, tmp_path):
    hub.hub.tokens.add(parse('bob:read:hf_bob_reads_only'))
    with (
        Client(hub, tmp_path / 'bob', token='hf_bob_reads_only') as client,
        pytest.raises(Exception, match='403'),
    ):
        upload(client, random(3 * MIB))


@pytest.mark.heavy
def test_client_goes_on_when_the_server_was_killed_and_started_again(tmp_path):
    content = random(150 * MIB)
    with serving(tmp_path / 'root') as server:
        with Client(server, tmp_path / 'ada') as client, ThreadPoolExecutor() as threads:
            client.api.create_repo(REPO)
            store = Store(server.root)
            uploading = threads.submit(upload, client, content)
            wait_until(store.xorbs)
            server.kill()
            server.start()
            uploading.result()
        assert store.has(content)


@pytest.mark.heavy
def test_memory_of_the_server_does_not_grow_with_the_file(tmp_path):
    with serving(tmp_path / 'root') as server, Client(server, tmp_path / 'ada') as client:
        client.api.create_repo(REPO)
        upload(client, random(200 * MIB))
        assert server.memory() < 150 * MIB


class Serving:
    """A Hub in a process of its own, on one port for all its lives."""

    token = 'hf_local_writes_here'

    def __init__(self, root):
        self.root = root
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            self.port = free.getsockname()[1]
        self.endpoint = f'http://127.0.0.1:{self.port}'

    def start(self):
        options = ['--root', str(self.root), '--port', str(self.port), '--token', f'local:write:{self.token}']
        self.process = subprocess.Popen(
            [sys.executable, '-m', 'hfmirror', 'serve', *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert any(b'HF_ENDPOINT' in line for line in self.process.stdout)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        self.process.wait(10)
        self.process.stdout.close()

    def memory(self):
        """Return the most memory that the process ever had, in bytes."""
        with open(f'/proc/{self.process.pid}/status', encoding='ascii') as status:
            return int(re.search(r'VmHWM:\s+(\d+)', status.read())[1]) * 1024


@contextmanager
def serving(root):
    server = Serving(root)
    server.start()
    try:
        yield server
    finally:
        server.kill(signal.SIGTERM)  # of one that has ended already, it closes what is left


def wait_until(condition):
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


# The store, byte by byte


class Answer(NamedTuple):
    status: int
    body: bytes

    def lines(self):
        return [json.loads(line) for line in self.body.splitlines()]


class Caller:
    """Speaks to the store of a repository as a client does; ``token`` and ``cas`` are what the Hub gave out."""

    def __init__(self, hub):
        self.hub = hub
        answer = self.ask('GET', f'/api/models/{REPO}/xet-write-token/main', token=hub.token)
        self.given = json.loads(answer.body)
        self.token, self.cas = self.given['accessToken'], urlsplit(self.given['casUrl']).path

    def connection(self):
        return http.client.HTTPConnection(urlsplit(self.hub.endpoint).netloc, timeout=30)

    def ask(self, method, path, body=None, *, token=None):
        connection = self.connection()
        try:
            connection.request(method, path, body, {'Authorization': f'Bearer {token}'} if token else {})
            answer = connection.getresponse()
            return Answer(answer.status, answer.read())
        finally:
            connection.close()

    def post(self, path, body):
        return self.ask('POST', self.cas + path, body, token=self.token)

    def send_xorb(self, *chunks, name=NAME):
        return self.post(f'/v1/xorbs/default/{name}', b''.join(chunks))


@pytest.fixture
def caller(hub):
    return Caller(hub)


def test_the_leave_to_upload_is_in_body_and_headers(hub, caller):
    connection = caller.connection()
    connection.request(
        'GET', f'/api/models/{REPO}/xet-write-token/main', headers={'Authorization': f'Bearer {hub.token}'}
    )
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    assert body['casUrl'] == answer.getheader('X-Xet-Cas-Url') == caller.given['casUrl']
    assert body['accessToken'] == answer.getheader('X-Xet-Access-Token')
    assert str(body['exp']) == answer.getheader('X-Xet-Token-Expiration')
    assert 3500 < body['exp'] - time.time() < 3700


def test_strangers_get_no_leave_to_upload(caller):
    assert caller.ask('GET', f'/api/models/{REPO}/xet-write-token/main').status == 401


@pytest.mark.parametrize('path', ['/v1/xorbs/default/' + NAME, '/v1/shards', '/v2/shards'])
@pytest.mark.parametrize('kind', ['none', 'of the Hub', 'of another repository', 'expired'])
def test_nothing_is_taken_without_a_token_for_the_repository(hub, caller, store, path, kind):
    tokens = {
        'none': None,
        'of the Hub': hub.token,
        'of another repository': grant.issue(hub.hub.secret, 'models/local/other', user='local').token,
        'expired': grant.issue(hub.hub.secret, f'models/{REPO}', user='local', now=1000).token,
    }
    answer = caller.ask('POST', caller.cas + path, chunk(b'one'), token=tokens[kind])
    assert (answer.status, store.xorbs(), store.halves()) == (401, [], [])


def test_what_others_have_sent_is_not_told(caller):
    caller.send_xorb(chunk(b'one'))
    assert caller.ask('GET', f'{caller.cas}/v1/chunks/default/{NAME}', token=caller.token).status == 404
    assert caller.post(f'/v1/xorb-grants/default/{NAME}', b'{}').status == 404


def test_telemetry_is_taken_and_not_kept(caller):
    assert caller.post('/v1/telemetry', b'{}').status == 204
    assert caller.ask('POST', '/v1/telemetry', b'{}').status == 204


def test_a_xorb_is_kept_as_it_was_sent(caller, store):
    assert caller.send_xorb(chunk(b'one'), chunk(b'two', LZ4)).lines() == [{'was_inserted': True}]
    assert [path.read_bytes() for path in store.xorbs()] == [chunk(b'one') + chunk(b'two', LZ4)]


def test_a_xorb_that_comes_again_takes_the_place_of_a_damaged_one(caller, store):
    caller.send_xorb(chunk(b'one'))
    (path,) = store.xorbs()
    path.write_bytes(b'')
    caller.send_xorb(chunk(b'one'))
    assert path.read_bytes() == chunk(b'one')


@pytest.mark.parametrize('body', [b'', b'no xorb', chunk(b'one')[:-1]])
def test_what_is_no_xorb_leaves_nothing(caller, store, body):
    assert caller.send_xorb(body).status == 400
    assert [*store.xorbs(), *store.halves()] == []


def test_a_xorb_that_is_too_large_leaves_nothing(caller, store):
    connection = caller.connection()
    connection.putrequest('POST', f'{caller.cas}/v1/xorbs/default/{NAME}')
    connection.putheader('Authorization', f'Bearer {caller.token}')
    connection.putheader('Content-Length', str(1 << 40))
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()
    assert [*store.xorbs(), *store.halves()] == []


@pytest.mark.parametrize('name', ['a' * 63, 'A' * 64, '..%2F..%2Fconfig', '..', 'a' * 64 + '.tmp'])
def test_a_xorb_has_a_hash_for_a_name(caller, store, name):
    assert caller.send_xorb(chunk(b'one'), name=name).status in (400, 404)
    assert [*store.xorbs(), *store.halves()] == []


@pytest.mark.parametrize('generation', ['0' * 16, 'lock', 'current', '..', '%2E%2E', '..%2F..', '0' * 300])
def test_an_address_that_is_not_there_any_more_is_gone(caller, generation):
    address = f'/xet/models/{REPO}/{generation}'
    answers = [
        caller.ask('POST', address + path, chunk(b'one'), token=caller.token)
        for path in (f'/v1/xorbs/default/{NAME}', '/v1/shards', '/v2/shards')
    ]
    assert {answer.status for answer in answers} == {410}


def test_a_client_that_hangs_up_in_the_middle_of_a_xorb_leaves_nothing(caller, store):
    connection = caller.connection()
    connection.putrequest('POST', f'{caller.cas}/v1/xorbs/default/{NAME}')
    connection.putheader('Authorization', f'Bearer {caller.token}')
    connection.putheader('Content-Length', str(10 * MIB))
    connection.endheaders()
    connection.send(bytes(3 * MIB))
    wait_until(store.halves)
    connection.close()
    wait_until(lambda: not store.halves())
    assert store.xorbs() == []


def one_file(content=b'one', *, oid=None):
    return xetbytes.shard(xetbytes.file(segment(NAME, len(content)), oid=oid or sha256(content)))


def test_a_shard_makes_its_files_objects(caller, store):
    caller.send_xorb(chunk(b'one'))
    assert caller.post('/v1/shards', one_file()).lines() == [{'result': 1}]
    assert store.has(b'one')


def test_a_shard_is_taken_where_clients_before_1_6_send_it(caller, store):
    caller.send_xorb(chunk(b'one'))
    assert caller.post('/shards', one_file()).lines() == [{'result': 1}]
    assert store.has(b'one')


def test_a_shard_of_the_newer_kind_is_answered_in_lines(caller, store):
    caller.send_xorb(chunk(b'one'))
    assert caller.post('/v2/shards', one_file()).lines()[-1] == {'type': 'result', 'result': 1}
    assert store.has(b'one')


def test_lines_say_how_far_it_is(caller, monkeypatch):
    monkeypatch.setattr(api, '_BEAT_S', 0.0)
    caller.send_xorb(chunk(b'one'))
    first = caller.post('/v2/shards', one_file()).lines()[0]
    assert (first['type'], set(first)) == ('validating', {'type', 'verified', 'total'})


@pytest.mark.parametrize('body', [b'', b'no shard', one_file(oid='0' * 64), one_file(b'four')])
def test_a_shard_that_is_wrong_leaves_nothing(caller, store, body):
    caller.send_xorb(chunk(b'one'))
    assert caller.post('/v1/shards', body).status == 400
    assert (store.objects.oids(), store.halves()) == ([], [])


def test_what_is_wrong_with_a_shard_is_said_in_a_line(caller, store):
    caller.send_xorb(chunk(b'one'))
    (line,) = caller.post('/v2/shards', one_file(oid='0' * 64)).lines()
    assert (line['type'], line['retryable']) == ('error', False)
    assert line['message'].startswith('The upload cannot be put together: a file whose sha256 is ')
    assert (store.objects.oids(), store.halves()) == ([], [])


@contextmanager
def full_disk(room):
    """Let no file of this process grow beyond ``room`` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize('path', ['/v1/shards', '/v2/shards'])
def test_a_full_disk_ends_a_rebuild_with_a_reason_and_leaves_nothing(caller, store, path):
    caller.send_xorb(chunk(bytes(MAX_CHUNK), LZ4) * 800)
    body = xetbytes.shard(xetbytes.file(segment(NAME, 800 * MAX_CHUNK, 0, 800)))
    with full_disk(16 * MIB):
        answer = caller.post(path, body)
    assert answer.status == (507 if path.startswith('/v1') else 200)
    assert b'The disk of the server: ' in answer.body
    assert (store.objects.oids(), store.halves()) == ([], [])


def test_a_full_disk_refuses_a_xorb_and_leaves_nothing(caller, store):
    with full_disk(MIB):
        answer = caller.send_xorb(chunk(random(MAX_CHUNK)) * 20)
    assert (answer.status, store.xorbs(), store.halves()) == (507, [], [])


def test_a_shard_that_fails_in_an_unforeseen_way_is_answered_with_an_error(caller, monkeypatch):
    # Nothing that a client sends does this, so the failure has to be put there.
    monkeypatch.setattr(api, 'rebuild', lambda *args, **kwargs: 1 / 0)
    connection = caller.connection()
    connection.request(
        'POST', f'{caller.cas}/v2/shards', one_file(), {'Authorization': f'Bearer {caller.token}'}
    )
    line = json.loads(connection.getresponse().readline())
    connection.close()
    assert (line['type'], line['message']) == ('error', 'Internal error: the log of the server says more')


def begin_long_rebuild(caller, path):
    """Send a shard that asks for 40 GiB, which would take a minute and the disk, of a xorb of 4 MiB."""
    caller.send_xorb(chunk(bytes(MAX_CHUNK), LZ4) * 8000)
    body = xetbytes.shard(xetbytes.file(*[segment(NAME, 8000 * MAX_CHUNK, 0, 8000)] * 40))
    connection = caller.connection()
    connection.request('POST', caller.cas + path, body, {'Authorization': f'Bearer {caller.token}'})
    return connection


@pytest.mark.parametrize('path', ['/v1/shards', '/v2/shards'])
def test_a_client_that_hangs_up_stops_the_rebuild(caller, store, path):
    connection = begin_long_rebuild(caller, path)
    wait_until(lambda: list(store.path.glob('lfs/tmp/*')))
    connection.close()
    wait_until(lambda: not store.halves())
    assert store.objects.oids() == []


def test_an_interrupted_server_ends_in_the_middle_of_a_rebuild(tmp_path):
    with serving(tmp_path / 'root') as server:
        Repositories(server.root).create('model', REPO, {})
        caller, store = Caller(server), Store(server.root)
        connection = begin_long_rebuild(caller, '/v2/shards')
        wait_until(lambda: list(store.path.glob('lfs/tmp/*')))
        server.process.send_signal(signal.SIGINT)
        server.process.wait(10)
        connection.close()
        assert (store.objects.oids(), store.halves()) == ([], [])


# How xorbs lie, and when they go


@pytest.fixture
def repository(tmp_path):
    path = tmp_path / 'tiny.git'
    path.mkdir()
    return path


def keep(repository, name=NAME, content=None):
    """Keep a xorb, and return the generation it is in."""
    generation = storage.current(repository)
    with storage.using(repository, generation) as folder, storage.temporary(folder) as file:
        file.write(content or chunk(b'one'))
        storage.keep(file, name)
    return generation


def age(repository, generation, seconds):
    then = time.time() - seconds
    os.utime(repository / 'xet' / generation, (then, then))


def test_a_generation_stays_while_nothing_is_collected(repository):
    assert len({storage.current(repository) for _ in range(5)}) == 1


def test_threads_that_begin_at_once_begin_the_same_generation(repository):
    found = []
    threads = [threading.Thread(target=lambda: found.append(storage.current(repository))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1


def test_a_repository_that_was_deleted_is_not_made_again(tmp_path):
    with pytest.raises(FileNotFoundError):
        storage.current(tmp_path / 'gone.git')
    assert not (tmp_path / 'gone.git').exists()


def test_nothing_is_collected_where_nothing_was_sent(repository):
    assert storage.collect(repository, idle_s=0) == 0
    generation = storage.current(repository)
    assert storage.collect(repository, idle_s=0) == 0
    assert storage.current(repository) == generation


def test_what_was_used_lately_is_not_collected(repository):
    generation = keep(repository)
    assert storage.collect(repository, idle_s=60) == 0
    assert storage.current(repository) == generation


def test_what_is_idle_is_collected_and_its_address_is_gone(repository):
    generation = keep(repository)
    age(repository, generation, 100)
    assert storage.collect(repository, idle_s=60) == len(chunk(b'one'))
    assert storage.current(repository) != generation
    with pytest.raises(Problem) as caught, storage.using(repository, generation):
        pass
    assert caught.value.status == 410


def test_a_new_token_counts_as_use(repository):
    age(repository, keep(repository), 100)
    storage.current(repository)
    assert storage.collect(repository, idle_s=60) == 0


def test_a_request_counts_as_use(repository):
    generation = keep(repository)
    age(repository, generation, 100)
    with storage.using(repository, generation):
        pass
    assert storage.collect(repository, idle_s=60) == 0


def test_nothing_is_collected_during_a_request(repository):
    generation = keep(repository)
    with storage.using(repository, generation) as folder:
        age(repository, generation, 100)
        assert storage.collect(repository, idle_s=0) == 0
        assert (folder / NAME).is_file()


def test_nothing_is_collected_during_a_request_of_another_process(repository):
    generation = keep(repository)
    program = (
        'import sys, pathlib; from hfmirror.server.xet import storage\n'
        'with storage.using(pathlib.Path(sys.argv[1]), sys.argv[2]): print(flush=True); sys.stdin.read()'
    )
    command = [sys.executable, '-c', program, str(repository), generation]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert storage.collect(repository, idle_s=0) == 0
        process.kill()
    assert storage.collect(repository, idle_s=0) > 0


def test_a_retired_generation_is_not_given_out_again_and_goes_on_for_who_has_it(repository):
    generation = keep(repository)
    storage.retire(repository, generation)
    assert storage.current(repository) != generation
    with storage.using(repository, generation) as folder:
        assert (folder / NAME).is_file()


def test_a_new_generation_begins_beside_a_request_of_the_old_one(repository):
    generation = keep(repository)
    with storage.using(repository, generation):
        storage.retire(repository, generation)
        assert storage.current(repository) != generation


def test_what_a_killed_collection_left_is_collected_by_the_next(repository):
    generation = keep(repository)
    (repository / 'xet' / 'current').unlink()
    assert storage.collect(repository, idle_s=0) == len(chunk(b'one'))
    generation = keep(repository)
    (repository / 'xet' / generation).rename(repository / 'xet' / f'dropped-{generation}')
    assert storage.collect(repository, idle_s=0) == len(chunk(b'one'))
    assert [path for path in (repository / 'xet').iterdir() if path.is_dir()] == []


def test_what_a_killed_upload_left_is_collected(repository):
    generation = storage.current(repository)
    (repository / 'xet' / generation / 'half.tmp').write_bytes(b'half')
    assert storage.collect(repository, idle_s=0) == 4


def test_a_current_that_names_nothing_begins_a_new_generation(repository):
    storage.current(repository)
    (repository / 'xet' / 'current').write_text('0' * 16)
    assert storage.current(repository) != '0' * 16


def test_a_xorb_that_was_kept_can_be_read(repository):
    generation = keep(repository, content=chunk(b'one') + chunk(b'two', LZ4))
    with (repository / 'xet' / generation / NAME).open('rb') as file:
        assert Xorb(file.fileno()).chunk(1) == b'two'
