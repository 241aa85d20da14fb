"""How does a repository that a Trainer has pushed to get versions? Its commits say which step they are; they get tags.

A Trainer commits "Training in progress, step 100" at each save, and "End of training" at the end. Each of the first is tagged
``step-100``. What ended a training becomes the next version; the last one with a card of ours around the words that are there::

    Training in progress, step 100              step-100
    Training in progress, step 200              step-200
    Training in progress, step 200, checkpoint  (the same, with what resuming needs: this one is step-200)
    Model save
    End of training                             v0.1.0, or --tag: a commit on top of it, with the card

A training that came again to a step it had been at is ``step-100.2``. Tags that are there never move.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from hfmirror import errors, naming, versions
from hfmirror.adopting.history import Commit
from hfmirror.config.config import Config
from hfmirror.naming import Choice

_PROGRESS = re.compile(r'Training in progress, (step|epoch) (\d{1,12})(, checkpoint)?')
# What huggingface_hub, transformers and TRL call a commit with a whole model.
_END = re.compile(
    r'End of training|Model save|Upload folder using huggingface_hub|Upload model|Upload tokenizer|Upload [A-Z]\w+|Upload processor'
)


class Adopted(NamedTuple):
    """A tag that a commit gets, or has: ``is_new`` tells which. ``commit`` None: one that is made for it, with the card."""

    tag: str
    commit: Commit | None
    is_new: bool


def plan(
    commits: Sequence[Commit], tags: Mapping[str, str], config: Config, final: str | None = None
) -> list[Adopted]:
    """Return the tags of the commits, in their order; {tag: commit} are those that are there.

    ``final`` is the name of the last version; None: as the configuration says, and only where a training has ended.
    Raises ConflictError when there is another ``final`` already.
    """
    steps = _steps(commits, tags)
    taken, ends = dict(tags), list[Adopted]()
    for group in _endings(commits):
        is_last = group[-1].oid == commits[-1].oid
        known = _version_of(group, tags, config)
        if known is None:
            tag = final if is_last and final else next_version(taken, config)
            end = next(one for one in reversed(group) if _END.fullmatch(one.subject))
            known = Adopted(tag, None if is_last else end, is_new=True)
            taken[tag] = end.oid
        ends.append(known)
    if final and final not in {one.tag for one in ends}:
        ends.append(Adopted(final, None, is_new=True))
    _require_free(ends, {*tags, *(one.tag for one in steps)}, commits[-1])
    return steps + ends


def _require_free(ends: Sequence[Adopted], taken: Collection[str], head: Commit) -> None:
    """Raise when a version would need a name that is taken, or would be the second one of the same commit."""
    for one in ends:
        if one.is_new and one.tag in taken:
            raise errors.ConflictError(
                f'the tag {one.tag} stands for another commit. Tags never move: choose another --tag.'
            )
    at_head = next((one for one in ends if one.commit == head and not one.is_new), None)
    if at_head is not None and ends[-1].is_new:
        raise errors.ConflictError(
            f'{at_head.tag} is the version of the last commit already. Leave out --tag {ends[-1].tag}.'
        )


def next_version(tags: Iterable[str], config: Config) -> str:
    """Return what the configuration calls the next version; a semantic one where it names none."""
    from datetime import UTC, datetime

    name = naming.name_release(Choice(), config, list(tags), datetime.now(UTC))
    return name.tag or versions.next_semantic(tags, 'minor', prefix=naming.tag_prefix(config))


def _steps(commits: Sequence[Commit], tags: Mapping[str, str]) -> list[Adopted]:
    """Return the tag of each commit of a training in progress: the one that it has, else the next free one for its step."""
    taken, made = set(tags), list[Adopted]()
    for name, commit in _saved(commits):
        for number in count(1):
            tag = name if number == 1 else f'{name}.{number}'
            if tag not in taken or tags.get(tag) == commit.oid:
                break
        taken.add(tag)
        made.append(Adopted(tag, commit, is_new=tag not in tags))
    return made


def _saved(commits: Sequence[Commit]) -> list[tuple[str, Commit]]:
    """Return what a training in progress has saved, (``step-100``, commit); where a step has two commits, the second."""
    found: list[tuple[str, Commit]] = []
    for commit in commits:
        match = _PROGRESS.fullmatch(commit.subject)
        if match is None:
            continue
        name, has_state = f'{match[1]}-{int(match[2])}', match[3]
        if has_state and found and found[-1][0] == name:
            found.pop()
        found.append((name, commit))
    return found


def _endings(commits: Sequence[Commit]) -> list[list[Commit]]:
    """Return, for each training that has ended, its commits from the first that says so, up to the next training."""
    groups: list[list[Commit]] = []
    is_open = False
    for commit in commits:
        if _PROGRESS.fullmatch(commit.subject):
            is_open = False
        elif is_open:
            groups[-1].append(commit)
        elif _END.fullmatch(commit.subject):
            groups.append([commit])
            is_open = True
    return groups


def _version_of(group: Sequence[Commit], tags: Mapping[str, str], config: Config) -> Adopted | None:
    """Return the version that a training has already, None for none."""
    prefix, of = naming.tag_prefix(config), {commit.oid: commit for commit in group}
    known = [tag for tag, oid in tags.items() if oid in of and is_version(tag, prefix)]
    tag = versions.latest(known, prefix=prefix)
    return Adopted(tag, of[tags[tag]], is_new=False) if tag else None


def is_version(tag: str, prefix: str) -> bool:
    """Return whether a tag is a version, and not only the name of a checkpoint."""
    found = versions.parse(tag, prefix=prefix)
    return found is not None and found.kind != 'checkpoint'
