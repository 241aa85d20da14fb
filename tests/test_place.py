"""Which repository is meant: options, configuration, memory; and a clear question when none says."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from hfmirror import place
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.loading import load_config
from hfmirror.config.places import home
from hfmirror.errors import AuthError, NetworkError, UsageError
from hfmirror.place import Place
from tests.support.wire import canned, document

FOLDER = Path('out/My Model')


def targets(*remotes, repo=None, repo_type='model', branch=None, config=None, token=None):
    where, given = Place(repo, repo_type, branch), Config.model_validate(config or {})
    return place.targets_of(where, remotes, given, home(), folder=FOLDER, token=token)


def target(remote=None, *, repo=None, config=None):
    return place.target_of(Place(repo), remote, Config.model_validate(config or {}), home())


NAMED = {'repository': {'model_name': 'me/configured'}}
ADA = {'user': {'username': 'ada'}}
TINY = {'repository': {'model_name': 'tiny', 'model_repo_template': '{username}/x-{model_name}'}}


def test_the_option_names_the_repository():
    (found,) = targets('local', repo='me/x', config=NAMED)
    assert found.repo_id == 'me/x' and found.path == home().hub / 'models' / 'me' / 'x.git'


def test_then_the_configuration():
    assert targets('local', config=NAMED)[0].repo_id == 'me/configured'


def test_then_the_user_and_the_folders_name():
    assert targets('local')[0].repo_id == 'local/My-Model'
    assert targets('local', config=ADA)[0].repo_id == 'ada/My-Model'


def test_the_environment_names_the_user_too(monkeypatch):
    monkeypatch.setenv('HF_USERNAME', 'grace')
    (found,) = place.targets_of(Place(), ['local'], load_config(), home(), folder=FOLDER)
    assert found.repo_id == 'grace/My-Model'


def test_a_dot_env_file_names_the_user_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('.env').write_text('HF_USERNAME=grace\n')
    (found,) = place.targets_of(Place(), ['local'], load_config(), home(), folder=FOLDER)
    assert found.repo_id == 'grace/My-Model'


def test_a_url_names_the_repository_itself():
    assert targets('https://h/you/theirs.git')[0].repo_id == 'you/theirs'


def test_several_remotes_are_several_targets_each_once():
    found = targets('local', 'https://h/me/x', 'local', repo='me/x')
    assert [one.remote for one in found] == ['local', 'https://h/me/x']


def test_remotes_of_the_configuration_count_when_no_option_does():
    assert [one.remote for one in targets(config={'remotes': ['https://h/me/x']})] == ['https://h/me/x']
    assert [one.remote for one in targets('local', config={'remotes': ['https://h/me/x']})] == ['local']


def test_without_a_token_it_is_the_local_hub_and_one_line_says_so(capsys):
    assert targets()[0].remote == 'local'
    assert 'hf auth login' in capsys.readouterr().err


def test_with_a_token_it_is_the_hub():
    (found,) = targets(repo='me/x', token=Token('hf_abcdefghijk', 'HF_TOKEN'))
    assert (found.remote, found.git_url) == ('hub', 'https://huggingface.co/me/x')


def test_the_endpoint_is_that_of_the_environment(monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', 'http://127.0.0.1:9/')
    (found,) = targets('hub', repo='me/x', repo_type='dataset')
    assert (found.git_url, found.endpoint) == ('http://127.0.0.1:9/datasets/me/x', 'http://127.0.0.1:9')


def test_the_branch_is_the_option_then_the_configuration_then_main():
    assert targets('local')[0].branch == 'main'
    config = {'settings': {'default_branch': 'dev'}}
    assert targets('local', config=config)[0].branch == 'dev'
    assert targets('local', branch='wip', config=config)[0].branch == 'wip'


def test_a_wrong_branch_of_the_configuration_is_refused():
    with pytest.raises(UsageError, match='git allows no such name'):
        targets('local', config={'settings': {'default_branch': 'a b'}})


def test_a_wrong_name_of_the_configuration_is_refused():
    with pytest.raises(UsageError, match='two slashes'):
        targets('local', config={'repository': {'model_name': 'a/b/c'}})


def test_without_any_hint_it_asks():
    with pytest.raises(UsageError, match='--repo NAMESPACE/NAME'):
        target()


def test_what_was_pushed_from_this_directory_is_meant(tmp_path, monkeypatch):
    for name in ('one', 'two'):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        place.remember(targets('local', repo=f'me/{name}')[0], home())
    assert target().repo_id == 'me/two'
    monkeypatch.chdir(tmp_path / 'one')
    assert target().repo_id == 'me/one'


def test_the_only_one_ever_pushed_is_meant_from_anywhere(tmp_path, monkeypatch):
    place.remember(targets('local', repo='me/x')[0], home())
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    assert target().repo_id == 'me/x'


def test_of_several_it_asks_and_names_them(tmp_path, monkeypatch):
    for name in ('one', 'two', 'three'):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name != 'three':
            place.remember(targets('local', repo=f'me/{name}')[0], home())
    with pytest.raises(UsageError, match='me/one, me/two'):
        target()


def test_the_remote_chooses_among_what_was_pushed():
    place.remember(targets('https://h/me/x')[0], home())
    with pytest.raises(UsageError):
        target('local')


@pytest.mark.parametrize('content', ['', 'junk', '[]', '{"/x": 5}', '{"/x": {"remote": "local"}}', '\xff'])
def test_a_damaged_memory_is_as_good_as_none(content):
    path = home().outbox.parent / 'recent.json'
    path.parent.mkdir(parents=True)
    path.write_bytes(content.encode('latin-1'))
    with pytest.raises(UsageError, match='--repo'):
        target()
    place.remember(targets('local', repo='me/x')[0], home())
    assert target().repo_id == 'me/x'


TOKEN = Token('hf_abcdefghijk', 'HF_TOKEN', 'http://127.0.0.1:9')


@pytest.mark.parametrize('remote', ['hub', 'local'])
def test_a_name_without_a_namespace_gets_that_of_the_user_suggested(remote):
    with pytest.raises(UsageError, match=r'Try --repo ada/my-model\.'):
        targets(remote, repo='my-model', config=ADA, token=TOKEN)


def test_a_name_without_a_namespace_and_without_a_user_gets_an_example():
    with pytest.raises(UsageError, match=r'namespace is missing.* Try --repo me/my-model\.'):
        targets('hub', repo='my-model', token=TOKEN)


def remember_name(content):
    path = home().cache / 'names.json'
    path.parent.mkdir(parents=True)
    path.write_text(content)


def test_what_the_hub_once_said_of_the_token_is_suggested():
    remember_name(json.dumps({place._mark(TOKEN): {'name': 'grace', 'asked': int(time.time())}}))
    with pytest.raises(UsageError, match='Try --repo grace/my-model'):
        targets('hub', repo='my-model', token=TOKEN)
    assert targets('hub', token=TOKEN)[0].repo_id == 'grace/My-Model'


def test_who_was_renamed_is_asked_for_on_the_next_day():
    with canned({'/api/whoami-v2': document({'name': 'hopper'})}) as server:
        token = Token(TOKEN.value, 'HF_TOKEN', server.endpoint)
        yesterday = int(time.time()) - place._NAME_LASTS_S
        remember_name(json.dumps({place._mark(token): {'name': 'grace', 'asked': yesterday}}))
        for _ in range(2):
            assert targets('hub', token=token)[0].repo_id == 'hopper/My-Model'
    assert len(server.requests) == 1


def test_what_the_hub_said_the_day_before_counts_while_it_cannot_be_asked():
    remember_name(json.dumps({place._mark(TOKEN): {'name': 'grace', 'asked': 0}}))
    assert targets('hub', token=TOKEN)[0].repo_id == 'grace/My-Model'


def test_it_is_not_said_of_the_same_token_on_another_hub():
    remember_name(json.dumps({place._mark(TOKEN): {'name': 'grace', 'asked': int(time.time())}}))
    with pytest.raises(NetworkError, match='HF_USERNAME'):
        targets('hub', token=Token(TOKEN.value, 'HF_TOKEN', 'http://127.0.0.1:1'))


@pytest.mark.parametrize(
    'row', ['grace', 5, None, [], {}, {'name': 5}, {'asked': 'x'}, {'name': '', 'asked': 0}]
)
def test_a_damaged_name_is_as_good_as_none(row):
    remember_name(json.dumps({place._mark(TOKEN): row}))
    assert place.owner(Config(), TOKEN, home()) is None


@pytest.mark.parametrize('content', ['', 'junk', '[]', '{"x": 5}'])
def test_damaged_names_are_as_good_as_none(content):
    remember_name(content)
    assert place.owner(Config(), TOKEN, home()) is None


def test_the_user_counts_more_than_what_the_hub_said():
    remember_name(json.dumps({place._mark(TOKEN): {'name': 'grace', 'asked': int(time.time())}}))
    assert targets('hub', config=ADA, token=TOKEN)[0].repo_id == 'ada/My-Model'


def test_a_configured_user_is_not_asked_for():
    with canned({}) as server:
        token = Token(TOKEN.value, 'HF_TOKEN', server.endpoint)
        assert targets('hub', config=ADA, token=token)[0].repo_id == 'ada/My-Model'
    assert server.requests == []


def test_a_configured_name_without_a_namespace_gets_that_of_the_token_on_the_hub():
    with canned({'/api/whoami-v2': document({'name': 'hopper'})}) as server:
        token = Token(TOKEN.value, 'HF_TOKEN', server.endpoint)
        assert targets('hub', config=TINY, token=token)[0].repo_id == 'hopper/x-tiny'


def test_a_configured_name_without_a_namespace_is_local_in_the_local_hub():
    assert targets('local', config=TINY)[0].repo_id == 'local/x-tiny'


def test_a_configured_name_without_a_namespace_gets_that_of_the_address_on_a_git_host():
    assert targets('https://h/you/theirs.git', config=TINY)[0].repo_id == 'you/x-tiny'


@pytest.mark.parametrize('remote', ['hub', 'local', 'https://h/you/theirs.git'])
def test_a_configured_name_without_a_namespace_gets_that_of_the_user(remote):
    assert targets(remote, config={**TINY, **ADA}, token=TOKEN)[0].repo_id == 'ada/x-tiny'


def test_a_configured_name_without_a_namespace_is_an_error_of_the_token_that_is_not_there():
    with pytest.raises(AuthError, match='hf auth login'):
        targets('hub', config=TINY)


def test_the_hub_without_a_name_or_a_token_is_an_error_of_the_token():
    with pytest.raises(AuthError, match='hf auth login'):
        targets('hub')


def test_upper_case_is_a_hint_for_a_repository_that_is_new_to_us(capsys):
    (found,) = targets('hub', repo='me/BERT', token=TOKEN)
    assert 'upper case' in capsys.readouterr().err
    place.remember(found, home())
    targets('hub', repo='me/BERT', token=TOKEN)
    targets('local', repo='me/BERT2')
    assert 'upper case' not in capsys.readouterr().err


@pytest.mark.parametrize(
    ('folder', 'expected'), [('.', 'here'), ('../here/sub/..', 'here'), ('x.git', 'x'), ('/', 'model')]
)
def test_a_folder_is_named_by_where_it_is(tmp_path, monkeypatch, folder, expected):
    (tmp_path / 'here').mkdir()
    monkeypatch.chdir(tmp_path / 'here')
    (found,) = place.targets_of(Place(), ['local'], Config(), home(), folder=Path(folder))
    assert found.repo_id == f'local/{expected}'


def test_what_is_named_is_not_what_is_remembered():
    place.remember(targets('local', repo='me/x')[0], home())
    assert place.remembered(Place('me/y'), None, Config(), home()) is None
    assert place.remembered(Place(), 'https://h/me/x', Config(), home()) is None
    assert place.remembered(Place(), None, Config.model_validate(NAMED), home()) is None
    assert place.remembered(Place(), None, Config(), home()).repo_id == 'me/x'


def test_a_memory_with_other_values_than_text_is_as_good_as_none():
    place.remember(targets('local', repo='me/x')[0], home())
    path = home().outbox.parent / 'recent.json'
    rows = {str(Path.cwd()): {**json.loads(path.read_text())[os.getcwd()], 'repo_id': ['me/x']}}
    path.write_text(json.dumps(rows))
    assert place.remembered(Place(), None, Config(), home()) is None


# -- archives, each of which has many repositories


def test_a_repository_in_an_archive_is_called_as_in_the_local_hub():
    assert targets('s3://bucket/x')[0].git_url == 's3://bucket/x/models/local/My-Model'
    assert targets('s3://bucket/x', config=ADA)[0].repo_id == 'ada/My-Model'
    assert targets('s3://bucket/x', config=NAMED)[0].repo_id == 'me/configured'
    assert (
        targets('s3://bucket/x', repo='me/x', repo_type='dataset')[0].git_url == 's3://bucket/x/datasets/me/x'
    )


def test_the_owner_of_a_token_is_no_part_of_a_name_in_an_archive():
    token = Token('hf_x', 'HF_TOKEN', 'https://huggingface.co')
    assert targets('s3://bucket/x', token=token)[0].repo_id == 'local/My-Model'


def test_an_archive_is_a_target_once_however_it_is_written():
    assert len(targets('s3://bucket/x', 's3://bucket/x/', repo='me/x')) == 1


def test_an_archive_alone_does_not_say_which_repository():
    with pytest.raises(UsageError, match='which repository'):
        target('s3://bucket/x')


@pytest.mark.parametrize('remote', [None, 's3://bucket/x', 's3://bucket/x/'])
def test_what_was_pushed_to_an_archive_from_here_is_remembered(remote):
    (pushed,) = targets('s3://bucket/x', repo='me/x')
    place.remember(pushed, home())
    assert target(remote) == pushed


def test_what_was_pushed_to_another_archive_is_not_meant():
    place.remember(targets('s3://bucket/x', repo='me/x')[0], home())
    with pytest.raises(UsageError, match='which repository'):
        target('s3://bucket/y')
