"""hfmirror watch: what a training writes is released while it goes on; nothing that is half written, and nothing is lost."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import string
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
import pytest
from safetensors.numpy import save_file

from hfmirror import finished
from hfmirror.commands.watch import _rows, command
from hfmirror.config.places import home
from hfmirror.spool import Part, Result, Save, Spool
from hfmirror.watching import ticks
from hfmirror.watching.releasing import Releasing
from hfmirror.watching.seen import Memory, Seen, held_before, lock_path, stamps_of
from hfmirror.watching.ticks import Stop
from hfmirror.watching.watching import Watched
from tests.support.guide import Guide
from tests.support.inprocess import run_here
from tests.support.mirror import git
from tests.support.serving import until

CONFIG = '{"model_type": "bert", "architectures": ["BertModel"]}'
IDLE = ('--settle', '0.2s', '--until-idle', '1.5s')

# Writes as trainers do: STYLE and the steps come as arguments; each checkpoint has its own weights.
WRITER = """
import json, os, shutil, sys, time
from pathlib import Path
import numpy as np
from safetensors.numpy import save

out, style, steps = Path(sys.argv[1]), sys.argv[2], [int(step) for step in sys.argv[3:]]

def content(step):
    return save({'weight': np.full(5000, step, dtype=np.float32)})

def fill(folder, step, slowly):
    (folder / 'config.json').write_text('{"model_type": "bert"}')
    data = content(step)
    with open(folder / 'model.safetensors', 'wb') as file:
        for at in range(0, len(data), 4000):
            file.write(data[at:at + 4000])
            file.flush()
            if slowly:
                time.sleep(0.1)
    (folder / 'trainer_state.json').write_text(json.dumps({'global_step': step, 'log_history': []}))

before = None
for step in steps:
    folder = out / f'checkpoint-{step}'
    if style == 'rename':
        new = out / f'tmp-checkpoint-{step}'
        new.mkdir(parents=True)
        fill(new, step, True)
        new.rename(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        if style == 'dies':
            (folder / 'config.json').write_text('{"model_type": "bert"}')
            (folder / 'model.safetensors').write_bytes(content(step)[:-100])
            os._exit(1)
        fill(folder, step, style == 'slow')
    if style == 'rotate' and before:
        shutil.rmtree(before)
    before = folder
    time.sleep({'rotate': 1}.get(style, 0))
"""


def write(out, style, *steps):
    """Start a training that writes these checkpoints."""
    return subprocess.Popen([sys.executable, '-c', WRITER, str(out), style, *map(str, steps)])


def checkpoint(out, step, *, fill=None):
    """Write a whole checkpoint; returns its folder."""
    folder = out / f'checkpoint-{step}'
    folder.mkdir(parents=True, exist_ok=True)
    model(folder, step if fill is None else fill)
    (folder / 'trainer_state.json').write_text(json.dumps({'global_step': step}))
    return folder


def model(folder, fill):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'config.json').write_text(CONFIG)
    save_file({'weight': np.full(50, fill, dtype=np.float32)}, folder / 'model.safetensors')


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'outputs'


def args(mirror, out, *more):
    return ['watch', str(out), '--remote', 'local', '--repo', mirror.repo, *more]


def watched(mirror, out, *more, code=0, **kwargs):
    """Watch until the folder is idle; returns {version: status} when it succeeds."""
    done = mirror.run(*args(mirror, out, *IDLE, *more, '--json'), code=code, **kwargs)
    return {row['version']: row['status'] for row in done.json} if code == 0 else done


@contextmanager
def running(mirror, out, *more):
    """A watch in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'hfmirror', *args(mirror, out, '--settle', '0.2s', *more)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=mirror.tmp_path,
        stdin=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(timeout=20)
        process.stdout.close()


def ended(process, number=signal.SIGTERM):
    """Ask a watch to end; returns its code and all that it said."""
    process.send_signal(number)
    said = process.communicate(timeout=60)[0]
    return process.returncode, said


def tags(mirror):
    return mirror.tags() if mirror.remote.exists() else []


def fill_of(mirror, tag):
    """Return the number that the weights of a version are filled with, as another machine gets them."""
    to = mirror.tmp_path / f'pulled-{tag}'
    elsewhere = {'HFMIRROR_HOME': str(mirror.tmp_path / 'elsewhere')}
    mirror.run(
        'pull', tag, '--to', to, '--remote', mirror.remote, '--repo', mirror.repo, code=0, env=elsewhere
    )
    assert finished.look(to).is_finished
    return int(np.frombuffer((to / 'model.safetensors').read_bytes()[-4:], dtype=np.float32)[0])


# -- one look


def test_dry_run_shows_what_would_be_released_and_what_is_half_written(mirror, out):
    checkpoint(out, 10)
    half = checkpoint(out, 20)
    (half / 'model.safetensors').write_bytes(b'x')
    rows = run_here(*args(mirror, out, '--dry-run', '--json'), code=0).json
    assert [(row['version'], row['status']) for row in rows] == [
        ('step-10', 'dry-run'),
        ('step-20', 'unfinished'),
    ]
    shown = run_here(*args(mirror, out, '--dry-run'), code=0).out
    assert 'checkpoint-10: would be released as step-10' in shown
    assert 'checkpoint-20: half written: model.safetensors is cut short.' in shown
    assert not mirror.remote.exists()
    assert not (out / '.hfmirror').exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('given', 'expected'),
    [
        (['--tag', 'same'], 'needs {step}'),
        (['--tag', '{step}-{loss}'], 'needs {step}'),
        (['--tag', '{step}}'], 'needs {step}'),
        (['--tag', 'a b {step}'], 'has a blank'),
        (['--final-tag', 'v 1'], 'has a blank'),
        (['--until-idle', 'soon'], 'is no duration'),
        (['--keep', '0'], 'not in the range'),
        (['--repo', 'a/b/c'], 'a/b/c'),
    ],
)
def test_wrong_option_is_refused_before_anything_is_watched(mirror, out, given, expected):
    done = run_here(*args(mirror, out, *given), code=2)
    assert expected in done.err


