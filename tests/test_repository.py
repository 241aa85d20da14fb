"""Repository does what the removed class did: the same names, results and errors, against the embedded Hub."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hfmirror import Repository, errors
from hfmirror.gitcmd import GitFailed
from hfmirror.repository import (
    cloning,
    commits_to_push,
    files_to_be_staged,
    is_git_repo,
    is_local_clone,
    is_tracked_upstream,
)
from tests.support.clones import WEIGHTS, Place, log_in, with_first_commit
from tests.support.mirror import bare, git
from tests.support.rest import call, commit_by_path, new_user
from tests.support.wire import canned


@pytest.fixture(autouse=True)
def logged_in(shared_hub, monkeypatch):
    log_in(shared_hub, monkeypatch)


@pytest.fixture
def place(shared_hub):
    """A repository with one commit of a text and an LFS file."""
    return with_first_commit(shared_hub)


@pytest.fixture
def clone(place):
    """A clone of it."""
    return Repository('first')


# -- where it comes from


def test_a_clone_by_id_has_the_content_of_large_files(place, clone):
    assert (place.clone('second') / 'model.bin').read_bytes() == WEIGHTS


def test_a_clone_by_url(place, clone):
    assert (Repository('second', clone_from=place.url) / 'a.txt').read_text() == 'one\n'


def test_a_clone_of_any_git_repository(tmp_path):
    bare(tmp_path / 'origin.git')
    made = Repository('clone', clone_from=str(tmp_path / 'origin.git'), token=False)
    with made.commit('first') as folder:
        (folder / 'model.bin').write_bytes(WEIGHTS)
    again = Repository('again', clone_from=f'file://{tmp_path}/origin.git', token=False)
    assert (again / 'model.bin').read_bytes() == WEIGHTS


def test_a_push_to_a_directory_leaves_the_objects_here(tmp_path):
    bare(tmp_path / 'origin.git')
    made = Repository('clone', clone_from=str(tmp_path / 'origin.git'), token=False)
    with made.commit('first') as folder:
        (folder / 'model.bin').write_bytes(WEIGHTS)
    assert git('lfs', 'fsck', cwd='clone') == 'Git LFS fsck OK'


def test_the_type_is_an_argument_or_in_the_url(shared_hub):
    place = Place(shared_hub, 'dataset').create()
    place.clone('one')
    Repository('two', clone_from=place.url)
    Repository('three', clone_from=f'datasets/{place.repo_id}')
    assert {Repository(name).git_remote_url() for name in ('one', 'two', 'three')} == {place.url}


def test_a_folder_named_like_the_repository(place, clone):
    made = Repository(place.repo_id, clone_from=place.repo_id)
    assert (made / 'a.txt').exists()


def test_an_id_without_a_namespace_is_an_environment_error():
    with pytest.raises(EnvironmentError, match='namespace'):
        Repository('clone', clone_from='just-a-name')


def test_a_repository_that_is_not_there(tmp_path):
    with pytest.raises(EnvironmentError) as caught:
        Repository('clone', clone_from='local/nowhere')
    assert isinstance(caught.value, errors.NotFoundError)
    assert list((tmp_path / 'clone').iterdir()) == []


def test_a_folder_that_is_no_repository_is_a_value_error():
    with pytest.raises(ValueError, match='valid git clone'):
        Repository('nothing')


def test_a_folder_with_other_files_is_left_alone(place, tmp_path):
    (tmp_path / 'clone').mkdir()
    (tmp_path / 'clone' / 'mine.txt').write_text('mine')
    with pytest.raises(EnvironmentError, match='not empty'):
        place.clone()
    assert os.listdir(tmp_path / 'clone') == ['mine.txt']


@pytest.mark.heavy
def test_a_clone_that_is_there_is_not_pulled(place, clone):
    old = place.clone('old')
    place.written_by(new__txt='new')
    again = place.clone('old')
    assert not (again / 'new.txt').exists()
    assert again.git_head_hash() == old.git_head_hash()


def test_a_clone_of_another_repository_is_refused(place, clone, shared_hub):
    with pytest.raises(EnvironmentError, match='is a clone of'):
        Repository('first', clone_from=Place(shared_hub).create().repo_id)


def test_a_clone_is_opened_without_clone_from(clone):
    assert Repository('first').git_head_hash() == clone.git_head_hash()


def test_a_repository_without_a_remote_is_opened(tmp_path):
    git('init', '-q', '-b', 'main', tmp_path / 'alone')
    made = Repository('alone')
    (made / 'a.txt').write_text('one')
    made.git_add()
    made.git_commit('first')
    with pytest.raises(EnvironmentError):
        made.git_push()


def test_a_clone_cut_short_is_finished_when_it_is_opened(place, clone, tmp_path, shared_hub):
    (tmp_path / 'cut').mkdir()
    target = cloning.target_of(place.repo_id, None, shared_hub.endpoint)
    cloning.clone(target, tmp_path / 'cut', env=clone.env, lfs=True)
    assert not (tmp_path / 'cut' / 'a.txt').exists()
    made = place.clone('cut')
    assert (made / 'model.bin').read_bytes() == WEIGHTS
    assert made.is_repo_clean()


def test_a_configuration_that_cannot_be_written_stays_and_leaves_no_lock(place, clone, shared_hub):
    path = Path('first/.git/config')
    git('remote', 'set-url', 'origin', place.url.replace('://', '://user:hf_old@'), cwd=clone)
    before = path.read_text()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))  # as on a full disk
    try:
        with pytest.raises(OSError, match='large'):
            cloning.take_credentials(clone.work, shared_hub.endpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == before
    assert cloning.take_credentials(clone.work, shared_hub.endpoint) == 'hf_old'
    assert not path.with_name('config.lock').exists()


def test_a_clone_killed_at_its_start_is_made_again(place, clone, tmp_path):
    (tmp_path / 'cut' / '.hfmirror-clone-x').mkdir(parents=True)
    assert (place.clone('cut') / 'a.txt').exists()
    assert not list((tmp_path / 'cut').glob('.hfmirror*'))


def test_what_a_person_changed_survives_a_clone_whose_large_files_were_cut_off(place, clone, shared_hub):
    shared_hub.fail('POST /info/lfs', 403, times=50)
    with pytest.raises(EnvironmentError):
        place.clone('cut')
    shared_hub.heal()
    Path('cut/a.txt').write_text('mine\n')
    made = place.clone('cut')
    assert (made / 'a.txt').read_text() == 'mine\n'
    assert (made / 'model.bin').read_bytes() == WEIGHTS


def test_an_unborn_repository_is_cloned(shared_hub, tmp_path):
    bare(tmp_path / 'empty.git')
    made = Repository('clone', clone_from=str(tmp_path / 'empty.git'), revision='main')
    assert made.current_branch == 'main'


# -- revisions


def test_a_revision_that_is_not_there_becomes_a_branch(place, clone):
    made = place.clone('second', revision='experiment')
    assert made.current_branch == 'experiment'
    assert place.clone('second', revision='experiment').current_branch == 'experiment'


@pytest.mark.heavy
def test_a_revision_may_be_a_commit(place, clone):
    old = clone.git_head_hash()
    place.written_by(new__txt='new')
    made = place.clone('second', revision=old)
    assert made.git_head_hash() == old
    assert made.current_branch == 'HEAD'


def test_a_revision_may_be_a_branch_of_the_remote(place, clone):
    place.written_by(branch='experiment', new__txt='new')
    made = place.clone('second', revision='experiment')
    assert (made / 'new.txt').exists()
    assert is_tracked_upstream(made)


def test_checkout_of_a_missing_branch_is_an_environment_error(clone):
    with pytest.raises(EnvironmentError):
        clone.git_checkout('nowhere')


def test_checkout_makes_a_branch_when_told_to(clone):
    clone.git_checkout('new', create_branch_ok=True)
    assert clone.current_branch == 'new'


def test_checkout_takes_no_option_for_a_revision(clone):
    with pytest.raises(EnvironmentError, match='begins with -'):
        clone.git_checkout('--orphan=x', create_branch_ok=True)


def test_a_branch_is_tracked_once_it_was_pushed(clone):
    clone.git_checkout('new', create_branch_ok=True)
    assert not is_tracked_upstream('first')
    clone.git_push()
    assert is_tracked_upstream('first')


def test_a_detached_head_has_no_upstream(clone):
    clone.git_checkout(clone.git_head_hash())
    with pytest.raises(OSError, match='No branch checked out'):
        is_tracked_upstream('first')


# -- who it is


def test_commits_are_signed_by_the_owner_of_the_token(place, shared_hub):
    clone = place.clone('clone', token=new_user(shared_hub, 'local'))
    assert git('config', '--local', 'user.name', cwd=clone) == 'local'


def test_a_name_and_an_address_that_are_given_win(place):
    clone = place.clone('clone', git_user='Grace Hopper', git_email='grace@example.org')
    signed = (
        git('config', '--local', 'user.name', cwd=clone),
        git('config', '--local', 'user.email', cwd=clone),
    )
    assert signed == ('Grace Hopper', 'grace@example.org')


def test_a_key_of_an_organisation_is_a_value_error(place):
    with pytest.raises(ValueError, match='organisation'):
        place.clone('clone', token='api_org_xxxxxxxx')


def test_a_wrong_token_is_an_auth_error_and_an_os_error(place, clone):
    with pytest.raises(OSError) as caught:
        place.clone('second', token='hf_wrong')
    assert isinstance(caught.value, errors.AuthError)
    assert 'hf_wrong' not in str(caught.value)


def test_a_push_without_a_token_says_what_to_do(place, clone, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    other = place.clone('second', token=False)
    (other / 'b.txt').write_text('two')
    other.git_add()
    other.git_commit()
    with pytest.raises(errors.AuthError, match='hf auth login') as caught:
        other.git_push()
    assert isinstance(caught.value, OSError)


def test_a_token_that_may_only_read_says_so(place, clone, shared_hub):
    other = place.clone('second', token=new_user(shared_hub, 'local', 'read'))
    (other / 'b.txt').write_text('two')
    other.git_add()
    other.git_commit()
    with pytest.raises(errors.AuthError, match='only read'):
        other.git_push()


def test_the_endpoint_and_token_of_a_client_are_used(place, clone, shared_hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.delenv('HF_ENDPOINT')
    client = HfApi(endpoint=shared_hub.endpoint, token=shared_hub.token)
    made = place.clone('second', client=client)
    with made.commit('by a client') as folder:
        (folder / 'b.txt').write_text('two')
    assert place.messages()[0] == 'by a client'


def test_the_token_of_the_environment_does_not_go_to_the_hub_of_a_client(
    place, clone, shared_hub, monkeypatch
):
    monkeypatch.delenv('HF_ENDPOINT')
    with canned((401, {}, b'')) as other:
        with pytest.raises(EnvironmentError, match=r'the token from HF_TOKEN is for https://huggingface\.co'):
            Repository('second', clone_from='local/x', client=HfApi(endpoint=other.endpoint))
        assert other.requests and set(other.authorizations) == {None}


def test_a_hub_that_is_spelled_otherwise_is_the_same_one(place, clone, shared_hub):
    client = HfApi(endpoint=shared_hub.endpoint.replace('http', 'HTTP') + '/')
    assert place.clone('second', client=client).hub.token.source == 'HF_TOKEN'


@pytest.mark.parametrize('way', ['argument', 'clone_from', 'client'])
def test_a_token_that_is_given_is_for_the_hub_of_the_client(place, clone, shared_hub, monkeypatch, way):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.delenv('HF_ENDPOINT')
    token = shared_hub.token
    client = HfApi(endpoint=shared_hub.endpoint, token=token if way == 'client' else False)
    made = place.clone('second', client=client, token=token if way == 'argument' else True)
    if way == 'clone_from':
        made.clone_from(place.repo_id, token=token)
    assert made.hub.token.endpoint == shared_hub.endpoint
    (made / 'b.txt').write_text('two')
    _, push = made.push_to_hub('in the background', blocking=False)
    made.wait_for_commands()
    assert not push.failed, push.stderr
    assert place.messages()[0] == 'in the background'


def test_the_token_of_a_url_counts_more_than_one_for_another_hub(place, clone, shared_hub, monkeypatch):
    monkeypatch.delenv('HF_ENDPOINT')
    monkeypatch.setenv('HF_TOKEN', 'hf_forthedefaultone')
    url = place.url.replace('://', f'://user:{shared_hub.token}@')
    client = HfApi(endpoint=shared_hub.endpoint)
    made = Repository('second', clone_from=url, client=client)
    assert made.hub.token.value == shared_hub.token


def test_no_file_has_the_token(place, clone, shared_hub, tmp_path):
    clone.git_credential_helper_store()
    clone.git_push(blocking=False)
    clone.wait_for_commands()
    found = [
        path
        for path in tmp_path.rglob('*')
        if path.is_file() and shared_hub.token.encode() in path.read_bytes()
    ]
    assert found == []
    assert 'credential' not in git('config', '--local', '-l', cwd=clone)


def test_no_process_is_started_with_the_token_in_its_arguments(place, shared_hub, tmp_path, monkeypatch):
    log = tmp_path / 'arguments'
    (tmp_path / 'bin').mkdir()
    for name in ('git', 'git-lfs'):
        wrapper = tmp_path / 'bin' / name
        wrapper.write_text(f'#!/bin/sh\necho "{name} $*" >>{log}\nexec {shutil.which(name)} "$@"\n')
        wrapper.chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path / "bin"}{os.pathsep}{os.environ["PATH"]}')
    monkeypatch.delenv('HF_TOKEN')
    made = place.clone('second', token=shared_hub.token)
    (made / 'model.bin').write_bytes(b'\0' + WEIGHTS)
    made.push_to_hub('by a wrapper')
    assert 'receive-pack' in log.read_text() or 'push' in log.read_text()
    assert shared_hub.token not in log.read_text()


def test_a_push_in_the_background_shows_the_token_nowhere(place, clone, shared_hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    made = place.clone('second', token=shared_hub.token)
    shared_hub.delay('GET /info/refs', 1)
    _, command = made.git_push(blocking=False)
    process = Path('/proc', str(command._process.pid))
    shown = (process / 'cmdline').read_bytes() + (process / 'environ').read_bytes() + repr(command).encode()
    assert shared_hub.token.encode() not in shown
    assert command.wait(20)
    assert not command.failed, command.stderr


def test_a_token_in_the_url_of_an_old_clone_is_taken_out(place, clone, shared_hub, caplog):
    git('remote', 'set-url', 'origin', with_user(place.url, f'user:{shared_hub.token}'), cwd=clone)
    git('config', 'credential.helper', 'store', cwd=clone)
    key = f'lfs.{with_user(place.url, f"user:{shared_hub.token}")}.git/info/lfs.locksverify'
    git('config', key, 'false', cwd=clone)
    Repository('first')
    config = Path('first/.git/config').read_text()
    assert shared_hub.token not in config
    assert 'store' not in config
    assert git('config', 'remote.origin.url', cwd=clone) == place.url
    assert 'hf auth login' in caplog.text
    assert shared_hub.token not in caplog.text


def test_the_token_in_the_url_of_an_old_clone_works_once_more(place, clone, shared_hub, monkeypatch):
    git('remote', 'set-url', 'origin', with_user(place.url, f'user:{shared_hub.token}'), cwd=clone)
    monkeypatch.delenv('HF_TOKEN')
    old = Repository('first')
    (old / 'b.txt').write_text('two')
    assert old.push_to_hub('with the old token')
    assert place.messages()[0] == 'with the old token'


def test_a_token_in_the_url_to_clone_from_is_used_and_not_kept(place, clone, shared_hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    made = Repository('second', clone_from=with_user(place.url, f'user:{shared_hub.token}'))
    (made / 'b.txt').write_text('two')
    made.push_to_hub('with the token of the URL')
    assert place.messages()[0] == 'with the token of the URL'
    assert shared_hub.token not in Path('second/.git/config').read_text()


def test_a_token_in_a_url_for_another_host_is_refused():
    with pytest.raises(EnvironmentError, match='credential helper'):
        Repository('second', clone_from='http://ada:secret@127.0.0.1:9/x/y/z')


def test_a_user_for_another_host_stays_where_it_is(clone):
    git('remote', 'add', 'other', 'https://ada:secret@git.example.org/x/y', cwd=clone)
    Repository('first')
    assert git('config', 'remote.other.url', cwd=clone) == 'https://ada:secret@git.example.org/x/y'


def with_user(url, user):
    return url.replace('://', f'://{user}@')


# -- commit and push


def test_add_commit_and_push_give_the_address_of_the_commit(place, clone, shared_hub):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    url = clone.git_push()
    assert url == f'{place.url}/commit/{place.head()}'
    assert call(shared_hub, 'GET', url.removeprefix(shared_hub.endpoint)).status == 200


def test_a_push_sends_large_files_of_every_commit(place, clone):
    for number in range(3):
        (clone / 'model.bin').write_bytes(WEIGHTS + bytes([number]))
        clone.git_add()
        clone.git_commit(f'number {number}')
    clone.git_push()
    assert len(place.objects()) == 4


def test_a_push_in_the_background_runs_and_ends(place, clone, shared_hub):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    shared_hub.delay('POST /git-receive-pack', 0.5)
    url, command = clone.git_push(blocking=False)
    assert (command.status, command.is_done, command.failed) == (-1, False, False)
    assert clone.commands_in_progress == [command]
    clone.wait_for_commands()
    assert (command.status, command.is_done, command.failed) == (0, True, False)
    assert url == f'{place.url}/commit/{place.head()}'


@pytest.mark.heavy
def test_a_push_in_the_background_that_fails_says_why(place, clone, caplog):
    place.written_by(b__txt='theirs')
    (clone / 'c.txt').write_text('mine')
    clone.git_add()
    clone.git_commit('mine')
    _, command = clone.git_push(blocking=False)
    clone.wait_for_commands()
    assert command.failed
    assert clone.commands_failed == [command]
    assert 'has moved' in command.stderr
    assert 'has moved' in caplog.text


def test_the_end_of_the_program_waits_for_its_push(place, clone):
    code = """
