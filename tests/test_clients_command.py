"""The command ``hf`` against the embedded Hub, and the ways in which its uploads come."""

import json
import os
from pathlib import Path

import pytest

from hfmirror.server import running_hub
from tests.support.clients import NO_XET, STOCK, run_hf, run_python
from tests.support.folder import checksums
from tests.support.mirror import clone_with_lfs, git

REPO = 'local/tiny'
MB = 1_000_000


@pytest.fixture
def person(tmp_path):
    """The home of a person who has never used the command."""
    return tmp_path / 'ada'


@pytest.fixture
def hf(hub, person):
    """Run ``hf`` on the Hub; with ``--json`` the answer is what it printed."""

    def run(*args, **kwargs):
        printed = run_hf(hub, person, *args, **kwargs)
        return json.loads(printed) if '--json' in args else printed

    return run


# The first has no variable of the client's but HF_ENDPOINT, HF_TOKEN and HF_HOME.
WAYS = {
    'stock': (STOCK, {}),
    'xet-disabled': (STOCK, {'HF_HUB_DISABLE_XET': '1'}),
    'xet-not-installed': (NO_XET, {}),
}


@pytest.fixture(params=['stock', 'xet-disabled', pytest.param('xet-not-installed', marks=pytest.mark.heavy)])
def way(request):
    """The Python and the environment of a way to upload."""
    python, more = WAYS[request.param]
    if not python.exists():
        pytest.fail(f'{python} is not there; run scripts/setup clients')
    return {'python': python, **more}


@pytest.fixture
def weights(tmp_path):
    """A folder with weights of several megabytes and the small files around them."""
    path = tmp_path / 'tiny'
    (path / 'onnx').mkdir(parents=True)
    (path / 'config.json').write_text('{"model_type": "bert"}\n')
    (path / 'README.md').write_text('---\nlicense: mit\n---\n# Tiny\n')
    (path / 'model.safetensors').write_bytes(os.urandom(5 * MB))
    (path / 'onnx' / 'model.onnx').write_bytes(bytes(range(256)) * 9000)
    (path / 'empty.bin').write_bytes(b'')
    return path


def repository(hub, kind='models', repo=REPO):
    return hub.root / kind / f'{repo}.git'


@pytest.mark.heavy
def test_uploaded_folder_comes_back(hub, hf, way, weights, tmp_path):
    hf('upload', REPO, weights, '.', **way)
    hf('download', REPO, '--local-dir', tmp_path / 'got', **way)
    got = {name: sha for name, sha in checksums(tmp_path / 'got').items() if not name.startswith('.')}
    assert got == checksums(weights)


def test_only_a_stock_client_uses_xet(hub, hf, way, weights):
    hf('upload', REPO, weights, '.', **way)
    assert (repository(hub) / 'xet').is_dir() == (way == {'python': STOCK})


@pytest.mark.heavy
def test_uploaded_folder_is_whole_for_git_and_git_lfs(hub, hf, way, weights, tmp_path):
    hf('upload', REPO, weights, '.', **way)
    git('fsck', '--full', '--strict', cwd=repository(hub))
    clone = clone_with_lfs(repository(hub), tmp_path / 'clone')
    expected = checksums(weights)
    assert {name: sha for name, sha in checksums(clone).items() if name in expected} == expected


@pytest.mark.heavy
def test_uploaded_file_comes_back(hub, hf, way, weights, tmp_path):
    hf('upload', REPO, weights / 'model.safetensors', **way)
    path = hf('download', REPO, 'model.safetensors', '--quiet', **way).strip()
    assert Path(path).read_bytes() == (weights / 'model.safetensors').read_bytes()


@pytest.mark.heavy
def test_second_version_comes_back(hub, hf, way, weights, tmp_path):
    hf('upload', REPO, weights, '.', **way)
    hf('repos', 'tag', 'create', REPO, 'v1.0.0', **way)
    with (weights / 'model.safetensors').open('r+b') as file:
        file.seek(2 * MB)
        file.write(os.urandom(100_000))
    hf('upload', REPO, weights, '.', **way)
    hf('download', REPO, '--local-dir', tmp_path / 'got', **way)
    assert (tmp_path / 'got/model.safetensors').read_bytes() == (weights / 'model.safetensors').read_bytes()


@pytest.mark.heavy
def test_same_folder_again_makes_no_commit(hub, hf, way, weights):
    hf('upload', REPO, weights, '.', **way)
    before = git('rev-parse', 'main', cwd=repository(hub))
    hf('upload', REPO, weights, '.', **way)
    assert git('rev-parse', 'main', cwd=repository(hub)) == before


