"""Which commit changed each of these files and folders last? One walk through the history for all of them.

Only the trees of their folders are read at each commit, and only where they changed, so a commit that changes a hundred
thousand files elsewhere costs as much as one that changes none.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import NamedTuple

from hfmirror.server.git.bare import Bare
from hfmirror.server.git.objects import Commit
from hfmirror.server.git.served import git

_COMMITS = 20_000  # that are looked at; what was changed last before them has no answer
_WORK = 10_000_000  # entries of trees that are read, and folders that are compared: a few seconds
_TREES = 64  # that are held: a commit and its parents are neighbours
_ENTRY = re.compile(rb'[0-7]+ [^\0]+\0.{20}', re.DOTALL)
_PARENTS = 100  # of a commit that is looked at; in a thousand of them the same could be told a million times
_FIELDS = '%H%x00%P%x00%T'


class _Step(NamedTuple):
    commit: str
    parents: tuple[str, ...]
    tree: str


def last_commits(bare: Bare, commit: str, paths: Iterable[str]) -> dict[str, Commit]:
    """Return {path: the commit that changed it last}, as seen from ``commit``; one that is too long ago is left out."""
    found = _Walk(bare, _history(bare, commit)).of(commit, paths)
    commits = {one.oid: one for one in bare.commits(list(dict.fromkeys(found.values())))}
    return {path: commits[oid] for path, oid in found.items()}


def _history(bare: Bare, commit: str) -> list[_Step]:
    """Return the commits that lead to ``commit``, each before its parents."""
    shape = ('-z', '--no-show-signature', '--topo-order', f'--max-count={_COMMITS}', f'--format={_FIELDS}')
    words = git('log', *shape, f'--max-parents={_PARENTS}', commit, cwd=bare.git_dir).split('\0')
    return [_step(*words[at : at + 3]) for at in range(0, len(words) - 2, 3)]


def _step(oid: str, parents: str, tree: str) -> _Step:
    return _Step(oid, tuple(parents.split()), tree)


class _Tree(NamedTuple):
    """A tree as git has it, cut into its entries, as nothing else is needed to see what differs; {folder: id}."""

    entries: frozenset[bytes]
    folders: Mapping[bytes, str]


class _Walk:
    """From commit to parent. What a parent has just so is asked of the parent; what none has, the commit changed."""

    def __init__(self, bare: Bare, steps: list[_Step]) -> None:
        self._bare, self._steps = bare, steps
        self._roots = {step.commit: step.tree for step in steps}
        # {commit: {folder: names in it}}
        self._asked: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
        self._work = 0
        # Not through the Hub's cache: old trees are asked for once.
        self._tree = lru_cache(_TREES)(self._read)

    def of(self, commit: str, paths: Iterable[str]) -> dict[str, str]:
        """Return {path: commit}."""
        for path in paths:
            folder, _, name = path.rpartition('/')
            self._asked[commit][folder].add(name)
        found: dict[str, str] = {}
        for step in self._steps:
            for folder, names in self._asked.pop(step.commit, {}).items():
                prefix = f'{folder}/' if folder else ''
                found |= {prefix + name: step.commit for name in self._changed(step, folder, names)}
            if not self._asked or self._work > _WORK:
                break
        return found

    def _changed(self, step: _Step, folder: str, names: set[str]) -> set[str]:
        """Return which of the names this commit changed; the parents are asked for the others."""
        self._work += 1
        for parent in step.parents:
            if parent not in self._roots:
                return set()  # beyond what is looked at
            same = self._same(step.tree, self._roots[parent], folder, names)
            if same:
                self._asked[parent][folder] |= same
            names = names - same
            if not names:
                break
        return names

    def _same(self, root: str, other: str, folder: str, names: set[str]) -> set[str]:
        """Return which of the names are in the folder just so in both trees."""
        here, there = self._folder(root, folder), self._folder(other, folder)
        if here == there:
            return names
        if here is None or there is None:
            return set()
        differences = self._tree(here).entries ^ self._tree(there).entries
        return names - {
            entry[entry.index(b' ') + 1 : -21].decode('utf-8', 'surrogateescape') for entry in differences
        }

    def _folder(self, root: str, folder: str) -> str | None:
        """Return the id of a folder's tree, None when there is no such folder."""
        oid: str | None = root
        for part in folder.split('/') if folder else ():
            oid = self._tree(oid).folders.get(part.encode('utf-8', 'surrogateescape')) if oid else None
        return oid

    def _read(self, oid: str) -> _Tree:
        entries = _ENTRY.findall(self._bare.read_tree(oid))
        self._work += len(entries)
        folders = {entry[6:-21]: entry[-20:].hex() for entry in entries if entry.startswith(b'40000 ')}
        return _Tree(frozenset(entries), folders)
