"""The token reaches the Hub and nothing else: no argument list, file, log, trace, message or commit has it, whatever fails."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.fault import at, fault
from tests.support.mirror import git, git_bytes
from tests.support.rest import call

NAME = 'local/tiny-model'
PROGRAMS = ('git', 'git-lfs', 'git-xet', 'ssh', 'hf', 'curl', 'python3')
_SHIM = """#!/bin/sh
printf '%s\\n' "{name} $*" >> {log}
exec {real} "$@"
"""


class Place:
    """A machine on which a push runs with everything told to be as talkative as it can be."""

    def __init__(self, hub, mirror, folder, tmp_path):
        self.hub, self.mirror, self.folder, self.tmp_path = hub, mirror, folder, tmp_path
        mirror.remote = hub.root / 'models' / f'{NAME}.git'
        self.commands, self.trace = tmp_path / 'commands.txt', tmp_path / 'trace.txt'
        self.output = []
        self.env = {
            'HF_ENDPOINT': hub.endpoint,
            'HF_TOKEN': hub.token,
            'HF_DEBUG': '1',
            'HF_HUB_VERBOSITY': 'debug',
            'LOG_LEVEL': 'DEBUG',
            'GIT_TRACE': str(self.trace),
            'PATH': f'{self._shims()}{os.pathsep}{os.environ["PATH"]}',
        }
        for name in ('CURL_VERBOSE', 'TRACE_CURL', 'TRACE_SETUP', 'TRACE2', 'TRACE2_EVENT', 'TRACE_PACKET'):
            self.env[f'GIT_{name}'] = str(tmp_path / f'{name}.txt')
        self.env['GIT_TRACE2_ENV_VARS'] = 'GIT_CONFIG_VALUE_0,GIT_CONFIG_VALUE_1,GIT_CONFIG_VALUE_2'

    def _shims(self):
        shims = self.tmp_path / 'shims'
        shims.mkdir()
        for name in PROGRAMS:
            real = shutil.which(name)
            if real:
                shim = shims / name
                shim.write_text(_SHIM.format(name=name, log=self.commands, real=real))
                shim.chmod(0o755)
        return shims

    def run(self, *args, code=0, env=None, before=(), stdin=''):
        """Run the command and keep what it says; ``before`` is put before it."""
        done = subprocess.run(
            [*map(str, before), sys.executable, '-m', 'hfmirror', *map(str, args)],
            env={**os.environ, **self.env, **(env or {})},
            cwd=self.tmp_path,
            capture_output=True,
            input=stdin.encode(),
            timeout=100,
            check=False,
        )
        self.output.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr.decode()

    def create(self):
        namespace, name = NAME.split('/')
        call(self.hub, 'POST', '/api/repos/create', {'name': name, 'organization': namespace})

    def push(self, *args, **kwargs):
        where = ('--remote', 'hub', '--repo', NAME)
        self.run('push', self.folder, *where, '--tag', 'v1.0.0', '-v', *args, **kwargs)

    def assert_clean(self):
        """No file, output or git object has the token, as it is or as a header has it."""
        assert leaks(b'\n'.join(self.output), self.hub.token) == []
        files = {path for path in self.tmp_path.rglob('*') if path.is_file() and not path.is_symlink()}
        assert self.trace in files and self.commands in files
        for path in files:
            assert leaks(path.read_bytes(), self.hub.token) == [], path
        for repository in self.repositories():
            held = git_bytes('cat-file', '--batch-all-objects', '--batch', cwd=repository)
            assert leaks(held, self.hub.token) == [], repository

    def repositories(self):
        """Return every repository there is, and one with what the outbox has packed."""
        found = [path.parent for path in self.tmp_path.rglob('HEAD') if (path.parent / 'objects').is_dir()]
        unpacked = self.tmp_path / 'unpacked'
        shutil.rmtree(unpacked, ignore_errors=True)
        git('init', '-q', '--bare', unpacked)
        for pack in self.mirror.home.glob('outbox/*/*.pack'):
            subprocess.run(['git', 'unpack-objects', '-q'], cwd=unpacked, input=pack.read_bytes(), check=True)
        return [*found, unpacked]


def leaks(content, token):
    """Return the forms of the token that are in ``content``."""
    users = ('hf', 'user', 'local', '', '__token__')
    encoded = [base64.b64encode(f'{user}:{token}'.encode()).decode() for user in users]
    encoded += [base64.b64encode(token.encode()).decode(), base64.urlsafe_b64encode(token.encode()).decode()]
    forms = {token, token.removeprefix('hf_'), quote(token), *(text.rstrip('=')[:-2] for text in encoded)}
    return sorted(form for form in forms if form.encode() in content)


@pytest.fixture
def place(hub, mirror, folder, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 1, retry_delay: 0}\n'
    )
    return Place(hub, mirror, folder, tmp_path)


def test_the_search_finds_what_it_looks_for(hub):
    header = base64.b64encode(f'hf:{hub.token}'.encode())
    assert leaks(b'x' + header, hub.token) and leaks(b'x' + hub.token.encode(), hub.token)


@pytest.mark.heavy
def test_a_release_and_all_that_is_asked_of_it(place):
    place.push()
    for args in (['list-versions'], ['verify'], ['pull', '--to', 'got'], ['status'], ['whoami'], ['doctor']):
        place.run(*args)
    place.assert_clean()
    commands = place.commands.read_text()
    assert 'git push' in commands and 'git-lfs push' in commands  # the search has seen them


@pytest.mark.heavy
def test_the_token_is_on_no_file_of_the_server_either(place):
    place.push()
    place.run('whoami')
    assert place.hub.root.is_relative_to(place.tmp_path)
    place.assert_clean()


FAILURES = {
    'a wrong token': ('GET /info/refs', 401, 0, 4),
    'no right': ('POST /info/lfs', 403, 0, 4),
    'no right to upload, of which git-lfs alone hears': ('POST /info/lfs', 403, 3, 4),
    'a batch that fails, of which git-lfs makes a report': ('POST /info/lfs', 503, 3, 7),
    'an upload that is refused': ('PUT', 403, 0, 1),
    'an upload that fails': ('PUT', 500, 0, 7),
    'an upload that is too early, at which git-lfs panics': ('PUT', 429, 0, 7),
    'no room': ('PUT', 507, 0, 1),
    'a push that is too large': ('POST /git-receive-pack', 413, 0, 1),
    'a push that fails': ('POST /git-receive-pack', 502, 0, 7),
    'a proof that fails': ('GET /tree/', 500, 0, 7),
}


@pytest.mark.heavy
@pytest.mark.parametrize('failure', FAILURES.values(), ids=FAILURES)
def test_a_status(place, failure):
    what, status, after, code = failure
    place.create()
    place.hub.fail(what, status, times=99, after=after)
    place.push(code=code)
    if after:
        failed = [one for one in place.hub.requests(what) if one.status == status]
        assert failed[0].headers['user-agent'].startswith('git-lfs/')
    place.run('status')
    place.assert_clean()


@pytest.mark.heavy
@pytest.mark.parametrize('what', ['GET /info/refs', 'POST /info/lfs', 'PUT', 'POST /git-receive-pack'])
def test_a_connection_that_breaks(place, what):
    place.hub.cut(what, received=0, times=99)
    place.push(code=7)
    place.assert_clean()


@pytest.mark.heavy
@pytest.mark.parametrize('endpoint', ['http://127.0.0.1:1', 'http://nosuch.invalid'])
def test_nobody_there(place, endpoint):
    place.push(code=7, env={'HF_ENDPOINT': endpoint})
    place.assert_clean()


@pytest.mark.heavy
def test_an_address_that_sends_elsewhere(place):
    elsewhere = {'Location': 'http://127.0.0.1:1/elsewhere'}
    place.hub.fail('GET /info/refs', 302, times=99, headers=elsewhere)
    place.push(code=5)
    place.assert_clean()


def test_an_error_that_nobody_expected(place, tmp_path):
    code = 'raise RuntimeError("with " + os.environ["HF_TOKEN"] + " in it")'
    env = fault(tmp_path / 'fault', at('hfmirror.delivery:prove', before=code))
    place.push(code=1, env=env)
    log = place.mirror.home / 'log' / 'hfmirror.log'
    assert 'RuntimeError: with *** in it' in log.read_text()
    place.assert_clean()


@pytest.mark.heavy
def test_a_token_that_was_given_to_the_command_alone(place):
    where = ('--remote', 'hub', '--repo', NAME, '--token', '-')
    place.run('push', place.folder, *where, env={'HF_TOKEN': ''}, stdin=place.hub.token)
    place.assert_clean()


def _traces():
    strace = shutil.which('strace')
    return strace is not None and subprocess.run([strace, 'true'], capture_output=True).returncode == 0


@pytest.mark.heavy
@pytest.mark.skipif(not _traces(), reason='no strace, or no right to trace')
@pytest.mark.parametrize('failing', [False, True])
def test_no_process_at_all_has_it_among_its_arguments(place, failing):
    log = place.tmp_path / 'strace.txt'
    if failing:
        place.create()
        place.hub.fail('POST /info/lfs', 503, times=99, after=3)
    before = ('strace', '-f', '-qq', '-e', 'trace=execve', '-s', '100000', '-o', log)
    place.push(code=7 if failing else 0, before=before)
    assert 'git-remote-http' in log.read_text(errors='replace')
    assert leaks(Path(log).read_bytes(), place.hub.token) == []
