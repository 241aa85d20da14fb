"""Large objects that come in parts, sent by huggingface_hub, by its agent for git-lfs, and by hostile clients."""

from __future__ import annotations

import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmirror.server import RunningHub, running_hub, tokens
from hfmirror.server.lfs import multipart
from tests.support.clients import Client, environment
from tests.support.mirror import git
from tests.support.serving import half_sent, until

_PART = 50_000
_LIMITS = {'multipart_from': 2 * _PART, 'part_size': _PART}
# A connection for each request: none is left open at the end of a test.
_HTTP = httpx2.Client(trust_env=False, timeout=30, limits=httpx2.Limits(max_keepalive_connections=0))


@pytest.fixture
def hub(tmp_path):
    with running_hub(tmp_path / 'hub', **_LIMITS) as running:
        yield running


@pytest.fixture
def repo(hub):
    return hub.hub.repositories.create('model', 'local/tiny', {})


def sha256(content):
    return hashlib.sha256(content).hexdigest()


class Sending:
    """An object on its way to a hub, in parts."""

    def __init__(self, hub, repo, content, *, size=None):
        self.repo, self.content, self.oid = repo, content, sha256(content)
        self.action = batch(hub, repo, (self.oid, size or len(content)))['objects'][0]['actions']['upload']
        header = dict(self.action['header'])
        self.part_size = int(header.pop('chunk_size'))
        self.urls = [header[name] for name in sorted(header)]

    def part(self, number):
        """Return the bytes of a part, the first is 1."""
        return self.content[(number - 1) * self.part_size : number * self.part_size]

    def put(self, number, content=None):
        return _HTTP.put(self.urls[number - 1], content=self.part(number) if content is None else content)

    def put_all(self):
        """Send all parts, and return the list of them."""
        answers = [self.put(number) for number in range(1, len(self.urls) + 1)]
        assert {answer.status_code for answer in answers} == {200}
        return [{'partNumber': i + 1, 'etag': answer.headers['etag']} for i, answer in enumerate(answers)]

    def complete(self, parts, **more):
        return _HTTP.post(self.action['href'], json={'oid': self.oid, 'parts': parts, **more})

    def stored(self):
        """Return {name: content} of all files of the store."""
        return {path.name: path.read_bytes() for path in self.repo.objects.rglob('*') if path.is_file()}


def batch(hub, repo, *objects, **more):
    """Ask for uploads of ``(oid, size)``, by a client that can send parts."""
    listed = [{'oid': oid, 'size': size} for oid, size in objects]
    body = {'operation': 'upload', 'transfers': ['basic', 'multipart'], 'objects': listed, **more}
    url = f'{hub.endpoint}/{repo.repo_id}.git/info/lfs/objects/batch'
    answer = _HTTP.post(url, json=body, headers={'Authorization': f'Bearer {hub.token}'})
    return answer.json() if answer.status_code == 200 else answer


@pytest.fixture
def sending(hub, repo):
    """An object of 12 parts, none of which is sent yet."""
    return Sending(hub, repo, os.urandom(11 * _PART + 7))


# -- real clients


def test_huggingface_hub_sends_parts(hub, repo, tmp_path):
    content = os.urandom(11 * _PART + 7)
    (tmp_path / 'model.bin').write_bytes(content)
    program = (
        'import sys\n'
        'from huggingface_hub import CommitOperationAdd\n'
        'from huggingface_hub.lfs import lfs_upload, post_lfs_batch_info\n'
        'add = CommitOperationAdd("model.bin", sys.argv[1])\n'
        'where = {"repo_type": "model", "repo_id": "local/tiny", "token": None}\n'
        'actions, errors, chosen = post_lfs_batch_info([add.upload_info], **where)\n'
        'assert "chunk_size" in actions[0]["actions"]["upload"]["header"] and not errors\n'
        'lfs_upload(add, actions[0], token=None)\n'
    )
    subprocess.run(
        [sys.executable, '-c', program, tmp_path / 'model.bin'],
        env=environment(hub, tmp_path / 'home'),
        check=True,
    )
    assert (repo.objects / 'objects' / _shards(content)).read_bytes() == content


