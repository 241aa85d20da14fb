"""Which files is a feature set made of, and where does each lie in the repository?

::

    v2_model/BTCUSDT/15m/15m_X_sequences.npy
                         15m_y_class.npy
                         15m_y_reg.npy
                         15m_scaler.pkl
                         15m_zigzag_points.json
                         15m_statistics.json

What a later step of the training puts beside them (``model.h5``, ``config.json``) is none of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors

ROOT = 'v2_model'
X_SEQUENCES, Y_CLASS, Y_REG = 'X_sequences.npy', 'y_class.npy', 'y_reg.npy'
SCALER, ZIGZAG_POINTS, STATISTICS = 'scaler.pkl', 'zigzag_points.json', 'statistics.json'
PARTS = (X_SEQUENCES, Y_CLASS, Y_REG, SCALER, ZIGZAG_POINTS, STATISTICS)

# Both become names of folders and files here, on other systems, and patterns in which a * would mean more.
_NAME = re.compile(r'[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?')


class FeatureSet(NamedTuple):
    """The features of one symbol in one timeframe, in a folder of this machine."""

    symbol: str
    timeframe: str
    folder: Path

    @property
    def names(self) -> list[str]:
        """The names of its files, in the folder as in the repository."""
        return names_of(self.timeframe)

    @property
    def remote_dir(self) -> str:
        """Its folder in the repository."""
        return remote_dir(self.symbol, self.timeframe)

    def __str__(self) -> str:
        return f'{self.symbol} {self.timeframe}'


def names_of(timeframe: str) -> list[str]:
    """Return the names of the files of a timeframe, in the order in which they are told of."""
    return [f'{timeframe}_{part}' for part in PARTS]


def remote_dir(symbol: str, timeframe: str) -> str:
    """Return the folder of the repository that has the features of a symbol and timeframe."""
    return f'{ROOT}/{symbol}/{timeframe}'


def check_name(what: str, name: str) -> None:
    """Raise UsageError for a ``what``, symbol or timeframe, that cannot name a folder."""
    if not _NAME.fullmatch(name):
        raise errors.UsageError(
            f'{what} {name!r}: may have letters, digits, ., _ and -, at most 64, like BTCUSDT or 15m.'
        )


def check(sets: Sequence[FeatureSet]) -> None:
    """Raise UsageError unless every set has names that can be, and there are no two of one name."""
    if not sets:
        raise errors.UsageError('no feature set: name at least one symbol, timeframe and folder.')
    for one in sets:
        check_name('symbol', one.symbol)
        check_name('timeframe', one.timeframe)
    (name, times), *_ = Counter(one.remote_dir.casefold() for one in sets).most_common(1)
    if times > 1:
        raise errors.UsageError(f'{name}: there are {times} feature sets of that name. Give each once.')
