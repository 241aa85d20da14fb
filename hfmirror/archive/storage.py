"""Where do the bytes of an archive lie, and what can be asked of that place?

A directory is written directly; a bucket through fsspec, with the extra ``s3`` or ``gcs``. Names are relative to the
repository's folder in the archive, with slashes.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO, Protocol

from hfmirror import errors
from hfmirror.target import Target


class Storage(Protocol):
    """A repository's folder in an archive. Its methods raise our errors, and may be called from several threads."""

    where: str

    def sizes(self, folder: str) -> dict[str, int]:
        """Return {name: bytes} of all files below ``folder``; none of a folder that is not there."""

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None when it is not there."""

    def read(self, name: str, most: int) -> bytes | None:
        """Return the content of a small file, None when it is not there. Raises RemoteError when it has more than ``most``."""

    def create(self, name: str, content: bytes) -> bool:
        """Write a small file that is not there yet; False when somebody else has. It is on disk when this returns."""

    def put(self, name: str, source: Path, *, sha256: str, size: int, advance: Callable[[int], None]) -> None:
        """Write a file whose content has that sha256, proven by the place where it can. It is there after ``settle``.

        Raises SourceChanged when ``source`` has another content.
        """

    def settle(self) -> None:
        """Return when all that was put is there, on disk."""

    def open(self, name: str, *, size: int, offset: int = 0) -> AbstractContextManager[IO[bytes]]:
        """Open a file of ``size`` bytes for reading from ``offset``. Raises NotFoundError when it is not there."""

    def remove(self, name: str) -> None:
        """Remove a file; nothing happens when it is not there."""

    def close(self) -> None:
        """End the connections."""


def storage_of(target: Target) -> Storage:
    """Return the folder of a repository in its archive. Raises UsageError when the extra for that is not installed."""
    scheme = target.git_url.partition('://')[0]
    if scheme == 'file':
        from hfmirror.archive.directory import Directory

        return Directory(target)
    try:
        if scheme == 's3':
            from hfmirror.archive.s3 import S3

            return S3(target)
        from hfmirror.archive.gcs import GCS

        return GCS(target)
    except ImportError as e:
        extra = 's3' if scheme == 's3' else 'gcs'
        raise errors.UsageError(
            f"--remote {target.remote}: what talks to such buckets is not installed. Run: pip install 'hf-mirror[{extra}]'"
        ) from e


def source_changed(source: Path) -> errors.SourceChanged:
    return errors.SourceChanged(
        f'{source}: changed before it was sent. Push again when nothing writes to it any more.'
    )


def too_large(where: str, name: str, most: int) -> errors.RemoteError:
    return errors.RemoteError(
        f'{where}/{name}: has more than {most:,} bytes, so no hfmirror wrote it. Look at it, and remove it.'
    )


def gone(where: str, name: str) -> errors.NotFoundError:
    return errors.NotFoundError(
        f"{where}/{name}: is not there any more. 'hfmirror verify' shows what is lost."
    )
