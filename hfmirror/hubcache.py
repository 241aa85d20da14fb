"""How do the files of a version come to where huggingface_hub looks for them? As that library itself would have put them there.

::

    <HF_HUB_CACHE>/CACHEDIR.TAG
    <HF_HUB_CACHE>/.locks/models--me--x/<etag>.lock
    <HF_HUB_CACHE>/models--me--x/blobs/<etag>              a file's content; the etag is its sha256 in LFS, else its blob id
    <HF_HUB_CACHE>/models--me--x/snapshots/<commit>/a.bin  -> ../../blobs/<etag>; the content itself where there are no links
    <HF_HUB_CACHE>/models--me--x/trees/<commit>.json       what the version has: tells a whole snapshot from a part of one
    <HF_HUB_CACHE>/models--me--x/refs/v1.0.0               the commit

The library trusts what it finds there, so each name appears last of what it stands for: a content when it is checked and on
disk, then the links to it, then the ref. What is half written has a name that ``hf cache`` knows as such and removes.
"""

from __future__ import annotations

import glob
import json
import os
import secrets
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from hfmirror import durable, errors, output, pulling
from hfmirror.clone import Clone
from hfmirror.copying import copy_hashed
from hfmirror.delivery import Retry
from hfmirror.gitcmd import git_bytes
from hfmirror.pulling import Found, Paths
from hfmirror.target import Target
from hfmirror.tree import Entry, Tree, blob_id

_TREE_FORMAT = 1
_CONFIG_MAX = 1024 * 1024  # bytes of a config.json that is read
_TAG = """Signature: 8a477f597d28d172789f06886806bc55
# This file marks a cache directory: https://bford.info/cachedir/
"""


class HubCache:
    """The part of the cache below ``root`` that is one repository's. Make one with ``cache_of``."""

    def __init__(self, root: Path, folder: str) -> None:
        self.root, self.home, self.locks = root, root / folder, root / '.locks' / folder

    def snapshot(self, commit: str) -> Path:
        """Return the folder in which the files of a commit have their own names."""
        return self.home / 'snapshots' / commit

    def paths(self, entry: Entry) -> Paths:
        """Return where a content is written, and where it lies."""
        return Paths(
            self.home / 'blobs' / f'{entry.oid}.hfmirror.incomplete', self.home / 'blobs' / entry.oid
        )

    def files(self, found: Found) -> dict[str, Path]:
        """Return {oid: path} of what seems to be there of a version; only the sizes are looked at."""
        there = {}
        for entry in found.tree.values():
            for path in (self.paths(entry).final, self.snapshot(found.commit) / entry.path):
                with suppress(OSError):
                    if path.is_file() and path.stat().st_size == entry.size:
                        there[entry.oid] = path
        return there

    @contextmanager
    def locked(self, entries: Iterable[Entry]) -> Iterator[None]:
        """Hold the library's own locks on contents. In one order, so that no two who do this wait for each other."""
        from huggingface_hub.utils._fixes import WeakFileLock

        self.locks.mkdir(parents=True, exist_ok=True)
        with ExitStack() as held:
            for oid in sorted({entry.oid for entry in entries}):
                held.enter_context(WeakFileLock(self.locks / f'{oid}.lock'))
            yield

    def write(self, path: Path, content: str) -> None:
        """Write a small file, as readable as the umask lets it be; one with that content stays as it is.

        It is begun in the repository's folder: the library takes each file below ``refs`` for a ref.
        """
        with suppress(OSError, UnicodeDecodeError):
            if path.read_text('utf-8') == content:
                return
        temporary = self.home / f'.{secrets.token_hex(8)}.tmp'
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(content, 'utf-8')
            durable.flush([temporary])
            os.replace(temporary, path)
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as e:
            raise errors.ConflictError(f'{path}: something else is in the way. Remove it.') from e
        finally:
            temporary.unlink(missing_ok=True)
        durable.flush([path.parent])


