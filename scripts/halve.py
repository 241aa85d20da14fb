"""Make the half-precision version of a model folder, with an eval_results.json of what the rounding cost.

Run as ``halve.py FOLDER NEW_FOLDER``. Every number in eval_results.json is computed from the weights themselves.
"""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file

WEIGHTS = 'model.safetensors'


def main(folder: Path, new_folder: Path) -> None:
    shutil.copytree(folder, new_folder)
    tensors, metadata = read(folder / WEIGHTS)
    halved = {name: halve(name, tensor) for name, tensor in tensors.items()}
    save_file(halved, new_folder / WEIGHTS, metadata)
    note_dtype(new_folder / 'config.json')
    results = errors(tensors, halved) | {'model_bytes': (new_folder / WEIGHTS).stat().st_size}
    (new_folder / 'eval_results.json').write_text(json.dumps(results, indent=2) + '\n')
    for name, value in results.items():
        print(f'{name}: {value}')


def read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    with safe_open(path, framework='numpy') as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def halve(name: str, tensor: np.ndarray) -> np.ndarray:
    """Return the tensor in fp16; one of whole numbers stays as it is. SystemExit when a weight does not fit."""
    if tensor.dtype != np.float32:
        return tensor
    with np.errstate(over='ignore'):
        halved = tensor.astype(np.float16)
    if not np.isfinite(halved).all():
        sys.exit(f'{name} has weights that half precision cannot hold')
    return halved


def errors(tensors: dict[str, np.ndarray], halved: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return the largest, mean and relative (root of squares) difference of the weights, and their number."""
    largest = total = squares = norm = 0.0
    count = 0
    for name, tensor in tensors.items():
        if tensor.dtype != np.float32:
            continue
        weights = tensor.astype(np.float64)
        error = np.abs(weights - halved[name])
        largest = max(largest, float(error.max(initial=0.0)))
        total += float(error.sum())
        squares += float(np.square(error).sum())
        norm += float(np.square(weights).sum())
        count += tensor.size
    return {
        'max_abs_error': largest,
        'mean_abs_error': total / count,
        'relative_error': math.sqrt(squares / norm),
        'parameters': count,
    }


def note_dtype(config: Path) -> None:
    values = json.loads(config.read_text(encoding='utf-8'))
    values['torch_dtype'] = 'float16'
    config.write_text(json.dumps(values, indent=2) + '\n', encoding='utf-8')


if __name__ == '__main__':
    main(Path(sys.argv[1]), Path(sys.argv[2]))
