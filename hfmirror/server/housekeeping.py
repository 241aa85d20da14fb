"""What does a running Hub do when nobody asks? It removes what killed requests left, and gives back what is not needed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from anyio import create_task_group, sleep, to_thread

from hfmirror import errors, output
from hfmirror.server.git import githttp
from hfmirror.server.hub import Hub
from hfmirror.server.lfs import multipart
from hfmirror.server.names import KINDS
from hfmirror.server.repos.repositories import Repo
from hfmirror.server.xet import storage

_EVERY_S = 60.0
_LEFT_S = 24 * 3600.0  # parts of uploads that nobody went on with, as long as their addresses are good for
_GITS_S = 3600.0  # what git was writing; no pack takes an hour without a byte
_IDLE_S = 600.0  # a client that uploads is never silent for so long
_ASKED_S = 5.0  # whoever asks for the space now does not want to wait; an upload under way is left alone


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    """Keep house while the context is open."""
    async with create_task_group() as group:
        group.start_soon(_keep, hub)
        yield
        group.cancel_scope.cancel()


async def _keep(hub: Hub) -> None:
    while True:
        await to_thread.run_sync(tidy, hub, abandon_on_cancel=True)
        await sleep(_EVERY_S)


def tidy(hub: Hub) -> None:
    """Do all of it once, each repository by itself: what is wrong with one is said and keeps nothing from the others."""
    hub.repositories.sweep()
    for repo in _all(hub):
        try:
            githttp.sweep(repo.path, _GITS_S)
            multipart.sweep(repo.path, _LEFT_S)
            storage.collect(repo.path, idle_s=_IDLE_S)
        except FileNotFoundError:
            continue  # it was deleted meanwhile
        except (OSError, errors.HfmirrorError) as e:
            output.warn(f'{repo.repo_id}: could not be tidied: {e}')


def collect(hub: Hub) -> int:
    """Give back the space of Xet uploads that are over; return the bytes."""
    return sum(storage.collect(repo.path, idle_s=_ASKED_S) for repo in _all(hub))


def _all(hub: Hub) -> Iterator[Repo]:
    for repo_type in KINDS.values():
        yield from hub.repositories.all(repo_type)
