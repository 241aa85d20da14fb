"""Git hooks: a commit, a tag or a push of the training code releases what was trained, once, and never gets in git's way."""

import os
import secrets
import shutil
import signal
import socket
import string
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from filelock import FileLock

from tests.support.coderepo import REPO, CodeRepo
from tests.support.mirror import bare, git

ZERO = '0' * 40


@pytest.fixture
def code(tmp_path, mirror):
    return CodeRepo(tmp_path / 'code', mirror)


@pytest.fixture
def full_disk(tmp_path):
    place = tmp_path / 'full'
    place.mkdir()
    mount = ['mount', '-t', 'tmpfs', '-o', 'size=64k', 'none', place]
    if sys.platform != 'linux' or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip('mounts a file system')
    yield place
    subprocess.run(['umount', place], check=True)


# -- commit


def test_a_commit_releases_a_finished_result_with_its_own_commit_as_the_source(code):
    code.install('commit')
    done = code.commit()
    assert code.tags() == ['v0.1.0']
    assert code.source() == code.head()
    assert code.mirror.files().keys() >= {'config.json', 'model.bin', 'README.md'}
    assert done.err.startswith('hfmirror: outputs: v0.1.0 pushed and proven')


@pytest.mark.heavy
def test_an_unchanged_result_is_released_once(code):
    code.install('commit')
    code.commit()
    assert code.commit().err == ''
    assert code.tags() == ['v0.1.0']


def test_the_next_result_is_the_next_release(code):
    code.install('commit')
    code.commit()
    code.finish_training(b'two')
    code.commit()
    assert code.tags() == ['v0.1.0', 'v0.2.0']
    assert code.source('v0.2.0') == code.head()


@pytest.mark.heavy
def test_what_was_pushed_by_hand_is_not_released_again(code):
    code.mirror.push(code.outputs)
    code.install('commit')
    assert 'released already, as v0.1.0' in code.commit().err
    assert code.tags() == ['v0.1.0']


def test_a_commit_without_a_result_is_silent(code):
    shutil.rmtree(code.outputs.path)
    code.install('commit')
    assert code.commit() == (0, '', '')
    (code.path / 'outputs').mkdir()
    assert code.commit() == (0, '', '')


def test_a_half_written_result_is_named_and_left_out(code):
    code.outputs.write('model.safetensors', b'\x40\0\0\0\0\0\0\0{"a":')
    code.install('commit')
    done = code.commit()
    assert 'model.safetensors is cut short' in done.err
    assert 'Not released' in done.err
    assert code.tags() == []


def test_checkpoints_alone_are_told_and_not_released(code):
    for name in ('config.json', 'model.bin'):
        code.outputs.remove(name)
    code.outputs.write('checkpoint-500/model.bin', b'x')
    code.outputs.write('checkpoint-1000/model.bin', b'x')
    code.install('commit')
    done = code.commit()
    assert 'outputs: 2 checkpoints and no final result' in done.err
    assert "'hfmirror push outputs/checkpoint-1000'" in done.err
    assert code.tags() == []


def test_checkpoints_are_no_part_of_the_result_beside_them(code):
    code.outputs.write('checkpoint-500/model.bin', b'x' * 100)
    code.install('commit')
    code.commit()
    assert not any('checkpoint' in name for name in code.mirror.files())


def test_the_folder_may_be_outside_of_the_repository(code, tmp_path):
    elsewhere = tmp_path / 'über "all"'
    code.outputs.path.rename(elsewhere)
    code.install('commit', args=['--folder', elsewhere])
    code.commit()
    assert code.tags() == ['v0.1.0']
    assert code.source() == code.head()


def test_the_folder_of_the_configuration_is_released(code):
    code.outputs.path.rename(code.path / 'trained')
    code.write(
        'config.yaml',
        f'huggingface: {{remotes: [local], repository: {{model_name: {REPO}}}, hooks: {{folder: trained}}}}\n',
    )
    code.install('commit')
    code.commit()
    assert code.tags() == ['v0.1.0']


