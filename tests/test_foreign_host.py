"""A git+LFS host with nothing of ours in it: nginx, git http-backend and giftless, with a user and a password."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from tests.support.folder import checksums
from tests.support.foreign import PASSWORD, ForeignHost
from tests.support.mirror import git

pytestmark = pytest.mark.heavy

LARGE = random.Random(7).randbytes(3_000_000)


@pytest.fixture(scope='module')
def foreign(tmp_path_factory):
    with ForeignHost(tmp_path_factory.mktemp('foreign')) as running:
        yield running


@pytest.fixture
def team(foreign, mirror, tmp_path):
    """The name of an empty repository on the host, for this test alone; ``mirror`` looks at it."""
    name = f'team{len(list(foreign.repositories.glob("*")))}/model'
    mirror.remote = foreign.create(name)
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    git('config', '--global', 'lfs.transfer.maxretries', '1')
    foreign.log_in()
    return name


@pytest.fixture
def remote(foreign, team):
    return foreign.url(team)


@pytest.fixture
def released(mirror, folder, remote):
    """The folder's release v1.0.0 is on the host. Returns the folder's checksums."""
    folder.write('weights/large.bin', LARGE)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    return folder.checksums()


def test_a_release_is_on_the_host_with_every_object(mirror, foreign, team, released):
    assert mirror.tags() == ['v1.0.0']
    git('fsck', '--full', '--strict', cwd=mirror.remote)
    assert {released['model.bin'], released['weights/large.bin']} == set(foreign.objects(team))
    for oid, path in foreign.objects(team).items():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == oid


def test_list_versions(mirror, folder, remote, released):
    folder.write('eval_results.json', '{"eval_accuracy": 0.95}\n')
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    listed = mirror.run('list-versions', '--remote', remote, '--json', code=0).json
    assert [version['name'] for version in listed] == ['v1.1.0', 'v1.0.0']
    assert [version['metrics']['eval_accuracy'] for version in listed] == [0.95, 0.91]


def test_verify(mirror, folder, remote, released):
    assert mirror.run('verify', 'v1.0.0', folder, '--remote', remote, '--json', code=0).json['ok']


def test_verify_content_reads_every_object(mirror, foreign, team, remote, released):
    assert mirror.run('verify', '--content', '--remote', remote, '--json', code=0).json['ok']
    read = [line for line in foreign.requests(f'GET /{team}.git/info/lfs/') if line.endswith(' 200')]
    assert len(read) == len(foreign.objects(team)) == 2


def test_verify_content_names_an_object_with_wrong_bytes(mirror, foreign, team, remote, released):
    path = foreign.objects(team)[released['model.bin']]
    path.write_bytes(bytes(path.stat().st_size))
    found = mirror.run('verify', '--content', '--remote', remote, '--json', code=3).json
    assert found['different'] == ['model.bin']


def test_pull_gives_every_file_byte_for_byte(mirror, folder, remote, released, tmp_path):
    folder.write('model.bin', b'\1' * 999)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0')
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    for version, expected in (('v1.0.0', released), ('latest', folder.checksums())):
        mirror.run('pull', version, '--to', 'got', '--remote', remote, code=0, env=elsewhere)
        assert expected.items() <= checksums(tmp_path / 'got').items()


def test_stock_git_and_git_lfs_get_the_same_bytes(remote, released, tmp_path):
    git('lfs', 'install', '--skip-repo', '--skip-smudge')
    git('clone', '-q', remote, 'cloned')
    git('lfs', 'pull', cwd=tmp_path / 'cloned')
    assert released.items() <= checksums(tmp_path / 'cloned').items()


def test_the_second_push_sends_only_the_object_that_changed(mirror, folder, foreign, team, remote, released):
    before = len(sent(foreign, team))
    folder.write('model.bin', b'\2' * 4000)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0')
    assert sent(foreign, team)[before:] == [folder.checksums()['model.bin']]


def sent(foreign, team):
    """Return the oids of the objects that were uploaded."""
    return [line.split()[1].rpartition('/')[2] for line in foreign.requests(f'PUT /{team}.git/')]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize('names', [['model.bin'], ['model.bin', 'weights/large.bin']], ids=['one', 'all'])
@pytest.mark.parametrize('spoil', [Path.unlink, cut_short])
def test_what_the_host_lost_fails_verify_and_is_sent_again(
    mirror, folder, foreign, team, remote, released, names, spoil
):
    for name in names:
        spoil(foreign.objects(team)[released[name]])
    assert mirror.run('verify', '--remote', remote, '--json', code=3).json['missing'] == names
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    mirror.run('verify', '--content', '--remote', remote, code=0)


@pytest.mark.parametrize('command', ['push', 'list-versions', 'verify', 'pull'])
def test_a_wrong_password_leaves_nothing_and_says_what_to_do(mirror, folder, foreign, team, remote, command):
    foreign.log_in('wrong-sesame')
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    done = mirror.run(command, *args, '--remote', remote, code=4)
    assert 'Check the user and token' in done.err
    assert 'sesame' not in done.out + done.err
    assert (mirror.git('for-each-ref'), foreign.objects(team)) == ('', {})
    assert mirror.run('status', '--json').json == []


def test_a_release_waits_while_lfs_is_down_and_arrives_as_it_was(
    mirror, folder, foreign, team, remote, tmp_path
):
    foreign.stop_lfs()
    try:
        done = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    finally:
        foreign.start_lfs()
    then = folder.checksums()
    assert 'hfmirror resume' in done.err
    assert (mirror.git('for-each-ref'), foreign.objects(team)) == ('', {})
    folder.write('model.bin', b'the next run')
    (sent,) = mirror.run('resume', '--json', code=0).json
    assert (sent['version'], sent['status']) == ('v1.0.0', 'pushed')
    mirror.run('pull', 'v1.0.0', '--to', 'got', '--remote', remote, code=0)
    assert then.items() <= checksums(tmp_path / 'got').items()


@pytest.mark.parametrize('secret', [PASSWORD, 'jwt='])
def test_neither_password_nor_token_of_a_link_is_written_anywhere(
    mirror, folder, remote, released, tmp_path, secret
):
    for args in (['pull', '--to', 'got'], ['verify', '--content']):
        done = mirror.run(*args, '--remote', remote, '-v', code=0)
        assert secret not in done.out + done.err
    files = [path for place in (mirror.home, tmp_path / 'got', folder.path) for path in place.rglob('*')]
    assert [path for path in files if path.is_file() and secret.encode() in path.read_bytes()] == []
