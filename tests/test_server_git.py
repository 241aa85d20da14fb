"""git clones, fetches and pushes over HTTP; what must not come in stays out; whoever hangs up leaves nothing behind."""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hfmirror import lfs
from hfmirror.server import RunningHub, running_hub
from hfmirror.server.git import githttp
from hfmirror.server.git.objects import COMMIT_MAX, TREE_MAX
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.tokens import NewToken
from tests.support.mirror import git
from tests.support.rest import call

ZEROS = '0' * 40
UPLOAD, RECEIVE = 'git-upload-pack', 'git-receive-pack'


@pytest.fixture
def repo(hub):
    """The public repository local/bert, without a commit."""
    return hub.hub.repositories.create('model', 'local/bert', {})


@pytest.fixture
def work(hub, repo, tmp_path):
    """A clone of it with one commit, pushed; the user ``local``."""
    clone = Clone(tmp_path / 'work', hub, repo)
    clone.commit({'README.md': '---\nlicense: mit\n---\n# Bert\n', 'config.json': '{}\n'})
    clone.git('push', '-q', 'origin', 'main')
    return clone


class Clone:
    """A work tree whose remote ``origin`` is the repository of the Hub."""

    def __init__(self, path, hub, repo, *, token=None, clone=False):
        self.path, self.hub, self.repo = path, hub, repo
        self.url = f'{hub.endpoint}/{repo.web_path}'
        if clone:
            git(*asking(token or hub.token), 'clone', '-q', self.url, path)
        else:
            git('init', '-q', '-b', 'main', path)
            self.git('remote', 'add', 'origin', self.url)
        self.git('config', 'http.extraHeader', header(token or hub.token))

    def git(self, *args):
        return git(*args, cwd=self.path)

    def commit(self, files, message='change'):
        for name, content in files.items():
            path = self.path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        self.git('add', '-A')
        self.git('commit', '-q', '--allow-empty', '-m', message)
        return self.git('rev-parse', 'HEAD')

    def refused(self, *args):
        """Return what git says about a push that is refused."""
        done = subprocess.run(
            ['git', 'push', 'origin', *args], cwd=self.path, capture_output=True, text=True, check=False
        )
        assert done.returncode != 0, done.stderr
        return done.stderr

    def remote(self, *args):
        """Run git in the repository itself."""
        return git(*args, cwd=self.repo.path)


def header(token):
    return f'Authorization: Bearer {token}'


def asking(token):
    return ('-c', f'http.extraHeader={header(token)}')


