"""The faults of a running Hub, as curl, git, git-lfs and huggingface_hub meet them."""

from __future__ import annotations

import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import RemoteDisconnected
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError

from hfmirror.server import faults, running_hub
from tests.support.clients import Client
from tests.support.mirror import git
from tests.support.person import Person
from tests.support.rest import call

MB = 1_000_000
ASKED = '/api/models'


@pytest.fixture
def url(hub):
    """The address of local/tiny, for which git has the token."""
    repo = hub.hub.repositories.create('model', 'local/tiny', {})
    helper = f'!printf "username=local\\npassword={hub.token}\\n";:'
    git('config', '--global', 'credential.helper', helper)
    return f'{hub.endpoint}/{repo.web_path}'


@pytest.fixture
def work(url, tmp_path):
    """A clone of local/tiny with one commit that is not pushed, whose weights go by git-lfs."""
    git('lfs', 'install', '--skip-repo')
    git('clone', '-q', url, tmp_path / 'work')
    (tmp_path / 'work' / 'model.bin').write_bytes(os.urandom(MB))
    (tmp_path / 'work' / '.gitattributes').write_text('*.bin filter=lfs diff=lfs merge=lfs -text\n')
    git('add', '-A', cwd=tmp_path / 'work')
    git('commit', '-q', '-m', 'weights', cwd=tmp_path / 'work')
    return tmp_path / 'work'


@pytest.fixture
def basic(hub, api, tmp_path):
    """The client, without Xet."""
    with Client(hub, tmp_path / 'ada', HF_HUB_DISABLE_XET='1') as running:
        yield running.api


@pytest.fixture
def big(api, tmp_path):
    """The bytes of a file of local/x that is an LFS object, and its address."""
    content = os.urandom(3 * MB)
    api.upload_file(path_or_fileobj=content, path_in_repo='model.bin', repo_id='local/x')
    return content, f'{api.endpoint}/local/x/resolve/main/model.bin'


def get(hub, path=ASKED, **given):
    return call(hub, 'GET', path, **given)


def statuses(hub, what='*'):
    return [seen.status for seen in hub.requests(what)]


def curl(*args, code=0):
    """Run curl, and return what it prints."""
    done = subprocess.run(['curl', '-sS', *map(str, args)], capture_output=True, text=True, check=False)
    assert done.returncode == code, f'{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}'
    return done.stdout


def push(work):
    """Push with git, and return what it says and whether it succeeded."""
    done = subprocess.run(
        ['git', 'push', 'origin', 'HEAD:main'], cwd=work, capture_output=True, text=True, check=False
    )
    return done.stderr, done.returncode == 0


def stored(hub):
    """Return the names of the files that the Hub has of LFS objects."""
    return [path.name for path in hub.root.glob('models/*/*/lfs/objects/**/*') if path.is_file()]


# -- which requests


def test_as_many_requests_fail_as_were_asked_for(hub):
    hub.fail('GET', 503, times=2)
    assert [get(hub).status for _ in range(3)] == [503, 503, 200]


def test_requests_of_another_method_do_not_fail(hub):
    hub.fail('PUT', 503)
    assert get(hub).status == 200


def test_a_part_of_the_path_names_the_requests(hub):
    hub.fail('GET /api/datasets', 503)
    assert [get(hub).status, get(hub, '/api/datasets').status] == [200, 503]


def test_a_part_of_the_query_names_the_requests(hub):
    hub.fail('GET search=bert', 503)
    assert [get(hub).status, get(hub, f'{ASKED}?search=bert').status] == [200, 503]


def test_the_path_is_looked_at_as_it_was_sent(hub):
    hub.fail('GET feat%2Fx', 503)
    assert [get(hub, '/feat/x').status, get(hub, '/feat%2Fx').status] == [404, 503]


def test_a_star_is_any_method(hub):
    hub.fail('*', 503, times=2)
    assert [get(hub).status, call(hub, 'HEAD', ASKED).status, get(hub).status] == [503, 503, 200]


def test_the_first_requests_go_through_when_asked_for(hub):
    hub.fail('GET', 503, after=2)
    assert [get(hub).status for _ in range(4)] == [200, 200, 503, 200]