def cache_of(target: Target, folder: str | None = None) -> HubCache:
    """Return the cache of a repository: in ``folder``, else where huggingface_hub looks: ``HF_HUB_CACHE``, or below ``HF_HOME``.

    Raises UsageError when a file is there.
    """
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(folder or constants.HF_HUB_CACHE).expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as e:
        raise errors.UsageError(
            f'--to-cache: {root}: a file is in the way. Set HF_HUB_CACHE to another place.'
        ) from e
    return HubCache(root, repo_folder_name(repo_id=target.repo_id, repo_type=target.repo_type))


def pull(
    repository: Clone, found: Found, cache: HubCache, *, nearby: Mapping[str, Path], retry: Retry
) -> list[Entry]:
    """Have the files of a version in the cache; returns those whose bytes were fetched. ``nearby`` is as for ``pulling.pull``.

    A content there that is not what its name says is replaced.
    """
    rows, snapshot = _rows(repository, found.commit), cache.snapshot(found.commit)
    tree = _with_links(repository.tree(found.commit), rows)
    for name in (found.tag, *tree):
        pulling.refuse_escape(name, str(repository.target))
    lacking = _lacking(snapshot, pulling.part_of(tree, found.path))
    wanted = [same[0] for same in lacking if not _is_there(cache.paths(same[0]).final, same[0])]
    pulling.require_room(cache.root, wanted, 'set HF_HUB_CACHE to another place')
    with output.progress('fetching', sum(entry.size for entry in wanted)) as shown:
        fetcher = pulling.Fetcher(repository, wanted, cache.paths, nearby=nearby, shown=shown, retry=retry)
        _begin(cache, snapshot, _listing(tree, rows))
        _fill(cache, snapshot, lacking, fetcher)
    for name in (found.tag, *([repository.target.branch] if found.is_head else [])):
        cache.write(cache.home / 'refs' / name, found.commit)
    return fetcher.fetched


def python_line(target: Target, found: Found, snapshot: Path, folder: str | None = None) -> str:
    """Return the line of Python that uses what was pulled, of transformers when it is a model for it.

    ``folder`` is the cache when it is not where the library looks by itself.
    """
    where = f', cache_dir={folder!r}' if folder else ''
    if target.repo_type == 'model' and not found.path and _names_a_model_type(snapshot / 'config.json'):
        return f'AutoModel.from_pretrained({target.repo_id!r}, revision={found.tag!r}{where})'
    kind = f', repo_type={target.repo_type!r}' if target.repo_type != 'model' else ''
    if found.path in found.tree:
        return f'hf_hub_download({target.repo_id!r}, {found.path!r}{kind}, revision={found.tag!r}{where})'
    part = f', allow_patterns={glob.escape(found.path) + "/*"!r}' if found.path else ''
    return f'snapshot_download({target.repo_id!r}{kind}, revision={found.tag!r}{part}{where})'


def _names_a_model_type(path: Path) -> bool:
    with suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= _CONFIG_MAX:
            found = json.loads(path.read_bytes())
            return isinstance(found, dict) and isinstance(found.get('model_type'), str)
    return False


class _Row(NamedTuple):
    """An entry of a commit, as git lists it."""

    mode: str
    blob: str
    size: int


def _rows(repository: Clone, commit: str) -> dict[str, _Row]:
    listing = git_bytes('ls-tree', '-r', '-z', '--long', '--full-tree', commit, cwd=repository.work)
    rows = {}
    for line in listing.decode('utf-8', 'surrogateescape').split('\0')[:-1]:
        facts, _, path = line.partition('\t')
        mode, _, blob, size = facts.split()
        rows[path] = _Row(mode, blob, int(size) if size != '-' else 0)
    return rows


def _with_links(tree: Tree, rows: Mapping[str, _Row]) -> Tree:
    """Return the tree as a Hub gives it out: a symbolic link is a file with the text of where it leads."""
    links = {
        path: Entry(path, row.blob, row.size, is_lfs=False)
        for path, row in rows.items()
        if row.mode == '120000'
    }
    return {**tree, **links}


