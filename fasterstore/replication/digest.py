"""Range digests: whether two nodes hold the same of a range of keys or buckets, told in a few bytes. Pure.

The digest of an item is BLAKE3 of its leaf, and that of a range the sum of its items' digests modulo 2^256 (AdHash: Bellare and
Micciancio, "A New Paradigm for Collision-Free Hashing", 1997): one pass tells the whole range and where it can be parted. Leaves:

- of an object: msgpack [bucket, key, stamp, origin, etag, size in bytes]. Tombstones have none: they expire when each node's log says so.
- of a bucket: msgpack [name, creates, deleted, settings, home], the registers as `merge.Registers` has them. Those without a create have
  none: they are a bucket's tombstone.

Between nodes, `POST /_internal/replicate/digest`, version 1:

- question: msgpack [1, ranges], each [scope, first bucket, first key, end bucket or nil, end key or nil]: from the first place on, to
  before the end, nil meaning to the end of all. Places are in the order of (bucket, key); a bucket's own place has the empty key.
- answer: msgpack [1, digests], one per range in order, each [items, digest (32 bytes), splits, upto], splits and upto as
  [bucket, key], upto nil if the range was digested whole. If not, the digest is that of what lies before `upto`.

A node digests at most ITEMS_MAX items for one question, so that it is answered in well under a second however much lies in a range.
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack
from blake3 import blake3

from fasterstore.errors import StoreError
from fasterstore.replication.merge import Registers

VERSION = 1
LEAF_ITEMS = 64
"""A range with no more items on either side is compared item by item."""
ITEMS_MAX = 65_536
"""Items digested for one question; at 4 to 5 microseconds each."""
RANGES_MAX = 64
"""Ranges in one question."""
DIGEST_BYTES = 32

_BLOCK_ITEMS = LEAF_ITEMS // 2
_BLOCKS_MAX = 32
_MODULUS = 1 << 8 * DIGEST_BYTES
_PLACE_FIELDS = 2
_KEY_MAX_BYTES = 4096


class MalformedDigest(StoreError):
    """A question or an answer about digests is not what this version writes."""


class Scope(IntEnum):
    """What a range is over. Values are part of the format."""

    OBJECTS = 0
    BUCKETS = 1


_SCOPES = frozenset(int(scope) for scope in Scope)


class Place(NamedTuple):
    """A place in the order of a scan: a key of a bucket (by name), or with the empty key the bucket itself."""

    bucket: str
    key: bytes


FIRST_PLACE = Place("", b"")


class KeyRange(NamedTuple):
    """The places from `first` on, before `end`; None: to the end of all."""

    scope: Scope
    first: Place
    end: Place | None


class Leaf(NamedTuple):
    """One item of a range: where it stands, and the bytes that tell all about it."""

    place: Place
    data: bytes


class RangeDigest(NamedTuple):
    """What one node says of a range.

    `splits` are places within that part it into pieces of about equal numbers of items: none if it has at most LEAF_ITEMS. `upto`: only
    what lies before that place was digested (and split); None: all of it.
    """

    items: int
    digest: bytes
    splits: tuple[Place, ...]
    upto: Place | None = None


Read = Callable[[KeyRange], Iterable[Leaf]]
"""read(range): the leaves of what this node holds of a range, in order of place."""

_pack = msgpack.Packer(use_bin_type=True).pack


def after(place: Place) -> Place:
    """The first place behind `place`."""
    return Place(place.bucket, place.key + b"\0")


def object_leaf(bucket: str, key: bytes, stamp: int, origin: bytes, etag: str, size_bytes: int) -> Leaf:
    """The leaf of a key's current version; `origin` is the 16-byte node id that goes with the stamp."""
    return Leaf(Place(bucket, key), _pack((bucket, key, stamp, origin, etag, size_bytes)))


def bucket_leaf(name: str, registers: Registers) -> Leaf:
    """The leaf of the registers of a bucket that has a create."""
    return Leaf(Place(name, b""), _pack((name, *registers)))


def digest_ranges(ranges: Sequence[KeyRange], read: Read, items_max: int = ITEMS_MAX) -> list[RangeDigest]:
    """Digest the ranges in order until `items_max` (at least 1) items have been read; later ranges come back with nothing looked at.

    Raises what `read` raises.
    """
    found = []
    left = items_max
    for asked in ranges:
        if left <= 0:
            found.append(RangeDigest(0, bytes(DIGEST_BYTES), (), asked.first))
            continue
        told = _digest_range(read(asked), left)
        left -= told.items
        found.append(told)
    return found


