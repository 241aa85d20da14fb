"""hfmirror adopt: a repository that a Trainer has pushed to gets versions, all at once, and its words stay."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hfmirror import errors, gitcmd
from hfmirror import target as targets
from hfmirror.adopting import commits
from hfmirror.adopting.commits import plan
from hfmirror.adopting.history import Commit, History
from hfmirror.config.config import Config
from hfmirror.tree import total_size
from tests.support.folder import checksums
from tests.support.guide import Guide
from tests.support.inprocess import run_here
from tests.support.mirror import bare, git

CARD = """---
license: mit
model-index:
- name: tiny
  results:
  - task: {type: text-classification}
    dataset: {type: glue, name: glue}
    metrics:
    - {type: accuracy, value: 0.75, name: Accuracy}
---

# tiny

My own words about it.
"""
TRAINED = (
    'initial commit',
    'Training in progress, step 100',
    'Training in progress, step 200',
    'Training in progress, epoch 1',
    'Model save',
    'End of training',
)


def push(remote, *subjects, files=None):
    """Commit on main of a bare repository, once for each subject, as a Trainer does; each has its own weights."""
    if not remote.exists():
        remote.parent.mkdir(parents=True, exist_ok=True)
        bare(remote)
    before = git('rev-list', '--count', '--all', cwd=remote)
    stream = []
    for number, subject in enumerate(subjects, int(before)):
        held = {
            'config.json': '{"model_type": "bert", "architectures": ["BertModel"]}',
            'README.md': CARD,
            'weights.txt': f'weights {number}\n',
            **(files or {}),
        }
        when = f'Ada <ada@example.org> {1700000000 + number * 60} +0000'
        stream.append(f'commit refs/heads/main\ncommitter {when}\ndata {len(subject)}\n{subject}\n')
        if number == int(before) and number:
            stream.append('from refs/heads/main^0\n')
        for path, text in held.items():
            stream.append(f'M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n')
    subprocess.run(['git', 'fast-import', '--quiet'], cwd=remote, input=''.join(stream).encode(), check=True)
    return remote


def adopt(mirror, *args, code=0, where=('--remote', 'local')):
    done = run_here('adopt', mirror.repo, *where, *args, '--json', code=code)
    return done.json if code == 0 else done


def subjects(mirror, tag):
    return mirror.git('log', '-1', '--format=%s', f'{tag}^{{commit}}')


# -- which commit gets which tag


def planned(*subjects, tags=None, final=None):
    """Return {tag: subject of its commit} of a history; a commit that would be made is None."""
    past = [Commit(f'{number:040x}', number, subject) for number, subject in enumerate(subjects)]
    there = {tag: f'{number:040x}' for tag, number in (tags or {}).items()}
    return {
        one.tag: one.commit.oid[-1] + ' ' + one.commit.subject if one.commit else None
        for one in plan(past, there, Config(), final)
    }


def test_steps_and_epochs_are_named_by_their_numbers():
    assert planned('x', 'Training in progress, step 100', 'Training in progress, epoch 2') == {
        'step-100': '1 Training in progress, step 100',
        'epoch-2': '2 Training in progress, epoch 2',
    }


def test_of_a_step_with_its_state_the_commit_that_has_both_is_tagged():
    assert planned('Training in progress, step 5', 'Training in progress, step 5, checkpoint') == {
        'step-5': '1 Training in progress, step 5, checkpoint'
    }


def test_step_that_was_come_to_again_has_a_name_of_its_own():
    step = 'Training in progress, step 5'
    assert planned(step, 'x', step, step) == {
        'step-5': f'0 {step}',
        'step-5.2': f'2 {step}',
        'step-5.3': f'3 {step}',
    }


@pytest.mark.parametrize(
    'subject',
    [
        'Training in progress, step',
        'Training in progress, step -1',
        'training in progress, step 5',
        'Training in progress, step 5 and more',
        'Training in progress, loss 5',
        'Update README.md',
        'Endless',
    ],
)
def test_other_words_are_no_commit_of_a_trainer(subject):
    assert planned(subject) == {}


@pytest.mark.parametrize(
    'subject',
    [
        'End of training',
        'Model save',
        'Upload folder using huggingface_hub',
        'Upload model',
        'Upload BertModel',
    ],
)
def test_end_of_a_training_is_the_next_version(subject):
    assert planned('Training in progress, step 5', subject) == {
        'step-5': '0 Training in progress, step 5',
        'v0.1.0': None,
    }


def test_end_of_a_training_before_the_last_is_tagged_where_it_is():
    assert planned(
        'End of training', 'Training in progress, step 5', 'Model save', 'End of training', 'words'
    ) == {
        'step-5': '1 Training in progress, step 5',
        'v0.1.0': '0 End of training',
        'v0.2.0': None,
    }


def test_training_that_goes_on_after_an_end_has_no_version_yet():
    assert planned('End of training', 'Training in progress, step 5') == {
        'step-5': '1 Training in progress, step 5',
        'v0.1.0': '0 End of training',
    }


def test_versions_that_are_there_stay_and_are_gone_on_from():
    found = planned(
        'End of training', 'card', 'Training in progress, step 5', 'End of training', tags={'v3.0.0': 1}
    )
    assert list(found.items()) == [
        ('step-5', '2 Training in progress, step 5'),
        ('v3.0.0', '1 card'),
        ('v3.1.0', None),
    ]


def test_name_that_was_asked_for_is_that_of_the_end():
    assert planned('End of training', final='v7.0.0') == {'v7.0.0': None}
    assert planned('some words', final='v7.0.0') == {'v7.0.0': None}


def test_every_name_is_one_that_a_tag_may_have():
    assert commits._PROGRESS.fullmatch('Training in progress, step ' + '9' * 12)
    assert not commits._PROGRESS.fullmatch('Training in progress, step ' + '9' * 13)


# -- a repository


def test_commits_get_their_tags_and_the_branch_its_card(mirror):
    push(mirror.remote, *TRAINED)
    before = mirror.git('rev-parse', 'main')
    rows = adopt(mirror, '--tag', 'v1.0.0')
    assert [(row['version'], row['status']) for row in rows] == [
        ('step-100', 'pushed'),
        ('step-200', 'pushed'),
        ('epoch-1', 'pushed'),
        ('v1.0.0', 'pushed'),
    ]
    assert mirror.tags() == ['epoch-1', 'step-100', 'step-200', 'v1.0.0']
    assert subjects(mirror, 'step-200') == 'Training in progress, step 200'
    assert mirror.git('rev-parse', 'main', 'v1.0.0^{commit}', 'main^').split() == [
        rows[-1]['commit'],
        rows[-1]['commit'],
        before,
    ]
    mirror.git('fsck', '--full', '--strict')


def test_words_of_people_stay_in_the_card_and_the_rest_of_the_repository_as_it_was(mirror):
    push(mirror.remote, *TRAINED)
    before = mirror.files()
    adopt(mirror)
    after = mirror.files()
    card = after['README.md'].decode()
    assert 'My own words about it.' in card
    assert 'license: mit' in card
    assert 'v0.1.0' in card
    assert {path: text for path, text in after.items() if path not in ('README.md', '.gitattributes')} == {
        path: text for path, text in before.items() if path != 'README.md'
    }


def test_second_time_changes_nothing(mirror):
    push(mirror.remote, *TRAINED)
    adopt(mirror)
    before = mirror.git('for-each-ref')
    assert {row['status'] for row in adopt(mirror)} == {'up-to-date'}
    assert mirror.git('for-each-ref') == before


@pytest.mark.heavy
def test_training_that_went_on_is_added(mirror):
    push(mirror.remote, *TRAINED)
    adopt(mirror)
    before = set(mirror.git('for-each-ref', 'refs/tags').splitlines())
    push(mirror.remote, 'Training in progress, step 300', 'End of training')
    new = [row['version'] for row in adopt(mirror) if row['status'] == 'pushed']
    assert new == ['step-300', 'v0.2.0']
    assert before < set(mirror.git('for-each-ref', 'refs/tags').splitlines())


def test_dry_run_changes_nothing(mirror):
    push(mirror.remote, *TRAINED)
    before = mirror.git('for-each-ref')
    rows = adopt(mirror, '--dry-run')
    assert {row['status'] for row in rows} == {'dry-run'}
    assert mirror.git('for-each-ref') == before
    shown = run_here('adopt', mirror.repo, '--remote', 'local', '--dry-run', code=0)
    assert 'step-100' in shown.out
    assert 'would get 4 new tags' in shown.err


def test_facts_of_each_commit_are_in_its_tag(mirror):
    state = json.dumps({'log_history': [{'eval_loss': 0.5, 'step': 100}]})
    push(mirror.remote, 'Training in progress, step 100', files={'last-checkpoint/trainer_state.json': state})
    push(mirror.remote, 'Training in progress, step 200', files={'last-checkpoint/trainer_state.json': '{'})
    pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:' + 'a' * 64 + '\nsize 5000000\n'
    push(mirror.remote, 'Training in progress, step 300', files={'model.safetensors': pointer})
    rows = {row['version']: row for row in adopt(mirror)}
    assert rows['step-100']['metrics'] == {'eval_loss': 0.5}
    assert rows['step-200']['metrics'] == {'accuracy': 0.75}
    assert rows['step-300']['bytes'] > 5_000_000
    listed = run_here('list-versions', '--repo', mirror.repo, '--remote', 'local', '--json', code=0).json
    assert {one['name']: (one['metrics'], one['size'], one['files']) for one in listed} == {
        name: (row['metrics'], row['bytes'], row['files']) for name, row in rows.items()
    }
    assert {one['name']: one['message'] for one in listed}['step-200'] == 'Training in progress, step 200'
    assert {one['name']: one['date'] for one in listed}['step-100'] == '2023-11-14T22:13:20+00:00'


def test_pull_gets_the_bytes_of_a_step_and_verify_proves_them(mirror, tmp_path):
    push(mirror.remote, *TRAINED)
    adopt(mirror, '--tag', 'v1.0.0')
    where = ('--repo', mirror.repo, '--remote', 'local')
    run_here('pull', 'step-200', '--to', tmp_path / 'got', *where, code=0)
    assert (tmp_path / 'got' / 'weights.txt').read_text() == 'weights 2\n'
    for version in ('step-100', 'v1.0.0'):
        run_here('verify', version, *where, code=0)


@pytest.mark.heavy
def test_next_push_goes_on_from_there(mirror, folder):
    push(mirror.remote, *TRAINED)
    adopt(mirror, '--tag', 'v1.0.0')
    (release,) = mirror.push(folder)
    assert release['version'] == 'v1.1.0'
    assert 'My own words about it.' in mirror.files()['README.md'].decode()


def test_tags_that_are_there_never_move_and_the_commit_gets_a_name_of_its_own(mirror):
    push(mirror.remote, *TRAINED)
    git('tag', 'step-100', 'main', cwd=mirror.remote)
    before = mirror.git('rev-parse', 'step-100')
    first = {row['version']: row['commit'] for row in adopt(mirror)}
    assert mirror.git('rev-parse', 'step-100') == before
    assert first['step-100.2'] == mirror.git('rev-parse', 'step-100.2^{commit}')
    assert subjects(mirror, 'step-100.2') == 'Training in progress, step 100'
    assert {row['version']: row['status'] for row in adopt(mirror)} == dict.fromkeys(first, 'up-to-date')


def test_name_that_is_taken_is_refused(mirror):
    push(mirror.remote, *TRAINED)
    git('tag', 'v1.0.0', 'main~3', cwd=mirror.remote)
    before = mirror.git('for-each-ref')
    assert 'Tags never move' in adopt(mirror, '--tag', 'v1.0.0', code=6).err
    assert 'Tags never move' in adopt(mirror, '--tag', 'step-100', code=6).err
    assert mirror.git('for-each-ref') == before


@pytest.mark.heavy
def test_second_version_of_the_same_commit_is_refused(mirror):
    push(mirror.remote, *TRAINED)
    adopt(mirror, '--tag', 'v1.0.0')
    assert 'v1.0.0 is the version of the last commit already' in adopt(mirror, '--tag', 'v2.0.0', code=6).err


def test_what_was_refused_once_is_not_pushed_the_next_time(mirror):
    push(mirror.remote, *TRAINED)
    (mirror.remote / 'hooks').mkdir(exist_ok=True)
    hook = mirror.remote / 'hooks' / 'pre-receive'
    hook.write_text('#!/bin/sh\nexit 1\n')
    hook.chmod(0o755)
    adopt(mirror, code=1)
    hook.unlink()
    git('update-ref', 'refs/heads/main', 'main~3', cwd=mirror.remote)  # somebody has taken it back
    assert [row['version'] for row in adopt(mirror)] == ['step-100', 'step-200']
    assert mirror.tags() == ['step-100', 'step-200']


def test_push_of_somebody_else_meanwhile_is_told_and_nothing_is_changed(mirror):
    push(mirror.remote, *TRAINED)
    (mirror.remote / 'hooks').mkdir(exist_ok=True)
    hook = mirror.remote / 'hooks' / 'pre-receive'  # runs when git has seen that the tags are free
    hook.write_text('#!/bin/sh\nmkdir -p refs/tags\ngit rev-parse main > refs/tags/step-200\n')
    hook.chmod(0o755)
    assert 'run the same command again' in adopt(mirror, code=6).err
    assert mirror.tags() == ['step-200']


def test_push_that_is_refused_leaves_no_tag(mirror):
    push(mirror.remote, *TRAINED)
    hook = mirror.remote / 'hooks' / 'update'
    hook.parent.mkdir(exist_ok=True)
    hook.write_text('#!/bin/sh\ntest "$1" != refs/tags/step-200\n')
    hook.chmod(0o755)
    before = mirror.git('for-each-ref')
    adopt(mirror, code=1)
    assert mirror.git('for-each-ref') == before


def test_repository_without_a_commit_of_a_trainer_is_told(mirror):
    push(mirror.remote, 'first', 'second')
    done = adopt(mirror, code=5)
    assert 'none of its 2 commits is one of a Trainer' in done.err
    assert [row['version'] for row in adopt(mirror, '--tag', 'v1.0.0')] == ['v1.0.0']


def test_empty_repository_is_told(mirror):
    mirror.remote.parent.mkdir(parents=True)
    bare(mirror.remote)
    assert 'has no commit on main' in adopt(mirror, code=5).err


def test_repository_that_is_not_there_is_told(mirror):
    adopt(mirror, code=5)


@pytest.mark.heavy
def test_repository_of_hfmirror_has_nothing_to_adopt(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    adopt(mirror, code=5)
    assert mirror.tags() == ['v1.0.0']


@pytest.mark.heavy
def test_branch_with_merges_is_adopted(mirror, tmp_path):
    push(mirror.remote, *TRAINED[:3])
    work = tmp_path / 'work'
    git('clone', '-q', mirror.remote, work)
    git('-C', work, 'checkout', '-q', '-b', 'side', 'main~1')
    (work / 'words.md').write_text('words')
    git('-C', work, 'add', '.')
    git('-C', work, 'commit', '-q', '-m', 'Training in progress, step 150')
    git('-C', work, 'checkout', '-q', 'main')
    git('-C', work, 'merge', '-q', '--no-edit', 'side')
    git('-C', work, 'commit', '-q', '--allow-empty', '-m', 'End of training')
    git('-C', work, 'push', '-q', 'origin', 'main')
    assert {row['version'] for row in adopt(mirror)} == {'step-100', 'step-150', 'step-200', 'v0.1.0'}


def test_card_that_is_broken_is_told_and_nothing_is_pushed(mirror):
    push(mirror.remote, *TRAINED, files={'README.md': '---\na: [\n---\n'})
    before = mirror.git('for-each-ref')
    adopt(mirror, code=8)
    assert mirror.git('for-each-ref') == before


@pytest.mark.heavy
def test_repository_without_a_card_gets_one(mirror):
    push(mirror.remote, *TRAINED)
    git('-C', mirror.remote, 'config', 'core.bare', 'true')
    work = mirror.tmp_path / 'w'
    git('clone', '-q', mirror.remote, work)
    git('-C', work, 'rm', '-q', 'README.md')
    git('-C', work, 'commit', '-q', '-m', 'End of training')
    git('-C', work, 'push', '-q', 'origin', 'main')
    adopt(mirror)
    assert 'v0.1.0' in mirror.files()['README.md'].decode()


@pytest.mark.heavy
def test_thousands_of_commits_are_adopted(mirror):
    push(mirror.remote, *(f'Training in progress, step {step}' for step in range(1, 2001)), 'End of training')
    rows = adopt(mirror)
    assert len(rows) == 2001
    assert len(mirror.tags()) == 2001


@pytest.mark.heavy
def test_repository_on_a_git_host_is_adopted(mirror, host, remote):
    push(mirror.remote, *TRAINED)
    rows = adopt(mirror, where=('--remote', remote))
    assert [row['status'] for row in rows] == ['pushed'] * 4
    assert mirror.tags() == ['epoch-1', 'step-100', 'step-200', 'v0.1.0']


@pytest.mark.heavy
def test_history_that_is_damaged_is_fetched_anew(mirror):
    push(mirror.remote, *TRAINED)
    adopt(mirror, '--dry-run')
    (kept,) = (mirror.home / 'clones').glob('*/history.git')
    (kept / 'refs' / 'hfmirror' / 'history.lock').touch()
    for path in kept.glob('objects/??/*'):
        path.chmod(0o644)
        path.write_bytes(b'')
    for path in kept.glob('objects/pack/*.pack'):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:40])
    assert len(adopt(mirror)) == 4


@pytest.mark.parametrize('after_s', [0.3, 0.45, 0.6])
@pytest.mark.heavy
def test_kill_leaves_all_tags_or_none(mirror, after_s):
    push(mirror.remote, *TRAINED)
    command = [sys.executable, '-m', 'hfmirror', 'adopt', mirror.repo, '--remote', 'local']
    with subprocess.Popen(command, cwd=mirror.tmp_path, stderr=subprocess.DEVNULL) as process:
        time.sleep(after_s)
        process.kill()
    assert len(mirror.tags()) in (0, 4)
    adopt(mirror)
    assert mirror.tags() == ['epoch-1', 'step-100', 'step-200', 'v0.1.0']
    mirror.git('fsck', '--full', '--strict')


def test_host_that_cannot_be_reached_is_a_network_error(mirror, host, remote):
    push(mirror.remote, *TRAINED)
    host.stop()
    adopt(mirror, where=('--remote', remote), code=7)


# -- what is read of a history


def past(remote):
    """The history of a repository, and its commits."""
    found = History(targets.at_url(str(remote), 'me/x'), remote)
    return found, found.commits('main')


def test_contents_are_those_of_the_tree(tmp_path):
    pointer = 'version https://git-lfs.github.com/spec/v1\noid sha256:' + 'a' * 64 + '\nsize 5000000\n'
    deep = {'a/b/c.txt': 'c', 'a/b/m.safetensors': pointer, 'a/b c/\u00e9.txt': 'e', 'copy/b/c.txt': 'c'}
    push(tmp_path / 'r.git', *(f'step {number}' for number in range(300)), files=deep)
    found, commits = past(tmp_path / 'r.git')
    contents = found.contents(commits)
    for commit in (commits[0], commits[150], commits[-1]):
        tree = found.tree(commit.oid)
        assert contents[commit.oid][:2] == (len(tree), total_size(tree))
    assert contents[commits[0].oid].metrics == {'accuracy': 0.75}


def test_folders_that_stand_for_millions_of_files_are_counted_at_once(tmp_path):
    remote = tmp_path / 'r.git'
    bare(remote)
    (tmp_path / 'x').write_text('x')
    row = f'100644 blob {git("hash-object", "-w", tmp_path / "x", cwd=remote)}\tx\n'
    for _ in range(31):
        tree = gitcmd.git('mktree', cwd=remote, stdin=row)
        row = f'040000 tree {tree}\ta\n040000 tree {tree}\tb\n'
    git('update-ref', 'refs/heads/main', git('commit-tree', '-m', 'x', tree, cwd=remote), cwd=remote)
    found, commits = past(remote)
    assert found.contents(commits)[commits[0].oid].files == 2**30


def test_folders_without_end_are_refused(tmp_path):
    path = '/'.join(['d'] * 300) + '/x'
    push(tmp_path / 'r.git', 'x', files={path: 'x'})
    found, commits = past(tmp_path / 'r.git')
    with pytest.raises(errors.GitError, match='folders in folders'):
        found.contents(commits)


@pytest.mark.parametrize(
    'broken', ['{', '[' * 5000, 'null', '{"log_history": 5}', '{"log_history": [{"eval_x": NaN}]}']
)
def test_state_that_is_broken_tells_nothing_and_the_card_is_asked(tmp_path, broken):
    push(tmp_path / 'r.git', 'x', files={'trainer_state.json': broken})
    found, commits = past(tmp_path / 'r.git')
    assert found.contents(commits)[commits[0].oid].metrics == {'accuracy': 0.75}


@pytest.mark.parametrize(
    'card', ['---\na: [\n---\n', '---\n' + 'a: ' + '[' * 3000 + '\n---\n', '---\nmodel-index: 5\n---\n']
)
def test_card_that_is_broken_tells_nothing(tmp_path, card):
    push(tmp_path / 'r.git', 'x', files={'README.md': card})
    found, commits = past(tmp_path / 'r.git')
    assert found.contents(commits)[commits[0].oid].metrics == {}


# -- what a real Trainer leaves

TRAIN = """
import sys
import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

