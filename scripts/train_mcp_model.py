"""Train the example's model, and publish the run when the configuration says so.

Run as ``python scripts/train_mcp_model.py --config config.yaml``, after generate_dataset.py. On one machine the same data
and settings make the same files. ``eval_results.json`` is written last: a folder without it is of a run that was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import click
import numpy as np
import tool_classifier
from tool_classifier import Classifier, Step
from training_settings import Settings, Training, chosen_file, config_option, read_settings

from hfmirror import durable, errors, output
from hfmirror.config.loading import load_config
from hfmirror.main import error_handler
from hfmirror.training import Run, check_before_training, sync_after_training

RESULTS = 'eval_results.json'


class Split(NamedTuple):
    """Part of a data set."""

    texts: list[str]
    tools: list[str]


class Trained(NamedTuple):
    """A model, and the epoch at which it did best on the validation data: the most right, of those the least loss."""

    model: Classifier
    epoch: int


def read_data(folder: Path) -> tuple[Split, Split, Split]:
    """Return the data for training, validation and test. Raises SourceError when they do not fit together."""
    learnt, validation, test = (_split(folder, name) for name in ('train', 'validation', 'test'))
    unknown = {*validation.tools, *test.tools} - {*learnt.tools}
    if unknown:
        raise errors.SourceError(f'{folder}: no example for training calls for {", ".join(sorted(unknown))}.')
    return learnt, validation, test


def _split(folder: Path, name: str) -> Split:
    path = folder / f'{name}.jsonl'
    try:
        rows = [json.loads(line) for line in path.read_text('utf-8').splitlines()]
        split = Split([str(row['text']) for row in rows], [str(row['tool']) for row in rows])
    except FileNotFoundError as e:
        raise errors.SourceError(
            f'{path}: no such file. Make the data with scripts/generate_dataset.py first.'
        ) from e
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise errors.SourceError(
            f'{path}: not the data set that scripts/generate_dataset.py makes: {e!r}.'
        ) from e
    if not rows:
        raise errors.SourceError(f'{path}: it has no examples.')
    return split


def train(settings: Settings, learnt: Split, validation: Split) -> Trained:
    """Return the model of the epoch that did best on the validation data."""
    vocabulary = tool_classifier.build_vocabulary(learnt.texts, settings.model.vocabulary_size)
    tools, how = sorted(set(learnt.tools)), settings.training
    model = tool_classifier.new_classifier(
        vocabulary, tools, hidden_size=settings.model.hidden_size, seed=how.seed
    )
    inputs, labels = tool_classifier.vectors(learnt.texts, vocabulary), _labels(learnt, tools)
    step = Step(how.learning_rate, how.weight_decay, how.batch_size)
    losses = tool_classifier.train(model, inputs, labels, step=step, seed=how.seed)
    best, most = Trained(model, 0), (-np.inf, -np.inf)
    for epoch, loss in zip(range(1, how.epochs + 1), losses, strict=False):
        measured = evaluate(model, validation)
        output.say(
            f'epoch {epoch:>2}/{how.epochs}  loss {loss:.4f}  validation loss {measured["loss"]:.4f}'
            f'  accuracy {measured["accuracy"]:.4f}'
        )
        if (good := (measured['accuracy'], -measured['loss'])) > most:
            kept = {name: value.copy() for name, value in model.weights.items()}
            best, most = Trained(model._replace(weights=kept), epoch), good
    return best


def _labels(split: Split, tools: list[str]) -> np.ndarray:
    return np.array([tools.index(tool) for tool in split.tools])


def evaluate(model: Classifier, split: Split) -> dict[str, float]:
    """Return accuracy, the mean over tools of F1, and the loss."""
    labels, probabilities = _labels(split, model.tools), model.probabilities(split.texts)
    guesses = probabilities.argmax(axis=1)
    scores = [_f1(guesses == number, labels == number) for number in range(len(model.tools))]
    return {
        'accuracy': round(float((guesses == labels).mean()), 6),
        'macro_f1': round(float(np.mean(scores)), 6),
        'loss': round(tool_classifier.cross_entropy(probabilities, labels), 6),
    }


def _f1(guessed: np.ndarray, true: np.ndarray) -> float:
    return 2 * float((guessed & true).sum()) / max(float(guessed.sum() + true.sum()), 1.0)


def arguments(how: Training) -> dict[str, Any]:
    """Return what ``training_args.json`` holds, by the names that trainers of transformers use."""
    return {
        'learning_rate': how.learning_rate,
        'weight_decay': how.weight_decay,
        'per_device_train_batch_size': how.batch_size,
        'num_train_epochs': how.epochs,
        'optim': 'adamw',
        'seed': how.seed,
        'metric_for_best_model': 'accuracy',
    }


def save(folder: Path, trained: Trained, how: Training, results: Mapping[str, float]) -> None:
    (folder / RESULTS).unlink(missing_ok=True)
    files = tool_classifier.as_files(trained.model)
    files['training_args.json'] = tool_classifier.as_json(arguments(how))
    files[RESULTS] = tool_classifier.as_json({**results, 'epoch': trained.epoch})
    for name, content in files.items():
        durable.rewrite(folder / name, content)


def should_sync(eval_results: Mapping[str, float], threshold: float) -> bool:
    return eval_results.get('accuracy', 0) > threshold


def train_and_save(settings: Settings) -> dict[str, float]:
    """Train, write the model's folder, and return the results on the test data."""
    learnt, validation, test = read_data(settings.data.folder)
    durable.require_writable(settings.training.output_dir / RESULTS)
    trained = train(settings, learnt, validation)
    results = evaluate(trained.model, test)
    save(settings.training.output_dir, trained, settings.training, results)
    output.say(
        f'{settings.training.output_dir}: accuracy {results["accuracy"]:.4f}, loss {results["loss"]:.4f} on the test data'
    )
    return results


