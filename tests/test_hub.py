"""The REST API of a Hub: what is asked, what is believed of an answer, and what each refusal means."""

from __future__ import annotations

import gzip
import json
import math
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate

import pytest

from hfmirror import errors, statuses
from hfmirror import hub as hubs
from hfmirror import target as targets
from hfmirror.auth import Token
from hfmirror.gitcmd import GitFailed, meaning
from hfmirror.hub import Hub
from hfmirror.rights import may_not_write
from tests.support.rest import call, new_user
from tests.support.wire import canned, document

SECRET = 'hf_abcdefghijklmnopqrstuvwxyz'
TREE = '/api/models/me/x/tree/main'
ROW = {'type': 'file', 'path': 'a.txt', 'oid': '1' * 40, 'size': 3}


def at(server, token=SECRET):
    """Return the API at a server, and the target me/x there."""
    owner = Token(token, 'HF_TOKEN', server.endpoint) if token else None
    return Hub(server.endpoint, owner), targets.hub(server.endpoint, 'me/x')


def tree_of(answers):
    with canned(answers) as server:
        hub, target = at(server)
        return hub.tree(target, 'main')


# -- what is believed


def test_a_tree_is_read_page_by_page():
    with canned({}) as server:
        more = {'Content-Type': 'application/json', 'Link': f'<{server.endpoint}/page2>; rel="next"'}
        second = {**ROW, 'path': 'b.bin', 'lfs': {'oid': '2' * 64, 'size': 9}}
        server.answers |= {
            TREE: (200, more, json.dumps([ROW, {'type': 'directory', 'path': 'd'}]).encode()),
            '/page2': document([second]),
        }
        hub, target = at(server)
        found = hub.tree(target, 'main')
    assert [(entry.path, entry.size, entry.is_lfs) for entry in found.values()] == [
        ('a.txt', 3, False),
        ('b.bin', 9, True),
    ]


@pytest.mark.parametrize('below', ['', '/mirror'])
def test_a_next_page_that_a_mirror_names_by_another_host_is_asked_for_here(below):
    with canned({}) as original, canned({}) as server:
        link = f'<{original.endpoint}/api/page?cursor=a%2Fb&limit=9>; rel="next"'
        server.answers |= {
            f'{below}{TREE}': (200, {'Content-Type': 'application/json', 'Link': link}, b'[]'),
            f'{below}/api/page': document([ROW]),
        }
        server.endpoint += below
        hub, target = at(server)
        assert list(hub.tree(target, 'main')) == ['a.txt']
    assert server.requests[-1].path == f'{below}/api/page?cursor=a%2Fb&limit=9'
    assert original.requests == [], 'our token goes to no other host'


def test_a_tree_without_an_end_is_not_read_to_it(monkeypatch):
    monkeypatch.setattr(hubs, '_PAGES_MAX', 3)  # else the test would ask 10,000 times
    with canned({}) as server:
        link = {'Content-Type': 'application/json', 'Link': f'<{server.endpoint}{TREE}>; rel="next"'}
        server.answers[TREE] = (200, link, b'[]')
        hub, target = at(server)
        with pytest.raises(errors.RemoteError, match='without an end'):
            hub.tree(target, 'main')


def test_a_redirection_to_another_server_does_not_take_the_token_along():
    with canned(document({'name': 'thief'})) as thief, canned({}) as server:
        server.answers['/api/whoami-v2'] = (302, {'Location': f'{thief.endpoint}/whoami'}, b'')
        hub, _ = at(server)
        hub.whoami()
        assert header(server, 'authorization') == f'Bearer {SECRET}'
        assert header(thief, 'authorization') is None


def header(server, name):
    """Return a header of the last request of a server."""
    return {key.lower(): value for key, value in server.requests[-1].headers.items()}.get(name)


@pytest.mark.parametrize(
    'answer',
    [
        document({}),
        document([1]),
        document(['file']),
        document([{'type': 'file'}]),
        document([{**ROW, 'size': 'large'}]),
        document(None),
        (200, {}, b'[' * 100_000),
        (200, {}, b'\xff'),
        (200, {}, b''),
        (200, {'Content-Type': 'text/html'}, b'<!doctype html><html>'),
    ],
)
def test_a_document_that_is_no_tree_is_an_error_of_ours(answer):
    with pytest.raises(errors.RemoteError, match='HF_ENDPOINT'):
        tree_of({TREE: answer})


def test_a_compressed_answer_is_read():
    headers = {'Content-Type': 'application/json', 'Content-Encoding': 'gzip'}
    assert list(tree_of({TREE: (200, headers, gzip.compress(json.dumps([ROW]).encode()))})) == ['a.txt']


