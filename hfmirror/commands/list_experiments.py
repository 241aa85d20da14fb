"""``hfmirror list-experiments``: the training runs of a project, with their metrics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.experiments.experiment import Experiment

_METRICS_SHOWN = 4


@click.command(short_help='List the experiments of a project, with their metrics.')
@options.repo
@options.branch
@options.remote
@options.token
@options.config
@click.option('--sort', metavar='METRIC', help='By this metric, highest first.  [default: newest first]')
@click.option('--reverse', is_flag=True, help='Lowest, or oldest, first.')
@click.option('--limit', type=click.IntRange(min=1), help='At most so many.')
@options.as_json
@options.verbose
def command(
    sort: str | None, reverse: bool, limit: int | None, as_json: bool, verbose: bool, **given: Any
) -> None:
    """List the experiments of a project: what 'hfmirror sync' has kept, newest first.

    \b
    hfmirror list-experiments
    hfmirror list-experiments --sort accuracy --limit 5
    hfmirror list-experiments --repo me/my-model --remote local --json

    --repo is the repository of the model; the experiments are in the one for configurations beside it.
    """
    from hfmirror.experiments.experiment import by_metric, list_experiments
    from hfmirror.experiments.project import Project

    output.configure(verbose=verbose)
    target, config, home, token = options.locate({**given, 'repo_type': 'model'})
    configs = Project(config, home).configs(target)
    metadata_file = config.experiment_tracking.metadata_file
    found = list_experiments(configs, home, token=token, metadata_file=metadata_file)
    if sort is not None:
        found = by_metric(found, sort, lowest_first=reverse)
    elif reverse:
        found.reverse()
    if as_json:
        output.document([as_document(one) for one in found[:limit]])
        return
    output.say(f'{configs}: {output.count(len(found), "experiment")}')
    show(found[:limit], first=sort)


def as_document(one: Experiment) -> dict[str, Any]:
    """Return what ``--json`` prints of an experiment; ``date`` is ISO 8601."""
    return {**one._asdict(), 'date': one.date.isoformat() if one.date else None}


def show(experiments: Sequence[Experiment], *, first: str | None = None) -> None:
    """Print a table of experiments; the metric ``first`` stands before the others."""
    if experiments:
        output.table(
            [_row(one, first) for one in experiments],
            ('name', 'version', 'metrics', 'date', 'code', 'model'),
        )


def _row(one: Experiment, first: str | None) -> dict[str, str]:
    return {
        'name': one.name,
        'version': one.version or '-',
        'metrics': ' '.join(_metrics(one, first)) or '-',
        'date': f'{one.date.astimezone():%Y-%m-%d %H:%M}' if one.date else '-',
        'code': (one.commit or '-')[:7],
        'model': one.url or one.model or '-',
    }


def _metrics(one: Experiment, first: str | None) -> list[str]:
    from hfmirror.facts.training import metric_type

    ordered = sorted(one.metrics, key=lambda name: first is None or metric_type(name) != metric_type(first))
    return [f'{name}={output.human_number(one.metrics[name], 4)}' for name in ordered[:_METRICS_SHOWN]]
