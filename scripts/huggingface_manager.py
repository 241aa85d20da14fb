#!/usr/bin/env python
"""The training workflow from the command line and from Python, with the words of the tutorial::

    python scripts/huggingface_manager.py sync --model-path ./model --experiment-name baseline --version-tag v1.0.0
    from scripts.huggingface_manager import HuggingFaceManager

Each command is one of ``hfmirror`` or one call of ``HuggingFaceManager``; what it prints and how it ends is theirs.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from hfmirror import output
from hfmirror.main import cli as hfmirror
from hfmirror.main import error_handler
from hfmirror.manager import HuggingFaceManager

__all__ = ['HuggingFaceManager']

_config = click.option('--config', metavar='FILE', help='The project file.  [default: ./config.yaml]')
_remote = click.option('--remote', 'remotes', multiple=True, metavar='hub|local|URL', help='Where to.')
_model_path = click.option('--model-path', type=click.Path(path_type=Path), help="The model's folder.")
_version_tag = click.option('--version-tag', metavar='T', help='The version.')
_private = click.option('--private', is_flag=True, help='Of repositories that are created.')
_experiment = click.option('--experiment-name', metavar='NAME', required=True, help='The experiment.')


@click.group(context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 110})
def cli() -> None:
    """Publish training runs on the Hugging Face Hub, and look at what is there."""


@cli.command(short_help='Publish a training run: model, configuration and results.')
@_model_path
@click.option('--experiment-name', metavar='NAME', help="The experiment.  [default: the folder's name]")
@_version_tag
@_private
@click.option('--results-path', type=click.Path(path_type=Path), help='Results that are not in the folder.')
@_remote
@_config
def sync(
    model_path: Path | None,
    experiment_name: str | None,
    version_tag: str | None,
    private: bool,
    results_path: Path | None,
    remotes: tuple[str, ...],
    config: str | None,
) -> None:
    """Publish a training run: model, configuration and results."""
    manager = HuggingFaceManager(config, remotes=remotes)
    urls = manager.sync_training_workflow(
        model_path or manager.model_path(),
        experiment_name,
        version_tag,
        private or None,
        results_path=results_path,
    )
    for name, url in urls.items():
        output.data(f'{name}: {url or "-"}')


@cli.command(short_help='Publish the model alone.')
@_model_path
@_version_tag
@click.option('--commit-message', metavar='TEXT', help='Your words for the commit and the tag.')
@click.option('--chunk-size', type=int, metavar='BYTES', help='How much is read at a time.')
@_private
@_remote
@_config
def upload_model(
    model_path: Path | None,
    version_tag: str | None,
    commit_message: str | None,
    chunk_size: int | None,
    private: bool,
    remotes: tuple[str, ...],
    config: str | None,
) -> None:
    """Publish the model alone."""
    manager = HuggingFaceManager(config, remotes=remotes)
    url = manager.upload_model(
        model_path or manager.model_path(),
        version_tag,
        commit_message,
        chunk_size=chunk_size,
        private=private or None,
    )
    output.data(f'model_url: {url}')


@cli.command(short_help='Keep a configuration with an experiment.')
@click.option('--config-file', metavar='FILE', help='The configuration.  [default: the project file]')
@_experiment
@_private
@_remote
@_config
def upload_config(
    config_file: str | None,
    experiment_name: str,
    private: bool,
    remotes: tuple[str, ...],
    config: str | None,
) -> None:
    """Keep a configuration with an experiment."""
    manager = HuggingFaceManager(config, remotes=remotes)
    url = manager.upload_training_config(config_file, experiment_name, private=private or None)
    output.data(f'config_url: {url}')


@cli.command(short_help='Keep results with an experiment.')
@click.option('--results-path', type=click.Path(path_type=Path), required=True, help='A file or folder.')
@_experiment
@_private
@_remote
@_config
def upload_results(
    results_path: Path,
    experiment_name: str,
    private: bool,
    remotes: tuple[str, ...],
    config: str | None,
) -> None:
    """Keep results with an experiment."""
    manager = HuggingFaceManager(config, remotes=remotes)
    url = manager.upload_training_results(results_path, experiment_name, private=private or None)
    output.data(f'results_url: {url}')


@cli.command(short_help='Fetch the files of a version.')
@click.option('--version-tag', metavar='T', default='latest', show_default=True, help='The version.')
@click.option('--local-dir', metavar='DIR', help="The folder to write.  [default: huggingface_hub's cache]")
@_remote
@_config
def download_model(
    version_tag: str, local_dir: str | None, remotes: tuple[str, ...], config: str | None
) -> None:
    """Fetch the files of a version."""
    manager = HuggingFaceManager(config, remotes=remotes)
    output.data(manager.download_model(version_tag, local_dir))


# Commands of hfmirror as they are: their options, --json among them, are passed on.
_AS_THEY_ARE = {
    'list-versions': 'List the versions of the model, newest first.',
    'list-experiments': 'List the experiments, with their metrics.',
    'validate-config': 'Check the configuration, and say all that is wrong with it.',
}


def _passed_on(name: str, text: str) -> click.Command:
    def run(args: tuple[str, ...]) -> Any:
        return hfmirror.main([name, *args], prog_name='hfmirror', standalone_mode=False)

    arguments = [click.Argument(['args'], nargs=-1, type=click.UNPROCESSED)]
    settings: dict[str, Any] = {'ignore_unknown_options': True, 'help_option_names': []}
    return click.Command(
        name, context_settings=settings, callback=run, params=[*arguments], help=text, short_help=text
    )


for _name, _text in _AS_THEY_ARE.items():
    cli.add_command(_passed_on(_name, _text))


def main() -> None:
    """Run a command and exit with the code that tells how it went, as those of ``hfmirror``."""
    with error_handler():
        cli(standalone_mode=False)
    sys.exit(0)


if __name__ == '__main__':
    main()
