"""Bad input: one clear message, the right exit code, and folder, clone and remote as they were."""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hfmirror import main
from tests.support.folder import checksums
from tests.support.githost import GitHost
from tests.support.mirror import Done, bare, git

GIT = shutil.which('git')
GIT_LFS = shutil.which('git-lfs')


# -- what is looked at before and after


def listing(path):
    """Return {path below: kind and permissions} of everything there, links and pipes too."""
    names = [
        os.path.join(root, name) for root, dirs, files in os.walk(os.fsencode(path)) for name in dirs + files
    ]
    return {name: stat.filemode(os.lstat(name).st_mode) for name in names}


def remote_state(remote):
    """Return every ref, git object, LFS object and file of a bare repository."""
    if not (remote / 'HEAD').is_file():
        return listing(remote) if remote.exists() else None
    refs = git('for-each-ref', cwd=remote)
    objects = git('cat-file', '--batch-all-objects', '--batch-check', cwd=remote)
    return refs, objects, checksums(remote / 'lfs'), listing(remote)


def clone_state(mirror):
    """Return where our clones are, and what git says of their work trees. A clone without a commit is as good as none."""
    works = sorted((mirror.home / 'clones').glob('*/work'))
    works = [work for work in works if git('rev-parse', '--revs-only', 'HEAD', cwd=work)]
    return {
        work: (
            git('status', '--porcelain', '--ignored', cwd=work),
            git('rev-parse', '--revs-only', 'HEAD', cwd=work),
        )
        for work in works
    }


def left_behind(mirror):
    """Return the objects, packs and temporary files that a failed push left anywhere in hfmirror's directories."""
    places = [mirror.home / 'outbox', mirror.home / 'cache', mirror.home / 'clones', mirror.home / 'hub']
    ours = [path for place in places for path in place.rglob('*') if path.is_file() or path.is_symlink()]
    return [
        path
        for path in ours
        if path.is_relative_to(mirror.home / 'outbox')
        or path.suffix in ('.tmp', '.part')
        or path.parent.name == 'tmp'
    ]


class Untouched:
    """A folder, the clone and the remote, to be found as they are now."""

    def __init__(self, mirror, folder, remote=None):
        self.mirror, self.folder, self.remote = mirror, Path(str(folder)), remote or mirror.remote
        self.before = self.state()

    def state(self):
        files = {
            os.fsencode(path): path.read_bytes() if path.is_file() else None
            for path in (self.folder.rglob('*') if self.folder.is_dir() else [])
            if os.access(path, os.R_OK) and path.is_file()
        }
        return files, listing(self.folder), clone_state(self.mirror), remote_state(self.remote)

    def check(self):
        for what, before, now in zip(
            ('contents', 'folder', 'clone', 'remote'), self.before, self.state(), strict=True
        ):
            assert now == before, f'the {what} changed'
        assert left_behind(self.mirror) == []


@pytest.fixture
def released(mirror, folder):
    """A folder that is released as v1.0.0; what is changed in it afterwards is the bad input."""
    mirror.push(folder, '--tag', 'v1.0.0')
    return folder


def refused(mirror, folder, *args, code, says, remote=None, **kwargs):
    """Push, and assert that it is refused with one message that holds all of ``says`` and changes nothing."""
    before = Untouched(mirror, folder, remote)
    done = mirror.push(folder, *args, code=code, **kwargs)
    assert_one_message(done, says)
    before.check()
    return done


def assert_one_message(done, says):
    assert done.out == ''
    assert 'Traceback' not in done.err
    assert 'this is not an error hfmirror knows' not in done.err
    assert len([line for line in done.err.lower().splitlines() if line.startswith('error')]) == 1, done.err
    for words in says:
        assert words in done.err, done.err


# -- the folder


def test_a_missing_folder_is_a_usage_error(mirror, tmp_path):
    refused(
        mirror,
        tmp_path / 'nowhere',
        code=2,
        says=[f'{tmp_path}/nowhere', 'no such folder', 'Name the folder'],
    )


