"""compactor on the real storage actors and a disk in memory: what goes, what stays, and what a crash between two steps leaves."""

import errno
import random

import pykka
import pytest

from actors import messages as m
from actors import space_messages as space
from actors.compactor import CompactionPlan
from actors.runtime import sleep
from fasterstore.compaction import segments_to_rewrite
from fasterstore.metadata.index import IndexView
from fasterstore.model import DeleteIntent
from fasterstore.storage import record
from fasterstore.storage.segment import HEADER_BYTES, segment_name
from tests.actors.test_segment_writer import finish, reserve
from tests.faults.memory import SharedMemoryDisk
from tests.probe.eventually import eventually
from tests.storage_node import Node, audit, change, rows

TARGET = 64 * 1024
PLAN = CompactionPlan(interval_secs=0, read_grace_secs=0, disk_share=1.0, min_free_bytes=0, segment_target_bytes=TARGET)


@pytest.fixture
def make_node(tmp_path):
    made = []

    def make(plan=PLAN, disk=None, **settings):
        settings = {"segment_target_bytes": TARGET, **settings}
        made.append(Node(tmp_path / "data", disk or SharedMemoryDisk(), compaction=plan, **settings).start())
        made[-1].journal.ask(m.CreateBucket("b"))
        return made[-1]

    yield make
    for node in made:
        if node.actors is not None and not node.fatals:
            node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def fill(node, count, rng=None, size_bytes=2000):
    rng = rng or random.Random(1)
    bodies = {b"key-%03d" % number: rng.randbytes(size_bytes) for number in range(count)}
    for key, body in bodies.items():
        assert type(node.put(key, body)) is m.Stored
    return bodies


def delete(node, bodies, keys):
    for key in list(keys):
        node.journal.ask(m.DeleteObject("b", DeleteIntent(key)))
        del bodies[key]


def compact(node):
    """A round from its beginning to its end; the status after it."""
    before = node.compactor.ask(space.DescribeCompaction()).status["rounds"]
    node.compactor.ask(space.CompactNow())
    while (status := node.compactor.ask(space.DescribeCompaction()).status)["rounds"] == before or status["state"] == "running":
        sleep(0.001)
    return status


def first_victim(node):
    """The segment that the next round rewrites first."""
    node.journal.ask(space.ForgetBlobs(node.now_ms, 1000))
    view = view_of(node)
    row = segments_to_rewrite(view.segments(), TARGET, any_age=True)[0]
    view.close()
    return row.segment_id


def files(node):
    return [name for name in node.disk.listdir(node.datadir.segments_dir) if name.endswith(".seg")]


def view_of(node):
    return IndexView(node.index_path)


def check(node, bodies):
    view = view_of(node)
    for key, body in bodies.items():
        place = view.locate("b", key).blob.location
        data = node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}")
        assert record.verify_record(data[place.offset : place.offset + record.record_bytes(place.stored_bytes)], place) == body
    assert {segment_name(row.segment_id) for row in view.segments() if not row.retired} <= set(files(node))
    view.close()
    audit(node.index_path)


def test_a_round_rewrites_unlinks_and_keeps_every_object(make_node):
    node = make_node()
    bodies = fill(node, 200)
    before = len(files(node))
    delete(node, bodies, sorted(bodies)[::2] + sorted(bodies)[1:100:2])
    status = compact(node)
    assert status["last_round"]["error"] == ""
    assert status["moved_blobs"] > 0
    assert status["forgotten_blobs"] == 150
    assert len(files(node)) < before / 2
    check(node, bodies)
    assert compact(node)["moved_blobs"] == status["moved_blobs"]  # a second round finds nothing to do
    node.restart()
    check(node, bodies)


def test_after_a_round_live_and_reclaimable_bytes_make_up_what_sealed_segments_hold(make_node):
    node = make_node()
    bodies = fill(node, 200)
    delete(node, bodies, sorted(bodies)[::5])
    compact(node)
    status = compact(node)
    view = view_of(node)
    sealed = [row for row in view.segments() if row.sealed and not row.retired]
    view.close()
    assert sealed and status["live_bytes"] == sum(row.live_bytes for row in sealed) > 0
    assert status["held_bytes"] == status["live_bytes"] + status["reclaimable_bytes"] + len(sealed) * HEADER_BYTES


