"""Which token is ours, and where did it come from?"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

VARIABLES = ('HF_TOKEN', 'HUGGINGFACE_TOKEN', 'HUGGING_FACE_HUB_TOKEN')


class Token(NamedTuple):
    """A secret and the place it came from. Prints as its place only."""

    value: str
    source: str

    def __repr__(self) -> str:
        return f'<token from {self.source}>'


def find_token() -> Token | None:
    """Return the token, or None. The first of these that has one:

    1. ``HF_TOKEN``, ``HUGGINGFACE_TOKEN``, ``HUGGING_FACE_HUB_TOKEN`` in the environment
    2. the same names in ``.env`` of the working directory
    3. the file written by ``hf auth login``
    """
    for name in VARIABLES:
        if os.environ.get(name, '').strip():
            return Token(os.environ[name].strip(), name)
    return _from_dotenv() or _from_login()


def _from_dotenv() -> Token | None:
    path = Path('.env')
    if not path.is_file():
        return None
    from dotenv import dotenv_values

    values = dotenv_values(path, interpolate=False)
    for name in VARIABLES:
        value = (values.get(name) or '').strip()
        if value:
            return Token(value, f'{name} in .env')
    return None


def _from_login() -> Token | None:
    hf_home = os.environ.get('HF_HOME')
    root = Path(hf_home).expanduser() if hf_home else Path.home() / '.cache' / 'huggingface'
    path = Path(os.environ.get('HF_TOKEN_PATH') or root / 'token')
    try:
        value = path.read_text('utf-8').strip()
    except (OSError, UnicodeDecodeError):
        return None
    return Token(value, str(path)) if value else None
