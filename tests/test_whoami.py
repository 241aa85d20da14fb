"""whoami: who one is on the Hub, where the token came from, and what it may do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror.auth import Token
from hfmirror.commands.whoami import lines, whoami
from hfmirror.hub import Hub
from tests.support.rest import new_user
from tests.support.wire import canned, document

SECRET = 'hf_abcdefghijklmnopqrstuvwxyz'


@pytest.fixture
def here(hub, monkeypatch):
    """The Hub, as the one that is meant."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    return hub


def organise(hub, organisations):
    path = hub.root / 'tokens.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'organisations': organisations}))


def told(hub, token):
    return list(lines(whoami(Hub(hub.endpoint, Token(token, 'HF_TOKEN'))), hub.endpoint, 'HF_TOKEN'))


def answering(**fields):
    """Return what is told of a token of which the Hub answers with these fields."""
    with canned({'/api/whoami-v2': document({'type': 'user', 'name': 'ada', **fields})}) as server:
        return told(server, SECRET)[1:]


def with_token(**token):
    return {'type': 'access_token', 'accessToken': {'displayName': 'laptop', **token}}


# -- what is told


def test_a_token_that_writes(hub):
    token = new_user(hub, 'ada')
    organise(
        hub,
        {
            'lab': {'ada': 'admin'},
            'team': {'ada': 'write'},
            'zoo': {'ada': 'read'},
            'other': {'bob': 'admin'},
        },
    )
    assert told(hub, token) == [
        f'ada at {hub.endpoint}',
        'token: HF_TOKEN ("ada-write", write)',
        'may write to: ada, lab (admin), team (write)',
        'may read: zoo',
    ]


def test_a_token_that_reads(hub):
    token = new_user(hub, 'ada', 'read')
    organise(hub, {'lab': {'ada': 'admin'}})
    assert told(hub, token) == [
        f'ada at {hub.endpoint}',
        'token: HF_TOKEN ("ada-read", read)',
        'may read: ada, lab',
        'may not write: a push to the Hub needs a token that writes',
    ]


def test_a_token_of_an_administrator(hub):
    assert 'may write to: root' in told(hub, new_user(hub, 'root', 'admin'))


def test_the_full_name_is_told_when_it_is_another():
    with canned({'/api/whoami-v2': document({'name': 'ada', 'fullname': 'Ada Lovelace'})}) as server:
        assert told(server, SECRET)[0] == f'ada (Ada Lovelace) at {server.endpoint}'


def test_the_end_of_a_token_is_told():
    auth = {**with_token(role='write'), 'expiresAt': '2030-01-01T00:00:00.000Z'}
    assert answering(auth=auth)[0] == 'token: HF_TOKEN ("laptop", write, until 2030-01-01T00:00:00.000Z)'


def test_a_fine_grained_token_by_what_it_may_do_with_what():
    scoped = [
        {
            'entity': {'_id': '1', 'type': 'user', 'name': 'ada'},
            'permissions': ['repo.content.read', 'repo.write'],
        },
        {'entity': {'_id': '2', 'type': 'model', 'name': 'lab/bert'}, 'permissions': ['repo.content.read']},
        {'entity': {'_id': '3', 'type': 'collection'}, 'permissions': []},
    ]
    fine = {'canReadGatedRepos': True, 'global': ['discussion.write'], 'scoped': scoped}
    assert answering(auth=with_token(role='fineGrained', fineGrained=fine)) == [
        'token: HF_TOKEN ("laptop", fine-grained)',
        'user ada: repo.content.read, repo.write',
        'model lab/bert: repo.content.read',
        'collection 3: nothing',
        'everywhere: discussion.write',
        'may read gated repositories that its owner has access to',
    ]


def test_a_fine_grained_token_that_writes_nowhere():
    assert answering(auth=with_token(role='fineGrained', fineGrained={'scoped': []})) == [
        'token: HF_TOKEN ("laptop", fine-grained)',
        'may not write: a push to the Hub needs the permission repo.write',
    ]


def test_a_fine_grained_token_of_which_the_hub_does_not_tell_more():
    assert answering(auth=with_token(role='fineGrained')) == [
        'token: HF_TOKEN ("laptop", fine-grained)',
        'the Hub does not tell whether it may write: a push finds out',
    ]


def test_a_fine_grained_token_is_shut_out_as_any_other():
    orgs = [{'name': 'lab', 'roleInOrg': 'admin', 'securityRestrictions': ['sso']}]
    token = with_token(role='fineGrained', fineGrained={'scoped': []})
    assert answering(orgs=orgs, auth=token)[-1] == 'shut out of lab, which asks for sso first'


def test_an_organisation_that_does_not_tell_our_role_may_be_written_to():
    orgs = [{'name': 'lab'}]
    assert 'may write to: ada, lab (role unknown)' in answering(orgs=orgs, auth=with_token(role='write'))


def test_an_organisation_that_wants_something_first():
    orgs = [
        {'name': 'lab', 'roleInOrg': 'admin', 'pendingSSO': True, 'securityRestrictions': ['sso', 'ip']},
        {'name': 'team', 'roleInOrg': 'contributor', 'missingMFA': False},
    ]
    assert answering(orgs=orgs, auth=with_token(role='write'))[1:] == [
        'may write to: ada, team (contributor)',
        'shut out of lab, which asks for sso, ip first',
    ]