def test_faults_of_one_kind_come_one_after_the_other(hub):
    hub.fail('GET', 503)
    hub.fail('GET', 429)
    assert [get(hub).status for _ in range(3)] == [503, 429, 200]


def test_faults_of_two_kinds_come_together(hub):
    called = []
    hub.when('GET', lambda: called.append('once'))
    hub.fail('GET', 503)
    assert (get(hub).status, called) == (503, ['once'])


def test_of_requests_at_once_as_many_fail_as_were_asked_for(hub):
    hub.fail('GET', 503, times=5)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: get(hub).status, range(40)))
    assert sorted(answers) == [200] * 35 + [503] * 5


def test_a_hub_that_healed_fails_no_more(hub):
    hub.fail('*', 503, times=9)
    hub.cut('*', times=9)
    hub.heal()
    assert get(hub).status == 200


# -- failures


def test_a_request_that_fails_is_not_carried_out(hub):
    hub.fail('POST', 500)
    call(hub, 'POST', '/api/repos/create', {'name': 'bert'})
    assert get(hub, '/api/models/local/bert').status == 404


def test_a_failure_has_the_headers_and_the_body_of_a_foreign_machine(hub):
    page = b'<html>Bad Gateway</html>'
    hub.fail('GET', 502, headers={'Retry-After': '7'}, body=page, content_type='text/html')
    answer = get(hub)
    assert answer.body == page
    assert (answer.headers['Retry-After'], answer.headers.get_content_type()) == ('7', 'text/html')


def test_a_failure_of_head_has_no_body(hub):
    hub.fail('HEAD', 503, body=b'page')
    hub.fail('HEAD', 503)
    assert [call(hub, 'HEAD', ASKED).body for _ in range(2)] == [b'', b'']


def test_huggingface_hub_raises_the_status(hub, api):
    hub.fail('GET /api/models', 403)
    with pytest.raises(HfHubHTTPError, match='A test wants the status 403 here') as caught:
        api.model_info('local/x')
    assert caught.value.response.status_code == 403


def test_huggingface_hub_raises_the_error_that_the_code_names(hub, api):
    hub.fail('GET', 403, headers={'X-Error-Code': 'GatedRepo'})
    with pytest.raises(HfHubHTTPError, match='gated'):
        api.model_info('local/x')


@pytest.mark.heavy
def test_huggingface_hub_sends_an_object_again_after_429(hub, basic):
    hub.fail('PUT', 429, headers={'Retry-After': '1'})
    basic.upload_file(path_or_fileobj=os.urandom(MB), path_in_repo='model.bin', repo_id='local/x')
    assert statuses(hub, 'PUT') == [429, 200]


@pytest.mark.heavy
def test_xet_sends_its_chunks_again_after_503(hub, api):
    hub.fail('POST /xorbs/', 503)
    api.upload_file(path_or_fileobj=os.urandom(MB), path_in_repo='model.bin', repo_id='local/x')
    assert statuses(hub, 'POST /xorbs/') == [503, 200]


def test_git_names_the_status(hub, work):
    hub.fail('POST /git-receive-pack', 503)
    said, succeeded = push(work)
    assert not succeeded and '503' in said


def test_git_shows_the_message(hub, url):
    hub.fail('GET /info/refs', 403)
    done = subprocess.run(['git', 'ls-remote', url], capture_output=True, text=True, check=False)
    assert 'remote: A test wants the status 403 here' in done.stderr


def test_git_asks_for_a_credential_after_401(hub, url):
    hub.fail('GET /info/refs', 401)
    git('ls-remote', url)
    assert statuses(hub, 'GET /info/refs') == [401, 200]


@pytest.mark.heavy
def test_git_lfs_sends_an_object_again_after_503(hub, work):
    hub.fail('PUT', 503, times=2)
    assert push(work)[1]
    assert statuses(hub, 'PUT') == [503, 503, 200]


@pytest.mark.heavy
def test_git_lfs_waits_as_long_as_it_is_told(hub, work):
    hub.fail('POST /info/lfs/objects/batch', 429, headers={'Retry-After': '1'})
    started = time.monotonic()
    assert push(work)[1]
    assert time.monotonic() - started >= 1


