"""What goes wrong at odd times or is called oddly: odd names, two people at once, a server that was away, a client that died."""

import json
import os
import subprocess
import threading
import typing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from huggingface_hub import hf_api

from hfmirror.server import running_hub, tokens
from tests.support.clients import STOCK, Client, environment, run_hf
from tests.support.folder import checksums
from tests.support.mirror import clone_with_lfs, git

REPO = 'local/tiny'
MB = 1_000_000
NAMES = [
    'a b.txt',
    'ü/ñ 漢字.txt',
    'e\u0301.txt',
    '50%.txt',
    'a%2Fb.txt',
    'q?x=1.txt',
    'h#1.txt',
    'p+q&r.txt',
    "it's.txt",
    '"quoted".txt',
    'semi;colon,comma.txt',
    '[br]{ace}.txt',
    'star*.bin',
    'sp ace/é.bin',
    'back\\slash.txt',
    'tab\tname.txt',
    '-dash.txt',
    '--upload-pack=x',
    ':colon',
    '@{1}',
    'dot./x',
    f'{"a" * 200}.txt',
]


@pytest.fixture(scope='module')
def hub(shared_hub):
    return shared_hub


@pytest.fixture(scope='module')
def odd(client):
    """A repository for files with odd names."""
    client.api.create_repo('local/odd')
    return 'local/odd'


@pytest.fixture
def weights(tmp_path):
    """A folder with weights that do not compress."""
    path = tmp_path / 'weights'
    path.mkdir()
    (path / 'model.safetensors').write_bytes(os.urandom(12 * MB))
    (path / 'config.json').write_text('{}\n')
    return path


def content(home, hub, path='model.safetensors'):
    return Path(run_hf(hub, home, 'download', REPO, path, '--quiet').strip()).read_bytes()


@pytest.mark.parametrize('name', NAMES)
def test_file_with_an_odd_name_comes_and_goes(client, odd, name):
    client.api.upload_file(path_or_fileobj=b'inside', path_in_repo=name, repo_id=odd)
    assert name in client.api.list_repo_files(odd)
    assert [info.path for info in client.api.get_paths_info(odd, [name])] == [name]
    assert Path(client.api.hf_hub_download(odd, name)).read_bytes() == b'inside'
    client.api.delete_file(name, odd)
    assert not client.api.file_exists(odd, name)


def test_large_text_is_an_lfs_object_without_a_pattern_for_it(hub, client, tmp_path):
    client.api.create_repo('local/text')
    text = b'a line\n' * 2 * MB
    client.api.upload_file(path_or_fileobj=text, path_in_repo='my text.txt', repo_id='local/text')
    (info,) = client.api.get_paths_info('local/text', ['my text.txt'])
    assert info.lfs.size == len(text)
    clone = clone_with_lfs(hub.root / 'models/local/text.git', tmp_path / 'clone')
    assert (clone / 'my text.txt').read_bytes() == text
    assert git('status', '--porcelain', cwd=clone) == ''
    assert git('check-attr', 'filter', 'my text.txt', cwd=clone).endswith(': lfs')


def test_ignored_files_stay_away(client):
    client.api.create_repo('local/ignoring')
    for name, text in (('.gitignore', b'*.log\n'), ('a.log', b'log'), ('a.txt', b'text')):
        client.api.upload_file(path_or_fileobj=text, path_in_repo=name, repo_id='local/ignoring')
    assert client.api.list_repo_files('local/ignoring') == ['.gitattributes', '.gitignore', 'a.txt']


@pytest.mark.parametrize('kind', ['model', 'dataset', 'space'])
def test_all_that_may_be_asked_of_a_repository_is_answered(client, kind):
    name = f'local/asked-{kind}'
    client.api.create_repo(name, repo_type=kind, space_sdk='static' if kind == 'space' else None)
    asked = list(typing.get_args(getattr(hf_api, f'Expand{kind.capitalize()}Property_T')))
    assert asked
    assert client.api.repo_info(name, repo_type=kind, expand=asked).id == name


def test_space_is_a_repository_with_an_sdk(client):
    client.api.create_repo('local/space', repo_type='space', space_sdk='static')
    client.api.upload_file(
        path_or_fileobj=b'<h1>hi</h1>', path_in_repo='index.html', repo_id='local/space', repo_type='space'
    )
    assert client.api.space_info('local/space').sdk == 'static'
    assert 'index.html' in client.api.list_repo_files('local/space', repo_type='space')


def test_discussion_is_held(client):
    client.api.create_repo('local/talk')
    client.api.create_discussion('local/talk', 'A question', description='Why?')
    comment = client.api.comment_discussion('local/talk', 1, 'Becuase.')
    client.api.edit_discussion_comment('local/talk', 1, comment.id, 'Because.')
    client.api.rename_discussion('local/talk', 1, 'An answer')
    client.api.change_discussion_status('local/talk', 1, 'closed')
    (listed,) = client.api.get_repo_discussions('local/talk')
    assert (listed.num, listed.title, listed.status) == (1, 'An answer', 'closed')
    comments = [
        e.content for e in client.api.get_discussion_details('local/talk', 1).events if e.type == 'comment'
    ]
    assert comments == ['Why?', 'Because.']


