"""sync and list-experiments: a training run is published whole, and whatever stops it is finished by running it again."""

from __future__ import annotations

import json
import os
import random
import signal
import string
import subprocess
import sys

import pytest

from tests.support.fault import KILL, at, fault
from tests.support.mirror import bare, git

# None that looks like an example, which is no secret.
TOKEN = 'hf_' + ''.join(random.Random(5).choices(string.ascii_letters, k=34))
CONFIG = """\
training: {epochs: 3}  # few
huggingface:
  repository: {model_name: me/tiny-model}
  remotes: [local]
  settings:
    upload: {max_retries: 0, retry_delay: 0}
"""


@pytest.fixture(autouse=True)
def project(own_world, tmp_path):
    path = tmp_path / 'config.yaml'
    path.write_text(CONFIG)
    return path


@pytest.fixture
def configs(mirror):
    """The repository for configurations beside that of ``mirror``."""
    return Configs(mirror)


class Configs:
    def __init__(self, mirror):
        self.path = mirror.remote.with_name('tiny-model-configs.git')

    def files(self):
        names = git('ls-tree', '-r', '--name-only', 'main', cwd=self.path).splitlines()
        return {name: git('cat-file', 'blob', f'main:{name}', cwd=self.path) for name in names}

    def metadata(self, folder):
        return json.loads(self.files()[f'experiments/{folder}/experiment_metadata.json'])

    def commits(self):
        return git('log', '--format=%s', 'main', cwd=self.path).splitlines()


def sync(mirror, folder, *args, code=0, **kwargs):
    """Sync with ``--json``; returns the one document when it succeeds, else the whole result."""
    done = mirror.run('sync', folder, *args, '--json', code=code, **kwargs)
    return done.json[0] if code == 0 else done


def experiments(mirror, *args, **kwargs):
    return mirror.run('list-experiments', *args, '--json', code=0, **kwargs).json


def on_hub(project, hub):
    """Make the Hub, over HTTP, the project's remote; returns the environment for that."""
    project.write_text(CONFIG.replace('me/', 'local/').replace('[local]', '[hub]'))
    return {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}


# -- what one sync does


def test_one_sync_makes_a_release_and_a_commit_beside_it(mirror, folder, configs):
    done = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0')
    assert (done['name'], done['model']['version'], done['model']['status']) == (
        'baseline',
        'v1.0.0',
        'pushed',
    )
    assert done['experiment']['status'] == 'pushed' and done['experiment']['version'] is None
    assert mirror.tags() == ['v1.0.0']
    assert configs.commits() == ['Experiment baseline: config and results of v1.0.0']
    mirror.assert_whole()


def test_the_experiments_folder_has_configuration_results_and_metadata(mirror, folder, configs, project):
    sync(mirror, folder, '--experiment', 'baseline')
    files = configs.files()
    assert {name for name in files if name.startswith('experiments/')} == {
        'experiments/baseline/config.yaml',
        'experiments/baseline/eval_results.json',
        'experiments/baseline/experiment_metadata.json',
    }
    assert files['experiments/baseline/config.yaml'] == project.read_text().rstrip('\n')


def test_the_metadata_link_to_the_release(mirror, folder, configs):
    done = sync(mirror, folder, '--experiment', 'baseline')
    told = configs.metadata('baseline')
    assert told['model'] == {'repo_id': mirror.repo, 'version': 'v0.1.0', 'commit': done['model']['commit']}
    assert told['training_params'] == {'epochs': 3}
    assert told['eval_results'] == {'eval_accuracy': 0.91, 'eval_loss': 0.25}
    assert 'python' in told['system']


def test_the_commit_of_the_training_code_is_told(mirror, folder, configs, tmp_path):
    git('init', '-q', tmp_path)
    git('add', 'config.yaml', cwd=tmp_path)
    git('commit', '-qm', 'code', cwd=tmp_path)
    sync(mirror, folder, '--experiment', 'baseline')
    assert configs.metadata('baseline')['git_commit'] == git('rev-parse', 'HEAD', cwd=tmp_path)
    assert 'Source-Commit' not in git('log', '-1', '--format=%B', 'main', cwd=configs.path)


def test_the_experiment_is_told_in_the_models_commit(mirror, folder):
    sync(mirror, folder, '--experiment', 'baseline run')
    assert 'Experiment: baseline run' in mirror.git('log', '-1', '--format=%B', 'main')
    assert '**Experiment**: `baseline run`' in mirror.files()['README.md'].decode()


