"""Batches between nodes: their bytes are pinned, come back as they were, and whatever is not well-formed is refused whole."""

import random
from pathlib import Path

import msgpack
import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.replication.change import (
    APPLIED,
    BATCH_MAX_CHANGES,
    EMPTY,
    SUPERSEDED,
    Batch,
    BatchAnswer,
    BlobContent,
    BucketState,
    ManifestContent,
    ObjectState,
    PartContent,
    Piece,
    Tombstone,
    encode_answer,
    encode_batch,
    encode_change,
    join_batch,
    refused,
)
from fasterstore.replication.change_reading import MalformedBatch, decode_answer, decode_batch
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting

GOLDEN = Path(__file__).parents[2] / "golden" / "replication_v1.txt"
NODE, LOG, OTHER = (bytes([start + index for index in range(16)]) for start in (0, 32, 64))
BLOB_ID = bytes(range(128, 160))
STAMP = 1_700_000_000_123 << 16
PIECE = Piece(BLOB_ID, 9, 0, 11, 11)
OBJECT = ObjectState(
    "photos", b"a/\xc3\xa9\x00", STAMP, NODE, 11, "5eb63bbbe01eeed093cb22bb8f5acdc3", 1_700_000_000_123,
    {"content-type": "text/plain"}, {"colour": "r\xe9d"}, {"CRC32C": "yZRlqg=="}, {"team": "a b"}, "public-read",
    BlobContent(PIECE, b"hello world"),
)  # fmt: skip
MANIFEST = ManifestContent(
    41, "9b2cf535f27731c974343645a3985328-2",
    (PartContent(1, 11, "5eb63bbbe01eeed093cb22bb8f5acdc3", {"CRC32C": "yZRlqg=="}, (PIECE,)),
     PartContent(10_000, 6, "f5a7924e621e84c9280a9a27e1bcb7f6", {}, (Piece(BLOB_ID, 9, 5, 4, 11), Piece(BLOB_ID, 7, 0, 2, 2)))),
)  # fmt: skip
BUCKET = BucketState(
    "photos",
    Registers(
        (Create(STAMP, NODE, 1_700_000_000_123), Create(STAMP, OTHER, 1_700_000_000_124)), Deletion(STAMP - 1, NODE),
        (Setting("cors", None, STAMP, OTHER), Setting("policy", b"{}", STAMP, NODE)), Home(STAMP + 1, NODE, OTHER),
    ),
)  # fmt: skip
CHANGES = {
    "object_inline": OBJECT,
    "object_to_pull": OBJECT._replace(content=BlobContent(PIECE, None)),
    "object_sealed": OBJECT._replace(content=BlobContent(PIECE._replace(record_bytes=27), bytes(27))),
    "object_empty": OBJECT._replace(size_bytes=0, content=EMPTY),
    "object_of_parts": OBJECT._replace(size_bytes=17, content=MANIFEST),
    "tombstone": Tombstone("photos", b"a/\xc3\xa9\x00", STAMP + 2, OTHER, 1_700_000_000_125),
    "bucket": BUCKET,
    "bucket_unknown": BucketState("photos", Registers()),
}
BATCH = Batch(1, NODE, LOG, 7, 9, tuple(CHANGES.values()))
ANSWER = BatchAnswer(OTHER, LOG, (APPLIED, SUPERSEDED, refused("StorageFull")))


def golden():
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in GOLDEN.read_text().splitlines())}


def batch_of(change_bytes):
    return join_batch(BATCH._replace(changes=()), [change_bytes])


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_has_the_golden_bytes_and_they_mean_it(name):
    assert encode_change(CHANGES[name]) == golden()[name]
    assert decode_batch(batch_of(golden()[name])).changes == (CHANGES[name],)


def test_a_batch_and_an_answer_have_the_golden_bytes_and_they_mean_them():
    assert encode_batch(BATCH) == golden()["batch"]
    assert decode_batch(golden()["batch"]) == BATCH
    assert encode_answer(ANSWER) == golden()["answer"]
    assert decode_answer(golden()["answer"], 3) == ANSWER
    assert golden().keys() == CHANGES.keys() | {"batch", "answer"}


def test_what_is_read_back_has_the_types_of_the_model():
    batch = decode_batch(encode_batch(BATCH))
    assert [type(change) for change in batch.changes] == [type(change) for change in CHANGES.values()]
    parts = batch.changes[4].content.parts
    assert {type(part) for part in parts} == {PartContent}
    assert {type(piece) for part in parts for piece in part.pieces} == {Piece}
    registers = batch.changes[6].registers
    assert [type(value) for value in (registers, *registers.creates, registers.deleted, *registers.settings, registers.home)] == [
        Registers, Create, Create, Deletion, Setting, Setting, Home,
    ]  # fmt: skip


