"""Which token is ours, where did it come from, and who may get it?"""

from __future__ import annotations

import base64
import configparser
import os
import re
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from hfmirror import errors, gitcmd
from hfmirror.config.environment import dotenv, is_anybodys, own_dotenv, reason, small_text
from hfmirror.config.places import PROJECT_FILE

VARIABLES = ('HF_TOKEN', 'HUGGINGFACE_TOKEN', 'HUGGING_FACE_HUB_TOKEN')
DEFAULT_ENDPOINT = 'https://huggingface.co'

_TOKEN_MAX = 16 * 1024  # characters; tokens of a CI exchange are signed documents of some thousand
_REFRESH_S = 24 * 3600  # huggingface_hub renews a token of a browser login this long before its end
_HOST = re.compile(r'[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*')


class Token:
    """A secret and the place it came from. Prints as its place only, and cannot be pickled or copied into a document."""

    # No dataclass and no tuple: what walks over fields (asdict, json, a template) would show the value.
    __slots__ = ('dotenv', 'endpoint', 'source', 'value')

    def __init__(self, value: str, source: str, endpoint: str = DEFAULT_ENDPOINT) -> None:
        self.value, self.source = value, source
        self.endpoint = endpoint  # the Hub that it is for: no other one gets it
        self.dotenv: Path | None = None  # the .env that it stands in

    def __repr__(self) -> str:
        return f'<token from {self.source}>'

    def __reduce__(self) -> NoReturn:
        raise TypeError('a token is not to be stored')


def find_token(given: str | None = None, *, folder: Path | None = None) -> Token | None:
    """Return the token, or None. The first of these that has one:

    1. ``given``: the option ``--token``, or an argument
    2. ``HF_TOKEN``, ``HUGGINGFACE_TOKEN``, ``HUGGING_FACE_HUB_TOKEN`` in the environment
    3. the same names in ``.env`` of the working directory, then of the directories above ``folder``, nearest first,
       up to the first that holds the project file; of none of them when none holds it
    4. the token that ``hf auth login`` saved and ``hf auth switch`` chose, in ``HF_TOKEN_PATH`` or below ``HF_HOME``
    5. what huggingface_hub gets for a CI job in which ``HF_OIDC_RESOURCE`` is set, or from the secrets of a Colab notebook

    The Hub that a ``.env`` names gets what is given, or what stands in the same ``.env``; no other token is for it.

    Raises AuthError when what is there is no token, or is not for that Hub, ConfigError for a ``.env`` that cannot be
    read, UsageError for an empty ``given``, and NetworkError when the CI exchange cannot be reached.
    """
    if given is not None:
        if not given.strip():
            raise errors.UsageError('--token: the value is empty. Give one, or leave the option out.')
        found: Token | None = _token(given, '--token')
    else:
        found = (
            _from_environment()
            or _from_dotenv(folder)
            or _from_login()
            or _from_exchange(folder)
            or _from_colab()
        )
    if found is not None:
        found.endpoint, dotenv = _endpoint(folder)
        if given is None and dotenv not in (None, found.dotenv) and found.endpoint != DEFAULT_ENDPOINT:
            # A .env comes along with a repository that somebody clones; the login of its reader is not for its author.
            raise errors.AuthError(
                f'{dotenv} names the Hub {found.endpoint}, and the token from {found.source} was not given for it. '
                'If it is meant for that Hub, set HF_ENDPOINT in the environment, or put the token into the same file.'
            )
    return found


def endpoint(*, folder: Path | None = None) -> str:
    """Return the Hub's address without a slash at its end: ``HF_ENDPOINT`` of the environment, of ``.env``, or the default.

    ``.env`` is looked for where ``find_token`` looks. Raises UsageError for what is no http(s) address.
    """
    return _endpoint(folder)[0]


def _endpoint(folder: Path | None) -> tuple[str, Path | None]:
    """Return the Hub's address, and the ``.env`` that names it."""
    given = os.environ.get('HF_ENDPOINT', '').strip()
    if given:
        return address(given, 'HF_ENDPOINT'), None
    for path, values in _dotenvs(folder):
        given = (values.get('HF_ENDPOINT') or '').strip()
        if given:
            return address(given, f'HF_ENDPOINT in {path}'), path
    return DEFAULT_ENDPOINT, None


