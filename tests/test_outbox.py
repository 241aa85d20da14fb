"""What waits is on disk, whole, and survives whatever happens to the run that put it there."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace

import pytest

from hfmirror import errors, outbox
from hfmirror import target as targets
from hfmirror.outbox import Entry, Held, Outbox
from hfmirror.statcache import Stamp


@pytest.fixture
def box(tmp_path):
    made = Outbox(tmp_path / 'outbox', targets.at_url('https://host.example/me/model.git', 'me/model'))
    made.root.mkdir(parents=True)
    return made


def entry(*objects, **changes):
    made = Entry(
        id=outbox.new_id(),
        created=outbox.now(),
        folder='/somewhere/model',
        version='v1.0.0',
        commit='c' * 40,
        tag_object='d' * 40,
        base=None,
        path_in_repo='',
        keep=False,
        objects=tuple(objects),
    )
    return replace(made, **changes)


def linked(box, path, content):
    """Write a file and have it in the store as a link."""
    path.write_bytes(content)
    oid = hashlib.sha256(content).hexdigest()
    stamp = box.store.link(path, oid)
    return Held(path.name, oid, len(content), str(path), stamp)


def test_what_is_added_is_read_back_as_it_was(box, tmp_path):
    one = entry(linked(box, tmp_path / 'a.bin', b'\0one'), error='why', attempts=2)
    box.add(one, b'PACK')
    assert box.entries() == [one]
    assert box.pack(one).read_bytes() == b'PACK'
    assert outbox.waiting(box.root.parent) == [(box.target, [one])]


def test_entries_are_in_the_order_they_were_made(box):
    made = [entry(version=f'v{number}.0.0') for number in range(12)]
    for one in reversed(made):
        box.add(one, b'PACK')
    assert box.entries() == made


def test_what_is_removed_takes_its_objects_along(box, tmp_path):
    one = entry(linked(box, tmp_path / 'a.bin', b'\0one'))
    box.add(one, b'PACK')
    box.remove(one)
    assert not box.root.exists()
    assert (tmp_path / 'a.bin').read_bytes() == b'\0one'


def test_an_object_that_another_release_needs_stays(box, tmp_path):
    shared, own = linked(box, tmp_path / 'a.bin', b'\0one'), linked(box, tmp_path / 'b.bin', b'\0two')
    first, second = entry(shared, own), entry(shared)
    for one in (first, second):
        box.add(one, b'PACK')
    box.remove(first)
    assert box.store.has(shared.oid, shared.size)
    assert not box.store.has(own.oid, own.size)


def test_tidy_removes_what_killed_runs_left(box, tmp_path):
    one = entry(linked(box, tmp_path / 'a.bin', b'\0one'))
    box.add(one, b'PACK')
    stray = linked(box, tmp_path / 'b.bin', b'\0two')
    (box.root / '0123-abc.pack').write_bytes(b'half')
    (box.root / '.0123-abc.json.xyz.tmp').write_bytes(b'half')
    box.tidy()
    assert sorted(path.name for path in box.root.iterdir() if path.is_file()) == sorted(
        ['target.json', f'{one.id}.json', f'{one.id}.pack']
    )
    assert not box.store.has(stray.oid, stray.size)
    assert box.store.has(one.objects[0].oid, one.objects[0].size)


@pytest.mark.parametrize(
    'content', [b'', b'{', b'[]', b'null', b'{"format": 99}', b'{"format": 1}', b'\xff\xfe', b'[' * 5000]
)
def test_an_entry_that_cannot_be_read_is_left_alone_with_its_objects(box, tmp_path, content, capsys):
    one = entry(linked(box, tmp_path / 'a.bin', b'\0one'))
    box.add(one, b'PACK')
    path = box.root / f'{one.id}.json'
    path.write_bytes(content)
    assert box.entries() == []
    box.tidy()
    assert path.read_bytes() == content
    assert box.pack(one).exists()
    assert box.store.has(one.objects[0].oid, one.objects[0].size)
    assert str(path) in capsys.readouterr().err


def test_owned_bytes_survive_the_trainer(box, tmp_path):
    one = entry(linked(box, tmp_path / 'a.bin', b'\0one'))
    box.add(one, b'PACK')
    owned = box.own(one)
    with (tmp_path / 'a.bin').open('r+b') as file:
        file.write(b'\0ONE')
    assert box.store.path(one.objects[0].oid).read_bytes() == b'\0one'
    assert owned.objects[0].stamp is None
    assert box.entries() == [owned]
    assert box.overwritten(owned.objects) == []


def test_bytes_that_were_overwritten_cannot_be_owned_any_more(box, tmp_path):
    held = linked(box, tmp_path / 'a.bin', b'\0one')
    if held.stamp is None:
        pytest.skip('this file system gave it bytes of its own')
    one = entry(held)
    box.add(one, b'PACK')
    with (tmp_path / 'a.bin').open('r+b') as file:
        file.write(b'\0ONE')
    with pytest.raises(errors.SourceChanged):
        box.own(one)


def test_a_link_whose_file_was_written_is_noticed(box, tmp_path):
    held = linked(box, tmp_path / 'a.bin', b'\0one')
    if held.stamp is None:
        pytest.skip('this file system gave it bytes of its own')
    one = entry(held)
    assert box.overwritten(one.objects) == []
    with (tmp_path / 'a.bin').open('r+b') as file:
        file.write(b'\0ONE')
    os.utime(tmp_path / 'a.bin', ns=(1, 1))
    assert box.overwritten(one.objects) == [held]


def test_a_replaced_file_does_not_touch_the_link(box, tmp_path):
    held = linked(box, tmp_path / 'a.bin', b'\0one')
    (tmp_path / 'new').write_bytes(b'\0ONE')
    os.replace(tmp_path / 'new', tmp_path / 'a.bin')
    assert box.store.path(held.oid).read_bytes() == b'\0one'
    assert box.overwritten([held]) == []


def test_a_pack_that_is_gone_says_how_to_go_on(box):
    one = entry()
    box.add(one, b'PACK')
    box.pack(one).unlink()
    with pytest.raises(errors.HfmirrorError, match=f'--drop {one.id}'):
        box.pack(one)


def test_a_target_that_cannot_be_read_hides_no_other(box, tmp_path):
    one = entry()
    box.add(one, b'PACK')
    other = Outbox(tmp_path / 'outbox', targets.at_url('https://host.example/me/other.git', 'me/other'))
    other.add(one, b'PACK')
    (other.root / 'target.json').write_text('{}')
    assert outbox.waiting(tmp_path / 'outbox') == [(box.target, [one])]


def test_ids_sort_in_the_order_they_were_made():
    ids = [outbox.new_id() for _ in range(50)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 50


def test_an_entry_on_disk_is_json_with_its_format(box):
    one = entry(Held('a.bin', 'e' * 64, 3, '/x/a.bin', Stamp(1, 2, 3, 4)))
    box.add(one, b'PACK')
    fields = json.loads((box.root / f'{one.id}.json').read_text())
    assert fields['format'] == 1
    assert fields['objects'] == [['a.bin', 'e' * 64, 3, '/x/a.bin', [1, 2, 3, 4]]]
