"""The reference: what an object store with dedup must answer, as dicts. Pure; knows no file, log or actor."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.faults.model_parts import Manifest, Part, Piece, Upload


class Expected(NamedTuple):
    """One object: its bytes, the tag of the request that made it, and what holds the bytes: a blob, a manifest, or nothing."""

    body: bytes
    tag: str
    etag: str
    blob: int = 0
    manifest: Manifest | None = None
    tags: dict = {}

    def pieces(self) -> list[Piece]:
        """Where the bytes lie, in order."""
        if self.manifest is not None:
            return [piece for part in self.manifest.listed.values() for piece in part.pieces]
        return [Piece(self.blob, 0, len(self.body))] if self.blob else []

    def blobs(self) -> set[int]:
        """The blobs that hold the bytes."""
        return {piece.blob for piece in self.pieces()}


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
    """Buckets, uploads and blobs. A blob that nothing uses stays a dedup target until `forget_unused`."""

    buckets: dict[str, dict[bytes, Expected]] = field(default_factory=dict)
    settings: dict[str, dict[str, bytes]] = field(default_factory=dict)
    uploads: dict[int, Upload] = field(default_factory=dict)
    """Those that are open, by number."""
    releasing: list[Part] = field(default_factory=list)
    """Parts that nothing uses any more and that have not gone yet."""
    last_blob: int = 0
    blobs: dict[bytes, list[int]] = field(default_factory=dict)
    """Numbers of the blobs that hold these bytes, ascending."""
    rotten: set[int] = field(default_factory=set)
    """Their records have rotted, whether or not the engine has noticed."""
    noticed: set[int] = field(default_factory=set)
    """The engine has marked them: no dedup target until repaired."""

    # ---- buckets

    def create_bucket(self, bucket: str) -> str:
        """Each action returns the error's name, or empty after it was carried out."""
        if bucket in self.buckets:
            return "BucketAlreadyOwnedByYou"
        self.buckets[bucket], self.settings[bucket] = {}, {}
        return ""

    def delete_bucket(self, bucket: str) -> str:
        if bucket not in self.buckets:
            return "NoSuchBucket"
        if self.buckets[bucket]:
            return "BucketNotEmpty"
        del self.buckets[bucket], self.settings[bucket]
        for upload in [upload for upload in self.uploads.values() if upload.bucket == bucket]:
            self._give_up(upload)
        return ""

    def configure(self, bucket: str, name: str, document: bytes | None) -> str:
        if bucket not in self.buckets:
            return "NoSuchBucket"
        self.settings[bucket].pop(name, None)
        if document is not None:
            self.settings[bucket][name] = document
        return ""

    # ---- objects

    def find(self, bucket: str, key: bytes) -> Expected | None:
        return self.buckets.get(bucket, {}).get(key)

    def refusal_of_change(self, bucket: str, key: bytes) -> str:
        """Why what needs the object must be refused; empty if it is there."""
        return "NoSuchBucket" if bucket not in self.buckets else "" if key in self.buckets[bucket] else "NoSuchKey"

    def refusal_of_put(self, bucket: str, key: bytes, conditions: Conditions, create_bucket: bool) -> str:
        """Why a PUT must be refused; empty if it must go on."""
        if bucket not in self.buckets and not create_bucket:
            return "NoSuchBucket"
        return conditions.refusal(self.find(bucket, key))

    def put(self, bucket: str, key: bytes, made: Expected) -> None:
        if bucket not in self.buckets:
            self.create_bucket(bucket)
        self._keep(bucket, key, made)

    def delete(self, bucket: str, key: bytes, conditions: Conditions) -> str:
        if bucket not in self.buckets:
            return "NoSuchBucket"
        current = self.find(bucket, key)
        refusal = conditions.refusal(current) if current is not None else ""
        if not refusal:
            self._keep(bucket, key, None)
        return refusal

    def rename(self, bucket: str, key: bytes, new_key: bytes, conditions: Conditions) -> str:
        refusal = self.refusal_of_change(bucket, key) or conditions.refusal(self.find(bucket, new_key))
        if not refusal and key != new_key:
            made = self.buckets[bucket].pop(key)
            self._keep(bucket, new_key, made)
        return refusal

    def tag(self, bucket: str, key: bytes, tags: dict) -> str:
        refusal = self.refusal_of_change(bucket, key)
        if not refusal:
            self._keep(bucket, key, self.buckets[bucket][key]._replace(tags=tags))
        return refusal

    def append(self, bucket: str, key: bytes, body: bytes, blob: int) -> Expected:
        """Bytes that the engine must add to an object that is there."""
        old = self.buckets[bucket][key]
        manifest = old.manifest
        if manifest is None:
            held = tuple(old.pieces())
            manifest = Manifest({1: Part(old.body, held)} if held else {})
        elif sum(made.manifest is manifest for objects in self.buckets.values() for made in objects.values()) > 1:
            manifest = Manifest(dict(manifest.listed))
        number = max(manifest.listed, default=0) + 1
        manifest.left_out.pop(number, None)
        manifest.listed[number] = Part(body, (Piece(blob, 0, len(body)),))
        etag = f"{_md5(f'{old.etag}{_md5(body)}'.encode())}-{len(manifest.listed)}"
        made = old._replace(body=old.body + body, etag=etag, blob=0, manifest=manifest)
        self._keep(bucket, key, made)
        return made

    def _keep(self, bucket: str, key: bytes, made: Expected | None) -> None:
        """Give the key this object or none; what the old one alone used is let go."""
        old = self.buckets[bucket].pop(key, None)
        if made is not None:
            self.buckets[bucket][key] = made
        if old is not None and old.manifest is not None and not any(old.manifest is held for held in self._manifests()):
            self.releasing += [*old.manifest.listed.values(), *old.manifest.left_out.values()]

    def _manifests(self) -> list[Manifest]:
        """Each manifest that an object uses, once."""
        used = [made.manifest for objects in self.buckets.values() for made in objects.values() if made.manifest is not None]
        return list({id(manifest): manifest for manifest in used}.values())

    # ---- uploads

    def refusal_of_upload(self, bucket: str, number: int) -> str:
        """Why what needs the open upload must be refused; empty if it is there."""
        return "NoSuchBucket" if bucket not in self.buckets else "" if number in self.uploads else "NoSuchUpload"

    def put_part(self, number: int, part: int, made: Part, now_ms: int) -> None:
        upload = self.uploads[number]
        upload.parts[part] = made
        upload.changed_ms = now_ms

    def complete(self, number: int, listed: list[int], etag: str) -> Expected:
        """An object of these parts; the others are let go."""
        upload = self.uploads.pop(number)
        chosen = {part: upload.parts[part] for part in listed}
        left_out = {part: made for part, made in upload.parts.items() if part not in chosen}
        body = b"".join(part.body for part in chosen.values())
        made = Expected(body, upload.tag, etag, 0, Manifest(chosen, left_out))
        self._keep(upload.bucket, upload.key, made)
        return made

    def abort(self, bucket: str, number: int) -> str:
        refusal = self.refusal_of_upload(bucket, number)
        if not refusal:
            self._give_up(self.uploads[number])
        return refusal

    def sweep(self, changed_before_ms: int) -> None:
        """Uploads expire, and whatever nothing uses has gone."""
        for upload in [upload for upload in self.uploads.values() if upload.changed_ms < changed_before_ms]:
            self._give_up(upload)
        self.releasing.clear()
        for manifest in self._manifests():
            manifest.left_out.clear()

    def _give_up(self, upload: Upload) -> None:
        del self.uploads[upload.number]
        self.releasing += upload.parts.values()

    # ---- blobs

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

    def forget_unused(self) -> None:
        """What a round of compaction begins with."""
        uses = self.uses()
        for body in list(self.blobs):
            kept = [number for number in self.blobs[body] if uses[number]]
            self.rotten.difference_update(set(self.blobs[body]) - set(kept))
            self.blobs[body] = kept
            if not kept:
                del self.blobs[body]
        self.noticed &= self.rotten

    def uses(self) -> Counter[int]:
        """How many objects and slices of parts use each blob."""
        found = Counter(made.blob for keys in self.buckets.values() for made in keys.values() if made.blob)
        parts = [*self.releasing]
        for manifest in self._manifests():
            parts += [*manifest.listed.values(), *manifest.left_out.values()]
        for upload in self.uploads.values():
            parts += upload.parts.values()
        found.update(piece.blob for part in parts for piece in part.pieces)
        return found

    def usage(self) -> list[tuple[str, int, int]]:
        """Bucket, objects, bytes; by name."""
        return [(name, len(keys), sum(len(made.body) for made in keys.values())) for name, keys in sorted(self.buckets.items())]


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
