"""Who is told what came of a push? A webhook, and people by e-mail. What they are told has one form::

    {"id": "01769860800000000000-3f9c1d", "event": "released", "text": "me/bert on hub: v1.2.0 is released", "repo": "me/bert",
     "repo_type": "model", "target": "hub", "url": "https://huggingface.co/me/bert", "status": "pushed", "version": "v1.2.0", "commit": "3f9c…",
     "metrics": {"eval_accuracy": 0.91}, "added": 2, "modified": 1, "deleted": 0, "files": 12, "bytes": 90900000,
     "error": null, "duration_s": 12.3, "date": "2026-01-31T12:00:00+00:00"}

``event`` is released, queued (it waits for the network) or failed. A push that had nothing to do is not told. An event that
the webhook could not be told is kept (``notices``) and told again later, under the same ``id``.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from hfmirror import __version__, errors, output
from hfmirror.config import mailserver
from hfmirror.config.config import Config
from hfmirror.config.places import home
from hfmirror.gitcmd import redact
from hfmirror.notices import Event, Notice, Notices
from hfmirror.outcome import Release, Unreleased

_EVENTS = {'pushed': 'released', 'queued': 'queued'}
_SENTENCES = {'pushed': 'is released', 'queued': 'waits to be sent'}
_ERROR_MAX = 4_000  # characters
_SUBJECT_MAX = 200
_METRICS_MAX = 100
_BUSY = (408, 425, 429)


def tell(config: Config, releases: Sequence[Release | Unreleased], *, seconds: float) -> None:
    """Tell those who are configured, of what waits since earlier too. Never raises, and takes ``notifications.timeout`` at most.

    What could not be told is said in a line of warning. ``seconds`` is how long the push took.
    """
    told = config.notifications
    if not told.enabled:
        return
    deadline = time.monotonic() + told.timeout
    news = [partial(event_of, done, seconds=seconds) for done in releases if _is_news(done)]
    notices, failures = Notices(home()), list[str | None]()
    with notices.claimed() if told.webhook_url else nullcontext(False) as ours:
        tellings: list[_Telling] = []
        if told.webhook_url:
            try:
                tellings += _to_webhook(told.webhook_url, news, notices, deadline, ours=ours)
            except Exception as e:
                # Nothing of this may end a push. What it says could hold the address, and a secret in it.
                failures.append(_not_told(_shown(told.webhook_url), type(e).__name__))
        if told.email_notifications and news:
            whom = redact(config.user.email or 'the mail server')
            tellings.append(_Telling(whom, partial(_mail, config, news)))
        failures += [telling.failure_by(deadline) for telling in tellings]
    for failure in dict.fromkeys(filter(None, failures)):
        output.warn(f'notifications: {failure}')


def _is_news(done: Release | Unreleased) -> bool:
    return isinstance(done, Unreleased) or done.status in _EVENTS


def event_of(done: Release | Unreleased, *, seconds: float) -> Event:
    """Return what is told of one release, as JSON can say it, without secrets."""
    target = done.target
    return {
        'event': 'failed' if isinstance(done, Unreleased) else _EVENTS[done.status],
        'text': _sentence(done),
        'repo': target.repo_id,
        'repo_type': target.repo_type,
        'target': redact(target.remote),
        'url': redact(target.url),
        **(_failed(done) if isinstance(done, Unreleased) else _released(done)),
        'duration_s': round(seconds, 1),
        'date': datetime.now(UTC).isoformat(timespec='seconds'),
    }


def _sentence(done: Release | Unreleased) -> str:
    if isinstance(done, Unreleased):
        why = (str(done.error).splitlines() or [''])[0]
        return _cut(f'{done.target}: not released. {why}', _SUBJECT_MAX)
    return redact(f'{done.target}: {done.version or str(done.commit)[:10]} {_SENTENCES[done.status]}')


def _cut(text: str, length: int) -> str:
    # In this order: half a token is a secret too, and looks like none.
    return redact(text)[:length]


def _failed(done: Unreleased) -> Event:
    return {
        'status': 'failed',
        'version': None,
        'commit': None,
        'metrics': {},
        **dict.fromkeys(('added', 'modified', 'deleted', 'files', 'bytes'), 0),
        'error': _cut(str(done.error), _ERROR_MAX),
    }


def _released(done: Release) -> Event:
    # NaN and Infinity are no JSON; a receiver could make nothing of the rest either.
    metrics = {name: value for name, value in done.metrics.items() if math.isfinite(value)}
    return {
        'status': done.status,
        'version': done.version,
        'commit': done.commit,
        'metrics': dict(list(metrics.items())[:_METRICS_MAX]),
        'added': len(done.changes.added),
        'modified': len(done.changes.modified),
        'deleted': len(done.changes.deleted),
        'files': done.files,
        'bytes': done.size,
        'error': _cut(done.note, _ERROR_MAX) if done.status == 'queued' and done.note else None,
    }


# -- at most so long


class _Telling:
    """What is told to one of them, in a thread of its own that ends with the process. ``work`` raises when it fails."""

    def __init__(self, whom: str, work: Callable[[], None]) -> None:
        self._whom, self._work = whom, work
        self._failure: str | None = None
        self._thread = Thread(target=self._run, daemon=True, name='notification')
        try:
            self._thread.start()
        except RuntimeError as e:  # the process has no room for one more thread, or is about to end
            self._failure = str(e)

    def _run(self) -> None:
        try:
            self._work()
        except errors.HfmirrorError as e:
            self._failure = redact(str(e))
        except Exception as e:
            # Nothing of this may end a push. What it says could hold the address, and a secret in it.
            self._failure = type(e).__name__

    def failure_by(self, deadline: float) -> str | None:
        """Wait until ``deadline`` at most, and return what went wrong, None when it has arrived."""
        if self._thread.is_alive():
            self._thread.join(max(0.0, deadline - time.monotonic()))
        failure = 'no answer in time (notifications.timeout)' if self._thread.is_alive() else self._failure
        return _not_told(self._whom, failure) if failure else None


def _not_told(whom: str, why: str) -> str:
    return f'{whom} was not told: {why}'


# -- the webhook


def _to_webhook(
    url: str, news: Sequence[Callable[[], Event]], notices: Notices, deadline: float, *, ours: bool
) -> list[_Telling]:
    """Begin to tell a webhook, in one thread: what waits of this project first, when that is ``ours`` to tell, then the news."""
    lost = notices.tidy() if ours else 0
    if lost:
        output.warn(
            f'notifications: {output.count(lost, "notification")} waited for too long and will not be told'
        )
    here = str(Path.cwd())
    waiting = [notice for notice in notices.waiting() if notice.project == here] if ours else []
    waiting += [_kept(notices, event()) for event in news]
    return [_Telling(_shown(url), partial(_post_all, url, waiting, notices, deadline))] if waiting else []


def _kept(notices: Notices, event: Event) -> Notice:
    """Keep an event before anybody is told, so that no kill and no silence loses it."""
    try:
        return notices.keep(event)
    except OSError as e:
        output.detail(f'notifications: not kept: {e.strerror}')
        return notices.unkept(event)


def _post_all(url: str, waiting: Sequence[Notice], notices: Notices, deadline: float) -> None:
    """Tell one event after the other. What time may mend ends it, and the rest waits; what is refused is not told again."""
    refused: errors.HfmirrorError | None = None
    for notice in waiting:
        try:
            _post(url, notice.event, max(0.1, deadline - time.monotonic()))
        except errors.NetworkError as e:
            if time.monotonic() < deadline:  # after that it may be another command's to tell
                notices.failed(notice, str(e))
            left = output.count(len(waiting) - waiting.index(notice), 'notification')
            raise errors.NetworkError(
                f"{e}; {left} will be told with the next push from here, or 'hfmirror resume'"
            ) from e
        except errors.HfmirrorError as e:
            refused = e
        notices.remove(notice)
    if refused is not None:
        raise refused


def _post(url: str, event: Event, timeout_s: float) -> None:
    """Send an event to a webhook. Only whether it took it counts: nothing that it answers is read, no redirect followed.

    Raises NetworkError for what another time may mend: it was not reached, has no time now, or is broken.
    """
    from http.client import HTTPException
    from urllib.error import HTTPError, URLError
    from urllib.request import HTTPRedirectHandler, Request, build_opener

    class Staying(HTTPRedirectHandler):
        def redirect_request(self, *args: Any, **kwargs: Any) -> None:
            return None

    headers = {'Content-Type': 'application/json', 'User-Agent': f'hfmirror/{__version__}'}
    request = Request(_webhook(url), json.dumps(event, allow_nan=False).encode(), headers, method='POST')
    try:
        build_opener(Staying).open(request, timeout=timeout_s).close()
    except HTTPError as e:
        e.close()
        raise _answered(e.code) from e
    except HTTPException as e:
        raise errors.NetworkError(f'what it answered is no HTTP ({type(e).__name__})') from e
    except (URLError, OSError) as e:
        reason = e.reason if isinstance(e, URLError) else e
        raise errors.NetworkError(getattr(reason, 'strerror', None) or str(reason)) from e


def _answered(status: int) -> errors.HfmirrorError:
    if status >= 500 or status in _BUSY:
        return errors.NetworkError(f'it answered HTTP {status}')
    moved = ', a redirect: configure the address that it leads to' if 300 <= status < 400 else ''
    return errors.RemoteError(f'it answered HTTP {status}{moved}')


def _webhook(url: str) -> str:
    """Return the address to send to. Raises ConfigError for what is none, or has a password in front of the host."""
    parts = _split(url)
    if parts is None or parts.scheme not in ('http', 'https') or '@' in parts.netloc:
        raise errors.ConfigError('notifications.webhook_url is no address like https://host/path')
    return parts._replace(fragment='').geturl()


def _shown(url: str) -> str:
    """Return an address without what may be secret: user, password, path, query."""
    parts = _split(url)
    return f'{parts.scheme}://{parts.hostname}/…' if parts is not None else 'notifications.webhook_url'


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        return parts if parts.hostname else None
    except ValueError:
        return None


# -- the mail


def _mail(config: Config, news: Sequence[Callable[[], Event]]) -> None:
    address, events = _mail_address(config), [event() for event in news]
    try:
        import apprise
    except ImportError as e:
        raise errors.ConfigError("mail needs apprise. Install it: pip install 'hf-mirror[notify]'") from e
    mail = apprise.Apprise(asset=apprise.AppriseAsset(app_id='hfmirror'))
    # Without this apprise's log would go to the terminal.
    log = apprise.LogCapture(fmt='%(message)s')  # type: ignore[no-untyped-call]
    with log as said:
        is_sent = mail.add(address) and mail.notify(
            title=_subject(events),
            body='\n\n'.join(map(_paragraph, events)),
            body_format=apprise.NotifyFormat.TEXT,
        )
        words = said.getvalue()
    if not is_sent:
        raise errors.RemoteError(_last_words(words, address))


def _mail_address(config: Config) -> str:
    """Return ``notifications.email_url`` with what apprise has to know besides. Raises ConfigError."""
    told = config.notifications
    if fault := mailserver.fault_of(told.email_url or ''):
        raise errors.ConfigError(f'notifications.email_url {fault}')
    parts = urlsplit(told.email_url or '')
    if not (config.user.email or mailserver.names_recipient(told.email_url)):
        raise errors.ConfigError('user.email is not set, so nobody gets mail')
    given = {key for key, _ in parse_qsl(parts.query)}
    wanted = {
        'to': config.user.email,
        'format': 'text',
        'cto': f'{told.timeout:g}',
        'rto': f'{told.timeout:g}',
    }
    more = urlencode({key: value for key, value in wanted.items() if key not in given})
    return parts._replace(query=f'{parts.query}&{more}'.strip('&')).geturl()


def _last_words(words: str, address: str) -> str:
    """Return the last thing that apprise said, without the address and the password in it."""
    lines = [line.strip() for line in words.splitlines() if line.strip()]
    last = lines[-1] if lines else 'the mail server did not take it'
    parts = urlsplit(address)
    secrets = [parts.password, *(value for key, value in parse_qsl(parts.query) if key == 'pass')]
    last = re.sub(r'mailtos?://.*', 'notifications.email_url', last)
    for secret in (one for part in secrets if part for one in (unquote(part), part)):
        last = last.replace(secret, '***')
    return last


def _subject(events: Sequence[Event]) -> str:
    more = f' (and {len(events) - 1} more)' if len(events) > 1 else ''
    return f'hfmirror: {events[0]["text"]}{more}'


def _paragraph(event: Event) -> str:
    rows: dict[str, str] = {'address': event['url']}
    if event['event'] != 'failed':
        rows['commit'] = event['commit'] or ''
        rows['files'] = f'{event["files"]:,}, {output.human_size(event["bytes"])}; {_counts(event)}'
        rows |= {name: output.human_number(value) for name, value in event['metrics'].items()}
    if event['error']:
        rows['reason'] = event['error']
    rows['took'] = f'{event["duration_s"]:g} s'
    return '\n'.join([event['text'], *(f'  {name}: {value}' for name, value in rows.items())])


def _counts(event: Event) -> str:
    return ', '.join(f'{event[what]:,} {what}' for what in ('added', 'modified', 'deleted'))