# -- what a training writes


@pytest.mark.heavy
def test_checkpoints_are_released_in_their_order_and_the_final_model_as_the_next_version(mirror, out):
    for step in (20, 3, 100):
        checkpoint(out, step)
    model(out, 7)
    (out / 'runs').mkdir()
    assert list(watched(mirror, out).items()) == [
        ('step-3', 'pushed'),
        ('step-20', 'pushed'),
        ('step-100', 'pushed'),
        ('v0.1.0', 'pushed'),
    ]
    assert [fill_of(mirror, tag) for tag in ('step-3', 'step-20', 'step-100', 'v0.1.0')] == [3, 20, 100, 7]
    assert 'checkpoint' not in ' '.join(mirror.files('v0.1.0'))
    mirror.assert_whole()
    assert not (out / '.hfmirror').exists()


@pytest.mark.heavy
def test_watching_again_releases_nothing_again(mirror, out):
    checkpoint(out, 1)
    model(out, 7)
    watched(mirror, out, '--final-tag', 'v1.0.0')
    head = mirror.git('rev-parse', 'main')
    assert watched(mirror, out, '--final-tag', 'v1.0.0') == {}
    assert mirror.git('rev-parse', 'main') == head
    rows = mirror.run(*args(mirror, out, '--dry-run', '--final-tag', 'v1.0.0', '--json'), code=0).json
    assert {row['status'] for row in rows} == {'taken'}


@pytest.mark.heavy
def test_what_is_on_the_remote_already_is_not_released_again_when_the_memory_is_gone(mirror, out):
    checkpoint(out, 1)
    watched(mirror, out)
    shutil.rmtree(home().cache)
    head = mirror.git('rev-parse', 'main')
    assert watched(mirror, out) == {'step-1': 'up-to-date'}
    assert mirror.git('rev-parse', 'main') == head


@pytest.mark.heavy
def test_checkpoint_that_is_written_slowly_is_released_whole(mirror, out):
    training = write(out, 'slow', 1, 2)
    assert watched(mirror, out) == {'step-1': 'pushed', 'step-2': 'pushed'}
    assert training.wait() == 0
    assert [fill_of(mirror, tag) for tag in ('step-1', 'step-2')] == [1, 2]