def test_upload_from_memory_comes_back(hub, person, way):
    printed = run_python(
        hub,
        person,
        """
        import io, os
        from huggingface_hub import HfApi, hf_hub_download
        content = os.urandom(2_000_000)
        api = HfApi()
        api.create_repo('local/tiny')
        api.upload_file(path_or_fileobj=content, path_in_repo='bytes.bin', repo_id='local/tiny')
        api.upload_file(path_or_fileobj=io.BytesIO(content), path_in_repo='file.bin', repo_id='local/tiny')
        print([open(hf_hub_download('local/tiny', name), 'rb').read() == content for name in ('bytes.bin', 'file.bin')])
        """,
        **way,
    )
    assert printed.split() == ['[True,', 'True]']


@pytest.mark.heavy
def test_folder_of_many_files_comes_back(hub, hf, way, tmp_path):
    folder = tmp_path / 'many'
    folder.mkdir()
    for i in range(300):
        (folder / f'{i:03}.txt').write_text(f'{i}\n')
        (folder / f'{i:03}.npy').write_bytes(b'\0' + str(i).encode() * 50)
    hf('upload', REPO, folder, '.', **way)
    hf('download', REPO, '--local-dir', tmp_path / 'got', **way)
    got = {name: sha for name, sha in checksums(tmp_path / 'got').items() if not name.startswith('.')}
    assert got == checksums(folder)


@pytest.mark.heavy
def test_large_file_goes_in_parts(tmp_path, person, weights):
    with running_hub(tmp_path / 'parts', multipart_from=2 * MB, part_size=400_000) as hub:
        run_hf(hub, person, 'upload', REPO, weights, '.', HF_HUB_DISABLE_XET='1')
        run_hf(hub, person, 'download', REPO, '--local-dir', tmp_path / 'got')
    assert (tmp_path / 'got/model.safetensors').read_bytes() == (weights / 'model.safetensors').read_bytes()


@pytest.mark.heavy
def test_git_lfs_sends_a_large_file_in_parts_with_the_agent_of_hf(tmp_path, person, monkeypatch):
    content = os.urandom(5 * MB)
    with running_hub(tmp_path / 'parts', multipart_from=2 * MB, part_size=400_000) as hub:
        run_hf(hub, person, 'repos', 'create', REPO)
        git('lfs', 'install', '--skip-repo')
        git(
            'config', '--global', 'credential.helper', f'!printf "username=local\\npassword={hub.token}\\n";:'
        )
        clone = tmp_path / 'clone'
        git('clone', '-q', f'{hub.endpoint}/{REPO}', clone)
        run_hf(hub, person, 'lfs-enable-largefiles', clone, HOME=os.environ['HOME'])
        (clone / 'model.bin').write_bytes(content)
        git('add', '-A', cwd=clone)
        git('commit', '-q', '-m', 'weights', cwd=clone)
        monkeypatch.setenv('GIT_TRACE', str(tmp_path / 'trace'))
        git('push', '-q', 'origin', 'main', cwd=clone)
        assert 'hf lfs-multipart-upload' in (tmp_path / 'trace').read_text()
        path = run_hf(hub, person, 'download', REPO, 'model.bin', '--quiet').strip()
        assert Path(path).read_bytes() == content


def test_whoami(hub, hf):
    assert hf('auth', 'whoami', '--json') == {'user': 'local', 'orgs': None, 'endpoint': hub.endpoint}


@pytest.mark.heavy
def test_login_keeps_the_token(hub, hf):
    hf('auth', 'login', '--token', hub.token, token='')
    assert 'local' in hf('auth', 'whoami', token='')


def test_login_with_a_wrong_token_fails(hf):
    assert 'nvalid' in hf('auth', 'login', '--token', 'hf_nobodysnobodys', token='', code=1)


@pytest.mark.heavy
@pytest.mark.parametrize('kind', ['model', 'dataset', 'space'])
def test_repository_is_created_and_deleted(hub, hf, kind):
    sdk = ('--sdk', 'static') if kind == 'space' else ()
    hf('repos', 'create', REPO, '--type', kind, *sdk)
    assert repository(hub, f'{kind}s').is_dir()
    hf('repos', 'delete', REPO, '--type', kind, '--yes')
    assert not repository(hub, f'{kind}s').exists()


@pytest.mark.heavy
def test_private_repository_is_made_public(hub, hf):
    hf('repos', 'create', REPO, '--private')
    assert hf('models', 'info', REPO, '--json')['private'] is True
    hf('repos', 'settings', REPO, '--public')
    assert hf('models', 'info', REPO, '--json')['private'] is False


@pytest.mark.heavy
def test_repository_is_moved(hub, hf):
    hf('repos', 'create', REPO)
    hf('repos', 'move', REPO, 'local/other')
    assert repository(hub, repo='local/other').is_dir()
    assert hf('models', 'info', REPO, '--json')['id'] == 'local/other'


