"""An index of schema 2 becomes one of schema 3: its buckets get registers; copies of it are still checked, and a view still reads it."""

import msgpack
import pytest

from fasterstore.metadata import index_file, schema
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.replication_schema import REPLICATION_TABLES
from fasterstore.model import BucketRow
from fasterstore.replication.merge import NEVER, Create, Registers, Setting, home_of
from fasterstore.scrub.index_rows import IndexScrub
from fasterstore.scrub.progress import Position
from tests.storage_node import audit, change, dump, rows

LOG, NODE = b"L" * 16, b"N" * 16
NOW_MS = 1_700_000_000_123
BUCKETS = [
    BucketRow(5, "plain", NOW_MS, {}, 5),
    BucketRow(9, "settings", NOW_MS + 7, {"cors": b"<x/>", "acl": b"<y/>"}, 11),
]


@pytest.fixture
def old(tmp_path):
    """The path of an index as the last version without replication left it."""
    path = str(tmp_path / "index.db")
    index = IndexWriter(path, LOG)
    index.begin()
    index.state = index.state._replace(last_stamp=(NOW_MS + 10) << 16, applied_lsn=20)
    for row in BUCKETS:
        index.put_bucket(row)
        index.add_usage(row.bucket_id, 0, 0)
    index.flush()
    index.commit()
    index_uuid = index.index_uuid
    index.close()
    for table in ("tombstones", "bucket_registers", "peer_blobs"):
        change(path, f"DROP TABLE {table}")
    version_2 = schema.seal(b"meta", b"identity", msgpack.packb((2, index_uuid, LOG), use_bin_type=True))
    change(path, "UPDATE meta SET value = ? WHERE name = 'identity'", (version_2,))
    return path


def test_buckets_get_registers_as_if_this_node_had_made_them_then(old):
    index = IndexWriter(old, LOG, node_id=NODE)
    stamp = NOW_MS << 16
    assert index.replication.registers("plain") == Registers((Create(stamp, NODE, NOW_MS),))
    stamp = (NOW_MS + 7) << 16
    expected = Registers(
        (Create(stamp, NODE, NOW_MS + 7),), NEVER, (Setting("acl", b"<y/>", stamp, NODE), Setting("cors", b"<x/>", stamp, NODE))
    )
    assert index.replication.registers("settings") == expected
    assert home_of(expected) == NODE
    index.close()
    audit(old)
    assert schema.unpack_identity(rows(old, "SELECT value FROM meta WHERE name = 'identity'")[0][0])[0] == 3
    again = dump(old)
    IndexWriter(old, LOG, node_id=b"another" + bytes(9)).close()
    assert dump(old) == again


def test_one_that_is_cut_short_begins_again(old):
    """The tables are made and filled in one transaction: one that is rolled back has left none of them."""
    change(old, "CREATE TABLE peer_blobs(number)")  # the last of them cannot be made
    with pytest.raises(Exception, match="already exists"):
        IndexWriter(old, LOG, node_id=NODE)
    assert not rows(old, "SELECT name FROM sqlite_schema WHERE name IN ('tombstones', 'bucket_registers')")
    change(old, "DROP TABLE peer_blobs")
    IndexWriter(old, LOG, node_id=NODE).close()
    audit(old)


def test_a_copy_of_the_old_schema_is_checked_and_scrubbed_as_what_it_is(old):
    assert list(index_file.check_file(old))[-1] == rows(old, "SELECT (SELECT count(*) FROM meta) + 2 + 2")[0][0]
    view = IndexView(old)
    assert view.schema_version == 2
    assert [row.name for row in view.buckets("", "", 9)] == ["plain", "settings"]
    steps = list(IndexScrub(view).steps(Position()))
    assert not [found for step in steps for found in step.damage]
    assert "tombstones" not in {step.position.at for step in steps}
    view.close()


def test_every_new_table_and_index_is_named_with_the_schema_that_brought_it(tmp_path):
    from fasterstore.metadata.table_scan import INDEXES, TABLES

    made = {part.name for part in (*TABLES, *INDEXES) if part.since == 3}
    assert made == {words.split("(")[0].split()[2] for words in REPLICATION_TABLES.split("CREATE ")[1:] for words in [f"CREATE {words}"]}
