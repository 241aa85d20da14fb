"""What of a work tree goes to git, to git-lfs, or nowhere? Asked of git itself; and the ``.gitattributes`` that says so.

All names are as they are on disk: ``git … -z`` neither quotes nor escapes them.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from hfmirror import durable, errors, lfs
from hfmirror.gitcmd import GitFailed, git, git_bytes, succeeds
from hfmirror.repository.raising import raises

ATTRIBUTES = '.gitattributes'
_LFS = 'filter=lfs diff=lfs merge=lfs -text'
_SAMPLE = 10 * 1024 * 1024  # bytes of a file that are looked at
# Bytes that text has, in whatever encoding: all but control characters that no text needs.
_TEXT = bytes({7, 8, 9, 10, 12, 13, 27} | set(range(0x20, 0x100)) - {0x7F})


def is_git_repo(folder: str | Path) -> bool:
    """Return whether ``folder`` is the root of a git repository."""
    return (Path(folder) / '.git').exists() and succeeds('rev-parse', '--git-dir', cwd=Path(folder))


@raises(OSError)
def is_local_clone(folder: str | Path, remote_url: str) -> bool:
    """Return whether ``folder`` is a clone of ``remote_url``; who one is in either URL makes no difference."""
    if not is_git_repo(folder):
        return False
    return _comparable(remote_url) in {_comparable(url) for url in remote_urls(Path(folder)).values()}


def remote_urls(work: Path) -> dict[str, str]:
    """Return {remote: its URL}."""
    names = git('remote', cwd=work).splitlines()
    return {name: git('remote', 'get-url', name, cwd=work) for name in names}


def without_user(url: str) -> str:
    """Return ``url`` without the user, and the password or token, in front of its host."""
    return re.sub(r'(?<=://)[^/@\s]*(?::[^/\s]*)?@', '', url) if url.startswith('http') else url


def _comparable(url: str) -> str:
    return without_user(url).rstrip('/').removesuffix('.git')


@raises(OSError)
def is_tracked_with_lfs(filename: str | Path) -> bool:
    """Return whether a file of that name goes to git-lfs: filter, diff and merge are ``lfs``."""
    path = Path(filename)
    try:
        answer = git_bytes(
            'check-attr', '-z', 'filter', 'diff', 'merge', '--', f'./{path.name}', cwd=path.parent
        )
    except GitFailed:
        if not is_git_repo(path.parent):
            return False
        raise
    return answer.split(b'\0')[2::3] == [b'lfs'] * 3


def is_git_ignored(filename: str | Path) -> bool:
    """Return whether git ignores a file of that name, by whichever ``.gitignore``."""
    path = Path(filename)
    return succeeds('check-ignore', '-q', '--', f'./{path.name}', cwd=path.parent)


def is_binary_file(filename: str | Path) -> bool:
    """Return whether the first 10 MiB of a file have a byte that no text has."""
    with Path(filename).open('rb') as file:
        return bool(file.read(_SAMPLE).translate(None, _TEXT))


@raises(OSError)
def files_to_be_staged(pattern: str = '.', folder: str | Path | None = None) -> list[str]:
    """Return the files that ``git add`` would add: new and not ignored, changed, or deleted."""
    where = Path(folder) if folder is not None else None
    return _names('ls-files', '-z', '--exclude-standard', '-mo', '--', pattern, cwd=where)


@raises(OSError)
def is_tracked_upstream(folder: str | Path) -> bool:
    """Return whether the current branch follows one of a remote. Raises GitError when no branch is checked out."""
    where = Path(folder)
    if not succeeds('symbolic-ref', '-q', 'HEAD', cwd=where):
        raise errors.GitError(f'{where}: No branch checked out. Check one out: git checkout main')
    return succeeds('rev-parse', '-q', '--verify', '@{upstream}', cwd=where)


@raises(OSError)
def commits_to_push(folder: str | Path, upstream: str | None = None) -> int:
    """Return how many commits ``upstream`` (``origin/main``; the current branch's own without it) does not have."""
    return len(git('cherry', *([upstream] if upstream else []), cwd=Path(folder)).splitlines())


def deleted(work: Path) -> list[str]:
    """Return the files that the last commit has and the work tree, or the index, has not."""
    gone = set(_names('ls-files', '-z', '-d', cwd=work))
    if succeeds('rev-parse', '-q', '--verify', 'HEAD', cwd=work):
        gone.update(
            _names(
                'diff-index',
                '-z',
                '--cached',
                '--no-renames',
                '--diff-filter=D',
                '--name-only',
                'HEAD',
                cwd=work,
            )
        )
    return sorted(gone)


def candidates(work: Path, pattern: str) -> list[str]:
    """Return the files below ``pattern`` that are new, or whose stat is not what git remembers.

    ``git ls-files -m`` would have git-lfs read every large file whose size is the same.
    """
    changed = _names('diff-files', '-z', '--name-only', '--diff-filter=AMT', '--', pattern, cwd=work)
    new = _names('ls-files', '-z', '-o', '--exclude-standard', '--', pattern, cwd=work)
    return [*changed, *new]


def require_no_conflict(work: Path) -> None:
    """Raise ConflictError when a pull has left files that were changed here and on the remote."""
    names = sorted({row.partition('\t')[2] for row in _names('ls-files', '-z', '-u', cwd=work)})
    if names:
        raise errors.ConflictError(
            f'{work}: changed here and on the remote: {some(names)}. Put the changes together and commit, or go back with '
            "'git rebase --abort' or 'git merge --abort'."
        )


def to_lfs(work: Path, paths: Sequence[str]) -> set[str]:
    """Return those of ``paths`` that the attributes of the repository send to git-lfs."""
    if not paths:
        return set()
    answer = git_bytes('check-attr', '-z', '--stdin', 'filter', cwd=work, stdin='\0'.join([*paths, '']))
    fields = answer.decode('utf-8', 'surrogateescape').split('\0')
    return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == 'lfs'}


