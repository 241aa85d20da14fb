"""The least a push to a local remote can do: sha256 of every file, in one thread a core, and one copy, not fsynced.

Run as ``floor.py FOLDER COPY [PATTERN]``: every file is hashed, those that match PATTERN are copied.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main(folder: Path, copy: Path, pattern: str = '*') -> None:
    files = [path for path in folder.rglob('*') if path.is_file()]
    copy.mkdir()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for digest, path in zip(threads.map(sha256, files), files, strict=True):
            if path.match(pattern):
                shutil.copyfile(path, copy / digest)


def sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
