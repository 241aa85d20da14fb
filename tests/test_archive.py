"""An archive in a directory: what a push leaves there, and that list-versions, pull, verify and resume work on it."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hfmirror import errors, target
from hfmirror.archive import archive as archives
from hfmirror.archive import state as states
from hfmirror.archive.archive import Archive
from hfmirror.archive.directory import Directory
from hfmirror.archive.objects import ArchiveObjects
from hfmirror.archive.storage import Storage
from hfmirror.outbox import Held
from hfmirror.store import ObjectStore
from hfmirror.worktree import RemoteMoved
from tests.support.fault import KILL, at, fault
from tests.support.mirror import git

REPO = 'me/tiny-model'


def heavy(value):
    return pytest.param(value, marks=pytest.mark.heavy)


@pytest.fixture
def nas(tmp_path):
    return tmp_path / 'nas' / 'archive'


@pytest.fixture
def remote(nas):
    return nas.as_uri()


@pytest.fixture
def push(mirror, folder, remote):
    """Push the folder to the archive; returns the document, or the whole result when it fails."""

    def run(*args, code=0, **kwargs):
        done = mirror.push(folder, '--remote', remote, *args, code=code, **kwargs)
        return done[0] if code == 0 else done

    return run


@pytest.fixture
def place(nas):
    """The repository's folder in the archive."""
    return nas / 'models' / 'me' / 'tiny-model'


def names(place):
    """Return the names of all files in a folder."""
    return {path.relative_to(place).as_posix() for path in place.rglob('*') if path.is_file()}


def newest(place):
    return json.loads(sorted((place / 'states').iterdir())[-1].read_text())


def on(remote, *args):
    return [*args, '--remote', remote, '--repo', REPO]


# -- what is there


def test_a_push_leaves_objects_history_a_manifest_and_a_state(push, place, folder):
    done = push('--tag', 'v1.0.0')
    assert done['status'] == 'pushed'
    weights = hashlib.sha256((folder.path / 'model.bin').read_bytes()).hexdigest()
    bundles = list((place / 'history').iterdir())
    assert names(place) == {
        'README.txt',
        f'objects/{weights[:2]}/{weights[2:4]}/{weights}',
        f'history/{bundles[0].name}',
        'versions/v1.0.0.json',
        'states/00000001.json',
    }
    assert hashlib.sha256(bundles[0].read_bytes()).hexdigest() == bundles[0].stem


@pytest.mark.heavy
def test_the_manifest_tells_each_file_with_what_it_is_found_by(push, place, folder):
    done = push('--tag', 'v1.0.0', '-m', 'the first')
    told = json.loads((place / 'versions' / 'v1.0.0.json').read_text())
    files = {file['path']: file for file in told['files']}
    weights = (folder.path / 'model.bin').read_bytes()
    assert (told['version'], told['commit'], told['repo_id']) == ('v1.0.0', done['commit'], REPO)
    assert files['model.bin'] == {
        'path': 'model.bin',
        'size': len(weights),
        'oid': hashlib.sha256(weights).hexdigest(),
    }
    assert len(files['config.json']['blob']) == 40
    assert told['size'] == sum(file['size'] for file in files.values())
    assert 'the first' in told['message']


@pytest.mark.heavy
def test_a_second_release_sends_only_what_is_new(push, place, folder):
    push('--tag', 'v1.0.0')
    before = {name: (place / name).stat().st_mtime_ns for name in names(place)}
    folder.write('extra.bin', os.urandom(5000))
    push('--tag', 'v1.1.0')
    after = names(place)
    assert {name: (place / name).stat().st_mtime_ns for name in before} == before
    new = sorted(name.partition('/')[0] for name in after - before.keys())
    assert new == ['history', 'objects', 'states', 'versions']
    assert newest(place)['versions'].keys() == {'v1.0.0', 'v1.1.0'}


@pytest.mark.heavy
def test_the_same_folder_again_changes_nothing(push, place):
    push('--tag', 'v1.0.0')
    before = names(place)
    assert push('--tag', 'v1.0.0')['status'] == 'up-to-date'
    assert names(place) == before


@pytest.mark.heavy
def test_a_dry_run_writes_nothing(push, nas):
    assert push('--dry-run')['status'] == 'dry-run'
    assert not nas.exists()


