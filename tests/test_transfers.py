"""Large files on their way to a Hub: in parts by ``hf``, by ``git-xet`` where it is, and what the Hub would not take."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hfmirror import Repository, auth, errors, target, transfers
from hfmirror.auth import Token
from hfmirror.gitcmd import environment
from hfmirror.hub import Hub
from hfmirror.server import running_hub
from hfmirror.tree import Entry
from tests.support.mirror import git
from tests.support.rest import call
from tests.support.serving import until

PART = 300_000
LARGE = os.urandom(4 * PART + 17)
REAL_PYTHON = sys.executable
TOKEN = 'hf_thisIsTheTokenOfAda'
NAME = 'ada/tiny'
CONFIG = 'huggingface:\n  settings:\n    upload: {max_retries: %d, retry_delay: 0}\n'


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A Hub that takes objects from two parts on in parts, and an environment that leads to it as ``ada``."""
    limits = {'multipart_from': 2 * PART, 'part_size': PART, 'max_file_size': 400_000_000}
    with running_hub(tmp_path / 'served', token=f'ada:write:{TOKEN}', **limits) as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
        monkeypatch.setenv('HF_TOKEN', TOKEN)
        yield hub


@pytest.fixture
def project(tmp_path):
    """The configuration: a failure is tried again once, at once."""
    (tmp_path / 'config.yaml').write_text(CONFIG % 1)


@pytest.fixture
def large(folder):
    """The training folder with a file that goes in parts."""
    folder.write('große Gewichte 1.bin', LARGE)
    return folder


TO_HUB = ('--remote', 'hub', '--repo', NAME)


def push(mirror, folder, *args, **more):
    return mirror.push(folder, *TO_HUB, '--tag', 'v1.0.0', *args, **more)


