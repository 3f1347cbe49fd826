"""Reading uploads, parts and manifests through a read-only view. Every method is one statement, as in `index.py`.

Raises as every reading of a view: VolumeSuspect if the medium cannot be read, DamagedRow for whatever else is wrong with the file.
"""

from bisect import bisect_right
from collections.abc import Callable, Sequence
from hmac import compare_digest
from typing import Any, NamedTuple

from fasterstore.errors import DamagedRow
from fasterstore.metadata import schema
from fasterstore.metadata import upload_schema as uploads
from fasterstore.model import BlobRow, ManifestRow, PartEnd, PartRow, UploadRow

_UPLOADS = """
SELECT key, number, changed_ms, value FROM uploads
WHERE bucket_id = ?1 AND key >= ?2 AND (key > ?2 OR number > ?3) ORDER BY key, number LIMIT ?4
"""
_BLOB = """
SELECT x.prefix, x.segment, x.value, s.value FROM blobs x LEFT JOIN segments s ON s.segment_id = x.segment WHERE x.number = ?
"""


_LOOK = 16


class PlacedBlob(NamedTuple):
    """A blob and the uuid of the segment file that holds it."""

    blob: BlobRow
    file_uuid: bytes


class PartMap(NamedTuple):
    """The parts of a manifest in order, each with the offset at which it ends."""

    items: Sequence[PartEnd]

    @property
    def size_bytes(self) -> int:
        """The sum of all parts."""
        return self.items[-1].end if self.items else 0

    def at(self, offset: int) -> int:
        """The place in `items` of the part that holds the byte at `offset`, in bytes, which must be inside."""
        return bisect_right(self.items, offset, key=lambda item: item.end)

    def start(self, place: int) -> int:
        """The offset at which the part at that place begins."""
        return self.items[place - 1].end if place else 0


class UploadView:
    """Part of an `IndexView`, whose statements it runs (`rows(statement, *values)`)."""

    def __init__(self, rows: Callable[..., list[Any]]) -> None:
        self._rows = rows

    def upload(self, bucket_id: int, key: bytes, number: int) -> UploadRow | None:
        """Return the open upload, or None."""
        statement = "SELECT changed_ms, value FROM uploads WHERE bucket_id = ? AND key = ? AND number = ?"
        rows = self._rows(statement, bucket_id, key, number)
        return uploads.unpack_upload(bucket_id, key, number, *rows[0]) if rows else None

    def uploads_after(self, bucket_id: int, key: bytes, number: int, limit: int) -> list[UploadRow]:
        """Return at most `limit` open uploads after (`key`, `number`), by key, then in the order in which they began."""
        return [uploads.unpack_upload(bucket_id, *row) for row in self._rows(_UPLOADS, bucket_id, key, number, limit)]

    def upload_by_token(self, bucket_id: int, key: bytes, token: str) -> UploadRow | None:
        """Return the open upload of that key with that token, or None; the oldest if there are several."""
        after = 0
        while found := self.uploads_after(bucket_id, key, after, _LOOK):
            for row in found:
                if row.key != key:
                    return None
                if compare_digest(row.token, token):
                    return row
            after = found[-1].number
        return None

    def part(self, manifest: int, part: int) -> PartRow | None:
        """Return one part of an open upload or of a manifest, or None."""
        rows = self._rows("SELECT value FROM parts WHERE manifest = ? AND part = ?", manifest, part)
        return uploads.unpack_part(manifest, part, rows[0][0]) if rows else None

    def parts_after(self, manifest: int, after: int, limit: int) -> list[PartRow]:
        """Return at most `limit` parts in order whose numbers are above `after`."""
        statement = "SELECT part, value FROM parts WHERE manifest = ? AND part > ? ORDER BY part LIMIT ?"
        return [uploads.unpack_part(manifest, *row) for row in self._rows(statement, manifest, after, limit)]

    def manifest(self, number: int) -> ManifestRow | None:
        """Return a manifest, or None: it may have been released since its object was looked at."""
        rows = self._rows("SELECT value FROM manifests WHERE number = ?", number)
        return uploads.unpack_manifest(number, rows[0][0]) if rows else None

    def part_map(self, manifest: int) -> PartMap | None:
        """Return a manifest's map, or None, as above."""
        rows = self._rows("SELECT value FROM maps WHERE manifest = ?", manifest)
        return PartMap(uploads.MapItems(uploads.unseal_map(manifest, rows[0][0]))) if rows else None

    def blob(self, number: int) -> PlacedBlob | None:
        """Return a blob by number with its segment file's uuid, or None. Raises DamagedRow if its segment has no row."""
        rows = self._rows(_BLOB, number)
        if not rows:
            return None
        prefix, segment, value, segment_value = rows[0]
        if segment_value is None:
            raise DamagedRow(f"index: blob {number} lies in segment {segment}, of which there is no row")
        return PlacedBlob(schema.unpack_blob(number, prefix, segment, value), schema.unpack_segment(segment, segment_value).file_uuid)
