"""How git hooks come and go: those of others stay and run, wherever git looks for them and whoever manages them."""

import json
import os
import stat
import subprocess
import sys

import pytest

from tests.support.coderepo import CodeRepo
from tests.support.mirror import bare, git

NAMES = {'commit': 'post-commit', 'tag': 'reference-transaction', 'push': 'pre-push'}
PRE_COMMIT = (sys.executable, '-m', 'pre_commit')


@pytest.fixture
def code(tmp_path, mirror):
    return CodeRepo(tmp_path / 'a "code" of é', mirror)


def telling(log, *, code=0):
    """Return a hook that writes down how it was called, and ends with ``code``."""
    return (
        f'#!/bin/sh\n{{ echo "$(basename "$0") $*"; cat; }} >>{str(log)!r}\n'
        f'[ "$1" = prepared ] || [ "$1" = aborted ] || exit {code}\n'
    )


# -- install and uninstall


def test_each_event_has_its_hook(code):
    code.install('commit', 'tag', 'push')
    for name in NAMES.values():
        assert os.access(code.hook(name), os.X_OK)
        assert subprocess.run(['sh', '-n', code.hook(name)], check=False).returncode == 0


def test_installing_twice_changes_nothing(code):
    code.foreign('pre-push', '#!/bin/sh\n')
    code.install('commit', 'push')
    before = _snapshot(code.path / '.git')
    code.install('commit', 'push')
    assert _snapshot(code.path / '.git') == before


def _snapshot(git_dir):
    paths = [git_dir / 'config', *sorted((git_dir / 'hooks').iterdir())]
    return {path: (path.read_bytes(), path.lstat().st_mtime_ns, path.lstat().st_mode) for path in paths}


def test_other_settings_take_the_place_of_those_that_are_there(code):
    code.install('commit', args=['--repo', 'me/one', '--remote', 'local'])
    code.install('commit', args=['--repo', 'me/two'])
    [hook] = code.hooks('list', '--json').json
    assert (hook['repo'], hook['remotes'], hook['background']) == ('me/two', [], False)


def test_the_configuration_says_what_hooks_are_for(code):
    code.write('config.yaml', 'huggingface: {hooks: {on: [tag, push]}}\n')
    code.hooks('install')
    assert [hook['event'] for hook in code.hooks('list', '--json').json] == ['tag', 'push']


def test_without_a_word_hooks_are_for_commits(code):
    code.hooks('install')
    [hook] = code.hooks('list', '--json').json
    assert hook == {
        'event': 'commit',
        'hook': 'post-commit',
        'path': str(code.hook('post-commit')),
        'before': None,
        'folder': None,
        'repo': None,
        'remotes': [],
        'background': None,
        'config_file': None,
        'problem': None,
    }


def test_a_folder_in_the_repository_is_that_of_every_work_tree(code):
    (code.path / 'sub').mkdir()
    code.hooks('install', '--folder', '../outputs', cwd=code.path / 'sub')
    [hook] = code.hooks('list', '--json').json
    assert hook['folder'] == 'outputs'


def test_a_folder_that_is_not_there_yet_is_told(code):
    assert 'not there yet' in code.hooks('install', '--folder', 'later').err


def test_names_that_cannot_be_are_refused_before_anything_is_written(code):
    for option, value in [('--repo', 'a/b/c'), ('--remote', 'https://me:secret@example.org/x.git')]:
        done = code.hooks('install', option, value, code=2)
        assert 'secret' not in done.err
    assert code.hooks('list', '--json').json == []


def test_a_dry_run_installs_and_removes_nothing(code):
    code.foreign('post-commit', '#!/bin/sh\n')
    before = _snapshot(code.path / '.git')
    assert 'would be installed' in code.hooks('install', '--dry-run').out
    assert _snapshot(code.path / '.git') == before
    code.install('commit')
    before = _snapshot(code.path / '.git')
    assert 'would be removed' in code.hooks('uninstall', '--dry-run').out
    assert _snapshot(code.path / '.git') == before