config = BertConfig(
    hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8, vocab_size=30, max_position_embeddings=16
)
data = [{'input_ids': [1, 2, 3, 4], 'labels': number % 2} for number in range(8)]
args = TrainingArguments(
    output_dir='out', push_to_hub=True, hub_model_id='local/trained', hub_strategy=sys.argv[1], save_steps=2, max_steps=4,
    hub_always_push=True, per_device_train_batch_size=2, report_to=[], use_cpu=True, disable_tqdm=True, eval_strategy='steps', eval_steps=2,
)
trainer = Trainer(BertForSequenceClassification(config), args, train_dataset=data, eval_dataset=data)
trainer.train()
trainer.push_to_hub()
"""


@pytest.mark.heavy
@pytest.mark.parametrize('strategy', ['every_save', 'checkpoint'])
def test_repository_of_a_real_trainer_is_adopted(hub, api, mirror, tmp_path, strategy, monkeypatch):
    monkeypatch.setenv('HF_TOKEN', hub.token)
    monkeypatch.setenv('HF_ENDPOINT', hub.endpoint)
    subprocess.run(
        ['python', '-W', 'ignore', '-c', TRAIN, strategy],
        check=True,
        cwd=tmp_path,
        env={**os.environ, 'OMP_NUM_THREADS': '1'},
    )
    written = [one.title for one in api.list_repo_commits('local/trained')]
    # A Trainer leaves out a step that it comes to while it still pushes the one before.
    steps = [f'step-{step}' for step in (2, 4) if any(f'step {step}' in title for title in written)]
    rows = mirror.run('adopt', 'local/trained', '--remote', 'hub', '--tag', 'v1.0.0', '--json', code=0).json
    assert [row['version'] for row in rows] == [*steps, 'v1.0.0']
    assert {one.name for one in api.list_repo_refs('local/trained').tags} == {*steps, 'v1.0.0'}
    where = ('--repo', 'local/trained', '--remote', 'hub')
    listed = mirror.run('list-versions', *where, '--json', code=0).json
    assert {one['name'] for one in listed} == {*steps, 'v1.0.0'}
    step = steps[0]
    mirror.run('pull', step, '--to', tmp_path / 'got', *where, code=0)
    theirs = api.snapshot_download(
        'local/trained', revision=api.list_repo_commits('local/trained', revision=step)[0].commit_id
    )
    got = checksums(tmp_path / 'got')
    assert got['model.safetensors'] == checksums(Path(theirs))['model.safetensors']
    for version in (step, 'v1.0.0'):
        mirror.run('verify', version, *where, code=0)
    card = Path(api.hf_hub_download('local/trained', 'README.md')).read_text('utf-8')
    assert 'v1.0.0' in card
    assert '<!-- This model card has been generated automatically' in card
    again = mirror.run('adopt', 'local/trained', '--remote', 'hub', '--json', code=0).json
    assert {row['status'] for row in again} == {'up-to-date'}


# -- the guide

GUIDE = (Path(__file__).parents[1] / 'docs' / 'adopt.md').read_text('utf-8')
BLOCKS = re.findall(r'^```sh\n(.*?)^```$', GUIDE, re.MULTILINE | re.DOTALL)


@pytest.mark.heavy
def test_blocks_of_the_guide_run_one_after_the_other(hub, tmp_path):
    guide = Guide(hub, tmp_path / 'project', 'me')
    for subject in ('Training in progress, step 500', 'Training in progress, step 1000', 'End of training'):
        guide.api.create_repo('me/my-model', exist_ok=True)
        guide.api.upload_file(
            path_or_fileobj=subject.encode(),
            path_in_repo='weights.txt',
            repo_id='me/my-model',
            commit_message=subject,
        )
    for block in BLOCKS:
        done = guide.shell(block, HF_TOKEN=guide.token)
    assert (guide.path / 'step-500' / 'weights.txt').read_text() == 'Training in progress, step 500'
    tags = {one.name for one in guide.api.list_repo_refs('me/my-model').tags}
    assert tags == {'step-500', 'step-1000', 'v1.0.0'}
    assert 'v1.0.0' in done.out