def outside_lfs(work: Path, pattern: str, *, smallest: int = 1) -> list[str]:
    """Return the regular files that are new or changed, have so many bytes, and do not go to git-lfs."""
    found = [path for path in candidates(work, pattern) if _size(work / path) >= smallest]
    inside = to_lfs(work, found)
    return [path for path in found if path not in inside]


def large(work: Path, pattern: str) -> list[str]:
    """Return the files of 10 MiB and more among them."""
    return outside_lfs(work, pattern, smallest=lfs.LFS_FROM)


def binary(work: Path, pattern: str) -> list[str]:
    """Return the binary files among them."""
    return [path for path in outside_lfs(work, pattern) if is_binary_file(work / path)]


def _size(path: Path) -> int:
    """Return the size of a regular file, -1 for everything else."""
    try:
        found = path.lstat()
    except OSError:
        return -1
    return found.st_size if stat.S_ISREG(found.st_mode) else -1


def send_to_lfs(work: Path, paths: Sequence[str]) -> None:
    """Have ``paths`` go to git-lfs from now on: one edit, one pattern for three or more files with the same ending."""
    if not paths:
        return
    known = _names('ls-files', '-z', '-c', '-o', '--exclude-standard', cwd=work)
    large = {*paths, *to_lfs(work, known)}
    # A line break would end the line of a pattern that is quoted.
    plain, odd = (
        [path for path in paths if path.isprintable()],
        [path for path in paths if not path.isprintable()],
    )
    _write(work, lfs.track(_read(work), plain, [path for path in known if path not in large]))
    track(work, [f'/{path}' for path in odd], filename=True)


def track(work: Path, patterns: Iterable[str], *, filename: bool = False) -> None:
    """Add lines for ``patterns`` to ``.gitattributes``, those it does not have; ``filename``: they are names, no globs."""
    attributes = _read(work)
    wanted = dict.fromkeys(_spelled(pattern, filename=filename) for pattern in patterns)
    there = {_tracked(line) for line in attributes.splitlines()}
    _write(work, lfs.joined(attributes, [f'{pattern} {_LFS}' for pattern in wanted if pattern not in there]))


def _spelled(pattern: str, *, filename: bool) -> str:
    text = re.sub(r'([\\*?\[\]]|^[!"])', r'\\\1', pattern) if filename else pattern
    # As git-lfs writes them: a blank would end the pattern, a # begin a comment. What no text has, the Hub refuses.
    text = re.sub(r'[ \t\n\r\f\v]', '[[:space:]]', text).replace('#', '\\#')
    return re.sub('[\x00-\x1f\x7f\udc80-\udcff]', '?', text)


def untrack(work: Path, patterns: Iterable[str]) -> None:
    """Take the lines for ``patterns``, as names or as globs, out of ``.gitattributes``."""
    gone = {spelling for pattern in patterns for spelling in _spellings(pattern)}
    attributes = _read(work)
    _write(work, ''.join(line for line in attributes.splitlines(keepends=True) if _tracked(line) not in gone))


def _tracked(line: str) -> str | None:
    """Return the pattern of a line that sends files to git-lfs, as it stands there."""
    match = re.match(r'\s*("(?:[^"\\]|\\.)*"|[^\s"#]\S*)\s+(?:\S+\s+)*?filter=lfs(?:\s|$)', line)
    return match[1] if match else None


def _spellings(pattern: str) -> Iterator[str]:
    for name in (pattern, f'/{pattern}'):
        yield _spelled(name, filename=False)
        yield _spelled(name, filename=True)
    yield lfs.exact_pattern(pattern.removeprefix('/'))


def _read(work: Path) -> str:
    if (work / ATTRIBUTES).is_symlink():
        raise errors.GitError(
            f'{work / ATTRIBUTES}: a link, which git does not read. Put a file in its place.'
        )
    try:
        return (work / ATTRIBUTES).read_bytes().decode('utf-8', 'surrogateescape')
    except FileNotFoundError:
        return ''


def _write(work: Path, text: str) -> None:
    if text != _read(work):
        durable.rewrite(work / ATTRIBUTES, text.encode('utf-8', 'surrogateescape'))


def _names(*args: str, cwd: Path | None) -> list[str]:
    """Return the names that git lists, each once, in its order."""
    listed = git_bytes(*args, cwd=cwd).decode('utf-8', 'surrogateescape')
    return list(dict.fromkeys(name for name in listed.split('\0') if name))


def some(names: Collection[str]) -> str:
    """Return names for a message, no more than five."""
    shown = ', '.join(list(names)[:5])
    return f'{shown}, …' if len(names) > 5 else shown
