"""A release that cannot be sent waits with its own bytes, and arrives as it was when the remote can be reached again."""

from __future__ import annotations

import random
import shutil
import signal
import sys

import pytest

from hfmirror import target as targets
from tests.support.fault import KILL, at, fault
from tests.support.folder import checksums
from tests.support.mirror import git
from tests.support.person import Person

NAME = 'me/tiny-model'
LARGE = random.Random(2).randbytes(2_000_000)


@pytest.fixture(autouse=True)
def no_retries(own_world, tmp_path):
    retry(tmp_path, 0)


def retry(tmp_path, times):
    (tmp_path / 'config.yaml').write_text(
        f'huggingface:\n  settings:\n    upload: {{max_retries: {times}, retry_delay: 0}}\n'
    )
    git('config', '--global', 'lfs.transfer.maxretries', '1')


@pytest.fixture
def waiting(mirror, folder, host, remote):
    """The folder's release v2.0.0 waits on top of v1.0.0; the host is down. Returns the folder's checksums then."""
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('model.bin', LARGE)
    folder.write('config.json', '{"hidden_size": 2}')
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=7)
    return folder.checksums()


def overwrite(folder):
    """Write all files in place, same inodes, as the next training run does."""
    for path in folder.path.rglob('*'):
        if path.is_file() and path.suffix != '.json':
            with path.open('r+b') as file:
                file.write(b'\2' * path.stat().st_size)
    folder.write('config.json', '{"hidden_size": 3}')


def arrived(mirror, remote, tag, tmp_path):
    """Return the checksums of a version, fetched by somebody who has nothing yet."""
    to = tmp_path / f'pulled-{tag}'
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    mirror.run('pull', tag, '--to', to, '--remote', remote, code=0, env=elsewhere)
    return checksums(to)


def waiting_names(mirror):
    return [row['version'] for row in mirror.run('status', '--json', code=0).json]


@pytest.mark.heavy
def test_an_unreachable_remote_queues_the_release(mirror, folder, host, remote):
    host.stop()
    done = mirror.run('push', folder, '--remote', remote, '--tag', 'v1.0.0', '--json', code=7)
    (row,) = done.json
    assert (row['status'], row['version']) == ('queued', 'v1.0.0')
    assert 'hfmirror resume' in done.err
    (shown,) = mirror.run('status', '--json', code=0).json
    assert (shown['version'], shown['owned'], shown['objects']) == ('v1.0.0', True, 1)
    assert 'refused' in shown['error']
    assert 'v1.0.0' in mirror.run('status', code=0).out


@pytest.mark.heavy
def test_it_arrives_as_it_was_although_the_folder_was_overwritten_in_place(
    mirror, folder, host, remote, waiting, tmp_path
):
    overwrite(folder)
    host.start()
    mirror.run('resume', code=0)
    assert waiting_names(mirror) == []
    assert waiting.items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()
    mirror.assert_whole()


@pytest.mark.heavy
def test_it_arrives_although_the_folder_is_gone(mirror, folder, host, remote, waiting, tmp_path):
    shutil.rmtree(folder.path)
    host.start()
    mirror.run('resume', code=0)
    assert waiting.items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()


@pytest.mark.heavy
def test_it_arrives_although_the_clone_is_gone(mirror, folder, host, remote, waiting, tmp_path):
    overwrite(folder)
    shutil.rmtree(mirror.home / 'clones')
    shutil.rmtree(mirror.home / 'cache')
    host.start()
    mirror.run('resume', code=0)
    assert waiting.items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()


@pytest.mark.heavy
def test_nothing_of_it_is_left_when_it_has_arrived(mirror, host, remote, waiting):
    host.start()
    mirror.run('resume', code=0)
    assert [path for path in (mirror.home / 'outbox').rglob('*') if path.is_file()] == []


@pytest.mark.heavy
def test_the_next_push_sends_it_and_then_its_own(mirror, folder, host, remote, waiting, tmp_path):
    overwrite(folder)
    host.start()
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    assert mirror.tags() == ['v1.0.0', 'v2.0.0', 'v2.1.0']
    assert waiting.items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()
    assert folder.checksums().items() <= arrived(mirror, remote, 'v2.1.0', tmp_path).items()
    assert mirror.git('rev-list', '--count', 'v2.0.0..v2.1.0') == '1'


@pytest.mark.heavy
def test_the_next_push_of_the_same_folder_sends_it_and_makes_no_other(mirror, folder, host, remote, waiting):
    host.start()
    (done,) = mirror.push(folder, '--remote', remote)
    assert (done['status'], done['version']) == ('pushed', 'v2.0.0')
    assert mirror.tags() == ['v1.0.0', 'v2.0.0']


@pytest.mark.heavy
def test_a_push_of_the_same_folder_while_it_waits_queues_no_second_one(mirror, folder, remote, waiting):
    for option in (['--tag', 'v2.0.0'], []):
        mirror.push(folder, '--remote', remote, *option, code=7)
        assert waiting_names(mirror) == ['v2.0.0']


