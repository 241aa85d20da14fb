"""What do the gates say of the files to be released? Each is looked at once, and not again while it is unchanged."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib import resources
from io import BytesIO
from itertools import chain
from pathlib import Path
from typing import IO, NamedTuple

from hfmirror import errors, output
from hfmirror.fingerprint import in_threads, steadily
from hfmirror.folder import SourceFile
from hfmirror.gates import pickles, secrets
from hfmirror.gates.findings import Finding
from hfmirror.statcache import Scanned, Stamp, StatCache

_SOME = 5


class _Seen(NamedTuple):
    """What one look at a file gave. ``closed`` says why not all of it could be looked at."""

    findings: list[Finding]
    closed: str | None = None


def scan_files(
    root: Path,
    files: Sequence[SourceFile],
    cache: StatCache,
    *,
    stamps: Mapping[str, Stamp],
    jobs: int = 0,
) -> list[Finding]:
    """Return what the gates find in ``files``, in their order; warn of what could not be looked into.

    ``stamps`` are those under which the files were hashed, by path in the folder: what was scanned is what is released.
    Raises SourceChanged when a file has another now. ``root`` is where all sources are; ``jobs`` 0 is a thread per CPU.
    """
    kept = cache.scanned(root)
    known = {file.path: seen for file in files if (seen := _from_cache(file, stamps, kept)) is not None}
    unseen = [file for file in files if file.path not in known]
    sizes, stop = [file.stat.st_size for file in unseen], threading.Event()
    with output.progress('scanning', sum(sizes)) as shown:
        looked = in_threads(
            lambda file: _look(file, stamps, cache, shown, stop),
            unseen,
            sizes,
            jobs=jobs,
            stop=stop,
        )
        known |= {file.path: found for file, found in zip(unseen, looked, strict=True)}
    cache.save()
    _warn({file.path: known[file.path].closed for file in files})
    return list(chain.from_iterable(known[file.path].findings for file in files))


def scan_texts(texts: Mapping[str, str]) -> list[Finding]:
    """Return the secrets in what hfmirror writes itself, as {name: text}: card, commit message, metadata."""
    found = [
        secrets.scan(BytesIO(text.encode('utf-8', 'surrogateescape')), name) for name, text in texts.items()
    ]
    return sorted(chain.from_iterable(found))


def _look(
    file: SourceFile,
    stamps: Mapping[str, Stamp],
    cache: StatCache,
    shown: output.Progress,
    stop: threading.Event,
) -> _Seen:
    started = time.time_ns()
    done = 0

    def advance(size: int) -> None:
        nonlocal done
        if stop.is_set():
            raise InterruptedError
        done += size
        shown.advance(size)

    stamp, seen = steadily(file, lambda opened: _scan(opened, file.path, advance))
    if stamp != stamps.get(file.path, stamp):
        raise errors.SourceChanged(
            f'{file.source}: changed since it was read. Push again when nothing writes to it any more.'
        )
    shown.advance(file.stat.st_size - done)
    cache.remember_scan(file.source, stamp, Scanned(_rules(file.path), _as_json(seen)), read_at_ns=started)
    return seen


def _scan(file: IO[bytes], path: str, advance: Callable[[int], None]) -> _Seen:
    found = sorted(secrets.scan(file, path, advance=advance))
    if not pickles.is_pickled(path):
        return _Seen(found)
    look = pickles.scan(file, path)
    if look.others:
        output.detail(f'{path}: loading it imports {", ".join(look.others[:_SOME])}')
    return _Seen(found + look.found, look.closed)


def _warn(closed: Mapping[str, str | None]) -> None:
    for path, why in closed.items():
        if why is not None:
            output.warn(f'{path}: not looked through for unsafe pickles: {why}.')


# -- what is kept of a scan: places and rules, never what stands there


def _from_cache(
    file: SourceFile, stamps: Mapping[str, Stamp], kept: Mapping[str, tuple[Stamp, Scanned]]
) -> _Seen | None:
    stamp, scanned = kept.get(str(file.source), (None, None))
    expected = stamps.get(file.path) or Stamp.of(file.stat)
    if scanned is None or stamp != expected or scanned.rules != _rules(file.path):
        return None
    try:
        found, closed = json.loads(scanned.findings)
        return _Seen([Finding(file.path, *fields) for fields in found], closed)
    except (ValueError, TypeError):
        return None


def _as_json(seen: _Seen) -> str:
    return json.dumps([[finding[1:] for finding in seen.findings], seen.closed])


def _rules(path: str) -> str:
    """Return what a scan depends on besides the bytes: the rules, and the name that picks among them."""
    return f'{_version()} {path.rpartition("/")[2].lower()}'


@cache
def _version() -> str:
    """Return what changes with every change to the rules, ours and picklescan's."""
    from importlib.metadata import version

    own = resources.files('hfmirror.gates')
    sources = sorted((file.name, file.read_bytes()) for file in own.iterdir() if file.name.endswith('.py'))
    return sha256(repr((version('picklescan'), sources)).encode()).hexdigest()[:16]
