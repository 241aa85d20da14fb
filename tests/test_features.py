"""Feature sets are uploaded in one release, told of in the words of the guide, verified, and written into the summary."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import tempfile
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hfmirror import errors
from hfmirror.features import FeatureSet, upload_features, upload_many, write_summary
from hfmirror.features.console import size_of
from hfmirror.features.summary import Upload
from tests.support.features import NAMES, make
from tests.support.mirror import bare, git
from tests.support.rest import new_user

REPO = 'local/zigzag-lstm-predictor'
DIRECTORY = 'v2_model/BTCUSDT/15m'
FAST = 'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
BAR = '=' * 90


@pytest.fixture
def features(tmp_path):
    """A folder with the features of BTCUSDT in 15m."""
    return make(tmp_path / 'features')


@pytest.fixture
def on_hub(hub, monkeypatch, tmp_path):
    """A Hub as the user ``local`` has it in the environment."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    (tmp_path / 'config.yaml').write_text(FAST)
    return hub


@pytest.fixture
def told():
    """The lines for a person; pass its ``append`` as ``tell``."""
    return []


def repository(tmp_path, repo=REPO):
    return tmp_path / 'hfmirror' / 'hub' / 'datasets' / f'{repo}.git'


def files_in(tmp_path, repo=REPO):
    return set(git('ls-tree', '-r', '--name-only', 'main', cwd=repository(tmp_path, repo)).split())


def tags_in(tmp_path, repo=REPO):
    return git('tag', cwd=repository(tmp_path, repo)).split()


def paths(symbol='BTCUSDT', timeframe='15m'):
    return {f'v2_model/{symbol}/{timeframe}/{timeframe}_{name}' for name in NAMES}


def local(symbol, timeframe, folder, **options):
    return upload_features(symbol, timeframe, folder, repo=REPO, remote='local', **options)


# -- what is uploaded, and where it is then


def test_the_six_files_are_in_the_tree_of_the_guide(features, tmp_path):
    local('BTCUSDT', '15m', features)
    assert files_in(tmp_path) == paths() | {'README.md', '.gitattributes'}


def test_an_upload_is_one_release_with_a_version(features, tmp_path):
    local('BTCUSDT', '15m', features, tag='v1.0.0')
    assert tags_in(tmp_path) == ['v1.0.0']
    assert git('rev-list', '--count', 'main', cwd=repository(tmp_path)) == '1'


def test_what_a_later_step_put_there_stays(features, tmp_path, mirror):
    local('BTCUSDT', '15m', features)
    trained = tmp_path / 'trained'
    trained.mkdir()
    for name in ('model.h5', 'config.json', 'training_history.json'):
        (trained / name).write_text('{"loss": 0.5}')
    where = ('--repo-type', 'dataset', '--repo', REPO, '--path-in-repo', DIRECTORY, '--keep')
    mirror.push(trained, *where)
    make(features, seed=8)
    local('BTCUSDT', '15m', features)
    assert {f'{DIRECTORY}/model.h5', f'{DIRECTORY}/training_history.json', *paths()} <= files_in(tmp_path)
    assert len(tags_in(tmp_path)) == 3


def test_other_files_of_the_folder_are_not_uploaded(features, tmp_path):
    (features / 'model.h5').write_bytes(b'weights')
    (features / 'older').mkdir()
    (features / 'older' / '15m_y_class.npy').write_bytes(b'old')
    local('BTCUSDT', '15m', features)
    assert files_in(tmp_path) == paths() | {'README.md', '.gitattributes'}


def test_features_that_are_there_already_make_no_release(features, tmp_path):
    for _ in range(2):
        assert local('BTCUSDT', '15m', features).success
    assert tags_in(tmp_path) == ['v0.1.0']


def test_on_a_hub_the_stock_client_finds_them(on_hub, features):
    assert upload_features('BTCUSDT', '15m', features, repo=REPO).success
    api = HfApi(endpoint=on_hub.endpoint, token=on_hub.token)
    assert paths() <= set(api.list_repo_files(REPO, repo_type='dataset'))


def test_a_new_repository_is_private_when_asked(on_hub, features):
    upload_features('BTCUSDT', '15m', features, repo=REPO, private=True)
    assert HfApi(endpoint=on_hub.endpoint, token=on_hub.token).dataset_info(REPO).private


def test_a_repository_without_a_name_is_called_features(on_hub, features, tmp_path):
    upload_features('BTCUSDT', '15m', features)
    assert files_in(tmp_path, 'local/features') >= paths()


