import pytest

from hfmirror.errors import CardError
from hfmirror.readme import regions
from hfmirror.readme.regions import State

CARD = '# Mine\n\n<!-- hfmirror:begin overview -->\nold\n<!-- hfmirror:end overview -->\n\nwords\n\n<!-- hfmirror:begin files -->\n<!-- hfmirror:end files -->\n'


def test_content_is_between_the_markers():
    assert regions.content(CARD, 'README.md') == {'overview': 'old', 'files': ''}


@pytest.mark.parametrize('newline', ['\n', '\r\n'])
def test_writing_keeps_every_byte_outside(newline):
    card = CARD.replace('\n', newline)
    written = regions.write(card, {'overview': 'new\nlines', 'files': ''}, [], 'README.md')
    assert written == card.replace('old', f'new{newline}lines')


def test_missing_region_goes_after_the_one_before_it():
    written = regions.write(CARD, {'metrics': 'm'}, [], 'README.md')
    assert (
        'end overview -->\n\n<!-- hfmirror:begin metrics -->\nm\n<!-- hfmirror:end metrics -->\n\nwords'
        in written
    )


def test_missing_region_goes_before_the_one_after_it():
    card = '<!-- hfmirror:begin files -->\n<!-- hfmirror:end files -->'
    assert (
        regions.write(card, {'usage': 'u'}, [], 'x')
        == f'<!-- hfmirror:begin usage -->\nu\n<!-- hfmirror:end usage -->\n\n{card}'
    )


def test_first_region_goes_to_the_end_after_a_blank_line():
    for before, gap in (('words', '\n\n'), ('words\n', '\n'), ('words\n\n', ''), ('', '')):
        assert regions.write(before, {'usage': 'u'}, [], 'x').startswith(f'{before}{gap}<!-- hfmirror:begin')


def test_region_with_nothing_to_say_is_not_added():
    assert regions.write(CARD, {'metrics': ''}, [], 'x') == CARD


def test_region_that_was_taken_out_stays_out():
    assert regions.write(CARD, {'metrics': 'm'}, ['metrics'], 'x') == CARD


@pytest.mark.parametrize(
    ('text', 'line', 'fault'),
    [
        ('a\n<!-- hfmirror:begin files -->\n', 2, 'has no end'),
        ('a\r\n\r\n<!-- hfmirror:end files -->\r\n', 3, 'has no begin'),
        ('---\nlicense: mit\n---\n<!-- hfmirror:end files -->', 4, 'has no begin'),
        (CARD + CARD, 13, 'second time'),
        ('<!-- hfmirror:begin files -->\n<!-- hfmirror:begin usage -->\n', 2, "inside the region 'files'"),
        ('<!-- hfmirror:begin files -->\n<!-- hfmirror:end usage -->\n', 2, "inside the region 'files'"),
    ],
)
def test_broken_markers_are_an_error_with_the_line(text, line, fault):
    with pytest.raises(CardError, match=rf'^README.md, line {line}: the marker .*{fault}.* Put the pair'):
        regions.find(text, 'README.md')


@pytest.mark.parametrize(
    'text',
    [
        'text <!-- hfmirror:begin files --> text',
        '> <!-- hfmirror:begin files -->',
        '<!-- hfmirror:begin NAME -->',
        '<!-- hfmirror:begins files -->',
        '<!-- hfmirror:begin files',
        '    `<!-- hfmirror:begin files -->`',
        '---\nx: |\n  <!-- hfmirror:begin files -->\n---\n',
    ],
)
def test_marker_within_other_text_is_none(text):
    assert regions.find(text, 'x') == {}


def test_marker_with_other_blanks_is_one():
    assert list(regions.find('  <!--hfmirror:begin files-->\n\t<!--  hfmirror:end   files -->  \n', 'x')) == [
        'files'
    ]


def test_unknown_region_is_left_alone():
    card = '<!-- hfmirror:begin later -->\nkept\n<!-- hfmirror:end later -->\n'
    assert card in regions.write(card, {'files': 'f'}, [], 'x')


def test_state_is_read_back():
    state = State({'license': '0123abcd', 'model-index': 'ffff0000'}, ['overview', 'files'], 'abc123')
    text = regions.write('words\n', {'state': regions.state_lines(state)}, [], 'x')
    assert regions.state(text, 'x') == state
    assert regions.state(text.replace('\n', '\r\n'), 'x') == state


@pytest.mark.parametrize(
    'junk',
    ['', 'junk', '<!-- hfmirror:keys -->', '<!-- hfmirror:source a b -->', '<!-- hfmirror:keys == = -->'],
)
def test_junk_in_the_state_is_nothing(junk):
    text = f'<!-- hfmirror:begin state -->\n{junk}\n<!-- hfmirror:end state -->'
    state = regions.state(text, 'x')
    assert state.regions == []
    assert state.source is None


def test_text_without_regions_is_what_people_wrote():
    assert regions.without(CARD, 'x') == '# Mine\n\n\n\nwords\n\n\n'


def test_region_of_an_unknown_name_is_a_persons():
    card = '<!-- hfmirror:begin later -->\nkept\n<!-- hfmirror:end later -->\n'
    assert regions.without(card, 'x') == card