def test_an_empty_folder_is_a_usage_error(mirror, tmp_path):
    (tmp_path / 'empty').mkdir()
    refused(mirror, tmp_path / 'empty', code=2, says=[f'{tmp_path}/empty', 'empty', 'Name the folder'])


def test_a_folder_with_nothing_to_release_says_what_is_left_out(mirror, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / '.env').write_text('HF_TOKEN=hf_secretsecret')
    done = refused(mirror, tmp_path / 'out', code=2, says=['nothing is left to release', '.env'])
    assert 'hf_secret' not in done.err


def test_choosing_among_a_single_file_is_a_usage_error(mirror, tmp_path):
    (tmp_path / 'model.bin').write_bytes(b'\0')
    done = mirror.push(tmp_path / 'model.bin', '--include', '*.bin', code=2)
    assert 'model.bin: a file;' in done.err


def without_the_right_to_read_everything():
    """Make root obey file permissions, in the process to be started."""
    if os.geteuid() == 0:
        dac_override, dac_read_search, capbset_drop = 1, 2, 24
        for capability in (dac_override, dac_read_search):
            ctypes.CDLL(None).prctl(capbset_drop, capability, 0, 0, 0)


def obeying_permissions(*args):
    return subprocess.run(
        [sys.executable, '-m', 'hfmirror', *args],
        preexec_fn=without_the_right_to_read_everything,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize('name', ['.', 'notes', 'model.bin'])
def test_what_cannot_be_read_is_named(mirror, released, name):
    path = released.path / name
    path.chmod(0)
    try:
        done = obeying_permissions('push', released.path, '--remote', 'local', '--repo', mirror.repo)
    finally:
        path.chmod(0o755)
    assert done.returncode == (2 if name == '.' else 1), done.stderr
    assert 'cannot be read' in done.stderr
    assert (str(released.path) if name == '.' else name) in done.stderr
    assert 'read' in done.stderr
    assert done.stdout == '' and 'Traceback' not in done.stderr
    assert mirror.tags() == ['v1.0.0'] and left_behind(mirror) == []


@pytest.mark.parametrize('command', ['push', 'pull'])
def test_a_place_that_cannot_be_written_is_named(mirror, released, tmp_path, command):
    where = ['--remote', 'local', '--repo', mirror.repo]
    released.write('config.json', '{"new": 1}')
    place = tmp_path / 'fresh' if command == 'pull' else mirror.home / 'outbox'
    place.mkdir(exist_ok=True)
    place.chmod(0o500)
    args = ['--to', place] if command == 'pull' else [released.path]
    done = obeying_permissions(command, *args, *where)
    place.chmod(0o700)
    assert done.returncode == 1 and done.stdout == ''
    assert str(place) in done.stderr and 'Give yourself the right' in done.stderr, done.stderr
    assert 'not an error hfmirror knows' not in done.stderr
    assert mirror.tags() == ['v1.0.0']


# -- options


@pytest.fixture
def hfmirror(capsys, monkeypatch, mirror, folder):
    """The command line in this process; asserts that nothing at all is made."""

    def run(*args, code, says):
        files = folder.checksums()
        monkeypatch.setattr(sys, 'argv', ['hfmirror', *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            main.main()
        done = Done(ended.value.code, *capsys.readouterr())
        assert done.code == code, done.err
        assert_one_message(done, says)
        assert not mirror.home.exists() and folder.checksums() == files
        return done

    return run


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('v1 0', 'a blank'),
        (' v1', 'a blank'),
        ('', 'is empty'),
        ('v1..2', 'two dots'),
        ('v1~1', '~'),
        ('a:b', ':'),
        ('a^b', '^'),
        ('-v1', 'begins with -'),
        ('v1.lock', '.lock'),
        ('v1/', 'ends with /'),
        ('@', '@'),
        ('x' * 300, 'too long'),
        ('v1\n', 'printed'),
    ],
)
def test_a_bad_tag_is_a_usage_error_before_anything_is_read(hfmirror, tmp_path, name, says):
    done = hfmirror('push', tmp_path / 'nowhere', f'--tag={name}', code=2, says=[says, 'Use a name such as'])
    assert 'no such folder' not in done.err


@pytest.mark.parametrize(
    ('name', 'says'),
    [
        ('tiny-model', 'the namespace is missing'),
        ('My Model', 'me/My-Model'),
        ('', 'empty'),
        ('/', 'Try'),
        ('me/', 'Try'),
        ('/x', 'Try'),
        ('a/b/c', 'two slashes'),
        ('me/a b', 'me/a-b'),
        ('me/..', '..'),
        ('me/x.git', '.git'),
        ('me/' + 'x' * 99, '96'),
    ],
)
def test_a_repo_id_that_is_not_namespace_and_name_is_a_usage_error(hfmirror, folder, name, says):
    hfmirror('push', folder, '--remote', 'local', '--repo', name, code=2, says=['--repo', says])


@pytest.mark.parametrize('option', ['--repo', '--branch', '--remote'])
def test_an_empty_value_is_not_taken_for_the_default(hfmirror, folder, option):
    hfmirror('push', folder, option, '', code=2, says=[option, 'empty'])
    hfmirror('list-versions', option, '', code=2, says=[option, 'empty'])


@pytest.mark.parametrize('name', ['two words', 'a..b', '/x', 'x.lock', 'a\nb'])
def test_a_branch_that_git_cannot_have_is_a_usage_error(hfmirror, folder, name):
    says = ['--branch', 'git allows no such name']
    hfmirror('push', folder, '--remote', 'local', '--branch', name, code=2, says=says)


@pytest.mark.parametrize('path', ['../up', '/root', 'a/../../b', '.git/hooks', 'a/.GIT'])
def test_a_path_in_repo_outside_the_repository_is_a_usage_error(hfmirror, folder, path):
    hfmirror('push', folder, '--path-in-repo', path, code=2, says=[f'--path-in-repo {path}', 'folder inside'])


@pytest.mark.parametrize(
    'options',
    [
        ['--tag', 'v1.0.0', '--bump', 'minor'],
        ['--tag', 'v1.0.0', '--no-tag'],
        ['--timestamp', '--experiment', 'baseline'],
        ['--bump', 'major', '--timestamp'],
    ],
)
def test_two_version_options_are_a_usage_error_that_names_both(hfmirror, folder, options):
    named = [option for option in options if option.startswith('--')]
    hfmirror('push', folder, *options, code=2, says=[*named, 'Give one of them'])


# -- what is in the folder


def test_a_link_that_points_outside_the_folder_is_refused(mirror, released, tmp_path):
    (tmp_path / 'secret').write_text('not for the world')
    (released.path / 'link').symlink_to(tmp_path / 'secret')
    refused(mirror, released, code=1, says=[str(released), 'points outside', 'link -> ', '--exclude'])


@pytest.mark.parametrize('to', ['loop', '.', '../tiny-model'])
def test_a_link_in_a_circle_is_refused(mirror, released, to):
    (released.path / 'loop').symlink_to(to)
    refused(mirror, released, code=1, says=[str(released), 'loop', 'in a circle', '--exclude'])


def test_a_link_to_nothing_is_refused(mirror, released):
    (released.path / 'link').symlink_to('gone')
    refused(mirror, released, code=1, says=[str(released), 'link', 'points to nothing', '--exclude'])


def test_a_pipe_is_refused_and_does_not_block(mirror, released):
    os.mkfifo(released.path / 'pipe')
    refused(mirror, released, code=1, says=[str(released), 'pipe', 'Only files', '--exclude'], timeout=20)


def test_a_socket_is_refused(mirror, released, monkeypatch):
    monkeypatch.chdir(released.path)  # a socket's path has room for 100 bytes only
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind('socket')
        refused(mirror, released, code=1, says=[str(released), 'socket', 'Only files', '--exclude'])


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'darwin', reason='the file system itself has no two such names')
@pytest.mark.parametrize(
    'names',
    [('Model.bin', 'model.bin'), ('A/one', 'a/two'), ('Straße', 'STRASSE'), ('caf\u00e9', 'cafe\u0301')],
)
def test_names_that_collide_elsewhere_are_refused_both_named(mirror, released, names):
    for name in names:
        released.write(name, b'\0' + name.encode())
    refused(mirror, released, code=1, says=[str(released), 'macOS or Windows', 'Rename', '--exclude'])


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'darwin', reason='the file system itself refuses such names')
def test_a_name_that_is_not_utf_8_is_refused(mirror, released):
    Path(os.fsdecode(os.fsencode(released.path) + b'/caf\xe9.txt')).write_text('x')
    refused(mirror, released, code=1, says=[str(released), 'caf\\xe9.txt', 'not UTF-8', 'Rename'])


