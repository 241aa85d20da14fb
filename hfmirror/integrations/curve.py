"""How did the training go? What it logged, as a plot and as a table for the card.

A history is a list of what was logged: ``{'step': 10, 'epoch': 0.5, 'loss': 1.2}``, as in a Trainer's ``log_history``. What
is logged is a person's: names may be anything, values may be NaN, and there may be a million of them.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from hfmirror import output
from hfmirror.card import markdown
from hfmirror.gitcmd import redact
from hfmirror.output import human_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLOT = 'training_curve.png'
HEADING = 'Training curve'
_HOW_TO_PLOT = "hfmirror: no plot of the training in the card: install it with pip install 'hf-mirror[plot]'"

_RATES = ('learning_rate', 'lr')
_AT = ('epoch', 'step')
_ASIDE = ('grad_norm', *_RATES)
# What a trainer counts and times beside what it measures, and the sum that it draws at its end.
_COUNTED = re.compile(
    r'total_flos|num_input_tokens_seen|train_runtime|(?:\w+_)?(?:runtime|(?:samples|steps|tokens)_per_second)'
)
_POINTS = 2_000  # of a line
_LINES = 6  # of a panel
_ROWS = 25  # of the table
_COLUMNS = 6

History = Sequence[Mapping[str, Any]]


class _Line(NamedTuple):
    name: str
    steps: list[float]
    values: list[float]


def trajectory(history: History) -> list[Mapping[str, Any]]:
    """Return the history of the training that led to its end: what a resumed training has done once more counts once."""
    kept: list[Mapping[str, Any]] = []
    first, again = math.inf, False  # the lowest step so far, and whether the rest is of an earlier run
    for entry in reversed(history):
        step = number(entry.get('step'))
        if step is None or step > first or (again and step == first):
            again = again or step is not None
            continue
        first, again = step, False
        kept.append(entry)
    return kept[::-1]


def measured(entry: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured in one entry of a history: finite numbers alone."""
    if 'train_runtime' in entry:
        return {}
    numbers = {str(name): number(value) for name, value in entry.items()}
    return {
        name: value
        for name, value in numbers.items()
        if value is not None and name not in _AT and not _COUNTED.fullmatch(name)
    }


def last_values(history: History) -> dict[str, float]:
    """Return the last value of everything that was measured; what steers a training is not."""
    found: dict[str, float] = {}
    for entry in history:
        found |= measured(entry)
    return {name: value for name, value in found.items() if name not in _ASIDE}


def plot(history: History) -> bytes | None:
    """Return a PNG of losses, other metrics and the learning rate over the steps; None when there is nothing to draw.

    Raises ImportError without matplotlib.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [(title, lines) for title, lines in _panels(history) if lines]
    if not panels:
        return None
    figure = Figure(figsize=(8, 0.6 + 2.7 * len(panels)), dpi=120, layout='constrained')
    FigureCanvasAgg(figure)
    rows = figure.subplots(len(panels), squeeze=False, sharex=True)[:, 0]
    for axes, (title, lines) in zip(rows, panels, strict=True):
        _draw(axes, title, lines)
    axes.set_xlabel('step')
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a name in letters that the font does not have is drawn as boxes
        figure.savefig(written, format='png')
    return written.getvalue()


def account(history: History) -> tuple[bytes | None, str]:
    """Return ``plot`` and ``section`` of the training that led to the end of a history; what cannot be made is said and left out."""
    try:
        led = trajectory(history)
        image = _plotted(led)
        return image, section(led, has_plot=image is not None)
    except Exception as e:  # no reason to lose the model
        _tell_of(e, 'no account')
        return None, ''


def _plotted(history: History) -> bytes | None:
    try:
        return plot(history)
    except ImportError:
        output.say(_HOW_TO_PLOT)
    except Exception as e:  # such as a font, or a numpy that does not fit
        _tell_of(e, 'no plot')
    return None


def _tell_of(failure: Exception, what: str) -> None:
    output.warn(
        f'hfmirror: {what} of the training in the card: {redact(f"{type(failure).__name__}: {failure}")}'
    )


def section(history: History, *, has_plot: bool) -> str:
    """Return the Markdown of the card's section: the plot, and the evaluations as a table; empty for no history."""
    shown = [f'![Losses and metrics over the steps of the training]({PLOT})'] if has_plot else []
    rows = _evaluations(history)
    if rows:
        shown.append(_table(history, rows))
    return '\n\n'.join(shown)


