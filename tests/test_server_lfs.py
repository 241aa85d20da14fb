"""The LFS server of the Hub, as git-lfs, curl and hostile clients find it."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmirror.server import running_hub, tokens
from hfmirror.server.lfs import signing
from tests.support.mirror import git
from tests.support.serving import half_sent, until

_TYPE = 'application/vnd.git-lfs+json'
_EMPTY = hashlib.sha256().hexdigest()
_UNKNOWN = 'f' * 64


# A connection for each request: none is left open at the end of a test.
_HTTP = httpx2.Client(trust_env=False, timeout=30, limits=httpx2.Limits(max_keepalive_connections=0))


class Client:
    """Asks the LFS API of one repository of a hub, over HTTP and as git-lfs does."""

    def __init__(self, hub, repo_id='local/tiny', *, token=None, settings=()):
        self.hub, self.token = hub, hub.token if token is None else token
        self.repo = hub.hub.repositories.create('model', repo_id, dict(settings))
        self.url = f'{hub.endpoint}/{repo_id}.git/info/lfs'
        self.http = _HTTP

    def post(self, path, body, *, token=None, **headers):
        token = self.token if token is None else token
        known = {'Authorization': f'Bearer {token}'} if token else {}
        return self.http.post(
            f'{self.url}/{path}',
            content=body if isinstance(body, bytes) else json.dumps(body).encode(),
            headers={'Accept': _TYPE, 'Content-Type': _TYPE, **known, **headers},
        )

    def batch(self, operation, *objects, token=None, **more):
        """Ask for ``(oid, size)`` objects; returns the response."""
        listed = [{'oid': oid, 'size': size} for oid, size in objects]
        return self.post('objects/batch', {'operation': operation, 'objects': listed, **more}, token=token)

    def action(self, operation, oid, size):
        """Return the address for one object."""
        (answer,) = self.batch(operation, (oid, size)).json()['objects']
        return answer['actions'][operation]['href']

    def upload(self, content):
        """Send an object, and return its oid."""
        oid = sha256(content)
        assert self.http.put(self.action('upload', oid, len(content)), content=content).status_code == 200
        return oid

    def names(self):
        """Return the names of all files in the repository's store."""
        return {path.name for path in self.repo.objects.rglob('*') if path.is_file()}

    def stored(self):
        """Return {name: content} of all files in the repository's store."""
        paths = [path for path in self.repo.objects.rglob('*') if path.is_file()]
        return {path.name: path.read_bytes() for path in paths}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def lfs(hub):
    return Client(hub)


@pytest.fixture
def work(tmp_path, lfs):
    """A clone of a person who has git-lfs, set up for the hub."""
    git('lfs', 'install', '--skip-repo')
    git('clone', '-q', lfs.repo.path, tmp_path / 'work')
    return point_to_hub(tmp_path / 'work', lfs)


def point_to_hub(clone, lfs, url=None):
    """Have git-lfs in a clone ask the hub, with the token as the password that git's credential helper knows."""
    git('config', 'lfs.url', url or lfs.url, cwd=clone)
    helper = f'!f() {{ echo username=local; echo password={lfs.token}; }}; f'
    git('config', 'credential.helper', helper, cwd=clone)
    return clone


def commit(work, **files):
    """Commit files to LFS, and send the commit, without the objects, to the repository."""
    for name, content in files.items():
        (work / f'{name}.bin').write_bytes(content)
    git('lfs', 'track', '*.bin', cwd=work)
    git('add', '.', cwd=work)
    git('commit', '-q', '-m', 'files', cwd=work)
    subprocess.run(
        ['git', 'push', '-q', 'origin', 'HEAD:main'],
        cwd=work,
        env={**os.environ, 'GIT_LFS_SKIP_PUSH': '1'},
        check=True,
    )


def second_clone(tmp_path, lfs, url=None):
    """Clone the commits without the objects."""
    subprocess.run(
        ['git', 'clone', '-q', lfs.repo.path, tmp_path / 'second'],
        env={**os.environ, 'GIT_LFS_SKIP_SMUDGE': '1'},
        check=True,
    )
    return point_to_hub(tmp_path / 'second', lfs, url)


