"""The guide to keeping the results of jobs: its blocks run as they stand, against a Hub, a bucket and an address."""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, HFValidationError

from tests.support.guide import Guide
from tests.support.guidejobs import Jobs, make_base_model
from tests.support.guideservices import google_storage, receiving
from tests.support.rest import new_user
from tests.support.s3 import Bucket
from tests.test_server_repositories import organise

# What is tested with the libraries that only `scripts/test --all` installs, or takes its time.
heavy = pytest.mark.heavy

USER = 'username'
RESULTS = '{"accuracy": 0.95, "loss": 0.05}'


@pytest.fixture(scope='module')
def jobs(shared_hub, tmp_path_factory):
    """The account of the guide's user."""
    return Jobs(shared_hub, tmp_path_factory.mktemp('jobs'), USER)


@pytest.fixture
def owner(shared_hub, jobs):
    return HfApi(endpoint=shared_hub.endpoint, token=jobs.token)


@pytest.fixture(scope='module')
def models(shared_hub, tmp_path_factory):
    """A model of others, for those blocks that begin with one."""
    make_base_model(shared_hub, tmp_path_factory.mktemp('others'), repo_id='base/model')


@pytest.fixture
def guide(shared_hub, tmp_path):
    """The folder in which the guide's user is at work, with the results of a job; the token is in the environment."""
    made = Guide(shared_hub, tmp_path / 'project', USER)
    made.env['HF_TOKEN'] = made.token
    (made.path / 'results.json').write_text(RESULTS)
    return made


# -- option 1, the Hub

MODEL = """
from transformers import AutoModel
model.push_to_hub("username/model-name", token=os.environ.get("HF_TOKEN"))
"""
DATASET = """
from datasets import Dataset
dataset.push_to_hub("username/dataset-name", token=os.environ.get("HF_TOKEN"))
"""
FILE = """
from huggingface_hub import HfApi
api = HfApi(token=os.environ.get("HF_TOKEN"))
api.upload_file(
    path_or_fileobj="results.json",
    path_in_repo="results.json",
    repo_id="username/results",
    repo_type="dataset"
)
"""
WRITE_RESULTS = f"""
import os
open('results.json', 'w').write('{RESULTS}')
"""
CREATE = """
from huggingface_hub import HfApi

api = HfApi()
api.create_repo(
    repo_id="username/repo-name",
    repo_type="model",  # 或 "dataset"
    private=False,  # 或 True 用于私有仓库
)
"""


@heavy
def test_a_model_is_pushed(jobs, owner, models):
    load = "import os\nfrom transformers import AutoModel\nmodel = AutoModel.from_pretrained('base/model')"
    jobs.script(f'{load}\n{MODEL}').ended_well()
    assert {'config.json', 'model.safetensors'} <= set(owner.list_repo_files('username/model-name'))


@heavy
def test_a_dataset_is_pushed(jobs, owner):
    make = "import os\nfrom datasets import Dataset\ndataset = Dataset.from_dict({'n': [1, 2, 3]})"
    jobs.script(f'{make}\n{DATASET}').ended_well()
    files = owner.list_repo_files('username/dataset-name', repo_type='dataset')
    assert 'data/train-00000-of-00001.parquet' in files


def test_a_file_needs_a_repository_that_is_there(jobs, owner):
    """An upload of a file makes none, whatever the guide says of a first push."""
    failed = jobs.script(WRITE_RESULTS + FILE.replace('username/results', 'username/no-results'))
    assert failed.code == 1 and "Please use `create_repo` if it's not the case" in failed.log
    create = CREATE.replace('repo-name', 'results').replace('"model"', '"dataset"')
    jobs.script(WRITE_RESULTS + create + FILE).ended_well()
    assert 'results.json' in owner.list_repo_files('username/results', repo_type='dataset')


