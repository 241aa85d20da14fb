"""Do files come down as they are: the bytes, their headers, and never more than was asked for or allowed?"""

from __future__ import annotations

import hashlib
import socket
import subprocess
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.support.clients import Client
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

WEIGHTS = bytes(range(256)) * 400
OID = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def repo(hub):
    """The path of the repository local/x: a text, a folder, and weights in LFS."""
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x'}).status == 200
    path = hub.root / 'models' / 'local' / 'x.git'
    stored = object_path(path)
    stored.parent.mkdir(parents=True)
    stored.write_bytes(WEIGHTS)
    commit_by_path(path, {'config.json': '{"a": 1}\n', 'notes/a.txt': 'a', 'model.bin': pointer(WEIGHTS)})
    return path


def object_path(repo, oid=OID):
    return repo / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid


def pointer(content):
    oid = hashlib.sha256(content).hexdigest()
    return f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(content)}\n'


def fast_import(repo, changes):
    head = b'commit refs/heads/main\ncommitter A <a@b> 1 +0000\ndata 0\nfrom refs/heads/main^0\n'
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=repo, input=head + changes, check=True)


def get(hub, path='config.json', *, revision='main', method='GET', word='resolve', **kwargs):
    return call(hub, method, f'/local/x/{word}/{revision}/{path}', **kwargs)


# -- what comes


def test_plain_file_comes_with_commit_and_blob_id(hub, repo):
    answer = get(hub)
    assert (answer.status, answer.body) == (200, b'{"a": 1}\n')
    assert answer.headers['X-Repo-Commit'] == git('rev-parse', 'main', cwd=repo)
    assert answer.headers['ETag'] == f'"{git("rev-parse", "main:config.json", cwd=repo)}"'
    assert answer.headers['Accept-Ranges'] == 'bytes'
    assert answer.headers['X-Linked-Etag'] is None


def test_lfs_file_comes_as_its_content(hub, repo):
    answer = get(hub, 'model.bin')
    assert answer.body == WEIGHTS
    assert answer.headers['ETag'] == answer.headers['X-Linked-Etag'] == f'"{OID}"'
    assert answer.headers['X-Linked-Size'] == str(len(WEIGHTS))


@pytest.mark.parametrize('path', ['config.json', 'model.bin'])
def test_head_says_what_get_says(hub, repo, path):
    head, whole = get(hub, path, method='HEAD'), get(hub, path)
    assert (head.status, head.body) == (200, b'')
    assert {**head.headers, 'date': ''} == {**whole.headers, 'date': ''}


def test_nothing_says_that_there_is_xet(hub, repo):
    assert [name for name in get(hub, 'model.bin').headers if 'xet' in name.lower() or name == 'Link'] == []


def test_raw_gives_the_pointer(hub, repo):
    answer = get(hub, 'model.bin', word='raw')
    assert answer.body.decode() == pointer(WEIGHTS)
    assert answer.headers['ETag'] == f'"{git("rev-parse", "main:model.bin", cwd=repo)}"'
    assert get(hub, 'model.bin', word='raw', method='HEAD').headers['Content-Length'] == str(len(answer.body))


def test_datasets_and_spaces_have_their_own_addresses(hub, repo):
    for kind in ('dataset', 'space'):
        call(hub, 'POST', '/api/repos/create', {'name': 'x', 'type': kind, 'sdk': 'static'})
        answer = call(hub, 'GET', f'/{kind}s/local/x/resolve/main/.gitattributes')
        assert answer.body.startswith(b'*.7z filter=lfs')
    assert call(hub, 'GET', '/models/local/x/resolve/main/config.json').status == 200


def test_empty_files_come_empty(hub, repo):
    empty = f'version https://git-lfs.github.com/spec/v1\noid sha256:{hashlib.sha256().hexdigest()}\nsize 0\n'
    commit_by_path(repo, {'empty.txt': '', 'empty.bin': empty})
    assert get(hub, 'empty.txt').body == get(hub, 'empty.bin').body == b''


def test_large_plain_file_comes_whole(hub, repo):
    content = b'0123456789abcdef' * (1024 * 1024 + 1)
    fast_import(repo, b'M 100644 inline large.txt\ndata %d\n%s\n' % (len(content), content))
    answer = get(hub, 'large.txt')
    assert answer.headers['Content-Length'] == str(len(content))
    assert answer.body == content


def test_who_hangs_up_in_a_large_file_harms_nobody(hub, repo):
    content = b'0123456789abcdef' * (1024 * 1024 + 1)
    fast_import(repo, b'M 100644 inline large.txt\ndata %d\n%s\n' % (len(content), content))
    with socket.create_connection(
        (urlsplit(hub.endpoint).hostname, urlsplit(hub.endpoint).port)
    ) as connection:
        connection.sendall(b'GET /local/x/resolve/main/large.txt HTTP/1.1\r\nHost: localhost\r\n\r\n')
        assert connection.recv(1000).startswith(b'HTTP/1.1 200')
    assert get(hub, 'large.txt').body == content
    assert get(hub).body == b'{"a": 1}\n'


# -- parts, and what one has already