@pytest.mark.heavy
def test_checkpoint_that_is_renamed_into_place_is_released(mirror, out):
    training = write(out, 'rename', 1, 2)
    assert watched(mirror, out) == {'step-1': 'pushed', 'step-2': 'pushed'}
    assert training.wait() == 0
    assert [fill_of(mirror, tag) for tag in ('step-1', 'step-2')] == [1, 2]


@pytest.mark.heavy
def test_checkpoints_that_the_training_removes_are_released_all_the_same(mirror, out):
    with running(mirror, out, '--settle', '5s', '--until-idle', '2s') as watch:
        until(lambda: (home().cache / 'watches').exists())
        training = write(out, 'rotate', 1, 2, 3, 4)
        said = watch.communicate(timeout=100)[0]
    assert training.wait() == 0
    assert [path.name for path in out.iterdir()] == ['checkpoint-4']
    assert watch.returncode == 0, said
    assert tags(mirror) == ['step-1', 'step-2', 'step-3', 'step-4']
    assert [fill_of(mirror, f'step-{step}') for step in (1, 2, 3, 4)] == [1, 2, 3, 4]


@pytest.mark.heavy
def test_half_written_checkpoint_of_a_training_that_died_is_named_once_and_never_released(mirror, out):
    checkpoint(out, 1)
    assert write(out, 'dies', 2).wait() == 1
    done = mirror.run(*args(mirror, out, *IDLE), code=0)
    assert tags(mirror) == ['step-1']
    assert done.err.count('It is released when it is whole') == 1
    assert 'checkpoint-2: half written: model.safetensors is cut short. It was not released.' in done.err


@pytest.mark.heavy
def test_checkpoint_that_is_written_anew_is_released_under_a_name_of_its_own(mirror, out):
    checkpoint(out, 5)
    watched(mirror, out)
    checkpoint(out, 5, fill=6)
    assert watched(mirror, out) == {'step-5.2': 'pushed'}
    assert [fill_of(mirror, tag) for tag in ('step-5', 'step-5.2')] == [5, 6]


@pytest.mark.heavy
def test_checkpoint_that_goes_on_being_written_in_place_is_released_as_it_is_at_the_end(mirror, out):
    folder = checkpoint(out, 5)
    with running(mirror, out, '--settle', '1s', '--until-idle', '2s') as watch:
        for fill in range(6, 12):
            time.sleep(0.4)  # a training that writes every now and then
            checkpoint(out, 5, fill=fill)
        said = watch.communicate(timeout=60)[0]
    assert watch.returncode == 0, said
    assert tags(mirror) == ['step-5']
    assert fill_of(mirror, 'step-5') == 11
    assert folder.exists()


@pytest.mark.heavy
def test_folder_without_checkpoints_is_released_itself_whenever_its_model_has_changed(mirror, out):
    model(out, 1)
    (out / 'train.log').write_text('epoch 1\n')
    with running(mirror, out) as watch:
        until(lambda: tags(mirror) == ['v0.1.0'], 30)
        with (out / 'train.log').open('a') as log:
            log.write('epoch 2\n')
        model(out, 2)
        until(lambda: tags(mirror) == ['v0.1.0', 'v0.2.0'], 30)
        code, said = ended(watch)
    assert code == 0, said
    assert [fill_of(mirror, tag) for tag in ('v0.1.0', 'v0.2.0')] == [1, 2]


@pytest.mark.heavy
def test_model_of_a_training_before_is_not_released_as_the_final_one(mirror, out):
    model(out, 1)
    for path in out.iterdir():
        os.utime(path, (1000, 1000))
    checkpoint(out, 5)
    assert watched(mirror, out) == {'step-5': 'pushed'}


@pytest.mark.heavy
def test_older_tags_go_when_only_some_are_to_be_kept(mirror, out):
    for step in (1, 2, 3, 4):
        checkpoint(out, step)
    model(out, 9)
    watched(mirror, out, '--keep', '2', '--final-tag', 'v1.0.0')
    assert tags(mirror) == ['step-3', 'step-4', 'v1.0.0']
    assert mirror.git('rev-list', '--count', 'main') == '5'


@pytest.mark.heavy
def test_repository_has_the_name_of_the_watched_folder_where_none_is_given(mirror, out):
    checkpoint(out, 1)
    mirror.run('watch', out, '--remote', 'local', *IDLE, code=0)
    assert git('tag', cwd=mirror.home / 'hub' / 'models' / 'local' / 'outputs.git') == 'step-1'


