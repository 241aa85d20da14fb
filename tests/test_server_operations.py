"""Is the body of a commit read as it is meant, in bounded time and memory, and refused with a reason when it is none?"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmirror.server.answers import Problem
from hfmirror.server.commits.operations import (
    LINES_MAX,
    Commit,
    Delete,
    Header,
    Put,
    PutLfs,
    Reader,
    from_document,
)

HEADER = b'{"key":"header","value":{"summary":"first"}}\n'
OID = 'ab' * 32


def blob(content):
    return hashlib.sha1(content).hexdigest()


def line(key, **value):
    return json.dumps({'key': key, 'value': value}).encode() + b'\n'


def read(*parts, plain_max=1000):
    """Return the commit that a body is, sent in these parts, with {path: content} of its files."""
    kept = {}

    def keep(path, content):
        kept[path] = content
        return blob(content)

    reader = Reader(keep, plain_max=plain_max)
    for part in parts:
        reader.feed(part)
    return reader.finish(), kept


def refused(*parts, **more):
    with pytest.raises(Problem) as caught:
        read(*parts, **more)
    return caught.value


# -- what is read


def test_a_header_has_summary_description_and_parent():
    commit, _ = read(line('header', summary=' s ', description='d', parentCommit='a' * 40))
    assert commit.header == Header('s', 'd', 'a' * 40)


def test_summary_and_description_are_the_message():
    commit, _ = read(line('header', summary='s', description='d'))
    assert commit.header.message == 's\n\nd'


def test_a_summary_alone_is_the_message():
    commit, _ = read(line('header', summary='s', description=''))
    assert commit.header.message == 's'


def test_base64_is_decoded():
    _, kept = read(HEADER, line('file', path='a', content='AAH/', encoding='base64'))
    assert kept == {'a': b'\0\1\xff'}


def test_without_an_encoding_content_is_text():
    _, kept = read(HEADER, line('file', path='a', content='größe\n'))
    assert kept == {'a': 'größe\n'.encode()}


def test_an_object_may_come_without_its_size():
    commit, _ = read(HEADER, line('lfsFile', path='a', algo='sha256', oid=OID))
    assert commit.operations == [PutLfs('a', OID, None)]


def test_a_file_may_take_the_place_of_another():
    commit, _ = read(HEADER, line('file', path='a', content='x', oldPath='b'))
    assert commit.operations == [Put('a', blob(b'x'), 'b')]


@pytest.mark.parametrize(
    ('key', 'kind'), [('deletedFile', 'file'), ('deletedFolder', 'folder'), ('deletedEntry', 'entry')]
)
def test_deletions_say_what_goes(key, kind):
    commit, _ = read(HEADER, line(key, path='a/b'))
    assert commit.operations == [Delete('a/b', kind)]


def test_a_folder_may_end_with_a_slash():
    commit, _ = read(HEADER, line('deletedFolder', path='a/b/'))
    assert commit.operations == [Delete('a/b', 'folder')]


def test_operations_keep_their_order():
    commit, _ = read(HEADER, line('deletedFile', path='b'), line('file', path='a', content=''))
    assert [operation.path for operation in commit.operations] == ['b', 'a']


def test_the_last_line_may_end_without_a_newline():
    commit, _ = read(HEADER, line('deletedFile', path='b').rstrip())
    assert len(commit.operations) == 1


def test_empty_lines_say_nothing():
    commit, _ = read(b'\n\r\n' + HEADER + b'\n')
    assert commit == Commit(Header('first'), [])


def test_the_older_form_is_one_document():
    document = {
        'summary': 's',
        'description': 'd',
        'files': [{'path': 'a', 'content': 'aGk=', 'encoding': 'base64'}],
        'lfsFiles': [{'path': 'b', 'algo': 'sha256', 'oid': OID, 'size': 3}],
        'deletedEntries': [{'path': 'c'}],
    }
    commit = from_document(document, lambda path, content: blob(content))
    assert commit.operations == [Delete('c', 'entry'), Put('a', blob(b'hi')), PutLfs('b', OID, 3)]


# -- what is refused


NO_LINES = {
    'no JSON': b'{"key": ',
    'no object': b'[1, 2]\n',
    'no key': b'{"value": {}}\n',
    'no value': b'{"key": "file"}\n',
    'a value that is a list': b'{"key": "file", "value": []}\n',
    'a key that is none': line('format', path='a'),
    'not UTF-8': b'{"key": "file", "value": {"path": "\xff", "content": ""}}\n',
    'NUL': b'\0\n',
    'deep': b'[' * 60_000 + b'\n',
    'no path': line('file', content=''),
    'a path that is a number': line('file', path=1, content=''),
    'half a character in a path': b'{"key": "file", "value": {"path": "\\ud800", "content": ""}}\n',
    'half a character in a text': b'{"key": "file", "value": {"path": "a", "content": "\\ud800"}}\n',
    'no content': line('file', path='a'),
    'another encoding': line('file', path='a', content='', encoding='utf-16'),
    'no base64': line('file', path='a', content='%%%%', encoding='base64'),
    'base64 cut off': line('file', path='a', content='aGk', encoding='base64'),
    'base64 that is not ASCII': line('file', path='a', content='äöü=', encoding='base64'),
    'another hash': line('lfsFile', path='a', algo='md5', oid=OID),
    'a short oid': line('lfsFile', path='a', oid='ab'),
    'an oid in capitals': line('lfsFile', path='a', oid=OID.upper()),
    'an oid that leads elsewhere': line('lfsFile', path='a', oid='../' * 21 + 'a'),
    'a negative size': line('lfsFile', path='a', oid=OID, size=-1),
    'a size that is no number': line('lfsFile', path='a', oid=OID, size='1'),
    'a size that is a truth': line('lfsFile', path='a', oid=OID, size=True),
    'a size that is a fraction': line('lfsFile', path='a', oid=OID, size=1.5),
    'an absurd size': line('lfsFile', path='a', oid=OID, size=10**30),
    'a size of 10,000 digits': b'{"key":"lfsFile","value":{"path":"a","oid":"%s","size":%s}}\n'
    % (OID.encode(), b'9' * 10_000),
    'a size that is no number at all': b'{"key":"lfsFile","value":{"path":"a","oid":"%s","size":NaN}}\n'
    % OID.encode(),
}


@pytest.mark.parametrize('what', NO_LINES)
def test_a_line_is_refused_that_is_no_operation(what):
    assert refused(HEADER, NO_LINES[what]).status == 400


NO_PATHS = [
    '../x', 'a/../../x', 'a/..', '..', '.', './', '', '/', '//a', 'a//b', 'a/', 'a/./b', '.git/config', '.GIT/x', 'a/.Git/b', '.git',
    'a\0b', 'a\nb', 'x' * 1001,
]  # fmt: skip


@pytest.mark.parametrize('path', NO_PATHS)
@pytest.mark.parametrize('key', ['file', 'lfsFile'])
def test_a_path_is_refused_that_leads_out_or_to_git(key, path):
    assert refused(HEADER, line(key, path=path, content='', oid=OID)).status == 400


@pytest.mark.parametrize('path', [path for path in NO_PATHS if path != 'a/'])
@pytest.mark.parametrize('key', ['deletedFile', 'deletedFolder', 'deletedEntry'])
def test_what_is_deleted_has_a_path_within(key, path):
    assert refused(HEADER, line(key, path=path)).status == 400


def test_what_a_file_takes_the_place_of_has_a_path_within():
    assert refused(HEADER, line('file', path='a', content='', oldPath='../b')).status == 400


@pytest.mark.parametrize(
    'name', ['.gitattributes', '.gitignore', 'a/..b', '...', '-x', '--upload-pack=x', 'a\\..\\b', ' ', '~']
)
def test_a_strange_path_within_is_taken(name):
    commit, _ = read(HEADER, line('file', path=name, content=''))
    assert commit.operations[0].path == name


@pytest.mark.parametrize('path', ['/a', './a'])
def test_one_mark_of_the_root_is_dropped(path):
    commit, _ = read(HEADER, line('file', path=path, content=''))
    assert commit.operations[0].path == 'a'


@pytest.mark.parametrize('body', [b'', b'\n\n', line('deletedFile', path='a')])
def test_a_commit_without_a_header_is_refused(body):
    assert 'header' in refused(body).message


def test_a_header_that_comes_later_is_refused():
    assert 'header' in refused(line('deletedFile', path='a'), HEADER).message


def test_a_second_header_is_refused():
    assert 'two headers' in refused(HEADER, HEADER).message


@pytest.mark.parametrize(
    'header',
    [
        {},
        {'summary': ''},
        {'summary': '  '},
        {'summary': 1},
        {'summary': 's', 'description': ['d']},
        {'summary': 'a\0b'},
        {'summary': 's', 'parentCommit': 'abc1234'},
        {'summary': 's', 'parentCommit': 'main'},
        {'summary': 's', 'parentCommit': 'A' * 40},
        {'summary': 's', 'parentCommit': 7},
    ],
    ids=str,
)
def test_a_header_is_refused_that_git_cannot_hold(header):
    assert refused(line('header', **header)).status == 400


def test_a_message_that_is_a_book_is_refused():
    assert refused(line('header', summary='x' * 100_001), plain_max=10**6).status == 400


@pytest.mark.parametrize(
    'document', [{}, {'summary': 's', 'files': {}}, {'summary': 's', 'files': ['a']}], ids=str
)
def test_an_older_document_is_refused_that_is_none(document):
    with pytest.raises(Problem, match='must be'):
        from_document(document, lambda path, content: '')


# -- bounds


def test_too_many_lines_are_refused():
    lines = line('deletedFile', path='a') * LINES_MAX
    assert refused(HEADER, lines).status == 413


def test_a_file_that_is_a_little_too_large_is_still_read():
    content = base64.b64encode(b'x' * 150_000).decode()
    _, kept = read(HEADER, line('file', path='a', content=content, encoding='base64'), plain_max=100_000)
    assert len(kept['a']) == 150_000


def test_a_line_that_is_far_too_long_is_refused():
    content = base64.b64encode(b'x' * 1_000_000).decode()
    assert refused(HEADER, line('file', path='a', content=content), plain_max=100_000).status == 413


def test_a_line_that_never_ends_is_refused_before_it_does():
    reader = Reader(lambda path, content: '', plain_max=1000)
    reader.feed(HEADER)
    with pytest.raises(Problem) as caught:
        for _ in range(100):
            reader.feed(b' ' * 10_000)
    assert caught.value.status == 413


@pytest.mark.parametrize(
    'long',
    [
        b'{},' * 3_000_000,
        b'""' * 4_000_000,
        b'[' * 9_000_000,
        b'"' + b'\\"' * 4_000_000,
        b'1,' * 4_000_000,
        b'"a\\' * 3_000_000,
    ],
    ids=['objects', 'strings', 'brackets', 'quotes', 'numbers', 'open strings'],
)
def test_a_long_line_of_many_parts_is_refused_at_once(long):
    start = time.monotonic()
    refused(HEADER, b'{"key": "file", "value": [' + long + b']}\n', plain_max=10 * 2**20)
    assert time.monotonic() - start < 5


def test_a_long_text_may_have_any_characters():
    content = '{"a": ["b\\\\", "\\n"]},' * 10_000
    _, kept = read(HEADER, line('file', path='a', content=content), plain_max=10**6)
    assert kept['a'] == content.encode()


def test_a_line_in_small_parts_takes_no_time_that_grows_with_its_square():
    content = b'{"key":"file","value":{"path":"a","content":"' + b'A' * 5_000_000 + b'"}}'
    start = time.monotonic()
    read(HEADER, *(content[at : at + 1000] for at in range(0, len(content), 1000)), plain_max=10**7)
    assert time.monotonic() - start < 5


# -- anything at all


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
KEYS = st.sampled_from(['header', 'file', 'lfsFile', 'deletedFile', 'deletedFolder', 'deletedEntry', 'x'])
FIELDS = [
    'path',
    'content',
    'encoding',
    'oid',
    'size',
    'algo',
    'oldPath',
    'summary',
    'description',
    'parentCommit',
]
FIELD_VALUES = VALUES | st.sampled_from(
    ['a', 'a/b', '../a', 'base64', 'utf-8', 'aGk=', OID, 'sha256', 'a' * 40]
)
LINES = st.builds(
    lambda key, value: json.dumps({'key': key, 'value': value}).encode() + b'\n',
    KEYS,
    st.dictionaries(st.sampled_from(FIELDS), FIELD_VALUES) | VALUES,
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINES | st.binary(max_size=50), max_size=5))
def test_any_lines_are_a_commit_or_refused(lines):
    try:
        commit, _ = read(HEADER, *lines)
    except Problem as problem:
        assert problem.status in (400, 413)
        return
    assert commit.header.summary


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_a_commit_or_refused(body):
    with pytest.raises(Problem):
        read(body)


@settings(max_examples=300, deadline=None)
@given(
    st.text() | st.lists(st.sampled_from(['..', '.', '.git', 'a', '', '\0', 'b c']), max_size=4).map('/'.join)
)
def test_a_path_that_is_taken_stays_within(path):
    try:
        commit, _ = read(HEADER, line('file', path=path, content=''))
    except Problem:
        return
    parts = commit.operations[0].path.split('/')
    assert not {'', '.', '..'} & set(parts)
    assert '.git' not in {part.lower() for part in parts}


@settings(max_examples=100, deadline=None)
@given(
    files=st.dictionaries(st.text('abc', min_size=1, max_size=8), st.binary(max_size=200), max_size=5),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_where_a_body_is_cut_makes_no_difference(files, cuts):
    lines = [
        line('file', path=path, content=base64.b64encode(content).decode(), encoding='base64')
        for path, content in files.items()
    ]
    body = b''.join([HEADER, *lines])
    ends = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    parts = [body[start:end] for start, end in pairwise(ends)]
    assert read(*parts)[1] == files
