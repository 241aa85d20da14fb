"""Who is who on this Hub? ``tokens.json``: tokens (hashed), the users they belong to, and organisations.

    {"secret": "…", "tokens": [{"user": "ada", "role": "write", "sha256": "…"}],
     "organisations": {"lab": {"ada": "admin", "bob": "read"}}}

A token is made of 32 random characters, so one round of sha256 keeps it as well as a slow hash would.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from hfmirror import durable, errors
from hfmirror.server.names import RESERVED
from hfmirror.target import NAME

ROLES = ('read', 'write', 'admin')
_LETTERS = string.ascii_letters + string.digits
_LENGTH = 34
_SHORTEST = 8  # characters of a token that a person chose


class Identity(NamedTuple):
    """Who asks. ``organisations`` is {name: role there}; no role goes beyond the token's own."""

    user: str
    role: str
    organisations: Mapping[str, str]

    @property
    def writes(self) -> bool:
        """Whether the token may write at all."""
        return self.role != 'read'

    def may_write_to(self, namespace: str) -> bool:
        """Whether repositories of ``namespace`` are theirs to write."""
        own = namespace.lower() == self.user.lower()
        return self.writes and (own or self.role == 'admin' or self.role_in(namespace) in ('write', 'admin'))

    def may_see(self, namespace: str) -> bool:
        """Whether private repositories of ``namespace`` are theirs to read."""
        own = namespace.lower() == self.user.lower()
        return own or self.role == 'admin' or self.role_in(namespace) is not None

    def role_in(self, organisation: str) -> str | None:
        """Return the role in an organisation, None for one that they are not in."""
        roles = {name.lower(): role for name, role in self.organisations.items()}
        return roles.get(organisation.lower())


class NewToken(NamedTuple):
    """A token as asked for: ``USER:ROLE`` or ``USER:ROLE:TOKEN``."""

    user: str
    role: str
    token: str

    def __repr__(self) -> str:
        return f'NewToken({self.user!r}, {self.role!r}, ***)'


def parse(text: str) -> NewToken:
    """Return the token that ``USER:ROLE[:TOKEN]`` asks for, a random one when it has none. Raises UsageError."""
    user, _, rest = text.partition(':')
    role, _, token = rest.partition(':')
    if not NAME.fullmatch(user) or user.lower() in RESERVED:
        raise errors.UsageError(
            f'--token {user or "(nobody)"}:…: {user!r} is no name for a user. Expected USER:ROLE or USER:ROLE:TOKEN, '
            'like ada:write.'
        )
    if role not in ROLES:
        raise errors.UsageError(
            f'--token {user}:{role or "?"}: the role is one of {", ".join(ROLES)}, like {user}:write.'
        )
    if token and (len(token) < _SHORTEST or not token.isascii() or not token.isprintable() or ' ' in token):
        raise errors.UsageError(
            f'--token {user}:{role}:…: a token has {_SHORTEST} or more letters, digits and signs, no spaces.'
        )
    return NewToken(user, role, token or generate())


def generate() -> str:
    """Return a new token in the Hub's form."""
    return 'hf_' + ''.join(secrets.choice(_LETTERS) for _ in range(_LENGTH))


class Tokens:
    """The file of tokens below a Hub's root, read again when it has changed. Tokens themselves are nowhere in it."""

    def __init__(self, root: Path) -> None:
        self._path = root / 'tokens.json'
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, Any] = {}

    def add(self, new: NewToken, *, automatic: bool = False) -> None:
        """Keep the hash of a token. An automatic one takes the place of the automatic one before it."""
        digest = _digest(new.token)
        entry = {'user': new.user, 'role': new.role, 'sha256': digest}
        if automatic:
            entry['automatic'] = 'yes'
        with self._changing() as known:
            known['tokens'] = [
                old
                for old in known['tokens']
                if old['sha256'] != digest and not (automatic and 'automatic' in old)
            ]
            known['tokens'].append(entry)

    def identify(self, token: str) -> Identity | None:
        """Return whose token this is, None when it is nobody's. Takes the same time for every wrong one."""
        digest = _digest(token)
        found = None
        for entry in self._read()['tokens']:
            if hmac.compare_digest(entry['sha256'], digest):
                found = entry
        return self._identity(found) if found else None

    def chosen(self) -> int:
        """Return how many tokens a person has given out."""
        return sum('automatic' not in entry for entry in self._read()['tokens'])

    def users(self) -> set[str]:
        """Return the names of all who have a token."""
        return {entry['user'] for entry in self._read()['tokens']}

    def organisations(self) -> Mapping[str, Mapping[str, str]]:
        """Return {organisation: {user: role}}."""
        found: Mapping[str, Mapping[str, str]] = self._read()['organisations']
        return found

    def secret(self) -> bytes:
        """Return the key that signs the addresses of uploads, made when there is none."""
        if not self._read().get('secret'):
            with self._changing() as known:
                known['secret'] = known.get('secret') or secrets.token_hex(32)
        return bytes.fromhex(self._read()['secret'])

    def _identity(self, entry: Mapping[str, str]) -> Identity:
        user = entry['user']
        organisations = {
            name: members[user] for name, members in self.organisations().items() if user in members
        }
        return Identity(user, entry['role'], organisations)

    def _read(self) -> dict[str, Any]:
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return _checked({}, self._path)
        stamp = (found.st_ino, found.st_mtime_ns)
        if stamp != self._stamp:
            self._known, self._stamp = _load(self._path), stamp
        return self._known

    def _changing(self) -> _Change:
        return _Change(self._path)


class _Change:
    """A change of the file, under a lock: read, change, write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = FileLock(path.with_suffix('.lock'), mode=0o600)
        self._known: dict[str, Any] = {}

    def __enter__(self) -> dict[str, Any]:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._lock.acquire()
        self._known = _load(self._path) if self._path.exists() else _checked({}, self._path)
        return self._known

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                # A file made by durable.write is for its owner alone, mode 0600, from its first moment.
                durable.write(self._path, json.dumps(self._known, indent=1).encode())
        finally:
            self._lock.release()


def _load(path: Path) -> dict[str, Any]:
    try:
        return _checked(json.loads(path.read_bytes()), path)
    except (ValueError, RecursionError) as e:
        raise errors.ConfigError(
            f'{path}: not JSON ({e}). Mend it, or remove it and give out new tokens.'
        ) from e


def _checked(known: object, path: Path) -> dict[str, Any]:
    if not isinstance(known, dict):
        raise errors.ConfigError(f'{path}: a {type(known).__name__} where an object is expected.')
    known.setdefault('tokens', [])
    known.setdefault('organisations', {})
    tokens, organisations = known['tokens'], known['organisations']
    if not isinstance(tokens, list) or not all(_is_token(entry) for entry in tokens):
        raise errors.ConfigError(f'{path}: tokens: expected a list of objects with user, role and sha256.')
    if not isinstance(organisations, dict) or not all(
        _is_organisation(members) for members in organisations.values()
    ):
        raise errors.ConfigError(
            f'{path}: organisations: expected {{"name": {{"user": "read|write|admin"}}}}.'
        )
    return known


def _is_token(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and all(isinstance(entry.get(key), str) for key in ('user', 'role', 'sha256'))
        and entry['role'] in ROLES
        and len(entry['sha256']) == 64
    )


def _is_organisation(members: object) -> bool:
    return isinstance(members, dict) and all(role in ROLES for role in members.values())


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode('utf-8', 'surrogateescape')).hexdigest()
