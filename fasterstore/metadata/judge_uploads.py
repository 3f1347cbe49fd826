"""Judging multipart uploads and what is released of them. Part of `judge.py`, which owns the rules.

Web looks at the parts and decides what an upload becomes; here it is only asked whether the upload is still what web looked at.
"""

from fasterstore.clock import WRONG_CLOCK_MS
from fasterstore.errors import DamagedRecord, NoSuchBucket, NoSuchUpload, StaleEpoch, TooManyParts, UploadChanged
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import Entry, PartPut, PartsReleased, UploadAborted, UploadCompleted, UploadCreated
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import Claim, ClaimGone, Identity, choose_blob, require, require_home, source_of_copy
from fasterstore.metadata.stamps import key_stamp
from fasterstore.metadata.upload_schema import Unused, in_map, map_summary
from fasterstore.model import (
    NO_BLOB,
    SLICES_MAX,
    BucketId,
    CompleteIntent,
    ManifestNumber,
    PartCopyIntent,
    PutIntent,
    UploadIntent,
    UploadRow,
)

RELEASE_PARTS = 64
RELEASE_ROW_BYTES = 8 * 1024
"""Parts that go in one entry, and how long their rows may be together (but one part always goes): a few milliseconds of the journal."""
RELEASE_LOOK_AT = 1024
"""Parts looked at for one entry: those that stay are skipped."""
EXPIRE_UPLOADS = 16


def judge_create_upload(index: IndexWriter, intent: UploadIntent, now_ms: int) -> list[Entry]:
    """Return the entry of a CreateMultipartUpload; its LSN is the upload's number. Raises NoSuchBucket."""
    if index.bucket(intent.bucket) is None:
        raise NoSuchBucket(intent.bucket)
    return [upload_created(intent, now_ms)]


def upload_created(intent: UploadIntent, now_ms: int) -> UploadCreated:
    """The entry of an upload that begins."""
    bucket, key, token, system, user, tags, acl, algorithm, checksum_type = intent
    return UploadCreated(bucket, key, now_ms, token, system, user, tags, acl, algorithm, checksum_type)


def judge_part(index: IndexWriter, intent: PutIntent, claim: Claim, now_ms: int) -> list[Entry] | ClaimGone:
    """Return the entry of an UploadPart. Raises StaleEpoch, NoSuchBucket, NoSuchUpload, DamagedRow."""
    if claim.epoch != index.state.epoch:
        raise StaleEpoch("the extent was granted by an earlier storage process")
    open_upload(index, intent.bucket, intent.key, intent.upload)
    chosen = choose_blob(index, intent, claim)
    if isinstance(chosen, ClaimGone):
        return chosen
    source, blob, location = chosen
    return [
        PartPut(
            intent.bucket, intent.key, intent.upload, intent.part, intent.size_bytes, intent.etag, intent.checksums, now_ms, blob, source,
            claim.blob_id, location, (),
        )
    ]  # fmt: skip


def judge_part_copy(index: IndexWriter, copy: PartCopyIntent, now_ms: int) -> list[Entry]:
    """Return the entry of an UploadPartCopy.

    Raises NoSuchBucket, NoSuchUpload, NoSuchKey, SourceChanged, TooManyParts (more than SLICES_MAX slices), DamagedRecord, DamagedRow.
    """
    intent = copy.target
    open_upload(index, intent.bucket, intent.key, intent.upload)
    source_of_copy(index, copy.source_bucket, copy.source_key, copy.source_stamp)
    if len(copy.slices) > SLICES_MAX:
        raise TooManyParts(f"a part of {len(copy.slices)} slices")
    if index.damaged_blobs:
        for number in {piece.blob for piece in copy.slices}:
            blob = index.blob(number)
            if blob is not None and blob.damaged:
                raise DamagedRecord(f"blob {number} cannot be copied: it failed verification")
    return [
        PartPut(
            intent.bucket, intent.key, intent.upload, intent.part, intent.size_bytes, intent.etag, intent.checksums, now_ms, NO_BLOB,
            BlobSource.SLICES, bytes(32), None, copy.slices,
        )
    ]  # fmt: skip


