"""pull --to-cache: what huggingface_hub would have put there, found by it without a network, and never anything wrong."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.support.clients import environment, run_hf, run_python
from tests.support.folder import checksums
from tests.support.githost import GitHost
from tests.support.mirror import git
from tests.test_pull import commit_tree

REPO = 'local/x'
NOWHERE = SimpleNamespace(endpoint='http://127.0.0.1:9', token='hf_none')
OFFLINE = {'HF_HUB_OFFLINE': '1'}
FETCH = """
import sys
from huggingface_hub import snapshot_download
for revision in sys.argv[2:]:
    print(snapshot_download('local/x', repo_type=sys.argv[1], revision=revision))
"""


@pytest.fixture
def released(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO)
    return folder


@pytest.fixture
def person(tmp_path):
    """The home of somebody whose cache is empty."""
    return tmp_path / 'person'


def hub_cache(home):
    return home / 'hf' / 'hub'


def home_of(home, kind='model'):
    return hub_cache(home) / f'{kind}s--local--x'


def pull(mirror, home, *args, code=0, where=('--remote', 'local', '--repo', REPO), **more):
    env = {'HF_HOME': str(home / 'hf'), **more}
    done = mirror.run('pull', *args, '--to-cache', *where, '--json', code=code, env=env)
    return done.json if code == 0 else done


def offline(home, program, *args, **more):
    """Run a program of somebody without a network: the library is told so, and the Hub's address leads nowhere."""
    return run_python(NOWHERE, home, program, *args, **OFFLINE, **more).strip()


def layout(root):
    """Return {name: what it is} of all below ``root``: a file's mode and bytes, a link's target."""
    found = {}
    for path in root.rglob('*'):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file():
            mode = (
                path.stat().st_mode if path.suffix != '.json' else None
            )  # the library's listing is its user's alone
            found[name] = (mode, path.read_bytes() if name != 'CACHEDIR.TAG' else path.read_bytes()[:43])
        else:
            found[name] = path.stat().st_mode
    return found


def scan(home):
    """Return what the library says of a cache: repositories, warnings and files that are half there."""
    program = """
    import json
    from huggingface_hub import scan_cache_dir
    found = scan_cache_dir()
    repos = {repo.repo_id: [sorted(repo.refs), repo.nb_files, len(repo.revisions)] for repo in found.repos}
    print(json.dumps([repos, [str(w) for w in found.warnings], [f.file_path.name for f in found.incomplete_files]]))
    """
    return json.loads(offline(home, program))


def blob_of(home, path):
    return home_of(home) / 'blobs' / hashlib.sha256(path.read_bytes()).hexdigest()


# -- exactly what the library would have written


@pytest.mark.heavy
@pytest.mark.parametrize('kind', ['model', 'dataset', 'space'])
def test_the_layout_is_the_one_the_library_makes(hub, mirror, folder, tmp_path, kind):
    for name in ('a/b/ünï cöde 名.txt', '-dash.bin', '#hash!.txt', 'empty.txt'):
        folder.write(name, '' if name == 'empty.txt' else f'\0{name}')
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO, '--repo-type', kind)
    run_python(hub, tmp_path / 'theirs', FETCH, kind, 'v1.0.0', 'main')
    pull(mirror, tmp_path / 'ours', 'v1.0.0', '--repo-type', kind)
    assert layout(hub_cache(tmp_path / 'ours')) == layout(hub_cache(tmp_path / 'theirs'))


def test_the_layout_without_links_is_the_one_the_library_makes(hub, mirror, released, tmp_path):
    no_links = {'HF_HUB_DISABLE_SYMLINKS': '1'}
    run_python(hub, tmp_path / 'theirs', FETCH, 'model', 'v1.0.0', 'main', **no_links)
    pull(mirror, tmp_path / 'ours', 'v1.0.0', **no_links)
    found = layout(hub_cache(tmp_path / 'ours'))
    assert found == layout(hub_cache(tmp_path / 'theirs'))
    assert not any(path.is_symlink() for path in hub_cache(tmp_path / 'ours').rglob('*'))


@pytest.mark.heavy
def test_a_symbolic_link_of_the_version_is_the_file_that_a_hub_gives_out(hub, mirror, tmp_path):
    files = {b'link': b'../../../etc/passwd', b'fine.txt': b'x'}
    commit_tree(hub.root / 'models' / f'{REPO}.git', 'v1.0.0', files, links=[b'link'])
    run_python(hub, tmp_path / 'theirs', FETCH, 'model', 'v1.0.0', 'main')
    done = pull(mirror, tmp_path / 'ours', 'v1.0.0')
    assert layout(hub_cache(tmp_path / 'ours')) == layout(hub_cache(tmp_path / 'theirs'))
    assert (done['fetched'], done['kept']) == (2, 0)


