"""The log's writer: what it promises, when it refuses, and that a refusal for lack of space changes nothing."""

import errno
import os

import pytest

from fasterstore.errors import InvariantError, StorageFull, VolumeSuspect
from fasterstore.storage.disk import Disk, RealDisk
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal import WalWriter
from fasterstore.storage.wal_recovery import list_files, read_from, recover

FOLDER = "/journal"
LOG = bytes(range(16))
ROTATE_BYTES = 2000
STEP_BYTES = 512


def start(disk: Disk, folder: str = FOLDER) -> WalWriter:
    if not disk.exists(folder):
        disk.mkdir(folder)
    return recover(disk, folder, LOG, 0, os.urandom, rotate_bytes=ROTATE_BYTES, step_bytes=STEP_BYTES).writer


def put(writer: WalWriter, *entries: bytes) -> None:
    writer.append(writer.build(list(entries), writer.head_lsn + 1))


def state(disk: MemoryDisk) -> dict[str, bytes]:
    return {name: disk.contents(f"{FOLDER}/{name}").rstrip(b"\0") for name in disk.listdir(FOLDER)}


def test_entries_come_back_in_order_across_files_from_any_lsn():
    disk = MemoryDisk()
    writer = start(disk)
    entries = {}
    for number in range(60):
        batch = [b"entry %d of %d" % (part, number) * (number % 7) for part in range(number % 3 + 1)]
        entries |= dict(enumerate(batch, writer.head_lsn + 1))
        put(writer, *batch)
        assert writer.head_lsn == writer.durable_lsn == len(entries)
    assert len(list_files(disk, FOLDER)) > 3
    for lsn in range(1, len(entries) + 3):
        assert list(read_from(disk, FOLDER, lsn)) == [(at, entries[at]) for at in entries if at >= lsn]
    assert list(read_from(disk, FOLDER, 7, upto_lsn=20)) == [(at, entries[at]) for at in range(7, 21)]


def test_on_a_real_disk_it_survives_a_restart(tmp_path):
    disk, folder = RealDisk(), str(tmp_path / "journal")
    for round_number in range(3):
        writer = start(disk, folder)
        assert writer.head_lsn == round_number * 20
        for _ in range(20):
            put(writer, b"%d" % writer.head_lsn * 30)
        writer.close()
        with pytest.raises(VolumeSuspect):
            writer.sync()
    assert [lsn for lsn, _entry in read_from(disk, folder, 1)] == list(range(1, 61))


def test_a_frame_carries_what_was_durable_when_it_was_built():
    writer = start(MemoryDisk())
    put(writer, b"a", b"b")
    durable = []
    for _ in range(2):
        frame = writer.build([b"c"], writer.head_lsn + 1)
        durable.append(int.from_bytes(frame.data[20:28], "little"))
        writer.reserve(len(frame.data))
        writer.write(frame)
    writer.sync()
    durable.append(int.from_bytes(writer.build([b"d"], 5).data[20:28], "little"))
    assert durable == [2, 2, 4]


def test_build_changes_nothing():
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    before = (len(disk.ops), writer.head_lsn)
    assert writer.build([b"b"], 2) == writer.build([b"b"], 2)
    assert writer.build([b"b" * ROTATE_BYTES], 2) == writer.build([b"b" * ROTATE_BYTES], 2)
    assert (len(disk.ops), writer.head_lsn) == before


def test_a_frame_for_another_place_is_a_defect():
    writer = start(MemoryDisk())
    put(writer, b"a")
    with pytest.raises(InvariantError):
        writer.build([], 2)
    for lsn in (1, 3):
        with pytest.raises(InvariantError):
            writer.build([b"b"], lsn)
    first, second = writer.build([b"b"], 2), writer.build([b"c"], 2)
    with pytest.raises(InvariantError, match="no reserved room"):
        writer.write(writer.build([b"b" * 700], 2))
    writer.append(first)
    with pytest.raises(InvariantError):
        writer.append(second)
    small = writer.build([b"d"], 3)
    writer.reserve(ROTATE_BYTES)
    with pytest.raises(InvariantError):
        writer.append(small)
    put(writer, b"d")


def test_room_may_be_reserved_before_the_frame_is_built_even_in_a_new_file():
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    early = writer.build([b"e" * ROTATE_BYTES], 2)
    writer.reserve(ROTATE_BYTES + 100)
    assert list_files(disk, FOLDER) == [1, 2]
    writer.reserve(ROTATE_BYTES + 100)
    assert list_files(disk, FOLDER) == [1, 2], "an empty file is not left for another"
    assert writer.build([b"e" * ROTATE_BYTES], 2) == early, "a frame built before the new file fits it"
    writer.append(early)
    put(writer, b"f")
    assert [entry[:1] for _lsn, entry in read_from(disk, FOLDER, 1)] == [b"a", b"e", b"f"]
    assert list_files(disk, FOLDER) == [1, 2, 3]


