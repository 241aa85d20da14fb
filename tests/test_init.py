"""``hfmirror init``: what it writes, what it leaves as it was, and what it finds out instead of asking."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from hfmirror import durable, errors
from hfmirror.commands.init import SECOND_FILE, Answers, answers_for, init
from hfmirror.config.loading import inspect, load_config

ANSWERS = Answers('ada/tiny', 'ada')
GIVEN = {'username': None, 'model_name': None, 'private': True}


def files():
    return {path.as_posix() for path in Path().rglob('*') if path.is_file()}


def init_here(answers=ANSWERS):
    return init(Path(), answers)


def test_both_files_and_the_ignored_env_are_written():
    assert init_here().written == ['.gitignore', SECOND_FILE.as_posix(), 'config.yaml']
    assert Path('.gitignore').read_text() == '.env\n'


@pytest.mark.parametrize(
    'answers',
    [
        ANSWERS,
        Answers('tiny', None),
        Answers('null', None),
        Answers('123', '456', False),
        Answers('me/yes', 'true'),
    ],
)
def test_what_is_written_is_right_and_says_what_was_answered(answers):
    init_here(answers)
    assert inspect().problems == []
    found = load_config()
    assert (found.repository.model_name, found.user.username, found.private) == answers


def test_what_is_written_is_explained_line_by_line():
    init_here()
    for path in ('config.yaml', SECOND_FILE):
        assert Path(path).read_text().count('#') > 10


def test_every_commented_example_is_right_too(monkeypatch):
    """Taking the # away from a line that shows a key gives a configuration without a fault."""
    monkeypatch.setenv('WEBHOOK_URL', 'https://example.org/hook')
    monkeypatch.setenv('MAIL_PASSWORD', 'x')
    init_here()
    for path in (Path('config.yaml'), SECOND_FILE):
        lines = path.read_text().splitlines()
        shown = [
            line.replace('# ', '', 1) if line.startswith('  ') and '# ' in line[:8] else line
            for line in lines
        ]
        path.write_text('\n'.join(shown) + '\n')
    assert inspect().problems == []
    assert load_config().versioning.tag_format == 'v{timestamp}' and load_config().remotes == ['hub', 'local']


def test_again_changes_nothing():
    init_here()
    before = {name: Path(name).stat().st_mtime_ns for name in files()}
    assert init_here().written == []
    assert {name: Path(name).stat().st_mtime_ns for name in files()} == before


@pytest.mark.parametrize(
    'old',
    [
        b'model:\n  lr: 1  # keep\n\n\n',
        b'a: 1',
        b'\xef\xbb\xbfa: 1\n',
        b'a: 1\r\nb: 2\r\n',
        b'# nothing yet\n',
        b'',
        b'a: !mine {b: *x}\n'.replace(b'*x', b'1'),
        '# 其他配置...\nname: "模型"\n'.encode(),
    ],
)
def test_an_existing_file_gets_the_section_at_its_end_and_keeps_every_byte(old):
    Path('config.yaml').write_bytes(old)
    init_here()
    assert Path('config.yaml').read_bytes().startswith(old)
    assert inspect().problems == [] and load_config().repository.model_name == 'ada/tiny'


def test_a_file_with_windows_line_ends_keeps_to_them():
    Path('config.yaml').write_bytes(b'a: 1\r\n')
    init_here()
    content = Path('config.yaml').read_bytes()
    assert content.count(b'\n') == content.count(b'\r\n') > 10


def test_a_section_that_is_there_is_left_alone():
    Path('config.yaml').write_text('huggingface: {remotes: [local]}\n')
    assert init_here().kept == ['config.yaml']
    assert Path('config.yaml').read_text() == 'huggingface: {remotes: [local]}\n'
    assert not SECOND_FILE.exists()


