"""Which names from the wire do we believe? Repositories, revisions and paths, each checked before it is used.

A path of a URL is split before it is decoded: ``feat%2Fx`` is one segment. The routes match the undecoded path, and the
convertors here decode what they matched.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from starlette.convertors import Convertor, register_url_convertor

from hfmirror import errors
from hfmirror.server.answers import bad_request, no_revision
from hfmirror.target import check_repo_id

KINDS = {
    'models': 'model',
    'datasets': 'dataset',
    'spaces': 'space',
}  # the word in URLs and folders → repo_type
# First words of our own URLs: no user or organisation can have such a name.
RESERVED = frozenset(
    (*KINDS, 'api', 'xet', 'static', 'kernels', 'oauth', 'login', 'settings', 'new', 'join', 'docs')
)

_SHA = re.compile(r'[0-9a-f]{7,40}')
_NO_REF = re.compile(r'[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(?:/|$)')
_PATH_MAX = 1000  # characters, as the Hub has it


def decoded(segment: str) -> str:
    """Return a segment of a URL's path as text. Raises Problem for bytes that are no UTF-8, and for NUL."""
    try:
        text = unquote(segment, errors='strict')
    except UnicodeDecodeError as e:
        raise bad_request('The address is not UTF-8.') from e
    if '\0' in text:
        raise bad_request('The address has a NUL character.')
    return text


class _Segment(Convertor[str]):
    regex = '[^/]+'

    def convert(self, value: str) -> str:
        return decoded(value)

    def to_string(self, value: str) -> str:
        return quote(value, safe='')


class _Tail(_Segment):
    """The rest of a path; its slashes may be encoded or not."""

    regex = '.+'

    def to_string(self, value: str) -> str:
        return quote(value)


class _Namespace(_Segment):
    regex = rf'(?!(?:{"|".join(sorted(RESERVED))})(?:/|$))[^/]+'


class _Git(_Segment):
    """The name of a repository in git's URLs, with or without ``.git``."""

    def convert(self, value: str) -> str:
        return decoded(value).removesuffix('.git')


class _Kind(_Segment):
    regex = '|'.join(KINDS)


for _name, _convertor in {
    'segment': _Segment(),
    'tail': _Tail(),
    'namespace': _Namespace(),
    'git': _Git(),
    'kind': _Kind(),
}.items():
    register_url_convertor(_name, _convertor)


def checked_repo_id(namespace: str, name: str) -> str:
    """Return ``namespace/name``. Raises Problem when it breaks the Hub's rules, and so could be no repository's."""
    repo_id = f'{namespace}/{name}'
    try:
        check_repo_id(repo_id)
    except errors.UsageError as e:
        raise bad_request(f'{repo_id[:200]!r} is no name for a repository: {_reason(e)}') from e
    if namespace.lower() in RESERVED:
        raise bad_request(f'{namespace!r} is a word of our own addresses, not a namespace.')
    return repo_id


def _reason(error: errors.UsageError) -> str:
    return str(error).partition(': ')[2]


def is_commit(revision: str) -> bool:
    """Return whether ``revision`` looks like a commit's id, whole or short."""
    return _SHA.fullmatch(revision) is not None


def checked_revision(revision: str) -> str:
    """Return ``revision``. Raises Problem 404 when it can be no name of a branch, tag, ref or commit.

    Git would take more for a revision, ``main@{1}`` or ``:/text``; none of that is served.
    """
    if not is_ref_name(revision):
        raise no_revision(revision)
    return revision


def is_ref_name(name: str) -> bool:
    """Return whether git could have a ref of that name (git-check-ref-format(1)); one like an option is none."""
    return not (
        not name
        or len(name) > 250
        or name == '@'
        or name[0] in '-/.'
        or name[-1] in '/.'
        or _NO_REF.search(name)
    )


def checked_ref_name(name: str, what: str) -> str:
    """Return the name for a new branch or tag. Raises Problem 400 when it cannot be one."""
    if not is_ref_name(name) or name == 'HEAD' or name.startswith('refs/'):
        raise bad_request(f'Invalid reference for a {what}: {name[:200]!r}')
    return name


def checked_path(path: str) -> str:
    """Return a path in a repository, one leading ``/`` or ``./`` dropped. Raises Problem 400 for one that leads out of it."""
    clean = path.removeprefix('./').removeprefix('/')
    parts = clean.split('/')
    if not clean or len(clean) > _PATH_MAX or '\0' in clean or '\n' in clean:
        raise bad_request(f'Invalid path: {path[:200]!r}')
    if any(part in ('', '.', '..') or part.lower() == '.git' for part in parts):
        raise bad_request(f'Invalid path: {path[:200]!r}')
    return clean


def served_path(path: str) -> str | None:
    """Return a path to look up in a tree, without slashes at its ends; None when no tree can have it."""
    clean = path.strip('/')
    if not clean or any(part in ('', '.', '..') for part in clean.split('/')):
        return None
    return clean