def test_a_repository_is_made_by_hand_before_the_push(jobs, owner):
    jobs.script(CREATE).ended_well()
    assert owner.model_info('username/repo-name').private is False
    jobs.script(CREATE.replace('repo-name', 'closed').replace('private=False', 'private=True')).ended_well()
    assert owner.model_info('username/closed').private is True


# -- option 2, other stores, and option 3, an address

S3 = """
import boto3
s3 = boto3.client('s3')
s3.upload_file('results.json', 'my-bucket', 'results.json')
"""
GCS = """
from google.cloud import storage
client = storage.Client()
bucket = client.bucket('my-bucket')
blob = bucket.blob('results.json')
blob.upload_from_filename('results.json')
"""
POST = """
import requests
requests.post("https://your-api.com/results", json=results)
"""


@pytest.fixture
def s3(monkeypatch):
    """A real S3 API on this machine, with the guide's bucket."""
    with Bucket(monkeypatch) as running:
        running.client.create_bucket(Bucket='my-bucket')
        yield running


def test_results_are_kept_in_s3(jobs, s3):
    jobs.script(WRITE_RESULTS + S3, env=s3.env).ended_well()
    kept = s3.client.get_object(Bucket='my-bucket', Key='results.json')['Body'].read()
    assert kept.decode() == RESULTS


@heavy
def test_results_are_kept_in_google_cloud_storage(jobs):
    read_back = "\nprint(client.bucket('my-bucket').blob('results.json').download_as_text())"
    made = "from google.cloud import storage\nstorage.Client().create_bucket('my-bucket')\n"
    with google_storage() as given:
        job = jobs.script(made + WRITE_RESULTS + GCS + read_back, env=given).ended_well()
    assert job.log.splitlines()[-1] == RESULTS


def test_results_are_posted_to_an_address(jobs):
    with receiving() as place:
        post = POST.replace('https://your-api.com', place.url)
        jobs.script(f'results = {RESULTS}\n{post}').ended_well()
        assert place.posted == [('/results', 'application/json', RESULTS.encode())]


# -- the job, its secret and its script

JOB = """
hf_jobs("uv", {
    "script": "your_script.py",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}  # ✅ Hub 操作所需
})
"""
VERIFY = """
import os
assert "HF_TOKEN" in os.environ, "Hub 操作需要 HF_TOKEN！"
"""
CLIENT = """
import os
from huggingface_hub import HfApi

# 自动从环境中检测 HF_TOKEN
api = HfApi()

# 或显式传递令牌
api = HfApi(token=os.environ.get("HF_TOKEN"))
"""
AUTOMATIC = '"secrets": {"HF_TOKEN": "$HF_TOKEN"}'
EXPLICIT = '"secrets": {"HF_TOKEN": "hf_abc123..."}'
VARIABLE = '"env": {"HF_TOKEN": "hf_abc123..."}'


@pytest.mark.parametrize('method', [AUTOMATIC, EXPLICIT, VARIABLE])
def test_each_way_to_give_the_token_lets_the_job_in(jobs, method):
    (jobs.path / 'your_script.py').write_text(VERIFY + CLIENT + 'print(api.whoami()["name"])', 'utf-8')
    block = JOB.replace(AUTOMATIC, method.replace('hf_abc123...', jobs.token))
    assert jobs.submit(block).ended_well().log.splitlines()[-1] == USER


def test_a_job_without_the_secret_ends_with_its_first_line(jobs):
    job = jobs.script(VERIFY + CLIENT, env={})
    assert job.code == 1 and 'AssertionError: Hub 操作需要 HF_TOKEN！' in job.log


def test_nothing_is_left_of_a_job_that_kept_nothing(jobs, owner):
    before = {repo.id for repo in owner.list_models(author=USER)}
    job = jobs.script(WRITE_RESULTS, env={}).ended_well()
    assert not job.folder.exists()
    assert {repo.id for repo in owner.list_models(author=USER)} == before


# -- the three whole examples

