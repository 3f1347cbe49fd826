"""Scrubbing the index: every row and every entry is read, a damaged row, column or page is found and named."""

import os

import pytest

from actors import messages as m
from fasterstore.errors import DamagedRow
from fasterstore.metadata.index import IndexView, says_damage
from fasterstore.metadata.table_scan import INDEXES, TABLE, TABLES
from fasterstore.scrub.damage import What
from fasterstore.scrub.progress import Position
from tests.storage_node import change, rows


def index_damage(node):
    return [found for step in node.steps(Position("index")) for found in step.damage if found.what is What.INDEX]


def test_the_scan_knows_everything_that_is_in_the_file(node):
    view = IndexView(node.index_path)
    named = {(kind, name) for kind, name in view.scan.schema_names() if not name.startswith("sqlite_")}
    assert named == {("table", table.name) for table in TABLES} | {("index", index.name) for index in INDEXES}
    view.close()


def test_every_row_of_every_table_is_read_in_slices(node):
    view = IndexView(node.index_path)
    for table in TABLES:
        found, after = [], None
        while True:
            part = view.scan.slice(table, after, 3)
            found += part.rows
            after = part.after
            if after is None:
                break
        assert found == sorted(rows(node.index_path, f"SELECT {', '.join(table.columns)} FROM {table.name}"))
    view.close()
    counted = sum(step.counts.rows for step in node.steps(Position("index")))
    assert counted > sum(rows(node.index_path, f"SELECT count(*) FROM {table.name}")[0][0] for table in TABLES)


@pytest.mark.parametrize("table", ["meta", "buckets", "objects", "blobs", "segments", "usage"])
def test_a_row_whose_value_rotted_is_found_and_named(node, table):
    assert index_damage(node) == []
    key = TABLE[table].columns[0]
    change(node.index_path, f"UPDATE {table} SET value = CAST(substr(value, 1, 3) || x'ff' || substr(value, 5) AS BLOB) WHERE rowid IN "
           f"(SELECT rowid FROM {table} LIMIT 1)" if table in ("blobs", "segments", "usage") else
           f"UPDATE {table} SET value = CAST(substr(value, 1, 3) || x'ff' || substr(value, 5) AS BLOB) WHERE {key} = "
           f"(SELECT max({key}) FROM {table})")  # fmt: skip
    assert any(f"index table {table}" in found.reason or table in found.reason for found in index_damage(node))


def test_a_plain_column_that_differs_from_its_value_is_found(node):
    blob = node.blob(b"key-4")
    change(node.index_path, "UPDATE blobs SET unused_ms = 5 WHERE number = ?", (blob.number,))
    assert any("unused_ms" in found.reason for found in index_damage(node))


def test_a_page_that_rotted_on_the_medium_is_found_by_its_checksum(node):
    """In every page of the file in turn: table, index or inner page; none passes."""
    node.journal.ask(m.Checkpoint())
    node.stop()
    for suffix in ("-wal", "-shm"):
        os.unlink(node.index_path + suffix)  # the file holds all of it, and what is read comes from the file
    with open(node.index_path, "rb") as file:
        sound = file.read()
    missed = []
    for page in range(1, len(sound) // 4096):
        bad = bytearray(sound)
        bad[page * 4096 + 2000] ^= 4
        with open(node.index_path, "wb") as file:
            file.write(bad)
        try:
            found = index_damage(node)
        except DamagedRow as error:  # where it says whose index it is: it cannot even be opened
            found = says_damage(error)
        if not found:
            missed.append(page)
    with open(node.index_path, "wb") as file:
        file.write(sound)
    assert missed == []
    assert index_damage(node) == []
