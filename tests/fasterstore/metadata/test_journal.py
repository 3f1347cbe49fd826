"""The journal: log before index, all or nothing, and replay from anywhere gives the same rows."""

import errno
import random

import apsw
import msgpack
import pytest

from fasterstore.errors import DamagedLog, InvariantError, StorageFull, UnsupportedFormat, VolumeSuspect
from fasterstore.metadata import fold
from fasterstore.metadata.entries import decode
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.journal import REPLAY_BATCH_ENTRIES, FoldFailed
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.model import DeleteIntent
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal_recovery import list_files, read_from, recover
from fasterstore.storage.witness import Witness
from tests.storage_node import audit, change, dump

LOG = b"L" * 16


def fill(lab, seed=0, batches=80):
    rng = random.Random(seed)
    for number in range(batches):
        lab.batch(*(lab.random_step(rng) for _ in range(rng.randrange(1, 7))))
        if number % 10 == 9:
            lab.seal_segment()


def fold_upto(lab, lsn):
    """Bring a fresh index to that LSN."""
    lab.index.begin()
    for number, data in read_from(lab.disk, "/journal", 1):
        if number > lsn:
            break
        fold.apply(lab.index, number, decode(data))
    lab.index.flush()
    lab.index.commit()


# ---- replay


def test_replay_from_any_applied_lsn_gives_identical_tables(lab, make_lab, tmp_path):
    fill(lab)
    lab.close()
    head, truth = lab.journal.head_lsn, dump(lab.path)
    assert head > 60
    for applied in (0, 1, 2, head // 3, head // 2, head - 1, head):
        other = make_lab(tmp_path / f"from-{applied}.db", lab.disk)
        fold_upto(other, applied)
        assert other.journal.applied_lsn == applied
        progress = list(other.journal.replay(lab.disk, "/journal"))
        assert dump(other.path) == truth
        assert progress == ([(head, head)] if applied < head else [])
        other.close()


def retire(lab, below_lsn):
    lab.batch(lambda: lab.journal.retire_log(below_lsn))
    return lab.journal.remove_retired()


def test_what_was_retired_is_known_after_a_restart_and_a_file_that_is_missing_without_it_is_damage(make_lab, tmp_path):
    lab = make_lab(tmp_path / "index.db", rotate_bytes=1 << 12).start()
    lab.batch(lambda: lab.journal.requests.create_bucket("b", lab.now_ms))
    fill(lab)
    assert lab.journal.log_start == 1
    firsts = list_files(lab.disk, "/journal")
    assert retire(lab, firsts[2]) == 2
    assert list_files(lab.disk, "/journal")[0] == firsts[2] == lab.journal.log_start
    assert lab.journal.remove_retired() == 0
    lab.close()
    list(lab.open().replay(lab.disk, "/journal"))
    lab.close()
    lab.disk.unlink(f"/journal/{firsts[2]:016x}.wal")
    with pytest.raises(DamagedLog, match=f"{firsts[2]:016x}.wal is missing"):
        list(lab.open().replay(lab.disk, "/journal"))


def test_a_retirement_that_is_cut_short_leaves_a_log_that_opens_and_is_taken_up_again(make_lab, tmp_path):
    lab = make_lab(tmp_path / "index.db", rotate_bytes=1 << 12).start()
    lab.batch(lambda: lab.journal.requests.create_bucket("b", lab.now_ms))
    fill(lab)
    firsts = list_files(lab.disk, "/journal")
    lab.disk.fsync_dir("/")
    before = lab.disk.mark("before")
    retire(lab, firsts[-1])
    after = lab.disk.mark("after")
    lab.close()
    seen = set()
    for upto in range(before, after + 1):
        for state in lab.disk.crash_states(upto, lab.rng, 3):
            left = list_files(state, "/journal")
            recovered = recover(state, "/journal", LOG, 0, lab.rng.randbytes, quarantine="/quarantine")
            recovered.writer.close()
            logged = [entry.below_lsn for _, data in read_from(state, "/journal", left[0]) if isinstance(entry := decode(data), LogRetired)]
            assert left[0] <= max(logged, default=1)
            seen.add(len(left))
    assert seen == set(range(1, len(firsts) + 1))


def test_replay_reads_only_what_lies_after_applied_lsn(make_lab, tmp_path):
    lab = make_lab(tmp_path / "index.db", rotate_bytes=1 << 12).start()
    lab.batch(lambda: lab.journal.requests.create_bucket("b", lab.now_ms))
    fill(lab)
    firsts = list_files(lab.disk, "/journal")
    assert len(firsts) > 3
    lab.close()
    kept = make_lab(tmp_path / "kept.db", lab.disk)
    fold_upto(kept, firsts[2] - 1)
    kept.close()
    list(lab.open().replay(lab.disk, "/journal"))
    retire(lab, firsts[2])
    lab.close()
    truth = dump(lab.path)
    kept = make_lab(tmp_path / "kept.db", lab.disk)
    list(kept.journal.replay(lab.disk, "/journal"))
    assert dump(kept.path) == truth
    fresh = make_lab(tmp_path / "fresh.db", lab.disk)
    with pytest.raises(DamagedLog, match="the log begins at"):
        list(fresh.journal.replay(lab.disk, "/journal"))


def test_replay_goes_on_where_it_was_cut_short(lab, make_lab, tmp_path):
    for number in range(3):
        lab.batch(*(lambda n=n, number=number: lab.put(b"%d-%d" % (number, n % 300), b"body %d" % n) for n in range(800)))
    lab.close()
    truth, head = dump(lab.path), lab.journal.head_lsn
    other = make_lab(tmp_path / "other.db", lab.disk)
    replay = other.journal.replay(lab.disk, "/journal")
    assert next(replay) == (REPLAY_BATCH_ENTRIES, head)
    view = IndexView(other.path)
    assert view.applied_lsn() == REPLAY_BATCH_ENTRIES
    view.close()
    replay.close()
    other.close()
    other = make_lab(tmp_path / "other.db", lab.disk)
    assert [lsn for lsn, _ in other.journal.replay(lab.disk, "/journal")] == [2 * REPLAY_BATCH_ENTRIES, head]
    assert dump(other.path) == truth
    audit(other.path)


def test_an_index_that_is_ahead_of_the_log_is_damage(lab, make_lab):
    fill(lab, batches=3)
    lab.close()
    shorter = MemoryDisk()
    shorter.mkdir("/journal")
    shorter.mkdir("/quarantine")
    before = dump(lab.path)
    other = make_lab(lab.path, shorter)
    with pytest.raises(DamagedLog, match="acknowledged entries are gone"):
        list(other.journal.replay(shorter, "/journal"))
    other.close()
    assert dump(lab.path) == before


@pytest.mark.parametrize(("entry", "text"), [([99, 1, b"\x90", b""], "unknown kind 99"), ([1, 2, b"", b"\x90"], "kind 1 has version 2")])
def test_an_entry_of_a_newer_build_stops_the_replay_by_name(lab, make_lab, tmp_path, entry, text):
    wal, head = lab.journal._wal, lab.journal.head_lsn
    wal.append(wal.build([msgpack.packb(entry)], head + 1))
    lab.close()
    other = make_lab(tmp_path / "other.db", lab.disk)
    with pytest.raises(UnsupportedFormat, match=text):
        list(other.journal.replay(lab.disk, "/journal"))


# ---- the order of a batch


def test_applied_lsn_moves_in_the_transaction_of_its_rows(lab):
    view = IndexView(lab.path)
    before = view.state()
    lab.journal.begin()
    lab.put(b"k", b"one")
    assert (view.state(), view.locate("b", b"k").object) == (before, None)
    lab.journal.write()
    assert view.applied_lsn() == before.applied_lsn + 1 == lab.journal.head_lsn
    assert view.locate("b", b"k").object is not None
    view.close()


def test_a_batch_of_refusals_writes_no_frame(lab):
    marked = lab.disk.mark("before")
    lab.batch(lambda: lab.put(b"k", b"x", bucket="nobucket"))
    assert len(lab.disk.ops) == marked


def test_one_batch_is_one_frame_and_one_sync(lab):
    marked = lab.disk.mark("before")
    lab.batch(*(lambda n=n: lab.put(b"k%d" % n, b"body") for n in range(50)))
    kinds = [op.kind for op in lab.disk.ops[marked:]]
    assert (kinds.count("write"), kinds.count("sync")) == (1, 1)


def test_an_abandoned_batch_leaves_no_trace(lab):
    before, head = dump(lab.path), lab.journal.head_lsn
    marked = lab.disk.mark("before")
    lab.journal.begin()
    lab.put(b"k", b"one")
    lab.journal.requests.lease_segment_ids(5)
    lab.journal.abandon()
    assert dump(lab.path) == before
    assert len(lab.disk.ops) == marked
    assert lab.batch(lambda: lab.put(b"k", b"one"))[0].lsn == head + 1
    audit(lab.path)


def test_a_log_without_room_refuses_the_batch_whole_and_takes_it_later(lab):
    before, head = dump(lab.path), lab.journal.head_lsn
    lab.disk.capacity_bytes = lab.disk._used_bytes()
    lab.journal.begin()
    for number in range(40):
        lab.put(b"k%d" % number, b"body", if_none_match="*")
    lab.journal.requests.lease_segment_ids(5)
    filler = [lab.put(b"filler-%d" % number, b"x" * number) for number in range(1, 400)]
    assert filler[-1].lsn == lab.journal.applied_lsn
    with pytest.raises(StorageFull):
        lab.journal.write()
    lab.journal.abandon()
    assert dump(lab.path) == before
    assert (lab.journal.head_lsn, lab.journal.applied_lsn) == (head, head)
    lab.disk.capacity_bytes = None
    assert lab.batch(lambda: lab.put(b"k1", b"body", if_none_match="*"))[0].lsn == head + 1


def test_a_batch_is_refused_before_its_frame_where_the_index_may_have_no_room_for_it(lab):
    def refuse(frame_bytes):
        assert frame_bytes > 100
        raise StorageFull("no room")

    before, head, ops = dump(lab.path), lab.journal.head_lsn, len(lab.disk.ops)
    lab.journal._need_room = refuse
    lab.journal.begin()
    lab.put(b"k", b"body")
    with pytest.raises(StorageFull, match="no room"):
        lab.journal.write()
    lab.journal.abandon()
    assert (dump(lab.path), lab.journal.head_lsn, len(lab.disk.ops)) == (before, head, ops)


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_failed_log_write_makes_the_volume_suspect_for_ever(lab, operation):
    before = dump(lab.path)
    lab.disk.fail_next(operation, errno.EIO)
    lab.journal.begin()
    lab.put(b"k", b"one")
    with pytest.raises(VolumeSuspect):
        lab.journal.write()
    assert dump(lab.path) == before
    lab.journal.abandon()
    lab.journal.begin()
    lab.put(b"k", b"one")
    with pytest.raises((VolumeSuspect, InvariantError)):
        lab.journal.write()
    assert dump(lab.path) == before


def test_a_damaged_row_met_while_folding_abandons_the_batch_whole(lab):
    lab.batch(lambda: lab.put(b"k", b"one"))
    change(lab.path, "UPDATE objects SET value = zeroblob(50)")
    before = dump(lab.path)
    lab.journal.begin()
    lab.put(b"other", b"two")
    with pytest.raises(FoldFailed):
        lab.put(b"k", b"two")
    lab.journal.abandon()
    assert dump(lab.path) == before


# ---- an index without room


@pytest.fixture
def cramped(faulty_vfs, make_lab, tmp_path):
    """A lab whose index lies on the disk that refuses writes."""
    made = make_lab(tmp_path / "index.db").start()
    made.batch(lambda: made.journal.requests.create_bucket("b", made.now_ms))
    yield made
    made.close()


def test_a_full_disk_at_the_commit_is_met_with_the_reserve_once(cramped, faulty_vfs):
    faulty_vfs.refuse(apsw.FullError)
    answers = cramped.batch(*(lambda n=n: cramped.put(b"k%d" % n, b"body %d" % n) for n in range(5)))
    assert (faulty_vfs.refused, cramped.reserve) == (1, 0)
    view = IndexView(cramped.path)
    assert [view.locate("b", b"k%d" % n).object.blob for n in range(5)] == [1, 2, 3, 4, 5]
    assert view.applied_lsn() == answers[-1].lsn == cramped.journal.head_lsn
    view.close()
    audit(cramped.path)
    cramped.batch(lambda: cramped.journal.requests.delete("b", DeleteIntent(b"k0", None), cramped.now_ms))
    audit(cramped.path)


def test_a_full_disk_after_the_reserve_makes_the_volume_suspect_and_replay_has_the_batch(cramped, faulty_vfs, make_lab):
    cramped.reserve = 0
    faulty_vfs.refuse(apsw.FullError)
    with pytest.raises(VolumeSuspect, match="no room"):
        cramped.batch(lambda: cramped.put(b"k", b"one"))
    cramped.close()
    again = make_lab(cramped.path, cramped.disk)
    list(again.journal.replay(again.disk, "/journal"))
    view = IndexView(again.path)
    assert view.locate("b", b"k").object is not None
    view.close()
    again.close()


def test_a_disk_that_is_full_even_without_the_reserve_makes_the_volume_suspect(cramped, faulty_vfs):
    faulty_vfs.refuse(apsw.FullError, times=2)
    with pytest.raises(VolumeSuspect, match="even after the reserve"):
        cramped.batch(lambda: cramped.put(b"k", b"one"))
    assert cramped.reserve == 0


def test_a_failed_write_of_the_index_makes_the_volume_suspect(cramped, faulty_vfs):
    faulty_vfs.refuse(apsw.IOError)
    with pytest.raises(VolumeSuspect, match="index commit"):
        cramped.batch(lambda: cramped.put(b"k", b"one"))
    assert cramped.reserve == 1


def test_replay_meets_a_full_disk_with_the_reserve_too(cramped, faulty_vfs, make_lab, tmp_path):
    fill(cramped, batches=8)
    truth = dump(cramped.path)
    other = make_lab(tmp_path / "other.db", cramped.disk.snapshot())
    faulty_vfs.refuse(apsw.FullError)
    list(other.journal.replay(other.disk, "/journal"))
    assert other.reserve == 0
    assert dump(other.path) == truth
    other.close()


def test_a_checkpoint_without_room_is_tried_again_and_loses_nothing(cramped, faulty_vfs):
    cramped.batch(lambda: cramped.put(b"k", b"one"))
    before = dump(cramped.path)
    faulty_vfs.refuse(apsw.FullError, log=False)
    assert cramped.journal.checkpoint() == (0, True)
    assert faulty_vfs.refused == 1
    assert cramped.journal.checkpoint() == (cramped.journal.head_lsn, False)
    assert dump(cramped.path) == before


def test_a_failed_write_of_a_checkpoint_makes_the_volume_suspect(cramped, faulty_vfs):
    cramped.batch(lambda: cramped.put(b"k", b"one"))
    faulty_vfs.refuse(apsw.IOError, log=False)
    with pytest.raises(VolumeSuspect, match="checkpoint"):
        cramped.journal.checkpoint()


# ---- checkpoints, witness, epochs


def test_a_checkpoint_says_what_is_in_the_file_and_witnesses_it(lab):
    lab.batch(lambda: lab.put(b"k", b"one"))
    head = lab.journal.head_lsn
    assert Witness(lab.disk, "/journal/witness").read(LOG) < head
    assert lab.journal.checkpoint() == (head, False)
    assert lab.journal.index_log_bytes == 0
    assert Witness(lab.disk, "/journal/witness").read(LOG) == head


def test_a_checkpoint_with_a_reader_in_the_way_is_busy_and_claims_nothing(lab):
    view = IndexView(lab.path)
    reading = view._connection.execute("SELECT name FROM meta")
    next(reading)
    lab.batch(lambda: lab.put(b"k", b"one"))
    assert lab.journal.checkpoint() == (0, True)
    assert lab.journal.index_log_bytes > 0
    assert Witness(lab.disk, "/journal/witness").read(LOG) == lab.journal.head_lsn
    reading.close()
    assert lab.journal.checkpoint() == (lab.journal.head_lsn, False)
    view.close()


def test_the_witness_is_written_only_when_it_has_news_and_never_leads(lab):
    lab.journal.witness()
    marked = lab.disk.mark("before")
    lab.journal.witness()
    assert len(lab.disk.ops) == marked
    lab.journal.begin()
    lab.put(b"k", b"one")
    lab.journal.witness()
    assert len(lab.disk.ops) == marked
    lab.journal.write()
    lab.journal.witness()
    assert Witness(lab.disk, "/journal/witness").read(LOG) == lab.journal.head_lsn


def test_a_witness_that_cannot_be_made_for_want_of_room_lags_and_one_that_fails_is_suspect(lab):
    lab.disk.capacity_bytes = lab.disk._used_bytes()
    lab.journal.witness()
    assert Witness(lab.disk, "/journal/witness").read(LOG) == 0
    lab.disk.capacity_bytes = None
    lab.journal.witness()
    assert Witness(lab.disk, "/journal/witness").read(LOG) == lab.journal.head_lsn
    lab.batch(lambda: lab.put(b"k", b"one"))
    lab.disk.fail_next("fdatasync", errno.EIO)
    with pytest.raises(VolumeSuspect):
        lab.journal.witness()


def test_a_new_epoch_seals_what_was_open_and_leases_fresh_ids(lab, make_lab):
    view = IndexView(lab.path)
    old = view.state()
    lab.close()
    again = make_lab(lab.path, lab.disk)
    list(again.journal.replay(again.disk, "/journal"))
    asked = []
    lease = again.journal.start_epoch(5000, lambda segment_id: asked.append(segment_id) or 7777)
    assert asked == [lab.segment]
    row = view.segment(lab.segment)
    assert (row.sealed, row.length_bytes) == (True, 7777)
    assert again.journal.epoch == old.epoch + 1
    assert lease.first == old.last_segment_id + 1
    again.close()
    third = make_lab(lab.path, lab.disk)
    third.journal.start_epoch(6000, lambda segment_id: asked.append(segment_id) or 1)
    assert asked == [lab.segment]
    assert third.journal.epoch == old.epoch + 2
    view.close()
    third.close()


def test_every_counter_survives_a_restart_without_a_checkpoint(lab, make_lab):
    fill(lab, batches=10)
    state = lab.index.state
    assert min(state) > 0
    lab.close()
    again = make_lab(lab.path, lab.disk)
    assert again.index.state == state
    again.close()
