"""rclone as Debian has it: sync, check, cat with offsets, moveto, lsf, and a large file in one PUT."""

import hashlib
import json
import os

import pytest
import requests

from tests.clients.program import on_path
from tests.clients.tree import read_tree

pytestmark = [pytest.mark.slow, pytest.mark.clients]

ONE_PUT_MIB = 300


@pytest.fixture
def rclone(program, node, program_environ):
    """rclone with one remote, `fs:`, of the kind that is for any S3 store; configured by its environment variables."""
    return program(
        on_path("rclone"),
        "--config",
        "",
        "--retries",
        "1",
        RCLONE_CONFIG_FS_TYPE="s3",
        RCLONE_CONFIG_FS_PROVIDER="Other",
        RCLONE_CONFIG_FS_ENDPOINT=node.endpoint,
        RCLONE_CONFIG_FS_REGION="us-east-1",
        RCLONE_CONFIG_FS_ACCESS_KEY_ID=node.credentials.access_key,
        RCLONE_CONFIG_FS_SECRET_ACCESS_KEY=node.credentials.secret_key,
    )


def test_a_tree_is_synced_checked_and_changed(rclone, s3, bucket, tree, tmp_path):
    rclone("sync", "tree", f"fs:{bucket}/up")
    listed = {found["Key"]: found["Size"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {f"up/{name}": len(body) for name, body in tree.items()}
    rclone("check", "tree", f"fs:{bucket}/up")
    rclone("check", "--download", "tree", f"fs:{bucket}/up")
    s3.put_object(Bucket=bucket, Key="up/a.txt", Body=b"0123456789")
    assert "1 differences found" in rclone("check", "tree", f"fs:{bucket}/up", code=1)
    rclone("sync", "tree", f"fs:{bucket}/up")
    rclone("check", "tree", f"fs:{bucket}/up")
    rclone("sync", f"fs:{bucket}/up", f"fs:{bucket}/across")
    rclone("copy", f"fs:{bucket}/across", "down")
    assert read_tree(tmp_path / "down") == tree
    (tmp_path / "tree" / "a.txt").unlink()
    rclone("sync", "tree", f"fs:{bucket}/up")
    assert rclone("lsf", "--recursive", "--files-only", f"fs:{bucket}/up").splitlines() == sorted(set(tree) - {"a.txt"})
    size = json.loads(rclone("size", "--json", f"fs:{bucket}"))
    assert (size["count"], size["bytes"]) == (2 * len(tree) - 1, 2 * sum(map(len, tree.values())) - len(tree["a.txt"]))
    rclone("purge", f"fs:{bucket}/across")
    rclone("delete", f"fs:{bucket}/up")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_modification_times_stay_and_can_be_changed(rclone, s3, bucket, tmp_path):
    (tmp_path / "in").write_bytes(b"body")
    os.utime(tmp_path / "in", (1_600_000_000, 1_600_000_000.25))
    rclone("copyto", "in", f"fs:{bucket}/key")
    assert float(s3.head_object(Bucket=bucket, Key="key")["Metadata"]["mtime"]) == 1_600_000_000.25
    os.utime(tmp_path / "in", (1_700_000_000, 1_700_000_000))
    rclone("copyto", "in", f"fs:{bucket}/key")  # the same bytes: only the time is changed, by a copy onto itself
    assert float(s3.head_object(Bucket=bucket, Key="key")["Metadata"]["mtime"]) == 1_700_000_000
    rclone("copyto", f"fs:{bucket}/key", "out")
    assert (tmp_path / "out").stat().st_mtime == 1_700_000_000


def test_cat_with_offsets_and_moves(rclone, s3, bucket):
    body = os.urandom(100_000)
    s3.put_object(Bucket=bucket, Key="a b/\u00fc+c", Body=body)
    name = f"fs:{bucket}/a b/\u00fc+c"
    assert rclone.bytes("cat", name) == body
    assert rclone.bytes("cat", "--offset", "500", "--count", "1000", name) == body[500:1500]
    assert rclone.bytes("cat", "--head", "7", name) == body[:7]
    assert rclone.bytes("cat", "--tail", "9", name) == body[-9:]
    assert rclone("md5sum", name).split()[0] == hashlib.md5(body).hexdigest()
    rclone("moveto", name, f"fs:{bucket}/moved/here")
    assert rclone("lsf", "--recursive", "--files-only", "--format", "ps", f"fs:{bucket}").splitlines() == ["moved/here;100000"]
    rclone("rcat", f"fs:{bucket}/piped", stdin=b"from standard input")
    assert s3.get_object(Bucket=bucket, Key="piped")["Body"].read() == b"from standard input"
    link = rclone("link", "--expire", "10m", f"fs:{bucket}/piped").strip()
    assert requests.get(link, timeout=30).content == b"from standard input"


def test_buckets(rclone, s3):
    name = f"rclone-{os.urandom(4).hex()}"
    rclone("mkdir", f"fs:{name}")
    assert f"{name}/" in rclone("lsf", "fs:").splitlines()
    rclone("rmdir", f"fs:{name}")
    assert f"{name}/" not in rclone("lsf", "fs:").splitlines()


def test_a_large_file_in_one_put_and_in_parts(rclone, s3, bucket, tmp_path):
    block = os.urandom(1 << 20)
    with open(tmp_path / "large", "wb") as file:
        for number in range(ONE_PUT_MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    digest = hashlib.md5((tmp_path / "large").read_bytes()).hexdigest()
    rclone("copyto", "--s3-upload-cutoff", "1G", "large", f"fs:{bucket}/large")
    head = s3.head_object(Bucket=bucket, Key="large")
    assert (head["ContentLength"], head["ETag"]) == (ONE_PUT_MIB << 20, f'"{digest}"')
    rclone("copyto", "--s3-upload-cutoff", "20M", "--s3-chunk-size", "20M", "large", f"fs:{bucket}/parts")
    assert s3.head_object(Bucket=bucket, Key="parts")["ETag"].endswith(f'-{ONE_PUT_MIB // 20}"')
    rclone("copyto", f"fs:{bucket}/large", f"fs:{bucket}/copy")
    s3.delete_object(Bucket=bucket, Key="large")
    for name in ("copy", "parts"):
        rclone("copyto", f"fs:{bucket}/{name}", "back")
        assert hashlib.md5((tmp_path / "back").read_bytes()).hexdigest() == digest
        (tmp_path / "back").unlink()
