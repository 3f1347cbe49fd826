"""The log's bytes are pinned; the walk over them notices every flipped bit."""

from itertools import count
from pathlib import Path

import pytest

from fasterstore.digests import crc32c
from fasterstore.errors import UnsupportedFormat
from fasterstore.storage import wal_format
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal_format import FileWalk
from fasterstore.storage.wal_recovery import read_from, recover

GOLDEN = Path(__file__).parents[2] / "golden" / "wal_v1.hex"
LOG = bytes(range(16))
HEADER = wal_format.make_file_header(LOG, b"s" * 32, 5, b"h" * 32, 1)


def golden_files() -> dict[str, bytes]:
    """The files of the golden log by name: `NAME:` lines, each followed by lines of hex."""
    files: dict[str, bytes] = {}
    for part in GOLDEN.read_text().split("name ")[1:]:
        name, data = part.split("\n", 1)
        files[name] = bytes.fromhex(data)
    return files


def build_log() -> MemoryDisk:
    """Two files: frames of LSN 1 and 2..3, then one of LSN 4."""
    disk = MemoryDisk()
    disk.mkdir("/journal")
    salts = count(1)
    writer = recover(disk, "/journal", LOG, 0, lambda length: bytes([next(salts)]) * length, rotate_bytes=500, step_bytes=400).writer
    writer.append(writer.build([b"first"], 1))
    writer.append(writer.build([b"second", b""], 2))
    writer.append(writer.build([b"x" * 200], 4))
    return disk


def test_a_log_of_two_files_is_the_golden_one():
    disk = build_log()
    files = golden_files()
    assert disk.listdir("/journal") == sorted(files)
    for name, data in files.items():
        written = disk.contents(f"/journal/{name}")
        assert written[: len(data)] == data
        assert not any(written[len(data) :]), "preallocated space is zeros"


def test_the_golden_log_is_read_back():
    disk = MemoryDisk()
    disk.mkdir("/journal")
    for name, data in golden_files().items():
        disk.close(disk.open(f"/journal/{name}", create=True))
        disk.replace(f"/journal/{name}", data)
    assert recover(disk, "/journal", LOG, 4, bytes).head_lsn == 4
    assert list(read_from(disk, "/journal", 1)) == [(1, b"first"), (2, b"second"), (3, b""), (4, b"x" * 200)]
    first = golden_files()["0000000000000001.wal"]
    # Field by field, as the tables in the module's docstring have it.
    assert (first[:8], first[8:24], first[24:56], first[56:64]) == (b"FSWL\1\0\0\0", LOG, b"\1" * 32, b"\1" + bytes(7))
    assert (first[64:96], first[96:104], first[104:124]) == (bytes(32), bytes(8), bytes(20))
    frame = first[128:]
    assert (frame[:8], frame[8:16], frame[16:20], frame[20:28]) == (b"FSFR\x09\0\0\0", b"\1" + bytes(7), b"\1\0\0\0", bytes(8))
    assert (frame[28:60], frame[64:73]) == (bytes(32), b"\5\0\0\0first")
    assert frame[60:64] == crc32c(b"\1" * 32 + frame[:60]).to_bytes(4, "little")


def test_names_go_there_and_back_and_nothing_else_is_one():
    assert wal_format.file_name(0xABC) == "0000000000000abc.wal"
    assert wal_format.parse_file_name("0000000000000abc.wal") == 0xABC
    for name in ("1.wal", "0000000000000abc.wal.tmp", "0000000000000abc.seg", "witness", "0000000000000abc.wal\n"):
        assert wal_format.parse_file_name(name) is None


def test_the_file_header_goes_there_and_back_and_every_flipped_bit_is_noticed():
    packed = bytearray(wal_format.pack_file_header(HEADER))
    assert wal_format.unpack_file_header(bytes(packed) + b"frames") == HEADER
    for place in range(128):
        packed[place] ^= 16
        assert wal_format.unpack_file_header(bytes(packed)) is None
        packed[place] ^= 16
        assert wal_format.unpack_file_header(bytes(packed[:place])) is None


def test_a_later_version_is_refused_by_name():
    packed = bytearray(wal_format.pack_file_header(HEADER))
    packed[4] = 2
    packed[124:] = crc32c(bytes(packed[:124])).to_bytes(4, "little")
    with pytest.raises(UnsupportedFormat, match="version 2"):
        wal_format.unpack_file_header(bytes(packed))


def test_entries_of_any_size_come_back():
    entries = [b"", b"x", b"\0" * 70_000, b"FSFR"]
    frame = wal_format.build_frame(HEADER, entries, 5, 4, HEADER.previous_hash)
    assert len(frame.data) == wal_format.frame_bytes(entries)
    data = wal_format.pack_file_header(HEADER) + frame.data + bytes(100_000)
    walk = FileWalk(data, HEADER)
    (found,) = list(walk)
    assert wal_format.entries_of(data, found) == entries
    assert (found.first_lsn, found.last_lsn, walk.next_lsn, walk.reason, walk.previous_hash) == (5, 8, 9, "", frame.digest)


def test_a_frame_of_another_salt_lsn_or_predecessor_does_not_pass():
    start = wal_format.pack_file_header(HEADER)
    other_salt = HEADER._replace(salt=b"t" * 32, crc_seed=crc32c(b"t" * 32))
    for header, lsn, previous, misplaced in (
        (other_salt, 5, HEADER.previous_hash, False),
        (HEADER, 6, HEADER.previous_hash, True),
        (HEADER, 5, b"i" * 32, True),
    ):
        walk = FileWalk(start + wal_format.build_frame(header, [b"e"], lsn, 4, previous).data, HEADER).finish()
        assert (walk.next_lsn, walk.misplaced) == (5, misplaced)
        assert walk.reason


@pytest.mark.parametrize("length", [0, 1, 65535, 65536, 65537, 200_000])
def test_content_ends_at_the_last_byte_that_is_not_zero(length):
    assert wal_format.content_bytes(bytes(length)) == 0
    assert wal_format.content_bytes(b"\0\0x" + bytes(length)) == 3
    assert wal_format.content_bytes(bytes(length) + b"x\0") == length + 1
