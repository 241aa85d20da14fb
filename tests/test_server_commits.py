"""Is a commit over REST the git commit that was meant, whatever else happens to the repository or the server meanwhile?"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest
from huggingface_hub import (
    CommitOperationAdd,
    CommitOperationCopy,
    CommitOperationDelete,
    HfApi,
)
from huggingface_hub.errors import (
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RevisionNotFoundError,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmirror.server.answers import Problem
from hfmirror.server.commits import operations
from hfmirror.server.commits.draft import Draft
from hfmirror.server.git.packing import Pack
from hfmirror.store import ObjectStore
from tests.support.mirror import git, git_bytes
from tests.support.rest import call, commit_by_path, new_user

CARD = b'---\nlicense: mit\n---\n# Model\n'
BROKEN_CARD = b'---\nlicense: [\n---\n# Model\n'
UPDATED = 'The branch was updated since you opened this page. Please refresh and try again.'


@pytest.fixture
def path(hub, api):
    """The bare repository of local/x, with .gitattributes alone."""
    return hub.root / 'models' / 'local' / 'x.git'


def files(path, revision='main'):
    """Return {path: content} of a revision, .gitattributes left out."""
    return {
        name: git_bytes('cat-file', 'blob', f'{revision}:{name}', cwd=path)
        for name in names(path, revision)
        if name != '.gitattributes'
    }


def names(path, revision='main'):
    return git_bytes('ls-tree', '-r', '-z', '--name-only', revision, cwd=path).decode().split('\0')[:-1]


def head(path, ref='main'):
    return git('rev-parse', ref, cwd=path)


def add(name, content=b'x\n'):
    return CommitOperationAdd(name, content)


def line(key, **value):
    return json.dumps({'key': key, 'value': value}).encode() + b'\n'


def file(name, content='x\n', **more):
    return line('file', path=name, content=content, **more)


def lfs_file(name, content, **more):
    return line(
        'lfsFile',
        **{
            'path': name,
            'algo': 'sha256',
            'oid': hashlib.sha256(content).hexdigest(),
            'size': len(content),
            **more,
        },
    )


def commit(hub, *lines, revision='main', summary='a commit', query='', token='', **header):
    """Commit over the wire and return the answer."""
    body = line('header', summary=summary, **header) + b''.join(lines)
    return call(
        hub,
        'POST',
        f'/api/models/local/x/commit/{revision}{query}',
        body=body,
        token=token,
        headers={'Content-Type': 'application/x-ndjson'},
    )


def store(path, content):
    """Put an LFS object into a repository."""
    objects = ObjectStore(path / 'lfs')
    with objects.temporary() as writing:
        writing.write(content)
        objects.add(writing, hashlib.sha256(content).hexdigest())
    objects.settle()
    return content


def is_sound(path):
    return subprocess.run(['git', 'fsck', '--strict'], cwd=path, capture_output=True).returncode == 0


# -- what HfApi sends


def test_files_are_committed(api, path):
    api.create_commit('local/x', [add('a.txt', b'one\n'), add('b/c.txt', b'two\n')], commit_message='add')
    assert files(path) == {'a.txt': b'one\n', 'b/c.txt': b'two\n'}


def test_a_commit_is_one_on_top_of_the_head(api, path):
    before = head(path)
    api.create_commit('local/x', [add('a.txt')], commit_message='add')
    assert head(path, 'main^') == before


def test_message_and_description_are_the_commits(api, path):
    api.create_commit('local/x', [add('a.txt')], commit_message='title', commit_description='much\nmore')
    assert git('log', '-1', '--format=%B', cwd=path) == 'title\n\nmuch\nmore'


def test_the_commit_is_its_users(hub, api, path):
    token = new_user(hub, 'ada', 'admin')
    HfApi(endpoint=hub.endpoint, token=token).create_commit('local/x', [add('a.txt')], commit_message='add')
    assert git('log', '-1', '--format=%an %ae %cn', cwd=path) == 'ada ada@users.noreply.hfmirror.local ada'


def test_the_answer_names_the_commit(api, path):
    done = api.create_commit('local/x', [add('a.txt')], commit_message='add')
    assert done.oid == head(path)


def test_the_answer_leads_to_the_repository(hub, api):
    done = api.create_commit('local/x', [add('a.txt')], commit_message='add')
    assert (done.repo_url.repo_id, done.commit_url) == (
        'local/x',
        f'{hub.endpoint}/local/x/commit/{done.oid}',
    )


@pytest.mark.parametrize('repo_type', ['dataset', 'space'])
def test_other_kinds_are_committed_to_the_same_way(hub, api, repo_type):
    sdk = {'space_sdk': 'static'} if repo_type == 'space' else {}
    api.create_repo('local/y', repo_type=repo_type, **sdk)
    done = api.create_commit('local/y', [add('a.txt')], commit_message='add', repo_type=repo_type)
    assert head(hub.root / f'{repo_type}s' / 'local' / 'y.git') == done.oid


def test_upload_file_commits_it(api, path):
    api.upload_file(path_or_fileobj=b'one\n', path_in_repo='a.txt', repo_id='local/x')
    assert files(path) == {'a.txt': b'one\n'}


def test_upload_folder_commits_all_of_it(api, path, tmp_path):
    folder = tmp_path / 'folder'
    (folder / 'sub').mkdir(parents=True)
    (folder / 'sub' / 'a.txt').write_bytes(b'one\n')
    (folder / 'b.txt').write_bytes(b'two\n')
    api.upload_folder(folder_path=folder, repo_id='local/x')
    assert files(path) == {'sub/a.txt': b'one\n', 'b.txt': b'two\n'}


def test_an_empty_file_is_one(api, path):
    api.create_commit('local/x', [add('empty.bin', b'')], commit_message='add')
    assert files(path) == {'empty.bin': b''}


def test_a_file_is_deleted(api, path):
    commit_by_path(path, {'a.txt': 'x', 'b.txt': 'y'})
    api.delete_file('a.txt', 'local/x')
    assert files(path) == {'b.txt': b'y'}


@pytest.mark.parametrize('name', ['d', 'd/'])
def test_a_folder_is_deleted(hub, path, name):
    commit_by_path(path, {'d/a.txt': 'x', 'd/e/b.txt': 'y', 'e': 'z'})
    commit(hub, line('deletedFolder', path=name))
    assert files(path) == {'e': b'z'}


def test_the_last_file_of_a_folder_takes_the_folder_with_it(hub, path):
    commit_by_path(path, {'d/e/a.txt': 'x', 'b.txt': 'y'})
    commit(hub, line('deletedFile', path='d/e/a.txt'))
    assert git('ls-tree', '--name-only', 'main', cwd=path).split() == ['.gitattributes', 'b.txt']


def test_a_folder_keeps_its_other_files(hub, path):
    commit_by_path(path, {'d/e/a': 'x', 'd/e/b': 'y'})
    commit(hub, line('deletedFile', path='d/e/a'))
    assert files(path) == {'d/e/b': b'y'}


def test_everything_can_be_deleted(hub, path):
    commit(hub, line('deletedFile', path='.gitattributes'))
    assert git('ls-tree', 'main', cwd=path) == ''


def test_a_deletion_of_nothing_says_what_is_missing(api):
    with pytest.raises(RemoteEntryNotFoundError, match=r'A file with the name "no\.txt" does not exist'):
        api.create_commit('local/x', [CommitOperationDelete('no.txt')], commit_message='delete')


def test_a_regular_file_is_copied(api, path):
    commit_by_path(path, {'a.txt': 'x'})
    api.create_commit('local/x', [CommitOperationCopy('a.txt', 'b/c.txt')], commit_message='copy')
    assert files(path) == {'a.txt': b'x', 'b/c.txt': b'x'}


def test_an_lfs_file_is_copied_without_being_sent(hub, api, path):
    commit(hub, lfs_file('a.bin', store(path, b'\0' * 100)))
    api.create_commit('local/x', [CommitOperationCopy('a.bin', 'b.bin')], commit_message='copy')
    found = files(path)
    assert found['a.bin'] == found['b.bin']


def test_the_parent_is_the_head_that_was_meant(api, path):
    done = api.create_commit('local/x', [add('a.txt')], commit_message='add', parent_commit=head(path))
    assert head(path) == done.oid


def test_a_commit_for_an_older_head_is_refused(api, path):
    old = head(path)
    api.create_commit('local/x', [add('a.txt')], commit_message='add')
    with pytest.raises(HfHubHTTPError, match=UPDATED) as caught:
        api.create_commit('local/x', [add('b.txt')], commit_message='add', parent_commit=old)
    assert caught.value.response.status_code == 412


def test_a_branch_is_committed_to(api, path):
    api.create_branch('local/x', branch='feat/x')
    api.create_commit('local/x', [add('a.txt')], commit_message='add', revision='feat/x')
    assert (files(path, 'feat/x'), files(path)) == ({'a.txt': b'x\n'}, {})


def test_a_commit_to_no_branch_is_refused(api):
    with pytest.raises(RevisionNotFoundError):
        api.create_commit('local/x', [add('a.txt')], commit_message='add', revision='nope')


@pytest.mark.parametrize(
    'revision', ['v1', 'refs%2Ftags%2Fv1', 'HEAD', 'refs%2Fhidden%2Fx', 'refs%2Fpr%2F1', 'a..b']
)
def test_only_branches_and_pull_requests_are_committed_to(hub, path, revision):
    git('tag', 'v1', 'main', cwd=path)
    git('update-ref', 'refs/hidden/x', 'main', cwd=path)
    answer = commit(hub, file('a'), revision=revision)
    assert (answer.status, answer.code) == (404, 'RevisionNotFound')


def test_a_commit_to_a_commit_is_refused(hub, path):
    assert commit(hub, file('a'), revision=head(path)).code == 'RevisionNotFound'


def test_a_repository_without_commits_gets_its_first(hub, path):
    git('update-ref', '-d', 'refs/heads/main', cwd=path)
    commit(hub, file('a'))
    assert (files(path), git('rev-list', '--count', 'main', cwd=path)) == ({'a': b'x\n'}, '1')


def test_a_main_that_was_lost_is_not_begun_again(hub, path):
    git('update-ref', 'refs/heads/other', 'main', cwd=path)
    git('update-ref', '-d', 'refs/heads/main', cwd=path)
    assert commit(hub, file('a')).code == 'RevisionNotFound'


def test_250_files_are_a_commit(api, path):
    api.create_commit(
        'local/x', [add(f'd{i % 7}/{i}.txt', b'%d\n' % i) for i in range(250)], commit_message='add'
    )
    assert len(names(path)) == 251  # .gitattributes too


def test_a_commit_of_what_is_there_is_an_empty_one(hub, path):
    commit(hub, file('a'))
    commit(hub, file('a'))
    assert git('rev-parse', 'main^{tree}', cwd=path) == git('rev-parse', 'main^^{tree}', cwd=path)


def test_a_commit_without_operations_is_an_empty_one(hub, path):
    before = head(path)
    assert commit(hub).status == 200
    assert head(path, 'main^') == before


# -- the tree


def test_operations_are_done_in_their_order(hub, path):
    commit(hub, file('a', 'one'), line('deletedFile', path='a'), file('a', 'two'))
    assert files(path) == {'a': b'two'}


def test_a_file_takes_the_place_of_a_deleted_folder(hub, path):
    commit_by_path(path, {'d/a': 'x', 'd/b': 'y'})
    commit(hub, line('deletedFolder', path='d'), file('d', 'z'))
    assert files(path) == {'d': b'z'}


def test_a_folder_takes_the_place_of_a_deleted_file(hub, path):
    commit_by_path(path, {'d': 'x'})
    commit(hub, line('deletedFile', path='d'), file('d/a', 'z'))
    assert files(path) == {'d/a': b'z'}


@pytest.mark.parametrize(('there', 'new'), [('d/a', 'd'), ('d', 'd/a'), ('d', 'd/a/b')])
def test_a_file_is_not_put_where_it_would_hide_another(hub, path, there, new):
    commit_by_path(path, {there: 'x'})
    assert commit(hub, file(new)).status == 400
    assert files(path) == {there: b'x'}


@pytest.mark.parametrize(
    ('key', 'name'),
    [('deletedFile', 'd'), ('deletedFolder', 'd/a'), ('deletedFile', 'd/a/b'), ('deletedEntry', 'e')],
)
def test_what_is_deleted_must_be_there_and_of_that_kind(hub, path, key, name):
    commit_by_path(path, {'d/a': 'x'})
    answer = commit(hub, line(key, path=name))
    assert (answer.status, answer.code) == (404, 'EntryNotFound')


@pytest.mark.parametrize('name', ['d', 'f'])
def test_the_older_deletion_takes_files_and_folders(hub, path, name):
    commit_by_path(path, {'d/a': 'x', 'f': 'y', 'g': 'z'})
    assert commit(hub, line('deletedEntry', path=name)).status == 200
    assert name not in git('ls-tree', '--name-only', 'main', cwd=path).split()


def test_a_file_is_renamed(hub, path):
    commit_by_path(path, {'a': 'x'})
    commit(hub, file('b/c', 'x', oldPath='a'))
    assert files(path) == {'b/c': b'x'}


def test_a_rename_of_nothing_is_refused(hub, path):
    assert commit(hub, file('b', oldPath='a')).code == 'EntryNotFound'


def test_an_executable_file_stays_one(hub, path):
    commit_by_path(path, {'run': 'x'})
    tree = git('ls-tree', 'main', cwd=path).replace('100644 blob', '100755 blob') + '\n'
    new = (
        subprocess.run(['git', 'mktree'], cwd=path, input=tree.encode(), capture_output=True)
        .stdout.decode()
        .strip()
    )
    git('update-ref', 'refs/heads/main', git('commit-tree', new, '-m', 'x', cwd=path), cwd=path)
    commit(hub, file('run', 'y'))
    assert git('ls-tree', 'main', 'run', cwd=path).startswith('100755')


def test_names_keep_gits_order(hub, path):
    commit(hub, *(file(name) for name in ('a/x', 'a.b', 'a-b', 'a0', 'ü', 'b')))
    assert is_sound(path)


@pytest.mark.parametrize(
    'name', ['größe 1.txt', 'a"b', "it's", '-x', '--upload-pack=x', '%2e%2e', 'folder\\..\\file', '日本', ' ']
)
def test_a_file_may_have_any_name(hub, path, name):
    commit(hub, file(name))
    assert files(path) == {name: b'x\n'}


def test_a_path_may_be_deep(hub, path):
    name = '/'.join('d' * 490)
    commit(hub, file(name))
    assert files(path) == {name: b'x\n'}


def test_other_files_stay_as_they_are(hub, path):
    commit_by_path(path, {'d/a': 'x', 'd/e/b': 'y', 'c': 'z'})
    commit(hub, file('d/e/n', 'new'))
    assert files(path) == {'d/a': b'x', 'd/e/b': b'y', 'd/e/n': b'new', 'c': b'z'}


def test_the_older_form_of_a_commit_is_taken(hub, path):
    values = {'summary': 's', 'files': [{'path': 'a', 'content': 'aGk=', 'encoding': 'base64'}]}
    assert call(hub, 'POST', '/api/models/local/x/commit/main', values).status == 200
    assert files(path) == {'a': b'hi'}


def done(there, step):
    """Return what {path: blob} becomes by an operation, None when it must be refused."""
    how, name, blob = step
    below = {path for path in there if path.startswith(f'{name}/')}
    if how == 'put':
        above = ['/'.join(name.split('/')[:depth]) for depth in range(1, name.count('/') + 1)]
        return None if below or set(above) & there.keys() else {**there, name: blob}
    gone = (below if how in ('folder', 'entry') else set()) | (
        {name} & there.keys() if how != 'folder' else set()
    )
    return {path: blob for path, blob in there.items() if path not in gone} if gone else None


STEPS = st.tuples(
    st.sampled_from(['put', 'put', 'file', 'folder', 'entry']),
    st.lists(st.sampled_from(['a', 'a.b', 'a0', 'ü']), min_size=1, max_size=3).map('/'.join),
    st.sampled_from([b'one', b'two']),
)


@pytest.mark.heavy
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(STEPS, max_size=12))
def test_any_operations_leave_the_tree_that_they_make(hub, path, steps):
    there = {'a/a': b'one', 'a.b': b'one', 'a0/a/a': b'two'}
    commit_by_path(path, {'.gitattributes': None, **{name: blob.decode() for name, blob in there.items()}})
    draft = Draft(hub.hub.bare(hub.hub.repositories.find('model', 'local', 'x')), head(path))
    with closing(Pack(path)) as pack:
        for how, name, blob in steps:
            after = done(there, (how, name, blob))
            with suppress(Problem) if after is None else nullcontext():
                draft.put(name, pack.add('blob', blob)) if how == 'put' else draft.remove(name, how)
                assert after is not None
            there = there if after is None else after
        tree = draft.write(pack)
        pack.install()
    assert files(path, tree) == there


# -- LFS


def test_an_lfs_file_is_its_pointer(hub, path):
    content = store(path, b'\0' * 100)
    commit(hub, lfs_file('a.bin', content))
    oid = hashlib.sha256(content).hexdigest()
    assert (
        files(path)['a.bin']
        == f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 100\n'.encode()
    )


def test_a_size_may_be_left_out(hub, path):
    commit(hub, lfs_file('a.bin', store(path, b'\0' * 100), size=None))
    assert b'size 100' in files(path)['a.bin']


@pytest.mark.parametrize('size', [5, None])
def test_an_lfs_file_without_its_object_is_refused(hub, path, size):
    answer = commit(hub, lfs_file('a.bin', b'12345', size=size))
    assert answer.status == 400
    assert 'LFS pointer pointed to a file that does not exist' in answer.json['error']


def test_an_lfs_file_of_another_size_is_refused(hub, path):
    assert commit(hub, lfs_file('a.bin', store(path, b'12345'), size=6)).status == 400


def test_an_object_of_another_repository_is_not_there(hub, api, path):
    api.create_repo('local/y')
    assert (
        commit(hub, lfs_file('a.bin', store(hub.root / 'models' / 'local' / 'y.git', b'12345'))).status == 400
    )


def test_a_pattern_that_covers_a_file_is_enough(hub, path):
    before = git('rev-parse', 'main:.gitattributes', cwd=path)
    commit(hub, lfs_file('a.bin', store(path, b'12345')))
    assert git('rev-parse', 'main:.gitattributes', cwd=path) == before


def filtered(path, tmp_path, *names):
    """Return git's own view, in a clone, of which names go to LFS."""
    clone = tmp_path / 'clone'
    subprocess.run(
        ['git', 'clone', '-q', path, clone], check=True, env={**os.environ, 'GIT_LFS_SKIP_SMUDGE': '1'}
    )
    answer = git('check-attr', '-z', 'filter', '--', *names, cwd=clone).split('\0')
    return [name for name, value in zip(answer[::3], answer[2::3], strict=False) if value == 'lfs']