def test_git_lfs_shows_the_message(hub, work):
    hub.fail('POST /info/lfs/objects/batch', 403, times=9)
    assert 'A test wants the status 403 here' in push(work)[0]


@pytest.fixture(scope='module')
def upload(tmp_path_factory):
    """A file of 50 MB and one that is longer than what is read before an answer."""
    made = [tmp_path_factory.mktemp('upload') / name for name in ('50', '90')]
    for path in made:
        with path.open('wb') as file:
            file.truncate(int(path.name) * MB)
    return made


@pytest.mark.parametrize('which', [0, 1])
@pytest.mark.parametrize(
    'how',
    [
        (),  # asks by Expect: 100-continue
        ('-H', 'Expect:'),
        ('-H', 'Expect:', '-H', 'Connection: close'),
        ('-H', 'Expect:', '-H', 'Transfer-Encoding: chunked'),
        ('-H', 'Expect:', '--http1.0'),
    ],
)
def test_who_uploads_sees_the_status_and_no_reset(hub, upload, how, which):
    hub.fail('PUT', 503, body=b'later')
    assert curl('-w', ' %{http_code}', '-T', upload[which], *how, f'{hub.endpoint}/x') == 'later 503'


def test_who_asks_before_an_upload_is_told_at_once(hub, upload):
    hub.fail('PUT', 503)
    curl('-T', upload[0], f'{hub.endpoint}/x')
    assert hub.requests('PUT')[0].received == 0


@pytest.mark.parametrize('size', [50 * MB, 90 * MB])
def test_a_client_that_reads_no_answer_while_it_sends_sees_the_status(hub, size):
    hub.fail('PUT', 503)
    assert call(hub, 'PUT', '/x', body=bytes(size)).status == 503


@pytest.mark.heavy
def test_git_lfs_sends_an_object_of_90_MB_again_after_503(hub, work):
    (work / 'large.bin').write_bytes(bytes(90 * MB))
    git('add', '-A', cwd=work)
    git('commit', '-q', '-m', 'large', cwd=work)
    hub.fail('PUT', 503, times=2)
    assert push(work)[1]
    assert sorted(statuses(hub, 'PUT')) == [200, 200, 503, 503]


def test_a_connection_is_used_again_after_a_failure(hub):
    hub.fail('POST', 503)
    said = curl(
        *('-d', 'x' * 1000, f'{hub.endpoint}/x', '-o', '/dev/null', '-w', '%{num_connects} '),
        *('--next', '-sS', f'{hub.endpoint}{ASKED}', '-o', '/dev/null', '-w', '%{num_connects}'),
    )
    assert said == '1 0'


# -- delays


def test_a_delayed_request_takes_as_long_and_succeeds(hub):
    hub.delay('GET /api', 0.5)
    started = time.monotonic()
    assert get(hub).status == 200
    assert time.monotonic() - started >= 0.5


def test_who_does_not_wait_so_long_gives_up(hub):
    hub.delay('GET', 5)
    curl('--max-time', '0.3', f'{hub.endpoint}{ASKED}', code=28)


@pytest.mark.heavy
def test_others_do_not_wait_for_a_delayed_request(hub):
    hub.delay('GET /api/models', 30)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(curl, '--max-time', '2', f'{hub.endpoint}{ASKED}', code=28)
        assert get(hub, '/api/datasets').status == 200
        assert not slow.done()


def test_a_hub_ends_at_once_while_a_request_is_delayed(tmp_path):
    with running_hub(tmp_path / 'hub') as hub:
        hub.delay('GET', 100)
        curl('--max-time', '0.3', f'{hub.endpoint}{ASKED}', code=28)
        started = time.monotonic()
    assert time.monotonic() - started < 10


# -- cuts


def test_a_request_whose_answer_is_cut_was_carried_out(hub):
    hub.cut('POST')
    with pytest.raises(RemoteDisconnected):
        call(hub, 'POST', '/api/repos/create', {'name': 'bert'})
    assert get(hub, '/api/models/local/bert').status == 200


