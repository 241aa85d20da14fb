"""Two people at once with plain git and git-lfs over HTTP: each with a token of their own, in a repository of both."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.mirror import git
from tests.support.rest import call, new_user
from tests.support.serving import assert_root_is_whole

REPO = 'lab/model'


class Person:
    """Somebody with a home, a stored credential and a clone."""

    def __init__(self, hub, name, path):
        self.name, self.clone = name, path / 'clone'
        self.home = path / 'home'
        self.home.mkdir(parents=True)
        token = new_user(hub, name)
        address = hub.endpoint.replace('http://', f'http://{name}:{token}@')
        (self.home / '.git-credentials').write_text(address + '\n')
        self.git('config', '--global', 'credential.helper', 'store', cwd=path)
        self.git('config', '--global', 'user.name', name, cwd=path)
        self.git('config', '--global', 'user.email', f'{name}@example.org', cwd=path)
        self.git('lfs', 'install', cwd=path)
        self.git('clone', '-q', f'{hub.endpoint}/{REPO}', self.clone, cwd=path)

    def git(self, *args, cwd=None, code=0):
        environment = {**os.environ, 'HOME': str(self.home), 'GIT_TERMINAL_PROMPT': '0'}
        for name in ('GIT_AUTHOR_NAME', 'GIT_AUTHOR_EMAIL', 'GIT_COMMITTER_NAME', 'GIT_COMMITTER_EMAIL'):
            environment.pop(name, None)
        done = subprocess.run(
            ['git', *map(str, args)],
            cwd=cwd or self.clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert code is None or done.returncode == code, done.stderr
        return done

    def commits(self, *, tag):
        """Commit weights and words of their own, with a tag."""
        self.weights = os.urandom(300_000)
        (self.clone / f'{self.name}.safetensors').write_bytes(self.weights)
        (self.clone / f'{self.name}.txt').write_text(f'by {self.name}\n')
        self.git('add', '.')
        self.git('commit', '-q', '-m', f'of {self.name}')
        self.git('tag', '-a', tag, '-m', tag)


@pytest.fixture
def people(hub, tmp_path):
    tokens = hub.root / 'tokens.json'
    for name in ('ada', 'bob'):
        new_user(hub, name)
    known = json.loads(tokens.read_text())
    known['organisations'] = {'lab': {'ada': 'write', 'bob': 'write', 'local': 'admin'}}
    tokens.write_text(json.dumps(known))
    call(hub, 'POST', '/api/repos/create', {'name': 'model', 'organization': 'lab'})
    return [Person(hub, name, tmp_path / name) for name in ('ada', 'bob')]


def at_once(people, act):
    with ThreadPoolExecutor(2) as threads:
        return list(threads.map(act, people))


def test_branches_and_tags_of_both_arrive_with_their_weights(hub, people):
    for person in people:
        person.git('switch', '-q', '-c', f'of-{person.name}')
        person.commits(tag=f'v1.0.0-{person.name}')
    at_once(
        people,
        lambda person: person.git('push', '--atomic', 'origin', f'of-{person.name}', f'v1.0.0-{person.name}'),
    )
    for person, other in zip(people, reversed(people), strict=True):
        person.git('fetch', '-q', '--tags')
        person.git('switch', '-q', '--detach', f'v1.0.0-{other.name}')
        assert (person.clone / f'{other.name}.safetensors').read_bytes() == other.weights
    assert_root_is_whole(hub.root)


def test_of_two_pushes_to_main_one_has_to_fetch_first_and_nothing_is_lost(hub, people):
    for person in people:
        person.commits(tag=f'v1.0.0-{person.name}')
    codes = at_once(people, lambda person: person.git('push', '-q', 'origin', 'main', code=None).returncode)
    assert sorted(codes) == [0, 1]
    late = people[codes.index(1)]
    late.git('pull', '-q', '--rebase', 'origin', 'main')
    late.git('push', '-q', 'origin', 'main')
    path = hub.root / 'models' / f'{REPO}.git'
    assert set(git('ls-tree', '--name-only', 'main', cwd=path).splitlines()) >= {
        'ada.safetensors',
        'ada.txt',
        'bob.safetensors',
        'bob.txt',
    }
    assert git('log', '--format=%an', '-2', 'main', cwd=path).splitlines() == [
        late.name,
        people[codes.index(0)].name,
    ]
    assert_root_is_whole(hub.root)
