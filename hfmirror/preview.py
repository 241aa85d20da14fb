"""What card would a folder have? As its first release would, without asking anyone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from hfmirror import folder as folders
from hfmirror import layout
from hfmirror.card import card
from hfmirror.card.additions import Additions, configured
from hfmirror.config.config import Config
from hfmirror.facts.facts import read_facts
from hfmirror.readme import ownership
from hfmirror.rules import CARD
from hfmirror.target import Target


def card_of(
    folder: Path,
    target: Target,
    config: Config,
    *,
    version: str | None = None,
    sections: Mapping[str, str] | None = None,
) -> str:
    """Return the card of the first release of a folder as ``version``; ``sections`` are {heading: Markdown}. Raises CardError."""
    walked = folders.walk(folder, include=config.layout.include, exclude=config.layout.exclude)
    files = {file.path: file.source for file in walked.files}
    base = ownership.decode(files[CARD].read_bytes(), str(files[CARD])) if CARD in files else None
    about = card.About(
        repo_id=target.repo_id,
        repo_type=target.repo_type,
        version=version,
        date=datetime.now(UTC),
        tree=layout.outline(walked),
        history=[],
        url=None if target.path is not None else target.url,
        additions=Additions(sections=sections or {}).over(configured(config)),
    )
    return card.render(read_facts(files, repo_type=target.repo_type), about, base=base)
