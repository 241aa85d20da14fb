"""Every test runs with its own HOME, its own hfmirror directories and a fixed identity; nothing of the person's is touched."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

from tests.support.folder import TrainingFolder
from tests.support.githost import GitHost
from tests.support.mirror import Mirror

REAL_HOME = Path.home()
_REAL_CONNECT = socket.socket.connect


@pytest.fixture(autouse=True)
def own_world(tmp_path, monkeypatch):
    """A HOME without anything in it, git without the machine's configuration, no token, no network but loopback."""
    home = tmp_path / 'home'
    home.mkdir()
    for name in [
        name
        for name in os.environ
        if name == 'LOG_LEVEL' or name.startswith(('GIT_', 'HF_', 'HUGGING', 'HFMIRROR_', 'XDG_'))
    ]:
        monkeypatch.delenv(name)
    monkeypatch.setenv('HOME', str(home))
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'hfmirror'))
    monkeypatch.setenv('GIT_CONFIG_NOSYSTEM', '1')
    monkeypatch.setenv('GIT_AUTHOR_NAME', 'Ada')
    monkeypatch.setenv('GIT_AUTHOR_EMAIL', 'ada@example.org')
    monkeypatch.setenv('GIT_COMMITTER_NAME', 'Ada')
    monkeypatch.setenv('GIT_COMMITTER_EMAIL', 'ada@example.org')
    monkeypatch.setenv('PATH', f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.delenv('NO_PROXY', raising=False)
    monkeypatch.setattr(socket.socket, 'connect', _loopback_only)
    monkeypatch.chdir(tmp_path)


def _loopback_only(self, address):
    if self.family != socket.AF_UNIX and not str(address[0]).startswith(('127.', '::1', 'localhost')):
        raise RuntimeError(f'a test tried to reach {address}')
    return _REAL_CONNECT(self, address)


@pytest.fixture(autouse=True, scope='session')
def home_untouched():
    """The real home's own hfmirror directories are as they were when the tests end."""
    places = [REAL_HOME / '.cache' / 'hfmirror', REAL_HOME / '.local' / 'share' / 'hfmirror']
    before = [place.exists() for place in places]
    yield
    assert [place.exists() for place in places] == before


@pytest.fixture
def folder(tmp_path):
    """A training folder with a config, metrics and two small weight files."""
    made = TrainingFolder(tmp_path / 'out' / 'tiny-model')
    made.write('config.json', '{"architectures": ["BertModel"], "model_type": "bert"}\n')
    made.write('eval_results.json', '{"eval_accuracy": 0.91, "eval_loss": 0.25}\n')
    made.write('model.bin', bytes(range(256)) * 40)
    made.write('notes/training.txt', 'three epochs\n')
    return made


@pytest.fixture
def mirror(tmp_path):
    """The command hfmirror and the local Hub it writes to."""
    return Mirror(tmp_path)


@pytest.fixture
def host(tmp_path):
    """A git+LFS host on the loopback."""
    with GitHost(tmp_path / 'host') as running:
        yield running


@pytest.fixture
def remote(host, mirror):
    """The URL of an empty repository on the host; ``mirror`` looks at it."""
    mirror.remote = host.create(mirror.repo)
    return host.url(mirror.repo)


@pytest.fixture(scope='session')
def minilm():
    """The folder of the real model all-MiniLM-L6-v2, not to be written to; fetched by scripts/test."""
    path = Path(__file__).parents[1] / '.venv' / 'models' / 'all-MiniLM-L6-v2'
    if not path.is_dir():
        pytest.fail('the model is not there; run scripts/model')
    return path


@pytest.fixture
def hub(tmp_path):
    """A running Hub over the directory that ``--remote local`` writes. Its token writes as the user ``local``."""
    from hfmirror.server import running_hub

    with running_hub(tmp_path / 'hfmirror' / 'hub') as running:
        yield running


@pytest.fixture(scope='module')
def shared_hub(tmp_path_factory):
    """One Hub for all tests of a file, each of which has a repository of its own."""
    from hfmirror.server import running_hub

    with running_hub(tmp_path_factory.mktemp('hub')) as running:
        yield running


@pytest.fixture(scope='module')
def client(shared_hub, tmp_path_factory):
    """The stock huggingface_hub in a process of its own, as a user of the shared Hub."""
    from tests.support.clients import Client

    with Client(shared_hub, tmp_path_factory.mktemp('ada')) as running:
        yield running


@pytest.fixture
def api(hub):
    """The client of the user ``local``, who has the repository local/x."""
    from huggingface_hub import HfApi

    client = HfApi(endpoint=hub.endpoint, token=hub.token)
    client.create_repo('local/x')
    return client
