"""Where are the LFS objects of a remote, and how do they get there and back?

A remote that is a directory is read and written as one, an archive by the way that its place has; every other has an LFS
server.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO

from hfmirror import errors, output, transfers
from hfmirror.archive.objects import ArchiveObjects
from hfmirror.clone import Clone
from hfmirror.gitcmd import GitFailed, git, meaning
from hfmirror.hub import require_online
from hfmirror.lfsapi import Action, LfsServer
from hfmirror.outbox import Held
from hfmirror.store import ObjectStore
from hfmirror.target import Target
from hfmirror.tree import Entry
from hfmirror.worktree import WorkTree

_AT_ONCE = 8  # objects, as git-lfs sends by itself
_LOG_MAX = 1024 * 1024  # bytes of git-lfs's progress file, of which it writes 5 MB for each GiB it sends


class DirectoryObjects:
    """The objects of a repository on this machine, as git-lfs lays them out there."""

    def __init__(self, target: Target) -> None:
        assert target.path is not None
        self.store = ObjectStore(_lfs_storage(target.path))

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the LFS entries whose object is not there with its size."""
        return [entry for entry in entries if entry.is_lfs and not self.store.has(entry.oid, entry.size)]

    def send(self, source: ObjectStore, held: Sequence[Held]) -> None:
        """Put objects there, moved or copied, checked when copied; all are on disk when this returns."""
        with output.progress('storing', sum(one.size for one in held)) as shown:
            for one in held:
                self.store.take(source, one.oid, one.size)
                shown.advance(one.size)
            self.store.settle()
            self.store.flush_names(one.oid for one in held)

    @contextmanager
    def open(self, entry: Entry, *, offset: int = 0) -> Iterator[tuple[IO[bytes], int]]:
        """Open an object for reading from ``offset``. Raises VerificationError when it is not there."""
        try:
            file = self.store.path(entry.oid).open('rb', buffering=0)
        except FileNotFoundError as e:
            raise _gone(entry) from e
        with file:
            file.seek(offset)
            yield file, offset


