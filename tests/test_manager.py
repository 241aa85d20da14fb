"""HuggingFaceManager: the training workflow from Python, with the words of its tutorial, against a Hub and without one."""

from __future__ import annotations

import json
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hfmirror import errors
from hfmirror.config import meaning
from hfmirror.config.config import Config
from hfmirror.manager import HuggingFaceManager
from tests.support.folder import TrainingFolder, checksums
from tests.support.mirror import git, git_bytes
from tests.support.rest import new_user

MODEL = 'your-username/mcp-finetuned-model'
CONFIGS = f'{MODEL}-configs'

# The two files of the tutorial.
CONFIG = """\
training:
  learning_rate: 2.0e-5   # found by hand
  epochs: 3

huggingface:
  enabled: true                    # 启用HuggingFace集成
  config_file: "configs/huggingface_config.yaml"  # HF配置文件路径

  # 仓库设置
  repository:
    model_name: "your-username/mcp-finetuned-model"  # 模型仓库名
    private: true                  # 是否创建私有仓库
    auto_create: true             # 自动创建仓库

  # 自动同步设置
  auto_sync: true                 # 训练后自动同步
  upload_items:                   # 要上传的项目
    - model                       # 模型文件
    - config                      # 配置文件
    - results                     # 训练结果

  # 版本控制
  versioning:
    auto_tag: true                # 自动生成版本标签
    tag_format: "v{timestamp}"    # 标签格式

  # 实验跟踪
  experiment_tracking:
    enabled: true                 # 启用实验跟踪
    include_metrics: true         # 包含训练指标
"""
HUB_CONFIG = """\
user:
  username: "your-username"
  email: "your-email@example.com"

repository:
  model_repo_template: "{username}/{model_name}"
  config_repo_template: "{username}/{model_name}-configs"

settings:
  auto_create_repos: true
  default_private: true
  auto_versioning: true
  commit_message_template: "Upload {item_type} for {experiment_name}"
  default_branch: "main"
  upload:
    chunk_size: 10485760
    max_retries: 0
    retry_delay: 0
  download:
    cache_dir: "./.cache/huggingface"
    resume_download: true

sync:
  include_git_info: true
  include_system_info: true
  backup_before_upload: false

model_card:
  language: "zh"
  license: "mit"
  tags: ["mcp", "fine-tuning", "tool-calling"]
  authors:
    - name: "Your Name"
      email: "your-email@example.com"
  datasets:
    - name: "MCP Tool Calls Dataset"
      description: "Dataset for training MCP tool calling capabilities"

experiment_tracking:
  fields: ["model_name", "base_model", "training_params", "eval_results", "timestamp", "git_commit"]
  metadata_file: "experiment_metadata.json"
"""


@pytest.fixture
def tutorial(tmp_path, hub, monkeypatch):
    """The tutorial's project in the working directory, and its user on the Hub. Returns the client of that user."""
    (tmp_path / 'configs').mkdir()
    (tmp_path / 'config.yaml').write_text(CONFIG, 'utf-8')
    (tmp_path / 'configs' / 'huggingface_config.yaml').write_text(HUB_CONFIG, 'utf-8')
    token = new_user(hub, 'your-username')
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HUGGINGFACE_TOKEN', token)
    return HfApi(endpoint=hub.endpoint, token=token)


@pytest.fixture
def local(tmp_path):
    """A project of which everything stays on this machine."""
    (tmp_path / 'config.yaml').write_text(
        'training: {epochs: 3}  # few\nhuggingface:\n  repository: {model_name: me/tiny}\n  remotes: [local]\n'
    )


def train(path, accuracy=0.91):
    """Write what a training run leaves."""
    made = TrainingFolder(Path(path))
    made.write('config.json', '{"architectures": ["BertModel"], "model_type": "bert"}\n')
    made.write('eval_results.json', json.dumps({'accuracy': accuracy, 'eval_loss': 0.25}))
    made.write('model.bin', f'{path} {accuracy}'.encode() * 500 + b'\0')
    return made


def run(code, **names):
    """Run code of the tutorial as it stands; returns what it has defined."""
    exec(compile(textwrap.dedent(code), 'tutorial', 'exec'), names)
    return names