def test_the_configured_repository_is_used(on_hub, features, tmp_path):
    (tmp_path / 'config.yaml').write_text(f'{FAST}  repository: {{model_name: {REPO}}}\n')
    upload_features('BTCUSDT', '15m', features)
    assert files_in(tmp_path) >= paths()


def test_push_does_the_same(features, tmp_path, mirror):
    where = ('--repo-type', 'dataset', '--path-in-repo', DIRECTORY, '--repo', REPO)
    mirror.push(features, *where, '--tag', 'v1.0.0')
    assert files_in(tmp_path) == paths() | {'README.md', '.gitattributes'}


# -- many at once


def many(root):
    """Return three feature sets laid out below ``root`` as the repository has them."""
    wanted = [('BTCUSDT', '15m'), ('BTCUSDT', '1h'), ('ETHUSDT', '15m')]
    return [
        FeatureSet(symbol, timeframe, make(root / symbol / timeframe, symbol, timeframe))
        for symbol, timeframe in wanted
    ]


def scattered(tmp_path):
    """Return two feature sets in folders that have nothing to do with each other."""
    (tmp_path / 'b').mkdir()
    return [
        FeatureSet('BTCUSDT', '15m', make(tmp_path / 'a')),
        FeatureSet('BTCUSDT', '1h', make(tmp_path / 'b' / 'c', timeframe='1h')),
    ]


def test_many_symbols_and_timeframes_are_one_release(tmp_path):
    uploads = upload_many(many(tmp_path / 'v2_model'), repo=REPO, remote='local')
    assert [upload.success for upload in uploads] == [True] * 3
    assert tags_in(tmp_path) == ['v0.1.0']
    expected = paths() | paths(timeframe='1h') | paths(symbol='ETHUSDT')
    assert files_in(tmp_path) == expected | {'README.md', '.gitattributes'}


def test_folders_that_lie_anywhere_are_one_release_too(tmp_path):
    upload_many(scattered(tmp_path), repo=REPO, remote='local')
    assert tags_in(tmp_path) == ['v0.1.0']
    assert files_in(tmp_path) == paths() | paths(timeframe='1h') | {'README.md', '.gitattributes'}


def test_nothing_is_left_beside_the_folders(tmp_path):
    sets = scattered(tmp_path)
    upload_many(sets, repo=REPO, remote='local')
    assert not list(tmp_path.rglob('.hfmirror-features-*/'))
    assert sorted(os.listdir(tmp_path / 'a')) == sorted(sets[0].names)


def test_what_a_killed_upload_left_beside_them_goes(tmp_path):
    from hfmirror.config.places import home
    from hfmirror.features.gathering import gathered

    sets = scattered(tmp_path)
    with gathered(sets, home()) as source:
        leavings = source.folder
        shutil.copytree(leavings, tmp_path / 'copy')
    shutil.move(tmp_path / 'copy', leavings)
    (leavings / 'BTCUSDT' / 'half').write_bytes(b'')
    upload_many(sets, repo=REPO, remote='local')
    assert not leavings.exists()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path):
    from hfmirror.config.places import home
    from hfmirror.features.gathering import gathered

    sets = scattered(tmp_path)
    with gathered(sets, home()) as source:
        name = source.folder
    name.mkdir()
    (name / 'mine.txt').write_text('mine')
    with pytest.raises(errors.SourceError, match='cannot be made'):
        upload_many(sets, repo=REPO, remote='local')
    assert (name / 'mine.txt').read_text() == 'mine'


def test_the_links_cost_no_room_and_keep_what_the_stat_cache_knows(tmp_path):
    from hfmirror.config.places import home
    from hfmirror.features.gathering import gathered

    sets = scattered(tmp_path)
    with gathered(sets, home()) as source:
        first = source.files[sets[0]][0]
        assert first.source.stat().st_ino == (tmp_path / 'a' / '15m_X_sequences.npy').stat().st_ino
        before = source.folder
    with gathered(sets, home()) as source:
        assert source.folder == before


@pytest.mark.skipif(not os.path.isdir('/dev/shm'), reason='no other file system here')
def test_what_is_on_another_file_system_is_copied(tmp_path):
    with tempfile.TemporaryDirectory(dir='/dev/shm') as other:
        sets = [
            FeatureSet('BTCUSDT', '15m', make(tmp_path / 'a')),
            FeatureSet('BTCUSDT', '1h', make(Path(other) / 'b', timeframe='1h')),
        ]
        upload_many(sets, repo=REPO, remote='local')
    assert files_in(tmp_path) >= paths() | paths(timeframe='1h')