@pytest.mark.heavy
def test_a_release_without_a_tag_is_in_the_state_and_has_no_manifest(push, place):
    done = push('--no-tag')
    assert newest(place)['refs'] == [f'{done["commit"]} refs/heads/main']
    assert not (place / 'versions').exists()


@pytest.mark.heavy
@pytest.mark.parametrize('is_there', [heavy(False), True])
def test_where_an_archive_begins_it_is_said_that_it_is_no_git_repository(push, nas, is_there, folder):
    if is_there:
        nas.mkdir(parents=True)
    said = push(code=None).err
    assert f'{nas}: an archive begins here' in said and 'no git repository' in said
    assert 'ends in .git' in said and 'git init --bare' in said
    folder.write('more.txt', 'x')
    assert 'begins here' not in push(code=None).err


def test_private_has_no_meaning_and_that_is_said_in_one_line(mirror, folder, remote):
    args = ['--remote', remote, '--repo', REPO, '--tag', 'v1.0.0', '--dry-run']
    said = mirror.run('push', folder, *args, '--private', code=0).err
    assert [line for line in said.splitlines() if 'private' in line] == [
        f'{REPO} on {remote}: --private has no meaning there; who may read the place decides.'
    ]


@pytest.mark.parametrize('kind', ['dataset', 'space'])
@pytest.mark.heavy
def test_each_type_has_a_folder_of_its_own(push, nas, kind, folder):
    folder.write('app.py', 'print(1)\n')
    push('--repo-type', kind, '--tag', 'v1.0.0')
    assert (nas / f'{kind}s' / REPO / 'states' / '00000001.json').is_file()


@pytest.mark.heavy
def test_an_archive_has_many_repositories(push, mirror, folder, remote, nas):
    push('--tag', 'v1.0.0')
    mirror.run('push', folder, '--remote', remote, '--repo', 'you/other', '--tag', 'v2.0.0', code=0)
    listed = mirror.run('list-versions', '--remote', remote, '--repo', 'you/other', '--json', code=0).json
    assert [one['name'] for one in listed] == ['v2.0.0']
    assert (nas / 'models' / 'you' / 'other').is_dir()


@pytest.mark.heavy
def test_two_remotes_get_the_same_release(mirror, folder, remote, place):
    both = mirror.push(folder, '--remote', 'local', '--remote', remote, '--tag', 'v1.0.0')
    assert [one['status'] for one in both] == ['pushed', 'pushed']
    assert 'v1.0.0' in newest(place)['versions'] and mirror.tags() == ['v1.0.0']


@pytest.mark.heavy
def test_without_a_name_it_is_called_as_the_folder(mirror, folder, remote, nas):
    mirror.run('push', folder, '--remote', remote, '--tag', 'v1.0.0', code=0)
    assert (nas / 'models' / 'local' / 'tiny-model').is_dir()


@pytest.mark.heavy
def test_the_configuration_names_an_archive(mirror, folder, remote, place):
    Path('config.yaml').write_text(f'huggingface:\n  remotes: ["{remote}"]\n')
    mirror.run('push', folder, '--repo', REPO, '--tag', 'v1.0.0', code=0)
    assert mirror.run('list-versions', '--json', code=0).json[0]['name'] == 'v1.0.0'


# -- what is done with it


@pytest.mark.heavy
def test_versions_are_listed_without_a_name_where_they_were_pushed_from(push, mirror, remote):
    push('--tag', 'v1.0.0')
    push('--new', '--tag', 'v1.1.0', code=None)
    for where in ([], ['--remote', remote], ['--remote', f'{remote}/']):
        listed = mirror.run('list-versions', *where, '--json', code=0).json
        assert listed[-1]['name'] == 'v1.0.0' and listed[-1]['metrics']['eval_accuracy'] == 0.91


@pytest.mark.heavy
def test_another_machine_sees_the_same(push, mirror, remote, tmp_path):
    done = push('--tag', 'v1.0.0')
    there = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    listed = mirror.run(*on(remote, 'list-versions', '--json'), env=there, code=0).json
    assert listed[0]['commit'] == done['commit']


def test_a_version_is_pulled_exactly(push, mirror, remote, folder, tmp_path):
    push('--tag', 'v1.0.0')
    first = folder.checksums()
    folder.write('model.bin', os.urandom(9000))
    push('--tag', 'v1.1.0')
    mirror.run(*on(remote, 'pull', 'v1.0.0', '--to', tmp_path / 'pulled'), code=0)
    pulled = {
        name: hashlib.sha256((tmp_path / 'pulled' / name).read_bytes()).hexdigest()
        for name in first
        if name != 'README.md'
    }
    assert pulled == first


