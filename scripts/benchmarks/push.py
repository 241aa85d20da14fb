"""A release to a local remote, or to a Hub over HTTP: hfmirror, its rivals and the floor, side by side in one run.

Each turn starts from nothing and goes through all cases; within a case the contenders take turns, in the other order
at the next turn. The last turn is the watched one and gives bytes on disk and bytes read, the others give seconds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import folders
from measure import Command, Cost, Watched, disk_use, timed, watched
from table import Table, human_bytes

HERE = Path(__file__).parent
FIRST = 'first push'
UNTOUCHED = 'again, untouched'
SAVED_AGAIN = 'again, all saved, one new'
# Room for the folder, the copies of three contenders and git's temporary files, in folders.
ROOM = 7


class Contender(NamedTuple):
    """A way to release a folder. ``args(place, folder, case)`` is None for a case in which it has nothing to do."""

    name: str
    args: Callable[[Path, Path, str], list[str] | None]
    remote: str  # the directory under its place that is the remote's own copy; '' for none


class Race(NamedTuple):
    """Who takes part, and ``ready(places)``, which has the remote ready for one turn and yields what is added to the
    environment of all."""

    contenders: tuple[Contender, ...]
    ready: Callable[[dict[str, Path]], AbstractContextManager[dict[str, str]]]


class Case(NamedTuple):
    name: str
    change: Callable[[Path], None]  # what the trainer does to the folder before it


class Seen:
    """What was measured for one contender in one case."""

    def __init__(self) -> None:
        self.costs: list[Cost] = []
        self.watched: Watched | None = None
        self.remote = 0  # bytes of the remote's own copy among what was watched
        self.payload = 0  # bytes of that copy, or of the folder where the remote is elsewhere

    @property
    def seconds(self) -> float:
        return statistics.median(cost.seconds for cost in self.costs)

    @property
    def memory(self) -> int:
        return max(cost.memory for cost in self.costs)


Results = dict[tuple[str, str], Seen]


def hfmirror_args(_place: Path, folder: Path, _case: str) -> list[str]:
    program = Path(sys.executable).with_name('hfmirror')
    return [str(program), 'push', str(folder), '--repo', 'bench/model', '--remote', 'local']


def plain_args(place: Path, folder: Path, case: str) -> list[str]:
    tag = {FIRST: 'v1', UNTOUCHED: 'v2', SAVED_AGAIN: 'v3'}.get(case, 'v1')
    return ['bash', str(HERE / 'plain.sh'), str(place), str(folder), tag]


def floor_args(place: Path, folder: Path, case: str) -> list[str] | None:
    if case == UNTOUCHED:
        return None
    pattern = '*-00001-*' if case == SAVED_AGAIN else '*'
    return [sys.executable, str(HERE / 'floor.py'), str(folder), str(place / case), pattern]


@contextmanager
def bare_remote(places: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Make the empty remote of the plain way; hfmirror makes its own."""
    place = places[PLAIN.name]
    args = ['git', 'init', '-q', '--bare', str(place / PLAIN.remote)]
    subprocess.run(args, env=environment(place), check=True)
    yield {}


HFMIRROR = Contender('hfmirror', hfmirror_args, 'home/hub')
PLAIN = Contender('plain way', plain_args, 'remote.git')
FLOOR = Contender('floor', floor_args, '')
LOCAL = Race((HFMIRROR, PLAIN, FLOOR), bare_remote)


def run(options: argparse.Namespace) -> str:
    """Measure all cases and return the report. Everything is made in, and removed with, one directory."""
    if options.remote == 'hub':
        import pushhub

        race, promises = pushhub.RACE, pushhub.goals
    else:
        race, promises = LOCAL, goals
    small_case = f'{options.small:,} small files'
    check_room(options)
    load = os.getloadavg()[0]
    if load > 1:
        say(f'this machine is busy (load {load:.1f}); what is measured now says little')
    results: Results = {}
    with tempfile.TemporaryDirectory(prefix='hfmirror-bench-', dir=options.dir) as directory:
        root = Path(directory)
        model, many = root / 'model', root / 'many'
        say(f'working in {root}')
        folders.make_model(model, files=options.files, size=options.size)
        cases = [
            Case(FIRST, lambda folder: None),
            Case(UNTOUCHED, lambda folder: None),
            Case(SAVED_AGAIN, lambda folder: folders.save_again(folder, size=options.size)),
        ]
        measure(race, model, cases, options.runs, results)
        shutil.rmtree(model)
        folders.make_small(many, files=options.small)
        measure(race, many, [Case(small_case, lambda folder: None)], options.runs, results)
    kept = promises(results, small_case)
    return f'{machine(options, load)}\n\n{report(results, options, kept)}'


def check_room(options: argparse.Namespace) -> None:
    need = ROOM * max(options.size * options.files, options.small * 12_288)
    free = shutil.disk_usage(options.dir).free
    if free < need:
        sys.exit(
            f'bench: {options.dir} has {human_bytes(free)} free, this needs {human_bytes(need)}. '
            'Take a smaller --size, or another place with --dir.'
        )


def measure(race: Race, folder: Path, cases: list[Case], runs: int, results: Results) -> None:
    for turn in range(runs + 1):
        order = race.contenders[:: -1 if turn % 2 else 1]
        places = {contender.name: new_place(folder.parent, contender.name) for contender in order}
        with race.ready(places) as more:
            for case in cases:
                case.change(folder)
                for contender in order:
                    args = contender.args(places[contender.name], folder, case.name)
                    if args is not None:
                        seen = results.setdefault((case.name, contender.name), Seen())
                        command = Command(
                            args, environment(places[contender.name]) | more, folder.parent / 'log'
                        )
                        one(seen, contender, command, folder, places[contender.name], watch=turn == runs)
                        say_progress(case, contender, seen, turn, runs)
        for place in places.values():
            shutil.rmtree(place)