# -- git-lfs


def test_what_git_lfs_pushes_another_clone_pulls(work, lfs, tmp_path):
    content = os.urandom(3_000_000)
    commit(work, model=content)
    git('lfs', 'push', '--all', 'origin', cwd=work)
    second = second_clone(tmp_path, lfs)
    git('lfs', 'pull', cwd=second)
    assert (second / 'model.bin').read_bytes() == content


def test_git_push_sends_the_objects_and_git_clone_fetches_them(lfs, tmp_path):
    git('lfs', 'install', '--skip-repo')
    helper = f'!f() {{ echo username=local; echo password={lfs.token}; }}; f'
    git('config', '--global', 'credential.helper', helper)
    url, content = lfs.url.removesuffix('/info/lfs'), os.urandom(300_000)
    git('clone', '-q', url, tmp_path / 'first')
    git('lfs', 'track', '*.bin', cwd=tmp_path / 'first')
    (tmp_path / 'first' / 'model.bin').write_bytes(content)
    git('add', '.', cwd=tmp_path / 'first')
    git('commit', '-q', '-m', 'model', cwd=tmp_path / 'first')
    git('push', '-q', 'origin', 'HEAD:main', cwd=tmp_path / 'first')
    git('clone', '-q', url, tmp_path / 'second')
    assert (tmp_path / 'second' / 'model.bin').read_bytes() == content


def test_git_lfs_pushes_more_objects_than_one_batch_has(work, lfs):
    files = {f'n{number}': b'%d' % number for number in range(130)}
    commit(work, **files)
    git('lfs', 'push', '--all', 'origin', cwd=work)
    assert set(lfs.stored()) == {sha256(content) for content in files.values()}


def test_git_lfs_says_why_a_read_token_cannot_push(work, lfs):
    lfs.hub.hub.tokens.add(tokens.NewToken('local', 'read', 'hf_reading_only'))
    lfs.token = 'hf_reading_only'
    point_to_hub(work, lfs)
    commit(work, model=b'weights')
    done = subprocess.run(
        ['git', 'lfs', 'push', '--all', 'origin'], cwd=work, capture_output=True, text=True, check=False
    )
    assert done.returncode and 'The token of local is for reading only' in done.stdout + done.stderr


