"""Is the folder on the remote already, as which version, and is that whole there?"""

from __future__ import annotations

from collections.abc import Sequence

from hfmirror import delivery, errors, holding, versions
from hfmirror.compose import Plan, contents
from hfmirror.naming import Name
from hfmirror.outbox import Held
from hfmirror.outcome import HOW_TO_SEND, Release
from hfmirror.tree import Changes, Entry, compare
from hfmirror.underway import Push
from hfmirror.worktree import TagExists


def already_there(current: Push, plan: Plan) -> Release | None:
    """Return the release that the folder already is on the remote, None when one is to be made.

    Raises TagExists when the tag that a person chose stands for something else.
    """
    name, refs = plan.name, plan.refs
    if name.chosen and name.tag is not None and name.tag in refs.tags:
        commit = refs.tags[name.tag][1]
        if not _is_same_tree(current, plan, name.tag, commit):
            raise TagExists(
                f'{current.target}: tag {name.tag} is already at {commit[:7]}, with other content. Tags never move: '
                'choose another --tag, or let --bump find the next one.'
            )
        return _there(current, plan, name.tag, commit)
    if plan.is_new or refs.head is None or name.chosen:
        return None
    if name.tag is None:
        return _there(current, plan, None, refs.head)
    tags = [tag for tag, (_, commit) in refs.tags.items() if commit == refs.head]
    tag = next(
        (tag for tag in sorted(tags, reverse=True) if _is_like(tag, name, current.request.prefix)), None
    )
    return _there(current, plan, tag, refs.head) if tag else None


def _is_like(tag: str, name: Name, prefix: str) -> bool:
    """Tell whether ``tag`` already is what ``name`` would be: a version of its kind, or of its experiment."""
    version = versions.parse(tag, prefix=prefix)
    if version is None or version.kind != name.kind:
        return False
    return name.kind != 'experiment' or tag.rpartition('-')[0] == str(name.tag).rpartition('-')[0]


def _is_same_tree(current: Push, plan: Plan, tag: str, commit: str) -> bool:
    if commit == plan.refs.head:
        return not (plan.changes or plan.card_changed)
    delivery.patiently(current.retry, lambda _: current.repository.fetch(commit, f'refs/tags/{tag}'))
    return not compare(contents(current.repository.tree(commit)), plan.laid.tree)


def _there(current: Push, plan: Plan, version: str | None, commit: str) -> Release:
    status, note = 'up-to-date', None
    if any(entry.commit == commit for entry in current.delivered):
        status = 'pushed'
    waits = next((entry for entry in current.queued if entry.commit == commit), None)
    if waits is not None:
        status, note = 'queued', f'{waits.error or ""} It waits. {HOW_TO_SEND}'.lstrip()
    nothing = plan._replace(changes=Changes([], [], []), name=plan.name._replace(tag=version))
    return current.release(nothing, commit, status, note=note)


def prove_again(current: Push, plan: Plan, done: Release) -> None:
    """Prove what was pushed by an earlier command, which may have failed to; what the remote has lost is sent to it again."""
    if done.status != 'up-to-date' or done.commit is None:
        return
    repository, outbox, commit = current.repository, current.outbox, done.commit

    def hold(lost: Sequence[Entry]) -> list[Held]:
        return holding.hold(plan, lost, outbox.store, copy=current.copies)

    def once(_: int) -> None:
        with repository.explaining(writing=True):
            delivery.prove_again(repository, outbox, done.version, commit, hold)

    delivery.patiently(current.retry, once)


def require_asked(current: Push, done: Release) -> None:
    """Raise NetworkError when that the folder is on the remote is only what we remember."""
    if current.offline and done.status != 'queued':
        name = done.version or str(done.commit)[:10]
        raise errors.NetworkError(
            f'{current.offline} As far as is known the folder is {name} there, but nothing could be proven.'
        )
