"""LOG_LEVEL says how much is told; at DEBUG each git command with its time, and never a secret."""

from __future__ import annotations

import re

import pytest


def test_debug_shows_each_git_command_and_its_time(mirror, folder):
    done = mirror.push(folder.path, env={'LOG_LEVEL': 'DEBUG'}, code=None)
    told = re.findall(r'^debug: git (\S+).*  \((\d+\.\d{3}) s, in /', done.err, re.MULTILINE)
    assert {'fast-import', 'push'} <= {command for command, _ in told}


def test_debug_shows_how_a_command_failed(mirror, folder):
    done = mirror.run('push', folder.path, '--remote', 'file:///nowhere/x.git', env={'LOG_LEVEL': 'debug'})
    assert re.search(r'^debug: git ls-remote .*, exit \d+, in ', done.err, re.MULTILINE)


@pytest.mark.heavy
def test_debug_shows_the_transfer_of_objects(hub, mirror, folder):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token, 'LOG_LEVEL': 'DEBUG'}
    done = mirror.run('push', folder.path, '--remote', 'hub', '--repo', 'local/x', env=env, code=0)
    assert re.search(r'^debug: git .*lfs push ', done.err, re.MULTILINE)
    assert hub.token not in done.err + done.out


@pytest.mark.heavy
@pytest.mark.parametrize('level', ['WARNING', 'ERROR'])
def test_a_higher_level_keeps_talk_away_and_results_there(mirror, folder, level):
    done = mirror.run('push', folder.path, env={'LOG_LEVEL': level}, code=0)
    assert 'pushed and proven' in done.out and done.err == ''


def test_a_level_that_is_none_changes_nothing(mirror, folder):
    assert 'using the local Hub' in mirror.run('push', folder.path, env={'LOG_LEVEL': 'loud'}, code=0).err


def test_a_program_that_logs_at_debug_sees_the_commands(tmp_path):
    import subprocess
    import sys

    code = 'import logging; logging.basicConfig(level=logging.DEBUG); from hfmirror import gitcmd; gitcmd.git_version()'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert 'debug: git --version' in done.stderr
