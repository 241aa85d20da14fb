"""A small JSON file of a training folder, read with its errors explained."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfmirror.errors import CardError, SourceError

# A trainer_state.json of a long run has some ten megabytes. What is larger is not one of the files we know.
LIMIT = 16 * 2**20


def read(path: Path, name: str) -> Any:
    """Return the value of the JSON file at ``path``, None when it is too large to be read for a card.

    NaN and Infinity, which Python writes although JSON has no such numbers, are read; see ``not_finite``.
    Raises: CardError with line and column of ``name`` when it is not JSON. SourceError when it cannot be read.
    """
    try:
        if path.stat().st_size > LIMIT:
            return None
        content = path.read_bytes()
    except OSError as e:
        raise SourceError(
            f'{name}: cannot be read: {e.strerror or e}. Make it readable, or leave it out with --exclude.'
        ) from e
    try:
        return json.loads(content.decode('utf-8-sig'))
    except json.JSONDecodeError as e:
        raise _broken(name, f', line {e.lineno}, column {e.colno}', f'is not JSON: {e.msg}') from e
    except UnicodeDecodeError as e:
        raise _broken(name, '', f'is not UTF-8 text (byte {e.start})') from e
    except (RecursionError, ValueError) as e:
        # ValueError: a whole number of more digits than Python converts.
        raise _broken(
            name, '', 'is not JSON that can be read: nested too deeply, or a number too long'
        ) from e


def _broken(name: str, where: str, what: str) -> CardError:
    return CardError(f'{name}{where}: {what}. Mend the file, or leave it out with --exclude {name}.')


def numbers(value: Any, key: str = '') -> Iterator[tuple[str, int | float]]:
    """Yield (dotted key, number) for every number in the nested mapping ``value``; lists, words and truths are passed over."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from numbers(item, f'{key}.{name}' if key else str(name))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield key, value


def finite(value: Any, name: str, prefix: str = '') -> dict[str, float]:
    """Return {dotted key: number} for every number in ``value``.

    Raises: CardError with the key in the file ``name`` for NaN, Infinity and whole numbers too large for a float.
    """
    found = {}
    for key, number in numbers(value):
        try:
            found[key] = float(number)
        except OverflowError:
            found[key] = math.inf
        if not math.isfinite(found[key]):
            shown = (
                'too large a number'
                if isinstance(number, int)
                else {True: 'NaN'}.get(math.isnan(number), 'Infinity')
            )
            raise _broken(name, '', f'{prefix}{key} is {shown}, which a card cannot show')
    return found