def fails(*args, cwd=None):
    done = subprocess.run(['git', *map(str, args)], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode != 0, done.stdout
    return done.stderr


def told(*args, stdin, cwd):
    """Run git with an input and return what it prints."""
    done = subprocess.run(['git', *args], cwd=cwd, input=stdin, capture_output=True, check=True)
    return done.stdout


def packet(text):
    return b'%04x' % (len(text) + 4) + text


def packed(clone, *revisions):
    """Return a pack with all that leads to these revisions."""
    return told(
        'pack-objects', '-q', '--revs', '--stdout', cwd=clone.path, stdin='\n'.join(revisions).encode()
    )


def moving(old, new, ref, capabilities=b'report-status'):
    return packet(f'{old} {new} {ref}'.encode() + b'\0' + capabilities) + b'0000'


def request(hub, method, path, body=None, *, token=None, **headers):
    """Send one request as no git would; names of headers with ``_`` for ``-``."""
    sent = {name.replace('_', '-'): value for name, value in headers.items()}
    return call(hub, method, path, token=token, body=body, headers=sent)


def post(hub, path, body, *, token=None, **headers):
    service = path.rpartition('/')[2]
    kind = f'application/x-{service}-request'
    return request(hub, 'POST', path, body, token=token, **{'Content_Type': kind, **headers})


def fetched(hub, path, body, **headers):
    return post(hub, f'{path}/{UPLOAD}', body, **headers)


def until(is_true, what):
    """Wait for what another process does; nothing tells when it has."""
    ends = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < ends, f'{what}, after 20 s'
        os.sched_yield()


def processes(repo):
    """Return the git processes that serve the repository."""
    found = []
    for path in Path('/proc').glob('[0-9]*/cmdline'):
        try:
            words = path.read_bytes().split(b'\0')
        except OSError:
            continue
        if os.fsencode(repo.path) in words:
            found.append(words)
    return found


def incoming(repo):
    return [path.name for path in (repo.path / 'objects').glob('*incoming*')]


# -- clone and fetch


def test_a_clone_has_the_commits_and_tags(hub, work, tmp_path):
    work.git('tag', '-a', 'v1.0.0', '-m', 'first')
    work.git('push', '-q', 'origin', 'v1.0.0')
    git('clone', '-q', work.url, tmp_path / 'other')
    assert git('describe', cwd=tmp_path / 'other') == 'v1.0.0'


@pytest.mark.parametrize('ending', ['', '.git'])
@pytest.mark.parametrize('repo_type', ['model', 'dataset', 'space'])
def test_every_kind_of_repository_is_cloned_with_and_without_git_at_its_end(hub, tmp_path, repo_type, ending):
    repo = hub.hub.repositories.create(repo_type, 'local/same', {})
    made = Clone(tmp_path / 'made', hub, repo)
    made.commit({'kind.txt': repo_type})
    made.git('push', '-q', 'origin', 'main')
    git('clone', '-q', made.url + ending, tmp_path / 'other')
    assert (tmp_path / 'other' / 'kind.txt').read_text() == repo_type


@pytest.mark.parametrize('version', ['0', '1', '2'])
def test_each_version_of_the_protocol_is_spoken(work, tmp_path, version):
    git('-c', f'protocol.version={version}', 'clone', '-q', work.url, tmp_path / 'other')
    assert git('rev-parse', 'HEAD', cwd=tmp_path / 'other') == work.remote('rev-parse', 'main')


def test_an_empty_repository_is_cloned_with_its_branch(hub, repo, tmp_path):
    clone = Clone(tmp_path / 'other', hub, repo, clone=True)
    assert clone.git('symbolic-ref', 'HEAD') == 'refs/heads/main'


def test_a_shallow_clone_has_one_commit_and_can_be_deepened_and_pushed_from(hub, work, tmp_path):
    work.commit({'a.txt': 'more\n'})
    work.git('push', '-q', 'origin', 'main')
    git('clone', '-q', '--depth=1', work.url, tmp_path / 'shallow')
    shallow = Clone.__new__(Clone)
    shallow.path, shallow.repo = tmp_path / 'shallow', work.repo
    assert shallow.git('rev-list', '--count', 'HEAD') == '1'
    shallow.git('config', 'http.extraHeader', header(hub.token))
    shallow.commit({'b.txt': 'from the shallow one\n'})
    shallow.git('push', '-q', 'origin', 'main')
    shallow.git('fetch', '-q', '--unshallow')
    assert shallow.git('rev-list', '--count', 'HEAD') == '3'
    assert work.remote('rev-parse', 'main') == shallow.git('rev-parse', 'HEAD')


def test_a_clone_without_files_fetches_them_when_they_are_needed_and_asks_gzipped(
    work, tmp_path, monkeypatch
):
    work.commit({f'{number}.txt': f'{number}\n' for number in range(100)})
    work.git('push', '-q', 'origin', 'main')
    git('clone', '-q', '--filter=blob:none', '--no-checkout', work.url, tmp_path / 'partial')
    missing = git('rev-list', '--objects', '--all', '--missing=print', cwd=tmp_path / 'partial')
    assert missing.count('?') == 102
    trace = tmp_path / 'trace'
    monkeypatch.setenv('GIT_TRACE_CURL', str(trace))
    git('checkout', '-q', 'main', cwd=tmp_path / 'partial')
    assert (tmp_path / 'partial' / '99.txt').read_text() == '99\n'
    assert 'Content-Encoding: gzip' in trace.read_text()


def test_a_fetch_gets_what_is_new(hub, work, tmp_path):
    other = Clone(tmp_path / 'other', hub, work.repo, clone=True)
    new = work.commit({'a.txt': 'new\n'})
    work.git('push', '-q', 'origin', 'main')
    other.git('pull', '-q')
    assert other.git('rev-parse', 'HEAD') == new


@pytest.mark.heavy
def test_what_was_pushed_by_path_is_cloned_over_http(hub, tmp_path, mirror, folder):
    mirror.home = hub.root.parent
    mirror.push(folder, '--tag', 'v1.0.0')
    git('-c', 'filter.lfs.smudge=', 'clone', '-q', f'{hub.endpoint}/{mirror.repo}', tmp_path / 'other')
    assert git('describe', cwd=tmp_path / 'other') == 'v1.0.0'


def test_what_was_pushed_over_http_is_cloned_by_path(work, tmp_path):
    git('clone', '-q', work.repo.path, tmp_path / 'other')
    assert (tmp_path / 'other' / 'config.json').read_text() == '{}\n'


def test_a_renamed_repository_is_found_under_its_old_name(hub, work, tmp_path):
    hub.hub.repositories.move(work.repo, 'local/other-name')
    git('clone', '-q', work.url, tmp_path / 'other')
    assert (tmp_path / 'other' / 'config.json').exists()


def test_our_own_refs_are_not_shown(work):
    work.remote('update-ref', 'refs/hfmirror/tmp', 'main')
    assert 'refs/hfmirror' not in work.git('ls-remote', 'origin')


# -- push


def test_a_pushed_commit_is_there(work):
    assert work.remote('rev-parse', 'main') == work.git('rev-parse', 'HEAD')


@pytest.mark.heavy
def test_a_push_of_ten_thousand_files_takes_seconds(work):
    work.commit({f'{number % 100}/{number}.txt': f'file {number}\n' for number in range(10_000)})
    started = time.monotonic()
    work.git('push', '-q', 'origin', 'main')
    assert time.monotonic() - started < 10


def test_a_branch_is_made_moved_by_force_and_deleted(work):
    work.git('push', '-q', 'origin', 'main:dev')
    other = work.git('commit-tree', 'HEAD^{tree}', '-m', 'without a parent')
    work.git('push', '-q', '--force', 'origin', f'{other}:dev')
    assert work.remote('rev-parse', 'dev') == other
    work.git('push', '-q', 'origin', ':dev')
    assert work.remote('for-each-ref', '--format=%(refname)') == 'refs/heads/main'


def test_main_cannot_be_deleted(work):
    assert 'remote: Cannot delete refs/heads/main branch' in work.refused(':main')
    assert work.remote('rev-parse', 'main') == work.git('rev-parse', 'HEAD')


def test_main_cannot_be_deleted_when_it_is_not_the_default(work):
    work.git('push', '-q', 'origin', 'main:dev')
    work.remote('symbolic-ref', 'HEAD', 'refs/heads/dev')
    assert 'remote: Cannot delete refs/heads/main branch' in work.refused(':main')


def test_a_pull_request_is_pushed_to(work):
    work.git('push', '-q', 'origin', 'main:refs/pr/1')
    assert work.remote('rev-parse', 'refs/pr/1') == work.git('rev-parse', 'HEAD')


def test_other_refs_are_not_pushed_to(work):
    assert 'remote: refs/notes/x: only branches, tags and pull requests' in work.refused('main:refs/notes/x')


def test_our_own_refs_are_not_pushed_to(work):
    assert 'rejected' in work.refused('main:refs/hfmirror/x')


def test_an_atomic_push_is_all_or_nothing(work):
    work.git('push', '-q', 'origin', 'main:dev')
    work.git('checkout', '-q', '--orphan', 'unrelated')
    work.commit({'a.txt': 'x'})
    before = work.remote('for-each-ref')
    work.refused('--atomic', 'unrelated:dev', 'unrelated:new')
    assert work.remote('for-each-ref') == before


def test_a_commit_and_its_tag_are_pushed_at_once(work):
    work.commit({'a.txt': 'x'})
    work.git('tag', '-a', 'v1.0.0', '-m', 'first')
    work.git('push', '-q', '--atomic', 'origin', 'main', 'v1.0.0')
    assert work.remote('rev-parse', 'v1.0.0^{commit}') == work.git('rev-parse', 'HEAD')


@pytest.mark.heavy
def test_a_push_larger_than_the_clients_buffer_comes_in_chunks(work, tmp_path, monkeypatch):
    trace = tmp_path / 'trace'
    text = base64.b64encode(os.urandom(3 * 2**20))
    work.commit({'large.txt': text})
    monkeypatch.setenv('GIT_TRACE_CURL', str(trace))
    work.git('push', '-q', 'origin', 'main')
    assert 'Transfer-Encoding: chunked' in trace.read_text('latin-1')
    assert work.remote('rev-parse', 'main') == work.git('rev-parse', 'HEAD')


def test_two_pushes_to_two_branches_at_once_both_succeed(hub, work, tmp_path):
    other = Clone(tmp_path / 'other', hub, work.repo, clone=True)
    work.commit({'a.txt': 'a' * 100_000})
    other.commit({'b.txt': 'b' * 100_000})
    pushes = [
        subprocess.Popen(['git', 'push', '-q', 'origin', f'main:{name}'], cwd=clone.path)
        for clone, name in ((work, 'one'), (other, 'two'))
    ]
    assert [push.wait() for push in pushes] == [0, 0]
    work.remote('fsck', '--full', '--strict')


def test_of_two_pushes_to_one_branch_at_once_one_succeeds(hub, work, tmp_path):
    other = Clone(tmp_path / 'other', hub, work.repo, clone=True)
    tips = [work.commit({'a.txt': 'a'}), other.commit({'b.txt': 'b'})]
    pushes = [
        subprocess.Popen(['git', 'push', '-q', 'origin', 'main'], cwd=clone.path, stderr=subprocess.DEVNULL)
        for clone in (work, other)
    ]
    codes = [push.wait() for push in pushes]
    assert sorted(map(bool, codes)) == [False, True]
    assert work.remote('rev-parse', 'main') == tips[codes.index(0)]


def test_a_hook_in_the_repository_is_not_run(work, tmp_path):
    hooks = work.repo.path / 'hooks'
    hooks.mkdir()
    for name in ('pre-receive', 'update', 'post-receive', 'post-update', 'reference-transaction'):
        (hooks / name).write_text(f'#!/bin/sh\necho ran >{tmp_path}/ran\nexit 1\n')
        (hooks / name).chmod(0o755)
    work.remote('config', 'core.hooksPath', str(hooks))
    work.remote('config', 'core.alternateRefsCommand', f'echo ran >{tmp_path}/ran')
    (work.repo.path / 'objects' / 'info').mkdir(exist_ok=True)
    (work.repo.path / 'objects' / 'info' / 'alternates').write_text(f'{work.path}/.git/objects\n')
    work.commit({'a.txt': 'x'})
    work.git('push', '-q', 'origin', 'main')
    assert not (tmp_path / 'ran').exists()


def test_no_push_comes_in_when_it_cannot_be_checked(work, tmp_path, monkeypatch):
    hooks = tmp_path / 'hooks'
    hooks.mkdir()
    (hooks / 'pre-receive').write_text('#!/bin/sh\nexit 0\n')
    monkeypatch.setattr(githttp, '_HOOKS', hooks)
    work.commit({'a.bin': b'\0'})
    assert 'remote: This server cannot check what is pushed' in work.refused('main')
    assert work.remote('rev-list', '--count', 'main') == '1'


# -- what must not come in


def test_a_large_plain_file_is_refused(work):
    work.commit({'big.txt': b'x' * (lfs.LFS_FROM + 1)})
    said = work.refused('main')
    assert 'remote: Your push was rejected because it contains files larger than 10 MiB.' in said
    assert 'remote:   - big.txt (ref: refs/heads/main)' in said
    assert '! [remote rejected] main -> main (pre-receive hook declined)' in said


def test_a_plain_file_of_just_the_limit_is_taken(work):
    work.commit({'big.txt': b'x' * lfs.LFS_FROM})
    work.git('push', '-q', 'origin', 'main')


def test_a_large_file_of_an_older_commit_is_refused(work):
    work.commit({'big.txt': b'x' * (lfs.LFS_FROM + 1)})
    work.git('rm', '-q', 'big.txt')
    work.commit({})
    assert 'remote:   - big.txt (ref: refs/heads/main)' in work.refused('main')


def test_nothing_of_a_refused_push_stays(work):
    work.commit({'a.bin': b'\0\1'})
    oid = work.git('rev-parse', 'HEAD:a.bin')
    work.refused('main')
    assert fails('cat-file', '-t', oid, cwd=work.repo.path)
    assert incoming(work.repo) == []


def test_a_binary_file_is_refused(work):
    work.commit({'demo/a.mp4': b'\0\1', 'b.txt': 'text'})
    said = work.refused('main')
    assert 'remote: Your push was rejected because it contains binary files.' in said
    assert said.count('(ref: refs/heads/main)') == 1
    assert 'remote:   - demo/a.mp4 (ref: refs/heads/main)' in said


def test_of_several_refs_the_one_with_the_file_is_named(work):
    work.git('tag', 'clean')
    work.git('checkout', '-q', '-b', 'dev')
    work.commit({'a.bin': b'\0\1'})
    assert 'remote:   - a.bin (ref: refs/heads/dev)' in work.refused('clean', 'main', 'dev')


def test_a_binary_file_reached_by_a_tag_alone_is_refused(work):
    blob = told('hash-object', '-w', '--stdin', cwd=work.path, stdin=b'\0\1').decode().strip()
    work.git('tag', 'odd', blob)
    assert 'binary files' in work.refused('odd')


def test_empty_files_symbolic_links_and_submodules_are_taken(work):
    (work.path / 'link').symlink_to('config.json')
    work.git('update-index', '--add', '--cacheinfo', f'160000,{"12" * 20},module')
    work.commit({'empty.bin': b''})
    work.git('push', '-q', 'origin', 'main')
    assert 'link' in work.remote('ls-tree', '--name-only', 'main')


def test_a_pointer_without_its_object_is_refused(work):
    work.commit({'model.bin': lfs.Pointer('ab' * 32, 12).text})
    said = work.refused('main')
    assert (
        'remote: Your push was rejected because an LFS pointer pointed to a file that does not exist.' in said
    )
    assert 'remote:   - model.bin' in said


def _keep_object(repo, oid, content):
    path = repo.objects / 'objects' / oid[:2] / oid[2:4] / oid
    path.parent.mkdir(parents=True)
    path.write_bytes(content)


def test_a_pointer_with_another_size_than_its_object_is_refused(work):
    _keep_object(work.repo, 'ab' * 32, b'x' * 11)
    work.commit({'model.bin': lfs.Pointer('ab' * 32, 12).text})
    assert 'LFS pointer' in work.refused('main')


def test_a_pointer_with_its_object_is_taken(work):
    _keep_object(work.repo, 'ab' * 32, b'x' * 12)
    work.commit({'model.bin': lfs.Pointer('ab' * 32, 12).text})
    work.git('push', '-q', 'origin', 'main')


def test_invalid_metadata_is_refused(work):
    work.commit({'README.md': '---\nlicense: mit\nlanguage: english\n---\n'})
    said = work.refused('main')
    assert 'remote: Sorry, your push was rejected during YAML metadata verification:' in said
    assert 'remote:  - Error: "language"' in said


def test_invalid_metadata_of_an_older_commit_is_taken(work):
    work.commit({'README.md': '---\nlanguage: english\n---\n'})
    work.commit({'README.md': '---\nlanguage: en\n---\n'})
    work.git('push', '-q', 'origin', 'main')


def test_invalid_metadata_that_was_there_before_is_no_reason_to_refuse_another_file(work):
    work.commit({'README.md': '---\nlanguage: english\n---\n'})
    git('push', '-q', work.repo.path, 'main', cwd=work.path)
    work.commit({'a.txt': 'x'})
    work.git('push', '-q', 'origin', 'main', 'main:new')


def test_a_card_is_read_as_one_of_the_repositorys_kind(hub, tmp_path):
    repo = hub.hub.repositories.create('dataset', 'local/data', {})
    clone = Clone(tmp_path / 'data', hub, repo)
    clone.commit({'README.md': '---\nconfigs: 3\n---\n'})
    assert 'remote:  - Error: "configs"' in clone.refused('main')


def test_all_that_is_wrong_is_said_at_once(work):
    work.commit(
        {'big.txt': b'x' * (lfs.LFS_FROM + 1), 'a.bin': b'\0', 'README.md': '---\nlanguage: english\n---\n'}
    )
    said = work.refused('main')
    assert [word in said for word in ('10 MiB', 'binary files', 'YAML metadata')] == [True] * 3


def test_a_smaller_limit_is_the_one_that_counts(tmp_path):
    with running_hub(tmp_path / 'strict', max_file_size=1000) as hub:
        repo = hub.hub.repositories.create('model', 'local/bert', {})
        clone = Clone(tmp_path / 'work', hub, repo)
        clone.commit({'a.txt': 'x' * 1001})
        assert 'files larger than 1000 bytes' in clone.refused('main')


def test_a_tree_that_leads_out_of_a_checkout_is_refused(work):
    blob = work.git('rev-parse', 'HEAD:config.json')
    entry = b'100644 ..\0' + bytes.fromhex(blob)
    tree = told('hash-object', '-t', 'tree', '-w', '--literally', '--stdin', cwd=work.path, stdin=entry)
    work.git('update-ref', 'refs/heads/bad', work.git('commit-tree', tree.decode().strip(), '-m', 'out'))
    assert 'rejected' in work.refused('bad')


LONG = 'x' * (COMMIT_MAX + 1)


def test_a_commit_with_a_message_that_is_too_long_is_refused(work):
    (work.path / 'message').write_text(LONG)
    work.git('commit', '-q', '--allow-empty', '-F', 'message')
    work.commit({'a.txt': 'x'})
    said = work.refused('main')
    assert (
        'remote: Your push was rejected because it contains a commit, tag or folder that is too large.'
        in said
    )
    assert f'remote:   - commit {work.git("rev-parse", "main~1")} (ref: refs/heads/main)' in said


def test_a_tag_with_a_message_that_is_too_long_is_refused(work):
    (work.path / 'message').write_text(LONG)
    work.git('tag', '-a', 'v1.0.0', '-F', 'message')
    said = work.refused('v1.0.0')
    assert f'remote:   - tag {work.git("rev-parse", "v1.0.0")} (ref: refs/tags/v1.0.0)' in said


@pytest.mark.heavy
def test_a_folder_of_too_many_files_is_refused(work):
    blob = work.git('rev-parse', 'HEAD:config.json')
    number = TREE_MAX // 256
    rows = b''.join(b'100644 blob %s\t%s%07d\0' % (blob.encode(), b'n' * 240, n) for n in range(number))
    tree = told('mktree', '-z', cwd=work.path, stdin=rows).decode().strip()
    commit = work.git('commit-tree', '-p', 'HEAD', '-m', 'many', tree)
    assert f'remote:   - tree {tree} (ref: refs/heads/many)' in work.refused(f'{commit}:refs/heads/many')


# -- who may


@pytest.fixture
def private(hub, tmp_path):
    """The private repository local/secret with one commit."""
    repo = hub.hub.repositories.create('model', 'local/secret', {'private': True})
    clone = Clone(tmp_path / 'secret', hub, repo)
    clone.commit({'a.txt': 'secret\n'})
    clone.git('push', '-q', 'origin', 'main')
    return clone


@pytest.fixture
def stranger(hub):
    hub.hub.tokens.add(NewToken('eve', 'write', 'eve-has-a-token'))
    return 'eve-has-a-token'


@pytest.fixture
def reader(hub):
    hub.hub.tokens.add(NewToken('local', 'read', 'local-may-read'))
    return 'local-may-read'


ADDRESSES = [
    ('GET', f'info/refs?service={UPLOAD}'),
    ('GET', f'info/refs?service={RECEIVE}'),
    ('POST', UPLOAD),
    ('POST', RECEIVE),
]


@pytest.mark.parametrize(('method', 'what'), ADDRESSES)
def test_nobody_is_asked_who_they_are_by_a_private_repository(hub, private, method, what):
    answer = request(hub, method, f'/local/secret.git/{what}')
    assert (answer.status, answer.headers['WWW-Authenticate']) == (401, 'Basic realm="hfmirror"')


@pytest.mark.parametrize(('method', 'what'), ADDRESSES)
@pytest.mark.parametrize(
    'name', ['local/secret.git', 'local/none.git', 'datasets/local/secret.git', 'x/..%2Fsecret']
)
def test_to_a_stranger_a_private_repository_is_not_there(hub, private, stranger, method, what, name):
    assert request(hub, method, f'/{name}/{what}', token=stranger).status == 404


@pytest.mark.parametrize(('method', 'what'), ADDRESSES)
def test_a_token_of_nobody_is_refused_by_a_public_repository_too(hub, repo, method, what):
    assert request(hub, method, f'/local/bert.git/{what}', token='nobody-has-this').status == 401


@pytest.mark.parametrize(('method', 'what'), [one for one in ADDRESSES if RECEIVE in one[1]])
def test_nobody_is_asked_who_they_are_before_a_push(hub, repo, method, what):
    assert request(hub, method, f'/local/bert.git/{what}').status == 401


@pytest.mark.parametrize(('method', 'what'), [one for one in ADDRESSES if RECEIVE in one[1]])
def test_a_read_token_may_not_push(hub, repo, reader, method, what):
    answer = request(hub, method, f'/local/bert.git/{what}', token=reader)
    assert (answer.status, answer.headers['Content-Type']) == (403, 'text/plain; charset=utf-8')
    assert answer.body == b'The token of local is for reading only\n'


def test_git_shows_why_a_read_token_may_not_push(work, reader):
    work.git('config', 'http.extraHeader', header(reader))
    assert 'remote: The token of local is for reading only' in work.refused('main:dev')


def test_a_stranger_may_not_push_to_a_public_repository(work, stranger):
    work.git('config', 'http.extraHeader', header(stranger))
    assert 'remote: eve may not write to local' in work.refused('main:dev')


def test_git_finds_no_private_repository_for_a_stranger(private, stranger, tmp_path):
    assert 'not found' in fails(*asking(stranger), 'clone', private.url, tmp_path / 'other')


def test_a_read_token_of_its_owner_clones_a_private_repository(private, reader, tmp_path):
    git(*asking(reader), 'clone', '-q', private.url, tmp_path / 'other')
    assert (tmp_path / 'other' / 'a.txt').read_text() == 'secret\n'


@pytest.mark.parametrize('given', ['username=anyone\necho password={}', 'username={}\necho password='])
def test_gits_credential_helper_gives_the_token_as_password_or_as_user(hub, private, tmp_path, given):
    helper = f'!f() {{ echo {given.format(hub.token)}; }}; f'.replace('\n', '; ')
    git('-c', f'credential.helper={helper}', 'clone', '-q', private.url, tmp_path / 'other')
    assert (tmp_path / 'other' / 'a.txt').exists()


def test_two_users_of_an_organisation_push_one_after_the_other(hub, tmp_path):
    for user in ('ada', 'bob'):
        hub.hub.tokens.add(NewToken(user, 'write', f'{user}-has-a-token'))
    known = hub.root / 'tokens.json'
    content = json.loads(known.read_text())
    known.write_text(json.dumps({**content, 'organisations': {'lab': {'ada': 'admin', 'bob': 'write'}}}))
    repo = hub.hub.repositories.create('model', 'lab/shared', {'private': True})
    ada = Clone(tmp_path / 'ada', hub, repo, token='ada-has-a-token')
    ada.commit({'ada.txt': 'ada'})
    ada.git('push', '-q', 'origin', 'main')
    bob = Clone(tmp_path / 'bob', hub, repo, token='bob-has-a-token', clone=True)
    bob.commit({'bob.txt': 'bob'})
    bob.git('push', '-q', 'origin', 'main')
    ada.commit({'ada.txt': 'again'})
    assert 'rejected' in ada.refused('main')
    ada.git('pull', '-q', '--rebase', 'origin', 'main')
    ada.git('push', '-q', 'origin', 'main')
    assert ada.remote('rev-list', '--count', 'main') == '3'


def test_a_token_is_not_shown_when_git_fails_on_the_server(work, capfd):
    (work.repo.path / 'config').write_text('[core]\n\trepositoryformatversion = 99\n')
    answer = request(work.hub, 'GET', f'/local/bert.git/info/refs?service={UPLOAD}', token=work.hub.token)
    assert answer.status == 500
    assert answer.body == b'git upload-pack of local/bert failed on the server.\n'
    said = capfd.readouterr().err
    assert 'warning: git upload-pack of local/bert: fatal: ' in said
    assert work.hub.token not in said


# -- with git-lfs


@pytest.mark.heavy
def test_git_lfs_pushes_before_git_and_a_clone_has_the_content(hub, work, tmp_path):
    work.git('lfs', 'install', '--local')
    work.git('lfs', 'track', '*.bin')
    work.commit({'model.bin': bytes(range(256)) * 100})
    work.git('push', '-q', 'origin', 'main')
    other = Clone(tmp_path / 'other', hub, work.repo, clone=True)
    other.git('lfs', 'install', '--local')
    other.git('lfs', 'pull')
    assert (other.path / 'model.bin').read_bytes() == bytes(range(256)) * 100


def test_a_push_that_skips_git_lfs_is_refused(work):
    work.git('lfs', 'install', '--local')
    work.git('lfs', 'track', '*.bin')
    work.commit({'model.bin': bytes(range(256)) * 100})
    assert 'LFS pointer' in work.refused('--no-verify', 'main')


# -- what is not git's protocol


@pytest.mark.parametrize(
    'path', ['HEAD', 'info/refs', 'info/refs?service=git-upload-archive', 'objects/info/packs', 'config']
)
def test_the_dumb_protocol_is_not_spoken(hub, work, path):
    assert request(hub, 'GET', f'/local/bert.git/{path}').status == 404


def test_a_body_of_another_type_is_refused(hub, work):
    form = 'application/x-www-form-urlencoded'
    assert fetched(hub, '/local/bert.git', b'0000', Content_Type=form).status == 415


def test_a_body_packed_in_another_way_is_refused(hub, work):
    assert fetched(hub, '/local/bert.git', b'0000', Content_Encoding='br').status == 415


def test_a_body_that_is_not_gzip_is_refused(hub, work):
    assert fetched(hub, '/local/bert.git', b'0000', Content_Encoding='gzip').status == 400


def test_more_than_a_million_wants_are_refused(hub, work, monkeypatch):
    monkeypatch.setattr(githttp, '_REQUEST_MAX', 100_000)
    small = gzip.compress(b'0032want ' * 20_000)
    assert fetched(hub, '/local/bert.git', small, Content_Encoding='gzip').status == 413


def test_the_answers_are_not_to_be_kept(hub, work):
    answer = request(hub, 'GET', f'/local/bert.git/info/refs?service={UPLOAD}')
    assert answer.headers['Content-Type'] == 'application/x-git-upload-pack-advertisement'
    assert answer.headers['Cache-Control'].startswith('no-cache')


def test_the_empty_request_before_a_large_push_is_answered(hub, work):
    answer = post(hub, f'/local/bert.git/{RECEIVE}', b'0000', token=hub.token)
    assert (answer.status, answer.body) == (200, b'')


@pytest.mark.parametrize('protocol', ['x' * 5000, 'version=2:$(id)', 'version=99'])
def test_an_odd_protocol_is_taken_for_none(hub, work, protocol):
    answer = request(hub, 'GET', f'/local/bert.git/info/refs?service={UPLOAD}', Git_Protocol=protocol)
    assert answer.status == 200
    assert answer.body.startswith(packet(b'# service=git-upload-pack\n') + b'0000')


_PIECES = st.one_of(
    st.binary(max_size=60),
    st.binary(max_size=60).map(packet),
    st.sampled_from([b'0000', b'0001', b'0002', b'0003', b'0004', b'ffff', b'fff0', b'PACK\0\0\0\2\xff\xff\xff\xff']),
    st.sampled_from([b'command=ls-refs\n', b'command=fetch', b'done\n', b'want ' + b'a' * 40, b'shallow x', b'deepen -1']).map(packet),
    st.just(moving(ZEROS, 'a' * 40, 'refs/heads/x')),
    st.just(moving('a' * 40, ZEROS, 'refs/../../x')),
)  # fmt: skip


@pytest.mark.heavy
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(_PIECES, max_size=8),
    service=st.sampled_from([UPLOAD, RECEIVE]),
    version=st.sampled_from(['', 'version=2']),
)
def test_whatever_is_sent_is_answered_and_changes_nothing(hub, work, pieces, service, version):
    before = work.remote('for-each-ref')
    answer = post(hub, f'/local/bert.git/{service}', b''.join(pieces), token=hub.token, Git_Protocol=version)
    assert answer.status in (200, 400, 500)
    assert work.remote('for-each-ref') == before
    assert incoming(work.repo) == []


