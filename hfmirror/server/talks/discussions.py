"""What do people say about a repository? Discussions and pull requests, ``<repository>/discussions/<number>.json``::

    {"title": "Typo", "author": "ada", "createdAt": "…", "status": "open", "base": "refs/heads/main",
     "events": [{"id": "…", "type": "comment", "createdAt": "…", "author": "ada", "data": {"raw": "…"}}]}

One with a ``base`` is a pull request: its commits are at ``refs/pr/<number>``. The first event is the description.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from hfmirror import durable
from hfmirror.server.answers import Problem, bad_request, forbidden, no_revision
from hfmirror.server.git.served import git
from hfmirror.server.git.writing import move_ref
from hfmirror.server.hub import Hub
from hfmirror.server.repos.repositories import Repo

TITLE_MAX = 200  # characters, as the Hub has it
TEXT_MAX = 65_536  # characters of a description or comment
_RECORD_MAX = 8 * 1024 * 1024  # bytes of a discussion with all that was said


class Event(NamedTuple):
    """Something that happened in a discussion. ``data`` is what the file has, by ``kind``:

    comment {raw, hidden?, history?}, status-change {status}, title-change {from, to}.
    """

    id: str
    kind: str
    created_at: str
    author: str
    data: Mapping[str, Any]


class Merge(NamedTuple):
    """The merge of a pull request: the base's new ``commit``, the base before, and the head that was merged."""

    commit: str
    base: str
    head: str


class Discussion(NamedTuple):
    """A discussion, or with ``base``, a full ref name, a pull request.

    A ``merge`` of one that is not ``merged`` was begun: it is done when its commit is in the base.
    """

    number: int
    title: str
    author: str
    created_at: str
    status: str
    base: str | None = None
    merge: Merge | None = None
    events: Sequence[Event] = ()

    @property
    def is_pull_request(self) -> bool:
        return self.base is not None

    @property
    def is_open(self) -> bool:
        return self.status in ('draft', 'open')

    @property
    def ref(self) -> str:
        """Where the commits of a pull request are."""
        return f'refs/pr/{self.number}'

    def with_event(self, event: Event) -> Discussion:
        """Return the discussion with one event more."""
        return self._replace(events=(*self.events, event))


def open_pull_request(
    hub: Hub, repo: Repo, *, author: str, title: str, description: str, base: str, status: str = 'open'
) -> int:
    """Open a pull request into the branch ``base`` and return its number; ``refs/pr/<number>`` is at the base's head.

    Raises Problem 403 when the repository wants no discussions, 404 when there is no such branch.
    """
    _refuse_closed_house(repo)
    ref = base if base.startswith('refs/') else f'refs/heads/{base}'
    head = hub.bare(repo).head(ref) if ref.startswith('refs/heads/') else None
    if head is None:
        raise no_revision(base)
    with changing(repo):
        opened = _opened(repo, author=author, title=title, text=description, status=status)
        # The ref first: a kill now leaves a ref whose number is not used again.
        move_ref(repo.path, opened.ref, old=None, new=head)
        save(repo, opened._replace(base=ref))
    return opened.number


def open_discussion(repo: Repo, *, author: str, title: str, description: str) -> int:
    """Open a discussion and return its number. Raises Problem 403 when the repository wants none."""
    _refuse_closed_house(repo)
    with changing(repo):
        opened = _opened(repo, author=author, title=title, text=description, status='open')
        save(repo, opened)
    return opened.number


def find(repo: Repo, number: int) -> Discussion:
    """Return a discussion. Raises Problem 404 when there is none of that number."""
    found = _read(_file(repo, number))
    if found is None:
        raise Problem(404, f'There is no discussion or pull request {number}')
    return found


def every(repo: Repo) -> Iterator[Discussion]:
    """Yield all discussions and pull requests, newest first."""
    for number in reversed(_numbers(repo)):
        found = _read(_file(repo, number))
        if found is not None:
            yield found