@pytest.mark.parametrize(
    ('variables', 'where'),
    [
        ({}, 'home/.cache/huggingface/hub'),
        ({'XDG_CACHE_HOME': '{}/xdg'}, 'xdg/huggingface/hub'),
        ({'HF_HOME': '{}/hf'}, 'hf/hub'),
        ({'HF_HOME': '{}/hf', 'HF_HUB_CACHE': '{}/elsewhere'}, 'elsewhere'),
    ],
)
def test_the_cache_is_where_the_library_looks_for_it(mirror, released, tmp_path, variables, where):
    env = {name: value.format(tmp_path) for name, value in variables.items()}
    mirror.run('pull', '--to-cache', '--remote', 'local', '--repo', REPO, env=env, code=0)
    assert (tmp_path / where / 'models--local--x' / 'refs' / 'v1.0.0').is_file()


@pytest.mark.heavy
def test_a_version_behind_the_branch_leaves_main_where_it_is(mirror, released, person):
    released.write('config.json', '{"v": 2}')
    mirror.push(released, '--tag', 'v2.0.0', '--repo', REPO)
    pull(mirror, person, 'v1.0.0')
    assert os.listdir(home_of(person) / 'refs') == ['v1.0.0']
    newest = pull(mirror, person, 'v2.0.0')['commit']
    pull(mirror, person, 'v1.0.0')
    assert (home_of(person) / 'refs' / 'main').read_text() == newest


@pytest.mark.heavy
def test_two_versions_share_the_files_that_are_the_same(mirror, released, person):
    pull(mirror, person, 'v1.0.0')
    released.write('config.json', '{"v": 2}')
    mirror.push(released, '--tag', 'v2.0.0', '--repo', REPO)
    assert pull(mirror, person, 'v2.0.0')['fetched'] < 6
    assert scan(person)[0] == {REPO: [['main', 'v1.0.0', 'v2.0.0'], len(blobs(person)), 2]}


def blobs(home):
    return os.listdir(home_of(home) / 'blobs')


def test_a_tag_with_a_slash_is_a_ref_in_a_folder(mirror, released, person):
    git('tag', 'release/1', 'v1.0.0', cwd=mirror.home / 'hub' / 'models' / f'{REPO}.git')
    pull(mirror, person, 'release/1')
    assert scan(person)[:2] == [{REPO: [['main', 'release/1'], 6, 1]}, []]


def test_a_listing_that_the_library_wrote_stays(mirror, released, person):
    done = pull(mirror, person, 'v1.0.0')
    listing = home_of(person) / 'trees' / f'{done["commit"]}.json'
    listing.write_text('{"format_version": 1, "files": {}}')
    pull(mirror, person, 'v1.0.0')
    assert listing.read_text() == '{"format_version": 1, "files": {}}'


# -- found without a network


def test_files_and_snapshots_are_found_without_a_network(mirror, released, person):
    cache = pull(mirror, person, 'v1.0.0')['cache']
    program = """
    from huggingface_hub import hf_hub_download, snapshot_download
    print(snapshot_download('local/x', revision='v1.0.0', local_files_only=True))
    print(snapshot_download('local/x'))
    print(open(hf_hub_download('local/x', 'notes/training.txt', revision='v1.0.0')).read())
    """
    assert offline(person, program).splitlines() == [cache, cache, 'three epochs']


@pytest.mark.heavy
def test_the_hub_and_the_library_find_nothing_wrong(hub, mirror, released, person):
    pull(mirror, person, 'v1.0.0')
    assert 'local/x' in run_hf(hub, person, 'cache', 'ls')
    assert scan(person) == [{REPO: [['main', 'v1.0.0'], 6, 1]}, [], []]
    run_hf(
        hub, person, 'cache', 'verify', REPO, '--revision', 'v1.0.0',
        '--fail-on-missing-files', '--fail-on-extra-files',
    )  # fmt: skip


def test_with_a_network_nothing_is_downloaded_again(hub, mirror, released, person):
    cache = pull(mirror, person, 'v1.0.0')['cache']
    hub.forget()
    assert run_python(hub, person, FETCH, 'model', 'v1.0.0').strip() == cache
    assert hub.requests('GET /tree/') == [] and hub.requests('* /resolve/') == []


