import time

import pytest
import yaml

from hfmirror.errors import CardError
from hfmirror.readme import frontmatter

CARD = '---\nlicense: mit\ntags: [a, b]  # mine\n\n# about language\nlanguage:\n- en\n- no\n---\n# Title\n'


@pytest.mark.parametrize(
    'text',
    [
        CARD,
        CARD.replace('\n', '\r\n'),
        CARD.replace('\n', '\r'),
        '\ufeff' + CARD,
        '\n\n' + CARD,
        '---\n---\nbody',
        '---\nlicense: mit\n---',
        '---\nno end',
        'no front matter',
        '',
        '---',
    ],
)
def test_parts_joined_are_the_card(text):
    assert ''.join(frontmatter.split(text)) == text


def test_front_matter_is_found_where_the_hub_finds_it():
    assert frontmatter.split('---\na: 1\n--- \nbody').body == 'body'
    assert frontmatter.split('text\n---\na: 1\n---\n').yaml == ''


def test_no_stays_a_word():
    assert frontmatter.read(CARD, 'README.md')['language'] == ['en', 'no']


@pytest.mark.parametrize(
    ('text', 'line', 'column'),
    [
        ('---\nlicense: mit\ntags: [a\n---\n', 3, 9),
        ('---\na: b: c\n---\n', 2, 5),
        ('---\r\n\r\na: b: c\r\n---\r\n', 3, 5),
        ('---\na: 1\na: 2\n---\n', 3, 1),
        ('---\n- a\n- b\n---\n', 2, 1),
        ('---\njust text\n---\n', 2, 1),
        ('---\na: !!python/object:os.system x\n---\n', 2, 4),
        ('---\na: 1\nb: \x00\n---\n', 3, 4),
        ('---\na: 2024-13-45\n---\n', 2, 1),
        ('---\n? [a]\n: b\n? {c: d}\n: e\n---\n', 4, 3),
        ('---\na: *nobody\n---\n', 2, 4),
    ],
)
def test_broken_yaml_is_an_error_with_line_and_column(text, line, column):
    with pytest.raises(CardError) as caught:
        frontmatter.read(text, 'docs/README.md')
    assert str(caught.value).startswith(
        f'docs/README.md, line {line}, column {column}: the YAML at the top is broken: '
    )


@pytest.mark.parametrize('text', ['[' * 50_000, 'a: ' + '{b: ' * 20_000, 'a: ' + 'x' * 2_000_000])
def test_endless_yaml_is_an_error(text):
    with pytest.raises(CardError):
        frontmatter.read(f'---\n{text}\n---\n', 'README.md')


def test_lines_of_a_key_leave_out_comments_and_blanks_after_it():
    assert frontmatter.blocks(frontmatter.split(CARD).yaml) == {
        'license': (0, 1),
        'tags': (1, 2),
        'language': (4, 7),
    }


def test_lines_of_a_key_are_the_same_with_other_line_ends():
    unix, dos = (
        frontmatter.texts(frontmatter.split(text).yaml)['language']
        for text in (CARD, CARD.replace('\n', '\r\n'))
    )
    assert unix == dos == 'language:\n- en\n- no'


def test_change_touches_only_the_lines_of_its_key():
    changed = frontmatter.change(CARD, {'language': 'language:\n- de', 'datasets': 'datasets: x'})
    assert changed == CARD.replace('- en\n- no\n', '- de\ndatasets: x\n')


def test_change_keeps_crlf():
    changed = frontmatter.change(
        CARD.replace('\n', '\r\n'), {'license': 'license:\n- a\n- b', 'new': 'new: 1'}
    )
    assert '\n' not in changed.replace('\r\n', '')
    assert 'license:\r\n- a\r\n- b\r\ntags: [a, b]  # mine\r\n' in changed
    assert '- no\r\nnew: 1\r\n---\r\n# Title\r\n' in changed


def test_change_takes_a_key_out():
    assert frontmatter.change(CARD, {'tags': None}) == CARD.replace('tags: [a, b]  # mine\n', '')


def test_last_key_taken_out_leaves_front_matter_without_keys():
    changed = frontmatter.change('---\na: 1\n---\nbody', {'a': None})
    assert frontmatter.split(changed).body == 'body'
    assert frontmatter.read(changed, 'x') == {}
    assert frontmatter.read(frontmatter.change(changed, {'b': 'b: 2'}), 'x') == {'b': 2}


def test_change_adds_front_matter_to_a_card_without():
    assert frontmatter.change('# Title\n', {'a': 'a: 1'}) == '---\na: 1\n---\n\n# Title\n'
    assert frontmatter.change('', {'a': 'a: 1'}) == '---\na: 1\n---\n'
    assert frontmatter.change('\ufeff# T', {'a': 'a: 1'}) == '\ufeff---\na: 1\n---\n\n# T'


