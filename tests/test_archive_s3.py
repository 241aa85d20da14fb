"""An archive in a bucket of a real S3 API: what is sent, what is proven, and what comes of it when the service fails."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfmirror import errors, target
from hfmirror.archive import faults
from hfmirror.archive.s3 import S3
from tests.support.fault import KILL, at, fault
from tests.support.mirror import clone_with_lfs, git
from tests.support.s3 import SECRET, Bucket

REPO = 'me/tiny-model'
PLACE = f'releases/models/{REPO}'
LARGE = 20 * 2**20  # bytes: three parts
NO_PATIENCE = 'huggingface:\n  settings: {upload: {max_retries: 0}}\n'


@pytest.fixture
def bucket(monkeypatch):
    with Bucket(monkeypatch) as running:
        yield running


@pytest.fixture
def push(bucket, mirror, folder):
    def run(*args, code=0, **kwargs):
        done = mirror.push(folder, '--remote', bucket.remote, *args, code=code, **kwargs)
        return done[0] if code == 0 else done

    return run


@pytest.fixture
def run(bucket, mirror):
    """Run a command on the repository in the bucket."""

    def command(*args, code=0, **kwargs):
        return mirror.run(*args, '--remote', bucket.remote, '--repo', REPO, code=code, **kwargs)

    return command


@pytest.fixture
def at_once(tmp_path):
    """Nothing is tried again."""
    (tmp_path / 'config.yaml').write_text(NO_PATIENCE)


def versions(run, **kwargs):
    return [one['name'] for one in run('list-versions', '--json', **kwargs).json]


def test_a_release_is_pushed_listed_verified_and_pulled(push, run, bucket, folder, tmp_path):
    push('--tag', 'v1.0.0')
    assert {key.removeprefix(f'{PLACE}/').partition('/')[0] for key in bucket.contents()} == {
        'README.txt', 'history', 'objects', 'states', 'versions',
    }  # fmt: skip
    assert versions(run) == ['v1.0.0']
    assert run('verify', '--content', '--json').json['ok']
    run('pull', '--to', 'pulled')
    assert (tmp_path / 'pulled' / 'model.bin').read_bytes() == (folder.path / 'model.bin').read_bytes()


@pytest.mark.heavy
def test_a_second_release_sends_only_what_is_new(push, bucket, folder):
    push('--tag', 'v1.0.0')
    before = bucket.contents('objects')
    bucket.requests.clear()
    folder.write('extra.bin', os.urandom(5000))
    push('--tag', 'v1.1.0')
    assert len(bucket.contents('objects')) == len(before) + 1
    assert bucket.count('PUT', '/objects/') == 1
    assert bucket.count('PUT') == 4  # an object, a bundle, a manifest, a state


@pytest.mark.heavy
def test_the_same_folder_again_sends_nothing(push, bucket):
    push('--tag', 'v1.0.0')
    bucket.requests.clear()
    assert push('--tag', 'v1.0.0')['status'] == 'up-to-date'
    assert bucket.count('PUT') == bucket.count('POST') == 0


@pytest.mark.heavy
def test_a_large_file_goes_in_parts_and_comes_back_in_ranges(push, run, bucket, folder, tmp_path):
    content = os.urandom(LARGE)
    folder.write('large.bin', content)
    push('--tag', 'v1.0.0')
    assert bucket.count('PUT', 'partNumber=') == 3
    assert bucket.unfinished() == 0
    bucket.requests.clear()
    run('pull', '--to', 'pulled')
    assert (tmp_path / 'pulled' / 'large.bin').read_bytes() == content
    assert bucket.count('GET', hashlib.sha256(content).hexdigest()) == 3


@pytest.mark.heavy
def test_a_pull_goes_on_at_the_byte_where_it_was_ended(push, run, bucket, folder, tmp_path):
    content = os.urandom(LARGE)
    folder.write('large.bin', content)
    push('--tag', 'v1.0.0')
    stops = fault(tmp_path / 'code', at('hfmirror.output:Progress.advance', before=KILL, nth=(12,)))
    run('pull', '--to', 'pulled', '--path', 'large.bin', env=stops, code=-9)
    bucket.requests.clear()
    run('pull', '--to', 'pulled', '--path', 'large.bin')
    assert (tmp_path / 'pulled' / 'large.bin').read_bytes() == content
    assert bucket.count('GET', hashlib.sha256(content).hexdigest()) == 2


@pytest.mark.heavy
def test_a_kill_in_the_middle_of_a_large_file_goes_on_with_the_parts_that_are_there(
    push, run, bucket, folder, tmp_path
):
    content = os.urandom(LARGE)
    folder.write('large.bin', content)
    stops = fault(tmp_path / 'code', at('hfmirror.archive.s3:_Parts._send_part', after=KILL, nth=(3,)))
    push('--tag', 'v1.0.0', env=stops, code=-9)
    sent = bucket.count('PUT', 'partNumber=')
    assert bucket.contents('states') == {} and bucket.unfinished() == 1
    bucket.requests.clear()
    push('--tag', 'v1.0.0')
    assert bucket.count('PUT', 'partNumber=') <= 3 - (sent - 1) < 3
    assert bucket.unfinished() == 0
    assert run('verify', '--content', '--json').json['ok']


@pytest.mark.heavy
def test_a_kill_in_the_middle_sends_no_object_again(push, run, bucket, folder, tmp_path):
    for number in range(6):
        folder.write(f'part-{number}.bin', os.urandom(3000))
    stops = fault(tmp_path / 'code', at('hfmirror.archive.s3:S3.put', after=KILL, nth=(4,)))
    push('--tag', 'v1.0.0', env=stops, code=-9)
    there = bucket.contents('objects')
    assert there and bucket.contents('states') == {}
    bucket.requests.clear()
    push('--tag', 'v1.0.0')
    assert bucket.count('PUT', '/objects/') == 7 - len(there)
    assert run('verify', '--content', '--json').json['ok']


@pytest.mark.parametrize('what', ['/objects/', '/history/', '/versions/', '/states/'])
@pytest.mark.heavy
def test_a_service_that_fails_now_and_then_is_asked_again(push, run, bucket, what):
    bucket.fail('PUT', what)
    push('--tag', 'v1.0.0')
    assert versions(run) == ['v1.0.0']


@pytest.mark.parametrize('status', [503, 429])
@pytest.mark.heavy
def test_a_service_that_is_busy_gets_the_release_later(push, run, bucket, mirror, at_once, status):
    bucket.fail('PUT', '/objects/', status, times=100)
    assert 'resume' in push('--tag', 'v1.0.0', code=7).err
    bucket._rules.clear()
    assert mirror.run('resume', '--json', code=0).json[0]['status'] == 'pushed'
    assert versions(run) == ['v1.0.0']


@pytest.mark.heavy
def test_a_connection_that_is_cut_in_the_middle_is_mended_by_resume(
    push, run, bucket, mirror, folder, at_once
):
    content = os.urandom(LARGE)
    folder.write('large.bin', content)
    bucket.cut('PUT', 'partNumber=2', times=100)
    push('--tag', 'v1.0.0', code=7)
    assert bucket.contents('states') == {}
    folder.write('large.bin', os.urandom(100))  # the release waits with its own copy
    bucket._rules.clear()
    mirror.run('resume', code=0)
    assert run('verify', '--content', '--json').json['ok']
    run('pull', '--to', 'pulled')
    assert Path('pulled/large.bin').read_bytes() == content


@pytest.mark.heavy
def test_an_answer_that_was_lost_after_the_state_was_made_is_no_conflict(push, run, bucket):
    app = bucket._app

    def once(environ, start_response):
        """Take the first state, and end the connection instead of telling so."""
        if environ['REQUEST_METHOD'] == 'PUT' and '/states/' in environ['PATH_INFO'] and bucket._app is once:
            bucket._app = app
            list(app(environ, lambda *_: None))
            environ['werkzeug.socket'].shutdown(2)
            return []
        return app(environ, start_response)

    bucket._app = once
    push('--tag', 'v1.0.0')
    assert versions(run) == ['v1.0.0'] and len(bucket.contents('states')) == 1


@pytest.mark.heavy
def test_a_service_that_is_gone_gets_the_release_by_resume(push, run, bucket, mirror, folder, at_once):
    push('--tag', 'v1.0.0')
    bucket.down()
    folder.write('more.txt', 'x\n')
    done = push('--tag', 'v1.1.0', code=7)
    assert 'Traceback' not in done.err and SECRET not in done.err
    assert mirror.run('status', '--json', code=0).json[0]['version'] == 'v1.1.0'
    bucket.up()
    mirror.run('resume', code=0)
    assert versions(run) == ['v1.1.0', 'v1.0.0']


@pytest.mark.heavy
def test_a_service_that_does_not_answer_is_given_up(run, tmp_path):
    with socket.socket() as silent:
        silent.bind(('127.0.0.1', 0))
        silent.listen(0)
        port = silent.getsockname()[1]
        env = fault(tmp_path / 'code') | {'AWS_ENDPOINT_URL_S3': f'http://127.0.0.1:{port}'}
        (tmp_path / 'code' / 'sitecustomize.py').write_text(
            "import hfmirror.archive.s3 as s3\ns3._NETWORK['read_timeout'] = 1\n"
        )
        began = time.monotonic()
        done = run('list-versions', env=env, code=7)
    assert time.monotonic() - began < 30
    assert 'cannot be reached' in done.err


@pytest.mark.heavy
def test_of_two_pushes_at_once_one_comes_second_and_goes_on_top(push, run, bucket, folder, tmp_path):
    push('--tag', 'v1.0.0')
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'theirs.json').write_text('{}\n')
    command = [
        sys.executable,
        '-m',
        'hfmirror',
        'push',
        str(other),
        '--remote',
        bucket.remote,
        '--repo',
        REPO,
    ]
    env = {**os.environ, 'HFMIRROR_HOME': str(tmp_path / 'theirs')}

    def faster():
        subprocess.run([*command, '--keep', '--tag', 'v1.5.0'], env=env, check=True, capture_output=True)

    bucket.then('PUT', '/states/00000002', faster)
    folder.write('ours.txt', 'x\n')
    push('--keep', '--tag', 'v1.6.0')
    assert versions(run) == ['v1.6.0', 'v1.5.0', 'v1.0.0']
    run('pull', 'v1.6.0', '--to', 'pulled')
    assert Path('pulled/theirs.json').is_file() and Path('pulled/ours.txt').is_file()


@pytest.mark.heavy
def test_a_corrupted_object_is_found_by_its_content_and_a_missing_one_at_once(push, run, bucket):
    push('--tag', 'v1.0.0')
    ((key, size),) = bucket.contents('objects').items()
    bucket.write(key, b'\0' * size)
    run('verify')
    assert run('verify', '--content', '--json', code=3).json['different'] == ['model.bin']
    assert 'not what was released' in run('pull', '--to', 'pulled', code=3).err
    bucket.remove(key)
    assert run('verify', '--json', code=3).json['missing'] == ['model.bin']
    push('--tag', 'v1.0.0')
    run('verify', '--content')


@pytest.mark.heavy
def test_it_is_rebuilt_with_the_same_commits_tags_and_bytes(push, run, bucket, folder, tmp_path):
    content = os.urandom(LARGE)
    folder.write('large.bin', content)
    done = push('--tag', 'v1.0.0')
    run('rebuild', '--to', 'again.git')
    assert git('rev-parse', 'v1.0.0^{commit}', cwd=tmp_path / 'again.git') == done['commit']
    clone = clone_with_lfs(tmp_path / 'again.git', tmp_path / 'clone')
    assert (clone / 'large.bin').read_bytes() == content


def test_many_objects_are_listed_and_not_asked_for_one_by_one(bucket, tmp_path):
    from hfmirror.archive.archive import Archive
    from hfmirror.archive.objects import ArchiveObjects, object_name
    from hfmirror.tree import Entry

    archive = Archive(target.archived(bucket.remote, REPO), tmp_path / 'clone' / 'mirror.git')
    oids = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(600)]
    bucket.write(f'{PLACE}/{object_name(oids[7])}', b'12345')
    bucket.requests.clear()
    missing = ArchiveObjects(archive).missing([Entry(oid, oid, 5, is_lfs=True) for oid in oids])
    assert len(missing) == 599 and oids[7] not in {entry.oid for entry in missing}
    assert len(bucket.requests) == 1
    archive.close()


# -- who may, and where


@pytest.mark.heavy
def test_a_bucket_that_is_not_there_is_not_found(bucket, mirror, folder):
    done = mirror.run('push', folder, '--remote', 's3://nobucket/x', '--repo', REPO, code=5)
    assert 's3://nobucket: no such bucket' in done.err


@pytest.mark.heavy
def test_without_credentials_it_is_said_how_to_give_some(push, monkeypatch):
    monkeypatch.delenv('AWS_ACCESS_KEY_ID')
    monkeypatch.delenv('AWS_SECRET_ACCESS_KEY')
    done = push(code=4)
    assert 'AWS_PROFILE' in done.err and len(done.err.splitlines()) == 1


@pytest.mark.heavy
def test_a_profile_that_is_not_there_is_said(push, monkeypatch):
    monkeypatch.setenv('AWS_PROFILE', 'nobody')
    assert 'nobody' in push(code=4).err


@pytest.mark.heavy
def test_a_refusal_is_said_and_nothing_is_queued(push, bucket, mirror):
    bucket.fail('PUT', '/objects/', 403, times=10)
    assert 'not allowed' in push(code=4).err
    assert mirror.run('status', '--json', code=0).json == []


# Writes down the arguments of every program that is started.
SPY = """
import os, sys
def spy(event, args):
    if event == 'subprocess.Popen':
        with open(os.environ['SPY'], 'a') as file:
            file.write(repr(args[1]))
