"""The reserve file: taken whole or not at all, given back once, and taken again at the next start."""

import pytest

from fasterstore.errors import StorageFull
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.memory_disk import MemoryDisk
from tools.reserve import RESERVE_BYTES, Reserve


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.mkdir("/index")
    return made


def test_it_is_taken_and_given_back_once(disk):
    reserve = Reserve(disk, "/index")
    assert reserve.take()
    assert len(disk.contents("/index/reserve")) == RESERVE_BYTES
    assert reserve.give_back()
    assert disk.contents("/index/reserve") == b""
    assert not reserve.give_back()
    assert disk._handles == {}


def test_it_is_found_again_at_the_next_start_and_taken_anew_after_it_was_given_back(disk):
    Reserve(disk, "/index").take()
    marked = disk.mark("before")
    again = Reserve(disk, "/index")
    assert again.take()
    assert len(disk.ops) == marked
    again.give_back()
    assert Reserve(disk, "/index").take()
    assert len(disk.contents("/index/reserve")) == RESERVE_BYTES


def test_what_was_never_taken_cannot_be_given_back(disk):
    assert not Reserve(disk, "/index").give_back()


def test_a_disk_without_room_starts_without_it_and_keeps_what_room_there_is(disk):
    disk.capacity_bytes = RESERVE_BYTES - 1
    reserve = Reserve(disk, "/index")
    assert not reserve.take()
    assert not reserve.give_back()
    assert disk._used_bytes() == 0
    disk.capacity_bytes = None
    assert reserve.take()


class HalfTaking(MemoryDisk):
    """As ext4 does: a refused allocation keeps the part that it got."""

    def fallocate(self, fd, offset, length):
        super().fallocate(fd, offset, length // 2)
        raise OSError(28, "No space left on device")


def test_a_refused_allocation_leaves_nothing_behind():
    disk = HalfTaking()
    disk.mkdir("/index")
    assert not Reserve(disk, "/index").take()
    assert disk.contents("/index/reserve") == b""


def test_it_takes_real_blocks(tmp_path):
    reserve = Reserve(RealDisk(), str(tmp_path))
    assert reserve.take(1 << 20)
    assert (tmp_path / "reserve").stat().st_blocks * 512 >= 1 << 20
    assert reserve.give_back()
    assert (tmp_path / "reserve").stat().st_blocks == 0


def test_without_the_reserve_a_commit_needs_free_space(disk):
    reserve = Reserve(disk, "/index")
    assert reserve.take()
    disk.capacity_bytes = RESERVE_BYTES
    reserve.need_room(1000)
    reserve.give_back()
    disk.capacity_bytes = (1 << 20) + 32_000
    reserve.need_room(1000)
    with pytest.raises(StorageFull, match="KiB are free"):
        reserve.need_room(1001)


def test_removing_it_frees_its_name_too_and_can_be_done_once(disk):
    disk.capacity_bytes = 1000
    reserve = Reserve(disk, "/index")
    assert not reserve.take()
    assert reserve.remove()
    assert not disk.exists("/index/reserve")
    assert not reserve.remove()