def test_git_lfs_is_told_of_no_locks_without_a_word(work, lfs):
    commit(work, model=b'weights')
    git('config', f'lfs.{lfs.url}.locksverify', 'true', cwd=work)
    git('config', '--unset', f'lfs.{lfs.url}.locksverify', cwd=work)
    done = subprocess.run(
        ['git', 'lfs', 'pre-push', 'origin', lfs.url],
        input=f'refs/heads/main {git("rev-parse", "HEAD", cwd=work)} refs/heads/main {"0" * 40}\n',
        cwd=work,
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'lock' not in (done.stdout + done.stderr).lower()
    assert git('config', f'lfs.{lfs.url}.locksverify', cwd=work) == 'false'


def test_git_lfs_goes_on_where_a_download_was_cut(work, lfs, tmp_path):
    content = os.urandom(6_000_000)
    commit(work, model=content)
    git('lfs', 'push', '--all', 'origin', cwd=work)
    with Cut(lfs.hub.endpoint, 'GET', after=2_000_000) as cut:
        second = second_clone(tmp_path, lfs, lfs.url.replace(lfs.hub.endpoint, cut.endpoint))
        git('lfs', 'pull', cwd=second)
    assert (second / 'model.bin').read_bytes() == content
    assert any(b'range: bytes=' in head.lower() for head in cut.heads)


def test_git_lfs_repeats_an_upload_that_was_cut(work, lfs):
    content = os.urandom(6_000_000)
    commit(work, model=content)
    with Cut(lfs.hub.endpoint, 'PUT', after=2_000_000) as cut:
        point_to_hub(work, lfs, lfs.url.replace(lfs.hub.endpoint, cut.endpoint))
        git('lfs', 'push', '--all', 'origin', cwd=work)
    assert lfs.stored() == {sha256(content): content}


def test_git_lfs_finds_a_repository_that_was_renamed(work, lfs):
    commit(work, model=b'weights')
    new = lfs.hub.hub.repositories.move(lfs.repo, 'local/new')
    git('remote', 'set-url', 'origin', new.path, cwd=work)
    git('lfs', 'push', '--all', 'origin', cwd=work)
    assert [path.name for path in new.objects.rglob('*') if path.is_file()] == [sha256(b'weights')]


class Cut:
    """Passes connections on to a hub, and cuts the first one with a request of that method ``after`` some bytes.

    For GET the bytes of the answer count, for PUT those of the request. ``heads`` are the heads of such requests.
    """

    def __init__(self, endpoint, method, *, after):
        self._target = urlsplit(endpoint)
        self._method, self._left = method.encode(), after
        self._listening = socket.create_server(('127.0.0.1', 0))
        self.endpoint = f'http://127.0.0.1:{self._listening.getsockname()[1]}'
        self.heads = []
        self._threads = []

    def __enter__(self):
        self._start(self._accept)
        return self

    def __exit__(self, *failure):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for thread in self._threads:
            thread.join()

    def _start(self, function, *args):
        thread = threading.Thread(target=function, args=args)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self):
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self._start(self._serve, client)

    def _serve(self, client):
        with client, socket.create_connection((self._target.hostname, self._target.port)) as hub:
            answers = self._start(self._pass_on, hub, client, self._count_answer)
            self._pass_on(client, hub, self._count_request)
            answers.join()

    def _pass_on(self, source, sink, count):
        with suppress(OSError):
            while block := source.recv(65536):
                count(block)
                sink.sendall(block)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _count_request(self, block):
        if block.startswith(self._method):
            self.heads.append(block.partition(b'\r\n\r\n')[0])
        if self.heads and self._method == b'PUT':
            self._count(len(block))

    def _count_answer(self, block):
        if self.heads and self._method == b'GET':
            self._count(len(block))

    def _count(self, length):
        if self._left > 0:
            self._left -= length
            if self._left <= 0:
                raise ConnectionError('as the test wants it')


# -- who may do what


@pytest.mark.parametrize(
    ('private', 'token', 'operation', 'status'),
    [
        (False, '', 'download', 200),
        (False, '', 'upload', 401),
        (False, 'hf_reading_only', 'download', 200),
        (False, 'hf_reading_only', 'upload', 403),
        (False, 'hf_of_a_stranger', 'download', 200),
        (False, 'hf_of_a_stranger', 'upload', 403),
        (False, 'hf_of_nobody', 'download', 401),
        (True, '', 'download', 401),
        (True, '', 'upload', 401),
        (True, 'hf_reading_only', 'download', 200),
        (True, 'hf_reading_only', 'upload', 403),
        (True, 'hf_of_a_stranger', 'download', 404),
        (True, 'hf_of_a_stranger', 'upload', 404),
    ],
)
def test_a_batch_is_answered_to_whom_it_may_be(hub, private, token, operation, status):
    hub.hub.tokens.add(tokens.NewToken('local', 'read', 'hf_reading_only'))
    hub.hub.tokens.add(tokens.NewToken('eve', 'write', 'hf_of_a_stranger'))
    lfs = Client(hub, settings={'private': private})
    answer = lfs.batch(operation, (_UNKNOWN, 5), token=token)
    assert answer.status_code == status
    assert answer.headers['content-type'].partition(';')[0] == _TYPE
    assert status == 200 or isinstance(answer.json()['message'], str)


def test_no_answer_of_an_address_needs_a_token(hub):
    lfs = Client(hub, settings={'private': True})
    oid = lfs.upload(b'weights')
    assert lfs.http.get(lfs.action('download', oid, 7)).content == b'weights'