@pytest.mark.parametrize(
    'name',
    [
        'a.gguf',
        'd/weights',
        'with space.x',
        'star*.x',
        'quote".x',
        'größe.x',
        '[b].x',
        'back\\slash',
        '#x',
        '!x',
    ],
)
def test_a_file_that_no_pattern_covers_is_added_to_gitattributes(hub, path, tmp_path, name):
    assert commit(hub, lfs_file(name, store(path, b'12345'))).status == 200
    assert filtered(path, tmp_path, name, f'other/{name}', f'{name}x') == [name]


def test_patterns_that_are_there_stay(hub, path):
    before = git('show', 'main:.gitattributes', cwd=path)
    commit(hub, lfs_file('a.gguf', store(path, b'12345')))
    after = git('show', 'main:.gitattributes', cwd=path)
    assert after == f'{before}\n/a.gguf filter=lfs diff=lfs merge=lfs -text'


def test_a_repository_without_gitattributes_gets_it(hub, path, tmp_path):
    commit(hub, line('deletedFile', path='.gitattributes'))
    commit(hub, lfs_file('a.bin', store(path, b'12345')))
    assert filtered(path, tmp_path, 'a.bin') == ['a.bin']


def test_gitattributes_of_the_same_commit_count(hub, path):
    attributes = '*.gguf filter=lfs diff=lfs merge=lfs -text\n'
    commit(hub, lfs_file('a.gguf', store(path, b'12345')), file('.gitattributes', attributes))
    assert git('show', 'main:.gitattributes', cwd=path) == attributes.strip()


