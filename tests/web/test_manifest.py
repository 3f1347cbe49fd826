"""Reading objects that are made of parts, with the real engine: every range, and what can go wrong on the way."""

import os
import random
from pathlib import Path

import pytest

from actors.runtime import sleep, spawn
from fasterstore.digests import checksum_base64
from fasterstore.errors import DamagedRecord
from fasterstore.s3.errors import S3Error
from fasterstore.storage.record import HEADER_BYTES
from fasterstore.storage.segment import segment_name
from tests.web.app.conftest import Store
from tests.web.app.multipart_client import PART_BYTES, Upload, code, until
from web.manifest import BATCH_PARTS, JOIN_MAX_BYTES, ManifestBody, listed_parts, open_manifest, part_checksums, part_range
from web.regions import CheckedRegion, FileRegion


@pytest.fixture
def new_store(tmp_path):
    made = []

    def make(**settings):
        made.append(Store(tmp_path / f"data-{len(made)}", settings))
        made[-1].make_bucket("box")
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def store(new_store):
    return new_store()


def appended(store, pieces, key="k"):
    """An object of parts of any size."""
    offset = 0
    for piece in pieces:
        assert store.send("PUT", f"/box/{key}", piece, {"x-amz-write-offset-bytes": str(offset)}).status == 200
        offset += len(piece)
    return row_of(store, key)


def completed(store, parts, key="k"):
    """An object of the parts {number: body}; every one but the last has at least 5 MiB."""
    upload = Upload(store, key)
    for number, body in parts.items():
        assert upload.put(number, body).status == 200
    assert upload.complete().status == 200
    return row_of(store, key)


def row_of(store, key="k"):
    return store.worker.reader().locate("box", key.encode()).object


def read(body, as_regions=True):
    """All bytes of a body, sent as a server would."""
    pieces = body.regions() if as_regions and hasattr(body, "regions") else body
    return b"".join(bytes_of(piece) for piece in pieces)


def bytes_of(piece):
    if isinstance(piece, CheckedRegion):
        return b"".join(piece.pieces())
    return os.pread(piece.fd, piece.length, piece.offset) if isinstance(piece, FileRegion) else bytes(piece)


def blob_of(store, row, part):
    return store.worker.index.uploads.blob(store.worker.index.uploads.part(row.manifest, part).slices[0].blob)


def flip(store, placed, position=HEADER_BYTES):
    """Flip one bit of a stored record, `position` bytes after its start."""
    place = placed.blob.location
    with (Path(store.datadir.segments_dir) / segment_name(place.segment_id)).open("r+b") as file:
        file.seek(place.offset + position)
        byte = file.read(1)[0]
        file.seek(place.offset + position)
        file.write(bytes([byte ^ 1]))


# ---- ranges ----


@pytest.mark.parametrize("verify", ["true", "strict", "false"])
@pytest.mark.parametrize("cached", ["0", "64"])
def test_every_range_is_that_of_the_parts_put_together(new_store, verify, cached):
    store = new_store(FS_VERIFY_READS=verify, FS_CACHE_CAPACITY_MB=cached)
    rng = random.Random(4)
    pieces = [rng.randbytes(size) for size in (1, 1, 70_000, 300_000, 2, 700_001, 262_144, 5)]
    whole = b"".join(pieces)
    row = appended(store, pieces)
    assert read(open_manifest(store.worker, row, 0, len(whole))) == whole
    edges = [sum(map(len, pieces[:count])) for count in range(len(pieces) + 1)]
    spans = [(max(edge - 1, 0), min(edge + 2, len(whole))) for edge in edges]
    spans += [tuple(sorted((rng.randrange(len(whole)), rng.randrange(len(whole) + 1)))) for _ in range(60)]
    for number, (first, end) in enumerate(spans):
        body = open_manifest(store.worker, row, first, end - first)
        assert read(body, as_regions=number % 2 == 0) == whole[first:end], (first, end)


def test_without_a_place_to_read_ahead_every_range_is_the_same(new_store, all_taken):
    store = new_store(FS_VERIFY_READS="strict", FS_CACHE_CAPACITY_MB="0")
    pieces = [os.urandom(size) for size in (1, 300_000, 2, 3_700_001, 5)]
    whole = b"".join(pieces)
    row = appended(store, pieces)
    for first, end in ((0, len(whole)), (5, 600_000), (300_000, 300_010), (299_000, 3_999_999)):
        body = open_manifest(store.worker, row, first, end - first)
        assert body.held_bytes == 0
        kinds = {type(piece) for piece in body.regions()}
        assert CheckedRegion in kinds
        for as_regions in (True, False):
            assert read(open_manifest(store.worker, row, first, end - first), as_regions) == whole[first:end]