EXAMPLE_1 = '''
hf_jobs("uv", {
    "script": """
# /// script
# dependencies = ["datasets", "huggingface-hub"]
# ///

import os
from datasets import Dataset
from huggingface_hub import HfApi

# 验证令牌
assert "HF_TOKEN" in os.environ, "需要 HF_TOKEN！"

# 处理数据
data = {"text": ["Sample 1", "Sample 2"]}
dataset = Dataset.from_dict(data)

# 推送到 Hub
dataset.push_to_hub("username/my-dataset")
print("✅ 数据集已推送！")
""",
    "flavor": "cpu-basic",
    "timeout": "30m",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}
})
'''
EXAMPLE_2 = '''
hf_jobs("uv", {
    "script": """
# /// script
# dependencies = ["transformers"]
# ///

import os
from transformers import AutoModel, AutoTokenizer

# 验证令牌
assert "HF_TOKEN" in os.environ, "需要 HF_TOKEN！"

# 加载并处理模型
model = AutoModel.from_pretrained("base-model")
tokenizer = AutoTokenizer.from_pretrained("base-model")
# ... 处理模型 ...

# 推送到 Hub
model.push_to_hub("username/my-model")
tokenizer.push_to_hub("username/my-model")
print("✅ 模型已推送！")
""",
    "flavor": "a10g-large",
    "timeout": "2h",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}
})
'''
EXAMPLE_3 = '''
hf_jobs("uv", {
    "script": """
# /// script
# dependencies = ["huggingface-hub", "pandas"]
# ///

import os
import json
import pandas as pd
from huggingface_hub import HfApi

# 验证令牌
assert "HF_TOKEN" in os.environ, "需要 HF_TOKEN！"

# 生成结果
results = {"accuracy": 0.95, "loss": 0.05}
df = pd.DataFrame([results])

# 保存文件
with open("results.json", "w") as f:
    json.dump(results, f)
df.to_csv("results.csv", index=False)

# 推送到 Hub
api = HfApi()
api.upload_file("results.json", "results.json", "username/results", repo_type="dataset")
api.upload_file("results.csv", "results.csv", "username/results", repo_type="dataset")
print("✅ 结果已推送！")
""",
    "flavor": "cpu-basic",
    "timeout": "30m",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}
})
'''


@heavy
def test_the_first_example_pushes_a_dataset(jobs, owner):
    assert '✅ 数据集已推送！' in jobs.submit(EXAMPLE_1).ended_well().log
    assert owner.dataset_info('username/my-dataset').card_data.dataset_info['splits'][0]['num_examples'] == 2


@heavy
def test_the_second_example_pushes_a_model_of_another_name(jobs, owner, models):
    nameless = jobs.submit(EXAMPLE_2)
    assert nameless.code == 1
    assert 'base-model is not a local folder and is not a valid model identifier' in nameless.log
    named = jobs.submit(EXAMPLE_2.replace('base-model', 'base/model')).ended_well()
    assert '✅ 模型已推送！' in named.log
    files = set(owner.list_repo_files('username/my-model'))
    assert {'config.json', 'model.safetensors', 'tokenizer.json'} <= files


@heavy
def test_the_third_example_names_its_arguments_today(jobs, owner):
    old = jobs.submit(EXAMPLE_3)
    assert old.code == 1 and 'upload_file() takes 1 positional argument' in old.log
    owner.create_repo('username/results', repo_type='dataset', exist_ok=True)
    new = EXAMPLE_3
    for name in ('results.json', 'results.csv'):
        new = new.replace(
            f'upload_file("{name}", "{name}", "username/results"',
            f'upload_file(path_or_fileobj="{name}", path_in_repo="{name}", repo_id="username/results"',
        )
    assert '✅ 结果已推送！' in jobs.submit(new).ended_well().log
    files = set(owner.list_repo_files('username/results', repo_type='dataset'))
    assert {'results.json', 'results.csv'} <= files


# -- what a repository may be called