def publishes(config_file: Path) -> bool:
    """Return whether the configuration publishes runs. One that cannot be read does not; ``sync_after_training`` says why."""
    try:
        config = load_config(config_file)
    except errors.HfmirrorError:
        return False
    return config.enabled and config.auto_sync


def publish(run: Run, settings: Settings, results: Mapping[str, float], *, skip: bool, force: bool) -> None:
    threshold = settings.training.sync_above_accuracy
    asked = not (skip or force) and publishes(run.config_file)
    if asked and not should_sync(results, threshold):
        output.say(
            f'Not published: the accuracy {results["accuracy"]:.4f} is not above {threshold} '
            f'(training.sync_above_accuracy). To publish it all the same: {run.command}'
        )
        return
    for name, url in (sync_after_training(run, skip=skip, force=force) or {}).items():
        output.data(f'{name}: {url or "-"}')


@click.command()
@config_option
@click.option('--epochs', type=click.IntRange(min=1), help='Instead of training.epochs.')
@click.option('--experiment-name', help='Instead of training.experiment_name.')
@click.option('--version-tag', help='Name of the version.  [default: as the configuration says]')
@click.option('--skip-hf-sync', 'skip', is_flag=True, help='Publish nothing.')
@click.option('--force-hf-sync', 'force', is_flag=True, help='Publish even if the configuration says not to.')
def command(
    config_file: Path | None,
    epochs: int | None,
    experiment_name: str | None,
    version_tag: str | None,
    skip: bool,
    force: bool,
) -> None:
    """Train the model on the data of generate_dataset.py, and publish the run when the configuration says so.

    \b
    python scripts/train_mcp_model.py --config config.yaml
    """
    if skip and force:
        raise click.UsageError('--skip-hf-sync and --force-hf-sync: give one of them.')
    chosen = chosen_file(config_file)
    settings = read_settings(chosen)
    if epochs is not None:
        longer = settings.training.model_copy(update={'epochs': epochs})
        settings = settings.model_copy(update={'training': longer})
    if not skip:
        check_before_training(chosen)
    results = train_and_save(settings)
    name = experiment_name or settings.training.experiment_name
    finished = Run(settings.training.output_dir, name, chosen, version_tag)
    publish(finished, settings, results, skip=skip, force=force)


if __name__ == '__main__':
    with error_handler():
        command(standalone_mode=False)
