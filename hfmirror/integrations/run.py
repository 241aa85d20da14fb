"""How does a loop of one's own release what it saves?

::

    with hfmirror.training_run('me/model', folder='out') as run:
        for step, batch in enumerate(data, 1):
            run.log({'loss': train(batch)}, step=step)
            if step % 500 == 0:
                save(model, 'out')
                run.checkpoint(step)

What is logged is in ``training_log.jsonl`` of the folder, one line for each call, and goes into the releases with it; a run in
a folder that has one goes on with it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from hfmirror import errors, finished, gitcmd, output
from hfmirror.card import markdown
from hfmirror.integrations import curve
from hfmirror.integrations.releases import Releases
from hfmirror.integrations.terms import Terms
from hfmirror.spool import Part, Result

LOG = 'training_log.jsonl'

_RESULTS = 'eval_results.json'
_TOLD = (_RESULTS, 'all_results.json', 'trainer_state.json')  # what a folder tells its metrics in
_STEP_MAX = 10**18
_LINE_MAX = 64 * 1024  # characters of one call of log


def training_run(repo_id: str | None = None, *, folder: str | Path = 'out', **terms: Any) -> TrainingRun:
    """Return the run of a training that writes to ``folder``, to be used with ``with``; ``terms`` are those of ``Terms``.

    Raises UsageError and ConfigError for what cannot be meant.
    """
    return TrainingRun(Path(folder).absolute(), Terms(repo_id, **terms))


class TrainingRun:
    """One training. Its end releases the folder as a version, with the curve of what was logged; see ``checkpoint``.

    An exception in the ``with`` block is passed on: what was handed over until then is released all the same, and what the
    folder holds since, when it is whole, under the tag of its step and with the exception in its card.
    """

    def __init__(self, folder: Path, terms: Terms) -> None:
        self.folder, self.terms = folder, terms
        self.step = 0  # the last one that was logged
        self._epoch: float | None = None
        self._values: dict[str, float] = {}  # the last ones of what was measured
        self._log: IO[str] | None = None
        self._taken: int | None = None  # the step of the last checkpoint
        self._releases: Releases | None = None

    @property
    def results(self) -> list[Result]:
        """What came of the releases so far, oldest first; after the ``with`` block of all of them."""
        return self._releases.results if self._releases else []

    @property
    def is_under_way(self) -> bool:
        return self._log is not None

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        else:
            self.fail(error)

    def begin(self) -> None:
        """Take up the log of the folder, and send what waits from an earlier run."""
        self._releases = Releases(strict=self.terms.strict, token=self.terms.given_token(self.folder))
        self._releases.begin(self.folder)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            history = _read(self.folder / LOG)
            self._log = _opened(self.folder / LOG)
        except OSError as e:
            raise errors.HfmirrorError(
                f'{self.folder}: cannot be written: {e.strerror or e}. Name a folder that the training may write to.'
            ) from e
        if history:
            self.step, self._epoch = history[-1]['step'], curve.number(history[-1].get('epoch'))
            self._values = curve.last_values(history)

    def log(self, values: Mapping[str, Any], step: int | None = None, epoch: float | None = None) -> None:
        """Keep numbers that were measured at ``step``, by default the one after the last. What is no number is not kept.

        Costs some microseconds, and survives a kill.
        """
        releases = self._begun()
        self.step = self.step + 1 if step is None else int(step)
        self._epoch = self._epoch if epoch is None else float(epoch)
        entry = {
            'step': self.step,
            **({'epoch': self._epoch} if self._epoch is not None else {}),
            **_numbers(values),
        }
        line = json.dumps(entry)
        if len(line) <= _LINE_MAX and self._log is not None:
            self._values |= curve.last_values([entry])
            with releases.guarded():
                self._log.write(f'{line}\n')
                self._log.flush()
        releases.look()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Keep what goes wrong inside from the training, unless that is strict: for who writes the files on its behalf."""
        with self._begun().guarded():
            yield

    def checkpoint(self, step: int | None = None) -> None:
        """Release what is in the folder now, under the tag of ``step``, the last that was logged by default.

        Returns as soon as it is held: the files may be written again. That takes no time where the file system can share
        blocks (btrfs, XFS, APFS), else as long as copying them.
        """
        releases = self._begun()
        step = self.step if step is None else int(step)
        self._taken = self.step = step
        with releases.guarded():
            tag = self.terms.tag_of(step=step, epoch=self._epoch, metric=self._metric())
            save = self.terms.save(self.folder, tag)
            releases.put(save, [Part(self.folder)], written=self._told(), copies=True)

    def finish(self) -> list[Result]:
        """Release the folder as a version, and wait until all is released or waits in the outbox; returns what came of each."""
        return self._end(None, None)

    def fail(self, error: BaseException) -> None:
        """Release what is whole of a training that ended with ``error``. Raises nothing: ``error`` is what counts.

        An interruption is not made to wait: what is under way goes on in the background.
        """
        told = gitcmd.redact(f'{type(error).__name__}: {error}')[:500]
        try:
            seen = finished.look(self.folder)
            if self._taken == self.step or not seen.is_finished:
                output.say(f'hfmirror: the training ended early: {told}')
                self._close(waits=isinstance(error, Exception))
                return
            tag = self.terms.tag_of(step=self.step, epoch=self._epoch, metric=self._metric())
            note = f'The training ended at step {self.step:,}, before its end: {markdown.escape(told)}'
            self._end(tag, note, waits=isinstance(error, Exception))
        except (
            Exception
        ) as e:  # what a strict one hears of as well: the error of the training is the one to be seen
            output.warn(f'hfmirror: {gitcmd.redact(str(e))}')

    def _end(self, tag: str | None, note: str | None, *, waits: bool = True) -> list[Result]:
        releases = self._begun()
        with releases.guarded():
            image, account = curve.account(_read(self.folder / LOG))
            text = '\n\n'.join(part for part in (note, account) if part)
            save = replace(self.terms.save(self.folder, tag), sections={curve.HEADING: text} if text else {})
            written = {**self._told(), **({curve.PLOT: image} if image else {})}
            releases.put(save, [Part(self.folder)], written=written, copies=True)
        return self._close(waits=waits)

    def _begun(self) -> Releases:
        if self._log is None or self._releases is None:
            raise errors.UsageError('this training run has not begun, or is over. Use it in a with block.')
        return self._releases

    def _close(self, *, waits: bool) -> list[Result]:
        releases = self._begun()
        log, self._log = self._log, None
        with releases.guarded():
            if log is not None:
                log.close()
        return releases.finish() if waits else self.results

    def _told(self) -> dict[str, bytes]:
        """Return the metrics as a file that cards are made from, unless the folder has one of its own."""
        if not self._values or any((self.folder / name).exists() for name in _TOLD):
            return {}
        return {_RESULTS: (json.dumps(self._values, indent=2) + '\n').encode()}

    def _metric(self) -> float | None:
        others = (value for name, value in self._values.items() if name != 'loss')
        return next(others, self._values.get('loss'))


