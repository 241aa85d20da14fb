"""Where do the releases of a training go, and what are they called? Checked before the training begins, not hours later."""

from __future__ import annotations

import difflib
import math
import os
import string
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from hfmirror import auth, errors, versions
from hfmirror import target as targets
from hfmirror.auth import Token
from hfmirror.config.loading import load_config
from hfmirror.config.places import PROJECT_FILE
from hfmirror.origin import Origin, origin_of
from hfmirror.spool import Save

FIELDS = ('step', 'epoch', 'metric')


class _Code(NamedTuple):
    """The working directory of a training, its commit, and the configuration that is used there."""

    folder: Path
    origin: Origin
    config_file: Path | None


@dataclass(frozen=True)
class Terms:
    """What somebody wants of the releases of a training. What is None or empty is as the configuration has it.

    ``tag`` is a template of {step}, {epoch} and {metric}; ``keep`` is how many tags of it stay, None all of them. ``final_tag``
    is the version of the finished model, None the next one. With ``strict`` a release that fails stops the training.
    Raises UsageError and ConfigError for what cannot be meant.
    """

    repo_id: str | None = None
    tag: str = 'step-{step}'
    keep: int | None = 3
    final_tag: str | None = None
    strict: bool = False
    remotes: str | Sequence[str] = ()
    repo_type: str = 'model'
    branch: str | None = None
    private: bool | None = None
    token: str | None = None
    config_file: str | Path | None = None

    def __post_init__(self) -> None:
        _check_repo_id(self.repo_id)
        _check_template(self.tag)
        require_one_of('repo_type', self.repo_type, targets.REPO_TYPES)
        if self.keep is not None and (isinstance(self.keep, bool) or not _is_count(self.keep)):
            raise errors.UsageError(
                f'keep={self.keep!r}: not a number of tags. Use 1 or more, or None for all of them.'
            )
        if self.final_tag is not None:
            versions.check_name(self.final_tag)
        load_config(self._code.config_file)
        self.given_token(Path())

    def tag_of(self, *, step: int, epoch: float | None = None, metric: float | None = None) -> str:
        """Return the name of a save."""
        return self.tag.format(step=step, epoch=_short(epoch or 0.0), metric=_short(metric))

    def save(self, folder: Path, tag: str | None) -> Save:
        """Return a release of what ``folder`` is the name of; ``tag`` None is the finished model."""
        return Save(
            str(folder.absolute()),
            repo=self.repo_id,
            repo_type=self.repo_type,
            branch=self.branch,
            remotes=(self.remotes,) if isinstance(self.remotes, str) else tuple(self.remotes),
            tag=tag or self.final_tag,
            private=self.private,
            series=self.tag if tag else None,
            keep_tags=self.keep if tag else None,
            config_file=str(self._code.config_file) if self._code.config_file else None,
            code=str(self._code.folder),
            source_commit=self._code.origin.commit,
            source_dirty=self._code.origin.dirty,
        )

    @cached_property
    def _code(self) -> _Code:
        """The code that is running, asked for at once: a training may change its directory, or check out another commit."""
        here = Path.cwd()
        project = here / PROJECT_FILE
        given = Path(self.config_file).absolute() if self.config_file else None
        return _Code(here, origin_of(here), given or (project if os.path.lexists(project) else None))

    def given_token(self, folder: Path) -> Token | None:
        """Return the token that was given, which no other process would find."""
        return auth.find_token(self.token, folder=folder) if self.token is not None else None


def require_one_of(name: str, value: object, right: Iterable[str]) -> None:
    """Raise UsageError, naming the right values and the nearest of them, unless ``value`` is one."""
    right = tuple(right)
    if value in right:
        return
    near = difflib.get_close_matches(str(value), right, n=1)
    guess = f' Did you mean {near[0]!r}?' if near else ''
    raise errors.UsageError(f'{name}={value!r}: not known. Use one of {", ".join(map(repr, right))}.{guess}')


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value >= 1


def _short(value: float | None) -> str:
    """Return a number as it may stand in a tag: ``3``, ``0.5``, ``0.0312``, ``none`` where there is none."""
    if value is None or not math.isfinite(value):
        return 'none'
    return str(int(value)) if value == int(value) else f'{value:.4f}'.rstrip('0').rstrip('.')


def _check_repo_id(repo_id: str | None) -> None:
    if repo_id is None:
        return
    try:
        # A name without a namespace is in one's own.
        targets.check_repo_id(repo_id if '/' in str(repo_id) else f'me/{repo_id}')
    except errors.UsageError as e:
        raise errors.UsageError(str(e).replace('--repo ', 'repo_id=')) from e


def _check_template(tag: str) -> None:
    """Raise UsageError for a template that names no two saves apart, or makes a name that git does not take."""
    known = ', '.join(f'{{{name}}}' for name in FIELDS)
    try:
        parts = list(string.Formatter().parse(tag))
    except (ValueError, TypeError) as e:
        raise errors.UsageError(f'tag={tag!r}: not a template ({e}). Use one such as step-{{step}}.') from e
    fields = [(name, bool(width or conversion)) for _, name, width, conversion in parts if name is not None]
    for name, has_form in fields:
        if name not in FIELDS or has_form:
            raise errors.UsageError(f'tag={tag!r}: {{{name}}} is not known. Use {known}, each as it is.')
    if not {name for name, _ in fields} & {'step', 'epoch'}:
        raise errors.UsageError(
            f'tag={tag!r}: every save would have the same name. Use {{step}} or {{epoch}} in it.'
        )
    try:
        versions.check_name(tag.format(step=100, epoch='1', metric='0.5'))
    except errors.UsageError as e:
        raise errors.UsageError(f'tag={tag!r}: {e}') from e
