"""How does a release that is in the outbox reach its remote? Objects, then branch and tag at once, then the proof."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from typing import NamedTuple, TypeVar

from hfmirror import errors, output, replay
from hfmirror.clone import Clone
from hfmirror.gitcmd import GitFailed
from hfmirror.hub import NoSuchRepository
from hfmirror.objects import RemoteObjects, objects_of
from hfmirror.outbox import Entry, Held, Outbox
from hfmirror.readme import frontmatter
from hfmirror.refs import Refs, create_bare
from hfmirror.rules import CARD
from hfmirror.tree import Entry as File
from hfmirror.tree import not_as
from hfmirror.worktree import RemoteMoved, TagExists

_T = TypeVar('_T')
_WAIT_MAX_S = 600  # a server that wants a longer pause gets the release with a later command


class Begun(RemoteMoved):
    """The repository was created, and the Hub began it with a commit of its own."""


class Retry(NamedTuple):
    """How often and after how many seconds to try again; the wait doubles each time, with jitter.

    ``resumes``: whether a download goes on where it was interrupted.
    """

    times: int = 3
    delay_s: float = 2.0
    resumes: bool = True


def deliver(repository: Clone, outbox: Outbox, entry: Entry, retry: Retry, *, is_new: bool = False) -> Entry:
    """Send a release, prove it and take it out of the outbox; returns it as it was sent.

    One that is new was made a moment ago, so that nobody has to be asked whether it has arrived already, nor for what the
    branch holds besides. Raises NetworkError when ``retry`` does not help; the release then stays in the outbox.
    Raises RemoteMoved when the branch is no more where the release was built on; see ``deliver_queued``.
    """

    def once(attempt: int) -> Entry:
        try:
            with repository.explaining(writing=True):
                return _deliver(repository, outbox, entry, is_new=is_new and attempt == 0)
        except errors.NetworkError as e:
            outbox.update(replace(entry, attempts=entry.attempts + attempt + 1, error=str(e)))
            raise

    return patiently(retry, once)


def patiently(retry: Retry, work: Callable[[int], _T]) -> _T:
    """Return what ``work`` returns; called with 0, and with 1, 2, … for as long as the network breaks it.

    It is not called again for what no time mends (``statuses``), nor when the server wants to be left alone for more than
    ten minutes.
    """
    for attempt in count():
        try:
            return work(attempt)
        except errors.NetworkError as e:
            if attempt >= retry.times:
                raise
            wait = max(retry.delay_s * 2**attempt * random.uniform(0.75, 1.25), e.retry_after_s or 0)
            if wait > _WAIT_MAX_S:
                raise
            output.say(f'{e} Trying again in {wait:.0f} s ({attempt + 1} of {retry.times}).')
        time.sleep(wait)
    raise AssertionError('unreachable')


def deliver_queued(repository: Clone, outbox: Outbox, entry: Entry, retry: Retry) -> Entry:
    """Send a release that waited, put on top of what the remote has got meanwhile.

    What is wrong with this release alone, and would stop every later one, is told with how to drop it.
    """
    try:
        return _deliver_queued(repository, outbox, entry, retry)
    except (errors.RemoteError, errors.VerificationError, errors.GateError) as e:
        raise type(e)(
            f'{e} That is {entry.name}, which waits from an earlier push: it is tried again before any other, '
            f"until it is dropped with 'hfmirror resume --drop {entry.id}'."
        ) from e


def _deliver_queued(repository: Clone, outbox: Outbox, entry: Entry, retry: Retry) -> Entry:
    repository.unpack(outbox.pack(entry))
    for _ in range(5):
        refs = _refs(repository, outbox, entry, retry)
        if _arrived(entry, refs):
            return deliver(repository, outbox, entry, retry)
        if entry.version is not None and entry.version in refs.tags:
            raise TagExists(
                f'{repository.target}: a waiting release is called {entry.version}, and the remote has got another one of that '
                f"name meanwhile. Push {entry.folder} again under a new name, or drop it with 'hfmirror resume --drop {entry.id}'."
            )
        if refs.head != entry.base:
            entry = replay.onto(repository, outbox, entry, refs.head)
        try:
            return deliver(repository, outbox, entry, retry)
        except RemoteMoved:
            continue
    raise RemoteMoved(
        f'{repository.target}: the branch {repository.target.branch} keeps moving. Push again later.'
    )


def refs_of(repository: Clone, retry: Retry) -> Refs:
    """Return what the remote has, and have its branch's commit here, on which a release goes."""

    def once(_: int) -> Refs:
        refs = repository.remote_refs()
        if refs.head is not None:
            with suppress(GitFailed):  # a damaged clone is built anew when it is used
                repository.fetch(refs.head, f'refs/heads/{repository.target.branch}')
        return refs

    return patiently(retry, once)


