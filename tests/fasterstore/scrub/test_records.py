"""Scrubbing records: every byte is read and every kind of damage is found; what moved, went or was only hard to read is no damage."""

import errno

import pytest

from actors import messages as m
from fasterstore.model import DeleteIntent
from fasterstore.scrub.damage import What
from fasterstore.scrub.progress import Position
from fasterstore.storage.cold_reading import PIECE_BYTES
from fasterstore.storage.record import HEADER_BYTES, record_bytes
from tests.fasterstore.scrub.conftest import BODIES

LARGE = bytes(range(251)) * 12_000


def put_large(node, key, body):
    """As a worker does: into an extent."""
    grant = node.writer.ask(m.ReserveExtent(len(body), len(body), 1))
    fd = node.disk.open(f"{node.datadir.segments_dir}/{grant.segment_id:016x}.seg")
    from fasterstore.storage.record import chunk_table, table_digest

    table = chunk_table(body)
    node.disk.pwritev(fd, [body, table], grant.offset + HEADER_BYTES)
    node.disk.close(fd)
    small = node.small(key, body)
    node.writer.ask(m.FinishExtent(small.intent, grant.extent, grant.epoch, small.blob_id, table_digest(table), 0))


def test_a_sound_store_is_read_whole_and_nothing_is_found(node):
    put_large(node, b"large", LARGE)
    steps = node.steps()
    assert [found for step in steps for found in step.damage] == []
    records = [step for step in steps if step.position.phase == "records"]
    assert sum(step.counts.records for step in records) == len(BODIES) + 1
    stored = sum(record_bytes(len(body)) for body in [*BODIES.values(), LARGE])
    assert sum(step.counts.bytes for step in records) == stored
    assert max(step.counts.bytes for step in records) <= PIECE_BYTES


@pytest.mark.parametrize("key", [b"key-0", b"key-5", b"key-11"])
@pytest.mark.parametrize("where", ["header", "record id", "payload", "table", "last byte"])
def test_a_flipped_bit_anywhere_in_a_record_is_found_and_only_there(node, key, where):
    blob = node.blob(key)
    stored = blob.location.stored_bytes
    place = {"header": 9, "record id": 30, "payload": HEADER_BYTES + stored // 2, "table": HEADER_BYTES + stored + 3,
             "last byte": record_bytes(stored) - 1}[where]  # fmt: skip
    node.rot(blob, place)
    (found,) = node.damage()
    assert (found.what, found.blob, found.kept) == (What.RECORD, blob, "")
    (name,) = node.disk.listdir(node.datadir.quarantine_dir)
    assert name == f"{blob.location.segment_id:016x}-{blob.location.offset}-{blob.number}.record"
    copy = node.disk.contents(f"{node.datadir.quarantine_dir}/{name}")
    start = blob.location.offset
    assert copy == node.disk.contents(node.segment_path(blob))[start : start + record_bytes(stored)]


@pytest.mark.parametrize("place", [5, PIECE_BYTES + 5, len(LARGE) - 1, len(LARGE)])
def test_a_flipped_bit_in_any_piece_of_a_large_record_is_found(node, place):
    put_large(node, b"large", LARGE)
    blob = node.blob(b"large")
    node.rot(blob, HEADER_BYTES + place)
    assert [found.blob for found in node.damage()] == [blob]


def test_a_truncated_segment_damages_what_lay_behind_the_cut(node):
    blob = node.blob(b"key-11")
    fd = node.disk.open(node.segment_path(blob))
    node.disk.truncate(fd, blob.location.offset + 1000)
    node.disk.close(fd)
    assert blob in [found.blob for found in node.damage()]


def test_a_missing_segment_file_and_one_that_took_its_name_are_damage_of_all_its_records(node):
    first, last = node.blob(b"key-0"), node.blob(b"key-11")
    assert first.location.segment_id != last.location.segment_id
    node.disk.replace(node.segment_path(first), node.disk.contents(node.segment_path(last)))
    found = node.damage()
    assert {damage.blob for damage in found} == {
        blob for key in BODIES if (blob := node.blob(key)).location.segment_id == first.location.segment_id
    }
    assert len(found) > 1
    node.disk.unlink(node.segment_path(first))
    again = node.damage()
    assert {damage.blob for damage in again} == {damage.blob for damage in found}
    assert {damage.reason for damage in again} == {"the segment file is missing"}


