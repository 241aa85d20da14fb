"""Other people push too: our release goes on top of theirs, and what is theirs stays."""

from __future__ import annotations

import random

import pytest

from tests.support.fault import at, fault
from tests.support.folder import TrainingFolder
from tests.support.mirror import git
from tests.support.person import Person

NAME = 'me/tiny-model'


@pytest.fixture
def person(mirror, tmp_path):
    return Person(mirror.remote, tmp_path / 'person')


def card_of(mirror):
    return mirror.files()['README.md'].decode()


@pytest.mark.heavy
def test_a_commit_between_our_look_and_our_push_is_built_upon(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0', '--path-in-repo', 'model')
    folder.write('more.bin', b'\0\1' * 99)
    theirs = []
    host.when(
        'POST /git-receive-pack',
        lambda: theirs.append(person.pushes({'docs/usage.md': 'how to\n'}, tag='v1.0.1')),
    )
    (done,) = mirror.push(folder, '--remote', remote, '--tag', 'v1.1.0', '--path-in-repo', 'model')
    assert done['status'] == 'pushed'
    assert mirror.git('rev-parse', 'v1.1.0^{commit}^') == theirs[0]
    assert {'docs/usage.md', 'model/more.bin', 'model/model.bin'} <= mirror.files().keys()
    assert mirror.tags() == ['v1.0.0', 'v1.0.1', 'v1.1.0']
    assert mirror.git('rev-parse', 'v1.0.1^{commit}') == theirs[0]
    mirror.assert_whole()


@pytest.mark.heavy
def test_the_same_in_the_local_hub(mirror, folder, tmp_path):
    mirror.push(folder, '--tag', 'v1.0.0', '--path-in-repo', 'model')
    folder.write('more.bin', b'\0\1' * 99)
    other = TrainingFolder(tmp_path / 'other')
    other.write('other.bin', b'\3\0' * 99)
    home = {'HFMIRROR_HOME': str(tmp_path / 'other-home'), 'PYTHONPATH': ''}
    push = ['-m', 'hfmirror', 'push', str(other), '--remote', str(mirror.remote), '--repo', NAME]
    push += ['--tag', 'v1.0.1', '--path-in-repo', 'other']
    code = f'import sys; subprocess.run([sys.executable, *{push!r}], env={{**os.environ, **{home!r}}}, stdout=2, check=True)'
    env = fault(tmp_path / 'fault', at('hfmirror.worktree:WorkTree.push_refs', before=code))
    mirror.push(folder, '--tag', 'v1.1.0', '--path-in-repo', 'model', env=env)
    assert mirror.git('rev-parse', 'v1.1.0^{commit}^') == mirror.git('rev-parse', 'v1.0.1^{commit}')
    assert {'other/other.bin', 'model/more.bin'} <= mirror.files().keys()
    mirror.assert_whole()


@pytest.mark.heavy
def test_a_version_that_was_taken_meanwhile_is_counted_further(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    host.when('POST /git-receive-pack', lambda: person.pushes({'LICENSE': 'MIT\n'}, tag='v1.1.0'))
    (done,) = mirror.push(folder, '--remote', remote, '--bump', 'minor')
    assert done['version'] == 'v1.2.0'
    assert mirror.tags() == ['v1.0.0', 'v1.1.0', 'v1.2.0']


@pytest.mark.heavy
def test_a_chosen_tag_that_was_taken_meanwhile_is_a_conflict(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    host.when('POST /git-receive-pack', lambda: person.pushes({'LICENSE': 'MIT\n'}, tag='v2.0.0'))
    done = mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=6)
    assert 'v2.0.0' in done.err
    assert mirror.run('status', '--json').json == []
    assert 'more.bin' not in mirror.files()


@pytest.mark.heavy
def test_a_tag_alone_that_was_taken_meanwhile_is_a_conflict_too(mirror, folder, host, remote):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    host.when('POST /git-receive-pack', lambda: mirror.git('tag', '-a', 'v2.0.0', '-m', 'theirs', 'main'))
    head = mirror.git('rev-parse', 'main')
    done = mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=6)
    assert 'v2.0.0' in done.err
    assert mirror.git('rev-parse', 'main') == head


@pytest.mark.heavy
def test_a_branch_that_keeps_moving_is_given_up(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    numbers = iter(range(100))
    host.when('POST /git-receive-pack', lambda: person.pushes({'LICENSE': f'{next(numbers)}\n'}), times=99)
    done = mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=6)
    assert 'keeps moving' in done.err
    assert mirror.tags() == ['v1.0.0']


@pytest.mark.heavy
def test_words_that_a_person_wrote_into_the_card_stay_byte_for_byte(mirror, folder, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    before = card_of(mirror)
    begin = before.index('<!-- hfmirror:begin')
    words = '\n## Our words  \n\n\t* kept, with blanks at the end   \n\n'
    edited = before[:begin] + words + before[begin:] + '\nThe last line — no newline'
    person.pushes({'README.md': edited})
    folder.write('eval_results.json', '{"eval_accuracy": 0.99}\n')
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    after = card_of(mirror)
    assert words in after
    assert after.endswith('\nThe last line — no newline')
    assert '0.99' in after


@pytest.mark.heavy
def test_an_edit_of_the_card_while_we_push_stays(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    edited = card_of(mirror) + '\nTheir words.\n'
    host.when('POST /git-receive-pack', lambda: person.pushes({'README.md': edited}))
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0')
    after = card_of(mirror)
    assert after.endswith('\nTheir words.\n')
    assert '--branch v2.0.0' in after


@pytest.mark.heavy
def test_an_edit_of_the_card_while_a_release_waits_stays(mirror, folder, host, remote, person, tmp_path):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', b'\0\1' * 99)
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=7)
    person.pushes({'README.md': card_of(mirror) + '\nTheir words.\n'})
    host.start()
    mirror.run('resume', code=0)
    after = card_of(mirror)
    assert after.endswith('\nTheir words.\n')
    assert '--branch v2.0.0' in after
    mirror.assert_whole()


@pytest.mark.heavy
def test_their_lines_of_gitattributes_stay_beside_ours(mirror, folder, host, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    theirs = '# images of the paper\n*.weird filter=lfs diff=lfs merge=lfs -text\n'
    attributes = mirror.files()['.gitattributes'].decode()
    person.pushes({'.gitattributes': theirs + attributes})
    folder.write('strange name.xyz', b'\0\1' * 99)
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    after = mirror.files()['.gitattributes'].decode()
    assert after.startswith(theirs)
    assert set(attributes.splitlines()) <= set(after.splitlines())
    mirror.assert_whole()


@pytest.mark.heavy
def test_their_lines_of_gitattributes_stay_when_a_waiting_release_goes_on_top(
    mirror, folder, host, remote, person, tmp_path
):
    (tmp_path / 'config.yaml').write_text(
        'huggingface:\n  settings:\n    upload: {max_retries: 0, retry_delay: 0}\n'
    )
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('strange name.xyz', b'\0\1' * 99)
    host.stop()
    mirror.push(folder, '--remote', remote, '--tag', 'v2.0.0', code=7)
    theirs = '# ours\n*.weird filter=lfs diff=lfs merge=lfs -text\n'
    person.pushes({'.gitattributes': theirs + mirror.files()['.gitattributes'].decode()})
    host.start()
    mirror.run('resume', code=0)
    after = mirror.files()['.gitattributes'].decode()
    assert after.startswith(theirs)
    assert mirror.files()['strange name.xyz'].startswith(b'version https://git-lfs')
    mirror.assert_whole()


@pytest.mark.heavy
def test_what_people_keep_by_hand_stays_and_stale_files_go(mirror, folder, remote, person):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    by_hand = {'LICENSE': 'MIT\n', 'LICENCE.md': 'MIT\n', 'old-shard.txt': 'from an old run\n'}
    person.pushes(by_hand)
    folder.write('more.bin', b'\0\1' * 99)
    mirror.push(folder, '--remote', remote, '--bump', 'minor')
    files = mirror.files()
    assert {'LICENSE', 'LICENCE.md', 'README.md', '.gitattributes'} <= files.keys()
    assert 'old-shard.txt' not in files


@pytest.mark.heavy
def test_a_branch_that_was_rewritten_is_built_upon_as_it_is(mirror, folder, remote, tmp_path):
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    folder.write('more.bin', random.Random(5).randbytes(999))
    mirror.push(folder, '--remote', remote, '--tag', 'v1.1.0')
    mirror.git('update-ref', 'refs/heads/main', 'v1.0.0^{commit}')
    folder.write('third.bin', b'\0\3' * 99)
    mirror.push(folder, '--remote', remote, '--tag', 'v1.2.0')
    assert mirror.git('rev-parse', 'v1.2.0^{commit}^') == mirror.git('rev-parse', 'v1.0.0^{commit}')
    assert {'more.bin', 'third.bin'} <= mirror.files().keys()
    mirror.assert_whole()


def test_a_repository_with_history_of_others_only(mirror, folder, remote, person):
    person.pushes(
        {'README.md': '# Hello\n\nwords\n', '.gitattributes': '*.ckpt filter=lfs diff=lfs merge=lfs -text\n'}
    )
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    files = mirror.files()
    assert files['.gitattributes'].startswith(b'*.ckpt filter=lfs')
    assert b'# Hello\n\nwords\n' in files['README.md']
    assert git('log', '--format=%s', '--reverse', 'main', cwd=mirror.remote).splitlines()[0] == 'by hand'
    mirror.assert_whole()


def test_somebody_else_makes_the_very_first_commit(mirror, folder, host, remote, person):
    host.when('POST /git-receive-pack', lambda: person.pushes({'LICENSE': 'MIT\n'}))
    mirror.push(folder, '--remote', remote, '--tag', 'v1.0.0')
    assert {'LICENSE', 'model.bin'} <= mirror.files().keys()
    assert mirror.git('rev-list', '--count', 'main') == '2'


@pytest.mark.heavy
def test_a_gitattributes_that_is_not_utf_8_stays_as_it_is(mirror, folder, tmp_path):
    mirror.push(folder, '--tag', 'v1.0.0')
    person = Person(mirror.remote, tmp_path / 'latin')
    attributes = mirror.files()['.gitattributes'] + b'# caf\xe9\n'
    person.pushes({'.gitattributes': attributes})
    folder.write('odd.weights', b'\0\1\2')
    mirror.push(folder, '--tag', 'v1.1.0')
    assert mirror.files()['.gitattributes'].startswith(attributes)
    assert b'odd.weights' in mirror.files()['.gitattributes']
