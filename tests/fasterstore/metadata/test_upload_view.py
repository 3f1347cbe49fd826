"""What a reader sees of uploads, parts and manifests: by key, in order, after any marker, and damage by its name."""

import pytest

from fasterstore.errors import DamagedRow
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_schema import pack_map, unpack_map
from fasterstore.metadata.upload_view import PartMap
from fasterstore.model import PartEnd
from tests.storage_node import change


@pytest.fixture
def view(lab):
    made = IndexView(lab.path)
    yield made
    made.close()


def test_uploads_come_by_key_and_then_in_the_order_in_which_they_began(lab, view):
    numbers = {}
    for key in (b"b", b"a", b"b", b"c", b"b"):
        numbers.setdefault(key, []).append(lab.upload(key))
    bucket_id = lab.bucket_id()
    expected = [(key, number) for key in (b"a", b"b", b"c") for number in numbers[key]]
    assert [(row.key, row.number) for row in view.uploads.uploads_after(bucket_id, b"", 0, 10)] == expected
    for place, (key, number) in enumerate(expected):
        assert [(row.key, row.number) for row in view.uploads.uploads_after(bucket_id, key, number, 2)] == expected[place + 1 : place + 3]
    assert view.uploads.uploads_after(bucket_id + 1, b"", 0, 10) == []


def test_an_open_upload_is_found_by_bucket_key_and_number(lab, view):
    upload = lab.upload()
    row = view.uploads.upload(lab.bucket_id(), b"k", upload)
    assert (row.number, row.version, row.initiated_ms, row.changed_ms) == (upload, upload, lab.now_ms - 1, lab.now_ms - 1)
    assert (row.system, row.user, row.tags, row.acl) == ({"content-type": "a/b"}, {"m": "u"}, {"t": "u"}, "public-read")
    assert view.uploads.upload(lab.bucket_id(), b"l", upload) is None
    assert view.uploads.upload(lab.bucket_id(), b"k", upload + 1) is None
    assert view.uploads.upload(lab.bucket_id() + 1, b"k", upload) is None


def test_parts_come_in_order_after_a_number(lab, view):
    upload = lab.upload()
    lab.now(*(lambda number=number: lab.part(upload, number, b"body %d" % number) for number in (7, 2, 10_000, 1)))
    assert [row.number for row in view.uploads.parts_after(upload, 0, 10)] == [1, 2, 7, 10_000]
    assert [row.number for row in view.uploads.parts_after(upload, 2, 1)] == [7]
    assert view.uploads.parts_after(upload, 10_000, 10) == []
    assert view.uploads.part(upload, 7).size_bytes == len(b"body 7")
    assert view.uploads.part(upload, 8) is None


def test_a_manifest_its_map_and_its_blobs_are_found_by_number(lab, view):
    number = lab.manifest(b"one", b"three")
    row = view.uploads.manifest(number)
    assert (row.refs, row.size_bytes, row.part_count, row.etag, row.token) == (1, 8, 2, "e" * 32 + "-2", "token 1700000000001")
    assert list(view.uploads.part_map(number).items) == [PartEnd(1, 3), PartEnd(2, 8)]
    assert (view.uploads.manifest(1), view.uploads.part_map(1)) == (None, None)
    (piece,) = view.uploads.part(number, 2).slices
    placed = view.uploads.blob(piece.blob)
    assert placed.blob.location.plaintext_bytes == 5
    assert placed.file_uuid == view.segment(placed.blob.location.segment_id).file_uuid
    assert view.uploads.blob(77) is None


def test_a_blob_without_its_segment_is_damage(lab, view):
    lab.now(lambda: lab.put(b"k", b"one"))
    change(lab.path, "DELETE FROM segments")
    with pytest.raises(DamagedRow, match="no row"):
        view.uploads.blob(1)


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("uploads", lambda view, lab, upload: view.upload(lab.bucket_id(), b"k", upload)),
        ("uploads", lambda view, lab, upload: view.uploads_after(lab.bucket_id(), b"", 0, 9)),
        ("parts", lambda view, _lab, upload: view.part(upload, 1)),
        ("parts", lambda view, _lab, upload: view.parts_after(upload, 0, 9)),
        ("manifests", lambda view, lab, _upload: view.manifest(lab.object(b"m").manifest)),
        ("maps", lambda view, lab, _upload: view.part_map(lab.object(b"m").manifest)),
    ],
)
def test_a_flipped_byte_in_a_row_is_a_damaged_row(lab, view, table, read):
    lab.manifest(b"one", key=b"m")
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    assert read(view.uploads, lab, upload)
    for value in ("CAST(substr(value, 1, 5) || x'ff' || substr(value, 7) AS BLOB)", "CAST(x'ff9a' AS TEXT)", "5"):
        change(lab.path, f"UPDATE {table} SET value = {value}")
        with pytest.raises(DamagedRow):
            read(view.uploads, lab, upload)


def test_a_map_tells_which_part_holds_a_byte():
    found = PartMap(unpack_map(pack_map([(2, 3), (5, 0), (9, 4)])))
    assert found.size_bytes == 7
    assert [found.items[found.at(offset)].part for offset in range(7)] == [2, 2, 2, 9, 9, 9, 9]
    assert [found.start(place) for place in range(3)] == [0, 3, 3]
    assert PartMap([]).size_bytes == 0
