"""A training is run as if nobody were there, and what it has finished is released, however it ended."""

from __future__ import annotations

import hashlib
import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hfmirror.running import found
from tests.support.fault import KILL, at, fault
from tests.support.mirror import git, git_bytes
from tests.support.person import Person

OPTIONS = ('--remote', 'local', '--repo', 'me/tiny-model')
MODEL = """
mkdir -p out
printf '{"model_type": "bert"}' > out/config.json
printf 'weights of %s' "$$" > out/model.bin
printf '{"eval_accuracy": 0.91}' > out/eval_results.json
"""


@pytest.fixture
def script(tmp_path):
    """Write the training script, and return the command that runs it."""

    def write(text):
        path = tmp_path / 'train.sh'
        path.write_text(text)
        return ('bash', str(path))

    return write


@pytest.fixture
def training(mirror, script):
    """Run a script of bash under ``hfmirror run``; ``folder`` None: it has to be found."""

    def run(text, *options, code=0, folder='out', where=OPTIONS, **kwargs):
        named = ('--folder', folder) if folder else ()
        return mirror.run('run', *named, *where, *options, '--', *script(text), code=code, **kwargs)

    return run


@pytest.fixture
def begin(mirror, script):
    """Begin such a run, and return the process once the script has written ``ready``; what is left is ended."""
    begun = []

    def run(text, *options, where=OPTIONS, env=None):
        command = [
            sys.executable,
            '-m',
            'hfmirror',
            'run',
            '--folder',
            'out',
            *where,
            *options,
            '--',
            *script(text),
        ]
        process = subprocess.Popen(
            command,
            cwd=mirror.tmp_path,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0 if env is None else None,  # a fault makes its own
        )
        begun.append(process)
        wait_for(lambda: (mirror.tmp_path / 'ready').exists())
        return process

    yield run
    for process in begun:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(there, timeout_s=30):
    deadline = time.monotonic() + timeout_s
    while not there():
        assert time.monotonic() < deadline, 'it did not happen in time'
        time.sleep(0.02)


def metadata(mirror, revision='main'):
    return json.loads(mirror.files(revision)['experiment_metadata.json'])


def told(mirror, revision='main'):
    return metadata(mirror, revision)['run']


def is_alive(pid):
    try:
        with open(f'/proc/{pid}/stat') as file:
            return file.read().rpartition(')')[2].split()[0] != 'Z'
    except OSError:
        return False


# -- the command is as if it ran alone


@pytest.mark.parametrize('code', [0, 3, 255])
def test_the_exit_code_is_kept(training, mirror, code):
    training(f'{MODEL}exit {code}', code=code)
    assert told(mirror)['exit_code'] == code


