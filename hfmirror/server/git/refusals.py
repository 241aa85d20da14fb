"""What is somebody told whose push or commit is refused? In the Hub's words where it has some, for clients that know them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from hfmirror import lfs
from hfmirror.server.git.objects import COMMIT_MAX, TREE_MAX

SHOWN = 50  # names in a message
_LONGEST = 4000  # characters of a line
_RULE = '-' * 73


class Offender(NamedTuple):
    """A file that must not be there, and the ref that leads to it: ``refs/heads/main``."""

    path: str
    ref: str


def large_text(offenders: Sequence[Offender], plain_max: int = lfs.LFS_FROM) -> str:
    """Return the message that refuses plain files larger than ``plain_max`` bytes."""
    limit = f'{plain_max / 2**20:g} MiB' if plain_max >= 2**20 else f'{plain_max} bytes'
    return _refusal(
        f'Your push was rejected because it contains files larger than {limit}.',
        'Please use https://git-lfs.github.com/ to store large files.',
        'See also: https://hf.co/docs/hub/repositories-getting-started#terminal',
        names=_named(offenders),
    )


def binary_text(offenders: Sequence[Offender]) -> str:
    """Return the message that refuses binary files outside LFS."""
    return _refusal(
        'Your push was rejected because it contains binary files.',
        'Please use https://huggingface.co/docs/hub/xet to store binary files.',
        'See also: https://hf.co/docs/hub/repositories-getting-started#terminal',
        names=_named(offenders),
    )


def missing_text(paths: Sequence[str]) -> str:
    """Return the message that refuses LFS pointers without their objects."""
    return _refusal(
        'Your push was rejected because an LFS pointer pointed to a file that does not exist.',
        'This happens with "git push --no-verify", or without git-lfs.',
        'Send the objects with "git lfs push --all <remote>", and push again.',
        names=paths,
    )


def metadata_text(faults: Sequence[str]) -> str:
    """Return the message that refuses a card's metadata; ``faults`` are the errors of its report."""
    return '\n'.join(
        [
            _RULE,
            'Sorry, your push was rejected during YAML metadata verification:',
            *(f' - Error: {fault}' for fault in listed(faults)),
            _RULE,
            'Please find the documentation at:',
            'https://huggingface.co/docs/hub/model-cards#model-card-metadata',
            _RULE,
        ]
    )


def huge_text(offenders: Sequence[Offender]) -> str:
    """Return the message that refuses commits, tags and folders that are too large to be shown."""
    return _refusal(
        'Your push was rejected because it contains a commit, tag or folder that is too large.',
        f'A commit or tag has at most {COMMIT_MAX // 2**20} MiB with its message, a folder {TREE_MAX // 2**20} MiB of names.',
        'Shorten the message, or spread the files over more folders.',
        names=_named(offenders),
        what='objects',
    )


def _refusal(*sentences: str, names: Sequence[str], what: str = 'files') -> str:
    offending = [f'  - {name}' for name in listed(names)]
    return '\n'.join([_RULE, *sentences, '', f'Offending {what}:', *offending, _RULE])


def _named(offenders: Sequence[Offender]) -> list[str]:
    return [f'{path} (ref: {ref})' for path, ref in offenders]


def listed(names: Sequence[str]) -> list[str]:
    """Return the first names, and how many there are more; printable: they go to somebody's terminal."""
    shown = [''.join(c if c.isprintable() else '\ufffd' for c in name[:_LONGEST]) for name in names[:SHOWN]]
    return shown + ([f'and {len(names) - SHOWN} more'] if len(names) > SHOWN else [])
