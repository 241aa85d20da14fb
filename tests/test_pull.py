"""pull: exactly a version's files, only what is missing, checked while written, and nothing outside the folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from hfmirror import output, pulling
from hfmirror import target as targets
from hfmirror.clone import opened
from hfmirror.delivery import Retry
from hfmirror.tree import Entry
from tests.support.folder import checksums
from tests.support.githost import GitHost
from tests.support.mirror import bare, git, git_bytes


@pytest.fixture
def released(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    return folder


@pytest.fixture
def to(tmp_path):
    return tmp_path / 'fresh'


def pull(mirror, to, *args, code=0, **kwargs):
    done = mirror.run(
        'pull', *args, '--to', to, '--remote', 'local', '--repo', mirror.repo, '--json', code=code, **kwargs
    )
    return done.json if code == 0 else done


def version_files(mirror, revision):
    """Return {path: sha256} of a version, as its commit and the remote's objects have it."""
    found = {}
    for path, content in mirror.files(revision).items():
        pointer = content.startswith(b'version https://git-lfs')
        found[path] = (
            content.split(b'sha256:')[1][:64].decode() if pointer else hashlib.sha256(content).hexdigest()
        )
    return found


def files_below(path):
    return set(checksums(path))


def oid_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def remote_object(mirror, oid):
    return mirror.remote / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid


def half_file(to, name, oid):
    return to / pulling.beside(Entry(name, oid, 0, is_lfs=True))


# -- exactly that version


def test_a_pull_gives_exactly_the_files_of_the_version(mirror, released, to):
    done = pull(mirror, to, 'v1.0.0')
    assert checksums(to) == version_files(mirror, 'v1.0.0')
    assert (to / 'model.bin').read_bytes() == (released.path / 'model.bin').read_bytes()
    keys = ['target', 'to', 'cache', 'version', 'commit', 'fetched', 'kept', 'removed', 'size', 'python']
    assert list(done) == keys and done['cache'] is None
    assert done['fetched'] == len(mirror.files()) and done['kept'] == 0


@pytest.mark.heavy
@pytest.mark.parametrize('version', [[], ['latest']])
def test_latest_is_the_highest_version(mirror, released, to, version):
    released.write('config.json', '{"v": 2}')
    mirror.push(released, '--tag', 'v1.1.0')
    assert pull(mirror, to, *version)['version'] == 'v1.1.0'
    assert (to / 'config.json').read_text() == '{"v": 2}'


@pytest.mark.heavy
def test_an_older_version_can_be_pulled(mirror, released, to):
    before = version_files(mirror, 'v1.0.0')
    released.write('model.bin', b'\0new weights')
    mirror.push(released, '--tag', 'v2.0.0')
    pull(mirror, to, 'v1.0.0')
    assert checksums(to) == before


