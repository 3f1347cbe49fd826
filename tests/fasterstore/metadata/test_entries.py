"""Journal entries: the bytes of every kind are pinned, come back as they were, and an unknown one is refused by name."""

from pathlib import Path

import msgpack
import pytest

from fasterstore.errors import DamagedLog, UnsupportedFormat
from fasterstore.metadata.entries import (
    BlobDamaged,
    BlobSource,
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    EpochStarted,
    Kind,
    ObjectAmended,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    PartPut,
    PartsReleased,
    SegmentIdsLeased,
    SegmentOpened,
    SegmentSealed,
    UploadAborted,
    UploadCompleted,
    UploadCreated,
    decode,
    encode,
)
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.metadata.replication_entries import (
    BucketHomed,
    BucketJoined,
    ObjectRemoved,
    ObjectReplicated,
    PeerBlobsLearned,
    PeersChanged,
    TombstonesExpired,
)
from fasterstore.metadata.space_entries import BlobRepaired, BlobsForgotten, BlobsMoved, Move, RangePunched, SegmentRemoved, SegmentRetired
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import BlobLocation, Slice
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting

GOLDEN = Path(__file__).parents[2] / "golden" / "journal_entries_v1.txt"
NODE, LOG, UUID, RECORD = (bytes([start + index for index in range(16)]) for start in (0, 32, 64, 96))
BLOB_ID = bytes(range(128, 160))
STAMP = 1_700_000_000_123 << 16
PLACE = BlobLocation(3, 4096, 11, 11, RECORD)
PUT = ObjectPut(
    "photos", b"a/\xc3\xa9\x00", 11, "5eb63bbbe01eeed093cb22bb8f5acdc3", 1_700_000_000_123, {"content-type": "text/plain"},
    {"colour": "r\xe9d"}, {"CRC32C": "yZRlqg=="}, {"team": "a b"}, "public-read", STAMP, NODE, LOG, 9, 0, 9, BlobSource.NEW, BLOB_ID,
    PLACE, 0,
)  # fmt: skip
PART = PartPut(
    "photos", b"a/\xc3\xa9\x00", 41, 2, 11, "5eb63bbbe01eeed093cb22bb8f5acdc3", {"CRC32C": "yZRlqg=="}, 1_700_000_000_123, 9,
    BlobSource.NEW, BLOB_ID, PLACE, (),
)  # fmt: skip
COMPLETED = UploadCompleted(
    "photos", b"a/\xc3\xa9\x00", 5_242_891, "9b2cf535f27731c974343645a3985328-2", 1_700_000_000_123, {"content-type": "text/plain"},
    {"colour": "r\xe9d"}, {"CRC32C": "yZRlqg==-2"}, {"team": "a b"}, "public-read", STAMP, NODE, LOG, 41, 41,
    pack_map([(1, 5_242_880), (2, 11)]), False,
)  # fmt: skip
APPENDED = ObjectAppended(
    "photos", b"a/\xc3\xa9\x00", 22, "9b2cf535f27731c974343645a3985328-2", 1_700_000_000_123, STAMP, NODE, LOG, 9, 11,
    "5eb63bbbe01eeed093cb22bb8f5acdc3", 9, BlobSource.NEW, BLOB_ID, PLACE,
)  # fmt: skip
REPLICATED = ObjectReplicated(
    *PUT[:13], 77, 0, 9, BlobSource.NEW, BLOB_ID, PLACE, 0, 0, b"", False, True, 1_700_000_000_456,
)  # fmt: skip
REGISTERS = Registers(
    (Create(STAMP, NODE, 1_700_000_000_123), Create(STAMP + 1, LOG, 1_700_000_000_124)), Deletion(STAMP - 1, LOG),
    (Setting("acl", None, STAMP, NODE), Setting("cors", b"<x/>", STAMP + 2, LOG)), Home(STAMP + 3, NODE, LOG),
)  # fmt: skip
SAMPLES = {
    "epoch_started": EpochStarted(7, 1_700_000_000_000),
    "segment_ids_leased": SegmentIdsLeased(65, 64),
    "segment_opened": SegmentOpened(3, 7, UUID),
    "segment_sealed": SegmentSealed(3, 536_870_912),
    "bucket_created": BucketCreated("photos", 1_700_000_000_123, STAMP, NODE),
    "bucket_deleted": BucketDeleted("photos", 1_700_000_000_123, STAMP + 1, NODE),
    "object_put_new": PUT,
    "object_put_empty": PUT._replace(size_bytes=0, blob=0, origin_blob=0, source=BlobSource.EMPTY, location=None),
    "object_put_claimed": PUT._replace(source=BlobSource.CLAIMED, location=None),
    "object_put_repaired": PUT._replace(source=BlobSource.REPAIRED),
    "object_deleted": ObjectDeleted("photos", b"a/\xc3\xa9\x00", 1_700_000_000_123, STAMP + 2, NODE),
    "object_put_manifest": PUT._replace(blob=0, origin_blob=0, origin_manifest=41, source=BlobSource.MANIFEST, location=None, manifest=41),
    "blob_damaged": BlobDamaged(9, RECORD),
    "bucket_configured": BucketConfigured("photos", "cors", b"<x/>", 1_700_000_000_123, STAMP, NODE),
    "bucket_configured_gone": BucketConfigured("photos", "cors", None, 1_700_000_000_123, STAMP, NODE),
    "object_amended": ObjectAmended("photos", b"a/\xc3\xa9\x00", {"team": "a b"}, None, STAMP, NODE),
    "object_renamed": ObjectRenamed("photos", b"a/\xc3\xa9\x00", b"new", 1_700_000_000_123, STAMP, NODE),
    "upload_created": UploadCreated(
        "photos", b"a/\xc3\xa9\x00", 1_700_000_000_123, "0f" * 16, {"content-type": "text/plain"}, {"colour": "r\xe9d"}, {"team": "a b"},
        "public-read", "CRC32C", "COMPOSITE",
    ),
    "part_put_new": PART,
    "part_put_empty": PART._replace(size_bytes=0, blob=0, source=BlobSource.EMPTY, location=None),
    "part_put_claimed": PART._replace(source=BlobSource.CLAIMED, location=None),
    "part_put_repaired": PART._replace(source=BlobSource.REPAIRED),
    "part_put_slices": PART._replace(blob=0, source=BlobSource.SLICES, location=None, slices=(Slice(9, 5, 6), Slice(7, 0, 5))),
    "upload_completed": COMPLETED,
    "upload_completed_without_some_parts": COMPLETED._replace(drops_parts=True),
    "upload_aborted": UploadAborted(12, b"a/\xc3\xa9\x00", 41, 1_700_000_000_123),
    "parts_released": PartsReleased(41, (1, 2, 10_000), 10_000, True, False, 1_700_000_000_123),
    "object_appended": APPENDED,
    "object_appended_claimed": APPENDED._replace(source=BlobSource.CLAIMED, location=None),
    "blobs_forgotten": BlobsForgotten((9, 12), 1_700_000_000_123),
    "blobs_moved": BlobsMoved((Move(9, PLACE), Move(12, PLACE._replace(segment_id=4)))),
    "blob_repaired": BlobRepaired(9, PLACE._replace(segment_id=4)),
    "segment_retired": SegmentRetired(3),
    "segment_removed": SegmentRemoved(3),
    "range_punched": RangePunched(3, 8192, 1 << 20),
    "log_retired": LogRetired(70_001),
    "object_replicated": REPLICATED,
    "object_replicated_claimed": REPLICATED._replace(source=BlobSource.CLAIMED, location=None, advances_clock=False),
    "object_replicated_parts": REPLICATED._replace(
        size_bytes=5_242_891, etag="9b2cf535f27731c974343645a3985328-2", origin_blob=0, origin_manifest=33, blob=0,
        source=BlobSource.MANIFEST, blob_id=bytes(32), location=None, manifest=41, upload=41,
        part_map=pack_map([(1, 5_242_880), (2, 11)]),
    ),
    "object_removed": ObjectRemoved("photos", b"a/\xc3\xa9\x00", 1_700_000_000_123, STAMP, NODE, True, 1_700_000_000_456),
    "bucket_joined": BucketJoined("photos", REGISTERS, True, True, 1_700_000_000_456),
    "bucket_joined_gone": BucketJoined("photos", Registers(deleted=Deletion(STAMP, NODE)), False, False, 1_700_000_000_456),
    "bucket_homed": BucketHomed("photos", LOG, 1_700_000_000_123, STAMP, NODE),
    "peers_changed": PeersChanged(("http://a:9000", "http://b:9000"), 1_700_000_000_123),
    "tombstones_expired": TombstonesExpired((("photos", b"a/\xc3\xa9\x00"), ("films", b"b")), ("old",), STAMP, 1_700_000_000_123),
    "peer_blobs_learned": PeerBlobsLearned(LOG, ((77, 9), (78, 12))),
}  # fmt: skip


