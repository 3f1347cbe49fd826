"""The storage actors as a whole: start, crash, recovery, and which starts are refused. On a memory disk and on the real one."""

import gc
import hashlib
import os
import random
from contextlib import suppress
from time import monotonic, sleep

import pykka
import pytest

from actors import messages as m
from actors.samples import SIZE_BOUNDS
from fasterstore.errors import DamagedLog, UnsupportedFormat
from fasterstore.metadata.index import IndexView
from fasterstore.model import DeleteIntent
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal_format import file_name
from fasterstore.storage.witness import Witness
from tests.storage_node import Node, audit, dump
from tools.storage_metrics import StorageMetrics


@pytest.fixture
def make_node(tmp_path):
    made = []

    def make(**settings):
        made.append(Node(tmp_path / "data", **settings))
        return made[-1]

    yield make
    for node in made:
        if node.actors is not None and not node.fatals:
            node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


@pytest.fixture
def node(make_node):
    made = make_node().start()
    made.journal.ask(m.CreateBucket("b"))
    return made


def drop_index(node):
    """Lose the index and all that SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(node.index_path + suffix):
            os.unlink(node.index_path + suffix)


def work(node, rng, rounds=6):
    for _ in range(rounds):
        asks = [node.small(b"key-%d" % rng.randrange(20), b"%d" % rng.randrange(30) * rng.choice((0, 5, 900))) for _ in range(8)]
        assert {type(answer) for answer in node.ask_together(node.writer, asks)} == {m.Stored}
        node.journal.ask(m.DeleteObject("b", DeleteIntent(b"key-%d" % rng.randrange(20))))


def wal_path(node):
    names = [name for name in node.disk.listdir(node.datadir.journal_dir) if name.endswith(".wal")]
    return f"{node.datadir.journal_dir}/{names[-1]}"


# ---- lives


def test_each_start_is_a_new_epoch_and_says_what_it_does(node):
    assert node.actors.epoch == 1
    assert node.progress[0] == ("reading the log", 0, 0)
    node.restart()
    assert node.actors.epoch == 2
    node.stop()
    node.start()
    assert node.actors.epoch == 3


def test_an_orderly_stop_leaves_nothing_to_replay_and_no_open_file(node):
    work(node, random.Random(1))
    before = dump(node.index_path)
    node.stop()
    gc.collect()
    assert dump(node.index_path) == before
    assert node.disk._handles == {}
    node.start()
    assert node.progress == [("reading the log", 0, 0)]
    audit(node.index_path)


def test_a_lost_index_is_made_again_from_the_log_row_for_row(node):
    work(node, random.Random(2))
    node.restart()
    work(node, random.Random(3))
    before, uuid = dump(node.index_path), node.actors.index_uuid
    node.crash()
    drop_index(node)
    node.start()
    assert node.progress[-1][0] == "replaying the log"
    assert node.actors.index_uuid != uuid
    after = dump(node.index_path)
    for table in ("buckets", "objects", "blobs", "usage"):
        assert after[table] == before[table]
    audit(node.index_path)


def test_everything_acknowledged_survives_a_power_cut_with_only_the_log_and_the_segments(node):
    """The index file lives on another disk here; losing it whole is harsher than any cut of its own log."""
    rng = random.Random(4)
    truth = {}
    for n in range(5):
        body = b"body %d" % n * rng.randrange(1, 400)
        assert type(node.put(b"k%d" % n, body)) is m.Stored
        truth[b"k%d" % n] = body
    mark = node.disk.mark("acknowledged")
    node.put(b"later", b"not asked for")
    crashed = list(node.disk.crash_states(mark, rng, 4))
    node.crash()
    for disk in crashed[:12]:
        drop_index(node)
        node.disk = disk
        node.start()
        view = IndexView(node.index_path)
        for key, body in truth.items():
            assert view.locate("b", key).object.etag == hashlib.md5(body).hexdigest()
        view.close()
        audit(node.index_path)
        node.crash()
    assert len(crashed) > 2


def test_a_batch_that_was_not_acknowledged_is_torn_off_counted_and_kept_aside(node):
    work(node, random.Random(5))
    node.crash()
    path = wal_path(node)
    size = len(node.disk.contents(path).rstrip(b"\0"))
    fd = node.disk.open(path)
    node.disk.pwrite(fd, b"FSFR half a frame", size + 64)
    node.disk.close(fd)
    node.start()
    assert node.actors.torn_bytes > 0
    assert len(node.disk.listdir(node.datadir.quarantine_dir)) == 1
    audit(node.index_path)


def test_it_works_alike_on_a_real_disk(make_node):
    node = make_node(disk=RealDisk()).start()
    node.journal.ask(m.CreateBucket("b"))
    work(node, random.Random(6), rounds=2)
    before = dump(node.index_path)
    node.crash()
    drop_index(node)
    node.start()
    assert dump(node.index_path)["objects"] == before["objects"]
    audit(node.index_path)


def storage_threads():
    """The kernel's ids of this process's threads that bear the name of one of storage's."""
    found = set()
    for task in os.listdir("/proc/self/task"):
        with suppress(OSError), open(f"/proc/self/task/{task}/comm", encoding="ascii") as file:
            if file.read().strip() in {"journal", "segments", "extents"}:
                found.add(task)
    return found


