"""Make feature sets from a price series that is made up: windows, zigzag labels, a fitted scaler, and statistics.

    python scripts/make_features.py --symbol BTCUSDT --timeframes 15m 1h --out v2_model

writes six files for each timeframe below ``v2_model/BTCUSDT``. The same seed makes the same numbers. The prices are a
geometric Brownian motion whose drift and volatility change every few hundred bars, as those of markets do.
"""

from __future__ import annotations

import argparse
import json
import math
import pickle
import re
import sys
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from hfmirror import durable, output
from hfmirror.features import featureset

_MINUTES = {'m': 1, 'h': 60, 'd': 1440, 'w': 10080}
_YEAR = 365 * 1440  # minutes; such markets never close
_REGIME = (150, 600)  # bars
_CLASSES = ('none', 'high', 'low')
_SHORT, _LONG = 8, 32  # bars of the averages


class Bars(NamedTuple):
    """A price series: one value a bar in each column."""

    open: np.ndarray
    high: np.ndarray
    low: np.ndarray
    close: np.ndarray
    volume: np.ndarray


class Point(NamedTuple):
    """A turning point of the zigzag line: ``kind`` is high or low."""

    index: int  # type: ignore[assignment]  # hides the method of tuples, which nobody needs here
    price: float
    kind: str


class Options(NamedTuple):
    """How many ``bars`` there are, how many make a ``window``, and how far in per cent a price turns at a zigzag point."""

    bars: int = 3000
    window: int = 48
    threshold: float = 2.0
    seed: int = 7


USUAL = Options()


def make(symbol: str, timeframe: str, folder: Path, options: Options = USUAL) -> dict[str, Any]:
    """Write the files of a feature set into ``folder`` and return its statistics."""
    featureset.check_name('symbol', symbol)
    featureset.check_name('timeframe', timeframe)
    minutes = minutes_of(timeframe)
    bars = prices(minutes, options.bars, [options.seed, minutes, zlib.crc32(symbol.encode())])
    points = zigzag(bars, options.threshold / 100)
    if len(points) < 2:
        sys.exit(f'{symbol} {timeframe}: no turning points. Take more --bars or a smaller --threshold.')
    names, values = indicators(bars)
    scaler = fitted(values)
    # The bars after the last point are not labelled: nobody knows yet where they lead.
    first, last = max(_LONG, options.window - 1), points[-1].index
    if last <= first:
        sys.exit(f'{symbol} {timeframe}: no bar has both a window and a label. Take more --bars.')
    classes, moves = labels(bars, points)
    windows = sliding_window_view(scaler.transform(values), options.window, axis=0)
    rows = slice(first - options.window + 1, last - options.window + 1)
    sequences = np.ascontiguousarray(windows[rows].transpose(0, 2, 1), np.float32)
    y_class, y_reg = classes[first:last], moves[first:last]
    statistics = told(symbol, timeframe, options, bars, names, sequences, y_class, y_reg, points)
    contents = {
        featureset.X_SEQUENCES: array_file(sequences),
        featureset.Y_CLASS: array_file(y_class),
        featureset.Y_REG: array_file(y_reg),
        featureset.SCALER: pickle.dumps(scaler, protocol=4),
        featureset.ZIGZAG_POINTS: json_file([point._asdict() for point in points]),
        featureset.STATISTICS: json_file(statistics),
    }
    for part, content in contents.items():
        # Whole or not at all: an upload may be reading the one that is there.
        durable.rewrite(folder / f'{timeframe}_{part}', content)
    return statistics


def minutes_of(timeframe: str) -> int:
    """Return the minutes of a bar: 15 for ``15m``, 240 for ``4h``."""
    match = re.fullmatch(r'([1-9]\d{0,3})([mhdw])', timeframe)
    if match is None:
        sys.exit(f'{timeframe}: no timeframe. Write a number and m, h, d or w, like 15m or 4h.')
    return int(match[1]) * _MINUTES[match[2]]


def prices(minutes: int, count: int, seed: list[int]) -> Bars:
    """Return a series of ``count`` bars; those of longer bars move further."""
    rng = np.random.default_rng(seed)
    drift, volatility = np.empty(count), np.empty(count)
    at = 0
    while at < count:
        length = int(rng.integers(*_REGIME))
        drift[at : at + length] = rng.normal(0.0, 2.0)
        volatility[at : at + length] = rng.uniform(0.3, 1.2)
        at += length
    step = minutes / _YEAR
    scale = volatility * math.sqrt(step)
    close = 30_000 * np.exp(
        np.cumsum((drift - volatility**2 / 2) * step + scale * rng.standard_normal(count))
    )
    opened = np.concatenate([[30_000.0], close[:-1]])
    high = np.maximum(opened, close) * np.exp(np.abs(rng.standard_normal(count)) * scale / 2)
    low = np.minimum(opened, close) * np.exp(-np.abs(rng.standard_normal(count)) * scale / 2)
    volume = np.exp(rng.normal(3.0, 0.4, count)) * (1 + 40 * np.abs(np.log(close / opened)))
    return Bars(opened, high, low, close, volume)


