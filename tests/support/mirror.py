"""The real command in a process of its own, and git's view of what it made."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import NamedTuple


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


class Mirror:
    """Runs hfmirror; ``remote`` is a bare repository, by default the one of me/tiny-model in the local Hub."""

    repo = 'me/tiny-model'

    def __init__(self, tmp_path):
        self.tmp_path = tmp_path
        self.home = tmp_path / 'hfmirror'
        self.remote = self.home / 'hub' / 'models' / f'{self.repo}.git'

    def run(self, *args, env=None, cwd=None, timeout=100, code=None):
        """Run ``hfmirror ARGS``; with ``code``, assert how it ends."""
        done = subprocess.run(
            [sys.executable, '-m', 'hfmirror', *map(str, args)],
            env={**os.environ, **(env or {})},
            cwd=cwd or self.tmp_path,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
        result = Done(done.returncode, done.stdout, done.stderr)
        if code is not None:
            assert result.code == code, f'{args}: exit {result.code}\n{result.out}\n{result.err}'
        return result

    def push(self, folder, *args, code=0, **kwargs):
        """Push to the local Hub, ``--json``; returns the documents when it succeeds, else the whole result."""
        where = () if '--remote' in args else ('--remote', 'local')
        name = () if '--repo' in args else ('--repo', self.repo)
        done = self.run('push', folder, *where, *name, *args, '--json', code=code, **kwargs)
        return done.json if code == 0 else done

    def git(self, *args, cwd=None):
        """Run git in the remote and return what it prints."""
        return git(*args, cwd=cwd or self.remote)

    def tags(self):
        return self.git('tag').split()

    def files(self, revision='main'):
        """Return {path: content} of a revision; LFS files as pointers."""
        names = self.git('ls-tree', '-r', '-z', '--name-only', revision).split('\0')
        return {
            name: git_bytes('cat-file', 'blob', f'{revision}:{name}', cwd=self.remote)
            for name in names
            if name
        }

    def objects(self):
        """Return the oids of the LFS objects on the remote."""
        return {path.name for path in (self.remote / 'lfs' / 'objects').glob('*/*/*')}

    def assert_whole(self):
        """git and git-lfs find nothing wrong with the remote, and a plain clone of it gets every file."""
        git('fsck', '--full', '--strict', cwd=self.remote)
        git('lfs', 'fsck', 'main', cwd=self.remote)


def git(*args, cwd=None):
    return git_bytes(*args, cwd=cwd).decode().strip()


def git_bytes(*args, cwd=None):
    done = subprocess.run(['git', *map(str, args)], cwd=cwd, capture_output=True, check=False)
    assert done.returncode == 0, f'git {args}: {done.stderr.decode()}'
    return done.stdout


def bare(path):
    """Make a bare repository as any git host has it."""
    git('init', '-q', '--bare', '-b', 'main', path)
    return path


def clone_with_lfs(remote, to):
    """Clone as a person with git-lfs does; every file has its content."""
    git('lfs', 'install', '--skip-repo')  # into the test's own HOME
    git('clone', '-q', remote, to)
    return to