def test_a_repository_is_named_by_the_options(code):
    code.install('commit', args=['--repo', 'me/other', '--remote', 'local'])
    code.commit()
    assert code.tags() == []
    assert git('tag', cwd=code.mirror.home / 'hub' / 'models' / 'me' / 'other.git') == 'v0.1.0'


def test_a_commit_in_a_subfolder_releases_too(code):
    (code.path / 'deep' / 'er').mkdir(parents=True)
    code.install('commit')
    code.git('commit', '-q', '--allow-empty', '-m', 'from below', cwd=code.path / 'deep' / 'er')
    assert code.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_an_amended_commit_is_no_second_release(code):
    code.install('commit')
    code.commit()
    code.git('commit', '-q', '--amend', '-m', 'better words')
    assert code.tags() == ['v0.1.0']


@pytest.mark.heavy
@pytest.mark.parametrize('way', ['rebase', 'cherry-pick'])
def test_commits_that_are_made_over_release_nothing(code, way):
    code.git('checkout', '-qb', 'side')
    for name in ('a', 'b'):
        code.write(name, name)
        code.git('add', name)
        code.git('commit', '-qm', name)
    code.git('checkout', '-q', 'main')
    code.commit()
    code.install('commit')
    if way == 'rebase':
        done = code.git('rebase', '-q', 'main', 'side')
    else:
        done = code.git('cherry-pick', 'side~1', 'side')
    assert 'hfmirror' not in done.err
    assert code.tags() == []
    code.commit()
    assert code.tags() == ['v0.1.0']


def test_a_merge_that_somebody_commits_releases_once(code):
    code.git('checkout', '-qb', 'side')
    code.write('shared', 'side')
    code.git('add', 'shared')
    code.git('commit', '-qm', 'side')
    code.git('checkout', '-q', 'main')
    code.write('shared', 'main')
    code.git('add', 'shared')
    code.git('commit', '-qm', 'main')
    code.install('commit', 'tag', 'push')
    code.git('merge', 'side', code=1)
    assert code.tags() == []
    code.git('commit', '-qam', 'merged')
    assert code.tags() == ['v0.1.0']
    assert code.source() == code.head()


@pytest.mark.heavy
def test_a_worktree_releases_its_own_folder(code, tmp_path):
    code.install('commit')
    tree = tmp_path / 'tree'
    code.git('worktree', 'add', '-q', tree)
    shutil.copytree(code.outputs.path, tree / 'outputs')
    (tree / 'outputs' / 'model.bin').write_bytes(b'of the other tree')
    code.commit(cwd=tree)
    assert code.tags() == ['v0.1.0']
    assert code.source() == code.head(cwd=tree) != code.head()
    assert code.mirror.files()['model.bin'].endswith(b'size 17\n')


@pytest.mark.heavy
def test_a_submodule_has_hooks_of_its_own(code, tmp_path, mirror):
    whole = tmp_path / 'whole'
    git('init', '-q', '-b', 'main', whole)
    code.git('-c', 'protocol.file.allow=always', 'submodule', 'add', '-q', code.path, 'part', cwd=whole)
    part = whole / 'part'
    shutil.copytree(code.outputs.path, part / 'outputs')
    code.install('commit', cwd=part)
    assert (whole / '.git' / 'modules' / 'part' / 'hooks' / 'post-commit').exists()
    code.git('commit', '-qm', 'with a part', cwd=whole)
    assert code.tags() == []
    code.commit(cwd=part)
    assert code.source() == code.head(cwd=part)


@pytest.mark.heavy
def test_a_work_tree_apart_from_its_repository_is_found(code, tmp_path):
    apart = tmp_path / 'apart.git'
    (code.path / '.git').rename(apart)
    where = [f'--git-dir={apart}', f'--work-tree={code.path}']
    code.hooks('install', '--no-background', env={'GIT_DIR': str(apart), 'GIT_WORK_TREE': str(code.path)})
    code.git(*where, 'commit', '-q', '--allow-empty', '-m', 'apart', cwd=tmp_path)
    assert code.tags() == ['v0.1.0']
    assert code.source() == git('--git-dir', apart, 'rev-parse', 'HEAD')


