"""The guide to keeping what a training job made: its blocks run as they stand, with TRL and transformers, against a Hub."""

from __future__ import annotations

import re
import sys

import pytest
from huggingface_hub import HfApi

from tests.support.guidejobs import Jobs, make_base_model, make_conversations
from tests.support.rest import call, new_user

pytestmark = pytest.mark.heavy

USER = 'myusername'
SAMPLES = 408  # enough that step 300 of the guide's training is not the last

COMPLETE = """
# train.py
# /// script
# dependencies = ["trl"]
# ///

from trl import SFTTrainer, SFTConfig
from datasets import load_dataset

dataset = load_dataset("trl-lib/Capybara", split="train")

# 配置 Hub 推送
config = SFTConfig(
    output_dir="my-model",
    num_train_epochs=3,

    # ✅ 关键:Hub 推送配置
    push_to_hub=True,
    hub_model_id="myusername/my-trained-model",

    # 可选:推送策略
    push_to_hub_model_id="myusername/my-trained-model",
    push_to_hub_organization=None,
    push_to_hub_token=None,  # 使用环境令牌
)

trainer = SFTTrainer(
    model="Qwen/Qwen2.5-0.5B",
    train_dataset=dataset,
    args=config,
)

trainer.train()

# ✅ 推送最终模型
trainer.push_to_hub()

print("✅ 模型已推送到: https://huggingface.co/myusername/my-trained-model")
"""
# Three lines of the block are of names that TRL 1 has no more; ``hub_model_id`` and ``hub_token`` take their place.
GONE = """
    # 可选:推送策略
    push_to_hub_model_id="myusername/my-trained-model",
    push_to_hub_organization=None,
    push_to_hub_token=None,  # 使用环境令牌
"""
TODAY = """
    hub_token=None,
"""
MINIMAL_JOB = """
hf_jobs("uv", {
    "script": "train.py",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}  # 提供身份验证
})
"""
JOB = """
hf_jobs("uv", {
    "script": "train.py",
    "flavor": "a10g-large",
    "timeout": "2h",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}  # ✅ 必需!
})
"""
PRODUCTION = """
# production_train.py
# /// script
# dependencies = ["trl>=0.12.0", "peft>=0.7.0"]
# ///

from datasets import load_dataset
from peft import LoraConfig
from trl import SFTTrainer, SFTConfig
import os

# 验证令牌可用
assert "HF_TOKEN" in os.environ, "HF_TOKEN not found in environment!"

# 加载数据集
dataset = load_dataset("trl-lib/Capybara", split="train")
print(f"✅ Dataset loaded: {len(dataset)} examples")

# 配置全面的 Hub 设置
config = SFTConfig(
    output_dir="qwen-capybara-sft",

    # Hub 配置
    push_to_hub=True,
    hub_model_id="myusername/qwen-capybara-sft",
    hub_strategy="checkpoint",  # 推送检查点

    # 检查点配置
    save_strategy="steps",
    save_steps=100,
    save_total_limit=3,

    # 训练设置
    num_train_epochs=3,
    per_device_train_batch_size=4,

    # 日志记录
    logging_steps=10,
    logging_first_step=True,
)

# 使用 LoRA 训练
trainer = SFTTrainer(
    model="Qwen/Qwen2.5-0.5B",
    train_dataset=dataset,
    args=config,
    peft_config=LoraConfig(r=16, lora_alpha=32),
)

print("🚀 Starting training...")
trainer.train()

print("💾 Pushing final model to Hub...")
trainer.push_to_hub()

print("✅ Training complete!")
print(f"Model available at: https://huggingface.co/myusername/qwen-capybara-sft")
"""
PRODUCTION_JOB = """
hf_jobs("uv", {
    "script": "production_train.py",
    "flavor": "a10g-large",
    "timeout": "6h",
    "secrets": {"HF_TOKEN": "$HF_TOKEN"}
})
"""


