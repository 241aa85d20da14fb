"""What a push to the Hub says when something is wrong, how it ends, and that it can be finished when it is right again."""

from __future__ import annotations

import itertools
import random
import shutil
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from hfmirror import errors, statuses
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

_NUMBERS = itertools.count(1)
PAGE = b'<!DOCTYPE html><html><body>Please log in to the network</body></html>'
RESTRICTED = 'Access to model local/x is restricted and you are not in the authorized list.'
heavy = pytest.mark.heavy


@pytest.fixture(autouse=True)
def no_retries(own_world, tmp_path):
    retry(tmp_path, 0)


def retry(tmp_path, times, delay_s=0.0):
    (tmp_path / 'config.yaml').write_text(
        f'huggingface:\n  settings:\n    upload: {{max_retries: {times}, retry_delay: {delay_s}}}\n'
    )


class Pusher:
    """Pushes a folder to one repository of a Hub."""

    def __init__(self, hub, mirror, folder):
        self.hub, self.mirror, self.folder = hub, mirror, folder
        self.name = f'local/r{next(_NUMBERS)}'
        mirror.remote = hub.root / 'models' / f'{self.name}.git'

    def create(self, kind='model', **more):
        namespace, name = self.name.split('/')
        body = {'name': name, 'organization': namespace, 'type': kind, **more}
        assert call(self.hub, 'POST', '/api/repos/create', body).status == 200

    def push(self, *args, code, **kwargs):
        """Push v1.0.0; the message is one for people, whatever it is about."""
        name = () if '--repo' in args else ('--repo', self.name)
        where = ('--remote', 'hub', *name, '--tag', 'v1.0.0')
        done = self.mirror.run('push', self.folder, *where, *args, code=code, **kwargs)
        for word in ('Traceback', 'fatal:', 'unable to access', 'curl', 'signature', '%!', '<html', 'Errno'):
            assert word not in done.err, done.err
        assert self.hub.token not in done.out + done.err
        return done

    def refs(self):
        return self.mirror.git('for-each-ref')

    def waits(self):
        return [row['version'] for row in self.mirror.run('status', '--json', code=0).json]

    def assert_arrived(self):
        assert self.mirror.tags() == ['v1.0.0']
        assert self.mirror.git('rev-parse', 'v1.0.0^{commit}') == self.mirror.git('rev-parse', 'main')
        assert len(self.mirror.objects()) == 1
        assert self.waits() == []


