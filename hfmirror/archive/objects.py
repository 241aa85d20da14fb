"""How do LFS objects get into an archive and back? Each under its sha256, several at once, and only what is not there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import IO

from hfmirror import errors, output
from hfmirror.archive.archive import Archive
from hfmirror.outbox import Held
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry

_ASKED_AT_ONCE = 16
_SENT_AT_ONCE = 4  # each large one in several parts at once besides
_LISTED_FROM = 500  # objects; to list all that are there is quicker than to ask for so many
_TOGETHER = 256  # whose names are flushed together


class ArchiveObjects:
    """The objects of a repository in an archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive, self.storage = archive, archive.storage

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the LFS entries whose object is not there with its size."""
        wanted = [entry for entry in entries if entry.is_lfs and entry.size]
        there = self._sizes({entry.oid for entry in wanted})
        return [entry for entry in wanted if there.get(entry.oid) != entry.size]

    def _sizes(self, oids: set[str]) -> dict[str, int | None]:
        if len(oids) >= _LISTED_FROM:
            found = self.storage.sizes('objects')
            return {oid: found.get(object_name(oid)) for oid in oids}
        with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
            return dict(zip(oids, pool.map(self.storage.size, map(object_name, oids)), strict=True))

    def send(self, source: ObjectStore, held: Sequence[Held]) -> None:
        """Put objects there, checked while they are read; all are there when this returns, and those before an error."""
        if held:
            self.archive.newest_known()  # raises when another disk is where the archive was
        with output.progress('archiving', sum(one.size for one in held)) as shown:
            for start in range(0, len(held), _TOGETHER):
                self._send(source, held[start : start + _TOGETHER], shown.advance)

    def _send(self, source: ObjectStore, held: Sequence[Held], advance: Callable[[int], None]) -> None:
        def put(one: Held) -> None:
            self.storage.put(
                object_name(one.oid), source.path(one.oid), sha256=one.oid, size=one.size, advance=advance
            )

        pool = ThreadPoolExecutor(_SENT_AT_ONCE)
        try:
            for done in [pool.submit(put, one) for one in held]:
                done.result()
        finally:
            pool.shutdown(cancel_futures=True)
            self.storage.settle()

    @contextmanager
    def open(self, entry: Entry, *, offset: int = 0) -> Iterator[tuple[IO[bytes], int]]:
        """Open an object for reading from ``offset``. Raises VerificationError when it is not there."""
        try:
            with self.storage.open(object_name(entry.oid), size=entry.size, offset=offset) as stream:
                yield stream, offset
        except errors.NotFoundError as e:
            raise errors.VerificationError(
                f'{entry.path}: the archive has lost its object {entry.oid[:12]} ({output.human_size(entry.size)}). '
                'Push the folder it came from again, which sends what is missing.'
            ) from e


def object_name(oid: str) -> str:
    """Return the name of an object in an archive."""
    return f'objects/{oid[:2]}/{oid[2:4]}/{oid}'