def test_an_answer_without_an_end_is_not_read_to_it(monkeypatch):
    monkeypatch.setattr(hubs, '_ANSWER_MAX', 1000)  # else the test would send 64 MB
    headers = {'Content-Type': 'application/json', 'Content-Encoding': 'gzip'}
    with pytest.raises(errors.RemoteError, match='no end'):
        tree_of({TREE: (200, headers, gzip.compress(b' ' * 100_000))})


@pytest.mark.parametrize('answer', [{}, {'name': 7}, [], None])
def test_whoever_is_nobody_is_not_believed(answer):
    with canned({'/api/whoami-v2': document(answer)}) as server, pytest.raises(errors.RemoteError):
        at(server)[0].whoami()


# -- what is told of a refusal


def refused(status, *, headers=None, body=b'', token=SECRET):
    """Return the error of a request that a server answers so."""
    with canned((status, headers or {}, body)) as server:
        hub, target = at(server, token)
        with pytest.raises(errors.HfmirrorError) as raised:
            hub.require(target)
    assert SECRET not in str(raised.value)
    return raised.value


@pytest.mark.parametrize(
    ('status', 'headers', 'kind', 'words'),
    [
        (401, {}, errors.AuthError, 'the token from HF_TOKEN was not accepted'),
        (401, {'X-Error-Message': f'{SECRET} is expired'}, errors.AuthError, '"*** is expired"'),
        (403, {}, errors.AuthError, 'not allowed'),
        (403, {'X-Error-Code': 'GatedRepo'}, errors.AuthError, 'accept the conditions'),
        (401, {'X-Error-Code': 'GatedRepo'}, errors.AuthError, ''),
        (404, {'X-Error-Code': 'RepoNotFound'}, errors.NotFoundError, 'not found'),
        (402, {'X-Error-Message': 'storage limit'}, errors.RemoteError, 'storage of the namespace'),
        (403, {'X-Error-Message': 'Private repository storage limit reached'}, errors.RemoteError, 'storage'),
        (407, {}, errors.AuthError, 'proxy asks for a user'),
        (413, {}, errors.RemoteError, 'too large'),
        (418, {}, errors.RemoteError, 'refused (HTTP 418)'),
        (429, {'Retry-After': '30'}, errors.NetworkError, 'wait for 30 s'),
        (503, {'Retry-After': '30'}, errors.NetworkError, 'wait for 30 s'),
        (503, {}, errors.NetworkError, 'not able to answer now'),
    ],
)
def test_a_refusal_is_its_kind_and_says_what_to_do(status, headers, kind, words):
    error = refused(status, headers=headers)
    assert type(error) is kind and words in str(error)
    assert str(error).startswith('me/x on hub: ') and str(error).endswith('.') and '..' not in str(error)


def test_without_a_token_a_refusal_does_not_speak_of_one():
    assert 'a request without a token was not accepted' in str(refused(401, token=None))


def test_what_a_server_says_is_shown_in_one_short_line():
    error = str(refused(400, body=b'{"error": "first\\n\\u001b[31m' + b'x' * 10_000 + b'"}'))
    assert '\n' not in error and len(error) < 600


def test_a_server_that_does_not_answer_is_not_waited_for(hub, monkeypatch):
    monkeypatch.setattr(hubs, '_TIMEOUT_S', 0.3)  # else the test would take a minute
    hub.delay('GET /api/models', 5, times=1)
    api, target = at(hub, hub.token)
    with pytest.raises(errors.NetworkError, match='no answer within'):
        api.require(target)


def test_a_server_that_is_not_there():
    with canned({}) as server:
        hub, target = at(server)
    with pytest.raises(errors.NetworkError, match='the connection was refused'):
        hub.require(target)


@pytest.mark.parametrize(
    ('header', 'seconds'),
    [
        ('0', 0),
        ('7', 7),
        ('1.5', 1.5),
        (None, None),
        ('', None),
        ('soon', None),
        ('-3', None),
        ('9' * 30, None),
    ],
)
def test_a_pause_is_told_in_seconds(header, seconds):
    assert statuses.seconds(header) == seconds


def test_a_pause_is_told_by_a_date():
    then = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    assert 95 <= statuses.seconds(then) <= 100
    assert statuses.seconds(formatdate(time.time() - 100, usegmt=True)) == 0


# -- creating


