import os
import socket
import subprocess
import sys
import tempfile
import time
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pytest

from hfmirror.errors import SourceChanged, SourceError, UsageError
from hfmirror.folder import LeftOut, alone, walk, walk_again


def put(root, *paths, content='x'):
    for path in paths:
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)


def released(root, **options):
    return [file.path for file in walk(root, **options).files]


def left_out(root, **options):
    return dict(walk(root, **options).left_out)


def refusal(root, **options):
    with pytest.raises(SourceError) as caught:
        walk(root, **options)
    return str(caught.value)


def usage_error(root, **options):
    with pytest.raises(UsageError) as caught:
        walk(root, **options)
    return str(caught.value)


def test_files_come_ordered_by_path_with_slashes(tmp_path):
    put(tmp_path, 'b/c', 'b.txt', 'a/b/c', 'Z', '日本', '-dash', 'with blank', 'a/[x]')
    assert released(tmp_path) == ['-dash', 'Z', 'a/[x]', 'a/b/c', 'b.txt', 'b/c', 'with blank', '日本']


def test_file_has_its_absolute_source_and_its_stat(tmp_path, monkeypatch):
    put(tmp_path, 'folder/a.bin', content='four')
    monkeypatch.chdir(tmp_path)
    folder = walk(Path('folder'))
    (file,) = folder.files
    assert folder.root == tmp_path / 'folder'
    assert file.source == tmp_path / 'folder' / 'a.bin'
    found = file.source.stat()
    assert (file.stat.st_dev, file.stat.st_ino, file.stat.st_size, file.stat.st_mtime_ns) == (
        found.st_dev,
        found.st_ino,
        4,
        found.st_mtime_ns,
    )


def test_folder_may_be_named_by_a_link(tmp_path):
    put(tmp_path, 'real/a')
    (tmp_path / 'link').symlink_to('real')
    assert walk(tmp_path / 'link').root == tmp_path / 'real'


@pytest.mark.parametrize(
    ('path', 'entry', 'reason'),
    [
        ('.git/config', '.git/', "git's own"),
        ('.git', '.git', "git's own"),
        ('sub/.git/config', 'sub/.git/', "git's own"),
        ('.github/workflows/x.yml', '.github/', "git's own"),
        ('.GIT/config', '.GIT/', "git's own"),
        ('.g\u200cit/config', '.g\u200cit/', "git's own"),
        ('.git. ./config', '.git. ./', "git's own"),
        ('.git::$INDEX_ALLOCATION/config', '.git::$INDEX_ALLOCATION/', "git's own"),
        ('GIT~1/config', 'GIT~1/', 'would steer git in the release'),
        ('.gitattributes', '.gitattributes', 'would steer git in the release'),
        ('sub/.GitAttributes', 'sub/.GitAttributes', 'would steer git in the release'),
        ('.gitmodules', '.gitmodules', 'would steer git in the release'),
        ('GITMOD~1', 'GITMOD~1', 'would steer git in the release'),
        ('.lfsconfig', '.lfsconfig', 'would steer git in the release'),
        ('.env', '.env', 'may hold secrets'),
        ('sub/.env.local', 'sub/.env.local', 'may hold secrets'),
        ('.ENV', '.ENV', 'may hold secrets'),
        ('__pycache__/a.pyc', '__pycache__/', 'a cache'),
        ('sub/.ipynb_checkpoints/a.ipynb', 'sub/.ipynb_checkpoints/', 'a cache'),
        ('.cache/huggingface/download/a', '.cache/huggingface/', 'a cache'),
        ('.huggingface/a', '.huggingface/', 'a cache'),
        ('.hfignore', '.hfignore', 'only says what to leave out'),
    ],
)
def test_what_is_never_released_is_left_out_with_its_reason(tmp_path, path, entry, reason):
    put(tmp_path, 'keep', path)
    folder = walk(tmp_path, include=['*'])
    assert [file.path for file in folder.files] == ['keep']
    assert folder.left_out == [LeftOut(entry, reason)]


def test_what_only_looks_like_it_is_released(tmp_path):
    paths = [
        '.env.example',
        '.environment',
        '.gitignore',
        '.gitkeep',
        'a.git/b',
        'cache',
        'git/config',
        'huggingface/a',
    ]
    put(tmp_path, *paths)
    (tmp_path / '.gitignore').write_text('')
    assert released(tmp_path) == paths


