"""Target: one repository on one remote. It knows its addresses and never holds a token."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from hfmirror import errors, gitcmd

REPO_TYPES = ('model', 'dataset', 'space')
FOLDERS = {'model': 'models', 'dataset': 'datasets', 'space': 'spaces'}

NAME = re.compile(r'[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?')
_NAME_MAX = 96  # characters of a namespace, and of a name
_LOOKED_AT = 1000  # characters of a text that a name is made of
# Git hosts take a token as the user's name too: https://ghp_…@host/repository.git
_TOKEN = re.compile(
    r'(?:hf|api_org|gh[a-z]|github_pat|glpat|gitlab|ATBB)[_-]?[A-Za-z0-9_-]{16,}|[A-Za-z0-9_-]{32,}'
)
_SCP = re.compile(r'(?:[^@/\s]+@)?[^@/:\s]+:(?!//).+')
ARCHIVES = ('s3', 'gs', 'file')  # what the address of an archive begins with
_BUCKET = re.compile(r'[a-z0-9A-Z][a-z0-9A-Z._-]{1,221}[a-z0-9A-Z]')


class Target(NamedTuple):
    """A repository and its branch. ``remote`` is what the person called it: ``local``, ``hub``, a git URL or an archive's."""

    remote: str
    git_url: str
    repo_id: str
    repo_type: str = 'model'
    branch: str = 'main'

    @property
    def endpoint(self) -> str | None:
        """The Hub that the repository is on, None for one on another host or this machine."""
        return (
            self.git_url.removesuffix(_hub_path(self.repo_type, self.repo_id))
            if self.remote == 'hub'
            else None
        )

    @property
    def path(self) -> Path | None:
        """The directory of a repository on this machine, None for one behind a network."""
        return Path(self.git_url) if Path(self.git_url).is_absolute() else None

    @property
    def archive(self) -> bool:
        """Whether it is a repository in an archive: a bucket, or a directory that holds releases and is no git repository."""
        return self.git_url.startswith(tuple(f'{scheme}://' for scheme in ARCHIVES))

    @property
    def lfs_url(self) -> str:
        """The address of the LFS API, as git-lfs derives it from an http(s) URL."""
        base = self.git_url.rstrip('/')
        return f'{base}/info/lfs' if base.endswith('.git') else f'{base}.git/info/lfs'

    @property
    def url(self) -> str:
        """The address to show and to clone from."""
        return self.path.as_uri() if self.path is not None else self.git_url

    @property
    def clone_url(self) -> str | None:
        """The address for others to clone from.

        None for a directory, an archive, which git cannot clone, and on a Hub, whose clients go by the name.
        """
        return self.url if self.path is None and self.endpoint is None and not self.archive else None

    @property
    def slug(self) -> str:
        """A directory name that belongs to this repository and branch alone, readable in front."""
        digest = hashlib.sha256(f'{self.git_url}\0{self.branch}'.encode()).hexdigest()[:12]
        return f'{re.sub(r"[^A-Za-z0-9._-]", "-", self.repo_id)[:60]}-{digest}'

    def __str__(self) -> str:
        return f'{self.repo_id} on {self.remote}'


def local(root: Path, repo_id: str, *, repo_type: str = 'model', branch: str = 'main') -> Target:
    """Return the target in the local Hub whose directory is ``root``."""
    path = root.absolute() / FOLDERS[repo_type] / f'{repo_id}.git'
    return Target('local', str(path), repo_id, repo_type, branch)


def hub(endpoint: str, repo_id: str, *, repo_type: str = 'model', branch: str = 'main') -> Target:
    """Return the target on the Hub at ``endpoint``, ``https://huggingface.co``."""
    return Target('hub', endpoint + _hub_path(repo_type, repo_id), repo_id, repo_type, branch)


def _hub_path(repo_type: str, repo_id: str) -> str:
    return f'/{repo_id}' if repo_type == 'model' else f'/{FOLDERS[repo_type]}/{repo_id}'


def at_url(url: str, repo_id: str, *, repo_type: str = 'model', branch: str = 'main') -> Target:
    """Return the target at a git URL or path. Raises UsageError for an address git cannot use or one with a secret."""
    return Target(url, git_address(url), repo_id, repo_type, branch)