@pytest.fixture
def first(shared_hub, mirror, folder, monkeypatch):
    """Pushes to a repository that is not there yet."""
    monkeypatch.setenv('HF_ENDPOINT', shared_hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', shared_hub.token)
    shared_hub.forget()
    yield Pusher(shared_hub, mirror, folder)
    shared_hub.heal()


@pytest.fixture
def there(first):
    """Pushes to a repository that is there."""
    first.create()
    first.hub.forget()
    return first


# -- what a server answers

DOWNLOAD = 'GET /objects/'
REFS, BATCH, OBJECT, RECEIVE, LISTED, CREATE = (
    'GET /info/refs',
    'POST /info/lfs',
    'PUT',
    'POST /git-receive-pack',
    'GET /tree/',
    'POST /api/repos/create',
)
ACCOUNT, ALLOWED, MISSING, MOVED, LARGE, BUSY, DOWN, FULL = (
    "not accepted (HTTP 401)|hf auth login",
    "not allowed (HTTP 403)|hfmirror whoami",
    'not found (HTTP 404)|Check the name',
    'clashes with what is there (HTTP 409)|Push again',
    'too large for the server (HTTP 413)|Split the file',
    'too many requests, the server asks to wait|hfmirror resume',
    'not able to answer now|hfmirror resume',
    'storage of the namespace is used up (HTTP 507)|Free some there',
)  # fmt: skip
REFUSED = 'the server refused an object: "A test wants|Push again'
ANSWERS = [
    (REFS, 401, 4, ACCOUNT),
    (REFS, 429, 7, BUSY),
    (BATCH, 403, 4, ALLOWED),
    (BATCH, 500, 7, DOWN),
    (OBJECT, 429, 7, BUSY),
    (OBJECT, 503, 7, DOWN),
    (RECEIVE, 413, 1, LARGE),
    (RECEIVE, 502, 7, DOWN),
    (RECEIVE, 507, 1, FULL),
    (CREATE, 403, 4, ALLOWED),
    (LISTED, 503, 7, DOWN),
    (LISTED, 404, 3, 'does not show the files of v1.0.0|hfmirror verify v1.0.0'),
]
MORE = [
    *[(REFS, *row) for row in ((403, 4, ALLOWED), (404, 5, MISSING), (409, 6, MOVED), (413, 1, LARGE))],
    *[(REFS, *row) for row in ((500, 7, DOWN), (503, 7, DOWN), (507, 1, FULL))],
    *[(BATCH, *row) for row in ((401, 4, ACCOUNT), (404, 5, MISSING), (409, 6, MOVED), (413, 1, LARGE))],
    *[(BATCH, *row) for row in ((429, 7, BUSY), (503, 7, DOWN), (507, 1, FULL))],
    *[(OBJECT, *row) for row in ((401, 4, ACCOUNT), (403, 1, REFUSED), (404, 1, REFUSED), (409, 1, REFUSED))],
    *[(OBJECT, *row) for row in ((413, 1, REFUSED), (500, 7, DOWN), (507, 1, REFUSED))],
    *[(RECEIVE, *row) for row in ((401, 4, ACCOUNT), (403, 4, ALLOWED), (404, 5, MISSING), (409, 6, MOVED))],
    *[(RECEIVE, *row) for row in ((429, 7, BUSY), (500, 7, DOWN), (503, 7, DOWN))],
    *[(LISTED, *row) for row in ((401, 4, ACCOUNT), (403, 4, ALLOWED), (429, 7, BUSY), (500, 7, DOWN))],
    *[(CREATE, *row) for row in ((401, 4, ACCOUNT), (404, 1, 'creates no repositories|HF_ENDPOINT'))],
    *[(CREATE, *row) for row in ((409, 6, MOVED), (413, 1, LARGE), (429, 7, BUSY), (503, 7, DOWN))],
]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('where', 'status', 'code', 'words'), [*ANSWERS, *(pytest.param(*row, marks=heavy) for row in MORE)]
)
def test_a_status_is_told_and_the_push_is_finished_when_it_is_over(first, where, status, code, words):
    if where != CREATE:
        first.create()
    before = first.refs() if where != CREATE else ''
    first.hub.fail(where, status, times=99)
    done = first.push(code=code)
    for word in words.split('|'):
        assert word in done.err
    if where == CREATE:
        assert not first.mirror.remote.exists()
    else:
        assert (first.refs() == before) == (where != LISTED)
    first.hub.heal()
    if code == 7:
        assert first.waits() == ['v1.0.0']
        first.mirror.run('resume', code=0)
    else:
        first.push(code=0)
    first.assert_arrived()


UNDER_A_PAGE = [
    (REFS, 200, 1, 'a web page answered'),
    (BATCH, 200, 1, 'login page of a network'),
    (OBJECT, 200, 3, 'does not confirm 1 object'),
    (LISTED, 200, 1, 'a web page answered'),
    (LISTED, 403, 1, 'a web page answered (HTTP 403)'),
    (LISTED, 429, 7, 'too many requests'),
    (OBJECT, 403, 4, 'not allowed (HTTP 403)'),
    (OBJECT, 413, 1, 'too large for the server (HTTP 413)'),
    (OBJECT, 507, 1, 'storage of the namespace'),
    (OBJECT, 502, 7, 'not able to answer now (HTTP 502)'),
    (RECEIVE, 502, 7, 'not able to answer now (HTTP 502)'),
]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('where', 'status', 'code', 'words'),
    [row if row[1] in (200, 413) else pytest.param(*row, marks=heavy) for row in UNDER_A_PAGE],
)
def test_a_page_for_people_is_told_and_not_shown(there, where, status, code, words):
    there.hub.fail(where, status, times=99, body=PAGE, content_type='text/html')
    assert words in there.push(code=code).err