@pytest.mark.skipif(not os.path.isdir('/sys'), reason='no folder that even root cannot write')
def test_the_links_are_elsewhere_where_nothing_can_be_written(tmp_path):
    from hfmirror.features.gathering import _made

    assert _made('links', [Path('/sys'), tmp_path]) == tmp_path / 'links'
    with pytest.raises(errors.SourceError, match='/sys: cannot be written'):
        _made('links', [Path('/sys')])


def test_a_file_that_changes_while_it_is_gathered_is_named(tmp_path):
    from hfmirror.features.gathering import _link
    from hfmirror.folder import walk

    folder = make(tmp_path / 'a')
    file = walk(folder).files[0]
    file.source.write_bytes(b'other')
    with pytest.raises(errors.SourceChanged, match='changed while it was read'):
        _link(file, tmp_path / 'link')


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path):
    sets = scattered(tmp_path)
    (tmp_path / 'private.json').write_text('{"secret": 1}')
    path = tmp_path / 'a' / '15m_statistics.json'
    path.unlink()
    path.symlink_to(tmp_path / 'private.json')
    with pytest.raises(errors.SourceError, match='outside the folder'):
        upload_many(sets, repo=REPO, remote='local')


def test_one_set_given_twice_is_refused(features):
    twice = [FeatureSet('BTCUSDT', '15m', features), FeatureSet('btcusdt', '15m', features)]
    with pytest.raises(errors.UsageError, match='there are 2 feature sets of that name'):
        upload_many(twice, repo=REPO, remote='local')


def test_no_set_at_all_is_refused():
    with pytest.raises(errors.UsageError, match='no feature set'):
        upload_many([], repo=REPO, remote='local')


# -- what is refused before anything is sent


@pytest.mark.parametrize('symbol', ['', '..', 'A/B', '*', '-x', '.git', 'a' * 65, 'BTC USDT', 'x\n'])
def test_a_symbol_that_is_no_name_is_refused(features, symbol):
    with pytest.raises(errors.UsageError, match='symbol'):
        local(symbol, '15m', features)


def test_a_missing_file_is_named(features, tmp_path):
    (features / '15m_y_reg.npy').unlink()
    with pytest.raises(errors.SourceError, match=r'15m_y_reg\.npy: not there'):
        local('BTCUSDT', '15m', features)
    assert not repository(tmp_path).exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(errors.UsageError, match='no such folder'):
        local('BTCUSDT', '15m', tmp_path / 'nowhere')


def test_a_file_that_an_ignore_file_names_is_not_silently_left_out(features, tmp_path):
    (features / '.gitignore').write_text('*.pkl\n')
    with pytest.raises(
        errors.SourceError, match=r'15m_scaler.pkl: would be left out \(named in .gitignore\)'
    ):
        local('BTCUSDT', '15m', features)
    assert not repository(tmp_path).exists()


def test_a_file_that_is_too_large_is_named_before_a_byte_is_read(on_hub, features, told):
    os.truncate(features / '15m_X_sequences.npy', 501 * 1000**3)
    with pytest.raises(
        errors.GateError, match=r'15m_X_sequences.npy: file-size \(501.0 GB; the Hub takes 500.0 GB'
    ):
        upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert on_hub.requests('POST') == []


class Runs:
    """Unpickling it would run a program."""

    def __reduce__(self):
        return os.system, ('true',)


def test_a_scaler_that_would_run_code_is_named_before_anything_is_sent(features, tmp_path):
    (features / '15m_scaler.pkl').write_bytes(pickle.dumps(Runs()))
    with pytest.raises(errors.GateError, match=r'15m_scaler.pkl: unsafe-pickle \(posix.system'):
        local('BTCUSDT', '15m', features)
    assert not repository(tmp_path).exists()


def test_a_scaler_of_scikit_learn_passes_the_gate(features):
    preprocessing = pytest.importorskip('sklearn.preprocessing')
    import numpy as np

    scaler = preprocessing.StandardScaler().fit(np.arange(12.0).reshape(4, 3))
    for protocol in (2, 4, 5):
        (features / '15m_scaler.pkl').write_bytes(pickle.dumps(scaler, protocol=protocol))
        assert local('BTCUSDT', '15m', features).success


