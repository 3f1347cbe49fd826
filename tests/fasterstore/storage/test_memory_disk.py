"""The disk in memory loses what a power cut may lose, and nothing else."""

import errno
import random

import pytest

from fasterstore.storage.memory_disk import MemoryDisk

PATH = "/a"


def make() -> tuple[MemoryDisk, int]:
    disk = MemoryDisk()
    return disk, disk.open(PATH, create=True)


def outcomes(disk: MemoryDisk, path: str = PATH, count: int = 200) -> set[bytes | None]:
    """What `path` may hold after a power cut now; None: no such name."""
    states = disk.crash_states(len(disk.ops), random.Random(1), count)
    return {state.contents(path) if state.exists(path) else None for state in states}


def durable_file(content: bytes) -> tuple[MemoryDisk, int]:
    disk, fd = make()
    disk.pwrite(fd, content, 0)
    disk.fsync(fd)
    disk.fsync_dir("/")
    return disk, fd


def test_what_was_synced_with_its_name_is_the_only_outcome():
    disk, _fd = durable_file(b"old")
    assert outcomes(disk) == {b"old"}


def test_a_synced_file_without_a_synced_folder_may_have_no_name():
    disk, fd = make()
    disk.pwrite(fd, b"old", 0)
    disk.fsync(fd)
    assert outcomes(disk) == {None, b"old"}


def test_an_unsynced_write_may_be_kept_lost_or_zeros():
    disk, fd = durable_file(b"old")
    disk.pwrite(fd, b"new", 0)
    disk.pwrite(fd, b"more", 3)
    assert outcomes(disk) >= {b"old", b"new", b"newmore", b"oldmore", b"old\0\0\0\0", b"new\0\0\0\0"}
    assert b"\0\0\0more" not in outcomes(disk), "bytes that were there turn to zeros in no model"
    disk.fdatasync(fd)
    assert outcomes(disk) == {b"newmore"}


def test_a_sample_is_as_many_of_the_outcomes_as_asked_for_and_comes_to_all_of_them():
    disk, fd = durable_file(b"old")
    disk.pwrite(fd, b"new", 0)
    disk.pwrite(fd, b"more", 3)
    rng = random.Random(1)
    samples = [[state.contents(PATH) for state in disk.crash_states(len(disk.ops), rng, 3, sample=2)] for _ in range(100)]
    assert {len(sample) for sample in samples} == {2}
    assert set().union(*samples) == outcomes(disk)
    disk.fdatasync(fd)
    assert [state.contents(PATH) for state in disk.crash_states(len(disk.ops), rng, 3, sample=2)] == [b"newmore"]


def test_a_large_write_is_torn_at_sectors_and_later_ones_may_survive_without_it():
    disk, fd = durable_file(b"")
    disk.pwrite(fd, b"A" * 100, 0)
    disk.pwrite(fd, b"B" * 1500, 100)
    seen = outcomes(disk, count=400)
    assert any(content[:100] == bytes(100) and b"B" in content for content in seen), "unordered"
    torn = [content for content in seen if b"B" in content and content.count(b"B") < 1500]
    assert torn
    edges = {100, 512, 1024, 1536, 1600}
    for content in torn:
        for place in range(100, len(content)):
            assert place in edges or content[place] == content[place - 1]


def test_names_are_lost_from_the_end_of_a_folders_order():
    disk, fd = durable_file(b"old")
    disk.close(fd)
    fd = disk.open("/a.tmp", create=True)
    disk.pwrite(fd, b"new", 0)
    disk.fsync(fd)
    disk.rename("/a.tmp", PATH)
    assert outcomes(disk) == {b"old", b"new"}
    disk.fsync_dir("/")
    assert outcomes(disk) == {b"new"}
    disk.unlink(PATH)
    assert outcomes(disk) == {b"new", None}


def test_a_lost_folder_takes_what_is_in_it():
    disk = MemoryDisk()
    disk.mkdir("/d")
    fd = disk.open("/d/a", create=True)
    disk.pwrite(fd, b"x", 0)
    disk.fsync(fd)
    disk.fsync_dir("/d")
    assert outcomes(disk, "/d/a") == {None, b"x"}
    disk.fsync_dir("/")
    assert outcomes(disk, "/d/a") == {b"x"}


def test_a_failed_sync_lets_go_of_its_writes_for_good():
    disk, fd = durable_file(b"old")
    disk.pwrite(fd, b"new", 0)
    disk.fail_next("fdatasync", errno.EIO)
    with pytest.raises(OSError) as failure:
        disk.fdatasync(fd)
    assert failure.value.errno == errno.EIO
    disk.fdatasync(fd)
    assert outcomes(disk) == {b"old", b"new"}
    assert disk.contents(PATH) == b"new", "reads still come from the cache"


def test_a_crash_state_is_a_disk_of_its_own():
    disk, fd = durable_file(b"old")
    place = disk.mark("acknowledged")
    disk.pwrite(fd, b"new", 0)
    assert {state.contents(PATH) for state in disk.crash_states(place, random.Random(1), 5)} == {b"old"}
    (state,) = disk.crash_states(place, random.Random(1), 5)
    handle = state.open(PATH)
    state.pwrite(handle, b"two", 0)
    assert outcomes(state) == {b"old", b"two"}
    assert disk.contents(PATH) == b"new"


def test_what_the_page_cache_holds_after_a_kill_may_still_be_lost():
    disk, fd = durable_file(b"old")
    disk.pwrite(fd, b"new", 0)
    survivor = disk.snapshot()
    assert survivor.contents(PATH) == b"new"
    assert outcomes(survivor) == {b"old", b"new"}
    survivor.fsync(survivor.open(PATH))
    assert outcomes(survivor) == {b"new"}
    assert outcomes(disk) == {b"old", b"new"}
    survivor.replace(PATH, b"rot")
    assert outcomes(survivor) == {b"rot"}


def test_faults_come_when_asked_and_once():
    disk, fd = make()
    disk.fail_next("pwrite", errno.EIO, after=1)
    disk.pwrite(fd, b"1", 0)
    with pytest.raises(OSError):
        disk.pwritev(fd, [b"2"], 1)
    assert disk.contents(PATH) == b"1"
    disk.pwrite(fd, b"2", 1)
    assert disk.contents(PATH) == b"12"


def test_capacity_is_what_all_files_hold():
    disk, fd = make()
    disk.capacity_bytes = 1000
    disk.fallocate(fd, 0, 600)
    disk.pwrite(fd, b"x" * 600, 0)
    other = disk.open("/b", create=True)
    with pytest.raises(OSError) as failure:
        disk.pwrite(other, b"y" * 401, 0)
    assert failure.value.errno == errno.ENOSPC
    assert disk.free_bytes("/") == 400
    disk.close(fd)
    disk.unlink(PATH)
    disk.pwrite(other, b"y" * 1000, 0)


def test_a_rename_across_folders_is_refused():
    disk, _fd = make()
    disk.mkdir("/d")
    with pytest.raises(OSError) as failure:
        disk.rename(PATH, "/d/a")
    assert failure.value.errno == errno.EXDEV