def test_gitattributes_of_a_folder_count(hub, path):
    commit_by_path(path, {'d/.gitattributes': '*.gguf filter=lfs\n'})
    before = git('rev-parse', 'main:.gitattributes', cwd=path)
    commit(hub, lfs_file('d/a.gguf', store(path, b'12345')))
    assert git('rev-parse', 'main:.gitattributes', cwd=path) == before


def test_gitattributes_cannot_be_in_lfs(hub, path):
    assert commit(hub, lfs_file('.gitattributes', store(path, b'12345'))).status == 400


def test_a_text_that_patterns_send_to_lfs_may_be_a_plain_file(hub, path):
    assert commit(hub, file('a.bin', 'text')).status == 200
    assert files(path) == {'a.bin': b'text'}


# -- what the Hub does not take


@pytest.fixture
def strict(tmp_path):
    """A running Hub that takes plain files of 1,000 bytes."""
    from hfmirror.server import running_hub

    with running_hub(tmp_path / 'strict', max_file_size=1000) as running:
        HfApi(endpoint=running.endpoint, token=running.token).create_repo('local/x')
        yield running


def test_a_large_plain_file_is_refused_by_its_name(strict):
    answer = commit(strict, file('large.txt', 'x' * 1001), file('small.txt', 'x' * 1000))
    assert answer.status == 400
    assert 'files larger than 1000 bytes' in answer.json['error']
    assert '  - large.txt (ref: refs/heads/main)' in answer.json['error']
    assert 'small.txt' not in answer.json['error']


