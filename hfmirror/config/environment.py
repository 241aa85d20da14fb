"""What do variables say, those of the environment and those of ``.env``? This is where the configuration reads them."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from functools import cache
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, output

DOTENV = Path('.env')

# PWD alone is the working directory.
_SECRET = re.compile(r'(?:^|_)(?:TOKEN|SECRET|PASSWORD|PASSWD|(?<=_)PWD|KEY|CREDENTIALS?)(?:_|$)', re.I)
_SECRET_MIN = 8  # characters; what is shorter may be any word
_FILE_MAX = 1024 * 1024  # bytes of a .env or of a file of tokens


class Variables(NamedTuple):
    """The variables of one source. ``shown`` is put behind their names: '' for the environment, `` in .env``."""

    shown: str
    values: Mapping[str, str]


def variables() -> Variables:
    """Return the variables of the environment."""
    return Variables('', dict(os.environ))


def secrets() -> list[str]:
    """Return what variables hold whose names say that it is secret, longest first: no log may show it."""
    found = [
        value for name, value in os.environ.items() if _SECRET.search(name) and len(value) >= _SECRET_MIN
    ]
    return sorted(found, key=len, reverse=True)


def own_dotenv() -> Path | None:
    """Return ``.env`` of the working directory; None when there is none, or when anybody may have put it there."""
    if not DOTENV.is_file():
        return None
    if is_anybodys(Path.cwd()):
        _tell_of_anybodys(Path.cwd() / DOTENV)
        return None
    return DOTENV


def is_anybodys(directory: Path) -> bool:
    """Tell whether everybody on this machine may write into a directory."""
    try:
        mode = directory.stat().st_mode
    except OSError:
        return False
    return os.name == 'posix' and bool(mode & stat.S_IWOTH)


@cache
def _tell_of_anybodys(path: Path) -> None:
    output.warn(
        f'{path}: not read, since everybody on this machine may write into its directory (chmod o-w).'
    )


def of_dotenv() -> list[Variables]:
    """Return the variables of ``.env`` in the working directory, if there is one. Raises ConfigError as ``dotenv``."""
    if own_dotenv() is None:
        return []
    values = {name: value for name, value in dotenv(DOTENV).items() if value is not None}
    return [Variables(f' in {DOTENV}', values)]


def dotenv(path: Path) -> Mapping[str, str | None]:
    """Return what a ``.env`` says, as it stands there. Raises ConfigError when it cannot be read."""
    from dotenv import dotenv_values

    try:
        return dotenv_values(stream=StringIO(small_text(path)), interpolate=False)
    except (OSError, ValueError) as e:
        raise errors.ConfigError(f'{path}: {reason(e)}. Mend the file or remove it.') from e


def small_text(path: Path) -> str:
    """Return the text of a small file. Raises OSError, and ValueError for a large one or one that is no text."""
    with path.open('rb') as file:
        content = file.read(_FILE_MAX + 1)
    if len(content) > _FILE_MAX:
        raise ValueError(f'larger than {_FILE_MAX} bytes')
    return content.decode('utf-8-sig')


def reason(error: OSError | ValueError) -> str:
    """Return why a small file could not be read, without what stands in it."""
    # A UnicodeDecodeError shows the bytes, which may be a token.
    if isinstance(error, UnicodeDecodeError):
        return 'not UTF-8 text'
    return f'cannot be read: {error.strerror}' if isinstance(error, OSError) else str(error)