# -- who hangs up


@contextmanager
def hanging_up(hub, head, body):
    """Send the beginning of a request; the connection is closed when the context ends."""
    address = urlsplit(hub.endpoint)
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(head.encode() + body)
        yield connection


def _push_head(hub, length):
    return (
        f'POST /local/bert.git/{RECEIVE} HTTP/1.1\r\nHost: localhost\r\n{header(hub.token)}\r\n'
        f'Content-Type: application/x-{RECEIVE}-request\r\nContent-Length: {length}\r\n\r\n'
    )


@pytest.mark.heavy
def test_a_push_that_breaks_off_leaves_nothing(hub, work):
    new = work.commit({f'{number}.txt': base64.b64encode(os.urandom(40_000)) for number in range(150)})
    old = work.remote('rev-parse', 'main')
    body = moving(old, new, 'refs/heads/main') + packed(work, new, f'^{old}')
    with hanging_up(hub, _push_head(hub, len(body)), body[: len(body) // 2]):
        until(lambda: incoming(work.repo), 'nothing came in')
    until(lambda: not processes(work.repo), 'git goes on')
    assert incoming(work.repo) == []
    assert work.remote('rev-parse', 'main') == old
    work.remote('fsck', '--full', '--strict')
    work.git('push', '-q', 'origin', 'main')


def test_who_comes_while_as_many_as_may_push_at_once_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(githttp, '_AT_ONCE', 1)
    with running_hub(tmp_path / 'hub') as hub:
        repo = hub.hub.repositories.create('model', 'local/bert', {})
        clone = Clone(tmp_path / 'work', hub, repo)
        clone.commit({'a.txt': 'x'})
        with hanging_up(hub, _push_head(hub, 1000), b''):
            until(lambda: processes(repo), 'git was not started')
            push = subprocess.Popen(['git', 'push', '-q', 'origin', 'main'], cwd=clone.path)
            assert git('ls-remote', clone.url, cwd=clone.path) == ''
            assert (push.poll(), len(processes(repo))) == (None, 1)
        assert push.wait(timeout=30) == 0


def test_a_push_that_falls_silent_is_ended(hub, work, monkeypatch):
    monkeypatch.setattr(githttp, '_SILENCE_S', 0.3)
    with hanging_up(hub, _push_head(hub, 1000), b'00') as connection:
        assert connection.recv(100).startswith(b'HTTP/1.1 ')
        until(lambda: not processes(work.repo), 'git goes on')


@pytest.mark.heavy
def test_a_fetch_whose_answer_is_not_taken_is_ended(hub, work, monkeypatch):
    work.commit({f'{n}.txt': base64.b64encode(os.urandom(5_000_000)) for n in range(4)})
    work.git('push', '-q', 'origin', 'main')
    monkeypatch.setattr(githttp, '_SILENCE_S', 0.3)
    body = packet(f'want {work.git("rev-parse", "main")}\n'.encode()) + b'0000' + packet(b'done\n')
    head = (
        f'POST /local/bert.git/{UPLOAD} HTTP/1.1\r\nHost: localhost\r\n'
        f'Content-Type: application/x-{UPLOAD}-request\r\nContent-Length: {len(body)}\r\n\r\n'
    )
    with hanging_up(hub, head, body) as connection:
        assert connection.recv(100).startswith(b'HTTP/1.1 200')
        until(lambda: not processes(work.repo), 'git goes on')


def test_a_push_cut_off_by_the_end_of_the_server_leaves_nothing(tmp_path):
    with ExitStack() as connections:
        with running_hub(tmp_path / 'hub') as hub:
            repo = hub.hub.repositories.create('model', 'local/bert', {})
            clone = Clone(tmp_path / 'work', hub, repo)
            new = clone.commit({f'{n}.txt': base64.b64encode(os.urandom(40_000)) for n in range(150)})
            body = moving(ZEROS, new, 'refs/heads/main') + packed(clone, new)
            head = _push_head(hub, len(body))
            connections.enter_context(hanging_up(hub, head, body[: len(body) // 2]))
            until(lambda: incoming(repo), 'nothing came in')
            started = time.monotonic()
        assert time.monotonic() - started < 5
    until(lambda: not processes(repo), 'git goes on')
    assert incoming(repo) == []
    git('fsck', '--full', '--strict', cwd=repo.path)


_SERVER = """
import sys
from pathlib import Path
from hfmirror.server import running_hub

with running_hub(Path(sys.argv[1])) as hub:
    hub.hub.repositories.create('model', 'local/bert', {})
    print(hub.endpoint, hub.token, flush=True)
    sys.stdin.read()
"""


@pytest.mark.heavy
def test_what_a_push_to_a_killed_server_leaves_is_swept_away(tmp_path):
    repo = Repo(tmp_path / 'hub' / 'models' / 'local' / 'bert.git', 'model', 'local/bert')
    command = [sys.executable, '-c', _SERVER, str(tmp_path / 'hub')]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        endpoint, token = server.stdout.readline().split()
        hub = RunningHub(endpoint, token, tmp_path / 'hub', None)
        clone = Clone(tmp_path / 'work', hub, repo)
        clone.commit({'a.txt': 'acknowledged'})
        clone.git('push', '-q', 'origin', 'main')
        old = clone.git('rev-parse', 'HEAD')
        new = clone.commit({f'{n}.txt': base64.b64encode(os.urandom(40_000)) for n in range(150)})
        body = moving(old, new, 'refs/heads/main') + packed(clone, new, f'^{old}')
        with hanging_up(hub, _push_head(hub, len(body)), body[: len(body) // 2]):
            until(lambda: incoming(repo), 'nothing came in')
            server.kill()
    until(lambda: not processes(repo), 'git goes on')
    githttp.sweep(repo.path, 0)
    assert incoming(repo) == []
    assert clone.remote('rev-parse', 'main') == old
    clone.remote('fsck', '--full', '--strict')


@pytest.mark.heavy
def test_who_hangs_up_in_a_clone_ends_gits_processes(hub, work):
    work.commit({f'{number}.txt': base64.b64encode(os.urandom(3_000_000)) for number in range(6)})
    work.git('push', '-q', 'origin', 'main')
    tip = work.remote('rev-parse', 'main').encode()
    body = packet(b'want ' + tip + b' ofs-delta\n') + b'0000' + packet(b'done\n')
    head = (
        f'POST /local/bert.git/{UPLOAD} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-{UPLOAD}-request\r\n'
        f'Content-Length: {len(body)}\r\n\r\n'
    )
    with hanging_up(hub, head, body) as connection:
        assert connection.recv(1000).startswith(b'HTTP/1.1 200')
        assert processes(work.repo) != []
    until(lambda: not processes(work.repo), 'git goes on')


# -- what is left after a kill


def _aged(path, seconds):
    for one in [path, *path.rglob('*')]:
        os.utime(one, (time.time() - seconds,) * 2)


def test_sweep_removes_what_killed_pushes_left(work):
    objects = work.repo.path / 'objects'
    left = [
        objects / 'tmp_objdir-incoming-abc' / 'pack' / 'tmp_pack_x',
        objects / 'pack' / 'tmp_idx_y',
        objects / 'ab' / 'tmp_obj_z',
    ]
    left += [work.repo.path / name for name in ('refs/heads/main.lock', 'packed-refs.lock', 'HEAD.lock')]
    for path in left:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'x')
        _aged(path, 4000)
    _aged(objects / 'tmp_objdir-incoming-abc', 4000)
    githttp.sweep(work.repo.path, 3600)
    assert [path for path in left if path.exists()] == []
    work.commit({'a.txt': 'x'})
    work.git('push', '-q', 'origin', 'main')


def test_sweep_keeps_what_is_being_received(work):
    coming = work.repo.path / 'objects' / 'tmp_objdir-incoming-abc'
    (coming / 'pack').mkdir(parents=True)
    _aged(coming, 4000)
    (coming / 'pack' / 'tmp_pack_x').write_bytes(b'still coming')
    githttp.sweep(work.repo.path, 3600)
    assert (coming / 'pack' / 'tmp_pack_x').exists()


def test_sweep_keeps_refs_and_objects(work):
    before = work.remote('for-each-ref')
    _aged(work.repo.path, 4000)
    githttp.sweep(work.repo.path, 3600)
    assert work.remote('for-each-ref') == before
    work.remote('fsck', '--full', '--strict')


# -- large ones


def _peak_over(action):
    """Return by how many MB the memory of this process, the server in it, was larger at its largest than before."""
    Path('/proc/self/clear_refs').write_text('5')
    before = _memory('VmRSS')
    action()
    return (_memory('VmHWM') - before) / 1024


def _memory(key):
    lines = Path('/proc/self/status').read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f'{key}:')).split()[1])


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_a_large_pack_goes_in_and_out_in_constant_memory(hub, work, tmp_path):
    work.git('config', 'core.compression', '0')
    work.git('config', 'core.bigFileThreshold', '1m')
    for number in range(40):
        (work.path / f'{number}.txt').write_bytes(base64.b64encode(os.urandom(7_500_000)))
    work.commit({})
    assert _peak_over(lambda: work.git('push', '-q', 'origin', 'main')) < 60
    assert _peak_over(lambda: git('clone', '-q', work.url, tmp_path / 'other')) < 60
    assert git('rev-parse', 'HEAD', cwd=tmp_path / 'other') == work.git('rev-parse', 'HEAD')
