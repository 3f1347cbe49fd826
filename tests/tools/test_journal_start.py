"""The start with an index that is lost or damaged: rebuilt from its copies and the log, or refused by name. Real actors, real files."""

import gc
import os
import random
from contextlib import suppress

import apsw
import pykka
import pytest

from actors import messages as m
from actors.snapshot_messages import ReadLogState
from fasterstore.errors import DamagedLog, StorageFull, UnsupportedFormat
from fasterstore.metadata import index_file
from fasterstore.metadata import roll as rolling
from fasterstore.metadata.index import load_cksumvfs
from fasterstore.metadata.roll import roll
from fasterstore.model import DeleteIntent
from fasterstore.storage.index_mark import index_damage, mark_index_damaged
from fasterstore.storage.kept_copies import list_copies
from fasterstore.storage.memory_disk import MemoryDisk
from tests.storage_node import FaultyVfs, Node, audit, dump, rows
from tools.journal_start import places_of

TABLES = ("buckets", "objects", "blobs", "usage")


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", MemoryDisk()).start()
    made.journal.ask(m.CreateBucket("b"))
    yield made
    if made.actors is not None and not made.fatals:
        made.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def work(node, seed, rounds=4):
    rng = random.Random(seed)
    for _ in range(rounds):
        asks = [node.small(b"key-%d" % rng.randrange(20), b"%d" % rng.randrange(30) * rng.choice((0, 5, 900))) for _ in range(8)]
        assert {type(answer) for answer in node.ask_together(node.writer, asks)} == {m.Stored}
        node.journal.ask(m.DeleteObject("b", DeleteIntent(b"key-%d" % rng.randrange(20))))


def head(node):
    return node.journal.ask(ReadLogState()).head_lsn


def roll_to(node, lsn=None, now_ms=5, keep_free_bytes=0):
    places = places_of(node.disk, node.datadir)
    return list(roll(places, head(node) if lsn is None else lsn, now_ms=now_ms, keep_free_bytes=keep_free_bytes, random_bytes=os.urandom))


def copies(node):
    return list_copies(places_of(node.disk, node.datadir).disk, node.datadir.snapshots_dir)


def content(node):
    found = dump(node.index_path)
    return {table: found[table] for table in TABLES}


def same_after_restart(node):
    """Start the node; the rows must be those of before."""
    before = node.before
    node.start()
    assert content(node) == before
    audit(node.index_path)


def crash(node):
    """End it; keep what the index held."""
    node.before = content(node)
    node.crash()


