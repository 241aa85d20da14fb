"""``hfmirror sync``: a training run becomes a release of its model, and beside it what the model was made with."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options, push

if TYPE_CHECKING:
    from hfmirror.experiments.syncing import Outcome, Synced


@click.command(short_help='Publish a training run: model, configuration and results.')
@click.argument('model_path', type=click.Path(path_type=Path, readable=False), required=False)
@click.option('--experiment', metavar='NAME', help="The experiment's name.  [default: the folder's]")
@click.option('--tag', metavar='T', help='Name the release.  [default: as the configuration has it]')
@click.option(
    '--results',
    type=click.Path(path_type=Path),
    metavar='PATH',
    help='A file or folder of results.  [default: eval_results.json and the like in the folder]',
)
@click.option(
    '--config-file',
    'kept_config',
    type=click.Path(path_type=Path),
    metavar='FILE',
    help='The configuration to keep with the experiment.  [default: the project file]',
)
@options.repo
@options.remotes
@click.option('-m', '--message', help="Your words for the model's commit and tag.")
@options.terms
@options.token
@options.config
@options.as_json
@options.verbose
def command(**given: Any) -> None:
    """Publish the training run whose model is in MODEL_PATH: the model as a release, and configuration, results and metadata
    beside it, in the repository for configurations.

    \b
    hfmirror sync ./my_model --experiment baseline
    hfmirror sync ./my_model --experiment baseline --tag v1.0.0 --private
    hfmirror sync ./my_model --experiment baseline --remote local --dry-run

    What is there already is not made twice: run it again to finish what was interrupted.
    """
    from hfmirror.experiments.project import Terms
    from hfmirror.manager import HuggingFaceManager
    from hfmirror.outcome import require_done

    output.configure(verbose=given['verbose'])
    token = options.token_of(given, folder=given['model_path']) if given['token'] is not None else None
    manager = HuggingFaceManager(
        given['config_file'], repo=given['repo'], remotes=given['remotes'], token=token
    )
    done = manager.sync(
        given['model_path'] or manager.model_path(),
        given['experiment'],
        given['tag'],
        Terms(given['private'], given['allow_secrets'], given['allow_unsafe'], given['dry_run']),
        results_path=given['results'],
        config_data=given['kept_config'],
        commit_message=given['message'],
    )
    tell(done, as_json=given['as_json'])
    require_done([one.outcome for one in done if one.outcome])


def tell(done: Sequence[Synced], *, as_json: bool) -> None:
    """Show what came of a sync on each target, to a person or to a program."""
    from hfmirror.outcome import Release

    if as_json:
        output.document([as_document(one) for one in done])
    for one in done:
        for outcome in (one.model, one.experiment):
            _tell(outcome, as_json=as_json)
        if not as_json and isinstance(one.experiment, Release):
            output.data(
                f'  experiment {one.kept.name}: {one.urls["results_url"] or one.urls["config_url"] or one.configs.url}'
            )


def _tell(outcome: Outcome | None, *, as_json: bool) -> None:
    from hfmirror.outcome import Release

    if not isinstance(outcome, Release):
        return  # not asked for, or told when it happened
    if not as_json:
        push.show(outcome)
    if outcome.note:
        output.warn(outcome.note)


def as_document(one: Synced) -> dict[str, Any]:
    """Return what ``--json`` prints of a sync with one target; None stands for what was not uploaded."""
    parts = {'model': one.model, 'experiment': one.experiment}
    return {
        'name': one.kept.name,
        **one.urls,
        **{key: push.as_document(part) if part else None for key, part in parts.items()},
    }
