"""The guide to the training workflow: its blocks run as they stand, in a project as it describes, against a Hub."""

from __future__ import annotations

import ast
import configparser
import json
import os
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from packaging.requirements import Requirement

from tests.support.folder import TrainingFolder, checksums
from tests.support.guide import ROOT, SCRIPTS, Guide
from tests.support.mirror import git
from tests.support.rest import new_user
from tests.test_config import PROJECT_FILE, SECOND_FILE

USER = 'your-username'
MODEL = f'{USER}/mcp-finetuned-model'
CONFIGS = f'{MODEL}-configs'


@pytest.fixture
def guide(hub, tmp_path):
    """The guide's project and its user, whose token is in the environment."""
    made = Guide(hub, tmp_path / 'project', USER)
    made.env['HF_TOKEN'] = made.token
    (made.path / 'configs').mkdir()
    (made.path / 'config.yaml').write_text(PROJECT_FILE, 'utf-8')
    (made.path / 'configs' / 'huggingface_config.yaml').write_text(SECOND_FILE, 'utf-8')
    (made.path / 'scripts').symlink_to(SCRIPTS)
    (made.path / 'run_training.sh').symlink_to(SCRIPTS / 'run_training.sh')
    return made


def train(guide, path='mcp_finetuned_model'):
    """Write what a training run leaves."""
    made = TrainingFolder(guide.path / path)
    made.write('config.json', '{"architectures": ["BertModel"], "model_type": "bert"}\n')
    made.write('eval_results.json', '{"accuracy": 0.91, "eval_loss": 0.25}\n')
    made.write('pytorch_model.bin', path.encode() * 500 + b'\0')
    return made


def tags(guide, repo=MODEL):
    return sorted(ref.name for ref in guide.api.list_repo_refs(repo).tags)


# -- logging in

MANAGER = """
from scripts.huggingface_manager import HuggingFaceManager
manager = HuggingFaceManager("config.yaml")
"""
# huggingface-cli logout and login, as they are called in huggingface_hub 2.
LOG_IN_AGAIN = """
# 重新登录
hf auth logout
hf auth login --token "$TOKEN"
"""
CHECK = """
# 或检查Token
echo $HUGGINGFACE_TOKEN

# 验证认证状态
python -c "from huggingface_hub import HfApi; print(HfApi().whoami())"
"""


@pytest.mark.heavy
def test_a_login_on_the_command_line_is_enough(guide):
    # huggingface-cli login is hf auth login in huggingface_hub 2.
    train(guide)
    guide.shell('hf auth login --token "$TOKEN"', HF_TOKEN='', TOKEN=guide.token)
    guide.python(f'{MANAGER}manager.upload_model("./mcp_finetuned_model", "v1.0.0")', HF_TOKEN='')
    assert tags(guide) == ['v1.0.0']


@pytest.mark.heavy
def test_a_login_anew_takes_the_place_of_the_one_before(guide):
    train(guide)
    guide.shell('hf auth login --token "$TOKEN"', HF_TOKEN='', TOKEN=new_user(guide.hub, 'eve'))
    guide.shell(LOG_IN_AGAIN, HF_TOKEN='', TOKEN=guide.token)
    guide.python(f'{MANAGER}manager.upload_model("./mcp_finetuned_model", "v1.0.0")', HF_TOKEN='')
    assert tags(guide) == ['v1.0.0']


def test_the_guides_variable_is_enough(guide):
    train(guide)
    guide.shell(
        f'export HUGGINGFACE_TOKEN="{guide.token}"\n'
        'python scripts/huggingface_manager.py upload-model --model-path ./mcp_finetuned_model --version-tag v1.0.0',
        HF_TOKEN='',
    )
    assert tags(guide) == ['v1.0.0']


def test_a_login_in_python_is_enough(guide):
    train(guide)
    block = f"""
from huggingface_hub import login
login(token="{guide.token}")
{MANAGER}
manager.upload_model("./mcp_finetuned_model", "v1.0.0")
"""
    guide.python(block, HF_TOKEN='')
    assert tags(guide) == ['v1.0.0']


def test_the_library_says_who_is_logged_in(guide):
    shown = guide.shell(CHECK, HUGGINGFACE_TOKEN='from the guide').out.splitlines()
    assert shown[0] == 'from the guide'
    assert USER in shown[1]


