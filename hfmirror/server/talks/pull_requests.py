"""What does a pull request change, and how does that get into its base? Read from git, and merged by it without a work tree."""

from __future__ import annotations

from collections.abc import Sequence
from tempfile import TemporaryDirectory
from typing import NamedTuple

from hfmirror import gitcmd
from hfmirror.gitcmd import GitFailed
from hfmirror.server.answers import Problem, bad_request
from hfmirror.server.git import checks, refusals
from hfmirror.server.git.objects import Commit
from hfmirror.server.git.served import git, git_bytes, succeeds
from hfmirror.server.git.writing import RefChanged, add_commit, move_ref
from hfmirror.server.hub import Hub
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.talks import discussions
from hfmirror.server.talks.discussions import Discussion, Merge

_COMMITS_MAX = 250
_DIFF_MAX = 4_000_000  # bytes of the files that are compared
_NAMES_MAX = 100  # files that a message names
_TRIES = 5


class _Ends(NamedTuple):
    """The commits that a pull request is between: the base's, and its own last one."""

    base: str
    head: str

    @property
    def range(self) -> str:
        return f'{self.base}..{self.head}'


def commits(hub: Hub, repo: Repo, discussion: Discussion) -> list[Commit]:
    """Return the commits of a pull request, oldest first; of very many the last ones."""
    ends = _ends(hub, repo, discussion)
    return hub.bare(repo).log(ends.range, limit=_COMMITS_MAX)[::-1] if ends else []


def diff(hub: Hub, repo: Repo, discussion: Discussion) -> str:
    """Return what a pull request changes, as git shows it; for large files only which ones."""
    ends = _ends(hub, repo, discussion)
    start = _merge_base(repo, ends) if ends else None
    if ends is None or start is None:
        return ''
    compared: tuple[str, ...] = ('--no-color', '--no-ext-diff', '--no-textconv', start, ends.head, '--')
    raw = git('diff', '--raw', '-z', '--no-abbrev', '--no-renames', *compared, cwd=repo.path)
    sides = [word.split()[2:4] for word in raw.split('\0') if word.startswith(':')]
    oids = ''.join(f'{oid}\n' for side in sides for oid in side if oid.strip('0'))
    sizes = git('cat-file', '--batch-check=%(objectsize)', cwd=repo.path, stdin=oids).split()
    if sum(int(size) for size in sizes if size.isdigit()) > _DIFF_MAX:
        compared = ('--name-status', '--no-renames', *compared)
    # Files have any bytes; an answer is UTF-8.
    return git_bytes('diff', *compared, cwd=repo.path).decode('utf-8', 'replace')


def conflicts(hub: Hub, repo: Repo, discussion: Discussion) -> list[str] | bool:
    """Return the files that cannot be merged; none when the pull request is merged or without commits.

    That is True, which clients know, when it has nothing in common with its base.
    """
    ends = _ends(hub, repo, discussion)
    if ends is None or discussion.status == 'merged' or _is_ancestor(repo, ends.head, ends.base):
        return []
    if _merge_base(repo, ends) is None:
        return True
    return _merged_tree(repo, ends).conflicts


def settled(repo: Repo, hub: Hub, discussion: Discussion) -> Discussion:
    """Return the discussion; as merged, when a kill came between its merge and the note of it."""
    merge, base = discussion.merge, discussion.base
    if merge is None or base is None or discussion.status == 'merged':
        return discussion
    head = hub.bare(repo).head(base)
    if head is None or not _is_ancestor(repo, merge.commit, head):
        return discussion._replace(merge=None)
    return discussion._replace(status='merged')


def merge(hub: Hub, repo: Repo, number: int, *, user: str) -> Discussion:
    """Merge a pull request into its base and return it.

    Raises Problem 400 when it is none, not open, or its card merged with the base's would be none; 409 with the files that
    cannot be merged.
    """
    with discussions.changing(repo):
        found = settled(repo, hub, discussions.find(repo, number))
        _refuse_unready(found)
        for _ in range(_TRIES):
            begun = found._replace(merge=_prepared(hub, repo, found, user=user))
            if _done(repo, begun):
                event = discussions.new_event('status-change', user, {'status': 'merged'})
                merged = begun._replace(status='merged').with_event(event)
                discussions.save(repo, merged)
                return merged
        discussions.save(repo, found)
    raise RefChanged(str(found.base))