def test_uninstalling_leaves_the_repository_as_it_was(code):
    before = _snapshot(code.path / '.git')
    code.install('commit', 'tag', 'push')
    done = code.hooks('uninstall')
    assert done.out.count('removed') == 3
    assert _names(before) == _names(_snapshot(code.path / '.git'))
    assert code.hooks('list').err == (
        "no hooks of hfmirror in this repository; 'hfmirror hooks install' installs one\n"
    )
    assert code.commit().err == ''


def _names(found):
    return {path: content for path, (content, _, _) in found.items()}


def test_one_event_can_be_uninstalled(code):
    code.install('commit', 'push')
    code.hooks('uninstall', '--on', 'push')
    assert [hook['event'] for hook in code.hooks('list', '--json').json] == ['commit']
    assert not code.hook('pre-push').exists()


def test_there_may_be_no_directory_for_hooks(code):
    for path in code.hook('x').parent.iterdir():
        path.unlink()
    code.hook('x').parent.rmdir()
    code.install('commit')
    code.commit()
    assert code.tags() == ['v0.1.0']


# -- hooks of others


@pytest.mark.parametrize('mode', [0o755, 0o700, 0o644])
def test_uninstalling_gives_a_hook_of_others_back_byte_for_byte(code, mode):
    path = code.foreign('pre-push', '', mode=mode)
    content = b'#!/bin/sh\n# \xff\r\nexit 0'
    path.write_bytes(content)
    before = path.stat()
    code.install('push')
    assert 'Made by' in path.read_text()
    code.hooks('uninstall')
    after = path.stat()
    assert path.read_bytes() == content
    assert (after.st_mode, after.st_mtime_ns, after.st_ino) == (
        before.st_mode,
        before.st_mtime_ns,
        before.st_ino,
    )
    assert not any('before-hfmirror' in name for name in os.listdir(path.parent))


def test_a_hook_that_is_a_link_stays_one(code):
    script = code.write('scripts/pre-push', f'#!/bin/sh\ntouch {str(code.path / "ran")!r}\n')
    script.chmod(0o755)
    code.hook('pre-push').symlink_to('../../scripts/pre-push')
    content = script.read_text()
    code.code_remote()
    code.install('push')
    code.git('push', '-q', 'origin', 'main')
    assert (code.path / 'ran').exists()
    assert script.read_text() == content
    code.hooks('uninstall')
    assert os.readlink(code.hook('pre-push')) == '../../scripts/pre-push'


@pytest.mark.heavy
def test_hooks_of_others_get_the_same_words_and_input(code, tmp_path):
    log, origin = tmp_path / 'log', code.code_remote()
    for name in NAMES.values():
        code.foreign(name, telling(log))
    code.install('commit', 'tag', 'push')
    code.commit(env={'HFMIRROR_SKIP': '1'})
    code.git('tag', 'v1.0.0')
    code.git('push', '-q', 'origin', 'main', 'v1.0.0')
    told, head = log.read_text().splitlines(), code.head()
    assert 'post-commit ' in told
    assert 'reference-transaction committed' in told
    assert f'{"0" * 40} {head} refs/tags/v1.0.0' in told
    assert f'pre-push origin {origin}' in told
    assert f'refs/heads/main {head} refs/heads/main {"0" * 40}' in told
    assert code.tags() == ['v1.0.0']


def test_a_push_that_a_hook_of_others_stops_releases_nothing(code, tmp_path):
    code.code_remote()
    code.foreign('pre-push', telling(tmp_path / 'log', code=3))
    code.install('push')
    code.git('push', 'origin', 'main', code=1)
    assert code.tags() == []


def test_a_tag_that_a_hook_of_others_refuses_is_not_there(code):
    code.foreign('reference-transaction', '#!/bin/sh\n[ "$1" != prepared ]\n')
    code.install('tag')
    code.git('tag', 'v1', code=128)
    assert git('tag', cwd=code.path) == ''
    assert code.tags() == []


def test_a_hook_of_others_runs_when_ours_is_skipped(code, tmp_path):
    code.foreign('post-commit', telling(tmp_path / 'log'))
    code.install('commit')
    code.commit(env={'HFMIRROR_SKIP': '1'})
    assert (tmp_path / 'log').read_text() == 'post-commit \n'


