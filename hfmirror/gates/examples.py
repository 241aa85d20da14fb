"""Is what looks like a secret only an example of one?"""

from __future__ import annotations

import math
import re
from collections import Counter

_SAYS_SO = re.compile(
    rb'(?i)(.)\1{4}|x{4}|\*{3}|\.{3}|example|placeholder|your|dummy|fake|redact|insert|change_?me|secret|token|passw'
    rb'|abcdef|123456|qwerty|\$\w|%s|[<>{}\[\]]'
)
# What a line of a settings file may hold instead: a reference, a path, a word of the program's own.
_NO_VALUE = re.compile(
    rb'(?i)[$<{\[%]|[~.]{0,2}/|.*(?:x{4}|\*{3}|\.{3}|example|placeholder|your|dummy|redact|insert|change_?me)'
    rb'|(?:password|secret|token|optional|required|default|disabled|enabled)\Z'
)
_KINDS = (re.compile(rb'[a-z]'), re.compile(rb'[A-Z]'), re.compile(rb'\d'))
_HEX = b'0123456789abcdef'
_HEX_LENGTHS = (32, 40, 48, 64)


def is_example(token: bytes) -> bool:
    """Return whether a token is too even to be one, or has a word in it that says so."""
    kinds = sum(bool(kind.search(token, 4)) for kind in _KINDS)
    is_one_case = token.startswith((b'AKIA', b'ASIA'))
    return bool(_SAYS_SO.search(token)) or len(set(token)) < 10 or (kinds < 2 and not is_one_case)


def is_example_password(user: bytes, password: bytes, host: bytes) -> bool:
    """Return whether the login of a URL is none: ``user:password``, ``postgres:postgres``, or a machine's own."""
    if user == password or host.startswith((b'localhost', b'127.', b'0.0.0.0', b'[::1]', b'example')):
        return True
    return bool(_SAYS_SO.search(password))


def is_value(value: bytes) -> bool:
    """Return whether what stands after the name of a secret in a settings file is one."""
    return len(value) >= 6 and not _NO_VALUE.match(value)


def is_random(value: bytes) -> bool:
    """Return whether ``value`` looks drawn by lot: a long hex number, or letters of both cases and digits, mixed."""
    if _SAYS_SO.search(value):
        return False
    if not value.strip(_HEX):
        return len(value) in _HEX_LENGTHS and len(set(value)) > 8
    return all(kind.search(value) for kind in _KINDS) and _bits(value) > 3.5


def _bits(value: bytes) -> float:
    """Return the bits that a byte of ``value`` carries."""
    return -sum(n / len(value) * math.log2(n / len(value)) for n in Counter(value).values())
