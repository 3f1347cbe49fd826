"""What a store holds, read as a worker reads it: object, blobs, manifests and parts by the index, bytes from the segments, verified."""

from typing import NamedTuple

from fasterstore.errors import DamagedRecord
from fasterstore.metadata import schema
from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobRow, ObjectRow, PartRow, Slice
from fasterstore.storage import record
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments
from tests.faults.violation import Violation


class Found(NamedTuple):
    """What a read sees: verified bytes, the object's row, and the rows of the blobs that hold the bytes, in order."""

    body: bytes
    row: ObjectRow
    blobs: tuple[BlobRow, ...]


class Reading:
    """See the module. Raises DamagedRecord, FileNotFoundError, DamagedRow from whatever reads; Violation for what cannot be."""

    def __init__(self, disk: Disk, view: IndexView, segments: OpenSegments) -> None:
        self.disk = disk
        self.view = view
        self.segments = segments

    def read(self, bucket: str, key: bytes) -> Found | None:
        """The current object, or None."""
        row = self.view.locate(bucket, key).object
        if row is None:
            return None
        read = [self._slice(piece) for piece in self.slices(row)]
        body = b"".join(piece for piece, _ in read)
        if len(body) != row.size_bytes:
            raise Violation(f"{bucket}/{key!r} is {row.size_bytes} bytes long, and its parts are {len(body)}")
        return Found(body, row, tuple(blob for _, blob in read))

    def slices(self, row: ObjectRow) -> list[Slice]:
        """Where an object's bytes lie, in order."""
        if not row.manifest:
            return [Slice(row.blob, 0, row.size_bytes)] if row.blob else []
        part_map = self.view.uploads.part_map(row.manifest)
        if part_map is None:
            raise Violation(f"an object names manifest {row.manifest}, which has no map")
        found: list[Slice] = []
        for item in part_map.items:
            part = self.view.uploads.part(row.manifest, item.part)
            if part is None:
                raise Violation(f"the map of manifest {row.manifest} names part {item.part}, which is not there")
            found += part.slices
        return found

    def part_body(self, part: PartRow) -> bytes:
        """The bytes of a part of an open upload."""
        return b"".join(self._slice(piece)[0] for piece in part.slices)

    def _slice(self, piece: Slice) -> tuple[bytes, BlobRow]:
        placed = self.view.uploads.blob(piece.blob)
        if placed is None:
            raise Violation(f"blob {piece.blob} is in use and has no row")
        place = placed.blob.location
        segment = self.segments.reader(place.segment_id, placed.file_uuid)
        stored = self.disk.pread(segment.fd, record.record_bytes(place.stored_bytes), place.offset)
        return bytes(record.verify_record(stored, place)[piece.first : piece.first + piece.length]), placed.blob

    def references(self) -> dict[int, int]:
        """By number, of each blob that has any."""
        return {row.number: row.refs for row in self._blob_rows() if row.refs}

    def blob_numbers(self) -> set[int]:
        """All blobs that there are, used or not."""
        return {row.number for row in self._blob_rows()}

    def damaged_blobs(self) -> set[int]:
        """Those that are marked as damaged."""
        return {row.number for row in self._blob_rows() if row.damaged}

    def _blob_rows(self) -> list[BlobRow]:
        return [schema.unpack_blob(*row) for row in self.view._rows("SELECT number, prefix, segment, value FROM blobs")]

    def rot(self, blob: BlobRow, place: int, bit: int) -> None:
        """Flip one bit of the blob's record, at `place` of its bytes."""
        row = self.view.segment(blob.location.segment_id)
        assert row is not None
        segment = self.segments.writer(row.segment_id, row.file_uuid)
        offset = blob.location.offset + place
        (byte,) = self.disk.pread(segment.fd, 1, offset)
        self.disk.pwrite(segment.fd, bytes([byte ^ 1 << bit]), offset)

    def is_damaged(self, bucket: str, key: bytes) -> bool:
        """Whether a read of that object is refused as damage."""
        try:
            self.read(bucket, key)
        except DamagedRecord:
            return True
        return False


def cut(slices: list[Slice], first: int, end: int) -> tuple[Slice, ...]:
    """The slices that hold the bytes `first` .. `end` of those."""
    found = []
    start = 0
    for piece in slices:
        low, high = max(first, start), min(end, start + piece.length)
        if low < high:
            found.append(Slice(piece.blob, piece.first + low - start, high - low))
        start += piece.length
    return tuple(found)
