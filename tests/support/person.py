"""Somebody else who works with the repository, with nothing but git."""

from __future__ import annotations

from tests.support.mirror import git


class Person:
    """Has a plain clone of ``remote`` in ``path``, LFS files as pointers."""

    def __init__(self, remote, path):
        self.remote, self.path = remote, path

    def pushes(self, files, *, tag=None, message='by hand'):
        """Commit ``files`` ({path: text, or None to remove it}) on top of the branch and push; returns the commit."""
        if self.path.exists():
            git('pull', '-q', 'origin', 'main', cwd=self.path)
        else:
            git('-c', 'core.autocrlf=false', 'clone', '-q', self.remote, self.path)
            for name in ('smudge', 'clean', 'process', 'required'):
                git('config', f'filter.lfs.{name}', 'false' if name == 'required' else '', cwd=self.path)
        for name, content in files.items():
            self._write(name, content)
        git('add', '-A', cwd=self.path)
        git('commit', '-q', '-m', message, cwd=self.path)
        if tag:
            git('tag', '-a', tag, '-m', message, cwd=self.path)
        git('push', '-q', 'origin', 'HEAD:main', *([tag] if tag else []), cwd=self.path)
        return git('rev-parse', 'HEAD', cwd=self.path)

    def read(self, name):
        return (self.path / name).read_bytes()

    def _write(self, name, content):
        path = self.path / name
        if content is None:
            path.unlink()
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
