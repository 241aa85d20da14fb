"""What must a commit satisfy to be taken in? Asked of a push by git's pre-receive hook, which runs this module, and of a
commit over REST before it is made.

    python -m hfmirror.server.git.checks push PLAIN_MAX REPO_TYPE  < git's lines `old new ref`
    python -m hfmirror.server.git.checks card REPO_TYPE            < README.md

Of a push every object is looked at that no ref leads to yet, in old commits too: what is in a history once is sent to all
who clone it. Nothing is held in memory but one file at a time.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from hfmirror import errors, lfs, output
from hfmirror.server.git.objects import COMMIT_MAX, TREE_MAX
from hfmirror.server.git.refusals import (
    SHOWN,
    Offender,
    binary_text,
    huge_text,
    large_text,
    listed,
    metadata_text,
    missing_text,
)
from hfmirror.store import ObjectStore

if TYPE_CHECKING:
    from hfmirror.card.lint import Problem

CARD_MAX = 10 * 1024 * 1024  # bytes of a README.md; of a longer one the front matter is not read
_SIMPLE_YAML = 64 * 1024  # bytes; read in the time of a request, half a second
_CARD_S, _CARD_BYTES = 30, 1024**3  # what the reader of any other YAML may use
_LISTED, _MISREAD = 1000, 10  # offenders, and errors of cards, after which the search ends
_WINDOW = 200  # objects asked for before they are read: no pipe is ever full
_NONE = re.compile('0+')  # the id of no object: the ref is made, or deleted
_REFS = re.compile(r'refs/(?:heads|tags)/(?!refs/|HEAD$|[0-9a-f]{40}$).+|refs/pr/[1-9][0-9]{0,8}')
# What the refs of before lead to was checked when it came.
_WALK = ('rev-list', '--objects', '--stdin', '--not', '--all')
_MOST = {'commit': COMMIT_MAX, 'tag': COMMIT_MAX, 'tree': TREE_MAX}
_FACTS = '%(objectname) %(objecttype) %(objectsize) %(rest)'


class CardReport(NamedTuple):
    """What is wrong with a card's metadata: ``errors``, for which the Hub refuses it, and ``warnings``; sentences."""

    errors: list[str]
    warnings: list[str]


class Update(NamedTuple):
    """A ref that a push moves, as git tells it; an id of zeros stands for none."""

    old: str
    new: str
    ref: str

    @property
    def deletes(self) -> bool:
        return _NONE.fullmatch(self.new) is not None


class _Object(NamedTuple):
    oid: str
    kind: str
    size: int
    path: str

    @property
    def is_file(self) -> bool:
        return self.kind == 'blob'

    @property
    def is_huge(self) -> bool:
        return self.size > _MOST.get(self.kind, self.size)


class _Faults(NamedTuple):
    """What a push has that it must not have."""

    huge: list[_Object]
    large: list[_Object]
    binary: list[_Object]
    missing: list[_Object]
    cards: list[str]

    @property
    def are_many(self) -> bool:
        found = len(self.huge) + len(self.large) + len(self.binary) + len(self.missing)
        return found >= _LISTED or len(self.cards) >= _MISREAD


def plain_fault(path: str, content: bytes, plain_max: int) -> str | None:
    """Return why a file must go to LFS: it is ``large`` or ``binary``; None when it may stay a plain file."""
    if len(content) > plain_max:
        return 'large'
    return None if lfs.is_text(content) else 'binary'


def card_report(content: bytes, repo_type: str) -> CardReport:
    """Return what is wrong with the metadata of a README.md, in bounded time and memory."""
    from hfmirror.readme import frontmatter

    # The body says nothing, and may be long.
    text = content.decode('utf-8', 'replace') if len(content) <= CARD_MAX else ''
    opening, yaml, closing, _ = frontmatter.split(text)
    if not yaml.strip():
        return CardReport([], ['empty or missing yaml metadata in repo card'])
    # A key << or a tag can multiply what is there, a million times in a hundred bytes.
    if len(yaml) <= _SIMPLE_YAML and '<<' not in yaml and '!' not in yaml:
        return _read_card(opening + yaml + closing, repo_type)
    return _read_card_elsewhere(opening + yaml + closing, repo_type)