def test_gitignore_is_released_and_what_it_names_is_not(tmp_path):
    put(tmp_path, 'a.ckpt', 'keep.ckpt', 'logs/x', 'sub/logs/x', 'sub/deep/a.ckpt', 'model.bin')
    (tmp_path / '.gitignore').write_text('*.ckpt\n!keep.ckpt\n/logs/\n')
    assert released(tmp_path) == ['.gitignore', 'keep.ckpt', 'model.bin', 'sub/logs/x']
    assert left_out(tmp_path) == dict.fromkeys(('a.ckpt', 'logs/', 'sub/deep/a.ckpt'), 'named in .gitignore')


def test_nested_ignore_file_decides_for_its_folder(tmp_path):
    put(tmp_path, 'a.bin', 'sub/a.bin', 'sub/b.txt', 'other/b.txt')
    (tmp_path / '.gitignore').write_text('*.bin\n')
    (tmp_path / 'sub' / '.gitignore').write_text('!a.bin\n/b.txt\n')
    assert released(tmp_path) == ['.gitignore', 'other/b.txt', 'sub/.gitignore', 'sub/a.bin']
    assert left_out(tmp_path)['sub/b.txt'] == 'named in sub/.gitignore'


def test_hfignore_comes_after_gitignore(tmp_path):
    put(tmp_path, 'model.pt', 'optimizer.pt', 'notes.txt')
    (tmp_path / '.gitignore').write_text('*.pt\n')
    (tmp_path / '.hfignore').write_text('!model.pt\nnotes.txt\n')
    assert released(tmp_path) == ['.gitignore', 'model.pt']
    assert left_out(tmp_path)['notes.txt'] == 'named in .hfignore'
    assert left_out(tmp_path)['optimizer.pt'] == 'named in .gitignore'


def test_nothing_comes_back_from_an_ignored_folder(tmp_path):
    put(tmp_path, 'logs/keep', 'a')
    (tmp_path / '.hfignore').write_text('logs/\n!logs/keep\n')
    assert released(tmp_path) == ['a']


def test_ignore_file_with_byte_order_mark_crlf_and_junk_is_read_as_git_reads_it(tmp_path):
    put(tmp_path, 'a.log', 'b.log', 'c.txt')
    (tmp_path / '.hfignore').write_bytes(
        b'\xef\xbb\xbfa.log\r\nb.log\r\n\xff\xfe\x00[\r\n[z-a\n!\n\\\n**/**/\x00'
    )
    assert released(tmp_path) == ['c.txt']


@pytest.mark.parametrize('content', [b'# comment\n' * 200_000, b'**/a/' * 1000])
def test_ignore_file_that_is_no_list_is_refused(tmp_path, content):
    put(tmp_path, 'a')
    (tmp_path / '.hfignore').write_bytes(content)
    assert 'no list of files to leave out' in refusal(tmp_path)


def test_ignore_file_that_is_a_link_is_not_read(tmp_path):
    put(tmp_path, 'a', 'rules', content='a\n')
    (tmp_path / '.hfignore').symlink_to('rules')
    assert released(tmp_path) == ['a', 'rules']


TREE = ['a.bin', 'data/a.bin', 'data/deep/a.json', 'logs', 'model.json', 'sub/logs/x', 'sub/model.json']


@pytest.mark.parametrize(
    ('patterns', 'matched'),
    [
        (['*.bin'], ['a.bin', 'data/a.bin']),
        (['model.json'], ['model.json', 'sub/model.json']),
        (['./data/*'], ['data/a.bin', 'data/deep/a.json']),
        (['/data/*.json'], ['data/deep/a.json']),
        (['data/*.json', 'a.bin'], ['a.bin', 'data/a.bin', 'data/deep/a.json']),
        (['logs'], ['logs', 'sub/logs/x']),
        (['logs/'], ['sub/logs/x']),
        (['data/deep/'], ['data/deep/a.json']),
        (['**/logs/x'], ['sub/logs/x']),
        (['**/model.json'], ['model.json', 'sub/model.json']),
        (['sub\\logs\\x'], ['sub/logs/x']),
        (['*.JSON'], []),
        (['deep/a.json'], []),
        (['[z-a]', '[', '(?P<g0>x)'], []),
    ],
)
def test_patterns_of_include_and_exclude(tmp_path, patterns, matched):
    put(tmp_path, *TREE)
    assert released(tmp_path, exclude=patterns) == [path for path in TREE if path not in matched]
    if matched:
        assert released(tmp_path, include=patterns) == matched


def test_left_out_folder_is_listed_once(tmp_path):
    put(tmp_path, 'a', 'data/1', 'data/2', 'data/sub/3')
    assert left_out(tmp_path, exclude=['data']) == {'data/': 'matches --exclude'}


