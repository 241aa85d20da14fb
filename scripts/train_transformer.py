"""Train a small encoder-decoder transformer on text, letter by letter; use it; publish it.

    python train_transformer.py --mode train --text shakespeare.txt
    python train_transformer.py --mode generate --prompt "The night"
    python train_transformer.py --mode train --push_to_hf --hf_username me

Without ``--text`` it learns from verses that it makes up itself. The same seed, text and machine make the same model.
"""

from __future__ import annotations

import hashlib
import io
import math
import random
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror import durable, errors, output
from hfmirror.checkpoints.reading import library
from hfmirror.main import error_handler

with error_handler():  # without torch: its own message and exit code
    library('torch')

import torch
from encoder_decoder_transformer import Transformer, build_vocab, complete, encode_text
from torch import Tensor, nn

if TYPE_CHECKING:
    from push_to_huggingface import Ready

    from hfmirror.checkpoints.releasing import Wanted

_HELD_OUT = 0.1  # of the text, to measure on
_EVALUATED = 64  # places in it at most
_TOLD_EVERY = 100  # steps


class Settings(NamedTuple):
    """How to train. The names are those that model cards show of training arguments."""

    max_steps: int = 400
    per_device_train_batch_size: int = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0
    warmup_ratio: float = 0.1
    lr_scheduler_type: str = 'cosine'
    optim: str = 'adamw_torch'
    seed: int = 0


def _temperature(context: click.Context, option: click.Parameter, value: float) -> float:
    if not 0 <= value < math.inf:
        raise click.BadParameter(f'{value} is no temperature. Give 0 or more, such as 0.5.', context, option)
    return value


@click.command(context_settings={'max_content_width': 110})
@click.option('--mode', type=click.Choice(['train', 'generate', 'test']), required=True, help='What to do.')
@click.option('--text', type=click.Path(path_type=Path), help='What to learn from.  [default: made verses]')
@click.option('--steps', type=click.IntRange(1), default=400, show_default=True, help='How long to train.')
@click.option('--seed', type=int, default=0, show_default=True, help='Another number, another model or text.')
@click.option(
    '--out',
    '--model_path',
    'model_path',
    type=click.Path(path_type=Path),
    default='transformer_model.pth',
    show_default=True,
    help='The checkpoint that is written, or used.',
)
@click.option('--prompt', default='The ', show_default=True, help='What a generated text begins with.')
@click.option(
    '--length', type=click.IntRange(0), default=200, show_default=True, help='Its length after that.'
)
@click.option(
    '--temperature',
    type=float,
    callback=_temperature,
    default=0.5,
    show_default=True,
    help='0: the likeliest letter.',
)
@click.option('--push_to_hf', is_flag=True, help='Publish the model when it is trained.')
@click.option('--hf_repo_name', default='shakespeare-transformer', show_default=True, help='Its repository.')
@click.option('--hf_username', help='Whose repository it is.  [default: HF_USERNAME, or whose token it is]')
@click.option(
    '--hf_token',
    metavar='TOKEN|-',
    help="The Hub's token; - reads it from stdin.  [default: HF_TOKEN, or what 'hf auth login' saved]",
)
@click.option('--hf_private', is_flag=True, help='Create the repository for you alone.')
def command(**given: Any) -> None:
    """Train a transformer that continues text, use it, or measure it.

    \b
    python train_transformer.py --mode train --steps 1000
    python train_transformer.py --mode generate --prompt "The night"
    """
    if given['mode'] == 'generate':
        model, vocab = load(given['model_path'])
        amount = {name: given[name] for name in ('length', 'temperature', 'seed')}
        print(given['prompt'] + complete(model, vocab, given['prompt'], **amount))
        return
    text = read_text(given['text']) if given['text'] else made_text()
    if given['mode'] == 'test':
        model, vocab = load(given['model_path'])
        _tell(evaluate(model, vocab, split(text, model.max_length)[1]))
        return
    durable.require_writable(given['model_path'])  # before the hours, not after
    ready = ready_to_push(given) if given['push_to_hf'] else None
    settings = Settings(max_steps=given['steps'], seed=given['seed'])
    save(train(text, settings), given['model_path'])
    if ready is not None:
        push_trained(ready)


