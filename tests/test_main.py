"""The command line itself: finding commands, and turning what went wrong into a message and an exit code."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import click
import pytest

from hfmirror import __version__, errors, main
from tests.support.mirror import Done


@pytest.fixture
def hfmirror(capsys, monkeypatch):
    """The command line in this process."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['hfmirror', *args])
        with pytest.raises(SystemExit) as ended:
            main.main()
        return Done(ended.value.code, *capsys.readouterr())

    return run


def ended_with(error, capsys):
    with pytest.raises(SystemExit) as ended, main.error_handler():
        raise error
    return Done(ended.value.code, *capsys.readouterr())


def test_help_names_every_command(hfmirror):
    done = hfmirror('--help')
    assert done.code == 0 and all(name in done.out for name in main.COMMANDS)


def test_version_is_the_packages(hfmirror):
    assert hfmirror('--version').out == f'hfmirror {__version__}\n'


@pytest.mark.parametrize('name', main.COMMANDS)
def test_every_command_has_help(hfmirror, name):
    done = hfmirror(name, '--help')
    assert done.code == 0 and done.out.startswith(f'Usage: hfmirror {name}')


def test_a_command_that_is_nearly_right_gets_the_right_one(hfmirror):
    done = hfmirror('pusch')
    assert done.code == 2 and "Did you mean 'push'?" in done.err and done.out == ''


def test_any_other_command_is_pointed_to_the_help(hfmirror):
    done = hfmirror('xyzzy')
    assert done.code == 2 and "See 'hfmirror --help'" in done.err


@pytest.mark.parametrize(
    'args', [['push'], ['push', '--nonsense', '.'], ['pull', '--to'], ['push', '.', '--bump', 'x']]
)
def test_a_wrong_command_line_ends_with_2_and_writes_to_stderr(hfmirror, args):
    done = hfmirror(*args)
    assert done.code == 2 and done.out == '' and 'Error:' in done.err


KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


@pytest.mark.parametrize('kind', KINDS, ids=lambda kind: kind.__name__)
def test_an_error_of_ours_is_its_message_and_its_exit_code(capsys, kind):
    done = ended_with(kind('me/x: broken. Mend it.'), capsys)
    assert done == (kind.exit_code, '', 'error: me/x: broken. Mend it.\n')


@pytest.mark.parametrize(
    ('code', 'advice'),
    [(errno.ENOSPC, 'Free some space'), (errno.EACCES, 'HFMIRROR_HOME'), (errno.EROFS, 'HFMIRROR_HOME')],
)
def test_what_the_system_refuses_is_said_with_its_place_and_what_mends_it(capsys, code, advice):
    done = ended_with(OSError(code, os.strerror(code), '/some/where'), capsys)
    assert done.code == 1 and done.err.startswith('error: /some/where: ') and advice in done.err
    assert len(done.err.splitlines()) == 1


def test_an_interruption_ends_with_130(capsys):
    assert ended_with(KeyboardInterrupt(), capsys).code == 130
    assert ended_with(click.Abort(), capsys).code == 130


def test_an_unknown_error_ends_with_1_and_leaves_a_log_to_report_it_by(capsys, tmp_path):
    done = ended_with(RuntimeError('unheard of'), capsys)
    log = tmp_path / 'hfmirror' / 'log' / 'hfmirror.log'
    assert done.code == 1 and 'RuntimeError: unheard of' in done.err and str(log) in done.err
    assert 'Traceback' not in done.err
    text = log.read_text()
    assert (
        'Traceback' in text
        and f'* hfmirror: {__version__}' in text
        and '* git: ' in text
        and '* git-lfs: ' in text
    )


def test_neither_the_log_nor_the_message_holds_a_secret(capsys, tmp_path):
    done = ended_with(RuntimeError('https://me:s3cret@h/x with hf_abcdefghijkl'), capsys)
    log = (tmp_path / 'hfmirror' / 'log' / 'hfmirror.log').read_text()
    for secret in ('s3cret', 'hf_abcdefghijkl'):
        assert secret not in log and secret not in done.err


def test_a_log_that_cannot_be_written_does_not_hide_the_error(capsys, tmp_path):
    (tmp_path / 'hfmirror').write_text('in the way')
    done = ended_with(RuntimeError('unheard of'), capsys)
    assert done.code == 1 and 'unheard of' in done.err


def test_a_message_cannot_steer_the_terminal(capsys):
    assert '\x1b' not in ended_with(errors.HfmirrorError('a\x1b[31mb'), capsys).err


def test_a_reader_that_has_enough_is_no_error(mirror):
    command = f'{sys.executable} -m hfmirror doctor --json | head -c 1'
    done = subprocess.run(
        ['bash', '-o', 'pipefail', '-c', command], capture_output=True, text=True, check=False
    )
    assert done.stdout == '[' and 'BrokenPipe' not in done.stderr and 'Traceback' not in done.stderr


def test_python_m_hfmirror_is_the_same_command():
    done = subprocess.run(
        [sys.executable, '-m', 'hfmirror', '--version'], capture_output=True, text=True, check=True
    )
    assert done.stdout == f'hfmirror {__version__}\n'


def test_streams_that_were_closed_from_the_start_are_no_error():
    command = [sys.executable, '-m', 'hfmirror', 'status']
    assert subprocess.run(['sh', '-c', '"$@" 2>&- >&-', 'sh', *command], check=False).returncode == 0


def test_a_working_directory_that_was_removed_is_named(tmp_path):
    gone = tmp_path / 'gone'
    gone.mkdir()
    command = 'rmdir "$1" && shift && "$@"'
    done = subprocess.run(
        ['sh', '-c', command, 'sh', gone, sys.executable, '-m', 'hfmirror', 'config'],
        cwd=gone,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and 'working directory' in done.stderr
