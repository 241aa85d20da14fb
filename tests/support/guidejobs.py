"""The jobs of two guides: what is submitted runs in a process, a folder and a home of its own, of which nothing stays.

``hf_jobs`` is a tool of another system. Here it does what the guides say of it: it takes a script, sets its environment
and its secrets, and throws everything away when the script has ended.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement

from tests.support.clients import ROOT, environment, run_python
from tests.support.rest import new_user

_TIMEOUT_S = 110
_HEADER = re.compile(r'^# /// script\n(.*?)^# ///$', re.MULTILINE | re.DOTALL)
_QUIET = {'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false', 'PYTHONUNBUFFERED': '1'}
# The guides train on a graphics card. Where there is none, this is what has to be said.
_CONFIG, _ON_A_CPU = 'SFTConfig(\n', 'SFTConfig(\n    use_cpu=True,\n'


@dataclass(frozen=True)
class Job:
    """How a job ended, and what it printed; what it left on its disk is in ``folder`` only where it was kept."""

    id: str
    code: int
    log: str
    folder: Path

    def ended_well(self):
        assert self.code == 0, self.log
        return self


class Jobs:
    """The account ``user`` of somebody who submits jobs from the folder ``path``.

    ``keep`` leaves the folder of a job. ``variables`` are in the environment of each job beside what it is given.
    """

    def __init__(self, hub, path, user):
        self.hub, self.path, self.token = hub, path, new_user(hub, user)
        self.path.mkdir(parents=True, exist_ok=True)
        self.keep, self.variables, self.done = False, {}, []

    def submit(self, block):
        """Run a block of the guide that calls ``hf_jobs``; returns the job."""
        exec(block, {'hf_jobs': self.hf_jobs})
        return self.done[-1]

    def script(self, text, **given):
        """Run a script with the secret of the guides, or with what is ``given`` in place of it."""
        self.hf_jobs('uv', {'script': text} | (given or {'secrets': {'HF_TOKEN': '$HF_TOKEN'}}))
        return self.done[-1]

    def hf_jobs(self, action, what):
        """Do what the tool of that name does for ``uv`` and for ``logs``."""
        if action == 'logs':
            return next(job.log for job in self.done if job.id == what['job_id'])
        known = {'script', 'flavor', 'timeout', 'secrets', 'env'}
        assert action == 'uv' and set(what) <= known, (action, what)
        given = what.get('env', {}) | what.get('secrets', {})
        given = {name: value.replace('$HF_TOKEN', self.token) for name, value in given.items()}
        self.done.append(self._run(what['script'], given))
        return self.done[-1].id

    def _run(self, script, given):
        job_id = f'job-{len(self.done) + 1}'
        folder, home = self.path / job_id / 'work', self.path / job_id / 'home'
        folder.mkdir(parents=True)
        home.mkdir()
        text = (self.path / script).read_text('utf-8') if script.endswith('.py') else textwrap.dedent(script)
        _require(text)
        (folder / 'script.py').write_text(text.replace(_CONFIG, _ON_A_CPU), 'utf-8')
        done = self.run([sys.executable, 'script.py'], folder, home, given)
        if not self.keep:
            shutil.rmtree(folder.parent)
        return Job(job_id, done.returncode, done.stdout, folder)

    def run(self, command, folder, home, given):
        """Run a command as a job does, or somebody in the folder of one."""
        return subprocess.run(
            command,
            env=self.environment(home) | given,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )

    def environment(self, home):
        """Return what is in the environment of a job that was given nothing."""
        hfmirror = {'HFMIRROR_HOME': str(home / 'hfmirror'), 'PYTHONPATH': str(ROOT)}
        # The commands that an environment made for the script has.
        path = f'{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin'
        return environment(self.hub, home, token='', PATH=path, **_QUIET, **hfmirror, **self.variables)


def _require(script):
    """Make sure that what the head of a script asks for is installed, as ``uv run`` does."""
    for header in _HEADER.findall(script):
        wanted = tomllib.loads(re.sub('^# ?', '', header, flags=re.MULTILINE))['dependencies']
        for one in map(Requirement, wanted):
            assert one.specifier.contains(version(one.name)), one


_MAKE_MODEL = """
import sys, torch
from huggingface_hub import create_repo
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

torch.manual_seed(1)
marks = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
letters = sorted(pre_tokenizers.ByteLevel.alphabet())
inner = Tokenizer(models.BPE({word: i for i, word in enumerate(letters + marks)}, []))
inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
inner.decoder = decoders.ByteLevel()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token=marks[0], pad_token=marks[0])
tokenizer.add_special_tokens({'additional_special_tokens': marks[1:]})
tokenizer.chat_template = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\\n{{ message['content'] }}<|im_end|>\\n{% endfor %}"
)
sizes = dict(hidden_size=16, intermediate_size=32, num_hidden_layers=2, max_position_embeddings=128)
heads = dict(num_attention_heads=2, num_key_value_heads=1)
ends = dict(bos_token_id=None, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id)
model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **sizes, **heads, **ends))
for repo_id in sys.argv[1:]:
    create_repo(repo_id)
    model.push_to_hub(repo_id)
    tokenizer.push_to_hub(repo_id)
"""
_MAKE_CONVERSATIONS = """
import sys
from huggingface_hub import create_repo, upload_file
create_repo('trl-lib/Capybara', repo_type='dataset')
upload_file(path_or_fileobj=sys.argv[1].encode(), path_in_repo='data/train.jsonl', repo_id='trl-lib/Capybara', repo_type='dataset')
"""


def make_base_model(hub, home, *, repo_id='Qwen/Qwen2.5-0.5B'):
    """Put a model of that name on the Hub: of the same architecture, with two small layers of random weights."""
    run_python(hub, home, _MAKE_MODEL, repo_id, token=new_user(hub, repo_id.split('/')[0]), **_QUIET)


def make_conversations(hub, home, *, number):
    """Put the data set ``trl-lib/Capybara`` on the Hub, with so many short conversations."""
    rows = [
        {
            'source': 'test',
            'messages': [
                {'role': 'user', 'content': f'What is {i} and {i}?'},
                {'role': 'assistant', 'content': f'It is {i + i}.'},
            ],
            'num_turns': 1,
        }
        for i in range(number)
    ]
    text = ''.join(json.dumps(row) + '\n' for row in rows)
    run_python(hub, home, _MAKE_CONVERSATIONS, text, token=new_user(hub, 'trl-lib'))
