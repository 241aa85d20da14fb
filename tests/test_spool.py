"""The spool holds what a training hands over: at once, each with its own files, and nothing of it is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror.config.places import home
from hfmirror.spool import Part, Result, Save, Spool
from tests.support.folder import checksums


@pytest.fixture
def spool():
    return Spool(home())


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / 'out' / 'checkpoint-1'
    path.mkdir(parents=True)
    (path / 'model.bin').write_bytes(b'1' * 1000)
    (path / 'config.json').write_text('{}')
    return path


def put(spool, folder, *, tag='step-1', **kwargs):
    return spool.put(Save(str(folder), tag=tag), [Part(folder)], **kwargs)


def held(save):
    return {path: (Path(save.held) / path).read_bytes() for path in checksums(Path(save.held))}


# -- handing over


def test_a_save_is_held_by_links(spool, checkpoint):
    save = put(spool, checkpoint)
    assert (Path(save.held) / 'model.bin').samefile(checkpoint / 'model.bin')
    assert spool.saves() == [save]


def test_what_is_held_survives_its_removal(spool, checkpoint):
    before = {name: (checkpoint / name).read_bytes() for name in ('model.bin', 'config.json')}
    save = put(spool, checkpoint)
    for name in before:
        (checkpoint / name).unlink()
    assert held(save) == before


def test_copies_stay_as_they_were_when_the_training_writes_on(spool, checkpoint):
    save = put(spool, checkpoint, copies=True)
    (checkpoint / 'model.bin').write_bytes(b'2' * 1000)
    assert held(save)['model.bin'] == b'1' * 1000


def test_a_gigabyte_is_held_in_no_time(spool, checkpoint):
    with (checkpoint / 'large.bin').open('wb') as file:
        file.truncate(1_000_000_000)
    started = time.perf_counter()
    put(spool, checkpoint)
    assert time.perf_counter() - started < 0.5


def test_parts_lie_where_they_are_wanted(spool, checkpoint):
    parts = [Part(checkpoint, exclude=['model.bin']), Part(checkpoint, 'last-checkpoint', include=['*.bin'])]
    save = spool.put(Save(str(checkpoint)), parts)
    assert set(held(save)) == {'config.json', 'last-checkpoint/model.bin'}


def test_written_files_replace_held_ones_and_not_those_of_the_training(spool, checkpoint):
    save = put(spool, checkpoint, written={'config.json': b'new', 'a/b.txt': b'more'})
    assert held(save)['config.json'] == b'new' and held(save)['a/b.txt'] == b'more'
    assert (checkpoint / 'config.json').read_text() == '{}'


def test_what_hfignore_brings_back_is_brought_back_when_it_is_released_too(spool, checkpoint):
    (checkpoint / '.gitignore').write_text('*.bin\n')
    (checkpoint / '.hfignore').write_text('!model.bin\n')
    save = put(spool, checkpoint)
    from hfmirror import folder

    assert 'model.bin' in [file.path for file in folder.walk(Path(save.held)).files]


def test_the_configuration_is_the_one_of_where_it_was_handed_over(spool, checkpoint, tmp_path, monkeypatch):
    assert put(spool, checkpoint).config_file is None
    (tmp_path / 'config.yaml').write_text('huggingface: {}\n')
    save = put(spool, checkpoint)
    monkeypatch.chdir('/')
    assert save.config_file == str(tmp_path / 'config.yaml')
    assert spool.saves()[-1] == save


def test_a_folder_on_another_disk_is_held_beside_it(spool, tmp_path):
    with tempfile.TemporaryDirectory(dir='/dev/shm') as other:
        checkpoint = Path(other) / 'checkpoint-1'
        checkpoint.mkdir()
        if checkpoint.stat().st_dev == tmp_path.stat().st_dev:
            pytest.skip('there is no other disk')
        (checkpoint / 'model.bin').write_bytes(b'1')
        save = put(spool, checkpoint)
        assert Path(save.held).is_relative_to(Path(other) / '.hfmirror')
        assert (Path(save.held) / 'model.bin').samefile(checkpoint / 'model.bin')
        spool.finish(save, Result(save, 'pushed'))
        assert os.listdir(other) == ['checkpoint-1']


def test_a_folder_that_is_a_disk_of_its_own_is_held_in_it(spool):
    with tempfile.TemporaryDirectory() as place:
        output_dir = Path(place) / 'out'
        output_dir.mkdir()
        if subprocess.run(['mount', '-t', 'tmpfs', 'tmpfs', output_dir], capture_output=True).returncode:
            pytest.skip('nothing can be mounted here')
        try:
            (output_dir / 'checkpoint-1').mkdir()
            (output_dir / 'checkpoint-1' / 'model.bin').write_bytes(b'1')
            save = spool.put(Save(str(output_dir), tag='step-1'), [Part(output_dir / 'checkpoint-1')])
            assert (Path(save.held) / 'model.bin').samefile(output_dir / 'checkpoint-1' / 'model.bin')
            spool.finish(save, Result(save, 'pushed'))
            assert os.listdir(output_dir) == ['checkpoint-1'] and os.listdir(place) == ['out']
        finally:
            subprocess.run(['umount', output_dir], check=True)


# -- what cannot be held


def test_a_folder_that_is_not_there_is_named_and_nothing_is_left(spool, tmp_path):
    with pytest.raises(errors.HfmirrorError, match='nowhere'):
        put(spool, tmp_path / 'nowhere')
    assert spool.saves() == []


def test_an_empty_folder_is_refused_and_nothing_is_left(spool, tmp_path):
    (tmp_path / 'empty').mkdir()
    with pytest.raises(errors.UsageError):
        put(spool, tmp_path / 'empty')
    assert spool.saves() == [] and list(spool.root.glob('*/files')) == []


def test_a_place_that_cannot_be_written_is_told(checkpoint, tmp_path, monkeypatch):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'file'))
    with pytest.raises(errors.HfmirrorError, match='cannot be held for its release'):
        put(Spool(home()), checkpoint)


def test_what_a_killed_hand_over_left_is_no_save_and_goes_when_it_is_old(spool, checkpoint):
    save = put(spool, checkpoint)
    (spool.root / save.id / 'save.json').unlink()
    assert spool.saves() == []
    spool.tidy(time.time())
    assert Path(save.held).is_dir()
    spool.tidy(time.time() + 2 * 24 * 3600)
    assert not (spool.root / save.id).exists()


def test_a_kill_while_it_is_handed_over_leaves_whole_saves_only(spool, tmp_path):
    code = """
