"""Putting changes together: what fits, what goes alone, to which endpoint, and what comes out decodes to what went in."""

from fasterstore.replication.change import (
    BATCH_MAX_BYTES,
    BATCH_MAX_CHANGES,
    EMPTY,
    BlobContent,
    BucketState,
    ManifestContent,
    ObjectState,
    PartContent,
    Piece,
    Tombstone,
)
from fasterstore.replication.change_reading import decode_batch
from fasterstore.replication.cursor import Address
from fasterstore.replication.merge import Create, Registers
from fasterstore.replication.shipment import HEAVY_BYTES, PULL_MAX_BYTES, ShipmentBuilder, pull_bytes_of

NODE, LOG = bytes(16), bytes([1]) * 16
BUCKET = BucketState("b", Registers((Create(1, NODE, 1),)))


def an_object(key, inline=None, pull_bytes=0):
    content = EMPTY
    size = len(inline) if inline is not None else pull_bytes
    if size:
        content = BlobContent(Piece(bytes(32), 1, 0, size, size), inline)
    return ObjectState("b", key, 1, NODE, size, "", 1, {}, {}, {}, {}, "", content)


def tombstone(key):
    return Tombstone("b", key, 1, NODE, 1)


def built(*changes):
    builder = ShipmentBuilder()
    for change in changes:
        assert builder.add([change])
    return builder.finish(NODE, LOG, 5, 9, 9)


def test_objects_and_deletes_go_apart_and_buckets_before_objects():
    shipment = built(tombstone(b"t"), an_object(b"o", b"body"), BUCKET)
    objects, deletes = shipment.batches
    assert (objects.deletes, deletes.deletes) == (False, True)
    assert objects.addresses == (Address("b", None), Address("b", b"o"))
    assert deletes.addresses == (Address("b", b"t"),)
    batch = decode_batch(objects.body)
    assert (batch.first_lsn, batch.upto_lsn, batch.node_id, batch.log_uuid) == (5, 9, NODE, LOG)
    assert batch.changes == (BUCKET, an_object(b"o", b"body"))
    assert decode_batch(deletes.body).changes == (tombstone(b"t"),)
    assert shipment.changes == 3


def test_buckets_alone_go_with_the_deletes():
    (only,) = built(BUCKET, tombstone(b"t")).batches
    assert only.deletes
    assert only.addresses == (Address("b", None), Address("b", b"t"))
    assert built().batches == ()


def test_a_batch_is_bounded_in_changes_and_bytes():
    builder = ShipmentBuilder()
    count = 0
    while builder.add([tombstone(b"%d" % count)]):
        count += 1
    assert count == BATCH_MAX_CHANGES
    builder, count = ShipmentBuilder(), 0
    while builder.add([an_object(b"%d" % count, bytes(60_000))]):
        count += 1
    shipment = builder.finish(NODE, LOG, 0, 0, None)
    assert count == BATCH_MAX_BYTES // 60_100
    assert shipment.size_bytes <= BATCH_MAX_BYTES < shipment.size_bytes + 61_000


def test_what_is_too_large_goes_alone():
    builder = ShipmentBuilder()
    assert builder.add([an_object(b"big", pull_bytes=PULL_MAX_BYTES + 1)])
    assert not builder.add([tombstone(b"t")])
    assert builder.finish(NODE, LOG, 0, 0, None).heavy
    builder = ShipmentBuilder()
    assert builder.add([tombstone(b"t")])
    assert not builder.add([an_object(b"big", pull_bytes=PULL_MAX_BYTES + 1)])


def test_changes_that_come_together_are_taken_together_or_not_at_all():
    builder = ShipmentBuilder()
    for number in range(BATCH_MAX_CHANGES - 1):
        assert builder.add([tombstone(b"%d" % number)])
    assert not builder.add([tombstone(b"old name"), an_object(b"new name")])
    assert not builder.has(Address("b", b"old name"))
    assert builder.add([tombstone(b"last")])
    assert builder.has(Address("b", b"last"))


def test_what_the_peer_has_to_fetch_is_counted():
    part = PartContent(1, 10, "", {}, (Piece(bytes(32), 1, 0, 10, 10),))
    made_of_parts = an_object(b"m")._replace(size_bytes=10, content=ManifestContent(7, "", (part,)))
    changes = (made_of_parts, an_object(b"o", b"body"), an_object(b"p", pull_bytes=9), BUCKET)
    assert [pull_bytes_of(change) for change in changes] == [10, 0, 9, 0]
    assert built(an_object(b"p", pull_bytes=HEAVY_BYTES)).heavy is False
    assert built(an_object(b"p", pull_bytes=HEAVY_BYTES + 1)).heavy


def test_a_batch_comes_apart_into_halves_that_hold_all_of_it():
    (whole,) = built(*[tombstone(b"%d" % number) for number in range(7)]).batches
    one, other = whole.halves()
    assert one.addresses + other.addresses == whole.addresses
    assert decode_batch(one.body).changes + decode_batch(other.body).changes == decode_batch(whole.body).changes
    assert (len(one.addresses), len(other.addresses)) == (3, 4)
