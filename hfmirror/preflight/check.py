"""What does a check of a job say?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from hfmirror import errors, statuses

State = Literal['ok', 'warn', 'fail']


class Check(NamedTuple):
    """One thing that was looked at. ``advice`` says what to do; ``may_mend`` whether waiting alone could help."""

    name: str
    state: State
    found: str
    advice: str = ''
    exit_code: int = 0
    may_mend: bool = False


def settled(name: str, look: Callable[[], Iterator[Check]]) -> Iterator[Check]:
    """Yield what a look finds; what it raises is a check that has failed."""
    try:
        yield from look()
    except errors.HfmirrorError as e:
        yield failed(name, e)


def failed(name: str, error: errors.HfmirrorError) -> Check:
    text, _, advice = str(error).rpartition('. ')
    may_mend = isinstance(error, errors.NetworkError) and error.retry_after_s != statuses.LASTING
    found, advice = (f'{text}.', advice) if text else (advice, '')
    return Check(name, 'fail', found, advice, error.exit_code, may_mend)
