"""What do clients tell and ask on the side? Nothing of it is kept."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def agent_harnesses(request: Request) -> Response:
    """Answer that no program that drives the client is known."""
    return JSONResponse({'standardEnvVars': [], 'harnesses': {}})


def telemetry(request: Request) -> Response:
    """Thank for it, and forget it."""
    return Response(status_code=204)


ROUTES = [
    Route('/api/agent-harnesses', agent_harnesses),
    Route('/api/telemetry/{topic:tail}', telemetry, methods=['GET', 'POST']),
]