def test_nothing_to_change_changes_nothing():
    assert frontmatter.change('# Title', {'a': None}) == '# Title'
    assert frontmatter.change(CARD, {}) == CARD


def test_flow_mapping_is_left_alone():
    card = '---\n{license: mit, tags: [a]}\n---\n'
    assert frontmatter.change(card, {'language': 'language: en'}) == card


def test_key_is_added_to_front_matter_of_comments_only():
    changed = frontmatter.change('---\n# nothing yet\n---\n', {'a': 'a: 1'})
    assert changed == '---\n# nothing yet\na: 1\n---\n'


WORDS = [
    'no',
    'en',
    'yes',
    'null',
    '~',
    '1e3',
    '1.0',
    '2024-01-01',
    'a: b',
    '#x',
    'é',
    'a\nb',
    "it's",
    '',
    ' x ',
    '- a',
    '0x1f',
]
NUMBERS = [
    1e-07,
    5e-05,
    1.5e-09,
    -3e-08,
    1e22,
    0.1 + 0.2,
    3.0,
    7,
    2**53,
    123456.789,
    5e-324,
    1.7976931348623157e308,
    True,
]
NESTED = [['a', 'no'], [{'name': 'x', 'results': [{'task': {'type': 't'}, 'metrics': [{'value': 1e-07}]}]}]]


@pytest.mark.parametrize('value', [*WORDS, *NUMBERS, *NESTED])
def test_dumped_value_is_read_back_by_both_yaml_versions(value):
    lines = frontmatter.dump('key', value)
    assert frontmatter.parse(lines) == {'key': value}
    assert yaml.safe_load(lines) == {'key': value}
    assert not lines.endswith('\n')


def test_places_have_dotted_paths():
    places = frontmatter.places('a: 1\nb:\n- c: no\n  d:\n  - x\n')
    assert {key: place.line for key, place in places.items()} == {
        'a': 0,
        'b': 1,
        'b[0]': 2,
        'b[0].c': 2,
        'b[0].d': 3,
        'b[0].d[0]': 4,
    }
    assert places['b[0].c'].bare
    assert not places['a'].bare


def test_alias_to_itself_ends():
    assert 'a[0]' in frontmatter.places('a: &x [*x]')


def test_anchor_used_twice_is_read_without_a_word(capsys):
    card = '---\na: &x 1\nb: &x 2\nc: *x\n---\n'
    assert frontmatter.read(card, 'README.md') == {'a': 1, 'b': 2, 'c': 2}
    assert frontmatter.change(card, {'d': 'd: 3'}) == card.replace('*x\n', '*x\nd: 3\n')
    assert capsys.readouterr() == ('', '')


@pytest.mark.parametrize('card', ['---\n\n---\nbody', '---\n---\nbody', '---\na: 1\n\n---\nbody'])
def test_blank_lines_of_front_matter_stay(card):
    once = frontmatter.change(card, {'b': 'b: 1'})
    assert frontmatter.split(once).body == 'body'
    assert frontmatter.change(once, {'b': 'b: 1'}) == once
    assert frontmatter.change(once, {'b': 'b: 2'}) == once.replace('b: 1', 'b: 2')


def test_merge_keys_that_multiply_are_refused_at_once():
    levels = [f'a{n}: &a{n}\n  <<: [{", ".join([f"*a{n - 1}"] * 4)}]' for n in range(1, 12)]
    bomb = '\n'.join(['a0: &a0 {k0: 1, k1: 2, k2: 3}', *levels])
    started = time.monotonic()
    with pytest.raises(frontmatter.YamlProblem, match='merged'):
        frontmatter.parse(bomb)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize('key', ['!!merge x', '!<tag:yaml.org,2002:merge> x', '!!%6derge x'])
def test_a_merge_key_by_its_tag_is_one(key):
    with pytest.raises(frontmatter.YamlProblem):
        frontmatter.parse(f'm: &m {{k: 1}}\nx:\n  {key}: [*m, *m]')


def test_one_mapping_can_be_merged():
    values = frontmatter.parse('base: &b {k: 1}\nother:\n  <<: *b\n  l: 2')
    assert values['other'] == {'k': 1, 'l': 2}


def test_a_merged_list_behind_an_alias_is_refused():
    with pytest.raises(frontmatter.YamlProblem, match='merged'):
        frontmatter.parse('m: &m {k: 1}\nl: &l [*m, *m]\nx:\n  <<: *l')
