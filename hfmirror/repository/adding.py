"""How do large files get into git's index? Hashed in parallel, copied into git-lfs's store on the way, each read once.

git alone would send one file after the other through git-lfs, which reads it from a pipe. Here ``git update-index`` runs
with another filter, one that prints the pointer that is already known; a filter does not have to read what it is given.
The index then has the file's own stat, and nobody reads the file again.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from hfmirror import errors, lfs, output
from hfmirror.config.places import home
from hfmirror.fingerprint import Found, Job, Reader
from hfmirror.folder import SourceFile
from hfmirror.gitcmd import GitFailed, git
from hfmirror.repository.tracking import to_lfs
from hfmirror.statcache import Stamp, StatCache
from hfmirror.store import ObjectStore, reflink

LARGE = 1024 * 1024  # bytes; below, a process for each file costs more than git-lfs does
_WORTH_WAITING = 128 * 1024 * 1024  # bytes that git-lfs would take a second for
# `filter.lfs` cannot be used: a configured `process` outranks `clean`, and nothing unsets it.
_FILTER = 'filter=hfmirror -text -ident -working-tree-encoding'
_SETTINGS = (
    'filter.hfmirror.clean=cat -- "$HFMIRROR_POINTERS"/%f',
    'filter.hfmirror.required=true',  # else git maps all of the file into memory
    # What else an index can be made of lies in the git directory, and ours is gone the moment after.
    'core.fsmonitor=false',
    'core.splitIndex=false',
    'index.sparse=false',
)


def add_large(work: Path, paths: Iterable[str], store: ObjectStore) -> None:
    """Put those of ``paths`` into the index that are large and go to git-lfs; ``store`` is git-lfs's own.

    What cannot be done so is left to ``git add``. Raises SourceChanged for a file that is being written.
    """
    files = [file for path in paths if (file := _large(work.resolve(), path)) is not None]
    named = to_lfs(work, [file.path for file in files])
    files = [file for file in files if file.path in named]
    if not files:
        return
    found = _read(work.resolve(), files, store)
    _outlive_their_second(files)
    try:
        _index(work, files, found)
    except GitFailed as e:
        output.detail(f'{work}: {e}; git adds the files itself')
        return
    _read_again(work, [file for file in files if not _is_same(file, found[file.path])])


def _large(work: Path, path: str) -> SourceFile | None:
    # A name that .gitattributes cannot hold.
    if re.search(r'[\x00-\x1f\x7f]', path):
        return None
    try:
        found = os.lstat(work / path)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode) or found.st_size < LARGE:
        return None
    return SourceFile(path, work / path, found)


def _read(work: Path, files: Sequence[SourceFile], store: ObjectStore) -> Mapping[str, Found]:
    """Return {path: what its bytes are}; all of them are in ``store`` then.

    Never as links: a person writes their files in place. Where the file system can share blocks, nothing is copied.
    """
    copying = None if _shares_blocks(files[0], store) else store
    with closing(StatCache(home().cache / 'files.sqlite')) as cache:
        jobs = [Job(file, to_lfs=True, copy=lambda: True) for file in files]
        found = Reader(cache, copying).read(work, jobs)
    for file in files:
        known = found[file.path].known
        if not store.has(str(known.sha256), known.size):
            _put(file, found[file.path], store)
    store.settle()
    return found


def _shares_blocks(file: SourceFile, store: ObjectStore) -> bool:
    with store.temporary() as probe:
        return _reflink(file, probe)


def _reflink(file: SourceFile, to: IO[bytes]) -> bool:
    os.unlink(to.name)  # macOS makes no clone of one file over another
    return reflink(file.source, Path(to.name))


def _put(file: SourceFile, found: Found, store: ObjectStore) -> None:
    oid, size = str(found.known.sha256), found.known.size
    with store.temporary() as shared:
        # Looked at after its blocks were shared: they are those that were hashed.
        if _reflink(file, shared) and _is_same(file, found):
            store.add(shared, oid)
            return
    try:
        store.copy_in(file.source, oid, size)
    except errors.VerificationError as e:
        raise errors.SourceChanged(
            f'{file.source}: changed while it was read. Add it again when nothing writes to it any more.'
        ) from e


def _outlive_their_second(files: Sequence[SourceFile]) -> None:
    """Wait for the next second when a file was written in this one.

    git looks twice, through git-lfs, at a file that is not older than its index, and counts whole seconds.
    """
    if sum(file.stat.st_size for file in files) < _WORTH_WAITING:
        return
    left = int(max(file.stat.st_mtime for file in files)) + 1.05 - time.time()
    if 0 < left <= 1.05:
        time.sleep(left)


def _index(work: Path, files: Sequence[SourceFile], found: Mapping[str, Found]) -> None:
    with TemporaryDirectory(prefix='hfmirror-') as folder:
        pointers, git_dir = Path(folder) / 'pointers', Path(folder) / 'git'
        for file in files:
            known = found[file.path].known
            (pointers / file.path).parent.mkdir(parents=True, exist_ok=True)
            (pointers / file.path).write_bytes(lfs.Pointer(str(known.sha256), known.size).text)
        env = {**_beside(work, git_dir, files), 'HFMIRROR_POINTERS': str(pointers)}
        git(
            *(word for setting in _SETTINGS for word in ('-c', setting)),
            'update-index',
            '--add',
            '--replace',
            '-z',
            '--stdin',
            cwd=work,
            env=env,
            stdin='\0'.join([*(file.path for file in files), '']),
        )


def _beside(work: Path, git_dir: Path, files: Sequence[SourceFile]) -> dict[str, str]:
    """Make a git directory whose attributes send the files to our filter; returns the environment that uses it.

    It writes the repository's index and objects, and has its configuration. The repository's own attributes stay as
    they are, whatever happens to us meanwhile.
    """
    index, objects, config_file = (
        work / git('rev-parse', '--git-path', name, cwd=work) for name in ('index', 'objects', 'config')
    )
    (git_dir / 'info').mkdir(parents=True)
    (git_dir / 'refs').mkdir()
    (git_dir / 'HEAD').write_text('ref: refs/heads/none\n')
    shutil.copyfile(config_file, git_dir / 'config')
    lines = [f'{lfs.exact_pattern(file.path)} {_FILTER}\n' for file in files]
    (git_dir / 'info' / 'attributes').write_bytes(''.join(lines).encode('utf-8', 'surrogateescape'))
    return {
        'GIT_DIR': str(git_dir),
        'GIT_WORK_TREE': str(work),
        'GIT_INDEX_FILE': str(index),
        'GIT_OBJECT_DIRECTORY': str(objects),
    }


def _is_same(file: SourceFile, found: Found) -> bool:
    try:
        return Stamp.of(os.stat(file.source)) == found.stamp
    except OSError:
        return False


def _read_again(work: Path, changed: Sequence[SourceFile]) -> None:
    """Have git read files that were written while they were added: the index has their new stat and old content."""
    there = [file.path for file in changed if file.source.exists()]
    if there:
        git(
            '--literal-pathspecs',
            'add',
            '--renormalize',
            '--pathspec-from-file=-',
            '--pathspec-file-nul',
            cwd=work,
            stdin='\0'.join(there),
        )
