"""Which token is ours, and who gets it: every place it may be in, values that are none, and what git does with it."""

from __future__ import annotations

import base64
import copy
import json
import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfmirror import auth, errors
from hfmirror.auth import Token, endpoint, find_token
from tests.support.clients import run_hf
from tests.support.mirror import git
from tests.support.rest import new_user
from tests.support.wire import canned, document

SECRET = 'hf_abcdefghijklmnopqrstuvwxyz'


def saved(value, *, path=None, profiles=None):
    """Save a token as ``hf auth login`` does; ``profiles`` is {name: {field: value}}. Returns its file."""
    path = path or Path(os.environ['HOME']) / '.cache' / 'huggingface' / 'token'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value)
    if profiles:
        sections = [
            '\n'.join([f'[{name}]', *(f'{key} = {text}' for key, text in fields.items())])
            for name, fields in profiles.items()
        ]
        path.with_name('stored_tokens').write_text('\n\n'.join(sections) + '\n')
    return path


def found():
    token = find_token()
    return (token.value, token.source) if token else None


def in_a_process(code='print(repr(found), found.value)', **env):
    """Look for the token in a process of its own, since huggingface_hub reads the environment once."""
    program = f'from hfmirror import auth, errors\ntry:\n    found = auth.find_token()\n    {code}\n'
    program += 'except errors.HfmirrorError as e:\n    print(type(e).__name__, e)\n'
    return subprocess.run(
        [sys.executable, '-c', program],
        env={**os.environ, 'HF_HUB_DISABLE_TELEMETRY': '1', **env},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


# -- where it is looked for


def test_without_any_there_is_none():
    assert find_token() is None


def test_what_is_given_is_taken_before_everything(monkeypatch):
    monkeypatch.setenv('HF_TOKEN', 'hf_environment')
    token = find_token('hf_given')
    assert (token.value, token.source) == ('hf_given', '--token')


@pytest.mark.parametrize('given', ['', '  ', '\n'])
def test_an_empty_one_that_is_given_is_a_variable_that_a_script_has_not_set(given):
    with pytest.raises(errors.UsageError, match='empty'):
        find_token(given)


def test_the_environment_goes_by_the_order_of_its_names(monkeypatch):
    for name in reversed(auth.VARIABLES):
        monkeypatch.setenv(name, f'hf_of_{name}')
        assert found() == (f'hf_of_{name}', name)


def test_an_empty_variable_is_as_good_as_none(monkeypatch):
    monkeypatch.setenv('HF_TOKEN', ' \n')
    monkeypatch.setenv('HUGGINGFACE_TOKEN', SECRET)
    assert found() == (SECRET, 'HUGGINGFACE_TOKEN')


def test_the_environment_is_taken_before_dot_env(monkeypatch):
    Path('.env').write_text('HF_TOKEN=hf_file\n')
    monkeypatch.setenv('HUGGING_FACE_HUB_TOKEN', SECRET)
    assert found() == (SECRET, 'HUGGING_FACE_HUB_TOKEN')


@pytest.mark.parametrize('line', ['HF_TOKEN={}', 'export HF_TOKEN="{}"', "HUGGINGFACE_TOKEN = '{}' # mine"])
def test_dot_env_of_the_working_directory_is_taken_before_the_login(line):
    saved('hf_saved')
    Path('.env').write_text(f'# tokens\n{line.format(SECRET)}\n')
    assert find_token().value == SECRET and find_token().source.endswith('_TOKEN in .env')


def test_dot_env_may_begin_with_a_byte_order_mark():
    Path('.env').write_text(f'HF_TOKEN={SECRET}\n', encoding='utf-8-sig')
    assert found() == (SECRET, 'HF_TOKEN in .env')


def test_other_variables_are_not_put_into_a_token_of_dot_env(monkeypatch):
    monkeypatch.setenv('OTHER', 'hf_other')
    Path('.env').write_text('HF_TOKEN=${OTHER}x\n')
    assert find_token().value == '${OTHER}x'


@pytest.mark.parametrize('content', [b'HF_TOKEN=hf_\xff\xfe', b'HF_TOKEN=' + b'x' * 2_000_000])
def test_a_dot_env_that_cannot_be_read_is_named_and_not_shown(content):
    Path('.env').write_bytes(content)
    with pytest.raises(errors.ConfigError, match=r'^\.env: ') as raised:
        find_token()
    assert 'hf_' not in str(raised.value) and 'xxx' not in str(raised.value)


# -- the directories above a folder


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a folder two levels down; the working directory is elsewhere."""
    made = tmp_path / 'project'
    (made / 'runs' / 'bert').mkdir(parents=True)
    (made / 'config.yaml').touch()
    (tmp_path / 'elsewhere').mkdir()
    monkeypatch.chdir(tmp_path / 'elsewhere')
    return made


def token_for(folder):
    token = find_token(folder=folder)
    return token and token.value


def test_dot_env_of_the_project_counts_for_its_folders(project):
    (project / '.env').write_text('HF_TOKEN=hf_project\n')
    token = find_token(folder=project / 'runs' / 'bert')
    assert (token.value, token.source) == ('hf_project', f'HF_TOKEN in {project}/.env')


def test_the_nearest_directory_above_counts_first(project):
    (project / '.env').write_text('HF_TOKEN=hf_project\n')
    (project / 'runs' / '.env').write_text('HF_TOKEN=hf_runs\n')
    assert token_for(project / 'runs' / 'bert') == 'hf_runs'


def test_the_working_directory_counts_before_them(project):
    (project / 'runs' / '.env').write_text('HF_TOKEN=hf_runs\n')
    Path('.env').write_text('HF_TOKEN=hf_here\n')
    assert token_for(project / 'runs' / 'bert') == 'hf_here'


def test_what_is_in_the_folder_is_published_and_no_place_for_a_token(project):
    (project / 'runs' / 'bert' / '.env').write_text('HF_TOKEN=hf_published\n')
    assert token_for(project / 'runs' / 'bert') is None


def test_above_the_project_nothing_is_read(project):
    (project.parent / '.env').write_text('HF_TOKEN=hf_above\n')
    assert token_for(project / 'runs' / 'bert') is None


def test_without_a_project_file_none_of_them_is_read(project):
    (project / 'config.yaml').unlink()
    (project / 'runs' / '.env').write_text('HF_TOKEN=hf_runs\n')
    assert token_for(project / 'runs' / 'bert') is None


def test_a_folder_is_found_by_a_relative_path_too(project, monkeypatch):
    monkeypatch.chdir(project / 'runs' / 'bert')
    (project / 'runs' / '.env').write_text('HF_TOKEN=hf_runs\n')
    assert token_for(Path('../bert')) == 'hf_runs'


def test_a_project_in_a_directory_that_anybody_writes_to_is_not_believed(project):
    (project / '.env').write_text('HF_TOKEN=hf_planted\n')
    project.chmod(0o1777)
    assert token_for(project / 'runs' / 'bert') is None


def test_dot_env_of_a_working_directory_that_anybody_writes_to_is_not_read(tmp_path, capsys):
    Path('.env').write_text('HF_TOKEN=hf_planted\nHF_ENDPOINT=https://thief.example\n')
    tmp_path.chmod(0o1777)
    assert find_token() is None and endpoint() == auth.DEFAULT_ENDPOINT
    assert capsys.readouterr().err.count('.env: not read') == 1


# -- what hf auth login saved


def test_the_saved_token_is_found_and_its_line_break_is_not_part_of_it():
    path = saved(f'{SECRET}\n')
    assert found() == (SECRET, str(path))


PLACES = [
    {'HF_HOME': '{tmp}/hf'},
    {'HF_HOME': '~/hf'},
    {'HF_HOME': '$PLACE/hf', 'PLACE': '{tmp}/p'},
    {'HF_TOKEN_PATH': '{tmp}/my/token-file'},
    {'HF_TOKEN_PATH': '~/my/token-file', 'HF_HOME': '{tmp}/other'},
    {'XDG_CACHE_HOME': '{tmp}/xdg'},
    {'XDG_CACHE_HOME': '{tmp}/xdg', 'HF_HOME': '{tmp}/hf'},
]


@pytest.mark.parametrize('variables', PLACES, ids=' '.join)
def test_it_is_where_huggingface_hub_saves_it(variables, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value.format(tmp=tmp_path))
    program = 'from huggingface_hub import constants; print(constants.HF_TOKEN_PATH)'
    told = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True, check=True).stdout
    path = saved(SECRET, path=Path(told.strip()))
    assert found() == (SECRET, str(path))


@pytest.mark.heavy
def test_a_profile_of_hf_auth_login_is_named(hub, tmp_path, monkeypatch):
    home = tmp_path / 'ada'
    monkeypatch.setenv('HF_HOME', str(home / 'hf'))
    for token in (new_user(hub, 'ada'), new_user(hub, 'bob', 'read')):
        run_hf(hub, home, 'auth', 'login', '--token', token, token='')
    assert find_token().source == f'{home}/hf/token (profile bob-read)'
    run_hf(hub, home, 'auth', 'switch', '--token-name', 'ada-write', token='')
    assert find_token().source == f'{home}/hf/token (profile ada-write)'
    run_hf(hub, home, 'auth', 'logout', '--token-name', 'ada-write', token='')
    assert find_token() is None


def test_a_profile_that_was_deleted_leaves_the_chosen_token():
    path = saved(SECRET, profiles={'other': {'hf_token': 'hf_other'}})
    assert found() == (SECRET, str(path))


@pytest.mark.parametrize('content', [b'', b'\xff\xfe', b'no section', b'[a]\n[a]\n', b'[a]\nhf_token\n'])
def test_damaged_profiles_cost_the_name_only(content):
    path = saved(SECRET)
    path.with_name('stored_tokens').write_bytes(content)
    assert found() == (SECRET, str(path))


@pytest.mark.parametrize('content', ['', ' \n'])
def test_an_empty_file_is_no_token(content):
    saved(content)
    assert find_token() is None


def test_a_file_that_cannot_be_read_is_named_and_not_taken_for_no_token():
    path = saved('x')
    path.write_bytes(b'hf_\xff')
    with pytest.raises(errors.AuthError, match='not UTF-8'):
        find_token()
    path.unlink()
    path.mkdir()
    with pytest.raises(errors.AuthError, match='Is a directory'):
        find_token()


def test_a_token_of_a_browser_login_is_renewed_before_it_ends(tmp_path):
    fields = {'hf_token': 'hf_old', 'refresh_token': 'again', 'expires_at': str(int(time.time()) + 60)}
    path = saved('hf_old', profiles={'laptop': fields})
    answer = document({'access_token': 'hf_new', 'expires_in': 10**6})
    with canned({'/oauth/token': answer}) as server:
        assert in_a_process(HF_ENDPOINT=server.endpoint).endswith('(profile laptop)> hf_new')
    assert path.read_text() == 'hf_new'


def test_a_token_of_a_browser_login_that_lasts_is_not_renewed():
    fields = {'hf_token': SECRET, 'refresh_token': 'again', 'expires_at': str(int(time.time()) + 10**6)}
    saved(SECRET, profiles={'laptop': fields})
    with canned({}) as server:
        assert in_a_process(HF_ENDPOINT=server.endpoint).endswith(SECRET)
    assert server.requests == []


# -- the exchange of a CI job

EXCHANGE = {'HF_OIDC_RESOURCE': 'me/bert', 'HF_OIDC_ID_TOKEN': 'eyJhbGci.eyJzdWIi.c2ln'}
GIVEN = document({'access_token': 'hf_jwt_new', 'token_type': 'bearer', 'expires_in': 3600})


def test_a_ci_jobs_identity_is_exchanged_for_a_token():
    with canned({'/oauth/token': GIVEN}) as server:
        told = in_a_process(HF_ENDPOINT=server.endpoint, **EXCHANGE)
    assert told == '<token from the CI exchange for me/bert> hf_jwt_new'
    assert json.loads(server.requests[0].body)['resource'] == 'me/bert'


def test_a_job_of_github_gets_its_identity_from_github():
    with canned({'/oauth/token': GIVEN, '/mint': document({'value': 'eyJ.of.github'})}) as server:
        github = {
            'GITHUB_ACTIONS': 'true',
            'ACTIONS_ID_TOKEN_REQUEST_URL': f'{server.endpoint}/mint',
            'ACTIONS_ID_TOKEN_REQUEST_TOKEN': 'ghs_job',
            'HF_OIDC_RESOURCE': 'me/bert',
        }
        assert in_a_process(HF_ENDPOINT=server.endpoint, **github).endswith('hf_jwt_new')
    assert json.loads(server.requests[-1].body)['subject_token'] == 'eyJ.of.github'


def test_a_token_that_is_set_is_taken_before_the_exchange():
    with canned({}) as server:
        told = in_a_process(HF_ENDPOINT=server.endpoint, HF_TOKEN=SECRET, **EXCHANGE)
    assert told == f'<token from HF_TOKEN> {SECRET}' and server.requests == []


@pytest.mark.parametrize(
    ('answer', 'told'),
    [
        (document({'error': 'no publisher for eyJhbGci.eyJzdWIi.c2ln'}, 401), 'AuthError'),
        (document({'error': 'forbidden'}, 403), 'AuthError'),
        ((503, {}, b''), 'NetworkError'),
        ((200, {}, b'<html>'), 'RemoteError'),
        (document({}), 'RemoteError'),
        (document([]), 'RemoteError'),
        (document({'access_token': 'two words'}), 'AuthError'),
    ],
)
def test_an_exchange_that_fails_is_told_without_the_identity(answer, told):
    with canned({'/oauth/token': answer}) as server:
        said = in_a_process(HF_ENDPOINT=server.endpoint, **EXCHANGE)
    assert said.startswith(f'{told} the CI exchange for me/bert: ')
    assert 'eyJ' not in said and 'two words' not in said


def test_an_exchange_without_a_server_is_a_matter_of_the_network():
    assert in_a_process(HF_ENDPOINT='http://127.0.0.1:1', **EXCHANGE).startswith('NetworkError')


def test_an_exchange_outside_of_ci_says_what_is_missing():
    said = in_a_process(HF_ENDPOINT='http://127.0.0.1:1', HF_OIDC_RESOURCE='me/bert')
    assert said.startswith('AuthError HF_OIDC_RESOURCE') and 'HF_OIDC_ID_TOKEN' in said


def test_an_exchange_does_not_ask_another_hub_than_the_one_it_is_for(tmp_path):
    (tmp_path / '.env').write_text('HF_ENDPOINT=http://127.0.0.1:1\n')
    said = in_a_process(**EXCHANGE)
    assert said.startswith('AuthError') and 'https://huggingface.co' in said and 'http://127.0.0.1:1' in said


# -- values that are no tokens

NO_TOKENS = [
    '"hf_quoted"',
    "'hf_quoted'",
    'hf_two words',
    'hf_two\nlines',
    'hf_two\r\nX-Evil: 1',
    'hf_\tx',
    'hf_\u200bx',
    'hf_ü',
    'hf_\x1b[0m',
    'hf_' + 'x' * 20_000,
    'api_org_x',
]


@pytest.mark.parametrize('value', NO_TOKENS)
@pytest.mark.parametrize('source', ['HF_TOKEN', '--token', 'login'])
def test_a_value_that_no_header_can_hold_is_refused_by_its_place_and_not_shown(value, source, monkeypatch):
    given = value if source == '--token' else None
    if source == 'HF_TOKEN':
        monkeypatch.setenv('HF_TOKEN', value)
    elif source == 'login':
        source = str(saved(value))
    with pytest.raises(errors.AuthError) as raised:
        find_token(given)
    assert str(raised.value).startswith(f'{source}: ') and value[3:] not in str(raised.value)


@pytest.mark.parametrize('around', ['{}\n', ' {} ', '\r\n{}\r\n'])
def test_blanks_around_a_token_are_not_part_of_it(around, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', around.format(SECRET))
    assert find_token().value == SECRET


# -- a token is not shown


@pytest.mark.parametrize('show', [str, repr, '{}'.format, '{!r:>50}'.format, lambda one: f'{[one]}'])
def test_a_token_prints_as_its_place(show):
    shown = show(Token(SECRET, 'HF_TOKEN'))
    assert SECRET not in shown and '<token from HF_TOKEN>' in shown


@pytest.mark.parametrize('keep', [pickle.dumps, copy.deepcopy, copy.copy, json.dumps, tuple, vars, dict])
def test_a_token_cannot_be_put_into_a_document(keep):
    with pytest.raises(TypeError):
        keep(Token(SECRET, 'HF_TOKEN'))


# -- the endpoint


def test_the_endpoint_is_the_hub():
    assert endpoint() == 'https://huggingface.co'


@pytest.mark.parametrize(
    ('value', 'meant'),
    [
        ('https://hub.example', 'https://hub.example'),
        ('https://hub.example/', 'https://hub.example'),
        (' http://127.0.0.1:8000//\n', 'http://127.0.0.1:8000'),
        ('HTTPS://Hub.Example:443/Below', 'https://hub.example:443/Below'),
        ('http://[::1]:80', 'http://[::1]:80'),
        ('http://localhost', 'http://localhost'),
    ],
)
def test_the_endpoint_is_that_of_the_environment(value, meant, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', value)
    assert endpoint() == meant


def test_then_the_endpoint_of_dot_env(project, monkeypatch):
    (project / '.env').write_text('HF_ENDPOINT=https://project.example/\n')
    assert endpoint(folder=project / 'runs') == 'https://project.example'
    Path('.env').write_text('HF_ENDPOINT=https://here.example\n')
    assert endpoint(folder=project / 'runs') == endpoint() == 'https://here.example'
    monkeypatch.setenv('HF_ENDPOINT', 'https://environment.example')
    assert endpoint() == 'https://environment.example'


NAMED = 'HF_ENDPOINT=https://named.example\n'


@pytest.mark.parametrize('source', ['login', *auth.VARIABLES])
def test_a_token_does_not_go_to_a_hub_that_only_dot_env_names(source, monkeypatch):
    Path('.env').write_text(NAMED)
    if source == 'login':
        source = str(saved(SECRET))
    else:
        monkeypatch.setenv(source, SECRET)
    with pytest.raises(errors.AuthError, match=r'^\.env names the Hub https://named\.example') as raised:
        find_token()
    assert source in str(raised.value) and SECRET not in str(raised.value)


def test_a_token_of_one_dot_env_does_not_go_to_the_hub_of_another(project):
    (project / '.env').write_text('HF_TOKEN=hf_project\n')
    Path('.env').write_text(NAMED)
    with pytest.raises(errors.AuthError, match='was not given for it'):
        find_token(folder=project / 'runs' / 'bert')
    Path('.env').write_text('HF_TOKEN=hf_here\n')
    (project / '.env').write_text(NAMED)
    with pytest.raises(errors.AuthError, match='was not given for it'):
        find_token(folder=project / 'runs' / 'bert')


def test_the_hub_of_dot_env_gets_the_token_beside_it_or_the_one_that_is_given():
    saved('hf_saved')
    Path('.env').write_text(NAMED)
    assert find_token(SECRET).endpoint == 'https://named.example'
    Path('.env').write_text(f'{NAMED}HF_TOKEN={SECRET}\n')
    assert (find_token().value, find_token().endpoint) == (SECRET, 'https://named.example')


def test_a_hub_that_the_environment_names_gets_the_token_whatever_dot_env_says(monkeypatch):
    saved(SECRET)
    Path('.env').write_text(NAMED)
    monkeypatch.setenv('HF_ENDPOINT', 'https://mine.example')
    assert find_token().endpoint == 'https://mine.example'


def test_dot_env_may_name_the_hub_that_is_meant_anyway():
    saved(SECRET)
    Path('.env').write_text('HF_ENDPOINT=https://huggingface.co/\n')
    assert find_token().endpoint == auth.DEFAULT_ENDPOINT


@pytest.mark.parametrize(
    'value',
    [
        'huggingface.co',
        'ftp://hub.example',
        'file:///etc',
        'https://',
        'https:///path',
        'https://ada:s3cret@hub.example',
        'https://s3cret@hub.example',
        'https://hub.example\\@s3cret.example',
        'https://hub.example?s3cret=1',
        'https://hub.example#s3cret',
        'https://hub.example:port',
        'https://hub.example:99999',
        'https://-hub.example',
        'https://hub.exa\nmple',
        'https://hub example',
        'https://hüb.example',
        'https://[::1',
    ],
)
def test_what_is_no_address_is_refused_without_a_password_that_is_in_it(value, monkeypatch):
    monkeypatch.setenv('HF_ENDPOINT', value)
    with pytest.raises(errors.UsageError, match=r'^HF_ENDPOINT: ') as raised:
        endpoint()
    assert 's3cret' not in str(raised.value)


# -- git and git-lfs


@pytest.fixture
def secret(hub, api):
    """The address of a private repository."""
    api.create_repo('local/secret', private=True)
    return f'{hub.endpoint}/local/secret'


@pytest.fixture
def clone(hub, secret, tmp_path):
    """A clone of it with a commit of one LFS file that is not pushed yet."""
    git('lfs', 'install', '--skip-repo')
    path = tmp_path / 'clone'
    done = run(hub, hub.token, 'clone', '-q', secret, path)
    assert done.returncode == 0, done.stderr
    git('lfs', 'track', '*.bin', cwd=path)
    (path / 'weights.bin').write_bytes(bytes(range(256)))
    git('add', '-A', cwd=path)
    git('commit', '-qm', 'weights', cwd=path)
    return path


def environment(hub, value):
    return {
        **os.environ,
        'GIT_TERMINAL_PROMPT': '0',
        **auth.git_environment(Token(value, 'a test'), hub.endpoint),
    }


def run(hub, value, *args, cwd=None, **env):
    return subprocess.run(
        ['git', *map(str, args)],
        env={**environment(hub, value), **env},
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def objects(hub):
    return list((hub.root / 'models' / 'local' / 'secret.git' / 'lfs' / 'objects').glob('*/*/*'))


REFUSED = 'hf_nobodysnobodysnobodys'
DOORS = [('ls-remote', 'origin'), ('push', '-q', 'origin', 'main'), ('lfs', 'push', 'origin', 'main')]


def test_without_a_token_git_does_as_it_is_configured():
    assert auth.git_environment(None, 'https://huggingface.co') == {}


def test_git_and_git_lfs_are_let_in(hub, clone):
    assert run(hub, hub.token, 'push', '-q', 'origin', 'main', cwd=clone).returncode == 0
    assert len(objects(hub)) == 1


@pytest.mark.parametrize(
    'trace',
    [
        {'GIT_TRACE': '1'},
        {'GIT_CURL_VERBOSE': '1'},
        {'GIT_TRACE_CURL': '1', 'GIT_TRACE': '1'},
        {'GIT_TRANSFER_TRACE': '1', 'GIT_TRACE_PACKET': '1', 'GIT_TRACE2': '1'},
    ],
    ids=' '.join,
)
def test_no_trace_of_git_and_git_lfs_shows_the_token(hub, clone, trace):
    done = run(hub, hub.token, 'push', 'origin', 'main', cwd=clone, **trace)
    pair = base64.b64encode(f'hf:{hub.token}'.encode()).decode()
    assert done.returncode == 0 and len(done.stderr) > 1000
    assert hub.token not in done.stderr and pair not in done.stderr


def test_a_trace_of_settings_does_not_show_the_token(hub, clone, tmp_path):
    git('config', '--global', 'trace2.normalTarget', tmp_path / 'trace')
    git('config', '--global', 'trace2.configParams', '*')
    run(hub, hub.token, 'ls-remote', 'origin', cwd=clone)
    trace = (tmp_path / 'trace').read_text()
    assert 'ls-remote' in trace and 'Basic' not in trace


def test_the_clone_holds_nothing_of_the_token(hub, clone):
    run(hub, hub.token, 'push', '-q', 'origin', 'main', cwd=clone)
    pair = base64.b64encode(f'hf:{hub.token}'.encode())
    held = [path.read_bytes() for path in clone.rglob('*') if path.is_file()]
    assert held and not any(hub.token.encode() in content or pair in content for content in held)


@pytest.mark.parametrize('door', DOORS, ids=' '.join)
def test_a_refused_token_ends_in_an_error(hub, clone, door):
    done = run(hub, REFUSED, *door, cwd=clone)
    assert done.returncode != 0 and objects(hub) == []


@pytest.mark.parametrize('door', DOORS, ids=' '.join)
def test_a_refused_token_does_not_have_git_go_in_as_somebody_else(hub, clone, door, tmp_path):
    known = hub.endpoint.replace('://', f'://local:{hub.token}@')
    stored = tmp_path / 'home' / '.git-credentials'
    stored.write_text(f'{known}\n')
    git('config', '--global', 'credential.helper', 'store')
    done = run(hub, REFUSED, *door, cwd=clone)
    assert done.returncode != 0 and objects(hub) == []
    assert stored.read_text() == f'{known}\n', 'git has forgotten what a person had it remember'


@pytest.mark.parametrize('door', DOORS, ids=' '.join)
@pytest.mark.parametrize('way', ['GIT_ASKPASS', 'SSH_ASKPASS', 'core.askPass'])
def test_a_refused_token_does_not_have_git_ask_a_person(hub, clone, door, way, tmp_path, monkeypatch):
    ask = tmp_path / 'ask'
    ask.write_text(f'#!/bin/sh\ntouch {tmp_path}/asked\necho {hub.token}\n')
    ask.chmod(0o755)
    if way == 'core.askPass':
        git('config', '--global', way, ask)
    else:
        monkeypatch.setenv(way, str(ask))
    assert run(hub, REFUSED, *door, cwd=clone).returncode != 0
    assert not (tmp_path / 'asked').exists()


@pytest.mark.parametrize('content', ['password {}', 'password nonsense-of-somebody'])
@pytest.mark.parametrize('value', ['own', REFUSED])
def test_a_netrc_changes_nothing(hub, clone, content, value, tmp_path):
    netrc = tmp_path / 'home' / '.netrc'
    netrc.write_text(f'machine 127.0.0.1 login local {content.format(hub.token)}\n')
    netrc.chmod(0o600)
    done = run(hub, hub.token if value == 'own' else value, 'push', '-q', 'origin', 'main', cwd=clone)
    assert (done.returncode == 0) == (value == 'own')
    assert len(objects(hub)) == (value == 'own')


def test_after_a_refused_token_the_right_one_is_let_in(hub, clone):
    assert run(hub, REFUSED, 'lfs', 'push', 'origin', 'main', cwd=clone).returncode != 0
    assert run(hub, hub.token, 'push', '-q', 'origin', 'main', cwd=clone).returncode == 0
    assert len(objects(hub)) == 1


@pytest.mark.parametrize('key', ['http.extraHeader', 'http.{}.extraHeader', 'http.{}/.extraHeader'])
def test_a_header_that_a_person_has_set_does_not_go_along(hub, clone, key):
    git('config', '--global', key.format(hub.endpoint), 'Authorization: Basic aGY6b3RoZXI=')
    assert run(hub, hub.token, 'ls-remote', 'origin', cwd=clone).returncode == 0


def test_git_tells_its_configured_header_to_who_asks(hub, clone):
    done = run(
        hub, hub.token, 'config', '--get-urlmatch', 'http.extraHeader', f'{hub.endpoint}/a/b', cwd=clone
    )
    assert done.stdout.startswith('Authorization: Basic ')


def test_another_host_gets_no_token(hub, clone):
    with canned((404, {}, b'')) as other:
        for door in DOORS:
            run(
                hub,
                hub.token,
                *(f'{other.endpoint}/me/x' if word == 'origin' else word for word in door),
                cwd=clone,
            )
    assert other.requests and set(other.authorizations) == {None}


def pkt(text):
    return f'{len(text) + 4:04x}{text}'.encode()


@pytest.mark.parametrize('door', DOORS, ids=' '.join)
def test_a_token_is_not_sent_to_where_an_answer_sends_git(door, clone):
    service = 'git-receive-pack' if door[0] == 'push' else 'git-upload-pack'
    refs = pkt(f'{"1" * 40} refs/heads/main\0report-status\n')
    answer = {'Content-Type': f'application/x-{service}-advertisement'}
    with canned((200, answer, pkt(f'# service={service}\n') + b'0000' + refs + b'0000')) as thief:
        away = {
            'Location': f'{thief.endpoint.replace("127.0.0.1", "localhost")}/me/x/info/refs?service={service}'
        }
        with canned((307, away, b'')) as hub:
            git('remote', 'set-url', 'origin', f'{hub.endpoint}/me/x', cwd=clone)
            assert run(hub, SECRET, *door, cwd=clone).returncode != 0
    assert set(hub.authorizations) - {None}
    assert set(thief.authorizations) <= {None}
