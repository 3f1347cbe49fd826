"""Reading objects that are made of parts: from a manifest's map to verified bytes. No byte leaves that was not checked first.

The map is read once; part rows are read a batch at a time as the answer gets to them, and each piece is looked up and opened when its
turn comes, so an object of ten thousand parts holds no more memory than one of two. What a part's row names may be moved by compaction
at any time: a piece that is not where it should be is looked up again before it counts as damage. A manifest that nothing names any more
is kept for FS_READ_GRACE_SECS: a download that takes longer than that after a delete is broken off.
"""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

from actors.messages import BlobFoundDamaged
from actors.runtime import sleep
from fasterstore.customer_key import CustomerKey
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.multipart import cut
from fasterstore.metadata.upload_view import PartMap
from fasterstore.model import ManifestNumber, ObjectRow, PartRow, Slice
from fasterstore.s3.errors import S3Error, from_store
from web.download import UNBROKEN_PIECES, open_blob
from web.regions import CheckedRegion, FileRegion, Piece
from web.streamed_body import StreamedBody
from web.unsealing import open_sealed_blob
from web.worker import Worker

logger = logging.getLogger(__name__)

LOOKUPS = 3
"""How often a piece is looked up before a record that is not where its row says counts as damage."""
BATCH_PARTS = 32
"""Part rows read at once: about a third of a millisecond."""
JOIN_MAX_BYTES = 64 * 1024
"""Pieces smaller than this are sent together: appended objects may have parts of a few bytes."""
_RECONNECT_POLL_SECS = 0.05

Body = Sequence[bytes | memoryview] | StreamedBody


def open_manifest(worker: Worker, row: ObjectRow, first: int, length: int, key: CustomerKey | None = None) -> Body:
    """The bytes `first` .. `first + length` of an object made of parts, as the body of an answer.

    Args: `row`, whose `manifest` is not 0; `first` and `length` in bytes, inside the object; `key`, the customer's under which it is
    sealed, if it is. What comes first has been verified when this returns. Raises: FileNotFoundError if the manifest is gone (look the
    key up again); S3Error InternalError if the first piece is damaged (logged, counted and told to the journal already),
    ServiceUnavailable while there is no index.
    """
    return open_range(worker, row, first, length, key) if length else ()


def open_range(worker: Worker, row: ObjectRow, first: int, length: int, key: CustomerKey | None = None) -> Body:
    """The same for any object that has bytes, and at least one of them."""
    reader = PieceReader(worker, key)
    pieces = reader.pieces_of(row, first, length)
    head = next(pieces)
    try:
        body = reader.open(head)
    except DamagedRecord:
        raise from_store("DamagedRecord") from None
    return body if head.length == length else ManifestBody(reader, body, pieces)


def verified_pieces(
    worker: Worker, row: ObjectRow, first: int, length: int, key: CustomerKey | None = None
) -> Generator[bytes | memoryview, None, None]:
    """The same for whoever reads the bytes here; of none, if `length` is 0. Raises also on the way: see StreamedBody."""
    body = open_range(worker, row, first, length, key) if length else ()
    try:
        yield from body
    finally:
        if isinstance(body, StreamedBody):
            body.close()


def part_range(worker: Worker, row: ObjectRow, part_number: int) -> tuple[int, int, int]:
    """Where part `part_number` lies in an object: (first, length) in bytes, and how many parts there are.

    An object that is not made of parts is its own part 1; it has 0 parts then, and S3 sends no x-amz-mp-parts-count.
    Raises: S3Error InvalidPart if there is no such part; FileNotFoundError if the manifest is gone (look the key up again).
    Source: S3 API page GetObject, partNumber.
    """
    if not row.manifest:
        if part_number != 1:
            raise _no_part(part_number, 1)
        return 0, row.size_bytes, 0
    part_map = need_map(worker.reader(), row)
    items = part_map.items
    place = bisect_left(items, part_number, key=lambda item: item.part)
    if place == len(items) or items[place].part != part_number:
        raise _no_part(part_number, len(items))
    first = part_map.start(place)
    return first, items[place].end - first, len(items)


def part_checksums(worker: Worker, row: ObjectRow, part_number: int) -> dict[str, str]:
    """The checksums of one part of an object, by algorithm name, in base64; those of an object that is its own part 1."""
    if not row.manifest:
        return row.checksums
    part = worker.reader().uploads.part(row.manifest, part_number)
    return {} if part is None else part.checksums


def listed_parts(worker: Worker, row: ObjectRow, after: int, limit: int) -> tuple[int, list[PartRow]]:
    """How many parts an object has, and at most `limit` of them in order whose numbers are above `after`.

    Raises: FileNotFoundError if the manifest is gone (look the key up again).
    """
    index = worker.reader()
    items = need_map(index, row).items
    place = bisect_right(items, after, key=lambda item: item.part)
    wanted = items[place : place + limit]
    rows: dict[int, PartRow] = {}
    for done, item in enumerate(wanted):
        if item.part not in rows:
            rows |= _rows_from(index, row.manifest, item.part, len(wanted) - done)
    return len(items), [rows[item.part] for item in wanted]


def _rows_from(index: IndexView, manifest: ManifestNumber, part: int, limit: int) -> dict[int, PartRow]:
    """At most `limit` parts by number, from `part` on, which must be there: FileNotFoundError if it is gone.

    Parts that the upload's completion left out may stand among them until they are released.
    """
    rows = {row.number: row for row in index.uploads.parts_after(manifest, part - 1, limit)}
    if part not in rows:
        raise FileNotFoundError(f"part {part} of manifest {manifest} is gone")
    return rows