def read_text(path: Path) -> str:
    """Return what is in a text file. Raises UsageError when it cannot be read or is no text."""
    try:
        return path.read_text('utf-8')
    except (OSError, UnicodeDecodeError) as e:
        raise errors.UsageError(f'--text {path}: cannot be read: {e}. Give it a file of UTF-8 text.') from e


def made_text(lines: int = 400, seed: int = 0) -> str:
    """Return verses after a few simple rules, the same ones for a seed."""
    draw = random.Random(seed)
    when = ('When', 'And when', 'Before', 'Until', 'As soon as')
    whose = ('the', 'my', 'thy', 'his', 'her', 'our')
    what = ('night', 'king', 'rose', 'sword', 'heart', 'crown', 'winter', 'friend', 'moon', 'sorrow')
    does = ('sleeps', 'wakes', 'fades', 'sings', 'returns', 'burns', 'waits', 'falls')
    how = ('softly', 'alone', 'at dawn', 'no more', 'in the rain', 'for love', 'by the sea')

    def phrase() -> str:
        return f'{draw.choice(whose)} {draw.choice(what)} {draw.choice(does)} {draw.choice(how)}'

    verses = []
    for number in range(lines):
        first = phrase()
        verses.append(f'{draw.choice(when)} {first},' if number % 2 == 0 else f'Then {first}.')
    return '\n'.join(verses) + '\n'


def split(text: str, length: int) -> tuple[str, str]:
    """Return the part to learn from and the part to measure on, each long enough for what the model reads and writes."""
    held_out = max(int(len(text) * _HELD_OUT), 2 * length)
    if len(text) < held_out + 4 * length:
        raise errors.UsageError(
            f'the text has {len(text)} letters; at least {6 * length} are needed. Give a longer --text.'
        )
    return text[:-held_out], text[-held_out:]


def train(text: str, settings: Settings) -> dict[str, Any]:
    """Return a checkpoint of a model that has learned ``text``, and says on stderr how it goes."""
    # The matrices are so small that more threads only wait for each other; and one adds up in the same order everywhere.
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    vocab = build_vocab(text)
    config: dict[str, Any] = {
        'vocab_size': len(vocab),
        'd_model': 64,
        'heads': 4,
        'encoder_layers': 2,
        'decoder_layers': 2,
        'feed_forward': 256,
        'max_length': 48,
        'dropout': 0.1,
    }
    model = Transformer(**config)
    learned, held_out = split(text, model.max_length)
    _learn(model, torch.tensor(encode_text(learned, vocab)), settings)
    metrics = evaluate(model, vocab, held_out)
    _tell(metrics)
    return {
        'model_state_dict': model.state_dict(),
        'config': config,
        'vocab': vocab,
        'idx_to_vocab': {index: letter for letter, index in vocab.items()},
        'training_args': {**settings._asdict(), **_source(text)},
        'metrics': metrics,
    }


def _source(text: str) -> dict[str, Any]:
    """Return which text it was, without its path."""
    return {'text_letters': len(text), 'text_sha256': hashlib.sha256(text.encode()).hexdigest()}


