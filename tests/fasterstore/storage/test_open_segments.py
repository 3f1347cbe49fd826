"""Open segment files: only the file that the index names, at most so many, and never closed under a reader."""

import errno
import gc
import os

import pytest

from fasterstore.errors import DamagedRecord
from fasterstore.model import SegmentId
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.segment import HEADER_BYTES, pack_header, segment_name


def uuid(number):
    return bytes([number]) * 16


def make(disk, number, *, file_uuid=None, name=None):
    fd = disk.open(f"/segments/{segment_name(name or number)}", create=True)
    disk.truncate(fd, 0)
    disk.pwrite(fd, pack_header(number, 1, file_uuid or uuid(number)) + b"records of %d" % number, 0)
    disk.close(fd)


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.mkdir("/segments")
    for number in range(1, 6):
        make(made, number)
    return made


@pytest.fixture
def segments(disk):
    return OpenSegments(disk, "/segments", limit=2)


def open_files(disk):
    gc.collect()
    return len(disk._handles)


def test_a_segment_is_opened_once(segments, disk):
    first = segments.reader(SegmentId(1), uuid(1))
    assert segments.reader(SegmentId(1), uuid(1)) is first
    assert open_files(disk) == 1
    assert disk.pread(first.fd, 100, HEADER_BYTES) == b"records of 1"


def test_a_reader_cannot_write_and_a_writer_can(segments, disk):
    with pytest.raises(OSError):
        disk.pwrite(segments.reader(SegmentId(1), uuid(1)).fd, b"x", 100)
    disk.pwrite(segments.writer(SegmentId(1), uuid(1)).fd, b"x", 100)


def test_the_least_recently_used_is_closed(segments, disk):
    segments.reader(SegmentId(1), uuid(1))
    segments.reader(SegmentId(2), uuid(2))
    kept = segments.reader(SegmentId(1), uuid(1))
    segments.reader(SegmentId(3), uuid(3))
    assert open_files(disk) == 2
    assert segments.reader(SegmentId(1), uuid(1)) is kept


def test_a_file_that_somebody_reads_stays_open_until_he_lets_go(segments, disk):
    held = segments.reader(SegmentId(1), uuid(1))
    for number in (2, 3, 4):
        segments.reader(SegmentId(number), uuid(number))
    segments.forget_all()
    assert open_files(disk) == 1
    assert disk.pread(held.fd, 100, HEADER_BYTES) == b"records of 1"
    del held
    assert open_files(disk) == 0


def test_a_file_of_another_uuid_is_refused_and_closed(segments, disk):
    with pytest.raises(DamagedRecord, match="not the segment file"):
        segments.reader(SegmentId(1), uuid(2))
    assert open_files(disk) == 0


def test_a_file_under_another_id_is_refused(segments, disk):
    make(disk, 9, name=8)
    with pytest.raises(DamagedRecord, match="not the segment file"):
        segments.reader(SegmentId(8), uuid(9))


def test_a_file_that_took_the_name_is_opened_anew_for_whoever_expects_it(segments, disk):
    segments.reader(SegmentId(1), uuid(1))
    disk.unlink(f"/segments/{segment_name(1)}")
    make(disk, 1, file_uuid=uuid(77))
    assert segments.reader(SegmentId(1), uuid(77)).file_uuid == uuid(77)
    assert open_files(disk) == 1


def test_a_missing_file_and_a_file_without_a_header_are_refused(segments, disk):
    with pytest.raises(FileNotFoundError):
        segments.reader(SegmentId(99), uuid(99))
    disk.replace(f"/segments/{segment_name(2)}", b"short")
    with pytest.raises(DamagedRecord):
        segments.reader(SegmentId(2), uuid(2))
    assert not disk.exists(f"/segments/{segment_name(99)}")
    assert open_files(disk) == 0


def test_a_file_that_lost_its_name_is_let_go_and_one_that_has_another_is_kept(tmp_path):
    disk, segments = RealDisk(), OpenSegments(RealDisk(), str(tmp_path))
    for number in (1, 2, 3):
        (tmp_path / segment_name(number)).write_bytes(pack_header(number, 1, b"U" * 16))
        segments.reader(SegmentId(number), b"U" * 16)
    segments.writer(SegmentId(1), b"U" * 16)
    os.link(tmp_path / segment_name(2), tmp_path / "pinned")
    os.unlink(tmp_path / segment_name(1))
    os.unlink(tmp_path / segment_name(2))
    assert segments.forget_unlinked() == 2
    assert segments.forget_unlinked() == 0
    assert disk.link_count(segments.reader(SegmentId(2), b"U" * 16).fd) == 1
    with pytest.raises(FileNotFoundError):
        segments.reader(SegmentId(1), b"U" * 16)


def test_a_file_of_a_failing_volume_is_kept_until_the_volume_can_say(segments, disk):
    segments.reader(SegmentId(1), uuid(1))
    disk.unlink(f"/segments/{segment_name(1)}")
    disk.fail_next("link_count", errno.EIO)
    assert segments.forget_unlinked() == 0
    assert segments.forget_unlinked() == 1
    assert open_files(disk) == 0
