"""How are the objects that a remote lacks kept ready to be sent? Copied, or linked and watched."""

from __future__ import annotations

from collections.abc import Iterable

from hfmirror import errors
from hfmirror.compose import Plan
from hfmirror.folder import SourceFile
from hfmirror.objects import RemoteObjects
from hfmirror.outbox import Held
from hfmirror.statcache import Stamp
from hfmirror.store import ObjectStore
from hfmirror.tree import Entry


def hold(plan: Plan, wanted: Iterable[Entry], store: ObjectStore, *, copy: bool) -> list[Held]:
    """Have the objects that the remote lacks, ``wanted``, in ``store``, each once, and return those that the folder has.

    With ``copy`` each is a copy of its own, most of them made while they were hashed; else a link. Raises SourceChanged
    when a file is no more what it was when it was read.
    """
    held: dict[str, Held] = {}
    for entry in wanted:
        file = plan.laid.files.get(entry.path)
        if entry.oid not in held and file is not None:
            stamp = None
            if copy:
                _copy(store, file, entry)
            else:
                stamp = _link(store, file, entry, plan.laid.found[file.path].stamp)
            held[entry.oid] = Held(entry.path, entry.oid, entry.size, str(file.source), stamp)
    store.settle()
    return list(held.values())


def lacking(plan: Plan, objects: RemoteObjects) -> list[Entry]:
    """Return the folder's LFS entries that the remote lacks, as far as it can be asked."""
    files = plan.laid.files
    ours = [entry for entry in plan.laid.tree.values() if entry.is_lfs and entry.path in files]
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
