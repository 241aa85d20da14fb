"""The two formats of Xet and the access token, byte by byte: what is right is understood, anything else is refused."""

import hashlib
import os
from contextlib import suppress
from tempfile import TemporaryFile

import lz4.frame
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfmirror.server.answers import Problem
from hfmirror.server.xet import grant, shard
from hfmirror.server.xet.rebuild import Progress, Stopped, rebuild
from hfmirror.server.xet.xorb import MAX_CHUNK, MAX_CHUNKS, Malformed, Xorb, parse_header, unpack
from hfmirror.store import ObjectStore
from tests.support import xetbytes
from tests.support.xetbytes import GROUPED, LZ4, STORED, chunk, header, segment

SCHEMES = (STORED, LZ4, GROUPED)
NAME = 'a' * 64
OTHER = 'b' * 64
SECRET = b's' * 32


def chunks_of(content):
    with TemporaryFile(buffering=0) as file:
        file.write(content)
        xorb = Xorb(file.fileno())
        return [xorb.chunk(number) for number in range(len(xorb))]


def refused(content):
    """Return whether a xorb is refused, when it is opened or when a chunk is read."""
    try:
        chunks_of(content)
    except Malformed:
        return True
    return False


@given(data=st.binary(min_size=1, max_size=3000), scheme=st.sampled_from(SCHEMES))
def test_a_chunk_comes_back_as_it_was(data, scheme):
    packed = chunk(data, scheme)
    assert unpack(parse_header(packed[:8]), packed[8:]) == data


