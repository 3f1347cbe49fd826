"""The fold of uploads, parts and manifests: entries applied to rows, nothing judged. Part of `fold.py`, which owns the rules.

A manifest that loses its last reference, and an upload that is given up, go to the list of releases: their parts leave in entries of
their own, so that no single change takes longer the more parts there are. The one exception is an append to an object that shares its
manifest: its parts are then copied in one entry.
"""

from collections.abc import Callable
from typing import Any

from fasterstore.errors import InvariantError
from fasterstore.metadata.blob_rows import bucket_row, release_slices, take_blob, use_slices
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import (
    ObjectAppended,
    PartPut,
    PartsReleased,
    UploadAborted,
    UploadCompleted,
    UploadCreated,
)
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.object_rows import release_content, replace_object
from fasterstore.metadata.stamps import go_on, replaced_stamp
from fasterstore.metadata.upload_schema import Release, Unused, extend_map, map_summary, next_part, pack_map, unpack_map
from fasterstore.model import NO_BLOB, NO_MANIFEST, BucketId, ManifestNumber, ManifestRow, ObjectRow, PartRow, Slice, UploadRow


def _upload_created(index: IndexWriter, lsn: int, entry: UploadCreated) -> None:
    row = UploadRow(
        bucket_row(index, entry.bucket).bucket_id, entry.key, ManifestNumber(lsn), entry.token, entry.created_ms, entry.created_ms, lsn,
        entry.system, entry.user, entry.tags, entry.acl, entry.algorithm, entry.checksum_type,
    )  # fmt: skip
    index.uploads.put_upload(row)


def _part_put(index: IndexWriter, lsn: int, entry: PartPut) -> None:
    upload = _upload(index, bucket_row(index, entry.bucket).bucket_id, entry.key, entry.upload)
    if entry.source is BlobSource.SLICES:
        slices = entry.slices
        use_slices(index, slices)
    else:
        take_blob(index, entry)
        slices = (Slice(entry.blob, 0, entry.size_bytes),) if entry.blob else ()
    _release_part(index, index.uploads.part(entry.upload, entry.part), entry.modified_ms)
    index.uploads.put_part(entry.upload, PartRow(entry.part, entry.size_bytes, entry.etag, entry.modified_ms, entry.checksums, slices))
    index.uploads.put_upload(upload._replace(changed_ms=entry.modified_ms, version=lsn))
    index.state = index.state._replace(last_blob=max(index.state.last_blob, entry.blob))


def close_upload(index: IndexWriter, upload: UploadRow, part_map: bytes, etag: str, drops_parts: bool, now_ms: int) -> None:
    """Make a manifest with one reference of an open upload; the parts that its map leaves out go to the list of releases."""
    index.uploads.delete_upload(upload)
    part_count, size_bytes = map_summary(part_map)
    index.uploads.put_map(upload.number, part_map)
    index.uploads.put_manifest(ManifestRow(upload.number, 1, size_bytes, part_count, etag, upload.token))
    if drops_parts:
        index.uploads.put_release(Release(upload.number, now_ms, Unused.UNLISTED))


def _upload_completed(index: IndexWriter, _lsn: int, entry: UploadCompleted) -> None:
    upload = _upload(index, bucket_row(index, entry.bucket).bucket_id, entry.key, entry.upload)
    close_upload(index, upload, entry.part_map, entry.etag, entry.drops_parts, entry.modified_ms)
    old = index.object(upload.bucket_id, entry.key)
    replaced = replaced_stamp(index, entry.bucket, entry.key, old)
    row = ObjectRow(
        NO_BLOB, entry.size_bytes, entry.etag, entry.modified_ms, entry.system, entry.user, entry.checksums, entry.stamp, entry.origin,
        entry.upload, entry.tags, entry.acl,
    )  # fmt: skip
    replace_object(index, entry.bucket, upload.bucket_id, entry.key, old, row, entry.modified_ms)
    go_on(index, entry.stamp, replaced)


def _upload_aborted(index: IndexWriter, _lsn: int, entry: UploadAborted) -> None:
    index.uploads.delete_upload(_upload(index, entry.bucket_id, entry.key, entry.upload))
    index.uploads.put_release(Release(entry.upload, entry.aborted_ms, Unused.PARTS))


