"""The command ``hfmirror``: finds the subcommand, and turns what went wrong into one message and an exit code."""

from __future__ import annotations

import errno
import importlib
import os
import platform
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import click

from hfmirror import __version__

# A subcommand is a module of hfmirror.commands with a click command named `command`; only the one that runs is imported.
COMMANDS = {
    'push': 'Make a release of a folder and prove that it arrived.',
    'list-versions': 'List the versions of a repository, newest first.',
    'sync': 'Publish a training run: model, configuration and results.',
    'list-experiments': 'List the experiments of a project, with their metrics.',
    'pull': 'Fetch the files of a version.',
    'verify': 'Prove that a version is whole on the remote, or in a folder.',
    'status': 'Show the releases that wait to be sent.',
    'resume': 'Send the releases that wait.',
    'hooks': 'Release what was trained when you commit, tag or push its code.',
    'watch': 'Release the checkpoints of a training while it writes them.',
    'run': 'Run a training, and release what it leaves, whatever happens.',
    'preflight': 'Check, before a job begins, that its release can arrive.',
    'adopt': 'Put a repository that a Trainer has pushed to under versions.',
    'rebuild': 'Rebuild a git repository from an archive.',
    'card': 'Show or check the card that a release of a folder would have.',
    'init': 'Write a configuration for this project.',
    'config': 'Show every setting and where it comes from.',
    'validate-config': 'Check the configuration, and say all that is wrong with it.',
    'whoami': 'Say who you are on the Hub, and what the token may do.',
    'serve': 'Serve the local Hub over HTTP to Hub clients, git and browsers.',
    'doctor': 'Say what is wrong on this machine, and how to mend it.',
}


# What the system may refuse anywhere, and what mends it.
_ADVICE = {
    errno.ENOSPC: 'Free some space and run the same command again.',
    errno.EDQUOT: 'Free some space and run the same command again.',
    errno.EACCES: 'Give yourself the right to write there; HFMIRROR_HOME moves what hfmirror keeps.',
    errno.EROFS: 'Choose another place; HFMIRROR_HOME moves what hfmirror keeps.',
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f'hfmirror.commands.{cmd_name.replace("-", "_")}')
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From the table, so that --help imports no command.
        with formatter.section('Commands'):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in COMMANDS and not name.startswith('-'):
            import difflib

            near = difflib.get_close_matches(name, COMMANDS, n=1)
            ctx.fail(
                f"no command '{name}'."
                + (f" Did you mean '{near[0]}'?" if near else " See 'hfmirror --help'.")
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=_Commands, context_settings={'help_option_names': ['-h', '--help'], 'max_content_width': 110}
)
@click.version_option(__version__, '-V', '--version', prog_name='hfmirror', message='%(prog)s %(version)s')
def cli() -> None:
    """Publish training folders as proven releases, on the Hugging Face Hub or any git+LFS host.

    \b
    hfmirror push ./my_model --tag v1.0.0
    hfmirror list-versions
    """


def main() -> NoReturn:
    """Run the command line and exit with the code that tells how it went."""
    _open_closed_streams()
    with error_handler():
        cli(
            prog_name=Path(sys.argv[0]).name if 'mirror' in Path(sys.argv[0]).name else 'hfmirror',
            standalone_mode=False,
        )
    sys.exit(0)


def _open_closed_streams() -> None:
    """Have somewhere to write to where a scheduler or ``2>&-`` has closed a stream before we began."""
    for name in ('stdout', 'stderr'):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))  # noqa: SIM115  until the process ends


@contextmanager
def error_handler() -> Iterator[None]:
    """Say what went wrong and exit: our errors by their code, anything unexpected with 1 and a log to report it by."""
    if level := os.environ.get('LOG_LEVEL'):
        from hfmirror import output

        output.set_level(level)
    try:
        yield
    except click.exceptions.Exit as e:
        sys.exit(e.exit_code)
    except click.UsageError as e:
        e.show()
        sys.exit(2)
    except (KeyboardInterrupt, click.Abort):
        sys.stderr.write('\ninterrupted; run the same command again to go on\n')
        sys.exit(130)
    except BrokenPipeError:
        # Whoever read our output has enough of it; without this Python complains when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        sys.exit(_explain(e))


def _explain(error: Exception) -> int:
    from hfmirror import errors, gitcmd, output

    if isinstance(error, errors.HfmirrorError):
        output.error(str(error))
        return error.exit_code
    if isinstance(error, OSError) and error.errno in _ADVICE:
        output.error(f'{error.filename or "the disk"}: {error.strerror}. {_ADVICE[error.errno]}')
        return 1
    if isinstance(error, FileNotFoundError) and _is_nowhere():
        output.error(
            'the working directory has been removed. Go to one that is there, and run the command again.'
        )
        return 1
    output.error(gitcmd.redact(f'{type(error).__name__}: {error}')[:500])
    with suppress(OSError):
        output.error(
            f'this is not an error hfmirror knows; what is needed to report it is in {_write_log(error)}'
        )
    return 1


def _is_nowhere() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


def _write_log(error: Exception) -> Path:
    """Write what a report needs, as Markdown to paste, without secrets; returns where."""
    from hfmirror import durable, gitcmd
    from hfmirror.config.places import home

    versions = {'hfmirror': __version__, 'Python': platform.python_version(), 'system': platform.platform()}
    for name, ask in (('git', gitcmd.git_version), ('git-lfs', gitcmd.lfs_version)):
        try:
            versions[name] = '.'.join(map(str, ask()))
        except Exception as missing:
            versions[name] = str(missing)
    lines = [f'* {name}: {version}' for name, version in versions.items()]
    trace = ''.join(traceback.format_exception(error))
    path = home().log / 'hfmirror.log'
    durable.write(
        path, gitcmd.redact('\n'.join(['### hfmirror failed', *lines, '', '```', trace, '```', ''])).encode()
    )
    return path
