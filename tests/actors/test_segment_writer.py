"""segment-writer: bytes before names. Small appends, claims, extents, rolls, and what happens when the disk refuses or fails."""

import errno
import hashlib
import random

import pytest
from blake3 import blake3

from actors import messages as m
from actors.runtime import ActorDeadError
from actors.segment_writer import BATCH_MAX_PAYLOAD_BYTES
from fasterstore.metadata.index import IndexView
from fasterstore.model import DeleteIntent, PutIntent
from fasterstore.storage import record
from fasterstore.storage.segment import segment_name
from tests.probe.eventually import eventually
from tests.storage_node import audit, dump

TARGET = 1 << 20


def located(node, key, bucket="b"):
    view = IndexView(node.index_path)
    try:
        return view.locate(bucket, key)
    finally:
        view.close()


def segments(node):
    view = IndexView(node.index_path)
    try:
        return view.segments()
    finally:
        view.close()


def stored_bytes(node, key):
    """The object's bytes as a reader gets them: the row, the file it names, the record verified."""
    found = located(node, key)
    if not found.object.blob:
        return b""
    place = found.blob.location
    data = node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}")
    return bytes(record.verify_record(data[place.offset : place.offset + record.record_bytes(place.stored_bytes)], place))


def damage(node, key):
    """Flip one byte of the object's stored payload."""
    place = located(node, key).blob.location
    path = f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}"
    data = bytearray(node.disk.contents(path))
    data[place.offset + record.HEADER_BYTES] ^= 1
    # In place, past the writer's back: its descriptor stays good.
    fd = node.disk.open(path)
    node.disk.pwrite(fd, bytes(data[place.offset + record.HEADER_BYTES :][:1]), place.offset + record.HEADER_BYTES)
    node.disk.close(fd)


def kinds(answers):
    return [answer.error if isinstance(answer, m.Refused) else type(answer).__name__ for answer in answers]


def reserve(node, size, worker=1):
    return node.writer.ask(m.ReserveExtent(size, size, worker))


def fill(node, grant, body):
    """What a worker does with a granted extent; the digest of the chunk table."""
    table = record.chunk_table(body)
    fd = node.disk.open(f"{node.datadir.segments_dir}/{segment_name(grant.segment_id)}")
    node.disk.pwritev(fd, [body, table], grant.offset + record.HEADER_BYTES)
    node.disk.close(fd)
    return record.table_digest(table)


def finish(node, grant, key, body, *, claim=0, epoch=None, **intent):
    digest = fill(node, grant, body)
    wanted = PutIntent("b", key, len(body), hashlib.md5(body).hexdigest(), {}, {}, {}, **intent)
    blob_id = blake3(body, key=node.datadir.blob_key).digest()
    return m.FinishExtent(wanted, grant.extent, grant.epoch if epoch is None else epoch, blob_id, digest, claim)


# ---- small bodies


def test_a_put_is_stored_and_read_back(node):
    for key, body in ((b"a", b"one"), (b"b", b"x" * 65536), (b"c", b"")):
        answer = node.put(key, body)
        assert (answer.etag, answer.deduplicated) == (hashlib.md5(body).hexdigest(), False)
        assert stored_bytes(node, key) == body
    audit(node.index_path)


def test_an_empty_body_has_no_blob_and_writes_no_segment(node):
    assert type(node.put(b"k", b"")) is m.Stored
    assert node.disk.listdir(node.datadir.segments_dir) == []
    assert located(node, b"k").blob is None


def test_bytes_are_on_stable_storage_before_they_are_named(node):
    """Cut the power at every acknowledgement: whatever the index can name is there."""
    marks = []
    for number in range(4):
        node.ask_together(node.writer, [node.small(b"%d-%d" % (number, n), b"body %d-%d" % (number, n) * 50) for n in range(5)])
        marks.append(node.disk.mark("acknowledged"))
    rng = random.Random(5)
    for number, mark in enumerate(marks):
        for crashed in node.disk.crash_states(mark, rng, 10):
            for n in range(5):
                place = located(node, b"%d-%d" % (number, n)).blob.location
                fd = crashed.open(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}", read_only=True)
                data = crashed.pread(fd, record.record_bytes(place.stored_bytes), place.offset)
                assert record.verify_record(data, place) == b"body %d-%d" % (number, n) * 50
                crashed.close(fd)


