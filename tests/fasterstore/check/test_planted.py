"""Each kind of finding is found where it was planted, and a sound store has none. Real data dirs, broken by hand."""

import errno
import os
import re
from pathlib import Path

import apsw
import pytest

from fasterstore.check.finding import NOTES, Finding, Kind
from fasterstore.check.store import StoreCheck
from fasterstore.metadata import schema
from fasterstore.metadata import upload_schema as uploads
from fasterstore.metadata.index import open_connection
from fasterstore.model import Slice
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.record import HEADER_BYTES
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal_format import FILE_HEADER_BYTES, FileWalk, pack_file_header, unpack_file_header
from fasterstore.storage.witness import Witness
from tests.storage_node import rows


def found(store, kind, **how):
    """The findings of that kind; there must be one."""
    every, _ = store.check(**how)
    picked = [one for one in every if one.kind is kind]
    assert picked, every
    return picked


def blob_of(store, key):
    number = rows(store.index_path, "SELECT blob FROM objects WHERE key = ?", (key,))[0][0]
    row = rows(store.index_path, "SELECT number, prefix, segment, value FROM blobs WHERE number = ?", (number,))[0]
    return schema.unpack_blob(*row)


def put_blob(store, row):
    store.change(
        "UPDATE blobs SET segment = ?, value = ?, unused_ms = ? WHERE number = ?",
        row.location.segment_id, schema.pack_blob(row), None if row.refs else row.zero_since_ms, row.number,
    )  # fmt: skip


def segment_of(store, row):
    return os.path.join(store.path, "segments", segment_name(row.location.segment_id))


@pytest.mark.parametrize("how", [{}, {"full": True}, {"running": True}, {"running": True, "full": True}])
def test_a_sound_store_is_clean(store, how):
    every, unconfirmed = store.check(**how)
    assert ([one for one in every if not one.is_note], unconfirmed) == ([], [])
    assert not [one for one in every if one.kind is Kind.UNNAMED_FILE]


# ---- log


def test_a_rotted_frame_in_the_middle_of_the_log(store):
    (path, *_) = store.files("journal", ".wal")
    store.flip(path, FILE_HEADER_BYTES + 100)
    assert store.kinds() & {Kind.LOG_DAMAGED, Kind.LOG_SHORT}
    store.flip(path, FILE_HEADER_BYTES + 100)
    store.flip(path, 20)
    assert "header is unreadable" in found(store, Kind.LOG_DAMAGED)[0].detail


def test_a_log_file_of_another_log(store):
    (path, *_) = store.files("journal", ".wal")
    with open(path, "rb") as file:
        header = unpack_file_header(file.read())
    store.write(path, 0, pack_file_header(header._replace(log_uuid=bytes(16))))
    assert "another file" in found(store, Kind.LOG_DAMAGED)[0].detail


def test_a_log_that_ends_below_what_was_durable(store):
    path = store.files("journal", ".wal")[-1]
    with open(path, "rb") as file:
        data = file.read()
    last = list(FileWalk(data, unpack_file_header(data)))[-1]
    store.write(path, last.offset, bytes(len(data) - last.offset))
    assert "was durable" in found(store, Kind.LOG_SHORT)[0].detail
    os.unlink(path)
    assert "no log file" in found(store, Kind.LOG_SHORT)[0].detail


def test_an_unfinished_batch_and_entries_that_are_not_folded_are_notes(store):
    path = store.files("journal", ".wal")[-1]
    with open(path, "rb") as file:
        data = file.read()
    end = FileWalk(data, unpack_file_header(data)).finish().end
    store.write(path, end, b"FSFR half a frame")
    assert found(store, Kind.TORN_TAIL)
    assert store.kinds() == set()
    state = schema.unpack_state(rows(store.index_path, "SELECT value FROM meta WHERE name = 'state'")[0][0])
    store.change("UPDATE meta SET value = ? WHERE name = 'state'", schema.pack_state(state._replace(applied_lsn=state.applied_lsn - 1)))
    assert "1 entries" in found(store, Kind.LOG_AHEAD)[0].detail
    assert {Kind.TORN_TAIL, Kind.LOG_AHEAD, Kind.UNNAMED_FILE} == NOTES


def test_a_witness_above_the_log(store):
    witness = Witness(RealDisk(), store.datadir.witness_path)
    witness.write(store.datadir.log_uuid, 1_000_000)
    witness.close()
    assert "1000000" in found(store, Kind.LOG_SHORT)[0].detail


# ---- index


