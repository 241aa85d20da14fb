"""The values at the top of a README.md, read and written as a whole; what does not change keeps its lines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfmirror import durable, errors
from hfmirror.readme import frontmatter


def load(path: Path) -> dict[str, Any] | None:
    """Return the values, None for a card that has none or is not there. Raises CardError when they cannot be read."""
    text = _text(path)
    return frontmatter.read(text, path.name) if frontmatter.split(text).opening else None


def save(path: Path, values: Mapping[str, Any]) -> None:
    """Make ``values`` those of the card, which is made when there is none."""
    text = _text(path)
    old = frontmatter.read(text, path.name)
    lines: dict[str, str | None] = {key: None for key in old if key not in values}
    lines |= {
        key: frontmatter.dump(key, value)
        for key, value in values.items()
        if key not in old or old[key] != value
    }
    new = frontmatter.change(text, lines)
    if frontmatter.read(new, path.name) != dict(values):
        new = _rewritten(text, values)
    durable.rewrite(path, new.encode())


def _rewritten(text: str, values: Mapping[str, Any]) -> str:
    """Return the card with a new block: one in braces has no lines that could stay."""
    body = frontmatter.split(text).body
    lines = {key: frontmatter.dump(key, value) for key, value in values.items()}
    return frontmatter.change(body, lines)


def _text(path: Path) -> str:
    if path.is_symlink():
        # Somebody else may have put it there, and what it points to would be written into the card.
        raise errors.CardError(f'{path}: a link. Put a file in its place.')
    try:
        return path.read_bytes().decode('utf-8')
    except FileNotFoundError:
        return ''
    except UnicodeDecodeError as e:
        raise errors.CardError(f'{path}: not UTF-8 text. Save it as UTF-8.') from e
