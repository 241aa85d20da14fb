"""The whole life of a repository on the embedded Hub, through huggingface_hub's HfApi."""

import hashlib
import os
import subprocess
from itertools import count
from pathlib import Path

import pytest
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete
from huggingface_hub.errors import (
    BadRequestError,
    HfHubHTTPError,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from hfmirror.server import tokens
from tests.support.clients import Client
from tests.support.mirror import git, git_bytes

WEIGHTS = bytes(range(256)) * 400


@pytest.fixture(scope='module')
def hub(shared_hub):
    return shared_hub


_numbers = count()


@pytest.fixture
def repo_id():
    """The name of a repository that is nowhere yet."""
    return f'local/tiny-{next(_numbers)}'


class Repository:
    """The functions of HfApi on one repository, as a client with the functions ``api`` calls them."""

    def __init__(self, hub, api, repo_id, kind):
        self._hub, self._api = hub, api
        self.repo_id, self.kind = repo_id, kind
        self.path = hub.root / f'{kind}s' / f'{repo_id}.git'

    def __getattr__(self, name):
        function = getattr(self._api, name)
        return lambda *args, **kwargs: function(*args, repo_id=self.repo_id, repo_type=self.kind, **kwargs)

    def seen_by(self, api):
        return Repository(self._hub, api, self.repo_id, self.kind)

    def add(self, path, content, **kwargs):
        return self.upload_file(path_or_fileobj=content, path_in_repo=path, **kwargs)

    def read(self, path, **kwargs):
        return Path(self.hf_hub_download(filename=path, **kwargs)).read_bytes()

    def commit(self, *operations, **kwargs):
        return self.create_commit(operations=list(operations), commit_message='several things', **kwargs)

    def titles(self, **kwargs):
        return [commit.title for commit in self.list_repo_commits(**kwargs)]


@pytest.fixture(params=['model', 'dataset'])
def kind(request):
    return request.param


@pytest.fixture
def repository(hub, client, repo_id, kind):
    """An empty repository of each type."""
    made = Repository(hub, client.api, repo_id, kind)
    made.create_repo()
    return made


@pytest.fixture
def model(hub, client, repo_id):
    """An empty repository of a model, where the type makes no difference."""
    made = Repository(hub, client.api, repo_id, 'model')
    made.create_repo()
    return made


@pytest.fixture
def folder(tmp_path):
    """A folder with small files, files for LFS and a folder inside."""
    path = tmp_path / 'folder'
    files = {
        'config.json': b'{}\n',
        'weights.bin': WEIGHTS,
        'deep/er/notes.txt': b'hello\n',
        'deep/w.npy': WEIGHTS[1:],
    }
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


@pytest.fixture
def somebody(hub, tmp_path):
    """Start a client with a token of its own: ``somebody('eve:read')``."""
    started = []

    def start(asked):
        new = tokens.parse(asked)
        hub.hub.tokens.add(new)
        started.append(Client(hub, tmp_path / new.user, token=new.token))
        return started[-1].api

    yield start
    for client in started:
        client.__exit__()


def test_whoami_tells_the_user_of_the_token(client):
    assert client.api.whoami()['name'] == 'local'


def test_wrong_token_is_not_taken_for_a_missing_repository(hub, model, tmp_path):
    with Client(hub, tmp_path / 'eve', token='hf_nobodysnobodysnobody') as client:
        with pytest.raises(HfHubHTTPError, match='401') as refused:
            client.api.model_info(model.repo_id)
        assert not isinstance(refused.value, RepositoryNotFoundError)


def test_new_repository_has_one_commit_with_its_attributes(repository):
    assert repository.list_repo_files() == ['.gitattributes']
    assert repository.titles() == ['initial commit']


def test_create_repo_a_second_time_is_refused(repository):
    with pytest.raises(HfHubHTTPError, match='409'):
        repository.create_repo()


def test_create_repo_with_exist_ok_tells_where_it_is(hub, repository):
    url = repository.create_repo(exist_ok=True)
    assert (url.repo_id, url.repo_type) == (repository.repo_id, repository.kind)
    assert str(url).startswith(hub.endpoint)


@pytest.mark.parametrize('name', ['local/two..dots', 'local/-dash', 'local/x.git'])
def test_create_repo_refuses_a_bad_name(client, name):
    with pytest.raises((ValueError, HfHubHTTPError)):
        client.api.create_repo(name)


def test_small_file_comes_back(repository):
    repository.add('notes/a b ü.txt', b'hello\n')
    assert repository.read('notes/a b ü.txt') == b'hello\n'


def test_weights_come_back(repository):
    repository.add('model.safetensors', WEIGHTS)
    assert repository.read('model.safetensors') == WEIGHTS


def test_weights_are_an_lfs_object_in_git(repository):
    repository.add('model.safetensors', WEIGHTS)
    oid = hashlib.sha256(WEIGHTS).hexdigest()
    pointer = git_bytes('cat-file', 'blob', 'main:model.safetensors', cwd=repository.path)
    assert pointer == (
        f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(WEIGHTS)}\n'.encode()
    )
    (info,) = repository.get_paths_info(paths=['model.safetensors'])
    assert (info.lfs.sha256, info.lfs.size, info.size) == (oid, len(WEIGHTS), len(WEIGHTS))