@pytest.mark.heavy
def test_several_wait_in_order_and_arrive_in_order(mirror, folder, host, remote, waiting, tmp_path):
    overwrite(folder)
    folder.write('third.bin', b'\3' * 300)
    third = folder.checksums()
    mirror.push(folder, '--remote', remote, '--bump', 'minor', code=7)
    folder.remove('third.bin')
    overwrite(folder)
    assert waiting_names(mirror) == ['v2.0.0', 'v2.1.0']
    host.start()
    rows = mirror.run('resume', '--json', code=0).json
    assert [(row['version'], row['status']) for row in rows] == [('v2.0.0', 'pushed'), ('v2.1.0', 'pushed')]
    assert mirror.git('rev-list', '--count', 'v1.0.0..main') == '2'
    assert waiting.items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()
    assert third.items() <= arrived(mirror, remote, 'v2.1.0', tmp_path).items()
    mirror.assert_whole()


@pytest.mark.heavy
def test_resume_while_the_remote_is_still_away(mirror, remote, waiting):
    mirror.run('resume', code=7)
    mirror.run('resume', code=7)
    (row,) = mirror.run('status', '--json', code=0).json
    assert row['version'] == 'v2.0.0'


def test_resume_with_nothing_to_do(mirror):
    assert mirror.run('resume', '--json', code=0).json == []


@pytest.mark.heavy
def test_drop_forgets_it(mirror, host, remote, waiting):
    (row,) = mirror.run('status', '--json', code=0).json
    mirror.run('resume', '--drop', row['id'], code=0)
    assert waiting_names(mirror) == []
    assert [path for path in (mirror.home / 'outbox').rglob('*') if path.is_file()] == []
    host.start()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v1.0.0']


@pytest.mark.heavy
def test_drop_of_something_that_does_not_wait(mirror, waiting):
    done = mirror.run('resume', '--drop', '4711', code=5)
    assert '4711' in done.err
    assert waiting_names(mirror) == ['v2.0.0']


@pytest.mark.heavy
def test_made_offline_before_the_remote_was_ever_seen(mirror, folder, host, remote, tmp_path):
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    then = folder.checksums()
    overwrite(folder)
    theirs = {'docs/usage.md': 'how to\n', 'README.md': '# Their words\n', 'LICENSE': 'MIT\n'}
    Person(mirror.remote, tmp_path / 'person').pushes(theirs, tag='v0.1.0')
    host.start()
    mirror.run('resume', code=0)
    assert then.items() <= arrived(mirror, remote, 'v1.0.0', tmp_path).items()
    files = mirror.files()
    assert files['LICENSE'] == b'MIT\n'
    assert b'# Their words\n' in files['README.md']
    assert mirror.git('rev-list', '--count', 'main') == '2'
    mirror.assert_whole()


@pytest.mark.heavy
def test_the_tag_was_taken_meanwhile(mirror, host, remote, waiting, tmp_path):
    Person(mirror.remote, tmp_path / 'person').pushes({'LICENSE': 'MIT\n'}, tag='v2.0.0')
    before = mirror.git('for-each-ref')
    host.start()
    done = mirror.run('resume', code=6)
    assert 'v2.0.0' in done.err
    assert '--drop' in done.err
    assert mirror.git('for-each-ref') == before
    assert waiting_names(mirror) == ['v2.0.0']