@pytest.mark.heavy
def test_a_part_is_found_and_is_not_taken_for_the_whole(mirror, released, person):
    pull(mirror, person, 'v1.0.0', '--path', 'notes')
    program = """
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import IncompleteSnapshotError
    print(open(hf_hub_download('local/x', 'notes/training.txt', revision='v1.0.0')).read())
    snapshot_download('local/x', revision='v1.0.0', allow_patterns='notes/*')
    try:
        snapshot_download('local/x', revision='v1.0.0')
    except IncompleteSnapshotError as e:
        print('incomplete')
    """
    assert offline(person, program).splitlines() == ['three epochs', '', 'incomplete']
    assert pull(mirror, person, 'v1.0.0')['kept'] == 1


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('kind', 'part', 'line'),
    [
        ('model', '', "AutoModel.from_pretrained('local/x', revision='v1.0.0')"),
        ('dataset', '', "snapshot_download('local/x', repo_type='dataset', revision='v1.0.0')"),
        ('model', 'notes', "snapshot_download('local/x', revision='v1.0.0', allow_patterns='notes/*')"),
        (
            'space',
            'model.bin',
            "hf_hub_download('local/x', 'model.bin', repo_type='space', revision='v1.0.0')",
        ),
    ],
)
def test_the_line_of_python_that_it_says_is_true(mirror, folder, person, kind, part, line):
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO, '--repo-type', kind)
    where = ['--remote', 'local', '--repo', REPO, '--repo-type', kind]
    env = {'HF_HOME': str(person / 'hf')}
    said = mirror.run('pull', 'v1.0.0', '--to-cache', '--path', part, *where, env=env, code=0).out
    assert said.count('\n') == 1 and said.endswith(f'use it with {line}\n')
    assert str(home_of(person, kind) / 'snapshots') in said
    if 'AutoModel' not in line:
        offline(person, f'from huggingface_hub import *\n{line}')


def test_a_model_that_is_not_for_transformers_is_used_as_files(mirror, folder, person):
    folder.write('config.json', '{"width": 3}')
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO)
    assert pull(mirror, person)['python'] == "snapshot_download('local/x', revision='v1.0.0')"


MAKE = """
import sys, torch
from transformers import AutoModel, BertConfig, BertModel
def make():
    torch.manual_seed(1)
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    return BertModel(BertConfig(vocab_size=9, max_position_embeddings=16, **sizes)).eval()
"""
SAVE = "make().save_pretrained(sys.argv[1], max_shard_size='20KB')"
LOAD = """
loaded = eval(sys.argv[1]).state_dict()
print(all(torch.equal(weight, loaded[name]) for name, weight in make().state_dict().items()))
"""


@pytest.mark.heavy
def test_transformers_loads_a_version_without_a_network(mirror, person, tmp_path):
    quiet = {'OMP_NUM_THREADS': '1'}
    run_python(NOWHERE, tmp_path / 'trainer', MAKE + SAVE, tmp_path / 'bert', **quiet)
    mirror.push(tmp_path / 'bert', '--tag', 'v1.0.0', '--repo', REPO)
    line = pull(mirror, person, 'v1.0.0')['python']
    assert line == "AutoModel.from_pretrained('local/x', revision='v1.0.0')"
    assert offline(person, MAKE + LOAD, line, **quiet).splitlines()[-1] == 'True'


@pytest.mark.heavy
@pytest.mark.parametrize('scheme', ['http', 'path'])
def test_a_git_url_serves_as_well(mirror, folder, person, tmp_path, scheme):
    with GitHost(tmp_path / 'host') as host:
        path = host.create(REPO)
        where = ['--remote', host.url(REPO) if scheme == 'http' else path]
        mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO, *where)
        pull(mirror, person, 'v1.0.0', where=[*where, '--repo', REPO])
    assert offline(person, FETCH, 'model', 'v1.0.0') == str(next(home_of(person).glob('snapshots/*')))


def test_a_hub_serves_as_well(hub, mirror, released, person):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    cache = pull(mirror, person, 'v1.0.0', where=['--remote', 'hub', '--repo', REPO], **env)['cache']
    assert offline(person, FETCH, 'model', 'v1.0.0') == cache
    assert not [
        path for path in person.rglob('*') if path.is_file() and hub.token.encode() in path.read_bytes()
    ]


# -- once


