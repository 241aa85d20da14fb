"""How do we run git and git-lfs? With a clean environment, no shell, and errors that say what happened.

Only this module starts processes. Commands are given as git's own arguments, in git's order::

    git('tag', '-a', name, '-F', '-', cwd=clone, stdin=message)
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any
from urllib.parse import urlsplit

from hfmirror import errors, output

GIT_MINIMUM = (2, 39)
LFS_MINIMUM = (3, 3)

# A surrounding git command (a hook, an alias) sets GIT_DIR and friends, which would aim our commands at its repository.
# These are about people and the network, not about a repository, and stay.
_KEPT = {
    'GIT_ASKPASS',
    'GIT_AUTHOR_EMAIL',
    'GIT_AUTHOR_NAME',
    'GIT_COMMITTER_EMAIL',
    'GIT_COMMITTER_NAME',
    'GIT_CONFIG_GLOBAL',
    'GIT_CONFIG_NOSYSTEM',
    'GIT_CONFIG_SYSTEM',
    'GIT_EXEC_PATH',
    'GIT_HTTP_LOW_SPEED_LIMIT',
    'GIT_HTTP_LOW_SPEED_TIME',
    'GIT_PROXY_COMMAND',
    'GIT_SSH',
    'GIT_SSH_COMMAND',
    'GIT_SSH_VARIANT',
    'GIT_SSL_CAINFO',
    'GIT_SSL_CAPATH',
    'GIT_SSL_NO_VERIFY',
    'GIT_TRACE',
    'GIT_TRACE_PERFORMANCE',
}

# LC_ALL: messages are matched in English. No prompt may ever stop a job that nobody watches.
_ALWAYS = {
    'GIT_LFS_SKIP_SMUDGE': '1',
    'GIT_OPTIONAL_LOCKS': '0',
    'GIT_TERMINAL_PROMPT': '0',
    'LC_ALL': 'C',
}

# Without them git waits for ever for a server that has stopped to answer: bytes a second, for so many seconds.
_PATIENCE = {'GIT_HTTP_LOW_SPEED_LIMIT': '1', 'GIT_HTTP_LOW_SPEED_TIME': '300'}

_CREDENTIALS = re.compile(r'(?<=://)[^/@\s]+@')
_NO_ROOM = r'No space left on device|Disk quota exceeded|Out of diskspace|File too large'
_TOKEN = re.compile(
    r'\b(?:hf|api_org|gh[a-z]|github_pat|glpat)[_-][A-Za-z0-9_.-]{8,}'
    r'|(?i:(?<=[?&;=(])(?:(?:x-(?:amz|goog)-)?(?:signature|security-token|credential)|sig|token|access_token)=)[^&\s"\')]+'
    r'|(?i:(?<=authorization)(?P<between>["\']?\s*[:=]\s*["\']?)[A-Za-z]+\s+[^\s"\']+)'
)


def redact(text: str) -> str:
    """Return ``text`` without tokens and without the user part of URLs."""
    return _TOKEN.sub('***', _CREDENTIALS.sub('***@', text))


class GitFailed(errors.GitError):
    """A git command ended with an error. ``stderr`` is what it said, without secrets."""

    def __init__(self, args: tuple[str, ...], returncode: int, stderr: str) -> None:
        self.returncode = returncode
        self.stderr = redact(stderr).strip()
        shown = redact(' '.join(args[:4]))
        super().__init__(f'{shown}: exit {returncode}: {self.stderr or "no message"}')


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment for git: ours without a surrounding git's variables, plus ``extra``."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith('GIT_') or key in _KEPT}
    return {**_PATIENCE, **kept, **_ALWAYS, **(extra or {})}


def configuration(values: Mapping[str, str]) -> dict[str, str]:
    """Return the environment that gives git these settings: no file and no process list shows them."""
    given = {'GIT_CONFIG_COUNT': str(len(values))}
    for number, (key, value) in enumerate(values.items()):
        given |= {f'GIT_CONFIG_KEY_{number}': key, f'GIT_CONFIG_VALUE_{number}': value}
    return given


def run(
    *args: str | Path,
    cwd: Path | None = None,
    stdin: bytes | IO[bytes] = b'',
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a program and return its standard output. ``stdin`` may be an open file, read from where it stands.

    Raises GitFailed with its standard error when it ends with another code than 0, and GitError when it is not there.
    """
    command = tuple(str(arg) for arg in args)
    done: subprocess.CompletedProcess[bytes]
    given: dict[str, Any] = {'input': stdin} if isinstance(stdin, bytes) else {'stdin': stdin}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, cwd=cwd, env=environment(env), capture_output=True, check=False, **given
        )
    except FileNotFoundError as e:
        if cwd is not None and not cwd.is_dir():
            raise errors.GitError(f'{cwd}: no such directory.') from e
        raise _missing(command[0]) from e
    except OSError as e:
        raise errors.GitError(f'{command[0]} cannot be started: {e.strerror}.') from e
    _tell(command, started, done.returncode, cwd)
    if done.returncode != 0:
        raise _failed(command, done.returncode, done.stderr.decode('utf-8', 'replace'), cwd)
    return done.stdout