def test_a_sync_again_makes_nothing(mirror, folder, configs):
    sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0')
    again = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0')
    assert {again['model']['status'], again['experiment']['status']} == {'up-to-date'}
    assert len(configs.commits()) == 1


@pytest.mark.heavy
def test_other_experiments_stay(mirror, folder, configs):
    sync(mirror, folder, '--experiment', 'first')
    folder.write('eval_results.json', '{"eval_accuracy": 0.95}')
    sync(mirror, folder, '--experiment', 'second')
    assert configs.metadata('first')['model']['version'] == 'v0.1.0'
    assert configs.metadata('second')['model']['version'] == 'v0.2.0'


@pytest.mark.heavy
def test_an_experiment_that_is_run_again_is_told_anew(mirror, folder, configs):
    sync(mirror, folder, '--experiment', 'baseline')
    folder.write('eval_results.json', '{"f1": 0.5}')
    sync(mirror, folder, '--experiment', 'baseline')
    told = configs.metadata('baseline')
    assert (told['eval_results'], told['model']['version']) == ({'f1': 0.5}, 'v0.2.0')


def test_two_names_of_one_folder_are_a_conflict(mirror, folder):
    sync(mirror, folder, '--experiment', 'run 1')
    done = sync(mirror, folder, '--experiment', 'Run-1', code=6)
    assert "experiments/run-1 is the experiment 'run 1'" in done.err


def test_without_a_name_the_experiment_is_called_as_the_folder(mirror, folder):
    assert sync(mirror, folder)['name'] == 'tiny-model'


def test_without_a_folder_it_is_the_one_that_the_configuration_names(mirror, folder, project):
    project.write_text(CONFIG.replace('{epochs: 3}', f'{{output_dir: {folder}}}'))
    done = mirror.run('sync', '--experiment', 'baseline', '--json', code=0).json[0]
    assert done['model']['status'] == 'pushed'


def test_a_folder_that_nothing_names_is_an_error(mirror):
    assert 'which model?' in mirror.run('sync', '--experiment', 'baseline', code=2).err


def test_results_and_configuration_from_elsewhere(mirror, folder, configs, tmp_path):
    (tmp_path / 'scores.json').write_text('{"f1": 0.75}')
    (tmp_path / 'run.toml').write_text('[training]\nepochs = 9\n')
    sync(mirror, folder, '--experiment', 'x', '--results', 'scores.json', '--config-file', 'run.toml')
    files = configs.files()
    assert files['experiments/x/scores.json'] == '{"f1": 0.75}'
    assert files['experiments/x/config.toml'] == '[training]\nepochs = 9'
    assert configs.metadata('x')['training_params'] == {'epochs': 9}
    assert configs.metadata('x')['eval_results']['f1'] == 0.75


def test_for_a_person_it_says_where_everything_is(mirror, folder):
    done = mirror.run('sync', folder, '--experiment', 'baseline', '--tag', 'v1.0.0', code=0)
    assert 'me/tiny-model on local: v1.0.0 pushed and proven' in done.out
    assert '  experiment baseline: file://' in done.out


def test_a_dry_run_changes_nothing(mirror, folder, configs):
    done = sync(mirror, folder, '--experiment', 'baseline', '--dry-run')
    assert (done['model']['version'], done['model']['status']) == ('v0.1.0', 'dry-run')
    assert done['experiment']['status'] == 'dry-run'
    assert not mirror.remote.exists() and not configs.path.exists()


def test_the_model_stays_what_commands_are_about(mirror, folder, project):
    project.write_text(CONFIG.replace('  repository: {model_name: me/tiny-model}\n', ''))
    sync(mirror, folder, '--repo', mirror.repo, '--experiment', 'baseline', '--tag', 'v1.0.0')
    assert [one['name'] for one in mirror.run('list-versions', '--json', code=0).json] == ['v1.0.0']
    assert [one['name'] for one in experiments(mirror)] == ['baseline']


def test_nothing_is_left_of_the_folder_that_was_composed(mirror, folder):
    sync(mirror, folder, '--experiment', 'baseline')
    assert list((mirror.home / 'cache' / 'experiments').iterdir()) == []


# -- what the configuration asks for