def held(repo, root='hfmirror', revision='main'):
    """Return {path: content} of a revision of a repository of the local Hub."""
    where = Path(root) / 'hub' / 'models' / f'{repo}.git'
    names = git('ls-tree', '-r', '--name-only', revision, cwd=where).splitlines()
    return {name: git_bytes('cat-file', 'blob', f'{revision}:{name}', cwd=where).decode() for name in names}


def metadata(repo, folder):
    return json.loads(held(repo)[f'experiments/{folder}/experiment_metadata.json'])


# -- the examples of the tutorial


@pytest.mark.heavy
def test_the_whole_workflow_in_one_call(tutorial, hub, capsys):
    train('./mcp_finetuned_model')
    results = run("""
        from scripts.huggingface_manager import HuggingFaceManager

        # 创建管理器
        manager = HuggingFaceManager("config.yaml")

        # 方法1: 同步完整工作流（推荐）
        results = manager.sync_training_workflow(
            model_path="./mcp_finetuned_model",
            experiment_name="baseline_experiment",
            version_tag="v1.0.0",
            private=True
        )

        print("同步结果:")
        for key, url in results.items():
            print(f"  {key}: {url}")
    """)['results']
    assert results == {
        'model_url': f'{hub.endpoint}/{MODEL}',
        'config_url': f'{hub.endpoint}/{CONFIGS}/blob/main/experiments/baseline_experiment/config.yaml',
        'results_url': f'{hub.endpoint}/{CONFIGS}/tree/main/experiments/baseline_experiment',
    }
    assert f'  model_url: {hub.endpoint}/{MODEL}\n' in capsys.readouterr().out
    assert [ref.name for ref in tutorial.list_repo_refs(MODEL).tags] == ['v1.0.0']
    assert tutorial.model_info(MODEL).private and tutorial.model_info(CONFIGS).private


@pytest.mark.heavy
def test_the_same_step_by_step(tutorial, hub):
    train('./mcp_finetuned_model')
    names = run("""
        from scripts.huggingface_manager import HuggingFaceManager
        manager = HuggingFaceManager("config.yaml")

        # 创建仓库
        manager.create_repositories(private=True)

        # 上传模型
        model_url = manager.upload_model(
            model_path="./mcp_finetuned_model",
            version_tag="v1.0.0",
            commit_message="Upload fine-tuned MCP model"
        )

        # 上传配置
        config_url = manager.upload_training_config(
            config_data=manager.config,
            experiment_name="baseline_experiment"
        )

        # 上传训练结果
        results_url = manager.upload_training_results(
            results_path="./mcp_finetuned_model/eval_results.json",
            experiment_name="baseline_experiment"
        )
    """)
    assert names['model_url'] == f'{hub.endpoint}/{MODEL}'
    assert names['config_url'].startswith(f'{hub.endpoint}/{CONFIGS}/')
    assert names['results_url'].startswith(f'{hub.endpoint}/{CONFIGS}/')
    assert tutorial.list_repo_commits(MODEL)[0].title == 'Upload fine-tuned MCP model'
    (experiment,) = names['manager'].list_experiments()
    assert (experiment.name, experiment.version) == ('baseline_experiment', 'v1.0.0')
    assert experiment.metrics == {'accuracy': 0.91, 'eval_loss': 0.25}


@pytest.mark.heavy
def test_a_semantic_a_timestamp_and_an_experiment_version(tutorial):
    manager = HuggingFaceManager('config.yaml')
    model = train('./model')
    run(
        """
        manager.upload_model(
            model_path="./model",
            version_tag="v1.2.3",  # major.minor.patch
            commit_message="Fix training stability issues"
        )
        """,
        manager=manager,
    )
    model.write('model.bin', b'\1' * 900)
    stamp = run(
        """
        # 自动生成时间戳版本
        from datetime import datetime
        timestamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        version_tag = f"v{timestamp}"

        manager.upload_model(
            model_path="./model",
            version_tag=version_tag
        )
        """,
        manager=manager,
    )['version_tag']
    model.write('model.bin', b'\2' * 900)
    run(
        """
        manager.upload_model(
            model_path="./model",
            version_tag="exp-baseline-001",
            commit_message="Baseline experiment with default parameters"
        )
        """,
        manager=manager,
    )
    assert {one.name for one in manager.list_versions()} == {'v1.2.3', stamp, 'exp-baseline-001'}


