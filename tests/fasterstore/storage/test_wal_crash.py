"""Power cuts at every op of the log's life, and again during the recovery: nothing acknowledged is lost or changed.

The same check is run on disks and writers with a planted bug, and must fail there: else it would prove nothing.
"""

import os
import random
from collections.abc import Callable
from typing import NamedTuple

import pytest

from fasterstore.errors import StoreError
from fasterstore.storage.memory_disk import MemoryDisk, Op
from fasterstore.storage.wal import WalWriter
from fasterstore.storage.wal_format import Frame
from fasterstore.storage.wal_recovery import list_files, read_from, recover
from fasterstore.storage.witness import Witness

FOLDER = "/data/journal"
WITNESS = "/data/journal/witness"
LOG = bytes(range(16))
ROTATE_BYTES = 2600
STEP_BYTES = 1024
SETUP_OPS = 5  # of make_disk: three folders, two syncs


class Life(NamedTuple):
    """What was done: the disk with its ops, every entry ever built, and (place in the ops, LSN acknowledged there)."""

    disk: MemoryDisk
    entries: list[bytes]
    acknowledged: list[tuple[int, int]]


def start(disk: MemoryDisk) -> tuple[WalWriter, Witness]:
    witness = Witness(disk, WITNESS)
    writer = recover(disk, FOLDER, LOG, witness.read(LOG), os.urandom, rotate_bytes=ROTATE_BYTES, step_bytes=STEP_BYTES).writer
    return writer, witness


def make_disk(kind: type[MemoryDisk] = MemoryDisk) -> MemoryDisk:
    disk = kind()
    for folder in ("/data", FOLDER, "/data/quarantine"):
        disk.mkdir(folder)
    for folder in ("/", "/data"):
        MemoryDisk.fsync_dir(disk, folder)
    return disk


def append(writer: WalWriter, frame: Frame) -> None:
    writer.append(frame)


def live(disk: MemoryDisk, rng: random.Random, frames: int, put: Callable[[WalWriter, Frame], None] = append) -> Life:
    """Append `frames` batches of random entries, with a witness now and then and a kill -9 in the middle."""
    writer, witness = start(disk)
    entries: list[bytes] = []
    acknowledged = [(0, 0)]
    for number in range(frames):
        if number == frames // 2:
            writer, witness = start(disk)
        batch = [rng.randbytes(rng.choice((0, 3, 40, 700, 1500))) for _ in range(rng.randint(1, 4))]
        entries += batch
        put(writer, writer.build(batch, writer.head_lsn + 1))
        acknowledged.append((disk.mark(f"LSN {writer.head_lsn}"), writer.head_lsn))
        if number % 4 == 3:
            witness.write(LOG, writer.durable_lsn)
    return Life(disk, entries, acknowledged)


def violations(life: Life, state: MemoryDisk, upto_op: int) -> list[str]:
    """What is wrong with the log on `state`, a disk after a power cut behind op `upto_op`."""
    promised = max(lsn for place, lsn in life.acknowledged if place <= upto_op)
    try:
        writer, _witness = start(state)
        found = list(read_from(state, FOLDER, 1))
    except StoreError as error:
        return [f"op {upto_op}: {error.name} {error.detail}"]
    wrong = []
    if writer.head_lsn < promised:
        wrong.append(f"op {upto_op}: the head is {writer.head_lsn}, {promised} was acknowledged")
    if found != list(enumerate(life.entries[: writer.head_lsn], 1)):
        wrong.append(f"op {upto_op}: the entries are not those that were written")
    return wrong


def check(life: Life, rng: random.Random, states_per_op: int) -> tuple[list[str], int]:
    """Cut the power behind every op; returns (violations, states looked at)."""
    wrong: list[str] = []
    looked_at = 0
    for upto_op in range(SETUP_OPS, len(life.disk.ops) + 1):
        for state in life.disk.crash_states(upto_op, rng, states_per_op):
            looked_at += 1
            wrong += violations(life, state, upto_op)
    return wrong, looked_at


@pytest.mark.parametrize("seed", range(3))
def test_no_acknowledged_entry_is_lost_by_a_power_cut_behind_any_op(seed):
    rng = random.Random(seed)
    life = live(make_disk(), rng, 24)
    assert len(list_files(life.disk, FOLDER)) > 3
    wrong, looked_at = check(life, rng, 4)
    assert wrong == []
    assert looked_at > 500


