"""card: the card of a release before there is one, and what the Hub would say to it. Nothing is sent or made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.mirror import git


def card(mirror, folder, *args, code=0):
    return mirror.run('card', folder, '--repo', mirror.repo, *args, code=code)


def test_it_prints_the_card_and_makes_nothing(mirror, folder):
    before = folder.checksums()
    done = card(mirror, folder)
    assert done.out.startswith('---\n') and '<!-- hfmirror:begin' in done.out
    assert folder.checksums() == before and not mirror.home.exists()


def test_the_tag_is_the_revision_that_the_card_loads(mirror, folder):
    assert 'revision="v1.2.3"' in card(mirror, folder, '--tag', 'v1.2.3').out


def test_what_a_person_wrote_is_in_it(mirror, folder):
    folder.write('README.md', '---\nlicense: mit  # mine\n---\n# My words\n')
    text = card(mirror, folder).out
    assert 'license: mit  # mine' in text and '# My words' in text


def test_it_is_what_a_push_writes_but_for_dates(mirror, folder):
    folder.write('README.md', '---\nlicense: mit\n---\n# My words\n')
    printed = card(mirror, folder, '--tag', 'v1.0.0').out
    mirror.push(folder, '--tag', 'v1.0.0')
    pushed = mirror.files()['README.md'].decode()
    assert [line for line in printed.splitlines() if line.startswith('#')] == [
        line for line in pushed.splitlines() if line.startswith('#')
    ]


def test_json_holds_the_text(mirror, folder):
    done = card(mirror, folder, '--json').json
    assert done['path'] == 'README.md' and done['text'].startswith('---\n')


def test_check_passes_a_valid_card(mirror, folder):
    folder.write('README.md', '---\nlicense: mit\nlanguage: en\n---\n# Mine\n')
    done = card(mirror, folder, '--check')
    assert 'valid' in done.err


def test_check_names_file_line_and_key(mirror, folder):
    folder.write('README.md', '---\nlicense: mitt\n---\n# Mine\n')
    done = card(mirror, folder, '--check')
    assert any(
        line.startswith('README.md:') and 'license' in line and line.split(':')[1].isdigit()
        for line in done.out.splitlines()
    )


def test_check_ends_with_8_for_what_the_hub_refuses(mirror, folder):
    folder.write('README.md', '---\nlicense: mit\ntags: 5\n---\n# Mine\n')
    done = card(mirror, folder, '--check', code=8)
    assert 'error: tags' in done.out and 'README.md' in done.err


def test_check_as_json_is_a_list_of_problems(mirror, folder):
    folder.write('README.md', '---\nlicense: mitt\n---\n# Mine\n')
    problems = card(mirror, folder, '--check', '--json').json
    assert {'path', 'line', 'key', 'severity', 'message'} <= set(problems[0])


@pytest.mark.parametrize('name', ['README.md', 'eval_results.json'])
def test_a_broken_file_is_named_and_ends_with_8(mirror, folder, name):
    folder.write(name, '---\na: [\n---\n' if name == 'README.md' else '{')
    assert name in card(mirror, folder, code=8).err


def test_a_missing_folder_is_a_usage_error(mirror, tmp_path):
    assert 'no such folder' in card(mirror, tmp_path / 'nowhere', code=2).err


def test_a_dataset_gets_a_card_for_datasets(mirror, folder):
    folder.write('train.jsonl', json.dumps({'text': 'a', 'label': 1}) + '\n')
    assert 'load_dataset' in card(mirror, folder, '--repo-type', 'dataset').out


def test_no_hub_is_asked_whose_a_configured_name_without_a_namespace_is(mirror, folder, hub):
    Path('config.yaml').write_text('huggingface: {repository: {model_name: tiny}}\n')
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    done = mirror.run('card', folder, '--remote', 'hub', env=env)
    assert done.code == 2 and 'whose card?' in done.err and hub.requests('*') == []


def test_the_configured_user_is_whose_card_it_is(mirror, folder):
    Path('config.yaml').write_text('huggingface: {user: {username: ada}, repository: {model_name: tiny}}\n')
    assert 'ada/tiny' in mirror.run('card', folder, '--remote', 'hub', code=0).out


def test_no_network_and_no_git_is_needed(mirror, folder, tmp_path):
    (tmp_path / 'bin').mkdir()
    done = mirror.run('card', folder, '--repo', mirror.repo, env={'PATH': str(tmp_path / 'bin')})
    assert done.code == 0, done.err


@pytest.mark.heavy
def test_the_clone_of_a_release_is_not_touched(mirror, folder):
    mirror.push(folder, '--tag', 'v1.0.0')
    before = mirror.git('for-each-ref')
    folder.write('config.json', '{}')
    card(mirror, folder)
    assert mirror.git('for-each-ref') == before
    (work,) = (mirror.home / 'clones').glob('*/work')
    assert git('status', '--porcelain', cwd=work) == ''
