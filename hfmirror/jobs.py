"""Which job are we in, how long does it last, and does its disk outlive it? Told by what the schedulers set.

None of them is needed: where nothing is set there is no job, and everything works as on a desk.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hfmirror.config import environment

_WORD_MAX = 200
_YEARS_S = 10 * 365 * 24 * 3600


class Job(NamedTuple):
    """A job of a scheduler. ``grace_s``: how long it waits between its SIGTERM and its SIGKILL, None when nobody knows.

    ``ends_at`` is a time of the epoch. ``is_ephemeral``: its disk goes with it, unless something is mounted.
    """

    kind: str
    id: str | None = None
    grace_s: float | None = None
    ends_at: float | None = None
    is_ephemeral: bool = True
    more: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """What a person calls it: ``Slurm job 123``."""
        return f'{self.kind} job {self.id}' if self.id else f'{self.kind} job'

    def left_s(self, now: float) -> float | None:
        """Return how many seconds it still has, None when nobody knows."""
        return None if self.ends_at is None else max(0.0, self.ends_at - now)

    def told(self) -> dict[str, Any]:
        """Return what metadata say of it."""
        return {'kind': self.kind, **({'id': self.id} if self.id else {}), **self.more}


def current() -> Job | None:
    """Return the job that this process is part of, None when it is in none that is known."""
    values = environment.variables().values
    return next((job for tell in _KINDS if (job := tell(values)) is not None), None)


def _slurm(values: Mapping[str, str]) -> Job | None:
    if 'SLURM_JOB_ID' not in values:
        return None
    more = _chosen(values, name='SLURM_JOB_NAME', partition='SLURM_JOB_PARTITION')
    # KillWait of slurm.conf is 30 seconds unless somebody changed it.
    return Job(
        'Slurm', _word(values['SLURM_JOB_ID']), 30.0, _time(values.get('SLURM_JOB_END_TIME')), False, more
    )


def _hugging_face(values: Mapping[str, str]) -> Job | None:
    # Grid Engine sets JOB_ID too, and none of the others.
    if 'JOB_ID' not in values or not values.keys() & {'ACCELERATOR', 'CPU_CORES', 'MEMORY'}:
        return None
    more = _chosen(values, accelerator='ACCELERATOR', cpu_cores='CPU_CORES', memory='MEMORY')
    return Job('Hugging Face', _word(values['JOB_ID']), more=more)


def _github(values: Mapping[str, str]) -> Job | None:
    if values.get('GITHUB_ACTIONS') != 'true':
        return None
    more = _chosen(values, workflow='GITHUB_WORKFLOW', attempt='GITHUB_RUN_ATTEMPT')
    # A cancelled step gets SIGINT, after 7.5 seconds SIGTERM, and 2.5 seconds later its end.
    return Job('GitHub Actions', _word(values.get('GITHUB_RUN_ID')), 10.0, more=more)


def _gitlab(values: Mapping[str, str]) -> Job | None:
    if values.get('GITLAB_CI') != 'true':
        return None
    return Job('GitLab CI', _word(values.get('CI_JOB_ID')), more=_chosen(values, name='CI_JOB_NAME'))


def _kaggle(values: Mapping[str, str]) -> Job | None:
    if 'KAGGLE_KERNEL_RUN_TYPE' not in values:
        return None
    return Job('Kaggle', more=_chosen(values, run='KAGGLE_KERNEL_RUN_TYPE'))


def _colab(values: Mapping[str, str]) -> Job | None:
    if not values.keys() & {'COLAB_RELEASE_TAG', 'COLAB_GPU', 'COLAB_BACKEND_VERSION'}:
        return None
    return Job('Colab', more=_chosen(values, release='COLAB_RELEASE_TAG'))


def _grid_engine(values: Mapping[str, str]) -> Job | None:
    if 'JOB_ID' not in values or 'SGE_TASK_ID' not in values:
        return None
    return Job('Grid Engine', _word(values['JOB_ID']), is_ephemeral=False)


def _kubernetes(values: Mapping[str, str]) -> Job | None:
    if 'KUBERNETES_SERVICE_HOST' not in values:
        return None
    # terminationGracePeriodSeconds is 30 unless the pod says otherwise; the pod's name is its host's.
    return Job('Kubernetes', _word(values.get('HOSTNAME')), 30.0)


# The nearest first: a Hugging Face job and many a Slurm node are on Kubernetes themselves.
_KINDS: tuple[Callable[[Mapping[str, str]], Job | None], ...] = (
    _slurm,
    _hugging_face,
    _github,
    _gitlab,
    _kaggle,
    _colab,
    _grid_engine,
    _kubernetes,
)


def _chosen(values: Mapping[str, str], **names: str) -> dict[str, str]:
    found = {key: _word(values.get(name)) for key, name in names.items()}
    return {key: word for key, word in found.items() if word}


def _word(text: str | None) -> str | None:
    """Return a value as one line of a sensible length, None when there is nothing in it."""
    line = ' '.join((text or '')[:_WORD_MAX].split())
    return ''.join(c for c in line if c.isprintable()) or None


def _time(text: str | None) -> float | None:
    """Return a time of the epoch that a job may end at, None for anything else."""
    if text is None or not re.fullmatch(r'\d{1,12}', text):
        return None
    return float(text) if abs(float(text) - time.time()) < _YEARS_S else None