def test_a_pull_without_a_place_says_what_to_give(mirror, released):
    done = mirror.run('pull', 'v1.0.0', '--remote', 'local', '--repo', REPO, code=2)
    assert '--to DIR' in done.err and '--to-cache' in done.err


def test_a_second_pull_fetches_nothing_and_writes_nothing(mirror, released, person):
    pull(mirror, person, 'v1.0.0')
    before = {path: path.lstat().st_mtime_ns for path in home_of(person).rglob('*')}
    done = pull(mirror, person, 'v1.0.0')
    assert (done['fetched'], done['size'], done['kept']) == (0, 0, 6)
    assert {path: path.lstat().st_mtime_ns for path in home_of(person).rglob('*')} == before


@pytest.mark.heavy
def test_the_same_content_under_two_names_is_fetched_once(mirror, folder, person, tmp_path):
    content = b'\0twice' * 1000
    folder.write('one.bin', content)
    folder.write('sub/two.bin', content)
    with GitHost(tmp_path / 'host') as host:
        host.create(REPO)
        where = ['--remote', host.url(REPO), '--repo', REPO]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        host.seen.clear()
        cache = pull(mirror, person, 'v1.0.0', where=where)['cache']
        assert len(gets(host, folder.path / 'one.bin')) == 1
    for name in ('one.bin', 'sub/two.bin'):
        assert Path(cache, name).read_bytes() == content


def gets(host, path):
    oid = hashlib.sha256(path.read_bytes()).hexdigest()
    return [seen for seen in host.requests('GET') if oid in seen.path]


@pytest.mark.heavy
@pytest.mark.parametrize('there', [[], ['folder'], ['cache']])
def test_a_folder_and_the_cache_need_each_file_once(mirror, folder, person, tmp_path, there):
    to = tmp_path / 'fresh'
    with GitHost(tmp_path / 'host') as host:
        host.create(REPO)
        where = ['--remote', host.url(REPO), '--repo', REPO]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        if there == ['folder']:
            mirror.run('pull', 'v1.0.0', '--to', to, *where, code=0)
        if there == ['cache']:
            pull(mirror, person, 'v1.0.0', where=where)
        host.seen.clear()
        done = pull(mirror, person, 'v1.0.0', '--to', to, where=where)
        assert len(gets(host, folder.path / 'model.bin')) == (0 if there else 1)
    assert (done['fetched'], done['kept']) == ((0, 6) if there else (6, 0))
    assert checksums(to) == checksums(Path(done['cache']))


def test_a_folder_shares_no_file_with_the_cache(mirror, released, person, tmp_path):
    to = tmp_path / 'fresh'
    cache = pull(mirror, person, 'v1.0.0', '--to', to)['cache']
    for path in to.rglob('*'):
        assert not path.is_symlink() and (path.is_dir() or path.stat().st_nlink == 1)
    (to / 'model.bin').write_bytes(b'edited in place')
    assert checksums(Path(cache))['model.bin'] == released.checksums()['model.bin']


def test_a_folder_with_files_of_a_person_stops_before_the_cache_is_touched(
    mirror, released, person, tmp_path
):
    (tmp_path / 'fresh').mkdir()
    (tmp_path / 'fresh' / 'config.json').write_text('mine')
    pull(mirror, person, 'v1.0.0', '--to', tmp_path / 'fresh', code=6)
    assert not home_of(person).exists()


@pytest.mark.heavy
def test_without_links_a_second_pull_fetches_nothing(mirror, folder, person):
    for name in ('one.bin', 'two.bin', 'sub/three.bin'):
        folder.write(name, b'\0the same')
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO)
    cache = pull(mirror, person, 'v1.0.0', HF_HUB_DISABLE_SYMLINKS='1')['cache']
    assert blobs(person) == []
    assert pull(mirror, person, 'v1.0.0', HF_HUB_DISABLE_SYMLINKS='1')['fetched'] == 0
    assert folder.checksums().items() <= checksums(Path(cache)).items()


# -- whole or not there


@pytest.mark.parametrize('to', [[], ['--to', 'fresh']])
def test_a_damaged_file_of_the_cache_is_replaced_and_copied_nowhere(mirror, released, person, tmp_path, to):
    pull(mirror, person, 'v1.0.0')
    blob = blob_of(person, released.path / 'model.bin')
    blob.write_bytes(bytes(blob.stat().st_size))
    assert pull(mirror, person, 'v1.0.0', *to)['fetched'] == 1
    assert blob.read_bytes() == (released.path / 'model.bin').read_bytes()
    if to:
        assert checksums(tmp_path / 'fresh')['model.bin'] == released.checksums()['model.bin']


