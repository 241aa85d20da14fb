"""How are the objects that a remote lacks kept ready to be sent? Copied, or linked and watched."""

from __future__ import annotations

from collections.abc import Sequence

from hfmirror import errors
from hfmirror.compose import Plan
from hfmirror.folder import SourceFile
from hfmirror.objects import RemoteObjects
from hfmirror.outbox import Held
from hfmirror.statcache import Stamp
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry


def hold(plan: Plan, objects: RemoteObjects, store: ObjectStore, *, copy: bool) -> list[Held]:
    """Have every object of the plan that the remote lacks in ``store``, and return them.

    With ``copy`` each is a copy of its own, most of them made while they were hashed; else a link. Raises SourceChanged
    when a file is no more what it was when it was read.
    """
    files = plan.laid.files
    ours = [entry for entry in plan.laid.tree.values() if entry.is_lfs and entry.path in files]
    held: dict[str, Held] = {}
    for entry in _lacking(plan, objects, ours):
        if entry.oid not in held:
            file = files[entry.path]
            stamp = None
            if copy:
                _copy(store, file, entry)
            else:
                stamp = _link(store, file, entry, plan.laid.found[file.path].stamp)
            held[entry.oid] = Held(entry.path, entry.oid, entry.size, str(file.source), stamp)
    store.settle()
    return list(held.values())


def _lacking(plan: Plan, objects: RemoteObjects, ours: Sequence[Entry]) -> list[Entry]:
    try:
        return objects.missing(ours)
    except (errors.NetworkError, errors.NotFoundError):
        # Not to be asked now, or not created yet: what the branch is known to have.
        have = {entry.oid for entry in plan.head.values() if entry.is_lfs}
        return [entry for entry in ours if entry.oid not in have]


def _copy(store: ObjectStore, file: SourceFile, entry: Entry) -> None:
    if store.owns(entry.oid, entry.size):
        return
    try:
        store.copy_in(file.source, entry.oid, entry.size)
    except (errors.VerificationError, FileNotFoundError) as e:
        raise _changed(file) from e


def _link(store: ObjectStore, file: SourceFile, entry: Entry, before: Stamp) -> Stamp | None:
    """Link one object; returns the stamp to watch, None when the link shares nothing that can be written."""
    stamp = store.link(file.source, entry.oid)
    if (stamp or Stamp.of(file.source.stat())) != before:
        raise _changed(file)
    return stamp


def _changed(file: SourceFile) -> errors.SourceChanged:
    return errors.SourceChanged(
        f'{file.source}: changed since it was read. Push again when nothing writes to it any more.'
    )
