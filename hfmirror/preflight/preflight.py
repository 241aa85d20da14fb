"""Can what a job will make arrive? Asked before the job begins, and the money is spent.

Each check is a line: what was looked at, whether it is well, and what to do when it is not. Nothing is released or created; the
remotes are asked, and a small file is written and removed where hfmirror keeps what is on its way, and in a bucket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, output, publishing
from hfmirror.auth import Token
from hfmirror.config.config import Config
from hfmirror.config.loading import load_config
from hfmirror.config.places import Home, home
from hfmirror.hub import Hub
from hfmirror.place import Place
from hfmirror.preflight import machine
from hfmirror.preflight.check import Check, failed, settled
from hfmirror.preflight.remotes import Wanted, of_target, owner
from hfmirror.publishing import Publication
from hfmirror.target import Target

_PAUSE_S, _PAUSE_MAX_S = 2.0, 30.0
_NO_TOKEN = (
    'no token found, so nothing can be released on a Hub. Give the job its token as the secret HF_TOKEN, or log in '
    "with 'hf auth login'."
)


class Question(NamedTuple):
    """What is to be released later. ``folder`` None: nobody knows yet; it need not be there either."""

    folder: Path | None = None
    place: Place = Place()
    remotes: Sequence[str] = ()
    config_file: Path | None = None
    tag: str | None = None

    def publication(self, config: Config) -> Publication:
        """Return what would be published. ``model`` stands for the folder that is not known."""
        folder = self.folder or Path(config.hooks.folder or 'model')
        return Publication(folder, self.place, self.remotes or config.remotes or ('hub',))

    def names_repository(self, config: Config) -> bool:
        return bool(self.folder or self.place.repo or config.repository.model_name or config.hooks.folder)


def preflight(
    question: Question, find_token: Callable[[], Token | None], *, wait_s: float = 0.0
) -> list[Check]:
    """Return what was found, in the order of the checks. Raises nothing of ours.

    While nothing is wrong but that a remote cannot be reached, it is asked again for as long as ``wait_s``.
    """
    deadline, pause = time.monotonic() + wait_s, _PAUSE_S
    while True:
        checks = list(_checks(question, find_token))
        failed = [check for check in checks if check.state == 'fail']
        left = deadline - time.monotonic()
        if not failed or left <= 0 or not all(check.may_mend for check in failed):
            return checks
        pause = min(pause, left)
        output.say(f'{failed[0].found} Asking again in {pause:.0f} s, for {left:.0f} s more.')
        time.sleep(pause)
        pause = min(pause * 2, _PAUSE_MAX_S)


def require(checks: Sequence[Check]) -> None:
    """Raise the error that the exit code stands for when a check has failed: that of the first."""
    failed = [check for check in checks if check.state == 'fail']
    if failed:
        names = ', '.join(dict.fromkeys(check.name for check in failed))
        failure = errors.HfmirrorError(f'preflight: {names}: see above for what mends it.')
        failure.exit_code = failed[0].exit_code
        raise failure


def _checks(question: Question, find_token: Callable[[], Token | None]) -> Iterator[Check]:
    yield from settled('programs', machine.programs)
    try:
        config, directories = load_config(question.config_file), home()
    except errors.HfmirrorError as e:
        yield failed('configuration', e)
        return
    yield machine.configuration(question.config_file)
    try:
        token = find_token()
    except errors.HfmirrorError as e:
        yield failed('token', e)
        return
    publication = question.publication(config)
    yield from _token(token, publication, config)
    targets = list[Target]()
    try:
        targets = publishing.targets_of(publication, config, directories, token=token)
    except errors.HfmirrorError as e:
        yield from _without_targets(e, publication, config=config, directories=directories, token=token)
    wanted = Wanted(
        machine.size_of(question.folder), question.tag, question.names_repository(config), config, directories
    )
    for target in targets:
        yield from of_target(target, wanted, token)
    yield from settled('disk', lambda: machine.disk(wanted.size, targets, directories))
    yield machine.waiting(directories)
    yield from machine.destination(targets, directories)


def _without_targets(
    failure: errors.HfmirrorError,
    publication: Publication,
    *,
    config: Config,
    directories: Home,
    token: Token | None,
) -> Iterator[Check]:
    """Yield why it is not known where a release would go, and whose the token is all the same: both can be mended at once."""
    if token is None:
        # Without a token nobody knows whose name it would be; that has been told.
        if not isinstance(failure, errors.AuthError):
            yield failed('name', failure)
        return
    if not isinstance(failure, errors.UsageError) or not publishing.goes_to_hub(publication, config):
        yield failed('remote' if isinstance(failure, errors.NetworkError) else 'name', failure)
        return
    hub = Hub(token.endpoint, token)
    with suppress(errors.HfmirrorError):
        me = str(hub.whoami()['name'])
        named = config.user.model_copy(update={'username': config.user.username or me})
        try:  # once more, with the namespace that a name without one is probably meant to be in
            publishing.targets_of(
                publication, config.model_copy(update={'user': named}), directories, token=token
            )
        except errors.UsageError as e:
            failure = e
    yield failed('name', failure)
    yield from settled('remote', lambda: owner(hub))


def _token(token: Token | None, publication: Publication, config: Config) -> Iterator[Check]:
    """Yield what is wrong without a token; with one it is said who owns it, where a Hub can be asked."""
    if token is not None:
        return
    if publishing.goes_to_hub(publication, config):
        yield failed('token', errors.AuthError(_NO_TOKEN))
    else:
        yield Check('token', 'ok', 'none, and none is needed: no Hub is among the remotes')
