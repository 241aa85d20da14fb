"""Findings stop a release with what to do next; unchanged files are not opened again; what was scanned is what is hashed."""

from __future__ import annotations

import os
import pickle
import sqlite3
import time
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror.folder import walk
from hfmirror.gates import limits, scanning
from hfmirror.gates.findings import Finding
from hfmirror.gates.gate import Allowed, require_clean
from hfmirror.statcache import Stamp, StatCache
from tests.test_gates_secrets import HF


class Evil:
    def __reduce__(self):
        return (os.system, ('echo',))


@pytest.fixture
def cache(tmp_path):
    made = StatCache(tmp_path / 'cache' / 'files.sqlite')
    yield made
    made.close()


@pytest.fixture
def opened(monkeypatch):
    """The paths that were opened to be scanned."""
    paths = []
    real = scanning.steadily

    def counting(file, read):
        paths.append(file.path)
        return real(file, read)

    # Only a count: the real function does the reading.
    monkeypatch.setattr(scanning, 'steadily', counting)
    return paths


def scan(folder, cache, *, jobs=0, stamps=None):
    found = walk(folder.path)
    if stamps is None:
        stamps = {file.path: Stamp.of(file.stat) for file in found.files}
    return scanning.scan_files(found.root, found.files, cache, stamps=stamps, jobs=jobs)


@pytest.mark.parametrize('jobs', [1, 4])
def test_findings_come_in_the_order_of_the_files(folder, cache, jobs):
    folder.write('b.txt', f'x\n{HF}\n')
    folder.write('a.pkl', pickle.dumps(Evil()))
    folder.write('notes/c.json', f'{{"a": "{HF}"}}')
    assert [(one.path, one.line, one.rule) for one in scan(folder, cache, jobs=jobs)] == [
        ('a.pkl', 0, 'unsafe-pickle'),
        ('b.txt', 2, 'huggingface-token'),
        ('notes/c.json', 1, 'huggingface-token'),
    ]


def test_an_ordinary_folder_has_no_findings(folder, cache):
    assert scan(folder, cache) == []


def test_a_text_that_goes_to_lfs_is_scanned_too(folder, cache):
    folder.write('data.jsonl', b'{"a": 1}\n' * 2_000_000 + HF.encode())
    assert [(one.path, one.line) for one in scan(folder, cache)] == [('data.jsonl', 2_000_001)]


def test_an_unchanged_file_is_not_opened_again(folder, cache, opened):
    folder.write('b.txt', HF)
    before = scan(folder, cache)
    opened.clear()
    assert (scan(folder, cache), opened) == (before, [])


def test_only_the_changed_file_is_opened_again(folder, cache, opened):
    scan(folder, cache)
    folder.write('config.json', '{"token": "' + HF + '"}', age_s=5)
    opened.clear()
    assert ([one.path for one in scan(folder, cache)], opened) == (['config.json'], ['config.json'])


def test_a_young_file_is_scanned_again(folder, cache, opened):
    folder.write('b.txt', 'x', age_s=0)
    os.utime(folder.path / 'b.txt', ns=(time.time_ns() + 10**12, time.time_ns() + 10**12))
    scan(folder, cache)
    opened.clear()
    scan(folder, cache)
    assert opened == ['b.txt']


def test_other_rules_scan_again(folder, cache, opened, monkeypatch):
    scan(folder, cache)
    opened.clear()
    monkeypatch.setattr(scanning, '_version', lambda: 'other')
    scan(folder, cache)
    assert len(opened) == 4


def test_another_name_is_scanned_by_its_own_rules(folder, cache):
    (folder.path / 'model.bin').unlink()
    folder.write('weights', pickle.dumps(Evil()))
    assert scan(folder, cache) == []
    (folder.path / 'weights').rename(folder.path / 'weights.bin')
    (folder.path / 'weights').symlink_to('weights.bin')
    assert [one.path for one in scan(folder, cache)] == ['weights.bin']
    assert [one.path for one in scan(folder, cache)] == ['weights.bin']


def test_damage_in_the_cache_scans_again(folder, cache, opened, tmp_path):
    scan(folder, cache)
    with sqlite3.connect(tmp_path / 'cache' / 'files.sqlite') as table:
        table.execute("UPDATE scans SET findings = '[['")
    table.close()
    opened.clear()
    assert (scan(folder, cache), len(opened)) == ([], 4)


def test_a_file_that_is_not_what_was_hashed_stops(folder, cache):
    stamps = {file.path: Stamp.of(file.stat) for file in walk(folder.path).files}
    folder.write('config.json', '{}', age_s=5)
    with pytest.raises(errors.SourceChanged, match=r'config\.json'):
        scan(folder, cache, stamps=stamps)


def test_a_file_changed_after_a_cached_scan_stops(folder, cache):
    scan(folder, cache)
    stamps = {file.path: Stamp.of(file.stat) for file in walk(folder.path).files}
    folder.write('config.json', '{}', age_s=5)
    with pytest.raises(errors.SourceChanged):
        scanning.scan_files(
            folder.path, walk(folder.path).files, cache, stamps=stamps | {'config.json': Stamp(0, 0, 0, 0)}
        )