def test_a_content_shared_with_other_repositories_is_not_written_through(mirror, released, person):
    pull(mirror, person, 'v1.0.0')
    blob, shared = (
        blob_of(person, released.path / 'model.bin'),
        hub_cache(person) / 'blobs' / 'ab' / ('ab' * 32),
    )
    shared.parent.mkdir(parents=True)
    shared.write_bytes(b'of others')
    blob.unlink()
    blob.symlink_to(os.path.relpath(shared, blob.parent))
    pull(mirror, person, 'v1.0.0')
    assert shared.read_bytes() == b'of others'
    assert blob.read_bytes() == (released.path / 'model.bin').read_bytes() and not blob.is_symlink()


def test_a_missing_link_is_made_from_what_is_there(mirror, released, person):
    cache = pull(mirror, person, 'v1.0.0')['cache']
    os.unlink(f'{cache}/model.bin')
    assert pull(mirror, person, 'v1.0.0')['fetched'] == 0
    assert checksums(Path(cache))['model.bin'] == released.checksums()['model.bin']


def test_wrong_bytes_never_come_into_the_cache(mirror, released, person):
    oid = hashlib.sha256((released.path / 'model.bin').read_bytes()).hexdigest()
    stored = mirror.home / 'hub' / 'models' / f'{REPO}.git' / 'lfs' / 'objects' / oid[:2] / oid[2:4] / oid
    stored.chmod(0o644)
    stored.write_bytes(bytes(stored.stat().st_size))
    assert 'model.bin' in pull(mirror, person, 'v1.0.0', code=3).err
    assert not any(oid in name for name in blobs(person))
    assert not (home_of(person) / 'refs').exists()
    assert scan(person)[1:] == [[], []]


