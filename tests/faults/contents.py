"""What a store holds after each entry of its log, told from what was asked for: bytes come from the requests, never from the store."""

from typing import Any, NamedTuple

from fasterstore.metadata.entries import (
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    ObjectAmended,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    PartPut,
    UploadAborted,
    UploadCompleted,
    UploadCreated,
)
from tests.faults.request import Request
from tests.faults.violation import Violation


class Version(NamedTuple):
    """An object: the tag of the request that made it, its bytes, its ETag, its tags."""

    tag: str
    body: bytes
    etag: str
    tags: dict


class Bucket(NamedTuple):
    """A bucket's objects by key, and its settings by name."""

    objects: dict[bytes, Version]
    settings: dict[str, bytes]


class OpenUpload(NamedTuple):
    """An upload and the bytes of its parts; `orphan`: its bucket is gone, and nobody can ask for it any more."""

    bucket: str
    key: bytes
    tag: str
    parts: dict[int, bytes]
    orphan: bool = False


class State(NamedTuple):
    """All of it."""

    buckets: dict[str, Bucket]
    uploads: dict[int, OpenUpload]

    def objects(self) -> list[tuple[str, bytes, Version]]:
        """Every object there is."""
        return [(name, key, made) for name, bucket in self.buckets.items() for key, made in bucket.objects.items()]


EMPTY = State({}, {})


def after(state: State, lsn: int, entry: Any, request: Request | None) -> State:
    """The state after an entry; `request` is the one that it comes from. Raises Violation for an entry that nothing explains."""
    buckets, uploads = state
    match entry:
        case BucketCreated():
            return State(buckets | {entry.bucket: Bucket({}, {})}, uploads)
        case BucketDeleted():
            left = {
                number: upload._replace(orphan=True) if upload.bucket == entry.bucket else upload for number, upload in uploads.items()
            }  # fmt: skip
            return State({name: held for name, held in buckets.items() if name != entry.bucket}, left)
        case BucketConfigured():
            held = buckets[entry.bucket]
            return State(buckets | {entry.bucket: Bucket(held.objects, held.settings | {entry.name: entry.document})}, uploads)
        case ObjectPut():
            assert request is not None
            return _with(state, entry.bucket, entry.key, Version(request.tag, request.body, entry.etag, entry.tags))
        case ObjectAppended():
            assert request is not None
            old = buckets[entry.bucket].objects[entry.key]
            return _with(state, entry.bucket, entry.key, old._replace(body=old.body + request.body, etag=entry.etag))
        case ObjectAmended():
            return _with(state, entry.bucket, entry.key, buckets[entry.bucket].objects[entry.key]._replace(tags=entry.tags))
        case ObjectDeleted():
            return _with(state, entry.bucket, entry.key, None)
        case ObjectRenamed():
            made = buckets[entry.bucket].objects[entry.key]
            return _with(_with(state, entry.bucket, entry.key, None), entry.bucket, entry.new_key, made)
        case UploadCreated():
            return State(buckets, uploads | {lsn: OpenUpload(entry.bucket, entry.key, entry.user["tag"], {})})
        case PartPut():
            assert request is not None
            upload = uploads[entry.upload]
            return State(buckets, uploads | {entry.upload: upload._replace(parts=upload.parts | {entry.part: request.body})})
        case UploadCompleted():
            assert request is not None
            upload = uploads[entry.upload]
            body = b"".join(upload.parts[part] for part in request.listed)
            return _with(_without(state, entry.upload), entry.bucket, entry.key, Version(upload.tag, body, entry.etag, entry.tags))
        case UploadAborted():
            if request is None and not uploads[entry.upload].orphan:
                raise Violation(f"nobody gave upload {entry.upload} up: {entry}")
            return _without(state, entry.upload)
    return state


def _with(state: State, bucket: str, key: bytes, made: Version | None) -> State:
    held = state.buckets[bucket]
    objects = {name: version for name, version in held.objects.items() if name != key}
    if made is not None:
        objects[key] = made
    return State(state.buckets | {bucket: Bucket(objects, held.settings)}, state.uploads)


def _without(state: State, upload: int) -> State:
    return State(state.buckets, {number: held for number, held in state.uploads.items() if number != upload})
