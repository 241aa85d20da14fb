"""How is a repository put under versions? All tags, and the commit with the card, in one push that is whole or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from hfmirror import errors, message, naming, output, place
from hfmirror import folder as folders
from hfmirror.adopting.commits import Adopted, Commit, history, plan
from hfmirror.auth import Token
from hfmirror.card.additions import configured
from hfmirror.clone import Clone, opened
from hfmirror.compose import Draft, Plan, Request, make_plan, write
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.facts import training
from hfmirror.fastimport import Content
from hfmirror.fingerprint import Reader
from hfmirror.folder import Folder
from hfmirror.naming import Choice
from hfmirror.objects import objects_of
from hfmirror.readme import frontmatter
from hfmirror.refs import Refs
from hfmirror.rules import CARD
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.tree import Changes, Tree, total_size
from hfmirror.underway import person_of
from hfmirror.worktree import WorkTree

_READ_MAX = 16 * 1024 * 1024  # bytes of one file
_STATE = re.compile(r'(?:(?:last-checkpoint|checkpoint-(\d{1,12}))/)?trainer_state\.json')
# What tells of a model, and is small: what a card is made from.
_TELLING = re.compile(
    r'(?:\w*config|modules|model_index|trainer_state|training_args|(?:eval|all)_results)\.json|README\.md|LICEN[SC]E\w*'
)


class Row(NamedTuple):
    """A tag of an adopted repository. ``status``: pushed, up-to-date or dry-run; ``commit`` None: one that would be made."""

    tag: str
    commit: str | None
    status: str
    subject: str
    size: int
    files: int
    metrics: Mapping[str, float]


def adopt(
    target: Target,
    config: Config,
    home: Home,
    *,
    token: Token | None = None,
    final: str | None = None,
    dry_run: bool = False,
) -> list[Row]:
    """Give the commits of a repository their tags and its branch a card of ours; returns all tags, those too that were there.

    ``final`` names the version at the end; it makes one where no training has ended, too. Raises NotFoundError where there is
    nothing that could be adopted, ConflictError when ``final`` is taken or the remote has moved, CardError, NetworkError.
    """
    if target.archive:
        raise errors.UsageError(
            f'{target}: an archive, which no Trainer pushes to. Name the repository it was made from.'
        )
    with opened(target, home, token) as repository:
        repository.person = person_of(config)
        refs = repository.remote_refs()
        if refs.head is None:
            raise errors.NotFoundError(
                f'{target}: has no commit on {target.branch}. Nothing is there to be adopted.'
            )
        past, commits = history(repository, refs.head)
        planned = plan(commits, {tag: commit for tag, (_, commit) in refs.tags.items()}, config, final)
        if not planned:
            raise errors.NotFoundError(
                f'{target}: none of its {output.count(len(commits), "commit")} is one of a Trainer ("Training in progress, step 100", '
                '"End of training"). Give it a version all the same with --tag v1.0.0.'
            )
        rows = _carry_out(repository, past, planned, refs, config, home, dry_run=dry_run)
    if not dry_run:
        place.remember(target, home)
    return rows


def _carry_out(
    repository: Clone,
    past: WorkTree,
    planned: Sequence[Adopted],
    refs: Refs,
    config: Config,
    home: Home,
    *,
    dry_run: bool,
) -> list[Row]:
    head, refspecs, rows = refs.head or '', list[str](), list[Row]()
    for one in planned:
        if one.commit is None:
            row, made = _final(repository, past, one.tag, refs, config, home, dry_run=dry_run)
            refspecs += made
        else:
            row, text = _told(past, one, one.commit)
            if one.is_new and not dry_run:
                tag = past.tag(one.tag, one.commit.oid, text, seconds=one.commit.seconds)
                refspecs.append(f'{tag}:refs/tags/{one.tag}')
        rows.append(row._replace(status=_status(one, dry_run=dry_run)))
    if refspecs:
        with repository.explaining(writing=True):
            past.push_refs(refspecs)
        _warn_of_missing(repository, past.tree(head))
    return rows


def _status(one: Adopted, *, dry_run: bool) -> str:
    if not one.is_new:
        return 'up-to-date'
    return 'dry-run' if dry_run else 'pushed'


def _told(past: WorkTree, one: Adopted, commit: Commit) -> tuple[Row, str]:
    """Return what is known of a commit, and the message of its tag."""
    tree = past.tree(commit.oid)
    metrics = _metrics(past, tree)
    size = total_size(tree)
    notes = message.Notes(
        repo_type=past.target.repo_type,
        repo_id=past.target.repo_id,
        version=one.tag,
        experiment=None,
        changes=Changes([], [], []),
        files=len(tree),
        size=size,
        metrics=metrics,
        previous=None,
        source_commit=None,
        source_dirty=False,
        text=commit.subject,
    )
    row = Row(one.tag, commit.oid, '', commit.subject, size, len(tree), metrics)
    return row, message.tag_message(notes)


def _metrics(past: WorkTree, tree: Tree) -> dict[str, float]:
    """Return what was measured, from results, the newest state of the Trainer, or the card; none from what cannot be read."""
    names = ['eval_results.json', 'all_results.json']
    states = [(int(match[1] or 10**12), path) for path in tree if (match := _STATE.fullmatch(path))]
    with suppress(errors.HfmirrorError):
        found = {name: _document(past, tree, name) for name in names}
        found['trainer_state.json'] = _document(past, tree, max(states)[1]) if states else None
        if metrics := training.metrics(found):
            return metrics
    with suppress(errors.HfmirrorError):
        return _of_card(frontmatter.read(_text(past, tree, CARD), CARD))
    return {}


def _document(past: WorkTree, tree: Tree, path: str) -> Any:
    try:
        return json.loads(_text(past, tree, path) or 'null')
    except (ValueError, RecursionError):
        return None


def _text(past: WorkTree, tree: Tree, path: str) -> str:
    """Return a small plain file of a tree; nothing of one that is not there."""
    entry = tree.get(path)
    if entry is None or entry.is_lfs or entry.size > _READ_MAX:
        return ''
    return past.read(entry).decode('utf-8', 'replace')


def _of_card(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the metrics of a card's model-index, {type: value}."""
    found: dict[str, Any] = {}
    for metric in _items(values.get('model-index'), 'results', 'metrics'):
        if isinstance(metric.get('type'), str):
            found.setdefault(metric['type'], metric.get('value'))
    return training.top_metrics(found)


