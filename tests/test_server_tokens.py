"""Are tokens kept hashed, compared in constant time, changed at once, and never good for more than their role?"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import stat
import threading

import pytest

from hfmirror import errors
from hfmirror.server import tokens
from hfmirror.server.app import _routes
from hfmirror.server.tokens import Tokens, parse
from tests.support.mirror import git
from tests.support.rest import call, new_user


@pytest.fixture
def kept(tmp_path):
    return Tokens(tmp_path / 'hub')


def add(kept, text):
    new = parse(text)
    kept.add(new)
    return new.token


def change(path, **changes):
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


# -- the file


def test_the_file_is_its_owners_alone(kept, tmp_path):
    add(kept, 'ada:write')
    kept.secret()
    assert stat.S_IMODE((tmp_path / 'hub' / 'tokens.json').stat().st_mode) == 0o600


def test_a_token_is_nowhere_below_the_root(kept, tmp_path):
    token = add(kept, 'ada:write')
    held = [path.read_bytes() for path in (tmp_path / 'hub').rglob('*') if path.is_file()]
    assert held
    assert not any(token.encode() in content for content in held)
    assert any(hashlib.sha256(token.encode()).hexdigest().encode() in content for content in held)


def test_a_running_hub_writes_its_token_nowhere(hub):
    call(hub, 'POST', '/api/repos/create', {'name': 'x'})
    call(hub, 'POST', '/api/models/local/x/tag/main', {'tag': 'v1', 'message': 'one'})
    held = [path.read_bytes() for path in hub.root.rglob('*') if path.is_file()]
    assert not any(hub.token.encode() in content for content in held)


def test_two_tokens_differ_and_are_long():
    made = {tokens.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch('hf_[A-Za-z0-9]{34}', token) for token in made)


def test_a_token_is_not_shown_with_what_was_parsed():
    assert 'secret' not in repr(parse('ada:write:secret-secret'))


def test_a_hub_is_shown_without_its_token(hub):
    assert hub.token not in repr(hub)


@pytest.mark.parametrize(
    'text', ['', 'ada', 'ada:', 'ada:owner', ':write', '../a:write', 'ada:write:short', 'a b:read']
)
def test_a_token_that_cannot_be_is_refused(text):
    with pytest.raises(errors.UsageError):
        parse(text)


def test_a_refused_token_is_not_in_the_message():
    with pytest.raises(errors.UsageError) as raised:
        parse('ada:write:bad token here')
    assert 'bad token' not in str(raised.value)


def test_the_same_token_given_again_gets_the_new_role(kept, tmp_path):
    add(kept, 'ada:write:secret-secret')
    add(kept, 'ada:read:secret-secret')
    assert kept.identify('secret-secret').role == 'read'
    assert len(json.loads((tmp_path / 'hub' / 'tokens.json').read_text())['tokens']) == 1


def test_tokens_added_at_once_are_all_kept(tmp_path):
    new = [parse(f'user{number}:write') for number in range(16)]
    threads = [threading.Thread(target=Tokens(tmp_path).add, args=[one]) for one in new]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {Tokens(tmp_path).identify(one.token).user for one in new} == {one.user for one in new}


@pytest.mark.parametrize(
    'content',
    [
        '[]',
        '{',
        '{"tokens": 3}',
        '{"tokens": [{"user": "ada"}]}',
        '{"tokens": [{"user": "ada", "role": "god", "sha256": "' + 'a' * 64 + '"}]}',
        '{"organisations": {"lab": ["ada"]}}',
        '{"organisations": {"lab": {"ada": "owner"}}}',
        '[' * 100_000,
    ],
)
def test_a_damaged_file_is_an_error_and_lets_nobody_in(kept, tmp_path, content):
    token = add(kept, 'ada:write')
    (tmp_path / 'hub' / 'tokens.json').write_text(content)
    with pytest.raises(errors.ConfigError, match=r'tokens\.json'):
        kept.identify(token)


# -- who


def test_a_token_names_its_user(kept):
    token = add(kept, 'ada:write')
    assert kept.identify(token)[:2] == ('ada', 'write')


@pytest.mark.parametrize('wrong', ['', 'hf_', 'ada', 'x' * 10_000, '\udcff', 'é'])
def test_another_text_names_nobody(kept, wrong):
    add(kept, 'ada:write')
    assert kept.identify(wrong) is None


def test_the_hash_of_a_token_is_no_token(kept):
    token = add(kept, 'ada:write')
    assert kept.identify(hashlib.sha256(token.encode()).hexdigest()) is None


def test_every_kept_hash_is_compared_and_in_constant_time(kept, monkeypatch):
    first = add(kept, 'ada:write')
    add(kept, 'bob:write')
    compared = []
    real = hmac.compare_digest
    # Time cannot be measured reliably here; that this function is what compares can be seen.
    monkeypatch.setattr(hmac, 'compare_digest', lambda a, b: compared.append(a) or real(a, b))
    for token in (first, 'wrong'):
        kept.identify(token)
    assert len(compared) == 4


def test_a_token_removed_by_hand_is_nobodys_at_once(hub):
    ada = new_user(hub, 'ada')
    assert call(hub, 'GET', '/api/whoami-v2', token=ada).status == 200
    path = hub.root / 'tokens.json'
    change(path, tokens=[one for one in json.loads(path.read_text())['tokens'] if one['user'] != 'ada'])
    assert call(hub, 'GET', '/api/whoami-v2', token=ada).status == 401


def test_a_role_changed_by_hand_counts_at_once(hub):
    path = hub.root / 'tokens.json'
    assert call(hub, 'POST', '/api/repos/create', {'name': 'a'}).status == 200
    change(path, tokens=[{**one, 'role': 'read'} for one in json.loads(path.read_text())['tokens']])
    assert call(hub, 'POST', '/api/repos/create', {'name': 'b'}).status == 403


def test_an_organisation_named_by_hand_is_there_at_once(hub):
    change(hub.root / 'tokens.json', organisations={'lab': {'local': 'write'}})
    assert call(hub, 'POST', '/api/repos/create', {'name': 'a', 'organization': 'lab'}).status == 200


@pytest.mark.parametrize(
    ('token_role', 'role_there', 'sees', 'writes'),
    [
        ('read', None, False, False),
        ('read', 'read', True, False),
        ('read', 'write', True, False),
        ('read', 'admin', True, False),
        ('write', None, False, False),
        ('write', 'read', True, False),
        ('write', 'write', True, True),
        ('write', 'admin', True, True),
        ('admin', None, True, True),
        ('admin', 'read', True, True),
    ],
)
def test_a_role_in_an_organisation_never_goes_beyond_the_tokens(
    kept, tmp_path, token_role, role_there, sees, writes
):
    token = add(kept, f'ada:{token_role}')
    members = {'ada': role_there} if role_there else {'bob': 'write'}
    change(tmp_path / 'hub' / 'tokens.json', organisations={'lab': members})
    identity = kept.identify(token)
    assert (identity.may_see('Lab'), identity.may_write_to('Lab')) == (sees, writes)


def test_ones_own_namespace_is_ones_own_however_it_is_spelled(kept):
    identity = kept.identify(add(kept, 'ada:write'))
    assert identity.may_write_to('Ada')
    assert not identity.may_write_to('adam')


# -- a token that reads


def writing_routes():
    """Yield (method, address) of every route of the application that is not for reading alone."""
    for route in _routes():
        for method in sorted((route.methods or {'POST'}) - {'GET', 'HEAD', 'OPTIONS'}):
            yield method, route.path


# These write nothing, or are opened by a signed address or by what their body asks for: what they answer is tested elsewhere.
NO_FORBIDDING = (
    'paths-info',
    'validate-yaml',
    'preupload',
    'git-upload-pack',
    'telemetry',
    'oauth',
    '/xet/',
    'info/lfs',
)

WORDS = {
    'kind': 'models',
    'namespace': 'local',
    'name': 'x',
    'branch': 'dev',
    'revision': 'main',
    'tag': 'v1',
    'number': '1',
    'event': '0' * 24,
    'path': 'a.txt',
}


def asked(path):
    """Return the address of a route with real names in it."""
    return re.sub(r'\{(\w+)(?::\w+)?\}', lambda match: WORDS.get(match[1], 'main'), path)


@pytest.mark.parametrize(('method', 'path'), sorted(set(writing_routes())))
def test_a_reading_token_writes_by_no_route(hub, method, path):
    call(hub, 'POST', '/api/repos/create', {'name': 'x'})
    call(hub, 'POST', '/api/models/local/x/branch/dev')
    call(hub, 'POST', '/api/models/local/x/tag/main', {'tag': 'v1'})
    call(hub, 'POST', '/api/models/local/x/discussions', {'title': 'A question', 'description': ''})
    before = state(hub)
    values = {
        'name': 'x',
        'organization': 'local',
        'fromRepo': 'local/x',
        'toRepo': 'local/y',
        'repository': 'local/y',
        'tag': 'v2',
        'title': 'Another',
        'comment': 'words',
        'status': 'closed',
        'content': 'words',
        'private': True,
        'message': 'words',
    }
    reader = new_user(hub, 'local', 'read')
    statuses = [call(hub, method, asked(path), values, token=token).status for token in (reader, None)]
    assert state(hub) == before
    if not any(word in path for word in NO_FORBIDDING):
        assert statuses == [403, 401]


def state(hub):
    """Return what there is: the repositories, their refs and objects, their settings, what was said."""
    paths = sorted(hub.root.glob('*/*/*.git'))
    files = {
        path: path.read_bytes()
        for repo in paths
        for path in repo.rglob('*')
        if path.is_file() and path.suffix != '.lock' and not path.name.startswith('.')
    }
    return paths, files, [git('for-each-ref', cwd=repo) for repo in paths]


def test_there_are_many_routes_that_write():
    assert len(set(writing_routes())) >= 15