def one(
    seen: Seen, contender: Contender, command: Command, folder: Path, place: Path, *, watch: bool
) -> None:
    folders.warm(folder)
    if not watch:
        seen.costs.append(timed(command))
        return
    seen.watched = watched(command, place=place, folder=folder)
    seen.remote = disk_use(place / contender.remote) if contender.remote else 0
    seen.payload = seen.remote or disk_use(folder)


def new_place(root: Path, name: str) -> Path:
    """Make a directory with a home and a directory for temporary files."""
    place = root / name.replace(' ', '-')
    for directory in ('user', 'tmp'):
        (place / directory).mkdir(parents=True)
    # Nothing may go on in the background when the next contender is measured.
    (place / 'user/.gitconfig').write_text(
        '[user]\n\tname = Bench\n\temail = bench@example.org\n[init]\n\tdefaultBranch = main\n'
        '[gc]\n\tauto = 0\n[maintenance]\n\tauto = false\n[receive]\n\tautoGC = false\n'
    )
    return place


def environment(place: Path) -> dict[str, str]:
    """Return an environment in which nothing of the user's is read or written.

    Compiled modules are kept, as in any normal installation.
    """
    foreign = ('GIT_', 'HF_', 'HFMIRROR_', 'HUGGING', 'XDG_', 'COVERAGE', 'PYTHONDONTWRITEBYTECODE')
    env = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    own = {'HOME': place / 'user', 'TMPDIR': place / 'tmp', 'HFMIRROR_HOME': place / 'home'}
    return env | {name: str(path) for name, path in own.items()}


def say(text: str) -> None:
    print(f'bench: {text}', file=sys.stderr, flush=True)


def say_progress(case: Case, contender: Contender, seen: Seen, turn: int, runs: int) -> None:
    what = 'watched' if turn == runs else f'{seen.costs[-1].seconds:.2f} s'
    say(f'{turn + 1}/{runs + 1} {case.name}: {contender.name} {what}')


def report(results: Results, options: argparse.Namespace, promises: Iterator[str]) -> str:
    heading = (
        'case',
        'way',
        'seconds',
        'against plain',
        'extra disk, running',
        'after',
        'memory',
        'read from folder',
    )
    table = Table(heading, words=2)
    for (case, way), seen in results.items():
        plain = results[case, PLAIN.name].seconds
        table.add(
            case,
            way,
            f'{seen.seconds:.2f}',
            f'{plain / seen.seconds:.1f}x',
            *disk_cells(seen),
            *load_cells(seen),
        )
    lines = [table.markdown() if options.markdown else table.text(), '']
    bullet = '* ' if options.markdown else ''
    return '\n'.join(lines + [bullet + line for line in promises])


def disk_cells(seen: Seen) -> tuple[str, str]:
    """Return what was on disk beyond the remote's own copy, while running and after."""
    if seen.watched is None or not seen.payload:
        return '', ''
    peak, after = (max(0, total - seen.remote) for total in seen.watched[:2])
    return (
        f'{human_bytes(peak)} ({peak / seen.payload:.0%})',
        f'{human_bytes(after)} ({after / seen.payload:.0%})',
    )


def load_cells(seen: Seen) -> tuple[str, str]:
    read = seen.watched.read if seen.watched else None
    return human_bytes(seen.memory), 'not watched' if read is None else human_bytes(read)


def machine(options: argparse.Namespace, load: float) -> str:
    """Return one line that says what was measured, when and where."""
    git = version('git', '--version').removeprefix('git version ')
    lfs = version('git', 'lfs', 'version').split()[0].removeprefix('git-lfs/')
    return (
        f'{datetime.date.today()}: {options.files} x {human_bytes(options.size)} and {options.small:,} x 10 KB, '
        f'medians of {options.runs}, {os.cpu_count()} cores (load {load:.1f} before), {platform.system()} {platform.release()}, '
        f'Python {platform.python_version()}, git {git}, git-lfs {lfs}'
    )


def version(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def goals(results: Results, small_case: str) -> Iterator[str]:
    """Yield a line for each promise, and whether it was kept in this run."""
    for case, wanted in ((FIRST, 4.0), (SAVED_AGAIN, 6.0), (small_case, 2.0)):
        ratio = results[case, PLAIN.name].seconds / results[case, HFMIRROR.name].seconds
        yield goal(ratio >= wanted, f'{case}: {ratio:.1f}x as fast as the plain way, to reach {wanted:.0f}x')
    untouched = results[UNTOUCHED, HFMIRROR.name]
    yield goal(untouched.seconds < 0.6, f'{UNTOUCHED}: {untouched.seconds:.2f} s, to stay under 0.6 s')
    if untouched.watched is not None and untouched.watched.read is not None:
        read = untouched.watched.read
        yield goal(read == 0, f'{UNTOUCHED}: {human_bytes(read)} read from the folder, to be none')
    memory = max(seen.memory for (_, way), seen in results.items() if way == HFMIRROR.name)
    yield goal(memory < 150_000_000, f'memory: {human_bytes(memory)} at most, to stay under 150 MB')
    for case in (FIRST, SAVED_AGAIN):
        yield disk_goal(case, results[case, HFMIRROR.name])


def disk_goal(case: str, seen: Seen) -> str:
    assert seen.watched is not None
    extra = (seen.watched.disk_peak - seen.remote) / max(seen.payload, 1)
    return goal(
        extra <= 0.01, f"{case}: at most {extra:.2%} on disk beyond the remote's own copy, to stay within 1%"
    )


def goal(kept: bool, text: str) -> str:
    return f'{"kept" if kept else "MISSED"}: {text}'
