"""The embedded Hub as a file system, its cards and scheduled commits, through huggingface_hub."""

import pytest

from tests.support.clients import Client, run_python

REPO = 'local/tiny'
WEIGHTS = bytes(range(256)) * 4000
CARD = '---\nlicense: mit\ntags:\n- tiny\n---\n\n# Tiny\n\nMy own words.\n'


@pytest.fixture
def client(hub, tmp_path):
    with Client(hub, tmp_path / 'ada') as running:
        running.api.create_repo(REPO)
        yield running


def test_written_file_is_read_back(client):
    client.fs.pipe_file(f'{REPO}/deep/model.bin', WEIGHTS)
    assert client.fs.cat_file(f'{REPO}/deep/model.bin') == WEIGHTS


def test_part_of_a_file_is_read(client):
    client.fs.pipe_file(f'{REPO}/model.bin', WEIGHTS)
    assert client.fs.cat_file(f'{REPO}/model.bin', start=1000, end=2000) == WEIGHTS[1000:2000]


def test_open_file_seeks_and_streams(hub, client):
    client.fs.pipe_file(f'{REPO}/model.bin', WEIGHTS)
    printed = run_python(
        hub,
        client.home,
        """
        from huggingface_hub import HfFileSystem
        fs = HfFileSystem()
        with fs.open('local/tiny/model.bin', 'rb', block_size=1000) as file:
            file.seek(-300, 2)
            end = file.read()
        with fs.open('local/tiny/model.bin', 'rb', block_size=0) as file:
            begin = file.read(300)
        with fs.open('local/tiny/notes.txt', 'w') as file:
            file.write('hello')
        print(end == bytes(range(256))[-44:] + bytes(range(256)), begin == (bytes(range(256)) * 2)[:300])
        print(fs.read_text('local/tiny/notes.txt'))
        """,
    )
    assert printed.split() == ['True', 'True', 'hello']


def test_folders_are_listed(client):
    client.fs.pipe_file(f'{REPO}/deep/er/a.txt', b'a')
    assert client.fs.ls(REPO, detail=False) == [f'{REPO}/.gitattributes', f'{REPO}/deep']
    assert client.fs.ls(f'{REPO}/deep', detail=False) == [f'{REPO}/deep/er']
    assert client.fs.find(REPO) == [f'{REPO}/.gitattributes', f'{REPO}/deep/er/a.txt']
    assert client.fs.glob(f'{REPO}/**/*.txt') == [f'{REPO}/deep/er/a.txt']


def test_details_tell_size_and_last_commit(client):
    client.fs.pipe_file(f'{REPO}/model.bin', WEIGHTS)
    info = client.fs.info(f'{REPO}/model.bin', expand_info=True)
    assert (info['type'], info['size'], info['lfs'].size) == ('file', len(WEIGHTS), len(WEIGHTS))
    assert info['last_commit'].title == 'Upload model.bin with huggingface_hub'


def test_what_is_there_and_what_is_not(client):
    client.fs.pipe_file(f'{REPO}/deep/a.txt', b'a')
    assert [client.fs.isdir(f'{REPO}/{name}') for name in ('deep', 'deep/a.txt', 'no')] == [
        True,
        False,
        False,
    ]
    assert [client.fs.exists(name) for name in (REPO, f'{REPO}/no', 'local/no')] == [True, False, False]
    with pytest.raises(FileNotFoundError):
        client.fs.ls(f'{REPO}/no')


def test_revision_is_part_of_a_path(client):
    client.fs.pipe_file(f'{REPO}/a.txt', b'one')
    client.api.create_tag(REPO, tag='v1.0.0')
    client.api.create_branch(REPO, branch='feat/x')
    client.fs.pipe_file(f'{REPO}/a.txt', b'two')
    assert client.fs.cat_file(f'{REPO}@v1.0.0/a.txt') == b'one'
    assert client.fs.cat_file(f'{REPO}@feat%2Fx/a.txt') == b'one'
    assert client.fs.cat_file(f'{REPO}/a.txt') == b'two'


def test_file_is_copied_inside_a_repository(client):
    client.fs.pipe_file(f'{REPO}/model.bin', WEIGHTS)
    client.fs.cp_file(f'{REPO}/model.bin', f'{REPO}/copy.bin')
    assert client.fs.cat_file(f'{REPO}/copy.bin') == WEIGHTS


