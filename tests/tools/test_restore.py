"""Snapshots and restores of a store on the real disk: what comes back is what was acknowledged at that LSN, wherever it is cut short."""

import hashlib
import json
import os
import random
import shutil

import pykka
import pytest

from actors import messages as m
from actors.snapshot_messages import DescribeSnapshots, DropSnapshot, ReadLogState, RollCopies, SnapshotDropped, SnapshotTaken, TakeSnapshot
from actors.snapshots import SnapshotPlan
from fasterstore.errors import StoreError, UnsupportedFormat
from fasterstore.metadata import index_file
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.restoring import RestoreRefused
from fasterstore.metadata.roll import bring_upto, roll
from fasterstore.model import DeleteIntent
from fasterstore.storage import pins, record
from fasterstore.storage.datadir import open_datadir, read_identity
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal import list_files
from tests.storage_node import Node, audit, rows
from tools.progress_bar import ProgressBar
from tools.restore import restore
from tools.snapshot import copy_folder

RETENTION_BYTES = 1 << 40


class InThisProcess:
    """Rolls without a process of its own."""

    def __init__(self, places):
        self.places = places

    def roll(self, upto_lsn, tell):
        for step in roll(self.places, upto_lsn, now_ms=7, keep_free_bytes=0, random_bytes=os.urandom):
            tell(step)

    def bring(self, path, upto_lsn, tell):
        for step in bring_upto(path, self.places, upto_lsn, 0, os.urandom):
            tell(step)

    def stop(self):
        pass


def make_node(path, **plan):
    settings = {"interval_secs": 0, "retention_bytes": RETENTION_BYTES, "pin_max_bytes": 0, "min_free_bytes": 0, **plan}
    node = Node(path, RealDisk(), snapshots=SnapshotPlan(**settings), copy_worker=InThisProcess)
    node.start()
    node.snapshots = node.directory.get("snapshots")
    return node


@pytest.fixture
def node(tmp_path):
    made = make_node(tmp_path / "data")
    made.journal.ask(m.CreateBucket("b"))
    made.truth = {}
    yield made
    made.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def work(node, seed, puts=25):
    """Put and delete; keep what is there in `node.truth`."""
    rng = random.Random(seed)
    for _ in range(puts):
        key = b"key-%d" % rng.randrange(12)
        if rng.random() < 0.2 and key in node.truth:
            node.journal.ask(m.DeleteObject("b", DeleteIntent(key)))
            del node.truth[key]
        else:
            body = rng.randbytes(rng.choice((0, 10, 5000)))
            assert type(node.put(key, body)) is m.Stored
            node.truth[key] = body


def head(node):
    return node.journal.ask(ReadLogState()).head_lsn


def take(node, name):
    answer = node.snapshots.ask(TakeSnapshot(name))
    assert type(answer) is SnapshotTaken, answer
    return pins.read_pin(RealDisk(), os.path.join(pins.pins_dir(node.datadir.snapshots_dir), name))


def contents(index_path, segments):
    """Every object's bytes, read through the index from the segment files and verified."""
    view, found = IndexView(index_path), {}
    bucket = view.bucket("b")
    for key, row in view.objects_from(bucket.bucket_id, b"", 1000):
        body = b""
        if row.blob:
            located = view.locate("b", key)
            place = located.blob.location
            with open(os.path.join(segments, segment_name(place.segment_id)), "rb") as file:
                file.seek(place.offset)
                body = bytes(record.verify_record(file.read(record.record_bytes(place.stored_bytes)), place))
        assert hashlib.md5(body).hexdigest() == row.etag
        found[key] = body
    view.close()
    return found


def open_again(path):
    """Start a node on what is at `path`, read everything, stop it."""
    node = make_node(path)
    try:
        audit(node.index_path)
        found = contents(node.index_path, node.datadir.segments_dir)
        assert type(node.put(b"after", b"written after the restore")) is m.Stored
    finally:
        node.stop()
    return found


def keys_of(folder):
    with open(os.path.join(folder, "keys.json"), "rb") as file:
        return file.read()


def do_restore(data_dir, pin, lsn=None, to=None, disk=None):
    return restore(disk or RealDisk(), data_dir, pin, pin.lsn if lsn is None else lsn, to, ProgressBar())


# ---- pins


