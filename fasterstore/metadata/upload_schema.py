"""The rows of uploads, parts and manifests, and their bytes. Version 1; sealed as all rows are (`schema.py`).

| table     | key                    | plain columns | value                                                                          |
|-----------|------------------------|---------------|--------------------------------------------------------------------------------|
| uploads   | bucket_id, key, number | changed_ms    | msgpack: the other fields of UploadRow                                         |
| parts     | manifest, part         |               | msgpack [size, etag, modified_ms, checksums, slices as [blob, first, length]]  |
| manifests | number                 |               | msgpack: the fields of ManifestRow after the number                            |
| maps      | manifest               |               | {u32 part, u64 end offset} of each part, little-endian, in order               |
| releases  | number                 | unused_ms     | `RELEASE_VALUE`: when, what (`Unused`), the highest part number looked at     |

Parts keep their number when their upload becomes a manifest: completing one writes its map, however much it holds. A manifest's
references have a row of their own beside the map, so that a copy of an object of 10,000 parts changes a few bytes. What nothing uses
any more stands in `releases` until it has gone, a slice of parts at a time.
"""

import struct
from bisect import bisect_left
from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple, overload

import msgpack

from fasterstore.errors import DamagedRow
from fasterstore.metadata.schema import of_columns, seal, unseal
from fasterstore.model import BucketId, ManifestNumber, ManifestRow, PartEnd, PartRow, Slice, UploadRow

UPLOAD_TABLES = """
CREATE TABLE uploads(bucket_id INTEGER NOT NULL, key BLOB NOT NULL, number INTEGER NOT NULL, changed_ms INTEGER NOT NULL,
                     value BLOB NOT NULL, PRIMARY KEY(bucket_id, key, number)) WITHOUT ROWID;
CREATE INDEX uploads_by_time ON uploads(changed_ms);
CREATE TABLE parts(manifest INTEGER NOT NULL, part INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY(manifest, part)) WITHOUT ROWID;
CREATE TABLE manifests(number INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE maps(manifest INTEGER PRIMARY KEY, value BLOB NOT NULL);
CREATE TABLE releases(number INTEGER PRIMARY KEY, unused_ms INTEGER NOT NULL, value BLOB NOT NULL);
CREATE INDEX releases_by_time ON releases(unused_ms);
"""


class Unused(IntEnum):
    """What a row of `releases` is about. Values are part of the format; numbers never meet, all being LSNs of different entries."""

    PARTS = 0
    """Every part of that upload or manifest, and what else there is of it."""
    UNLISTED = 1
    """The parts that the manifest's map does not name."""
    UPLOADS = 2
    """The open uploads of the bucket with that id, which is gone."""


class Release(NamedTuple):
    """What nothing uses since `unused_ms`; parts up to the number `after` have been looked at."""

    number: int
    unused_ms: int
    what: Unused
    after: int = 0


_PAIR = struct.Struct("<2q")
_KEY = struct.Struct("<q")
_MAP_ITEM = struct.Struct("<IQ")
RELEASE_VALUE = struct.Struct("<qBq")
assert _MAP_ITEM.size == 12

_pack = msgpack.Packer(use_bin_type=True).pack
_unpack = msgpack.unpackb


def _upload_key(bucket_id: int, key: bytes, number: int) -> bytes:
    return _PAIR.pack(bucket_id, number) + key


def pack_upload(row: UploadRow) -> bytes:
    """Return the row value of an open upload."""
    return seal(b"uploads", _upload_key(row.bucket_id, row.key, row.number), _pack(row[3:]))


@of_columns
def unpack_upload(bucket_id: int, key: bytes, number: int, changed_ms: int, sealed: bytes) -> UploadRow:
    """Return the upload. Raises DamagedRow."""
    fields = _unpack(unseal(b"uploads", _upload_key(bucket_id, key, number), sealed))
    row = UploadRow(BucketId(bucket_id), key, ManifestNumber(number), *fields)
    if row.changed_ms != changed_ms:
        raise DamagedRow(f"index table uploads: the time of upload {number} differs from its value")
    return row


def pack_part(manifest: int, row: PartRow) -> bytes:
    """Return the row value of a part."""
    return seal(b"parts", _PAIR.pack(manifest, row.number), _pack(row[1:]))


