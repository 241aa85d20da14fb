"""The project file, the environment and the directories; every wrong value is named, all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from hfmirror import auth
from hfmirror.config.config import Config, Upload, Versioning
from hfmirror.config.loading import load_config
from hfmirror.config.places import home
from hfmirror.errors import ConfigError


def load(tmp_path, text):
    path = tmp_path / 'config.yaml'
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def test_without_a_file_there_are_defaults():
    found = load_config()
    assert (found.versioning.auto_increment, found.versioning.tag_prefix, found.remotes) == ('minor', 'v', [])
    assert found.settings.default_branch == 'main' and found.repository.model_name is None


def test_the_file_of_the_working_directory_is_read(tmp_path):
    Path('config.yaml').write_text('huggingface:\n  remotes: [local]\n')
    assert load_config().remotes == ['local']


def test_every_key_is_read(tmp_path):
    found = load(
        tmp_path,
        """
huggingface:
  repository: {model_name: me/x}
  versioning: {auto_tag: false, tag_format: 'v{timestamp}', auto_increment: patch, tag_prefix: rel-}
  settings: {default_branch: dev, upload: {max_retries: 1, retry_delay: 0}}
  remotes: [local, https://h/me/x]
""",
    )
    assert found.repository.model_name == 'me/x'
    assert found.versioning == Versioning(
        auto_tag=False, tag_format='v{timestamp}', auto_increment='patch', tag_prefix='rel-'
    )
    assert found.settings.upload == Upload(max_retries=1, retry_delay=0)


@pytest.mark.parametrize(
    'text', ['', '# only a comment\n', 'model: {lr: 1}\n', '[]', '5', 'huggingface:\n', '\ufeff{}']
)
def test_a_file_of_other_things_is_no_fault(tmp_path, text):
    assert load(tmp_path, text) == Config()


@pytest.mark.parametrize(
    ('text', 'key'),
    [
        ('versioning: {auto_increment: sideways}', 'huggingface.versioning.auto_increment'),
        ('versioning: {auto_tag: maybe}', 'huggingface.versioning.auto_tag'),
        ('versioning: {tag_prefix: 5}', 'huggingface.versioning.tag_prefix'),
        ('versioning: [a]', 'huggingface.versioning'),
        ('settings: {upload: {max_retries: -1}}', 'huggingface.settings.upload.max_retries'),
        ('settings: {upload: {max_retries: 1.5}}', 'huggingface.settings.upload.max_retries'),
        ('settings: {upload: {retry_delay: .nan}}', 'huggingface.settings.upload.retry_delay'),
        ('settings: {upload: {retry_delay: soon}}', 'huggingface.settings.upload.retry_delay'),
        ('settings: {default_branch: [main]}', 'huggingface.settings.default_branch'),
        ('repository: {model_name: 12}', 'huggingface.repository.model_name'),
        ('remotes: local', 'huggingface.remotes'),
        ('remotes: [1]', 'huggingface.remotes.0'),
    ],
)
def test_a_wrong_value_is_named_by_file_and_key(tmp_path, text, key):
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path, f'huggingface:\n  {text}\n')
    assert str(tmp_path / 'config.yaml') in str(wrong.value) and f'{key}:' in str(wrong.value)
    assert wrong.value.exit_code == 2


def test_all_wrong_values_are_said_at_once(tmp_path):
    with pytest.raises(ConfigError) as wrong:
        load(tmp_path, 'huggingface: {remotes: 5, versioning: {auto_increment: x, auto_tag: maybe}}')
    assert len(str(wrong.value).splitlines()) == 4


@pytest.mark.parametrize(
    'content', ['a: [', 'a: 1\n a: 2', '\t- x', b'\xff\xfe\x00', 'a: *nowhere', 'x: 1\nx: 2', '[' * 5000]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    with pytest.raises(ConfigError, match=r'config\.yaml'):
        load(tmp_path, content)


def test_a_file_that_was_named_and_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match='no such file'):
        load_config(tmp_path / 'nowhere.yaml')


def test_a_folder_as_the_file_is_an_error(tmp_path):
    with pytest.raises(ConfigError, match='cannot be read'):
        load_config(tmp_path)


def test_hfmirror_home_holds_everything(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'mine'))
    assert {path.parent for path in home()} == {tmp_path / 'mine'}


def test_a_relative_hfmirror_home_is_one_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_HOME', 'mine')
    assert home().hub == tmp_path / 'mine' / 'hub'


def test_without_it_the_outbox_and_the_hub_are_data_and_the_rest_is_cache(monkeypatch):
    monkeypatch.delenv('HFMIRROR_HOME')
    found = home()
    assert found.outbox.parent == found.hub.parent != found.clones.parent == found.cache.parent
    assert all(Path.home() in path.parents for path in found)


def test_the_user_is_that_of_the_environment_then_of_dot_env(monkeypatch):
    assert auth.username() is None
    Path('.env').write_text('HF_USERNAME="grace"\n')
    assert auth.username() == 'grace'
    monkeypatch.setenv('HF_USERNAME', 'ada')
    assert auth.username() == 'ada'


def test_dot_env_is_not_expanded(monkeypatch):
    monkeypatch.setenv('SECRET', 'x')
    Path('.env').write_text('HF_USERNAME=${SECRET}\n')
    assert auth.username() == '${SECRET}'


def test_a_section_that_is_no_mapping_is_an_error(tmp_path):
    path = tmp_path / 'own.yaml'
    path.write_text('huggingface: 5\n')
    with pytest.raises(ConfigError, match=r'own\.yaml: huggingface: holds int'):
        load_config(path)
