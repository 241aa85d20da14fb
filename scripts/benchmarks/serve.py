"""Large bodies and many small requests: the embedded Hub and nginx, side by side in one run on 127.0.0.1.

The servers take turns, in the other order at each turn. Every upload is of new content, downloads are of one file that
both servers have as the same inode.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import hashlib
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple, TypeVar

import folders
import push
from load import requests_per_second
from measure import Command, timed
from servers import REPO, TOKEN, Hub, Nginx, nginx_version
from table import Table, human_bytes

SYNCED = 'nginx, then sync'
CURL_UP, LFS_UP, CURL_DOWN, LFS_DOWN = (
    'curl, upload',
    'git-lfs, upload',
    'curl, download',
    'git-lfs, download',
)
LISTED = 100  # small files beside the large one
CONNECTIONS = 4
ROOM = 6  # for the file and its copies on both servers, in files
WANTED = 0.7

Seconds = dict[tuple[str, str], list[float]]
T = TypeVar('T')


class Bench(NamedTuple):
    """What all steps share. ``clone`` is a repository whose LFS API is set for each command."""

    hub: Hub
    nginx: Nginx
    weights: Path
    clone: Path
    env: Mapping[str, str]
    log: Path
    seconds: Seconds


def run(options: argparse.Namespace) -> str:
    """Measure everything and return the report. All is made in, and removed with, one directory."""
    check_room(options)
    load = os.getloadavg()[0]
    if load > 1:
        push.say(f'this machine is busy (load {load:.1f}); what is measured now says little')
    with tempfile.TemporaryDirectory(prefix='hfmirror-bench-', dir=options.dir) as directory:
        root = Path(directory)
        push.say(f'working in {root}')
        place = push.new_place(root, 'clone')
        env = push.environment(place)
        with Hub(root / 'hub', env) as hub, Nginx(root / 'nginx', env) as nginx:
            bench = Bench(hub, nginx, root / 'weights/weights.bin', place / 'clone', env, root / 'log', {})
            prepare(bench, options.size)
            uploads(bench, options.runs)
            downloads(bench, options.runs)
            rates = requests(bench, options.seconds)
    return f'{machine(options, load)}\n\n{report(bench.seconds, rates, hub.memory, options)}'


def check_room(options: argparse.Namespace) -> None:
    need, free = ROOM * options.size, shutil.disk_usage(options.dir).free
    if free < need:
        sys.exit(
            f'bench: {options.dir} has {human_bytes(free)} free, this needs {human_bytes(need)}. '
            'Take a smaller --size, or another place with --dir.'
        )


def prepare(bench: Bench, size: int) -> None:
    bench.weights.parent.mkdir()
    folders.write_weights(bench.weights, size)
    bench.hub.create()
    git(bench, 'clone', '-q', str(bench.hub.repository), str(bench.clone))


def uploads(bench: Bench, runs: int) -> None:
    for turn in range(runs):
        oid = renew(bench.weights)
        for way in in_turns([bench.hub.name, bench.nginx.name, SYNCED], turn):
            upload_with_curl(bench, way, oid)
        hold(bench, oid)
        for server in in_turns([bench.hub, bench.nginx], turn):
            lfs = server.prepare('upload', oid, bench.weights.stat().st_size)
            args = ['git', '-C', str(bench.clone), 'lfs', 'push', '--object-id', 'origin', oid]
            measure(bench, LFS_UP, server.name, args, lfs=lfs)
            check_same(bench.weights, bench.hub.path(oid) if server is bench.hub else bench.nginx.received)


def upload_with_curl(bench: Bench, way: str, oid: str) -> None:
    server = bench.hub if way == bench.hub.name else bench.nginx
    url = server.put_url(oid, bench.weights.stat().st_size)
    args = ['curl', '-sSf', '-o', os.devnull, '-T', str(bench.weights), url]
    if way == SYNCED:
        args = ['sh', '-c', '"$@" && sync "$0"', str(bench.nginx.received), *args]
    measure(bench, CURL_UP, way, args)
    check_same(bench.weights, bench.hub.path(oid) if server is bench.hub else bench.nginx.received)


def downloads(bench: Bench, runs: int) -> None:
    """Download the object that was uploaded last."""
    oid, size = sha256(bench.weights), bench.weights.stat().st_size
    publish(bench, oid, size)
    bench.nginx.received.unlink()
    bench.nginx.serve(bench.hub.path(oid))
    pointer = bench.clone / 'weights.bin'
    for turn in range(runs):
        for server in in_turns([bench.hub, bench.nginx], turn):
            measure(bench, CURL_DOWN, server.name, ['curl', '-sSfL', '-o', os.devnull, server.file_url])
        for server in in_turns([bench.hub, bench.nginx], turn):
            shutil.rmtree(bench.clone / '.git/lfs', ignore_errors=True)
            lfs = server.prepare('download', oid, size)
            script = 'git -C "$0" lfs smudge <"$1" >/dev/null'
            measure(
                bench, LFS_DOWN, server.name, ['sh', '-c', script, str(bench.clone), str(pointer)], lfs=lfs
            )


def requests(bench: Bench, seconds: float) -> dict[str, float]:
    """Return requests a second."""
    asked = {
        'HEAD of resolve': ('HEAD', bench.hub.file_url),
        f'tree of some {LISTED} files': (
            'GET',
            f'{bench.hub.url}/api/models/{REPO}/tree/main?recursive=true',
        ),
    }
    rates = {}
    for name, (method, url) in asked.items():
        requests_per_second(method, url, connections=1, seconds=0.2)
        rates[name] = requests_per_second(method, url, connections=CONNECTIONS, seconds=seconds)
        push.say(f'{name}: {rates[name]:.0f} requests a second')
    return rates


def in_turns(ways: list[T], turn: int) -> list[T]:
    return ways[:: -1 if turn % 2 else 1]


def measure(bench: Bench, case: str, way: str, args: list[str], *, lfs: str = '') -> None:
    """Time a command that finds the file in the page cache and the disk at rest. ``lfs`` is the LFS API for git-lfs."""
    folders.warm(bench.weights.parent)
    if case in (CURL_DOWN, LFS_DOWN):
        folders.warm(bench.hub.repository / 'lfs')
    cost = timed(Command(args, {**bench.env, **configured(lfs)}, bench.log))
    bench.seconds.setdefault((case, way), []).append(cost.seconds)
    push.say(f'{case}: {way} {cost.seconds:.2f} s')


def configured(lfs: str) -> dict[str, str]:
    basic = base64.b64encode(f'bench:{TOKEN}'.encode()).decode()
    values = {
        'lfs.url': lfs,
        'lfs.locksverify': 'false',
        'http.extraHeader': f'Authorization: Basic {basic}',
    }
    env = {'GIT_CONFIG_COUNT': str(len(values))}
    for number, (key, value) in enumerate(values.items()):
        env |= {f'GIT_CONFIG_KEY_{number}': key, f'GIT_CONFIG_VALUE_{number}': value}
    return env if lfs else {}


def renew(path: Path) -> str:
    """Make the file one that no server has seen; return its oid."""
    with path.open('r+b') as file:
        file.seek(-16, os.SEEK_END)
        file.write(os.urandom(16))
    return sha256(path)


def sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def hold(bench: Bench, oid: str) -> None:
    """Make the file the one object that the clone has."""
    shutil.rmtree(bench.clone / '.git/lfs', ignore_errors=True)
    path = bench.clone / '.git/lfs/objects' / oid[:2] / oid[2:4] / oid
    path.parent.mkdir(parents=True)
    os.link(bench.weights, path)


def check_same(sent: Path, received: Path) -> None:
    if received.stat().st_size != sent.stat().st_size:
        sys.exit(f'bench: {received} did not arrive')


def publish(bench: Bench, oid: str, size: int) -> None:
    """Commit the pointer and the small files to the Hub's repository, by its path."""
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n'
    (bench.clone / 'weights.bin').write_text(pointer)
    for number in range(LISTED):
        (bench.clone / f'part-{number:03}.json').write_text(f'{{"part": {number}}}\n')
    in_clone = ('-C', str(bench.clone))
    git(bench, *in_clone, 'add', '.')
    git(bench, *in_clone, 'commit', '-q', '-m', 'weights')
    git(bench, *in_clone, 'push', '-q', 'origin', 'HEAD:refs/heads/main')


