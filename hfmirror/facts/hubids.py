"""Which names found in a training folder are names on the Hub, and not paths of the machine that trained."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from hfmirror.facts import vocabulary

_PART = r'[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,94}[A-Za-z0-9_])?'
_ID = re.compile(rf'{_PART}/{_PART}')
# First or last parts of relative paths that look like NAMESPACE/NAME.
_LOCAL_FIRST = re.compile(
    r'(?:my-|\w*_)?(?:out|outputs?|results?|models?|checkpoints?|ckpts?|runs?|tmp|temp|data|datasets?|work|workspace|'
    r'home|mnt|content|root|experiments?|saved|logs?|cache|artifacts?|local|path|src|build|dist|test|pretrained)(?:_\w*)?',
    re.I,
)
_LOCAL_LAST = re.compile(
    r'(?:checkpoint|ckpt|step|epoch|iter|run)[-_]?\d+|best|last|final|latest|best[-_]model|final[-_]model',
    re.I,
)
_FILE = re.compile(
    r'\.(?:bin|pt|pth|ckpt|safetensors|gguf|onnx|h5|json|jsonl|csv|tsv|txt|parquet|arrow|zip|tar|gz)$', re.I
)


def is_id(name: object) -> TypeGuard[str]:
    """Tell whether ``name`` has the form NAMESPACE/NAME of the Hub."""
    return isinstance(name, str) and bool(_ID.fullmatch(name)) and '--' not in name and '..' not in name


def is_name(name: object) -> TypeGuard[str]:
    """Tell whether ``name`` can be a repository of the Hub, with a namespace or, as of old, without."""
    return is_id(name) or (isinstance(name, str) and bool(re.fullmatch(_PART, name)))


def on_hub(name: object) -> TypeGuard[str]:
    """Tell whether ``name`` is more likely a repository of the Hub than a relative path."""
    if not isinstance(name, str) or not is_id(name):
        return False
    first, last = name.split('/')
    return not (_LOCAL_FIRST.fullmatch(first) or _LOCAL_LAST.fullmatch(last) or _FILE.search(last))


def _is(name: object, old: str) -> TypeGuard[str]:
    """Tell whether ``name`` is on the Hub, also as one of the ``old`` names from before it had namespaces."""
    return on_hub(name) or (isinstance(name, str) and name in vocabulary.words(old))


def base_model(
    adapter: Mapping[str, Any], config: Mapping[str, Any], arguments: Mapping[str, Any]
) -> tuple[str, ...]:
    """Return the first name of a base model that is one on the Hub, in a tuple, or ()."""
    names = [config.get('_name_or_path'), arguments.get('model_name_or_path')]
    if adapter.get('base_model_name_or_path') is not None:
        # An adapter knows what it was made for; what else is told is about something else.
        names = [adapter['base_model_name_or_path']]
    return next(((name,) for name in names if _is(name, 'old_models')), ())


def datasets(arguments: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the datasets of the Hub that the training arguments name."""
    value = arguments.get('dataset_name')
    names = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(name for name in names if _is(name, 'old_datasets')))


def languages(value: object) -> tuple[str, ...]:
    """Return ``value`` as language codes (``en``, ``yue``), () when it is none."""
    codes = value if isinstance(value, list) else [value]
    return tuple(code for code in codes if isinstance(code, str) and re.fullmatch(r'[a-z]{2,3}', code))
