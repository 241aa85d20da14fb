"""How is a clone of our own made, told apart from a stranger's directory, and locked?"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from hfmirror import durable, output
from hfmirror.errors import GitError
from hfmirror.gitcmd import git
from hfmirror.target import Target

MARK = 'hfmirror.json'
MIRROR = 'mirror.git'  # of an archive
_FORMAT = 1

# `* -filter`: in our clone no file ever passes through git-lfs, a pointer file is simply a small text file. `-text`: nor
# through a line-end conversion. This file outranks every .gitattributes.
_INFO_ATTRIBUTES = '* -filter -text -ident -working-tree-encoding\n'

_CLONE_CONFIG = {
    'core.autocrlf': 'false',
    'core.fsmonitor': 'false',
    'core.hooksPath': os.devnull,  # neither a template's hooks nor git-lfs's pre-push run here
    'core.logAllRefUpdates': 'false',
    'core.sparseCheckoutCone': 'false',
    'core.symlinks': 'false',  # a hostile repository's link is checked out as text, nothing is written through it
    'gc.auto': '0',
    'fastimport.unpackLimit': '100',
    'lfs.allowincompletepush': 'false',
    'lfs.locksverify': 'false',
    'lfs.transfer.maxretries': '2',  # of one object in one try of ours; 8 would be a minute before the release waits
    'pack.window': '0',  # pointers do not shrink against each other; searching ten thousand of them takes a second
    'push.followTags': 'false',
    'user.useConfigOnly': 'true',  # never a name guessed from the machine
}


@contextmanager
def locked(path: Path, what: str) -> Iterator[None]:
    """Hold a lock file, telling the person when another process has it."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        output.say(f'{what}: another hfmirror is at work there; waiting for it')
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def create(home: Path, target: Target, storage: Path) -> None:
    new = Path(mkdtemp(dir=home.parent, prefix=f'.{home.name[:40]}-'))
    try:
        git('init', '-q', '--template=', '--initial-branch=hfmirror', new / 'work')
        info = new / 'work' / '.git' / 'info'
        info.mkdir(exist_ok=True)
        (info / 'attributes').write_text(_INFO_ATTRIBUTES)
        _configure(
            new / 'work',
            {**_CLONE_CONFIG, 'lfs.storage': str(storage), 'remote.origin.url': _origin(home, target)},
        )
        git('init', '-q', '--bare', '--template=', new / 'attributes.git')
        _configure(new / 'attributes.git', {'core.attributesFile': os.devnull, 'core.ignorecase': 'false'})
        mark = {'format': _FORMAT, 'target': target._asdict(), 'made by': 'hfmirror; safe to delete'}
        durable.write(new / MARK, json.dumps(mark, indent=2).encode())
        os.rename(new, home)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _configure(work: Path, values: Mapping[str, str]) -> None:
    from git import Repo

    with Repo(work) as repo, repo.config_writer() as config:
        for key, value in values.items():
            section, _, option = key.rpartition('.')
            config.set_value(_section(section), option, value)


def _section(name: str) -> str:
    """Return a section as GitPython names it: ``remote "origin"`` for ``remote.origin``."""
    head, dot, rest = name.partition('.')
    return f'{head} "{rest}"' if dot else head


def is_whole(home: Path, target: Target) -> bool:
    """Return whether the clone has all its parts and was made in this format for this target."""
    try:
        mark = json.loads((home / MARK).read_text())
        made_for = mark['format'], mark['target']['git_url']
    except (OSError, ValueError, KeyError, TypeError):
        return False
    work, attributes = home / 'work', home / 'attributes.git'
    return (
        made_for == (_FORMAT, target.git_url)
        and (work / '.git').is_dir()  # else git would look for a repository further up
        and _configured(work, 'remote.origin.url') == _origin(home, target)
        and (attributes / 'HEAD').is_file()
        and _configured(attributes, 'core.attributesFile') == os.devnull
    )


def _origin(home: Path, target: Target) -> str:
    """Return what git takes for the remote: the mirror of an archive, which git cannot ask itself."""
    return str(home / MIRROR) if target.archive else target.git_url


def _configured(repository: Path, key: str) -> str | None:
    """Return a value of a repository's own configuration, None when git cannot read it."""
    try:
        return git('config', '--local', '--get', key, cwd=repository)
    except GitError:
        return None
