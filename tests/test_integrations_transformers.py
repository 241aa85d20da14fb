"""A real transformers.Trainer on a tiny model: each of its saves is a release, and nothing that fails is its business."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfmirror import errors, outbox
from hfmirror.config.places import home
from hfmirror.integrations.trainer import NEVER
from hfmirror.spool import Spool
from tests.support import folder as folders
from tests.support.tinytrainer import made

# Warnings of torch and transformers are not ours to mend.
pytestmark = [pytest.mark.heavy, pytest.mark.filterwarnings('ignore')]

ROOT = Path(__file__).parents[1]
NOWHERE = 'http://127.0.0.1:9/me/tiny-model.git'
STATE = {'optimizer.pt', 'scheduler.pt', 'rng_state.pth', 'trainer_state.json'}


def checksums(path):
    """Return {path: sha256} of the files below ``path`` that this Python's pickles let be released."""
    return {name: found for name, found in folders.checksums(path).items() if name not in NEVER}


def callback(repo='me/tiny-model', every=None, **terms):
    from hfmirror.integrations.transformers import HfMirrorCallback

    return HfMirrorCallback(repo, every, **{'remotes': 'local', 'keep': None, **terms})


def trained(tmp_path, repo='me/tiny-model', every=None, *, terms=None, **arguments):
    """Train, and return the callback."""
    released = callback(repo, every, **(terms or {}))
    made(tmp_path / 'out', released, **arguments).train()
    return released


def told(released):
    return [(result.status, result.version) for result in released.results]


def files(mirror, revision):
    return set(mirror.files(revision)) - {'.gitattributes', 'README.md'}


@pytest.fixture
def online(hub, monkeypatch, mirror):
    """The embedded Hub as the Hub; ``mirror`` looks at local/tiny-model."""
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', hub.token)
    mirror.remote = mirror.home / 'hub' / 'models' / 'local' / 'tiny-model.git'
    return {'remotes': 'hub'}


# -- what becomes a release


def test_each_save_is_a_release_and_the_finished_model_is_a_version(tmp_path, mirror):
    released = trained(tmp_path, save_total_limit=1)
    assert told(released) == [('pushed', name) for name in ('step-2', 'step-4', 'step-6', 'v0.1.0')]
    assert mirror.tags() == ['step-2', 'step-4', 'step-6', 'v0.1.0']
    assert files(mirror, 'step-2') >= STATE | {'model.safetensors', 'config.json'} | (
        {'training_args.bin'} - set(NEVER)
    )
    assert not files(mirror, 'v0.1.0') & (STATE - {'trainer_state.json'})