def test_a_pin_holds_what_was_there_at_its_lsn_whatever_comes_after(node):
    work(node, 1)
    truth, lsn = dict(node.truth), head(node)
    pin = take(node, "one")
    assert pin.lsn == lsn
    work(node, 2)
    for key in list(node.truth):
        node.journal.ask(m.DeleteObject("b", DeleteIntent(key)))
    for name in os.listdir(node.datadir.segments_dir):  # as retirement does
        os.unlink(os.path.join(node.datadir.segments_dir, name))
    assert contents(os.path.join(pin.path, "index.db"), os.path.join(pin.path, "segments")) == truth
    assert sorted(os.listdir(pin.path)) == ["index.db", "keys.json", "segments", "snapshot.json"]
    assert pins.own_bytes(pin.path) >= sum(len(body) for body in set(truth.values()))


def test_a_taken_or_impossible_name_is_refused_and_leaves_nothing(node):
    take(node, "one")
    for name in ("one", "", "../up", "a/b", "x.tmp", ".hidden", "n" * 101):
        answer = node.snapshots.ask(TakeSnapshot(name))
        assert type(answer) is m.Refused, name
        assert answer.error == "PinRefused"
    assert os.listdir(pins.pins_dir(node.datadir.snapshots_dir)) == ["one"]


def test_a_dropped_pin_gives_back_what_it_alone_held(node):
    work(node, 1)
    pin = take(node, "one")
    own = pins.own_bytes(pin.path)
    answer = node.snapshots.ask(DropSnapshot("one"))
    assert answer == SnapshotDropped(own)
    assert pins.list_pins(RealDisk(), node.datadir.snapshots_dir) == []
    assert node.snapshots.ask(DropSnapshot("one")).error == "PinRefused"
    assert contents(node.index_path, node.datadir.segments_dir) == node.truth


def test_over_the_cap_a_new_pin_is_refused_and_old_ones_stay(tmp_path):
    node = make_node(tmp_path / "data", pin_max_bytes=1)
    try:
        node.journal.ask(m.CreateBucket("b"))
        take(node, "one")
        answer = node.snapshots.ask(TakeSnapshot("two"))
        assert (answer.error, "drop one" in answer.detail) == ("StorageFull", True)
        assert [pin.name for pin in pins.list_pins(RealDisk(), node.datadir.snapshots_dir)] == ["one"]
    finally:
        node.stop()


def test_a_start_removes_pins_that_were_not_finished_and_no_others(node):
    take(node, "one")
    folder = pins.pins_dir(node.datadir.snapshots_dir)
    for name in ("two.tmp", "three.drop"):
        shutil.copytree(os.path.join(folder, "one"), os.path.join(folder, name))
    node.stop()
    again = make_node(node.datadir.path)
    again.snapshots.ask(RollCopies())
    assert os.listdir(folder) == ["one"]
    again.stop()


def test_copies_let_the_log_go_and_a_pin_keeps_what_follows_it(node):
    work(node, 1)
    for _ in range(3):
        state = node.snapshots.ask(RollCopies())
        work(node, 2, puts=5)
    assert len(state.copy_lsns) == 2
    assert node.snapshots.ask(DescribeSnapshots()).copy_lsns == state.copy_lsns
    assert list_files(RealDisk(), node.datadir.journal_dir) == [1], "the current file is never removed"


# ---- restore


def test_a_pin_is_restored_into_a_new_data_dir_with_uuids_of_its_own(node, tmp_path):
    work(node, 1)
    truth = dict(node.truth)
    pin = take(node, "one")
    work(node, 2)
    target = str(tmp_path / "restored")
    do_restore(node.datadir.path, pin, to=target)
    node.stop()
    assert open_again(target) == truth
    assert read_identity(RealDisk(), target)[1] != node.datadir.log_uuid
    with open(os.path.join(target, "keys.json"), "rb") as one, open(os.path.join(node.datadir.path, "keys.json"), "rb") as other:
        assert one.read() == other.read()
    assert open_again(node.datadir.path) == node.truth, "the store it came from is as it was"


