"""What does a gate say of a file? Never what it found: only where, and by which rule."""

from __future__ import annotations

from typing import Literal, NamedTuple

Gate = Literal['secrets', 'unsafe', 'limits']


class Finding(NamedTuple):
    """One reason not to release ``path``. ``line`` counts from 1, and is 0 where there are no lines.

    ``detail`` is for a person, printable and short; for a secret it is always empty.
    """

    path: str
    line: int
    rule: str
    gate: Gate
    detail: str = ''
