"""The appender: where records go, what is durable when, and that a refused write changes nothing."""

import errno
import random

import pytest

from fasterstore.errors import InvariantError, StorageFull, VolumeSuspect
from fasterstore.model import Epoch, SegmentId
from fasterstore.storage import record, segment
from fasterstore.storage.appender import PREALLOCATE_MIN_BYTES, ActiveSegment, Finished, SegmentAppender
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.memory_disk import MemoryDisk

TARGET = 64 * 1024


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.mkdir("/segments")
    made.fsync_dir("/")
    return made


def appender_on(disk, *, target=TARGET, min_free=0, epoch=3, first=10, ids=20, folder="/segments", lanes=1):
    rng = random.Random(epoch)
    made = SegmentAppender(
        disk, folder, Epoch(epoch), target_bytes=target, min_free_bytes=min_free, extent_lanes=lanes, random_bytes=rng.randbytes
    )
    made.add_ids(SegmentId(first), ids)
    return made


@pytest.fixture
def appender(disk):
    return appender_on(disk)


def append(appender, *payloads):
    runs, locations = appender.place_small(payloads)
    appender.write(runs)
    return locations


def read(disk, location, folder="/segments"):
    fd = disk.open(f"{folder}/{segment.segment_name(location.segment_id)}", read_only=True)
    try:
        return bytes(record.verify_record(disk.pread(fd, record.record_bytes(location.stored_bytes), location.offset), location))
    finally:
        disk.close(fd)


def grant(appender, size, worker=1):
    extent = appender.place_extent(size, size, worker)
    appender.prepare([extent])
    return extent


def finish(appender, disk, extent, payload):
    """What worker and segment-writer do with a granted extent."""
    fd = disk.open(f"/segments/{segment.segment_name(extent.location.segment_id)}")
    table = record.chunk_table(payload)
    disk.pwritev(fd, [payload, table], extent.location.offset + record.HEADER_BYTES)
    disk.close(fd)
    appender.finish([Finished(extent, record.table_digest(table))])
    appender.finished(extent)


# ---- small records


def test_small_records_lie_behind_each_other_and_verify(appender, disk):
    bodies = [b"one", b"x" * 5000, b"three"]
    locations = append(appender, *bodies)
    assert [location.offset for location in locations] == [64, 64 + 128 + 3 + 16, 64 + 2 * (128 + 16) + 5003]
    assert [read(disk, location) for location in locations] == bodies
    assert len({location.record_id for location in locations}) == 3


def test_a_segment_names_itself_epoch_and_uuid(appender, disk):
    location = append(appender, b"one")[0]
    header = segment.unpack_header(disk.contents(f"/segments/{segment.segment_name(location.segment_id)}"))
    assert header == (10, 3, appender._small.file_uuid)


def test_records_that_were_written_survive_a_power_cut_with_their_file_names(appender, disk):
    kept = []
    for number in range(6):
        kept += append(appender, *(b"%d-%d" % (number, n) * 900 for n in range(5)))
        upto = disk.mark("acknowledged")
    rng = random.Random(1)
    appender.place_small([b"never written"])
    for crashed in disk.crash_states(upto, rng, 40):
        for location in kept:
            assert read(crashed, location)


def test_a_full_segment_is_rolled_and_sealed_at_its_length(appender, disk):
    first = append(appender, b"x" * 60_000)[0]
    assert not appender.has_sealable
    second = append(appender, b"y" * 20_000)[0]
    assert (first.segment_id, second.segment_id) == (10, 11)
    sealed = appender.seal()
    assert [(done.segment_id, done.end) for done in sealed] == [(10, 64 + record.record_bytes(60_000))]
    path = f"/segments/{segment.segment_name(10)}"
    assert len(disk.contents(path)) == sealed[0].end
    assert not appender.has_sealable
    assert appender.seal() == []