@pytest.mark.heavy
def test_a_hook_that_does_not_read_gets_much_input_without_a_complaint(code):
    code.foreign('reference-transaction', '#!/bin/sh\nexit 0\n')
    code.install('tag')
    lines = ''.join(f'create refs/heads/b{number} {code.head()}\n' for number in range(800))
    done = subprocess.run(
        ['git', 'update-ref', '--stdin'],
        cwd=code.path,
        input=lines,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ''


@pytest.mark.heavy
@pytest.mark.parametrize(
    'shell', ['/bin/sh', '/usr/bin/env sh', '/bin/sh -e', '/usr/bin/env bash', '/bin/bash']
)
def test_a_hook_that_asks_for_its_own_name_gets_it(code, tmp_path, shell):
    code.foreign('post-commit', f'#!{shell}\necho "$0" $# >{str(tmp_path / "log")!r}\n')
    code.install('commit')
    code.commit()
    assert (tmp_path / 'log').read_text() == '.git/hooks/post-commit 0\n'


@pytest.mark.heavy
def test_the_hook_of_git_lfs_goes_on_sending_objects(code):
    origin = code.code_remote()
    code.git('lfs', 'install', '--local')
    code.git('lfs', 'track', '*.dat')
    code.write('data.dat', 'large')
    code.git('add', '.')
    code.git('commit', '-qm', 'with data')
    code.install('push')
    code.git('push', '-q', 'origin', 'main')
    assert len([path for path in (origin / 'lfs' / 'objects').rglob('*') if path.is_file()]) == 1
    assert code.tags() == ['v0.1.0']


def test_a_hook_in_another_language_runs(code, tmp_path):
    code.foreign('post-commit', f'#!{sys.executable}\nopen({str(tmp_path / "log")!r}, "w").write("ran")\n')
    code.install('commit')
    code.commit()
    assert (tmp_path / 'log').read_text() == 'ran'


@pytest.mark.heavy
def test_a_hook_that_took_the_place_of_ours_is_told_and_kept(code, tmp_path):
    code.install('commit')
    code.foreign('post-commit', telling(tmp_path / 'log'))
    [hook] = code.hooks('list', '--json').json
    assert hook['path'] is None
    assert 'Install it again' in hook['problem']
    code.install('commit')
    code.commit()
    assert (tmp_path / 'log').exists()
    assert code.tags() == ['v0.1.0']


def test_two_hooks_of_others_are_not_mixed_up(code):
    code.foreign('post-commit', '#!/bin/sh\n# one\n')
    code.install('commit')
    code.foreign('post-commit', '#!/bin/sh\n# two\n')
    assert 'two hooks, and one can be kept' in code.hooks('install', code=2).err
    assert 'two' in code.hook('post-commit').read_text()
    assert 'one' in code.hook('post-commit.before-hfmirror').read_text()


def test_a_kill_between_the_two_names_loses_no_hook(code):
    path = code.foreign('post-commit', '#!/bin/sh\n')
    os.link(path, f'{path}.before-hfmirror')  # what a kill at this point leaves
    code.install('commit')
    code.hooks('uninstall')
    assert path.read_text() == '#!/bin/sh\n'
    os.link(path, f'{path}.before-hfmirror')
    code.hooks('uninstall')
    assert path.read_text() == '#!/bin/sh\n'
    assert not any('before-hfmirror' in name for name in os.listdir(path.parent))


def test_a_place_that_cannot_be_written_to_is_told_and_nothing_is_installed(code):
    code.write('a-file', '')
    code.git('config', 'core.hooksPath', 'a-file/hooks')
    assert 'the hook cannot be written: Not a directory' in code.hooks('install', code=1).err
    assert code.hooks('list', '--json').json == []


def test_without_its_settings_a_hook_does_nothing_but_run_that_of_others(code, tmp_path):
    code.foreign('post-commit', telling(tmp_path / 'log'))
    lock = code.write('.git/config.lock', '')
    assert 'could not lock config file' in code.hooks('install', code=1).err
    lock.unlink()
    assert code.commit().err == ''
    assert (tmp_path / 'log').exists()
    code.hooks('uninstall')
    assert code.hook('post-commit').read_text() == telling(tmp_path / 'log')


def test_settings_that_cannot_be_removed_are_told(code):
    code.install('commit')
    code.write('.git/config.lock', '')
    assert 'could not lock config file' in code.hooks('uninstall', code=1).err
    assert os.access(code.hook('post-commit'), os.X_OK)


def test_two_that_install_at_once_name_a_remote_once(code):
    code.install('commit', args=['--remote', 'local'])
    code.git('config', '--add', 'hfmirror.hook.commit.remote', 'local')
    [hook] = code.hooks('list', '--json').json
    assert hook['remotes'] == ['local']


def test_a_path_of_two_lines_is_one(tmp_path, mirror):
    code = CodeRepo(tmp_path / 'two\nlines', mirror)
    code.install('commit')
    code.commit()
    assert code.source() == code.head()


@pytest.mark.skipif(os.geteuid() != 0, reason='gives a repository to somebody else')
def test_a_repository_of_somebody_else_is_told(code):
    os.chown(code.path, 12345, 12345)
    assert 'safe.directory' in code.hooks('install', code=2).err


# -- where git looks for hooks


@pytest.mark.parametrize('value', ['', '/dev/null'])
def test_hooks_that_are_switched_off_are_told(code, value):
    code.install('commit')
    code.git('config', 'core.hooksPath', value)
    assert f'{value!r}, is no directory' in code.hooks('install', code=2).err
    [hook] = code.hooks('list', '--json').json
    assert "'git config --local --unset core.hooksPath'" in hook['problem']
    code.hooks('uninstall')
    assert not code.hook('post-commit').exists()


@pytest.mark.parametrize('kind', ['relative', 'absolute'])
def test_hooks_lie_where_the_repository_says(code, tmp_path, kind):
    place = code.path / 'my hooks' if kind == 'relative' else tmp_path / 'my hooks'
    place.mkdir()
    code.git('config', 'core.hooksPath', 'my hooks' if kind == 'relative' else place)
    code.install('commit')
    assert (place / 'post-commit').exists()
    assert not code.hook('post-commit').exists()
    code.commit()
    assert code.tags() == ['v0.1.0']


def test_hooks_of_a_relative_directory_run_in_each_work_tree_that_has_them(code, tmp_path):
    code.git('config', 'core.hooksPath', '.hooks')
    tree = tmp_path / 'tree'
    code.git('worktree', 'add', '-q', tree)
    code.install('commit', cwd=tree)
    assert (tree / '.hooks' / 'post-commit').exists()


def test_a_directory_for_all_repositories_is_left_alone(code, tmp_path):
    place = tmp_path / 'everybody'
    git('config', '--global', 'core.hooksPath', place)
    done = code.hooks('install', code=2)
    assert f'core.hooksPath sends every repository to {place}' in done.err
    assert "put 'hfmirror hooks run commit' into" in done.err
    assert not place.exists()
    assert code.hooks('list', '--json').json == []


@pytest.mark.heavy
def test_in_a_directory_for_all_repositories_ours_does_nothing_in_the_others(code, tmp_path, mirror):
    place = tmp_path / 'everybody'
    git('config', '--global', 'core.hooksPath', place)
    code.install('commit', args=['--force'])
    other = CodeRepo(tmp_path / 'other', mirror)
    assert other.commit() == (0, '', '')
    assert code.tags() == []
    code.commit()
    assert code.tags() == ['v0.1.0']
    done = code.hooks('uninstall')
    assert 'other repositories have it too' in done.err
    assert (place / 'post-commit').exists()
    code.finish_training(b'two')
    assert code.commit() == (0, '', '')
    code.hooks('uninstall', '--force')
    assert not (place / 'post-commit').exists()


def test_a_relative_directory_that_everybody_uses_is_the_repositorys_own(code):
    git('config', '--global', 'core.hooksPath', '.githooks')
    code.install('commit')
    assert (code.path / '.githooks' / 'post-commit').exists()


def test_a_hook_that_git_does_not_look_for_any_more_is_told(code):
    code.install('commit')
    code.git('config', 'core.hooksPath', 'elsewhere')
    [hook] = code.hooks('list', '--json').json
    assert 'git looks in' in hook['problem']
    code.hooks('uninstall')
    assert not code.hook('post-commit').exists()


def test_an_interpreter_that_is_gone_is_told(code):
    code.install('commit')
    script = code.hook('post-commit')
    script.write_text(script.read_text().replace(sys.executable, '/gone/bin/python'))
    done = code.hooks('list')
    assert '/gone/bin/python is gone' in done.err
    code.install('commit')
    assert code.hooks('list').err == ''


def test_a_hook_that_may_not_be_run_is_told(code):
    code.install('commit')
    code.hook('post-commit').chmod(0o644)
    assert 'may not be run' in code.hooks('list').err
    code.install('commit')
    assert stat.S_IMODE(code.hook('post-commit').stat().st_mode) == 0o755


def test_all_work_trees_share_the_hooks(code, tmp_path):
    tree = tmp_path / 'tree'
    code.git('worktree', 'add', '-q', tree)
    code.install('commit', cwd=tree)
    assert code.hook('post-commit').exists()
    code.commit()
    assert code.tags() == ['v0.1.0']


def test_a_bare_repository_has_hooks_for_tags_and_pushes(code, tmp_path):
    place = bare(tmp_path / 'server.git')
    code.install('tag', 'push', cwd=place)
    assert (place / 'hooks' / 'reference-transaction').exists()


# -- hook managers


def _with_pre_commit(code, *, stages=('post-commit', 'pre-push')):
    """Have a hook of pre-commit's that leaves a trace at each stage."""
    hook = {
        'id': 'trace',
        'name': 'trace',
        'entry': f'sh -c \'echo ran >>"{code.path.parent}/trace"\'',
        'language': 'system',
        'always_run': True,
        'pass_filenames': False,
        'stages': list(stages),
    }
    _configure_pre_commit(code, [{'repo': 'local', 'hooks': [hook]}])


def _configure_pre_commit(code, repos):
    code.write('.pre-commit-config.yaml', json.dumps({'repos': repos}))
    code.git('add', '.pre-commit-config.yaml')
    code.git('commit', '-qm', 'pre-commit')


def _pre_commit(code, *args, **how):
    return code.run(*PRE_COMMIT, *args, env={'PRE_COMMIT_HOME': str(code.path.parent / 'pre-commit')}, **how)


def _install_pre_commit(code):
    _pre_commit(code, 'install', '-t', 'post-commit', '-t', 'pre-push')


def _traces(code):
    path = code.path.parent / 'trace'
    return path.read_text().count('ran') if path.exists() else 0


@pytest.mark.heavy
@pytest.mark.parametrize('order', ['before', 'after', 'both'])
def test_pre_commit_and_ours_run_whichever_was_installed_first(code, order, monkeypatch):
    monkeypatch.setenv('PRE_COMMIT_HOME', str(code.path.parent / 'pre-commit'))
    origin = code.code_remote()
    _with_pre_commit(code)
    if order in ('before', 'both'):
        _install_pre_commit(code)
    code.install('commit', 'push')
    if order in ('after', 'both'):
        _install_pre_commit(code)
    assert all(hook['problem'] is None for hook in code.hooks('list', '--json').json)
    code.install('commit', 'push')  # changes nothing
    code.commit()
    assert (code.tags(), _traces(code)) == (['v0.1.0'], 1)
    code.finish_training(b'two')
    code.git('push', '-q', 'origin', 'main')
    assert (code.tags(), _traces(code)) == (['v0.1.0', 'v0.2.0'], 2)
    assert git('rev-parse', 'main', cwd=origin) == code.head()
    code.hooks('uninstall')
    assert code.hooks('list', '--json').json == []
    code.finish_training(b'three')
    code.commit()
    assert (len(code.tags()), _traces(code)) == (2, 3)
    assert sorted(path.name for path in code.hook('x').parent.iterdir() if path.suffix != '.sample') == [
        'post-commit',
        'pre-push',
    ]


def test_a_gate_stops_a_push_through_pre_commit(code, monkeypatch):
    monkeypatch.setenv('PRE_COMMIT_HOME', str(code.path.parent / 'pre-commit'))
    origin = code.code_remote()
    _with_pre_commit(code, stages=['pre-push'])
    code.install('push')
    _install_pre_commit(code)
    code.write('config.yaml', 'huggingface: {remotes: [nowhere::x]}\n')
    code.git('push', 'origin', 'main', code=1)
    assert git('for-each-ref', cwd=origin) == ''


@pytest.fixture
def by_pre_commit(code, tmp_path, monkeypatch):
    """The code, whose pre-commit has the hook that this project offers; hfmirror is that of PATH."""
    monkeypatch.setenv('PRE_COMMIT_HOME', str(tmp_path / 'pre-commit'))
    project = tmp_path / 'project'
    git('init', '-q', '-b', 'main', project)
    with open(os.path.join(os.path.dirname(__file__), '..', '.pre-commit-hooks.yaml')) as file:
        (project / '.pre-commit-hooks.yaml').write_text(file.read())
    git('add', '.', cwd=project)
    git('commit', '-qm', 'a release of hfmirror', cwd=project)
    hook = {'id': 'hfmirror-release', 'language': 'system', 'args': ['--no-background']}
    revision = git('rev-parse', 'HEAD', cwd=project)
    _configure_pre_commit(code, [{'repo': str(project), 'rev': revision, 'hooks': [hook]}])
    _install_pre_commit(code)
    return code


def test_the_hook_for_pre_commit_releases_at_a_commit(by_pre_commit):
    done = by_pre_commit.commit()
    assert 'outputs: v0.1.0 pushed and proven' in done.out + done.err
    assert by_pre_commit.source() == by_pre_commit.head()


def test_the_hook_for_pre_commit_releases_at_a_push(by_pre_commit):
    origin = by_pre_commit.code_remote()
    by_pre_commit.git('push', '-q', 'origin', 'main')
    assert by_pre_commit.tags() == ['v0.1.0']
    assert by_pre_commit.source() == git('rev-parse', 'main', cwd=origin)


def test_the_hook_for_pre_commit_stops_a_push(by_pre_commit):
    origin = by_pre_commit.code_remote()
    by_pre_commit.write('config.yaml', 'huggingface: {remote: [local]}\n')
    by_pre_commit.git('push', 'origin', 'main', code=1)
    assert git('for-each-ref', cwd=origin) == ''


def _with_husky(code):
    """Make what `npx husky` makes: a directory of hooks that look for the script of their own name one level up."""
    place = code.path / '.husky' / '_'
    place.mkdir(parents=True)
    (place / 'h').write_text(
        '#!/usr/bin/env sh\nn=$(basename "$0")\ns=$(dirname "$(dirname "$0")")/$n\n[ ! -f "$s" ] && exit 0\n'
        'export PATH="node_modules/.bin:$PATH"\nsh -e "$s" "$@"\nexit $?\n'
    )
    for name in ('post-commit', 'pre-push'):
        (place / name).write_text('#!/usr/bin/env sh\n. "$(dirname "$0")/h"')
        (place / name).chmod(0o755)
    code.git('config', 'core.hooksPath', '.husky/_')


def test_the_hooks_of_husky_find_their_scripts_below_ours(code, tmp_path):
    _with_husky(code)
    code.write('.husky/post-commit', f'echo ran >{str(tmp_path / "log")!r}\n')
    done = code.install('commit')
    assert 'husky makes' in done.err
    code.commit()
    assert code.tags() == ['v0.1.0']
    assert (tmp_path / 'log').read_text() == 'ran\n'


@pytest.mark.heavy
def test_a_line_in_the_script_of_husky_does_as_well(code):
    _with_husky(code)
    code.write('.husky/post-commit', 'hfmirror hooks run commit --no-background\n')
    code.write('.husky/pre-push', 'hfmirror hooks run push --no-background\n')
    origin = code.code_remote()
    code.commit()
    assert code.tags() == ['v0.1.0']
    code.write('config.yaml', 'huggingface: {remote: [local]}\n')
    code.git('push', 'origin', 'main', code=1)
    assert git('for-each-ref', cwd=origin) == ''
