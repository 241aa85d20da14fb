"""A loop of one's own: what it logs survives, what it saves is released, and how it ends is its own business."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

import hfmirror
from hfmirror import errors
from hfmirror.config.places import home
from hfmirror.integrations.run import LOG
from hfmirror.spool import Spool
from tests.support.folder import checksums
from tests.support.mirror import git


@pytest.fixture
def out(tmp_path):
    """A folder with a whole model."""
    path = tmp_path / 'out'
    path.mkdir()
    (path / 'config.json').write_text('{"model_type": "bert"}\n')
    (path / 'model.bin').write_bytes(b'0' * 3000)
    return path


def run(**terms):
    return hfmirror.training_run('me/tiny-model', **{'remotes': 'local', **terms})


def told(training):
    return [(result.status, result.version) for result in training.results]


def logged(out):
    return [json.loads(line) for line in (out / LOG).read_text().splitlines()]


# -- logging


@pytest.mark.heavy
def test_what_is_logged_is_a_line_each_and_of_numbers_alone(out):
    import numpy as np

    with run() as training:
        training.log({'loss': 0.5, 'text': 'x', 'bad': float('nan'), 'none': None, 'flag': True, 'many': [1]})
        training.log({'loss': np.float32(0.25), 'step': 99, 'count': np.int64(3)}, step=7, epoch=0.5)
        training.log({'loss': 0.125})
    assert logged(out) == [
        {'step': 1, 'loss': 0.5},
        {'step': 7, 'epoch': 0.5, 'loss': 0.25, 'count': 3.0},
        {'step': 8, 'epoch': 0.5, 'loss': 0.125},
    ]


def test_logging_is_cheap(out):
    with run() as training:
        started = time.perf_counter()
        for step in range(5000):
            training.log({'loss': 1.0, 'accuracy': 0.5}, step)
        assert (time.perf_counter() - started) / 5000 < 0.0005


def test_a_run_goes_on_with_the_log_of_its_folder(out):
    (out / LOG).write_text('{"step": 40, "loss": 1.0}\nnot JSON\n{"step": 41, "lo')
    with run() as training:
        assert training.step == 40
        training.log({'loss': 0.5})
    assert [line['step'] for line in map(json.loads, (out / LOG).read_text().splitlines()[3:])] == [41]


@pytest.mark.heavy
def test_a_log_that_a_kill_has_cut_is_written_on(out):
    code = (
        'import hfmirror\n'
        "run = hfmirror.training_run('me/tiny-model', remotes='local').__enter__()\n"
        'while True:\n    run.log({"loss": 1.0})\n'
    )
    with subprocess.Popen([sys.executable, '-c', code]) as process:
        while not (out / LOG).exists() or (out / LOG).stat().st_size < 50_000:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    with run() as training:
        assert training.step > 500
        training.log({'loss': 0.5})
    assert json.loads((out / LOG).read_text().splitlines()[-1])['loss'] == 0.5


@pytest.mark.heavy
def test_a_run_that_is_over_takes_no_log(out):
    with run() as training:
        training.log({'loss': 1.0})
    with pytest.raises(errors.UsageError, match='is over'):
        training.log({'loss': 1.0})


# -- releasing


def test_each_checkpoint_has_the_weights_of_its_step_and_the_end_is_a_version(out, mirror, tmp_path):
    with run() as training:
        for step in (1, 2, 3):
            (out / 'model.bin').write_bytes(str(step).encode() * 3000)
            training.log({'loss': 1 / step, 'accuracy': step / 4})
            training.checkpoint(step)
    assert told(training) == [('pushed', name) for name in ('step-1', 'step-2', 'step-3', 'v0.1.0')]
    mirror.run('pull', 'step-2', '--to', tmp_path / 'got', '--repo', mirror.repo, '--remote', 'local', code=0)
    assert (tmp_path / 'got' / 'model.bin').read_bytes() == b'2' * 3000
    assert len(logged(tmp_path / 'got')) == 2
    assert 'training_curve.png' not in checksums(tmp_path / 'got')


def test_the_card_of_the_version_has_the_curve_and_the_metrics(out, mirror):
    with run(final_tag='v2.0.0') as training:
        for step in (1, 2, 3):
            training.log({'loss': 1 / step, 'val_accuracy': step / 4})
    card = mirror.files('v2.0.0')['README.md'].decode()
    assert '![Losses and metrics over the steps of the training](training_curve.png)' in card
    assert '| 3 | 0.3333 | 0.75 |' in card and '| `val_accuracy` | 0.75 |' in card
    assert json.loads(mirror.files('v2.0.0')['eval_results.json'])['val_accuracy'] == 0.75
    assert not (out / 'eval_results.json').exists() and not (out / 'training_curve.png').exists()


def test_results_of_ones_own_are_left_as_they_are(out, mirror):
    (out / 'eval_results.json').write_text('{"f1": 0.5}\n')
    with run() as training:
        training.log({'accuracy': 0.75})
    assert mirror.files('v0.1.0')['eval_results.json'] == b'{"f1": 0.5}\n'


@pytest.mark.heavy
def test_only_the_last_tags_stay(out, mirror):
    with run(keep=1, tag='mine-step-{step}') as training:
        for step in (9, 10):
            training.log({'loss': 1.0}, step=step)
            (out / 'model.bin').write_bytes(str(step).encode())
            training.checkpoint()
    assert mirror.tags() == ['mine-step-10', 'v0.1.0']


def test_the_folder_is_made_and_may_be_empty_until_something_is_saved(tmp_path):
    with run(folder='new/folder') as training:
        training.log({'loss': 1.0})
    assert told(training) == [('pushed', 'v0.1.0')]


def test_wrong_values_are_told_before_anything_is_trained():
    with pytest.raises(errors.UsageError, match='every save would have the same name'):
        run(tag='checkpoint')


def test_the_commit_of_the_code_is_the_one_that_was_checked_out_when_the_training_began(
    out, mirror, tmp_path
):
    git('init', '-q', '-b', 'main', tmp_path)
    git('commit', '-q', '--allow-empty', '-m', 'first', cwd=tmp_path)
    began = git('rev-parse', 'HEAD', cwd=tmp_path)
    with run(folder='out') as training:
        training.log({'loss': 1.0})
        git('commit', '-q', '--allow-empty', '-m', 'second', cwd=tmp_path)
        training.checkpoint()
    assert f'Source-Commit: {began}' in mirror.git('log', '-1', '--format=%B', 'step-1')


# -- when it ends badly


@pytest.mark.parametrize('what', ['plot', 'section', 'trajectory'])
def test_what_is_wrong_with_the_curve_does_not_cost_the_model(out, monkeypatch, capsys, what):
    from hfmirror.integrations import curve

    def broken(*given, **named):
        raise RuntimeError('a font is broken')

    monkeypatch.setattr(curve, what, broken)
    with run() as training:
        training.log({'loss': 1.0})
    assert told(training) == [('pushed', 'v0.1.0')]
    assert 'RuntimeError: a font is broken' in capsys.readouterr().err


def test_a_disk_that_is_full_when_something_is_logged_does_not_stop_a_training(out, capsys):
    with run() as training:
        training._log.close()
        training._log = open('/dev/full', 'a', encoding='utf-8')  # noqa: SIM115
        for _ in range(3):
            training.log({'loss': 1.0})
        training.checkpoint()
    assert capsys.readouterr().err.count('No space left on device') == 1
    assert [version for _, version in told(training)] == ['step-3', 'v0.1.0']


@pytest.mark.heavy
@pytest.mark.parametrize(
    'line',
    [
        '{"step": 1, "loss": 1' + '0' * 400 + '}',
        '{"step": 1, "epoch": "x", "loss": 1.0}',
        '{"step": 1, "epoch": NaN}',
        '{"step": 9' + '0' * 400 + '}',
        '{"step": true}',
    ],
)
def test_a_log_of_strangers_does_no_harm(out, line):
    (out / LOG).write_text(f'{line}\n')
    with run(tag='step-{step}-{epoch}') as training:
        training.log({'count': 10**400, 'loss': 0.5})
        training.checkpoint()
    assert {status for status, _ in told(training)} == {'pushed'} and len(told(training)) == 2


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_trained(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.HfmirrorError, match='cannot be written'), run(folder='file/out'):
        pass


def test_a_training_may_change_its_directory(out, tmp_path, monkeypatch, mirror):
    (tmp_path / 'config.yaml').write_text('huggingface: {repository: {model_name: mine}}\n')
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'config.yaml').write_text('huggingface: {repository: {model_name: others}}\n')
    with hfmirror.training_run(folder='out', remotes='local') as training:
        monkeypatch.chdir(tmp_path / 'elsewhere')
        training.log({'loss': 1.0})
        training.checkpoint()
    assert [result.url.rpartition('/')[2] for result in training.results] == ['mine.git'] * 2


@pytest.mark.heavy
def test_much_that_waits_on_a_slow_disk_is_looked_at_seldom(out, monkeypatch):
    from hfmirror.integrations import releases

    looks = []

    def slow():
        looks.append(time.sleep(0.02))

    with run() as training, monkeypatch.context() as patch:
        patch.setattr(releases, '_LOOK_EVERY_S', 0.0)
        patch.setattr(training._releases, '_collect', slow)
        training._releases._waiting['some'] = None
        started = time.perf_counter()
        while time.perf_counter() - started < 0.5:
            training.log({'loss': 1.0})
        training._releases._waiting.clear()
    assert len(looks) == 1


def test_an_exception_is_passed_on_and_what_is_whole_is_released(out, mirror):
    with pytest.raises(ValueError, match='diverged'), run() as training:
        training.log({'loss': 1.0}, step=1)
        training.checkpoint()
        training.log({'loss': 9.0}, step=2)
        (out / 'model.bin').write_bytes(b'2' * 3000)
        raise ValueError('diverged at <b>|2')
    assert told(training) == [('pushed', 'step-1'), ('pushed', 'step-2')]
    card = mirror.files('step-2')['README.md'].decode()
    assert 'The training ended at step 2, before its end: ValueError&#58; diverged at' in card
    assert '<b>' not in card


def test_after_an_exception_a_half_written_model_is_not_released(out, mirror):
    with pytest.raises(ValueError), run() as training:
        training.log({'loss': 1.0}, step=1)
        training.checkpoint()
        training.log({'loss': 1.0}, step=2)
        (out / 'model.safetensors').write_bytes(b'\x10\0\0')
        raise ValueError
    assert told(training) == [('pushed', 'step-1')]


def test_an_exception_without_a_network_is_still_the_one_of_the_training(out, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    with pytest.raises(ValueError), run(remotes='http://127.0.0.1:9/me/x.git', strict=True) as training:
        training.log({'loss': 1.0}, step=1)
        raise ValueError


def test_a_token_in_an_exception_is_not_told(out, mirror):
    secret = 'hf_' + 'aBcDeFgHiJ' * 3 + 'kLmN'
    with pytest.raises(ValueError), run() as training:
        training.log({'loss': 1.0}, step=1)
        raise ValueError(f'{secret} was refused')
    assert secret not in mirror.files('step-1')['README.md'].decode()


def test_who_interrupts_is_not_made_to_wait(out):
    with pytest.raises(KeyboardInterrupt), run() as training:
        training.log({'loss': 1.0}, step=1)
        (out / 'model.bin').write_bytes(b'1' * 3000)
        started = time.perf_counter()
        raise KeyboardInterrupt
    assert time.perf_counter() - started < 1.5
    training._releases._sender.wait(60)
    assert Spool(home()).saves() == []


def test_what_a_killed_loop_has_checkpointed_is_released(out, mirror):
    code = (
        'import os, hfmirror\n'
        "with hfmirror.training_run('me/tiny-model', remotes='local') as run:\n"
        '    run.log({"loss": 1.0}, step=1)\n'
        '    run.checkpoint()\n'
        f'    os.kill(os.getpid(), {int(signal.SIGKILL)})\n'
    )
    subprocess.run([sys.executable, '-c', code], check=False)
    mirror.run('resume', code=0)
    assert mirror.tags() == ['step-1']


@pytest.mark.heavy
def test_a_loop_goes_on_in_an_empty_folder_from_its_newest_checkpoint(out, mirror, tmp_path):
    with run() as training:
        for step in (1, 2):
            (out / 'model.bin').write_bytes(str(step).encode() * 3000)
            training.log({'loss': 1 / step})
            training.checkpoint()
    where = ('--repo', mirror.repo, '--remote', 'local')
    done = mirror.run('pull', 'latest-checkpoint', *where, '--to', tmp_path / 'fresh', '--json', code=0).json
    assert done['version'] == 'step-2' and done['python'] is None
    with run(folder=tmp_path / 'fresh', keep=None) as training:
        assert training.step == 2


def test_who_is_strict_hears_of_a_save_that_fails(out, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    with pytest.raises(errors.HfmirrorError, match='cannot be held'), run(strict=True) as training:
        monkeypatch.setattr(training._releases._spool, 'root', tmp_path / 'file' / 'saves')
        training.checkpoint(1)


def test_a_process_that_cannot_be_started_does_not_stop_a_training(out, monkeypatch, capsys):
    from hfmirror import sender

    def refused(token, **_):
        raise OSError(11, os.strerror(11))

    with monkeypatch.context() as patch:
        patch.setattr(sender, 'start', refused)
        with run() as training:
            training.log({'loss': 1.0})
            training.checkpoint()
    assert {status for status, _ in told(training)} == {'failed'}
    assert capsys.readouterr().err.count('no process can be started') == 1
    assert len(Spool(home()).saves()) == 2
