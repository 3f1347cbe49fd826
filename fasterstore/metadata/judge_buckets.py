"""Judging what is asked of buckets: create, delete, settings. Part of `judge.py`, which owns the rules."""

from fasterstore.clock import advance
from fasterstore.errors import BucketAlreadyOwnedByYou, BucketNotEmpty, NoSuchBucket
from fasterstore.metadata.entries import BucketConfigured, BucketCreated, BucketDeleted, Entry
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.judge import Identity
from fasterstore.metadata.stamps import bucket_stamp

SETTINGS = frozenset(("acl", "cors", "ownership", "policy", "public-access-block", "tagging"))
"""Names of bucket settings; part of the format."""


def judge_create_bucket(index: IndexWriter, who: Identity, bucket: str, now_ms: int, settings: dict) -> list[Entry]:
    """Return the entries of a CreateBucket with its first settings (documents by name). Raises BucketAlreadyOwnedByYou."""
    if index.bucket(bucket) is not None:
        raise BucketAlreadyOwnedByYou(bucket)
    stamp = bucket_stamp(index, bucket, now_ms)
    entries: list[Entry] = [BucketCreated(bucket, now_ms, stamp, who.node_id)]
    for name, document in settings.items():
        stamp = advance(stamp, now_ms)
        entries.append(BucketConfigured(bucket, name, document, now_ms, stamp, who.node_id))
    return entries


def judge_delete_bucket(index: IndexWriter, who: Identity, bucket: str, now_ms: int) -> list[Entry]:
    """Return the entry of a DeleteBucket; uploads that are still open go with it. Raises NoSuchBucket, BucketNotEmpty."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    if index.has_objects(row.bucket_id):
        raise BucketNotEmpty(bucket)
    return [BucketDeleted(bucket, now_ms, bucket_stamp(index, bucket, now_ms), who.node_id)]


def judge_configure(index: IndexWriter, who: Identity, bucket: str, name: str, document: bytes | None, now_ms: int) -> list[Entry]:
    """Return the entry that sets or removes (None) the setting `name`, none if it is so already. Raises NoSuchBucket."""
    row = index.bucket(bucket)
    if row is None:
        raise NoSuchBucket(bucket)
    if row.settings.get(name) == document:
        return []
    return [BucketConfigured(bucket, name, document, now_ms, bucket_stamp(index, bucket, now_ms), who.node_id)]
