"""Reading the log behind its writer: what comes back, from where it is read, and what is refused."""

import os
import random

import pytest

from fasterstore.errors import DamagedLog
from fasterstore.storage.disk import Disk, RealDisk
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal import WalWriter, list_files
from fasterstore.storage.wal_format import FILE_HEADER_BYTES, file_name
from fasterstore.storage.wal_recovery import recover
from fasterstore.storage.wal_tail import LogGone, WalTail

FOLDER = "/journal"
LOG = bytes(range(16))


def start(disk: Disk, folder: str = FOLDER) -> WalWriter:
    if not disk.exists(folder):
        disk.mkdir(folder)
    return recover(disk, folder, LOG, 0, os.urandom, rotate_bytes=2000, step_bytes=512).writer


def grow(writer: WalWriter, batches: int) -> dict[int, bytes]:
    entries = {}
    for number in range(batches):
        batch = [b"entry %d of %d" % (part, writer.head_lsn) * (number % 7) for part in range(number % 3 + 1)]
        entries |= dict(enumerate(batch, writer.head_lsn + 1))
        writer.append(writer.build(batch, writer.head_lsn + 1))
    return entries


@pytest.mark.parametrize("real", [False, True])
def test_what_is_appended_is_read_from_where_the_last_reading_ended_across_files(real, tmp_path):
    disk, folder = (RealDisk(), str(tmp_path / "journal")) if real else (MemoryDisk(), FOLDER)
    writer, tail = start(disk, folder), WalTail(disk, folder)
    entries, read, chance = {}, {}, random.Random(1)
    for _ in range(40):
        entries |= grow(writer, chance.randint(0, 4))
        upto = chance.randint(len(read), len(entries))
        read |= dict(tail.entries(len(read) + 1, upto))
        assert list(read) == list(range(1, upto + 1))
    read |= dict(tail.entries(len(read) + 1, len(entries)))
    assert read == entries
    assert len(list_files(disk, folder)) > 3


def test_it_may_be_read_again_from_any_lsn():
    disk = MemoryDisk()
    entries, chance = grow(start(disk), 60), random.Random(2)
    tail = WalTail(disk, FOLDER)
    for _ in range(300):
        first = chance.randint(1, len(entries))
        last = chance.randint(first, len(entries))
        assert list(tail.entries(first, last)) == [(lsn, entries[lsn]) for lsn in range(first, last + 1)]


def test_a_reading_that_is_left_half_way_does_not_disturb_the_next():
    disk = MemoryDisk()
    entries = grow(start(disk), 30)
    tail = WalTail(disk, FOLDER)
    for lsn in range(1, len(entries) + 1):
        assert next(tail.entries(lsn, len(entries))) == (lsn, entries[lsn])


def test_nothing_is_looked_at_behind_what_is_durable():
    disk = MemoryDisk()
    writer = start(disk)
    entries = grow(writer, 3)
    frame = writer.build([b"not durable"], writer.head_lsn + 1)
    writer.reserve(len(frame.data))
    writer.write(frame)
    tail = WalTail(disk, FOLDER)
    assert dict(tail.entries(1, len(entries))) == entries
    assert list(tail.entries(len(entries) + 1, len(entries))) == []


def test_a_log_that_begins_higher_is_gone_and_one_with_a_hole_is_damaged():
    disk = MemoryDisk()
    writer = start(disk)
    entries = grow(writer, 60)
    firsts = list_files(disk, FOLDER)
    tail = WalTail(disk, FOLDER)
    assert next(tail.entries(1, 1)) == (1, entries[1])
    writer.remove_below(firsts[1])
    fresh = WalTail(disk, FOLDER)
    with pytest.raises(LogGone):
        next(fresh.entries(firsts[1] - 1, len(entries)))
    assert next(fresh.entries(firsts[1], len(entries))) == (firsts[1], entries[firsts[1]])
    disk.unlink(f"{FOLDER}/{file_name(firsts[2])}")
    with pytest.raises(DamagedLog):
        list(fresh.entries(firsts[1], len(entries)))


def test_a_retired_file_is_read_to_its_end_while_it_is_open(tmp_path):
    disk, folder = RealDisk(), str(tmp_path / "journal")
    writer = start(disk, folder)
    entries = grow(writer, 60)
    firsts = list_files(disk, folder)
    tail = WalTail(disk, folder)
    assert next(tail.entries(1, 1)) == (1, entries[1])
    writer.remove_below(firsts[1])
    assert dict(tail.entries(2, len(entries))) == {lsn: entry for lsn, entry in entries.items() if lsn > 1}


def test_the_log_is_gone_where_the_file_behind_the_open_one_was_retired():
    disk = MemoryDisk()
    entries = grow(start(disk), 60)
    tail, (_, second, third, *_) = WalTail(disk, FOLDER), list_files(disk, FOLDER)
    assert list(tail.entries(1, second - 1))[-1] == (second - 1, entries[second - 1])
    for first in (1, second):
        disk.unlink(f"{FOLDER}/{file_name(first)}")
    with pytest.raises(LogGone):
        list(tail.entries(second, len(entries)))
    assert list(tail.entries(third, third)) == [(third, entries[third])]


def test_a_flipped_bit_is_damage_and_the_next_reading_says_so_again():
    disk = MemoryDisk()
    entries = grow(start(disk), 6)
    path = f"{FOLDER}/{file_name(1)}"
    fd = disk.open(path)
    byte = disk.pread(fd, 1, FILE_HEADER_BYTES + 70)[0] ^ 4
    disk.pwrite(fd, bytes([byte]), FILE_HEADER_BYTES + 70)
    tail = WalTail(disk, FOLDER)
    for _ in range(2):
        with pytest.raises(DamagedLog, match=r"\.wal at offset"):
            list(tail.entries(1, len(entries)))