def _parts_released(index: IndexWriter, _lsn: int, entry: PartsReleased) -> None:
    release = index.uploads.release(entry.manifest)
    if release is None:
        raise InvariantError(f"the log releases parts of {entry.manifest}, which is in use")
    slices = [piece for part in entry.parts for piece in _part(index, entry.manifest, part).slices]
    release_slices(index, slices, entry.released_ms)
    index.uploads.delete_parts(entry.manifest, entry.parts)
    if not entry.last:
        index.uploads.put_release(release._replace(after=entry.upto))
        return
    index.uploads.delete_release(entry.manifest)
    if entry.whole:
        index.uploads.delete_manifest(entry.manifest)


def _object_appended(index: IndexWriter, lsn: int, entry: ObjectAppended) -> None:
    bucket_id = bucket_row(index, entry.bucket).bucket_id
    old = index.object(bucket_id, entry.key)
    if old is None:
        raise InvariantError(f"the log appends to a key that is not there: {entry.key!r}")
    take_blob(index, entry)
    number, part_map = _parts_to_extend(index, ManifestNumber(lsn), old, entry.modified_ms)
    slices = (Slice(entry.blob, 0, entry.added_bytes),)
    added = PartRow(next_part(part_map), entry.added_bytes, entry.part_etag, entry.modified_ms, {}, slices)
    _release_part(index, index.uploads.part(number, added.number), entry.modified_ms)  # one that its upload's completion left out
    index.uploads.put_part(number, added)
    part_map = extend_map(part_map, added.size_bytes)
    index.uploads.put_map(number, part_map)
    index.uploads.put_manifest(ManifestRow(number, 1, entry.size_bytes, map_summary(part_map)[0], entry.etag, ""))
    index.add_usage(bucket_id, 0, entry.added_bytes)
    row = old._replace(
        blob=NO_BLOB, size_bytes=entry.size_bytes, etag=entry.etag, modified_ms=entry.modified_ms, checksums={}, stamp=entry.stamp,
        origin=entry.origin, manifest=number,
    )  # fmt: skip
    index.put_object(bucket_id, entry.key, row)
    index.state = index.state._replace(last_blob=max(index.state.last_blob, entry.blob))
    go_on(index, entry.stamp, old.stamp)


def _parts_to_extend(index: IndexWriter, new: ManifestNumber, old: ObjectRow, now_ms: int) -> tuple[ManifestNumber, bytes]:
    """The manifest that may grow in place of `old`'s bytes, and its map as it is.

    A manifest that other objects use too is copied, part by part; a blob becomes the first part of a new one and keeps its reference.
    """
    if old.manifest == NO_MANIFEST:
        if old.blob == NO_BLOB:
            return new, b""
        index.uploads.put_part(new, PartRow(1, old.size_bytes, old.etag, old.modified_ms, {}, (Slice(old.blob, 0, old.size_bytes),)))
        return new, pack_map([(1, old.size_bytes)])
    part_map = index.uploads.map(old.manifest)
    if index.uploads.manifest(old.manifest).refs == 1:
        return old.manifest, part_map
    rows = [_part(index, old.manifest, item.part) for item in unpack_map(part_map)]
    use_slices(index, [piece for row in rows for piece in row.slices])
    for row in rows:
        index.uploads.put_part(new, row)
    release_content(index, old, now_ms)
    return new, part_map


def _release_part(index: IndexWriter, row: PartRow | None, now_ms: int) -> None:
    if row is not None:
        release_slices(index, row.slices, now_ms)


def _part(index: IndexWriter, manifest: ManifestNumber, part: int) -> PartRow:
    row = index.uploads.part(manifest, part)
    if row is None:
        raise InvariantError(f"the log names part {part} of {manifest}, which is not there")
    return row


def _upload(index: IndexWriter, bucket_id: BucketId, key: bytes, number: int) -> UploadRow:
    row = index.uploads.upload(bucket_id, key, number)
    if row is None:
        raise InvariantError(f"the log names an upload that is not open: {number}")
    return row


APPLY_UPLOADS: dict[type, Callable[[IndexWriter, int, Any], None]] = {
    UploadCreated: _upload_created,
    PartPut: _part_put,
    UploadCompleted: _upload_completed,
    UploadAborted: _upload_aborted,
    PartsReleased: _parts_released,
    ObjectAppended: _object_appended,
}
