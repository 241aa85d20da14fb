"""Before a job begins it is known whether its release can arrive: a line for each check, and the exit code of the first that failed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hfmirror.commands import options
from tests.support.fault import at, fault
from tests.support.githost import GitHost
from tests.support.mirror import bare
from tests.support.rest import new_user

NAMES = [
    'programs',
    'configuration',
    'name',
    'token',
    'remote',
    'rights',
    'repository',
    'clock',
    'disk',
    'waiting',
    'job',
]
GUIDE = Path(__file__).parents[1] / 'docs' / 'jobs.md'


@pytest.fixture
def looking(mirror, hub):
    """Run ``hfmirror preflight`` as the user ``local`` of a Hub; returns {name of the check: its document}."""

    def run(*args, code=0, env=None, token=True):
        given = {'HF_ENDPOINT': hub.endpoint} | ({'HF_TOKEN': hub.token} if token else {}) | (env or {})
        done = mirror.run('preflight', *args, '--json', env=given, code=code)
        return {check['name']: check for check in done.json}

    return run


# -- all is well


def test_each_check_is_a_line(mirror, hub):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    done = mirror.run('preflight', '--repo', 'local/new', env=env, code=0)
    lines = done.out.splitlines()
    assert [line.split()[1] for line in lines] == NAMES
    assert {line.split()[0] for line in lines} == {'ok'}
    assert done.err == ''


def test_the_same_checks_are_told_as_json(looking):
    found = looking('--repo', 'local/new')
    assert list(found) == NAMES
    assert found['token']['found'] == 'found in HF_TOKEN: local, role write'
    assert 'the first release creates it' in found['repository']['found']


def test_nothing_is_created_and_nothing_sent(looking, hub, mirror):
    looking('--repo', 'local/new')
    assert {one.method for one in hub.requests()} <= {'GET', 'HEAD'}
    assert not (mirror.home / 'hub' / 'models' / 'local').exists()


def test_a_repository_of_ours_is_asked_whether_it_takes_an_upload(looking, api, folder):
    found = looking(folder, '--repo', 'local/x')
    assert (
        'there, with 0 tags' in found['repository']['found']
        or 'nothing is in it' in found['repository']['found']
    )
    assert 'would be taken' in found['quota']['found']


@pytest.mark.heavy
def test_a_release_follows_where_all_is_well(looking, hub, mirror, folder):
    looking(folder, '--repo', 'local/new', '--tag', 'v1.0.0')
    mirror.run(
        'push',
        folder,
        '--repo',
        'local/new',
        '--tag',
        'v1.0.0',
        env={'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token},
        code=0,
    )
    found = looking(folder, '--repo', 'local/new', '--tag', 'v1.0.0', code=6)
    assert found['repository']['state'] == 'fail'
    assert 'v1.0.0 is there already' in found['repository']['found']


# -- the checklists of the guides: token, name, conflict, rights, and that results go somewhere that stays


def test_a_missing_token_fails_with_4(looking):
    found = looking('--repo', 'local/new', token=False, code=4)
    assert found['token']['state'] == 'fail'
    assert 'secret HF_TOKEN' in found['token']['advice']


def test_without_any_remote_a_missing_token_fails_too(mirror):
    # A push would take the local Hub, which a job takes with it when it ends.
    assert 'fail  token' in mirror.run('preflight', code=4).out


def test_a_token_that_is_not_taken_fails_with_4(looking):
    found = looking('--repo', 'local/new', env={'HF_TOKEN': 'hf_' + 'x' * 34}, code=4)
    assert found['token']['state'] == 'fail'
    assert 'not accepted' in found['token']['found']


def test_a_token_that_only_reads_fails_with_4(looking, hub):
    found = looking('--repo', 'ada/new', env={'HF_TOKEN': new_user(hub, 'ada', 'read')}, code=4)
    assert found['rights']['state'] == 'fail'
    assert 'may only read' in found['rights']['found']


def test_a_namespace_of_others_fails_with_4(looking, hub):
    found = looking('--repo', 'someone-else/new', env={'HF_TOKEN': new_user(hub, 'ada')}, code=4)
    assert found['rights']['state'] == 'fail'
    assert 'may not write to the namespace someone-else' in found['rights']['found']


@pytest.mark.parametrize(
    'name', ['model-name/', 'username/model name', 'a/b/c', 'username/-x', 'username/a--b']
)
def test_a_name_that_cannot_be_fails_with_2(looking, name):
    found = looking('--repo', name, code=2)
    assert found['name']['state'] == 'fail'
    assert 'Try --repo' in found['name']['advice']


def test_beside_a_wrong_name_the_token_is_looked_at_and_whose_it_is_suggested(looking, hub):
    found = looking('--repo', 'results', env={'HF_TOKEN': new_user(hub, 'ada')}, code=2)
    assert found['name']['advice'] == 'Try --repo ada/results.'
    assert found['token']['found'] == 'found in HF_TOKEN: ada, role write'
    assert {'remote', 'disk', 'waiting', 'job'} <= found.keys()


def test_a_wrong_token_is_told_beside_a_wrong_name(looking):
    found = looking('--repo', 'a/b/c', env={'HF_TOKEN': 'hf_' + 'x' * 34}, code=2)
    assert (found['name']['state'], found['token']['state']) == ('fail', 'fail')


def test_beside_a_wrong_name_a_hub_that_cannot_be_reached_is_told(mirror):
    env = {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_TOKEN': 'hf_' + 'x' * 34}
    done = mirror.run('preflight', '--repo', 'results', env=env, code=2)
    assert 'fail  name' in done.out and 'fail  remote' in done.out


def test_a_name_without_namespace_is_that_of_the_owner_of_the_token(looking):
    (done,) = [looking('./my-model')['name']]
    assert done['found'] == 'local/my-model, a model on hub'


def test_upper_case_is_warned_of(looking):
    assert looking('--repo', 'local/MODEL')['name']['state'] == 'warn'


def test_a_name_that_is_one_of_another_type_is_warned_of(looking, api):
    api.create_repo('local/mine', repo_type='dataset')
    found = looking('--repo', 'local/mine')['repository']
    assert (found['state'], found['advice']) == (
        'warn',
        'If that is the one that is meant, give --repo-type dataset.',
    )
    assert looking('--repo', 'local/mine', '--repo-type', 'dataset')['repository']['state'] == 'ok'


def test_a_repository_that_must_not_be_created_fails_with_5(looking, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {settings: {auto_create_repos: false}}\n')
    assert looking('--repo', 'local/new', code=5)['repository']['state'] == 'fail'


def test_a_job_whose_results_stay_on_its_own_disk_is_warned_of(mirror):
    job = {'JOB_ID': '1', 'CPU_CORES': '2', 'KUBERNETES_SERVICE_HOST': '10.0.0.1'}
    done = mirror.run('preflight', '--remote', 'local', '--repo', 'me/x', env=job, code=0)
    assert 'warn  job            Hugging Face job 1: all remotes are on its own disk' in done.out
    both = ('--remote', 'local', '--remote', str(bare(mirror.tmp_path / 'r.git')))
    assert 'warn' in mirror.run('preflight', *both, '--repo', 'me/x', env=job, code=0).out


def test_a_job_with_a_hub_is_well(looking):
    found = looking('--repo', 'local/new', env={'JOB_ID': '1', 'CPU_CORES': '2'})
    assert found['job']['found'] == 'Hugging Face job 1; released on hub'


def test_every_item_of_the_checklists_is_in_the_guide_with_its_check():
    text = GUIDE.read_text('utf-8')
    table = text.split('## The checklists')[1].split('\n## ')[0]
    rows = [line for line in table.splitlines() if line.startswith('| ') and not line.startswith('| item')]
    assert len(rows) == 10
    named = {word for row in rows for word in re.findall(r'`(\w+)`', row.split('|')[2])}
    assert named <= {*NAMES, 'quota', 'run'}
    for item in ('push_to_hub', 'hub_model_id', 'HF_TOKEN', 'conflict', 'namespace', 'assert'):
        assert item in table


# -- the machine


def test_a_git_that_is_missing_fails(looking, tmp_path):
    (tmp_path / 'bin').mkdir()
    found = looking('--repo', 'local/new', env={'PATH': str(tmp_path / 'bin')}, code=1)
    assert found['programs']['state'] == 'fail'
    assert 'apt-get install git' in found['programs']['advice']


def test_a_git_lfs_that_is_missing_fails(looking, tmp_path):
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'git').symlink_to(shutil.which('git'))
    found = looking('--repo', 'local/new', env={'PATH': str(tmp_path / 'bin')}, code=1)
    assert 'git-lfs' in found['programs']['found'] + found['programs']['advice']


def test_a_configuration_with_faults_fails_with_2_and_names_them(looking, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {versionning: {}, remotes: [1]}\n')
    found = looking(code=2)
    assert list(found) == ['programs', 'configuration']
    assert 'versioning' in found['configuration']['found'] + found['configuration']['advice']


def test_a_disk_without_room_fails(looking, tmp_path):
    full = fault(
        tmp_path / 'fault',
        "import shutil, collections; shutil.disk_usage = lambda path: collections.namedtuple('Usage', 'total used free')(9, 8, 1)",
    )
    found = looking('--repo', 'local/new', env=full, code=1)['disk']
    assert found['state'] == 'fail'
    assert 'HFMIRROR_HOME' in found['advice']


def test_a_quota_of_the_disk_that_is_used_up_fails(looking, tmp_path):
    full = fault(
        tmp_path / 'fault',
        at(
            'hfmirror.preflight.machine:_write_proof',
            before="raise OSError(122, 'Disk quota exceeded')",
        ),
    )
    assert 'Disk quota exceeded' in looking('--repo', 'local/new', env=full, code=1)['disk']['found']


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_directory_that_cannot_be_written_fails(looking, tmp_path):
    (tmp_path / 'locked').mkdir(mode=0o500)
    env = {'HFMIRROR_HOME': str(tmp_path / 'locked' / 'home')}
    assert looking('--repo', 'local/new', env=env, code=1)['disk']['state'] == 'fail'


@pytest.mark.parametrize(('shift', 'word'), [(3600, 'ahead of'), (-3600, 'behind')])
def test_a_clock_that_is_wrong_fails(looking, tmp_path, shift, word):
    wrong = fault(tmp_path / 'fault', f'_now = time.time; time.time = lambda: _now() + {shift}')
    found = looking('--repo', 'local/new', env=wrong, code=1)['clock']
    assert found['state'] == 'fail'
    assert f'60 min {word} 127.0.0.1' in found['found']


def test_a_clock_that_is_a_minute_off_is_well(looking, tmp_path):
    wrong = fault(tmp_path / 'fault', '_now = time.time; time.time = lambda: _now() + 60')
    assert looking('--repo', 'local/new', env=wrong)['clock']['state'] == 'ok'


@pytest.mark.heavy
def test_what_waits_from_before_is_told(looking, mirror, folder, host, remote, tmp_path):
    (tmp_path / 'config.yaml').write_text('huggingface: {settings: {upload: {max_retries: 0}}}\n')
    host.stop()
    mirror.push(folder, '--remote', remote, code=7)
    found = looking('--repo', 'local/new')['waiting']
    assert found['state'] == 'warn'
    assert found['found'].startswith('1 release from before')


# -- the remote


def test_a_hub_that_cannot_be_reached_fails_with_7(mirror):
    env = {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_TOKEN': 'hf_' + 'x' * 34}
    done = mirror.run('preflight', '--repo', 'me/x', env=env, code=7)
    assert 'fail  remote' in done.out
    assert 'ok    token          found in HF_TOKEN' in done.out
    assert 'clock' not in done.out


def test_a_namespace_that_nobody_can_be_asked_for_fails_with_7(mirror):
    env = {'HF_ENDPOINT': 'http://127.0.0.1:9', 'HF_TOKEN': 'hf_' + 'x' * 34}
    assert 'fail  remote' in mirror.run('preflight', './model', env=env, code=7).out


def test_a_hub_whose_storage_is_used_up_fails(looking, hub, api, folder):
    hub.fail(
        'POST /info/lfs/objects/batch',
        403,
        body=b'{"message": "Private repository storage limit reached"}',
        content_type='application/vnd.git-lfs+json',
    )
    found = looking(folder, '--repo', 'local/x', code=1)['quota']
    assert found['state'] == 'fail'
    assert 'storage of the namespace is used up' in found['found']


def test_a_git_host_is_asked_whether_it_lets_us_push(mirror, remote):
    done = mirror.run('preflight', '--remote', remote, code=0)
    assert f'ok    rights         me/tiny-model on {remote}: a push is let in' in done.out
    assert mirror.git('for-each-ref') == ''


def test_a_git_host_that_lets_us_only_read_fails_with_4(mirror, tmp_path):
    with GitHost(tmp_path / 'readers') as host:
        path = host.create('me/tiny-model')
        subprocess.run(['git', 'config', 'http.receivepack', 'false'], cwd=path, check=True)
        done = mirror.run('preflight', '--remote', host.url('me/tiny-model'), code=4)
    assert 'fail  remote' in done.out


def test_a_git_host_without_the_repository_fails_with_5(mirror, host):
    mirror.run('preflight', '--remote', host.url('me/none'), code=5)


def test_a_git_host_that_is_down_fails_with_7(mirror, host, remote):
    host.stop()
    mirror.run('preflight', '--remote', remote, code=7)


def test_an_archive_is_asked_as_a_push_asks_it(mirror, tmp_path):
    done = mirror.run('preflight', '--remote', f'file://{tmp_path}/nas', '--repo', 'me/x', code=0)
    assert 'is reachable' in done.out


@pytest.fixture
def bucket(monkeypatch):
    from tests.support.s3 import Bucket

    with Bucket(monkeypatch) as running:
        yield running


@pytest.mark.heavy
def test_a_bucket_is_written_to_and_left_as_it_was(mirror, bucket):
    done = mirror.run('preflight', '--remote', bucket.remote, '--repo', 'me/x', code=0)
    assert 'ok    rights         me/x on s3://' in done.out
    assert 'ok    clock' in done.out
    assert bucket.client.list_objects_v2(Bucket=bucket.name)['KeyCount'] == 0


@pytest.mark.heavy
def test_a_bucket_that_is_not_there_fails_with_5(mirror, bucket):
    mirror.run('preflight', '--remote', 's3://no-such-bucket-here/x', '--repo', 'me/x', code=5)


@pytest.mark.heavy
def test_a_bucket_that_cannot_be_reached_fails_with_7(mirror, bucket):
    bucket.down()
    mirror.run('preflight', '--remote', bucket.remote, '--repo', 'me/x', code=7)


@pytest.mark.skipif(os.geteuid() == 0, reason='root may write anywhere')
def test_a_directory_for_archives_that_cannot_be_written_fails_with_4(mirror, tmp_path):
    (tmp_path / 'nas').mkdir(mode=0o500)
    mirror.run('preflight', '--remote', f'file://{tmp_path}/nas', '--repo', 'me/x', code=4)


def test_each_remote_is_looked_at(mirror, remote):
    done = mirror.run('preflight', '--remote', 'local', '--remote', remote, '--repo', 'me/tiny-model', code=0)
    assert len(re.findall(r'(?m)^ok    remote', done.out)) == 2


def test_no_token_is_shown(looking, mirror, hub):
    token = 'hf_' + 'x' * 34
    done = mirror.run('preflight', '--repo', 'me/x', env={'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': token})
    assert token not in done.out + done.err


# -- waiting


@pytest.mark.heavy
def test_a_remote_that_comes_back_is_waited_for(mirror, host, remote):
    host.stop()
    threading.Timer(3, host.start).start()
    done = mirror.run('preflight', '--remote', remote, '--wait', '60s', code=0)
    assert 'Asking again in 2 s' in done.err


@pytest.mark.heavy
def test_a_remote_that_stays_away_is_waited_for_no_longer(mirror, host, remote):
    host.stop()
    started = time.monotonic()
    done = mirror.run('preflight', '--remote', remote, '--wait', '2s', code=7)
    assert 2 <= time.monotonic() - started < 20
    assert done.out.count('fail  remote') == 1


@pytest.mark.heavy
def test_what_time_does_not_mend_is_not_waited_for(looking, mirror):
    started = time.monotonic()
    looking('--repo', 'local/new', '--wait', token=False, code=4)
    offline = {'HF_HUB_OFFLINE': '1', 'HF_TOKEN': 'hf_' + 'x' * 34}
    mirror.run('preflight', '--repo', 'me/x', '--wait', '5m', env=offline, code=7)
    assert time.monotonic() - started < 20


def test_a_wait_can_be_ended(mirror, host, remote):
    host.stop()
    process = subprocess.Popen(
        [sys.executable, '-m', 'hfmirror', 'preflight', '--remote', remote, '--wait', '10m'],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    assert 'Asking again' in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130, err


@pytest.mark.parametrize(
    ('text', 'seconds'),
    [('90', 90), ('90s', 90), ('1.5s', 1.5), ('30m', 1800), ('1h30m', 5400), ('2d', 172800), ('0', 0)],
)
def test_a_duration_is_read(text, seconds):
    assert options.Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize('text', ['', 'm', '5x', '1h30', '1 h', 'inf', '1e3', '9' * 50])
def test_what_is_no_duration_is_a_fault(mirror, text):
    assert 'is no duration' in mirror.run('preflight', f'--wait={text}', code=2).err
