"""The clone is hfmirror's own: damage in it is mended without asking, and nobody else's directory is touched."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.support.folder import checksums
from tests.support.mirror import git

NAME = 'me/tiny-model'


@pytest.fixture(params=['local', 'host'])
def where(request, mirror, host):
    """Options of a push to the local Hub or to a host; ``mirror`` looks at the repository."""
    if request.param == 'local':
        return ()
    mirror.remote = host.create(NAME)
    return ('--remote', host.url(NAME))


@pytest.fixture
def clone(mirror, folder, where):
    """The clone after a first push; the folder has something new for the second."""
    mirror.push(folder, *where, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 500)
    (home,) = [path for path in (mirror.home / 'clones').iterdir() if path.is_dir()]
    return home


def empty(path):
    path.write_bytes(b'')


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def junk(path):
    path.write_bytes(b'\xff\0junk' * 50)


def objects_gone(git_dir):
    shutil.rmtree(git_dir / 'objects')
    (git_dir / 'objects').mkdir()


def packs_gone(git_dir):
    for path in (git_dir / 'objects').rglob('*'):
        if path.is_file():
            path.chmod(0o644)
            truncate(path)


def another_url(git_dir):
    git('config', 'remote.origin.url', 'https://example.invalid/other.git', cwd=git_dir)


DAMAGE = {
    'a truncated index': lambda home: truncate(home / 'work' / '.git' / 'index'),
    'an index of junk': lambda home: junk(home / 'work' / '.git' / 'index'),
    'no index': lambda home: (home / 'work' / '.git' / 'index').unlink(missing_ok=True),
    'an index.lock of a killed git': lambda home: empty(home / 'work' / '.git' / 'index.lock'),
    'a HEAD.lock of a killed git': lambda home: empty(home / 'work' / '.git' / 'HEAD.lock'),
    'a config.lock of a killed git': lambda home: empty(home / 'work' / '.git' / 'config.lock'),
    'a tag.lock of a killed git': lambda home: empty(
        home / 'work' / '.git' / 'refs' / 'tags' / 'v1.1.0.lock'
    ),
    'a shallow.lock of a killed git': lambda home: empty(home / 'work' / '.git' / 'shallow.lock'),
    'an empty HEAD': lambda home: empty(home / 'work' / '.git' / 'HEAD'),
    'a HEAD of junk': lambda home: junk(home / 'work' / '.git' / 'HEAD'),
    'a config of junk': lambda home: junk(home / 'work' / '.git' / 'config'),
    'no config': lambda home: (home / 'work' / '.git' / 'config').unlink(),
    'no objects': lambda home: objects_gone(home / 'work' / '.git'),
    'truncated objects': lambda home: packs_gone(home / 'work' / '.git'),
    'no .git': lambda home: shutil.rmtree(home / 'work' / '.git'),
    'no work tree': lambda home: shutil.rmtree(home / 'work'),
    'no attributes.git': lambda home: shutil.rmtree(home / 'attributes.git'),
    'an attributes.git of junk': lambda home: junk(home / 'attributes.git' / 'config'),
    'another remote': lambda home: another_url(home / 'work'),
    'a foreign file in the work tree': lambda home: junk(home / 'work' / 'foreign.txt'),
    'a changed file in the work tree': lambda home: junk(home / 'work' / 'config.json'),
    'an ignored file in the work tree': lambda home: (
        (home / 'work' / '.gitignore').write_text('*\n'),
        junk(home / 'work' / 'ignored.txt'),
    ),
    'remembered refs of junk': lambda home: junk(home / 'refs.json'),
    'a tags.git of junk': lambda home: (
        (home / 'tags.git').mkdir(exist_ok=True),
        junk(home / 'tags.git' / 'HEAD'),
    ),
    'a mark of junk': lambda home: junk(home / 'hfmirror.json'),
}


@pytest.mark.heavy
@pytest.mark.parametrize('damage', DAMAGE)
def test_damage_is_mended_without_asking(mirror, folder, where, clone, damage):
    DAMAGE[damage](clone)
    (done,) = mirror.push(folder, *where, '--bump', 'minor')
    assert (done['status'], done['version']) == ('pushed', 'v1.1.0')
    names = {'config.json', 'eval_results.json', 'model.bin', 'more.bin', 'notes/training.txt'}
    assert mirror.files().keys() == names | {'README.md', '.gitattributes'}
    assert mirror.git('rev-list', '--count', 'main') == '2'
    mirror.assert_whole()


@pytest.mark.heavy
def test_a_deleted_clone_is_made_again(mirror, folder, where, clone):
    shutil.rmtree(clone)
    mirror.push(folder, *where, '--bump', 'minor')
    assert mirror.tags() == ['v1.0.0', 'v1.1.0']


@pytest.mark.heavy
@pytest.mark.parametrize('command', ['push', 'verify', 'pull'])
def test_a_strangers_directory_in_its_place_is_refused_and_left_alone(mirror, folder, where, clone, command):
    shutil.rmtree(clone)
    clone.mkdir()
    (clone / 'thesis.txt').write_text('the only copy')
    git('init', '-q', clone / 'work')
    before = checksums(clone)
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    remote = where or ('--remote', 'local')
    done = mirror.run(command, *args, *remote, '--repo', NAME, code=1)
    assert str(clone) in done.err
    assert 'HFMIRROR_HOME' in done.err
    assert checksums(clone) == before


@pytest.mark.heavy
def test_a_file_in_its_place_is_refused_and_left_alone(mirror, folder, where, clone):
    shutil.rmtree(clone)
    clone.write_text('the only copy')
    done = mirror.push(folder, *where, code=1)
    assert str(clone) in done.err
    assert clone.read_text() == 'the only copy'


@pytest.mark.heavy
def test_the_clone_runs_no_hook_of_the_person(mirror, folder, where, clone, tmp_path):
    hooks = tmp_path / 'hooks'
    hooks.mkdir()
    for name in ('pre-commit', 'commit-msg', 'post-commit', 'pre-push', 'post-checkout'):
        (hooks / name).write_text(f'#!/bin/sh\ntouch "{tmp_path}/ran"\nexit 1\n')
        (hooks / name).chmod(0o755)
    git('config', '--global', 'core.hooksPath', hooks)
    mirror.push(folder, *where, '--bump', 'minor')
    assert not (tmp_path / 'ran').exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    'setting',
    [
        ('core.autocrlf', 'true'),
        ('core.safecrlf', 'true'),
        ('core.quotePath', 'true'),
        ('core.fileMode', 'false'),
        ('commit.gpgSign', 'true'),
        ('tag.gpgSign', 'true'),
        ('tag.forceSignAnnotated', 'true'),
        ('push.default', 'nothing'),
        ('push.gpgSign', 'true'),
        ('fetch.prune', 'true'),
        ('status.showUntrackedFiles', 'no'),
        ('core.excludesFile', '~/ignore'),
        ('core.attributesFile', '~/attributes'),
        ('init.defaultBranch', 'trunk'),
        ('core.commentChar', 'v'),
        ('commit.cleanup', 'strip'),
        ('i18n.commitEncoding', 'latin-1'),
        ('log.showSignature', 'true'),
        ('color.ui', 'always'),
        ('core.pager', 'false'),
    ],
    ids=lambda setting: setting[0],
)
def test_what_the_persons_git_is_set_to_changes_nothing(mirror, folder, tmp_path, setting):
    home = tmp_path / 'home'
    (home / 'ignore').write_text('*\n')
    (home / 'attributes').write_text('*.json filter=lfs\n*.bin -filter\n')
    git('config', '--global', *setting)
    folder.write('crlf.txt', b'one\r\ntwo\r\n')
    mirror.push(folder, '--tag', 'v1.0.0')
    files = mirror.files()
    assert files['crlf.txt'] == b'one\r\ntwo\r\n'
    assert files['config.json'] == (folder.path / 'config.json').read_bytes()
    assert files['model.bin'].startswith(b'version https://git-lfs')
    assert mirror.git('log', '-1', '--format=%s').startswith('feat(model): tiny-model v1.0.0')
    mirror.run('verify', folder, code=0)


def test_a_surrounding_git_command_does_not_aim_ours_at_its_repository(mirror, folder, tmp_path):
    git('init', '-q', tmp_path / 'code')
    git_dir = str(tmp_path / 'code' / '.git')
    env = {'GIT_DIR': git_dir, 'GIT_WORK_TREE': str(tmp_path / 'code'), 'GIT_INDEX_FILE': f'{git_dir}/index'}
    mirror.push(folder, '--tag', 'v1.0.0', env=env)
    assert mirror.tags() == ['v1.0.0']
    assert git('tag', cwd=tmp_path / 'code') == ''


def test_two_branches_of_one_repository_have_a_clone_each(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    mirror.push(folder, '--tag', 'v2.0.0', '--branch', 'next')
    marks = [json.loads(path.read_text()) for path in (mirror.home / 'clones').glob('*/hfmirror.json')]
    assert sorted(mark['target']['branch'] for mark in marks) == ['main', 'next']
    assert mirror.git('rev-parse', 'next') != mirror.git('rev-parse', 'main')