@pytest.mark.parametrize(('path', 'content'), [('config.json', b'{"a": 1}\n'), ('model.bin', WEIGHTS)])
def test_range_is_answered_with_that_part(hub, repo, path, content):
    answer = get(hub, path, headers={'Range': 'bytes=2-5'})
    assert (answer.status, answer.body) == (206, content[2:6])
    assert answer.headers['Content-Range'] == f'bytes 2-5/{len(content)}'
    assert answer.headers['X-Repo-Commit'] == git('rev-parse', 'main', cwd=repo)


@pytest.mark.parametrize(('path', 'size'), [('config.json', 9), ('model.bin', len(WEIGHTS))])
def test_range_beyond_the_end_is_refused(hub, repo, path, size):
    answer = get(hub, path, headers={'Range': f'bytes={size}-'})
    assert (answer.status, answer.body) == (416, b'')
    assert answer.headers['Content-Range'] == f'bytes */{size}'


@pytest.mark.parametrize('path', ['config.json', 'model.bin'])
def test_who_has_it_is_told_so(hub, repo, path):
    etag = get(hub, path).headers['ETag']
    answer = get(hub, path, headers={'If-None-Match': etag})
    assert (answer.status, answer.body) == (304, b'')
    assert answer.headers['X-Repo-Commit'] == git('rev-parse', 'main', cwd=repo)


# -- what a browser makes of it


@pytest.mark.parametrize(
    'path', ['page.html', 'image.svg', 'paper.pdf', 'data.xml', 'code.js', 'page.HTM', 'x.xhtml']
)
@pytest.mark.parametrize('word', ['resolve', 'raw'])
def test_browser_runs_nothing_of_a_repository(hub, repo, path, word):
    commit_by_path(repo, {path: '<script>alert(1)</script>'})
    for method in ('GET', 'HEAD'):
        answer = get(hub, path, method=method, word=word)
        assert answer.headers['Content-Type'] == 'text/plain; charset=utf-8'
        assert answer.headers['X-Content-Type-Options'] == 'nosniff'
        assert 'sandbox' in answer.headers['Content-Security-Policy']


def test_browser_runs_nothing_of_an_lfs_file(hub, repo):
    commit_by_path(repo, {'page.html': pointer(WEIGHTS)})
    answer = get(hub, 'page.html')
    assert answer.headers['Content-Type'] == 'application/octet-stream'
    assert answer.headers['X-Content-Type-Options'] == 'nosniff'


@pytest.mark.parametrize(
    ('path', 'content', 'kind'),
    [
        ('LICENSE', b'free', 'text/plain; charset=utf-8'),
        ('data', b'\x00\x01', 'application/octet-stream'),
        ('plot.PNG', b'\x89PNG', 'image/png'),
        ('long.txt', b'x' * 2_000_000, 'application/octet-stream'),
    ],
)
def test_type_follows_from_content_and_harmless_endings(hub, repo, path, content, kind):
    fast_import(repo, b'M 100644 inline %s\ndata %d\n%s\n' % (path.encode(), len(content), content))
    assert get(hub, path).headers['Content-Type'] == kind


def test_download_is_saved_not_shown(hub, repo):
    assert get(hub).headers['Content-Disposition'].startswith('inline;')
    shown = get(hub, 'config.json?download=true').headers['Content-Disposition']
    assert shown == 'attachment; filename*=UTF-8\'\'config.json; filename="config.json";'


# -- names


NAMES = (
    'with space.txt',
    'ünï/côdé.txt',
    '100%.txt',
    'a#b?c',
    '%2e%2e',
    '"quo\'ted"',
    '名前',
    'a+b',
    'x;y',
    '-rf',
)


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('slash', ['/', ''])
def test_file_of_any_name_comes(hub, repo, name, slash):
    quoted = '"' + name.replace('\\', '\\\\').replace('"', '\\"') + '"'
    fast_import(repo, f'M 100644 inline {quoted}\ndata 2\nhi\n'.encode())
    answer = get(hub, quote(name, safe=slash))
    assert (answer.status, answer.body) == (200, b'hi')
    last = name.rpartition('/')[2]
    assert f"filename*=UTF-8''{quote(last, safe='')};" in answer.headers['Content-Disposition']


def test_line_end_in_a_name_does_not_reach_the_headers(hub, repo):
    fast_import(repo, b'M 100644 inline "a\\nSet-Cookie: x=y"\ndata 2\nhi\n')
    answer = get(hub, 'a%0ASet-Cookie%3A%20x%3Dy')
    assert answer.body == b'hi'
    assert 'Set-Cookie' not in answer.headers


def test_symbolic_link_comes_as_its_text(hub, repo):
    fast_import(repo, b'M 120000 inline link\ndata 11\n/etc/passwd\nM 120000 inline up\ndata 5\n../..\n')
    assert get(hub, 'link').body == b'/etc/passwd'
    assert get(hub, 'up/HEAD').code == 'EntryNotFound'