@contextmanager
def changing(repo: Repo) -> Iterator[None]:
    """Let nobody else change the discussions of a repository."""
    folder = repo.path / 'discussions'
    folder.mkdir(exist_ok=True)
    with FileLock(folder / '.lock'):
        yield


def save(repo: Repo, discussion: Discussion) -> None:
    """Write a discussion, inside ``changing``. Raises Problem 413 when too much was said in it."""
    record = {
        'title': discussion.title,
        'author': discussion.author,
        'createdAt': discussion.created_at,
        'status': discussion.status,
        'base': discussion.base,
        'merge': discussion.merge and discussion.merge._asdict(),
        'events': [
            {
                'id': event.id,
                'type': event.kind,
                'createdAt': event.created_at,
                'author': event.author,
                'data': event.data,
            }
            for event in discussion.events
        ],
    }
    content = json.dumps({key: value for key, value in record.items() if value is not None}).encode()
    if len(content) > _RECORD_MAX:
        raise Problem(413, f'Discussion {discussion.number} is full: open another one')
    durable.write(_file(repo, discussion.number), content)


def new_event(kind: str, author: str, data: Mapping[str, Any]) -> Event:
    """Return something that happens now."""
    return Event(secrets.token_hex(12), kind, moment(datetime.now(UTC)), author, data)


def is_number(name: str) -> bool:
    """Return whether a word of an address or a file's name is the number of a discussion."""
    return re.fullmatch('[1-9][0-9]{0,8}', name) is not None


def moment(when: datetime) -> str:
    """Return a time as the Hub writes it."""
    return f'{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z'


def checked_title(title: str) -> str:
    """Return a title without spaces at its ends. Raises Problem 400 for one too short, too long, or of two lines."""
    clean = title.strip()
    if not 3 <= len(clean) <= TITLE_MAX or not clean.isprintable():
        raise bad_request(f'A title has 3 to {TITLE_MAX} characters, in one line.')
    return clean


def checked_text(text: str) -> str:
    """Return a description or comment. Raises Problem 400 for one that is empty or too long."""
    if not text.strip():
        raise bad_request('A comment cannot be empty.')
    if len(text) > TEXT_MAX:
        raise bad_request(f'A comment has at most {TEXT_MAX} characters.')
    return text


def _refuse_closed_house(repo: Repo) -> None:
    if repo.settings().get('discussionsDisabled'):
        raise forbidden(f'Discussions and pull requests are disabled for {repo.repo_id}')


def _opened(repo: Repo, *, author: str, title: str, text: str, status: str) -> Discussion:
    event = new_event('comment', author, {'raw': text[:TEXT_MAX]})
    short = ' '.join(title.split())[:TITLE_MAX]
    number = _next_number(repo)
    return Discussion(number, short, author, event.created_at, status, events=(event,))


def _next_number(repo: Repo) -> int:
    number = max([0, *_numbers(repo)]) + 1
    # A ref can be there without its discussion: pushed, whatever it leads to, or left by a kill.
    names = git('for-each-ref', '--format=%(refname:strip=2)', 'refs/pr', cwd=repo.path).split()
    taken = {name.partition('/')[0] for name in names}
    while str(number) in taken:
        number += 1
    return number


def _numbers(repo: Repo) -> list[int]:
    try:
        names = [path.stem for path in (repo.path / 'discussions').iterdir() if path.suffix == '.json']
    except FileNotFoundError:
        return []
    return sorted(int(name) for name in names if is_number(name))


def _file(repo: Repo, number: int) -> Path:
    return repo.path / 'discussions' / f'{number}.json'


def _read(path: Path) -> Discussion | None:
    """Return the discussion of a file, None when there is none or it is none of ours."""
    try:
        record = json.loads(path.read_bytes())
        events = tuple(
            Event(one['id'], one['type'], one['createdAt'], one['author'], one['data'])
            for one in record['events']
        )
        merge = Merge(**record['merge']) if 'merge' in record else None
        return Discussion(
            int(path.stem),
            record['title'],
            record['author'],
            record['createdAt'],
            record['status'],
            record.get('base'),
            merge,
            events,
        )
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
