"""A backup is what was released, stays as it was, costs little, and comes back."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import hfmirror
from hfmirror import backup, errors, target
from hfmirror.config.config import Config
from hfmirror.folder import walk
from tests.support.fault import KILL, at, fault
from tests.support.folder import checksums

HERE = target.local(Path('/hub'), 'me/tiny-model')
posix = pytest.mark.skipif(sys.platform == 'win32', reason='limits and SIGKILL are POSIX')


@pytest.fixture
def keep(tmp_path, folder):
    """Back up the folder, as a push does that ends as ``released`` says, and return the backup's; ``count`` is keep_backups."""

    def keep(*, count=5, where=None, to=HERE, released=True, **choice):
        config = Config.model_validate(
            {'backup': {'local_backup_dir': str(where or tmp_path / 'backups'), 'keep_backups': count}}
        )
        found = walk(folder.path, **choice)
        made = backup.back_up(found, to, config)
        if released is not None:
            backup.settle(made, found, config, released=released)
        return made

    return keep


def kept(path):
    """Return the manifest of a backup, its files as {path: row}."""
    document = json.loads(path.with_name(f'{path.name}.json').read_text())
    return {**document, 'files': {row['path']: row for row in document['files']}}


def backups(tmp_path):
    return sorted(path.parent.name for path in (tmp_path / 'backups').glob('*/2*[0-9]/config.json'))


def room_used(path):
    """Return the bytes of all files below ``path``, each counted once however many names it has."""
    return sum({found.st_ino: found.st_size for found in map(os.stat, files_below(path))}.values())


def files_below(path):
    return [file for file in path.rglob('*') if file.is_file()]


# -- what is in it


def test_a_backup_has_exactly_the_files_of_the_release(keep, folder):
    assert checksums(keep()) == folder.checksums()


def test_what_is_not_released_is_not_backed_up(keep, folder):
    folder.write('.env', 'PASSWORD=1')
    folder.write('run.ckpt', b'\0')
    made = keep(exclude=['*.ckpt'])
    assert not {'.env', 'run.ckpt'} & set(checksums(made))


def test_a_link_is_backed_up_as_the_file_it_points_to(keep, folder):
    (folder.path / 'best.bin').symlink_to('model.bin')
    made = keep()
    assert not (made / 'best.bin').is_symlink()
    assert (made / 'best.bin').read_bytes() == (folder.path / 'model.bin').read_bytes()


def test_permissions_and_times_are_kept(keep, folder):
    path = folder.write('private.txt', 'mine')
    path.chmod(0o600)
    copy = keep() / 'private.txt'
    assert copy.stat().st_mode & 0o777 == 0o600
    assert copy.stat().st_mtime_ns == path.stat().st_mtime_ns


def test_the_backups_of_a_repository_are_for_their_owner_only(keep):
    assert keep().parent.stat().st_mode & 0o077 == 0


def test_the_manifest_tells_what_was_backed_up(keep, folder):
    document = kept(keep())
    assert (document['repo'], document['remote']) == ('me/tiny-model', 'local')
    assert document['folder'] == str(folder.path)
    assert {path: row['size'] for path, row in document['files'].items()} == {
        path: (folder.path / path).stat().st_size for path in folder.checksums()
    }


def test_the_manifest_has_the_sha256_of_what_was_copied(keep, folder, monkeypatch):
    # A mock, since whether files can share blocks depends on the disk that the tests run on.
    monkeypatch.setattr(backup, 'reflink', lambda source, to: False)
    rows = kept(keep())['files']
    assert {path: row['sha256'] for path, row in rows.items()} == folder.checksums()


# -- it stays as it was


def test_a_trainer_that_writes_in_place_does_not_change_a_backup(keep, folder):
    before = folder.checksums()
    made = keep()
    folder.write('model.bin', b'overwritten')
    assert checksums(made) == before