@pytest.fixture(scope='module')
def jobs(shared_hub, tmp_path_factory):
    """The account of the guide's user, on a Hub that has the guide's model and its data set."""
    home = tmp_path_factory.mktemp('others')
    make_base_model(shared_hub, home)
    make_conversations(shared_hub, home, number=SAMPLES)
    return Jobs(shared_hub, tmp_path_factory.mktemp('jobs'), USER)


@pytest.fixture
def owner(shared_hub, jobs):
    return HfApi(endpoint=shared_hub.endpoint, token=jobs.token)


@pytest.fixture(scope='module')
def production(jobs):
    """The job of the guide's largest example, with all that it printed; its folder is gone."""
    (jobs.path / 'production_train.py').write_text(PRODUCTION, 'utf-8')
    return jobs.submit(PRODUCTION_JOB)


def titles(owner, repo_id):
    return [commit.title for commit in owner.list_repo_commits(repo_id)]


# -- the complete example


def test_names_that_trl_has_no_more_stop_the_job_before_it_trains(jobs, owner):
    (jobs.path / 'train.py').write_text(COMPLETE, 'utf-8')
    job = jobs.submit(MINIMAL_JOB)
    assert job.code == 1
    assert "unexpected keyword argument 'push_to_hub_model_id'" in job.log
    assert not owner.repo_exists(f'{USER}/my-trained-model')


def test_the_complete_example_publishes_the_model(jobs, owner):
    (jobs.path / 'train.py').write_text(COMPLETE.replace(GONE, TODAY), 'utf-8')
    job = jobs.submit(JOB).ended_well()
    assert '✅ 模型已推送到: https://huggingface.co/myusername/my-trained-model' in job.log
    assert 'Warnings while validating metadata' not in job.log
    files = set(owner.list_repo_files(f'{USER}/my-trained-model'))
    weights, tokenizer = {'model.safetensors'}, {'tokenizer.json', 'tokenizer_config.json'}
    assert weights | tokenizer | {'config.json', 'training_args.bin', 'README.md'} <= files


def test_the_production_example_publishes_the_adapter_and_its_last_checkpoint(production, owner):
    job = production.ended_well()
    assert f'✅ Dataset loaded: {SAMPLES} examples' in job.log
    assert job.log.splitlines()[-1].startswith('Model available at: ')
    files = set(owner.list_repo_files(f'{USER}/qwen-capybara-sft'))
    assert {'adapter_config.json', 'adapter_model.safetensors', 'last-checkpoint/trainer_state.json'} <= files


# -- what is pushed, and when

SAVED = 'Training in progress, step {}, checkpoint'
CHECKPOINTS = """
SFTConfig(
    output_dir="my-model",
    push_to_hub=True,
    hub_model_id="username/my-model",

    # 检查点配置
    save_strategy="steps",
    save_steps=100,              # 每 100 步保存一次
    save_total_limit=3,          # 仅保留最近 3 个检查点
)
"""
TRAIN = """
from trl import SFTTrainer, SFTConfig
from datasets import load_dataset
config = {config}
dataset = load_dataset("trl-lib/Capybara", split="train")
trainer = SFTTrainer(model="Qwen/Qwen2.5-0.5B", train_dataset=dataset, args=config)
trainer.train()
"""
# Ends as a machine that is taken away does, when the Hub has a checkpoint of it.
TAKEN_AWAY = """
import signal, time
from huggingface_hub import file_exists
from transformers import TrainerCallback

class TakenAway(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step < 150:
            return
        while not file_exists("myusername/ended", "last-checkpoint/trainer_state.json"):
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

trainer.add_callback(TakenAway())
trainer.train()
"""
GO_ON = """
import json
from huggingface_hub import snapshot_download
snapshot_download("myusername/ended", local_dir="ended", allow_patterns="last-checkpoint/*")
with open("ended/last-checkpoint/trainer_state.json") as f:
    print("goes on at", json.load(f)["global_step"])
trainer.train(resume_from_checkpoint="ended/last-checkpoint")
print("ended at", trainer.state.global_step, "after a loss of", trainer.state.log_history[0]["loss"], "at step 1")
"""