@pytest.mark.heavy
def test_one_path_is_pulled(push, mirror, remote, tmp_path):
    push('--tag', 'v1.0.0')
    mirror.run(*on(remote, 'pull', 'latest', '--to', tmp_path / 'one', '--path', 'notes'), code=0)
    assert [path.name for path in (tmp_path / 'one').rglob('*.*')] == ['training.txt']


@pytest.mark.heavy
def test_a_pull_goes_on_at_the_byte_where_it_was_ended(push, mirror, remote, folder, tmp_path):
    content = os.urandom(6 * 2**20)
    folder.write('large.bin', content)
    push('--tag', 'v1.0.0')
    stops = fault(tmp_path / 'code', at('hfmirror.output:Progress.advance', before=KILL, nth=(4,)))
    to = tmp_path / 'pulled'
    mirror.run(*on(remote, 'pull', '--to', to, '--path', 'large.bin'), env=stops, code=-9)
    (part,) = to.glob('.*.part')
    assert 0 < part.stat().st_size < len(content)
    mirror.run(*on(remote, 'pull', '--to', to, '--path', 'large.bin'), code=0)
    assert (to / 'large.bin').read_bytes() == content


def test_nothing_pushed_yet_is_not_found(mirror, remote):
    done = mirror.run(*on(remote, 'list-versions'), code=5)
    assert 'no such repository' in done.err and REPO in done.err
    mirror.run(*on(remote, 'pull', '--to', 'x'), code=5)


@pytest.mark.heavy
def test_versions_of_others_are_gone_on_top_of(push, mirror, folder, remote, tmp_path):
    push('--tag', 'v1.0.0')
    there = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    folder.write('theirs.txt', 'x\n')
    push('--tag', 'v1.1.0', env=there)
    folder.write('ours.txt', 'x\n')
    push('--tag', 'v1.2.0')
    commits = [one['name'] for one in mirror.run(*on(remote, 'list-versions', '--json'), code=0).json]
    assert commits == ['v1.2.0', 'v1.1.0', 'v1.0.0']


@pytest.mark.heavy
def test_a_tag_never_moves(push, folder, place):
    push('--tag', 'v1.0.0')
    folder.write('config.json', '{"other": 1}\n')
    before = names(place)
    assert 'v1.0.0 is already' in push('--tag', 'v1.0.0', code=6).err
    assert names(place) == before


# -- proof


@pytest.fixture
def one_object(push, place):
    push('--tag', 'v1.0.0')
    (found,) = (path for path in (place / 'objects').rglob('*') if path.is_file())
    return found


@pytest.mark.heavy
def test_a_whole_version_is_verified(one_object, mirror, remote):
    done = mirror.run(*on(remote, 'verify', '--content', '--json'), code=0).json
    assert done['ok'] and done['checked'] == 6


def test_a_missing_object_is_found(one_object, mirror, remote):
    one_object.unlink()
    assert mirror.run(*on(remote, 'verify', '--json'), code=3).json['missing'] == ['model.bin']
    mirror.run(*on(remote, 'pull', '--to', 'x'), code=3)
    assert not Path('x/model.bin').exists()


@pytest.mark.heavy
def test_a_shortened_object_is_missing_and_sent_again_by_the_next_push(one_object, mirror, remote, push):
    whole = one_object.read_bytes()
    one_object.write_bytes(whole[:-1])
    assert mirror.run(*on(remote, 'verify', '--json'), code=3).json['missing'] == ['model.bin']
    push('--tag', 'v1.0.0')
    assert one_object.read_bytes() == whole


@pytest.mark.heavy
def test_a_corrupted_object_is_found_by_its_content_alone(one_object, mirror, remote, tmp_path):
    content = bytearray(one_object.read_bytes())
    content[100] ^= 1
    one_object.write_bytes(content)
    mirror.run(*on(remote, 'verify'), code=0)
    done = mirror.run(*on(remote, 'verify', '--content', '--json'), code=3).json
    assert done['different'] == ['model.bin']
    done = mirror.run(*on(remote, 'pull', '--to', tmp_path / 'x'), code=3)
    assert 'not what was released' in done.err and not (tmp_path / 'x' / 'model.bin').exists()