def test_a_card_with_sections_of_its_own(tutorial):
    train('./model')
    run(
        """
        # 生成自定义模型卡片
        model_card = manager.generate_model_card(
            model_path="./model",
            version_tag="v1.0.0",
            custom_sections={
                "limitations": "This model may have biases...",
                "ethical_considerations": "Please use responsibly...",
                "training_data": "Trained on MCP tool calling dataset..."
            }
        )

        # 保存模型卡片
        with open("MODEL_CARD.md", "w", encoding="utf-8") as f:
            f.write(model_card)
        """,
        manager=HuggingFaceManager('config.yaml'),
    )
    card = Path('MODEL_CARD.md').read_text('utf-8')
    for expected in ('license: mit', '# mcp-finetuned-model', '## Limitations', '## Ethical considerations'):
        assert expected in card
    assert '## Training data\n\nTrained on MCP tool calling dataset...' in card
    assert '`v1.0.0`' in card and 'Your Name' in card


def test_a_card_asks_no_hub_whose_a_name_without_a_namespace_is(tutorial, hub):
    train('./model')
    hub.forget()
    manager = HuggingFaceManager({'repository': {'model_name': 'tiny'}, 'remotes': ['hub']})
    assert 'tiny' in manager.generate_model_card('./model')
    assert hub.requests('*') == []


def test_a_card_is_that_of_the_folder_in_which_the_model_is(local):
    train('./model')
    layout = {
        'layout': {'path_in_repo': 'weights'},
        'repository': {'model_name': 'me/tiny'},
        'remotes': ['local'],
    }
    manager = HuggingFaceManager(layout)
    card = manager.generate_model_card('./model', 'v1.0.0')
    manager.upload_model('./model', 'v1.0.0')
    there = held('me/tiny')['README.md']
    assert [line for line in card.splitlines() if 'weights' in line]
    assert [line for line in card.splitlines() if 'weights' in line] == [
        line for line in there.splitlines() if 'weights' in line
    ]


@pytest.mark.heavy
def test_many_experiments_one_after_the_other(tutorial, capsys):
    for number, accuracy in enumerate((0.81, 0.92, 0.97), start=1):
        train(f'./exp{number}', accuracy)
    manager = HuggingFaceManager('config.yaml')
    run(
        """
        # 批量上传多个实验
        experiments = [
            {"path": "./exp1", "name": "baseline", "tag": "v1.0.0"},
            {"path": "./exp2", "name": "optimized", "tag": "v1.1.0"},
            {"path": "./exp3", "name": "final", "tag": "v2.0.0"}
        ]

        for exp in experiments:
            results = manager.sync_training_workflow(
                model_path=exp["path"],
                experiment_name=exp["name"],
                version_tag=exp["tag"]
            )
            print(f"Uploaded {exp['name']}: {results['model_url']}")
        """,
        manager=manager,
    )
    assert capsys.readouterr().out.count('Uploaded ') == 3
    told = {one.name: (one.version, one.metrics['accuracy']) for one in manager.list_experiments()}
    assert told == {'baseline': ('v1.0.0', 0.81), 'optimized': ('v1.1.0', 0.92), 'final': ('v2.0.0', 0.97)}


@pytest.mark.parametrize(('accuracy', 'versions'), [(0.91, ['v1.0.0']), (0.8, None)])
def test_only_what_is_good_enough_is_synced(local, accuracy, versions):
    train('./model', accuracy)
    manager = HuggingFaceManager('config.yaml')
    run(
        """
        # 只在满足条件时同步
        def should_sync(eval_results):
            return eval_results.get("accuracy", 0) > 0.8

        # 在训练脚本中
        if should_sync(eval_results):
            manager.sync_training_workflow(
                model_path=output_dir,
                experiment_name="high_accuracy_model",
                version_tag="v1.0.0"
            )
        """,
        manager=manager,
        output_dir='./model',
        eval_results={'accuracy': accuracy},
    )
    if versions is None:
        with pytest.raises(errors.NotFoundError, match='no such repository'):
            manager.list_versions()
    else:
        assert [one.name for one in manager.list_versions()] == versions