def _refs(repository: Clone, outbox: Outbox, entry: Entry, retry: Retry) -> Refs:
    """Return the remote's refs, none of a repository that the release may create. The entry knows why it cannot be asked."""
    try:
        return refs_of(repository, retry)
    except NoSuchRepository:
        # One that had a commit when it was last seen has been deleted since. Else what the release was built on has waited
        # too, and was dropped.
        is_deleted = entry.base is not None and repository.remembered_refs().head is not None
        if is_deleted or not entry.create:
            raise
        return Refs(None, {})
    except errors.NetworkError as e:
        outbox.update(replace(entry, error=str(e)))
        raise


def prove(repository: Clone, entry: Entry, tree: Mapping[str, File], objects: RemoteObjects) -> None:
    """Raise VerificationError unless the remote has the tag, the branch and every object of the release."""
    refs = repository.remote_refs()
    if entry.version is not None and refs.tags.get(entry.version, ('', ''))[0] != entry.tag_object:
        raise errors.VerificationError(
            f"{repository.target}: the remote does not have the tag {entry.version} that was pushed. Run 'hfmirror verify'."
        )
    if refs.head != entry.commit and not (refs.head and repository.is_ancestor(entry.commit, refs.head)):
        raise errors.VerificationError(
            f'{repository.target}: the branch {repository.target.branch} does not hold the commit {entry.commit[:10]} '
            "that was pushed. Run 'hfmirror verify'."
        )
    _require_confirmed(repository, objects.missing(tree.values()))
    _require_listed(repository, entry.version, entry.commit, tree)


def prove_again(
    repository: Clone,
    outbox: Outbox,
    version: str | None,
    commit: str,
    hold: Callable[[Sequence[File]], Sequence[Held]],
) -> None:
    """Raise VerificationError unless the remote, whose refs name the release, has every object and lists every file of it.

    ``hold`` gets the entries whose objects the remote has lost; those that it returns are sent first.
    """
    tree, objects = repository.tree(commit), objects_of(repository)
    lost = objects.missing(tree.values())
    held = hold(lost) if lost else ()
    if held:
        output.say(
            f'{repository.target}: sending {output.count(len(held), "object")} that the remote had lost'
        )
        objects.send(outbox.store, held)
        _require_intact(outbox, held)
    _require_confirmed(repository, objects.missing(lost))
    _require_listed(repository, version, commit, tree)


def _require_listed(repository: Clone, version: str | None, commit: str, tree: Mapping[str, File]) -> None:
    """Raise VerificationError unless the REST API of a Hub lists exactly the files of the release."""
    try:
        listed = repository.listed(version or commit, commit)
    except errors.NotFoundError as e:
        raise errors.VerificationError(
            f'{repository.target}: the Hub does not show the files of {version or commit[:10]}, which was pushed. '
            f"Run 'hfmirror verify {version or ''}' in a moment."
        ) from e
    wrong = not_as(tree, listed) if listed is not None else []
    if wrong:
        raise errors.VerificationError(
            f'{repository.target}: the Hub lists {output.count(len(wrong), "file")} otherwise than released: '
            f"{', '.join(wrong[:5])}. Run 'hfmirror verify {version or ''}'."
        )


def _require_confirmed(repository: Clone, missing: Sequence[File]) -> None:
    if missing:
        names = ', '.join(file.path for file in missing[:5])
        raise errors.VerificationError(
            f'{repository.target}: the remote does not confirm {output.count(len(missing), "object")}: {names}. '
            'Push the folder it came from again, which sends what is missing.'
        )


def _deliver(repository: Clone, outbox: Outbox, entry: Entry, *, is_new: bool) -> Entry:
    target = repository.target
    _make_place(repository, entry)
    tree = repository.tree(entry.commit)
    objects = objects_of(repository)
    asked = [_file(held) for held in entry.objects] if is_new else tree.values()
    _send_objects(repository, outbox, entry, asked, objects)
    if is_new or not _arrived(entry, repository.remote_refs()):
        repository.push_refs(_refspecs(entry, target.branch))
    prove(repository, entry, tree, objects)
    outbox.remove(entry)
    return entry