def test_a_repository_that_is_there_stays_as_it_is(hub):
    api, _ = at(hub, hub.token)
    target = targets.hub(hub.endpoint, 'local/x')
    api.create(target, private=True)
    api.create(target, private=False)
    assert call(hub, 'GET', '/api/models/local/x').json['private'] is True


def test_it_is_told_whether_a_repository_was_made(hub):
    api, _ = at(hub, hub.token)
    target = targets.hub(hub.endpoint, 'local/x')
    assert api.create(target) is True
    assert api.create(target) is False


@pytest.mark.parametrize(
    ('private', 'asked'),
    [
        (True, {'visibility': 'private'}),
        (False, {'visibility': 'public'}),
        (None, {}),
    ],
)
def test_a_repository_is_created_as_huggingface_hub_does(private, asked):
    """The key that an older client sent is not one that a Hub of today has to know."""
    answers = {'/api/repos/create': document({}), '/api/models/me/x': document({'private': True})}
    with canned(answers) as server:
        hub, target = at(server)
        hub.create(target, private=private)
    sent = json.loads(server.requests[0].body)
    assert sent == {'name': 'x', 'organization': 'me', 'type': 'model', **asked}


@pytest.mark.parametrize('told', [{'private': False}, {}, []])
@pytest.mark.parametrize('status', [200, 409])
def test_a_repository_that_did_not_become_private_is_an_error(told, status):
    with canned({'/api/repos/create': document({}, status), '/api/models/me/x': document(told)}) as server:
        hub, target = at(server)
        with pytest.raises(errors.RemoteError, match=r'not private\. Nothing was sent') as raised:
            hub.create(target, private=True)
    assert f'{server.endpoint}/me/x' in str(raised.value)


def test_whether_a_repository_is_private(hub, api):
    ours, _ = at(hub, hub.token)
    api.create_repo('local/secret', private=True)
    assert ours.is_private(targets.hub(hub.endpoint, 'local/secret'))
    assert not ours.is_private(targets.hub(hub.endpoint, 'local/x'))


def test_a_server_that_creates_nothing_is_no_hub():
    with canned({}) as server, pytest.raises(errors.RemoteError, match='creates no repositories'):
        hub, target = at(server)
        hub.create(target)


# -- who may write

NO_ROLE = {
    'name': 'ada',
    'orgs': [
        {'name': 'lab', 'roleInOrg': 'write'},
        {'name': 'zoo', 'roleInOrg': 'read'},
        {'name': 'untold'},
        {'name': 'shut', 'roleInOrg': 'admin', 'securityRestrictions': ['sso']},
    ],
}


def fine(*scopes):
    token = {'role': 'fineGrained', 'fineGrained': {'scoped': list(scopes)}}
    return {**NO_ROLE, 'auth': {'accessToken': token}}


def scope(kind, name, *permissions):
    return {'entity': {'type': kind, 'name': name}, 'permissions': list(permissions)}


WRITE = 'repo.write'


@pytest.mark.parametrize(
    ('me', 'repo_id', 'allowed'),
    [
        (NO_ROLE, 'ada/x', True),
        (NO_ROLE, 'Lab/x', True),
        (NO_ROLE, 'zoo/x', False),
        (NO_ROLE, 'untold/x', True),
        (NO_ROLE, 'shut/x', False),
        (NO_ROLE, 'bob/x', False),
        ({**NO_ROLE, 'auth': {'accessToken': {'role': 'read'}}}, 'ada/x', False),
        ({**NO_ROLE, 'auth': {'accessToken': {'role': 'fineGrained'}}}, 'ada/x', True),
        ({**NO_ROLE, 'auth': 'x', 'orgs': ['x', None]}, 'ada/x', True),
        (fine(), 'ada/x', False),
        (fine(scope('org', 'shut', WRITE)), 'shut/x', False),
        (fine(scope('user', 'ada', WRITE)), 'ada/x', True),
        (fine(scope('user', 'ada', 'repo.content.read')), 'ada/x', False),
        (fine(scope('org', 'lab', WRITE)), 'lab/x', True),
        (fine(scope('org', 'lab', WRITE)), 'ada/x', False),
        (fine(scope('model', 'bob/x', WRITE)), 'bob/x', True),
        (fine(scope('model', 'bob/y', WRITE)), 'bob/x', False),
        (fine(scope('dataset', 'ada/x', WRITE)), 'ada/x', False),
        (fine({'entity': {'type': 'user', '_id': '1'}, 'permissions': [WRITE]}), 'ada/x', True),
        (fine({'entity': 7, 'permissions': None}), 'ada/x', False),
    ],
)
def test_who_may_write_where(me, repo_id, allowed):
    refused = may_not_write(me, targets.hub('http://h', repo_id), Token(SECRET, 'HF_TOKEN'))
    assert (refused is None) == allowed
    if refused is not None:
        assert refused.exit_code == 4 and SECRET not in str(refused)


