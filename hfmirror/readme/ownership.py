"""Who wrote what in a card: which front-matter keys and regions are hfmirror's, and which are a person's.

A key is hfmirror's while its lines are as hfmirror wrote them, by the digest that the region ``state`` keeps. A person
who edits it, be it by a comment, makes it theirs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from hfmirror.errors import CardError
from hfmirror.readme import frontmatter, regions
from hfmirror.readme.regions import State

NAME = 'README.md'
# The front-matter keys that hfmirror may write, in the order of a new card.
KEYS = (
    'language',
    'license',
    'library_name',
    'pipeline_tag',
    'base_model',
    'datasets',
    'tags',
    'size_categories',
    'configs',
    'model-index',
)


class Generated(NamedTuple):
    """What hfmirror has to say: {key: lines, None for nothing}, {region: lines}, and the marks of the README it had and of what
    was configured.

    A key that is not in ``keys`` at all is left as it is.
    """

    keys: Mapping[str, str | None]
    regions: Mapping[str, str]
    source: str | None
    configured: str | None = None


def decode(content: bytes, name: str) -> str:
    """Return the text of the card ``content``. Raises: CardError when it is not UTF-8."""
    try:
        return content.decode('utf-8')
    except UnicodeDecodeError as e:
        line = content[: e.start].count(b'\n') + 1
        raise CardError(f'{name}, line {line}: is not UTF-8 text. Save it as UTF-8.') from e


def digest(lines: str) -> str:
    """Return eight hex digits that stand for ``lines``."""
    return hashlib.sha256(lines.encode('utf-8', 'surrogatepass')).hexdigest()[:8]


def owned_keys(text: str, state: State) -> set[str]:
    """Return the front-matter keys of ``text`` that are as hfmirror wrote them."""
    found = frontmatter.texts(frontmatter.split(text).yaml)
    return {key for key in state.keys if key in found and digest(found[key]) == state.keys[key]}


def own_values(text: str, name: str) -> dict[str, Any]:
    """Return the front matter that a person wrote in the card ``text``.

    Raises: CardError when the front matter or the markers are broken.
    """
    values = frontmatter.read(text, name)
    ours = owned_keys(text, regions.state(text, name))
    return {key: value for key, value in values.items() if key not in ours}


def merge(base: str, generated: Generated) -> str:
    """Return the card ``base`` with what hfmirror has to say in place of what it said before.

    A key that a person wrote or changed stays, a key or region that a person took out stays out.
    Raises: CardError when the front matter or the markers of ``base`` are broken.
    """
    frontmatter.read(base, NAME)
    state = regions.state(base, NAME)
    gone = [name for name in state.regions if name not in regions.find(base, NAME)]
    values = _free_keys(base, generated.keys, state)
    text = frontmatter.change(base, values)
    text = regions.write(
        text, {name: generated.regions.get(name, '') for name in regions.ORDER[:-1]}, gone, NAME
    )
    written = [name for name in regions.ORDER[:-1] if name in gone or name in regions.find(text, NAME)]
    note = State(_digests(text, values, state), written, generated.source, generated.configured)
    return regions.write(text, {'state': regions.state_lines(note)}, [], NAME)


def _free_keys(base: str, keys: Mapping[str, str | None], state: State) -> dict[str, str | None]:
    """Return those of ``keys`` that are ours to write: not a person's, and not taken out by one."""
    present = frontmatter.parse(frontmatter.split(base).yaml)
    ours = owned_keys(base, state)
    return {
        key: lines
        for key, lines in keys.items()
        if key in ours or (key not in present and key not in state.keys)
    }


def _digests(text: str, values: Mapping[str, str | None], state: State) -> dict[str, str]:
    """Return {key: digest} for the keys just written, those of before left as they are, and those taken out by a person."""
    found = frontmatter.texts(frontmatter.split(text).yaml)
    digests = {}
    for key in {*state.keys, *values}:
        lines = found.get(key)
        if lines is None and key not in values:
            digests[key] = state.keys[key]
        elif lines is not None and (key in values or digest(lines) == state.keys[key]):
            digests[key] = digest(lines)
    return digests


def generated_in(text: str) -> Generated:
    """Return what hfmirror said in the card ``text``. A key that a person wrote there is not in it."""
    state = regions.state(text, NAME)
    yaml = frontmatter.split(text).yaml
    ours = owned_keys(text, state)
    theirs = frontmatter.parse(yaml).keys() - ours
    lines = frontmatter.texts(yaml)
    free = [key for key in KEYS if key not in theirs and (key in ours or key not in state.keys)]
    keys = {key: lines.get(key) for key in free}
    inside = regions.content(text, NAME)
    return Generated(
        keys,
        {name: inside[name] for name in regions.ORDER[:-1] if name in inside},
        state.source,
        state.configured,
    )


def words(text: str) -> str:
    """Return what people wrote in the card ``text``: without regions and keys that are hfmirror's, to be compared.

    Line ends are LF and blank lines are single, so that two texts are equal when people wrote the same.
    Raises: CardError when the front matter or the markers are broken.
    """
    frontmatter.read(text, NAME)
    ours = owned_keys(text, regions.state(text, NAME))
    text = frontmatter.change(regions.without(text, NAME), dict.fromkeys(ours))
    parts = frontmatter.split(text.removeprefix('\ufeff'))
    lines = '\n'.join(line.rstrip() for line in re.split(r'\r\n|\r|\n', parts.yaml)).strip()
    body = re.sub(
        r'\n{3,}', '\n\n', '\n'.join(line.rstrip() for line in re.split(r'\r\n|\r|\n', parts.body))
    ).strip()
    return f'---\n{lines}\n---\n{body}' if lines else body
