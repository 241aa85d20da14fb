"""How do the commits of a person's clone reach the remote? Objects, then branch and tags at once, then the proof.

A push that nobody waits for is this file run as a program: it reads from its standard input what is to be pushed, and as
whom, so that no process list, no file and no environment has the token.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from hfmirror import errors, gitcmd, lfs, output
from hfmirror.auth import Token
from hfmirror.gitcmd import GitFailed, git, succeeds
from hfmirror.hub import Hub, explaining, require_online
from hfmirror.objects import DirectoryObjects, RemoteObjects, objects_of
from hfmirror.outbox import Held
from hfmirror.store import ObjectStore
from hfmirror.target import Target
from hfmirror.tree import Entry
from hfmirror.worktree import RemoteMoved, WorkTree

_log = logging.getLogger('hfmirror')

# Nothing of the directory that somebody stands in is imported (-P).
_PROGRAM = 'import sys; sys.path.append({root!r}); from hfmirror.repository.pushing import main; main()'


class Push(NamedTuple):
    """What is to be on the remote, by id: a commit as a branch, and {tag: its object}. Either may be missing.

    The branch ``follower`` of this repository follows the remote's from then on.
    """

    branch: str | None
    commit: str | None
    tags: Mapping[str, str]
    follower: str | None = None

    @property
    def refs(self) -> dict[str, str]:
        """Return {full name of a ref: the object it is to name}."""
        named = {f'refs/tags/{tag}': oid for tag, oid in self.tags.items()}
        return {f'refs/heads/{self.branch}': self.commit, **named} if self.branch and self.commit else named


class Sender(WorkTree):
    """A person's repository that is pushed: their hooks run, their history is left whole."""

    def __init__(self, target: Target, work: Path, hub: Hub | None) -> None:
        super().__init__(target, work, hub.git_environment() if hub else None)
        self.hub = hub

    def send(self, push: Push) -> None:
        """Push and prove it. Raises what keeps it from being whole; the remote then has all of it or nothing."""
        with explaining(self.hub, self.target, writing=True):
            try:
                self._send(push)
            except RemoteMoved as e:
                raise RemoteMoved(
                    f'{self.target}: the branch {push.branch} has moved. Get its commits with git_pull(rebase=True), then push again.'
                ) from e

    def _send(self, push: Push) -> None:
        entries = self._new_objects(push.refs.values(), self.remote_refs().values())
        objects = objects_of(self)
        self._upload(objects, objects.missing(entries))
        self.push_refs([f'{oid}:{ref}' for ref, oid in push.refs.items()])
        self._prove(push, objects, entries)
        if push.follower:
            git('config', f'branch.{push.follower}.remote', 'origin', cwd=self.work)
            git('config', f'branch.{push.follower}.merge', f'refs/heads/{push.branch}', cwd=self.work)

    def remote_refs(self) -> dict[str, str]:
        """Ask the remote for its branches and tags: {full name: object}."""
        require_online(self.target)
        try:
            listing = git(
                'ls-remote',
                '-q',
                '--refs',
                'origin',
                'refs/heads/*',
                'refs/tags/*',
                cwd=self.work,
                env=self.env,
            )
        except GitFailed as e:
            raise gitcmd.meaning(e, str(self.target)) from e
        rows = (line.partition('\t') for line in listing.splitlines())
        return {name: oid for oid, _, name in rows}

    def _new_objects(self, tips: Iterable[str], there: Iterable[str]) -> list[Entry]:
        """Return the LFS objects of all commits of ``tips`` that are not in what is ``there``, each once."""
        known = [f'^{oid}' for oid in self._here(there)]
        asked = '\n'.join([*tips, *known, ''])
        listed = git('rev-list', '--objects', '--stdin', cwd=self.work, stdin=asked)
        names = dict(line.partition(' ')[::2] for line in listed.splitlines() if ' ' in line)
        small = [
            oid for oid, kind, size in self._checked(names) if kind == 'blob' and int(size) <= lfs.POINTER_MAX
        ]
        found = self._pointers(small)
        entries = {
            pointer.oid: Entry(names[blob], pointer.oid, pointer.size, is_lfs=True)
            for blob, pointer in found.items()
        }
        return list(entries.values())

    def _here(self, oids: Iterable[str]) -> list[str]:
        return [oid for oid, kind, _ in self._checked(dict.fromkeys(oids)) if kind in ('commit', 'tag')]

    def _checked(self, oids: Iterable[str]) -> list[tuple[str, str, str]]:
        """Return (object, type, size) of those objects that are here."""
        asked = '\n'.join([*oids, ''])
        rows = git('cat-file', '--batch-check', cwd=self.work, stdin=asked).splitlines()
        return [(oid, kind, size) for oid, kind, size in (row.split() for row in rows if row.count(' ') == 2)]

    def _upload(self, objects: RemoteObjects, absent: Sequence[Entry]) -> None:
        store = own_store(self.work)
        gone = [entry.path for entry in absent if not store.has(entry.oid, entry.size)]
        if gone:
            raise errors.SourceError(
                f'{self.target}: the content of {", ".join(gone[:5])} is neither here nor there, only its pointer. '
                "Fetch it first, from where it is: 'git lfs fetch --all REMOTE'."
            )
        if isinstance(objects, DirectoryObjects):
            _copy(store, objects.store, absent)
        else:
            objects.send(store, [Held(entry.path, entry.oid, entry.size, '', None) for entry in absent])
        self._require(objects, absent)

    def _push(self, refspecs: Sequence[str]) -> None:
        # The objects are there; what else the person's pre-push hook does, it does.
        env = {**self.env, 'GIT_LFS_SKIP_PUSH': '1'}
        git('push', '-q', '--atomic', 'origin', *refspecs, cwd=self.work, env=env)

    def _prove(self, push: Push, objects: RemoteObjects, entries: Sequence[Entry]) -> None:
        refs = self.remote_refs()
        wrong = [ref for ref, oid in push.refs.items() if not self._holds(ref, refs.get(ref), oid)]
        if wrong:
            raise errors.VerificationError(
                f'{self.target}: {", ".join(wrong)} is not what was pushed. Push again.'
            )
        self._require(objects, entries)

    def _holds(self, ref: str, found: str | None, oid: str) -> bool:
        return found == oid or (
            found is not None and ref.startswith('refs/heads/') and self._went_on(ref, oid)
        )

    def _went_on(self, ref: str, oid: str) -> bool:
        """Return whether somebody has already pushed on top of our commit."""
        theirs = 'refs/hfmirror/history'
        # All of it: a depth would cut the history of this repository.
        self._remote('fetch', '-q', '--no-tags', '--no-write-fetch-head', 'origin', f'+{ref}:{theirs}')
        found = succeeds('merge-base', '--is-ancestor', oid, theirs, cwd=self.work)
        git('update-ref', '-d', theirs, cwd=self.work)
        return found

    def _require(self, objects: RemoteObjects, entries: Sequence[Entry]) -> None:
        missing = objects.missing(entries)
        if missing:
            raise errors.VerificationError(
                f'{self.target}: the remote does not confirm {output.count(len(missing), "object")}: '
                f'{", ".join(entry.path for entry in missing[:5])}. Push again.'
            )


