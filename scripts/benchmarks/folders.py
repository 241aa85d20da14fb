"""The folders a trainer would leave: large weight files, or very many small ones."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

BLOCK = 1 << 20
SMALL_FILE = 10_000


def make_model(folder: Path, *, files: int, size: int) -> None:
    """Write a model of ``files`` weight files of about ``size`` bytes each, and its config.json."""
    folder.mkdir()
    (folder / 'config.json').write_text(
        json.dumps({'model_type': 'bert', 'architectures': ['BertModel']}, indent=2)
    )
    for number in range(1, files + 1):
        write_weights(folder / f'model-{number:05}-of-{files:05}.safetensors', size)


def write_weights(path: Path, size: int) -> None:
    """Write a valid safetensors file with one tensor of random bytes, by way of a temporary file."""
    tensor = {'dtype': 'F16', 'shape': [size // 2], 'data_offsets': [0, size // 2 * 2]}
    header = json.dumps({path.stem: tensor}).encode()
    temporary = path.with_suffix('.part')
    with temporary.open('wb') as file:
        file.write(len(header).to_bytes(8, 'little') + header)
        left = size // 2 * 2
        while left:
            left -= file.write(os.urandom(min(left, BLOCK)))
    os.replace(temporary, path)


def save_again(folder: Path, *, size: int) -> None:
    """Write every weight file anew, as a trainer does: new content in the first, the same bytes in the others."""
    first, *others = sorted(folder.glob('*.safetensors'))
    write_weights(first, size)
    for path in others:
        temporary = path.with_suffix('.part')
        shutil.copyfile(path, temporary)
        os.replace(temporary, path)


def make_small(folder: Path, *, files: int) -> None:
    """Write many binary files of 10 KB, a hundred to a directory."""
    for number in range(files):
        path = folder / f'{number // 100:03}' / f'{number:06}.bin'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(SMALL_FILE))


def warm(folder: Path) -> None:
    """Wait until the disk is quiet, then read the folder, so that every contender finds it in the page cache."""
    os.sync()
    for directory, _, names in os.walk(folder):
        for name in names:
            with Path(directory, name).open('rb', buffering=0) as file:
                while file.read(BLOCK):
                    pass
