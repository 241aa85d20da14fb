"""Versions: which tags can be ordered, what the next one is called, and which names a tag may have.

| kind         | name                                | order                                  |
|--------------|-------------------------------------|----------------------------------------|
| semantic     | ``v1.2.3``, ``v2.0.0-rc.1+build.5`` | SemVer                                 |
| timestamp    | ``v20240101-120000``                | the moment it names                    |
| experiment   | ``exp-baseline-001``                | name of the experiment, then number    |
| checkpoint   | ``step-500``, ``epoch-3``,          | the step, then the number of the run   |
|              | ``long-run-step-100.2``             | that got to it once more, then name    |

Every other tag is left alone: it is listed by its date and never taken for a version.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal, NamedTuple

from hfmirror.errors import ConfigError, ConflictError, UsageError

if TYPE_CHECKING:
    from semver import Version as SemVer

Kind = Literal['semantic', 'timestamp', 'experiment', 'checkpoint']
Level = Literal['major', 'minor', 'patch']

KINDS: tuple[Kind, ...] = ('semantic', 'timestamp', 'experiment', 'checkpoint')

# How one identifier compares: a number, then a word, then (rank 2) the end of a release without pre-release.
_Part = tuple[int, int, str]
# kind, numbers, identifiers, name: every kind fills the same shape, so that any two versions compare.
_Order = tuple[int, tuple[int, ...], tuple[_Part, ...], str]

_RELEASE: _Part = (2, 0, '')
_TIMESTAMP = re.compile(
    r'\D*(\d{4})[-_.]?(\d\d)[-_.]?(\d\d)(?:[-_.T]?(\d\d)[-_.]?(\d\d)(?:[-_.]?(\d\d))?)?Z?', re.ASCII
)
_EXPERIMENT = re.compile(r'exp-(.+)-(\d{3,18})', re.ASCII)
_CHECKPOINT = re.compile(
    r'((?:[^\s/]+[-_.])?(?:step|epoch|iter|checkpoint|global_step))[-_]?(\d{1,18})(?:\.(\d{1,18}))?', re.ASCII
)
_LONGEST = 240  # bytes of one part of a name: git keeps it in a file, and needs room for '.lock'


class VersionInfo(NamedTuple):
    """One release as a remote tells it. ``size`` is in bytes; what the tag does not say is None or empty."""

    name: str
    kind: str
    commit: str
    date: datetime
    size: int | None
    files: int | None
    metrics: dict[str, float]
    message: str


class Version(NamedTuple):
    """A tag hfmirror can order: compare ``order``, a total order over all kinds."""

    kind: Kind
    name: str
    order: _Order


def parse(name: str, *, prefix: str = 'v') -> Version | None:
    """Return the version that the tag ``name`` stands for, None for any other tag.

    ``prefix`` is the one of the configuration; ``v1.2.3`` and ``1.2.3`` are semantic with any prefix.
    """
    if len(name) > 255:
        return None
    # Before timestamps: step-20240101 is a step.
    return _experiment(name) or _semantic(name, prefix) or _checkpoint(name) or _timestamp(name)


def _semantic(name: str, prefix: str) -> Version | None:
    found = _semver(name, prefix)
    if found is None:
        return None
    numbers = (found.major, found.minor, found.patch)
    return Version('semantic', name, (2, numbers, _identifiers(found.prerelease), name))


def _semver(name: str, prefix: str) -> SemVer | None:
    from semver import Version as SemVer

    for start in dict.fromkeys((prefix, 'v', '')):
        if name.startswith(start) and name[len(start) : len(start) + 1].isdigit():
            with suppress(ValueError):
                return SemVer.parse(name.removeprefix(start))
    return None


def _identifiers(prerelease: str | None) -> tuple[_Part, ...]:
    if prerelease is None:
        return (_RELEASE,)
    return tuple((0, int(part), '') if part.isdigit() else (1, 0, part) for part in prerelease.split('.'))


def _timestamp(name: str) -> Version | None:
    match = _TIMESTAMP.fullmatch(name)
    if match is None:
        return None
    numbers = tuple(int(group or 0) for group in match.groups())
    year, month, day, hour, minute, second = numbers
    try:
        datetime(year, month, day, hour, minute, second)
    except ValueError:
        return None
    return Version('timestamp', name, (1, numbers, (), name))


def _experiment(name: str) -> Version | None:
    match = _EXPERIMENT.fullmatch(name)
    if match is None:
        return None
    return Version('experiment', name, (0, (), ((1, 0, match[1]), (0, int(match[2]), '')), name))


def _checkpoint(name: str) -> Version | None:
    match = _CHECKPOINT.fullmatch(name)
    if match is None:
        return None
    return Version('checkpoint', name, (-1, (int(match[2]), int(match[3] or 0)), ((1, 0, match[1]),), name))


def newest_first(infos: Iterable[VersionInfo], *, prefix: str = 'v') -> list[VersionInfo]:
    """Return ``infos`` by date, newest first; what was tagged in the same second by version, highest first.

    Tags that are no version come after the versions of their second, by name.
    """

    def key(info: VersionInfo) -> tuple[int, _Order]:
        version = parse(info.name, prefix=prefix)
        order = (-2, (), (), info.name) if version is None else version.order
        return int(info.date.timestamp()), order

    return sorted(infos, key=key, reverse=True)


def latest(names: Iterable[str], *, prefix: str = 'v') -> str | None:
    """Return the name that ``latest`` stands for, None when there is no version among ``names``.

    1. The highest semantic version that is no pre-release
    2. The highest pre-release
    3. The newest timestamp
    4. The last experiment, by name and number
    5. The checkpoint with the highest step
    """
    versions = _parsed(names, prefix)
    releases = [version for version in versions if version.kind == 'semantic' and not _is_prerelease(version)]
    newest = max(releases or versions, key=lambda version: version.order, default=None)
    return newest.name if newest else None


def _parsed(names: Iterable[str], prefix: str) -> list[Version]:
    return [version for name in names if (version := parse(name, prefix=prefix))]


def _is_prerelease(version: Version) -> bool:
    return version.order[2] != (_RELEASE,)


def next_semantic(names: Iterable[str], level: Level, *, prefix: str = 'v') -> str:
    """Return the version after the highest semantic one of ``names``; after none v1.0.0, v0.1.0 or v0.0.1.

    A pre-release is finished when ``level`` leads to it: minor makes 1.2.0-rc.1 into 1.2.0, major into 2.0.0.
    """
    from semver import Version as SemVer

    semantic = [version for version in _parsed(names, prefix) if version.kind == 'semantic']
    highest = max(semantic, key=lambda version: version.order, default=None)
    found = _semver(highest.name, prefix) if highest else None
    return prefix + str((found or SemVer(0, 0, 0)).next_version(level))


def semantic_prefix(template: str) -> str:
    """Return what stands before the numbers in a template such as ``v{major}.{minor}.{patch}``.

    Raises ConfigError for a template whose names could not be ordered by SemVer.
    """
    prefix, found, rest = template.partition('{major}.{minor}.{patch}')
    if not found or rest or set(prefix) & set('{}') or _problem(f'{prefix}1.0.0'):
        raise ConfigError(
            f'{_shown(template)}: not a format for semantic versions. '
            'Use a prefix and then {major}.{minor}.{patch}, such as v{major}.{minor}.{patch}.'
        )
    return prefix


def timestamp(now: datetime, names: Iterable[str] = (), *, template: str = 'v{timestamp}') -> str:
    """Return the version of the moment ``now`` (``v20240101-120000``), of the next free second when it is taken.

    ``template`` may use {timestamp} (20240101-120000), {year}, {month}, {day}, {hour}, {minute} and {second},
    each with a width such as ``{month:02d}``. Raises ConfigError for anything else.
    """
    taken = set(names)
    for name in _moments(now, template):
        if name not in taken:
            return name
    raise ConflictError(
        f'{_shown(template)}: every version of the hour after {now:%Y-%m-%d %H:%M:%S} is taken. '
        'Give the format {second}, or the release a name with --tag.'
    )


def _moments(now: datetime, template: str) -> Iterator[str]:
    parts = _template_parts(template)
    for seconds in range(3600):
        moment = now + timedelta(seconds=seconds)
        name = ''.join(_filled(field, moment) if is_field else field for field, is_field in parts)
        if problem := _problem(name):
            raise ConfigError(f'{_shown(template)}: makes the tag {_shown(name)}, which {problem}.')
        yield name


def _template_parts(template: str) -> list[tuple[str, bool]]:
    """Return (text, False) and (field:width, True) in the order of the template. Nothing of it is evaluated."""
    try:
        pieces = list(string.Formatter().parse(template))
    except ValueError as e:
        raise ConfigError(f'{_shown(template)}: not a format for a version: {e}.') from e
    parts = []
    for text, field, width, conversion in pieces:
        parts.append((text, False))
        if field is None:
            continue
        if field not in _FIELDS or conversion or not re.fullmatch(r'(0?\dd?)?', width or '', re.ASCII):
            raise ConfigError(
                f'{_shown(template)}: {{{_shown(field)}}} is not known in a format for a version. '
                f'Use {", ".join(f"{{{name}}}" for name in _FIELDS)}, each with a width such as {{month:02d}}.'
            )
        parts.append((f'{field}:{width or ""}', True))
    return parts


_FIELDS = ('timestamp', 'year', 'month', 'day', 'hour', 'minute', 'second')


def _filled(part: str, moment: datetime) -> str:
    field, _, width = part.partition(':')
    if field == 'timestamp':
        return f'{moment:%Y%m%d-%H%M%S}'
    return format(getattr(moment, field), width)


def next_experiment(names: Iterable[str], name: str) -> str:
    """Return the next version of the experiment ``name``: ``exp-baseline-001``, then ``-002``, beyond 999 too."""
    slug = _slug(name)
    numbers = [int(match[2]) for tag in names if (match := _EXPERIMENT.fullmatch(tag)) and match[1] == slug]
    return f'exp-{slug}-{max(numbers, default=0) + 1:03d}'


def _slug(name: str) -> str:
    plain = unicodedata.normalize('NFKD', name).encode('ascii', 'ignore').decode().lower()
    slug = re.sub(r'[^a-z0-9]+', '-', plain)[:100].strip('-')
    if not slug:
        raise UsageError(
            f'{_shown(name)}: no name for an experiment. Use Latin letters or digits, such as baseline-2.'
        )
    return slug


def check_name(name: str) -> None:
    """Return when ``name`` may be a tag of a release.

    Raises UsageError when git's rules for refs forbid it, or when git or hfmirror would take it for something else.
    """
    problem = _problem(name)
    if problem is None:
        return
    suggestion = _mended(name)
    example = 'v1.0.0' if _problem(suggestion) else suggestion
    raise UsageError(f'{_shown(name)}: no name for a version: it {problem}. Use a name such as {example}.')


def _problem(name: str) -> str | None:
    """Return what is wrong with ``name`` as the end of a sentence, None when nothing is."""
    return next((problem for is_wrong, problem in _rules(name) if is_wrong), None)


def _rules(name: str) -> Iterator[tuple[bool, str]]:
    """Yield each rule of ``git check-ref-format``, then ours, with whether ``name`` breaks it."""
    parts = name.split('/')
    forbidden = next((character for character in name if character in ' ~^:?*[\\'), '')
    yield not name, 'is empty'
    yield ' ' in name, 'has a blank'
    yield bool(forbidden), f'has the character {forbidden}, which git forbids'
    yield not name.isprintable(), 'has a character that cannot be printed'
    yield '' in parts, 'begins or ends with / or has two in a row'
    yield any(part.startswith('.') for part in parts), 'has a part that begins with a dot'
    yield any(part.endswith('.lock') for part in parts), 'has a part that ends with .lock'
    yield '..' in name, 'has two dots in a row'
    yield name.endswith('.'), 'ends with a dot'
    yield '@{' in name, 'has @{, which git forbids'
    yield name == '@', 'is @, which is the current commit to git'
    yield name.startswith('-'), 'begins with -, like an option'
    yield any(len(part.encode('utf-8', 'replace')) > _LONGEST for part in parts), 'is too long'
    yield re.fullmatch(r'[0-9a-fA-F]{40}|[0-9a-fA-F]{64}', name) is not None, 'looks like the id of a commit'
    yield re.fullmatch(r'HEAD|[A-Z_]+_HEAD', name) is not None, "is one of git's own names"
    yield name.startswith('refs/'), 'begins with refs/, like the full name of a ref'
    yield name == 'latest', 'stands for the newest version'


def _mended(name: str) -> str:
    """Return ``name`` with every run of what git forbids as one hyphen."""
    mended = re.sub(r'@\{|\.\.+|[^\w.@{}/+,=!#$%&()\'";<>|`-]+|//+', '-', name)
    return re.sub(r'-+', '-', mended).strip('-./').removesuffix('.lock')


def _shown(text: str) -> str:
    """Return ``text`` for a message: cut when long, in quotes and escaped where it is not plain."""
    cut = text if len(text) <= 80 else f'{text[:79]}…'
    return cut if cut.isprintable() and cut.strip() == cut != '' else ascii(cut)
