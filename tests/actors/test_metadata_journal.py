"""metadata-journal: group commit by the real actors; no answer before the commit, none of a batch that failed, none refused for another."""

import errno

import apsw
import pytest

from actors import messages as m
from actors.metadata_journal import BATCH_MAX_ENTRY_BYTES, TICK_SECS
from actors.runtime import ActorDeadError, ActorFailure
from fasterstore.metadata.index import IndexView
from fasterstore.model import DeleteIntent, PutIntent
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal_format import FileWalk, unpack_file_header
from fasterstore.storage.witness import Witness
from tests.probe.eventually import eventually
from tests.storage_node import audit, change, dump, rows


def empty(node, key, bucket="b", **more):
    """A CommitPut of an empty body: no bytes, one entry."""
    intent = PutIntent(bucket, key, 0, "d41d8cd98f00b204e9800998ecf8427e", more.pop("system", {}), {}, {}, **more)
    return m.CommitPut(intent, node.actors.epoch, bytes(32), None, 0)


def frames(node):
    """(first LSN, last LSN, bytes) of each frame of the log, in order."""
    found = []
    for name in node.disk.listdir(node.datadir.journal_dir):
        if name.endswith(".wal"):
            data = node.disk.contents(f"{node.datadir.journal_dir}/{name}")
            found += [(frame.first_lsn, frame.last_lsn) for frame in FileWalk(data, unpack_file_header(data))]
    return found


def kinds(answers):
    return [answer.error if isinstance(answer, m.Refused) else type(answer).__name__ for answer in answers]


# ---- batches


def test_what_is_asked_together_is_one_frame_one_sync_and_one_batch(node):
    before, marked = len(frames(node)), node.disk.mark("before")
    answers = node.ask_together(node.journal, [empty(node, b"k%d" % n) for n in range(100)])
    assert [answer.lsn for answer in answers] == list(range(answers[0].lsn, answers[0].lsn + 100))
    assert len(frames(node)) == before + 1
    assert [op.kind for op in node.disk.ops[marked:]].count("sync") == 1
    assert node.batches[-1] == 100


def test_conditions_are_judged_in_the_order_of_the_batch(node):
    answers = node.ask_together(
        node.journal,
        [
            m.CreateBucket("c"),
            m.CreateBucket("c"),
            empty(node, b"k", if_none_match="*"),
            empty(node, b"k", if_none_match="*"),
            m.DeleteObject("b", DeleteIntent(b"k")),
            m.DeleteObject("b", DeleteIntent(b"k")),
            empty(node, b"k", if_none_match="*"),
            m.DeleteBucket("b"),
            m.DeleteBucket("c"),
            m.DeleteBucket("c"),
        ],
    )
    assert kinds(answers) == [
        "BucketMade", "BucketAlreadyOwnedByYou", "Stored", "PreconditionFailed", "Deleted", "Deleted", "Stored", "BucketNotEmpty", "Done",
        "NoSuchBucket",
    ]  # fmt: skip
    assert answers[5].lsn == 0
    assert len(frames(node)) == len({first for first, _ in frames(node)})
    audit(node.index_path)


def test_no_answer_of_a_batch_leaves_before_its_commit_refusals_included(node):
    """When an answer arrives, another connection must already see what the whole batch did."""
    view = IndexView(node.index_path)
    replies = [node.journal.ask(empty(node, b"k", if_none_match="*"), block=False) for _ in range(3)]
    replies.append(node.journal.ask(empty(node, b"last"), block=False))
    assert isinstance(replies[1].get(timeout=5), m.Refused)
    assert view.locate("b", b"last").object is not None
    assert view.locate("b", b"k").object is not None
    stored = replies[0].get(timeout=5)
    assert view.applied_lsn() == stored.lsn + 1 == frames(node)[-1][1]
    view.close()


def test_the_entry_cap_ends_a_batch_and_never_splits_an_entry(node):
    big = {"content-type": "x" * 60_000}
    before = len(frames(node))
    answers = node.ask_together(node.journal, [empty(node, b"k%d" % n, system=big) for n in range(12)])
    assert kinds(answers) == ["Stored"] * 12
    new = frames(node)[before:]
    assert [last - first + 1 for first, last in new] == [5, 5, 2]
    assert 5 * 60_000 > BATCH_MAX_ENTRY_BYTES > 4 * 60_000
    answers = node.ask_together(node.journal, [empty(node, b"one", system={"a": "x" * 3 * BATCH_MAX_ENTRY_BYTES}), empty(node, b"two")])
    assert kinds(answers) == ["Stored"] * 2
    assert [last - first for first, last in frames(node)[-2:]] == [0, 0]