def test_what_is_asked_together_is_one_append_and_two_syncs(node):
    node.put(b"first", b"makes the segment")
    marked = node.disk.mark("before")
    answers = node.ask_together(node.writer, [node.small(b"k%d" % n, b"body %d" % n) for n in range(50)])
    assert kinds(answers) == ["Stored"] * 50
    counted = [op.kind for op in node.disk.ops[marked:]]
    assert (counted.count("write"), counted.count("sync")) == (2, 2)  # the segment, then the log


def test_the_payload_cap_splits_a_group_and_never_a_body(node):
    count = BATCH_MAX_PAYLOAD_BYTES // 65536 + 10
    node.put(b"first", b"makes the segment")
    marked = node.disk.mark("before")
    answers = node.ask_together(node.writer, [node.small(b"k%d" % n, bytes([n]) * 65536) for n in range(count)])
    assert kinds(answers) == ["Stored"] * count
    groups = [len(op.data) for op in node.disk.ops[marked:] if op.kind == "write" and len(op.data) > 65536]
    assert sum(groups) >= count * 65536
    assert all(stored_bytes(node, b"k%d" % n) == bytes([n]) * 65536 for n in range(count))
    audit(node.index_path)


def test_of_two_puts_if_none_match_asked_together_exactly_one_wins(node):
    answers = node.ask_together(node.writer, [node.small(b"k", b"one", if_none_match="*"), node.small(b"k", b"two", if_none_match="*")])
    assert kinds(answers) == ["Stored", "PreconditionFailed"]
    assert stored_bytes(node, b"k") == b"one"


# ---- dedup


def test_a_body_that_is_longer_than_what_clients_see_is_stored_whole_and_never_claimed(node):
    """As one is that is sealed under a customer's key."""
    body = b"x" * 100 + b"and what sealing adds"
    blob_id = blake3(body, key=node.datadir.blob_key).digest()
    for key, must_append in ((b"a", False), (b"b", True)):
        intent = PutIntent("b", key, 100, "e" * 32, {}, {}, {}, overhead_bytes=len(body) - 100)
        answer = node.writer.ask(m.PutObject(intent, blob_id, body, must_append))
        assert (type(answer), answer.deduplicated) == (m.Stored, False)
        assert (stored_bytes(node, key), located(node, key).object.size_bytes) == (body, 100)
    assert located(node, b"a").object.blob != located(node, b"b").object.blob
    short = PutIntent("b", b"c", 100, "e" * 32, {}, {}, {})
    assert kinds([node.writer.ask(m.PutObject(short, blob_id, body))]) == ["StorageFailure"]


def test_the_same_bytes_are_stored_once(node):
    node.put(b"a", b"same")
    marked = node.disk.mark("before")
    assert node.put(b"b", b"same").deduplicated
    assert not any(op.kind == "write" and b"same" in op.data for op in node.disk.ops[marked:])
    assert located(node, b"a").blob == located(node, b"b").blob
    assert located(node, b"a").blob.refs == 2
    audit(node.index_path)


def test_overwriting_with_the_same_bytes_keeps_their_blob(node):
    node.put(b"a", b"same")
    assert node.put(b"a", b"same").deduplicated
    assert (located(node, b"a").blob.refs, located(node, b"a").blob.zero_since_ms) == (1, 0)
    audit(node.index_path)


def test_a_claim_is_compared_byte_for_byte(node):
    """Two bodies under one id: the stored one is neither handed out for the other nor called damaged nor replaced."""
    node.put(b"a", b"honest")
    lie = node.small(b"b", b"forged")._replace(blob_id=node.small(b"a", b"honest").blob_id)
    assert not node.writer.ask(lie).deduplicated
    assert (stored_bytes(node, b"a"), stored_bytes(node, b"b")) == (b"honest", b"forged")
    assert not located(node, b"a").blob.damaged
    audit(node.index_path)