def test_one_group_may_fill_several_segments(appender, disk):
    locations = append(appender, *(bytes([number]) * 20_000 for number in range(12)))
    assert len({location.segment_id for location in locations}) == 4
    assert [read(disk, location)[0] for location in locations] == list(range(12))


def test_a_record_larger_than_the_target_has_a_segment_to_itself(disk):
    appender = appender_on(disk, target=4096)
    locations = append(appender, b"a", b"b" * 10_000, b"c")
    assert len({location.segment_id for location in locations}) == 3
    assert read(disk, locations[1]) == b"b" * 10_000


def test_without_an_id_nothing_is_placed_and_nothing_retired(disk):
    appender = appender_on(disk, ids=1)
    location = append(appender, b"x" * 60_000)[0]
    for _ in range(2):
        with pytest.raises(InvariantError, match="no segment id"):
            appender.place_small([b"y" * 60_000])
    assert not appender.has_sealable
    appender.add_ids(SegmentId(99), 5)
    assert append(appender, b"y" * 60_000)[0].segment_id == 99
    assert [done.segment_id for done in appender.seal()] == [location.segment_id]


# ---- extents


def test_extents_lie_apart_from_small_records_and_on_pages_of_their_own(appender, disk):
    small = append(appender, b"one")[0]
    extents = [grant(appender, 10_000), grant(appender, 5)]
    assert {extent.location.segment_id for extent in extents} == {11}
    assert small.segment_id == 10
    assert [extent.location.offset for extent in extents] == [4096, 4096 + 12288]
    for extent, payload in zip(reversed(extents), (b"small", b"L" * 10_000), strict=True):
        finish(appender, disk, extent, payload)
    assert read(disk, extents[0].location) == b"L" * 10_000
    assert read(disk, extents[1].location) == b"small"
    assert appender.extents == {}


def test_an_extent_without_its_header_is_no_record(appender, disk):
    extent = grant(appender, 5)
    with pytest.raises(record.DamagedRecord):
        read(disk, extent.location)


def test_a_finished_extent_survives_a_power_cut(appender, disk):
    payload = bytes(range(256)) * 150
    extent = grant(appender, len(payload))
    finish(appender, disk, extent, payload)
    for crashed in disk.crash_states(disk.mark("acknowledged"), random.Random(1), 30):
        assert read(crashed, extent.location) == payload


def test_a_body_over_the_target_has_a_segment_of_its_own_that_is_sealed_when_it_is_finished(appender, disk):
    before = grant(appender, 100)
    payload = b"x" * (TARGET + 1)
    extent = grant(appender, len(payload))
    after = grant(appender, 100)
    assert before.location.segment_id == after.location.segment_id != extent.location.segment_id
    assert not appender.has_sealable
    finish(appender, disk, extent, payload)
    sealed = appender.seal()
    assert [done.segment_id for done in sealed] == [extent.location.segment_id]
    path = f"/segments/{segment.segment_name(extent.location.segment_id)}"
    assert len(disk.contents(path)) == 4096 + record.record_bytes(len(payload))
    assert read(disk, extent.location) == payload


def test_a_segment_with_an_open_extent_is_not_sealed(appender, disk):
    first = grant(appender, 40_000)
    second = grant(appender, 40_000)
    assert first.location.segment_id != second.location.segment_id
    assert appender.seal() == []
    appender.drop_extent(first.number)
    assert [done.segment_id for done in appender.seal()] == [first.location.segment_id]


def test_a_dropped_extent_is_forgotten_and_one_that_is_being_finished_is_not(appender):
    first, second = grant(appender, 10), grant(appender, 10)
    second.finishing = True
    for number in (first.number, first.number, second.number, 999):
        appender.drop_extent(number)
    assert list(appender.extents) == [second.number]
    assert second.segment.open_extents == 1


def test_the_place_of_a_dropped_extent_is_not_given_out_again(appender):
    first = grant(appender, 10)
    appender.drop_extent(first.number)
    second = grant(appender, 10)
    assert second.location.offset > first.location.offset
    assert second.number != first.number


