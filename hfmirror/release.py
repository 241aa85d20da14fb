"""How does a folder become a release? Planned, made, sent, proven; or found to be there; or left to wait in the outbox."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from hfmirror import delivery, durable, errors, holding, output, statuses, versions
from hfmirror import folder as folders
from hfmirror.auth import Token
from hfmirror.clone import Clone, opened
from hfmirror.compose import Plan, Request, contents, make, make_plan, write
from hfmirror.config import Config, Home
from hfmirror.delivery import Retry
from hfmirror.fingerprint import Reader
from hfmirror.gates import limits
from hfmirror.gates.gate import require_clean
from hfmirror.gates.scanning import scan_files
from hfmirror.gitcmd import GitFailed
from hfmirror.hub import NO_TOKEN, NoSuchRepository
from hfmirror.naming import Name
from hfmirror.objects import DirectoryObjects, objects_of
from hfmirror.outbox import Entry as Waiting
from hfmirror.outbox import Held, Outbox
from hfmirror.refs import Refs
from hfmirror.rights import may_not_write
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.tree import Changes, Entry, compare, total_size
from hfmirror.worktree import RemoteMoved, TagExists

_TRIES = 5
_HOW_TO_SEND = "Send it with 'hfmirror resume' or the next push."


class Release(NamedTuple):
    """What came of a push to one target. ``status``: pushed, up-to-date, queued or dry-run; ``size`` in bytes."""

    target: Target
    version: str | None
    commit: str | None
    status: str
    changes: Changes
    size: int
    files: int
    note: str | None = None


@dataclass
class _Push:
    """One push to one target while it lasts. ``delivered`` and ``queued``: what became of releases that waited."""

    repository: Clone
    outbox: Outbox
    cache: CommandCache
    config: Config
    request: Request
    delivered: list[Waiting] = field(default_factory=list)
    queued: list[Waiting] = field(default_factory=list)
    offline: str | None = None  # why the remote could not be asked
    absent: bool = False  # whether a Hub has no such repository yet

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


def _device(path: Path) -> int:
    """Return the file system that ``path`` is on, or would be."""
    return next(parent for parent in [path, *path.parents] if parent.exists()).stat().st_dev


def push(
    request: Request,
    target: Target,
    config: Config,
    home: Home,
    *,
    token: Token | None = None,
    dry_run: bool = False,
    cache: CommandCache,
) -> Release:
    """Make a release of the folder on ``target`` and prove it; nothing is made when it is there already.

    ``cache`` knows the files, those that were just read for another target too. When the network fails the release waits in
    the outbox, with its own copy of the bytes, and ``status`` is queued.
    """
    if target.endpoint is not None and token is None:
        raise errors.AuthError(f'{target}: {NO_TOKEN}')
    outbox = Outbox(home.outbox, target)
    try:
        outbox.root.mkdir(parents=True, exist_ok=True)
        with opened(target, home, token) as repository:
            current = _Push(repository, outbox, cache, config, request)
            try:
                return _dry_run(current) if dry_run else _push(current)
            finally:
                outbox.tidy()
    except BrokenPipeError:
        raise  # whoever reads our output has gone
    except OSError as e:
        raise disk_failure(e) from e


def retry_of(config: Config) -> Retry:
    """Return how often the configuration wants the network to be tried."""
    upload = config.settings.upload
    return Retry(upload.max_retries, upload.retry_delay)


def _push(current: _Push) -> Release:
    _send_waiting(current)
    changed = rebuilt = False
    for _ in range(_TRIES):
        try:
            return _push_once(current)
        except delivery.Begun:
            continue
        except RemoteMoved:
            output.say(f'{current.target}: somebody pushed meanwhile; going on top of it')
        except TagExists:
            if current.request.choice.kind == 'tag':
                raise
        except errors.SourceChanged:
            if changed:
                raise
            changed = True
            current.cache.doubt()
            output.say('a file changed while it was sent; reading the folder again')
            current.request = current.request._replace(folder=folders.walk_again(current.request.folder))
        except GitFailed as e:
            if rebuilt:
                raise
            rebuilt = True
            output.detail(f'the clone is damaged ({e}); building it anew')
            current.repository.rebuild()
    raise RemoteMoved(f'{current.target}: the branch {current.target.branch} keeps moving. Push again later.')


def _send_waiting(current: _Push) -> None:
    """Send what waits from earlier pushes, in order. What cannot go yet is what this push builds on."""
    for entry in current.outbox.entries():
        try:
            current.delivered.append(
                delivery.deliver_queued(current.repository, current.outbox, entry, retry_of(current.config))
            )
            output.say(f'{current.target}: {entry.name}, which was waiting, is there now')
        except errors.NetworkError:
            current.queued = [later for later in current.outbox.entries() if later.id >= entry.id]
            return
        except errors.SourceChanged as e:
            output.warn(f'{entry.name} was interrupted and cannot be finished: {e}')
            current.outbox.remove(entry)
        except errors.ConflictError as e:
            output.warn(str(e))


def _push_once(current: _Push) -> Release:
    plan = _plan(current, copy=current.copies)
    done = _already_there(current, plan)
    if done is not None:
        _require_asked(current, done)
        _prove_again(current, plan, done)
        return done
    _require_clean(current, plan)
    draft = write(current.repository, current.request, plan)
    if current.absent:
        _begin(current)
    lacking = holding.lacking(plan, objects_of(current.repository))
    held = holding.hold(plan, lacking, current.outbox.store, copy=current.copies)
    entry = make(current.repository, current.outbox, current.request, plan, draft, held)
    try:
        _send(current, entry)
    except errors.NetworkError as e:
        return _queue(current, plan, entry, str(e))
    except (errors.HfmirrorError, OSError):
        current.outbox.forget(entry)
        with suppress(errors.HfmirrorError, OSError):
            current.repository.prepare(plan.refs.head)
        raise
    current.repository.tidy()
    return _release(current, plan, entry.commit, 'pushed')


def _require_clean(current: _Push, plan: Plan) -> None:
    """Raise GateError when the folder has secrets, unsafe pickles, or what the Hub does not take."""
    folder = current.request.folder
    stamps = {path: found.stamp for path, found in plan.laid.found.items()}
    findings = scan_files(folder.root, folder.files, current.cache, stamps=stamps)
    if current.repository.hub is not None:
        held = limits.check({path: entry.size for path, entry in plan.laid.tree.items()})
        findings += held.findings
        for warning in held.warnings:
            output.warn(warning)
    require_clean(findings, current.request.allowed)


def _require_asked(current: _Push, done: Release) -> None:
    """Raise NetworkError when that the folder is on the remote is only what we remember."""
    if current.offline and done.status != 'queued':
        name = done.version or str(done.commit)[:10]
        raise errors.NetworkError(
            f'{current.offline} As far as is known the folder is {name} there, but nothing could be proven.'
        )


def _plan(current: _Push, *, copy: bool) -> Plan:
    path = current.target.path
    stored = DirectoryObjects(current.target).store if path is not None and path.exists() else None
    reader = Reader(current.cache, current.outbox.store if copy else None)
    return make_plan(
        current.repository, current.request, current.config, _refs(current), reader, stored=stored
    )


def _refs(current: _Push) -> Refs:
    """Return what to build on: the remote's refs, what they were when it cannot be reached, and what waits on top."""
    current.offline, current.absent = None, False
    try:
        refs = delivery.refs_of(current.repository, current.retry)
        if current.request.private:
            delivery.warn_when_public(current.repository)
    except NoSuchRepository:
        _require_may_create(current)
        current.absent = True
        refs = Refs(None, {})
    except errors.NetworkError as e:
        output.detail(str(e))
        output.say(f'{current.target}: cannot be asked now, going on with what is known of it')
        current.offline = str(e)
        refs = current.repository.remembered_refs()
        if refs.head and not current.repository.has(refs.head):
            refs = Refs(None, refs.tags)
    for entry in current.queued:
        current.repository.unpack(current.outbox.pack(entry))
        tags = {entry.version: (entry.tag_object or entry.commit, entry.commit)} if entry.version else {}
        refs = Refs(entry.commit, {**refs.tags, **tags})
    return refs


