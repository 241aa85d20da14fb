"""What came of an upload of features, for ``execution_summary.json``?

::

    {"huggingface_upload": {"15m": {
      "symbol": "BTCUSDT", "timeframe": "15m", "success": true,
      "message": "Successfully uploaded 6 files (347.26 MB)",
      "files_uploaded": [{"filename": "15m_y_reg.npy", "size": 889464, "remote_path": "v2_model/BTCUSDT/15m/15m_y_reg.npy"}],
      "remote_dir": "v2_model/BTCUSDT/15m",
      "verification": {"all_present": true, "files_status": {"15m_y_reg.npy": true}}}}}

The keys are the timeframes; where there are several symbols, ``BTCUSDT/15m``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hfmirror import durable, output
from hfmirror.features.featureset import FeatureSet

SUMMARY = 'execution_summary.json'
_SECTION = 'huggingface_upload'
_LARGEST = 64 * 1024 * 1024  # bytes of a summary that is read


class Uploaded(NamedTuple):
    """One file that is in the repository; ``size`` in bytes."""

    filename: str
    size: int
    remote_path: str


class Verification(NamedTuple):
    """Which files of a feature set the remote has, as {name: whether it does}."""

    all_present: bool
    files_status: Mapping[str, bool]


NOT_VERIFIED = Verification(False, {})


class Upload(NamedTuple):
    """What came of the upload of one feature set. ``success``: all of it is on the remote, and was proven to be.

    ``waits``: it is to be sent when the network is there again.
    """

    symbol: str
    timeframe: str
    success: bool
    message: str
    files_uploaded: Sequence[Uploaded]
    remote_dir: str
    verification: Verification = NOT_VERIFIED
    waits: bool = False

    def as_document(self) -> dict[str, Any]:
        """Return it as it stands in the summary."""
        told = self._asdict()
        del told['waits']  # the message says it
        return {
            **told,
            'files_uploaded': [file._asdict() for file in self.files_uploaded],
            'verification': {
                'all_present': self.verification.all_present,
                'files_status': dict(self.verification.files_status),
            },
        }


def not_uploaded(one: FeatureSet, message: str, *, waits: bool = False) -> Upload:
    """Return the upload of a feature set that did not get there."""
    return Upload(one.symbol, one.timeframe, False, message, [], one.remote_dir, waits=waits)


def write_summary(uploads: Sequence[Upload], path: Path = Path(SUMMARY)) -> None:
    """Write what came of the uploads into a summary.

    What is there of other uploads stays, and what other steps of the run have written there.
    """
    before = _before(path)
    if before is None:
        output.warn(f'{path}: there already, and not a summary; it is left as it is. Move it away.')
        return
    known = before.get(_SECTION)
    rows = _keyed(
        [
            *(known.items() if isinstance(known, dict) else ()),
            *((upload.timeframe, upload.as_document()) for upload in uploads),
        ]
    )
    text = json.dumps({**before, _SECTION: rows}, ensure_ascii=False, indent=2)
    durable.rewrite(path, f'{text}\n'.encode('utf-8', 'replace'))


def _keyed(rows: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Return rows by timeframe, and by symbol too where there are several; the last one of a key counts."""
    names = [
        (row.get('symbol'), row.get('timeframe')) if isinstance(row, dict) else (None, None)
        for _, row in rows
    ]
    several = len({symbol for symbol, _ in names if isinstance(symbol, str)}) > 1
    keyed = {}
    for (symbol, timeframe), (key, row) in zip(names, rows, strict=True):
        if isinstance(symbol, str) and isinstance(timeframe, str):
            key = f'{symbol}/{timeframe}' if several else timeframe
        keyed[key] = row
    return keyed


def _before(path: Path) -> dict[str, Any] | None:
    """Return what a summary has already, None for a file that is none."""
    try:
        with path.open('rb') as file:
            found = json.loads(file.read(_LARGEST))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
