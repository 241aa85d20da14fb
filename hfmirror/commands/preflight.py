"""``hfmirror preflight``: the first line of a job, which ends it before money is spent on what could not be released."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.preflight.check import Check


@click.command(short_help='Check, before a job begins, that its release can arrive.')
@click.argument('folder', required=False, type=click.Path(path_type=Path, readable=False))
@options.repo
@options.repo_type
@options.branch
@options.remotes
@click.option('--tag', metavar='T', help='The name that the release will have: it must not be taken.')
@click.option(
    '--wait',
    'wait_s',
    type=options.Duration(),
    is_flag=False,
    flag_value='10m',
    default='0s',
    metavar='[DURATION]',
    help='Ask again for so long while the remote cannot be reached, as 30m; alone it is 10m.',
)
@options.token
@options.config
@options.as_json
@options.verbose
def command(wait_s: float, as_json: bool, verbose: bool, **given: Any) -> None:
    """Check, before a job begins, that its release can arrive: programs, configuration, token, name, remote, rights, quota,
    clock and disk, a line each. FOLDER is what will be released; it need not be there yet.

    \b
    hfmirror preflight ./my_model --repo me/my-model && python train.py
    hfmirror preflight --repo me/results --repo-type dataset --wait 30m

    The exit code is that of the first check that failed: 4 for a token or a missing right, 2 for a name, 7 for a remote that
    cannot be reached. Nothing is sent.
    """
    from hfmirror.place import Place
    from hfmirror.preflight.preflight import Question, preflight, require

    output.configure(verbose=verbose)
    question = Question(
        given['folder'],
        Place(given['repo'], given['repo_type'], given['branch']),
        given['remotes'],
        given['config_file'],
        given['tag'],
    )
    checks = preflight(question, lambda: options.token_of(given, folder=given['folder']), wait_s=wait_s)
    show(checks, as_json=as_json)
    require(checks)


def show(checks: Sequence[Check], *, as_json: bool) -> None:
    """Show what the checks have found, to a person or to a program."""
    if as_json:
        output.document([check._asdict() for check in checks])
        return
    for check in checks:
        output.data(line(check))


def line(check: Check) -> str:
    """Return a check as a line; what it found may have several, which belong together."""
    found = ' '.join(check.found.split())
    advice = f' {" ".join(check.advice.split())}' if check.advice and check.state != 'ok' else ''
    return f'{check.state:4}  {check.name:13}  {found.removesuffix(".") + "." * bool(advice)}{advice}'