def test_a_token_of_which_the_hub_does_not_say_what_it_may_do():
    assert answering(auth={'type': 'oauth'}) == [
        'token: HF_TOKEN (unknown)',
        'may read: ada',
        'the Hub does not tell whether it may write: a push finds out',
    ]


@pytest.mark.parametrize('field', ['auth', 'orgs', 'fullname', 'email', 'type'])
@pytest.mark.parametrize(
    'value', [None, 3, 'text', [], [3], {}, {'accessToken': 5}, {'accessToken': {'role': []}}]
)
def test_an_answer_of_another_shape_breaks_nothing(field, value):
    assert answering(**{field: value})


@pytest.mark.parametrize(
    'value', [5, 'x', [5], {'scoped': 5}, {'scoped': [{'entity': 5, 'permissions': 5}], 'global': 5}]
)
def test_scopes_of_another_shape_break_nothing(value):
    assert answering(auth=with_token(role='fineGrained', fineGrained=value))


# -- when it cannot be told


def test_a_token_that_the_hub_does_not_take(hub):
    with pytest.raises(errors.AuthError, match='401') as raised:
        whoami(Hub(hub.endpoint, Token(SECRET, 'HF_TOKEN')))
    assert SECRET not in str(raised.value)


def test_a_hub_that_is_not_there():
    with pytest.raises(errors.NetworkError):
        whoami(Hub('http://127.0.0.1:1', Token(SECRET, 'HF_TOKEN')))


# -- the command


def test_without_a_token_it_names_the_ways_to_get_one(mirror, here):
    done = mirror.run('whoami', code=4)
    assert done.out == '' and 'hf auth login' in done.err and 'HF_TOKEN' in done.err and '.env' in done.err


def test_it_tells_where_the_token_came_from(mirror, here):
    Path('.env').write_text(f'HF_TOKEN={here.token}\n')
    assert (
        mirror.run('whoami', code=0).out.splitlines()[1] == 'token: HF_TOKEN in .env ("local-write", write)'
    )


def test_json_is_one_document_without_the_token(mirror, here, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', here.token)
    organise(here, {'lab': {'local': 'read'}})
    done = mirror.run('whoami', '--json', code=0)
    assert done.json == {
        'endpoint': here.endpoint,
        'name': 'local',
        'fullname': 'local',
        'email': '',
        'type': 'user',
        'organisations': [{'name': 'lab', 'role': 'read', 'asks': []}],
        'token': {
            'source': 'HF_TOKEN',
            'name': 'local-write',
            'role': 'write',
            'expires': '',
            'scopes': [],
            'everywhere': [],
            'reads_gated': False,
        },
    }
    assert here.token not in done.out + done.err


def test_a_refused_token_ends_with_4(mirror, here, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', SECRET)
    assert SECRET not in mirror.run('whoami', code=4).err


def test_a_hub_that_is_not_there_ends_with_7(mirror, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', SECRET)
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:1')
    mirror.run('whoami', code=7)


def test_an_endpoint_that_is_none_ends_with_2(mirror, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'huggingface.co')
    assert 'HF_ENDPOINT' in mirror.run('whoami', '--token', SECRET, code=2).err


# -- --token


def test_the_option_is_taken_before_the_environment_and_warned_about(mirror, here, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', here.token)
    done = mirror.run('whoami', '--token', new_user(here, 'ada'), code=0)
    assert done.out.startswith('ada at ') and 'token: --token (' in done.out
    assert done.err.count('warning: --token') == 1 and '--token -' in done.err


def test_an_empty_option_is_refused(mirror, here):
    assert 'empty' in mirror.run('whoami', '--token', '', code=2).err


def piped(content, endpoint):
    return subprocess.run(
        [sys.executable, '-m', 'hfmirror', 'whoami', '--token', '-'],
        env={**os.environ, 'HF_ENDPOINT': endpoint},
        input=content,
        capture_output=True,
        check=False,
    )


def test_the_option_reads_a_line_of_stdin_and_warns_of_nothing(hub):
    done = piped(f'{hub.token}\nmore\n'.encode(), hub.endpoint)
    assert done.returncode == 0 and done.stdout.startswith(b'local at ')
    assert b'warning' not in done.stderr


@pytest.mark.parametrize(('content', 'code'), [(b'', 2), (b'\n', 2), (b'\xff\xfe\n', 4), (b'x' * 10**6, 4)])
def test_stdin_without_a_token_is_refused(hub, content, code):
    done = piped(content, hub.endpoint)
    assert done.returncode == code and b'--token' in done.stderr and b'xxx' not in done.stderr


@pytest.mark.skipif(not hasattr(os, 'openpty'), reason='no terminals here')
def test_on_a_terminal_the_token_is_not_shown_as_it_is_typed(hub):
    ours, theirs = os.openpty()
    with (
        open(ours, 'r+b', buffering=0) as person,
        subprocess.Popen(
            [sys.executable, '-m', 'hfmirror', 'whoami', '--token', '-'],
            env={**os.environ, 'HF_ENDPOINT': hub.endpoint},
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process,
    ):
        # What is typed before the question is thrown away.
        assert process.stderr.read(len('token: ')) == b'token: '
        person.write(f'{hub.token}\n'.encode())
        assert process.stdout.readline().startswith(b'local at ')
        process.wait(timeout=60)
        os.write(theirs, b'end')
        os.close(theirs)
        assert hub.token.encode() not in person.read(1000)
