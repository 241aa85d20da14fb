"""Hub clients that this project did not write, each in a process of its own, set up as the Hub's documentation says.

Run as a script it is that process: it carries out what a ``Client`` asks for, in an environment that was there before
huggingface_hub was imported.
"""

from __future__ import annotations

import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path

ROOT = Path(__file__).parents[2]
STOCK = Path(sys.executable)
NO_XET = ROOT / '.venv' / 'no-xet' / 'bin' / 'python'

_TIMEOUT_S = 100
# What a developer may have set for their own work.
_SETTING = re.compile(r'^(HF|HUGGING|TRANSFORMERS|DATASETS|XDG|GIT)_|_proxy$', re.IGNORECASE)
# Everything outside this machine is refused at once: a client that asks another Hub, or the package index, is found out.
_NO_WAY_OUT = 'http://127.0.0.1:9'


def environment(hub, home, *, token=None, **more):
    """Return the environment of a client: the three variables that a person sets, and no way to other machines.

    ``home`` is a directory of the client's own. ``token`` '' is none.
    """
    kept = {name: value for name, value in os.environ.items() if not _SETTING.search(name)}
    kept |= {'HF_ENDPOINT': hub.endpoint, 'HF_HOME': str(home / 'hf'), 'HOME': str(home)}
    if token != '':
        kept['HF_TOKEN'] = token or hub.token
    return kept | {'HTTPS_PROXY': _NO_WAY_OUT, 'NO_PROXY': '127.0.0.1,localhost'} | more


def run_hf(hub, home, *args, python=STOCK, cwd=None, code=0, token=None, **more):
    """Run the command ``hf`` and return what it prints; ``code`` is how it has to end."""
    command = [str(python.parent / 'hf'), *map(str, args)]
    done = _run(command, environment(hub, home, token=token, **more), cwd or home)
    assert done.returncode == code, f'hf {args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}'
    return done.stdout if code == 0 else done.stdout + done.stderr


def run_python(hub, home, program, *args, python=STOCK, token=None, **more):
    """Run a program as a person would, with ``args`` in its ``sys.argv``, and return what it prints."""
    command = [str(python), '-c', textwrap.dedent(program), *map(str, args)]
    done = _run(command, environment(hub, home, token=token, **more), home)
    assert done.returncode == 0, f'{program}\n{done.stdout}\n{done.stderr}'
    return done.stdout


def _run(command, environment, cwd):
    Path(cwd).mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        command,
        env=environment,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )


class Client:
    """huggingface_hub in a process of its own: ``api`` is an HfApi there, ``fs`` an HfFileSystem, ``lib`` the package.

    Arguments, results and exceptions are pickled; an iterator comes back as a list.
    """

    def __init__(self, hub, home, *, token=None, python=STOCK, **more):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                # -P: the directory of this file is no place to import from.
                [str(python), '-P', __file__, str(theirs.fileno())],
                env=environment(hub, home, token=token, **more),
                cwd=home,
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
            )
        self.api, self.fs, self.lib = (_Remote(self, name) for name in ('api', 'fs', 'lib'))

    def __enter__(self):
        return self

    def __exit__(self, *failure):
        self._connection.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, target, name, args, kwargs):
        self._connection.send((target, name, args, kwargs))
        assert self._connection.poll(_TIMEOUT_S), f'{target}.{name} takes more than {_TIMEOUT_S} s'
        failed, answer = self._connection.recv()
        if failed:
            raise answer
        return answer


class _Remote:
    """The functions of an object in the client's process."""

    def __init__(self, client, target):
        self._client, self._target = client, target

    def __getattr__(self, name):
        return lambda *args, **kwargs: self._client.ask(self._target, name, args, kwargs)


def _serve(connection):
    import huggingface_hub

    targets = {
        'lib': lambda: huggingface_hub,
        'api': huggingface_hub.HfApi,
        'fs': lambda: huggingface_hub.HfFileSystem(skip_instance_cache=True),
    }
    while True:
        try:
            target, name, args, kwargs = connection.recv()
        except EOFError:
            return
        try:
            answer = getattr(targets[target](), name)(*args, **kwargs)
            answer = (False, list(answer) if isinstance(answer, Iterator) else answer)
        except Exception as e:
            answer = (True, e)
        connection.send(_sendable(*answer))


def _sendable(failed, answer):
    try:
        pickle.loads(pickle.dumps(answer))
    except Exception:
        return True, RuntimeError(f'cannot be pickled: {answer!r}')
    return failed, answer


if __name__ == '__main__':
    _serve(Connection(int(sys.argv[1])))
