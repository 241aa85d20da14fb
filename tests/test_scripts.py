"""The scripts do what the README says of them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hfmirror.main import COMMANDS

ROOT = Path(__file__).parent.parent
SHELL_SCRIPTS = sorted(
    path
    for path in [*ROOT.glob('scripts/*'), *ROOT.glob('scripts/*/*.sh'), ROOT / '.ci/run']
    if path.is_file() and path.read_bytes().startswith(b'#!/usr/bin/env bash')
)
README = (ROOT / 'README.md').read_text('utf-8')


def run(*args, **env):
    """Run a script with no standard input, in an environment that only adds to this one."""
    return subprocess.run(
        [str(arg) for arg in args],
        env=os.environ | env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )


@pytest.mark.parametrize('script', SHELL_SCRIPTS, ids=lambda path: path.name)
def test_script_parses_and_may_be_run(script):
    assert run('bash', '-n', script).stderr == ''
    assert script.suffix == '.sh' or os.access(script, os.X_OK)


@pytest.mark.parametrize('name', ['setup', 'model', 'demo', 'test', 'check', 'bench'])
def test_script_is_there(name):
    assert ROOT / 'scripts' / name in SHELL_SCRIPTS


def test_ci_runs_scripts_and_nothing_else():
    lines = (ROOT / '.ci/run').read_text().splitlines()
    commands = [line for line in lines if line and not line.startswith(('#', 'set ', 'cd '))]
    assert commands
    assert all(line.startswith('scripts/') for line in commands)


def test_scripts_name_no_host():
    assert not [path for path in SHELL_SCRIPTS if re.search(r'https?://', path.read_text())]


@pytest.mark.parametrize('command', COMMANDS)
def test_readme_names_every_command(command):
    assert f'`hfmirror {command}' in README


@pytest.mark.parametrize('link', re.findall(r'\]\(([^)#:]+)\)', README))
def test_readme_links_to_what_is_there(link):
    assert (ROOT / link).exists()


def test_readme_lists_every_exit_code():
    drawn = re.findall(r'\* \w+ \((\d+)\)', (ROOT / 'hfmirror/errors.py').read_text())
    assert {f'| {code} |' for code in drawn} <= set(re.findall(r'^\| \d+ \|', README, re.MULTILINE))


def test_setup_refuses_an_unknown_extra():
    done = run(ROOT / 'scripts/setup', 'everything')
    assert done.returncode == 2
    assert 'scripts/setup [demo|dev|clients]' in done.stderr


def test_setup_says_what_to_do_without_git_lfs(tmp_path):
    bare = path_without(tmp_path, 'git-lfs', 'apt-get', 'brew')
    done = run(ROOT / 'scripts/setup', PATH=str(bare))
    assert done.returncode == 1
    assert (
        "git-lfs is missing and could not be installed from here. Install the system package 'git-lfs'"
        in done.stderr
    )


@pytest.mark.parametrize(
    ('program', 'answer', 'message'),
    [
        ('git', 'git version 2.34.1', 'git 2.34.1 is too old, hfmirror needs 2.39 or newer'),
        ('git', 'git version 1.99.0', 'git 1.99.0 is too old, hfmirror needs 2.39 or newer'),
        (
            'git-lfs',
            'git-lfs/3.0.2 (GitHub; linux amd64; go 1.18.1)',
            'git-lfs 3.0.2 is too old, hfmirror needs 3.3',
        ),
    ],
)
def test_setup_refuses_what_is_too_old(tmp_path, program, answer, message):
    bare = path_without(tmp_path, program, 'apt-get', 'brew')
    fake = bare / program
    fake.write_text(f'#!/bin/sh\necho "{answer}"\n')
    fake.chmod(0o755)
    done = run(ROOT / 'scripts/setup', PATH=str(bare))
    assert done.returncode == 1
    assert message in done.stderr


def path_without(tmp_path, *missing):
    """Return a directory with a link to every program on the PATH, but for those that are to be missing."""
    directory = tmp_path / 'bin'
    directory.mkdir()
    for place in os.environ['PATH'].split(os.pathsep):
        for program in Path(place).glob('*'):
            if program.name not in missing and not (directory / program.name).is_symlink():
                (directory / program.name).symlink_to(program)
    return directory


def test_same_files_tells_a_changed_file(tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    for folder, content in ((one, 'a'), (other, 'b')):
        folder.mkdir()
        (folder / 'same.txt').write_text('same')
        (folder / 'weights.bin').write_text(content)
    done = run(sys.executable, ROOT / 'scripts/same_files.py', one, other)
    assert done.returncode == 1
    assert 'DIFFERENT  weights.bin' in done.stdout
    assert '1 of 2 files have the same sha256' in done.stdout


def test_halve_computes_the_error_of_half_precision(tmp_path):
    import numpy as np
    from safetensors.numpy import load_file, save_file

    folder, halved = tmp_path / 'full', tmp_path / 'half'
    folder.mkdir()
    (folder / 'config.json').write_text('{}')
    # 1.0 is exact in half precision; 1.0005 is rounded to 1 + 2**-10 * 0.5 or so.
    save_file(
        {'w': np.array([1.0, 1.0005], np.float32), 'ids': np.array([70000])}, folder / 'model.safetensors'
    )
    assert run(sys.executable, ROOT / 'scripts/halve.py', folder, halved).returncode == 0
    weights = load_file(halved / 'model.safetensors')
    assert weights['w'].dtype == np.float16
    assert weights['ids'].tolist() == [70000]
    results = json.loads((halved / 'eval_results.json').read_text())
    expected = abs(float(np.float32(1.0005)) - float(np.float16(1.0005)))
    assert results['max_abs_error'] == pytest.approx(expected)
    assert results['mean_abs_error'] == pytest.approx(expected / 2)
    assert results['parameters'] == 2


@pytest.fixture
def small_model(tmp_path):
    """A folder of a few files, and after the test no trace of its demo."""
    folder = tmp_path / 'tiny test-model'
    folder.mkdir()
    (folder / 'config.json').write_text('{"model_type": "bert"}')
    (folder / 'weights.bin').write_bytes(bytes(range(256)) * 100)
    (folder / 'README.md').write_text('My own words.\n')
    yield folder
    shutil.rmtree(demo_directory(folder), ignore_errors=True)


def demo_directory(folder):
    return ROOT / f'build/demo-{folder.name}'


def test_demo_of_a_folder_releases_and_pulls_it_as_often_as_asked(small_model, tmp_path):
    before = {path.name: path.read_bytes() for path in small_model.iterdir()}
    home = tmp_path / 'person'
    for _ in range(2):
        done = run(ROOT / 'scripts/demo', small_model, HOME=str(home))
        assert done.returncode == 0, done.stdout + done.stderr
        assert '$ hfmirror push' in done.stdout
        assert '2 of 2 files have the same sha256' in done.stdout
        assert 'All is well: v0.1.0' in done.stdout
    assert {path.name: path.read_bytes() for path in small_model.iterdir()} == before
    assert not home.exists()


@pytest.mark.heavy
def test_demo_of_a_real_model_ends_well():
    done = run(ROOT / 'scripts/demo')
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'All is well: v1.0.0' in done.stdout
    assert 'v1.1.0' in done.stdout


def test_demo_of_a_folder_that_is_missing_is_a_usage_error(tmp_path):
    assert run(ROOT / 'scripts/demo', tmp_path / 'nowhere').returncode == 2


@pytest.fixture
def benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'scripts/benchmarks'))


def test_bench_counts_only_reads_of_the_folder(benchmarks, tmp_path):
    import measure

    trace = tmp_path / 'trace'
    trace.mkdir()
    (trace / 'log.1').write_text(
        'read(3</data/model/a.bin>, ""..., 4096) = 100\n'
        'read(4</data/other/a.bin>, ""..., 4096) = 1000\n'
        'copy_file_range(3</data/model/a.bin>, NULL, 5</data/copy>, NULL, 9999, 0) = 20\n'
        'mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3</data/model/a.bin>, 0) = 0x7f01020000\n'
        'read(3</data/model/a.bin>, ""..., 4096) = -1 EIO (Input/output error)\n'
    )
    assert measure.bytes_read(trace, Path('/data/model')) == 100 + 20 + 4096


def test_bench_counts_a_linked_file_once_and_a_file_of_the_folder_never(benchmarks, tmp_path):
    import measure

    folder, place = tmp_path / 'folder', tmp_path / 'place'
    folder.mkdir()
    place.mkdir()
    (folder / 'a').write_bytes(b'a' * 1_000_000)
    (place / 'b').write_bytes(b'b' * 1_000_000)
    (place / 'b again').hardlink_to(place / 'b')
    (place / 'a').hardlink_to(folder / 'a')
    assert 1_000_000 <= measure.disk_use(place, measure.inodes(folder)) < 1_100_000
