"""What came of a push: a release on one target, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hfmirror import durable, errors
from hfmirror.clone import Clone
from hfmirror.compose import contents
from hfmirror.outbox import Entry
from hfmirror.target import Target
from hfmirror.tree import Changes, compare, total_size

HOW_TO_SEND = "Send it with 'hfmirror resume' or the next push."


class Release(NamedTuple):
    """What came of a push to one target. ``status``: pushed, up-to-date, queued or dry-run; ``size`` in bytes."""

    target: Target
    version: str | None
    commit: str | None
    status: str
    changes: Changes
    size: int
    files: int
    note: str | None = None
    metrics: Mapping[str, float] = {}  # of the run, when a release was made


class Unreleased(NamedTuple):
    """A target that could not take the release, and why."""

    target: Target
    error: errors.HfmirrorError


def of_waiting(repository: Clone, entry: Entry) -> Release:
    """Return what came of a release that waited and has arrived."""
    tree = repository.tree(entry.commit)
    before = repository.tree(entry.base) if entry.base and repository.has(entry.base) else {}
    changes = compare(contents(before), contents(tree))
    return Release(
        repository.target, entry.version, entry.commit, 'pushed', changes, total_size(tree), len(tree)
    )


def require_done(done: Sequence[Release | Unreleased]) -> None:
    """Raise the error that the exit code stands for unless all is where it belongs; ``done`` has one of each target.

    What stopped one target and all the others, as a gate or a missing network, keeps its own exit code.
    """
    undone = [one for one in done if isinstance(one, Unreleased) or one.status == 'queued']
    if not undone:
        return
    codes = {_exit_code(one) for one in undone}
    if len(done) > 1:
        failure = errors.PartialError(f'{len(undone)} of {len(done)} targets are not done; see above.')
        if len(undone) == len(done) and len(codes) == 1:
            failure.exit_code = codes.pop()
        raise failure
    if isinstance(undone[0], Unreleased):
        raise undone[0].error
    raise errors.NetworkError(
        f"{undone[0].target}: not sent yet. Nothing is lost: send it with 'hfmirror resume', or run the same again."
    )


def _exit_code(one: Release | Unreleased) -> int:
    return one.error.exit_code if isinstance(one, Unreleased) else errors.NetworkError.exit_code


def disk_failure(failure: OSError) -> errors.HfmirrorError:
    """Return our error for what the system refused: a disk is full, or a place cannot be written to."""
    refused = f'{failure.filename or "the disk"}: {failure.strerror or failure}.'
    if failure.errno in durable.NO_ROOM:
        return errors.DiskFull(f'{refused} Nothing was sent. Free some space and push again.')
    return errors.HfmirrorError(
        f'{refused} Give yourself the right to write there, or choose another place; HFMIRROR_HOME moves what hfmirror keeps.'
    )
