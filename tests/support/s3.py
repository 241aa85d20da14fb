"""A real S3 API on the loopback (moto's server), whose requests a test counts and lets go wrong."""

from __future__ import annotations

import socket
import threading
import urllib.request
from itertools import count

import boto3
from botocore.config import Config
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

SECRET = 'wJalrXUtnFEMIsecretsecret'
_numbers = count()


class _Quiet(WSGIRequestHandler):
    def log(self, type, message, *args):
        """Nobody reads it."""


class Bucket:
    """A bucket, ``name``, of a service that runs while this is open; commands find it by their environment."""

    def __init__(self, monkeypatch):
        self._app = DomainDispatcherApplication(create_backend_app)
        self._rules, self.requests = [], []
        self._server = self.port = None
        self.up()
        self.address = f'http://127.0.0.1:{self.port}'
        self.name = f'archive-{next(_numbers)}'
        self.remote = f's3://{self.name}/releases'
        self.env = {
            'AWS_ACCESS_KEY_ID': 'AKIAIOSFODNN7EXAMPLE',
            'AWS_SECRET_ACCESS_KEY': SECRET,
            'AWS_ENDPOINT_URL_S3': self.address,
            'AWS_DEFAULT_REGION': 'us-east-1',
            'AWS_EC2_METADATA_DISABLED': 'true',
        }
        for name, value in self.env.items():
            monkeypatch.setenv(name, value)
        self.client = boto3.client(
            's3', endpoint_url=self.address, config=Config(retries={'total_max_attempts': 1})
        )
        self.client.create_bucket(Bucket=self.name)
        self.requests.clear()

    def up(self):
        """Answer again, at the same port as before."""
        self._server = make_server(
            '127.0.0.1', self.port or 0, self._serve, threaded=True, request_handler=_Quiet
        )
        self._server.daemon_threads = True
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def down(self):
        """Be gone: connections are refused."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.close()
        self.down()
        self.up()
        with urllib.request.urlopen(f'{self.address}/moto-api/reset', data=b''):
            self.down()

    def fail(self, method, part, status=503, *, times=1):
        """Answer the next requests with that method and part of the address with a status."""
        self._rules.append([method, part, status, times])

    def cut(self, method, part, *, times=1):
        """Read the next such requests, and end their connections without an answer."""
        self._rules.append([method, part, None, times])

    def then(self, method, part, act):
        """Call ``act`` before the next such request is looked at, by which somebody else was faster."""
        self._rules.append([method, part, act, 1])

    def _serve(self, environ, start_response):
        method, path = environ['REQUEST_METHOD'], environ['PATH_INFO']
        query = environ['QUERY_STRING']
        whole = f'{path}?{query}' if query else path
        self.requests.append((method, whole))
        rule = self._rule(method, whole)
        if rule is not None and callable(rule[2]):
            rule[2]()
            rule = self._rule(method, whole)
        if rule is None:
            return self._app(environ, start_response)
        environ['wsgi.input'].read(int(environ.get('CONTENT_LENGTH') or 0))
        if rule[2] is None:
            environ['werkzeug.socket'].shutdown(socket.SHUT_RDWR)
            return []
        start_response(f'{rule[2]} Fault', [('Content-Type', 'application/xml')])
        return [b'<Error><Code>Fault</Code><Message>as the test asked</Message></Error>']

    def _rule(self, method, whole):
        for rule in self._rules:
            if rule[0] == method and rule[1] in whole and rule[3]:
                rule[3] -= 1
                return rule
        return None

    def count(self, method, part=''):
        """Return how many requests with that method and part of the address came."""
        return sum(one == method and part in path for one, path in self.requests)

    def contents(self, part=''):
        """Return {key: bytes} of what is in the bucket."""
        found = {}
        for page in self.client.get_paginator('list_objects_v2').paginate(Bucket=self.name):
            found |= {one['Key']: one['Size'] for one in page.get('Contents', ()) if part in one['Key']}
        return found

    def read(self, key):
        return self.client.get_object(Bucket=self.name, Key=key)['Body'].read()

    def write(self, key, content):
        self.client.put_object(Bucket=self.name, Key=key, Body=content)

    def remove(self, key):
        self.client.delete_object(Bucket=self.name, Key=key)

    def unfinished(self):
        """Return how many uploads in parts were begun and not ended."""
        return len(self.client.list_multipart_uploads(Bucket=self.name).get('Uploads', ()))
