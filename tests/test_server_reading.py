"""Is what the Hub tells of a repository what git has: information, lists, refs, history, trees?"""

from __future__ import annotations

import hashlib
import json
import struct
import subprocess
from urllib.parse import quote, urlsplit

import pytest

from hfmirror.server.git.objects import COMMIT_MAX, parse_commit
from hfmirror.server.hub import Hub
from tests.support.clients import Client
from tests.support.mirror import bare, git
from tests.support.rest import call, commit_by_path, new_user

CARD = """---
license: mit
language: [en, 'no']
tags: [tiny]
datasets: imdb
base_model: google/bert_uncased_L-2_H-128_A-2
base_model_relation: finetune
released: 2024-05-01
---
# Tiny

See https://arxiv.org/abs/1908.08962.
"""
CONFIG = '{"architectures": ["BertForSequenceClassification"], "model_type": "bert"}'


class Repository:
    """A repository of the Hub, changed past the Hub, by git alone."""

    def __init__(self, hub, repo_id='local/x', kind='models'):
        self.hub, self.repo_id, self.kind = hub, repo_id, kind
        namespace, name = repo_id.split('/')
        values = {'name': name, 'organization': namespace, 'type': kind.removesuffix('s'), 'sdk': 'static'}
        assert call(hub, 'POST', '/api/repos/create', values).status == 200
        self.path = hub.root / kind / f'{repo_id}.git'

    def commit(self, files, **kwargs):
        return commit_by_path(self.path, files, **kwargs)

    def commit_object(self, tree='main^{tree}', *, seconds=10**9):
        """Write a commit that git itself might refuse to make, and return its id."""
        who = f'A <a@b> {seconds} +0000'
        text = f'tree {self.git("rev-parse", tree)}\nauthor {who}\ncommitter {who}\n\ndated\n'
        return self.git('hash-object', '-w', '-t', 'commit', '--literally', '--stdin', stdin=text)

    def moves_to(self, commit):
        self.git('update-ref', 'refs/heads/main', commit)

    def git(self, *args, stdin=''):
        """Run git in the repository and return what it prints."""
        stdin = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(['git', *args], cwd=self.path, input=stdin, capture_output=True, check=True)
        return done.stdout.decode().strip()

    def pointer(self, content):
        """Put an LFS object there and return the text of its pointer."""
        oid = hashlib.sha256(content).hexdigest()
        path = self.path / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n'

    def ask(self, what='', method='GET', **kwargs):
        return call(self.hub, method, f'/api/{self.kind}/{self.repo_id}{what}', **kwargs)

    def get(self, what='', **kwargs):
        answer = self.ask(what, **kwargs)
        assert answer.status == 200, answer
        return answer.json


@pytest.fixture
def repo(hub):
    return Repository(hub)


@pytest.fixture
def model(repo):
    repo.commit({'README.md': CARD, 'config.json': CONFIG, 'notes/a.txt': 'a', 'notes/deep/b.txt': 'b'})
    return repo


def pages(hub, answer):
    """Return the items of an answer and of all that follow."""
    items = answer.json
    while 'Link' in answer.headers:
        url = urlsplit(answer.headers['Link'].partition('>')[0].removeprefix('<'))
        answer = call(hub, 'GET', f'{url.path}?{url.query}')
        items += answer.json
    return items


# -- information


def test_info_names_commit_and_files_of_main(model):
    info = model.get()
    assert info['id'] == info['modelId'] == 'local/x'
    assert info['sha'] == model.git('rev-parse', 'main')
    assert [file['rfilename'] for file in info['siblings']] == [
        '.gitattributes',
        'README.md',
        'config.json',
        'notes/a.txt',
        'notes/deep/b.txt',
    ]


def test_info_has_the_dates_of_commit_and_repository(repo):
    created = repo.get()['createdAt']
    repo.moves_to(repo.commit_object(seconds=10**9))
    info = repo.get()
    assert (info['lastModified'], info['createdAt']) == ('2001-09-09T01:46:40.000Z', created)


def test_info_of_a_revision_has_its_commit(model):
    old = model.git('rev-parse', 'main~1')
    info = model.get(f'/revision/{old[:10]}')
    assert info['sha'] == old
    assert info['siblings'] == [{'rfilename': '.gitattributes'}]


def test_info_has_card_and_tags(model):
    info = model.get()
    assert info['cardData']['language'] == ['en', 'no']
    assert info['cardData']['released'] == '2024-05-01'
    assert info['tags'] == [
        'transformers',
        'bert',
        'text-classification',
        'tiny',
        'en',
        'no',
        'dataset:imdb',
        'base_model:google/bert_uncased_L-2_H-128_A-2',
        'base_model:finetune:google/bert_uncased_L-2_H-128_A-2',
        'arxiv:1908.08962',
        'license:mit',
    ]


