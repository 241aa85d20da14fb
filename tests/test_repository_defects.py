"""None of the fourteen defects of huggingface_hub.Repository (0.36.2) is in ours: one test for each, or a few."""

from __future__ import annotations

import locale
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hfmirror import Repository, errors
from hfmirror.repository import is_tracked_with_lfs
from tests.support.clones import Place, log_in, with_first_commit
from tests.support.mirror import git
from tests.support.serving import until

BINARY = b'\0\1\2\3' * 100


@pytest.fixture(autouse=True)
def logged_in(shared_hub, monkeypatch):
    log_in(shared_hub, monkeypatch)


@pytest.fixture
def place(shared_hub):
    return with_first_commit(shared_hub)


@pytest.fixture
def clone(place):
    return Repository('first')


@pytest.mark.parametrize('level', [logging.DEBUG, logging.WARNING, logging.ERROR, logging.CRITICAL])
@pytest.mark.parametrize('logger', ['', 'hfmirror'])
def test_defect_1_a_failed_push_raises_at_every_level_of_logging(place, clone, level, logger, caplog):
    git('commit', '-q', '--amend', '-m', 'another history', cwd=clone)
    with caplog.at_level(level, logger=logger), pytest.raises(OSError):
        clone.git_push()


def test_defect_1_a_failed_pull_and_prune_raise_without_logging(clone, caplog):
    git('remote', 'set-url', 'origin', 'http://127.0.0.1:9/nobody/there', cwd=clone)
    with caplog.at_level(logging.CRITICAL):
        with pytest.raises(errors.NetworkError):
            Repository('first').git_pull()
        with pytest.raises(OSError):
            Repository('elsewhere', clone_from='http://127.0.0.1:9/nobody/there')


def test_defect_2_a_body_that_raises_commits_and_pushes_nothing(place, clone):
    before = place.head()
    with pytest.raises(ZeroDivisionError), clone.commit('half') as folder:
        (folder / 'half.bin').write_bytes(BINARY)
        raise ZeroDivisionError
    assert (place.head(), clone.git_head_hash()) == (before, before)
    assert (clone / 'half.bin').exists()


def test_defect_3_the_working_directory_is_the_same_in_the_body_and_after_a_failed_push(
    place, clone, tmp_path
):
    with pytest.raises(errors.ConflictError), clone.commit('mine') as folder:
        assert Path.cwd() == tmp_path
        (folder / 'mine.txt').write_text('mine')
        place.written_by(theirs__txt='theirs')
    assert Path.cwd() == tmp_path


def test_defect_4_a_commit_without_a_change_is_none_in_every_language(clone, monkeypatch, place):
    available = {name for name in ('fr_FR.UTF-8', 'C.UTF-8') if _is_there(name)}
    for name in available:
        monkeypatch.setenv('LC_ALL', name)
        monkeypatch.setenv('LANGUAGE', 'fr')
        with clone.commit('nothing'):
            pass
    assert place.messages()[0] == 'first'


def _is_there(name):
    before = locale.setlocale(locale.LC_ALL)
    try:
        locale.setlocale(locale.LC_ALL, name)
    except locale.Error:
        return False
    finally:
        locale.setlocale(locale.LC_ALL, before)
    return True


# With three files of one ending there is one pattern for all of them: each has its own here.
NAMES = {
    'test_defect_5_blanks': 'my model.w1',
    'test_defect_6_letters_that_are_not_ascii': 'modèle.w2',
    'test_defect_7_brackets': 'w[1].w3',
    'stars': 'a*b?.w4',
    'quotes': 'a"b\'c.w5',
    'a backslash': 'a\\b.w6',
    'a hash': '#1.w7',
    'an exclamation mark': '!important.w8',
    'a minus': '-rf.w9',
    'a colon': ':(top)x.w10',
    'a line break': 'a\nb.w11',
    'a tab': 'a\tb.w12',
    'a folder': 'my dir [1]/ä b.w13',
    'bytes that are not utf-8': os.fsdecode(b'w\xff.w14'),
}


@pytest.mark.parametrize('content', [BINARY, BINARY * 4000], ids=['small', 'large'])
def test_defects_5_6_7_files_of_any_name_go_to_lfs(clone, content):
    for name in NAMES.values():
        (clone / name).parent.mkdir(exist_ok=True)
        (clone / name).write_bytes(content)
    clone.git_add(auto_lfs_track=True)
    clone.git_commit('odd')
    staged = {name: git('cat-file', 'blob', f'HEAD:{name}', cwd=clone) for name in NAMES.values()}
    assert [name for name, text in staged.items() if not text.startswith('version https://git-lfs')] == []
    assert [name for name in NAMES.values() if not is_tracked_with_lfs(clone / name)] == []
    assert clone.is_repo_clean()


@pytest.mark.parametrize('name', NAMES.values(), ids=NAMES)
def test_defects_5_6_7_a_name_is_tracked_and_untracked_alone(clone, name):
    (clone / name).parent.mkdir(exist_ok=True)
    clone.lfs_track(name, filename=True)
    assert is_tracked_with_lfs(clone / name)
    clone.lfs_untrack(name)
    assert not is_tracked_with_lfs(clone / name)


def test_defects_5_6_7_files_of_any_name_arrive(place, clone, tmp_path):
    names = NAMES.values()
    with clone.commit('odd') as folder:
        for number, name in enumerate(names):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(BINARY + bytes([number]))
    other = place.clone('other')
    assert [(other / name).read_bytes()[-1] for name in names] == list(range(len(names)))