def test_a_large_file_read_in_pieces(local):
    train('./large_model')
    manager = HuggingFaceManager('config.yaml')
    run(
        """
        # 分块上传大文件
        manager.upload_model(
            model_path="./large_model",
            version_tag="v1.0.0",
            chunk_size=5*1024*1024  # 5MB chunks
        )
        """,
        manager=manager,
    )
    assert [one.name for one in manager.list_versions()] == ['v1.0.0']


@pytest.mark.heavy
def test_the_retry_loop_ends_when_the_hub_is_back(tutorial, hub, capsys):
    train('./model')
    manager = HuggingFaceManager('config.yaml')
    hub.fail('* /git-receive-pack', 503, times=1)
    names = run(
        """
        # 重试机制
        for attempt in range(3):
            try:
                result = manager.upload_model('./model', version_tag='v1.0.0')
                break
            except Exception as e:
                print(f"Attempt {attempt + 1} failed: {e}")
                if attempt == 2:
                    raise
        """,
        manager=manager,
    )
    assert (names['attempt'], names['result']) == (1, f'{hub.endpoint}/{MODEL}')
    assert "Send it with 'hfmirror resume'" in capsys.readouterr().out.replace('send it', 'Send it')
    assert [ref.name for ref in tutorial.list_repo_refs(MODEL).tags] == ['v1.0.0']


def test_an_upload_that_is_watched(local, capsys):
    pytest.importorskip('psutil')
    train('./model')
    names = run(
        """
        # 添加监控
        import time
        import psutil

        def monitor_upload(func):
            def wrapper(*args, **kwargs):
                start_time = time.time()
                start_memory = psutil.virtual_memory().used

                try:
                    result = func(*args, **kwargs)
                    success = True
                except Exception as e:
                    result = None
                    success = False

                end_time = time.time()
                end_memory = psutil.virtual_memory().used

                print(f"上传耗时: {end_time - start_time:.2f}秒")
                print(f"内存使用: {(end_memory - start_memory) / 1024 / 1024:.2f}MB")
                print(f"上传状态: {'成功' if success else '失败'}")

                return result
            return wrapper

        # 使用装饰器
        @monitor_upload
        def upload_with_monitoring():
            return manager.upload_model('./model', version_tag='v1.0.0')

        url = upload_with_monitoring()
        """,
        manager=HuggingFaceManager('config.yaml'),
    )
    assert names['url'].endswith('me/tiny.git')
    assert '上传状态: 成功' in capsys.readouterr().out


def test_validating_the_configuration(tutorial):
    assert HuggingFaceManager('config.yaml').validate_config() is True


# -- what a sync leaves on the Hub


@pytest.mark.heavy
def test_model_and_experiment_are_linked_both_ways(tutorial, hub):
    train('./model')
    HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline', 'v1.0.0')
    card = Path(tutorial.hf_hub_download(MODEL, 'README.md', local_dir='got')).read_text()
    assert f'[baseline]({hub.endpoint}/{CONFIGS}/tree/main/experiments/baseline)' in card
    model = metadata(CONFIGS, 'baseline')['model']
    tags = tutorial.list_repo_refs(MODEL).tags
    assert model == {
        'repo_id': MODEL,
        'version': 'v1.0.0',
        'commit': tags[0].target_commit,
        'url': f'{hub.endpoint}/{MODEL}',
    }


@pytest.mark.heavy
def test_the_configuration_keeps_its_comments(tutorial):
    train('./model')
    HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline')
    assert held(CONFIGS)['experiments/baseline/config.yaml'] == CONFIG


@pytest.mark.heavy
def test_commits_are_called_as_the_template_says(tutorial):
    train('./model')
    HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline')
    assert tutorial.list_repo_commits(MODEL)[0].title == 'Upload model for baseline'
    assert tutorial.list_repo_commits(CONFIGS)[0].title == 'Upload config and results for baseline'


