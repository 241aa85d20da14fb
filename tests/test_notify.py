"""Who is told of a push gets what came of it, no secret, and never holds the push up."""

from __future__ import annotations

import json
import math
import random
import re
import socket
import string
import sys
import threading
import time
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from hfmirror import errors, notify, target
from hfmirror.config import mailserver
from hfmirror.config.loading import inspect
from hfmirror.outcome import Unreleased
from tests.support.webhook import HUB, NOBODY, RELEASE, configure, configured, running_webhook

# apprise 2.2 imports a module that Python 3.13 no longer has; it is ready for that.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")

TOKEN = 'hf_' + ''.join(random.Random(7).choices(string.ascii_letters, k=34))


@pytest.fixture
def webhook():
    with running_webhook() as made:
        yield made


@pytest.fixture
def post():
    """A mail server that keeps what it is sent."""
    from aiosmtpd.controller import Controller

    class Box:
        def __init__(self):
            self.mails = []

        async def handle_DATA(self, server, session, envelope):
            self.mails.append((envelope, message_from_bytes(envelope.content, policy=policy.default)))
            return '250 OK'

    box = Box()
    controller = Controller(box, hostname='127.0.0.1', port=0)
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        controller.port = free.getsockname()[1]
    controller.start()
    box.url = f'mailto://127.0.0.1:{controller.port}?from=robot@example.org'
    yield box
    controller.stop()


def tell_hook(webhook, *releases, seconds=12.34, url=None, **given):
    notify.tell(configured(webhook_url=url or webhook.url, **given), releases, seconds=seconds)


def tell_mail(url, *releases, **given):
    notify.tell(configured(email_notifications=True, email_url=url, **given), releases, seconds=12.34)


def queued(note='hub.example.org: cannot be reached.'):
    return RELEASE._replace(status='queued', note=note)


def failed(message='me/tiny-model: the Hub is down.\nTry again.', where=HUB):
    return Unreleased(where, errors.NetworkError(message))


# -- what a webhook is told


def test_a_release_is_told(webhook):
    tell_hook(webhook, RELEASE)
    (event,) = webhook.events
    assert event.pop('date').endswith('+00:00')
    assert re.fullmatch(r'\d{20}-[0-9a-f]{6}', event.pop('id'))
    assert event == {
        'event': 'released',
        'text': 'me/tiny-model on hub: v1.2.0 is released',
        'repo': 'me/tiny-model',
        'repo_type': 'model',
        'target': 'hub',
        'url': 'https://hub.example.org/me/tiny-model',
        'status': 'pushed',
        'version': 'v1.2.0',
        'commit': 'c' * 40,
        'metrics': {'accuracy': 0.91},
        'added': 2,
        'modified': 1,
        'deleted': 0,
        'files': 12,
        'bytes': 90_900_000,
        'error': None,
        'duration_s': 12.3,
    }


def test_the_documentation_shows_every_key_in_order(webhook):
    tell_hook(webhook, RELEASE)
    text = (Path(notify.__file__).parents[1] / 'docs' / 'notifications.md').read_text('utf-8')
    shown = json.loads(text.split('```json\n')[1].split('```')[0])
    assert list(shown) == list(webhook.events[0])


def test_a_release_that_waits_is_told_with_the_reason(webhook):
    tell_hook(webhook, queued('no network.'))
    (event,) = webhook.events
    assert (event['event'], event['status'], event['error']) == ('queued', 'queued', 'no network.')
    assert event['text'] == 'me/tiny-model on hub: v1.2.0 waits to be sent'


def test_a_failure_is_told_with_the_reason(webhook):
    tell_hook(webhook, failed('me/tiny-model: the Hub is down.\nTry again.'))
    (event,) = webhook.events
    assert (event['event'], event['status'], event['version']) == ('failed', 'failed', None)
    assert event['error'] == 'me/tiny-model: the Hub is down.\nTry again.'
    assert event['text'] == 'me/tiny-model on hub: not released. me/tiny-model: the Hub is down.'


