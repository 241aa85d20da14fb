"""list-versions: what the tags say, newest first, without a file's content."""

from __future__ import annotations

import resource
import subprocess
from datetime import datetime

import pytest

from hfmirror import message, refs
from tests.support.githost import GitHost
from tests.support.mirror import bare, git


def tag_remote(remote, tags, *, seconds=1):
    """Make a bare repository with a small commit for each tag, some seconds apart: {name: message}.

    None as a message makes a lightweight tag.
    """
    if not remote.exists():
        remote.parent.mkdir(parents=True, exist_ok=True)
        bare(remote)
    lines = []
    for number, (name, text) in enumerate(tags.items()):
        when = f'Ada <ada@example.org> {1700000000 + number * seconds} +0000'
        lines.append(f'commit refs/heads/main\ncommitter {when}\ndata 2\nx\n')
        lines.append(f'M 100644 inline config.json\ndata {len(str(number))}\n{number}\n')
        if text is None:
            lines.append(f'reset refs/tags/{name}\nfrom refs/heads/main\n')
        else:
            data = text if isinstance(text, bytes) else text.encode()
            size = len(data)
            lines.append(f'tag {name}\nfrom refs/heads/main\ntagger {when}\ndata {size}\n')
            lines.append(data)
            lines.append('\n')
    stream = b''.join(line if isinstance(line, bytes) else line.encode() for line in lines)
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=remote, input=stream, check=True)
    return remote


def listed(mirror, *args, code=0):
    done = mirror.run('list-versions', '--remote', 'local', '--repo', mirror.repo, *args, '--json', code=code)
    return done.json if code == 0 else done


def test_a_tag_with_a_text_that_is_too_long_is_listed_without_it(mirror):
    tag_remote(mirror.remote, {'v1.0.0': 'x' * (refs._TEXT_MAX + 1), 'v1.1.0': 'short'})
    assert [(one['name'], one['message']) for one in listed(mirror)] == [('v1.1.0', 'short'), ('v1.0.0', '')]


def test_no_more_text_of_all_tags_is_read_than_fits(mirror, monkeypatch):
    monkeypatch.setattr(refs, '_TEXTS_MAX', 1000)
    tag_remote(mirror.remote, {f'v1.{number}.0': 'x' * 300 for number in range(9)})
    texts = [version.message for version in refs.tags_in(mirror.remote)]
    assert len(texts) == 9
    assert 0 < sum(map(bool, texts)) < 4


@pytest.mark.parametrize('what', ['main:config.json', 'main^{tree}'])
def test_a_tag_of_no_commit_is_listed_without_a_text(mirror, what):
    tag_remote(mirror.remote, {'v1.0.0': 'first'})
    git('update-ref', 'refs/tags/v2.0.0', git('rev-parse', what, cwd=mirror.remote), cwd=mirror.remote)
    assert {one['name']: one['message'] for one in listed(mirror)} == {'v2.0.0': '', 'v1.0.0': 'first'}


def names(versions):
    return [version['name'] for version in versions]


def test_every_fact_of_a_release_is_read_back_from_its_tag(mirror, folder):
    (pushed,) = mirror.push(folder, '--tag', 'v1.0.0', '-m', 'the first one')
    (version,) = listed(mirror)
    assert list(version) == ['name', 'kind', 'commit', 'date', 'size', 'files', 'metrics', 'message']
    assert (version['name'], version['kind'], version['commit']) == ('v1.0.0', 'semantic', pushed['commit'])
    assert datetime.fromisoformat(version['date']).tzinfo is not None
    assert version['files'] == len(mirror.files())
    assert version['metrics'] == {'eval_accuracy': 0.91, 'eval_loss': 0.25}
    assert 'the first one' in version['message'] or 'v1.0.0' in version['message']