@pytest.mark.parametrize(
    'where', [REFS, pytest.param(BATCH, marks=heavy), pytest.param(RECEIVE, marks=heavy)]
)
def test_a_gate_is_told_with_what_opens_it(there, where):
    body = RESTRICTED.encode()
    headers = {'X-Error-Code': 'GatedRepo', 'X-Error-Message': RESTRICTED}
    there.hub.fail(where, 403, times=99, headers=headers, body=body)
    done = there.push(code=4)
    # What comes with the refusal of a push git does not show.
    assert ('accept the conditions' if where != RECEIVE else 'not allowed (HTTP 403)') in done.err


@pytest.mark.heavy
def test_a_batch_that_is_refused_to_git_lfs_alone_is_told_with_its_status(there):
    there.hub.fail(BATCH, 403, times=99, after=3)  # the questions before it may be asked
    assert 'not allowed (HTTP 403): "A test wants the status 403 here"' in there.push(code=4).err
    refused = [one.headers['user-agent'] for one in there.hub.requests(BATCH) if one.status == 403]
    assert refused[0].startswith('git-lfs/')


# -- when to try again


@pytest.mark.heavy
def test_what_a_server_has_no_time_for_is_tried_again_ever_later(there, tmp_path):
    retry(tmp_path, 2, 0.4)
    asked = times_of(there.hub, LISTED)
    there.hub.fail(LISTED, 503, times=2)
    done = there.push(code=0)
    assert asked[1] - asked[0] >= 0.3 and asked[2] - asked[1] >= 0.6
    assert done.err.count('Trying again') == 2


def times_of(hub, what):
    """Return a list that gets the time of every request."""
    asked = []
    hub.when(what, lambda: asked.append(time.monotonic()), times=99)
    return asked


@pytest.mark.heavy
def test_a_server_is_left_alone_as_long_as_it_asks(there, tmp_path):
    retry(tmp_path, 1)
    asked = times_of(there.hub, LISTED)
    there.hub.fail(LISTED, 429, headers={'Retry-After': '1'})
    assert 'asks to wait for 1 s (HTTP 429)' in there.push(code=0).err
    assert asked[1] - asked[0] >= 1


@pytest.mark.heavy
def test_what_git_does_not_tell_of_a_pause_the_hub_is_asked(there, tmp_path):
    retry(tmp_path, 1)
    asked = times_of(there.hub, RECEIVE)
    there.hub.fail(RECEIVE, 429)
    there.hub.fail('GET /api/models/', 429, headers={'Retry-After': '1'})
    there.push(code=0)
    assert asked[1] - asked[0] >= 1


@pytest.mark.heavy
def test_a_long_pause_is_not_waited_for(there, tmp_path):
    retry(tmp_path, 3)
    there.hub.fail(LISTED, 429, times=99, headers={'Retry-After': '3600'})
    assert 'asks to wait for 3600 s' in there.push(code=7).err
    assert len(there.hub.requests(LISTED)) == 1
    assert there.waits() == ['v1.0.0']


@pytest.mark.heavy
@pytest.mark.parametrize(('where', 'status'), [(LISTED, 403), (RECEIVE, 401), (RECEIVE, 413)])
def test_a_refusal_is_not_tried_again(there, tmp_path, where, status):
    retry(tmp_path, 3)
    there.hub.fail(where, status, times=99)
    done = there.push(code=1 if status == 413 else 4)
    assert 'Trying again' not in done.err
    # git itself sends once more what is refused for want of a password.
    assert len(there.hub.requests(where)) <= 2


@pytest.mark.parametrize('status', [408, 425, 429])
def test_a_page_that_says_come_back_later_is_no_refusal(status):
    told = statuses.failure(status, 'local/x', said=PAGE.decode(), retry_after_s=5)
    assert isinstance(told, errors.NetworkError) and told.retry_after_s == 5
    assert '<html' not in str(told)


