"""Buckets of Google Cloud Storage, through gcsfs.

The service tells the md5 of what it has got; it has to be that of the bytes whose sha256 was right.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import MethodType
from typing import Any

from hfmirror import errors
from hfmirror.archive.bucket import BLOCK, Bucket, blocks_of
from hfmirror.archive.faults import Absent, Taken
from hfmirror.archive.storage import source_changed
from hfmirror.target import Target


class GCS(Bucket):
    """A repository's folder in a bucket of Google Cloud Storage."""

    def __init__(self, target: Target) -> None:
        # Not gcsfs.GCSFileSystem, which is for other kinds of buckets too, and asks twice as much.
        from gcsfs.core import GCSFileSystem

        files = GCSFileSystem(requests_timeout=_timeout(), use_listings_cache=False, skip_instance_cache=True)
        _be_brief(files)
        super().__init__(target, files)

    def size(self, name: str) -> int | None:
        found = self._facts(name)
        return int(found['size']) if found else None

    def _facts(self, name: str) -> dict[str, Any]:
        """Return what the service tells of a file, nothing when it is not there; in one request."""
        bucket, _, key = self.path(name).partition('/')
        try:
            with self.explained(name):
                return dict(self.files.call('GET', 'b/{}/o/{}', bucket, key, json_out=True))
        except Absent:
            return {}

    def create(self, name: str, content: bytes) -> bool:
        try:
            with self.explained(name):
                self.files.pipe_file(self.path(name), content, consistency='md5', mode='create')
        except Taken:
            return False
        return True

    def put(self, name: str, source: Path, *, sha256: str, size: int, advance: Callable[[int], None]) -> None:
        digest, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        with self.explained(name), self._begun(name) as sink:
            for block in blocks_of(source, BLOCK):
                digest.update(block)
                md5.update(block)
                sink.write(block)
                advance(len(block))
            if digest.hexdigest() != sha256:
                raise source_changed(source)
        self._require_sent(name, size, base64.b64encode(md5.digest()).decode())

    @contextmanager
    def _begun(self, name: str) -> Iterator[Any]:
        """Open a file for writing. It is there when this ends, and never when it ends with an error."""
        sink = self.files.open(self.path(name), 'wb', block_size=BLOCK)
        try:
            yield sink
            sink.close()
        finally:
            # Else Python closes it when it cleans up, which sends the half file, or another one than was meant, as a whole one.
            # The service forgets within a week what it got of that.
            sink.closed = True

    def _require_sent(self, name: str, size: int, md5: str) -> None:
        found = self._facts(name)
        if int(found.get('size', -1)) != size or found.get('md5Hash', md5) != md5:
            self.remove(name)
            raise errors.NetworkError(
                f'{self.where}/{name}: the bytes did not arrive as they were sent (md5).'
            )

    def close(self) -> None:
        if (connected := getattr(self.files, '_session', None)) is not None:
            self.files.close_session(self.files.loop, connected)


def _be_brief(files: Any) -> None:
    """Have a request that fails sent three times, not six: whoever asked tries again besides, and tells the person.

    gcsfs has no setting for it. One that is made in another way than today's keeps its own patience.
    """
    plain = getattr(type(files)._request, '__wrapped__', None)
    try:
        from gcsfs.retry import retry_request
    except ImportError:
        return
    if plain is None:
        return
    files._request = MethodType(retry_request(retries=3)(plain), files)


def _timeout() -> Any:
    from aiohttp import ClientTimeout

    return ClientTimeout(sock_connect=5, sock_read=60)
