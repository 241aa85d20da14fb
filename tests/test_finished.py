"""What is a finished result, and what is still being written: real files, cut, missing, renamed, refused."""

from __future__ import annotations

import json
import os
import shutil
import time
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save, save_file

from hfmirror import finished
from hfmirror.finished import look

MODEL = '{"model_type": "bert", "architectures": ["BertModel"]}'
TENSORS = {'weight': np.arange(6, dtype=np.float32).reshape(2, 3), 'bias': np.zeros(3, dtype=np.float16)}
WHOLE = save(TENSORS, metadata={'format': 'pt'})


@pytest.fixture
def model(tmp_path):
    """A finished model: config.json and model.safetensors."""
    return _model(tmp_path / 'model')


def _model(path):
    path.mkdir()
    (path / 'config.json').write_text(MODEL)
    save_file(TENSORS, path / 'model.safetensors')
    return path


def sharded(path, *, total=2):
    """A model as save_pretrained leaves it in shards: each with one tensor, and the index."""
    path.mkdir()
    (path / 'config.json').write_text(MODEL)
    names = [f'model-{number:05d}-of-{total:05d}.safetensors' for number in range(1, total + 1)]
    for number, name in enumerate(names):
        save_file({f'layer.{number}': np.ones(4, dtype=np.float32)}, path / name)
    mapped = {f'layer.{number}': name for number, name in enumerate(names)}
    index = {'metadata': {'total_size': 16 * total}, 'weight_map': mapped}
    (path / 'model.safetensors.index.json').write_text(json.dumps(index))
    return path


def zipped(path):
    """A file as torch.save writes it since version 1.6: an archive."""
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('archive/data.pkl', b'\x80\x02}q\x00.')
        archive.writestr('archive/data/0', bytes(2000))
        archive.writestr('archive/version', '3\n')


def unfinished(folder):
    found = look(folder)
    assert not found.is_finished
    return '; '.join(found.unfinished)


# -- what is finished


def test_model_with_its_config_is_finished(model):
    assert look(model) == (model, 'model', ())
    assert look(model).is_finished


def test_weights_alone_are_finished(tmp_path):
    save_file(TENSORS, tmp_path / 'model.safetensors')
    assert look(tmp_path).is_finished