def test_a_damaged_record_is_no_claim_and_a_put_of_its_bytes_repairs_every_object_that_shares_it(node):
    node.put(b"a", b"shared")
    node.put(b"b", b"shared")
    damage(node, b"a")
    with pytest.raises(record.DamagedRecord):
        stored_bytes(node, b"a")
    answer = node.put(b"c", b"shared")
    assert not answer.deduplicated
    for key in (b"a", b"b", b"c"):
        assert stored_bytes(node, key) == b"shared"
        assert (located(node, key).blob.number, located(node, key).blob.refs, located(node, key).blob.damaged) == (1, 3, False)
    audit(node.index_path)


def test_a_blob_that_a_worker_found_damaged_is_repaired_by_the_next_put(node):
    node.put(b"a", b"shared")
    old = located(node, b"a").blob
    node.journal.tell(m.BlobFoundDamaged.of(old))
    node.settle()
    assert located(node, b"a").blob.damaged
    assert not node.put(b"b", b"shared").deduplicated
    assert located(node, b"a").blob.location.record_id != old.location.record_id
    assert not located(node, b"a").blob.damaged
    assert node.put(b"c", b"shared").deduplicated
    audit(node.index_path)


def test_a_put_repairs_a_damaged_blob_that_has_a_sound_twin(node):
    """Bodies that are asked together find no blob yet, so the same bytes are stored twice."""
    node.ask_together(node.writer, [node.small(b"a", b"shared"), node.small(b"b", b"shared")])
    damaged = located(node, b"a").blob
    assert damaged.number != located(node, b"b").blob.number
    node.journal.tell(m.BlobFoundDamaged.of(damaged))
    node.settle()
    assert not node.put(b"c", b"shared").deduplicated
    assert not located(node, b"a").blob.damaged
    assert node.put(b"d", b"shared").deduplicated
    audit(node.index_path)


def test_a_missing_segment_file_is_no_claim_and_a_put_repairs_it(node):
    node.put(b"a", b"shared")
    place = located(node, b"a").blob.location
    node.restart()
    node.disk.unlink(f"{node.datadir.segments_dir}/{segment_name(place.segment_id)}")
    assert not node.put(b"b", b"shared").deduplicated
    assert stored_bytes(node, b"a") == b"shared"


def test_a_read_that_fails_for_want_of_descriptors_calls_no_record_damaged(node):
    node.put(b"a", b"shared")
    node.fail_next("open", errno.EMFILE)
    assert not node.put(b"b", b"shared").deduplicated
    assert not located(node, b"a").blob.damaged
    assert located(node, b"b").blob.number == 2
    audit(node.index_path)


# ---- a disk that refuses or fails


def test_a_full_disk_refuses_puts_and_takes_them_later(node):
    node.put(b"a", b"one")
    node.journal.ask(m.Checkpoint())  # so that the witness has its file
    before = dump(node.index_path)
    node.disk.capacity_bytes = node.disk._used_bytes()
    answers = node.ask_together(node.writer, [node.small(b"k%d" % n, bytes([n]) * 60_000) for n in range(20)])
    assert kinds(answers) == ["StorageFull"] * 20
    assert dump(node.index_path) == before
    assert reserve(node, 1 << 20) == m.Refused("StorageFull", reserve(node, 1 << 20).detail)
    node.disk.capacity_bytes = None
    answers = node.ask_together(node.writer, [node.small(b"k%d" % n, bytes([n]) * 60_000) for n in range(20)])
    assert kinds(answers) == ["Stored"] * 20
    assert all(stored_bytes(node, b"k%d" % n) == bytes([n]) * 60_000 for n in range(20))
    assert node.fatals == []
    audit(node.index_path)


