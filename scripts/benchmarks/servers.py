"""The two servers of the benchmark, each a process on 127.0.0.1: the embedded Hub, and nginx that does the same with files."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from measure import start_process, wait

START_S = 30.0
TOKEN = 'bench-bench-bench'
REPO = 'bench/model'
LFS_TYPE = 'application/vnd.git-lfs+json'

# One worker, as the Hub has one process; what a person would set for large bodies. A POST to a file is answered with the
# file, so that a prepared answer can stand in for the batch API of git-lfs.
NGINX = """
daemon off;
worker_processes 1;
{user}
pid {place}/pid;
error_log {place}/error.log;
events {{}}
http {{
    access_log off;
    sendfile on;
    client_max_body_size 0;
    client_body_buffer_size 1m;
    client_body_temp_path {place}/body;
    default_type application/octet-stream;
    server {{
        listen 127.0.0.1:{port};
        root {place}/files;
        location /put/ {{ dav_methods PUT; }}
        location /batch/ {{ default_type {lfs_type}; error_page 405 =200 $uri; }}
    }}
}}
"""


class Server:
    """A process that serves while the context is open. ``memory`` is its peak in bytes, known afterwards."""

    memory = 0

    def __init__(self, place: Path, env: Mapping[str, str]) -> None:
        self.place, self.env = place, env
        self.url = ''
        self.log = place.with_name(f'{place.name}.log')

    def args(self) -> list[str]:
        raise NotImplementedError

    def address(self) -> str | None:
        """Return the URL as soon as it answers."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        with self.log.open('wb') as log:
            self._process = start_process(self.args(), self.env, log)
        deadline = time.monotonic() + START_S
        while (url := self.address()) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                sys.exit(f'bench: {self.args()[0]} does not start\n{self.log.read_text(errors="replace")}')
            time.sleep(0.02)
        self.url = url
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGTERM)
            _, usage = wait(self._process)
            self.memory = usage.ru_maxrss * (1 if sys.platform == 'darwin' else 1024)


class Hub(Server):
    """``hfmirror serve`` with one public repository."""

    name = 'hfmirror serve'

    def args(self) -> list[str]:
        program = Path(sys.executable).with_name('hfmirror')
        return [
            *(str(program), 'serve', '--root', str(self.place), '--port', '0'),
            *('--token', f'bench:write:{TOKEN}'),
        ]

    def address(self) -> str | None:
        match = re.search(r'HF_ENDPOINT=(http://\S+)', self.log.read_text())
        return match and match[1]

    @property
    def repository(self) -> Path:
        return self.place / 'models' / f'{REPO}.git'

    @property
    def file_url(self) -> str:
        return f'{self.url}/{REPO}/resolve/main/weights.bin'

    def create(self) -> None:
        """Make the repository."""
        self.post('/api/repos/create', {'type': 'model', 'name': REPO.partition('/')[2]})

    def prepare(self, operation: str, oid: str, size: int) -> str:
        """Forget the object if it is to be uploaded; return the URL of the LFS API."""
        if operation == 'upload':
            self.path(oid).unlink(missing_ok=True)
        return f'{self.url}/{REPO}.git/info/lfs'

    def put_url(self, oid: str, size: int) -> str:
        """Return the address to which the object is to be sent, which is forgotten first."""
        self.prepare('upload', oid, size)
        asked = {'operation': 'upload', 'transfers': ['basic'], 'objects': [{'oid': oid, 'size': size}]}
        answer = self.post(f'/{REPO}.git/info/lfs/objects/batch', asked)
        href: str = answer['objects'][0]['actions']['upload']['href']
        return href

    def path(self, oid: str) -> Path:
        return self.repository / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid

    def post(self, path: str, values: Mapping[str, Any]) -> Any:
        headers = {'Authorization': f'Bearer {TOKEN}', 'Content-Type': 'application/json', 'Accept': '*/*'}
        if path.endswith('/objects/batch'):
            headers |= {'Content-Type': LFS_TYPE, 'Accept': LFS_TYPE}
        request = urllib.request.Request(self.url + path, json.dumps(values).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)


class Nginx(Server):
    """nginx with a directory that it serves and into which it receives."""

    name = 'nginx'

    def args(self) -> list[str]:
        for name in ('body', 'files/put', 'files/batch/upload/objects', 'files/batch/download/objects'):
            (self.place / name).mkdir(parents=True, exist_ok=True)
        with socket.create_server(('127.0.0.1', 0)) as free:
            self.port = free.getsockname()[1]
        # Its worker would be another user that may not write here.
        user = 'user root;' if os.getuid() == 0 else ''
        text = NGINX.format(place=self.place, port=self.port, user=user, lfs_type=LFS_TYPE)
        (self.place / 'conf').write_text(text)
        return [find_nginx(), '-e', str(self.place / 'error.log'), '-c', str(self.place / 'conf')]

    def address(self) -> str | None:
        try:
            socket.create_connection(('127.0.0.1', self.port)).close()
        except ConnectionRefusedError:
            return None
        return f'http://127.0.0.1:{self.port}'

    @property
    def received(self) -> Path:
        return self.place / 'files/put/weights.bin'

    @property
    def file_url(self) -> str:
        return f'{self.url}/weights.bin'

    def serve(self, path: Path) -> None:
        """Serve the very same file, so that it is in the page cache for both or for none."""
        os.link(path, self.place / 'files/weights.bin')

    def prepare(self, operation: str, oid: str, size: int) -> str:
        """Prepare the answer about one object; return the URL of the LFS API."""
        href = self.put_url(oid, size) if operation == 'upload' else self.file_url
        known = {'oid': oid, 'size': size, 'authenticated': True, 'actions': {operation: {'href': href}}}
        answer = json.dumps({'transfer': 'basic', 'objects': [known]})
        (self.place / f'files/batch/{operation}/objects/batch').write_text(answer)
        return f'{self.url}/batch/{operation}'

    def put_url(self, oid: str, size: int) -> str:
        """Return the address to send a file to; the one before is forgotten."""
        self.received.unlink(missing_ok=True)
        return f'{self.url}/put/weights.bin'


def find_nginx() -> str:
    """Return the program; Debian has it where only root looks."""
    found = shutil.which('nginx') or shutil.which('nginx', path='/usr/sbin:/usr/local/sbin')
    if found is None:
        sys.exit("bench: nginx is missing. Install it, for example with 'sudo apt-get install nginx-light'.")
    return found


def nginx_version() -> str:
    done = subprocess.run([find_nginx(), '-v'], capture_output=True, text=True, check=True)
    return done.stderr.strip().rpartition('/')[2]
