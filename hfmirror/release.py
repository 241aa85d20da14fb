"""How does a folder become a release? Planned, made, sent, proven; or found to be there; or left to wait in the outbox."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from hfmirror import delivery, errors, holding, output, standing, statuses
from hfmirror import folder as folders
from hfmirror.auth import Token
from hfmirror.clone import opened
from hfmirror.compose import Plan, Request, make, make_plan, write
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.fingerprint import Reader
from hfmirror.gates import limits
from hfmirror.gates.gate import require_clean
from hfmirror.gates.scanning import scan_files
from hfmirror.gitcmd import GitFailed
from hfmirror.hub import NO_TOKEN, NoSuchRepository
from hfmirror.objects import DirectoryObjects, objects_of
from hfmirror.outbox import Entry as Waiting
from hfmirror.outbox import Outbox
from hfmirror.outcome import HOW_TO_SEND, Release, disk_failure, of_waiting
from hfmirror.refs import Refs
from hfmirror.rights import may_not_write
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.underway import Push, person_of, retry_of
from hfmirror.worktree import RemoteMoved, TagExists

_TRIES = 5


def push(
    request: Request,
    target: Target,
    config: Config,
    home: Home,
    *,
    token: Token | None = None,
    dry_run: bool = False,
    cache: CommandCache,
    arrived: list[Release],
) -> Release:
    """Make a release of the folder on ``target`` and prove it; nothing is made when it is there already.

    ``cache`` knows the files, those that were just read for another target too. When the network fails the release waits in
    the outbox, with its own copy of the bytes, and ``status`` is queued. ``arrived`` gets what waited there from earlier
    pushes and was sent on the way, whatever becomes of this one.
    """
    if target.endpoint is not None and token is None:
        raise errors.AuthError(f'{target}: {NO_TOKEN}')
    outbox = Outbox(home.outbox, target)
    try:
        outbox.root.mkdir(parents=True, exist_ok=True)
        with opened(target, home, token) as repository:
            repository.person = person_of(config)
            current = Push(repository, outbox, cache, config, request, arrived)
            try:
                return _dry_run(current) if dry_run else _push(current)
            finally:
                outbox.tidy()
    except BrokenPipeError:
        raise  # whoever reads our output has gone
    except OSError as e:
        raise disk_failure(e) from e


def _push(current: Push) -> Release:
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


def _send_waiting(current: Push) -> None:
    """Send what waits from earlier pushes, in order. What cannot go yet is what this push builds on."""
    for entry in current.outbox.entries():
        try:
            sent = delivery.deliver_queued(
                current.repository, current.outbox, entry, retry_of(current.config)
            )
            current.delivered.append(of_waiting(current.repository, sent))
            output.say(f'{current.target}: {entry.name}, which was waiting, is there now')
        except errors.NetworkError:
            current.queued = [later for later in current.outbox.entries() if later.id >= entry.id]
            return
        except errors.SourceChanged as e:
            output.warn(f'{entry.name} was interrupted and cannot be finished: {e}')
            current.outbox.remove(entry)
        except errors.ConflictError as e:
            output.warn(str(e))


def _push_once(current: Push) -> Release:
    plan = _plan(current, copy=current.copies)
    done = standing.already_there(current, plan)
    if done is not None:
        standing.require_asked(current, done)
        standing.prove_again(current, plan, done)
        return done
    _require_clean(current, plan)
    draft = write(current.repository, current.request, plan)
    current.metrics = draft.metrics
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
    return current.release(plan, entry.commit, 'pushed')


def _require_clean(current: Push, plan: Plan) -> None:
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


def _plan(current: Push, *, copy: bool) -> Plan:
    path = current.target.path
    stored = DirectoryObjects(current.target).store if path is not None and path.exists() else None
    reader = Reader(
        current.cache,
        current.outbox.store if copy else None,
        block_size=current.config.settings.upload.chunk_size,
    )
    return make_plan(
        current.repository, current.request, current.config, _refs(current), reader, stored=stored
    )


def _refs(current: Push) -> Refs:
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


def _begin(current: Push) -> None:
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


def _require_may_create(current: Push) -> None:
    """Raise when the repository that is missing cannot or must not be created, before the folder is read."""
    target, hub = current.target, current.repository.hub
    if not current.request.create:
        raise errors.NotFoundError(
            f'{target}: no such repository, and {current.config.creates_by} is off. Create it, or turn that on.'
        )
    if hub is not None and hub.token is not None:
        refused = may_not_write(hub.whoami(), target, hub.token)
        if refused:
            raise refused


def _send(current: Push, entry: Waiting) -> None:
    if current.queued:
        # What it builds on has not gone either, and we have just seen why.
        why = current.offline or current.queued[0].error or f'{current.target}: cannot be reached.'
        raise errors.NetworkError(why, statuses.LASTING)
    delivery.deliver(current.repository, current.outbox, entry, current.retry, is_new=True)


def _queue(current: Push, plan: Plan, entry: Waiting, why: str) -> Release:
    tried = next((known for known in current.outbox.entries() if known.id == entry.id), entry)
    entry = replace(tried, error=why)
    current.outbox.update(entry)
    try:
        current.outbox.own(entry)
        note = f'{why} The release waits with its own copy of the files. {HOW_TO_SEND}'
    except OSError as e:
        note = f'{why} The disk has no room for a copy ({e.strerror}): leave {entry.folder} as it is until it is sent. {HOW_TO_SEND}'
    except errors.SourceChanged:
        current.outbox.forget(entry)
        raise
    return current.release(plan, entry.commit, 'queued', note=note)


def _dry_run(current: Push) -> Release:
    plan = _plan(current, copy=False)
    done = standing.already_there(current, plan)
    if done is None:
        _require_clean(current, plan)
        write(current.repository, current.request, plan)  # says what would stop the release
    return done or current.release(plan, None, 'dry-run')