def test_size_is_that_of_all_files_with_their_weights(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    (version,) = listed(mirror)
    plain = {path: content for path, content in mirror.files().items() if path != 'model.bin'}
    weights = (folder.path / 'model.bin').stat().st_size
    assert version['size'] == weights + sum(len(content) for content in plain.values())


def test_the_newest_comes_first(mirror):
    tag_remote(mirror.remote, dict.fromkeys(['v1.10.0', 'v1.2.0', 'v2.0.0'], 'x'))
    assert names(listed(mirror)) == ['v2.0.0', 'v1.2.0', 'v1.10.0']


def test_versions_of_the_same_second_are_ordered_as_versions(mirror):
    tags = dict.fromkeys(['v1.10.0', 'v1.2.0', 'v2.0.0-rc.1', 'v2.0.0', 'v1.9.0'], 'x')
    tag_remote(mirror.remote, tags, seconds=0)
    assert names(listed(mirror)) == ['v2.0.0', 'v2.0.0-rc.1', 'v1.10.0', 'v1.9.0', 'v1.2.0']


@pytest.fixture
def kinds(mirror):
    tags = [
        'v1.0.0',
        'v20240101-120000',
        'exp-baseline-002',
        'exp-baseline-010',
        'v20250101-120000',
        'v1.1.0',
    ]
    return tag_remote(mirror.remote, dict.fromkeys(tags, 'x'))


@pytest.mark.parametrize(
    ('kind', 'expected'),
    [
        ('semantic', ['v1.1.0', 'v1.0.0']),
        ('timestamp', ['v20250101-120000', 'v20240101-120000']),
        ('experiment', ['exp-baseline-010', 'exp-baseline-002']),
    ],
)
def test_kind_shows_only_those(mirror, kinds, kind, expected):
    versions = listed(mirror, '--kind', kind)
    assert names(versions) == expected
    assert {version['kind'] for version in versions} == {kind}


def test_limit_shows_the_newest_of_what_is_asked_for(mirror, kinds):
    assert names(listed(mirror, '--kind', 'semantic', '--limit', '1')) == ['v1.1.0']
    assert len(listed(mirror, '--limit', '4')) == 4


@pytest.mark.parametrize('option', [['--limit', '0'], ['--limit', 'many'], ['--kind', 'nightly']])
def test_a_wrong_option_is_a_usage_error(mirror, kinds, option):
    assert mirror.run('list-versions', *option, code=2).out == ''


def test_a_table_for_people_has_a_header_and_one_line_a_version(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    done = mirror.run('list-versions', code=0)
    header, line = done.out.splitlines()
    assert header.split() == ['NAME', 'KIND', 'COMMIT', 'DATE', 'SIZE', 'FILES', 'METRICS', 'MESSAGE']
    assert line.startswith('v1.0.0  semantic')
    assert '0.91' in line


def test_without_options_it_is_what_was_pushed_from_this_directory(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    done = mirror.run('list-versions', '--json', code=0)
    assert names(done.json) == ['v1.0.0']


def test_a_thousand_tags_are_listed_in_under_a_second(mirror):
    facts = 'feat(model): x\n\nHfmirror-Files: 12\nHfmirror-Size: 91000000\nHfmirror-Metrics: {"loss":0.5}\n'
    tag_remote(mirror.remote, {f'v1.{number}.0': facts for number in range(1000)})
    # Processor time, since other tests share the machine; nothing here waits for anything.
    before = _children_s()
    versions = listed(mirror)
    assert _children_s() - before < 1
    assert len(versions) == 1000 and names(versions)[0] == 'v1.999.0'
    assert versions[0]['size'] == 91_000_000 and versions[0]['metrics'] == {'loss': 0.5}


def _children_s():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_tags_of_others_are_listed_with_what_they_say_or_left_out(mirror):
    tag_remote(
        mirror.remote,
        {'v1.0.0': None, 'v1.1.0': 'made by hand\n', '1.2.0': 'no prefix', 'nightly': 'x', 'stable': None},
    )
    versions = listed(mirror)
    assert names(versions) == ['1.2.0', 'v1.1.0', 'v1.0.0']
    by_name = {version['name']: version for version in versions}
    assert by_name['v1.1.0']['message'] == 'made by hand'
    assert all(version['size'] is None and version['metrics'] == {} for version in versions)
    assert by_name['v1.0.0']['commit'] == git('rev-parse', 'v1.0.0', cwd=mirror.remote)
    assert by_name['v1.1.0']['commit'] == git('rev-parse', 'v1.1.0^{commit}', cwd=mirror.remote)


HOSTILE = {
    'v1.0.0': '\x1b]0;owned\x07\x1b[31mred\n\nHfmirror-Size: 12',
    'v1.1.0': 'x\n\nHfmirror-Size: -5\nHfmirror-Files: 1e999\nHfmirror-Metrics: {"a": NaN, "b": 1e999}',
    'v1.2.0': 'x\n\nHfmirror-Metrics: ' + '[' * 50_000,
    'v1.3.0': b'caf\xe9 \xff\xfe',
    'v1.4.0': 'x' * 100_000,
    'v1.5.0': 'x\n\nHfmirror-Metrics: {"loss": "low", "n": {"deep": 1}, "ok": 2, "yes": true}',
    'v1.6.0': '',
    'v1.7.0': 'crlf\r\n\r\nHfmirror-Files: 3\r\n',
    'v1.8.0': 'x\n\nHfmirror-Size: ' + '9' * 5000,
}


def test_hostile_messages_neither_break_the_list_nor_steer_the_terminal(mirror):
    tag_remote(mirror.remote, HOSTILE)
    versions = {version['name']: version for version in listed(mirror)}
    assert versions.keys() == HOSTILE.keys()
    assert versions['v1.1.0']['size'] is None and versions['v1.1.0']['metrics'] == {}
    assert versions['v1.5.0']['metrics'] == {'ok': 2}
    assert versions['v1.7.0']['files'] == 3
    table = mirror.run('list-versions', '--remote', 'local', '--repo', mirror.repo, code=0).out
    assert '\x1b' not in table and '\x07' not in table
    assert max(len(line) for line in table.splitlines()) < 250


def test_a_tag_message_cannot_forge_the_lines_of_other_tags(mirror):
    tag_remote(mirror.remote, {'v1.0.0': 'x\n\nv9.9.9\n' + 'a' * 40, 'v1.1.0': 'y'})
    assert names(listed(mirror)) == ['v1.1.0', 'v1.0.0']


def test_a_tag_of_something_that_is_no_commit_does_not_break_the_list(mirror):
    tag_remote(mirror.remote, {'v1.0.0': 'x'})
    blob = git('rev-parse', 'main:config.json', cwd=mirror.remote)
    git('tag', 'v2.0.0', blob, cwd=mirror.remote)
    git('tag', '-a', '-m', 'nested', 'v3.0.0', 'v1.0.0', cwd=mirror.remote)
    assert 'v1.0.0' in names(listed(mirror))


def test_a_repository_without_versions_gives_an_empty_list(mirror, folder):
    mirror.push(folder, '--no-tag')
    assert listed(mirror) == []


def test_a_repository_that_is_not_there_is_not_found(mirror):
    done = listed(mirror, code=5)
    assert mirror.repo in done.err and 'Push to it first' in done.err and done.out == ''


def test_nothing_pushed_and_no_repo_named_is_a_usage_error(mirror):
    assert '--repo' in mirror.run('list-versions', code=2).err


@pytest.mark.heavy
def test_no_file_is_fetched_from_a_remote_behind_a_network(mirror, folder, tmp_path):
    with GitHost(tmp_path / 'host') as host:
        host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        mirror.push(folder, '--tag', 'v1.1.0', '--path-in-repo', 'again', *where)
        host.seen.clear()
        done = mirror.run(
            'list-versions', *where, '--json', code=0, env={'HFMIRROR_HOME': str(tmp_path / 'other')}
        )
        assert names(done.json) == ['v1.1.0', 'v1.0.0']
        assert done.json[0]['metrics'] == {'eval_accuracy': 0.91, 'eval_loss': 0.25}
        assert sum(seen.length for seen in host.seen) < 10_000
        assert host.requests('POST /info/lfs') == []


@pytest.mark.heavy
def test_known_tags_are_not_fetched_again(mirror, folder, tmp_path):
    with GitHost(tmp_path / 'host') as host:
        host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        mirror.run('list-versions', *where, code=0)
        host.seen.clear()
        mirror.run('list-versions', *where, code=0)
        assert sum(seen.length for seen in host.requests('POST /git-upload-pack')) < 2_000


@pytest.mark.heavy
def test_a_tag_deleted_on_the_remote_is_listed_no_more(mirror, folder, tmp_path):
    with GitHost(tmp_path / 'host') as host:
        remote = host.create('me/x')
        where = ['--remote', host.url('me/x')]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        mirror.run('list-versions', *where, code=0)
        git('tag', '-d', 'v1.0.0', cwd=remote)
        assert mirror.run('list-versions', *where, '--json', code=0).json == []


def test_what_the_tag_says_is_what_the_reader_reads():
    facts = message.read_tag('subject\n\nbody\n\nHfmirror-Version: v1\nHfmirror-Files: 3\nHfmirror-Size: 9\n')
    assert (facts.files, facts.size, facts.message) == (3, 9, 'subject')