@pytest.mark.heavy
def test_a_lost_or_changed_bundle_is_found(one_object, mirror, remote, place):
    (bundle,) = (place / 'history').iterdir()
    content = bytearray(bundle.read_bytes())
    content[-30] ^= 1
    bundle.write_bytes(content)
    mirror.run(*on(remote, 'verify'), code=0)
    name = f'history/{bundle.name}'
    assert mirror.run(*on(remote, 'verify', '--content', '--json'), code=3).json['different'] == [name]
    bundle.unlink()
    assert mirror.run(*on(remote, 'verify', '--json'), code=3).json['missing'] == [name]


@pytest.mark.heavy
def test_a_changed_manifest_is_found(one_object, mirror, remote, place):
    manifest = place / 'versions' / 'v1.0.0.json'
    manifest.write_text(manifest.read_text().replace('model.bin', 'model.bim'))
    done = mirror.run(*on(remote, 'verify', '--json'), code=3).json
    assert done['different'] == ['versions/v1.0.0.json']


@pytest.mark.heavy
def test_a_lost_bundle_is_made_good_by_the_next_release(
    one_object, push, mirror, folder, remote, place, tmp_path
):
    (bundle,) = (place / 'history').iterdir()
    bundle.unlink()
    folder.write('more.txt', 'x\n')
    push('--tag', 'v1.1.0')
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    mirror.run(*on(remote, 'verify', 'v1.0.0', '--content'), env=elsewhere, code=0)


def test_a_bundle_that_is_not_what_its_name_says_never_reaches_git(pushed, place, remote, tmp_path):
    (bundle,) = (place / 'history').iterdir()
    bundle.write_bytes(bundle.read_bytes()[:-1] + b'x')
    fresh = Archive(target.archived(remote, REPO), tmp_path / 'fresh' / 'mirror.git')
    with pytest.raises(errors.VerificationError, match='git did not get it'):
        fresh.refresh()
    assert fresh.mirror.refs() == {}


# -- what goes wrong


@pytest.mark.parametrize(
    'where',
    [
        heavy('hfmirror.archive.directory:Directory.put'),
        heavy('hfmirror.archive.archive:Archive.publish'),
        heavy('hfmirror.archive.archive:Archive._send_manifests'),
        'hfmirror.archive.archive:Archive._create',
    ],
)
@pytest.mark.parametrize('when', ['before', heavy('after')])
def test_a_kill_leaves_nothing_or_the_release_and_the_same_again_cures_it(
    push, mirror, remote, place, folder, tmp_path, where, when
):
    push('--tag', 'v1.0.0')
    folder.write('model.bin', os.urandom(20_000))
    push('--tag', 'v1.1.0', env=fault(tmp_path / 'code', at(where, **{when: KILL})), code=-9)
    elsewhere = {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}
    seen = mirror.run(*on(remote, 'list-versions', '--json'), env=elsewhere, code=0).json
    is_there = where.endswith(('_create', 'publish')) and when == 'after'
    assert [one['name'] for one in seen] == ['v1.1.0', 'v1.0.0'][not is_there :]
    push('--tag', 'v1.1.0')
    mirror.run(*on(remote, 'verify', 'v1.1.0', '--content'), env=elsewhere, code=0)
    assert mirror.run('status', '--json', code=0).json == []


@pytest.mark.heavy
def test_of_two_pushes_at_once_one_comes_second_and_goes_on_top(
    push, mirror, folder, remote, place, tmp_path
):
    push('--tag', 'v1.0.0')
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'theirs.json').write_text('{}\n')
    theirs = [
        sys.executable, '-m', 'hfmirror', 'push', str(other), '--remote', remote, '--repo', REPO, '--keep',
        '--tag', 'v1.5.0',
    ]  # fmt: skip
    run = f'subprocess.run({theirs!r}, check=True, capture_output=True, env=dict(os.environ, PYTHONPATH="", HFMIRROR_HOME={str(tmp_path / "theirs")!r}))'
    env = fault(tmp_path / 'code', at('hfmirror.archive.archive:Archive._create', before=run))
    folder.write('ours.txt', 'x\n')
    done = push('--keep', '--tag', 'v1.6.0', env=env, code=None)
    assert done.code == 0 and 'somebody pushed meanwhile' in done.err
    listed = {one['name'] for one in mirror.run(*on(remote, 'list-versions', '--json'), code=0).json}
    assert listed == {'v1.0.0', 'v1.5.0', 'v1.6.0'}
    mirror.run(*on(remote, 'pull', 'v1.6.0', '--to', 'pulled'), code=0)
    assert Path('pulled/theirs.json').is_file() and Path('pulled/ours.txt').is_file()


