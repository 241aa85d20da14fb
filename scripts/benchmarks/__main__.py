"""The command line of scripts/bench.

This process stays small (nothing but the standard library): a child's peak memory is never reported as less than
what its parent had when it was started.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from pathlib import Path
from typing import NoReturn

import push
import serve
import startup

RUN = {'push': push.run, 'startup': startup.run, 'serve': serve.run}
UNITS = {'': 1, 'KiB': 1 << 10, 'MiB': 1 << 20, 'GiB': 1 << 30}


def byte_count(text: str) -> int:
    """Return the bytes of a size as people write it: 4096, 512MiB, 1.5GiB."""
    match = re.fullmatch(r'([0-9.]+) ?(\w*)', text)
    if match is None or match[2] not in UNITS:
        raise argparse.ArgumentTypeError(f'{text!r} is not a size such as 512MiB')
    return int(float(match[1]) * UNITS[match[2]])


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog='scripts/bench', description='Measure hfmirror on this machine.')
    commands = top.add_subparsers(dest='command', required=True)
    pushing = commands.add_parser(
        'push', help='hfmirror push, the plain git-lfs way and the floor, side by side'
    )
    pushing.add_argument(
        '--remote',
        choices=['local', 'hub'],
        default='local',
        help='where to: hub is one on this machine, by HTTP',
    )
    pushing.add_argument('--size', type=byte_count, default='512MiB', help='of one large file (512MiB)')
    pushing.add_argument('--files', type=int, default=4, help='large files (4)')
    pushing.add_argument('--small', type=int, default=10_000, help='files of 10 KB in the last case (10000)')
    pushing.add_argument('--runs', type=int, default=3, help='timed runs to take the median of (3)')
    pushing.add_argument('--dir', type=Path, default=default_directory(), help='where to work (%(default)s)')
    starting = commands.add_parser('startup', help='the time to start hfmirror, against importing click')
    starting.add_argument('--runs', type=int, default=21, help='runs to take the median of (21)')
    serving = commands.add_parser(
        'serve', help='hfmirror serve against nginx: large bodies, requests a second'
    )
    serving.add_argument('--size', type=byte_count, default='1GiB', help='of the large file (1GiB)')
    serving.add_argument('--runs', type=int, default=5, help='timed runs to take the median of (5)')
    serving.add_argument('--seconds', type=float, default=5.0, help='to ask small requests for (5)')
    serving.add_argument('--dir', type=Path, default=default_directory(), help='where to work (%(default)s)')
    for command in (pushing, starting, serving):
        command.add_argument('--markdown', action='store_true', help='print Markdown, for docs/benchmarks.md')
    return top


def default_directory() -> Path:
    # Unlike /tmp, /var/tmp is never in memory.
    return next(path for path in (Path('/var/tmp'), Path.cwd()) if os.access(path, os.W_OK))


def main() -> int:
    signal.signal(signal.SIGTERM, stop)
    options = parser().parse_args()
    try:
        print(RUN[options.command](options))
    except KeyboardInterrupt:
        print('bench: stopped, everything it made is removed', file=sys.stderr)
        return 130
    return 0


def stop(signum: int, _frame: object) -> NoReturn:
    """End as after Ctrl-C, so that what was made is removed."""
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