UPLOAD_PACK = 'POST /git-upload-pack'  # with protocol 2 first for the refs, then for what they name


@pytest.mark.heavy
def test_a_fetch_that_breaks_is_tried_again(there, tmp_path):
    retry(tmp_path, 1)
    there.hub.fail(UPLOAD_PACK, 503, after=1)
    assert 'Trying again' in there.push(code=0).err
    there.assert_arrived()


@pytest.mark.heavy
def test_a_fetch_that_breaks_for_good_lets_the_release_wait(there):
    there.hub.fail(UPLOAD_PACK, 503, times=99, after=1)
    there.push(code=7)
    assert there.waits() == ['v1.0.0']
    there.hub.heal()
    there.mirror.run('resume', code=0)
    there.assert_arrived()


@pytest.mark.heavy
def test_a_pull_leaves_a_server_alone_as_long_as_it_asks(there, tmp_path):
    there.push(code=0)
    retry(tmp_path, 1)
    asked = times_of(there.hub, DOWNLOAD)
    there.hub.fail(DOWNLOAD, 429, headers={'Retry-After': '1'})
    there.mirror.run('pull', '--to', 'got', '--remote', 'hub', '--repo', there.name, code=0)
    assert asked[1] - asked[0] >= 1


# -- who asks


@pytest.mark.parametrize(
    ('user', 'role', 'words'),
    [('local', 'read', 'may only read'), ('bob', 'write', 'may not write to the namespace local')],
)
def test_a_token_without_the_right(there, user, role, words):
    before = there.refs()
    done = there.push(code=4, env={'HF_TOKEN': new_user(there.hub, user, role)})
    assert words in done.err
    assert there.refs() == before and there.waits() == []


def test_a_token_that_nobody_has(there):
    done = there.push(code=4, env={'HF_TOKEN': 'hf_' + 'z' * 34})
    assert 'the token from HF_TOKEN was not accepted' in done.err and 'hf auth login' in done.err
    assert there.waits() == []


def test_no_token(there):
    done = there.push(code=4, env={'HF_TOKEN': ''})
    assert 'no token found' in done.err and 'hf auth login' in done.err


@pytest.mark.heavy
def test_a_private_repository_of_somebody_else_is_one_they_may_not_write(first):
    first.create(private=True)
    assert 'bob' in first.push(code=4, env={'HF_TOKEN': new_user(first.hub, 'bob')}).err


@pytest.mark.heavy
def test_a_repository_of_another_type(first):
    first.create('dataset')
    done = first.push(code=5)
    assert '--repo-type dataset' in done.err
    assert f'hf repos create {first.name}' in done.err
    assert not first.mirror.remote.exists()
    first.create()
    first.push(code=0)
    first.assert_arrived()


# -- no answer


@pytest.mark.heavy
@pytest.mark.parametrize('received', [None, 0], ids=['cut', 'reset'])
@pytest.mark.parametrize(
    'where', [REFS, RECEIVE, pytest.param(BATCH, marks=heavy), pytest.param(LISTED, marks=heavy)]
)
def test_a_connection_that_breaks_is_no_end(there, where, received):
    there.hub.cut(where, received=received, times=99)
    assert 'the connection was cut' in there.push(code=7).err
    there.hub.heal()
    there.mirror.run('resume', code=0)
    there.assert_arrived()


@pytest.mark.heavy
def test_an_upload_that_breaks_off_goes_on_with_the_objects_that_are_left(there):
    for number in range(3):
        there.folder.write(f'more-{number}.bin', random.Random(number).randbytes(3000))
    there.hub.fail(OBJECT, 503, times=99, after=2)
    there.push(code=7)
    sent = [one.path for one in there.hub.requests(OBJECT) if one.status == 200]
    assert len(sent) == 2
    there.hub.heal()
    there.hub.forget()
    there.mirror.run('resume', code=0)
    assert len(there.hub.requests(OBJECT)) == 2
    assert len(there.mirror.objects()) == 4


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('endpoint', 'words'),
    [
        ('http://nosuch.invalid', 'nosuch.invalid: no such host is known (DNS)'),
        ('http://127.0.0.1:1', '127.0.0.1:1: the connection was refused'),
    ],
)
def test_an_address_where_nobody_is(first, endpoint, words):
    env = {'HF_ENDPOINT': endpoint}
    assert words in first.push(code=7, env=env).err
    assert first.waits() == ['v1.0.0']


