"""How do the files of a version come here? Only what is missing, checked while it is written, beside and then renamed.

``pull`` writes a folder of a person's; ``hubcache`` has the rest in common with it.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from hfmirror import durable, errors, output
from hfmirror.clone import Clone
from hfmirror.config.places import Home
from hfmirror.copying import BLOCK, copy_hashed
from hfmirror.delivery import Retry, patiently
from hfmirror.objects import RemoteObjects, objects_of
from hfmirror.refs import find_version
from hfmirror.store import reflink
from hfmirror.tree import Entry, Tree, blob_id

_TOGETHER = 256  # small files whose flush is shared
_SMALL = 1024 * 1024  # bytes
_THREADS = 4


class Found(NamedTuple):
    """A version on the remote. ``tree`` are its files, or those under ``path``; ``is_head``: the branch is there too."""

    tag: str
    commit: str
    path: str
    tree: Tree
    is_head: bool


class Pulled(NamedTuple):
    """What a pull into a folder did: the files whose bytes it fetched, and how many it removed."""

    fetched: list[Entry]
    removed: int


def find(repository: Clone, version: str, *, path: str = '', prefix: str = 'v') -> Found:
    """Return a version of the remote. Raises NotFoundError when there is no such version, or no such part of it."""
    refs, what = repository.remote_refs(), str(repository.target)
    tag, commit = find_version(refs, version, what, prefix=prefix)
    repository.fetch(commit, f'refs/tags/{tag}')
    tree = part_of(repository.tree(commit), path)
    if not tree and path.strip('/'):
        raise errors.NotFoundError(f"{what} {tag}: no file or folder '{path}' in it.")
    for name in tree:
        refuse_escape(name, f'{what} {tag}')
    return Found(tag, commit, path.strip('/'), tree, refs.head == commit)


def pull(
    repository: Clone,
    found: Found,
    to: Path,
    home: Home,
    *,
    force: bool = False,
    nearby: Mapping[str, Path],
    retry: Retry,
) -> Pulled:
    """Bring the files of a version into ``to``; what an earlier pull put there and the version does not have goes.

    Run again after a kill, it goes on where it was. ``nearby`` are files of this machine, {oid: path}, that may have what
    is wanted. Raises ConflictError, before anything is written, for files that differ and that no pull wrote, unless ``force``.
    """
    tree, root = found.tree, _root(to)
    record = _Record(home.cache / 'pulled', root)
    there = {name: _content_of(root / name, entry) for name, entry in tree.items()}
    wanted = [entry for name, entry in tree.items() if there[name] != entry.oid]
    _refuse_strangers(root, wanted, record, force=force)
    require_room(root, wanted, 'choose another --to')
    fetched = _write(repository, root, wanted, record, nearby, retry)
    removed = record.remove_others(tree) if not found.path else 0
    record.save({**record.files, **{entry.path: entry.oid for entry in tree.values()}})
    return Pulled(fetched, removed)


class _Record:
    """What pulls wrote into a folder: {path: oid}. Kept in the cache directory; losing it only makes pull more careful."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.root = root
        self._path = folder / f'{hashlib.sha256(os.fsencode(root)).hexdigest()[:24]}.json'
        self.files: dict[str, str] = {}
        with suppress(OSError, ValueError):
            found = json.loads(self._path.read_text('utf-8'))
            if isinstance(found, dict):
                self.files = {str(name): str(oid) for name, oid in found.items()}

    def wrote(self, name: str) -> bool:
        """Return whether the file is as a pull wrote it."""
        oid = self.files.get(name)
        return (
            oid is not None
            and _content_of(self.root / name, Entry(name, oid, 0, is_lfs=len(oid) == 64)) == oid
        )

    def remove_others(self, tree: Tree) -> int:
        """Remove the files that a pull wrote and ``tree`` does not have; returns how many there were."""
        gone = [name for name in self.files if name not in tree and self.wrote(name)]
        for name in gone:
            (self.root / name).unlink()
            with suppress(OSError):
                for parent in (self.root / name).parents:
                    if parent == self.root:
                        break
                    parent.rmdir()
        self.files = {name: oid for name, oid in self.files.items() if name in tree}
        return len(gone)

    def save(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)
        durable.write(self._path, json.dumps(self.files).encode())


def part_of(tree: Tree, path: str) -> Tree:
    """Return the files of ``tree`` that are or lie under ``path``; all for none."""
    wanted = path.strip('/')
    return {
        name: entry
        for name, entry in tree.items()
        if not wanted or name == wanted or name.startswith(f'{wanted}/')
    }


def refuse_escape(name: str, what: str) -> None:
    """A repository is made by others: no name in it may lead out of a folder or into a .git directory."""
    parts = name.split('/')
    if (
        any(
            part in ('', '.', '..') or part.lower() == '.git' or '\\' in part or '\0' in part
            for part in parts
        )
        or Path(name).is_absolute()
    ):
        raise errors.RemoteError(
            f'{what}: it has something named {name!r}, which leads out of the folder; nothing was written.'
        )


