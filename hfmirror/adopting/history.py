"""What does each commit of a branch hold, and what was measured in it? Thousands of them are told by a few git processes.

The history lies in a bare repository of its own beside the clone, whose lock is held. Trees that commits share are read once,
and of files only the small ones that say something.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hfmirror import errors, lfs
from hfmirror.clone import Clone
from hfmirror.facts import training
from hfmirror.gitcmd import GitFailed, git, git_bytes, meaning
from hfmirror.readme import frontmatter
from hfmirror.rules import CARD
from hfmirror.worktree import DAMAGE, WorkTree

T = TypeVar('T')

_DAMAGE = re.compile(rf'{DAMAGE.pattern}|does not match index|is empty|not a git repository')
_PLAIN_MAX = '10m'  # what the Hub takes outside of LFS
_READ_MAX = 16 * 1024 * 1024  # bytes of one file
_TOGETHER = 256  # commits, or trees: what is in memory at once
_TOGETHER_MAX = 64 * 1024 * 1024  # bytes of files
_FILES, _FOLDER = (b'100644', b'100755'), b'40000'
_RESULTS = ('eval_results.json', 'all_results.json')
_STATE = 'trainer_state.json'
_CHECKPOINT = re.compile(r'last-checkpoint|checkpoint-(\d{1,12})')
_DEEPEST = 200  # folders in each other
_LATEST = 10**12  # after every step that a checkpoint's name may have
_SECONDS_MAX = 2**33  # the year 2242: what a hostile clock says, git would refuse in a tag


class Commit(NamedTuple):
    """A commit of the branch. ``seconds`` is when it was made, since 1970; ``tree`` the id of what it holds."""

    oid: str
    seconds: int
    subject: str
    tree: str = ''


class Contents(NamedTuple):
    """What is in a commit: ``size`` is the bytes of all files, those in LFS too."""

    files: int
    size: int
    metrics: Mapping[str, float]


class _Row(NamedTuple):
    mode: bytes
    name: str
    oid: str


class History(WorkTree):
    """All commits of a branch, without the LFS objects."""

    def commits(self, head: str) -> list[Commit]:
        """Return the commits that lead to ``head``, oldest first."""
        form = '--format=%H%x00%T%x00%ct%x00%s'
        listing = git(
            'rev-list', '--topo-order', '--reverse', '--no-commit-header', form, head, cwd=self.work
        )
        rows = (line.split('\0', 3) for line in listing.split('\n') if line)
        return [
            Commit(oid, min(max(int(seconds), 0), _SECONDS_MAX), subject.strip(), tree)
            for oid, tree, seconds, subject in rows
        ]

    def contents(self, commits: Sequence[Commit]) -> dict[str, Contents]:
        """Return what each commit holds, by its oid."""
        reading, found = _Reading(self), dict[str, Contents]()
        for some in _batches(commits, _TOGETHER):
            found |= reading.contents(some)
        return found

    def tag_all(self, tags: Iterable[tuple[str, Commit, str]]) -> str | None:
        """Make annotated tags (name, commit, message), each with the date of its commit; returns the refspec that pushes all.

        None when there is none. One refspec for all of them: git compares each of several with each ref of the remote.
        """
        self._forget_tags()
        person = git('var', 'GIT_COMMITTER_IDENT', cwd=self.work, env=self._identity()).rpartition('>')[0]
        stream = []
        for name, commit, text in tags:
            content = text.encode('utf-8', 'surrogateescape')
            head = f'tag {name}\nfrom {commit.oid}\ntagger {person}> {commit.seconds} +0000\ndata {len(content)}\n'
            stream.append(head.encode('utf-8', 'surrogateescape') + content + b'\n')
        if not stream:
            return None
        git('fast-import', '--quiet', '--done', cwd=self.work, stdin=b''.join([*stream, b'done\n']))
        return 'refs/tags/*:refs/tags/*'

    def _forget_tags(self) -> None:
        """Remove the tags that were made here before, and may have been refused."""
        names = git('for-each-ref', '--format=delete %(refname)', 'refs/tags', cwd=self.work)
        git('update-ref', '--stdin', cwd=self.work, stdin=f'{names}\n' if names else '')


def history(repository: Clone, head: str) -> tuple[History, list[Commit]]:
    """Return a repository with all commits of the branch, and these, oldest first. No LFS object is fetched for it.

    It is made anew when it is damaged.
    """
    path = repository.home / 'history.git'
    for lock in path.rglob('*.lock'):
        lock.unlink(missing_ok=True)  # of a git that was killed
    found = History(repository.target, path, repository.env)
    found.person = repository.person
    try:
        _fetch(repository, path)
        return found, found.commits(head)
    except GitFailed as e:
        if not _DAMAGE.search(e.stderr):
            raise meaning(e, str(repository.target)) from e
    shutil.rmtree(path)
    _fetch(repository, path)
    return found, found.commits(head)


def _fetch(repository: Clone, path: Path) -> None:
    if not (path / 'HEAD').exists():
        git('init', '-q', '--bare', '--template=', path)
    origin = git('config', '--get', 'remote.origin.url', cwd=repository.work)
    git('config', 'remote.origin.url', origin, cwd=path)
    branch = f'+refs/heads/{repository.target.branch}:refs/hfmirror/history'
    plain = f'--filter=blob:limit={_PLAIN_MAX}'
    with repository.explaining():
        git('fetch', '-q', '--no-tags', plain, 'origin', branch, cwd=path, env=repository.env)


class _Reading:
    """What was read so far, by the ids of git, which stand for the same content for ever."""

    def __init__(self, past: WorkTree) -> None:
        self._past = past
        self._sizes = dict[str, int]()  # of files
        self._stands_for = dict[str, int]()  # of pointers: the size of the object
        self._sums = dict[str, tuple[int, int]]()  # of trees: files and bytes
        self._measured = dict[str, dict[str, float]]()  # in a file, as `_said` tells

    def contents(self, commits: Sequence[Commit]) -> dict[str, Contents]:
        trees = self._trees({commit.tree for commit in commits})
        self._weigh(row.oid for rows in trees.values() for row in rows if row.mode in _FILES)
        telling = {commit.oid: list(self._telling(trees, commit.tree)) for commit in commits}
        self._measure((name, blob) for files in telling.values() for name, blob in files)
        return {
            commit.oid: Contents(
                *self._sum(trees, commit.tree),
                next((found for file in telling[commit.oid] if (found := self._measured[file[1]])), {}),
            )
            for commit in commits
        }

    def _trees(self, roots: Iterable[str]) -> dict[str, list[_Row]]:
        """Return {tree: its rows} of these trees and all below them."""
        trees, ahead, depth = dict[str, list[_Row]](), set(roots), 0
        while ahead:
            depth += 1
            if depth > _DEEPEST:
                raise errors.GitError(
                    f'{self._past.target}: has folders in folders, more than {_DEEPEST} of them. No training left that.'
                )
            for some in _batches(sorted(ahead), _TOGETHER):
                trees |= {oid: list(_rows(raw, len(oid) // 2)) for oid, raw in self._read(some).items()}
            below = {row.oid for oid in ahead for row in trees[oid] if row.mode == _FOLDER}
            ahead = below - trees.keys()
        return trees

    def _weigh(self, blobs: Iterable[str]) -> None:
        """Have the sizes of these files, and what those are pointers to."""
        asked = sorted(set(blobs) - self._sizes.keys())
        if not asked:
            return
        answer = git(
            'cat-file', '--batch-check', cwd=self._past.work, stdin=_lines(asked), env=self._past.env
        )
        for blob, line in zip(asked, answer.split('\n'), strict=True):
            self._sizes[blob] = int(self._found(line.split())[2])
        small = [blob for blob in asked if self._sizes[blob] <= lfs.POINTER_MAX]
        for some in _batches(small, 64 * _TOGETHER):
            for blob, content in self._read(some).items():
                if pointer := lfs.parse_pointer(content):
                    self._stands_for[blob] = pointer.size

    def _sum(self, trees: Mapping[str, list[_Row]], tree: str) -> tuple[int, int]:
        """Return how many files there are below a tree, and their bytes."""
        if tree not in self._sums:
            files = [row.oid for row in trees[tree] if row.mode in _FILES]
            below = [self._sum(trees, row.oid) for row in trees[tree] if row.mode == _FOLDER]
            size = sum(self._stands_for.get(blob, self._sizes[blob]) for blob in files)
            self._sums[tree] = (
                len(files) + sum(number for number, _ in below),
                size + sum(more for _, more in below),
            )
        return self._sums[tree]

    def _telling(self, trees: Mapping[str, list[_Row]], tree: str) -> Iterator[tuple[str, str]]:
        """Yield (name, blob) of the files that tell what was measured, best first: results, the newest state, the card."""
        files = {row.name: row.oid for row in trees[tree] if row.mode in _FILES}
        states = [(_LATEST, files[_STATE])] if _STATE in files else []
        for row in trees[tree]:
            if row.mode == _FOLDER and (match := _CHECKPOINT.fullmatch(row.name)):
                inner = [one.oid for one in trees[row.oid] if one.name == _STATE and one.mode in _FILES]
                states += [(int(match[1] or _LATEST - 1), blob) for blob in inner]
        yield from ((name, files[name]) for name in _RESULTS if name in files)
        if states:
            yield _STATE, max(states)[1]
        if CARD in files:
            yield CARD, files[CARD]

    def _measure(self, files: Iterable[tuple[str, str]]) -> None:
        names = {blob: name for name, blob in files if blob not in self._measured}
        for some in self._in_bounds(names):
            for blob, content in self._read(some).items():
                self._measured[blob] = _said(names[blob], content.decode('utf-8', 'replace'))

    def _in_bounds(self, blobs: Iterable[str]) -> Iterator[list[str]]:
        """Yield small plain files, so many at once as may be in memory; what is none of them says nothing."""
        some, size = list[str](), 0
        for blob in blobs:
            self._measured[blob] = {}
            if blob in self._stands_for or self._sizes[blob] > _READ_MAX:
                continue
            if some and size + self._sizes[blob] > _TOGETHER_MAX:
                yield some
                some, size = [], 0
            some.append(blob)
            size += self._sizes[blob]
        if some:
            yield some

    def _read(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return {id: content} of trees or files, all read by one git process."""
        answer = git_bytes('cat-file', '--batch', cwd=self._past.work, stdin=_lines(ids), env=self._past.env)
        contents, at = dict[str, bytes](), 0
        for oid in ids:
            end = answer.index(b'\n', at)
            size = int(self._found(answer[at:end].decode().split())[2])
            contents[oid] = answer[end + 1 : end + 1 + size]
            at = end + 2 + size
        return contents

    def _found(self, answer: Sequence[str]) -> Sequence[str]:
        if len(answer) != 3:
            raise errors.GitError(
                f'{self._past.work}: damaged ({" ".join(answer)}). Remove this folder, which is made anew, and run the command again.'
            )
        return answer


def _batches(values: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def _lines(ids: Iterable[str]) -> str:
    return ''.join(f'{oid}\n' for oid in ids)


def _rows(raw: bytes, length: int) -> Iterator[_Row]:
    """Yield the rows of a tree as git keeps it; an id has ``length`` bytes."""
    at = 0
    while at < len(raw):
        end = raw.index(b'\0', at)
        mode, _, name = raw[at:end].partition(b' ')
        at = end + 1 + length
        yield _Row(mode, name.decode('utf-8', 'surrogateescape'), raw[end + 1 : at].hex())


def _said(name: str, text: str) -> dict[str, float]:
    """Return what one file says was measured; nothing when it cannot be read."""
    with suppress(errors.HfmirrorError, ValueError, RecursionError):
        if name == CARD:
            return _of_card(frontmatter.read(text, CARD))
        return training.metrics({name: json.loads(text)})
    return {}


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
