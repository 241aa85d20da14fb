"""Would the Hub take files of these sizes and folders of these lengths?

From https://huggingface.co/docs/hub/storage-limits as it was in 2026: no file over 500 GB, under 200 GB recommended; no more
than 10,000 files in a folder; under 100,000 files in a repository recommended. Its GB are powers of 1,000.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from hfmirror.gates.findings import Finding
from hfmirror.output import count, human_size

LARGEST_FILE = 500 * 1000**3  # bytes
LARGE_FILE = 200 * 1000**3
MOST_IN_FOLDER = 10_000  # files; of files and folders together it is recommended
MANY_FILES = 100_000


class Limits(NamedTuple):
    """What the Hub refuses, and sentences about what it only advises against."""

    findings: list[Finding]
    warnings: list[str]


def check(sizes: Mapping[str, int]) -> Limits:
    """Hold the whole repository as it will be, as {path: bytes}, against the Hub's limits."""
    findings, warnings = [], []
    for path, size in sizes.items():
        if size > LARGEST_FILE:
            most = human_size(LARGEST_FILE)
            findings.append(
                Finding(path, 0, 'file-size', 'limits', f'{human_size(size)}; the Hub takes {most}')
            )
        elif size > LARGE_FILE:
            warnings.append(
                f'{path}: {human_size(size)}. The Hub advises files under {human_size(LARGE_FILE)}.'
            )
    files, entries = _counted(sizes)
    for folder, number in sorted(entries.items()):
        name = folder or 'the top folder'
        if files[folder] > MOST_IN_FOLDER:
            detail = f'{count(files[folder], "file")}; the Hub takes {MOST_IN_FOLDER:,} in a folder'
            findings.append(Finding(name, 0, 'folder-size', 'limits', detail))
        elif number > MOST_IN_FOLDER:
            warnings.append(
                f'{name}: {number:,} files and folders. The Hub advises at most {MOST_IN_FOLDER:,}.'
            )
    if len(sizes) > MANY_FILES:
        warnings.append(
            f'{count(len(sizes), "file")}: the Hub advises fewer than {MANY_FILES:,}; merge small ones.'
        )
    return Limits(findings, warnings)


def _counted(paths: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """Return how many files each folder has, and how many files and folders together. Folders end with a slash."""
    files = Counter(path[: path.rfind('/') + 1] for path in paths)
    folders = set(files)
    for folder in files:
        while folder := folder[: folder.rstrip('/').rfind('/') + 1]:
            folders.add(folder)
    inside = Counter(folder[: folder.rstrip('/').rfind('/') + 1] for folder in folders if folder)
    return files, files + inside
