"""Compare two folders by the sha256 of every file, and say how many are the same.

Run as ``same_files.py ONE OTHER``. Exit code 1 when a file of ONE is missing from OTHER or differs; OTHER may have more.
README.md is the model card, which hfmirror writes around what a person wrote, and .gitattributes is git's: both are
part of a release, and are not expected to be as they were in the folder.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

OWNED = {'README.md', '.gitattributes'}


def main(one: Path, other: Path) -> int:
    ours, theirs = digests(one), digests(other)
    same = [name for name in ours if theirs.get(name) == ours[name]]
    for name, digest in ours.items():
        print(f'{digest[:16]}  {"same" if name in same else "DIFFERENT"}  {name}')
    print(f'{len(same)} of {len(ours)} files have the same sha256')
    return 0 if ours and len(same) == len(ours) else 1


def digests(folder: Path) -> dict[str, str]:
    """Return {path relative to the folder: sha256 hex}."""
    files = sorted(path for path in folder.rglob('*') if path.is_file() and path.name not in OWNED)
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files}


def sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


if __name__ == '__main__':
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