@pytest.mark.heavy
def test_a_pull_over_another_version_brings_the_folder_to_the_new_one(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    released.write('model.bin', b'\0new weights')
    released.remove('notes/training.txt')
    mirror.push(released, '--tag', 'v2.0.0')
    done = pull(mirror, to, 'v2.0.0')
    assert checksums(to) == version_files(mirror, 'v2.0.0')
    assert done['removed'] == 1 and not (to / 'notes').exists()
    pull(mirror, to, 'v1.0.0')
    assert checksums(to) == version_files(mirror, 'v1.0.0')


@pytest.mark.heavy
def test_files_of_a_person_in_the_folder_stay(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    (to / 'mine.txt').write_text('mine')
    released.write('config.json', '{"v": 2}')
    mirror.push(released, '--tag', 'v2.0.0')
    pull(mirror, to, 'v2.0.0')
    assert (to / 'mine.txt').read_text() == 'mine'


@pytest.mark.heavy
def test_a_file_that_a_person_changed_since_is_not_removed(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    (to / 'notes' / 'training.txt').write_text('my own notes')
    released.remove('notes/training.txt')
    mirror.push(released, '--tag', 'v2.0.0')
    pull(mirror, to, 'v2.0.0')
    assert (to / 'notes' / 'training.txt').read_text() == 'my own notes'


@pytest.mark.heavy
def test_odd_names_arrive(mirror, folder, to):
    names = ['a b.txt', 'ünïcode.bin', '[x].txt', '-dash.bin', "q'uote.txt", '#hash!.txt', '名' * 83 + '.bin']
    names += ['x' * 120 + end for end in ('1.bin', '2.bin')]
    for name in names:
        folder.write(f'sub/{name}', b'\0binary' if name.endswith('.bin') else 'text')
    mirror.push(folder, '--tag', 'v1.0.0')
    pull(mirror, to, 'v1.0.0')
    assert checksums(to / 'sub') == checksums(folder.path / 'sub')


def test_an_empty_file_arrives(mirror, folder, to):
    folder.write('empty.bin', b'')
    folder.write('empty.txt', '')
    mirror.push(folder, '--tag', 'v1.0.0')
    pull(mirror, to, 'v1.0.0')
    assert (to / 'empty.bin').read_bytes() == (to / 'empty.txt').read_bytes() == b''


# -- only what is missing


@pytest.mark.heavy
def test_a_second_pull_fetches_nothing_and_writes_nothing(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    before = {path: path.stat().st_mtime_ns for path in to.rglob('*')}
    done = pull(mirror, to, 'v1.0.0')
    assert (done['fetched'], done['size'], done['kept']) == (0, 0, len(mirror.files()))
    assert {path: path.stat().st_mtime_ns for path in to.rglob('*')} == before


@pytest.mark.heavy
def test_only_missing_and_changed_files_are_fetched(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    (to / 'config.json').unlink()
    assert pull(mirror, to, 'v1.0.0')['fetched'] == 1
    released.write('model.bin', b'\0new weights')
    mirror.push(released, '--tag', 'v2.0.0')
    done = pull(mirror, to, 'v2.0.0')
    changed = version_files(mirror, 'v2.0.0').items() - version_files(mirror, 'v1.0.0').items()
    assert done['fetched'] == len(changed)


def test_files_that_are_there_already_are_taken_whoever_put_them_there(mirror, released, to):
    to.mkdir()
    (to / 'model.bin').write_bytes((released.path / 'model.bin').read_bytes())
    assert pull(mirror, to, 'v1.0.0')['kept'] == 1


@pytest.mark.heavy
def test_from_a_network_only_missing_objects_are_asked_for(mirror, folder, to, tmp_path):
    folder.write('second.bin', b'\0second' * 1000)
    with GitHost(tmp_path / 'host') as host:
        host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        mirror.run('pull', 'v1.0.0', '--to', to, *where, code=0)
        (to / 'model.bin').unlink()
        host.seen.clear()
        done = mirror.run('pull', 'v1.0.0', '--to', to, *where, '--json', code=0).json
        size = (folder.path / 'model.bin').stat().st_size
        assert (done['fetched'], done['size']) == (1, size)
        fetched = [seen for seen in host.requests('GET') if oid_of(folder.path / 'model.bin') in seen.path]
        assert [seen.length for seen in fetched] == [size]
        assert [
            seen for seen in host.requests('GET') if oid_of(folder.path / 'second.bin') in seen.path
        ] == []


# -- a part


@pytest.mark.parametrize('path', ['notes', 'notes/', 'notes/training.txt'])
def test_path_brings_only_that_part(mirror, released, to, path):
    pull(mirror, to, 'v1.0.0', '--path', path)
    assert files_below(to) == {'notes/training.txt'}


def test_a_part_leaves_what_was_pulled_before(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    pull(mirror, to, 'v1.0.0', '--path', 'notes')
    assert checksums(to) == version_files(mirror, 'v1.0.0')


@pytest.mark.parametrize('path', ['note', 'nowhere', '../notes', 'model.bin/x'])
def test_a_part_that_is_not_there_is_not_found(mirror, released, to, path):
    done = pull(mirror, to, 'v1.0.0', '--path', path, code=5)
    assert path in done.err
    assert not to.exists() or files_below(to) == set()


# -- never over what it does not know


def test_a_file_it_does_not_know_is_not_overwritten_and_nothing_is_written(mirror, released, to):
    to.mkdir()
    (to / 'config.json').write_text('mine')
    done = pull(mirror, to, 'v1.0.0', code=6)
    assert 'config.json' in done.err and '--force' in done.err and str(to) in done.err
    assert (to / 'config.json').read_text() == 'mine' and files_below(to) == {'config.json'}


def test_force_overwrites_it(mirror, released, to):
    to.mkdir()
    (to / 'config.json').write_text('mine')
    pull(mirror, to, 'v1.0.0', '--force')
    assert checksums(to) == version_files(mirror, 'v1.0.0')


def test_a_pulled_file_that_a_person_edited_is_not_overwritten(mirror, released, to):
    pull(mirror, to, 'v1.0.0')
    (to / 'config.json').write_text('edited')
    pull(mirror, to, 'v1.0.0', code=6)
    assert (to / 'config.json').read_text() == 'edited'


def test_a_link_in_a_files_place_is_replaced_with_force_and_never_followed(mirror, released, to, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('untouched')
    to.mkdir()
    (to / 'config.json').symlink_to(victim)
    pull(mirror, to, 'v1.0.0', code=6)
    pull(mirror, to, 'v1.0.0', '--force')
    assert victim.read_text() == 'untouched'
    assert not (to / 'config.json').is_symlink()


@pytest.mark.parametrize('force', [[], ['--force']])
def test_a_link_in_a_folders_place_is_never_followed(mirror, released, to, tmp_path, force):
    (tmp_path / 'outside').mkdir()
    to.mkdir()
    (to / 'notes').symlink_to(tmp_path / 'outside')
    done = pull(mirror, to, 'v1.0.0', *force, code=6)
    assert 'notes' in done.err
    assert list((tmp_path / 'outside').iterdir()) == []


def test_a_link_at_the_name_of_the_half_file_is_never_followed(mirror, released, to, tmp_path):
    victim = tmp_path / 'victim'
    victim.write_text('untouched')
    to.mkdir()
    for path in ('model.bin', 'config.json'):
        half_file(to, path, version_oid(mirror, 'v1.0.0', path)).symlink_to(victim)
    pull(mirror, to, 'v1.0.0')
    assert victim.read_text() == 'untouched'
    assert not any(path.is_symlink() for path in to.rglob('*'))
    assert checksums(to) == version_files(mirror, 'v1.0.0')


def version_oid(mirror, revision, path):
    content = mirror.files(revision)[path]
    if content.startswith(b'version https://git-lfs'):
        return content.split(b'sha256:')[1][:64].decode()
    return mirror.git('rev-parse', f'{revision}:{path}')


def test_a_folder_in_a_files_place_is_a_conflict(mirror, released, to):
    (to / 'config.json' / 'sub').mkdir(parents=True)
    done = pull(mirror, to, 'v1.0.0', '--force', code=6)
    assert 'config.json' in done.err and (to / 'config.json' / 'sub').is_dir()


def test_a_file_in_a_folders_place_is_a_conflict(mirror, released, to):
    to.mkdir()
    (to / 'notes').write_text('mine')
    done = pull(mirror, to, 'v1.0.0', code=6)
    assert 'notes' in done.err and (to / 'notes').read_text() == 'mine'


def test_a_target_that_is_a_file_is_a_usage_error(mirror, released, to):
    to.write_text('x')
    done = pull(mirror, to, 'v1.0.0', code=2)
    assert '--to' in done.err and to.read_text() == 'x'


@pytest.mark.heavy
@pytest.mark.parametrize('version', ['v9.0.0', 'main', 'HEAD', '../x'])
def test_a_version_that_is_not_there_is_not_found_and_makes_no_folder(mirror, released, to, version):
    done = pull(mirror, to, version, code=5)
    assert version in done.err and not to.exists()


@pytest.mark.heavy
def test_a_repository_without_versions_says_how_to_make_one(mirror, folder, to):
    mirror.push(folder, '--no-tag')
    assert 'hfmirror push' in pull(mirror, to, code=5).err


# -- checked while written


@pytest.mark.heavy
def test_wrong_bytes_never_come_under_the_final_name(mirror, released, to):
    path = remote_object(mirror, oid_of(released.path / 'model.bin'))
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    done = pull(mirror, to, 'v1.0.0', code=3)
    assert 'model.bin' in done.err and 'verify --content' in done.err
    assert not (to / 'model.bin').exists()
    assert list(to.rglob('*.part')) == []


@pytest.mark.heavy
def test_wrong_bytes_from_a_network_never_come_under_the_final_name(mirror, folder, to, tmp_path):
    with GitHost(tmp_path / 'host') as host:
        host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        (stored,) = (tmp_path / 'host').rglob(oid_of(folder.path / 'model.bin'))
        stored.write_bytes(bytes(stored.stat().st_size))
        assert 'model.bin' in mirror.run('pull', 'v1.0.0', '--to', to, *where, code=3).err
        assert not (to / 'model.bin').exists()


def test_an_object_that_the_remote_lost_is_said_before_anything_is_written(mirror, released, to):
    remote_object(mirror, oid_of(released.path / 'model.bin')).unlink()
    done = pull(mirror, to, 'v1.0.0', code=3)
    assert 'model.bin' in done.err and 'lost' in done.err
    assert files_below(to) == set()


def test_what_cannot_fit_is_said_before_anything_is_written(mirror, folder, to):
    mirror.push(folder, '--tag', 'v1.0.0')
    oid, size = 'a' * 64, shutil.disk_usage(to.parent).total + 1
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n'
    commit_tree(mirror.remote, 'v2.0.0', {b'huge.bin': pointer.encode()})
    path = remote_object(mirror, oid)
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, size)  # sparse
    done = pull(mirror, to, 'v2.0.0', code=1)
    assert 'are free' in done.err and 'Free some space' in done.err
    assert files_below(to) == set()


# -- killed in the middle


@pytest.mark.heavy
def test_a_kill_leaves_no_half_file_and_the_next_pull_goes_on_from_there(mirror, folder, to, tmp_path):
    size = 300_000_000
    with (folder.path / 'large.bin').open('wb') as file:
        for number in range(300):
            file.write(hashlib.sha256(bytes([number % 256])).digest() * 31_250)
    mirror.push(folder, '--tag', 'v1.0.0')
    command = [sys.executable, '-m', 'hfmirror', 'pull', 'v1.0.0', '--to', str(to)]
    process = subprocess.Popen(
        [*command, '--remote', 'local', '--repo', mirror.repo],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    part = _wait_for_part(to, process, at_least=20_000_000)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (to / 'large.bin').exists()
    had = part.stat().st_size
    assert 0 < had < size
    done = pull(mirror, to, 'v1.0.0')
    assert done['version'] == 'v1.0.0'
    assert checksums(to) == version_files(mirror, 'v1.0.0')
    assert list(to.rglob('*.part')) == []


def _wait_for_part(to, process, *, at_least):
    for _ in range(20_000):
        for part in to.rglob('.large.bin*.part'):
            if part.stat().st_size >= at_least:
                return part
        assert process.poll() is None, 'the pull was over too soon'
        time.sleep(0.001)
    raise AssertionError('no half file was seen')


@pytest.mark.heavy
def test_a_pull_goes_on_where_a_half_file_ends(mirror, folder, to, tmp_path):
    content = os.urandom(3_000_000)
    folder.write('large.bin', content)
    with GitHost(tmp_path / 'host') as host:
        host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        to.mkdir()
        oid = oid_of(folder.path / 'large.bin')
        half_file(to, 'large.bin', oid).write_bytes(content[:2_000_000])
        host.seen.clear()
        mirror.run('pull', 'v1.0.0', '--to', to, *where, code=0)
        assert [seen.length for seen in host.requests('GET') if oid in seen.path] == [1_000_000]
    assert (to / 'large.bin').read_bytes() == content


@pytest.mark.heavy
@pytest.mark.parametrize('half', [b'', b'junk' * 1000, None])
def test_a_half_file_of_other_bytes_does_no_harm(mirror, released, to, half):
    oid = oid_of(released.path / 'model.bin')
    to.mkdir()
    content = (released.path / 'model.bin').read_bytes() + b'too long' if half is None else half
    half_file(to, 'model.bin', oid).write_bytes(content)
    for _ in range(2):
        done = mirror.run('pull', 'v1.0.0', '--to', to, '--remote', 'local', '--repo', mirror.repo)
    assert done.code == 0
    assert (to / 'model.bin').read_bytes() == (released.path / 'model.bin').read_bytes()
    assert list(to.rglob('*.part')) == []


# -- trees made by others


def commit_tree(remote, tag, files, *, links=()):
    """Make a commit of {path as bytes: content} with a tag, by git's plumbing, which checks no names."""
    if not remote.exists():
        remote.parent.mkdir(parents=True, exist_ok=True)
        bare(remote)
    tree = _tree(remote, {tuple(path.split(b'/')): content for path, content in files.items()}, set(links))
    commit = git('-c', 'user.name=M', '-c', 'user.email=m@x', 'commit-tree', '-m', 'x', tree, cwd=remote)
    git('update-ref', f'refs/tags/{tag}', commit, cwd=remote)
    git('update-ref', 'refs/heads/main', commit, cwd=remote)


def _tree(remote, files, links):
    rows = []
    for first in sorted({path[0] for path in files}):
        inside = {path[1:]: content for path, content in files.items() if path[0] == first}
        if () in inside:
            mode = b'120000' if first in links else b'100644'
            rows.append((mode, first, _object(remote, 'blob', inside[()])))
        else:
            rows.append((b'40000', first, _tree(remote, inside, links)))
    content = b''.join(mode + b' ' + name + b'\0' + bytes.fromhex(oid) for mode, name, oid in rows)
    return _object(remote, 'tree', content)


def _object(remote, kind, content):
    args = ['git', 'hash-object', '-t', kind, '-w', '--literally', '--stdin']
    return (
        subprocess.run(args, cwd=remote, input=content, capture_output=True, check=True)
        .stdout.decode()
        .strip()
    )


@pytest.mark.parametrize(
    'name',
    [
        b'../escaped',
        b'a/../../escaped',
        b'.git/config',
        b'.GIT/config',
        b'sub/.git/hooks/post-checkout',
        b'..\\escaped',
        b'./escaped',
    ],
)
def test_a_name_that_leads_out_of_the_folder_stops_the_pull(mirror, to, tmp_path, name):
    commit_tree(mirror.remote, 'v1.0.0', {name: b'evil', b'fine.txt': b'x'})
    before = checksums(tmp_path)
    done = pull(mirror, to, 'v1.0.0', code=1)
    assert 'this is not an error hfmirror knows' not in done.err
    assert not (tmp_path / 'escaped').exists()
    assert files_below(to) == set() if to.exists() else True
    made = {path for path in set(checksums(tmp_path)) - set(before) if not path.startswith('hfmirror/')}
    assert made == set()


def test_an_absolute_name_stays_in_the_folder_or_stops_the_pull(mirror, to, tmp_path):
    target = tmp_path / 'absolute'
    commit_tree(mirror.remote, 'v1.0.0', {os.fsencode(target): b'evil'})
    mirror.run('pull', 'v1.0.0', '--to', to, '--remote', 'local', '--repo', mirror.repo)
    assert not target.exists()


def test_a_link_in_the_version_is_not_made(mirror, to, tmp_path):
    commit_tree(mirror.remote, 'v1.0.0', {b'link': os.fsencode(tmp_path), b'fine.txt': b'x'}, links=[b'link'])
    pull(mirror, to, 'v1.0.0')
    assert files_below(to) == {'fine.txt'} and not (to / 'link').is_symlink()


def test_a_file_below_a_link_of_the_version_is_written_nowhere_else(mirror, to, tmp_path):
    (tmp_path / 'outside').mkdir()
    commit_tree(mirror.remote, 'v1.0.0', {b'link': os.fsencode(tmp_path / 'outside')}, links=[b'link'])
    commit_tree(mirror.remote, 'v2.0.0', {b'link/evil': b'x'})
    pull(mirror, to, 'v1.0.0')
    pull(mirror, to, 'v2.0.0')
    assert list((tmp_path / 'outside').iterdir()) == []


def test_a_name_that_is_not_utf_8_arrives_as_it_is(mirror, to):
    commit_tree(mirror.remote, 'v1.0.0', {b'caf\xe9.txt': b'x'})
    pull(mirror, to, 'v1.0.0')
    assert os.listdir(os.fsencode(to)) == [b'caf\xe9.txt']


def test_a_pointer_to_nothing_sensible_is_taken_as_the_text_it_is(mirror, to):
    text = b'version https://git-lfs.github.com/spec/v1\noid sha256:../../../etc/passwd\nsize 9\n'
    commit_tree(mirror.remote, 'v1.0.0', {b'p.bin': text})
    pull(mirror, to, 'v1.0.0')
    assert (to / 'p.bin').read_bytes() == text


def test_a_pull_runs_no_hook_and_no_filter_of_the_repository(mirror, to, tmp_path):
    attributes = b'* filter=evil\n'
    commit_tree(mirror.remote, 'v1.0.0', {b'.gitattributes': attributes, b'x.txt': b'a\r\nb\n'})
    git('config', '--global', 'filter.evil.smudge', f'touch {tmp_path}/pwned; cat')
    pull(mirror, to, 'v1.0.0')
    assert not (tmp_path / 'pwned').exists()
    assert (to / 'x.txt').read_bytes() == b'a\r\nb\n'
    assert git_bytes('cat-file', 'blob', 'v1.0.0:x.txt', cwd=mirror.remote) == b'a\r\nb\n'


def test_the_remote_is_as_it_was(mirror, released, to):
    before = mirror.git('for-each-ref'), mirror.objects()
    pull(mirror, to, 'v1.0.0')
    assert (mirror.git('for-each-ref'), mirror.objects()) == before
    (to / 'model.bin').write_bytes(b'overwritten by a person')
    mirror.run('verify', 'v1.0.0', '--content', code=0)


def test_small_files_are_in_memory_one_batch_at_a_time(mirror, folder, to, tmp_path):
    for number in range(300):
        folder.write(f'many/{number}.txt', f'{number}\n')
    mirror.push(folder, '--tag', 'v1.0.0')
    target = targets.local(mirror.home / 'hub', mirror.repo)
    places = SimpleNamespace(clones=tmp_path / 'clones', outbox=tmp_path / 'outbox')
    to.mkdir()
    with opened(target, places) as repository, output.progress('fetching', 0) as shown:
        wanted = [
            entry for entry in pulling.find(repository, 'latest').tree.values() if 'many/' in entry.path
        ]
        fetcher = pulling.Fetcher(
            repository,
            wanted,
            lambda entry: pulling.Paths(to / f'{entry.oid}.part', to / entry.oid),
            nearby={},
            shown=shown,
            retry=Retry(0),
        )
        held = []
        for together in pulling.batches(wanted):
            fetcher.fetch(together)
            held.append(len(fetcher.plain))
    assert held == [256, 44] and len(list(to.iterdir())) == 300
