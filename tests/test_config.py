"""What is configured: the project file, the one it names, variables, the person's own file, and which of them counts."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import hfmirror
from hfmirror.config import meaning, tokens
from hfmirror.config.config import Upload, Versioning
from hfmirror.config.keys import expected, keys
from hfmirror.config.loading import config_from, effective, inspect, load_config
from hfmirror.config.places import home, user_file
from hfmirror.config.schema import descriptions, json_schema
from hfmirror.config.variables import variable_of
from hfmirror.errors import ConfigError

# The two files of the training guide as they stand there.
PROJECT_FILE = """\
# 其他配置...

# HuggingFace集成配置
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
"""  # noqa: W293
SECOND_FILE = """\
# 用户信息
user:
  username: "your-username"       # HuggingFace用户名
  email: "your-email@example.com" # 邮箱地址

# 仓库模板
repository:
  model_repo_template: "{username}/{model_name}"           # 模型仓库模板
  config_repo_template: "{username}/{model_name}-configs"  # 配置仓库模板

# 上传/下载设置
settings:
  auto_create_repos: true         # 自动创建仓库
  default_private: true           # 默认私有仓库
  auto_versioning: true           # 自动版本管理
  commit_message_template: "Upload {item_type} for {experiment_name}"  # 提交信息模板
  default_branch: "main"          # 默认分支
  
  # 上传设置
  upload:
    chunk_size: 10485760          # 上传块大小 (10MB)
    max_retries: 3                # 最大重试次数
    retry_delay: 5                # 重试延迟 (秒)
  
  # 下载设置
  download:
    cache_dir: "./.cache/huggingface"  # 缓存目录
    resume_download: true         # 断点续传

# 同步选项
sync:
  include_git_info: true          # 包含Git信息
  include_system_info: true       # 包含系统信息
  backup_before_upload: false     # 上传前备份

# 模型卡片元数据
model_card:
  language: "zh"                  # 语言
  license: "mit"                  # 许可证
  tags:                           # 标签
    - "mcp"
    - "fine-tuning"
    - "tool-calling"
  
  # 作者信息
  authors:
    - name: "Your Name"
      email: "your-email@example.com"
  
  # 数据集信息
  datasets:
    - name: "MCP Tool Calls Dataset"
      description: "Dataset for training MCP tool calling capabilities"

# 版本控制规则
versioning:
  semantic_versioning: true       # 使用语义化版本
  auto_increment: "patch"         # 自动递增级别
  tag_prefix: "v"                 # 标签前缀
  
  # 版本格式
  formats:
    timestamp: "v{year}{month:02d}{day:02d}-{hour:02d}{minute:02d}{second:02d}"
    semantic: "v{major}.{minor}.{patch}"

# 实验跟踪
experiment_tracking:
  fields:                         # 要跟踪的字段
    - "model_name"
    - "base_model"
    - "training_params"
    - "eval_results"
    - "timestamp"
    - "git_commit"
  
  metadata_file: "experiment_metadata.json"  # 元数据文件名

# 备份设置
backup:
  enabled: false                 # 启用备份
  local_backup_dir: "./backups"   # 本地备份目录
  keep_backups: 5                 # 保留备份数量

# 通知设置
notifications:
  enabled: false                 # 启用通知
  webhook_url: ""                 # Webhook URL
  email_notifications: false     # 邮件通知
"""  # noqa: W293


def load(tmp_path, text):
    path = tmp_path / 'config.yaml'
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def below(text):
    """Write a project file with ``text`` below ``huggingface:``."""
    lines = ''.join(f'  {line}\n' for line in text.splitlines())
    Path('config.yaml').write_text(f'huggingface:\n{lines}')


def source(key):
    return next(setting.source for setting in effective() if setting.key == key)


@pytest.fixture
def documented():
    """The two files of the training guide, in the working directory."""
    Path('configs').mkdir()
    Path('config.yaml').write_text(PROJECT_FILE, 'utf-8')
    Path('configs/huggingface_config.yaml').write_text(SECOND_FILE, 'utf-8')


# -- files


def test_without_a_file_there_are_defaults():
    found = load_config()
    assert (found.versioning.auto_increment, found.versioning.tag_prefix, found.remotes) == ('minor', 'v', [])
    assert found.settings.default_branch == 'main' and found.repository.model_name is None


def test_the_file_of_the_working_directory_is_read():
    below('remotes: [local]')
    assert load_config().remotes == ['local']


def test_every_key_is_read(tmp_path):
    found = load(
        tmp_path,
        """
