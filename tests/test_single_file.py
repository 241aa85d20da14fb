"""A single file is released as it is, beside what the repository has; and folders that data libraries wrote load again."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.mirror import git

DATA = ('--repo-type', 'dataset', '--remote', 'local', '--repo', 'me/results')


@pytest.fixture
def data(mirror):
    """The command, with the repository me/results of data in the local Hub."""
    mirror.remote = mirror.home / 'hub' / 'datasets' / 'me' / 'results.git'
    return mirror


@pytest.fixture
def results(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('{"accuracy": 0.95, "loss": 0.05}\n')
    return path


def test_a_file_is_released_at_the_root_of_the_repository(data, results):
    done = data.run('push', results, *DATA, '--json', code=0).json
    assert done[0]['added'] == 1
    files = data.files()
    assert files.keys() == {'.gitattributes', 'README.md', 'results.json'}
    assert files['results.json'] == results.read_bytes()
    assert data.tags() == ['v0.1.0']


def test_the_repository_is_called_after_the_file_without_its_ending(mirror, results):
    mirror.run('push', 'results.json', '--repo-type', 'dataset', '--remote', 'local', code=0)
    assert (mirror.home / 'hub' / 'datasets' / 'local' / 'results.git').is_dir()


def test_a_second_file_leaves_the_first_where_it_is(data, results, tmp_path):
    data.run('push', results, *DATA, code=0)
    (tmp_path / 'results.csv').write_text('accuracy,loss\n0.95,0.05\n')
    data.run('push', 'results.csv', *DATA, code=0)
    files = data.files()
    assert {'results.json', 'results.csv'} <= files.keys()
    assert b'`results.json`' in files['README.md']
    assert b'`results.csv`' in files['README.md']


def test_the_same_file_again_makes_nothing(data, results):
    data.run('push', results, *DATA, code=0)
    assert data.run('push', results, *DATA, '--json', code=0).json[0]['status'] == 'up-to-date'


def test_a_file_goes_into_a_folder_of_the_repository(data, results):
    data.run('push', results, *DATA, '--path-in-repo', 'runs/7', code=0)
    assert 'runs/7/results.json' in data.files()


def test_no_keep_removes_the_others(data, results, tmp_path):
    data.run('push', results, *DATA, code=0)
    (tmp_path / 'other.json').write_text('{}')
    data.run('push', 'other.json', *DATA, '--no-keep', code=0)
    assert data.files().keys() == {'.gitattributes', 'README.md', 'other.json'}


def test_a_large_file_goes_to_lfs_and_is_proven(data, tmp_path):
    (tmp_path / 'data.bin').write_bytes(os.urandom(300_000))
    data.run('push', 'data.bin', *DATA, code=0)
    assert data.files()['data.bin'].startswith(b'version https://git-lfs')
    data.run(
        'verify', '--content', '--remote', 'local', '--repo', 'me/results', '--repo-type', 'dataset', code=0
    )


def test_a_link_releases_what_it_points_to_under_its_own_name(data, results, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    link = tmp_path / 'elsewhere' / 'newest.json'
    link.symlink_to(results)
    data.run('push', link, *DATA, code=0)
    assert data.files()['newest.json'] == results.read_bytes()


def test_an_empty_file_is_released_with_a_warning(data, tmp_path):
    (tmp_path / 'empty.json').write_text('')
    done = data.run('push', 'empty.json', *DATA, code=0)
    assert 'warning: empty.json: the file is empty' in done.err
    assert data.files()['empty.json'] == b''


def test_a_slash_behind_the_name_does_not_matter(data, results):
    data.run('push', f'{results}/', *DATA, code=0)
    assert 'results.json' in data.files()


def test_a_file_that_is_not_there_is_a_fault(data, tmp_path):
    assert 'no such folder' in data.run('push', 'reslts.json', *DATA, code=2).err


@pytest.mark.parametrize('option', ['--include', '--exclude'])
def test_choosing_among_one_file_is_a_fault(data, results, option):
    assert 'results.json: a file;' in data.run('push', results, *DATA, option, '*.csv', code=2).err


def test_what_is_configured_for_folders_does_not_choose_among_one_file(data, results, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface: {layout: {include: ["*.safetensors"], exclude: ["*.json"]}}\n'
    )
    data.run('push', results, *DATA, code=0)
    assert 'results.json' in data.files()


@pytest.mark.parametrize('name', ['.env', '.gitattributes', '.hfignore'])
def test_what_is_in_no_release_is_in_none_alone_either(data, tmp_path, name):
    (tmp_path / name).write_text('HF_X=1\n')
    assert 'in no release' in data.run('push', name, *DATA, code=2).err


def test_a_link_to_what_is_in_no_release_is_refused(data, tmp_path):
    (tmp_path / '.env').write_text('A=b\n')
    (tmp_path / 'settings.txt').symlink_to('.env')
    assert 'in no release' in data.run('push', 'settings.txt', *DATA, code=2).err


def test_a_secret_in_it_stops_it(data, tmp_path):
    (tmp_path / 'results.json').write_text('{"token": "hf_' + 'aB3dE5gH7jK9mN1pQ3rS5tU7vW9xY1zA3c' + '"}')
    data.run('push', 'results.json', *DATA, code=8)


def test_a_pipe_is_no_file(data, tmp_path):
    os.mkfifo(tmp_path / 'pipe')
    data.run('push', 'pipe', *DATA, code=2)


def test_the_code_that_made_it_is_told(data, tmp_path):
    code = tmp_path / 'code'
    git('init', '-q', '-b', 'main', code)
    (code / 'eval.py').write_text('pass\n')
    git('add', '.', cwd=code)
    git('commit', '-q', '-m', 'evaluation', cwd=code)
    (code / 'results.json').write_text('{}')
    data.run('push', code / 'results.json', *DATA, code=0)
    assert f'Source-Commit: {git("rev-parse", "HEAD", cwd=code)}' in data.git('log', '-1', '--format=%B')


def test_a_backup_of_it_may_be_beside_it(data, results, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {backup: {enabled: true}}\n')
    data.run('push', results, *DATA, code=0)
    assert [path.name for path in (tmp_path / 'backups').rglob('results.json')] == ['results.json']


@pytest.mark.heavy
def test_a_file_that_has_to_wait_arrives_as_it_was(host, mirror, results, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {settings: {upload: {max_retries: 0}}}\n')
    mirror.remote = host.create('me/results')
    url = host.url('me/results')
    host.stop()
    was = results.read_bytes()
    mirror.run('push', results, '--remote', url, '--repo-type', 'dataset', code=7)
    results.write_text('{}')
    host.start()
    mirror.run('resume', code=0)
    assert mirror.files()['results.json'] == was


def test_the_numbers_of_results_are_on_the_card(data, results):
    data.run('push', results, *DATA, code=0)
    assert b'0.95' in data.files()['README.md']


@pytest.mark.parametrize('content', ['[1, 2]', '"x"', '{', '{"a": NaN}', '{"a": {"b": 1}}', '{"a": true}'])
def test_other_results_are_no_metrics_and_no_fault(data, tmp_path, content):
    (tmp_path / 'results.json').write_text(content)
    data.run('push', 'results.json', *DATA, code=0)


# -- folders that libraries wrote, loaded back from the Hub


@pytest.fixture
def loading(hub, tmp_path):
    """Run code as a user of the Hub, and return the JSON that it prints."""
    env = {
        **os.environ,
        'HF_ENDPOINT': hub.endpoint,
        'HF_TOKEN': hub.token,
        'HF_HOME': str(tmp_path / 'hf'),
        'HTTPS_PROXY': 'http://127.0.0.1:9',
        'NO_PROXY': '127.0.0.1',
        'OMP_NUM_THREADS': '1',
    }

    def run(code):
        done = subprocess.run(
            [sys.executable, '-c', code], env=env, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def released(mirror, hub, folder, *options):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    mirror.run('push', folder, *options, env=env, code=0)


ROWS = [{'text': 'one', 'label': 1}, {'text': 'two', 'label': 2}]


@pytest.mark.heavy
@pytest.mark.parametrize(
    'write', ['to_csv("data/train.csv", index=False)', 'to_parquet("data/train.parquet")']
)
def test_what_pandas_wrote_loads_again(mirror, hub, loading, tmp_path, write):
    (tmp_path / 'data').mkdir()
    loading(f'import pandas as pd; pd.DataFrame({ROWS!r}).{write}; print(1)')
    released(mirror, hub, 'data', '--repo-type', 'dataset', '--repo', 'local/pandas')
    found = loading(
        'import json, datasets; d = datasets.load_dataset("local/pandas", split="train"); print(json.dumps(d.to_list()))'
    )
    assert found == ROWS


@pytest.mark.heavy
def test_a_single_csv_file_loads_again(mirror, hub, loading, tmp_path):
    (tmp_path / 'train.csv').write_text('text,label\none,1\ntwo,2\n')
    released(mirror, hub, 'train.csv', '--repo-type', 'dataset', '--repo', 'local/single')
    found = loading(
        'import json, datasets; d = datasets.load_dataset("local/single", split="train"); print(json.dumps(d.to_list()))'
    )
    assert found == ROWS


@pytest.mark.heavy
def test_what_datasets_wrote_as_parquet_loads_again(mirror, hub, loading, tmp_path):
    (tmp_path / 'data').mkdir()
    loading(
        f'import datasets; d = datasets.Dataset.from_list({ROWS!r}); d.to_parquet("data/train-00000-of-00001.parquet"); print(1)'
    )
    released(mirror, hub, 'data', '--repo-type', 'dataset', '--repo', 'local/parquet')
    found = loading(
        'import json, datasets; d = datasets.load_dataset("local/parquet", split="train"); print(json.dumps(d.to_list()))'
    )
    assert found == ROWS


@pytest.mark.heavy
def test_what_save_to_disk_wrote_loads_again(mirror, hub, loading, tmp_path):
    loading(f'import datasets; datasets.Dataset.from_list({ROWS!r}).save_to_disk("saved"); print(1)')
    released(mirror, hub, 'saved', '--repo-type', 'dataset', '--repo', 'local/saved')
    found = loading(
        'import json, datasets, huggingface_hub as h\n'
        'd = datasets.load_from_disk(h.snapshot_download("local/saved", repo_type="dataset")); print(json.dumps(d.to_list()))'
    )
    assert found == ROWS


@pytest.mark.heavy
def test_what_save_pretrained_wrote_loads_again(mirror, hub, loading, tmp_path):
    model = 'transformers.BertModel(transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2, '
    model += 'intermediate_size=16, vocab_size=20))'
    before = loading(
        f'import transformers; m = {model}; m.save_pretrained("bert"); print(float(next(m.parameters()).sum()))'
    )
    released(mirror, hub, 'bert', '--repo', 'local/bert')
    after = loading(
        'import transformers; m = transformers.AutoModel.from_pretrained("local/bert"); print(float(next(m.parameters()).sum()))'
    )
    assert after == before