def test_an_upload_by_hfapi_in_parts_is_downloaded_whole(hub, repo, tmp_path):
    content = os.urandom(11 * _PART + 7)
    with Client(hub, tmp_path / 'home', HF_HUB_DISABLE_XET='1') as client:
        client.api.upload_file(path_or_fileobj=content, path_in_repo='model.bin', repo_id='local/tiny')
        fetched = client.api.hf_hub_download('local/tiny', 'model.bin')
    assert Path(fetched).read_bytes() == content
    assert (repo.objects / 'multipart').is_dir()  # it did not come whole


@pytest.mark.heavy
def test_git_lfs_with_the_agent_of_hf_sends_parts(hub, repo, tmp_path):
    work, large, small = tmp_path / 'work', os.urandom(11 * _PART + 7), b'small'
    git('lfs', 'install', '--skip-repo')
    git('clone', '-q', repo.path, work)
    known = environment(hub, tmp_path / 'home') | {'HOME': os.environ['HOME'], 'GIT_LFS_SKIP_PUSH': '1'}
    subprocess.run(['hf', 'lfs-enable-largefiles', work], env=known, check=True)
    git('config', 'lfs.url', f'{hub.endpoint}/local/tiny.git/info/lfs', cwd=work)
    git(
        'config',
        'credential.helper',
        f'!f() {{ echo username=local; echo password={hub.token}; }}; f',
        cwd=work,
    )
    git('lfs', 'track', '*.bin', cwd=work)
    for name, content in {'large.bin': large, 'small.bin': small}.items():
        (work / name).write_bytes(content)
    git('add', '.', cwd=work)
    git('commit', '-q', '-m', 'files', cwd=work)
    subprocess.run(['git', 'lfs', 'push', '--all', 'origin'], cwd=work, env=known, check=True)
    assert (repo.objects / 'multipart').is_dir()  # they did not come whole
    for content in (large, small):
        assert (repo.objects / 'objects' / _shards(content)).read_bytes() == content


def _shards(content):
    oid = sha256(content)
    return f'{oid[:2]}/{oid[2:4]}/{oid}'


# -- what is offered


def test_the_parts_of_an_object_are_named_so_that_every_client_finds_their_order(sending):
    names = [name for name in sending.action['header'] if name != 'chunk_size']
    assert sending.action['header']['chunk_size'] == str(_PART)
    assert names == [f'{number:05}' for number in range(1, 13)]


def test_a_client_that_sends_no_parts_is_offered_none(hub, repo):
    answer = batch(hub, repo, ('f' * 64, 10 * _PART), transfers=['basic'])
    assert answer['transfer'] == 'basic' and 'header' not in answer['objects'][0]['actions']['upload']


def test_a_small_object_is_sent_whole(hub, repo):
    answer = batch(hub, repo, ('f' * 64, 2 * _PART - 1))
    assert answer['transfer'] == 'basic' and 'header' not in answer['objects'][0]['actions']['upload']


def test_a_small_object_beside_a_large_one_is_one_part(hub, repo):
    answer = batch(hub, repo, ('f' * 64, 2 * _PART), ('e' * 64, 1))
    assert answer['transfer'] == 'multipart'
    assert [len(one['actions']['upload']['header']) - 1 for one in answer['objects']] == [2, 1]


def test_no_object_has_more_than_a_thousand_parts(hub, repo):
    (answer,) = batch(hub, repo, ('f' * 64, 10_000_000_007))['objects']
    header = answer['actions']['upload']['header']
    assert len(header) - 1 <= 1000
    assert (len(header) - 1) * int(header['chunk_size']) >= 10_000_000_007


def test_many_huge_objects_at_once_are_refused(hub, repo):
    objects = [(f'{number:064}', 1_000_000_000) for number in range(100)]
    assert batch(hub, repo, *objects).status_code == 413


def test_nothing_is_written_before_the_first_part(sending):
    assert not (sending.repo.objects / 'multipart').exists()


# -- parts


