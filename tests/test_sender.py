"""Saves become releases: in order, by whoever gets there, and what cannot go yet waits."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sqlite3
import string
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from hfmirror import outbox, sender
from hfmirror.auth import Token
from hfmirror.config.places import home
from hfmirror.spool import Part, Save, Spool

NOWHERE = 'http://127.0.0.1:9/me/tiny-model.git'


@pytest.fixture
def spool():
    return Spool(home())


@pytest.fixture
def put(spool, folder):
    """Hand over what the folder holds with other weights; returns the save."""

    def put(tag='step-1', weights=None, **fields):
        folder.write('model.bin', (weights or str(tag)).encode() * 500)
        given = {'repo': 'me/tiny-model', 'remotes': ('local',), 'tag': tag, **fields}
        return spool.put(Save(str(folder.path), **given), [Part(folder.path)], copies=True)

    return put


def drained():
    return [(result.status, result.version) for result in sender.drain(home())]


def held_by(mirror, tag):
    pointer = mirror.git('show', f'{tag}:model.bin')
    oid = pointer.split('sha256:')[1][:64]
    return (mirror.remote / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid).read_bytes()


# -- released


def test_saves_are_released_oldest_first(put, mirror):
    for number in (1, 2, 3):
        put(f'step-{number}')
    assert drained() == [('pushed', 'step-1'), ('pushed', 'step-2'), ('pushed', 'step-3')]
    assert mirror.git('log', '--format=%D', '--reverse', 'main').count('tag: step-') == 3
    assert [held_by(mirror, f'step-{number}') for number in (1, 2, 3)] == [
        f'step-{number}'.encode() * 500 for number in (1, 2, 3)
    ]
    assert drained() == []


def test_a_token_that_was_given_is_for_the_saves_it_was_given_for(put, spool):
    others, own = put('step-1'), put('step-2')
    process = sender.start(Token('hf_' + 'a' * 34, 'given', 'http://127.0.0.1:9'), only=[own.id])
    assert process.wait(60) == 0
    assert [save.id for save in spool.saves()] == [others.id]


def test_without_a_tag_it_is_the_next_version(put):
    put(None, 'a')
    put(None, 'b')
    assert drained() == [('pushed', 'v0.1.0'), ('pushed', 'v0.2.0')]


def test_what_is_there_already_is_found_to_be_there(put):
    put('step-1')
    put('step-1')
    assert drained() == [('pushed', 'step-1'), ('up-to-date', 'step-1')]


def test_what_is_handed_over_meanwhile_is_released_too(put, spool, folder, mirror):
    put('step-1')
    thread = threading.Thread(target=lambda: (time.sleep(0.2), put('step-2')))
    thread.start()
    drained()
    thread.join()
    drained()
    assert mirror.tags() == ['step-1', 'step-2']


def test_two_that_release_at_the_same_time_release_each_save_once(put, mirror):
    for number in (1, 2, 3):
        put(f'step-{number}')
    found = []
    threads = [threading.Thread(target=lambda: found.append(drained())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(len, found)) == [0, 3]


def test_a_release_without_a_name_is_called_as_the_folder(put, mirror):
    put('step-1', repo=None)
    (result,) = sender.drain(home())
    assert result.url.endswith('/models/local/tiny-model.git')


def test_a_name_without_a_namespace_is_in_ones_own(put, monkeypatch):
    monkeypatch.setenv('HF_USERNAME', 'ada')
    put('step-1', repo='bert')
    (result,) = sender.drain(home())
    assert result.url.endswith('/models/ada/bert.git')


def test_the_configuration_of_another_directory_is_not_used(put, tmp_path, monkeypatch):
    put('step-1', repo=None)
    (tmp_path / 'elsewhere').mkdir()
    (tmp_path / 'elsewhere' / 'config.yaml').write_text(
        'huggingface: {repository: {model_name: other/model}}\n'
    )
    monkeypatch.chdir(tmp_path / 'elsewhere')
    (result,) = sender.drain(home())
    assert 'other' not in result.url


def test_without_a_token_it_is_kept_in_the_local_hub(put, mirror, capsys):
    put('step-1', remotes=('hub',))
    assert drained() == [('pushed', 'step-1')]
    assert 'HF_TOKEN not found' in capsys.readouterr().err
    assert mirror.tags() == ['step-1']


def test_it_goes_to_the_hub(put, hub, monkeypatch, mirror):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    put('step-1', remotes=('hub',), repo='local/tiny-model')
    assert drained() == [('pushed', 'step-1')]
    assert hub.requests('POST /git-receive-pack')


# -- series


def test_a_step_of_a_training_that_began_again_gets_a_number(put, mirror):
    for weights in ('first', 'second', 'third', 'second'):
        put('step-1', weights, series='step-{step}')
    assert drained() == [
        ('pushed', 'step-1'),
        ('pushed', 'step-1.2'),
        ('pushed', 'step-1.3'),
        ('up-to-date', 'step-1.2'),
    ]
    assert held_by(mirror, 'step-1') == b'first' * 500


def test_without_a_series_a_name_that_is_taken_is_an_error(put, spool):
    put('v1.0.0', 'first')
    put('v1.0.0', 'second')
    assert drained() == [('pushed', 'v1.0.0'), ('failed', None)]
    assert 'Tags never move' in spool.saves()[0].error


@pytest.mark.heavy
def test_a_name_that_is_taken_on_one_of_two_remotes(put, remote, mirror):
    put('step-1', 'first')
    put('step-1', 'second', series='step-{step}', remotes=('local', remote))
    sender.drain(home())
    assert Spool(home()).saves() == []
    assert {'step-1', 'step-1.2'} >= set(mirror.tags()) and 'step-1.2' in mirror.tags()


@pytest.mark.heavy
def test_only_the_last_tags_of_a_series_stay(put, mirror):
    put('v1.0.0', 'version')
    for number in (1, 2, 3, 10):
        put(f'step-{number}', series='step-{step}', keep_tags=2)
    drained()
    assert mirror.tags() == ['step-10', 'step-3', 'v1.0.0']
    assert mirror.git('rev-list', '--count', 'main') == '5'


@pytest.mark.heavy
def test_tags_that_cannot_be_removed_do_not_make_a_release_fail(put, hub, monkeypatch, capsys):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    for number in (1, 2):
        put(f'step-{number}', remotes=('hub',), repo='local/x', series='step-{step}', keep_tags=1)
    hub.fail('POST /git-receive-pack', 403, after=2, times=5)
    assert drained() == [('pushed', 'step-1'), ('pushed', 'step-2')]
    assert 'The release is there' in capsys.readouterr().err


# -- what is known of the training's files


def in_disguise(path):
    """Write other bytes in place, under the size and the times of before: who does not read them does not see it."""
    before = path.stat()
    with path.open('r+b') as file:
        file.write(b'!' * 10)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'out' / 'checkpoint-1'
    path.mkdir(parents=True)
    (path / 'model.bin').write_bytes(b'1' * 20_000_000)
    os.utime(path / 'model.bin', (1e9, 1e9))
    return path


@pytest.fixture
def link(spool, checkpoint):
    """Hand over the checkpoint, of a training that writes to the folder above, by links."""

    def link(tag='step-1', **fields):
        given = {
            'repo': 'me/tiny-model',
            'remotes': ('local',),
            'tag': tag,
            'series': 'step-{step}',
            **fields,
        }
        return spool.put(Save(str(checkpoint.parent), **given), [Part(checkpoint)])

    return link


def test_what_is_saved_once_more_is_not_read_again(link, checkpoint, mirror):
    link('step-1')
    sender.drain(home())
    in_disguise(checkpoint / 'model.bin')
    link('step-2')
    assert drained() == [('pushed', 'step-2')]
    assert held_by(mirror, 'step-2') == b'1' * 20_000_000


def test_what_was_released_of_a_training_is_not_read_by_a_push_of_its_folder(link, checkpoint, mirror):
    link('step-1')
    sender.drain(home())
    in_disguise(checkpoint / 'model.bin')
    mirror.run('push', checkpoint, '--repo', 'me/tiny-model', '--remote', 'local', '--tag', 'v1.0.0', code=0)
    assert held_by(mirror, 'v1.0.0') == b'1' * 20_000_000


def test_what_was_pushed_of_a_folder_is_not_read_when_it_is_saved(link, checkpoint, mirror):
    mirror.run('push', checkpoint, '--repo', 'me/tiny-model', '--remote', 'local', '--tag', 'v1.0.0', code=0)
    in_disguise(checkpoint / 'model.bin')
    link('step-1')
    assert drained() == [('pushed', 'step-1')]
    assert held_by(mirror, 'step-1') == b'1' * 20_000_000


def rows():
    with closing(sqlite3.connect(home().cache / 'files.sqlite')) as table:
        return [path for (path,) in table.execute('SELECT path FROM files UNION SELECT path FROM scans')]


def test_what_is_known_does_not_grow_with_each_save(link, checkpoint, mirror):
    link('step-1')
    sender.drain(home())
    before = rows()
    link('step-1')
    sender.drain(home())
    assert rows() == before == [str(checkpoint / 'model.bin')]


def test_a_checkpoint_that_is_removed_is_forgotten(link, checkpoint, mirror):
    link('step-1')
    sender.drain(home())
    link('step-2')
    shutil.rmtree(checkpoint)
    assert drained() == [('up-to-date', 'step-1')] or mirror.tags() == ['step-1', 'step-2']
    assert rows() == []


# -- written over in place


def test_a_checkpoint_that_is_half_written_by_now_is_not_released(link, checkpoint, spool, mirror):
    (checkpoint / 'config.json').write_text('{"model_type": "bert"}')
    link('step-1')
    (checkpoint / 'config.json').write_text('{"model_')
    assert drained() == [('failed', None)]
    (save,) = spool.saves()
    assert 'half written now: config.json is cut short' in save.error
    assert f'hfmirror resume --drop {save.id}' in save.error
    assert not mirror.remote.exists()


def test_a_checkpoint_that_was_written_once_more_as_a_whole_is_released(link, checkpoint, mirror):
    (checkpoint / 'config.json').write_text('{}')
    link('step-1')
    (checkpoint / 'config.json').write_text('{"model_type": "bert"}')
    assert drained() == [('pushed', 'step-1')]


def test_what_nobody_has_written_to_is_released_whatever_it_is(link, checkpoint):
    (checkpoint / 'model-00001-of-00002.bin').write_bytes(b'1')
    link('step-1')
    assert drained() == [('pushed', 'step-1')]


# -- what cannot go


def test_one_that_fails_waits_and_the_others_go(put, spool, mirror):
    put('not a tag')
    put('step-2')
    assert drained() == [('failed', None), ('pushed', 'step-2')]
    (save,) = spool.saves()
    assert 'no name for a version' in save.error and save.attempts == 1
    assert drained() == [('failed', None)]
    assert spool.saves()[0].attempts == 2


def test_one_whose_files_are_gone_fails_and_says_so(put, spool):
    save = put('step-1')
    for path in sorted(Path(save.held).rglob('*'), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    Path(save.held).rmdir()
    assert drained() == [('failed', None)]
    assert 'files' in spool.saves()[0].error


def test_a_secret_stops_one_release_and_is_not_told(put, spool, folder):
    secret = 'hf_' + ''.join(secrets.choice(string.ascii_letters) for _ in range(34))
    folder.write('notes/training.txt', f'token = {secret}\n')
    put('step-1')
    assert drained() == [('failed', None)]
    assert 'training.txt' in spool.saves()[0].error and secret not in spool.saves()[0].error


@pytest.mark.heavy
def test_without_a_network_it_is_in_the_outbox_and_no_more_here(put, spool, monkeypatch, capsys):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__RETRY_DELAY', '0.1')
    for number in (1, 2, 3):
        put(f'step-{number}', remotes=(NOWHERE,))
    assert drained() == [('queued', 'step-1'), ('queued', 'step-2'), ('queued', 'step-3')]
    assert spool.saves() == []
    ((_, entries),) = outbox.waiting(home().outbox)
    assert [entry.version for entry in entries] == ['step-1', 'step-2', 'step-3']
    # Once it is seen that nobody is there, nobody is waited for.
    assert capsys.readouterr().err.count('Trying again') <= 3


@pytest.mark.heavy
def test_what_waits_goes_with_resume_when_the_network_is_back(put, hub, monkeypatch, mirror):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    hub.fail('* /', 503, times=1000)
    for number in (1, 2):
        put(f'step-{number}', remotes=('hub',), repo='local/tiny-model')
    assert drained() == [('queued', 'step-1'), ('queued', 'step-2')]
    hub.heal()
    mirror.run('resume', code=0)
    mirror.remote = home().hub / 'models' / 'local' / 'tiny-model.git'
    assert mirror.tags() == ['step-1', 'step-2']
    assert held_by(mirror, 'step-1') == b'step-1' * 500


# -- a process of its own


def test_a_process_of_its_own_releases_them(put, spool, mirror):
    save = put('step-1')
    with sender.start() as process:
        assert process.wait(60) == 0
    assert mirror.tags() == ['step-1']
    assert spool.result(save).status == 'pushed'
    assert 'step-1 pushed' in (home().log / 'saves.log').read_text()


def test_the_process_outlives_the_one_that_started_it(put, mirror, tmp_path):
    put('step-1')
    code = 'import os\nfrom hfmirror import sender\nprint(sender.start().pid, flush=True)\nos.kill(os.getpid(), 9)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, check=False)
    assert done.returncode == -9
    deadline = time.monotonic() + 60
    while not mirror.remote.exists() or mirror.tags() != ['step-1']:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    while Spool(home()).saves():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.heavy
def test_a_token_is_handed_on_where_no_list_of_processes_shows_it(put, hub, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    save = put('step-1', remotes=('hub',), repo='local/tiny-model')
    with sender.start(Token(hub.token, 'a test', hub.endpoint)) as process:
        assert hub.token not in str(process.args)
        process.wait(60)
    assert Spool(home()).result(save).status == 'pushed'
    assert hub.token not in (home().log / 'saves.log').read_text()
    assert hub.token not in ''.join(
        path.read_text('utf-8', 'replace') for path in Spool(home()).root.rglob('*.json')
    )


def test_a_log_that_has_grown_begins_anew(put):
    log = home().log / 'saves.log'
    log.parent.mkdir(parents=True)
    log.write_bytes(b'x' * 2_000_000)
    with sender.start() as process:
        process.wait(60)
    assert log.stat().st_size < 2_000_000


def test_resume_tells_of_saves(put, mirror):
    put('step-1')
    put('not a tag')
    done = mirror.run('resume', '--json', code=9)
    rows = json.loads(done.out)
    assert [row['status'] for row in rows] == ['pushed', 'waiting']
    assert 'no name for a version' in rows[1]['error']


def test_resume_ends_with_the_exit_code_of_what_keeps_a_save(mirror, tmp_path):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'config.json').write_text(
        '{"key": "hf_' + 'aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3c' + '"}'
    )
    save = Save(str(tmp_path / 'out'), 'me/tiny-model', remotes=('local',), tag='step-1')
    Spool(home()).put(save, [Part(tmp_path / 'out')])
    mirror.run('resume', '--saves', code=8)
