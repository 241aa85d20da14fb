"""A release to a Hub over HTTP on the loopback: hfmirror, plain git-lfs, ``upload_folder`` and the floor, to one server.

The Hub is the embedded one, a process of its own; its copy is not on the client's disk.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from push import FIRST, HFMIRROR, PLAIN, SAVED_AGAIN, UNTOUCHED, Contender, Race, Results, disk_goal, goal
from servers import TOKEN, Hub
from table import human_bytes

HERE = Path(__file__).parent
UPLOAD = 'upload_folder'
UPLOAD_PLAIN = 'upload_folder, no Xet'
# What is left of the folder's name in the namespace of each.
REPOS = {PLAIN.name: 'plain', UPLOAD: 'upload', UPLOAD_PLAIN: 'upload-plain', 'floor': 'floor'}


def hfmirror_args(_place: Path, folder: Path, _case: str) -> list[str]:
    program = Path(sys.executable).with_name('hfmirror')
    return [str(program), 'push', str(folder), '--repo', 'bench/hfmirror', '--remote', 'hub']


def plain_args(place: Path, folder: Path, case: str) -> list[str]:
    tag = {FIRST: 'v1', UNTOUCHED: 'v2', SAVED_AGAIN: 'v3'}.get(case, 'v1')
    return ['bash', str(HERE / 'plain.sh'), str(place), str(folder), tag]


def upload_args(_place: Path, folder: Path, _case: str) -> list[str]:
    return [sys.executable, str(HERE / 'upload.py'), str(folder), f'bench/{REPOS[UPLOAD]}']


def upload_plain_args(_place: Path, folder: Path, _case: str) -> list[str]:
    return [sys.executable, str(HERE / 'upload.py'), str(folder), f'bench/{REPOS[UPLOAD_PLAIN]}', '--no-xet']


def floor_args(_place: Path, folder: Path, case: str) -> list[str] | None:
    if case == UNTOUCHED:
        return None
    pattern = '*-00001-*' if case == SAVED_AGAIN else '*'
    return [sys.executable, str(HERE / 'floorhub.py'), str(folder), f'bench/{REPOS["floor"]}', pattern]


@contextmanager
def ready(places: dict[str, Path]) -> Iterator[dict[str, str]]:
    """Start a Hub with an empty repository for each that does not make its own."""
    root = next(iter(places.values())).parent / 'hub'
    env = {'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_DISABLE_PROGRESS_BARS': '1', 'HF_TOKEN': TOKEN}
    with Hub(root, environment_of(places)) as hub:
        for name in REPOS.values():
            hub.post('/api/repos/create', {'type': 'model', 'name': name})
        places[PLAIN.name].joinpath('user/.git-credentials').write_text(
            f'http://bench:{TOKEN}@{hub.url.partition("//")[2]}\n'
        )
        with places[PLAIN.name].joinpath('user/.gitconfig').open('a') as config:
            config.write('[credential]\n\thelper = store\n')
        yield env | {'HF_ENDPOINT': hub.url, 'PLAIN_REMOTE': f'{hub.url}/bench/{REPOS[PLAIN.name]}'}
    import shutil

    shutil.rmtree(root)


def environment_of(places: dict[str, Path]) -> dict[str, str]:
    from push import environment

    return environment(next(iter(places.values())))


RACE = Race(
    (
        Contender(HFMIRROR.name, hfmirror_args, ''),
        Contender(PLAIN.name, plain_args, ''),
        Contender(UPLOAD, upload_args, ''),
        Contender(UPLOAD_PLAIN, upload_plain_args, ''),
        Contender('floor', floor_args, ''),
    ),
    ready,
)


def goals(results: Results, small_case: str) -> Iterator[str]:
    """Yield a line for each promise, and whether it was kept in this run."""
    ours = results[FIRST, HFMIRROR.name]
    for rival, wanted in ((PLAIN.name, 5.0), (UPLOAD, 1.3), (UPLOAD_PLAIN, 1.3)):
        ratio = results[FIRST, rival].seconds / ours.seconds
        yield goal(ratio >= wanted, f'{FIRST}: {ratio:.1f}x as fast as {rival}, to reach {wanted:.1f}x')
    over = ours.seconds / results[FIRST, 'floor'].seconds
    yield goal(over <= 1.4, f'{FIRST}: {over:.2f} of the floor, to stay within 1.4')
    memory = max(seen.memory for (_, way), seen in results.items() if way == HFMIRROR.name)
    yield goal(memory < 150_000_000, f'memory: {human_bytes(memory)} at most, to stay under 150 MB')
    for case in (FIRST, SAVED_AGAIN):
        yield disk_goal(case, results[case, HFMIRROR.name])
