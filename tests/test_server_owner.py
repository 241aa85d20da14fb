"""Does the Hub serve what another user of the machine owns, as git by itself does not? And runs nothing of theirs?"""

from __future__ import annotations

import os
import subprocess

import pytest
from huggingface_hub import HfApi

from tests.support.mirror import git
from tests.support.rest import call

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason='only root gives files away'),
    pytest.mark.filterwarnings('ignore::UserWarning'),  # the client's, about what a Hub does not do
]
NOBODY = 65534


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token=hub.token)


@pytest.fixture
def path(hub, api):
    """The bare repository local/x, with two commits and a release, of another user."""
    api.create_repo('local/x')
    upload(api, 'a.txt', 'one\ntwo\n')
    api.create_tag('local/x', tag='v1.0.0', tag_message='first')
    path = hub.root / 'models' / 'local' / 'x.git'
    give_away(path)
    return path


def give_away(path):
    for name in [path, *path.rglob('*')]:
        os.chown(name, NOBODY, NOBODY)


def upload(api, name, text, **kwargs):
    return api.upload_file(path_or_fileobj=text.encode(), path_in_repo=name, repo_id='local/x', **kwargs)


def test_git_itself_refuses_it(path):
    done = subprocess.run(['git', 'log'], cwd=path, capture_output=True, text=True, check=False)
    assert 'dubious ownership' in done.stderr


@pytest.mark.parametrize(
    'what',
    [
        '/api/models/local/x',
        '/api/models/local/x/refs',
        '/api/models/local/x/commits/main',
        '/api/models/local/x/compare/main~1..main',
        '/api/models/local/x/tree/main?expand=true',
        '/api/settings/repositories',
        '/local/x/resolve/main/a.txt',
        '/local/x',
        '/local/x/versions',
        '/local/x/commit/main',
    ],
)
def test_it_is_read(hub, path, what):
    what = what.replace('main~1', git('rev-list', '--max-parents=0', 'main', cwd=hub.root / _own_copy(path)))
    assert call(hub, 'GET', what).status == 200


def _own_copy(path):
    """Copy the repository for ourselves, so that git tells us of it."""
    copy = path.parents[3] / 'copy.git'
    subprocess.run(['cp', '-r', '--no-preserve=ownership', path, copy], check=True)
    return copy


def test_its_versions_are_shown(hub, path):
    assert b'v1.0.0' in call(hub, 'GET', '/local/x/versions').body


def test_it_is_written_to(api, path):
    commit = upload(api, 'b.txt', 'b\n')
    assert api.repo_info('local/x').sha == commit.oid


def test_branches_and_tags_are_made_and_removed(api, path):
    api.create_branch('local/x', branch='dev')
    api.create_tag('local/x', tag='v2', tag_message='second')
    api.delete_tag('local/x', tag='v1.0.0')
    refs = api.list_repo_refs('local/x')
    assert ({ref.name for ref in refs.branches}, [ref.name for ref in refs.tags]) == ({'main', 'dev'}, ['v2'])


def test_it_is_copied(api, path):
    api.duplicate_repo('local/x', 'local/y')
    assert api.file_exists('local/y', 'a.txt')


def test_it_is_cloned_and_pushed_to(hub, api, path, tmp_path):
    asking = f'http.extraHeader=Authorization: Bearer {hub.token}'
    git('-c', asking, 'clone', '-q', f'{hub.endpoint}/local/x', tmp_path / 'work')
    git('commit', '-q', '--allow-empty', '-m', 'mine', cwd=tmp_path / 'work')
    git('-c', asking, 'push', '-q', 'origin', 'main', cwd=tmp_path / 'work')
    assert api.list_repo_commits('local/x')[0].title == 'mine'


@pytest.fixture
def conflicting(api, path):
    """Pull request 1, which changes what main changed too."""
    upload(api, 'a.txt', 'ONE\ntwo\n', create_pr=True, commit_message='shout')
    upload(api, 'a.txt', 'one\nTWO\n')
    return api.get_discussion_details('local/x', 1)


def test_a_pull_request_is_shown(conflicting):
    assert conflicting.conflicting_files == ['a.txt']


def test_no_program_that_it_names_is_run_in_a_merge(api, path, conflicting, tmp_path):
    (path / 'info').mkdir(exist_ok=True)
    (path / 'info' / 'attributes').write_text('* merge=theirs\n')
    with (path / 'config').open('a') as config:
        config.write(f'[merge "theirs"]\n\tdriver = touch {tmp_path}/ran\n')
    assert api.get_discussion_details('local/x', 1).conflicting_files == ['a.txt']
    assert not (tmp_path / 'ran').exists()


def test_no_program_that_it_names_is_run_for_what_is_missing(hub, path, tmp_path):
    with (path / 'config').open('a') as config:
        config.write('[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n')
        config.write(f'[remote "origin"]\n\tpromisor = true\n\turl = {path}\n')
        config.write(f'\tuploadpack = "touch {tmp_path}/ran; git-upload-pack"\n')
    # Processes that wait have read the configuration of before.
    hub.hub.forget(hub.hub.repositories.find('model', 'local', 'x'))
    assert call(hub, 'GET', f'/api/models/local/x/commits/{"ab" * 20}').status == 404
    assert not (tmp_path / 'ran').exists()
