"""The parts of a card that hfmirror owns: lines between two markers, each alone on its line.

    <!-- hfmirror:begin files -->
    ## Files
    <!-- hfmirror:end files -->

The region ``state`` is what the card remembers of itself, in comments that no reader sees: the front-matter keys that
hfmirror wrote, each with a digest of its lines, the regions it wrote, the digest of the README.md it was made from, and that of
what was configured for it::

    <!-- hfmirror:keys license=1f0e3dad tags=0a1b2c3d -->
    <!-- hfmirror:regions overview files -->
    <!-- hfmirror:source 5d41402a -->
    <!-- hfmirror:configured 7c211433 -->

A key or region named there that is gone was taken out by a person, and stays out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from hfmirror.errors import CardError
from hfmirror.readme import frontmatter

# The order in which regions stand in a card that had none.
ORDER = (
    'overview',
    'usage',
    'metrics',
    'training',
    'data',
    'sections',
    'links',
    'authors',
    'files',
    'versions',
    'state',
)

_MARKER = re.compile(r'^[ \t]*<!--[ \t]*hfmirror:(begin|end)[ \t]+([a-z][a-z0-9-]*)[ \t]*-->[ \t]*$', re.M)
_NOTE = re.compile(r'^<!-- hfmirror:(keys|regions|source|configured)((?: [^\s<>]+)*) -->$', re.M)


class Region(NamedTuple):
    """Where a region stands in a text: ``start`` before its first marker, ``end`` after its last, without line end."""

    name: str
    start: int
    end: int


class State(NamedTuple):
    """What the card remembers. ``keys`` is {key: digest of its lines}."""

    keys: Mapping[str, str]
    regions: Sequence[str]
    source: str | None
    configured: str | None = None


class MarkerProblem(Exception):
    """The markers do not make pairs. ``line`` counts from 1, in the whole card."""

    def __init__(self, message: str, line: int) -> None:
        super().__init__(message)
        self.line = line


def find(text: str, name: str) -> dict[str, Region]:
    """Return {region: where it stands} for the card ``text``, in their order there.

    Raises: CardError naming the line of the file ``name`` when ``pairs`` finds a problem.
    """
    try:
        return pairs(text)
    except MarkerProblem as e:
        raise CardError(f'{name}, line {e.line}: {e}') from e


def pairs(text: str) -> dict[str, Region]:
    """Return {region: where it stands} for the card ``text``, in their order there.

    Raises: MarkerProblem when a marker has no partner, is inside another region or begins a region for the second time.
    """
    found: dict[str, Region] = {}
    opened: tuple[str, int] | None = None
    for kind, region, start, end in _markers(text):
        if kind == 'begin' and opened is None and region not in found:
            opened = (region, start)
        elif kind == 'end' and opened is not None and opened[0] == region:
            found[region] = Region(region, opened[1], end)
            opened = None
        else:
            raise _broken(text, start, f'{kind} {region}', _fault(kind, opened))
    if opened is not None:
        raise _broken(text, opened[1], f'begin {opened[0]}', 'has no end')
    return found


def _markers(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield (begin or end, region, start, end) for each marker below the front matter."""
    offset = len(text) - len(frontmatter.split(text).body)
    # A lone CR or the CR of a CRLF is no line end to the expression: make each one, without moving a character.
    lines = text[offset:].replace('\r', '\n')
    for match in _MARKER.finditer(lines):
        yield match[1], match[2], offset + match.start(), offset + match.end()


def _fault(kind: str, opened: tuple[str, int] | None) -> str:
    if opened:
        return f'stands inside the region {opened[0]!r}'
    return 'begins that region for the second time' if kind == 'begin' else 'has no begin'


def _broken(text: str, position: int, marker: str, fault: str) -> MarkerProblem:
    return MarkerProblem(
        f'the marker "hfmirror:{marker}" {fault}. '
        'Put the pair of markers right, or delete the region with both of them.',
        frontmatter.line_of(text, position),
    )


