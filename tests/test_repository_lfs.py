"""What Repository sends to git-lfs, fetches from it and prunes; and that large files are added fast and right."""

from __future__ import annotations

import base64
import hashlib
import os
import random
from pathlib import Path

import pytest

from hfmirror import Repository, errors
from hfmirror.repository import adding, is_binary_file, is_git_ignored, is_tracked_with_lfs
from tests.support.clones import WEIGHTS, log_in, with_first_commit
from tests.support.mirror import git, git_bytes

MIB = 1024 * 1024
LARGE = random.Random(4).randbytes(3 * MIB + 7)
TEXT = b'word ' * (12 * MIB // 5)
BINARY = b'\0\1\2\3'


@pytest.fixture(autouse=True)
def logged_in(shared_hub, monkeypatch):
    log_in(shared_hub, monkeypatch)


@pytest.fixture
def place(shared_hub):
    return with_first_commit(shared_hub)


@pytest.fixture
def clone(place):
    return Repository('first')


@pytest.fixture
def alone(tmp_path):
    """A repository without a remote in which ``*.bin`` goes to git-lfs."""
    git('init', '-q', '-b', 'main', tmp_path / 'alone')
    made = Repository('alone')
    made.lfs_track('*.bin')
    return made


def staged(clone, path):
    return git_bytes('cat-file', 'blob', f':{path}', cwd=clone)


def pointer(content):
    oid = hashlib.sha256(content).hexdigest()
    return f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n'.encode()


def stored(clone):
    return {path.name: path for path in (clone / '.git/lfs/objects').glob('*/*/*')}


# -- what goes to git-lfs


@pytest.mark.heavy
def test_several_patterns_are_one_edit(clone):
    clone.lfs_track(['*.one', '*.two', '*.one'])
    lines = (clone / '.gitattributes').read_text().splitlines()[-2:]
    assert [line.split()[0] for line in lines] == ['*.one', '*.two']


@pytest.mark.heavy
def test_a_pattern_that_is_there_is_not_written_again(clone):
    before = (clone / '.gitattributes').read_bytes()
    clone.lfs_track('*.bin')
    assert (clone / '.gitattributes').read_bytes() == before


@pytest.mark.heavy
def test_untracking_takes_out_what_git_lfs_wrote(clone):
    git('lfs', 'track', 'my file.x', '*.y', cwd=clone)
    git('lfs', 'track', '--filename', 'z[1].x', cwd=clone)
    clone.lfs_untrack(['my file.x', '*.y', 'z[1].x'])
    assert not any(is_tracked_with_lfs(clone / name) for name in ('my file.x', 'a.y', 'z[1].x'))


@pytest.mark.heavy
def test_git_lfs_untracks_what_we_wrote(clone):
    clone.lfs_track(['my file.x', '*.y'])
    git('lfs', 'untrack', 'my file.x', '*.y', cwd=clone)
    assert not any(is_tracked_with_lfs(clone / name) for name in ('my file.x', 'a.y'))


@pytest.mark.heavy
def test_other_lines_of_gitattributes_stay(clone):
    (clone / '.gitattributes').write_bytes(
        b'# mine\r\n*.x text eol=crlf\r\n*.y filter=lfs diff=lfs merge=lfs -text'
    )
    clone.lfs_track('*.z')
    clone.lfs_untrack('*.y')
    assert (clone / '.gitattributes').read_bytes() == (
        b'# mine\r\n*.x text eol=crlf\r\n*.z filter=lfs diff=lfs merge=lfs -text\n'
    )


@pytest.mark.heavy
def test_large_files_are_tracked_and_others_are_not(clone):
    (clone / 'large.txt').write_bytes(TEXT)
    (clone / 'small.txt').write_bytes(b'small')
    assert clone.auto_track_large_files() == ['large.txt']
    assert is_tracked_with_lfs(clone / 'large.txt')
    assert not is_tracked_with_lfs(clone / 'small.txt')


@pytest.mark.heavy
def test_only_the_folder_that_is_named_is_tracked(clone):
    for folder in ('one', 'two'):
        (clone / folder).mkdir()
        (clone / folder / 'large.txt').write_bytes(TEXT)
    assert clone.auto_track_large_files('one') == ['one/large.txt']
    assert not is_tracked_with_lfs(clone / 'two' / 'large.txt')


@pytest.mark.heavy
def test_binary_files_are_tracked_by_their_content(clone):
    (clone / 'binary.txt').write_bytes(BINARY)
    (clone / 'text.dat').write_text('text')
    (clone / 'latin.txt').write_bytes('für'.encode('latin-1'))
    assert clone.auto_track_binary_files() == ['binary.txt']


@pytest.mark.heavy
@pytest.mark.parametrize('content', [BINARY, b'\x7f', b'\x1a'])
def test_a_byte_that_no_text_has_makes_a_file_binary(tmp_path, content):
    (tmp_path / 'x').write_bytes(b'text' + content)
    assert is_binary_file(tmp_path / 'x')


@pytest.mark.heavy
def test_ignored_files_are_left_alone(clone):
    (clone / '.gitignore').write_text('*.tmp\n')
    (clone / 'sub').mkdir()
    (clone / 'sub' / '.gitignore').write_text('secret.*\n')
    for name in ('a.tmp', 'sub/secret.dat'):
        (clone / name).write_bytes(TEXT + BINARY)
        assert is_git_ignored(clone / name)
    assert clone.auto_track_large_files() == clone.auto_track_binary_files() == []


@pytest.mark.heavy
def test_links_are_no_large_files(clone, tmp_path):
    (tmp_path / 'elsewhere').write_bytes(TEXT)
    (clone / 'link.txt').symlink_to(tmp_path / 'elsewhere')
    clone.git_add(auto_lfs_track=True)
    assert git('ls-files', '-s', 'link.txt', cwd=clone).startswith('120000')


@pytest.mark.heavy
def test_git_add_tracks_when_it_is_told_to(clone):
    (clone / 'large.txt').write_bytes(TEXT)
    (clone / 'binary.txt').write_bytes(BINARY)
    clone.git_add(auto_lfs_track=True)
    assert staged(clone, 'large.txt') == pointer(TEXT)
    assert staged(clone, 'binary.txt') == pointer(BINARY)


@pytest.mark.heavy
def test_git_add_does_not_track_by_itself(clone):
    (clone / 'binary.txt').write_bytes(BINARY)
    clone.git_add()
    assert staged(clone, 'binary.txt') == BINARY


@pytest.mark.heavy
def test_adding_one_folder_adds_what_tracks_its_files(clone):
    (clone / 'sub').mkdir()
    (clone / 'sub' / 'binary.txt').write_bytes(BINARY)
    clone.git_add('sub', auto_lfs_track=True)
    clone.git_commit('second')
    assert clone.is_repo_clean()


@pytest.mark.heavy
def test_a_file_that_was_large_and_deleted_is_plain_when_it_is_small(clone):
    (clone / 'file.txt').write_bytes(TEXT)
    clone.git_add(auto_lfs_track=True)
    clone.git_commit('large')
    (clone / 'file.txt').unlink()
    clone.auto_track_large_files()
    assert not is_tracked_with_lfs(clone / 'file.txt')
    (clone / 'file.txt').write_bytes(b'small')
    clone.git_add()
    assert staged(clone, 'file.txt') == b'small'


# -- there and back


@pytest.mark.heavy
def test_without_large_files_their_pointers_stand_there(place, clone):
    other = place.clone('other', skip_lfs_files=True)
    assert (other / 'model.bin').read_bytes() == pointer(WEIGHTS)
    assert other.is_repo_clean()


@pytest.mark.heavy
def test_a_clone_without_large_files_gets_none_by_a_checkout(place, clone):
    clone.git_checkout('new', create_branch_ok=True)
    (clone / 'model.bin').write_bytes(LARGE)
    clone.push_to_hub()
    other = place.clone('other', skip_lfs_files=True)
    other.git_checkout('new')
    assert (other / 'model.bin').read_bytes() == pointer(LARGE)


@pytest.mark.heavy
def test_large_files_come_when_they_are_asked_for(place, clone):
    other = place.clone('other', skip_lfs_files=True)
    other.git_pull(lfs=True)
    assert (other / 'model.bin').read_bytes() == WEIGHTS


@pytest.mark.heavy
def test_a_small_file_is_pushed_from_a_clone_without_large_files(place, clone):
    other = place.clone('other', skip_lfs_files=True)
    with other.commit('a tokenizer') as folder:
        (folder / 'tokenizer.json').write_text('{}')
    assert stored(other) == {}
    assert place.files() >= {'tokenizer.json', 'model.bin'}


@pytest.mark.heavy
def test_a_checkout_brings_the_large_files_of_a_branch(place, clone):
    clone.git_checkout('new', create_branch_ok=True)
    (clone / 'model.bin').write_bytes(LARGE)
    clone.push_to_hub()
    other = place.clone('other')
    other.git_checkout('new')
    assert (other / 'model.bin').read_bytes() == LARGE


@pytest.mark.heavy
def test_a_pull_brings_large_files(place, clone):
    other = place.clone('other')
    (clone / 'model.bin').write_bytes(LARGE)
    clone.push_to_hub()
    other.git_pull()
    assert (other / 'model.bin').read_bytes() == LARGE


@pytest.mark.heavy
def test_a_push_of_what_is_nowhere_says_so(place, clone, tmp_path):
    other = place.clone('other', skip_lfs_files=True)
    git('init', '-q', '--bare', '-b', 'main', tmp_path / 'new.git')
    git('remote', 'set-url', 'origin', tmp_path / 'new.git', cwd=other)
    with pytest.raises(errors.SourceError, match=r'model\.bin'):
        Repository('other', skip_lfs_files=True).git_push('origin main')
    assert git('for-each-ref', cwd=tmp_path / 'new.git') == ''


@pytest.mark.heavy
def test_an_object_that_the_remote_lost_is_sent_again(place, clone):
    for path in (place.path / 'lfs' / 'objects').glob('*/*/*'):
        path.unlink()
    git('update-ref', '-d', 'refs/heads/main', cwd=place.path)
    clone.git_push()
    assert place.objects() == {hashlib.sha256(WEIGHTS).hexdigest()}


@pytest.mark.heavy
def test_objects_are_there_before_the_branch_moves(place, clone, shared_hub):
    seen = []
    shared_hub.when('POST /git-receive-pack', lambda: seen.append(place.objects()))
    (clone / 'model.bin').write_bytes(LARGE)
    clone.push_to_hub()
    assert hashlib.sha256(LARGE).hexdigest() in seen[0]


@pytest.mark.heavy
def test_when_an_object_does_not_arrive_the_branch_stays(place, clone, shared_hub):
    before = place.head()
    git('config', 'lfs.transfer.maxretries', '1', cwd=clone)
    shared_hub.fail('PUT', 403, times=50)
    (clone / 'model.bin').write_bytes(LARGE)
    with pytest.raises(OSError):
        clone.push_to_hub()
    shared_hub.heal()
    assert place.head() == before
    clone.git_push()
    assert place.head() == clone.git_head_hash()


@pytest.mark.heavy
def test_pruning_leaves_what_is_current(clone):
    for content in (LARGE, LARGE[1:]):
        (clone / 'model.bin').write_bytes(content)
        clone.push_to_hub()
    git('config', 'lfs.fetchrecentcommitsdays', '0', cwd=clone)
    git('config', 'lfs.fetchrecentrefsdays', '0', cwd=clone)
    git('config', 'lfs.pruneoffsetdays', '0', cwd=clone)
    clone.lfs_prune()
    assert set(stored(clone)) == {hashlib.sha256(LARGE[1:]).hexdigest()}


@pytest.mark.heavy
@pytest.mark.parametrize('blocking', [True, False])
def test_a_push_prunes_when_it_is_told_to(clone, blocking):
    (clone / 'model.bin').write_bytes(LARGE)
    clone.push_to_hub(auto_lfs_prune=True)
    (clone / 'model.bin').write_bytes(LARGE[1:])
    clone.push_to_hub(auto_lfs_prune=True, blocking=blocking)
    clone.wait_for_commands()
    assert set(stored(clone)) == {hashlib.sha256(LARGE[1:]).hexdigest()}


@pytest.mark.heavy
def test_pruning_never_takes_what_is_not_committed_yet(clone):
    (clone / 'model.bin').write_bytes(LARGE)
    clone.git_add()
    clone.lfs_prune()
    assert hashlib.sha256(LARGE).hexdigest() in stored(clone)


# -- adding large files


@pytest.mark.heavy
def test_a_large_file_is_added_as_git_lfs_adds_it(alone, tmp_path):
    (alone / 'model.bin').write_bytes(LARGE)
    alone.git_add()
    git('init', '-q', tmp_path / 'plain')
    git('lfs', 'install', '--local', cwd=tmp_path / 'plain')
    (tmp_path / 'plain' / '.gitattributes').write_bytes((alone / '.gitattributes').read_bytes())
    (tmp_path / 'plain' / 'model.bin').write_bytes(LARGE)
    git('add', '.', cwd=tmp_path / 'plain')
    assert git('ls-files', '-s', cwd=alone) == git('ls-files', '-s', cwd=tmp_path / 'plain')
    alone.git_commit('first')
    assert git('lfs', 'fsck', cwd=alone) == 'Git LFS fsck OK'


@pytest.mark.heavy
def test_no_file_goes_through_git_lfs(alone, monkeypatch, tmp_path):
    (alone / 'model.bin').write_bytes(LARGE)
    os.utime(alone / 'model.bin', (1e9, 1e9))
    monkeypatch.setenv('GIT_TRACE', str(tmp_path / 'trace'))
    alone.git_add()
    alone.git_commit('first')
    assert alone.is_repo_clean()
    assert 'filter-process' not in (tmp_path / 'trace').read_text()


@pytest.mark.heavy
def test_a_file_that_is_known_is_not_read_again(alone, monkeypatch):
    (alone / 'model.bin').write_bytes(LARGE)
    os.utime(alone / 'model.bin', (1e9, 1e9))
    alone.git_add()
    git('rm', '-q', '--cached', 'model.bin', cwd=alone)
    (alone / 'model.bin').chmod(0o000)
    monkeypatch.setattr('hfmirror.fingerprint.copy_hashed', lambda *_: pytest.fail('it was read'))
    (alone / 'model.bin').chmod(0o644)
    alone.git_add()
    assert staged(alone, 'model.bin') == pointer(LARGE)


@pytest.mark.heavy
def test_a_known_file_whose_object_was_removed_is_stored_again(alone):
    (alone / 'model.bin').write_bytes(LARGE)
    os.utime(alone / 'model.bin', (1e9, 1e9))
    alone.git_add()
    for path in stored(alone).values():
        path.unlink()
    git('rm', '-q', '--cached', 'model.bin', cwd=alone)
    alone.git_add()
    assert set(stored(alone)) == {hashlib.sha256(LARGE).hexdigest()}


@pytest.mark.heavy
def test_the_stored_object_is_a_copy(alone):
    (alone / 'model.bin').write_bytes(LARGE)
    alone.git_add()
    with (alone / 'model.bin').open('r+b') as file:  # as a trainer writes over its weights
        file.write(b'overwritten')
    (path,) = stored(alone).values()
    assert path.read_bytes() == LARGE


@pytest.mark.heavy
def test_a_file_that_is_written_while_it_is_added_is_read_again(alone, monkeypatch):
    (alone / 'model.bin').write_bytes(LARGE)
    index = adding._index

    def late(work, files, found):
        (work / 'model.bin').write_bytes(LARGE[::-1])  # of the same size
        index(work, files, found)

    # Between the hashing and git's own look at the file: nothing outside can hit that moment.
    monkeypatch.setattr(adding, '_index', late)
    alone.git_add()
    assert staged(alone, 'model.bin') == pointer(LARGE[::-1])
    assert set(stored(alone)) >= {hashlib.sha256(LARGE[::-1]).hexdigest()}


@pytest.mark.heavy
def test_where_it_cannot_be_done_git_adds_the_file_itself(alone):
    git('config', 'core.splitIndex', 'true', cwd=alone)
    (alone / 'a.txt').write_text('a')
    git('add', 'a.txt', cwd=alone)
    (alone / 'model.bin').write_bytes(LARGE)
    alone.git_add()
    assert staged(alone, 'model.bin') == pointer(LARGE)
    git('add', '--renormalize', '.', cwd=alone)
    assert git('ls-files', cwd=alone).split() == ['.gitattributes', 'a.txt', 'model.bin']


@pytest.mark.heavy
def test_a_large_file_in_a_linked_work_tree(alone, tmp_path):
    (alone / 'a.txt').write_text('a')
    alone.git_add()
    alone.git_commit('first')
    git('worktree', 'add', '-q', tmp_path / 'linked', cwd=alone)
    linked = Repository('linked')
    (linked / 'model.bin').write_bytes(LARGE)
    linked.git_add()
    assert staged(linked, 'model.bin') == pointer(LARGE)
    assert git('lfs', 'fsck', cwd=linked) == 'Git LFS fsck OK'


@pytest.mark.heavy
def test_a_pointer_that_was_put_there_stays_one(alone):
    (alone / 'model.bin').write_bytes(pointer(LARGE))
    alone.git_add()
    assert staged(alone, 'model.bin') == pointer(LARGE)


@pytest.mark.heavy
def test_executable_large_files_stay_executable(alone):
    (alone / 'run.bin').write_bytes(LARGE)
    (alone / 'run.bin').chmod(0o755)
    alone.git_add()
    assert git('ls-files', '-s', 'run.bin', cwd=alone).startswith('100755')


@pytest.mark.heavy
def test_attributes_that_the_person_set_for_themselves_stay(alone):
    info = Path(alone, '.git', 'info', 'attributes')
    info.parent.mkdir(exist_ok=True)
    info.write_text('*.bin -filter\n')
    (alone / 'model.bin').write_bytes(LARGE)
    alone.git_add()
    assert staged(alone, 'model.bin') == LARGE
    assert info.read_text() == '*.bin -filter\n'


@pytest.mark.heavy
def test_a_large_file_that_replaces_a_folder(alone):
    (alone / 'model.bin').mkdir()
    (alone / 'model.bin' / 'part.txt').write_text('x')
    alone.git_add()
    alone.git_commit('first')
    (alone / 'model.bin' / 'part.txt').unlink()
    (alone / 'model.bin').rmdir()
    (alone / 'model.bin').write_bytes(LARGE)
    alone.git_add()
    assert git('ls-files', cwd=alone).split() == ['.gitattributes', 'model.bin']


# -- what git-lfs writes when it fails


@pytest.mark.heavy
def test_a_report_of_git_lfs_about_a_failing_server_is_not_kept_since_it_has_the_token(
    shared_hub, place, clone
):
    (clone / 'weights.bin').write_bytes(WEIGHTS)
    clone.push_to_hub()
    reports = Path('second/.git/lfs/logs')
    Repository('second', clone_from=place.url, skip_lfs_files=True)
    reports.unlink()
    reports.mkdir()
    (reports / 'own.log').write_text('of the person')
    second = Repository('second', skip_lfs_files=True)
    shared_hub.fail('POST /info/lfs/objects/batch', 503, times=20)
    with pytest.raises(OSError):
        second.git_pull(lfs=True)
    shared_hub.heal()
    header = base64.b64encode(f'hf:{shared_hub.token}'.encode())
    files = [path for path in Path('second').rglob('*') if path.is_file()]
    assert [path for path in files if header in path.read_bytes()] == []
    assert [path.read_text() for path in Path('second/.git/lfs').glob('logs-*/own.log')] == ['of the person']
