"""Which paths does a repository send to LFS? What its ``.gitattributes`` files say, as git itself reads them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from hfmirror.gitcmd import git, git_bytes

ATTRIBUTES = '.gitattributes'


def lfs_paths(
    git_dir: Path, paths: Sequence[str], attributes: Mapping[str, str], *, root: bytes | None = None
) -> set[str]:
    """Return those of ``paths`` that go to LFS. ``attributes`` are the ``.gitattributes`` files, {path: blob}.

    ``root`` is the content of the root's file when that is in no repository yet.
    """
    if not paths or not (attributes or root):
        return set()
    with TemporaryDirectory(prefix='hfmirror-') as scratch:
        # git 2.39 has no `check-attr --source`; it reads an index, here one of these files alone.
        environment = {
            'GIT_DIR': str(git_dir),
            'GIT_INDEX_FILE': f'{scratch}/index',
            'GIT_ATTR_NOSYSTEM': '1',
        }
        if root is not None:
            environment |= _own_objects(git_dir, scratch)
            blob = git('hash-object', '-w', '--stdin', stdin=root, env=environment)
            attributes = {**attributes, ATTRIBUTES: blob}
        rows = ''.join(f'100644 {blob}\t{path}\0' for path, blob in attributes.items())
        git('update-index', '-z', '--index-info', stdin=rows, env=environment)
        answer = git_bytes(
            # What the server's own user has set for all repositories is not asked.
            *('-c', f'core.attributesFile={os.devnull}'),
            *('check-attr', '--cached', '-z', '--stdin', 'filter'),
            stdin='\0'.join(paths),
            env=environment,
        )
    fields = answer.decode('utf-8', 'surrogateescape').split('\0')
    return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == 'lfs'}


def _own_objects(git_dir: Path, scratch: str) -> dict[str, str]:
    """Return the variables by which git writes objects into ``scratch``, and reads those of the repository too."""
    os.mkdir(f'{scratch}/objects')
    return {
        'GIT_OBJECT_DIRECTORY': f'{scratch}/objects',
        'GIT_ALTERNATE_OBJECT_DIRECTORIES': str(git_dir / 'objects'),
    }
