"""How does the Hub write to a repository by itself? Objects first, then one ref from the value it had to the new one.

A kill between the two leaves objects that nothing refers to. Of two writers of one ref one wins, and the other hears of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hfmirror.gitcmd import GitFailed
from hfmirror.server.answers import Problem
from hfmirror.server.git.served import git

NOBODY = '0' * 40  # the value of a ref that is not there


class RefChanged(Problem):
    """Somebody else moved, made or removed the ref meanwhile."""

    def __init__(self, ref: str) -> None:
        super().__init__(409, f'{ref} was changed by somebody else just now. Please refresh and try again.')


def writing_as(user: str) -> Mapping[str, str]:
    """Return the environment for git commands that write in the name of ``user``: author, committer, tagger."""
    email = f'{user}@users.noreply.hfmirror.local'
    return {
        'GIT_AUTHOR_NAME': user,
        'GIT_AUTHOR_EMAIL': email,
        'GIT_COMMITTER_NAME': user,
        'GIT_COMMITTER_EMAIL': email,
    }


def add_tree(git_dir: Path, files: Mapping[str, bytes], *, user: str) -> str:
    """Write a tree of plain files, {name: content}, and return its id."""
    environment = writing_as(user)
    oids = {
        name: git('hash-object', '-w', '--stdin', cwd=git_dir, stdin=content, env=environment)
        for name, content in files.items()
    }
    entries = ''.join(f'100644 blob {oid}\t{name}\0' for name, oid in oids.items())
    return git('mktree', '-z', cwd=git_dir, stdin=entries, env=environment)


def add_commit(git_dir: Path, tree: str, *, parents: Sequence[str], text: str, user: str) -> str:
    """Write a commit and return its id."""
    given = [word for parent in parents for word in ('-p', parent)]
    return git('commit-tree', tree, *given, '-F', '-', cwd=git_dir, stdin=text, env=writing_as(user))


def add_tag(git_dir: Path, name: str, *, commit: str, text: str, user: str) -> str:
    """Write an annotated tag and return its id."""
    tagger = git('var', 'GIT_COMMITTER_IDENT', cwd=git_dir, env=writing_as(user))
    content = f'object {commit}\ntype commit\ntag {name}\ntagger {tagger}\n\n{text.rstrip()}\n'
    return git('mktag', cwd=git_dir, stdin=content, env=writing_as(user))


def ref_value(git_dir: Path, ref: str) -> str | None:
    """Return the object that a full ref name stands for, an annotated tag itself; None when there is no such ref."""
    try:
        return git('show-ref', '--verify', '-s', '--', ref, cwd=git_dir)
    except GitFailed:
        return None


def move_ref(git_dir: Path, ref: str, *, old: str | None, new: str | None) -> None:
    """Set a ref from ``old`` to ``new``, each None when there is (to be) none.

    Raises RefChanged when its value is not ``old``, Problem 400 when git takes no ref of that name beside the ones there are.
    """
    command = ['--no-deref', ref, new] if new is not None else ['--no-deref', '-d', ref]
    try:
        git('update-ref', *command, old or NOBODY, cwd=git_dir)
    except GitFailed as e:
        if 'cannot create' in e.stderr or 'refusing to update ref with bad name' in e.stderr:
            # refs/heads/a beside refs/heads/a/b: a file and a folder of one name.
            raise Problem(400, f'{ref} cannot be beside another ref that begins or ends like it') from e
        if 'cannot lock ref' in e.stderr or 'Unable to create' in e.stderr:
            raise RefChanged(ref) from e
        raise
