"""How is a checkpoint published? Written as a folder beside it, which is then released like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import errors, output, place, publishing, target
from hfmirror.card.additions import Additions
from hfmirror.checkpoints import reading, writing
from hfmirror.checkpoints.writing import OWN_FILES, Definition
from hfmirror.config.config import Config
from hfmirror.config.places import Home
from hfmirror.naming import Choice
from hfmirror.place import Place
from hfmirror.publishing import Publication, Published

if TYPE_CHECKING:
    from hfmirror.auth import Token


class Wanted(NamedTuple):
    """A checkpoint, and what is to become of it. What is None or empty is as the configuration has it.

    ``repo_name`` may have a namespace, which then counts. ``folder`` is where the release is written, by
    default beside the checkpoint.
    """

    model_path: Path
    repo_name: str
    username: str | None = None
    private: bool | None = None
    message: str | None = None
    tag: str | None = None
    remotes: Sequence[str] = ()
    folder: Path | None = None

    @property
    def release(self) -> Path:
        """The folder of the release: ``transformer_model_release`` for ``transformer_model.pth``."""
        return self.folder or self.model_path.with_name(f'{self.model_path.stem}_release')


def publish(
    wanted: Wanted, definition: Definition, config: Config, home: Home, *, token: Token | None
) -> Published:
    """Release a checkpoint with the ``definition`` of its model. Without a token the local Hub takes the Hub's place.

    That is only so where nobody has named the Hub among ``wanted.remotes``. Raises as ``reading.read``, ``writing.write`` and ``publishing.publish`` do.
    """
    checkpoint = reading.read(wanted.model_path)
    writing.require_fits(checkpoint, definition)
    remotes = _remotes(wanted, config, token)
    repo_id = _repo_id(wanted, remotes, config, home, token=token)
    writing.write(checkpoint, definition, wanted.release, repo_id=repo_id)
    output.say(f'{wanted.release}: the files of {repo_id}, from {wanted.model_path}')
    publication = Publication(
        wanted.release,
        Place(repo_id),
        remotes,
        Choice('tag', wanted.tag) if wanted.tag else Choice(),
        message=wanted.message,
        # From the top folder only, and nothing else that may lie there.
        include=[f'/{name}' for name in (*writing.names(definition), *OWN_FILES)],
        private=wanted.private,
        item='model',
        additions=_additions(definition, config),
    )
    return publishing.publish(publication, config, home, token=token)


def check_name(repo_name: str, username: str | None) -> None:
    """Raise UsageError when no repository can have the name, whoever ``username`` is while it is not known.

    A name with a namespace is that of ``username``, where both are given.
    """
    namespace, slash, _ = repo_name.partition('/')
    if slash and username and namespace.lower() != username.lower():
        raise errors.UsageError(
            f'--repo_name {repo_name}: is of {namespace}, and --username says {username}. Give one of them.'
        )
    target.check_repo_id(repo_name if '/' in repo_name else f'{username or "me"}/{repo_name}')


def _remotes(wanted: Wanted, config: Config, token: Token | None) -> list[str]:
    if wanted.remotes:
        return list(wanted.remotes)
    remotes = config.remotes or ['hub']
    if token is not None or 'hub' not in remotes:
        return list(remotes)
    output.warn(publishing.NO_TOKEN, prefix='')
    output.say(
        'Storing the release in the local Hub on this machine instead (--remote local). '
        "To publish it, log in with 'hf auth login' and push the checkpoint again."
    )
    return publishing.without_token(remotes)


def _repo_id(
    wanted: Wanted, remotes: Sequence[str], config: Config, home: Home, *, token: Token | None
) -> str:
    """Return the whole name: the namespace that was given or configured, else the one whose token it is."""
    if '/' in wanted.repo_name:
        return wanted.repo_name
    username = wanted.username or config.user.username
    if not username:
        check_name(wanted.repo_name, None)
        # One name for all of them, so it has to be one that the Hub takes.
        asked = 'hub' if 'hub' in remotes else remotes[0]
        username = place.namespace(asked, config, home, token=token)
    return f'{username}/{wanted.repo_name}'


def _additions(definition: Definition, config: Config) -> Additions:
    return Additions(
        tags=tuple(dict.fromkeys([*config.model_card.tags, *definition.tags])),
        sections={'Generate text': writing.card_section(definition)},
    )
