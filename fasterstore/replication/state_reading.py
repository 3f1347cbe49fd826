"""What this node has, as it is told to a peer: rows of the index made into changes, short records read, verified and decrypted.

Reads through a view and segment files of its own; blocking, for one native thread. A record that cannot be read is no reason to leave
its object out: the peer is told of it and asks for the bytes, and what it does not get is owed to it, where operators see it.
"""

from fasterstore.errors import DamagedRecord, DamagedRow
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_view import KeyState
from fasterstore.metadata.upload_view import PlacedBlob
from fasterstore.model import BlobRow, ObjectRow, PartRow
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
from fasterstore.storage.disk import BAD_MEDIUM, Disk
from fasterstore.storage.open_segments import OpenSegments
from fasterstore.storage.record import record_bytes
from fasterstore.storage.sealed_record import plaintext_of

PARTS_A_LOOK = 1000


class StateReader:
    """See the module. Raises as readings of a view do, and OSError. Without `with_bytes` no record is read, and nothing blocks for long."""

    def __init__(self, view: IndexView, disk: Disk, segments: OpenSegments, keyring: Keyring, with_bytes: bool = True) -> None:
        self._view = view
        self._disk = disk
        self._segments = segments
        self._keyring = keyring
        self._with_bytes = with_bytes

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
        place = placed.blob.location
        if not self._with_bytes or place.plaintext_bytes > INLINE_MAX_BYTES:
            return None
        try:
            segment = self._segments.reader(place.segment_id, placed.file_uuid)
            return bytes(plaintext_of(self._disk.pread(segment.fd, record_bytes(place.stored_bytes), place.offset), place, self._keyring))
        except (DamagedRecord, FileNotFoundError):
            return None
        except OSError as error:
            if error.errno in BAD_MEDIUM:
                return None
            raise

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
