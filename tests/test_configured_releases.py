"""What is configured is what a release is: its name, its words, its card, who made it, and where it goes."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from hfmirror.card.additions import Additions, Author, DataSet, Link


def configure(text, name='config.yaml'):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('huggingface:\n' + ''.join(f'  {line}\n' for line in text.strip().splitlines()))


def released(mirror, folder, *options, **kwargs):
    """Push and return the only document."""
    (done,) = mirror.push(folder.path, *options, **kwargs)
    return done


# -- the version


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('keys', 'expected'),
    [
        ('versioning: {tag_format: "v{timestamp}"}', r'v\d{8}-\d{6}'),
        ('versioning: {semantic_versioning: false}', r'v\d{8}-\d{6}'),
        ('versioning: {semantic_versioning: false, tag_prefix: run-}', r'run-\d{8}-\d{6}'),
        (
            'versioning: {semantic_versioning: false, formats: {timestamp: "t{year}{month:02d}{day:02d}T{hour:02d}{minute:02d}"}}',
            r't\d{8}T\d{4}',
        ),
        ('versioning: {formats: {semantic: "rel-{major}.{minor}.{patch}"}}', r'rel-0\.1\.0'),
        ('versioning: {tag_format: "m{major}.{minor}.{patch}"}', r'm0\.1\.0'),
        ('versioning: {auto_increment: patch}', r'v0\.0\.1'),
        ('versioning: {auto_increment: major, tag_prefix: r}', r'r1\.0\.0'),
    ],
)
def test_a_version_is_named_as_configured(mirror, folder, keys, expected):
    configure(keys)
    assert re.fullmatch(expected, released(mirror, folder)['version'])


@pytest.mark.parametrize(
    ('keys', 'named'),
    [
        ('settings: {auto_versioning: false}', False),
        ('versioning: {auto_tag: false}', False),
        ('settings: {auto_versioning: false}\nversioning: {auto_tag: true}', True),
    ],
)
def test_a_release_has_a_version_when_that_is_configured(mirror, folder, keys, named):
    configure(keys)
    assert (released(mirror, folder)['version'] is not None) is named


def test_the_format_of_timestamps_counts_for_the_option_too(mirror, folder):
    configure('versioning: {formats: {timestamp: "at-{timestamp}"}}')
    assert re.fullmatch(r'at-\d{8}-\d{6}', released(mirror, folder, '--timestamp')['version'])


@pytest.mark.parametrize('options', [(), ('--timestamp',)])
def test_timestamps_of_a_release_and_of_the_option_have_one_format(mirror, folder, options):
    home = Path('hm')
    home.mkdir()
    (home / 'config.yaml').write_text('versioning: {formats: {timestamp: "rel-{timestamp}"}}\n')
    configure('versioning: {tag_format: "v{timestamp}"}')
    (done,) = mirror.push(folder.path, *options, env={'HFMIRROR_HOME': str(home.absolute())})
    assert re.fullmatch(r'v\d{8}-\d{6}', done['version'])


# -- the commit


def subject(mirror):
    return mirror.git('log', '-1', '--format=%s')


def test_the_commit_message_follows_the_template(mirror, folder):
    configure('settings: {commit_message_template: "Upload {item_type} for {experiment_name}: {version}"}')
    released(mirror, folder, '--tag', 'v2.0.0')
    assert subject(mirror) == 'Upload model for tiny-model: v2.0.0'


def test_an_experiment_has_its_name_in_the_template(mirror, folder):
    configure('settings: {commit_message_template: "Upload {item_type} for {experiment_name}"}')
    released(mirror, folder, '--experiment', 'baseline')
    assert subject(mirror) == 'Upload model for baseline'


def test_words_of_a_person_go_before_the_template(mirror, folder):
    configure('settings: {commit_message_template: "Upload {item_type}"}')
    released(mirror, folder, '-m', 'my words')
    assert subject(mirror) == 'my words'


def _code(tmp_path):
    """Make the working directory the repository of training code."""
    for command in (['init', '-q'], ['commit', '-q', '--allow-empty', '-m', 'code']):
        subprocess.run(['git', *command], cwd=tmp_path, check=True)


@pytest.mark.parametrize(('keys', 'told'), [('sync: {}', True), ('sync: {include_git_info: false}', False)])
def test_the_commit_of_the_code_is_told_when_that_is_configured(mirror, folder, tmp_path, keys, told):
    _code(tmp_path)
    configure(keys)
    released(mirror, folder)
    assert ('Source-Commit: ' in mirror.git('log', '-1', '--format=%B')) is told


def _author(mirror):
    return mirror.git('log', '-1', '--format=%an <%ae>')


def test_the_configured_user_commits_where_git_knows_nobody(mirror, folder, monkeypatch):
    for name in ('GIT_AUTHOR_NAME', 'GIT_AUTHOR_EMAIL', 'GIT_COMMITTER_NAME', 'GIT_COMMITTER_EMAIL'):
        monkeypatch.delenv(name)
    Path.home().joinpath('.gitconfig').write_text('[user]\n\tuseConfigOnly = true\n')
    configure('user: {username: grace, email: grace@example.org}')
    released(mirror, folder)
    assert _author(mirror) == 'grace <grace@example.org>'


def test_git_s_own_name_for_a_person_goes_before_the_configured_one(mirror, folder):
    configure('user: {username: grace, email: grace@example.org}')
    released(mirror, folder)
    assert _author(mirror) == 'Ada <ada@example.org>'


# -- the card


def test_the_card_says_what_is_configured(mirror, folder):
    configure(
        """
