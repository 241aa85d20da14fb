"""Has the training released by itself what it has left? Then that is not released once more.

Told by content: everything that is left stands in what was released of that folder since the command began. A training that
succeeded and releases its own saves has the last word on its checkpoints, too.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from hfmirror import lately, outbox, publishing
from hfmirror.clone import opened
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.fingerprint import Job, Reader
from hfmirror.lately import Made
from hfmirror.outcome import HOW_TO_SEND, Release
from hfmirror.publishing import Publication
from hfmirror.running.found import Left
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.tree import Changes

# What a release has in a form of its own, or leaves out on purpose.
_NOT_COUNTED = re.compile(
    r'README\.md|(?:.*/)?(?:training_args\.bin|(?:optimizer|scheduler|scaler|rng_state\w*)\.(?:pt|pth|bin))'
)


class Since(NamedTuple):
    """What is asked about: a command that began at ``at_s``, a time of the epoch, and whether it has succeeded."""

    at_s: float
    succeeded: bool
    config: Config
    home: Home


def released(left: Left, publication: Publication, since: Since) -> list[Release]:
    """Return where what a command has left is already, in the order it came there; nothing is asked of a network.

    ``publication`` is how it would be released: under a tag that a person chose only what has that tag is there.
    """
    folders = dict.fromkeys((left.named.resolve(), left.path.resolve()))
    rows = [row for folder in folders for row in lately.made(folder, since.home, since_s=since.at_s)]
    choice = publication.choice
    if choice.kind == 'tag' and left.step is None:
        rows = [row for row in rows if row.version == choice.value]
    if not rows:
        return []
    by_target: dict[Target, list[Made]] = {}
    for row in sorted(rows, key=lambda row: row.at):
        by_target.setdefault(row.target, []).append(row)
    contents = None
    found = []
    for target, made in by_target.items():
        is_its_own = left.step is not None and since.succeeded and any(row.version for row in made)
        if not is_its_own:
            contents = contents or _contents(publication, since)
        if is_its_own or _holds(target, made, contents or [], since.home):
            found.append(_release(made[-1], left, since.home))
    return found


def _contents(publication: Publication, since: Since) -> list[set[str | None]]:
    """Return the oids that each file which would be released may have in a release."""
    folder = publishing.files_of(publication, since.config)
    ours = since.config.experiment_tracking.metadata_file
    counted = [file for file in folder.files if not (_NOT_COUNTED.fullmatch(file.path) or file.path == ours)]
    with closing(CommandCache(since.home.cache / 'files.sqlite')) as cache:
        read = Reader(cache).read(folder.root, [Job(file, True, lambda: False) for file in counted])
    return [{found.known.sha256, found.known.blob} - {None} for found in read.values()]


def _holds(target: Target, made: Sequence[Made], contents: Sequence[set[str | None]], home: Home) -> bool:
    """Return whether all of it stands in these releases, as far as the clone on this machine has them."""
    with opened(target, home) as repository:
        commits = [row.commit for row in made if repository.has(row.commit)]
        there = {entry.oid for commit in commits for entry in repository.tree(commit).values()}
    return bool(contents) and all(oids & there for oids in contents)


def _release(made: Made, left: Left, home: Home) -> Release:
    waiting = outbox.Outbox(home.outbox, made.target).entries()
    waits = any(
        entry.commit == made.commit or (made.version and entry.version == made.version) for entry in waiting
    )
    return Release(
        made.target,
        made.version,
        made.commit,
        'queued' if waits else 'up-to-date',
        Changes([], [], []),
        made.size,
        made.files,
        HOW_TO_SEND if waits else None,
    )
