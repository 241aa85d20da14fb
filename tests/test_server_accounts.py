"""Does the Hub say who asks, who else is there, and what they may do, as its clients read it?"""

from __future__ import annotations

import json

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from hfmirror.server import running_hub
from tests.support.rest import call, new_user


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def lab(hub):
    """An organisation with ada, who may write, and local, who may read."""
    path = hub.root / 'tokens.json'
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, 'organisations': {'lab': {'ada': 'write', 'local': 'read'}}}))
    return 'lab'


def test_whoami_names_the_user_and_the_role(api):
    found = api.whoami()
    assert (found['type'], found['name'], found['auth']['accessToken']['role']) == ('user', 'local', 'write')


def test_whoami_of_a_reading_token_says_so(hub):
    found = HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada', 'read')).whoami()
    assert found['auth']['accessToken'] == {'displayName': 'ada-read', 'role': 'read'}


def test_whoami_lists_organisations_with_the_role_there(api, lab):
    (org,) = api.whoami()['orgs']
    assert (org['type'], org['name'], org['roleInOrg']) == ('org', 'lab', 'read')


@pytest.mark.parametrize('token', ['wrong', 'hf_' + 'x' * 34, 'ä'.encode().decode('latin-1')])
def test_a_wrong_token_is_nobodys(hub, token):
    answer = call(hub, 'GET', '/api/whoami-v2', token=token)
    assert (answer.status, answer.json['error']) == (401, 'Invalid credentials in Authorization header')


def test_without_a_token_there_is_nobody_to_name(hub):
    answer = call(hub, 'GET', '/api/whoami-v2', token=None)
    assert (answer.status, answer.json['error']) == (401, 'Invalid username or password.')


def test_no_answer_to_whoami_holds_the_token(hub):
    answer = call(hub, 'GET', '/api/whoami-v2')
    assert hub.token.encode() not in answer.body
    assert hub.token not in str(answer.headers)


def test_a_user_is_described_with_what_the_caller_sees(hub, api):
    api.create_repo('local/a')
    api.create_repo('local/b', private=True)
    api.create_repo('local/c', repo_type='dataset')
    assert (api.get_user_overview('local').num_models, api.get_user_overview('local').num_datasets) == (2, 1)
    stranger = HfApi(endpoint=hub.endpoint, token=False)
    assert stranger.get_user_overview('LOCAL').num_models == 1


def test_an_owner_without_a_token_is_described(api, hub):
    hub.hub.repositories.create('model', 'grace/x', {})
    assert api.get_user_overview('grace').username == 'grace'


def test_an_owner_of_private_repositories_alone_is_not_known_to_strangers(api, hub):
    hub.hub.repositories.create('model', 'grace/x', {'private': True})
    with pytest.raises(HfHubHTTPError, match='404'):
        api.get_user_overview('grace')


def test_a_user_has_their_organisations(api, lab):
    assert [org.name for org in api.get_user_overview('local').orgs] == ['lab']


@pytest.mark.parametrize('name', ['nobody', '..', '%2e%2e%2f', 'a b'])
def test_a_user_that_is_none_is_not_found(hub, name):
    from urllib.parse import quote

    assert call(hub, 'GET', f'/api/users/{quote(name, safe="%")}/overview').status == 404


def test_an_organisation_is_described_with_its_members(api, lab):
    found = api.get_organization_overview('Lab')
    assert (found.name, found.num_users, found.num_models) == ('lab', 2, 0)
    assert [user.username for user in api.list_organization_members('lab')] == ['ada', 'local']


def test_a_user_is_no_organisation(api):
    with pytest.raises(HfHubHTTPError, match='404'):
        api.get_organization_overview('local')


def test_a_hub_that_strangers_do_not_read_names_nobody_to_them(tmp_path):
    with running_hub(tmp_path / 'closed', public_read=False) as hub:
        assert call(hub, 'GET', '/api/users/local/overview', token=None).status == 401
        assert call(hub, 'GET', '/api/users/local/overview').status == 200


def test_whether_one_may_read_is_answered(hub, api):
    api.create_repo('local/x', private=True)
    api.auth_check('local/x')
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada')).auth_check('local/x')


def test_whether_one_may_write_is_answered(hub, api):
    api.create_repo('local/x')
    api.auth_check('local/x', write=True)
    with pytest.raises(HfHubHTTPError, match='403'):
        HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada')).auth_check('local/x', write=True)


@pytest.mark.parametrize(
    ('who', 'repo', 'status', 'code'),
    [
        ('nobody', 'open', 200, None),
        ('nobody', 'closed', 401, 'RepoNotFound'),
        ('nobody', 'missing', 401, 'RepoNotFound'),
        ('stranger', 'closed', 404, 'RepoNotFound'),
        ('stranger', 'missing', 404, 'RepoNotFound'),
        ('wrong', 'open', 401, None),
        ('owner', 'closed', 200, None),
        ('admin', 'closed', 200, None),
    ],
)
def test_who_sees_what(hub, api, who, repo, status, code):
    api.create_repo('local/open')
    api.create_repo('local/closed', private=True)
    token = {
        'nobody': lambda: None,
        'stranger': lambda: new_user(hub, 'ada'),
        'wrong': lambda: 'hf_wrong',
        'owner': lambda: hub.token,
        'admin': lambda: new_user(hub, 'root', 'admin'),
    }[who]()
    answer = call(hub, 'GET', f'/api/models/local/{repo}/auth-check', token=token)
    assert (answer.status, answer.code) == (status, code)


def test_a_private_repository_and_a_missing_one_look_the_same_to_a_stranger(hub, api):
    api.create_repo('local/closed', private=True)
    stranger = new_user(hub, 'ada')
    answers = [
        call(hub, 'GET', f'/api/models/local/{name}/auth-check', token=stranger)
        for name in ('closed', 'missing')
    ]
    assert answers[0].body == answers[1].body
    assert {key for key, _ in answers[0].headers.items()} == {key for key, _ in answers[1].headers.items()}


def test_members_of_an_organisation_see_its_private_repositories(hub, lab):
    hub.hub.repositories.create('model', 'lab/x', {'private': True})
    assert call(hub, 'GET', '/api/models/lab/x/auth-check').status == 200
    assert call(hub, 'GET', '/api/models/lab/x/auth-check/write').status == 403
    assert call(hub, 'GET', '/api/models/lab/x/auth-check/write', token=new_user(hub, 'ada')).status == 200


@pytest.mark.parametrize('user', ['anything', ''])
def test_a_token_is_taken_as_the_password_of_basic(hub, user):
    import base64

    words = base64.b64encode(f'{user}:{hub.token}'.encode()).decode()
    answer = call(hub, 'GET', '/api/whoami-v2', token=None, headers={'Authorization': f'Basic {words}'})
    assert answer.status == 200


@pytest.mark.parametrize(
    'header', ['Basic !!!', 'Basic /w==', 'Basic', 'Bearer', 'Bearer ', 'Digest x', 'x' * 4000]
)
def test_a_damaged_header_is_refused_or_nobody(hub, header):
    answer = call(hub, 'GET', '/api/whoami-v2', token=None, headers={'Authorization': header})
    assert answer.status == 401