@pytest.mark.heavy
def test_modules_of_the_project_are_not_taken_for_ours(code):
    code.install('commit')
    for name in ('hfmirror.py', 'click.py', 'json.py', 'select.py'):
        code.write(name, 'raise SystemExit("not this one")\n')
    code.commit()
    assert code.tags() == ['v0.1.0']


def test_uncommitted_code_is_told(code):
    code.commit()
    code.install('commit')
    code.write('train.py', 'changed')
    code.git('commit', '-q', '--allow-empty', '-m', 'not all of it')
    assert 'Source-Dirty: true' in code.message()


def test_hooks_are_off_where_releases_are(code):
    code.write('config.yaml', 'huggingface: {enabled: false}\n')
    code.install('commit')
    assert code.commit() == (0, '', '')
    assert code.saves() == []


# -- tag


def test_an_annotated_tag_releases_under_its_name_with_its_message(code):
    code.install('tag')
    code.git('tag', '-a', 'v1.2.0', '-m', 'The good one\n\nTrained for a week.')
    assert code.tags() == ['v1.2.0']
    notes = code.mirror.git('for-each-ref', '--format=%(contents)', 'refs/tags/v1.2.0')
    assert notes.startswith('The good one\n\nTrained for a week.\n')
    assert code.source() == code.head()


def test_a_light_tag_releases_with_the_usual_message(code):
    code.install('tag')
    done = code.git('tag', 'v1.2.0')
    assert 'outputs: v1.2.0 pushed and proven' in done.err
    assert code.message().startswith('feat(model): tiny-model v1.2.0\n')


def test_a_tag_of_an_older_commit_names_that_as_the_source(code):
    code.commit()
    code.install('tag')
    code.git('tag', 'v1.0.0', 'HEAD~1')
    assert code.source() == code.head('HEAD~1')


@pytest.mark.heavy
def test_a_released_result_gets_a_second_name_by_a_tag(code):
    code.install('commit', 'tag')
    code.commit()
    code.git('tag', 'final')
    assert sorted(code.tags()) == ['final', 'v0.1.0']
    assert code.commit().err == ''


def test_tags_that_are_fetched_release_nothing(code, tmp_path):
    origin, other = code.code_remote(), tmp_path / 'other'
    code.git('push', '-q', 'origin', 'main')
    git('clone', '-q', origin, other)
    code.install('tag')
    for name, way in [
        ('v1', ['fetch']),
        ('v2', ['pull', '-q', '--tags', 'origin', 'main']),
        ('v3', ['remote', 'update']),
    ]:
        (other / name).write_text(name)
        git('add', name, cwd=other)
        git('commit', '-qm', name, cwd=other)
        git('tag', '-a', name, '-m', name, cwd=other)
        git('push', '-q', 'origin', 'main', name, cwd=other)
        code.git(*way)
        assert name in git('tag', cwd=code.path).split()
    code.git('config', 'alias.f', 'fetch')
    git('tag', 'v4', cwd=other)
    git('push', '-q', 'origin', 'v4', cwd=other)
    code.git('f', '--tags')
    assert code.tags() == []


def test_tags_that_are_deleted_moved_to_a_pack_or_of_no_commit_release_nothing(code):
    code.git('tag', 'v1')
    code.git('tag', 'v2')
    code.install('tag')
    code.git('tag', '-d', 'v1')
    code.git('pack-refs', '--all')
    code.git('gc', '-q')
    code.git('tag', 'a-tree', 'HEAD^{tree}')
    assert code.tags() == []


@pytest.mark.heavy
def test_an_alias_makes_a_tag_too(code):
    code.git('config', 'alias.t', 'tag')
    code.install('tag')
    code.git('-c', 'core.abbrev=7', 't', 'v1.0.0')
    assert code.tags() == ['v1.0.0']