def _items(value: Any, *keys: str) -> Iterator[dict[str, Any]]:
    """Yield the mappings that lists of lists hold under ``keys``."""
    for item in value if isinstance(value, list) else ():
        if isinstance(item, dict):
            if keys:
                yield from _items(item.get(keys[0]), *keys[1:])
            else:
                yield item


def _final(
    repository: Clone,
    past: WorkTree,
    tag: str,
    refs: Refs,
    config: Config,
    home: Home,
    *,
    dry_run: bool,
) -> tuple[Row, list[str]]:
    """Make the version at the end: a commit with the card on top of the branch. Returns what it is and what is to be pushed."""
    repository.prepare(refs.head)
    with _telling(repository, repository.tree(refs.head)) as folder, _reader(home) as reader:
        ours = configured(config)
        request = Request(
            folder,
            Choice('tag', tag),
            keep=True,
            prefix=naming.tag_prefix(config),
            additions=ours,
            configured=ours.mark,
            tells_origin=False,
        )
        planned = make_plan(repository, request, config, refs, reader)
        draft = write(repository, request, planned)
    subject = draft.commit_message.partition('\n')[0]
    row = Row(tag, None, '', subject, total_size(draft.tree), len(draft.tree), draft.metrics)
    if dry_run:
        return row, []
    commit, made = _made(repository, past, tag, planned, draft)
    refspecs = [f'{commit}:refs/heads/{repository.target.branch}', f'{made}:refs/tags/{tag}']
    return row._replace(commit=commit), refspecs


def _made(repository: Clone, past: WorkTree, tag: str, planned: Plan, draft: Draft) -> tuple[str, str]:
    """Commit and tag in the clone, and have both where the history is, from which all is pushed at once."""
    commit = repository.commit(
        draft.commit_message, {path: Content(data) for path, data in draft.generated.items()}
    )
    repository.require_tree(commit, draft.tree)
    made = repository.tag(tag, commit, draft.tag_message)
    with TemporaryDirectory(dir=repository.home, prefix='scratch-') as scratch:
        pack = Path(scratch, 'pack')
        pack.write_bytes(repository.pack([made, commit]))
        past.unpack(pack)
    return commit, made


@contextmanager
def _reader(home: Home) -> Iterator[Reader]:
    with closing(CommandCache(home.cache / 'files.sqlite')) as cache:
        yield Reader(cache)


@contextmanager
def _telling(repository: Clone, tree: Tree) -> Iterator[Folder]:
    """Yield a folder with the small files of a tree that a card is made from."""
    names = [path for path, entry in tree.items() if _TELLING.fullmatch(path) and not entry.is_lfs]
    large = repository.lfs_paths(names, repository.attributes(tree) or '') if names else set()
    chosen = [name for name in names if name not in large and tree[name].size <= _READ_MAX]
    with TemporaryDirectory(dir=repository.home, prefix='scratch-') as scratch:
        root = Path(scratch, 'files')
        root.mkdir()
        for name in chosen:
            (root / name).write_bytes(repository.read(tree[name]))
        yield folders.walk(root) if chosen else Folder(root, [], [])


def _warn_of_missing(repository: Clone, tree: Tree) -> None:
    missing = list(objects_of(repository).missing(tree.values()))
    if missing:
        names = ', '.join(file.path for file in missing[:5])
        output.warn(
            f'{repository.target}: its storage lacks {output.count(len(missing), "object")} that the last commit names: {names}. '
            "'hfmirror verify' tells of the others."
        )