def items(project, *names, **more):
    listed = ', '.join(names)
    lines = [f'  {key}: {json.dumps(value)}\n' for key, value in more.items()]
    project.write_text(f'{CONFIG}  upload_items: [{listed}]\n{"".join(lines)}')


@pytest.mark.parametrize(
    ('names', 'urls'),
    [
        (['model'], {'model_url'}),
        (['config'], {'config_url'}),
        (['results'], {'results_url'}),
        (['model', 'results'], {'model_url', 'results_url'}),
    ],
)
def test_only_what_is_asked_for_is_uploaded(mirror, folder, project, names, urls):
    items(project, *names)
    done = sync(mirror, folder, '--experiment', 'baseline')
    assert {key for key, value in done.items() if key.endswith('_url') and value} == urls


def test_the_model_alone_has_no_link_and_nothing_beside_it(mirror, folder, project, configs):
    items(project, 'model')
    sync(mirror, folder, '--experiment', 'baseline')
    assert not configs.path.exists()
    assert 'Where it comes from' not in mirror.files()['README.md'].decode()


def test_without_tracking_there_are_no_metadata(mirror, folder, project, configs):
    items(project, 'config', experiment_tracking={'enabled': False})
    sync(mirror, folder, '--experiment', 'baseline')
    assert [name for name in configs.files() if name.startswith('experiments/')] == [
        'experiments/baseline/config.yaml'
    ]


def test_the_metadata_are_called_as_configured(mirror, folder, project, configs):
    items(project, 'config', experiment_tracking={'metadata_file': 'run.json'})
    sync(mirror, folder, '--experiment', 'baseline')
    assert 'experiments/baseline/run.json' in configs.files()
    assert [one['name'] for one in experiments(mirror)] == ['baseline']


def test_the_layout_of_the_model_is_not_that_of_its_experiments(mirror, folder, project, configs):
    items(project, 'model', 'config', layout={'include': ['*.bin'], 'path_in_repo': 'weights'})
    sync(mirror, folder, '--experiment', 'baseline')
    assert 'weights/model.bin' in mirror.files() and 'weights/config.json' not in mirror.files()
    assert 'experiments/baseline/config.yaml' in configs.files()


def test_switched_off_it_can_still_be_asked_for(mirror, folder, project):
    items(project, 'model', enabled=False)
    assert sync(mirror, folder, '--experiment', 'baseline')['model']['status'] == 'pushed'


# -- secrets


@pytest.mark.parametrize('where', ['config', 'results', 'metadata'])
def test_a_secret_stops_everything_before_anything_leaves(mirror, folder, project, configs, tmp_path, where):
    args = []
    if where == 'config':
        project.write_text(f'wandb: {{key: {TOKEN}}}\n{CONFIG}')
    elif where == 'results':
        (tmp_path / 'scores.txt').write_text(TOKEN)
        args = ['--results', 'scores.txt']
    else:
        items(project, 'model', 'results', experiment_tracking={'fields': ['key']})
        project.write_text(f'service: {{key: {TOKEN}}}\n{project.read_text()}')
    done = sync(mirror, folder, '--experiment', 'baseline', *args, code=8)
    assert 'experiments/baseline/' in done.err and 'huggingface-token' in done.err
    assert TOKEN not in done.err + done.out
    assert not mirror.remote.exists() and not configs.path.exists()


def test_an_unsafe_pickle_in_the_results_stops_everything_before_anything_leaves(
    mirror, folder, configs, tmp_path
):
    (tmp_path / 'scores.pkl').write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    done = sync(mirror, folder, '--experiment', 'baseline', '--results', 'scores.pkl', code=8)
    assert 'experiments/baseline/scores.pkl' in done.err
    assert not mirror.remote.exists() and not configs.path.exists()


def test_a_secret_far_down_in_long_results_stops_everything_before_anything_leaves(
    mirror, folder, configs, tmp_path
):
    (tmp_path / 'log.txt').write_text('step\n' * 4_000_000 + TOKEN)
    done = sync(mirror, folder, '--experiment', 'baseline', '--results', 'log.txt', code=8)
    assert 'experiments/baseline/log.txt' in done.err
    assert not mirror.remote.exists() and not configs.path.exists()


def test_results_named_as_the_configuration_stop_everything_before_anything_leaves(
    mirror, folder, configs, tmp_path
):
    (tmp_path / 'res').mkdir()
    (tmp_path / 'res' / 'config.yaml').write_text('a: 1\n')
    args = ('--experiment', 'baseline', '--results', 'res/config.yaml')
    done = sync(mirror, folder, *args, code=2)
    assert 'the name of another file of the experiment' in done.err
    assert not mirror.remote.exists() and not configs.path.exists()