def test_a_block_that_cannot_be_read_is_damage_and_a_want_of_descriptors_is_not(node):
    blob = node.blob(b"key-11")
    plain_read = node.disk.pread

    def bad_block(fd, length, offset):
        if offset < blob.location.offset + 500 < offset + length and length != 64:
            raise OSError(errno.EIO, "a bad block")
        return plain_read(fd, length, offset)

    node.disk.pread = bad_block
    found = [damage for damage in node.damage() if damage.blob.location.segment_id == blob.location.segment_id]
    assert blob in [damage.blob for damage in found]
    node.disk.pread = plain_read
    node.disk.fail_next("open", errno.EMFILE)
    with pytest.raises(OSError) as failure:
        node.steps()
    assert failure.value.errno == errno.EMFILE


def test_a_record_that_moved_meanwhile_is_looked_up_again(node):
    """The batch of rows was read before the compactor moved a record, and the old segment is gone when its turn comes."""
    blob = node.blob(b"key-11")
    body = BODIES[b"key-11"]
    node.put(b"elsewhere", body + b"!")
    other = node.blob(b"elsewhere")
    node.rot(blob, HEADER_BYTES + 1)
    stale = blob

    class Moved:
        """The view of a scrub that has read its batch before the move."""

        def __init__(self, view):
            self._view = view

        def __getattr__(self, name):
            return getattr(self._view, name)

        def segments(self):
            return [row for row in self._view.segments() if row.segment_id == stale.location.segment_id]

        def blobs_in(self, segment_id, after, limit):
            return [stale._replace(number=other.number)] if not after else []

    from fasterstore.metadata.index import IndexView
    from fasterstore.scrub.records import RecordScrub

    view = IndexView(node.index_path)
    scrub = RecordScrub(node.disk, node.datadir.segments_dir, Moved(view), node.quarantine())
    assert [found for step in scrub.steps(Position()) for found in step.damage] == []
    view.close()
    assert [found.blob for found in node.damage()] == [blob], "and the rot is still found where it is"


def test_a_blob_that_nothing_has_a_row_of_any_more_is_no_damage(node):
    from fasterstore.metadata.index import IndexView
    from fasterstore.scrub.records import RecordScrub

    blob = node.blob(b"key-3")
    node.rot(blob, 9)

    class Gone:
        def __init__(self, view):
            self._view = view
            self.uploads = self

        def __getattr__(self, name):
            return getattr(self._view, name)

        def blob(self, number):
            return None if number == blob.number else self._view.uploads.blob(number)

    view = IndexView(node.index_path)
    scrub = RecordScrub(node.disk, node.datadir.segments_dir, Gone(view), node.quarantine())
    assert [found for step in scrub.steps(Position()) for found in step.damage] == []
    view.close()


def test_an_unused_blob_is_verified_until_it_is_forgotten(node):
    blob = node.blob(b"key-7")
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"key-7")))
    node.rot(blob, HEADER_BYTES)
    assert [found.blob.number for found in node.damage()] == [blob.number]


def test_a_round_goes_on_where_it_stood(node):
    batches = [step.position for step in node.steps() if step.counts.records]
    assert len(batches) > 1
    rest = node.steps(batches[0])
    assert sum(step.counts.records for step in rest) < len(BODIES)
    assert [step.position for step in rest if step.counts.records] == batches[1:]


def test_quarantine_has_a_cap_and_leaves_the_reserve_alone(node):
    one, other = node.blob(b"key-2"), node.blob(b"key-3")
    node.rot(one, 9)
    node.rot(other, 9)
    room = record_bytes(one.location.stored_bytes) + 10
    found = [damage for step in node.steps(quarantine=node.quarantine(cap_bytes=room)) for damage in step.damage]
    assert [bool(damage.kept) for damage in found] == [False, True]
    assert len(node.disk.listdir(node.datadir.quarantine_dir)) == 1
    found = [damage for step in node.steps(quarantine=node.quarantine(min_free_bytes=1 << 60)) for damage in step.damage]
    assert [bool(damage.kept) for damage in found] == [False, True], "the first copy is there already"


def test_it_works_alike_on_a_real_disk(real_node):
    blob = real_node.blob(b"key-6")
    assert real_node.damage() == []
    real_node.rot(blob, HEADER_BYTES + 3)
    assert [found.blob for found in real_node.damage()] == [blob]
