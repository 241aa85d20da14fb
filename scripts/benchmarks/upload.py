"""``huggingface_hub.upload_folder``, as people call it. Run as ``upload.py FOLDER REPO [--no-xet]``."""

from __future__ import annotations

import os
import sys


def main(folder: str, repo: str, *options: str) -> None:
    if '--no-xet' in options:
        os.environ['HF_HUB_DISABLE_XET'] = '1'
    from huggingface_hub import upload_folder

    upload_folder(repo_id=repo, folder_path=folder)


if __name__ == '__main__':
    main(*sys.argv[1:])