def test_a_binary_plain_file_is_refused_by_its_name(hub, path):
    answer = commit(hub, file('a.dat', base64.b64encode(bytes(range(256))).decode(), encoding='base64'))
    assert (answer.status, files(path)) == (400, {})
    assert 'binary files' in answer.json['error']
    assert '  - a.dat (ref: refs/heads/main)' in answer.json['error']


def test_a_plain_file_that_is_a_pointer_to_nothing_is_refused(hub, path):
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{"ab" * 32}\nsize 5\n'
    assert commit(hub, file('a.bin', pointer)).status == 400


def test_a_card_with_broken_metadata_is_refused(api, hub, path):
    answer = commit(hub, file('README.md', BROKEN_CARD.decode()))
    assert (answer.status, files(path)) == (400, {})
    assert 'YAML metadata verification' in answer.json['error']


def test_only_the_card_of_the_root_is_one(hub, path):
    assert commit(hub, file('docs/README.md', BROKEN_CARD.decode())).status == 200


def test_a_broken_card_that_is_there_keeps_nobody_from_other_files(hub, path):
    commit_by_path(path, {'README.md': BROKEN_CARD.decode()})
    assert commit(hub, file('a')).status == 200


def test_a_card_is_committed(api, path):
    api.upload_file(path_or_fileobj=CARD, path_in_repo='README.md', repo_id='local/x')
    assert files(path) == {'README.md': CARD}