def test_duplicate_has_the_same_files(client):
    client.api.create_repo('local/original')
    client.api.upload_file(path_or_fileobj=bytes(MB), path_in_repo='model.bin', repo_id='local/original')
    client.api.duplicate_repo('local/original', 'local/duplicate')
    client.api.delete_repo('local/original')
    assert Path(client.api.hf_hub_download('local/duplicate', 'model.bin')).read_bytes() == bytes(MB)


@pytest.mark.heavy
def test_two_people_commit_at_once_and_nothing_is_lost(hub, client, tmp_path):
    client.api.create_repo('local/both')
    with Client(hub, tmp_path / 'bob') as other:
        failures = []

        def upload(api, who):
            try:
                for i in range(8):
                    path = f'{who}{i}.bin'
                    api.upload_file(
                        path_or_fileobj=path.encode() * 99, path_in_repo=path, repo_id='local/both'
                    )
            except Exception as e:
                failures.append(e)

        threads = [
            threading.Thread(target=upload, args=pair) for pair in ((client.api, 'a'), (other.api, 'b'))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(client.api.list_repo_files('local/both')) == 1 + 16
    assert len(client.api.list_repo_commits('local/both')) == 1 + 16


@pytest.mark.heavy
def test_client_goes_on_after_the_server_was_away(tmp_path, weights):
    home, root = tmp_path / 'ada', tmp_path / 'root'
    with running_hub(root) as hub:
        run_hf(hub, home, 'upload', REPO, weights, '.')
    with (weights / 'model.safetensors').open('r+b') as file:
        file.write(os.urandom(1000))
    with running_hub(root, port=urlsplit(hub.endpoint).port) as hub:
        run_hf(hub, home, 'upload', REPO, weights, '.')
        assert content(tmp_path / 'bob', hub) == (weights / 'model.safetensors').read_bytes()


@pytest.mark.heavy
def test_client_goes_on_with_another_server_at_the_same_address(tmp_path, weights):
    home = tmp_path / 'ada'
    with running_hub(tmp_path / 'one') as hub:
        run_hf(hub, home, 'upload', REPO, weights, '.')
    with running_hub(tmp_path / 'two', port=urlsplit(hub.endpoint).port) as hub:
        run_hf(hub, home, 'upload', REPO, weights, '.')
        assert content(tmp_path / 'bob', hub) == (weights / 'model.safetensors').read_bytes()


@pytest.mark.heavy
def test_client_goes_on_with_a_repository_made_anew(tmp_path, weights):
    with running_hub(tmp_path / 'root') as hub:
        for _ in range(2):
            run_hf(hub, tmp_path / 'ada', 'upload', REPO, weights, '.')
            assert content(tmp_path / 'ada', hub) == (weights / 'model.safetensors').read_bytes()
            run_hf(hub, tmp_path / 'ada', 'repos', 'delete', REPO, '--yes')


@pytest.mark.heavy
@pytest.mark.parametrize('disabled', ['', '1'], ids=['xet', 'lfs'])
def test_upload_is_finished_after_the_client_was_killed(tmp_path, weights, disabled):
    (weights / 'more.bin').write_bytes(os.urandom(60 * MB))
    home = tmp_path / 'ada'
    with running_hub(tmp_path / 'root') as hub:
        for after_s in (0.6, 0.8, 1.0):
            killed_upload(hub, home, weights, after_s, disabled)
        run_hf(hub, home, 'upload', REPO, weights, '.', HF_HUB_DISABLE_XET=disabled)
        run_hf(hub, home, 'download', REPO, '--local-dir', tmp_path / 'got')
        got, expected = checksums(tmp_path / 'got'), checksums(weights)
        assert {name: got.get(name) for name in expected} == expected
        git('fsck', '--full', '--strict', cwd=hub.root / 'models' / f'{REPO}.git')


def killed_upload(hub, home, folder, after_s, disabled):
    home.mkdir(exist_ok=True)
    upload = subprocess.Popen(
        [str(STOCK.parent / 'hf'), 'upload', REPO, str(folder), '.'],
        env=environment(hub, home, HF_HUB_DISABLE_XET=disabled),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        upload.wait(after_s)
    except subprocess.TimeoutExpired:
        upload.kill()
        upload.wait()


def test_token_that_was_taken_back_is_refused(hub, client, tmp_path):
    client.api.create_repo('local/public')
    new = tokens.parse('eve:write')
    hub.hub.tokens.add(new)
    with Client(hub, tmp_path / 'eve', token=new.token) as eve:
        assert eve.api.whoami()['name'] == 'eve'
        forget(hub, new.user)
        with pytest.raises(OSError, match='401'):
            eve.api.model_info('local/public')


def forget(hub, user):
    """Take a user's tokens out of tokens.json, as a person does with an editor."""
    path = hub.root / 'tokens.json'
    known = json.loads(path.read_text())
    known['tokens'] = [entry for entry in known['tokens'] if entry['user'] != user]
    path.with_suffix('.new').write_text(json.dumps(known))
    os.replace(path.with_suffix('.new'), path)
