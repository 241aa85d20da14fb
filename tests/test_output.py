"""What a person or a program gets to see: data on stdout, talk on stderr, and nothing that steers the terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import pytest

from hfmirror import output


@pytest.fixture(autouse=True)
def loud():
    yield
    output.configure()


def test_data_goes_to_stdout_and_talk_to_stderr(capsys):
    output.data('result')
    output.say('working')
    output.warn('careful')
    output.error('broken')
    out, err = capsys.readouterr()
    assert out == 'result\n'
    assert err == 'working\nwarning: careful\nerror: broken\n'


def test_details_are_for_those_who_ask(capsys):
    output.detail('one')
    output.configure(verbose=True)
    output.detail('two')
    assert capsys.readouterr().err == 'two\n'


@pytest.mark.parametrize('to', ['nobody', '/dev/full'])
def test_talk_that_nobody_can_read_stops_nothing(to):
    code = "from hfmirror import output\nfor _ in range(3): output.say('working')\noutput.data('done')"
    reading, writing = os.pipe()
    os.close(reading)
    err = writing if to == 'nobody' else os.open(to, os.O_WRONLY)
    done = subprocess.run([sys.executable, '-c', code], stdout=subprocess.PIPE, stderr=err, check=True)
    assert done.stdout == b'done\n'


def test_silent_leaves_warnings_and_errors(capsys):
    output.configure(silent=True)
    output.say('working')
    output.warn('careful')
    assert capsys.readouterr().err == 'warning: careful\n'


@pytest.mark.parametrize('bad', ['\x1b[31m', '\x07', '\r', '\x9b', '\u202e', '\x00', '\u2028'])
def test_what_steers_the_terminal_is_shown_as_an_escape(capsys, bad):
    output.data(f'a{bad}b')
    out = capsys.readouterr().out
    assert bad not in out and out.startswith('a\\') and out.endswith('b\n')


def test_a_warning_in_words_of_its_own_is_a_warning_all_the_same(capsys):
    output.configure(silent=True)
    output.warn('WARNING: no.', prefix='')
    assert capsys.readouterr().err == 'WARNING: no.\n'


def test_a_name_that_is_no_utf_8_is_shown(capsys):
    output.data('caf\udce9')
    assert capsys.readouterr().out == 'caf\\udce9\n'


def test_a_terminal_of_another_encoding_gets_escapes(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', stream)
    output.data('ünï 名')
    assert stream.buffer.getvalue() == b'\\xfcn\\xef \\u540d\n'


def test_a_document_is_json_with_nothing_lost(capsys):
    value = {'name': 'ünï\x1b', 'size': 1, 'none': None}
    output.document(value)
    assert json.loads(capsys.readouterr().out) == value


@pytest.mark.parametrize('text', ['\x7f', '\u202e', '\x9b31m', 'caf\udce9', 'a\u2028b', '\U000e0001'])
def test_a_document_is_json_whatever_the_text(capsys, text):
    output.document([text])
    assert json.loads(capsys.readouterr().out) == [text]


def test_a_document_for_another_encoding_is_json_too(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding='latin-1')
    monkeypatch.setattr(sys, 'stdout', stream)
    output.document(['ünï 名'])
    assert json.loads(stream.buffer.getvalue()) == ['ünï 名']


def test_a_document_has_no_nan(capsys):
    with pytest.raises(ValueError):
        output.document({'loss': float('nan')})


def test_a_table_has_a_header_and_straight_columns(capsys):
    output.table([{'name': 'v1', 'size': '10 B'}, {'name': 'v10.0.0', 'size': '1 B'}], ('name', 'size'))
    assert capsys.readouterr().out == 'NAME     SIZE\nv1       10 B\nv10.0.0  1 B\n'


@pytest.mark.parametrize(
    ('size', 'shown'),
    [
        (0, '0 B'),
        (999, '999 B'),
        (1000, '1.0 kB'),
        (999_949, '999.9 kB'),
        (999_950, '1.0 MB'),
        (90_868_376, '90.9 MB'),
        (10**12, '1.0 TB'),
        (10**16, '10000.0 TB'),
    ],
)
def test_sizes_are_shown_as_the_hub_shows_them(size, shown):
    assert output.human_size(size) == shown


@pytest.mark.parametrize(
    ('number', 'shown'), [(0, '0 files'), (1, '1 file'), (2, '2 files'), (10_000, '10,000 files')]
)
def test_numbers_are_counted_as_people_do(number, shown):
    assert output.count(number, 'file') == shown


def test_progress_elsewhere_than_on_a_terminal_is_quiet_at_first(capsys):
    with output.progress('hashing', 100) as shown:
        shown.advance(50)
        with shown.file('a', 50) as bar:
            assert bar is None
    assert shown.done == 50 and capsys.readouterr() == ('', '')


def test_progress_elsewhere_than_on_a_terminal_is_a_line_now_and_then(capsys, monkeypatch):
    monkeypatch.setattr(output, '_PLAIN_EVERY_S', 0.0)
    with output.progress('hashing', 2000) as shown:
        shown.advance(1000)
    assert capsys.readouterr().err == 'hashing: 1.0 kB of 2.0 kB\n'


class Terminal(io.StringIO):
    encoding = 'utf-8'

    def isatty(self):
        return True


def test_progress_on_a_terminal_is_a_bar_in_total_and_one_for_a_large_file(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, 'stderr', screen)
    with output.progress('hashing', 10**9) as shown, shown.file('large.bin', 10**9) as bar:
        bar.update(10**9)
        shown.advance(10**9)
    text = screen.getvalue()
    assert 'hashing' in text and 'large.bin' in text


def test_a_hostile_file_name_does_not_steer_the_progress_bar(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, 'stderr', screen)
    with output.progress('hashing', 10**9) as shown, shown.file('a\x1b]0;owned\x07', 10**9):
        pass
    assert '\x1b]0' not in screen.getvalue() and '\x07' not in screen.getvalue()


@pytest.mark.parametrize(
    ('value', 'expected'),
    [
        (22713216.0, '22,713,216'),
        (0.000982285, '0.000982285'),
        (1e300, '1e+300'),
        (True, 'true'),
        (-3.0, '-3'),
    ],
)
def test_a_whole_number_is_shown_with_all_its_digits(value, expected):
    assert output.human_number(value) == expected
