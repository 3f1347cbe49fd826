"""Litestream: a SQLite database in WAL mode is replicated step by step, and comes back as it was at each of them."""

import sqlite3
from contextlib import closing

import pytest

from tests.clients.program import installed

pytestmark = [pytest.mark.slow, pytest.mark.clients]

CONFIG = """
dbs:
  - path: {database}
    replica: {{ type: s3, endpoint: "{endpoint}", region: us-east-1, bucket: "{bucket}", path: some/place, force-path-style: true }}
"""


def contents(path):
    with closing(sqlite3.connect(path)) as connection:
        return [row for row in connection.iterdump() if "_litestream" not in row]


def test_a_database_comes_back_as_it_was_at_each_step(program, node, s3, bucket, tmp_path):
    litestream = program(installed("litestream", "litestream/bin/litestream"))
    database = tmp_path / "app.db"
    config = tmp_path / "litestream.yml"
    config.write_text(CONFIG.format(database=database, endpoint=node.endpoint, bucket=bucket))
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE numbers (number, filler)")
        for step in range(4):
            connection.executemany("INSERT INTO numbers VALUES (?, randomblob(1000))", [(number,) for number in range(300 * step + 1)])
            connection.execute("DELETE FROM numbers WHERE number % 5 = ?", (step,))
            connection.commit()
            litestream("replicate", "-config", config, "-once")
            litestream("restore", "-config", config, "-o", f"back-{step}.db", database)
            assert contents(tmp_path / f"back-{step}.db") == contents(database)
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert len(keys) >= 4
    assert all(key.startswith("some/place/") for key in keys)
    stranger = program(litestream.command[0], AWS_SECRET_ACCESS_KEY="another")
    assert "SignatureDoesNotMatch" in stranger.fails("restore", "-config", config, "-o", "none.db", database)
    assert not (tmp_path / "none.db").exists()
