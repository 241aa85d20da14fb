import io
import json
import struct

import numpy
import pytest
from safetensors.numpy import save_file

from hfmirror.facts.weights import Weights, main_weights, read_array, read_weights, shard_of


def safetensors(path, header, *, data=b'', length=None):
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack('<Q', len(content) if length is None else length) + content + data)
    return path


def test_parameters_are_counted_by_dtype_most_first(tmp_path):
    tensors = {
        'a': numpy.zeros((3, 5), numpy.float16),
        'b': numpy.zeros(7, numpy.int64),
        'c': numpy.zeros(2, numpy.float16),
    }
    save_file(tensors, tmp_path / 'model.safetensors', metadata={'format': 'pt'})
    weights = read_weights(tmp_path / 'model.safetensors', 'sub/model.safetensors')
    assert weights.path == 'sub/model.safetensors'
    assert weights.dtypes == {'F16': 17, 'I64': 7}
    assert list(weights.dtypes) == ['F16', 'I64']
    assert (weights.parameters, weights.format) == (24, 'pt')
    assert weights.size == (tmp_path / 'model.safetensors').stat().st_size


def test_scalars_and_empty_tensors_are_counted(tmp_path):
    save_file(
        {'one': numpy.array(1.0, numpy.float32), 'none': numpy.zeros((0, 4), numpy.float32)},
        tmp_path / 'm.safetensors',
    )
    assert read_weights(tmp_path / 'm.safetensors', 'm').parameters == 1


def test_tensors_are_not_read(tmp_path):
    path = safetensors(tmp_path / 'm', {'w': {'dtype': 'U8', 'shape': [10**12], 'data_offsets': [0, 10**12]}})
    with path.open('r+b') as file:
        file.truncate(10**12 + 200)  # sparse: a terabyte that would take an hour to read
    assert read_weights(path, 'm').parameters == 10**12


@pytest.mark.parametrize(
    'header',
    [
        b'',
        b'{}junk',
        b'[1, 2]',
        b'\xff\xfe',
        b'[' * 200_000,
        {'w': 3},
        {'w': {'dtype': 'F32', 'shape': [2], 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F32', 'shape': [-1], 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F32', 'shape': [1], 'data_offsets': [0]}},
        {'w': {'dtype': 'F32', 'shape': [True], 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F32', 'shape': 'x', 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F99', 'shape': [1], 'data_offsets': [0, 4]}},
        {'w': {'dtype': ['F32'], 'shape': [1], 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F32', 'shape': [2**62, 2**62], 'data_offsets': [0, 4]}},
        {'w': {'dtype': 'F32', 'shape': [10**6], 'data_offsets': [0, 4 * 10**6]}},
    ],
)
def test_header_that_contradicts_its_file_tells_nothing(tmp_path, header):
    assert read_weights(safetensors(tmp_path / 'm', header, data=b'\0' * 16), 'm') is None


@pytest.mark.parametrize('length', [0, 1, 10**6, 2**63, 2**64 - 1])
def test_header_length_beyond_the_file_tells_nothing(tmp_path, length):
    assert read_weights(safetensors(tmp_path / 'm', b'{"a": 1}', length=length), 'm') is None


def test_file_shorter_than_a_length_tells_nothing(tmp_path):
    (tmp_path / 'm').write_bytes(b'\x01\x02')
    assert read_weights(tmp_path / 'm', 'm') is None


def test_format_that_is_no_word_is_not_told(tmp_path):
    path = safetensors(tmp_path / 'm', {'__metadata__': {'format': '<!-- x -->'}})
    assert read_weights(path, 'm').format is None


@pytest.mark.parametrize(('dtype', 'shape'), [('f4', (10, 3)), ('i8', (7,)), ('U5', (2, 2)), ('f8', ())])
def test_npy_header_tells_dtype_and_shape(dtype, shape):
    file = io.BytesIO()
    numpy.save(file, numpy.zeros(shape, dtype))
    file.seek(0)
    array = read_array(file)
    assert array.shape == shape
    assert array.dtype == dtype


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'\x93NUMPY',
        b'\x93NUMPY\x01\x00\xff\xff' + b'(' * 60_000,
        b'\x93NUMPY\x01\x00\x10\x00__import__("os")',
        b'\x93NUMPY\x01\x00\x04\x00[[[[',
        b'\x93NUMPY\x09\x00\x04\x00{}  ',
        b"\x93NUMPY\x01\x00\x10\x00{'shape':(-1,)} ",
        b'\x93NUMPY\x01\x00\x88\x13' + b'(' * 5000,
    ],
)
def test_npy_junk_tells_nothing(content):
    assert read_array(io.BytesIO(content)) is None


def one(path):
    return Weights(path, 10, {'F32': 2}, 2)


def test_shard_names_are_recognised():
    assert shard_of('model-00002-of-00003.safetensors') == ('model.safetensors', 2, 3)
    assert shard_of('model-2-of-3.safetensors') is None


def test_complete_shards_are_the_model_once():
    shards = tuple(one(f'model-0000{number}-of-00002.safetensors') for number in (1, 2))
    assert main_weights(shards) == shards


def test_missing_shard_leaves_the_model_unknown():
    assert main_weights((one('model-00001-of-00002.safetensors'),)) == ()


def test_checkpoints_beside_the_model_are_not_counted():
    files = (one('checkpoint-5/model.safetensors'), one('model.safetensors'))
    assert main_weights(files) == (files[1],)


def test_several_precisions_leave_the_model_unknown():
    assert main_weights((one('model.fp16.safetensors'), one('model.safetensors'))) == ()


def test_modules_of_sentence_transformers_belong_to_the_model():
    files = (one('2_Dense/model.safetensors'), one('model.safetensors'), one('onnx/model.safetensors'))
    assert main_weights(files) == (files[1], files[0])


def test_shards_of_two_models_leave_the_model_unknown():
    names = [f'{name}-0000{number}-of-00002.safetensors' for name in 'ab' for number in (1, 2)]
    assert main_weights(tuple(one(name) for name in names)) == ()
