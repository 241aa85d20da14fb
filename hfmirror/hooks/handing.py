"""How is a folder handed over by a hook? Its files are held, as a training's saves are, and a process of its own releases them.

In the foreground git waits for that one, for at most a minute; without a network the release waits in the outbox at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from typing import Protocol

from hfmirror import errors, output, publishing, sender
from hfmirror.gates import gate
from hfmirror.gates.scanning import scan_files
from hfmirror.hooks.events import Happening
from hfmirror.hooks.job import Done, Job
from hfmirror.place import Place
from hfmirror.publishing import Publication
from hfmirror.spool import Part, Result, Save, Spool
from hfmirror.statcache import CommandCache, Stamp

_PATIENCE_S = 60.0
_BEHIND = 'in the background'
_LEFT = "its process was ended; the next commit, tag or push sends it, and so does 'hfmirror resume'"
_ONCE = {'HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES': '0'}


class _Process(Protocol):
    def poll(self) -> int | None: ...


def require_clean(job: Job) -> None:
    """Raise GateError for what would stop the release later on, when nobody can stop the push any more."""
    stamps = {file.path: Stamp.of(file.stat) for file in job.files.files}
    with closing(CommandCache(job.home.cache / 'files.sqlite')) as cache:
        findings = scan_files(job.files.root, job.files.files, cache, stamps=stamps)
    gates = job.config.gates
    gate.require_clean(findings, gate.Allowed(tuple(gates.allow_secrets), tuple(gates.allow_unsafe)))


def hand_over(job: Job, happening: Happening, done: Done, *, replaced: Sequence[Save]) -> Done:
    """Hold the folder's files and have them released, by a process that goes on when git has ended."""
    _warn_without_token(job)
    spool, origin = Spool(job.home), job.code.origin(happening.commit)
    save = Save(
        str(job.folder),
        repo=job.settings.repo,
        remotes=job.settings.remotes,
        tag=happening.tag,
        message=happening.message,
        config_file=str(job.config_file) if job.config_file else None,
        code=str(job.code.root),
        source_commit=origin.commit,
        source_dirty=origin.dirty,
    )
    part = Part(job.folder, include=job.files.include, exclude=job.files.exclude)
    save = spool.put(save, [part], sealed=True)
    for old in replaced:
        spool.drop(old.id)
    env = {'HFMIRROR_HOOK': '1'}
    if job.background:
        sender.start(env=env)
        return done._replace(status='background')
    result = _result(save, spool, sender.start(env=env | _ONCE))
    if isinstance(result, str):
        return done._replace(status='background', note=result)
    if result.status == 'failed':
        spool.drop(save.id)  # the folder is still there, and git's command can be given again
        if job.event == 'push':
            raise errors.HfmirrorError(result.error or 'the reason is not known')
    return done._replace(
        status=result.status, version=result.version or done.version, url=result.url, note=result.error
    )


def take_up(job: Job) -> bool:
    """Have released what was handed over and what nobody is at: its process was killed. Returns whether that was so."""
    if sender.is_at_work(job.home):
        return False
    sender.start(env={'HFMIRROR_HOOK': '1'})
    return True


def _warn_without_token(job: Job) -> None:
    publication = Publication(job.folder, Place(job.settings.repo), job.settings.remotes)
    to_hub = publishing.goes_to_hub(publication, job.config)
    if to_hub and publishing.token_for(publication, job.config) is None:
        output.warn(
            f'hfmirror: {publishing.NO_TOKEN} The release is kept in the local Hub on this machine.',
            prefix='',
        )


def _result(save: Save, spool: Spool, process: _Process) -> Result | str:
    """Return what came of a save, or why nobody waits for that any more."""
    until = time.monotonic() + _PATIENCE_S
    try:
        while time.monotonic() < until:
            has_ended = process.poll() is not None
            result = spool.result(save)
            if result is not None:
                return result
            if has_ended:
                left = next((one for one in spool.saves() if one.id == save.id), None)
                return Result(left, 'failed', error=left.error) if left and left.error else _LEFT
            time.sleep(0.02)
    except KeyboardInterrupt:  # of git; the release is a process of its own
        return f'goes on {_BEHIND}'
    return f'not done after {_PATIENCE_S:.0f} s; it goes on {_BEHIND}'
