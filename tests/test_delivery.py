"""When is something tried again, and what keeps a release that was sent from being proven? Without any network."""

from __future__ import annotations

import errno
import os

import pytest

from hfmirror import errors, objects, outcome, output, statuses
from hfmirror import target as targets
from hfmirror.clone import Clone
from hfmirror.commands import resume
from hfmirror.delivery import Retry, patiently
from hfmirror.store import ObjectStore


class Broken:
    """Work that fails ``times`` times, with the network's error, and counts how often it was tried."""

    def __init__(self, times, retry_after_s=0.0):
        self.times, self.retry_after_s, self.tried = times, retry_after_s, []

    def __call__(self, attempt):
        self.tried.append(attempt)
        if len(self.tried) <= self.times:
            raise errors.NetworkError('cut.', self.retry_after_s)
        return 'done'


def test_what_the_network_broke_is_tried_again(capsys):
    work = Broken(2)
    assert patiently(Retry(2, 0), work) == 'done'
    assert work.tried == [0, 1, 2]
    assert capsys.readouterr().err.count('Trying again') == 2


@pytest.mark.parametrize(
    ('times', 'retry_after_s'), [(0, 0), (3, statuses.LASTING), (3, 601)], ids=['no retry', 'lasting', 'long']
)
def test_what_waiting_does_not_mend_is_tried_once(times, retry_after_s):
    work = Broken(9, retry_after_s)
    with pytest.raises(errors.NetworkError):
        patiently(Retry(times, 0), work)
    assert work.tried == [0]


def test_an_error_that_nothing_is_behind_keeps_its_own_cause(tmp_path):
    clone = Clone(targets.at_url('https://host.example/me/x.git', 'me/x'), tmp_path, tmp_path)
    cause = OSError('cut')
    with pytest.raises(errors.NetworkError) as raised, clone.explaining():
        raise errors.NetworkError('cut.') from cause
    assert raised.value.__cause__ is cause


@pytest.mark.parametrize(
    ('number', 'kind', 'words'),
    [
        (errno.ENOSPC, errors.DiskFull, 'Free some space'),
        (errno.EROFS, errors.HfmirrorError, 'HFMIRROR_HOME'),
        (errno.EIO, errors.HfmirrorError, '/there: Input/output error'),
    ],
)
def test_what_the_system_refuses_is_an_error_of_ours(number, kind, words):
    told = outcome.disk_failure(OSError(number, os.strerror(number), '/there'))
    assert type(told) is kind and words in str(told)


def test_a_release_that_waits_for_a_broken_card_ends_as_a_card_does():
    row = {'target': 'me/x', 'version': 'v1', 'commit': 'c', 'status': 'waiting'}
    with pytest.raises(errors.HfmirrorError, match='the card') as raised:
        resume._finish([{**row, 'error': 'the card', 'exit_code': errors.CardError.exit_code}], 1)
    assert raised.value.exit_code == 8


# -- git-lfs's progress file


class Sending:
    """Appends what git-lfs does between two looks at its progress file, and keeps how large it was."""

    def __init__(self, log, rounds):
        self.log, self.rounds, self.sent, self.sizes = log, rounds, 0, []

    def wait(self, seconds):
        self.sizes.append(self.log.stat().st_size)
        with self.log.open('a') as file:
            for _ in range(10_000):
                self.sent += 32_768
                file.write(f'upload 1/1 {self.sent}/10000000000 /a/folder/with/quite/a/long/name/model.bin\n')
        self.rounds -= 1
        return self.rounds == 0


def test_the_progress_file_of_git_lfs_stays_small(tmp_path):
    log = tmp_path / 'progress'
    log.touch()
    sending = Sending(log, rounds=8)
    with output.progress('uploading', 10**10) as shown:
        objects._follow(log, shown, {}, sending)
    assert max(sending.sizes) < 2 * objects._LOG_MAX
    assert shown.done == sending.sent


@pytest.mark.skipif(os.name == 'nt', reason='links are a privilege there')
def test_a_link_that_cannot_be_made_is_no_reason_to_let_git_lfs_write_its_report(tmp_path):
    with pytest.raises(OSError, match='too long'):
        objects._storage(ObjectStore(tmp_path.joinpath(*['x' * 200] * 25)), tmp_path)