def git(bench: Bench, *args: str) -> None:
    with bench.log.open('ab') as log:
        subprocess.run(['git', *args], env=bench.env, check=True, stdout=log, stderr=log)


def report(seconds: Seconds, rates: Mapping[str, float], memory: int, options: argparse.Namespace) -> str:
    bodies = Table(('case', 'way', 'seconds', 'a second', 'against nginx'), words=2)
    for (case, way), found in seconds.items():
        median = statistics.median(found)
        bodies.add(
            case,
            way,
            f'{median:.2f}',
            human_bytes(options.size / median),
            f'{ratio(seconds, case, way):.2f}x',
        )
    small = Table(('request', 'a second'))
    for name, rate in rates.items():
        small.add(name, f'{rate:,.0f}')
    tables = [table.markdown() if options.markdown else table.text() for table in (bodies, small)]
    bullet = '* ' if options.markdown else ''
    return '\n\n'.join([*tables, '\n'.join(bullet + line for line in goals(seconds, memory))])


def ratio(seconds: Seconds, case: str, way: str) -> float:
    return statistics.median(seconds[case, Nginx.name]) / statistics.median(seconds[case, way])


def goals(seconds: Seconds, memory: int) -> Iterator[str]:
    """Yield a line for each promise, and whether it was kept in this run."""
    for case in (CURL_UP, LFS_UP, CURL_DOWN, LFS_DOWN):
        reached = ratio(seconds, case, Hub.name)
        yield push.goal(reached >= WANTED, f'{case}: {reached:.2f} of nginx, to reach {WANTED}')
    synced = ratio(seconds, CURL_UP, Hub.name) / ratio(seconds, CURL_UP, SYNCED)
    yield push.goal(synced >= WANTED, f'{CURL_UP}: {synced:.2f} of {SYNCED}, to reach {WANTED}')
    yield push.goal(
        memory < 150_000_000, f'memory of the server: {human_bytes(memory)} at most, to stay under 150 MB'
    )


def machine(options: argparse.Namespace, load: float) -> str:
    """Return one line that says what was measured, when and where."""
    curl = re.search(r'[0-9.]+', push.version('curl', '--version'))
    lfs = push.version('git', 'lfs', 'version').split()[0].removeprefix('git-lfs/')
    return (
        f'{datetime.date.today()}: {human_bytes(options.size)}, medians of {options.runs}; requests over {CONNECTIONS} '
        f'connections for {options.seconds:.0f} s; {os.cpu_count()} cores (load {load:.1f} before), {platform.system()} '
        f'{platform.release()}, Python {platform.python_version()}, uvicorn {version("uvicorn")}, httptools '
        f'{version("httptools")}, nginx {nginx_version()}, curl {curl and curl[0]}, git-lfs {lfs}'
    )
