"""An agent that git-lfs starts as ``git-xet transfer``: it does with hf_xet what Hugging Face's own does.

Usage: ``gitxet.py LOG HOW transfer``. The bytes go to the store that the batch API named, with the token that stood
beside it; when that is over, with one it fetches as whom HF_TOKEN is. LOG gets the oid of each object. HOW:

    sends      what it is there for
    expired    as if the token of the batch API were over
    ends       it ends at the first object
    refuses    it says that an object could not be sent
    lies       it says that an object was sent

https://github.com/git-lfs/git-lfs/blob/main/docs/custom-transfers.md
"""

from __future__ import annotations

import json
import os
import sys
import urllib.request
import warnings

import hf_xet


def main(log, how, command):
    assert command == 'transfer'
    assert json.loads(sys.stdin.readline())['operation'] == 'upload'
    say({})
    for line in sys.stdin:
        asked = json.loads(line)
        if asked['event'] == 'terminate':
            return
        if how == 'ends':
            sys.exit(1)
        with open(log, 'a') as lines:
            lines.write(asked['oid'] + '\n')
        say({'event': 'progress', 'oid': asked['oid'], 'bytesSoFar': 1, 'bytesSinceLast': 1})
        done = {'event': 'complete', 'oid': asked['oid']}
        if how == 'refuses':
            done['error'] = {'code': 507, 'message': 'the store of chunks is full'}
        elif how != 'lies':
            send(asked['path'], asked['action'], is_over=how == 'expired')
        say(done)


def say(values):
    print(json.dumps(values), flush=True)


def send(path, action, *, is_over):
    found = action['header']
    until = 0 if is_over else int(found['X-Xet-Token-Expiration'])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', DeprecationWarning)
        hf_xet.upload_files(
            [path],
            found['X-Xet-Cas-Url'],
            ('over' if is_over else found['X-Xet-Access-Token'], until),
            lambda: renewed(action['href']),
            None,
            'model',
        )


def renewed(href):
    asked = urllib.request.Request(href, headers={'Authorization': f'Bearer {os.environ["HF_TOKEN"]}'})
    with urllib.request.urlopen(asked) as answer:
        given = json.load(answer)
    return given['accessToken'], given['exp']


if __name__ == '__main__':
    main(*sys.argv[1:])