def archived(root: str, repo_id: str, *, repo_type: str = 'model', branch: str = 'main') -> Target:
    """Return the target in the archive at ``root``, as ``archive_address`` tells it."""
    return Target(root, f'{root}/{FOLDERS[repo_type]}/{repo_id}', repo_id, repo_type, branch)


def archive_address(url: str) -> str | None:
    """Return the address of an archive as it is written everywhere, ``s3://bucket/prefix``; None for what git can use.

    ``file:`` is an archive unless there is a git repository, or the name is one of a git repository, ``….git``. Raises
    UsageError for an address that names no place, or has a secret in it.
    """
    scheme, colon, rest = url.partition('://')
    if not colon or scheme.lower() not in ARCHIVES:
        return None
    if scheme.lower() == 'file':
        return _directory(url, rest)
    shown = f'--remote {gitcmd.redact(url)}'
    bucket, _, prefix = rest.rstrip('/').partition('/')
    if '@' in bucket:
        raise errors.UsageError(
            f'{shown}: the URL holds a user, password or key, which would end up in files and process lists. Give it without, '
            "and let the cloud's own tools know who you are (docs/archives.md)."
        )
    if not _BUCKET.fullmatch(bucket):
        raise errors.UsageError(f'{shown}: names no bucket. Write {scheme.lower()}://BUCKET/PREFIX.')
    parts = prefix.split('/') if prefix else []
    if any(part in ('', '.', '..') or not part.isprintable() or set(part) & set('?#*\\') for part in parts):
        raise errors.UsageError(
            f'{shown}: the part after the bucket has to be names between single slashes, without ., .., ?, #, * and \\.'
        )
    return '/'.join([f'{scheme.lower()}://{bucket}', *parts])


def _directory(url: str, rest: str) -> str | None:
    host, slash, below = rest.partition('/')
    if host not in ('', 'localhost'):
        raise errors.UsageError(
            f'--remote {gitcmd.redact(url)}: names the machine {host!r}. A directory of this machine '
            'has three slashes: file:///nas/archive.'
        )
    path = _path_of(url, slash + below)
    is_git = (path / '.git').exists() or ((path / 'HEAD').is_file() and (path / 'refs').is_dir())
    if is_git or path.name.endswith('.git'):
        return None
    if path == Path(path.anchor):
        raise errors.UsageError(
            f'--remote {url}: names no directory for an archive. Write file:///nas/archive.'
        )
    return path.as_uri()


def _path_of(url: str, quoted: str) -> Path:
    """Return the path that a ``file:`` URL names."""
    name = unquote(quoted)
    if '\0' in name:
        raise errors.UsageError(
            f'--remote {url}: %00 is in no path. Write the name as it is, or percent-encoded.'
        )
    return Path(name).resolve()


def require_address(remote: str) -> None:
    """Raise UsageError for a ``--remote`` that is neither an archive nor anything that git can use."""
    if archive_address(remote) is None:
        git_address(remote)


def git_address(url: str) -> str:
    """Return the address git is given: an absolute path for a repository on this machine, else the URL itself."""
    try:
        parts = urlsplit(url)
    except ValueError as e:
        raise errors.UsageError(f'--remote {gitcmd.redact(url)}: no address: {e}.') from e
    if url.startswith('-') or (parts.hostname or '').startswith('-'):
        # ssh would take such a host for an option, and options of ssh run programs.
        raise errors.UsageError(f'--remote {url}: begins with -, like an option. Write ./{url} for a path.')
    if parts.scheme == 'file':
        return str(_path_of(url, parts.path))
    if parts.scheme in ('http', 'https', 'ssh', 'git+ssh'):
        _refuse_secret(url)
        return url
    if parts.scheme in ARCHIVES:
        raise errors.UsageError(
            f"{gitcmd.redact(url)}: an archive, which git cannot use. 'hfmirror pull' brings a version of it here, 'hfmirror rebuild' all of it."
        )
    if '://' in url or '::' in url:
        # git's transport helpers (`ext::sh -c …`) run programs; an address is not a place for that.
        raise errors.UsageError(
            f"--remote {url.split(':')[0]}:…: hfmirror pushes to 'hub', 'local', or a git URL that begins with "
            'https://, http://, ssh:// or file://.'
        )
    if _SCP.fullmatch(url) and not Path(url).exists():
        return url
    if '/' not in url and not Path(url).is_dir():
        raise errors.UsageError(
            f"--remote {url}: neither 'hub' nor 'local' nor a git URL. Write ./{url} for a path."
        )
    return str(Path(url).expanduser().resolve())