def test_a_page_that_rotted(store):
    for suffix in ("-wal", "-shm"):
        if os.path.exists(store.index_path + suffix):
            os.unlink(store.index_path + suffix)
    assert store.kinds() == set()
    store.flip(store.index_path, 5 * 4096 + 3000)
    found(store, Kind.INDEX_UNREADABLE)


def test_an_index_that_is_gone(store):
    os.unlink(store.index_path)
    assert "missing" in found(store, Kind.INDEX_UNREADABLE)[0].detail


@pytest.mark.parametrize("table", ["buckets", "objects", "blobs", "segments", "usage", "uploads", "parts", "manifests", "maps", "releases"])
@pytest.mark.parametrize("how", [{}, {"running": True}])
def test_a_row_that_fails_its_checksum(store, table, how):
    store.change(f"UPDATE {table} SET value = CAST(substr(value, 1, length(value) - 1) || x'00' AS BLOB)")
    store.change(f"UPDATE {table} SET value = CAST(substr(value, 1, length(value) - 2) || x'0001' AS BLOB)")
    assert any(table in one.where or table in one.detail for one in found(store, Kind.INDEX_ROW, **how))


def test_a_plain_column_that_differs(store):
    store.change("UPDATE blobs SET prefix = prefix + 1 WHERE number = 2")
    assert "plain columns of blob 2" in found(store, Kind.INDEX_ROW)[0].detail


def test_a_secondary_index_that_lacks_an_entry(store):
    """The index's definition is hidden from SQLite for one write."""
    connection = open_connection(store.index_path, apsw.SQLITE_OPEN_READWRITE, 1024)
    connection.execute("PRAGMA writable_schema=1")
    row = connection.execute("SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema WHERE name = 'blobs_by_segment'").fetchone()
    connection.execute("DELETE FROM sqlite_schema WHERE name = 'blobs_by_segment'")
    connection.close()
    connection = open_connection(store.index_path, apsw.SQLITE_OPEN_READWRITE, 1024)
    blob = blob_of(store, b"key-4")
    other = 1 if blob.location.segment_id != 1 else 2
    moved = blob._replace(location=blob.location._replace(segment_id=other))
    connection.execute("UPDATE blobs SET segment = ?, value = ? WHERE number = ?", (other, schema.pack_blob(moved), blob.number))
    connection.execute("PRAGMA writable_schema=1")
    connection.execute("INSERT INTO sqlite_schema VALUES(?, ?, ?, ?, ?)", row)
    connection.close()
    found(store, Kind.INDEX_STRUCTURE)


def keep_copy(store, lsn):
    """As the node keeps them: the whole index in one file, out of WAL mode."""
    path = os.path.join(store.path, "snapshots", f"{lsn:016x}-{5:012x}-{store.datadir.log_uuid[:4].hex()}.copy")
    connection = open_connection(store.index_path, apsw.SQLITE_OPEN_READWRITE, 1024)
    connection.execute("VACUUM INTO ?", (path,))
    connection.close()
    return path


def test_a_kept_copy_that_rotted(store):
    first, second = keep_copy(store, 5), keep_copy(store, 6)
    assert store.kinds() == set()
    store.flip(second, 3 * 4096 + 2500)
    (one,) = found(store, Kind.COPY_DAMAGED)
    assert os.path.basename(second) in one.where
    store.flip(first, 200)
    assert len(found(store, Kind.COPY_DAMAGED)) == 2
    assert sorted(os.listdir(os.path.dirname(first))) == [os.path.basename(first), os.path.basename(second)], "nothing is left beside them"


# ---- references and counters


def test_an_object_whose_blob_or_manifest_is_gone(store):
    blob = blob_of(store, b"key-4")
    store.change("DELETE FROM blobs WHERE number = ?", blob.number)
    assert f"there is no blob {blob.number}" in found(store, Kind.DANGLING)[0].detail
    store.change("DELETE FROM manifests")
    assert any("there is no manifest" in one.detail for one in found(store, Kind.DANGLING))


def test_a_bucket_or_a_segment_row_that_is_gone(store):
    store.change("DELETE FROM buckets WHERE name = x'6f74686572'")
    assert any("there is no bucket" in one.detail for one in found(store, Kind.DANGLING))
    store.change("DELETE FROM segments WHERE segment_id = 1")
    assert any("segment 1, of which there is no row" in one.detail for one in found(store, Kind.DANGLING))