def _begin(current: _Push) -> None:
    """Create the repository that is missing, so that the release is made on what the Hub puts into it.

    Raises Begun when there is something. A Space is created with its release, whose card says what it runs on; so is a
    repository that cannot be created now.
    """
    current.absent = False
    if current.target.repo_type == 'space':
        return
    try:
        delivery.create(current.repository, private=current.request.private)
    except errors.NetworkError as e:
        output.detail(str(e))


def _require_may_create(current: _Push) -> None:
    """Raise when the repository that is missing cannot or must not be created, before the folder is read."""
    target, hub = current.target, current.repository.hub
    if not current.request.create:
        raise errors.NotFoundError(
            f'{target}: no such repository, and repository.auto_create is off. Create it, or turn that on.'
        )
    if hub is not None and hub.token is not None:
        refused = may_not_write(hub.whoami(), target, hub.token)
        if refused:
            raise refused


def _already_there(current: _Push, plan: Plan) -> Release | None:
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


def _is_same_tree(current: _Push, plan: Plan, tag: str, commit: str) -> bool:
    if commit == plan.refs.head:
        return not plan.is_new
    delivery.patiently(current.retry, lambda _: current.repository.fetch(commit, f'refs/tags/{tag}'))
    return not compare(contents(current.repository.tree(commit)), plan.laid.tree)


