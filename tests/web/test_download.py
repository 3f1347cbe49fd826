"""Verified reads from real segment files: nothing that fails its digest leaves, and nothing else is touched."""

import os
from pathlib import Path

import pytest

from actors.cache import Cache
from actors.directory import Directory
from actors.runtime import sleep, spawn
from fasterstore.cache import BlobCache
from fasterstore.errors import DamagedRecord
from fasterstore.model import BlobLocation, BlobNumber, BlobRow, SegmentId
from fasterstore.settings import load
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.record import CHUNK_BYTES, HEADER_BYTES, build_record
from fasterstore.storage.segment import pack_header, segment_name
from web.download import Download, open_blob
from web.record_source import WARM_BUFFERS_MAX, WARM_BYTES, WINDOW_BYTES, warm_buffers
from web.regions import FileRegion
from web.worker import Worker

FILE_UUID = b"u" * 16
RECORD_ID = b"r" * 16
OFFSET = 4096


class Place:
    """One record in one segment file, and a worker that reads it."""

    def __init__(self, folder: Path, body: bytes, settings: dict[str, str], cache: BlobCache | None = None):
        self.body = body
        self.path = folder / segment_name(1)
        with self.path.open("wb") as file:
            file.write(pack_header(1, 1, FILE_UUID))
            file.seek(OFFSET)
            file.write(b"".join(build_record(body, RECORD_ID)))
            file.write(b"what follows")
        location = BlobLocation(SegmentId(1), OFFSET, len(body), len(body), RECORD_ID)
        self.blob = BlobRow(BlobNumber(7), bytes(32), 1, location)
        self.cache_ref = Cache.start(cache) if cache is not None else None
        self.worker = Worker(
            settings=load(settings, cores=1),
            directory=Directory(),
            disk=RealDisk(),
            segments_dir=str(folder),
            blob_key=bytes(32),
            now_ms=lambda: 0,
            cache=cache,
            cache_ref=self.cache_ref,
        )

    def open(self, first=0, length=None):
        return open_blob(self.worker, self.blob, FILE_UUID, first, len(self.body) - first if length is None else length)

    def flip(self, position):
        """Flip one bit, `position` bytes after the start of the record."""
        with self.path.open("r+b") as file:
            file.seek(OFFSET + position)
            byte = file.read(1)[0]
            file.seek(OFFSET + position)
            file.write(bytes([byte ^ 1]))


@pytest.fixture
def place(tmp_path):
    made = []

    def make(size, cache=None, **settings):
        made.append(Place(tmp_path, os.urandom(size), settings, cache))
        return made[-1]

    yield make
    for one in made:
        if one.cache_ref is not None:
            one.cache_ref.stop()


@pytest.fixture
def no_warm_buffers():
    """As with many stalled clients: what is sent from the file must be right too."""
    held = []
    while (buffer := warm_buffers.take()) is not None:
        held.append(buffer)
    yield
    for buffer in held:
        warm_buffers.give_back(buffer)


@pytest.fixture(params=["from memory", "from the file"])
def either_way(request):
    if request.param == "from the file":
        request.getfixturevalue("no_warm_buffers")


def sent(body, use_regions=True):
    """What leaves before the body ends or fails: (bytes, failure)."""
    pieces = []
    try:
        for piece in body.regions() if use_regions and isinstance(body, Download) else body:
            pieces.append(os.pread(piece.fd, piece.length, piece.offset) if isinstance(piece, FileRegion) else bytes(piece))
    except DamagedRecord as error:
        return b"".join(pieces), error
    return b"".join(pieces), None


_preadv = os.preadv


def refuse_nowait(fd, buffers, offset, flags=0):
    """preadv of a system on which nothing is in memory."""
    if flags:
        raise BlockingIOError
    return _preadv(fd, buffers, offset)


SIZES = [1, 4096, CHUNK_BYTES, CHUNK_BYTES + 1, WINDOW_BYTES, WINDOW_BYTES + 1, 3 * WINDOW_BYTES + 12345]