def test_empty_file_comes_back(repository):
    repository.add('empty.bin', b'')
    assert repository.read('empty.bin') == b''


def test_upload_tells_the_commit_that_git_has(repository):
    done = repository.add('a.txt', b'a', commit_message='a title', commit_description='and why')
    assert done.oid == git('rev-parse', 'main', cwd=repository.path)
    assert git('log', '-1', '--format=%s|%b|%an', cwd=repository.path) == 'a title|and why|local'


def test_same_upload_again_makes_no_commit(repository):
    first = repository.add('model.bin', WEIGHTS)
    again = repository.add('model.bin', WEIGHTS)
    assert again.oid == first.oid
    assert len(repository.titles()) == 2


def test_upload_folder_has_every_file(repository, folder):
    repository.upload_folder(folder_path=folder)
    assert repository.list_repo_files() == [
        '.gitattributes',
        'config.json',
        'deep/er/notes.txt',
        'deep/w.npy',
        'weights.bin',
    ]
    git('fsck', '--full', '--strict', cwd=repository.path)


def test_upload_folder_can_delete_what_is_gone(repository, folder):
    repository.upload_folder(folder_path=folder)
    (folder / 'deep' / 'w.npy').unlink()
    repository.upload_folder(folder_path=folder, delete_patterns='deep/*')
    assert 'deep/w.npy' not in repository.list_repo_files()
    assert repository.read('deep/er/notes.txt') == b'hello\n'


def test_snapshot_is_the_folder_that_was_uploaded(repository, folder, tmp_path):
    repository.upload_folder(folder_path=folder)
    got = Path(repository.snapshot_download(local_dir=tmp_path / 'got'))
    for path in folder.rglob('*.*'):
        assert (got / path.relative_to(folder)).read_bytes() == path.read_bytes()
    assert repository.verify_repo_checksums(local_dir=got).mismatches == []


def test_snapshot_at_a_tag_is_the_old_state(repository, tmp_path):
    repository.add('model.bin', WEIGHTS)
    repository.create_tag(tag='v1.0.0')
    repository.add('model.bin', WEIGHTS[::-1])
    repository.add('later.txt', b'later')
    got = Path(repository.snapshot_download(revision='v1.0.0', local_dir=tmp_path / 'got'))
    assert (got / 'model.bin').read_bytes() == WEIGHTS
    assert not (got / 'later.txt').exists()


def test_download_at_a_tag_is_the_old_file(repository):
    repository.add('a.txt', b'one')
    repository.create_tag(tag='v1.0.0', tag_message='The first.')
    repository.add('a.txt', b'two')
    assert [repository.read('a.txt', revision=name) for name in ('v1.0.0', 'main')] == [b'one', b'two']


def test_download_at_a_short_commit_is_the_old_file(repository):
    first = repository.add('a.txt', b'one').oid
    repository.add('a.txt', b'two')
    assert repository.read('a.txt', revision=first[:10]) == b'one'


def test_tree_has_files_and_folders(repository, folder):
    repository.upload_folder(folder_path=folder)
    flat = [(type(entry).__name__, entry.path) for entry in repository.list_repo_tree()]
    deep = [entry.path for entry in repository.list_repo_tree(path_in_repo='deep', recursive=True)]
    assert sorted(flat) == [
        ('RepoFile', '.gitattributes'),
        ('RepoFile', 'config.json'),
        ('RepoFile', 'weights.bin'),
        ('RepoFolder', 'deep'),
    ]
    assert sorted(deep) == ['deep/er', 'deep/er/notes.txt', 'deep/w.npy']