def test_what_a_restored_node_does_next_has_stamps_that_it_never_gave_before(node, tmp_path):
    pin = take(node, "one")
    work(node, 7)  # what peers may have heard of, and the restored node has not
    node.stop()
    before, after = (os.path.join(path, "index", "index.db") for path in (node.datadir.path, str(tmp_path / "new")))
    do_restore(node.datadir.path, pin, to=str(tmp_path / "new"))
    stamps = []
    for path in (before, after):
        view = IndexView(path)
        stamps.append(view.state().last_stamp)
        view.close()
    assert stamps[1] > stamps[0]


def test_a_pin_is_restored_in_place_and_what_was_there_is_in_quarantine(node):
    work(node, 1)
    truth = dict(node.truth)
    pin = take(node, "one")
    work(node, 2)
    later = dict(node.truth)
    node.stop()
    do_restore(node.datadir.path, pin)
    aside = [name for name in os.listdir(node.datadir.quarantine_dir) if name.startswith("restore-")]
    assert len(aside) == 1
    replaced = os.path.join(node.datadir.quarantine_dir, aside[0])
    assert contents(os.path.join(replaced, "index", "index.db"), os.path.join(replaced, "segments")) == later
    assert open_again(node.datadir.path) == truth
    node_id, log_uuid = read_identity(RealDisk(), node.datadir.path)
    assert node_id == node.datadir.node_id
    assert log_uuid != node.datadir.log_uuid


def test_every_later_lsn_that_the_log_holds_can_be_restored(node, tmp_path):
    work(node, 1)
    pin = take(node, "one")
    history = {pin.lsn: dict(node.truth)}
    for number in range(6):
        work(node, 10 + number, puts=3)
        history[head(node)] = dict(node.truth)
    node.stop()
    for number, (lsn, truth) in enumerate(history.items()):
        target = str(tmp_path / f"at-{number}")
        do_restore(node.datadir.path, pin, lsn=lsn, to=target)
        assert open_again(target) == truth


def test_an_lsn_that_cannot_be_had_is_refused_and_changes_nothing(node, tmp_path):
    work(node, 1)
    pin = take(node, "one")
    work(node, 2, puts=5)
    lsn = head(node)
    node.stop()
    for wrong, says in ((pin.lsn - 1, f"LSN {pin.lsn - 1} was before it"), (lsn + 1_000_000, f"the log ends at LSN {lsn}")):
        with pytest.raises(RestoreRefused, match=says):
            do_restore(node.datadir.path, pin, lsn=wrong, to=str(tmp_path / "no"))
    with pytest.raises(StoreError):
        do_restore(node.datadir.path, pin, lsn=lsn + 1_000_000)
    assert not os.path.exists(tmp_path / "no")
    assert open_again(node.datadir.path) == node.truth


def test_a_segment_that_compaction_has_removed_since_is_named(node, tmp_path):
    pin = take(node, "one")
    assert pin.segments == 0
    work(node, 1)
    lsn = head(node)
    node.stop()
    name = sorted(os.listdir(node.datadir.segments_dir))[0]
    os.rename(os.path.join(node.datadir.segments_dir, name), tmp_path / name)
    with pytest.raises(RestoreRefused, match=name):
        do_restore(node.datadir.path, pin, lsn=lsn, to=str(tmp_path / "no"))


def test_a_folder_that_was_copied_out_is_restored_without_the_store_it_came_from(node, tmp_path):
    work(node, 1)
    truth = dict(node.truth)
    pin = take(node, "one")
    folder = str(tmp_path / "out")
    copy_folder(pin, folder, ProgressBar())
    assert {os.stat(path).st_mode & 0o077 for path, _, _ in os.walk(folder)} == {0}
    node.stop()
    shutil.rmtree(node.datadir.path)
    do_restore(None, pins.read_pin(RealDisk(), folder), to=str(tmp_path / "new"))
    assert open_again(str(tmp_path / "new")) == truth


def test_the_keys_follow_the_snapshot_also_back_from_that_of_another_node(node, tmp_path):
    work(node, 1)
    truth = dict(node.truth)
    own = take(node, "own")
    keys = keys_of(own.path)
    other = make_node(tmp_path / "other")
    other.journal.ask(m.CreateBucket("b"))
    copy_folder(take(other, "one"), str(tmp_path / "out"), ProgressBar())
    other.stop()
    node.stop()
    do_restore(node.datadir.path, pins.read_pin(RealDisk(), str(tmp_path / "out")))
    assert keys_of(node.datadir.path) == keys_of(other.datadir.path) != keys
    do_restore(node.datadir.path, own)
    assert keys_of(node.datadir.path) == keys
    assert open_again(node.datadir.path) == truth


