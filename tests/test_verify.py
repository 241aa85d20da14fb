"""verify: refs and objects on the remote, and a folder against a version; every fault is named."""

from __future__ import annotations

import hashlib
import os
import shutil

import pytest

from tests.support.githost import GitHost
from tests.support.mirror import bare, git

KEYS = ['ok', 'version', 'commit', 'checked', 'missing', 'extra', 'different', 'problems']


def verify(mirror, *args, code=0):
    done = mirror.run('verify', '--remote', 'local', '--repo', mirror.repo, *args, '--json', code=code)
    return done.json


def oid_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def remote_object(mirror, folder, name='model.bin'):
    """Return where the remote keeps the weights."""
    oid = oid_of(folder.path / name)
    return mirror.remote / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid


def spoil(path):
    """Change a byte of a file and leave its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.fixture
def released(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    return folder


def test_a_whole_release_is_confirmed_with_all_files_counted(mirror, released):
    found = verify(mirror, 'v1.0.0')
    assert list(found) == KEYS
    assert found['ok'] is True and found['version'] == 'v1.0.0'
    assert found['checked'] == len(mirror.files())
    assert found['commit'] == mirror.git('rev-parse', 'main')


@pytest.mark.heavy
def test_without_a_version_it_is_the_latest(mirror, released):
    released.write('config.json', '{}')
    mirror.push(released, '--tag', 'v1.1.0')
    assert verify(mirror)['version'] == 'v1.1.0'


@pytest.mark.heavy
def test_an_older_version_is_verified_as_it_was(mirror, released):
    released.write('model.bin', b'\0new')
    mirror.push(released, '--tag', 'v2.0.0')
    assert verify(mirror, 'v1.0.0')['ok']


def test_a_sentence_for_people_says_what_was_checked(mirror, released):
    done = mirror.run('verify', 'v1.0.0', released, code=0)
    assert 'v1.0.0 is whole' in done.out and str(released) in done.out


def test_an_object_that_the_remote_lost_is_named(mirror, released):
    remote_object(mirror, released).unlink()
    found = verify(mirror, 'v1.0.0', code=3)
    assert not found['ok'] and found['missing'] == ['model.bin']
    assert found['problems'] == [{'path': 'model.bin', 'where': 'remote', 'what': 'missing'}]


def test_an_object_of_another_size_is_named(mirror, released):
    path = remote_object(mirror, released)
    path.write_bytes(path.read_bytes()[:-1])
    assert verify(mirror, 'v1.0.0', code=3)['missing'] == ['model.bin']


@pytest.mark.heavy
def test_wrong_bytes_of_the_right_size_are_found_by_reading_them(mirror, released):
    spoil(remote_object(mirror, released))
    assert verify(mirror, 'v1.0.0')['ok']
    found = verify(mirror, 'v1.0.0', '--content', code=3)
    assert found['different'] == ['model.bin'] and found['missing'] == []


@pytest.mark.heavy
def test_content_of_a_whole_release_is_confirmed(mirror, released):
    assert verify(mirror, 'v1.0.0', '--content')['ok']


@pytest.mark.heavy
def test_a_git_object_that_is_damaged_is_found_by_reading_them(mirror, released):
    blob = mirror.git('rev-parse', 'main:config.json')
    packs = list((mirror.remote / 'objects' / 'pack').glob('*.pack'))
    loose = mirror.remote / 'objects' / blob[:2] / blob[2:]
    spoil(loose if loose.exists() else packs[0])
    done = mirror.run('verify', 'v1.0.0', '--content', '--remote', 'local', '--repo', mirror.repo, code=3)
    assert 'fsck' in done.err and str(mirror.remote) in done.err and 'Traceback' not in done.err


@pytest.mark.heavy
def test_what_the_remote_lost_comes_back_with_the_next_push(mirror, released):
    remote_object(mirror, released).unlink()
    mirror.push(released)
    assert verify(mirror, 'v1.0.0', '--content')['ok']
    assert mirror.tags() == ['v1.0.0']


@pytest.mark.heavy
def test_a_folder_that_is_the_version_is_confirmed(mirror, released):
    found = verify(mirror, 'v1.0.0', released)
    assert found['ok'] and found['checked'] == len(mirror.files())


@pytest.mark.heavy
def test_every_missing_extra_and_different_file_of_the_folder_is_named(mirror, released):
    released.remove('notes/training.txt')
    released.write('new.txt', 'x')
    released.write('config.json', '{"architectures": ["BertModeL"], "model_type": "bert"}\n')
    spoil(released.path / 'model.bin')
    found = verify(mirror, 'v1.0.0', released, code=3)
    assert found['missing'] == ['notes/training.txt']
    assert found['extra'] == ['new.txt']
    assert sorted(found['different']) == ['config.json', 'model.bin']
    assert {problem['where'] for problem in found['problems']} == {'folder'}


@pytest.mark.heavy
def test_the_message_counts_the_problems_and_says_what_to_do(mirror, released):
    released.remove('model.bin')
    done = mirror.run('verify', 'v1.0.0', released, code=3)
    assert 'missing' in done.out and 'model.bin' in done.out
    assert '1 file' in done.err and 'pull the version again' in done.err


def test_a_file_that_grew_from_plain_to_lfs_is_different(mirror, released):
    released.write('config.json', b'\0\xff binary now')
    assert verify(mirror, 'v1.0.0', released, code=3)['different'] == ['config.json']


@pytest.mark.heavy
def test_the_folders_own_readme_counts_as_the_card_made_around_it(mirror, folder):
    folder.write('README.md', '# Mine\n')
    mirror.push(folder, '--tag', 'v1.0.0')
    assert verify(mirror, 'v1.0.0', folder)['ok']
    folder.write('README.md', '# Mine, edited\n')
    assert verify(mirror, 'v1.0.0', folder, code=3)['different'] == ['README.md']


@pytest.mark.heavy
def test_a_pulled_folder_is_confirmed(mirror, released, tmp_path):
    mirror.run('pull', 'v1.0.0', '--to', tmp_path / 'fresh', code=0)
    assert verify(mirror, 'v1.0.0', tmp_path / 'fresh')['ok']


@pytest.mark.heavy
def test_a_folder_pushed_to_a_path_is_compared_with_that_path(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0', '--path-in-repo', 'runs/a')
    assert verify(mirror, 'v1.0.0', folder, '--path-in-repo', 'runs/a')['ok']
    assert not verify(mirror, 'v1.0.0', folder, code=3)['ok']


@pytest.mark.heavy
def test_only_the_chosen_files_of_a_folder_are_compared(mirror, folder):
    folder.write('scratch.log', 'x')
    mirror.push(folder, '--tag', 'v1.0.0', '--exclude', '*.log')
    assert verify(mirror, 'v1.0.0', folder, '--exclude', '*.log')['ok']
    assert verify(mirror, 'v1.0.0', folder, code=3)['extra'] == ['scratch.log']


def test_a_tag_that_was_moved_by_hand_is_verified_where_it_is_now(mirror, released):
    git('tag', '-f', 'v1.0.0', cwd=mirror.remote)
    assert verify(mirror, 'v1.0.0')['ok']


def test_a_commit_that_the_remote_lost_is_an_error_and_not_a_crash(mirror, released):
    shutil.rmtree(mirror.remote / 'objects')
    (mirror.remote / 'objects').mkdir()
    shutil.rmtree(mirror.home / 'clones')
    done = mirror.run('verify', 'v1.0.0', '--remote', 'local', '--repo', mirror.repo)
    assert done.code != 0 and 'this is not an error hfmirror knows' not in done.err, done.err


@pytest.mark.heavy
@pytest.mark.parametrize('name', ['v9.9.9', 'v1.0.1', 'nonsense', '--', ''])
def test_a_version_that_is_not_there_is_not_found(mirror, released, name):
    done = mirror.run('verify', '--remote', 'local', '--repo', mirror.repo, '--', name)
    assert done.code in ((2, 5) if name in ('', '--') else (5,)), done.err


def test_a_repository_that_is_not_there_is_not_found(mirror):
    done = mirror.run('verify', 'v1.0.0', '--remote', 'local', '--repo', 'me/nothing')
    assert done.code == 5 and 'me/nothing' in done.err


def test_a_missing_folder_is_a_usage_error(mirror, released, tmp_path):
    done = mirror.run('verify', 'v1.0.0', tmp_path / 'nowhere')
    assert done.code == 2 and 'no such folder' in done.err


def test_verify_changes_nothing(mirror, released):
    before = mirror.git('for-each-ref'), mirror.objects(), released.checksums()
    verify(mirror, 'v1.0.0', released, '--content')
    assert (mirror.git('for-each-ref'), mirror.objects(), released.checksums()) == before


def test_an_object_file_of_the_remote_that_is_a_folder_is_missing(mirror, released):
    path = remote_object(mirror, released)
    path.unlink()
    path.mkdir()
    assert verify(mirror, 'v1.0.0', code=3)['missing'] == ['model.bin']


@pytest.mark.heavy
def test_a_remote_at_a_path_keeps_its_objects_where_its_configuration_says(mirror, folder, tmp_path):
    remote = bare(tmp_path / 'x.git')
    git('config', 'lfs.storage', tmp_path / 'elsewhere', cwd=remote)
    where = ['--remote', f'file://{remote}']
    mirror.push(folder, '--tag', 'v1.0.0', *where)
    assert any(path.is_file() for path in (tmp_path / 'elsewhere').rglob('*'))
    assert not (remote / 'lfs').exists()
    mirror.run('verify', 'v1.0.0', *where, '--content', code=0)


@pytest.mark.heavy
def test_behind_a_network_the_lfs_server_is_asked_for_every_object(mirror, folder, tmp_path):
    with GitHost(tmp_path / 'host') as host:
        remote = host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        host.seen.clear()
        mirror.run('verify', 'v1.0.0', *where, code=0)
        assert len(host.requests('POST /info/lfs')) == 1
        (stored,) = (tmp_path / 'host').rglob(oid_of(folder.path / 'model.bin'))
        spoil(stored)
        mirror.run('verify', 'v1.0.0', *where, code=0)
        found = mirror.run('verify', 'v1.0.0', *where, '--content', '--json', code=3).json
        assert found['different'] == ['model.bin']
        os.unlink(stored)
        assert mirror.run('verify', 'v1.0.0', *where, '--json', code=3).json['missing'] == ['model.bin']
        assert remote.exists()
