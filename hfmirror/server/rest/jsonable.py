"""How does what a repository holds become JSON? Within bounds, and without what JSON has no word for.

YAML can name one value from many places, itself included, and knows dates, bytes and numbers that are none.
"""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from typing import Any

from starlette.responses import JSONResponse

_MOST = 100_000  # values of one card; the largest real ones have some ten thousand
_DEEPEST = 100
_LARGEST = 2**63  # Python writes numbers of any length, and refuses some


class TooMuch(Exception):
    """The value would become too long or too deep."""


class Json(JSONResponse):
    """A JSON answer. Names of files that are no UTF-8 are shown with question marks."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return dumped(content)


def dumped(content: Any) -> bytes:
    """Return a value as JSON in UTF-8."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(',', ':')).encode(
        'utf-8', 'replace'
    )


def date_text(moment: datetime) -> str:
    """Return a date as the Hub writes it: ``2024-05-01T10:00:00.000Z``."""
    return moment.astimezone(UTC).strftime('%Y-%m-%dT%H:%M:%S.000Z')


def plain(value: Any) -> Any:
    """Return a value of a card as JSON has it: dates as text, null for what has no equal. Raises TooMuch."""
    return _Plain().of(value, 0)


class _Plain:
    def __init__(self) -> None:
        self._count = 0

    def of(self, value: Any, depth: int) -> Any:
        self._count += 1
        if self._count > _MOST or depth > _DEEPEST:
            raise TooMuch
        if isinstance(value, dict):
            return {str(_one(key)): self.of(item, depth + 1) for key, item in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.of(item, depth + 1) for item in value]
        return _one(value)


def _one(value: Any) -> Any:
    if isinstance(value, str | bool):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if abs(value) < _LARGEST else None
    if isinstance(value, datetime):
        return date_text(value)
    return value.isoformat() if isinstance(value, date) else None
