"""How has a metric gone over the versions? One small line plot as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import NamedTuple

from markupsafe import Markup

from hfmirror.output import human_number

_WIDTH, _HEIGHT = 420, 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 18, 14, 32
_LABEL = 15  # characters of a version under the plot


class Plot(NamedTuple):
    """A metric and its picture."""

    name: str
    svg: Markup


def plot(name: str, points: Sequence[tuple[str, float]]) -> Plot:
    """Return the plot of ``(version, value)`` pairs, oldest first; at least one."""
    low, high = _range([value for _, value in points])
    places = [(_x(i, len(points)), _y(value, low, high)) for i, (_, value) in enumerate(points)]
    line = ' '.join(f'{x:.1f},{y:.1f}' for x, y in places)
    parts = [_rule(value, low, high) for value in _marks(low, high)]
    parts.append(f'<polyline points="{line}"/>')
    for (version, value), (x, y) in zip(points, places, strict=True):
        words = escape(f'{version}: {human_number(value)}')
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{words}</title></circle>')
    parts += _versions([version for version, _ in points], places)
    title = escape(f'{name} over {len(points)} versions', quote=True)
    svg = f'<svg class="plot" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return Plot(name, Markup(svg))


def _range(values: Sequence[float]) -> tuple[float, float]:
    """Return the lowest and highest value with some air; a flat line lies in the middle."""
    low, high = min(values), max(values)
    air = (high - low) * 0.1 or abs(high) * 0.1 or 1.0
    return low - air, high + air


def _x(index: int, number: int) -> float:
    inner = _WIDTH - _LEFT - _RIGHT
    return _LEFT + (inner * index / (number - 1) if number > 1 else inner / 2)


def _y(value: float, low: float, high: float) -> float:
    return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - value) / (high - low)


def _marks(low: float, high: float) -> list[float]:
    """Return two to four round numbers between two others: steps of 1, 2 or 5 and their tens."""
    least = (high - low) / 4
    ten = 10.0 ** math.floor(math.log10(least))
    step = next(ten * part for part in (1, 2, 5, 10) if ten * part >= least)
    return [step * n for n in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _rule(value: float, low: float, high: float) -> str:
    y = _y(value, low, high)
    label = escape(human_number(value, 4))
    return (
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<text x="{_LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'
    )


def _versions(names: Sequence[str], places: Sequence[tuple[float, float]]) -> list[str]:
    """Return the names of the first and last version, and of the one between when there is room."""
    shown = sorted({0, len(names) - 1} | ({len(names) // 2} if len(names) > 2 else set()))
    anchors = {0: 'start', len(names) - 1: 'end'} if len(names) > 1 else {}
    return [
        f'<text x="{places[i][0]:.1f}" y="{_HEIGHT - 9}" text-anchor="{anchors.get(i, "middle")}">'
        f'{escape(names[i][:_LABEL])}</text>'
        for i in shown
    ]