def test_every_event_has_the_same_keys(webhook):
    tell_hook(webhook, RELEASE)
    tell_hook(webhook, queued())
    tell_hook(webhook, failed())
    assert len({tuple(event) for event in webhook.events}) == 1


def test_each_target_is_told_of(webhook):
    tell_hook(webhook, RELEASE, failed(where=target.hub('https://other.example.org', 'me/tiny-model')))
    assert {event['event'] for event in webhook.events} == {'released', 'failed'}


@pytest.mark.parametrize('status', ['up-to-date', 'dry-run'])
def test_what_is_no_news_is_not_told(webhook, status):
    tell_hook(webhook, RELEASE._replace(status=status))
    assert webhook.got == []


def test_nothing_is_told_when_notifications_are_off(webhook):
    tell_hook(webhook, RELEASE, enabled=False)
    assert webhook.got == []


@pytest.mark.parametrize('url', ['', None])
def test_no_address_is_no_failure(url, capsys):
    notify.tell(configured(webhook_url=url), [RELEASE], seconds=1)
    assert capsys.readouterr().err == ''


def test_numbers_that_are_no_json_are_left_out(webhook):
    tell_hook(webhook, RELEASE._replace(metrics={'loss': math.nan, 'accuracy': 0.5, 'perplexity': math.inf}))
    assert webhook.events[0]['metrics'] == {'accuracy': 0.5}


def test_it_is_json_by_its_header(webhook):
    tell_hook(webhook, RELEASE)
    headers = webhook.got[0][1]
    assert headers['Content-Type'] == 'application/json'
    assert headers['User-Agent'].startswith('hfmirror/')


# -- no secret


@pytest.mark.parametrize(
    'done', [failed(f'the Hub refused {TOKEN}'), queued(f'https://me:{TOKEN}@host: gone')]
)
def test_no_token_is_told(webhook, done):
    tell_hook(webhook, done)
    assert TOKEN not in json.dumps(webhook.events)


@pytest.mark.parametrize(
    'url',
    [
        'http://me:s3cret@127.0.0.1:1/s3cret?key=s3cret',
        'http://127.0.0.1:1/s3 cret',
        'http://127.0.0.1:1/s3cret\n',
        'http://me:s3cret@127.0.0.1:port/',
        'http://[s3cret/',
        's3cret',
        'ftp://127.0.0.1/s3cret',
        'file:///tmp/s3cret',
    ],
)
def test_a_warning_shows_of_an_address_only_its_host(url, capsys):
    notify.tell(configured(webhook_url=url), [RELEASE], seconds=1)
    said = capsys.readouterr().err
    assert said.startswith('warning: notifications: ')
    assert said.count('\n') == 1
    assert 's3' not in said


@pytest.mark.parametrize('length', range(150, 250, 10))
def test_no_half_of_a_token_is_told_where_a_text_is_cut(webhook, length):
    tell_hook(webhook, failed('x' * length + f' {TOKEN}'))
    assert TOKEN[:6] not in webhook.events[0]['text']


# -- never in the way


def test_a_webhook_that_hangs_is_given_up_in_time(webhook, capsys):
    webhook.delay_s = 60
    started = time.monotonic()
    tell_hook(webhook, RELEASE, queued(), timeout=0.5)
    assert time.monotonic() - started < 3
    assert capsys.readouterr().err.count('in time') == 1


@pytest.mark.heavy
def test_a_mail_server_that_hangs_is_given_up_in_time(capsys):
    with socket.create_server(('127.0.0.1', 0)) as silent:
        started = time.monotonic()
        tell_mail(f'mailto://127.0.0.1:{silent.getsockname()[1]}?from=a@example.org', RELEASE, timeout=2)
        assert time.monotonic() - started < 5
    assert 'warning: notifications: me@example.org was not told' in capsys.readouterr().err