def test_each_stream_passes_through_byte_for_byte(mirror, tmp_path):
    out, err = os.urandom(300_000), os.urandom(200_000)
    (tmp_path / 'out.bin').write_bytes(out)
    (tmp_path / 'err.bin').write_bytes(err)
    command = [sys.executable, '-m', 'hfmirror', 'run', '--folder', 'made', *OPTIONS, '--', 'bash', '-c']
    done = subprocess.run(
        [*command, 'cat out.bin; cat err.bin >&2; mkdir made; echo x > made/a.txt'],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == out
    assert err in done.stderr


@pytest.mark.heavy
def test_an_output_that_nobody_reads_any_more_does_not_lose_the_release(mirror, script, tmp_path):
    reading, writing = os.pipe()
    options = ['--folder', 'out', *OPTIONS]
    text = f"trap '' PIPE\n{MODEL}touch ready; while [ ! -e go ]; do sleep 0.05; done; echo words; exit 3"
    process = subprocess.Popen(
        [sys.executable, '-m', 'hfmirror', 'run', *options, '--', *script(text)],
        stdin=subprocess.DEVNULL,
        stdout=writing,
        stderr=writing,
        cwd=tmp_path,
    )
    os.close(writing)
    wait_for(lambda: (tmp_path / 'ready').exists())
    os.close(reading)  # as a tee that the scheduler has ended
    (tmp_path / 'go').touch()
    assert process.wait(timeout=60) == 3
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_an_output_without_bounds_passes_through_in_bounded_memory(mirror, tmp_path):
    code = """
import resource, subprocess, sys
done = subprocess.Popen([sys.executable, '-m', 'hfmirror', 'run', '--folder', 'made', *sys.argv[1:]], stdout=subprocess.PIPE)
import hashlib
seen, size = hashlib.sha256(), 0
while block := done.stdout.read(1 << 20):
    seen.update(block); size += len(block)
assert done.wait() == 0
print(size, seen.hexdigest(), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""
    text = 'mkdir made; echo x > made/a.txt; head -c 400000000 /dev/zero'
    done = subprocess.run(
        [sys.executable, '-c', code, *OPTIONS, '--', 'bash', '-c', text],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    size, digest, megabytes = done.stdout.split()
    assert (int(size), digest) == (400_000_000, hashlib.sha256(bytes(400_000_000)).hexdigest())
    assert int(megabytes) < 250


def test_its_input_is_ours(mirror, script, tmp_path):
    text = 'mkdir out; cat > out/data.txt'
    done = subprocess.run(
        [sys.executable, '-m', 'hfmirror', 'run', '--folder', 'out', *OPTIONS, '--', *script(text)],
        input=b'from outside\n',
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    assert done.stdout == b''
    assert mirror.files()['data.txt'] == b'from outside\n'


def test_arguments_that_look_like_options_are_the_commands(mirror, tmp_path):
    mirror.run(
        'run',
        '--folder',
        'out',
        *OPTIONS,
        '--',
        'bash',
        '-c',
        'mkdir out; echo "$@" > out/a',
        '-',
        '--tag',
        'x',
    )
    assert mirror.files()['a'] == b'--tag x\n'


@pytest.mark.parametrize(('command', 'code'), [('no-such-program', 127), ('./plain.txt', 126)])
def test_a_command_that_cannot_be_started_ends_as_in_a_shell(mirror, tmp_path, command, code):
    (tmp_path / 'plain.txt').write_text('text')
    done = mirror.run('run', *OPTIONS, '--', command, code=code)
    assert f'{command}: cannot be started' in done.err
    assert not mirror.remote.exists()


def test_nothing_to_run_is_a_fault(mirror):
    assert 'COMMAND' in mirror.run('run', *OPTIONS, code=2).err


def test_a_token_cannot_come_in_by_the_commands_own_input(mirror):
    mirror.run('run', '--token', '-', '--', 'true', code=2)


def test_json_is_alone_on_standard_output(training):
    done = training(f'{MODEL}echo words; exit 4', '--json', code=4)
    assert 'words' in done.err
    assert done.json['exit_code'] == 4
    assert done.json['folders'][0]['releases'][0]['status'] == 'pushed'


def test_a_dry_run_runs_nothing(training, mirror, tmp_path):
    done = training('touch ran', '--dry-run')
    assert 'would run bash' in done.out and 'release out' in done.out
    assert training('touch ran', '--dry-run', '--json').json['folders'] == ['out']
    assert not (tmp_path / 'ran').exists()


# -- on a terminal


def on_terminal(mirror, *command, keys=b'', until=b'', timeout_s=60):
    """Run hfmirror on a terminal of its own; ``keys`` are pressed once ``until`` is seen. Returns (exit code, what was shown)."""
    pid, screen = pty.fork()
    if pid == 0:
        os.chdir(mirror.tmp_path)
        os.execv(sys.executable, [sys.executable, '-m', 'hfmirror', *map(str, command)])
    seen, deadline = b'', time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            if not select.select([screen], [], [], 0.1)[0]:
                continue
            try:
                part = os.read(screen, 65536)
            except OSError:
                break
            seen += part
            if keys and until in seen:
                os.write(screen, keys)
                keys = b''
            if not part:
                break
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen
    finally:
        os.close(screen)


@pytest.mark.heavy
def test_a_terminal_stays_a_terminal(mirror, tmp_path):
    text = 'mkdir out; for n in 0 1 2; do test -t $n && echo "$n is one"; done; echo x > out/a.txt'
    code, seen = on_terminal(mirror, 'run', '--folder', 'out', *OPTIONS, '--', 'bash', '-c', text)
    assert code == 0, seen
    for number in (0, 1, 2):
        assert f'{number} is one\r\n'.encode() in seen


@pytest.mark.heavy
def test_what_is_typed_reaches_the_command(mirror, tmp_path):
    text = 'mkdir out; echo ready; read word; echo "$word" > out/a.txt'
    code, seen = on_terminal(
        mirror, 'run', '--folder', 'out', *OPTIONS, '--', 'bash', '-c', text, keys=b'hello\n', until=b'ready'
    )
    assert code == 0, seen
    assert mirror.files()['a.txt'] == b'hello\n'


@pytest.mark.heavy
def test_ctrl_c_ends_the_command_and_not_the_release(mirror, tmp_path):
    text = 'mkdir out; echo x > out/a.txt; echo ready; sleep 60'
    code, seen = on_terminal(
        mirror, 'run', '--folder', 'out', *OPTIONS, '--', 'bash', '-c', text, keys=b'\x03', until=b'ready'
    )
    assert code == 128 + signal.SIGINT, seen
    assert told(mirror)['signal'] == 'SIGINT'


# -- what is released


def test_a_model_is_released_with_what_is_known_of_its_run(training, mirror):
    training(f'{MODEL}echo "loss 0.5"', '--tag', 'v1.0.0')
    assert mirror.tags() == ['v1.0.0']
    found = metadata(mirror)
    assert found['eval_results'] == {'eval_accuracy': 0.91}
    assert found['model_name'] == 'me/tiny-model'
    assert found['system']['python']
    run = found['run']
    assert run['command'][0] == 'bash'
    assert (run['exit_code'], run['log']) == (0, ['loss 0.5'])
    assert run['duration_s'] >= 0
    assert 'signal' not in run and 'job' not in run
    mirror.assert_whole()


def test_the_job_is_told(training, mirror):
    training(MODEL, env={'SLURM_JOB_ID': '4711', 'SLURM_JOB_NAME': 'bert'})
    assert told(mirror)['job'] == {'kind': 'Slurm', 'id': '4711', 'name': 'bert'}


@pytest.mark.heavy
def test_a_crash_releases_what_is_whole(training, mirror):
    done = training(f'{MODEL}echo "CUDA out of memory" >&2; exit 1', code=1)
    assert 'me/tiny-model on local: v0.1.0 pushed and proven' in done.err
    assert told(mirror)['log'] == ['CUDA out of memory']


def test_what_is_half_written_is_named_and_not_released(training, mirror):
    done = training(f'{MODEL}: > out/model.safetensors.tmp; rm out/model.bin; exit 1', code=1)
    assert 'half written' in done.err
    assert not mirror.remote.exists()


def checkpoint(step, content='x'):
    return f"""
mkdir -p out/checkpoint-{step}
printf '{{"model_type": "bert"}}' > out/checkpoint-{step}/config.json
printf '{content}' > out/checkpoint-{step}/model.bin
printf '{{"global_step": {step}, "log_history": []}}' > out/checkpoint-{step}/trainer_state.json
"""


def test_of_a_run_without_a_final_model_the_newest_whole_checkpoint_is_released(training, mirror):
    torn = (
        'mkdir out/checkpoint-30; echo "{" > out/checkpoint-30/config.json; : > out/checkpoint-30/model.bin'
    )
    done = training(f'{checkpoint(10)}{checkpoint(20)}{torn}; kill -9 $$', '--tag', 'v1.0.0', code=137)
    assert 'checkpoint-30' in done.err
    assert mirror.tags() == ['step-20']
    assert {'config.json', 'model.bin', 'trainer_state.json'} <= mirror.files().keys()
    assert json.loads(mirror.files()['trainer_state.json'])['global_step'] == 20


@pytest.mark.heavy
def test_a_checkpoint_whose_name_is_taken_is_not_lost(training, mirror):
    training(f'{checkpoint(10, "a")}exit 1', code=1)
    training(f'{checkpoint(10, "b")}exit 1', code=1)
    training(f'{checkpoint(10, "c")}exit 1', code=1)
    assert sorted(mirror.tags()) == ['step-10', 'step-10.2', 'step-10.3']


def test_beside_a_final_model_checkpoints_stay_here(training, mirror):
    training(f'{MODEL}{checkpoint(10)}')
    assert not [name for name in mirror.files() if 'checkpoint-10' in name]


@pytest.mark.heavy
def test_a_tag_that_is_taken_meanwhile_does_not_lose_the_release(training, mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    done = training(MODEL, '--tag', 'v1.0.0', '--no-preflight', code=6)
    assert 'v1.0.0 was taken' in done.err
    assert len([tag for tag in mirror.tags() if tag.startswith('v1.0.0-20')]) == 1


def test_the_newest_result_below_is_found(training, mirror):
    done = training(
        'mkdir -p runs-1/best data .venv; ' + MODEL.replace('out', 'runs-1/best') + 'echo 1 > data/a.csv',
        folder=None,
    )
    assert 'runs-1/best: the newest result below' in done.err
    assert {'config.json', 'model.bin'} <= mirror.files().keys()


def test_a_result_from_before_is_not_taken_for_the_commands(training, mirror, folder):
    done = training('true', folder=None, code=5)
    assert 'has left nothing' in done.err


@pytest.mark.heavy
def test_a_file_can_be_named(training, mirror):
    training('echo \'{"accuracy": 0.5}\' > results.json', '--repo-type', 'dataset', folder='results.json')
    mirror.remote = mirror.home / 'hub' / 'datasets' / 'me' / 'tiny-model.git'
    assert json.loads(mirror.files()['results.json']) == {'accuracy': 0.5}


@pytest.mark.parametrize('text', ['{"accuracy": 0.', ''])
def test_a_file_that_a_crash_has_cut_is_not_released(training, mirror, text):
    done = training(f"printf '{text}' > results.json; exit 3", folder='results.json', code=3)
    assert 'results.json: half written' in done.err
    assert not mirror.remote.exists()


def test_a_file_of_lines_is_whole(training, mirror):
    training("printf '{}\\n{}\\n' > results.json; exit 3", folder='results.json', code=3)
    assert mirror.files()['results.json'] == b'{}\n{}\n'


def test_what_is_new_among_many_files_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(found, '_FILES_MAX', 10)
    for number in range(50):
        (tmp_path / f'{number}.txt').touch()
    began = found.now_at(tmp_path) + 0.02
    unchanged = found.Command(began, succeeded=False)
    assert found.left_in(tmp_path, unchanged) is None
    wait_for(lambda: found.now_at(tmp_path) > began)
    (tmp_path / '49.txt').write_text('new')
    (tmp_path / '0.txt').unlink()
    assert found.left_in(tmp_path, unchanged) is not None


@pytest.mark.heavy
def test_several_folders_are_released_each_under_its_name(mirror, script):
    text = 'mkdir one two; echo 1 > one/a.txt; echo 2 > two/b.txt'
    mirror.run('run', '--folder', 'one', '--folder', 'two', '--remote', 'local', '--', *script(text), code=0)
    for name in ('one', 'two'):
        assert (mirror.home / 'hub' / 'models' / 'local' / f'{name}.git').is_dir()


def test_several_folders_are_not_one_repository(mirror, script, tmp_path):
    done = mirror.run('run', '--folder', 'a', '--folder', 'b', *OPTIONS, '--', *script('touch ran'), code=2)
    assert 'is one repository' in done.err
    assert not (tmp_path / 'ran').exists()


@pytest.mark.parametrize(('code', 'ends'), [(0, 5), (9, 9)])
def test_a_folder_that_is_not_there_fails_only_what_succeeded(training, code, ends):
    done = training(f'exit {code}', code=ends)
    assert 'out: the command has left nothing there' in done.err


def test_what_a_crash_has_not_touched_is_not_released(training, mirror, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'config.json').write_text('{}')
    done = training('exit 1', code=1)
    assert 'as it was before' in done.err
    assert not mirror.remote.exists()


def test_a_folder_of_the_configuration_is_the_default(training, mirror, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {hooks: {folder: out}}\n')
    training(MODEL, folder=None)
    assert 'model.bin' in mirror.files()


@pytest.mark.heavy
def test_a_release_that_fails_fails_a_command_that_succeeded(training, mirror):
    secret = 'hf_' + 'aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3c'
    training(f'{MODEL}echo {secret} > out/notes.txt', code=8)
    training(f'{MODEL}echo {secret} > out/notes.txt; exit 3', code=3)


# -- the metadata


def test_no_secret_is_in_the_metadata(training, mirror):
    token = 'hf_' + 'aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3c'
    key = 'AKIA' + 'Q3EGR7ZTWXNB5KLM'
    text = f'{MODEL}echo "with {token}"; echo "$WANDB_API_KEY"; echo "aws {key}"; echo fine'
    training(text, env={'WANDB_API_KEY': 'not-a-form-anybody-knows'})
    log = told(mirror)['log']
    assert log[-1] == 'fine'
    assert not any(word in json.dumps(log) for word in (token, key, 'not-a-form'))


def test_the_working_directory_is_no_secret(training, mirror, tmp_path):
    training(f'{MODEL}pwd')
    assert told(mirror)['log'] == [str(tmp_path)]


def test_of_a_progress_bar_its_last_state_is_told(training, mirror):
    training(MODEL + r"printf ' 10%%|#\r 50%%|##\r100%%|###\n\033[32mdone\033[0m\n'")
    assert told(mirror)['log'] == ['100%|###', 'done']


@pytest.mark.heavy
def test_so_many_lines_are_told_as_were_asked_for(training, mirror):
    training(f'{MODEL}seq 1 100000', '--log-lines', '3')
    assert told(mirror)['log'] == ['99998', '99999', '100000']
    training(f'{MODEL}echo private', '--log-lines', '0')
    assert 'log' not in told(mirror)


def test_a_line_without_an_end_is_bounded(training, mirror):
    training(f'{MODEL}head -c 3000000 /dev/zero | tr "\\0" x')
    (line,) = told(mirror)['log']
    assert len(line) == 500


def test_a_file_of_that_name_that_is_not_ours_stays(training, mirror):
    done = training(f'{MODEL}echo mine > out/experiment_metadata.json')
    assert mirror.files()['experiment_metadata.json'] == b'mine\n'
    assert 'left as it is' in done.err


def test_a_link_of_that_name_is_not_written_through(training, mirror, tmp_path):
    (tmp_path / 'precious.json').write_text('{"experiment_name": "x"}')
    training(f'{MODEL}ln -s ../precious.json out/experiment_metadata.json', code=1)
    assert (tmp_path / 'precious.json').read_text() == '{"experiment_name": "x"}'


def test_metadata_that_are_turned_off_are_not_written(training, mirror, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {experiment_tracking: {enabled: false}}\n')
    training(MODEL)
    assert 'experiment_metadata.json' not in mirror.files()


@pytest.mark.heavy
def test_an_experiment_keeps_them_beside_the_others(training, mirror):
    training(f'{MODEL}exit 2', '--experiment', 'baseline', code=2)
    assert mirror.tags() == ['exp-baseline-001']
    assert 'experiment_metadata.json' not in mirror.files()
    configs = mirror.home / 'hub' / 'models' / 'me' / 'tiny-model-configs.git'
    found = json.loads(git_bytes('show', 'main:experiments/baseline/experiment_metadata.json', cwd=configs))
    assert found['run']['exit_code'] == 2
    assert found['model']['version'] == 'exp-baseline-001'
    assert git('ls-tree', '--name-only', 'main:experiments/baseline', cwd=configs).split() == [
        'eval_results.json',
        'experiment_metadata.json',
    ]


# -- signals


@pytest.mark.parametrize('name', ['SIGTERM', 'SIGINT', 'SIGHUP'])
def test_a_signal_goes_to_the_command_and_what_is_there_is_released(begin, mirror, name):
    process = begin(f'{MODEL}touch ready; sleep 60 & wait')
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == 128 + getattr(signal, name), err
    assert (told(mirror)['signal'], told(mirror)['asked_to_end']) == (name, name)


@pytest.mark.heavy
def test_a_command_that_ends_well_when_asked_keeps_its_exit_code(begin, mirror):
    text = f'trap \'echo "saved on request"; echo late > out/late.txt; exit 0\' TERM\n{MODEL}touch ready; sleep 60 & wait'
    process = begin(text)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out == 'saved on request\n'
    assert mirror.files()['late.txt'] == b'late\n'
    assert told(mirror)['asked_to_end'] == 'SIGTERM'


def test_a_signal_of_its_own_meaning_is_passed_on_and_ends_nothing(begin, mirror):
    text = f"trap 'echo saved > out/saved.txt; exit 0' USR1\n{MODEL}touch ready; sleep 60 & wait"
    process = begin(text)
    process.send_signal(signal.SIGUSR1)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert mirror.files()['saved.txt'] == b'saved\n'
    assert 'asked_to_end' not in told(mirror)


@pytest.mark.heavy
def test_a_command_that_ignores_the_signal_is_ended_after_half_of_the_grace(begin, mirror):
    process = begin(f"trap '' TERM\n{MODEL}touch ready; sleep 60; sleep 60", '--grace', '1s')
    started = time.monotonic()
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert time.monotonic() - started < 20
    assert process.returncode == 137, err
    assert (told(mirror)['signal'], told(mirror)['asked_to_end']) == ('SIGKILL', 'SIGTERM')


@pytest.mark.heavy
def test_a_second_signal_ends_the_command_at_once(begin, mirror):
    process = begin(f"trap '' TERM\n{MODEL}touch ready; sleep 60; sleep 60", '--grace', '10m')
    process.terminate()
    time.sleep(1.5)  # what comes sooner is the same request
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 137, err
    assert 'SIGTERM again' in err
    assert mirror.tags() == ['v0.1.0']


def test_a_kill_of_the_command_is_a_crash_as_any_other(training, mirror):
    training(f'{MODEL}kill -9 $$', code=137)
    assert told(mirror)['signal'] == 'SIGKILL'


@pytest.mark.heavy
def test_what_the_command_has_started_is_ended_with_it(begin, mirror, tmp_path):
    text = f"{MODEL}(trap '' TERM; echo $BASHPID > child; while :; do sleep 0.1; done) &\nwhile [ ! -s child ]; do sleep 0.05; done\ntouch ready; wait"
    process = begin(text, '--grace', '2s')
    child = int((tmp_path / 'child').read_text())
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode in (143, 137), err
    assert not is_alive(child)


@pytest.mark.heavy
def test_what_it_leaves_running_is_ended_before_the_release(training, mirror, tmp_path):
    training(f'{MODEL}(echo $BASHPID > child; exec sleep 600) &\nwhile [ ! -s child ]; do sleep 0.05; done')
    assert not is_alive(int((tmp_path / 'child').read_text()))


@pytest.mark.heavy
def test_a_daemon_that_keeps_the_output_open_does_not_hold_up_the_release(training, mirror, tmp_path):
    text = f'{MODEL}setsid bash -c "echo \\$\\$ > daemon; exec sleep 600" &\nwhile [ ! -s daemon ]; do sleep 0.05; done'
    started = time.monotonic()
    try:
        process = training(text, timeout=60)
        assert process.code == 0
    finally:
        os.kill(int((tmp_path / 'daemon').read_text()), signal.SIGKILL)
    assert time.monotonic() - started < 40


@pytest.mark.heavy
def test_a_signal_during_the_release_lets_it_finish(begin, mirror, tmp_path):
    slow = fault(
        tmp_path / 'fault',
        at('hfmirror.compose:make', before="open('releasing', 'w').close(); time.sleep(2)"),
    )
    process = begin(f'{MODEL}touch ready', env=slow)
    wait_for(lambda: (tmp_path / 'releasing').exists())
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert 'finishing what is being released' in err
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_ignored_signals_stay_ignored(mirror, script, tmp_path):
    text = f'{MODEL}touch ready; sleep 1; echo late > out/late.txt'
    options = ['--folder', 'out', *OPTIONS]
    process = subprocess.Popen(
        ['nohup', sys.executable, '-m', 'hfmirror', 'run', *options, '--', *script(text)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: (tmp_path / 'ready').exists())
    process.send_signal(signal.SIGHUP)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert 'late.txt' in mirror.files()


# -- a network that is away, and kills


@pytest.fixture
def no_retries(tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {settings: {upload: {max_retries: 0}}}\n')


@pytest.mark.heavy
def test_a_network_that_goes_away_meanwhile_leaves_the_release_waiting(
    begin, mirror, host, remote, no_retries
):
    process = begin(
        f'{MODEL}touch ready; while [ ! -e gone ]; do sleep 0.1; done', where=('--remote', remote)
    )
    host.stop()
    (mirror.tmp_path / 'gone').touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 7, err
    (row,) = mirror.run('status', '--json', code=0).json
    assert row['version'] == 'v0.1.0'
    host.start()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v0.1.0']
    assert told(mirror)['exit_code'] == 0


def test_a_network_that_is_away_at_first_does_not_stop_the_run(training, mirror, host, remote, no_retries):
    host.stop()
    done = training(f'{MODEL}exit 3', where=('--remote', remote), code=3)
    assert 'unless the remote can be reached again by then' in done.err
    (row,) = mirror.run('status', '--json', code=0).json
    assert row['version'] == 'v0.1.0'


def test_what_would_stop_the_release_stops_the_run(training, tmp_path):
    done = training('touch ran', where=('--remote', 'hub', '--repo', 'me/x'), code=4)
    assert 'HF_TOKEN' in done.err
    assert not (tmp_path / 'ran').exists()


@pytest.mark.heavy
def test_a_tag_that_is_taken_stops_the_run(hub, mirror, folder, script, tmp_path):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    mirror.run('push', folder, '--repo', 'local/x', '--tag', 'v1.0.0', env=env, code=0)
    done = mirror.run(
        'run', '--repo', 'local/x', '--tag', 'v1.0.0', '--', *script('touch ran'), env=env, code=6
    )
    assert 'v1.0.0 is there already' in done.err
    assert not (tmp_path / 'ran').exists()


def test_a_run_that_may_not_be_released_is_kept_here(training, mirror):
    done = training(f'{MODEL}', '--no-preflight', where=('--remote', 'hub', '--repo', 'me/tiny-model'))
    assert 'HF_TOKEN not found' in done.err
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_a_run_goes_to_a_hub(training, hub, mirror):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    training(MODEL, where=('--repo', 'local/x'), env=env)
    mirror.remote = mirror.home / 'hub' / 'models' / 'local' / 'x.git'
    assert told(mirror)['exit_code'] == 0


@pytest.mark.heavy
def test_a_kill_of_all_during_the_release_is_made_good_by_the_next_command(
    begin, mirror, host, remote, tmp_path
):
    killed = fault(tmp_path / 'fault', at('hfmirror.delivery:deliver', before=KILL))
    process = begin(f'{MODEL}touch ready', where=('--remote', remote), env=killed)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert mirror.run('status', '--json', code=0).json[0]['version'] == 'v0.1.0'
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v0.1.0']


def test_a_kill_of_hfmirror_leaves_the_command_its_life(begin, mirror, tmp_path):
    process = begin(f'{MODEL}touch ready; while [ ! -e go ]; do sleep 0.1; done; touch finished')
    process.kill()
    process.wait()
    (tmp_path / 'go').touch()
    wait_for(lambda: (tmp_path / 'finished').exists())


@pytest.mark.heavy
def test_what_waits_from_before_is_sent_first(training, mirror, host, remote, no_retries, tmp_path):
    host.stop()
    training(f'{MODEL}', where=('--remote', remote), code=7)
    host.start()
    done = training(f'{MODEL}', where=('--remote', remote))
    assert '1 release from before' in done.err
    assert mirror.tags() == ['v0.1.0', 'v0.2.0']


@pytest.mark.heavy
def test_what_others_pushed_meanwhile_stays(begin, mirror, host, remote, folder, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    process = begin(
        f'{MODEL}touch ready; while [ ! -e pushed ]; do sleep 0.1; done', '--keep', where=('--remote', remote)
    )
    Person(remote, tmp_path / 'colleague').pushes({'theirs.txt': 'x'})
    (tmp_path / 'pushed').touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert 'theirs.txt' in mirror.files()


@pytest.mark.heavy
def test_what_the_training_has_handed_over_is_sent_before_its_result(training, mirror):
    code = """
from pathlib import Path
from hfmirror.config.places import home
from hfmirror.spool import Part, Save, Spool
path = Path('saved'); path.mkdir(); (path / 'model.bin').write_bytes(b'x')
save = Save(str(path.absolute()), 'me/tiny-model', remotes=('local',), tag='step-5')
Spool(home()).put(save, [Part(path)])
"""
    training(f"{MODEL}{sys.executable} -c '{code.replace(chr(39), chr(34))}'", '--tag', 'v1.0.0')
    assert mirror.git('rev-parse', 'v1.0.0~1') == mirror.git('rev-parse', 'step-5^{commit}')


# -- a training that releases by itself

PUSH = f'{sys.executable} -m hfmirror push --remote local --repo me/tiny-model'


@pytest.mark.heavy
def test_what_the_training_has_released_itself_is_not_released_again(training, mirror, tmp_path):
    done = training(f'{MODEL}{PUSH} out')
    assert 'out: released by the training itself' in done.err
    assert mirror.tags() == ['v0.1.0']
    assert mirror.git('rev-list', '--count', 'main') == '1'
    assert not (tmp_path / 'out' / 'experiment_metadata.json').exists()


@pytest.mark.heavy
def test_what_it_writes_after_its_release_is_released(training, mirror):
    training(f'{MODEL}{PUSH} out; echo more > out/more.txt')
    assert mirror.tags() == ['v0.1.0', 'v0.2.0']
    assert 'more.txt' in mirror.files()


@pytest.mark.heavy
def test_what_it_writes_once_more_as_it_was_is_not(training, mirror):
    again = (
        'cp -r out other; rm -r out; sleep 0.1; mkdir out; cp other/* out/; echo x > out/training_args.bin'
    )
    training(f'{MODEL}{PUSH} out; {again}')
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_what_was_released_before_the_run_does_not_count(training, mirror, tmp_path):
    training(MODEL)
    training('touch out/model.bin')
    assert told(mirror, 'v0.2.0')['command'] == ['bash', str(tmp_path / 'train.sh')]


@pytest.mark.heavy
def test_where_the_training_has_released_it_counts_when_no_place_is_named(training, mirror):
    done = training(f'{MODEL}{PUSH} out', '--no-preflight', '--json', where=())
    (release,) = done.json['folders'][0]['releases']
    assert (release['target'], release['status']) == ('me/tiny-model on local', 'up-to-date')


@pytest.mark.heavy
def test_a_place_that_is_named_and_does_not_have_it_gets_it(training, mirror):
    training(f'{MODEL}{PUSH} out', where=('--remote', 'local', '--repo', 'me/other'))
    assert mirror.tags() == ['v0.1.0']
    mirror.remote = mirror.home / 'hub' / 'models' / 'me' / 'other.git'
    assert mirror.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_a_version_that_is_named_and_not_there_is_made(training, mirror):
    training(f'{MODEL}{PUSH} out', '--tag', 'v3.0.0')
    assert mirror.tags() == ['v0.1.0', 'v3.0.0']


@pytest.mark.heavy
def test_what_the_training_has_left_waiting_is_not_made_again(training, mirror, no_retries):
    nowhere = ('--remote', 'http://127.0.0.1:9/me/tiny-model.git')
    push = f'{sys.executable} -m hfmirror push out {" ".join(nowhere)} || true'
    done = training(f'{MODEL}{push}', where=nowhere, code=7)
    assert 'waits to be sent' in done.err
    assert [row['version'] for row in mirror.run('status', '--json', code=0).json] == ['v0.1.0']


@pytest.mark.heavy
def test_an_experiment_keeps_how_a_run_ended_beside_the_trainings_own_release(training, mirror):
    training(f'{MODEL}{PUSH} out', '--experiment', 'baseline')
    assert mirror.tags() == ['v0.1.0']
    configs = mirror.home / 'hub' / 'models' / 'me' / 'tiny-model-configs.git'
    found = json.loads(git_bytes('show', 'main:experiments/baseline/experiment_metadata.json', cwd=configs))
    assert (found['run']['exit_code'], found['model']['version']) == (0, 'v0.1.0')


@pytest.mark.heavy
@pytest.mark.parametrize('code', [0, 1])
def test_a_checkpoint_that_the_training_has_released_is_not_released_again(training, mirror, code):
    own = f'(cd out && {PUSH} checkpoint-10 --tag step-10)'
    training(f'{checkpoint(10)}{own}; exit {code}', code=code)
    assert mirror.tags() == ['step-10']


@pytest.mark.heavy
def test_a_crash_after_the_trainings_last_release_loses_no_checkpoint(training, mirror):
    own = f'(cd out && {PUSH} checkpoint-10 --tag step-10)'
    training(f'{checkpoint(10)}{own}; {checkpoint(20, "y")}exit 1', code=1)
    assert mirror.tags() == ['step-10', 'step-20']


CALLBACK = """
import sys
from tests.support.tinytrainer import made
from hfmirror.integrations.transformers import HfMirrorCallback

trainer = made('out', HfMirrorCallback('me/tiny-model', remotes='local', keep=None), save_total_limit=1)
trainer.train()
if 'save' in sys.argv:
    trainer.save_model()
"""


@pytest.mark.heavy
@pytest.mark.parametrize('saves', [[], ['save']])
def test_a_trainer_with_the_callback_is_released_once(mirror, tmp_path, saves):
    (tmp_path / 'train.py').write_text(CALLBACK)
    env = {'PYTHONPATH': str(Path(__file__).parents[1])}
    training = [sys.executable, 'train.py', *saves]
    done = mirror.run('run', *OPTIONS, '--', *training, env=env, code=0)
    assert 'me/tiny-model on local: v0.1.0 there already' in done.err
    assert mirror.tags() == ['step-2', 'step-4', 'step-6', 'v0.1.0']
    assert mirror.git('rev-parse', 'main') == mirror.git('rev-parse', 'v0.1.0^{commit}')


TRAINER = """
import os, signal, sys
import torch, transformers
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainerCallback, TrainingArguments

class Preempted(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

config = BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, vocab_size=20)
rows = [{'input_ids': torch.tensor([1, 2, 3]), 'labels': torch.tensor(n % 2)} for n in range(8)]
arguments = TrainingArguments('out', max_steps=8, save_steps=2, per_device_train_batch_size=2, report_to=[], use_cpu=True)
trainer = Trainer(BertForSequenceClassification(config), arguments, train_dataset=rows, callbacks=[Preempted()])
trainer.train()
"""


@pytest.mark.heavy
def test_a_trainer_that_is_killed_leaves_its_newest_checkpoint_on_the_hub(hub, mirror, tmp_path):
    (tmp_path / 'train.py').write_text(TRAINER)
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token, 'HF_HUB_DISABLE_TELEMETRY': '1'}
    done = mirror.run('run', '--repo', 'local/bert', '--', sys.executable, 'train.py', env=env, code=137)
    assert 'checkpoint-4 is the newest checkpoint that is whole' in done.err
    mirror.run('pull', 'step-4', '--repo', 'local/bert', '--to', 'back', env=env, code=0)
    code = """
import json, transformers
model = transformers.AutoModelForSequenceClassification.from_pretrained('back')
print(json.load(open('back/trainer_state.json'))['global_step'])
"""
    loaded = subprocess.run(
        [sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert loaded.stdout == '4\n'
    assert (tmp_path / 'back' / 'optimizer.pt').is_file()
