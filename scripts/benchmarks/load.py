"""How many requests a second does a server answer? A few connections are kept open, each sends one request after another."""

from __future__ import annotations

import re
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

LENGTH = re.compile(rb'\r\ncontent-length: *(\d+)', re.IGNORECASE)


def requests_per_second(method: str, url: str, *, connections: int, seconds: float) -> float:
    """Ask for ``url`` for so long. Exits when an answer is not 200."""
    parts = urlsplit(url)
    target = parts.path + (f'?{parts.query}' if parts.query else '')
    request = f'{method} {target} HTTP/1.1\r\nHost: {parts.netloc}\r\n\r\n'.encode()
    start = time.perf_counter()
    with ThreadPoolExecutor(connections) as threads:
        ends = [
            threads.submit(_ask, (parts.hostname, parts.port), request, start + seconds)
            for _ in range(connections)
        ]
        answered = sum(end.result() for end in ends)
    return answered / (time.perf_counter() - start)


def _ask(address: tuple[str, int], request: bytes, deadline: float) -> int:
    answered = 0
    with socket.create_connection(address, timeout=60) as connection:
        while time.perf_counter() < deadline:
            connection.sendall(request)
            _read_answer(connection, is_head=request.startswith(b'HEAD'))
            answered += 1
    return answered


def _read_answer(connection: socket.socket, *, is_head: bool) -> None:
    received = b''
    while (end := received.find(b'\r\n\r\n')) < 0:
        received += connection.recv(65536) or _closed()
    length = LENGTH.search(received, 0, end + 2)
    if not received.startswith(b'HTTP/1.1 200 ') or length is None:
        sys.exit(f'bench: unexpected answer\n{received[:500].decode(errors="replace")}')
    left = 0 if is_head else int(length[1]) - (len(received) - end - 4)
    while left > 0:
        left -= len(connection.recv(65536) or _closed())


def _closed() -> bytes:
    sys.exit('bench: the server closed the connection')
