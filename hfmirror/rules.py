"""Which paths of a repository does a release of a folder replace, and which does it leave alone?"""

from __future__ import annotations

import re
from collections.abc import Mapping

from hfmirror import errors
from hfmirror.tree import Entry

CARD = 'README.md'
ATTRIBUTES = '.gitattributes'

_KEPT_BY_HAND = (CARD, ATTRIBUTES)


def in_repo(path: str, path_in_repo: str) -> str:
    """Return where a file of the folder lies in the repository."""
    return f'{path_in_repo}/{path}' if path_in_repo else path


def clean_path_in_repo(path: str) -> str:
    """Return a folder of the repository as ``a/b``, empty for its root. Raises UsageError for one outside it."""
    slashed = path.replace('\\', '/')
    parts = [part for part in slashed.split('/') if part not in ('', '.')]
    outside = slashed.startswith('/') or any(part == '..' or part.lower() == '.git' for part in parts)
    if outside or re.search('[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]', path):
        raise errors.UsageError(
            f"--path-in-repo {path}: must be a folder inside the repository, like 'v2/checkpoints'."
        )
    return '/'.join(parts)


def stale(
    theirs: Mapping[str, Entry], ours: Mapping[str, Entry], path_in_repo: str, *, keep: bool
) -> list[str]:
    """Return the paths of the repository that the folder has no more and that go, because a stale shard is a broken model.

    What people keep in the repository by hand (the card, ``.gitattributes``, licences) stays; with ``keep`` all stays.
    """
    if keep:
        return []
    prefix = f'{path_in_repo}/' if path_in_repo else ''
    return [
        path
        for path in theirs
        if path.startswith(prefix)
        and path not in ours
        and not kept_by_hand(path.removeprefix(prefix), path_in_repo)
    ]


def kept_by_hand(inside: str, path_in_repo: str) -> bool:
    """Tell whether ``inside``, a path below ``path_in_repo``, is of the files that people keep in the repository by hand."""
    if inside in _KEPT_BY_HAND or in_repo(inside, path_in_repo) in _KEPT_BY_HAND:
        return True
    return '/' not in inside and inside.upper().startswith(('LICENSE', 'LICENCE'))


def clash(theirs: Mapping[str, Entry], path_in_repo: str) -> None:
    """Raise ConflictError when ``path_in_repo`` is a file of the repository, which a folder cannot become."""
    parts = path_in_repo.split('/')
    for length in range(1, len(parts) + 1):
        parent = '/'.join(parts[:length])
        if parent in theirs:
            raise errors.ConflictError(
                f'--path-in-repo {path_in_repo}: {parent} is a file in the repository. Choose another folder.'
            )