def test_neither_the_cache_nor_the_message_has_the_secret(folder, cache, tmp_path, capsys):
    folder.write('b.txt', HF)
    with pytest.raises(errors.GateError) as raised:
        require_clean(scan(folder, cache))
    cache.close()
    kept = b''.join(path.read_bytes() for path in (tmp_path / 'cache').iterdir())
    assert HF.encode() not in kept
    assert HF[5:15] not in str(raised.value) + ''.join(capsys.readouterr())


def test_what_cannot_be_looked_into_is_warned_of_each_time(folder, cache, capsys):
    folder.write('x.pt', b'7z\xbc\xaf\x27\x1c' + b'\0' * 50)
    for _ in range(2):
        scan(folder, cache)
        assert 'warning: x.pt: not looked through' in capsys.readouterr().err


def test_a_real_model_takes_no_findings(minilm, cache):
    found = walk(minilm)
    stamps = {file.path: Stamp.of(file.stat) for file in found.files}
    assert scanning.scan_files(found.root, found.files, cache, stamps=stamps) == []


def test_what_hfmirror_writes_is_scanned():
    texts = {'README.md': f'# Card\n\n{HF}\n', 'commit message': 'fine', 'metadata': f'{{"a": "{HF}"}}'}
    assert [(one.path, one.line) for one in scanning.scan_texts(texts)] == [('README.md', 3), ('metadata', 1)]


# -- what stops

SECRET = Finding('logs/train.log', 7, 'wandb-key', 'secrets')
UNSAFE = Finding('x/model.pkl', 0, 'unsafe-pickle', 'unsafe', 'posix.system')


def test_no_findings_pass():
    require_clean([])


def test_a_finding_stops_with_exit_code_8():
    with pytest.raises(errors.GateError) as raised:
        require_clean([SECRET])
    assert raised.value.exit_code == 8


@pytest.mark.parametrize(
    ('finding', 'words'),
    [
        (SECRET, ['logs/train.log:7: wandb-key', 'Revoke', '--exclude', '--allow-secrets', 'allow_secrets']),
        (UNSAFE, ['x/model.pkl: unsafe-pickle (posix.system)', 'safetensors', '--exclude', '--allow-unsafe']),
        (Finding('a', 0, 'file-size', 'limits', '501 GB'), ['a: file-size (501 GB)', 'Split']),
    ],
)
def test_the_message_says_where_what_and_how_to_go_on(finding, words):
    with pytest.raises(errors.GateError) as raised:
        require_clean([finding])
    assert [word for word in words if word not in str(raised.value)] == []


def test_twenty_findings_are_shown():
    with pytest.raises(errors.GateError, match='and 5 others') as raised:
        require_clean([SECRET._replace(line=line) for line in range(1, 26)])
    assert str(raised.value).count('logs/train.log') == 20


@pytest.mark.parametrize('pattern', ['**', 'logs/train.log', '*.log', 'logs/*', 'train.log'])
def test_an_allowed_path_passes(pattern, capsys):
    require_clean([SECRET], Allowed(secrets=(pattern,)))
    assert '1 finding let through' in capsys.readouterr().err


@pytest.mark.parametrize('allowed', [Allowed(secrets=('other.log',)), Allowed(unsafe=('**',))])
def test_another_path_or_gate_is_not_allowed(allowed):
    with pytest.raises(errors.GateError):
        require_clean([SECRET], allowed)


def test_limits_cannot_be_allowed():
    with pytest.raises(errors.GateError):
        require_clean([Finding('a', 0, 'file-size', 'limits')], Allowed(('**',), ('**',)))


# -- the Hub's limits


@pytest.mark.parametrize(
    ('size', 'findings', 'warnings'),
    [(200 * 10**9, 0, 0), (200 * 10**9 + 1, 0, 1), (500 * 10**9, 0, 1), (500 * 10**9 + 1, 1, 0)],
)
def test_a_file_may_have_500_gb(size, findings, warnings):
    checked = limits.check({'model.safetensors': size})
    assert (len(checked.findings), len(checked.warnings)) == (findings, warnings)


def test_a_folder_may_have_ten_thousand_files():
    assert limits.check({f'a/{n}': 1 for n in range(10_000)}) == ([], [])
    (found,) = limits.check({f'a/{n}': 1 for n in range(10_001)}).findings
    assert (found.path, found.rule) == ('a/', 'folder-size')


def test_many_folders_in_one_are_warned_of():
    checked = limits.check({f'a/{n}/x': 1 for n in range(10_001)})
    assert (checked.findings, len(checked.warnings)) == ([], 1)


def test_many_files_are_warned_of():
    checked = limits.check({f'{n % 100}/{n}': 1 for n in range(100_001)})
    assert (checked.findings, len(checked.warnings)) == ([], 1)


def test_the_top_folder_counts_too():
    (found,) = limits.check({str(n): 1 for n in range(10_001)}).findings
    assert found.path == 'the top folder'


def test_no_file_of_the_package_has_a_secret():
    own = Path(scanning.__file__).parents[1]
    texts = {str(path): path.read_text('utf-8') for path in own.rglob('*.py')}
    assert scanning.scan_texts(texts) == []