@pytest.mark.heavy
def test_many_pushers_lose_nothing(folder, mirror, remote, tmp_path):
    running = []
    for number in range(4):
        path = tmp_path / f'run-{number}'
        path.mkdir()
        (path / f'{number}.json').write_text('{}\n')
        command = [
            'push',
            str(path),
            '--remote',
            remote,
            '--repo',
            REPO,
            '--keep',
            '--tag',
            f'v{number + 1}.0.0',
        ]
        env = {**os.environ, 'HFMIRROR_HOME': str(tmp_path / f'home-{number}')}
        running.append(
            subprocess.Popen(
                [sys.executable, '-m', 'hfmirror', *command],
                env=env,
                stderr=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        )
    for one in running:
        _, err = one.communicate(timeout=100)
        assert one.returncode == 0, err.decode()
    listed = mirror.run(*on(remote, 'list-versions', '--json'), code=0).json
    assert {one['name'] for one in listed} == {'v1.0.0', 'v2.0.0', 'v3.0.0', 'v4.0.0'}
    mirror.run(*on(remote, 'verify', listed[0]['name'], '--content'), code=0)


@pytest.mark.heavy
def test_an_archive_that_is_gone_is_not_begun_anew_and_the_release_waits(push, nas, folder, mirror):
    push('--tag', 'v1.0.0')
    os.rename(nas, nas.with_name('unmounted'))
    nas.mkdir()
    folder.write('more.txt', 'x\n')
    done = push('--tag', 'v1.1.0', code=7)
    assert 'Is the right disk mounted' in done.err and list(nas.iterdir()) == []
    nas.rmdir()
    os.rename(nas.with_name('unmounted'), nas)
    assert mirror.run('resume', '--json', code=0).json[0]['status'] == 'pushed'


@pytest.mark.heavy
def test_an_archive_that_went_back_is_not_written_to(push, place, folder):
    push('--tag', 'v1.0.0')
    folder.write('more.txt', 'x\n')
    push('--tag', 'v1.1.0')
    (place / 'states' / '00000002.json').unlink()
    folder.write('more.txt', 'y\n')
    assert 'older copy' in push('--tag', 'v1.2.0', code=6).err
    assert len(list((place / 'states').iterdir())) == 1


@pytest.mark.heavy
def test_a_remote_that_is_a_file_is_not_found(push, nas):
    nas.parent.mkdir()
    nas.write_text('x')
    assert str(nas) in push(code=5).err
    assert nas.read_text() == 'x'


def test_no_right_to_write_is_said(push, nas):
    if os.geteuid() == 0:
        pytest.skip('root may write everywhere')
    nas.mkdir(parents=True)
    nas.chmod(0o500)
    assert 'Ask for the right' in push(code=4).err


@pytest.mark.parametrize('at_what', [heavy('models'), heavy('models/me'), 'models/me/tiny-model/objects'])
def test_a_link_in_an_archive_is_not_followed(push, nas, folder, tmp_path, at_what):
    outside = tmp_path / 'outside'
    outside.mkdir()
    (nas / at_what).parent.mkdir(parents=True)
    (nas / at_what).symlink_to(outside)
    assert 'a link' in push(code=1).err
    assert list(outside.iterdir()) == []


@pytest.mark.heavy
def test_an_object_that_is_a_link_is_not_read(one_object, mirror, remote, tmp_path):
    one_object.rename(tmp_path / 'moved')
    one_object.symlink_to(tmp_path / 'moved')
    assert mirror.run(*on(remote, 'verify', '--json'), code=3).json['missing'] == ['model.bin']


STATE = {
    'format': 1,
    'number': 2,
    'id': 'x',
    'date': '2026-01-01T00:00:00Z',
    'refs': [],
    'bundles': [],
    'versions': {},
}


@pytest.mark.parametrize(
    'state',
    [
        b'',
        b'{',
        b'[]',
        b'[' * 100_000,
        json.dumps({**STATE, 'number': 3}),
        json.dumps({**STATE, 'refs': ['0' * 40 + ' refs/heads/../../x']}),
        json.dumps({**STATE, 'refs': ['0' * 40 + ' HEAD']}),
        json.dumps({**STATE, 'refs': ['1' * 40 + ' refs/heads/a b']}),
        json.dumps({**STATE, 'refs': 'x'}),
        json.dumps({**STATE, 'bundles': ['12 ../../etc/passwd']}),
        json.dumps({**STATE, 'versions': {'v1': '../../x.json'}}),
        json.dumps({**STATE, 'versions': {'v1': 'versions/../../x.json'}}),
    ],
)
def test_a_hostile_state_is_an_error_and_changes_nothing(pushed, place, state):
    refs, known = pushed.mirror.refs(), pushed.mirror.remembered()
    path = place / 'states' / '00000002.json'
    path.write_bytes(state if isinstance(state, bytes) else state.encode())
    with pytest.raises((errors.RemoteError, errors.VerificationError), match=r'00000002\.json'):
        pushed.refresh()
    assert pushed.mirror.remembered() == known
    path.unlink()
    pushed.refresh()
    assert pushed.mirror.refs() == refs


def test_a_hostile_state_ends_a_command_calmly(pushed, mirror, remote, place):
    (place / 'states' / '00000002.json').write_text('[' * 100_000)
    done = mirror.run(*on(remote, 'list-versions'), code=1)
    assert '00000002.json: not a state' in done.err and 'Traceback' not in done.err


def test_a_state_of_a_newer_hfmirror_says_so(pushed, place):
    (place / 'states' / '00000002.json').write_text(json.dumps({**STATE, 'format': 2}))
    with pytest.raises(errors.RemoteError, match='newer hfmirror'):
        pushed.refresh()


def test_a_state_that_is_too_large_is_not_read(pushed, place):
    with (place / 'states' / '00000002.json').open('wb') as file:
        file.truncate(states.STATE_MAX + 1)
    with pytest.raises(errors.RemoteError, match='no hfmirror wrote it'):
        pushed.refresh()


def test_states_that_cannot_be_listed_are_no_empty_archive(pushed, place):
    shutil.rmtree(place / 'states')
    (place / 'states').write_text('no folder')
    with pytest.raises(errors.NotFoundError, match='has to be a directory'):
        pushed.storage.sizes('states')


def test_a_pipe_in_an_archive_is_not_waited_for(pushed, place):
    os.mkfifo(place / 'versions' / 'pipe.json')
    assert pushed.storage.read('versions/pipe.json', 10) is None


def test_a_linked_folder_is_not_listed(pushed, place, tmp_path):
    (place / 'versions').rename(tmp_path / 'moved')
    (place / 'versions').symlink_to(tmp_path / 'moved')
    with pytest.raises(errors.RemoteError, match='a link'):
        pushed.storage.sizes('versions')


# -- the layer below


@pytest.fixture
def archive(remote, tmp_path):
    return Archive(target.archived(remote, REPO), tmp_path / 'clone' / 'mirror.git')


@pytest.fixture
def pushed(archive):
    """An archive with one version."""
    archive.refresh()
    write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    archive.publish()
    return archive


def write_commit(path, message, *, tag=None, branch='main'):
    """Commit into a mirror as a push would; returns the commit."""
    tree = git('write-tree', cwd=path)
    head = git('for-each-ref', '--format=%(objectname)', f'refs/heads/{branch}', cwd=path)
    commit = git('commit-tree', tree, '-m', message, *(['-p', head] if head else []), cwd=path)
    git('update-ref', f'refs/heads/{branch}', commit, cwd=path)
    if tag:
        git('tag', '-a', tag, '-m', message, commit, cwd=path)
    return commit


def test_a_manifest_that_cannot_be_removed_is_no_failure(pushed, place, monkeypatch, capsys):
    # A bucket whose policy lets nobody delete refuses in this way; a directory has no such right.
    def refuse(*_):
        raise errors.AuthError('no right to delete')

    monkeypatch.setattr(pushed.storage, 'remove', refuse)
    git('tag', '-d', 'v1.0.0', cwd=pushed.mirror.path)
    pushed.publish()
    assert newest(place)['versions'] == {}
    assert 'cannot be removed (no right to delete)' in capsys.readouterr().err


def test_what_several_threads_put_at_once_is_there_when_it_is_settled(archive, place, tmp_path, monkeypatch):
    monkeypatch.setattr(
        'hfmirror.archive.directory.LARGE', 100
    )  # every second one settles what others have put
    content = {size: os.urandom(size) for size in (50, 150)}
    for size, some in content.items():
        (tmp_path / str(size)).write_bytes(some)

    def put(number):
        size = 150 if number % 2 else 50
        sha256 = hashlib.sha256(content[size]).hexdigest()
        name, source = f'objects/{number}', tmp_path / str(size)
        archive.storage.put(name, source, sha256=sha256, size=size, advance=lambda _: None)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(put, range(200)))
        archive.storage.settle()
    finally:
        sys.setswitchinterval(before)
    assert len(archive.storage.sizes('objects')) == 200


