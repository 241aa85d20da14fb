"""The bare repository of this machine that is as an archive's newest state says: what git asks instead of the archive."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from hfmirror import durable, errors
from hfmirror.archive.state import State, Tag, read_state, write_state
from hfmirror.gitcmd import GitFailed, git, git_bytes
from hfmirror.refs import create_bare
from hfmirror.target import Target
from hfmirror.tree import Tree
from hfmirror.worktree import WorkTree

_MEMORY = 'hfmirror-state.json'
_CHECKED = ('-c', 'fetch.fsckObjects=true', '-c', 'core.hooksPath=' + os.devnull)


class Mirror:
    """The mirror at ``path``. Made when it is first needed; everything in it can be had from the archive again."""

    def __init__(self, path: Path, target: Target) -> None:
        self.path, self.target = path, target

    def ensure(self) -> None:
        """Make the repository where there is none. A lock that a killed git left is removed: the clone's own is held."""
        if not (self.path / 'HEAD').is_file():
            create_bare(self.path, self.target.branch)
        for lock in [*self.path.glob('*.lock'), *self.path.glob('refs/**/*.lock')]:
            lock.unlink(missing_ok=True)

    def clear(self) -> None:
        """Make the repository anew, with nothing in it."""
        shutil.rmtree(self.path)
        self.ensure()

    def remembered(self) -> State | None:
        """Return the state that the mirror was last brought to, None for a new one."""
        try:
            content = (self.path / _MEMORY).read_bytes()
            return read_state(content, json.loads(content)['number'], str(self.path))
        except (OSError, ValueError, KeyError, errors.RemoteError):
            return None

    def remember(self, state: State) -> None:
        """Write down which state the mirror is at."""
        durable.write(self.path / _MEMORY, write_state(state, self.target))

    def refs(self) -> dict[str, str]:
        """Return {name: object} of its branches and tags."""
        return _pairs(
            self._git('for-each-ref', '--format=%(refname) %(objectname)', 'refs/heads', 'refs/tags')
        )

    def set_refs(self, refs: Mapping[str, str]) -> None:
        """Have exactly these refs: a push that the archive did not get may have moved others."""
        have = _pairs(self._git('for-each-ref', '--format=%(refname) %(objectname)'))
        gone = [f'delete {ref}\0\0' for ref in have.keys() - refs.keys()]
        changed = [f'update {ref}\0{oid}\0\0' for ref, oid in refs.items() if have.get(ref) != oid]
        for commands in (gone, changed):  # a/b cannot be made in the transaction that removes a
            if commands:
                self._git('update-ref', '--no-deref', '-z', '--stdin', stdin=''.join(commands))

    def has_all(self, oids: Iterable[str]) -> bool:
        """Return whether these objects and all that they need are here."""
        wanted = ''.join(f'{oid}\n' for oid in oids)
        if not wanted:
            return True
        try:
            git('rev-list', '--objects', '--quiet', '--stdin', '--not', '--all', cwd=self.path, stdin=wanted)
        except GitFailed:
            return False
        return True

    def take(self, bundle: Path) -> None:
        """Have the objects of a bundle here, looked at by git as what comes from outside."""
        spec = '+refs/*:refs/hfmirror/taken/*'
        git(*_CHECKED, 'fetch', '-q', '--no-tags', '--no-write-fetch-head', bundle, spec, cwd=self.path)

    def bundle(self, to: Path, wanted: Iterable[str], have: Iterable[str]) -> bool:
        """Write a bundle of the refs ``wanted`` and all that they need but the objects ``have`` and theirs.

        Returns False, and writes none, when there is nothing in it.
        """
        asked = ''.join([*(f'{ref}\n' for ref in wanted), *(f'^{oid}\n' for oid in have)])
        listed = git_bytes('rev-list', '--objects', '--stdin', cwd=self.path, stdin=asked)
        if not listed.strip():
            return False
        # One thread packs the same objects into the same bytes each time, so that a push that is run again finds its own.
        git('-c', 'pack.threads=1', 'bundle', 'create', '-q', to, '--stdin', cwd=self.path, stdin=asked)
        return True

    def tag(self, name: str) -> Tag | None:
        """Return a tag of a commit, None for one of anything else."""
        form = '%00'.join(
            f'%({one})'
            for one in (
                'objectname',
                '*objectname',
                'objecttype',
                '*objecttype',
                'creatordate:iso-strict',
                'contents',
            )
        )
        told = self._git('for-each-ref', f'--format={form}', f'refs/tags/{name}')
        oid, peeled, kind, peeled_kind, date, message = told.split('\0', 5)
        if 'commit' not in (kind, peeled_kind):
            return None
        return Tag(name, oid, peeled or oid, date, message)

    def tree(self, commit: str) -> Tree:
        """Return the files of a commit."""
        return WorkTree(self.target, self.path).tree(commit)

    def _git(self, *args: str, stdin: str = '') -> str:
        return git(*args, cwd=self.path, stdin=stdin)


def _pairs(listing: str) -> dict[str, str]:
    rows: Sequence[str] = listing.splitlines()
    return {ref: oid for ref, _, oid in (row.rpartition(' ') for row in rows)}