def test_expanded_tree_tells_the_last_commit_of_each_file(repository):
    repository.add('a.txt', b'a', commit_message='about a')
    repository.add('b.txt', b'b', commit_message='about b')
    tree = {entry.path: entry for entry in repository.list_repo_tree(expand=True)}
    assert tree['a.txt'].last_commit.title == 'about a'
    assert tree['b.txt'].last_commit.title == 'about b'


def test_tree_of_many_files_comes_in_pages(model):
    blob = git('hash-object', '-w', '/dev/null', cwd=model.path)
    lines = ''.join(f'M 100644 {blob} many/{i:04}.txt\n' for i in range(2500))
    stream = (
        f'commit refs/heads/main\ncommitter A <a@b.c> 1700000000 +0000\ndata 4\nmany\nfrom main^0\n{lines}'
    )
    fast_import(model.path, stream)
    assert len(model.list_repo_tree(path_in_repo='many')) == 2500
    assert len(model.list_repo_tree(path_in_repo='many', expand=True)) == 2500


def test_commits_come_in_pages_newest_first(model):
    commits = ''.join(
        f'commit refs/heads/main\ncommitter A <a@b.c> {1700000000 + i} +0000\ndata {len(f"n{i}")}\nn{i}\n'
        + ('from main^0\n' if i == 0 else '')
        for i in range(130)
    )
    fast_import(model.path, commits)
    assert model.titles() == [f'n{i}' for i in reversed(range(130))] + ['initial commit']


def fast_import(path, stream):
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=path, input=stream.encode(), check=True)


def test_paths_info_leaves_out_what_is_missing(repository):
    repository.add('deep/a.txt', b'a')
    found = repository.get_paths_info(paths=['deep', 'deep/a.txt', 'nowhere.txt'])
    assert sorted(entry.path for entry in found) == ['deep', 'deep/a.txt']


def test_info_with_metadata_has_the_size_of_every_file(repository, folder):
    repository.upload_folder(folder_path=folder)
    info = repository.repo_info(files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings}
    assert info.sha == git('rev-parse', 'main', cwd=repository.path)
    assert (sizes['weights.bin'], sizes['config.json']) == (len(WEIGHTS), 3)
    assert {file.rfilename for file in info.siblings if file.lfs} == {'weights.bin', 'deep/w.npy'}


def test_info_has_the_metadata_of_the_card(model):
    model.add('README.md', b'---\nlicense: mit\nlibrary_name: transformers\ntags: [tiny]\n---\n# Tiny\n')
    info = model.repo_info()
    assert (info.card_data.license, info.library_name) == ('mit', 'transformers')
    assert {'tiny', 'license:mit'} <= set(info.tags)


def test_repository_is_found_in_any_spelling(client, model):
    assert client.api.model_info(model.repo_id.upper()).id == model.repo_id


def test_refs_are_branches_and_tags(repository):
    commit = repository.add('a.txt', b'a').oid
    repository.create_branch(branch='feat/x')
    repository.create_tag(tag='v1.0.0', tag_message='annotated')
    found = repository.list_repo_refs()
    assert {ref.name: ref.target_commit for ref in found.branches} == {'main': commit, 'feat/x': commit}
    assert [(ref.name, ref.ref, ref.target_commit) for ref in found.tags] == [
        ('v1.0.0', 'refs/tags/v1.0.0', commit)
    ]


def test_upload_to_a_branch_leaves_main_alone(repository):
    repository.create_branch(branch='feat/x')
    repository.add('model.bin', WEIGHTS, revision='feat/x')
    assert repository.read('model.bin', revision='feat/x') == WEIGHTS
    assert repository.list_repo_files() == ['.gitattributes']


def test_branch_starts_where_it_is_told(repository):
    first = repository.add('a.txt', b'a').oid
    repository.add('b.txt', b'b')
    repository.create_branch(branch='old', revision=first)
    assert repository.list_repo_files(revision='old') == ['.gitattributes', 'a.txt']


@pytest.mark.parametrize('what', ['branch', 'tag'])
def test_ref_is_made_once_and_deleted_once(model, what):
    make, delete = getattr(model, f'create_{what}'), getattr(model, f'delete_{what}')
    make(**{what: 'x'})
    with pytest.raises(HfHubHTTPError, match='409'):
        make(**{what: 'x'})
    make(**{what: 'x'}, exist_ok=True)
    delete(**{what: 'x'})
    assert not model.revision_exists(revision='x')
    with pytest.raises(HfHubHTTPError, match='404'):
        delete(**{what: 'x'})


