"""Is this machine ready for a release: its programs, its disk, what waits here from before, and whether it will stay?"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryFile

from hfmirror import durable, errors, gitcmd, jobs, outbox, output
from hfmirror import folder as folders
from hfmirror.config.places import PROJECT_FILE, Home
from hfmirror.notices import Notices
from hfmirror.preflight.check import Check
from hfmirror.spool import Spool
from hfmirror.target import Target

_FREE = 200 * 1000 * 1000  # bytes; the card, the commits and a small model need no more
_PROOF = 1024 * 1024  # bytes that are written to see whether the disk takes them


def programs() -> Iterator[Check]:
    """Yield whether git and git-lfs are there. Raises GitError when they are not."""
    gitcmd.require_tools()
    versions = {'git': gitcmd.git_version(), 'git-lfs': gitcmd.lfs_version()}
    shown = ', '.join(f'{name} {".".join(map(str, version))}' for name, version in versions.items())
    if versions['git-lfs'] < gitcmd.LFS_MINIMUM:
        least = '.'.join(map(str, gitcmd.LFS_MINIMUM))
        raise errors.GitError(f'{shown}: git-lfs is too old. Install {least} or newer.')
    yield Check('programs', 'ok', shown)


def configuration(config_file: Path | None) -> Check:
    """Return where the configuration, which is valid, comes from."""
    path = config_file or Path(PROJECT_FILE)
    return Check('configuration', 'ok', f'{path} is valid' if path.is_file() else 'none; the defaults hold')


def size_of(folder: Path | None) -> int:
    """Return the bytes of what is there already of a folder or file, 0 when there is nothing."""
    if folder is None or not folder.exists():
        return 0
    if folder.is_file():
        return folder.stat().st_size
    try:
        return sum(file.stat.st_size for file in folders.walk(folder).files)
    except errors.HfmirrorError:
        return 0  # it will be another one when it is released


def disk(size: int, targets: Sequence[Target], directories: Home) -> Iterator[Check]:
    """Yield whether what is on its way has room. Raises DiskFull when it has none, HfmirrorError when nothing can be written.

    A release in a directory needs its size there; one that goes over a network needs it when it has to wait.
    """
    root = next(parent for parent in [directories.outbox, *directories.outbox.parents] if parent.exists())
    try:
        _write_proof(root)
    except OSError as e:
        if e.errno in durable.NO_ROOM:
            raise errors.DiskFull(
                f'{root}: {e.strerror}. Free some space, or set HFMIRROR_HOME to another disk.'
            ) from e
        raise errors.HfmirrorError(
            f'{root}: {e.strerror}. Give yourself the right to write there, or set HFMIRROR_HOME to another place.'
        ) from e
    free = shutil.disk_usage(root).free
    found = f'{output.human_size(free)} free at {root}, {output.human_size(size)} to release so far'
    advice = 'Free some space, or set HFMIRROR_HOME to a directory on a larger disk.'
    if free < _FREE or (free < size and any(target.path is not None for target in targets)):
        yield Check('disk', 'fail', f'{found}.', advice, errors.DiskFull.exit_code)
    elif free < size:
        yield Check(
            'disk',
            'warn',
            f'{found}: a release that has to wait would share its files with the folder',
            advice,
        )
    else:
        yield Check('disk', 'ok', found)


def _write_proof(root: Path) -> None:
    """Raise OSError when nothing can be written: a quota shows in no number of free bytes."""
    with TemporaryFile(dir=root) as proof:
        proof.write(b'\0' * _PROOF)
        proof.flush()


def waiting(directories: Home) -> Check:
    """Return what waits here from before, which is sent first."""
    releases = [entry for _, entries in outbox.waiting(directories.outbox) for entry in entries]
    counts = {
        'release': len(releases),
        'save': len(Spool(directories).saves()),
        'notification': len(Notices(directories).waiting()),
    }
    told = ', '.join(output.count(number, noun) for noun, number in counts.items() if number)
    if not told:
        return Check('waiting', 'ok', 'nothing waits from before')
    why = next((entry.error for entry in releases if entry.error), None)
    more = f': {why}' if why else ''
    return Check(
        'waiting',
        'warn',
        f'{told} from before{more}',
        "Send them with 'hfmirror resume'; a push does it too.",
    )


def destination(targets: Sequence[Target], directories: Home) -> Iterator[Check]:
    """Yield whether what is released outlives the job that we are in."""
    job = jobs.current()
    left = job.left_s(time.time()) if job else None
    lasts = f', {left / 60:.0f} min left' if left is not None else ''
    here = [target for target in targets if target.path is not None]
    if job is None or not job.is_ephemeral or not targets or len(here) < len(targets):
        shown = f'{job.name}{lasts}' if job else 'no job that is known of'
        kept = (
            f'; released on {", ".join(dict.fromkeys(target.remote for target in targets))}'
            if targets
            else ''
        )
        yield Check('job', 'ok', f'{shown}{kept}')
        return
    advice = f'Add --remote hub or another remote, unless {directories.hub.parent} is on a volume that stays.'
    yield Check('job', 'warn', f'{job.name}: all remotes are on its own disk, which goes with it', advice)