@of_columns
def unpack_part(manifest: int, part: int, sealed: bytes) -> PartRow:
    """Return the part. Raises DamagedRow."""
    size_bytes, etag, modified_ms, checksums, slices = _unpack(unseal(b"parts", _PAIR.pack(manifest, part), sealed))
    return PartRow(part, size_bytes, etag, modified_ms, checksums, tuple([Slice(*piece) for piece in slices]))


def pack_manifest(row: ManifestRow) -> bytes:
    """Return the row value of a manifest."""
    return seal(b"manifests", _KEY.pack(row.number), _pack(row[1:]))


@of_columns
def unpack_manifest(number: int, sealed: bytes) -> ManifestRow:
    """Return the manifest. Raises DamagedRow."""
    return ManifestRow(ManifestNumber(number), *_unpack(unseal(b"manifests", _KEY.pack(number), sealed)))


def pack_map(parts: Sequence[tuple[int, int]]) -> bytes:
    """Return the bytes of a map from (part, size in bytes) in order."""
    end = 0
    items = []
    for part, size_bytes in parts:
        end += size_bytes
        items.append(_MAP_ITEM.pack(part, end))
    return b"".join(items)


def next_part(data: bytes) -> int:
    """Return the number of the part that may follow those of a map's bytes."""
    return int(_MAP_ITEM.unpack_from(data, len(data) - _MAP_ITEM.size)[0]) + 1 if data else 1


def extend_map(data: bytes, size_bytes: int) -> bytes:
    """Return a map's bytes with a part of that size behind the others, whose number is `next_part`."""
    return data + _MAP_ITEM.pack(next_part(data), map_summary(data)[1] + size_bytes)


def unpack_map(data: bytes) -> list[PartEnd]:
    """Return the items of a map, in order. Raises struct.error for bytes that are none."""
    return [PartEnd(*item) for item in _MAP_ITEM.iter_unpack(data)]


class MapItems(Sequence[PartEnd]):
    """The items of a map's bytes, unpacked as they are asked for: a read of a few bytes of a large object looks at a few of them."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def __len__(self) -> int:
        return len(self._data) // _MAP_ITEM.size

    @overload
    def __getitem__(self, place: int) -> PartEnd: ...

    @overload
    def __getitem__(self, place: slice) -> list[PartEnd]: ...

    def __getitem__(self, place: int | slice) -> PartEnd | list[PartEnd]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        return PartEnd(*_MAP_ITEM.unpack_from(self._data, range(len(self))[place] * _MAP_ITEM.size))


def map_summary(data: bytes) -> tuple[int, int]:
    """Return (number of parts, size in bytes) of a map's bytes."""
    count = len(data) // _MAP_ITEM.size
    return count, _MAP_ITEM.unpack_from(data, len(data) - _MAP_ITEM.size)[1] if count else 0


def in_map(data: bytes, part: int) -> bool:
    """Return whether a map's bytes name that part: they are in the order of part numbers."""
    count = len(data) // _MAP_ITEM.size
    place = bisect_left(range(count), part, key=lambda item: int(_MAP_ITEM.unpack_from(data, item * _MAP_ITEM.size)[0]))
    return place < count and _MAP_ITEM.unpack_from(data, place * _MAP_ITEM.size)[0] == part


def seal_map(manifest: int, data: bytes) -> bytes:
    """Return the row value of a map."""
    return seal(b"maps", _KEY.pack(manifest), data)


@of_columns
def unseal_map(manifest: int, sealed: bytes) -> bytes:
    """Return the bytes of a map. Raises DamagedRow."""
    return unseal(b"maps", _KEY.pack(manifest), sealed)


def pack_release(row: Release) -> bytes:
    """Return the row value of a release."""
    return seal(b"releases", _KEY.pack(row.number), RELEASE_VALUE.pack(row.unused_ms, row.what, row.after))


@of_columns
def unpack_release(number: int, unused_ms: int, sealed: bytes) -> Release:
    """Return the release. Raises DamagedRow."""
    stored_ms, what, after = RELEASE_VALUE.unpack(unseal(b"releases", _KEY.pack(number), sealed))
    if stored_ms != unused_ms:
        raise DamagedRow(f"index table releases: the time of {number} differs from its value")
    return Release(number, unused_ms, Unused(what), after)