def golden() -> dict[str, bytes]:
    return {name: bytes.fromhex(data) for name, data in (line.split() for line in GOLDEN.read_text().splitlines())}


def test_every_kind_and_every_source_of_bytes_has_a_golden_sample():
    kinds = {msgpack.unpackb(data)[0] for data in golden().values()}
    assert kinds == {int(kind) for kind in Kind}
    assert {entry.source for entry in SAMPLES.values() if isinstance(entry, ObjectPut | PartPut)} == set(BlobSource)
    assert golden().keys() == SAMPLES.keys()


@pytest.mark.parametrize("name", SAMPLES)
def test_the_bytes_are_the_golden_ones(name):
    assert encode(SAMPLES[name]) == golden()[name]


@pytest.mark.parametrize("name", SAMPLES)
def test_the_golden_bytes_mean_the_entry(name):
    entry = decode(golden()[name])
    assert entry == SAMPLES[name]
    assert type(entry) is type(SAMPLES[name])
    if isinstance(entry, ObjectPut | PartPut | ObjectAppended | ObjectReplicated):
        assert type(entry.source) is BlobSource
        assert entry.location is None or type(entry.location) is BlobLocation
    if isinstance(entry, PartPut):
        assert all(type(piece) is Slice for piece in entry.slices)
    if isinstance(entry, BucketJoined):
        assert type(entry.registers) is Registers
        assert type(entry.registers.deleted) is Deletion
        assert all(type(create) is Create for create in entry.registers.creates)
        assert all(type(setting) is Setting for setting in entry.registers.settings)
        assert type(entry.registers.home) in (Home, type(None))