def test_what_no_include_names_is_left_out(tmp_path):
    put(tmp_path, 'a.bin', 'b.txt', 'sub/c.txt')
    assert left_out(tmp_path, include=['*.bin']) == {
        'b.txt': 'matches no --include',
        'sub/c.txt': 'matches no --include',
    }


def test_exclude_wins_over_include_and_include_over_nothing(tmp_path):
    put(tmp_path, 'a.bin', 'b.bin', 'c.bin', '.env')
    (tmp_path / '.hfignore').write_text('c.bin\n')
    assert released(tmp_path, include=['*.bin', '.env'], exclude=['b.bin']) == ['a.bin']


@pytest.mark.parametrize('pattern', ['', '/', './', '//'])
def test_empty_pattern_is_a_usage_error(tmp_path, pattern):
    put(tmp_path, 'a')
    assert usage_error(tmp_path, exclude=[pattern]).startswith('--exclude ')


def test_missing_folder_is_a_usage_error(tmp_path):
    assert usage_error(tmp_path / 'no').startswith(f'{tmp_path / "no"}: no such folder')


def test_file_in_place_of_the_folder_is_a_usage_error(tmp_path):
    put(tmp_path, 'file')
    assert 'a file, not a folder' in usage_error(tmp_path / 'file')


def test_name_that_no_folder_can_have_is_a_usage_error(tmp_path):
    assert 'cannot be read' in usage_error(tmp_path / 'a\0b')
    assert 'cannot be read' in usage_error(tmp_path / ('a' * 5000))


def test_empty_folder_is_a_usage_error(tmp_path):
    (tmp_path / 'sub').mkdir()
    assert 'empty, there is nothing to release' in usage_error(tmp_path)


def test_folder_of_which_nothing_is_left_says_what_was_left_out_and_why(tmp_path):
    put(tmp_path, '.env', '__pycache__/a', *(f'{number:02}.log' for number in range(20)))
    message = usage_error(tmp_path, exclude=['*.log'])
    assert '.env (may hold secrets)' in message
    assert '00.log (matches --exclude)' in message
    assert 'and 12 others' in message


def test_link_to_a_file_inside_is_released_as_that_file(tmp_path):
    put(tmp_path, 'blobs/abc', content='weights')
    (tmp_path / 'model.bin').symlink_to('blobs/abc')
    file = next(file for file in walk(tmp_path).files if file.path == 'model.bin')
    assert file.source == tmp_path / 'blobs' / 'abc'
    assert file.stat.st_size == 7


def test_target_of_a_link_may_be_excluded_by_its_own_name(tmp_path):
    put(tmp_path, 'blobs/abc')
    (tmp_path / 'model.bin').symlink_to('blobs/abc')
    assert released(tmp_path, exclude=['blobs/']) == ['model.bin']


@pytest.mark.parametrize('target', ['.env', '.git/config', '.git', 'sub/../.env'])
def test_link_gives_no_other_name_to_what_is_never_released(tmp_path, target):
    put(tmp_path, '.env', '.git/config', 'sub/a')
    (tmp_path / 'settings').symlink_to(target)
    assert released(tmp_path) == ['sub/a']
    reasons = [entry.reason for entry in walk(tmp_path).left_out if entry.path.startswith('settings')]
    assert reasons[0].startswith('points to what is left out')


def test_links_to_a_folder_inside_are_followed(tmp_path):
    put(tmp_path, 'checkpoint-3/a', 'checkpoint-3/sub/b')
    (tmp_path / 'best').symlink_to('checkpoint-3')
    (tmp_path / 'latest').symlink_to(tmp_path / 'checkpoint-3')
    paths = [f'{top}/{rest}' for top in ('best', 'checkpoint-3', 'latest') for rest in ('a', 'sub/b')]
    assert released(tmp_path) == paths


def test_link_outside_is_refused_with_where_it_points(tmp_path):
    put(tmp_path, 'secret', 'folder/a', 'folderish/b')
    (tmp_path / 'folder' / 'link').symlink_to('../secret')
    (tmp_path / 'folder' / 'near').symlink_to('../folderish')
    message = refusal(tmp_path / 'folder')
    assert (
        f'points outside the folder: link -> {tmp_path}/secret, near -> {tmp_path}/folderish. Put a copy'
        in message
    )
    assert released(tmp_path / 'folder', exclude=['link', 'near']) == ['a']


def test_link_out_and_back_in_is_inside(tmp_path):
    put(tmp_path, 'folder/a')
    (tmp_path / 'folder' / 'b').symlink_to('../folder/a')
    assert released(tmp_path / 'folder') == ['a', 'b']


