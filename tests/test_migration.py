"""The page about coming from huggingface_hub is true: its old lines and its new ones run, and leave the same behind."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.support.clients import environment
from tests.support.clones import WEIGHTS, log_in, with_first_commit

PAGE = Path(__file__).parents[1] / 'docs' / 'migration.md'


class Block(NamedTuple):
    """A block of code; ``kind`` is the language of its fence."""

    line: int
    kind: str
    text: str

    def side(self, sign):
        """Return the lines of a diff that are there before (``-``) or after (``+``)."""
        other = '+' if sign == '-' else '-'
        return '\n'.join(line[1:] for line in self.text.splitlines() if not line.startswith(other))


def blocks():
    text = PAGE.read_text('utf-8')
    found = re.finditer(r'^```(\w*)\n(.*?)^```$', text, re.MULTILINE | re.DOTALL)
    return [Block(text[: match.start()].count('\n') + 1, match[1], match[2]) for match in found]


def programs(sign):
    """Return the code of every block, the new or the old side of a diff."""
    made = [
        pytest.param(block.side(sign) if block.kind == 'diff' else block.text, id=f'line {block.line}')
        for block in blocks()
        if block.kind == 'diff' or sign == '+'
    ]
    # What is gone from huggingface_hub cannot run.
    return [
        one
        for one in made
        if sign == '+'
        or not re.search(
            r'huggingface_hub.* import .*Repository|huggingface_hub\.repository|hfmirror', one.values[0]
        )
    ]


@pytest.fixture
def place(shared_hub, monkeypatch, tmp_path):
    """The repository of the page, with a version v1.0.0, and a folder ``out`` that a training run has left."""
    log_in(shared_hub, monkeypatch)
    place = with_first_commit(shared_hub)
    place.git('tag', 'v1.0.0', 'main')
    out = tmp_path / 'out'
    out.mkdir()
    (out / 'config.json').write_text('{"model_type": "bert"}\n')
    (out / 'model.bin').write_bytes(WEIGHTS * 2)
    return place


def run(place, code, tmp_path):
    code = code.replace('me/my-model', place.repo_id)
    is_shell = code.startswith(('hf ', 'hfmirror '))
    command = ['sh', '-e', '-c', code] if is_shell else ['python', '-c', code]
    env = environment(place.hub, tmp_path / 'home', HFMIRROR_HOME=str(tmp_path / 'hfmirror'))
    done = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f'{code}\n{done.stdout}\n{done.stderr}'


@pytest.mark.heavy
@pytest.mark.parametrize('code', programs('+'))
def test_the_new_lines_run(place, code, tmp_path):
    before = place.git('for-each-ref')
    run(place, code, tmp_path)
    changes_nothing = 'pull v1' in code or 'import is_' in code
    assert (place.git('for-each-ref') == before) == changes_nothing


@pytest.mark.heavy
@pytest.mark.parametrize('code', programs('-'))
def test_the_old_lines_run(place, code, tmp_path):
    run(place, code, tmp_path)


@pytest.mark.heavy
def test_every_block_is_run():
    assert {block.kind for block in blocks()} <= {'diff', 'python'}
    assert len(programs('+')) == len(blocks())


@pytest.mark.heavy
def test_a_script_of_the_old_class_runs_with_one_line_changed(place, tmp_path):
    (old,) = [block.side('-') for block in blocks() if 'notes.txt' in block.text]
    run(place, old.replace('from huggingface_hub import', 'from hfmirror import'), tmp_path)
    assert place.messages()[0] == 'Notes'


@pytest.mark.heavy
def test_both_ways_of_a_tag_end_at_the_same_commit(place, tmp_path):
    (block,) = [block for block in blocks() if 'v1.0.1' in block.text]
    run(place, block.side('-'), tmp_path)
    old = place.git('rev-parse', 'v1.0.1^{commit}')
    place.git('tag', '-d', 'v1.0.1')
    run(place, block.side('+'), tmp_path)
    assert place.git('rev-parse', 'v1.0.1^{commit}') == old


@pytest.mark.heavy
def test_both_ways_to_fetch_a_version_give_the_same_files(place, tmp_path):
    (block,) = [block for block in blocks() if 'hfmirror pull v1.0.0 --to fresh' in block.text]
    run(place, block.side('-').replace('fresh', 'old'), tmp_path)
    run(place, block.side('+').replace('fresh', 'new'), tmp_path)
    assert files(tmp_path / 'old') == files(tmp_path / 'new')


def files(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob('*')
        if path.is_file() and '.cache' not in path.parts and not path.name.startswith('.hfmirror')
    }
