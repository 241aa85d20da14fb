"""A release that waited goes on top of what the remote has got meanwhile: what it changed, path by path."""

from __future__ import annotations

import pytest

from tests.support.mirror import git
from tests.support.person import Person

NAME = 'me/tiny-model'


class Later:
    """v1.0.0 is there; ``waits`` makes v2.0.0 wait, ``arrives`` lets it go on top of what a person pushed meanwhile."""

    def __init__(self, mirror, folder, host, tmp_path):
        self.mirror, self.folder, self.host = mirror, folder, host
        mirror.remote = host.create(NAME)
        self.person = Person(mirror.remote, tmp_path / 'person')
        self.push('--tag', 'v1.0.0')

    def push(self, *args, code=0):
        self.mirror.push(self.folder, '--remote', self.host.url(NAME), *args, code=code)

    def waits(self, *args):
        self.host.stop()
        self.push('--tag', 'v2.0.0', *args, code=7)

    def arrives(self):
        self.host.start()
        self.mirror.run('resume', code=0)
        self.mirror.assert_whole()
        return self.mirror.files()


@pytest.fixture
def later(mirror, folder, host, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    return Later(mirror, folder, host, tmp_path)


@pytest.mark.heavy
def test_it_is_one_commit_on_top_with_its_own_message_and_tag(later, folder):
    folder.write('config.json', '{"ours": 1}')
    later.waits('-m', 'longer training')
    theirs = later.person.pushes({'LICENSE': 'MIT\n'})
    later.arrives()
    assert later.mirror.git('rev-parse', 'main^', 'v2.0.0^{commit}') == '\n'.join(
        [theirs, later.mirror.git('rev-parse', 'main')]
    )
    assert 'longer training' in later.mirror.git('log', '-1', '--format=%B', 'main')
    assert 'longer training' in later.mirror.git('for-each-ref', '--format=%(contents)', 'refs/tags/v2.0.0')
    listed = later.mirror.run('list-versions', '--remote', later.host.url(NAME), '--json', code=0).json
    assert [version['name'] for version in listed] == ['v2.0.0', 'v1.0.0']
    assert listed[0]['metrics']['eval_accuracy'] == 0.91


@pytest.mark.heavy
def test_what_both_changed_is_as_the_release_has_it(later, folder):
    folder.write('config.json', '{"ours": 1}')
    later.waits()
    later.person.pushes({'config.json': '{"theirs": 1}'})
    assert later.arrives()['config.json'] == b'{"ours": 1}'


@pytest.mark.heavy
def test_what_the_release_removed_is_removed_although_they_changed_it(later, folder):
    folder.remove('notes/training.txt')
    later.waits()
    later.person.pushes({'notes/training.txt': 'theirs\n'})
    assert 'notes/training.txt' not in later.arrives()


@pytest.mark.heavy
def test_what_they_removed_and_the_release_changed_is_there(later, folder):
    folder.write('notes/training.txt', 'five epochs\n')
    later.waits()
    later.person.pushes({'notes/training.txt': None})
    assert later.arrives()['notes/training.txt'] == b'five epochs\n'


@pytest.mark.heavy
def test_what_they_removed_and_the_release_has_unchanged_is_there_again(later, folder):
    # The release is the folder, whole: a model without its weights is broken.
    folder.write('config.json', '{"ours": 1}')
    later.waits()
    later.person.pushes({'model.bin': None, 'notes/training.txt': None})
    files = later.arrives()
    assert {'model.bin', 'notes/training.txt'} <= files.keys()


@pytest.mark.heavy
def test_what_they_changed_and_the_release_has_unchanged_is_as_the_release_has_it(later, folder):
    folder.write('more.txt', 'ours\n')
    later.waits()
    later.person.pushes({'config.json': '{"theirs": 1}'})
    assert later.arrives()['config.json'] == (folder.path / 'config.json').read_bytes()


@pytest.mark.heavy
def test_what_they_added_into_the_folder_goes_unless_it_is_kept(later, folder):
    folder.write('config.json', '{"ours": 1}')
    later.waits()
    later.person.pushes({'old-shard.txt': 'stale\n', 'LICENSE': 'MIT\n'})
    files = later.arrives()
    assert 'old-shard.txt' not in files
    assert 'LICENSE' in files


@pytest.mark.heavy
def test_with_keep_it_stays(later, folder):
    folder.write('config.json', '{"ours": 1}')
    later.waits('--keep')
    later.person.pushes({'old-shard.txt': 'stale\n'})
    assert later.arrives()['old-shard.txt'] == b'stale\n'


@pytest.mark.heavy
def test_beside_its_path_everything_stays(later, folder):
    later.waits('--path-in-repo', 'second')
    later.person.pushes({'docs/usage.md': 'how to\n', 'config.json': '{"theirs": 1}'})
    files = later.arrives()
    assert files['docs/usage.md'] == b'how to\n'
    assert files['config.json'] == b'{"theirs": 1}'
    assert 'second/model.bin' in files


@pytest.mark.heavy
def test_a_folder_of_theirs_where_the_release_has_a_file(later, folder):
    folder.write('extra', 'a file\n')
    later.waits()
    later.person.pushes({'extra/inner.txt': 'theirs\n'})
    files = later.arrives()
    assert files['extra'] == b'a file\n'
    assert 'extra/inner.txt' not in files


@pytest.mark.heavy
def test_the_branch_was_rewritten_meanwhile(later, folder):
    folder.write('config.json', '{"ours": 1}')
    later.waits()
    later.person.pushes({'LICENSE': 'MIT\n'})
    git('checkout', '-q', '--orphan', 'new', cwd=later.person.path)
    git('commit', '-q', '-m', 'all new', cwd=later.person.path)
    git('push', '-q', '-f', 'origin', 'new:main', cwd=later.person.path)
    files = later.arrives()
    assert files['config.json'] == b'{"ours": 1}'
    assert later.mirror.git('rev-list', '--count', 'main') == '2'