def test_a_private_object_is_not_given_out_without_token_and_signature(hub):
    lfs = Client(hub, settings={'private': True})
    oid = lfs.upload(b'weights')
    assert lfs.http.get(f'{lfs.url}/objects/{oid}').status_code == 401


def test_a_token_does_for_an_address_without_signature(lfs):
    content, known = b'weights', {'Authorization': f'Bearer {lfs.token}'}
    url = f'{lfs.url}/objects/{sha256(content)}'
    assert lfs.http.put(f'{url}?size=7', content=content, headers=known).status_code == 200
    assert lfs.http.get(url, headers=known).content == content


@pytest.mark.parametrize('token', ['', 'hf_reading_only'])
def test_without_signature_only_a_writer_sends_an_object(lfs, token):
    lfs.hub.hub.tokens.add(tokens.NewToken('local', 'read', 'hf_reading_only'))
    known = {'Authorization': f'Bearer {token}'} if token else {}
    url = f'{lfs.url}/objects/{sha256(b"weights")}?size=7'
    assert lfs.http.put(url, content=b'weights', headers=known).status_code == (403 if token else 401)
    assert lfs.stored() == {}


def _tampered(href, **changes):
    parts = urlsplit(href)
    query = {**dict(parse_qsl(parts.query)), **changes}
    return parts._replace(query=urlencode(query)).geturl()


@pytest.mark.parametrize(
    'change',
    [
        lambda href: _tampered(href, size='8'),
        lambda href: _tampered(href, expires='99999999999'),
        lambda href: _tampered(href, expires='x'),
        lambda href: _tampered(href, signature='0' * 64),
        lambda href: _tampered(href, signature='\u00e9'),
        lambda href: _tampered(href, more='1'),
        lambda href: href + '&size=8',
        lambda href: href.replace(sha256(b'weights'), sha256(b'weight5')),
        lambda href: href.replace('/local/tiny', '/local/other'),
        lambda href: href.replace('/local/tiny', '/local/missing'),
        lambda href: href.replace('/local/tiny', '/datasets/local/tiny'),
        lambda href: href.replace('/info/lfs/objects/', '/info/lfs/multipart/').replace('?', '/0123?'),
    ],
)
@pytest.mark.parametrize('operation', ['upload', 'download'])
def test_an_address_that_was_changed_is_refused(hub, change, operation):
    lfs, other = Client(hub), Client(hub, 'local/other')
    hub.hub.repositories.create('dataset', 'local/tiny', {})
    if operation == 'download':
        for client in (lfs, other):
            client.upload(b'weights')
    before = lfs.stored() | other.stored()
    href = change(lfs.action(operation, sha256(b'weights'), 7))
    method = 'POST' if 'multipart' in href else {'upload': 'PUT', 'download': 'GET'}[operation]
    assert lfs.http.request(method, href, content=b'weights').status_code == 403
    assert lfs.stored() | other.stored() == before


def test_an_address_for_one_operation_is_none_for_the_other(lfs):
    oid = lfs.upload(b'weights')
    href = lfs.action('download', oid, 7)
    lfs.repo.objects.joinpath('objects', oid[:2], oid[2:4], oid).unlink()
    assert lfs.http.put(href, content=b'weights').status_code == 403


def test_an_address_expires(lfs):
    oid = sha256(b'weights')
    query = signing.signed_query(
        lfs.hub.hub.secret, lfs.repo, 'upload', oid, shown={'size': 7}, lifetime_s=-1
    )
    answer = lfs.http.put(f'{lfs.url}/objects/{oid}?{query}', content=b'weights')
    assert answer.status_code == 403 and 'expired' in answer.json()['message']


def test_an_object_is_only_given_out_by_a_repository_that_has_it(hub):
    oid = Client(hub).upload(b'weights')
    other = Client(hub, 'local/other')
    (answer,) = other.batch('download', (oid, 7)).json()['objects']
    assert answer['error']['code'] == 404 and 'actions' not in answer
    assert other.http.get(f'{other.url}/objects/{oid}').status_code == 404


