"""The cursor's file: it comes back as it was, and whatever cannot be read is no cursor and no error."""

import errno
import json
from pathlib import Path

import pytest

from fasterstore.replication.cursor import Address, Cursor, Position
from fasterstore.replication.cursor_file import CursorFile
from fasterstore.storage.memory_disk import MemoryDisk

GOLDEN = Path(__file__).parents[2] / "golden" / "replication_cursor_v1.json"
LOG, NODE, PEER_LOG = (bytes(range(start, start + 16)) for start in (0, 32, 64))
PEER = "https://b.example:9000"
CURSOR = Cursor(
    LOG, NODE, PEER_LOG, 1234, 1_700_000_000_123 << 16, 1_700_000_000_123, "the peer is new", Position("photos", b"a/\xc3\xa9\x00"),
    (Address("photos", b"\xff\x00"), Address("photos", None)),
)  # fmt: skip


@pytest.fixture
def disk():
    made = MemoryDisk()
    made.mkdir("/data")
    return made


def write(disk, path, data):
    fd = disk.open(path, create=True)
    disk.truncate(fd, 0)
    disk.pwrite(fd, data, 0)
    disk.close(fd)


def test_it_has_the_golden_bytes_and_they_mean_the_cursor(disk):
    file = CursorFile(disk, "/data", PEER)
    assert file.read() is None
    file.write(CURSOR)
    assert disk.contents(file.path) == GOLDEN.read_bytes()
    assert CursorFile(disk, "/data", PEER).read() == CURSOR
    file.write(CURSOR._replace(lsn=1235, owed=()))
    assert file.read() == CURSOR._replace(lsn=1235, owed=())


def test_each_peer_has_a_file_of_its_own_whose_name_is_no_url(disk):
    paths = {CursorFile(disk, "/data", peer).path for peer in (PEER, PEER + "1", "http://[::1]:9000")}
    assert len(paths) == 3
    assert all(path.startswith("/data/replication/") and ":" not in path and path.count("/") == 3 for path in paths)


@pytest.mark.parametrize(
    "harm",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"1234", b"1235"),
        lambda data: b"[]",
        lambda data: data.replace(PEER.encode(), b"https://c.example:9000"),
        lambda data: resealed(data, format=2),
        lambda data: resealed(data, lsn="many"),
        lambda data: resealed(data, owed=[["b"]]),
        lambda data: resealed(data, log_uuid="no hex"),
        lambda data: resealed(data, scan_after=None),
    ],
)
def test_what_is_damaged_of_another_peer_or_of_a_later_format_is_no_cursor(disk, harm):
    file = CursorFile(disk, "/data", PEER)
    file.write(CURSOR)
    write(disk, file.path, harm(disk.contents(file.path)))
    assert file.read() is None
    file.write(CURSOR)
    assert file.read() == CURSOR


def resealed(data, **changes):
    from fasterstore.storage.atomic_file import json_bytes

    document = json.loads(data)
    del document["crc32"]
    return json_bytes(document | changes)


def test_a_medium_that_cannot_be_read_is_no_cursor_either(disk):
    file = CursorFile(disk, "/data", PEER)
    file.write(CURSOR)
    disk.fail_next("pread", errno.EIO)
    assert file.read() is None


def test_a_cursor_that_cannot_be_kept_leaves_the_one_before(disk):
    file = CursorFile(disk, "/data", PEER)
    file.write(CURSOR)
    for operation in ("pwrite", "fsync", "rename"):
        disk.fail_next(operation, errno.ENOSPC)
        with pytest.raises(OSError):
            file.write(CURSOR._replace(lsn=9999))
        assert file.read() == CURSOR