def test_what_an_organisation_wants_first_is_named():
    me, token = {**NO_ROLE, 'auth': {}}, Token(SECRET, 'HF_TOKEN', 'http://h')
    refused = may_not_write(me, targets.hub('http://h', 'shut/x'), token)
    assert 'shut asks for sso first. Open http://h/shut' in str(refused)


def test_what_a_fine_grained_token_lacks_is_named():
    me = fine(scope('org', 'lab', WRITE))
    refused = may_not_write(me, targets.hub('http://h', 'ada/x'), Token(SECRET, 'HF_TOKEN'))
    assert 'repo.write' in str(refused) and 'Settings, Access Tokens' in str(refused)


# -- a token for another Hub


def test_a_token_for_another_hub_is_named_and_not_said_to_be_none(hub, api):
    target = targets.hub(hub.endpoint, 'local/x')
    found = hubs.hub_of(target, Token(SECRET, 'HF_TOKEN', 'https://other.example'))
    assert found.token is None
    with pytest.raises(errors.AuthError) as raised:
        found.whoami()
    assert 'the token from HF_TOKEN is for https://other.example' in str(raised.value)
    assert f'Set HF_ENDPOINT to {hub.endpoint}' in str(raised.value) and SECRET not in str(raised.value)


def test_without_any_token_a_hub_says_how_to_get_one(hub):
    found = hubs.hub_of(targets.hub(hub.endpoint, 'local/x'), None)
    with pytest.raises(errors.AuthError, match='no token found'):
        found.whoami()


# -- what is behind a failure of git


def behind(hub, said, *, token=None, repo='local/x'):
    """Return what the Hub makes of what git said when it pushed."""
    owner = Token(token or hub.token, 'HF_TOKEN', hub.endpoint)
    failure = GitFailed(('git', 'push'), 128, said)
    target = targets.hub(hub.endpoint, repo)
    told = meaning(failure, str(target))
    told.__cause__ = failure
    return Hub(hub.endpoint, owner).explained(told, target, writing=True)


NO_ENTRY = "fatal: unable to access 'http://h/': The requested URL returned error: 403"


def test_a_refusal_is_put_down_to_the_token_where_it_is_that(hub, api):
    assert 'was not accepted' in str(behind(hub, NO_ENTRY, token=SECRET))
    assert 'may only read' in str(behind(hub, NO_ENTRY, token=new_user(hub, 'local', 'read')))
    assert 'namespace local' in str(behind(hub, NO_ENTRY, token=new_user(hub, 'bob')))
    assert type(behind(hub, NO_ENTRY, repo='local/none')) is hubs.NoSuchRepository


def test_a_refusal_that_nothing_explains_is_told_as_it_is(hub, api):
    said = f'remote: Ask the owner.\n{NO_ENTRY}'
    assert '(HTTP 403): "Ask the owner"' in str(behind(hub, said))


def test_a_name_that_is_another_type_is_put_right(hub, api):
    api.create_repo('local/rows', repo_type='dataset')
    told = str(behind(hub, NO_ENTRY, repo='local/rows'))
    assert '--repo-type dataset' in told and "'hf repos create local/rows'" in told


def test_a_failure_that_the_api_told_itself_is_not_asked_about_again(hub):
    failure = errors.AuthError('me/x on hub: not allowed.')
    api, target = at(hub, hub.token)
    assert api.explained(failure, target, writing=True) is failure
    assert hub.requests() == []


def test_without_an_answer_to_that_question_it_is_to_be_asked_again(hub, api):
    hub.fail('GET /api/whoami-v2', 503)
    assert isinstance(behind(hub, NO_ENTRY), errors.NetworkError)


# -- what programs say of a server

DNS, CUT, LATE, TLS, PROXY, NOBODY = (
    'no such host is known',
    'the connection was cut',
    'no answer in time',
    'no trusted connection',
    'the proxy',
    'the connection was refused',
)