def test_below_the_free_space_reserve_puts_are_refused_and_deletes_work(make_node):
    node = make_node(min_free_bytes=4 << 20).start()
    node.journal.ask(m.CreateBucket("b"))
    node.put(b"a", b"one")
    node.disk.capacity_bytes = node.disk._used_bytes() + (3 << 20)
    asks = [node.small(b"b", b"two"), node.small(b"c", b""), node.small(b"d", b"one"), m.ReserveExtent(10, 10, 1)]
    assert kinds(node.ask_together(node.writer, asks)) == ["StorageFull"] * 4
    assert kinds([node.journal.ask(m.DeleteObject("b", DeleteIntent(b"a")))]) == ["Deleted"]
    node.disk.capacity_bytes = None
    assert kinds([node.put(b"b", b"two")]) == ["Stored"]


def test_large_extents_on_a_full_disk_are_refused_as_long_as_it_takes(make_node):
    """Each takes a segment of its own, hence an id, and the log has no room for the next lease: no id left must be no defect."""
    node = make_node(min_free_bytes=64 << 20).start()
    node.journal.ask(m.CreateBucket("b"))
    node.put(b"a", b"one")
    node.disk.capacity_bytes = node.disk._used_bytes()
    for size in (900_000, 50_000, 3000, 100):
        pad = m.CommitPut(PutIntent("b", b"p", 0, "e" * 32, {"x": "x" * size}, {}, {}), node.actors.epoch, bytes(32), None, 0)
        while kinds([node.journal.ask(pad)]) == ["Stored"]:
            pass
    while kinds([node.journal.ask(m.LeaseSegmentIds(1))]) == ["SegmentIdsLeased"]:
        pass
    answers = [reserve(node, 3 * TARGET) for _ in range(100)]
    assert set(kinds(answers)) == {"StorageFull"}
    assert kinds([node.put(b"b", b"two")]) == ["StorageFull"]
    node.disk.capacity_bytes = None
    assert kinds([reserve(node, 3 * TARGET), node.put(b"b", b"two")]) == ["ExtentGranted", "Stored"]


@pytest.mark.parametrize("operation", ["pwritev", "fdatasync", "fsync"])
def test_a_failed_segment_write_ends_the_process_and_no_answer_leaves(node, operation):
    before = dump(node.index_path)
    node.fail_next(operation, errno.EIO)
    answers = node.ask_together(node.writer, [node.small(b"k", b"one"), node.small(b"l", b"two")])
    assert all(isinstance(answer, ActorDeadError) for answer in answers)
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals
    assert dump(node.index_path) == before


@pytest.mark.parametrize("operation", ["truncate", "fdatasync"])
def test_a_failed_write_at_the_stop_makes_the_volume_suspect_too(node, operation):
    node.put(b"k", b"one")
    node.fail_next(operation, errno.EIO)
    node.stop()
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals


def test_a_workers_failed_write_ends_the_process(node):
    node.writer.tell(m.WriteFailed("pwrite: Input/output error"))
    assert isinstance(node.ask_together(node.writer, [node.small(b"k", b"one")])[0], ActorDeadError)
    assert node.fatals == [("a worker's write failed: pwrite: Input/output error", True)]


def test_a_failed_sync_of_an_extent_ends_the_process_and_no_answer_leaves(node):
    body = b"L" * 100_000
    grant = reserve(node, len(body))
    ask = finish(node, grant, b"k", body)
    node.fail_next("fdatasync", errno.EIO)
    reply = node.writer.ask(ask, block=False)
    eventually(lambda: node.fatals, "the process ends")
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals
    assert not reply.done()
    assert located(node, b"k").object is None


# ---- extents


def test_a_large_body_goes_through_an_extent(node):
    body = bytes(range(256)) * 3000
    grant = reserve(node, len(body))
    assert (grant.epoch, grant.offset % 4096) == (node.actors.epoch, 0)
    answer = node.writer.ask(finish(node, grant, b"k", body))
    assert type(answer) is m.Stored
    assert stored_bytes(node, b"k") == body
    assert located(node, b"k").file_uuid == grant.file_uuid
    audit(node.index_path)


def test_extents_finished_together_share_a_sync_and_keep_their_conditions(node):
    bodies = [bytes([n]) * 100_000 for n in range(6)]
    grants = [reserve(node, len(body)) for body in bodies]
    asks = [finish(node, grant, b"k", body, if_none_match="*") for grant, body in zip(grants, bodies, strict=True)]
    answers = node.ask_together(node.writer, asks)
    assert sorted(kinds(answers)) == ["PreconditionFailed"] * 5 + ["Stored"]
    assert stored_bytes(node, b"k") in bodies
    audit(node.index_path)