@pytest.mark.heavy
@pytest.mark.parametrize('name', ['two\nlines', 'tab\tbed', 'es\x1b[31mcape', 'back\\slash'])
def test_a_name_with_a_control_character_is_refused_and_cannot_steer_the_terminal(mirror, released, name):
    released.write(name, 'x')
    done = refused(mirror, released, code=1, says=[str(released), 'control character', 'Rename'])
    assert '\x1b' not in done.err


@pytest.mark.heavy
def test_all_problems_of_a_folder_are_said_at_once(mirror, released, tmp_path):
    os.mkfifo(released.path / 'pipe')
    (released.path / 'loop').symlink_to('loop')
    (released.path / 'out').symlink_to(tmp_path)
    refused(mirror, released, code=1, says=['pipe', 'loop', 'out -> '])


def test_a_pointer_where_the_weights_should_be_is_refused(mirror, released):
    released.write(
        'model.bin', f'version https://git-lfs.github.com/spec/v1\noid sha256:{"a" * 64}\nsize 9\n'
    )
    refused(mirror, released, code=1, says=['model.bin', 'pointer', 'git lfs pull'])


# -- the card and what it is made from


@pytest.mark.heavy
@pytest.mark.parametrize(
    'card',
    [
        '---\nlicense: [mit\n---\n',
        '---\na: 1\n a: 2\n---\n',
        '---\ntags:\n\t- x\n---\n',
        '---\n- a\n- list\n---\n',
        '---\nx: *nowhere\n---\n',
    ],
)
def test_a_card_with_broken_yaml_stops_the_release(mirror, released, card):
    released.write('README.md', card)
    refused(mirror, released, code=8, says=['README.md', 'line '])