def test_a_token_that_is_not_let_in_is_answered_with_what_to_do(guide):
    train(guide)
    upload = 'python scripts/huggingface_manager.py upload-model --model-path ./mcp_finetuned_model'
    said = guide.shell(upload, code=4, HF_TOKEN='hf_' + 'x' * 34).err
    assert 'the token from HF_TOKEN was not accepted (HTTP 401)' in said and 'hf auth login' in said


# -- both ways to publish a run by hand

FROM_PYTHON = """
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

# 方法2: 分步操作
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
"""
FROM_THE_COMMAND_LINE = r"""
# 同步完整工作流
python scripts/huggingface_manager.py sync \
    --model-path ./mcp_finetuned_model \
    --experiment-name baseline_experiment \
    --version-tag v1.0.0 \
    --private

# 上传模型
python scripts/huggingface_manager.py upload-model \
    --model-path ./mcp_finetuned_model \
    --version-tag v1.0.0 \
    --commit-message "Upload fine-tuned model"

# 上传配置
python scripts/huggingface_manager.py upload-config \
    --config-file config.yaml \
    --experiment-name baseline_experiment

# 下载模型
python scripts/huggingface_manager.py download-model \
    --version-tag v1.0.0 \
    --local-dir ./downloaded_model

# 列出版本
python scripts/huggingface_manager.py list-versions

# 列出实验
python scripts/huggingface_manager.py list-experiments
"""


@pytest.mark.heavy
def test_both_ways_from_python_one_after_the_other(guide):
    train(guide)
    shown = guide.python(FROM_PYTHON).out.splitlines()
    assert [line.strip().partition(':')[0] for line in shown] == [
        '同步结果',
        'model_url',
        'config_url',
        'results_url',
    ]
    assert tags(guide) == ['v1.0.0']
    assert len(guide.api.list_repo_commits(MODEL)) == 2  # the Hub's own first one, and the release
    assert guide.api.model_info(MODEL).private and guide.api.model_info(CONFIGS).private


@pytest.mark.heavy
def test_what_the_experiment_has_after_both_ways(guide):
    train(guide)
    guide.python(FROM_PYTHON)
    files = {name for name in guide.api.list_repo_files(CONFIGS) if name.startswith('experiments/')}
    assert files == {
        f'experiments/baseline_experiment/{name}'
        for name in ('config.yaml', 'eval_results.json', 'experiment_metadata.json')
    }


@pytest.mark.heavy
def test_all_commands_one_after_the_other(guide):
    model = train(guide)
    shown = guide.shell(FROM_THE_COMMAND_LINE).out
    there = checksums(guide.path / 'downloaded_model')
    assert {name: there[name] for name in model.checksums()} == model.checksums()
    assert tags(guide) == ['v1.0.0']
    assert 'baseline_experiment  v1.0.0' in shown


# -- the automatic way