def test_another_version_is_refused_by_name():
    with pytest.raises(UnsupportedFormat, match="version 2"):
        decode_batch(b"\x96\x02" + encode_batch(BATCH)[2:])
    with pytest.raises(UnsupportedFormat, match="version 2"):
        decode_answer(b"\x94\x02" + encode_answer(ANSWER)[2:], 3)


def edited(change, *path, to):
    """The change's bytes with the field at that path replaced."""
    fields = msgpack.unpackb(encode_change(change))
    place = fields
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = to
    return msgpack.packb(fields)


@pytest.mark.parametrize(
    "data",
    [
        edited(OBJECT, 0, to=4),
        edited(OBJECT, 1, to=""),
        edited(OBJECT, 1, to=b"photos"),
        edited(OBJECT, 2, to=b""),
        edited(OBJECT, 2, to=bytes(1025)),
        edited(OBJECT, 2, to="key"),
        edited(OBJECT, 3, to=0),
        edited(OBJECT, 3, to=1 << 63),
        edited(OBJECT, 3, to=True),
        edited(OBJECT, 4, to=bytes(15)),
        edited(OBJECT, 5, to=12),
        edited(OBJECT, 5, to=-11),
        edited(OBJECT, 8, to={"content-type": 5}),
        edited(OBJECT, 9, to=[]),
        edited(OBJECT, 12, to="x" * 256),
        edited(OBJECT, 13, to=None),
        edited(OBJECT, 13, 0, to=3),
        edited(OBJECT, 13, 2, to=b"hello worl"),
        edited(OBJECT, 13, 1, 0, to=bytes(31)),
        edited(OBJECT, 13, 1, 2, to=1),
        edited(CHANGES["object_to_pull"], 13, 1, 4, to=10),
        edited(CHANGES["object_to_pull"], 13, 1, to=[BLOB_ID, 9, 0, 0, 11]),
        edited(CHANGES["object_of_parts"], 13, 3, 0, 0, to=10_001),
        edited(CHANGES["object_of_parts"], 13, 3, 1, 0, to=1),
        edited(CHANGES["object_of_parts"], 13, 3, 1, 1, to=5),
        edited(CHANGES["object_of_parts"], 13, 3, 0, 4, to=[[BLOB_ID, 9, 0, 1, 11]] * 65),
        edited(CHANGES["tombstone"], 5, to=-1),
        edited(BUCKET, 2, 0, to=[[STAMP, NODE, 1]] * 1001),
        edited(BUCKET, 2, 1, to=[0, NODE]),
        edited(BUCKET, 2, 2, 0, 1, to="text"),
        edited(BUCKET, 2, 3, 2, to=b""),
        msgpack.packb([]),
        msgpack.packb(None),
    ],
)
def test_a_change_that_is_not_well_formed_is_refused(data):
    with pytest.raises(MalformedBatch):
        decode_batch(batch_of(data))


def test_a_batch_of_too_many_changes_or_backward_entries_is_refused():
    tombstone = encode_change(CHANGES["tombstone"])
    assert len(decode_batch(join_batch(BATCH, [tombstone] * BATCH_MAX_CHANGES)).changes) == BATCH_MAX_CHANGES
    with pytest.raises(MalformedBatch):
        decode_batch(join_batch(BATCH, [tombstone] * (BATCH_MAX_CHANGES + 1)))
    with pytest.raises(MalformedBatch):
        decode_batch(encode_batch(BATCH._replace(first_lsn=10)))


def test_an_answer_to_another_number_of_changes_is_refused():
    with pytest.raises(MalformedBatch):
        decode_answer(encode_answer(ANSWER), 2)
    with pytest.raises(MalformedBatch):
        decode_answer(msgpack.packb([1, NODE, LOG, [2]]), 1)


def test_bytes_that_have_rotted_are_refused_or_mean_another_batch_and_nothing_else_happens():
    whole, chance = encode_batch(BATCH), random.Random(6)
    for _ in range(3000):
        rotten = bytearray(whole)
        for _ in range(chance.randint(1, 3)):
            rotten[chance.randrange(len(rotten))] = chance.randrange(256)
        cut = bytes(rotten[: chance.randrange(len(rotten))]) if chance.random() < 0.2 else bytes(rotten)
        try:
            assert encode_batch(decode_batch(cut))
        except (MalformedBatch, UnsupportedFormat):
            pass
