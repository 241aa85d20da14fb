"""The training example: it learns, it publishes what it learnt when it is to, and it never fails because of an upload."""

import json
import os
import re
import secrets
import shlex
import shutil
import signal
import string
import subprocess
import sys
from pathlib import Path

import pytest

from hfmirror.training import Run
from tests.support.folder import checksums
from tests.support.mirror import git

ROOT = Path(__file__).parent.parent
SCRIPTS = ROOT / 'scripts'
MODEL_FILES = {
    'model.safetensors',
    'config.json',
    'vocabulary.json',
    'training_args.json',
    'eval_results.json',
}
# Tests run side by side: threads of one model would only wait for those of another.
ONE_THREAD = {'OPENBLAS_NUM_THREADS': '1'}
# No Hub is there.
NOBODY = {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_TOKEN': 'hf_' + 'a' * 34}


class Project:
    """A directory with a config.yaml, in which a person runs the scripts."""

    def __init__(self, path, data=None):
        self.path, self.model = path, path / 'mcp_finetuned_model'
        path.mkdir()
        if data is not None:
            shutil.copytree(data, path / 'mcp_dataset')
        self.configure()

    def configure(
        self, *, training=None, huggingface=None, model_name='local/mcp', file='config.yaml', **more
    ):
        """Write a configuration that publishes after a short training; what is given stands in place of that."""
        document = {
            'training': {'epochs': 3, **(training or {})},
            'huggingface': {
                'auto_sync': True,
                'repository': {'model_name': model_name} if model_name else {},
                'settings': {'upload': {'max_retries': 0}},
                **(huggingface or {}),
            },
            **more,
        }
        (self.path / file).write_text(json.dumps(document, indent=2))

    def run(self, *command, code=0, **env):
        done = subprocess.run(
            [str(word) for word in command],
            env=os.environ | ONE_THREAD | env,
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == code, f'{command}: exit {done.returncode}\n{done.stdout}\n{done.stderr}'
        return done

    def script(self, name, *args, code=0, **env):
        return self.run(sys.executable, SCRIPTS / name, *args, code=code, **env)

    def train(self, *args, code=0, **env):
        return self.script('train_mcp_model.py', '--config', 'config.yaml', *args, code=code, **env)

    def results(self):
        return json.loads((self.model / 'eval_results.json').read_text())


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The data set of the example's configuration."""
    return generated(tmp_path_factory.mktemp('data'))


def generated(path):
    subprocess.run(
        [sys.executable, SCRIPTS / 'generate_dataset.py', '--config', SCRIPTS / 'training_config.yaml'],
        cwd=path,
        check=True,
        capture_output=True,
    )
    return path / 'mcp_dataset'


@pytest.fixture
def project(tmp_path, data):
    return Project(tmp_path / 'project', data)


@pytest.fixture
def bare_project(tmp_path):
    """A project without data."""
    return Project(tmp_path / 'project')


@pytest.fixture
def online(hub, monkeypatch):
    """A Hub that the scripts find."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    return hub


@pytest.fixture
def classifier(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    import tool_classifier

    return tool_classifier


def examples(data, split):
    return [json.loads(line) for line in (data / f'{split}.jsonl').read_text().splitlines()]


def repository(tmp_path, name='local/mcp'):
    return tmp_path / 'hfmirror' / 'hub' / 'models' / f'{name}.git'


def tags(tmp_path, name='local/mcp'):
    path = repository(tmp_path, name)
    return git('tag', cwd=path).split() if path.exists() else []


def files(tmp_path, name='local/mcp'):
    return set(git('ls-tree', '-r', '--name-only', 'main', cwd=repository(tmp_path, name)).splitlines())


# -- the data


def test_the_same_settings_make_the_same_data(data, tmp_path):
    again = tmp_path / 'again'
    again.mkdir()
    assert checksums(generated(again)) == checksums(data)


def test_no_text_is_in_the_data_twice(data):
    texts = [row['text'] for split in ('train', 'validation', 'test') for row in examples(data, split)]
    assert len(texts) == len(set(texts)) == 1920


@pytest.mark.parametrize('split', ['train', 'validation', 'test'])
def test_every_tool_is_in_every_part_of_the_data(data, split):
    assert len({row['tool'] for row in examples(data, split)}) == 10


def test_the_phrasings_make_as_many_examples_as_may_be_asked_for(bare_project):
    bare_project.configure(data={'examples_per_tool': 1000})
    bare_project.script('generate_dataset.py', '--config', 'config.yaml')
    assert len(examples(bare_project.path / 'mcp_dataset', 'train')) == 8000


def test_the_test_has_words_of_its_own(data):
    """No word that fills a phrasing in the test does so in training; what a tool is called by has to be learnt."""
    used = {
        split: {value for row in examples(data, split) for value in row['arguments'].values()}
        for split in ('train', 'test')
    }
    assert used['train'] & used['test'] <= {'5', '10', '20', '42', '90'}


# -- the model


def test_gradients_are_the_slopes_of_the_loss(classifier):
    import numpy as np

    chance = np.random.default_rng(1)
    model = classifier.new_classifier(['a', 'b', 'c', 'd'], ['x', 'y', 'z'], hidden_size=5, seed=3)
    weights = {name: value.astype(np.float64) for name, value in model.weights.items()}
    inputs, labels = chance.random((6, 4)), np.array([0, 1, 2, 0, 1, 2])
    _, gradients = classifier._gradients(weights, inputs, labels)
    for name, value in weights.items():
        slopes = np.zeros_like(value)
        for at in np.ndindex(value.shape):
            kept, losses = value[at], []
            for nudge in (1e-6, -1e-6):
                value[at] = kept + nudge
                losses.append(classifier._gradients(weights, inputs, labels)[0])
            value[at] = kept
            slopes[at] = (losses[0] - losses[1]) / 2e-6
        assert gradients[name] == pytest.approx(slopes, abs=1e-7), name


def test_the_example_learns_phrasings_that_it_has_not_seen(project):
    shutil.copy(SCRIPTS / 'training_config.yaml', project.path / 'config.yaml')
    project.train('--skip-hf-sync')
    assert project.results()['accuracy'] > 0.9
    assert {path.name for path in project.model.iterdir()} == MODEL_FILES


def test_the_results_are_those_of_the_saved_model(project, classifier):
    project.train('--skip-hf-sync')
    rows = examples(project.path / 'mcp_dataset', 'test')
    guesses = classifier.load(project.model).predict([row['text'] for row in rows])
    right = sum(guess == row['tool'] for guess, row in zip(guesses, rows, strict=True))
    assert project.results()['accuracy'] == pytest.approx(right / len(rows), abs=1e-6)


def test_the_same_settings_make_the_same_model(project):
    project.train('--skip-hf-sync')
    before = checksums(project.model)
    project.train('--skip-hf-sync')
    assert checksums(project.model) == before


def test_the_epoch_that_is_kept_is_the_one_with_the_best_metric(project):
    # So small and so fast that the epochs with the most right and with the least loss are not the same.
    small = {'vocabulary_size': 20, 'hidden_size': 8}
    project.configure(training={'epochs': 8, 'learning_rate': 0.1}, model=small)
    rows = re.findall(
        r'epoch +(\d+)/.*validation loss (\S+)  accuracy (\S+)', project.train('--skip-hf-sync').stderr
    )
    best = max(rows, key=lambda row: (float(row[2]), -float(row[1])))
    least = min(rows, key=lambda row: float(row[1]))
    assert best != least  # otherwise it would not matter
    assert project.results()['epoch'] == int(best[0])


@pytest.mark.skipif(sys.platform == 'win32', reason='modes are of other systems')
def test_others_may_read_data_and_model(project):
    project.train('--skip-hf-sync')
    paths = [*(project.path / 'mcp_dataset').iterdir(), *project.model.iterdir()]
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o644}


def test_the_model_can_be_asked(project):
    project.train('--skip-hf-sync', '--epochs', 8)
    done = project.script('tool_classifier.py', 'mcp_finetuned_model', 'will it rain in Oslo tomorrow')
    assert done.stdout.startswith('get_weather  ')


def test_training_without_data_says_how_to_make_it(bare_project):
    done = bare_project.train(code=1)
    assert (
        'mcp_dataset/train.jsonl: no such file. Make the data with scripts/generate_dataset.py' in done.stderr
    )


@pytest.mark.parametrize(
    ('split', 'content', 'message'),
    [
        ('train', '', 'it has no examples'),
        ('train', 'not JSON', 'not the data set that scripts/generate_dataset.py makes'),
        (
            'validation',
            '{"text": "hello"}',
            "not the data set that scripts/generate_dataset.py makes: KeyError('tool')",
        ),
        ('test', '{"text": "hello", "tool": "greet"}', 'no example for training calls for greet'),
    ],
)
def test_data_that_cannot_be_learnt_from_are_named(project, split, content, message):
    (project.path / 'mcp_dataset' / f'{split}.jsonl').write_text(content)
    assert message in project.train(code=1).stderr


@pytest.mark.parametrize(
    ('section', 'message'),
    [
        ({'epoch': 3}, 'training.epoch: Extra inputs are not permitted'),
        ({'epochs': 'many'}, 'training.epochs: Input should be a valid integer'),
        ({'learning_rate': 0}, 'training.learning_rate: Input should be greater than 0'),
    ],
)
def test_a_wrong_setting_of_the_example_ends_it_before_it_trains(project, section, message):
    project.configure(training=section)
    assert message in project.train(code=2).stderr
    assert not project.model.exists()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('text', 'place'),
    [
        ('training:\n  epochs: 3\n wrong: [1\n', '3:2: '),
        ('training: {epochs: 1, epochs: 2}\n', '1:23: '),
        ('training: \x00\n', ' '),
        ('training: 2024-99-99\n', ' '),
        ('[' * 5000, ' '),
    ],
)
def test_a_project_file_that_is_no_yaml_is_told_in_one_line(project, text, place):
    (project.path / 'config.yaml').write_text(text)
    (line,) = project.train(code=2).stderr.splitlines()
    assert line.startswith(f'error: config.yaml:{place}not valid YAML: ')


def test_a_folder_that_cannot_be_written_ends_it_before_it_trains(project):
    (project.path / 'file').write_text('')
    project.configure(training={'output_dir': 'file/model'})
    done = project.train(code=2)
    assert 'file/model/eval_results.json: cannot be written' in done.stderr
    assert 'epoch' not in done.stderr


def test_a_project_file_that_is_missing_is_named(project):
    done = project.script('train_mcp_model.py', '--config', 'nowhere.yaml', code=2)
    assert 'nowhere.yaml: no such file' in done.stderr


# -- what is published, and when


def test_a_run_is_published_when_auto_sync_is_on(project, online, tmp_path):
    done = project.train()
    assert f'model_url: {online.endpoint}/local/mcp' in done.stdout
    assert tags(tmp_path) == ['v0.1.0']
    assert files(tmp_path) >= MODEL_FILES | {'README.md'}


@pytest.mark.heavy
def test_configuration_and_results_of_a_run_are_published_as_an_experiment(project, online, tmp_path):
    done = project.train()
    named = [line.partition(':')[0] for line in done.stdout.splitlines()]
    assert named == ['model_url', 'config_url', 'results_url']
    there = files(tmp_path, 'local/mcp-configs')
    assert 'experiments/baseline_experiment/experiment_metadata.json' in there
    assert any(
        name.startswith('experiments/baseline_experiment/') and 'eval_results' in name for name in there
    )


@pytest.mark.heavy
def test_an_experiment_and_a_version_can_be_named(project, online, tmp_path):
    project.train('--experiment-name', 'optimized', '--version-tag', 'v1.1.0')
    assert tags(tmp_path) == ['v1.1.0']
    assert any(name.startswith('experiments/optimized/') for name in files(tmp_path, 'local/mcp-configs'))


@pytest.mark.heavy
def test_more_training_makes_the_next_version(project, online, tmp_path):
    project.train()
    project.train('--epochs', 4)
    assert tags(tmp_path) == ['v0.1.0', 'v0.2.0']


@pytest.mark.heavy
def test_the_same_training_again_makes_no_version(project, online, tmp_path):
    project.train()
    project.train()
    assert tags(tmp_path) == ['v0.1.0']


@pytest.mark.parametrize(
    ('huggingface', 'reason'),
    [
        ({'auto_sync': False}, 'huggingface.auto_sync is off'),
        ({'enabled': False}, 'huggingface.enabled is off'),
        ({'enabled': False, 'auto_sync': False}, 'huggingface.enabled is off'),
    ],
)
def test_a_run_is_not_published_when_the_configuration_says_so(project, online, huggingface, reason):
    project.configure(huggingface=huggingface)
    done = project.train()
    assert f'Not published: {reason}. The model is in mcp_finetuned_model.' in done.stderr
    assert online.requests('*') == []


@pytest.mark.heavy
def test_force_publishes_what_the_configuration_does_not(project, online, tmp_path):
    project.configure(huggingface={'enabled': False, 'auto_sync': False}, training={'sync_above_accuracy': 1})
    project.train('--force-hf-sync')
    assert tags(tmp_path) == ['v0.1.0']


def test_skip_publishes_nothing(project, online):
    assert 'Not published: --skip-hf-sync.' in project.train('--skip-hf-sync').stderr
    assert online.requests('*') == []


def test_skip_and_force_together_are_refused(project):
    assert 'give one of them' in project.train('--skip-hf-sync', '--force-hf-sync', code=2).stderr


def test_a_model_that_is_not_good_enough_is_not_published(project, online):
    project.configure(training={'epochs': 1, 'sync_above_accuracy': 0.999})
    done = project.train()
    assert 'is not above 0.999 (training.sync_above_accuracy)' in done.stderr
    assert online.requests('*') == []


def test_a_project_that_publishes_nothing_says_that_before_it_asks_how_good_the_model_is(project, online):
    project.configure(training={'epochs': 1, 'sync_above_accuracy': 0.999}, huggingface={'auto_sync': False})
    done = project.train()
    assert 'Not published: huggingface.auto_sync is off.' in done.stderr


@pytest.mark.heavy
def test_what_is_not_uploaded_has_no_address(project, online):
    project.configure(huggingface={'upload_items': ['model']})
    assert 'config_url: -\nresults_url: -\n' in project.train().stdout


@pytest.mark.heavy
def test_a_model_that_is_good_enough_is_published(project, online, tmp_path):
    project.configure(training={'epochs': 12, 'sync_above_accuracy': 0.8})
    project.train()
    assert tags(tmp_path) == ['v0.1.0']


@pytest.mark.heavy
def test_a_version_that_was_pulled_can_be_asked(project, online):
    project.train('--epochs', 8, '--version-tag', 'v1.0.0')
    project.run(sys.executable, '-m', 'hfmirror', 'pull', 'v1.0.0', '--to', 'pulled')
    asked = project.script('tool_classifier.py', 'pulled', 'will it rain in Oslo tomorrow').stdout
    assert asked.startswith('get_weather  ')


@pytest.mark.heavy
def test_the_lines_for_your_own_script_publish_a_run(project, online, tmp_path):
    project.train('--skip-hf-sync')
    (lines,) = re.findall('```python\n(.+?)```', (ROOT / 'docs/training.md').read_text('utf-8'), re.DOTALL)
    done = project.run(sys.executable, '-c', f'{lines}\nprint(urls["model_url"])')
    assert done.stdout == f'{online.endpoint}/local/mcp\n'
    assert tags(tmp_path) == ['v0.1.0']


# -- when it cannot be published


@pytest.mark.heavy
def test_without_a_token_the_release_is_kept_in_the_local_hub(project, tmp_path):
    done = project.train()
    assert 'WARNING: HF_TOKEN not found in environment variables.\n' in done.stderr
    assert 'kept in the local Hub on this machine' in done.stderr
    assert tags(tmp_path) == ['v0.1.0']
    assert files(tmp_path, 'local/mcp-configs')


@pytest.mark.heavy
def test_that_there_is_no_token_is_shown_where_only_warnings_are(project):
    assert (
        project.train(LOG_LEVEL='WARNING').stderr == 'WARNING: HF_TOKEN not found in environment variables.\n'
    )


@pytest.mark.heavy
def test_without_a_token_and_without_a_name_the_release_is_kept_too(project, tmp_path):
    project.configure(model_name=None)
    project.train()
    assert tags(tmp_path, 'local/mcp_finetuned_model') == ['v0.1.0']


def test_a_project_that_publishes_locally_is_not_told_of_a_token(project, tmp_path):
    project.configure(huggingface={'remotes': ['local']})
    assert 'HF_TOKEN' not in project.train().stderr
    assert tags(tmp_path) == ['v0.1.0']


@pytest.mark.heavy
def test_a_hub_that_fails_in_the_middle_does_not_make_training_fail(project, online, tmp_path):
    online.fail('POST /git-receive-pack', 503, times=99)
    done = project.train()
    assert 'warning: the training is done, but not published yet:' in done.stderr
    assert tags(tmp_path) == []


@pytest.mark.heavy
def test_what_waits_is_sent_by_the_next_run(project, online, tmp_path):
    online.fail('POST /git-receive-pack', 503)
    project.train()
    project.train()
    assert tags(tmp_path) == ['v0.1.0']
    assert 'experiments/baseline_experiment/experiment_metadata.json' in files(tmp_path, 'local/mcp-configs')


@pytest.mark.heavy
def test_without_a_network_the_release_waits_and_training_has_succeeded(project, mirror):
    done = project.train(**NOBODY)
    assert 'warning: the training is done, but not published yet:' in done.stderr
    assert NOBODY['HF_TOKEN'] not in done.stderr
    waiting = mirror.run('status', '--json', code=0, cwd=project.path, env=NOBODY).json
    assert 'v0.1.0' in json.dumps(waiting)


def test_without_a_network_and_a_namespace_nothing_waits_and_the_warning_says_how_it_would(project, mirror):
    project.configure(model_name='mcp')
    done = project.train(**NOBODY)
    assert 'or yourself with HF_USERNAME; then the release can wait' in done.stderr
    assert mirror.run('status', '--json', code=0, cwd=project.path, env=NOBODY).json == []


@pytest.mark.heavy
def test_without_a_network_the_release_of_a_configured_user_waits(project, mirror):
    project.configure(model_name='mcp', huggingface={'user': {'username': 'ada'}})
    project.train(**NOBODY)
    waiting = mirror.run('status', '--json', code=0, cwd=project.path, env=NOBODY).json
    assert 'ada/mcp' in json.dumps(waiting)


def test_a_token_that_is_refused_does_not_make_training_fail(project, online):
    wrong = 'hf_' + 'b' * 34
    done = project.train(HF_TOKEN=wrong)
    assert 'warning: the training is done, but not published yet:' in done.stderr
    assert wrong not in done.stdout + done.stderr
    assert project.results()['accuracy'] > 0


@pytest.mark.heavy
def test_the_command_that_is_shown_finishes_what_failed(project, online, tmp_path):
    shown = project.train(HF_TOKEN='hf_' + 'b' * 34).stderr
    command = shlex.split(shown.partition('To finish: ')[2].splitlines()[0])
    assert command[0] == 'hfmirror'
    project.run(sys.executable, '-m', *command)
    assert tags(tmp_path) == ['v0.1.0']


def test_the_command_that_is_shown_can_be_pasted():
    run = Run(Path('my model'), "it's; rm -rf ~", Path('a b.yaml'), 'v1.0.0')
    words = ['hfmirror', 'sync', 'my model', '--experiment', "it's; rm -rf ~", '--tag', 'v1.0.0']
    assert shlex.split(run.command) == [*words, '--config', 'a b.yaml']


def test_a_secret_in_the_configuration_stops_the_upload_and_not_the_training(project, online, tmp_path):
    key = 'hf_' + ''.join(secrets.choice(string.ascii_letters) for _ in range(34))
    project.configure(wandb={'api_key': key})
    done = project.train()
    assert 'warning: the training is done, but not published yet:' in done.stderr
    assert key not in done.stdout + done.stderr
    assert tags(tmp_path) == []


def test_a_mistake_in_the_configuration_is_told_before_the_training(project):
    project.configure(huggingface={'auto_sink': True})
    done = project.train()
    before, after = done.stderr.split('epoch  1/3')
    assert 'huggingface.auto_sink' in before
    assert 'The model will be trained all the same' in before
    assert 'not published yet' in after
    assert {path.name for path in project.model.iterdir()} == MODEL_FILES


def test_a_machine_without_room_for_a_release_has_trained_all_the_same(project, tmp_path):
    (tmp_path / 'file').write_text('')
    done = project.train(HFMIRROR_HOME=str(tmp_path / 'file'))
    assert 'not published yet' in done.stderr
    assert 'Traceback' not in done.stderr


# -- run_training.sh


@pytest.fixture
def shell(bare_project):
    """Run run_training.sh in the project."""
    return lambda *args, **kwargs: bare_project.run('bash', SCRIPTS / 'run_training.sh', *args, **kwargs)


@pytest.mark.heavy
def test_run_training_does_it_all(bare_project, shell, online, tmp_path):
    shell()
    assert tags(tmp_path) == ['v0.1.0']


@pytest.mark.heavy
def test_run_training_takes_the_config_and_the_flags_of_the_document(bare_project, shell, online, tmp_path):
    bare_project.configure(
        file='custom_config.yaml', huggingface={'enabled': False}, model_name='local/custom'
    )
    shell('--config', 'custom_config.yaml', '--force-hf-sync')
    assert tags(tmp_path, 'local/custom') == ['v0.1.0']


def test_run_training_skips_the_sync(shell, online):
    shell('--skip-hf-sync')
    assert online.requests('*') == []


def test_run_training_without_a_config_takes_that_of_the_example(bare_project, shell):
    (bare_project.path / 'config.yaml').unlink()
    shell('--skip-hf-sync')
    assert bare_project.results()['accuracy'] > 0.9


def test_run_training_works_through_a_link(bare_project):
    (bare_project.path / 'run_training.sh').symlink_to(SCRIPTS / 'run_training.sh')
    bare_project.run('./run_training.sh', '--skip-hf-sync')
    assert bare_project.model.is_dir()


def test_run_training_passes_further_options_on(bare_project, shell):
    assert 'epoch 1/1' in shell('--skip-hf-sync', '--', '--epochs', '1').stderr.replace('  ', ' ')


def test_run_training_shows_its_options(shell):
    shown = shell('--help').stdout
    assert all(option in shown for option in ('--config FILE', '--skip-hf-sync', '--force-hf-sync'))


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('--skip-hf-sink',), "unknown option '--skip-hf-sink'"),
        (('config.yaml',), "unknown option 'config.yaml'"),
        (('--config',), '--config: which file?'),
    ],
)
def test_run_training_refuses_what_it_does_not_know_before_it_begins(bare_project, shell, args, message):
    assert message in shell(*args, code=2).stderr
    assert not (bare_project.path / 'mcp_dataset').exists()


def test_run_training_fails_when_the_training_does(bare_project, shell):
    bare_project.configure(training={'epochs': 0})
    shell(code=2)


@pytest.mark.parametrize(('sent', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_who_stops_run_training_stops_the_training(bare_project, sent, code):
    command = ['bash', SCRIPTS / 'run_training.sh', '--', '--epochs', '10000']
    with subprocess.Popen(
        command, env=os.environ | ONE_THREAD, cwd=bare_project.path, stderr=subprocess.PIPE, text=True
    ) as running:
        while 'epoch' not in running.stderr.readline():
            assert running.poll() is None
        running.send_signal(sent)
        running.stderr.read()
        assert running.wait(20) == code
    assert not (bare_project.model / 'eval_results.json').exists()