def test_a_segment_with_nothing_in_it_goes_without_a_byte_being_copied(make_node):
    node = make_node()
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies))
    status = compact(node)
    assert (status["moved_blobs"], files(node)) == (0, [])
    assert status["freed_bytes"] > 150_000


def test_grace_keeps_what_was_just_deleted(make_node):
    node = make_node(PLAN._replace(read_grace_secs=60))
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies))
    before = files(node)
    assert compact(node)["freed_bytes"] == 0
    assert files(node) == before
    node.now_ms += 61_000
    assert compact(node)["freed_bytes"] > 0


@pytest.mark.parametrize("seed", range(4))
def test_killed_anywhere_in_a_round_nothing_is_lost_and_the_next_round_finishes(make_node, seed):
    node = make_node()
    rng = random.Random(seed)
    bodies = fill(node, 150, rng)
    delete(node, bodies, rng.sample(sorted(bodies), 100))
    for _ in range(4):
        node.compactor.ask(space.CompactNow())
        sleep(rng.random() * 0.02)
        node.restart()
        check(node, bodies)
    assert compact(node)["last_round"]["error"] == ""
    check(node, bodies)
    live = sum(map(record.record_bytes, map(len, bodies.values())))
    held = sum(len(node.disk.contents(f"{node.datadir.segments_dir}/{name}")) for name in files(node))
    assert held < 3 * live + 8 * TARGET


def test_a_retired_file_that_a_crash_left_behind_is_unlinked_by_the_next_round(make_node):
    node = make_node()
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies))
    node.disk.fail_next("unlink", errno.ENOENT)  # not a failed volume: the round ends
    assert "unlink" in compact(node)["last_round"]["error"]
    view = view_of(node)
    assert any(row.retired for row in view.segments())
    view.close()
    node.restart()
    assert compact(node)["last_round"]["error"] == ""
    assert files(node) == []


def test_a_failed_write_of_a_copy_ends_the_process_as_suspect(make_node):
    node = make_node()
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies)[::2])
    node.settle()
    node.disk.fail_next("pwritev", errno.EIO)
    node.compactor.ask(space.CompactNow())
    eventually(lambda: node.fatals, "the process ends")
    assert node.fatals[0][1] is True
    assert "compaction" in node.fatals[0][0]


def test_a_full_disk_ends_the_round_and_not_the_node(make_node):
    node = make_node()
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies)[::2])
    node.settle()
    node.disk.fail_next("fallocate", errno.ENOSPC)
    assert "StorageFull" in compact(node)["last_round"]["error"]
    assert not node.fatals
    assert compact(node)["last_round"]["error"] == ""
    check(node, bodies)


def test_a_put_refused_for_want_of_room_is_taken_after_a_round_that_used_the_reserve(make_node):
    reserve = 400_000
    node = make_node(PLAN._replace(min_free_bytes=reserve), min_free_bytes=reserve)
    bodies = fill(node, 200)
    node.disk.capacity_bytes = node.disk._used_bytes() + reserve - 1
    assert node.put(b"one-more", b"x" * 2000) == m.Refused("StorageFull", node.put(b"one-more", b"x" * 2000).detail)
    delete(node, bodies, sorted(bodies)[::2])
    assert compact(node)["freed_bytes"] > 0
    assert type(node.put(b"one-more", b"x" * 2000)) is m.Stored
    check(node, bodies)


def test_objects_deleted_while_a_round_is_under_way_do_not_come_back(make_node):
    node = make_node(PLAN._replace(disk_share=0.3))
    bodies = fill(node, 300)
    delete(node, bodies, sorted(bodies)[::3])
    node.compactor.ask(space.CompactNow())
    rng = random.Random(3)
    for key in rng.sample(sorted(bodies), 100):
        delete(node, bodies, [key])
        again = b"again %d" % rng.randrange(50)
        node.put(key, again)
        bodies[key] = again
        sleep(0)
    compact(node)
    check(node, bodies)


def test_a_segment_that_cannot_be_opened_does_not_keep_the_others_from_being_rewritten(make_node):
    node = make_node()
    bodies = fill(node, 200)
    delete(node, bodies, sorted(bodies)[::2] + sorted(bodies)[1:100:2])
    lost = first_victim(node)
    node.disk.unlink(f"{node.datadir.segments_dir}/{segment_name(lost)}")
    status = compact(node)
    assert status["moved_blobs"] > 0
    assert f"{lost:016x} cannot be read" in status["last_round"]["error"]
    assert not node.fatals