def test_an_object_that_is_not_as_long_as_its_bytes(store):
    bucket_id, key, blob, value = rows(store.index_path, "SELECT * FROM objects WHERE key = ?", (b"key-5",))[0]
    row = schema.unpack_object(bucket_id, key, blob, value)
    store.change("UPDATE objects SET value = ? WHERE key = ?", schema.pack_object(bucket_id, key, row._replace(size_bytes=7)), key)
    assert "key-5" in found(store, Kind.WRONG_SIZE)[0].where


def test_a_part_a_map_and_a_manifest_that_do_not_fit_together(store):
    number = rows(store.index_path, "SELECT min(manifest) FROM maps")[0][0]
    value = rows(store.index_path, "SELECT value FROM parts WHERE manifest = ? AND part = 1", (number,))[0][0]
    part = uploads.unpack_part(number, 1, value)
    longer = part._replace(size_bytes=part.size_bytes + 1, slices=(Slice(part.slices[0].blob, 0, part.size_bytes + 1),))
    store.change("UPDATE parts SET value = ? WHERE manifest = ? AND part = 1", uploads.pack_part(number, longer), number)
    details = " ".join(one.detail for one in found(store, Kind.WRONG_SIZE))
    assert "which has" in details
    assert "in the map" in details
    store.change("DELETE FROM parts WHERE manifest = ? AND part = 1", number)
    assert any("has no bytes" in one.detail for one in found(store, Kind.WRONG_SIZE))
    store.change("DELETE FROM maps WHERE manifest = ?", number)
    assert any("no map" in one.detail for one in found(store, Kind.DANGLING))


def test_rows_that_belong_to_nothing(store):
    store.change("DELETE FROM uploads")
    assert any("neither upload nor manifest" in one.detail for one in found(store, Kind.STRAY_ROW))
    store.change("DELETE FROM releases")
    assert any("not to go" in one.detail for one in found(store, Kind.STRAY_ROW))
    store.change("DELETE FROM manifests")
    assert any("map" in one.where for one in found(store, Kind.STRAY_ROW))


@pytest.mark.parametrize("change", [1, -1])
@pytest.mark.parametrize("how", [{}, {"running": True}])
def test_references_of_a_blob_that_do_not_add_up(store, change, how):
    blob = blob_of(store, b"same")
    assert blob.refs == 2
    put_blob(store, blob._replace(refs=blob.refs + change))
    (one,) = found(store, Kind.REFS, **how)
    assert (one.subject, one.stored, one.counted) == (("blob", blob.number), (2 + change,), (2,))


def test_a_blob_that_is_in_use_and_counted_as_unused(store):
    blob = blob_of(store, b"key-1")
    put_blob(store, blob._replace(refs=0, zero_since_ms=5))
    assert found(store, Kind.REFS)[0].counted == (1,)


def test_references_of_a_manifest_that_do_not_add_up(store):
    number, value = rows(store.index_path, "SELECT number, value FROM manifests ORDER BY number")[0]
    row = uploads.unpack_manifest(number, value)
    store.change("UPDATE manifests SET value = ? WHERE number = ?", uploads.pack_manifest(row._replace(refs=5)), number)
    assert found(store, Kind.MANIFEST_REFS)[0].stored == (5,)


@pytest.mark.parametrize("how", [{}, {"running": True}])
def test_usage_that_does_not_add_up(store, how):
    bucket_id, value = rows(store.index_path, "SELECT bucket_id, value FROM usage ORDER BY bucket_id")[0]
    objects, size_bytes = schema.unpack_usage(bucket_id, value)
    store.change("UPDATE usage SET value = ? WHERE bucket_id = ?", schema.pack_usage(bucket_id, objects + 2, size_bytes - 1), bucket_id)
    (one,) = found(store, Kind.USAGE, **how)
    assert (one.stored, one.counted) == ((objects + 2, size_bytes - 1), (objects, size_bytes))
    store.change("DELETE FROM usage WHERE bucket_id = ?", bucket_id)
    assert found(store, Kind.USAGE)[0].stored == (0, 0)


@pytest.mark.parametrize("how", [{}, {"running": True}])
def test_live_bytes_that_do_not_add_up(store, how):
    value = rows(store.index_path, "SELECT value FROM segments WHERE segment_id = 1")[0][0]
    row = schema.unpack_segment(1, value)
    store.change("UPDATE segments SET value = ? WHERE segment_id = 1", schema.pack_segment(row._replace(live_bytes=row.live_bytes - 1)))
    assert found(store, Kind.LIVE_BYTES, **how)[0].counted == (row.live_bytes,)


def test_a_count_of_damaged_blobs_that_is_wrong(store):
    store.change("INSERT INTO meta VALUES('damaged', ?)", schema.pack_damaged(3))
    assert found(store, Kind.DAMAGED_COUNT)[0].stored == (3,)


