"""A folder becomes a release on the Hub, over HTTP."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi

from hfmirror import Repository
from tests.support.mirror import clone_with_lfs, git
from tests.support.rest import call, new_user
from tests.support.wire import canned

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


@pytest.fixture
def api(hub):
    return HfApi(endpoint=hub.endpoint, token=hub.token)


def push(mirror, folder, *args, code=0, **kwargs):
    """Push to the Hub; returns the one document when it succeeds, else the whole result."""
    done = mirror.push(folder, '--remote', 'hub', *args, code=code, **kwargs)
    return done[0] if code == 0 else done


def configure(tmp_path, **repository):
    lines = [f'    {key}: {json.dumps(value)}\n' for key, value in repository.items()]
    (tmp_path / 'config.yaml').write_text(FAST + '  repository:\n' + ''.join(lines))


def info(hub, repo, *, kind='models', token=''):
    return call(hub, 'GET', f'/api/{kind}/{repo}', token=token)


def written(hub):
    """Return the requests that change something on the Hub."""
    reading = ('/info/lfs', '/git-upload-pack', '/validate-yaml')
    return [
        one
        for one in hub.requests()
        if one.method not in ('GET', 'HEAD') and not any(part in one.path for part in reading)
    ]


# -- the repository


def test_the_first_push_creates_the_repository(mirror, folder, hub):
    done = push(mirror, folder, '--tag', 'v1.0.0')
    assert (done['status'], done['url']) == ('pushed', f'{hub.endpoint}/{mirror.repo}')
    assert info(hub, mirror.repo).json['private'] is False
    mirror.assert_whole()


def test_the_hubs_own_first_commit_is_below_ours(mirror, folder, hub):
    done = push(mirror, folder, '--tag', 'v1.0.0')
    ours, first = mirror.git('rev-list', 'main').split()
    assert ours == done['commit'] == mirror.git('rev-parse', 'v1.0.0^{commit}')
    assert mirror.git('log', '-1', '--format=%s', first) == 'initial commit'


@pytest.mark.heavy
def test_a_plain_clone_of_it_has_every_file(mirror, folder, hub, tmp_path):
    push(mirror, folder, '--tag', 'v1.0.0')
    clone = clone_with_lfs(f'{hub.endpoint}/{mirror.repo}', tmp_path / 'clone')
    for path in folder.checksums():
        assert (clone / path).read_bytes() == (folder.path / path).read_bytes()


def test_a_repository_that_is_there_is_used_as_it_is(mirror, folder, hub, api):
    api.create_repo(mirror.repo, private=True)
    push(mirror, folder, '--public')
    assert info(hub, mirror.repo).json['private'] is True
    assert hub.requests('POST /api/repos/create')[1:] == []


@pytest.mark.heavy
@pytest.mark.parametrize(('option', 'expected'), [('--private', True), ('--public', False)])
def test_an_option_says_how_it_is_created(mirror, folder, hub, option, expected):
    push(mirror, folder, option)
    assert info(hub, mirror.repo).json['private'] is expected


@pytest.mark.heavy
def test_the_configuration_says_how_it_is_created(mirror, folder, hub, tmp_path):
    configure(tmp_path, private=True)
    push(mirror, folder)
    assert info(hub, mirror.repo).json['private'] is True


@pytest.mark.heavy
def test_the_option_counts_more_than_the_configuration(mirror, folder, hub, tmp_path):
    configure(tmp_path, private=True)
    push(mirror, folder, '--public')
    assert info(hub, mirror.repo).json['private'] is False


def test_a_repository_that_must_not_be_created_is_not_found(mirror, folder, hub, tmp_path):
    configure(tmp_path, auto_create=False)
    done = push(mirror, folder, code=5)
    assert 'auto_create' in done.err and 'Create it' in done.err
    assert info(hub, mirror.repo).status == 404
    assert mirror.run('status', '--json').json == []


def test_a_dataset(mirror, folder, hub):
    folder.write('train.jsonl', json.dumps({'text': 'a', 'label': 1}) + '\n')
    done = push(mirror, folder, '--repo-type', 'dataset', '--tag', 'v1.0.0')
    assert done['url'] == f'{hub.endpoint}/datasets/{mirror.repo}'
    assert info(hub, mirror.repo, kind='datasets').status == 200
    assert info(hub, mirror.repo).status == 404


@pytest.mark.heavy
def test_a_space_runs_on_what_its_card_says(mirror, folder, hub):
    folder.write('README.md', '---\ntitle: Tiny\nsdk: gradio\n---\n# Tiny\n')
    folder.write('app.py', 'import gradio\n')
    push(mirror, folder, '--repo-type', 'space', '--tag', 'v1.0.0')
    assert info(hub, mirror.repo, kind='spaces').json['sdk'] == 'gradio'


def test_a_repository_of_that_name_and_another_type_is_pointed_to(mirror, folder, hub, api):
    api.create_repo(mirror.repo, repo_type='dataset')
    done = push(mirror, folder, code=5)
    assert '--repo-type dataset' in done.err


def test_a_namespace_that_is_not_ours_is_refused_before_anything_is_made(mirror, folder, hub):
    done = push(mirror, folder, '--repo', 'somebody/model', code=4)
    assert 'local may not write to the namespace somebody' in done.err and '--repo' in done.err
    assert written(hub) == []


def test_a_token_that_only_reads_is_refused(mirror, folder, hub):
    reader = new_user(hub, 'local', 'read')
    done = push(mirror, folder, code=4, env={'HF_TOKEN': reader})
    assert 'may only read' in done.err and 'HF_TOKEN' in done.err and reader not in done.err
    assert written(hub) == []


def test_without_a_token_nothing_is_asked(mirror, folder, hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    done = push(mirror, folder, code=4)
    assert 'hf auth login' in done.err
    assert hub.requests() == []


# -- releases


@pytest.mark.heavy
def test_a_second_push_sends_only_the_object_that_changed(mirror, folder, hub):
    folder.write('other.bin', b'\0other' * 500)
    push(mirror, folder, '--tag', 'v1.0.0')
    folder.write('other.bin', b'\0changed' * 500)
    hub.forget()
    push(mirror, folder, '--bump', 'minor')
    (sent,) = hub.requests('PUT')
    assert sent.received == 4000
    assert mirror.tags() == ['v1.0.0', 'v1.1.0']
    mirror.assert_whole()


@pytest.mark.heavy
def test_an_untouched_folder_sends_nothing(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0')
    before = mirror.git('for-each-ref')
    for option in (['--tag', 'v1.0.0'], ['--bump', 'minor'], []):
        hub.forget()
        assert push(mirror, folder, *option)['status'] == 'up-to-date'
        assert written(hub) == []
        assert len(hub.requests('POST /info/lfs')) <= 1  # the question that is the proof
    assert mirror.git('for-each-ref') == before


@pytest.mark.heavy
def test_a_tag_with_other_content_is_a_conflict(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0')
    folder.write('config.json', '{"changed": true}')
    hub.forget()
    done = push(mirror, folder, '--tag', 'v1.0.0', code=6)
    assert 'v1.0.0 is already at' in done.err and '--bump' in done.err
    assert written(hub) == []


@pytest.mark.heavy
def test_a_release_named_by_the_time(mirror, folder, hub):
    version = push(mirror, folder, '--timestamp')['version']
    assert re.fullmatch(r'v\d{8}-\d{6}', version) and mirror.tags() == [version]


@pytest.mark.heavy
def test_the_releases_of_an_experiment_are_numbered(mirror, folder, hub):
    for number in (1, 2):
        folder.write('config.json', json.dumps({'run': number}))
        assert push(mirror, folder, '--experiment', 'Base line')['version'] == f'exp-base-line-00{number}'


@pytest.mark.heavy
def test_a_commit_without_a_tag(mirror, folder, hub):
    done = push(mirror, folder, '--no-tag')
    assert done['version'] is None and mirror.tags() == []
    assert mirror.git('rev-parse', 'main') == done['commit']


@pytest.mark.heavy
def test_a_folder_goes_to_a_path_of_the_repository(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0', '--path-in-repo', 'runs/a')
    push(mirror, folder, '--tag', 'v1.1.0', '--path-in-repo', 'runs/b')
    assert {'runs/a/model.bin', 'runs/b/model.bin', 'README.md'} <= mirror.files().keys()
    assert len(mirror.objects()) == 1


@pytest.mark.heavy
def test_keep_leaves_what_the_folder_does_not_have(mirror, folder, hub, api):
    push(mirror, folder, '--tag', 'v1.0.0')
    api.upload_file(path_or_fileobj=b'theirs\n', path_in_repo='theirs.txt', repo_id=mirror.repo)
    folder.remove('notes/training.txt')
    push(mirror, folder, '--tag', 'v1.1.0', '--keep')
    assert {'theirs.txt', 'notes/training.txt'} <= mirror.files().keys()
    push(mirror, folder, '--tag', 'v1.2.0')
    assert not {'theirs.txt', 'notes/training.txt'} & mirror.files().keys()


@pytest.mark.heavy
def test_another_branch(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0')
    folder.write('config.json', '{}')
    done = push(mirror, folder, '--tag', 'v2.0.0', '--branch', 'dev')
    assert mirror.git('rev-parse', 'dev') == done['commit'] != mirror.git('rev-parse', 'main')


def test_a_dry_run_makes_nothing(mirror, folder, hub):
    done = push(mirror, folder, '--tag', 'v1.0.0', '--dry-run')
    assert (done['status'], done['version']) == ('dry-run', 'v1.0.0')
    assert written(hub) == []
    assert info(hub, mirror.repo).status == 404


# -- others who work with the repository


@pytest.mark.heavy
def test_somebody_commits_while_we_push(mirror, folder, hub, api):
    push(mirror, folder, '--tag', 'v1.0.0')
    folder.write('config.json', '{"hidden_size": 2}')
    theirs = {'path_or_fileobj': b'MIT\n', 'path_in_repo': 'docs/LICENSE', 'repo_id': mirror.repo}
    hub.when('POST /git-receive-pack', lambda: api.upload_file(**theirs))
    done = push(mirror, folder, '--bump', 'minor', '--keep')
    assert mirror.files()['docs/LICENSE'] == b'MIT\n'
    assert b'hidden_size' in mirror.files()['config.json']
    assert mirror.git('rev-list', '--count', f'v1.0.0..{done["version"]}') == '2'
    mirror.assert_whole()


@pytest.mark.heavy
def test_a_repository_that_somebody_creates_while_we_do(mirror, folder, hub, api):
    hub.when('POST /api/repos/create', lambda: api.create_repo(mirror.repo))
    push(mirror, folder, '--tag', 'v1.0.0')
    assert mirror.git('rev-list', '--count', 'main') == '2'


@pytest.mark.heavy
def test_words_that_were_edited_on_the_hub_stay(mirror, folder, hub, api):
    push(mirror, folder, '--tag', 'v1.0.0')
    text = mirror.files()['README.md'].decode()
    edited = text.replace('\n---\n', '\nlicense: mit\n---\n\n# Words from the browser\n', 1)
    card = {'path_or_fileobj': io.BytesIO(edited.encode()), 'path_in_repo': 'README.md'}
    api.upload_file(**card, repo_id=mirror.repo)
    folder.write('eval_results.json', '{"eval_accuracy": 0.97}\n')
    push(mirror, folder, '--bump', 'minor')
    card = mirror.files()['README.md'].decode()
    assert '# Words from the browser' in card and 'license: mit' in card and '0.97' in card


# -- who and where


@pytest.mark.heavy
@pytest.mark.parametrize('place', ['working directory', 'project'])
def test_token_and_endpoint_come_from_the_projects_dot_env(mirror, folder, hub, tmp_path, monkeypatch, place):
    monkeypatch.delenv('HF_TOKEN')
    monkeypatch.delenv('HF_ENDPOINT')
    (tmp_path / '.env').write_text(f'HF_TOKEN={hub.token}\nHF_ENDPOINT={hub.endpoint}\n')
    (tmp_path / 'elsewhere').mkdir()
    cwd = tmp_path if place == 'working directory' else tmp_path / 'elsewhere'
    done = push(mirror, folder, '--tag', 'v1.0.0', cwd=cwd)
    assert done['url'] == f'{hub.endpoint}/{mirror.repo}'


def test_the_token_of_the_person_does_not_go_to_the_hub_of_somebodys_dot_env(
    mirror, folder, hub, tmp_path, monkeypatch
):
    monkeypatch.delenv('HF_ENDPOINT')
    with canned((404, {}, b'')) as thief:
        (tmp_path / '.env').write_text(f'HF_ENDPOINT={thief.endpoint}\n')
        for command in (
            ['whoami'],
            ['push', folder, '--repo', mirror.repo],
            ['pull', 'v1', '--to', 'got', '--repo', mirror.repo],
        ):
            done = mirror.run(*command, code=4)
            assert '.env names the Hub' in done.err and 'HF_ENDPOINT in the environment' in done.err
        with pytest.raises(OSError, match=r'\.env names the Hub'):
            Repository('clone', clone_from=mirror.repo)
    assert thief.requests == []


@pytest.mark.heavy
def test_the_token_comes_from_standard_input(mirror, folder, hub, monkeypatch):
    monkeypatch.delenv('HF_TOKEN')
    command = ['push', str(folder), '--remote', 'hub', '--repo', mirror.repo, '--token', '-']
    done = subprocess.run(
        [sys.executable, '-m', 'hfmirror', *command],
        input=f'{hub.token}\nmore\n',
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0 and 'pushed and proven' in done.stdout, done.stderr
    assert 'warning' not in done.stderr


@pytest.mark.heavy
def test_with_a_token_the_hub_is_the_remote(mirror, folder, hub):
    done = mirror.run('push', folder, '--repo', mirror.repo, '--json', code=0)
    assert done.json[0]['target'] == f'{mirror.repo} on hub'


def named(mirror, folder, name, *args, **kwargs):
    """Push the folder under its own name, which becomes the repository's; returns what came of it."""
    place = Path(folder.path).with_name(name)
    shutil.move(folder.path, place)
    folder.path = place
    return mirror.run('push', place, '--remote', 'hub', '--json', *args, **kwargs)