def objects(hub):
    """Return {sha256: content} of the objects of the repository on the Hub."""
    found = {
        path.name: path.read_bytes()
        for path in (hub.root / 'models' / f'{NAME}.git' / 'lfs' / 'objects').glob('*/*/*')
    }
    assert all(sha256(content) == name for name, content in found.items())
    return found


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def parts(hub, content=LARGE):
    """Return the numbers of the parts that were sent, as often as they were."""
    sent = hub.requests(f'PUT /multipart/{sha256(content)}/')
    return [int(one.path.partition('?')[0].rpartition('/')[2]) for one in sent if one.status == 200]


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Return a Python in a directory of its own, without ``hf`` beside it or on PATH; it finds our packages."""
    there = tmp_path / "Ada's große tools"
    there.mkdir()
    # Not a link: the code of a virtual environment is found beside the name by which its Python was called.
    python = program(there / 'python', f'exec {shlex.quote(sys.executable)} "$@"')
    monkeypatch.setattr(sys, 'executable', str(python))
    programs = there / 'path'
    programs.mkdir()
    for name in ('git', 'git-lfs', 'sh', 'cat'):
        found = subprocess.run(['which', name], capture_output=True, text=True, check=True).stdout.strip()
        (programs / name).symlink_to(found)
    monkeypatch.setenv('PATH', str(programs))
    return there


def recorded(path, log, command):
    """Make a program that writes its arguments to ``log`` before it becomes ``command``."""
    return program(path, f'echo "$*" >>{shlex.quote(str(log))}\nexec {shlex.quote(str(command))} "$@"')


# -- in parts


@pytest.mark.heavy
def test_a_large_file_goes_in_parts_and_arrives_whole(served, mirror, large):
    (done,) = push(mirror, large)
    assert done['status'] == 'pushed'
    assert parts(served) == [1, 2, 3, 4, 5]
    assert objects(served)[sha256(LARGE)] == LARGE
    mirror.run('verify', 'v1.0.0', *TO_HUB, code=0)


@pytest.mark.heavy
def test_what_was_sent_in_parts_is_not_sent_again(served, mirror, large):
    push(mirror, large)
    large.write('config.json', '{}')
    served.forget()
    mirror.push(large, *TO_HUB, '--bump', 'minor')
    assert served.requests('PUT') == []


@pytest.mark.heavy
def test_a_folder_of_small_files_needs_no_other_program(served, mirror, folder, elsewhere):
    program(elsewhere / 'path' / 'hf', 'echo broken >&2; exit 1')
    run_elsewhere(elsewhere, mirror, 'push', folder, *TO_HUB)
    assert len(served.requests('PUT /objects/')) == 1


@pytest.mark.heavy
def test_directories_with_blanks_quotes_and_letters_of_any_kind(served, mirror, large, elsewhere, tmp_path):
    log = tmp_path / 'started'
    recorded(elsewhere / 'hf', log, Path(REAL_PYTHON).parent / 'hf')
    home = tmp_path / "Ada's große Ablage"
    run_elsewhere(elsewhere, mirror, 'push', large, *TO_HUB, HFMIRROR_HOME=str(home))
    assert set(log.read_text().splitlines()) == {'lfs-multipart-upload'}
    assert objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
def test_no_more_programs_are_started_than_there_are_objects(served, mirror, large, elsewhere, tmp_path):
    log = tmp_path / 'started'
    recorded(elsewhere / 'hf', log, Path(REAL_PYTHON).parent / 'hf')
    run_elsewhere(elsewhere, mirror, 'push', large, *TO_HUB)
    assert len(log.read_text().splitlines()) == len(objects(served)) == 2


@pytest.mark.heavy
def test_without_the_program_a_hub_that_takes_it_gets_the_file_whole(served, mirror, large, elsewhere):
    run_elsewhere(elsewhere, mirror, 'push', large, *TO_HUB)
    assert parts(served) == [] and objects(served)[sha256(LARGE)] == LARGE


def run_elsewhere(elsewhere, mirror, *args, **env):
    """Run hfmirror by the Python of ``elsewhere``, which is what it takes itself to be."""
    code = (
        'import sys; sys.executable = sys.argv.pop(1); '
        'from hfmirror.main import main; sys.argv[0] = "hfmirror"; main()'
    )
    done = subprocess.run(
        [REAL_PYTHON, '-c', code, str(elsewhere / 'python'), *map(str, args)],
        env={**os.environ, **env},
        cwd=mirror.tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


# -- interrupted


@pytest.mark.heavy
@pytest.mark.parametrize('what', ['PUT /multipart/', 'POST /multipart/'])
def test_a_refused_part_or_end_is_sent_again(served, mirror, large, project, what):
    served.fail(what, 503, after=1 if what.startswith('PUT') else 0)
    (done,) = push(mirror, large, '--config', 'config.yaml')
    assert done['status'] == 'pushed' and objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
def test_a_connection_that_breaks_within_a_part_is_made_again(served, mirror, large, project):
    served.cut(f'PUT /multipart/{sha256(LARGE)}', received=PART // 2)
    (done,) = push(mirror, large, '--config', 'config.yaml')
    assert done['status'] == 'pushed' and objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
def test_parts_that_never_arrive_let_the_release_wait(served, mirror, large, project):
    served.fail('PUT /multipart/', 503, times=100)
    done = push(mirror, large, '--config', 'config.yaml', code=7)
    assert "'hf lfs-multipart-upload'" in done.err and 'Traceback' not in done.err
    assert git('tag', cwd=served.root / 'models' / f'{NAME}.git') == ''
    served.heal()
    (row,) = mirror.run('resume', '--json', code=0).json
    assert (row['version'], row['status']) == ('v1.0.0', 'pushed')
    assert objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'win32', reason='SIGKILL and process groups are POSIX')
def test_a_push_that_is_killed_between_two_parts_is_done_by_the_next(served, mirror, large):
    served.delay(f'PUT /multipart/{sha256(LARGE)}', 0.3, times=100)
    running = subprocess.Popen(
        [sys.executable, '-m', 'hfmirror', 'push', str(large), *TO_HUB, '--tag', 'v1.0.0'],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    until(lambda: len(parts(served)) >= 2)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    served.heal()
    assert len(parts(served)) < 5
    assert git('tag', cwd=served.root / 'models' / f'{NAME}.git') == ''
    push(mirror, large)
    assert objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_file(served, mirror, folder):
    path = folder.write('weights.bin', b'')
    with path.open('wb') as file:
        for _ in range(30):
            file.write(os.urandom(10_000_000))
    code = (
        'import resource, subprocess, sys\n'
        'subprocess.run([sys.executable, "-m", "hfmirror", *sys.argv[1:]], check=True, stdout=subprocess.DEVNULL)\n'
        'print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n'
    )
    command = [sys.executable, '-c', code, 'push', str(folder), *TO_HUB]
    most = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert most * (1 if sys.platform == 'darwin' else 1024) < 150_000_000
    assert len(parts(served, path.read_bytes())) == 1000


# -- what the Hub would not take


@pytest.mark.heavy
def test_a_file_over_the_limit_is_named_before_anything_is_sent(tmp_path, mirror, folder, monkeypatch):
    folder.write('larger.bin', os.urandom(300_000))
    folder.write('große Gewichte.bin', os.urandom(200_000))
    with running_hub(tmp_path / 'served', token=f'ada:write:{TOKEN}', max_file_size=100_000) as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
        monkeypatch.setenv('HF_TOKEN', TOKEN)
        done = push(mirror, folder, code=1)
        assert hub.requests('PUT') == []
    assert 'larger.bin (300.0 kB), große Gewichte.bin (200.0 kB): too large' in done.err
    assert '100000 bytes' in done.err and 'model.bin' not in done.err


HUB = target.hub('https://hub.invalid', NAME)


def entries(*sizes):
    return [Entry(f'{size}.bin', f'{size:064}', size, is_lfs=True) for size in sizes]


def answers(*, most, code=413, message='Too large here'):
    """Return a server that takes objects of so many bytes, and the list of what it is asked."""
    asked = []

    def ask(batch, transfers):
        asked.append([entry.size for entry in batch])
        return [
            {'oid': entry.oid, 'size': entry.size}
            | ({'error': {'code': code, 'message': message}} if entry.size > most else {})
            for entry in batch
        ]

    return ask, asked


def test_only_the_largest_object_is_asked_for():
    ask, asked = answers(most=30)
    assert transfers.refused(HUB, entries(10, 30, 20), ask) is None
    assert asked == [[30]]


def test_all_that_are_refused_are_named_and_no_others():
    ask, _ = answers(most=20)
    refusal = transfers.refused(HUB, entries(10, 30, 40, 20), ask)
    assert '40.bin (40 B), 30.bin (30 B): too large' in str(refusal) and '20.bin' not in str(refusal)


def test_of_many_that_are_refused_some_are_named():
    ask, _ = answers(most=0)
    assert 'and 3 more' in str(transfers.refused(HUB, entries(*range(1, 9)), ask))


def test_nothing_to_send_is_not_asked_for():
    ask, asked = answers(most=0)
    assert transfers.refused(HUB, [], ask) is None and asked == []


@pytest.mark.parametrize(
    ('code', 'kind', 'words'),
    [
        (413, errors.RemoteError, 'too large'),
        (403, errors.AuthError, 'not allowed'),
        (507, errors.RemoteError, 'used up'),
        (503, errors.NetworkError, 'not able to answer now'),
        ('no number', errors.RemoteError, 'refused'),
        (None, errors.RemoteError, 'refused'),
    ],
)
def test_a_refusal_is_told_as_what_it_is(code, kind, words):
    ask, _ = answers(most=0, code=code, message=None if code is None else f'with {TOKEN}')
    refusal = transfers.refused(HUB, entries(7), ask)
    assert type(refusal) is kind and words in str(refusal) and TOKEN not in str(refusal)


def test_a_file_over_5_gb_without_the_program_says_which_to_install(elsewhere):
    ask, _ = answers(most=transfers.WHOLE_MAX, code=422, message='Enable large files first')
    refusal = transfers.refused(HUB, entries(6_000_000_000, 10), ask)
    assert "command 'hf'" in str(refusal) and 'pip install huggingface_hub' in str(refusal)
    assert '6000000000.bin (6.0 GB)' in str(refusal)


# -- who is registered


def offers(tmp_path, settings):
    """Return the transfers that git-lfs offers with these settings: for uploads, for downloads."""
    git('init', '-q', tmp_path / 'work')
    env = environment(auth.git_environment(None, 'https://hub.invalid', settings))
    shown = subprocess.run(
        ['git', 'lfs', 'env'], cwd=tmp_path / 'work', env=env, capture_output=True, text=True, check=True
    )
    found = dict(line.split('=', 1) for line in shown.stdout.splitlines() if '=' in line)
    return set(found['UploadTransfers'].split(',')), set(found['DownloadTransfers'].split(','))


def test_git_lfs_offers_what_is_registered_for_uploads_only(tmp_path, monkeypatch):
    program(tmp_path / 'bin' / 'git-xet', '')
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=os.pathsep)
    uploads, downloads = offers(tmp_path, transfers.settings())
    assert uploads >= set(transfers.offered()) == {'multipart', 'xet', 'basic'}
    assert not downloads & {'multipart', 'xet'}


def test_the_program_that_was_installed_with_us_is_taken(tmp_path, monkeypatch):
    program(tmp_path / 'bin' / 'hf', '')
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=os.pathsep)
    assert transfers.settings()['lfs.customtransfer.multipart.path'] == str(
        Path(sys.executable).with_name('hf')
    )


def test_one_on_path_is_taken_when_there_is_no_other(elsewhere):
    path = program(elsewhere / 'path' / 'hf', '')
    assert transfers.settings()['lfs.customtransfer.multipart.path'] == str(path)


def test_nothing_is_registered_that_is_not_there(elsewhere):
    assert transfers.settings() == {} and transfers.offered() == ['basic']


@pytest.mark.parametrize('value', ['1', 'TRUE', 'on', 'Yes'])
def test_git_xet_is_left_alone_where_a_person_turned_xet_off(elsewhere, monkeypatch, value):
    program(elsewhere / 'path' / 'git-xet', '')
    assert transfers.offered() == ['xet', 'basic']
    monkeypatch.setenv('HF_HUB_DISABLE_XET', value)
    assert transfers.offered() == ['basic']


@pytest.mark.heavy
def test_a_hub_that_does_not_want_xet_gets_the_file_all_the_same(
    served, mirror, large, tmp_path, monkeypatch
):
    program(tmp_path / 'bin' / 'git-xet', f'echo started >>{shlex.quote(str(tmp_path / "log"))}')
    monkeypatch.setenv('PATH', str(tmp_path / 'bin'), prepend=os.pathsep)
    push(mirror, large)
    assert parts(served) == [1, 2, 3, 4, 5] and not (tmp_path / 'log').exists()


# -- the clone of a person


@pytest.fixture
def clone(served):
    """A clone by Repository, in which ``*.bin`` goes to git-lfs."""
    created = call(served, 'POST', '/api/repos/create', {'name': NAME.partition('/')[2]})
    assert created.status == 200, created.body
    made = Repository('clone', clone_from=NAME, git_user='Ada', git_email='ada@example.org')
    made.lfs_track('*.bin')
    return made


def agent_of(clone):
    return git(
        'config', '--local', '--get-regexp', r'^lfs\.customtransfer\.', cwd=clone.local_dir
    ).splitlines()


@pytest.mark.heavy
def test_in_a_clone_by_repository_git_itself_sends_large_files_in_parts(served, clone):
    Path(clone.local_dir, 'weights.bin').write_bytes(LARGE)
    git('add', '-A', cwd=clone.local_dir)
    git('commit', '-q', '-m', 'weights', cwd=clone.local_dir)
    git('config', 'credential.helper', f'!printf "username=ada\npassword={TOKEN}\n";:', cwd=clone.local_dir)
    git('push', '-q', 'origin', 'main', cwd=clone.local_dir)
    assert parts(served) == [1, 2, 3, 4, 5] and objects(served)[sha256(LARGE)] == LARGE


@pytest.mark.heavy
def test_large_files_are_enabled_again_when_they_were_not(clone):
    before = agent_of(clone)
    git('config', '--local', '--remove-section', 'lfs.customtransfer.multipart', cwd=clone.local_dir)
    clone.lfs_enable_largefiles()
    assert agent_of(clone) == before and len(before) == 3


@pytest.mark.heavy
def test_an_agent_that_a_person_set_for_large_files_stays(clone):
    git('config', '--local', 'lfs.customtransfer.multipart.path', '/opt/my agent', cwd=clone.local_dir)
    clone.lfs_enable_largefiles()
    assert 'lfs.customtransfer.multipart.path /opt/my agent' in agent_of(clone)


# -- the token


def test_git_xet_gets_the_token_that_was_found_and_no_other(elsewhere, monkeypatch):
    program(elsewhere / 'path' / 'git-xet', '')
    monkeypatch.setenv('HF_TOKEN', 'hf_anotherTokenOfTheShell')
    hub = Hub('https://hub.invalid', Token(TOKEN, 'a test', 'https://hub.invalid'))
    assert environment(hub.git_environment())['HF_TOKEN'] == TOKEN
    assert environment(Hub('https://hub.invalid', None).git_environment())['HF_TOKEN'] == ''


def test_no_setting_and_no_argument_has_the_token(elsewhere):
    program(elsewhere / 'path' / 'git-xet', '')
    program(elsewhere / 'hf', '')
    hub = Hub('https://hub.invalid', Token(TOKEN, 'a test', 'https://hub.invalid'))
    given = hub.git_environment()
    assert sorted(name for name, value in given.items() if TOKEN in value) == ['HF_TOKEN']
    assert TOKEN not in json.dumps(transfers.settings())


def test_access_and_programs_are_given_together(tmp_path):
    hub = Hub('https://hub.invalid', Token(TOKEN, 'a test', 'https://hub.invalid'))
    env = environment(hub.git_environment())
    shown = subprocess.run(['git', 'config', '--list'], env=env, capture_output=True, text=True, check=True)
    names = [line.partition('=')[0] for line in shown.stdout.splitlines()]
    assert {'http.https://hub.invalid/.extraheader', 'lfs.customtransfer.multipart.args'} <= set(names)
