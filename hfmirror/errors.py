"""What can go wrong, and the exit code each kind ends the command with.

* HfmirrorError (1)
    * UsageError (2): a wrong option, name or argument
        * ConfigError (2): a wrong value in a configuration file
    * DiskFull (1): a disk of this machine has no room left
    * SourceError (1): something in the folder cannot be released
        * SourceChanged (1): a file changed while it was read, twice
    * GitError (1): a git or git-lfs command failed
    * RemoteError (1): the remote answered, but cannot take a release (no LFS, a hook refused)
    * VerificationError (3): what is there is not what should be there
    * AuthError (4): the remote does not let us in
    * NotFoundError (5): no such repository, version or path
    * ConflictError (6): the tag exists, the remote moved
    * NetworkError (7): the remote could not be reached; what was to be sent waits in the outbox
    * GateError (8): a check stopped the release before anything left the machine
        * CardError (8): the model card or what it is made from is broken
    * PartialError (9): some targets failed, the others are done

Each message says what failed, on what, and what to do next. None contains a token.
"""

from __future__ import annotations


class HfmirrorError(Exception):
    """Any failure that hfmirror explains. ``str()`` is the whole message for a person."""

    exit_code = 1


class UsageError(HfmirrorError):
    """The command line asks for something that cannot be meant."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file has values that cannot be used; all problems are listed."""


class DiskFull(HfmirrorError):
    """A disk of this machine has no room left."""


class SourceError(HfmirrorError):
    """The folder has something that cannot be released as it is."""


class SourceChanged(SourceError):
    """A file of the folder changed while it was read, and again when it was read once more."""


class GitError(HfmirrorError):
    """A git or git-lfs command failed in a way no other class explains."""


class RemoteError(HfmirrorError):
    """The remote was reached and cannot take or give the release."""


class VerificationError(HfmirrorError):
    """The remote or a folder differs from the release."""

    exit_code = 3


class AuthError(HfmirrorError):
    """The remote asks for a token or user that we do not have, or refuses the one we sent."""

    exit_code = 4


class NotFoundError(HfmirrorError):
    """No such repository, version or path."""

    exit_code = 5


class ConflictError(HfmirrorError):
    """The release clashes with what the remote already has."""

    exit_code = 6


class NetworkError(HfmirrorError):
    """The remote cannot be reached now. Trying again later may help, ``retry_after_s`` seconds later when it said so."""

    exit_code = 7

    def __init__(self, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class GateError(HfmirrorError):
    """A check stopped the release before anything left the machine."""

    exit_code = 8


class CardError(GateError):
    """The card, or a file it is made from, is broken."""


class PartialError(HfmirrorError):
    """Some targets failed; the others are done."""

    exit_code = 9