class ServerObjects:
    """The objects behind an LFS server. git-lfs uploads; we ask and fetch."""

    def __init__(self, clone: WorkTree) -> None:
        self.target, self.work, self._env = clone.target, clone.work, clone.env
        self.server = LfsServer(clone.target, clone.work, clone.env)
        self._actions: dict[str, Action] = {}

    def missing(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return the LFS entries that the server does not confirm by oid and size."""
        wanted = [entry for entry in entries if entry.is_lfs and entry.size]
        require_online(self.target)
        found = self.server.downloads(wanted) if wanted else {}
        self._actions.update(found)
        return [entry for entry in wanted if entry.oid not in found]

    def send(self, source: ObjectStore, held: Sequence[Held]) -> None:
        """Upload objects with git-lfs, whose storage ``source`` is. Nothing is sent when a Hub would refuse one of them."""
        # git-lfs 3.3 fails on an empty list.
        if not held:
            return
        # Only of a Hub is it known that the question costs nothing.
        refusal = self._refused(held) if self.target.endpoint is not None else None
        if refusal is not None:
            raise refusal
        names = {one.oid: one.path for one in held}
        total = sum(one.size for one in held)
        with TemporaryDirectory(dir=_in_memory()) as folder, output.progress('uploading', total) as shown:
            log = Path(folder) / 'progress'
            with _followed(log, shown, names):
                self._push(held, _storage(source, Path(folder)), log)

    def _push(self, held: Sequence[Held], storage: Path, log: Path) -> None:
        oids = '\n'.join(dict.fromkeys(one.oid for one in held)) + '\n'
        env = {**self._env, 'GIT_LFS_PROGRESS': str(log), 'GIT_LFS_FORCE_PROGRESS': '0'}
        # For transfers in parts git-lfs starts as many programs, whether there is work for them or not.
        at_once = f'lfs.concurrentTransfers={min(len(held), _AT_ONCE)}'
        push = ('lfs', 'push', '--object-id', '--stdin', 'origin')
        try:
            git('-c', f'lfs.storage={storage}', '-c', at_once, *push, cwd=self.work, stdin=oids, env=env)
        except GitFailed as e:
            if 'is not a git command' in e.stderr:
                raise errors.GitError(
                    "git-lfs is not installed. Install it: 'apt-get install git-lfs'."
                ) from e
            raise self._meaning(e, held) from e

    def _meaning(self, failure: GitFailed, held: Sequence[Held]) -> errors.HfmirrorError:
        if transfers.ended_early(failure.stderr):
            return errors.NetworkError(
                f"{self.target}: the program that sends large files ('hf lfs-multipart-upload' or 'git-xet') ended before it was "
                "done: the connection broke, or the Hub refused. If it does so again, try 'hf --version'."
            )
        told = meaning(failure, str(self.target))
        if type(told) is not errors.RemoteError:
            return told
        # Of a batch that is refused git-lfs tells the words, and not the status; so it is asked for again.
        try:
            return self._refused(held) or told
        except errors.HfmirrorError as e:
            return e

    def _refused(self, held: Sequence[Held]) -> errors.HfmirrorError | None:
        entries = [Entry(one.path, one.oid, one.size, is_lfs=True) for one in held]
        return transfers.refused(self.target, entries, self.server.uploads)

    @contextmanager
    def open(self, entry: Entry, *, offset: int = 0) -> Iterator[tuple[IO[bytes], int]]:
        """Open an object for reading; yields the stream and the byte it begins at, 0 where ranges are ignored."""
        if entry.oid not in self._actions and self.missing([entry]):
            raise _gone(entry)
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(self.server.open(self._actions[entry.oid], offset=offset))
            except errors.AuthError:
                # Links are good for minutes, and not always for as long as the server says.
                if self.missing([entry]):
                    raise _gone(entry) from None
                opened = stack.enter_context(self.server.open(self._actions[entry.oid], offset=offset))
            yield opened


def _in_memory() -> str | None:
    """Return a directory without a disk, where there is one.

    git-lfs before 3.5 flushes its progress file to disk for every 32 KiB it sends, which takes three times as long as
    to send them.
    """
    return '/dev/shm' if os.access('/dev/shm', os.W_OK) else None


def _storage(source: ObjectStore, folder: Path) -> Path:
    """Return a directory that git-lfs takes for its storage, with the objects of ``source``.

    When a server fails git-lfs writes a report into ``logs`` of its storage, with every variable whose name has GIT_ in
    it: the token. Here something is in the way, and it prints the report, which nobody keeps.
    """
    storage = folder / 'storage'
    storage.mkdir()
    (storage / 'logs').touch()
    try:
        (storage / 'objects').symlink_to(source.root.absolute() / 'objects', target_is_directory=True)
    except OSError:
        if os.name != 'nt':
            raise
        return source.root  # on Windows links are a privilege
    return storage


RemoteObjects = DirectoryObjects | ServerObjects | ArchiveObjects


def objects_of(clone: WorkTree) -> RemoteObjects:
    """Return the objects of the remote that a clone is of."""
    if isinstance(clone, Clone) and clone.archive is not None:
        return ArchiveObjects(clone.archive)
    return DirectoryObjects(clone.target) if clone.target.path is not None else ServerObjects(clone)


def _lfs_storage(path: Path) -> Path:
    """Return where the repository at ``path``, bare or not, keeps its LFS objects."""
    if not path.is_dir():
        return path / 'lfs'
    try:
        git_dir = path / git('rev-parse', '--git-common-dir', cwd=path)
    except GitFailed as e:
        raise errors.NotFoundError(
            f'{path}: not a git repository. Create one with: git init --bare {path}'
        ) from e
    try:
        storage = Path(git('config', '--local', '--get', 'lfs.storage', cwd=path))
    except GitFailed:
        return git_dir / 'lfs'
    return storage if storage.is_absolute() else git_dir / storage


def _gone(entry: Entry) -> errors.VerificationError:
    return errors.VerificationError(
        f'{entry.path}: the remote has lost its object {entry.oid[:12]} ({output.human_size(entry.size)}). '
        'Push the folder it came from again, which sends what is missing.'
    )


@contextmanager
def _followed(log: Path, shown: output.Progress, names: dict[str, str]) -> Iterator[None]:
    """Show what git-lfs writes to its progress file (``upload 1/4 32768/1000000 name``) while it runs."""
    log.touch()
    done = threading.Event()
    thread = threading.Thread(target=_follow, args=(log, shown, names, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(log: Path, shown: output.Progress, names: dict[str, str], done: threading.Event) -> None:
    sent: dict[str, int] = {}
    with log.open(encoding='utf-8', errors='replace') as lines:
        while True:
            last = done.wait(0.2)
            for line in lines:
                with suppress(ValueError, IndexError):
                    _, _, amount, name = line.rstrip('\n').split(' ', 3)
                    now = int(amount.partition('/')[0])
                    shown.advance(now - sent.get(name, 0))
                    sent[name] = now
            if last:
                return
            if log.stat().st_size > _LOG_MAX:
                # It is in memory. git-lfs appends, and its amounts are sums: a line that is lost here is made up for.
                os.truncate(log, 0)
                lines.seek(0)