def test_the_parts_become_the_object_and_nothing_else_is_left(sending):
    assert sending.complete(sending.put_all()).status_code == 200
    assert sending.stored() == {sending.oid: sending.content}
    assert list((sending.repo.objects / 'multipart').iterdir()) == []


def test_parts_may_come_at_once_in_any_order_and_again(sending):
    numbers = [*range(12, 0, -1), 5, 5, 12, 1]
    with ThreadPoolExecutor(8) as threads:
        answers = dict(zip(numbers, threads.map(sending.put, numbers), strict=True))
    parts = [{'partNumber': number, 'etag': answer.headers['etag']} for number, answer in answers.items()]
    assert sending.complete(parts).status_code == 200
    assert sending.stored() == {sending.oid: sending.content}


def test_a_part_that_comes_again_takes_the_place_of_the_first(sending):
    sending.put(3, b'x' * _PART)
    assert sending.complete(sending.put_all()).status_code == 200


def test_two_uploads_of_one_object_do_not_meet(hub, repo):
    content = os.urandom(3 * _PART)
    one, other = Sending(hub, repo, content), Sending(hub, repo, content)
    parts = one.put_all()
    other.put(1, b'x' * _PART)
    assert one.complete(parts).status_code == 200
    assert other.complete(other.put_all()).status_code == 200
    assert other.stored() == {one.oid: content}


def test_a_part_of_unknown_length_is_taken(sending):
    sending.put_all()
    answer = _HTTP.put(sending.urls[0], content=iter([sending.part(1)]))
    assert answer.status_code == 200 and answer.headers['etag'] == f'"{sha256(sending.part(1))}"'


@pytest.mark.parametrize('length', [0, _PART - 1, _PART + 1])
@pytest.mark.parametrize('wrap', [bytes, lambda content: iter([content])], ids=['known', 'chunked'])
def test_a_part_of_another_length_is_refused_and_forgotten(sending, length, wrap):
    parts = sending.put_all()
    before = sending.stored()['data']
    assert sending.put(2, wrap(b'x' * length)).status_code in (400, 413)
    after = sending.stored()['data']
    assert after[:_PART] + after[2 * _PART :] == before[:_PART] + before[2 * _PART :]
    sending.put(2)
    assert sending.complete(parts).status_code == 200


@pytest.mark.parametrize('number', ['0', '13', '-1', '99999999999', 'data', '1.5', '%2e%2e', '\u0661'])
def test_a_part_that_the_object_does_not_have_is_not_found(sending, number):
    url = sending.urls[0].replace('/1?', f'/{number}?')
    assert _HTTP.put(url, content=b'x' * _PART).status_code == 404
    assert sending.stored() == {}


def _upload_folder(sending):
    (folder,) = (sending.repo.objects / 'multipart').iterdir()
    return folder


def test_a_part_whose_client_hangs_up_is_missing(sending):
    parts = sending.put_all()
    with half_sent(sending.urls[4], sending.part(5)):
        until(lambda: not (_upload_folder(sending) / '00005').exists())
    # Until the server knows of it, the part is still being written.
    until(lambda: sending.complete(parts).status_code != 503)
    answer = sending.complete(parts)
    assert answer.status_code == 400 and 'Part 5' in answer.json()['message']


def test_an_object_is_not_made_while_a_part_is_being_written(sending):
    parts = sending.put_all()
    etag = (_upload_folder(sending) / '00005').read_bytes()
    with half_sent(sending.urls[4], sending.part(5)):
        until(lambda: not (_upload_folder(sending) / '00005').exists())
        (_upload_folder(sending) / '00005').write_bytes(etag)
        assert sending.complete(parts).status_code == 503
    until(lambda: sending.complete(parts).status_code == 200)


def test_a_late_part_does_not_change_the_object(sending):
    sending.complete(sending.put_all())
    sending.put(3, b'x' * _PART)
    assert sending.stored()[sending.oid] == sending.content


