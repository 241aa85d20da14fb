"""Which commit of the code made this folder? Asked of the git repository around it, if there is one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from hfmirror.errors import GitError
from hfmirror.gitcmd import git


class Origin(NamedTuple):
    """The code's commit, and whether tracked files differed from it; None outside a git repository."""

    commit: str | None
    dirty: bool


NO_ORIGIN = Origin(None, False)


def origin_of(folder: Path) -> Origin:
    """Return the commit checked out around ``folder``."""
    try:
        commit = git('rev-parse', '-q', '--verify', 'HEAD^{commit}', cwd=folder)
        dirty = git(
            'status', '--porcelain', '--untracked-files=no', '--ignore-submodules=untracked', cwd=folder
        )
    except GitError:  # no repository, none that git trusts, or one without a commit
        return NO_ORIGIN
    return Origin(commit, bool(dirty))