@pytest.mark.heavy
def test_who_we_are_is_asked_once(mirror, folder, hub):
    (done,) = named(mirror, folder, 'asked-once', code=0).json
    assert done['url'] == f'{hub.endpoint}/local/asked-once'
    before = len(hub.requests('GET /api/whoami-v2'))
    mirror.run('push', folder, '--remote', 'hub', '--json', code=0)
    assert len(hub.requests('GET /api/whoami-v2')) == before
    kept = (mirror.home / 'cache' / 'names.json').read_text()
    assert hub.token not in kept and [row['name'] for row in json.loads(kept).values()] == ['local']


def test_the_variable_names_us(mirror, folder, hub):
    done = named(mirror, folder, 'mine', env={'HF_USERNAME': 'somebody'}, code=4)
    assert 'somebody/mine' in done.err


def test_a_name_that_cannot_be_asked_for_is_to_be_given(mirror, folder, hub):
    hub.fail('GET /api/whoami-v2', 503)
    done = named(mirror, folder, 'unnamed', code=7)
    assert '--repo' in done.err and 'HF_USERNAME' in done.err


@pytest.mark.heavy
def test_a_folders_name_becomes_one_that_the_hub_takes(mirror, folder, hub):
    done = named(mirror, folder, 'Tiny Model (v2).git', env={'HF_USERNAME': 'local'}, code=0)
    assert done.json[0]['url'] == f'{hub.endpoint}/local/Tiny-Model-v2'
    assert 'upper case' in done.err
    again = mirror.run('push', folder, '--remote', 'hub', env={'HF_USERNAME': 'local'}, code=0)
    assert 'upper case' not in again.err


