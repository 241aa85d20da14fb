"""The embedded Hub as a file system, its cards and scheduled commits, through huggingface_hub."""

from itertools import count

import pytest

from tests.support.clients import run_python

WEIGHTS = bytes(range(256)) * 4000
CARD = '---\nlicense: mit\ntags:\n- tiny\n---\n\n# Tiny\n\nMy own words.\n'


@pytest.fixture(scope='module')
def hub(shared_hub):
    return shared_hub


_numbers = count()


@pytest.fixture
def repo(client):
    """The name of a new repository of a model."""
    name = f'local/tiny-{next(_numbers)}'
    client.api.create_repo(name)
    return name


def test_written_file_is_read_back(client, repo):
    client.fs.pipe_file(f'{repo}/deep/model.bin', WEIGHTS)
    assert client.fs.cat_file(f'{repo}/deep/model.bin') == WEIGHTS


def test_part_of_a_file_is_read(client, repo):
    client.fs.pipe_file(f'{repo}/model.bin', WEIGHTS)
    assert client.fs.cat_file(f'{repo}/model.bin', start=1000, end=2000) == WEIGHTS[1000:2000]


def test_open_file_seeks_and_streams(hub, client, repo):
    client.fs.pipe_file(f'{repo}/model.bin', WEIGHTS)
    printed = run_python(
        hub,
        client.home,
        """
        import sys
        from huggingface_hub import HfFileSystem
        fs = HfFileSystem()
        with fs.open(f'{sys.argv[1]}/model.bin', 'rb', block_size=1000) as file:
            file.seek(-300, 2)
            end = file.read()
        with fs.open(f'{sys.argv[1]}/model.bin', 'rb', block_size=0) as file:
            begin = file.read(300)
        with fs.open(f'{sys.argv[1]}/notes.txt', 'w') as file:
            file.write('hello')
        print(end == bytes(range(256))[-44:] + bytes(range(256)), begin == (bytes(range(256)) * 2)[:300])
        print(fs.read_text(f'{sys.argv[1]}/notes.txt'))
        """,
        repo,
    )
    assert printed.split() == ['True', 'True', 'hello']


def test_folders_are_listed(client, repo):
    client.fs.pipe_file(f'{repo}/deep/er/a.txt', b'a')
    assert client.fs.ls(repo, detail=False) == [f'{repo}/.gitattributes', f'{repo}/deep']
    assert client.fs.ls(f'{repo}/deep', detail=False) == [f'{repo}/deep/er']
    assert client.fs.find(repo) == [f'{repo}/.gitattributes', f'{repo}/deep/er/a.txt']
    assert client.fs.glob(f'{repo}/**/*.txt') == [f'{repo}/deep/er/a.txt']


def test_details_tell_size_and_last_commit(client, repo):
    client.fs.pipe_file(f'{repo}/model.bin', WEIGHTS)
    info = client.fs.info(f'{repo}/model.bin', expand_info=True)
    assert (info['type'], info['size'], info['lfs'].size) == ('file', len(WEIGHTS), len(WEIGHTS))
    assert info['last_commit'].title == 'Upload model.bin with huggingface_hub'


def test_what_is_there_and_what_is_not(client, repo):
    client.fs.pipe_file(f'{repo}/deep/a.txt', b'a')
    assert [client.fs.isdir(f'{repo}/{name}') for name in ('deep', 'deep/a.txt', 'no')] == [
        True,
        False,
        False,
    ]
    assert [client.fs.exists(name) for name in (repo, f'{repo}/no', 'local/no')] == [True, False, False]
    with pytest.raises(FileNotFoundError):
        client.fs.ls(f'{repo}/no')


def test_revision_is_part_of_a_path(client, repo):
    client.fs.pipe_file(f'{repo}/a.txt', b'one')
    client.api.create_tag(repo, tag='v1.0.0')
    client.api.create_branch(repo, branch='feat/x')
    client.fs.pipe_file(f'{repo}/a.txt', b'two')
    assert client.fs.cat_file(f'{repo}@v1.0.0/a.txt') == b'one'
    assert client.fs.cat_file(f'{repo}@feat%2Fx/a.txt') == b'one'
    assert client.fs.cat_file(f'{repo}/a.txt') == b'two'