def test_an_object_of_many_parts_is_read_across_batches_of_rows(store):
    pieces = [b"%d," % number for number in range(3 * BATCH_PARTS + 7)]
    row = appended(store, pieces)
    whole = b"".join(pieces)
    assert read(open_manifest(store.worker, row, 0, len(whole))) == whole
    assert read(open_manifest(store.worker, row, 10, len(whole) - 20)) == whole[10:-10]


def test_a_range_in_one_piece_is_read_as_that_of_a_plain_object(store):
    row = appended(store, [b"one", os.urandom(1 << 20), b"three"])
    assert not isinstance(open_manifest(store.worker, row, 5, 1000), ManifestBody)
    assert isinstance(open_manifest(store.worker, row, 2, 3), ManifestBody)
    assert open_manifest(store.worker, row, 2, 0) == ()


def test_small_pieces_are_sent_together_and_large_ones_as_they_are(store):
    sizes = [100] * 20 + [200_000] + [50_000, 50_000]
    pieces = [os.urandom(size) for size in sizes]
    row = appended(store, pieces)
    sent = [len(piece) for piece in open_manifest(store.worker, row, 0, sum(sizes)).regions()]
    assert sent == [2000, 200_000, 50_000, 50_000]
    assert max(sent[:1] + sent[2:]) <= JOIN_MAX_BYTES


def test_parts_that_were_left_out_are_skipped(store):
    bodies = {number: os.urandom(PART_BYTES) for number in (1, 3)} | {9: b"end"}
    upload = Upload(store)
    for number, body in sorted({**bodies, 2: b"left out", 5: b"left out", 10: b"left out"}.items()):
        upload.put(number, body)
    upload.complete([(number, upload.etags[number]) for number in bodies])
    row = row_of(store)
    assert read(open_manifest(store.worker, row, 0, row.size_bytes)) == b"".join(bodies.values())
    assert [part.number for part in store.worker.index.uploads.parts_after(row.manifest, 0, 10)] == [1, 2, 3, 5, 9, 10]
    count, parts = listed_parts(store.worker, row, 0, 1000)
    assert (count, [part.number for part in parts]) == (3, [1, 3, 9])
    assert [part.number for part in listed_parts(store.worker, row, 1, 1)[1]] == [3]
    assert [part.number for part in listed_parts(store.worker, row, 4, 1000)[1]] == [9]
    assert listed_parts(store.worker, row, 9, 1000) == (3, [])


# ---- one part ----


def test_a_part_is_found_by_its_number(store):
    row = completed(store, {2: bytes(PART_BYTES), 5: bytes(PART_BYTES + 1), 10_000: b"end"})
    assert part_range(store.worker, row, 2) == (0, PART_BYTES, 3)
    assert part_range(store.worker, row, 5) == (PART_BYTES, PART_BYTES + 1, 3)
    assert part_range(store.worker, row, 10_000) == (2 * PART_BYTES + 1, 3, 3)
    for number in (1, 3, 9_999):
        with pytest.raises(S3Error) as refusal:
            part_range(store.worker, row, number)
        assert (refusal.value.code, refusal.value.status) == ("InvalidPart", 400)


def test_an_object_that_is_not_made_of_parts_is_its_own_part_1(store):
    checksum = checksum_base64("CRC32", b"whole")
    store.send("PUT", "/box/plain", b"whole", {"x-amz-checksum-crc32": checksum})
    row = row_of(store, "plain")
    assert part_range(store.worker, row, 1) == (0, 5, 0)
    assert part_checksums(store.worker, row, 1) == {"CRC32": checksum}
    with pytest.raises(S3Error) as refusal:
        part_range(store.worker, row, 2)
    assert refusal.value.code == "InvalidPart"


# ---- what can go wrong ----