def _read_card(text: str, repo_type: str) -> CardReport:
    from hfmirror.card import lint
    from hfmirror.readme import frontmatter

    problems = lint.lint(text, repo_type=repo_type)
    faults = [_sentence(problem) for problem in problems if problem.severity == 'error']
    broken = any(problem.severity == 'error' and problem.key is None for problem in problems)
    unknown = [] if broken else _unknown_licences(frontmatter.parse(frontmatter.split(text).yaml))
    # The Hub is silent about what is not said at all, and about keys that it does not read, of which each card by TRL has
    # two; a client shows each warning.
    warnings = [
        _sentence(problem)
        for problem in problems
        if problem.severity == 'warning'
        and not problem.message.startswith(('is missing.', 'is no key that the Hub reads'))
        and not (unknown and (problem.key or '').partition('[')[0] == 'license')
    ]
    return CardReport(unknown + faults, warnings)


def _sentence(problem: Problem) -> str:
    where = f'line {problem.line}:' if problem.key is None else f'"{problem.key}"'
    return f'{where} {problem.message}'


def _unknown_licences(values: Mapping[Any, Any]) -> list[str]:
    """Return the Hub's sentence about a licence that it does not know; hfmirror itself only warns of one."""
    from hfmirror.facts import vocabulary

    given, known = values.get('license'), vocabulary.words('licenses')
    asked = given if isinstance(given, list) else [given]
    if all(one in known for one in asked if isinstance(one, str)):
        return []
    return [f'"license" must be one of [{", ".join(known)}]']


def _read_card_elsewhere(text: str, repo_type: str) -> CardReport:
    """Return the report of a process that is ended when it takes too long or too much memory."""
    command = [sys.executable, '-P', '-m', 'hfmirror.server.git.checks', 'card', repo_type]
    try:
        done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_CARD_S, check=True)
        return CardReport(**json.loads(done.stdout))
    except (subprocess.SubprocessError, ValueError):
        return CardReport(['the metadata is too large or too intricate to be read'], [])


def push_faults(updates: Sequence[Update], *, plain_max: int, repo_type: str) -> Iterator[str]:
    """Yield each message that refuses a push to the repository of this directory; for a hook, in git's environment of one.

    Raises GitError when git cannot read what came.
    """
    refused = [fault for update in updates if (fault := ref_fault(update)) is not None]
    if refused:
        yield '\n'.join(listed(refused))
        return
    made = [update for update in updates if not update.deletes]
    faults = _faults(made, plain_max, repo_type)
    refs = _refs_of(made, [*faults.huge[:SHOWN], *faults.large[:SHOWN], *faults.binary[:SHOWN]])
    if faults.huge:
        yield huge_text([Offender(f'{one.kind} {one.oid}', refs.get(one.oid, '')) for one in faults.huge])
    if faults.large:
        yield large_text(_offenders(faults.large, refs), plain_max)
    if faults.binary:
        yield binary_text(_offenders(faults.binary, refs))
    if faults.missing:
        yield missing_text([blob.path for blob in faults.missing])
    if faults.cards:
        yield metadata_text(faults.cards)


def ref_fault(update: Update) -> str | None:
    """Return why a ref must not be pushed so, None when it may."""
    if not _REFS.fullmatch(update.ref):
        return f'{update.ref}: only branches, tags and pull requests (refs/pr/<number>) can be pushed.'
    if update.deletes and update.ref == 'refs/heads/main':
        return 'Cannot delete refs/heads/main branch'
    return None


def _faults(made: Sequence[Update], plain_max: int, repo_type: str) -> _Faults:
    """Look at each new object once."""
    faults = _Faults([], [], [], [], [])
    if not made:
        return faults
    store, cards = ObjectStore(Path.cwd() / 'lfs'), _cards(made)
    for blob, content in _new_objects([update.new for update in made], plain_max):
        pointer = lfs.parse_pointer(content) if content is not None else None
        if not blob.is_file:
            faults.huge.append(blob)
        elif content is None:
            faults.large.append(blob)
        elif plain_fault(blob.path, content, plain_max) == 'binary':
            faults.binary.append(blob)
        elif pointer is not None and not store.has(pointer.oid, pointer.size):
            faults.missing.append(blob)
        elif blob.oid in cards:
            faults.cards.extend(card_report(content, repo_type).errors)
        if faults.are_many:
            break
    return faults


def _cards(made: Sequence[Update]) -> set[str]:
    """Return the blobs that are the cards of branches and pull requests; a tag shows no card of its own."""
    names = [f'{update.new}:README.md' for update in made if not update.ref.startswith('refs/tags/')]
    with _git('cat-file', '--buffer', '--batch-check=%(objectname) %(objecttype)') as process:
        answer, _ = process.communicate('\n'.join([*names, '']).encode())
    return {
        line.split()[0] for line in answer.decode('utf-8', 'replace').splitlines() if line.endswith(' blob')
    }