def test_a_file_of_the_trainer_is_never_linked(keep, folder):
    made = keep()
    assert (made / 'model.bin').stat().st_ino != (folder.path / 'model.bin').stat().st_ino
    assert (folder.path / 'model.bin').stat().st_nlink == 1


def test_a_file_that_changes_while_it_is_copied_is_copied_again(keep, folder, monkeypatch):
    folder.write('large.bin', b'a' * 3_000_000)
    copy, written = backup.copy_hashed, []

    # A mock, since the write has to fall between the two looks at the file.
    def written_meanwhile(opened, *args):
        found = copy(opened, *args)
        if os.fstat(opened.fileno()).st_size == 3_000_000 and not written:
            written.append(folder.write('large.bin', b'b' * 3_000_000, age_s=5))
        return found

    monkeypatch.setattr(backup, 'reflink', lambda source, to: False)
    monkeypatch.setattr(backup, 'copy_hashed', written_meanwhile)
    assert (keep() / 'large.bin').read_bytes() == b'b' * 3_000_000
    assert written


# -- what it costs


def test_a_file_that_did_not_change_is_kept_once(keep, folder):
    first = keep()
    folder.write('notes/training.txt', 'four epochs\n')
    second = keep()
    assert (first / 'model.bin').stat().st_ino == (second / 'model.bin').stat().st_ino
    assert (first / 'notes/training.txt').read_text() == 'three epochs\n'
    assert (second / 'notes/training.txt').read_text() == 'four epochs\n'


def test_five_backups_of_a_model_cost_little_more_than_one(keep, folder, tmp_path):
    folder.write('model.bin', os.urandom(3_000_000))
    for epoch in range(5):
        folder.write('notes/training.txt', f'{epoch} epochs\n')
        keep()
    assert len(backups(tmp_path)) == 5
    assert room_used(tmp_path / 'backups') < 3_100_000


def test_a_linked_file_keeps_its_sha256(keep, folder, monkeypatch):
    monkeypatch.setattr(backup, 'reflink', lambda source, to: False)  # as above
    keep()
    folder.write('notes/training.txt', 'four epochs\n')
    assert kept(keep())['files']['model.bin']['sha256'] == folder.checksums()['model.bin']


def test_an_unchanged_folder_makes_no_second_backup(keep, tmp_path):
    assert keep() == keep()
    assert len(backups(tmp_path)) == 1


def test_a_removed_file_makes_a_second_backup(keep, folder, tmp_path):
    keep()
    folder.remove('notes/training.txt')
    assert 'notes/training.txt' not in checksums(keep())
    assert len(backups(tmp_path)) == 2


def test_a_file_too_young_to_be_believed_is_copied_again(keep, folder):
    path = folder.write('model.bin', b'first!', age_s=0)
    future = time.time_ns() + 10**9
    os.utime(path, ns=(future, future))
    keep()
    with path.open('r+b') as file:
        file.write(b'second')
    os.utime(path, ns=(future, future))  # a write within the clock's tick: neither size nor mtime tells it
    assert (keep() / 'model.bin').read_bytes() == b'second'


def test_a_file_that_somebody_wrote_to_in_a_backup_is_not_linked_again(keep, folder):
    first = keep()
    (first / 'model.bin').write_bytes(b'edited')
    folder.write('notes/training.txt', 'four epochs\n')
    assert checksums(keep()) == folder.checksums()


def test_a_damaged_backup_does_not_stand_for_the_folder(keep, folder):
    first = keep()
    (first / 'model.bin').unlink()
    second = keep()
    assert second != first
    assert checksums(second) == folder.checksums()


@pytest.mark.parametrize('fate', ['"yes"', '1', '[]'])
def test_a_fate_that_is_none_is_no_obstacle(keep, fate):
    first = keep(released=None)
    path = first.with_name(f'{first.name}.json')
    path.write_text(path.read_text().replace('"released": null', f'"released": {fate}'))
    assert keep() != first