def test_nothing_of_a_cut_answer_is_sent(hub):
    hub.cut('GET')
    curl(f'{hub.endpoint}{ASKED}', code=52)


def test_a_request_that_is_cut_at_once_is_not_carried_out(hub):
    hub.cut('POST', received=0)
    with pytest.raises(ConnectionResetError):
        call(hub, 'POST', '/api/repos/create', {'name': 'bert'})
    assert get(hub, '/api/models/local/bert').status == 404


def test_an_answer_is_cut_after_so_many_bytes(hub, big, tmp_path):
    hub.cut('GET /resolve/', after=100_001)
    curl('-o', tmp_path / 'part', big[1], code=18)
    assert (tmp_path / 'part').read_bytes() == big[0][:100_001]


def test_an_answer_that_is_no_longer_is_whole_and_takes_no_cut(hub, big):
    hub.cut('GET', after=2 * MB)
    curl('-o', '/dev/null', f'{hub.endpoint}/api/models')
    curl('-o', '/dev/null', big[1], code=18)


def test_as_many_answers_are_cut_as_were_asked_for(hub, big):
    hub.cut('GET', after=1000, times=2)
    for code in (18, 18, 0):
        curl('-o', '/dev/null', big[1], code=code)


def test_of_answers_at_once_as_many_are_cut_as_were_asked_for(hub, big):
    hub.cut('GET', after=1000, times=3)

    def fetched(number):
        return subprocess.run(['curl', '-s', '-o', '/dev/null', big[1]], check=False).returncode

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(fetched, range(8))) == [0] * 5 + [18] * 3


def test_a_failure_can_be_cut_too(hub):
    hub.fail('GET', 502, body=b'a page of some length')
    hub.cut('GET', after=6)
    assert curl(f'{hub.endpoint}{ASKED}', '-o', '-', '-w', '%{http_code}', code=18) == 'a page502'


def test_curl_goes_on_where_it_was_cut(hub, big, tmp_path):
    hub.cut('GET', after=MB)
    curl('-o', tmp_path / 'file', big[1], code=18)
    curl('-C', '-', '-o', tmp_path / 'file', big[1])
    assert (tmp_path / 'file').read_bytes() == big[0]


def test_huggingface_hub_fetches_a_file_again_that_was_cut(hub, api, big, tmp_path):
    hub.cut('GET /resolve/', after=MB)
    path = api.hf_hub_download('local/x', 'model.bin', cache_dir=tmp_path / 'cache')
    assert Path(path).read_bytes() == big[0]
    assert [seen.sent for seen in hub.requests('GET /resolve/')] == [MB, 3 * MB]


