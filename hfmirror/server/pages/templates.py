"""How does a page get its HTML? From a template of ``templates/hub``; whatever is filled in is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

# No script runs, nothing comes from elsewhere: a card is other people's text.
_POLICY = "default-src 'none'; img-src 'self' data:; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
HEADERS = {
    'Content-Security-Policy': _POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'same-origin',
    'Cache-Control': 'no-cache',
}


def page(name: str, values: dict[str, Any], *, status: int = 200) -> HTMLResponse:
    """Return the page that the template ``name`` makes of ``values``."""
    html = _environment().get_template(f'hub/{name}.html').render(values)
    # A name that is no UTF-8 is shown with question marks.
    return HTMLResponse(html.encode('utf-8', 'replace'), status, HEADERS)


def wants_page(request: Request) -> bool:
    """Return whether a person with a browser asks for something that is not of the API."""
    return 'text/html' in request.headers.get('accept', '') and not request.scope['path'].startswith('/api/')


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader('hfmirror'), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters['quoted'] = lambda text: quote(text, safe='', errors='surrogateescape')
    environment.filters['address'] = lambda path: quote(path, errors='surrogateescape')
    return environment