def test_every_field_that_a_template_may_have_is_filled_in(tutorial, tmp_path):
    template = ' '.join(f'{{{name}}}' for name in meaning.MESSAGE_FIELDS)
    path = tmp_path / 'configs' / 'huggingface_config.yaml'
    path.write_text(path.read_text('utf-8').replace('Upload {item_type} for {experiment_name}', template))
    train('./model')
    HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline', 'v1.0.0')
    assert tutorial.list_repo_commits(MODEL)[0].title == 'model baseline v1.0.0'


@pytest.mark.heavy
def test_without_a_tag_the_configuration_names_the_version(tutorial):
    train('./model')
    manager = HuggingFaceManager('config.yaml')
    manager.sync_training_workflow('./model', 'baseline')
    (version,) = manager.list_versions()
    assert (version.kind, version.name) == ('timestamp', metadata(CONFIGS, 'baseline')['model']['version'])


@pytest.mark.heavy
def test_a_stranger_sees_neither_repository(tutorial, hub):
    train('./model')
    HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline')
    stranger = HfApi(endpoint=hub.endpoint, token=new_user(hub, 'eve'))
    assert not stranger.repo_exists(MODEL) and not stranger.repo_exists(CONFIGS)


def test_a_token_that_is_given_is_used(tutorial, monkeypatch):
    monkeypatch.delenv('HUGGINGFACE_TOKEN')
    train('./model')
    HuggingFaceManager('config.yaml', token=tutorial.token).upload_model('./model', 'v1.0.0')
    assert tutorial.repo_exists(MODEL)


def test_without_a_token_all_stays_in_the_local_hub(tutorial, monkeypatch, capsys):
    monkeypatch.delenv('HUGGINGFACE_TOKEN')
    train('./model')
    urls = HuggingFaceManager('config.yaml').sync_training_workflow('./model', 'baseline', 'v1.0.0')
    assert urls['model_url'].startswith('file://')
    assert capsys.readouterr().err.count('no Hugging Face token found') == 1


# -- what it is made with


def test_it_is_imported_from_the_top():
    from hfmirror import HuggingFaceManager as FromTop

    assert FromTop is HuggingFaceManager


def test_a_dictionary_in_place_of_a_file():
    train('./model')
    values = {'seed': 7, 'huggingface': {'repository': {'model_name': 'me/tiny'}, 'remotes': ['local']}}
    manager = HuggingFaceManager(values)
    manager.sync_training_workflow('./model', 'baseline', 'v1.0.0')
    assert manager.config == values
    assert held('me/tiny-configs')['experiments/baseline/config.yaml'].startswith('seed: 7\nhuggingface:\n')


def test_a_config_in_place_of_a_file():
    train('./model')
    config = Config.model_validate({'repository': {'model_name': 'me/tiny'}, 'remotes': ['local']})
    HuggingFaceManager(config).upload_model('./model', 'v1.0.0')
    assert 'model.bin' in held('me/tiny')


def test_without_a_configuration_the_defaults_hold():
    train('./model')
    manager = HuggingFaceManager(repo='me/tiny', remotes=['local'])
    manager.sync_training_workflow('./model', 'baseline')
    assert [one.name for one in manager.list_versions()] == ['v0.1.0']
    assert 'experiments/baseline/eval_results.json' in held('me/tiny-configs')


def test_a_file_that_is_not_there_is_an_error():
    with pytest.raises(errors.ConfigError, match=r'config\.yaml'):
        HuggingFaceManager('config.yaml')


