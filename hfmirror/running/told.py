"""What is told of a run in its metadata: the command, how it ended, its job and its last words, without secrets.

In the metadata of the experiment it stands beside what every sync tells, as ``run``::

    {"command": ["python", "train.py"], "exit_code": 137, "signal": "SIGKILL", "asked_to_end": "SIGTERM",
     "started": "2026-01-31T12:00:00+00:00", "duration_s": 5400.2,
     "job": {"kind": "Slurm", "id": "4711"}, "log": ["step 900 loss 0.31", "…"]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfmirror import durable, output
from hfmirror.config import environment
from hfmirror.config.config import Config
from hfmirror.experiments import metadata
from hfmirror.facts import jsonfile
from hfmirror.gates.scanning import scan_texts
from hfmirror.gitcmd import redact
from hfmirror.jobs import Job
from hfmirror.process import Ended

_LINE_MAX = 500  # characters
_WORDS_MAX = 100  # of the command
_STEERING = re.compile(r'\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)')
_LEFT_OUT = '*** (looks like a secret)'


def told(
    command: Sequence[str], ended: Ended, job: Job | None, *, log_lines: int, secrets: Sequence[str]
) -> dict[str, Any]:
    """Return what the metadata say of a run. ``secrets`` are values that nobody is to see, besides those of the environment."""
    hidden = [*secrets, *environment.secrets()]
    found = {
        'command': _clean(command[:_WORDS_MAX], hidden),
        'exit_code': ended.code,
        'signal': ended.signal,
        'asked_to_end': ended.asked,
        'started': ended.started.isoformat(timespec='seconds'),
        'duration_s': round(ended.seconds, 1),
        'job': job.told() if job else None,
        'log': _clean(_lines(ended.last)[-log_lines:], hidden) if log_lines else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _lines(last: bytes) -> list[str]:
    """Return the lines of an output as a person has seen them in the end: of a progress bar its last state."""
    text = _STEERING.sub('', last.decode('utf-8', 'replace'))
    lines = [line.rstrip('\r').rpartition('\r')[2].rstrip() for line in text.split('\n')]
    return [''.join(c for c in line if c.isprintable() or c == '\t') for line in lines if line]


def _clean(lines: Sequence[str], hidden: Sequence[str]) -> list[str]:
    """Return lines without secrets: those that are known, those that have their form, and whatever a gate would stop."""
    clean = []
    for line in lines:
        for secret in hidden:
            line = line.replace(secret, '***')
        # In this order: half a token is a secret too, and looks like none.
        clean.append(redact(line)[:_LINE_MAX])
    found = {finding.line for finding in scan_texts({'log': '\n'.join(clean)})}
    return [_LEFT_OUT if number in found else line for number, line in enumerate(clean, 1)]


def write(folder: Path, values: Mapping[str, Any], config: Config) -> None:
    """Write the metadata of a run into the folder that is released. What somebody else has there under that name stays.

    A folder that cannot be written to is released without them, which is told.
    """
    path = folder / config.experiment_tracking.metadata_file
    before = _before(path)
    if before is None:
        output.warn(
            f'{path}: not metadata of an experiment; left as it is, and what is known of the run is not released'
        )
        return
    try:
        durable.rewrite(path, metadata.as_text({**before, **values}).encode())
    except OSError as e:
        output.warn(f'{path}: cannot be written ({e.strerror}); what is known of the run is not released')


def _before(path: Path) -> Mapping[str, Any] | None:
    """Return the metadata that are there, {} for none; None for another file."""
    if path.is_symlink():
        return None
    try:
        if path.stat().st_size > jsonfile.LIMIT:
            return None
        found = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
    return metadata.plain(found) if isinstance(found, dict) and 'experiment_name' in found else None
