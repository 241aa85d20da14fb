"""A git repository with the code of a training, in which somebody commits, tags and pushes with the real git."""

import json
import os
import subprocess
import time
from pathlib import Path

from tests.support.folder import TrainingFolder
from tests.support.mirror import Done, bare, git

REPO = 'me/tiny-model'


class CodeRepo:
    """The repository ``path``, whose training has written ``outputs``; releases go to ``mirror.remote``."""

    def __init__(self, path, mirror, *, to='local'):
        self.path, self.mirror = path, mirror
        git('init', '-q', '-b', 'main', path)
        settings = {'remotes': [to], 'repository': {'model_name': REPO}}
        self.write('config.yaml', json.dumps({'huggingface': settings}))
        self.write('.gitignore', 'outputs/\n')
        self.outputs = TrainingFolder(path / 'outputs')
        self.finish_training(b'one')
        self.git('add', '.')
        self.git('commit', '-qm', 'the code')

    def write(self, name, content):
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def finish_training(self, weights):
        self.outputs.write('config.json', '{"model_type": "bert"}\n')
        self.outputs.write('model.bin', weights * 5000)

    def run(self, *command, cwd=None, code=0, env=None, stdin=subprocess.DEVNULL):
        done = subprocess.run(
            [str(word) for word in command],
            cwd=cwd or self.path,
            env=os.environ | (env or {}),
            stdin=stdin,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f'{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}'
        return Done(done.returncode, done.stdout, done.stderr)

    def git(self, *args, **how):
        return self.run('git', *args, **how)

    def hooks(self, *args, code=0, **how):
        return self.mirror.run('hooks', *args, cwd=how.pop('cwd', self.path), code=code, **how)

    def install(self, *events, background=False, **how):
        words = [word for event in events for word in ('--on', event)]
        return self.hooks(
            'install',
            *words,
            '--background' if background else '--no-background',
            *how.pop('args', ()),
            **how,
        )

    def commit(self, text='more code', *, cwd=None, **how):
        """Commit a change of a file, as somebody does who has just trained."""
        (Path(cwd or self.path) / 'train.py').write_text(f'# {text} {time.time_ns()}\n')
        self.git('add', 'train.py', cwd=cwd)
        return self.git('commit', '-qm', text, cwd=cwd, **how)

    def head(self, revision='HEAD', cwd=None):
        return git('rev-parse', revision, cwd=cwd or self.path)

    def hook(self, name):
        return self.path / '.git' / 'hooks' / name

    def foreign(self, name, script, *, mode=0o755):
        """Put a hook of somebody else there."""
        path = self.hook(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(script)
        path.chmod(mode)
        return path

    def code_remote(self):
        """Give the code a remote ``origin``, and return where that is."""
        path = bare(self.path.parent / 'code.git')
        self.git('remote', 'add', 'origin', path)
        return path

    # what came of it

    def tags(self):
        return self.mirror.tags() if self.mirror.remote.exists() else []

    def message(self, revision='main'):
        return self.mirror.git('log', '-1', '--format=%B', revision)

    def source(self, revision='main'):
        """Return the commit of the code that a release says it comes from."""
        words = '%(trailers:key=Source-Commit,valueonly)'
        return self.mirror.git('log', '-1', f'--format={words}', revision)

    def wait(self, count, timeout_s=60):
        """Return the tags of the releases when there are so many."""
        until = time.monotonic() + timeout_s
        while len(self.tags()) < count:
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)
        self.quiet()
        return self.tags()

    def quiet(self, timeout_s=60):
        """Return when nothing is handed over any more that nobody has looked at."""
        until = time.monotonic() + timeout_s
        while any(not one.get('error') for one in self.saves()):
            assert time.monotonic() < until, self.log()
            time.sleep(0.05)

    def saves(self):
        found = (self.mirror.home / 'outbox' / 'saves').glob('*/save.json')
        return [json.loads(path.read_text()) for path in found]

    def log(self):
        path = self.mirror.home / 'log' / 'saves.log'
        return path.read_text() if path.exists() else 'no log'
