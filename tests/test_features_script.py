"""The generator makes features that are what they say, and step 2 of the guide runs from beginning to end."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest

from tests.support.features import NAMES, ROOT, SCRIPTS, generator, make
from tests.support.folder import checksums

STEP2 = SCRIPTS / 'step2_feature_engineering'
BAR = '=' * 90


def run(script, *args, cwd, code=0, **env):
    done = subprocess.run(
        [sys.executable, str(script), *map(str, args)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(ROOT), **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def made(tmp_path):
    return make(tmp_path / 'made')


def load(folder, name):
    return np.load(folder / f'15m_{name}.npy')


def statistics(folder):
    return json.loads((folder / '15m_statistics.json').read_text())


# -- the generator


def test_it_writes_the_six_files(made):
    assert sorted(os.listdir(made)) == sorted(f'15m_{name}' for name in NAMES)


@pytest.mark.skipif(sys.platform == 'win32', reason='modes are of other systems')
def test_others_may_read_the_files(made):
    assert {path.stat().st_mode & 0o777 for path in made.iterdir()} == {0o644}


def test_the_same_seed_makes_the_same_files(made, tmp_path):
    assert checksums(make(tmp_path / 'again')) == checksums(made)


@pytest.mark.parametrize('other', [{'seed': 8}, {'symbol': 'ETHUSDT'}])
def test_another_seed_or_symbol_makes_others(made, tmp_path, other):
    again = make(tmp_path / 'again', **other)
    assert not np.array_equal(load(again, 'y_reg'), load(made, 'y_reg'))


def test_each_sample_is_a_window_of_single_floats(made):
    sequences = load(made, 'X_sequences')
    assert sequences.dtype == np.float32
    assert sequences.shape[1:] == (8, 8)
    assert list(sequences.shape) == statistics(made)['shape']
    np.testing.assert_array_equal(sequences[0, 1:], sequences[1, :-1])  # the next one is a bar later


def test_each_sample_has_its_labels(made):
    count = len(load(made, 'X_sequences'))
    assert load(made, 'y_class').shape == load(made, 'y_reg').shape == (count,)
    assert load(made, 'y_class').dtype == np.int64 and load(made, 'y_reg').dtype == np.float64


def test_highs_and_lows_take_turns_and_are_apart_by_the_threshold(made):
    points = json.loads((made / '15m_zigzag_points.json').read_text())
    assert len(points) > 3
    for one, other in pairwise(points):
        assert one['index'] < other['index'] or one['kind'] != other['kind']
        assert {one['kind'], other['kind']} == {'high', 'low'}
        high, low = max(one['price'], other['price']), min(one['price'], other['price'])
        assert (one['price'] == high) == (one['kind'] == 'high')
        assert min(high / low - 1, 1 - low / high) >= 0.0099


def test_the_classes_are_at_the_turning_points(made):
    classes = statistics(made)['classes']
    points = json.loads((made / '15m_zigzag_points.json').read_text())
    assert 0 < classes['high'] + classes['low'] <= len(points)
    assert sum(classes.values()) == statistics(made)['samples']


def test_before_a_high_the_price_goes_up():
    made = generator()
    bars = made.prices(15, 400, [1])
    points = made.zigzag(bars, 0.01)
    classes, moves = made.labels(bars, points)
    high = next(point for point in points[1:] if point.kind == 'high')
    assert classes[high.index] == 1
    assert moves[high.index - 1] > 0


def test_the_scaler_is_fitted_to_the_features(made):
    with (made / '15m_scaler.pkl').open('rb') as file:
        scaler = pickle.load(file)
    assert scaler.mean_.shape == (8,) and scaler.n_samples_seen_ == 400


def test_without_scikit_learn_the_scaler_is_the_packages_own(monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn.preprocessing', None)
    values = np.random.default_rng(1).normal(5, 3, (100, 2))
    scaler = generator().fitted(values)
    assert type(scaler).__module__ == 'hfmirror.features.scaler'
    np.testing.assert_allclose(scaler.transform(values).std(axis=0), 1)
    np.testing.assert_allclose(scaler.inverse_transform(scaler.transform(values)), values)


def test_both_scalers_scale_alike():
    preprocessing = pytest.importorskip('sklearn.preprocessing')
    from hfmirror.features import StandardScaler

    values = np.c_[np.random.default_rng(1).normal(5, 3, (100, 2)), np.ones(100)]
    ours, theirs = StandardScaler().fit(values), preprocessing.StandardScaler().fit(values)
    np.testing.assert_allclose(ours.transform(values), theirs.transform(values), atol=1e-12)


@pytest.mark.heavy
def test_the_command_writes_a_folder_for_each(tmp_path):
    run(
        SCRIPTS / 'make_features.py',
        '--symbol',
        'BTCUSDT',
        'ETHUSDT',
        '--timeframes',
        '15m',
        '--bars',
        400,
        cwd=tmp_path,
    )
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.glob('v2_model/*/*')) == [
        'v2_model/BTCUSDT/15m',
        'v2_model/ETHUSDT/15m',
    ]


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('options', 'words'),
    [
        (['--timeframes', 'often'], 'no timeframe'),
        (['--bars', '20'], '--bars'),
        (['--threshold', '90'], 'no turning points'),
        (['--bars', '0'], 'more than 0'),
    ],
)
def test_what_cannot_be_made_is_said(tmp_path, options, words):
    done = run(SCRIPTS / 'make_features.py', *options, cwd=tmp_path, code=1)
    assert words in done.stderr
    assert 'Traceback' not in done.stderr


# -- step 2 of the guide


@pytest.mark.heavy
def test_step_2_makes_uploads_and_writes_the_summary(hub, tmp_path):
    # As the guide has it: cd step2_feature_engineering; python main.py
    shutil.copytree(STEP2, tmp_path / STEP2.name)
    shutil.copy(SCRIPTS / 'make_features.py', tmp_path)
    here = tmp_path / STEP2.name
    (here / '.env').write_text(f'HF_TOKEN={hub.token}\n')
    (here / 'config.yaml').write_text(
        'huggingface:\n  repository: {model_name: local/zigzag-lstm-predictor}\n'
    )
    done = run('main.py', cwd=here, HF_ENDPOINT=hub.endpoint)
    title = f'\n{BAR}\nSTEP 7: UPLOADING FEATURES TO HUGGINGFACE\n{BAR}\n\n'
    head = f'{BAR}\nUploading BTCUSDT 15m features to HuggingFace\n{BAR}\n\n  Uploading 6 files...\n'
    assert f'{title}{head}    Uploading 15m_X_sequences.npy (' in done.stdout
    assert done.stdout.count('All 6 files verified successfully') == 2
    summary = json.loads((here / 'execution_summary.json').read_text())['huggingface_upload']
    assert list(summary) == ['15m', '1h']
    assert all(one['success'] and one['verification']['all_present'] for one in summary.values())


@pytest.mark.heavy
def test_step_2_without_a_token_skips_the_upload_and_keeps_the_features(tmp_path):
    done = run(STEP2 / 'main.py', '--bars', 400, '--window', 8, cwd=tmp_path)
    words = 'WARNING: HF_TOKEN not found in environment variables.\nSkipping HuggingFace upload.\n'
    assert words in done.stdout
    assert (tmp_path / 'hfmirror/hub/datasets/local/features.git').is_dir()
    assert not json.loads((tmp_path / 'execution_summary.json').read_text())['huggingface_upload']['15m'][
        'success'
    ]


@pytest.mark.heavy
def test_step_2_without_a_network_ends_with_its_exit_code(hub, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface: {settings: {upload: {max_retries: 0, retry_delay: 0}}}\n'
    )
    hub.cut('POST /git-receive-pack', times=9)
    options = ('--bars', 400, '--window', 8, '--repo', 'local/x', '--timeframes', '15m')
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    done = run(STEP2 / 'main.py', *options, cwd=tmp_path, code=7, **env)
    assert "'hfmirror resume' sends what waits" in done.stderr
    found = json.loads((tmp_path / 'execution_summary.json').read_text())['huggingface_upload']['15m']
    assert not found['success'] and found['message'].endswith('The release waits to be sent.')


@pytest.mark.heavy
def test_step_2_with_a_wrong_token_says_so_and_writes_it_down(hub, tmp_path):
    options = ('--bars', 400, '--window', 8, '--repo', 'local/x', '--timeframes', '15m')
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': 'hf_wrong'}
    done = run(STEP2 / 'main.py', *options, cwd=tmp_path, code=4, **env)
    assert 'Error: You need to be authenticated to access this repository.' in done.stdout
    found = json.loads((tmp_path / 'execution_summary.json').read_text())['huggingface_upload']['15m']
    assert not found['success'] and found['files_uploaded'] == []