def test_info_guesses_library_and_task_from_the_configuration(model):
    info = model.get()
    assert (info['library_name'], info['pipeline_tag']) == ('transformers', 'text-classification')
    assert info['config'] == {'architectures': ['BertForSequenceClassification'], 'model_type': 'bert'}
    assert info['transformersInfo']['auto_model'] == 'AutoModelForSequenceClassification'


@pytest.mark.parametrize(
    ('architecture', 'auto_model'),
    [
        ('GPT2LMHeadModel', 'AutoModelForCausalLM'),
        ('LlamaForCausalLM', 'AutoModelForCausalLM'),
        ('T5ForConditionalGeneration', 'AutoModelForSeq2SeqLM'),
        ('WhisperForConditionalGeneration', 'AutoModelForSpeechSeq2Seq'),
        ('ViTForImageClassification', 'AutoModelForImageClassification'),
        ('BertModel', 'AutoModel'),
    ],
)
def test_auto_model_follows_from_the_class(repo, architecture, auto_model):
    repo.commit({'config.json': json.dumps({'architectures': [architecture], 'model_type': 'x'})})
    assert repo.get('?expand=transformersInfo')['transformersInfo']['auto_model'] == auto_model


def test_card_counts_more_than_the_configuration(repo):
    repo.commit(
        {'README.md': '---\nlibrary_name: keras\npipeline_tag: fill-mask\n---\n', 'config.json': CONFIG}
    )
    info = repo.get()
    assert (info['library_name'], info['pipeline_tag']) == ('keras', 'fill-mask')


@pytest.mark.parametrize(
    'yaml',
    [
        'license: [',
        '- a list',
        'a: &a [x]\n' + ''.join(f'{c}: &{c} [{", ".join([f"*{p}"] * 10)}]\n' for p, c in zip('abcdefg', 'bcdefgh', strict=True)),
        'a: &a [*a]',
        '[' * 2000,
        'when: 2024-13-45',
        'a: ' + '9' * 5000,
    ],
    ids=['broken', 'list', 'bomb', 'circle', 'deep', 'date', 'digits'],
)  # fmt: skip
def test_card_that_cannot_be_read_tells_nothing(repo, yaml):
    repo.commit({'README.md': f'---\n{yaml}\n---\n'})
    assert 'cardData' not in repo.get()


def test_values_that_json_has_no_word_for_become_null_or_text(repo):
    yaml = 'a: .nan\nb: .inf\nc: 0x' + 'f' * 5000 + '\nd: !!binary aGk=\n1: one\ne: "\\ud800"\n'
    repo.commit({'README.md': f'---\n{yaml}---\n'})
    card = repo.get()['cardData']
    assert (card['a'], card['b'], card['c'], card['d']) == (None, None, None, None)
    assert (card['1'], card['e']) == ('one', '?')


@pytest.mark.parametrize('config', ['{', '[]', '[' * 100_000, '{"architectures": [3], "model_type": {}}'])
def test_configuration_that_makes_no_sense_tells_nothing(repo, config):
    repo.commit({'config.json': config})
    assert 'config' not in repo.get()


def test_info_counts_the_parameters_of_safetensors(repo):
    header = json.dumps({'w': {'dtype': 'F32', 'shape': [2, 3], 'data_offsets': [0, 24]}}).encode()
    repo.commit({'model.safetensors': repo.pointer(struct.pack('<Q', len(header)) + header + bytes(24))})
    assert repo.get()['safetensors'] == {'parameters': {'F32': 6}, 'total': 6}


def test_safetensors_with_a_header_that_lies_is_not_counted(repo):
    repo.commit({'model.safetensors': repo.pointer(struct.pack('<Q', 2**40) + b'{}')})
    assert 'safetensors' not in repo.get()


def test_info_with_blobs_has_sizes_and_ids(repo):
    text = repo.pointer(b'x' * 1000)
    repo.commit({'model.bin': text, 'small.txt': 'small'})
    files = {file['rfilename']: file for file in repo.get('?blobs=true')['siblings']}
    assert files['small.txt'] == {
        'rfilename': 'small.txt',
        'size': 5,
        'blobId': repo.git('rev-parse', 'main:small.txt'),
    }
    assert files['model.bin']['size'] == 1000
    assert files['model.bin']['lfs'] == {
        'sha256': hashlib.sha256(b'x' * 1000).hexdigest(),
        'size': 1000,
        'pointerSize': len(text),
    }


def test_used_storage_is_that_of_all_lfs_objects(repo):
    repo.commit({'model.bin': repo.pointer(b'x' * 1000)})
    repo.commit({'model.bin': repo.pointer(b'y' * 500)})
    assert repo.get()['usedStorage'] == 1500


def test_expand_returns_what_is_asked_for_alone(model):
    assert model.get('?expand=private&expand=author') == {
        '_id': model.get()['_id'],
        'id': 'local/x',
        'private': False,
        'author': 'local',
    }


def test_expand_of_an_unknown_field_is_refused_with_all_there_are(model):
    answer = model.ask('?expand=secrets')
    assert answer.status == 400
    assert 'author' in answer.json['error'] and 'usedStorage' in answer.json['error']