def test_a_tag_that_was_removed_goes_with_its_manifest_and_its_objects_stay(archive, place):
    archive.refresh()
    path = archive.mirror.path
    write_commit(path, 'one', tag='v1.0.0')
    write_commit(path, 'two', tag='v1.1.0')
    archive.publish()
    git('tag', '-d', 'v1.0.0', cwd=path)
    archive.publish()
    assert newest(place)['versions'].keys() == {'v1.1.0'}
    assert {file.name for file in (place / 'versions').iterdir()} == {'v1.1.0.json'}
    assert len(newest(place)['bundles']) == 1
    assert [ref.split()[1] for ref in newest(place)['refs']] == ['refs/heads/main', 'refs/tags/v1.1.0']


def test_a_tag_on_what_is_there_needs_no_history(archive, place):
    archive.refresh()
    write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    archive.publish()
    git('tag', 'light', 'main', cwd=archive.mirror.path)
    archive.publish()
    assert len(newest(place)['bundles']) == 1
    git('tag', '-a', 'v1.0.1', '-m', 'x', 'main', cwd=archive.mirror.path)
    archive.publish()
    assert len(newest(place)['bundles']) == 2


def test_after_many_bundles_a_whole_one_begins_a_new_chain(archive, place, remote, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, 'CHAIN_MAX', 3)
    archive.refresh()
    for number in range(4):
        commit = write_commit(archive.mirror.path, str(number), tag=f'v1.{number}.0')
        archive.publish()
    assert len(newest(place)['bundles']) == 1 and len(list((place / 'history').iterdir())) == 4
    fresh = Archive(target.archived(remote, REPO), tmp_path / 'fresh' / 'mirror.git')
    fresh.refresh()
    assert git('rev-parse', 'main', cwd=fresh.mirror.path) == commit
    assert len(git('tag', cwd=fresh.mirror.path).split()) == 4