# -- what a person sees


def expected_lines(sizes):
    files = '\n'.join(f'    Uploading {name} ({size})... [OK]' for name, size in sizes.items())
    return f"""\
{BAR}
Uploading BTCUSDT 15m features to HuggingFace
{BAR}

  Uploading 6 files...
{files}

  Successfully uploaded 6 files (TOTAL)
  Remote directory: v2_model/BTCUSDT/15m

  Verifying BTCUSDT 15m upload...
    All 6 files verified successfully
"""


def test_the_lines_are_those_of_the_guide(features, capsys):
    local('BTCUSDT', '15m', features)
    found = {f'15m_{name}': (features / f'15m_{name}').stat().st_size for name in NAMES}
    expected = expected_lines({name: size_of(size) for name, size in found.items()})
    assert capsys.readouterr().out == expected.replace('TOTAL', size_of(sum(found.values())))


@pytest.mark.parametrize(
    ('size', 'shown'),
    [
        (0, '0 B'),
        (1023, '1023 B'),
        (4332, '4.23 KB'),
        (889_467, '868.62 KB'),
        (361_978_921, '345.21 MB'),
        (5 * 1024**3, '5.00 GB'),
        (3000 * 1024**3, '3000.00 GB'),
    ],
)
def test_sizes_are_in_the_units_of_the_guide(size, shown):
    assert size_of(size) == shown


def test_each_set_of_many_is_told_of(tmp_path, capsys):
    upload_many(many(tmp_path / 'v2_model'), repo=REPO, remote='local')
    out = capsys.readouterr().out
    for name in ('BTCUSDT 15m', 'BTCUSDT 1h', 'ETHUSDT 15m'):
        assert f'Uploading {name} features to HuggingFace\n{BAR}\n\n  Uploading 6 files...\n' in out
        assert f'  Verifying {name} upload...\n    All 6 files verified successfully\n' in out


def test_what_is_not_there_is_warned_of(on_hub, features, told, monkeypatch):
    # The objects that vanish between the proof and the verification: nothing but a fault of the remote's disk does it.
    from hfmirror.features import uploading

    published = uploading.publish

    def publish(*args, **kwargs):
        done = published(*args, **kwargs)
        shutil.rmtree(on_hub.root / 'datasets' / f'{REPO}.git' / 'lfs')
        return done

    monkeypatch.setattr(uploading, 'publish', publish)
    upload = upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert not upload.success and not upload.verification.all_present
    assert upload.verification.files_status['15m_statistics.json']
    assert not upload.verification.files_status['15m_X_sequences.npy']
    assert 'WARNING: ' in told[-1] and '15m_X_sequences.npy' in told[-1]


@pytest.mark.parametrize('fault', ['cut', 401, 403, 500])
def test_a_verification_that_breaks_is_a_warning(on_hub, features, told, monkeypatch, fault):
    from hfmirror.features import uploading

    published = uploading.publish

    def publish(*args, **kwargs):
        done = published(*args, **kwargs)
        if fault == 'cut':
            on_hub.cut('*', times=99)
        else:
            on_hub.fail('*', fault, times=99)
        return done

    monkeypatch.setattr(
        uploading, 'publish', publish
    )  # the fault has to come after the proof, and before the verification
    upload = upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert upload.success and not upload.verification.all_present
    assert 'WARNING: could not be verified now' in told[-1]
    on_hub.heal()


def test_an_option_that_is_not_there_is_refused(features):
    with pytest.raises(TypeError):
        upload_features('BTCUSDT', '15m', features, repository=REPO)


# -- no token, no right, no network


def test_without_a_token_the_release_is_in_the_local_hub(features, tmp_path, told):
    upload = upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert told[0] == 'WARNING: HF_TOKEN not found in environment variables.\nSkipping HuggingFace upload.'
    assert f'{REPO} v0.1.0 is kept in the local Hub: {repository(tmp_path).as_uri()}' in told[1]
    assert files_in(tmp_path) >= paths()
    assert not upload.success and upload.files_uploaded == []


def test_the_hub_by_name_without_a_token_is_an_error(features, tmp_path):
    with pytest.raises(errors.AuthError, match='hf auth login'):
        upload_features('BTCUSDT', '15m', features, repo=REPO, remote='hub')
    assert not repository(tmp_path).exists()