@pytest.mark.heavy
def test_commit_of_the_training_code_is_told(mirror, tmp_path):
    git('init', '-q', tmp_path / 'code')
    (tmp_path / 'code' / '.gitignore').write_text('outputs\n')
    git('-C', tmp_path / 'code', 'add', '.')
    git('-C', tmp_path / 'code', 'commit', '-q', '-m', 'code')
    checkpoint(tmp_path / 'code' / 'outputs', 1)
    watched(mirror, tmp_path / 'code' / 'outputs')
    commit = git('-C', tmp_path / 'code', 'rev-parse', 'HEAD')
    assert f'Source-Commit: {commit}' in mirror.git('log', '-1', '--format=%B', 'step-1')


# -- when it begins and ends


@pytest.mark.heavy
def test_folder_that_does_not_exist_yet_is_waited_for(mirror, out):
    with running(mirror, out, '--until-idle', '3s') as watch:
        assert 'not there yet; waiting for it' in watch.stdout.readline()
        checkpoint(out, 1)
        said = watch.communicate(timeout=60)[0]
    assert watch.returncode == 0, said
    assert tags(mirror) == ['step-1']


def test_file_in_place_of_the_folder_is_refused(mirror, out):
    out.write_text('x')
    assert 'not a folder' in run_here(*args(mirror, out), code=2).err


@pytest.mark.heavy
def test_folder_that_never_appears_is_an_error(mirror, out):
    done = mirror.run(*args(mirror, out, '--until-idle', '0.3s'), code=5)
    assert 'did not appear' in done.err


@pytest.mark.heavy
def test_log_that_grows_keeps_a_folder_from_being_idle(mirror, out):
    checkpoint(out, 1)
    started = time.monotonic()
    with running(mirror, out, '--until-idle', '1s') as watch:
        for _ in range(8):
            time.sleep(0.4)  # a training that writes every now and then
            with (out / 'train.log').open('a') as log:
                log.write('a line\n')
        assert watch.poll() is None
        watch.communicate(timeout=60)
    assert time.monotonic() - started > 4


@pytest.mark.heavy
def test_end_that_the_system_asks_for_is_orderly(mirror, out):
    checkpoint(out, 1)
    with running(mirror, out) as watch:
        until(lambda: tags(mirror) == ['step-1'], 30)
        model(out, 2)
        code, said = ended(watch)
    assert code in (0, 7), said
    mirror.run('resume', code=0)
    assert tags(mirror) == ['step-1', 'v0.1.0']


@pytest.mark.heavy
def test_interrupt_ends_with_130(mirror, out):
    checkpoint(out, 1)
    with running(mirror, out) as watch:
        until(lambda: tags(mirror) == ['step-1'], 30)
        code, said = ended(watch, signal.SIGINT)
    assert code == 130, said
    assert 'Traceback' not in said


@pytest.mark.heavy
def test_terminal_that_is_closed_ends_it_in_order_but_not_under_nohup(mirror, out):
    checkpoint(out, 1)
    with running(mirror, out) as watch:
        until(lambda: tags(mirror) == ['step-1'], 30)
        code, said = ended(watch, signal.SIGHUP)
    assert code == 0, said
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with running(mirror, out) as watch:
            watch.send_signal(signal.SIGHUP)
            checkpoint(out, 2)
            until(lambda: 'step-2' in tags(mirror), 30)
            watch.send_signal(signal.SIGHUP)
            assert ended(watch)[0] == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.heavy
def test_a_second_watch_of_the_same_folder_is_refused(mirror, out):
    with running(mirror, out) as watch:
        assert 'not there yet' in watch.stdout.readline()  # and it has the lock
        done = mirror.run(*args(mirror, out, '--until-idle', '0.1s'), code=6)
        assert 'another hfmirror watches it already' in done.err


@pytest.mark.heavy
def test_two_folders_are_watched_at_the_same_time(mirror, tmp_path):
    for name in ('a', 'b'):
        checkpoint(tmp_path / name, 1)
    with running(mirror, tmp_path / 'a', '--tag', 'a-step-{step}', '--until-idle', '3s') as first:
        watched(mirror, tmp_path / 'b', '--tag', 'b-step-{step}')
        said = first.communicate(timeout=60)[0]
    assert first.returncode == 0, said
    assert tags(mirror) == ['a-step-1', 'b-step-1']


