"""What a commit must satisfy: the messages that refuse it, and cards that are made to hurt."""

from __future__ import annotations

import time

import pytest

from hfmirror.server.git import checks, refusals
from hfmirror.server.git.checks import CardReport, Update, card_report, plain_fault, ref_fault
from hfmirror.server.git.refusals import Offender

ZEROS, SHA = '0' * 40, 'ab' * 20


@pytest.mark.parametrize('content', [b'', b'text\n', '日本語'.encode(), b'\x1b[1mbold\x1b[0m\ttab\r\n\f'])
def test_text_may_stay_a_plain_file(content):
    assert plain_fault('a', content, 100) is None


@pytest.mark.parametrize('content', [b'\0', b'\x01', 'é'.encode('latin-1'), 'text'.encode('utf-16'), b'\x7f'])
def test_anything_but_utf_8_text_is_binary(content):
    assert plain_fault('a.txt', content, 100) == 'binary'


def test_a_file_of_just_the_limit_is_not_large():
    assert [plain_fault('a', b'x' * size, 100) for size in (100, 101)] == [None, 'large']


def test_the_message_about_large_files_is_the_hubs():
    assert refusals.large_text([Offender('model.pkl', 'refs/heads/main')]).splitlines() == [
        '-' * 73,
        'Your push was rejected because it contains files larger than 10 MiB.',
        'Please use https://git-lfs.github.com/ to store large files.',
        'See also: https://hf.co/docs/hub/repositories-getting-started#terminal',
        '',
        'Offending files:',
        '  - model.pkl (ref: refs/heads/main)',
        '-' * 73,
    ]


def test_the_message_about_large_files_names_another_limit():
    assert 'files larger than 1000 bytes.' in refusals.large_text([Offender('a', 'refs/heads/main')], 1000)


def test_the_message_about_binary_files_is_the_hubs():
    text = refusals.binary_text([Offender('demo.mp4', 'refs/pr/1')])
    assert 'Your push was rejected because it contains binary files.\n' in text
    assert '\nOffending files:\n  - demo.mp4 (ref: refs/pr/1)\n' in text


def test_the_message_about_missing_objects_names_the_files():
    text = refusals.missing_text(['a.bin', 'b.bin'])
    assert 'an LFS pointer pointed to a file that does not exist.\n' in text
    assert '\n  - a.bin\n  - b.bin\n' in text


def test_the_message_about_metadata_is_the_hubs():
    rule = '-' * 73
    assert refusals.metadata_text(['"license" must be one of [mit]']).splitlines() == [
        rule,
        'Sorry, your push was rejected during YAML metadata verification:',
        ' - Error: "license" must be one of [mit]',
        rule,
        'Please find the documentation at:',
        'https://huggingface.co/docs/hub/model-cards#model-card-metadata',
        rule,
    ]


def test_a_message_names_fifty_files_and_counts_the_others():
    lines = refusals.missing_text([f'{number}.bin' for number in range(120)]).splitlines()
    assert lines[-3:-1] == ['  - 49.bin', '  - and 70 more']


def test_a_name_in_a_message_cannot_talk_to_the_terminal():
    assert '\x1b' not in refusals.missing_text(['\x1b[2J.bin'])


@pytest.mark.parametrize(
    'ref',
    [
        'refs/heads/main',
        'refs/heads/a/b',
        'refs/heads/日本',
        'refs/tags/v1.0.0',
        'refs/pr/1',
        'refs/pr/123456',
    ],
)
def test_branches_tags_and_pull_requests_may_be_pushed(ref):
    assert ref_fault(Update(ZEROS, SHA, ref)) is None


@pytest.mark.parametrize(
    'ref',
    [
        'refs/notes/commits',
        'refs/hfmirror/tmp',
        'refs/pr/x',
        'refs/pr/0',
        'refs/pr/1/head',
        'refs/stash',
        'refs/heads/refs/heads/x',
        'refs/heads/HEAD',
        f'refs/heads/{SHA}',
        f'refs/tags/{SHA}',
        'HEAD',
    ],
)
def test_other_refs_and_names_that_mislead_may_not_be_pushed(ref):
    assert 'only branches, tags and pull requests' in ref_fault(Update(ZEROS, SHA, ref))


def test_main_may_not_be_deleted():
    assert ref_fault(Update(SHA, ZEROS, 'refs/heads/main')) == 'Cannot delete refs/heads/main branch'


def test_other_branches_may_be_deleted():
    assert ref_fault(Update(SHA, ZEROS, 'refs/heads/dev')) is None


# -- cards


def card(yaml, body='# Card\n'):
    return f'---\n{yaml}\n---\n{body}'.encode()


def test_a_card_with_good_metadata_has_no_fault():
    assert card_report(card('license: mit\ntags:\n- a'), 'model') == CardReport([], [])


@pytest.mark.parametrize(
    'content', [b'', b'# Card\n', b'---\n---\n# Card\n', b'\xff\xfe\0', b'---\nlicense: mit\n']
)
def test_a_card_without_metadata_is_warned_about(content):
    assert card_report(content, 'model') == CardReport([], ['empty or missing yaml metadata in repo card'])


