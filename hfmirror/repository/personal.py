"""How is the clone that a person works in opened: from where, with whose token, under which name? And git run in it."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hfmirror import auth, errors, gitcmd
from hfmirror.auth import Token
from hfmirror.gitcmd import GitFailed, git, succeeds
from hfmirror.hub import explaining, hub_of
from hfmirror.repository import cloning, identity
from hfmirror.repository.background import CommandInProgress
from hfmirror.repository.pushing import Sender, own_store
from hfmirror.repository.raising import raises
from hfmirror.repository.tracking import is_git_repo
from hfmirror.target import Target

_log = logging.getLogger('hfmirror')


class PersonalClone(Sender):
    """A repository that is open. Its arguments are those of Repository."""

    @raises(OSError)
    def __init__(
        self,
        local_dir: str | Path,
        clone_from: str | None = None,
        repo_type: str | None = None,
        token: bool | str | None = True,
        git_user: str | None = None,
        git_email: str | None = None,
        revision: str | None = None,
        skip_lfs_files: bool = False,
        client: Any = None,
    ) -> None:
        work = Path.cwd() / local_dir
        work.mkdir(parents=True, exist_ok=True)
        self.local_dir = str(work)
        self.command_queue: list[CommandInProgress] = []
        self._skip_lfs_files, self._repo_type = skip_lfs_files, repo_type
        self.check_git_versions()
        self._endpoint = auth.address(str(client.endpoint), 'client.endpoint') if client else auth.endpoint()
        self._token, self._anonymous = identity.token_of(token, self._endpoint, client), token is False
        if clone_from is not None:
            self.clone_from(clone_from)
        else:
            _require_repository(work)
            self._open(work)
        self._sign_as(git_user, git_email)
        if revision is not None:
            self.git_checkout(revision, create_branch_ok=True)

    @raises(OSError)
    def clone_from(self, repo_url: str, token: bool | str | None = None) -> None:
        """Clone into the folder; one that is a clone of the same repository already stays as it is, nothing is fetched.

        Raises OSError for a folder with anything else in it.
        """
        work = Path(self.local_dir)
        if token is not None:
            self._token, self._anonymous = identity.token_of(token, self._endpoint), token is False
        self._take(cloning.token_in(repo_url, self._endpoint), 'the URL to clone from')
        target = cloning.target_of(repo_url, self._repo_type, self._endpoint)
        if not cloning.is_empty(work):
            cloning.require_clone_of(work, target)
            _log.warning(
                '%s is a clone of %s already. Pull the latest changes with git_pull().', work, target
            )
            self._open(work)
            return
        self._connect(target, work)
        with self._explained():
            cloning.clone(target, work, env=self.env, lfs=not self._skip_lfs_files)
        self._open(work)

    def _connect(self, target: Target, work: Path) -> None:
        super().__init__(target, work, hub_of(target, self._token))

    def _take(self, token: str | None, source: str) -> None:
        """Use a token that was in a URL of this Hub when there is no other for it."""
        has_one = self._token is not None and self._token.endpoint == self._endpoint
        if token and not has_one and not self._anonymous:
            self._token = Token(token, source, self._endpoint)

    def _open(self, work: Path) -> None:
        """Take what is in the folder for this repository, and mend what a killed clone or the removed class has left."""
        left = cloning.take_credentials(work, self._endpoint)
        self._take(left, f'the URL that was in {work}/.git/config')
        self._connect(cloning.target_of_clone(work, self._repo_type, self._endpoint), work)
        cloning.set_up(work)
        cloning.keep_reports_out(own_store(work).root)
        self.lfs_enable_largefiles()
        with self._explained():
            cloning.finish(work, env=self.env)

    def _sign_as(self, user: str | None, email: str | None) -> None:
        if self.hub is not None and self.hub.token is not None and (user is None or email is None):
            name, address = identity.signature(self.hub)
            user, email = user or name, email or address
        self.git_config_username_and_email(user, email)

    @raises(OSError)
    def check_git_versions(self) -> None:
        """Raise OSError unless git and git-lfs are there."""
        gitcmd.require_tools()
        _log.info('git %s, git-lfs %s', gitcmd.git_version(), gitcmd.lfs_version())

    @raises(OSError)
    def git_config_username_and_email(
        self, git_user: str | None = None, git_email: str | None = None
    ) -> None:
        """Have the commits of this clone signed with a name and an address; None leaves it as it is."""
        for key, value in {'user.name': git_user, 'user.email': git_email}.items():
            if value is not None:
                git('config', '--local', key, value, cwd=self.work)

    def git_credential_helper_store(self) -> None:
        """Do nothing: no token is kept in a file. It reaches git through the environment of each command."""

    @raises(OSError)
    def lfs_enable_largefiles(self) -> None:
        """Let files of more than 5 GB go to the Hub, in parts."""
        cloning.enable_large_files(self.work)

    @property
    @raises(OSError)
    def current_branch(self) -> str:
        """The branch that is checked out; ``HEAD`` when none is."""
        if not succeeds('symbolic-ref', '-q', 'HEAD', cwd=self.work):
            return 'HEAD'
        return git('symbolic-ref', '--short', 'HEAD', cwd=self.work)

    @raises(OSError)
    def git_checkout(self, revision: str, create_branch_ok: bool = False) -> None:
        """Check out a branch, tag or commit; with ``create_branch_ok`` a new branch when there is none of that name."""
        if revision.startswith('-'):
            raise errors.UsageError(f'{revision}: no name of a revision begins with -.')
        known = any(
            succeeds('rev-parse', '-q', '--verify', f'{name}^{{commit}}', cwd=self.work)
            for name in (revision, f'refs/remotes/origin/{revision}')
        )
        if known or not create_branch_ok:
            self._run('checkout', '-q', revision, '--')
        elif revision != self.current_branch:  # of a repository without a commit
            self._run('checkout', '-q', '-b', revision)
            _log.warning('Revision %s does not exist: created and checked out as a branch.', revision)

    def _run(self, *args: str, stdin: str = '', env: Mapping[str, str] | None = None) -> str:
        return git(*args, cwd=self.work, stdin=stdin, env={**self._local(), **(env or {})})

    def _talk(self, *args: str) -> str:
        """Run a git command that talks to the remote."""
        with self._explained():
            return self._run(*args)

    def _local(self) -> dict[str, str]:
        # git-lfs fetches what a checkout needs, as the person who has the token.
        return {**self.env, 'GIT_LFS_SKIP_SMUDGE': '1' if self._skip_lfs_files else '0'}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        with explaining(self.hub, self.target):
            try:
                yield
            except GitFailed as e:
                raise gitcmd.meaning(e, str(self.target)) from e


@raises(ValueError)
def _require_repository(work: Path) -> None:
    if not is_git_repo(work):
        raise errors.UsageError(
            f'{work}: not a git repository. If not specifying `clone_from`, you need to pass Repository a valid git clone.'
        )
