"""Features come back as they were made, from the cache that huggingface_hub looks into, and no file can run code."""

from __future__ import annotations

import io
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

from hfmirror import errors
from hfmirror.features import (
    FeatureSet,
    HFFeatureDownloader,
    StandardScaler,
    download_training_features,
    loading,
    upload_features,
    upload_many,
)
from tests.support.clients import run_python
from tests.support.features import SCRIPTS, make

REPO = 'local/zigzag-lstm-predictor'
KEYS = ['X_sequences', 'y_class', 'y_reg', 'scaler', 'zigzag_points', 'statistics']
CONFIG = """\
huggingface:
  repository: {{model_name: {repo}}}
  settings:
    upload: {{max_retries: 0, retry_delay: 0}}
    download: {{cache_dir: {cache}}}
"""


@pytest.fixture
def released(hub, monkeypatch, tmp_path):
    """The folder of the features of BTCUSDT in 15m and 1h, which are on a Hub; the cache is the test's own."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    (tmp_path / 'config.yaml').write_text(CONFIG.format(repo=REPO, cache=tmp_path / 'cache'))
    root = tmp_path / 'v2_model'
    sets = [
        FeatureSet('BTCUSDT', timeframe, make(root / 'BTCUSDT' / timeframe, timeframe=timeframe))
        for timeframe in ('15m', '1h')
    ]
    upload_many(sets, tag='v1.0.0', tell=[].append)
    hub.forget()
    return root / 'BTCUSDT'


def change(released, name, content):
    """Replace a file of the 15m features, and release them anew."""
    (released / '15m' / f'15m_{name}').write_bytes(content)
    upload_features('BTCUSDT', '15m', released / '15m', tell=[].append)


def download(**options):
    return download_training_features('BTCUSDT', ['15m'], **options)['15m']


# -- what comes back


def test_both_timeframes_come_back_with_the_keys_of_the_guide(released):
    features = download_training_features(symbol='BTCUSDT', timeframes=['15m', '1h'])
    assert list(features) == ['15m', '1h']
    assert all(list(found) == KEYS for found in features.values())


@pytest.mark.parametrize('name', ['X_sequences', 'y_class', 'y_reg'])
def test_an_array_is_the_one_that_was_made(released, name):
    made = np.load(released / '15m' / f'15m_{name}.npy')
    found = download()[name]
    assert found.dtype == made.dtype
    np.testing.assert_array_equal(found, made)


def test_points_and_statistics_are_those_that_were_made(released):
    features = download()
    for name in ('zigzag_points', 'statistics'):
        assert features[name] == json.loads((released / '15m' / f'15m_{name}.json').read_text())


def test_arrays_are_in_memory_unless_asked(released):
    found = download()['X_sequences']
    assert not isinstance(found, np.memmap) and found.flags.writeable


def test_arrays_are_mapped_when_asked(released):
    found = download(mmap=True)['X_sequences']
    assert isinstance(found, np.memmap) and not found.flags.writeable


def test_the_class_does_the_same(released):
    downloader = HFFeatureDownloader()
    assert list(downloader.download_training_features('BTCUSDT', ['15m', '1h'])) == ['15m', '1h']


def test_one_timeframe_may_be_a_word(released):
    assert list(download_training_features('BTCUSDT', '15m')) == ['15m']


@pytest.mark.heavy
def test_a_version_is_the_one_that_was_released(released):
    old = np.load(released / '15m' / '15m_y_reg.npy')
    make(released / '15m', seed=8)
    upload_features('BTCUSDT', '15m', released / '15m', tag='v2.0.0', tell=[].append)
    new = np.load(released / '15m' / '15m_y_reg.npy')
    assert np.array_equal(download(revision='v1.0.0')['y_reg'], old)
    assert np.array_equal(download(revision='latest')['y_reg'], new)
    assert np.array_equal(download()['y_reg'], new)


def test_only_the_files_of_the_timeframe_are_fetched(hub, released, tmp_path):
    download()
    fetched = {path.name for path in (tmp_path / 'cache').rglob('snapshots/*/v2_model/BTCUSDT/*/*')}
    assert fetched == {path.name for path in (released / '15m').iterdir()}


def test_what_is_in_the_cache_is_not_fetched_again(hub, released):
    download()
    hub.forget()
    download()
    assert not [one for one in hub.requests('GET') if '/lfs/' in one.path and one.sent > 0]


# -- what is not there


def test_a_timeframe_that_is_not_there_is_answered_with_those_that_are(released):
    with pytest.raises(errors.NotFoundError, match=r'no v2_model/BTCUSDT/4h/\S+ It has v2_model/BTCUSDT/15m'):
        download_training_features('BTCUSDT', ['4h'])


def test_a_version_that_is_not_there_is_named(released):
    with pytest.raises(errors.NotFoundError, match=r'no version v9\.0\.0'):
        download(revision='v9.0.0')


def test_a_repository_without_anything_says_what_to_do(tmp_path):
    downloader = HFFeatureDownloader('local/none', remote='local', cache_dir=str(tmp_path / 'cache'))
    with pytest.raises(errors.NotFoundError, match='Upload features first'):
        downloader.download_training_features('BTCUSDT', ['15m'])


def test_a_model_is_no_place_for_features(mirror, folder):
    mirror.push(folder)
    with pytest.raises(errors.UsageError, match='a model, and features are in a dataset'):
        HFFeatureDownloader()


@pytest.mark.parametrize('name', ['../..', 'a/b', ''])
def test_a_name_that_leads_elsewhere_is_refused(released, name):
    with pytest.raises(errors.UsageError):
        download_training_features(name, ['15m'])


# -- where from


def test_without_a_token_what_was_kept_here_is_found(tmp_path, monkeypatch):
    (tmp_path / 'config.yaml').write_text(CONFIG.format(repo=REPO, cache=tmp_path / 'cache'))
    upload_features('BTCUSDT', '15m', make(tmp_path / 'features'), tell=[].append)
    assert HFFeatureDownloader().target.remote == 'local'
    assert download()['X_sequences'].ndim == 3


def test_without_a_token_what_is_public_on_the_hub_is_found(released, monkeypatch, tmp_path):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'somebody else'))
    assert HFFeatureDownloader().target.remote == 'hub'
    assert download()['X_sequences'].ndim == 3


def test_without_a_name_it_is_what_was_pushed_from_here(released, tmp_path):
    (tmp_path / 'config.yaml').write_text('{}\n')
    assert HFFeatureDownloader().target.repo_id == REPO


def test_without_a_network_what_was_downloaded_is_used(hub, released, capsys):
    before = download()
    hub.cut('*', times=99)
    assert np.array_equal(download()['X_sequences'], before['X_sequences'])
    assert 'Using what was downloaded before' in capsys.readouterr().err
    hub.heal()


def test_without_a_network_a_timeframe_that_was_not_downloaded_is_an_error(hub, released):
    download()
    hub.cut('*', times=99)
    with pytest.raises(errors.NetworkError):
        download_training_features('BTCUSDT', ['1h'])
    hub.heal()


def test_without_a_network_nobody_knows_the_latest(hub, released):
    download(revision='latest')
    hub.cut('*', times=99)
    with pytest.raises(errors.NetworkError):
        download(revision='latest')
    hub.heal()


def test_without_a_network_a_version_that_was_never_downloaded_is_an_error(hub, released):
    hub.cut('*', times=99)
    with pytest.raises(errors.NetworkError):
        download(revision='v1.0.0')
    hub.heal()


def test_a_ref_of_the_cache_that_is_no_commit_is_not_followed(hub, released, tmp_path):
    download()
    (ref,) = (tmp_path / 'cache').glob('*/refs/main')
    ref.write_text('../../..')
    hub.cut('*', times=99)
    with pytest.raises(errors.NetworkError):
        download()
    hub.heal()


GUIDE = """
import numpy as np
from hf_feature_downloader import download_training_features

