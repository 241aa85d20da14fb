"""Buckets with the S3 API, through s3fs: of AWS, MinIO, R2, Ceph and others.

The service is given the sha256 of each file, or of each part of a large one, and refuses bytes that have another. A large
file goes on with the parts that an interrupted run has sent.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from hfmirror import errors
from hfmirror.archive.bucket import BLOCK, Bucket, blocks_of
from hfmirror.archive.faults import Absent, Taken
from hfmirror.archive.storage import source_changed
from hfmirror.target import Target

_PARTS_MAX = 10_000  # that the API takes of one file
_PARTS_AT_ONCE = 4
_CHECKED = 'SHA256'  # an upload of another tool has another, and no parts that could be gone on with
_NETWORK = {
    'connect_timeout': 5,
    'read_timeout': 60,
    'retries': {
        'total_max_attempts': 2,
        'mode': 'standard',
    },  # of one request; the release is tried again besides
    'max_pool_connections': 32,
}


class S3(Bucket):
    """A repository's folder in a bucket with the S3 API."""

    def __init__(self, target: Target) -> None:
        import fsspec

        files = fsspec.filesystem(
            's3', config_kwargs=_NETWORK, use_listings_cache=False, skip_instance_cache=True
        )
        files.retries = 1
        super().__init__(target, files)

    def size(self, name: str) -> int | None:
        try:
            return int(self._call('head_object', name)['ContentLength'])
        except Absent:
            return None

    def create(self, name: str, content: bytes) -> bool:
        checked = _base64(hashlib.sha256(content).digest())
        try:
            self._call('put_object', name, Body=content, ChecksumSHA256=checked, IfNoneMatch='*')
        except Taken:
            return False
        return True

    def put(self, name: str, source: Path, *, sha256: str, size: int, advance: Callable[[int], None]) -> None:
        if size > BLOCK:
            try:
                _Parts(self, name, source, sha256, advance).send(max(BLOCK, -(-size // _PARTS_MAX)))
            except Absent as e:
                # Somebody else who sends the same file went on with the same upload, and ended it.
                if self.size(name) != size:
                    raise errors.NetworkError(f'{e} The upload was ended by somebody else.') from e
        else:
            content = source.read_bytes()
            if hashlib.sha256(content).hexdigest() != sha256:
                raise source_changed(source)
            self._call('put_object', name, Body=content, ChecksumSHA256=_base64(bytes.fromhex(sha256)))
            advance(size)
        self.require_size(name, size)

    def remove(self, name: str) -> None:
        self._call('delete_object', name)

    def close(self) -> None:
        if (connected := getattr(self.files, '_s3', None)) is not None:
            self.files.close_session(self.files.loop, connected)

    def _call(self, method: str, name: str, **given: Any) -> dict[str, Any]:
        bucket, _, key = self.path(name).partition('/')
        with self.explained(name):
            answer: dict[str, Any] = self.files.call_s3(method, Bucket=bucket, Key=key, **given)
            return answer

    def unfinished(self, name: str) -> tuple[str, dict[int, dict[str, Any]]] | None:
        """Return the newest upload of a file that was begun, and its parts by number; None when there is none."""
        bucket, _, key = self.path(name).partition('/')
        try:
            with self.explained(name):
                found = self.files.call_s3('list_multipart_uploads', Bucket=bucket, Prefix=key)
            begun = [
                one
                for one in found.get('Uploads') or ()
                if one['Key'] == key and one.get('ChecksumAlgorithm', _CHECKED) == _CHECKED
            ]
            if not begun:
                return None
            upload = str(max(begun, key=lambda one: one['Initiated'])['UploadId'])
            return upload, self._parts(name, upload)
        except (errors.AuthError, errors.RemoteError, Absent):
            return None  # not every service lists them, nor for everybody

    def _parts(self, name: str, upload: str) -> dict[int, dict[str, Any]]:
        parts: dict[int, dict[str, Any]] = {}
        marker = 0
        while True:
            found = self._call('list_parts', name, UploadId=upload, PartNumberMarker=marker)
            parts |= {int(part['PartNumber']): part for part in found.get('Parts') or ()}
            after = int(found.get('NextPartNumberMarker') or 0)
            if not found.get('IsTruncated') or after <= marker:
                return parts
            marker = after


class _Parts:
    """One large file on its way, several parts at once."""

    def __init__(
        self, bucket: S3, name: str, source: Path, sha256: str, advance: Callable[[int], None]
    ) -> None:
        self.bucket, self.name, self.source = bucket, name, source
        self.sha256, self.advance = sha256, advance
        self.upload, self.have = bucket.unfinished(name) or (self._begin(), {})
        self.sent: dict[int, dict[str, Any]] = {}

    def _begin(self) -> str:
        found = self.bucket._call('create_multipart_upload', self.name, ChecksumAlgorithm=_CHECKED)
        return str(found['UploadId'])

    def send(self, part_size: int) -> None:
        digest, waiting = hashlib.sha256(), set[Future[None]]()
        with ThreadPoolExecutor(_PARTS_AT_ONCE) as pool:
            for number, block in enumerate(blocks_of(self.source, part_size), 1):
                digest.update(block)
                waiting.add(pool.submit(self._send_part, number, block))
                waiting = _all_but(_PARTS_AT_ONCE, waiting)
            _all_but(0, waiting)
        if digest.hexdigest() != self.sha256:
            self.bucket._call('abort_multipart_upload', self.name, UploadId=self.upload)
            raise source_changed(self.source)
        parts = [self.sent[number] for number in sorted(self.sent)]
        self.bucket._call(
            'complete_multipart_upload', self.name, UploadId=self.upload, MultipartUpload={'Parts': parts}
        )

    def _send_part(self, number: int, block: bytes) -> None:
        checked = _base64(hashlib.sha256(block).digest())
        known = self.have.get(number)
        if known is None or not _is_of(known, block, checked):
            known = self.bucket._call(
                'upload_part',
                self.name,
                UploadId=self.upload,
                PartNumber=number,
                Body=block,
                ChecksumSHA256=checked,
            )
        self.sent[number] = {'PartNumber': number, 'ETag': known['ETag'], 'ChecksumSHA256': checked}
        self.advance(len(block))


def _all_but(many: int, waiting: set[Future[None]]) -> set[Future[None]]:
    """Return those that still wait when at most ``many`` do. Raises what one of the others raised."""
    while len(waiting) > many:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        for one in done:
            one.result()
    return waiting


def _is_of(known: dict[str, Any], block: bytes, checked: str) -> bool:
    """Return whether a part that was sent before has the content of ``block``, by sha256 or by the md5 that is its ETag."""
    if known.get('ChecksumSHA256'):
        return bool(known['ChecksumSHA256'] == checked)
    return bool(known.get('ETag', '').strip('"') == hashlib.md5(block, usedforsecurity=False).hexdigest())


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()