def test_what_was_rotated_away_while_it_waited_has_its_own_bytes(tmp_path, hub, online, mirror):
    hub.delay('POST /info/lfs', 1.0, times=2)
    kept = {}

    from transformers import TrainerCallback

    class Keeps(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            kept[state.global_step] = checksums(Path(args.output_dir) / f'checkpoint-{state.global_step}')

    released = callback('local/tiny-model', **online)
    made(tmp_path / 'out', released, Keeps(), steps=10, save_total_limit=1).train()
    assert told(released)[:-1] == [('pushed', f'step-{step}') for step in (2, 4, 6, 8, 10)]
    assert [path.name for path in (tmp_path / 'out').iterdir()] == ['checkpoint-10']
    for step, expected in kept.items():
        to = tmp_path / f'pulled-{step}'
        mirror.run('pull', f'step-{step}', '--to', to, '--repo', 'local/tiny-model', code=0)
        found = checksums(to)
        assert {name: found.get(name) for name in expected} == expected


def test_only_the_last_tags_stay_and_the_history_is_whole(tmp_path, mirror):
    trained(tmp_path, steps=8, terms={'keep': 2})
    assert mirror.tags() == ['step-6', 'step-8', 'v0.1.0']
    assert mirror.git('rev-list', '--count', 'main') == '5'


def test_every_epoch_is_a_release_though_the_trainer_saves_by_steps(tmp_path, mirror):
    trained(tmp_path, every='epoch', steps=24, save_steps=5, terms={'tag': 'epoch-{epoch}'})
    assert mirror.tags() == ['epoch-1', 'epoch-2', 'v0.1.0']
    assert json.loads(mirror.files('epoch-1')['trainer_state.json'])['global_step'] == 12


def test_an_epoch_that_ends_with_a_save_is_not_saved_twice(tmp_path, mirror):
    trained(tmp_path, every='epoch', steps=24, save_steps=12)
    assert mirror.tags() == ['step-12', 'step-24', 'v0.1.0']


def test_only_what_is_better_is_released_and_the_best_is_the_version(tmp_path, mirror):
    class Worse:
        """Losses as a training that gets better, worse, and better again."""

        values = iter((3.0, 2.0, 2.5, 1.0, 1.5))

    def metrics(_):
        return {'made_up': next(Worse.values)}

    released = callback(every='best')
    trainer = made(
        tmp_path / 'out',
        released,
        steps=10,
        evaluates=True,
        load_best_model_at_end=True,
        metric_for_best_model='made_up',
        greater_is_better=False,
    )
    trainer.compute_metrics = metrics
    trainer.train()
    assert mirror.tags() == ['step-2', 'step-4', 'step-8', 'v0.1.0']
    assert mirror.git('rev-parse', 'step-8:model.safetensors') == mirror.git(
        'rev-parse', 'v0.1.0:model.safetensors'
    )


def test_the_end_alone_can_be_released_and_nothing_need_be_saved(tmp_path, mirror):
    released = trained(tmp_path, every='end', save_strategy='no', terms={'final_tag': 'v3.0.0'})
    assert told(released) == [('pushed', 'v3.0.0')]
    assert files(mirror, 'v3.0.0') >= {'config.json', 'model.safetensors', 'trainer_state.json'}
    assert list((tmp_path / 'out').iterdir()) == []


def test_a_model_that_is_none_of_transformers_is_released_too(tmp_path, mirror):
    import torch

    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(8))

        def forward(self, input_ids, labels):
            return {'loss': ((self.weight - labels[0]) ** 2).sum()}

    trained(tmp_path, every='end', save_strategy='no', model=Plain())
    assert 'model.safetensors' in files(mirror, 'v0.1.0')


@pytest.mark.parametrize(
    ('strategy', 'expected'),
    [
        ('every_save', lambda names: not names & {'optimizer.pt'}),
        ('checkpoint', lambda names: 'last-checkpoint/optimizer.pt' in names),
        (
            'all_checkpoints',
            lambda names: {'checkpoint-2/optimizer.pt', 'checkpoint-4/optimizer.pt'} <= names,
        ),
    ],
)
def test_the_names_of_hub_strategy_are_understood(tmp_path, mirror, strategy, expected):
    trained(tmp_path, every=strategy, steps=4, terms={'keep': 1})
    assert expected(files(mirror, 'step-4')) and expected(files(mirror, 'v0.1.0'))
    assert 'model.safetensors' in files(mirror, 'step-4') and 'optimizer.pt' not in files(mirror, 'step-4')
    assert ('step-2' in mirror.tags()) == (strategy == 'all_checkpoints')


def test_what_the_arguments_say_of_the_hub_is_used(tmp_path, hub, online, mirror):
    trained(
        tmp_path,
        None,
        steps=2,
        hub_model_id='local/tiny-model',
        hub_strategy='end',
        hub_private_repo=True,
        terms=online,
    )
    assert mirror.tags() == ['v0.1.0']
    assert mirror.run('whoami', code=0)
    from huggingface_hub import HfApi

    assert HfApi(hub.endpoint, token=hub.token).model_info('local/tiny-model').private


def test_the_repository_is_called_as_the_folder_when_nobody_says_more(tmp_path, mirror):
    released = trained(tmp_path, None, every='end', steps=2)
    assert released.results[0].url.endswith('/local/out.git')