@pytest.mark.parametrize('old', ['{a: 1}\n', '- a\n', '5\n', ' a: 1\n', 'a: 1\n...\n', 'a: |\n  x'])
def test_a_file_that_cannot_take_a_section_is_refused_untouched(old):
    Path('config.yaml').write_text(old)
    with pytest.raises(errors.ConfigError, match="the section 'huggingface:' cannot be put at its end"):
        init_here()
    assert Path('config.yaml').read_text() == old and files() == {'config.yaml'}


def test_a_file_that_is_no_yaml_is_refused_with_its_line():
    Path('config.yaml').write_text('a: [\n')
    with pytest.raises(errors.ConfigError, match=r'config\.yaml:2: not valid YAML'):
        init_here()


def test_a_second_file_that_is_there_is_left_alone():
    SECOND_FILE.parent.mkdir()
    SECOND_FILE.write_text('user: {username: grace}\n')
    assert SECOND_FILE.as_posix() in init_here().kept
    assert load_config().user.username == 'grace'


@pytest.mark.parametrize('old', ['.env\n', '*.log\n/.env', '.env*\r\n', '  .env  \n'])
def test_an_ignored_env_is_not_ignored_twice(old):
    Path('.gitignore').write_bytes(old.encode())
    init_here()
    assert Path('.gitignore').read_bytes() == old.encode()


@pytest.mark.parametrize(
    ('old', 'new'),
    [
        (b'*.log', b'*.log\n.env\n'),
        (b'*.log\n', b'*.log\n.env\n'),
        (b'a\r\n', b'a\r\n.env\r\n'),
        (b'# .env\n', b'# .env\n.env\n'),
        (b'\xff\n', b'\xff\n.env\n'),
    ],
)
def test_other_lines_of_gitignore_stay_as_they_are(old, new):
    Path('.gitignore').write_bytes(old)
    init_here()
    assert Path('.gitignore').read_bytes() == new


@pytest.mark.parametrize('steps', [0, 1, 2])
def test_killed_after_any_file_the_next_run_finishes(monkeypatch, steps):
    real, done = durable.write, []

    def dies(path, content):
        if len(done) == steps:
            raise KeyboardInterrupt
        done.append(path)
        real(path, content)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):  # a kill between two writes
        patched.setattr(durable, 'write', dies)
        init_here()
    init_here()
    assert {'.gitignore', 'config.yaml', SECOND_FILE.as_posix()} <= files()
    assert inspect().problems == []


@pytest.mark.skipif(os.name == 'nt', reason='modes are of POSIX')
def test_new_files_can_be_read_by_those_who_read_other_new_files():
    Path('other').touch()
    init_here()
    assert Path('config.yaml').stat().st_mode == Path('other').stat().st_mode


@pytest.mark.skipif(os.name == 'nt', reason='modes are of POSIX')
def test_an_existing_file_keeps_its_mode():
    Path('config.yaml').touch(0o600)
    init_here()
    assert stat.S_IMODE(Path('config.yaml').stat().st_mode) == 0o600


def test_a_link_stays_a_link():
    Path('real.yaml').write_text('a: 1\n')
    Path('config.yaml').symlink_to('real.yaml')
    init_here()
    assert Path('config.yaml').is_symlink() and 'huggingface:' in Path('real.yaml').read_text()


# -- what it finds out


def test_the_model_is_called_like_the_folder(tmp_path):
    folder = tmp_path / 'My Project (v2)'
    folder.mkdir()
    assert answers_for(folder, GIVEN, None) == Answers('My-Project-v2', None)


def test_the_username_of_the_environment_is_known(monkeypatch, tmp_path):
    monkeypatch.setenv('HF_USERNAME', 'ada')
    assert answers_for(tmp_path, {**GIVEN, 'model_name': 'm'}, None) == Answers('ada/m', 'ada')


def test_the_username_of_the_configuration_is_known(tmp_path):
    Path('config.yaml').write_text('huggingface: {user: {username: grace}, no_such_key: 1}\n')
    assert answers_for(tmp_path, GIVEN, None).username == 'grace'


