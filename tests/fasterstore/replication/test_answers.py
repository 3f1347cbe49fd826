"""What is answered between nodes beside batches: the status, pages of states, frames of blobs; their bytes, and what is none of them."""

import msgpack
import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.replication.anti_entropy import PAGE_STATES, Page
from fasterstore.replication.blob_frames import FRAME_BYTES, frame_hash, framed_bytes
from fasterstore.replication.change import EMPTY, ObjectState, Tombstone, encode_change
from fasterstore.replication.change_reading import MalformedBatch
from fasterstore.replication.digest import FIRST_PLACE, KeyRange, Place, Scope
from fasterstore.replication.peer_status import decode_status, encode_status
from fasterstore.replication.state_page import MalformedQuestion, decode_page, encode_page, question, read_question

NODE, LOG = bytes(range(16)), bytes(range(16, 32))
STATES = (
    ObjectState("box", b"a", 5, NODE, 0, "e", 1, {}, {}, {}, {}, "", EMPTY),
    Tombstone("box", b"b", 6, NODE, 2),
)


def test_a_status_has_these_bytes():
    data = encode_status(NODE, LOG, 300, 1 << 40)
    assert data.hex() == "9501c410000102030405060708090a0b0c0d0e0fc410101112131415161718191a1b1c1d1e1fcd012ccf0000010000000000"
    assert decode_status(data) == (NODE, LOG, 300, 1 << 40)


@pytest.mark.parametrize(
    "data",
    [b"", b"\xc1", b"\x90", b"\x91\x01", msgpack.packb([1, NODE, LOG, 1]), msgpack.packb([1, NODE[:15], LOG, 1, 1]),
     msgpack.packb([1, NODE, LOG, -1, 1]), msgpack.packb([1, NODE, LOG, 1, True]), msgpack.packb({"a": 1})],
)  # fmt: skip
def test_what_is_no_status_is_refused(data):
    with pytest.raises(MalformedBatch):
        decode_status(data)


def test_another_version_is_named():
    with pytest.raises(UnsupportedFormat, match="version 2"):
        decode_status(msgpack.packb([2, "whatever"]))
    with pytest.raises(UnsupportedFormat, match="version 3"):
        decode_page(msgpack.packb([3]))


def test_a_page_has_these_bytes():
    data = encode_page(NODE, LOG, [encode_change(state) for state in STATES], True)
    assert data[:3].hex() == "9301c3"
    assert decode_page(data) == Page(STATES, True, NODE, LOG)
    assert decode_page(encode_page(NODE, LOG, [], False)) == Page((), False, NODE, LOG)
    assert encode_page(NODE, LOG, [], False).hex() == (
        "9301c2c4299601c410000102030405060708090a0b0c0d0e0fc410101112131415161718191a1b1c1d1e1f000090"
    )


@pytest.mark.parametrize(
    "data", [b"", b"\xc1", b"\x90", msgpack.packb([1, True]), msgpack.packb([1, 1, b""]), msgpack.packb([1, True, b"x"])]
)
def test_what_is_no_page_is_refused(data):
    with pytest.raises(MalformedBatch):
        decode_page(data)


@pytest.mark.parametrize(
    "asked",
    [
        KeyRange(Scope.OBJECTS, FIRST_PLACE, None),
        KeyRange(Scope.BUCKETS, Place("b", b""), Place("c", b"")),
        KeyRange(Scope.OBJECTS, Place("box", b"\x00\xff&="), Place("box", "ü".encode())),
    ],
)
def test_a_question_is_read_as_it_was_asked(asked):
    assert read_question(dict(question(asked, 7))) == (asked, 7)


def test_a_question_without_anything_is_about_all_objects():
    assert read_question({}) == (KeyRange(Scope.OBJECTS, FIRST_PLACE, None), PAGE_STATES)


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "257"}, {"limit": "x"}, {"scope": "2"}, {"first_key": "zz"}, {"end_key": "0"}])
def test_what_is_no_question_is_refused(query):
    with pytest.raises(MalformedQuestion):
        read_question(query)


def test_a_blob_grows_by_a_hash_for_each_frame():
    assert framed_bytes(0) == 0
    assert framed_bytes(1) == 33
    assert framed_bytes(FRAME_BYTES) == FRAME_BYTES + 32
    assert framed_bytes(FRAME_BYTES + 1) == FRAME_BYTES + 65


def test_the_hash_of_a_frame_is_plain_blake3():
    # From BLAKE3's own test vectors: the input 0x00, and none.
    assert frame_hash(b"\0").hex() == "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"
    assert frame_hash(b"ab", b"c") == frame_hash(b"abc")
