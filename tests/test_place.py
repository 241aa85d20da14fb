"""Which repository is meant: options, configuration, memory; and a clear question when none says."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfmirror import place
from hfmirror.auth import Token
from hfmirror.config import Config, home
from hfmirror.errors import UsageError
from hfmirror.place import Place

FOLDER = Path('out/My Model')


def targets(*remotes, repo=None, repo_type='model', branch=None, config=None, token=None):
    where, given = Place(repo, repo_type, branch), Config.model_validate(config or {})
    return place.targets_of(where, remotes, given, home(), folder=FOLDER, token=token)


def target(remote=None, *, repo=None, config=None):
    return place.target_of(Place(repo), remote, Config.model_validate(config or {}), home())


NAMED = {'repository': {'model_name': 'me/configured'}}


def test_the_option_names_the_repository():
    (found,) = targets('local', repo='me/x', config=NAMED)
    assert found.repo_id == 'me/x' and found.path == home().hub / 'models' / 'me' / 'x.git'


def test_then_the_configuration():
    assert targets('local', config=NAMED)[0].repo_id == 'me/configured'


def test_then_the_user_and_the_folders_name(monkeypatch):
    assert targets('local')[0].repo_id == 'local/My-Model'
    monkeypatch.setenv('HF_USERNAME', 'ada')
    assert targets('local')[0].repo_id == 'ada/My-Model'


def test_a_dot_env_file_names_the_user_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('.env').write_text('HF_USERNAME=grace\n')
    assert targets('local')[0].repo_id == 'grace/My-Model'


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
