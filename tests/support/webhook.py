"""A webhook on 127.0.0.1, and a configuration and a release to tell it of."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from hfmirror import target
from hfmirror.config.config import Config
from hfmirror.outcome import Release
from hfmirror.tree import Changes, Entry

HUB = target.hub('https://hub.example.org', 'me/tiny-model')
NEW = Entry('model.bin', 'a' * 64, 1000, is_lfs=True)
OLD = Entry('model.bin', 'b' * 64, 1000, is_lfs=True)
RELEASE = Release(
    HUB,
    'v1.2.0',
    'c' * 40,
    'pushed',
    Changes([NEW, NEW], [(OLD, NEW)], []),
    90_900_000,
    12,
    None,
    {'accuracy': 0.91},
)
NOBODY = 'http://127.0.0.1:1/hook'


class Webhook:
    """Keeps what is posted to it; answers with ``status`` and ``headers`` after ``delay_s``."""

    def __init__(self):
        self.got, self.status, self.headers, self.delay_s = [], 204, {}, 0.0
        self.gone = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers['Content-Length']))
                outer.got.append((self.path, dict(self.headers), json.loads(body)))
                outer.gone.wait(outer.delay_s)
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self):
                outer.got.append(('GET', {}, {}))

            def log_message(self, *args):
                pass

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}/hook'

    @property
    def events(self):
        return [event for _, _, event in self.got]


@contextmanager
def running_webhook():
    """Run a webhook, which answers at once when it ends."""
    made = Webhook()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.gone.set()
        made.server.shutdown()
        made.server.server_close()
        thread.join()


def configured(email='me@example.org', **notifications):
    return Config.model_validate(
        {
            'user': {'email': email},
            'notifications': {'enabled': True, 'timeout': 5, **notifications},
        }
    )


def configure(tmp_path, url, more=''):
    text = f'huggingface:\n  notifications: {{enabled: true, webhook_url: "{url}"}}\n{more}'
    (tmp_path / 'config.yaml').write_text(text)
