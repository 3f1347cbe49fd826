"""A node with a master key: every way in and out of the store, over encrypted records and over plain ones from before."""

import hashlib
import os
from base64 import b64encode
from pathlib import Path

import pytest

from fasterstore import aead
from fasterstore.errors import DamagedRecord
from fasterstore.storage.record import HEADER_BYTES
from fasterstore.storage.sealed_record import is_sealed
from fasterstore.storage.segment import segment_name
from tests.web.app.conftest import Store

MASTER_KEY = b64encode(bytes(range(32))).decode()
MARKER = b"PLAINTEXT-MARKER-"
SIZES = [1, 4096, 65536, 65537, 200_000, 300_000, 3_000_000]


def marked(size: int) -> bytes:
    return (MARKER * (size // len(MARKER) + 1))[:size]


@pytest.fixture(params=["true", "strict", "false"])
def verify(request):
    return request.param


@pytest.fixture
def reopen(tmp_path: Path):
    """reopen(**settings) -> the store in one folder, opened anew."""
    made = []

    def make(**settings):
        if made:
            made[-1].close()
        made.append(Store(tmp_path / "data", settings))
        return made[-1]

    yield make
    made[-1].close()


def encrypted(reopen, **settings):
    return reopen(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY, **settings)


def stored_files(store: Store) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(Path(store.datadir.segments_dir).iterdir()))


def row(store: Store, bucket: str, key: bytes):
    found = store.worker.reader().locate(bucket, key)
    assert found.blob is not None
    return found.blob


@pytest.mark.parametrize("cached", [True, False])
def test_any_size_comes_back_and_no_plaintext_is_on_disk(reopen, verify, cached):
    capacity = "32" if cached else "0"
    store = encrypted(reopen, FS_VERIFY_READS=verify, FS_CACHE_CAPACITY_MB=capacity)
    store.make_bucket("box")
    for size in SIZES:
        body = marked(size)
        assert store.send("PUT", f"/box/{size}", body).headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
        location = row(store, "box", str(size).encode()).location
        assert is_sealed(location) and location.stored_bytes == aead.stored_bytes(size)
    store = encrypted(reopen, FS_VERIFY_READS=verify, FS_CACHE_CAPACITY_MB=capacity)
    for size in SIZES:
        body = marked(size)
        for _ in range(2):
            assert store.send("GET", f"/box/{size}").body == body
        edges = [0, 1, 65535, 65536, 65537, 131_072, 262_143, 262_144, 262_145, 1_048_576, size // 2, size - 1]
        for first in (edge for edge in edges if edge < size):
            for last in (edge for edge in edges if first <= edge < size):
                answer = store.send("GET", f"/box/{size}", headers={"Range": f"bytes={first}-{last}"})
                assert (answer.status, answer.body) == (206, body[first : last + 1]), (size, first, last)
    assert MARKER not in stored_files(store)


def test_without_a_place_to_read_ahead_any_range_comes_back_and_damage_does_not_leave(reopen, all_taken):
    store = encrypted(reopen, FS_CACHE_CAPACITY_MB="0")
    store.make_bucket("box")
    body = os.urandom(3_000_000)
    store.send("PUT", "/box/k", body)
    assert store.send("GET", "/box/k").body == body
    for first, last in ((0, 0), (65535, 65536), (262_143, 600_000), (1_048_575, 2_999_999), (2_999_999, 2_999_999)):
        answer = store.send("GET", "/box/k", headers={"Range": f"bytes={first}-{last}"})
        assert (answer.status, answer.body) == (206, body[first : last + 1])
    store.send("PUT", "/box/copy", headers={"x-amz-copy-source": "/box/k", "x-amz-server-side-encryption": "AES256"})
    assert store.send("GET", "/box/copy").body == body
    location = row(store, "box", b"k").location
    with (Path(store.datadir.segments_dir) / segment_name(location.segment_id)).open("r+b") as file:
        file.seek(location.offset + HEADER_BYTES + location.stored_bytes // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
    broken = store.send("GET", "/box/k")
    assert isinstance(broken.failure, DamagedRecord)
    assert broken.body == body[: len(broken.body)] and len(broken.body) < len(body)


def test_parts_copies_and_appends(reopen):
    store = encrypted(reopen, FS_CACHE_CAPACITY_MB="0")
    store.make_bucket("box")
    upload = begin(store, "/box/parts")
    parts = [os.urandom(5 << 20), os.urandom(70_000)]
    etags = [store.send("PUT", f"/box/parts?partNumber={n}&uploadId={upload}", part).headers["etag"] for n, part in enumerate(parts, 1)]
    listed = "".join(f"<Part><PartNumber>{n}</PartNumber><ETag>{etag}</ETag></Part>" for n, etag in enumerate(etags, 1))
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    assert store.send("POST", f"/box/parts?uploadId={upload}", document).status == 200
    whole = b"".join(parts)
    assert store.send("GET", "/box/parts").body == whole
    around = {"Range": f"bytes={(5 << 20) - 10}-{(5 << 20) + 10}"}
    assert store.send("GET", "/box/parts", headers=around).body == whole[(5 << 20) - 10 : (5 << 20) + 11]
    assert store.send("PUT", "/box/copy", headers={"x-amz-copy-source": "/box/parts"}).status == 200
    assert store.send("GET", "/box/copy").body == whole
    upload = begin(store, "/box/pieces")
    headers = {"x-amz-copy-source": "/box/parts", "x-amz-copy-source-range": "bytes=100000-199999"}
    answer = store.send("PUT", f"/box/pieces?partNumber=1&uploadId={upload}", headers=headers)
    etag = hashlib.md5(whole[100_000:200_000]).hexdigest()
    assert etag in answer.body.decode()
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert store.send("POST", f"/box/pieces?uploadId={upload}", document.encode()).status == 200
    assert store.send("GET", "/box/pieces").body == whole[100_000:200_000]
    store.send("PUT", "/box/log", b"first,")
    assert store.send("PUT", "/box/log", b"second", {"x-amz-write-offset-bytes": "6"}).status == 200
    assert store.send("GET", "/box/log").body == b"first,second"


def begin(store: Store, target: str) -> str:
    body = store.send("POST", f"{target}?uploads").body.decode()
    return body.split("<UploadId>")[1].split("<")[0]


@pytest.mark.parametrize("size", [4096, 300_000])
def test_the_same_bytes_again_are_one_blob_and_other_bytes_are_not(reopen, size):
    store = encrypted(reopen)
    store.make_bucket("box")
    body = os.urandom(size)
    for key in ("one", "two"):
        store.send("PUT", f"/box/{key}", body)
    assert row(store, "box", b"one").number == row(store, "box", b"two").number
    store.send("PUT", "/box/three", os.urandom(size))
    assert row(store, "box", b"three").number != row(store, "box", b"one").number


@pytest.mark.parametrize("size", [4096, 300_000])
def test_a_plain_data_dir_that_is_turned_on_keeps_what_it_has_and_seals_what_is_new(reopen, size):
    store = reopen(FS_CACHE_CAPACITY_MB="0")
    store.make_bucket("box")
    old, body = marked(size), os.urandom(size)
    store.send("PUT", "/box/old", old)
    store.send("PUT", "/box/twin", body)
    before = row(store, "box", b"twin")
    store = encrypted(reopen, FS_CACHE_CAPACITY_MB="0")
    assert store.send("GET", "/box/old").body == old
    assert row(store, "box", b"twin").blob_id == before.blob_id
    # A plain twin is no reason not to encrypt; the id of the bytes is what it was.
    store.send("PUT", "/box/twin2", body)
    after = row(store, "box", b"twin2")
    assert after.blob_id == before.blob_id and after.number != before.number and is_sealed(after.location)
    store.send("PUT", "/box/twin3", body)
    assert row(store, "box", b"twin3").number == after.number
    for key in ("twin", "twin2", "twin3"):
        assert store.send("GET", f"/box/{key}").body == body


@pytest.mark.parametrize("size", [4096, 65536, 200_000, 3_000_000])
def test_no_flipped_bit_gives_one_wrong_byte(reopen, verify, size):
    store = encrypted(reopen, FS_VERIFY_READS=verify, FS_CACHE_CAPACITY_MB="0")
    store.make_bucket("box")
    body = os.urandom(size)
    store.send("PUT", "/box/key", body)
    blob = row(store, "box", b"key")
    place = blob.location
    path = next(path for path in Path(store.datadir.segments_dir).iterdir() if int(path.name.split(".")[0], 16) == place.segment_id)
    end = 128 + place.stored_bytes
    positions = [0, 9, 30, 41, 44, 60, 91, 100, 126, 128, 128 + place.stored_bytes // 2, end - 17, end - 1]
    for position in positions:
        flip(path, place.offset + position)
        answer = store.send("GET", "/box/key")
        assert answer.status != 200 or answer.failure is not None or answer.body == body, position
        assert body.startswith(answer.body) if answer.status == 200 else answer.status == 500, position
        if position < end - 1:
            last = store.send("GET", "/box/key", headers={"Range": f"bytes={size - 1}-{size - 1}"})
            assert (last.status, last.body) == (206, body[-1:]) or last.status == 500, position
        flip(path, place.offset + position)
    assert store.send("GET", "/box/key").body == body
    # The chunk table is for those who have no key.
    flip(path, place.offset + end + 3)
    assert store.send("GET", "/box/key").body == body


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 0x20]))


def test_a_damaged_record_is_repaired_by_a_put_of_the_same_bytes(reopen):
    store = encrypted(reopen, FS_CACHE_CAPACITY_MB="0")
    store.make_bucket("box")
    for size in (4096, 300_000):
        body = os.urandom(size)
        store.send("PUT", "/box/key", body)
        place = row(store, "box", b"key").location
        path = next(path for path in Path(store.datadir.segments_dir).iterdir() if int(path.name.split(".")[0], 16) == place.segment_id)
        flip(path, place.offset + 150)
        assert store.send("GET", "/box/key").status == 500
        assert store.send("PUT", "/box/key", body).status == 200
        assert store.send("GET", "/box/key").body == body
