"""What loading a file would import is found without loading it; what is no pickle is passed quickly, whatever its size."""

from __future__ import annotations

import bz2
import collections
import gzip
import io
import lzma
import os
import pickle
import random
import struct
import subprocess
import sys
import time
import zipfile
import zlib

import numpy as np
import pytest

from hfmirror.gates import pickles

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
GIB = 1024**3


class Evil:
    """An object whose pickle runs a command when it is loaded."""

    def __reduce__(self):
        return (os.system, ('echo',))


def look(tmp_path, content, name='model.bin'):
    path = tmp_path / name
    path.write_bytes(content)
    with path.open('rb', buffering=0) as file:
        return pickles.scan(file, name)


def dangers(tmp_path, content, name='model.bin'):
    return [found.detail for found in look(tmp_path, content, name).found]


def as_npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def as_zip(members, compression=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, 'w', compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_command_is_found(tmp_path, protocol):
    assert dangers(tmp_path, pickle.dumps(Evil(), protocol)) == ['posix.system']


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_a_command_deep_in_other_values_is_found(tmp_path, protocol):
    values = {
        'a': [1, 2.5, (None, True)],
        'b': b'x' * 3_000_000,
        'c': 'y' * 3_000_000,
        'd': {1},
        'e': [Evil()],
    }
    assert dangers(tmp_path, pickle.dumps(values, protocol)) == ['posix.system']


@pytest.mark.parametrize('protocol', PROTOCOLS)
def test_plain_values_are_nothing(tmp_path, protocol):
    values = [
        1,
        2**100,
        1.5,
        'a',
        b'b',
        (1, 2, 3, 4),
        {'x': [None]},
        True,
        collections.OrderedDict(a=1),
        range(3),
    ]
    assert dangers(tmp_path, pickle.dumps(values, protocol)) == []


def test_the_finding_names_file_rule_and_gate(tmp_path):
    (found,) = look(tmp_path, pickle.dumps(Evil()), 'x.pkl').found
    assert found == ('x.pkl', 0, 'unsafe-pickle', 'unsafe', 'posix.system')


def test_a_class_that_picklescan_does_not_know_is_no_finding(tmp_path):
    seen = look(tmp_path, pickle.dumps(zipfile.ZipInfo))
    assert (seen.found, seen.others) == ([], ['zipfile.ZipInfo'])


@pytest.mark.parametrize(
    ('pack', 'name'),
    [
        (zlib.compress, 'm.joblib'),
        (gzip.compress, 'm.pkl'),
        (bz2.compress, 'm.joblib'),
        (lzma.compress, 'm.joblib'),
    ],
)
def test_a_compressed_pickle_is_looked_into(tmp_path, pack, name):
    assert dangers(tmp_path, pack(pickle.dumps([0] * 100_000) + pickle.dumps(Evil())), name) == [
        'posix.system'
    ]


def test_a_second_pickle_in_the_file_is_found(tmp_path):
    assert dangers(tmp_path, pickle.dumps(1) + pickle.dumps(Evil())) == ['posix.system']


@pytest.mark.parametrize('rest', [b'', b'\0' * 100, b'\xff garbage'])
def test_a_pickle_without_an_end_counts_as_far_as_it_goes(tmp_path, rest):
    assert dangers(tmp_path, pickle.dumps(Evil())[:-1] + rest) == ['posix.system']


# -- arrays and zip files


def test_an_array_of_numbers_is_nothing(tmp_path):
    assert look(tmp_path, as_npy(np.arange(1000.0)), 'a.npy') == ([], [], None)


def test_an_array_of_objects_is_followed(tmp_path):
    assert dangers(tmp_path, as_npy(np.array([Evil()], dtype=object)), 'a.npy') == ['posix.system']


def test_an_array_of_objects_in_an_archive_is_followed(tmp_path):
    content = as_zip({'a.npy': as_npy(np.zeros(3)), 'b.npy': as_npy(np.array([Evil()], dtype=object))})
    assert dangers(tmp_path, content, 'a.npz') == ['posix.system']


@pytest.mark.parametrize('compression', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize('member', ['archive/data.pkl', 'archive/other'])
def test_a_zip_as_torch_writes_it_is_looked_into(tmp_path, compression, member):
    content = as_zip({'archive/version': b'3\n', member: pickle.dumps(Evil(), 2)}, compression)
    assert dangers(tmp_path, content, 'model.pt') == ['posix.system']


def test_a_zip_with_a_wrong_checksum_is_looked_into(tmp_path):
    content = as_zip({'archive/data.pkl': pickle.dumps(Evil(), 2)}).replace(b'echo', b'rmrm')
    assert dangers(tmp_path, content, 'model.pt') == ['posix.system']


def test_a_damaged_zip_is_said_to_be_closed(tmp_path):
    content = as_zip({'archive/data.pkl': pickle.dumps(Evil(), 2)})[:-30]
    assert 'damaged' in look(tmp_path, content).closed


def with_field(content, offset, value):
    """Return a zip with another number at that place of its last entry, in both of the entry's headers."""
    content = bytearray(content)
    for mark, shift in ((b'PK\x03\x04', -2), (b'PK\x01\x02', 0)):
        struct.pack_into('<H', content, content.rindex(mark) + offset + shift, value)
    return bytes(content)


def test_a_member_that_is_only_marked_as_encrypted_is_looked_into(tmp_path):
    assert dangers(tmp_path, with_field(as_zip({'a/data.pkl': pickle.dumps(Evil())}), 8, 1)) == [
        'posix.system'
    ]


def test_a_member_packed_in_an_unknown_way_is_said_to_be_closed(tmp_path):
    assert 'unknown way' in look(tmp_path, with_field(as_zip({'a/data.pkl': b'x'}), 10, 99)).closed


@pytest.mark.heavy
def test_a_zip_of_a_million_names_is_not_opened(tmp_path):
    content = as_zip({'a': b''})
    end = content.rindex(b'PK\x05\x06')
    content = content[: end + 12] + struct.pack('<L', GIB) + content[end + 16 :]
    assert 'more files' in look(tmp_path, content).closed


@pytest.mark.parametrize('head', [b'7z\xbc\xaf\x27\x1c', b'\x04\x22\x4d\x18', b'\x28\xb5\x2f\xfd'])
def test_what_cannot_be_unpacked_is_said_to_be_closed(tmp_path, head):
    assert 'cannot be looked into' in look(tmp_path, head + b'\0' * 100).closed


# -- what joblib writes: arrays between the opcodes


def as_joblib(array, tail):
    """Return a pickle as joblib writes one: a wrapper that says what array follows, the array, and the rest."""
    wrapper = b'\x80\x04\x95' + struct.pack('<Q', 60)
    wrapper += b'\x8c\x13joblib.numpy_pickle\x94\x8c\x11NumpyArrayWrapper\x94\x93\x94)\x81\x94}\x94b'
    return wrapper + array + tail


@pytest.mark.parametrize('pack', [bytes, zlib.compress, gzip.compress])
@pytest.mark.parametrize('first', [b'', b'\x8e\0\0\0\0\1\0\0\0', b'X\0\0\0\x10', b'V'])
def test_a_command_behind_an_array_of_joblib_is_found(tmp_path, pack, first):
    array = first + np.random.default_rng(0).random(100_000).tobytes()
    content = as_joblib(array, pickle.dumps([Evil()], 4)[2:])
    assert dangers(tmp_path, pack(content), 'm.joblib') == ['posix.system']


def test_arrays_of_joblib_are_nothing(tmp_path):
    array = np.random.default_rng(0).random(1_000_000).tobytes()
    assert dangers(tmp_path, as_joblib(array, b'.'), 'm.joblib') == []


# -- names that are hidden


def text(word):
    return b'\x8c' + bytes([len(word)]) + word


@pytest.mark.parametrize(
    ('content', 'found'),
    [
        (b'cos\nsystem\n.', 'os.system'),
        (b'(S"x"\nios\nsystem\n.', 'os.system'),
        (text(b'os') + text(b'system') + b'\x93.', 'os.system'),
        (b'S"os"\nS"system"\n\x93.', 'os.system'),
        (rb'S"\x6f\x73"' + b'\n' + rb"S'sys\x74em'" + b'\n\x93.', 'os.system'),
        (rb'V\u006fs' + b'\n' + rb'Vsyste\u006d' + b'\n\x93.', 'os.system'),
        (text(b'system') + b'\x940' + text(b'os') + b'h\0\x93.', 'os.system'),
        (text(b'x') + b'q\x05' + text(b'os') + b'\x940h\x01' + text(b'system') + b'\x93.', 'unknown.system'),
        (text(b'system') + b'\x940' + text(b'os') + b'h\0\x93)R.' + b'N.', 'os.system'),
        (b'cmy\nf\nNa)Rcos\nsystem\n.', 'os.system'),
        (text(b'os') + text(b'x') + b'0' + text(b'system') + b'\x93.', 'os.system'),
        (text(b'os') + b'N0' + text(b'system') + b'\x93.', 'os.system'),
        (text(b'os') + b'\x95\0\0\0\0\0\0\0\0' + text(b'system') + b'\x93.', 'os.system'),
        (b'cmy\nf\n)R' + text(b'system') + b'\x93.', 'unknown.system'),
        (b'V' + b'a' * 600 + b'\n' + text(b'system') + b'\x93.', 'unknown.system'),
        (b'cos.path.os.path' + b'.os.path' * 100 + b'\nsystem\n.', 'unknown.system'),
        (b'\x80\x04c_sysconfigdata__linux_x86_64-linux-gnu\nx\ncos\nsystem\n.', 'os.system'),
        (b'c\xc3\xa9\nf\ncos\nsystem\n.', 'os.system'),
        (b'cwith\\\nslash\ncos\nsystem\n.', 'os.system'),
    ],
)
def test_a_hidden_name_is_found(tmp_path, content, found):
    assert found in dangers(tmp_path, content)[0].split(', ')


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'.',
        b'\x93',
        b'NN\x93',
        b'h\0h\1\x93',
        b'\x82\1\x82\2\x93',
        b'config of the model\nand its values\n',
        b'c\x00\x01\n\x02\n.',
        b'T\xff\xff\xff\x7f',
        b'\x8e\xff\xff\xff\xff\xff\xff\xff\xff',
        b'X\xff\xff\xff\xff',
        b'((((((.',
        b'1.',
        b'R.',
        b']R.',
        b'pxyz\n',
    ],
)
def test_bytes_that_are_no_pickle_are_nothing(tmp_path, content):
    assert look(tmp_path, content).found == []