def test_an_unknown_licence_is_an_error():
    report = card_report(card('license: my-own'), 'model')
    assert report.errors[0].startswith('"license" must be one of [apache-2.0, mit, ')
    assert len(report.errors) == 1


@pytest.mark.parametrize('yaml', ['license: [mit, my-own]', 'license: my-own\nlicense_name: x'])
def test_an_unknown_licence_is_said_once(yaml):
    report = card_report(card(yaml), 'model')
    assert [fault[:26] for fault in report.errors] == ['"license" must be one of [']


def test_an_error_names_the_key():
    report = card_report(card('model-index:\n- name: 3\n  results: []'), 'model')
    assert report.errors
    assert all(fault.startswith('"model-index[0]') for fault in report.errors)


def test_broken_yaml_is_an_error_with_its_line():
    report = card_report(card('license: mit\ntags: [a'), 'model')
    assert [fault.partition(':')[0] for fault in report.errors] == ['line 3']


def test_keys_that_nobody_reads_are_not_warned_about():
    """The card that TRL writes has both."""
    report = card_report(card('license: mit\nmodel_name: my-model\nlicence: license'), 'model')
    assert report == CardReport([], [])


def test_what_is_not_said_is_not_warned_about():
    assert card_report(card('pipeline_tag: text-generation'), 'model').warnings == []


def test_a_word_the_hub_may_not_know_is_a_warning():
    report = card_report(card('pipeline_tag: text-genration'), 'model')
    assert report.errors == []
    assert report.warnings == [
        "\"pipeline_tag\" 'text-genration' is not a value hfmirror knows; did you mean 'text-generation'?"
    ]


def test_the_body_of_a_card_is_nobodys_business():
    assert card_report(
        card('license: mit', '<!-- hfmirror:begin -->\n[More Information Needed]\n'), 'model'
    ) == CardReport([], [])


def test_a_readme_longer_than_a_plain_file_is_no_card():
    assert card_report(card('license: my-own', 'x' * checks.CARD_MAX), 'model').errors == []


def _merges(levels):
    lines = ['a0: &a0 {x: 1, y: 2}']
    lines += [
        f'a{n}: &a{n} {{<<: [*a{n - 1},*a{n - 1},*a{n - 1},*a{n - 1}], k{n}: 1}}' for n in range(1, levels)
    ]
    return '\n'.join(lines)


def _laughs(levels):
    lines = ['a0: &a0 [x,x,x,x,x,x,x,x,x,x]']
    lines += [f'a{n}: &a{n} [{",".join([f"*a{n - 1}"] * 10)}]' for n in range(1, levels)]
    return '\n'.join(lines)


@pytest.mark.parametrize(
    'yaml',
    [
        _laughs(30) + '\nmodel-index: *a29\ntags: *a29\nlanguage: *a29\nconfigs: *a29',
        'a: ' + '[' * 20_000 + ']' * 20_000,
        'a: ' + '{a: ' * 5_000 + '}' * 5_000,
        ''.join(' ' * depth + 'a:\n' for depth in range(300)),
        '- ' * 20_000,
        '? ' * 20_000,
        'a: &a [*a]\nmodel-index: *a\ntags: *a',
        'model-index: &a\n  b: *a',
        'a: ' + '9' * 60_000,
        'a: ' + ':'.join(['59'] * 10_000),
        'a: 1e999999999\nlicense: mit',
        '!!python/object/apply:os.system [exit]',
        'a: !!binary "%%%"',
        'a: \x00',
        '\ud800'.encode('utf-8', 'surrogatepass').decode('utf-8', 'replace'),
    ],
    ids=lambda yaml: yaml[:20],
)
def test_a_card_made_to_hurt_is_read_in_a_moment(yaml):
    started = time.monotonic()
    card_report(card(yaml), 'model')
    assert time.monotonic() - started < 10


def test_a_card_that_multiplies_is_given_up(monkeypatch):
    monkeypatch.setattr(checks, '_CARD_S', 3)
    started = time.monotonic()
    report = card_report(card(_merges(25)), 'model')
    assert len(report.errors) == 1
    assert 'a list is merged' in report.errors[0]
    assert time.monotonic() - started < 10


@pytest.mark.parametrize('key', ['<<', '!!merge x', '!<tag:yaml.org,2002:merge> x', '!!%6derge x'])
def test_a_key_that_could_multiply_is_read_by_another_process(key, monkeypatch):
    monkeypatch.setattr(checks, '_read_card', lambda *_: pytest.fail('read here'))
    assert card_report(card(f'a: &a {{x: 1}}\nlicense: mit\nb:\n  {key}: *a'), 'model').errors == []


@pytest.mark.heavy
def test_a_long_card_is_read_by_another_process(monkeypatch):
    monkeypatch.setattr(checks, '_read_card', lambda *_: pytest.fail('read here'))
    tags = ''.join(f'- tag-{number}\n' for number in range(9000))
    assert card_report(card(f'license: mit\ntags:\n{tags}'), 'model') == CardReport([], [])
