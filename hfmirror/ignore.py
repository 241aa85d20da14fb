"""Which files of a folder are not for a release, and why?

1. What never is: git's own files, caches, ``.env``. No option brings these back.
2. What the folder's ``.gitignore`` and ``.hfignore`` name, by git's rules. Both may be in any subfolder; in one folder
   ``.hfignore`` comes second, so that its ``!*.pt`` brings back what ``.gitignore`` names.
3. What ``--exclude`` names.
4. What ``--include`` does not name, when it is given. It narrows, and brings nothing back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

from hfmirror.errors import SourceError, UsageError
from hfmirror.gitignore import Pattern, as_bytes, parse_line

IGNORE_FILES = ('.gitignore', '.hfignore')

_GIT = "git's own"
_STEERS = 'would steer git in the release'
_CACHES = {'__pycache__', '.ipynb_checkpoints', '.huggingface', '.hfmirror'}
_STEERING = {'.gitattributes', '.gitmodules', '.lfsconfig'}
_LARGEST = 1024 * 1024  # bytes of an ignore file; it is read whole
_LONGEST_LINE = 4096  # no path is longer; a pattern of a megabyte takes minutes to compile
# macOS does not see these in a name: '.g\u200cit' is .git there. The list is git's own (utf8.c).
_UNSEEN = re.compile('[\u200c-\u200f\u202a-\u202e\u206a-\u206f\ufeff]')
_HALF_FETCHED = re.compile(r'\..*\.[0-9a-f]{12}\.part', re.DOTALL)
# The short names Windows gives to .git, .gitattributes and .gitmodules.
_SHORT_NAMES = re.compile(r'git~\d+|(gitatt|gitmod|gi7d29|gi7eba)~\d+')


def never_released(path: str, *, is_dir: bool) -> str | None:
    """Return why ``path`` is in no release whatever the options say, None when it may be. Looks at its last part."""
    folder, _, name = path.rpartition('/')
    if name.isascii() and name[0] not in '._gG' and name != 'huggingface':
        return None  # nearly every name there is
    known = _as_file_systems_see(name)
    if known == '.git' or (is_dir and known.startswith('.git')):
        return _GIT
    if known in _STEERING or _SHORT_NAMES.fullmatch(known):
        return _STEERS
    if known == '.env' or (known.startswith('.env.') and known != '.env.example'):
        return 'may hold secrets'
    if is_dir and (name in _CACHES or (name == 'huggingface' and folder.rpartition('/')[2] == '.cache')):
        return 'a cache'
    if _HALF_FETCHED.fullmatch(name):
        return 'half of a file that a pull was fetching'
    return 'only says what to leave out' if name == '.hfignore' else None


def _as_file_systems_see(name: str) -> str:
    """Return the name by which macOS and Windows may open ``name``: case, unseen characters and endings dropped."""
    return _UNSEEN.sub('', name).casefold().partition(':')[0].rstrip('. ')


class Globs:
    """The patterns of ``--include`` or ``--exclude``, read as huggingface_hub reads them, and in two ways wider.

    They are held against the whole path, case counts, ``*`` also matches slashes, and one with a slash at its end
    means a folder. Wider: one without any other slash, or with ``**/`` at its beginning, matches in every folder.
    """

    def __init__(self, patterns: Iterable[str], *, option: str) -> None:
        plain = [_plain(pattern, option) for pattern in patterns]
        self._any = _matchers(pattern for pattern in plain if not pattern.endswith('/'))
        self._folders = _matchers(pattern[:-1] for pattern in plain if pattern.endswith('/'))

    def __bool__(self) -> bool:
        return bool(self._any or self._folders)

    def match(self, path: str, *, is_dir: bool) -> bool:
        """Return whether a pattern names ``path`` itself; it then names all that is in it, too."""
        return any(match(path) for match in self._any) or (
            is_dir and any(match(path) for match in self._folders)
        )


def _plain(pattern: str, option: str) -> str:
    plain = pattern.replace('\\', '/').removeprefix('./')
    if not plain.strip('/'):
        raise UsageError(
            f'{option} {pattern!r}: names nothing. Use a name, a path or a pattern such as "*.ckpt".'
        )
    return plain


def _matchers(patterns: Iterable[str]) -> list[Callable[[str], object]]:
    globs = []
    for pattern in patterns:
        inner = re.sub(r'^(\*\*/)+', '', pattern)
        everywhere = inner != pattern or '/' not in pattern
        globs += [inner, f'*/{inner}'] if everywhere else [pattern.removeprefix('/')]
    return [re.compile(translate(glob)).match for glob in globs]


class IgnoreRules(NamedTuple):
    """The ignore files of one folder, which is '' or ends with a slash. The last pattern that matches decides."""

    folder: str
    patterns: list[tuple[Pattern, str]]  # with the path of its file, last first
    any_name: re.Pattern[str]
    any_path: re.Pattern[str]


def read_rules(folder: str, directory: str, present: Sequence[str]) -> IgnoreRules:
    """Return the rules that the ignore files ``present`` in ``directory`` make for ``folder``.

    Raises SourceError for a file too large for one, OSError when it cannot be read.
    """
    found = [
        (pattern, folder + name) for name in sorted(present) for pattern in _patterns(Path(directory, name))
    ]
    found.reverse()
    return rules_of(folder, found)


def rules_of(folder: str, found: list[tuple[Pattern, str]]) -> IgnoreRules:
    """Return the rules that patterns make for ``folder``, last pattern first, each with the path of its file."""
    return IgnoreRules(
        folder,
        found,
        any_name=_union([pattern.regex for pattern, _ in found if not pattern.anchored]),
        any_path=_union([pattern.regex for pattern, _ in found if pattern.anchored]),
    )


def _patterns(path: Path) -> list[Pattern]:
    with path.open('rb') as file:
        content = file.read(_LARGEST + 1)
    lines = content.removeprefix(b'\xef\xbb\xbf').decode('latin-1').split('\n')
    if len(content) > _LARGEST or max(map(len, lines)) > _LONGEST_LINE:
        raise SourceError(
            f'{path}: larger than 1 MiB, or with a line of more than 4,096 bytes; that is no list of files to leave out. '
            'Make it shorter, or remove it.'
        )
    return [pattern for line in lines if (pattern := parse_line(line)) is not None]


def _union(expressions: Sequence[str]) -> re.Pattern[str]:
    """Return what matches when any of ``expressions`` does: one look is enough for most of the files."""
    return re.compile('|'.join(f'(?:{expression})' for expression in expressions) or '(?!)')


def named_by(rules: Iterable[IgnoreRules], path: str, *, is_dir: bool) -> str | None:
    """Return the ignore file that names ``path``, None when none does. ``rules`` are of its folders, deepest first.

    The folders above ``path`` must be known not to be ignored: in git too nothing comes back from an ignored folder.
    """
    for rule in rules:
        inner = as_bytes(path[len(rule.folder) :])
        name = inner.rpartition('/')[2]
        if not (rule.any_name.fullmatch(name) or rule.any_path.fullmatch(inner)):
            continue
        for pattern, source in rule.patterns:
            if is_dir >= pattern.only_folders and re.fullmatch(
                pattern.regex, inner if pattern.anchored else name
            ):
                return None if pattern.brings_back else source
    return None