def test_the_client_hears_what_is_wrong_with_a_card(api):
    with pytest.raises(ValueError, match=r'Invalid metadata in README\.md'):
        api.upload_file(path_or_fileobj=BROKEN_CARD, path_in_repo='README.md', repo_id='local/x')


@pytest.mark.parametrize('name', ['git~1/config', '.g\u200cit/config', 'a/GIT~1', '.git '])
def test_a_name_is_refused_that_some_file_systems_take_for_gits_own(hub, path, name):
    assert (commit(hub, file(name)).status, files(path)) == (400, {})


def test_a_refused_tree_leaves_nothing_that_git_complains_of(hub, path):
    commit(hub, file('harmless', '[submodule "a"]\npath = a\nurl = -x\n'))
    assert commit(hub, file('.gitmodules', '[submodule "a"]\npath = a\nurl = -x\n')).status == 400
    assert is_sound(path)


def test_a_refusal_may_name_characters_that_no_header_holds(hub, path):
    answer = commit(hub, line('deletedFile', path='a\x01\r\x7f日本'))
    assert (answer.status, answer.headers['X-Error-Message']) == (
        404,
        'A file with the name "a? ???" does not exist',
    )


@pytest.mark.parametrize('name', ['../x', '.git/config', '.GIT/x', '/a/../x', 'a//b', 'a\0b', 'x' * 1001, ''])
def test_a_path_is_refused_that_leads_out(hub, path, name):
    assert (commit(hub, file(name)).status, files(path)) == (400, {})


