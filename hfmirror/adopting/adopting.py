"""How is a repository put under versions? All tags, and the commit with the card, in one push that is whole or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hfmirror import errors, message, naming, output, place
from hfmirror import folder as folders
from hfmirror.adopting.commits import Adopted, plan
from hfmirror.adopting.history import Commit, History, history
from hfmirror.auth import Token
from hfmirror.card.additions import configured
from hfmirror.clone import Clone, opened
from hfmirror.compose import Draft, Plan, Request, make_plan, write
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.fastimport import Content
from hfmirror.fingerprint import Reader
from hfmirror.folder import Folder
from hfmirror.naming import Choice
from hfmirror.objects import objects_of
from hfmirror.refs import Refs
from hfmirror.statcache import CommandCache
from hfmirror.target import Target
from hfmirror.tree import Changes, Tree, total_size
from hfmirror.underway import person_of
from hfmirror.worktree import RemoteMoved, TagExists

_READ_MAX = 16 * 1024 * 1024  # bytes of one file
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
    files: int
    size: int
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
    past: History,
    planned: Sequence[Adopted],
    refs: Refs,
    config: Config,
    home: Home,
    *,
    dry_run: bool,
) -> list[Row]:
    refspecs, tags, rows = list[str](), list[tuple[str, Commit, str]](), list[Row]()
    contents = past.contents([one.commit for one in planned if one.commit])
    for one in planned:
        if one.commit is None:
            row, made = _final(repository, past, one.tag, refs, config, home, dry_run=dry_run)
            refspecs += made
        else:
            held = contents[one.commit.oid]
            row = Row(one.tag, one.commit.oid, '', one.commit.subject, *held)
            if one.is_new and not dry_run:
                tags.append((one.tag, one.commit, _told(past.target, row)))
        rows.append(row._replace(status=_status(one, dry_run=dry_run)))
    if (refspec := past.tag_all(tags)) is not None:
        refspecs.append(refspec)
    if refspecs:
        _push(repository, past, refspecs)
        _warn_of_missing(repository, past.tree(refs.head))
    return rows


def _push(repository: Clone, past: History, refspecs: Sequence[str]) -> None:
    try:
        with repository.explaining(writing=True):
            past.push_refs(refspecs)
    except (RemoteMoved, TagExists) as e:
        raise errors.ConflictError(
            f'{past.target}: somebody has pushed meanwhile. Nothing was changed: run the same command again, best when the '
            'training is over.'
        ) from e


def _status(one: Adopted, *, dry_run: bool) -> str:
    if not one.is_new:
        return 'up-to-date'
    return 'dry-run' if dry_run else 'pushed'


def _told(target: Target, row: Row) -> str:
    """Return the message of the tag that a commit gets."""
    return message.tag_message(
        message.Notes(
            repo_type=target.repo_type,
            repo_id=target.repo_id,
            version=row.tag,
            experiment=None,
            changes=Changes([], [], []),
            files=row.files,
            size=row.size,
            metrics=dict(row.metrics),
            previous=None,
            source_commit=None,
            source_dirty=False,
            text=row.subject,
        )
    )


def _final(
    repository: Clone,
    past: History,
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
    row = Row(tag, None, '', subject, len(draft.tree), total_size(draft.tree), draft.metrics)
    if dry_run:
        return row, []
    commit, made = _made(repository, past, tag, planned, draft)
    refspecs = [f'{commit}:refs/heads/{repository.target.branch}', f'{made}:refs/tags/{tag}']
    return row._replace(commit=commit), refspecs


def _made(repository: Clone, past: History, tag: str, planned: Plan, draft: Draft) -> tuple[str, str]:
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
