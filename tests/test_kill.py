"""A push that is killed (SIGKILL) at any step leaves nothing wrong, and running it again ends as if nothing had happened."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

from tests.support.fault import KILL, at, fault
from tests.support.folder import TrainingFolder
from tests.support.githost import GitHost
from tests.support.mirror import Mirror, git

pytestmark = pytest.mark.skipif(sys.platform == 'win32', reason='SIGKILL and process groups are POSIX')

NAME = 'me/tiny-model'

# Where in a push, and whether before or after: each is a step of it, in order.
STEPS = {
    'hash': at('hfmirror.fingerprint:Reader._read_one', after=KILL, nth=(2,)),
    'hashed': at('hfmirror.fingerprint:Reader.read', after=KILL),
    'stage': at('hfmirror.store:ObjectStore.settle', before=KILL),
    'staged': at('hfmirror.holding:hold', after=KILL),
    'commit': at('hfmirror.clone:Clone.commit', before=KILL),
    'committed': at('hfmirror.clone:Clone.commit', after=KILL),
    'tag': at('hfmirror.worktree:WorkTree.tag', before=KILL),
    'tagged': at('hfmirror.worktree:WorkTree.tag', after=KILL),
    'packed': at('hfmirror.outbox:Outbox.update', before=KILL),
    'queued': at('hfmirror.outbox:Outbox.add', after=KILL),
    'objects': at('hfmirror.delivery:_send_objects', before=KILL),
    'objects sent': at('hfmirror.delivery:_send_objects', after=KILL),
    'refs': at('hfmirror.worktree:WorkTree.push_refs', before=KILL),
    'refs sent': at('hfmirror.worktree:WorkTree.push_refs', after=KILL),
    'proof': at('hfmirror.delivery:prove', before=KILL),
    'proven': at('hfmirror.delivery:prove', after=KILL),
    'forgotten': at('hfmirror.outbox:Outbox.forget', after=KILL),
    'tidied': at('hfmirror.outbox:Outbox.tidy', after=KILL),
}
LOCAL_STEPS = {
    'hub repository made': at('hfmirror.refs:create_bare', after=KILL),
    'between two objects': at('hfmirror.store:ObjectStore.take', after=KILL),
}
HOOKS = {  # git itself is at work in the remote
    'pre-receive': '',
    'update': '',
    'reference-transaction': 'test "$1" = prepared || exit 0\n',
    'post-receive': '',
}


class World:
    """A folder, hfmirror's directories and a remote, kept at one place so that a test can begin where another began."""

    def __init__(self, root, *, host=None):
        self.root, self.saved, self.host = root, root.with_name(f'{root.name}-saved'), host
        self.mirror = Mirror(root)
        self.url = host.url(NAME) if host else 'local'
        self.expected = None

    def push(self, *args, env=None, code=None):
        environment = {'HFMIRROR_HOME': str(self.root / 'hfmirror'), **(env or {})}
        where = ('--remote', self.url, '--repo', NAME)
        return self.mirror.run('push', self.root / 'model', *where, *args, env=environment, code=code)

    def save(self):
        shutil.copytree(self.root, self.saved, symlinks=True)

    def restore(self):
        shutil.rmtree(self.root)
        shutil.copytree(self.saved, self.root, symlinks=True)
        if self.host:
            self.host.seen.clear()
            self.host.wipe_faults()

    def state(self):
        """Return all that a reader of the remote can see, and nothing that the time of day changes."""
        remote = self.mirror.remote
        form = '%(refname) %(objecttype) %(tree) %(contents)%(*tree) %(*contents)'
        refs = git('for-each-ref', f'--format={form}', cwd=remote).splitlines()
        commits = git('log', '--all', '--topo-order', '--format=%T %B', cwd=remote) if refs else ''
        return refs, commits, self.mirror.objects()

    def assert_as_undisturbed(self):
        assert self.state() == self.expected
        self.mirror.assert_whole()
        left = [path for path in (self.root / 'hfmirror' / 'outbox').rglob('*') if path.is_file()]
        assert left == []


@pytest.fixture(scope='module')
def worlds():
    """{name: World}, made by the first test that asks, because only a test has a HOME of its own."""
    made = {}
    yield made
    for world in made.values():
        if world.host:
            world.host.stop()


def made(worlds, name, make, tmp_path_factory):
    if name not in worlds:
        worlds[name] = make(tmp_path_factory.mktemp('worlds') / name)
    worlds[name].restore()
    return worlds[name]


def train(root):
    folder = TrainingFolder(root / 'model')
    folder.write('config.json', '{"model_type": "bert"}\n')
    folder.write('eval_results.json', '{"eval_accuracy": 0.91}\n')
    folder.write('model.bin', bytes(range(256)) * 40)
    folder.write('optimizer.bin', bytes(range(256)) * 30)
    return folder


