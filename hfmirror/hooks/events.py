"""What has happened in the code's repository, and which commit does a release of it come from?

A hook hears of more than it is for. None of these makes a release: a tag that `git fetch` brings or `git pack-refs` moves, a tag
of a commit that is not there, a push that deletes, or that takes along other code than what is checked out.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, gitcmd, output, versions
from hfmirror.config.environment import variables
from hfmirror.hooks.code import Code

_TAGS = 'refs/tags/'
_OID = re.compile(r'[0-9a-f]{40,64}')
_DRY = re.compile(
    r'-[dfnquv46]*n[dfnquv46]*|--dry(?:-(?:r(?:un?)?)?)?'
)  # of git push; options may be cut short
_HEIGHT = 16  # processes between git and us: shells, and those who manage hooks
# Options of git itself that are followed by a word of their own.
_WITH_WORD = {'-C', '-c', '--git-dir', '--work-tree', '--namespace', '--config-env', '--super-prefix'}


class Happening(NamedTuple):
    """What a release is made for. ``commit`` is that of the code; ``tag`` names the release, ``message`` is of that tag."""

    commit: str
    tag: str | None = None
    message: str | None = None


def committed(code: Code) -> list[Happening]:
    """Return the commit that was just made; none while others are made over."""
    head = None if code.bare or code.is_rewriting else code.head()
    return [Happening(head)] if head else []


def tagged(code: Code, names: Sequence[str]) -> list[Happening]:
    """Return the tags of these ``names``, each with what it says."""
    return [one for one in (_tagged(code, name) for name in names) if one]


def tags_made(code: Code, lines: str, caller: int) -> list[str]:
    """Return the tags that are made here, of the ``lines`` in which git tells what becomes of refs.

    ``caller`` is the process that git is, or is above of.
    """
    packed, made = _packed(code), list[str]()
    for line in lines.splitlines():
        parts = line.split(' ')
        if len(parts) != 3 or not parts[2].startswith(_TAGS) or not parts[1].strip('0'):
            continue
        if f'{parts[1]} {parts[2]}' not in packed:
            made.append(parts[2].removeprefix(_TAGS))
    return made if made and _is_made_here(code, caller) else []


def pushed(code: Code, lines: str | None, caller: int | None = None) -> list[Happening]:
    """Return the commit that is checked out when it goes with what is pushed. ``lines`` are git's; None: it does."""
    head = code.head()
    if head is None or (caller is not None and _is_dry(_git(caller) or [])):
        return []
    if lines is None:
        return [Happening(head)]
    oids = {parts[1] for line in lines.splitlines() if len(parts := line.split(' ')) == 4}
    sent = [oid for oid in oids if _OID.fullmatch(oid) and oid.strip('0')]
    goes = any(code.asked('merge-base', '--is-ancestor', head, oid) is not None for oid in sent)
    return [Happening(head)] if goes else []


def pushed_by_pre_commit(code: Code) -> str | None:
    """Return the line that git would tell of a push, where pre-commit tells it in variables; None outside of a push."""
    given = variables().values
    if not is_push_of_pre_commit():
        return None
    # Of what goes to an empty repository it names only the branch.
    revision = given.get('PRE_COMMIT_TO_REF') or given.get('PRE_COMMIT_LOCAL_BRANCH') or 'HEAD'
    commit = code.asked('rev-parse', '-q', '--verify', '--end-of-options', f'{revision}^{{commit}}')
    return f'{revision} {commit} {revision} {commit}'


def is_push_of_pre_commit() -> bool:
    given = variables().values
    return bool(given.get('PRE_COMMIT_REMOTE_NAME') or given.get('PRE_COMMIT_REMOTE_URL'))


def _tagged(code: Code, name: str) -> Happening | None:
    """Return what a tag stands for; None for one that is gone, or is of no commit. Warns of a name that no release can have."""
    ref = f'{_TAGS}{name}'
    commit = code.asked('rev-parse', '-q', '--verify', f'{ref}^{{commit}}')
    if commit is None:
        return None
    try:
        versions.check_name(name)
    except errors.UsageError as e:
        output.warn(f'{e} Nothing is released for this tag.')
        return None
    words = ('for-each-ref', '--format=%(objecttype)%0a%(contents:subject)%0a%0a%(contents:body)', ref)
    kind, _, text = code.git(*words).partition('\n')
    # A tag without a message of its own shows that of its commit.
    return Happening(commit, name, text.strip() or None if kind == 'tag' else None)


def _packed(code: Code) -> set[str]:
    """Return the lines of ``packed-refs``: what is there already has only been moved there."""
    try:
        return set((code.shared / 'packed-refs').read_text('utf-8', 'surrogateescape').splitlines())
    except OSError:
        return set()


def _is_made_here(code: Code, caller: int) -> bool:
    """Return whether the git that calls a hook makes a tag, and is not fetching those of others or tidying up."""
    words = _git(caller)
    if words is None:  # nobody can say; what fetches by way of a pull says so itself
        return not variables().values.get('GIT_REFLOG_ACTION', '').startswith(('pull', 'fetch'))
    word = words[0] if words else None
    # A bare repository gets its tags from those who push to it.
    return word in ('tag', 'update-ref') or (code.bare and word == 'receive-pack')


def _is_dry(words: Sequence[str]) -> bool:
    """Return whether a push only shows what it would do: git calls its hook all the same, and does not say so."""
    return any(_DRY.fullmatch(word) for word in words)


def _git(process: int) -> list[str] | None:
    """Return what the nearest git is doing, ``tag v1`` or ``fetch``; None when that cannot be found out."""
    for _ in range(_HEIGHT):
        found = _process(process)
        if found is None:
            return None
        process, words = found
        name = Path(words[0]).name if words else ''
        if name.startswith('git-'):
            return [name.removeprefix('git-'), *words[1:]]
        if name == 'git':
            return _command(words[1:])
    return None


def _command(words: Sequence[str]) -> list[str]:
    """Return the command, and what follows it, of the words after ``git``."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_WORD:
            next(rest, None)
        elif not word.startswith('-'):
            return [word, *rest]
    return []


def _process(number: int) -> tuple[int, list[str]] | None:
    """Return (its parent, its words) of a process."""
    place = Path('/proc', str(number))
    try:
        words = (place / 'cmdline').read_bytes().decode('utf-8', 'surrogateescape').split('\0')
        # The second field, the name, is in parentheses and may have blanks.
        parent = (place / 'stat').read_text('utf-8', 'replace').rpartition(')')[2].split()[1]
    except (OSError, IndexError):
        return _process_by_ps(number)
    return int(parent), words


def _process_by_ps(number: int) -> tuple[int, list[str]] | None:
    try:
        parent, *words = gitcmd.run('ps', '-o', 'ppid=', '-o', 'args=', '-p', str(number)).decode().split()
        return int(parent), words
    except (errors.GitError, ValueError):
        return None
