"""Which paths of a repository a release replaces, and which it leaves alone."""

from __future__ import annotations

import pytest

from hfmirror import rules
from hfmirror.errors import ConflictError, UsageError
from hfmirror.tree import Entry


def tree(*paths):
    return {path: Entry(path, 'a' * 40, 1, is_lfs=False) for path in paths}


THEIRS = tree('README.md', '.gitattributes', 'LICENSE', 'old.bin', 'v2/old.bin', 'v2/LICENSE.txt', 'v20/x')


@pytest.mark.parametrize(
    ('path_in_repo', 'expected'),
    [('', ['old.bin', 'v2/LICENSE.txt', 'v2/old.bin', 'v20/x']), ('v2', ['v2/old.bin']), ('v3', [])],
)
def test_what_the_folder_has_no_more_goes_from_its_own_place(path_in_repo, expected):
    assert sorted(rules.stale(THEIRS, tree(), path_in_repo, keep=False)) == expected


def test_what_the_folder_has_stays():
    assert 'old.bin' not in rules.stale(THEIRS, tree('old.bin'), '', keep=False)


def test_keep_removes_nothing():
    assert rules.stale(THEIRS, tree(), '', keep=True) == []


@pytest.mark.parametrize(
    'name', ['README.md', '.gitattributes', 'LICENSE', 'LICENSE.md', 'license.txt', 'LICENCE']
)
def test_what_people_keep_by_hand_stays(name):
    assert rules.stale(tree(name), tree(), '', keep=False) == []


@pytest.mark.parametrize('name', ['readme.txt', 'docs/LICENSE', 'MY_LICENSE', 'a/README.md.bak'])
def test_what_only_looks_like_it_goes(name):
    assert rules.stale(tree(name), tree(), '', keep=False) == [name]


@pytest.mark.parametrize(
    ('given', 'clean'),
    [
        ('', ''),
        ('.', ''),
        ('./', ''),
        ('a', 'a'),
        ('a/', 'a'),
        ('./a//b/./', 'a/b'),
        ('a\\b', 'a/b'),
        ('a b/ü', 'a b/ü'),
        ('..a/b..', '..a/b..'),
    ],
)
def test_a_path_in_the_repository_is_brought_to_one_form(given, clean):
    assert rules.clean_path_in_repo(given) == clean


@pytest.mark.parametrize(
    'given', ['..', 'a/..', '../a', 'a/../../b', '/a', '.git', 'a/.git/b', '.GIT', '..\\a', '\\a']
)
def test_a_path_outside_the_repository_is_refused(given):
    with pytest.raises(UsageError, match='--path-in-repo'):
        rules.clean_path_in_repo(given)


@pytest.mark.parametrize('given', ['a\nb', 'a\0b', 'a\x1b[31m', 'ca\udce9'])
def test_a_path_with_control_characters_is_refused(given):
    with pytest.raises(UsageError, match='--path-in-repo'):
        rules.clean_path_in_repo(given)


@pytest.mark.parametrize('path', ['old.bin', 'old.bin/deeper', 'v2/old.bin/x'])
def test_a_file_of_the_repository_cannot_become_a_folder(path):
    with pytest.raises(ConflictError, match='is a file in the repository'):
        rules.clash(THEIRS, path)


@pytest.mark.parametrize('path', ['', 'v2', 'v3', 'v2/old', 'old'])
def test_a_folder_may_become_one_again(path):
    rules.clash(THEIRS, path)


def test_a_file_lies_below_the_path_in_the_repository():
    assert rules.in_repo('a/b', '') == 'a/b'
    assert rules.in_repo('a/b', 'v2') == 'v2/a/b'
