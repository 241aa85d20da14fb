"""What does git-fast-import(1) read? One commit as a stream of bytes: its message, and every file that changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple


class Content(NamedTuple):
    """What a file of a commit holds."""

    data: bytes
    executable: bool = False


def commit_stream(
    ref: str, text: str, files: Mapping[str, Content | None], *, parent: str | None, names: Sequence[str]
) -> bytes:
    """Return the stream of one commit that ``ref`` will name; ``files`` is {path: content, or None to remove it}.

    ``names`` are author and committer as git writes them, with their time. What is removed comes first, so that a folder
    can become a file.
    """
    author, committer = (name.encode('utf-8', 'surrogateescape') for name in names)
    message = text.encode('utf-8', 'surrogateescape')
    parts = [b'commit %s\nauthor %s\ncommitter %s\n' % (ref.encode(), author, committer), _data(message)]
    if parent is not None:
        parts.append(b'from %s\n' % parent.encode())
    parts += [b'D %s\n' % _quoted(path) for path, content in files.items() if content is None]
    for path, content in files.items():
        if content is not None:
            mode = b'100755' if content.executable else b'100644'
            parts += [b'M %s inline %s\n' % (mode, _quoted(path)), _data(content.data)]
    return b''.join([*parts, b'done\n'])


def _data(content: bytes) -> bytes:
    return b'data %d\n%s\n' % (len(content), content)


def _quoted(path: str) -> bytes:
    raw = path.encode('utf-8', 'surrogateescape')
    return b'"' + raw.replace(b'\\', b'\\\\').replace(b'"', b'\\"').replace(b'\n', b'\\n') + b'"'
