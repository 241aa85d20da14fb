"""A person who pastes the blocks of a guide into a shell or into Python, in a folder that is as the guide has it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from huggingface_hub import HfApi

from tests.support.mirror import Done
from tests.support.rest import new_user

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / 'scripts'
_TIMEOUT_S = 280
# No other machine is asked anything, and tests that run side by side do not wait for each other's threads.
_ALWAYS = {'HTTPS_PROXY': 'http://127.0.0.1:9', 'NO_PROXY': '127.0.0.1'}
_ALWAYS |= {'OPENBLAS_NUM_THREADS': '1', 'OMP_NUM_THREADS': '1'}


class Guide:
    """The folder ``path`` of ``user``, who has a ``token`` of the Hub; ``api`` is that person's client.

    ``instead`` is what the person writes in place of words of the guide; ``env`` is what is in the environment.
    """

    def __init__(self, hub, path, user):
        path.mkdir()
        self.hub, self.path, self.token = hub, path, new_user(hub, user)
        self.api = HfApi(endpoint=hub.endpoint, token=self.token)
        self.instead = {}
        self.env = {'HF_ENDPOINT': hub.endpoint, 'PYTHONPATH': str(ROOT)}

    def shell(self, block, *, code=0, **env):
        """Run a block in bash; the first command that fails ends it."""
        return self._run(['bash', '-euo', 'pipefail', '-c', block], code, env)

    def python(self, block, *, code=0, **env):
        """Run a block in a Python of its own."""
        return self._run([sys.executable, '-c', block], code, env)

    def _run(self, command, code, env):
        for word, other in self.instead.items():
            command[-1] = command[-1].replace(word, other)
        done = subprocess.run(
            command,
            env=os.environ | _ALWAYS | self.env | env,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == code, f'exit {done.returncode}\n{done.stdout}\n{done.stderr}'
        return Done(done.returncode, done.stdout, done.stderr)
