"""The verb `dump`: one record, frame, entry, blob or object of a data dir, readable. With a stopped or a running node; changes nothing.

Shows what stands in the files, verified where it can be: checksums that fail are said, not hidden. Never shows a secret: no key, no salt,
no body, no upload token; a wrapped key is only said to be there.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Any

from fasterstore import settings
from fasterstore.errors import DamagedRecord, StoreError
from fasterstore.metadata.entries import decode
from fasterstore.metadata.index import IndexView, open_view
from fasterstore.model import BlobLocation, BlobRow
from fasterstore.storage import record, wal_format
from fasterstore.storage.cold_reading import verify_in_pieces
from fasterstore.storage.datadir import DataDir, read_datadir
from fasterstore.storage.disk import RealDisk, read_file
from fasterstore.storage.segment import segment_name
from fasterstore.storage.segment import unpack_header as unpack_segment_header
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import FileWalk, FrameAt

SHOWN, NOT_THERE, COULD_NOT_RUN = 0, 1, 2
HIDDEN = "(hidden)"
_HIDDEN_FIELDS = frozenset(("token", "salt", "wrapped_key", "blob_key"))
_VIEW_CACHE_KIB = 2048
_PARTS_SHOWN = 10_000

Document = dict[str, Any]


class NotThere(Exception):
    """What was asked for does not exist; the text says what."""


def main(environ: Mapping[str, str], look: Callable[[DataDir], Document], *, as_json: bool, data_dir: str | None) -> int:
    """Print what `look` (one of the functions below, with its arguments) finds in the data dir of FS_DATA_DIR, or in `data_dir`.

    Returns:
        0; 1 after one line on stderr if there is no such thing; 2 after one line if the data dir cannot be read.
    """
    try:
        document = look(read_datadir(RealDisk(), data_dir or settings.load(environ).data_dir))
    except NotThere as error:
        print(error, file=sys.stderr)
        return NOT_THERE
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    except StoreError as error:
        print(error.detail, file=sys.stderr)
        return COULD_NOT_RUN
    except OSError as error:
        print(error, file=sys.stderr)
        return COULD_NOT_RUN
    print(json.dumps(document, indent=2) if as_json else "\n".join(_lines(document)))
    return SHOWN


# ---- what there is to look at


def record_at(datadir: DataDir, segment_id: int, offset: int) -> Document:
    """The record whose header begins at `offset` of a segment, verified as far as it can be. Raises NotThere, OSError."""
    path = os.path.join(datadir.segments_dir, segment_name(segment_id))
    disk = RealDisk()
    try:
        fd = disk.open(path, read_only=True)
    except FileNotFoundError:
        raise NotThere(f"there is no segment {segment_id}") from None
    try:
        document: Document = {"segment": segment_id, "file": f"segments/{segment_name(segment_id)}", "offset": offset}
        try:
            head = unpack_segment_header(disk.pread(fd, 64, 0))
            document |= {"segment_epoch": head.epoch, "file_uuid": head.file_uuid.hex()}
        except StoreError as error:
            document["segment_header"] = f"DAMAGED: {error.detail}"
        try:
            header = record.unpack_header(disk.pread(fd, record.HEADER_BYTES, offset))
        except DamagedRecord as error:
            return document | {"header": f"DAMAGED: {error.detail}"}
        place = BlobLocation(segment_id, offset, header.plaintext_bytes, header.stored_bytes, header.record_id)  # type: ignore[arg-type]
        return document | {
            "header": "sound",
            "plaintext_bytes": header.plaintext_bytes,
            "stored_bytes": header.stored_bytes,
            "record_bytes": record.record_bytes(header.stored_bytes),
            "record_id": header.record_id.hex(),
            "flags": header.flags,
            "key_epoch": header.key_epoch,
            "data_key": "none (plain)" if header.wrapped_key == record.PLAIN_KEY else f"wrapped {HIDDEN}",
            "chunks": record.chunk_count(header.stored_bytes),
            "table_digest": header.table_digest.hex(),
            "content": _verified(disk, fd, place),
        }
    finally:
        disk.close(fd)


def frame_at(datadir: DataDir, file: str, offset: int) -> Document:
    """The frame that begins at `offset` of a journal file. Raises NotThere, OSError."""
    first = wal_format.parse_file_name(os.path.basename(file))
    if first is None or not RealDisk().exists(os.path.join(datadir.journal_dir, wal_format.file_name(first))):
        raise NotThere(f"there is no journal file {os.path.basename(file)}")
    data, walk = _walk(datadir, first)
    for frame in walk:
        if frame.offset == offset:
            return _frame(first, data, frame)
    raise NotThere(f"no frame begins at offset {offset}: the sound frames end at {walk.end}{f' ({walk.reason})' if walk.reason else ''}")


def frame_of(datadir: DataDir, lsn: int) -> Document:
    """The frame that holds the entry `lsn`. Raises NotThere, OSError."""
    first, data, frame = _find(datadir, lsn)
    return _frame(first, data, frame)


def entry_of(datadir: DataDir, lsn: int) -> Document:
    """One journal entry. Raises NotThere, OSError."""
    first, data, frame = _find(datadir, lsn)
    entries = wal_format.entries_of(data, frame) or []
    return {"file": wal_format.file_name(first), "frame_offset": frame.offset, **_entry(lsn, entries[lsn - frame.first_lsn])}


def blob_of(datadir: DataDir, number: int) -> Document:
    """A blob's row, its record and who refers to it by key. Raises NotThere, StoreError, OSError."""
    view = open_view(datadir.index_path, _VIEW_CACHE_KIB)
    try:
        return _blob(datadir, view, number)
    finally:
        view.close()


