"""Object rows under the fold: what a key held is released, usage kept, tombstones come and go. Part of `fold.py`, which owns the rules."""

from fasterstore.errors import InvariantError
from fasterstore.metadata.blob_rows import release_blob
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.replication_schema import TombstoneRow
from fasterstore.metadata.upload_schema import Release, Unused
from fasterstore.model import ManifestNumber, ObjectRow


def use_manifest(index: IndexWriter, number: ManifestNumber) -> None:
    """Count a new reference to a manifest."""
    row = index.uploads.manifest(number)
    index.uploads.put_manifest(row._replace(refs=row.refs + 1))


def release_content(index: IndexWriter, row: ObjectRow, now_ms: int) -> None:
    """Drop an object's reference to its bytes."""
    if row.manifest:
        manifest = index.uploads.manifest(row.manifest)
        if manifest.refs < 1:
            raise InvariantError(f"manifest {row.manifest} has fewer than zero references")
        index.uploads.put_manifest(manifest._replace(refs=manifest.refs - 1))
        if manifest.refs == 1:
            index.uploads.put_release(Release(row.manifest, now_ms, Unused.PARTS))
    else:
        release_blob(index, row.blob, now_ms)


def replace_object(index: IndexWriter, bucket: str, bucket_id: int, key: bytes, old: ObjectRow | None, row: ObjectRow, now_ms: int) -> None:
    """Put `row` under the key, where `old` is; the references of the new bytes have been counted."""
    if old is None:
        index.add_usage(bucket_id, 1, row.size_bytes)
        index.replication.drop_tombstone(bucket, key)
    else:
        index.add_usage(bucket_id, 0, row.size_bytes - old.size_bytes)
        release_content(index, old, now_ms)
    index.put_object(bucket_id, key, row)


def remove_object(index: IndexWriter, bucket_id: int, key: bytes, old: ObjectRow, now_ms: int) -> None:
    """Take `old` away from under the key."""
    index.delete_object(bucket_id, key)
    index.add_usage(bucket_id, -1, -old.size_bytes)
    release_content(index, old, now_ms)


def bury(index: IndexWriter, bucket: str, key: bytes, stamp: int, origin: bytes, deleted_ms: int) -> None:
    """Leave a tombstone of a key that a change made here took away, if the node has peers."""
    if index.replication.state.peers:
        index.replication.add_tombstone(TombstoneRow(bucket, key, stamp, origin, deleted_ms, deleted_ms))
