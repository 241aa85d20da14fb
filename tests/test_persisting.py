"""docs/persisting.md is true: each of its blocks runs, as it stands, against a Hub."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from tests.support.guide import Guide
from tests.support.guidejobs import Jobs, make_base_model, make_conversations
from tests.support.guideservices import receiving
from tests.support.s3 import Bucket

heavy = pytest.mark.heavy
PAGE = (Path(__file__).parents[1] / 'docs' / 'persisting.md').read_text('utf-8')
BLOCKS = re.findall(r'^```\w+\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
USER = 'me'


def block(words):
    """Return the one block of the page with these words."""
    (found,) = [one for one in BLOCKS if words in one]
    return found


@pytest.fixture
def guide(hub, tmp_path):
    """A folder of somebody called ``me``, with the results of a job; the token is in the environment."""
    made = Guide(hub, tmp_path / 'project', USER)
    made.env['HF_TOKEN'] = made.token
    (made.path / 'results.json').write_text('{"accuracy": 0.95, "loss": 0.05}')
    return made


@pytest.fixture(scope='module')
def jobs(shared_hub, tmp_path_factory):
    """The account of ``me`` on a Hub with the model and the data set of the page."""
    home = tmp_path_factory.mktemp('others')
    make_base_model(shared_hub, home)
    make_conversations(shared_hub, home, number=300)
    return Jobs(shared_hub, tmp_path_factory.mktemp('jobs'), USER)


def api_of(jobs):
    return HfApi(endpoint=jobs.hub.endpoint, token=jobs.token)


def files(guide, repo_id, repo_type='dataset', revision=None):
    return set(guide.api.list_repo_files(repo_id, repo_type=repo_type, revision=revision))


def test_every_block_of_the_page_is_run_here():
    called = re.findall(r"block\('([^']*)'\)", Path(__file__).read_text('utf-8'))
    run = [block(words.replace(r'\n', '\n')) for words in called]
    assert [one for one in BLOCKS if run.count(one) == 0] == []


# -- trainings

TRAIN = """
import numpy, os, safetensors.numpy
os.mkdir('my-model')
open('my-model/config.json', 'w').write('{"model_type": "bert", "architectures": ["BertModel"]}')
safetensors.numpy.save_file({'weight': numpy.ones(300, numpy.float32)}, 'my-model/model.safetensors')
raise SystemExit(3)
"""


@heavy
def test_a_training_releases_each_save_and_goes_on_from_the_last(jobs, tmp_path):
    jobs.script(block('callbacks=[HfMirrorCallback(')).ended_well()
    there = {tag.name for tag in api_of(jobs).list_repo_refs('me/my-model').tags}
    assert there == {'step-100', 'step-114', 'v0.1.0'}
    done = jobs.run(
        ['bash', '-ec', block('hfmirror pull latest-checkpoint')],
        tmp_path,
        tmp_path,
        {'HF_TOKEN': jobs.token},
    )
    assert done.returncode == 0, done.stdout
    assert (tmp_path / 'checkpoint-114' / 'trainer_state.json').exists()


@pytest.mark.heavy
def test_a_program_that_crashes_is_released_and_keeps_its_exit_code(guide):
    (guide.path / 'train.py').write_text(TRAIN)
    said = guide.shell(block('hfmirror run --folder'), code=3)
    assert 'me/my-model on hub: v0.1.0 pushed and proven' in said.out + said.err
    assert {'config.json', 'model.safetensors'} <= files(guide, 'me/my-model', 'model', 'v0.1.0')


@heavy
def test_the_trainers_own_upload_keeps_the_model_and_its_last_checkpoint(jobs):
    config = block('hub_strategy=').strip().replace('me/my-model', 'me/by-trl')
    lines = [
        'from datasets import load_dataset',
        'from trl import SFTConfig, SFTTrainer',
        f'config = {config}',
        'data = load_dataset("trl-lib/Capybara", split="train")',
        'SFTTrainer(model="Qwen/Qwen2.5-0.5B", train_dataset=data, args=config).train()',
    ]
    jobs.script('\n'.join(lines)).ended_well()
    there = set(api_of(jobs).list_repo_files('me/by-trl'))
    assert {'model.safetensors', 'tokenizer.json', 'config.json', 'training_args.bin', 'README.md'} <= there
    assert {'last-checkpoint/trainer_state.json', 'last-checkpoint/optimizer.pt'} <= there


def test_what_could_not_be_pushed_is_released_without_its_checkpoints(guide, folder):
    folder.path.rename(guide.path / 'output_dir')
    (guide.path / 'output_dir' / 'checkpoint-100').mkdir()
    (guide.path / 'output_dir' / 'checkpoint-100' / 'config.json').write_text('{}')
    guide.shell(block('hfmirror push ./output_dir'))
    there = files(guide, 'me/my-model', 'model')
    assert 'model.bin' in there and not any(name.startswith('checkpoint-') for name in there)


# -- files, data sets, other places


def test_results_are_released_with_their_numbers(guide):
    guide.shell(block('hfmirror push results.json --repo me/results --repo-type dataset\n'))
    card = guide.api.hf_hub_download('me/results', 'README.md', repo_type='dataset', local_dir=guide.path)
    assert '| `accuracy` | 0.95 |' in Path(card).read_text('utf-8')


@heavy
def test_a_data_set_is_loaded_at_its_version(guide):
    guide.python(block('from datasets import Dataset'))
    guide.shell(block('hfmirror push rows'))
    load = 'from datasets import load_dataset\nprint(load_dataset("me/my-dataset", revision="v1.0.0")["train"]["text"][:])'
    assert guide.python(load).out.strip() == "['Sample 1', 'Sample 2']"


@pytest.mark.heavy
def test_a_bucket_has_the_release_beside_the_hub(guide, monkeypatch):
    with Bucket(monkeypatch) as s3:
        s3.client.create_bucket(Bucket='my-bucket')
        guide.shell(block('s3://my-bucket/kept'))
        kept = s3.client.list_objects_v2(Bucket='my-bucket')['Contents']
    assert any(one['Key'].endswith('versions/v0.1.0.json') for one in kept)
    assert 'results.json' in files(guide, 'me/results', revision='v0.1.0')


@pytest.mark.heavy
def test_an_address_gets_the_results_of_a_release(guide):
    with receiving() as place:
        given = block('webhook_url:').replace('https://your-api.com', place.url)
        (guide.path / 'config.yaml').write_text(given)
        guide.shell('hfmirror push results.json --repo me/results --repo-type dataset')
        ((path, _, body),) = place.posted
    assert path == '/results' and json.loads(body)['metrics'] == {'accuracy': 0.95, 'loss': 0.05}


# -- what the page says beside its blocks


@pytest.mark.heavy
def test_the_lines_to_look_for_are_those_of_a_push(guide):
    done = guide.shell('hfmirror push results.json --repo me/results --repo-type dataset')
    assert re.fullmatch(
        r'me/results on hub: v0\.1\.0 pushed and proven \(3 files, [\d.]+ kB; 1 added\)\n', done.out
    )
    assert 'me/results on hub: created\n' in done.err
    guide.shell('hfmirror verify --repo me/results --repo-type dataset --remote hub')


def test_the_pages_links_lead_somewhere():
    docs = Path(__file__).parents[1] / 'docs'
    assert [name for name in re.findall(r'\]\((\w+\.md)\)', PAGE) if not (docs / name).exists()] == []
