"""How does a folder become a person's clone? Whole or not at all; and no token stays in its configuration."""

from __future__ import annotations

import logging
import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

from hfmirror import durable, errors, transfers
from hfmirror import target as targets
from hfmirror.gitcmd import GitFailed, git, succeeds
from hfmirror.repository.tracking import is_git_repo, is_local_clone, remote_urls, without_user
from hfmirror.target import Target

_log = logging.getLogger('hfmirror')

# In the git directory while the clone is not whole; says what is still to be done.
_MARK = 'hfmirror-cloning'
_BEGUN = '.hfmirror-clone-'
_FILES, _LFS = 'files', 'lfs'
_ID = re.compile(r'[^/:@~.\s][^/:@\s]*(/[^/:@\s]+)?|(datasets|spaces|models)/[^/:@\s]+/[^/:@\s]+')
_TYPES = {folder: kind for kind, folder in targets.FOLDERS.items()}


def target_of(address: str, repo_type: str | None, endpoint: str) -> Target:
    """Return the repository that a person names: by its id or URL on the Hub, or as git does.

    Raises UsageError for an id without a namespace and for an address git cannot use.
    """
    if repo_type not in (None, *targets.REPO_TYPES):
        raise errors.UsageError(f'repo_type={repo_type!r}: expected one of {", ".join(targets.REPO_TYPES)}.')
    clean = without_user(address)
    on_hub = clean.removeprefix(f'{endpoint}/') if clean.startswith(f'{endpoint}/') else None
    if on_hub is None and _ID.fullmatch(address):
        on_hub = address
    if on_hub is None:
        return targets.at_url(address, targets.repo_id_of_url(address), repo_type=repo_type or 'model')
    repo_id = on_hub.rstrip('/').removesuffix('.git')
    folder, _, rest = repo_id.partition('/')
    if folder in _TYPES and rest:
        repo_id, repo_type = rest, _TYPES[folder]
    targets.check_repo_id(repo_id)
    return targets.hub(endpoint, repo_id, repo_type=repo_type or 'model')


def target_of_clone(work: Path, repo_type: str | None, endpoint: str) -> Target:
    """Return the repository that ``work`` is a clone of; one that nothing can be pushed to when it has no remote."""
    try:
        url = without_user(git('ls-remote', '--get-url', 'origin', cwd=work))
    except GitFailed:
        url = 'origin'
    if url == 'origin':  # so git says it when there is none
        return Target('origin', '', targets.repo_id_of_url(str(work)), repo_type or 'model')
    if '://' not in url and ':' not in url:
        url = str(work / url)
    try:
        return target_of(url, repo_type, endpoint)
    except errors.UsageError:  # an address that hfmirror would not take; git does
        return Target(url, url, targets.repo_id_of_url(url), repo_type or 'model')


def clone(target: Target, work: Path, *, env: Mapping[str, str], lfs: bool) -> None:
    """Clone into ``work``, a directory with nothing in it. A kill leaves it as it was, or is mended by ``finish``."""
    for left in work.glob(f'{_BEGUN}*'):
        shutil.rmtree(left, ignore_errors=True)
    new = Path(mkdtemp(dir=work, prefix=_BEGUN))
    try:
        git('clone', '-q', '--no-checkout', '--origin', 'origin', '--', target.git_url, new, env=env)
        (new / '.git' / _MARK).write_text(f'{_FILES} {_LFS}' if lfs else _FILES)
        (new / '.git').rename(work / '.git')
    finally:
        shutil.rmtree(new, ignore_errors=True)


def finish(work: Path, *, env: Mapping[str, str]) -> None:
    """Do what a clone that was cut short has left to do: lay out its files, fetch its LFS objects."""
    mark = work / '.git' / _MARK
    if not mark.is_file():
        return
    missing = mark.read_text().split()
    if succeeds('rev-parse', '-q', '--verify', 'HEAD', cwd=work):
        if _FILES in missing:
            with suppress(FileNotFoundError):
                (work / '.git' / 'index.lock').unlink()
            # Pointers first: git would hold each large file in memory.
            git('reset', '-q', '--hard', cwd=work, env={**env, 'GIT_LFS_SKIP_SMUDGE': '1'})
            durable.write(mark, ' '.join(set(missing) - {_FILES}).encode())
        if _LFS in missing:
            git('lfs', 'pull', cwd=work, env=env)
    mark.unlink()


def is_empty(work: Path) -> bool:
    """Return whether there is nothing in a directory but what a killed clone has left."""
    return all(path.name.startswith(_BEGUN) for path in work.iterdir())


