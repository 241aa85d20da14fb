"""What is a pointer, and which files go to LFS?

A pointer stands in a commit for the content (https://github.com/git-lfs/git-lfs/blob/main/docs/spec.md)::

    version https://git-lfs.github.com/spec/v1
    oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
    size 12345
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

LFS_FROM = 10 * 1024 * 1024  # bytes; the Hub refuses a larger file outside LFS
POINTER_MAX = 1024  # bytes; no pointer is longer

_POINTER = re.compile(
    rb'version https://git-lfs\.github\.com/spec/v1\n(?:ext-[^\n]*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n?'
)
_MARK = 'filter=lfs diff=lfs merge=lfs -text'

# What the Hub writes into a new repository, in its order.
_ARCHIVES_AND_WEIGHTS = (
    '*.7z *.arrow *.bin *.bz2 *.ckpt *.ftz *.gz *.h5 *.joblib *.lfs.* {more}*.mlmodel *.model *.msgpack *.npy *.npz *.onnx *.ot '
    '*.parquet *.pb *.pickle *.pkl *.pt *.pth *.rar *.safetensors saved_model/**/* *.tar.* *.tar *.tflite *.tgz *.wasm *.xz *.zip '
    '*.zst *tfevents*'
)
_MEDIA = {
    'Audio files - uncompressed': '*.pcm *.sam *.raw',
    'Audio files - compressed': '*.aac *.flac *.mp3 *.ogg *.wav',
    'Image files - uncompressed': '*.bmp *.gif *.png *.tiff',
    'Image files - compressed': '*.jpg *.jpeg *.webp',
    'Video files - compressed': '*.mp4 *.webm',
}

# Bytes that no text has: control characters other than bell, backspace, tab, line and page ends, escape.
_CONTROL = bytes(b for b in range(32) if b not in b'\a\b\t\n\f\r\x1b') + b'\x7f'


class Pointer(NamedTuple):
    """The oid (sha256, hex) and size (bytes) of an LFS object."""

    oid: str
    size: int

    @property
    def text(self) -> bytes:
        """The pointer file. An object without bytes has none: git-lfs keeps an empty file as it is."""
        if self.size == 0:
            return b''
        return (
            f'version https://git-lfs.github.com/spec/v1\noid sha256:{self.oid}\nsize {self.size}\n'.encode()
        )


def parse_pointer(content: bytes) -> Pointer | None:
    """Return the pointer that ``content`` is, None when it is anything else."""
    match = _POINTER.fullmatch(content) if len(content) <= POINTER_MAX else None
    return Pointer(match[1].decode(), int(match[2])) if match else None


def is_text(content: bytes) -> bool:
    """Return whether the whole ``content`` is UTF-8 without control characters; anything else belongs in LFS."""
    if content.translate(None, _CONTROL) != content:
        return False
    try:
        content.decode('utf-8')
    except UnicodeDecodeError:
        return False
    return True


def default_attributes(repo_type: str) -> str:
    """Return the ``.gitattributes`` that the Hub gives a new repository of that type."""
    more = '*.lz4 *.mds ' if repo_type == 'dataset' else ''
    lines = [f'{pattern} {_MARK}' for pattern in _ARCHIVES_AND_WEIGHTS.format(more=more).split()]
    if repo_type == 'dataset':
        for title, patterns in _MEDIA.items():
            lines += [f'# {title}', *(f'{pattern} {_MARK}' for pattern in patterns.split())]
    return '\n'.join(lines) + '\n'


def track(attributes: str, unmatched: Collection[str], plain: Collection[str]) -> str:
    """Return ``attributes`` with lines added so that every path of ``unmatched`` goes to LFS and none of ``plain`` does.

    Three or more paths with an ending that no plain file has get one pattern for it; every other gets its exact name.
    """
    lines = [*_endings(unmatched, plain)]
    covered = set(lines)
    lines += [exact_pattern(path) for path in sorted(unmatched) if f'*{_ending(path)}' not in covered]
    return joined(attributes, [f'{line} {_MARK}' for line in lines])


def joined(text: str, lines: Sequence[str]) -> str:
    """Return ``text`` with ``lines`` after it, each ended; ``text`` as it is when there are none."""
    if not lines:
        return text
    body = text if not text or text.endswith('\n') else text + '\n'
    return body + ''.join(f'{line}\n' for line in lines)


def tracked(attributes: str) -> list[str]:
    """Return the patterns of ``attributes`` that send files to LFS, in order; quoted ones are left out."""
    lines = (line.split() for line in attributes.splitlines())
    return [words[0] for words in lines if 'filter=lfs' in words[1:] and words[0][0] not in '#"!']


def exact_pattern(path: str) -> str:
    """Return the gitattributes pattern that matches ``path`` and nothing else (gitattributes(5), gitignore(5))."""
    pattern = '/' + re.sub(r'([\\*?\[\]])', r'\\\1', path)
    if re.search(r'[\s"\\]', pattern):
        return '"' + pattern.replace('\\', '\\\\').replace('"', '\\"').replace('\t', '\\t') + '"'
    return pattern


def _endings(unmatched: Collection[str], plain: Collection[str]) -> Iterable[str]:
    by_ending: dict[str, int] = defaultdict(int)
    for path in unmatched:
        by_ending[_ending(path)] += 1
    taken = {_ending(path) for path in plain}
    return [
        f'*{ending}'
        for ending, number in sorted(by_ending.items())
        if number >= 3 and ending not in taken and re.fullmatch(r'\.[A-Za-z0-9_-]+', ending)
    ]


def _ending(path: str) -> str:
    return PurePosixPath(path).suffix