def _refuse_secret(url: str) -> None:
    parts = urlsplit(url)
    if parts.password is None and not _TOKEN.match(parts.username or ''):
        return
    clean = url.replace(f'{parts.netloc.rpartition("@")[0]}@', '', 1)
    raise errors.UsageError(
        f'--remote {clean}: the URL holds a password or token, which would end up in files and process lists. '
        "Give the URL without it and let a git credential helper answer ('git credential approve')."
    )


def check_repo_id(repo_id: str, *, owner: str | None = None) -> None:
    """Raise UsageError, with a suggestion, when ``repo_id`` is not ``namespace/name`` by the Hub's rules.

    ``owner`` is the namespace to suggest when there is none.
    """
    reason = _repo_id_fault(repo_id)
    if reason is not None:
        shown, meant = gitcmd.redact(repo_id), _suggestion(repo_id, owner)
        raise errors.UsageError(f'--repo {shown}: {reason}. Try --repo {meant}.')


def _repo_id_fault(repo_id: str) -> str | None:
    namespace, slash, name = repo_id.partition('/')
    if not slash:
        return 'the namespace is missing; expected namespace/name'
    if '://' in repo_id:
        return 'an address; expected namespace/name'
    if '/' in name:
        return 'two slashes; expected namespace/name'
    return next((fault for part in (namespace, name) if (fault := _part_fault(part))), None)


def _part_fault(part: str) -> str | None:
    if any(letter.isspace() for letter in part):
        return 'blanks are not allowed'
    if '--' in part or '..' in part:
        return "'--' and '..' are not allowed"
    if not NAME.fullmatch(part):
        return 'each part may have letters, digits, ., _ and -, and begins and ends with a letter, digit or _'
    if part.endswith('.git'):
        return "a name cannot end with '.git'"
    if len(part) > _NAME_MAX:
        return f'longer than {_NAME_MAX} characters'
    return None


def _suggestion(repo_id: str, owner: str | None) -> str:
    """Return the name that was probably meant; of an address of the Hub it is what it shows."""
    is_address = '://' in repo_id
    rest = repo_id.partition('://')[2].partition('/')[2] if is_address else repo_id
    kind, _, below = rest.strip('/').partition('/')
    repo_type = next((one for one, folder in FOLDERS.items() if folder == kind), None)
    if not is_address and '/' not in below:
        repo_type = None  # somebody who is called so
    namespace, slash, name = (below if repo_type else rest.removeprefix('/')).partition('/')
    if not slash:
        namespace, name = owner or 'me', namespace
    if is_address:
        name = name.partition('/')[0]  # …/tree/main
    option = f' --repo-type {repo_type}' if repo_type not in (None, 'model') else ''
    return f'{slugify(namespace)}/{slugify(name)}{option}'


def slugify(text: str) -> str:
    """Return ``text`` as a repository name: ``My Model (v2)`` → ``My-Model-v2``; ``model`` when nothing is left."""
    slug = re.sub(r'[^A-Za-z0-9._-]+', '-', text[:_LOOKED_AT])
    slug = _trimmed(re.sub(r'-{2,}', '-', re.sub(r'\.{2,}', '.', slug)))
    return _trimmed(slug[:80]) or 'model'


def _trimmed(slug: str) -> str:
    while (shorter := slug.strip('-.').removesuffix('.git')) != slug:
        slug = shorter
    return slug


def repo_id_of_url(url: str) -> str:
    """Return the last two parts of a URL's path as ``namespace/name``; ``local`` stands for a missing namespace."""
    path = urlsplit(url).path if '://' in url else url.rpartition(':')[2]
    parts = [
        slugify(part)
        for part in unquote(path).removesuffix('.git').strip('/').split('/')
        if part not in ('', '.', '..')
    ]
    return '/'.join(['local', *parts][-2:]) if parts else 'local/model'
