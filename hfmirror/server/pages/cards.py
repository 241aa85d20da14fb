"""How is a card shown? Its Markdown as HTML without anything that acts, its links leading to files of the same version."""

from __future__ import annotations

import posixpath
from functools import cache
from html import escape
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markupsafe import Markup

from hfmirror.readme import frontmatter

_SHOWN = 200 * 1024  # characters of a card; the longest real ones have half of that
_TAGS_READ = (
    8000  # HTML tags of a card; what reads them takes a time that grows with the square of their depth
)
_EXPANDED = 1024 * 1024  # characters of addresses; each use of a link's definition repeats it
_DEEPEST = 40  # brackets, quotes and lists inside each other
_TAGS = nh3.ALLOWED_TAGS - {'area', 'map', 'bdo', 'bdi'} | {'input'}
_ATTRIBUTES = {
    **nh3.ALLOWED_ATTRIBUTES,
    '*': {'align', 'id'},
    'code': {'class'},
    'input': {'type', 'checked', 'disabled'},
}


def render(text: str, *, web_path: str, revision: str) -> Markup:
    """Return the body of the card ``text`` as HTML that is safe to show."""
    body = frontmatter.split(text).body[:_SHOWN]
    html = _html(body)
    address = f'/{web_path}/{{}}/{quote(revision, safe="")}/'

    def follow(tag: str, attribute: str, value: str) -> str | None:
        if attribute == 'id':
            return f'card-{value}'  # no name of a card may be that of something of ours
        if attribute not in ('href', 'src'):
            return value
        return _address(value, address.format('resolve' if tag == 'img' else 'blob'))

    clean = nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=follow,
        url_schemes={'http', 'https', 'mailto'},
        link_rel='nofollow noreferrer noopener',
    )
    return Markup(clean)


def _address(value: str, base: str) -> str | None:
    """Return where a link of a card leads: a relative one to a file beside the card, an anchor to the card's own."""
    try:
        parts = urlsplit(value)
    except ValueError:
        return None
    if parts.scheme or parts.netloc:
        return value
    if not parts.path:
        return f'#card-{parts.fragment}' if parts.fragment else None
    path = posixpath.normpath(unquote(parts.path).lstrip('/'))
    if path.startswith('..'):
        return None
    return base + quote(path) + (f'#{quote(parts.fragment)}' if parts.fragment else '')


def _html(body: str) -> str:
    """Return Markdown as HTML, not clean yet; a card that would take too long or become too long as plainer text."""
    reader = _reader(html=body.count('<') <= _TAGS_READ)
    tokens = reader.parse(body)
    addresses = (
        str(value) for token in tokens for part in token.children or () for value in part.attrs.values()
    )
    if sum(map(len, addresses)) > _EXPANDED:
        return f'<pre>{escape(body)}</pre>'
    return str(reader.renderer.render(tokens, reader.options, {}))


@cache
def _reader(*, html: bool) -> MarkdownIt:
    # HTML is let through here and cleaned afterwards: cards are full of <p align="center">.
    return MarkdownIt('commonmark', {'html': html, 'maxNesting': _DEEPEST}).enable(['table', 'strikethrough'])
