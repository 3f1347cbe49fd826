"""The writing side of uploads, parts and manifests: rows by key, inside the index writer's transaction. Decides nothing.

Owned by `IndexWriter`, whose connection it uses; after a rollback nothing is left, since nothing is kept in memory.
"""

from collections.abc import Callable, Iterable
from typing import Any

from fasterstore.errors import DamagedRow
from fasterstore.metadata import upload_schema as schema
from fasterstore.model import ManifestRow, PartRow, UploadRow

_UPLOAD = "SELECT changed_ms, value FROM uploads WHERE bucket_id = ? AND key = ? AND number = ?"
_PUT_UPLOAD = "INSERT OR REPLACE INTO uploads VALUES(?, ?, ?, ?, ?)"


class UploadWriter:
    """Raises apsw.Error from every method, DamagedRow from those that read."""

    def __init__(self, execute: Callable[..., Any]) -> None:
        self._execute = execute

    # ---- uploads ----

    def upload(self, bucket_id: int, key: bytes, number: int) -> UploadRow | None:
        """Return the open upload, or None."""
        found = self._execute(_UPLOAD, (bucket_id, key, number)).fetchone()
        return None if found is None else schema.unpack_upload(bucket_id, key, number, *found)

    def put_upload(self, row: UploadRow) -> None:
        """Insert or replace an open upload."""
        self._execute(_PUT_UPLOAD, (row.bucket_id, row.key, row.number, row.changed_ms, schema.pack_upload(row)))

    def delete_upload(self, row: UploadRow) -> None:
        """Delete an open upload's row; its parts stay."""
        self._execute("DELETE FROM uploads WHERE bucket_id = ? AND key = ? AND number = ?", (row.bucket_id, row.key, row.number))

    def has_uploads(self, bucket_id: int) -> bool:
        """Return whether any upload of the bucket is open."""
        return self._execute("SELECT 1 FROM uploads WHERE bucket_id = ? LIMIT 1", (bucket_id,)).get is not None

    def uploads_of(self, bucket_id: int, limit: int) -> list[UploadRow]:
        """Return at most `limit` open uploads of a bucket, by key."""
        statement = "SELECT key, number, changed_ms, value FROM uploads WHERE bucket_id = ? LIMIT ?"
        return [schema.unpack_upload(bucket_id, *row) for row in self._execute(statement, (bucket_id, limit)).fetchall()]

    def uploads_before(self, changed_ms: int, limit: int) -> list[UploadRow]:
        """Return at most `limit` open uploads that nothing happened to since that time, the oldest first."""
        statement = "SELECT bucket_id, key, number, changed_ms, value FROM uploads WHERE changed_ms < ? ORDER BY changed_ms LIMIT ?"
        return [schema.unpack_upload(*row) for row in self._execute(statement, (changed_ms, limit)).fetchall()]

    def uploads_after(self, changed_ms: int, limit: int) -> list[UploadRow]:
        """Return at most `limit` open uploads to which something happened at a time later than that."""
        statement = "SELECT bucket_id, key, number, changed_ms, value FROM uploads WHERE changed_ms > ? LIMIT ?"
        return [schema.unpack_upload(*row) for row in self._execute(statement, (changed_ms, limit)).fetchall()]

    # ---- parts ----

    def part(self, manifest: int, part: int) -> PartRow | None:
        """Return the part, or None."""
        sealed = self._execute("SELECT value FROM parts WHERE manifest = ? AND part = ?", (manifest, part)).get
        return None if sealed is None else schema.unpack_part(manifest, part, sealed)

    def part_sizes(self, manifest: int, after: int, limit: int) -> list[tuple[int, int]]:
        """Return (number, bytes of the row) of at most `limit` parts whose numbers are above `after`, in order."""
        statement = "SELECT part, length(value) FROM parts WHERE manifest = ? AND part > ? ORDER BY part LIMIT ?"
        found: list[tuple[int, int]] = self._execute(statement, (manifest, after, limit)).fetchall()
        return found

    def part_count(self, manifest: int) -> int:
        """Return how many parts there are."""
        count: int = self._execute("SELECT count(*) FROM parts WHERE manifest = ?", (manifest,)).get
        return count

    def put_part(self, manifest: int, row: PartRow) -> None:
        """Insert or replace a part."""
        self._execute("INSERT OR REPLACE INTO parts VALUES(?, ?, ?)", (manifest, row.number, schema.pack_part(manifest, row)))

    def delete_parts(self, manifest: int, parts: Iterable[int]) -> None:
        """Delete parts."""
        for part in parts:
            self._execute("DELETE FROM parts WHERE manifest = ? AND part = ?", (manifest, part))

    # ---- manifests ----

    def manifest(self, number: int) -> ManifestRow:
        """Return the manifest. Raises DamagedRow if there is no row: an object names it."""
        sealed = self._execute("SELECT value FROM manifests WHERE number = ?", (number,)).get
        if sealed is None:
            raise DamagedRow(f"index table manifests: no row of manifest {number}")
        return schema.unpack_manifest(number, sealed)

    def put_manifest(self, row: ManifestRow) -> None:
        """Insert or replace a manifest's row."""
        self._execute("INSERT OR REPLACE INTO manifests VALUES(?, ?)", (row.number, schema.pack_manifest(row)))

    def map(self, manifest: int) -> bytes:
        """Return the bytes of a manifest's map. Raises DamagedRow also if there is no row: without it every part would seem unlisted."""
        sealed = self._execute("SELECT value FROM maps WHERE manifest = ?", (manifest,)).get
        if sealed is None:
            raise DamagedRow(f"index table maps: no row of manifest {manifest}")
        return schema.unseal_map(manifest, sealed)

    def put_map(self, manifest: int, data: bytes) -> None:
        """Insert or replace a manifest's map."""
        self._execute("INSERT OR REPLACE INTO maps VALUES(?, ?)", (manifest, schema.seal_map(manifest, data)))

    def delete_manifest(self, number: int) -> None:
        """Delete a manifest's row and map, if it has any; its parts are deleted apart."""
        self._execute("DELETE FROM manifests WHERE number = ?", (number,))
        self._execute("DELETE FROM maps WHERE manifest = ?", (number,))

    # ---- what is to go ----

    def put_release(self, row: schema.Release) -> None:
        """Insert or replace what is to go."""
        self._execute("INSERT OR REPLACE INTO releases VALUES(?, ?, ?)", (row.number, row.unused_ms, schema.pack_release(row)))

    def release(self, number: int) -> schema.Release | None:
        """Return what is to go of that number, or None."""
        found = self._execute("SELECT unused_ms, value FROM releases WHERE number = ?", (number,)).fetchone()
        return None if found is None else schema.unpack_release(number, *found)

    def release_before(self, unused_ms: int) -> schema.Release | None:
        """Return what nothing uses for longest, if that is since `unused_ms` or longer, or None."""
        statement = "SELECT number, unused_ms, value FROM releases WHERE unused_ms <= ? ORDER BY unused_ms LIMIT 1"
        found = self._execute(statement, (unused_ms,)).fetchone()
        return None if found is None else schema.unpack_release(*found)

    def release_after(self, unused_ms: int) -> schema.Release | None:
        """Return something that nothing uses since a time later than `unused_ms`, or None."""
        found = self._execute("SELECT number, unused_ms, value FROM releases WHERE unused_ms > ? LIMIT 1", (unused_ms,)).fetchone()
        return None if found is None else schema.unpack_release(*found)

    def delete_release(self, number: int) -> None:
        """What was to go has gone."""
        self._execute("DELETE FROM releases WHERE number = ?", (number,))