def test_what_the_training_scripts_import_is_of_the_extra_demo():
    """``pip install -r requirements.txt`` is scripts/setup demo here."""
    imported = set()
    for name in ('generate_dataset', 'train_mcp_model', 'tool_classifier', 'training_settings'):
        for node in ast.walk(ast.parse((SCRIPTS / f'{name}.py').read_text('utf-8'))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition('.')[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add(node.module.partition('.')[0])
    ours = {'hfmirror', 'tool_classifier', 'training_settings'}
    setup = configparser.ConfigParser()
    setup.read(ROOT / 'setup.cfg')
    installed = setup['options']['install_requires'] + setup['options.extras_require']['demo']
    names = {Requirement(line).name for line in installed.split('\n') if line}
    assert {
        name.replace('ruamel', 'ruamel.yaml') for name in imported - ours - sys.stdlib_module_names
    } <= names


AUTOMATIC = """
# 运行完整训练流程
./run_training.sh

# 或者分步执行
python scripts/generate_dataset.py --config config.yaml
python scripts/train_mcp_model.py --config config.yaml
# 训练完成后会自动同步到HuggingFace
"""
FLAGS = """
# 跳过HuggingFace同步
./run_training.sh --skip-hf-sync

# 强制执行HuggingFace同步（即使配置中未启用）
./run_training.sh --force-hf-sync

# 使用自定义配置并强制同步
./run_training.sh --config custom_config.yaml --force-hf-sync
"""


@pytest.mark.heavy
def test_the_whole_training_and_its_steps_make_one_release(guide):
    guide.shell(AUTOMATIC)
    assert len(tags(guide)) == 1
    assert 'experiments/baseline_experiment/experiment_metadata.json' in guide.api.list_repo_files(CONFIGS)


@pytest.mark.heavy
def test_the_flags_skip_the_sync_and_force_it(guide):
    (guide.path / 'config.yaml').write_text(PROJECT_FILE.replace('auto_sync: true', 'auto_sync: false'))
    custom = PROJECT_FILE.replace('mcp-finetuned-model', 'custom').replace(
        '  enabled: true', '  enabled: false', 1
    )
    (guide.path / 'custom_config.yaml').write_text(custom)
    told = guide.shell(FLAGS).err
    assert told.count('Not published: --skip-hf-sync') == 1
    assert len(tags(guide)) == len(tags(guide, f'{USER}/custom')) == 1


# -- troubleshooting

CREATE = """
# 检查仓库是否存在
from huggingface_hub import HfApi
api = HfApi()
try:
    repo_info = api.repo_info("username/repo-name")
    print("仓库已存在")
except:
    print("仓库不存在，可以创建")

# 手动创建仓库
api.create_repo(
    repo_id="username/repo-name",
    private=True,
    repo_type="model"
)
"""
# As in the guide, but for the three dots, in place of which it means the arguments.
UPLOAD_FAILS = """
# 启用详细日志
import logging
logging.basicConfig(level=logging.DEBUG)

# 分块上传大文件
manager.upload_model(
    model_path="./large_model",
    version_tag="v1.0.0",
    chunk_size=5*1024*1024  # 5MB chunks
)

# 重试机制
for attempt in range(3):
    try:
        result = manager.upload_model("./large_model", "v1.0.0")
        break
    except Exception as e:
        print(f"Attempt {attempt + 1} failed: {e}")
        if attempt == 2:
            raise
"""
CHECK_CONFIG = """
# 验证YAML语法
python -c "import yaml; yaml.safe_load(open('config.yaml'))"

# 检查配置完整性
python scripts/huggingface_manager.py validate-config --config config.yaml
"""
LOAD = """
# 验证模型文件
from transformers import AutoModel, AutoTokenizer

try:
    model = AutoModel.from_pretrained("./model_path")
    tokenizer = AutoTokenizer.from_pretrained("./model_path")
    print("模型文件正常")
except Exception as e:
    print(f"模型文件有问题: {e}")
"""
DEBUG = """
# 设置日志级别
export LOG_LEVEL=DEBUG

# 运行脚本
python scripts/huggingface_manager.py sync --model-path ./model
"""
SIZES = """
# 检查模型文件
import os
model_files = ['pytorch_model.bin', 'config.json', 'tokenizer.json']
for file in model_files:
    path = os.path.join('./model', file)
    if os.path.exists(path):
        size = os.path.getsize(path)
        print(f"{file}: {size} bytes")
    else:
        print(f"{file}: 缺失")
"""


@pytest.mark.heavy
def test_a_repository_made_by_the_library_is_found_and_pushed_to(guide):
    model, token = train(guide), new_user(guide.hub, 'username')
    assert guide.python(CREATE, HF_TOKEN=token).out == '仓库不存在，可以创建\n'
    assert 'You already created this model repo' in guide.python(CREATE, code=1, HF_TOKEN=token).err
    manager = 'HuggingFaceManager("config.yaml", repo="username/repo-name")'
    guide.python(f'{MANAGER}{manager}.upload_model("{model}", "v1.0.0")', HF_TOKEN=token)
    there = HfApi(endpoint=guide.hub.endpoint, token=token)
    assert [ref.name for ref in there.list_repo_refs('username/repo-name').tags] == ['v1.0.0']


@pytest.mark.heavy
def test_uploading_in_pieces_with_all_that_is_logged(guide):
    train(guide, 'large_model').write('more.bin', os.urandom(6 * 1024 * 1024))
    done = guide.python(f'{MANAGER}{UPLOAD_FAILS}')
    assert tags(guide) == ['v1.0.0']
    assert 'DEBUG' in done.err and 'debug: git ' in done.err
    assert guide.token not in done.out + done.err


@pytest.mark.heavy
def test_the_retry_loop_of_the_guide_ends_with_the_error_when_the_hub_stays_away(guide):
    train(guide, 'large_model')
    guide.hub.fail('*', 503, times=10_000)
    loop = UPLOAD_FAILS.partition('# 重试机制')[2]
    fast = {'HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES': '0'}
    done = guide.python(f'{MANAGER}{loop}', code=1, **fast)
    assert [line[:16] for line in done.out.splitlines() if line.startswith('Attempt')] == [
        'Attempt 1 failed',
        'Attempt 2 failed',
        'Attempt 3 failed',
    ]
    assert 'NetworkError' in done.err


def test_the_configuration_of_the_guide_is_checked(guide):
    assert (
        guide.shell(CHECK_CONFIG).out == 'config.yaml, configs/huggingface_config.yaml: nothing is wrong.\n'
    )


def test_a_configuration_with_a_broken_line_is_named_with_the_line(guide):
    (guide.path / 'config.yaml').write_text(PROJECT_FILE.replace('auto_sync: true', 'auto_sync: [true'))
    check = 'python scripts/huggingface_manager.py validate-config --config config.yaml'
    done = guide.shell(check, code=2)
    assert 'config.yaml:' in done.out + done.err and 'not valid YAML' in done.out + done.err


@pytest.mark.heavy
def test_what_was_downloaded_is_loaded_by_transformers(guide, minilm):
    sync = f'python scripts/huggingface_manager.py sync --model-path "{minilm}" --version-tag v1.0.0'
    guide.shell(f'{sync}\npython scripts/huggingface_manager.py download-model --local-dir ./model_path')
    assert guide.python(LOAD).out == '模型文件正常\n'


@pytest.mark.heavy
def test_a_sync_at_debug_shows_each_git_command_and_no_token(guide):
    train(guide, 'model')
    done = guide.shell(DEBUG)
    assert 'debug: git ' in done.err and 'lfs push' in done.err
    assert guide.token not in done.out + done.err


def test_the_hub_answers_to_the_two_questions_of_the_guide(guide):
    asked = """
# 测试HuggingFace连接
curl -I "$HF_ENDPOINT"

# 测试API访问
python -c "from huggingface_hub import HfApi; print(HfApi().whoami())"
"""
    shown = guide.shell(asked).out
    assert shown.startswith('HTTP/1.1 200') and USER in shown


@pytest.mark.heavy
def test_a_file_that_is_missing_is_told_from_those_that_arrived(guide):
    train(guide)
    guide.shell(
        'python scripts/huggingface_manager.py upload-model --model-path ./mcp_finetuned_model\n'
        'python scripts/huggingface_manager.py download-model --local-dir ./model'
    )
    shown = guide.python(SIZES).out.splitlines()
    assert shown[0] == f'pytorch_model.bin: {19 * 500 + 1} bytes'
    assert shown[2] == 'tokenizer.json: 缺失'


# -- good practice

MESSAGES = """
# 好的提交信息
commit_messages = [
    "feat: Add support for new MCP tools",
    "fix: Improve model stability on edge cases",
    "perf: Optimize inference speed by 20%",
    "docs: Update model card with usage examples"
]
"""
IN_PARALLEL = """
# 并行上传多个文件
import concurrent.futures

def upload_file(file_path):
    # 上传逻辑
    pass

files = ['model.bin', 'config.json', 'tokenizer.json']
with concurrent.futures.ThreadPoolExecutor(max_workers=3) as executor:
    futures = [executor.submit(upload_file, f) for f in files]
    concurrent.futures.wait(futures)
"""
# As in the guide, but for the three dots, in place of which it means the arguments.
MONITORING = """
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
    return manager.upload_model("./mcp_finetuned_model", "v1.0.0")
"""  # noqa: W293


@pytest.mark.heavy
def test_messages_of_the_guide_become_the_commits_first_lines(guide):
    block = f"""{MANAGER}{MESSAGES}
from pathlib import Path
for number, message in enumerate(commit_messages):
    Path("mcp_finetuned_model/pytorch_model.bin").write_bytes(bytes([number]) * 5000)
    manager.upload_model("./mcp_finetuned_model", f"v1.0.{{number}}", message)
"""
    train(guide)
    guide.python(block)
    messages: dict[str, list[str]] = {}
    exec(MESSAGES, messages)
    titles = [commit.title for commit in guide.api.list_repo_commits(MODEL)]
    assert titles[:4] == messages['commit_messages'][::-1]


@pytest.mark.heavy
def test_files_can_be_uploaded_side_by_side(guide):
    model = train(guide)
    for name in ('model.bin', 'tokenizer.json'):
        model.write(name, '{}')
    does = 'return manager.upload_training_results(f"./mcp_finetuned_model/{file_path}", file_path)'
    block = IN_PARALLEL.replace('pass', does)
    guide.python(f'{MANAGER}{block}print([future.result() for future in futures])')
    found = {name for name in guide.api.list_repo_files(CONFIGS) if name.endswith(('.bin', 'tokenizer.json'))}
    assert found == {'experiments/model.bin/model.bin', 'experiments/tokenizer.json/tokenizer.json'}


@pytest.mark.heavy
@pytest.mark.parametrize(('tag', 'told'), [('v1.0.0', '成功'), ('v1..0', '失败')])
def test_an_upload_can_be_watched(guide, tag, told):
    train(guide)
    block = MONITORING.replace('v1.0.0', tag)
    shown = guide.python(f'{MANAGER}{block}\nprint(upload_with_monitoring())').out.splitlines()
    assert [line.partition(':')[0] for line in shown[:2]] == ['上传耗时', '内存使用']
    assert shown[2:] == [f'上传状态: {told}', f'{guide.hub.endpoint}/{MODEL}' if told == '成功' else 'None']


@pytest.mark.heavy
def test_repositories_are_organised_as_in_the_guide(guide):
    """Configurations beside their model, and any number of other repositories of the same person."""
    model = train(guide)
    block = f"""{MANAGER}
manager = HuggingFaceManager("config.yaml", repo="your-username/mcp-model-v1")
manager.sync_training_workflow("{model}", "baseline", "v1.0.0")
manager.upload_model("{model}", "v1.0.0")
HuggingFaceManager("config.yaml", repo="your-username/mcp-experiments").upload_model("{model}", "exp-baseline-001")
"""
    guide.python(block)
    data = 'python -m hfmirror push mcp_finetuned_model --repo-type dataset --repo your-username/mcp-datasets'
    guide.shell(data)
    found = {path.stem for path in (guide.hub.root / 'models' / USER).iterdir() if path.suffix == '.git'}
    assert found == {'mcp-model-v1', 'mcp-model-v1-configs', 'mcp-experiments'}
    assert git('tag', cwd=guide.hub.root / 'datasets' / USER / 'mcp-datasets.git')


# -- keys of the configuration, of which no other test shows what comes of them


@pytest.mark.heavy
def test_the_configured_branch_is_the_one_that_is_pushed_to(guide):
    path = guide.path / 'configs' / 'huggingface_config.yaml'
    path.write_text(SECOND_FILE.replace('default_branch: "main"', 'default_branch: "dev"'))
    train(guide)
    guide.shell('python scripts/huggingface_manager.py upload-model --model-path ./mcp_finetuned_model')
    assert 'pytorch_model.bin' in guide.api.list_repo_files(MODEL, revision='dev')
    assert 'pytorch_model.bin' not in guide.api.list_repo_files(MODEL)


@pytest.mark.heavy
@pytest.mark.parametrize('included', ['true', 'false'])
def test_the_machine_is_described_when_that_is_configured(guide, included):
    path = guide.path / 'configs' / 'huggingface_config.yaml'
    path.write_text(SECOND_FILE.replace('include_system_info: true', f'include_system_info: {included}'))
    train(guide)
    guide.shell('python scripts/huggingface_manager.py sync --model-path ./mcp_finetuned_model')
    name = 'experiments/mcp_finetuned_model/experiment_metadata.json'
    told = json.loads(Path(guide.api.hf_hub_download(CONFIGS, name, local_dir='got')).read_text())
    assert ('system' in told) is (included == 'true')