def own_store(work: Path) -> ObjectStore:
    """Return where the repository whose work tree is ``work`` keeps its LFS objects."""
    return DirectoryObjects(Target('here', str(work.absolute()), work.name)).store


def _copy(source: ObjectStore, store: ObjectStore, entries: Sequence[Entry]) -> None:
    with output.progress('storing', sum(entry.size for entry in entries)) as shown:
        for entry in entries:
            store.copy_in(source.path(entry.oid), entry.oid, entry.size)
            shown.advance(entry.size)
        store.settle()


def planned(work: Path, upstream: str | None, tags: Sequence[str]) -> tuple[str, Push]:
    """Return the remote, and what is to be there. ``upstream`` is ``'origin main'``, or ``'origin main:other'``.

    Raises GitError when no branch is named and none is checked out, or a tag is not there.
    """
    remote, _, refspec = (upstream or '').strip().partition(' ')
    source, _, branch = refspec.strip().partition(':')
    source = source or _checked_out(work)
    if not upstream:
        remote, branch = _followed(work, source)
    commit = git('rev-parse', '--verify', f'{source}^{{commit}}', cwd=work)
    objects = {tag: git('rev-parse', '--verify', f'refs/tags/{tag}', cwd=work) for tag in tags}
    is_branch = succeeds('rev-parse', '-q', '--verify', f'refs/heads/{source}', cwd=work)
    push = Push(branch or source, commit, objects, source if is_branch else None)
    _tell_of_several(work, remote, push)
    return remote, push


def _checked_out(work: Path) -> str:
    try:
        return git('symbolic-ref', '-q', '--short', 'HEAD', cwd=work)
    except GitFailed as e:
        raise errors.GitError(
            f"{work}: No branch checked out. Check one out, or name it: upstream='origin main'."
        ) from e


def _followed(work: Path, branch: str) -> tuple[str, str]:
    """Return the remote, and the branch there, that a branch follows; those it will follow when it follows none."""
    try:
        remote = git('config', '--get', f'branch.{branch}.remote', cwd=work)
        merge = git('config', '--get', f'branch.{branch}.merge', cwd=work)
    except GitFailed:
        return 'origin', branch
    return remote, merge.removeprefix('refs/heads/')


def _tell_of_several(work: Path, remote: str, push: Push) -> None:
    there = f'refs/remotes/{remote}/{push.branch}'
    if succeeds('rev-parse', '-q', '--verify', there, cwd=work):
        number = int(git('rev-list', '--count', f'{there}..{push.commit}', cwd=work))
        if number > 1:
            _log.warning('%s: %s commits are pushed', work, number)


def plainly(remote: str, push: Push) -> list[str]:
    """Return git's arguments for a push to a remote that is not ``origin``: git-lfs's hook sends the objects, nobody asks."""
    branch = f'refs/heads/{push.branch}'
    refs = {**push.refs, **({branch: f'refs/heads/{push.follower}'} if push.follower else {})}
    # git has the branch follow the remote's when it is pushed by its name.
    return [
        'push',
        '-q',
        '--atomic',
        '-u',
        '--',
        remote,
        *(f'{source}:{ref}' for ref, source in refs.items()),
    ]


def start(sender: Sender, push: Push) -> gitcmd.Started:
    """Push in a process of its own, which goes on when this one ends."""
    token = sender.hub.token if sender.hub else None
    told = {
        'target': sender.target,
        'work': str(sender.work),
        'push': push,
        'endpoint': sender.hub.endpoint if sender.hub else None,
        'token': [token.value, token.source, token.endpoint] if token else None,
    }
    program = _PROGRAM.format(root=str(Path(__file__).parents[2]))
    return gitcmd.start(sys.executable, '-P', '-c', program, stdin=json.dumps(told).encode())


def main() -> None:
    """Push what the standard input says; the exit code is that of ``hfmirror push``."""
    told = json.load(sys.stdin)
    token = Token(*told['token']) if told['token'] else None
    hub = Hub(told['endpoint'], token) if told['endpoint'] else None
    try:
        Sender(Target(*told['target']), Path(told['work']), hub).send(Push(*told['push']))
    except errors.HfmirrorError as e:
        output.error(str(e))
        sys.exit(e.exit_code)
