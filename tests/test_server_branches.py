"""Are branches and tags made and removed over REST with the Hub's answers, and is git's own view of them right?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from urllib.parse import quote

import pytest
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RevisionNotFoundError

from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

NO_REFS = [
    '-x', '--upload-pack=x', 'a..b', 'a b', 'a~1', 'a^', 'a:b', 'a?', 'a*', 'a[', 'a\\b', 'a@{1}', '@', 'a.lock', '/a', 'a/',
    'a//b', '.a', 'a/.b', 'a.', 'refs/heads/x', 'refs/pr/1', 'HEAD', 'a\x7f', 'a\n', 'x' * 251, 'a.lock/b',
]  # fmt: skip


@pytest.fixture
def path(hub, api):
    """The bare repository of local/x, with two commits on main."""
    path = hub.root / 'models' / 'local' / 'x.git'
    commit_by_path(path, {'a.txt': 'a\n'})
    return path


def refs(path, prefix):
    return git('for-each-ref', '--format=%(refname:strip=2)', prefix, cwd=path).split()


def post(hub, what, name, values=None, **more):
    return call(hub, 'POST', f'/api/models/local/x/{what}/{quote(name, safe="")}', values or {}, **more)


def delete(hub, what, name, **more):
    return call(hub, 'DELETE', f'/api/models/local/x/{what}/{quote(name, safe="")}', **more)


# -- branches


def test_a_branch_begins_at_main(api, path):
    api.create_branch('local/x', branch='feat/x')
    assert git('rev-parse', 'feat/x', cwd=path) == git('rev-parse', 'main', cwd=path)


def test_a_branch_is_made_without_any_body(hub, path):
    assert call(hub, 'POST', '/api/models/local/x/branch/dev').status == 200


@pytest.mark.parametrize(
    'revision', ['main', 'v1', 'refs/heads/main', 'refs/tags/v1', 'refs/pr/1', 'oid', 'short']
)
def test_a_branch_begins_at_any_revision(api, path, revision):
    first = git('rev-parse', 'main~1', cwd=path)
    git('tag', '-a', 'v1', '-m', 'one', first, cwd=path)
    git('update-ref', 'refs/pr/1', first, cwd=path)
    at = {'oid': first, 'short': first[:7]}.get(revision, revision)
    api.create_branch('local/x', branch='dev', revision=at)
    assert git('rev-parse', 'dev', cwd=path) == git('rev-parse', f'{at}^{{commit}}', cwd=path)


def test_a_branch_that_is_there_stays_as_it_is(hub, api, path):
    api.create_branch('local/x', branch='dev', revision=git('rev-parse', 'main~1', cwd=path))
    answer = post(hub, 'branch', 'dev')
    assert (answer.status, answer.json['error']) == (409, 'Reference refs/heads/dev already exists')
    api.create_branch('local/x', branch='dev', exist_ok=True)
    assert git('rev-parse', 'dev', cwd=path) == git('rev-parse', 'main~1', cwd=path)


def test_a_branch_is_overwritten_when_asked(hub, api, path):
    api.create_branch('local/x', branch='dev', revision=git('rev-parse', 'main~1', cwd=path))
    assert post(hub, 'branch', 'dev', {'overwrite': True}).status == 200
    assert git('rev-parse', 'dev', cwd=path) == git('rev-parse', 'main', cwd=path)


def test_an_empty_branch_has_a_history_of_its_own(hub, path):
    assert post(hub, 'branch', 'other', {'emptyBranch': True}).status == 200
    assert git('rev-list', '--count', 'other', cwd=path) == '1'
    assert git('ls-tree', '--name-only', 'other', cwd=path) == '.gitattributes'


def test_a_tag_of_the_same_name_is_in_nobodys_way(api, path):
    api.create_tag('local/x', tag='v1')
    api.create_branch('local/x', branch='v1')
    assert (refs(path, 'refs/heads/v1'), refs(path, 'refs/tags/v1')) == (['v1'], ['v1'])


@pytest.mark.parametrize('revision', ['nowhere', 'deadbeef', '--all', 'main^', 'main@{0}', ':/a', ''])
def test_a_branch_begins_at_nothing_else(hub, path, revision):
    answer = post(hub, 'branch', 'dev', {'startingPoint': revision})
    assert (answer.status, answer.code) == (404, 'RevisionNotFound')
    assert refs(path, 'refs/heads') == ['main']


@pytest.mark.parametrize('name', NO_REFS)
def test_no_branch_has_a_name_that_git_would_not_take(hub, path, name):
    assert post(hub, 'branch', name).status == 400
    assert refs(path, 'refs') == ['main']


def test_the_client_hears_of_a_wrong_name(api):
    with pytest.raises(BadRequestError, match='Invalid reference for a branch'):
        api.create_branch('local/x', branch='refs/pr/5')


def test_a_branch_below_another_one_is_refused(hub, api, path):
    api.create_branch('local/x', branch='dev')
    assert post(hub, 'branch', 'dev/below').status == 400


def test_of_many_who_make_the_same_branch_exactly_one_makes_it(hub, path):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: post(hub, 'branch', 'dev'), range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[409] * 7]


def test_a_branch_is_removed(api, path):
    api.create_branch('local/x', branch='feat/x')
    api.delete_branch('local/x', branch='feat/x')
    assert refs(path, 'refs/heads') == ['main']


def test_a_packed_branch_is_removed(api, path):
    api.create_branch('local/x', branch='dev')
    git('pack-refs', '--all', cwd=path)
    api.delete_branch('local/x', branch='dev')
    assert refs(path, 'refs/heads') == ['main']


def test_main_is_not_removed(hub, path):
    answer = delete(hub, 'branch', 'main')
    assert (answer.status, answer.json['error']) == (403, 'Cannot delete refs/heads/main branch')


def test_the_branch_that_a_clone_begins_with_is_not_removed(hub, api, path):
    api.create_branch('local/x', branch='trunk')
    git('symbolic-ref', 'HEAD', 'refs/heads/trunk', cwd=path)
    assert delete(hub, 'branch', 'trunk').status == 403


@pytest.mark.parametrize('name', ['nowhere', 'v1', '../../packed-refs', '-d', 'main~1'])
def test_what_is_no_branch_is_not_removed(hub, api, path, name):
    api.create_tag('local/x', tag='v1')
    assert delete(hub, 'branch', name).status == 404
    assert refs(path, 'refs') == ['main', 'v1']


def test_in_an_empty_repository_a_branch_begins_nowhere(hub):
    hub.hub.repositories.create('model', 'local/x', {})
    assert post(hub, 'branch', 'dev').status == 404


# -- tags


def test_a_tag_without_a_message_is_the_commit_itself(api, path):
    api.create_tag('local/x', tag='v1.0')
    assert git('cat-file', '-t', 'v1.0', cwd=path) == 'commit'


def test_a_tag_with_a_message_is_annotated_by_the_caller(api, path):
    api.create_tag('local/x', tag='v1.0', tag_message='The first — one.\n\nDetails.')
    assert git('for-each-ref', '--format=%(taggername)|%(contents)', 'refs/tags', cwd=path) == (
        'local|The first — one.\n\nDetails.'
    )
    assert git('rev-parse', 'v1.0^{commit}', cwd=path) == git('rev-parse', 'main', cwd=path)


def test_a_repository_with_tags_is_sound(api, path):
    api.create_tag('local/x', tag='v1.0', tag_message='one')
    git('fsck', '--strict', '--no-dangling', cwd=path)


@pytest.mark.parametrize('revision', ['main', 'v0', 'refs/pr/1', 'oid', 'short', 'feat/x'])
def test_any_revision_is_tagged(api, path, revision):
    first = git('rev-parse', 'main~1', cwd=path)
    git('tag', '-a', 'v0', '-m', 'zero', first, cwd=path)
    git('update-ref', 'refs/pr/1', first, cwd=path)
    git('branch', 'feat/x', first, cwd=path)
    at = {'oid': first, 'short': first[:7]}.get(revision, revision)
    api.create_tag('local/x', tag='v1', revision=at)
    assert git('rev-parse', 'refs/tags/v1', cwd=path) == git('rev-parse', f'{at}^{{commit}}', cwd=path)


def test_nothing_else_is_tagged(api, path):
    with pytest.raises(RevisionNotFoundError):
        api.create_tag('local/x', tag='v1', revision='nowhere')


def test_a_tag_that_is_there_stays_as_it_is(api, path):
    api.create_tag('local/x', tag='v1', revision=git('rev-parse', 'main~1', cwd=path))
    with pytest.raises(HfHubHTTPError, match='409'):
        api.create_tag('local/x', tag='v1')
    api.create_tag('local/x', tag='v1', exist_ok=True)
    assert git('rev-parse', 'v1', cwd=path) == git('rev-parse', 'main~1', cwd=path)


@pytest.mark.parametrize('name', NO_REFS)
def test_no_tag_has_a_name_that_git_would_not_take(hub, path, name):
    assert post(hub, 'tag', 'main', {'tag': name}).status == 400
    assert refs(path, 'refs') == ['main']


@pytest.mark.parametrize('values', [{}, {'tag': 3}, {'tag': None}, {'tag': 'v1', 'message': 3}])
def test_a_tag_needs_a_name_and_its_message_is_text(hub, path, values):
    assert post(hub, 'tag', 'main', values).status == 400


@pytest.mark.parametrize('message', ['a\0b', 'x' * 70_000, '\ud800'])
def test_a_message_that_git_cannot_keep_is_refused(hub, path, message):
    assert post(hub, 'tag', 'main', {'tag': 'v1', 'message': message}).status == 400
    assert refs(path, 'refs/tags') == []


def test_a_message_cannot_forge_the_head_of_the_tag(api, path):
    api.create_tag('local/x', tag='v1', tag_message='object 0\ntagger Eve <eve> 0 +0000\n')
    assert git('for-each-ref', '--format=%(taggername)', 'refs/tags', cwd=path) == 'local'


@pytest.mark.parametrize('message', [None, 'annotated'])
def test_a_tag_is_removed(api, path, message):
    api.create_tag('local/x', tag='a/v1', tag_message=message)
    api.delete_tag('local/x', tag='a/v1')
    assert refs(path, 'refs/tags') == []


def test_a_missing_tag_is_not_removed(api, path):
    api.create_branch('local/x', branch='dev')
    for name in ('v1', 'dev', '-d', '../heads/main'):
        with pytest.raises(RevisionNotFoundError):
            api.delete_tag('local/x', tag=name)
    assert refs(path, 'refs/heads') == ['dev', 'main']


# -- who


@pytest.mark.parametrize('who', ['stranger', 'reader', 'nobody'])
def test_only_the_repositorys_writers_make_and_remove_them(hub, api, path, who):
    api.create_branch('local/x', branch='dev')
    api.create_tag('local/x', tag='v1')
    token = {'stranger': new_user(hub, 'ada'), 'reader': new_user(hub, 'local', 'read'), 'nobody': None}[who]
    before = git('for-each-ref', cwd=path)
    answers = [
        post(hub, 'branch', 'new', token=token),
        post(hub, 'tag', 'main', {'tag': 'new'}, token=token),
        delete(hub, 'branch', 'dev', token=token),
        delete(hub, 'tag', 'v1', token=token),
    ]
    assert {answer.status for answer in answers} == {401 if token is None else 403}
    assert git('for-each-ref', cwd=path) == before
