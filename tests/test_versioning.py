"""What a release is called and what it carries, through the real command."""

from __future__ import annotations

import re
import sys

import pytest

from tests.support.folder import checksums
from tests.support.mirror import clone_with_lfs, git


def push_new(mirror, folder, *args, **kwargs):
    """Push the folder with something new in it; returns the version's name."""
    push_new.count += 1
    folder.write('step.txt', f'{push_new.count}\n')
    return mirror.push(folder, *args, **kwargs)[0]['version']


push_new.count = 0


def configure(tmp_path, text):
    (tmp_path / 'config.yaml').write_text(f'huggingface:\n  versioning:\n{text}')


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('level', 'first', 'second'),
    [('major', 'v1.0.0', 'v2.0.0'), ('minor', 'v0.1.0', 'v0.2.0'), ('patch', 'v0.0.1', 'v0.0.2')],
)
def test_bump_from_nothing_and_from_something(mirror, folder, level, first, second):
    assert push_new(mirror, folder, '--bump', level) == first
    assert push_new(mirror, folder, '--bump', level) == second
    assert mirror.tags() == [first, second]


@pytest.mark.heavy
def test_a_bump_counts_from_the_highest_version_not_from_the_last(mirror, folder):
    push_new(mirror, folder, '--tag', 'v2.0.0')
    push_new(mirror, folder, '--tag', 'v1.9.0')
    push_new(mirror, folder, '--tag', 'v10.0.0')
    assert push_new(mirror, folder, '--bump', 'patch') == 'v10.0.1'


@pytest.mark.heavy
def test_without_an_option_it_is_the_next_minor_version(mirror, folder):
    assert push_new(mirror, folder) == 'v0.1.0'
    push_new(mirror, folder, '--tag', 'v3.4.5')
    assert push_new(mirror, folder) == 'v3.5.0'


@pytest.mark.heavy
def test_the_configuration_says_what_is_counted(mirror, folder, tmp_path):
    configure(tmp_path, '    auto_increment: patch\n')
    assert push_new(mirror, folder) == 'v0.0.1'
    assert push_new(mirror, folder) == 'v0.0.2'


def test_the_configuration_can_ask_for_timestamps(mirror, folder, tmp_path):
    configure(tmp_path, "    tag_format: 'v{timestamp}'\n")
    assert re.fullmatch(r'v\d{8}-\d{6}', push_new(mirror, folder))


@pytest.mark.heavy
def test_the_configuration_can_ask_for_no_tag(mirror, folder, tmp_path):
    configure(tmp_path, '    auto_tag: false\n')
    assert push_new(mirror, folder) is None
    assert mirror.tags() == []
    assert push_new(mirror, folder, '--bump', 'minor') == 'v0.1.0'


def test_a_configuration_that_cannot_be_is_said_before_anything_is_made(mirror, folder, tmp_path):
    configure(tmp_path, '    auto_increment: huge\n')
    done = mirror.push(folder, code=2)
    assert 'huggingface.versioning.auto_increment' in done.err
    assert not mirror.remote.exists()


@pytest.mark.heavy
def test_timestamps_are_names_of_their_own_kind(mirror, folder):
    first = push_new(mirror, folder, '--timestamp')
    second = push_new(mirror, folder, '--timestamp')
    assert re.fullmatch(r'v\d{8}-\d{6}', first)
    assert first != second
    listed = mirror.run('list-versions', '--kind', 'timestamp', '--json', code=0).json
    assert [version['name'] for version in listed] == [second, first]


@pytest.mark.heavy
def test_experiments_are_numbered_per_name(mirror, folder):
    names = [push_new(mirror, folder, '--experiment', name) for name in ('baseline', 'lora', 'baseline')]
    assert names == ['exp-baseline-001', 'exp-lora-001', 'exp-baseline-002']
    message = mirror.git('log', '-1', '--format=%B', 'exp-baseline-002')
    assert 'Experiment: baseline' in message.splitlines()


