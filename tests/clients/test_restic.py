"""restic as Debian has it: a repository in a bucket through its whole life."""

import json
import os

import pytest

from tests.clients.program import on_path
from tests.clients.tree import read_tree, write_tree

pytestmark = [pytest.mark.slow, pytest.mark.clients]


def test_a_repository_through_its_life(program, node, s3, tmp_path):
    bucket = f"restic-{os.urandom(4).hex()}"
    restic = program(
        on_path("restic"), "--no-cache", RESTIC_REPOSITORY=f"s3:{node.endpoint}/{bucket}/backups", RESTIC_PASSWORD="a password of the test"
    )
    first = {f"folder-{number % 3}/file-{number}": os.urandom(1000 * number) for number in range(40)} | {"big": os.urandom(30 << 20)}
    write_tree(tmp_path / "tree", first)
    restic("init")  # makes the bucket
    restic("backup", "tree")
    restic("check", "--read-data")
    changed = first | {"big": os.urandom(8 << 20), "folder-0/file-0": b"changed", "new": b"new"}
    write_tree(tmp_path / "tree", changed)
    restic("backup", "tree")
    snapshots = json.loads(restic("snapshots", "--json"))
    assert len(snapshots) == 2
    for snapshot, expected in zip(snapshots, (first, changed), strict=True):
        restic("restore", snapshot["id"], "--target", f"restored-{snapshot['short_id']}")
        assert read_tree(tmp_path / f"restored-{snapshot['short_id']}" / "tree") == expected
    stored = sum(found["Size"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"])
    restic("forget", "--keep-last", "1", "--prune")
    assert len(json.loads(restic("snapshots", "--json"))) == 1
    assert sum(found["Size"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]) < stored - (25 << 20)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", "at-last")
    assert read_tree(tmp_path / "at-last" / "tree") == changed
    restic("unlock")
    stranger = program(on_path("restic"), "--no-cache", **{**restic.environ, "RESTIC_PASSWORD": "another"})
    assert "wrong password" in stranger.fails("snapshots")
