"""Which repositories does this Hub have? Bare git repositories ``<root>/<models|datasets|spaces>/<namespace>/<name>.git``.

What git does not keep of a repository is in a file ``hub.json`` inside it: whether it is private, and when it was made.
One without that file, as a push by path leaves it, is public. What was renamed is found by ``<root>/renamed.json``, see
renames.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from hfmirror import durable, refs
from hfmirror.server.answers import Elsewhere, Problem, bad_request, no_repository
from hfmirror.server.names import KINDS, checked_repo_id
from hfmirror.server.repos.renames import Renames

_ABANDONED_S = 24 * 3600  # after which nobody makes a repository any more
_REMAINS = frozenset(('lfs', 'xet', 'discussions', 'hub.json'))
FOLDERS = {repo_type: kind for kind, repo_type in KINDS.items()}


class Repo(NamedTuple):
    """One repository: where it is, and what it is called in its own spelling."""

    path: Path
    repo_type: str
    repo_id: str

    @property
    def namespace(self) -> str:
        """The user or organisation it belongs to."""
        return self.repo_id.partition('/')[0]

    @property
    def kind(self) -> str:
        """The word for its type in URLs of the API: ``models``."""
        return FOLDERS[self.repo_type]

    @property
    def web_path(self) -> str:
        """Its path in URLs for people and git, without a leading slash."""
        return self.repo_id if self.repo_type == 'model' else f'{self.kind}/{self.repo_id}'

    @property
    def objects(self) -> Path:
        """The directory of its LFS objects, as ``ObjectStore`` wants it."""
        return self.path / 'lfs'

    @property
    def _is_there(self) -> bool:
        return (self.path / 'HEAD').is_file()

    @property
    def private(self) -> bool:
        """Whether only members of its namespace see it."""
        return bool(self.settings().get('private', False))

    def settings(self) -> Mapping[str, Any]:
        """Return what ``hub.json`` holds, ``{}`` when there is none. It is private when that cannot be read, or it is gone."""
        try:
            found = json.loads((self.path / 'hub.json').read_bytes())
        except FileNotFoundError:
            return {} if self._is_there else {'private': True}
        except (OSError, ValueError, RecursionError):
            return {'private': True}
        return found if isinstance(found, dict) else {'private': True}

    def change_settings(self, changes: Mapping[str, Any]) -> None:
        """Write changed settings. Raises Problem 404 when the repository was deleted or moved meanwhile."""
        # Not one that is moved just now: settings that are not found are those of a public repository.
        with _changing(self.path.parent if self.path.name.startswith('.') else self.path.parents[2]):
            if not self._is_there:
                raise no_repository()
            durable.write(
                self.path / 'hub.json', json.dumps({**self.settings(), **changes}, indent=1).encode()
            )

    @property
    def created_at(self) -> datetime:
        """When it was made; of one that was pushed by path, when its directory was."""
        try:
            return datetime.fromisoformat(str(self.settings()['createdAt']))
        except (KeyError, ValueError):
            return datetime.fromtimestamp((self.path / 'config').stat().st_mtime, UTC)

    @property
    def changed_at(self) -> datetime:
        """When its main branch was moved last, as far as the files of its refs tell; cheap."""
        for name in ('refs/heads/main', 'packed-refs', 'HEAD'):
            with suppress(OSError):
                return datetime.fromtimestamp((self.path / name).stat().st_mtime, UTC)
        return self.created_at

    @property
    def identifier(self) -> str:
        """The 24 hex digits that the Hub gives to each repository."""
        return hashlib.sha256(f'{self.kind}/{self.repo_id}'.encode()).hexdigest()[:24]


class Repositories:
    """All repositories below a root."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._renames = Renames(self._root / 'renamed.json')

    def find(self, repo_type: str, namespace: str, name: str) -> Repo:
        """Return a repository. Upper and lower case are one, as on the Hub.

        Raises Elsewhere when it has another name now, Problem 404 when there is none.
        """
        try:
            repo_id = checked_repo_id(namespace, name)
        except Problem as e:
            raise no_repository() from e
        found = self._at(repo_type, repo_id) or self._spelled_otherwise(repo_type, repo_id)
        if found is not None:
            return found
        for renamed in self._renames.followed(FOLDERS[repo_type], repo_id):
            if self._at(repo_type, renamed):
                raise Elsewhere(renamed)
        raise no_repository()

    def all(self, repo_type: str) -> Iterator[Repo]:
        """Yield every repository of a type, ordered by its path."""
        for namespace in _folders(self._root / FOLDERS[repo_type]):
            for path in _folders(namespace):
                repo = self._at(repo_type, f'{namespace.name}/{path.name.removesuffix(".git")}')
                if path.name.endswith('.git') and repo is not None:
                    yield repo

    def create(
        self,
        repo_type: str,
        repo_id: str,
        settings: Mapping[str, Any],
        *,
        fill: Callable[[Repo], None] | None = None,
    ) -> Repo:
        """Make a new repository; ``fill`` puts into it what it has from the start. Raises Problem 409 for a name that is taken.

        A kill leaves all of it, or nothing that is seen.
        """
        namespace, _, name = repo_id.partition('/')
        checked_repo_id(namespace, name)
        self._refuse_taken(repo_type, repo_id)
        aside = Repo(self._root / f'.new-{secrets.token_hex(8)}', repo_type, repo_id)
        try:
            refs.create_bare(aside.path, 'main')
            aside.change_settings({'createdAt': datetime.now(UTC).isoformat(), **settings})
            if fill is not None:
                fill(aside)
            durable.flush([aside.path, *aside.path.rglob('*')])
            return self._placed(aside)
        finally:
            shutil.rmtree(aside.path, ignore_errors=True)

    def _placed(self, aside: Repo) -> Repo:
        """Return a whole repository at its place."""
        repo = aside._replace(path=self._path(aside.repo_type, aside.repo_id))
        with _changing(self._root):
            self._refuse_taken(repo.repo_type, repo.repo_id)
            self._rename(aside.path, repo.path)
            self._renames.forget(repo.kind, repo.repo_id)
        return repo

    def delete(self, repo: Repo) -> None:
        """Remove a repository with all it holds. A kill leaves it whole, or gone."""
        away = self._root / f'.deleted-{secrets.token_hex(8)}'
        with _changing(self._root):
            self._rename(repo.path, away)
            durable.flush([repo.path.parent])
            self._renames.forget_target(repo.kind, repo.repo_id)
        shutil.rmtree(away, ignore_errors=True)

    def move(self, repo: Repo, repo_id: str) -> Repo:
        """Give a repository another name; the old one leads to it. Raises Problem 409 when the new one is taken."""
        namespace, _, name = repo_id.partition('/')
        checked_repo_id(namespace, name)
        new = Repo(self._path(repo.repo_type, repo_id), repo.repo_type, repo_id)
        with _changing(self._root):
            if repo_id.lower() != repo.repo_id.lower() or repo_id == repo.repo_id:
                self._refuse_taken(repo.repo_type, repo_id)
            # First the sign, then the move: after a kill between the two the old name is found at the old place.
            self._renames.remember(repo.kind, repo.repo_id, repo_id)
            self._rename(repo.path, new.path)
            durable.flush([repo.path.parent])
            self._renames.forget(repo.kind, repo_id)
        return new

    def sweep(self) -> None:
        """Remove what killed deletions and creations left, and uploads to deleted repositories; what is being made stays."""
        abandoned = [path for path in self._root.glob('.new-*') if _age_s(path) > _ABANDONED_S]
        for path in [*self._root.glob('.deleted-*'), *abandoned]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self._without_repository():
            if _age_s(path) > _ABANDONED_S:
                with _changing(self._root):
                    self._put_away_remains(path)

    def _without_repository(self) -> Iterator[Path]:
        for kind in FOLDERS.values():
            for namespace in _folders(self._root / kind):
                if namespace.resolve() == namespace:
                    yield from (
                        path
                        for path in _folders(namespace)
                        if path.name.endswith('.git') and not (path / 'HEAD').exists()
                    )

    def _rename(self, old: Path, new: Path) -> None:
        """Move a repository. Raises Problem when it is gone, when something else is there, or the way leads out of the root."""
        new.parent.mkdir(parents=True, exist_ok=True)
        if new.parent.resolve() != new.parent:
            raise bad_request(f'{new.parent.name} leads out of the Hub and takes no repository')
        self._put_away_remains(new)
        try:
            os.rename(old, new)
        except FileNotFoundError as e:
            raise no_repository() from e
        except OSError as e:
            if e.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise Problem(409, f'{new.parent.name}/{new.name} is there already') from e
            raise
        durable.flush([new.parent, new.parent.parent])

    def _put_away_remains(self, path: Path) -> None:
        """Remove what an upload that went on after a deletion made there: a folder of ours, and no repository."""
        if path.is_symlink() or not path.is_dir() or not set(os.listdir(path)) <= _REMAINS:
            return
        away = self._root / f'.deleted-{secrets.token_hex(8)}'
        os.rename(path, away)
        shutil.rmtree(away, ignore_errors=True)

    def _path(self, repo_type: str, repo_id: str) -> Path:
        return self._root / FOLDERS[repo_type] / f'{repo_id}.git'

    def _at(self, repo_type: str, repo_id: str) -> Repo | None:
        kind = f'{self._root}/{FOLDERS[repo_type]}'
        namespace = f'{kind}/{repo_id.partition("/")[0]}'
        path = f'{kind}/{repo_id}.git'
        # A symbolic link could lead out of the root, and who writes to the disk can make one.
        if not os.path.isfile(f'{path}/HEAD') or any(map(os.path.islink, (kind, namespace, path))):
            return None
        return Repo(Path(path), repo_type, repo_id)

    def _spelled_otherwise(self, repo_type: str, repo_id: str) -> Repo | None:
        namespace, _, name = repo_id.lower().partition('/')
        for folder in _folders(self._root / FOLDERS[repo_type]):
            if folder.name.lower() != namespace:
                continue
            for path in _folders(folder):
                if path.name.lower() == f'{name}.git':
                    return self._at(repo_type, f'{folder.name}/{path.name.removesuffix(".git")}')
        return None

    def _refuse_taken(self, repo_type: str, repo_id: str) -> None:
        taken = self._at(repo_type, repo_id) or self._spelled_otherwise(repo_type, repo_id)
        if taken is not None:
            raise Taken(taken)


class Taken(Problem):
    """There is a repository of that name already: ``repo``."""

    def __init__(self, repo: Repo) -> None:
        super().__init__(409, f'A {repo.repo_type} repository called {repo.repo_id} already exists')
        self.repo = repo


def _changing(root: Path) -> FileLock:
    """Return the lock of whoever changes which repositories there are, or the settings of one."""
    root.mkdir(parents=True, exist_ok=True)
    return FileLock(root / '.changing.lock')


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _folders(path: Path) -> list[Path]:
    try:
        return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith('.'))
    except FileNotFoundError:
        return []