def test_what_peers_are_sent_does_not_say_where_the_bytes_lie_here():
    elsewhere = PUT._replace(blob=77, source=BlobSource.CLAIMED, location=None)
    assert msgpack.unpackb(encode(elsewhere))[2] == msgpack.unpackb(encode(PUT))[2]
    again = REPLICATED._replace(blob=77, source=BlobSource.CLAIMED, location=None, advances_clock=False, applied_ms=1)
    assert msgpack.unpackb(encode(again))[2] == msgpack.unpackb(encode(REPLICATED))[2]
    for name in ("epoch_started", "segment_ids_leased", "segment_opened", "segment_sealed", "blob_damaged", "blob_repaired"):
        assert msgpack.unpackb(golden()[name])[2] == b""


def test_an_unknown_kind_is_refused_by_name():
    with pytest.raises(UnsupportedFormat, match="unknown kind 99"):
        decode(msgpack.packb([99, 1, b"\x90", b""]))


@pytest.mark.parametrize("name", SAMPLES)
def test_an_unknown_version_is_refused_by_name(name):
    kind, _, logical, annex = msgpack.unpackb(golden()[name])
    with pytest.raises(UnsupportedFormat, match=f"kind {kind} has version 2"):
        decode(msgpack.packb([kind, 2, logical, annex]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xc1",
        b"\x94\x07",
        msgpack.packb(7),
        msgpack.packb([7, 1, b"\x90"]),
        msgpack.packb([7, 1, b"\x90", b""]),
        msgpack.packb([7, 1, b"\x07", b"\x07"]),
        msgpack.packb([[], 1, b"\x90", b""]),
        msgpack.packb([7, 1, msgpack.packb([None] * 20), b""]),
        msgpack.packb([17, 1, b"", msgpack.packb([1, 2, 3, True, True, 6])]),
        encode(PUT) + b"\x00",
        encode(PUT)[:-1],
    ],
)
def test_bytes_that_are_no_entry_are_damage_and_no_other_error(data):
    with pytest.raises(DamagedLog, match="malformed"):
        decode(data)


def test_a_large_entry_comes_back():
    entry = PUT._replace(user={f"name-{number}": "x" * 100 for number in range(1000)})
    assert decode(encode(entry)) == entry
