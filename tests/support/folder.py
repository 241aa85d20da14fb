"""A training folder to write into, as a trainer would."""

from __future__ import annotations

import hashlib
import os
import time


class TrainingFolder:
    def __init__(self, path):
        self.path = path
        path.mkdir(parents=True)

    def __str__(self):
        return str(self.path)

    def write(self, name, content, *, age_s=10.0):
        """Write a file in place. It looks ``age_s`` seconds old, so that the stat cache may believe it."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        if age_s:
            then = time.time_ns() - int(age_s * 1e9) + 1
            os.utime(path, ns=(then, then))
        return path

    def remove(self, name):
        (self.path / name).unlink()

    def checksums(self):
        """Return {path: sha256} of all files."""
        return checksums(self.path)


def checksums(path):
    """Return {path: sha256} of all files below ``path``."""
    return {
        str(file.relative_to(path)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(path.rglob('*'))
        if file.is_file()
    }