# -- the plot


def _panels(history: History) -> list[tuple[str, list[_Line]]]:
    lines = _lines(history)
    losses = [line for line in lines if 'loss' in line.name.lower()]
    rates = [line for line in lines if line.name in _RATES]
    others = [line for line in lines if line not in losses and line.name not in _ASIDE]
    return [('loss', losses[:_LINES]), ('metrics', others[:_LINES]), ('learning rate', rates[:1])]


def _lines(history: History) -> list[_Line]:
    """Return each name that was logged at two steps or as an evaluation, in the order in which they came up."""
    lines: dict[str, _Line] = {}
    for entry in history:
        step = number(entry.get('step'))
        for name, value in measured(entry).items() if step is not None else ():
            line = lines.setdefault(name, _Line(name, [], []))
            line.steps.append(step or 0.0)
            line.values.append(value)
    return [_thinned(line) for line in lines.values()]


def _thinned(line: _Line) -> _Line:
    picked = _spread(range(len(line.steps)), _POINTS)
    return _Line(line.name, [line.steps[one] for one in picked], [line.values[one] for one in picked])


def _spread(items: Sequence[int], most: int) -> list[int]:
    """Return at most ``most`` of them, evenly, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(number * (len(items) - 1) / (most - 1))] for number in range(most)]


def _draw(axes: Axes, title: str, lines: Iterable[_Line]) -> None:
    for line in lines:
        few = len(line.steps) <= 30
        # A name that begins with _ has no place in a legend, and $ would begin a formula.
        label = line.name[:40].lstrip('_').replace('$', r'\$')
        axes.plot(
            line.steps, line.values, label=label, marker='o' if few else None, markersize=3, linewidth=1.4
        )
    axes.set_ylabel(title)
    axes.grid(visible=True, alpha=0.3)
    axes.margins(x=0.02)
    for side in ('top', 'right'):
        axes.spines[side].set_visible(False)
    if title != 'learning rate':
        axes.legend(frameon=False, fontsize='small')


# -- the table


def _evaluations(history: History) -> list[tuple[float, dict[str, float], Mapping[str, Any]]]:
    """Return (step, what was measured, what was logged) of each evaluation; of the losses where none was made."""
    found: dict[float, dict[str, float]] = {}
    logged: dict[float, Mapping[str, Any]] = {}
    for entry in history:
        step = number(entry.get('step'))
        values = {name: value for name, value in measured(entry).items() if name not in _ASIDE}
        if step is not None and values:
            found[step] = {**found.get(step, {}), **values}
            logged[step] = {**logged.get(step, {}), **entry}
    steps = [step for step, values in found.items() if set(values) - {'loss'}] or list(found)
    picked = _spread(range(len(steps)), _ROWS)
    return [(steps[one], found[steps[one]], logged[steps[one]]) for one in picked]


def _table(history: History, rows: Sequence[tuple[float, dict[str, float], Mapping[str, Any]]]) -> str:
    losses = {
        step: value
        for entry in history
        if (step := number(entry.get('step'))) is not None
        and (value := number(entry.get('loss'))) is not None
    }
    names = [
        name for name in dict.fromkeys(name for _, values, _ in rows for name in values) if name != 'loss'
    ]
    epochs = any(number(logged.get('epoch')) is not None for _, _, logged in rows)
    columns = ['step', *(['epoch'] if epochs else []), *(['loss'] if losses else []), *names[:_COLUMNS]]
    lines = ['| ' + ' | '.join(markdown.escape(name) for name in columns) + ' |', '|--:' * len(columns) + '|']
    for step, values, logged in rows:
        before = [value for at, value in losses.items() if at <= step]
        cells: dict[str, float | None] = {**values, 'step': step, 'epoch': number(logged.get('epoch'))}
        cells['loss'] = before[-1] if before else None
        lines.append('| ' + ' | '.join(_cell(cells.get(name)) for name in columns) + ' |')
    return '\n'.join(lines)


def _cell(value: float | None) -> str:
    return '' if value is None else human_number(value, digits=4)


def number(value: object) -> float | None:
    """Return a finite number as it is, None for whatever else was logged."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an int of four hundred digits
        return None
