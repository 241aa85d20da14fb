"""How git is run: a clean environment, no shell, no secret, and errors that say what happened."""

from __future__ import annotations

import pytest

from hfmirror import errors, gitcmd
from hfmirror.gitcmd import GitFailed, environment, git, meaning, redact, run
from tests.support.mirror import git as plain_git


@pytest.mark.parametrize(
    'name', ['GIT_DIR', 'GIT_WORK_TREE', 'GIT_INDEX_FILE', 'GIT_CONFIG_COUNT', 'GIT_QUARANTINE_PATH']
)
def test_what_a_surrounding_git_sets_is_dropped(monkeypatch, name):
    monkeypatch.setenv(name, '/elsewhere')
    assert name not in environment()


@pytest.mark.parametrize('name', ['GIT_SSH_COMMAND', 'GIT_AUTHOR_NAME', 'GIT_SSL_CAINFO', 'GIT_ASKPASS'])
def test_what_is_about_people_and_the_network_stays(monkeypatch, name):
    monkeypatch.setenv(name, 'x')
    assert environment()[name] == 'x'


def test_git_speaks_english_and_never_asks(monkeypatch):
    monkeypatch.setenv('LC_ALL', 'de_DE.UTF-8')
    found = environment()
    assert (found['LC_ALL'], found['GIT_TERMINAL_PROMPT'], found['GIT_LFS_SKIP_SMUDGE']) == ('C', '0', '1')


def test_a_command_inside_a_hook_is_not_aimed_at_the_hooks_repository(tmp_path, monkeypatch):
    plain_git('init', '-q', tmp_path / 'ours')
    plain_git('init', '-q', tmp_path / 'theirs')
    monkeypatch.setenv('GIT_DIR', str(tmp_path / 'theirs' / '.git'))
    assert git('rev-parse', '--show-toplevel', cwd=tmp_path / 'ours') == str(tmp_path / 'ours')


def test_arguments_meet_no_shell(tmp_path):
    plain_git('init', '-q', tmp_path / 'x')
    assert git('config', 'a.b', '$(touch pwned); `x`', cwd=tmp_path / 'x') == ''
    assert git('config', 'a.b', cwd=tmp_path / 'x') == '$(touch pwned); `x`'
    assert not (tmp_path / 'x' / 'pwned').exists()


def test_bytes_that_are_no_utf_8_come_through(tmp_path):
    plain_git('init', '-q', tmp_path / 'x')
    oid = git('hash-object', '-w', '--stdin', cwd=tmp_path / 'x', stdin=b'\xff\0\r\n')
    assert gitcmd.git_bytes('cat-file', 'blob', oid, cwd=tmp_path / 'x') == b'\xff\0\r\n'
    assert git('cat-file', 'blob', oid, cwd=tmp_path / 'x') == '\udcff\0\r'


def test_a_failure_tells_the_command_the_code_and_what_git_said(tmp_path):
    with pytest.raises(GitFailed) as failed:
        git('rev-parse', '--verify', 'nowhere', cwd=tmp_path)
    assert failed.value.returncode == 128 and 'not a git repository' in failed.value.stderr
    assert str(failed.value).startswith('git rev-parse --verify nowhere: exit 128: ')


def test_a_missing_directory_is_named(tmp_path):
    with pytest.raises(errors.GitError, match='nowhere: no such directory'):
        git('status', cwd=tmp_path / 'nowhere')


def test_a_missing_program_gets_the_command_that_installs_it(monkeypatch, tmp_path):
    monkeypatch.setenv('PATH', str(tmp_path))
    with pytest.raises(errors.GitError, match='apt-get install git'):
        gitcmd.git_version()
    with pytest.raises(errors.GitError, match='apt-get install git-lfs'):
        gitcmd.lfs_version()


def test_a_program_that_cannot_be_started_is_an_error_of_ours(tmp_path):
    (tmp_path / 'broken').write_text('no program')
    with pytest.raises(errors.GitError, match='cannot be started'):
        run(tmp_path / 'broken')


def test_a_full_disk_is_said_as_one(tmp_path):
    script = tmp_path / 'git'
    script.write_text('#!/bin/sh\necho "fatal: write error: No space left on device" >&2; exit 128\n')
    script.chmod(0o755)
    with pytest.raises(errors.HfmirrorError, match=f'{tmp_path}: the disk is full') as full:
        run(script, 'commit', cwd=tmp_path)
    assert not isinstance(full.value, GitFailed)


