"""What would the release be, and how is it made? The plan first, which changes nothing; then the commit and the tag."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, lfs, message, naming, output
from hfmirror.card import card, lint
from hfmirror.card.about import About
from hfmirror.card.additions import NOTHING, Additions
from hfmirror.clone import Clone
from hfmirror.config.config import Config
from hfmirror.facts.facts import Facts, read_facts
from hfmirror.fastimport import Content
from hfmirror.fingerprint import Reader, steadily
from hfmirror.folder import Folder, SourceFile
from hfmirror.gates.gate import Allowed, require_clean
from hfmirror.gates.scanning import scan_texts
from hfmirror.layout import Laid, lay_out
from hfmirror.naming import Choice, Name
from hfmirror.origin import NO_ORIGIN, Origin, origin_of
from hfmirror.outbox import Entry as Waiting
from hfmirror.outbox import Held, Outbox, new_id, now
from hfmirror.readme import ownership
from hfmirror.refs import Refs
from hfmirror.rules import ATTRIBUTES, CARD
from hfmirror.statcache import Known
from hfmirror.store import ObjectStore
from hfmirror.target import Target
from hfmirror.tree import Changes, Entry, Tree, blob_id, compare, total_size
from hfmirror.versions import VersionInfo


class Request(NamedTuple):
    """What a person asks to be released."""

    folder: Folder
    choice: Choice = Choice()
    path_in_repo: str = ''
    message: str | None = None
    keep: bool = False
    prefix: str = 'v'  # of semantic versions
    private: bool | None = None  # of a repository that this push creates
    create: bool = True  # whether it may
    allowed: Allowed = Allowed()  # what the gates let through
    template: str | None = None  # of the commit message, where there is no message; see message.from_template
    item: str | None = None  # what it calls item_type
    experiment: str | None = None  # and experiment_name
    additions: Additions = NOTHING  # what the card says besides
    configured: str | None = None  # the mark of what is configured for it
    tells_origin: bool = True  # whether the commit of the training code is told
    source: Path | None = None  # what a person knows the folder by, where it is one that was composed
    code: Path | None = None  # in the repository whose commit is told, where the folder is not
    origin: Origin | None = None  # that commit, where it is known


class Plan(NamedTuple):
    """A release as it would be made on top of ``refs``. ``head`` is the tree there.

    ``changes`` are those of the folder's files: card and ``.gitattributes`` follow from them.
    """

    refs: Refs
    head: Tree
    laid: Laid
    name: Name
    changes: Changes
    card_changed: bool  # by the folder's README.md
    card_outdated: bool = False  # by what is configured for it

    @property
    def is_new(self) -> bool:
        """Whether the folder differs from what the branch has."""
        return self.refs.head is None or bool(self.changes) or self.card_changed or self.card_outdated


def make_plan(
    repository: Clone,
    request: Request,
    config: Config,
    refs: Refs,
    reader: Reader,
    *,
    stored: ObjectStore | None = None,
) -> Plan:
    """Read the folder and return what a release of it would be on top of ``refs``; see ``lay_out`` for ``stored``."""
    head = repository.prepare(refs.head)
    laid = lay_out(
        repository,
        request.folder,
        head,
        reader,
        path_in_repo=request.path_in_repo,
        keep=request.keep,
        stored=stored,
    )
    name = naming.name_release(request.choice, config, refs.tags.keys(), datetime.now(UTC))
    changes = compare(contents(head), laid.tree)
    theirs = _remote_card(repository, head)
    outdated = theirs is not None and card.configured(theirs) != request.configured
    return Plan(refs, head, laid, name, changes, _card_changed(theirs, laid), outdated)


def contents(tree: Tree) -> Tree:
    """Return a tree without what hfmirror makes from the rest."""
    return {path: entry for path, entry in tree.items() if path not in (CARD, ATTRIBUTES)}


class Draft(NamedTuple):
    """What hfmirror itself writes for a plan: card and ``.gitattributes`` as {path: content}, and the two messages.

    ``tree`` is the whole release, ``metrics`` those of the run.
    """

    tree: Tree
    generated: Mapping[str, bytes]
    commit_message: str
    tag_message: str
    metrics: Mapping[str, float]


def write(repository: Clone, request: Request, plan: Plan) -> Draft:
    """Write card and messages, and check them; nothing is made yet, and nothing of them leaves before it was searched.

    Raises CardError when the card or what it is made from is broken, GateError for a secret in what is written.
    """
    history = _history(repository, plan.refs, request.prefix)
    facts = read_facts(
        {file.path: file.source for file in request.folder.files}, repo_type=repository.target.repo_type
    )
    text = _card(repository, request, plan, history, facts)
    names = '\n'.join(plan.laid.tree)
    # Before the Hub gets to see the card.
    require_clean(scan_texts({CARD: text, 'names of the files': names}), request.allowed)
    _check_card(text, repository)
    generated = {CARD: text.encode('utf-8', 'surrogateescape'), ATTRIBUTES: _attributes(plan)}
    tree = {**plan.laid.tree, **{path: _plain(path, content) for path, content in generated.items()}}
    notes = _notes(repository.target, request, plan, tree, facts, history)
    draft = Draft(tree, generated, message.commit_message(notes), message.tag_message(notes), facts.metrics)
    messages = {'commit message': draft.commit_message, 'tag message': draft.tag_message}
    require_clean(scan_texts(messages), request.allowed)
    return draft


def make(
    repository: Clone, outbox: Outbox, request: Request, plan: Plan, draft: Draft, objects: Sequence[Held]
) -> Waiting:
    """Commit and tag the plan, and write it to the outbox. Nothing has left the machine when this returns.

    Raises SourceChanged when a small file has changed.
    """
    commit = repository.commit(draft.commit_message, _files(plan, draft.generated))
    repository.require_tree(commit, draft.tree)
    tag = plan.name.tag and repository.tag(plan.name.tag, commit, draft.tag_message)
    base = plan.refs.head
    waiting = Waiting(
        id=new_id(),
        created=now(),
        folder=str(request.source or request.folder.root),
        version=plan.name.tag,
        commit=commit,
        tag_object=tag,
        base=base,
        path_in_repo=request.path_in_repo,
        keep=request.keep,
        objects=tuple(objects),
        create=request.create,
        private=request.private,
    )
    outbox.add(waiting, repository.pack([name for name in (tag, commit, base) if name]))
    return waiting


def _card(
    repository: Clone, request: Request, plan: Plan, history: Sequence[VersionInfo], facts: Facts
) -> str:
    target = repository.target
    base, source = _card_base(repository, plan)
    attributes = _plain(ATTRIBUTES, _attributes(plan))
    about = About(
        repo_id=target.repo_id,
        repo_type=target.repo_type,
        version=plan.name.tag,
        date=datetime.now(UTC),
        tree={**plan.laid.tree, ATTRIBUTES: attributes},
        history=history,
        url=target.clone_url,
        path_in_repo=request.path_in_repo,
        additions=request.additions,
    )
    return card.render(facts, about, base=base, source=source, configured=request.configured)


def _check_card(text: str, repository: Clone) -> None:
    """Raise CardError for a card that the Hub would refuse; elsewhere, where nobody reads it, say so."""
    found = [one for one in lint.lint(text, repo_type=repository.target.repo_type) if one.severity == 'error']
    wrong = [f'{one.path}:{one.line}: {f"{one.key}: " if one.key else ""}{one.message}' for one in found[:5]]
    if repository.hub is None:
        for problem in wrong:
            output.warn(f'the Hub would refuse this card: {problem}')
        return
    if not wrong:
        with suppress(
            errors.NetworkError
        ):  # then the release waits, and the Hub looks at the card when it arrives
            wrong = repository.hub.check_card(text, repository.target)
    if wrong:
        raise errors.CardError(
            f"{repository.target}: the Hub refuses this card. Correct it, see 'hfmirror card':\n  "
            + '\n  '.join(wrong)
        )


def _card_base(repository: Clone, plan: Plan) -> tuple[str | None, str | None]:
    """Return the card to write around, and the mark of the folder's README.md.

    The remote's card, where people may have edited it, unless the folder's README.md is new or has changed.
    """
    theirs = _remote_card(repository, plan.head)
    if plan.laid.card_source is None:
        return theirs, card.source(theirs) if theirs else None
    mark = card_mark(plan.laid)
    if theirs is not None and card.source(theirs) == mark:
        return theirs, mark
    ours = ownership.decode(
        _read_plain(plan.laid.card_source, plan.laid.found[CARD].known), str(plan.laid.card_source.source)
    )
    if theirs is not None and card.words(theirs) != card.words(ours) and card.source(theirs) is None:
        output.warn(
            f"{repository.target}: its card was written by someone else; the folder's README.md takes its place. "
            'The old words are in the history.'
        )
    return ours, mark


def card_mark(laid: Laid) -> str | None:
    """Return what the card remembers of the folder's README.md it was made from."""
    blob = laid.found[CARD].known.blob if laid.card_source is not None else None
    return blob[:16] if blob else None