@pytest.mark.heavy
@pytest.mark.parametrize('after_s', [0.5, 0.9, 1.3, 1.8])
def test_kill_loses_nothing(mirror, out, after_s):
    for step in (1, 2, 3):
        checkpoint(out, step)
    with running(mirror, out) as watch:
        time.sleep(after_s)
        watch.kill()
        watch.wait()
    watched(mirror, out)
    assert tags(mirror) == ['step-1', 'step-2', 'step-3']
    assert [fill_of(mirror, f'step-{step}') for step in (1, 2, 3)] == [1, 2, 3]
    mirror.assert_whole()
    assert Spool(home()).saves() == []


@pytest.mark.heavy
def test_what_was_taken_before_a_kill_is_released_although_the_training_has_removed_it(mirror, out):
    folder = checkpoint(out, 1)
    put = Save(str(folder), repo=mirror.repo, remotes=('local',), tag='step-1', series='step-{step}')
    Spool(home()).put(put, [Part(folder)])
    shutil.rmtree(folder)
    assert watched(mirror, out) == {'step-1': 'pushed'}
    assert fill_of(mirror, 'step-1') == 1


def test_what_a_killed_watch_had_held_is_released_although_the_training_has_removed_it(mirror, out):
    folder = checkpoint(out, 1)
    Seen(folder, out / '.hfmirror' / 'watch' / 'checkpoint-1').see(stamps_of(folder), 1.0)
    shutil.rmtree(folder)
    assert (
        mirror.run(*args(mirror, out, '--until-idle', '0s', '--settle', '0s', '--json'), code=0).json[0][
            'version'
        ]
        == 'step-1'
    )
    assert mirror.files('step-1')['trainer_state.json'] == b'{"global_step": 1}'
    assert not (out / '.hfmirror').exists()


# -- when it cannot be released


def test_finished_checkpoint_that_cannot_be_taken_is_told_and_ends_with_1(mirror, out):
    folder = checkpoint(out, 1)
    (folder / 'extra.txt').symlink_to('/etc/hostname')
    done = mirror.run(*args(mirror, out, '--settle', '0s', '--until-idle', '0.3s', '--json'), code=1)
    ((row,),) = (done.json,)
    assert (row['version'], row['status']) == ('step-1', 'failed')
    assert 'points outside the folder' in row['error']
    assert 'half written' not in done.err
    assert not (out / '.hfmirror').exists()


def test_releasing_goes_on_when_the_disk_takes_writes_again(out, capsys):
    folder = checkpoint(out, 1)
    Spool(home()).put(Save(str(folder), repo='me/x', remotes=('local',), tag='step-1'), [Part(folder)])
    refused = home().outbox / 'saves' / 'sender.lock'
    refused.mkdir()  # as a disk that refuses, also for root
    releasing = Releasing(home(), lambda: True)
    for _ in range(2):
        releasing.wake()
        until(lambda: not releasing.is_busy)
    refused.rmdir()
    releasing.end(at_once=False)
    assert releasing.failure is None
    assert releasing.results.get_nowait().status == 'pushed'
    assert capsys.readouterr().err.count('It is tried again.') == 1


def test_release_of_another_repository_that_waits_under_the_same_name_is_none_of_these(
    mirror, folder, host, remote
):
    no_retries(mirror)
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'step-1', code=7)

    def told(repo):
        (row,) = _rows(Watched([Result(Save('x', repo=repo), 'queued', 'step-1')], [], []))
        return row['status']

    assert told(mirror.repo) == 'queued'
    assert told('me/other') == 'pushed'


@pytest.mark.heavy
def test_dead_network_queues_and_ends_with_7(mirror, out, host, remote):
    no_retries(mirror)
    host.stop()
    for step in (1, 2):
        checkpoint(out, step)
    done = mirror.run('watch', out, '--remote', remote, '--repo', mirror.repo, *IDLE, '--json', code=7)
    assert [(row['version'], row['status']) for row in done.json] == [
        ('step-1', 'queued'),
        ('step-2', 'queued'),
    ]
    assert 'hfmirror resume' in done.err
    shutil.rmtree(out)
    host.start()
    mirror.run('resume', code=0)
    assert tags(mirror) == ['step-1', 'step-2']