def test_conditions_hold_across_the_frames_of_one_batch(node):
    big = {"content-type": "x" * 200_000}
    answers = node.ask_together(node.journal, [empty(node, b"k", system=big, if_none_match="*") for _ in range(1)] +
                                [empty(node, b"pad", system=big), empty(node, b"k", if_none_match="*")])  # fmt: skip
    assert kinds(answers) == ["Stored", "Stored", "PreconditionFailed"]


def test_a_message_that_it_does_not_know_is_refused_and_its_neighbours_are_not(node):
    answers = node.ask_together(node.journal, [empty(node, b"k"), m.CollectVitals(), empty(node, b"l")])
    assert kinds(answers) == ["Stored", "StorageFailure", "Stored"]


# ---- damage and defects


def test_a_damaged_row_in_one_request_does_not_refuse_its_neighbours(node):
    node.ask_together(node.journal, [empty(node, b"bad"), empty(node, b"good")])
    change(node.index_path, "UPDATE objects SET value = zeroblob(50) WHERE key = ?", (b"bad",))
    asks = [empty(node, b"k%d" % n) for n in range(10)]
    asks[3:3] = [m.DeleteObject("b", DeleteIntent(b"bad"))]  # met while judging
    asks[7:7] = [empty(node, b"bad")]  # met while folding
    answers = node.ask_together(node.journal, asks)
    assert kinds(answers) == ["Stored"] * 3 + ["DamagedRow"] + ["Stored"] * 3 + ["StorageFailure"] + ["Stored"] * 4
    view = IndexView(node.index_path)
    assert all(view.locate("b", b"k%d" % n).object for n in range(10))
    assert view.usage()[0].objects == 12
    view.close()
    assert node.fatals == []


def test_every_damaged_request_is_answered_wherever_it_stands(node):
    node.ask_together(node.journal, [empty(node, b"bad")])
    change(node.index_path, "UPDATE objects SET value = zeroblob(50)")
    asks = [empty(node, b"bad"), empty(node, b"bad"), empty(node, b"k"), empty(node, b"bad"), empty(node, b"l"), empty(node, b"bad")]
    assert kinds(node.ask_together(node.journal, asks)) == ["StorageFailure"] * 2 + ["Stored", "StorageFailure", "Stored", "StorageFailure"]


def test_a_defect_in_a_batch_leaves_no_transaction_behind(node):
    node.put(b"k", b"one")
    change(node.index_path, "DELETE FROM blobs")  # rows that no checksum misses: a contradiction
    answers = node.ask_together(node.journal, [empty(node, b"x"), m.DeleteObject("b", DeleteIntent(b"k"))])
    assert all(isinstance(answer, ActorFailure) for answer in answers)
    assert kinds(node.ask_together(node.journal, [empty(node, b"x"), m.Checkpoint()])) == ["Stored", "Checkpointed"]
    assert rows(node.index_path, "SELECT count(*) FROM objects") == [(2,)]


def test_a_segment_told_of_in_a_batch_with_a_defect_is_logged_with_the_next_one(node):
    """Else every put into that file would fail until it is full."""
    node.put(b"k", b"one")
    change(node.index_path, "DELETE FROM blobs")
    node.journal.tell(m.SegmentOpened(60, node.actors.epoch, b"u" * 16))
    answers = node.ask_together(node.journal, [m.DeleteObject("b", DeleteIntent(b"k"))])
    assert all(isinstance(answer, ActorFailure) for answer in answers)
    assert kinds(node.ask_together(node.journal, [empty(node, b"x")])) == ["Stored"]
    view = IndexView(node.index_path)
    assert view.segment(60).file_uuid == b"u" * 16
    view.close()


# ---- a failing disk


@pytest.mark.parametrize("operation", ["fdatasync", "pwrite"])
def test_a_failed_log_write_ends_the_process_and_no_answer_leaves(node, operation):
    before = dump(node.index_path)
    node.fail_next(operation, errno.EIO)
    asks = [empty(node, b"k"), empty(node, b"k", if_none_match="*"), m.DeleteObject("b", DeleteIntent(b"z"))]
    answers = node.ask_together(node.journal, asks)
    assert all(isinstance(answer, ActorDeadError) for answer in answers)
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals
    assert dump(node.index_path) == before


def test_a_failed_index_write_ends_the_process_and_no_answer_leaves(faulty_vfs, make_node):
    node = make_node().start()
    node.journal.ask(m.CreateBucket("b"))
    faulty_vfs.refuse(apsw.IOError)
    answers = node.ask_together(node.journal, [empty(node, b"k")])
    assert isinstance(answers[0], ActorDeadError)
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals


def test_a_full_disk_at_the_commit_costs_the_reserve_and_the_batch_is_acknowledged_once(faulty_vfs, make_node):
    node = make_node().start()
    node.journal.ask(m.CreateBucket("b"))
    reserve = f"{node.datadir.path}/index/reserve"
    assert len(node.disk.contents(reserve)) > 0
    faulty_vfs.refuse(apsw.FullError)
    asks = [empty(node, b"k", if_none_match="*"), empty(node, b"k", if_none_match="*"), empty(node, b"l")]
    answers = node.ask_together(node.journal, asks)
    assert kinds(answers) == ["Stored", "PreconditionFailed", "Stored"]
    assert (faulty_vfs.refused, node.fatals) == (1, [])
    assert node.disk.contents(reserve) == b""
    audit(node.index_path)
    faulty_vfs.refuse(apsw.FullError)
    assert isinstance(node.ask_together(node.journal, [empty(node, b"m")])[0], ActorDeadError)
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals
    node.restart()
    view = IndexView(node.index_path)
    assert view.locate("b", b"m").object is not None  # the log had it: replayed
    view.close()
    node.fatals.clear()


def fill_disk(node):
    node.disk.capacity_bytes = node.disk._used_bytes()


def big_batch(node, keys):
    """More than the log's preallocated room holds."""
    return [empty(node, b"big-%d" % n, system={"content-type": "x" * 200_000}) for n in range(keys)]


def test_a_log_without_room_refuses_and_changes_nothing_and_goes_on_later(node):
    fill_disk(node)
    stored = 0
    for _ in range(40):
        before = dump(node.index_path)
        answers = node.ask_together(node.journal, big_batch(node, 6))
        stored += kinds(answers).count("Stored")
        if "StorageFull" in kinds(answers):
            break
    assert "StorageFull" in kinds(answers)
    if stored == 0:
        assert dump(node.index_path) == before
    assert kinds(node.ask_together(node.journal, [m.CreateBucket("b")])) == ["BucketAlreadyOwnedByYou"]
    node.disk.capacity_bytes = None
    assert kinds(node.ask_together(node.journal, [empty(node, b"after")])) == ["Stored"]
    assert node.fatals == []
    audit(node.index_path)


def test_a_segment_told_of_when_the_log_had_no_room_is_logged_with_the_next_batch(node):
    """segment-writer says it once; every later commit in that file rests on it."""
    while "StorageFull" not in kinds(node.ask_together(node.journal, big_batch(node, 2))):
        fill_disk(node)
    opened = m.SegmentOpened(60, node.actors.epoch, b"u" * 16)
    node.journal.tell(opened)
    node.journal.tell(m.SegmentSealed(60, 999))
    assert kinds(node.ask_together(node.journal, big_batch(node, 3))) == ["StorageFull"] * 3
    assert kinds(node.ask_together(node.journal, big_batch(node, 3))) == ["StorageFull"] * 3
    view = IndexView(node.index_path)
    assert view.segment(60) is None
    node.disk.capacity_bytes = None
    assert kinds(node.ask_together(node.journal, [empty(node, b"after")])) == ["Stored"]
    row = view.segment(60)
    assert (row.file_uuid, row.sealed, row.length_bytes) == (b"u" * 16, True, 999)
    view.close()


def test_puts_go_on_after_a_full_log_met_the_first_record_of_a_segment(node):
    while "StorageFull" not in kinds(node.ask_together(node.journal, big_batch(node, 2))):
        fill_disk(node)
    node.disk.capacity_bytes = node.disk._used_bytes() + (1 << 20) + 1000  # room for a new segment, and then not for the log
    first = node.small(b"first", b"x" * 10)
    first = first._replace(intent=first.intent._replace(system={"content-type": "x" * 500_000}))
    assert kinds(node.ask_together(node.writer, [first])) == ["StorageFull"]
    assert len(node.disk.listdir(node.datadir.segments_dir)) == 1
    node.disk.capacity_bytes = None
    assert type(node.put(b"second", b"y" * 10)) is m.Stored
    assert type(node.put(b"third", b"z" * 10)) is m.Stored
    audit(node.index_path)


# ---- claims


def test_a_claim_that_has_gone_goes_back_to_be_appended_and_answers_the_asker(node):
    put = node.small(b"k", b"body")
    claim = m.CommitPut(put.intent, node.actors.epoch, put.blob_id, None, 77, put)
    answer = node.journal.ask(claim, timeout=5)
    assert type(answer) is m.Stored
    assert not answer.deduplicated
    view = IndexView(node.index_path)
    found = view.locate("b", b"k")
    assert (found.blob.number, found.blob.blob_id) == (1, put.blob_id)
    view.close()
    audit(node.index_path)