def test_repository_pushed_by_path_is_there(hub, mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    info = call(hub, 'GET', '/api/models/me/tiny-model/revision/v1.0.0').json
    assert info['sha'] == mirror.git('rev-parse', 'v1.0.0^{commit}')
    assert 'model.bin' in [file['rfilename'] for file in info['siblings']]


def test_repository_without_a_commit_has_information_and_no_files(hub):
    bare(hub.root / 'models' / 'local' / 'empty.git')
    answer = call(hub, 'GET', '/api/models/local/empty')
    assert answer.json['siblings'] == []
    assert call(hub, 'GET', '/api/models/local/empty/tree/main').code == 'RevisionNotFound'


def test_dataset_has_tags_by_key(hub):
    dataset = Repository(hub, kind='datasets')
    dataset.commit(
        {'README.md': '---\ntask_categories: [text-classification]\nlanguage: en\ntags: [news]\n---\n'}
    )
    assert dataset.get()['tags'] == ['task_categories:text-classification', 'language:en', 'news']


def test_space_has_its_sdk(hub):
    assert Repository(hub, kind='spaces').get()['sdk'] == 'static'


# -- who may see it


def test_private_repository_is_missing_to_strangers(hub, repo):
    repo.ask('/settings', 'PUT', values={'private': True})
    for what in ('', '/refs', '/tree/main', '/commits/main', '/compare/main..main'):
        stranger, nobody = repo.ask(what, token=new_user(hub, 'bob')), repo.ask(what, token=None)
        assert (stranger.status, stranger.code) == (404, 'RepoNotFound')
        assert (nobody.status, nobody.code) == (401, 'RepoNotFound')


def test_wrong_token_is_refused_for_what_is_public_too(repo):
    answer = repo.ask(token='hf_wrong')
    assert answer.status == 401
    assert answer.headers['X-Error-Message'] == 'Invalid credentials in Authorization header'


def test_list_has_private_repositories_for_their_members_alone(hub, repo):
    repo.ask('/settings', 'PUT', values={'private': True})
    Repository(hub, 'local/open')
    assert _ids(call(hub, 'GET', '/api/models')) == {'local/x', 'local/open'}
    assert _ids(call(hub, 'GET', '/api/models', token=new_user(hub, 'bob'))) == {'local/open'}
    assert _ids(call(hub, 'GET', '/api/models', token=None)) == {'local/open'}


def _ids(answer):
    return {one['id'] for one in answer.json}


# -- lists


@pytest.mark.parametrize(
    ('query', 'found'),
    [
        ('author=LOCAL', {'local/x', 'local/other'}),
        ('author=nobody', set()),
        ('search=OTH', {'local/other'}),
        ('search=o&search=x', {'local/x'}),
        ('filter=license:mit', {'local/x'}),
        ('filter=tiny&filter=en', {'local/x'}),
        ('filter=tiny,de', set()),
        ('pipeline_tag=text-classification', {'local/x'}),
        ('gated=true', set()),
    ],
)
def test_list_has_what_is_asked_for(hub, model, query, found):
    Repository(hub, 'local/other')
    assert _ids(call(hub, 'GET', f'/api/models?{query}')) == found


def test_list_is_of_one_kind(hub, model):
    Repository(hub, 'local/data', 'datasets')
    assert _ids(call(hub, 'GET', '/api/datasets')) == {'local/data'}
    assert _ids(call(hub, 'GET', '/api/spaces')) == set()


def test_list_comes_in_pages_without_gap_or_double(hub):
    names = [f'local/m{i}' for i in range(5)]
    for name in names:
        Repository(hub, name)
    listed = pages(hub, call(hub, 'GET', '/api/models?limit=2&sort=likes&direction=-1'))
    assert sorted(one['id'] for one in listed) == names


def test_list_is_ordered_by_the_last_change(hub, repo):
    Repository(hub, 'local/later')
    repo.moves_to(repo.commit_object(seconds=10**9))
    listed = [one['id'] for one in call(hub, 'GET', '/api/models?sort=lastModified').json]
    assert listed == ['local/later', 'local/x']
    upwards = call(hub, 'GET', '/api/models?sort=lastModified&direction=1').json
    assert [one['id'] for one in upwards] == ['local/x', 'local/later']


@pytest.mark.parametrize('query', ['sort=size', 'limit=-1', 'limit=x', 'cursor=abc', 'cursor=' + 'A' * 5000, 'expand=x'])  # fmt: skip
def test_list_refuses_what_it_does_not_know(hub, repo, query):
    assert call(hub, 'GET', f'/api/models?{query}').status == 400


def test_full_list_has_the_files(hub, model):
    (one,) = call(hub, 'GET', '/api/models?full=True&cardData=True').json
    assert {'rfilename': 'config.json'} in one['siblings']
    assert one['cardData']['license'] == 'mit'


def test_damaged_repository_does_not_hide_the_others(hub, model):
    Repository(hub, 'local/broken').path.joinpath('refs/heads/main').write_text('0' * 39 + '1\n')
    assert _ids(call(hub, 'GET', '/api/models')) == {'local/x'}


def test_repository_damaged_below_its_root_does_not_hide_the_others(hub, model):
    broken = Repository(hub, 'local/broken')
    broken.commit({'notes/deep/a.txt': 'a'})
    broken.git('repack', '-adq')
    broken.git('unpack-objects', '-q', stdin=_unpacked(broken.path))
    oid = broken.git('rev-parse', 'main:notes')
    (broken.path / 'objects' / oid[:2] / oid[2:]).unlink()
    assert _ids(call(hub, 'GET', '/api/models?full=true')) == {'local/x'}


def _unpacked(path):
    """Take the packs of a repository away, and return the one there was."""
    (pack,) = (path / 'objects' / 'pack').glob('*.pack')
    content = pack.read_bytes()
    for file in pack.parent.iterdir():
        file.unlink()
    return content


# -- refs and history


def test_refs_are_sorted_by_kind(model):
    head = model.git('rev-parse', 'main')
    model.git('tag', '-a', '-m', 'one', 'v1')
    model.git('update-ref', 'refs/heads/feat/x', head)
    model.git('update-ref', 'refs/convert/parquet', head)
    model.git('update-ref', 'refs/pr/1', head)
    assert model.get('/refs') == {
        'branches': [
            {'name': 'feat/x', 'ref': 'refs/heads/feat/x', 'targetCommit': head},
            {'name': 'main', 'ref': 'refs/heads/main', 'targetCommit': head},
        ],
        'converts': [{'name': 'parquet', 'ref': 'refs/convert/parquet', 'targetCommit': head}],
        'tags': [{'name': 'v1', 'ref': 'refs/tags/v1', 'targetCommit': head}],
    }
    assert [ref['ref'] for ref in model.get('/refs?include_prs=1')['pullRequests']] == ['refs/pr/1']


def test_commits_are_newest_first_with_title_and_message(repo):
    repo.commit({'a': '1'}, message='second\n\nwith <b>more</b>\nto say')
    newest, oldest = repo.get('/commits/main')
    assert (newest['title'], newest['message']) == ('second', 'with <b>more</b>\nto say')
    assert newest['authors'][0]['user'] == 'Ada'
    assert (oldest['title'], oldest['message']) == ('initial commit', '')


def test_formatted_commits_are_safe_to_show(repo):
    repo.commit({'a': '1'}, message='<script>\n\n<b>')
    formatted = repo.get('/commits/main?expand%5B%5D=formatted')[0]['formatted']
    assert formatted == {'title': '&lt;script&gt;', 'message': '&lt;b&gt;'}


def test_commits_come_in_pages_with_their_number(hub, repo):
    for i in range(6):
        repo.commit({'a': str(i)}, message=f'number {i}')
    answer = repo.ask('/commits/main?limit=3')
    assert answer.headers['X-Total-Count'] == '7'
    titles = [one['title'] for one in pages(hub, answer)]
    assert titles == [*(f'number {i}' for i in range(5, -1, -1)), 'initial commit']


def test_page_beyond_the_last_is_empty(repo):
    assert repo.get('/commits/main?p=99999999') == []


def test_commit_from_beyond_the_calendar_is_shown(repo):
    repo.moves_to(repo.commit_object(seconds=10**14))
    assert repo.get('/commits/main')[0]['date'] in ('9999-12-31T23:59:59.000Z', '1970-01-01T00:00:00.000Z')
    assert repo.get()['lastModified'] == '1970-01-01T00:00:00.000Z'


def test_a_commit_by_path_with_a_long_message_is_shown_cut(repo):
    repo.commit({'a': '1'}, message='x' * 3 * COMMIT_MAX)
    title = repo.get('/commits/main')[0]['title']
    assert len(title) <= COMMIT_MAX
    assert set(title) == {'x'}


def test_many_long_messages_are_cut_to_what_one_answer_holds(repo, monkeypatch):
    monkeypatch.setattr('hfmirror.server.git.bare._LOG_MAX', 4000)
    for i in range(3):
        repo.commit({'a': str(i)}, message='title\n\n' + 'x' * 5000)
    shown = repo.get('/commits/main')
    assert [one['title'] for one in shown] == ['title'] * 3 + ['initial commit']
    assert sum(len(one['message']) for one in shown) < 4000


def test_a_commit_in_another_encoding_is_read_in_it(repo):
    repo.git('config', 'i18n.commitEncoding', 'ISO-8859-1')
    tree = repo.git('rev-parse', 'main^{tree}')
    name = repo.git('commit-tree', tree, '-m', 'x')
    content = repo.git('cat-file', 'commit', name).encode().replace(b'\nx', b'\n') + b'\xe9t\xe9\n'
    repo.moves_to(repo.git('hash-object', '-w', '-t', 'commit', '--stdin', stdin=content))
    assert repo.get('/commits/main')[0]['title'] == 'été'


@pytest.mark.parametrize('encoding', ['punycode', 'zip', 'no-such-encoding', 'cp99999', ''])
def test_a_commit_in_an_encoding_that_is_none_is_read_as_utf_8(encoding):
    content = f'tree {"0" * 40}\nencoding {encoding}\n\nété\n'.encode()
    assert parse_commit('1' * 40, content).message == 'été'


@pytest.mark.parametrize(
    ('line', 'read'),
    [
        ('Ada <ada@b> 5 +0000', ('Ada', 'ada@b', 5)),
        ('Ada', ('Ada', '', 0)),
        ('<> 5 +0000', ('', '', 5)),
        ('A <a> b> 5 +0000', ('A', 'a', 5)),
        ('A <a> -5 +0000', ('A', 'a', -5)),
        ('A <a> ' + '9' * 5000, ('A', 'a', 0)),
        (' ' * 1_000_000, ('', '', 0)),
    ],
    ids=['usual', 'no-email', 'empty', 'brackets', 'before-1970', 'digits', 'spaces'],
)
def test_people_of_all_kinds_are_read(line, read):
    found = parse_commit('1' * 40, f'author {line}\ncommitter {line}\n\nx\n'.encode())
    assert (found.author, found.email, found.date.timestamp()) == read


@pytest.mark.parametrize('length', range(0, 260, 10))
def test_a_commit_that_is_cut_anywhere_is_read(length):
    who = 'Ada <ada@example.org> 1000000000 +0000'
    content = f'tree {"a" * 40}\nparent {"b" * 40}\nauthor {who}\ncommitter {who}\n\ntitle\n'.encode()
    found = parse_commit('1' * 40, content[:length])
    assert found.parents in ((), ('b' * 40,))
    assert found.title in ('', 't', 'ti', 'tit', 'titl', 'title')


def test_changes_of_a_merge_are_those_against_its_first_parent(hub, repo):
    base = repo.commit({'a': '0', 'b': '0'})
    repo.commit({'b': 'side'}, ref='refs/heads/side', start=base)
    repo.commit({'a': 'main'})
    merge = repo.git('commit-tree', _merged(repo, {'c': 'new'}), '-p', 'main', '-p', 'side', '-m', 'merge')
    bare = hub.hub.bare(hub.hub.repositories.find('model', 'local', 'x'))
    (commit,) = bare.commits([merge])
    assert bare.changes(commit) == [('M', 'b'), ('A', 'c')]


def test_a_branch_whose_name_ends_lines_hides_no_other(repo):
    repo.git('update-ref', 'refs/heads/a\u2028b', 'main')
    assert [ref['name'] for ref in repo.get('/refs')['branches']] == ['a\u2028b', 'main']


def test_what_compare_shows_acts_in_no_browser(repo):
    policy = repo.ask('/compare/main..main').headers['Content-Security-Policy']
    assert "default-src 'none'" in policy
    assert 'sandbox' in policy


def test_compare_is_gits_difference(repo):
    old = repo.commit({'a.txt': 'one\n', 'gone.txt': 'x\n'})
    repo.commit({'a.txt': 'two\n', 'gone.txt': None})
    shown = repo.ask(f'/compare/{old}..main?raw=true')
    assert shown.headers['Content-Type'] == 'text/plain; charset=utf-8'
    assert shown.body.decode().strip() == repo.git('diff', '--full-index', old, 'main')


def test_compare_of_many_files_leaves_none_out(repo):
    repo.commit({f'{i}.txt': f'{i}\n' for i in range(450)})
    text = repo.ask(f'/compare/{_sha(repo, "main~1")}..main').body.decode()
    assert text.count('\n+++ b/') == 450


def test_compare_does_not_print_what_is_too_large(repo):
    repo.commit({'large.txt': 'x\n' * 600_000})
    text = repo.ask(f'/compare/{_sha(repo, "main~1")}..main').body.decode()
    assert 'Binary files /dev/null and b/large.txt differ' in text


def _sha(repo, revision):
    return repo.git('rev-parse', revision)


# -- trees


def test_tree_has_files_and_folders_of_one_folder(model):
    entries = model.get('/tree/main/notes')
    assert entries == [
        {'type': 'file', 'oid': _sha(model, 'main:notes/a.txt'), 'size': 1, 'path': 'notes/a.txt'},
        {'type': 'directory', 'oid': _sha(model, 'main:notes/deep'), 'size': 0, 'path': 'notes/deep'},
    ]


def test_recursive_tree_is_gits(model):
    listed = model.git('ls-tree', '-r', '-t', '--name-only', 'main').splitlines()
    assert [entry['path'] for entry in model.get('/tree/main?recursive=True')] == listed


@pytest.mark.parametrize('path', ['notes/deep', 'notes%2Fdeep', 'notes/deep/', '/notes/deep'])
def test_slashes_of_a_path_may_be_encoded(model, path):
    assert [entry['path'] for entry in model.get(f'/tree/main/{path}')] == ['notes/deep/b.txt']


def test_tree_tells_the_size_behind_a_pointer(repo):
    text = repo.pointer(b'x' * 4321)
    repo.commit({'model.bin': text})
    entry = repo.get('/tree/main')[-1]
    assert entry['size'] == entry['lfs']['size'] == 4321
    assert entry['lfs']['pointerSize'] == len(text)
    assert 'xetHash' not in entry


@pytest.mark.parametrize('path', ['nothing', 'config.json', 'config.json/x', 'notes/../notes', '..', '%2e%2e%2fetc', './notes', 'notes//deep'])  # fmt: skip
def test_what_is_no_folder_is_not_found(model, path):
    answer = model.ask(f'/tree/main/{path}')
    assert (answer.status, answer.code) == (404, 'EntryNotFound')
    assert answer.headers['X-Repo-Commit'] == _sha(model, 'main')


NAMES = ('with space', 'ünï/côdé.txt', '100%.txt', 'a#b?c', 'a+b&c=d', '%2e%2e', 'back\\slash', '"quoted"', '-rf', '名前')  # fmt: skip


def test_names_are_as_git_has_them(repo):
    _commit_names(repo, NAMES)
    paths = [entry['path'] for entry in repo.get('/tree/main?recursive=true') if entry['type'] == 'file']
    assert set(NAMES) == set(paths)
    assert {entry['path'] for entry in _paths_info(repo, NAMES)} == set(NAMES)


def _commit_names(repo, names):
    """Commit files of these names, which fast-import would want quoted, and nothing else."""
    folders = {'': []}
    for name in names:
        blob = repo.git('hash-object', '-w', '--stdin', stdin=name)
        folder, _, last = name.rpartition('/')
        folders.setdefault(folder, []).append(f'100644 blob {blob}\t{last}\0')
    top = folders.pop('')
    for folder, inside in folders.items():
        top.append(f'040000 tree {repo.git("mktree", "-z", stdin="".join(inside))}\t{folder}\0')
    repo.moves_to(repo.commit_object(repo.git('mktree', '-z', stdin=''.join(top))))


def test_name_that_is_no_text_does_not_break_the_list(repo):
    stream = b'commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 0\nfrom refs/heads/main^0\nM 100644 inline caf\xe9.txt\ndata 1\nx\n'
    repo.git('fast-import', '--quiet', stdin=stream)
    assert [entry['path'] for entry in repo.get('/tree/main')] == ['.gitattributes', 'caf?.txt']
    assert len(repo.get()['siblings']) == 2


def test_symbolic_link_and_submodule_lead_nowhere(repo):
    _special(repo)
    entries = {entry['path']: entry for entry in repo.get('/tree/main?recursive=true')}
    assert entries['link']['type'] == 'file'
    assert entries['link']['size'] == len('/etc/passwd')
    assert 'module' not in entries
    assert repo.ask('/tree/main/to-folder').code == 'EntryNotFound'


def _special(repo):
    stream = (
        'commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 0\nfrom refs/heads/main^0\n'
        'M 120000 inline link\ndata 11\n/etc/passwd\n'
        'M 120000 inline to-folder\ndata 2\n..\n'
        f'M 160000 {"1" * 40} module\n'
    )
    repo.git('fast-import', '--quiet', stdin=stream)


def test_tree_comes_in_pages_of_one_commit(hub, repo):
    repo.commit({f'd/{i:02}.txt': 'x' for i in range(10)})
    first = repo.ask('/tree/main?recursive=true&limit=4')
    repo.commit({'a-new-one.txt': 'x', 'd/03.txt': None})
    paths = [entry['path'] for entry in pages(hub, first)]
    assert paths == ['.gitattributes', 'd', *(f'd/{i:02}.txt' for i in range(10))]


def test_page_has_at_most_a_thousand_entries(repo):
    repo.commit({f'd/{i:04}.txt': 'x' for i in range(1001)})
    answer = repo.ask('/tree/main/d?limit=5000')
    assert len(answer.json) == 1000
    assert answer.headers['Link'].startswith(f'<{repo.hub.endpoint}/api/models/local/x/tree/main/d?')


@pytest.mark.parametrize(
    'cursor',
    [
        'x',
        '%00',
        'W10',
        'WyJtYWluIiwgLTFd',
        'WyIuLi8uLiIsIDBd',
        'WyJtYWluIiwgMTAwMDAwMDAwMDAwMDAwMDAwMDAwMDBd',
    ],
)
def test_cursor_that_is_not_ours_is_refused(repo, cursor):
    assert repo.ask(f'/tree/main?cursor={cursor}').status in (400, 404)


def test_nested_trees_that_claim_billions_of_files_are_refused(repo):
    tree = _sha(repo, 'main^{tree}')
    for _ in range(9):
        entries = ''.join(f'040000 tree {tree}\t{i:02}\n' for i in range(20))
        tree = repo.git('mktree', stdin=entries)
    repo.moves_to(repo.commit_object(tree))
    assert repo.ask().status == 413
    assert len(repo.get('/tree/main?recursive=true&limit=100')) == 100


# -- the last commit of each entry


def test_each_entry_has_the_commit_that_changed_it_last(repo):
    first = repo.commit({'a.txt': '1', 'd/x.txt': '1', 'd/y.txt': '1'}, message='first')
    second = repo.commit({'d/x.txt': '2'}, message='second')
    entries = {
        entry['path']: entry['lastCommit'] for entry in repo.get('/tree/main?recursive=true&expand=true')
    }
    assert {path: last['id'] for path, last in entries.items() if path != '.gitattributes'} == {
        'a.txt': first,
        'd': second,
        'd/x.txt': second,
        'd/y.txt': first,
    }
    assert entries['d']['title'] == 'second'


def test_last_commits_are_gits_in_a_history_with_merges(repo):
    base = repo.commit({'a': '0', 'b': '0', 'c': '0', 'd': '0'})
    repo.commit({'b': 'side'}, ref='refs/heads/side', start=base)
    repo.commit({'c': 'side'}, ref='refs/heads/side')
    repo.commit({'a': 'main'})
    tree = _merged(repo, {'d': 'in the merge itself'})
    merge = repo.git('commit-tree', tree, '-p', 'main', '-p', 'side', '-m', 'merge')
    repo.git('update-ref', 'refs/heads/main', merge)
    found = {entry['path']: entry['lastCommit']['id'] for entry in repo.get('/tree/main?expand=true')}
    expected = {path: repo.git('log', '-1', '--format=%H', 'main', '--', path) for path in found}
    assert found == expected


def _merged(repo, changed):
    """Return the tree of main and side together, with ``changed`` on top."""
    tree = repo.git('merge-tree', '--write-tree', 'main', 'side')
    start = repo.git('commit-tree', tree, '-m', 'both')
    commit = repo.commit(changed, ref='refs/tmp/merged', start=start)
    return _sha(repo, f'{commit}^{{tree}}')


def test_last_commit_of_a_file_that_came_back_is_the_one_that_brought_it(repo):
    repo.commit({'d/a': '1'})
    repo.commit({'d/a': None})
    back = repo.commit({'d/a': '1'})
    assert repo.get('/tree/main/d?expand=true')[0]['lastCommit']['id'] == back


def test_last_commits_cost_bounded_work(repo, monkeypatch):
    for i in range(4):
        repo.commit({'a': str(i)})
    monkeypatch.setattr('hfmirror.server.git.lastcommits._WORK', 3)
    entries = {entry['path']: entry for entry in repo.get('/tree/main?expand=true')}
    assert 'lastCommit' in entries['a']
    assert 'lastCommit' not in entries['.gitattributes']


def test_last_commit_that_is_too_long_ago_is_left_out(repo, monkeypatch):
    monkeypatch.setattr('hfmirror.server.git.lastcommits._COMMITS', 2)
    for i in range(4):
        repo.commit({'a': str(i)})
    entries = {entry['path']: entry for entry in repo.get('/tree/main?expand=true')}
    assert 'lastCommit' in entries['a']
    assert 'lastCommit' not in entries['.gitattributes']


# -- paths


def _paths_info(repo, paths, **more):
    body = '&'.join(f'paths={quote(path, safe="")}' for path in paths)
    body += ''.join(f'&{key}={value}' for key, value in more.items())
    headers = {'Content-Type': 'application/x-www-form-urlencoded'}
    answer = repo.ask('/paths-info/main', 'POST', body=body, headers=headers)
    assert answer.status == 200, answer
    return answer.json


def test_paths_info_leaves_out_what_is_not_there(model):
    found = _paths_info(model, ['config.json', 'notes', 'nothing', '../x', '', '/', 'notes/'])
    assert [(one['path'], one['type']) for one in found] == [('config.json', 'file'), ('notes', 'directory')]


def test_paths_info_takes_json(model):
    answer = model.ask('/paths-info/main', 'POST', values={'paths': ['config.json'], 'expand': True})
    assert answer.json[0]['lastCommit']['title'] == 'by path'


def test_expanded_paths_info_has_the_last_commit(model):
    assert _paths_info(model, ['notes/deep'], expand='True')[0]['lastCommit']['title'] == 'by path'


@pytest.mark.parametrize(
    ('values', 'status'), [({'paths': 'config.json'}, 200), ({'paths': [1]}, 400), ({'paths': {}}, 400), ({}, 200), ({'paths': ['x'] * 1001}, 413)]
)  # fmt: skip
def test_paths_info_refuses_what_it_cannot_read(model, values, status):
    assert model.ask('/paths-info/main', 'POST', values=values).status == status


def test_paths_info_refuses_too_many_fields(model):
    body = '&'.join(['paths=x'] * 3000)
    assert model.ask('/paths-info/main', 'POST', body=body).status == 413


# -- revisions


def test_branch_comes_before_a_tag_of_its_name(repo):
    old = _sha(repo, 'main')
    repo.git('tag', 'v1', old)
    new = repo.commit({'a': '1'}, ref='refs/heads/v1', start=old)
    assert repo.get('/revision/v1')['sha'] == new
    assert repo.get('/revision/refs%2Ftags%2Fv1')['sha'] == old


@pytest.mark.parametrize('packed', [False, True])
def test_every_name_of_a_commit_leads_to_it(repo, packed):
    head = repo.commit({'a': '1'}, ref='refs/heads/feat/x', start='refs/heads/main')
    repo.git('tag', '-a', '-m', 'one', 'v1', head)
    repo.git('update-ref', 'refs/pr/1', head)
    if packed:
        repo.git('pack-refs', '--all')
    for revision in ('feat/x', 'refs/heads/feat/x', 'v1', 'refs/tags/v1', 'refs/pr/1', head, head[:7]):
        assert repo.get(f'/revision/{quote(revision, safe="")}')['sha'] == head


@pytest.mark.parametrize(
    'revision',
    ['main@{0}', ':/initial', '--upload-pack=x', 'main^', 'main~1', 'main:README.md', '@', 'HEAD^{tree}', '..', '../../x', 'main\n', '-1', 'no', 'abcdef0', '0' * 40, 'a' * 5000, 'refs/heads', 'main/'],
)  # fmt: skip
@pytest.mark.parametrize(
    'what', ['/revision/{}', '/tree/{}', '/commits/{}', '/compare/{}..main', '/compare/main..{}']
)
def test_revision_that_names_nothing_is_not_found(repo, what, revision):
    answer = repo.ask(what.format(quote(revision, safe='')))
    assert (answer.status, answer.code) == (404, 'RevisionNotFound')


def test_blob_and_tree_are_no_revision(repo):
    for revision in ('main^{tree}', 'main:.gitattributes'):
        assert repo.ask(f'/revision/{_sha(repo, revision)}').code == 'RevisionNotFound'


def test_branch_that_moves_is_seen_at_once(repo):
    for i in range(3):
        commit = repo.commit({'a': str(i)})
        assert repo.get('/revision/main')['sha'] == commit


def test_repository_made_anew_shows_nothing_of_the_old_one(hub, repo):
    old = repo.commit({'secret.txt': 'x'})
    assert repo.ask(f'/tree/{old}').status == 200
    call(hub, 'DELETE', '/api/repos/delete', {'name': 'x', 'organization': 'local'})
    new = Repository(hub)
    assert new.ask(f'/tree/{old}').code == 'RevisionNotFound'
    assert [entry['path'] for entry in new.get('/tree/main')] == ['.gitattributes']


# -- what clients ask on the side


def test_client_is_told_that_no_harness_is_known(hub):
    assert call(hub, 'GET', '/api/agent-harnesses', token=None).json == {
        'standardEnvVars': [],
        'harnesses': {},
    }


def test_telemetry_is_taken_and_forgotten(hub):
    assert call(hub, 'HEAD', '/api/telemetry/some/topic', token=None).status == 204


# -- through the client


@pytest.fixture
def client(hub, tmp_path):
    with Client(hub, tmp_path / 'ada') as running:
        yield running


def test_client_reads_info_and_tree_of_an_odd_branch(client, repo):
    _commit_names(repo, NAMES)
    head = _sha(repo, 'main')
    repo.git('update-ref', 'refs/heads/feat/x#%', head)
    assert client.api.model_info(repo.repo_id, revision='feat/x#%', files_metadata=True).sha == head
    assert set(NAMES) == {*client.api.list_repo_files(repo.repo_id, revision='feat/x#%')}


def test_client_takes_every_field_it_may_ask_for(client, model):
    fields = ['author', 'cardData', 'safetensors', 'tags', 'transformersInfo', 'gguf', 'sha', 'siblings']
    info = client.api.model_info(model.repo_id, expand=fields)
    assert info.sha == _sha(model, 'main')
    assert info.card_data.license == 'mit'


def test_file_system_lists_with_last_commits(client, model):
    listed = client.fs.ls(f'{model.repo_id}/notes', detail=True, expand_info=True)
    assert {one['name'].rpartition('/')[2]: one['last_commit'].title for one in listed} == {
        'a.txt': 'by path',
        'deep': 'by path',
    }


def test_hub_object_reads_without_a_server(hub, repo):
    other = Hub(hub.root)
    try:
        found = other.bare(other.repositories.find('model', 'local', 'x'))
        assert found.commit('main') == _sha(repo, 'main')
    finally:
        other.close()


def test_a_whole_commit_id_is_that_commit_whatever_a_branch_is_called(hub):
    call(hub, 'POST', '/api/repos/create', {'name': 'pinned'})
    path = hub.root / 'models' / 'local' / 'pinned.git'
    first = commit_by_path(path, {'a.txt': 'one'})
    second = commit_by_path(path, {'a.txt': 'two'})
    git('update-ref', f'refs/heads/{first}', second, cwd=path)
    assert call(hub, 'GET', f'/api/models/local/pinned/revision/{first}').json['sha'] == first