def state(text: str, name: str) -> State:
    """Return what the card ``text`` remembers; nothing when it has no state or one that cannot be read."""
    place = find(text, name).get('state')
    notes: dict[str, list[str]] = {}
    if place:
        inside = text[place.start : place.end].replace('\r\n', '\n').replace('\r', '\n')
        notes = {match[1]: match[2].split() for match in _NOTE.finditer(inside)}
    pairs = [note.rpartition('=') for note in notes.get('keys', [])]
    source, configured = notes.get('source', []), notes.get('configured', [])
    return State(
        keys={key: digest for key, _, digest in pairs if key},
        regions=notes.get('regions', []),
        source=source[0] if len(source) == 1 else None,
        configured=configured[0] if len(configured) == 1 else None,
    )


def state_lines(state: State) -> str:
    """Return the content of the region ``state``."""
    keys = ' '.join(f'{key}={digest}' for key, digest in sorted(state.keys.items()))
    lines = [
        ('keys', keys),
        ('regions', ' '.join(state.regions)),
        ('source', state.source or ''),
        ('configured', state.configured or ''),
    ]
    return '\n'.join(f'<!-- hfmirror:{what} {value} -->' for what, value in lines if value)


def content(text: str, name: str) -> dict[str, str]:
    """Return {region: what stands between its markers}, with LF line ends and no end at the last."""
    inside = {}
    for region in find(text, name).values():
        lines = re.split(r'\r\n|\r|\n', text[region.start : region.end])
        inside[region.name] = '\n'.join(lines[1:-1])
    return inside


def write(text: str, contents: Mapping[str, str], gone: Sequence[str], name: str) -> str:
    """Return the card ``text`` with ``contents`` ({region: lines with LF}) in their regions.

    A region that the text lacks is put after the one before it in ``ORDER``, else before the one after it, else at the
    end; not when it is in ``gone``, and not when it has nothing to say. One that the text has stays, empty if need be.
    """
    newline = frontmatter.line_end(text)
    for region in sorted(contents, key=ORDER.index):
        places = find(text, name)
        lines = _wrapped(region, contents[region], newline)
        if region in places:
            text = text[: places[region].start] + lines + text[places[region].end :]
        elif contents[region] and region not in gone:
            text = _insert(text, lines, _position(region, places), newline)
    return text


def _wrapped(region: str, lines: str, newline: str) -> str:
    inside = lines + '\n' if lines else ''
    return f'<!-- hfmirror:begin {region} -->\n{inside}<!-- hfmirror:end {region} -->'.replace('\n', newline)


def _position(region: str, places: Mapping[str, Region]) -> tuple[int, bool] | None:
    """Return (where in the text, whether after what stands there), None for the end of the text."""
    here = ORDER.index(region)
    for earlier in reversed(ORDER[:here]):
        if earlier in places:
            return places[earlier].end, True
    for later in ORDER[here + 1 :]:
        if later in places:
            return places[later].start, False
    return None


def _insert(text: str, lines: str, position: tuple[int, bool] | None, newline: str) -> str:
    if position is None:
        return _joined(text, newline) + lines + newline
    place, after = position
    if after:
        return text[:place] + newline * 2 + lines + text[place:]
    return text[:place] + lines + newline * 2 + text[place:]


def _joined(text: str, newline: str) -> str:
    """Return ``text`` so that what follows it begins after a blank line."""
    if not text.strip('\ufeff'):
        return text
    lines = re.split(r'\r\n|\r|\n', text)
    if lines[-1].strip():
        return text + newline * 2
    return text if len(lines) > 1 and not lines[-2].strip() else text + newline


def without(text: str, name: str) -> str:
    """Return the card ``text`` without our regions and their markers; one of an unknown name is not ours."""
    for region in reversed(find(text, name).values()):
        if region.name in ORDER:
            text = text[: region.start] + text[region.end :]
    return text