def test_a_card_that_is_not_text_stops_the_release(mirror, released):
    released.write('README.md', b'\xff\xfe\0\0')
    refused(mirror, released, code=8, says=['README.md', 'UTF-8'])


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('content', 'says'),
    [
        ('{"loss": ', 'line 1, column'),
        ('', 'line 1, column 1'),
        ('loss = 1', 'line 1, column 1'),
        (b'\xff\xfe\x00', 'UTF-8'),
        ('{"eval_loss": NaN}', 'eval_loss is NaN'),
        ('{"eval_loss": -Infinity}', 'eval_loss is Infinity'),
        ('{"a": {"b": NaN}}', 'a.b is NaN'),
        ('[' * 100_000, 'nested too deeply'),
    ],
)
def test_an_eval_results_that_cannot_be_shown_stops_the_release(mirror, released, content, says):
    released.write('eval_results.json', content)
    refused(mirror, released, code=8, says=['eval_results.json', says, '--exclude eval_results.json'])


def test_a_first_push_that_is_stopped_makes_no_repository(mirror, folder):
    folder.write('eval_results.json', 'nonsense')
    refused(mirror, folder, code=8, says=['eval_results.json'])
    assert not mirror.remote.exists()


@pytest.mark.parametrize(
    'name', ['config.json', 'trainer_state.json', 'adapter_config.json', 'all_results.json']
)
def test_a_broken_json_file_that_the_card_is_made_from_stops_the_release(mirror, released, name):
    released.write(name, '{"x": ')
    refused(mirror, released, code=8, says=[name, 'line 1, column'])


@pytest.mark.heavy
def test_a_safetensors_file_of_junk_does_not_stop_the_release_nor_eat_memory(mirror, released):
    released.write('model.safetensors', (2**62).to_bytes(8, 'little') + b'{}')
    done = mirror.push(released)
    assert done[0]['status'] == 'pushed'


