"""A server that says what a test wants said, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple


class Asked(NamedTuple):
    method: str
    path: str
    headers: dict
    body: bytes


class Canned:
    """``answers`` is {path: (status, headers, content)}, or one such answer for every path; the rest is 404."""

    def __init__(self, answers):
        self.answers, self.requests = answers, []
        self.endpoint = ''

    def answer(self, path):
        if isinstance(self.answers, dict):
            return self.answers.get(path.partition('?')[0], (404, {}, b''))
        return self.answers

    @property
    def authorizations(self):
        """The Authorization headers of all requests, None for one without."""
        return [request.headers.get('Authorization') for request in self.requests]


@contextmanager
def canned(answers):
    """Serve these answers on the loopback while the context is open."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.canned = Canned(answers)
    server.canned.endpoint = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield server.canned
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def document(value, status=200):
    """Return the answer that is one JSON document."""
    return status, {'Content-Type': 'application/json'}, json.dumps(value).encode()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
        told = self.server.canned
        told.requests.append(Asked(self.command, self.path, dict(self.headers), body))
        status, headers, content = told.answer(self.path)
        self.send_response(status)
        for name, value in {**headers, 'Content-Length': str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_GET

    def log_message(self, *args):
        pass
