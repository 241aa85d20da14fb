"""Repository: a clone that a person works in, as ``huggingface_hub.Repository`` was, which 1.0 removed::

    from hfmirror import Repository

    repository = Repository('my-model', clone_from='me/my-model')
    with repository.commit('New weights') as folder:
        model.save_pretrained(folder)

Names, arguments and results are those of the removed class (docs/migration.md). Its errors were OSError and ValueError;
these are that too, and ours besides. The working directory and the environment of the process are never changed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfmirror import errors, gitcmd
from hfmirror.gitcmd import git, succeeds
from hfmirror.readme import metadata
from hfmirror.repository import adding, pushing, tracking
from hfmirror.repository.background import CommandInProgress, wait_for
from hfmirror.repository.personal import PersonalClone
from hfmirror.repository.pushing import Push
from hfmirror.repository.raising import raises
from hfmirror.repository.tracking import (
    commits_to_push,
    files_to_be_staged,
    is_binary_file,
    is_git_ignored,
    is_git_repo,
    is_local_clone,
    is_tracked_upstream,
    is_tracked_with_lfs,
)
from hfmirror.rules import CARD
from hfmirror.worktree import TagExists

__all__ = [
    'CommandInProgress',
    'Repository',
    'commits_to_push',
    'files_to_be_staged',
    'is_binary_file',
    'is_git_ignored',
    'is_git_repo',
    'is_local_clone',
    'is_tracked_upstream',
    'is_tracked_with_lfs',
]

_log = logging.getLogger('hfmirror')


class Repository(PersonalClone):
    """A clone in ``local_dir``, cloned from ``clone_from`` (an id on the Hub, a URL, a path) when there is none yet.

    ``token``: a token, False for none, else the one that ``hfmirror whoami`` tells of. ``git_user`` and ``git_email``
    sign the commits, else the owner of the token does. ``revision`` is checked out, as a new branch when there is no such.
    ``skip_lfs_files`` leaves pointers in place of large files until ``git_pull(lfs=True)``. ``client`` is an HfApi whose
    endpoint and token are used.
    """

    # -- what it is

    def __fspath__(self) -> str:
        """The folder: ``os.path.join``, ``open`` and ``Path`` take a Repository for it."""
        return self.local_dir

    def __truediv__(self, name: str | os.PathLike[str]) -> Path:
        return self.work / name

    def __repr__(self) -> str:
        return f'Repository({self.local_dir!r})'

    @raises(OSError)
    def git_head_hash(self) -> str:
        """Return the id of the commit that is checked out."""
        return git('rev-parse', '--verify', 'HEAD', cwd=self.work)

    @raises(OSError)
    def git_remote_url(self) -> str:
        """Return the URL of ``origin`` without a user or token."""
        return tracking.without_user(git('config', '--get', 'remote.origin.url', cwd=self.work))

    def git_head_commit_url(self) -> str:
        """Return the address of the commit on the remote, where it is once it has been pushed."""
        return f'{self.git_remote_url().rstrip("/")}/commit/{self.git_head_hash()}'

    @raises(OSError)
    def list_deleted_files(self) -> list[str]:
        """Return the files that the last commit has and that have been deleted since."""
        return tracking.deleted(self.work)

    @raises(OSError)
    def is_repo_clean(self) -> bool:
        """Return whether there is nothing to add and nothing to commit."""
        return git('status', '--porcelain', '-z', cwd=self.work, env=self._local()) == ''

    # -- git-lfs

    @raises(OSError)
    def lfs_track(self, patterns: str | Sequence[str], filename: bool = False) -> None:
        """Have files go to git-lfs: globs as in ``.gitattributes``, or names when ``filename``."""
        tracking.track(self.work, _listed(patterns), filename=filename)

    @raises(OSError)
    def lfs_untrack(self, patterns: str | Sequence[str]) -> None:
        """Take patterns, or names, out of ``.gitattributes``."""
        tracking.untrack(self.work, _listed(patterns))

    @raises(OSError)
    def auto_track_large_files(self, pattern: str = '.') -> list[str]:
        """Send files of 10 MiB and more below ``pattern`` to git-lfs; returns those that did not go there before."""
        return self._send_to_lfs(tracking.large(self.work, pattern))

    @raises(OSError)
    def auto_track_binary_files(self, pattern: str = '.') -> list[str]:
        """Send binary files below ``pattern`` to git-lfs, by their content; returns those that did not go there before."""
        return self._send_to_lfs(tracking.binary(self.work, pattern))

    def _send_to_lfs(self, paths: list[str]) -> list[str]:
        tracking.send_to_lfs(self.work, paths)
        tracking.untrack(self.work, tracking.deleted(self.work))
        return paths

    @raises(OSError)
    def lfs_prune(self, recent: bool = False) -> None:
        """Remove the LFS objects of old commits that the remote has; ``recent``: of recent commits too."""
        if gitcmd.lfs_version() < (3, 5) and self._has_staged():
            _log.warning(
                '%s: not pruned: this git-lfs would remove what is added and not committed yet.', self.work
            )
            return
        self._talk('lfs', 'prune', *(['--recent'] if recent else []))

    # -- git

    @raises(OSError)
    def git_pull(self, rebase: bool = False, lfs: bool = False) -> None:
        """Get the commits of the remote; ``lfs``: the content of the large files, and with ``rebase`` the commits too."""
        if rebase or not lfs:
            try:
                self._talk('pull', '-q', *(['--rebase'] if rebase else []))
            except errors.HfmirrorError:
                tracking.require_no_conflict(self.work)
                raise
        if lfs:
            self._talk('lfs', 'pull')

    @raises(OSError)
    def git_add(self, pattern: str = '.', auto_lfs_track: bool = False) -> None:
        """Add what is new, changed or deleted below ``pattern``; ``auto_lfs_track`` sends large and binary files to git-lfs."""
        if auto_lfs_track:
            tracked = [*self.auto_track_large_files(pattern), *self.auto_track_binary_files(pattern)]
            if tracked:
                _log.warning('Now tracked by git-lfs: %s', tracking.some(tracked))
        adding.add_large(self.work, tracking.candidates(self.work, pattern), pushing.own_store(self.work))
        own = [tracking.ATTRIBUTES] if auto_lfs_track and (self.work / tracking.ATTRIBUTES).exists() else []
        self._run('add', '--', pattern, *own)

    @raises(OSError)
    def git_commit(self, commit_message: str = 'commit files to HF hub') -> None:
        """Commit what was added. Raises OSError when that is nothing."""
        merging = succeeds('rev-parse', '-q', '--verify', 'MERGE_HEAD', cwd=self.work)
        if not merging and not self._has_staged():
            raise errors.GitError(
                f'{self.work}: nothing to commit: no change was added since the last commit.'
            )
        self._run('commit', '-q', '-F', '-', stdin=commit_message, env=self._identity())

    def _has_staged(self) -> bool:
        if not succeeds('rev-parse', '-q', '--verify', 'HEAD', cwd=self.work):
            return git('ls-files', '-z', cwd=self.work) != ''
        return not succeeds('diff-index', '--cached', '--quiet', 'HEAD', cwd=self.work)

    @raises(OSError)
    def git_push(
        self,
        upstream: str | None = None,
        blocking: bool = True,
        auto_lfs_prune: bool = False,
        *,
        tags: Sequence[str] = (),
    ) -> str | tuple[str, CommandInProgress]:
        """Push the branch and ``tags``: LFS objects first, then all refs or none, then the remote is asked for each.

        ``upstream`` is ``'origin main'``: where to, from now on. Returns the address of the commit; with ``blocking`` False
        at once, and the CommandInProgress. Without an upstream a branch goes to one of its own name on ``origin``.
        """
        remote, push = pushing.planned(self.work, upstream, tags)
        self.target = self.target._replace(branch=push.branch or self.target.branch)
        url = self.git_head_commit_url()
        if blocking:
            self._push_to(remote, push)
            if auto_lfs_prune:
                self.lfs_prune()
            return url
        post = self.lfs_prune if auto_lfs_prune else None
        command = CommandInProgress.of('push', self._start(remote, push), post)
        self.command_queue.append(command)
        return url, command

    def _push_to(self, remote: str, push: Push) -> None:
        if remote == 'origin':
            self.send(push)
        else:
            self._talk(*pushing.plainly(remote, push))

    def _start(self, remote: str, push: Push) -> gitcmd.Started:
        if remote == 'origin':
            return pushing.start(self, push)
        return gitcmd.start('git', '-C', self.work, *pushing.plainly(remote, push), env=self._local())

    @raises(OSError)
    def tag_exists(self, tag_name: str, remote: str | None = None) -> bool:
        """Return whether there is such a tag here, or on ``remote``."""
        ref = f'refs/tags/{tag_name}'
        if remote is None:
            return succeeds('show-ref', '-q', '--verify', ref, cwd=self.work)
        return self._talk('ls-remote', '-q', '--refs', '--', remote, ref) != ''

    @raises(OSError)
    def add_tag(self, tag_name: str, message: str | None = None, remote: str | None = None) -> None:
        """Tag the commit that is checked out, with a message or without; ``remote``: and push the tag there.

        ``git_push(tags=[tag_name])`` pushes it with its branch, both or neither.
        """
        if self.tag_exists(tag_name):
            raise TagExists(
                f'{self.work}: the tag {tag_name} is already there. Name another, or delete_tag it.'
            )
        text = ('-a', '-F', '-') if message else ()
        self._run('tag', *text, '--', tag_name, stdin=message or '', env=self._identity())
        if remote is not None:
            oid = git('rev-parse', '--verify', f'refs/tags/{tag_name}', cwd=self.work)
            self._push_to(remote, Push(None, None, {tag_name: oid}))

    @raises(OSError)
    def delete_tag(self, tag_name: str, remote: str | None = None) -> bool:
        """Delete a tag here, and on ``remote``; returns whether there was one."""
        here = self.tag_exists(tag_name)
        there = remote is not None and self.tag_exists(tag_name, remote)
        if here:
            self._run('tag', '-d', '--', tag_name)
        if there:
            self._talk('push', '-q', '--delete', '--', str(remote), f'refs/tags/{tag_name}')
        return here or there

    # -- all at once

    @raises(OSError)
    def push_to_hub(
        self,
        commit_message: str = 'commit files to the Hub',
        blocking: bool = True,
        clean_ok: bool = True,
        auto_lfs_prune: bool = False,
    ) -> str | tuple[str, CommandInProgress] | None:
        """Add everything, commit it and push it. Returns what ``git_push`` does, None when there was nothing to commit.

        With ``clean_ok`` False that raises OSError.
        """
        self.git_add(auto_lfs_track=True)
        if clean_ok and not self._has_staged():
            _log.info('%s: nothing to commit', self.work)
            return None
        self.git_commit(commit_message)
        return self.git_push(f'origin {self.current_branch}', blocking, auto_lfs_prune)

    @contextmanager
    def commit(
        self,
        commit_message: str,
        branch: str | None = None,
        track_large_files: bool = True,
        blocking: bool = True,
        auto_lfs_prune: bool = False,
    ) -> Iterator[Repository]:
        """Pull, let the body write files, then add, commit and push all of them; nothing of it when the body raises.

        Yields the repository, which stands for its folder: ``with repository.commit('…') as folder: open(folder / 'a.txt')``.
        The working directory is not changed.
        """
        self._begin(branch)
        yield self
        self.git_add(auto_lfs_track=track_large_files)
        if self._has_staged():
            self.git_commit(commit_message)
        self.git_push(f'origin {self.current_branch}', blocking, auto_lfs_prune)

    @raises(OSError)
    def _begin(self, branch: str | None) -> None:
        there = tracking.candidates(self.work, '.')
        if there:
            _log.error('%s: not committed yet, so part of this commit: %s', self.work, tracking.some(there))
        if branch is not None:
            self.git_checkout(branch, create_branch_ok=True)
        if is_tracked_upstream(self.work):
            self.git_pull(rebase=True)
        else:
            _log.warning(
                "The current branch has no upstream branch. Will push to 'origin %s'", self.current_branch
            )

    # -- the card

    @raises(ValueError)
    def repocard_metadata_load(self) -> dict[str, Any] | None:
        """Return the values at the top of README.md, None when it has none. Raises ValueError when they cannot be read."""
        return metadata.load(self.work / CARD)

    @raises(ValueError)
    def repocard_metadata_save(self, data: dict[str, Any]) -> None:
        """Make ``data`` the values at the top of README.md. The lines of those that stay as they are stay too."""
        metadata.save(self.work / CARD, data)

    # -- commands in the background

    @property
    def commands_failed(self) -> list[CommandInProgress]:
        """The commands of ``command_queue`` that have failed."""
        return [command for command in self.command_queue if command.failed]

    @property
    def commands_in_progress(self) -> list[CommandInProgress]:
        """Those that still run."""
        return [command for command in self.command_queue if not command.is_done]

    def wait_for_commands(self) -> None:
        """Wait until all have ended; what failed is logged. The end of the program does this too."""
        wait_for(self.command_queue)


def _listed(patterns: str | Sequence[str]) -> list[str]:
    return [patterns] if isinstance(patterns, str) else list(patterns)