import sys
from pathlib import Path
from hfmirror.config.places import home
from hfmirror.spool import Part, Save, Spool
folder = Path(sys.argv[1])
folder.mkdir()
for number in range(200):
    (folder / f'{number}.bin').write_bytes(b'x' * 100)
print('ready', flush=True)
while True:
    Spool(home()).put(Save(str(folder), tag='step-1'), [Part(folder)])
"""
    with subprocess.Popen(
        [sys.executable, '-c', code, str(tmp_path / 'many')], stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        time.sleep(0.3)
        process.send_signal(signal.SIGKILL)
    assert all(len(held(save)) == 200 for save in spool.saves())


# -- what became of it


def test_saves_come_in_the_order_in_which_they_were_handed_over(spool, checkpoint):
    for number in range(5):
        put(spool, checkpoint, tag=f'step-{number}')
    assert [save.tag for save in spool.saves()] == [f'step-{number}' for number in range(5)]


def test_a_save_that_has_failed_goes_on_waiting_with_the_reason(spool, checkpoint):
    spool.fail(put(spool, checkpoint), 'no token')
    (save,) = spool.saves()
    assert (save.error, save.attempts) == ('no token', 1) and held(save)


def test_what_came_of_a_save_is_told_once_and_its_files_are_gone(spool, checkpoint):
    save = put(spool, checkpoint)
    assert spool.result(save) is None
    spool.finish(save, Result(save, 'pushed', 'step-1', 'https://hub/me/x'))
    assert spool.saves() == [] and not Path(save.held).exists()
    assert spool.result(save) == Result(save, 'pushed', 'step-1', 'https://hub/me/x')
    assert spool.result(save) is None


def test_a_result_that_nobody_reads_goes_after_a_day(spool, checkpoint):
    save = put(spool, checkpoint)
    spool.finish(save, Result(save, 'pushed'))
    spool.tidy(time.time() + 2 * 24 * 3600)
    assert not (spool.root / save.id).exists()


def test_a_save_can_be_dropped(spool, checkpoint):
    save = put(spool, checkpoint)
    assert spool.drop(save.id) == save
    assert spool.drop(save.id) is None
    assert spool.saves() == [] and (checkpoint / 'model.bin').exists()


def test_a_save_that_is_dropped_while_it_fails_does_not_come_back(spool, checkpoint):
    save = put(spool, checkpoint)
    spool.drop(save.id)
    spool.fail(save, 'gone')
    assert not (spool.root / save.id).exists()


@pytest.mark.parametrize('content', ['', '[]', '{}', '{"save": []}', '{"save": {"folder": "x"}, "more": 1}'])
def test_a_result_that_cannot_be_read_is_none(spool, checkpoint, content):
    save = put(spool, checkpoint)
    (spool.root / save.id / 'result.json').write_text(content)
    assert spool.result(save) is None


@pytest.mark.parametrize('content', ['', '[]', 'null', '{"format": 99}', '{"format": 1, "id": "x"}', '\0'])
def test_a_save_that_cannot_be_read_is_left_alone(spool, checkpoint, content):
    save = put(spool, checkpoint)
    (spool.root / save.id / 'save.json').write_text(content)
    assert spool.saves() == []
    spool.tidy(time.time() + 2 * 24 * 3600)
    assert held(save)


# -- a training that begins again


def test_what_is_held_gets_its_own_copy_before_a_training_writes_there_again(spool, checkpoint):
    save = put(spool, checkpoint)
    other = put(spool, checkpoint.parent)
    spool.own(checkpoint.parent)
    (checkpoint / 'model.bin').write_bytes(b'2' * 1000)
    assert held(save)['model.bin'] == b'1' * 1000
    assert held(other)['checkpoint-1/model.bin'] == b'1' * 1000
    assert len(held(save)) == 2


def test_a_save_whose_files_have_gone_keeps_no_other_from_its_own_copy(spool, checkpoint):
    gone, save = put(spool, checkpoint), put(spool, checkpoint)
    shutil.rmtree(gone.held)
    spool.own(checkpoint)
    (checkpoint / 'model.bin').write_bytes(b'2')
    assert held(save)['model.bin'] == b'1' * 1000


def test_what_another_training_holds_stays_a_link(spool, checkpoint, tmp_path):
    save = put(spool, checkpoint)
    spool.own(tmp_path / 'other')
    assert (Path(save.held) / 'model.bin').samefile(checkpoint / 'model.bin')


def test_a_save_that_is_released_meanwhile_does_not_trouble_a_training(spool, checkpoint):
    saves = [put(spool, checkpoint) for _ in range(30)]

    def release():
        for save in saves:
            spool.finish(save, Result(save, 'pushed'))

    thread = threading.Thread(target=release)
    thread.start()
    for _ in range(5):
        spool.own(checkpoint.parent)
    thread.join()
    assert spool.saves() == []


# -- sealed: nobody knows who writes there


def test_what_is_written_into_a_sealed_save_shows(spool, checkpoint):
    save = put(spool, checkpoint, sealed=True)
    spool.require_unchanged(save)
    with (checkpoint / 'model.bin').open('r+b') as file:
        file.write(b'2')
    with pytest.raises(errors.SourceChanged, match='written over'):
        spool.require_unchanged(save)


def test_a_sealed_save_may_become_a_copy(spool, checkpoint):
    save = put(spool, checkpoint, sealed=True)
    spool.own(checkpoint)
    (checkpoint / 'model.bin').write_bytes(b'2')
    spool.require_unchanged(save)
    assert spool.saves() == [save]
