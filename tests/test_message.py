import json
import math
import random
import subprocess
import unicodedata
from datetime import UTC, datetime

import pytest

from hfmirror.message import Notes, TagFacts, commit_message, read_tag, tag_message
from hfmirror.tree import Changes, Entry
from hfmirror.versions import VersionInfo

SHA = '3f9c1d2' + '0' * 33
WEIGHTS = Entry('model.safetensors', 'a' * 64, 90_900_000, True)
CARD = Entry('README.md', 'b' * 40, 1200, False)
NASTY = [
    'Hfmirror-Version: v9.9.9',
    'words\n\nHfmirror-Version: v9.9.9\nExperiment: forged',
    'words\r\n\r\nHfmirror-Version: v9.9.9\r\n',
    'words\n\nSigned-off-by: me <me@example.org>\nHfmirror-Size: 1\n---\nmore',
    '---\n\nHfmirror-Version: v9.9.9',
    'words\n---',
    'words\n# ------------------------ >8 ------------------------\nbelow',
    'words\n; ------------------------ >8 ------------------------\nbelow',
    '# only\n# comments',
    '#12: subject with a number',
    'nul\x00\n\nHfmirror-Version: v9.9.9\x00',
    '\x85\u2028\x0b\x0cHfmirror-Version: v9.9.9',
    '-----BEGIN PGP SIGNATURE-----\nx',
    '\ufeffwords\n\n\n\n\n\nmore',
    'lone \udcff surrogate',
    'words\n\nConflicts:\n\tmodel.bin',
    '(cherry picked from commit 1)\n',
]


def notes(**values):
    defaults = Notes(
        repo_type='model',
        repo_id='me/mcp-finetuned-model',
        version='v1.1.0',
        experiment=None,
        changes=Changes([WEIGHTS], [], []),
        files=12,
        size=91_262_034,
        metrics={},
        previous=None,
        source_commit=None,
        source_dirty=False,
        text=None,
    )
    return defaults._replace(**values)


def release(name='v1.0.0', **metrics):
    return VersionInfo(name, 'semantic', 'c' * 40, datetime(2024, 1, 1, tzinfo=UTC), 1, 1, metrics, '')


def subject(message):
    return message.partition('\n')[0]


def git(*args, cwd, stdin=''):
    command = ['git', '-c', 'user.name=n', '-c', 'user.email=e@example.org', *args]
    done = subprocess.run(command, cwd=cwd, input=stdin.encode(), capture_output=True, check=True)
    return done.stdout.decode()


def trailers(message, cwd):
    parsed = git('interpret-trailers', '--parse', cwd=cwd, stdin=message)
    return dict(line.split(': ', 1) for line in parsed.splitlines())


@pytest.fixture
def repository(tmp_path):
    git('init', '-q', cwd=tmp_path)
    return tmp_path


def test_subject_is_conventional():
    assert subject(commit_message(notes(version='v1.0.0'))) == 'feat(model): mcp-finetuned-model v1.0.0'


@pytest.mark.parametrize(
    ('changes', 'expected'),
    [
        (Changes([CARD, WEIGHTS], [], []), 'feat(dataset): '),
        (Changes([CARD], [], []), 'docs(dataset): '),
        (Changes([], [(CARD, CARD)], [Entry('sub/LICENSE.txt', 'c', 1, False)]), 'docs(dataset): '),
        (Changes([], [], [WEIGHTS]), 'feat(dataset): '),
        (Changes([], [], []), 'chore(dataset): '),
    ],
)
def test_subject_says_what_kind_of_change_it_is(changes, expected):
    assert commit_message(notes(repo_type='dataset', changes=changes)).startswith(expected)


def test_subject_of_a_release_without_version_has_no_version():
    assert subject(commit_message(notes(version=None))) == 'feat(model): mcp-finetuned-model'


def test_subject_is_at_most_72_characters_and_keeps_the_version():
    line = subject(commit_message(notes(repo_id='me/' + 'x' * 96)))
    assert len(line) == 72
    assert line.endswith('x… v1.1.0')


def test_subject_is_longer_only_when_the_version_is():
    version = 'v1.0.0-' + 'x' * 100
    assert subject(commit_message(notes(version=version))).endswith(f' {version}')


def test_words_of_the_person_come_first_and_the_facts_after():
    message = commit_message(notes(text='  Fix the loss\n\nIt was wrong.\nNow it is right.\n'))
    assert message.startswith('Fix the loss\n\nIt was wrong.\nNow it is right.\n\nAdded 1 file:\n')


