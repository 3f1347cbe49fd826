"""The index file: what opens it, what is refused, what a reader sees, and that no flipped byte passes for a row."""

import os
import shutil

import apsw
import msgpack
import pytest

from fasterstore.errors import DamagedRow, StoreError, UnsupportedFormat
from fasterstore.metadata import schema
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexWriter, SqliteError
from fasterstore.model import BlobLocation, BlobRow, BucketRow, ObjectRow, SegmentRow, UsageRow
from tests.storage_node import TABLES, change, rows

LOG = b"L" * 16
UUID = b"U" * 16
BLOB_ID = bytes(range(32))
BUCKET = BucketRow(5, "b", 1000, {})
BLOB = BlobRow(1, BLOB_ID, 1, BlobLocation(2, 64, 3, 3, b"R" * 16))
OBJECT = ObjectRow(1, 3, "e" * 32, 1000, {"content-type": "a/b"}, {}, {}, 7, b"N" * 16)
SEGMENT = SegmentRow(2, 1, UUID, False, 0, 147)


def fill(index):
    index.begin()
    index.put_bucket(BUCKET)
    index.add_blob(BLOB)
    index.put_object(5, b"k", OBJECT)
    index.put_object(5, b"empty", OBJECT._replace(blob=0, size_bytes=0))
    index.put_segment(SEGMENT)
    index.add_usage(5, 2, 3)
    index.flush()
    index.commit()


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "index.db")


@pytest.fixture
def index(path):
    made = IndexWriter(path, LOG)
    fill(made)
    yield made
    made.close()


@pytest.fixture
def view(index, path):
    made = IndexView(path)
    yield made
    made.close()


def settle(index, path):
    """Move everything into the file itself and close."""
    assert index.checkpoint()
    index.close()


# ---- opening


def test_a_new_index_is_empty_and_keeps_its_uuid(path):
    index = IndexWriter(path, LOG)
    assert index.state == (0, 0, 0, 0, 0)
    first = index.index_uuid
    index.close()
    again = IndexWriter(path, LOG)
    assert again.index_uuid == first
    assert IndexView(path).identity() == first
    again.close()


def test_pages_carry_checksums_and_nothing_checkpoints_by_itself(index, path):
    settle(index, path)
    with open(path, "rb") as file:
        assert file.read(100)[20] == 8
    assert os.path.exists(path + "-wal")  # the last close made no checkpoint and removed nothing


def test_the_index_of_another_log_is_refused(index, path):
    index.close()
    with pytest.raises(UnsupportedFormat, match="another journal"):
        IndexWriter(path, b"M" * 16)


def test_a_newer_schema_is_refused_by_name(index, path):
    value = schema.seal(b"meta", b"identity", schema._pack((4, UUID, LOG)))
    index.close()
    change(path, "UPDATE meta SET value = ? WHERE name = 'identity'", (value,))
    for opened in (lambda: IndexWriter(path, LOG), lambda: IndexView(path)):
        with pytest.raises(UnsupportedFormat, match="schema 4"):
            opened()


def test_a_database_without_checksums_is_refused(tmp_path):
    path = str(tmp_path / "plain.db")
    plain = apsw.Connection(path, vfs="unix")
    plain.execute("CREATE TABLE meta(name, value)")
    plain.close()
    for opened in (lambda: IndexWriter(path, LOG), lambda: IndexView(path)):
        with pytest.raises((UnsupportedFormat, SqliteError)):
            opened()


def test_a_file_that_says_it_has_no_checksums_is_refused(index, path):
    settle(index, path)
    flip(path, 20, 8)
    for opened in (lambda: IndexView(path), lambda: IndexWriter(path, LOG)):
        with pytest.raises((StoreError, SqliteError)):
            opened()


def test_a_missing_file_is_not_made_by_a_reader(path):
    with pytest.raises(SqliteError):
        IndexView(path)
    assert not os.path.exists(path)


def test_a_reader_cannot_write(view):
    with pytest.raises(SqliteError):
        view._execute("DELETE FROM objects")


# ---- damage


