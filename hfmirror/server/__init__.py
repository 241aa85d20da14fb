"""The embedded Hub: ``hfmirror serve``, and for a test::

with running_hub(root) as hub:
    HfApi(hub.endpoint, hub.token).create_repo('local/my-model')
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hfmirror.server.running import RunningHub, running_hub

__all__ = ['RunningHub', 'running_hub']


def __getattr__(name: str) -> Any:
    # Not imported at once: git starts ``hfmirror.server.git.checks`` for each push, which needs nothing of the web server.
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    from hfmirror.server import running

    return getattr(running, name)