def test_dangling_link_is_refused(tmp_path):
    put(tmp_path, 'a')
    (tmp_path / 'gone').symlink_to('nothing')
    (tmp_path / 'through').symlink_to('a/b')
    assert 'a link that points to nothing: gone, through.' in refusal(tmp_path)


@pytest.mark.parametrize('target', ['.', '..', 'loop', '../sub'])
def test_link_in_a_circle_is_refused(tmp_path, target):
    put(tmp_path, 'sub/a')
    (tmp_path / 'sub' / 'loop').symlink_to(target)
    assert 'a link that leads in a circle: sub/loop.' in refusal(tmp_path)


def test_circle_of_two_links_is_refused(tmp_path):
    put(tmp_path, 'a/x', 'b/y')
    (tmp_path / 'a' / 'to_b').symlink_to('../b')
    (tmp_path / 'b' / 'to_a').symlink_to('../a')
    message = refusal(tmp_path)
    assert 'a link that leads in a circle: a/to_b/to_a, b/to_a/to_b.' in message


def test_links_that_multiply_are_refused_before_they_fill_the_memory(tmp_path):
    for level in range(40):
        (tmp_path / f'{level}').mkdir()
        for name in 'ab':
            (tmp_path / f'{level}' / name).symlink_to(f'../{level + 1}')
    put(tmp_path, '40/x')
    assert 'links to folders' in refusal(tmp_path)


def test_pipe_and_socket_are_refused(tmp_path, monkeypatch):
    put(tmp_path, 'a')
    os.mkfifo(tmp_path / 'pipe')
    monkeypatch.chdir(tmp_path)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind('socket')
    (tmp_path / 'link').symlink_to('pipe')
    assert 'a pipe, socket or device: link, pipe, socket.' in refusal(tmp_path)
    assert released(tmp_path, exclude=['pipe', 'socket', 'link']) == ['a']


def test_name_that_is_not_utf8_is_refused_with_its_bytes(tmp_path):
    put(tmp_path, 'a')
    with open(os.fsencode(tmp_path) + b'/caf\xe9.bin', 'wb'):
        pass
    assert r'the name is not UTF-8: caf\xe9.bin.' in refusal(tmp_path)
    assert released(tmp_path, exclude=['caf*']) == ['a']


@pytest.mark.parametrize(
    ('name', 'shown'), [('a\nb', r'a\nb'), ('a\x1b[31m', r'a\x1b[31m'), ('a\\b', r'a\b')]
)
def test_name_with_control_characters_is_refused(tmp_path, name, shown):
    put(tmp_path, f'{name}/file', 'ok')
    assert f'a control character or a backslash: {shown}/file.' in refusal(tmp_path)


@pytest.mark.parametrize(
    ('paths', 'shown'),
    [
        (['README.md', 'readme.MD'], 'README.md and readme.MD'),
        (['A/x', 'a/y'], 'A and a'),
        (['A/x', 'a/x'], 'A and a'),
        (['b/A/x', 'b/a/y', 'b/a/z'], 'b/A and b/a'),
        (['model', 'Model/x'], 'Model and model'),
        (['straße', 'STRASSE'], 'STRASSE and straße'),
        ([unicodedata.normalize(form, 'é.bin') for form in ('NFD', 'NFC')], 'e\u0301.bin and é.bin'),
        ([unicodedata.normalize(form, 'ü/a') for form in ('NFD', 'NFC')], 'u\u0308 and ü'),
    ],
)
def test_names_that_collide_elsewhere_are_refused(tmp_path, paths, shown):
    put(tmp_path, *paths)
    assert f'the same on macOS or Windows: {shown}. Rename' in refusal(tmp_path)


def test_excluded_name_collides_with_nothing(tmp_path):
    put(tmp_path, 'README.md', 'readme.md')
    assert released(tmp_path, exclude=['readme.md']) == ['README.md']


def test_all_problems_are_told_at_once(tmp_path):
    put(tmp_path, 'a', 'A')
    for number in range(25):
        (tmp_path / f'gone{number:02}').symlink_to('nothing')
    os.mkfifo(tmp_path / 'pipe')
    message = refusal(tmp_path)
    assert 'gone09 and 15 others. Remove or mend the link, or leave it out with --exclude.' in message
    assert 'pipe' in message
    assert 'A and a' in message


def test_offender_in_a_left_out_folder_does_no_harm(tmp_path):
    put(tmp_path, 'a', '.git/HEAD', 'logs/x')
    for place in ('.git', 'logs'):
        os.mkfifo(tmp_path / place / 'pipe')
    assert released(tmp_path, exclude=['logs']) == ['a']
    assert released(tmp_path, include=['a']) == ['a']


