"""The embedded Hub: ``hfmirror serve``, and for a test::

with running_hub(root) as hub:
    HfApi(hub.endpoint, hub.token).create_repo('local/my-model')
"""

from hfmirror.server.running import RunningHub, running_hub

__all__ = ['RunningHub', 'running_hub']