def test_main_cannot_be_deleted(model):
    with pytest.raises(HfHubHTTPError, match='403'):
        model.delete_branch(branch='main')


@pytest.mark.parametrize('name', ['a..b', 'a b', 'refs/heads/x', 'x.lock', '--upload-pack=x'])
def test_bad_name_for_a_branch_is_refused(model, name):
    with pytest.raises(BadRequestError):
        model.create_branch(branch=name)


def test_what_exists_and_what_does_not(repository):
    repository.add('a.txt', b'a')
    assert repository.repo_exists()
    assert repository.revision_exists(revision='main')
    assert not repository.revision_exists(revision='nothing')
    assert repository.file_exists(filename='a.txt')
    assert not repository.file_exists(filename='b.txt')
    assert not repository.file_exists(filename='a.txt', revision='nothing')


def test_what_is_missing_is_told_apart(model):
    with pytest.raises(RemoteEntryNotFoundError):
        model.hf_hub_download(filename='nowhere.txt')
    with pytest.raises(RevisionNotFoundError):
        model.hf_hub_download(filename='.gitattributes', revision='nowhere')
    with pytest.raises(RevisionNotFoundError):
        model.list_repo_files(revision='nowhere')
    with pytest.raises(RevisionNotFoundError):
        model.add('a.txt', b'a', revision='nowhere')
    with pytest.raises(RemoteEntryNotFoundError):
        model.list_repo_tree(path_in_repo='nowhere')
    with pytest.raises(RemoteEntryNotFoundError):
        model.delete_file(path_in_repo='nowhere.txt')


def test_missing_repository_is_not_found(client):
    with pytest.raises(RepositoryNotFoundError):
        client.api.model_info('local/nowhere')
    with pytest.raises(RepositoryNotFoundError):
        client.api.hf_hub_download('local/nowhere', 'a.txt')
    with pytest.raises(RepositoryNotFoundError):
        client.api.upload_file(path_or_fileobj=b'a', path_in_repo='a.txt', repo_id='local/nowhere')
    with pytest.raises(RepositoryNotFoundError):
        client.api.delete_repo('local/nowhere')
    client.api.delete_repo('local/nowhere', missing_ok=True)


def test_deleted_file_is_gone_and_still_in_the_history(repository):
    before = repository.add('model.bin', WEIGHTS).oid
    repository.delete_file(path_in_repo='model.bin')
    assert not repository.file_exists(filename='model.bin')
    assert repository.read('model.bin', revision=before) == WEIGHTS


def test_deleted_folder_is_gone(repository, folder):
    repository.upload_folder(folder_path=folder)
    repository.delete_folder(path_in_repo='deep')
    assert repository.list_repo_files() == ['.gitattributes', 'config.json', 'weights.bin']


def test_files_are_deleted_by_pattern(repository, folder):
    repository.upload_folder(folder_path=folder)
    repository.delete_files(delete_patterns=['*.txt', 'weights.*'])
    assert repository.list_repo_files() == ['.gitattributes', 'config.json', 'deep/w.npy']


def test_one_commit_adds_copies_and_deletes(repository):
    repository.commit(CommitOperationAdd('old.bin', WEIGHTS), CommitOperationAdd('old.txt', b'text'))
    repository.commit(
        CommitOperationCopy('old.bin', 'new.bin'),
        CommitOperationCopy('old.txt', 'new.txt'),
        CommitOperationAdd('added.txt', b'added'),
        CommitOperationDelete('old.txt'),
    )
    assert len(repository.titles()) == 3
    assert repository.list_repo_files() == ['.gitattributes', 'added.txt', 'new.bin', 'new.txt', 'old.bin']
    assert repository.read('new.bin') == WEIGHTS
    assert repository.read('new.txt') == b'text'


def test_copies_may_be_of_an_old_revision(model):
    first = model.add('model.bin', WEIGHTS).oid
    model.add('model.bin', WEIGHTS[::-1])
    model.commit(CommitOperationCopy('model.bin', 'restored.bin', src_revision=first))
    assert model.read('restored.bin') == WEIGHTS


