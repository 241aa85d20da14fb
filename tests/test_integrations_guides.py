"""docs/trainer.md and docs/loops.md: their blocks, pasted one after the other, do what the text around them says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.guide import Guide

pytestmark = pytest.mark.heavy

DOCS = Path(__file__).parents[1] / 'docs'


@pytest.fixture
def guide(hub, tmp_path):
    guide = Guide(hub, tmp_path / 'project', 'me')
    guide.env |= {'HF_TOKEN': guide.token, 'KERAS_BACKEND': 'torch'}
    return guide


def run(guide, name):
    """Run every block of a guide; what follows one as plain text is what it prints. Returns how many there were."""
    blocks = re.findall(r'```(\w*)\n(.+?)```', (DOCS / name).read_text('utf-8'), re.DOTALL)
    printed, runs = '', 0
    for language, block in blocks:
        if language == '':
            assert block in printed
            continue
        printed = (guide.python if language == 'python' else guide.shell)(block).out
        runs += 1
    return runs


def tags(guide, repo):
    return sorted(ref.name for ref in guide.api.list_repo_refs(repo).tags)


def test_the_guide_for_a_trainer(guide):
    assert run(guide, 'trainer.md') == 4
    assert tags(guide, 'me/my-model') == ['step-4', 'step-6', 'step-8', 'v0.1.0', 'v0.2.0']
    assert (guide.path / 'checkpoint-6' / 'optimizer.pt').is_file()
    assert (guide.path / 'step-8' / 'model.safetensors').is_file()


def test_the_guide_for_loops(guide):
    assert run(guide, 'loops.md') == 4
    assert tags(guide, 'me/my-loop') == ['step-2', 'step-4', 'step-6', 'v0.1.0']
    assert tags(guide, 'me/my-lightning') == ['step-4', 'step-8', 'v0.1.0']
    assert tags(guide, 'me/my-keras') == ['epoch-1', 'epoch-2', 'v0.1.0']