def test_file_that_vanishes_during_the_walk_is_told(tmp_path, monkeypatch):
    put(tmp_path, 'a', 'sub/b', 'sub/c')
    scandir = os.scandir

    # The only way to hit the moment between the listing of a folder and the look at its files.
    @contextmanager
    def scandir_then_remove(path):
        with scandir(path) as entries:
            yield entries
        (tmp_path / 'sub' / 'b').unlink()

    in_sub = str(tmp_path / 'sub')
    monkeypatch.setattr(
        os, 'scandir', lambda path: (scandir_then_remove if path == in_sub else scandir)(path)
    )
    assert 'vanished while the folder was read: sub/b. Wait' in refusal(tmp_path)


UNREADABLE = """
import os, sys
from pathlib import Path
from hfmirror.errors import HfmirrorError
from hfmirror.folder import walk
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
if not os.path.exists(sys.argv[1]):
    sys.exit('no way in')
for name in sys.argv[1:]:
    try:
        walk(Path(name))
    except HfmirrorError as e:
        print(type(e).__name__, e)
"""


@pytest.fixture
def public_path():
    """A folder that another user may enter, as tmp_path is not: root reads everything, whatever the mode says."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name).resolve()
        path.chmod(0o755)
        yield path


def test_unreadable_folders_and_files_are_refused(public_path):
    put(public_path, 'open/a', 'open/closed/b', 'open/secret', 'shut/a')
    closed = [public_path / path for path in ('open/closed', 'open/secret', 'shut')]
    for path in closed:
        path.chmod(0o000)
    command = [sys.executable, '-c', UNREADABLE, public_path / 'open', public_path / 'shut']
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in closed:
        path.chmod(0o755)
    if 'no way in' in done.stderr:
        pytest.skip('the temporary directory is closed to other users')
    assert 'cannot be read: closed/ (Permission denied), secret. Give yourself' in done.stdout
    assert f'UsageError {public_path / "shut"}: cannot be read (Permission denied).' in done.stdout


def test_ten_thousand_files_are_walked_in_no_time(tmp_path):
    for number in range(100):
        place = tmp_path / f'{number:02}'
        place.mkdir()
        for name in range(100):
            (place / f'{name:02}.npy').touch()
    (tmp_path / '.gitignore').write_text(''.join(f'*.tmp{number}\n/build{number}/\n' for number in range(60)))
    begin = time.process_time()
    folder = walk(tmp_path, exclude=['*.ckpt', 'logs/'])
    assert len(folder.files) == 10_001
    assert time.process_time() - begin < 1.5  # about 0.2 where nothing else runs


def test_folders_may_be_deeper_than_python_may_recurse(tmp_path):
    folders = [tmp_path / '/'.join('d' * depth) for depth in range(1, sys.getrecursionlimit() + 100)]
    for folder in folders:
        folder.mkdir()
    (folders[-1] / 'x').touch()
    assert len(released(tmp_path)) == 1
    (folders[-1] / 'x').unlink()
    for folder in reversed(folders):  # pytest could not remove them
        folder.rmdir()


def test_half_files_of_a_pull_are_left_out(tmp_path):
    (tmp_path / 'config.json').write_text('{}')
    (tmp_path / '.model.bin.0123456789ab.part').write_text('half')
    found = walk(tmp_path)
    assert [file.path for file in found.files] == ['config.json']
    assert found.left_out == [
        LeftOut('.model.bin.0123456789ab.part', 'half of a file that a pull was fetching')
    ]


# -- a single file


def test_a_single_file_is_found_under_its_own_name(tmp_path):
    (tmp_path / 'results.json').write_text('{}')
    found = alone(tmp_path / 'results.json')
    assert [file.path for file in found.files] == ['results.json']
    assert (found.root, found.file) == (tmp_path, tmp_path / 'results.json')


def test_a_single_file_that_was_written_again_is_found_again(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('{}')
    found = alone(path)
    path.write_text('{"a": 1}')
    assert walk_again(found).files[0].stat.st_size == 8


def test_a_single_file_that_vanishes_has_changed(tmp_path):
    path = tmp_path / 'results.json'
    path.write_text('{}')
    found = alone(path)
    path.unlink()
    with pytest.raises(SourceChanged, match='vanished'):
        walk_again(found)


def test_a_single_file_whose_name_cannot_be_released_is_refused(tmp_path):
    path = tmp_path / 'a\nb.json'
    path.write_text('{}')
    with pytest.raises(SourceError, match='control character'):
        alone(path)