def git_environment(
    token: Token | None, endpoint: str, settings: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment that lets git and git-lfs into the Hub at ``endpoint`` as the owner of ``token``.

    Nobody else is asked: a token that is refused ends in an error, not in the name of whomever git knows there.
    Without a token git does as the person has configured it. ``settings`` are further ones that git gets.
    """
    if token is None:
        return gitcmd.configuration(settings) if settings else {}
    # git-lfs hides `Basic` in its traces, and nothing else.
    header = 'Authorization: Basic ' + base64.b64encode(f'hf:{token.value}'.encode()).decode()
    host = urlsplit(endpoint)
    access = {
        # The empty one drops the headers that a person has set, which git would send too. Names of settings are the
        # same in any case, those of a mapping are not.
        f'http.{endpoint}/.extraHeader': '',
        f'http.{endpoint}/.extraheader': header,
        # git sends such a header to wherever an answer sends it.
        f'http.{endpoint}/.followRedirects': 'false',
        # git tells its helpers to forget what they know for a host that refused our header.
        f'credential.{host.scheme}://{host.netloc}.helper': '',
    }
    return {
        **gitcmd.configuration({**access, **(settings or {})}),
        'GIT_ASKPASS': '',
        # A trace can be told to list settings with their values.
        'GIT_TRACE2_CONFIG_PARAMS': 'core.bare',
    }


def _token(value: str, source: str) -> Token:
    """Return the token. Raises AuthError, without the value, for one that no header can hold."""
    value = value.strip()
    fault = _fault(value)
    if fault:
        raise errors.AuthError(
            f'{source}: {fault}, so it is no token. Set it to the token alone, as Settings, Access Tokens shows it.'
        )
    return Token(value, source)


def _fault(value: str) -> str | None:
    if not value.isascii():
        return 'the value has letters that are not ASCII'
    if any(c.isspace() for c in value):
        return 'the value has a blank or line break in it'
    if not value.isprintable():
        return 'the value has control characters'
    if '"' in value or "'" in value:
        return 'the value has quotes'
    if len(value) > _TOKEN_MAX:
        return f'the value has more than {_TOKEN_MAX} characters'
    if value.startswith('api_org'):
        return 'the value is a key of an organisation, which the Hub does not take any more'
    return None


def _from_environment() -> Token | None:
    for name in VARIABLES:
        value = os.environ.get(name, '')
        if value.strip():
            return _token(value, name)
    return None


def _from_dotenv(folder: Path | None) -> Token | None:
    for path, values in _dotenvs(folder):
        for name in VARIABLES:
            value = values.get(name) or ''
            if value.strip():
                found = _token(value, f'{name} in {path}')
                found.dotenv = path
                return found
    return None


def _dotenvs(folder: Path | None) -> Iterator[tuple[Path, Mapping[str, str | None]]]:
    """Yield the values of every ``.env`` that counts, the working directory's first."""
    here = own_dotenv()
    if here is not None:
        yield here, dotenv(here)
    for directory in _project(folder) if folder is not None else []:
        path = directory / '.env'
        if directory != Path.cwd() and os.path.isfile(path):
            yield path, dotenv(path)


def _project(folder: Path) -> list[Path]:
    """Return the directories above ``folder`` up to the one with the project file; none when no such is there.

    The folder itself is not one of them: what is in it is published.
    """
    above = []
    for directory in Path(os.path.abspath(folder)).parents:
        if is_anybodys(directory):
            break  # whoever put a project there is not known, and /tmp is above many folders
        above.append(directory)
        if os.path.isfile(directory / PROJECT_FILE):
            return above
    return []


def _from_login() -> Token | None:
    path = _login_file()
    try:
        value = small_text(path).strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as e:
        raise errors.AuthError(
            f"{path}: {reason(e)}. Mend the file, log in again with 'hf auth login', or set HF_TOKEN."
        ) from e
    if not value:
        return None
    name, fields = _profile(path.with_name('stored_tokens'), value)
    source = f'{path} (profile {name})' if name else str(path)
    token = _token(value, source)
    if _ends_soon(fields) and not os.environ.get('HF_OIDC_RESOURCE'):
        return _from_library(source) or token
    return token


def _login_file() -> Path:
    """Return the file of the chosen token, as huggingface_hub computes it."""
    cache = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    home = os.environ.get('HF_HOME') or f'{cache}/huggingface'
    given = os.environ.get('HF_TOKEN_PATH') or f'{_expanded(home)}/token'
    return Path(_expanded(given))


def _expanded(path: str) -> str:
    return os.path.expandvars(os.path.expanduser(path))


def _profile(path: Path, value: str) -> tuple[str | None, Mapping[str, str]]:
    """Return the name under which the chosen token is stored, and what else is known of it.

    A token is chosen by its value: one that was renamed has its new name, one that was deleted has none and still counts.
    """
    stored = configparser.ConfigParser(interpolation=None)
    try:
        stored.read_string(small_text(path))
    except (OSError, ValueError, configparser.Error):
        return None, {}
    for name in stored.sections():
        if stored[name].get('hf_token', '').strip() == value:
            return name, stored[name]
    return None, {}


def _ends_soon(fields: Mapping[str, str]) -> bool:
    ends = fields.get('expires_at', '')
    return 'refresh_token' in fields and ends.isdecimal() and int(ends) - _REFRESH_S <= time.time()


def _from_exchange(folder: Path | None) -> Token | None:
    """Return a token for the repository ``HF_OIDC_RESOURCE``, which the CI job's identity is exchanged for."""
    resource = os.environ.get('HF_OIDC_RESOURCE')
    if not resource:
        return None
    from huggingface_hub import constants

    # The library has read the environment when it was imported, and knows no .env.
    ours = endpoint(folder=folder)
    if constants.ENDPOINT.lower() != ours.lower():
        raise errors.AuthError(
            f'HF_OIDC_RESOURCE: the exchange would ask {constants.ENDPOINT} for a token that is meant for {ours}. '
            'Set HF_ENDPOINT in the environment, not only in .env.'
        )
    return _from_library(f'the CI exchange for {resource}')


def _from_colab() -> Token | None:
    # Only in the notebook itself can the library ask for its secrets; that is where this module is already there.
    return _from_library('the Colab secret HF_TOKEN') if 'google.colab' in sys.modules else None


def _from_library(source: str) -> Token | None:
    """Return what huggingface_hub finds: it exchanges, renews and keeps what it got for as long as it is valid."""
    import httpx2
    from huggingface_hub import get_token
    from huggingface_hub.errors import HfHubHTTPError, OIDCError

    from hfmirror import statuses

    try:
        value = get_token()
    except OIDCError as e:
        raise errors.AuthError(f'HF_OIDC_RESOURCE: {e}') from e
    except HfHubHTTPError as e:
        raise statuses.failure(e.response.status_code, source, said=_harmless(e.server_message or '')) from e
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as e:
        raise errors.NetworkError(
            f'{source}: cannot be reached: {e}. Try again later, or set HF_TOKEN.'
        ) from e
    except (ValueError, LookupError, TypeError) as e:
        raise errors.RemoteError(f'{source}: the answer holds no token. Check HF_ENDPOINT.') from e
    return _token(value, source) if value else None


def _harmless(said: str) -> str:
    # A server may quote the signed document that it did not take.
    return re.sub(r'\beyJ[\w-]+(?:\.[\w-]*)*', '***', said)


def address(given: str, source: str) -> str:
    """Return the address of a Hub as it is compared. Raises UsageError, by its ``source``, for what is none."""
    fault = _address_fault(given)
    if fault:
        raise errors.UsageError(f'{source}: {fault}. Expected the address of a Hub, like {DEFAULT_ENDPOINT}.')
    scheme, _, rest = given.rstrip('/').partition('://')
    host, slash, path = rest.partition('/')
    # git-lfs compares hosts by letter.
    return f'{scheme.lower()}://{host.lower()}{slash}{path}'


def _address_fault(given: str) -> str | None:
    """Return what keeps ``given`` from being an address, without showing it: it may hold a password."""
    if not given.isascii() or not given.isprintable() or ' ' in given or '\\' in given:
        return 'the value has characters that no address has'
    try:
        parts = urlsplit(given)
        _ = parts.port  # raises ValueError for one that is no number
    except ValueError:
        return 'the value is no address'
    if parts.scheme not in ('http', 'https'):
        return 'the value does not begin with https:// or http://'
    if '@' in parts.netloc:
        return 'the value has a user or password in it, which belongs into HF_TOKEN'
    if not _HOST.fullmatch(parts.hostname or ''):
        return 'the value names no host'
    if '?' in given or '#' in given:
        return 'the value has a ? or # in it'
    return None