@pytest.mark.parametrize("counter", ["epoch", "last_blob", "last_segment_id", "last_stamp"])
def test_a_counter_below_a_number_in_use(store, counter):
    state = schema.unpack_state(rows(store.index_path, "SELECT value FROM meta WHERE name = 'state'")[0][0])
    store.change("UPDATE meta SET value = ? WHERE name = 'state'", schema.pack_state(state._replace(**{counter: 0})))
    assert found(store, Kind.COUNTER)


# ---- segments


@pytest.mark.parametrize("how", [{}, {"running": True}])
def test_a_segment_file_that_is_missing(store, how):
    os.unlink(segment_of(store, blob_of(store, b"key-9")))
    found(store, Kind.SEGMENT_MISSING, **how)


def test_a_segment_file_that_took_the_name_of_another(store):
    one, other = segment_of(store, blob_of(store, b"key-1")), segment_of(store, blob_of(store, b"key-9"))
    assert one != other
    os.replace(one, other)
    assert "another file" in found(store, Kind.SEGMENT_HEADER)[0].detail
    store.flip(other, 30)
    assert any("checksum" in found_one.detail for found_one in found(store, Kind.SEGMENT_HEADER))


class _BadDisk(RealDisk):
    """A medium that cannot read segment files."""

    def pread(self, fd, length, offset):
        if os.readlink(f"/proc/self/fd/{fd}").endswith(".seg"):
            raise OSError(errno.ENODATA, "a bad block")
        return super().pread(fd, length, offset)


@pytest.mark.parametrize("full", [False, True])
def test_a_segment_file_that_the_medium_cannot_read(store, full):
    check = StoreCheck(_BadDisk(), store.datadir, running=False, full=full)
    kinds = {found.kind for found in check.run() if isinstance(found, Finding)}
    assert {Kind.SEGMENT_HEADER, Kind.RECORD_DAMAGED} <= kinds


def test_a_segment_file_that_was_cut(store):
    path = segment_of(store, blob_of(store, b"key-9"))
    os.truncate(path, os.path.getsize(path) - 1)
    details = " ".join(one.detail for one in found(store, Kind.SEGMENT_LENGTH))
    assert "behind the file's end" in details


@pytest.mark.parametrize(("place", "full"), [("header", False), ("table", False), ("payload", True), ("header", True), ("table", True)])
def test_a_record_that_rotted(store, place, full):
    blob = blob_of(store, b"key-6")
    stored = blob.location.stored_bytes
    offset = {"header": 20, "payload": HEADER_BYTES + stored // 2, "table": HEADER_BYTES + stored + 1}[place]
    store.flip(segment_of(store, blob), blob.location.offset + offset)
    (one,) = found(store, Kind.RECORD_DAMAGED, full=full)
    assert one.where == f"blob {blob.number} in segments/{segment_name(blob.location.segment_id)} at offset {blob.location.offset}"
    if place == "payload":
        assert store.kinds() == set(), "without --full the payload is not read"


def test_a_blob_that_is_known_to_be_damaged(store):
    blob = blob_of(store, b"key-6")
    put_blob(store, blob._replace(damaged=True))
    store.change("INSERT INTO meta VALUES('damaged', ?)", schema.pack_damaged(1))
    assert found(store, Kind.BLOB_DAMAGED)[0].where.startswith(f"blob {blob.number} ")
    assert store.kinds() == {Kind.BLOB_DAMAGED}


def test_two_records_that_claim_the_same_bytes(store):
    blob = blob_of(store, b"key-6")
    statement = "SELECT number, prefix, segment, value FROM blobs WHERE segment = ? AND number <> ?"
    other = schema.unpack_blob(*rows(store.index_path, statement, (blob.location.segment_id, blob.number))[0])
    put_blob(store, other._replace(location=other.location._replace(offset=blob.location.offset + 8)))
    found(store, Kind.RECORD_OVERLAP)


def test_a_file_that_no_row_names_is_told_and_left_alone(store):
    path = os.path.join(store.path, "segments", segment_name(99))
    with open(path, "wb") as file:
        file.write(b"whose?")
    assert found(store, Kind.UNNAMED_FILE)[0].where == f"segments/{segment_name(99)}"
    assert store.kinds() == set()
    assert os.path.exists(path)


def test_every_kind_of_finding_is_planted_by_a_test_of_these_files():
    source = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_planted*.py"))
    assert set(re.findall(r"(?:found|details)\(store, Kind\.([A-Z_]+)", source)) == set(Kind.__members__)