def test_commit_on_an_old_parent_is_refused(repository):
    parent = repository.add('a.txt', b'one').oid
    repository.add('a.txt', b'two', parent_commit=parent)
    with pytest.raises(HfHubHTTPError, match='412'):
        repository.add('a.txt', b'three', parent_commit=parent)
    assert repository.read('a.txt') == b'two'


def test_pull_request_is_merged(repository):
    done = repository.add('model.bin', WEIGHTS, create_pr=True)
    assert (done.pr_num, done.pr_revision) == (1, 'refs/pr/1')
    assert not repository.file_exists(filename='model.bin')
    assert repository.read('model.bin', revision='refs/pr/1') == WEIGHTS
    repository.merge_pull_request(discussion_num=1)
    assert repository.read('model.bin') == WEIGHTS
    assert repository.get_discussion_details(discussion_num=1).status == 'merged'


def test_folder_becomes_a_pull_request(repository, folder):
    done = repository.upload_folder(folder_path=folder, create_pr=True)
    assert done.pr_num == 1
    assert repository.list_repo_files() == ['.gitattributes']
    assert repository.read('weights.bin', revision='refs/pr/1') == WEIGHTS


def test_pull_request_gets_more_commits(model):
    pull = model.create_pull_request(title='two things')
    model.add('a.txt', b'a', revision=pull.git_reference)
    model.add('b.txt', b'b', revision=pull.git_reference)
    model.change_discussion_status(discussion_num=pull.num, new_status='open')
    model.merge_pull_request(discussion_num=pull.num)
    assert model.list_repo_files() == ['.gitattributes', 'a.txt', 'b.txt']


def test_refs_tell_of_pull_requests_when_asked(model):
    model.add('a.txt', b'a', create_pr=True)
    assert model.list_repo_refs().pull_requests is None
    assert [ref.ref for ref in model.list_repo_refs(include_pull_requests=True).pull_requests] == [
        'refs/pr/1'
    ]


def test_squashed_history_is_one_commit_with_the_same_files(repository):
    repository.add('model.bin', WEIGHTS)
    repository.add('a.txt', b'a')
    files = repository.list_repo_files()
    repository.super_squash_history(commit_message='all of it')
    assert repository.titles() == ['all of it']
    assert repository.list_repo_files() == files
    assert repository.read('model.bin') == WEIGHTS


def test_moved_repository_is_found_under_both_names(client, repository):
    repository.add('model.bin', WEIGHTS)
    new = f'{repository.repo_id}-renamed'
    client.api.move_repo(repository.repo_id, new, repo_type=repository.kind)
    assert client.api.repo_info(new, repo_type=repository.kind).id == new
    assert repository.repo_info().id == new
    assert repository.read('model.bin') == WEIGHTS


def test_repository_is_not_moved_onto_another(client, model):
    client.api.create_repo('local/other', exist_ok=True)
    with pytest.raises(HfHubHTTPError, match=r'40[09]'):
        client.api.move_repo(model.repo_id, 'local/other')
    assert model.repo_info().id == model.repo_id


def test_private_repository_is_missing_to_strangers(repository, somebody):
    repository.commit(CommitOperationAdd('a.txt', b'a'), CommitOperationAdd('b.txt', b'b'))
    stranger = repository.seen_by(somebody('eve:write'))
    assert stranger.read('a.txt') == b'a'
    repository.update_repo_settings(private=True)
    with pytest.raises(RepositoryNotFoundError):
        stranger.repo_info()
    with pytest.raises(RepositoryNotFoundError):
        stranger.hf_hub_download(filename='b.txt')
    with pytest.raises(RepositoryNotFoundError):
        stranger.add('c.txt', b'c')
    assert repository.repo_info().private


def test_private_from_the_start_is_missing_to_nobody_in_particular(hub, client, repo_id, kind, tmp_path):
    client.api.create_repo(repo_id, repo_type=kind, private=True)
    with Client(hub, tmp_path / 'nobody', token='') as nobody, pytest.raises(RepositoryNotFoundError):
        nobody.api.repo_info(repo_id, repo_type=kind)


def test_public_repository_is_read_without_a_token(hub, repository, tmp_path):
    repository.add('model.bin', WEIGHTS)
    with Client(hub, tmp_path / 'nobody', token='') as nobody:
        assert repository.seen_by(nobody.api).read('model.bin') == WEIGHTS


