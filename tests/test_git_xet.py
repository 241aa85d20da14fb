"""Where ``git-xet`` is installed and a Hub wants it, it carries the bytes; and what it says is not taken for what is."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from hfmirror.server import running_hub
from tests.support import gitxet
from tests.support.mirror import git
from tests.test_transfers import CONFIG, NAME, TO_HUB, TOKEN, objects, program, sha256

WEIGHTS = os.urandom(4_000_000)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A Hub that wants large files by Xet, and an environment that leads to it as ``ada``."""
    with running_hub(tmp_path / 'served', token=f'ada:write:{TOKEN}', wants_xet=True) as hub:
        monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
        monkeypatch.setenv('HF_TOKEN', TOKEN)
        yield hub


@pytest.fixture
def weights(folder):
    """The training folder with weights, and a configuration by which a failure is tried again once, at once."""
    (folder.path.parent.parent / 'config.yaml').write_text(CONFIG % 1)
    folder.write('große Gewichte 1.bin', WEIGHTS)
    return folder


class Agent:
    """``git-xet`` on PATH; ``how`` is that of tests.support.gitxet."""

    def __init__(self, home):
        self.home, self.log = home, home / 'carried'
        self('sends')

    def __call__(self, how):
        command = shlex.join([sys.executable, gitxet.__file__, str(self.log), how])
        program(self.home / 'git-xet', f'exec {command} "$@"')

    def carried(self):
        """Return the oids of the objects that it was given."""
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def agent(tmp_path, monkeypatch):
    monkeypatch.setenv('PATH', str(tmp_path / 'programs'), prepend=os.pathsep)
    return Agent(tmp_path / 'programs')


def push(mirror, folder, *args, code=0):
    return mirror.push(folder, *TO_HUB, *args, '--config', 'config.yaml', code=code)


def sent(hub, what):
    return [one.path for one in hub.requests(what) if one.status == 200]


@pytest.mark.heavy
def test_the_bytes_arrive_through_git_xet_and_by_no_other_way(served, mirror, weights, agent):
    (done,) = push(mirror, weights, '--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    assert objects(served)[sha256(WEIGHTS)] == WEIGHTS
    assert sorted(agent.carried()) == sorted(objects(served))
    assert sent(served, f'POST /xet/models/{NAME}/') and served.requests('PUT') == []
    mirror.run('verify', 'v1.0.0', *TO_HUB, '--content', code=0)


@pytest.mark.heavy
def test_what_arrived_through_git_xet_is_not_sent_again(served, mirror, weights, agent):
    push(mirror, weights, '--tag', 'v1.0.0')
    before = agent.carried()
    weights.write('config.json', '{}')
    push(mirror, weights, '--bump', 'minor')
    assert agent.carried() == before


@pytest.mark.heavy
def test_of_a_file_that_changed_in_one_place_git_xet_sends_that_place(served, mirror, weights, agent):
    push(mirror, weights, '--tag', 'v1.0.0')
    store = served.root / 'models' / f'{NAME}.git' / 'xet'
    before = xorbs(store)
    changed = WEIGHTS[:2_000_000] + b'a few new words' + WEIGHTS[2_000_000:]
    weights.write('große Gewichte 1.bin', changed)
    push(mirror, weights, '--bump', 'minor')
    assert objects(served)[sha256(changed)] == changed
    assert 0 < xorbs(store) - before < len(WEIGHTS) / 4


def xorbs(store):
    return sum(path.stat().st_size for path in store.glob('*/*') if len(path.name) == 64)


@pytest.mark.heavy
def test_git_xet_renews_its_token_as_whom_we_are(served, mirror, weights, agent, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.setenv('HUGGINGFACE_TOKEN', TOKEN)
    agent('expired')
    push(mirror, weights, '--tag', 'v1.0.0')
    assert objects(served)[sha256(WEIGHTS)] == WEIGHTS
    assert sent(served, f'GET /api/models/{NAME}/xet-write-token/main')


@pytest.mark.heavy
def test_a_git_xet_that_ends_too_soon_lets_the_release_wait(served, mirror, weights, agent):
    agent('ends')
    done = push(mirror, weights, '--tag', 'v1.0.0', code=7)
    assert "'git-xet'" in done.err and 'Traceback' not in done.err
    agent('sends')
    (row,) = mirror.run('resume', '--json', code=0).json
    assert (row['version'], row['status']) == ('v1.0.0', 'pushed')
    assert objects(served)[sha256(WEIGHTS)] == WEIGHTS


@pytest.mark.heavy
def test_what_git_xet_says_of_its_failure_is_told(served, mirror, weights, agent):
    agent('refuses')
    done = push(mirror, weights, '--tag', 'v1.0.0', code=1)
    assert 'the store of chunks is full' in done.err and TOKEN not in done.err
    assert tags(served) == ''


@pytest.mark.heavy
def test_what_git_xet_says_it_sent_is_asked_of_the_hub(served, mirror, weights, agent):
    agent('lies')
    done = push(mirror, weights, '--tag', 'v1.0.0', code=3)
    assert 'model.bin' in done.err
    assert tags(served) == '' and objects(served) == {}


def tags(hub):
    return git('tag', cwd=Path(hub.root) / 'models' / f'{NAME}.git')


@pytest.mark.heavy
def test_a_person_who_turned_xet_off_gets_the_file_there_whole(served, mirror, weights, agent, monkeypatch):
    monkeypatch.setenv('HF_HUB_DISABLE_XET', '1')
    push(mirror, weights, '--tag', 'v1.0.0')
    assert agent.carried() == [] and objects(served)[sha256(WEIGHTS)] == WEIGHTS


@pytest.mark.heavy
def test_the_token_is_in_nothing_that_git_xet_leaves(served, mirror, weights, agent, tmp_path):
    push(mirror, weights, '--tag', 'v1.0.0')
    kept = [path for path in (tmp_path / 'hfmirror').rglob('*') if path.is_file()]
    assert kept and not [path for path in kept if TOKEN.encode() in path.read_bytes()]
