"""The least an upload to a Hub can do: sha256 of every file in one thread a core, then one stream a core of what is new.

Run as ``floorhub.py FOLDER REPO [PATTERN]`` with HF_ENDPOINT and HF_TOKEN: every file is hashed, those that match PATTERN
are put to the addresses that the LFS batch API gives.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from floor import sha256

BLOCK = 1 << 20
BATCH = 100
LFS_TYPE = 'application/vnd.git-lfs+json'


def main(folder: Path, repo: str, pattern: str = '*') -> None:
    files = [path for path in folder.rglob('*') if path.is_file()]
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        oids = dict(zip(threads.map(sha256, files), files, strict=True))
        wanted = {oid: path for oid, path in oids.items() if path.match(pattern)}
        actions = [action for start in range(0, len(wanted), BATCH) for action in batch(repo, wanted, start)]
        list(threads.map(lambda action: put(*action), actions))


def batch(repo: str, wanted: dict[str, Path], start: int) -> list[tuple[str, Path]]:
    """Return (address, file) for one batch of objects."""
    oids = list(wanted)[start : start + BATCH]
    objects = [{'oid': oid, 'size': wanted[oid].stat().st_size} for oid in oids]
    body = {'operation': 'upload', 'transfers': ['basic'], 'objects': objects}
    headers = {
        'Authorization': f'Bearer {os.environ["HF_TOKEN"]}',
        'Accept': LFS_TYPE,
        'Content-Type': LFS_TYPE,
    }
    url = f'{os.environ["HF_ENDPOINT"]}/{repo}.git/info/lfs/objects/batch'
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)) as answer:
        found: list[dict[str, Any]] = json.load(answer)['objects']
    return [(one['actions']['upload']['href'], wanted[one['oid']]) for one in found if 'actions' in one]


def put(url: str, path: Path) -> None:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, blocksize=BLOCK)
    with path.open('rb', buffering=0) as file:
        headers = {'Content-Length': str(path.stat().st_size)}
        connection.request('PUT', f'{parts.path}?{parts.query}', file, headers)
    answer = connection.getresponse()
    answer.read()
    if answer.status >= 300:
        sys.exit(f'bench: the Hub answered {answer.status}')
    connection.close()


if __name__ == '__main__':
    main(Path(sys.argv[1]), *sys.argv[2:])