LITTLE_ROOM = """
import resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""
posix = pytest.mark.skipif(sys.platform == 'win32', reason='limits and SIGKILL are POSIX')


@pytest.fixture
def links_only(mirror, folder, host, remote, tmp_path):
    """v1.0.0 waits, and the disk had no room for a copy of its 2 MB."""
    folder.write('model.bin', LARGE)
    host.stop()
    env = fault(tmp_path / 'fault', LITTLE_ROOM)
    return mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7, env=env)


@posix
def test_a_disk_without_room_for_the_copy_says_so(mirror, folder, links_only):
    assert 'no room for a copy' in links_only.err
    (row,) = mirror.run('status', '--json', code=0).json
    assert not row['owned']
    assert f'leave {folder} as it is' in mirror.run('status', code=0).out


@pytest.mark.heavy
@posix
def test_a_release_without_a_copy_arrives_when_the_folder_was_left_alone(
    mirror, folder, host, remote, links_only, tmp_path
):
    host.start()
    mirror.run('resume', code=0)
    assert folder.checksums().items() <= arrived(mirror, remote, 'v1.0.0', tmp_path).items()


@pytest.mark.heavy
@posix
def test_a_release_without_a_copy_is_not_sent_when_the_folder_was_overwritten(
    mirror, folder, host, links_only
):
    overwrite(folder)
    host.start()
    done = mirror.run('resume', code=1)
    assert str(folder.path / 'model.bin') in done.err
    assert mirror.git('for-each-ref') == ''
    assert mirror.objects() == set()


@pytest.mark.heavy
@posix
def test_killed_while_it_only_had_links_and_then_overwritten(mirror, folder, host, remote, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('model.bin', LARGE)
    env = fault(tmp_path / 'fault', at('hfmirror.delivery:_send_objects', before=KILL))
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=-signal.SIGKILL, env=env)
    overwrite(folder)
    before = mirror.git('for-each-ref'), mirror.objects()
    done = mirror.run('resume', code=1)
    assert str(folder.path / 'model.bin') in done.err
    assert (mirror.git('for-each-ref'), mirror.objects()) == before
    done = mirror.run('push', folder, '--remote', remote, '--tag', 'v2.0.0', code=0)
    assert 'cannot be finished' in done.err
    assert folder.checksums().items() <= arrived(mirror, remote, 'v2.0.0', tmp_path).items()
    assert waiting_names(mirror) == []
    mirror.assert_whole()


@pytest.mark.heavy
def test_retries_come_before_waiting(mirror, folder, host, remote, tmp_path):
    retry(tmp_path, 2)
    host.fail('POST /git-receive-pack', 503, times=2)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.txt', 'x')
    host.fail('POST /git-receive-pack', 503, times=3)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=7)
    assert waiting_names(mirror) == ['v2.0.0']


@pytest.mark.heavy
def test_one_of_two_remotes_is_away(mirror, folder, host, remote):
    host.stop()
    mirror.push(folder, '--remote', remote, '--remote', 'local', '--tag', 'v1.0.0', code=9)
    assert waiting_names(mirror) == ['v1.0.0']
    local = mirror.home / 'hub' / 'models' / f'{NAME}.git'
    assert git('tag', cwd=local) == 'v1.0.0'
    host.start()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v1.0.0']


def test_status_with_nothing_waiting(mirror):
    assert mirror.run('status', '--json', code=0).json == []
    assert mirror.run('status', code=0).out == ''


@pytest.mark.heavy
def test_an_unchanged_folder_is_not_called_done_while_the_remote_cannot_be_asked(
    mirror, folder, host, remote
):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    host.stop()
    done = mirror.push(folder, '--remote', remote, '--bump', 'minor', code=7)
    assert 'nothing could be proven' in done.err
    assert mirror.run('status', '--json', code=0).json == []


# -- one that cannot be sent


@pytest.mark.heavy
def test_one_that_the_remote_refuses_is_named_by_every_later_push_with_how_to_drop_it(
    mirror, folder, host, remote
):
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    (row,) = mirror.run('status', '--json', code=0).json
    host.start()
    host.fail('PUT', 413, times=9)
    folder.write('model.bin', b'\0small')
    for command in (['push', folder, '--remote', remote, '--repo', NAME, '--tag', 'v2.0.0'], ['resume']):
        done = mirror.run(*command, code=1)
        assert 'That is v1.0.0, which waits' in done.err and f'--drop {row["id"]}' in done.err
    host.wipe_faults()
    mirror.run('resume', '--drop', row['id'], code=0)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0')
    assert mirror.tags() == ['v2.0.0']


@pytest.mark.heavy
def test_one_whose_objects_went_with_a_dropped_one_moves_no_ref(mirror, folder, host, remote, waiting):
    folder.write('config.json', '{"hidden_size": 3}')
    mirror.push(folder, '--remote', remote, '--tag', 'v2.1.0', code=7)
    first, second = mirror.run('status', '--json', code=0).json
    dropped = mirror.run('resume', '--drop', first['id'], code=0)
    assert 'v2.1.0: made on top of v2.0.0' in dropped.err
    before = mirror.git('for-each-ref')
    host.start()
    done = mirror.run('resume', code=3)
    assert 'lacks what v2.1.0 has' in done.err and 'model.bin' in done.err and second['id'] in done.err
    assert mirror.git('for-each-ref') == before
    mirror.run('resume', '--drop', second['id'], code=0)
    mirror.push(folder, '--remote', remote, '--tag', 'v2.1.0')
    mirror.assert_whole()


# -- a hiccup


@pytest.mark.heavy
def test_one_refusal_to_tell_the_refs_does_not_end_a_push_of_an_untouched_folder(
    mirror, folder, host, remote, tmp_path
):
    retry(tmp_path, 1)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    host.fail('GET /info/refs', 503)
    (done,) = mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert done['status'] == 'up-to-date'


@pytest.mark.heavy
def test_an_untouched_folder_is_not_called_done_while_its_objects_cannot_be_asked_for(
    mirror, folder, host, remote
):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    host.fail('POST /info/lfs', 503, times=99)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)


@pytest.mark.heavy
def test_what_the_system_refuses_one_remote_does_not_keep_the_other_from_it(mirror, folder, remote):
    both = ['--remote', 'local', '--remote', remote]
    mirror.push(folder, *both, '--tag', 'v1.0.0')
    slug = targets.local(mirror.home / 'hub', NAME).slug
    (mirror.home / 'outbox' / slug).write_text('in the way')
    folder.write('config.json', '{}')
    done = mirror.push(folder, *both, '--tag', 'v2.0.0', code=9)
    assert [row['status'] for row in done.json] == ['failed', 'pushed']
    assert slug in done.json[0]['error']
