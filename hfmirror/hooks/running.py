"""What does a hook do? A finished result that is not released yet becomes a release; anything else costs git no time.

Most of the time there is nothing to do, and what a release needs is not even imported.
"""

from __future__ import annotations

import filecmp
import time
from collections.abc import Sequence
from pathlib import Path

from hfmirror import errors, finished, gitcmd, output
from hfmirror.config.places import Home
from hfmirror.hooks import job as jobs
from hfmirror.hooks import sealing
from hfmirror.hooks.code import Code
from hfmirror.hooks.events import Happening
from hfmirror.hooks.job import Done, Job
from hfmirror.hooks.settings import Event, Settings
from hfmirror.spool import Save, Spool

STOPS = 77  # how `hooks run` ends when a push has to stop: nothing else that goes wrong with us may stop it


def run(
    code: Code,
    event: Event,
    happenings: Sequence[Happening],
    settings: Settings,
    home: Home,
    *,
    dry_run: bool = False,
) -> list[Done]:
    """Release what is finished and not released yet; returns what was done, nothing when there was nothing to do.

    Only of a push something is raised, with the exit code ``STOPS``: its release cannot be sent, and cannot wait either.
    """
    try:
        job = jobs.find(code, event, settings, home, happenings) if happenings else None
        if job is None or isinstance(job, Done):
            return [job] if job else []
        found = [_release(job, one, dry_run=dry_run) for one in happenings]
        return [done for done in found if done]
    except (errors.HfmirrorError, OSError) as e:
        failure = _explained(e)
        if event == 'push':
            raise _stopping(failure) from e
        output.warn(f'hfmirror: nothing was released: {failure}')
        return [Done(event, code.root, 'failed', note=str(failure))]


def _explained(failure: errors.HfmirrorError | OSError) -> errors.HfmirrorError:
    if isinstance(failure, errors.HfmirrorError):
        return failure
    from hfmirror.outcome import disk_failure

    return disk_failure(failure)


def _stopping(failure: errors.HfmirrorError) -> errors.HfmirrorError:
    stop = errors.HfmirrorError(
        f'hfmirror: the release that goes with this push cannot be made: {failure}\n'
        "The push was stopped. Mend that and push again; 'git push --no-verify' or HFMIRROR_SKIP=1 pushes without it."
    )
    stop.exit_code = STOPS
    return stop


def _release(job: Job, happening: Happening, *, dry_run: bool) -> Done | None:
    """Release the folder for one commit or tag; None when it was handed over already as it is."""
    started, tag = time.monotonic(), happening.tag or ''
    seals = sealing.Seals(job.home, job.folder, job.code.shared)
    seal = f'{happening.commit}:{job.seal}' if tag else job.seal
    waiting = _waiting(job, happening)
    failed = [save for save in waiting if save.error]
    if seals.is_set(seal, tag) and not (job.event == 'push' and _is_left_behind(job, failed)):
        return None if dry_run else _of_unchanged(job, happening, waiting)
    done = Done(job.event, job.folder, 'dry-run', happening.commit, happening.tag)
    if not dry_run:
        from hfmirror.hooks import handing  # a tenth of a second, which most hooks need not spend

        if job.event == 'push':
            handing.require_clean(job)
        replaced = [save for save in failed if _is_still_there(save, job)]
        done = handing.hand_over(job, happening, done, replaced=replaced)
    if done.status not in ('failed', 'dry-run'):
        seals.set(job.seal)
        if tag:
            seals.set(seal, tag)
    done = done._replace(seconds=time.monotonic() - started)
    _tell(job, done)
    return done


def _of_unchanged(job: Job, happening: Happening, waiting: Sequence[Save]) -> Done | None:
    """Look after what was handed over as it is: tell why it failed, and take it up when whoever was at it was killed."""
    failed = [save.error for save in waiting if save.error]
    if failed:
        output.warn(f"hfmirror: {job.shown}: not released yet: {failed[-1]} 'hfmirror resume' tries again.")
    elif waiting:
        from hfmirror.hooks import handing

        if handing.take_up(job):
            done = Done(job.event, job.folder, 'background', happening.commit, happening.tag)
            _tell(job, done)
            return done
    return None


def _waiting(job: Job, happening: Happening) -> list[Save]:
    """Return the saves of this folder that an earlier hook handed over and that are not released."""
    return [
        save
        for save in Spool(job.home).saves()
        if save.seal and (save.folder, save.tag) == (str(job.folder), happening.tag)
    ]


def _is_still_there(save: Save, job: Job) -> bool:
    """Return whether the result that is held is the one in the folder, too. Another one waits: it is nowhere else."""
    held = Path(save.held)
    parts = [path for path in held.rglob('*') if finished.is_part_of_result(path.name) and path.is_file()]
    return all(_is_same(path, job.folder / path.relative_to(held)) for path in parts)


def _is_same(held: Path, path: Path) -> bool:
    try:
        return held.samefile(path) or filecmp.cmp(held, path, shallow=False)
    except OSError:
        return False


def _is_left_behind(job: Job, failed: Sequence[Save]) -> bool:
    """Return whether the release of this folder is still here: it was to go along with a push."""
    from hfmirror import outbox

    waiting = [entry for _, entries in outbox.waiting(job.home.outbox) for entry in entries]
    return bool(failed) or any(entry.folder == str(job.folder) for entry in waiting)


def _tell(job: Job, done: Done) -> None:
    shown, took = f'hfmirror: {job.shown}', f'({done.seconds:.1f} s)'
    match done.status:
        case 'pushed':
            where = gitcmd.redact(done.url or '')
            output.say(f'{shown}: {done.version or "released"} pushed and proven, {where} {took}')
        case 'up-to-date':
            output.say(f'{shown}: released already, as {done.version or "it is"} {took}')
        case 'queued':
            output.say(
                f'{shown}: {done.version or "the release"} waits for the network; the next release sends it, '
                f"and so does 'hfmirror resume' {took}"
            )
        case 'background':
            words = done.note or f'{done.version or "a release"} is on its way in the background'
            output.say(f'{shown}: {words}, see {job.home.log / "saves.log"} {took}')
        case 'dry-run':
            output.say(f'{shown}: would be released{f" as {done.version}" if done.version else ""}')
        case _:
            output.warn(f'{shown}: not released: {done.note}')
