"""transformers against the embedded Hub: a tiny model of random weights is pushed, trained and loaded at its tags."""

import shutil

import pytest

from tests.support.clients import run_hf, run_python
from tests.support.mirror import git

pytestmark = pytest.mark.heavy

REPO = 'local/tiny'
QUIET = {'OMP_NUM_THREADS': '1', 'TOKENIZERS_PARALLELISM': 'false'}
MAKE = """
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

def make_tokenizer():
    words = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]', 'a', 'good', 'bad', 'film']
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token='[UNK]'))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token='[UNK]', pad_token='[PAD]')

def make_model(seed):
    torch.manual_seed(seed)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    return BertForSequenceClassification(BertConfig(vocab_size=9, max_position_embeddings=16, **sizes)).eval()

def same(one, other):
    other = other.state_dict()
    return all(torch.equal(weight, other[name]) for name, weight in one.state_dict().items())
"""


@pytest.fixture
def python(hub, tmp_path):
    """Run a program that may use what MAKE defines, as a person in a home of their own."""
    return lambda program, *args, person='ada', **kwargs: run_python(
        hub, tmp_path / person, MAKE + program, *args, **QUIET, **kwargs
    )


@pytest.fixture
def repository(hub):
    return hub.root / 'models' / f'{REPO}.git'


PUSH = """
make_model(seed=1).push_to_hub('local/tiny')
make_tokenizer().push_to_hub('local/tiny')
"""


def test_model_and_tokenizer_are_loaded_at_a_tag(python):
    python(
        PUSH
        + """
from huggingface_hub import create_tag
create_tag('local/tiny', tag='v1.0.0')
make_model(seed=2).push_to_hub('local/tiny', commit_message='the second')
"""
    )
    printed = python(
        """
for revision, seed in (('v1.0.0', 1), ('main', 2)):
    loaded = AutoModelForSequenceClassification.from_pretrained('local/tiny', revision=revision)
    print(same(make_model(seed), loaded))
tokenizer = AutoTokenizer.from_pretrained('local/tiny', revision='v1.0.0')
print(tokenizer('a good film')['input_ids'])
""",
        person='bob',
    )
    assert printed.splitlines() == ['True', 'True', '[5, 6, 8]']


def test_pushed_model_is_what_git_has(python, repository):
    python(PUSH)
    files = git('ls-tree', '-r', '--name-only', 'main', cwd=repository).split()
    assert {'config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'} <= set(files)
    git('fsck', '--full', '--strict', cwd=repository)
    git('lfs', 'fsck', 'main', cwd=repository)


def test_trainer_pushes_what_it_has_trained(python, repository):
    printed = python(
        """
from transformers import Trainer, TrainingArguments
tokenizer, model = make_tokenizer(), make_model(seed=1)
rows = [{**tokenizer(text), 'label': label} for text, label in (('a good film', 1), ('a bad film', 0))]
arguments = TrainingArguments('out', max_steps=2, report_to=[], use_cpu=True, hub_model_id='local/tiny', disable_tqdm=True)
trainer = Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer)
trainer.train()
trainer.push_to_hub(commit_message='End of training')
loaded = AutoModelForSequenceClassification.from_pretrained('local/tiny')
print(same(trainer.model, loaded), same(make_model(seed=1), loaded))
"""
    )
    assert printed.splitlines()[-1] == 'True False'
    assert 'End of training' in git('log', '--format=%s', cwd=repository)
    assert 'library_name: transformers' in git('show', 'main:README.md', cwd=repository)


def test_trainer_pushes_at_every_checkpoint(python, repository):
    python(
        """
from transformers import Trainer, TrainingArguments
tokenizer, model = make_tokenizer(), make_model(seed=1)
rows = [{**tokenizer('a good film'), 'label': 1}] * 4
arguments = TrainingArguments(
    'out', max_steps=2, save_steps=1, save_strategy='steps', push_to_hub=True, hub_strategy='checkpoint',
    report_to=[], use_cpu=True, hub_model_id='local/tiny', disable_tqdm=True,
)
Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train()
"""
    )
    files = git('ls-tree', '-r', '--name-only', 'main', cwd=repository).split()
    assert 'last-checkpoint/trainer_state.json' in files
    assert 'Training in progress, step 1' in git('log', '--format=%s', cwd=repository).splitlines()


def test_model_in_shards_is_loaded(python):
    printed = python(
        """
make_model(seed=1).push_to_hub('local/tiny', max_shard_size='20KB')
loaded = AutoModelForSequenceClassification.from_pretrained('local/tiny')
from huggingface_hub import list_repo_files
print(same(make_model(seed=1), loaded), 'model.safetensors.index.json' in list_repo_files('local/tiny'))
"""
    )
    assert printed.strip() == 'True True'


def test_private_model_is_loaded_by_its_owner_alone(python):
    python("make_model(seed=1).push_to_hub('local/tiny', private=True)")
    program = """
try:
    AutoModel.from_pretrained('local/tiny')
    print('loaded')
except OSError as e:
    print('not a valid model identifier' in str(e))
"""
    assert python(program).strip() == 'loaded'
    assert python(program, person='nobody', token='').strip() == 'True'


def test_own_module_with_the_mixin_is_loaded_at_a_tag(python):
    printed = python(
        """
from huggingface_hub import PyTorchModelHubMixin, create_tag

class Own(torch.nn.Module, PyTorchModelHubMixin, license='mit', tags=['own']):
    def __init__(self, width: int):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(width))

Own(width=3).push_to_hub('local/tiny')
create_tag('local/tiny', tag='v1.0.0')
Own(width=5).push_to_hub('local/tiny')
print([len(Own.from_pretrained('local/tiny', revision=name).weight) for name in ('v1.0.0', 'main')])
"""
    )
    assert printed.strip() == '[3, 5]'


def test_model_is_pushed_as_a_pull_request(python):
    printed = python(
        """
done = make_model(seed=1).push_to_hub('local/tiny', create_pr=True)
from huggingface_hub import merge_pull_request
merge_pull_request('local/tiny', done.pr_num)
print(same(make_model(seed=1), AutoModelForSequenceClassification.from_pretrained('local/tiny')))
"""
    )
    assert printed.strip() == 'True'


EMBED = """
import sys, torch
from transformers import AutoModel, AutoTokenizer
def embed(name, **kwargs):
    tokens = AutoTokenizer.from_pretrained(name, **kwargs)('A small model of real use.', return_tensors='pt')
    with torch.no_grad():
        return AutoModel.from_pretrained(name, **kwargs)(**tokens).last_hidden_state
print(torch.equal(embed('local/minilm', revision='v1.0.0'), embed(sys.argv[1])))
"""


def test_real_model_uploaded_by_hf_says_the_same(hub, python, minilm, tmp_path):
    run_hf(hub, tmp_path / 'ada', 'upload', 'local/minilm', minilm, '.')
    run_hf(hub, tmp_path / 'ada', 'repos', 'tag', 'create', 'local/minilm', 'v1.0.0')
    assert python(EMBED, minilm, person='bob').strip() == 'True'


def test_real_model_released_by_hfmirror_says_the_same(hub, mirror, python, minilm, tmp_path):
    model = shutil.copytree(minilm, tmp_path / 'minilm')
    mirror.push(model, '--repo', 'local/minilm', '--tag', 'v1.0.0')
    assert python(EMBED, minilm).strip() == 'True'
