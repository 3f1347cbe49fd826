"""Which comparisons of a running store hold: what two whole looks in a row say alike, and nothing touched in between.

A look compares rows read at different moments, so it suspects what changed meanwhile. The journal tells what that was. A suspicion is
confirmed if two looks that follow each other have it with the same figures, and no entry from the beginning of the first to the end of
the second names its subject in a way that adds to it. Why that suffices: a release of a reference names only a key, but between the two
readings of an equal counter there can have been no release without an addition, and additions name the blob, manifest or segment. What
moves a row without changing a counter (a rename, a copy of parts) is looked up by its key.

No transaction is held: no checkpoint waits for a check. Pure but for reading the log and the index.
"""

from collections.abc import Iterable, Iterator

from fasterstore.check.finding import Finding
from fasterstore.check.references import object_subject
from fasterstore.check.replication_rows import TOMBSTONES, registers_subject
from fasterstore.errors import DamagedLog
from fasterstore.metadata.blob_rows import BlobEntry
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import (
    BlobDamaged,
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    Entry,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    PartPut,
    PartsReleased,
    UploadAborted,
    UploadCompleted,
    UploadCreated,
    decode,
)
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_entries import (
    BucketHomed,
    BucketJoined,
    ObjectRemoved,
    ObjectReplicated,
    PeerBlobsLearned,
    TombstonesExpired,
)
from fasterstore.metadata.space_entries import BlobRepaired, BlobsForgotten, BlobsMoved, SegmentRemoved, SegmentRetired
from fasterstore.storage.disk import Disk
from fasterstore.storage.wal_recovery import read_from

Subject = tuple[str, int]
_PARTS = 1000


def split(first: Iterable[Finding], second: Iterable[Finding], touched: set[Subject] | None) -> tuple[list[Finding], list[Finding]]:
    """What two looks have in common: (confirmed, still open). `touched`: between them; None if that is not known."""
    again = set(second)
    common = [found for found in first if found in again]
    if touched is None:
        return [], common
    return [found for found in common if found.subject not in touched], [found for found in common if found.subject in touched]


def touched_between(disk: Disk, folder: str, view: IndexView, after_lsn: int, upto_lsn: int) -> set[Subject] | None:
    """The subjects that entries after `after_lsn` up to `upto_lsn` name; None if the log no longer has them all. Raises OSError."""
    if upto_lsn <= after_lsn:
        return set()
    try:
        return {
            subject
            for lsn, data in read_from(disk, folder, after_lsn + 1, upto_lsn=upto_lsn)
            for subject in _subjects(view, lsn, decode(data))
        }
    except (DamagedLog, FileNotFoundError):
        return None


def _subjects(view: IndexView, lsn: int, entry: Entry) -> Iterator[Subject]:
    match entry:
        case BucketCreated() | BucketJoined():
            yield "bucket", lsn
            yield from _bucket(view, entry.bucket)
            yield registers_subject(entry.bucket)
        case BucketDeleted() | BucketConfigured() | BucketHomed():
            yield from _bucket(view, entry.bucket)
            yield registers_subject(entry.bucket)
        case ObjectRemoved():
            yield from _bucket(view, entry.bucket, entry.key)
            yield TOMBSTONES
        case TombstonesExpired():
            yield TOMBSTONES
            yield from (registers_subject(name) for name in entry.buckets)
        case PeerBlobsLearned():
            yield from (("blob", blob) for _, blob in entry.numbers)
        case ObjectDeleted():
            yield from _bucket(view, entry.bucket, entry.key)
            yield TOMBSTONES
        case ObjectPut() | ObjectReplicated():
            yield from _bucket(view, entry.bucket, entry.key)
            yield "manifest", entry.manifest
            yield from _placed(entry)
            yield TOMBSTONES
        case ObjectRenamed():
            yield from _bucket(view, entry.bucket, entry.key, entry.new_key)
            yield TOMBSTONES
            yield from _content(view, entry.bucket, entry.new_key)
        case ObjectAppended():
            yield from _bucket(view, entry.bucket, entry.key)
            yield "manifest", lsn
            yield from _placed(entry)
            yield from _content(view, entry.bucket, entry.key)
        case UploadCreated():
            yield "manifest", lsn
        case PartPut():
            yield "manifest", entry.upload
            yield from _placed(entry)
            yield from (("blob", piece.blob) for piece in entry.slices)
        case UploadCompleted():
            yield from _bucket(view, entry.bucket, entry.key)
            yield "manifest", entry.upload
            yield TOMBSTONES
        case UploadAborted():
            yield "manifest", entry.upload
        case PartsReleased():
            yield "manifest", entry.manifest
        case BlobDamaged():
            yield "damaged", 0
            yield "blob", entry.blob
        case BlobsForgotten():
            yield "damaged", 0
            yield from (("blob", number) for number in entry.blobs)
        case BlobsMoved():
            for move in entry.moves:
                yield "blob", move.blob
                yield "segment", move.location.segment_id
        case BlobRepaired():
            yield "damaged", 0
            yield "blob", entry.blob
            yield "segment", entry.location.segment_id
        case SegmentRetired() | SegmentRemoved():
            yield "segment", entry.segment_id


def _placed(entry: BlobEntry) -> Iterator[Subject]:
    yield "blob", entry.blob
    if entry.location is not None:
        yield "segment", entry.location.segment_id
    if entry.source is BlobSource.REPAIRED:
        yield "damaged", 0


def _bucket(view: IndexView, name: str, *keys: bytes) -> Iterator[Subject]:
    row = view.bucket(name)
    if row is not None:
        yield "bucket", row.bucket_id
        yield from (object_subject(row.bucket_id, key) for key in keys)


def _content(view: IndexView, bucket: str, key: bytes) -> Iterator[Subject]:
    """The blob of an object as it is now, or its manifest and all its parts' blobs."""
    row = view.locate(bucket, key).object
    if row is None:
        return
    yield "blob", row.blob
    yield "manifest", row.manifest
    after = 0
    while row.manifest and (parts := view.uploads.parts_after(row.manifest, after, _PARTS)):
        yield from (("blob", piece.blob) for part in parts for piece in part.slices)
        after = parts[-1].number