def zigzag(bars: Bars, threshold: float) -> list[Point]:
    """Return the turning points: each is an extreme from which the price went at least ``threshold`` (0.02) the other way."""
    points: list[Point] = []
    top = bottom = 0
    rising: bool | None = None
    for at, (high, low) in enumerate(zip(bars.high.tolist(), bars.low.tolist(), strict=True)):
        top = at if high > bars.high[top] else top
        bottom = at if low < bars.low[bottom] else bottom
        if rising is not False and top < at and low <= bars.high[top] * (1 - threshold):
            points.append(Point(top, float(bars.high[top]), 'high'))
            rising, bottom = False, at
        elif rising is not True and bottom < at and high >= bars.low[bottom] * (1 + threshold):
            points.append(Point(bottom, float(bars.low[bottom]), 'low'))
            rising, top = True, at
    return points


def labels(bars: Bars, points: list[Point]) -> tuple[np.ndarray, np.ndarray]:
    """Return for every bar its class, and the change of price until the next turning point as a logarithm."""
    count = len(bars.close)
    classes, moves = np.zeros(count, np.int64), np.zeros(count, np.float64)
    at = 0
    for point in points:
        classes[point.index] = _CLASSES.index(point.kind)
        moves[at : point.index] = np.log(point.price / bars.close[at : point.index])
        at = point.index
    return classes, moves


def indicators(bars: Bars) -> tuple[list[str], np.ndarray]:
    """Return the names of the features, and their values: one row a bar. Each is known at the end of its bar."""
    change = np.diff(np.log(bars.close), prepend=np.log(bars.open[0]))
    short, long = moving(bars.close, _SHORT), moving(bars.close, _LONG)
    gains, losses = moving(np.maximum(change, 0), _SHORT), moving(np.maximum(-change, 0), _SHORT)
    spread = np.maximum(bars.high - bars.low, 1e-9)
    columns = {
        'log_return': change,
        'range': np.log(bars.high / bars.low),
        'place_in_range': (bars.close - bars.low) / spread,
        'volume_change': np.diff(np.log(bars.volume), prepend=np.log(bars.volume[0])),
        'against_short_average': bars.close / short - 1,
        'against_long_average': bars.close / long - 1,
        'volatility': np.sqrt(moving(change**2, _LONG)),
        'strength': gains / np.maximum(gains + losses, 1e-12),
    }
    return list(columns), np.column_stack(list(columns.values()))


def moving(values: np.ndarray, length: int) -> np.ndarray:
    """Return the average of the last ``length`` values at each place, of fewer at the beginning."""
    sums = np.cumsum(np.concatenate([[0.0], values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(ends - length, 0)
    return (sums[ends] - sums[starts]) / (ends - starts)


def fitted(values: np.ndarray) -> Any:
    """Return a scaler that has seen the values: scikit-learn's where it is installed, else this package's own."""
    try:
        from sklearn.preprocessing import StandardScaler
    except ImportError:
        from hfmirror.features.scaler import StandardScaler
    return StandardScaler().fit(values)


def told(
    symbol: str,
    timeframe: str,
    options: Options,
    bars: Bars,
    names: list[str],
    sequences: np.ndarray,
    y_class: np.ndarray,
    y_reg: np.ndarray,
    points: list[Point],
) -> dict[str, Any]:
    """Return the statistics of a feature set."""
    return {
        'symbol': symbol,
        'timeframe': timeframe,
        **options._asdict(),
        'samples': len(sequences),
        'shape': list(sequences.shape),
        'features': names,
        'zigzag_points': len(points),
        'classes': {name: int((y_class == number).sum()) for number, name in enumerate(_CLASSES)},
        'move': {'mean': float(y_reg.mean()), 'deviation': float(y_reg.std())},
        'price': {'lowest': float(bars.low.min()), 'highest': float(bars.high.max())},
    }


def array_file(array: np.ndarray) -> bytes:
    file = BytesIO()
    np.save(file, array, allow_pickle=False)
    return file.getvalue()


def json_file(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + '\n').encode()


def options_of(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what is made."""
    parser.add_argument('--symbol', nargs='+', default=['BTCUSDT'], help='what is traded  [BTCUSDT]')
    parser.add_argument('--timeframes', nargs='+', default=['15m', '1h'], help='how long a bar is  [15m 1h]')
    parser.add_argument(
        '--out', type=Path, default=Path(featureset.ROOT), help='the folder to write  [v2_model]'
    )
    parser.add_argument('--bars', type=int, default=USUAL.bars, help=f'how many of each  [{USUAL.bars}]')
    parser.add_argument(
        '--window', type=int, default=USUAL.window, help=f'bars in a sample  [{USUAL.window}]'
    )
    parser.add_argument(
        '--threshold', type=float, default=USUAL.threshold, help=f'of the zigzag, in %%  [{USUAL.threshold}]'
    )
    parser.add_argument('--seed', type=int, default=USUAL.seed, help=f'of the random numbers  [{USUAL.seed}]')


def made(given: argparse.Namespace) -> list[featureset.FeatureSet]:
    """Make what the options ask for, and return it."""
    options = Options(given.bars, given.window, given.threshold, given.seed)
    if options.bars < 2 or options.window < 1 or options.threshold <= 0 or options.seed < 0:
        sys.exit('--bars, --window and --threshold are more than 0, and --seed is not less.')
    sets = [
        featureset.FeatureSet(symbol, timeframe, given.out / symbol / timeframe)
        for symbol in given.symbol
        for timeframe in given.timeframes
    ]
    for one in sets:
        found = make(one.symbol, one.timeframe, one.folder, options)
        output.data(f'{one.folder}: {found["samples"]:,} samples, {found["zigzag_points"]:,} zigzag points')
    return sets


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').partition('\n')[0])
    options_of(parser)
    made(parser.parse_args())


if __name__ == '__main__':
    main()