def test_no_native_thread_is_left_by_a_life(make_node):
    others = storage_threads()
    node = make_node().start()
    node.journal.ask(m.CreateBucket("b"))
    node.put(b"k", b"one")
    assert isinstance(node.writer.ask(m.ReserveExtent(10, 10, 1)), m.ExtentGranted)
    assert len(storage_threads() - others) == 3
    node.stop()
    deadline = monotonic() + 5  # the kernel takes a moment to forget a thread that has ended
    while storage_threads() - others and monotonic() < deadline:
        sleep(0.01)
    assert storage_threads() - others == set()


# ---- refused starts


def start_refused(node, error, match):
    with pytest.raises(error, match=match):
        node.start()
    node.actors = None
    gc.collect()


def test_the_index_of_another_log_is_refused(node, tmp_path):
    other = Node(tmp_path / "other")
    node.stop()
    for suffix in ("", "-wal", "-shm"):
        os.rename(node.index_path + suffix, other.index_path + suffix)
    start_refused(other, UnsupportedFormat, "another journal")


def test_an_index_ahead_of_the_log_is_damage_and_the_log_stays_as_it_is(node):
    """The index has folded what the log's end no longer says: that tail was acknowledged, it is not a torn one."""
    work(node, random.Random(7), rounds=2)
    node.put(b"last", b"acknowledged")
    node.crash()
    path = wal_path(node)
    data = bytearray(node.disk.contents(path))
    end = len(bytes(data).rstrip(b"\0"))
    data[end - 40] ^= 1
    node.disk.replace(path, bytes(data))
    start_refused(node, DamagedLog, "was durable")
    assert node.disk.contents(path) == bytes(data)
    assert node.disk.listdir(node.datadir.quarantine_dir) == []


def test_a_log_that_ends_below_the_witness_is_damage_even_if_the_index_is_lost(node):
    node.put(b"k", b"one")
    node.journal.ask(m.Checkpoint())
    head = Witness(node.disk, node.datadir.witness_path).read(node.datadir.log_uuid)
    assert head > 3
    node.crash()
    drop_index(node)
    path = wal_path(node)
    data = bytearray(node.disk.contents(path))
    data[len(bytes(data).rstrip(b"\0")) - 40] ^= 1
    node.disk.replace(path, bytes(data))
    start_refused(node, DamagedLog, str(head))


def test_a_log_that_is_gone_is_damage(node):
    node.put(b"k", b"one")
    node.crash()
    node.disk.unlink(wal_path(node))
    start_refused(node, DamagedLog, "no log file")
    assert not node.disk.exists(f"{node.datadir.journal_dir}/{file_name(1)}")


def test_a_missing_segment_of_the_last_life_is_damage_and_is_not_made_anew(node):
    node.put(b"k", b"one")
    node.crash()
    path = f"{node.datadir.segments_dir}/{segment_name(1)}"
    node.disk.unlink(path)
    start_refused(node, DamagedLog, "is missing")
    assert not node.disk.exists(path)


# ---- metrics


def test_batches_and_usage_are_counted(node):
    view = IndexView(node.index_path)
    metrics = StorageMetrics(lambda: view)
    metrics.batch(3, 0.002, 0.001)
    node.put(b"k", b"four")
    found = {sample["name"]: sample["samples"] for sample in metrics.samples()}
    assert found["fasterstore_bucket_objects"] == [["", {"bucket": "b"}, 1]]
    assert found["fasterstore_bucket_bytes"] == [["", {"bucket": "b"}, 4]]
    assert found["fasterstore_damaged_blobs"] == [["", {}, 0]]
    assert ["_count", {}, 1] in found["fasterstore_wal_fsync_seconds"]
    assert ["_sum", {}, 3.0] in found["fasterstore_journal_batch_requests"]
    assert len(found["fasterstore_journal_batch_requests"]) == len(SIZE_BOUNDS) + 3
    assert "fasterstore_bucket_objects" not in {sample["name"] for sample in StorageMetrics(lambda: None).samples()}
    view.close()