def test_file_is_copied_inside_a_repository(client, repo):
    client.fs.pipe_file(f'{repo}/model.bin', WEIGHTS)
    client.fs.cp_file(f'{repo}/model.bin', f'{repo}/copy.bin')
    assert client.fs.cat_file(f'{repo}/copy.bin') == WEIGHTS


@pytest.mark.heavy
def test_file_is_copied_to_another_repository(client, repo):
    client.fs.pipe_file(f'{repo}/model.bin', WEIGHTS)
    client.api.create_repo(repo, repo_type='dataset')
    client.fs.cp_file(f'{repo}/model.bin', f'datasets/{repo}/model.bin')
    assert client.fs.cat_file(f'datasets/{repo}/model.bin') == WEIGHTS


def test_removed_files_are_gone(client, repo):
    client.fs.pipe_file(f'{repo}/deep/a.txt', b'a')
    client.fs.pipe_file(f'{repo}/deep/b.txt', b'b')
    client.fs.rm(f'{repo}/deep', recursive=True)
    assert client.fs.find(repo) == [f'{repo}/.gitattributes']


def test_card_is_loaded_changed_and_pushed(hub, client, repo):
    client.api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo='README.md', repo_id=repo)
    printed = run_python(
        hub,
        client.home,
        """
        import sys
        from huggingface_hub import ModelCard
        card = ModelCard.load(sys.argv[1])
        card.data.library_name = 'transformers'
        card.validate()
        card.push_to_hub(sys.argv[1])
        data = ModelCard.load(sys.argv[1]).data
        print(data.license, data.tags, data.library_name)
        """,
        repo,
    )
    assert printed.strip() == "mit ['tiny'] transformers"


def test_card_with_an_unknown_licence_is_not_valid(hub, client, repo):
    printed = run_python(
        hub,
        client.home,
        """
        import sys
        from huggingface_hub import ModelCard
        card = ModelCard('---\\nlicense: no-such-licence\\n---\\n')
        for act in (card.validate, lambda: card.push_to_hub(sys.argv[1])):
            try:
                act()
            except ValueError as e:
                print('license' in str(e))
        """,
        repo,
    )
    assert printed.split() == ['True', 'True']
    assert not client.api.file_exists(repo, 'README.md')


def test_dataset_card_is_made_from_a_template(hub, client, repo):
    client.api.create_repo(repo, repo_type='dataset')
    run_python(
        hub,
        client.home,
        """
        import sys
        from huggingface_hub import DatasetCard, DatasetCardData
        data = DatasetCardData(language='en', license='mit', pretty_name='Tiny')
        DatasetCard.from_template(data).push_to_hub(sys.argv[1], create_pr=True)
        """,
        repo,
    )
    assert not client.api.file_exists(repo, 'README.md', repo_type='dataset')
    assert client.api.dataset_info(repo, revision='refs/pr/1').card_data.pretty_name == 'Tiny'


def test_metadata_is_updated(client, repo):
    client.api.upload_file(path_or_fileobj=CARD.encode(), path_in_repo='README.md', repo_id=repo)
    client.lib.metadata_update(repo, {'pipeline_tag': 'fill-mask'})
    info = client.api.model_info(repo)
    assert (info.pipeline_tag, info.card_data.license) == ('fill-mask', 'mit')


def test_metrics_of_a_card_are_in_the_info(hub, client, repo):
    printed = run_python(
        hub,
        client.home,
        """
        import sys
        from huggingface_hub import HfApi, metadata_eval_result, metadata_update
        result = metadata_eval_result(
            model_pretty_name='Tiny', task_pretty_name='Text classification', task_id='text-classification',
            metrics_pretty_name='Accuracy', metrics_id='accuracy', metrics_value=0.91,
            dataset_pretty_name='Beans', dataset_id='local/beans',
        )
        metadata_update(sys.argv[1], result)
        print(HfApi().model_info(sys.argv[1]).card_data.eval_results[0].metric_value)
        """,
        repo,
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