def _listing(tree: Tree, rows: Mapping[str, _Row]) -> str:
    """Return a commit's files as the library keeps them, which has no such function in public."""
    files = {}
    for path, entry in sorted(tree.items()):
        files[path] = {'size': entry.size, 'blob_id': rows[path].blob}
        if entry.is_lfs:
            files[path] |= {'lfs_sha256': entry.oid, 'lfs_size': entry.size}
    return json.dumps({'format_version': _TREE_FORMAT, 'files': files}, indent=1)


def _lacking(snapshot: Path, tree: Tree) -> list[list[Entry]]:
    """Return the files that are not under their names in a snapshot, those of one content together."""
    lacking: dict[str, list[Entry]] = defaultdict(list)
    for entry in tree.values():
        if not _is_there(snapshot / entry.path, entry):
            lacking[entry.oid].append(entry)
    return list(lacking.values())


def _is_there(path: Path, entry: Entry) -> bool:
    """Return whether the file at ``path``, or where a link there leads, has the content of ``entry``."""
    try:
        if not path.is_file() or path.stat().st_size != entry.size:
            return False
        with path.open('rb', buffering=0) as file:
            return (copy_hashed(file, None) if entry.is_lfs else blob_id(file.read())) == entry.oid
    except OSError:
        return False


def _begin(cache: HubCache, snapshot: Path, listing: str) -> None:
    """Make what a repository without any file yet has. The library takes one without snapshots for damaged."""
    for folder in (snapshot, cache.home / 'blobs'):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as e:
            raise errors.ConflictError(f'{folder}: a file is where a folder has to be. Remove it.') from e
    tag, tree = cache.root / 'CACHEDIR.TAG', cache.home / 'trees' / f'{snapshot.name}.json'
    if not tag.exists():
        cache.write(tag, _TAG)
    if not tree.exists():  # the library's own may know more
        cache.write(tree, listing)


def _fill(
    cache: HubCache, snapshot: Path, lacking: Iterable[Sequence[Entry]], fetcher: pulling.Fetcher
) -> None:
    named = {same[0].oid: same for same in lacking}
    for together in pulling.batches([same[0] for same in named.values()]):
        with cache.locked(together):
            # Only now: another process may have been quicker.
            new = [entry for entry in together if not _is_there(cache.paths(entry).final, entry)]
            fetcher.fetch(new)
            for entry in together:
                _name(cache, snapshot, named[entry.oid], is_new=entry in new)
    durable.flush(sorted({(snapshot / entry.path).parent for same in named.values() for entry in same}))


def _name(cache: HubCache, snapshot: Path, same: Sequence[Entry], *, is_new: bool) -> None:
    """Give a content the names that it has in a snapshot: links, or where there are none, copies, as the library does."""
    from huggingface_hub.file_download import are_symlinks_supported

    part, blob = cache.paths(same[0])
    pointers = [_pointer(snapshot, entry.path) for entry in same]
    if are_symlinks_supported(cache.home):
        for pointer in pointers:
            _link(pointer, os.path.relpath(blob, pointer.parent))
        return
    for pointer in pointers[:-1] if is_new else pointers:
        pulling.copy_of(blob, part)
        durable.flush([part])
        os.replace(part, pointer)
    if is_new:
        os.replace(blob, pointers[-1])


def _pointer(snapshot: Path, name: str) -> Path:
    pointer = snapshot / name
    pulling.make_parent(snapshot.resolve(), name)
    if pointer.is_dir() and not pointer.is_symlink():
        raise errors.ConflictError(f'{pointer}: a folder is where a file has to be. Remove it.')
    return pointer


def _link(pointer: Path, to: str) -> None:
    if pointer.is_symlink() and os.readlink(pointer) == to:
        return  # to a content that was damaged, and is whole again
    pointer.unlink(missing_ok=True)
    pointer.symlink_to(to)