from hfmirror import Repository
with Repository('first').commit('last words', blocking=False) as folder:
    (folder / 'b.txt').write_text('two')
"""
    subprocess.run([sys.executable, '-c', code], check=True)
    assert place.messages()[0] == 'last words'


def test_nothing_of_the_working_directory_is_imported_by_a_push_in_the_background(place, clone, monkeypatch):
    (clone / 'json.py').write_text('raise SystemExit("imported")')
    (clone / 'hfmirror.py').write_text('raise SystemExit("imported")')
    monkeypatch.chdir('first')
    _, command = clone.push_to_hub('odd names', blocking=False)
    command.wait()
    assert not command.failed, command.stderr


def test_commit_in_the_background_leaves_one_command_in_the_queue(clone):
    with clone.commit('second', blocking=False) as folder:
        (folder / 'b.txt').write_text('two')
    assert [command.title for command in clone.command_queue] == ['push']
    clone.wait_for_commands()


def test_commit_is_seen_from_another_clone(place, clone):
    other = place.clone('second')
    with clone.commit('second') as folder:
        (folder / 'b.txt').write_text('two')
    other.git_pull()
    assert (other / 'b.txt').read_text() == 'two'


@pytest.mark.heavy
def test_commit_puts_its_work_on_top_of_what_others_pushed(place, clone):
    place.written_by(b__txt='theirs')
    with clone.commit('mine') as folder:
        (folder / 'c.txt').write_text('mine')
    assert place.messages()[:2] == ['mine', 'by a colleague']


def test_commit_stays_on_the_branch_it_is_told(place, clone):
    with clone.commit('one', branch='experiment') as folder:
        (folder / 'b.txt').write_text('one')
    with clone.commit('two') as folder:
        (folder / 'b.txt').write_text('two')
    assert place.messages('experiment')[:2] == ['two', 'one']
    assert place.messages('main')[0] == 'first'


def test_commit_on_a_detached_head_is_an_os_error(clone):
    clone.git_checkout(clone.git_head_hash())
    with pytest.raises(OSError, match='No branch'), clone.commit('nowhere'):
        raise AssertionError('the body ran')


def test_commit_without_a_change_makes_no_commit(place, clone):
    with clone.commit('nothing'):
        pass
    assert place.messages()[0] == 'first'


def test_commit_warns_of_files_that_were_there_before(clone, caplog):
    (clone / 'before.txt').write_text('x')
    with clone.commit('second'):
        pass
    assert 'before.txt' in caplog.text


def test_push_to_hub_without_a_change_returns_nothing(clone):
    assert clone.push_to_hub() is None


def test_push_to_hub_without_a_change_raises_when_told_to(clone):
    with pytest.raises(EnvironmentError, match='nothing to commit'):
        clone.push_to_hub(clean_ok=False)


def test_push_to_hub_on_two_branches(place, clone):
    for branch in ('one', 'two'):
        clone.git_checkout(branch, create_branch_ok=True)
        (clone / f'{branch}.txt').write_text(branch)
        clone.push_to_hub(f'on {branch}')
    assert {branch: place.messages(branch)[0] for branch in ('one', 'two')} == {
        'one': 'on one',
        'two': 'on two',
    }


def test_an_upstream_is_followed_from_then_on(place, clone):
    clone.git_push('origin main:mine')
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    clone.git_push()
    assert place.messages('mine')[0] == 'second'


def test_a_push_to_another_remote(clone, tmp_path):
    bare(tmp_path / 'backup.git')
    git('remote', 'add', 'backup', tmp_path / 'backup.git', cwd=clone)
    clone.git_push('backup main')
    assert git('rev-parse', 'main', cwd=tmp_path / 'backup.git') == clone.git_head_hash()
    assert len(list((tmp_path / 'backup.git' / 'lfs' / 'objects').glob('*/*/*'))) == 1


@pytest.mark.parametrize('blocking', [True, False])
def test_another_remote_is_followed_from_then_on_too(place, clone, tmp_path, blocking):
    bare(tmp_path / 'backup.git')
    git('remote', 'add', 'backup', tmp_path / 'backup.git', cwd=clone)
    clone.add_tag('v1')
    clone.git_push('backup main:mine', blocking=blocking, tags=['v1'])
    clone.wait_for_commands()
    assert git('rev-parse', 'main@{upstream}', 'v1', cwd=clone).split()[0] == clone.git_head_hash()
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    clone.git_push()
    assert git('log', '-1', '--format=%s', 'mine', cwd=tmp_path / 'backup.git') == 'second'
    assert git('tag', cwd=tmp_path / 'backup.git') == 'v1'
    assert 'second' not in place.messages()


def test_several_commits_are_counted_by_the_remote_that_they_go_to(clone, tmp_path, caplog):
    bare(tmp_path / 'backup.git')
    git('remote', 'add', 'backup', tmp_path / 'backup.git', cwd=clone)
    clone.git_push('backup main')
    for number in range(2):
        (clone / 'b.txt').write_text(str(number))
        clone.git_add()
        clone.git_commit('more')
    clone.git_push('origin main')
    caplog.clear()
    clone.git_push('backup main')
    assert '2 commits are pushed' in caplog.text


def test_a_push_that_is_overtaken_is_a_conflict(place, clone):
    place.written_by(b__txt='theirs')
    (clone / 'c.txt').write_text('mine')
    clone.git_add()
    clone.git_commit('mine')
    with pytest.raises(errors.ConflictError, match='git_pull') as caught:
        clone.git_push()
    assert isinstance(caught.value, OSError)


def test_a_push_that_somebody_builds_on_at_once_is_proven(place, clone, shared_hub):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')

    def overtake():
        commit_by_path(place.path, {'c.txt': 'theirs'}, message='third')

    proof = 'GET /info/refs?service=git-upload-pack'
    shared_hub.when('POST /git-receive-pack', lambda: shared_hub.when(proof, overtake))
    clone.git_push()
    assert place.messages()[:2] == ['third', 'second']
    assert git('rev-parse', '--is-shallow-repository', cwd=clone) == 'false'


def test_commits_to_push_counts_them(clone):
    for number in range(2):
        (clone / 'b.txt').write_text(str(number))
        clone.git_add()
        clone.git_commit(f'number {number}')
    assert commits_to_push('first') == 2


@pytest.mark.heavy
def test_a_conflict_of_a_pull_names_the_files(place, clone):
    place.written_by(a__txt='theirs\n')
    (clone / 'a.txt').write_text('mine\n')
    clone.git_add()
    clone.git_commit('mine')
    with pytest.raises(errors.ConflictError, match=r'a\.txt'):
        clone.git_pull(rebase=True)


def test_git_commit_without_a_change_is_an_environment_error(clone):
    with pytest.raises(EnvironmentError, match='nothing to commit'):
        clone.git_commit()


def test_a_message_is_taken_as_it_is(place, clone):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('--amend "$(id)" ünï')
    clone.git_push()
    assert place.messages()[0] == '--amend "$(id)" ünï'


def test_git_add_of_a_pattern_that_matches_nothing_is_an_environment_error(clone):
    with pytest.raises(EnvironmentError):
        clone.git_add('nothing-like-this')


def test_the_hooks_of_a_person_run_and_stay(place, tmp_path):
    place.clone('clone', skip_lfs_files=True)
    hook = tmp_path / 'clone' / '.git' / 'hooks' / 'pre-push'
    hook.write_text('#!/bin/sh\necho mine >>ran\n')
    hook.chmod(0o755)
    clone = Repository('clone')
    (clone / 'b.txt').write_text('two')
    clone.git_add('b.txt')
    clone.git_commit()
    clone.git_push()
    assert (clone / 'ran').read_text() == 'mine\n'
    assert 'mine' in hook.read_text()


def test_a_push_by_git_itself_sends_large_files_too(place, clone, shared_hub):
    (clone / 'model.bin').write_bytes(b'\0' + WEIGHTS)
    clone.git_add()
    clone.git_commit()
    git('push', '-q', with_user(place.url, f'x:{shared_hub.token}'), 'main', cwd=clone)
    assert len(place.objects()) == 2


# -- tags


def test_a_tag_is_here_and_there(place, clone):
    clone.add_tag('v1.0', message='One', remote='origin')
    assert clone.tag_exists('v1.0')
    assert clone.tag_exists('v1.0', remote='origin')
    assert place.git('tag', '-l', '--format=%(contents)', 'v1.0').strip() == 'One'


def test_a_light_tag_has_no_message(clone):
    clone.add_tag('v1.0')
    assert git('cat-file', '-t', 'v1.0', cwd=clone) == 'commit'
    assert not clone.tag_exists('v1.0', remote='origin')


def test_a_tag_is_deleted_here_and_stays_there(clone):
    clone.add_tag('v1.0', remote='origin')
    assert clone.delete_tag('v1.0')
    assert not clone.tag_exists('v1.0')
    assert clone.tag_exists('v1.0', remote='origin')


def test_a_tag_is_deleted_there(clone):
    clone.add_tag('v1.0', remote='origin')
    clone.delete_tag('v1.0')
    assert clone.delete_tag('v1.0', remote='origin')
    assert not clone.tag_exists('v1.0', remote='origin')


def test_a_tag_that_is_there_is_not_moved(clone):
    clone.add_tag('v1.0')
    with pytest.raises(EnvironmentError, match='already there'):
        clone.add_tag('v1.0')


def test_a_tag_takes_the_large_files_of_its_commit_along(place, clone):
    (clone / 'model.bin').write_bytes(b'\0' + WEIGHTS)
    clone.git_add()
    clone.git_commit()
    clone.add_tag('v1.0', remote='origin')
    assert len(place.objects()) == 2
    assert place.messages()[0] == 'first'


def test_branch_and_tag_are_pushed_at_once(place, clone):
    (clone / 'b.txt').write_text('two')
    clone.git_add()
    clone.git_commit('second')
    clone.add_tag('v1.0', 'One')
    clone.git_push(tags=['v1.0'])
    assert place.git('rev-parse', 'v1.0^{commit}') == place.head() == clone.git_head_hash()


def test_when_the_branch_has_moved_the_tag_is_not_pushed_either(place, clone):
    place.written_by(b__txt='theirs')
    (clone / 'c.txt').write_text('mine')
    clone.git_add()
    clone.git_commit('mine')
    clone.add_tag('v1.0', 'One')
    with pytest.raises(errors.ConflictError):
        clone.git_push(tags=['v1.0'])
    assert place.tags() == []


def test_a_tag_that_is_not_here_is_an_environment_error(place, clone):
    before = place.head()
    with pytest.raises(EnvironmentError):
        clone.git_push(tags=['nowhere'])
    assert place.head() == before


# -- what it says of itself


def test_it_is_clean_after_a_commit_and_not_before(clone):
    (clone / 'b.txt').write_text('two')
    assert not clone.is_repo_clean()
    clone.git_add()
    assert not clone.is_repo_clean()
    clone.git_commit()
    assert clone.is_repo_clean()


def test_it_stands_for_its_folder(clone, tmp_path):
    assert os.path.join(clone, 'a.txt') == str(tmp_path / 'first' / 'a.txt')
    assert Path(clone) == tmp_path / 'first'
    assert clone.local_dir == str(tmp_path / 'first')


def test_deleted_files_are_listed(clone):
    (clone / 'a.txt').unlink()
    git('rm', '-q', 'model.bin', cwd=clone)
    assert clone.list_deleted_files() == ['a.txt', 'model.bin']


def test_files_to_be_staged_are_new_changed_or_deleted(clone):
    (clone / 'new ünï.txt').write_text('x')
    (clone / 'a.txt').unlink()
    assert sorted(files_to_be_staged('.', folder='first')) == ['a.txt', 'new ünï.txt']


def test_a_folder_is_a_clone_of_what_its_remotes_say(place, clone):
    assert is_git_repo('first')
    assert is_local_clone('first', with_user(place.url, 'user:token'))
    assert not is_local_clone('first', f'{place.url}-other')


# -- the card


def test_the_metadata_of_a_card_is_written_and_read(clone):
    clone.repocard_metadata_save({'license': 'mit', 'tags': ['a', 'b']})
    assert clone.repocard_metadata_load() == {'license': 'mit', 'tags': ['a', 'b']}


def test_saving_metadata_keeps_the_rest_of_the_card(clone):
    card = '---\nlicense: mit  # mine\ntags: [a]\nlanguage: en\n---\n# Title\n'
    (clone / 'README.md').write_text(card)
    clone.repocard_metadata_save({'license': 'mit', 'language': 'de'})
    assert (clone / 'README.md').read_text() == '---\nlicense: mit  # mine\nlanguage: de\n---\n# Title\n'


def test_metadata_in_braces_is_written_anew(clone):
    (clone / 'README.md').write_text('---\n{license: mit}\n---\n# Title\n')
    clone.repocard_metadata_save({'license': 'apache-2.0'})
    assert clone.repocard_metadata_load() == {'license': 'apache-2.0'}
    assert (clone / 'README.md').read_text().endswith('# Title\n')


@pytest.mark.parametrize('card', [None, '', '# Title only\n'])
def test_a_card_without_metadata_has_none(clone, card):
    if card is not None:
        (clone / 'README.md').write_text(card)
    assert clone.repocard_metadata_load() is None


@pytest.mark.parametrize('card', [b'---\na: [\n---\n', b'---\n- a\n---\n', b'---\na: \xff\n---\n'])
def test_broken_metadata_is_a_value_error(clone, card):
    (clone / 'README.md').write_bytes(card)
    with pytest.raises(ValueError):
        clone.repocard_metadata_load()


def test_a_card_that_is_a_link_is_not_read(clone, tmp_path):
    (tmp_path / 'secret').write_text('password')
    (clone / 'README.md').symlink_to(tmp_path / 'secret')
    with pytest.raises(ValueError, match='link'):
        clone.repocard_metadata_save({'license': 'mit'})


def test_who_may_read_the_card_stays_as_it_was(clone):
    (clone / 'README.md').write_text('# Title\n')
    (clone / 'README.md').chmod(0o664)
    clone.repocard_metadata_save({'license': 'mit'})
    assert (clone / 'README.md').stat().st_mode & 0o777 == 0o664


# -- the package


def test_the_package_is_imported_without_what_is_slow():
    code = 'import sys, hfmirror; print({"git", "pydantic", "huggingface_hub"} & set(sys.modules))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout == 'set()\n'


def test_no_warning_says_that_it_goes_away(place, recwarn):
    place.clone()
    assert [str(warning.message) for warning in recwarn] == []


def test_a_failure_of_git_has_its_words_and_its_code(clone):
    with pytest.raises(GitFailed) as caught:
        clone.git_checkout('nowhere')
    assert caught.value.returncode == 128
    assert 'nowhere' in str(caught.value)


def test_what_the_body_raises_comes_through_as_it_is(clone):
    failure = errors.SourceError('mine')
    with pytest.raises(errors.SourceError) as caught, clone.commit('second'):
        raise failure
    assert caught.value is failure


def test_the_level_of_logging_stays_as_it_was(place):
    before = logging.getLogger('hfmirror').level
    place.clone()
    assert logging.getLogger('hfmirror').level == before