@pytest.mark.parametrize(
    ('name', 'says', 'meant'),
    [
        ('my-model', 'namespace is missing', 'ada/my-model'),
        ('me/my model', 'blanks', 'me/my-model'),
        ('me/my--model', "'--'", 'me/my-model'),
        ('me/my..model', "'..'", 'me/my.model'),
        ('me/my-model.git', "'.git'", 'me/my-model'),
        ('me/' + 'x' * 97, '96', 'me/' + 'x' * 80),
    ],
)
def test_a_name_is_checked_before_any_network(mirror, folder, hub, name, says, meant):
    done = push(mirror, folder, '--repo', name, code=2, env={'HF_USERNAME': 'ada'})
    assert says in done.err and f'Try --repo {meant}.' in done.err
    assert hub.requests() == []


# -- the card


def test_a_card_that_the_hub_would_refuse_stops_before_anything(mirror, folder, hub):
    folder.write('README.md', '---\ntags: 5\n---\n# Mine\n')
    done = push(mirror, folder, code=8)
    assert 'tags' in done.err and 'README.md' in done.err
    assert written(hub) == [] and hub.requests('POST /api/validate-yaml') == []
    assert info(hub, mirror.repo).status == 404


@pytest.mark.parametrize('status', [200, 400])
def test_a_card_that_the_hub_itself_refuses_stops_before_anything(mirror, folder, hub, status):
    body = json.dumps({'errors': [{'message': '"license" is not one of ours'}], 'warnings': []}).encode()
    hub.fail('POST /api/validate-yaml', status, body=body, content_type='application/json')
    done = push(mirror, folder, code=8)
    assert '"license" is not one of ours' in done.err
    assert written(hub) == []
    assert mirror.run('status', '--json').json == []


