"""Publish a checkpoint that train_transformer.py has saved, as a repository that others can load the model from.

python push_to_huggingface.py --repo_name shakespeare-transformer --username me
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hfmirror.main import error_handler

if TYPE_CHECKING:
    from hfmirror.auth import Token
    from hfmirror.checkpoints.releasing import Wanted
    from hfmirror.checkpoints.writing import Definition
    from hfmirror.config.config import Config
    from hfmirror.publishing import Published


class Ready(NamedTuple):
    """A push in which nothing is wrong that can be known beforehand."""

    wanted: Wanted
    config: Config
    token: Token | None


TAGS = ('pytorch', 'transformer', 'encoder-decoder', 'text-generation')


@click.command(context_settings={'max_content_width': 110})
@click.option(
    '--model_path',
    type=click.Path(path_type=Path),
    default='transformer_model.pth',
    show_default=True,
    help='The checkpoint.',
)
@click.option('--repo_name', required=True, help="The repository's name.")
@click.option('--username', help='Whose repository it is.  [default: HF_USERNAME, or whose token it is]')
@click.option(
    '--token',
    metavar='TOKEN|-',
    help="The Hub's token; - reads it from stdin.  [default: HF_TOKEN, or what 'hf auth login' saved]",
)
@click.option('--private', is_flag=True, help='Create the repository for you alone.')
@click.option('--commit_message', help='Your words for the commit; the facts follow them.')
@click.option('--tag', help='Name the release.  [default: the next version]')
@click.option(
    '--remote', 'remotes', multiple=True, metavar='hub|local|URL', help='Where to; can be given again.'
)
@click.option(
    '--folder',
    type=click.Path(path_type=Path),
    help='Where the files of the release are written.  [default: NAME_release beside NAME.pth]',
)
@click.option(
    '--config',
    'config_file',
    type=click.Path(path_type=Path),
    help='The project file.  [default: config.yaml]',
)
def command(**given: Any) -> None:
    """Publish a checkpoint: weights, definition of the model, vocabulary, an example that runs, and a model card.

    \b
    python push_to_huggingface.py --repo_name shakespeare-transformer --username me
    python push_to_huggingface.py --model_path run7.pth --repo_name me/run7 --private --tag v1.0.0
    """
    from hfmirror.checkpoints.releasing import Wanted

    wanted = Wanted(
        given['model_path'],
        given['repo_name'],
        given['username'],
        given['private'] or None,
        given['commit_message'],
        given['tag'],
        given['remotes'],
        given['folder'],
    )
    push(ready(wanted, token=given['token'], config_file=given['config_file']))


def ready(wanted: Wanted, *, token: str | None = None, config_file: Path | None = None) -> Ready:
    """Return a push whose names are ones that can be, with its configuration and its token. Raises what is wrong in them."""
    from hfmirror import versions
    from hfmirror.checkpoints import releasing
    from hfmirror.commands import options
    from hfmirror.config.loading import load_config

    releasing.check_name(wanted.repo_name, wanted.username)
    if wanted.tag:
        versions.check_name(wanted.tag)
    config = load_config(config_file)
    needed = 'hub' in (wanted.remotes or config.remotes or ['hub'])
    found = options.token_of({'token': token}, folder=wanted.release) if needed else None
    return Ready(wanted, config, found)


def push(ready: Ready) -> None:
    """Publish a checkpoint and say where it is. Raises the error that the exit code stands for when it is not there."""
    from hfmirror.checkpoints import releasing
    from hfmirror.commands.push import tell
    from hfmirror.config.places import home
    from hfmirror.outcome import require_done

    done = releasing.publish(ready.wanted, definition(), ready.config, home(), token=ready.token)
    tell(done, as_json=False)
    _show_where(done)
    require_done(done.releases)


def definition() -> Definition:
    """Return the definition of the model, which is beside this file. Raises UsageError when there is no torch."""
    from hfmirror.checkpoints.reading import library
    from hfmirror.checkpoints.writing import Definition

    library('torch')
    import encoder_decoder_transformer

    path = Path(encoder_decoder_transformer.__file__).resolve()
    return Definition(path, encoder_decoder_transformer.Transformer, TAGS)


def _show_where(done: Published) -> None:
    from hfmirror import output
    from hfmirror.outcome import Unreleased

    for one in done.releases:
        if not isinstance(one, Unreleased) and one.status in ('pushed', 'up-to-date'):
            output.data(one.target.url)


if __name__ == '__main__':
    with error_handler():
        command(standalone_mode=False)
    sys.exit(0)