def test_file_is_copied_to_another_repository(client):
    client.fs.pipe_file(f'{REPO}/model.bin', WEIGHTS)
    client.api.create_repo(REPO, repo_type='dataset')
    client.fs.cp_file(f'{REPO}/model.bin', f'datasets/{REPO}/model.bin')
    assert client.fs.cat_file(f'datasets/{REPO}/model.bin') == WEIGHTS


def test_removed_files_are_gone(client):
    client.fs.pipe_file(f'{REPO}/deep/a.txt', b'a')
    client.fs.pipe_file(f'{REPO}/deep/b.txt', b'b')
    client.fs.rm(f'{REPO}/deep', recursive=True)
    assert client.fs.find(REPO) == [f'{REPO}/.gitattributes']


def test_card_is_loaded_changed_and_pushed(hub, client):
    client.api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo='README.md', repo_id=REPO)
    printed = run_python(
        hub,
        client.home,
        """
        from huggingface_hub import ModelCard
        card = ModelCard.load('local/tiny')
        card.data.library_name = 'transformers'
        card.validate()
        card.push_to_hub('local/tiny')
        data = ModelCard.load('local/tiny').data
        print(data.license, data.tags, data.library_name)
        """,
    )
    assert printed.strip() == "mit ['tiny'] transformers"


def test_card_with_an_unknown_licence_is_not_valid(hub, client):
    printed = run_python(
        hub,
        client.home,
        """
        from huggingface_hub import ModelCard
        card = ModelCard('---\\nlicense: no-such-licence\\n---\\n')
        for act in (card.validate, lambda: card.push_to_hub('local/tiny')):
            try:
                act()
            except ValueError as e:
                print('license' in str(e))
        """,
    )
    assert printed.split() == ['True', 'True']
    assert not client.api.file_exists(REPO, 'README.md')


def test_dataset_card_is_made_from_a_template(hub, client):
    client.api.create_repo(REPO, repo_type='dataset')
    run_python(
        hub,
        client.home,
        """
        from huggingface_hub import DatasetCard, DatasetCardData
        data = DatasetCardData(language='en', license='mit', pretty_name='Tiny')
        DatasetCard.from_template(data).push_to_hub('local/tiny', create_pr=True)
        """,
    )
    assert not client.api.file_exists(REPO, 'README.md', repo_type='dataset')
    assert client.api.dataset_info(REPO, revision='refs/pr/1').card_data.pretty_name == 'Tiny'


def test_metadata_is_updated(hub, client):
    client.api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo='README.md', repo_id=REPO)
    client.lib.metadata_update(REPO, {'pipeline_tag': 'fill-mask'})
    info = client.api.model_info(REPO)
    assert (info.pipeline_tag, info.card_data.license) == ('fill-mask', 'mit')


def test_metrics_of_a_card_are_in_the_info(hub, client):
    printed = run_python(
        hub,
        client.home,
        """
        from huggingface_hub import HfApi, metadata_eval_result, metadata_update
        result = metadata_eval_result(
            model_pretty_name='Tiny', task_pretty_name='Text classification', task_id='text-classification',
            metrics_pretty_name='Accuracy', metrics_id='accuracy', metrics_value=0.91,
            dataset_pretty_name='Beans', dataset_id='local/beans',
        )
        metadata_update('local/tiny', result)
        print(HfApi().model_info('local/tiny').card_data.eval_results[0].metric_value)
        """,
    )
    assert printed.strip() == '0.91'


def test_scheduler_commits_what_has_changed(hub, client):
    run_python(
        hub,
        client.home,
        """
        from pathlib import Path
        from huggingface_hub import CommitScheduler
        folder = Path('watched')
        with CommitScheduler(repo_id='local/log', repo_type='dataset', folder_path=folder, every=60) as scheduler:
            (folder / 'log.txt').write_text('one')
            scheduler.trigger().result()
            (folder / 'log.txt').write_text('one two')
            (folder / 'more.bin').write_bytes(bytes(100_000))
        """,
    )
    assert client.fs.cat_file('datasets/local/log/log.txt') == b'one two'
    assert client.fs.cat_file('datasets/local/log/more.bin') == bytes(100_000)
