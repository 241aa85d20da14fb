"""rebuild: an archive becomes a git repository again, with the same commits, tags and bytes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import textwrap
from pathlib import Path

import pytest

from hfmirror import target
from hfmirror.archive.guide import guide
from tests.support.fault import KILL, at, fault
from tests.support.folder import checksums
from tests.support.mirror import bare, clone_with_lfs, git

REPO = 'me/tiny-model'


_first = []


@pytest.fixture
def archive(mirror, folder, tmp_path, tmp_path_factory):
    """An archive with three versions, which are in the local Hub too; returns its address.

    The second one that a test asks for is a copy of what the first one was.
    """
    remote = (tmp_path / 'nas').as_uri()
    if _first:
        shutil.copytree(_first[0] / 'nas', tmp_path / 'nas')
        shutil.copytree(_first[0] / 'hub', mirror.home / 'hub')
        return remote
    for number in range(3):
        folder.write('model.bin', os.urandom(5000))
        folder.write('config.json', f'{{"number": {number}}}\n')
        both = ['--remote', remote, '--remote', 'local']
        mirror.push(folder, *both, '--tag', f'v1.{number}.0')
    _first.append(tmp_path_factory.mktemp('first'))
    shutil.copytree(tmp_path / 'nas', _first[0] / 'nas')
    shutil.copytree(mirror.home / 'hub', _first[0] / 'hub')
    return remote


@pytest.fixture
def rebuild(mirror, archive):
    def run(to, *args, code=0, **kwargs):
        return mirror.run(
            'rebuild', '--remote', archive, '--repo', REPO, '--to', to, *args, code=code, **kwargs
        )

    return run


def listing(path):
    return git('for-each-ref', '--format=%(refname) %(objectname)', cwd=path)


def whole(path):
    git('fsck', '--full', '--strict', cwd=path)
    git('lfs', 'fsck', cwd=path)


def test_it_has_every_commit_tag_and_byte(rebuild, mirror, archive, tmp_path):
    done = rebuild('again.git', '--json').json
    assert (done['branches'], done['tags'], done['objects'], done['size']) == (1, 3, 3, 15_000)
    whole(tmp_path / 'again.git')
    assert git('log', '--format=%s', 'main', cwd=tmp_path / 'again.git').count('\n') == 2
    for version in ('v1.0.0', 'v1.2.0'):
        mirror.run('pull', version, '--remote', archive, '--repo', REPO, '--to', version, code=0)
        clone = clone_with_lfs(tmp_path / 'again.git', tmp_path / f'clone-{version}')
        git('checkout', '-q', version, cwd=clone)
        have = {name: sha for name, sha in checksums(clone).items() if not name.startswith('.git')}
        assert have == {
            name: sha for name, sha in checksums(tmp_path / version).items() if not name.startswith('.git')
        }


@pytest.mark.heavy
def test_its_refs_are_those_of_the_newest_state(rebuild, tmp_path):
    rebuild('again.git')
    state = sorted((tmp_path / 'nas' / 'models' / REPO / 'states').iterdir())[-1].read_text()
    assert [
        ' '.join(reversed(row.split())) for row in listing(tmp_path / 'again.git').splitlines()
    ] == re.findall(r'[0-9a-f]{40} refs/[^"]+', state)


@pytest.mark.heavy
def test_it_can_be_pushed_to_and_pulled_from_as_any_repository(rebuild, mirror, folder, tmp_path):
    rebuild('again.git')
    folder.write('more.bin', os.urandom(100))
    mirror.push(folder, '--remote', './again.git', '--tag', 'v2.0.0')
    whole(tmp_path / 'again.git')


@pytest.mark.heavy
def test_local_is_its_place_in_the_local_hub(rebuild, mirror):
    os.rename(mirror.remote, mirror.tmp_path / 'gone.git')
    rebuild('local')
    mirror.assert_whole()
    assert mirror.tags() == ['v1.0.0', 'v1.1.0', 'v1.2.0']
    mirror.run('verify', 'v1.2.0', '--remote', 'local', '--repo', REPO, '--content', code=0)


def test_what_is_there_is_left_alone(rebuild, mirror, tmp_path):
    before = listing(mirror.remote)
    assert 'left alone' in rebuild('local', code=6).err
    assert listing(mirror.remote) == before
    (tmp_path / 'mine').mkdir()
    rebuild('mine', code=6)
    assert list((tmp_path / 'mine').iterdir()) == []


@pytest.mark.heavy
def test_a_dry_run_makes_nothing(rebuild, tmp_path):
    before = set(tmp_path.iterdir())
    assert rebuild('again.git', '--dry-run', '--json').json['objects'] == 3
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    'where',
    [
        pytest.param('hfmirror.rebuilding:_fetch_objects', marks=pytest.mark.heavy),
        'hfmirror.pulling:Fetcher._part',
        pytest.param('hfmirror.rebuilding:require_free', marks=pytest.mark.heavy),
    ],
)
def test_a_kill_leaves_nothing_under_its_name_and_the_same_again_goes_on(rebuild, tmp_path, where):
    nth = (2,) if where.endswith(('require_free', '_part')) else (1,)
    rebuild('again.git', env=fault(tmp_path / 'code', at(where, after=KILL, nth=nth)), code=-9)
    assert not (tmp_path / 'again.git').exists()
    rebuild('again.git')
    whole(tmp_path / 'again.git')
    assert list(tmp_path.glob('.again*')) == []


@pytest.mark.heavy
def test_what_came_before_a_kill_is_not_fetched_again(rebuild, archive, mirror, folder, tmp_path):
    folder.write('large.bin', os.urandom(3 * 2**20))
    mirror.push(folder, '--remote', archive, '--tag', 'v2.0.0')
    stops = fault(tmp_path / 'code', at('hfmirror.pulling:Fetcher.fetch', after=KILL))
    rebuild('again.git', env=stops, code=-9)
    reads = "open('reads.txt', 'a').write('x')"
    env = fault(
        tmp_path / 'code', at('hfmirror.archive.objects:ArchiveObjects.open', before=reads, nth=range(1, 99))
    )
    rebuild('again.git', env=env)
    assert Path('reads.txt').read_text() == 'x'


def test_a_lost_object_stops_it_before_anything_has_the_name(rebuild, tmp_path):
    lost = next(path for path in (tmp_path / 'nas').rglob('objects/*/*/*'))
    lost.unlink()
    assert 'lost' in rebuild('again.git', code=3).err
    assert not (tmp_path / 'again.git').exists()


@pytest.mark.heavy
def test_a_changed_object_stops_it(rebuild, tmp_path):
    changed = next(path for path in (tmp_path / 'nas').rglob('objects/*/*/*'))
    changed.write_bytes(b'\0' * changed.stat().st_size)
    assert 'not what was released' in rebuild('again.git', code=3).err
    assert not (tmp_path / 'again.git').exists()


@pytest.mark.heavy
def test_an_archive_without_the_repository_is_not_found(archive, mirror):
    args = ['rebuild', '--remote', archive, '--repo', 'me/nothing', '--to', 'x.git']
    assert 'no such repository' in mirror.run(*args, code=5).err
    assert not Path('x.git').exists()


def test_a_git_repository_is_cloned_instead(mirror, archive):
    done = mirror.run('rebuild', '--remote', 'local', '--repo', REPO, '--to', 'x.git', code=2)
    assert 'git clone --mirror' in done.err


def test_an_empty_name_is_refused(rebuild):
    rebuild('', code=2)


@pytest.mark.heavy
def test_other_branches_come_along(mirror, folder, archive, rebuild, tmp_path):
    mirror.push(folder, '--remote', archive, '--branch', 'dev', '--tag', 'v3.0.0')
    rebuild('again.git')
    assert (
        git('for-each-ref', '--format=%(refname:short)', 'refs/heads', cwd=tmp_path / 'again.git')
        == 'dev\nmain'
    )
    assert git('symbolic-ref', 'HEAD', cwd=tmp_path / 'again.git') == 'refs/heads/main'


# -- without hfmirror


def commands_of(text):
    """Return the block of commands in the README.txt of an archive."""
    block = re.search(r'Then, in this folder:\n\n(.+)\nAfterwards', text, re.DOTALL)[1]
    return textwrap.dedent(block)


def test_the_commands_of_its_readme_restore_it_as_they_stand(archive, mirror, tmp_path):
    place = tmp_path / 'nas' / 'models' / REPO
    script = commands_of((place / 'README.txt').read_text())
    subprocess.run(['bash', '-euo', 'pipefail', '-c', script], cwd=place, check=True, capture_output=True)
    restored = place.parent / 'restored.git'
    whole(restored)
    mirror.run('rebuild', '--remote', archive, '--repo', REPO, '--to', 'again.git', code=0)
    assert listing(restored) == listing(tmp_path / 'again.git')
    clone = clone_with_lfs(restored, tmp_path / 'model')
    assert len((clone / 'model.bin').read_bytes()) == 5000


@pytest.mark.heavy
def test_what_was_restored_goes_to_any_host_as_the_readme_says(archive, tmp_path):
    place = tmp_path / 'nas' / 'models' / REPO
    text = (place / 'README.txt').read_text()
    subprocess.run(['bash', '-euc', commands_of(text)], cwd=place, check=True, capture_output=True)
    clone_with_lfs(place.parent / 'restored.git', tmp_path / 'model')
    new = bare(tmp_path / 'new.git')
    push = re.search(r'cd model && (git remote add new URL.*)', text)[1].replace('URL', str(new))
    subprocess.run(['bash', '-euc', push], cwd=tmp_path / 'model', check=True, capture_output=True)
    whole(new)
    assert git('tag', cwd=new).split() == ['v1.0.0', 'v1.1.0', 'v1.2.0']


def test_the_readme_quotes_an_address_for_the_shell():
    text = guide(target.archived('s3://bucket/my models', REPO))
    assert "--remote 's3://bucket/my models' --repo" in text
    assert f"--recursive 's3://bucket/my models/models/{REPO}' ./archive" in text


@pytest.mark.parametrize(
    ('remote', 'says'),
    [
        ('s3://bucket/x', 'aws s3 cp --recursive s3://bucket/x/datasets/me/tiny-model'),
        ('gs://bucket/x', 'gcloud storage cp --recursive gs://bucket/x/datasets/me/tiny-model'),
    ],
)
def test_the_readme_says_how_to_bring_a_bucket_to_a_disk(remote, says):
    text = guide(target.archived(remote, REPO, repo_type='dataset'))
    assert says in text and f'--remote {remote} --repo {REPO} --repo-type dataset' in text
