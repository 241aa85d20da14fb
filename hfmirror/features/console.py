"""What does a person see of an upload of features? The lines that the guide to the training shows, word for word."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hfmirror.features.featureset import FeatureSet

if TYPE_CHECKING:
    from hfmirror.features.summary import Uploaded, Verification

Tell = Callable[[str], None]

_WIDTH = 90
_SHOWN = 10

SKIPPED = 'Skipping HuggingFace upload.'
NOT_LET_IN = 'Error: You need to be authenticated to access this repository.'
TIMEOUT = 'Error: Connection timeout while uploading.'


def headline(title: str) -> str:
    """Return a title between two bars."""
    bar = '=' * _WIDTH
    return f'{bar}\n{title}\n{bar}'


def size_of(size: int) -> str:
    """Return bytes as the guide writes them, in powers of 1,024 called KB, MB and GB: ``345.21 MB``."""
    if size < 1024:
        return f'{size} B'
    amount = size / 1024
    for unit in ('KB', 'MB'):
        if amount < 1024:
            return f'{amount:.2f} {unit}'
        amount /= 1024
    return f'{amount:.2f} GB'


def begin(tell: Tell, one: FeatureSet) -> None:
    """Tell that the upload of a feature set begins."""
    tell(headline(f'Uploading {one} features to HuggingFace'))
    tell(f'\n  Uploading {len(one.names)} files...')


def files(tell: Tell, uploaded: Sequence[Uploaded], mark: str) -> None:
    """Tell of each file what became of it: ``OK``, or ``WAITING``."""
    for file in uploaded:
        tell(f'    Uploading {file.filename} ({size_of(file.size)})... [{mark}]')


def succeeded(uploaded: Sequence[Uploaded]) -> str:
    """Return the sentence about files that are there."""
    return f'Successfully uploaded {len(uploaded)} files ({size_of(sum(file.size for file in uploaded))})'


def end(tell: Tell, one: FeatureSet, message: str, verification: Verification) -> None:
    """Tell that a feature set is there, and what its verification found."""
    tell(f'\n  {message}\n  Remote directory: {one.remote_dir}')
    tell(f'\n  Verifying {one} upload...')
    tell(f'    {_verified(verification)}')


def _verified(verification: Verification) -> str:
    status = verification.files_status
    if verification.all_present:
        return f'All {len(status)} files verified successfully'
    if not status:
        return "WARNING: could not be verified now. The release was proven when it was sent; see 'hfmirror verify'."
    missing = [name for name, is_there in status.items() if not is_there]
    names = ', '.join(missing[:_SHOWN])
    return (
        f'WARNING: {len(missing)} of {len(status)} files are not there: {names}. '
        'Upload them again, which sends what is missing.'
    )