def test_no_tag_makes_a_commit_alone(mirror, folder):
    (done,) = mirror.push(folder, '--no-tag')
    assert (done['status'], done['version']) == ('pushed', None)
    assert mirror.tags() == []
    assert mirror.git('rev-list', '--count', 'main') == '1'


@pytest.mark.heavy
def test_an_untagged_commit_can_be_given_a_version_later(mirror, folder):
    mirror.push(folder, '--no-tag')
    mirror.push(folder, '--tag', 'v1.0.0')
    assert mirror.tags() == ['v1.0.0']
    mirror.assert_whole()


@pytest.mark.parametrize(
    'options',
    [
        ['--tag', 'v1.0.0', '--bump', 'minor'],
        ['--timestamp', '--no-tag'],
        ['--experiment', 'baseline', '--tag', 'v1.0.0'],
        ['--bump', 'minor', '--timestamp'],
    ],
    ids=' '.join,
)
def test_two_version_options_are_a_usage_error(mirror, folder, options):
    done = mirror.push(folder, *options, code=2)
    named = [option for option in options if option.startswith('--')]
    assert all(option in done.err for option in named)
    assert not mirror.remote.exists()


@pytest.mark.parametrize(
    'tag', ['v 1', '.v1', 'v1..2', 'v1.lock', 'v1~2', 'v1:2', 'a^b', 'v1/', '@{1}', '-v1', 'HEAD', '']
)
def test_a_bad_tag_is_a_usage_error_before_anything_is_read(mirror, tag):
    done = mirror.run('push', 'no-such-folder', f'--tag={tag}', '--remote', 'local', code=2)
    assert 'no-such-folder' not in done.err