@pytest.mark.parametrize(
    ('given', 'message'),
    [
        ({'every': 'saves'}, "every='saves': not known. Use one of 'save', 'epoch'"),
        ({'every': 'save', 'tag': 'v{step:03}'}, 'tag='),
        ({'every': 'best', 'keep': -1}, 'keep=-1'),
    ],
)
def test_wrong_values_are_told_before_anything_is_trained(given, message):
    with pytest.raises(errors.UsageError, match=re.escape(message)):
        callback(**given)


# -- the card


def test_the_card_has_the_curve_as_a_picture_and_as_a_table(tmp_path, mirror):
    trained(tmp_path, evaluates=True)
    card = mirror.files('v0.1.0')['README.md'].decode()
    assert '![Losses and metrics over the steps of the training](training_curve.png)' in card
    assert '| step | epoch | loss | eval&#95;loss |' in card and '| `eval_loss` |' in card
    mirror.run('pull', 'v0.1.0', '--to', tmp_path / 'got', '--repo', mirror.repo, '--remote', 'local', code=0)
    assert (tmp_path / 'got' / 'training_curve.png').read_bytes().startswith(b'\x89PNG\r\n\x1a\n')


def test_a_picture_in_the_card_is_shown_by_the_hub(tmp_path, hub, online):
    trained(tmp_path, 'local/tiny-model', every='end', evaluates=True, terms=online)
    import urllib.request

    url = f'{hub.endpoint}/local/tiny-model/resolve/main/training_curve.png'
    with urllib.request.urlopen(url) as answer:
        assert answer.read(8) == b'\x89PNG\r\n\x1a\n'


def test_without_matplotlib_the_card_has_the_table(tmp_path, mirror, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'matplotlib.figure', None)
    trained(tmp_path, every='end', evaluates=True)
    assert 'training_curve.png' not in files(mirror, 'v0.1.0')
    assert '| step | epoch | loss |' in mirror.files('v0.1.0')['README.md'].decode()
    assert "pip install 'hf-mirror[plot]'" in capsys.readouterr().err


def test_words_of_a_person_in_the_output_folder_are_in_the_card_and_stay(tmp_path, mirror):
    (tmp_path / 'out').mkdir()
    (tmp_path / 'out' / 'README.md').write_text('# Mine\n\nMy own words.\n')
    trained(tmp_path, every='end', save_strategy='no')
    assert 'My own words.' in mirror.files('v0.1.0')['README.md'].decode()
    assert (tmp_path / 'out' / 'README.md').read_text() == '# Mine\n\nMy own words.\n'


# -- what fails is not raised into the training


