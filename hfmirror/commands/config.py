"""``hfmirror config``: every setting that is in effect, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.config.loading import Setting

_SHOWN = 60  # characters of a value in the table


def settings(key: str | None = None, path: Path | None = None) -> list[Setting]:
    """Return the settings, or the one called ``key``, or those below it. Raises UsageError when there is no such key."""
    from hfmirror.config.loading import SECTION, effective

    key = key.removeprefix(f'{SECTION}.') if key is not None else None
    if key is not None:
        _require(key)
    return [one for one in effective(path) if key is None or one.key == key or one.key.startswith(f'{key}.')]


def _require(key: str) -> None:
    from hfmirror.config.keys import keys, meant

    if any(known == key or known.startswith(f'{key}.') for known in keys()):
        return
    near = meant(tuple(key.split('.')))
    above = key.rpartition('.')[0]
    hint = next((known for known in (f'{above}.{near}'.lstrip('.'), near) if known in keys()), near)
    raise errors.UsageError(
        f'{key}: no such key.' + (f" Did you mean '{hint}'?" if hint else " 'hfmirror config' lists them.")
    )


@click.command(short_help='Show every setting and where it comes from.')
@click.argument('key', required=False)
@options.config
@options.as_json
def command(key: str | None, config_file: Path | None, as_json: bool) -> None:
    """Show every setting and where it comes from, or those of KEY alone.

    \b
    hfmirror config
    hfmirror config versioning
    hfmirror config versioning.tag_format

    A setting comes from a variable, .env, config.yaml, the file it names, your own file, or is the default.
    """
    found = settings(key, config_file)
    if as_json:
        output.document([one._asdict() for one in found])
    elif len(found) == 1 and found[0].key == key:
        output.data(_written(found[0].value))
        output.say(f'from: {found[0].source}')
    else:
        _table(found)


def _table(found: Sequence[Setting]) -> None:
    rows = [{'key': one.key, 'value': _cut(_written(one.value)), 'source': one.source} for one in found]
    output.table(rows, ('key', 'value', 'source'))


def _written(value: Any) -> str:
    """Return a value as a YAML file would have it, on one line."""
    return value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)


def _cut(text: str) -> str:
    line = ' '.join(text.split())
    return line if len(line) <= _SHOWN else f'{line[: _SHOWN - 1]}…'