def test_git_says_that_a_clone_was_cut(hub, work, url, tmp_path):
    push(work)
    hub.cut('POST /git-upload-pack', after=200)
    done = subprocess.run(
        ['git', 'clone', url, tmp_path / 'other'], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and 'transfer closed' in done.stderr


def test_git_lfs_fetches_an_object_again_that_was_cut(hub, work, url, tmp_path):
    push(work)
    hub.forget()
    hub.cut('GET /lfs/objects/', after=300_000)
    git('clone', '-q', url, tmp_path / 'other')
    assert (tmp_path / 'other' / 'model.bin').read_bytes() == (work / 'model.bin').read_bytes()


def test_an_upload_is_reset_after_so_many_bytes(hub):
    hub.cut('PUT', received=200_000)
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        call(hub, 'PUT', '/x', body=bytes(20 * MB))
    assert (hub.requests('PUT')[0].received, statuses(hub)) == (200_000, [None])


def test_an_upload_that_was_cut_leaves_nothing(hub, work):
    git('config', 'lfs.transfer.maxretries', '1', cwd=work)
    hub.cut('PUT', received=200_000, times=9)
    assert not push(work)[1]
    assert stored(hub) == []


def test_git_lfs_sends_an_object_again_that_was_cut(hub, work):
    hub.cut('PUT', received=200_000)
    assert push(work)[1]
    assert statuses(hub, 'PUT') == [None, 200]


@pytest.mark.heavy
def test_huggingface_hub_sends_an_object_again_that_was_cut(hub, basic):
    hub.cut('PUT', received=200_000)
    basic.upload_file(path_or_fileobj=os.urandom(MB), path_in_repo='model.bin', repo_id='local/x')
    assert statuses(hub, 'PUT') == [None, 200]


def test_an_upload_that_is_no_longer_is_carried_out_and_takes_no_cut(hub, work):
    hub.cut('PUT', received=MB)
    assert push(work)[1]
    assert statuses(hub, 'PUT') == [200]


def test_git_does_not_know_of_a_push_whose_answer_was_cut(hub, work):
    hub.cut('POST /git-receive-pack')
    assert not push(work)[1]
    assert git('ls-remote', 'origin', 'main', cwd=work).split()[0] == git('rev-parse', 'HEAD', cwd=work)


# -- actions


def test_an_action_comes_before_the_request_is_carried_out(hub):
    hub.when('GET', lambda: hub.hub.repositories.create('model', 'local/bert', {}))
    assert [model['id'] for model in get(hub).json] == ['local/bert']


def test_an_action_can_ask_the_hub(hub):
    hub.when('GET /api/models', lambda: get(hub, '/api/datasets'))
    get(hub)
    assert [seen.path for seen in hub.requests()] == ['/api/datasets', '/api/models']


def test_somebody_else_can_be_faster_than_a_push(hub, work, url, tmp_path):
    other = Person(url, tmp_path / 'other')
    hub.when('POST /git-receive-pack', lambda: other.pushes({'a.txt': 'mine'}))
    said, succeeded = push(work)
    assert not succeeded and 'rejected' in said
    assert git('ls-remote', 'origin', 'main', cwd=work).split()[0] == git('rev-parse', 'HEAD', cwd=other.path)


def test_what_an_action_raises_is_raised_at_the_end(tmp_path):
    with pytest.raises(pytest.fail.Exception, match='the test is wrong'), running_hub(tmp_path) as hub:
        hub.when('GET', lambda: pytest.fail('the test is wrong', pytrace=False))
        get(hub)


# -- what was asked


def test_requests_are_those_of_a_method_and_a_part_of_the_path(hub):
    for path in (ASKED, '/api/datasets', f'{ASKED}?limit=1'):
        get(hub, path)
    assert [seen.path for seen in hub.requests('GET /models')] == [ASKED, f'{ASKED}?limit=1']


def test_requests_have_their_status_and_the_bytes_of_both_bodies(hub):
    answer = call(hub, 'POST', '/api/repos/create', body=b'{"name": "bert"}')
    (seen,) = hub.requests('POST')
    assert seen[:5] == ('POST', '/api/repos/create', 200, 16, len(answer.body))


def test_an_answer_to_head_has_no_bytes(hub):
    call(hub, 'HEAD', ASKED)
    assert hub.requests('HEAD')[0].sent == 0


def test_requests_have_their_headers(hub):
    get(hub, headers={'User-Agent': 'me/1.0'})
    assert hub.requests()[0].headers['user-agent'] == 'me/1.0'


def test_requests_that_are_forgotten_are_no_more(hub):
    get(hub)
    hub.forget()
    assert hub.requests() == []


def test_only_the_last_requests_are_remembered(tmp_path, monkeypatch):
    # Ten thousand would take the time of ten thousand.
    monkeypatch.setattr(faults, '_SEEN_MAX', 3)
    with running_hub(tmp_path) as hub:
        for number in range(5):
            get(hub, f'/api/models?limit={number + 1}')
        assert [seen.path[-1] for seen in hub.requests()] == ['3', '4', '5']


def test_no_token_and_no_signature_is_remembered(hub, work, api):
    push(work)
    api.upload_file(path_or_fileobj=os.urandom(MB), path_in_repo='model.bin', repo_id='local/x')
    get(hub, f'/api/models?search={hub.token}', headers={'Cookie': f'token={hub.token}', 'X-Mine': hub.token})
    get(hub, '/local/x.git/info/lfs/objects/abc?expires=1&signature=sealed')
    remembered = repr(hub.requests())
    assert hub.token not in remembered and 'sealed' not in remembered
    assert 'Basic ' not in remembered and 'Bearer ' not in remembered
    assert not re.search(r'signature=(?!\*)', remembered)