def test_a_folder_of_somebody_else_beside_the_new_data_dir_is_left_alone(node, tmp_path):
    work(node, 1)
    pin = take(node, "one")
    other = tmp_path / "new.tmp"
    other.mkdir()
    (other / "thesis.txt").write_text("years of work")
    with pytest.raises(RestoreRefused, match=r"new\.tmp"):
        do_restore(node.datadir.path, pin, to=str(tmp_path / "new"))
    assert (other / "thesis.txt").read_text() == "years of work"
    (other / "thesis.txt").rename(tmp_path / "thesis.txt")
    (other / "index").mkdir()  # as a restore that was killed leaves it
    do_restore(node.datadir.path, pin, to=str(tmp_path / "new"))


def test_a_damaged_snapshot_is_refused(node, tmp_path):
    work(node, 1)
    pin = take(node, "one")
    node.stop()
    with open(os.path.join(pin.path, "index.db"), "r+b") as file:
        file.seek(4096 + 300)
        file.write(b"\xff\xfe")
    with pytest.raises(StoreError):
        do_restore(node.datadir.path, pin, to=str(tmp_path / "no"))
    with open(os.path.join(pin.path, "snapshot.json"), "w", encoding="ascii") as file:
        json.dump({"snapshot": 9}, file)
    with pytest.raises(UnsupportedFormat):
        pins.read_pin(RealDisk(), pin.path)


class Killed(BaseException):
    pass


class DyingDisk(RealDisk):
    """Ends everything before its n-th change, as kill -9 would."""

    __slots__ = ("left",)

    def __init__(self, left):
        self.left = left

    def _step(self):
        self.left -= 1
        if self.left < 0:
            raise Killed

    def rename(self, src, dst):
        self._step()
        super().rename(src, dst)

    def unlink(self, path):
        self._step()
        super().unlink(path)

    def mkdir(self, path):
        self._step()
        super().mkdir(path)

    def fsync_dir(self, path):
        self._step()
        super().fsync_dir(path)

    def fsync(self, fd):
        self._step()
        super().fsync(fd)

    def pwrite(self, fd, data, offset):
        self._step()
        super().pwrite(fd, data, offset)


def test_a_restore_in_place_that_is_killed_anywhere_leaves_the_old_store_or_the_new_one(node, tmp_path):
    work(node, 1, puts=8)
    old_pin = take(node, "one")
    then = dict(node.truth)
    work(node, 2, puts=8)
    now = dict(node.truth)
    node.snapshots.ask(RollCopies())
    node.stop()
    seen = []
    for left in range(400):
        path = str(tmp_path / "try")
        shutil.copytree(node.datadir.path, path)
        pin = old_pin._replace(path=os.path.join(pins.pins_dir(os.path.join(path, "snapshots")), "one"))
        finished = True
        try:
            do_restore(path, pin, disk=DyingDisk(left))
        except Killed:
            finished = False
        for again in range(left % 3):  # and so may be whoever finishes it
            try:
                open_datadir(DyingDisk(again + left % 5), path, os.urandom)
            except Killed:
                continue
        opened = open_again(path)
        assert opened in (then, now)
        seen.append(opened == then)
        shutil.rmtree(path)
        if finished:
            break
    assert finished
    assert seen == sorted(seen), "once the new store is there it stays"
    assert seen[0] is False
    assert seen[-1] is True


def test_what_is_restored_passes_every_check_and_starts_a_log_of_its_own(node, tmp_path):
    work(node, 1)
    pin = take(node, "one")
    node.stop()
    target = str(tmp_path / "new")
    do_restore(node.datadir.path, pin, to=target)
    index_path = os.path.join(target, "index", "index.db")
    list(index_file.check_file(index_path))
    found = index_file.describe_file(index_path)
    assert (found.applied_lsn, found.log_start) == (pin.lsn, pin.lsn + 1)
    assert list_files(RealDisk(), os.path.join(target, "journal")) == [pin.lsn + 1]
    assert rows(index_path, "SELECT count(*) FROM objects")