def object_of(datadir: DataDir, bucket: str, key: str) -> Document:
    """An object's row and its blob or parts; of one that is gone its tombstone, if it left one. Raises NotThere, StoreError, OSError."""
    view = open_view(datadir.index_path, _VIEW_CACHE_KIB)
    try:
        found = view.locate(bucket, os.fsencode(key))
        if found.object is None:
            tombstone = view.replication.key_state(bucket, os.fsencode(key)).tombstone
            if tombstone is not None:
                return {"object": "gone", **_plain(tombstone)}
            raise NotThere(f"there is no bucket {bucket}" if found.bucket is None else f"there is no object {key} in {bucket}")
        document: Document = {"bucket": bucket, "key": key, **_plain(found.object)}
        if found.object.blob:
            document["blob_row"] = _blob(datadir, view, found.object.blob)
        if found.object.manifest:
            document["manifest_row"] = _manifest(view, found.object.manifest)
        return document
    finally:
        view.close()


# ---- parts of documents


def _blob(datadir: DataDir, view: IndexView, number: int) -> Document:
    placed = view.uploads.blob(number)
    if placed is None:
        raise NotThere(f"there is no blob {number}")
    row: BlobRow = placed.blob
    place = row.location
    return {
        "number": row.number,
        "blob_id": row.blob_id.hex(),
        "references": row.refs,
        "unused_since_ms": row.zero_since_ms,
        "damaged": row.damaged,
        "location": _plain(place),
        "known_to_peers_as": [_plain(known) for known in view.replication.peer_blobs_of(number)],
        "record": record_at(datadir, place.segment_id, place.offset) if _exists(datadir, place.segment_id) else "DAMAGED: no segment file",
    }


def _exists(datadir: DataDir, segment_id: int) -> bool:
    return RealDisk().exists(os.path.join(datadir.segments_dir, segment_name(segment_id)))


def _manifest(view: IndexView, number: int) -> Document:
    row = view.uploads.manifest(number)
    if row is None:
        return {"number": number, "row": "DAMAGED: there is none"}
    parts = view.uploads.parts_after(number, 0, _PARTS_SHOWN)
    return {**_plain(row), "parts": [_plain(part) for part in parts]}


def _verified(disk: RealDisk, fd: int, place: BlobLocation) -> str:
    try:
        for _read_bytes in verify_in_pieces(disk, fd, place):
            pass
    except DamagedRecord as error:
        return f"DAMAGED: {error.detail}"
    return "sound: every chunk verifies"


def _walk(datadir: DataDir, first: int) -> tuple[bytes, FileWalk]:
    name = wal_format.file_name(first)
    data = read_file(RealDisk(), os.path.join(datadir.journal_dir, name))
    header = wal_format.unpack_file_header(data)
    if header is None:
        raise NotThere(f"{name}: the file header is unreadable")
    return data, FileWalk(data, header)


def _find(datadir: DataDir, lsn: int) -> tuple[int, bytes, FrameAt]:
    firsts = [first for first in list_files(RealDisk(), datadir.journal_dir) if first <= lsn]
    if not firsts:
        raise NotThere(f"LSN {lsn} is not in the journal (any more)")
    data, walk = _walk(datadir, firsts[-1])
    for frame in walk:
        if frame.first_lsn <= lsn <= frame.last_lsn:
            return firsts[-1], data, frame
    why = f" ({walk.reason})" if walk.reason else ""
    raise NotThere(f"LSN {lsn} is not in the journal: its sound frames end at LSN {walk.next_lsn - 1}{why}")


def _frame(first: int, data: bytes, frame: FrameAt) -> Document:
    entries = wal_format.entries_of(data, frame)
    return {
        "file": wal_format.file_name(first),
        "offset": frame.offset,
        "bytes": frame.end - frame.offset,
        "first_lsn": frame.first_lsn,
        "last_lsn": frame.last_lsn,
        "hash": data[frame.end - wal_format.HASH_BYTES : frame.end].hex(),
        "entries": "DAMAGED: their lengths do not add up"
        if entries is None
        else [_entry(lsn, entry) for lsn, entry in enumerate(entries, frame.first_lsn)],
    }


def _entry(lsn: int, data: bytes) -> Document:
    try:
        entry = decode(data)
    except (StoreError, ValueError, TypeError) as error:
        return {"lsn": lsn, "bytes": len(data), "entry": f"DAMAGED: {error}"}
    return {"lsn": lsn, "bytes": len(data), "entry": type(entry).__name__, **_plain(entry)}


def _plain(row: Any) -> Document:
    """A NamedTuple as a document: bytes that are text as text, others as hex, secrets hidden."""
    return {name: HIDDEN if name in _HIDDEN_FIELDS else _value(value) for name, value in row._asdict().items()}


def _value(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return _plain(value)
    if isinstance(value, bytes):
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return value.hex()
        return text if text.isprintable() else value.hex()
    if isinstance(value, dict):
        return {str(_value(name)): HIDDEN if name in _HIDDEN_FIELDS else _value(held) for name, held in value.items()}
    if isinstance(value, list | tuple):
        return [_value(held) for held in value]
    return value.name if isinstance(value, IntEnum) else value


def _lines(document: Document, indent: str = "") -> list[str]:
    lines = []
    for name, value in document.items():
        if isinstance(value, dict) and value:
            lines += [f"{indent}{_printable(name)}", *_lines(value, indent + "  ")]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for place, held in enumerate(value):
                lines += [f"{indent}{_printable(name)} [{place}]", *_lines(held, indent + "  ")]
        else:
            lines.append(f"{indent}{_printable(name):<{max(20 - len(indent), 1)}} {_printable(str(value))}")
    return lines


def _printable(text: str) -> str:
    """On one line, and nothing that a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