def _there(current: _Push, plan: Plan, version: str | None, commit: str) -> Release:
    status, note = 'up-to-date', None
    if any(entry.commit == commit for entry in current.delivered):
        status = 'pushed'
    waits = next((entry for entry in current.queued if entry.commit == commit), None)
    if waits is not None:
        status, note = 'queued', f'{waits.error or ""} It waits. {_HOW_TO_SEND}'.lstrip()
    nothing = plan._replace(changes=Changes([], [], []), name=plan.name._replace(tag=version))
    return _release(current, nothing, commit, status, note=note)


def _prove_again(current: _Push, plan: Plan, done: Release) -> None:
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


def _send(current: _Push, entry: Waiting) -> None:
    if current.queued:
        # What it builds on has not gone either, and we have just seen why.
        why = current.offline or current.queued[0].error or f'{current.target}: cannot be reached.'
        raise errors.NetworkError(why, statuses.LASTING)
    delivery.deliver(current.repository, current.outbox, entry, current.retry, is_new=True)


def _queue(current: _Push, plan: Plan, entry: Waiting, why: str) -> Release:
    tried = next((known for known in current.outbox.entries() if known.id == entry.id), entry)
    entry = replace(tried, error=why)
    current.outbox.update(entry)
    try:
        current.outbox.own(entry)
        note = f'{why} The release waits with its own copy of the files. {_HOW_TO_SEND}'
    except OSError as e:
        note = f'{why} The disk has no room for a copy ({e.strerror}): leave {entry.folder} as it is until it is sent. {_HOW_TO_SEND}'
    except errors.SourceChanged:
        current.outbox.forget(entry)
        raise
    return _release(current, plan, entry.commit, 'queued', note=note)


def _dry_run(current: _Push) -> Release:
    plan = _plan(current, copy=False)
    done = _already_there(current, plan)
    if done is None:
        _require_clean(current, plan)
        write(current.repository, current.request, plan)  # says what would stop the release
    return done or _release(current, plan, None, 'dry-run')


def _release(
    current: _Push, plan: Plan, commit: str | None, status: str, *, note: str | None = None
) -> Release:
    tree = current.repository.tree(commit) if commit else plan.laid.tree
    return Release(
        current.target, plan.name.tag, commit, status, plan.changes, total_size(tree), len(tree), note
    )


def disk_failure(failure: OSError) -> errors.HfmirrorError:
    """Return our error for what the system refused: a disk is full, or a place cannot be written to."""
    refused = f'{failure.filename or "the disk"}: {failure.strerror or failure}.'
    if failure.errno in durable.NO_ROOM:
        return errors.DiskFull(f'{refused} Nothing was sent. Free some space and push again.')
    return errors.HfmirrorError(
        f'{refused} Give yourself the right to write there, or choose another place; HFMIRROR_HOME moves what hfmirror keeps.'
    )
