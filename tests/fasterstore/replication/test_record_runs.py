"""Short records read in runs: what was stored comes back; what is gone or has rotted is left out, its neighbours are not."""

import os
import random

import pytest

from fasterstore.keyring import Keyring
from fasterstore.model import BlobLocation
from fasterstore.replication.record_runs import RUN_MAX_BYTES, RecordRuns
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import record_bytes
from fasterstore.storage.sealed_record import build
from fasterstore.storage.segment import HEADER_BYTES, pack_header, segment_name

UUID = bytes(range(16))


class CountingDisk(MemoryDisk):
    def __init__(self):
        super().__init__()
        self.reads = []

    def pread(self, fd, length, offset):
        self.reads.append(length)
        return super().pread(fd, length, offset)


def segment(disk, number, bodies, keyring, gap=0):
    """A segment file that holds these bodies; where each lies."""
    fd = disk.open(f"/segments/{segment_name(number)}", create=True)
    disk.pwrite(fd, pack_header(number, 1, UUID), 0)
    places, offset = [], HEADER_BYTES
    for body in bodies:
        record_id = os.urandom(16)
        record = build(body, record_id, keyring)
        place = BlobLocation(number, offset, len(body), len(record[1]), record_id)
        disk.pwrite(fd, b"".join(record), offset)
        places.append(place)
        offset += record_bytes(place.stored_bytes) + gap
    return places


@pytest.fixture
def disk():
    made = CountingDisk()
    made.mkdir("/segments")
    return made


@pytest.fixture(params=[False, True], ids=["plain", "sealed"])
def keyring(request):
    return Keyring(bytes(32), {1: bytes([1]) * 32} if request.param else None)


def runs(disk, keyring, *known):
    return RecordRuns(disk, OpenSegments(disk, "/segments"), keyring, lambda number: UUID if number in known else None)


def test_records_that_lie_side_by_side_are_one_read(disk, keyring):
    bodies = [os.urandom(3000) for _ in range(100)]
    places = segment(disk, 1, bodies, keyring)
    reader = runs(disk, keyring, 1)
    random.Random(1).shuffle(places)
    reader.read(places[:1])
    disk.reads.clear()
    found = reader.read(places)
    assert sorted(found.values()) == sorted(bodies)
    assert len(disk.reads) == 1


def test_a_read_is_bounded_and_large_gaps_are_not_read(disk, keyring):
    places = segment(disk, 1, [os.urandom(60_000) for _ in range(40)], keyring)
    assert len(runs(disk, keyring, 1).read(places)) == 40
    assert max(disk.reads) <= RUN_MAX_BYTES
    far = segment(disk, 2, [os.urandom(100) for _ in range(10)], keyring, gap=100_000)
    disk.reads.clear()
    assert len(runs(disk, keyring, 2).read(far)) == 10
    assert sum(disk.reads) < 20_000


def test_one_bad_record_does_not_take_its_neighbours_with_it(disk, keyring):
    bodies = [os.urandom(1000) for _ in range(5)]
    places = segment(disk, 1, bodies, keyring)
    fd = disk.open(f"/segments/{segment_name(1)}")
    disk.pwrite(fd, b"\xff\xff", places[2].offset + 200)
    elsewhere = places[3]._replace(record_id=bytes(16))
    found = runs(disk, keyring, 1).read([*places[:3], elsewhere, places[4]])
    assert found == {places[number]: bodies[number] for number in (0, 1, 4)}


def test_segments_that_are_gone_unknown_or_end_too_early_give_nothing(disk, keyring):
    bodies = [os.urandom(1000) for _ in range(3)]
    places = [place for number in (1, 2, 3) for place in segment(disk, number, bodies, keyring)]
    disk.unlink(f"/segments/{segment_name(2)}")
    fd = disk.open(f"/segments/{segment_name(3)}")
    disk.truncate(fd, places[8].offset + 50)
    found = runs(disk, keyring, 2, 3).read(places)
    assert set(found) == {places[6], places[7]}
    disk.fail_next("pread", 5)
    assert runs(disk, keyring, 1).read(places[:3]) == {}