def _root(to: Path) -> Path:
    if to.exists() and not to.is_dir():
        raise errors.UsageError(f'--to {to}: a file is in the way. Name a folder.')
    to.mkdir(parents=True, exist_ok=True)
    return to.resolve()


def _content_of(path: Path, entry: Entry) -> str | None:
    """Return the oid that the file at ``path`` has when taken as ``entry`` is, None when there is no file."""
    try:
        if not path.is_file() or path.is_symlink():
            return None
        if entry.size and path.stat().st_size != entry.size:
            return ''
        with path.open('rb') as file:
            return hashlib.file_digest(file, 'sha256').hexdigest() if entry.is_lfs else blob_id(file.read())
    except OSError:
        return None


def _refuse_strangers(root: Path, wanted: Sequence[Entry], record: _Record, *, force: bool) -> None:
    strangers = [
        entry.path for entry in wanted if os.path.lexists(root / entry.path) and not record.wrote(entry.path)
    ]
    if strangers and not force:
        names = ', '.join(strangers[:5]) + (f' and {len(strangers) - 5} more' if len(strangers) > 5 else '')
        raise errors.ConflictError(
            f'{root}: {names}: there already, with other content that no pull wrote. '
            'Choose another --to, or overwrite with --force.'
        )


def require_room(folder: Path, wanted: Iterable[Entry], else_: str) -> None:
    """Raise HfmirrorError when the disk of ``folder`` has no room; ``else_`` is what a person can do but free some."""
    needed, free = sum(entry.size for entry in wanted), shutil.disk_usage(folder).free
    if needed > free:
        raise errors.HfmirrorError(
            f'{folder}: {output.human_size(needed)} are to be fetched and {output.human_size(free)} are free. '
            f'Free some space, or {else_}.'
        )


def _write(
    repository: Clone,
    root: Path,
    wanted: Sequence[Entry],
    record: _Record,
    nearby: Mapping[str, Path],
    retry: Retry,
) -> list[Entry]:
    def paths(entry: Entry) -> Paths:
        return Paths(root / beside(entry), root / entry.path)

    with output.progress('fetching', sum(entry.size for entry in wanted)) as shown:
        fetcher = Fetcher(repository, wanted, paths, nearby=nearby, shown=shown, retry=retry)
        for entry in wanted:
            make_parent(root, entry.path)
        for together in batches(wanted):
            fetcher.fetch(together)
            record.save({**record.files, **{entry.path: entry.oid for entry in together}})
    return fetcher.fetched


def batches(wanted: Sequence[Entry]) -> Iterator[Sequence[Entry]]:
    """Yield what is to be fetched together: many small files, then each large one alone."""
    small = [entry for entry in wanted if entry.size < _SMALL]
    for start in range(0, len(small), _TOGETHER):
        yield small[start : start + _TOGETHER]
    yield from ([entry] for entry in wanted if entry.size >= _SMALL)


def _require_there(objects: RemoteObjects, wanted: Sequence[Entry]) -> None:
    missing = objects.missing(wanted)
    if missing:
        names = ', '.join(entry.path for entry in missing[:5])
        raise errors.VerificationError(
            f'{names}: the remote has lost {output.count(len(missing), "object")} of this version. '
            'Push the folder it came from again, which sends what is missing.'
        )


def make_parent(root: Path, name: str) -> None:
    """Make the folder of a file below ``root``, which has no links in its path. Raises ConflictError for what is in its way."""
    parent = (root / name).parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise errors.ConflictError(f'{parent}: a file is where a folder has to be. Move it away.') from e
    if not parent.resolve().is_relative_to(root):
        raise errors.ConflictError(f'{parent}: a link that leads out of {root}. Remove it.')


class Paths(NamedTuple):
    """Where a file is written until it is whole, and where it is then."""

    part: Path
    final: Path


