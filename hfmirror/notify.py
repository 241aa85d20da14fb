"""Who is told what came of a push? A webhook and people by e-mail."""

from __future__ import annotations

from collections.abc import Sequence

from hfmirror.config.config import Config
from hfmirror.release import Release, Unreleased


def tell(config: Config, releases: Sequence[Release | Unreleased], *, seconds: float) -> None:
    """Tell those who are configured. Never raises, and takes no longer than ``notifications.timeout``."""
