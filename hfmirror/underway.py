"""One push to one target while it lasts: where it stands, and how patient it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hfmirror.clone import Clone
from hfmirror.compose import Plan, Request
from hfmirror.config.config import Config
from hfmirror.delivery import Retry
from hfmirror.outbox import Entry as Waiting
from hfmirror.outbox import Outbox
from hfmirror.outcome import Release
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.tree import total_size


@dataclass
class Push:
    """One push to one target while it lasts. ``delivered`` and ``queued``: what became of releases that waited."""

    repository: Clone
    outbox: Outbox
    cache: CommandCache
    config: Config
    request: Request
    delivered: list[Release]
    queued: list[Waiting] = field(default_factory=list)
    offline: str | None = None  # why the remote could not be asked
    absent: bool = False  # whether a Hub has no such repository yet
    metrics: Mapping[str, float] = field(default_factory=dict)  # of the run, as soon as they are read

    @property
    def target(self) -> Target:
        return self.repository.target

    @property
    def copies(self) -> bool:
        """Whether objects are copied while they are hashed: the remote is a directory on the outbox's file system.

        A link there would let the next training run write into the remote. On another file system the objects are
        linked here and copied once, into the remote.
        """
        path = self.target.path
        if path is None:
            return False
        return _device(path) == _device(self.outbox.root)

    @property
    def retry(self) -> Retry:
        """How often to try again: not at all when we have just seen that nothing helps."""
        return Retry(0) if self.offline or self.queued else retry_of(self.config)

    def release(self, plan: Plan, commit: str | None, status: str, *, note: str | None = None) -> Release:
        """Return what came of it. ``commit`` is None for a plan that was not carried out."""
        tree = self.repository.tree(commit) if commit else plan.laid.tree
        return Release(
            self.target,
            plan.name.tag,
            commit,
            status,
            plan.changes,
            total_size(tree),
            len(tree),
            note,
            self.metrics,
        )


def _device(path: Path) -> int:
    """Return the file system that ``path`` is on, or would be."""
    return next(parent for parent in [path, *path.parents] if parent.exists()).stat().st_dev


def retry_of(config: Config) -> Retry:
    """Return how often the configuration wants the network to be tried."""
    upload, download = config.settings.upload, config.settings.download
    return Retry(upload.max_retries, upload.retry_delay, download.resume_download)


def person_of(config: Config) -> dict[str, str]:
    """Return the environment that names the configured user to git."""
    given = {'NAME': config.user.username, 'EMAIL': config.user.email}
    return {
        f'GIT_{who}_{what}': value
        for who in ('AUTHOR', 'COMMITTER')
        for what, value in given.items()
        if value
    }
