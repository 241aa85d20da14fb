"""Experiments: what is written about a training run, and what is believed of what others have written."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata as installed
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror import target as targets
from hfmirror.config.config import Config
from hfmirror.config.places import home
from hfmirror.experiments import document, experiment, metadata, storing, system
from hfmirror.experiments.metadata import Run
from hfmirror.experiments.project import Project
from hfmirror.facts.facts import read_facts
from hfmirror.origin import Origin
from hfmirror.outbox import Entry, Held, Outbox
from hfmirror.outcome import Release
from hfmirror.place import Place
from hfmirror.statcache import Stamp
from hfmirror.tree import Changes
from tests.support.mirror import bare, git

NOW = datetime(2026, 5, 4, 12, 30, 15, tzinfo=UTC)
MODEL = targets.hub('https://hub.example', 'me/tiny')
FILE = 'experiment_metadata.json'


def config(**sections):
    return Config.model_validate(sections)


def describe(run=None, **sections):
    """Return the metadata of a run, without what the machine says of itself unless that is asked for."""
    sections = {'sync': {'include_system_info': False}, **sections}
    return metadata.describe(run or Run('baseline', MODEL), config(**sections), now=NOW)


def written(tmp_path, **files):
    """Return the facts of a folder with JSON files: ``config_json={…}`` is config.json."""
    paths = {}
    for name, value in files.items():
        path = tmp_path / name.replace('_json', '.json')
        path.write_text(json.dumps(value))
        paths[path.name] = path
    return read_facts(paths)


# -- the folder of an experiment


@pytest.mark.parametrize(
    ('name', 'folder'),
    [
        ('baseline_experiment', 'baseline_experiment'),
        ('Baseline', 'baseline'),
        ('lr 2e-5, warm', 'lr-2e-5-warm'),
        ('基线实验', '基线实验'),
        ('../../etc', 'etc'),
        ('.git', 'git'),
        ('a//b', 'a-b'),
        ('ﬁrst', 'first'),
        ('x' * 200, 'x' * 100),
    ],
)
def test_the_folder_of_an_experiment(name, folder):
    assert experiment.folder_of(name) == f'experiments/{folder}'


@pytest.mark.parametrize('name', ['', ' ', '...', '/', 'a\nb', 'x' * 201, '\u202eabc'])
def test_a_name_that_makes_no_folder_is_refused(name):
    with pytest.raises(errors.UsageError, match='no name for an experiment'):
        experiment.folder_of(name)


# -- metadata


def test_metadata_have_the_configured_fields():
    told = describe(experiment_tracking={'fields': ['model_name', 'timestamp']})
    assert told == {
        'experiment_name': 'baseline',
        'model_name': 'me/tiny',
        'timestamp': '2026-05-04T12:30:15+00:00',
        'model': {'repo_id': 'me/tiny', 'url': 'https://hub.example/me/tiny'},
    }


def test_metadata_name_the_release_of_the_model():
    release = Release(MODEL, 'v1.0.0', 'c' * 40, 'pushed', Changes([], [], []), 0, 0)
    told = describe(Run('baseline', MODEL, release))
    assert told['model'] == {
        'repo_id': 'me/tiny',
        'version': 'v1.0.0',
        'commit': 'c' * 40,
        'url': 'https://hub.example/me/tiny',
    }


def test_the_path_of_a_repository_on_this_machine_is_told_nobody(tmp_path):
    told = describe(Run('baseline', targets.local(tmp_path, 'me/tiny')))
    assert told['model'] == {'repo_id': 'me/tiny'}


def test_the_base_model_is_that_of_the_files(tmp_path):
    facts = written(
        tmp_path, adapter_config_json={'base_model_name_or_path': 'google-bert/bert-base-uncased'}
    )
    run = Run('x', MODEL, facts=facts, configuration={'model': {'base_model': 'other/one'}})
    assert describe(run)['base_model'] == 'google-bert/bert-base-uncased'


@pytest.mark.parametrize(
    'configuration',
    [{'base_model': 'a/b'}, {'model': {'base_model': 'a/b'}}, {'train': {'model_name_or_path': 'a/b'}}],
)
def test_else_the_base_model_is_that_of_the_configuration(configuration):
    assert describe(Run('x', MODEL, configuration=configuration))['base_model'] == 'a/b'


def test_training_parameters_are_those_of_the_run_over_those_of_the_configuration():
    run = Run(
        'x', MODEL, arguments={'epochs': 3}, configuration={'training': {'epochs': 5, 'learning_rate': 0.1}}
    )
    assert describe(run)['training_params'] == {'epochs': 3, 'learning_rate': 0.1}


def test_paths_and_machines_of_training_arguments_are_not_told():
    arguments = {
        'epochs': 3,
        'logging_dir': 'runs/May04_gpu-17',
        'output_dir': '/home/ada/out',
        'hub_token': '<HUB_TOKEN>',
    }
    assert describe(Run('x', MODEL, arguments=arguments))['training_params'] == {'epochs': 3}


def test_of_a_trainers_hundred_arguments_those_of_a_card_are_told(tmp_path):
    arguments = {
        'per_device_train_batch_size': 8,
        'learning_rate': 2e-5,
        'dataloader_pin_memory': True,
        'run_name': 'gpu17',
    }
    facts = written(tmp_path, training_args_json=arguments)
    run = Run('x', MODEL, facts=facts, arguments=arguments)
    assert describe(run)['training_params'] == {'learning_rate': 2e-5, 'per_device_train_batch_size': 8}


def test_metrics_can_be_left_out(tmp_path):
    facts = written(tmp_path, eval_results_json={'eval_loss': 0.5})
    run = Run('x', MODEL, facts=facts)
    assert describe(run)['eval_results'] == {'eval_loss': 0.5}
    assert 'eval_results' not in describe(run, experiment_tracking={'include_metrics': False})


def test_the_commit_of_the_code_can_be_left_out():
    run = Run('x', MODEL, origin=Origin('c' * 40, True))
    told = describe(run)
    assert (told['git_commit'], told['git_dirty']) == ('c' * 40, True)
    told = describe(run, sync={'include_git_info': False, 'include_system_info': False})
    assert {'git_commit', 'git_dirty'} & told.keys() == set()


def test_other_fields_come_from_arguments_and_configuration():
    run = Run('x', MODEL, arguments={'seed': 7}, configuration={'data': {'max_samples': 100}, 'seed': 8})
    told = describe(
        run, experiment_tracking={'fields': ['seed', 'data.max_samples', 'max_samples', 'nothing']}
    )
    assert (told['seed'], told['data.max_samples'], told['max_samples']) == (7, 100, 100)
    assert 'nothing' not in told


def test_nothing_is_told_of_hfmirrors_own_section():
    run = Run('x', MODEL, configuration={'huggingface': {'base_model': 'a/b', 'notifications': 'x'}})
    told = describe(run, experiment_tracking={'fields': ['base_model', 'notifications']})
    assert {'base_model', 'notifications'} & told.keys() == set()


@pytest.mark.parametrize(
    ('value', 'plain'),
    [
        (float('nan'), None),
        (float('inf'), None),
        (2**70, None),
        (datetime(2026, 1, 2), '2026-01-02T00:00:00'),
        ({'a': {1: float('nan'), 2: (1, 2)}}, {'a': {'2': [1, 2]}}),
        (Path('a/b'), 'a/b'),
        (object(), None),
        ('x' * 5000, 'x' * 2000),
    ],
)
def test_values_become_what_json_can_tell(value, plain):
    assert metadata.plain(value) == plain


def test_of_values_that_multiply_only_some_are_told():
    value = ['x'] * 100
    for _ in range(5):
        value = [value] * 100
    assert len(json.dumps(metadata.plain(value))) < 500_000


def test_a_value_within_itself_ends():
    value = {}
    value['self'] = value
    assert json.dumps(metadata.plain(value))


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        ('{"accuracy": 0.9, "test": {"f1": 0.8}, "samples": 100}', {'accuracy': 0.9, 'test.f1': 0.8}),
        ('{"loss": NaN, "accuracy": 0.9}', {'accuracy': 0.9}),
        ('{"loss": 1e999}', {}),
        ('[0.9]', {}),
        ('no json', {}),
        ('\xff', {}),
        ('[' * 100_000, {}),
    ],
)
def test_metrics_of_a_file(tmp_path, content, found):
    path = tmp_path / 'results.json'
    path.write_bytes(content.encode('latin-1'))
    assert metadata.metrics_in(path) == found


def test_a_file_of_another_kind_has_no_metrics(tmp_path):
    (tmp_path / 'results.csv').write_text('{"accuracy": 1}')
    assert metadata.metrics_in(tmp_path / 'results.csv') == {}


def test_the_date_stays_when_nothing_else_changes():
    before = {'timestamp': '2026-01-01T00:00:00+00:00', 'eval_results': {'f1': 1.0}}
    now = {'timestamp': '2026-05-04T00:00:00+00:00', 'eval_results': {'f1': 1.0}}
    assert metadata.kept_date(before, now) == before
    assert metadata.kept_date({**before, 'eval_results': {}}, now) == now


# -- the system


def test_the_system_tells_python_and_packages():
    told = system.describe()
    assert told['python'] == platform.python_version()
    assert told['packages']['huggingface-hub'] == installed.version('huggingface_hub')


def test_the_system_tells_the_hostname_only_when_asked():
    assert 'hostname' not in system.describe()
    assert system.describe(hostname=True)['hostname'] == socket.gethostname()
    assert socket.gethostname() not in json.dumps({**system.describe(), 'platform': ''})


def test_the_system_is_described_without_importing_torch():
    code = 'import sys; from hfmirror.experiments import system; system.describe(); print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == 'False'


def test_cards_and_driver_are_read_from_the_driver(tmp_path, monkeypatch):
    # A machine without a graphics card has no such files.
    (tmp_path / 'gpus' / '0000:01:00.0').mkdir(parents=True)
    (tmp_path / 'gpus' / '0000:01:00.0' / 'information').write_text(
        'Model: \t\t NVIDIA A100-SXM4-40GB\nIRQ: 5\n'
    )
    (tmp_path / 'version').write_text(
        'NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.104.05  Sat Aug 19\n'
    )
    monkeypatch.setattr(system, '_NVIDIA', tmp_path)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    told = system.describe()
    assert (told['gpus'], told['nvidia_driver']) == (['NVIDIA A100-SXM4-40GB'], '535.104.05')


def test_the_cuda_version_is_read_from_torch_without_importing_it(tmp_path, monkeypatch):
    (tmp_path / 'torch').mkdir()
    (tmp_path / 'torch' / '__init__.py').write_text('raise RuntimeError("imported")')
    (tmp_path / 'torch' / 'version.py').write_text(
        "__version__ = '2.13.0'\ncuda: Optional[str] = '12.8'\nhip = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'torch', raising=False)
    assert system.describe()['cuda'] == '12.8'


# -- the repository for configurations


def project(**sections):
    return Project(config(**sections), home())


def test_configurations_go_beside_the_model():
    hub = project().configs(MODEL)
    assert (hub.url, hub.repo_id) == ('https://hub.example/me/tiny-configs', 'me/tiny-configs')
    local = project().configs(targets.local(home().hub, 'me/tiny'))
    assert local == targets.local(home().hub, 'me/tiny-configs')


def test_the_template_says_where_configurations_go():
    named = {'config_repo_template': '{username}/cfg-{model_name}'}
    assert project(repository=named, user={'username': 'ada'}).configs(MODEL).repo_id == 'me/cfg-tiny'


@pytest.mark.parametrize(
    ('url', 'configs'),
    [
        ('https://host/me/model.git', 'https://host/me/model-configs.git'),
        ('https://host/me/model', 'https://host/me/model-configs'),
        ('https://host/me/model/', 'https://host/me/model-configs/'),
        ('git@host:me/model.git', 'git@host:me/model-configs.git'),
        ('git@host:model.git', 'git@host:model-configs.git'),
        ('ssh://git@host:22/me/model.git', 'ssh://git@host:22/me/model-configs.git'),
    ],
)
def test_beside_a_git_url_it_has_another_last_part(url, configs):
    assert project().configs(targets.at_url(url, 'me/other')).remote == configs


def test_a_folder_that_another_sync_removes_meanwhile_does_no_harm(monkeypatch):
    above = home().cache / 'experiments'
    (above / 'tmpother').mkdir(parents=True)
    iterdir = Path.iterdir

    def removed_then(path):  # no time to do it at just that moment from outside
        for one in list(iterdir(path)):
            if one.name == 'tmpother':
                one.rmdir()
            yield one

    monkeypatch.setattr(Path, 'iterdir', removed_then)
    with storing._composed(home()) as root:
        assert root.is_dir()


def test_a_composed_folder_stays_while_a_release_that_waits_shares_its_files():
    target = targets.local(home().hub, 'me/tiny-configs')
    box = Outbox(home().outbox, target)
    with storing._composed(home()) as root:
        source = root / 'weights.bin'
        source.write_bytes(b'x')
        held = Held('weights.bin', 'a' * 64, 1, str(source.resolve()), Stamp.of(source.stat()))
        entry = Entry('01', '', str(root), None, 'c' * 40, None, None, '', False, (held,))
        box.add(entry, b'pack')
    assert source.is_file()
    os.utime(root, (0, 0))  # nor does the next one take it for a leftover
    with storing._composed(home()):
        assert source.is_file()
    box.remove(entry)
    with storing._composed(home()):
        assert not source.exists()


def test_a_page_on_a_hub_and_elsewhere(tmp_path):
    assert storing.page(MODEL, 'experiments/基线') == (
        'https://hub.example/me/tiny/tree/main/experiments/%E5%9F%BA%E7%BA%BF'
    )
    assert storing.page(targets.at_url('https://host/me/x.git', 'me/x'), 'a') == 'https://host/me/x.git'


# -- configurations


def test_a_configuration_file_is_kept_to_the_byte(tmp_path):
    content = b'\xef\xbb\xbfa: 1  # why\r\n'
    (tmp_path / 'my.yml').write_bytes(content)
    assert document.of_file(tmp_path / 'my.yml')[:3] == ('config.yaml', content, {'a': 1})


@pytest.mark.parametrize(
    ('name', 'content', 'kept'),
    [
        ('x.json', '{"a": 1}', ('config.json', {'a': 1})),
        ('x.toml', 'a = 1', ('config.toml', {'a': 1})),
        ('x.ini', '[a]', ('x.ini', {})),
        ('x.yaml', '{', ('config.yaml', {})),
        ('x.json', '[1]', ('config.json', {})),
    ],
)
def test_a_configuration_in_any_form(tmp_path, name, content, kept):
    (tmp_path / name).write_text(content)
    found = document.of_file(tmp_path / name)
    assert (found.name, found.values) == kept


@pytest.mark.parametrize(
    ('text', 'values'),
    [
        ('a: 1\nb: !ref <x>\n', {'a': 1, 'b': '<x>'}),
        ('a: !!python/tuple [1, 2]\n', {'a': [1, 2]}),
        ('a: !obj {b: !x 1}\n', {'a': {'b': '1'}}),
    ],
)
def test_of_tags_that_nobody_else_knows_the_values_are_there(tmp_path, text, values):
    (tmp_path / 'x.yaml').write_text(text)
    found = document.of_file(tmp_path / 'x.yaml')
    assert (found.values, list(found.doubts)) == (values, [])


def test_of_a_key_that_is_given_twice_the_first_counts_and_it_is_told(tmp_path):
    (tmp_path / 'x.yaml').write_text('a: 1\nb: 2\na: 3\n')
    found = document.of_file(tmp_path / 'x.yaml')
    assert found.values == {'a': 1, 'b': 2}
    assert 'x.yaml:3' in found.doubts[0] and 'given twice' in found.doubts[0]


@pytest.mark.parametrize(('name', 'text'), [('x.yaml', 'a: ['), ('x.json', '{'), ('x.toml', '=')])
def test_a_configuration_that_cannot_be_read_is_told(tmp_path, capsys, name, text):
    (tmp_path / name).write_text(text)
    assert document.of_file(tmp_path / name).told().values == {}
    assert name in capsys.readouterr().err


# Each level is ten of the one before.
LAUGHS = 'a0: &a0 [x]\n' + ''.join(f'a{n}: &a{n} [{", ".join([f"*a{n - 1}"] * 10)}]\n' for n in range(1, 9))


@pytest.mark.parametrize('text', [LAUGHS, 'a: &a [*a]\n', 'a: &a {b: *a}\n'])
def test_aliases_without_end_are_no_values(tmp_path, text):
    (tmp_path / 'x.yaml').write_text(text)
    found = document.of_file(tmp_path / 'x.yaml')
    assert found.values == {} and found.doubts


def test_what_is_too_large_is_no_configuration(tmp_path):
    (tmp_path / 'x.yaml').write_bytes(b'#' * (4 * 1024 * 1024 + 1))
    with pytest.raises(errors.UsageError, match='more than 4 MiB'):
        document.of_file(tmp_path / 'x.yaml')


# -- reading what is there


def configs(tmp_path, files):
    """Make a repository for configurations with ``files`` ({path: content}) and return its target."""
    remote = bare(tmp_path / 'me' / 'tiny-configs.git')
    stream = ['commit refs/heads/main', 'committer Ada <ada@example.org> 1700000000 +0000', 'data 1', 'x']
    data = '\n'.join([*stream, '']).encode()
    for path, content in files.items():
        content = content if isinstance(content, bytes) else json.dumps(content).encode()
        data += f'M 100644 inline {path}\ndata {len(content)}\n'.encode() + content + b'\n'
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=remote, input=data, check=True)
    return targets.at_url(str(remote), 'me/tiny-configs')


def listed(target):
    return experiment.list_experiments(target, home(), metadata_file=FILE)


def test_experiments_are_listed_newest_first(tmp_path):
    target = configs(
        tmp_path,
        {
            f'experiments/{name}/{FILE}': {'experiment_name': name, 'timestamp': date}
            for name, date in {
                'a': '2026-01-02',
                'b': '2026-01-03T00:00:00Z',
                'c': '2026-01-01T05:00:00+02:00',
            }.items()
        },
    )
    assert [one.name for one in listed(target)] == ['b', 'a', 'c']


def test_an_experiment_is_what_its_metadata_say(tmp_path):
    values = {
        'experiment_name': 'baseline',
        'eval_results': {'f1': 0.5, 'nested': {'loss': 1}},
        'timestamp': '2026-05-04T12:00:00+00:00',
        'git_commit': 'c' * 40,
        'model': {'repo_id': 'me/tiny', 'version': 'v1.0.0', 'url': 'https://hub.example/me/tiny'},
    }
    (found,) = listed(configs(tmp_path, {f'experiments/baseline/{FILE}': values}))
    assert found == (
        'baseline',
        'v1.0.0',
        {'f1': 0.5, 'nested.loss': 1.0},
        datetime(2026, 5, 4, 12, tzinfo=UTC),
        'c' * 40,
        'me/tiny',
        'https://hub.example/me/tiny',
        'experiments/baseline',
    )


def test_files_elsewhere_are_no_experiments(tmp_path):
    names = [
        FILE,
        f'experiments/{FILE}',
        f'experiments/a/b/{FILE}',
        f'other/a/{FILE}',
        'experiments/a/config.json',
    ]
    assert listed(configs(tmp_path, {name: {} for name in names})) == []


HOSTILE = {
    'types': {'experiment_name': 5, 'eval_results': [1], 'timestamp': {}, 'git_commit': None, 'model': 'x'},
    'numbers': {'eval_results': {'a': float('nan'), 'b': 10**400, 'c': True, 'd': float('-inf'), 'e': '1'}},
    'dates': {'timestamp': '0001-01-01T00:00:00+23:59'},
    'urls': {'model': {'url': 'javascript:alert(1)', 'version': ['v1']}},
    'blanks': {'model': {'url': 'https://hub.example/ a b'}},
}


@pytest.mark.parametrize('kind', HOSTILE)
def test_what_is_of_a_wrong_type_counts_as_not_said(tmp_path, kind):
    (found,) = listed(configs(tmp_path, {f'experiments/x/{FILE}': HOSTILE[kind]}))
    assert found == ('x', None, {}, None, None, None, None, 'experiments/x')


def test_names_become_one_short_line(tmp_path):
    values = {'experiment_name': 'a\nb\x1b[31m' + 'c' * 10_000, 'eval_results': {'x\ny': 1}}
    (found,) = listed(configs(tmp_path, {f'experiments/x/{FILE}': values}))
    assert found.name.startswith('a b[31mccc') and len(found.name) == 200
    assert found.metrics == {'x y': 1.0}


@pytest.mark.parametrize('content', [b'{', b'[]', b'\xff', b'[' * 200_000, b'{"a":' * 150_000])
def test_what_is_no_document_is_left_out_with_a_warning(tmp_path, capsys, content):
    files = {f'experiments/x/{FILE}': content, f'experiments/y/{FILE}': {}}
    assert [one.name for one in listed(configs(tmp_path, files))] == ['y']
    assert f'experiments/x/{FILE}' in capsys.readouterr().err


def test_metrics_nested_without_end_are_not_read(tmp_path):
    nested = b'{"eval_results": ' + b'{"a": ' * 900 + b'1' + b'}' * 900 + b'}'
    (found,) = listed(configs(tmp_path, {f'experiments/x/{FILE}': nested}))
    assert found.name == 'x'


def test_what_is_too_large_is_left_out_with_a_warning(tmp_path, capsys):
    files = {f'experiments/x/{FILE}': b'"' + b' ' * 2**20 + b'"', f'experiments/y/{FILE}': {}}
    assert [one.name for one in listed(configs(tmp_path, files))] == ['y']
    assert 'too large' in capsys.readouterr().err


def test_links_are_not_followed(tmp_path):
    target = configs(tmp_path, {f'experiments/y/{FILE}': {}})
    work = tmp_path / 'work'
    git('clone', '-q', target.remote, work)
    (work / 'experiments' / 'x').mkdir(parents=True)
    (work / 'experiments' / 'x' / FILE).symlink_to('/etc/passwd')
    git('add', '-A', cwd=work)
    git('commit', '-qm', 'link', cwd=work)
    git('push', '-q', cwd=work)
    assert [one.name for one in listed(target)] == ['y']


def test_a_repository_without_a_commit_has_no_experiments(tmp_path):
    assert listed(targets.at_url(str(bare(tmp_path / 'me' / 'tiny-configs.git')), 'me/tiny-configs')) == []


def test_a_repository_that_is_not_there_is_an_error():
    with pytest.raises(errors.NotFoundError, match='hfmirror sync'):
        listed(Project(config(), home(), Place()).configs(targets.local(home().hub, 'me/tiny')))


# -- by a metric


def known(**metrics):
    return [
        experiment.of_document(f'experiments/{name}', {'eval_results': values})
        for name, values in metrics.items()
    ]


def test_the_highest_comes_first_and_those_without_it_last():
    found = known(a={'accuracy': 0.5}, b={}, c={'accuracy': 0.9})
    assert [one.name for one in experiment.by_metric(found, 'accuracy')] == ['c', 'a', 'b']
    assert [one.name for one in experiment.by_metric(found, 'accuracy', lowest_first=True)] == ['a', 'c', 'b']


def test_a_metric_is_also_known_without_its_prefix():
    found = known(a={'eval_accuracy': 0.5}, b={'accuracy': 0.9})
    assert [one.name for one in experiment.by_metric(found, 'accuracy')] == ['b', 'a']
    assert [one.name for one in experiment.by_metric(found, 'eval_accuracy')] == ['b', 'a']


def test_a_metric_that_nobody_has_is_an_error_that_names_those_there_are():
    with pytest.raises(errors.UsageError, match='There are: accuracy, loss'):
        experiment.by_metric(known(a={'eval_accuracy': 0.5, 'eval_loss': 1}), 'f1')