def test_nothing_of_a_refused_commit_is_committed(hub, path):
    before = head(path)
    commit(hub, file('a'), line('deletedFile', path='no'))
    assert head(path) == before


@pytest.mark.parametrize(
    'body',
    [b'', b'{', b'[]\n', b'\xff\xfe\n', b'[' * 100_000, line('header'), line('header', summary='') * 2],
)
def test_a_body_that_is_no_commit_is_refused(hub, path, body):
    kind = {'Content-Type': 'application/x-ndjson'}
    assert call(hub, 'POST', '/api/models/local/x/commit/main', body=body, headers=kind).status == 400


def test_a_body_that_is_too_long_is_refused(hub, path, monkeypatch):
    monkeypatch.setattr(operations, 'TOTAL_MAX', 10_000)
    assert commit(hub, *(file(str(i)) for i in range(300))).status == 413


def test_a_refusal_is_heard_by_a_client_that_sends_much(hub, path):
    much = [file(str(i), 'x' * 1_000_000) for i in range(30)]
    assert commit(hub, b'nonsense\n', *much).status == 400


def test_25000_operations_are_too_many(hub, path):
    assert commit(hub, *(line('deletedFile', path='a') for _ in range(25_000))).status == 413


def test_millions_of_folders_are_not_made(hub, path):
    lines = [file('/'.join([str(i), *'d' * 400])) for i in range(300)]
    answer = commit(hub, *lines)
    assert (answer.status, 'folders' in answer.json['error']) == (400, True)


# -- who may


def test_a_stranger_is_asked_who_they_are(hub, path):
    assert commit(hub, file('a'), token=None).status == 401


def test_a_token_for_reading_commits_nothing(hub, path):
    answer = commit(hub, file('a'), token=new_user(hub, 'local', 'read'))
    assert (answer.status, files(path)) == (403, {})


def test_nobody_commits_to_a_namespace_of_others(hub, path):
    answer = commit(hub, file('a'), token=new_user(hub, 'ada'))
    assert (answer.status, files(path)) == (403, {})


def test_a_private_repository_is_not_there_for_others(hub, api, path):
    api.update_repo_settings('local/x', private=True)
    assert commit(hub, file('a'), token=new_user(hub, 'ada')).status == 404


# -- pull requests


def test_a_commit_can_be_a_pull_request(hub, api, path):
    before = head(path)
    done = api.create_commit('local/x', [add('a.txt')], commit_message='idea', create_pr=True)
    assert (done.pr_num, done.pr_revision, done.pr_url) == (
        1,
        'refs/pr/1',
        f'{hub.endpoint}/local/x/discussions/1',
    )
    assert (files(path, 'refs/pr/1'), head(path, 'refs/pr/1^'), head(path)) == (
        {'a.txt': b'x\n'},
        before,
        before,
    )


def test_a_pull_request_has_the_message_of_its_commit(api, path):
    api.create_commit(
        'local/x', [add('a.txt')], commit_message='idea', commit_description='because', create_pr=True
    )
    details = api.get_discussion_details('local/x', 1)
    assert (details.title, details.events[0].content) == ('idea', 'because')


def test_anyone_who_may_write_somewhere_can_propose(hub, path):
    answer = commit(hub, file('a'), query='?create_pr=1', token=new_user(hub, 'ada'))
    assert (answer.status, files(path, 'refs/pr/1')) == (200, {'a': b'x\n'})


def test_a_token_for_reading_proposes_nothing(hub, path):
    answer = commit(hub, file('a'), query='?create_pr=1', token=new_user(hub, 'ada', 'read'))
    assert (answer.status, git('for-each-ref', 'refs/pr', cwd=path)) == (403, '')


def test_a_stranger_proposes_nothing(hub, path):
    assert commit(hub, file('a'), query='?create_pr=1', token=None).status == 401


def test_its_author_commits_to_a_pull_request(hub, path):
    ada = new_user(hub, 'ada')
    commit(hub, file('a'), query='?create_pr=1', token=ada)
    assert commit(hub, file('b'), revision='refs%2Fpr%2F1', token=ada).status == 200
    assert set(files(path, 'refs/pr/1')) == {'a', 'b'}


def test_a_writer_commits_to_a_pull_request(hub, path):
    commit(hub, file('a'), query='?create_pr=1', token=new_user(hub, 'ada'))
    assert commit(hub, file('b'), revision='refs%2Fpr%2F1').status == 200