@pytest.mark.heavy
def test_the_owner_of_the_token_is_known_when_the_hub_once_said_it(mirror, hub, folder, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    mirror.run('push', folder.path, '--remote', 'hub', code=0)
    assert answers_for(Path('p').absolute(), GIVEN, None).username == 'local'


def test_the_username_of_gits_configuration_is_known(tmp_path):
    (Path.home() / '.gitconfig').write_text('[huggingface]\n\tusername = grace\n')
    assert answers_for(tmp_path, GIVEN, None).username == 'grace'


def test_a_name_with_a_namespace_stays_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setenv('HF_USERNAME', 'ada')
    given = {**GIVEN, 'model_name': 'lab/m', 'private': False}
    assert answers_for(tmp_path, given, None) == Answers('lab/m', 'ada', private=False)


def test_only_what_is_not_known_is_asked(tmp_path, monkeypatch):
    asked = []

    def ask(question, proposal):
        asked.append(question)
        return proposal

    monkeypatch.setenv('HF_USERNAME', 'ada')
    answers_for(tmp_path, {**GIVEN, 'model_name': 'm'}, ask)
    assert asked == []


def test_an_answer_counts(tmp_path):
    answers = iter(['grace', 'tiny'])
    found = answers_for(tmp_path, GIVEN, lambda question, proposal: next(answers))
    assert found == Answers('grace/tiny', 'grace')


@pytest.mark.parametrize(
    ('option', 'name', 'said'),
    [
        ('model_name', 'a/b/c', '--model-name a/b/c: two slashes'),
        ('model_name', 'my model', '--model-name me/my model: blanks are not allowed'),
        ('model_name', '', '--model-name: the value is empty'),
        ('username', 'a/b', '--username a/b/model: two slashes'),
        ('username', '', '--username: the value is empty'),
    ],
)
def test_a_name_that_the_hub_does_not_take_is_refused(tmp_path, option, name, said):
    with pytest.raises(errors.UsageError, match=said):
        answers_for(tmp_path, {**GIVEN, option: name}, None)


# -- the command


def test_the_command_asks_nothing_without_a_terminal_and_says_what_comes_next(mirror):
    done = mirror.run('init', code=0)
    assert done.out.splitlines() == [
        '.gitignore: written',
        'configs/huggingface_config.yaml: written',
        'config.yaml: written',
    ]
    assert 'validate-config' in done.err and 'hf auth login' in done.err


def test_a_program_gets_what_was_written(mirror):
    mirror.run('init', '--yes', '--model-name', 'ada/x', code=0)
    assert mirror.run('init', '--json', code=0).json == {
        'written': [],
        'kept': ['.gitignore', 'configs/huggingface_config.yaml', 'config.yaml'],
    }


@pytest.mark.heavy
def test_what_init_writes_can_be_pushed_with(mirror, folder):
    mirror.run('init', '--yes', '--model-name', 'me/tiny-model', code=0)
    mirror.run('validate-config', code=0)
    mirror.run('push', folder.path, '--remote', 'local', code=0)
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.skipif(os.name == 'nt', reason='terminals are of POSIX')
@pytest.mark.parametrize('level', ['INFO', 'ERROR'])
def test_on_a_terminal_it_asks_for_the_two_names_however_little_is_said(mirror, monkeypatch, level):
    monkeypatch.setenv('LOG_LEVEL', level)
    import pty

    ours, theirs = pty.openpty()
    os.write(ours, b'grace\n\n')
    done = subprocess.run(
        [sys.executable, '-m', 'hfmirror', 'init'], stdin=theirs, capture_output=True, text=True, check=True
    )
    assert 'your user name on the Hub' in done.stderr and "model's repository [" in done.stderr
    assert load_config().user.username == 'grace'
    assert load_config().repository.model_name == f'grace/{Path().absolute().name.strip("_")}'
