"""Small feature sets of real arrays, made by the project's own generator."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / 'scripts'
NAMES = ['X_sequences.npy', 'y_class.npy', 'y_reg.npy', 'scaler.pkl', 'zigzag_points.json', 'statistics.json']


def generator():
    """Return the module of scripts/make_features.py."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    import make_features

    return make_features


def make(folder, symbol='BTCUSDT', timeframe='15m', *, seed=7):
    """Write a feature set into ``folder`` and return the folder."""
    made = generator()
    made.make(symbol, timeframe, Path(folder), made.Options(bars=400, window=8, threshold=1.0, seed=seed))
    return Path(folder)