@pytest.mark.heavy
def test_random_bytes_are_nothing(tmp_path):
    drawn = random.Random(1)
    found = [look(tmp_path, drawn.randbytes(2000)) for _ in range(3000)]
    assert [seen for seen in found if seen != ([], [], None)] == []


@pytest.mark.heavy
def test_random_changes_to_files_do_not_crash(tmp_path):
    drawn = random.Random(2)
    whole = [
        as_zip({'a/data.pkl': pickle.dumps(Evil()), 'a/b.npy': as_npy(np.zeros(3))}, zipfile.ZIP_DEFLATED),
        gzip.compress(pickle.dumps([Evil()] * 3)),
        as_npy(np.array([Evil()], dtype=object)),
    ]
    for _ in range(1500):
        content = bytearray(drawn.choice(whole))
        for _ in range(drawn.randint(1, 8)):
            content[drawn.randrange(len(content))] = drawn.randrange(256)
        look(tmp_path, bytes(content))


def test_a_name_that_steers_the_terminal_is_not_shown(tmp_path):
    assert dangers(tmp_path, b'cos\n\x1b[31m\n.') == []


def test_many_names_are_shown_as_five(tmp_path):
    content = b''.join(b'cos\nf%d\n' % number for number in range(50))
    assert len(dangers(tmp_path, content)[0]) < 80


