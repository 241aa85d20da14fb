"""The public ``Repository``, a clone that a person works in, and the functions about git that came with the removed one."""

from hfmirror.repository.repository import (
    CommandInProgress,
    Repository,
    commits_to_push,
    files_to_be_staged,
    is_binary_file,
    is_git_ignored,
    is_git_repo,
    is_local_clone,
    is_tracked_upstream,
    is_tracked_with_lfs,
)

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