def _new_objects(tips: Sequence[str], most: int) -> Iterator[tuple[_Object, bytes | None]]:
    """Yield each file that no ref leads to yet, with its content, or with None when it is larger than ``most`` bytes.

    Yield, too, each commit, tag and folder that is huge.
    """
    with ExitStack() as stack:
        walk = stack.enter_context(_git(*_WALK))
        sizes = stack.enter_context(
            _git('cat-file', '--buffer', f'--batch-check={_FACTS}', stdin=walk.stdout)
        )
        contents = stack.enter_context(_git('cat-file', '--batch'))
        _tell(walk, tips)
        found = (_object(line) for line in _pipe(sizes.stdout))
        looked_at = (one for one in found if one.is_file or one.is_huge)
        while window := list(islice(looked_at, _WINDOW)):
            small = [one for one in window if one.is_file and one.size <= most]
            _pipe(contents.stdin).write(''.join(f'{one.oid}\n' for one in small).encode())
            _pipe(contents.stdin).flush()
            for one in window:
                is_read = one.is_file and one.size <= most
                yield one, _content(_pipe(contents.stdout), one) if is_read else None
        if walk.wait() or sizes.wait():
            raise errors.GitError('git cannot read the history that was sent.')


def _object(line: bytes) -> _Object:
    oid, kind, rest = line.decode('utf-8', 'surrogateescape').rstrip('\n').split(' ', 2)
    size, _, path = rest.partition(' ')
    return _Object(oid, kind, int(size), path)


def _content(stream: IO[bytes], blob: _Object) -> bytes:
    header = stream.readline()
    content = stream.read(blob.size + 1)
    if header.split() != [blob.oid.encode(), b'blob', b'%d' % blob.size] or len(content) != blob.size + 1:
        raise errors.GitError(f'git cannot read {blob.oid}.')
    return content[:-1]


def _refs_of(made: Sequence[Update], objects: Sequence[_Object]) -> dict[str, str]:
    """Return {object: the first of the refs that leads to it}."""
    found: dict[str, str] = {}
    for update in made:
        left = {one.oid for one in objects} - found.keys()
        if len(made) == 1 or not left:
            return {**found, **dict.fromkeys(left, update.ref)}
        with _git(*_WALK) as walk:
            _tell(walk, [update.new])
            oids = (line.split()[0].decode() for line in _pipe(walk.stdout))
            found.update((oid, update.ref) for oid in oids if oid in left)
    return found


def _offenders(blobs: Sequence[_Object], refs: Mapping[str, str]) -> list[Offender]:
    return [Offender(blob.path, refs.get(blob.oid, '')) for blob in blobs]


@contextmanager
def _git(*args: str, stdin: IO[bytes] | int | None = subprocess.PIPE) -> Iterator[subprocess.Popen[bytes]]:
    """Run git as a child of git's hook: with the environment it gave us, in which the new objects are to be seen."""
    with subprocess.Popen(
        ['git', *args], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def _tell(walk: subprocess.Popen[bytes], tips: Sequence[str]) -> None:
    with _pipe(walk.stdin) as stdin:
        stdin.write('\n'.join([*tips, '']).encode())


def _pipe(stream: IO[bytes] | None) -> IO[bytes]:
    assert stream is not None
    return stream


def main(task: str, *rest: str) -> int:
    """Do one of the two tasks; the exit code 0 takes the push in."""
    # What we did not think of refuses the push, and shows nothing of this machine to who sent it.
    sys.excepthook = lambda kind, *_: output.say(f'The push could not be checked ({kind.__name__}).')
    if task == 'card':
        return _card_process(*rest)
    plain_max, repo_type = rest
    updates = [Update(*line.decode('utf-8', 'replace').split()) for line in sys.stdin.buffer]
    texts = list(push_faults(updates, plain_max=int(plain_max), repo_type=repo_type))
    for line in '\n'.join(texts).splitlines():
        output.say(line)
    return 1 if texts else 0


def _card_process(repo_type: str) -> int:
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_CARD_BYTES, _CARD_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (_CARD_S, _CARD_S))
    report = _read_card(sys.stdin.buffer.read().decode(), repo_type)
    output.data(json.dumps(report._asdict()))
    return 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
