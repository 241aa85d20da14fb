"""Checkpoints as far as they can be looked at without torch: what is in them, and the texts that a release gets."""

import ast
import sys
from pathlib import Path

import pytest

from hfmirror import errors
from hfmirror.auth import Token
from hfmirror.checkpoints import reading, releasing, writing
from hfmirror.checkpoints.releasing import Wanted
from hfmirror.checkpoints.writing import Definition
from hfmirror.config.config import Config
from hfmirror.config.places import home
from tests.support.wire import canned, document

PATH = Path('run7.pth')
WHOLE = {
    'model_state_dict': {'weight': 'a tensor'},
    'config': {'vocab_size': 2, 'dropout': 0.1},
    'vocab': {'a': 0, 'b': 1},
}


class Model:
    """Stands for a model's class, of which only the name counts here."""


DEFINITION = Definition(Path('/code/my_model.py'), Model)


def structured(**more):
    return reading.structured({**WHOLE, **more}, PATH, is_tensor=lambda value: value == 'a tensor')


# -- what is in a checkpoint


def test_whole_checkpoint_is_taken():
    checkpoint = structured(training_args={'seed': 1}, metrics={'eval_loss': 0.5})
    assert checkpoint == (
        WHOLE['model_state_dict'],
        WHOLE['config'],
        WHOLE['vocab'],
        {'seed': 1},
        {'eval_loss': 0.5},
    )


def test_training_args_and_metrics_may_be_missing():
    assert structured()[3:] == ({}, {})


def test_indices_lead_back_to_tokens_in_their_order():
    assert list(structured(vocab={'b': 1, 'a': 0}).idx_to_vocab.items()) == [(0, 'a'), (1, 'b')]


@pytest.mark.parametrize('given', [{0: 'a', 1: 'b'}, {'0': 'a', '1': 'b'}, ['a', 'b']])
def test_own_idx_to_vocab_that_agrees_is_taken(given):
    assert structured(idx_to_vocab=given).vocab == {'a': 0, 'b': 1}


@pytest.mark.parametrize(
    ('part', 'value', 'expected'),
    [
        ('model_state_dict', {}, '{name: tensor}, and not empty'),
        ('model_state_dict', {'weight': 'no tensor'}, '{name: tensor}, and not empty'),
        ('model_state_dict', ['a tensor'], '{name: tensor}, and not empty'),
        ('config', None, "the model's arguments as plain values: {name: value}"),
        ('config', {'activation': {1, 2}}, "the model's arguments as plain values: {name: value}"),
        ('config', {'dropout': float('nan')}, "the model's arguments as plain values: {name: value}"),
        ('config', {1: 2}, "the model's arguments as plain values: {name: value}"),
        ('vocab', {}, '{token: index}, every index once'),
        ('vocab', ['a', 'b'], '{token: index}, every index once'),
        ('vocab', {'a': '0'}, '{token: index}, every index once'),
        ('vocab', {'a': True}, '{token: index}, every index once'),
        ('vocab', {'a': -1}, '{token: index}, every index once'),
        ('vocab', {'a': 0, 'b': 0}, '{token: index}, every index once'),
        ('vocab', {0: 'a'}, '{token: index}, every index once'),
        ('idx_to_vocab', {0: 'b', 1: 'a'}, 'vocab the other way round'),
        ('idx_to_vocab', 'ab', 'vocab the other way round'),
        ('training_args', ['--lr'], 'plain values: {name: value}'),
        ('training_args', {'out': Path('x')}, 'plain values: {name: value}'),
        ('metrics', {'eval_loss': 'low'}, 'finite numbers: {name: number}'),
        ('metrics', {'eval_loss': float('inf')}, 'finite numbers: {name: number}'),
        ('metrics', {'good': True}, 'finite numbers: {name: number}'),
    ],
)
def test_wrong_part_is_named_with_what_is_expected(part, value, expected):
    with pytest.raises(errors.SourceError) as caught:
        structured(**{part: value})
    assert f'  {part}: expected {expected}' in str(caught.value)
    assert 'run7.pth' in str(caught.value)


def test_all_wrong_parts_are_named_at_once():
    with pytest.raises(errors.SourceError) as caught:
        structured(config=1, vocab=2)
    assert 'config: expected' in str(caught.value)
    assert 'vocab: expected' in str(caught.value)