@pytest.mark.parametrize('text', [None, '', ' \n\t\n', '\x00\x01', '\ufeff'])
def test_blank_words_give_the_generated_subject(text):
    assert subject(commit_message(notes(text=text))) == 'feat(model): mcp-finetuned-model v1.1.0'


def test_commit_names_files_with_sizes():
    old = Entry('config.json', 'c' * 40, 612, False)
    changes = Changes(
        [WEIGHTS], [(old, old._replace(oid='d' * 40, size=1500)), (CARD, CARD)], [old._replace(path='x.bin')]
    )
    assert commit_message(notes(changes=changes)) == (
        'feat(model): mcp-finetuned-model v1.1.0\n'
        '\n'
        'Added 1 file:\n'
        '  model.safetensors (90.9 MB)\n'
        '\n'
        'Changed 2 files:\n'
        '  config.json (1.5 kB, was 612 B)\n'
        '  README.md (1.2 kB)\n'
        '\n'
        'Removed 1 file:\n'
        '  x.bin (612 B)\n'
        '\n'
        'Hfmirror-Version: v1.1.0\n'
        'Hfmirror-Files: 12\n'
        'Hfmirror-Size: 91262034\n'
    )


def test_long_list_of_files_is_cut_with_a_count():
    added = [Entry(f'{number:05}.npy', 'a', 1, False) for number in range(10_000)]
    message = commit_message(notes(changes=Changes(added, [], [])))
    assert 'Added 10,000 files:\n  00000.npy (1 B)\n' in message
    assert '  00019.npy (1 B)\n  and 9,980 more files\n' in message
    assert '00020' not in message


def test_metrics_are_shown_with_the_change_since_the_previous_release():
    now = {'eval_loss': 0.25, 'accuracy': 0.91, 'new': 1, 'same': 2.0}
    message = commit_message(notes(metrics=now, previous=release(eval_loss=0.3, accuracy=0.89, same=2)))
    assert (
        'Metrics (against v1.0.0):\n  accuracy 0.91 (+0.02)\n  eval_loss 0.25 (-0.05)\n  new 1\n  same 2 (unchanged)\n'
    ) in message


def test_difference_that_no_float_holds_is_not_shown():
    message = commit_message(notes(metrics={'x': 1.7e308}, previous=release(x=-1.7e308)))
    assert '  x 1.7e+308\n' in message


def test_values_that_are_no_finite_numbers_are_not_metrics():
    values = {'a': math.nan, 'b': math.inf, 'c': 10**400, 'd': True, 'e': None, 'f': 'x', 'g': 2}
    message = tag_message(notes(metrics=values))
    assert read_tag(message).metrics == {'g': 2.0}


def test_commit_has_every_fact_in_trailers(repository):
    message = commit_message(
        notes(metrics={'eval_loss': 0.25}, source_commit=SHA, source_dirty=True, experiment='My run')
    )
    assert trailers(message, repository) == {
        'Hfmirror-Version': 'v1.1.0',
        'Hfmirror-Files': '12',
        'Hfmirror-Size': '91262034',
        'Hfmirror-Metrics': '{"eval_loss":0.25}',
        'Source-Commit': SHA,
        'Source-Dirty': 'true',
        'Experiment': 'My run',
    }


def test_clean_source_has_no_dirty_trailer(repository):
    assert 'Source-Dirty' not in trailers(commit_message(notes(source_commit=SHA)), repository)
    assert 'Source-Dirty' not in trailers(commit_message(notes(source_dirty=True)), repository)


def test_tag_has_the_same_trailers_as_the_commit(repository):
    facts = notes(metrics={'a': 1.5}, source_commit=SHA, experiment='x', text='Words\n\nand more')
    assert trailers(tag_message(facts), repository) == trailers(commit_message(facts), repository)


def test_facts_of_a_tag_are_read_back():
    found = read_tag(tag_message(notes(metrics={'loss': 0.1}, text='First line\n\nSecond')))
    assert found == TagFacts(size=91_262_034, files=12, metrics={'loss': 0.1}, message='First line')


def test_metrics_are_read_back_exactly():
    source = random.Random(1)
    metrics = {f'm{number}': source.uniform(-1, 1) * 10 ** source.randint(-300, 300) for number in range(200)}
    metrics |= {'zero': -0.0, 'small': 5e-324, 'large': 1.7976931348623157e308, 'whole': 3.0}
    metrics |= {'名': 1.0, 'new\nline': 2.0, '"}: {': 3.0, 'Hfmirror-Size: 1': 4.0, '\ud800': 5.0}
    found = read_tag(tag_message(notes(metrics=metrics))).metrics
    assert {name: value.hex() for name, value in found.items()} == {
        name: value.hex() for name, value in metrics.items()
    }


