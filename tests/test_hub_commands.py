"""Every command does on the Hub what it does on the local one; and what only the Hub can answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from contextlib import ExitStack

import pytest
from huggingface_hub import HfApi

from hfmirror.server import running_hub
from tests.support.folder import checksums
from tests.support.mirror import git
from tests.support.rest import call, commit_by_path, new_user

FAST = 'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'


@pytest.fixture
def hub(shared_hub, mirror, monkeypatch, request, tmp_path):
    """The Hub as the user ``local`` has it in the environment. ``mirror`` looks at a repository of the test's own."""
    shared_hub.heal()
    shared_hub.forget()
    monkeypatch.setenv('HF_ENDPOINT', shared_hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', shared_hub.token)
    mirror.repo = f'local/{re.sub(r"[^a-z0-9]+", "-", request.node.name.lower())[-60:].strip("-")}'
    mirror.remote = shared_hub.root / 'models' / f'{mirror.repo}.git'
    (tmp_path / 'config.yaml').write_text(FAST)
    return shared_hub


# What the local Hub does is shown for each command elsewhere too.
@pytest.fixture(params=[pytest.param('local', marks=pytest.mark.heavy), 'hub'])
def where(request, hub, mirror):
    """The options that name the repository, on this machine and on the Hub."""
    if request.param == 'local':
        mirror.remote = mirror.home / 'hub' / 'models' / f'{mirror.repo}.git'
    return ['--remote', request.param, '--repo', mirror.repo]


@pytest.fixture
def released(mirror, folder, where):
    mirror.push(folder, *where, '--tag', 'v1.0.0')
    return folder


@pytest.fixture
def on_hub(mirror, folder, hub):
    """The folder is v1.0.0 on the Hub, put there by huggingface_hub. Returns the options that name it."""
    return publish(mirror, folder, hub)


def publish(mirror, folder, hub, *, private=False):
    api = HfApi(endpoint=hub.endpoint, token=hub.token)
    api.create_repo(mirror.repo, private=private)
    api.upload_folder(folder_path=folder.path, repo_id=mirror.repo)
    api.create_tag(mirror.repo, tag='v1.0.0', tag_message='by hand')
    hub.forget()
    return ['--remote', 'hub', '--repo', mirror.repo]


def elsewhere(tmp_path):
    """Return the environment of somebody who has nothing yet."""
    return {'HFMIRROR_HOME': str(tmp_path / 'elsewhere')}


def spoil(path):
    """Change a byte of a file and leave its size."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def weights(mirror):
    (path,) = (mirror.remote / 'lfs' / 'objects').glob('*/*/*')
    return path


# -- the same on both


@pytest.mark.heavy
def test_versions_are_listed_with_their_facts(mirror, released, where):
    released.write('eval_results.json', '{"eval_accuracy": 0.95}\n')
    mirror.push(released, *where, '--bump', 'minor', '-m', 'longer training')
    newest, first = mirror.run('list-versions', *where, '--json', code=0).json
    assert (newest['name'], first['name']) == ('v1.1.0', 'v1.0.0')
    assert newest['commit'] == mirror.git('rev-parse', 'main')
    assert newest['files'] == len(mirror.files())
    assert (newest['metrics']['eval_accuracy'], first['metrics']['eval_accuracy']) == (0.95, 0.91)


@pytest.mark.heavy
def test_a_version_comes_back_as_it_was(mirror, released, where, tmp_path):
    then = released.checksums()
    released.write('model.bin', b'\0other weights' * 99)
    mirror.push(released, *where, '--bump', 'minor')
    for version, expected in (('v1.0.0', then), ('latest', released.checksums())):
        mirror.run('pull', version, '--to', 'got', *where, code=0)
        assert expected.items() <= checksums(tmp_path / 'got').items()


@pytest.mark.heavy
def test_a_whole_version_is_verified(mirror, released, where):
    found = mirror.run('verify', 'v1.0.0', released, *where, '--json', code=0).json
    assert found['ok'] and found['checked'] == len(mirror.files())
    assert found['commit'] == mirror.git('rev-parse', 'main')
    assert mirror.run('verify', '--content', *where, '--json', code=0).json['ok']


@pytest.mark.heavy
def test_an_object_that_is_lost_is_named_and_sent_again(mirror, released, where):
    weights(mirror).unlink()
    found = mirror.run('verify', *where, '--json', code=3).json
    assert found['problems'] == [{'path': 'model.bin', 'where': 'remote', 'what': 'missing'}]
    mirror.push(released, *where)
    mirror.run('verify', '--content', *where, code=0)


@pytest.mark.heavy
def test_wrong_bytes_are_found_by_reading_them(mirror, released, where):
    spoil(weights(mirror))
    found = mirror.run('verify', '--content', *where, '--json', code=3).json
    assert found['different'] == ['model.bin']


@pytest.mark.heavy
def test_a_file_that_somebody_else_changed_differs_from_the_folder(mirror, released, where):
    commit_by_path(mirror.remote, {'config.json': '{}'})
    git('tag', '-f', '-a', '-m', 'moved', 'v1.0.0', 'main', cwd=mirror.remote)
    found = mirror.run('verify', 'v1.0.0', released, *where, '--json', code=3).json
    assert found['different'] == ['config.json']


@pytest.mark.heavy
def test_without_options_it_is_what_was_pushed_from_this_directory(mirror, released, where):
    assert [one['name'] for one in mirror.run('list-versions', '--json', code=0).json] == ['v1.0.0']
    assert mirror.run('verify', '--json', code=0).json['ok']


@pytest.mark.parametrize('command', ['list-versions', 'verify', 'pull'])
def test_a_repository_that_is_not_there_is_not_found(mirror, where, command):
    to = ['--to', 'got'] if command == 'pull' else []
    done = mirror.run(command, *to, *where, code=5)
    assert mirror.repo in done.err and done.out == ''


@pytest.mark.heavy
@pytest.mark.parametrize('command', ['verify', 'pull'])
def test_a_version_that_is_not_there_is_not_found(mirror, released, where, command):
    to = ['--to', 'got'] if command == 'pull' else []
    assert 'v1.0.0' in mirror.run(command, 'v1.0.1', *to, *where, code=5).err


@pytest.mark.heavy
def test_doctor_says_that_it_can_be_reached(mirror, released, where):
    checks = {check['name']: check for check in mirror.run('doctor', *where, '--json', code=0).json}
    assert f'{mirror.repo} on {where[1]}: reachable, 1 tag' in checks['remote']['found']


@pytest.mark.heavy
def test_doctor_says_that_the_first_push_will_make_it(mirror, where):
    checks = {check['name']: check for check in mirror.run('doctor', *where, '--json', code=0).json}
    assert 'will be created by the first push' in checks['remote']['found']


def test_a_card_is_shown_for_it_and_nothing_is_asked(mirror, folder, hub, where):
    assert f'{mirror.repo}"' in mirror.run('card', folder, *where, code=0).out
    assert hub.requests() == []


# -- what only the Hub has


@pytest.mark.heavy
def test_a_card_for_the_hub_wants_a_name(mirror, folder, hub):
    assert '--repo' in mirror.run('card', folder, '--remote', 'hub', code=2).err
    done = mirror.run('card', folder, '--remote', 'hub', env={'HF_USERNAME': 'ada'}, code=0)
    assert 'ada/tiny-model' in done.out
    assert hub.requests() == []


@pytest.mark.heavy
def test_verify_asks_for_refs_objects_and_the_list_of_files(mirror, on_hub, hub):
    done = mirror.run('verify', *on_hub, code=0)
    assert 'refs, every object and the list of files confirmed' in done.out
    assert hub.requests('POST /info/lfs/objects/batch') and hub.requests('GET /tree/v1.0.0')
    assert hub.requests('GET /resolve/') == hub.requests('GET /lfs/objects') == []


def listing(hub, mirror, change):
    """Have the Hub list the files of v1.0.0 once as ``change`` makes them."""
    rows = call(hub, 'GET', f'/api/models/{mirror.repo}/tree/v1.0.0?recursive=true').json
    body = json.dumps(change(rows)).encode()
    hub.fail('GET /tree/', 200, body=body, content_type='application/json')


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('change', 'kind'),
    [
        (lambda row: {**row, 'oid': '0' * 40}, 'different'),
        (lambda row: {**row, 'size': row['size'] + 1}, 'different'),
        (lambda row: None, 'missing'),
    ],
)
def test_a_file_that_the_hub_lists_otherwise_is_named(mirror, on_hub, hub, change, kind):
    def changed(rows):
        rows = [change(row) if row['path'] == 'config.json' else row for row in rows]
        return [row for row in rows if row]

    listing(hub, mirror, changed)
    assert mirror.run('verify', *on_hub, '--json', code=3).json[kind] == ['config.json']


def test_weights_that_the_hub_lists_otherwise_are_named(mirror, on_hub, hub):
    def changed(rows):
        return [{**row, 'lfs': {**row['lfs'], 'oid': '0' * 64}} if 'lfs' in row else row for row in rows]

    listing(hub, mirror, changed)
    assert mirror.run('verify', *on_hub, '--json', code=3).json['different'] == ['model.bin']


@pytest.mark.heavy
def test_a_list_of_files_that_lacks_one_fails_the_proof_of_a_push(mirror, folder, hub):
    hub.fail('GET /tree/', 200, body=b'[]', content_type='application/json')
    done = mirror.push(folder, '--remote', 'hub', '--tag', 'v1.0.0', code=3)
    assert 'the Hub lists' in done.err and 'hfmirror verify' in done.err


@pytest.mark.heavy
@pytest.mark.parametrize('kind', ['dataset', pytest.param('space', marks=pytest.mark.heavy)])
def test_a_repository_of_another_type(mirror, folder, hub, kind, tmp_path):
    folder.write('README.md', '---\ntitle: Tiny\nsdk: static\n---\n# Tiny\n')
    name = ['--repo-type', kind, '--remote', 'hub', '--repo', mirror.repo]
    mirror.push(folder, *name, '--tag', 'v1.0.0')
    assert len(mirror.run('list-versions', *name, '--json', code=0).json) == 1
    assert mirror.run('verify', *name, folder, '--json', code=0).json['ok']
    mirror.run('pull', '--to', 'got', *name, code=0, env=elsewhere(tmp_path))
    assert (tmp_path / 'got' / 'model.bin').read_bytes() == (folder.path / 'model.bin').read_bytes()


@pytest.mark.parametrize('command', ['list-versions', 'verify', 'pull', 'push'])
def test_a_private_repository_of_somebody_else_looks_like_none(mirror, folder, hub, command, tmp_path):
    where = publish(mirror, folder, hub, private=True)
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    stranger = {'HF_TOKEN': new_user(hub, 'stranger'), **elsewhere(tmp_path)}
    done = mirror.run(command, *args, *where, env=stranger)
    assert done.code == (4 if command == 'push' else 5)
    assert mirror.repo in done.err and ('may not write' if command == 'push' else 'whoami') in done.err
    assert 'v1.0.0' not in done.out + done.err


@pytest.mark.parametrize('command', ['list-versions', 'verify', 'pull'])
def test_a_public_repository_is_read_without_a_token(mirror, on_hub, monkeypatch, command, tmp_path):
    monkeypatch.delenv('HF_TOKEN')
    to = ['--to', 'got'] if command == 'pull' else []
    mirror.run(command, *to, *on_hub, code=0, env=elsewhere(tmp_path))


@pytest.mark.parametrize('command', ['list-versions', 'verify', 'pull', 'doctor', 'push', 'resume'])
def test_a_token_that_the_hub_does_not_know(mirror, folder, hub, command):
    args = {'push': [folder], 'pull': ['--to', 'got']}.get(command, [])
    name = ['--remote', 'hub', '--repo', mirror.repo] if command != 'resume' else []
    done = mirror.run(command, *args, *name, env={'HF_TOKEN': 'hf_nobodysnobodysnobodys'})
    assert done.code == {'doctor': 1, 'resume': 0}.get(command, 4), done.err
    assert 'nobodys' not in done.out + done.err


@pytest.mark.heavy
def test_the_token_of_every_command_comes_from_standard_input_too(mirror, on_hub, hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    for command in (['list-versions', *on_hub], ['verify', *on_hub], ['doctor', *on_hub], ['resume']):
        done = subprocess.run(
            [sys.executable, '-m', 'hfmirror', *command, '--token', '-'],
            input=f'{hub.token}\n',
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert 'BAD' not in done.stdout and 'not checked' not in done.stdout


@pytest.mark.heavy
def test_local_work_asks_for_no_token(mirror, folder, hub):
    mirror.push(folder, '--remote', 'local', '--tag', 'v1.0.0')
    broken = {'HF_TOKEN': 'two words'}
    for command in (['list-versions'], ['verify'], ['resume'], ['status'], ['pull', '--to', 'got']):
        mirror.run(*command, env=broken, code=0)


# -- doctor


def checks(mirror, *args, code=0, **kwargs):
    done = mirror.run('doctor', *args, '--json', code=code, **kwargs)
    return {check['name']: check for check in done.json}


def test_doctor_tells_who_the_token_belongs_to_and_what_it_may_do(mirror, hub):
    found = checks(mirror, '--remote', 'hub', '--repo', mirror.repo)
    assert found['token']['found'] == 'found in HF_TOKEN'
    assert f'{hub.endpoint} is reachable as local, role of the token: write' in found['remote']['found']


def test_doctor_looks_at_the_hub_before_anything_was_pushed(mirror, hub):
    found = checks(mirror)
    assert 'not checked' in found['remote']['found'] and 'reachable as local' in found['remote']['found']


def test_doctor_tells_of_a_token_that_only_reads(mirror, hub):
    reader = {'HF_TOKEN': new_user(hub, 'local', 'read')}
    for name in ([], ['--remote', 'hub', '--repo', mirror.repo]):
        found = checks(mirror, *name, env=reader, code=1)
        assert 'may only read' in found['remote']['found'] and 'Access Tokens' in found['remote']['advice']


def test_doctor_tells_of_a_namespace_that_is_not_ours(mirror, hub):
    found = checks(mirror, '--remote', 'hub', '--repo', 'somebody/model', code=1)
    assert 'may not write to the namespace somebody' in found['remote']['found']
    assert 'local' in found['remote']['advice']


def test_doctor_tells_of_a_hub_that_cannot_be_reached(mirror, hub):
    away = {'HF_ENDPOINT': 'http://127.0.0.1:9'}
    found = checks(mirror, '--remote', 'hub', '--repo', mirror.repo, env=away, code=1)
    assert not found['remote']['ok'] and 'http://127.0.0.1:9' in found['remote']['found']


def test_doctor_tells_that_there_is_no_token(mirror, hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    found = checks(mirror, '--remote', 'hub', '--repo', mirror.repo, code=1)
    assert 'no token found' in found['remote']['found']


def test_doctor_tells_that_the_repository_must_not_be_made(mirror, hub, tmp_path):
    (tmp_path / 'config.yaml').write_text(FAST + '  repository: {auto_create: false}\n')
    found = checks(mirror, '--remote', 'hub', '--repo', mirror.repo, code=1)
    assert 'auto_create' in found['remote']['found'] and 'Create it' in found['remote']['advice']


@pytest.mark.heavy
def test_doctor_makes_nothing(mirror, hub):
    checks(mirror, '--remote', 'hub', '--repo', mirror.repo)
    assert [one.method for one in hub.requests() if one.method != 'GET'] == []


# -- releases that wait


class Away:
    """A Hub that goes away and comes back at the same address, with the same token."""

    def __init__(self, root, token):
        self.root, self.token, self.port = root, token, 0
        self._running = ExitStack()

    def start(self):
        self.hub = self._running.enter_context(running_hub(self.root, token=self.token, port=self.port))
        self.endpoint = self.hub.endpoint
        self.port = int(self.endpoint.rpartition(':')[2])

    def stop(self):
        self._running.close()


@pytest.fixture
def away(mirror, tmp_path, monkeypatch):
    """A Hub of the test's own; ``mirror`` looks at ada/tiny-model there."""
    (tmp_path / 'config.yaml').write_text(FAST)
    hub = Away(tmp_path / 'root', 'ada:write:hf_adasadasadasadas')
    hub.start()
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    monkeypatch.setenv('HF_TOKEN', 'hf_adasadasadasadas')
    mirror.repo = 'ada/tiny-model'
    mirror.remote = tmp_path / 'root' / 'models' / 'ada' / 'tiny-model.git'
    yield hub
    hub.stop()


@pytest.fixture
def waiting(away, mirror, folder):
    """v2.0.0 waits on top of v1.0.0; the Hub is away. Returns the folder's checksums then."""
    mirror.push(folder, '--remote', 'hub', '--tag', 'v1.0.0')
    folder.write('model.bin', b'\0new weights' * 999)
    away.stop()
    mirror.push(folder, '--remote', 'hub', '--tag', 'v2.0.0', code=7)
    return folder.checksums()


def waiting_names(mirror):
    return [row['version'] for row in mirror.run('status', '--json', code=0).json]


@pytest.mark.heavy
def test_status_shows_what_waits_for_the_hub(mirror, waiting):
    (row,) = mirror.run('status', '--json', code=0).json
    assert (row['target'], row['version']) == ('ada/tiny-model on hub', 'v2.0.0')
    assert row['owned'] and 'adasadas' not in json.dumps(row)


@pytest.mark.heavy
def test_resume_sends_it_as_it_was(mirror, folder, away, waiting, tmp_path):
    shutil.rmtree(folder.path)
    away.start()
    (row,) = mirror.run('resume', '--json', code=0).json
    assert (row['version'], row['status'], row['error']) == ('v2.0.0', 'pushed', None)
    mirror.run('pull', 'v2.0.0', '--to', 'got', code=0)
    assert waiting.items() <= checksums(tmp_path / 'got').items()
    assert waiting_names(mirror) == []
    mirror.assert_whole()


@pytest.mark.heavy
def test_resume_while_the_hub_is_away(mirror, waiting):
    assert 'refused' in mirror.run('resume', code=7).err
    assert waiting_names(mirror) == ['v2.0.0']


@pytest.mark.heavy
def test_resume_without_a_token_keeps_it(mirror, away, waiting, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    away.start()
    assert 'no token found' in mirror.run('resume', code=4).err
    assert waiting_names(mirror) == ['v2.0.0']


@pytest.mark.heavy
def test_resume_finds_the_token_in_the_project_of_the_folder(mirror, away, waiting, monkeypatch, tmp_path):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.delenv('HF_ENDPOINT')
    (tmp_path / '.env').write_text(f'HF_TOKEN=hf_adasadasadasadas\nHF_ENDPOINT={away.endpoint}\n')
    (tmp_path / 'elsewhere').mkdir()
    away.start()
    mirror.run('resume', cwd=tmp_path / 'elsewhere', code=0)
    assert mirror.tags() == ['v1.0.0', 'v2.0.0']


@pytest.mark.heavy
def test_a_release_made_before_the_hub_was_ever_reached(mirror, folder, away):
    away.stop()
    mirror.push(folder, '--remote', 'hub', '--tag', 'v1.0.0', '--private', code=7)
    away.start()
    mirror.run('resume', code=0)
    assert mirror.tags() == ['v1.0.0']
    assert mirror.git('rev-list', '--count', 'main') == '2'
    mirror.assert_whole()


@pytest.mark.heavy
def test_the_next_push_sends_what_waits(mirror, folder, away, waiting):
    folder.write('config.json', '{"hidden_size": 3}')
    away.start()
    mirror.push(folder, '--remote', 'hub', '--bump', 'minor')
    assert mirror.tags() == ['v1.0.0', 'v2.0.0', 'v2.1.0']


@pytest.mark.heavy
def test_drop_forgets_what_waits_for_the_hub(mirror, waiting):
    (row,) = mirror.run('status', '--json', code=0).json
    mirror.run('resume', '--drop', row['id'], code=0)
    assert waiting_names(mirror) == []


@pytest.mark.heavy
def test_doctor_without_the_hub(mirror, away, waiting):
    found = checks(mirror, code=1)
    assert not found['remote']['ok'] and away.endpoint in found['remote']['found']