@pytest.mark.parametrize(
    ('text', 'hidden'),
    [
        ('https://me:s3cret@h/x', 's3cret'),
        ('fatal: https://hf_abcdefghij@h/x', 'hf_abcdefghij'),
        ('Authorization: Bearer abc.def', 'abc.def'),
        ('authorization: basic Zm9vOmJhcg==', 'Zm9vOmJhcg'),
        ('token hf_ABCDEFGHIJ12 here', 'hf_ABCDEFGHIJ12'),
        ('api_org_abcdefghijk', 'abcdefghijk'),
        ('ssh://user:pw@h/x and https://a:b@h/y', 'pw@'),
    ],
)
def test_secrets_are_not_shown(text, hidden):
    assert hidden not in redact(text) and '***' in redact(text)


def test_what_is_no_secret_is_shown():
    text = 'https://h/me/x.git git@h:x hf_home HF_TOKEN v1.0.0'
    assert redact(text) == text


def test_a_failed_command_shows_no_secret(tmp_path):
    with pytest.raises(GitFailed) as failed:
        git('ls-remote', 'https://me:hf_abcdefghijkl@127.0.0.1:1/x', cwd=tmp_path)
    assert 'hf_abcdefghijkl' not in str(failed.value) + failed.value.stderr


@pytest.mark.parametrize(
    ('said', 'kind'),
    [
        ("fatal: Authentication failed for 'https://h/x/'", errors.AuthError),
        (
            'git@h: Permission denied (publickey).\nfatal: Could not read from remote repository.',
            errors.AuthError,
        ),
        ("fatal: could not read Username for 'https://h': terminal prompts disabled", errors.AuthError),
        ('fatal: unable to access: The requested URL returned error: 403', errors.AuthError),
        ('batch response: Authorization error: https://h', errors.AuthError),
        ('fatal: unable to access: Could not resolve host: h', errors.NetworkError),
        (
            "fatal: unable to access 'http://127.0.0.1:1/': Failed to connect to 127.0.0.1",
            errors.NetworkError,
        ),
        ('fatal: unable to access: The requested URL returned error: 503', errors.NetworkError),
        ('fatal: the remote end hung up unexpectedly', errors.NetworkError),
        ("fatal: repository 'https://h/x/' not found", errors.NotFoundError),
        ("fatal: '/x' does not appear to be a git repository\nfatal: Could not read", errors.NotFoundError),
        ('fatal: invalid gitfile format: /x', errors.NotFoundError),
        ('remote: error: file write error: No space left on device', errors.RemoteError),
        ('something new', errors.RemoteError),
    ],
)
def test_what_git_says_becomes_an_error_that_says_what_to_do(said, kind):
    error = meaning(GitFailed(('git', 'push'), 128, said), 'me/x on h')
    assert type(error) is kind and str(error).startswith('me/x on h: ')
    if kind is not errors.RemoteError:
        assert str(error).endswith('.') and '..' not in str(error)


def test_the_line_that_tells_most_is_quoted():
    said = "warning: x\nfatal: '/x' does not appear to be a git repository\nfatal: Could not read from remote repository."
    error = meaning(GitFailed(('git', 'ls-remote'), 128, said), 'me/x')
    assert str(error).startswith("me/x: fatal: '/x' does not appear to be a git repository. ")


@pytest.mark.parametrize(
    ('said', 'version'),
    [
        ('git version 2.39.5', (2, 39, 5)),
        ('git version 2.39.5 (Apple Git-154)', (2, 39, 5)),
        ('git version 2.47.1.windows.2', (2, 47, 1)),
        ('git version 2.50', (2, 50)),
        ('git version unknown', ()),
    ],
)
def test_versions_are_read_from_what_programs_say(tmp_path, monkeypatch, said, version):
    script = tmp_path / 'git'
    script.write_text(f'#!/bin/sh\necho "{said}"\n')
    script.chmod(0o755)
    monkeypatch.setenv('PATH', str(tmp_path))
    assert gitcmd.git_version() == version


@pytest.mark.parametrize(
    ('url', 'expected'),
    [
        ('git@h:me/x.git', (('git@h',), 'me/x.git')),
        ('ssh://git@h:2222/me/x.git', (('-p', '2222', 'git@h'), '/me/x.git')),
        ('ssh://h/x', (('h',), '/x')),
    ],
)
def test_an_ssh_address_becomes_arguments(url, expected):
    assert gitcmd.ssh_address(url) == expected