def test_without_a_token_it_is_sent_to_the_other_remotes_and_the_local_hub_has_it_once(features, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface:\n  remotes: [local, hub]\n')
    upload_features('BTCUSDT', '15m', features, repo=REPO)
    assert tags_in(tmp_path) == ['v0.1.0']


def test_a_data_set_without_a_name_is_the_token_owners_wherever_the_hub_stands(on_hub, features, tmp_path):
    token = new_user(on_hub, 'grace')
    (tmp_path / 'config.yaml').write_text('huggingface:\n  remotes: [local, hub]\n')
    assert upload_features('BTCUSDT', '15m', features, token=token).success
    assert HfApi(endpoint=on_hub.endpoint, token=token).repo_exists('grace/features', repo_type='dataset')


def test_a_data_set_without_a_name_is_the_configured_users(features, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface:\n  user: {username: ada}\n')
    upload_features('BTCUSDT', '15m', features)
    assert files_in(tmp_path, 'ada/features') >= paths()


def test_of_many_without_a_token_it_is_said_once(tmp_path, told):
    upload_many(scattered(tmp_path), repo=REPO, tell=told.append)
    assert len(told) == 2


def test_without_token_and_name_it_is_kept_all_the_same(features, tmp_path):
    upload_features('BTCUSDT', '15m', features)
    assert files_in(tmp_path, 'local/features') >= paths()


def test_a_token_of_dotenv_counts(hub, features, tmp_path, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    (tmp_path / '.env').write_text(f'HF_TOKEN={hub.token}\n')
    assert upload_features('BTCUSDT', '15m', features, repo=REPO).success


def test_a_token_that_is_not_let_in_is_answered_in_the_words_of_the_guide(on_hub, features, told):
    with pytest.raises(errors.AuthError, match='token'):
        upload_features('BTCUSDT', '15m', features, repo=REPO, token='hf_wrong', tell=told.append)
    assert told[-1] == 'Error: You need to be authenticated to access this repository.'


def test_without_a_network_the_release_waits(on_hub, features, told):
    on_hub.cut('POST /git-receive-pack', times=9)
    upload = upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert not upload.success
    assert '[WAITING]' in told[-2]
    assert told[-1].startswith('\nError: Connection timeout while uploading.\n')
    assert 'hfmirror resume' in told[-1]


@pytest.mark.heavy
def test_what_waits_is_sent_by_resume_whatever_became_of_the_folders(on_hub, tmp_path, mirror):
    on_hub.cut('POST /git-receive-pack', times=9)
    upload_many(scattered(tmp_path), repo=REPO)
    on_hub.heal()
    shutil.rmtree(tmp_path / 'a')
    shutil.rmtree(tmp_path / 'b')
    mirror.run('resume', code=0)
    assert files_in(tmp_path) >= paths() | paths(timeframe='1h')


def test_what_is_there_and_cannot_be_proven_is_an_error(on_hub, features, told):
    upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    on_hub.cut('*', times=99)
    with pytest.raises(errors.NetworkError, match='nothing could be proven'):
        upload_features('BTCUSDT', '15m', features, repo=REPO, tell=told.append)
    assert told[-1] == 'Error: Connection timeout while uploading.'
    on_hub.heal()


def test_every_configured_remote_gets_it(on_hub, features, tmp_path):
    bare(tmp_path / 'other.git')
    (tmp_path / 'config.yaml').write_text(f'{FAST}  remotes: [hub, {tmp_path / "other.git"}]\n')
    assert upload_features('BTCUSDT', '15m', features, repo=REPO, tag='v1.0.0').success
    assert git('tag', cwd=tmp_path / 'other.git') == 'v1.0.0'
    assert tags_in(tmp_path) == ['v1.0.0']


def test_one_remote_that_fails_is_an_error(on_hub, features, tmp_path, told):
    bare(tmp_path / 'other.git')
    (tmp_path / 'config.yaml').write_text(f'{FAST}  remotes: [{tmp_path / "other.git"}, hub]\n')
    with pytest.raises(errors.AuthError):
        upload_features('BTCUSDT', '15m', features, repo=REPO, token='hf_wrong', tell=told.append)
    assert told[-1] == 'Error: You need to be authenticated to access this repository.'


# -- the summary


def test_the_summary_has_the_structure_of_the_guide(features, tmp_path):
    write_summary([local('BTCUSDT', '15m', features)])
    size = {name: (features / f'15m_{name}').stat().st_size for name in NAMES}
    found = json.loads((tmp_path / 'execution_summary.json').read_text())
    assert found == {
        'huggingface_upload': {
            '15m': {
                'symbol': 'BTCUSDT',
                'timeframe': '15m',
                'success': True,
                'message': f'Successfully uploaded 6 files ({size_of(sum(size.values()))})',
                'files_uploaded': [
                    {
                        'filename': f'15m_{name}',
                        'size': size[name],
                        'remote_path': f'{DIRECTORY}/15m_{name}',
                    }
                    for name in NAMES
                ],
                'remote_dir': DIRECTORY,
                'verification': {
                    'all_present': True,
                    'files_status': {f'15m_{name}': True for name in NAMES},
                },
            }
        }
    }


def upload(symbol, timeframe):
    return Upload(symbol, timeframe, False, 'not yet', [], 'v2_model')


def test_what_other_steps_wrote_into_the_summary_stays(tmp_path):
    path = tmp_path / 'execution_summary.json'
    path.write_text('{"labels": {"count": 3}, "huggingface_upload": {"4h": {}}}')
    write_summary([upload('BTCUSDT', '15m')])
    found = json.loads(path.read_text())
    assert found['labels'] == {'count': 3}
    assert list(found['huggingface_upload']) == ['4h', '15m']


def test_a_later_upload_is_put_beside_an_earlier_one(tmp_path):
    write_summary([upload('BTCUSDT', '15m')])
    write_summary([upload('BTCUSDT', '1h')])
    write_summary([upload('BTCUSDT', '15m')._replace(message='now')])
    found = json.loads((tmp_path / 'execution_summary.json').read_text())['huggingface_upload']
    assert {key: row['message'] for key, row in found.items()} == {'15m': 'now', '1h': 'not yet'}


def test_a_later_upload_of_another_symbol_does_not_take_the_place_of_the_first(tmp_path):
    write_summary([upload('BTCUSDT', '15m')])
    write_summary([upload('ETHUSDT', '15m')])
    found = json.loads((tmp_path / 'execution_summary.json').read_text())['huggingface_upload']
    assert list(found) == ['BTCUSDT/15m', 'ETHUSDT/15m']


@pytest.mark.parametrize('before', ['5', '[1]', 'null', '{"15m": 5, "1h": {"symbol": 1, "timeframe": []}}'])
def test_odd_rows_of_a_summary_do_no_harm(tmp_path, before):
    path = tmp_path / 'execution_summary.json'
    path.write_text(f'{{"huggingface_upload": {before}}}')
    write_summary([upload('BTCUSDT', '15m')])
    assert json.loads(path.read_text())['huggingface_upload']['15m']['symbol'] == 'BTCUSDT'


@pytest.mark.skipif(os.name == 'nt', reason='modes are of other systems')
def test_others_may_read_the_summary(tmp_path):
    write_summary([upload('BTCUSDT', '15m')])
    assert (tmp_path / 'execution_summary.json').stat().st_mode & 0o777 == 0o644


def test_the_lines_of_the_guide_upload(tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {remotes: [local]}\n')
    make(tmp_path / 'features')
    make(tmp_path / 'a')
    make(tmp_path / 'b', timeframe='1h')
    guide = (Path(__file__).parents[1] / 'docs' / 'features.md').read_text('utf-8')
    exec(guide.partition('```python\n')[2].partition('```')[0], {})
    assert files_in(tmp_path, 'me/zigzag-lstm-predictor') >= paths()
    assert files_in(tmp_path, 'local/features') >= paths() | paths(timeframe='1h')


def test_several_symbols_have_keys_of_their_own(tmp_path):
    write_summary([upload('BTCUSDT', '15m'), upload('ETHUSDT', '15m')])
    found = json.loads((tmp_path / 'execution_summary.json').read_text())
    assert list(found['huggingface_upload']) == ['BTCUSDT/15m', 'ETHUSDT/15m']


@pytest.mark.parametrize('text', ['not JSON', '[1]', '', '\udcff'])
def test_a_file_that_is_no_summary_is_left_as_it_is(text, tmp_path, capsys):
    path = Path('execution_summary.json')
    path.write_bytes(text.encode('utf-8', 'surrogateescape'))
    write_summary([upload('BTCUSDT', '15m')])
    assert path.read_bytes() == text.encode('utf-8', 'surrogateescape')
    assert 'not a summary' in capsys.readouterr().err