# -- what is missing on the machine


def path_with(tmp_path, **programs):
    """Return a PATH with nothing but links to ``programs``."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, program in programs.items():
        (folder / name.replace('_', '-')).symlink_to(program)
    return {'PATH': str(folder)}


@pytest.mark.parametrize('command', ['push', 'pull', 'verify'])
def test_without_git_lfs_the_command_that_installs_it_is_said(mirror, released, tmp_path, command):
    # git looks into its own directory too, where some systems put git-lfs.
    if (Path(git('--exec-path')) / 'git-lfs').exists():
        pytest.skip('git-lfs lies in a directory that git always searches')
    args = {
        'push': [released, '--remote', 'local', '--repo', mirror.repo],
        'pull': ['--to', tmp_path / 'fresh', '--remote', 'local', '--repo', mirror.repo],
        'verify': ['--remote', 'local', '--repo', mirror.repo],
    }[command]
    released.write('config.json', '{"new": 1}')
    before = Untouched(mirror, released)
    done = mirror.run(command, *args, env=path_with(tmp_path, git=GIT), code=1)
    assert_one_message(done, ['git-lfs is not installed', 'apt-get install git-lfs', 'brew install git-lfs'])
    before.check()
    assert not (tmp_path / 'fresh').exists()


def test_without_git_the_command_that_installs_it_is_said(mirror, released, tmp_path):
    before = Untouched(mirror, released)
    done = mirror.push(released, env=path_with(tmp_path, git_lfs=GIT_LFS), code=1)
    assert_one_message(done, ['git is not installed', 'apt-get install git'])
    before.check()


def fake_git(tmp_path, version):
    folder = tmp_path / 'old'
    folder.mkdir()
    script = folder / 'git'
    script.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "git version {version}" || exec {GIT} "$@"\n')
    script.chmod(0o755)
    return {'PATH': f'{folder}{os.pathsep}{os.environ["PATH"]}'}


def test_a_git_that_is_too_old_is_named_with_the_version_that_is_needed(mirror, released, tmp_path):
    released.write('config.json', '{"new": 1}')
    env = fake_git(tmp_path, '2.30.0')
    refused(mirror, released, code=1, says=['git 2.30.0 is too old', '2.39', 'apt-get install git'], env=env)


@pytest.mark.parametrize('version', ['2.39.0', '2.39.5 (Apple Git-154)', '2.47.1.windows.1'])
def test_a_git_that_is_new_enough_is_taken(mirror, folder, tmp_path, version):
    mirror.push(folder, env=fake_git(tmp_path, version))


def test_a_git_whose_version_cannot_be_told_is_an_error(mirror, released, tmp_path):
    refused(mirror, released, code=1, says=['git', 'apt-get install git'], env=fake_git(tmp_path, 'unknown'))


# -- the remote


@pytest.mark.parametrize('address', ['{}', 'file://{}'])
def test_a_remote_that_does_not_exist_is_not_found(mirror, folder, tmp_path, address):
    remote = tmp_path / 'nowhere' / 'x.git'
    done = refused(
        mirror, folder, '--remote', address.format(remote), code=5, says=['nowhere/x.git'], remote=remote
    )
    assert 'create the repository there first' in done.err
    assert not remote.exists()


def test_a_remote_that_is_a_directory_but_no_repository_is_not_found(mirror, folder, tmp_path):
    remote = tmp_path / 'plain'
    remote.mkdir()
    (remote / 'mine.txt').write_text('do not touch')
    refused(
        mirror,
        folder,
        '--remote',
        remote,
        code=5,
        says=[str(remote), 'git init --bare'],
        remote=remote,
    )
    assert (remote / 'mine.txt').read_text() == 'do not touch'


def test_a_remote_inside_a_work_tree_is_not_taken_for_that_repository(mirror, folder, tmp_path):
    git('init', '-q', tmp_path / 'project')
    remote = tmp_path / 'project' / 'sub'
    remote.mkdir()
    refused(mirror, folder, '--remote', remote, code=5, says=[str(remote)], remote=remote)
    assert git('for-each-ref', cwd=tmp_path / 'project') == ''
    assert not (tmp_path / 'project' / '.git' / 'lfs').exists()


def test_a_remote_that_is_a_file_is_not_found(mirror, folder, tmp_path):
    remote = tmp_path / 'a-file'
    remote.write_text('x')
    done = mirror.push(folder, '--remote', f'file://{remote}', code=5)
    assert_one_message(done, [str(remote)])
    assert remote.read_text() == 'x'


@pytest.mark.parametrize(
    ('address', 'says'),
    [
        ('ext::sh -c "touch {}/pwned"', 'https://'),
        ('ftp://example.org/x.git', 'https://'),
        ('https://me:hf_secretsecret@example.org/x.git', 'credential helper'),
        ('origin', 'nor a git URL'),
        ('-oProxyCommand=touch {}/pwned', 'begins with -'),
        ('ssh://-oProxyCommand=touch {}/pwned/x.git', 'begins with -'),
        ('-x:y/z', 'begins with -'),
    ],
)
def test_an_address_that_git_cannot_or_must_not_use_is_a_usage_error(
    hfmirror, folder, tmp_path, address, says
):
    done = hfmirror('push', folder, f'--remote={address.format(tmp_path)}', code=2, says=['--remote', says])
    assert 'hf_secret' not in done.err
    assert not (tmp_path / 'pwned').exists()


def test_the_hub_without_a_token_says_how_to_get_one_before_anything_is_made(hfmirror, folder):
    hfmirror('push', folder, '--remote', 'hub', '--repo', 'me/x', code=4, says=['hf auth login', 'HF_TOKEN'])
    assert not Path('hfmirror/outbox').exists()


def test_a_remote_without_lfs_is_said_and_gets_nothing(mirror, folder, tmp_path):
    with GitHost(tmp_path / 'host', lfs=False) as host:
        remote = host.create('me/x')
        done = mirror.push(folder, '--remote', host.url('me/x'), code=1)
        assert_one_message(done, [host.url('me/x'), 'LFS'])
        assert git('for-each-ref', cwd=remote) == '' and left_behind(mirror) == []


def test_a_hook_that_refuses_is_quoted(mirror, folder, tmp_path):
    remote = bare(tmp_path / 'strict.git')
    hook = remote / 'hooks' / 'pre-receive'
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\necho "releases are frozen" >&2\nexit 1\n')
    hook.chmod(0o755)
    done = mirror.push(folder, '--remote', f'file://{remote}', code=1)
    assert done.out == '' and 'releases are frozen' in done.err and str(remote) in done.err
    assert git('for-each-ref', cwd=remote) == ''
    assert left_behind(mirror) == []


# -- a full disk


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB. Where mounting is not allowed, no file may grow beyond 2 MB."""
    path = tmp_path / 'small'
    path.mkdir()
    mounted = sys.platform == 'linux' and _runs('mount', '-t', 'tmpfs', '-o', 'size=2m', 'none', path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2 * 2**20, before[1]))
    yield path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    if mounted:
        subprocess.run(['umount', path], check=True)


