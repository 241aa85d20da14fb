import os
import random
import re
import subprocess
import time

import pytest

from hfmirror.folder import walk
from hfmirror.gitignore import as_bytes, parse_line

NAMES = ['a', 'b', 'c', 'ab', 'x.d', 'a.b', 'foo', ' s', 't ', '#h', '!n', '[z]', '日', 'é']
PARTS = [
    *NAMES, '*', '**', '***', '?', 'a*', '*.d', '*b*', '*a*b*', 'a**', '**b', 'é*', '[ab]', '[!a]', '[^a]', '[]a]',
    '[a', '[b-a]', '[a-c]', '[!a-b]', '[a-]', '[\\a-c]', '[[:alpha:]]', '[[:digit:]x]', '[[:foo:]]',
    '\\#h', '\\!n', '\\[z\\]', '\\a', 'a\\', 't\\ ', 'a\\\\ ',
]  # fmt: skip


def is_match(line, path):
    pattern = parse_line(as_bytes(line))
    subject = as_bytes(path) if pattern and pattern.anchored else as_bytes(path).rpartition('/')[2]
    return pattern is not None and re.fullmatch(pattern.regex, subject) is not None


@pytest.mark.parametrize(
    ('line', 'matched', 'not_matched'),
    [
        ('*.ckpt', ['a.ckpt', 'sub/.ckpt'], ['a.ckpt2', 'a.CKPT']),
        ('/a', ['a'], ['sub/a']),
        ('sub/a', ['sub/a'], ['deep/sub/a']),
        ('**/sub/a', ['sub/a', 'deep/er/sub/a'], ['xsub/a']),
        ('a/**/b', ['a/b', 'a/x/y/b'], ['a/xb', 'ab']),
        ('a/**', ['a/b', 'a/b/c'], ['a']),
        ('a/*', ['a/b'], ['a/b/c']),
        ('a?c', ['abc'], ['a/c', 'ac']),
        ('[a-c]x[!0-9]', ['axy', 'cxz'], ['dxy', 'ax0', 'ax/']),
        ('[[:upper:][:digit:]]', ['A', '7'], ['a', ':']),
        ('a b  ', ['a b'], ['a b  ']),
        ('a\\ ', ['a '], ['a', 'a\\']),
        ('\\#a', ['#a'], []),
        ('#a', [], ['#a', 'a']),
        ('[', [], ['[']),
        ('a\r', ['a'], ['a\r']),
        ('', [], ['a']),
        ('/', [], ['a']),
        ('!', [], ['a']),
    ],
)
def test_pattern_matches_what_the_manual_of_git_says(line, matched, not_matched):
    assert [path for path in matched + not_matched if is_match(line, path)] == matched


@pytest.mark.parametrize(
    ('line', 'path'),
    [
        ('*a' * 60 + 'b', 'a' * 250),
        ('/' + '*a' * 60 + 'b', 'a' * 250),
        ('**/a/' * 20 + 'b', 'a/' * 1000 + 'c'),
        ('**/*a*/' * 10 + 'b', 'a/' * 200 + 'c'),
    ],
)
def test_pattern_with_many_stars_is_decided_at_once(line, path):
    begin = time.perf_counter()
    assert not is_match(line, path)
    assert time.perf_counter() - begin < 1


def make_tree(root, source):
    for _ in range(25):
        path = root.joinpath(*source.choices(NAMES, k=source.randint(1, 4)))
        if not any(parent.is_file() for parent in path.parents) and not path.is_dir():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def make_line(source):
    glob = '/'.join(source.choices(PARTS, k=source.choice([1, 1, 1, 2, 2, 3])))
    return (
        source.choice(['', '', '!'])
        + source.choice(['', '', '', '/'])
        + glob
        + source.choice(['', '', '', '/'])
    )


def make_ignore_files(root, source):
    folders = [path for path in root.rglob('*') if path.is_dir()]
    for folder in [root, *source.sample(folders, min(len(folders), source.randint(0, 2)))]:
        lines = [make_line(source) for _ in range(source.randint(1, 5))]
        (folder / '.gitignore').write_bytes(source.choice([b'\n', b'\r\n']).join(map(os.fsencode, lines)))


@pytest.mark.parametrize('seed', range(60))
def test_git_releases_the_same_files_from_a_random_folder(tmp_path, seed):
    source = random.Random(seed)
    make_tree(tmp_path, source)
    make_ignore_files(tmp_path, source)
    (tmp_path / '.hfignore').write_text('!/.hfkeep\n')
    (tmp_path / '.hfkeep').touch()  # so that something is left, whatever the patterns are
    subprocess.run(['git', 'init', '-q'], cwd=tmp_path, check=True)
    command = ['git', 'ls-files', '-z', '--others', '--exclude-per-directory=.gitignore']
    listed = (
        subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout.decode().split('\0')
    )
    expected = sorted({path for path in listed if path} - {'.hfkeep', '.hfignore'})
    assert [file.path for file in walk(tmp_path).files if file.path != '.hfkeep'] == expected