def _no_part(part_number: int, parts: int) -> S3Error:
    return S3Error(
        "InvalidPart", "The requested partnumber is not satisfiable", ActualPartCount=str(parts), PartNumberRequested=str(part_number)
    )


def need_map(index: IndexView, row: ObjectRow) -> PartMap:
    """The map of an object made of parts. Raises FileNotFoundError if the manifest is gone: look the key up again."""
    part_map = index.uploads.part_map(row.manifest)
    if part_map is None:
        raise FileNotFoundError(f"manifest {row.manifest} is gone")
    return part_map


class PieceReader:
    """Opens pieces of blobs for one answer, under the index with which that answer began."""

    def __init__(self, worker: Worker, key: CustomerKey | None = None) -> None:
        """`key`: the customer's under which every blob of the object is sealed. Raises S3Error ServiceUnavailable while there is no
        index."""
        self._worker = worker
        self._key = key
        self._index_uuid = worker.reader().identity()

    def pieces_of(self, row: ObjectRow, first: int, length: int) -> Iterator[Slice]:
        """The pieces of blobs that hold the bytes `first` .. `first + length` of an object, in order, as they are asked for.

        Raises: FileNotFoundError if the manifest is gone or goes meanwhile, DamagedRow.
        """
        if not row.manifest:
            return iter((Slice(row.blob, first, length),))
        return self._pieces(row.manifest, need_map(self._index(), row), first, first + length)

    def _pieces(self, manifest: ManifestNumber, part_map: PartMap, first: int, end: int) -> Iterator[Slice]:
        items = part_map.items
        place = part_map.at(first)
        rows: dict[int, PartRow] = {}
        while first < end:
            item = items[place]
            if item.part not in rows:
                left = part_map.at(end - 1) - place + 1
                rows = _rows_from(self._index(), manifest, item.part, min(BATCH_PARTS, left))
            stop = min(end, item.end)
            yield from cut(rows[item.part].slices, first - part_map.start(place), stop - first)
            first = stop
            place += 1

    def open(self, piece: Slice) -> Body:
        """The verified bytes of a piece of a blob, wherever it lies now.

        Raises: DamagedRecord (logged, counted and told to the journal), FileNotFoundError if the index knows no such blob.
        """
        worker = self._worker
        tries = 0
        while True:
            placed = self._index().uploads.blob(piece.blob)
            if placed is None:
                raise FileNotFoundError(f"blob {piece.blob} is gone")
            try:
                if self._key is not None:
                    return open_sealed_blob(worker, placed.blob, placed.file_uuid, self._key, piece.first, piece.length)
                return open_blob(worker, placed.blob, placed.file_uuid, piece.first, piece.length)
            except (DamagedRecord, FileNotFoundError) as error:
                tries += 1
                if tries < LOOKUPS:
                    continue
                location = placed.blob.location
                logger.error("blob %d in segment %016x at %d: %s", piece.blob, location.segment_id, location.offset, error)
                worker.metrics.damaged_reads += 1
                worker.tell("metadata-journal", BlobFoundDamaged.of(placed.blob))
                raise DamagedRecord(str(error)) from error

    def _index(self) -> IndexView:
        """The index under which this answer began. While storage is being restarted, an answer that is on its way waits for it.

        Raises: S3Error ServiceUnavailable if it does not come back, DamagedRecord if another has: numbers mean something else there.
        """
        worker = self._worker
        waited_secs = 0.0
        while worker.index is None:
            if waited_secs >= worker.settings.request_timeout_secs:
                raise from_store("Unavailable")
            sleep(_RECONNECT_POLL_SECS)
            waited_secs += _RECONNECT_POLL_SECS
        if worker.index.identity() != self._index_uuid:
            raise DamagedRecord("the index was replaced while an object was being read")
        return worker.index


class ManifestBody(StreamedBody):
    """The body of an answer that is made of several pieces: each is opened when the one before has been sent."""

    __slots__ = ("_pieces", "_present", "_reader")

    def __init__(self, reader: PieceReader, first: Body, pieces: Iterator[Slice]) -> None:
        """`first` is the first piece, opened; `pieces` are the others."""
        super().__init__()
        self._reader = reader
        self._present = first
        self._pieces = pieces

    @property
    def held_bytes(self) -> int:
        """See StreamedBody: what the piece keeps that is being sent."""
        return self._present.held_bytes if isinstance(self._present, StreamedBody) else 0

    def regions(self) -> Iterator[Piece]:
        """See StreamedBody. Raises also FileNotFoundError, DamagedRow, S3Error: the manifest, or the index, went meanwhile."""
        return _joined(self._sent(as_regions=True))

    def __iter__(self) -> Iterator[bytes]:
        for piece in _joined(self._sent(as_regions=False)):
            yield bytes(piece)

    def _sent(self, as_regions: bool) -> Generator[Any, None, None]:
        yield from _pieces(self._present, as_regions)
        for count, piece in enumerate(self._pieces, 1):
            self._present = ()
            self._present = self._reader.open(piece)
            yield from _pieces(self._present, as_regions)
            if count % UNBROKEN_PIECES == 0:
                sleep(0)


def _pieces(body: Body, as_regions: bool) -> Iterable[Piece]:
    if isinstance(body, StreamedBody):
        return body.regions() if as_regions else iter(body)
    return body


def _joined(pieces: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """The same bytes, small pieces put together: each one sent is a system call and a packet."""
    held = bytearray()
    try:
        for piece in pieces:
            if not isinstance(piece, (FileRegion, CheckedRegion)) and len(held) + len(piece) <= JOIN_MAX_BYTES:
                held += piece
                continue
            if held:
                yield bytes(held)
                held.clear()
            yield piece
        if held:
            yield bytes(held)
    finally:
        pieces.close()  # now and not when a traceback lets go of it: it holds buffers and descriptors