@pytest.mark.parametrize(
    ('said', 'words'),
    [
        ("fatal: unable to access 'https://h/': Could not resolve host: h", DNS),
        ('LFS: Put "https://h/o": dial tcp: lookup h: no such host', DNS),
        ('[Errno -2] Name or service not known', DNS),
        ('[Errno -3] Temporary failure in name resolution', DNS),
        ("fatal: unable to access 'https://h/': Failed to connect to h port 443: Connection refused", NOBODY),
        ('batch response: Post "http://h/batch": dial tcp 127.0.0.1:1: connect: connection refused', NOBODY),
        ("fatal: unable to access 'https://h/': SSL certificate problem: self-signed certificate", TLS),
        ("fatal: unable to access 'https://h/': server certificate verification failed. CAfile: none", TLS),
        ('LFS: Put "https://h/o": x509: certificate signed by unknown authority', TLS),
        ('[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed', TLS),
        ("fatal: unable to access 'https://h/': gnutls_handshake() failed: Handshake failed", TLS),
        ("fatal: unable to access 'https://h/': GnuTLS recv error (-110): The TLS connection was non-properly terminated", CUT),
        ("fatal: unable to access 'https://h/': OpenSSL SSL_connect: SSL_ERROR_SYSCALL in connection", CUT),
        ('fatal: the remote end hung up unexpectedly', CUT),
        ('error: RPC failed; curl 18 transfer closed with outstanding read data remaining', CUT),
        ('LFS: Put "http://h/o": EOF', CUT),
        ('LFS: Put "http://h/o": http: server closed idle connection', CUT),
        ('LFS: Put "http://h/o": read tcp 127.0.0.1:1->127.0.0.1:2: i/o timeout', LATE),
        ("fatal: unable to access 'http://h/': Operation too slow. Less than 1 bytes/sec transferred", LATE),
        ('The read operation timed out', LATE),
        ("fatal: unable to access 'https://h/': CONNECT tunnel failed, response 403", PROXY),
        ("fatal: unable to access 'https://h/': Received HTTP code 502 from proxy after CONNECT", PROXY),
        ('Tunnel connection failed: 403 Forbidden', PROXY),
        ("fatal: unable to access 'https://h/': Could not resolve proxy: p", PROXY),
        ('LFS: Put "https://h/o": proxyconnect tcp: dial tcp: lookup p: no such host', PROXY),
    ],
)  # fmt: skip
def test_who_did_not_answer_is_told_in_the_same_words_whoever_tried(said, words):
    error = statuses.not_reached(said, 'me/x') if said[0] in '[T' else statuses.told_by_git(said, 'me/x')
    assert type(error) is errors.NetworkError and words in str(error)
    assert (error.retry_after_s == math.inf) == (words in (TLS, PROXY))


@pytest.mark.parametrize(
    ('said', 'status'),
    [
        ("fatal: unable to access 'http://h/': The requested URL returned error: 429", 429),
        ('error: RPC failed; HTTP 413 curl 22 The requested URL returned error: 413', 413),
        ("fatal: could not read Username for 'http://h': terminal prompts disabled", 401),
        ("fatal: repository 'http://h/x/' not found", 404),
        ('LFS: Client error: http://h/o?x=1', 400),
        ('Authentication required: Authorization error: http://h/o\nCheck that you have proper access', 401),
        ('LFS: Authorization error: http://h/o\nCheck that you have proper access', 403),
        ('batch response: Repository or object not found: http://h/o', 404),
        ('LFS: Client error &{%!!(string=http) %!!(string=h)}s(MISSING) from HTTP 413', 413),
        ('batch response: Rate limit exceeded: http://h/o', 429),
        ('LFS: Error', 429),
        ('LFS: Insufficient server storage: http://h/o', 507),
        ('error: batch response: Fatal error: Server error: http://h/o', 599),
        ('Fatal error: Server error &{%!!(string=http)}s(MISSING) from HTTP 503', 503),
        ('LFS: no', 0),
        ('remote: The requested URL returned error: 401\nfatal: bad pack', None),
        ('error: failed to push some refs', None),
    ],
)
def test_a_status_is_found_in_what_git_says(said, status):
    found = statuses.answered(said)
    assert (found.status if found else None) == status


def test_what_a_server_says_to_git_and_git_lfs_is_kept_and_addresses_are_not():
    said = 'remote: one\nremote: two\nfatal: The requested URL returned error: 403'
    assert statuses.answered(said) == (403, 'one two')
    assert statuses.answered('Fatal error: out of order') == (599, 'out of order')
    assert statuses.answered('LFS: Client error: http://h/o?signature=x') == (400, '')


def test_a_signed_address_is_not_shown():
    said = 'LFS: strange http://h/o?a=1&X-Amz-Signature=0123&X-Amz-Credential=AKIA and ?signature=4567'
    shown = str(meaning(GitFailed(('git', 'lfs'), 2, said), 'me/x'))
    assert not any(secret in shown for secret in ('0123', 'AKIA', '4567'))
