"""Which releases are on their way? Each is written here before any network, and stays until it is proven.

On disk, under the data directory, one directory a target; nothing in it can be rebuilt from elsewhere::

    <slug>/target.json          the repository
    <slug>/<id>.json            one release: its commit, tag, objects, and what became of it so far
    <slug>/<id>.pack            its commit, tag, tree and small files, and those of the commit it was built on
    <slug>/objects/…/<oid>      LFS objects: our own copies, or links to the folder while the push runs

An entry is changed under the lock of the target's clone only. It never holds a token.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hfmirror import durable, errors, output
from hfmirror.statcache import Stamp
from hfmirror.store import ObjectStore
from hfmirror.target import Target

_FORMAT = 1


class Held(NamedTuple):
    """An object to send. ``stamp`` is set while it is only linked to ``source``: it tells whether it is still the same."""

    path: str
    oid: str
    size: int
    source: str
    stamp: Stamp | None


@dataclass(frozen=True)
class Entry:
    """One release that is not proven yet."""

    id: str
    created: str  # ISO 8601, UTC
    folder: str
    version: str | None
    commit: str
    tag_object: str | None
    base: str | None  # the commit it was built on
    path_in_repo: str
    keep: bool
    objects: tuple[Held, ...]
    create: bool = True  # whether the repository may be created
    private: bool | None = None  # and how
    attempts: int = 0
    error: str | None = None

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.version or self.commit[:10]

    @property
    def size(self) -> int:
        """The bytes of all its objects."""
        return sum(held.size for held in self.objects)


class Outbox:
    """The releases of one target that wait, oldest first."""

    def __init__(self, root: Path, target: Target) -> None:
        self.root = root / target.slug
        self.target = target
        self.store = ObjectStore(self.root, flat=target.path is not None)

    def add(self, entry: Entry, pack: bytes) -> None:
        """Keep a release. When this returns it survives a power cut."""
        durable.write(self.root / 'target.json', json.dumps(self.target._asdict()).encode())
        durable.write(self._pack(entry), pack)
        self.update(entry)

    def update(self, entry: Entry) -> None:
        """Write what became of a release."""
        durable.write(
            self.root / f'{entry.id}.json', json.dumps({'format': _FORMAT, **asdict(entry)}).encode()
        )

    def entries(self) -> list[Entry]:
        """Return what waits, oldest first."""
        return [entry for path in sorted(self.root.glob('[0-9]*.json')) if (entry := _load(path))]

    def pack(self, entry: Entry) -> Path:
        """Return the pack of an entry. Raises HfmirrorError when it is gone."""
        path = self._pack(entry)
        if not path.is_file():
            raise errors.HfmirrorError(
                f'{path}: the commit of this waiting release is gone. '
                f"Drop it with 'hfmirror resume --drop {entry.id}' and push the folder again."
            )
        return path

    def remove(self, entry: Entry) -> None:
        """Forget a release, with the objects that no other one needs."""
        self.forget(entry)
        self.tidy()

    def forget(self, entry: Entry) -> None:
        """Forget a release that is about to be made again; its objects stay for that."""
        for path in (self.root / f'{entry.id}.json', self._pack(entry)):
            path.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove objects that no waiting release needs, and what killed runs left half written."""
        entries, files = self.entries(), list(self.root.glob('[0-9]*.json'))
        if len(entries) < len(files):
            return  # one cannot be read, so what it needs is not known
        self.store.keep_only({held.oid for entry in entries for held in entry.objects})
        packs = {self._pack(entry) for entry in entries}
        for path in [*self.root.glob('.*.tmp'), *(set(self.root.glob('*.pack')) - packs)]:
            path.unlink(missing_ok=True)
        if not entries:
            with suppress(OSError):
                (self.root / 'target.json').unlink(missing_ok=True)
            with suppress(OSError):
                (self.root / 'objects').rmdir()
            with suppress(OSError):
                self.root.rmdir()

    def own(self, entry: Entry) -> Entry:
        """Copy what is only linked, so that the folder may be overwritten while the release waits.

        Raises SourceChanged when it has been already, HfmirrorError when the disk has no room.
        """
        linked = {held.oid for held in entry.objects if held.stamp is not None}
        with output.progress(
            'keeping a copy', sum(held.size for held in entry.objects if held.stamp is not None)
        ) as shown:
            for held in entry.objects:
                if held.oid in linked:
                    linked.discard(held.oid)
                    self.store.own(held.oid)
                    shown.advance(held.size)
        owned = replace(entry, objects=tuple(held._replace(stamp=None) for held in entry.objects))
        self.update(owned)
        return owned

    def overwritten(self, objects: Iterable[Held]) -> list[Held]:
        """Return the objects that are only linked, and whose file has been written since or is gone."""
        return [held for held in objects if held.stamp is not None and self._stamp(held) != held.stamp]

    def _stamp(self, held: Held) -> Stamp | None:
        try:
            return Stamp.of(self.store.path(held.oid).stat())
        except OSError:
            return None

    def _pack(self, entry: Entry) -> Path:
        return self.root / f'{entry.id}.pack'


def new_id() -> str:
    """Return a name for an entry; later ones sort after earlier ones."""
    return f'{time.time_ns():020d}-{secrets.token_hex(3)}'


def now() -> str:
    return datetime.now(UTC).isoformat(timespec='seconds')


def waiting(root: Path) -> list[tuple[Target, list[Entry]]]:
    """Return (target, entries) for every target that has releases waiting."""
    found = []
    for path in sorted(root.glob('*/target.json')):
        with suppress(OSError, ValueError, TypeError):
            target = Target(**json.loads(path.read_text('utf-8')))
            entries = Outbox(root, target).entries()
            if entries:
                found.append((target, entries))
    return found


def _load(path: Path) -> Entry | None:
    try:
        fields = json.loads(path.read_text('utf-8'))
        if fields.pop('format') != _FORMAT:
            output.warn(f'{path}: written by another version of hfmirror; it is left alone')
            return None
        objects = tuple(_held(row) for row in fields.pop('objects'))
        return Entry(**fields, objects=objects)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as e:
        output.warn(f'{path}: this waiting release cannot be read ({e}); it is left alone')
        return None


def _held(row: Sequence[object]) -> Held:
    path, oid, size, source, stamp = row
    if not (isinstance(oid, str) and isinstance(size, int)):
        raise ValueError('an object without oid and size')
    return Held(str(path), oid, size, str(source), Stamp(*stamp) if isinstance(stamp, list) else None)
