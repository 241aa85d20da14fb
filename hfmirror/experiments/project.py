"""Of which project is a training run: how is it configured, where does it go, as whom, and on which terms this time?"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, output, place
from hfmirror import target as targets
from hfmirror.auth import Token
from hfmirror.clone import opened
from hfmirror.config.config import Config, Upload
from hfmirror.config.places import Home
from hfmirror.hub import NO_TOKEN, hub_of
from hfmirror.naming import tag_prefix
from hfmirror.place import Place
from hfmirror.refs import create_bare
from hfmirror.target import Target
from hfmirror.versions import VersionInfo


class Project(NamedTuple):
    """A project: its configuration, and the options that name the model's repository. ``token`` is for a Hub."""

    config: Config
    home: Home
    place: Place = Place()
    remotes: Sequence[str] = ()
    token: Token | None = None

    def targets(self, folder: Path) -> list[Target]:
        """Return where the model in ``folder`` goes."""
        return place.targets_of(
            self.place, self.remotes, self.config, self.home, folder=folder, token=self.token
        )

    def configs(self, model: Target) -> Target:
        """Return the repository for configurations and results that is beside the model's, on the same remote.

        Of a git URL the last part is another one: ``https://host/me/model.git``, ``https://host/me/model-configs.git``.
        """
        repo_id = place.config_repo(self.config, model)
        if model.endpoint is not None:
            return targets.hub(model.endpoint, repo_id, branch=model.branch)
        if model.remote == 'local':
            return targets.local(self.home.hub, repo_id, branch=model.branch)
        if model.archive:
            return targets.archived(model.remote, repo_id, branch=model.branch)
        there = model._replace(repo_id=targets.repo_id_of_url(model.remote))
        name = place.config_repo(self.config, there).rpartition('/')[2]
        url = re.sub(r'[^/:]+?(?=(?:\.git)?/*$)', lambda _: name, model.remote, count=1)
        return targets.at_url(url, repo_id, branch=model.branch)

    def reading(self, chunk_size: int) -> Project:
        """Return the project with so many bytes of a file read at a time. Raises UsageError when that is no sensible number."""
        from pydantic import ValidationError

        settings = self.config.settings
        try:
            upload = Upload.model_validate({**settings.upload.model_dump(), 'chunk_size': chunk_size})
        except ValidationError as e:
            raise errors.UsageError(
                f'chunk_size {chunk_size!r}: {e.errors()[0]["msg"]}. It is a number of bytes, such as 5 * 1024 * 1024.'
            ) from e
        settings = settings.model_copy(update={'upload': upload})
        return self._replace(config=self.config.model_copy(update={'settings': settings}))

    def versions(self, model: Target) -> list[VersionInfo]:
        """Return the versions of a model, newest first. Raises NotFoundError when there is no such repository."""
        if model.path is not None and not model.path.is_dir():
            raise errors.NotFoundError(
                f'{model}: no such repository ({model.path}). Upload a model to it first, or name another one.'
            )
        with opened(model, self.home, self.token) as repository:
            return repository.versions(repository.remote_refs(), prefix=tag_prefix(self.config))

    def create(self, target: Target, *, private: bool | None) -> None:
        """Create a repository where there is none; one that is there stays as it is."""
        hub = hub_of(target, self.token)
        if hub is not None:
            if self.token is None:
                raise errors.AuthError(f'{target}: {NO_TOKEN}')
            hub.create(target, private=private)
        elif target.remote == 'local' and target.path is not None:
            if not target.path.exists():
                create_bare(target.path, target.branch)
        else:
            output.say(f'{target}: hfmirror makes none on a git host; make it there if there is none')


class Terms(NamedTuple):
    """How something is to be released this time. ``private`` is of a repository that it creates."""

    private: bool | None = None
    allow_secrets: bool = False
    allow_unsafe: bool = False
    dry_run: bool = False