def _runs(*command):
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.heavy
@pytest.mark.parametrize('size', [3 * 2**20, 12 * 2**20])
def test_a_full_disk_under_our_directories_is_said_and_nothing_stays(mirror, folder, small_disk, size):
    mirror.home = small_disk
    mirror.remote = small_disk / 'hub' / 'models' / 'me' / 'tiny-model.git'
    env = {'HFMIRROR_HOME': str(small_disk)}
    mirror.push(folder, '--tag', 'v1.0.0', env=env)
    folder.write('large.bin', os.urandom(size))
    refused(mirror, folder, code=1, says=[str(small_disk), 'Free some space'], env=env)
    folder.remove('large.bin')
    folder.write('small.bin', b'\0\1\2')
    mirror.push(folder, '--tag', 'v1.1.0', env=env)
    mirror.assert_whole()


@pytest.mark.heavy
@pytest.mark.parametrize('size', [3 * 2**20, 12 * 2**20])
def test_a_full_disk_under_the_remote_is_said_and_nothing_stays(mirror, folder, small_disk, size):
    mirror.remote = bare(small_disk / 'x.git')
    where = ['--remote', f'file://{mirror.remote}']
    mirror.push(folder, '--tag', 'v1.0.0', *where)
    folder.write('large.bin', os.urandom(size))
    refused(mirror, folder, *where, code=1, says=[str(small_disk), 'Free some space'])
    folder.remove('large.bin')
    folder.write('small.bin', b'\0\1\2')
    mirror.push(folder, '--tag', 'v1.1.0', *where)
    mirror.assert_whole()


