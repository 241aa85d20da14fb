"""Weights are read once and never doubled, and a trainer who writes meanwhile does no harm."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.fault import at, fault
from tests.support.folder import TrainingFolder, checksums
from tests.support.mirror import git

NAME = 'me/tiny-model'
LARGE = random.Random(3).randbytes(11_000_000)  # above the size from which every file goes to LFS
posix = pytest.mark.skipif(sys.platform == 'win32', reason='inodes and links as POSIX has them')


@pytest.fixture
def remote(host, mirror, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    git('config', '--global', 'lfs.transfer.maxretries', '1')
    mirror.remote = host.create(NAME)
    return host.url(NAME)


def files_of(outbox):
    return {path.name: path for path in outbox.rglob('*') if path.is_file() and len(path.name) == 64}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@posix
def test_a_network_push_holds_links_while_it_sends_and_nothing_after(mirror, folder, host, remote):
    weights = folder.write('model.bin', LARGE)
    seen = {}
    host.when('PUT', lambda: seen.update(files_of(mirror.home / 'outbox')))
    held = []
    host.when('POST /git-receive-pack', lambda: held.extend(linked(seen, weights)))
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert held == [sha256(LARGE)]
    assert [path for path in (mirror.home / 'outbox').rglob('*') if path.is_file()] == []


def linked(held, source):
    """Return the oids that share their bytes with ``source``: a link, or a reflink, which no stat can show."""
    return [oid for oid, path in held.items() if path.samefile(source) or path.stat().st_nlink == 1]


@posix
def test_the_local_remote_has_files_of_its_own(mirror, folder):
    weights = folder.write('model.bin', LARGE)
    mirror.push(folder, '--tag', 'v1.0.0')
    (stored,) = (mirror.remote / 'lfs' / 'objects').glob('*/*/*')
    assert not stored.samefile(weights)
    assert stored.stat().st_nlink == 1
    with weights.open('r+b') as file:
        file.write(bytes(len(LARGE)))
    assert stored.read_bytes() == LARGE


def test_a_local_push_leaves_one_copy_on_the_disk(mirror, folder):
    folder.write('model.bin', LARGE)
    mirror.push(folder, '--tag', 'v1.0.0')
    blocks = sum(path.stat().st_size for path in mirror.home.rglob('*') if path.is_file())
    assert blocks < len(LARGE) * 1.05


@posix
@pytest.mark.parametrize('where', ['local', 'host'])
def test_a_folder_on_another_file_system(mirror, host, remote, where, tmp_path):
    shm = Path('/dev/shm')
    if not shm.is_dir() or shm.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip('no second file system here')
    place = shm / f'hfmirror-test-{os.getpid()}-{where}'
    try:
        folder = TrainingFolder(place / 'model')
        weights = folder.write('model.bin', LARGE)
        args = ('--remote', remote) if where == 'host' else ()
        if where == 'local':
            mirror.remote = mirror.home / 'hub' / 'models' / f'{NAME}.git'
        mirror.push(folder, *args, '--tag', 'v1.0.0')
        weights.write_bytes(b'\0' * len(LARGE))
        mirror.assert_whole()
        (stored,) = (mirror.remote / 'lfs' / 'objects').glob('*/*/*')
        assert not stored.is_symlink()
        assert stored.read_bytes() == LARGE
    finally:
        shutil.rmtree(place)


def rewrite(path, size):
    """Code that overwrites ``path`` in place, each time with other bytes."""
    return f'Path({str(path)!r}).open("r+b").write(os.urandom({size}))'


BETWEEN = {
    # A trainer writes while the file is hashed, after it, and while it is sent.
    'while it is read': ('hfmirror.fingerprint:copy_hashed', 'after'),
    'before it is staged': ('hfmirror.holding:hold', 'before'),
    'before it is sent': ('hfmirror.objects:ServerObjects.send', 'before'),
    'while it is sent': ('hfmirror.objects:ServerObjects.send', 'after'),
}


@pytest.mark.parametrize('moment', BETWEEN)
def test_a_file_that_changes_once_arrives_as_it_is_then(mirror, folder, host, remote, moment, tmp_path):
    weights = folder.write('model.bin', LARGE)
    where, side = BETWEEN[moment]
    env = fault(tmp_path / 'fault', at(where, **{side: rewrite(weights, len(LARGE))}))
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', env=env)
    pointer = mirror.files()['model.bin'].decode()
    assert sha256(weights.read_bytes()) in pointer
    assert sha256(LARGE) not in pointer
    mirror.assert_whole()


@pytest.mark.heavy
@pytest.mark.parametrize('moment', BETWEEN)
def test_a_file_that_changes_again_stops_the_push(mirror, folder, host, remote, moment, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    weights = folder.write('model.bin', LARGE)
    before = mirror.git('for-each-ref')
    where, side = BETWEEN[moment]
    env = fault(tmp_path / 'fault', at(where, nth=tuple(range(20)), **{side: rewrite(weights, len(LARGE))}))
    done = mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=1, env=env)
    assert str(weights) in done.err
    assert mirror.git('for-each-ref') == before
    assert mirror.run('status', '--json').json == []
    assert files_of(mirror.home / 'outbox') == {}


@pytest.mark.heavy
@pytest.mark.parametrize('side', ['before', 'after'])
def test_a_file_that_changes_on_its_way_to_the_local_hub(mirror, folder, side, tmp_path):
    weights = folder.write('model.bin', LARGE)
    env = fault(tmp_path / 'fault', at('hfmirror.holding:hold', **{side: rewrite(weights, len(LARGE))}))
    mirror.push(folder, '--tag', 'v1.0.0', env=env)
    mirror.assert_whole()
    (stored,) = (mirror.remote / 'lfs' / 'objects').glob('*/*/*')
    assert sha256(stored.read_bytes()) == stored.name
    mirror.run('verify', '--content', code=0)


def test_a_small_text_file_that_changes_arrives_as_one_of_the_two(mirror, folder, tmp_path):
    path = folder.write('config.json', '{"a": 1}')
    change = f'Path({str(path)!r}).write_text(\'{{"a": 2}}\')'
    env = fault(tmp_path / 'fault', at('hfmirror.holding:hold', after=change))
    mirror.push(folder, '--tag', 'v1.0.0', env=env)
    assert mirror.files()['config.json'] == b'{"a": 2}'


@pytest.mark.skipif(shutil.which('strace') is None, reason='strace is not installed')
@pytest.mark.parametrize('where', ['local', 'host'])
def test_an_untouched_folder_is_not_opened(mirror, folder, host, remote, where, tmp_path):
    folder.write('model.bin', LARGE)
    args = ['--remote', remote] if where == 'host' else ['--remote', 'local']
    mirror.push(folder, *args, '--tag', 'v1.0.0')
    trace = tmp_path / 'trace'
    command = ['push', str(folder), *args, '--repo', NAME]
    subprocess.run(
        [
            'strace',
            '-f',
            '-qq',
            '-e',
            'trace=open,openat',
            '-o',
            str(trace),
            sys.executable,
            '-m',
            'hfmirror',
            *command,
        ],
        check=True,
        capture_output=True,
    )
    inside = [line for line in trace.read_text().splitlines() if f'{folder}/' in line]
    assert [line for line in inside if 'O_DIRECTORY' not in line] == []


@pytest.mark.heavy
def test_an_untouched_folder_takes_less_than_0_6_s(mirror, folder):
    folder.write('model.bin', LARGE)
    mirror.push(folder, '--tag', 'v1.0.0')
    times = []
    for _ in range(7):
        started = time.monotonic()
        mirror.push(folder)
        times.append(time.monotonic() - started)
    assert min(times) < 0.6  # the least: other tests may run beside this one


@pytest.mark.heavy
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='peak memory is read from /proc')
@pytest.mark.parametrize('where', ['local', 'host'])
def test_a_gigabyte_takes_less_than_150_mb_of_memory(mirror, tmp_path, host, remote, where):
    folder = TrainingFolder(tmp_path / 'big')
    block = random.Random(4).randbytes(1 << 20)
    with (folder.path / 'model.bin').open('wb') as file:
        for number in range(1024):
            file.write(number.to_bytes(4, 'big') + block[4:])
    peak = tmp_path / 'peak'
    look = f'Path({str(peak)!r}).write_text(Path("/proc/self/status").read_text())'
    children = f"""import resource