def test_adapter_with_its_weights_is_finished(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{"peft_type": "LORA"}')
    save_file(TENSORS, tmp_path / 'adapter_model.safetensors')
    assert look(tmp_path)[1:] == ('adapter', ())


def test_sharded_model_is_finished(tmp_path):
    assert look(sharded(tmp_path / 'm', total=3))[1:] == ('model', ())


def test_checkpoint_of_a_trainer_is_one(tmp_path):
    path = _model(tmp_path / 'checkpoint-5')
    (path / 'trainer_state.json').write_text('{"global_step": 5}')
    assert look(path).kind == 'checkpoint'


def test_state_beside_a_final_model_makes_no_checkpoint_of_it(model):
    (model / 'trainer_state.json').write_text('{"global_step": 5}')
    assert look(model)[1:] == ('model', ())


def test_state_and_optimizer_make_a_checkpoint_whatever_it_is_called(model):
    (model / 'trainer_state.json').write_text('{}')
    zipped(model / 'optimizer.pt')
    assert look(model)[1:] == ('checkpoint', ())


def test_pipeline_has_its_parts_in_folders(tmp_path):
    (tmp_path / 'model_index.json').write_text('{"_class_name": "StableDiffusionPipeline"}')
    assert 'model_index.json is about are missing' in unfinished(tmp_path)
    for part in ('unet', 'vae'):
        (tmp_path / part).mkdir()
        (tmp_path / part / 'config.json').write_text('{"_class_name": "X"}')
        save_file(TENSORS, tmp_path / part / 'diffusion_pytorch_model.safetensors')
    assert look(tmp_path).is_finished
    (tmp_path / 'vae' / 'diffusion_pytorch_model.safetensors').write_bytes(WHOLE[:-1])
    assert unfinished(tmp_path) == 'vae/diffusion_pytorch_model.safetensors is cut short'


def test_config_that_is_no_models_needs_no_weights(tmp_path):
    (tmp_path / 'config.json').write_text('{"hidden_size": 2}')
    assert look(tmp_path).is_finished


def test_gguf_is_finished_and_an_empty_one_is_not(tmp_path):
    (tmp_path / 'model.gguf').write_bytes(b'GGUF' + bytes(20))
    assert look(tmp_path).is_finished
    (tmp_path / 'model.gguf').write_bytes(b'')
    assert unfinished(tmp_path) == 'model.gguf is empty'


def test_checkpoints_below_do_not_count(model):
    (model / 'checkpoint-9').mkdir()
    (model / 'checkpoint-9' / 'model.safetensors').write_bytes(WHOLE[:20])
    assert look(model).is_finished


def test_state_of_deepspeed_is_a_part_of_its_checkpoint(tmp_path):
    path = tmp_path / 'checkpoint-5'
    (path / 'global_step5').mkdir(parents=True)
    (path / 'config.json').write_text(MODEL)
    assert 'the weights beside config.json are missing' in unfinished(path)
    zipped(path / 'global_step5' / 'mp_rank_00_model_states.pt')
    assert look(path).is_finished


def test_distributed_checkpoint_ends_with_its_metadata(tmp_path):
    (tmp_path / 'pytorch_model_fsdp_0').mkdir()
    (tmp_path / 'pytorch_model_fsdp_0' / '__0_0.distcp').write_bytes(b'x')
    assert unfinished(tmp_path) == 'pytorch_model_fsdp_0/.metadata is missing'
    (tmp_path / 'pytorch_model_fsdp_0' / '.metadata').write_bytes(b'x')
    assert look(tmp_path).is_finished


# -- what is not


@given(st.integers(0, len(WHOLE) - 1))
def test_no_prefix_of_a_safetensors_file_is_finished(tmp_path_factory, size):
    folder = tmp_path_factory.getbasetemp() / 'prefix'
    folder.mkdir(exist_ok=True)
    (folder / 'model.safetensors').write_bytes(WHOLE[:size])
    assert not look(folder).is_finished


@pytest.mark.heavy
@given(
    st.dictionaries(
        st.text(st.characters(codec='utf-8', exclude_characters='\0'), min_size=1, max_size=8).filter(
            lambda name: name != '__metadata__'
        ),
        st.lists(st.integers(0, 3), max_size=3),
        max_size=4,
    ),
    st.data(),
)
def test_whole_file_is_finished_and_none_of_its_prefixes(tmp_path_factory, shapes, data):
    folder = tmp_path_factory.getbasetemp() / 'any'
    folder.mkdir(exist_ok=True)
    content = save({name: np.zeros(shape, dtype=np.int16) for name, shape in shapes.items()})
    (folder / 'model.safetensors').write_bytes(content)
    assert look(folder).is_finished
    cut = data.draw(st.integers(0, len(content) - 1))
    (folder / 'model.safetensors').write_bytes(content[:cut])
    assert not look(folder).is_finished


def test_bytes_after_the_last_tensor_are_not_a_whole_file(model):
    (model / 'model.safetensors').write_bytes(WHOLE + b'\0')
    assert unfinished(model) == 'model.safetensors is cut short'


def test_number_type_that_is_not_known_here_is_no_fault(model):
    header = json.dumps({'a': {'dtype': 'F1_NEW', 'shape': [8], 'data_offsets': [0, 1]}}).encode()
    (model / 'model.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header + b'x')
    assert look(model).is_finished


@pytest.mark.heavy
def test_header_as_large_as_the_format_allows_is_read(model):
    tensors = {
        f'layer.{n}.{"x" * 90}': {'dtype': 'U8', 'shape': [0], 'data_offsets': [0, 0]} for n in range(70_000)
    }
    header = json.dumps(tensors).encode()
    assert len(header) > 8 * 2**20
    (model / 'model.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header)
    assert look(model).is_finished


@pytest.mark.parametrize('length', [2**63, 2**64 - 1, 10**9])
def test_header_that_claims_the_impossible_is_unfinished(model, length):
    (model / 'model.safetensors').write_bytes(length.to_bytes(8, 'little') + b'{}')
    assert unfinished(model) == 'model.safetensors is cut short'


@pytest.mark.parametrize('offsets', ['[5, 1]', '[-1, 0]', '[0]', '"x"', '[0, 1e99]', 'null'])
def test_header_with_offsets_that_cannot_be_is_unfinished(model, offsets):
    header = f'{{"a": {{"dtype": "U8", "shape": [0], "data_offsets": {offsets}}}}}'.encode()
    (model / 'model.safetensors').write_bytes(len(header).to_bytes(8, 'little') + header)
    assert not look(model).is_finished


def test_every_prefix_of_an_archive_of_torch_is_unfinished(tmp_path):
    zipped(tmp_path / 'pytorch_model.bin')
    content = (tmp_path / 'pytorch_model.bin').read_bytes()
    assert look(tmp_path).is_finished
    for size in [0, *range(4, len(content), 97), len(content) - 22, len(content) - 1]:
        (tmp_path / 'pytorch_model.bin').write_bytes(content[:size])
        assert not look(tmp_path).is_finished, size


@pytest.mark.heavy
def test_file_that_torch_writes_is_finished_and_cut_it_is_not(tmp_path):
    import torch

    torch.save({'a': torch.ones(1000)}, tmp_path / 'model.pt')
    assert look(tmp_path).is_finished
    content = (tmp_path / 'model.pt').read_bytes()
    for size in (5, 100, len(content) // 2, len(content) - 1):
        (tmp_path / 'model.pt').write_bytes(content[:size])
        assert unfinished(tmp_path) == 'model.pt is cut short'


def test_cut_optimizer_state_keeps_a_checkpoint_from_being_finished(model):
    zipped(model / 'optimizer.pt')
    content = (model / 'optimizer.pt').read_bytes()
    (model / 'optimizer.pt').write_bytes(content[:-10])
    assert unfinished(model) == 'optimizer.pt is cut short'


@pytest.mark.parametrize(
    'name',
    [
        'model.safetensors.tmp',
        'x.incomplete',
        'x.part',
        'x.partial',
        'X.TMP',
        'x.crdownload',
        '.model.safetensors.Ab3x9Z',
        '.~lock',
    ],
)
def test_file_that_says_that_it_is_being_written_is_named(model, name):
    (model / name).write_bytes(b'x')
    assert unfinished(model) == f'{name} is being written'


@pytest.mark.parametrize('name', ['tmp-checkpoint-5', 'x.tmp'])
def test_folder_that_is_being_written_is_named(model, name):
    (model / name).mkdir()
    assert unfinished(model) == f'{name} is being written'


@pytest.mark.parametrize(
    'name', ['.gitattributes', '.hidden', 'template.txt', 'tmp.json', 'partial_results.csv']
)
def test_other_names_are_no_half_written_files(model, name):
    (model / name).write_bytes(b'{}')
    assert look(model).is_finished


@pytest.mark.parametrize('number', [1, 2, 3])
def test_missing_shard_is_told(tmp_path, number):
    folder = sharded(tmp_path / 'm', total=3)
    (folder / f'model-{number:05d}-of-00003.safetensors').unlink()
    told = unfinished(folder)
    assert 'model-*-of-00003.safetensors: 2 of 3 shards are there' in told
    assert (
        f'model-{number:05d}-of-00003.safetensors, which model.safetensors.index.json names, is missing'
        in told
    )


def test_missing_shard_is_told_without_an_index(tmp_path):
    folder = sharded(tmp_path / 'm', total=3)
    (folder / 'model.safetensors.index.json').unlink()
    assert look(folder).is_finished
    (folder / 'model-00003-of-00003.safetensors').unlink()
    assert unfinished(folder) == 'model-*-of-00003.safetensors: 2 of 3 shards are there'


def test_index_that_names_a_tensor_that_is_nowhere_is_told(tmp_path):
    folder = sharded(tmp_path / 'm')
    index = json.loads((folder / 'model.safetensors.index.json').read_text())
    index['weight_map']['layer.9'] = 'model-00001-of-00002.safetensors'
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert unfinished(folder) == (
        'model-00001-of-00002.safetensors lacks what model.safetensors.index.json says is in it'
    )


def test_index_is_believed_only_about_its_own_folder(tmp_path):
    folder = sharded(tmp_path / 'm')
    index = {'weight_map': {'a': '../../etc/passwd', 'b': '/etc/passwd'}}
    (folder / 'model.safetensors.index.json').write_text(json.dumps(index))
    assert 'is missing' in unfinished(folder)


def test_number_of_shards_that_cannot_be_costs_nothing(model):
    for number in range(50):
        (model / f'x{number}-00001-of-999999.safetensors').write_bytes(WHOLE)
    started = time.process_time()
    assert '1 of 999999 shards' in unfinished(model)
    assert time.process_time() - started < 1


@pytest.mark.parametrize('cut', ['', '{"model_type"', '{"model_type": "bert",', '[1, 2', '"'])
def test_json_that_is_cut_is_told(model, cut):
    (model / 'config.json').write_text(cut)
    assert unfinished(model) == 'config.json is cut short'


def test_json_that_says_nothing_is_whole(model):
    (model / 'generation_config.json').write_text('null')
    assert look(model).is_finished


def test_json_lines_of_a_person_are_not_looked_at(model):
    (model / 'log.json').write_text('{"a": 1}\n{"a": 2}\n')
    assert look(model).is_finished


def test_of_json_too_large_to_be_read_the_end_counts(model, monkeypatch):
    monkeypatch.setattr(finished, '_JSON_MAX', 4096)
    (model / 'tokenizer.json').write_text('{"a": "' + 'x' * 9000 + '"}\n')
    assert look(model).is_finished
    (model / 'tokenizer.json').write_text('{"a": "' + 'x' * 9000)
    assert unfinished(model) == 'tokenizer.json is cut short'


def test_config_without_weights_is_told(model):
    (model / 'model.safetensors').unlink()
    assert unfinished(model) == 'the weights beside config.json are missing'


def test_adapter_without_weights_is_told(tmp_path):
    (tmp_path / 'adapter_config.json').write_text('{}')
    assert unfinished(tmp_path) == 'the weights beside adapter_config.json are missing'


def test_state_of_the_optimizer_is_no_weights(tmp_path):
    (tmp_path / 'config.json').write_text(MODEL)
    zipped(tmp_path / 'optimizer.pt')
    zipped(tmp_path / 'training_args.bin')
    assert 'the weights beside config.json are missing' in unfinished(tmp_path)


def test_checkpoint_of_a_trainer_without_its_state_is_not_finished(tmp_path):
    path = _model(tmp_path / 'checkpoint-5')
    zipped(path / 'training_args.bin')
    assert unfinished(path) == 'trainer_state.json is missing'


# -- what is no result at all, or cannot be looked at


def test_folder_without_a_result_is_nothing(tmp_path):
    (tmp_path / 'notes.txt').write_text('x')
    (tmp_path / 'half.tmp').write_text('x')
    found = look(tmp_path)
    assert found == (tmp_path, None, ())
    assert 'no result of a training' in found.reason


def test_folder_that_is_not_there_is_nothing(tmp_path):
    assert look(tmp_path / 'none').kind is None


def test_file_in_place_of_a_folder_is_told(tmp_path):
    (tmp_path / 'file').write_text('x')
    assert 'cannot be read' in look(tmp_path / 'file').reason


def test_link_to_nothing_is_told(model):
    (model / 'extra.safetensors').symlink_to(model / 'gone')
    assert unfinished(model) == 'extra.safetensors has vanished, or is a link to nothing'


def test_linked_weights_count_as_what_they_point_to(model, tmp_path):
    (model / 'model.safetensors').rename(tmp_path / 'blob')
    (model / 'model.safetensors').symlink_to(tmp_path / 'blob')
    assert look(model).is_finished
    (tmp_path / 'blob').write_bytes(WHOLE[:-1])
    assert unfinished(model) == 'model.safetensors is cut short'


def test_link_that_leads_in_a_circle_is_told(model):
    (model / 'config.json').unlink()
    (model / 'config.json').symlink_to('config.json')
    assert 'config.json' in unfinished(model)


@pytest.mark.parametrize(
    'name', ['config.json', 'model.safetensors', 'model.safetensors.index.json', 'optimizer.pt']
)
def test_pipe_is_not_waited_for(model, name):
    (model / name).unlink(missing_ok=True)
    os.mkfifo(model / name)
    assert not look(model).is_finished


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_unreadable_folder_is_told(model):
    model.chmod(0)
    try:
        assert 'cannot be read' in look(model).reason
    finally:
        model.chmod(0o755)


def test_folder_that_vanishes_while_it_is_looked_at_is_not_finished(model, monkeypatch):
    (model / 'z').mkdir()
    real = finished._listing

    def gone_after_the_first(path):
        found = real(path)
        shutil.rmtree(model, ignore_errors=True)
        return found

    monkeypatch.setattr(finished, '_listing', gone_after_the_first)
    assert 'has vanished' in look(model).reason


def test_reason_names_at_most_three_files(model):
    for number in range(9):
        (model / f'{number}.tmp').write_text('x')
    assert look(model).reason.endswith('2.tmp is being written (and 6 more files).')


def test_folder_with_very_many_files_is_looked_at_in_bounds(model):
    for number in range(5_000):
        (model / f'{number}.txt').touch()
    for number in range(1_000):
        (model / f'data{number}').mkdir()
    started = time.process_time()
    assert look(model).is_finished
    assert time.process_time() - started < 3


# -- which checkpoints there are


def test_checkpoints_are_ordered_by_their_step(tmp_path):
    for name in ('checkpoint-10', 'checkpoint-9', 'checkpoint-x', 'tmp-checkpoint-8', 'runs', 'epoch_3'):
        (tmp_path / name).mkdir()
    (tmp_path / 'checkpoint-7').write_text('a file')
    (tmp_path / 'checkpoint-6').symlink_to('checkpoint-9')
    assert [(one.step, one.path.name) for one in finished.checkpoints(tmp_path)] == [
        (3, 'epoch_3'),
        (9, 'checkpoint-9'),
        (10, 'checkpoint-10'),
    ]


def test_folder_that_is_not_there_has_no_checkpoints(tmp_path):
    assert finished.checkpoints(tmp_path / 'none') == []