def test_a_tag_that_no_release_can_have_is_told(code):
    code.install('tag')
    done = code.git('tag', 'HEAD')
    assert 'Nothing is released for this tag' in done.err


@pytest.mark.heavy
def test_a_moved_tag_does_not_move_its_release(code):
    code.install('tag')
    code.git('tag', 'v1.0.0')
    code.finish_training(b'two')
    done = code.git('tag', '-f', 'v1.0.0')
    assert 'tag v1.0.0 is already at' in done.err
    assert code.saves() == []


def test_a_tag_without_a_result_says_so(code):
    shutil.rmtree(code.outputs.path)
    code.install('tag')
    assert 'no finished result in it, so nothing is released as v1.0.0' in code.git('tag', 'v1.0.0').err


@pytest.mark.heavy
def test_a_tag_that_is_pushed_to_a_bare_repository_releases_there(code, tmp_path):
    place = bare(tmp_path / 'server.git')
    code.hooks(
        'install', '--on', 'tag', '--no-background', '--folder', code.outputs, '--config',
        code.path / 'config.yaml', cwd=place,
    )  # fmt: skip
    code.git('tag', 'v1.0.0')
    done = code.git('push', '-q', place, 'main', 'v1.0.0')
    assert 'v1.0.0 pushed and proven' in done.err
    assert code.source() == code.head()


def test_nobody_commits_in_a_bare_repository(code, tmp_path):
    place = bare(tmp_path / 'server.git')
    assert 'Install with --on tag' in code.hooks('install', cwd=place, code=2).err


# -- push


@pytest.mark.heavy
def test_a_push_carries_its_release_along(code):
    origin = code.code_remote()
    code.install('push')
    done = code.git('push', '-q', 'origin', 'main')
    assert 'v0.1.0 pushed and proven' in done.err
    assert code.source() == code.head() == git('rev-parse', 'main', cwd=origin)


@pytest.mark.heavy
def test_a_push_stops_when_a_gate_refuses_its_release(code):
    origin = code.code_remote()
    code.outputs.write('notes.txt', f'token: {_secret()}\n')
    for background in (False, True):
        code.install('push', background=background)
        done = code.git('push', 'origin', 'main', code=1)
        assert 'notes.txt' in done.err
        assert 'The push was stopped' in done.err
    assert git('for-each-ref', cwd=origin) == ''
    assert code.saves() == []


def test_a_push_stops_when_its_release_cannot_be_held(code):
    origin = code.code_remote()
    code.install('push', background=True)
    outbox = code.mirror.home / 'outbox'
    outbox.parent.mkdir(exist_ok=True)
    outbox.write_text('no directory')
    assert 'The push was stopped' in code.git('push', 'origin', 'main', code=1).err
    assert git('for-each-ref', cwd=origin) == ''


def test_a_push_stops_for_a_broken_configuration_and_a_commit_does_not(code):
    origin = code.code_remote()
    code.install('commit', 'push')
    code.write('config.yaml', 'huggingface: {remote: [local]}\n')
    assert "Did you mean 'remotes'" in code.commit().err
    assert 'The push was stopped' in code.git('push', 'origin', 'main', code=1).err
    assert git('for-each-ref', cwd=origin) == ''


def test_a_push_without_verification_goes_without_its_release(code):
    origin = code.code_remote()
    code.install('push')
    code.git('push', '-q', '--no-verify', 'origin', 'main')
    assert code.tags() == []
    assert git('rev-parse', 'main', cwd=origin) == code.head()


@pytest.mark.parametrize('what', ['nothing new', 'a deletion', 'another branch'])
def test_a_push_of_other_things_carries_no_release(code, what):
    code.code_remote()
    code.git('branch', 'other')
    code.commit()
    code.git('push', '-q', 'origin', 'main', 'main:gone')
    code.install('push')
    words = {'nothing new': ['main'], 'a deletion': ['--delete', 'gone'], 'another branch': ['other']}[what]
    code.git('push', '-q', 'origin', *words)
    assert code.tags() == []


