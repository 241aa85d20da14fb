"""Foreign text and numbers as they may stand in a card."""

from __future__ import annotations

import math
import re
import sys
from decimal import Decimal

from hfmirror.output import human_number

_SPECIAL = re.compile(r'[&<>|`*_\[\]\\~#!$:@]')


def escape(text: object) -> str:
    """Return ``text`` so that it stands in a line or table cell as it is: no markup, no marker, one line."""
    shown = _SPECIAL.sub(lambda match: f'&#{ord(match[0])};', printable(str(text)))
    return shown.strip() or '&#160;'


def own_words(text: str) -> str:
    """Return Markdown that a person gave for a region of a card: as it is, but none of its lines is one of our markers."""
    lines = re.sub(r'\r\n?', '\n', text).strip()
    return re.sub(r'<!--(\s*hfmirror:)', r'&lt;!--\1', lines)


def code(text: object) -> str:
    """Return ``text`` in code type, for a line or a table cell."""
    plain = str(text)
    if re.fullmatch(r"[\w./+=,@:()'-]+(?: [\w./+=,@:()'-]+)*", plain):
        return f'`{printable(plain)}`'
    return f'<code>{escape(plain)}</code>'


def printable(text: str) -> str:
    """Return ``text`` with an escape for every character that a reader cannot see, such as a line end or a change of direction."""
    return ''.join(
        character if character.isprintable() else character.encode('unicode_escape').decode()
        for character in text
    )


def change(old: float, new: float) -> str:
    """Return how ``new`` differs from ``old``, with a sign and no finer than ``human_number`` shows ``new``, if that is not nothing."""
    difference = Decimal(repr(float(new))) - Decimal(repr(float(old)))
    if not difference:
        return 'unchanged'
    _, dot, places = human_number(new).partition('.')
    # Beyond Decimal's 28 digits there is nothing to round, and two numbers may be further apart than any number is large.
    fine = dot and places.isdigit() and difference.adjusted() + len(places) < 28
    rounded = round(difference, len(places)) if fine else difference
    distance = min(abs(float(rounded or difference)), sys.float_info.max)
    return f'{"+" if difference > 0 else "-"}{human_number(distance)}'


def finite(value: object) -> bool:
    """Tell whether ``value`` is a number that can be shown."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
