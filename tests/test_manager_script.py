"""scripts/huggingface_manager.py, with the flags of its tutorial, and the file of examples: each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.folder import checksums
from tests.support.mirror import Done
from tests.support.rest import new_user

ROOT = Path(__file__).parent.parent
CONFIG = """\
training: {output_dir: ./mcp_finetuned_model}
huggingface:
  repository: {model_name: your-username/mcp-finetuned-model}
  settings: {upload: {max_retries: 0, retry_delay: 0}}
"""


@pytest.fixture
def hub(hub, tmp_path, monkeypatch, folder):
    """The Hub with the tutorial's user and project; the model is in ./mcp_finetuned_model."""
    (tmp_path / 'config.yaml').write_text(CONFIG)
    folder.path.rename(tmp_path / 'mcp_finetuned_model')
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', new_user(hub, 'your-username'))
    return hub


def script(*args, code=0, path=ROOT / 'scripts' / 'huggingface_manager.py'):
    """Run the script in the working directory."""
    done = subprocess.run(
        [sys.executable, path, *args],
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=100,
        check=False,
    )
    assert done.returncode == code, f'{args}: exit {done.returncode}\n{done.stdout}\n{done.stderr}'
    return Done(done.returncode, done.stdout, done.stderr)


def sync(*args, **kwargs):
    return script(
        'sync',
        *('--model-path', './mcp_finetuned_model', '--experiment-name', 'baseline_experiment'),
        *('--version-tag', 'v1.0.0', '--private'),
        *args,
        **kwargs,
    )


@pytest.mark.heavy
def test_sync_prints_where_everything_is(hub):
    configs = f'{hub.endpoint}/your-username/mcp-finetuned-model-configs'
    assert sync().out.splitlines() == [
        f'model_url: {hub.endpoint}/your-username/mcp-finetuned-model',
        f'config_url: {configs}/blob/main/experiments/baseline_experiment/config.yaml',
        f'results_url: {configs}/tree/main/experiments/baseline_experiment',
    ]


@pytest.mark.heavy
def test_sync_with_only_a_path_calls_the_experiment_as_the_folder(hub):
    script('sync', '--model-path', './mcp_finetuned_model')
    (found,) = json.loads(script('list-experiments', '--json').out)
    assert found['name'] == 'mcp_finetuned_model'


@pytest.mark.heavy
def test_sync_without_a_path_takes_the_folder_of_the_configuration(hub):
    assert 'model_url: ' in script('sync', '--experiment-name', 'baseline').out


@pytest.mark.heavy
def test_upload_model_upload_config_and_upload_results(hub):
    script(
        'upload-model',
        *('--model-path', './mcp_finetuned_model', '--version-tag', 'v1.0.0'),
        *('--commit-message', 'Upload fine-tuned model'),
    )
    script('upload-config', '--config-file', 'config.yaml', '--experiment-name', 'baseline_experiment')
    done = script(
        'upload-results',
        *('--results-path', 'mcp_finetuned_model/eval_results.json'),
        *('--experiment-name', 'baseline_experiment'),
    )
    assert done.out.startswith(f'results_url: {hub.endpoint}/')
    (version,) = json.loads(script('list-versions', '--json').out)
    assert (version['name'], version['message']) == ('v1.0.0', 'Upload fine-tuned model')
    (found,) = json.loads(script('list-experiments', '--json').out)
    assert (found['name'], found['metrics']['eval_accuracy']) == ('baseline_experiment', 0.91)


@pytest.mark.heavy
def test_download_model_brings_the_files_back(hub, tmp_path):
    sync()
    done = script('download-model', '--version-tag', 'v1.0.0', '--local-dir', './downloaded_model')
    assert done.out == 'downloaded_model\n'
    model, there = checksums(tmp_path / 'mcp_finetuned_model'), checksums(tmp_path / 'downloaded_model')
    assert {name: there[name] for name in model} == model


@pytest.mark.heavy
def test_list_versions_and_list_experiments_print_tables(hub):
    sync()
    assert 'v1.0.0' in script('list-versions').out
    assert 'baseline_experiment  v1.0.0' in script('list-experiments').out


@pytest.mark.heavy
def test_list_experiments_can_be_sorted(hub):
    sync()
    assert 'baseline_experiment' in script('list-experiments', '--sort', 'accuracy', '--limit', '1').out


def test_validate_config_says_what_is_wrong(hub, tmp_path):
    script('validate-config', '--config', 'config.yaml')
    (tmp_path / 'wrong.yaml').write_text('huggingface: {auto_sink: true}\n')
    done = script('validate-config', '--config', 'wrong.yaml', code=2)
    assert 'auto_sink' in done.out + done.err


@pytest.mark.parametrize(
    ('args', 'code', 'said'),
    [
        (['upload-model', '--model-path', 'nowhere'], 2, 'no such folder'),
        (['upload-config'], 2, '--experiment-name'),
        (['sync', '--config', 'nowhere.yaml'], 2, 'nowhere.yaml'),
        (['download-model', '--version-tag', 'v9.9.9', '--local-dir', 'x'], 5, 'no such'),
        (['nothing'], 2, 'nothing'),
    ],
)
def test_what_goes_wrong_ends_with_the_code_of_hfmirror(hub, args, code, said):
    assert said.lower() in script(*args, code=code).err.lower()


def test_a_queued_sync_ends_with_the_code_of_the_network(hub):
    hub.fail('*', 503, times=1000)
    assert 'not sent yet' in sync(code=7).err


def test_help_names_every_command():
    out = script('--help').out
    for name in ('sync', 'upload-model', 'upload-config', 'upload-results', 'download-model'):
        assert f'  {name} ' in out
    for name in ('list-versions', 'list-experiments', 'validate-config'):
        assert f'  {name} ' in out
        assert name in script(name, '--help').out


def test_help_cuts_no_text_short(monkeypatch):
    monkeypatch.setenv('COLUMNS', '80')
    assert '...' not in script('--help').out.partition('Commands:')[2]


def test_the_script_is_imported_as_in_the_tutorial():
    from hfmirror.manager import HuggingFaceManager as Ours
    from scripts.huggingface_manager import HuggingFaceManager

    assert HuggingFaceManager is Ours


@pytest.mark.heavy
def test_the_examples_run_from_end_to_end(tmp_path):
    done = script('--folder', str(tmp_path / 'work'), path=ROOT / 'examples' / 'huggingface_usage.py')
    assert [line[0] for line in done.out.splitlines() if not line.startswith(' ')] == list('1234567')
    assert 'v1.0.0 is in downloaded' in done.out
    assert 'Tags never move' in done.out


@pytest.mark.heavy
def test_the_examples_run_against_a_hub(tmp_path, hub):
    args = ('--remote', 'hub', '--name', 'your-username/example', '--folder', str(tmp_path / 'work'))
    done = script(*args, path=ROOT / 'examples' / 'huggingface_usage.py')
    assert f'  model_url: {hub.endpoint}/your-username/example' in done.out.splitlines()