def test_an_extent_is_finished_once(node):
    body = b"L" * 100_000
    grant = reserve(node, len(body))
    ask = finish(node, grant, b"k", body)
    assert sorted(kinds(node.ask_together(node.writer, [ask, ask]))) == ["StaleEpoch", "Stored"]
    assert kinds([node.writer.ask(ask)]) == ["StaleEpoch"]
    audit(node.index_path)


def test_an_aborted_extent_cannot_be_finished_and_a_finished_one_not_aborted(node):
    body = b"L" * 100_000
    gone, kept = reserve(node, len(body)), reserve(node, len(body))
    node.writer.tell(m.AbortExtent(gone.extent, gone.epoch))
    assert kinds([node.writer.ask(finish(node, gone, b"gone", body))]) == ["StaleEpoch"]
    reply = node.writer.ask(finish(node, kept, b"kept", body), block=False)
    node.writer.tell(m.AbortExtent(kept.extent, kept.epoch))
    assert kinds([reply.get(timeout=5)]) == ["Stored"]
    assert stored_bytes(node, b"kept") == body
    audit(node.index_path)


def test_an_abort_of_another_epoch_is_ignored(node):
    grant = reserve(node, 100_000)
    node.writer.tell(m.AbortExtent(grant.extent, grant.epoch - 1))
    assert kinds([node.writer.ask(finish(node, grant, b"k", b"L" * 100_000))]) == ["Stored"]


def test_a_lost_worker_loses_its_extents_and_no_other_does(node):
    mine, other = reserve(node, 100_000, worker=1), reserve(node, 100_000, worker=2)
    node.writer.tell(m.WorkerLost(1))
    assert kinds([node.writer.ask(finish(node, mine, b"mine", b"L" * 100_000))]) == ["StaleEpoch"]
    assert kinds([node.writer.ask(finish(node, other, b"other", b"M" * 100_000))]) == ["Stored"]


def test_a_grant_asked_for_before_its_worker_was_lost_is_lost_too(node):
    reply = node.writer.ask(m.ReserveExtent(100_000, 100_000, 1), block=False)
    node.writer.tell(m.WorkerLost(1))
    reply.get(timeout=5)
    node.settle()
    assert node.writer._actor_weakref()._appender.extents == {}


def test_an_extent_of_an_earlier_epoch_is_refused(node):
    body = b"L" * 100_000
    grant = reserve(node, len(body))
    ask = finish(node, grant, b"k", body)
    node.restart()
    assert kinds([node.writer.ask(ask)]) == ["StaleEpoch"]
    fresh = reserve(node, len(body))
    assert (fresh.extent, fresh.epoch) == (grant.extent, grant.epoch + 1)
    assert kinds([node.writer.ask(ask)]) == ["StaleEpoch"]
    assert located(node, b"k").object is None


def test_a_body_that_does_not_fit_refuses_no_smaller_one_behind_it(node):
    node.put(b"a", b"one")
    reserve(node, 100)
    node.disk.capacity_bytes = node.disk._used_bytes() + (2 << 20)
    asks = [m.ReserveExtent(64 << 20, 64 << 20, 1), m.ReserveExtent(1000, 1000, 1)]
    assert kinds(node.ask_together(node.writer, asks)) == ["StorageFull", "ExtentGranted"]


def test_a_finished_extent_uses_a_live_claim_and_its_own_bytes_otherwise(node):
    body = b"L" * 100_000
    node.writer.ask(finish(node, reserve(node, len(body)), b"a", body))
    answer = node.writer.ask(finish(node, reserve(node, len(body)), b"b", body, claim=1))
    assert answer.deduplicated
    assert located(node, b"b").blob.number == 1
    other = b"M" * 100_000
    assert not node.writer.ask(finish(node, reserve(node, len(other)), b"c", other, claim=1)).deduplicated
    assert stored_bytes(node, b"c") == other
    audit(node.index_path)