def test_extents_take_turns_in_as_many_segments_as_there_are_lanes(disk):
    appender = appender_on(disk, lanes=3)
    segments = [grant(appender, 10).location.segment_id for _ in range(6)]
    assert len(set(segments[:3])) == 3
    assert segments[3:] == segments[:3]


def test_a_lost_worker_loses_its_open_extents_only(appender):
    mine, other, finishing = grant(appender, 10, 1), grant(appender, 10, 2), grant(appender, 10, 1)
    finishing.finishing = True
    appender.drop_worker(1)
    assert sorted(appender.extents) == sorted([other.number, finishing.number])
    assert mine.number not in appender.extents


# ---- refusals


def test_a_full_disk_refuses_small_records_whole_and_takes_them_later(appender, disk):
    first = append(appender, b"one")[0]
    disk.capacity_bytes = disk._used_bytes()
    names = disk.listdir("/segments")
    end = appender._small.end
    big = [b"x" * 50_000 for _ in range(4)]
    runs, _ = appender.place_small(big)
    with pytest.raises(StorageFull):
        appender.write(runs)
    appender.undo(runs)
    assert runs[0].segment.end == end
    disk.capacity_bytes = None
    locations = append(appender, b"two", *big)
    assert read(disk, first) == b"one"
    assert [read(disk, location) for location in locations] == [b"two", *big]
    assert len(disk.listdir("/segments")) >= len(names)


def test_a_full_disk_refuses_an_extent_and_grants_it_later(appender, disk):
    disk.capacity_bytes = disk._used_bytes() + 100
    extent = appender.place_extent(10_000, 10_000, 1)
    with pytest.raises(StorageFull):
        appender.prepare([extent])
    appender.undo_extent(extent)
    assert appender.extents == {}
    disk.capacity_bytes = None
    again = grant(appender, 10_000)
    finish(appender, disk, again, b"y" * 10_000)
    assert read(disk, again.location) == b"y" * 10_000
    assert append(appender, b"one")


@pytest.mark.parametrize("operation", ["pwrite", "fsync", "fsync_dir"])
def test_a_file_that_could_not_be_made_for_want_of_room_gives_way_to_one_of_another_id(appender, disk, operation):
    disk.fail_next(operation, errno.ENOSPC)
    runs, _ = appender.place_small([b"one"])
    with pytest.raises(StorageFull):
        appender.write(runs)
    appender.undo(runs)
    location = append(appender, b"one")[0]
    assert location.segment_id == 11
    assert read(disk, location) == b"one"


def test_a_file_that_is_in_the_way_is_never_written_over(appender, disk):
    fd = disk.open(f"/segments/{segment.segment_name(10)}", create=True)
    disk.pwrite(fd, b"acknowledged bytes of an earlier life", 0)
    runs, _ = appender.place_small([b"one"])
    with pytest.raises(VolumeSuspect):
        appender.write(runs)
    assert disk.contents(f"/segments/{segment.segment_name(10)}") == b"acknowledged bytes of an earlier life"


@pytest.mark.parametrize("operation", ["pwritev", "fdatasync", "fsync", "fsync_dir", "fallocate", "open"])
def test_a_failing_disk_makes_the_volume_suspect(appender, disk, operation):
    disk.fail_next(operation, errno.EIO)
    runs, _ = appender.place_small([b"one"])
    with pytest.raises(VolumeSuspect):
        appender.write(runs)


def test_a_sync_that_says_the_disk_is_full_has_lost_writes(appender, disk):
    append(appender, b"one")
    disk.fail_next("fdatasync", errno.ENOSPC)
    runs, _ = appender.place_small([b"two"])
    with pytest.raises(VolumeSuspect):
        appender.write(runs)


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_an_extent_whose_header_or_sync_fails_makes_the_volume_suspect(appender, disk, operation):
    extent = grant(appender, 5)
    disk.fail_next(operation, errno.ENOSPC)
    with pytest.raises(VolumeSuspect):
        appender.finish([Finished(extent, bytes(32))])


