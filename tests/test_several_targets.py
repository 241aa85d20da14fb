"""One push to several targets: the folder is read once, and each target is proven and told of on its own."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys

import pytest

from tests.support.folder import checksums
from tests.support.mirror import git

FAST = 'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
LARGE = random.Random(5).randbytes(11_000_000)  # above the size from which every file goes to LFS


@pytest.fixture
def hub(shared_hub, mirror, monkeypatch, request, tmp_path):
    """The Hub as the user ``local`` has it in the environment; the test has a repository of its own there."""
    shared_hub.heal()
    shared_hub.forget()
    monkeypatch.setenv('HF_ENDPOINT', shared_hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', shared_hub.token)
    mirror.repo = f'local/{re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")}'
    (tmp_path / 'config.yaml').write_text(FAST)
    git('config', '--global', 'lfs.transfer.maxretries', '1')
    return shared_hub


@pytest.fixture
def bare(hub, mirror, host):
    """Where the repository is on each remote, by the name that --remote gives it."""
    return {
        'hub': hub.root / 'models' / f'{mirror.repo}.git',
        'local': mirror.home / 'hub' / 'models' / f'{mirror.repo}.git',
        host.url(mirror.repo): host.create(mirror.repo),
    }


@pytest.fixture
def all_of_them(bare):
    return [part for remote in bare for part in ('--remote', remote)]


def statuses(rows):
    return {row['target'].partition(' on ')[2]: row['status'] for row in rows}


def tags(path):
    return git('tag', cwd=path).split()


def waiting(mirror):
    return {row['target'].partition(' on ')[2] for row in mirror.run('status', '--json', code=0).json}


def assert_whole(path):
    git('fsck', '--full', '--strict', cwd=path)
    git('lfs', 'fsck', 'main', cwd=path)


def test_the_release_is_on_each_of_them(mirror, folder, bare, all_of_them):
    rows = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0')
    assert statuses(rows) == dict.fromkeys(bare, 'pushed')
    assert {row['version'] for row in rows} == {'v1.0.0'}
    for row, path in zip(rows, bare.values(), strict=True):
        assert git('rev-parse', 'v1.0.0^{commit}', cwd=path) == row['commit']
        assert_whole(path)


@pytest.mark.heavy
def test_each_is_told_of_in_the_order_of_the_options(mirror, folder, bare, all_of_them):
    done = mirror.run('push', folder, *all_of_them, '--repo', mirror.repo, '--tag', 'v1.0.0', code=0)
    assert [line.split(': ')[0] for line in done.out.splitlines()] == [
        f'{mirror.repo} on {remote}' for remote in bare
    ]


@pytest.mark.heavy
def test_each_gets_the_next_version_of_its_own(mirror, folder, bare, all_of_them):
    mirror.push(folder, '--remote', 'local', '--tag', 'v3.1.0')
    folder.write('config.json', '{"hidden_size": 2}')
    rows = mirror.push(folder, *all_of_them, '--bump', 'minor')
    assert [row['version'] for row in rows] == ['v0.1.0', 'v3.2.0', 'v0.1.0']


@pytest.mark.heavy
def test_one_that_has_it_already_is_left_as_it_is(mirror, folder, bare, all_of_them):
    mirror.push(folder, '--remote', 'local', '--tag', 'v1.0.0')
    rows = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0')
    assert [row['status'] for row in rows] == ['pushed', 'up-to-date', 'pushed']


def test_a_dry_run_makes_nothing_on_any_of_them(mirror, folder, bare, all_of_them):
    rows = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', '--dry-run')
    assert set(statuses(rows).values()) == {'dry-run'}
    *made, empty = bare.values()
    assert not any(path.exists() for path in made) and tags(empty) == []


def test_one_that_is_away_does_not_keep_the_others_from_it(mirror, folder, host, bare, all_of_them):
    host.stop()
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    url = host.url(mirror.repo)
    assert statuses(done.json) == {'hub': 'pushed', 'local': 'pushed', url: 'queued'}
    assert '1 of 3 targets' in done.err and 'hfmirror resume' in done.err
    assert waiting(mirror) == {url}
    assert tags(bare['hub']) == tags(bare['local']) == ['v1.0.0']


@pytest.mark.heavy
def test_one_that_cannot_be_written_to_does_not_keep_the_others_from_it(mirror, folder, bare, all_of_them):
    # Not by its mode: tests may run as root, whom no mode stops.
    in_the_way = mirror.home / 'hub' / 'models'
    in_the_way.parent.mkdir(parents=True)
    in_the_way.touch()
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    assert [row['status'] for row in done.json] == ['pushed', 'failed', 'pushed']
    assert str(in_the_way) in done.json[1]['error']
    assert '1 of 3 targets' in done.err and 'Traceback' not in done.err


@pytest.mark.heavy
def test_resume_finishes_the_one_that_was_away(mirror, folder, host, bare, all_of_them):
    host.stop()
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    then = folder.checksums()
    shutil.rmtree(folder.path)
    host.start()
    (row,) = mirror.run('resume', '--json', code=0).json
    assert (row['version'], row['status']) == ('v1.0.0', 'pushed')
    mirror.run('pull', 'v1.0.0', '--to', 'got', '--remote', host.url(mirror.repo), code=0)
    assert then.items() <= checksums(mirror.tmp_path / 'got').items()
    assert waiting(mirror) == set()


def test_one_that_refuses_does_not_keep_the_others_from_it(mirror, folder, hub, bare, all_of_them):
    hub.fail('POST /api/repos/create', 403, times=9)
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    refused, *others = done.json
    assert refused.keys() == {'target', 'status', 'url', 'error'}
    assert refused['status'] == 'failed' and '403' in refused['error'] and refused['url'].startswith('http')
    assert [row['status'] for row in others] == ['pushed', 'pushed']
    assert f'error: {mirror.repo} on hub' in done.err and '1 of 3 targets' in done.err
    assert hub.token not in done.out + done.err


@pytest.mark.heavy
def test_one_that_refuses_does_not_wait(mirror, folder, hub, bare, all_of_them):
    hub.fail('POST /git-receive-pack', 403, times=9)
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    assert waiting(mirror) == set()


@pytest.mark.heavy
def test_one_that_refuses_is_finished_by_the_next_push(mirror, folder, hub, bare, all_of_them):
    hub.fail('POST /git-receive-pack', 403, times=9)
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    hub.heal()
    rows = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0')
    assert [row['status'] for row in rows] == ['pushed', 'up-to-date', 'up-to-date']


def test_a_token_is_not_needed_for_the_others(mirror, folder, bare, all_of_them, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    assert [row['status'] for row in done.json] == ['failed', 'pushed', 'pushed']
    assert 'hf auth login' in done.json[0]['error']


@pytest.mark.heavy
def test_one_that_has_the_tag_with_other_content(mirror, folder, bare, all_of_them):
    mirror.push(folder, '--remote', 'local', '--tag', 'v1.0.0')
    folder.write('config.json', '{"hidden_size": 2}')
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    assert [row['status'] for row in done.json] == ['pushed', 'failed', 'pushed']
    assert 'already at' in done.json[1]['error']


@pytest.mark.heavy
def test_several_that_are_away_are_all_resumed(mirror, folder, host, hub, bare, all_of_them):
    host.stop()
    hub.cut('* /', received=0, times=1000)
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    assert waiting(mirror) == {'hub', host.url(mirror.repo)}
    hub.heal()
    done = mirror.run('resume', '--json', code=9)  # the host is still away
    assert statuses(done.json) == {'hub': 'pushed', host.url(mirror.repo): 'waiting'}
    host.start()
    mirror.run('resume', code=0)
    assert all(tags(path) == ['v1.0.0'] for path in bare.values())


@pytest.mark.heavy
def test_one_that_cannot_be_opened_does_not_keep_the_others_from_being_resumed(
    mirror, folder, host, hub, bare, all_of_them
):
    host.stop()
    hub.cut('* /', received=0, times=1000)
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=9)
    hub.heal()
    host.start()
    (mark,) = (
        path for path in (mirror.home / 'clones').glob('*/hfmirror.json') if hub.endpoint in path.read_text()
    )
    lock = mark.parent.with_name(f'{mark.parent.name}.lock')
    lock.unlink(missing_ok=True)
    lock.mkdir()
    done = mirror.run('resume', '--json', code=9)
    assert statuses(done.json) == {'hub': 'waiting', host.url(mirror.repo): 'pushed'}
    assert str(lock) in done.err and 'Traceback' not in done.err


def test_the_configuration_names_them(mirror, folder, bare, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        FAST + '  repository: {model_name: ' + mirror.repo + '}\n  remotes: [hub, local]\n'
    )
    done = mirror.run('push', folder, '--tag', 'v1.0.0', '--json', code=0)
    assert statuses(done.json) == {'hub': 'pushed', 'local': 'pushed'}


@pytest.mark.heavy
def test_each_object_is_sent_once_to_each(mirror, folder, host, hub, all_of_them):
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0')
    assert len(hub.requests('PUT')) == len(host.requests('PUT')) == 1


def read_bytes(mirror, path, *args):
    """Push under strace and return how many bytes were read of ``path`` by its own name."""
    trace = mirror.tmp_path / 'trace'
    # -y tells the file behind each number, -s 0 leaves its bytes out.
    tracing = ['strace', '-f', '-qq', '-y', '-s', '0', '-e', 'trace=read,pread64,readv,preadv', '-o', trace]
    command = [sys.executable, '-m', 'hfmirror', 'push', path.parent, '--repo', mirror.repo, *args]
    subprocess.run([*map(str, tracing), *map(str, command)], check=True, capture_output=True)
    return sum(_counts(trace.read_text().splitlines(), f'<{path}>'))


def _counts(lines, name):
    """Yield what each read of the file returned. A call that another thread cuts in on is told in two lines."""
    begun = set()
    for line in lines:
        process = line.split()[0]
        if name in line and '<unfinished' in line:
            begun.add(process)
        elif name in line or ('resumed' in line and process in begun):
            begun.discard(process)
            yield int(line.rpartition(' = ')[2].split()[0])


ONCE = 1.5  # times its size: the facts and the gates look at the beginning too
traced = pytest.mark.skipif(shutil.which('strace') is None, reason='strace is not installed')


@pytest.mark.heavy
@traced
def test_a_file_is_read_once_for_two_networks(mirror, folder, host, bare):
    weights = folder.write('model.bin', LARGE)
    remotes = ['--remote', 'hub', '--remote', host.url(mirror.repo)]
    assert len(LARGE) <= read_bytes(mirror, weights, *remotes, '--tag', 'v1.0.0') < ONCE * len(LARGE)


@traced
@pytest.mark.heavy
def test_a_file_is_copied_and_hashed_in_one_reading_for_all(mirror, folder, host, bare):
    weights = folder.write('model.bin', LARGE)
    remotes = ['--remote', 'local', '--remote', 'hub', '--remote', host.url(mirror.repo)]
    assert read_bytes(mirror, weights, *remotes, '--tag', 'v1.0.0') < ONCE * len(LARGE)


@traced
@pytest.mark.heavy
def test_an_untouched_file_is_not_read_for_any_of_them(mirror, folder, bare, all_of_them):
    weights = folder.write('model.bin', LARGE)
    mirror.push(folder, *all_of_them, '--tag', 'v1.0.0')
    assert read_bytes(mirror, weights, *all_of_them, '--tag', 'v1.0.0') == 0


@traced
@pytest.mark.heavy
def test_a_file_too_young_to_be_kept_in_mind_is_read_once_all_the_same(mirror, folder, host, bare):
    weights = folder.write('model.bin', LARGE, age_s=-3600.0)
    remotes = ['--remote', 'hub', '--remote', host.url(mirror.repo)]
    assert read_bytes(mirror, weights, *remotes, '--tag', 'v1.0.0') < ONCE * len(LARGE)


@traced
@pytest.mark.heavy
def test_directories_come_first_since_they_are_copied_to(mirror, folder, bare, all_of_them):
    weights = folder.write('model.bin', LARGE)
    assert read_bytes(mirror, weights, *all_of_them, '--tag', 'v1.0.0') < ONCE * len(LARGE)


@pytest.mark.heavy
def test_what_stops_all_of_them_ends_as_it_does_for_one(mirror, folder, bare, all_of_them):
    folder.write('eval_results.json', '{')
    done = mirror.push(folder, *all_of_them, '--tag', 'v1.0.0', code=8)
    assert [row['status'] for row in done.json] == ['failed', 'failed', 'failed']
