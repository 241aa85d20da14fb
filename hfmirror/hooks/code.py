"""Which repository holds the training code, and what is going on in it?"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, gitcmd
from hfmirror.config.environment import variables
from hfmirror.gitcmd import GitFailed
from hfmirror.origin import Origin

# What git tells its hooks of a repository that is not simply the one around the working directory.
_AROUND = ('GIT_DIR', 'GIT_WORK_TREE', 'GIT_COMMON_DIR')
_UNDER_WAY = ('rebase-merge', 'rebase-apply', 'sequencer', 'BISECT_LOG')


class Code(NamedTuple):
    """A repository. ``root`` is the top of its work tree, of a bare one its own directory.

    ``git_dir`` is that of this work tree, ``shared`` the one that all its work trees have in common.
    """

    root: Path
    git_dir: Path
    shared: Path
    bare: bool
    env: Mapping[str, str]

    def git(self, *args: str | Path) -> str:
        return gitcmd.git(*args, cwd=self.root, env=self.env)

    def asked(self, *args: str | Path) -> str | None:
        """Return what git answers, None when it has no answer."""
        try:
            return self.git(*args)
        except GitFailed:
            return None

    def head(self) -> str | None:
        """Return the commit that is checked out."""
        return self.asked('rev-parse', '-q', '--verify', 'HEAD^{commit}')

    def origin(self, commit: str) -> Origin:
        """Return ``commit`` and whether tracked files differ from it: those of another one that is checked out do not count."""
        if self.bare or commit != self.head():
            return Origin(commit, False)
        status = ('status', '--porcelain', '--untracked-files=no', '--ignore-submodules=untracked')
        return Origin(commit, bool(self.asked(*status)))

    @property
    def is_rewriting(self) -> bool:
        """Whether a rebase, a series of picks or a bisection goes on, whose commits are nobody's last word."""
        return any((self.git_dir / name).exists() for name in _UNDER_WAY)


def find() -> Code:
    """Return the repository around the working directory, or the one whose hook this is. Raises UsageError for none."""
    given = variables().values
    env = {name: os.path.abspath(given[name]) for name in _AROUND if given.get(name)}
    here = Path.cwd()

    def told(question: str) -> str:  # one at a time: there are paths of several lines
        return gitcmd.git('rev-parse', '--path-format=absolute', question, cwd=here, env=env)

    try:
        bare, git_dir, shared = map(told, ('--is-bare-repository', '--git-dir', '--git-common-dir'))
        root = git_dir if bare == 'true' else told('--show-toplevel')
    except GitFailed as e:
        raise errors.UsageError(_nowhere(here, e.stderr)) from e
    return Code(Path(root), Path(git_dir), Path(shared), bare == 'true', env)


def _nowhere(here: Path, why: str) -> str:
    if 'dubious ownership' in why:
        return (
            f'{here}: this repository belongs to somebody else, so git does nothing in it. If you trust it: '
            f'git config --global --add safe.directory {shlex.quote(str(here))}'
        )
    return f'{here}: in no work tree of a git repository. Go to the one that holds the code of the training.'