def test_a_failing_seal_makes_the_volume_suspect(appender, disk):
    append(appender, b"x" * 60_000)
    append(appender, b"y" * 60_000)
    disk.fail_next("fdatasync", errno.EIO)
    with pytest.raises(VolumeSuspect):
        appender.seal()


def test_below_the_free_space_reserve_nothing_is_placed(disk):
    disk.capacity_bytes = 4 << 20
    appender = appender_on(disk, min_free=3 << 20, target=2 << 20)
    append(appender, b"one")
    runs, _ = appender.place_small([b"x" * 40_000 for _ in range(40)])
    with pytest.raises(StorageFull, match="FS_MIN_FREE_MB"):
        appender.write(runs)
    appender.undo(runs)
    extent = appender.place_extent(1 << 20, 1 << 20, 1)
    with pytest.raises(StorageFull, match="FS_MIN_FREE_MB"):
        appender.prepare([extent])
    appender.undo_extent(extent)
    assert append(appender, b"two")


def test_preallocation_never_eats_the_reserve(disk):
    spare = 200_000
    disk.capacity_bytes = (3 << 20) + spare
    appender = appender_on(disk, min_free=3 << 20, target=8 << 20)
    taken = 0
    with pytest.raises(StorageFull):
        while True:
            append(appender, b"x" * 10_000)
            taken += record.record_bytes(10_000)
            assert disk.free_bytes("/segments") >= 3 << 20
    assert taken > spare - 2 * record.record_bytes(10_000)


# ---- space


def test_space_is_taken_in_steps_and_given_back_at_the_seal_and_the_stop(disk):
    appender = appender_on(disk, target=64 << 20)
    append(appender, b"one")
    path = f"/segments/{segment.segment_name(10)}"
    assert len(disk.contents(path)) == PREALLOCATE_MIN_BYTES
    marked = disk.mark("before")
    for _ in range(10):
        append(appender, b"two")
    assert "fallocate" not in {op.kind for op in disk.ops[marked:]}
    appender.close()
    assert len(disk.contents(path)) == 64 + 11 * record.record_bytes(3)
    assert disk._handles == {}


def test_the_next_epoch_appends_to_files_of_its_own(appender, disk):
    old = append(appender, b"one")[0]
    before = disk.contents(f"/segments/{segment.segment_name(old.segment_id)}")
    following = appender_on(disk, epoch=4, first=30)
    assert append(following, b"two")[0].segment_id == 30
    assert disk.contents(f"/segments/{segment.segment_name(old.segment_id)}") == before


def test_it_works_alike_on_a_real_disk(tmp_path):
    disk = RealDisk()
    appender = appender_on(disk, folder=str(tmp_path))
    bodies = [b"x" * size for size in (0, 1, 40_000, 40_000)]
    locations = append(appender, *bodies)
    assert [read(disk, location, str(tmp_path)) for location in locations] == bodies
    assert [done.end for done in appender.seal()] == [(tmp_path / segment.segment_name(10)).stat().st_size]
    appender.close()
    assert sorted(disk.listdir(str(tmp_path))) == [segment.segment_name(10), segment.segment_name(11)]


def test_a_segment_whose_last_extent_is_finished_while_others_are_sealed_is_sealed_the_next_time(appender):
    class FinishedMeanwhile(ActiveSegment):
        looks = 0

        @property
        def open_extents(self):
            self.looks += 1
            return int(self.looks == 1)

        @open_extents.setter
        def open_extents(self, count):
            pass

    busy = FinishedMeanwhile(SegmentId(1), bytes(16))
    appender._retire(busy)
    assert busy in [*appender.seal(), *appender.seal()]