def test_missing_parts_are_named_with_those_that_are_there():
    with pytest.raises(errors.SourceError, match=r'lacks config, vocab\. It has model_state_dict, epoch\.'):
        reading.structured({'model_state_dict': {}, 'epoch': 3}, PATH, is_tensor=bool)


def test_bare_state_dict_is_told_by_what_it_lacks():
    names = {f'layers.{number}.weight': 'a tensor' for number in range(500)}
    with pytest.raises(errors.SourceError) as caught:
        reading.structured(names, PATH, is_tensor=bool)
    assert 'lacks model_state_dict, config, vocab' in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_pickled_model_is_told_by_its_kind():
    with pytest.raises(errors.SourceError, match='holds a list where a dict with model_state_dict'):
        reading.structured([], PATH, is_tensor=bool)


def test_without_torch_the_way_to_install_it_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, 'torch', None)  # as if it were not installed
    with pytest.raises(errors.UsageError, match='pip install torch safetensors'):
        reading.read(PATH)


# -- what is written


def test_example_is_a_program_for_its_repository():
    program = writing.usage_example('me/run7', DEFINITION)
    ast.parse(program)
    assert 'REPO_ID = "me/run7"' in program
    assert 'from my_model import Model' in program


def test_card_of_any_model_has_the_tags_of_its_definition():
    config = Config.model_validate({'model_card': {'tags': ['mine']}})
    assert releasing._additions(DEFINITION, config).tags == ('mine', 'pytorch')
    assert releasing._additions(DEFINITION._replace(tags=('cnn',)), config).tags == ('mine', 'cnn')


def test_section_of_the_card_has_a_program():
    section = writing.card_section(DEFINITION)
    program = section.partition('```python\n')[2].partition('```')[0]
    ast.parse(program)
    assert 'model = Model(**config)' in program


def test_folder_with_files_of_others_is_left_alone(tmp_path):
    folder = tmp_path / 'run7_release'
    folder.mkdir()
    (folder / 'thesis.txt').write_text('mine')
    with pytest.raises(
        errors.UsageError, match=r'was not made from a checkpoint by hfmirror\. Name another --folder'
    ):
        writing.write(structured(), DEFINITION, folder, repo_id='me/run7')
    assert [path.name for path in folder.iterdir()] == ['thesis.txt']


def test_file_in_the_place_of_the_folder_is_left_alone(tmp_path):
    folder = tmp_path / 'run7_release'
    folder.write_text('mine')
    with pytest.raises(errors.UsageError, match='Name another --folder'):
        writing.write(structured(), DEFINITION, folder, repo_id='me/run7')
    assert folder.read_text() == 'mine'


# -- where it goes


def test_release_is_written_beside_the_checkpoint():
    assert Wanted(Path('out/run7.pth'), 'run7').release == Path('out/run7_release')


def test_release_is_written_where_it_is_wanted():
    assert Wanted(Path('out/run7.pth'), 'run7', folder=Path('there')).release == Path('there')


@pytest.mark.parametrize(
    'name', ['', 'my model', 'a--b', 'me/a/b', 'https://huggingface.co/me/run7', 'x' * 100]
)
def test_name_that_no_repository_can_have_is_refused(name):
    with pytest.raises(errors.UsageError, match='Try --repo'):
        releasing.check_name(name, None)


def test_name_of_somebody_else_than_the_user_is_refused():
    with pytest.raises(errors.UsageError, match='--repo_name alice/x: is of alice, and --username says bob'):
        releasing.check_name('alice/x', 'bob')


def test_the_hub_says_whose_it_is_wherever_it_stands_among_the_remotes():
    with canned({'/api/whoami-v2': document({'name': 'hopper'})}) as server:
        token = Token('hf_abcdefghijk', 'HF_TOKEN', server.endpoint)
        wanted = Wanted(PATH, 'run7')
        assert releasing._repo_id(wanted, ['local', 'hub'], Config(), home(), token=token) == 'hopper/run7'


@pytest.mark.parametrize(
    ('name', 'username'), [('run7', None), ('run7', 'me'), ('me/run7', None), ('me/run7', 'Me')]
)
def test_name_with_or_without_a_namespace_is_taken(name, username):
    releasing.check_name(name, username)