@pytest.mark.parametrize('name', ['..%2F..%2FHEAD', '%2e%2e', 'A' * 64, 'config', _UNKNOWN])
def test_a_name_that_is_no_object_is_not_found(lfs, name):
    assert lfs.http.get(f'{lfs.url}/objects/{name}').status_code in (400, 404)


# -- the batch API


def test_an_object_that_is_there_needs_no_action(lfs):
    oid = lfs.upload(b'weights')
    assert lfs.batch('upload', (oid, 7)).json()['objects'] == [{'oid': oid, 'size': 7}]


def test_each_object_of_a_batch_has_its_own_answer(lfs):
    oid = lfs.upload(b'weights')
    asked = [(oid, 7), (oid, 8), (_UNKNOWN, 5), ('no oid', 5), (_UNKNOWN, -1), (_EMPTY, 0), (oid, 7)]
    objects = lfs.batch('download', *asked).json()['objects']
    assert [(one['oid'], one['size']) for one in objects] == asked
    assert ['error' in one for one in objects] == [False, True, True, True, True, False, False]


@pytest.mark.parametrize(
    ('oid', 'size', 'code'),
    [
        ('no oid', 5, 422),
        (_UNKNOWN.upper(), 5, 422),
        ('../../../../etc/passwd', 5, 422),
        ('\ud800', 5, 422),
        (_UNKNOWN, -1, 422),
        (_UNKNOWN, 0, 422),
        (_UNKNOWN, 1_000_001, 413),
        (_UNKNOWN, 10**40, 413),
    ],
)
def test_an_object_that_cannot_be_is_refused_by_itself(tmp_path, oid, size, code):
    with running_hub(tmp_path / 'hub', max_file_size=1_000_000) as hub:
        answer = Client(hub).batch('upload', (oid, size), (_EMPTY[::-1], 7)).json()
    assert answer['objects'][0]['error']['code'] == code
    assert 'actions' in answer['objects'][1]


def test_an_object_larger_than_the_disk_is_refused(tmp_path):
    with running_hub(tmp_path / 'hub', max_file_size=2**62) as hub:
        (answer,) = Client(hub).batch('upload', (_UNKNOWN, 2**61)).json()['objects']
    assert answer['error']['code'] == 507


def test_an_object_without_bytes_is_there_from_the_beginning(lfs):
    assert lfs.batch('upload', (_EMPTY, 0)).json()['objects'] == [{'oid': _EMPTY, 'size': 0}]
    assert lfs.http.get(lfs.action('download', _EMPTY, 0)).content == b''


@pytest.mark.parametrize('algorithm', ['sha256', 'sha_256', None])
def test_objects_are_named_by_sha256(lfs, algorithm):
    assert lfs.batch('upload', (_UNKNOWN, 5), hash_algo=algorithm).status_code == 200


@pytest.mark.parametrize(
    ('body', 'status'),
    [
        ({}, 422),
        ({'operation': 'delete', 'objects': []}, 422),
        ({'operation': ['upload'], 'objects': []}, 422),
        ({'operation': 'upload', 'objects': {'oid': 1}}, 422),
        ({'operation': 'upload', 'objects': [1]}, 422),
        ({'operation': 'upload', 'objects': [{'oid': 1, 'size': 1}]}, 422),
        ({'operation': 'upload', 'objects': [{'oid': _UNKNOWN, 'size': True}]}, 422),
        ({'operation': 'upload', 'objects': [{'oid': _UNKNOWN, 'size': 1.5}]}, 422),
        ({'operation': 'upload', 'objects': [], 'transfers': 'basic'}, 422),
        ({'operation': 'upload', 'objects': [], 'hash_algo': 'md5'}, 409),
        ({'operation': 'upload', 'objects': [], 'hash_algo': {}}, 409),
        ({'operation': 'upload', 'objects': [{'oid': _UNKNOWN, 'size': 1}] * 10_001}, 413),
        ({'operation': 'upload', 'objects': [], 'more': 'x' * 9_000_000}, 413),
        ([], 400),
    ],
)
def test_a_batch_that_is_none_is_refused_as_a_whole(lfs, body, status):
    answer = lfs.post('objects/batch', body)
    assert answer.status_code == status and isinstance(answer.json()['message'], str)