def _digest_range(leaves: Iterable[Leaf], items_max: int) -> RangeDigest:
    """One pass: blocks of equal numbers of items, neighbours joined whenever there are too many blocks."""
    total = items = in_block = 0
    block_items = _BLOCK_ITEMS
    firsts: list[Place] = []
    for place, data in leaves:
        if items == items_max:
            return RangeDigest(items, _digest_bytes(total), _splits(firsts, items), place)
        if in_block == 0:
            if len(firsts) == _BLOCKS_MAX:
                firsts = firsts[::2]
                block_items *= 2
            firsts.append(place)
        in_block = (in_block + 1) % block_items
        items += 1
        total += int.from_bytes(blake3(data).digest(), "big")
    return RangeDigest(items, _digest_bytes(total), _splits(firsts, items))


def _digest_bytes(total: int) -> bytes:
    return (total % _MODULUS).to_bytes(DIGEST_BYTES, "big")


def _splits(firsts: list[Place], items: int) -> tuple[Place, ...]:
    return tuple(firsts[1:]) if items > LEAF_ITEMS else ()


def parts_of(asked: KeyRange, told: RangeDigest) -> list[KeyRange]:
    """The range parted at the splits of its digest; what was not digested is the last part."""
    splits = told.splits if told.upto is None else (*told.splits, told.upto)
    edges = [asked.first, *(place for place in splits if place > asked.first), asked.end]
    return [KeyRange(asked.scope, first, end) for first, end in zip(edges, edges[1:], strict=False) if first is not None]


# ---- between nodes ----


def pack_question(ranges: Sequence[KeyRange]) -> bytes:
    """Return the body of a question."""
    return _pack((VERSION, [(int(scope), *first, *(end or (None, None))) for scope, first, end in ranges]))


def unpack_question(data: bytes) -> list[KeyRange]:
    """Return the ranges asked about. Raises MalformedDigest."""
    ranges = []
    for item in _items(data):
        scope, bucket, key, end_bucket, end_key = _fields(item, 5)
        if type(scope) is not int or scope not in _SCOPES:
            raise MalformedDigest(f"a range over {scope!r}")
        end = None if end_bucket is None and end_key is None else _place((end_bucket, end_key))
        first = _place((bucket, key))
        if end is not None and end <= first:
            raise MalformedDigest("a range ends before it begins")
        ranges.append(KeyRange(Scope(scope), first, end))
    return ranges


def pack_answer(digests: Sequence[RangeDigest]) -> bytes:
    """Return the body of an answer."""
    return _pack((VERSION, digests))


def unpack_answer(data: bytes, ranges: Sequence[KeyRange]) -> list[RangeDigest]:
    """Return the digests of `ranges`, which were asked about. Raises MalformedDigest, also for places that lie outside of them."""
    items = _items(data)
    if len(items) != len(ranges):
        raise MalformedDigest(f"{len(items)} digests of {len(ranges)} ranges")
    return [_told(asked, item) for asked, item in zip(ranges, items, strict=True)]


def _told(asked: KeyRange, item: Any) -> RangeDigest:
    count, digest, splits, upto = _fields(item, 4)
    if type(count) is not int or count < 0 or not isinstance(digest, bytes) or len(digest) != DIGEST_BYTES or not isinstance(splits, list):
        raise MalformedDigest("a digest with fields of other types")
    told = RangeDigest(count, digest, tuple(_place(place) for place in splits), None if upto is None else _place(upto))
    edges = [asked.first, *told.splits, *([] if told.upto is None else [told.upto])]
    if len(told.splits) >= _BLOCKS_MAX or any(later < earlier for earlier, later in zip(edges, edges[1:], strict=False)):
        raise MalformedDigest("a digest whose splits are out of order")
    if asked.end is not None and edges[-1] >= asked.end:
        raise MalformedDigest("a digest of more than was asked about")
    if (told.items > LEAF_ITEMS) != bool(told.splits):
        raise MalformedDigest(f"a digest of {told.items} items with {len(told.splits)} splits")
    return told


def _items(data: bytes) -> list:
    try:
        unpacked = msgpack.unpackb(data)
    except Exception as error:
        # msgpack documents no closed set of errors for bad input; all of them mean the same here.
        raise MalformedDigest(f"{type(error).__name__}: {error}") from None
    version, items = _fields(unpacked, 2)
    if version != VERSION:
        raise MalformedDigest(f"version {version!r}; this build knows version {VERSION}")
    if not isinstance(items, list) or len(items) > RANGES_MAX:
        raise MalformedDigest("not a list of ranges")
    return items


def _fields(item: Any, count: int) -> list:
    if not isinstance(item, list) or len(item) != count:
        raise MalformedDigest(f"not a list of {count} fields")
    return item


def _place(item: Any) -> Place:
    bucket, key = item if isinstance(item, tuple) else _fields(item, _PLACE_FIELDS)
    if not isinstance(bucket, str) or not isinstance(key, bytes) or len(key) > _KEY_MAX_BYTES:
        raise MalformedDigest("not a place")
    return Place(bucket, key)