def flip(path, place, mask=0x10):
    with open(path, "r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes([value ^ mask]))


def read_all(path):
    view = IndexView(path)
    try:
        return (view.state(), view.locate("b", b"k"), view.locate("b", b"empty"), view.buckets("", "", 9), view.usage(), view.segments(),
                view.blob_by_id(BLOB_ID))  # fmt: skip
    finally:
        view.close()


def test_a_flipped_byte_in_the_file_is_an_error_and_never_an_answer(index, path, tmp_path):
    settle(index, path)
    os.unlink(path + "-wal")
    truth = read_all(path)
    size = os.path.getsize(path)
    for page in range(size // 4096):
        for place in (page * 4096 + offset for offset in (0, 5, 100, 2000, 3900, 4000, 4080, 4085, 4087, 4090, 4095)):
            copy = str(tmp_path / "copy.db")
            shutil.copy(path, copy)
            flip(copy, place)
            try:
                assert read_all(copy) == truth  # only where the flipped byte was not needed
                # A page that no query visited must still be found out by whoever reads it.
                connection = apsw.Connection(copy)
                with pytest.raises(SqliteError):
                    connection.execute("PRAGMA integrity_check").fetchall()
                    for table in TABLES:
                        connection.execute(f"SELECT * FROM {table}").fetchall()
                    connection.execute("SELECT changed_ms FROM uploads INDEXED BY uploads_by_time").fetchall()
                    connection.execute("SELECT unused_ms FROM releases INDEXED BY releases_by_time").fetchall()
                    connection.execute("SELECT noted_ms FROM tombstones INDEXED BY tombstones_by_time").fetchall()
                    connection.execute("SELECT gone_ms FROM bucket_registers INDEXED BY registers_gone WHERE gone_ms > 0").fetchall()
                    connection.execute("SELECT blob FROM peer_blobs INDEXED BY peer_blobs_by_blob").fetchall()
                    connection.execute("SELECT segment FROM blobs INDEXED BY blobs_by_segment").fetchall()
                    connection.execute("SELECT unused_ms FROM blobs INDEXED BY blobs_unused WHERE unused_ms IS NOT NULL").fetchall()
                connection.close()
            except (StoreError, SqliteError):
                pass
            for suffix in ("", "-wal", "-shm"):
                if os.path.exists(copy + suffix):
                    os.unlink(copy + suffix)


def test_a_file_that_was_cut_off_within_a_page_is_an_error_and_never_an_answer(path, tmp_path):
    index = IndexWriter(path, LOG)
    index.begin()
    index.put_bucket(BUCKET)
    keys = [b"%05d" % number for number in range(200)]
    for key in keys:
        index.put_object(5, key, OBJECT._replace(blob=0, size_bytes=0))
    index.flush()
    index.commit()
    settle(index, path)
    os.unlink(path + "-wal")
    data = (tmp_path / "index.db").read_bytes()
    refused = 0
    for length in range(len(data) - 100, 0, -1111):
        copy = tmp_path / f"copy-{length}.db"
        copy.write_bytes(data[:length])
        try:
            IndexWriter(str(copy), LOG).close()
            view = IndexView(str(copy))
        except (StoreError, SqliteError):
            refused += 1
            continue
        for key in keys:
            try:
                assert view.locate("b", key).object is not None, f"{key} is missing from a file of {length} bytes"
            except StoreError:
                refused += 1
        view.close()
    assert refused > 100


@pytest.mark.parametrize(
    ("table", "read"),
    [
        ("buckets", lambda view: view.bucket("b")),
        ("buckets", lambda view: view.buckets("", "", 10)),
        ("buckets", lambda view: view.locate("b", b"k")),
        ("objects", lambda view: view.locate("b", b"k")),
        ("blobs", lambda view: view.locate("b", b"k")),
        ("blobs", lambda view: view.blob_by_id(BLOB_ID)),
        ("segments", lambda view: view.locate("b", b"k")),
        ("segments", lambda view: view.segments()),
        ("segments", lambda view: view.segment(2)),
        ("usage", lambda view: view.usage()),
        ("usage", lambda view: view.usage_of(BUCKET)),
        ("meta", lambda view: view.state()),
    ],
)
def test_a_flipped_byte_in_a_row_is_a_damaged_row(index, view, path, table, read):
    read(view)
    sealed = rows(path, f"SELECT value FROM {table} ORDER BY 1 DESC")[0][0]
    for place in (0, len(sealed) // 2, len(sealed) - 1):
        changed = bytearray(sealed)
        changed[place] ^= 1
        change(path, f"UPDATE {table} SET value = ?", (bytes(changed),))
        with pytest.raises(DamagedRow):
            read(view)
    for value in ("'text'", "5", "x''", "CAST(x'ff9a' AS TEXT)"):
        change(path, f"UPDATE {table} SET value = {value}")
        with pytest.raises(DamagedRow):
            read(view)


@pytest.mark.parametrize(
    ("statement", "read"),
    [
        ("UPDATE objects SET blob = 0", lambda view: view.locate("b", b"k")),
        ("UPDATE objects SET blob = 77", lambda view: view.locate("b", b"k")),
        ("UPDATE blobs SET segment = 77", lambda view: view.locate("b", b"k")),
        ("UPDATE blobs SET prefix = prefix + 1", lambda view: view.locate("b", b"k")),
        ("DELETE FROM blobs", lambda view: view.locate("b", b"k")),
        ("DELETE FROM segments", lambda view: view.locate("b", b"k")),
        ("DELETE FROM meta", lambda view: view.state()),
    ],
)
def test_rows_that_contradict_each_other_are_damage(index, view, path, statement, read):
    change(path, statement)
    with pytest.raises(DamagedRow):
        read(view)


def test_the_writer_refuses_damaged_rows_too(index, path):
    for table in ("buckets", "objects", "blobs", "segments", "usage"):
        change(path, f"UPDATE {table} SET value = zeroblob(40)")
    index.begin()
    index.count_damaged(1)
    for read in (
        lambda: index.bucket("b"),
        lambda: index.object(5, b"k"),
        lambda: index.blob(1),
        lambda: index.damaged_blob(BLOB_ID),
        lambda: index.segment(2),
        index.unsealed_segments,
        lambda: index.add_usage(5, 1, 1),
    ):
        # The writer may still have a bucket in memory from before.
        index._buckets.clear()
        with pytest.raises(DamagedRow):
            read()
    index.rollback()


# ---- reading


def test_locate_tells_all_that_a_get_needs(view):
    assert view.locate("b", b"k") == (BUCKET, OBJECT, BLOB, UUID)
    assert view.locate("b", b"empty") == (BUCKET, OBJECT._replace(blob=0, size_bytes=0), None, None)
    assert view.locate("b", b"nothing") == (BUCKET, None, None, None)
    assert view.locate("nobucket", b"k") == (None, None, None, None)


def test_keys_are_bytes_and_not_text(index, view):
    index.begin()
    for key in (b"\xff\x00", b"K", b"k\x00", "é".encode()):
        index.put_object(5, key, OBJECT._replace(etag=key.hex()))
    index.flush()
    index.commit()
    for key in (b"\xff\x00", b"K", b"k\x00", "é".encode()):
        assert view.locate("b", key).object.etag == key.hex()
    assert view.locate("b", b"k").object == OBJECT


def test_buckets_come_in_byte_order_by_prefix_after_a_name(index, view):
    index.begin()
    for number, name in enumerate(("a", "b-1", "b.2", "ba", "c"), 10):
        index.put_bucket(BucketRow(number, name, 1, {}))
    index.flush()
    index.commit()
    assert [row.name for row in view.buckets("", "", 10)] == ["a", "b", "b-1", "b.2", "ba", "c"]
    assert [row.name for row in view.buckets("b", "", 3)] == ["b", "b-1", "b.2"]
    assert [row.name for row in view.buckets("b", "b.2", 10)] == ["ba"]
    assert [row.name for row in view.buckets("b", "a", 10)] == ["b", "b-1", "b.2", "ba"]
    assert view.buckets("d", "", 10) == []


def test_a_blob_is_found_by_its_whole_id_and_only_if_it_is_sound(index, view):
    twin = BLOB_ID[:8] + b"!" * 24
    index.begin()
    index.add_blob(BLOB._replace(number=2, blob_id=twin, damaged=True))
    index.count_damaged(1)
    index.flush()
    index.commit()
    assert view.blob_by_id(BLOB_ID) == BLOB
    assert view.blob_by_id(twin) is None
    assert index.damaged_blob(twin).number == 2
    assert index.damaged_blob(BLOB_ID) is None
    assert view.blob_by_id(bytes(32)) is None


def test_usage_is_by_bucket_name(view):
    assert view.usage() == [UsageRow("b", 2, 3)]


def test_usage_of_one_bucket_is_nothing_once_the_bucket_has_gone(view):
    assert view.usage_of(BUCKET) == UsageRow("b", 2, 3)
    assert view.usage_of(BUCKET._replace(bucket_id=77)) == UsageRow("b", 0, 0)


# ---- transactions


def test_a_reader_sees_a_batch_only_after_its_commit_and_then_whole(index, view):
    index.begin()
    index.put_object(5, b"new", OBJECT)
    index.state = index.state._replace(applied_lsn=9)
    index.flush()
    assert view.locate("b", b"new").object is None
    assert view.applied_lsn() == 0
    index.commit()
    assert view.locate("b", b"new").object == OBJECT
    assert view.applied_lsn() == 9


def test_rollback_leaves_nothing_of_a_batch_in_file_or_memory(index, view):
    before = index.state
    index.begin()
    index.put_bucket(BucketRow(6, "new", 1, {}))
    index.delete_bucket(BUCKET)
    index.put_segment(SEGMENT._replace(live_bytes=99))
    index.add_usage(5, 7, 7)
    index.state = index.state._replace(applied_lsn=9, last_blob=9)
    index.rollback()
    index.begin()
    assert index.state == before
    assert index.bucket("new") is None
    assert index.bucket("b") == BUCKET
    assert index.segment(2) == SEGMENT
    index.add_usage(5, 0, 0)
    index.flush()
    index.commit()
    assert view.usage() == [UsageRow("b", 2, 3)]


def test_deleting_a_bucket_takes_its_usage_and_its_name_can_come_back(index, view):
    index.begin()
    index.delete_bucket(BUCKET)
    index.put_bucket(BucketRow(9, "b", 2, {}))
    index.add_usage(9, 0, 0)
    index.flush()
    index.commit()
    assert view.bucket("b").bucket_id == 9
    assert view.usage() == [UsageRow("b", 0, 0)]
    assert not index.has_objects(9)
    assert index.has_objects(5)


def test_a_segment_that_nobody_logged_is_damage(index):
    with pytest.raises(DamagedRow, match="no row of segment 77"):
        index.segment(77)


# ---- checkpoints


def bulk(index, upto):
    index.begin()
    for number in range(upto):
        index.put_object(5, b"%06d" % number, OBJECT)
    index.flush()
    index.commit()


def test_a_checkpoint_starts_the_index_log_from_its_beginning(index, path):
    bulk(index, 2000)
    size = os.path.getsize(path + "-wal")
    assert index.log_bytes > 100_000
    assert index.checkpoint()
    assert index.log_bytes == 0
    assert os.path.getsize(path) > 100_000
    for _ in range(3):
        bulk(index, 2000)
        index.checkpoint()
    assert os.path.getsize(path + "-wal") <= size * 1.5


def test_a_reader_in_the_way_makes_a_checkpoint_say_so_and_lose_nothing(index, view, path):
    bulk(index, 500)
    reading = view._connection.execute("SELECT key FROM objects")
    next(reading)
    bulk(index, 600)
    assert not index.checkpoint()
    assert index.log_bytes > 0
    reading.close()
    assert index.checkpoint()
    assert view.locate("b", b"000599").object == OBJECT


def test_what_was_committed_is_there_after_a_life_that_never_closed(index, path):
    bulk(index, 50)
    again = IndexView(path)
    assert again.locate("b", b"000049").object == OBJECT
    again.close()


def test_statements_between_begin_and_end_see_one_state_and_the_end_may_be_repeated(index, path):
    view = IndexView(path)
    view.begin()
    before = view.applied_lsn()
    index.begin()
    index.state = index.state._replace(applied_lsn=before + 1)
    index.flush()
    index.commit()
    assert view.applied_lsn() == before
    view.end()
    view.end()
    assert view.applied_lsn() == before + 1
    view.close()


def test_an_index_of_schema_1_becomes_the_newest_with_its_unused_blobs_in_order(tmp_path):
    path = str(tmp_path / "index.db")
    index = IndexWriter(path, LOG)
    index.begin()
    for number in range(1, 2501):
        place = BlobLocation(number % 3, number, 10, 10, b"R" * 16)
        index.add_blob(BlobRow(number, bytes(31) + bytes([number % 256]), number % 2, place, 0 if number % 2 else 5000 - number))
    index.flush()
    index.commit()
    identity = schema.pack_identity(index.index_uuid, LOG)
    index.close()
    change(path, "DROP INDEX blobs_by_segment")
    change(path, "DROP INDEX blobs_unused")
    change(path, "ALTER TABLE blobs DROP COLUMN unused_ms")
    for table in ("tombstones", "bucket_registers", "peer_blobs"):
        change(path, f"DROP TABLE {table}")
    version_1 = schema.seal(b"meta", b"identity", msgpack.packb((1, index.index_uuid, LOG), use_bin_type=True))
    change(path, "UPDATE meta SET value = ? WHERE name = 'identity'", (version_1,))
    IndexView(path).close()  # a node that starts read-only leaves it as it is
    again = IndexWriter(path, LOG)
    again.begin()
    assert [row.number for row in again.unused_blobs(10_000, 3)] == [2500, 2498, 2496]
    assert len(list(again.blobs_in(1))) == 834
    assert rows(path, "SELECT value FROM meta WHERE name = 'identity'") == [(identity,)]
    again.rollback()
    again.close()
