"""What do the commit and the tag of a release say? People read the text, git and ``list-versions`` the trailers.

    feat(model): mcp-finetuned-model v1.1.0

    Changed 1 file:
      model.safetensors (90.9 MB, was 45.5 MB)

    Metrics (against v1.0.0):
      eval_loss 0.25 (-0.05)

    Hfmirror-Version: v1.1.0
    Hfmirror-Files: 12
    Hfmirror-Size: 91262034
    Hfmirror-Metrics: {"eval_loss":0.25}
    Source-Commit: 3f9c1d2…
    Source-Dirty: true
    Experiment: baseline

The trailers are always the last paragraph, and every value is one line, so that no name and no text can add to them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hfmirror.output import count, human_number, human_size

if TYPE_CHECKING:
    from hfmirror.tree import Changes, Entry
    from hfmirror.versions import VersionInfo

_SUBJECT = 72  # characters; longer ones are cut by most views of a history
_NAMES = 20
_SHORTEST_NAME = 12
_DOCS = re.compile(r'(^|/)(readme|license|licence|notice|changelog|citation)[^/]*$|\.md$', re.IGNORECASE)
_CONTROL = re.compile('[\x00-\x1f\x7f-\x9f\ud800-\udfff]')
# What git gives a meaning of its own: a comment, the end of the message in a patch, a signature.
_GIT_LINE = re.compile(r'#|---(\s|$)|-----BEGIN ')
_TRAILER = re.compile(r'([A-Za-z][A-Za-z-]*): *(.*)')


class Notes(NamedTuple):
    """What the messages of a release tell. ``size`` is the bytes of all files, ``text`` the words of a person."""

    repo_type: str
    repo_id: str
    version: str | None
    experiment: str | None
    changes: Changes
    files: int
    size: int
    metrics: dict[str, float]
    previous: VersionInfo | None
    source_commit: str | None
    source_dirty: bool
    text: str | None


class TagFacts(NamedTuple):
    """What a tag says about its release. ``size`` is in bytes, ``message`` one line fit for a terminal."""

    size: int | None
    files: int | None
    metrics: dict[str, float]
    message: str


def commit_message(notes: Notes) -> str:
    """Return the message of the commit, with a line end at its end; the same notes give the same bytes."""
    changes = notes.changes
    paragraphs = [
        *_opening(notes),
        _listed('Added', [_sized(entry) for entry in changes.added]),
        _listed('Changed', [_resized(old, new) for old, new in changes.modified]),
        _listed('Removed', [_sized(entry) for entry in changes.deleted]),
        _metrics(notes),
        _trailers(notes),
    ]
    return '\n\n'.join(filter(None, paragraphs)) + '\n'


def tag_message(notes: Notes) -> str:
    """Return the message of the tag, from which ``read_tag`` reads the facts back."""
    release = f'{count(notes.files, "file")}, {human_size(notes.size)}.'
    paragraphs = [*_opening(notes), release, _metrics(notes), _trailers(notes)]
    return '\n\n'.join(filter(None, paragraphs)) + '\n'


def from_template(template: str, **values: str) -> str:
    """Return ``template`` with its fields in braces filled in, and nothing else of it: ``Upload {item_type}``."""
    filled = re.sub(r'\{(\w+)\}', lambda field: values.get(field[1], field[0]), template)
    return re.sub(' {2,}', ' ', filled).strip()


def _opening(notes: Notes) -> list[str]:
    subject, _, body = _cleaned(notes.text or '').partition('\n')
    return [subject, body.strip('\n')] if subject else [_subject(notes)]


def _cleaned(text: str) -> str:
    """Return the words of a person as git may keep them: no control characters, no line that git acts upon."""
    lines = re.sub(r'\r\n?', '\n', text.removeprefix('\ufeff').strip()).split('\n')
    return re.sub(r'\n{3,}', '\n\n', '\n'.join(_harmless(line) for line in lines)).strip('\n')


def _harmless(line: str) -> str:
    plain = _CONTROL.sub(' ', line.expandtabs(4)).rstrip()
    return f' {plain}' if _GIT_LINE.match(plain) or '--- >8 ---' in plain else plain


def _subject(notes: Notes) -> str:
    name = _one_line(notes.repo_id.rpartition('/')[2])
    start = f'{_type(notes.changes)}({_one_line(notes.repo_type)}): '
    end = f' {_one_line(notes.version)}' if notes.version else ''
    room = max(_SUBJECT - len(start) - len(end), _SHORTEST_NAME)
    return start + (name if len(name) <= room else f'{name[: room - 1]}…') + end


def _type(changes: Changes) -> str:
    paths = [
        entry.path for entry in (*changes.added, *(new for _, new in changes.modified), *changes.deleted)
    ]
    if not paths:
        return 'chore'
    return 'docs' if all(_DOCS.search(path) for path in paths) else 'feat'


def _listed(act: str, lines: Sequence[str]) -> str:
    if not lines:
        return ''
    more = [f'  and {count(len(lines) - _NAMES, "more file")}'] if len(lines) > _NAMES else []
    return '\n'.join([f'{act} {count(len(lines), "file")}:', *lines[:_NAMES], *more])


def _sized(entry: Entry) -> str:
    return f'  {_one_line(entry.path)} ({human_size(entry.size)})'


def _resized(old: Entry, new: Entry) -> str:
    was = '' if old.size == new.size else f', was {human_size(old.size)}'
    return f'  {_one_line(new.path)} ({human_size(new.size)}{was})'


def _metrics(notes: Notes) -> str:
    before = _finite(notes.previous.metrics) if notes.previous else {}
    lines = [
        f'  {_one_line(name)} {human_number(value)}{_delta(value, before.get(name))}'
        for name, value in _known(notes)
    ]
    if not lines:
        return ''
    against = f' (against {_one_line(notes.previous.name)})' if notes.previous and before else ''
    more = [f'  and {count(len(lines) - _NAMES, "more value")}'] if len(lines) > _NAMES else []
    return '\n'.join([f'Metrics{against}:', *lines[:_NAMES], *more])


def _known(notes: Notes) -> list[tuple[str, float]]:
    return sorted(_finite(notes.metrics).items())


def _finite(metrics: Mapping[str, object]) -> dict[str, float]:
    """Return the metrics that are numbers: no NaN, no infinity, nothing a float cannot hold, no true or false."""
    numbers = {}
    for name, value in metrics.items():
        if (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and abs(value) <= 1.7976931348623157e308
        ):
            numbers[name] = float(value)
    return numbers


def _delta(value: float, before: float | None) -> str:
    if before is None or not math.isfinite(value - before):
        return ''
    if value == before:
        return ' (unchanged)'
    return f' ({"+" if value > before else "-"}{human_number(abs(value - before))})'


def _trailers(notes: Notes) -> str:
    metrics = dict(_known(notes))
    values = {
        'Hfmirror-Version': notes.version,
        'Hfmirror-Files': str(notes.files),
        'Hfmirror-Size': str(notes.size),
        'Hfmirror-Metrics': json.dumps(metrics, separators=(',', ':')) if metrics else None,
        'Source-Commit': notes.source_commit,
        'Source-Dirty': 'true' if notes.source_commit and notes.source_dirty else None,
        'Experiment': notes.experiment,
    }
    return '\n'.join(f'{key}: {line}' for key, value in values.items() if (line := _one_line(value or '')))


def _one_line(text: str) -> str:
    """Return ``text`` without blanks around it, everything that does not print as an escape."""
    if text.isprintable():
        return text.strip()
    escaped = (
        character if character.isprintable() else character.encode('unicode_escape').decode()
        for character in text
    )
    return ''.join(escaped).strip()


def read_tag(text: str) -> TagFacts:
    """Return what the message of a tag says, also of one that others made. Never raises."""
    # A signed tag carries its signature at the end of its message.
    message = re.split(r'^-----BEGIN ', text.replace('\r\n', '\n'), maxsplit=1, flags=re.MULTILINE)[0].strip()
    paragraphs = message.split('\n\n')
    trailers = {
        match[1]: match[2] for line in paragraphs[-1].split('\n') if (match := _TRAILER.fullmatch(line))
    }
    return TagFacts(
        size=_number(trailers.get('Hfmirror-Size', '')),
        files=_number(trailers.get('Hfmirror-Files', '')),
        metrics=_read_metrics(trailers.get('Hfmirror-Metrics', '')),
        message=_one_line(message.partition('\n')[0]),
    )


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r'\d{1,18}', text, re.ASCII) else None


def _read_metrics(text: str) -> dict[str, float]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        return {}
    return _finite(found) if isinstance(found, dict) else {}