def test_a_network_that_is_cut_in_the_middle_makes_releases_wait(tmp_path, hub, online, mirror, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    hub.cut('POST /git-receive-pack', received=0, times=1000)
    released = trained(tmp_path, 'local/tiny-model', terms=online)
    assert told(released) == [('queued', name) for name in ('step-2', 'step-4', 'step-6', 'v0.1.0')]
    hub.heal()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['step-2', 'step-4', 'step-6', 'v0.1.0']
    mirror.assert_whole()


def test_what_waited_and_went_with_a_later_release_is_told_as_released(
    tmp_path, hub, online, mirror, monkeypatch
):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    hub.fail('POST /git-receive-pack', 503, times=1)
    released = trained(tmp_path, 'local/tiny-model', terms=online)
    assert {status for status, _ in told(released)} == {'pushed'}
    assert mirror.tags() == ['step-2', 'step-4', 'step-6', 'v0.1.0']


def test_a_training_without_a_network_takes_no_longer(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__RETRY_DELAY', '0.2')
    ended = []

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            self.started = time.perf_counter()

        def on_train_end(self, *args, **kwargs):
            ended.append(time.perf_counter() - self.started)

    made(tmp_path / 'alone', Clock(), steps=20).train()
    released = callback(remotes=NOWHERE)
    made(
        tmp_path / 'out', Clock(), released, steps=20
    ).train()  # the clock comes before us, so our wait is not in it
    alone, together = ended
    assert together < alone + 3.0
    assert {status for status, _ in told(released)} == {'queued'} and len(told(released)) == 11


def test_a_failure_is_told_once_and_kept(tmp_path, hub, online, capsys):
    hub.fail('* /', 403, times=1000)
    released = trained(tmp_path, 'local/tiny-model', steps=8, slow_s=0.6, terms=online)
    assert {status for status, _ in told(released)} == {'failed'}
    assert capsys.readouterr().err.count('warning: hfmirror:') == 1
    assert len(Spool(home()).saves()) == 5


def test_a_training_that_diverges_is_released_all_the_same(tmp_path, mirror):
    released = callback()
    trainer = made(tmp_path / 'out', released, steps=4, evaluates=True)
    trainer.compute_metrics = lambda _: {'bad': float('nan'), 'worse': float('-inf')}
    trainer.train()
    assert {status for status, _ in told(released)} == {'pushed'}
    state = json.loads(mirror.files('step-4')['trainer_state.json'], parse_constant=pytest.fail)
    assert state['global_step'] == 4


def test_who_is_strict_hears_of_a_failure_while_it_trains(tmp_path, hub, online):
    hub.fail('* /', 403, times=1000)
    released = callback('local/tiny-model', strict=True, **online)
    trainer = made(tmp_path / 'out', released, steps=400, slow_s=0.1)
    with pytest.raises(errors.HfmirrorError):
        trainer.train()
    assert trainer.state.global_step < 400


def test_who_is_strict_hears_at_the_end_of_what_waits(tmp_path, monkeypatch):
    monkeypatch.setenv('HFMIRROR_SETTINGS__UPLOAD__MAX_RETRIES', '0')
    with pytest.raises(errors.NetworkError, match='waits for the network'):
        trained(tmp_path, every='end', steps=2, terms={'strict': True, 'remotes': NOWHERE})
    assert outbox.waiting(home().outbox)


def test_a_disk_that_is_refused_does_not_stop_a_training(tmp_path, monkeypatch, capsys):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('HFMIRROR_HOME', str(tmp_path / 'file'))
    released = trained(tmp_path)
    assert {status for status, _ in told(released)} == {'failed'} and len(told(released)) == 4
    assert capsys.readouterr().err.count('warning: hfmirror:') == 1


@pytest.mark.parametrize('failure', [OSError('gone'), ImportError('no such package'), AttributeError('odd')])
def test_nothing_that_goes_wrong_here_is_raised_into_a_training(tmp_path, monkeypatch, capsys, failure):
    from hfmirror.integrations import trainer as trainers
    from hfmirror.integrations.releases import Releases

    def broken(*args, **kwargs):
        raise failure

    with monkeypatch.context() as patch:
        for owner, name in ((trainers, 'checkpoint_of'), (Releases, '_collect'), (Releases, '_wait')):
            patch.setattr(owner, name, broken)
        released = callback()
        trainer = made(tmp_path / 'out', released, steps=4)
        trainer.train()
    assert trainer.state.global_step == 4
    assert capsys.readouterr().err.count('warning: hfmirror:') == 1


def test_an_interruption_is_one(tmp_path, monkeypatch):
    from hfmirror.integrations.releases import Releases

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(Releases, 'put', interrupted)
    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / 'out', callback(), steps=4).train()


def test_training_twice_with_one_trainer_releases_both(tmp_path, mirror):
    released = callback()
    trainer = made(tmp_path / 'my out ü', released, steps=2)
    trainer.train()
    trainer.train()
    assert told(released) == [('pushed', 'step-2.2'), ('pushed', 'v0.2.0')]
    assert mirror.tags() == ['step-2', 'step-2.2', 'v0.1.0', 'v0.2.0']


def test_an_evaluation_alone_releases_nothing(tmp_path):
    released = callback()
    made(tmp_path / 'out', released, evaluates=True).evaluate()
    assert released.results == [] and not Spool(home()).root.exists()


def test_a_hub_that_takes_its_time_costs_the_training_none(tmp_path, hub, online):
    hub.delay('POST /info/lfs', 3.0, times=3)
    ends = []

    from transformers import TrainerCallback

    class Clock(TrainerCallback):
        def on_train_begin(self, *args, **kwargs):
            self.started = time.perf_counter()

        def on_train_end(self, *args, **kwargs):
            ends.append(time.perf_counter() - self.started)

    made(tmp_path / 'alone', Clock(), steps=10, save_steps=5).train()
    made(tmp_path / 'out', Clock(), callback('local/tiny-model', **online), steps=10, save_steps=5).train()
    assert ends[1] < ends[0] + 2.0


# -- killed, begun again, resumed

_SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.support.tinytrainer import made
from hfmirror.integrations.transformers import HfMirrorCallback
released = HfMirrorCallback({repo!r}, remotes={remotes!r}, keep=None)
trainer = made('out', released, steps={steps}, slow_s={slow_s}, save_total_limit=1)
trainer.train(resume_from_checkpoint={resume!r})
print('ended at', trainer.state.global_step)
"""


def script(repo='me/tiny-model', remotes='local', steps=8, slow_s=0.0, resume=None):
    values = {'root': str(ROOT), 'repo': repo, 'remotes': remotes, 'steps': steps, 'slow_s': slow_s}
    return [sys.executable, '-c', _SCRIPT.format(**values, resume=resume)]


def killed_after(tmp_path, step, *command):
    """Run a training and kill it when it has written the checkpoint of a step."""
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        while not (tmp_path / 'out' / f'checkpoint-{step}' / 'trainer_state.json').exists():
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.2)  # our part of that save
        process.send_signal(signal.SIGKILL)


def test_what_a_killed_training_has_saved_is_released_all_the_same(tmp_path, mirror):
    killed_after(tmp_path, 4, *script(steps=100, slow_s=0.2))
    mirror.run('resume', code=0)
    assert [tag for tag in mirror.tags() if tag in ('step-2', 'step-4')] == ['step-2', 'step-4']
    mirror.assert_whole()


def test_a_killed_training_goes_on_in_an_empty_folder_where_it_was(tmp_path, mirror):
    killed_after(tmp_path, 4, *script(steps=8, slow_s=0.4))
    mirror.run('resume', code=0)
    fresh = tmp_path / 'fresh'
    fresh.mkdir()
    where = ('--repo', mirror.repo, '--remote', 'local')
    pulled = mirror.run('pull', 'latest-checkpoint', *where, '--json', cwd=fresh, code=0).json
    assert pulled['to'] == 'checkpoint-4' and pulled['version'] == 'step-4'
    assert pulled['python'] == "trainer.train(resume_from_checkpoint='checkpoint-4')"
    done = subprocess.run(
        script(steps=8, resume='checkpoint-4'), cwd=fresh, capture_output=True, text=True, check=True
    )
    assert 'ended at 8' in done.stdout
    steps = json.loads(mirror.files('step-8')['trainer_state.json'])['log_history']
    assert [entry['step'] for entry in steps] == list(range(1, 9))
    assert mirror.tags() == ['step-2', 'step-4', 'step-6', 'step-8', 'v0.1.0']


@pytest.mark.parametrize('every', ['checkpoint', 'all_checkpoints'])
def test_a_checkpoint_in_a_folder_of_the_repository_is_found(tmp_path, mirror, every):
    trained(tmp_path, every=every, steps=4)
    where = ('--repo', mirror.repo, '--remote', 'local')
    mirror.run('pull', 'latest-checkpoint', *where, '--to', tmp_path / 'got', code=0)
    assert json.loads((tmp_path / 'got' / 'trainer_state.json').read_text())['global_step'] == 4
    made(tmp_path / 'more', steps=6).train(resume_from_checkpoint=str(tmp_path / 'got'))


def test_a_training_that_begins_again_loses_nothing(tmp_path, mirror):
    trained(tmp_path, steps=4)
    released = trained(tmp_path, steps=4, learning_rate=0.5)
    assert told(released) == [('pushed', 'step-2.2'), ('pushed', 'step-4.2'), ('pushed', 'v0.2.0')]
    assert mirror.git('rev-parse', 'step-2:model.safetensors') != mirror.git(
        'rev-parse', 'step-2.2:model.safetensors'
    )


def test_what_waits_of_an_earlier_training_is_not_overwritten_by_the_next(tmp_path, mirror, monkeypatch):
    from hfmirror import sender

    with monkeypatch.context() as patch:  # a process that is killed before it gets to anything
        patch.setattr(sender, 'start', lambda token: subprocess.Popen(['true']))
        trained(tmp_path, steps=2)
        expected = checksums(tmp_path / 'out' / 'checkpoint-2')
    trained(tmp_path, steps=2, learning_rate=0.5)
    assert checksums(tmp_path / 'out' / 'checkpoint-2') != expected
    mirror.run('pull', 'step-2', '--to', tmp_path / 'got', '--repo', mirror.repo, '--remote', 'local', code=0)
    found = checksums(tmp_path / 'got')
    assert {name: found.get(name) for name in expected} == expected


def test_a_trainer_of_trl_with_an_adapter_and_a_tokenizer(tmp_path, mirror):
    from datasets import Dataset
    from peft import LoraConfig
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    words = Tokenizer(models.WordLevel({'<unk>': 0, '<eos>': 1, 'a': 2, 'b': 3}, unk_token='<unk>'))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token='<eos>', pad_token='<eos>')
    sizes = {'hidden_size': 8, 'intermediate_size': 8, 'num_hidden_layers': 1}
    heads = {'num_attention_heads': 1, 'num_key_value_heads': 1}
    released = callback(every='checkpoint')
    SFTTrainer(
        model=LlamaForCausalLM(LlamaConfig(vocab_size=4, **sizes, **heads)),
        args=SFTConfig(
            str(tmp_path / 'out'),
            max_steps=4,
            save_steps=2,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_dict({'text': ['a b a b'] * 16}),
        processing_class=tokenizer,
        callbacks=[released],
        peft_config=LoraConfig(r=2, target_modules=['q_proj'], task_type='CAUSAL_LM'),
    ).train()
    assert told(released) == [('pushed', 'step-2'), ('pushed', 'step-4'), ('pushed', 'v0.1.0')]
    expected = {
        'adapter_model.safetensors',
        'tokenizer.json',
        'training_curve.png',
        'last-checkpoint/optimizer.pt',
    }
    assert files(mirror, 'v0.1.0') >= expected


# -- several processes


def test_of_several_processes_only_the_main_one_releases(tmp_path, mirror):
    path = tmp_path / 'train.py'
    path.write_text(
        _SCRIPT.format(
            root=str(ROOT), repo=mirror.repo, remotes='local', steps=4, slow_s=0, resume=None
        ).replace(
            "print('ended at', trainer.state.global_step)",
            "print('releases', len(released.results))\n"
            'import torch.distributed\ntorch.distributed.destroy_process_group()',
        )
    )
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc_per_node', '2']
    done = subprocess.run(
        [sys.executable, *launch, path],
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert sorted(re.findall(r'releases (\d)', done.stdout)) == ['0', '3']
    assert mirror.tags() == ['step-2', 'step-4', 'v0.1.0']
    assert {'rng_state_0.pth', 'rng_state_1.pth'} <= files(mirror, 'step-2')


# -- time


def test_the_training_waits_for_milliseconds_also_for_a_large_checkpoint(tmp_path, monkeypatch):
    from hfmirror.integrations.releases import Releases
    from hfmirror.spool import Part, Save

    folder = tmp_path / 'out' / 'checkpoint-1'
    folder.mkdir(parents=True)
    for number in range(4):
        with (folder / f'model-{number}.bin').open('wb') as file:
            file.write(os.urandom(1_000_000) * 64)
    releases = Releases()
    started = time.perf_counter()
    releases.put(Save(str(folder.parent), 'me/tiny-model', remotes=('local',), tag='step-1'), [Part(folder)])
    took = time.perf_counter() - started
    releases.finish()
    assert took < 0.5
