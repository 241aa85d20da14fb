"""A Hub in a process of its own, which can be killed in the middle of anything; and requests that stop half-way."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

from tests.support.mirror import git

TOKEN = 'a-token-of-local'
# The command has no options for the limits of multipart uploads, which are of gigabytes.
_CODE = """
import json, sys, threading
from pathlib import Path
from hfmirror.server import running_hub
with running_hub(Path(sys.argv[1]), token=sys.argv[2], **json.loads(sys.argv[3])) as hub:
    print(hub.endpoint, flush=True)
    threading.Event().wait()
"""


class Serving:
    """A Hub at ``root`` with these limits; ``token`` writes as the user ``local``."""

    token = TOKEN

    def __init__(self, root, **limits):
        self.root = Path(root)
        self.process = subprocess.Popen(
            [sys.executable, '-c', _CODE, str(root), f'local:write:{TOKEN}', json.dumps(limits)],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.endpoint = self.process.stdout.readline().strip()
        assert self.endpoint, 'the Hub did not start'

    def kill(self):
        """End it, its git processes too, as a power cut would."""
        for group in {self.process.pid, *_sessions_of(self.process.pid)}:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)
        self.process.wait(timeout=20)
        self.process.stdout.close()


@contextmanager
def serving(root, **limits):
    """Serve while the context is open; it ends with a kill."""
    running = Serving(root, **limits)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()


def _sessions_of(pid):
    """Return the process groups of all that a process started, which may be sessions of their own."""
    listing = subprocess.run(
        ['ps', '-eo', 'pid=,ppid=,pgid='], capture_output=True, text=True, check=True
    ).stdout
    rows = [tuple(map(int, line.split())) for line in listing.splitlines()]
    found, below = set(), {pid}
    while below:
        children = {(child, group) for child, parent, group in rows if parent in below}
        found |= {group for _, group in children}
        below = {child for child, _ in children}
    return found


def half(endpoint, method, target, headers, body, *, share=0.5):
    """Begin a request, send its headers and a share of its body, and return the open socket."""
    parts = urlsplit(endpoint)
    lines = [f'{method} {target} HTTP/1.1', f'Host: {parts.netloc}', f'Content-Length: {len(body)}']
    lines += [f'{name}: {value}' for name, value in headers.items()]
    sock = socket.create_connection((parts.hostname, parts.port))
    sock.sendall('\r\n'.join([*lines, '', '']).encode())
    sock.sendall(body[: int(len(body) * share)])
    return sock


def assert_root_is_whole(root):
    """Every repository passes git fsck, and every LFS object is what its name says."""
    repositories = list(Path(root).glob('*/*/*.git'))
    assert repositories
    for path in repositories:
        git('fsck', '--full', '--strict', '--no-dangling', cwd=path)
        for found in (path / 'lfs' / 'objects').glob('*/*/*'):
            assert hashlib.sha256(found.read_bytes()).hexdigest() == found.name, found


def half_sent(url, content):
    """Begin a PUT to a URL, send half of the content, and return the open socket, which closes as a context."""
    parts = urlsplit(url)
    target = f'{parts.path}?{parts.query}' if parts.query else parts.path
    return half(f'{parts.scheme}://{parts.netloc}', 'PUT', target, {}, content)


def until(true, timeout_s=20):
    """Return as soon as ``true`` is, and fail when it does not become so."""
    end = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < end, f'waited for {timeout_s} s'
        time.sleep(0.01)
