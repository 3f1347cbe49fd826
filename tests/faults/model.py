"""The reference: what an object store with dedup must answer, as dicts. Pure; knows no file, log or actor."""

from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple


class Expected(NamedTuple):
    """One object: its bytes, the tag of the PUT that made it, and the blob that holds the bytes (0 if empty)."""

    body: bytes
    tag: str
    etag: str
    blob: int = 0


class Conditions(NamedTuple):
    """The headers of a conditional write, as sent."""

    if_match: str | None = None
    if_none_match: str | None = None

    def refusal(self, current: Expected | None) -> str:
        """The error's name, empty if the write goes on (S3 user guide, "conditional writes")."""
        if self.if_match is not None:
            if current is None:
                return "NoSuchKey"
            if self.if_match.strip('"') not in (current.etag, "*"):
                return "PreconditionFailed"
        if self.if_none_match is not None and current is not None and self.if_none_match.strip('"') in (current.etag, "*"):
            return "PreconditionFailed"
        return ""


@dataclass
class Model:
    """Buckets and blobs. Nothing forgets a blob yet, so a number once given stays a dedup target."""

    buckets: dict[str, dict[bytes, Expected]] = field(default_factory=dict)
    last_blob: int = 0
    blobs: dict[bytes, list[int]] = field(default_factory=dict)
    """Numbers of the blobs that hold these bytes, ascending."""
    rotten: set[int] = field(default_factory=set)
    """Their records have rotted, whether or not the engine has noticed."""
    noticed: set[int] = field(default_factory=set)
    """The engine has marked them: no dedup target until repaired."""

    def create_bucket(self, bucket: str) -> str:
        """Each action returns the error's name, or empty after it was carried out."""
        if bucket in self.buckets:
            return "BucketAlreadyOwnedByYou"
        self.buckets[bucket] = {}
        return ""

    def delete_bucket(self, bucket: str) -> str:
        if bucket not in self.buckets:
            return "NoSuchBucket"
        if self.buckets[bucket]:
            return "BucketNotEmpty"
        del self.buckets[bucket]
        return ""

    def delete(self, bucket: str, key: bytes, conditions: Conditions) -> str:
        if bucket not in self.buckets:
            return "NoSuchBucket"
        refusal = conditions.refusal(self.buckets[bucket].get(key))
        if not refusal:
            self.buckets[bucket].pop(key, None)
        return refusal

    def refusal_of_put(self, bucket: str, key: bytes, conditions: Conditions, create_bucket: bool) -> str:
        """Why a PUT must be refused; empty if it must go on."""
        if bucket not in self.buckets and not create_bucket:
            return "NoSuchBucket"
        return conditions.refusal(self.buckets.get(bucket, {}).get(key))

    def put(self, bucket: str, key: bytes, made: Expected) -> None:
        self.buckets.setdefault(bucket, {})[key] = made

    def claimable(self, body: bytes) -> int:
        """The blob that a PUT of these bytes is compared with, 0 if there is none."""
        return next((number for number in self.blobs.get(body, []) if number not in self.noticed), 0)

    def blob_of_claim(self, body: bytes) -> tuple[int, bool]:
        """The blob that a small PUT must end up with, and whether it is deduplicated."""
        if not body:
            return 0, False
        found = self.claimable(body)
        if found and found not in self.rotten:
            return found, True
        if found:
            self.noticed.add(found)
        return self.blob_of_append(body), False

    def blob_of_append(self, body: bytes) -> int:
        """The blob that newly written bytes must become: the repair of a marked one, or a new number."""
        damaged = [number for number in self.blobs.get(body, []) if number in self.noticed]
        if damaged:
            self.noticed.discard(damaged[0])
            self.rotten.discard(damaged[0])
            return damaged[0]
        self.last_blob += 1
        self.blobs.setdefault(body, []).append(self.last_blob)
        return self.last_blob

    def uses(self) -> Counter[int]:
        """How many objects use each blob."""
        return Counter(made.blob for keys in self.buckets.values() for made in keys.values() if made.blob)

    def usage(self) -> list[tuple[str, int, int]]:
        """Bucket, objects, bytes; by name."""
        return [(name, len(keys), sum(len(made.body) for made in keys.values())) for name, keys in sorted(self.buckets.items())]