def _refuse_unready(found: Discussion) -> None:
    if not found.is_pull_request:
        raise bad_request(f'Discussion {found.number} is no pull request')
    if found.status == 'draft':
        raise bad_request(f'Pull request {found.number} is a draft: set its status to open first')
    if found.status != 'open':
        raise bad_request(f'Pull request {found.number} is {found.status}')


def _prepared(hub: Hub, repo: Repo, found: Discussion, *, user: str) -> Merge:
    """Return the merge with its commit written; the base is where it was."""
    ends = _ends(hub, repo, found)
    if ends is None or _is_ancestor(repo, ends.head, ends.base):
        raise bad_request(f'Pull request {found.number} has no commit that {found.base} has not')
    if _is_ancestor(repo, ends.base, ends.head):
        return Merge(ends.head, ends.base, ends.head)
    result = _merged_tree(repo, ends)
    if result.conflicts:
        names = ', '.join(result.conflicts[:_NAMES_MAX])
        raise Problem(409, f'Pull request {found.number} conflicts with {found.base} in: {names}')
    text = f'{found.title} (#{found.number})\n'
    commit = add_commit(repo.path, result.tree, parents=ends, text=text, user=user)
    _refuse_bad_card(hub, repo, ends, commit)
    return Merge(commit, ends.base, ends.head)


def _refuse_bad_card(hub: Hub, repo: Repo, ends: _Ends, commit: str) -> None:
    """Raise Problem 400 when the two sides' cards were sound and the merged one is not."""
    bare = hub.bare(repo)
    merged, *sides = (bare.find(where, 'README.md') for where in (commit, *ends))
    if merged is None or merged.is_folder or merged.oid in {side.oid for side in sides if side}:
        return
    faults = checks.card_report(bare.content(merged), repo.repo_type).errors
    if faults:
        raise bad_request(refusals.metadata_text(faults))


def _done(repo: Repo, begun: Discussion) -> bool:
    """Move the base, and return whether nobody else did. What is begun is noted first: a kill loses no merge."""
    assert begun.merge is not None
    discussions.save(repo, begun)
    try:
        move_ref(repo.path, str(begun.base), old=begun.merge.base, new=begun.merge.commit)
    except RefChanged:
        return False
    return True


class _Result(NamedTuple):
    tree: str
    conflicts: list[str]


def _merged_tree(repo: Repo, ends: _Ends) -> _Result:
    """Return the tree of the merge. Raises Problem 409 for histories that have nothing in common."""
    if _merge_base(repo, ends) is None:
        raise Problem(409, 'The pull request and its base have no commit in common')
    # With --stdin a conflict is an answer, and no failure: <clean> NUL <tree> NUL (<file> NUL)* NUL
    options = ('--stdin', '--name-only', '--no-messages')
    with TemporaryDirectory(prefix='hfmirror-') as scratch:
        # The repository's own configuration could name a program that merges.
        gitcmd.git('init', '-q', '--bare', '--template=', scratch)
        places = {'GIT_DIR': scratch, 'GIT_OBJECT_DIRECTORY': str(repo.path / 'objects')}
        answer = git('merge-tree', *options, cwd=repo.path, stdin=f'{ends.base} {ends.head}\n', env=places)
    clean, tree, *files = answer.split('\0')
    return _Result(tree, [] if clean == '1' else [name for name in files if name])


def _ends(hub: Hub, repo: Repo, discussion: Discussion) -> _Ends | None:
    if discussion.merge is not None and discussion.status == 'merged':
        return _Ends(discussion.merge.base, discussion.merge.head)
    bare = hub.bare(repo)
    head, base = bare.head(discussion.ref), bare.head(discussion.base or '')
    return _Ends(base, head) if head is not None and base is not None else None


def _merge_base(repo: Repo, ends: Sequence[str]) -> str | None:
    try:
        return git('merge-base', *ends, cwd=repo.path)
    except GitFailed:
        return None


def _is_ancestor(repo: Repo, commit: str, of: str) -> bool:
    return succeeds('merge-base', '--is-ancestor', commit, of, cwd=repo.path)