def _tell(command: Sequence[str], started: float, returncode: int, cwd: Path | None) -> None:
    """Show a command that has ended, to those who set LOG_LEVEL=DEBUG."""
    if output.shows_debug():
        took = f'{time.monotonic() - started:.3f} s'
        ended = f', exit {returncode}' if returncode else ''
        output.debug(redact(f'{shlex.join(command)}  ({took}{ended}, in {cwd or Path.cwd()})'))


def _failed(command: tuple[str, ...], returncode: int, stderr: str, cwd: Path | None) -> errors.HfmirrorError:
    # What the other side of a connection says begins with `remote:`; its disk is a matter of the remote.
    if re.search(rf'^(?!remote:).*(?:{_NO_ROOM})', stderr, re.MULTILINE):
        return errors.DiskFull(
            f'{cwd or Path.cwd()}: the disk is full, {" ".join(command[:2])} could not go on. Free some space and try again.'
        )
    return GitFailed(command, returncode, stderr)


def git(
    *args: str | Path,
    cwd: Path | None = None,
    stdin: bytes | str | IO[bytes] = b'',
    env: Mapping[str, str] | None = None,
) -> str:
    """Run git and return its standard output as text without the last newline."""
    return (
        git_bytes(*args, cwd=cwd, stdin=stdin, env=env).decode('utf-8', 'surrogateescape').removesuffix('\n')
    )


def git_bytes(
    *args: str | Path,
    cwd: Path | None = None,
    stdin: bytes | str | IO[bytes] = b'',
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run git and return its standard output as it is."""
    data = stdin.encode('utf-8', 'surrogateescape') if isinstance(stdin, str) else stdin
    return run('git', *args, cwd=cwd, stdin=data, env=env)


def succeeds(*args: str | Path, cwd: Path | None = None) -> bool:
    """Return whether a git command that answers by its exit code says yes."""
    try:
        git(*args, cwd=cwd)
    except GitFailed:
        return False
    return True


class Started:
    """A program that runs beside us, in a session of its own: a Ctrl-C that is meant for us does not end it.

    What it writes goes to files without a name, so that it never waits for somebody to read.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], out: IO[bytes], err: IO[bytes], cwd: Path | None
    ) -> None:
        self._process, self._out, self._err, self._cwd = process, out, err, cwd
        self._started, self._told = time.monotonic(), False
        for file in (out, err):
            weakref.finalize(self, file.close)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdout(self) -> str:
        """What it has written so far, without secrets."""
        return _written(self._out)

    @property
    def stderr(self) -> str:
        """What it has written to its standard error so far, without secrets."""
        return _written(self._err)

    def poll(self) -> int | None:
        """Return its exit code, the negative number of the signal that ended it, or None while it runs."""
        code = self._process.poll()
        if code is not None and not self._told:
            self._told = True
            _tell([str(arg) for arg in self._process.args], self._started, code, self._cwd)  # type: ignore[union-attr]
        return code

    def wait(self, timeout_s: float | None = None) -> None:
        """Wait until it has ended, or for so many seconds."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)

    def kill(self) -> None:
        """End it and all that it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


def start(
    *args: str | Path, cwd: Path | None = None, stdin: bytes = b'', env: Mapping[str, str] | None = None
) -> Started:
    """Start a program, have it read ``stdin``, and return. Raises GitError when it is not there."""
    out, err = TemporaryFile(), TemporaryFile()  # noqa: SIM115 - closed with what is returned
    try:
        process = subprocess.Popen(
            [str(arg) for arg in args],
            cwd=cwd,
            env=environment(env),
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    except OSError as e:
        out.close()
        err.close()
        raise errors.GitError(f'{args[0]} cannot be started: {e.strerror}.') from e
    assert process.stdin is not None
    # A pipe, not a file: what it reads may be secret.
    with suppress(BrokenPipeError), process.stdin:
        process.stdin.write(stdin)
    return Started(process, out, err, cwd)


def _written(file: IO[bytes]) -> str:
    # Read by place: the place where the program goes on writing is shared with us.
    content = os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)
    return redact(content.decode('utf-8', 'replace'))