def test_others_do_not_commit_to_a_pull_request(hub, path):
    commit(hub, file('a'), query='?create_pr=1')
    assert commit(hub, file('b'), revision='refs%2Fpr%2F1', token=new_user(hub, 'ada')).status == 403


def test_a_pull_request_begins_at_the_parent_that_is_named(hub, path):
    old = head(path)
    commit(hub, file('a'))
    commit(hub, file('b'), query='?create_pr=1', parentCommit=old)
    assert head(path, 'refs/pr/1^') == old


def test_a_refused_commit_opens_no_pull_request(hub, path):
    assert commit(hub, line('deletedFile', path='no'), query='?create_pr=1').status == 404
    assert git('for-each-ref', 'refs/pr', cwd=path) == ''


def test_a_pull_request_into_no_branch_is_refused(hub, path):
    git('tag', 'v1', 'main', cwd=path)
    assert commit(hub, file('a'), query='?create_pr=1', revision='v1').code == 'RevisionNotFound'


# -- several at once


def test_eight_commits_at_once_are_all_there_in_one_line(hub, path):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: commit(hub, file(f'{i}.txt')), range(24)))
    assert {answer.status for answer in answers} == {200}
    assert len(files(path)) == 24
    assert (
        git('rev-list', '--count', 'main', cwd=path)
        == git('rev-list', '--count', '--no-merges', 'main', cwd=path)
        == '25'
    )


def test_of_commits_at_once_for_one_parent_one_is_made(hub, path):
    parent = head(path)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: commit(hub, file(f'{i}.txt'), parentCommit=parent), range(8)))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    assert len(files(path)) == 1


def test_pushes_by_path_and_commits_lose_nothing_of_each_other(hub, path, tmp_path):
    clone = tmp_path / 'clone'
    git('clone', '-q', path, clone)

    def push(number):
        (clone / f'pushed{number}').write_text('x')
        git('add', '.', cwd=clone)
        git('commit', '-q', '-m', 'pushed', cwd=clone)
        while subprocess.run(['git', 'push', '-q'], cwd=clone, capture_output=True).returncode:
            git('pull', '-q', '--rebase', cwd=clone)

    with ThreadPoolExecutor(2) as pool:
        pushing = pool.submit(lambda: [push(number) for number in range(10)])
        committed = [commit(hub, file(f'sent{number}')).status for number in range(10)]
        pushing.result()
    assert committed == [200] * 10
    assert set(files(path)) == {f'{how}{number}' for how in ('pushed', 'sent') for number in range(10)}
    assert is_sound(path)


@pytest.mark.heavy
def test_a_ref_that_is_locked_for_long_is_412(hub, path):
    (path / 'refs' / 'heads' / 'main.lock').touch()
    assert (commit(hub, file('a')).status, squash(hub).status, files(path)) == (412, 409, {})


# -- a client, a server that goes away