def train_on(folder):
    folder.write('eval_results.json', '{"eval_accuracy": 0.95}\n')
    folder.write('model.bin', bytes(range(255, -1, -1)) * 40)
    folder.write('other.bin', b'\0\1' * 3000)
    folder.remove('optimizer.bin')


def first_release(root):
    """A folder that was never pushed."""
    train(root)
    return settled(World(root))


def second_release(root):
    """A folder that was pushed as v1.0.0 to the local Hub and trained on."""
    folder, world = train(root), World(root)
    world.push('--tag', 'v1.0.0', code=0)
    train_on(folder)
    return settled(world)


def network_release(root):
    """A folder that was pushed as v1.0.0 to a host and trained on."""
    folder = train(root)
    host = GitHost(root / 'host')
    path = host.create(NAME)
    host.start()
    world = World(root, host=host)
    world.mirror.remote = path
    world.push('--tag', 'v1.0.0', code=0)
    train_on(folder)
    return settled(world)


def settled(world):
    """Find out how an undisturbed push ends, and go back to before it."""
    world.save()
    world.push('--bump', 'minor', code=0)
    world.expected = world.state()
    return world


def kill_and_run_again(world, env):
    killed = world.push('--bump', 'minor', env=env)
    assert killed.code == -signal.SIGKILL, killed.err
    if world.mirror.remote.exists() and world.mirror.git('for-each-ref', 'refs/heads'):
        world.mirror.assert_whole()
    world.push('--bump', 'minor', code=0)
    world.assert_as_undisturbed()


@pytest.mark.heavy
@pytest.mark.parametrize('step', [*STEPS, *LOCAL_STEPS])
def test_the_first_release(worlds, tmp_path_factory, tmp_path, step):
    world = made(worlds, 'first', first_release, tmp_path_factory)
    kill_and_run_again(world, fault(tmp_path / 'fault', {**STEPS, **LOCAL_STEPS}[step]))


@pytest.mark.heavy
@pytest.mark.parametrize('step', [*STEPS, 'between two objects'])
def test_a_release_on_top_of_another(worlds, tmp_path_factory, tmp_path, step):
    world = made(worlds, 'second', second_release, tmp_path_factory)
    kill_and_run_again(world, fault(tmp_path / 'fault', {**STEPS, **LOCAL_STEPS}[step]))


@pytest.mark.heavy
@pytest.mark.parametrize('hook', HOOKS)
def test_git_is_killed_with_it_in_the_local_hub(worlds, tmp_path_factory, tmp_path, hook):
    world = made(worlds, 'second', second_release, tmp_path_factory)
    path = world.mirror.remote / 'hooks' / hook
    path.parent.mkdir(exist_ok=True)
    # Only once: the hook is gone when the push comes again. A lock that it leaves looks as if a minute had passed.
    locks = f'find "{world.mirror.remote}/refs" -name "*.lock" -exec touch -d "1 minute ago" {{}} +\n'
    path.write_text(f'#!/bin/sh\n{HOOKS[hook]}rm "{path}"\n{locks}kill -9 0\n')
    path.chmod(0o755)
    kill_and_run_again(world, fault(tmp_path / 'fault'))


@pytest.mark.heavy
def test_a_lock_that_may_be_in_use_is_left_alone_and_the_release_waits(mirror, folder, tmp_path):
    mirror.push(folder, '--tag', 'v1.0.0')
    lock = mirror.remote / 'refs' / 'heads' / 'main.lock'
    lock.touch()
    folder.write('config.json', '{"changed": true}')
    (tmp_path / 'config.yaml').write_text(
        'huggingface: {settings: {upload: {max_retries: 1, retry_delay: 0}}}'
    )
    done = mirror.push(folder, '--tag', 'v1.1.0', code=7)
    assert 'main.lock is held by another git' in done.err
    assert lock.exists()
    lock.unlink()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v1.0.0', 'v1.1.0']


@pytest.mark.heavy
@pytest.mark.parametrize('step', STEPS)
def test_a_release_to_a_host(worlds, tmp_path_factory, tmp_path, step):
    world = made(worlds, 'network', network_release, tmp_path_factory)
    kill_and_run_again(world, fault(tmp_path / 'fault', STEPS[step]))


@pytest.mark.heavy
@pytest.mark.parametrize(
    'request_like',
    ['GET /info/refs', 'POST /info/lfs', 'PUT', 'GET /git-receive-pack', 'POST /git-receive-pack'],
)
def test_git_is_killed_with_it_while_it_talks_to_a_host(worlds, tmp_path_factory, tmp_path, request_like):
    world = made(worlds, 'network', network_release, tmp_path_factory)
    group = tmp_path / 'group'
    env = fault(tmp_path / 'fault', f'Path({str(group)!r}).write_text(str(os.getpid()))')
    world.host.when(
        request_like.replace('GET /git-receive-pack', 'GET service=git-receive-pack'), kill(group)
    )
    kill_and_run_again(world, env)


def kill(group):
    return lambda: os.killpg(int(group.read_text()), signal.SIGKILL)