@pytest.mark.parametrize('word', ['--dry-run', '-nv'])
def test_a_push_that_only_shows_what_it_would_do_releases_nothing(code, word):
    code.code_remote()
    code.install('push')
    code.git('push', word, 'origin', 'main')
    assert code.tags() == []


def test_a_full_disk_stops_a_push(code, full_disk, monkeypatch):
    origin = code.code_remote()
    code.install('push', background=True)
    monkeypatch.setenv('HFMIRROR_HOME', str(full_disk))
    with suppress(OSError):
        (full_disk / 'fill').write_bytes(bytes(128 * 1024))
    assert 'No space left' in code.git('push', 'origin', 'main', code=1).err
    assert git('for-each-ref', cwd=origin) == ''


def test_a_half_written_result_does_not_stop_a_push(code):
    origin = code.code_remote()
    code.outputs.write('model.safetensors.tmp', b'x')
    code.install('push')
    done = code.git('push', '-q', 'origin', 'main')
    assert 'model.safetensors.tmp is being written' in done.err
    assert git('rev-parse', 'main', cwd=origin) == code.head()
    assert code.tags() == []


@pytest.mark.heavy
def test_a_push_sends_what_waited_for_the_network(code):
    code.code_remote()
    code.install('commit', 'push', args=['--remote', 'http://127.0.0.1:9/me/tiny-model.git'])
    assert 'waits for the network' in code.commit().err
    assert code.commit().err == ''
    done = code.git('push', '-q', 'origin', 'main')
    assert 'waits for the network' in done.err


# -- never in git's way


def test_without_a_network_the_release_waits_and_git_does_not(code):
    code.install('commit', args=['--remote', 'http://127.0.0.1:9/me/tiny-model.git'])
    started = time.monotonic()
    done = code.commit()
    assert time.monotonic() - started < 5  # three tries would take fourteen
    assert 'v0.1.0 waits for the network' in done.err
    assert 'v0.1.0' in code.mirror.run('status').out