class Served:
    """``hfmirror serve`` as a process of its own."""

    def __init__(self, root):
        self.root = root
        self.process = subprocess.Popen(
            [
                sys.executable,
                '-m',
                'hfmirror',
                'serve',
                '--root',
                root,
                '--port',
                '0',
                '--token',
                'local:write:secret123',
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        self.endpoint = self.process.stdout.readline().strip().removeprefix('export HF_ENDPOINT=')
        self.token = 'secret123'

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    @property
    def peak_memory(self):
        """Bytes that the process had in memory at most."""
        status = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(status.partition('VmHWM:')[2].split()[0]) * 1024


@pytest.fixture
def served(tmp_path):
    with Served(tmp_path / 'served') as running:
        HfApi(endpoint=running.endpoint, token=running.token).create_repo('local/x')
        yield running


def half_sent(hub):
    """Return a connection on which half of a commit of 40 MB was sent."""
    host, port = urlsplit(hub.endpoint).netloc.split(':')
    connection = socket.create_connection((host, int(port)))
    lines = [line('header', summary='s'), *(file(f'{i}.txt', f'{i}' * 2_000_000) for i in range(10, 30))]
    body = b''.join(lines)
    connection.sendall(
        b'POST /api/models/local/x/commit/main HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n'
        b'Authorization: Bearer %s\r\nContent-Length: %d\r\n\r\n' % (hub.token.encode(), len(body))
    )
    connection.sendall(body[: len(body) // 2])
    return connection


def everything(path):
    """Return all files of a repository but those that a lock leaves."""
    return sorted(str(file) for file in path.rglob('*') if not file.name.endswith('.lock'))


def test_a_client_that_hangs_up_leaves_nothing(hub, path):
    before = everything(path)
    half_sent(hub).close()
    assert commit(hub, file('a')).status == 200  # the Hub goes on
    assert files(path) == {'a': b'x\n'}
    git('update-ref', 'refs/heads/main', 'main^', cwd=path)
    git('prune', '--expire=now', cwd=path)
    assert everything(path) == before


def test_a_server_that_is_killed_in_the_middle_of_a_body_leaves_nothing(served):
    path = served.root / 'models' / 'local' / 'x.git'
    before = everything(path)
    connection = half_sent(served)
    served.process.send_signal(signal.SIGKILL)
    served.process.wait()
    connection.close()
    assert everything(path) == before


@pytest.mark.parametrize('delay_s', [0.02, 0.1, 0.2, 0.4])
def test_a_server_that_is_killed_in_a_commit_has_it_or_not(served, delay_s):
    path = served.root / 'models' / 'local' / 'x.git'
    before = head(path)
    answers = []

    def send():
        with suppress(OSError):  # killed
            answers.append(commit(served, *(file(f'{i}/{i}.txt', str(i) * 1000) for i in range(1000))).status)

    sending = Thread(target=send)
    sending.start()
    sending.join(delay_s)
    served.process.send_signal(signal.SIGKILL)
    sending.join()
    assert is_sound(path)
    assert len(names(path)) in ((1001,) if answers else (1, 1001))  # .gitattributes too
    assert head(path) == before or head(path, 'main^') == before
    with Served(served.root) as again:
        assert commit(again, file('after')).status == 200


@pytest.mark.heavy
def test_a_commit_of_150_mb_needs_little_memory(served):
    text = ''.join(f'{i:07}\n' for i in range(1_000_000))  # 8 MB
    content = base64.b64encode(text.encode()).decode()
    before = served.peak_memory
    lines = (file(f'{i}.txt', content, encoding='base64') for i in range(15))
    assert commit(served, *lines).status == 200
    assert served.peak_memory - before < 90_000_000


# -- super-squash


def squash(hub, branch='main', values=None, **more):
    return call(hub, 'POST', f'/api/models/local/x/super-squash/{branch}', values or {}, **more)


def test_a_squashed_branch_has_one_commit_with_all_files(api, path):
    for number in range(3):
        api.create_commit('local/x', [add(f'{number}.txt')], commit_message='add')
    tree = git('rev-parse', 'main^{tree}', cwd=path)
    api.super_squash_history('local/x')
    assert git('rev-list', '--count', 'main', cwd=path) == '1'
    assert git('rev-parse', 'main^{tree}', cwd=path) == tree


def test_squashing_takes_a_message(api, path):
    api.super_squash_history('local/x', commit_message='all of it')
    assert git('log', '-1', '--format=%B', cwd=path) == 'all of it'


def test_the_answer_of_squashing_is_the_new_commit(hub, path):
    answer = squash(hub)
    assert answer.json == {'commitId': head(path)}


def test_a_pull_request_can_be_squashed(hub, path):
    commit(hub, file('a'), query='?create_pr=1')
    squash(hub, 'refs%2Fpr%2F1')
    assert git('rev-list', '--count', 'refs/pr/1', cwd=path) == '1'


def test_a_tag_cannot_be_squashed(hub, path):
    git('tag', 'v1', 'main', cwd=path)
    assert squash(hub, 'v1').status == 400


def test_squashing_what_is_not_there_is_refused(api):
    with pytest.raises(RevisionNotFoundError):
        api.super_squash_history('local/x', branch='nope')


@pytest.mark.parametrize(
    ('user', 'role', 'status'), [('ada', 'write', 403), ('local', 'read', 403), ('local', 'write', 200)]
)
def test_only_writers_squash(hub, path, user, role, status):
    assert squash(hub, token=new_user(hub, user, role)).status == status


# -- validate-yaml


def validate(hub, content, repo_type='model', **headers):
    values = {'content': content, 'repoType': repo_type}
    return call(hub, 'POST', '/api/validate-yaml', values, token=None, headers=headers)


def test_a_good_card_has_no_errors(hub):
    answer = validate(hub, CARD.decode())
    assert (answer.status, answer.json['errors']) == (200, [])


def test_a_broken_card_is_400_with_its_errors(hub):
    answer = validate(hub, BROKEN_CARD.decode())
    assert (answer.status, [set(error) for error in answer.json['errors']]) == (400, [{'message'}])


def test_a_card_without_metadata_is_warned_of(hub):
    answer = validate(hub, '# Model\n')
    assert answer.json == {
        'errors': [],
        'warnings': [{'message': 'empty or missing yaml metadata in repo card'}],
    }


def test_who_wants_text_gets_text(hub):
    answer = validate(hub, '---\nlicense: nope\n---\n', Accept='text/plain')
    assert (answer.status, answer.headers['Content-Type'].partition(';')[0]) == (400, 'text/plain')
    assert answer.body.startswith(b'- Error: "license" must be one of')


def test_a_card_of_an_unknown_kind_is_refused(hub):
    assert validate(hub, '', 'kernel').status == 400


def test_a_card_that_is_far_too_large_is_413(hub):
    assert validate(hub, 'x' * 11_000_000).status == 413


@pytest.mark.parametrize('body', [b'', b'[]', b'{"content": 1}', b'[' * 100_000])
def test_whatever_is_validated_the_answer_is_json(hub, body):
    assert isinstance(call(hub, 'POST', '/api/validate-yaml', body=body, token=None).json, dict)