@pytest.mark.parametrize("mode", ["true", "strict", "false"])
@pytest.mark.parametrize("size", SIZES)
def test_every_mode_gives_the_bytes_whole_and_in_part(place, size, mode, either_way):
    record = place(size, FS_VERIFY_READS=mode)
    parts = [(0, size), (0, 1), (size - 1, 1), (size // 3, size - size // 3), (size // 2, max(1, size // 4))]
    for first, length in parts:
        for use_regions in (True, False):
            assert sent(record.open(first, length), use_regions) == (record.body[first : first + length], None)


def kinds_sent(place, mode):
    return [type(piece) for piece in place(2 * WINDOW_BYTES, FS_VERIFY_READS=mode).open().regions()]


def test_without_a_free_buffer_a_large_body_is_sent_from_the_file(place, no_warm_buffers):
    assert kinds_sent(place, "true") == [FileRegion] * 2
    assert kinds_sent(place, "false") == [FileRegion]
    assert set(kinds_sent(place, "strict")) == {bytes}


def test_what_is_in_memory_is_sent_as_the_bytes_that_were_checked(place, monkeypatch):
    monkeypatch.setattr("os.RWF_NOWAIT", 0)  # where a file system cannot say what is in memory, all of it counts as that here
    assert kinds_sent(place, "true") == [FileRegion] + [memoryview] * (2 * WINDOW_BYTES // WARM_BYTES - 1)


def test_what_is_not_in_memory_is_read_in_a_thread_and_sent_from_the_file(place, monkeypatch):
    body = place(2 * WINDOW_BYTES).open()
    monkeypatch.setattr("os.preadv", refuse_nowait)
    kinds = [type(piece) for piece in body.regions()]
    assert set(kinds) == {FileRegion}
    assert sent(place(3 * WINDOW_BYTES).open())[1] is None


def test_buffers_are_given_back_by_whole_broken_off_and_damaged_downloads(place, monkeypatch):
    monkeypatch.setattr("os.RWF_NOWAIT", 0)
    for _ in range(WARM_BUFFERS_MAX + 1):
        pieces = place(2 * WINDOW_BYTES).open().regions()
        assert [type(next(pieces)) for _ in range(2)] == [FileRegion, memoryview]
        pieces.close()
        damaged = place(2 * WINDOW_BYTES)
        damaged.flip(HEADER_BYTES + WARM_BYTES)
        assert sent(damaged.open())[1] is not None
        record = place(2 * WINDOW_BYTES)
        assert sent(record.open()) == (record.body, None)


@pytest.mark.parametrize("mode", ["true", "strict"])
@pytest.mark.parametrize("use_regions", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_flipped_bit_never_leaves(place, size, mode, use_regions, either_way):
    for position in {0, size // 2, size - 1}:
        record = place(size, FS_VERIFY_READS=mode)
        record.flip(HEADER_BYTES + position)
        try:
            body = record.open()
        except DamagedRecord:
            continue
        given, failure = sent(body, use_regions)
        assert failure is not None
        assert given == record.body[: len(given)]
        # Everything before the piece that holds the flipped bit, and nothing of it: windows from the disk, half ones from memory.
        assert len(given) in (position // WINDOW_BYTES * WINDOW_BYTES, position // WARM_BYTES * WARM_BYTES)
        assert record.worker.metrics.damaged_reads == 1


@pytest.mark.parametrize("size", [4096, 3 * WINDOW_BYTES])
@pytest.mark.parametrize("where", ["header", "table"])
def test_a_damaged_header_or_table_is_found_before_the_answer_begins(place, size, where):
    record = place(size)
    record.flip(20 if where == "header" else HEADER_BYTES + size)
    with pytest.raises(DamagedRecord):
        record.open()


@pytest.mark.parametrize("mode", ["true", "strict", "false"])
@pytest.mark.parametrize("size", [4096, 3 * WINDOW_BYTES])
def test_a_record_that_is_not_the_one_its_row_names_is_refused_in_every_mode(place, size, mode):
    record = place(size, FS_VERIFY_READS=mode)
    record.blob = record.blob._replace(location=record.blob.location._replace(record_id=b"x" * 16))
    with pytest.raises(DamagedRecord):
        record.open()


def test_a_range_reads_only_its_own_chunks(place):
    record = place(8 * CHUNK_BYTES)
    record.flip(HEADER_BYTES + 5)
    record.flip(HEADER_BYTES + 7 * CHUNK_BYTES)
    first, length = CHUNK_BYTES + 10, 5 * CHUNK_BYTES
    assert sent(record.open(first, length)) == (record.body[first : first + length], None)
    with pytest.raises(DamagedRecord):
        record.open(CHUNK_BYTES - 1, 1)


def test_verification_runs_at_most_one_window_ahead_of_sending(place, no_warm_buffers):
    record = place(6 * WINDOW_BYTES)
    pieces = record.open().regions()
    next(pieces)
    sleep(0.05)
    record.flip(HEADER_BYTES + 2 * WINDOW_BYTES)
    sent_bytes = WINDOW_BYTES
    with pytest.raises(DamagedRecord):
        for piece in pieces:
            sent_bytes += piece.length
    assert sent_bytes == 2 * WINDOW_BYTES


def test_a_file_cut_short_is_damage(place):
    for size in (4096, 3 * WINDOW_BYTES):
        record = place(size)
        os.truncate(record.path, OFFSET + HEADER_BYTES + size - 1)
        with pytest.raises(DamagedRecord):
            record.open()


def test_a_missing_or_foreign_file_says_so(place):
    record = place(4096)
    with pytest.raises(DamagedRecord):
        open_blob(record.worker, record.blob, b"other uuid 16 b.", 0, 4096)
    record.path.unlink()
    with pytest.raises(FileNotFoundError):
        record.open()


def test_a_download_goes_on_after_its_file_was_forgotten_and_unlinked(place):
    record = place(3 * WINDOW_BYTES)
    body = record.open()
    record.worker.segments.forget_all()
    record.path.unlink()
    assert sent(body) == (record.body, None)


@pytest.mark.parametrize("size", [4096, CHUNK_BYTES + 5])
def test_a_cached_blob_is_served_without_its_file_whole_and_in_part(place, size):
    cache = BlobCache(8 << 20, 1 << 20)
    record = place(size, cache)
    assert sent(record.open())[0] == record.body
    sleep(0.01)
    record.worker.segments.forget_all()
    record.path.unlink()
    assert sent(record.open())[0] == record.body
    assert sent(record.open(10, 20))[0] == record.body[10:30]
    assert cache.hits == 2


def test_bytes_that_were_not_verified_are_never_cached(place):
    cache = BlobCache(8 << 20, 1 << 20)
    record = place(4096, cache, FS_VERIFY_READS="false")
    record.flip(HEADER_BYTES)
    assert sent(record.open())[0] != record.body
    sleep(0.01)
    assert len(cache) == 0


def test_bytes_read_under_another_index_are_never_cached(place):
    cache = BlobCache(8 << 20, 1 << 20)
    record = place(CHUNK_BYTES + 5, cache)
    spawn(setattr, record.worker, "index", "the index after a reconnect")
    assert sent(record.open())[0] == record.body
    sleep(0.01)
    assert len(cache) == 0


def test_closing_a_download_tells_once(place):
    told = []
    body = place(3 * WINDOW_BYTES).open()
    body.finished = lambda: told.append(1)
    body.close()
    body.close()
    assert told == [1]