def test_a_client_that_takes_no_json_is_refused(lfs):
    assert lfs.post('objects/batch', {}, Accept='text/html').status_code == 406


def test_a_batch_of_ten_thousand_objects_is_answered(lfs):
    objects = [(sha256(b'%d' % number), number + 1) for number in range(10_000)]
    assert len(lfs.batch('upload', *objects).json()['objects']) == 10_000


_TEXT = st.text(st.characters(exclude_categories=()))  # what is no character as well
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(_TEXT, inner),
    max_leaves=10,
)
_OBJECTS = st.lists(
    st.fixed_dictionaries({'oid': _TEXT | st.just(_UNKNOWN), 'size': st.integers() | _JSON}) | _JSON,
    max_size=4,
)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.fixed_dictionaries(
        {'operation': st.sampled_from(['upload', 'download']), 'objects': _OBJECTS},
        optional={
            'transfers': st.lists(st.just('multipart') | _JSON) | _JSON,
            'ref': _JSON,
            'hash_algo': _JSON,
        },
    )
    | _JSON
)
def test_no_batch_confuses_the_server(lfs, body):
    answer = lfs.post('objects/batch', body)
    assert answer.status_code in (200, 400, 409, 413, 422)
    assert 'objects' in answer.json() or 'message' in answer.json()


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary()
    | st.sampled_from([b'[' * 100_000, b'{"objects":' * 50_000, b'{"size":' + b'9' * 5000 + b'}'])
)
def test_no_bytes_confuse_the_server(lfs, body):
    assert lfs.post('objects/batch', body).status_code in (400, 422)


# -- the objects


def test_an_upload_is_in_the_store_and_nothing_else(lfs):
    oid = lfs.upload(b'weights')
    assert lfs.stored() == {oid: b'weights'}


@pytest.mark.parametrize('sent', [b'weight5', b'weight', b'weights and more', b''])
def test_what_is_not_the_object_is_refused_and_not_kept(lfs, sent):
    href = lfs.action('upload', sha256(b'weights'), 7)
    answer = lfs.http.put(href, content=sent)
    assert answer.status_code == 422 and sha256(b'weights') in answer.json()['message']
    assert lfs.stored() == {}


def test_too_long_a_body_of_unknown_length_is_refused(lfs):
    href = lfs.action('upload', sha256(b'weights'), 7)
    assert lfs.http.put(href, content=iter([b'weights', b' and more'])).status_code == 413
    assert lfs.stored() == {}


def test_an_object_beyond_the_limit_is_refused_even_with_a_token(tmp_path):
    with running_hub(tmp_path / 'hub', max_file_size=6) as hub:
        lfs = Client(hub)
        url = f'{lfs.url}/objects/{sha256(b"weights")}?size=7'
        answer = lfs.http.put(url, content=b'weights', headers={'Authorization': f'Bearer {lfs.token}'})
        assert answer.status_code == 413 and lfs.stored() == {}


def test_an_upload_of_unknown_length_is_taken(lfs):
    href = lfs.action('upload', sha256(b'weights'), 7)
    assert lfs.http.put(href, content=iter([b'wei', b'ghts'])).status_code == 200
    assert lfs.stored() == {sha256(b'weights'): b'weights'}


def test_an_object_that_came_meanwhile_is_answered_at_once(lfs):
    href = lfs.action('upload', sha256(b'weights'), 7)
    lfs.upload(b'weights')
    assert lfs.http.put(href, content=b'weights').status_code == 200


def test_several_uploads_of_one_object_at_once_all_end_well(lfs):
    content = os.urandom(3_000_000)
    href = lfs.action('upload', sha256(content), len(content))
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda _: lfs.http.put(href, content=content), range(4)))
    assert [answer.status_code for answer in answers] == [200] * 4
    assert lfs.stored() == {sha256(content): content}


