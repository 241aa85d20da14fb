"""What is in a repository? Its information, refs, history and trees, as JSON."""

from __future__ import annotations

from starlette.routing import Route

ROUTES: list[Route] = []