# ---- segments


def test_a_body_over_the_target_has_a_segment_of_its_own_that_is_sealed(node):
    small = reserve(node, 1000)
    body = b"L" * (TARGET + 5)
    grant = reserve(node, len(body))
    assert grant.segment_id != small.segment_id
    assert kinds([node.writer.ask(finish(node, grant, b"k", body))]) == ["Stored"]
    node.put(b"next", b"wakes the writer")
    node.settle()
    row = {row.segment_id: row for row in segments(node)}[grant.segment_id]
    path = f"{node.datadir.segments_dir}/{segment_name(grant.segment_id)}"
    assert (row.sealed, row.length_bytes) == (True, len(node.disk.contents(path)))
    assert stored_bytes(node, b"k") == body


def test_rolled_segments_are_told_to_the_journal_with_their_length(node):
    for n in range(40):
        node.put(b"k%d" % n, bytes([n]) * 60_000)
    node.settle()
    found = segments(node)
    assert [row.sealed for row in found] == [True, True, False]
    for row in found[:-1]:
        assert row.length_bytes == len(node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(row.segment_id)}"))
        assert row.live_bytes <= row.length_bytes
    audit(node.index_path)


def test_a_restart_seals_what_was_open_never_appends_to_it_and_never_reuses_an_id(node):
    node.put(b"a", b"one")
    node.writer.ask(finish(node, reserve(node, 100_000), b"b", b"L" * 100_000))
    old = {row.segment_id: node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(row.segment_id)}") for row in segments(node)}
    for crashed in (True, False):
        node.restart() if crashed else (node.stop(), node.start())
        assert all(row.sealed for row in segments(node))
        node.put(b"c%d" % crashed, b"two %d" % crashed)
        reserve(node, 10)
        fresh = {row.segment_id for row in segments(node)} - old.keys()
        assert fresh
        assert min(fresh) > max(old)
        for segment_id, data in old.items():
            assert node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(segment_id)}") == data
        old = {row.segment_id: node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(row.segment_id)}") for row in segments(node)}
        if not crashed:
            break
        node.stop()
        old = {row.segment_id: node.disk.contents(f"{node.datadir.segments_dir}/{segment_name(row.segment_id)}") for row in segments(node)}
        node.start()
    audit(node.index_path)


def test_ids_never_run_out_and_a_lease_is_renewed_in_time(node):
    for n in range(150):
        assert kinds([reserve(node, 2 * TARGET)]) == ["ExtentGranted"], n
    node.settle()
    used = [row.segment_id for row in segments(node)]
    assert len(set(used)) == len(used) == 150


@pytest.mark.parametrize("seed", range(3))
def test_counters_are_exact_and_bytes_are_right_after_a_random_sequence_with_crashes(node, seed):
    rng = random.Random(seed)
    truth = {}
    for _round in range(4):
        for _ in range(12):
            asks, expected = [], []
            for _ in range(rng.randrange(1, 12)):
                key = b"key-%d" % rng.randrange(15)
                body = rng.choice((b"", b"a", b"b" * 3000, b"%d" % rng.randrange(10**9)))
                asks.append(node.small(key, body))
                expected.append((key, body))
            assert set(kinds(node.ask_together(node.writer, asks))) == {"Stored"}
            # Claims and appends of one batch reach the journal in two groups: the last writer of a key is known from the index.
            for key, _ in expected:
                bodies = {hashlib.md5(body).hexdigest(): body for k, body in expected if k == key}
                truth[key] = bodies[located(node, key).object.etag]
            gone = b"key-%d" % rng.randrange(15)
            assert kinds([node.journal.ask(m.DeleteObject("b", DeleteIntent(gone)))]) == ["Deleted"]
            truth.pop(gone, None)
        if rng.random() < 0.5:
            damaged = next((key for key, body in truth.items() if body), None)
            if damaged is not None:
                damage(node, damaged)
                node.put(b"repairs", truth[damaged])
                truth[b"repairs"] = truth[damaged]
        node.restart()
        audit(node.index_path)
    assert {key: stored_bytes(node, key) for key in truth} == truth
