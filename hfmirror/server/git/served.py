"""How is git run in a repository that is served? Whoever owns its files, and whatever its own configuration says.

The variables name the repository, so git looks for none above it; and who serves a directory trusts what is in it, so git
does not refuse one that another user owns.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from hfmirror import gitcmd
from hfmirror.gitcmd import GitFailed

# No program that a repository names is run, and what git writes is on disk when it returns.
_SETTINGS = {
    'core.alternateRefsCommand': 'true',
    'core.fsync': 'committed',
    'core.hooksPath': os.devnull,
}


def variables(git_dir: Path, settings: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables by which git works in this repository, with more settings than the common ones if given."""
    chosen = {**_SETTINGS, **(settings or {}), 'safe.directory': str(git_dir)}
    # What is missing in a partial clone would be fetched, from where and by what its configuration says.
    found = {'GIT_DIR': str(git_dir), 'GIT_ALLOW_PROTOCOL': 'none', 'GIT_CONFIG_COUNT': str(len(chosen))}
    for number, (key, value) in enumerate(chosen.items()):
        found |= {f'GIT_CONFIG_KEY_{number}': key, f'GIT_CONFIG_VALUE_{number}': value}
    return found


def git(
    *args: str | Path, cwd: Path, stdin: bytes | str | IO[bytes] = b'', env: Mapping[str, str] | None = None
) -> str:
    """Run git in the repository ``cwd`` and return its standard output as text without the last newline."""
    return gitcmd.git(*args, cwd=cwd, stdin=stdin, env={**variables(cwd), **(env or {})})


def git_bytes(*args: str | Path, cwd: Path, stdin: bytes | str | IO[bytes] = b'') -> bytes:
    """Run git in the repository ``cwd`` and return its standard output as it is."""
    return gitcmd.git_bytes(*args, cwd=cwd, stdin=stdin, env=variables(cwd))


def succeeds(*args: str | Path, cwd: Path) -> bool:
    """Return whether a git command that answers by its exit code says yes."""
    try:
        git(*args, cwd=cwd)
    except GitFailed:
        return False
    return True
