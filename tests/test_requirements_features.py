"""The guide to feature uploads: its commands run as they stand where it says, and what it says of files and tokens is so."""

from __future__ import annotations

import configparser
import json
import os
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support.features import NAMES, SCRIPTS
from tests.support.guide import Guide
from tests.support.mirror import git

USER = 'zongowo111'
REPO = f'{USER}/zigzag-lstm-predictor'
STEP2 = SCRIPTS / 'step2_feature_engineering'


@pytest.fixture
def guide(hub, tmp_path):
    """The folders of the guide's project, and the owner of the repository that it names."""
    made = Guide(hub, tmp_path / 'project', USER)
    made.env['PYTHONPATH'] += f'{os.pathsep}{made.path}'
    # Few bars, so that it takes a second.
    made.instead = {'main.py': 'main.py --bars 400 --window 8', 'your_huggingface_token_here': made.token}
    shutil.copytree(STEP2, made.path / STEP2.name)
    for name in ('make_features.py', 'hf_feature_downloader.py'):
        shutil.copy(SCRIPTS / name, made.path)
    for folder in (made.path, made.path / STEP2.name):
        (folder / 'config.yaml').write_text(f'huggingface: {{repository: {{model_name: {REPO}}}}}\n')
    return made


def files(guide):
    return set(guide.api.list_repo_files(REPO, repo_type='dataset'))


def tree():
    return {
        f'v2_model/BTCUSDT/{timeframe}/{timeframe}_{name}' for timeframe in ('15m', '1h') for name in NAMES
    }


# -- the token, and the upload

RUN = """
cd step2_feature_engineering
python main.py
"""
EXPORT = """
cd step2_feature_engineering
# Linux/Mac
export HF_TOKEN="your_huggingface_token_here"
python main.py
"""


@pytest.mark.heavy
def test_an_exported_token_uploads_both_timeframes(guide):
    guide.shell(EXPORT)
    assert tree() <= files(guide)


@pytest.mark.heavy
def test_a_token_in_dotenv_uploads_too(guide):
    # The guide's file, with a token that is one.
    dotenv = 'HF_TOKEN=your_huggingface_token_here\n'
    (guide.path / STEP2.name / '.env').write_text(dotenv.replace('your_huggingface_token_here', guide.token))
    guide.shell(RUN)
    assert tree() <= files(guide)


@pytest.mark.heavy
def test_a_login_uploads_too(guide):
    # huggingface-cli login is hf auth login in huggingface_hub 2.
    guide.shell('hf auth login --token "$TOKEN"', TOKEN=guide.token)
    guide.shell(RUN)
    assert tree() <= files(guide)


def test_a_file_that_holds_the_token_is_not_committed(guide):
    (guide.path / STEP2.name / '.env').write_text(f'HF_TOKEN={guide.token}\n')
    git('init', '-q', cwd=guide.path)
    git('add', '-A', cwd=guide.path)
    tracked = git('ls-files', cwd=guide.path)
    assert 'step2_feature_engineering/main.py' in tracked and '.env' not in tracked


def test_what_step_2_needs_is_installed():
    """``pip install -r requirements.txt``, in the folder of step 2, as far as it can be looked at without a network."""
    lines = (STEP2 / 'requirements.txt').read_text().split()
    here = next(line for line in lines if line.startswith('.'))
    folder, _, extra = here.rstrip(']').partition('[')
    setup = configparser.ConfigParser()
    setup.read(STEP2 / folder / 'setup.cfg')
    assert setup['metadata']['name'] == 'hf-mirror' and extra in setup['options.extras_require']
    for line in lines:
        if line != here:
            wanted = Requirement(line)
            assert wanted.specifier.contains(version(wanted.name)), line


# -- what came of it

AGAIN = """
cd step2_feature_engineering
python -m hfmirror verify --repo-type dataset --repo zongowo111/zigzag-lstm-predictor
"""
BY_FUNCTION = """
from hf_feature_downloader import download_training_features

features = download_training_features(
    symbol='BTCUSDT',
    timeframes=['15m', '1h']
)

X_train_15m = features['15m']['X_sequences']
y_class_15m = features['15m']['y_class']
y_reg_15m = features['15m']['y_reg']
scaler_15m = features['15m']['scaler']
"""
BY_CLASS = """
from hf_feature_downloader import HFFeatureDownloader

downloader = HFFeatureDownloader()
features = downloader.download_training_features('BTCUSDT', ['15m', '1h'])
"""
BY_LIBRARY = """
import numpy as np
from huggingface_hub import hf_hub_download

X_sequences_path = hf_hub_download(
    repo_id="zongowo111/zigzag-lstm-predictor",
    filename="v2_model/BTCUSDT/15m/15m_X_sequences.npy",
    repo_type="dataset"
)
X_sequences = np.load(X_sequences_path)
"""


@pytest.mark.heavy
def test_the_next_step_downloads_in_all_three_ways(guide):
    guide.shell(RUN, HF_TOKEN=guide.token)
    shapes = 'print(features["15m"]["X_sequences"].shape, features["1h"]["y_class"].ndim)'
    by_function = guide.python(f'{BY_FUNCTION}{shapes}', HF_TOKEN=guide.token).out
    by_class = guide.python(f'{BY_CLASS}{shapes}', HF_TOKEN=guide.token).out
    by_library = guide.python(f'{BY_LIBRARY}print(X_sequences.shape, 1)', HF_TOKEN=guide.token).out
    assert by_function == by_class == by_library != ''


@pytest.mark.heavy
def test_what_was_uploaded_can_be_verified_again_by_hand(guide):
    guide.shell(RUN, HF_TOKEN=guide.token)
    assert 'v0.1.0' in guide.shell(AGAIN, HF_TOKEN=guide.token).out
    shutil.rmtree(guide.hub.root / 'datasets' / f'{REPO}.git' / 'lfs')
    guide.shell(AGAIN, code=3, HF_TOKEN=guide.token)


@pytest.mark.heavy
def test_the_summary_of_a_run_names_every_file_that_is_there(guide):
    guide.shell(RUN, HF_TOKEN=guide.token)
    summary = json.loads((guide.path / STEP2.name / 'execution_summary.json').read_text())[
        'huggingface_upload'
    ]
    named = {file['remote_path'] for one in summary.values() for file in one['files_uploaded']}
    assert named == tree()
    assert [Path(one['remote_dir']).name for one in summary.values()] == list(summary) == ['15m', '1h']
