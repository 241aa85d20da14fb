"""A repository on the embedded Hub for one test alone, and who works with it through hfmirror.Repository."""

from __future__ import annotations

import shutil
from itertools import count

from hfmirror import Repository
from tests.support.mirror import git, git_bytes
from tests.support.rest import call

_numbers = count()


class Place:
    """A repository on a Hub. ``path`` is the bare repository behind it."""

    def __init__(self, hub, kind='model'):
        self.hub, self.kind = hub, kind
        self.name = f'tiny-{next(_numbers)}'
        self.repo_id = f'local/{self.name}'
        self.path = hub.root / f'{kind}s' / f'{self.repo_id}.git'

    def create(self):
        answer = call(self.hub, 'POST', '/api/repos/create', {'name': self.name, 'type': self.kind})
        assert answer.status == 200, answer.body
        return self

    @property
    def url(self):
        return f'{self.hub.endpoint}/{"" if self.kind == "model" else self.kind + "s/"}{self.repo_id}'

    def git(self, *args):
        return git(*args, cwd=self.path)

    def head(self, branch='main'):
        return self.git('rev-parse', f'refs/heads/{branch}')

    def messages(self, branch='main'):
        """Return the first lines of the messages of a branch, newest first."""
        return self.git('log', '--format=%s', branch).splitlines()

    def branches(self):
        return self.git('for-each-ref', '--format=%(refname:short)', 'refs/heads').splitlines()

    def tags(self):
        return self.git('tag').splitlines()

    def files(self, revision='main'):
        listed = self.git('ls-tree', '-r', '-z', '--name-only', revision)
        return {name for name in listed.split('\0') if name}

    def read(self, name, revision='main'):
        """Return what git has of a file; of an LFS file the pointer."""
        return git_bytes('cat-file', 'blob', f'{revision}:{name}', cwd=self.path)

    def objects(self):
        """Return the oids of the LFS objects that the Hub has."""
        return {path.name for path in (self.path / 'lfs' / 'objects').glob('*/*/*')}

    def clone(self, to='clone', **options):
        """Clone it as a person does, into a directory of the test."""
        return Repository(to, clone_from=self.repo_id, repo_type=self.kind, **options)

    def written_by(self, to='colleague', *, branch=None, message='by a colleague', **files):
        """Have somebody else commit and push files; a dot in a name is written as ``__``."""
        clone = self.clone(to)
        with clone.commit(message, branch=branch) as folder:
            for name, content in files.items():
                (folder / name.replace('__', '.')).write_text(content)
        return clone


WEIGHTS = bytes(range(256)) * 40
_seeds = {}


def with_first_commit(hub):
    """Return a repository with one commit of a text and an LFS file, and a clone of it in ``first``.

    The second one on a Hub is a copy of what the first one was.
    """
    place, seed = Place(hub), hub.root.parent / f'{hub.root.name}-seed'
    if hub not in _seeds:
        place.create()
        with place.clone('first').commit('first') as folder:
            (folder / 'a.txt').write_text('one\n')
            (folder / 'model.bin').write_bytes(WEIGHTS)
        shutil.copytree(place.path, seed / 'bare')
        shutil.copytree('first', seed / 'clone')
        _seeds[hub] = seed
    else:
        shutil.copytree(seed / 'bare', place.path)
        shutil.copytree(seed / 'clone', 'first')
        git('config', 'remote.origin.url', place.url, cwd='first')
    return place


def log_in(hub, monkeypatch):
    """Have hfmirror use a Hub, as its owner."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
