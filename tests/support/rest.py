"""One request to a Hub, as it goes over the wire, and its answer; and more users than the one a Hub starts with."""

from __future__ import annotations

import http.client
import json
import subprocess
from typing import NamedTuple
from urllib.parse import urlsplit

from hfmirror.server import tokens
from tests.support.mirror import git


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def code(self):
        return self.headers['X-Error-Code']


def call(hub, method, path, values=None, *, token='', body=None, headers=None):
    """Send one request and return the answer; redirections are not followed.

    ``values`` is sent as JSON. ``token`` is the Hub's own one unless given; None sends none.
    """
    sent = dict(headers or {})
    token = hub.token if token == '' else token
    if token is not None:
        sent['Authorization'] = f'Bearer {token}'
    if values is not None:
        body, sent['Content-Type'] = json.dumps(values), 'application/json'
    connection = http.client.HTTPConnection(urlsplit(hub.endpoint).netloc, timeout=30)
    try:
        connection.request(method, path, body, sent)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


def new_user(hub, user, role='write'):
    """Give out a token and return it."""
    new = tokens.parse(f'{user}:{role}')
    hub.hub.tokens.add(new)
    return new.token


def commit_by_path(path, files, *, ref='refs/heads/main', start=None, message='by path'):
    """Commit ``files`` ({path: text, or None to remove it}) to a ref of a bare repository, past the Hub.

    ``start`` is the commit to begin at when it is not the ref's own. Returns the commit.
    """
    lines = [f'commit {ref}', 'committer Ada <ada@example.org> now', f'data {len(_bytes(message))}', message]
    lines += [f'from {start or ref}^0']
    for name, text in files.items():
        change = (
            [f'M 100644 inline {name}', f'data {len(_bytes(text))}', text]
            if text is not None
            else [f'D {name}']
        )
        lines += change
    stream = _bytes('\n'.join([*lines, '']))
    command = ['git', 'fast-import', '--quiet', '--force', '--date-format=now']
    subprocess.run(command, cwd=path, input=stream, check=True)
    return git('rev-parse', ref, cwd=path)


def _bytes(text):
    return text.encode('utf-8', 'surrogateescape')
