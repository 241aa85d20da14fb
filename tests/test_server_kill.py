"""What is left when an upload is cut off in the middle: by its client, by SIGKILL of the server, by a full disk.

For each way in. What was acknowledged before is served, nothing half is visible, git fsck is clean, and the same upload
then goes through.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import HfApi, hf_hub_download

from tests.support.mirror import git
from tests.support.rest import call
from tests.support.serving import assert_root_is_whole, half, serving, until

REPO = 'local/m'
API = f'/api/models/{REPO}'
MIB = 2**20


class Upload:
    """One request that uploads: what is sent, and how to see that it is there."""

    def __init__(self, method, target, headers, body):
        self.method, self.target, self.headers, self.body = method, target, headers, body

    def begin(self, hub, share=0.5):
        return half(hub.endpoint, self.method, self.target, self.headers, self.body, share=share)

    def send(self, hub):
        return call(hub, self.method, self.target, body=self.body, headers=self.headers, token=None)


def bearer(token):
    return {'Authorization': f'Bearer {token}'}


def lfs_put(hub, tmp_path, size):
    content = os.urandom(size)
    oid = hashlib.sha256(content).hexdigest()
    action = batch(hub, oid, size, ['basic'])
    return Upload('PUT', path_of(action['href']), {}, content)


def lfs_part(hub, tmp_path, size):
    content = os.urandom(size)
    oid = hashlib.sha256(content).hexdigest()
    action = batch(hub, oid, size, ['basic', 'multipart'])
    first = action['header']['00001']
    return Upload('PUT', path_of(first), {}, content[: int(action['header']['chunk_size'])])


def batch(hub, oid, size, transfers):
    asked = {
        'operation': 'upload',
        'transfers': transfers,
        'objects': [{'oid': oid, 'size': size}],
        'hash_algo': 'sha256',
    }
    answer = call(hub, 'POST', f'/{REPO}.git/info/lfs/objects/batch', asked)
    return answer.json['objects'][0]['actions']['upload']


def path_of(url):
    parts = urlsplit(url)
    return f'{parts.path}?{parts.query}' if parts.query else parts.path


def rest_commit(hub, tmp_path, size):
    # Several files, none larger than the Hub takes outside LFS.
    texts = [os.urandom(MIB).hex().encode() for _ in range(max(1, size // (2 * MIB)))]
    lines = [{'key': 'header', 'value': {'summary': 'more'}}]
    for number, text in enumerate(texts):
        value = {
            'path': f'data/{number}.txt',
            'content': base64.b64encode(text).decode(),
            'encoding': 'base64',
        }
        lines.append({'key': 'file', 'value': value})
    body = ''.join(json.dumps(line) + '\n' for line in lines).encode()
    headers = {'Content-Type': 'application/x-ndjson', **bearer(hub.token)}
    return Upload('POST', f'{API}/commit/main', headers, body)


def git_push(hub, tmp_path, size):
    """The body that git would send: which ref goes where, and a pack."""
    work = tmp_path / f'work-{time.monotonic_ns()}'
    bare = hub.root / 'models' / f'{REPO}.git'
    git('clone', '-q', str(bare), str(work), cwd=tmp_path)
    old = git('rev-parse', 'HEAD', cwd=work)
    for number in range(max(1, size // (2 * MIB))):
        (work / f'{number}.txt').write_text(os.urandom(MIB).hex())
    git('add', '.', cwd=work)
    git('commit', '-q', '-m', 'pushed', cwd=work)
    new = git('rev-parse', 'HEAD', cwd=work)
    pack = subprocess.run(
        ['git', 'pack-objects', '--stdout', '--revs', '-q'],
        input=f'{new}\n^{old}\n'.encode(),
        cwd=work,
        capture_output=True,
        check=True,
    ).stdout
    command = f'{old} {new} refs/heads/main\0 report-status'
    body = f'{len(command) + 4:04x}{command}0000'.encode() + pack
    headers = {'Content-Type': 'application/x-git-receive-pack-request', **bearer(hub.token)}
    return Upload('POST', f'/{REPO}.git/git-receive-pack', headers, body)


def xorb(hub, tmp_path, size):
    """A xorb of stored chunks of 64 KiB, as hf_xet frames them."""
    token = call(hub, 'GET', f'{API}/xet-write-token/main').json
    chunk = 64 * 1024
    framed = [
        b'\0' + len(part).to_bytes(3, 'little') + b'\0' + len(part).to_bytes(3, 'little') + part
        for part in (os.urandom(chunk) for _ in range(size // chunk))
    ]
    body = b''.join(framed)
    target = f'{urlsplit(token["casUrl"]).path}/v1/xorbs/default/{hashlib.sha256(body).hexdigest()}'
    return Upload('POST', target, bearer(token['accessToken']), body)


WAYS = [lfs_put, lfs_part, rest_commit, git_push, xorb]
LIMITS = {'multipart_from': 5_000_000, 'part_size': 5_000_000}
SIZE = 8 * MIB


@pytest.fixture
def root(tmp_path):
    return tmp_path / 'root'


@pytest.fixture
def acknowledged(root):
    """Upload one small and one large file; returns {path: content}."""
    return upload_some(root)


def upload_some(root):
    files = {'notes.txt': b'kept\n', 'model.bin': os.urandom(300_000)}
    with serving(root, **LIMITS) as hub:
        api = HfApi(hub.endpoint, hub.token)
        api.create_repo(REPO)
        for name, content in files.items():
            api.upload_file(path_or_fileobj=content, path_in_repo=name, repo_id=REPO)
    return files


def assert_served(hub, files, tmp_path):
    cache = tmp_path / f'cache-{time.monotonic_ns()}'
    for name, content in files.items():
        got = hf_hub_download(REPO, name, endpoint=hub.endpoint, token=hub.token, cache_dir=cache)
        assert Path(got).read_bytes() == content


def visible(root):
    """Return what can be seen of the repository: its refs, and its LFS objects."""
    path = root / 'models' / f'{REPO}.git'
    objects = sorted(found.name for found in (path / 'lfs' / 'objects').glob('*/*/*'))
    return git('for-each-ref', cwd=path), objects


def bytes_in(root):
    """Return how many bytes the files below a directory have; one that goes away meanwhile has none."""
    total = 0
    for path in Path(root).rglob('*'):
        with suppress(FileNotFoundError):
            total += path.lstat().st_size if path.is_file() else 0
    return total


@pytest.mark.heavy
@pytest.mark.parametrize('way', WAYS)
def test_sigkill_in_the_middle_leaves_what_was_acknowledged_and_nothing_half(
    way, root, acknowledged, tmp_path
):
    with serving(root, **LIMITS) as hub:
        upload = way(hub, tmp_path, SIZE)
        before, size = visible(root), bytes_in(root)
        sock = upload.begin(hub)
        if way is not rest_commit:  # whose file has no name
            until(lambda: bytes_in(root) > size)
        hub.kill()
        sock.close()
    assert visible(root) == before
    assert_root_is_whole(root)
    with serving(root, **LIMITS) as hub:
        assert_served(hub, acknowledged, tmp_path)
        assert way(hub, tmp_path, SIZE).send(hub).status == 200
    assert_root_is_whole(root)


@pytest.mark.heavy
@pytest.mark.parametrize('way', WAYS)
def test_a_client_that_hangs_up_in_the_middle_leaves_nothing(way, root, acknowledged, tmp_path):
    with serving(root, **LIMITS) as hub:
        upload = way(hub, tmp_path, SIZE)
        before, size = visible(root), bytes_in(root)
        sock = upload.begin(hub)
        if way is not rest_commit:
            until(lambda: bytes_in(root) > size)
        sock.close()
        # A part that did not come whole keeps its place in the file of all parts.
        until(lambda: way is lfs_part or bytes_in(root) == size)
        assert visible(root) == before
        assert_root_is_whole(root)
        assert_served(hub, acknowledged, tmp_path)
        assert way(hub, tmp_path, SIZE).send(hub).status == 200


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB; skipped where none can be mounted."""
    path = tmp_path / 'small'
    path.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=24m', 'none', str(path)]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip('no file system can be mounted here')
    yield path
    subprocess.run(['umount', '-l', path], check=True)


@pytest.mark.parametrize('way', WAYS)
def test_a_full_disk_is_said_and_leaves_what_was_acknowledged(way, small_disk, tmp_path):
    root, filler = small_disk / 'root', small_disk / 'filler'
    files = upload_some(root)
    with serving(root, **LIMITS) as hub:
        upload = way(hub, tmp_path, SIZE)
        before, size = visible(root), bytes_in(root)
        fill(filler, MIB)
        answer = upload.send(hub)
        assert is_refused(answer), answer
        assert visible(root) == before
        until(lambda: way is lfs_part or bytes_in(root) == size)
        assert_root_is_whole(root)
        assert_served(hub, files, tmp_path)
        filler.unlink()
        assert upload.send(hub).status == 200


def fill(path, left):
    """Write a file until the disk has only ``left`` bytes."""
    free = os.statvfs(path.parent).f_bavail * os.statvfs(path.parent).f_frsize
    with path.open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, free - left)


def is_refused(answer):
    """Return whether an answer says no; git's says so in its body."""
    if answer.headers.get_content_type() == 'application/x-git-receive-pack-result':
        return b'unpack ok' not in answer.body
    return answer.status == 507 and b'disk' in answer.body
