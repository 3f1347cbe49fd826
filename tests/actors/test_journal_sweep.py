"""metadata-journal: uploads expire and unused parts go by themselves, a little at a time, with other requests in between."""

import pytest

from actors import messages as m
from fasterstore.metadata.entries import ObjectPut, PartsReleased, decode
from fasterstore.metadata.judge_uploads import RELEASE_PARTS
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import NO_BLOB, CompleteIntent, DeleteIntent, UploadIntent
from fasterstore.storage.wal_recovery import read_from
from tests.storage_node import audit, change, rows

TTL_SECS, GRACE_SECS = 3600, 60
SLICES = 4
TURNS = 2000


@pytest.fixture
def node(make_node):
    made = make_node(multipart_ttl_secs=TTL_SECS, read_grace_secs=GRACE_SECS).start()
    made.journal.ask(m.CreateBucket("b"))
    return made


def count(node, table):
    return rows(node.index_path, f"SELECT count(*) FROM {table}")[0][0]


def begin(node, key=b"k"):
    return node.journal.ask(m.CreateUpload(UploadIntent("b", key, "token", {}, {}, {}, "", "", ""))).number


def large_object_deleted(node):
    """An object of some slices' worth of parts, gone; its parts are still there."""
    upload = begin(node)
    parts = [node.small(b"k", b"%d" % number, upload=upload, part=number) for number in range(1, SLICES * RELEASE_PARTS + 1)]
    version = max(answer.lsn for answer in node.ask_together(node.writer, parts))
    part_map = pack_map([(put.intent.part, put.intent.size_bytes) for put in parts])
    node.journal.ask(m.CompleteUpload(CompleteIntent("b", b"k", upload, version, part_map, "e-1", {})))
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"k")))


def pass_time(node, secs):
    node.now_ms += secs * 1000
    node.journal.tell(m.Tick())


def settled(node, table, wanted):
    """Whether the table comes to hold so many rows; every turn lets the journal go on."""
    for _ in range(TURNS):
        if count(node, table) == wanted:
            return True
        node.settle()
    return False


def logged(node):
    return [(lsn, decode(data)) for lsn, data in read_from(node.disk, node.datadir.journal_dir, 1)]


def test_an_upload_expires_from_its_last_part(node):
    busy, idle = begin(node), begin(node, b"idle")
    pass_time(node, TTL_SECS - 1)
    node.put(b"k", b"one", upload=busy, part=1)
    pass_time(node, 2)
    assert settled(node, "uploads", 1)
    assert node.put(b"idle", b"x", upload=idle, part=1).error == "NoSuchUpload"
    assert type(node.put(b"k", b"x", upload=busy, part=1)) is m.Stored
    pass_time(node, TTL_SECS + 1)
    assert settled(node, "uploads", 0)
    pass_time(node, GRACE_SECS)
    assert settled(node, "parts", 0)
    audit(node.index_path)


def test_many_uploads_expire_after_one_tick(node):
    for _ in range(100):
        begin(node)
    pass_time(node, TTL_SECS + 1)
    assert settled(node, "uploads", 0)


def test_parts_stay_for_readers_and_then_go_in_slices_with_others_in_between(node):
    large_object_deleted(node)
    pass_time(node, GRACE_SECS - 1)
    node.settle()
    assert count(node, "parts") == SLICES * RELEASE_PARTS
    answers = ask_during_first(node, m.Tick, commit_of_empty(node, b"between"))
    pass_time(node, 1)
    assert settled(node, "releases", 0)
    assert count(node, "parts") == 0
    between = answers[0].get(timeout=10)
    released = [lsn for lsn, entry in logged(node) if isinstance(entry, PartsReleased)]
    assert len(released) == SLICES
    assert released[0] < between.lsn < released[1]
    assert isinstance(dict(logged(node))[between.lsn], ObjectPut)
    audit(node.index_path)


