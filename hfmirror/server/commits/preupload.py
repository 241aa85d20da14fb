"""How is each file to be sent: as text in the commit, or to LFS first? And which are not to be sent at all?"""

from __future__ import annotations

import base64
import binascii
import codecs
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hfmirror import lfs
from hfmirror.gitignore import Pattern, parse_line
from hfmirror.ignore import IgnoreRules, named_by, rules_of
from hfmirror.server.answers import bad_request
from hfmirror.server.commits.draft import Draft
from hfmirror.server.git.attributes import ATTRIBUTES, lfs_paths
from hfmirror.server.git.bare import Bare, File
from hfmirror.server.names import checked_path
from hfmirror.server.requests import text

_FILES_MAX = 1000  # in one request; clients send 256
_IGNORE_MAX = 64 * 1024  # bytes of a .gitignore; a longer one is not read, nor one of more lines:
_IGNORE_LINES_MAX = 500  # as many as Python keeps compiled
_IGNORE_FILE = '.gitignore'


class Offered(NamedTuple):
    """A file that a client would send. ``size`` is in bytes, ``sample`` the content's first ones."""

    name: str  # as the client called it
    path: str
    size: int
    sample: bytes


def offered(values: Mapping[str, Any]) -> list[Offered]:
    """Return the files that a request asks about. Raises Problem 400 for one that could not be committed."""
    files = values.get('files')
    if not isinstance(files, list) or not all(isinstance(file, dict) for file in files):
        raise bad_request('"files" must be a list of objects.')
    if len(files) > _FILES_MAX:
        raise bad_request(f'At most {_FILES_MAX} files can be asked about at once.')
    return [_offered(file) for file in files]


def _offered(value: Mapping[str, Any]) -> Offered:
    name, size = text(value, 'path'), value.get('size')
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise bad_request('"size" must be a natural number.')
    try:
        sample = base64.b64decode(text(value, 'sample', ''), validate=True)
    except (binascii.Error, ValueError) as e:
        raise bad_request('"sample" must be base64.') from e
    return Offered(name, checked_path(name), size, sample)


def answers(
    bare: Bare,
    head: str | None,
    files: Sequence[Offered],
    *,
    plain_max: int,
    attributes: str | None = None,
    ignored: str | None = None,
) -> list[dict[str, Any]]:
    """Return what to do with each file. ``attributes`` and ``ignored`` are the root's files that come with the commit."""
    paths = [file.path for file in files]
    draft = Draft(bare, head)
    root = attributes.encode() if attributes is not None else None
    tracked = lfs_paths(bare.git_dir, paths, draft.above(paths, ATTRIBUTES), root=root)
    rules = _rules(bare, draft, paths, ignored)
    return [
        {
            'path': file.name,
            'uploadMode': 'lfs' if file.path in tracked or _is_for_lfs(file, plain_max) else 'regular',
            'shouldIgnore': _is_ignored(rules, file.path),
            'oid': _oid(bare, head, file.path),
        }
        for file in files
    ]


def _is_for_lfs(file: Offered, plain_max: int) -> bool:
    return file.size > plain_max or not _is_text(file.sample, whole=len(file.sample) >= file.size)


def _is_text(sample: bytes, *, whole: bool) -> bool:
    """Return whether a sample is of a text. It may end in the middle of a character when it is not the whole file."""
    decoder = codecs.getincrementaldecoder('utf-8')()
    try:
        decoder.decode(sample, final=whole)
    except UnicodeDecodeError:
        return False
    cut = len(decoder.getstate()[0])
    return lfs.is_text(sample[: len(sample) - cut])


def _oid(bare: Bare, head: str | None, path: str) -> str | None:
    """Return what is at ``path`` now: the sha256 of an LFS file, else the blob's id, None for nothing."""
    found = bare.find(head, path) if head is not None else None
    return found.etag if found is not None and not found.is_folder else None


def _rules(bare: Bare, draft: Draft, paths: list[str], ignored: str | None) -> dict[str, IgnoreRules]:
    """Return {folder: rules of its .gitignore}."""
    contents = {
        path.removesuffix(_IGNORE_FILE): bare.content(File(path, '100644', blob))
        for path, blob in draft.above(paths, _IGNORE_FILE).items()
    }
    if ignored is not None:
        contents[''] = ignored.encode()
    return {folder: rules_of(folder, _patterns(content)) for folder, content in contents.items()}


def _patterns(content: bytes) -> list[tuple[Pattern, str]]:
    lines = content.removeprefix(b'\xef\xbb\xbf').decode('latin-1').split('\n')
    if len(content) > _IGNORE_MAX or len(lines) > _IGNORE_LINES_MAX:
        return []
    found = [(pattern, _IGNORE_FILE) for line in lines if (pattern := parse_line(line)) is not None]
    return found[::-1]


def _is_ignored(rules: Mapping[str, IgnoreRules], path: str) -> bool:
    """Return whether the file or a folder above it is named; nothing comes back from an ignored folder."""
    if not rules:
        return False
    folders = [path[:end] for end, letter in enumerate(path) if letter == '/']
    known = [rules['']] if '' in rules else []  # deepest first
    for folder in folders:
        if named_by(known, folder, is_dir=True):
            return True
        known[:0] = [rules[f'{folder}/']] if f'{folder}/' in rules else []
    return named_by(known, path, is_dir=False) is not None
