"""A name without a namespace, such as gpt2, is answered as a repository that is not there."""

from __future__ import annotations

import pytest

from tests.support.rest import call

ADDRESSES = [
    '/api/models/base-model',
    '/api/datasets/squad',
    '/base-model/resolve/main/config.json',
    '/base-model/raw/main/config.json',
    '/datasets/squad/resolve/main/README.md',
    '/datasets/squad/raw/main/README.md',
]


@pytest.mark.parametrize('address', ADDRESSES)
def test_a_name_without_a_namespace_is_no_repository(shared_hub, address):
    for method in ('GET', 'HEAD'):
        answer = call(shared_hub, method, address)
        assert (answer.status, answer.code) == (404, 'RepoNotFound')


@pytest.mark.parametrize('address', ADDRESSES)
def test_a_stranger_is_told_to_log_in(shared_hub, address):
    answer = call(shared_hub, 'HEAD', address, token=None)
    assert (answer.status, answer.code) == (401, 'RepoNotFound')


def test_a_wrong_token_is_still_a_wrong_token(shared_hub):
    answer = call(shared_hub, 'HEAD', ADDRESSES[2], token='hf_' + 'x' * 34)
    assert (answer.status, answer.code) == (401, None)


def test_a_file_of_a_repository_that_is_there_is_still_found(hub, api):
    api.upload_file(path_or_fileobj=b'1', path_in_repo='resolve/main/x', repo_id='local/x')
    assert call(hub, 'GET', '/local/x/resolve/main/resolve/main/x').body == b'1'
