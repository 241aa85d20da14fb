"""The guide to publishing a checkpoint: its commands and its lines of Python run as they stand, against a Hub."""

from __future__ import annotations

import re
import shutil
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement

from tests.support.guide import SCRIPTS, Guide
from tests.support.rest import new_user
from tests.test_transformer_scripts import FILES

pytestmark = pytest.mark.heavy

REPO = 'your_username/my-shakespeare-transformer'
# What the guide leaves out, so that it takes seconds: three steps of training are enough to publish something.
FEW = '--mode train --steps 3'


@pytest.fixture
def guide(hub, tmp_path):
    """A folder with the guide's scripts, and its user; no token is in the environment."""
    made = Guide(hub, tmp_path / 'project', 'your_username')
    made.instead = {'your_token_here': made.token}
    for name in ('train_transformer', 'push_to_huggingface', 'encoder_decoder_transformer'):
        shutil.copy(SCRIPTS / f'{name}.py', made.path)
    return made


TRAIN_AND_PUSH = r"""
python train_transformer.py \
    --mode train \
    --push_to_hf \
    --hf_repo_name "my-shakespeare-transformer" \
    --hf_username "your_username" \
    --hf_token "your_token_here"
"""
TRAIN_THEN_PUSH = r"""
python train_transformer.py --mode train

python push_to_huggingface.py \
    --repo_name "my-shakespeare-transformer" \
    --username "your_username" \
    --token "your_token_here"
"""
VARIABLES = """
export HF_TOKEN="your_token_here"
export HF_USERNAME="your_username"
"""
DOWNLOAD = """
from huggingface_hub import hf_hub_download

model_path = hf_hub_download("username/repo-name", "pytorch_model.bin")
config_path = hf_hub_download("username/repo-name", "config.json")
vocab_path = hf_hub_download("username/repo-name", "vocab.json")
"""
LOAD = """
import torch
import json
from encoder_decoder_transformer import Transformer

with open(config_path) as f:
    config = json.load(f)
    
with open(vocab_path) as f:
    vocab = json.load(f)

model = Transformer(**config)

checkpoint = torch.load(model_path, map_location="cpu")
model.load_state_dict(checkpoint["model_state_dict"])

model.eval()
"""  # noqa: W293


def test_training_with_the_flags_of_the_guide_publishes(guide):
    done = guide.shell(TRAIN_AND_PUSH.replace('--mode train', FEW))
    assert done.out.splitlines()[-1] == f'{guide.hub.endpoint}/{REPO}'
    assert sorted(guide.api.list_repo_files(REPO)) == ['.gitattributes', *FILES]


@pytest.mark.timeout(300)
def test_training_and_then_pushing_publishes_the_same_files(guide):
    guide.shell(TRAIN_THEN_PUSH)  # as it stands: 400 steps
    assert sorted(guide.api.list_repo_files(REPO)) == ['.gitattributes', *FILES]


def test_token_and_username_of_the_environment_are_enough(guide):
    push = 'python push_to_huggingface.py --repo_name "my-shakespeare-transformer" --private'
    guide.shell(f'{VARIABLES}python train_transformer.py {FEW}\n{push}')
    assert guide.api.model_info(REPO).private is True


def test_others_download_and_load_it_with_the_lines_of_the_guide(guide):
    token = new_user(guide.hub, 'username')
    push = f'python push_to_huggingface.py --repo_name repo-name --username username --token {token}'
    guide.shell(f'python train_transformer.py {FEW}\n{push}')
    told = guide.python(f'{DOWNLOAD}{LOAD}\nprint(len(vocab) == config["vocab_size"], model.training)')
    assert told.out == 'True False\n'


@pytest.mark.parametrize(
    ('script', 'defaults'),
    [
        ('train_transformer.py', {'--hf_repo_name': 'shakespeare-transformer'}),
        ('push_to_huggingface.py', {'--model_path': 'transformer_model.pth'}),
    ],
)
def test_defaults_are_those_of_the_guide(guide, script, defaults):
    shown = ' '.join(guide.shell(f'python {script} --help', COLUMNS='200').out.split())
    for option, default in defaults.items():
        assert re.search(rf'{option} [^[]*\[default: {re.escape(default)}\]', shown)


def test_what_the_scripts_need_is_installed():
    """``pip install -r requirements_transformer.txt``, as far as it can be looked at without a network."""
    lines = (SCRIPTS / 'requirements_transformer.txt').read_text().splitlines()
    assert '..' in lines  # hfmirror, for those who are in the folder of the scripts, as the guide is
    wanted = [Requirement(line) for line in lines if line and line[0] not in '#.']
    assert {one.name for one in wanted} == {'torch', 'safetensors'}
    assert [one for one in wanted if not one.specifier.contains(version(one.name))] == []