def test_a_medium_that_cannot_read_the_head_of_a_segment_file_does_not_end_the_node(make_node):
    node = make_node()
    bodies = fill(node, 200)
    delete(node, bodies, sorted(bodies)[::2] + sorted(bodies)[1:100:2])
    node.settle()
    node.disk.fail_next("pread", errno.EIO)  # the first read of a round is that of a segment file's header
    status = compact(node)
    assert not node.fatals
    assert "cannot be read" in status["last_round"]["error"]
    assert status["moved_blobs"] > 0
    assert compact(node)["last_round"]["error"] == ""
    check(node, bodies)


class _DefectiveDisk(SharedMemoryDisk):
    """Fails once with what no step of a round expects."""

    defects = 1

    def unlink(self, path):
        if path.endswith(".seg") and self.defects:
            self.defects -= 1
            raise RuntimeError("a defect")
        super().unlink(path)


def test_a_defect_in_a_round_ends_that_round_and_not_all_later_ones(make_node):
    node = make_node(disk=_DefectiveDisk())
    bodies = fill(node, 100)
    delete(node, bodies, sorted(bodies))
    assert "a defect" in compact(node)["last_round"]["error"]
    status = compact(node)
    assert status["last_round"]["error"] == ""
    assert files(node) == []


def test_damaged_rows_keep_no_round_from_doing_the_rest_and_are_counted(make_node):
    node = make_node()
    bodies = fill(node, 200)
    delete(node, bodies, sorted(bodies)[::2] + sorted(bodies)[1:100:2])
    view = view_of(node)
    kept = view.locate("b", sorted(bodies)[0]).blob  # one that is still named
    view.close()
    unused = rows(node.index_path, "SELECT number FROM blobs WHERE unused_ms IS NOT NULL ORDER BY unused_ms")[0][0]
    before = len(files(node))
    for number in (unused, kept.number):
        change(node.index_path, "UPDATE blobs SET value = zeroblob(8) WHERE number = ?", (number,))
    status = compact(node)
    assert not node.fatals
    assert status["forgotten_blobs"] == 149
    assert status["moved_blobs"] > 0
    assert len(files(node)) < before / 2 + 2
    assert (status["left_out"], str(unused) in status["last_round"]["error"]) == (2, True)
    present = {name for name in files(node)}
    assert segment_name(kept.location.segment_id) in present, "its bytes may be what a repair of the row names"
    del bodies[sorted(bodies)[0]]
    view = view_of(node)
    for key, body in bodies.items():
        place = view.locate("b", key).blob.location
        data = node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}")
        assert record.verify_record(data[place.offset : place.offset + record.record_bytes(place.stored_bytes)], place) == body
    view.close()


@pytest.mark.parametrize("is_punched", [True, False])
def test_what_the_log_gave_back_and_the_disk_did_not_is_given_back_by_a_rewriting(make_node, is_punched):
    node = make_node(PLAN._replace(segment_target_bytes=1 << 20), segment_target_bytes=1 << 20)
    body = random.Random(2).randbytes(300_000)
    kept = reserve(node, len(body))
    assert type(node.writer.ask(finish(node, kept, b"kept", body))) is m.Stored
    while (aborted := reserve(node, len(body))).segment_id != kept.segment_id:
        pass  # of another lane: it stays open
    if not is_punched:
        node.fail_next("punch", errno.EIO)
    node.writer.tell(m.AbortExtent(aborted.extent, aborted.epoch))
    while is_punched != any(op.kind == "punch" for op in node.disk.ops) or "punch" in node.disk._faults:
        sleep(0.001)
    node.settle()
    view = view_of(node)
    assert [row.punched_bytes > 0 for row in view.segments() if row.segment_id == kept.segment_id] == [True]
    view.close()
    node.stop()  # which gives back what was allocated ahead
    node.start()
    status = compact(node)
    assert (status["moved_blobs"], status["unpunched_bytes"]) == (0 if is_punched else 1, 0)
    assert (segment_name(kept.segment_id) in files(node)) == is_punched
    check(node, {b"kept": body})
