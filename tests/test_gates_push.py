"""What a push does with secrets and unsafe pickles: it stops before anything leaves, and lets through what a person means."""

from __future__ import annotations

import os
import pickle
import secrets
import string

import pytest


class Runs:
    """Unpickling it would run a program."""

    def __reduce__(self):
        return os.system, ('true',)


@pytest.fixture
def secret():
    # Made when it is needed: no scanner of others is to find one in this file.
    letters = string.ascii_letters + string.digits
    return 'hf_' + ''.join(secrets.choice(letters) for _ in range(34))


def stopped(mirror, folder, *options, says, secret=None):
    """Push, and assert that it was stopped with these words, that nothing was made, and that no secret was told."""
    done = mirror.run('push', folder, '--remote', 'local', '--repo', mirror.repo, *options)
    assert done.code == 8, done.err
    for words in says:
        assert words in done.err
    assert secret is None or secret not in done.out + done.err
    assert not mirror.remote.exists()


def test_a_secret_stops_the_push_with_file_line_and_rule_and_is_not_shown(mirror, folder, secret):
    folder.write('notes/login.txt', f'first line\ntoken = "{secret}"\n')
    stopped(mirror, folder, says=['notes/login.txt:2', 'huggingface-token', '--allow-secrets'], secret=secret)


def test_a_secret_in_the_persons_readme_stops_it_too(mirror, folder, secret):
    folder.write('README.md', f'# My model\n\nUse `{secret}` to download it.\n')
    stopped(mirror, folder, says=['README.md:3'], secret=secret)


def test_a_secret_in_the_message_stops_it_too(mirror, folder, secret):
    stopped(mirror, folder, '-m', f'made with {secret}', says=['commit message'], secret=secret)


def test_a_secret_that_the_card_would_repeat_stops_it_too(mirror, folder, secret):
    folder.write('config.json', f'{{"architectures": ["BertModel"], "_name_or_path": "{secret}"}}\n')
    stopped(mirror, folder, says=['config.json:1'], secret=secret)


def test_a_dry_run_finds_it_as_well(mirror, folder, secret):
    folder.write('notes.txt', secret)
    stopped(mirror, folder, '--dry-run', says=['notes.txt:1'], secret=secret)


def test_allow_secrets_lets_it_through(mirror, folder, secret):
    folder.write('notes.txt', secret)
    (done,) = mirror.push(folder, '--allow-secrets')
    assert done['status'] == 'pushed'


@pytest.mark.heavy
def test_the_configuration_lets_single_files_through(mirror, folder, secret, tmp_path):
    folder.write('docs/example.txt', secret)
    (tmp_path / 'config.yaml').write_text('huggingface:\n  gates:\n    allow_secrets: ["docs/*.txt"]\n')
    mirror.push(folder)
    folder.write('other.txt', secret)
    done = mirror.run('push', folder, '--remote', 'local', '--repo', mirror.repo)
    assert done.code == 8 and 'other.txt:1' in done.err and 'docs/example.txt' not in done.err


@pytest.mark.parametrize(
    'name', ['model.pt', 'pytorch_model.bin', 'scaler.joblib', 'x.pkl', 'x.ckpt', 'y.pth']
)
def test_a_pickle_that_runs_programs_stops_the_push(mirror, folder, name):
    folder.write(name, pickle.dumps({'weights': Runs()}))
    stopped(mirror, folder, says=[name, 'unsafe-pickle', 'system', '--allow-unsafe'])


def test_allow_unsafe_lets_it_through(mirror, folder):
    folder.write('model.pt', pickle.dumps(Runs()))
    (done,) = mirror.push(folder, '--allow-unsafe')
    assert done['status'] == 'pushed'


def test_one_permission_is_not_the_other(mirror, folder, secret):
    folder.write('model.pt', pickle.dumps(Runs()))
    stopped(mirror, folder, '--allow-secrets', says=['unsafe-pickle'])


def test_a_plain_pickle_passes(mirror, folder):
    folder.write('vocab.pkl', pickle.dumps({'a': 1, 'b': [1.5, None]}))
    mirror.push(folder)


def test_what_was_found_is_found_again_after_it_stopped(mirror, folder, secret):
    folder.write('notes.txt', secret)
    for _ in range(2):
        stopped(mirror, folder, says=['notes.txt:1'], secret=secret)


def test_a_secret_in_the_name_of_a_file_stops_it_too(mirror, folder, secret):
    folder.write(f'runs/{secret}/log.txt', 'nothing\n')
    stopped(mirror, folder, says=['names of the files:', 'huggingface-token'])


@pytest.mark.heavy
def test_a_folder_with_more_files_than_the_hub_takes_stops_the_push_before_anything_is_there(
    hub, mirror, folder
):
    for number in range(10_001):
        folder.write(f'rows/{number}.txt', str(number))
    done = mirror.run(
        'push',
        folder,
        '--remote',
        'hub',
        '--repo',
        'local/many',
        env={'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token},
    )
    assert done.code == 8 and 'rows/: folder-size (10,001 files' in done.err
    assert not [seen for seen in hub.requests('POST') + hub.requests('PUT') if 'whoami' not in seen.path]