def judge_complete(index: IndexWriter, who: Identity, intent: CompleteIntent, now_ms: int) -> list[Entry]:
    """Return the entry of a CompleteMultipartUpload.

    Raises NoSuchBucket, NoSuchUpload, UploadChanged, NotHome, PreconditionFailed, NoSuchKey (If-Match on a missing key), DamagedRow.
    """
    upload = open_upload(index, intent.bucket, intent.key, intent.upload)
    if upload.version != intent.version:
        raise UploadChanged
    if intent.if_match is not None or intent.if_none_match is not None:
        require_home(index, who, intent.bucket)
        current = index.object(upload.bucket_id, intent.key)
        require(intent.if_match, intent.if_none_match, None if current is None else current.etag)
    listed, size_bytes = map_summary(intent.part_map)
    return [
        UploadCompleted(
            intent.bucket, intent.key, size_bytes, intent.etag, now_ms, upload.system, upload.user, intent.checksums, upload.tags,
            upload.acl, key_stamp(index, intent.bucket, (intent.key,), now_ms), who.node_id, who.log_uuid, intent.upload, intent.upload,
            intent.part_map, index.uploads.part_count(intent.upload) > listed,
        )
    ]  # fmt: skip


def judge_abort(index: IndexWriter, bucket: str, key: bytes, upload: ManifestNumber, now_ms: int) -> list[Entry]:
    """Return the entry of an AbortMultipartUpload. Raises NoSuchBucket, NoSuchUpload."""
    return [_given_up(open_upload(index, bucket, key, upload), now_ms)]


def judge_expiry(index: IndexWriter, before_ms: int, now_ms: int) -> list[Entry]:
    """Return the entries that give up uploads to which nothing happened since `before_ms`, EXPIRE_UPLOADS at most. Raises DamagedRow."""
    return [_given_up(upload, now_ms) for upload in index.uploads.uploads_before(before_ms, EXPIRE_UPLOADS)]


def judge_release(index: IndexWriter, before_ms: int, now_ms: int) -> list[Entry]:
    """Return the entries that let a little go of what nothing uses since `before_ms` or longer, or none. Raises DamagedRow.

    A time still `WRONG_CLOCK_MS` away counts as long ago (as in `judge_space.judge_forget`).
    """
    due = index.uploads.release_before(before_ms) or index.uploads.release_after(now_ms + WRONG_CLOCK_MS)
    if due is None:
        return []
    number, what = ManifestNumber(due.number), due.what
    if what is Unused.UPLOADS:
        uploads = index.uploads.uploads_of(BucketId(number), EXPIRE_UPLOADS)
        entries: list[Entry] = [_given_up(upload, now_ms) for upload in uploads]
        if len(uploads) < EXPIRE_UPLOADS:
            entries.append(PartsReleased(number, (), due.after, True, False, now_ms))
        return entries
    look_at = RELEASE_LOOK_AT if what is Unused.UNLISTED else RELEASE_PARTS + 1
    part_map = index.uploads.map(number) if what is Unused.UNLISTED else b""
    found = index.uploads.part_sizes(number, due.after, look_at)
    going: list[int] = []
    upto, row_bytes, last = due.after, 0, len(found) < look_at
    for part, size_bytes in found:
        if what is Unused.PARTS or not in_map(part_map, part):
            row_bytes += size_bytes
            if going and (len(going) == RELEASE_PARTS or row_bytes > RELEASE_ROW_BYTES):
                last = False
                break
            going.append(part)
        upto = part
    return [PartsReleased(number, tuple(going), upto, last, what is Unused.PARTS, now_ms)]


def _given_up(upload: UploadRow, now_ms: int) -> UploadAborted:
    return UploadAborted(upload.bucket_id, upload.key, upload.number, now_ms)


def open_upload(index: IndexWriter, bucket: str, key: bytes, number: int) -> UploadRow:
    """The open upload. Raises NoSuchBucket, NoSuchUpload."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    upload = index.uploads.upload(row.bucket_id, key, number)
    if upload is None:
        raise NoSuchUpload(str(number))
    return upload
