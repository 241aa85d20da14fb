"""Are repositories made, removed, renamed, copied and set up as the Hub does it, and never half?"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from huggingface_hub import HfApi
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from hfmirror import lfs
from hfmirror.server.hub import Hub
from hfmirror.server.rest import repository_api
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

pytestmark = pytest.mark.filterwarnings('ignore::UserWarning')  # the client's, about what a Hub does not do


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def bare(hub, repo_id, kind='models'):
    return hub.root / kind / f'{repo_id}.git'


def organise(hub, organisations):
    path = hub.root / 'tokens.json'
    path.write_text(json.dumps({**json.loads(path.read_text()), 'organisations': organisations}))


# -- made


@pytest.mark.parametrize('repo_type', ['model', 'dataset'])
def test_a_new_repository_has_one_commit_with_the_hubs_attributes(hub, api, repo_type):
    api.create_repo('local/new', repo_type=repo_type)
    path = bare(hub, 'local/new', f'{repo_type}s')
    assert git('log', '--format=%s|%an', 'main', cwd=path) == 'initial commit|local'
    assert git('show', 'main:.gitattributes', cwd=path) + '\n' == lfs.default_attributes(repo_type)
    assert git('ls-tree', '--name-only', 'main', cwd=path) == '.gitattributes'


def test_a_new_space_has_a_card_too(hub, api):
    api.create_repo('local/true', repo_type='space', space_sdk='gradio')
    card = git('show', 'main:README.md', cwd=bare(hub, 'local/true', 'spaces'))
    assert 'title: "true"\n' in card
    assert 'sdk: gradio\n' in card


def test_a_space_needs_an_sdk(hub):
    assert call(hub, 'POST', '/api/repos/create', {'name': 'new', 'type': 'space'}).status == 400


def test_its_address_is_where_it_was_asked_for(hub, api):
    made = api.create_repo('local/data', repo_type='dataset')
    assert made == f'{hub.endpoint}/datasets/local/data'
    assert (made.repo_id, made.repo_type) == ('local/data', 'dataset')


def test_without_an_organisation_it_is_the_callers(hub):
    answer = call(hub, 'POST', '/api/repos/create', {'name': 'mine', 'organization': None})
    assert (answer.status, answer.json['name']) == (200, 'local/mine')
    assert len(answer.json['id']) == 24


def test_a_namespace_is_spelled_as_its_owner_spells_it(hub):
    answer = call(hub, 'POST', '/api/repos/create', {'name': 'mine', 'organization': 'LOCAL'})
    assert answer.json['name'] == 'local/mine'


def test_keys_that_mean_nothing_here_are_not_looked_at(hub):
    more = {'hardware': 'a100', 'secrets': [{'key': 'a'}], 'region': 'eu', 'visibility': None, 'new': {}}
    assert call(hub, 'POST', '/api/repos/create', {'name': 'mine', **more}).status == 200


def test_files_that_would_be_lost_are_refused(hub):
    files = [{'path': 'a', 'content': 'b'}]
    assert call(hub, 'POST', '/api/repos/create', {'name': 'mine', 'files': files}).status == 400


def test_one_that_is_there_is_answered_with_its_address(hub, api):
    api.create_repo('local/mine')
    answer = call(hub, 'POST', '/api/repos/create', {'name': 'Mine'})
    assert (answer.status, answer.json['url']) == (409, f'{hub.endpoint}/local/mine')


def test_one_that_is_there_is_fine_with_exist_ok(api):
    api.create_repo('local/mine')
    assert api.create_repo('local/mine', exist_ok=True).repo_id == 'local/mine'


def test_one_that_was_pushed_by_path_is_there(hub, mirror, folder):
    mirror.run('push', folder, '--remote', 'local', '--repo', 'local/mine', code=0)
    head = git('rev-parse', 'main', cwd=bare(hub, 'local/mine'))
    assert call(hub, 'POST', '/api/repos/create', {'name': 'mine'}).status == 409
    assert git('rev-parse', 'main', cwd=bare(hub, 'local/mine')) == head


def test_of_many_who_make_the_same_one_exactly_one_makes_it(hub):
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call(hub, 'POST', '/api/repos/create', {'name': 'x'}), range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[409] * 7]
    assert git('rev-list', '--count', 'main', cwd=bare(hub, 'local/x')) == '1'


@pytest.mark.parametrize(
    'name',
    [
        '',
        '..',
        '.',
        'a/b',
        'a..b',
        'a--b',
        '-a',
        '--upload-pack=x',
        'a.git',
        'x' * 97,
        'a\0b',
        'a\nb',
        '.hid',
        'ä',
    ],
)
def test_a_name_against_the_rules_is_refused(hub, name):
    before = sorted(hub.root.rglob('*.git'))
    assert call(hub, 'POST', '/api/repos/create', {'name': name, 'organization': 'local'}).status == 400
    assert sorted(hub.root.rglob('*.git')) == before


@pytest.mark.parametrize('name', [None, 7, ['a'], {'a': 1}, '\ud800'])
def test_a_name_that_is_no_text_is_refused(hub, name):
    assert call(hub, 'POST', '/api/repos/create', {'name': name}).status == 400


@pytest.mark.parametrize('namespace', ['api', 'datasets', 'Spaces', 'models', 'static', 'settings'])
def test_words_of_our_own_addresses_are_no_namespaces(hub, namespace):
    admin = new_user(hub, 'root', 'admin')
    asked = {'name': 'x', 'organization': namespace}
    assert call(hub, 'POST', '/api/repos/create', asked, token=admin).status == 400


def test_in_somebody_elses_namespace_none_is_made_and_it_says_what_to_do(hub):
    answer = call(hub, 'POST', '/api/repos/create', {'name': 'x', 'organization': 'ada'})
    assert answer.status == 403
    assert 'hfmirror serve --token ada:write' in answer.json['error']
    assert 'tokens.json' in answer.json['error']


def test_an_admin_makes_them_anywhere(hub):
    asked = {'name': 'x', 'organization': 'ada'}
    assert call(hub, 'POST', '/api/repos/create', asked, token=new_user(hub, 'root', 'admin')).status == 200


@pytest.mark.parametrize(('role', 'status'), [('read', 403), ('write', 200), ('admin', 200)])
def test_in_an_organisation_the_role_there_counts(hub, role, status):
    organise(hub, {'lab': {'local': role}})
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x', 'organization': 'Lab'}).status == status


def test_nobody_makes_none(hub):
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x'}, token=None).status == 401


@pytest.mark.parametrize(
    ('asked', 'private'),
    [
        ({}, False),
        ({'private': True}, True),
        ({'private': None}, False),
        ({'visibility': 'private'}, True),
        ({'visibility': 'public', 'private': True}, False),
    ],
)
def test_it_is_private_when_asked_for(hub, asked, private):
    call(hub, 'POST', '/api/repos/create', {'name': 'x', **asked})
    assert hub.hub.repositories.find('model', 'local', 'x').private is private


@pytest.mark.parametrize(
    'asked', [{'private': 'no'}, {'visibility': 'secret'}, {'type': 'kernel'}, {'type': 3}]
)
def test_what_is_not_understood_is_refused(hub, asked):
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x', **asked}).status == 400


@pytest.mark.parametrize('body', [b'[]', b'{', b'\xff', b'[' * 100_000, b'"x"'])
def test_a_body_that_is_no_object_is_refused(hub, body):
    assert call(hub, 'POST', '/api/repos/create', body=body).status == 400


def test_a_symbolic_link_for_a_namespace_takes_no_repository(hub, tmp_path):
    (tmp_path / 'elsewhere').mkdir()
    (hub.root / 'models').mkdir()
    (hub.root / 'models' / 'local').symlink_to(tmp_path / 'elsewhere')
    assert call(hub, 'POST', '/api/repos/create', {'name': 'x'}).status == 400
    assert list((tmp_path / 'elsewhere').iterdir()) == []


_KILLED = """
    import os, signal, sys
    from pathlib import Path
    from hfmirror.server.repos import {module}
    from hfmirror.server.hub import Hub

    def killed(*args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

    hub = Hub(Path(sys.argv[1]))
    {before}
    {module}.{name} = killed
    {act}
"""


def killed(root, *, module, name, act, before='pass'):
    """Run ``act`` on the repositories of ``root`` in a process that is killed when it comes to a function."""
    program = textwrap.dedent(_KILLED).format(module=module, name=name, act=act, before=before)
    done = subprocess.run([sys.executable, '-c', program, str(root)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


CREATE = "hub.repositories.create('model', 'local/x', {'private': True}, fill=lambda repo: None)"


@pytest.mark.parametrize(
    ('module', 'name'),
    [('repositories', 'refs.create_bare'), ('repositories', 'durable.flush'), ('repositories', 'os.rename')],
)
def test_a_kill_leaves_no_half_repository(tmp_path, module, name):
    killed(tmp_path, module=module, name=name, act=CREATE)
    assert list(Hub(tmp_path).repositories.all('model')) == []


def test_what_a_killed_creation_left_is_removed_a_day_later(tmp_path):
    killed(tmp_path, module='repositories', name='durable.flush', act=CREATE)
    (left,) = tmp_path.glob('.new-*')
    hub = Hub(tmp_path)
    hub.repositories.sweep()
    assert left.exists()
    os.utime(left, (0, 0))
    hub.repositories.sweep()
    assert not left.exists()


# -- removed


def test_a_deleted_repository_is_gone(hub, api):
    api.create_repo('local/x')
    api.delete_repo('local/x')
    assert not bare(hub, 'local/x').exists()
    with pytest.raises(RepositoryNotFoundError):
        api.delete_repo('local/x')


def test_one_that_is_not_there_can_be_deleted_with_missing_ok(api):
    api.delete_repo('local/x', missing_ok=True)


@pytest.fixture
def remains(tmp_path):
    """What an upload that went on after the deletion made, a day ago."""
    path = tmp_path / 'models' / 'local' / 'x.git'
    (path / 'lfs' / 'objects').mkdir(parents=True)
    os.utime(path, (0, 0))
    return path


def test_what_an_upload_left_of_a_deleted_one_is_removed_a_day_later(tmp_path, remains):
    Hub(tmp_path).repositories.sweep()
    assert not remains.exists()


def test_what_an_upload_makes_just_now_stays(tmp_path, remains):
    os.utime(remains)
    Hub(tmp_path).repositories.sweep()
    assert remains.exists()


def test_a_folder_with_anything_else_stays(tmp_path, remains):
    (remains / 'objects').mkdir()
    os.utime(remains, (0, 0))
    Hub(tmp_path).repositories.sweep()
    assert remains.exists()


def test_nothing_is_removed_beyond_a_symbolic_link(tmp_path, remains):
    elsewhere = tmp_path / 'elsewhere'
    remains.parent.rename(elsewhere)
    remains.parent.symlink_to(elsewhere)
    Hub(tmp_path).repositories.sweep()
    assert (elsewhere / 'x.git').exists()


def test_deleting_leaves_nothing_behind(hub, api):
    api.create_repo('local/x')
    api.delete_repo('local/x')
    assert list(hub.root.glob('.deleted-*')) == []


def test_a_deleted_repository_can_be_made_again(hub, api):
    api.create_repo('local/x')
    commit_by_path(bare(hub, 'local/x'), {'a.txt': 'hi\n'})
    api.delete_repo('local/x')
    api.create_repo('local/x')
    assert git('rev-list', '--count', 'main', cwd=bare(hub, 'local/x')) == '1'


def test_only_its_writers_delete_it(hub, api):
    api.create_repo('local/x')
    asked = {'name': 'x', 'organization': 'local', 'type': 'model'}
    answer = call(hub, 'DELETE', '/api/repos/delete', asked, token=new_user(hub, 'ada'))
    assert answer.status == 403
    assert bare(hub, 'local/x').exists()


def test_a_private_one_is_not_there_for_strangers_who_delete(hub, api):
    api.create_repo('local/x', private=True)
    asked = {'name': 'x', 'organization': 'local'}
    answer = call(hub, 'DELETE', '/api/repos/delete', asked, token=new_user(hub, 'ada'))
    assert (answer.status, answer.code) == (404, 'RepoNotFound')


def test_a_kill_while_deleting_leaves_it_whole_or_gone(tmp_path):
    before = "repo = hub.repositories.create('model', 'local/x', {})"
    killed(
        tmp_path,
        module='repositories',
        name='shutil.rmtree',
        before=before,
        act='hub.repositories.delete(repo)',
    )
    hub = Hub(tmp_path)
    assert list(hub.repositories.all('model')) == []
    hub.repositories.sweep()
    assert [path.name for path in tmp_path.glob('.*-*')] == []


# -- renamed


@pytest.fixture
def moved(hub, api):
    """A repository with a file, called local/new, that was called local/old."""
    api.create_repo('local/old')
    commit_by_path(bare(hub, 'local/old'), {'a.txt': 'hi\n'})
    api.move_repo('local/old', 'local/new')
    return 'local/new'


def test_a_moved_repository_is_under_its_new_name(hub, moved):
    assert git('show', 'main:a.txt', cwd=bare(hub, moved)) == 'hi'
    assert not bare(hub, 'local/old').exists()


def test_the_old_name_leads_to_the_new_one(api, moved):
    assert api.model_info('local/old').id == moved


def test_an_old_name_is_found_however_it_is_spelled(hub, moved):
    answer = call(hub, 'GET', '/api/models/LOCAL/%6Fld?blobs=true')
    assert (answer.status, answer.headers['Location']) == (307, '/api/models/local/new?blobs=true')


def test_a_file_is_fetched_by_the_old_name(api, moved, tmp_path):
    path = api.hf_hub_download('local/old', 'a.txt', cache_dir=tmp_path / 'cache')
    assert Path(path).read_text() == 'hi\n'


def test_a_tag_is_made_by_the_old_name(hub, api, moved):
    api.create_tag('local/old', tag='v1')
    assert git('tag', cwd=bare(hub, moved)) == 'v1'


def test_an_upload_goes_to_the_new_name(hub, api, moved):
    api.upload_file(path_or_fileobj=b'b\n', path_in_repo='b.txt', repo_id='local/old')
    assert git('show', 'main:b.txt', cwd=bare(hub, moved)) == 'b'


def test_git_clones_by_the_old_name(hub, moved, tmp_path):
    git('clone', '-q', f'{hub.endpoint}/local/old', tmp_path / 'clone', cwd=tmp_path)
    assert (tmp_path / 'clone' / 'a.txt').read_text() == 'hi\n'


def test_a_private_one_that_moved_is_not_there_for_strangers(hub, api, moved):
    api.update_repo_settings('local/new', private=True)
    stranger = new_user(hub, 'ada')
    assert call(hub, 'GET', '/api/models/local/old/auth-check', token=stranger).status == 404
    assert call(hub, 'GET', '/api/models/local/old/auth-check', token=None).status == 401


def test_names_lead_on_over_many_moves(api, moved):
    api.move_repo('local/new', 'local/newer')
    assert [api.model_info(f'local/{name}').id for name in ('old', 'new')] == ['local/newer'] * 2


def test_moved_there_and_back_it_is_where_it_was(api, moved):
    api.move_repo('local/new', 'local/old')
    assert [api.model_info(f'local/{name}').id for name in ('old', 'new')] == ['local/old'] * 2


def test_a_new_repository_of_the_old_name_ends_the_redirection(api, moved):
    api.create_repo('local/old')
    assert api.model_info('local/old').id == 'local/old'


def test_no_name_leads_to_a_repository_that_was_made_after_a_deleted_one(hub, api, moved):
    api.delete_repo(moved)
    api.create_repo(moved)
    assert call(hub, 'GET', '/api/models/local/old/auth-check').status == 404


def test_an_old_name_deletes_nothing(hub, api, moved):
    assert call(hub, 'DELETE', '/api/repos/delete', {'name': 'old', 'organization': 'local'}).status == 404
    assert bare(hub, moved).exists()


def test_a_name_that_is_taken_is_not_moved_to(hub, api):
    api.create_repo('local/a')
    api.create_repo('local/b')
    asked = {'fromRepo': 'local/a', 'toRepo': 'local/B', 'type': 'model'}
    answer = call(hub, 'POST', '/api/repos/move', asked)
    assert (answer.status, answer.json['error']) == (409, 'A model repository called local/b already exists')
    assert api.model_info('local/a').id == 'local/a'


def test_only_upper_and_lower_case_can_change(api):
    api.create_repo('local/model')
    api.move_repo('local/model', 'local/Model')
    assert api.model_info('local/model').id == 'local/Model'


@pytest.mark.parametrize('to', ['ada/x', 'api/x', 'local/..', 'local', 'local/a/b', ''])
def test_it_moves_nowhere_it_may_not_be(hub, api, to):
    api.create_repo('local/x')
    answer = call(hub, 'POST', '/api/repos/move', {'fromRepo': 'local/x', 'toRepo': to})
    assert answer.status in (400, 403)
    assert bare(hub, 'local/x').exists()


def test_somebody_elses_is_not_moved(hub, api):
    api.create_repo('local/x')
    asked = {'fromRepo': 'local/x', 'toRepo': 'ada/x'}
    assert call(hub, 'POST', '/api/repos/move', asked, token=new_user(hub, 'ada')).status == 403


def test_it_moves_to_an_organisation_with_all_it_has(hub, api):
    organise(hub, {'lab': {'local': 'write'}})
    api.create_repo('local/x', private=True)
    api.create_discussion('local/x', 'A question')
    api.move_repo('local/x', 'lab/y')
    assert api.get_discussion_details('lab/y', 1).title == 'A question'
    assert hub.hub.repositories.find('model', 'lab', 'y').private


@pytest.mark.parametrize('function', ['os.rename', 'Renames.remember', 'Renames.forget'])
def test_a_kill_while_moving_leaves_it_under_one_of_its_names(tmp_path, function):
    before = "repo = hub.repositories.move(hub.repositories.create('model', 'local/a', {}), 'local/b')"
    act = "hub.repositories.move(repo, 'local/c')"
    killed(tmp_path, module='repositories', name=function, before=before, act=act)
    (found,) = Hub(tmp_path).repositories.all('model')
    assert found.repo_id in ('local/b', 'local/c')
    assert _reached(tmp_path, 'a') == found.repo_id
    assert _reached(tmp_path, 'b') == found.repo_id


def _reached(root, name):
    from hfmirror.server.answers import Elsewhere

    try:
        return Hub(root).repositories.find('model', 'local', name).repo_id
    except Elsewhere as moved:
        return moved.repo_id


# -- set up


def test_privacy_is_set_and_unset(hub, api):
    api.create_repo('local/x')
    api.update_repo_settings('local/x', private=True)
    assert call(hub, 'GET', '/api/models/local/x/auth-check', token=None).status == 401
    api.update_repo_settings('local/x', visibility='public')
    assert call(hub, 'GET', '/api/models/local/x/auth-check', token=None).status == 200


def test_settings_are_answered_as_they_were_sent(hub, api):
    api.create_repo('local/x')
    sent = {'private': True, 'gated': False, 'discussionsDisabled': True, 'xetEnabled': True}
    assert call(hub, 'PUT', '/api/models/local/x/settings', sent).json == sent


def test_gates_are_refused_and_it_says_so(api):
    api.create_repo('local/x')
    with pytest.raises(BadRequestError, match='Make it private'):
        api.update_repo_settings('local/x', gated='auto')


def test_only_its_writers_change_the_settings(hub, api):
    api.create_repo('local/x')
    stranger = HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada'))
    with pytest.raises(HfHubHTTPError, match='403'):
        stranger.update_repo_settings('local/x', private=True)


def test_settings_written_at_once_are_all_kept(hub, api):
    api.create_repo('local/x')
    every = [{'private': True}, {'discussionsDisabled': True}] * 4
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda sent: call(hub, 'PUT', '/api/models/local/x/settings', sent), every))
    found = hub.hub.repositories.find('model', 'local', 'x').settings()
    assert (found['private'], found['discussionsDisabled']) == (True, True)


# -- copied and listed


def test_a_copy_has_branches_tags_and_objects(hub, api):
    api.create_repo('local/x')
    commit = commit_by_path(bare(hub, 'local/x'), {'a.txt': 'hi\n'})
    api.create_tag('local/x', tag='v1', tag_message='one')
    stored = bare(hub, 'local/x') / 'lfs' / 'objects' / 'aa' / 'bb'
    stored.mkdir(parents=True)
    (stored / ('aabb' + '0' * 60)).write_bytes(b'large')
    copy = api.duplicate_repo('local/x', 'local/y')
    assert (copy.repo_id, copy.files_copy_pending) == ('local/y', False)
    path = bare(hub, 'local/y')
    assert git('rev-parse', 'main', 'v1^{commit}', cwd=path).split() == [commit, commit]
    assert (path / 'lfs' / 'objects' / 'aa' / 'bb' / ('aabb' + '0' * 60)).read_bytes() == b'large'


def test_a_copy_is_sound_and_goes_its_own_way(hub, api):
    api.create_repo('local/x')
    api.duplicate_repo('local/x', 'local/y')
    commit_by_path(bare(hub, 'local/y'), {'b.txt': 'b\n'})
    git('fsck', '--strict', cwd=bare(hub, 'local/y'))
    assert git('rev-list', '--count', 'main', cwd=bare(hub, 'local/x')) == '1'


def test_a_copy_of_a_private_one_is_private(hub, api):
    api.create_repo('local/x', private=True)
    api.duplicate_repo('local/x', 'local/y')
    assert hub.hub.repositories.find('model', 'local', 'y').private


def test_what_one_may_not_see_is_not_copied(hub, api):
    api.create_repo('local/x', private=True)
    stranger = HfApi(endpoint=hub.endpoint, token=new_user(hub, 'ada'))
    with pytest.raises(RepositoryNotFoundError):
        stranger.duplicate_repo('local/x', 'ada/x')


def test_a_copy_does_not_replace_what_is_there(api):
    api.create_repo('local/x')
    api.create_repo('local/y')
    with pytest.raises(HfHubHTTPError, match='409'):
        api.duplicate_repo('local/x', 'local/y')


def test_ones_own_repositories_are_listed_with_their_sizes(hub, api):
    api.create_repo('local/x', private=True)
    api.create_repo('local/y', repo_type='dataset')
    commit_by_path(bare(hub, 'local/x'), {'a.txt': 'x' * 100_000})
    found = {repo.id: repo for repo in api.list_user_repos()}
    assert {repo.id: (repo.type, repo.visibility) for repo in found.values()} == {
        'local/x': ('model', 'private'),
        'local/y': ('dataset', 'public'),
    }
    assert sum(repo.storage_percent for repo in found.values()) == pytest.approx(100, abs=0.1)


def test_one_that_is_deleted_while_they_are_listed_hides_no_other(hub, api, monkeypatch):
    api.create_repo('local/gone')
    api.create_repo('local/x')
    measured = repository_api._bytes_below

    def deleted_then(path):
        # The moment between two looks at it is too short to be met from outside.
        if path.name == 'gone.git':
            hub.hub.repositories.delete(hub.hub.repositories.find('model', 'local', 'gone'))
        return measured(path)

    monkeypatch.setattr(repository_api, '_bytes_below', deleted_then)
    assert [repo.id for repo in api.list_user_repos()] == ['local/x']


def test_an_organisations_repositories_are_listed_to_its_members(hub, api):
    organise(hub, {'lab': {'local': 'write'}})
    api.create_repo('lab/x')
    assert [repo.id for repo in api.list_user_repos('lab')] == ['lab/x']
    stranger = new_user(hub, 'ada')
    assert call(hub, 'GET', '/api/organizations/lab/settings/repositories', token=stranger).status == 403