def test_refs_that_a_failed_push_moved_go_back(archive):
    archive.refresh()
    first = write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    archive.publish()
    write_commit(archive.mirror.path, 'two', tag='v1.1.0')
    archive.refresh()
    assert git('rev-parse', 'main', cwd=archive.mirror.path) == first
    assert git('tag', cwd=archive.mirror.path) == 'v1.0.0'


def test_a_mirror_that_is_damaged_is_filled_again(archive):
    archive.refresh()
    commit = write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    archive.publish()
    (archive.mirror.path / 'objects' / commit[:2] / commit[2:]).unlink()
    archive.refresh()
    assert git('cat-file', '-t', commit, cwd=archive.mirror.path) == 'commit'


def test_who_comes_second_is_told_and_what_the_first_left_stays(archive, remote, place, tmp_path):
    other = Archive(target.archived(remote, REPO), tmp_path / 'other' / 'mirror.git')
    archive.refresh()
    other.refresh()
    write_commit(archive.mirror.path, 'ours', tag='v1.0.0')
    write_commit(other.mirror.path, 'theirs', tag='v1.0.0')
    other.publish()
    theirs = (place / 'versions' / 'v1.0.0.json').read_bytes()
    with pytest.raises(RemoteMoved):
        archive.publish()
    assert (place / 'versions' / 'v1.0.0.json').read_bytes() == theirs
    assert len(list((place / 'states').iterdir())) == 1


def test_a_lock_that_a_killed_git_left_in_the_mirror_is_removed(archive):
    archive.refresh()
    write_commit(archive.mirror.path, 'one')
    archive.publish()
    (archive.mirror.path / 'refs' / 'heads' / 'main.lock').touch()
    write_commit(archive.mirror.path, 'two', branch='dev')
    archive.refresh()
    assert git('for-each-ref', '--format=%(refname)', cwd=archive.mirror.path) == 'refs/heads/main'