def _card_changed(theirs: str | None, laid: Laid) -> bool:
    return theirs is None or (laid.card_source is not None and card.source(theirs) != card_mark(laid))


def _remote_card(repository: Clone, head: Tree) -> str | None:
    entry = head.get(CARD)
    if entry is None or entry.is_lfs:
        return None
    return ownership.decode(repository.read(entry), f'{CARD} of {repository.target}')


def _attributes(plan: Plan) -> bytes:
    return plan.laid.attributes.encode('utf-8', 'surrogateescape')


def _plain(path: str, content: bytes) -> Entry:
    return Entry(path, blob_id(content), len(content), is_lfs=False)


def _files(plan: Plan, generated: Mapping[str, bytes]) -> dict[str, Content | None]:
    """Return what brings the tree from ``head`` to the release."""
    files: dict[str, Content | None] = dict.fromkeys(plan.laid.removed)
    for entry in [*plan.changes.added, *(new for _, new in plan.changes.modified)]:
        file = plan.laid.files[entry.path]
        if entry.is_lfs:
            files[entry.path] = Content(lfs.Pointer(entry.oid, entry.size).text)
        else:
            data = _read_plain(file, plan.laid.found[file.path].known)
            files[entry.path] = Content(data, executable=bool(file.stat.st_mode & 0o100))
    return {**files, **{path: Content(data) for path, data in generated.items()}}