def test_a_part_that_is_opened_while_the_object_is_made_does_not_change_it(sending, monkeypatch):
    parts = sending.put_all()
    lock, completed = fcntl.flock, []

    def late(file, how):
        # No client can be as quick as to hit the moment between the opening of the file and this.
        if how & fcntl.LOCK_SH and not completed:
            completed.append(sending.complete(parts).status_code)
        return lock(file, how)

    monkeypatch.setattr(fcntl, 'flock', late)
    assert sending.put(3, b'x' * _PART).status_code == 409 and completed == [200]
    assert sending.stored() == {sending.oid: sending.content}


def test_a_full_disk_is_told(hub, repo):
    sending = Sending(hub, repo, os.urandom(5 * _PART))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * _PART, before[1]))
    try:
        answer = sending.put(4)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507
    assert sending.complete(sending.put_all()).status_code == 200


def test_parts_outlive_a_server_that_is_killed(tmp_path):
    program = (
        'import sys, time, pathlib\n'
        'from hfmirror.server import running_hub\n'
        f'with running_hub(pathlib.Path(sys.argv[1]), **{_LIMITS}) as hub:\n'
        '    print(hub.endpoint, flush=True)\n'
        '    time.sleep(100)\n'
    )
    with running_hub(tmp_path / 'hub', **_LIMITS) as hub:
        repo = hub.hub.repositories.create('model', 'local/tiny', {})
        sending = Sending(hub, repo, os.urandom(11 * _PART + 7))
    with subprocess.Popen(
        [sys.executable, '-c', program, tmp_path / 'hub'], stdout=subprocess.PIPE, text=True
    ) as server:
        endpoint = server.stdout.readline().strip()
        sending.urls = [url.replace(hub.endpoint, endpoint) for url in sending.urls]
        parts = sending.put_all()
        with half_sent(sending.urls[4], sending.part(5)):
            until(lambda: not (_upload_folder(sending) / '00005').exists())
            server.send_signal(signal.SIGKILL)
            server.wait()
    with running_hub(tmp_path / 'hub', **_LIMITS) as again:
        sending.action['href'] = sending.action['href'].replace(hub.endpoint, again.endpoint)
        sending.urls = [url.replace(endpoint, again.endpoint) for url in sending.urls]
        assert sending.complete(parts).status_code == 400
        sending.put(5)
        assert sending.complete(parts).status_code == 200
    assert sending.stored() == {sending.oid: sending.content}


# -- completion


@pytest.mark.parametrize(
    'change',
    [
        lambda parts: parts[:-1],
        lambda parts: parts[1:],
        lambda parts: [],
        lambda parts: [*parts, {'partNumber': 13, 'etag': '"x"'}],
        lambda parts: [{'partNumber': 1, 'etag': parts[1]['etag']}, *parts[1:]],
        lambda parts: [{'partNumber': '1', 'etag': parts[0]['etag']}, *parts[1:]],
        lambda parts: [{'partNumber': 1, 'etag': None}, *parts[1:]],
        lambda parts: [None],
        lambda parts: None,
        lambda parts: 'all',
    ],
)
def test_a_list_that_is_not_of_all_parts_is_refused_and_can_be_sent_again(sending, change):
    parts = sending.put_all()
    answer = sending.complete(change(parts))
    assert answer.status_code == 400 and isinstance(answer.json()['message'], str)
    assert sending.complete(parts).status_code == 200


def test_the_list_names_the_object(sending):
    assert sending.complete(sending.put_all(), oid='f' * 64).status_code == 400


def test_parts_that_were_never_sent_make_no_object(sending):
    parts = [{'partNumber': number, 'etag': '"x"'} for number in range(1, 13)]
    assert sending.complete(parts).status_code == 400
    assert sending.stored() == {}


def test_parts_that_are_not_the_object_are_refused_and_removed(sending):
    parts = sending.put_all()
    parts[2]['etag'] = sending.put(3, b'x' * _PART).headers['etag']
    answer = sending.complete(parts)
    assert answer.status_code == 422 and sending.oid in answer.json()['message']
    assert sending.stored() == {}


def test_completing_twice_is_no_error(sending):
    parts = sending.put_all()
    assert [sending.complete(parts).status_code for _ in range(2)] == [200, 200]


