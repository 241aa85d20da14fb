"""What is said of a repository without a namespace, such as ``gpt2``? The first Hub has old ones; here there are none.

An answer without a code would be taken for a Hub that cannot be reached, and not for a wrong name.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hfmirror.server import access
from hfmirror.server.answers import no_repository, no_user


def absent(request: Request) -> Response:
    """Answer that there is no such repository, as for any other that the caller may not know of."""
    raise no_user() if access.identify(request) is None else no_repository()


ROUTES = [
    Route('/api/{kind:kind}/{name:segment}', absent),
    *(
        Route(f'/{repository}/{word}/{{revision:segment}}/{{path:tail}}', absent)
        for repository in ('{kind:kind}/{name:segment}', '{name:namespace}')
        for word in ('resolve', 'raw')
    ),
]
