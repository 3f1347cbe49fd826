"""Copies of records: byte for byte, verified on the way, and none of a record that fails its checksum."""

import errno

import pytest

from fasterstore.errors import DamagedRecord
from fasterstore.keyring import NO_KEYS
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage import record
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.relocation import LargeCopy, Target, copy_together

BODIES = (b"", b"a", b"b" * 4096, bytes(range(256)) * 3000)
LARGE = bytes(range(251)) * 12_000


class Files:
    """A source with a record for each body, and an empty target."""

    def __init__(self, bodies):
        self.disk = MemoryDisk()
        self.source = self.disk.open("/source", create=True)
        self.target = Target(9, self.disk.open("/target", create=True), 4096)
        self.rows = []
        offset = 64
        for number, body in enumerate(bodies, 1):
            place = BlobLocation(3, offset, len(body), len(body), bytes([number]) * 16)
            self.disk.pwritev(self.source, record.build_record(body, place.record_id), offset)
            self.rows.append(BlobRow(number, bytes(32), 1, place))
            offset += record.record_bytes(len(body))

    def flip(self, row, position):
        data = bytearray(self.disk.contents("/source"))
        data[row.location.offset + position] ^= 1
        self.disk.pwrite(self.source, data, 0)

    def stored(self, location):
        data = self.disk.contents("/target")
        return bytes(record.verify_record(data[location.offset : location.offset + record.record_bytes(location.stored_bytes)], location))


def test_copies_lie_one_behind_the_other_and_are_the_same_records():
    files = Files(BODIES)
    copied = copy_together(files.disk, files.source, files.rows, files.target, NO_KEYS)
    assert copied.damaged == []
    offset = 4096
    for (row, new), body in zip(copied.blobs, BODIES, strict=True):
        assert new == row.location._replace(segment_id=9, offset=offset)
        assert files.stored(new) == body
        offset += record.record_bytes(len(body))
    assert len(files.disk.contents("/target")) == offset


@pytest.mark.parametrize("position", [0, 30, 127, 128, 500, 4096 + 128 + 3])
def test_a_record_that_fails_its_checksum_is_left_out_and_its_neighbours_are_not(position):
    files = Files(BODIES)
    files.flip(files.rows[2], position)
    copied = copy_together(files.disk, files.source, files.rows, files.target, NO_KEYS)
    assert [row.number for row, _reason in copied.damaged] == [3]
    assert [row.number for row, _new in copied.blobs] == [1, 2, 4]
    for row, new in copied.blobs:
        assert files.stored(new) == BODIES[row.number - 1]


@pytest.mark.parametrize("error", [errno.EIO, errno.EILSEQ, errno.EBADMSG, errno.ENODATA])
def test_a_record_that_the_disk_cannot_read_is_damaged_and_a_write_that_fails_is_an_error(error):
    files = Files(BODIES)
    files.disk.fail_next("pread", error, after=1)
    assert [row.number for row, _ in copy_together(files.disk, files.source, files.rows, files.target, NO_KEYS).damaged] == [2]
    files.disk.fail_next("pwritev", errno.EIO)
    with pytest.raises(OSError):
        copy_together(files.disk, files.source, files.rows, files.target, NO_KEYS)


def copy_large(files):
    copy = LargeCopy(files.disk, files.source, files.rows[0], files.target)
    steps = 1
    while copy.step():
        steps += 1
    return copy, steps


def test_a_large_record_is_copied_in_windows_its_header_last():
    files = Files([LARGE])
    copy, steps = copy_large(files)
    assert steps == 3
    assert files.stored(copy.new_location) == LARGE
    writes = [op for op in files.disk.ops if op.kind == "write" and op.offset >= 4096]
    assert writes[-1].offset == 4096
    assert len(writes[-1].data) == record.HEADER_BYTES


@pytest.mark.parametrize("position", [5, 128, 128 + 2_000_000, 128 + len(LARGE) + 3])
def test_a_large_record_with_a_flipped_byte_never_gets_a_header(position):
    files = Files([LARGE])
    files.flip(files.rows[0], position)
    with pytest.raises(DamagedRecord):
        copy_large(files)
    assert files.disk.contents("/target")[4096 : 4096 + record.HEADER_BYTES].strip(b"\0") == b""