@pytest.mark.parametrize('scheme', SCHEMES)
def test_a_chunk_of_the_largest_size_comes_back(scheme):
    data = bytes(range(256)) * (MAX_CHUNK // 256)
    assert chunks_of(chunk(data, scheme)) == [data]


def test_chunks_come_in_order():
    assert chunks_of(chunk(b'one') + chunk(b'two', LZ4) + chunk(b'three', GROUPED)) == [
        b'one',
        b'two',
        b'three',
    ]


def test_what_follows_the_chunks_as_a_footer_is_left_unread():
    assert chunks_of(chunk(b'one') + b'XETBLOB\1' + os.urandom(100)) == [b'one']


@pytest.mark.parametrize(
    'content',
    [
        b'',
        b'XETBLOB\1',
        b'\0\0\0',
        header(3, 3) + b'on',
        header(3, 3, version=1) + b'one',
        header(3, 3, scheme=3) + b'one',
        header(3, 0) + b'one',
        header(0, 3),
        header(3, 4) + b'one',
        header(MAX_CHUNK + 1, MAX_CHUNK + 1) + bytes(MAX_CHUNK + 1),
        header(2 * MAX_CHUNK + 1, 10, LZ4) + bytes(2 * MAX_CHUNK + 1),
        header(8, 8, LZ4) + b'no frame',
        chunk(b'one') + b'\0',
    ],
    ids=[
        'empty',
        'footer alone',
        'header cut off',
        'data cut off',
        'unknown version',
        'unknown scheme',
        'no bytes',
        'nothing packed',
        'stored with another length',
        'too large',
        'packed too large',
        'no frame',
        'a byte too many',
    ],
)
def test_a_broken_xorb_is_refused(content):
    assert refused(content)


def test_a_xorb_of_too_many_chunks_is_refused():
    assert len(chunks_of(chunk(b'x') * MAX_CHUNKS)) == MAX_CHUNKS
    assert refused(chunk(b'x') * (MAX_CHUNKS + 1))


def test_a_frame_that_grows_beyond_its_header_is_refused():
    bomb = lz4.frame.compress(bytes(50_000_000))
    assert refused(header(len(bomb), MAX_CHUNK, LZ4) + bomb)


def test_a_frame_that_ends_too_soon_is_refused():
    frame = lz4.frame.compress(b'four')
    assert refused(header(len(frame), 5, LZ4) + frame)


def test_bytes_after_a_frame_are_refused():
    frame = lz4.frame.compress(b'four') + b'more'
    assert refused(header(len(frame), 4, LZ4) + frame)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_xorb_or_refused(content):
    refused(content)


@given(st.data())
@settings(max_examples=200)
def test_a_damaged_xorb_is_read_within_its_bounds_or_refused(data):
    content = bytearray(b''.join(chunk(b'some bytes ' * 20, scheme) for scheme in SCHEMES))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = chunks_of(bytes(content))
    except Malformed:
        return
    assert all(len(one) <= MAX_CHUNK for one in found)


def files_of(content):
    return [(file.oid, file.size, list(file.segments())) for file in shard.files(content)]


def test_a_shard_says_of_which_chunks_each_file_is_made():
    first = xetbytes.file(segment(NAME, 700, 2, 5), segment(OTHER, 10), oid='1f' * 32, checks=True)
    second = xetbytes.file(segment(OTHER, 20, 1, 2))
    assert files_of(xetbytes.shard(first, second)) == [
        ('1f' * 32, 710, [(NAME, 700, 2, 5), (OTHER, 10, 0, 1)]),
        (None, 20, [(OTHER, 20, 1, 2)]),
    ]


def test_a_shard_without_files_has_none():
    assert files_of(xetbytes.shard()) == []


def test_what_follows_the_files_of_a_shard_is_left_unread():
    assert files_of(xetbytes.shard() + os.urandom(480)) == []


def test_a_hash_is_written_as_four_numbers():
    assert shard.hash_text(bytes(range(32))) == (
        '07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918'
    )


@given(st.binary(min_size=32, max_size=32))
def test_a_hash_goes_to_text_and_back(raw):
    assert xetbytes.raw_hash(shard.hash_text(raw)) == raw


def test_a_shard_cut_off_anywhere_is_refused():
    whole = xetbytes.shard(xetbytes.file(segment(NAME, 700, 2, 5), oid='1f' * 32, checks=True))
    for length in range(len(whole)):
        with pytest.raises(Malformed):
            files_of(whole[:length])


@pytest.mark.parametrize(
    'content',
    [
        xetbytes.shard(version=1),
        b'x' + xetbytes.shard()[1:],
        xetbytes.shard(xetbytes.file(flags=1)),
        xetbytes.shard(xetbytes.file(count=0xFFFFFFFF)),
        xetbytes.shard(xetbytes.file(count=0xFFFFFFFF, checks=True)),
        xetbytes.shard(xetbytes.file(segment(NAME, 5, 3, 3))),
        xetbytes.shard(xetbytes.file(segment(NAME, 5, 4, 3))),
        xetbytes.shard(xetbytes.file(segment(NAME, 5, 0, MAX_CHUNKS + 1))),
        xetbytes.shard(xetbytes.file(segment(NAME, 0, 0, 1))),
        xetbytes.shard(xetbytes.file(segment(NAME, MAX_CHUNK + 1, 0, 1))),
    ],
    ids=[
        'version',
        'magic',
        'unknown flag',
        'absurd count',
        'absurd count with checks',
        'no chunks',
        'chunks backwards',
        'more chunks than a xorb has',
        'no bytes',
        'more bytes than chunks can have',
    ],
)
def test_a_broken_shard_is_refused(content):
    with pytest.raises(Malformed):
        files_of(content)


@given(st.binary(max_size=400))
def test_any_bytes_are_a_shard_or_refused(content):
    for body in (content, xetbytes.shard(content), xetbytes.shard(content, end=b'')):
        with suppress(Malformed):
            files_of(body)


class Place:
    """A directory of xorbs, and a store that files are rebuilt into."""

    def __init__(self, path):
        self.xorbs, self.store = path / 'xorbs', ObjectStore(path / 'lfs')
        self.xorbs.mkdir()

    def keep(self, name, *chunks):
        (self.xorbs / name).write_bytes(b''.join(chunks))

    def rebuild(self, *files, limit=None, progress=None):
        body = xetbytes.shard(*files)
        rebuild(body, self.xorbs, self.store, max_file_size=limit, progress=progress or Progress())

    def written(self):
        return [path for path in self.store.root.rglob('*') if path.is_file()]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def test_a_file_is_made_of_its_chunks(place):
    place.keep(NAME, chunk(b'one'), chunk(b'two', LZ4), chunk(b'three', GROUPED))
    place.keep(OTHER, chunk(b'four'))
    place.rebuild(xetbytes.file(segment(NAME, 8, 1, 3), segment(OTHER, 4), segment(NAME, 3)))
    assert place.store.path(sha256(b'twothreefourone')).read_bytes() == b'twothreefourone'


def test_a_file_larger_than_the_blocks_it_is_written_in_is_whole(place):
    parts = [bytes([number]) * MAX_CHUNK for number in range(200)]
    place.keep(NAME, *(chunk(part, LZ4) for part in parts))
    place.rebuild(xetbytes.file(segment(NAME, 199 * MAX_CHUNK, 1, 200), segment(NAME, MAX_CHUNK, 0, 1)))
    assert place.store.path(sha256(b''.join(parts[1:] + parts[:1]))).stat().st_size == 200 * MAX_CHUNK


def test_many_files_of_one_shard_are_all_made(place):
    contents = [f'file {number}'.encode() for number in range(600)]
    place.keep(NAME, *map(chunk, contents))
    place.rebuild(
        *(
            xetbytes.file(segment(NAME, len(content), number, number + 1), oid=sha256(content))
            for number, content in enumerate(contents)
        )
    )
    assert {place.store.path(sha256(content)).read_bytes() for content in contents} == set(contents)


def test_files_of_more_xorbs_than_are_kept_open_are_whole(place):
    names = [f'{number:064x}' for number in range(100)]
    for name in names:
        place.keep(name, chunk(name.encode()))
    place.rebuild(xetbytes.file(*(segment(name, 64) for name in names * 2)))
    assert place.store.size(sha256(''.join(names * 2).encode())) == 12800


@pytest.mark.parametrize(
    ('made', 'reason'),
    [
        (xetbytes.file(segment(NAME, 3), oid='0' * 64), 'sha256'),
        (xetbytes.file(segment(OTHER, 3)), 'never sent'),
        (xetbytes.file(segment(NAME, 3, 1, 2)), 'chunk 1 of a xorb that has 1'),
        (xetbytes.file(segment(NAME, 4)), 'not 4 bytes'),
        (xetbytes.file(segment(NAME, 2)), 'not 2 bytes'),
    ],
    ids=['sha256', 'unknown xorb', 'unknown chunk', 'too few bytes', 'too many bytes'],
)
def test_a_file_that_cannot_be_put_together_leaves_nothing(place, made, reason):
    place.keep(NAME, chunk(b'one'))
    with pytest.raises(Problem, match=reason) as caught:
        place.rebuild(made)
    assert (caught.value.status, place.written()) == (400, [])


def test_a_good_file_before_a_bad_one_stays_whole(place):
    place.keep(NAME, chunk(b'one'))
    with pytest.raises(Problem):
        place.rebuild(xetbytes.file(segment(NAME, 3)), xetbytes.file(segment(NAME, 3), oid='0' * 64))
    assert place.written() == [place.store.path(sha256(b'one'))]


def test_a_malformed_shard_makes_nothing_of_its_good_files(place):
    place.keep(NAME, chunk(b'one'))
    with pytest.raises(Problem):
        place.rebuild(xetbytes.file(segment(NAME, 3)), xetbytes.file(flags=1))
    assert place.written() == []


def test_a_file_above_the_limit_makes_nothing_of_the_shard(place):
    place.keep(NAME, chunk(b'one'), chunk(b'four'))
    with pytest.raises(Problem, match='A file of 4 bytes; this server takes no file larger than 3') as caught:
        place.rebuild(xetbytes.file(segment(NAME, 3)), xetbytes.file(segment(NAME, 4, 1, 2)), limit=3)
    assert (caught.value.status, place.written()) == (413, [])


def test_an_object_that_is_here_already_is_not_made_again(place):
    place.keep(NAME, chunk(b'one'))
    made = xetbytes.file(segment(NAME, 3), oid=sha256(b'one'))
    place.rebuild(made)
    (place.xorbs / NAME).unlink()
    place.rebuild(made)


def test_a_rebuild_that_nobody_waits_for_ends_and_leaves_nothing(place):
    place.keep(NAME, chunk(b'one'))
    progress = Progress()
    progress.stopped = True
    with pytest.raises(Stopped):
        place.rebuild(xetbytes.file(segment(NAME, 3)), progress=progress)
    assert place.written() == []


def test_progress_is_in_bytes(place):
    place.keep(NAME, chunk(b'one'))
    progress = Progress()
    place.rebuild(
        xetbytes.file(segment(NAME, 3)), xetbytes.file(segment(NAME, 3), segment(NAME, 3)), progress=progress
    )
    assert (progress.done, progress.total) == (9, 9)


def test_a_grant_names_the_user_it_was_issued_to():
    given_ = grant.issue(SECRET, 'models/ada/bert', user='ada', now=1000)
    assert grant.check(SECRET, given_.token, repo='models/ada/bert', now=1001) == 'ada'


def test_a_grant_ends_after_an_hour():
    given_ = grant.issue(SECRET, 'models/ada/bert', user='ada', now=1000)
    assert given_.expires == 4600
    with pytest.raises(Problem, match='expired'):
        grant.check(SECRET, given_.token, repo='models/ada/bert', now=4600)


@pytest.mark.parametrize(
    ('secret', 'repo'),
    [(b't' * 32, 'models/ada/bert'), (SECRET, 'models/ada/other'), (SECRET, 'datasets/ada/bert')],
)
def test_a_grant_of_another_hub_or_repository_is_refused(secret, repo):
    token = grant.issue(SECRET, 'models/ada/bert', user='ada').token
    with pytest.raises(Problem) as caught:
        grant.check(secret, token, repo=repo)
    assert caught.value.status == 401


@given(st.text(max_size=200))
def test_any_text_is_no_grant(token):
    with pytest.raises(Problem):
        grant.check(SECRET, token, repo='models/ada/bert')


@given(st.data())
def test_a_changed_grant_is_refused(data):
    token = grant.issue(SECRET, 'models/ada/bert', user='ada').token
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters().filter(lambda letter: letter != token[at]))
    with pytest.raises(Problem):
        grant.check(SECRET, token[:at] + other + token[at + 1 :], repo='models/ada/bert')