NAMES = ['username/my-model', 'username/model-name', 'organization/model-name']
PREFLIGHT = 'hfmirror preflight --repo "{}"'


@pytest.fixture
def member(guide, shared_hub):
    """The guide's user, as a member of an organisation."""
    organise(shared_hub, {'organization': {USER: 'write'}})
    return guide


@pytest.mark.parametrize('name', NAMES)
def test_a_valid_name_is_one(member, name):
    said = member.shell(PREFLIGHT.format(name)).out
    assert f'ok    name           {name}, a model on hub' in said
    member.api.create_repo(name, exist_ok=True)


def test_a_name_without_a_user_gets_one_or_is_refused(guide):
    said = guide.shell(PREFLIGHT.format('model-name'), code=2).out
    assert 'the namespace is missing; expected namespace/name. Try --repo ' in said
    # huggingface_hub takes the namespace of the token.
    assert guide.api.create_repo('model-name', exist_ok=True).repo_id == 'username/model-name'


def test_a_name_with_a_blank_is_refused(guide):
    said = guide.shell(PREFLIGHT.format('username/model name'), code=2).out
    assert 'blanks are not allowed. Try --repo username/model-name.' in said
    with pytest.raises(HFValidationError):
        guide.api.create_repo('username/model name')


def test_a_name_in_upper_case_is_valid_and_discouraged(guide):
    said = guide.shell(PREFLIGHT.format('username/MODEL')).out
    assert 'warn  name           username/MODEL: valid, with upper case letters' in said


# -- what is checked before a job is submitted

CHECK = 'hfmirror preflight --repo username/my-experiment-results --repo-type dataset'


def test_a_job_that_may_begin_is_told_so(guide):
    lines = guide.shell(CHECK).out.splitlines()
    assert {line.split()[0] for line in lines if line} == {'ok'}


def test_a_token_that_is_missing_is_found_before_the_job_begins(guide):
    """In place of ``secrets={"HF_TOKEN": "$HF_TOKEN"}`` and of the line that asserts it."""
    done = guide.shell(f'{CHECK} && echo begun', code=4, HF_TOKEN='')
    assert 'Give the job its token as the secret HF_TOKEN' in done.out and 'begun' not in done.out


def test_a_name_that_something_else_has_is_found_before_the_job_begins(guide):
    guide.api.create_repo('username/something', repo_type='model', exist_ok=True)
    said = guide.shell('hfmirror preflight --repo username/something --repo-type dataset').out
    assert 'there is a model of that name, and no dataset' in said


def test_a_right_that_is_missing_is_found_before_the_job_begins(guide):
    reader = new_user(guide.hub, USER, 'read')
    assert 'may only read' in guide.shell(CHECK, code=4, HF_TOKEN=reader).out
    other = guide.shell(CHECK.replace('username/', 'somebody-else/'), code=4).out
    assert 'username may not write to the namespace somebody-else' in other


def test_a_script_without_a_line_that_pushes_is_released_all_the_same(guide):
    (guide.path / 'your_script.py').write_text('open("results.json", "w").write("{}")')
    guide.shell(
        'hfmirror run --folder results.json --repo username/ran --repo-type dataset -- python your_script.py'
    )
    assert 'results.json' in guide.api.list_repo_files('username/ran', repo_type='dataset')


# -- when it goes wrong


def test_the_commands_that_say_and_change_who_is_logged_in(guide):
    """``huggingface-cli whoami`` and ``login``, as huggingface_hub has them today; ``hf_whoami()`` is another system's."""
    gone = [one.name for one in distribution('huggingface_hub').entry_points if 'huggingface-cli' in one.name]
    assert gone == []
    guide.shell('hf auth login --token "$TOKEN"', HF_TOKEN='', TOKEN=guide.token)
    assert f'user: {USER}' in guide.shell('hf auth whoami', HF_TOKEN='').out
    assert guide.shell('hfmirror whoami', HF_TOKEN='').out.split()[0] == USER