def _numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """Return the finite numbers among ``values``, those of numpy and torch too."""
    found = {}
    for name, value in values.items():
        if isinstance(value, bool) or not (isinstance(value, int | float) or hasattr(value, 'dtype')):
            continue
        try:
            number = value if isinstance(value, int) else float(value)
            is_one = math.isfinite(number)
        except (TypeError, ValueError, RuntimeError, OverflowError):
            continue  # a tensor of many, or an int beyond all floats
        if name not in ('step', 'epoch') and is_one:
            found[str(name)] = number
    return found


def _read(path: Path) -> list[Mapping[str, Any]]:
    """Return what was logged; a line that a kill has cut is left out."""
    try:
        with path.open(encoding='utf-8', errors='replace') as lines:
            return [entry for line in lines if (entry := _entry(line))]
    except FileNotFoundError:
        return []


def _entry(line: str) -> Mapping[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_one = isinstance(found, dict) and type(found.get('step')) is int and abs(found['step']) < _STEP_MAX
    return found if is_one else None


def _opened(path: Path) -> IO[str]:
    """Open the log to write on, at the beginning of a line."""
    with path.open('ab+') as before:
        size = before.tell()
        before.seek(max(size - 1, 0))
        if before.read(1) not in (b'', b'\n'):
            before.write(b'\n')
    return path.open('a', encoding='utf-8')
