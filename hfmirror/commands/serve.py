"""``hfmirror serve``: the local Hub, over HTTP, for every client of the Hugging Face Hub and for git."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hfmirror import errors, output
from hfmirror.commands import options

if TYPE_CHECKING:
    from hfmirror.server.hub import Hub
    from hfmirror.server.tokens import NewToken

_UNITS = {
    '': 1, 'k': 10**3, 'm': 10**6, 'g': 10**9, 't': 10**12,
    'ki': 2**10, 'mi': 2**20, 'gi': 2**30, 'ti': 2**40,
}  # fmt: skip
_ANYWHERE = ('0.0.0.0', '::')


class Size(click.ParamType[int]):
    """A number of bytes: ``10GB``, ``512 MiB``, ``1000``."""

    name = 'size'

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        match = re.fullmatch(r'(\d{1,15}(?:\.\d{1,3})?)\s*([kmgt]?i?)b?', str(value).strip().lower())
        if match is None or match[2] not in _UNITS or float(match[1]) == 0:
            self.fail(f'{value!r} is no size. Expected something like 500MB, 10GB or 2GiB.', param, ctx)
        return int(float(match[1]) * _UNITS[match[2]])


def give_out(hub: Hub, wanted: tuple[str, ...], host: str) -> list[NewToken]:
    """Keep the tokens asked for, or one for the user ``local`` when there are none at all; return the new ones.

    Raises UsageError when others than this machine would be let in without a token that a person gave out.
    """
    from hfmirror.server import running, tokens

    new = [tokens.parse(text) for text in wanted]
    for token in new:
        hub.tokens.add(token)
    if hub.tokens.chosen():
        return new
    if not running.is_loopback(host):
        raise errors.UsageError(
            f'--host {host}: other machines could reach this Hub, and no token was given out yet. '
            'Give one with --token USER:ROLE, for example --token ada:write.'
        )
    automatic = tokens.parse('local:write')
    hub.tokens.add(automatic, automatic=True)
    return [automatic]


def endpoint(listening: socket.socket) -> str:
    """Return the URL to give to clients; one that listens everywhere is called by the name of this machine."""
    from hfmirror.server import running

    host, port = listening.getsockname()[:2]
    return f'http://{socket.gethostname()}:{port}' if host in _ANYWHERE else running.address(listening)


def _started(hub: Hub, url: str, new: list[NewToken], *, as_json: bool) -> None:
    if as_json:
        given = [{'user': token.user, 'role': token.role, 'token': token.token} for token in new]
        output.document({'endpoint': url, 'root': str(hub.root), 'tokens': given})
        return
    number = sum(1 for kind in ('model', 'dataset', 'space') for _ in hub.repositories.all(kind))
    what = '1 repository' if number == 1 else f'{number:,} repositories'
    output.say(f'serving {what} of {hub.root} at {url}; Ctrl-C ends it')
    if not new:
        output.say(f'tokens: those of {hub.root / "tokens.json"}')
    output.data(f'export HF_ENDPOINT={url}')
    for token in new:
        remark = f'  # {token.user}, {token.role}' if len(new) > 1 else ''
        output.data(f'export HF_TOKEN={token.token}{remark}')


def _hub(root: Path | None, **limits: Any) -> Hub:
    try:
        from hfmirror.server.hub import Hub
    except ModuleNotFoundError as e:
        raise errors.UsageError(
            f"hfmirror serve needs the package '{e.name}'. Install what it needs: pip install 'hf-mirror[serve]'"
        ) from e
    from hfmirror.config.places import home

    return Hub(root or home().hub, **{name: value for name, value in limits.items() if value is not None})


@click.command(short_help='Serve the local Hub over HTTP to Hub clients, git and browsers.')
@click.option(
    '--root',
    type=click.Path(path_type=Path, file_okay=False),
    help="The repositories' directory.  [default: the local Hub's]",
)
@click.option('--host', default='127.0.0.1', show_default=True, help='The address to listen on.')
@click.option(
    '--port',
    default=8008,
    show_default=True,
    type=click.IntRange(0, 65535),
    help='The port; 0 is any free one.',
)
@click.option(
    '--name',
    'names',
    multiple=True,
    metavar='HOST',
    help='Another name of this Hub, as a proxy has it. May be repeated.',
)
@click.option(
    '--token',
    'wanted',
    multiple=True,
    envvar='HFMIRROR_SERVE_TOKEN',
    metavar='USER:ROLE[:TOKEN]',
    help='Let a user in as read, write or admin. May be repeated; kept, hashed.',
)
@click.option(
    '--public-read/--private',
    default=True,
    show_default=True,
    help='Whether public repositories can be read without a token.',
)
@click.option('--max-file-size', type=Size(), help='The largest file taken, like 10GB.  [default: 500GB]')
@click.option('--gc', 'collecting', is_flag=True, help='Give back the space of finished uploads, and end.')
@options.verbose
@options.as_json
def command(
    root: Path | None,
    host: str,
    port: int,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    collecting: bool,
    verbose: bool,
    as_json: bool,
    **limits: Any,
) -> None:
    """Serve the repositories of --remote local to huggingface_hub, transformers, datasets, git, git-lfs and browsers.

    \b
    hfmirror serve
    hfmirror serve --root /data/hub --host 0.0.0.0 --token ada:write --token ci:read
    """
    output.configure(verbose=verbose)
    hub = _hub(root, **limits)  # public_read and max_file_size
    if collecting:
        _collect(hub, as_json=as_json)
        return
    from hfmirror.server import hosts, running

    known = [hosts.checked_name(name) for name in names]
    with running.listen(host, port) as listening:
        new = give_out(hub, wanted, host)
        with suppress(KeyboardInterrupt):  # which is how one ends it
            _started(hub, endpoint(listening), new, as_json=as_json)
            running.serve(hub, listening, known)
    output.say('ended')


def _collect(hub: Hub, *, as_json: bool) -> None:
    from hfmirror.server import housekeeping

    freed = housekeeping.collect(hub)
    if as_json:
        output.document({'freed': freed})
    else:
        output.say(f'{output.human_size(freed)} given back')