@pytest.mark.parametrize(
    ('env', 'where', 'code', 'said'),
    [
        ({'HF_TOKEN': ''}, USER, 4, "no token found. Log in with 'hf auth login', or set HF_TOKEN"),
        ({'HF_TOKEN': 'hf_' + 'x' * 34}, USER, 4, 'was not accepted (HTTP 401)'),
        ({}, 'somebody-else', 4, 'username may not write to the namespace somebody-else'),
    ],
    ids=['401 without a token', '401 with a wrong one', '403'],
)
def test_what_the_hub_refuses_is_told_with_what_to_do(guide, env, where, code, said):
    push = f'hfmirror push results.json --repo {where}/refused --repo-type dataset --remote hub'
    assert said in guide.shell(push, code=code, **env).err


def test_the_library_tells_401_and_403_apart(jobs, owner, shared_hub):
    for token, name, status in (
        ('hf_' + 'x' * 34, 'username/new', 401),
        (jobs.token, 'somebody-else/new', 403),
    ):
        with pytest.raises(HfHubHTTPError) as refused:
            HfApi(endpoint=shared_hub.endpoint, token=token).create_repo(name)
        assert refused.value.response.status_code == status


@pytest.mark.heavy
def test_a_push_that_failed_waits_and_arrives_with_the_next(guide):
    push = 'hfmirror push results.json --repo username/waiting --repo-type dataset --remote hub'
    assert 'HF_HUB_OFFLINE' in guide.shell(push, code=7, HF_HUB_OFFLINE='1').err
    assert 'v0.1.0' in guide.shell('hfmirror status').out
    guide.shell('hfmirror resume')
    assert 'results.json' in guide.api.list_repo_files(
        'username/waiting', repo_type='dataset', revision='v0.1.0'
    )


# -- in one command


def test_a_file_is_pushed_to_a_repository_that_is_made_for_it(guide):
    done = guide.shell('hfmirror push results.json --repo username/my-results --repo-type dataset')
    assert 'username/my-results on hub: v0.1.0 pushed and proven (3 files' in done.out
    where = {'repo_type': 'dataset', 'local_dir': guide.path}
    card = guide.api.hf_hub_download('username/my-results', 'README.md', **where)
    assert '| `accuracy` | 0.95 |' in Path(card).read_text('utf-8')


@pytest.mark.heavy
def test_results_are_archived_in_s3(guide, s3):
    guide.shell(
        'hfmirror push results.json --repo username/results --repo-type dataset --remote s3://my-bucket/kept'
    )
    guide.shell(
        'hfmirror pull v0.1.0 --repo username/results --repo-type dataset --remote s3://my-bucket/kept --to back'
    )
    assert (guide.path / 'back' / 'results.json').read_text() == RESULTS


# -- following it

LOGS = """
hf_jobs("logs", {"job_id": "your-job-id"})
"""
FETCH = """
from huggingface_hub import fetch_job_logs
for log in fetch_job_logs(job_id="your-job-id"):
    print(log)
"""


def test_the_log_of_a_job_has_the_lines_of_the_push(jobs):
    push = 'hfmirror push results.json --repo username/logged --repo-type dataset --remote hub'
    job = jobs.script(f'{WRITE_RESULTS}\nimport subprocess\nsubprocess.run({push.split()}, check=True)')
    shown = eval(LOGS.strip().replace('your-job-id', job.id), {'hf_jobs': jobs.hf_jobs})
    assert 'username/logged on hub: v0.1.0 pushed and proven (3 files' in shown


@heavy
def test_the_jobs_of_the_hub_are_asked_for_by_its_own_client(guide):
    """This Hub runs no jobs: both ways ask it, and are told that there is none of that name."""
    assert 'Job Not Found' in guide.python(FETCH, code=1).err
    assert 'Job Not Found' in guide.shell('hf jobs logs your-job-id', code=1).err
