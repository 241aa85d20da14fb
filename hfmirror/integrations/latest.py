"""From which release can a training go on? The newest one that has all of its state, and not the model alone.

A Trainer's state is ``trainer_state.json`` and an optimizer, at the root, in ``last-checkpoint/`` or in ``checkpoint-500/``. Of a
loop of one's own it is what the loop has written: a checkpoint with the log of the run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import NamedTuple

from hfmirror import errors, versions
from hfmirror.clone import Clone
from hfmirror.integrations.run import LOG
from hfmirror.integrations.trainer import LAST, STATE_FILE
from hfmirror.pulling import Found, part_of, refuse_escape
from hfmirror.tree import Tree

_STATE_MAX = 64 * 1024 * 1024  # bytes of JSON that are read
_OPTIMIZER = re.compile(r'optimizer\.(?:pt|bin)|(?:optimizer_|global_step)\w*/.+')
_FOLDER = re.compile(r'(checkpoint-(\d{1,18}))/' + re.escape(STATE_FILE))


class Resumable(NamedTuple):
    """A version, with the files of its training state under the names that a Trainer looks for.

    ``path`` is where they are in the version; ``of_trainer``: a ``transformers.Trainer`` can go on from it.
    """

    found: Found
    path: str
    step: int | None
    of_trainer: bool


def find_checkpoint(repository: Clone, *, prefix: str = 'v') -> Resumable:
    """Return the newest checkpoint on the remote. Raises NotFoundError when no release has a whole one."""
    refs, what = repository.remote_refs(), str(repository.target)
    found = {info.name: refs.tags[info.name][1] for info in repository.versions(refs, prefix=prefix)}
    places = [(f'refs/tags/{tag}', tag, commit) for tag, commit in found.items()]
    if refs.head is not None and refs.head not in found.values():
        branch = repository.target.branch  # as the Trainer itself leaves it
        places.insert(0, (f'refs/heads/{branch}', branch, refs.head))
    for ref, name, commit in places:
        repository.fetch(commit, ref)
        tree = repository.tree(commit)
        for path in _states(tree, name):
            return _resumable(repository, tree, path, name, commit, refs.head)
    raise errors.NotFoundError(
        f'{what}: no release has all that a training needs to go on ({STATE_FILE} and the optimizer). '
        "'hfmirror list-versions' shows what there is; a model alone comes with 'hfmirror pull VERSION --to DIR'."
    )


def _states(tree: Tree, name: str) -> Iterator[str]:
    """Yield the folders of a release that have a whole state, the newest first."""
    numbered = sorted(((int(m[2]), m[1]) for path in tree if (m := _FOLDER.fullmatch(path))), reverse=True)
    for path in ('', LAST, *(folder for _, folder in numbered)):
        inside = {entry.removeprefix(f'{path}/' if path else '') for entry in part_of(tree, path)}
        if STATE_FILE in inside and any(_OPTIMIZER.fullmatch(one) for one in inside):
            yield path
    version = versions.parse(name)
    if version is not None and version.kind == 'checkpoint' and LOG in tree:
        yield ''


def _resumable(
    repository: Clone, tree: Tree, path: str, name: str, commit: str, head: str | None
) -> Resumable:
    files = {}
    for full, entry in part_of(tree, path).items():
        short = full.removeprefix(f'{path}/' if path else '')
        refuse_escape(short, f'{repository.target} {name}')
        files[short] = entry._replace(path=short)
    found = Found(name, commit, '', files, head == commit)
    return Resumable(found, path, _step(repository, files, path or name), STATE_FILE in files)


def _step(repository: Clone, files: Tree, name: str) -> int | None:
    """Return how far the training was: as its state says, else as its name does."""
    entry = files.get(STATE_FILE)
    if entry is not None and not entry.is_lfs and entry.size <= _STATE_MAX:
        try:
            step = json.loads(repository.read(entry)).get('global_step')
        except (ValueError, AttributeError, RecursionError):
            step = None
        if type(step) is int and 0 <= step < 10**18:
            return step
    numbers = re.findall(r'\d{1,18}', name.partition('.')[0])
    return int(numbers[-1]) if numbers else None
