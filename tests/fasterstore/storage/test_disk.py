"""Both disks keep the same contract: the real one on a folder, the one in memory on itself."""

import ctypes
import errno
import mmap
import os
import resource
import stat

import pytest

from fasterstore.storage.disk import IOV_MAX, Disk, RealDisk, advance
from fasterstore.storage.memory_disk import MemoryDisk


@pytest.fixture(params=["real", "memory"])
def place(request, tmp_path) -> tuple[Disk, str]:
    """A disk and an empty folder on it."""
    if request.param == "real":
        return RealDisk(), str(tmp_path)
    disk = MemoryDisk()
    disk.mkdir("/d")
    return disk, "/d"


def test_written_bytes_read_back_and_a_read_is_short_only_at_the_end(place):
    disk, folder = place
    fd = disk.open(f"{folder}/a", create=True)
    disk.pwrite(fd, b"hello", 3)
    assert disk.pread(fd, 100, 0) == b"\0\0\0hello"
    assert disk.pread(fd, 2, 4) == b"el"
    assert disk.pread(fd, 5, 50) == b""
    assert disk.size(fd) == 8
    disk.fdatasync(fd)
    disk.fsync(fd)
    disk.start_writeback(fd, 0, 8)
    disk.close(fd)
    with pytest.raises(OSError) as failure:
        disk.pread(fd, 1, 0)
    assert failure.value.errno == errno.EBADF


def test_pwritev_takes_more_buffers_than_the_kernel_does_at_once(place):
    disk, folder = place
    buffers = [b"%d," % number for number in range(2 * IOV_MAX + 7)]
    fd = disk.open(f"{folder}/a", create=True)
    disk.pwritev(fd, [bytearray(buffers[0]), memoryview(buffers[1]), *buffers[2:]], 5)
    assert disk.pread(fd, 1 << 20, 5) == b"".join(buffers)
    disk.close(fd)


