"""A git+LFS host with nothing of ours in it: nginx, git's http-backend behind fcgiwrap, and giftless for LFS.

All on 127.0.0.1 and in a directory of its own. nginx asks for the user, for git as for LFS. To fetch and to send an
object giftless makes a link with a token, which lives for a minute.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import quote

from tests.support.mirror import bare, git

USER, PASSWORD = 'ada', 'sesame-4711'

_WAITRESS = Path(__file__).parents[2] / '.venv' / 'giftless' / 'bin' / 'waitress-serve'
_START_S = 30
# Every path is relative to the host's directory: that of a socket may have no more than 107 bytes.
_NGINX = """
daemon off;
{user}
pid nginx.pid;
error_log stderr;
events {{}}
http {{
    log_format short '$request_method $uri $status';
    access_log access.log short;
    client_max_body_size 0;
    client_body_temp_path temp/body;
    fastcgi_temp_path temp/fastcgi;
    proxy_temp_path temp/proxy;
    scgi_temp_path temp/scgi;
    uwsgi_temp_path temp/uwsgi;
    server {{
        listen 127.0.0.1:{port};
        auth_basic 'git and LFS';
        auth_basic_user_file users;
        location / {{
            fastcgi_pass unix:git.sock;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {repositories};
            fastcgi_param GIT_HTTP_EXPORT_ALL 1;
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
            fastcgi_param PATH_INFO $uri;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
        }}
        location ~ \\.git/info/lfs/objects/storage/ {{
            proxy_pass http://unix:lfs.sock;
            proxy_set_header Host $http_host;
            auth_basic off;
        }}
        location ~ \\.git/info/lfs/ {{
            proxy_pass http://unix:lfs.sock;
            proxy_set_header Host $http_host;
            proxy_set_header Authorization '';
        }}
    }}
}}
"""


class ForeignHost:
    """The host of one user, ``USER``, who may do everything. ``place`` is an empty directory."""

    def __init__(self, place):
        self.place = Path(place)
        self.repositories = self.place / 'repositories'
        self.repositories.mkdir()
        self._running = {}

    def __enter__(self):
        try:
            self._start_nginx()
            self._start('fcgiwrap', [_program('fcgiwrap'), '-f', '-s', 'unix:git.sock'])
            self._wait_for('/nothing.git/HEAD', 'fcgiwrap')
            self.start_lfs()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *failure):
        for name in list(self._running):
            self._stop(name)

    def start_lfs(self):
        assert _WAITRESS.exists(), 'giftless is not there; run scripts/setup clients'
        command = [_WAITRESS, '--unix-socket', 'lfs.sock', 'giftless.wsgi_entrypoint:app']
        self._start('giftless', command, GIFTLESS_CONFIG_STR=json.dumps(_giftless(self.place / 'objects')))
        self._wait_for('/nobody/nothing.git/info/lfs/objects/storage/0', 'giftless')

    def stop_lfs(self):
        self._stop('giftless')

    def create(self, name):
        """Make an empty repository and return its directory."""
        path = bare(self.repositories / f'{name}.git')
        git('config', 'http.receivepack', 'true', cwd=path)
        return path

    def url(self, name):
        return f'http://127.0.0.1:{self.port}/{name}.git'

    def log_in(self, password=PASSWORD):
        """Have git's own credential store, in the HOME of the test, know the user."""
        git('config', '--global', 'credential.helper', 'store')
        line = f'http://{USER}:{quote(password)}@127.0.0.1%3a{self.port}\n'
        Path('~/.git-credentials').expanduser().write_text(line)

    def objects(self, name):
        """Return {oid: the file} of the LFS objects of a repository."""
        return {path.name: path for path in (self.place / 'objects' / name).glob('*')}

    def requests(self, what):
        """Return the ``METHOD path status`` that nginx logged, of those that begin with ``what``."""
        return [
            line for line in (self.place / 'access.log').read_text().splitlines() if line.startswith(what)
        ]

    def _start_nginx(self):
        (self.place / 'temp').mkdir()
        (self.place / 'users').write_text(f'{USER}:{{PLAIN}}{PASSWORD}\n')
        backend = Path(git('--exec-path')) / 'git-http-backend'
        with socket.create_server(('127.0.0.1', 0)) as listening:
            self.port = listening.getsockname()[1]
            # Its worker would be another user that may not read here.
            user = 'user root;' if os.getuid() == 0 else ''
            text = _NGINX.format(user=user, port=self.port, backend=backend, repositories=self.repositories)
            (self.place / 'nginx.conf').write_text(text)
            # nginx takes over the open socket as from an nginx before it: nobody else can have got the port meanwhile.
            self._start(
                'nginx',
                [_program('nginx'), '-p', self.place, '-e', 'stderr', '-c', 'nginx.conf'],
                pass_fds=[listening.fileno()],
                NGINX=f'{listening.fileno()};',
            )

    def _start(self, name, command, *, pass_fds=(), **more):
        own = {'PATH': os.environ['PATH'], 'HOME': str(self.place), 'GIT_CONFIG_NOSYSTEM': '1', 'LC_ALL': 'C'}
        with (self.place / f'{name}.log').open('ab') as log:
            self._running[name] = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.place,
                env=own | more,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    def _stop(self, name):
        """End a process and all that it started."""
        process = self._running.pop(name)
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=10)

    def _wait_for(self, path, name):
        """Return when nginx passes on an answer to a path, which is 502 before ``name`` listens."""
        deadline = time.monotonic() + _START_S
        while (status := self._status(path)) in (None, 502):
            for started, process in self._running.items():
                assert process.poll() is None, f'{started} has ended\n{self._log(started)}'
            assert time.monotonic() < deadline, f'{name} does not listen ({status})\n{self._log(name)}'
            time.sleep(0.02)

    def _status(self, path):
        user = base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()
        with closing(HTTPConnection('127.0.0.1', self.port, timeout=5)) as connection:
            try:
                connection.request('GET', path, headers={'Authorization': f'Basic {user}'})
                return connection.getresponse().status
            except (OSError, HTTPException):
                return None

    def _log(self, name):
        return (self.place / f'{name}.log').read_text(errors='replace')


def _giftless(objects):
    """Return giftless's settings: it gives whom nginx lets in the tokens for the objects, which it then asks for itself."""
    return {
        'AUTH_PROVIDERS': ['giftless.auth.allow_anon:read_write'],
        'PRE_AUTHORIZED_ACTION_PROVIDER': {'options': {'private_key': secrets.token_hex(32)}},
        'LEGACY_ENDPOINTS': False,
        'TRANSFER_ADAPTERS': {'basic': {'options': {'storage_options': {'path': str(objects)}}}},
    }


def _program(name):
    """Return the path of a program; Debian has these where only root looks."""
    found = shutil.which(name) or shutil.which(name, path='/usr/sbin:/usr/local/sbin')
    assert found, f'{name} is not there; run scripts/setup clients'
    return found