def _learn(model: Transformer, letters: Tensor, settings: Settings) -> None:
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    rate = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_rate(step, settings))
    draw = torch.Generator().manual_seed(settings.seed)
    model.train()
    for step in range(1, settings.max_steps + 1):
        source, target = batch(letters, settings.per_device_train_batch_size, model, draw)
        loss = _loss(model, source, target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
        optimizer.step()
        rate.step()
        if step % _TOLD_EVERY == 0 or step == settings.max_steps:
            output.say(f'step {step} of {settings.max_steps}: loss {loss.item():.3f}')


def _share_of_rate(step: int, settings: Settings) -> float:
    """Return which part of the learning rate counts at a step: more and more at first, then ever less."""
    warmup = max(1, round(settings.max_steps * settings.warmup_ratio))
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, settings.max_steps - warmup)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def batch(letters: Tensor, size: int, model: Transformer, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return (what to read, what comes next) at random places. Half of what is to be read is shorter, and padded."""
    length = model.max_length
    middle = torch.randint(length, len(letters) - length, (size, 1), generator=draw)
    known = torch.randint(1, length + 1, (size, 1), generator=draw)
    known[::2] = length
    places = torch.arange(length)
    source = letters[(middle - known + places).clamp(max=len(letters) - 1)]
    source = source.masked_fill(places >= known, model.pad_index)
    return source, letters[middle + places]


def _loss(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    return nn.functional.cross_entropy(_scores(model, source, target).transpose(1, 2), target)


def _scores(model: Transformer, source: Tensor, target: Tensor) -> Tensor:
    begin = target.new_full((len(target), 1), model.begin_index)
    return model(source, torch.cat([begin, target[:, :-1]], dim=1))


@torch.no_grad()
def evaluate(model: Transformer, vocab: dict[str, int], text: str) -> dict[str, float]:
    """Return loss, and the share of letters that are foreseen, where the letters before are known."""
    model.eval()
    length, letters = model.max_length, torch.tensor(encode_text(text, vocab))
    starts = list(range(0, len(letters) - 2 * length + 1, length))[:_EVALUATED]
    source = torch.stack([letters[at : at + length] for at in starts])
    target = torch.stack([letters[at + length : at + 2 * length] for at in starts])
    scores = _scores(model, source, target)
    right = (scores.argmax(dim=-1) == target).float().mean().item()
    loss = nn.functional.cross_entropy(scores.transpose(1, 2), target).item()
    return {'eval_accuracy': round(right, 4), 'eval_loss': round(loss, 4)}


def _tell(metrics: dict[str, float]) -> None:
    for name, value in metrics.items():
        print(f'{name}: {value}')


def save(checkpoint: dict[str, Any], path: Path) -> None:
    """Write a checkpoint; a kill leaves the one that was there before."""
    content = io.BytesIO()
    torch.save(checkpoint, content)
    durable.rewrite(path, content.getvalue())
    print(f'saved: {path}')


def load(path: Path) -> tuple[Transformer, dict[str, int]]:
    """Return the model of a checkpoint, and its vocabulary."""
    from push_to_huggingface import definition

    from hfmirror.checkpoints import reading, writing

    checkpoint = reading.read(path)
    writing.require_fits(checkpoint, definition())
    model = Transformer(**checkpoint.config)
    model.load_state_dict(checkpoint.state)
    return model, dict(checkpoint.vocab)


def ready_to_push(given: dict[str, Any]) -> Ready:
    """Return how what is trained is to be published. Raises what is wrong with that already, and warns of a wrong token."""
    from push_to_huggingface import ready

    from hfmirror.checkpoints.releasing import Wanted
    from hfmirror.hub import Hub

    wanted = Wanted(
        given['model_path'], given['hf_repo_name'], given['hf_username'], given['hf_private'] or None
    )
    found = ready(wanted, token=given['hf_token'])
    if found.token is not None:
        try:
            Hub(found.token.endpoint, found.token).whoami()
        except errors.NetworkError:
            pass  # the network may be back when the training is over
        except errors.HfmirrorError as e:
            output.warn(
                f'{e}\nThe model will be trained all the same, and can be published when this is mended.'
            )
    return found


def push_trained(ready: Ready) -> None:
    """Publish what was trained. When that fails it is told, and how to do it later: the training was no failure."""
    from push_to_huggingface import push

    wanted = ready.wanted
    try:
        with error_handler():
            push(ready)
    except SystemExit as e:
        if e.code == 130:  # Ctrl-C
            raise
        if e.code:
            output.warn(
                f'{wanted.model_path} is trained and saved, but not published. Publish it later: {_how(wanted)}'
            )


def _how(wanted: Wanted) -> str:
    script = Path(__file__).with_name('push_to_huggingface.py')
    words = ['python', str(script), '--model_path', str(wanted.model_path), '--repo_name', wanted.repo_name]
    if wanted.username:
        words += ['--username', wanted.username]
    return shlex.join([*words, '--private'] if wanted.private else words)


if __name__ == '__main__':
    with error_handler():
        command(standalone_mode=False)
    sys.exit(0)