@pytest.mark.heavy
def test_a_full_disk_while_git_writes_is_said(mirror, folder, small_disk):
    mirror.home = small_disk
    env = {'HFMIRROR_HOME': str(small_disk)}
    remote = bare(mirror.tmp_path / 'x.git')
    where = ['--remote', f'file://{remote}']
    mirror.push(folder, '--tag', 'v1.0.0', *where, env=env)
    folder.write('large.txt', ''.join(f'{number}\n' for number in range(1_000_000)))
    refused(mirror, folder, *where, code=1, says=['ree some space'], env=env, remote=remote)


# -- files that change under the reader


def test_a_file_that_vanishes_while_it_is_hashed_is_named(mirror, released, tmp_path):
    released.write('large.bin', os.urandom(11 * 2**20))
    env = with_code(
        tmp_path,
        'hfmirror.copying',
        f"""
        read = module.copy_hashed
        def vanishing(*args, **kwargs):
            oid = read(*args, **kwargs)
            os.unlink({str(released.path / 'large.bin')!r})
            return oid
        module.copy_hashed = vanishing
        """,
    )
    files = released.checksums()
    before = remote_state(mirror.remote), clone_state(mirror)
    done = mirror.push(released, code=1, env=env)
    assert_one_message(done, ['large.bin', 'vanished', 'Push again'])
    assert (remote_state(mirror.remote), clone_state(mirror)) == before and left_behind(mirror) == []
    del files['large.bin']
    assert released.checksums() == files


def test_a_file_that_vanishes_before_it_is_hashed_is_named(mirror, released, tmp_path):
    released.write('new.bin', b'\0\1')
    env = with_code(
        tmp_path,
        'hfmirror.folder',
        f"""
        walk = module.walk
        def walked(*args, **kwargs):
            found = walk(*args, **kwargs)
            if os.path.exists({str(released.path / 'new.bin')!r}):
                os.unlink({str(released.path / 'new.bin')!r})
            return found
        module.walk = walked
        """,
    )
    before = remote_state(mirror.remote), clone_state(mirror)
    done = mirror.push(released, code=1, env=env)
    assert_one_message(done, ['new.bin', 'vanished', 'Push again'])
    assert (remote_state(mirror.remote), clone_state(mirror)) == before and left_behind(mirror) == []


def with_code(tmp_path, module, code):
    """Return an environment in which hfmirror runs ``code`` right after it has imported ``module``.

    A trainer that writes just then, told exactly when.
    """
    folder = tmp_path / 'fault'
    folder.mkdir()
    (folder / 'sitecustomize.py').write_text(
        f'import os, {module}\nmodule = sys.modules[{module!r}]\n'.replace('import os', 'import os, sys', 1)
        + textwrap.dedent(code)
    )
    root = Path(__file__).parents[1]
    return {'PYTHONPATH': os.pathsep.join([str(folder), str(root)])}


@pytest.mark.skipif(sys.platform == 'darwin', reason='the file system itself refuses such names')
def test_a_folder_whose_own_path_is_not_utf_8_is_released_all_the_same(mirror, folder, tmp_path):
    odd = tmp_path / os.fsdecode(b'caf\xe9')
    shutil.copytree(folder.path, odd / 'tiny-model')
    (done,) = mirror.push(odd / 'tiny-model', '--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    (again,) = mirror.push(odd / 'tiny-model')
    assert again['status'] == 'up-to-date'
    mirror.assert_whole()