def _read_plain(file: SourceFile, known: Known) -> bytes:
    """Return a small file's content. Raises SourceChanged when it is not what it was when it was first read."""
    _, content = steadily(file, lambda opened: opened.read())
    if blob_id(content) != known.blob:
        raise errors.SourceChanged(
            f'{file.source}: changed since it was read. Push again when nothing writes to it any more.'
        )
    return content


def _history(repository: Clone, refs: Refs, prefix: str) -> list[VersionInfo]:
    try:
        return repository.versions(refs, prefix=prefix)
    except (errors.NetworkError, errors.NotFoundError):  # or there is no repository yet
        return []


def _notes(
    target: Target, request: Request, plan: Plan, tree: Tree, facts: Facts, history: Sequence[VersionInfo]
) -> message.Notes:
    origin = _origin(request)
    experiment = plan.name.experiment or request.experiment
    return message.Notes(
        repo_type=target.repo_type,
        repo_id=target.repo_id,
        version=plan.name.tag,
        experiment=experiment,
        changes=compare(plan.head, tree),
        files=len(tree),
        size=total_size(tree),
        metrics=facts.metrics,
        previous=history[0] if history else None,
        source_commit=origin.commit,
        source_dirty=origin.dirty,
        text=request.message or _templated(target, request, plan, experiment),
    )


def _origin(request: Request) -> Origin:
    if not request.tells_origin:
        return NO_ORIGIN
    return request.origin or origin_of(request.code or request.source or request.folder.root)


def _templated(target: Target, request: Request, plan: Plan, experiment: str | None) -> str | None:
    """Return the first line of the commit where its form is configured."""
    if request.template is None:
        return None
    name = target.repo_id.rpartition('/')[2]
    return message.from_template(
        request.template,
        item_type=request.item or target.repo_type,
        experiment_name=experiment or name,
        version=plan.name.tag or '',
    )