features = download_training_features(
    symbol='BTCUSDT',
    timeframes=['15m', '1h']
)

X_train_15m = features['15m']['X_sequences']
y_class_15m = features['15m']['y_class']
y_reg_15m = features['15m']['y_reg']
scaler_15m = features['15m']['scaler']
assert len(X_train_15m) == len(y_class_15m) == len(y_reg_15m)
assert scaler_15m is None

from hf_feature_downloader import HFFeatureDownloader

downloader = HFFeatureDownloader()
features = downloader.download_training_features('BTCUSDT', ['15m', '1h'])
print(features['1h']['X_sequences'].shape[1:])
"""
DIRECT = """
import numpy as np
from huggingface_hub import hf_hub_download

X_sequences_path = hf_hub_download(
    repo_id="local/zigzag-lstm-predictor",
    filename="v2_model/BTCUSDT/15m/15m_X_sequences.npy",
    repo_type="dataset"
)
X_sequences = np.load(X_sequences_path)
print(X_sequences.shape[1:])
"""


@pytest.mark.heavy
def test_the_guides_lines_run_and_the_library_finds_the_files_without_a_network(hub, released, tmp_path):
    home = tmp_path / 'person'
    home.mkdir()
    (home / 'config.yaml').write_text(f'huggingface:\n  repository: {{model_name: {REPO}}}\n')
    paths = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent)])
    assert run_python(hub, home, GUIDE, PYTHONPATH=paths) == '(8, 8)\n'
    assert run_python(hub, home, DIRECT, HF_HUB_OFFLINE='1') == '(8, 8)\n'


@pytest.mark.heavy
def test_the_guides_direct_download_runs(hub, released, tmp_path):
    assert run_python(hub, tmp_path / 'person', DIRECT) == '(8, 8)\n'


# -- nothing that is loaded runs code


class Runs:
    """Unpickling it would run a program."""

    def __reduce__(self):
        return os.system, ('touch here',)


class Unknown:
    """Unpickling it imports what no scaler is made of."""

    def __reduce__(self):
        return json.loads, ('[]',)


@pytest.mark.heavy
def test_the_scaler_is_none_unless_pickles_are_allowed(released):
    assert download()['scaler'] is None


@pytest.mark.heavy
def test_the_scaler_scales_as_it_did(released):
    made = pickle.loads((released / '15m' / '15m_scaler.pkl').read_bytes())
    values = np.random.default_rng(1).normal(size=(5, 8))
    found = download(allow_pickle=True)['scaler']
    np.testing.assert_array_equal(found.transform(values), made.transform(values))


@pytest.mark.parametrize('protocol', range(6))
def test_our_own_scaler_is_loaded_from_any_protocol(tmp_path, protocol):
    scaler = StandardScaler().fit(np.arange(12.0).reshape(4, 3))
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(pickle.dumps(scaler, protocol=protocol))
    np.testing.assert_array_equal(loading._scaler(path).mean_, scaler.mean_)


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize(
    'name', ['StandardScaler', 'MinMaxScaler', 'RobustScaler', 'MaxAbsScaler', 'QuantileTransformer']
)
def test_a_scaler_of_scikit_learn_is_loaded_from_any_protocol(tmp_path, name, protocol):
    preprocessing = pytest.importorskip('sklearn.preprocessing')
    options = {'n_quantiles': 4} if name == 'QuantileTransformer' else {}
    values = np.arange(12.0).reshape(4, 3)
    scaler = getattr(preprocessing, name)(**options).fit(values)
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(pickle.dumps(scaler, protocol=protocol))
    np.testing.assert_array_equal(loading._scaler(path).transform(values), scaler.transform(values))


def test_a_scaler_that_would_run_a_program_is_refused(tmp_path):
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(pickle.dumps(Runs()))
    with pytest.raises(errors.GateError, match=r'would import posix\.system'):
        loading._scaler(path)
    assert not (tmp_path / 'here').exists()


def test_a_scaler_that_imports_what_no_scaler_needs_is_refused(tmp_path):
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(pickle.dumps(Unknown()))
    with pytest.raises(errors.GateError, match='no part of a scaler'):
        loading._scaler(path)


def test_a_scaler_of_a_package_that_is_not_installed_says_which(tmp_path, monkeypatch):
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(b'csklearn.preprocessing._data\nStandardScaler\n.')
    monkeypatch.setitem(sys.modules, 'sklearn.preprocessing._data', None)
    with pytest.raises(errors.SourceError, match='pip install scikit-learn'):
        loading._scaler(path)


def test_a_scaler_or_list_without_end_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(loading, '_LARGEST_JSON', 10)
    (tmp_path / 'x.json').write_bytes(b' ' * 11)
    with pytest.raises(errors.SourceError, match='larger than 10 bytes'):
        loading._json(tmp_path / 'x.json')


@pytest.mark.parametrize('content', [b'', b'\x80\x04', b'no pickle', b'\x80\x04]\x94.' * 2 + b'x'])
def test_what_is_no_pickle_is_an_error_or_nothing_harmful(tmp_path, content):
    path = tmp_path / 'scaler.pkl'
    path.write_bytes(content)
    try:
        assert loading._scaler(path) == []
    except errors.SourceError as e:
        assert 'no pickle of a scaler' in str(e)


def header(text):
    body = text.encode().ljust(117) + b'\n'
    return b'\x93NUMPY\x01\x00' + len(body).to_bytes(2, 'little') + body


def npz():
    file = io.BytesIO()
    np.savez(file, a=np.zeros(3))
    return file.getvalue()


def objects():
    file = io.BytesIO()
    np.save(file, np.array([{}, None], dtype=object), allow_pickle=True)
    return file.getvalue()


BAD_ARRAYS = {
    'empty': b'',
    'text': b'hello',
    'pickle': pickle.dumps([1.0]),
    'objects': objects(),
    'archive': npz(),
    'broken zip': b'PK\x03\x04' + b'x' * 100,
    'half a header': b'\x93NUMPY\x01\x00\x76',
    'more than there is': header("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,), }")
    + b'xxxx',
    'more than a number can hold': header(
        f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({2**70},), }}"
    ),
    'less than nothing': header("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }") + b'xxxx',
    'no such type': header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (1,), }"),
    'brackets': header('(' * 110),
    'code': header("__import__('os').system('true')"),
}


@pytest.mark.parametrize('content', BAD_ARRAYS.values(), ids=BAD_ARRAYS)
@pytest.mark.parametrize('mmap', [False, True])
def test_what_is_no_array_is_refused(tmp_path, content, mmap):
    path = tmp_path / 'x.npy'
    path.write_bytes(content)
    with pytest.raises(errors.SourceError, match=r'x\.npy: no array of numbers'):
        loading._array(path, mmap=mmap)


def test_an_array_of_nothing_is_one(tmp_path):
    np.save(tmp_path / 'x.npy', np.zeros((0, 8, 8), np.float32))
    assert loading._array(tmp_path / 'x.npy', mmap=False).shape == (0, 8, 8)


@pytest.mark.parametrize('content', [b'', b'{', b'\xff', b'[' * 100_000])
def test_what_is_no_json_is_refused(tmp_path, content):
    path = tmp_path / 'x.json'
    path.write_bytes(content)
    with pytest.raises(errors.SourceError, match=r'x\.json: no JSON'):
        loading._json(path)


@pytest.mark.heavy
def test_a_broken_array_on_the_remote_is_named(released):
    change(released, 'y_reg.npy', b'no array')
    with pytest.raises(errors.SourceError, match=r'15m_y_reg\.npy: no array of numbers'):
        download()


def test_without_numpy_it_says_what_to_install(released, monkeypatch):
    monkeypatch.setitem(sys.modules, 'numpy', None)
    with pytest.raises(errors.UsageError, match='pip install'):
        download()


def test_importing_the_features_needs_no_numpy():
    code = "import sys; sys.modules['numpy'] = None; import hfmirror.features"
    assert subprocess.run([sys.executable, '-c', code], env=environment_of_this()).returncode == 0


def environment_of_this():
    return {**os.environ, 'PYTHONPATH': str(SCRIPTS.parent)}
