"""A training folder becomes a proven release on the Hugging Face Hub or any git+LFS host."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfmirror.integrations.run import training_run
    from hfmirror.manager import HuggingFaceManager
    from hfmirror.repository import Repository

__version__ = '0.1.0.dev0'
__all__ = ['HuggingFaceManager', 'Repository', '__version__', 'training_run']

_HOMES = {
    'HuggingFaceManager': 'hfmirror.manager',
    'Repository': 'hfmirror.repository',
    'training_run': 'hfmirror.integrations.run',
}


def __getattr__(name: str) -> Any:
    # Not imported at once: the command line, and git's hooks of the Hub, start without it.
    if name not in _HOMES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_HOMES[name]), name)
