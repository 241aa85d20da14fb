"""docs/requirements.md is true: each row has a test that is there, and what a row quotes is in the file of its test."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parent / 'docs' / 'requirements.md').read_text('utf-8')
GUIDES = ('training', 'features', 'checkpoints', 'trainer', 'jobs')


class Row(NamedTuple):
    section: str
    words: str
    does: str
    tests: str

    @property
    def quoted(self):
        """What is in backticks in the first column."""
        return re.findall('`([^`]+)`', self.words)

    @property
    def named(self):
        """[(file, test)] of the last column."""
        return re.findall(r'`(test_\w+\.py)::(test_\w+)`', self.tests)


def rows():
    section, found = '', []
    for line in PAGE.splitlines():
        if line.startswith('#'):
            section = line.lstrip('# ')
        cells = [cell.strip() for cell in line.split('|')[1:-1]]
        if cells and cells[2] != 'test' and set(cells[0]) != {'-'}:
            found.append(Row(section, *cells))
    return found


ROWS = rows()
TESTED = [row for row in ROWS if row.tests != '-']


@cache
def source(file):
    return (TESTS / file).read_text('utf-8')


@cache
def names_in(file):
    return [
        node.name for node in ast.parse(source(file)).body if getattr(node, 'name', '').startswith('test_')
    ]


def ids(row):
    return row.words[:40]


def test_the_page_has_the_five_guides():
    assert re.findall('^## (.+)$', PAGE, re.MULTILINE) == [
        'The training workflow guide',
        'The feature upload guide',
        'The checkpoint guide',
        'The training job guide',
        'The results guide',
    ]
    assert len(ROWS) > 210


def test_a_row_without_a_test_says_why():
    for row in ROWS:
        assert (row.tests == '-') == row.does.startswith("not hfmirror's job: "), row.words


@pytest.mark.parametrize('row', TESTED, ids=ids)
def test_every_test_that_a_row_names_is_there(row):
    assert row.named and len(set(row.named)) == len(row.named)
    assert re.sub('`[^`]+`', '', row.tests).strip() == ''
    assert row.tests.count('`') == 2 * len(row.named)
    for file, name in row.named:
        assert name in names_in(file), f'{file}::{name}'


@pytest.mark.parametrize('row', [row for row in TESTED if row.quoted], ids=ids)
def test_what_a_row_quotes_is_in_the_file_of_its_test(row):
    text = '\n'.join(source(file) for file, _ in row.named)
    assert [one for one in row.quoted if one not in text] == []


def test_nothing_is_in_the_page_twice():
    seen = [(row.section, row.words) for row in ROWS]
    assert [one for one in seen if seen.count(one) > 1] == []


@pytest.mark.parametrize('guide', GUIDES)
def test_every_test_of_a_guides_blocks_is_in_the_page(guide):
    file = f'test_requirements_{guide}.py'
    assert [name for name in names_in(file) if f'`{file}::{name}`' not in PAGE] == []


def test_every_key_of_the_guides_two_files_is_in_the_page():
    """Each key is quoted, for what comes of it, or stands for the section of those that are."""
    from tests.test_config import PROJECT_FILE, SECOND_FILE

    quoted = {one for row in ROWS if row.section.startswith('Keys') for one in row.quoted}
    keys = set(re.findall(r'^ *(?:- )?(\w+):', PROJECT_FILE + SECOND_FILE, re.MULTILINE))
    sections = {'huggingface', 'repository', 'versioning', 'user', 'settings', 'upload', 'download', 'sync'}
    of_lists_and_formats = {'name', 'description', 'timestamp', 'semantic'}
    assert keys - quoted - sections - of_lists_and_formats == set()
