"""How does a repository in an archive answer as a git remote does? Through a mirror, brought up to date and sent from.

In the archive, below the repository's folder::

    README.txt                  what this is, and how to get everything back without hfmirror
    objects/9f/86/9f86d0…       each LFS object once, under its sha256
    history/<sha256>.bundle     git bundles; the first of a chain is whole, each other one has what was new
    versions/v1.0.0.json        the manifest of a version
    states/00000001.json        refs, bundles and manifests after each push; the newest one counts

A file that a state names is never written again or removed while that state counts. A state is created only where there is
none of its number: of two pushes at once one comes second, and goes on top as with git.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from hfmirror import errors, output
from hfmirror.archive import state as states
from hfmirror.archive.guide import README, guide
from hfmirror.archive.mirror import Mirror
from hfmirror.archive.state import Bundle, State
from hfmirror.archive.storage import Storage, storage_of
from hfmirror.copying import BLOCK
from hfmirror.gitcmd import GitFailed
from hfmirror.statuses import LASTING
from hfmirror.target import Target
from hfmirror.worktree import RemoteMoved

CHAIN_MAX = 64  # bundles, after which a whole one begins a new chain


class Archive:
    """A repository in an archive, and its mirror at ``path``. Used under the lock of the clone that the mirror is in."""

    def __init__(self, target: Target, path: Path) -> None:
        self.target = target
        self.mirror = Mirror(path, target)
        self._storage: Storage | None = None

    @property
    def storage(self) -> Storage:
        """Where the archive's files are; connected when it is first asked for."""
        if self._storage is None:
            self._storage = storage_of(self.target)
        return self._storage

    def close(self) -> None:
        """End the connections; what is asked afterwards makes new ones."""
        if self._storage is not None:
            self._storage.close()
            self._storage = None

    def refresh(self) -> State | None:
        """Bring the mirror to the newest state, and return that; None of a repository that nothing was pushed to yet."""
        self.mirror.ensure()
        known, number = self.mirror.remembered(), self.newest_known()
        found = self._state(number) if number is not None else None
        if known is not None and found is not None and found.number == known.number and found != known:
            raise self._went_back(known, f'another state {found.number}, of {found.date}')
        if found is None:
            self.rewind()
            return None
        self._fetch(found, known)
        try:
            self.mirror.set_refs(found.refs)
        except GitFailed as e:
            raise errors.RemoteError(
                f'{self.storage.where}/{found.name}: git refuses its refs: {e.stderr}'
            ) from e
        if found != known:
            self.mirror.remember(found)
        return found

    def newest_known(self) -> int | None:
        """Return the number of the newest state, None when there is none.

        Raises when the archive is not what the mirror was made of: nothing is begun anew beside a disk that is not mounted.
        """
        known, number = self.mirror.remembered(), states.newest(self.storage.sizes('states'))
        if known is None or (number is not None and number >= known.number):
            return number
        raise self._went_back(known, None if number is None else f'state {number} as its newest')

    def _went_back(self, known: State, what: str | None) -> errors.HfmirrorError:
        seen = f'{self.storage.where}: had state {known.number} of {known.date} when it was last seen, and now has'
        forget = f'If it is meant to be so, remove {self.mirror.path.parent}, which remembers the other.'
        if what is None:
            return errors.NetworkError(
                f'{seen} nothing. Is the right disk mounted, and the address right? {forget}', LASTING
            )
        return errors.ConflictError(f'{seen} {what}: an older copy, or another archive. {forget}')

    def _state(self, number: int) -> State:
        name = states.name_of(number)
        content = self.storage.read(name, states.STATE_MAX)
        if content is None:
            raise errors.NetworkError(f'{self.storage.where}/{name}: is listed, and cannot be read.')
        return states.read_state(content, number, f'{self.storage.where}/{name}')

    def _fetch(self, found: State, known: State | None) -> None:
        """Have all that a state names in the mirror, from as few bundles as are needed."""
        wanted, have = found.refs.values(), set(known.bundles) if known else set()
        if self.mirror.has_all(wanted):
            return
        try:
            for bundle in found.bundles:
                if bundle not in have:
                    self._take(bundle)
        except GitFailed as e:
            output.detail(f'{self.mirror.path}: {e}')
        if self.mirror.has_all(wanted):
            return
        self._fetch_anew(found)

    def _fetch_anew(self, found: State) -> None:
        """Make the mirror, which has lost something, from all bundles of a state."""
        output.detail(f'{self.mirror.path}: damaged; building it anew')
        known = self.mirror.remembered()
        self.mirror.clear()
        if known is not None:
            self.mirror.remember(known)  # an older copy of the archive is noticed all the same
        try:
            for bundle in found.bundles:
                self._take(bundle)
        except GitFailed as e:
            raise errors.VerificationError(
                f'{self.storage.where}/{found.name}: git cannot take its bundles: {e.stderr}'
            ) from e
        if self.mirror.has_all(found.refs.values()):
            return
        raise errors.VerificationError(
            f'{self.storage.where}/{found.name}: its bundles do not hold the commits that it names. '
            'Push again from a machine that has pushed here before, or restore the archive from a copy.'
        )

    def _take(self, bundle: Bundle) -> None:
        """Have the objects of a bundle in the mirror. Raises GitFailed when git refuses them, or lacks what they build on."""
        with TemporaryDirectory(dir=self.mirror.path) as folder:
            path = Path(folder) / 'taken.bundle'
            with path.open('wb') as file:
                if self._read(bundle, file.write) != bundle.sha256:
                    raise errors.VerificationError(
                        f'{self.storage.where}/{bundle.name}: its content is not what its name says, so git did not get it. '
                        'Restore it from a copy.'
                    )
            self.mirror.take(path)

    def _read(self, bundle: Bundle, write: Callable[[bytes], object] | None = None) -> str:
        """Return the sha256 of a bundle's first ``size`` bytes as they are in the archive; ``write`` gets them too."""
        digest, left = hashlib.sha256(), bundle.size
        with self.storage.open(bundle.name, size=bundle.size) as stream:
            while left > 0 and (block := stream.read(min(BLOCK, left))):
                digest.update(block)
                left -= len(block)
                if write is not None:
                    write(block)
        return digest.hexdigest()

    def rewind(self) -> None:
        """Have the refs of the mirror as the archive had them when it was last asked: a failed push may have moved some."""
        known = self.mirror.remembered()
        self.mirror.set_refs(known.refs if known else {})

    def publish(self) -> None:
        """Send what the mirror has and the newest state does not. Raises RemoteMoved when somebody else was first."""
        known, refs = self.mirror.remembered(), self.mirror.refs()
        if refs == (known.refs if known else {}):
            return
        if self.newest_known() != (known.number if known else None):
            raise self._moved()
        if known is None:
            self.storage.create(README, guide(self.target).encode())
        bundles = self._send_history(refs, known)
        new = State(
            known.number + 1 if known else 1,
            secrets.token_hex(16),
            f'{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}',
            refs,
            bundles,
            self._send_manifests(refs, known),
        )
        self._create(new)
        self.mirror.remember(new)
        self._remove(sorted(set(known.versions.values()) - set(new.versions.values())) if known else ())

    def _remove(self, names: Collection[str]) -> None:
        """Remove what no state names any more. It counts no longer, so that what cannot be removed is no failure."""
        for name in names:
            try:
                self.storage.remove(name)
            except errors.HfmirrorError as e:
                output.warn(
                    f'{self.storage.where}/{name}: is not needed any more, and cannot be removed ({e})'
                )

    def _create(self, new: State) -> None:
        """Make a state the newest one. What is there is looked at: an answer may be lost, and not every service keeps its word."""
        content = states.write_state(new, self.target)
        self.storage.create(new.name, content)
        if self.storage.read(new.name, states.STATE_MAX) != content:
            raise self._moved()

    def _moved(self) -> RemoteMoved:
        return RemoteMoved(f'{self.target}: somebody else pushed meanwhile. Push again to go on top of it.')

    def _send_history(self, refs: dict[str, str], known: State | None) -> tuple[Bundle, ...]:
        """Send what is new as a bundle, or everything when the chain is long or not whole; return the chain."""
        chain = known.bundles if known else ()
        there = self.storage.sizes('history') if chain else {}
        is_whole = all(there.get(bundle.name) == bundle.size for bundle in chain)
        if len(chain) >= CHAIN_MAX or not is_whole:
            chain, known = (), None
        before = known.refs if known else {}
        wanted = [ref for ref, oid in refs.items() if before.get(ref) != oid]
        with TemporaryDirectory(dir=self.mirror.path) as folder:
            path = Path(folder) / 'new.bundle'
            if not self.mirror.bundle(path, wanted, set(before.values())):
                return chain
            with path.open('rb') as file:
                bundle = Bundle(path.stat().st_size, hashlib.file_digest(file, 'sha256').hexdigest())
            if self.storage.size(bundle.name) != bundle.size:
                self.storage.put(
                    bundle.name, path, sha256=bundle.sha256, size=bundle.size, advance=lambda _: None
                )
                self.storage.settle()
        return (*chain, bundle)

    def _send_manifests(self, refs: dict[str, str], known: State | None) -> dict[str, str]:
        """Send the manifests of tags that are new or moved; return {tag: its manifest} of all."""
        names: dict[str, str] = {}
        for ref, oid in refs.items():
            tag = ref.removeprefix('refs/tags/')
            if tag == ref:
                continue
            if known and known.refs.get(ref) == oid:
                names |= {tag: known.versions[tag]} if tag in known.versions else {}
                continue
            content = self.manifest(tag)
            if content is not None:
                names[tag] = self._send_manifest(tag, oid, content)
        return names

    def manifest(self, tag: str) -> bytes | None:
        """Return the manifest that a tag of the mirror has, None when it names no commit."""
        found = self.mirror.tag(tag)
        return states.manifest(found, self.mirror.tree(found.commit), self.target) if found else None

    def _send_manifest(self, tag: str, oid: str, content: bytes) -> str:
        # A push that came second, or was killed, may have left one of that name for another tag: then this one's has a mark.
        for name in (states.manifest_name(tag), states.manifest_name(tag, oid[:12])):
            if self.storage.create(name, content) or self.storage.read(name, states.MANIFEST_MAX) == content:
                return name
        raise errors.RemoteError(f'{self.storage.where}/{name}: is there with another content. Remove it.')

    def wrong(self, tag: str, *, content: bool) -> list[tuple[str, str]]:
        """Return (name, missing or different) of the archive's files that a version needs besides its objects.

        With ``content`` everything is read again. ``refresh`` comes before.
        """
        known = self.mirror.remembered()
        if known is None:
            return []
        found = [*self._wrong_bundles(known.bundles, content=content), *self._wrong_manifest(tag, known)]
        if found:
            output.detail(f'{self.target}: looked at {known.name}')
        return found

    def _wrong_bundles(self, bundles: Collection[Bundle], *, content: bool) -> list[tuple[str, str]]:
        there = self.storage.sizes('history')
        found = []
        for bundle in bundles:
            if bundle.name not in there:
                found.append((bundle.name, 'missing'))
            elif there[bundle.name] != bundle.size or (content and self._read(bundle) != bundle.sha256):
                found.append((bundle.name, 'different'))
        return found

    def _wrong_manifest(self, tag: str, known: State) -> list[tuple[str, str]]:
        name = known.versions.get(tag)
        meant = self.manifest(tag) if name else None
        if name is None or meant is None:
            return []
        there = self.storage.read(name, states.MANIFEST_MAX)
        if there is None:
            return [(name, 'missing')]
        return [] if there == meant else [(name, 'different')]
