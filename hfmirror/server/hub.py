"""Hub: all that the routes share. One for each running server."""

from __future__ import annotations

from pathlib import Path

from hfmirror.lfs import LFS_FROM
from hfmirror.server.git.bare import Bare, Cache
from hfmirror.server.git.catfile import CatFiles
from hfmirror.server.repos.repositories import Repo, Repositories
from hfmirror.server.tokens import Tokens

_GB = 1_000_000_000
MAX_FILE_SIZE = 500 * _GB  # bytes, as the Hub has it
MULTIPART_FROM = 5 * _GB
PART_SIZE = 512_000_000


class Hub:
    """The repositories below ``root``, who may do what with them, and the limits. All sizes are in bytes.

    ``wants_xet``: whether git-lfs is to send by Xet when it can, as the Hub wants it; huggingface_hub does so unasked.
    """

    def __init__(
        self,
        root: Path,
        *,
        public_read: bool = True,
        max_file_size: int = MAX_FILE_SIZE,
        multipart_from: int = MULTIPART_FROM,
        part_size: int = PART_SIZE,
        wants_xet: bool = False,
    ) -> None:
        self.root = root.absolute()
        self.public_read = public_read
        self.max_file_size = max_file_size
        self.plain_max = min(LFS_FROM, max_file_size)
        self.multipart_from, self.part_size = multipart_from, part_size
        self.wants_xet = wants_xet
        self.tokens = Tokens(self.root)
        self.repositories = Repositories(self.root)
        self.secret = self.tokens.secret()
        self._processes, self._cache = CatFiles(), Cache()

    def bare(self, repo: Repo) -> Bare:
        """Return the git side of a repository."""
        return Bare(repo.path, self._processes, self._cache)

    def forget(self, repo: Repo) -> None:
        """Let go of a repository that is about to be deleted or moved."""
        self._processes.forget(repo.path)

    def close(self) -> None:
        """End the processes that wait."""
        self._processes.close()
