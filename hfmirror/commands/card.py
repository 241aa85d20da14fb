"""``hfmirror card``: the card a release of a folder would have, without a network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.config.config import Config
    from hfmirror.target import Target


def _target(given: Mapping[str, Any], folder: Path, config: Config) -> Target:
    from hfmirror import place
    from hfmirror.config.places import home

    directories = home()
    where = place.Place(given['repo'], given['repo_type'], given['branch'])
    remote, token = given['remote'] or 'local', None
    if remote == 'hub' and place.needs_asking(where, config, directories, token=None):
        token = options.token_of(given, folder=folder)
        if place.needs_asking(where, config, directories, token=token):
            raise errors.UsageError(
                'whose card? The Hub is not asked for it: name the repository with --repo, or yourself with HF_USERNAME.'
            )
    return place.targets_of(where, [remote], config, directories, folder=folder, token=token)[0]


@click.command(short_help='Show or check the card that a release of a folder would have.')
@click.argument('folder', type=click.Path(path_type=Path, readable=False))
@click.option('--check', is_flag=True, help='Check it as the Hub would, and say what is missing.')
@click.option('--tag', metavar='T', help='The version it is for.')
@options.where
@options.as_json
def command(folder: Path, check: bool, tag: str | None, as_json: bool, **given: Any) -> None:
    """Print the card that a release of FOLDER would have; with --check, what is wrong with it.

    \b
    hfmirror card ./my_model
    hfmirror card ./my_model --check

    Nothing is sent or asked. Exit code 8 when the Hub would refuse the card.
    """
    from hfmirror.card import lint
    from hfmirror.config.loading import load_config
    from hfmirror.preview import card_of

    config = load_config(given['config_file'])
    target = _target(given, folder, config)
    text = card_of(folder, target, config, version=tag)
    if not check:
        output.document({'path': 'README.md', 'text': text}) if as_json else output.data(
            text.removesuffix('\n')
        )
        return
    problems = lint.lint(text, repo_type=target.repo_type)
    if as_json:
        output.document([problem._asdict() for problem in problems])
    else:
        for found in problems:
            key = f'{found.key}: ' if found.key else ''
            output.data(f'{found.path}:{found.line}: {found.severity}: {key}{found.message}')
    wrong = [problem for problem in problems if problem.severity == 'error']
    if wrong:
        raise errors.CardError(
            f'{folder}: the Hub would refuse this card: {output.count(len(wrong), "error")}. Mend README.md.'
        )
    if not as_json:
        output.say(f'{folder}: the card is valid, {output.count(len(problems), "warning")}')