@pytest.mark.parametrize('filename', [False, True])
def test_defect_5_a_pattern_with_a_blank_is_one_pattern(clone, filename):
    clone.lfs_track('my model.weights', filename=filename)
    assert is_tracked_with_lfs(clone / 'my model.weights')
    assert not is_tracked_with_lfs(clone / 'model.weights')


def test_defect_7_a_name_with_brackets_is_tracked_as_a_name(clone):
    clone.lfs_track('large[].weights')
    assert not is_tracked_with_lfs(clone / 'large[].weights')
    clone.lfs_track('large[].weights', filename=True)
    assert is_tracked_with_lfs(clone / 'large[].weights')


def test_defect_8_fifty_files_with_one_ending_are_one_line(clone):
    for number in range(50):
        (clone / f'part {number}.weights').write_bytes(BINARY)
    before = (clone / '.gitattributes').read_text().splitlines()
    assert len(clone.auto_track_binary_files()) == 50
    added = (clone / '.gitattributes').read_text().splitlines()[len(before) :]
    assert added == ['*.weights filter=lfs diff=lfs merge=lfs -text']


def test_defect_8_fifty_files_cost_no_more_processes_than_one(clone, monkeypatch, tmp_path):
    def processes(number):
        for n in range(number):
            (clone / f'{number}-{n}.w{number}').write_bytes(BINARY)
        log = tmp_path / f'trace-{number}'
        monkeypatch.setenv('GIT_TRACE', str(log))
        clone.auto_track_binary_files()
        monkeypatch.delenv('GIT_TRACE')
        return log.read_text().count('built-in: git')

    assert processes(50) == processes(1)


def test_defect_9_deleting_a_tag_that_is_not_there_is_false(clone):
    assert clone.delete_tag('missing') is False
    assert clone.delete_tag('missing', remote='origin') is False


def test_defect_10_the_remote_that_is_named_is_asked(clone, tmp_path):
    git('init', '-q', '--bare', tmp_path / 'backup.git')
    git('remote', 'add', 'backup', tmp_path / 'backup.git', cwd=clone)
    clone.add_tag('v1', remote='backup')
    assert clone.tag_exists('v1', remote='backup')
    assert not clone.tag_exists('v1', remote='origin')


def test_defect_10_a_remote_that_is_unknown_is_an_error(clone):
    with pytest.raises(EnvironmentError):
        clone.tag_exists('v1', remote='anything')


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_defect_11_a_push_that_is_killed_has_failed(clone, shared_hub, number):
    shared_hub.delay('GET /info/refs', 2)
    _, command = clone.git_push(blocking=False)
    os.kill(command._process.pid, number)
    clone.wait_for_commands()
    assert command.is_done
    assert command.failed
    assert command.status == 128 + number
    shared_hub.heal()


@pytest.mark.heavy
def test_defect_12_a_push_that_says_much_ends(clone):
    hook = Path(clone, '.git', 'hooks', 'pre-push')
    hook.write_text('#!/bin/sh\nhead -c 3000000 /dev/zero | tr "\\0" x >&2\nexit 1\n')
    _, command = _changed(clone).git_push(blocking=False)
    assert command.wait(60)
    assert command.failed


def test_defect_12_reading_what_a_push_says_does_not_wait(clone, shared_hub):
    shared_hub.delay('GET /info/refs', 1)
    _, command = clone.git_push(blocking=False)
    assert (command.stdout, command.stderr) == ('', '')
    assert not command.is_done
    clone.wait_for_commands()


def _changed(clone):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    return clone


def test_defect_13_the_environment_and_the_directory_of_the_process_stay(place, clone, monkeypatch):
    before = dict(os.environ), Path.cwd()
    seen = []
    with clone.commit('second') as folder:
        (folder / 'large file.bin').write_bytes(BINARY * 4000)
        seen.append((dict(os.environ), Path.cwd()))
    clone.git_pull(lfs=True)
    clone.git_push(blocking=False)
    seen.append((dict(os.environ), Path.cwd()))
    clone.wait_for_commands()
    assert seen == [before] * 2


@pytest.mark.heavy
def test_defect_13_two_threads_work_in_two_repositories(shared_hub):
    places = [Place(shared_hub).create() for _ in range(3)]
    clones = [place.clone(place.name) for place in places]
    failures = []

    def work(clone):
        try:
            for number in range(2):
                with clone.commit(f'number {number}') as folder:
                    (folder / 'a b.bin').write_bytes(BINARY + clone.local_dir.encode() + bytes([number]))
        except Exception as e:
            failures.append(e)

    threads = [threading.Thread(target=work, args=(clone,)) for clone in clones]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [place.messages()[:2] for place in places] == [['number 1', 'number 0']] * 3


def test_defect_14_pulling_with_rebase_gets_commits_and_large_files(place, clone):
    other = place.clone('other', skip_lfs_files=True)
    with clone.commit('second') as folder:
        (folder / 'model.bin').write_bytes(BINARY)
    other.git_pull(rebase=True, lfs=True)
    assert (other / 'model.bin').read_bytes() == BINARY


@pytest.mark.heavy
def test_a_push_goes_on_when_the_program_is_killed(place, clone, shared_hub):
    _changed(clone)
    shared_hub.delay('GET /info/refs', 1)
    code = """
import os, signal
from hfmirror import Repository
Repository('first').git_push(blocking=False)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, '-c', code], check=False)
    assert done.returncode == -signal.SIGKILL
    until(lambda: place.messages()[0] == 'second')