def test_a_power_cut_during_recovery_leads_to_the_same_log():
    rng = random.Random(7)
    life = live(make_disk(), rng, 12)
    again = 0
    for upto_op in range(SETUP_OPS, len(life.disk.ops) + 1):
        for state in life.disk.crash_states(upto_op, rng, 2):
            writer, _witness = start(state)
            found = list(read_from(state, FOLDER, 1))
            for recovery_op in range(len(state.ops) + 1):
                for later in state.crash_states(recovery_op, rng, 2):
                    again += 1
                    assert start(later)[0].head_lsn == writer.head_lsn
                    assert list(read_from(later, FOLDER, 1)) == found
                    for path in life.disk.listdir("/data/quarantine"):
                        assert path in later.listdir("/data/quarantine")
    assert again > 1000


def test_what_recovery_served_from_the_page_cache_survives_a_power_cut_after_it():
    rng = random.Random(8)
    disk = make_disk()
    writer, _witness = start(disk)
    writer.append(writer.build([b"durable"], 1))
    frame = writer.build([b"only in the page cache"], 2)
    writer.reserve(len(frame.data))
    writer.write(frame)
    killed = disk.snapshot()
    assert {start(state)[0].head_lsn for state in killed.crash_states(len(killed.ops), rng, 10)} == {1, 2}
    assert start(killed)[0].head_lsn == 2
    assert {start(state)[0].head_lsn for state in killed.crash_states(len(killed.ops), rng, 10)} == {2}


def test_every_torn_tail_that_recovery_drops_is_in_quarantine_first():
    rng = random.Random(9)
    disk = make_disk()
    writer, _witness = start(disk)
    writer.append(writer.build([b"durable"], 1))
    frame = writer.build([bytes(range(1, 250)) * 8], 2)
    writer.reserve(len(frame.data))
    writer.write(frame)
    torn = 0
    for state in disk.crash_states(len(disk.ops), rng, 30):
        (path,) = [f"{FOLDER}/{name}" for name in state.listdir(FOLDER) if name.endswith(".wal")]
        before = state.contents(path).rstrip(b"\0")
        start(state)
        for upto_op in range(len(state.ops) + 1):
            for later in state.crash_states(upto_op, rng, 5):
                aside = [later.contents(f"/data/quarantine/{name}") for name in later.listdir("/data/quarantine")]
                kept = later.contents(path).rstrip(b"\0")
                torn += bool(aside)
                assert kept == before or kept + aside[0] == before
    assert torn > 20


class NoSync(MemoryDisk):
    """Planted bug: fdatasync does nothing."""

    def fdatasync(self, fd: int) -> None:
        self.size(fd)


class NoFileSync(MemoryDisk):
    """Planted bug: fsync (of new files) does nothing."""

    def fsync(self, fd: int) -> None:
        self.size(fd)


class NoFolderSync(MemoryDisk):
    """Planted bug: folders are never synced."""

    def fsync_dir(self, path: str) -> None:
        self.listdir(path)


def acknowledge_before_sync(writer: WalWriter, frame: Frame) -> None:
    """Planted bug: an answer before the log is on stable storage."""
    writer.reserve(len(frame.data))
    writer.write(frame)


@pytest.mark.parametrize(
    ("disk_kind", "put"),
    [(NoSync, append), (NoFileSync, append), (NoFolderSync, append), (MemoryDisk, acknowledge_before_sync)],
)
def test_a_planted_bug_is_caught(disk_kind, put):
    rng = random.Random(1)
    wrong, _looked_at = check(live(make_disk(disk_kind), rng, 12, put), rng, 3)
    assert wrong


def test_a_failed_sync_is_never_taken_for_a_durable_one():
    rng = random.Random(2)
    disk = make_disk()
    writer, _witness = start(disk)
    entries = [b"one", b"two"]
    writer.append(writer.build(entries[:1], 1))
    life = Life(disk, entries, [(0, 0), (disk.mark("LSN 1"), 1)])
    disk.fail_next("fdatasync")
    frame = writer.build(entries[1:], 2)
    for _attempt in range(3):
        with pytest.raises(StoreError):
            writer.append(frame)
    assert check(life, rng, 5)[0] == []
    assert [op.kind for op in disk.ops].count("failed_sync") == 1
    assert disk.ops[-1] == Op("failed_sync", inode=disk.ops[-1].inode)
