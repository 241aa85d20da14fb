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
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, naming, versions
from hfmirror.clone import Clone
from hfmirror.config.config import Config
from hfmirror.gitcmd import GitFailed, git, meaning
from hfmirror.naming import Choice
from hfmirror.worktree import DAMAGE, WorkTree

_PROGRESS = re.compile(r'Training in progress, (step|epoch) (\d{1,12})(, checkpoint)?')
# What huggingface_hub, transformers and TRL call a commit with a whole model.
_END = re.compile(
    r'End of training|Model save|Upload folder using huggingface_hub|Upload model|Upload tokenizer|Upload [A-Z]\w+|Upload processor'
)
_DAMAGE = re.compile(rf'{DAMAGE.pattern}|does not match index|is empty|not a git repository')
_PLAIN_MAX = '10m'  # what the Hub takes outside of LFS


class Commit(NamedTuple):
    """A commit of the branch. ``seconds`` is when it was made, since 1970."""

    oid: str
    seconds: int
    subject: str


class Adopted(NamedTuple):
    """A tag that a commit gets, or has: ``is_new`` tells which. ``commit`` None: one that is made for it, with the card."""

    tag: str
    commit: Commit | None
    is_new: bool


def history(repository: Clone, head: str) -> tuple[WorkTree, list[Commit]]:
    """Return a repository with all commits of the branch, and these, oldest first. No LFS object is fetched for it.

    It lies beside the clone, whose lock is held, and is made anew when it is damaged.
    """
    path = repository.home / 'history.git'
    for lock in path.rglob('*.lock'):
        lock.unlink(missing_ok=True)  # of a git that was killed
    try:
        _fetch(repository, path)
        listed = _commits(path, head)
    except GitFailed as e:
        if not _DAMAGE.search(e.stderr):
            raise meaning(e, str(repository.target)) from e
        shutil.rmtree(path)
        _fetch(repository, path)
        listed = _commits(path, head)
    found = WorkTree(repository.target, path, repository.env)
    found.person = repository.person
    return found, listed


def _fetch(repository: Clone, path: Path) -> None:
    if not (path / 'HEAD').exists():
        git('init', '-q', '--bare', '--template=', path)
    origin = git('config', '--get', 'remote.origin.url', cwd=repository.work)
    git('config', 'remote.origin.url', origin, cwd=path)
    branch = f'+refs/heads/{repository.target.branch}:refs/hfmirror/history'
    plain = f'--filter=blob:limit={_PLAIN_MAX}'
    with repository.explaining():
        git('fetch', '-q', '--no-tags', plain, 'origin', branch, cwd=path, env=repository.env)


def _commits(path: Path, head: str) -> list[Commit]:
    listing = git(
        'log', '--topo-order', '--reverse', '--no-show-signature', '--format=%H%x00%ct%x00%s', head, cwd=path
    )
    rows = (line.split('\0', 2) for line in listing.split('\n') if line)
    return [Commit(oid, int(seconds), subject.strip()) for oid, seconds, subject in rows]


def plan(
    commits: Sequence[Commit], tags: Mapping[str, str], config: Config, final: str | None = None
) -> list[Adopted]:
    """Return the tags of the commits, in their order; {tag: commit} are those that are there.

    ``final`` is the name of the last version; None: as the configuration says, and only where a training has ended.
    Raises ConflictError when there is another ``final`` already.
    """
    steps = [one._replace(is_new=one.tag not in tags) for one in _steps(commits)]
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
    _require_free(ends, tags, commits[-1])
    return steps + ends


def _require_free(ends: Sequence[Adopted], tags: Mapping[str, str], head: Commit) -> None:
    """Raise when a version would need a name that is taken, or would be the second one of the same commit."""
    for one in ends:
        if one.is_new and one.tag in tags:
            raise errors.ConflictError(
                f'the tag {one.tag} is already there, elsewhere. Tags never move: choose another --tag.'
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


def _steps(commits: Sequence[Commit]) -> list[Adopted]:
    """Return the tag of each commit of a training in progress; where a step was saved in two commits, of the second."""
    found: list[tuple[str, Commit]] = []
    for commit in commits:
        match = _PROGRESS.fullmatch(commit.subject)
        if match is None:
            continue
        name, has_state = f'{match[1]}-{int(match[2])}', match[3]
        if has_state and found and found[-1][0] == name:
            found.pop()
        found.append((name, commit))
    seen: dict[str, int] = {}
    made = []
    for name, commit in found:
        seen[name] = seen.get(name, 0) + 1
        made.append(Adopted(name if seen[name] == 1 else f'{name}.{seen[name]}', commit, is_new=True))
    return made


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
