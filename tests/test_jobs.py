"""The job that we are in is told apart by what its scheduler sets, and none is needed."""

from __future__ import annotations

import time

import pytest

from hfmirror import jobs

ALL = [
    'SLURM_JOB_ID',
    'SLURM_JOB_END_TIME',
    'SLURM_JOB_NAME',
    'SLURM_JOB_PARTITION',
    'JOB_ID',
    'ACCELERATOR',
    'CPU_CORES',
    'MEMORY',
    'GITHUB_ACTIONS',
    'GITHUB_RUN_ID',
    'GITHUB_WORKFLOW',
    'GITHUB_RUN_ATTEMPT',
    'GITLAB_CI',
    'CI_JOB_ID',
    'CI_JOB_NAME',
    'KAGGLE_KERNEL_RUN_TYPE',
    'COLAB_RELEASE_TAG',
    'COLAB_GPU',
    'COLAB_BACKEND_VERSION',
    'SGE_TASK_ID',
    'KUBERNETES_SERVICE_HOST',
]


@pytest.fixture(autouse=True)
def no_job(own_world, monkeypatch):
    for name in ALL:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def job(monkeypatch):
    def current(**values):
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return jobs.current()

    return current


def test_on_a_desk_there_is_no_job(job):
    assert job() is None


def test_a_hugging_face_job_tells_its_hardware(job):
    found = job(JOB_ID='687fb701029421ae5549d998', ACCELERATOR='a10g-large', CPU_CORES='12', MEMORY='46Gi')
    assert found.name == 'Hugging Face job 687fb701029421ae5549d998'
    assert found.told() == {
        'kind': 'Hugging Face',
        'id': '687fb701029421ae5549d998',
        'accelerator': 'a10g-large',
        'cpu_cores': '12',
        'memory': '46Gi',
    }
    assert found.is_ephemeral


def test_a_job_id_alone_is_no_hugging_face_job(job):
    assert job(JOB_ID='17') is None


def test_grid_engine_has_a_job_id_too(job):
    assert job(JOB_ID='17', SGE_TASK_ID='undefined').kind == 'Grid Engine'


def test_a_slurm_job_tells_when_it_ends(job):
    now = time.time()
    found = job(SLURM_JOB_ID='4711', SLURM_JOB_END_TIME=str(int(now) + 600), SLURM_JOB_NAME='bert')
    assert (found.kind, found.id, found.grace_s, found.is_ephemeral) == ('Slurm', '4711', 30, False)
    assert 598 <= found.left_s(now) <= 600
    assert found.told() == {'kind': 'Slurm', 'id': '4711', 'name': 'bert'}


@pytest.mark.parametrize('end', ['', 'soon', '-1', '0', '99999999999999'])
def test_an_end_that_is_no_time_is_not_known(job, end):
    assert job(SLURM_JOB_ID='4711', SLURM_JOB_END_TIME=end).left_s(time.time()) is None


@pytest.mark.parametrize(
    ('values', 'kind', 'identifier'),
    [
        ({'GITHUB_ACTIONS': 'true', 'GITHUB_RUN_ID': '99'}, 'GitHub Actions', '99'),
        ({'GITLAB_CI': 'true', 'CI_JOB_ID': '5'}, 'GitLab CI', '5'),
        ({'KAGGLE_KERNEL_RUN_TYPE': 'Batch'}, 'Kaggle', None),
        ({'COLAB_RELEASE_TAG': 'release-colab_20260101'}, 'Colab', None),
        ({'KUBERNETES_SERVICE_HOST': '10.0.0.1', 'HOSTNAME': 'train-x7k2p'}, 'Kubernetes', 'train-x7k2p'),
    ],
)
def test_others_are_told_apart(job, values, kind, identifier):
    found = job(**values)
    assert (found.kind, found.id) == (kind, identifier)


def test_the_nearest_scheduler_counts(job):
    assert job(KUBERNETES_SERVICE_HOST='10.0.0.1', JOB_ID='a', CPU_CORES='2').kind == 'Hugging Face'


def test_what_a_variable_holds_cannot_steer_a_terminal(job):
    assert job(SLURM_JOB_ID='1\x1b[31m' + 'x' * 1000).id.startswith('1[31mxxx')
    assert len(jobs.current().id) <= 200