Path({str(peak)!r}).with_name("children").write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))"""
    env = fault(tmp_path / 'fault', at('hfmirror.delivery:prove', after=f'{look}\n{children}'))
    args = ('--remote', remote) if where == 'host' else ()
    mirror.push(folder, *args, '--tag', 'v1.0.0', env=env)
    (line,) = [line for line in peak.read_text().splitlines() if line.startswith('VmHWM')]
    assert int(line.split()[1]) < 150_000  # kB
    assert int((tmp_path / 'children').read_text()) < 150_000


def test_two_pushes_to_one_target_at_once_both_end_well(mirror, tmp_path):
    folders = []
    for name in ('one', 'two'):
        folder = TrainingFolder(tmp_path / name)
        folder.write('model.bin', random.Random(name).randbytes(300_000))
        folders.append(folder)
    with ThreadPoolExecutor() as pool:
        jobs = [pool.submit(mirror.push, folder, '--bump', 'minor') for folder in folders]
        names = {job.result()[0]['version'] for job in jobs}
    assert names == set(mirror.tags()) == {'v0.1.0', 'v0.2.0'}
    assert mirror.git('rev-list', '--count', 'main') == '2'
    mirror.assert_whole()


def test_two_machines_that_push_to_one_target_at_once_both_end_well(mirror, host, remote, tmp_path):
    folders = {}
    for name in ('one', 'two'):
        folders[name] = TrainingFolder(tmp_path / name)
        folders[name].write(f'{name}.bin', random.Random(name).randbytes(300_000))
    meet = threading.Barrier(2, timeout=30)
    host.when('POST /git-receive-pack', meet.wait, times=2)
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(
                mirror.push,
                folder,
                *('--remote', remote, '--bump', 'minor', '--path-in-repo', name),
                env={'HFMIRROR_HOME': str(tmp_path / f'home-{name}')},
            )
            for name, folder in folders.items()
        ]
        names = {job.result()[0]['version'] for job in jobs}
    assert names == set(mirror.tags()) == {'v0.1.0', 'v0.2.0'}
    assert {'one/one.bin', 'two/two.bin'} <= mirror.files().keys()
    mirror.assert_whole()


def test_the_same_bytes_under_two_names_are_sent_once(mirror, folder, host, remote, tmp_path):
    folder.write('model.bin', LARGE)
    folder.write('checkpoint-1/model.bin', LARGE)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert len(host.requests('PUT')) == 1
    mirror.run('pull', '--to', 'got', '--remote', remote, code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()
