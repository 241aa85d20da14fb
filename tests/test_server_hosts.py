"""By which names may a Hub be called? A page of another site must not lead a browser here under a name of its own."""

from __future__ import annotations

import socket

import pytest

from hfmirror import errors
from hfmirror.server import RunningHub, hosts, running_hub
from tests.support.rest import call


@pytest.fixture(scope='module')
def hub(tmp_path_factory):
    with running_hub(tmp_path_factory.mktemp('hub'), names=['hub.example.org']) as running:
        running.hub.repositories.create('model', 'local/bert', {})
        yield running


def asked(hub, host, path='/api/models', **headers):
    return call(hub, 'GET', path, headers={'Host': host, **headers})


@pytest.mark.parametrize(
    'host',
    [
        '127.0.0.1',
        '127.0.0.1:8008',
        '[::1]:8008',
        '192.168.1.5:80',
        'localhost',
        'LocalHost:8008',
        'localhost.',
    ],
)
def test_an_address_or_localhost_is_answered(hub, host):
    assert asked(hub, host).status == 200


def test_the_name_of_the_machine_is_answered(hub):
    assert asked(hub, f'{socket.gethostname()}:8008').status == 200


@pytest.mark.parametrize('host', ['hub.example.org', 'HUB.example.org:443'])
def test_a_given_name_is_answered(hub, host):
    assert asked(hub, host).status == 200


@pytest.mark.parametrize(
    'host',
    ['evil.example', 'evil.example:8008', 'localhost.evil.example', 'hub.example.org.evil.example', '127.0.0.1.evil.example', 'a:b:c', ''],
)  # fmt: skip
def test_the_name_of_somebody_else_is_turned_away(hub, host):
    assert asked(hub, host).status == 421


def test_two_names_are_both_looked_at(hub):
    with socket.create_connection(hub.endpoint.removeprefix('http://').split(':')) as connection:
        connection.sendall(b'GET /api/models HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n')
        assert connection.recv(100).split()[1] in (b'400', b'421')


def test_who_is_turned_away_is_told_what_to_do(hub):
    assert '--name' in asked(hub, 'proxy.example').json['error']


def test_a_browser_is_let_make_nothing_of_the_answer(hub):
    answer = asked(hub, 'evil.example', '/', Accept='text/html')
    assert (answer.status, 'sandbox' in answer.headers['Content-Security-Policy']) == (421, True)


def test_git_is_told_in_its_own_words(hub):
    answer = asked(hub, 'evil.example', '/local/bert.git/info/refs?service=git-upload-pack')
    assert (answer.status, answer.headers['Content-Type']) == (421, 'text/plain; charset=utf-8')


def test_a_hub_that_others_reach_is_called_as_they_like(tmp_path):
    with running_hub(tmp_path, host='0.0.0.0') as hub:
        here = RunningHub(hub.endpoint.replace('0.0.0.0', '127.0.0.1'), hub.token, hub.root, hub.hub)
        assert asked(here, 'anything.example').status == 200


@pytest.mark.parametrize(
    'name', ['https://hub.example.org', 'hub.example.org:443', '*.example.org', '', 'a b']
)
def test_what_is_no_name_is_no_option(name):
    with pytest.raises(errors.UsageError, match='without scheme and port'):
        hosts.checked_name(name)