@pytest.mark.heavy
def test_an_address_of_an_unknown_authority_is_not_tried_again(first, tls, tmp_path):
    retry(tmp_path, 3)
    done = first.push(code=7, env={'HF_ENDPOINT': tls})
    assert 'no trusted connection (TLS)' in done.err and 'SSL_CERT_FILE' in done.err
    assert 'Trying again' not in done.err


@pytest.fixture
def tls(tmp_path):
    """The address of a server whose certificate nobody trusts."""
    if shutil.which('openssl') is None:
        pytest.skip('openssl, which makes the certificate, is not there')
    key, certificate = tmp_path / 'key.pem', tmp_path / 'certificate.pem'
    subject = ('-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1')
    command = ('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '2', *subject)
    subprocess.run([*command, '-keyout', key, '-out', certificate], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with proxy(200, context=context) as address:
        yield address.replace('http:', 'https:')


class proxy:
    """A server that answers everything, ``CONNECT`` too, with one status and a page."""

    def __init__(self, status, *, context=None):
        self.server = ThreadingHTTPServer(('127.0.0.1', 0), _Proxy)
        self.server.status = status
        self.server.handle_error = lambda *args: None  # clients that do not trust it leave
        if context:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={'poll_interval': 0.02})

    def __enter__(self):
        self.thread.start()
        return f'http://127.0.0.1:{self.server.server_port}'

    def __exit__(self, *failure):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class _Proxy(BaseHTTPRequestHandler):
    def do_GET(self):
        self.rfile.read(int(self.headers.get('Content-Length') or 0))
        self.send_response(self.server.status)
        if self.server.status == 407:
            self.send_header('Proxy-Authenticate', 'Basic realm="x"')
        for name, value in {'Content-Type': 'text/html', 'Content-Length': str(len(PAGE))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(PAGE)

    do_POST = do_PUT = do_CONNECT = do_GET

    def log_message(self, *args):
        pass


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('scheme', 'status', 'code', 'words'),
    [
        ('http', 200, 1, 'a web page answered (HTTP 200)'),
        ('http', 407, 4, 'the proxy asks for a user and password'),
        ('http', 502, 7, 'not able to answer now (HTTP 502)'),
        ('https', 403, 7, 'the proxy does not let us through'),
        ('https', 407, 4, 'the proxy asks for a user and password'),
    ],
)
def test_a_proxy_in_between(first, scheme, status, code, words):
    with proxy(status) as address:
        names = ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY')
        env = {'HF_ENDPOINT': f'{scheme}://hub.invalid', **dict.fromkeys(names, address)}
        assert words in first.push(code=code, env=env).err


@pytest.fixture
def slow(hub, mirror, folder, monkeypatch):
    """Pushes to a Hub of its own, which remembers a request when its wait is over."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    pusher = Pusher(hub, mirror, folder)
    pusher.create()
    return pusher


@pytest.mark.heavy
@pytest.mark.parametrize('where', [REFS, pytest.param(RECEIVE, marks=heavy)])
def test_a_server_that_stalls(slow, where):
    slow.hub.delay(where, 12, times=99)
    env = {'GIT_HTTP_LOW_SPEED_LIMIT': '1', 'GIT_HTTP_LOW_SPEED_TIME': '1'}
    assert 'no answer in time' in slow.push(code=7, env=env).err


@heavy
def test_a_server_that_stalls_for_an_object(slow):
    git('config', '--global', 'lfs.activitytimeout', '1')
    slow.hub.delay(OBJECT, 12, times=99)
    assert 'no answer in time' in slow.push(code=7).err


@pytest.mark.heavy
def test_a_first_release_that_waited_creates_its_repository(first):
    first.push(code=7, env={'HF_HUB_OFFLINE': '1'})
    first.mirror.run('resume', code=0)
    first.assert_arrived()


@pytest.mark.heavy
def test_without_a_network_on_purpose_nothing_is_asked(there, tmp_path):
    retry(tmp_path, 3)
    done = there.push(code=7, env={'HF_HUB_OFFLINE': '1'})
    assert 'HF_HUB_OFFLINE is set' in done.err and 'Trying again' not in done.err
    assert there.hub.requests() == []
    there.mirror.run('resume', code=7, env={'HF_HUB_OFFLINE': '1'})
    assert there.hub.requests() == []
    there.mirror.run('resume', code=0)
    there.assert_arrived()


# -- the proof


def test_a_tag_that_shows_other_files_is_no_release(there):
    def moved():
        commit_by_path(there.mirror.remote, {'config.json': 'theirs'}, ref='refs/tags/v1.0.0')

    there.hub.when(LISTED, moved)
    done = there.push(code=3)
    assert 'config.json' in done.err and 'hfmirror verify v1.0.0' in done.err


@pytest.mark.heavy
def test_a_list_without_the_files_is_no_release(there):
    there.hub.fail(LISTED, 200, body=b'[]', content_type='application/json')
    assert 'hfmirror verify v1.0.0' in there.push(code=3).err
    there.push(code=0)
    there.assert_arrived()


@pytest.mark.heavy
def test_a_push_that_failed_its_proof_is_not_done_by_the_next_one_either(there):
    there.hub.fail(LISTED, 200, body=b'[]', content_type='application/json', times=2)
    there.push(code=3)
    assert 'hfmirror verify v1.0.0' in there.push(code=3).err
    assert 'nothing to do' in there.push(code=0).out


# -- the repository, created and deleted


def test_a_repository_that_is_public_already_is_said_to_be_when_private_was_asked_for(there):
    assert 'is public; --private counts only when' in there.push('--private', code=0).err


@pytest.mark.heavy
def test_the_hubs_first_commit_is_nobody_elses_although_its_answer_was_lost(first):
    first.hub.cut(CREATE)
    assert 'somebody pushed' not in first.push(code=0).err
    first.assert_arrived()


@pytest.mark.heavy
def test_a_space_is_asked_for_its_objects_before_it_is_there(first):
    first.folder.write('README.md', '---\ntitle: Tiny\nsdk: static\n---\n# Tiny\n')
    body = b'{"message": "Repository not found"}'
    first.hub.fail(BATCH, 401, headers={'X-Error-Code': 'RepoNotFound'}, body=body)
    first.push('--repo-type', 'space', code=0)


def without_weights(pusher):
    pusher.folder.remove('model.bin')
    return pusher.mirror.push, (pusher.folder, '--remote', 'hub', '--repo', pusher.name, '--tag', 'v2.0.0')


@pytest.mark.heavy
def test_a_first_release_arrives_although_the_one_before_it_was_dropped(first):
    push, second = without_weights(first)
    away = {'HF_HUB_OFFLINE': '1'}
    first.push(code=7, env=away)
    first.folder.write('config.json', '{"hidden_size": 2}')
    push(*second, code=7, env=away)
    first.mirror.run('resume', '--drop', first.mirror.run('status', '--json').json[0]['id'], code=0)
    first.mirror.run('resume', code=0)
    assert first.mirror.tags() == ['v2.0.0']
    assert first.mirror.git('rev-list', '--count', 'main') == '2'  # the Hub's own, and the release


@pytest.mark.heavy
def test_a_repository_that_its_owner_deleted_is_not_made_again_by_what_waits(first):
    push, second = without_weights(first)
    first.push(code=0)
    first.folder.write('config.json', '{"hidden_size": 2}')
    push(*second, code=7, env={'HF_HUB_OFFLINE': '1'})
    namespace, name = first.name.split('/')
    call(first.hub, 'DELETE', '/api/repos/delete', {'name': name, 'organization': namespace})
    assert 'no such model' in first.mirror.run('resume', code=5).err
    assert not first.mirror.remote.exists()