@pytest.mark.parametrize(
    'content', ['', '[]', '{"format": 1}', '{"format": 2, "files": []}', '{"format": 1, "files": [{}]}']
)
def test_a_broken_manifest_is_no_obstacle(keep, folder, content):
    first = keep()
    first.with_name(f'{first.name}.json').write_text(content)
    second = keep()
    assert second != first
    assert checksums(second) == folder.checksums()


# -- how many stay


def changed(keep, folder, number, **kwargs):
    made = []
    for epoch in range(number):
        folder.write('notes/training.txt', f'{epoch} epochs\n')
        made.append(keep(**kwargs))
    return made


def test_the_newest_backups_stay(keep, folder, tmp_path):
    made = changed(keep, folder, 4, count=2)
    assert backups(tmp_path) == [path.name for path in made[2:]]


def test_a_removed_backup_leaves_nothing(keep, folder):
    made = changed(keep, folder, 4, count=2)
    left = {path.name for path in made[0].parent.iterdir()} - {'.lock'}
    assert left == {name for path in made[2:] for name in (path.name, f'{path.name}.json')}


def test_a_file_stays_while_one_backup_has_it(keep, folder):
    changed(keep, folder, 3, count=1)
    assert checksums(keep(count=1)) == folder.checksums()


def test_each_repository_keeps_its_own(keep, tmp_path):
    keep(count=1)
    keep(count=1, to=HERE._replace(git_url='/hub/models/me/other.git', repo_id='me/other'))
    assert len(backups(tmp_path)) == 2


def test_a_push_that_failed_removes_no_backup_of_a_release(keep, folder):
    released = keep(count=2)
    changed(keep, folder, 4, count=2, released=False)
    assert checksums(released)


def test_of_pushes_that_failed_the_newest_backup_stays(keep, folder, tmp_path):
    released = keep(count=2)
    failed = changed(keep, folder, 3, count=2, released=False)
    assert backups(tmp_path) == [released.name, failed[-1].name]


def test_of_pushes_that_were_killed_as_many_stay_as_of_releases(keep, folder, tmp_path):
    released = keep(count=2)
    killed = changed(keep, folder, 4, count=2, released=None)
    folder.write('notes/training.txt', 'done\n')
    last = keep(count=2)
    assert backups(tmp_path) == [path.name for path in (released, *killed[2:], last)]


def test_a_push_that_fails_removes_no_backup_of_one_that_is_under_way(keep, folder):
    under_way = keep(released=None)
    changed(keep, folder, 3, count=1, released=False)
    assert checksums(under_way)


def test_a_failed_push_that_succeeds_at_last_is_backed_up_as_a_release(keep, folder, tmp_path):
    made = keep(count=1, released=False)
    assert keep(count=1) == made
    changed(keep, folder, 3, count=1, released=False)
    assert made.name in backups(tmp_path)


def test_a_release_that_is_pushed_again_in_vain_stays_one(keep, folder, tmp_path):
    made = keep(count=1)
    keep(count=1, released=False)
    changed(keep, folder, 2, count=1, released=False)
    assert made.name in backups(tmp_path)


def test_a_release_that_is_pushed_again_after_a_failure_has_one_backup(keep, folder, tmp_path):
    made = keep()
    folder.write('new.txt', 'new')
    keep(released=False)
    folder.remove('new.txt')
    assert keep() == made
    assert len(backups(tmp_path)) == 2


def test_a_backup_of_a_failed_push_that_is_pushed_itself_is_one_of_a_release(keep, folder, tmp_path):
    made = keep(released=False)
    here, folder.path = folder.path, made
    keep()
    folder.path = here
    changed(keep, folder, 2, released=False)
    assert made.name in backups(tmp_path)


def test_what_cannot_be_written_down_is_a_warning(keep, folder, capsys):
    made = keep(released=None)
    (made.parent / '.lock').unlink()
    (made.parent / '.lock').mkdir()
    backup.settle(made, walk(folder.path), Config(), released=True)
    assert capsys.readouterr().err.count('warning: ') == 1


