"""On what was it trained? Python, the packages that matter, the graphics cards; never who or where, unless asked."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

# What decides on the numbers that a training gives.
PACKAGES = (
    'accelerate',
    'bitsandbytes',
    'datasets',
    'deepspeed',
    'diffusers',
    'evaluate',
    'flash-attn',
    'flax',
    'hf-mirror',
    'huggingface-hub',
    'jax',
    'keras',
    'lightgbm',
    'lightning',
    'numpy',
    'onnx',
    'optimum',
    'pandas',
    'peft',
    'safetensors',
    'scikit-learn',
    'scipy',
    'sentence-transformers',
    'setfit',
    'tensorflow',
    'tokenizers',
    'torch',
    'torchvision',
    'transformers',
    'triton',
    'trl',
    'unsloth',
    'vllm',
    'xgboost',
)
_NVIDIA = Path('/proc/driver/nvidia')
_READ_MAX = 64 * 1024  # bytes


def describe(*, hostname: bool = False) -> dict[str, Any]:
    """Return what the training ran on, as JSON values. Imports none of the packages, and starts no program.

    ``gpus`` are names; ``cuda`` is the version that torch was built for. What is not there is not named.
    """
    found: dict[str, Any] = {
        'python': platform.python_version(),
        'platform': platform.platform(),
        'cpus': os.cpu_count(),
        'gpus': _gpus(),
        'nvidia_driver': _driver(),
        'cuda': _cuda(),
        'packages': dict(_versions()),
        'hostname': platform.node() if hostname else None,
    }
    return {key: value for key, value in found.items() if value}


def _versions() -> Iterator[tuple[str, str]]:
    for name in PACKAGES:
        with suppress(Exception):  # what a broken installation raises is its own affair
            version = metadata.version(name)
            if isinstance(version, str):
                yield name, version


def _gpus() -> list[str]:
    """Return the names of the graphics cards: as torch sees them when the training has imported it, else as the driver does."""
    torch: Any = sys.modules.get('torch')
    if torch is not None:
        with suppress(Exception):
            return [str(torch.cuda.get_device_name(number)) for number in range(torch.cuda.device_count())]
    return [
        name
        for path in sorted(_NVIDIA.glob('gpus/*/information'))
        if (name := _found(path, r'Model:\s*(\S.*)'))
    ]


def _driver() -> str | None:
    return _found(_NVIDIA / 'version', r'Kernel Module\D*(\d+(?:\.\d+)+)')


def _cuda() -> str | None:
    """Return the CUDA version that torch was built for. It is in a file of the package, so that torch need not be imported."""
    with suppress(ImportError, ValueError, AttributeError):
        spec = importlib.util.find_spec('torch')
        if spec is not None and spec.origin is not None:
            return _found(Path(spec.origin).with_name('version.py'), r"(?m)^cuda\b[^=]*=\s*'([\d.]+)'")
    return None


def _found(path: Path, pattern: str) -> str | None:
    """Return what the group of ``pattern`` matches in a small file, None when it is not there."""
    try:
        with path.open('rb') as file:
            text = file.read(_READ_MAX).decode('utf-8', 'replace')
    except OSError:
        return None
    match = re.search(pattern, text)
    return match[1].strip() if match else None
