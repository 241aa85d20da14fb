"""Pointers, text or binary, and the patterns of .gitattributes, judged by git and git-lfs themselves."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from hfmirror import lfs
from tests.support.mirror import git

OID = 'a' * 64


def pointer(oid=OID, size='12', version='https://git-lfs.github.com/spec/v1', end='\n'):
    return f'version {version}\noid sha256:{oid}\nsize {size}{end}'.encode()


def test_a_pointer_is_what_git_lfs_writes(tmp_path):
    content = b'weights' * 99
    made = subprocess.run(
        ['git', 'lfs', 'pointer', '--file=/dev/stdin'], input=content, capture_output=True, check=False
    )
    (tmp_path / 'x').write_bytes(content)
    made = subprocess.run(
        ['git', 'lfs', 'pointer', f'--file={tmp_path / "x"}'], capture_output=True, check=True
    )
    ours = lfs.Pointer(hashlib.sha256(content).hexdigest(), len(content))
    assert ours.text == made.stdout
    assert lfs.parse_pointer(made.stdout) == ours


def test_an_empty_object_has_no_pointer():
    assert lfs.Pointer(hashlib.sha256(b'').hexdigest(), 0).text == b''


def test_extensions_of_a_pointer_are_passed_over():
    text = pointer().replace(b'\noid', b'\next-0-foo sha256:' + b'b' * 64 + b'\noid')
    assert lfs.parse_pointer(text) == lfs.Pointer(OID, 12)


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\0',
        b'version https://git-lfs.github.com/spec/v1\n',
        pointer(oid='A' * 64),
        pointer(oid='a' * 63),
        pointer(oid='../../../../etc/passwd'),
        pointer(size='-1'),
        pointer(size='1e9'),
        pointer(size='9' * 40),
        pointer(size='12 '),
        pointer(version='https://example.org/spec/v1'),
        pointer(end='\n\nmore text'),
        pointer().replace(b'\n', b'\r\n'),
        b'\xef\xbb\xbf' + pointer(),
        b'see: ' + pointer(),
        pointer() + b'x' * 2000,
    ],
)
def test_anything_else_is_no_pointer(content):
    assert lfs.parse_pointer(content) is None


@pytest.mark.parametrize(
    'content',
    [b'', b'text\n', 'ünï 名'.encode(), b'\xef\xbb\xbfbom', b'crlf\r\n', b'\x1b[31m', b'tab\t\f\a\b'],
)
def test_utf_8_is_text(content):
    assert lfs.is_text(content)


@pytest.mark.parametrize(
    'content',
    [b'\0', b'x\0y', b'\xff\xfea\0', b'caf\xe9', b'\x7fELF', b'\x01', b'ok' * 9999 + b'\0', b'\xed\xa0\x80'],
)
def test_anything_else_is_binary(content):
    assert not lfs.is_text(content)


def sent_to_lfs(tmp_path, attributes, paths):
    """Ask git which of the paths go to LFS."""
    git('init', '-q', tmp_path / 'repo') if not (tmp_path / 'repo').exists() else None
    (tmp_path / 'repo' / '.gitattributes').write_text(attributes, 'utf-8')
    answer = subprocess.run(
        ['git', 'check-attr', '-z', '--stdin', 'filter'],
        cwd=tmp_path / 'repo',
        input='\0'.join(paths).encode(),
        capture_output=True,
        check=True,
    )
    fields = answer.stdout.decode().split('\0')
    return {path for path, value in zip(fields[::3], fields[2::3], strict=False) if value == 'lfs'}


ODD = [
    'a b.dat',
    'tab\there',
    '[x].dat',
    'a*b?c',
    'back\\slash',
    '-dash',
    '#hash',
    '!bang',
    '"quoted"',
    "single'quote",
    'ünïcode 名',
    'trailing ',
    ' leading',
    'dir with blank/x y',
    'dir/[0]/x',
    'a\u00a0b',
    '~tilde',
    '$x',
    'é"\\[ *',
]


@pytest.mark.parametrize('path', ODD)
def test_the_exact_pattern_matches_that_path_and_no_other(tmp_path, path):
    others = [f'sub/{path}', f'{path}x', f'x{path}', path.replace('*', 'Z').replace('?', 'Z'), 'a', '0', 'x']
    others = [other for other in others if other != path]
    attributes = f'{lfs.exact_pattern(path)} filter=lfs\n'
    assert sent_to_lfs(tmp_path, attributes, [path, *others]) == {path}


@pytest.mark.parametrize('repo_type', ['model', 'dataset', 'space'])
def test_the_defaults_send_weights_to_lfs_and_text_not(tmp_path, repo_type):
    paths = [
        'model.safetensors',
        'a/b/x.bin',
        'x.gguf',
        'saved_model/a/b',
        'config.json',
        'README.md',
        'vocab.txt',
    ]
    sent = sent_to_lfs(tmp_path, lfs.default_attributes(repo_type), paths)
    assert sent == {'model.safetensors', 'a/b/x.bin', 'saved_model/a/b'}


def test_the_defaults_of_a_dataset_send_pictures_and_sound_too(tmp_path):
    paths = ['a.png', 'a.wav', 'a.mp4', 'a.mds']
    assert sent_to_lfs(tmp_path, lfs.default_attributes('dataset'), paths) == set(paths)
    assert sent_to_lfs(tmp_path, lfs.default_attributes('model'), paths) == set()


def test_nothing_to_track_leaves_the_text_as_it_is():
    assert lfs.track('*.x text # mine', [], []) == '*.x text # mine'


def test_what_a_person_wrote_stays_in_front():
    assert lfs.track('# mine\n*.x text', ['a.dat'], []).startswith('# mine\n*.x text\n/a.dat ')


def test_many_files_of_one_ending_get_one_line(tmp_path):
    paths = [f'shards/{number}.dat' for number in range(500)]
    attributes = lfs.track('', paths, ['config.json'])
    assert attributes.splitlines() == ['*.dat filter=lfs diff=lfs merge=lfs -text']
    assert sent_to_lfs(tmp_path, attributes, paths) == set(paths)


def test_an_ending_that_a_plain_file_has_gets_no_pattern(tmp_path):
    paths = ['a.json', 'b.json', 'c.json', 'no_ending']
    attributes = lfs.track('', paths, ['config.json'])
    assert sent_to_lfs(tmp_path, attributes, [*paths, 'config.json', 'sub/a.json']) == set(paths)


def test_all_odd_names_at_once_are_tracked_and_nothing_else(tmp_path):
    attributes = lfs.track(lfs.default_attributes('model'), ODD, ['plain'])
    assert sent_to_lfs(tmp_path, attributes, [*ODD, 'plain', 'a', 'x']) == set(ODD)