def test_a_long_name_is_cut(tmp_path):
    assert len(dangers(tmp_path, b'cos\n' + b'f' * 500 + b'\n.')[0]) < 100


def test_nothing_is_written_to_stderr(tmp_path, capfd):
    look(tmp_path, pickle.dumps(Evil()))
    assert capfd.readouterr() == ('', '')


# -- time and memory

MEASURE = """
import resource, sys
from hfmirror.gates import pickles
from picklescan import scanner
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with open(sys.argv[1], 'rb', buffering=0) as file:
    seen = pickles.scan(file, sys.argv[1])
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, len(seen.found), seen.closed)
"""


def measured(path):
    """Return (MiB that memory grew by, number of findings, why it is closed, seconds)."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, '-c', MEASURE, str(path)], capture_output=True, text=True, check=True
    )
    grown, found, closed = done.stdout.split(maxsplit=2)
    return int(grown), int(found), closed.strip(), time.monotonic() - started


@pytest.mark.heavy
@pytest.mark.parametrize(
    'head', [b'', b'X\0\0\0\x70', b'\x8e\0\0\0\x70\0\0\0\0', b'V', b'\x80\x04\x8e\0\0\0\x70\0\0\0\0']
)
def test_a_sparse_file_of_2_gib_takes_neither_time_nor_memory(tmp_path, head):
    path = tmp_path / 'model.bin'
    path.write_bytes(head)
    os.truncate(path, 2 * GIB)
    grown, found, _, seconds = measured(path)
    assert (found, grown < 30, seconds < 15) == (0, True, True)


def test_of_a_zip_only_the_pickle_is_read(tmp_path):
    path = tmp_path / 'model.pt'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('a/data.pkl', pickle.dumps(Evil(), 2))
        with archive.open('a/data/0', 'w', force_zip64=True) as member:
            for _ in range(64):
                member.write(bytes(1024 * 1024))
    with path.open('rb', buffering=0) as file:
        counted = Counted(file)
        assert pickles.scan(counted, 'model.pt').found
    assert counted.bytes < 4 * 1024 * 1024


class Counted(io.RawIOBase):
    """A file that counts what is read of it."""

    def __init__(self, file):
        self.file, self.bytes = file, 0

    def readable(self):
        return True

    def seekable(self):
        return True

    def seek(self, *place):
        return self.file.seek(*place)

    def tell(self):
        return self.file.tell()

    def readinto(self, buffer):
        size = self.file.readinto(buffer)
        self.bytes += size
        return size


@pytest.mark.heavy
def test_a_bomb_takes_no_memory(tmp_path):
    packer = zlib.compressobj()
    head = pickle.dumps(b'', 4)[:2] + b'\x8e' + struct.pack('<Q', 1 << 40)
    parts = [packer.compress(head)] + [packer.compress(bytes(64 * 1024 * 1024)) for _ in range(16)]
    path = tmp_path / 'm.joblib'
    path.write_bytes(b''.join(parts) + packer.flush())
    grown, found, _, _ = measured(path)
    assert (found, grown < 30) == (0, True)


@pytest.mark.heavy
def test_a_pickle_of_millions_of_strings_takes_little_memory(tmp_path):
    path = tmp_path / 'vocab.pkl'
    with path.open('wb') as file:
        pickler = pickle.Pickler(file, 4)
        for start in range(0, 1_500_000, 100_000):
            pickler.dump([f'word {number}' for number in range(start, start + 100_000)])
    grown, found, closed, _ = measured(path)
    assert (found, closed, grown < 100) == (0, 'None', True)


@pytest.mark.heavy
def test_endless_opcodes_are_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr('hfmirror.gates.opcodes._MOST_STEPS', 1000)
    assert 'too long' in look(tmp_path, b'N0' * 10_000).closed


@pytest.mark.heavy
def test_a_million_names_are_given_up(tmp_path):
    content = b''.join(b'cm%d\nf\n' % number for number in range(20_000))
    assert 'too long' in look(tmp_path, content).closed


def test_only_names_that_are_pickled_are_looked_at():
    names = ['a.bin', 'a.PT', 'x/a.pth', 'a.pkl', 'a.pickle', 'a.ckpt', 'a.joblib', 'a.npy', 'a.npz']
    others = ['a.safetensors', 'a.json', 'bin', 'a.bin.json']
    assert [name for name in names + others if pickles.is_pickled(name)] == names


def dotted(module, name):
    """Return a pickle of protocol 4 that imports ``name`` from ``module`` and calls it; the unpickler walks the dots."""
    texts = b''.join(b'\x8c' + bytes([len(text)]) + text.encode() for text in (module, name))
    return b'\x80\x04' + texts + b'\x93\x8c\x04echo\x85R.'


@pytest.mark.parametrize(
    ('module', 'name'),
    [
        ('logging', 'os.system'),
        ('torch.serialization', 'os.system'),
        ('collections', 'abc.sys.modules.subprocess.Popen'),
        ('anything', 'builtins.eval'),
        ('concurrent', 'futures.process.os.system'),
    ],
)
def test_what_is_reached_through_the_dots_of_a_name_is_dangerous(tmp_path, module, name):
    assert dangers(tmp_path, dotted(module, name)) == [f'{module}.{name}']


@pytest.mark.parametrize(
    ('module', 'name'), [('mine', 'Outer.Inner'), ('collections', 'OrderedDict.fromkeys')]
)
def test_a_class_in_a_class_is_not_dangerous(tmp_path, module, name):
    assert dangers(tmp_path, dotted(module, name)) == []


@pytest.mark.parametrize(
    'name', ['model.pkl.gz', 'model.joblib.z', 'a.pickle.bz2', 'a.pkl.xz', 'session.dill', 'W.PT.LZMA']
)
def test_a_packed_pickle_is_known_by_the_name_below(name):
    assert pickles.is_pickled(name)


@pytest.mark.parametrize('name', ['data.gz', 'a.json.gz', 'x.z', '.gz'])
def test_another_packed_file_is_no_pickle(name):
    assert not pickles.is_pickled(name)


def test_a_tar_is_named_as_not_looked_into(tmp_path):
    import tarfile

    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        archive.addfile(tarfile.TarInfo('pickle'))
    assert look(tmp_path, file.getvalue(), 'old.pt').closed == 'tar files cannot be looked into'
