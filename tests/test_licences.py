from pathlib import Path

import pytest

from hfmirror.facts.licences import recognise

MIT = """MIT License

Copyright (c) 2024 A. Person

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights ...
The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.
"""
BSD = 'Redistributions of source code must retain x. Redistributions in binary form must reproduce y.'


@pytest.mark.parametrize(
    ('text', 'licence'),
    [
        (MIT, 'mit'),
        (MIT.replace('\n', '\r\n'), 'mit'),
        (BSD, 'bsd-2-clause'),
        (BSD + ' Neither the name may be used to endorse or promote products.', 'bsd-3-clause'),
        ('GNU GENERAL PUBLIC LICENSE\n   Version 3, 29 June 2007', 'gpl-3.0'),
        (
            'GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3, 29 June 2007\n... the GNU General Public License version 3',
            'lgpl-3.0',
        ),
        ('GNU AFFERO GENERAL PUBLIC LICENSE\n   Version 3', 'agpl-3.0'),
        ('Mozilla Public License Version 2.0', 'mpl-2.0'),
        ('Attribution 4.0 International\n\n====', 'cc-by-4.0'),
        ('Attribution-NonCommercial-ShareAlike 4.0 International', 'cc-by-nc-sa-4.0'),
        ('Creative Commons Legal Code\n\nCC0 1.0 Universal', 'cc0-1.0'),
        ('LLAMA 3.2 COMMUNITY LICENSE AGREEMENT', 'llama3.2'),
        ('This is free and unencumbered software released into the public domain.', 'unlicense'),
        ('All rights reserved.', None),
        ('', None),
        (MIT + 'Apache License\nVersion 2.0, January 2004', None),
    ],
)
def test_text_tells_the_licence(text, licence):
    assert recognise(text) == licence


def test_the_licence_of_this_project_is_recognised():
    assert recognise((Path(__file__).parent.parent / 'LICENSE').read_text('utf-8')) == 'apache-2.0'