def test_wrong_values_are_told_at_once(tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {auto_sink: true, remotes: 5}\n')
    with pytest.raises(errors.ConfigError) as raised:
        HuggingFaceManager('config.yaml')
    assert 'auto_sink' in str(raised.value) and 'remotes' in str(raised.value)


def test_validating_reads_the_file_again(local, tmp_path):
    manager = HuggingFaceManager('config.yaml')
    (tmp_path / 'config.yaml').write_text('huggingface: {auto_sink: true}\n')
    with pytest.raises(errors.ConfigError, match='auto_sink'):
        manager.validate_config()


@pytest.mark.parametrize('size', [0, 10**12, 'many'])
def test_a_chunk_size_that_makes_no_sense_is_refused(local, size):
    train('./model')
    with pytest.raises(errors.UsageError, match='chunk_size'):
        HuggingFaceManager('config.yaml').upload_model('./model', chunk_size=size)


# -- one call after the other


def test_configuration_values_of_other_types_become_yaml(local):
    numpy = pytest.importorskip('numpy')
    values = {'rate': numpy.float64(0.5), 'out': Path('x'), 'sizes': (1, 2), 'name': '基线'}
    HuggingFaceManager('config.yaml').upload_training_config(values, 'baseline')
    written = held('me/tiny-configs')['experiments/baseline/config.yaml']
    assert written == 'rate: 0.5\nout: x\nsizes:\n- 1\n- 2\nname: 基线\n'


@pytest.mark.parametrize('given', [True, False])
def test_a_configuration_that_was_changed_is_kept_as_it_is_now(local, given):
    train('./model')
    manager = HuggingFaceManager('config.yaml')
    manager.config['training']['epochs'] = 99
    values = manager.config if given else None
    manager.sync_training_workflow('./model', 'baseline', config_data=values)
    assert 'epochs: 99\n' in held('me/tiny-configs')['experiments/baseline/config.yaml']
    assert metadata('me/tiny-configs', 'baseline')['training_params'] == {'epochs': 99}


def test_a_copy_of_the_configuration_is_kept_as_the_file_is_written(local):
    manager = HuggingFaceManager('config.yaml')
    manager.upload_training_config(json.loads(json.dumps(manager.config)), 'baseline')
    assert '# few' in held('me/tiny-configs')['experiments/baseline/config.yaml']


def test_a_tag_of_another_program_leaves_the_configuration_there(local, tmp_path):
    path = tmp_path / 'config.yaml'
    path.write_text(f'{path.read_text()}data: !join [a, b]\n')
    config = HuggingFaceManager('config.yaml').config
    assert (config['training'], config['data']) == ({'epochs': 3}, ['a', 'b'])


def test_a_configuration_of_which_something_cannot_be_read_is_told_once(local, tmp_path, capsys):
    path = tmp_path / 'config.yaml'
    path.write_text(f'seed: 1\nseed: 2\n{path.read_text()}')
    train('./model')
    manager = HuggingFaceManager('config.yaml')
    manager.sync_training_workflow('./model', 'baseline')
    assert manager.config['seed'] == 1
    assert capsys.readouterr().err.count('given twice') == 1


def test_a_configuration_that_contains_itself_is_refused(local):
    values = {}
    values['self'] = values
    with pytest.raises(errors.UsageError, match='contains itself'):
        HuggingFaceManager('config.yaml').upload_training_config(values, 'baseline')


def test_results_come_to_what_is_known_of_the_experiment(local, tmp_path):
    (tmp_path / 'test.json').write_text('{"accuracy": 0.7}')
    HuggingFaceManager('config.yaml').upload_training_config({'training': {'epochs': 9}}, 'baseline')
    HuggingFaceManager('config.yaml').upload_training_results('test.json', 'baseline')
    told = metadata('me/tiny-configs', 'baseline')
    assert told['eval_results'] == {'accuracy': 0.7}
    assert {'config.yaml', 'test.json'} <= {name.rpartition('/')[2] for name in held('me/tiny-configs')}


def test_a_folder_of_results_keeps_its_name(local, tmp_path):
    plots = TrainingFolder(tmp_path / 'plots')
    plots.write('loss/a.svg', '<svg/>')
    HuggingFaceManager('config.yaml').upload_training_results('plots', 'baseline')
    assert held('me/tiny-configs')['experiments/baseline/plots/loss/a.svg'] == '<svg/>'


def test_results_that_are_not_there_are_an_error(local):
    with pytest.raises(errors.UsageError, match='no such file'):
        HuggingFaceManager('config.yaml').upload_training_results('nowhere.json', 'baseline')


def test_creating_repositories_twice_does_no_harm(tutorial, hub):
    manager = HuggingFaceManager('config.yaml')
    first = manager.create_repositories(private=True)
    assert manager.create_repositories(private=True) == first
    assert first == {'model_url': f'{hub.endpoint}/{MODEL}', 'config_url': f'{hub.endpoint}/{CONFIGS}'}


def test_a_model_comes_back_as_it_was(local, tmp_path):
    model = train('./model')
    manager = HuggingFaceManager('config.yaml')
    manager.upload_model('./model', 'v1.0.0')
    assert manager.download_model('v1.0.0', './back') == 'back'
    there = checksums(tmp_path / 'back')
    assert {name: there[name] for name in model.checksums()} == model.checksums()


def test_without_a_folder_a_model_goes_to_the_configured_cache(tmp_path):
    model = train('./model')
    values = {'settings': {'download': {'cache_dir': './cache'}}}
    manager = HuggingFaceManager({'huggingface': values}, repo='me/tiny', remotes=['local'])
    manager.upload_model('./model', 'v1.0.0')
    snapshot = Path(manager.download_model())
    assert snapshot.is_relative_to(tmp_path / 'cache' / 'models--me--tiny')
    assert (snapshot / 'model.bin').read_bytes() == (model.path / 'model.bin').read_bytes()


@pytest.mark.heavy
def test_several_remotes_get_the_same(tmp_path, hub, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    monkeypatch.setenv(
        'HFMIRROR_HOME', str(tmp_path / 'other')
    )  # whose local Hub is not the one that is served
    train('./model')
    manager = HuggingFaceManager(repo='local/tiny', remotes=['hub', 'local'])
    urls = manager.sync_training_workflow('./model', 'baseline', 'v1.0.0')
    assert urls['model_url'] == f'{hub.endpoint}/local/tiny'
    for root in ('hfmirror', 'other'):
        assert 'experiments/baseline/config.yaml' not in held('local/tiny-configs', root)
        assert 'experiments/baseline/eval_results.json' in held('local/tiny-configs', root)


def test_what_others_wrote_into_the_metadata_does_no_harm(local, tmp_path):
    manager = HuggingFaceManager('config.yaml')
    manager.upload_training_config({'a': 1}, 'baseline')
    remote, work = tmp_path / 'hfmirror/hub/models/me/tiny-configs.git', tmp_path / 'work'
    git('clone', '-q', remote, work)
    (work / 'experiments/baseline/experiment_metadata.json').write_text(
        '{"mine": "kept", "loss": NaN, "text": "\\ud800", "model": 5, "timestamp": [1]}'
    )
    git('commit', '-qam', 'by hand', cwd=work)
    git('push', '-q', cwd=work)
    manager.upload_training_config({'a': 2}, 'baseline')
    told = metadata('me/tiny-configs', 'baseline')
    assert (told['mine'], told['experiment_name'], told['model']) == (
        'kept',
        'baseline',
        {'repo_id': 'me/tiny'},
    )
    assert 'loss' not in told


@pytest.mark.heavy
def test_what_is_kept_is_of_the_model_that_was_uploaded_last(local):
    train('./one', 0.5)
    train('./two', 0.6)
    manager = HuggingFaceManager('config.yaml')
    manager.upload_model('./one', 'v1.0.0')
    manager.upload_training_config(manager.config, 'first')
    manager.upload_model('./two', 'v2.0.0')
    manager.upload_training_config(manager.config, 'second')
    told = {one.name: (one.version, one.metrics['accuracy']) for one in manager.list_experiments()}
    assert told == {'first': ('v1.0.0', 0.5), 'second': ('v2.0.0', 0.6)}


@pytest.mark.heavy
def test_experiments_may_be_synced_from_several_threads(local):
    manager, names = HuggingFaceManager('config.yaml'), [f'run{number}' for number in range(4)]
    for name in names:
        train(f'./{name}')
    with ThreadPoolExecutor(max_workers=3) as pool:
        done = list(pool.map(lambda name: manager.sync_training_workflow(f'./{name}', name), names))
    assert all(urls['model_url'] for urls in done)
    assert {one.name for one in manager.list_experiments()} == set(names)
    assert len(manager.list_versions()) == 4
