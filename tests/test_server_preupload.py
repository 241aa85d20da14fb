"""Is a client told, before it sends anything, how each file is to be sent, and which ones not at all?"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess

import pytest
from huggingface_hub import CommitOperationAdd, HfApi

from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user


@pytest.fixture
def path(hub):
    """The bare repository of local/x, with .gitattributes alone."""
    HfApi(endpoint=hub.endpoint, token=hub.token).create_repo('local/x')
    return hub.root / 'models' / 'local' / 'x.git'


def asked(name, sample=b'text\n', size=None):
    return {
        'path': name,
        'sample': base64.b64encode(sample[:512]).decode(),
        'size': len(sample) if size is None else size,
    }


def ask(hub, *files, revision='main', query='', token='', **more):
    values = {'files': list(files), **more}
    return call(hub, 'POST', f'/api/models/local/x/preupload/{revision}{query}', values, token=token)


def told(hub, *files, **more):
    """Return what is said of each file, in the order asked."""
    answer = ask(hub, *files, **more)
    assert answer.status == 200, answer.body
    assert [file['path'] for file in answer.json['files']] == [file['path'] for file in files]
    return answer.json['files']


def mode(hub, *file, **more):
    return told(hub, asked(*file), **more)[0]['uploadMode']


def ignored(hub, *names, **more):
    files = told(hub, *(asked(name) for name in names), **more)
    return [file['path'] for file in files if file['shouldIgnore']]


# -- regular or LFS


def test_a_text_is_regular(hub, path):
    assert mode(hub, 'a.txt') == 'regular'


@pytest.mark.parametrize(
    'name', ['a.bin', 'd/e/model.safetensors', 'saved_model/x/y', 'größe.pt', 'with space.h5']
)
def test_what_a_pattern_sends_to_lfs_goes_there(hub, path, name):
    assert mode(hub, name) == 'lfs'


def test_a_text_of_10_mib_is_regular(hub, path):
    assert told(hub, asked('a.txt', size=10 * 2**20))[0]['uploadMode'] == 'regular'


def test_a_larger_text_goes_to_lfs(hub, path):
    assert told(hub, asked('a.txt', size=10 * 2**20 + 1))[0]['uploadMode'] == 'lfs'


@pytest.mark.parametrize('sample', [b'\0', b'\x89PNG\r\n\x1a\n', b'\xff\xfe', b'ab\xc3', b'\xc3('])
def test_what_is_no_text_goes_to_lfs(hub, path, sample):
    assert mode(hub, 'a', sample) == 'lfs'


def test_an_empty_file_is_regular(hub, path):
    assert mode(hub, 'a', b'') == 'regular'


@pytest.mark.parametrize('letter', ['ü', '€', '😀'])
def test_a_sample_may_end_within_a_letter(hub, path, letter):
    text = ('x' * 511 + letter * 100).encode()
    assert mode(hub, 'a.txt', text) == 'regular'


def test_a_file_may_not_end_within_a_letter(hub, path):
    assert mode(hub, 'a.txt', ('x' * 511 + 'ü').encode()[:512]) == 'lfs'


def test_a_pattern_can_keep_files_out_of_lfs(hub, path):
    commit_by_path(path, {'.gitattributes': '*.bin filter=lfs\nsmall.bin -filter\n'})
    modes = [file['uploadMode'] for file in told(hub, asked('a.bin'), asked('small.bin'))]
    assert modes == ['lfs', 'regular']


def test_patterns_of_a_folder_count_in_it(hub, path):
    commit_by_path(path, {'d/.gitattributes': '*.txt filter=lfs\n'})
    modes = [file['uploadMode'] for file in told(hub, asked('a.txt'), asked('d/a.txt'), asked('d/e/a.txt'))]
    assert modes == ['regular', 'lfs', 'lfs']


def test_patterns_that_come_with_the_commit_count_instead(hub, path):
    files = told(hub, asked('a.txt'), asked('a.bin'), gitAttributes='*.txt filter=lfs\n')
    assert [file['uploadMode'] for file in files] == ['lfs', 'regular']


def test_patterns_that_come_with_the_commit_leave_those_of_folders(hub, path):
    commit_by_path(path, {'d/.gitattributes': '*.txt filter=lfs\n'})
    assert mode(hub, 'd/a.txt', gitAttributes='*.bin filter=lfs\n') == 'lfs'


def test_asking_writes_nothing_into_the_repository(hub, path):
    before = git('count-objects', '-v', cwd=path)
    told(hub, asked('a.txt'), gitAttributes='*.txt filter=lfs\n', gitIgnore='x\n')
    assert git('count-objects', '-v', cwd=path) == before


def test_patterns_are_those_of_the_revision(hub, path):
    git('branch', 'dev', 'main', cwd=path)
    commit_by_path(path, {'.gitattributes': '*.txt filter=lfs\n'}, ref='refs/heads/dev')
    assert (mode(hub, 'a.txt', revision='dev'), mode(hub, 'a.txt')) == ('lfs', 'regular')


def test_a_link_for_gitattributes_is_not_followed(hub, path):
    oid = subprocess.run(
        ['git', 'hash-object', '-w', '--stdin'], cwd=path, input=b'/etc/passwd', capture_output=True
    ).stdout.decode()
    entry = f'120000 blob {oid.strip()}\t.gitattributes\n'.encode()
    tree = (
        subprocess.run(['git', 'mktree'], cwd=path, input=entry, capture_output=True).stdout.decode().strip()
    )
    git('update-ref', 'refs/heads/main', git('commit-tree', tree, '-m', 'x', cwd=path), cwd=path)
    assert mode(hub, 'a.txt') == 'regular'


@pytest.mark.parametrize(
    'attributes', ['\0\0', '*' * 100_000, '[attr]x y\n' * 1000, '"\n', '*.txt filter=' + 'x' * 5000]
)
def test_strange_patterns_do_no_harm(hub, path, attributes):
    assert mode(hub, 'a.txt', gitAttributes=attributes) == 'regular'


# -- what is ignored


def test_nothing_is_ignored_without_a_gitignore(hub, path):
    assert ignored(hub, 'a.log', '.gitignore', '.env') == []


def test_what_the_repositorys_gitignore_names_is_ignored(hub, path):
    commit_by_path(path, {'.gitignore': '*.log\ncache/\n!keep.log\n'})
    names = ['a.log', 'd/b.log', 'keep.log', 'cache/x/y', 'cache', 'a.txt']
    assert ignored(hub, *names) == ['a.log', 'd/b.log', 'cache/x/y']


def test_a_gitignore_that_comes_with_the_commit_counts_instead(hub, path):
    commit_by_path(path, {'.gitignore': '*.log\n'})
    assert ignored(hub, 'a.log', 'a.tmp', gitIgnore='*.tmp\n') == ['a.tmp']


def test_a_gitignore_of_a_folder_counts_in_it(hub, path):
    commit_by_path(path, {'d/.gitignore': '*.log\n/own\n', '.gitignore': '!d/own\n'})
    assert ignored(hub, 'a.log', 'd/a.log', 'd/own', 'd/e/own', 'own') == ['d/a.log', 'd/own']


def test_nothing_comes_back_from_an_ignored_folder(hub, path):
    assert ignored(hub, 'd/a', gitIgnore='d/\n!d/a\n') == ['d/a']


def test_names_that_are_not_ascii_are_matched(hub, path):
    assert ignored(hub, 'größe.log', 'größe.txt', gitIgnore='grö?e.log\ngrö??e.log\n') == ['größe.log']


def test_a_client_drops_what_is_ignored(hub, path):
    commit_by_path(path, {'.gitignore': '*.log\n'})
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_commit(
        'local/x',
        [CommitOperationAdd('a.log', b'x'), CommitOperationAdd('a.txt', b'x')],
        commit_message='add',
    )
    assert git('ls-tree', '--name-only', 'main', cwd=path).split() == [
        '.gitattributes',
        '.gitignore',
        'a.txt',
    ]


@pytest.mark.parametrize('rules', ['x' * 100_000, '[a-z]*\n' * 60_000, 'a*' * 2000, '\0', '[', '\\'])
def test_a_strange_gitignore_does_no_harm(hub, path, rules):
    assert ignored(hub, 'A/' * 100 + 'A', gitIgnore=rules) == []


# -- what is there


def test_a_new_file_has_no_oid(hub, path):
    assert told(hub, asked('a.txt'))[0]['oid'] is None


def test_a_file_that_is_there_has_the_id_of_its_blob(hub, path):
    commit_by_path(path, {'d/a.txt': 'x'})
    assert told(hub, asked('d/a.txt'))[0]['oid'] == git('rev-parse', 'main:d/a.txt', cwd=path)


def test_an_lfs_file_that_is_there_has_its_sha256(hub, path):
    oid = hashlib.sha256(b'x').hexdigest()
    commit_by_path(path, {'a.bin': f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 1\n'})
    assert told(hub, asked('a.bin'))[0]['oid'] == oid


def test_a_folder_has_no_oid(hub, path):
    commit_by_path(path, {'d/a.txt': 'x'})
    assert told(hub, asked('d'))[0]['oid'] is None


def test_an_unchanged_file_is_not_committed_again(hub, path):
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    for _ in range(2):
        api.upload_file(path_or_fileobj=b'x', path_in_repo='a.txt', repo_id='local/x')
    assert git('rev-list', '--count', 'main', cwd=path) == '2'


def test_the_head_is_told(hub, path):
    assert ask(hub).json['commitOid'] == git('rev-parse', 'main', cwd=path)


def test_a_repository_without_commits_takes_files(hub, path):
    git('update-ref', '-d', 'refs/heads/main', cwd=path)
    assert ask(hub, asked('a.bin', b'text')).json == {
        'files': [{'path': 'a.bin', 'uploadMode': 'regular', 'shouldIgnore': False, 'oid': None}]
    }


@pytest.mark.parametrize('name', ['/a.txt', './a.txt'])
def test_a_file_is_called_as_the_client_calls_it(hub, path, name):
    assert told(hub, asked(name))[0]['uploadMode'] == 'regular'


def test_256_files_are_one_question(hub, path):
    commit_by_path(path, {f'd{i % 9}/{i}.txt': str(i) for i in range(256)})
    files = told(hub, *(asked(f'd{i % 9}/{i}.txt') for i in range(256)))
    assert all(file['oid'] for file in files)


# -- what is refused


NO_FILES = {
    'no list': {'files': {}},
    'no files': {},
    'no objects': {'files': ['a']},
    'no path': {'files': [{'size': 1}]},
    'no size': {'files': [{'path': 'a'}]},
    'a negative size': {'files': [{'path': 'a', 'size': -1}]},
    'a size in words': {'files': [{'path': 'a', 'size': '1'}]},
    'a size that is a truth': {'files': [{'path': 'a', 'size': True}]},
    'a sample that is not base64': {'files': [{'path': 'a', 'size': 1, 'sample': '%'}]},
    'a sample that is a number': {'files': [{'path': 'a', 'size': 1, 'sample': 1}]},
    'too many': {'files': [{'path': 'a', 'size': 1}] * 1001},
    'gitAttributes that are a list': {'files': [], 'gitAttributes': []},
    'gitIgnore that is a number': {'files': [], 'gitIgnore': 7},
}


@pytest.mark.parametrize('what', NO_FILES)
def test_a_question_is_refused_that_is_none(hub, path, what):
    assert call(hub, 'POST', '/api/models/local/x/preupload/main', NO_FILES[what]).status == 400


@pytest.mark.parametrize(
    'name', ['../a', 'a/../../b', '.git/config', 'a/.GIT/x', '//a', 'a\0', '\ud800', '', 'x' * 1001]
)
def test_a_path_is_refused_that_leads_out(hub, path, name):
    body = json.dumps({'files': [{'path': name, 'size': 1}]})
    kind = {'Content-Type': 'application/json'}
    assert call(hub, 'POST', '/api/models/local/x/preupload/main', body=body, headers=kind).status == 400


@pytest.mark.parametrize('body', [b'[1', b'[' * 100_000, b'\xff', b'[]'])
def test_a_body_is_refused_that_is_no_object(hub, path, body):
    assert call(hub, 'POST', '/api/models/local/x/preupload/main', body=body).status == 400


def test_a_revision_that_is_not_there_is_404(hub, path):
    assert ask(hub, revision='nope').code == 'RevisionNotFound'


def test_a_stranger_is_told_nothing(hub, path):
    assert ask(hub, token=None).status == 401


@pytest.mark.parametrize(('user', 'role'), [('local', 'read'), ('ada', 'write')])
def test_who_may_not_write_is_told_so_at_once(hub, path, user, role):
    assert ask(hub, token=new_user(hub, user, role)).status == 403


def test_who_would_open_a_pull_request_is_told(hub, path):
    assert ask(hub, asked('a'), query='?create_pr=1', token=new_user(hub, 'ada')).status == 200