def test_every_save_is_a_commit_whose_weights_can_be_had_again(production, owner):
    production.ended_well()
    repo_id = f'{USER}/qwen-capybara-sft'
    done = [commit for commit in owner.list_repo_commits(repo_id) if commit.title.endswith(', checkpoint')]
    # Saves that come while a push is under way are left out by the Trainer, so it need not be all.
    assert {commit.title for commit in done} <= {SAVED.format(step) for step in (100, 200, 300, 306)}
    weights = {
        owner.get_paths_info(repo_id, 'adapter_model.safetensors', revision=commit.commit_id)[0].lfs.sha256
        for commit in done
    }
    assert len(weights) == len(done) >= 1


def test_the_last_three_checkpoints_stay_on_the_disk(jobs, owner, monkeypatch):
    monkeypatch.setattr(jobs, 'keep', True)
    block = CHECKPOINTS.strip().replace('save_steps=100', 'save_steps=30').replace('username', USER)
    job = jobs.script(TRAIN.format(config=block)).ended_well()
    there = {path.name for path in (job.folder / 'my-model').glob('checkpoint-*')}
    assert there == {'checkpoint-120', 'checkpoint-150', 'checkpoint-153'}
    # On the Hub is one model, in the one repository, of the last save that no push was in the way of.
    assert titles(owner, f'{USER}/my-model')[0].startswith('Training in progress, step ')
    assert not [name for name in owner.list_repo_files(f'{USER}/my-model') if 'checkpoint-' in name]


def test_a_job_that_was_ended_goes_on_from_its_last_checkpoint(jobs, owner):
    script = PRODUCTION.replace('qwen-capybara-sft', 'ended')
    ended = jobs.script(script.replace('trainer.train()', TAKEN_AWAY))
    assert ended.code == -9
    again = jobs.script(script.replace('trainer.train()', GO_ON)).ended_well()
    assert 'goes on at 100\n' in again.log
    assert re.search('ended at 306 after a loss of [0-9.]+ at step 1\n', again.log)


def test_what_the_trainer_has_pushed_is_put_under_versions(jobs, production, owner, tmp_path):
    production.ended_well()
    repo_id, given = f'{USER}/qwen-capybara-sft', {'HF_TOKEN': jobs.token}
    pushed = [title for title in titles(owner, repo_id) if title.endswith(', checkpoint')]
    done = jobs.run(['hfmirror', 'adopt', repo_id], tmp_path, tmp_path, given)
    assert done.returncode == 0, done.stdout
    tags = {tag.name for tag in owner.list_repo_refs(repo_id).tags}
    assert tags >= {f'step-{re.search("[0-9]+", title)[0]}' for title in pushed} | {'v0.1.0'}
    done = jobs.run(['hfmirror', 'verify', '--repo', repo_id, '--remote', 'hub'], tmp_path, tmp_path, given)
    assert 'v0.1.0 is whole' in done.stdout


# -- what goes wrong

ASSERTION = 'assert "HF_TOKEN" in os.environ, "HF_TOKEN not found in environment!"'


def test_the_first_line_ends_a_job_without_the_secret(jobs):
    job = jobs.script(PRODUCTION, env={})
    assert job.code == 1 and 'AssertionError: HF_TOKEN not found in environment!' in job.log


@pytest.mark.parametrize(
    ('token', 'model', 'said'),
    [
        ('', f'{USER}/refused', '401 Unauthorized'),
        ('$HF_TOKEN', 'somebody-else/refused', '403 Forbidden'),
    ],
)
def test_a_job_that_may_not_write_ends_before_it_trains(jobs, token, model, said):
    given = {'HF_TOKEN': token} if token else {}
    script = PRODUCTION.replace(f'{USER}/qwen-capybara-sft', model).replace(ASSERTION, '')
    job = jobs.script(script, secrets=given)
    assert job.code == 1 and said in job.log and 'Starting training' not in job.log