def test_read_token_reads_and_does_not_write(model, somebody):
    model.add('a.txt', b'a')
    api = somebody('local:read')
    reader = model.seen_by(api)
    assert reader.list_repo_files() == ['.gitattributes', 'a.txt']
    operations = [
        lambda: reader.add('b.txt', b'b'),
        lambda: reader.add('b.bin', WEIGHTS),
        lambda: reader.delete_file(path_in_repo='a.txt'),
        lambda: reader.create_tag(tag='x'),
        lambda: reader.create_branch(branch='x'),
        lambda: reader.delete_repo(),
        lambda: reader.update_repo_settings(private=True),
        lambda: reader.super_squash_history(),
        lambda: reader.merge_pull_request(discussion_num=1),
        lambda: api.create_repo(f'{model.repo_id}-other'),
        lambda: api.move_repo(model.repo_id, f'{model.repo_id}-other'),
    ]
    for operation in operations:
        with pytest.raises(HfHubHTTPError, match='403'):
            operation()
    assert model.titles()[1:] == ['initial commit']


def test_foreign_namespace_is_not_written_to(model, somebody):
    stranger = somebody('eve:write')
    with pytest.raises(HfHubHTTPError, match='403'):
        model.seen_by(stranger).add('a.txt', b'a')
    with pytest.raises(HfHubHTTPError, match='403'):
        stranger.create_repo('local/eves')


def test_auth_check_tells_reading_from_writing(model, somebody):
    stranger = model.seen_by(somebody('eve:write'))
    stranger.auth_check()
    model.auth_check(write=True)
    with pytest.raises(HfHubHTTPError, match='403'):
        stranger.auth_check(write=True)


def test_deleted_repository_is_gone(repository):
    repository.add('model.bin', WEIGHTS)
    repository.delete_repo()
    assert not repository.repo_exists()
    assert not repository.path.exists()


def test_deleted_repository_can_be_made_anew(repository):
    repository.add('a.txt', b'a')
    repository.delete_repo()
    repository.create_repo()
    assert repository.list_repo_files() == ['.gitattributes']


@pytest.fixture
def author(hub, somebody):
    """A user with three repositories of models, one of them private."""
    name = f'author-{next(_numbers)}'
    api = somebody(f'{name}:write')
    for repo in ('bert-tiny', 'gpt-tiny', 'secret'):
        api.create_repo(f'{name}/{repo}', private=repo == 'secret')
    return name


def test_list_models_finds_by_author_and_word(client, author):
    found = client.api.list_models(author=author, search='tiny', sort='created_at')
    assert [info.id for info in found] == [f'{author}/gpt-tiny', f'{author}/bert-tiny']
    assert client.api.list_models(author='nobody-at-all') == []
    assert client.api.list_datasets(author=author) == []


def test_list_models_stops_at_the_limit(client, author):
    assert len(client.api.list_models(author=author, limit=1)) == 1


def test_list_models_has_private_ones_for_their_owner_alone(client, author, somebody):
    owner = somebody(f'{author}:read')
    assert len(owner.list_models(author=author)) == 3
    assert len(client.api.list_models(author=author)) == 2


def test_safetensors_metadata_counts_the_parameters(model, tmp_path):
    import numpy as np
    from safetensors.numpy import save_file

    save_file({'w': np.zeros((3, 5), np.float32), 'b': np.zeros(7, np.float16)}, tmp_path / 'm.safetensors')
    model.add('model.safetensors', tmp_path / 'm.safetensors')
    assert model.get_safetensors_metadata().parameter_count == {'F32': 15, 'F16': 7}
    assert model.repo_info(expand=['safetensors']).safetensors.total == 22


def test_file_is_not_overwritten_by_a_bad_card(model):
    model.add('README.md', b'---\nlicense: mit\n---\n')
    with pytest.raises((BadRequestError, ValueError)):
        model.add('README.md', b'---\nlicense: no-such-licence\n---\n')
    assert model.read('README.md') == b'---\nlicense: mit\n---\n'


def test_download_is_resumed_where_it_was_cut(client, model):
    content = os.urandom(3_000_000)
    model.add('model.bin', content)
    oid = hashlib.sha256(content).hexdigest()
    blobs = client.home / f'hf/hub/models--{model.repo_id.replace("/", "--")}/blobs'
    blobs.mkdir(parents=True)
    (blobs / f'{oid}.incomplete').write_bytes(content[:1_000_000])
    assert model.read('model.bin') == content
