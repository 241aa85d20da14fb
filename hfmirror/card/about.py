"""What does a card say about its release that the folder does not?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from hfmirror.card.additions import NOTHING, Additions
from hfmirror.tree import Entry
from hfmirror.versions import VersionInfo


class About(NamedTuple):
    """One release, for its card.

    ``version`` is None for a release without a tag. ``tree`` is what the release contains beside README.md; the folder's
    files are in it below ``path_in_repo``. ``history`` has the earlier versions, newest first. ``url`` is where
    others clone the repository, None when they go by its name or cannot.
    """

    repo_id: str
    repo_type: str
    version: str | None
    date: datetime
    tree: Mapping[str, Entry]
    history: Sequence[VersionInfo]
    url: str | None
    path_in_repo: str = ''
    additions: Additions = NOTHING

    @property
    def prefix(self) -> str:
        """``path_in_repo`` without slashes at its ends."""
        return self.path_in_repo.strip('/')

    def path(self, path: str) -> str:
        """Return where the folder's file ``path`` is in the repository."""
        return f'{self.prefix}/{path}' if self.prefix else path