def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(lfs):
    content = os.urandom(3_000_000)
    with half_sent(lfs.action('upload', sha256(content), len(content)), content):
        until(lfs.names)  # it is being written
    until(lambda: not lfs.names())


def test_a_server_that_is_killed_in_the_middle_keeps_what_it_had_and_shows_no_half(tmp_path):
    program = (
        'import sys, time, pathlib\n'
        'from hfmirror.server import running_hub\n'
        'with running_hub(pathlib.Path(sys.argv[1]), token="local:write:hf_of_local") as hub:\n'
        '    print(hub.endpoint, flush=True)\n'
        '    time.sleep(100)\n'
    )
    content = os.urandom(3_000_000)
    with subprocess.Popen(
        [sys.executable, '-c', program, tmp_path / 'hub'], stdout=subprocess.PIPE, text=True
    ) as server:
        endpoint = server.stdout.readline().strip()
        with running_hub(tmp_path / 'hub', token='local:write:hf_of_local') as beside:
            lfs = Client(beside)
            whole = lfs.upload(b'weights')
            href = lfs.action('upload', sha256(content), len(content))
        with half_sent(href.replace(beside.endpoint, endpoint), content):
            until(lambda: len(lfs.names()) == 2)
            server.send_signal(signal.SIGKILL)
            server.wait()
    with running_hub(tmp_path / 'hub', token='local:write:hf_of_local') as again:
        lfs.url = lfs.url.replace(beside.endpoint, again.endpoint)
        answers = lfs.batch('download', (whole, 7), (sha256(content), len(content))).json()['objects']
        assert ['error' in answer for answer in answers] == [False, True]
        assert lfs.upload(content) == sha256(content)


def test_a_full_disk_is_told_and_nothing_is_left(lfs):
    content = os.urandom(3_000_000)
    href = lfs.action('upload', sha256(content), len(content))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    try:
        answer = lfs.http.put(href, content=content)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert answer.status_code == 507 and lfs.stored() == {}


def _curl(*args):
    done = subprocess.run(
        ['curl', '--silent', '--fail', '--noproxy', '*', *map(str, args)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_curl_sends_and_fetches_an_object(lfs, tmp_path):
    content = os.urandom(3_000_000)
    (tmp_path / 'sent').write_bytes(content)
    _curl('--upload-file', tmp_path / 'sent', lfs.action('upload', sha256(content), len(content)))
    assert _curl(lfs.action('download', sha256(content), len(content))) == content


def test_curl_goes_on_where_it_stopped(lfs, tmp_path):
    content = os.urandom(3_000_000)
    oid = lfs.upload(content)
    (tmp_path / 'got').write_bytes(content[:1_000_000])
    _curl('--continue-at', '-', '--output', tmp_path / 'got', lfs.action('download', oid, len(content)))
    assert (tmp_path / 'got').read_bytes() == content


def test_head_tells_the_size_of_an_object(lfs):
    oid = lfs.upload(b'weights')
    answer = lfs.http.head(lfs.action('download', oid, 7))
    assert answer.headers['content-length'] == '7' and answer.headers['accept-ranges'] == 'bytes'


# -- verify, locks


@pytest.mark.parametrize(('size', 'status'), [(7, 200), (8, 422)])
def test_verify_knows_the_size_of_an_object(lfs, size, status):
    oid = lfs.upload(b'weights')
    assert lfs.post('objects/verify', {'oid': oid, 'size': size}).status_code == status


@pytest.mark.parametrize('oid', [_UNKNOWN, '../../HEAD'])
def test_verify_does_not_find_what_is_not_there(lfs, oid):
    assert lfs.post('objects/verify', {'oid': oid, 'size': 7}).status_code == 404


@pytest.mark.parametrize('path', ['locks', 'locks/verify', 'locks/7/unlock', 'more'])
def test_there_are_no_locks(lfs, path):
    answer = lfs.post(path, {})
    assert answer.status_code == 404 and answer.json() == {'message': 'Not found'}
