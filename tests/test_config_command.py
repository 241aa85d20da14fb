"""``hfmirror config`` and ``hfmirror validate-config``: what a person sees, what a program gets, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hfmirror.config.keys import keys


@pytest.fixture
def project():
    """A project file and the one it names."""
    Path('configs').mkdir()
    Path('configs/hf.yaml').write_text('user:\n  username: ada\n')
    Path('config.yaml').write_text(
        'model: {lr: 1}\n'
        'huggingface:\n'
        '  config_file: configs/hf.yaml\n'
        '  repository: {model_name: ada/x}\n'
        '  remotes: [local]\n'
    )


def rows(done):
    return dict(line.split(None, 1) for line in done.out.splitlines())


# -- config


def test_every_key_is_shown_once(mirror, project):
    done = mirror.run('config', code=0)
    assert [line.split()[0] for line in done.out.splitlines()] == ['KEY', *keys()]


def test_each_value_is_shown_with_where_it_comes_from(mirror, project):
    shown = rows(mirror.run('config', code=0, env={'HFMIRROR_AUTO_SYNC': 'yes'}))
    assert shown['repository.model_name'].split() == ['ada/x', 'config.yaml:4']
    assert shown['user.username'].split() == ['ada', 'configs/hf.yaml:2']
    assert shown['auto_sync'].split() == ['true', 'HFMIRROR_AUTO_SYNC']
    assert shown['settings.default_branch'].split() == ['main', 'default']


def test_one_key_is_its_value_alone_on_stdout(mirror, project):
    done = mirror.run('config', 'repository.model_name', code=0)
    assert (done.out, done.err) == ('ada/x\n', 'from: config.yaml:4\n')


def test_a_section_is_all_keys_below_it(mirror, project):
    done = mirror.run('config', 'huggingface.settings.upload', code=0)
    assert [line.split()[0].rpartition('.')[2] for line in done.out.splitlines()[1:]] == [
        'chunk_size',
        'max_retries',
        'retry_delay',
    ]


def test_a_program_gets_every_value_with_its_type(mirror, project):
    found = {one['key']: one for one in mirror.run('config', '--json', code=0).json}
    assert found['remotes'] == {'key': 'remotes', 'value': ['local'], 'source': 'config.yaml:5'}
    assert found['backup.keep_backups']['value'] == 5


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('versioning.tagformat', 'versioning.tag_format'),
        ('private', 'repository.private'),
        ('versionning', 'versioning'),
    ],
)
def test_an_unknown_key_is_answered_with_the_near_one(mirror, key, meant):
    done = mirror.run('config', key, code=2)
    assert done.err == f"error: {key}: no such key. Did you mean '{meant}'?\n"


def test_no_secret_of_a_setting_is_shown(mirror):
    Path('.env').write_text('HOOK=https://hooks.example.org/T0/abcdef\nMAIL=mailtos://a:kd83hsk2@smtp.org\n')
    Path('config.yaml').write_text(
        'huggingface: {notifications: {webhook_url: "${HOOK}", email_url: "${MAIL}"}}\n'
    )
    for args in ((), ('--json',), ('notifications.webhook_url',)):
        done = mirror.run('config', *args, code=0)
        assert 'abcdef' not in done.out and 'kd83hsk2' not in done.out
        assert 'https://hooks.example.org/***' in done.out


def test_a_wrong_configuration_is_not_shown(mirror):
    Path('config.yaml').write_text('huggingface: {privat: true}\n')
    done = mirror.run('config', code=2)
    assert done.out == '' and 'config.yaml:1: huggingface.privat: unknown key.' in done.err


# -- validate-config


def test_a_right_configuration_is_one_line_with_its_files(mirror, project):
    done = mirror.run('validate-config', code=0)
    assert (done.out, done.err) == ('config.yaml, configs/hf.yaml: nothing is wrong.\n', '')


def test_no_configuration_is_right_too(mirror):
    done = mirror.run('validate-config', code=0)
    assert done.out.startswith('no configuration file here') and 'hfmirror init' in done.out


def test_every_problem_is_a_line_and_the_end_is_2(mirror):
    Path('config.yaml').write_text('huggingface:\n  privat: true\n  remotes: 5\n')
    done = mirror.run('validate-config', code=2)
    assert done.out.splitlines() == [
        "config.yaml:2: huggingface.privat: unknown key. Did you mean 'repository.private'?",
        'config.yaml:3: huggingface.remotes: the number 5 is here; expected a list of words, such as [local, hub].',
    ]
    assert done.err == 'error: 2 problems in the configuration.\n'


def test_another_file_is_named_as_it_was_given(mirror, tmp_path):
    (tmp_path / 'p').mkdir()
    Path('p/other.yaml').write_text('huggingface: {remotes: 5}\n')
    assert mirror.run('validate-config', '--config', 'p/other.yaml', code=2).out.startswith(
        'p/other.yaml:1: huggingface.remotes:'
    )


def test_a_program_gets_each_problem_with_its_place(mirror):
    Path('config.yaml').write_text('huggingface:\n  privat: true\n')
    assert mirror.run('validate-config', '--json', code=2).json == [
        {
            'file': 'config.yaml',
            'line': 2,
            'column': 3,
            'key': 'huggingface.privat',
            'message': "unknown key. Did you mean 'repository.private'?",
        }
    ]


def test_a_program_gets_an_empty_list_when_nothing_is_wrong(mirror, project):
    assert mirror.run('validate-config', '--json', code=0).json == []


def test_a_syntax_error_has_line_and_column(mirror):
    Path('config.yaml').write_text('model:\n\tlr: 1\n')
    (found,) = mirror.run('validate-config', '--json', code=2).json
    assert (found['line'], found['column']) == (2, 1)


def test_the_schema_is_one_document(mirror):
    schema = json.loads(mirror.run('validate-config', '--schema', code=0).out)
    assert schema['$defs']['Repository']['properties']['private']['description']


def test_other_commands_refuse_a_wrong_configuration_before_they_do_anything(mirror, folder):
    Path('config.yaml').write_text('huggingface:\n  repository: {privat: true}\n')
    done = mirror.push(folder.path, code=2)
    assert "unknown key. Did you mean 'private'?" in done.err and not mirror.remote.exists()
