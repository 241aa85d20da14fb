#!/usr/bin/env python
"""What can be done with ``HuggingFaceManager``, one example after the other, on models that this file makes itself.

    python examples/huggingface_usage.py                 # in the local Hub, on this machine
    python examples/huggingface_usage.py --remote hub    # on the Hugging Face Hub, as the owner of your token

Everything is written below a temporary folder, the local Hub included, unless ``--folder`` names another one.
"""

from __future__ import annotations

import json
import os
import random
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from hfmirror import errors
from hfmirror.main import error_handler
from hfmirror.manager import HuggingFaceManager

CONFIG = """\
training:
  learning_rate: 0.1        # the first that worked
  epochs: 3

huggingface:
  repository:
    model_name: {name}
  remotes: [{remote}]
  versioning:
    auto_increment: minor
  model_card:
    license: mit
"""


def train(folder: Path, *, epochs: int, seed: int = 1) -> dict[str, float]:
    """Stand in for a training run: write a model with its configuration and results, and return the results."""
    chance = random.Random(seed * 1000 + epochs)
    results = {'accuracy': round(1 - 0.4 / epochs, 3), 'loss': round(0.9 / epochs, 3)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.bin').write_bytes(chance.randbytes(20_000))
    (folder / 'config.json').write_text(json.dumps({'model_type': 'example', 'hidden_size': 16}))
    (folder / 'training_args.json').write_text(json.dumps({'learning_rate': 0.1, 'num_train_epochs': epochs}))
    (folder / 'eval_results.json').write_text(json.dumps(results))
    return results


def one_call(manager: HuggingFaceManager) -> None:
    """Publish a whole training run: model, configuration, results and metadata."""
    train(Path('exp1'), epochs=1)
    results = manager.sync_training_workflow('./exp1', experiment_name='baseline', version_tag='v1.0.0')
    for key, url in results.items():
        print(f'  {key}: {url}')


def step_by_step(manager: HuggingFaceManager) -> None:
    """Do the same in steps, each of which can be left out."""
    train(Path('exp2'), epochs=2)
    manager.create_repositories()
    manager.upload_model('./exp2', version_tag='v1.1.0', commit_message='feat: train for two epochs')
    manager.upload_training_config(config_data=manager.config, experiment_name='two-epochs')
    manager.upload_training_results('./exp2/eval_results.json', experiment_name='two-epochs')


def batch(manager: HuggingFaceManager) -> None:
    """Publish several runs, each under the next version that the configuration makes."""
    for epochs in (4, 8):
        train(Path('exp'), epochs=epochs)
        manager.sync_training_workflow('./exp', experiment_name=f'{epochs}-epochs')


def only_when_good(manager: HuggingFaceManager) -> None:
    """Publish what is good enough, under a version that tells the time."""
    for epochs in (1, 16):
        results = train(Path('exp'), epochs=epochs)
        if results['accuracy'] > 0.95:
            tag = f'v{datetime.now():%Y%m%d-%H%M%S}'
            manager.sync_training_workflow('./exp', experiment_name='high_accuracy_model', version_tag=tag)
            print(f'  {epochs} epochs: published')
        else:
            print(f'  {epochs} epochs: not good enough')


def own_card(manager: HuggingFaceManager) -> None:
    """Write the model card with sections of one's own."""
    card = manager.generate_model_card(
        model_path='./exp1',
        version_tag='v1.0.0',
        custom_sections={
            'limitations': 'This model may have biases.',
            'ethical_considerations': 'Please use it responsibly.',
        },
    )
    Path('MODEL_CARD.md').write_text(card, 'utf-8')
    print(f'  MODEL_CARD.md: {len(card.splitlines())} lines')


def what_goes_wrong(manager: HuggingFaceManager) -> None:
    """Errors say what failed, on what, and what to do next; a tag never moves."""
    try:
        manager.upload_model('./exp2', version_tag='v1.0.0')
    except errors.ConflictError as e:
        print(f'  {e}')


def look_and_get_back(manager: HuggingFaceManager) -> None:
    """List what there is, and fetch a version."""
    for version in manager.list_versions():
        print(f'  {version.name:20} {version.kind:10} {version.metrics}')
    for experiment in manager.list_experiments():
        print(f'  {experiment.name:20} {experiment.version:20} {experiment.metrics}')
    print(f'  v1.0.0 is in {manager.download_model("v1.0.0", "./downloaded")}')


EXAMPLES = (one_call, step_by_step, batch, only_when_good, own_card, what_goes_wrong, look_and_get_back)


def run(folder: Path, name: str, remote: str) -> None:
    """Run every example in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    os.environ.setdefault('HFMIRROR_HOME', str(folder / 'hfmirror'))
    Path('config.yaml').write_text(CONFIG.format(name=name, remote=remote))
    manager = HuggingFaceManager('config.yaml')
    for number, example in enumerate(EXAMPLES, start=1):
        print(f'{number}. {(example.__doc__ or "").splitlines()[0]}')
        example(manager)


@click.command()
@click.option('--remote', default='local', show_default=True, metavar='hub|local|URL', help='Where to.')
@click.option('--name', default='me/hfmirror-example', show_default=True, help='The repository.')
@click.option('--folder', type=click.Path(path_type=Path), help='Where to work.  [default: a temporary one]')
def command(remote: str, name: str, folder: Path | None) -> None:
    """Run the examples."""
    if folder is not None:
        run(folder.absolute(), name, remote)
        return
    with TemporaryDirectory() as temporary:
        run(Path(temporary), name, remote)


if __name__ == '__main__':
    with error_handler():
        command(standalone_mode=False)
