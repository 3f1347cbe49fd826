"""The witness never speaks of more than was durable, survives a torn slot, and refuses after a failed sync."""

import errno
import random
from pathlib import Path

import pytest

from fasterstore.digests import crc32c
from fasterstore.errors import StorageFull, UnsupportedFormat, VolumeSuspect
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.witness import SLOT_BYTES, Witness, pack_slot, unpack_slot

GOLDEN = Path(__file__).parents[2] / "golden" / "witness_v1.hex"
LOG, OTHER = bytes(range(16)), bytes(range(1, 17))
PATH = "/witness"


def test_the_file_is_the_golden_one():
    disk = MemoryDisk()
    witness = Witness(disk, PATH)
    witness.write(LOG, 7)
    witness.write(LOG, 1000)
    slots = [bytes.fromhex(line) for line in GOLDEN.read_text().split()]
    assert disk.contents(PATH) == b"".join(slot.ljust(SLOT_BYTES, b"\0") for slot in slots)
    assert [unpack_slot(slot) for slot in slots] == [(2, LOG, 1000), (1, LOG, 7)]


def test_it_remembers_the_last_lsn_of_each_log():
    disk = MemoryDisk()
    assert Witness(disk, PATH).read(LOG) == 0
    for lsn in range(1, 6):
        Witness(disk, PATH).write(LOG, lsn * 10)
        assert Witness(disk, PATH).read(LOG) == lsn * 10
        assert Witness(disk, PATH).read(OTHER) == 0
    witness = Witness(disk, PATH)
    witness.write(OTHER, 3)
    assert (witness.read(OTHER), witness.read(LOG)) == (3, 50)
    witness.close()
    witness.write(OTHER, 4)
    assert witness.read(OTHER) == 4


def test_a_damaged_slot_leaves_the_other_and_is_written_next():
    disk = MemoryDisk()
    witness = Witness(disk, PATH)
    witness.write(LOG, 10)
    witness.write(LOG, 20)
    good = disk.contents(PATH)
    for place in range(44):
        rotten = bytearray(good)
        rotten[place] ^= 1
        disk.replace(PATH, bytes(rotten))
        assert Witness(disk, PATH).read(LOG) == 10
        Witness(disk, PATH).write(LOG, 30)
        assert disk.contents(PATH)[SLOT_BYTES:] == good[SLOT_BYTES:], "the slot that still speaks is not overwritten"
        assert Witness(disk, PATH).read(LOG) == 30
        disk.replace(PATH, good)


def test_after_a_power_cut_it_says_the_last_finished_write_or_the_one_under_way():
    disk = MemoryDisk()
    witness = Witness(disk, PATH)
    written = [(0, 0)]
    for lsn in (10, 20, 30, 40):
        witness.write(LOG, lsn)
        written.append((len(disk.ops), lsn))
    rng = random.Random(5)
    for upto in range(len(disk.ops) + 1):
        finished = max(lsn for place, lsn in written if place <= upto)
        for state in disk.crash_states(upto, rng, 20):
            assert Witness(state, PATH).read(LOG) in {finished, finished + 10}


def test_a_later_version_is_refused():
    slot = bytearray(pack_slot(1, LOG, 1))
    slot[4] = 2
    slot[40:] = crc32c(bytes(slot[:40])).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat):
        unpack_slot(bytes(slot))


@pytest.mark.parametrize("operation", ["pwrite", "fdatasync", "fsync", "fsync_dir"])
def test_a_failed_write_or_sync_refuses_for_ever(operation):
    disk = MemoryDisk()
    witness = Witness(disk, PATH)
    disk.fail_next(operation)
    for _attempt in range(2):
        with pytest.raises(VolumeSuspect):
            witness.write(LOG, 1)


@pytest.mark.parametrize("operation", ["open", "fallocate"])
def test_a_full_disk_refuses_only_its_making(operation):
    disk = MemoryDisk()
    witness = Witness(disk, PATH)
    disk.fail_next(operation, errno.ENOSPC)
    with pytest.raises(StorageFull):
        witness.write(LOG, 1)
    witness.write(LOG, 1)
    disk.capacity_bytes = 0
    witness.write(LOG, 2)
    assert witness.read(LOG) == 2
