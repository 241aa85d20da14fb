"""Which licence a text is, as far as it is one of those that most releases use."""

from __future__ import annotations

import re

# {the Hub's id: what the text says near its beginning, what it says anywhere}. GNU licences name each other, so that
# their titles count only at the very beginning.
_HEAD = 400
_TITLES = (
    (r'gnu affero general public license version 3', 'agpl-3.0'),
    (r'gnu lesser general public license version 3', 'lgpl-3.0'),
    (r'gnu lesser general public license version 2\.1', 'lgpl-2.1'),
    (r'gnu general public license version 3', 'gpl-3.0'),
    (r'gnu general public license version 2', 'gpl-2.0'),
    (r'mozilla public license,? version 2\.0', 'mpl-2.0'),
    (r'attribution-noncommercial-sharealike 4\.0 international', 'cc-by-nc-sa-4.0'),
    (r'attribution-noncommercial-noderivatives 4\.0 international', 'cc-by-nc-nd-4.0'),
    (r'attribution-noncommercial 4\.0 international', 'cc-by-nc-4.0'),
    (r'attribution-noderivatives 4\.0 international', 'cc-by-nd-4.0'),
    (r'attribution-sharealike 4\.0 international', 'cc-by-sa-4.0'),
    (r'attribution 4\.0 international', 'cc-by-4.0'),
    (r'cc0 1\.0 universal', 'cc0-1.0'),
    (r'creativeml open rail-m', 'creativeml-openrail-m'),
    (r'gemma terms of use', 'gemma'),
    (r'llama 2 community license agreement', 'llama2'),
    (r'meta llama 3 community license agreement', 'llama3'),
    (r'llama 3\.1 community license agreement', 'llama3.1'),
    (r'llama 3\.2 community license agreement', 'llama3.2'),
    (r'llama 3\.3 community license agreement', 'llama3.3'),
    (r'llama 4 community license agreement', 'llama4'),
)
_GRANTS = (
    (('apache license', 'version 2.0, january 2004'), 'apache-2.0'),
    (
        (
            'permission is hereby granted, free of charge',
            'shall be included in all copies',
            'without restriction',
        ),
        'mit',
    ),
    (('permission to use, copy, modify, and/or distribute this software for any purpose',), 'isc'),
    (('free and unencumbered software released into the public domain',), 'unlicense'),
    (
        ('redistributions of source code must retain', 'no express or implied licenses to any'),
        'bsd-3-clause-clear',
    ),
    (('redistributions of source code must retain', 'endorse or promote products'), 'bsd-3-clause'),
    (('redistributions of source code must retain', 'redistributions in binary form'), 'bsd-2-clause'),
)
_BSD = ('bsd-3-clause-clear', 'bsd-3-clause', 'bsd-2-clause')


def recognise(text: str) -> str | None:
    """Return the Hub's id of the licence that ``text`` is, None when it is unknown or more than one."""
    words = ' '.join(re.sub(r'[^\w.,/-]+', ' ', text.lower()).split())
    for title, licence in _TITLES:
        if re.search(rf'\b{title}\b', words[:_HEAD]):
            return licence
    found = [licence for phrases, licence in _GRANTS if all(phrase in words for phrase in phrases)]
    if found and set(found) <= set(_BSD):
        return found[0]
    return found[0] if len(found) == 1 else None
