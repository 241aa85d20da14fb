"""Which files are there to hold secrets, and in which of their lines are they? ``.env``, ``prod.env``, ``.netrc``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from hfmirror.gates.examples import is_value

Rule = Callable[[bytes, int, int], Iterator[tuple[int, str]]]

_VARIABLE = re.compile(
    rb'(?mi)^[ \t]*(?:export[ \t]+|set[ \t]+)?(?!\w*public)'
    rb'[a-z_]\w{0,100}?(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PWD|CREDENTIALS?)\d*[ \t]*=[ \t]*'
    rb'(?:"([^"\n]{0,4096})"|\'([^\'\n]{0,4096})\'|([^\s#"\']{0,4096}))'
)
_PASSWORD = re.compile(rb'\bpassword\s{1,20}("?)(\S{6,1024})\1')


def settings_rule(path: str) -> Rule | None:
    """Return what finds the secrets in a file of that name, None when it is no settings file."""
    name = path.rpartition('/')[2].lower()
    if name in ('.netrc', '_netrc', 'netrc'):
        return _in_netrc
    if name == '.envrc' or name == '.env' or name.startswith('.env.') or name.endswith('.env'):
        return _in_dotenv
    return None


def _in_dotenv(text: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    for match in _VARIABLE.finditer(text, start):
        if match.start() >= end:
            return
        if is_value(match[1] or match[2] or match[3] or b''):
            yield match.start(match.lastindex or 0), 'dotenv'


def _in_netrc(text: bytes, start: int, end: int) -> Iterator[tuple[int, str]]:
    for match in _PASSWORD.finditer(text, start):
        if match.start() >= end:
            return
        if is_value(match[2]):
            yield match.start(), 'netrc'
