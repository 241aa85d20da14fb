"""Does any name from the wire, of a repository, a revision or a file, lead out of where it belongs? Whatever its bytes."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from hfmirror.server import names
from hfmirror.server.answers import Elsewhere, Problem
from hfmirror.server.repos.repositories import Repositories
from tests.support.mirror import git
from tests.support.rest import call

# Pieces that have led out of somewhere before, and anything else.
_EVIL = [
    '..', '.', '/', '//', '\\', '\0', '%2f', '%2e%2e', '%00', '~', '-', '--upload-pack=x', '.git', '.GIT', '.git/config', 'HEAD',
    'refs/heads/', 'refs/', '@{', '^', ':', '*', '[', '\n', ' ', '\u202e', '\u2025', '\uff0f', '\uff0e', 'CON', 'aux', 'a', 'x',
    'models', 'api', '.lock', '$(id)', ';', '|', '`', '\ud800', '\x7f', 'é', '😀', '.new-1', '.deleted-1', 'hub.json',
]  # fmt: skip
EVIL = st.lists(st.sampled_from(_EVIL) | st.text(max_size=8), max_size=6).map(''.join)
QUICK = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def taken(function, *args):
    """Return what a check returns, None when it refuses."""
    try:
        return function(*args)
    except Problem as refused:
        assert 400 <= refused.status < 500
        return None


# -- repositories


@QUICK
@given(EVIL, EVIL)
def test_a_repository_is_below_the_root_or_nowhere(tmp_path, namespace, name):
    repo_id = taken(names.checked_repo_id, namespace, name)
    if repo_id is None:
        return
    path = os.path.normpath(f'{tmp_path}/models/{repo_id}.git')
    assert Path(path).relative_to(tmp_path / 'models').parts == (namespace, f'{name}.git')
    assert re.fullmatch(r'[A-Za-z0-9._-]+/[A-Za-z0-9._-]+', repo_id)


@QUICK
@given(EVIL, EVIL)
def test_a_repository_has_no_name_like_an_option_or_a_word_of_our_own(namespace, name):
    repo_id = taken(names.checked_repo_id, namespace, name)
    if repo_id is not None:
        assert not any(part.startswith(('-', '.')) for part in repo_id.split('/'))
        assert namespace.lower() not in names.RESERVED
        assert not name.endswith('.git')


@QUICK
@given(EVIL, EVIL)
def test_looking_for_a_repository_finds_nothing_outside(tmp_path, namespace, name):
    outside = tmp_path / 'outside.git'
    if not outside.exists():
        git('init', '-q', '--bare', outside)
        (tmp_path / 'root' / 'models' / 'a').mkdir(parents=True)
        (tmp_path / 'root' / 'models' / 'a' / 'x.git').symlink_to(outside)
        (tmp_path / 'root' / 'models' / 'x').symlink_to(tmp_path)
    with pytest.raises((Problem, Elsewhere)):
        Repositories(tmp_path / 'root').find('model', namespace, name)


@pytest.mark.parametrize(('namespace', 'name'), [('a', 'x'), ('x', 'outside')])
def test_a_symbolic_link_is_no_repository(tmp_path, namespace, name):
    git('init', '-q', '--bare', tmp_path / 'outside.git')
    (tmp_path / 'root' / 'models' / 'a').mkdir(parents=True)
    (tmp_path / 'root' / 'models' / 'a' / 'x.git').symlink_to(tmp_path / 'outside.git')
    (tmp_path / 'root' / 'models' / 'x').symlink_to(tmp_path)
    with pytest.raises(Problem):
        Repositories(tmp_path / 'root').find('model', namespace, name)
    assert list(Repositories(tmp_path / 'root').all('model')) == []


@pytest.mark.parametrize('repo_id', ['local/x', 'A1/b_2', 'me/a.b-c', 'a/x' + '1' * 93])
def test_the_hubs_names_are_taken(repo_id):
    assert names.checked_repo_id(*repo_id.split('/')) == repo_id


# -- refs and revisions


@QUICK
@given(EVIL)
def test_a_ref_name_that_is_taken_is_one_that_git_takes(name):
    if not names.is_ref_name(name):
        return
    raw = name.encode('utf-8', 'surrogateescape') if not _half(name) else None
    if raw is not None:
        done = subprocess.run([b'git', b'check-ref-format', b'refs/heads/' + raw], check=False)
        assert done.returncode == 0


def _half(text):
    try:
        text.encode('utf-8', 'surrogateescape')
    except UnicodeEncodeError:
        return True
    return False


@QUICK
@given(EVIL)
def test_a_revision_is_never_an_option_an_expression_or_a_way_up(revision):
    taken_one = taken(names.checked_revision, revision)
    if taken_one is not None:
        assert taken_one == revision
        assert not revision.startswith(('-', '/', '.'))
        assert not set(revision) & set('^~:?*[\\\0\n ')
        assert '..' not in revision
        assert '@{' not in revision


@QUICK
@given(EVIL)
def test_a_new_branch_stays_below_its_folder(name):
    branch = taken(names.checked_ref_name, name, 'branch')
    if branch is not None:
        path = os.path.normpath(f'/repo/refs/heads/{branch}')
        assert path == f'/repo/refs/heads/{branch}'
        assert not branch.startswith('refs/')


@pytest.mark.parametrize(
    'name', ['main', 'feat/x', 'v1.0', 'a@b', 'größe', 'x' * 250, 'HEAD', 'refs/pr/1', 'a-b_c', '3f9c1d2']
)
def test_usual_revisions_are_taken(name):
    assert names.checked_revision(name) == name


# -- paths


@QUICK
@given(EVIL)
def test_a_path_to_write_stays_in_the_tree(path):
    clean = taken(names.checked_path, path)
    if clean is not None:
        assert os.path.normpath(f'/repo/{clean}') == f'/repo/{clean}'
        assert not any(part.lower() == '.git' for part in clean.split('/'))
        assert len(clean) <= 1000
        assert not set(clean) & set('\0\n')


@QUICK
@given(EVIL)
def test_a_path_to_read_stays_in_the_tree(path):
    clean = names.served_path(path)
    if clean is not None:
        assert os.path.normpath(f'/repo/{clean}') == f'/repo/{clean}'


@pytest.mark.parametrize('path', ['.gitattributes', 'a/.gitignore', 'a b/ü.txt', '-x', 'a/..b', '...', '#?%'])
def test_usual_paths_are_taken(path):
    assert names.checked_path(path) == path


@pytest.mark.parametrize('path', ['/a', './a'])
def test_one_slash_or_dot_in_front_is_dropped(path):
    assert names.checked_path(path) == 'a'


# -- addresses


ROUTE = Route('/api/{kind:kind}/{namespace:segment}/{name:segment}/tree/{rest:tail}', lambda request: None)


@QUICK
@given(EVIL, EVIL, EVIL)
def test_an_encoded_slash_stays_inside_its_segment(namespace, name, rest):
    if _half(namespace + name + rest) or '\0' in namespace + name + rest or not (namespace and name and rest):
        return
    words = [quote(word, safe='', errors='surrogateescape') for word in (namespace, name)]
    address = f'/api/models/{words[0]}/{words[1]}/tree/{quote(rest)}'
    match = ROUTE.path_regex.match(address)
    converted = {key: ROUTE.param_convertors[key].convert(value) for key, value in match.groupdict().items()}
    assert converted == {'kind': 'models', 'namespace': namespace, 'name': name, 'rest': rest}


@pytest.mark.parametrize('segment', ['%ff', '%c3%28', '%00', 'a%00b', '%ed%a0%80'])
def test_a_segment_that_is_no_text_is_refused(segment):
    assert taken(names.decoded, segment) is None


@QUICK
@given(st.binary(max_size=60))
def test_no_address_brings_the_hub_down_or_shows_what_is_outside(hub, raw):
    secret = hub.root.parent / 'secret.txt'
    secret.write_text('a secret outside of the root')
    address = '/api/models/' + quote(raw, safe='/%.-~')
    answer = call(hub, 'GET', address)
    assert answer.status < 500
    assert b'a secret' not in answer.body


WAYS_OUT = [
    '..', '%2e%2e', '%2e%2e%2f', '..%2f..', '%2fetc%2fpasswd', '..%5c', '%252e%252e', '.%00', '....//', '..;', '%c0%ae%c0%ae',
]  # fmt: skip


@pytest.mark.parametrize('way', WAYS_OUT)
@pytest.mark.parametrize(
    'address',
    [
        '/api/models/{}/x',
        '/api/models/local/{}',
        '/api/models/{}/{}/refs',
        '/api/models/local/x/tree/{}',
        '/api/models/local/x/tree/main/{}/{}/secret.txt',
        '/api/models/local/x/revision/{}',
        '/api/models/local/x/discussions/{}',
        '/local/x/resolve/main/{}/secret.txt',
        '/local/x/resolve/main/{}%2fsecret.txt',
        '/local/x/resolve/{}/HEAD',
        '/local/x/raw/main/{}',
        '/{}/{}/info/refs?service=git-upload-pack',
        '/local/{}/info/refs?service=git-upload-pack',
        '/datasets/{}/{}/resolve/main/a',
        '/local/x.git/info/lfs/objects/{}',
        '/{}/secret.txt',
        '/static/{}',
        '/static/{}/{}/secret.txt',
    ],
)
def test_no_way_leads_out(hub, address, way):
    (hub.root.parent / 'secret.txt').write_text('a secret outside of the root')
    call(hub, 'POST', '/api/repos/create', {'name': 'x'})
    answer = call(hub, 'GET', address.format(way, way))
    assert 400 <= answer.status < 500
    assert b'a secret' not in answer.body