model_card:
  language: zh
  license: mit
  tags: [mcp, fine-tuning]
  authors: [{name: Ada L., email: ada@example.org}]
  datasets: [{name: MCP Tool Calls Dataset, description: Calls of tools.}, {name: ns/data}]
  sections: {limitations: May be wrong.}
"""
    )
    released(mirror, folder)
    card = mirror.files()['README.md'].decode()
    head = card.split('---')[1]
    assert 'language:\n- zh' in head and 'license: mit' in head
    assert '- mcp\n- fine-tuning' in head and 'datasets:\n- ns/data' in head
    assert '## Authors\n\n- Ada L. (ada&#64;example.org)' in card
    assert '- **MCP Tool Calls Dataset**: Calls of tools.' in card
    assert '## Limitations\n\nMay be wrong.' in card


def test_what_a_person_wrote_in_the_card_goes_before_what_is_configured(mirror, folder):
    folder.write('README.md', '---\nlicense: apache-2.0\ntags:\n- own\n---\n# Mine\n')
    configure('model_card: {license: mit, tags: [mcp]}')
    released(mirror, folder)
    head = mirror.files()['README.md'].decode().split('---')[1]
    assert 'license: apache-2.0' in head and 'mit' not in head and '- own' in head and 'mcp' not in head


@pytest.mark.heavy
def test_what_is_configured_anew_is_a_release_of_an_unchanged_folder(mirror, folder):
    released(mirror, folder)
    configure('model_card: {license: mit}')
    assert released(mirror, folder)['status'] == 'pushed'
    assert 'license: mit' in mirror.files()['README.md'].decode()
    assert released(mirror, folder)['status'] == 'up-to-date'


@pytest.mark.heavy
def test_what_is_configured_no_more_leaves_the_card(mirror, folder):
    configure('model_card: {license: mit}')
    released(mirror, folder)
    configure('model_card: {}')
    assert released(mirror, folder)['status'] == 'pushed'
    assert 'license: mit' not in mirror.files()['README.md'].decode()


def test_a_tag_that_is_there_is_no_conflict_because_of_the_configuration(mirror, folder):
    released(mirror, folder, '--tag', 'v1.0.0')
    configure('model_card: {license: mit}')
    assert released(mirror, folder, '--tag', 'v1.0.0')['status'] == 'up-to-date'


@pytest.mark.heavy
def test_a_section_cannot_end_our_region(mirror, folder):
    configure('model_card: {sections: {notes: "<!-- hfmirror:end sections --> tail"}}')
    released(mirror, folder)
    released(mirror, folder, '--tag', 'v9.0.0')  # the card can be read again
    assert '&lt;!-- hfmirror:end sections --> tail' in mirror.files()['README.md'].decode()


def test_additions_over_others_fill_in_what_they_do_not_say():
    ours = Additions(license='mit', sections={'a': '1'}, links={'Run': Link('x', None)})
    others = Additions(license='gpl', tags=('t',), authors=(Author('A'),), sections={'a': '0', 'b': '2'})
    both = ours.over(others)
    assert (both.license, both.tags, both.authors) == ('mit', ('t',), (Author('A'),))
    assert both.sections == {'a': '1', 'b': '2'} and both.links == ours.links


def test_a_data_set_without_a_name_on_the_hub_is_not_in_the_front_matter():
    from hfmirror.facts.facts import Facts

    added = Additions(datasets=(DataSet('My own data'), DataSet('ns/data'))).added(Facts(datasets=('a/b',)))
    assert added.datasets == ('a/b', 'ns/data')


# -- where to


def test_a_name_without_a_namespace_is_put_into_the_template(mirror, folder):
    configure(
        'user: {username: grace}\nrepository: {model_name: tiny, model_repo_template: "{username}/x-{model_name}"}'
    )
    done = mirror.run('push', folder.path, '--remote', 'local', '--json', code=0).json
    assert 'grace/x-tiny' in done[0]['target']


def test_a_name_without_a_namespace_gets_that_of_the_token_on_the_hub(hub, api, mirror, folder):
    configure('repository: {model_name: tiny}')
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    mirror.run('push', folder.path, '--remote', 'hub', env=env, code=0)
    assert api.repo_exists('local/tiny')


def test_a_name_without_a_namespace_and_without_a_user_is_local_in_the_local_hub(mirror, folder):
    configure('repository: {model_name: tiny}')
    done = mirror.run('push', folder.path, '--remote', 'local', '--json', code=0).json
    assert 'local/tiny' in done[0]['target']


def test_configurations_go_to_the_repository_of_the_template():
    from hfmirror import place, target
    from hfmirror.config.config import Config

    model = target.local(Path('hub'), 'me/tiny')
    assert place.config_repo(Config(), model) == 'me/tiny-configs'
    other = Config.model_validate({'repository': {'config_repo_template': '{username}/all-configs'}})
    assert place.config_repo(other, model) == 'me/all-configs'


def test_configurations_are_beside_the_model_whoever_the_user_is():
    from hfmirror import place, target
    from hfmirror.config.config import Config

    config = Config.model_validate({'user': {'username': 'ada'}})
    assert place.config_repo(config, target.local(Path('hub'), 'lab/tiny')) == 'lab/tiny-configs'


def test_the_layout_is_as_configured(mirror, folder):
    configure(
        'layout: {path_in_repo: v2/model, include: ["*.json", "*.bin"], exclude: ["eval*"], keep: true}'
    )
    released(mirror, folder)
    assert {path for path in mirror.files() if '/' in path} == {'v2/model/config.json', 'v2/model/model.bin'}


@pytest.mark.parametrize(('options', 'keeps'), [((), True), (('--no-keep',), False), (('--keep',), True)])
def test_what_is_configured_to_be_kept_can_go_all_the_same(mirror, folder, options, keeps):
    configure('layout: {keep: true}')
    folder.write('old.json', b'{}')
    released(mirror, folder)
    (folder.path / 'old.json').unlink()
    folder.write('new.json', b'{}')
    released(mirror, folder, *options)
    assert ('old.json' in mirror.files()) is keeps


def test_an_option_goes_before_the_configured_layout(mirror, folder):
    configure('layout: {path_in_repo: v2/model}')
    released(mirror, folder, '--path-in-repo', 'other')
    assert 'other/config.json' in mirror.files()


def test_the_root_can_be_asked_for_where_a_folder_is_configured(mirror, folder):
    configure('layout: {path_in_repo: v2/model}')
    released(mirror, folder, '--path-in-repo', '.')
    assert 'config.json' in mirror.files()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('keys', 'private'),
    [
        ('settings: {default_private: true}', True),
        ('settings: {default_private: true}\nrepository: {private: false}', False),
        ('repository: {private: true}', True),
    ],
)
def test_the_repository_is_made_as_private_as_configured(hub, mirror, folder, keys, private):
    from huggingface_hub import HfApi

    configure(keys)
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    mirror.run('push', folder.path, '--remote', 'hub', '--repo', 'local/new', env=env, code=0)
    assert HfApi(endpoint=hub.endpoint, token=hub.token).model_info('local/new').private is private


@pytest.mark.parametrize('keys', ['settings: {auto_create_repos: false}', 'repository: {auto_create: false}'])
def test_no_repository_is_created_where_that_is_turned_off(hub, mirror, folder, keys):
    configure(keys)
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    done = mirror.run('push', folder.path, '--remote', 'hub', '--repo', 'local/new', env=env)
    key = 'settings.auto_create_repos' if 'settings' in keys else 'repository.auto_create'
    assert done.code == 5 and f'{key} is off' in done.err


# -- how


@pytest.mark.heavy
@pytest.mark.parametrize('size', [4096, 5000, 3 * 1024 * 1024])
def test_a_file_is_read_in_blocks_of_any_size(mirror, folder, size):
    folder.write('big.bin', bytes(range(256)) * 50_000 + b'end')
    configure(f'settings: {{upload: {{chunk_size: {size}}}}}')
    released(mirror, folder)
    mirror.assert_whole()


@pytest.mark.heavy
def test_the_cache_of_a_project_is_where_it_is_configured(hub, mirror, folder, tmp_path):
    configure('settings: {download: {cache_dir: ./mine}}')
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token, 'HF_HUB_CACHE': str(tmp_path / 'theirs')}
    where = ('--remote', 'hub', '--repo', 'local/new')
    mirror.run('push', folder.path, *where, '--tag', 'v1.0.0', env=env, code=0)
    done = mirror.run('pull', 'v1.0.0', '--to-cache', *where, env=env, code=0)
    assert (tmp_path / 'mine' / 'models--local--new' / 'refs' / 'v1.0.0').exists()
    assert f'cache_dir={str(tmp_path / "mine")!r}' in done.out


@pytest.mark.heavy
@pytest.mark.parametrize(
    ('keys', 'ranges'), [('enabled: true', 1), ('settings: {download: {resume_download: false}}', 0)]
)
def test_an_interrupted_download_goes_on_only_where_that_is_configured(hub, mirror, folder, keys, ranges):
    env = {'HF_ENDPOINT': hub.endpoint, 'HF_TOKEN': hub.token}
    where = ('--remote', 'hub', '--repo', 'local/new')
    folder.write('big.bin', bytes(range(256)) * 80_000)
    mirror.run('push', folder.path, *where, '--tag', 'v1.0.0', env=env, code=0)
    configure(keys)
    hub.forget()
    hub.cut('GET /lfs/objects/', after=5_000_000)
    mirror.run('pull', 'v1.0.0', '--to', 'there', *where, env=env, code=0)
    assert Path('there/big.bin').stat().st_size == 20_480_000
    assert sum('range' in seen.headers for seen in hub.requests('GET /lfs/objects/')) == ranges