@pytest.mark.heavy
def test_tags_are_made_listed_and_deleted(hub, hf):
    hf('repos', 'create', REPO)
    hf('repos', 'tag', 'create', REPO, 'v1.0.0', '-m', 'First release')
    assert [tag['name'] for tag in hf('repos', 'tag', 'list', REPO, '--json')] == ['v1.0.0']
    assert git('tag', '-n', cwd=repository(hub)).split(maxsplit=1) == ['v1.0.0', 'First release']
    hf('repos', 'tag', 'delete', REPO, 'v1.0.0', '--yes')
    assert git('tag', cwd=repository(hub)) == ''


@pytest.mark.heavy
def test_branches_are_made_and_deleted(hub, hf):
    hf('repos', 'create', REPO)
    hf('repos', 'branch', 'create', REPO, 'dev')
    assert git('branch', '--format=%(refname:short)', cwd=repository(hub)).split() == ['dev', 'main']
    hf('repos', 'branch', 'delete', REPO, 'dev')
    assert git('branch', '--format=%(refname:short)', cwd=repository(hub)).split() == ['main']


def test_files_are_deleted_by_pattern(hub, hf, weights):
    hf('upload', REPO, weights, '.')
    hf('repos', 'delete-files', REPO, '*.onnx', 'empty.bin')
    left = git('ls-tree', '-r', '--name-only', 'main', cwd=repository(hub)).split()
    assert left == ['.gitattributes', 'README.md', 'config.json', 'model.safetensors']


def test_upload_to_a_new_branch_makes_it(hub, hf, weights):
    hf('upload', REPO, weights / 'config.json', '--revision', 'dev')
    assert 'config.json' in git('ls-tree', '--name-only', 'dev', cwd=repository(hub))
    assert 'config.json' not in git('ls-tree', '--name-only', 'main', cwd=repository(hub))


@pytest.mark.heavy
def test_download_at_a_tag(hub, hf, weights, tmp_path):
    hf('upload', REPO, weights / 'config.json')
    hf('repos', 'tag', 'create', REPO, 'v1.0.0')
    hf('repos', 'delete-files', REPO, 'config.json')
    hf('download', REPO, '--revision', 'v1.0.0', '--local-dir', tmp_path / 'got')
    assert (tmp_path / 'got/config.json').read_bytes() == (weights / 'config.json').read_bytes()


@pytest.mark.heavy
def test_pull_request_is_opened_listed_and_merged(hub, hf, weights):
    hf('repos', 'create', REPO)
    hf('upload', REPO, weights, '.', '--create-pr', '--commit-message', 'weights')
    (pull,) = hf('discussions', 'list', REPO, '--status', 'draft', '--json')
    assert (pull['num'], pull['title'], pull['author']) == (1, 'weights', 'local')
    hf('discussions', 'reopen', REPO, 1, '--yes')
    hf('discussions', 'merge', REPO, 1, '--yes')
    assert 'model.safetensors' in git('ls-tree', '--name-only', 'main', cwd=repository(hub))


@pytest.mark.heavy
def test_datasets_go_to_their_own_place(hub, hf, tmp_path):
    (tmp_path / 'data.csv').write_text('a,b\n1,2\n')
    hf('upload', REPO, tmp_path / 'data.csv', '--type', 'dataset')
    assert 'data.csv' in git('ls-tree', '--name-only', 'main', cwd=repository(hub, 'datasets'))
    assert [info['id'] for info in hf('datasets', 'ls', '--json')] == [REPO]
    assert hf('models', 'ls', '--json') == []


def test_models_are_listed_by_author_and_word(hub, hf):
    for name in ('local/bert-tiny', 'local/gpt-tiny'):
        hf('repos', 'create', name)
    assert [info['id'] for info in hf('models', 'ls', '--author', 'local', '--search', 'gpt', '--json')] == [
        'local/gpt-tiny'
    ]


def test_own_repositories_are_listed(hub, hf):
    hf('repos', 'create', REPO, '--private')
    (listed,) = hf('repos', 'ls', '--json')
    assert (listed['id'], listed['type'], listed['visibility']) == (REPO, 'model', 'private')


@pytest.mark.heavy
def test_card_is_shown(hub, hf, weights):
    hf('upload', REPO, weights / 'README.md')
    assert hf('models', 'card', REPO, '--metadata', '--json') == {'license': 'mit'}


def test_file_is_copied_out_of_a_repository(hub, hf, weights, tmp_path):
    hf('upload', REPO, weights / 'config.json')
    hf('cp', f'hf://{REPO}/config.json', tmp_path / 'copy.json')
    assert (tmp_path / 'copy.json').read_bytes() == (weights / 'config.json').read_bytes()


def test_unknown_repository_is_an_error(hf):
    assert 'not found' in hf('models', 'info', 'local/nowhere', code=1)


def test_nobody_may_upload(hub, hf, weights):
    hf('repos', 'create', REPO)
    hf('upload', REPO, weights / 'config.json', token='', code=1)
    assert 'config.json' not in git('ls-tree', '--name-only', 'main', cwd=repository(hub))
