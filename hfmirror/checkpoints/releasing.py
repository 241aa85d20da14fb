"""How is a checkpoint published? Written as a folder beside it, which is then released like any other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from hfmirror import auth, output, place, publishing, target
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

_TAGS = ('pytorch', 'transformer', 'encoder-decoder', 'text-generation')


class Wanted(NamedTuple):
    """A checkpoint, and what is to become of it. What is None or empty is as the configuration has it.

    ``repo_name`` may have a namespace: then ``username`` does not count. ``folder`` is where the release is written, by
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

    Raises as ``reading.read``, ``writing.write`` and ``publishing.publish`` do.
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
    """Raise UsageError when no repository can have the name, whoever ``username`` is while it is not known."""
    target.check_repo_id(repo_name if '/' in repo_name else f'{username or "me"}/{repo_name}')


def _remotes(wanted: Wanted, config: Config, token: Token | None) -> list[str]:
    if wanted.remotes:
        return list(wanted.remotes)
    remotes = config.remotes or ['hub']
    if token is not None or 'hub' not in remotes:
        return list(remotes)
    output.say('WARNING: HF_TOKEN not found in environment variables.')
    output.say(
        'Storing the release in the local Hub on this machine instead (--remote local). '
        "To publish it, log in with 'hf auth login' and push the checkpoint again."
    )
    return list(dict.fromkeys('local' if remote == 'hub' else remote for remote in remotes))


def _repo_id(
    wanted: Wanted, remotes: Sequence[str], config: Config, home: Home, *, token: Token | None
) -> str:
    """Return the whole name: the namespace that was given or configured, else the one whose token it is."""
    if '/' in wanted.repo_name:
        return wanted.repo_name
    username = wanted.username or auth.username() or config.user.username
    if username:
        return f'{username}/{wanted.repo_name}'
    check_name(wanted.repo_name, None)
    # As of a push that names nothing: its namespace is the one that is wanted.
    unnamed = config.model_copy(
        update={'repository': config.repository.model_copy(update={'model_name': None})}
    )
    found = place.targets_of(Place(), remotes[:1], unnamed, home, folder=wanted.release, token=token)
    return f'{found[0].repo_id.partition("/")[0]}/{wanted.repo_name}'


def _additions(definition: Definition, config: Config) -> Additions:
    return Additions(
        tags=tuple(dict.fromkeys([*config.model_card.tags, *_TAGS])),
        sections={'Generate text': writing.card_section(definition)},
    )