def drop_index(node):
    for suffix in ("", "-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(node.index_path + suffix)


def replace(path, data):
    os.unlink(path)
    with open(path, "wb") as file:
        file.write(data)


def flip(path, offset, length=1):
    with open(path, "r+b") as file:
        file.seek(offset)
        data = file.read(length)
        file.seek(offset)
        file.write(bytes(byte ^ 0x55 for byte in data))


# ---- copies


def test_copies_are_rolled_in_turn_and_each_holds_what_the_index_held(node):
    lsns = []
    for round_number in range(4):
        work(node, round_number)
        lsns.append(head(node))
        steps = roll_to(node, now_ms=round_number)
        assert {step.what for step in steps} >= {"folding the log", "checking"}
        kept = copies(node)
        assert [copy.lsn for copy in kept] == lsns[-2:]
        newest = os.path.join(node.datadir.snapshots_dir, kept[-1].name)
        found = dump(newest)
        assert {table: found[table] for table in TABLES} == content(node)
    assert sorted(os.listdir(node.datadir.snapshots_dir)) == [copy.name for copy in copies(node)]


def test_a_copy_that_is_up_to_date_is_left_alone(node):
    roll_to(node)
    assert roll_to(node) != []  # the second of the two
    before = copies(node)
    assert roll_to(node) == []
    assert copies(node) == before


def test_a_roll_that_is_cut_short_anywhere_is_taken_up_again(node, monkeypatch):
    monkeypatch.setattr(rolling, "BATCH_ENTRIES", 7)
    work(node, 1)
    roll_to(node, now_ms=1)
    work(node, 2)
    roll_to(node, now_ms=2)
    work(node, 3)
    truth = content(node)
    for stop_after in range(1, 12):
        places = places_of(node.disk, node.datadir)
        running = roll(places, head(node), now_ms=3, keep_free_bytes=0, random_bytes=os.urandom)
        for _ in range(stop_after):
            if next(running, None) is None:
                break
        running.close()
        assert [copy for copy in copies(node) if copy.kind == "copy"], "a whole copy is there at every moment"
    roll_to(node, now_ms=4)
    newest = copies(node)[-1]
    assert newest.kind == "copy"
    found = dump(os.path.join(node.datadir.snapshots_dir, newest.name))
    assert {table: found[table] for table in TABLES} == truth


def test_a_damaged_copy_is_moved_aside_and_the_next_roll_makes_another(node):
    work(node, 1)
    roll_to(node, now_ms=1)
    work(node, 2)
    roll_to(node, now_ms=2)
    older = copies(node)[0]
    flip(os.path.join(node.datadir.snapshots_dir, older.name), 4096 * 2 + 100)
    work(node, 3)
    with pytest.raises(Exception, match="moved to"):
        roll_to(node, now_ms=3)
    assert any(name.startswith(older.name.split(".")[0]) for name in os.listdir(node.datadir.quarantine_dir))
    assert len(copies(node)) == 1
    roll_to(node, now_ms=4)
    assert [copy.kind for copy in copies(node)] == ["copy", "copy"]


def test_a_roll_leaves_the_space_that_the_node_needs(node):
    with pytest.raises(StorageFull):
        roll_to(node, keep_free_bytes=1 << 60)
    assert [copy for copy in copies(node) if copy.kind == "copy"] == []


def test_a_full_disk_fails_a_roll_by_name_and_harms_nothing(node):
    work(node, 1)
    roll_to(node, now_ms=1)
    work(node, 2)
    roll_to(node, now_ms=2)
    work(node, 3)
    truth, kept = content(node), copies(node)
    load_cksumvfs()
    vfs = FaultyVfs()
    try:
        for log in (True, False):
            vfs.refuse(apsw.FullError, log=log)
            with pytest.raises(StorageFull):
                roll_to(node, now_ms=3)
            assert vfs.refused
            assert kept[-1] in copies(node), "the other copy is as it was"
            assert type(node.put(b"meanwhile", b"the node goes on")) is m.Stored
    finally:
        gc.collect()
        vfs.unregister()
    assert content(node)["objects"] != truth["objects"]
    roll_to(node, now_ms=4)
    assert [copy.kind for copy in copies(node)] == ["copy", "copy"]
    found = dump(os.path.join(node.datadir.snapshots_dir, copies(node)[-1].name))
    assert {table: found[table] for table in TABLES} == content(node)


def test_with_no_copy_and_a_log_whose_start_is_gone_the_live_index_is_backed_up(node, monkeypatch):
    work(node, 1)
    monkeypatch.setattr(rolling, "FIRST_LSN", -1)
    steps = roll_to(node)
    assert "copying the index" in {step.what for step in steps}
    found = dump(os.path.join(node.datadir.snapshots_dir, copies(node)[0].name))
    assert {table: found[table] for table in TABLES} == content(node)


# ---- rebuild


@pytest.mark.parametrize("copies_kept", [0, 1, 2])
def test_a_lost_index_is_rebuilt_from_whatever_copies_there_are(node, copies_kept):
    for number in range(copies_kept):
        work(node, number)
        roll_to(node, now_ms=number)
    work(node, 7)
    node.journal.ask(m.Checkpoint())
    uuid = node.actors.index_uuid
    crash(node)
    drop_index(node)
    same_after_restart(node)
    assert node.actors.rebuilt == "there is no index file"
    assert node.actors.index_uuid != uuid
    if copies_kept:
        assert any("rebuilding the index" in what for what, _, _ in node.progress)
    node.put(b"after", b"after")
    audit(node.index_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: flip(path, 0, 16),
        lambda path: flip(path, 20, 1),
        lambda path: flip(path, 200, 64),
        lambda path: flip(path, 4096, 64),
        lambda path: replace(path, b""),
        lambda path: os.truncate(path, 3 * 4096),
        lambda path: replace(path, b"not a database at all" * 999),
    ],
    ids=["magic", "reserve byte", "schema page", "second page", "empty", "cut short", "another file"],
)
def test_a_damaged_index_is_rebuilt_and_kept_in_quarantine(node, damage):
    work(node, 1)
    roll_to(node)
    work(node, 2)
    node.journal.ask(m.Checkpoint())
    crash(node)
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):
            os.unlink(node.index_path + suffix)
    damage(node.index_path)
    with open(node.index_path, "rb") as file:
        damaged = file.read()
    same_after_restart(node)
    if damaged:
        assert node.actors.rebuilt
        moved = [name for name in os.listdir(node.datadir.quarantine_dir) if name.endswith(".db")]
        assert len(moved) == 1
        with open(os.path.join(node.datadir.quarantine_dir, moved[0]), "rb") as file:
            assert file.read()[:4096] == damaged[:4096]
    node.restart()
    assert not node.actors.rebuilt


