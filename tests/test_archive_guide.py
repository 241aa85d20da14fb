"""docs/archives.md: what a person pastes from it does what it says."""

from __future__ import annotations

import os
import re
import subprocess

import pytest

from hfmirror.archive.guide import SCRIPT
from tests.support.guide import ROOT
from tests.support.mirror import bare, git
from tests.support.s3 import Bucket

PAGE = (ROOT / 'docs' / 'archives.md').read_text('utf-8')


def sections():
    """Return {title: [code block]} of the page."""
    parts = re.split('^## (.+)$', PAGE, flags=re.MULTILINE)
    return {
        title: re.findall(r'```bash\n(.*?)```', text, re.DOTALL)
        for title, text in zip(parts[1::2], parts[2::2], strict=True)
    }


BLOCKS = sections()


@pytest.fixture
def shell(tmp_path):
    """Run a block in bash, in a folder with ``my_model``; words of the page are replaced by places of the test."""
    path = tmp_path / 'project'
    (path / 'my_model').mkdir(parents=True)
    (path / 'my_model' / 'config.json').write_text('{"model_type": "bert"}\n')
    (path / 'my_model' / 'model.safetensors').write_bytes(os.urandom(3000))
    git('lfs', 'install', '--skip-repo')

    def run(block, **instead):
        for word, other in {'/nas/archive': str(tmp_path / 'nas'), **instead}.items():
            block = block.replace(word, other)
        done = subprocess.run(
            ['bash', '-euo', 'pipefail', '-c', block],
            cwd=path,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert done.returncode == 0, f'{block}\n{done.stdout}\n{done.stderr}'
        return done.stdout

    run.path = path
    return run


def test_each_section_with_code_is_tested_here():
    assert {title: len(blocks) for title, blocks in BLOCKS.items() if blocks} == {
        'S3': 3,
        'Google Cloud Storage': 1,
        'A directory, such as that of a NAS': 1,
        'What is sent': 1,
        'Rebuilding a git repository': 2,
        'By hand, without hfmirror': 2,
    }


@pytest.mark.heavy
def test_s3(shell, monkeypatch):
    with Bucket(monkeypatch) as bucket:
        first, named, both = BLOCKS['S3']
        said = shell(first, **{'s3://bucket': f's3://{bucket.name}'})
        assert 'v1.0.0 pushed and proven' in said and 'is whole' in said
        assert (shell.path / 'restored' / 'model.safetensors').is_file()
        assert 'v1.0.0' in shell(named, **{'s3://bucket': f's3://{bucket.name}'})
        (shell.path / 'my_model' / 'more.txt').write_text('x\n')
        assert shell(both, **{'s3://bucket': f's3://{bucket.name}'}).count('pushed and proven') == 2


@pytest.mark.heavy
def test_a_directory_and_what_waits(shell):
    (block,) = BLOCKS['A directory, such as that of a NAS']
    assert 'is whole' in shell(block)
    (waiting,) = BLOCKS['What is sent']
    shell(waiting)


def test_the_configuration_of_the_page_is_good(shell, tmp_path):
    (block,) = re.findall(r'```yaml\n(.*?)```', PAGE, re.DOTALL)
    (shell.path / 'config.yaml').write_text(block)
    shell('hfmirror validate-config')


@pytest.mark.heavy
def test_rebuilding(shell, tmp_path):
    shell(BLOCKS['A directory, such as that of a NAS'][0])
    rebuild, move = BLOCKS['Rebuilding a git repository']
    assert 'v1.0.0' in shell(rebuild)
    new = bare(tmp_path / 'new.git')
    shell(move, URL=str(new))
    git('lfs', 'fsck', cwd=new)
    assert git('tag', cwd=new) == 'v1.0.0'


@pytest.mark.heavy
def test_by_hand(shell, tmp_path):
    shell(BLOCKS['A directory, such as that of a NAS'][0])
    restore, one = BLOCKS['By hand, without hfmirror']
    shell(restore)
    restored = tmp_path / 'nas' / 'models' / 'me' / 'restored.git'
    git('fsck', '--full', '--strict', cwd=restored)
    git('lfs', 'fsck', cwd=restored)
    shell(one)
    assert (tmp_path / 'home' / 'model.safetensors').read_bytes() == (
        shell.path / 'my_model' / 'model.safetensors'
    ).read_bytes()


def test_the_commands_are_those_of_the_readme_of_an_archive():
    block = BLOCKS['By hand, without hfmirror'][0].splitlines()[1:]
    assert block == [line[4:] for line in SCRIPT.replace('BRANCH', 'main').splitlines()]