def resident_pages(fd: int, length: int) -> int:
    """How many pages of the file the kernel holds in memory."""
    pages = (ctypes.c_ubyte * (length // mmap.PAGESIZE))()
    with mmap.mmap(fd, length) as mapped:
        start = ctypes.c_char.from_buffer(mapped)
        assert ctypes.CDLL(None).mincore(ctypes.c_void_p(ctypes.addressof(start)), ctypes.c_size_t(length), pages) == 0
        del start
    return sum(page & 1 for page in pages)


def test_what_is_forgotten_comes_from_the_medium_and_nothing_is_read_ahead(place):
    disk, folder = place
    fd = disk.open(f"{folder}/a", create=True)
    disk.pwrite(fd, b"x" * (1 << 20), 0)
    disk.fdatasync(fd)
    disk.forget(fd, 1, (1 << 20) - 2)
    assert disk.pread(fd, 5000, 4096) == b"x" * 5000
    if isinstance(disk, RealDisk) and not os.path.realpath(folder).startswith("/dev/shm"):
        assert resident_pages(fd, 1 << 20) == 2
    disk.close(fd)


def test_fallocate_grows_with_zeros_and_leaves_bytes_alone(place):
    disk, folder = place
    fd = disk.open(f"{folder}/a", create=True)
    disk.pwrite(fd, b"x" * 10, 0)
    disk.fallocate(fd, 0, 8192)
    assert disk.pread(fd, 9000, 0) == b"x" * 10 + bytes(8182)
    disk.fallocate(fd, 8192, 100)
    assert disk.size(fd) == 8292
    disk.truncate(fd, 4)
    assert disk.pread(fd, 9000, 0) == b"xxxx"
    disk.close(fd)


def test_open_says_what_is_wrong(place):
    disk, folder = place
    with pytest.raises(FileNotFoundError):
        disk.open(f"{folder}/a")
    fd = disk.open(f"{folder}/a", create=True, exclusive=True)
    disk.pwrite(fd, b"kept", 0)
    disk.close(fd)
    with pytest.raises(FileExistsError):
        disk.open(f"{folder}/a", create=True, exclusive=True)
    with pytest.raises(FileNotFoundError):
        disk.open(f"{folder}/none/a", create=True)
    fd = disk.open(f"{folder}/a", create=True)
    assert disk.pread(fd, 9, 0) == b"kept"
    disk.close(fd)
    fd = disk.open(f"{folder}/a", read_only=True)
    with pytest.raises(OSError) as failure:
        disk.pwrite(fd, b"no", 0)
    assert failure.value.errno == errno.EBADF
    disk.close(fd)


def test_names_are_made_replaced_listed_and_removed(place):
    disk, folder = place
    disk.mkdir(f"{folder}/sub")
    with pytest.raises(FileExistsError):
        disk.mkdir(f"{folder}/sub")
    for name in ("b", "a"):
        fd = disk.open(f"{folder}/{name}", create=True)
        disk.pwrite(fd, name.encode(), 0)
        disk.close(fd)
    assert disk.listdir(folder) == ["a", "b", "sub"]
    disk.rename(f"{folder}/a", f"{folder}/b")
    disk.fsync_dir(folder)
    assert disk.listdir(folder) == ["b", "sub"]
    assert not disk.exists(f"{folder}/a")
    assert disk.exists(f"{folder}/b")
    assert disk.exists(f"{folder}/sub")
    fd = disk.open(f"{folder}/b")
    assert disk.pread(fd, 9, 0) == b"a"
    disk.unlink(f"{folder}/b")
    assert disk.pread(fd, 9, 0) == b"a", "an open descriptor keeps serving an unlinked file"
    disk.close(fd)
    with pytest.raises(FileNotFoundError):
        disk.unlink(f"{folder}/b")
    with pytest.raises(FileNotFoundError):
        disk.fsync_dir(f"{folder}/none")
    assert disk.free_bytes(folder) > 0


def test_files_and_folders_are_private_to_their_owner(tmp_path):
    disk = RealDisk()
    disk.mkdir(f"{tmp_path}/sub")
    disk.close(disk.open(f"{tmp_path}/sub/a", create=True))
    assert stat.S_IMODE(os.stat(tmp_path / "sub").st_mode) == 0o700
    assert stat.S_IMODE(os.stat(tmp_path / "sub/a").st_mode) == 0o600


@pytest.mark.parametrize("vectored", [False, True])
def test_a_write_that_the_kernel_cuts_short_is_not_taken_for_a_whole_one(tmp_path, vectored):
    disk = RealDisk()
    fd = disk.open(f"{tmp_path}/a", create=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    limit_bytes = 256 << 20  # above anything else that this process may write meanwhile
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limits[1]))
    try:
        with pytest.raises(OSError) as failure:
            if vectored:
                disk.pwritev(fd, [b"x" * 600, b"y" * 600], limit_bytes - 1000)
            else:
                disk.pwrite(fd, b"x" * 1200, limit_bytes - 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert failure.value.errno == errno.EFBIG
    assert disk.size(fd) == limit_bytes
    disk.close(fd)


def test_advance_drops_what_was_written():
    buffers = [b"abc", b"", b"defg"]
    whole = b"".join(buffers)
    for written in range(len(whole) + 1):
        assert b"".join(advance(buffers, written)) == whole[written:]


def test_a_full_device_raises_enospc():
    disk = RealDisk()
    fd = disk.open("/dev/full")
    with pytest.raises(OSError) as failure:
        disk.pwrite(fd, b"x", 0)
    assert failure.value.errno == errno.ENOSPC
    disk.close(fd)


@pytest.mark.parametrize("make", [RealDisk, MemoryDisk])
def test_a_punched_range_reads_zeros_and_the_file_stays_as_long(make, tmp_path):
    disk = make()
    path = str(tmp_path / "file") if make is RealDisk else "/file"
    fd = disk.open(path, create=True)
    disk.pwrite(fd, b"x" * 20_480, 0)
    assert disk.punch(fd, 4096, 8192)
    assert disk.pread(fd, 20_480, 0) == b"x" * 4096 + bytes(8192) + b"x" * 8192
    assert disk.size(fd) == 20_480
    assert disk.allocated_bytes(path) == 20_480 - 8192
    disk.pwrite(fd, b"y", 4096)
    assert disk.allocated_bytes(path) == 20_480 - 4096
    disk.close(fd)
