"""What do a repository's refs say? Its branch, its tags and their messages, read without a clone or any file's content."""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from typing import NamedTuple

from hfmirror import errors, message, versions
from hfmirror.gitcmd import GitFailed, git, git_bytes, meaning
from hfmirror.target import Target
from hfmirror.versions import VersionInfo

_TAG_FORMAT = '%00'.join(
    f'%({field})'
    for field in (
        'refname:strip=2',
        'objectname',
        '*objectname',
        'creatordate:unix',
        'objecttype',
        'objectsize',
    )
)
# Bytes of one tag whose text is read, and of all that are: a release says a few thousand.
_TEXT_MAX, _TEXTS_MAX = 1024 * 1024, 32 * 1024 * 1024


class Refs(NamedTuple):
    """What the remote has: the branch's commit, and {tag: (object, commit)}, equal for a lightweight tag."""

    head: str | None
    tags: Mapping[str, tuple[str, str]]


def ls_remote(target: Target, *, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Refs:
    """Return the branch and tags of a remote in one round trip. ``env`` is for git."""
    patterns = (f'refs/heads/{target.branch}', 'refs/tags/*')
    try:
        listing = git('ls-remote', '-q', '--', target.git_url, *patterns, cwd=cwd, env=env)
    except GitFailed as e:
        raise meaning(e, str(target)) from e
    refs = {name: object_id for object_id, _, name in (line.partition('\t') for line in listing.split('\n'))}
    names = [name[10:] for name in refs if name.startswith('refs/tags/') and not name.endswith('^{}')]
    tags = {
        name: (refs[f'refs/tags/{name}'], refs.get(f'refs/tags/{name}^{{}}', refs[f'refs/tags/{name}']))
        for name in names
    }
    return Refs(refs.get(patterns[0]), tags)


def find_version(refs: Refs, name: str, what: str, *, prefix: str = 'v') -> tuple[str, str]:
    """Return (tag, commit) of a version or of ``latest``. Raises NotFoundError naming what there is."""
    tag = versions.latest(refs.tags, prefix=prefix) if name == 'latest' else name
    if tag is None:
        raise errors.NotFoundError(
            f'{what}: it has no version yet. Make one with: hfmirror push FOLDER --tag v1.0.0'
        )
    if tag not in refs.tags:
        near = difflib.get_close_matches(tag, refs.tags, n=3)
        hint = f'Is it {", ".join(near)}?' if near else "'hfmirror list-versions' shows what there is."
        raise errors.NotFoundError(f'{what}: no version {tag}. {hint}')
    return tag, refs.tags[tag][1]


def tags_in(git_dir: Path, *, prefix: str = 'v', env: Mapping[str, str] | None = None) -> list[VersionInfo]:
    """Return the tags of a repository on this machine that hfmirror can order, newest first. Reads no file's content.

    A tag whose text is too long for one of a release tells its name, date and commit alone. ``env`` is for git.
    """
    try:
        answer = git('for-each-ref', f'--format={_TAG_FORMAT}', 'refs/tags', cwd=git_dir, env=env)
        tags = [_Tag(*line.split('\0')) for line in answer.split('\n') if line]
        kinds = {tag: found.kind for tag in tags if (found := versions.parse(tag.name, prefix=prefix))}
        texts = _texts(git_dir, kinds, env)
    except GitFailed as e:
        raise meaning(e, str(git_dir)) from e
    infos = [_version_info(tag, kind, texts.get(tag.oid, '')) for tag, kind in kinds.items()]
    return versions.newest_first(infos, prefix=prefix)


class _Tag(NamedTuple):
    """A tag as git tells of it; ``commit`` is empty for a lightweight one, whose ``oid`` is the commit."""

    name: str
    oid: str
    commit: str
    seconds: str
    kind: str
    size: str


def _texts(git_dir: Path, tags: Iterable[_Tag], env: Mapping[str, str] | None) -> dict[str, str]:
    """Return {object: text} of tags, of a lightweight one its commit's; what is too long is left out."""
    left, asked = _TEXTS_MAX, []
    for tag in tags:
        if tag.kind in ('tag', 'commit') and int(tag.size) <= min(left, _TEXT_MAX):
            left -= int(tag.size)
            asked.append(tag.oid)
    if not asked:
        return {}
    answer, at = git_bytes('cat-file', '--batch', cwd=git_dir, stdin='\n'.join([*asked, '']), env=env), 0
    texts = {}
    for oid in asked:
        end = answer.index(b'\n', at)
        size = int(answer[at:end].split()[2])
        content = answer[end + 1 : end + 1 + size]
        texts[oid] = content.partition(b'\n\n')[2].decode('utf-8', 'surrogateescape')
        at = end + 2 + size
    return texts


def fetched_tags(
    target: Target, git_dir: Path, refs: Refs, *, prefix: str = 'v', env: Mapping[str, str] | None = None
) -> list[VersionInfo]:
    """Return the versions among ``refs``, newest first, fetched into ``git_dir`` when one of them is not there yet.

    Tags and commits only, no trees: a server without filters sends the small files too, and that is all.
    """
    if not {found[0] for found in refs.tags.values()} <= _tag_objects(git_dir):
        _fetch_tags(target, git_dir, env)
    if not git_dir.is_dir():
        return []  # it never had a tag
    return [info for info in tags_in(git_dir, prefix=prefix) if info.name in refs.tags]


def _fetch_tags(target: Target, git_dir: Path, env: Mapping[str, str] | None) -> None:
    if not (git_dir / 'HEAD').exists():
        git('init', '-q', '--bare', git_dir)
        git('config', 'remote.origin.url', target.git_url, cwd=git_dir)
    shape = ('--prune', '--depth=1', '--filter=tree:0')
    try:
        git('fetch', '-q', *shape, 'origin', '+refs/tags/*:refs/tags/*', cwd=git_dir, env=env)
    except GitFailed as e:
        if e.returncode == 1 and not e.stderr:
            return  # so ends a shallow fetch of nothing: all tags that we know of are of releases that wait
        raise meaning(e, str(target)) from e


def _tag_objects(git_dir: Path) -> set[str]:
    """Return the tags there. What is damaged is removed, and fetched again."""
    if not git_dir.is_dir():
        return set()
    try:
        # Refs are asked, not objects: git would fetch a missing object of a filtered repository, and not its ref.
        return set(git('for-each-ref', '--format=%(objectname)', 'refs/tags', cwd=git_dir).splitlines())
    except GitFailed:
        shutil.rmtree(git_dir)
        return set()


def create_bare(path: Path, branch: str) -> None:
    """Create the bare repository of the local Hub at ``path``, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = Path(mkdtemp(dir=path.parent, prefix='.new-'))
    try:
        git('init', '-q', '--bare', '--template=', f'--initial-branch={branch}', new)
        for key, value in {
            'uploadpack.allowFilter': 'true',
            'receive.fsckObjects': 'true',
            'gc.autoDetach': 'false',
        }.items():
            git('config', key, value, cwd=new)
        new.chmod(0o755)
        with suppress(FileExistsError):
            os.rename(new, path)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _version_info(tag: _Tag, kind: str, text: str) -> VersionInfo:
    facts = message.read_tag(text)
    date = datetime.fromtimestamp(int(tag.seconds or 0), UTC)
    commit = tag.commit or tag.oid
    return VersionInfo(tag.name, kind, commit, date, facts.size, facts.files, facts.metrics, facts.message)