@pytest.mark.heavy
def test_what_the_hub_only_warns_of_stops_nothing(mirror, folder, hub):
    body = json.dumps({'errors': [], 'warnings': [{'message': 'empty or missing yaml metadata'}]}).encode()
    hub.fail('POST /api/validate-yaml', 200, times=2, body=body, content_type='application/json')
    push(mirror, folder, '--tag', 'v1.0.0')


@pytest.mark.heavy
def test_a_card_that_cannot_be_asked_about_stops_nothing(mirror, folder, hub):
    hub.cut('POST /api/validate-yaml', times=9)
    assert push(mirror, folder, '--tag', 'v1.0.0')['status'] == 'pushed'


# -- what is left behind


@pytest.mark.heavy
def test_the_clone_that_a_release_was_made_in_knows_no_token(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0', '-v')
    for path in mirror.home.rglob('*'):
        if path.is_file():
            assert hub.token.encode() not in path.read_bytes(), path


@pytest.mark.heavy
def test_nothing_waits_after_a_push(mirror, folder, hub):
    push(mirror, folder, '--tag', 'v1.0.0')
    assert [path for path in (mirror.home / 'outbox').rglob('*') if path.is_file()] == []
    (work,) = (mirror.home / 'clones').glob('*/work')
    assert git('status', '--porcelain', cwd=work) == ''
    assert os.listdir(folder.path)


@pytest.mark.heavy
def test_a_repository_that_somebody_creates_while_it_is_asked_for_is_there(hub, mirror, folder, api):
    hub.fail(f'GET /{mirror.repo}/info/refs', 404)
    hub.when(f'GET /{mirror.repo}/info/refs', lambda: api.create_repo(mirror.repo))
    push = mirror.run('push', folder, '--remote', 'hub', '--repo', mirror.repo)
    assert push.code == 0, push.err