@pytest.mark.heavy
def test_the_folder_of_another_experiment_stops_everything_before_anything_leaves(mirror, folder):
    sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0')
    folder.write('model.bin', b'\1' * 500)
    done = sync(mirror, folder, '--experiment', 'Baseline', '--tag', 'v9.0.0', code=6)
    assert "is the experiment 'baseline'" in done.err
    assert mirror.tags() == ['v1.0.0']


def test_what_is_no_secret_can_be_let_through(mirror, folder, project, configs):
    project.write_text(f'wandb: {{key: {TOKEN}}}\n{CONFIG}')
    sync(mirror, folder, '--experiment', 'baseline', '--allow-secrets')
    assert TOKEN in configs.files()['experiments/baseline/config.yaml']


def test_one_file_can_be_let_through_by_the_configuration(mirror, folder, project):
    gates = '  gates: {allow_secrets: [config.yaml]}\n'
    project.write_text(f'wandb: {{key: {TOKEN}}}\n{CONFIG}{gates}')
    sync(mirror, folder, '--experiment', 'baseline')


def test_a_variable_in_the_configuration_is_kept_as_it_is_written(
    mirror, folder, project, configs, monkeypatch
):
    monkeypatch.setenv('OWNER', 'somebody')
    project.write_text(CONFIG.replace('me/tiny-model', '"${OWNER}/tiny-model"'))
    done = sync(mirror, folder, '--experiment', 'baseline')
    assert 'somebody/tiny-model' in done['model_url']
    files = Configs.files(
        type('There', (), {'path': mirror.home / 'hub/models/somebody/tiny-model-configs.git'})
    )
    assert '${OWNER}/tiny-model' in files['experiments/baseline/config.yaml']
    assert 'somebody' not in files['experiments/baseline/config.yaml']


# -- what goes wrong


