"""Tags of a series go when there are too many of them, and nothing else does."""

from __future__ import annotations

import pytest

from hfmirror import errors, pruning
from hfmirror import target as targets
from hfmirror.config.places import home
from hfmirror.pruning import of_series, prune
from tests.support.mirror import git
from tests.test_list_versions import tag_remote


@pytest.fixture
def target(mirror):
    """me/tiny-model in the local Hub."""
    return targets.local(home().hub, mirror.repo)


def steps(*numbers):
    return {f'step-{number}': f'step {number}' for number in numbers}


# -- which tags are of a series


def test_series_is_ordered_by_its_numbers():
    tags = ['step-100', 'step-20', 'v1.0.0', 'step-100.2', 'other-step-3', 'step-', 'step-x', 'step-5-old']
    assert of_series(tags, 'step-{step}') == ['step-20', 'step-100', 'step-100.2']


def test_series_may_have_words_around_its_numbers():
    assert of_series(['a.b-1-x', 'aXb-2-x', 'a.b-3'], 'a.b-{step}-x') == ['a.b-1-x']


def test_series_may_have_two_numbers():
    assert of_series(['e2-s1', 'e1-s10', 'e1-s9'], 'e{epoch}-s{step}') == ['e1-s9', 'e1-s10', 'e2-s1']


def test_series_without_a_field_is_one_tag():
    assert of_series(['latest-run', 'latest-run-1'], 'latest-run') == ['latest-run']


def test_number_that_no_training_counts_to_is_of_no_series():
    assert of_series(['step-' + '9' * 5000, 'step-5', 'step-\u0665'], 'step-{step}') == ['step-5']


# -- what goes


def test_all_but_the_newest_go_and_their_commits_stay(mirror, target):
    tag_remote(mirror.remote, steps(1, 2, 3, 4, 5) | {'v1.0.0': 'final'})
    commits = mirror.git('rev-list', 'main').split()
    assert prune(target, 'step-{step}', home(), keep=2) == ['step-1', 'step-2', 'step-3']
    assert mirror.tags() == ['step-4', 'step-5', 'v1.0.0']
    assert mirror.git('rev-list', 'main').split() == commits


def test_nothing_goes_when_there_are_few(mirror, target):
    tag_remote(mirror.remote, steps(1, 2))
    assert prune(target, 'step-{step}', home(), keep=2) == []
    assert prune(target, 'step-{step}', home(), keep=0) == []
    assert mirror.tags() == ['step-1', 'step-2']


def test_dry_run_removes_nothing(mirror, target):
    tag_remote(mirror.remote, steps(1, 2, 3))
    assert prune(target, 'step-{step}', home(), keep=1, dry_run=True) == ['step-1', 'step-2']
    assert mirror.tags() == ['step-1', 'step-2', 'step-3']


def test_checkpoints_of_a_training_that_began_again_are_kept(mirror, target):
    tag_remote(mirror.remote, {**steps(4000, 5000), **steps(100, 200)})
    assert prune(target, 'step-{step}', home(), keep=2) == ['step-4000', 'step-5000']
    assert mirror.tags() == ['step-100', 'step-200']


def test_light_tags_of_others_count(mirror, target):
    tag_remote(mirror.remote, {'step-1': None, 'step-2': None})
    assert prune(target, 'step-{step}', home(), keep=1) == ['step-1']


def test_tag_that_somebody_removes_meanwhile_stops_nothing(mirror, target, monkeypatch):
    tag_remote(mirror.remote, steps(1, 2, 3, 4))
    real = pruning._push_away

    # In place of another process, which would have to be faster by a hair.
    def after_somebody_else(repository, tags):
        monkeypatch.setattr(pruning, '_push_away', real)
        git('tag', '-d', 'step-1', cwd=mirror.remote)
        raise errors.RemoteError('no such ref')

    monkeypatch.setattr(pruning, '_push_away', after_somebody_else)
    prune(target, 'step-{step}', home(), keep=1)
    assert mirror.tags() == ['step-4']


def test_refusal_of_the_remote_is_raised(mirror, target):
    tag_remote(mirror.remote, steps(1, 2))
    (mirror.remote / 'hooks').mkdir(exist_ok=True)
    (mirror.remote / 'hooks' / 'pre-receive').write_text('#!/bin/sh\nexit 1\n')
    (mirror.remote / 'hooks' / 'pre-receive').chmod(0o755)
    with pytest.raises(errors.RemoteError):
        prune(target, 'step-{step}', home(), keep=1)
    assert mirror.tags() == ['step-1', 'step-2']


def test_repository_that_is_not_there_has_nothing_to_prune(target):
    assert prune(target, 'step-{step}', home(), keep=1) == []


def test_tags_go_from_a_host_behind_a_network(mirror, host, remote):
    tag_remote(mirror.remote, {**steps(4000), **steps(100, 200)})
    there = targets.at_url(remote, mirror.repo)
    assert prune(there, 'step-{step}', home(), keep=2) == ['step-4000']
    assert mirror.tags() == ['step-100', 'step-200']


def test_host_that_cannot_be_reached_is_a_network_error(mirror, host, remote):
    host.stop()
    with pytest.raises(errors.NetworkError):
        prune(targets.at_url(remote, mirror.repo), 'step-{step}', home(), keep=2)


def test_tags_go_from_a_hub(hub, api):
    from hfmirror.auth import Token

    for number in (1, 2, 3):
        api.upload_file(path_or_fileobj=f'{number}'.encode(), path_in_repo='a.txt', repo_id='local/x')
        api.create_tag('local/x', tag=f'step-{number}')
    token = Token(hub.token, 'a test')
    token.endpoint = hub.endpoint
    gone = prune(targets.hub(hub.endpoint, 'local/x'), 'step-{step}', home(), keep=1, token=token)
    assert gone == ['step-1', 'step-2']
    assert [one.name for one in api.list_repo_refs('local/x').tags] == ['step-3']
