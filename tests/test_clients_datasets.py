"""datasets against the embedded Hub: what push_to_hub sent, load_dataset gets, in a home that knows nothing of it."""

import pytest

from tests.support.clients import run_hf, run_python
from tests.support.mirror import git

pytestmark = pytest.mark.heavy

MAKE = """
from datasets import Dataset, DatasetDict, load_dataset
ROWS = {'text': ['one', 'zwei', 'trois'], 'label': [1, 2, 3], 'score': [0.5, None, 1.5]}
"""


@pytest.fixture
def python(hub, tmp_path):
    """Run a program that may use what MAKE defines, as a person in a home of their own."""
    return lambda program, person='ada', **kwargs: run_python(
        hub, tmp_path / person, MAKE + program, **kwargs
    )


@pytest.fixture
def repository(hub):
    return hub.root / 'datasets' / 'local' / 'tiny.git'


def test_dataset_is_loaded_as_it_was(python):
    python("Dataset.from_dict(ROWS).push_to_hub('local/tiny')")
    printed = python("print(load_dataset('local/tiny', split='train').to_dict() == ROWS)", person='bob')
    assert printed.strip() == 'True'


def test_pushed_dataset_is_what_git_has(python, repository):
    python("Dataset.from_dict(ROWS).push_to_hub('local/tiny')")
    files = git('ls-tree', '-r', '--name-only', 'main', cwd=repository).split()
    assert files == ['.gitattributes', 'README.md', 'data/train-00000-of-00001.parquet']
    git('lfs', 'fsck', 'main', cwd=repository)
    assert 'dataset_info' in git('show', 'main:README.md', cwd=repository)


def test_every_split_is_loaded(python):
    python(
        """
splits = Dataset.from_dict(ROWS).train_test_split(test_size=1, seed=0)
splits.push_to_hub('local/tiny')
"""
    )
    printed = python(
        """
expected = Dataset.from_dict(ROWS).train_test_split(test_size=1, seed=0)
loaded = load_dataset('local/tiny')
print(sorted(loaded), all(loaded[name].to_dict() == expected[name].to_dict() for name in loaded))
""",
        person='bob',
    )
    assert printed.strip() == "['test', 'train'] True"


def test_dataset_is_loaded_at_a_tag(python):
    python(
        """
from huggingface_hub import create_tag
Dataset.from_dict(ROWS).push_to_hub('local/tiny')
create_tag('local/tiny', tag='v1.0.0', repo_type='dataset')
Dataset.from_dict({'text': ['new']}).push_to_hub('local/tiny')
"""
    )
    printed = python(
        """
for revision in ('v1.0.0', 'main'):
    print(load_dataset('local/tiny', split='train', revision=revision)['text'][:])
""",
        person='bob',
    )
    assert printed.splitlines() == ["['one', 'zwei', 'trois']", "['new']"]


def test_dataset_of_many_shards_is_streamed(python):
    python("Dataset.from_dict({'n': list(range(1000))}).push_to_hub('local/tiny', num_shards=7)")
    printed = python(
        """
rows = load_dataset('local/tiny', split='train', streaming=True)
print([row['n'] for row in rows] == list(range(1000)))
""",
        person='bob',
    )
    assert printed.strip() == 'True'


def test_dataset_in_several_commits_is_whole(python, repository):
    python("Dataset.from_dict({'n': list(range(1000))}).push_to_hub('local/tiny', num_shards=120)")
    printed = python(
        "print(load_dataset('local/tiny', split='train')['n'][:] == list(range(1000)))", person='bob'
    )
    assert printed.strip() == 'True'
    assert int(git('rev-list', '--count', 'main', cwd=repository)) > 2


def test_dataset_pushed_again_has_the_new_rows_alone(python, repository):
    python(
        """
Dataset.from_dict({'n': list(range(10))}).push_to_hub('local/tiny', num_shards=4)
Dataset.from_dict({'n': [7]}).push_to_hub('local/tiny')
"""
    )
    assert python("print(load_dataset('local/tiny', split='train')['n'][:])", person='bob').strip() == '[7]'
    files = git('ls-tree', '-r', '--name-only', 'main', cwd=repository).split()
    assert [name for name in files if name.endswith('.parquet')] == ['data/train-00000-of-00001.parquet']


def test_configurations_stand_side_by_side(python):
    python(
        """
Dataset.from_dict({'n': [1]}).push_to_hub('local/tiny', 'first')
Dataset.from_dict({'n': [2]}).push_to_hub('local/tiny', 'second')
"""
    )
    printed = python(
        """
from datasets import get_dataset_config_names
print(sorted(get_dataset_config_names('local/tiny')))
print([load_dataset('local/tiny', name, split='train')['n'][0] for name in ('first', 'second')])
""",
        person='bob',
    )
    assert printed.splitlines() == ["['first', 'second']", '[1, 2]']


def test_dataset_of_a_pull_request_is_loaded(python):
    python("Dataset.from_dict(ROWS).push_to_hub('local/tiny', create_pr=True)")
    printed = python(
        "print(load_dataset('local/tiny', split='train', revision='refs/pr/1').to_dict() == ROWS)",
        person='bob',
    )
    assert printed.strip() == 'True'


def test_private_dataset_is_loaded_by_its_owner_alone(python):
    python("Dataset.from_dict(ROWS).push_to_hub('local/tiny', private=True)")
    program = """
try:
    print(len(load_dataset('local/tiny', split='train')))
except Exception as e:
    print(type(e).__name__)
"""
    assert python(program, person='bob').strip() == '3'
    assert python(program, person='nobody', token='').strip() == 'DatasetNotFoundError'


def test_plain_files_are_loaded_as_a_dataset(hub, python, tmp_path):
    (tmp_path / 'csv').mkdir()
    (tmp_path / 'csv' / 'train.csv').write_text('text,label\none,1\nzwei,2\n')
    (tmp_path / 'csv' / 'test.csv').write_text('text,label\ntrois,3\n')
    run_hf(hub, tmp_path / 'ada', 'upload', 'local/tiny', tmp_path / 'csv', '.', '--type', 'dataset')
    printed = python("print({name: rows['text'][:] for name, rows in load_dataset('local/tiny').items()})")
    assert printed.strip() == "{'train': ['one', 'zwei'], 'test': ['trois']}"