@pytest.mark.heavy
def test_what_waited_is_sent_when_the_network_is_back(mirror, out, host, remote):
    no_retries(mirror)
    host.stop()
    checkpoint(out, 1)
    with running(mirror, out, '--remote', remote) as watch:
        until(lambda: '"version": "v' in mirror.run('status', '--json').out or _queued(mirror), 30)
        host.start()
        until(lambda: tags(mirror) == ['step-1'], 60)
        code, said = ended(watch)
    assert code == 0, said


def _queued(mirror):
    return bool(mirror.run('status', '--json').json)


def no_retries(mirror):
    (mirror.tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    git('config', '--global', 'lfs.transfer.maxretries', '1')


@pytest.mark.heavy
def test_failure_is_told_once_and_ends_with_1_and_the_files_are_kept(mirror, out):
    folder = checkpoint(out, 1)
    letters = string.ascii_letters + string.digits
    secret = 'hf_' + ''.join(secrets.choice(letters) for _ in range(34))
    (folder / 'notes.txt').write_text(f'token = "{secret}"\n')
    checkpoint(out, 2)
    done = mirror.run(*args(mirror, out, *IDLE), code=1)
    assert tags(mirror) == ['step-2']
    assert done.err.count('checkpoint-1: step-1 is not released') == 1
    (save,) = Spool(home()).saves()
    assert save.tag == 'step-1'


@pytest.mark.heavy
def test_hub_gets_the_checkpoints(hub, api, out, tmp_path, mirror, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', hub.token)
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    checkpoint(out, 1)
    model(out, 2)
    mirror.run('watch', out, '--repo', 'local/x', '--remote', 'hub', *IDLE, code=0)
    assert {one.name for one in api.list_repo_refs('local/x').tags} == {'step-1', 'v0.1.0'}


# -- how changes are noticed


@pytest.mark.heavy
def test_polling_finds_what_the_system_does_not_tell(mirror, out):
    checkpoint(out, 1)
    assert watched(mirror, out, '--poll') == {'step-1': 'pushed'}


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [('nfs4', True), ('cifs', True), ('fuse.sshfs', True), ('9p', True), ('ext4', False)],
)
def test_network_file_system_is_recognised(tmp_path, monkeypatch, kind, expected):
    (tmp_path / 'a b').mkdir()
    mounts = tmp_path / 'mounts'
    mounts.write_text(f'/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path}/a\\040b {kind} rw 0 0\n')
    monkeypatch.setattr(ticks, '_MOUNTS', mounts)
    assert ticks.is_on_network(tmp_path / 'a b') is expected
    assert ticks.is_on_network(tmp_path) is False


def test_folder_on_the_network_is_polled(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ticks, 'is_on_network', lambda folder: True)
    ticking = ticks.ticks(tmp_path, Stop(), interval_s=0.01)
    for _ in range(3):
        next(ticking)
    assert capsys.readouterr().err.count('on a network file system') == 1


@pytest.mark.heavy
def test_change_is_noticed_before_the_next_look_is_due(tmp_path):
    stop, started = Stop(), time.monotonic()
    ticking = ticks.ticks(tmp_path, stop, interval_s=30)
    code = f'import time; time.sleep(0.5); open({str(tmp_path / "x")!r}, "w")'
    with subprocess.Popen([sys.executable, '-c', code]):
        next(ticking)
        assert time.monotonic() - started < 10
    ticking.close()


@pytest.mark.heavy
def test_folder_that_is_made_anew_goes_on_being_watched(mirror, out):
    checkpoint(out, 1)
    with running(mirror, out, '--until-idle', '3s') as watch:
        until(lambda: tags(mirror) == ['step-1'], 30)
        shutil.rmtree(out)
        checkpoint(out, 2)
        said = watch.communicate(timeout=60)[0]
    assert watch.returncode == 0, said
    assert tags(mirror) == ['step-1', 'step-2']


# -- what is remembered


def test_result_that_is_being_removed_stands_for_what_it_was(out):
    folder = checkpoint(out, 1)
    seen = Seen(folder, out / '.hfmirror' / 'watch' / 'checkpoint-1')
    assert seen.see(stamps_of(folder), 1.0)
    assert sorted(path.name for path in seen.held.iterdir()) == sorted(stamps_of(folder))
    (folder / 'model.safetensors').unlink()
    assert not seen.see(stamps_of(folder), 2.0)
    assert seen.is_whole
    assert (seen.held / 'model.safetensors').exists()
    seen.let_go()
    assert not (out / '.hfmirror').exists()


def test_memory_keeps_only_what_is_there(tmp_path, out):
    for step in range(5):
        folder = checkpoint(out, step)
        Memory(home(), out, 'x').keep(folder.name, stamps_of(folder))
        if step < 4:
            shutil.rmtree(folder)
    (path,) = (home().cache / 'watches').glob('*.json')
    assert list(json.loads(path.read_text())['taken']) == ['checkpoint-4']


def test_memory_of_another_place_counts_not(out):
    folder = checkpoint(out, 1)
    Memory(home(), out, 'here').keep('checkpoint-1', stamps_of(folder))
    assert Memory(home(), out, 'here').knows('checkpoint-1', stamps_of(folder))
    assert not Memory(home(), out, 'there').knows('checkpoint-1', stamps_of(folder))


@pytest.mark.parametrize('content', ['', '[]', '{"taken": 5}', '{"taken": [1]}', '\xff'])
def test_memory_that_is_broken_is_no_memory(out, content):
    folder = checkpoint(out, 1)
    Memory(home(), out, 'x').keep('checkpoint-1', stamps_of(folder))
    (path,) = (home().cache / 'watches').glob('*.json')
    path.write_text(content, 'latin-1')
    assert not Memory(home(), out, 'x').has('checkpoint-1')


def test_links_that_nobody_needs_any_more_go(out):
    there, half = checkpoint(out, 1), out / '.hfmirror' / 'watch' / '.checkpoint-2'
    Seen(there, out / '.hfmirror' / 'watch' / 'checkpoint-1').see(stamps_of(there), 1.0)
    shutil.copytree(there, half)  # a kill came before all of it was linked
    assert held_before(out / '.hfmirror' / 'watch') == []
    assert not (out / '.hfmirror').exists()


def test_folder_is_one_whatever_it_is_called(tmp_path, out):
    out.mkdir()
    (tmp_path / 'link').symlink_to(out)
    assert lock_path(home(), tmp_path / 'link') == lock_path(home(), tmp_path / 'x' / '..' / 'outputs')


# -- the guide

GUIDE = (Path(__file__).parents[1] / 'docs' / 'watch.md').read_text('utf-8')
BLOCKS = re.findall(r'^```sh\n(.*?)^```$', GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.heavy
@pytest.mark.parametrize('number', range(len(BLOCKS)))
def test_block_of_the_guide_runs(hub, tmp_path, number):
    guide = Guide(hub, tmp_path / 'project', 'me')
    guide.instead = {'10m': '3s --settle 0.2s'}
    out = guide.path / 'outputs'
    code = (
        WRITER.replace('sys.argv[1]', "'outputs'")
        .replace('sys.argv[2]', "'slow'")
        .replace('sys.argv[3:]', '(1, 2, 3, 4)')
    )
    (guide.path / 'train.py').write_text(code)
    if 'train.py' not in BLOCKS[number]:
        for step in (1, 2, 3, 4):
            checkpoint(out, step)
        model(out, 9)
    guide.shell(BLOCKS[number], HF_TOKEN=guide.token)
    expected = {
        'train.py': ['step-1', 'step-2', 'step-3', 'step-4'],
        '--keep 3': ['step-2', 'step-3', 'step-4', 'v1.0.0'],
    }
    tags = next((found for word, found in expected.items() if word in BLOCKS[number]), None)
    if tags is None:
        assert not guide.api.repo_exists('me/my-model')
    else:
        assert sorted(one.name for one in guide.api.list_repo_refs('me/my-model').tags) == tags


def test_guide_names_only_options_that_there_are():
    help_ = command.get_help(click.Context(command))
    assert [option for option in set(re.findall(r'`(--[a-z-]+)', GUIDE)) if option not in help_] == []
