"""docs/hooks.md: its blocks, pasted one after the other, do what the text around them says."""

import json
import re
from pathlib import Path

import pytest

from tests.support.coderepo import CodeRepo
from tests.support.mirror import git

ROOT = Path(__file__).parents[1]
GUIDE = (ROOT / 'docs' / 'hooks.md').read_text('utf-8')
BLOCKS = re.findall(r'^```(\w+)\n(.*?)^```', GUIDE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def code(tmp_path, mirror):
    mirror.repo = 'me/bert'
    mirror.remote = mirror.home / 'hub' / 'models' / 'me' / 'bert.git'
    made = CodeRepo(tmp_path / 'code', mirror)
    made.write('config.yaml', '')
    made.write('train.py', '# longer')
    made.code_remote()
    return made


def blocks(language):
    return [text for found, text in BLOCKS if found == language]


def shell(code, block):
    return code.run('bash', '-euo', 'pipefail', '-c', block)


def test_every_block_is_one_that_is_tried():
    assert {language for language, _ in BLOCKS} == {'bash', 'yaml'}
    assert len(blocks('bash')) == 7
    assert len(blocks('yaml')) == 3


@pytest.mark.heavy
def test_the_commands_of_the_guide_do_what_it_says(code):
    install, events, look, wait, skip, uninstall, by_hand = blocks('bash')
    shell(code, install)
    assert code.wait(1) == ['v0.1.0']
    assert code.source() == code.head()
    shell(code, events)
    assert code.wait(2) == ['v0.1.0', 'v1.2.0']
    assert code.message('v1.2.0').startswith('Trained for a week\n')
    done = shell(code, look)
    assert done.out.count('--repo me/bert --remote local') == 3
    assert 'hfmirror.hook.tag.folder outputs' in done.out
    code.write('config.yaml', blocks('yaml')[0])
    code.finish_training(b'two')
    done = shell(code, wait)
    assert 'outputs: v1.3.0 pushed and proven' in done.err
    code.finish_training(b'three')
    shell(code, skip)
    assert git('rev-parse', 'main', cwd=code.path.parent / 'code.git') == code.head()
    assert 'v1.4.0' not in code.tags()
    shell(code, uninstall)
    assert code.hooks('list', '--json').json == []
    shell(code, by_hand)
    assert 'v1.4.0' in code.wait(4)


@pytest.mark.heavy
def test_the_project_file_of_the_guide_installs_its_hooks(code):
    code.write('config.yaml', blocks('yaml')[0])
    code.hooks('install')
    assert [hook['event'] for hook in code.hooks('list', '--json').json] == ['commit', 'tag']
    code.commit()
    assert code.wait(1) == ['v0.1.0']


@pytest.mark.heavy
def test_the_configuration_of_pre_commit_in_the_guide_runs(code, monkeypatch, tmp_path):
    monkeypatch.setenv('PRE_COMMIT_HOME', str(tmp_path / 'pre-commit'))
    project = tmp_path / 'hf-mirror'
    git('init', '-q', '-b', 'main', project)
    (project / '.pre-commit-hooks.yaml').write_text((ROOT / '.pre-commit-hooks.yaml').read_text())
    git('add', '.', cwd=project)
    git('commit', '-qm', 'a release of hfmirror', cwd=project)
    git('tag', 'v0.1.0', cwd=project)
    text = blocks('yaml')[1].replace('https://github.com/your-org/hf-mirror', json.dumps(str(project)))
    # Without a network no environment can be built: the other way that the guide names.
    text = text.replace('args: [', 'language: system\n        args: [')
    code.write('config.yaml', blocks('yaml')[0])
    code.write('.pre-commit-config.yaml', text)
    code.git('add', '.pre-commit-config.yaml')
    [command] = re.findall(r'^    (pre-commit install .*)$', GUIDE, re.MULTILINE)
    shell(code, command)
    code.commit()
    assert code.wait(1) == ['v0.1.0']
    assert code.source() == code.head()


def test_the_commands_for_lefthook_run(code):
    code.write('config.yaml', blocks('yaml')[0])
    for command in re.findall(r'run: (.*)', blocks('yaml')[2]):
        shell(code, command)
    assert code.wait(1) == ['v0.1.0']
