"""What could not be told to the webhook waits on disk, and is told again by who comes by: in order, once, without the address."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from hfmirror import notices as module
from hfmirror import notify
from hfmirror.config.places import home
from hfmirror.notices import Notices
from tests.support.fault import KILL, at, fault
from tests.support.webhook import NOBODY, RELEASE, configure, configured, running_webhook

SECRET = 's3cr3tpath'


@pytest.fixture
def webhook():
    with running_webhook() as made:
        yield made


@pytest.fixture
def notices():
    return Notices(home())


def tell(url, *releases, **given):
    notify.tell(configured(webhook_url=url, **given), releases, seconds=1)


def versions(webhook):
    return [event['version'] for event in webhook.events]


def named(version):
    return RELEASE._replace(version=version)


# -- what waits


def test_what_could_not_be_told_waits(notices):
    tell(NOBODY, RELEASE)
    (notice,) = notices.waiting()
    assert notice.event['version'] == 'v1.2.0'
    assert (notice.attempts, notice.error) == (1, 'Connection refused')
    assert notice.project == os.getcwd()


def test_what_was_told_does_not_wait(webhook, notices):
    tell(webhook.url, RELEASE)
    assert notices.waiting() == []


@pytest.mark.parametrize('status', [408, 429, 500, 502, 503, 504])
def test_a_receiver_that_is_busy_or_broken_is_told_again(webhook, notices, status):
    webhook.status = status
    tell(webhook.url, RELEASE)
    webhook.status = 204
    tell(webhook.url)
    assert versions(webhook) == ['v1.2.0', 'v1.2.0']
    assert notices.waiting() == []


@pytest.mark.parametrize('status', [301, 400, 401, 403, 404, 410])
def test_what_is_refused_is_dropped_with_a_warning(webhook, notices, capsys, status):
    webhook.status = status
    tell(webhook.url, RELEASE)
    assert notices.waiting() == []
    assert f'HTTP {status}' in capsys.readouterr().err


def test_a_receiver_that_hangs_is_told_again(webhook, notices):
    webhook.delay_s = 60
    tell(webhook.url, RELEASE, timeout=0.3)
    assert len(notices.waiting()) == 1
    webhook.delay_s = 0
    tell(webhook.url)
    assert notices.waiting() == []


def test_an_event_has_the_same_id_each_time(webhook):
    webhook.status = 503
    tell(webhook.url, RELEASE)
    webhook.status = 204
    tell(webhook.url)
    first, second = webhook.events
    assert first == second
    assert first['id']


def test_two_events_have_two_ids(webhook):
    tell(webhook.url, RELEASE, RELEASE)
    assert len({event['id'] for event in webhook.events}) == 2


def test_what_waits_is_told_before_the_news_and_oldest_first(webhook):
    for version in ('v1', 'v2'):
        tell(NOBODY, named(version))
    tell(webhook.url, named('v3'))
    assert versions(webhook) == ['v1', 'v2', 'v3']


def test_the_first_that_fails_leaves_the_rest_for_later(webhook, notices):
    for version in ('v1', 'v2'):
        tell(NOBODY, named(version))
    webhook.status = 503
    tell(webhook.url, named('v3'))
    assert versions(webhook) == ['v1']
    assert [notice.event['version'] for notice in notices.waiting()] == ['v1', 'v2', 'v3']


def test_one_that_is_refused_does_not_hold_up_the_others(webhook, notices):
    webhook.status = 400
    tell(webhook.url, named('v1'), named('v2'))
    assert versions(webhook) == ['v1', 'v2']
    assert notices.waiting() == []


def test_all_that_waits_together_takes_no_longer_than_the_timeout(webhook, notices):
    for number in range(8):
        tell(NOBODY, named(f'v{number}'))
    webhook.delay_s = 0.3
    started = time.monotonic()
    tell(webhook.url, timeout=1)
    assert time.monotonic() - started < 2
    assert 0 < len(notices.waiting()) < 8


# -- on disk


def test_nothing_of_the_address_is_on_disk(notices):
    tell(f'http://127.0.0.1:1/{SECRET}?key={SECRET}', RELEASE)
    content = next(notices.root.glob('*.json')).read_text()
    assert SECRET not in content
    assert '127.0.0.1' not in content


def test_only_the_owner_may_read_it(notices):
    tell(NOBODY, RELEASE)
    assert stat.S_IMODE(next(notices.root.glob('*.json')).stat().st_mode) == 0o600
    assert stat.S_IMODE(notices.root.stat().st_mode) == 0o700


def test_what_is_too_old_is_dropped_and_said(notices, capsys):
    tell(NOBODY, RELEASE)
    (notice,) = notices.waiting()
    old = f'{int((time.time() - module._AGE_S - 60) * 1e9):020d}-abcdef.json'
    notice.path.rename(notices.root / old)
    capsys.readouterr()
    tell(NOBODY)
    assert '1 notification waited for too long' in capsys.readouterr().err
    assert list(notices.root.glob('*.json')) == []


def test_no_more_than_a_bound_waits(notices, monkeypatch):
    monkeypatch.setattr(module, '_MOST', 3)
    for number in range(5):
        notices.keep({'version': str(number)})
    assert [notice.event['version'] for notice in notices.waiting()] == ['2', '3', '4']
    assert notices.tidy() == 2
    assert len(list(notices.root.glob('*.json'))) == 3


@pytest.mark.parametrize(
    'content', ['', '{', '[]', '{"format": 2}', '{"format": 1, "event": 3}', '[' * 100_000, '0' * 200_000]
)
def test_a_broken_file_is_passed_over_and_removed(notices, webhook, content):
    tell(NOBODY, RELEASE)
    (notices.root / '01700000000000000000-abcdef.json').write_text(content)
    tell(webhook.url)
    assert versions(webhook) == ['v1.2.0']
    assert list(notices.root.glob('*.json')) == []


def test_a_link_is_not_followed(notices, tmp_path):
    notices.root.mkdir(parents=True)
    (tmp_path / 'other.json').write_text(
        json.dumps({'format': 1, 'event': {}, 'project': '', 'attempts': 0, 'error': None})
    )
    (notices.root / f'{time.time_ns():020d}-abcdef.json').symlink_to(tmp_path / 'other.json')
    assert notices.waiting() == []


def test_a_disk_that_takes_nothing_does_not_keep_it_from_being_told(webhook, notices):
    notices.root.parent.mkdir(parents=True)
    notices.root.write_text('a file is in the way')
    tell(webhook.url, RELEASE)
    assert versions(webhook) == ['v1.2.0']


def test_who_tells_what_waits_is_one_at_a_time(webhook, notices):
    tell(NOBODY, named('v1'))
    with notices.claimed() as ours:
        assert ours
        tell(webhook.url, named('v2'))
    assert versions(webhook) == ['v2']
    assert [notice.event['version'] for notice in notices.waiting()] == ['v1']


def test_what_waits_of_another_project_is_not_told_to_ours(webhook, notices, tmp_path, monkeypatch):
    tell(NOBODY, RELEASE)
    other = tmp_path / 'other'
    other.mkdir()
    monkeypatch.chdir(other)
    tell(webhook.url)
    assert webhook.got == []
    monkeypatch.chdir(tmp_path)
    tell(webhook.url)
    assert len(webhook.got) == 1


# -- with the commands


def test_the_next_push_tells_what_the_last_one_could_not(mirror, folder, webhook, tmp_path):
    configure(tmp_path, NOBODY)
    mirror.push(folder, '--tag', 'v1.0.0')
    configure(tmp_path, webhook.url)
    mirror.push(folder)  # nothing to do, and so no news
    assert versions(webhook) == ['v1.0.0']


@pytest.mark.heavy
def test_resume_tells_what_waits_and_status_shows_it(mirror, folder, webhook, tmp_path):
    configure(tmp_path, NOBODY)
    mirror.push(folder, '--tag', 'v1.0.0')
    shown = mirror.run('status', code=0)
    assert f'1 notification of {tmp_path}, since ' in shown.out
    (row,) = mirror.run('status', '--json', code=0).json
    assert (row['kind'], row['version'], row['error']) == ('notification', 'v1.0.0', 'Connection refused')
    configure(tmp_path, webhook.url)
    assert '1 notification told' in mirror.run('resume', code=0).err
    assert versions(webhook) == ['v1.0.0']
    assert 'nothing waits' in mirror.run('status', code=0).err


def test_resume_says_why_a_notification_is_not_told(mirror, folder, tmp_path):
    configure(tmp_path, NOBODY)
    mirror.push(folder, '--tag', 'v1.0.0')
    (tmp_path / 'elsewhere').mkdir()
    there = mirror.run('resume', cwd=tmp_path / 'elsewhere', code=0)
    assert '1 notification of other projects' in there.err and 'nothing waits' not in there.err
    (tmp_path / 'config.yaml').unlink()
    assert '1 notification not told: notifications are off here' in mirror.run('resume', code=0).err


def test_a_notification_can_be_dropped(mirror, folder, tmp_path):
    configure(tmp_path, NOBODY)
    mirror.push(folder)
    (row,) = mirror.run('status', '--json', code=0).json
    assert 'will not be sent' in mirror.run('resume', '--drop', row['id'], code=0).err
    assert mirror.run('status', '--json', code=0).json == []


def test_a_push_that_is_killed_while_it_tells_is_told_later(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    killed = fault(tmp_path / 'fault', at('hfmirror.notify:_post', before=KILL))
    mirror.push(folder, '--tag', 'v1.0.0', env=killed, code=-9)
    assert webhook.got == []
    mirror.run('resume', code=0)
    assert versions(webhook) == ['v1.0.0']


def test_a_results_file_is_told_with_all_its_numbers(mirror, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    (tmp_path / 'results.json').write_text('{"accuracy": 0.95, "loss": 0.05, "epochs_run": 3, "name": "x"}')
    mirror.run(
        'push', 'results.json', '--repo', 'me/results', '--repo-type', 'dataset', '--remote', 'local', code=0
    )
    assert webhook.events[0]['metrics'] == {'accuracy': 0.95, 'loss': 0.05, 'epochs_run': 3}


def test_the_endpoint_of_the_guide_keeps_each_result_once(mirror, tmp_path):
    text = (Path(module.__file__).parents[1] / 'docs' / 'notifications.md').read_text('utf-8')
    (code,) = re.findall(r'```python\n(.*?)```', text, re.DOTALL)
    with socket.create_server(('127.0.0.1', 0)) as free:
        port = free.getsockname()[1]
    endpoint = subprocess.Popen(
        [sys.executable, '-c', code, str(port)], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        configure(tmp_path, f'http://127.0.0.1:{port}/results')
        (tmp_path / 'results.json').write_text('{"accuracy": 0.95, "loss": 0.05}')
        mirror.run(
            'push',
            'results.json',
            '--repo',
            'me/results',
            '--repo-type',
            'dataset',
            '--remote',
            'local',
            code=0,
        )
    finally:
        endpoint.kill()
        endpoint.wait()
    kept = json.loads((tmp_path / 'results.jsonl').read_text())
    assert kept == {'me/results': {'accuracy': 0.95, 'loss': 0.05}, 'version': 'v0.1.0'}


def wait_for(port):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection(('127.0.0.1', port)).close()
            return
        time.sleep(0.02)
    pytest.fail('the endpoint did not start')