@pytest.mark.parametrize(
    'tag',
    ['v1.0.0', 'exp/a-001', 'modèle', 'a%2Fb', 'x' * 240, 'ü' * 100, 'a"b', "it's", 'v1.0.0-rc.1+build'],
)
def test_any_tag_of_git_has_a_manifest_that_is_a_file(archive, place, tag):
    archive.refresh()
    write_commit(archive.mirror.path, 'one', tag=tag)
    archive.publish()
    (name,) = (file.name for file in (place / 'versions').iterdir())
    assert newest(place)['versions'] == {tag: f'versions/{name}'}
    archive.refresh()


def test_a_file_system_without_hard_links_will_do(archive, monkeypatch, place):
    def link(*_):
        raise PermissionError(1, 'Operation not permitted')

    monkeypatch.setattr(os, 'link', link)  # as vfat and some network mounts answer
    archive.refresh()
    write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    archive.publish()
    assert archive.refresh().number == 1
    assert not archive.storage.create('states/00000001.json', b'other')


def test_a_full_disk_without_hard_links_leaves_no_half_state(archive, monkeypatch, place):
    def refuse(*_):
        raise OSError(errno.EPERM, 'no links here')

    flush, states_there = os.fsync, place / 'states'

    def full(handle):
        if states_there.exists() and any(states_there.iterdir()):
            raise OSError(errno.ENOSPC, 'No space left on device')
        flush(handle)

    monkeypatch.setattr(os, 'link', refuse)
    archive.refresh()
    write_commit(archive.mirror.path, 'one', tag='v1.0.0')
    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(OSError, match='No space left'):
        archive.publish()
    assert list((place / 'states').iterdir()) == []


def test_four_objects_are_sent_at_once(archive, tmp_path, monkeypatch):
    together = threading.Barrier(4, timeout=60)
    monkeypatch.setattr(archive.storage, 'put', lambda *_, **__: together.wait())
    held = [Held(str(number), f'{number:064}', 10, '', None) for number in range(8)]
    ArchiveObjects(archive).send(ObjectStore(tmp_path / 'store'), held)
    assert not together.broken


def test_what_killed_runs_left_half_written_is_removed_when_it_is_old(archive, place):
    for name, age_s in (('old', 2 * 24 * 3600), ('new', 60)):
        (place / 'tmp').mkdir(parents=True, exist_ok=True)
        (place / 'tmp' / name).touch()
        then = time.time() - age_s
        os.utime(place / 'tmp' / name, (then, then))
    archive.storage.create('states/00000001.json', b'{}')
    assert [path.name for path in (place / 'tmp').iterdir()] == ['new']


def test_a_source_that_changed_is_not_kept(archive, place, tmp_path):
    storage: Storage = Directory(archive.target)
    (tmp_path / 'source').write_bytes(b'other')
    with pytest.raises(errors.SourceChanged):
        storage.put('objects/aa/bb/x', tmp_path / 'source', sha256='0' * 64, size=5, advance=lambda _: None)
    storage.settle()
    assert names(place) == set()


def test_a_name_cannot_lead_out(archive):
    with pytest.raises(errors.RemoteError, match='leads out'):
        archive.storage.read('../../x', 10)


# -- other commands


@pytest.mark.heavy
def test_a_run_is_synced_with_its_configuration_beside_the_model(mirror, folder, remote, nas):
    run = ['--remote', remote, '--repo', REPO, '--experiment', 'first']
    mirror.run('sync', folder, *run, '--json', code=0)
    assert sorted(path.name for path in (nas / 'models' / 'me').iterdir()) == [
        'tiny-model',
        'tiny-model-configs',
    ]
    listed = mirror.run('list-experiments', '--remote', remote, '--repo', REPO, '--json', code=0).json
    assert [one['name'] for one in listed] == ['first']


@pytest.mark.heavy
def test_the_doctor_looks_at_an_archive(push, mirror, remote):
    push('--tag', 'v1.0.0')
    assert 'reachable, 1 tag' in mirror.run(*on(remote, 'doctor'), code=0).out
    done = mirror.run('doctor', '--remote', remote, '--repo', 'me/other', code=0)
    assert 'will be made by the first push' in done.out


def test_a_repository_to_work_in_is_not_cloned_from_an_archive(tmp_path):
    from hfmirror import Repository

    with pytest.raises(errors.HfmirrorError, match='hfmirror rebuild'):
        Repository(tmp_path / 'work', clone_from='s3://bucket/x')
