"""doctor: what is wrong on this machine, and the command that mends it."""

from __future__ import annotations

import os
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from hfmirror.commands import doctor as command
from hfmirror.commands.doctor import doctor
from tests.support.mirror import bare

WHERE = (None, 'model', None)


def checks(*, where=WHERE, remote=None, config=None, folder=None):
    repo, repo_type, branch = where
    given = {
        'repo': repo,
        'repo_type': repo_type,
        'branch': branch,
        'remote': remote,
        'config_file': config,
        'token': None,
    }
    return {check.name: check for check in doctor(given, folder)}


def path_with(tmp_path, monkeypatch, **scripts):
    """Make a PATH with nothing but these shell scripts."""
    folder = tmp_path / 'bin'
    folder.mkdir()
    for name, text in scripts.items():
        script = folder / name.replace('_', '-')
        script.write_text(f'#!/bin/sh\n{text}\n')
        script.chmod(0o755)
    monkeypatch.setenv('PATH', str(folder))


def test_everything_is_well_on_a_machine_with_everything():
    assert [check for check in checks().values() if not check.ok] == []


def test_it_tells_the_versions_of_python_git_and_git_lfs():
    found = checks()
    assert all(found[name].found[0].isdigit() for name in ('python', 'git', 'git-lfs'))


def test_it_tells_the_version_of_every_package_that_hfmirror_needs():
    found = checks()
    for name in ('click', 'GitPython', 'huggingface_hub', 'python-dotenv', 'tqdm'):
        assert found[name].found == metadata.version(name)
    assert 'torch' not in found  # an extra's


def test_a_missing_package_gets_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(command.metadata, 'requires', lambda name: ['no-such-package>=2'])
    check = checks()['no-such-package']
    assert (check.ok, check.found, check.advice) == (False, 'not installed', "pip install 'no-such-package'")


def test_a_missing_git_lfs_gets_the_command_that_installs_it(tmp_path, monkeypatch):
    path_with(tmp_path, monkeypatch, git=f'exec {shutil.which("git")} "$@"')
    check = checks()['git-lfs']
    assert not check.ok and 'apt-get install git-lfs' in check.advice


def test_without_git_everything_else_is_still_looked_at(tmp_path, monkeypatch):
    path_with(tmp_path, monkeypatch)
    found = checks()
    assert not found['git'].ok and 'apt-get install git' in found['git'].advice
    assert found['python'].ok and 'disk' in found


@pytest.mark.parametrize(
    ('tool', 'answer', 'name', 'needed'),
    [
        ('git', 'git version 2.30.0', 'git', '2.39'),
        ('git_lfs', 'git-lfs/2.13.2 (GitHub; linux amd64; go 1.15)', 'git-lfs', '3.3'),
    ],
)
def test_a_tool_that_is_too_old_is_named_with_what_is_needed(
    tmp_path, monkeypatch, tool, answer, name, needed
):
    path_with(tmp_path, monkeypatch, **{tool: f'echo "{answer}"'})
    check = checks()[name]
    assert not check.ok and needed in check.advice and f'install {name}' in check.advice


@pytest.mark.parametrize('name', ['HF_TOKEN', 'HUGGINGFACE_TOKEN', 'HUGGING_FACE_HUB_TOKEN'])
def test_the_token_is_told_by_its_place_and_never_by_its_value(mirror, monkeypatch, name):
    monkeypatch.setenv(name, 'hf_abcdefghijklmnop')
    assert checks(remote='local')['token'].found == f'found in {name}'
    for option in ([], ['--json']):
        done = mirror.run('doctor', '--remote', 'local', *option)
        assert 'abcdefgh' not in done.out + done.err


def test_a_token_in_a_file_is_told_by_the_file(tmp_path):
    path = Path(os.environ['HOME']) / '.cache' / 'huggingface' / 'token'
    path.parent.mkdir(parents=True)
    path.write_text('hf_abcdefghijklmnop\n')
    assert checks(remote='local')['token'].found == f'found in {path}'


def test_no_token_is_no_fault():
    check = checks()['token']
    assert check.ok and 'hf auth login' in check.found


def test_a_remote_that_answers_is_reachable(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    check = checks(where=(mirror.repo, 'model', None), remote='local')['remote']
    assert check.ok and 'reachable, 1 tag' in check.found


def test_a_remote_that_is_not_there_is_a_fault_with_advice(tmp_path):
    check = checks(where=('me/x', 'model', None), remote=f'file://{tmp_path}/nowhere.git')['remote']
    assert not check.ok and 'nowhere' in check.found and check.advice


def test_a_remote_that_refuses_connections_is_a_fault():
    check = checks(where=('me/x', 'model', None), remote='http://127.0.0.1:1/me/x.git')['remote']
    assert not check.ok and 'server' in check.advice


def test_a_local_repository_that_is_still_to_be_made_is_no_fault():
    assert checks(where=('me/x', 'model', None), remote='local')['remote'].ok


def test_a_broken_configuration_is_a_fault(tmp_path):
    config = tmp_path / 'config.yaml'
    config.write_text('huggingface:\n  versioning:\n    auto_increment: sideways\n')
    check = checks(config=config)['configuration']
    assert not check.ok and 'auto_increment' in check.found + check.advice


def test_free_disk_is_told_against_the_folders_size(folder):
    check = checks(folder=folder.path)['disk']
    assert check.ok and 'free at' in check.found and str(folder) in check.found


def test_a_folder_larger_than_the_disk_is_a_fault(folder, tmp_path):
    huge = folder.write('huge.bin', b'\0')
    os.truncate(huge, shutil.disk_usage(tmp_path).total + 1)  # sparse
    check = checks(folder=folder.path)['disk']
    assert not check.ok and 'HFMIRROR_HOME' in check.advice


def test_a_missing_folder_is_a_fault_and_no_crash(tmp_path):
    check = checks(folder=tmp_path / 'nowhere')['disk']
    assert not check.ok and 'no such folder' in check.found


def test_the_command_ends_with_0_when_all_is_well(mirror):
    done = mirror.run('doctor', code=0)
    assert all(line.startswith('ok ') for line in done.out.splitlines())


def test_the_command_ends_with_1_and_says_what_mends_it(mirror, tmp_path):
    done = mirror.run('doctor', '--repo', 'me/x', '--remote', f'file://{tmp_path}/nowhere.git', code=1)
    assert 'BAD  remote' in done.out and 'remote: see above' in done.err


def test_json_is_a_list_of_checks(mirror, tmp_path):
    remote = bare(tmp_path / 'x.git')
    found = mirror.run('doctor', '--remote', f'file://{remote}', '--json', code=0).json
    assert {'name', 'ok', 'found', 'advice'} == set(found[0])
    assert 'remote' in {check['name'] for check in found}


def test_it_makes_nothing(mirror, folder):
    mirror.run('doctor', folder, code=0)
    assert not mirror.home.exists()