MANUAL = """
from transformers import AutoModel, AutoTokenizer

# 从本地检查点加载
model = AutoModel.from_pretrained("./output_dir")
tokenizer = AutoTokenizer.from_pretrained("./output_dir")

# 推送到 Hub
model.push_to_hub("username/model-name", token="hf_abc123...")
tokenizer.push_to_hub("username/model-name", token="hf_abc123...")
"""


@pytest.fixture(scope='module')
def unpublished(shared_hub, jobs):
    """The folder of a job whose Hub took its first push only; the training went on to its end."""
    shared_hub.fail(f'POST /api/models/{USER}/unlucky/commit', 507, times=50, after=1)
    jobs.keep = True
    try:
        script = COMPLETE.replace(GONE, TODAY).replace(
            'output_dir="my-model"', 'output_dir="output_dir", save_steps=50'
        )
        return jobs.script(script.replace('my-trained-model', 'unlucky'))
    finally:
        jobs.keep = False


def test_training_goes_on_without_the_hub_and_ends_with_an_error(unpublished, owner):
    assert unpublished.code == 1 and 'A test wants the status 507 here' in unpublished.log
    assert (unpublished.folder / 'output_dir' / 'model.safetensors').exists()
    assert (unpublished.folder / 'output_dir' / 'checkpoint-153').exists()
    # What was pushed before is there.
    assert titles(owner, f'{USER}/unlucky')[0] == 'Training in progress, step 50'


def test_what_a_job_could_not_push_is_pushed_by_hand(jobs, unpublished, tmp_path):
    token = new_user(jobs.hub, 'username')
    block = MANUAL.replace('hf_abc123...', token)
    done = jobs.run([sys.executable, '-c', block], unpublished.folder, tmp_path, {})
    assert done.returncode == 0, done.stdout
    api = HfApi(endpoint=jobs.hub.endpoint, token=token)
    assert {'model.safetensors', 'tokenizer.json'} <= set(api.list_repo_files('username/model-name'))
    # AutoModel is the model without its head: what the training made is more than that.
    weights = api.get_paths_info('username/model-name', 'model.safetensors')[0]
    assert weights.size < (unpublished.folder / 'output_dir' / 'model.safetensors').stat().st_size


def test_hfmirror_pushes_the_folder_as_it_is(jobs, unpublished, owner, tmp_path):
    command = [
        'hfmirror',
        'push',
        './output_dir',
        '--repo',
        f'{USER}/by-hfmirror',
        '--exclude',
        'checkpoint-*/',
    ]
    done = jobs.run(command, unpublished.folder, tmp_path, {'HF_TOKEN': jobs.token})
    assert done.returncode == 0 and f'{USER}/by-hfmirror on hub: v0.1.0 pushed and proven' in done.stdout, (
        done.stdout
    )
    weights = owner.get_paths_info(f'{USER}/by-hfmirror', 'model.safetensors', revision='v0.1.0')[0]
    assert weights.size == (unpublished.folder / 'output_dir' / 'model.safetensors').stat().st_size


def test_a_private_model_is_seen_by_its_owner_alone(jobs, owner, shared_hub):
    owner.create_repo(f'{USER}/closed', private=True)
    assert f'{USER}/closed' in {model.id for model in owner.list_models(author=USER)}
    stranger = HfApi(endpoint=shared_hub.endpoint, token=new_user(shared_hub, 'eve'))
    assert f'{USER}/closed' not in {model.id for model in stranger.list_models(author=USER)}
    assert call(shared_hub, 'GET', f'/{USER}/closed', token=None).status == 401


# -- following it

LOGS = """
hf_jobs("logs", {"job_id": "your-job-id"})
"""


def test_the_log_of_a_job_says_what_was_pushed(jobs, production, owner):
    shown = eval(LOGS.replace('your-job-id', production.id), {'hf_jobs': jobs.hf_jobs})
    assert '💾 Pushing final model to Hub...' in shown and '✅ Training complete!' in shown