@pytest.mark.heavy
def test_a_pull_that_was_killed_goes_on_where_it_was(hub, mirror, folder, person):
    content = os.urandom(3_000_000)
    large = folder.write('large.bin', content)
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO)
    oid = hashlib.sha256(content).hexdigest()
    env = environment(hub, person, HFMIRROR_HOME=str(mirror.home), GIT_CONFIG_NOSYSTEM='1')
    command = [
        sys.executable,
        '-m',
        'hfmirror',
        'pull',
        'v1.0.0',
        '--to-cache',
        '--remote',
        'hub',
        '--repo',
        REPO,
    ]
    process = subprocess.Popen(
        command, env=env, cwd=person.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    hub.when(f'GET {oid}', lambda: process.send_signal(signal.SIGKILL))
    assert process.wait(60) == -signal.SIGKILL
    half = home_of(person) / 'blobs' / f'{oid}.hfmirror.incomplete'
    half.write_bytes(content[:2_000_000])
    repos, warnings, incomplete = scan(person)
    assert (repos[REPO][0], warnings, incomplete) == ([], [], [half.name])
    hub.forget()
    where = ['--remote', 'hub', '--repo', REPO]
    cache = pull(mirror, person, 'v1.0.0', where=where, HF_ENDPOINT=hub.endpoint, HF_TOKEN=hub.token)['cache']
    assert [seen.sent for seen in hub.requests(f'GET {oid}')] == [1_000_000]
    assert checksums(Path(cache))['large.bin'] == hashlib.sha256(large.read_bytes()).hexdigest()
    assert scan(person)[1:] == [[], []]


def test_what_cannot_fit_is_said_before_anything_is_written(mirror, person):
    repository = mirror.home / 'hub' / 'models' / f'{REPO}.git'
    oid, size = 'a' * 64, shutil.disk_usage(person.parent).total + 1
    pointer = f'version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {size}\n'
    commit_tree(repository, 'v1.0.0', {b'huge.bin': pointer.encode()})
    assert 'HF_HUB_CACHE' in pull(mirror, person, 'v1.0.0', code=1).err
    assert not home_of(person).exists()


@pytest.mark.heavy
def test_two_at_once_leave_one_whole_snapshot(mirror, folder, person, tmp_path):
    for number in range(40):
        folder.write(f'{number}.bin', os.urandom(50_000))
    mirror.push(folder, '--tag', 'v1.0.0', '--repo', REPO)
    where = ['--remote', mirror.home / 'hub' / 'models' / f'{REPO}.git', '--repo', REPO]
    command = [sys.executable, '-m', 'hfmirror', 'pull', 'v1.0.0', '--to-cache', *map(str, where)]
    env = {**os.environ, 'HF_HOME': str(person / 'hf')}
    homes = [str(tmp_path / name) for name in ('one', 'other')]
    both = [
        subprocess.Popen(command, env={**env, 'HFMIRROR_HOME': home}, stdout=subprocess.DEVNULL)
        for home in homes
    ]
    assert [process.wait(60) for process in both] == [0, 0]
    assert folder.checksums().items() <= checksums(next(home_of(person).glob('snapshots/*'))).items()
    assert scan(person)[1:] == [[], []]


def test_a_file_is_fetched_under_the_librarys_own_lock(mirror, folder, person, tmp_path):
    from filelock import FileLock, Timeout

    oid = hashlib.sha256((folder.path / 'model.bin').read_bytes()).hexdigest()
    lock, held = FileLock(hub_cache(person) / '.locks' / 'models--local--x' / f'{oid}.lock'), []

    def look():
        try:
            with lock.acquire(timeout=0):
                held.append(False)
        except Timeout:
            held.append(True)

    with GitHost(tmp_path / 'host') as host:
        host.create(REPO)
        where = ['--remote', host.url(REPO), '--repo', REPO]
        mirror.push(folder, '--tag', 'v1.0.0', *where)
        host.when(f'GET {oid}', look)
        pull(mirror, person, 'v1.0.0', where=where)
    assert held == [True]


# -- what others made


@pytest.mark.parametrize('name', [b'../escaped', b'a/../../../../escaped', b'.git/config', b'..\\escaped'])
@pytest.mark.parametrize('links', [False, True])
def test_a_name_that_leads_out_of_the_snapshot_stops_the_pull(mirror, person, name, links):
    links = [name.split(b'/')[0]] if links and b'/' not in name else []
    repository = mirror.home / 'hub' / 'models' / f'{REPO}.git'
    commit_tree(repository, 'v1.0.0', {name: b'evil', b'fine.txt': b'x'}, links=links)
    done = pull(mirror, person, 'v1.0.0', code=1)
    assert 'this is not an error hfmirror knows' not in done.err
    assert not home_of(person).exists()


@pytest.mark.heavy
def test_a_link_in_the_place_of_a_folder_is_not_followed(mirror, released, person, tmp_path):
    cache = Path(pull(mirror, person, 'v1.0.0')['cache'])
    (cache / 'notes' / 'training.txt').unlink()
    (cache / 'notes').rmdir()
    (tmp_path / 'outside').mkdir()
    (cache / 'notes').symlink_to(tmp_path / 'outside')
    assert 'notes' in pull(mirror, person, 'v1.0.0', code=6).err
    assert os.listdir(tmp_path / 'outside') == []


@pytest.mark.heavy
def test_a_folder_in_the_place_of_a_file_is_said(mirror, released, person):
    cache = Path(pull(mirror, person, 'v1.0.0')['cache'])
    (cache / 'config.json').unlink()
    (cache / 'config.json').mkdir()
    assert 'config.json' in pull(mirror, person, 'v1.0.0', code=6).err


@pytest.mark.heavy
def test_a_ref_in_the_place_of_a_folder_is_said(mirror, released, person):
    pull(mirror, person, 'v1.0.0')
    git('tag', 'v1.0.0x/1', 'v1.0.0', cwd=mirror.home / 'hub' / 'models' / f'{REPO}.git')
    (home_of(person) / 'refs' / 'v1.0.0').rename(home_of(person) / 'refs' / 'v1.0.0x')
    assert 'v1.0.0x' in pull(mirror, person, 'v1.0.0x/1', code=6).err


def test_a_name_that_is_not_utf_8_arrives_as_it_is(mirror, person):
    commit_tree(mirror.home / 'hub' / 'models' / f'{REPO}.git', 'v1.0.0', {b'caf\xe9.txt': b'x'})
    cache = pull(mirror, person, 'v1.0.0')['cache']
    assert os.listdir(os.fsencode(cache)) == [b'caf\xe9.txt']
    assert offline(person, FETCH, 'model', 'v1.0.0') == cache


def test_a_cache_that_is_a_file_is_a_usage_error(mirror, released, tmp_path):
    (tmp_path / 'file').write_text('mine')
    env = {'HF_HUB_CACHE': str(tmp_path / 'file')}
    done = mirror.run('pull', '--to-cache', '--remote', 'local', '--repo', REPO, env=env, code=2)
    assert 'HF_HUB_CACHE' in done.err and (tmp_path / 'file').read_text() == 'mine'