def test_symbolic_link_that_looks_like_a_pointer_is_no_object(hub, repo):
    text = pointer(WEIGHTS).encode()
    fast_import(repo, b'M 120000 inline link\ndata %d\n%s\n' % (len(text), text))
    assert get(hub, 'link').body == text


@pytest.mark.parametrize(
    'path',
    ['nothing', 'notes', 'notes/', 'config.json/x', '../config.json', 'notes/../config.json', '..%2f..%2fHEAD', '%2e%2e/%2e%2e/HEAD', '%2e%2e%2fHEAD', '..%252fHEAD', './config.json', '%2fetc%2fpasswd', 'notes%2f%2fa.txt', 'a' * 5000, '.git/config', 'HEAD', 'hub.json'],
)  # fmt: skip
@pytest.mark.parametrize('word', ['resolve', 'raw'])
def test_what_is_not_in_the_commit_is_not_found(hub, repo, path, word):
    answer = get(hub, path, word=word)
    assert (answer.status, answer.code) == (404, 'EntryNotFound')
    assert answer.headers['X-Repo-Commit'] == git('rev-parse', 'main', cwd=repo)


def test_head_tells_of_a_missing_file_in_its_headers(hub, repo):
    answer = get(hub, 'nothing', method='HEAD')
    assert (answer.status, answer.code, answer.body) == (404, 'EntryNotFound', b'')


@pytest.mark.parametrize(
    'revision', ['no', 'main@{0}', ':/by', 'main^', 'main~1', '--output=x', '..', '0' * 40]
)
def test_revision_that_names_nothing_is_not_found(hub, repo, revision):
    answer = get(hub, revision=quote(revision, safe=''))
    assert (answer.status, answer.code) == (404, 'RevisionNotFound')


def test_path_that_is_no_text_is_refused(hub, repo):
    assert get(hub, '%ff').status == 400
    assert get(hub, 'a%00b').status == 400


def test_pointer_without_its_object_is_not_found_and_not_remembered(hub, repo):
    object_path(repo).unlink()
    answer = get(hub, 'model.bin')
    assert (answer.status, answer.code) == (404, 'EntryNotFound')
    assert OID in answer.json['error']
    assert answer.headers['X-Repo-Commit'] is None


def test_object_of_another_size_is_not_served(hub, repo):
    object_path(repo).write_bytes(WEIGHTS[:-1])
    assert get(hub, 'model.bin').status == get(hub, 'model.bin', method='HEAD').status == 404


# -- who may


def test_private_files_are_missing_to_strangers(hub, repo):
    call(hub, 'PUT', '/api/models/local/x/settings', {'private': True})
    stranger, nobody = get(hub, token=new_user(hub, 'bob')), get(hub, token=None)
    assert (stranger.status, stranger.code) == (404, 'RepoNotFound')
    assert (nobody.status, nobody.code) == (401, 'RepoNotFound')
    assert get(hub).status == 200
    assert get(hub, token=new_user(hub, 'local', 'read')).status == 200


def test_wrong_token_is_refused(hub, repo):
    assert get(hub, token='hf_wrong').status == 401


@pytest.mark.parametrize('method', ['PUT', 'POST', 'DELETE'])
def test_files_are_not_written_this_way(hub, repo, method):
    assert get(hub, method=method).status == 405


def test_renamed_repository_leads_on(hub, repo):
    call(hub, 'POST', '/api/repos/move', {'fromRepo': 'local/x', 'toRepo': 'local/y', 'type': 'model'})
    answer = get(hub, 'notes%2Fa.txt?download=true')
    assert answer.status == 307
    assert answer.headers['Location'].endswith('/local/y/resolve/main/notes%2Fa.txt?download=true')


# -- through the client


@pytest.fixture
def client(hub, tmp_path):
    with Client(hub, tmp_path / 'ada') as running:
        yield running


def test_snapshot_of_what_was_pushed_by_path_is_the_folder(mirror, folder, client):
    mirror.push(folder, '--tag', 'v1.0.0')
    got = Path(client.api.snapshot_download(mirror.repo, revision='v1.0.0'))
    for path in ('config.json', 'model.bin', 'notes/training.txt'):
        assert (got / path).read_bytes() == (folder.path / path).read_bytes()


def test_download_is_found_in_the_cache_under_its_etag(client, repo):
    path = Path(client.api.hf_hub_download('local/x', 'model.bin'))
    assert path.read_bytes() == WEIGHTS
    assert path.resolve().name == OID


def test_file_system_reads_a_part(client, repo):
    assert client.fs.cat_file('local/x/model.bin', start=100, end=300) == WEIGHTS[100:300]


def test_pushed_with_git_lfs_comes_down_with_the_client(hub, repo, client, tmp_path):
    work = tmp_path / 'work'
    git('clone', '-q', repo, work)
    git('lfs', 'install', '--local', cwd=work)
    (work / 'more.safetensors').write_bytes(WEIGHTS * 2)
    git('add', '.', cwd=work)
    git('commit', '-q', '-m', 'more', cwd=work)
    git('push', '-q', 'origin', 'main', cwd=work)
    assert Path(client.api.hf_hub_download('local/x', 'more.safetensors')).read_bytes() == WEIGHTS * 2
