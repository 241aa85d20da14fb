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
from hfmirror.rules import CARD, clean_path_in_repo
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
    path_in_repo = clean_path_in_repo(config.layout.path_in_repo)
    # Below a folder README.md is a file like any other.
    source = None if path_in_repo else files.get(CARD)
    base = ownership.decode(source.read_bytes(), str(source)) if source is not None else None
    about = card.About(
        repo_id=target.repo_id,
        repo_type=target.repo_type,
        version=version,
        date=datetime.now(UTC),
        tree=layout.outline(walked, path_in_repo),
        history=[],
        url=target.clone_url,
        path_in_repo=path_in_repo,
        additions=Additions(sections=sections or {}).over(configured(config)),
    )
    return card.render(read_facts(files, repo_type=target.repo_type), about, base=base)
