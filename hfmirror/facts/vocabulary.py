"""The Hub's lists of licences, tasks, libraries and so on, as they were when this version of hfmirror was made.

The lists grow, so an unknown word is not wrong, only worth a look.
"""

from __future__ import annotations

import json
from difflib import get_close_matches
from functools import cache
from importlib import resources


@cache
def words(kind: str) -> tuple[str, ...]:
    """Return the words of one list: licenses, pipeline_tags, library_names, size_categories, old_models, old_datasets."""
    file = resources.files('hfmirror') / 'templates' / 'vocabulary.json'
    return tuple(json.loads(file.read_text('utf-8'))[kind])


def nearest(word: str, kind: str) -> str | None:
    """Return the known word most like ``word``, None when none is like it."""
    known = {one.lower(): one for one in words(kind)}
    found = get_close_matches(word.lower()[:100], known, n=1, cutoff=0.6)
    return known[found[0]] if found else None