def commit_of_empty(node, key):
    """What segment-writer forwards for a PUT of no bytes."""
    put = node.small(key, b"")
    return m.CommitPut(put.intent, node.actors.epoch, put.blob_id, None, NO_BLOB)


def ask_during_first(node, kind, message):
    """Have `message` asked of the journal while it judges its first message of that kind; a list that will hold the awaited answer."""
    judges, answers = node.journal._actor_weakref()._judges, []
    judge = judges[kind]

    def judge_and_ask(judged, now_ms):
        if not answers:
            answers.append(node.journal.ask(message, block=False))
        return judge(judged, now_ms)

    judges[kind] = judge_and_ask
    return answers


def watch(node, kind):
    """Have a list grow by one with each sweep for that message."""
    judges, seen = node.journal._actor_weakref()._judges, []
    judge = judges[kind]
    judges[kind] = lambda message, now_ms: seen.append(now_ms) or judge(message, now_ms)
    return seen


def test_however_often_the_clock_ticks_one_sweep_at_a_time_goes_on(node):
    large_object_deleted(node)
    went_on = watch(node, m.ReleaseParts)
    node.now_ms += GRACE_SECS * 1000
    for _ in range(3):
        node.journal.tell(m.Tick())
    assert settled(node, "releases", 0)
    node.settle()
    # Three slices went with the ticks, which came together; one was left, and one look found nothing more.
    assert len(went_on) == SLICES - 3 + 1


def test_a_sweep_that_finds_the_disk_full_waits_for_the_next_tick(node):
    large_object_deleted(node)
    node.disk.capacity_bytes = node.disk._used_bytes()
    big = [node.small(b"%d" % number, b"", system={"content-type": "x" * 200_000}) for number in range(5)]
    while [type(answer) for answer in node.ask_together(node.writer, big)] != [m.Refused] * 5:
        pass
    number = 0
    while type(node.journal.ask(m.CreateBucket(f"b{number}"))) is m.BucketMade:  # shorter than what one sweep logs
        number += 1
    went_on = watch(node, m.ReleaseParts)
    node.now_ms += GRACE_SECS * 1000
    node.journal.tell(m.Tick())
    for _ in range(10):
        node.settle()
    assert (went_on, count(node, "parts")) == ([], SLICES * RELEASE_PARTS)
    node.disk.capacity_bytes = None
    node.journal.tell(m.Tick())
    assert settled(node, "parts", 0)
    assert node.fatals == []
    audit(node.index_path)


def test_a_damaged_row_stops_the_sweep_and_nothing_else_and_is_told_once(node, caplog):
    large_object_deleted(node)
    change(node.index_path, "UPDATE releases SET value = zeroblob(20)")
    node.now_ms += GRACE_SECS * 1000
    for number in range(5):
        node.journal.tell(m.Tick())
        assert type(node.put(b"k", b"%d" % number)) is m.Stored
    assert len([record for record in caplog.records if "unused parts stay: index table releases" in record.message]) == 1
    assert node.fatals == []


def test_a_damaged_part_refuses_only_the_sweep(node):
    large_object_deleted(node)
    change(node.index_path, "UPDATE parts SET value = zeroblob(50) WHERE part = 3")
    node.now_ms += GRACE_SECS * 1000
    node.journal.tell(m.Tick())
    asks = [node.small(b"k%d" % number, b"") for number in range(5)]
    assert [type(answer) for answer in node.ask_together(node.writer, asks)] == [m.Stored] * 5
    assert (count(node, "parts"), node.fatals) == (SLICES * RELEASE_PARTS, [])


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_sweep_that_was_cut_short_goes_on_after_a_restart(node, end):
    large_object_deleted(node)
    pass_time(node, GRACE_SECS)
    getattr(node, end)()
    node.start()
    audit(node.index_path)
    node.journal.tell(m.Tick())
    assert settled(node, "parts", 0)
    assert (count(node, "releases"), count(node, "manifests")) == (0, 0)
    audit(node.index_path)