@pytest.mark.heavy
def test_without_a_network_both_wait_and_resume_sends_them(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('*', 503, times=1000)
    done = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0', code=7, env=env)
    assert 'not sent yet' in done.err and 'hfmirror resume' in done.err
    assert len(mirror.run('status', '--json', code=0, env=env).json) == 2
    hub.heal()
    mirror.run('resume', code=0, env=env)
    assert [(one['name'], one['version']) for one in experiments(mirror, env=env)] == [('baseline', 'v1.0.0')]


def test_what_waits_is_known_by_the_folder_of_the_model(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('*', 503, times=1000)
    sync(mirror, folder, '--experiment', 'baseline', code=7, env=env)
    waiting = mirror.run('status', '--json', code=0, env=env).json
    assert {one['folder'] for one in waiting} == {str(folder.path.resolve())}


@pytest.mark.heavy
def test_without_a_network_the_same_again_sends_them(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('*', 503, times=1000)
    sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0', code=7, env=env)
    hub.heal()
    done = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0', env=env)
    assert {done['model']['status'], done['experiment']['status']} == {'pushed'}


@pytest.mark.heavy
def test_two_experiments_that_wait_both_arrive(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('*', 503, times=1000)
    sync(mirror, folder, '--experiment', 'one', '--tag', 'v1.0.0', code=7, env=env)
    folder.write('model.bin', b'\1' * 500)
    sync(mirror, folder, '--experiment', 'two', '--tag', 'v2.0.0', code=7, env=env)
    hub.heal()
    mirror.run('resume', code=0, env=env)
    assert {one['name']: one['version'] for one in experiments(mirror, env=env)} == {
        'one': 'v1.0.0',
        'two': 'v2.0.0',
    }


@pytest.mark.heavy
def test_when_only_the_configurations_fail_the_model_is_there(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('* tiny-model-configs', 503, times=1000)
    done = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0', code=7, env=env)
    assert 'tiny-model-configs' in done.err
    assert [one['name'] for one in mirror.run('list-versions', '--json', code=0, env=env).json] == ['v1.0.0']


@pytest.mark.heavy
@pytest.mark.parametrize(
    'where',
    [
        at('hfmirror.publishing:publish', before=KILL, nth=(2,)),
        at('hfmirror.experiments.storing:_compose', after=KILL),
        at('hfmirror.release:push', before=KILL, nth=(2,)),
        at('hfmirror.delivery:deliver', before=KILL, nth=(2,)),
        at('hfmirror.delivery:deliver', after=KILL, nth=(2,)),
    ],
)
def test_a_sync_that_is_killed_is_finished_by_the_next(mirror, folder, configs, tmp_path, where):
    args = ('--experiment', 'baseline', '--tag', 'v1.0.0')
    env = fault(tmp_path / 'fault', where)
    env['PYTHONPATH'] += os.pathsep + os.environ.get('PYTHONPATH', '')
    sync(mirror, folder, *args, code=-signal.SIGKILL, env=env)
    done = sync(mirror, folder, *args)
    assert done['model']['status'] == 'up-to-date'
    assert len(configs.commits()) == 1
    assert configs.metadata('baseline')['model']['version'] == 'v1.0.0'
    mirror.assert_whole()


@pytest.mark.heavy
def test_one_of_two_remotes_that_fails_leaves_the_other_done(mirror, folder, project, hub, tmp_path):
    env = on_hub(project, hub)
    env['HFMIRROR_HOME'] = str(tmp_path / 'other')
    args = ('--remote', 'hub', '--remote', 'local', '--experiment', 'baseline', '--tag', 'v1.0.0', '--json')
    hub.fail('* tiny-model-configs', 403, times=1000)
    done = mirror.run('sync', folder, *args, code=9, env=env)
    assert [one['experiment']['status'] for one in done.json] == ['failed', 'pushed']
    assert [one['model']['status'] for one in done.json] == ['pushed', 'pushed']


def on_both(mirror, folder, *args, code, env, tmp_path):
    """Sync with the Hub over HTTP and with a local Hub of its own; returns the whole result."""
    env['HFMIRROR_HOME'] = str(tmp_path / 'other')
    both = ('--remote', 'hub', '--remote', 'local', '--experiment', 'baseline', '--tag', 'v1.0.0')
    return mirror.run('sync', folder, *both, *args, code=code, env=env)


def test_a_secret_in_the_model_ends_with_the_same_code_on_two_remotes(mirror, folder, project, hub, tmp_path):
    folder.write('notes.txt', TOKEN)
    done = on_both(mirror, folder, code=8, env=on_hub(project, hub), tmp_path=tmp_path)
    assert '2 of 2 targets are not done; see above.' in done.err
    assert done.err.count('Nothing was sent') == 2


def test_one_of_two_remotes_that_waits_ends_as_a_push_does(mirror, folder, project, hub, tmp_path):
    env = on_hub(project, hub)
    hub.fail('*', 503, times=1000)
    done = on_both(mirror, folder, code=9, env=env, tmp_path=tmp_path)
    assert '1 of 2 targets are not done; see above.' in done.err


@pytest.mark.heavy
def test_of_an_experiment_that_failed_it_is_not_said_where_it_is(mirror, folder, project, hub, tmp_path):
    env = on_hub(project, hub)
    hub.fail('* tiny-model-configs', 403, times=1000)
    done = on_both(mirror, folder, code=9, env=env, tmp_path=tmp_path)
    assert done.out.count('  experiment baseline: ') == 1
    assert f'experiment baseline: {hub.endpoint}' not in done.out


@pytest.mark.heavy
def test_what_failed_has_no_address(mirror, folder, project, hub, tmp_path):
    env = on_hub(project, hub)
    hub.fail('* tiny-model-configs', 403, times=1000)
    done = on_both(mirror, folder, '--json', code=9, env=env, tmp_path=tmp_path).json
    assert [one['config_url'] is None for one in done] == [True, False]
    assert [one['results_url'] is None for one in done] == [True, False]


def test_beside_a_repository_on_a_git_host_there_has_to_be_another_one(mirror, folder, tmp_path, project):
    project.write_text('huggingface: {settings: {upload: {max_retries: 0}}}\n')
    remote = bare(tmp_path / 'git' / 'tiny.git')
    done = sync(mirror, folder, '--remote', str(remote), '--experiment', 'baseline', code=5)
    assert 'tiny-configs' in done.err
    beside = bare(tmp_path / 'git' / 'tiny-configs.git')
    sync(mirror, folder, '--remote', str(remote), '--experiment', 'baseline')
    assert 'experiments/baseline/config.yaml' in git('ls-tree', '-r', '--name-only', 'main', cwd=beside)


def test_a_bad_version_is_refused_before_anything_is_read(mirror, folder):
    assert 'no name for a version' in sync(mirror, folder, '--tag', 'a..b', code=2).err


def test_a_folder_that_is_not_there_is_an_error(mirror):
    assert 'no such folder' in sync(mirror, 'nowhere', code=2).err


@pytest.mark.heavy
def test_repositories_are_created_as_asked(mirror, folder, project, hub, api):
    env = on_hub(project, hub)
    sync(mirror, folder, '--experiment', 'baseline', '--private', env=env)
    assert api.model_info('local/tiny-model').private and api.model_info('local/tiny-model-configs').private


@pytest.mark.heavy
def test_a_model_that_is_there_is_told_when_its_experiment_is_not(mirror, folder, project, hub):
    env = on_hub(project, hub)
    hub.fail('* tiny-model-configs', 403, times=1000)
    done = sync(mirror, folder, '--experiment', 'baseline', '--tag', 'v1.0.0', code=4, env=env)
    assert 'local/tiny-model on hub: v1.0.0 is there; its experiment is not yet' in done.err


@pytest.mark.heavy
def test_two_syncs_at_once_both_arrive(mirror, folder, project, hub, tmp_path):
    env = {**os.environ, **on_hub(project, hub)}
    sync(mirror, folder, '--experiment', 'zero', '--tag', 'v1.0.0', env=env)
    command = [sys.executable, '-m', 'hfmirror', 'sync', folder.path, '--tag', 'v1.0.0', '--experiment']
    started = [
        subprocess.Popen(
            [*command, name],
            env={**env, 'HFMIRROR_HOME': str(tmp_path / name)},  # as from two machines
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name in ('one', 'two')
    ]
    for process in started:
        _, said = process.communicate(timeout=100)
        assert process.returncode == 0, said
    assert {one['name'] for one in experiments(mirror, env=env)} == {'zero', 'one', 'two'}


@pytest.mark.heavy
def test_a_token_on_the_command_line_works_and_is_warned_of(mirror, folder, project, hub):
    env = on_hub(project, hub)
    token = env.pop('HF_TOKEN')
    done = mirror.run('sync', folder, '--experiment', 'baseline', '--token', token, code=0, env=env)
    assert 'others on this machine can see' in done.err and token not in done.out + done.err


def test_of_what_is_backed_up_the_experiment_is_no_part(mirror, folder, project, tmp_path):
    items(project, 'model', 'config', backup={'enabled': True})
    sync(mirror, folder, '--experiment', 'baseline')
    names = [path.name for path in (tmp_path / 'backups').rglob('*')]
    assert 'model.bin' in names and 'experiment_metadata.json' not in names


# -- list-experiments


@pytest.fixture
def three(mirror, folder):
    """Three experiments: their accuracies are 0.7, 0.9 and 0.8, in that order."""
    for name, accuracy in {'one': 0.7, 'two': 0.9, 'three': 0.8}.items():
        folder.write('eval_results.json', json.dumps({'eval_accuracy': accuracy, 'eval_loss': 1 - accuracy}))
        sync(mirror, folder, '--experiment', name)


@pytest.mark.heavy
def test_experiments_are_sorted_by_a_metric(mirror, three):
    def names(*args):
        return [one['name'] for one in experiments(mirror, *args)]

    assert names('--sort', 'accuracy') == ['two', 'three', 'one']
    assert names('--sort', 'loss') == ['one', 'three', 'two']
    assert names('--sort', 'accuracy', '--reverse', '--limit', '1') == ['one']


@pytest.mark.heavy
def test_the_table_shows_version_metrics_date_and_code(mirror, three, tmp_path):
    lines = mirror.run('list-experiments', '--sort', 'loss', code=0).out.splitlines()
    assert lines[0].split() == ['NAME', 'VERSION', 'METRICS', 'DATE', 'CODE', 'MODEL']
    assert lines[1].split()[:4] == ['one', 'v0.1.0', 'eval_loss=0.3', 'eval_accuracy=0.7']


@pytest.mark.heavy
def test_a_metric_that_no_experiment_has_is_an_error(mirror, three):
    done = mirror.run('list-experiments', '--sort', 'f1', code=2)
    assert 'There are: accuracy, loss' in done.err


def test_a_project_without_experiments_is_told_how_to_make_one(mirror):
    assert 'hfmirror sync' in mirror.run('list-experiments', code=5).err