def test_a_server_that_does_not_answer_holds_nobody_up_in_the_background(code, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/me/tiny-model.git'
        code.install('commit', background=True, args=['--remote', address])
        started = time.monotonic()
        done = code.commit()
        assert time.monotonic() - started < 5
        assert 'is on its way in the background' in done.err
        assert f'see {code.mirror.home}/log/saves.log' in done.err
    code.quiet()


def test_in_the_background_the_release_comes_when_git_has_ended(code):
    code.install('commit', background=True)
    code.commit()
    assert code.wait(1) == ['v0.1.0']
    assert code.source() == code.head()


def test_the_source_of_a_release_in_the_background_is_the_commit_that_it_was_for(code):
    code.install('commit', background=True)
    code.commit()
    first = code.head()
    code.commit()
    code.wait(1)
    assert code.source() == first != code.head()


@pytest.mark.heavy
def test_what_failed_in_the_background_is_told_by_the_next_hook_and_replaced(code):
    code.install('commit', background=True)
    code.outputs.write('notes.txt', f'token: {_secret()}\n')
    code.commit()
    code.quiet()
    done = code.commit()
    assert 'not released yet' in done.err
    assert 'notes.txt' in done.err
    code.outputs.remove('notes.txt')
    code.commit()
    assert code.wait(1) == ['v0.1.0']
    assert code.saves() == []


def test_a_kill_of_the_release_loses_nothing(code, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/me/tiny-model.git'
        code.install('commit', background=True, args=['--remote', address])
        code.commit()
        for number in _processes(code.path):
            os.kill(number, signal.SIGKILL)
    assert len(code.saves()) == 1
    code.mirror.run('resume', code=7)
    assert code.saves() == []
    assert 'v0.1.0' in code.mirror.run('status').out


@pytest.mark.heavy
def test_what_was_killed_is_taken_up_by_the_next_commit(code, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    with socket.create_server(('127.0.0.1', 0)) as silent:
        address = f'http://127.0.0.1:{silent.getsockname()[1]}/me/tiny-model.git'
        code.install('commit', 'push', background=True, args=['--remote', address])
        code.commit()
        for number in _processes(code.path):
            os.kill(number, signal.SIGKILL)
    code.code_remote()
    assert 'is on its way in the background' in code.git('push', '-q', 'origin', 'main').err
    code.quiet()
    assert code.saves() == []
    assert 'v0.1.0' in code.mirror.run('status').out


@pytest.mark.heavy
def test_what_is_written_over_before_it_was_sent_is_not_released(code):
    code.install('commit', background=True)
    with _held_up(code):
        code.commit()
        with (code.outputs.path / 'model.bin').open('wb') as file:
            file.write(b'half')
    code.quiet()
    assert code.tags() == []
    assert 'have been written over since' in code.saves()[0]['error']
    code.finish_training(b'two')
    code.commit()
    assert code.wait(1) == ['v0.1.0']
    assert code.source() == code.head()
    assert code.saves() == []


@pytest.mark.heavy
def test_a_result_that_failed_waits_when_the_next_one_comes(code):
    code.install('commit', background=True)
    code.outputs.write('notes.txt', f'token: {_secret()}\n')
    code.commit()
    code.quiet()
    first = code.head()
    code.outputs.remove('notes.txt')
    code.outputs.remove('model.bin')
    code.finish_training(b'two')
    code.commit()
    assert code.wait(1) == ['v0.1.0']
    assert code.source() != first
    assert [save['source_commit'] for save in code.saves()] == [first]


@pytest.mark.heavy
def test_an_interruption_ends_the_wait_and_not_the_release(code):
    code.install('commit')
    with _held_up(code):
        commit = subprocess.Popen(
            ['git', 'commit', '-q', '--allow-empty', '-m', 'x'],
            cwd=code.path,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        until = time.monotonic() + 60
        while 'another hfmirror is at work' not in code.log():
            assert time.monotonic() < until
            time.sleep(0.05)
        os.killpg(commit.pid, signal.SIGINT)
        assert 'outputs: goes on in the background' in commit.communicate(timeout=60)[1]
    assert code.wait(1) == ['v0.1.0']
    assert code.commit().err == ''


@contextmanager
def _held_up(code):
    """Have another process release saves, so to speak, until the end of the block."""
    lock = code.mirror.home / 'outbox' / 'saves' / 'sender.lock'
    lock.parent.mkdir(parents=True)
    with FileLock(lock):
        yield


def _secret():
    """Return what looks like a token, as no example does."""
    return 'hf_' + ''.join(secrets.choice(string.ascii_letters) for _ in range(34))


def _processes(cwd):
    """Return the processes of ours that work there."""
    found = []
    for place in os.scandir('/proc'):
        try:
            if os.readlink(f'{place.path}/cwd') == str(cwd):
                found.append(int(place.name))
        except (OSError, ValueError):
            continue
    assert found
    return found


@pytest.mark.heavy
def test_a_release_can_be_skipped(code):
    code.code_remote()
    code.install('commit', 'tag', 'push')
    skip = {'HFMIRROR_SKIP': '1'}
    assert code.commit(env=skip) == (0, '', '')
    code.git('tag', 'v1', env=skip)
    code.git('push', '-q', 'origin', 'main', env=skip)
    assert code.tags() == []
    assert code.hooks('run', 'commit', env=skip) == (0, '', '')
    code.commit(env={'HFMIRROR_SKIP': '0'})
    assert code.tags() == ['v0.1.0']


def test_a_git_command_inside_a_release_calls_no_hook(code):
    code.install('commit')
    assert code.commit(env={'HFMIRROR_HOOK': '1'}) == (0, '', '')
    assert code.tags() == []


def test_git_goes_on_when_hfmirror_is_gone(code, monkeypatch):
    code.code_remote()
    code.install('commit', 'tag', 'push')
    for name in ('post-commit', 'reference-transaction', 'pre-push'):
        script = code.hook(name)
        script.write_text(script.read_text().replace(sys.executable, '/gone/bin/python'))
    monkeypatch.setenv('PATH', _path_without_us())
    for done in (code.commit(), code.git('tag', 'v1'), code.git('push', '-q', 'origin', 'main')):
        assert done.err.count('\n') == 1
        assert '/gone/bin/python nor hfmirror on PATH is there any more, so nothing is released' in done.err


def test_git_goes_on_when_hfmirror_is_gone_from_its_interpreter(code):
    code.code_remote()
    code.install('push')
    script = code.hook('pre-push')
    bare_python = os.path.realpath(sys.executable)
    script.write_text(script.read_text().replace(sys.executable, bare_python))
    done = code.git('push', '-q', 'origin', 'main')
    assert f'hfmirror is gone from {bare_python}' in done.err
    assert "run 'hfmirror hooks install' again" in done.err
    assert code.tags() == []


def test_the_hfmirror_of_path_takes_the_place_of_an_interpreter_that_is_gone(code):
    code.install('commit')
    script = code.hook('post-commit')
    script.write_text(script.read_text().replace(sys.executable, '/gone/bin/python'))
    code.commit()
    assert code.tags() == ['v0.1.0']


def _path_without_us():
    kept = [part for part in os.environ['PATH'].split(os.pathsep) if not os.path.exists(f'{part}/hfmirror')]
    return os.pathsep.join(kept)


def test_without_a_token_the_release_is_kept_on_this_machine(code):
    code.install('commit', args=['--remote', 'hub'])
    done = code.commit()
    assert 'HF_TOKEN not found' in done.err
    assert code.tags() == ['v0.1.0']


@pytest.mark.heavy
def test_a_release_goes_to_the_hub_with_the_token_of_the_environment(code, hub, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    code.install('commit', args=['--remote', 'hub', '--repo', 'local/trained'])
    done = code.commit()
    assert f'v0.1.0 pushed and proven, {hub.endpoint}/local/trained' in done.err
    assert hub.token not in done.err + code.log() + (code.path / '.git' / 'config').read_text()


def test_an_unchanged_folder_and_none_cost_little(code):
    code.install('commit')
    code.commit()
    assert any(_takes(code) < 0.5 for _ in range(8))  # of a machine with other work the best time counts
    shutil.rmtree(code.outputs.path)
    assert any(_takes(code) < 0.5 for _ in range(8))


def _takes(code):
    started = time.monotonic()
    code.git('hook', 'run', 'post-commit')
    return time.monotonic() - started


# -- by hand, and by whoever manages hooks


@pytest.mark.heavy
def test_a_hook_can_be_run_by_hand_without_being_installed(code):
    assert code.hooks('run', 'commit', '--no-background').err.startswith('hfmirror: outputs: v0.1.0 pushed')
    code.git('tag', 'v1.0.0')
    done = code.hooks('run', 'tag', 'v1.0.0', '--no-background', '--json')
    assert [(one['status'], one['version'], one['commit']) for one in done.json] == [
        ('pushed', 'v1.0.0', code.head())
    ]
    code.finish_training(b'two')
    code.hooks('run', 'push', '--no-background')
    assert code.tags() == ['v0.1.0', 'v1.0.0', 'v1.1.0']


def test_a_hook_that_is_run_dry_changes_nothing(code):
    done = code.hooks('run', 'commit', '--dry-run')
    assert 'would be released' in done.err
    assert code.tags() == code.saves() == []


def test_a_tag_by_hand_has_to_be_named(code):
    assert 'which tag?' in code.hooks('run', 'tag', code=2).err


def test_hooks_belong_into_a_repository(code, tmp_path):
    assert 'in no work tree of a git repository' in code.hooks('install', cwd=tmp_path, code=2).err


@pytest.mark.heavy
def test_two_tags_of_one_transaction_are_two_releases(code):
    code.install('tag')
    lines = f'create refs/tags/v1 {code.head()}\ncreate refs/tags/v2 {code.head()}\n'
    subprocess.run(['git', 'update-ref', '--stdin'], cwd=code.path, input=lines, text=True, check=True)
    assert code.tags() == ['v1', 'v2']