def _make_place(repository: Clone, entry: Entry) -> None:
    """Create the repository of a first release, where the release may and there is none.

    Raises Begun when there is one by now, with a commit: of somebody else, or of the Hub, whose answer was lost.
    """
    target = repository.target
    if target.remote == 'local' and target.path is not None and not target.path.exists():
        create_bare(target.path, target.branch)
    if repository.hub is None or entry.base is not None:
        return
    try:
        refs = repository.remote_refs()
    except NoSuchRepository:
        if not entry.create:
            raise
        create(repository, private=entry.private, sdk=_sdk(repository, entry))
        return
    if refs.head is not None and not _arrived(entry, refs):
        raise Begun(f'{target}: created meanwhile, and begun with another commit.')


def create(repository: Clone, *, private: bool | None, sdk: str | None = None) -> None:
    """Create the repository on its Hub. Raises Begun then: a Hub begins it with a commit, on which a release has to go."""
    assert repository.hub is not None
    if repository.hub.create(repository.target, private=private, sdk=sdk):
        output.say(f'{repository.target}: created{" (private)" if private else ""}')
    raise Begun(f'{repository.target}: created with a first commit of the Hub.') from None


def warn_when_public(repository: Clone) -> None:
    """Say so when a repository that is there already is not private, as it was asked to be."""
    if repository.archive is not None:
        output.say(f'{repository.target}: --private has no meaning there; who may read the place decides.')
    if repository.hub is not None and not repository.hub.is_private(repository.target):
        output.warn(
            f'{repository.target}: is public; --private counts only when a repository is created. '
            f'Make it private in its settings at {repository.target.url}.'
        )


def _sdk(repository: Clone, entry: Entry) -> str | None:
    """Return what a Space runs on, as its card says."""
    card = repository.tree(entry.commit).get(CARD)
    if repository.target.repo_type != 'space' or card is None or card.is_lfs:
        return None
    sdk = frontmatter.read(repository.read(card).decode('utf-8', 'replace'), CARD).get('sdk')
    return sdk if isinstance(sdk, str) else None


def _send_objects(
    repository: Clone, outbox: Outbox, entry: Entry, asked: Iterable[File], objects: RemoteObjects
) -> None:
    """Have the remote confirm the objects that are ``asked`` for; what it lacks of the release's own is sent."""
    wanted = {held.oid: held for held in entry.objects}
    absent = list({file.oid: file for file in objects.missing(asked)}.values())
    _require_intact(outbox, entry.objects)
    foreign = [file.path for file in absent if file.oid not in wanted]
    if foreign:
        raise errors.VerificationError(
            f'{repository.target}: the remote lacks what {entry.name} has from a release before it: {", ".join(foreign[:5])}. '
            'Push the folder they came from again.'
        )
    gone = [file.path for file in absent if not outbox.store.has(file.oid, file.size)]
    if gone:
        raise errors.SourceChanged(
            f'{", ".join(gone[:5])}: neither here nor on the remote any more. Push {entry.folder} again.'
        )
    objects.send(outbox.store, [wanted[file.oid] for file in absent])
    # git-lfs looks at sizes only: what was written while it was sent must not become a release.
    _require_intact(outbox, entry.objects)
    # Asked before the refs move: no tag ever points at an object that is not there.
    _require_confirmed(repository, objects.missing(absent))


def _file(held: Held) -> File:
    return File(held.path, held.oid, held.size, is_lfs=True)


def _require_intact(outbox: Outbox, objects: Iterable[Held]) -> None:
    spoilt = outbox.overwritten(objects)
    if spoilt:
        names = ', '.join(held.source for held in spoilt[:5])
        raise errors.SourceChanged(
            f'{names}: overwritten before it was sent. Push again when nothing writes to it any more.'
        )


def _arrived(entry: Entry, refs: Refs) -> bool:
    if entry.version is not None:
        return refs.tags.get(entry.version, ('', ''))[0] == entry.tag_object
    return refs.head == entry.commit


def _refspecs(entry: Entry, branch: str) -> list[str]:
    refspecs = [f'{entry.commit}:refs/heads/{branch}']
    if entry.version is not None:
        refspecs.append(f'{entry.tag_object}:refs/tags/{entry.version}')
    return refspecs