huggingface:
  repository: {model_name: me/x}
  versioning: {auto_tag: false, tag_format: 'v{timestamp}', auto_increment: patch, tag_prefix: rel-}
  settings: {default_branch: dev, upload: {max_retries: 1, retry_delay: 0}}
  remotes: [local, https://h/me/x]
""",
    )
    assert found.repository.model_name == 'me/x'
    assert found.versioning == Versioning(
        auto_tag=False, tag_format='v{timestamp}', auto_increment='patch', tag_prefix='rel-'
    )
    assert found.settings.upload == Upload(max_retries=1, retry_delay=0)


@pytest.mark.parametrize(
    'text',
    [
        '',
        '# only a comment\n',
        'model: {lr: 1}\n',
        '[]',
        '5',
        'huggingface:\n',
        'huggingface:\n  repository:\n  remotes:\n',
        '\ufeff{}',
        'model: !mine {x: !!python/name:os.system }\nx: 1\nx: 2\ntoken: abc\nhuggingface_hub: 5\n',
    ],
)
def test_a_file_of_other_things_is_no_fault(tmp_path, text):
    assert load(tmp_path, text).remotes == []
    assert {setting.source for setting in effective()} == {'default'}


def test_the_two_files_of_the_document_are_right(documented):
    assert inspect().problems == []
    assert inspect().files == ['config.yaml', 'configs/huggingface_config.yaml']


def test_every_value_of_the_document_is_as_it_is_written(documented, tmp_path):
    from ruamel.yaml import YAML

    def check(written, found):
        if isinstance(written, dict):
            for key, value in written.items():
                check(value, getattr(found, key))
        elif isinstance(written, list) and written and isinstance(written[0], dict):
            assert [one.model_dump(exclude_none=True) for one in found] == written
        elif isinstance(written, str) and written.startswith('./'):
            assert found == str(tmp_path / written)
        else:
            assert found == ([written] if isinstance(found, list) and isinstance(written, str) else written)

    yaml, found = YAML(typ='safe', pure=True), load_config()
    check(yaml.load(PROJECT_FILE)['huggingface'], found)
    check(yaml.load(SECOND_FILE), found)


def test_every_key_of_the_document_comes_from_its_line(documented):
    assert source('versioning.tag_format') == 'config.yaml:24'
    assert source('model_card.datasets') == 'configs/huggingface_config.yaml:51'


def test_a_value_is_as_yaml_1_2_has_it(tmp_path):
    found = load(
        tmp_path,
        'huggingface:\n  model_card:\n    language: no\n    tags: [yes, 2024-01-01]\n'
        '  settings: {upload: {chunk_size: 0x100000, retry_delay: 1e1}}\n',
    )
    assert (found.model_card.language, found.model_card.tags) == (['no'], ['yes', '2024-01-01'])
    assert found.settings.upload == Upload(chunk_size=1024 * 1024, retry_delay=10.0)


def test_aliases_and_merged_keys_mean_what_yaml_says(tmp_path):
    found = load(
        tmp_path,
        """
common: &common {name: Ada, email: ada@example.org}
huggingface:
  model_card:
    authors: [*common, {<<: *common, name: Grace}]
""",
    )
    assert [(one.name, one.email) for one in found.model_card.authors] == [
        ('Ada', 'ada@example.org'),
        ('Grace', 'ada@example.org'),
    ]


def test_windows_line_ends_and_a_mark_at_the_beginning_change_nothing(tmp_path):
    found = load(tmp_path, '\ufeffhuggingface:\r\n  remotes:\r\n    - local\r\n')
    assert found.remotes == ['local']


# -- which one counts


def test_the_project_file_counts_before_the_one_it_names():
    Path('more.yaml').write_text('versioning: {auto_increment: major, tag_prefix: x}\n')
    below('config_file: more.yaml\nversioning: {auto_increment: patch}')
    assert load_config().versioning == Versioning(auto_increment='patch', tag_prefix='x')


def test_the_file_it_names_counts_before_the_persons_own():
    user_file().parent.mkdir(parents=True)
    user_file().write_text('user: {username: from-home, email: a@b.org}\n')
    Path('more.yaml').write_text('user: {username: from-project}\n')
    below('config_file: more.yaml')
    assert load_config().user.username == 'from-project'
    assert load_config().user.email == 'a@b.org' and source('user.email') == f'{user_file()}:1'


def test_the_persons_own_file_counts_without_a_project_file():
    user_file().parent.mkdir(parents=True)
    user_file().write_text('editor: vim\nhuggingface:\n  remotes: [local]\n')
    assert load_config().remotes == ['local']


def test_dot_env_counts_before_files():
    below('auto_sync: false')
    Path('.env').write_text('HFMIRROR_AUTO_SYNC=true\n')
    assert load_config().auto_sync is True and source('auto_sync') == 'HFMIRROR_AUTO_SYNC in .env'


def test_the_environment_counts_before_dot_env(monkeypatch):
    Path('.env').write_text('HFMIRROR_AUTO_SYNC=true\n')
    monkeypatch.setenv('HFMIRROR_AUTO_SYNC', 'false')
    assert load_config().auto_sync is False and source('auto_sync') == 'HFMIRROR_AUTO_SYNC'


def test_an_empty_variable_sets_nothing(monkeypatch):
    below('auto_sync: true')
    monkeypatch.setenv('HFMIRROR_AUTO_SYNC', '')
    assert load_config().auto_sync is True


def test_a_list_takes_the_place_of_a_list():
    Path('more.yaml').write_text('remotes: [hub, local]\n')
    below('config_file: more.yaml\nremotes: [local]')
    assert load_config().remotes == ['local']


def test_sections_of_a_card_come_from_both_files_in_their_order():
    Path('more.yaml').write_text('model_card: {sections: {b: "1", a: "2"}}\n')
    below('config_file: more.yaml\nmodel_card: {sections: {c: "3", b: "4"}}')
    assert list(load_config().model_card.sections.items()) == [('b', '4'), ('a', '2'), ('c', '3')]


def test_a_key_without_a_value_says_nothing():
    Path('more.yaml').write_text('versioning: {auto_increment: major}\n')
    below('config_file: more.yaml\nversioning:\n  auto_increment:')
    assert load_config().versioning.auto_increment == 'major'


def test_the_username_of_other_tools_is_ours(monkeypatch):
    below('user: {username: ada}')
    monkeypatch.setenv('HF_USERNAME', 'grace')
    assert load_config().user.username == 'grace'
    monkeypatch.setenv('HFMIRROR_USER__USERNAME', 'alan')
    assert load_config().user.username == 'alan'


@pytest.mark.parametrize(
    ('key', 'text', 'value'),
    [
        ('auto_sync', 'yes', True),
        ('auto_sync', '1', True),
        ('repository.private', 'OFF', False),
        ('remotes', 'local', ['local']),
        ('remotes', '[hub, local]', ['hub', 'local']),
        ('versioning.tag_prefix', '5', '5'),
        ('model_card.tags', '2024', ['2024']),
        ('settings.upload.retry_delay', '3', 3.0),
        ('model_card.authors', '[{name: Ada}]', [{'name': 'Ada', 'email': None}]),
        ('model_card.sections', '{usage: as it is}', {'usage': 'as it is'}),
        ('repository.model_name', 'true', 'true'),
        ('versioning.auto_increment', 'major', 'major'),
    ],
)
def test_a_variable_is_read_as_its_key_takes_it(monkeypatch, key, text, value):
    monkeypatch.setenv(variable_of(key), text)
    assert {setting.key: setting.value for setting in effective()}[key] == value


def test_a_configuration_of_values_is_overlaid_as_a_file_is(monkeypatch, tmp_path):
    monkeypatch.setenv('HFMIRROR_VERSIONING__AUTO_INCREMENT', 'major')
    found = config_from(
        {'model': 5, 'huggingface': {'versioning': {'auto_increment': 'patch'}, 'remotes': ['local']}}
    )
    assert (found.versioning.auto_increment, found.remotes) == ('major', ['local'])


def test_a_configuration_of_values_needs_no_section_around_it(tmp_path):
    found = config_from({'backup': {'local_backup_dir': 'b'}}, folder=tmp_path / 'p')
    assert found.backup.local_backup_dir == str(tmp_path / 'p' / 'b')


def test_what_is_wrong_with_a_configuration_of_values_is_named():
    with pytest.raises(ConfigError, match=r'configuration: huggingface\.auto_sink: unknown key'):
        config_from({'auto_sink': True})


# -- variables in values


def test_a_variable_in_a_value_is_filled_in(monkeypatch):
    monkeypatch.setenv('WHO', 'ada')
    Path('.env').write_text('WHO=grace\nWHERE=example.org\n')
    below('user: {username: "${WHO}", email: "${WHO}@${WHERE}"}')
    assert (load_config().user.username, load_config().user.email) == ('ada', 'ada@example.org')


def test_a_variable_of_the_environment_is_taken_as_it_is(monkeypatch):
    monkeypatch.setenv('HFMIRROR_MODEL_CARD__SECTIONS', '{usage: "${HOME} and $${X}"}')
    assert load_config().model_card.sections == {'usage': '${HOME} and $${X}'}


@pytest.mark.parametrize(('written', 'found'), [('${NO:-x}', 'x'), ('$${NO}', '${NO}'), ('a$b', 'a$b')])
def test_what_is_no_variable_stays(written, found):
    below(f'model_card: {{sections: {{usage: "{written}"}}}}')
    assert load_config().model_card.sections == {'usage': found}


def test_a_variable_that_is_empty_is_empty_or_its_default(monkeypatch):
    monkeypatch.setenv('EMPTY', '')
    below('user: {username: "${EMPTY}", email: "${EMPTY:-a@b.org}"}')
    assert (load_config().user.username, load_config().user.email) == ('', 'a@b.org')


def test_a_variable_in_a_number_or_truth_is_read_as_one(monkeypatch):
    monkeypatch.setenv('TRIES', '7')
    below(
        'settings: {upload: {max_retries: "${TRIES}"}}\nauto_sync: ${SYNC:-yes}\nremotes: "${R:-[hub, local]}"'
    )
    found = load_config()
    assert (found.settings.upload.max_retries, found.auto_sync) == (7, True)
    assert found.remotes == ['hub', 'local']


def test_a_password_of_the_environment_is_used_and_not_shown(monkeypatch):
    monkeypatch.setenv('MAIL_PASSWORD', 'kd83hsk2xyz')
    below('notifications: {email_url: "mailtos://ada:${MAIL_PASSWORD}@smtp.example.org/?to=x"}')
    assert load_config().notifications.email_url == 'mailtos://ada:kd83hsk2xyz@smtp.example.org/?to=x'
    shown = {setting.key: setting.value for setting in effective()}['notifications.email_url']
    assert shown == 'mailtos://smtp.example.org/***'


@pytest.mark.parametrize('password', ['s3cr/et#x', 's3cr?et', 's3c@ret', 's3c@r/e', 'a://b', '@', '#@?/'])
def test_no_part_of_a_password_is_shown_whatever_signs_are_in_it(password):
    shown = tokens.masked(
        'notifications.email_url', f'mailtos://ada:{password}@smtp.example.org/?to=me@example.org'
    )
    assert shown == 'mailtos://***'


def test_an_address_of_mail_without_a_user_is_not_shown():
    shown = tokens.masked('notifications.email_url', 'mailtos://s3cret')
    assert shown == 'mailtos://***'


def test_a_webhook_is_shown_by_its_host_only():
    below('notifications: {webhook_url: "https://example.org/hook/abc?key=def"}')
    shown = {setting.key: setting.value for setting in effective()}['notifications.webhook_url']
    assert shown == 'https://example.org/***'


# -- paths


def test_paths_begin_at_the_project_file(tmp_path):
    folder = tmp_path / 'project'
    (folder / 'configs').mkdir(parents=True)
    (folder / 'configs' / 'more.yaml').write_text('settings: {download: {cache_dir: ../cache}}\n')
    (folder / 'config.yaml').write_text(
        'huggingface: {config_file: configs/more.yaml, hooks: {folder: out}}\n'
    )
    found = load_config(folder / 'config.yaml')
    assert found.settings.download.cache_dir == str(tmp_path / 'cache')
    assert found.hooks.folder == str(folder / 'out')
    assert found.backup.local_backup_dir == str(folder / 'backups')


def test_the_second_file_begins_at_the_project_file_wherever_it_is_named(tmp_path, monkeypatch):
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project' / 'config.yaml').touch()
    (tmp_path / 'project' / 'more.yaml').write_text('auto_sync: true\n')
    monkeypatch.setenv('HFMIRROR_CONFIG_FILE', 'more.yaml')
    assert load_config(tmp_path / 'project' / 'config.yaml').auto_sync


def test_a_path_of_a_variable_begins_at_the_working_directory(tmp_path, monkeypatch):
    (tmp_path / 'project').mkdir()
    (tmp_path / 'project' / 'config.yaml').touch()
    monkeypatch.setenv('HFMIRROR_BACKUP__LOCAL_BACKUP_DIR', 'b')
    found = load_config(tmp_path / 'project' / 'config.yaml')
    assert found.backup.local_backup_dir == str(tmp_path / 'b')


def test_a_path_of_the_home_is_in_the_home():
    below('backup: {local_backup_dir: ~/backups}')
    assert load_config().backup.local_backup_dir == str(Path.home() / 'backups')


def test_a_path_of_hfmirror_itself_is_no_place_for_backups():
    below(f'backup: {{local_backup_dir: {home().outbox}/b}}')
    (problem,) = inspect().problems
    assert 'is where hfmirror keeps what is its own' in problem.message


def test_a_prefix_of_ones_own_file_gives_way_to_a_format_of_the_project():
    user_file().parent.mkdir(parents=True)
    user_file().write_text('versioning: {tag_prefix: rel-}\n')
    below('versioning: {formats: {semantic: "v{major}.{minor}.{patch}"}}')
    assert inspect().problems == []


@pytest.mark.parametrize(
    'second', ['v{timestamp}', 'v{year}{month:02d}{day:02d}-{hour:02d}{minute:02d}{second:02d}']
)
def test_two_formats_that_make_the_same_names_agree(second):
    below(f'versioning: {{tag_format: "v{{timestamp}}", formats: {{timestamp: "{second}"}}}}')
    assert inspect().problems == []


def test_a_format_of_timestamps_may_be_beside_one_of_numbers():
    below('versioning: {tag_format: "v{major}.{minor}.{patch}", formats: {timestamp: "rel-{year}"}}')
    assert inspect().problems == []


def test_a_format_of_ones_own_file_gives_way_to_that_of_the_project():
    user_file().parent.mkdir(parents=True)
    user_file().write_text('versioning: {formats: {timestamp: "rel-{timestamp}"}}\n')
    below('versioning: {tag_format: "v{timestamp}"}')
    assert inspect().problems == []


# -- what is said about the keys


@pytest.mark.parametrize(
    ('notifications', 'key'),
    [
        ('enabled: true, webhook_url: "${NOT_SET}"', 'webhook_url'),
        ('enabled: true, webhook_url: [1]', 'webhook_url'),
        ('email_notifications: true, email_url: "${NOT_SET}"', 'email_url'),
        ('enabled: true, email_notifications: perhaps', 'email_notifications'),
    ],
)
def test_a_value_that_cannot_be_used_is_not_called_missing_too(notifications, key):
    below(f'user: {{email: me@example.org}}\nnotifications: {{{notifications}}}')
    assert [one.key for one in inspect().problems] == [f'huggingface.notifications.{key}']


def test_every_rule_is_of_a_key():
    assert set(meaning._RULES) <= set(keys())


def test_every_key_is_described():
    assert all(said and said[0] != '#' for said in descriptions().values())
    assert descriptions()['Upload', 'retry_delay'] == 'seconds before the first retry, doubled for each next'


def test_the_schema_has_every_key_with_its_description():
    schema = json_schema()

    def walk(name, above):
        for key, described in schema['$defs'][name]['properties'].items():
            assert described['description'], key
            ref = described.get('$ref', '').rpartition('/')[2]
            yield from walk(ref, f'{above}{key}.') if ref else [f'{above}{key}']

    assert list(walk('Config', '')) == list(keys())
    assert json.loads(json.dumps(schema))['properties'] == {'huggingface': {'$ref': '#/$defs/Config'}}


DOCS = Path(hfmirror.__file__).parents[1] / 'docs' / 'configuration.md'


def documented_keys():
    rows = re.findall(r'^\| `([\w.]+)` \| (.+) \| (.+) \| (.+) \|$', DOCS.read_text('utf-8'), re.MULTILINE)
    return {key: (takes, default, text) for key, takes, default, text in rows}


def test_the_documentation_has_every_key_and_no_other():
    assert list(documented_keys()) == list(keys())


@pytest.mark.parametrize('key', keys().values(), ids=lambda key: key.dotted)
def test_the_documentation_says_what_a_key_takes_and_its_default(key):
    takes, default, _ = documented_keys()[key.dotted]
    written = 'none' if key.default is None else f'`{json.dumps(key.default)}`'
    assert (takes, default) == (expected(key.type, key.field), written)


def test_the_examples_of_the_documentation_load(monkeypatch):
    monkeypatch.setenv('WEBHOOK_URL', 'https://example.org/hook')
    blocks = re.findall(r'```yaml\n(.*?)```', DOCS.read_text('utf-8'), re.DOTALL)
    for block in blocks[:2]:
        path = Path(block.partition('\n')[0].removeprefix('# '))
        path.parent.mkdir(exist_ok=True)
        path.write_text(block)
    found = load_config()
    assert (found.user.username, found.auto_sync, found.versioning.tag_format) == (
        'ada',
        True,
        'v{timestamp}',
    )


# -- where things are


def test_hfmirror_home_holds_everything(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'mine'))
    assert {path.parent for path in home()} == {tmp_path / 'mine'}


def test_a_relative_hfmirror_home_is_one_from_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_HOME', 'mine')
    assert home().hub == tmp_path / 'mine' / 'hub'


def test_without_it_the_outbox_and_the_hub_are_data_and_the_rest_is_cache(monkeypatch):
    monkeypatch.delenv('HFMIRROR_HOME')
    found = home()
    assert found.outbox.parent == found.hub.parent != found.clones.parent == found.cache.parent
    assert all(Path.home() in path.parents for path in found)


def test_the_user_is_that_of_the_environment_then_of_dot_env(monkeypatch):
    assert load_config().user.username is None
    Path('.env').write_text('HF_USERNAME="grace"\n')
    assert load_config().user.username == 'grace'
    monkeypatch.setenv('HF_USERNAME', 'ada')
    assert load_config().user.username == 'ada'


def test_dot_env_is_not_expanded(monkeypatch):
    monkeypatch.setenv('SECRET', 'x')
    Path('.env').write_text('HF_USERNAME=${SECRET}\n')
    with pytest.raises(ConfigError, match=r"HF_USERNAME in .env: '\$\{SECRET\}'"):
        load_config()
