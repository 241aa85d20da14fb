"""Faults inside the command's own process: code that runs before or after one function of hfmirror.

The package knows nothing of this. Python imports a module ``sitecustomize`` when it starts, and the one written here wraps
the function. It also puts the command into a process group of its own, so that ``KILL`` takes its git along.
"""

from __future__ import annotations

import os

KILL = 'os.killpg(0, signal.SIGKILL)'

_HEAD = """
import functools, importlib, os, shutil, signal, subprocess, time
from pathlib import Path

os.setpgid(0, 0)


def wrap(where, nth, before, after):
    module, _, path = where.partition(':')
    *outer, name = path.split('.')
    try:
        owner = importlib.import_module(module)
        for part in outer:
            owner = getattr(owner, part)
        wrapped = getattr(owner, name)
    except (ImportError, AttributeError) as e:
        os.write(2, f'{where}: {e}'.encode())
        os._exit(99)  # Python starts all the same when sitecustomize fails, and the test would prove nothing
    calls = 0

    @functools.wraps(wrapped)
    def wrapper(*args, **kwargs):
        nonlocal calls
        calls += 1
        mine = calls in nth
        if mine:
            exec(before, globals())
        result = wrapped(*args, **kwargs)
        if mine:
            exec(after, globals())
        return result

    setattr(owner, name, wrapper)
"""


def fault(folder, *wraps):
    """Return the environment of a command in which ``wraps`` (made by ``at``) are in place; ``folder`` holds their code."""
    folder.mkdir(exist_ok=True)
    (folder / 'sitecustomize.py').write_text('\n'.join([_HEAD, *wraps, '']))
    return {'PYTHONPATH': os.pathsep.join([str(folder), *filter(None, [os.environ.get('PYTHONPATH')])])}


def at(where, *, before='', after='', nth=(1,)):
    """Run code before or after the ``nth`` calls of ``where`` (``package.module:Class.function``)."""
    return f'wrap({where!r}, {nth!r}, {before!r}, {after!r})'
