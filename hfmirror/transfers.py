"""Which programs carry large objects to a Hub where git-lfs by itself does not, and which objects would it not take?

git-lfs offers a server the transfers that are registered, and starts the program of the one that the server chooses:

    multipart   files over 5 GB, in parts, by the command ``hf`` of huggingface_hub
    xet         whatever a Hub wants by Xet, by ``git-xet``, where a person has installed it

https://github.com/git-lfs/git-lfs/blob/main/docs/custom-transfers.md, https://huggingface.co/docs/hub/xet/using-xet-storage
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfmirror import errors, gitcmd, output, statuses
from hfmirror.auth import Token
from hfmirror.target import Target
from hfmirror.tree import Entry

WHOLE_MAX = 5 * 1000**3  # bytes; what is larger, the Hub takes in parts only
_KEY = 'lfs.customtransfer.'
_ASKED = 100  # objects that are asked for at once when one is refused
_SHOWN = 5
_YES = ('1', 'on', 'yes', 'true')  # as huggingface_hub reads its variables


def settings() -> dict[str, str]:
    """Return the settings of git that register the programs which are on this machine.

    ``git xet install`` and ``hf lfs-enable-largefiles`` write the same ones, without the direction, into files.
    """
    found: dict[str, str] = {}
    for name, path, argument in (
        ('multipart', _hf(), 'lfs-multipart-upload'),
        ('xet', _git_xet(), 'transfer'),
    ):
        if path is not None:
            found |= {
                f'{_KEY}{name}.path': path,
                f'{_KEY}{name}.args': argument,
                f'{_KEY}{name}.direction': 'upload',  # neither of them can download
            }
    return found


def environment(token: Token | None) -> dict[str, str]:
    """Return what those programs find in their environment: our token, and that they are to ask nobody for news."""
    given = {'HF_HUB_DISABLE_UPDATE_CHECK': '1', 'HF_HUB_DISABLE_TELEMETRY': '1'}
    if _git_xet() is not None:
        # It asks git's helpers otherwise, which are turned off. A token that is for another Hub must not go to this one.
        given['HF_TOKEN'] = token.value if token else ''
    return given


def offered() -> list[str]:
    """Return the names of the transfers that git-lfs can offer a server, as in a request to the batch API."""
    return [name for name in ('multipart', 'xet') if f'{_KEY}{name}.path' in settings()] + ['basic']


def _hf() -> str | None:
    # The one that was installed with us, whatever else is on PATH.
    ours = shutil.which('hf', path=str(Path(sys.executable).parent))
    return ours or shutil.which('hf', path=gitcmd.environment().get('PATH'))


def _git_xet() -> str | None:
    found = gitcmd.environment()
    if found.get('HF_HUB_DISABLE_XET', '').lower() in _YES:
        return None
    return shutil.which('git-xet', path=found.get('PATH'))


Ask = Callable[[Sequence[Entry], Sequence[str]], Sequence[Mapping[str, Any]]]


def refused(target: Target, entries: Sequence[Entry], ask: Ask) -> errors.HfmirrorError | None:
    """Return the error for those LFS objects that the server would not take; None when it takes all of them.

    ``ask`` gives a server's answers to a batch of uploads with the transfers that are offered. What a server has against
    an object is its size, so only the largest is asked for, and when that is refused, others to name them too. One is
    also all that should be: a Hub begins an upload in parts when it is asked for one, and drops it a day later.
    """
    largest_first = sorted(entries, key=lambda entry: (-entry.size, entry.path))
    said = _said(ask(largest_first[:1], offered())) if largest_first else {}
    if not said:
        return None
    said |= _said(ask(largest_first[1:_ASKED], offered())) if len(largest_first) > 1 else {}
    code, text = said[largest_first[0].oid]
    alike = [entry for entry in largest_first if said.get(entry.oid) == (code, text)]
    names = ', '.join(f'{entry.path} ({output.human_size(entry.size)})' for entry in alike[:_SHOWN])
    more = f' and {len(alike) - _SHOWN} more' if len(alike) > _SHOWN else ''
    if largest_first[0].size > WHOLE_MAX and _hf() is None:
        return errors.RemoteError(
            f"{target}: {names}{more}: files over {output.human_size(WHOLE_MAX)} are sent by the command 'hf', which is not "
            "there. Install it: 'pip install huggingface_hub', and push again."
        )
    return statuses.failure(code, f'{target}: {names}{more}', said=text)


def _said(answers: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """Return {oid: (status, text)} of the objects that a server refuses."""
    found = {}
    for answer in answers:
        error = answer.get('error')
        if isinstance(error, dict):
            code = error.get('code')
            found[str(answer.get('oid'))] = (
                code if type(code) is int else 422,
                str(error.get('message') or ''),
            )
    return found


def ended_early(said: str) -> bool:
    """Return whether git-lfs says that the program which carries objects has ended in the middle of its work.

    Of what that wrote git-lfs tells nothing: the two answer each other in lines, and this is the end of the lines.
    """
    return re.search(r'^(?:error: )?EOF$', said, re.MULTILINE) is not None