sys.addaudithook(spy)
"""


@pytest.mark.heavy
def test_no_secret_is_in_any_file_argument_or_message(push, bucket, run, mirror, folder, tmp_path):
    code = tmp_path / 'code'
    code.mkdir()
    (code / 'sitecustomize.py').write_text(SPY)
    env = {'PYTHONPATH': str(code), 'SPY': str(tmp_path / 'spy.txt'), 'LOG_LEVEL': 'DEBUG'}
    said = mirror.run('push', folder, '--remote', bucket.remote, '--repo', REPO, '-v', env=env, code=0)
    bucket.down()
    (tmp_path / 'config.yaml').write_text(NO_PATIENCE)
    folder.write('more.txt', 'x\n')
    failed = push(code=7)
    bucket.up()
    texts = [said.out, said.err, failed.out, failed.err, (tmp_path / 'spy.txt').read_text()]
    texts += [
        path.read_bytes().decode('latin-1') for path in (tmp_path / 'hfmirror').rglob('*') if path.is_file()
    ]
    texts += [bucket.read(key).decode('latin-1') for key in bucket.contents()]
    assert 'git' in (tmp_path / 'spy.txt').read_text()
    assert not [text for text in texts if SECRET in text or bucket.env['AWS_ACCESS_KEY_ID'] in text]


@pytest.mark.parametrize(
    'remote',
    ['s3://AKIAIOSFODNN7EXAMPLE:secretsecret@bucket/x', 's3://key@bucket', 'gs://me:secretsecret@b/x'],
)
@pytest.mark.heavy
def test_credentials_in_the_address_are_refused_and_not_repeated(mirror, folder, remote):
    done = mirror.run('push', folder, '--remote', remote, '--repo', REPO, code=2)
    assert 'secretsecret' not in done.err and 'process lists' in done.err
    done = mirror.run('list-versions', '--remote', remote, '--repo', REPO, code=2)
    assert 'secretsecret' not in done.err


@pytest.mark.parametrize('extra', [('s3', 's3fs'), pytest.param(('gs', 'gcsfs'), marks=pytest.mark.heavy)])
def test_an_extra_that_is_not_installed_is_named(mirror, folder, tmp_path, extra):
    scheme, module = extra
    code = tmp_path / 'code'
    code.mkdir()
    (code / 'sitecustomize.py').write_text(f'import sys\nsys.modules[{module!r}] = None\n')
    remote = f'{scheme}://bucket/x'
    done = mirror.run(
        'push', folder, '--remote', remote, '--repo', REPO, env={'PYTHONPATH': str(code)}, code=2
    )
    assert f"pip install 'hf-mirror[{'s3' if scheme == 's3' else 'gcs'}]'" in done.err


@pytest.mark.heavy
def test_the_hub_being_offline_does_not_concern_an_archive(push, run):
    push('--tag', 'v1.0.0', env={'HF_HUB_OFFLINE': '1'})
    assert versions(run, env={'HF_HUB_OFFLINE': '1'}) == ['v1.0.0']


# -- the layer below


@pytest.fixture
def storage(bucket):
    made = S3(target.archived(bucket.remote, REPO))
    yield made
    made.close()


def test_a_file_is_created_once(storage):
    assert storage.create('states/00000001.json', b'ours')
    assert not storage.create('states/00000001.json', b'theirs')
    assert storage.read('states/00000001.json', 10) == b'ours'


def test_the_service_is_told_the_sha256_of_what_is_sent(storage, bucket, tmp_path):
    (tmp_path / 'x').write_bytes(b'x' * 100)
    sha256 = hashlib.sha256(b'x' * 100).hexdigest()
    storage.put('objects/x', tmp_path / 'x', sha256=sha256, size=100, advance=lambda _: None)
    told = bucket.client.head_object(Bucket=bucket.name, Key=f'{PLACE}/objects/x', ChecksumMode='ENABLED')
    assert told['ContentLength'] == 100 and storage.size('objects/x') == 100


@pytest.mark.parametrize('size', [100, LARGE])
def test_a_source_that_changed_is_not_sent(storage, bucket, tmp_path, size):
    (tmp_path / 'x').write_bytes(b'x' * size)
    with pytest.raises(errors.SourceChanged):
        storage.put('objects/x', tmp_path / 'x', sha256='0' * 64, size=size, advance=lambda _: None)
    assert bucket.contents() == {} and bucket.unfinished() == 0


@pytest.fixture
def large(tmp_path):
    """A file of three parts, and what is given with it when it is put."""
    content = os.urandom(LARGE)
    (tmp_path / 'large').write_bytes(content)
    sha256 = hashlib.sha256(content).hexdigest()
    return tmp_path / 'large', {'sha256': sha256, 'size': LARGE, 'advance': lambda _: None}


def is_there(bucket, large):
    return bucket.read(f'{PLACE}/objects/x') == large[0].read_bytes()


def not_any_more(bucket):
    """Answer to an upload that has ended as the service does; moto breaks down on it."""
    for method in ('PUT', 'POST'):
        bucket.fail(method, 'uploadId=', 404, times=9)


def test_a_large_file_goes_on_with_the_parts_that_are_there(storage, bucket, large):
    source, given = large
    bucket.fail('PUT', 'partNumber=3', times=100)
    with pytest.raises(errors.NetworkError):
        storage.put('objects/x', source, **given)
    bucket._rules.clear()
    bucket.requests.clear()
    storage.put('objects/x', source, **given)
    assert bucket.count('PUT', 'partNumber=') == 1 and is_there(bucket, large)


def test_two_who_send_the_same_large_file_at_once_go_on_with_one_upload(storage, bucket, large):
    source, given = large

    def faster():
        other = S3(target.archived(bucket.remote, REPO))
        other.put('objects/x', source, **given)
        other.close()
        not_any_more(bucket)

    bucket.then('PUT', 'partNumber=2', faster)
    storage.put('objects/x', source, **given)
    assert is_there(bucket, large) and bucket.unfinished() == 0


@pytest.mark.heavy
def test_an_upload_that_somebody_else_gave_up_is_begun_again(storage, bucket, large):
    source, given = large
    key = f'{PLACE}/objects/x'

    def give_up():
        (begun,) = bucket.client.list_multipart_uploads(Bucket=bucket.name)['Uploads']
        bucket.client.abort_multipart_upload(Bucket=bucket.name, Key=key, UploadId=begun['UploadId'])
        not_any_more(bucket)

    bucket.then('PUT', 'partNumber=3', give_up)
    with pytest.raises(errors.NetworkError, match='ended by somebody else'):  # which is tried again
        storage.put('objects/x', source, **given)
    bucket._rules.clear()
    storage.put('objects/x', source, **given)
    assert is_there(bucket, large)


def test_what_is_not_there_has_no_size_and_no_content(storage):
    assert storage.size('nothing') is None and storage.read('nothing', 10) is None
    assert storage.sizes('nothing') == {}
    storage.remove('nothing')
    with pytest.raises(errors.NotFoundError), storage.open('nothing', size=5) as stream:
        stream.read()


def test_a_file_that_is_too_large_is_not_read(storage, bucket):
    bucket.write(f'{PLACE}/states/x', b'12345')
    with pytest.raises(errors.RemoteError, match='more than 4 bytes'):
        storage.read('states/x', 4)


def test_a_folder_whose_name_begins_alike_is_another(storage, bucket):
    bucket.write(f'{PLACE}/states/1', b'x')
    bucket.write(f'{PLACE}/states-old/2', b'x')
    assert storage.sizes('states') == {'states/1': 1}


def answered(code, status):
    failure = Exception('as told')
    failure.response = {'Error': {'Code': code}, 'ResponseMetadata': {'HTTPStatusCode': status}}
    return failure


@pytest.mark.parametrize(
    ('failure', 'kind'),
    [
        (answered('NoSuchBucket', 404), errors.NotFoundError),
        (answered('NoSuchKey', 404), faults.Absent),
        (answered('AccessDenied', 403), errors.AuthError),
        (answered('ExpiredToken', 400), errors.AuthError),
        (answered('RequestTimeTooSkewed', 403), errors.AuthError),
        (answered('PermanentRedirect', 301), errors.RemoteError),
        (answered('SlowDown', 503), errors.NetworkError),
        (answered('InternalError', 500), errors.NetworkError),
        (answered('BadDigest', 400), errors.NetworkError),
        (answered('PreconditionFailed', 412), faults.Taken),
        (answered('ConditionalRequestConflict', 409), faults.Taken),
        (answered('XMinioStorageFull', 507), errors.RemoteError),
        (answered('QuotaExceeded', 403), errors.RemoteError),
        (answered('InvalidArgument', 400), errors.RemoteError),
        (answered('404', None), faults.Absent),
        (TimeoutError(), errors.NetworkError),
        (ConnectionResetError('reset'), errors.NetworkError),
        (FileNotFoundError('x'), faults.Absent),
        (FileExistsError('x'), faults.Taken),
        (PermissionError('x'), errors.AuthError),
        (OSError('Forbidden: x'), errors.AuthError),
        (ValueError('odd'), errors.RemoteError),
    ],
)
def test_what_a_cloud_says_has_a_meaning(failure, kind):
    told = faults.meaning(failure, 's3://bucket/x')
    assert type(told) is kind and 's3://bucket' in str(told)


def test_what_a_cloud_says_is_shown_without_secrets():
    failure = answered('AccessDenied', 403)
    failure.args = ('https://host/x?X-Amz-Signature=abcdef0123456789&X-Amz-Credential=AKIA/x said no',)
    text = str(faults.meaning(failure, 's3://bucket/x'))
    assert 'abcdef' not in text and 'AKIA' not in text and 'said no' in text


@pytest.mark.heavy
def test_the_states_can_be_read_by_any_json_reader(push, bucket):
    push('--tag', 'v1.0.0')
    ((key, _),) = bucket.contents('states').items()
    assert json.loads(bucket.read(key))['versions'] == {'v1.0.0': 'versions/v1.0.0.json'}