def test_a_mark_makes_the_next_start_rebuild_and_goes_with_it(node):
    work(node, 1)
    roll_to(node)
    mark_index_damaged(node.disk, node.datadir, "row 7 of blobs fails its checksum")
    crash(node)
    same_after_restart(node)
    assert node.actors.rebuilt == "row 7 of blobs fails its checksum"
    assert index_damage(node.disk, node.datadir) == ""
    node.restart()
    assert node.actors.rebuilt == ""


def test_a_damaged_newest_copy_is_passed_over_for_the_older_one(node):
    work(node, 1)
    roll_to(node, now_ms=1)
    work(node, 2)
    roll_to(node, now_ms=2)
    newest = copies(node)[-1]
    flip(os.path.join(node.datadir.snapshots_dir, newest.name), 4096 + 700)
    crash(node)
    drop_index(node)
    same_after_restart(node)
    assert os.path.exists(os.path.join(node.datadir.quarantine_dir, newest.name))


def test_an_index_that_is_older_than_the_log_is_rebuilt_from_a_copy(node, tmp_path):
    work(node, 1)
    node.stop()
    index_file.make_single(node.index_path)
    with open(node.index_path, "rb") as file:
        old = file.read()
    node.start()
    work(node, 2)
    roll_to(node, now_ms=1)
    crash(node)
    drop_index(node)
    with open(node.index_path, "wb") as file:
        file.write(old)
    same_after_restart(node)  # the log is whole: it is replayed
    assert not node.actors.rebuilt


def test_a_copy_ahead_of_the_log_is_damage_of_the_log(node):
    work(node, 1)
    roll_to(node)
    crash(node)
    drop_index(node)
    names = [name for name in node.disk.listdir(node.datadir.journal_dir) if name.endswith(".wal")]
    path = f"{node.datadir.journal_dir}/{names[-1]}"
    data = node.disk.contents(path)
    node.disk.replace(path, data[: len(data.rstrip(b"\0")) - 40])
    with pytest.raises(DamagedLog, match="was durable"):
        node.start()
    node.actors = None


def test_with_neither_index_nor_copy_nor_the_start_of_the_log_the_start_is_refused_with_what_to_do(tmp_path):
    node = Node(tmp_path / "data", MemoryDisk()).start()
    node.journal.ask(m.CreateBucket("b"))
    node.crash()
    drop_index(node)
    folder = node.datadir.journal_dir
    first = next(name for name in node.disk.listdir(folder) if name.endswith(".wal"))
    node.disk.rename(f"{folder}/{first}", f"{folder}/0000000000000005.wal")
    mark_index_damaged(node.disk, node.datadir, "lost")
    with pytest.raises(DamagedLog, match="fasterstore restore"):
        node.start()
    node.actors = None


def test_the_index_of_another_log_is_still_refused(node, tmp_path):
    other = Node(tmp_path / "other")
    node.stop()
    for suffix in ("", "-wal", "-shm"):
        if os.path.exists(node.index_path + suffix):
            os.rename(node.index_path + suffix, other.index_path + suffix)
    with pytest.raises(UnsupportedFormat, match="another journal"):
        other.start()
    assert rows(other.index_path, "SELECT count(*) FROM objects")
