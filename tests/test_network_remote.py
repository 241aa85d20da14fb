"""A remote behind a network: a real git+LFS host over HTTP, or over ssh."""

from __future__ import annotations

import os
import random
import sys

import pytest

from tests.support.folder import checksums
from tests.support.mirror import git

NAME = 'me/tiny-model'
USER = 'ada:sesame-4711'
LARGE = random.Random(1).randbytes(3_000_000)


@pytest.fixture(autouse=True)
def one_quick_retry(own_world, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 1, retry_delay: 0}\n'
    )
    git('config', '--global', 'lfs.transfer.maxretries', '1')


def log_in(host, user):
    """Have git's own credential store know ``user`` for the host."""
    git('config', '--global', 'credential.helper', 'store')
    with open(os.path.expanduser('~/.git-credentials'), 'w') as file:
        file.write(f'http://{user}@127.0.0.1%3a{host.port}\n')


def test_a_release_over_http_is_whole(mirror, folder, remote):
    (done,) = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    assert mirror.tags() == ['v1.0.0']
    mirror.assert_whole()


@pytest.mark.heavy
def test_each_object_is_uploaded_once(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0' * 500)
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    mirror.push(folder, '--remote', remote)
    assert len(host.requests('PUT')) == len(mirror.objects()) == 2


@pytest.mark.heavy
def test_list_versions_fetches_no_object(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('eval_results.json', '{"eval_accuracy": 0.95}\n')
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    listed = mirror.run('list-versions', '--remote', remote, '--json', code=0).json
    assert [version['name'] for version in listed] == ['v1.1.0', 'v1.0.0']
    assert [version['metrics']['eval_accuracy'] for version in listed] == [0.95, 0.91]
    assert not host.requests('GET /lfs/objects')


@pytest.mark.heavy
def test_list_versions_works_with_a_host_that_cannot_filter(mirror, folder, remote):
    git('config', 'uploadpack.allowFilter', 'false', cwd=mirror.remote)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    (listed,) = mirror.run('list-versions', '--remote', remote, '--json', code=0).json
    assert listed['name'] == 'v1.0.0'


def test_list_versions_of_a_repository_without_a_tag_is_empty(mirror, remote):
    assert mirror.run('list-versions', '--remote', remote, '--json', code=0).json == []


@pytest.mark.heavy
def test_pull_brings_exactly_the_version(mirror, folder, remote, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    then = folder.checksums()
    folder.write('model.bin', b'\1' * 999)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0')
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    for version, expected in (('v1.0.0', then), ('latest', folder.checksums())):
        mirror.run('pull', version, '--to', 'got', '--remote', remote, code=0, env=elsewhere)
        assert expected.items() <= checksums(tmp_path / 'got').items()


def test_verify_confirms_every_object_and_the_folder(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    found = mirror.run('verify', 'v1.0.0', folder, '--remote', remote, '--json', code=0).json
    assert found['ok']
    assert not host.requests('GET /lfs/objects')


def test_verify_content_reads_every_object_again(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    mirror.run('verify', '--content', '--remote', remote, code=0)
    assert len(host.requests('GET /lfs/objects')) == len(mirror.objects())


@pytest.mark.heavy
def test_verify_content_names_an_object_with_wrong_bytes(mirror, folder, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    spoil_objects(mirror)
    assert mirror.run('verify', '--remote', remote, '--json', code=0).json['ok']
    found = mirror.run('verify', '--content', '--remote', remote, '--json', code=3).json
    assert found['different'] == ['model.bin']


def spoil_objects(mirror):
    """Change a byte of each object on the host, and no size."""
    for path in (mirror.remote / 'lfs' / 'objects').glob('*/*/*'):
        content = path.read_bytes()
        path.write_bytes(bytes([content[0] ^ 1]) + content[1:])


@pytest.mark.heavy
def test_pull_refuses_wrong_bytes(mirror, folder, remote, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    spoil_objects(mirror)
    done = mirror.run('pull', '--to', 'got', '--remote', remote, code=3)
    assert 'model.bin' in done.err
    assert not (tmp_path / 'got' / 'model.bin').exists()


@pytest.mark.heavy
def test_an_object_the_server_lost_fails_verify_and_is_sent_again_by_push(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    for path in (mirror.remote / 'lfs' / 'objects').glob('*/*/*'):
        path.unlink()
    assert mirror.run('verify', '--remote', remote, '--json', code=3).json['missing'] == ['model.bin']
    pulled = mirror.run('pull', '--to', 'got', '--remote', remote, code=3)
    assert 'model.bin' in pulled.err
    before = mirror.git('for-each-ref')
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert mirror.git('for-each-ref') == before
    mirror.run('verify', '--content', '--remote', remote, code=0)


@pytest.mark.heavy
def test_an_upload_that_the_server_does_not_confirm_is_no_release(mirror, folder, host, remote):
    host.fail('PUT', 200, times=9)  # it says yes and keeps nothing
    done = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=3)
    assert 'model.bin' in done.err
    assert mirror.git('for-each-ref') == ''
    host.wipe_faults()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    mirror.assert_whole()


@pytest.mark.heavy
def test_with_a_user_that_git_knows(mirror, folder, host, remote, tmp_path):
    host.user = USER
    log_in(host, USER)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    mirror.run('list-versions', '--remote', remote, code=0)
    mirror.run('verify', '--content', folder, '--remote', remote, code=0)
    mirror.run('pull', '--to', 'got', '--remote', remote, code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()


@pytest.mark.heavy
def test_objects_that_ask_for_the_user_themselves_are_fetched(mirror, folder, host, remote, tmp_path):
    host.user, host.headers_in_actions = USER, False
    log_in(host, USER)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    mirror.run('pull', '--to', 'got', '--remote', remote, code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()


@pytest.mark.parametrize('known', [None, 'ada:wrong-sesame'])
@pytest.mark.parametrize('command', ['push', 'list-versions', 'verify', 'pull'])
def test_a_user_that_the_host_does_not_let_in(mirror, folder, host, remote, command, known):
    host.user = USER
    if known:
        log_in(host, known)
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    done = mirror.run(command, *args, '--remote', remote, code=4)
    assert NAME in done.err
    assert 'sesame' not in done.out + done.err
    assert mirror.run('status', '--json').json == []


@pytest.mark.heavy
def test_no_password_is_written_anywhere(mirror, folder, host, remote):
    host.user = USER
    log_in(host, USER)
    host.fail('PUT', 503, times=99)
    done = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', '-v', code=7)
    assert 'sesame' not in done.out + done.err
    written = [path for path in mirror.home.rglob('*') if path.is_file() and b'sesame' in path.read_bytes()]
    assert written == []


def test_a_host_without_lfs(mirror, folder, host, remote):
    host.lfs = False
    done = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=1)
    assert 'no git-lfs API' in done.err
    assert mirror.git('for-each-ref') == ''
    assert mirror.run('status', '--json').json == []


def test_a_host_without_lfs_takes_a_folder_that_needs_none(mirror, folder, host, remote):
    host.lfs = False
    folder.remove('model.bin')
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert mirror.tags() == ['v1.0.0']


@pytest.mark.parametrize('command', ['push', 'list-versions', 'verify', 'pull'])
def test_a_repository_that_does_not_exist(mirror, folder, host, command):
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    done = mirror.run(command, *args, '--remote', host.url('me/nothing'), code=5)
    assert 'me/nothing' in done.err
    assert mirror.run('status', '--json').json == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('what', 'status'),
    [
        ('GET /info/refs', 503),
        ('POST /info/lfs', 429),
        ('POST /info/lfs', 500),
        ('PUT', 503),
        ('POST /git-receive-pack', 502),
    ],
)
def test_a_fault_of_the_moment_is_tried_again(mirror, folder, host, remote, what, status):
    host.fail(what, status)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert mirror.tags() == ['v1.0.0']
    mirror.assert_whole()


def test_a_release_whose_arrival_was_not_heard_of_is_not_made_twice(mirror, folder, host, remote):
    host.drop('POST /git-receive-pack')  # the refs move, and the answer is lost
    (done,) = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    assert mirror.git('rev-list', '--count', '--all') == '1'


@pytest.mark.heavy
def test_the_clone_has_one_commit_of_the_past_and_no_weights(mirror, folder, host, remote, tmp_path):
    for number in range(3):
        folder.write('model.bin', LARGE[number:])
        mirror.push(folder, '--remote', remote, '--tag', f'v{number}.0.0')
    folder.write('config.json', '{}')
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    mirror.push(folder, '--remote', remote, '--bump', 'minor', env=elsewhere)
    (work,) = (tmp_path / 'elsewhere' / 'clones').glob('*/work')
    assert git('rev-list', '--count', 'HEAD', cwd=work) == '2'
    assert mirror.git('rev-list', '--count', 'main') == '4'
    assert sum(path.stat().st_size for path in work.rglob('*') if path.is_file()) < 500_000
    assert not host.requests('GET /lfs/objects')


@pytest.mark.heavy
@pytest.mark.parametrize('ranges', [True, False])
def test_pull_goes_on_after_a_dropped_connection(mirror, folder, host, remote, tmp_path, ranges):
    folder.write('model.bin', LARGE)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    host.ranges = ranges
    host.drop('GET /lfs/objects', after=2_000_000)
    mirror.run('pull', '--to', 'got', '--remote', remote, code=0)
    assert (tmp_path / 'got' / 'model.bin').read_bytes() == LARGE
    first, second = host.requests('GET /lfs/objects')
    assert (first.status, first.length) == (200, len(LARGE))
    assert (second.length < len(LARGE)) == ranges


@pytest.mark.heavy
def test_a_pull_that_gave_up_goes_on_when_it_is_run_again(mirror, folder, host, remote, tmp_path):
    folder.write('model.bin', LARGE)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    host.drop('GET /lfs/objects', after=1_000_000, times=2)
    mirror.run('pull', '--to', 'got', '--remote', remote, code=7)
    assert not (tmp_path / 'got' / 'model.bin').exists()
    mirror.run('pull', '--to', 'got', '--remote', remote, code=0)
    assert (tmp_path / 'got' / 'model.bin').read_bytes() == LARGE
    assert host.requests('GET /lfs/objects')[-1].length < 2_000_000
    assert not list((tmp_path / 'got').glob('.*.part'))


@pytest.fixture
def ssh(tmp_path, monkeypatch, host, remote):
    """Make git's ssh a script that runs the command here, where git-lfs-authenticate answers with the host's address."""
    there = tmp_path / 'ssh' / 'bin'
    there.mkdir(parents=True)
    script(there / 'git-lfs-authenticate', f'''echo '{{"href": "{remote}/info/lfs", "header": {{}}}}' ''')
    command = script(
        tmp_path / 'ssh' / 'ssh', f'PATH={there}:$PATH; for last; do :; done; exec /bin/sh -c "$last"'
    )
    monkeypatch.setenv('GIT_SSH_COMMAND', str(command))
    monkeypatch.setenv('GIT_SSH_VARIANT', 'simple')
    return f'ssh://git@host.invalid{host.root / NAME}.git'


def script(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)
    return path


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'win32', reason='the ssh of this test is a shell script')
def test_over_ssh(mirror, folder, ssh, tmp_path):
    mirror.push(folder, '--remote', ssh, '--tag', 'v1.0.0')
    mirror.assert_whole()
    mirror.run('list-versions', '--remote', ssh, code=0)
    mirror.run('verify', '--content', folder, '--remote', ssh, code=0)
    mirror.run('pull', '--to', 'got', '--remote', ssh, code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()