@pytest.mark.heavy
def test_webhook_and_mail_are_told_at_the_same_time(webhook, post):
    webhook.delay_s = 60
    config = configured(webhook_url=webhook.url, email_notifications=True, email_url=post.url, timeout=4)
    notify.tell(config, [RELEASE], seconds=1)
    assert len(post.mails) == 1


LATER = "; 1 notification will be told with the next push from here, or 'hfmirror resume'"


@pytest.mark.parametrize(('status', 'more'), [(400, ''), (404, ''), (429, LATER), (500, LATER), (503, LATER)])
def test_a_webhook_that_refuses_is_one_line_of_warning(webhook, capsys, status, more):
    webhook.status = status
    tell_hook(webhook, RELEASE)
    assert capsys.readouterr().err == (
        f'warning: notifications: http://127.0.0.1/… was not told: it answered HTTP {status}{more}\n'
    )


def test_a_host_that_is_not_there_is_one_line_of_warning(capsys):
    notify.tell(configured(webhook_url=NOBODY), [RELEASE], seconds=1)
    assert capsys.readouterr().err == (
        f'warning: notifications: http://127.0.0.1/… was not told: Connection refused{LATER}\n'
    )


@pytest.mark.parametrize('status', [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(webhook, capsys, status):
    webhook.status, webhook.headers = status, {'Location': webhook.url}
    tell_hook(webhook, RELEASE)
    assert len(webhook.got) == 1
    assert f'HTTP {status}, a redirect' in capsys.readouterr().err


def test_what_cannot_be_told_at_all_is_one_line_of_warning(webhook, capsys):
    tell_hook(webhook, RELEASE._replace(metrics={'loss': 'high'}))
    assert capsys.readouterr().err == 'warning: notifications: http://127.0.0.1/… was not told: TypeError\n'


@contextmanager
def answering(content):
    """A server that answers ``content`` to the first who asks."""

    def serve():
        connection, _ = server.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(content)

    with socket.create_server(('127.0.0.1', 0)) as server:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f'http://127.0.0.1:{server.getsockname()[1]}/hook'
        thread.join()


@pytest.mark.parametrize(
    'content', [b'', b'\0\1\2\r\n\r\n', b'HTTP/1.1 200 OK\r\n' + b'X: y\r\n' * 500 + b'\r\n']
)
def test_an_answer_that_is_no_http_is_one_line_of_warning(content, capsys):
    with answering(content) as url:
        notify.tell(configured(webhook_url=url), [RELEASE], seconds=1)
    assert capsys.readouterr().err.count('\n') == 1


def test_an_endless_answer_is_not_read(capsys):
    with answering(b'HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nabc') as url:
        notify.tell(configured(webhook_url=url), [RELEASE], seconds=1)
    assert capsys.readouterr().err == ''


# -- the mail


def test_a_release_is_told_by_mail(post):
    tell_mail(post.url, RELEASE)
    ((envelope, mail),) = post.mails
    assert envelope.rcpt_tos == ['me@example.org']
    assert mail['Subject'] == 'hfmirror: me/tiny-model on hub: v1.2.0 is released'
    assert mail.get_body().get_content().replace('\r\n', '\n').rstrip() == (
        'me/tiny-model on hub: v1.2.0 is released\n'
        '  address: https://hub.example.org/me/tiny-model\n'
        f'  commit: {"c" * 40}\n'
        '  files: 12, 90.9 MB; 2 added, 1 modified, 0 deleted\n'
        '  accuracy: 0.91\n'
        '  took: 12.3 s'
    )


def test_a_mail_is_plain_text(post):
    tell_mail(post.url, failed('<b>broken</b> & gone'))
    ((_, mail),) = post.mails
    assert mail.get_body().get_content_type() == 'text/plain'
    assert '<b>broken</b> & gone' in mail.get_body().get_content()


def test_one_mail_tells_of_all_targets(post):
    tell_mail(post.url, RELEASE, failed())
    ((_, mail),) = post.mails
    assert mail['Subject'].endswith('is released (and 1 more)')
    assert 'the Hub is down' in mail.get_body().get_content()


def test_a_mail_goes_where_the_address_says(post):
    tell_mail(f'{post.url}&to=team@example.org', RELEASE)
    ((envelope, _),) = post.mails
    assert envelope.rcpt_tos == ['team@example.org']


def test_a_line_break_in_a_reason_adds_no_header(post):
    tell_mail(post.url, failed('gone\r\nBcc: everybody@example.org\r\n\r\nhello'))
    ((envelope, mail),) = post.mails
    assert envelope.rcpt_tos == ['me@example.org']
    assert mail['Bcc'] is None


def test_no_token_is_in_a_mail(post):
    tell_mail(post.url, failed(f'the Hub refused {TOKEN}'))
    ((_, mail),) = post.mails
    assert TOKEN not in mail.as_string()


@pytest.mark.parametrize(
    ('url', 'says'),
    [
        (None, 'email_url is no address of a mail server'),
        ('', 'email_url is no address of a mail server'),
        ('https://example.org', 'email_url is no address of a mail server'),
        ('syslog://localhost', 'email_url is no address of a mail server'),
        ('smtp://me:s3cret@localhost', 'email_url is no address of a mail server'),
        ('mailto://[s3cret', 'cannot be read'),
        ('mailto://me:s3c@ret@127.0.0.1:1?from=a@example.org', '@ as %40'),
        ('mailto://me:s3/cret@127.0.0.1:1?from=a@example.org', '@ as %40'),
        ('mailto://me:s3?cret@127.0.0.1:1?from=a@example.org', '@ as %40'),
        ('mailto://me:s3#cret@127.0.0.1:1?from=a@example.org', '@ as %40'),
        ('mailto://me:s3 cret@127.0.0.1:1?from=a@example.org', '@ as %40'),
        ('mailto://me:1?s3cret@127.0.0.1:1', '@ as %40'),
        ('mailto://me:s3c%40ret@127.0.0.1:1?from=no-address', 'was not told'),
        ('mailto://127.0.0.1:1?user=me&pass=s3c%40ret&from=a@example.org', '127.0.0.1'),
        ('mailto://127.0.0.1:1?from=a@example.org', '127.0.0.1'),
        ('mailto://me:s3cret@127.0.0.1:1?from=a@example.org', '127.0.0.1'),
        ('mailto://me:s3cret@127.0.0.1:1?mode=s3cret&from=a@example.org', 'was not told'),
    ],
)
def test_a_mail_that_cannot_be_sent_is_one_line_of_warning(url, says, capfd):
    tell_mail(url, RELEASE)
    said = capfd.readouterr().err
    assert said.startswith('warning: notifications: me@example.org was not told: ')
    assert said.count('\n') == 1
    assert says in said
    assert not re.search('s3|cret|ret@|c@', said)


@pytest.mark.parametrize(
    'word', ['Could not load {}', 'Unparseable E-Mail URL {} (a b)', 'no password s3c@ret']
)
def test_nothing_of_the_address_is_in_the_words_of_apprise(word):
    address = 'mailtos://me:s3c%40ret@smtp.example.org?to=a@example.org'
    for shown in (address, 'mailtos://me:s3c@ret@smtp.example.org?to=a'):
        said = notify._last_words(f'{word.format(shown)}\n', address)
        assert not re.search('s3|ret', said)


@pytest.mark.parametrize(
    ('url', 'is_usable'),
    [
        ('mailtos://ada:pw@smtp.example.org', True),
        ('mailto://127.0.0.1:25?from=a@example.org&to=b@example.org', True),
        ('MAILTO://smtp.example.org/?mode=ssl', True),
        ('smtp://smtp.example.org', False),
        ('mailto:ada@example.org', False),
        ('mailto:///x', False),
        ('mailtos://ada:p@w@smtp.example.org', False),
        ('mailtos://ada:p/w@smtp.example.org', False),
        ('mailtos://ada:p?w@smtp.example.org', False),
        ('mailtos://ada:p#w@smtp.example.org', False),
    ],
)
def test_an_address_is_checked_as_it_is_used(tmp_path, url, is_usable):
    (tmp_path / 'config.yaml').write_text('huggingface: {notifications: {email_url: "${MAIL}"}}\n')
    (tmp_path / '.env').write_text(f"MAIL='{url}'\n")
    problems = inspect().problems
    assert [problem.key.rpartition('.')[2] for problem in problems] == ([] if is_usable else ['email_url'])
    assert is_usable == (mailserver.fault_of(url) is None)


def test_who_gets_the_mail_may_be_in_the_address_alone(tmp_path):
    mail = 'email_notifications: true, email_url: "mailto://smtp.example.org?to=team@example.org"'
    (tmp_path / 'config.yaml').write_text(f'huggingface: {{notifications: {{{mail}}}}}\n')
    assert inspect().problems == []


def test_a_mail_goes_to_the_address_alone_that_the_url_names(post):
    tell_mail(f'{post.url}&to=team@example.org', RELEASE, email=None)
    ((envelope, _),) = post.mails
    assert envelope.rcpt_tos == ['team@example.org']


def test_a_mail_to_nobody_is_said(post, capsys):
    tell_mail(post.url, RELEASE, email=None)
    assert 'user.email is not set' in capsys.readouterr().err
    assert post.mails == []


def test_a_missing_apprise_is_said_with_what_installs_it(post, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'apprise', None)  # what an import that fails leaves
    tell_mail(post.url, RELEASE)
    assert "pip install 'hf-mirror[notify]'" in capsys.readouterr().err


def test_nothing_is_written_to_the_home(post, tmp_path):
    tell_mail(post.url, RELEASE)
    assert list((tmp_path / 'home').iterdir()) == []


# -- with a push


def test_a_push_tells_what_it_made(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    (done,) = mirror.push(folder, '--tag', 'v1.0.0')
    (event,) = webhook.events
    assert {key: event[key] for key in ('status', 'version', 'commit', 'url', 'added', 'bytes')} == {
        key: done[key] for key in ('status', 'version', 'commit', 'url', 'added', 'bytes')
    }
    assert event['duration_s'] > 0


def test_a_push_tells_the_metrics(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    mirror.push(folder)
    assert webhook.events[0]['metrics'] == {'eval_accuracy': 0.91, 'eval_loss': 0.25}


def test_a_push_that_a_gate_stops_tells_so(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    folder.write('token.txt', TOKEN)
    mirror.push(folder, code=8)
    (event,) = webhook.events
    assert event['event'] == 'failed'
    assert 'token.txt' in event['error']
    assert TOKEN not in json.dumps(event)


def test_a_push_that_waits_tells_so(mirror, folder, webhook, host, remote, tmp_path):
    retries = '  settings: {upload: {max_retries: 0}}\n'
    configure(tmp_path, webhook.url, retries)
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    (event,) = webhook.events
    assert (event['event'], event['version']) == ('queued', 'v1.0.0')


@pytest.mark.heavy
def test_a_second_push_and_a_dry_run_tell_nothing(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    mirror.push(folder, '--dry-run')
    assert webhook.got == []
    mirror.push(folder)
    mirror.push(folder)
    assert len(webhook.got) == 1


def test_a_push_succeeds_when_nobody_can_be_told(mirror, folder, tmp_path):
    configure(tmp_path, NOBODY)
    done = mirror.run('push', folder, '--remote', 'local', '--repo', 'me/tiny-model', code=0)
    assert done.err.count('warning: notifications: ') == 1


@pytest.mark.heavy
def test_a_push_ends_in_time_when_nobody_answers(mirror, folder, webhook, tmp_path):
    webhook.delay_s = 60
    with socket.create_server(('127.0.0.1', 0)) as silent:
        mail = f'mailto://127.0.0.1:{silent.getsockname()[1]}?from=a@example.org'
        text = f"""
huggingface:
  user: {{email: me@example.org}}
  notifications: {{enabled: true, webhook_url: "{webhook.url}", email_notifications: true, email_url: "{mail}", timeout: 2}}
"""
        (tmp_path / 'config.yaml').write_text(text)
        done = mirror.run('push', folder, '--remote', 'local', '--repo', 'me/tiny-model', code=0, timeout=30)
    assert done.err.count('was not told: no answer in time') == 2
    assert 'Fatal' not in done.err
    assert 'Traceback' not in done.err


def test_a_release_that_waited_is_told_when_it_is_sent(mirror, folder, webhook, host, remote, tmp_path):
    configure(tmp_path, webhook.url, '  settings: {upload: {max_retries: 0}}\n')
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    host.start()
    mirror.run('resume', code=0)
    assert [event['event'] for event in webhook.events] == ['queued', 'released']
    assert webhook.events[1]['version'] == 'v1.0.0'
    assert webhook.events[1]['added'] == webhook.events[0]['added']


def test_a_backup_that_cannot_be_made_is_told(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url, f'  backup: {{enabled: true, local_backup_dir: "{folder}/backups"}}\n')
    mirror.push(folder, code=2)
    (event,) = webhook.events
    assert event['event'] == 'failed'
    assert 'local_backup_dir' in event['error']


def test_a_folder_that_cannot_be_read_is_told(mirror, folder, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    (folder.path / 'best.bin').symlink_to('gone.bin')
    mirror.push(folder, code=1)
    (event,) = webhook.events
    assert event['event'] == 'failed'
    assert 'best.bin' in event['error']


def test_a_missing_token_is_told(mirror, folder, hub, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    mirror.run('push', folder, '--remote', 'hub', '--repo', 'me/tiny-model', code=4)
    (event,) = webhook.events
    assert (event['event'], event['repo'], event['target']) == ('failed', 'me/tiny-model', 'hub')


def test_what_stops_every_target_is_told_of_each(mirror, folder, remote, webhook, tmp_path):
    configure(tmp_path, webhook.url)
    (folder.path / 'best.bin').symlink_to('gone.bin')
    mirror.push(folder, '--remote', 'local', '--remote', remote, code=1)
    assert sorted(event['target'] for event in webhook.events) == sorted(['local', remote])


@pytest.fixture
def waiting(mirror, folder, webhook, host, remote, tmp_path):
    """v1.0.0 waits for a host that is there again, and nothing was told yet."""
    configure(tmp_path, webhook.url, '  settings: {upload: {max_retries: 0}}\n')
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', code=7)
    host.start()
    webhook.got.clear()


def test_a_release_that_waited_is_told_when_the_next_push_sends_it(mirror, folder, webhook, remote, waiting):
    folder.write('notes/training.txt', 'four epochs\n')
    mirror.push(folder, '--remote', remote, '--tag', 'v1.1.0')
    told = {event['version']: (event['event'], event['added'], event['modified']) for event in webhook.events}
    assert told['v1.0.0'][0] == told['v1.1.0'][0] == 'released'
    assert told['v1.0.0'][1] > 0


def test_a_release_that_waited_is_told_once_when_the_same_folder_is_pushed(
    mirror, folder, webhook, remote, waiting
):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    (event,) = webhook.events
    assert (event['event'], event['version']) == ('released', 'v1.0.0')
    assert event['added'] > 0


def test_a_release_that_waited_is_told_when_the_push_that_sent_it_fails(
    mirror, folder, webhook, remote, waiting
):
    folder.write('token.txt', TOKEN)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.1.0', code=8)
    assert sorted(event['event'] for event in webhook.events) == ['failed', 'released']