def test_space_is_taken_in_steps_and_never_past_the_file():
    disk = MemoryDisk()
    writer = start(disk)
    for _ in range(40):
        put(writer, b"x" * 100)
    allocations = [op for op in disk.ops if op.kind == "fallocate"]
    assert len(allocations) < 40
    assert all(op.length <= ROTATE_BYTES for op in allocations)
    for name in disk.listdir(FOLDER):
        assert len(disk.contents(f"{FOLDER}/{name}")) <= ROTATE_BYTES


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync"])
def test_a_failed_write_or_sync_refuses_for_ever_and_is_not_tried_again(operation):
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    frame = writer.build([b"b"], 2)
    disk.fail_next(operation)
    with pytest.raises(VolumeSuspect):
        writer.append(frame)
    assert writer.durable_lsn == 1
    ops = len(disk.ops)
    for attempt in (lambda: writer.append(frame), lambda: writer.reserve(1), lambda: writer.write(frame), writer.sync):
        with pytest.raises(VolumeSuspect):
            attempt()
    assert len(disk.ops) == ops, "nothing more went to the disk"
    assert writer.durable_lsn == 1


@pytest.mark.parametrize("operation", ["open", "truncate", "fallocate", "pwrite", "fsync", "rename", "fsync_dir", "close"])
def test_a_failure_while_a_file_is_begun_refuses_for_ever(operation):
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    frame = writer.build([b"b" * ROTATE_BYTES], 2)
    disk.close(disk.open(f"{FOLDER}/{2:016x}.wal.tmp", create=True))
    disk.replace(f"{FOLDER}/{2:016x}.wal.tmp", b"left over")
    disk.fail_next(operation)
    for _ in range(2):
        with pytest.raises(VolumeSuspect):
            writer.append(frame)
    assert [entry for _lsn, entry in read_from(disk, FOLDER, 1)] == [b"a"]
    assert start(disk).head_lsn == 1


@pytest.mark.parametrize("operation", ["open", "fallocate", "pwrite", "rename"])
def test_a_full_disk_refuses_a_new_file_and_changes_nothing(operation):
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    before = state(disk)
    frame = writer.build([b"b" * ROTATE_BYTES], 2)
    if operation == "fallocate":
        disk.capacity_bytes = STEP_BYTES
    else:
        disk.fail_next(operation, errno.ENOSPC)
    with pytest.raises(StorageFull):
        writer.append(frame)
    assert state(disk) == before
    assert (writer.head_lsn, writer.durable_lsn) == (1, 1)
    put(writer, b"small")
    disk.capacity_bytes = None
    put(writer, b"b" * ROTATE_BYTES)
    assert [entry[:5] for _lsn, entry in read_from(disk, FOLDER, 1)] == [b"a", b"small", b"bbbbb"]


def test_a_full_disk_refuses_an_extension_and_gives_back_what_it_took():
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    before = (state(disk), len(disk.contents(f"{FOLDER}/{1:016x}.wal")))
    disk.capacity_bytes = before[1] + STEP_BYTES + 10
    frame = writer.build([b"b" * 1500], 2)
    with pytest.raises(StorageFull):
        writer.append(frame)
    assert (state(disk), len(disk.contents(f"{FOLDER}/{1:016x}.wal"))) == before
    disk.capacity_bytes = None
    writer.append(frame)
    assert writer.durable_lsn == 2


def test_the_last_bytes_of_a_disk_are_used_before_it_is_called_full(tmp_path):
    disk = MemoryDisk()
    disk.mkdir(FOLDER)
    writer = recover(disk, FOLDER, LOG, 0, os.urandom).writer
    disk.capacity_bytes = 8192
    put(writer, b"a" * 5000)
    with pytest.raises(StorageFull):
        put(writer, b"a" * 5000)
    assert writer.durable_lsn == 1


def test_a_file_is_begun_only_after_the_one_before_it_is_durable():
    disk = MemoryDisk()
    writer = start(disk)
    frame = writer.build([b"a"], 1)
    writer.reserve(len(frame.data))
    writer.write(frame)
    assert writer.durable_lsn == 0
    writer.reserve(ROTATE_BYTES)
    assert writer.durable_lsn == 1
    kinds = [op.kind for op in disk.ops]
    assert "sync" in kinds[kinds.index("write", kinds.index("sync_dir")) :]


def test_a_reader_beside_the_writer_looks_at_nothing_that_is_not_durable():
    disk = MemoryDisk()
    writer = start(disk)
    put(writer, b"a")
    frame = writer.build([b"b"], 2)
    writer.reserve(len(frame.data))
    writer.write(frame)
    path = f"{FOLDER}/{1:016x}.wal"
    half = disk.contents(path)
    place = half.index(b"FSFR", half.index(b"FSFR") + 1)
    disk.replace(path, half[: place + 30] + bytes(len(half) - place - 30))
    assert list(read_from(disk, FOLDER, 1, upto_lsn=writer.durable_lsn)) == [(1, b"a")]