def test_same_notes_give_the_same_messages_whatever_the_order_of_the_metrics():
    first, second = notes(metrics={'a': 1.0, 'b': 2.0}), notes(metrics={'b': 2.0, 'a': 1.0})
    assert commit_message(first) == commit_message(second)
    assert tag_message(first) == tag_message(second)


@pytest.mark.parametrize('text', NASTY)
@pytest.mark.parametrize('make', [commit_message, tag_message])
def test_words_of_the_person_forge_no_trailer(make, text, repository):
    expected = {'Hfmirror-Version': 'v1.1.0', 'Hfmirror-Files': '12', 'Hfmirror-Size': '91262034'}
    message = make(notes(text=text))
    assert trailers(message, repository) == expected
    facts = read_tag(message)
    assert (facts.size, facts.files) == (91_262_034, 12)


@pytest.mark.parametrize('text', NASTY)
def test_git_keeps_every_word_of_the_messages(text, repository):
    for message in (commit_message(notes(text=text)), tag_message(notes(text=text))):
        git('commit', '-q', '--allow-empty', '--cleanup=strip', '-F', '-', cwd=repository, stdin=message)
        git('tag', '-f', '-a', 'v1', '-F', '-', cwd=repository, stdin=message)
        assert git('log', '-1', '--format=%B', cwd=repository) == message + '\n'
        assert git('for-each-ref', '--format=%(contents)', 'refs/tags/v1', cwd=repository) == message + '\n'
        shown = git('log', '-1', '--format=%(trailers:key=Hfmirror-Version,valueonly)', cwd=repository)
        assert shown.strip() == 'v1.1.0'


@pytest.mark.parametrize(
    'evil', ['a\nHfmirror-Size: 1', 'a\r\n\r\nExperiment: x', 'a\x00b', 'a\x1b[31m', 'a\udcff', 'a\u2028b']
)
def test_names_forge_no_trailer(evil, repository):
    entry = WEIGHTS._replace(path=evil)
    facts = notes(
        repo_id=f'me/{evil}',
        experiment=evil,
        changes=Changes([entry], [(entry, entry)], [entry]),
        metrics={evil: 1.0},
        previous=release(evil, **{evil: 2.0}),
    )
    for message in (commit_message(facts), tag_message(facts)):
        found = trailers(message, repository)
        assert list(found) == [
            'Hfmirror-Version',
            'Hfmirror-Files',
            'Hfmirror-Size',
            'Hfmirror-Metrics',
            'Experiment',
        ]
        assert found['Hfmirror-Size'] == '91262034'
        assert not any(unicodedata.category(letter) in ('Cc', 'Cs') for letter in message.replace('\n', ''))


def test_tag_that_others_made_has_a_message_and_no_facts():
    assert read_tag('\n\nRelease one\n\nWords: many\n') == TagFacts(None, None, {}, 'Release one')


def test_signature_of_a_tag_is_no_part_of_its_message():
    signed = tag_message(notes()) + '-----BEGIN PGP SIGNATURE-----\n\niQ: x\n-----END PGP SIGNATURE-----\n'
    assert read_tag(signed).files == 12


def test_message_of_a_tag_has_no_control_characters():
    assert read_tag('red \x1b[31m text\x07').message == 'red \\x1b[31m text\\x07'


@pytest.mark.parametrize(
    'text',
    [
        '',
        '\n\n',
        '\x00',
        '\udcff',
        'Hfmirror-Size: ' + '9' * 5000,
        'Hfmirror-Size: -1\nHfmirror-Files: 1.5',
        'Hfmirror-Size: ١٢',
        'Hfmirror-Metrics: ' + '[' * 100_000,
        'Hfmirror-Metrics: {"a": ' + '9' * 5000 + '}',
        'Hfmirror-Metrics: [1]',
        'Hfmirror-Metrics: {"a": NaN, "b": 1e999, "c": "x", "d": true, "e": {}}',
        'Hfmirror-Metrics: {',
        'x: ' * 100_000,
        '-----BEGIN PGP SIGNATURE-----',
    ],
)
def test_strange_tag_has_no_facts_and_is_no_error(text):
    found = read_tag(text)
    assert (found.size, found.files, found.metrics) == (None, None, {})


def test_metrics_trailer_is_json():
    line = next(
        line for line in tag_message(notes(metrics={'b': 1, 'a': 2})).splitlines() if 'Metrics: {' in line
    )
    assert json.loads(line.partition(' ')[2]) == {'a': 2.0, 'b': 1.0}
