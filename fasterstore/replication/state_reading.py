"""What this node has, as it is told to a peer: rows of the index made into changes, short records read, verified and decrypted.

Reads through a view and segment files of its own; blocking, for one native thread. A record that cannot be read is no reason to leave
its object out: the peer is told of it and asks for the bytes, and what it does not get is owed to it, where operators see it.
"""

from collections.abc import Mapping, Sequence

from fasterstore.errors import DamagedRow
from fasterstore.keyring import Keyring
from fasterstore.metadata.blob_source import BlobSource
from fasterstore.metadata.entries import ObjectPut
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_view import KeyState
from fasterstore.metadata.upload_view import PlacedBlob
from fasterstore.model import BlobLocation, BlobRow, ObjectRow, PartRow, SegmentId
from fasterstore.replication.change import (
    EMPTY,
    INLINE_MAX_BYTES,
    BlobContent,
    BucketState,
    Change,
    Content,
    ManifestContent,
    ObjectState,
    PartContent,
    Piece,
    Tombstone,
)
from fasterstore.replication.cursor import Address
from fasterstore.replication.record_runs import RecordRuns
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments

PARTS_A_LOOK = 1000
FILE_UUIDS_MAX = 10_000


class StateReader:
    """See the module. Raises as readings of a view do, and OSError. Without `with_bytes` no record is read, and nothing blocks for long."""

    def __init__(self, view: IndexView, disk: Disk, segments: OpenSegments, keyring: Keyring, with_bytes: bool = True) -> None:
        self._view = view
        self._segments = segments
        self._with_bytes = with_bytes
        self._file_uuids: dict[SegmentId, bytes] = {}
        self._runs = RecordRuns(disk, segments, keyring, self._file_uuid)

    def change_at(self, address: Address) -> Change | None:
        """What stands there now; None if nothing is known of it."""
        if address.key is None:
            row = self._view.replication.registers(address.bucket)
            return None if row is None else BucketState(row.name, row.registers)
        return self.change_of(self._view.replication.key_state(address.bucket, address.key))

    def change_of(self, state: KeyState) -> Change | None:
        """The change that tells of that state; None if there is neither object nor tombstone."""
        if state.object is not None:
            return self._object(state.bucket, state.key, state.object)
        if state.tombstone is not None:
            row = state.tombstone
            return Tombstone(row.bucket, row.key, row.stamp, row.origin, row.deleted_ms)
        return None

    def change_of_put(self, entry: ObjectPut, bodies: Mapping[BlobLocation, bytes]) -> ObjectState | None:
        """The object as a short PUT has left it, with its bytes out of `bodies`; None if it takes a look at the index to tell."""
        if entry.source is BlobSource.EMPTY:
            content: Content = EMPTY
        elif entry.location is not None and entry.location in bodies:
            piece = Piece(entry.blob_id, entry.blob, 0, entry.size_bytes, entry.location.plaintext_bytes)
            content = BlobContent(piece, bodies[entry.location])
        else:
            return None
        return ObjectState(
            entry.bucket, entry.key, entry.stamp, entry.origin, entry.size_bytes, entry.etag, entry.modified_ms, entry.system, entry.user,
            entry.checksums, entry.tags, entry.acl, content,
        )  # fmt: skip

    def bodies(self, places: Sequence[BlobLocation]) -> dict[BlobLocation, bytes]:
        """The bytes of short records that lie there; without those that have moved or cannot be read."""
        return self._runs.read([place for place in places if place.plaintext_bytes <= INLINE_MAX_BYTES])

    def _file_uuid(self, segment_id: SegmentId) -> bytes | None:
        # Ids are never used again, so what was looked up once stays true.
        if segment_id not in self._file_uuids:
            row = self._view.segment(segment_id)
            if row is None:
                return None
            if len(self._file_uuids) >= FILE_UUIDS_MAX:
                self._file_uuids.clear()
            self._file_uuids[segment_id] = row.file_uuid
        return self._file_uuids[segment_id]

    def forget_unlinked(self) -> None:
        """Hold no segment file open that has no name any more."""
        self._segments.forget_unlinked()

    def forget_all(self) -> None:
        """Hold no segment file open."""
        self._segments.forget_all()

    def _object(self, bucket: str, key: bytes, row: ObjectRow) -> ObjectState:
        return ObjectState(
            bucket, key, row.stamp, row.origin, row.size_bytes, row.etag, row.modified_ms, row.system, row.user, row.checksums, row.tags,
            row.acl, self._content(row),
        )  # fmt: skip

    def _content(self, row: ObjectRow) -> Content:
        if row.manifest:
            return self._manifest(row.manifest)
        if not row.blob:
            return EMPTY
        placed = self._placed(row.blob)
        return BlobContent(_piece(placed.blob, 0, row.size_bytes), self._inline(placed))

    def _placed(self, number: int) -> PlacedBlob:
        placed = self._view.uploads.blob(number)
        if placed is None:
            raise DamagedRow(f"index: an object names blob {number}, of which there is no row")
        return placed

    def _inline(self, placed: PlacedBlob) -> bytes | None:
        return self.bodies([placed.blob.location]).get(placed.blob.location) if self._with_bytes else None

    def _manifest(self, number: int) -> ManifestContent:
        manifest, part_map = self._view.uploads.manifest(number), self._view.uploads.part_map(number)
        if manifest is None or part_map is None:
            raise DamagedRow(f"index: an object names manifest {number}, of which there is no row")
        wanted = {item.part for item in part_map.items}
        blobs: dict[int, BlobRow] = {}
        parts: list[PartContent] = []
        after = 0
        while rows := self._view.uploads.parts_after(number, after, PARTS_A_LOOK):
            parts += [self._part(row, blobs) for row in rows if row.number in wanted]
            after = rows[-1].number
        if len(parts) != len(wanted):
            raise DamagedRow(f"index: manifest {number} names {len(wanted)} parts, of which {len(parts)} have rows")
        return ManifestContent(number, manifest.etag, tuple(parts))

    def _part(self, row: PartRow, blobs: dict[int, BlobRow]) -> PartContent:
        pieces = []
        for blob, first, length in row.slices:
            if blob not in blobs:
                blobs[blob] = self._placed(blob).blob
            pieces.append(_piece(blobs[blob], first, length))
        return PartContent(row.number, row.size_bytes, row.etag, row.checksums, tuple(pieces))


def _piece(blob: BlobRow, first: int, length: int) -> Piece:
    return Piece(blob.blob_id, blob.number, first, length, blob.location.plaintext_bytes)