def git_version() -> tuple[int, ...]:
    """Return git's version, ``(2, 39, 5)``. Raises GitError when git is missing."""
    return _numbers(run('git', '--version').decode())


def lfs_version() -> tuple[int, ...]:
    """Return git-lfs's version, ``(3, 3, 0)``. Raises GitError when git-lfs is missing."""
    if shutil.which('git-lfs', path=environment().get('PATH')) is None:
        raise _missing('git-lfs')
    return _numbers(run('git-lfs', 'version').decode())


def require_tools() -> None:
    """Raise GitError with the command that mends it when git or git-lfs is missing or git is too old."""
    version = git_version()
    if version < GIT_MINIMUM:
        raise errors.GitError(
            f'git {".".join(map(str, version))} is too old: hfmirror needs {GIT_MINIMUM[0]}.{GIT_MINIMUM[1]} or newer. '
            "Install a newer git ('apt-get install git', 'brew install git')."
        )
    if shutil.which('git-lfs', path=environment().get('PATH')) is None:
        raise _missing('git-lfs')


def _missing(program: str) -> errors.GitError:
    package = 'git-lfs' if 'lfs' in program else 'git'
    return errors.GitError(
        f'{program} is not installed or not on PATH. '
        f"Install it: 'apt-get install {package}' (Debian, Ubuntu), 'brew install {package}' (macOS)."
    )


def _numbers(text: str) -> tuple[int, ...]:
    match = re.search(r'(\d+)\.(\d+)(?:\.(\d+))?', text)
    return tuple(int(part) for part in match.groups() if part) if match else ()


def ssh_address(url: str) -> tuple[tuple[str, ...], str]:
    """Return ssh's arguments for the host, ``('-p', '22', 'git@host')``, and the path there, of a git URL."""
    if '://' not in url:
        host, _, path = url.partition(':')
        return (host,), path
    parts = urlsplit(url)
    host = f'{parts.username}@{parts.hostname}' if parts.username else str(parts.hostname)
    return (('-p', str(parts.port), host) if parts.port else (host,)), parts.path


def ssh(host: tuple[str, ...], command: str, *, cwd: Path) -> str:
    """Run a command on an ssh host with the ssh that git would use, and return its standard output."""
    configured = environment().get('GIT_SSH_COMMAND') or _sshcommand(cwd)
    program = shlex.split(configured) if configured else [environment().get('GIT_SSH') or 'ssh']
    return run(*program, *host, command, cwd=cwd).decode('utf-8', 'replace')


def _sshcommand(cwd: Path) -> str:
    try:
        return git('config', '--get', 'core.sshCommand', cwd=cwd)
    except GitFailed:
        return ''


# What git and git-lfs say of anything but a server's answer, in English, and what it means. The first match wins.
_MEANINGS: tuple[tuple[str, type[errors.HfmirrorError], str], ...] = (
    # A disk of this machine is told of by `run`, so it is one over there.
    (
        _NO_ROOM,
        errors.RemoteError,
        'The disk there is full: free some space on it and push again',
    ),
    (
        r'Permission denied|Host key verification failed|access denied',
        errors.AuthError,
        'Check the user and token or key that git uses for it',
    ),
    (
        r'requested URL returned error: 30\d',
        errors.NotFoundError,
        'It was renamed or moved: open its address in a browser to see its new name, and give that to --repo',
    ),
    (
        r'does not appear to be a git repository|[Rr]epository .*not found|not a git repository|invalid gitfile|does not exist',
        errors.NotFoundError,
        'Check the address, or create the repository there first',
    ),
)


def meaning(failure: GitFailed, what: str) -> errors.HfmirrorError:
    """Return our error for a git command that talked to a remote; ``what`` names the repository."""
    from hfmirror import statuses  # it redacts with this module

    for pattern, kind, advice in _MEANINGS:
        said = next((line for line in failure.stderr.splitlines() if re.search(pattern, line)), None)
        if said is not None:
            return kind(f'{what}: {said.strip().rstrip(".")}. {advice}.')
    told = statuses.told_by_git(failure.stderr, what)
    return told or errors.RemoteError(f'{what}: {failure.stderr[:2000] or failure}')
