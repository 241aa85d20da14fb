"""How long hfmirror takes to start, against a Python that imports click and does nothing."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from table import Table

BASE = 'python -c "import click"'
WARM_UPS = 3


def run(options: argparse.Namespace) -> str:
    """Return the table of medians. The commands take turns, so that all meet the same disturbances."""
    program = Path(sys.executable).with_name('hfmirror')
    commands = {
        BASE: [sys.executable, '-c', 'import click'],
        'hfmirror --version': [str(program), '--version'],
        'hfmirror --help': [str(program), '--help'],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(WARM_UPS + options.runs):
        for name, args in commands.items():
            seconds = time_once(args)
            if turn >= WARM_UPS:
                times[name].append(seconds)
    return render(times, markdown=options.markdown)


def time_once(args: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(
        args, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=dict(os.environ)
    )
    return time.perf_counter() - start


def render(times: dict[str, list[float]], *, markdown: bool) -> str:
    base = statistics.median(times[BASE])
    table = Table(('command', 'median', 'against click'))
    for name, seconds in times.items():
        median = statistics.median(seconds)
        table.add(f'`{name}`' if markdown else name, f'{median * 1000:.0f} ms', f'{median / base:.2f}x')
    return table.markdown() if markdown else table.text()