def test_the_message_of_a_person_comes_first_and_the_facts_follow(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0', '-m', 'longer training\n\nwith more data')
    commit = mirror.git('log', '-1', '--format=%B', 'main')
    assert 'longer training' in commit
    assert 'with more data' in commit
    assert 'Hfmirror-Version:' in commit
    (listed,) = mirror.run('list-versions', '--json', code=0).json
    assert 'longer training' in listed['message']


def test_without_a_message_the_subject_says_what_and_which(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    assert mirror.git('log', '-1', '--format=%s', 'main') == 'feat(model): tiny-model v1.0.0'


@pytest.fixture
def code(folder):
    """The folder is inside the git repository of the training code."""
    root = folder.path.parent
    git('init', '-q', root)
    (root / 'train.py').write_text('print(1)\n')
    git('add', 'train.py', cwd=root)
    git('commit', '-q', '-m', 'code', cwd=root)
    return root


def trailer(mirror, name):
    value = mirror.git('log', '-1', f'--format=%(trailers:key={name},valueonly)', 'main')
    return value.strip()


def test_the_commit_names_the_code_it_was_made_with(mirror, folder, code):
    mirror.push(folder, '--tag', 'v1.0.0')
    assert trailer(mirror, 'Source-Commit') == git('rev-parse', 'HEAD', cwd=code)


def test_the_commit_says_when_the_code_had_changes(mirror, folder, code):
    (code / 'train.py').write_text('print(2)\n')
    mirror.push(folder, '--tag', 'v1.0.0')
    assert trailer(mirror, 'Source-Commit') == git('rev-parse', 'HEAD', cwd=code)
    assert trailer(mirror, 'Source-Dirty') == 'true'


def test_outside_a_git_repository_no_code_is_named(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    assert trailer(mirror, 'Source-Commit') == ''


def test_list_versions_reads_back_what_the_release_was(mirror, folder):
    (pushed,) = mirror.push(folder, '--tag', 'v1.0.0')
    (listed,) = mirror.run('list-versions', '--json', code=0).json
    assert listed['metrics'] == {'eval_accuracy': 0.91, 'eval_loss': 0.25}
    assert (listed['name'], listed['kind'], listed['commit']) == ('v1.0.0', 'semantic', pushed['commit'])
    assert listed['files'] == len(mirror.files())
    assert listed['size'] > (folder.path / 'model.bin').stat().st_size


def test_the_commit_tells_the_change_of_the_metrics(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    folder.write('eval_results.json', '{"eval_accuracy": 0.95, "eval_loss": 0.25}\n')
    mirror.push(folder, '--bump', 'minor')
    message = mirror.git('log', '-1', '--format=%B', 'main')
    assert '0.95' in message
    assert '+0.04' in message


@pytest.mark.heavy
def test_the_list_is_newest_first_and_latest_is_no_pre_release(mirror, folder):
    # Each newer and higher than the one before: two that are tagged in one second are ordered by version.
    tags = ['v1.0.0-alpha', 'v1.0.0-rc.2', 'v1.0.0-rc.10', 'v1.0.0', 'v1.1.0-rc.1']
    for tag in tags:
        push_new(mirror, folder, '--tag', tag)
    listed = mirror.run('list-versions', '--json', code=0).json
    assert [version['name'] for version in listed] == tags[::-1]
    assert mirror.run('verify', 'latest', '--json', code=0).json['version'] == 'v1.0.0'


# -- where and which files


@pytest.mark.heavy
def test_path_in_repo_leaves_everything_beside_it(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0', '--path-in-repo', 'a')
    folder.remove('notes/training.txt')
    mirror.push(folder, '--tag', 'v1.1.0', '--path-in-repo', 'b/c')
    files = mirror.files()
    assert {'a/model.bin', 'a/notes/training.txt', 'b/c/model.bin'} <= files.keys()
    assert 'b/c/notes/training.txt' not in files
    assert 'model.bin' not in files
    assert len(mirror.objects()) == 1


@pytest.mark.parametrize('path', ['../out', '/abs', 'a/../../b', '.git', 'a/.git/b'])
def test_a_path_in_repo_that_leads_out_is_a_usage_error(mirror, folder, path):
    mirror.push(folder, '--path-in-repo', path, code=2)
    assert not mirror.remote.exists()


@pytest.mark.heavy
def test_include_and_exclude(mirror, folder):
    folder.write('checkpoint-5/model.bin', b'\0' * 99)
    mirror.push(
        folder, '--tag', 'v1.0.0', '--include', '*.json', '--include', '*.bin', '--exclude', 'checkpoint-*/'
    )
    made = {'README.md', '.gitattributes'}
    assert mirror.files().keys() - made == {'config.json', 'eval_results.json', 'model.bin'}


ODD = [
    'with blank.bin',
    'trailing blank .bin',
    'folder/ leading blank.bin',
    'brackets [1] {2} (3).bin',
    'gewichte-für-müller.bin',
    '模型.bin',
    '-leading-dash.bin',
    '--option=value.bin',
    "it's.bin",
    'double"quote.bin',
    '#hash.bin',
    '!bang.bin',
    'star*.bin',
    'what?.bin',
    'dollar$HOME.bin',
    'percent%20.bin',
    'semi;colon&and.bin',
    '~tilde.bin',
    ':colon.bin',
    'e\u0301.bin',
    'emoji-🚀.bin',
    '[attr]x.bin',
    'no-extension',
    '.hidden.bin',
]


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such names')
@pytest.mark.parametrize('name', ODD, ids=ascii)
def test_odd_names_arrive_and_are_lfs_when_binary(mirror, folder, name, tmp_path):
    folder.write(name.replace('.bin', '.xyz'), b'\0\1\2' * 50)
    folder.write(f'{name}.d/inner {name}', b'\0\3' * 50)
    folder.write(f'{name}.txt', 'plain\n')
    mirror.push(folder, '--tag', 'v1.0.0')
    files = mirror.files()
    assert files[name.replace('.bin', '.xyz')].startswith(b'version https://git-lfs')
    assert files[f'{name}.d/inner {name}'].startswith(b'version https://git-lfs')
    assert files[f'{name}.txt'] == b'plain\n'
    mirror.assert_whole()
    mirror.run('pull', '--to', 'got', code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()
    clone = clone_with_lfs(mirror.remote, tmp_path / 'clone')
    assert folder.checksums().items() <= checksums(clone).items()
    assert git('status', '--porcelain', cwd=clone) == ''


@pytest.mark.heavy
def test_an_empty_file_arrives(mirror, folder, tmp_path):
    for name in ('empty.txt', 'empty.bin', 'empty.safetensors'):
        folder.write(name, b'')
    mirror.push(folder, '--tag', 'v1.0.0')
    mirror.assert_whole()
    mirror.run('verify', folder, code=0)
    mirror.run('pull', '--to', 'got', code=0)
    assert folder.checksums().items() <= checksums(tmp_path / 'got').items()
    clone = clone_with_lfs(mirror.remote, tmp_path / 'clone')
    assert git('status', '--porcelain', cwd=clone) == ''


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such bit')
def test_an_executable_file_stays_one(mirror, folder):
    folder.write('run.sh', '#!/bin/sh\n').chmod(0o755)
    mirror.push(folder, '--tag', 'v1.0.0')
    assert mirror.git('ls-tree', 'main', 'run.sh').startswith('100755')
    assert mirror.git('ls-tree', 'main', 'config.json').startswith('100644')


@pytest.mark.heavy
@pytest.mark.skipif(sys.platform == 'win32', reason='Windows has no such bit')
def test_an_executable_file_stays_one_in_a_release_that_waited(mirror, folder, tmp_path):
    from tests.support.githost import GitHost

    (tmp_path / 'config.yaml').write_text('huggingface: {settings: {upload: {max_retries: 0}}}\n')
    folder.write('run.sh', '#!/bin/sh\n').chmod(0o755)
    with GitHost(tmp_path / 'host') as host:
        mirror.remote = host.create(mirror.repo)
        host.stop()
        mirror.push(folder, '--remote', host.url(mirror.repo), '--tag', 'v1.0.0', code=7)
        clone_with_lfs(mirror.remote, tmp_path / 'person')
        git('commit', '-q', '--allow-empty', '-m', 'theirs', cwd=tmp_path / 'person')
        git('push', '-q', 'origin', 'HEAD:main', cwd=tmp_path / 'person')
        host.start()
        mirror.run('resume', code=0)
    assert mirror.git('ls-tree', 'main', 'run.sh').startswith('100755')


@pytest.mark.heavy
def test_a_text_file_of_10_mib_goes_to_lfs(mirror, folder):
    line = b'a line of text that is long enough to be read\n'
    big = line * (10 * 1024 * 1024 // len(line) + 1)
    folder.write('vocabulary.txt', big)
    folder.write('small.txt', big[: 10 * 1024 * 1024 - 1])
    mirror.push(folder, '--tag', 'v1.0.0')
    files = mirror.files()
    assert files['vocabulary.txt'].startswith(b'version https://git-lfs')
    assert files['small.txt'] == big[: 10 * 1024 * 1024 - 1]


@pytest.mark.heavy
def test_many_files_need_few_lines_in_gitattributes(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    before = len(mirror.files()['.gitattributes'].splitlines())
    for number in range(300):
        folder.write(f'shards/part-{number:04}.xyz', bytes([0, 1, number % 256]) * 9)
    mirror.push(folder, '--bump', 'minor')
    assert len(mirror.files()['.gitattributes'].splitlines()) <= before + 3


def test_a_repository_path_with_odd_signs(mirror, folder, tmp_path):
    path = tmp_path / 'a b#c;d "e" [f]' / 'm.git'
    git('init', '-q', '--bare', '-b', 'main', path)
    mirror.remote = path
    for options in (['--tag', 'v1.0.0'], ['--bump', 'minor']):
        push_new(mirror, folder, '--remote', path, *options)
    mirror.assert_whole()
    assert mirror.tags() == ['v1.0.0', 'v1.1.0']
