"""What is kept on this machine of each release, and how does one come back?"""

from __future__ import annotations

from pathlib import Path

from hfmirror.config.config import Config
from hfmirror.folder import Folder
from hfmirror.target import Target


def back_up(folder: Folder, target: Target, config: Config) -> Path:
    """Keep a copy of a folder's files under ``backup.local_backup_dir`` and return it; the newest ``keep_backups`` stay."""
    raise NotImplementedError
