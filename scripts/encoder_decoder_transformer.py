"""A small encoder-decoder transformer that continues text, letter by letter.

The encoder reads the last letters of a text, the decoder writes those that come next. All of it is in this file, which
needs nothing but torch::

    model = Transformer(**config)
    model.load_state_dict(checkpoint['model_state_dict'])
    print(complete(model, vocab, 'The night'))
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

PAD, BEGIN, UNKNOWN = '<pad>', '<begin>', '<unknown>'
SPECIAL = (PAD, BEGIN, UNKNOWN)


class Transformer(nn.Module):
    """Encoder and decoder over one vocabulary. Letters in and letters out share one table of weights.

    ``max_length`` is the number of letters that the encoder reads, and that the decoder writes, at most.
    """

    def __init__(
        self,
        vocab_size: int,
        d_model: int = 64,
        heads: int = 4,
        encoder_layers: int = 2,
        decoder_layers: int = 2,
        feed_forward: int = 256,
        max_length: int = 48,
        dropout: float = 0.1,
        pad_index: int = 0,
        begin_index: int = 1,
    ) -> None:
        super().__init__()
        self.max_length, self.pad_index, self.begin_index = max_length, pad_index, begin_index
        self.scale = math.sqrt(d_model)
        self.letters = nn.Embedding(vocab_size, d_model)
        self.places = nn.Embedding(max_length, d_model)
        self.encoder = nn.ModuleList(
            EncoderLayer(d_model, heads, feed_forward, dropout) for _ in range(encoder_layers)
        )
        self.decoder = nn.ModuleList(
            DecoderLayer(d_model, heads, feed_forward, dropout) for _ in range(decoder_layers)
        )
        self.encoder_norm, self.decoder_norm = nn.LayerNorm(d_model), nn.LayerNorm(d_model)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(d_model, vocab_size, bias=False)
        nn.init.normal_(self.letters.weight, std=1 / self.scale)
        self.output.weight = self.letters.weight

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Return the scores (batch, letters of target, vocabulary) of the letter after each one of ``target``."""
        return self.decode(target, self.encode(source), source)

    def encode(self, source: Tensor) -> Tensor:
        """Return what the encoder makes of ``source`` (batch, letters), padded with ``pad_index``."""
        x, padding = self._embed(source), source == self.pad_index
        for layer in self.encoder:
            x = layer(x, padding)
        return self.encoder_norm(x)

    def decode(self, target: Tensor, memory: Tensor, source: Tensor) -> Tensor:
        """Return the scores for ``target``; no letter sees those after it. ``memory`` is ``encode(source)``."""
        length = target.shape[1]
        future = torch.ones(length, length, dtype=torch.bool, device=target.device).triu(1)
        x, padding = self._embed(target), source == self.pad_index
        for layer in self.decoder:
            x = layer(x, memory, future, padding)
        return self.output(self.decoder_norm(x))

    @torch.no_grad()
    def generate(
        self,
        source: Tensor,
        length: int,
        *,
        temperature: float = 0.0,
        never: tuple[int, ...] = (),
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Return the ``length`` letters (batch, length) that come after ``source``, at most ``max_length``.

        ``temperature`` 0 always takes the likeliest letter; more of it draws, by ``generator``. Letters in ``never`` are
        not written.
        """
        memory = self.encode(source)
        target = source.new_full((source.shape[0], 1), self.begin_index)
        for _ in range(min(length, self.max_length)):
            scores = self.decode(target, memory, source)[:, -1]
            scores[:, list(never)] = -math.inf
            target = torch.cat([target, _choose(scores, temperature, generator)], dim=1)
        return target[:, 1:]

    def _embed(self, letters: Tensor) -> Tensor:
        places = torch.arange(letters.shape[1], device=letters.device)
        return self.dropout(self.letters(letters) * self.scale + self.places(places))


class EncoderLayer(nn.Module):
    """Letters look at each other, then each one is worked on by itself."""

    def __init__(self, d_model: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d_model, heads, dropout=dropout, batch_first=True)
        self.feed_forward = _feed_forward(d_model, feed_forward)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(2))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, padding: Tensor) -> Tensor:
        y = self.norms[0](x)
        y, _ = self.attention(y, y, y, key_padding_mask=padding, need_weights=False)
        x = x + self.dropout(y)
        return x + self.dropout(self.feed_forward(self.norms[1](x)))


class DecoderLayer(nn.Module):
    """Letters look at those before them, then at what the encoder has read, then each one is worked on by itself."""

    def __init__(self, d_model: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d_model, heads, dropout=dropout, batch_first=True)
        self.reading = nn.MultiheadAttention(d_model, heads, dropout=dropout, batch_first=True)
        self.feed_forward = _feed_forward(d_model, feed_forward)
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor, future: Tensor, padding: Tensor) -> Tensor:
        y = self.norms[0](x)
        y, _ = self.attention(y, y, y, attn_mask=future, need_weights=False)
        x = x + self.dropout(y)
        y = self.norms[1](x)
        y, _ = self.reading(y, memory, memory, key_padding_mask=padding, need_weights=False)
        x = x + self.dropout(y)
        return x + self.dropout(self.feed_forward(self.norms[2](x)))


def _feed_forward(d_model: int, feed_forward: int) -> nn.Module:
    return nn.Sequential(nn.Linear(d_model, feed_forward), nn.GELU(), nn.Linear(feed_forward, d_model))


def _choose(scores: Tensor, temperature: float, generator: torch.Generator | None) -> Tensor:
    if temperature <= 0:
        return scores.argmax(dim=-1, keepdim=True)
    # From the best one on, and in doubles: no temperature, however small or large, makes numbers that are none.
    below = (scores - scores.max(dim=-1, keepdim=True).values).double()
    return torch.multinomial((below / temperature).softmax(dim=-1), 1, generator=generator)


def build_vocab(text: str) -> dict[str, int]:
    """Return {letter: index} for every letter of ``text``, after the special ones."""
    return {letter: index for index, letter in enumerate([*SPECIAL, *sorted(set(text))])}


def encode_text(text: str, vocab: Mapping[str, int]) -> list[int]:
    """Return the indices of the letters; those that the vocabulary lacks are all the same unknown one."""
    return [vocab.get(letter, vocab[UNKNOWN]) for letter in text]


def complete(
    model: Transformer,
    vocab: Mapping[str, int],
    prompt: str,
    *,
    length: int = 200,
    temperature: float = 0.0,
    seed: int = 0,
) -> str:
    """Return the ``length`` letters that the model writes after ``prompt``, as many at a time as it can."""
    model.eval()
    letters = {index: letter for letter, index in vocab.items()}
    never = tuple(vocab[name] for name in SPECIAL)
    generator = torch.Generator().manual_seed(seed)
    known, written = encode_text(prompt, vocab), list[int]()
    while len(written) < length:
        recent = (known + written)[-model.max_length :] or [model.begin_index]
        more = model.generate(
            torch.tensor([recent]),
            length - len(written),
            temperature=temperature,
            never=never,
            generator=generator,
        )
        written += more[0].tolist()
    return ''.join(letters[index] for index in written)
