"""The guide to jobs does what it says: each of its blocks is run as somebody would who pastes it."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from tests.support.guide import Guide

TEXT = (Path(__file__).parents[1] / 'docs' / 'jobs.md').read_text('utf-8')
JOB = {'JOB_ID': '687fb701029421ae5549d998', 'ACCELERATOR': 'a10g-large', 'CPU_CORES': '12', 'MEMORY': '46Gi'}


def blocks(heading, language):
    """Return the blocks of a language below a heading, '' for what is above the first."""
    part = TEXT.split(f'\n## {heading}\n')[1] if heading else TEXT
    return re.findall(rf'```{language}\n(.*?)```', part.split('\n## ')[0], re.DOTALL)


@pytest.fixture
def person(hub, tmp_path):
    """Somebody called me, who has train.py and a token in the environment."""
    guide = Guide(hub, tmp_path / 'work', 'me')
    guide.env |= {'HF_TOKEN': guide.token}
    (guide.path / 'train.py').write_text(blocks('', 'python')[0])
    return guide


def run_of(person):
    """Return what the newest release says of its run."""
    path = person.api.hf_hub_download('me/tiny-model', 'experiment_metadata.json')
    return json.loads(Path(path).read_text())['run']


def tags(person, repo='me/tiny-model', **kwargs):
    return [ref.name for ref in person.api.list_repo_refs(repo, **kwargs).tags]


def test_the_first_example_makes_a_release(person):
    run, listing = blocks('', 'bash')
    assert 'step 3 loss 0.333' in person.shell(run).out
    assert 'v0.1.0' in person.shell(listing).out
    assert run_of(person)['log'] == ['step 1 loss 1.000', 'step 2 loss 0.500', 'step 3 loss 0.333']


@pytest.mark.heavy
def test_preflight_prints_the_checks_that_the_guide_shows(person):
    person.shell(blocks('', 'bash')[0])
    look, waiting = blocks('Before it begins: preflight', 'bash')
    shown = blocks('Before it begins: preflight', 'text')[0]
    done = person.shell(look, **JOB)
    assert [line.split()[:2] for line in done.out.splitlines()] == [
        line.split()[:2] for line in shown.splitlines()
    ]
    person.shell(waiting)


def test_the_table_of_checks_names_them_all_in_order():
    table = TEXT.split('| check | fails when')[1].split('\n\n')[0]
    shown = blocks('Before it begins: preflight', 'text')[0]
    named = re.findall(r'^\| `(\w+)` \|', table, re.MULTILINE)
    assert sorted(named) == sorted(line.split()[1] for line in shown.splitlines())


@pytest.mark.heavy
def test_an_experiment_is_numbered(person):
    person.shell(blocks('What run does', 'bash')[0])
    assert tags(person) == ['exp-baseline-001']
    assert 'baseline' in person.shell('hfmirror list-experiments --repo me/tiny-model').out


@pytest.mark.heavy
def test_the_metadata_that_the_guide_shows_are_what_is_written(person):
    person.shell(
        "hfmirror run --folder out --repo me/tiny-model -- bash -c 'python train.py; kill $$'", code=143
    )
    shown = json.loads(blocks('What run does', 'json')[0])['run']
    assert shown.keys() - run_of(person).keys() <= {'asked_to_end', 'job'}


@pytest.mark.heavy
def test_a_hugging_face_job_is_run_and_told(person):
    job, _ = blocks('Hugging Face Jobs', 'bash')
    person.shell(job, **JOB)
    assert run_of(person)['job'] == {
        'kind': 'Hugging Face',
        'id': JOB['JOB_ID'],
        'accelerator': 'a10g-large',
        'cpu_cores': '12',
        'memory': '46Gi',
    }


@pytest.mark.heavy
def test_single_files_of_results_are_released(person):
    _, files = blocks('Hugging Face Jobs', 'bash')
    person.shell(files)
    found = person.api.list_repo_files('me/results', repo_type='dataset')
    assert {'results.json', 'results.csv'} <= set(found)


@pytest.mark.heavy
def test_a_slurm_script_runs(person):
    (script,) = blocks('Slurm', 'bash')
    person.shell(script, SLURM_JOB_ID='4711')
    assert run_of(person)['job'] == {'kind': 'Slurm', 'id': '4711'}
    assert (person.path / '.hfmirror-home').is_dir()


@pytest.mark.heavy
def test_the_command_of_the_pod_runs(person):
    (text,) = blocks('Kubernetes', 'yaml')
    pod = YAML(typ='safe').load(text)['spec']['template']['spec']
    (container,) = pod['containers']
    assert container['command'][container['command'].index('--grace') + 1] == '5m'
    assert pod['terminationGracePeriodSeconds'] == 300
    person.shell(shlex.join(map(str, container['command'])), KUBERNETES_SERVICE_HOST='10.0.0.1')
    assert run_of(person)['job']['kind'] == 'Kubernetes'


@pytest.mark.heavy
def test_a_notebook_runs(person):
    (cell,) = blocks('Colab and Kaggle', 'bash')
    person.shell(cell, COLAB_RELEASE_TAG='release-colab')
    assert re.fullmatch(r'v\d{8}-\d{6}', tags(person)[0])


def test_every_block_is_run_here():
    languages = re.findall(r'```(\w+)\n', TEXT)
    assert {name: languages.count(name) for name in set(languages)} == {
        'python': 1,
        'bash': 9,
        'text': 1,
        'json': 1,
        'yaml': 1,
    }
