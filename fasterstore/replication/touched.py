"""Which keys and buckets a journal entry may have changed: what a sender learns from its log. Pure.

The state that is shipped is read from the index afterwards, so that naming too much costs a look and nothing else. Entries that change no
state which peers know (segments, relocations, open uploads, their parts) name nothing.
"""

from collections.abc import Iterator
from typing import NamedTuple

from fasterstore.metadata.entries import (
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    Entry,
    ObjectAmended,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    UploadCompleted,
)
from fasterstore.metadata.replication_entries import BucketHomed, BucketJoined, ObjectRemoved, ObjectReplicated

_OF_A_KEY = (ObjectPut, ObjectDeleted, ObjectAmended, ObjectAppended, UploadCompleted, ObjectReplicated, ObjectRemoved)
_OF_A_BUCKET = (BucketCreated, BucketDeleted, BucketConfigured, BucketHomed, BucketJoined)


class TouchedKey(NamedTuple):
    """A key whose object or tombstone may be another now."""

    bucket: str
    key: bytes


class TouchedBucket(NamedTuple):
    """A bucket whose registers may be others now."""

    name: str


Touched = TouchedKey | TouchedBucket


def touched(entry: Entry) -> Iterator[Touched]:
    """Yield what the entry may have changed."""
    if isinstance(entry, _OF_A_KEY):
        yield TouchedKey(entry.bucket, entry.key)
    elif isinstance(entry, ObjectRenamed):
        yield TouchedKey(entry.bucket, entry.key)
        yield TouchedKey(entry.bucket, entry.new_key)
    elif isinstance(entry, _OF_A_BUCKET):
        yield TouchedBucket(entry.bucket)