def test_a_clock_that_was_put_back_does_not_make_the_newest_the_oldest(keep, folder, tmp_path):
    first = keep()
    ahead = first.with_name('29990101-000000-000000')
    first.with_name(f'{first.name}.json').rename(first.with_name(f'{ahead.name}.json'))
    first.rename(ahead)
    folder.write('notes/training.txt', 'four epochs\n')
    made = keep(count=1)
    assert backups(tmp_path) == [made.name]


def test_two_backups_at_once_are_both_whole(keep, folder, tmp_path):
    made = []
    threads = [threading.Thread(target=lambda: made.append(keep())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 4
    assert all(checksums(path) == folder.checksums() for path in made)


# -- what goes wrong


@pytest.mark.parametrize('where', ['', 'backups', 'a/b/backups'])
def test_a_directory_inside_of_the_folder_is_refused(keep, folder, where):
    with pytest.raises(errors.ConfigError, match=r'local_backup_dir.*Name a directory outside'):
        keep(where=folder.path / where)
    assert not (folder.path / 'backups').exists()


def test_all_backups_of_a_repository_cannot_be_backed_up_into_themselves(keep, folder):
    folder.path = keep().parent
    with pytest.raises(errors.ConfigError, match='Name a directory outside'):
        keep()


def test_an_empty_directory_name_is_refused(folder):
    with pytest.raises(errors.ConfigError, match='the value is empty'):
        backup.back_up(walk(folder.path), HERE, Config.model_validate({'backup': {'local_backup_dir': ' '}}))


def test_a_file_in_the_directorys_place_is_said(keep, tmp_path):
    (tmp_path / 'taken').write_text('a file')
    with pytest.raises(errors.ConfigError, match=r'taken.*nothing was sent'):
        keep(where=tmp_path / 'taken')


@pytest.fixture
def little_room(folder):
    """The folder has a file of 3 MB, and no file may grow beyond 2 MB."""
    folder.write('large.bin', b'\0' * 3_000_000)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@posix
def test_a_full_disk_is_said(keep, tmp_path, little_room):
    with pytest.raises(errors.DiskFull, match=f'{tmp_path}/backups: .*nothing was sent. Free some space'):
        keep()


@posix
def test_a_full_disk_leaves_no_half_backup(keep, tmp_path, little_room):
    with pytest.raises(errors.DiskFull):
        keep()
    assert files_below(tmp_path / 'backups') == [next((tmp_path / 'backups').glob('*/.lock'))]


@posix
def test_a_full_disk_leaves_the_backups_before(keep, folder, tmp_path, little_room):
    folder.path.joinpath('large.bin').rename(tmp_path / 'large.bin')
    before = keep(count=1)
    (tmp_path / 'large.bin').rename(folder.path / 'large.bin')
    with pytest.raises(errors.DiskFull):
        keep(count=1)
    assert backups(tmp_path) == [before.name]
    assert 'model.bin' in checksums(before)


PUSH = ('--remote', 'local', '--repo', 'me/tiny-model')
STEPS = {
    'begun': at('hfmirror.backup:_make', before=KILL),
    'one file copied': at('hfmirror.backup:_copied', after=KILL),
    'all copied': at('hfmirror.backup:_fill', after=KILL),
    'manifest written': at('hfmirror.backup:durable.write', after=KILL),
    'made': at('hfmirror.backup:_make', after=KILL),
    'an old one half removed': at('hfmirror.backup:shutil.rmtree', before=KILL),
    'an old one removed': at('hfmirror.backup:_remove', after=KILL),
}


@pytest.fixture
def enabled(tmp_path):
    """The configuration of the directory in which hfmirror runs asks for backups, and keeps one."""
    text = 'huggingface:\n  backup: {enabled: true, local_backup_dir: ./backups, keep_backups: 1}\n'
    (tmp_path / 'config.yaml').write_text(text)


@pytest.mark.heavy
@posix
@pytest.mark.parametrize('step', STEPS)
def test_a_backup_that_is_killed_leaves_whole_ones_only(mirror, folder, enabled, tmp_path, step):
    mirror.run('push', folder, *PUSH, code=0)
    before = {name: checksums(*(tmp_path / 'backups').glob(f'*/{name}')) for name in backups(tmp_path)}
    folder.write('notes/training.txt', 'four epochs\n')
    env = fault(tmp_path / 'fault', STEPS[step])
    env['PYTHONPATH'] += os.pathsep + str(Path(hfmirror.__file__).parents[1])
    assert mirror.run('push', folder, *PUSH, env=env).code == -9
    for name in backups(tmp_path):
        (path,) = (tmp_path / 'backups').glob(f'*/{name}')
        assert checksums(path) == before.get(name, folder.checksums())
    mirror.run('push', folder, *PUSH, code=0)
    (name,) = backups(tmp_path)
    (place,) = (tmp_path / 'backups').iterdir()
    assert {path.name for path in place.iterdir()} == {'.lock', name, f'{name}.json'}
    assert checksums(place / name) == folder.checksums()


# -- with a push


def test_a_push_backs_up_before_it_releases(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, code=0)
    (path,) = (tmp_path / 'backups').glob('me-tiny-model-*/2*/')
    assert checksums(path) == folder.checksums()


def test_backup_before_upload_asks_for_the_same(mirror, folder, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface:\n  sync: {backup_before_upload: true}\n')
    mirror.run('push', folder, *PUSH, code=0)
    assert len(backups(tmp_path)) == 1


def test_a_push_without_that_makes_no_backup(mirror, folder, tmp_path):
    mirror.run('push', folder, *PUSH, code=0)
    assert not (tmp_path / 'backups').exists()


def test_a_dry_run_makes_no_backup(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, '--dry-run', code=0)
    assert not (tmp_path / 'backups').exists()


@pytest.mark.heavy
def test_pushes_that_fail_leave_the_backup_of_the_release(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, '--tag', 'v1.0.0', code=0)
    (released,) = backups(tmp_path)
    for epoch in range(3):
        folder.write('notes/training.txt', f'{epoch} epochs\n')
        mirror.run('push', folder, *PUSH, '--tag', 'v1.0.0', code=6)
    assert backups(tmp_path)[0] == released
    assert len(backups(tmp_path)) == 2


def test_a_release_that_waits_is_backed_up_as_one(mirror, folder, enabled, host, remote, tmp_path):
    host.stop()
    config = tmp_path / 'config.yaml'
    config.write_text(config.read_text() + '  settings: {upload: {max_retries: 0}}\n')
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    (made,) = (tmp_path / 'backups').glob('*/2*/')
    assert kept(made)['released'] is True


def test_a_backup_that_cannot_be_made_keeps_the_release_from_being_made(mirror, folder, tmp_path):
    text = f'huggingface:\n  backup: {{enabled: true, local_backup_dir: "{folder}/backups"}}\n'
    (tmp_path / 'config.yaml').write_text(text)
    assert 'Name a directory outside' in mirror.run('push', folder, *PUSH, code=2).err
    assert not mirror.remote.exists()


# -- it comes back


@pytest.mark.heavy
def test_a_backup_can_be_pushed_as_it_is(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, '--tag', 'v1.0.0', code=0)
    (path,) = (tmp_path / 'backups').glob('*/2*/')
    mirror.run('push', path, '--remote', 'local', '--repo', 'me/again', '--tag', 'v1.0.0', code=0)
    again = mirror.remote.with_name('again.git')
    files = 'ls-tree', '-r', '--name-only', 'v1.0.0'
    assert mirror.git(*files, cwd=again) == mirror.git(*files)


@pytest.mark.heavy
def test_pushing_a_backup_makes_no_backup_of_it(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, code=0)
    (path,) = (tmp_path / 'backups').glob('*/2*/')
    mirror.run('push', path, *PUSH, code=0)
    assert backups(tmp_path) == [path.name]


def test_pushing_the_oldest_backup_does_not_remove_it(keep, folder):
    made = changed(keep, folder, 2, count=2)
    folder.path = made[0]
    assert keep(count=1) == made[0]
    assert all(path.is_dir() for path in made)


def test_what_hfignore_brings_back_is_brought_back_from_a_backup_too(keep, folder):
    folder.write('.gitignore', '*.bin\n')
    folder.write('.hfignore', '!model.bin\n')
    released = [file.path for file in walk(folder.path).files]
    assert 'model.bin' in released
    assert [file.path for file in walk(keep()).files] == released


def test_restoring_brings_back_every_file(keep, folder, tmp_path):
    made, before = keep(), folder.checksums()
    folder.write('model.bin', b'overwritten')
    assert checksums(backup.restore(made, tmp_path / 'restored')) == before


def test_what_was_restored_can_be_written_without_changing_the_backup(keep, folder, tmp_path):
    made = keep()
    (backup.restore(made, tmp_path / 'restored') / 'model.bin').write_bytes(b'overwritten')
    assert checksums(made) == folder.checksums()


def test_restoring_into_an_empty_folder_works(keep, folder, tmp_path):
    (tmp_path / 'restored').mkdir()
    assert checksums(backup.restore(keep(), tmp_path / 'restored')) == folder.checksums()


def test_restoring_overwrites_nothing(keep, folder):
    with pytest.raises(errors.UsageError, match='is there already'):
        backup.restore(keep(), folder.path)


def test_restoring_what_is_no_backup_is_refused(folder, tmp_path):
    with pytest.raises(errors.NotFoundError, match='no backup'):
        backup.restore(folder.path, tmp_path / 'restored')


@pytest.mark.parametrize('damage', ['missing', 'shorter', 'other bytes', 'a link'])
def test_a_damaged_backup_is_not_restored(keep, folder, tmp_path, monkeypatch, damage):
    monkeypatch.setattr(backup, 'reflink', lambda source, to: False)  # what shares its blocks has no sha256
    path = keep() / 'model.bin'
    content = path.read_bytes()
    path.unlink()
    if damage == 'shorter':
        path.write_bytes(content[:-1])
    if damage == 'other bytes':
        path.write_bytes(content[:-1] + b'x')
    if damage == 'a link':
        path.symlink_to(folder.path / 'model.bin')
    with pytest.raises(errors.VerificationError, match=r'model.bin.*Nothing was restored'):
        backup.restore(path.parent, tmp_path / 'restored')
    assert not [name for name in os.listdir(tmp_path) if 'restored' in name]


@pytest.mark.parametrize('name', ['../evil', '/tmp/evil', 'a/../../evil', ''])
def test_a_manifest_that_leads_out_of_the_backup_is_not_followed(keep, tmp_path, name):
    made = keep()
    document = json.loads(made.with_name(f'{made.name}.json').read_text())
    document['files'][0]['path'] = name
    made.with_name(f'{made.name}.json').write_text(json.dumps(document))
    with pytest.raises(errors.NotFoundError):
        backup.restore(made, tmp_path / 'restored')


def test_the_example_of_the_documentation_restores(mirror, folder, enabled, tmp_path):
    mirror.run('push', folder, *PUSH, code=0)
    (path,) = (tmp_path / 'backups').glob('*/2*/')
    text = (Path(hfmirror.__file__).parents[1] / 'docs' / 'backup.md').read_text('utf-8')
    code = text.split('```python\n')[1].split('```')[0]
    code = code.replace('../backups/me-bert-0123456789ab/20260131-120000-123456', str(path))
    subprocess.run(
        [sys.executable, '-c', code],
        check=True,
        env={**os.environ, 'PYTHONPATH': str(Path(hfmirror.__file__).parents[1])},
    )
    assert checksums(tmp_path / 'restored') == folder.checksums()