def test_damage_in_the_first_piece_is_an_error_before_any_byte(store):
    pieces = [os.urandom(1000), os.urandom(1000)]
    row = appended(store, pieces)
    first = blob_of(store, row, 1)
    flip(store, first)
    assert code(store.send("GET", "/box/k")) == (500, "InternalError")
    assert store.worker.metrics.damaged_reads == 1
    until(lambda: store.worker.index.uploads.blob(first.blob.number).blob.damaged)
    assert store.send("GET", "/box/k", headers={"range": "bytes=1000-"}).body == pieces[1]


@pytest.mark.parametrize("size", [1000, 600_000])
def test_damage_further_on_breaks_the_answer_off_before_its_first_byte(store, size):
    pieces = [os.urandom(300_000), os.urandom(size), b"end"]
    row = appended(store, pieces)
    second = blob_of(store, row, 2)
    flip(store, second)
    answer = store.send("GET", "/box/k")
    assert (answer.status, answer.body) == (200, pieces[0])
    assert isinstance(answer.failure, DamagedRecord)
    until(lambda: store.worker.index.uploads.blob(second.blob.number).blob.damaged)


def test_a_piece_that_has_moved_since_the_answer_began_is_looked_up_again(store):
    """A body that is sent again repairs the damaged record of the same bytes, and so moves the blob."""
    pieces = [os.urandom(300_000), os.urandom(1000), b"end"]
    row = appended(store, pieces)
    body = open_manifest(store.worker, row, 0, row.size_bytes)
    second = blob_of(store, row, 2)
    flip(store, second)
    assert store.send("GET", "/box/k", headers={"range": "bytes=300000-300001"}).status == 500
    until(lambda: blob_of(store, row, 2).blob.damaged)
    store.send("PUT", "/box/other", pieces[1])
    assert blob_of(store, row, 2).blob.location != second.blob.location
    assert read(body) == b"".join(pieces)


def test_an_object_that_is_deleted_while_it_is_read_is_read_to_its_end(store):
    pieces = [os.urandom(300_000) for _ in range(4)]
    row = appended(store, pieces)
    body = open_manifest(store.worker, row, 0, row.size_bytes)
    assert store.send("DELETE", "/box/k").status == 204
    assert read(body) == b"".join(pieces)


def test_a_manifest_that_has_gone_says_so(new_store):
    store = new_store(FS_READ_GRACE_SECS="0")
    row = appended(store, [b"one", b"two"])
    body = open_manifest(store.worker, row, 0, 6)
    store.send("DELETE", "/box/k")
    until(lambda: store.worker.index.uploads.part_map(row.manifest) is None)
    for call in (
        lambda: open_manifest(store.worker, row, 0, 6),
        lambda: part_range(store.worker, row, 1),
        lambda: listed_parts(store.worker, row, 0, 1),
    ):
        with pytest.raises(FileNotFoundError):
            call()
    # The rows of one batch were read when the body was opened; its blobs stay as long as nothing is compacted.
    assert read(body) == b"onetwo"


def test_an_answer_on_its_way_waits_for_a_storage_process_that_is_restarted(store):
    pieces = [os.urandom(300_000) for _ in range(3)]
    row = appended(store, pieces)
    body = open_manifest(store.worker, row, 0, row.size_bytes)
    index, store.worker.index = store.worker.index, None
    with pytest.raises(S3Error) as refusal:
        open_manifest(store.worker, row, 0, 1)
    assert refusal.value.code == "ServiceUnavailable"
    reading = spawn(read, body)
    sleep(0.2)
    assert not reading.ready()
    store.worker.index = index
    assert reading.get(timeout=30) == b"".join(pieces)


def test_an_answer_does_not_go_on_under_another_index(new_store):
    store, other = new_store(), new_store()
    pieces = [os.urandom(300_000) for _ in range(3)]
    row = appended(store, pieces)
    body = open_manifest(store.worker, row, 0, row.size_bytes)
    index, store.worker.index = store.worker.index, other.worker.index
    try:
        with pytest.raises(DamagedRecord):
            read(body)
    finally:
        store.worker.index = index


def test_an_answer_that_is_given_up_ends_at_once(store):
    row = appended(store, [os.urandom(300_000) for _ in range(3)])
    body = open_manifest(store.worker, row, 0, row.size_bytes)
    ended = []
    body.finished = lambda: ended.append(True)
    pieces = body.regions()
    next(pieces)
    pieces.close()
    body.close()
    body.close()
    assert ended == [True]
