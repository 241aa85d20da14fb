"""Which tool does a request call for? A small neural network on words and their parts, in numpy alone.

Run as ``python scripts/tool_classifier.py FOLDER 'what is the weather in Oslo'``. A folder of it::

    model.safetensors   hidden.weight [vocabulary, hidden], hidden.bias, output.weight [hidden, tools], output.bias
    config.json         its sizes, and the tools in the order of the outputs
    vocabulary.json     the words and parts of words, in the order of the inputs
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors.numpy import load_file, save

Weights = dict[str, np.ndarray]

_WORD = re.compile(r"[a-z']+|\d+")
_PART = 3  # letters; parts of words let a mistyped word look like the one that was meant
_BETA1, _BETA2, _EPSILON = 0.9, 0.999, 1e-8  # of Adam


class Classifier(NamedTuple):
    """The network with what its inputs and outputs stand for."""

    vocabulary: list[str]
    tools: list[str]
    weights: Weights

    def probabilities(self, texts: Sequence[str]) -> np.ndarray:
        """Return the probability of each tool, one row for each text."""
        return _softmax(_forward(self.weights, vectors(texts, self.vocabulary))[1])

    def predict(self, texts: Sequence[str]) -> list[str]:
        return [self.tools[best] for best in self.probabilities(texts).argmax(axis=1)]


class Step(NamedTuple):
    """How an optimizer goes on: the rate, how much weights shrink, and how many examples it looks at."""

    learning_rate: float
    weight_decay: float
    batch_size: int


def parts(text: str) -> set[str]:
    """Return the words of a text and the parts of its words; all numbers are one word."""
    found = set()
    for word in _WORD.findall(text.lower()):
        word = '#' if word.isdecimal() else word
        edged = f'^{word}$'
        found.add(word)
        found.update(edged[at : at + _PART] for at in range(len(edged) - _PART + 1))
    return found


def build_vocabulary(texts: Sequence[str], size: int) -> list[str]:
    """Return the ``size`` parts that are in the most texts, most first."""
    counts = Counter(part for text in texts for part in parts(text))
    return sorted(counts, key=lambda part: (-counts[part], part))[:size]


def vectors(texts: Sequence[str], vocabulary: Sequence[str]) -> np.ndarray:
    """Return one row of length 1 for each text, with a column for each part of the vocabulary."""
    column = {part: number for number, part in enumerate(vocabulary)}
    rows = np.zeros((len(texts), len(vocabulary)), np.float32)
    for row, text in zip(rows, texts, strict=True):
        row[[column[part] for part in parts(text) if part in column]] = 1
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1)


def new_classifier(vocabulary: list[str], tools: list[str], *, hidden_size: int, seed: int) -> Classifier:
    """Return a network that has learnt nothing yet."""
    chance = np.random.default_rng(seed)

    def layer(inputs: int, outputs: int) -> np.ndarray:
        return chance.normal(0, np.sqrt(2 / inputs), (inputs, outputs)).astype(np.float32)

    weights = {
        'hidden.weight': layer(len(vocabulary), hidden_size),
        'hidden.bias': np.zeros(hidden_size, np.float32),
        'output.weight': layer(hidden_size, len(tools)),
        'output.bias': np.zeros(len(tools), np.float32),
    }
    return Classifier(vocabulary, tools, weights)


def train(
    model: Classifier, inputs: np.ndarray, labels: np.ndarray, *, step: Step, seed: int
) -> Iterator[float]:
    """Learn, and yield the mean loss of each epoch, for as long as somebody asks. Changes the model's weights in place."""
    chance = np.random.default_rng(seed)
    moments = {name: (np.zeros_like(value), np.zeros_like(value)) for name, value in model.weights.items()}
    taken = 0
    while True:
        losses = []
        order = chance.permutation(len(inputs))
        for start in range(0, len(order), step.batch_size):
            batch = order[start : start + step.batch_size]
            loss, gradients = _gradients(model.weights, inputs[batch], labels[batch])
            taken += 1
            _adam(model.weights, gradients, moments, step, taken)
            losses.append(loss * len(batch))
        yield float(np.sum(losses) / len(inputs))


def _forward(weights: Weights, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    hidden = np.maximum(inputs @ weights['hidden.weight'] + weights['hidden.bias'], 0)
    return hidden, hidden @ weights['output.weight'] + weights['output.bias']


def _softmax(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def cross_entropy(probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-12)).mean())


def _gradients(weights: Weights, inputs: np.ndarray, labels: np.ndarray) -> tuple[float, Weights]:
    hidden, scores = _forward(weights, inputs)
    probabilities = _softmax(scores)
    loss = cross_entropy(probabilities, labels)
    wrong = probabilities
    wrong[np.arange(len(labels)), labels] -= 1
    wrong /= len(labels)
    back = (wrong @ weights['output.weight'].T) * (hidden > 0)
    return loss, {
        'hidden.weight': inputs.T @ back,
        'hidden.bias': back.sum(axis=0),
        'output.weight': hidden.T @ wrong,
        'output.bias': wrong.sum(axis=0),
    }


def _adam(
    weights: Weights,
    gradients: Weights,
    moments: dict[str, tuple[np.ndarray, np.ndarray]],
    step: Step,
    taken: int,
) -> None:
    rate = step.learning_rate * np.sqrt(1 - _BETA2**taken) / (1 - _BETA1**taken)
    for name, gradient in gradients.items():
        first, second = moments[name]
        first += (1 - _BETA1) * (gradient - first)
        second += (1 - _BETA2) * (np.square(gradient) - second)
        if name.endswith('weight'):
            weights[name] *= 1 - step.learning_rate * step.weight_decay
        weights[name] -= (rate * first / (np.sqrt(second) + _EPSILON)).astype(np.float32)


def as_files(model: Classifier) -> dict[str, bytes]:
    """Return {name: content} of the files that hold the model; the same model makes the same bytes."""
    config = {
        'architectures': ['ToolClassifier'],
        'hidden_size': int(model.weights['hidden.bias'].size),
        'vocabulary_size': len(model.vocabulary),
        'id2label': {str(number): tool for number, tool in enumerate(model.tools)},
        'label2id': {tool: number for number, tool in enumerate(model.tools)},
    }
    return {
        'model.safetensors': save(model.weights),
        'config.json': as_json(config),
        'vocabulary.json': as_json(model.vocabulary),
    }


def as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + '\n').encode()


def load(folder: Path) -> Classifier:
    """Return the model of a folder, as it was saved or downloaded."""
    config = json.loads((folder / 'config.json').read_text('utf-8'))
    vocabulary = json.loads((folder / 'vocabulary.json').read_text('utf-8'))
    tools = [config['id2label'][str(number)] for number in range(len(config['id2label']))]
    return Classifier(vocabulary, tools, load_file(folder / 'model.safetensors'))


def main(folder: Path, texts: Sequence[str]) -> None:
    model = load(folder)
    for text, row in zip(texts, model.probabilities(texts), strict=True):
        best = int(row.argmax())
        print(f'{model.tools[best]}  {row[best]:.3f}  {text}')


if __name__ == '__main__':
    if len(sys.argv) < 3:
        sys.exit("Usage: tool_classifier.py FOLDER 'A REQUEST' ...")
    main(Path(sys.argv[1]), sys.argv[2:])