def require_clone_of(work: Path, target: Target) -> None:
    """Raise GitError unless ``work``, which is not empty, is a clone of ``target``."""
    if not is_git_repo(work):
        raise errors.GitError(
            f'{work}: Tried to clone {target.url} into a folder that is not empty and no git repository. '
            'Name an empty folder, or one that is a clone of it.'
        )
    if not is_local_clone(work, target.git_url):
        there = ', '.join(without_user(url) for url in remote_urls(work).values()) or 'no remote'
        raise errors.GitError(f'{work}: is a clone of {there}, not of {target.url}. Name another folder.')


def set_up(work: Path) -> None:
    """Have git-lfs filter the files of this repository, and its own agent send those of more than 5 GB.

    Hooks that the person has, here or for all repositories, stay as they are.
    """
    if not _configured(work, 'filter.lfs.process'):
        git('lfs', 'install', '--local', '--skip-repo', cwd=work)
    if not _configured(work, 'core.hooksPath', '--get'):
        try:
            git('lfs', 'update', cwd=work)
        except GitFailed as e:
            _log.info('%s: the hooks of git-lfs were not installed: %s', work, e)


def enable_large_files(work: Path) -> None:
    """Register the agent with which huggingface_hub sends files in parts, for the person's own ``git push`` too."""
    for key, value in transfers.settings().items():
        if '.multipart.' in key and not _configured(work, key):
            git('config', '--local', key, value, cwd=work)


def keep_reports_out(storage: Path) -> None:
    """Keep git-lfs from writing reports of its failures into its ``storage``.

    Each has every variable in it whose name has GIT_, the token's too. A file in the way makes git-lfs print the report
    instead, where nobody keeps it; reports that are there are put aside.
    """
    reports = storage / 'logs'
    if reports.is_dir():
        reports.rename(reports.with_name(f'logs-{time.time_ns()}'))
    if not reports.exists():
        storage.mkdir(parents=True, exist_ok=True)
        reports.touch()


def _configured(work: Path, key: str, *scope: str) -> bool:
    return succeeds('config', *(scope or ('--local', '--get')), key, cwd=work)


def token_in(url: str, endpoint: str) -> str | None:
    """Return the token in the URL of a repository on the Hub at ``endpoint``, None when there is none."""
    user, at, _ = url.partition('://')[2].partition('/')[0].rpartition('@')
    return (_secret(user) or None) if at and without_user(url).startswith(f'{endpoint}/') else None


def take_credentials(work: Path, endpoint: str) -> str | None:
    """Take the tokens that the removed class has left for the Hub at ``endpoint`` out of ``.git/config``.

    Returns the last of them. What is there for other hosts is the person's own.
    """
    path = work / git('rev-parse', '--git-path', 'config', cwd=work)
    text = path.read_bytes().decode('utf-8', 'surrogateescape')
    host = re.escape(urlsplit(endpoint).netloc)
    found = re.findall(rf'(?<=://)([^/@\s"]*)@(?={host}(?:[/\s"]|$))', text)
    if not found:
        return None
    _replace(path, re.sub(rf'(?<=://)[^/@\s"]*@(?={host}(?:[/\s"]|$))', '', text))
    if _configured(work, 'credential.helper'):
        # Kept what git was let in with in ~/.git-credentials, for everybody who reads it.
        with suppress(GitFailed):
            git('config', '--local', '--unset-all', 'credential.helper', '^store$', cwd=work)
    tokens = [secret for user in found if (secret := _secret(user))]
    if tokens:
        _log.warning(
            '%s held a token in a URL; it was taken out. Others may have seen it (~/.git-credentials has it too): '
            'replace it under Settings, Access Tokens, and log in with: hf auth login',
            path,
        )
    return tokens[-1] if tokens else None


def _secret(user: str) -> str:
    """Return the token in the user part of a URL; empty when there is only a name."""
    name, _, password = user.partition(':')
    return password or (name if name.startswith('hf_') else '')


def _replace(path: Path, text: str) -> None:
    """Write git's configuration as git does: into its lock file, renamed at the end."""
    lock = path.with_name('config.lock')
    try:
        file = lock.open('xb')
    except FileExistsError as e:
        raise errors.GitError(f'{lock}: is there, so another git writes. Try again.') from e
    try:
        with file:
            lock.chmod(path.stat().st_mode & 0o777)
            file.write(text.encode('utf-8', 'surrogateescape'))
            file.flush()
            os.fsync(file.fileno())
        lock.replace(path)
    except BaseException:
        lock.unlink(missing_ok=True)  # else no git could write there any more
        raise