class Fetcher:
    """Writes the files ``wanted`` of a version beside the paths that ``paths`` tells, and renames them when they are whole.

    Raises VerificationError, before anything is written, when the remote has lost one.
    """

    def __init__(
        self,
        repository: Clone,
        wanted: Sequence[Entry],
        paths: Callable[[Entry], Paths],
        *,
        nearby: Mapping[str, Path],
        shown: output.Progress,
        retry: Retry,
    ) -> None:
        self.paths, self.nearby, self.shown, self.retry = paths, nearby, shown, retry
        self.objects, self.blobs = objects_of(repository), repository.blobs
        lacking = [entry for entry in wanted if entry.oid not in nearby]
        patiently(retry, lambda _: _require_there(self.objects, lacking))
        self.plain: dict[str, bytes] = {}  # by oid: the small files of one batch
        self.fetched: list[Entry] = []  # not those that a file nearby had

    def fetch(self, entries: Sequence[Entry]) -> None:
        """Fetch some files in parallel; all are on disk under their names when this returns."""
        if not entries:
            return
        self.plain = self.blobs([entry.oid for entry in entries if not entry.is_lfs])
        parts = [self._part(entries[0])] if len(entries) == 1 else self._parts(entries)
        durable.flush(parts)
        finals = [self.paths(entry).final for entry in entries]
        for part, final in zip(parts, finals, strict=True):
            if final.is_dir() and not final.is_symlink():
                raise errors.ConflictError(f'{final}: a folder is where a file has to be. Move it away.')
            os.replace(part, final)
        durable.flush(sorted({final.parent for final in finals}))

    def _parts(self, entries: Sequence[Entry]) -> list[Path]:
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                return list(pool.map(self._part, entries))
        except Exception:
            # They are small: fetching them again costs nothing, and the folder stays clean.
            for entry in entries:
                self.paths(entry).part.unlink(missing_ok=True)
            raise

    def _part(self, entry: Entry) -> Path:
        part = self.paths(entry).part
        if part.is_symlink():  # not ours, and never written through
            part.unlink()
        if not entry.is_lfs:
            part.write_bytes(self.plain[entry.oid])
            self.shown.advance(entry.size)
            if entry.oid not in self.nearby:
                self.fetched.append(entry)
        elif not self._copied(entry, part):
            self._tried(entry, part)
            self.fetched.append(entry)
        return part

    def _copied(self, entry: Entry, part: Path) -> bool:
        """Take the content of a file nearby, when it is the one that is wanted. Never a link: people edit their files."""
        source = self.nearby.get(entry.oid)
        if source is None:
            return False
        with suppress(OSError):
            if copy_of(source, part) == entry.oid:
                self.shown.advance(entry.size)
                return True
        part.unlink(missing_ok=True)
        return False

    def _tried(self, entry: Entry, part: Path) -> None:
        def once(_: int) -> None:
            try:
                self._download(entry, part)
            except (errors.NetworkError, http.client.HTTPException, ConnectionError, TimeoutError) as e:
                raise errors.NetworkError(f'{entry.path}: {e}', getattr(e, 'retry_after_s', None)) from e

        try:
            patiently(self.retry, once)
        except errors.NetworkError as e:
            raise errors.NetworkError(f'{e} Run the same command again to go on from there.') from e

    def _download(self, entry: Entry, part: Path) -> None:
        digest = hashlib.sha256()
        have = _resume(part, digest, entry.size) if self.retry.resumes else 0
        with (
            self.objects.open(entry, offset=have) as (stream, offset),
            part.open('r+b' if have else 'wb') as file,
        ):
            if offset != have or not have:  # a part that was whole was read too, and thrown away
                digest, have = hashlib.sha256(), 0
            file.seek(have)
            file.truncate()
            self.shown.advance(have)
            _copy(stream, file, digest, entry.size - have, self.shown)
        if digest.hexdigest() != entry.oid:
            if part.stat().st_size < entry.size:
                raise ConnectionError('the connection ended early.')
            part.unlink()
            raise errors.VerificationError(
                f'{entry.path}: what the remote sent is not what was released (sha256 {digest.hexdigest()[:12]}, '
                f"expected {entry.oid[:12]}); it was thrown away. See 'hfmirror verify --content'."
            )


def beside(entry: Entry) -> str:
    """Return the path under which a file is written until it is whole; another for each file and content."""
    folder, slash, name = entry.path.rpartition('/')
    mark = hashlib.sha256(os.fsencode(f'{entry.path}\0{entry.oid}')).hexdigest()[:12]
    return f'{folder}{slash}.{name[:40]}.{mark}.part'


def copy_of(source: Path, part: Path) -> str:
    """Make ``part`` a copy of ``source``, sharing its blocks where the file system can; returns the sha256 of the copy."""
    if reflink(source, part):
        with part.open('rb', buffering=0) as written:
            return copy_hashed(written, None)
    with source.open('rb', buffering=0) as reading, part.open('wb', buffering=0) as writing:
        return copy_hashed(reading, writing)


def _resume(part: Path, digest: hashlib._Hash, size: int) -> int:
    """Feed what an earlier run fetched to ``digest`` and return how many bytes it is."""
    have = 0
    with suppress(FileNotFoundError), part.open('rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
            have += len(block)
    if 0 < have < size:
        return have
    part.unlink(missing_ok=True)
    return 0


def _copy(
    stream: IO[bytes], file: IO[bytes], digest: hashlib._Hash, length: int, shown: output.Progress
) -> None:
    """Copy at most ``length`` bytes: a server that sends more is not believed."""
    while length > 0 and (block := stream.read(min(BLOCK, length))):
        digest.update(block)
        file.write(block)
        length -= len(block)
        shown.advance(len(block))
