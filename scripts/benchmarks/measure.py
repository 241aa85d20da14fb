"""What a command costs: seconds, peak memory, bytes on disk, bytes read from a folder.

Seconds and memory are taken with nobody watching. Watching the disk and the system calls slows a command down, so
that is done in a run of its own, whose seconds count for nothing.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple

DISK_POLL_S = 0.05
READING = 'read,pread64,readv,preadv,preadv2,sendfile,copy_file_range,splice,mmap'
# mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3</folder/file>, 0) = 0x7f00
MAPPED = re.compile(r'mmap\([^,]*, (\d+),')
RETURNED = re.compile(r'= (\d+)$')


class Command(NamedTuple):
    """One command to measure; its output goes to ``log``."""

    args: Sequence[str]
    env: Mapping[str, str]
    log: Path


class Cost(NamedTuple):
    """What one undisturbed run took; ``memory`` is the largest process's peak in bytes."""

    seconds: float
    memory: int


class Watched(NamedTuple):
    """What was seen in a watched run, in bytes. ``read`` is None where system calls cannot be watched."""

    disk_peak: int
    disk_after: int
    read: int | None


def timed(command: Command) -> Cost:
    """Run the command undisturbed. Raises SystemExit with the end of its output when it fails."""
    with command.log.open('ab') as log:
        start = time.perf_counter()
        process = start_process(command.args, command.env, log)
        status, usage = wait(process)
        seconds = time.perf_counter() - start
    check(status, command)
    # ru_maxrss covers every descendant that was waited for; Linux counts KiB, macOS bytes.
    unit = 1 if sys.platform == 'darwin' else 1024
    return Cost(seconds, usage.ru_maxrss * unit)


def start_process(args: Sequence[str], env: Mapping[str, str], log: IO[bytes]) -> subprocess.Popen[bytes]:
    """Start the command as the head of a group of its own, so that all it starts can be ended with it."""
    return subprocess.Popen(
        args, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
    )


def wait(process: subprocess.Popen[bytes]) -> tuple[int, resource.struct_rusage]:
    """Return the exit code and what was used. When we are interrupted, the command and all it started are killed."""
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except KeyboardInterrupt:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage


def check(status: int, command: Command) -> None:
    if status == 0:
        return
    end = command.log.read_text(errors='replace')[-2000:]
    sys.exit(f'bench: exit {status} from {" ".join(command.args)}\n{end}')


def watched(command: Command, *, place: Path, folder: Path) -> Watched:
    """Run the command with the bytes on disk under ``place`` and the reads from ``folder`` watched.

    What is linked to from ``folder`` is there already and not counted.
    """
    trace = place.parent / 'trace'
    shutil.rmtree(trace, ignore_errors=True)
    trace.mkdir()
    tracing = strace(trace)
    known = inodes(folder)
    with command.log.open('ab') as log, DiskWatch(place, known) as disk:
        status, _ = wait(start_process([*tracing, *command.args], command.env, log))
    check(status, command)
    return Watched(disk.peak, disk_use(place, known), bytes_read(trace, folder) if tracing else None)


def strace(directory: Path) -> list[str]:
    """Return the start of a command line that logs reads, one file a thread; [] where that cannot be done."""
    if shutil.which('strace') is None:
        return []
    probe = subprocess.run(['strace', '-f', '--seccomp-bpf', '-o', os.devnull, 'true'], capture_output=True)
    if probe.returncode != 0:
        return []
    return [
        'strace',
        '-ff',
        '--seccomp-bpf',
        '-qq',
        '-y',
        '-s',
        '0',
        '-e',
        f'trace={READING}',
        '-o',
        f'{directory}/log',
    ]


def bytes_read(trace: Path, folder: Path) -> int:
    return sum(sum(line_bytes(line) for line in lines_about(path, folder)) for path in trace.iterdir())


def lines_about(log: Path, folder: Path) -> Iterator[str]:
    wanted = f'<{folder}/'
    with log.open(errors='replace') as lines:
        yield from (line.rstrip() for line in lines if wanted in line)


def line_bytes(line: str) -> int:
    """Return the bytes one logged call read; a mapped file counts as read whole."""
    match = MAPPED.match(line) or RETURNED.search(line)
    return int(match[1]) if match else 0


class DiskWatch:
    """Takes the peak of the bytes on disk under a directory while its block runs."""

    def __init__(self, place: Path, known: frozenset[tuple[int, int]]) -> None:
        self.place = place
        self.known = known
        self.peak = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> DiskWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            last = self._done.wait(DISK_POLL_S)
            self.peak = max(self.peak, disk_use(self.place, self.known))
            if last:
                return


def disk_use(place: Path, known: Iterable[tuple[int, int]] = ()) -> int:
    """Return the bytes of the blocks that files under ``place`` take, each inode once, those in ``known`` never."""
    seen = set(known)
    total = 0
    for status in file_stats(place):
        inode = (status.st_dev, status.st_ino)
        if inode not in seen:
            seen.add(inode)
            total += status.st_blocks * 512
    return total


def inodes(folder: Path) -> frozenset[tuple[int, int]]:
    return frozenset((status.st_dev, status.st_ino) for status in file_stats(folder))


def file_stats(place: Path) -> Iterator[os.stat_result]:
    """Yield the status of every file under a directory in which files come and go; directories are left out."""
    for directory, _, names in os.walk(place):
        for name in names:
            try:
                yield os.lstat(os.path.join(directory, name))
            except FileNotFoundError:
                continue
