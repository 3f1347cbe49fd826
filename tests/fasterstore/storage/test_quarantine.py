"""Quarantine: a bad record's bytes are kept as they are, durably; bounded, and never at the cost of what is stored."""

import errno
import random

import pytest

from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.quarantine import Kept, Quarantine
from fasterstore.storage.record import record_bytes

STORED = 5000
ROW = BlobRow(7, bytes(32), 1, BlobLocation(3, 100, STORED, STORED, bytes(16)))
NAME = "0000000000000003-100-7.record"
LENGTH = record_bytes(STORED)


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.mkdir("/quarantine")
    return made


@pytest.fixture
def segment(disk):
    fd = disk.open("/segment", create=True)
    disk.pwrite(fd, bytes(range(256)) * 40, 0)
    return fd


def quarantine(disk, **limits):
    return Quarantine(disk, "/quarantine", **{"min_free_bytes": 0, **limits})


def test_a_copy_holds_the_very_bytes_and_is_counted(disk, segment):
    kept = quarantine(disk)
    assert kept.kept() == Kept(0, 0)
    assert kept.copy(segment, ROW) == ""
    assert disk.contents(f"/quarantine/{NAME}") == disk.contents("/segment")[100 : 100 + LENGTH]
    assert kept.kept() == Kept(1, LENGTH)


def test_a_copy_that_is_there_stays_as_it_is(disk, segment):
    quarantine(disk).copy(segment, ROW)
    before = disk.contents(f"/quarantine/{NAME}")
    disk.pwrite(segment, b"rotted further", 200)
    assert quarantine(disk).copy(segment, ROW) == ""
    assert disk.contents(f"/quarantine/{NAME}") == before


def test_past_the_cap_or_into_the_reserve_nothing_is_copied(disk, segment):
    assert quarantine(disk, cap_bytes=LENGTH - 1).copy(segment, ROW)
    assert quarantine(disk, min_free_bytes=1 << 62).copy(segment, ROW)
    assert disk.listdir("/quarantine") == []
    other = disk.open("/quarantine/another.torn", create=True)
    disk.pwrite(other, bytes(1 << 20), 0)
    assert quarantine(disk, cap_bytes=LENGTH).copy(segment, ROW) == "", "what others keep there does not count"


def test_blocks_that_cannot_be_read_are_zeros_in_the_copy(disk, segment):
    plain = disk.pread

    def bad_block(fd, length, offset):
        if fd == segment and offset < 4300 < offset + length:
            raise OSError(errno.EIO, "a bad block")
        return plain(fd, length, offset)

    disk.pread = bad_block
    assert quarantine(disk).copy(segment, ROW) == ""
    disk.pread = plain
    copy, stored = disk.contents(f"/quarantine/{NAME}"), disk.contents("/segment")[100 : 100 + LENGTH]
    assert len(copy) == LENGTH
    assert copy[: 4096 - 100] == stored[: 4096 - 100]
    assert copy[4096 - 100 :] == bytes(LENGTH - 4096 + 100)


def test_a_full_disk_leaves_nothing_behind(disk, segment):
    disk.fail_next("pwrite", errno.ENOSPC)
    with pytest.raises(OSError):
        quarantine(disk).copy(segment, ROW)
    assert disk.listdir("/quarantine") == []


def test_on_return_the_copy_survives_a_power_cut(disk, segment):
    disk.fsync_dir("/")
    quarantine(disk).copy(segment, ROW)
    expected = disk.contents(f"/quarantine/{NAME}")
    for state in disk.crash_states(disk.mark("copied"), random.Random(1), 20):
        assert state.contents(f"/quarantine/{NAME}") == expected