def test_a_commit_of_an_earlier_epoch_is_refused(node):
    late = empty(node, b"k")
    node.restart()
    assert kinds(node.ask_together(node.journal, [late])) == ["StaleEpoch"]


# ---- checkpoint and witness


def test_a_checkpoint_folds_the_index_log_and_writes_the_witness(node):
    stored = node.journal.ask(empty(node, b"k"))
    assert node.journal.ask(m.Checkpoint()) == m.Checkpointed(stored.lsn, False)
    assert Witness(node.disk, node.datadir.witness_path).read(node.datadir.log_uuid) == stored.lsn


def test_a_checkpoint_asked_for_in_a_batch_covers_that_batch(node):
    answers = node.ask_together(node.journal, [empty(node, b"k"), m.Checkpoint(), empty(node, b"l")])
    assert answers[1].durable_applied == answers[2].lsn


def test_the_tick_writes_the_witness_and_makes_the_checkpoint_when_it_is_due(make_node):
    node = make_node(checkpoint_interval_secs=60.0).start()
    journal = node.journal._actor_weakref()._journal
    witness = Witness(node.disk, node.datadir.witness_path)
    node.journal.ask(m.CreateBucket("b"))
    node.journal.tell(m.Tick())
    node.settle()
    assert witness.read(node.datadir.log_uuid) == journal.head_lsn
    assert journal.index_log_bytes > 0
    node.monotonic_secs = 60.0
    node.journal.tell(m.Tick())
    node.settle()
    assert journal.index_log_bytes == 0
    node.journal.ask(empty(node, b"k"))
    node.monotonic_secs = 119.0
    node.journal.tell(m.Tick())
    node.settle()
    assert journal.index_log_bytes > 0


def test_a_checkpoint_that_met_a_reader_is_tried_again_at_the_next_tick(make_node):
    node = make_node(checkpoint_interval_secs=60.0).start()
    journal = node.journal._actor_weakref()._journal
    view = IndexView(node.index_path)
    reading = view._connection.execute("SELECT name FROM meta")
    next(reading)
    node.journal.ask(m.CreateBucket("b"))
    node.monotonic_secs = 60.0
    node.journal.tell(m.Tick())
    node.settle()
    assert journal.index_log_bytes > 0
    assert node.journal.ask(m.Checkpoint()) == m.Checkpointed(0, True)
    reading.close()
    node.journal.tell(m.Tick())
    node.settle()
    assert journal.index_log_bytes == 0
    view.close()


def test_each_second_the_witness_follows_by_itself(make_node, monkeypatch):
    monkeypatch.setattr("actors.metadata_journal.TICK_SECS", TICK_SECS)
    node = make_node().start()
    witness = Witness(node.disk, node.datadir.witness_path)
    before = witness.read(node.datadir.log_uuid)
    node.journal.ask(m.CreateBucket("b"))
    stored = node.journal.ask(empty(node, b"k"))
    assert (TICK_SECS, before < stored.lsn) == (1.0, True)
    eventually(lambda: witness.read(node.datadir.log_uuid) == stored.lsn, "the witness follows")


def test_the_index_log_is_checkpointed_by_size_and_retried_after_a_reader_left(node, monkeypatch):
    monkeypatch.setattr("actors.metadata_journal.CHECKPOINT_LOG_BYTES", 100_000)
    view = IndexView(node.index_path)
    reading = view._connection.execute("SELECT name FROM meta")
    next(reading)
    journal = node.journal._actor_weakref()._journal
    node.ask_together(node.journal, [empty(node, b"a%d" % n, system={"x": "y" * 900}) for n in range(200)])
    assert journal.index_log_bytes > 100_000
    reading.close()
    node.journal.ask(empty(node, b"k"))
    node.journal.ask(m.CreateBucket("b"))  # its answer comes after what followed the batch before
    assert journal.index_log_bytes < 100_000
    view.close()


def test_a_witness_that_fails_ends_the_process(node):
    node.settle()
    node.journal.ask(m.Checkpoint())
    node.journal.ask(empty(node, b"k"))
    node.disk.fail_next("fdatasync", errno.EIO)
    node.journal.tell(m.Tick())
    assert isinstance(node.ask_together(node.journal, [m.Checkpoint()])[0], ActorDeadError)
    assert [suspect for _, suspect in node.fatals] == [True], node.fatals


def test_leased_segment_ids_are_logged_before_they_are_given(node):
    lease = node.journal.ask(m.LeaseSegmentIds(5))
    node.restart()
    again = node.journal.ask(m.LeaseSegmentIds(5))
    assert again.first > lease.first + lease.id_count - 1
    assert not node.disk.exists(f"{node.datadir.segments_dir}/{segment_name(lease.first)}")
