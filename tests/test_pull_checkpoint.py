"""pull latest-checkpoint: the newest release that a training can go on from, under the names that a Trainer looks for."""

from __future__ import annotations

import json

import pytest

from tests.support.folder import checksums


@pytest.fixture
def release(mirror, folder, tmp_path):
    """Push a folder with the files of a training at a step; returns what it has."""

    def release(tag, step, *, inside='', optimizer='optimizer.pt', **kwargs):
        for path in sorted(folder.path.rglob('*'), reverse=True):
            path.unlink() if path.is_file() else path.rmdir()
        folder.write('config.json', '{}\n')
        folder.write('model.bin', f'weights of {step}' * 300)
        folder.write(f'{inside}trainer_state.json', json.dumps({'global_step': step, 'log_history': []}))
        if optimizer:
            folder.write(f'{inside}{optimizer}', f'optimizer of {step}' * 300)
        mirror.push(folder, '--tag', tag, **kwargs)
        return checksums(folder.path / inside)

    return release


@pytest.fixture
def pull(mirror, tmp_path):
    def pull(*args, code=0, version='latest-checkpoint'):
        where = ('--repo', mirror.repo, '--remote', 'local')
        done = mirror.run('pull', version, *where, *args, '--json', code=code)
        return done.json if code == 0 else done

    return pull


@pytest.mark.heavy
def test_the_newest_whole_checkpoint_comes_to_a_folder_called_as_a_trainer_calls_it(release, pull, tmp_path):
    release('step-5', 5)
    expected = release('step-10', 10)
    done = pull()
    assert (done['to'], done['version']) == ('checkpoint-10', 'step-10')
    found = checksums(tmp_path / 'checkpoint-10')
    assert {name: found[name] for name in expected} == expected
    assert done['python'] == "trainer.train(resume_from_checkpoint='checkpoint-10')"


@pytest.mark.heavy
def test_a_model_alone_is_passed_over(release, pull):
    release('step-5', 5)
    release('v1.0.0', 7, optimizer=None)
    assert pull()['version'] == 'step-5'


@pytest.mark.heavy
@pytest.mark.parametrize('inside', ['last-checkpoint/', 'checkpoint-30/'])
def test_a_checkpoint_in_a_folder_of_the_release_comes_without_the_folder(release, pull, tmp_path, inside):
    expected = release('step-30', 30, inside=inside)
    assert pull()['to'] == 'checkpoint-30'
    assert checksums(tmp_path / 'checkpoint-30') == expected


@pytest.mark.heavy
def test_of_several_folders_the_one_with_the_highest_step_comes(release, pull, mirror, folder, tmp_path):
    release('step-9', 9, inside='checkpoint-9/')
    folder.write('checkpoint-10/trainer_state.json', '{"global_step": 10}')
    folder.write('checkpoint-10/optimizer.pt', 'x')
    mirror.push(folder, '--tag', 'step-10')
    assert pull()['to'] == 'checkpoint-10'


@pytest.mark.heavy
def test_the_newest_by_date_counts_and_not_the_highest_step(release, pull, mirror, monkeypatch):
    release('step-50', 50)
    monkeypatch.setenv('GIT_COMMITTER_DATE', '2026-01-01T00:00:00Z')
    text = mirror.git('tag', '-l', '--format=%(contents)', 'step-50')
    mirror.git('tag', '-f', '-a', '--cleanup=verbatim', '-m', text, 'step-50', 'step-50^{}')
    release('step-5.2', 5)
    assert pull()['version'] == 'step-5.2'


@pytest.mark.parametrize(
    'optimizer', ['optimizer.bin', 'global_step7/mp_rank_00.pt', 'optimizer_0/__0_0.distcp']
)
def test_the_optimizers_of_other_trainers_count_too(release, pull, optimizer):
    release('step-7', 7, optimizer=optimizer)
    assert pull()['version'] == 'step-7'


def test_a_branch_that_a_trainer_has_pushed_to_itself_is_looked_at(release, pull, mirror):
    release('step-5', 5, inside='last-checkpoint/')
    mirror.git('tag', '-d', 'step-5')
    done = pull()
    assert (done['version'], done['to']) == ('main', 'checkpoint-5')


def test_a_state_that_tells_no_step_is_called_by_its_tag(release, pull):
    release('step-8', 'not a number')
    assert pull()['to'] == 'checkpoint-8'


def test_another_folder_can_be_named(release, pull, tmp_path):
    release('step-5', 5)
    assert pull('--to', tmp_path / 'mine')['to'] == str(tmp_path / 'mine')
    assert (tmp_path / 'mine' / 'optimizer.pt').is_file()


def test_pulling_again_fetches_nothing(release, pull):
    release('step-5', 5)
    pull()
    assert pull()['fetched'] == 0


def test_a_folder_with_other_files_of_these_names_is_left_alone(release, pull, tmp_path):
    release('step-5', 5)
    (tmp_path / 'checkpoint-5').mkdir()
    (tmp_path / 'checkpoint-5' / 'model.bin').write_text('mine')
    assert 'model.bin' in pull(code=6).err
    assert (tmp_path / 'checkpoint-5' / 'model.bin').read_text() == 'mine'


def test_where_there_is_no_checkpoint_that_is_said(release, pull):
    release('v1.0.0', 7, optimizer=None)
    assert 'no release has all that a training needs to go on' in pull(code=5).err


@pytest.mark.parametrize('option', [('--to-cache',), ('--path', 'model.bin')])
def test_a_checkpoint_is_a_folder_as_a_whole(pull, option):
    assert 'is brought into a folder, as a whole' in pull(*option, code=2).err


def test_checkpoints_are_listed_as_such(release, mirror):
    release('step-5', 5)
    release('v1.0.0', 6)
    where = ('--repo', mirror.repo, '--remote', 'local')
    rows = mirror.run('list-versions', *where, '--kind', 'checkpoint', '--json', code=0).json
    assert [(row['name'], row['kind']) for row in rows] == [('step-5', 'checkpoint')]