def test_completing_several_times_at_once_ends_well(sending):
    parts = sending.put_all()
    with ThreadPoolExecutor(6) as threads:
        answers = list(threads.map(lambda _: sending.complete(parts), range(12)))
    assert {answer.status_code for answer in answers} <= {200, 503}
    assert sending.complete(parts).status_code == 200
    assert sending.stored() == {sending.oid: sending.content}


def test_an_object_that_came_otherwise_meanwhile_completes_the_upload(hub, repo, sending):
    other = Sending(hub, repo, sending.content)
    sending.put(1)
    other.complete(other.put_all())
    assert sending.complete([]).status_code == 200
    assert sending.stored() == {sending.oid: sending.content}


_PARTS = st.lists(
    st.fixed_dictionaries(
        {'partNumber': st.integers() | st.booleans() | st.none(), 'etag': st.text() | st.none()}
    )
    | st.none()
)


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(parts=_PARTS | st.text() | st.dictionaries(st.text(), st.none()))
def test_no_list_of_parts_confuses_the_server(sending, parts):
    assert sending.complete(parts).status_code == 400


# -- who may


def _changed(url, **changes):
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **changes}
    return parts._replace(query=urlencode({k: v for k, v in query.items() if v is not None})).geturl()


@pytest.mark.parametrize(
    'change',
    [
        lambda url: _changed(url, signature=None),
        lambda url: _changed(url, signature='0' * 64),
        lambda url: _changed(url, size='600000'),
        lambda url: _changed(url, part='1'),
        lambda url: _changed(url, expires='99999999999'),
        lambda url: url.replace('/local/tiny', '/local/other'),
        lambda url: url.replace('/local/tiny', '/datasets/local/tiny'),
        lambda url: url.replace('/info/lfs/multipart/', '/info/lfs/multipart/0'),
        lambda url: url.replace(url.split('/multipart/')[1][65:69], '%2e%2e%2f'),
    ],
)
@pytest.mark.parametrize('token', ['', 'hf_reading_only', None])
def test_an_address_that_was_changed_is_refused_whoever_comes_with_it(hub, sending, change, token):
    hub.hub.repositories.create('model', 'local/other', {})
    hub.hub.repositories.create('dataset', 'local/tiny', {})
    hub.hub.tokens.add(tokens.NewToken('local', 'read', 'hf_reading_only'))
    known = {} if token == '' else {'Authorization': f'Bearer {token or hub.token}'}
    put = _HTTP.put(change(sending.urls[0]), content=sending.part(1), headers=known)
    assert put.status_code == 403 and sending.stored() == {}
    parts = sending.put_all()
    answer = _HTTP.post(
        change(sending.action['href']), json={'oid': sending.oid, 'parts': parts}, headers=known
    )
    assert answer.status_code == 403 and sending.oid not in sending.stored()


def test_a_reader_is_offered_no_parts(hub, repo):
    hub.hub.tokens.add(tokens.NewToken('local', 'read', 'hf_reading_only'))
    reader = RunningHub(hub.endpoint, 'hf_reading_only', hub.root, hub.hub)
    assert batch(reader, repo, ('f' * 64, 10 * _PART)).status_code == 403


def test_an_address_for_parts_is_none_for_the_whole(sending):
    url = sending.action['href'].replace('/multipart/', '/objects/')
    whole = url.replace(urlsplit(url).path, urlsplit(url).path.rpartition('/')[0])
    assert _HTTP.put(whole, content=sending.content).status_code == 403


# -- what is left


def test_uploads_that_were_given_up_are_swept(sending):
    sending.put(1)
    (sending.repo.objects / 'tmp').mkdir()
    (sending.repo.objects / 'tmp' / 'half').write_bytes(b'x')
    day = 24 * 3600
    for path in [_upload_folder(sending), *sending.repo.objects.rglob('*')]:
        os.utime(path, (time.time() - 2 * day,) * 2)
    multipart.sweep(sending.repo.path, day)
    assert sending.stored() == {}


def test_uploads_that_go_on_are_not_swept(sending):
    parts = sending.put_all()
    os.utime(_upload_folder(sending), (0, 0))  # the data is new
    multipart.sweep(sending.repo.path, 24 * 3600)
    assert sending.complete(parts).status_code == 200
